"""Which engine serves, by `[serving] engine`, and what is wrong with that choice before anything is loaded.

auto          the default: torch where it is the faster one (see `local`), else llama
llama         llama.cpp in the student server's process, on CPUs and at the edge
torch         torch in the student server's process, in eight bits, all versions of a base written together
transformers  the reference: full precision, one answer at a time
vllm          a vLLM server; adapters are loaded and unloaded through its API
remote        any server that completes token ids; its adapters are its own business
chat          any server that only knows chats; what its models are called there is told
"""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from ..traffic.errors import BadInput, TutelageError
from ..traffic.layout import DataDir
from .bare import model_name
from .bases import hf_folder, resolve
from .chat_endpoint import ChatEndpoint
from .engine import Engine
from .hf_engine import HfEngine
from .local import PACKAGES, chosen_here, is_installed, local_engine
from .memory import require_memory
from .options import LOCAL, ServingOptions
from .remote_engine import RemoteEngine
from .vllm_lora import VllmAdapters
from .vllm_process import VllmProcess

MakeEngine = Callable[[str, dict[str, Path]], Engine]
"""Builds an engine for the base of that name with these adapters."""
MakeBackend = Callable[[str, dict[str, Path]], Engine | ChatEndpoint]
_PACKAGES = {
    "auto": ("serving", ()),
    "llama": ("serving", PACKAGES["llama"]),
    "torch": ("distill", PACKAGES["torch"]),
    "transformers": ("distill", ("torch", "transformers", "peft", "llguidance", "gguf", "jsonschema")),
    "vllm": ("", ()),
    "remote": ("", ()),
    "chat": ("serving", ("jsonschema",)),
}


class Problem(NamedTuple):
    """Something that keeps the chosen engine from serving."""

    what: str
    advice: str


def backends_for(options: ServingOptions) -> MakeBackend:
    """How engines are built, or chat servers reached. Raises BadInput for options that cannot work."""
    if options.engine != "chat":
        return engines_for(options)
    _require(options)
    return lambda base, adapters: _chat(options, base, adapters)


def engines_for(options: ServingOptions) -> MakeEngine:
    """How engines are built with these options. Raises BadInput for options that cannot work, and for a server that
    knows chats only, which is no engine."""
    _require(options)
    makers = {**dict.fromkeys(LOCAL, _local), "transformers": _transformers, "vllm": _vllm, "remote": _remote}
    if options.engine not in makers:
        raise BadInput(f"Expected serving.engine {', '.join(makers)}; {options.engine} completes no token ids.")
    make = makers[options.engine]
    return lambda base, adapters: make(options, base, adapters)


def _require(options: ServingOptions) -> None:
    if problems := check(options):
        raise BadInput(" ".join(f"{problem.what}. {problem.advice}" for problem in problems))


def check(options: ServingOptions, installed: Callable[[str], bool] | None = None) -> list[Problem]:
    """What is wrong with the choice of engine, without loading or asking anything. Empty: nothing."""
    if options.engine not in _PACKAGES:
        return [Problem(f"There is no engine {options.engine!r}", f"Set serving.engine to {' or '.join(_PACKAGES)}.")]
    found = []
    installed = installed or is_installed
    extra, packages = _PACKAGES[chosen_here(options.engine, installed)]
    missing = [package for package in packages if not installed(package)]
    if missing:
        what = f"The engine {options.engine} needs {', '.join(missing)}"
        found.append(Problem(what, f"Run: pip install 'tutelage[{extra}]'"))
    if options.engine == "vllm" and not options.engine_url:
        if not options.engine_command or not shutil.which(options.engine_command[0]):
            advice = "Install vLLM, set serving.engine_command, or serving.engine_url to a server that runs."
            found.append(Problem(f"There is no command {' '.join(options.engine_command)!r}", advice))
    elif options.engine in ("vllm", "remote", "chat"):
        if urlsplit(options.engine_url).scheme not in ("http", "https"):
            advice = "Set serving.engine_url to its base URL, which ends with /v1."
            found.append(Problem(f"The engine {options.engine} is a server and needs an address", advice))
        if options.engine_key_env and not os.environ.get(options.engine_key_env):
            what = f"{options.engine_key_env}, named by serving.engine_key_env, is not set"
            found.append(Problem(what, f"Set it to the key of {options.engine_url}."))
    elif options.engine_url:
        advice = "Set serving.engine to vllm, remote or chat, or leave engine_url away."
        found.append(Problem(f"The engine {options.engine} runs here and uses no serving.engine_url", advice))
    return found


def reached(options: ServingOptions, transport: httpx.BaseTransport | None = None) -> list[Problem]:
    """What is wrong with a chat server that is asked for its models, where the options, which `check` has passed, name
    one."""
    if options.engine != "chat":
        return []
    endpoint = ChatEndpoint(options.engine_url, options.engine_models, key=_key(options), transport=transport)
    try:
        endpoint.require([model_name(base) for base in options.bases])
    except TutelageError as error:
        return [Problem(str(error), "The student server will try again every 5 minutes, and the teacher answers.")]
    finally:
        endpoint.close()
    return []


def _local(options: ServingOptions, base: str, adapters: Mapping[str, Path]) -> Engine:
    sizes = {"slots": options.slots, "threads": options.threads, "context": options.context}
    return local_engine(options.engine, resolve(base), adapters, fast=options.fast_weights, **sizes)


def _transformers(options: ServingOptions, base: str, adapters: Mapping[str, Path]) -> Engine:
    folder = hf_folder(resolve(base))
    require_memory(folder / "model.safetensors")
    return HfEngine(folder, adapters, threads=options.threads, context=options.context, device=options.engine_device)


def _vllm(options: ServingOptions, base: str, adapters: Mapping[str, Path]) -> Engine:
    """A vLLM that runs already, or one of our own."""
    data = DataDir(Path(options.data))
    if options.engine_url:
        key = _key(options)
        loader = VllmAdapters(options.engine_url, key=key, here=data.students, there=options.engine_students)
        return _remote(options, base, adapters, loader)
    found = resolve(base)
    process = VllmProcess(
        options.engine_command,
        hf_folder(found),
        found.name,
        context=options.context,
        adapters=max(1, options.keep),
        log=data.logs / "vllm.log",
    )
    loader = VllmAdapters(process.url)
    return RemoteEngine(
        process.url, found.name, adapters, context=options.context, loader=loader, on_close=process.stop
    )


def _remote(
    options: ServingOptions, base: str, adapters: Mapping[str, Path], loader: VllmAdapters | None = None
) -> Engine:
    model = options.engine_model or base
    return RemoteEngine(options.engine_url, model, adapters, context=options.context, key=_key(options), loader=loader)


def _chat(options: ServingOptions, base: str, adapters: Mapping[str, Path]) -> ChatEndpoint:
    endpoint = ChatEndpoint(options.engine_url, options.engine_models, key=_key(options))
    try:
        endpoint.require([*adapters, *([model_name(base)] if base in options.bases else [])])
    except TutelageError:
        endpoint.close()
        raise
    return endpoint


def _key(options: ServingOptions) -> str:
    return os.environ.get(options.engine_key_env, "") if options.engine_key_env else ""
