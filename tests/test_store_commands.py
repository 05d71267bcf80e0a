"""`tutelage store …` as people and scripts run it."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from test_cli import run

CHAT = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}


@pytest.mark.slow
def test_the_life_of_a_store(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps({**CHAT, "created": 1_000}) + "\n5\n")
    taken = run("store", "import", "log.jsonl", "--json", cwd=tmp_path)
    assert taken.returncode == 0, taken.stderr
    assert json.loads(taken.stdout)["new"] == 1
    assert "Skipped 1: the row is no JSON object" in taken.stderr
    checked = run("store", "verify", "--json", cwd=tmp_path)
    assert (checked.returncode, json.loads(checked.stdout)["calls"]) == (0, 1)
    assert run("store", "export", "--parquet", "out", cwd=tmp_path).returncode == 0
    assert (tmp_path / "out" / "manifest.json").is_file()
    (tmp_path / "tutelage.toml").write_text("[store]\nkeep_days = 1.0\n[store.per_pattern.other]\nkeep_days = 9.0\n")
    assert json.loads(run("store", "prune", "--dry-run", "--json", cwd=tmp_path).stdout)["calls"] == 1
    assert json.loads(run("store", "stats", "--json", cwd=tmp_path).stdout)["calls"] == 1
    assert json.loads(run("store", "prune", "--yes", "--json", cwd=tmp_path).stdout)["calls"] == 1
    assert json.loads(run("store", "stats", "--json", cwd=tmp_path).stdout)["calls"] == 0
    assert json.loads(run("store", "compact", "--json", cwd=tmp_path).stdout)["bytes_after"] > 0
    back = run("store", "import", "out", "--json", cwd=tmp_path)
    assert json.loads(back.stdout)["new"] == 1
    [one] = json.loads(run("trajectories", "list", "--json", cwd=tmp_path).stdout)
    erased = json.loads(run("store", "forget", one["trajectory_id"], "--yes", "--json", cwd=tmp_path).stdout)
    assert (erased["calls"], erased["learnt_by"]) == (1, [])


def test_a_damaged_store_is_told_with_its_row_and_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps(CHAT))
    assert run("store", "import", "log.jsonl", cwd=tmp_path).returncode == 0
    with duckdb.connect(tmp_path / "tutelage-data" / "store.duckdb") as connection:
        connection.execute("UPDATE messages SET body = replace(body, 'hi', 'ho')")
        connection.execute("CHECKPOINT")
        [[name]] = connection.execute("SELECT message_id FROM messages WHERE depth = 0").fetchall()
    done = run("store", "verify", cwd=tmp_path)
    assert done.returncode == 1
    assert f"messages {name}: message_id parent and body give the name" in done.stdout


def test_errors_are_one_line(tmp_path: Path) -> None:
    for arguments, words in (
        (("import", "none.jsonl"), "cannot be read"),
        (("prune", "--yes"), "Nothing limits the store"),
        (("export", "--parquet", "."), "holds other files"),
    ):
        (tmp_path / "letter.txt").write_text("dear")
        done = run("store", *arguments, cwd=tmp_path)
        assert done.returncode == 1
        assert words in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr
    (tmp_path / "tutelage.toml").write_text("[store]\nkeep_days = -1.0\n")
    done = run("store", "verify", cwd=tmp_path)
    assert done.returncode == 1
    assert "keep_days" in " ".join(done.stderr.split())
    assert run("store", "prune", cwd=tmp_path).returncode == 1


@pytest.mark.chaos
def test_each_command_may_be_killed_at_any_moment_and_run_again(tmp_path: Path) -> None:
    chance = random.Random(4)
    lines = []
    for number in range(2_000):
        said = [{"role": "user", "content": f"{number} " + "long " * 40}, {"role": "assistant", "content": "hello"}]
        lines.append(json.dumps({"messages": said, "created": 1_000 + number}))
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    (tmp_path / "tutelage.toml").write_text("[store]\nmax_bytes = 300000\n")
    longest = 0.0
    for words in (
        ("import", "log.jsonl"),
        ("export", "--parquet", "out"),
        ("verify",),
        ("prune", "--yes"),
        ("compact",),
        ("import", "out"),
    ):
        command = [sys.executable, "-m", "tutelage", "store", *words]
        started = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Beyond the first, which may only be starting up, the work of one of them is hit.
        time.sleep(chance.uniform(0.5, 1.0) * max(longest, 1.5))
        started.kill()
        started.wait()
        begun = time.monotonic()
        done = run("store", *words, "--json", cwd=tmp_path)
        longest = time.monotonic() - begun
        assert done.returncode == 0, (words, done.stderr)
    checked = json.loads(run("store", "verify", "--json", cwd=tmp_path).stdout)
    assert (checked["found"], checked["problems"]) == (0, [])
    assert (checked["calls"], len(list((tmp_path / "out").glob(".*")))) == (2_000, 0)
