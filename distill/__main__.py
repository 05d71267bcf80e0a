"""One distillation run as a process of its own: `python -m tutelage.distill EXPORT`.

Settings come as JSON in the environment variable TUTELAGE_OPTIONS (see `options.DistillOptions`). Progress goes to
stderr, and as JSON lines to the run's folder; the version's manifest goes to stdout. Exit status 0: a version was
registered (candidate or rejected); 1: it was not, and the reason is on stderr.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import msgspec

from ..serving.threads import quiet_threads
from ..traffic.errors import BadInput, TutelageError
from .options import DistillOptions
from .progress import Progress, line


def read_options(text: str | None) -> DistillOptions:
    """The settings in TUTELAGE_OPTIONS. Raises BadInput."""
    if not text:
        raise BadInput('Expected the settings as JSON in TUTELAGE_OPTIONS, found none. Give at least {"data": "DIR"}.')
    try:
        return msgspec.json.decode(text, type=DistillOptions)
    except msgspec.DecodeError as error:
        raise BadInput(f"TUTELAGE_OPTIONS cannot be understood: {error}") from error


def show(progress: Progress) -> None:
    """One line of progress on stderr."""
    print(line(progress), file=sys.stderr, flush=True)


def main(arguments: Sequence[str], environment: str | None) -> int:
    """Run once; returns the exit status."""
    try:
        if len(arguments) != 1:
            raise BadInput("Expected one argument, the folder of an export.")
        options = read_options(environment)
        quiet_threads()
        from .run import run

        manifest = run(options, Path(arguments[0]), show)
    except TutelageError as error:
        print(error, file=sys.stderr)
        return 1
    print(msgspec.json.encode(manifest).decode())
    return 0


def _stop(number: int, frame: FrameType | None) -> None:
    # An exception, not an immediate end: the run notes that it failed and removes its draft.
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue]
    status = main(sys.argv[1:], os.environ.get("TUTELAGE_OPTIONS"))
    sys.stdout.flush()
    sys.stderr.flush()
    # The engine's native threads would keep the process alive.
    os._exit(status)
