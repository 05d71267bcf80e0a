"""A module that is kept out is as if it were not installed, and the libraries that look for it go on. What exists when
a process settles is not looked at again by the garbage collector, what comes later is."""

import subprocess
import sys

PROGRAM = """
import sys
from tutelage.proxy.lean import keep_out

keep_out("pandas", "pydantic.v1", "wave")
import duckdb, fastapi, pyarrow

try:
    import wave
except ModuleNotFoundError as error:
    print(error.name)
with duckdb.connect() as connection:
    table = connection.execute("SELECT ? AS a, ? AS b", ["x", 1.5]).to_arrow_table()
assert pyarrow.table({"a": ["x"], "b": [1.5]}).column("a") == table.column("a")
app = fastapi.FastAPI()

@app.get("/{name}")
def read(name: str, count: int | None = None) -> list[int]:
    return []

print(sorted({"pandas", "pydantic.v1", "wave"} & set(sys.modules)))
"""


def test_what_is_kept_out_is_not_there() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["wave", "[]"]


SETTLED = """
import gc, weakref
from tutelage.proxy.lean import settle

class Node:
    pass

def cycle():
    node = Node()
    node.itself = node
    return weakref.ref(node)

old, kept = cycle(), Node()
before = len(gc.get_objects())
settle()
new = cycle()
gc.collect()
print(before > 5_000, len(gc.get_objects()) < 500, old() is None, new() is None)
"""


def test_what_exists_when_it_settles_is_left_alone() -> None:
    done = subprocess.run([sys.executable, "-c", SETTLED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 4
