"""Settings of the student server, given as JSON in the environment variable TUTELAGE_OPTIONS."""

from dataclasses import dataclass, field

LOCAL = ("auto", "llama", "torch")
"""Engines in the student server's own process; `auto` is the faster of the other two (see `local`)."""


@dataclass(frozen=True)
class ServingOptions:
    """The student server."""

    data: str
    """The data folder; student versions are found below `students/`."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8402
    """Port to listen on."""
    threads: int = 0
    """Threads of the engine; 0: one per core."""
    slots: int = 4
    """Answers generated at the same time."""
    queue: int = 64
    """Calls that may wait; more are refused with 429, and the proxy falls open to the teacher."""
    context: int = 4096
    """Tokens per slot; a longer prompt is refused with 400 `context_length_exceeded`."""
    max_tokens: int = 512
    """Longest answer, in tokens, when the request does not say less."""
    keep: int = 4
    """Student versions kept loaded; the least recently used one makes room."""
    bases: tuple[str, ...] = ()
    """Base models that are served by themselves, untrained, under their own names (a file: without `.gguf`)."""
    engine: str = "auto"
    """`llama` (llama.cpp in this process), `torch` (torch in this process, in eight bits), `auto` (the one of the two
    that is faster here), `transformers` (the reference, slow), `vllm` (a vLLM server), `remote` (another server that
    completes token ids), `chat` (a server that knows chats only, such as Ollama). See docs/serving.md."""
    engine_url: str = ""
    """For `vllm`, `remote` and `chat`: base URL of the server, which ends with `/v1`. Empty for `vllm`: it is started
    here."""
    engine_command: tuple[str, ...] = ("vllm", "serve")
    """For `vllm` without `engine_url`: the command that starts it, with your own options for it; the model and what we
    need are added."""
    engine_model: str = ""
    """For `vllm` and `remote`: the server's name of the base; empty: as it is called here."""
    engine_models: dict[str, str] = field(default_factory=dict)
    """For `chat`: student versions and bases to their names on that server, where it calls them otherwise."""
    engine_key_env: str = ""
    """For `vllm`, `remote` and `chat`: environment variable that holds the server's key; empty: it wants none."""
    engine_students: str = ""
    """For `vllm` on another machine: the path under which it sees the folder `students/` of the data folder."""
    engine_device: str = "cpu"
    """For `transformers`: the device, such as `cuda`."""
    fast_weights: bool = True
    """For llama.cpp: serve bases under 1 GiB from a copy in Q8_0 where their own format is slow on CPUs; it takes up to
    twice the memory."""
    samples: dict[str, int] = field(default_factory=dict)
    """Answers that are drawn for a call, of which the action that most agree on is served: pattern id, or `*` for all,
    to their number (4 or 8; 1: written once). Each costs the time of an answer, and its tokens are counted."""
    least_share: float = 0.5
    """With `samples`: the share of the drawn answers that must agree, 0 to 1; else the call goes to the teacher."""
