"""Bounded caches without bookkeeping per hit.

`Generations`: two dicts, a young and an old generation. When the young one is full it becomes the old one and the
previous old one is dropped. What is looked up in the old generation moves to the young, so entries in use survive. At
most twice the capacity is held; entries vanish at any time after `capacity` insertions, so a miss must always be
answerable elsewhere.

`Sequel`: the same, but nothing ever moves. What was put in later is therefore forgotten no earlier.
"""

from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Generations(Generic[Key, Value]):
    """A mapping that forgets what was not used for long. Not thread-safe."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}

    def get(self, key: Key) -> Value | None:
        """The value, or None."""
        found = self._young.get(key)
        if found is None and (found := self._old.pop(key, None)) is not None:
            self[key] = found
        return found

    def __setitem__(self, key: Key, value: Value) -> None:
        if len(self._young) >= self._capacity:
            self._old, self._young = self._young, {}
        self._young[key] = value

    def __contains__(self, key: Key) -> bool:
        return key in self._young or key in self._old

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


class Sequel(Generic[Key, Value]):
    """A mapping that forgets in the order in which things were first put in. Not thread-safe."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}

    def get(self, key: Key) -> Value | None:
        """The value, or None."""
        found = self._young.get(key)
        return self._old.get(key) if found is None else found

    def __setitem__(self, key: Key, value: Value) -> None:
        if len(self._young) >= self._capacity:
            self._old, self._young = self._young, {}
        self._young[key] = value
