"""Fixtures that several test files share."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from tutelage.traffic.records import CallRecord, new_call_id

# Programs that tests start are compiled once, as installed ones are, and not anew at each start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# For the modules in tests/conformance, which are no tests themselves.
sys.path.append(str(Path(__file__).parent))
# How long an example takes says something about the machine, and nothing about the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_HIDDEN, _HEADS, _KV_HEADS, _FEED, _LAYERS, _CONTEXT = 64, 4, 2, 128, 2, 1024


def _byte_tokens() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, in byte order."""
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    moved = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(moved)) for byte in range(256)]


def write_tiny_llama(path: Path, seed: int = 0) -> Path:
    """A random two-layer llama in full precision, with a byte-level tokenizer: everything real but its wit."""
    import gguf

    rng = np.random.default_rng(seed)
    tokens = [*_SPECIAL, *_byte_tokens(), "Ġt", "he"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(_LAYERS)
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(_HIDDEN)
    writer.add_feed_forward_length(_FEED)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_KV_HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(_HIDDEN // _HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(_SPECIAL) + [1] * (len(tokens) - len(_SPECIAL)))
    writer.add_token_merges(["Ġ t", "h e"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    kv = _HIDDEN // _HEADS * _KV_HEADS
    shapes = {"attn_q": (_HIDDEN, _HIDDEN), "attn_k": (kv, _HIDDEN), "attn_v": (kv, _HIDDEN)}
    shapes |= {"attn_output": (_HIDDEN, _HIDDEN), "ffn_gate": (_FEED, _HIDDEN), "ffn_up": (_FEED, _HIDDEN)}
    shapes["ffn_down"] = (_HIDDEN, _FEED)
    writer.add_tensor("token_embd.weight", rng.normal(0, 0.3, (len(tokens), _HIDDEN)).astype("float32"))
    writer.add_tensor("output_norm.weight", np.ones(_HIDDEN, "float32"))
    for layer in range(_LAYERS):
        for name, shape in shapes.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", rng.normal(0, 0.15, shape).astype("float32"))
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(_HIDDEN, "float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model of 100 KB: `bases.resolve(str(tiny_gguf))` makes it a Base."""
    return write_tiny_llama(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


Message = dict[str, Any]


def chat_call(messages: list[Message], answer: Message | None = None, **fields: Any) -> CallRecord:
    """The record of one chat call. `tools`, `finish`, `usage` shape its bodies; the rest are fields of the record."""
    tools, finish, usage = fields.pop("tools", None), fields.pop("finish", ""), fields.pop("usage", (100, 10))
    request: Message = {"model": "teacher-1", "messages": messages, "temperature": 0}
    if tools:
        request["tools"] = tools
    if answer is not None:
        finish = finish or ("tool_calls" if answer.get("tool_calls") else "stop")
        choice = {"index": 0, "message": answer, "finish_reason": finish}
        counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
        body = {"object": "chat.completion", "model": "teacher-1-big", "choices": [choice], "usage": counts}
        fields = {"status": 200, "response": json.dumps(body).encode(), "response_type": "application/json"} | fields
    started_at = fields.pop("started_at", 1_000.0)
    fields = {"call_id": new_call_id(started_at), "request": json.dumps(request).encode()} | fields
    return CallRecord(started_at=started_at, **fields)


@pytest.fixture
def make_call() -> Callable[..., CallRecord]:
    """`make_call(messages, answer, started_at=…, tools=…, …)`: see `chat_call`."""
    return chat_call


STATUS_TOOL: Message = {
    "type": "function",
    "function": {
        "name": "set_status",
        "parameters": {
            "type": "object",
            "properties": {"parcel": {"type": "string"}, "status": {"type": "string"}},
            "required": ["parcel", "status"],
        },
    },
}


def status_call(parcel: str) -> Message:
    """The assistant message that does what the parcel agent is asked for."""
    arguments = json.dumps({"parcel": parcel, "status": "sent"})
    call = {"id": f"call_{parcel}", "type": "function", "function": {"name": "set_status", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


class ControlWorld:
    """A data folder with a journal, an opened control plane, and a clock that stands still until it is moved.

    Its agent is asked to mark a parcel as sent and answers with one tool call: one call, one session.
    """

    now = 1_800_000_000.0
    version = "parcels@0123456789ab"

    def __init__(self, root: Path) -> None:
        from tutelage.proxy.control import ControlPlane
        from tutelage.proxy.options import ControlOptions, Price, RoutingOptions
        from tutelage.traffic.journal import JournalWriter
        from tutelage.traffic.layout import DataDir

        self.data = DataDir(root).prepare()
        routing = RoutingOptions(epsilon_tools=0.10, session_idle_s=60.0)
        self.options = ControlOptions(
            data=str(root),
            teacher_url="http://teacher.test/v1",
            routing=routing,
            prices={"teacher-1-big": Price(2.0, 8.0)},
        )
        self._open, self._made = ControlPlane.open, 0
        self.writer = JournalWriter(self.data.journal)
        self.plane = self.open()

    def open(self) -> Any:
        """The control plane of the folder."""
        return self._open(self.data, self.options, clock=lambda: self.now)

    def reopen(self) -> Any:
        """Close the control plane and start it anew."""
        self.plane.close()
        self.plane = self.open()
        return self.plane

    def record(self, answer: Message | None = None, **fields: Any) -> CallRecord:
        """One call of the agent, at the present time."""
        self._made += 1
        parcel = f"P{self._made:05d}"
        messages = [
            {"role": "system", "content": "You work at a parcel desk.\nMark parcels with the tool."},
            {"role": "user", "content": f"Parcel {parcel} has left."},
        ]
        answer = answer or status_call(parcel)
        return chat_call(messages, answer, tools=[STATUS_TOOL], started_at=self.now, **fields)

    def play(self, sessions: int, **fields: Any) -> list[str]:
        """So many sessions through the journal into the store, one a second; returns their call ids."""
        from tutelage.traffic.records import encode

        ids = []
        for _ in range(sessions):
            self.now += 1.0
            record = self.record(**fields)
            ids.append(record.call_id)
            assert self.writer.append(encode(record))
        assert self.writer.flush()
        self.plane.catch_up()
        return ids

    def idle(self) -> None:
        """Let all sessions be over, and have them reviewed."""
        self.now += 120.0
        self.plane.catch_up()

    @property
    def pattern(self) -> str:
        """The one pattern of the agent."""
        return self.plane.keeper.registry.entries()[0].pattern_id

    def add_student(self, version: str = version) -> None:
        """Put a student version into the register, trained on everything so far."""
        from tutelage.traffic.students import Manifest, PromptSpec, StudentRegister

        register = StudentRegister(self.data)
        draft = self.data.root / "draft"
        draft.mkdir()
        entry = self.plane.keeper.registry.entries()[0]
        manifest = Manifest(
            version=version,
            name=version.partition("@")[0],
            status="candidate",
            created_at=self.now,
            agent_id=entry.agent_id,
            pattern_ids=[entry.pattern_id],
            base="tiny",
            base_digest="0",
            prompt=PromptSpec(),
            snapshot_at=self.now,
            data_digest="0",
        )
        register.publish(draft, manifest)
        self.plane.catch_up()

    def through_shadow(self) -> None:
        """A pattern, a student version for it, and its proof in shadow: it is in canary then."""
        self.play(40)
        self.add_student()
        self.play(60)
        self.label()
        self.idle()

    def label(self, kind: str = "shadow", loss: float = 0.0) -> int:
        """Answer all labels that are wanted now, each with this loss; returns how many."""
        from tutelage.proxy.shadow import Label

        tasks = self.plane.keeper.tasks(kind, 10_000)
        for task in tasks:
            self.plane.keeper.deliver(Label(task, loss, "same", 1, task.answer, self.now, 5.0, (50, 10)))
        self.plane.catch_up()
        return len(tasks)

    def close(self) -> None:
        """Close the journal and the control plane."""
        self.writer.close()
        self.plane.close()


@pytest.fixture
def control_world(tmp_path: Path) -> Any:
    """See ControlWorld."""
    world = ControlWorld(tmp_path / "data")
    yield world
    world.close()


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A started data plane in front of the deterministic teacher: see conformance.plane.Plane."""
    from conformance.plane import started

    with started(tmp_path_factory.mktemp("plane")) as running:
        yield running
