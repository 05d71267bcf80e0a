"""A student version for use elsewhere: merged weights for transformers, or one GGUF file for llama.cpp and Ollama.

Merging is checked before anything is handed out: the merged model must give the logits of base and adapter. The
student keeps reading what it was trained to read. With `prompt = "full"` that is a conversation in ChatML with its
tools listed; an internalised student knows its agent's constant lines and tools by heart and needs prompts that
Tutelage has rendered (docs/rendering.md): both are said in the README that goes along.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..serving.engine import Engine
from ..serving.gguf_whole import merge_adapter
from ..serving.render import TURN_END
from ..traffic.errors import BadInput, MissingExtra
from ..traffic.students import ADAPTER, ADAPTER_GGUF, MANIFEST, MODEL_GGUF, Manifest, StudentRegister
from .anchors import anchors
from .parts import BaseParts, Parts
from .train import calm

GGUF_NAME = "student.gguf"
FORMS = ("merged", "gguf")
TOLERANCE = 2e-3
"""Largest difference of a logit between merged weights and base with adapter, both in 32 bits."""
CLOSE = 0.1
"""Largest difference of an answer's mean log-probability, where changed weights are rounded to 8 bits."""
PROMPTS, WRITTEN = 4, 16


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    form: str
    checked: int
    """Prompts on which both were compared."""
    difference: float
    """Largest difference found: of a logit (`merged`), or of an answer's mean log-probability (`gguf`)."""


def export(register: StudentRegister, version: str, target: Path, form: str, parts: Parts | None = None) -> Exported:
    """Write a version to the folder `target`, which must not exist. `form`: `merged` or `gguf`. The engine of `parts`
    must be llama.cpp, which reads both sides of the comparison.

    Raises UnknownName, BadInput when `target` exists or when what was merged answers differently: then nothing stays.
    """
    manifest = register.get(version)
    if form not in FORMS:
        raise BadInput(f"Expected one of {', '.join(FORMS)} as the form of an export, not {form!r}.")
    if target.exists():
        raise BadInput(f"{target} exists already. Name a folder that does not.")
    parts = parts or BaseParts(manifest.base, engine="llama")
    if parts.digest != manifest.base_digest:
        raise BadInput(
            f"{version} was trained on {manifest.base} with the digest {manifest.base_digest}; the one here has "
            f"{parts.digest}. Put that file in its place."
        )
    draft = target.with_name(f".{target.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        write = _merged if form == "merged" else _gguf
        difference = write(register.path(version), manifest, parts, draft)
        (draft / "README.md").write_text(_readme(manifest, form), encoding="utf-8")
        shutil.copyfile(register.path(version) / MANIFEST, draft / MANIFEST)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Exported(target, form, PROMPTS, difference)


def _prompt(text: str) -> str:
    return f"<|im_start|>user\n{text}{TURN_END}\n<|im_start|>assistant\n"


def _merged(folder: Path, manifest: Manifest, parts: Parts, target: Path) -> float:
    try:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise MissingExtra("distill", error.name or "peft") from error
    AutoTokenizer.from_pretrained(parts.folder).save_pretrained(target)
    if manifest.kind == "model":
        shutil.copytree(folder / ADAPTER, target, dirs_exist_ok=True)
        return 0.0
    batches = [torch.tensor([parts.tokenise(_prompt(text))]) for text in anchors()[:PROMPTS]]
    with calm(), torch.inference_mode():
        base = AutoModelForCausalLM.from_pretrained(parts.folder, dtype=torch.float32)
        adapted = PeftModel.from_pretrained(base, str(folder / ADAPTER)).eval()
        before = [adapted(input_ids=batch).logits for batch in batches]
        adapted.merge_and_unload().save_pretrained(target)
        # Read back from the disk: what is checked is what others will load.
        merged = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32).eval()
        after = [merged(input_ids=batch).logits for batch in batches]
    difference = max(float((one - other).abs().max()) for one, other in zip(before, after, strict=True))
    _refuse(difference, TOLERANCE, "logit")
    return difference


def _gguf(folder: Path, manifest: Manifest, parts: Parts, target: Path) -> float:
    file = target / GGUF_NAME
    (target / "Modelfile").write_text(_modelfile(manifest), encoding="utf-8")
    if manifest.kind == "model":
        shutil.copyfile(folder / MODEL_GGUF, file)
        return 0.0
    merge_adapter(parts.gguf, folder / ADAPTER_GGUF, file)
    beside = _answers(parts.engine({manifest.version: folder / ADAPTER_GGUF}), manifest.version)
    merged = _answers(parts.whole(file), "")
    difference = max(abs(one - other) for one, other in zip(beside, merged, strict=True))
    _refuse(difference, CLOSE, "mean log-probability")
    return difference


def _answers(engine: Engine, adapter: str) -> Sequence[float]:
    """Mean log-probability of the greedy answer to each prompt."""
    try:
        return [
            engine.generate(engine.tokenise(_prompt(text)), adapter, max_tokens=WRITTEN).mean_logprob
            for text in anchors()[:PROMPTS]
        ]
    finally:
        engine.close()


def _refuse(difference: float, limit: float, what: str) -> None:
    if not difference <= limit:
        raise BadInput(
            f"The merged model does not answer as the student does: a {what} differs by {difference:.4g}, at most "
            f"{limit:g} was expected. Nothing was exported."
        )


def _modelfile(manifest: Manifest) -> str:
    """For `ollama create NAME -f Modelfile`."""
    return (
        f"# {manifest.version}\nFROM ./{GGUF_NAME}\n"
        f'TEMPLATE """{_CHATML}"""\nPARAMETER temperature 0\nPARAMETER stop "{TURN_END}"\n'
    )


_CHATML = (
    "{{ if or .System .Tools }}<|im_start|>system\n{{ .System }}{{ if .Tools }}\n\n<tools>\n"
    "{{ range .Tools }}{{ json .Function }}\n{{ end }}</tools>{{ end }}<|im_end|>\n{{ end }}"
    '{{ range .Messages }}{{ if ne .Role "system" }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n'
    "{{ end }}{{ end }}"
    "<|im_start|>assistant\n"
)


def _readme(manifest: Manifest, form: str) -> str:
    spec = msgspec.json.format(msgspec.json.encode(manifest.prompt), indent=1).decode()
    name = manifest.name
    run = (
        f"    llama-server -m {GGUF_NAME} --port 8080\n\nor with Ollama\n\n    ollama create {name} -f Modelfile\n"
        if form == "gguf"
        else f'    AutoModelForCausalLM.from_pretrained("{name}")\n'
    )
    reads = (
        "It knows its agent's constant lines and tools by heart, and reads prompts rendered by Tutelage only: what "
        'varies, in ChatML turns. Tutelage sends them so (`serving.engine = "chat"`); by hand, send them as raw text '
        "(`/completion`; `raw` in Ollama)."
        if manifest.prompt.mode == "internalised"
        else "It reads conversations in ChatML turns, tools listed in the system turn as in docs/rendering.md."
    )
    return f"# {manifest.version}\n\nMade from {manifest.base}. Run it with\n\n{run}\n{reads}\n\n```json\n{spec}\n```\n"
