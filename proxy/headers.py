"""Which headers cross the proxy, in either direction.

Everything passes except what belongs to one connection only, what the proxy itself decides (length, host, its own
`x-tutelage-` names), and cookies of the upstream.
"""

from .http_messages import Headers, ReceivedHeaders, header_lines
from .key_text import PREFIX

OWN = "x-tutelage-"
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
    }
)
# Accept-encoding is not passed on: the copy in the log shall be readable, and the upstream is asked for plain bytes.
_NOT_SENT = HOP_BY_HOP | {"host", "content-length", "accept-encoding", "expect"}
_NOT_RELAYED = HOP_BY_HOP | {"content-length", "set-cookie", "x-request-id"}
_NONE: frozenset[str] = frozenset()
KEYS = frozenset(("authorization", "api-key", "x-api-key"))
"""Headers that carry a secret of the agent."""
_NOT_SENT_WITH_KEY = _NOT_SENT | KEYS


def to_teacher(headers: Headers, key: str = "") -> Headers:
    """What the teacher gets of the agent's headers. A `key` takes the place of the agent's own."""
    dropped = (_NOT_SENT_WITH_KEY if key else _NOT_SENT) | _nominated(headers)
    # A key of this proxy is for nobody else, not even where it came beside another one.
    kept = [
        pair
        for pair in headers
        if pair[0] not in dropped and not pair[0].startswith(OWN) and not (PREFIX in pair[1] and pair[0] in KEYS)
    ]
    return [*kept, ("authorization", f"Bearer {key}")] if key else kept


def to_student(headers: Headers) -> Headers:
    """What the student server gets: as the teacher, without any key or cookie."""
    return [pair for pair in to_teacher(headers) if pair[0] not in KEYS and pair[0] != "cookie"]


def to_agent(headers: Headers) -> Headers:
    """What the agent gets of the upstream's headers: none of those that the proxy says itself."""
    nominated = _nominated(headers)
    dropped = _NOT_RELAYED | nominated if nominated else _NOT_RELAYED
    return [pair for pair in headers if pair[0] not in dropped and not pair[0].startswith(OWN)]


def relayed(headers: Headers) -> str:
    """The lines of `to_agent`; kept with headers that come again."""
    if not isinstance(headers, ReceivedHeaders):
        return header_lines(to_agent(headers))
    if not headers.lines:
        headers.lines = header_lines(to_agent(headers))
    return headers.lines


def _nominated(headers: Headers) -> frozenset[str]:
    """Names that a Connection header declares to be of this hop only."""
    values = [value for name, value in headers if name == "connection"]
    if not values or values == ["keep-alive"] or values == ["close"]:
        return _NONE
    return frozenset(word.strip().lower() for value in values for word in value.split(","))
