"""The six silent failures of agent fine-tuning, each made by the mistake that makes it in practice, and refused.

Nothing here is planted by hand: rows come out of trl, transformers and datasets as their users get them.
"""

from pathlib import Path
from typing import Any

import pytest
from training_world import OPTIONS

from tutelage.distill.audit import Auditor, AuditRefused
from tutelage.distill.curate import CallRef, Trajectory
from tutelage.distill.parts import BaseParts
from tutelage.distill.rows import MASKED, Row, rows_of
from tutelage.distill.train import settings
from tutelage.serving.render import TURN_END, prompt_segments, segments
from tutelage.traffic.students import PromptSpec

SPEC = PromptSpec(mode="full")


def tool(name: str, **arguments: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": arguments}
    return {"type": "function", "function": {"name": name, "description": f"To {name}.", "parameters": parameters}}


TOOLS = [tool("track", id={"type": "string"}), tool("cancel", order={"type": "integer", "minimum": 1})]
CALL = {"id": "c", "type": "function", "function": {"name": "track", "arguments": {"id": "A-1"}}}


def conversation(turns: int = 1, tools: list[dict[str, Any]] = TOOLS) -> Trajectory:
    messages: list[dict[str, Any]] = [{"role": "system", "content": "You help."}]
    calls = []
    for turn in range(turns):
        messages += [
            {"role": "user", "content": f"where is A-1, for the {turn}. time?"},
            {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c", "content": '{"city": "Oslo"}'},
            {"role": "assistant", "content": "It is in Oslo."},
        ]
        for place in (len(messages) - 3, len(messages) - 1):
            calls.append(CallRef(f"c{place}", place, "p", "teacher", "m", float(place)))
    return Trajectory("t", "s", "a", True, "rule", tools, messages, tuple(calls))


@pytest.fixture(scope="module")
def tiny(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> BaseParts:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUTELAGE_MODELS", str(tmp_path_factory.mktemp("models")))
        return BaseParts(str(tiny_gguf), threads=1)


@pytest.fixture
def tokenizer(tiny: BaseParts) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny.folder)


def template(name: str) -> str:
    """A chat template as trl ships it."""
    import trl

    return (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text()


def refused(tiny: BaseParts, ids: list[int], labels: list[int], item: Trajectory) -> str:
    row = Row("t/0", "t", tuple(call.call_id for call in item.calls), ids, labels)
    with pytest.raises(AuditRefused) as caught:
        Auditor(SPEC, tiny.tokenise, tiny.decode).audit([row], [item])
    return caught.value.reason


def by_trl(tiny: BaseParts, tokenizer: Any, folder: Path, rows: list[dict[str, Any]], **changed: Any) -> dict[str, Any]:
    """The first row as trl would train it."""
    import warnings

    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    class Trainer(SFTTrainer):
        def _send_telemetry(self) -> None:
            """Nobody is told."""

    chosen = settings(OPTIONS, str(folder), cuda=False)
    del chosen["max_length"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(
            model=AutoModelForCausalLM.from_pretrained(tiny.folder),
            args=SFTConfig(**{**chosen, **changed}),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )
        return next(iter(trainer.get_train_dataloader()))


def test_a_template_without_markers_masks_everything(tiny: BaseParts, tokenizer: Any):
    """`assistant_only_loss` on a template that does not say where an answer begins: a warning in the log, no more."""
    item = conversation()
    made = tokenizer.apply_chat_template(
        item.messages,
        tools=item.tools,
        chat_template=template("qwen2_5"),
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    masks = made["assistant_masks"]
    labels = [token if mask else MASKED for token, mask in zip(made["input_ids"], masks, strict=True)]
    assert refused(tiny, made["input_ids"], labels, item) == "nothing_trained"


def test_a_session_as_one_response_trains_the_tools_results(tiny: BaseParts, tokenizer: Any, tmp_path: Path):
    """`prompt` up to the first question, and all that follows as the `completion`."""
    item = conversation()
    prompt = "".join(part.text for part in prompt_segments(item.messages[:2], item.tools, SPEC))
    whole = "".join(part.text for part in segments(item.messages, item.tools, SPEC))
    pair = {"prompt": prompt, "completion": whole.removeprefix(prompt)}
    batch = by_trl(tiny, tokenizer, tmp_path, [pair] * 4, max_length=None)
    ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
    assert "Oslo" in tiny.decode([token for token in labels if token != MASKED])
    assert refused(tiny, ids, labels, item) == "input_trained"


def test_trls_own_length_cuts_the_last_turns(tiny: BaseParts, tokenizer: Any, tmp_path: Path):
    """1,024 tokens are kept unless one says otherwise, from the start: the end of long sessions is gone."""
    item = conversation(turns=12)
    row = rows_of([item], SPEC, tiny.tokenise, 100_000).rows[0]
    assert len(row.input_ids) > 1024
    batch = by_trl(tiny, tokenizer, tmp_path, [{"input_ids": row.input_ids, "labels": row.labels}] * 4)
    ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
    assert len(ids) == 1024
    assert refused(tiny, ids, labels, item) == "turn_cut"


def test_a_table_of_tools_plants_nulls_in_their_schemas(tiny: BaseParts):
    """Arrow gives a column one type: each tool gets the arguments of all others, with nothing in them."""
    import pyarrow as pa

    planted = pa.Table.from_pylist([{"tools": TOOLS}]).to_pylist()[0]["tools"]
    assert planted != TOOLS
    item = conversation(tools=planted)
    row = rows_of([item], SPEC, tiny.tokenise, 100_000).rows[0]
    assert "null" in tiny.decode(row.input_ids)
    assert refused(tiny, row.input_ids, row.labels, item) == "null_in_schema"


def by_differences(tokenizer: Any, item: Trajectory, source: str) -> tuple[list[int], list[int]]:
    """Ids and labels by another template: each answer is what it adds to the text before it."""

    def ids(messages: list[dict[str, Any]], **settings: Any) -> list[int]:
        made = tokenizer.apply_chat_template(
            messages, tools=item.tools, chat_template=source, tokenize=True, return_dict=True, **settings
        )
        return made["input_ids"]

    whole = ids(item.messages)
    labels = [MASKED] * len(whole)
    end = tokenizer.convert_tokens_to_ids(TURN_END)
    for call in item.calls:
        start = len(ids(item.messages[: call.index], add_generation_prompt=True))
        stop = whole.index(end, start) + 1
        labels[start:stop] = whole[start:stop]
    return whole, labels


def test_a_template_that_drops_what_is_said_beside_a_call(tiny: BaseParts, tokenizer: Any):
    """Llama 3.2's template writes either the call or the words. Its marks are this base's here, its rules its own."""
    source = template("llama3_2").replace("<|start_header_id|>", "<|im_start|>").replace("<|eot_id|>", "<|im_end|>")
    source = source.replace("<|end_header_id|>\\n\\n", "\\n").replace("{{- bos_token }}", "")
    ids, labels = by_differences(tokenizer, conversation(), source)
    assert "Let me see" not in tiny.decode(ids)
    assert refused(tiny, ids, labels, conversation()) == "answer_lost"


def test_trls_training_template_is_not_the_one_that_is_served(tiny: BaseParts, tokenizer: Any):
    """trl puts its own template in for models that it knows; this one writes an empty thought before each answer."""
    item = conversation()
    ids, labels = by_differences(tokenizer, item, template("qwen3_training"))
    assert "<think>" in tiny.decode([token for token in labels if token != MASKED])
    assert refused(tiny, ids, labels, item) == "other_template"


def test_the_same_sessions_in_our_rows_pass(tiny: BaseParts):
    for item in (conversation(), conversation(turns=12)):
        rows = rows_of([item], SPEC, tiny.tokenise, 2048)
        assert Auditor(SPEC, tiny.tokenise, tiny.decode).audit(rows.rows, [item], rows.too_long)
