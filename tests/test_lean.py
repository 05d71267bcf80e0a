"""A module that is kept out is as if it were not installed, and the libraries that look for it go on."""

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
