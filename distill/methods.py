"""How weights are adapted: LoRA and its kin, or all of them; and in what form the result is kept.

    lora, rslora, qlora   an adapter, served beside others on one base
    dora, full            a whole model: DoRA rescales every column of the base, which no low-rank pair can say

The base that an adapter meets when it serves is the file as it is. So ways to begin that change the base's own
weights (PiSSA, OLoRA, LoftQ) are not offered.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..traffic.errors import BadInput, MissingExtra
from .options import DEVICES, INITS, METHODS, DistillOptions

_INITS: dict[str, bool | str] = {"zero": True, "gaussian": "gaussian", "orthogonal": "orthogonal"}

Load = Callable[..., Any]
"""`AutoModelForCausalLM.from_pretrained`, or what stands in for it in a test."""


def uses_cuda(options: DistillOptions) -> bool:
    """Whether to train on a GPU. Raises BadInput for settings that do not go together or with this machine."""
    import torch

    for name, known in (("method", METHODS), ("init", INITS), ("device", DEVICES)):
        if (chosen := getattr(options, name)) not in known:
            raise BadInput(f"distill.{name} is {chosen!r}; expected one of {', '.join(known)}.")
    there = torch.cuda.is_available()
    if options.device == "cuda" and not there:
        raise BadInput("distill.device is cuda, and torch sees no CUDA device. Set it to cpu or auto.")
    cuda = there and options.device != "cpu"
    if options.method == "qlora" and not cuda:
        raise BadInput("distill.method = qlora needs a CUDA device for its four-bit base; here lora does the same.")
    return cuda


def load_base(folder: Path, options: DistillOptions, cuda: bool, load: Load | None = None) -> Any:
    """The model to train, in the precision that the method wants: four bits for `qlora`, 16 on CUDA, else 32.

    Raises BadInput when `layers_from` is above its top layer, MissingExtra without bitsandbytes for `qlora`."""
    import torch
    from transformers import AutoModelForCausalLM

    settings: dict[str, Any] = {"dtype": torch.float32}
    if cuda and options.method != "full":
        settings["dtype"] = torch.bfloat16
    if options.method == "qlora":
        settings["quantization_config"] = _four_bits()
    if cuda:
        settings["device_map"] = {"": 0}
    model = (load or AutoModelForCausalLM.from_pretrained)(folder, **settings)
    depth = len(model.model.layers)
    if options.layers_from >= depth:
        raise BadInput(f"layers_from is {options.layers_from}; the base has {depth} layers: give 0 to {depth - 1}.")
    if options.method == "full":
        _freeze_below(model, options.layers_from)
    return model


def _four_bits() -> Any:
    """NF4 with double quantisation (Dettmers and others 2023), computed in 16 bits."""
    import torch
    from transformers import BitsAndBytesConfig

    try:
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    except ImportError as error:
        raise MissingExtra("distill", "bitsandbytes") from error


def _freeze_below(model: Any, layer: int) -> None:
    """The layers below `layer`, and with any of them the embeddings, stay as they are."""
    if not layer:
        return
    for module in (model.model.embed_tokens, *model.model.layers[:layer]):
        module.requires_grad_(False)


def adapter_config(options: DistillOptions, layers: int) -> Any:
    """The adapter's shape on a model of so many layers, for peft; None where all weights are trained."""
    if options.method == "full":
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=list(options.modules),
        layers_to_transform=list(range(options.layers_from, layers)),
        init_lora_weights=_INITS[options.init],  # pyright: ignore[reportArgumentType]
        use_dora=options.method == "dora",
        use_rslora=options.method == "rslora",
        task_type="CAUSAL_LM",
    )


def kind_of(method: str) -> str:
    """`adapter`, or `model` where the result is a whole model."""
    return "model" if method in ("dora", "full") else "adapter"


def save(model: Any, out: Path, method: str) -> None:
    """Write the result alone, without what differs from machine to machine: its digest names the version."""
    if method == "dora":
        # In a copy: training may go on after an epoch's weights are kept.
        import copy

        model = copy.deepcopy(model).merge_and_unload()
    for config in getattr(model, "peft_config", {}).values():
        config.base_model_name_or_path = ""
        # A set, which is written in another order by every process.
        config.target_modules = sorted(config.target_modules)
    if kind_of(method) == "model":
        model.config._name_or_path = ""
    model.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)
