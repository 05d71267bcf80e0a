"""Settings of the student server, given as JSON in the environment variable TUTELAGE_OPTIONS."""

from dataclasses import dataclass


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
