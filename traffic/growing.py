"""The choices of a chat stream in the making: texts grow, tool calls are found by index, and reassembled exactly."""

from typing import Any

from .canonical import loads, mend
from .errors import BadInput
from .pieces import Piece, PieceOfCall


def index_of(part: dict[str, Any]) -> int | None:
    """The index that a part of a stream names; None when it names none."""
    index = part.get("index")
    return index if isinstance(index, int) else None


class Choice:
    """One choice in the making."""

    def __init__(self) -> None:
        self._message: dict[str, Any] = {"role": "assistant", "content": None}
        self._rest: dict[str, Any] = {"finish_reason": None}
        self._calls = Calls()

    def add(self, part: dict[str, Any]) -> None:
        delta = part.get("delta")
        for key, value in (delta if isinstance(delta, dict) else {}).items():
            if key == "tool_calls":
                self._calls.add(value)
            elif key == "role":
                self._message[key] = value or self._message[key]
            elif key != "obfuscation":
                self._message[key] = joined(self._message.get(key), value)
        for key, value in part.items():
            if key == "finish_reason":
                self._rest[key] = value or self._rest[key]
            elif key not in ("delta", "index"):
                self._rest[key] = joined(self._rest.get(key), value)

    def grow(self, grown: Piece) -> bool:
        """Add a piece; False, and nothing is changed, when it does not go on with anything."""
        delta = grown.delta
        if delta.tool_calls is not None and (delta.content is not None or not self._calls.grow(*delta.tool_calls)):
            return False
        if delta.content is not None:
            self._message["content"] = joined(self._message["content"], delta.content)
        return True

    def whole(self, index: int) -> dict[str, Any]:
        calls = self._calls.whole()
        message = self._message | ({"tool_calls": calls} if calls is not None else {})
        return {"index": index, "message": message, **self._rest}


class Calls:
    """Tool calls in the making, found by index.

    Two habits of servers are met: no index at all, and the same index for every parallel call. A new id then begins a
    new call; where there are no ids either, a name does that comes behind arguments that are whole.
    """

    def __init__(self) -> None:
        self._calls: list[tuple[int, dict[str, Any]]] | None = None

    def add(self, deltas: Any) -> None:
        self._calls = self._calls or []
        for delta in deltas if isinstance(deltas, list) else []:
            if isinstance(delta, dict):
                _merge_call(self._call_of(self._calls, delta), delta)

    def grow(self, grown: PieceOfCall) -> bool:
        """Add arguments to a call that has begun; False when there is none."""
        for known, call in reversed(self._calls or []):
            if known == grown.index:
                body = call.get("function")
                if isinstance(body, dict):
                    body["arguments"] = joined(body.get("arguments"), grown.function.arguments)
                    return True
                return False
        return False

    def _call_of(self, calls: list[tuple[int, dict[str, Any]]], delta: dict[str, Any]) -> dict[str, Any]:
        index = index_of(delta)
        for known, call in reversed(calls):
            if index in (None, known):
                if _begins_anew(call, delta):
                    break
                return call
        calls.append((len(calls) if index is None else index, {}))
        return calls[-1][1]

    def whole(self) -> list[dict[str, Any]] | None:
        return None if self._calls is None else [call for _, call in sorted(self._calls, key=lambda item: item[0])]


def _begins_anew(call: dict[str, Any], delta: dict[str, Any]) -> bool:
    """Whether a piece belongs to another call than the one it seems to go on with."""
    if delta.get("id") or call.get("id"):
        return bool(delta.get("id") and call.get("id") and delta["id"] != call["id"])
    old, new = call.get("function"), delta.get("function")
    if not (isinstance(old, dict) and isinstance(new, dict) and new.get("name") and new.get("arguments")):
        return False
    try:
        return isinstance(loads(old.get("arguments") or ""), dict)
    except (BadInput, TypeError):
        return False


def _merge_call(call: dict[str, Any], delta: dict[str, Any]) -> None:
    for key, value in delta.items():
        if isinstance(value, dict) and isinstance(call.get(key, {}), dict):
            _merge_call_body(call.setdefault(key, {}), value)
        elif key != "index" and (value or key not in call):
            call[key] = value


def _merge_call_body(body: dict[str, Any], delta: dict[str, Any]) -> None:
    for key, value in delta.items():
        # Some servers repeat the name in every frame.
        if key == "name" and value == body.get(key):
            continue
        body[key] = joined(body.get(key), value)


def joined(old: Any, new: Any) -> Any:
    """Text and lists grow, objects are merged, anything else is replaced; null adds nothing."""
    if old is None or new is None:
        return new if old is None else old
    if isinstance(old, str) and isinstance(new, str):
        # Some servers cut between the halves of a surrogate pair.
        return mend(old + new) if "\ud800" <= old[-1:] <= "\udbff" else old + new
    if isinstance(old, list) and isinstance(new, list):
        return [*old, *new]
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {key: joined(old.get(key), value) for key, value in new.items()}
    return new
