"""What a process of ours need not load, and need not look at again and again.

Optional packages that libraries import because they are there are kept out of a process that has no use for them.
DuckDB and Arrow look for pandas with the first value they convert, and FastAPI for pydantic's first version with the
first route. Whoever has installed the training extra would pay for it at each start of the control plane: half a second
of processor time and 35 MB. These libraries work without (they handle the ImportError); whatever else a process needs
must not be named.
"""

import gc
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Absent(MetaPathFinder):
    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in self._names:
            raise ModuleNotFoundError(f"{fullname} is not used in this process", name=fullname)
        return None


def keep_out(*names: str) -> None:
    """From now on, imports of these modules raise ModuleNotFoundError in this process, as if they were not installed.

    What is imported already stays. Processes that are started later are not concerned.
    """
    sys.meta_path.insert(0, _Absent(frozenset(names)))


def settle() -> None:
    """What exists now stays, so the garbage collector leaves it alone from now on.

    With a million objects from the store in memory, a look at all of them takes .2 s in which nobody is answered, and a
    few long lists are enough to cause one.
    """
    gc.collect()
    gc.freeze()
