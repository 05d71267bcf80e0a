"""What people and programs say about calls and runs: one value of one metric each, as it is posted.

Pure: the data plane checks with it what it accepts, ingest reads the same bytes again with the same function. See
`feedback_rows` for the way into the store.
"""

import math

import msgspec

from .errors import BadInput

PATH = "/v1/feedback"
ACCEPTED = 202
"""Status of a record that holds feedback; one that was refused is a failed call like any other."""
TARGETS = ("call_id", "trajectory", "last_of")
VERIFIER = "verifier:"
"""How the sources of verifiers begin; nobody else may use it."""
LONGEST_NAME = 200
LONGEST_TEXT = 10_000


class Given(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/feedback`. Exactly one of `call_id`, `trajectory` and `last_of`."""

    metric: str
    value: bool | int | float | str
    call_id: str | None = None
    """`x-tutelage-call-id` of the answer, or the `id` in the answer's body."""
    trajectory: str | None = None
    """A run: the name that the agent gave it, or its id as listed."""
    last_of: str | None = None
    """The newest call of a run, named as above or by its session key."""
    source: str = ""
    """Who says so, `plugin:NAME` for plugins of agent frameworks."""
    comment: str = ""
    id: str = ""
    """Chosen by the sender, so that a value that is posted again counts once. Default: the id of the record."""

    @property
    def target(self) -> tuple[str, str]:
        """Which kind of thing, and its name."""
        return next((kind, name) for kind in TARGETS if (name := getattr(self, kind)) is not None)


def parse(body: bytes) -> Given:
    """The feedback in a JSON body. Raises BadInput, saying what was expected and what came."""
    try:
        return check(msgspec.json.decode(body, type=Given))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(
            f"The feedback does not fit: {error}. It is a JSON object with metric, value and a target."
        ) from error


def check(given: Given) -> Given:
    """The same feedback. Raises BadInput when it cannot be used."""
    targets = [kind for kind in TARGETS if getattr(given, kind) is not None]
    if len(targets) != 1:
        found = " and ".join(targets) or "none of them"
        raise BadInput(f"Feedback is about one thing: give exactly one of {', '.join(TARGETS)}; {found} came.")
    for name in ("metric", targets[0]):
        if not getattr(given, name).strip():
            raise BadInput(f"The field {name!r} must not be empty.")
    for name in ("metric", "source", "id", targets[0]):
        _not_longer(name, getattr(given, name), LONGEST_NAME)
    for name in ("value", "comment"):
        _not_longer(name, getattr(given, name), LONGEST_TEXT)
    if not isinstance(given.value, str) and not _finite(given.value):
        raise BadInput("A number in the field 'value' must fit a double-precision float.")
    if given.source.startswith(VERIFIER):
        raise BadInput(f"The source {given.source!r} is taken: names that begin with {VERIFIER!r} are the verifiers'.")
    return given


def _not_longer(name: str, value: object, limit: int) -> None:
    if isinstance(value, str) and len(value) > limit:
        raise BadInput(f"The field {name!r} must have at most {limit} characters, not {len(value)}.")


def _finite(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False
