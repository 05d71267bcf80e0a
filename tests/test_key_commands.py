"""`tutelage keys` without a control plane."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tutelage.key_commands import expiry, keys
from tutelage.proxy.key_rates import KeyRates
from tutelage.proxy.key_text import form_fault
from tutelage.proxy.keys import KeyRing
from tutelage.traffic.errors import BadInput
from tutelage.traffic.layout import DataDir

NOW = 1_800_000_000.0


def run(*arguments: str, cwd: Path) -> Result:
    """One command in this process, with the data folder that it would find in `cwd`."""
    data = ("--data", str(cwd / "tutelage-data"))
    return CliRunner().invoke(keys, [*arguments, *data], env={"NO_COLOR": "1", "COLUMNS": "200"})


def listed(cwd: Path) -> list[dict[str, object]]:
    done = run("list", "--json", cwd=cwd)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_key_from_making_to_revoking(tmp_path: Path) -> None:
    limits = ("--rate", "60", "--budget-usd", "5", "--budget-tokens", "1000000", "--period", "day")
    made = run("create", "team/ci", *limits, "--expires", "30d", "--models", "gpt-*", "--models", "tiny", cwd=tmp_path)
    assert made.exit_code == 0, made.output
    key = made.stdout.strip()
    assert form_fault(key) == "", "the key alone is on stdout"
    assert "only its hash is stored" in made.stderr
    (row,) = listed(tmp_path)
    assert (row["name"], row["rate"], row["burst"], row["period"]) == ("team/ci", 60.0, 10, "day")
    assert (row["budget_usd"], row["budget_tokens"], row["models"]) == (5.0, 1_000_000, ["gpt-*", "tiny"])
    assert row["expires_at"] == pytest.approx(time.time() + 30 * 86_400, abs=600)
    table = run("list", cwd=tmp_path).stdout
    for words in ("team/ci", "active", "60/min, 10 at once", "$5 and 1000000 tokens a day", "gpt-*, tiny"):
        assert words in table

    changed = run("update", "team/ci", "--rate", "0", "--models", "*", "--expires", "never", "--json", cwd=tmp_path)
    assert changed.exit_code == 0, changed.output
    row = json.loads(changed.stdout)
    assert (row["rate"], row["models"], row["expires_at"], row["budget_usd"]) == (0.0, [], 0.0, 5.0)
    data = DataDir(tmp_path / "tutelage-data")
    rates = KeyRates(data.rates)
    named = {"authorization": f"Bearer {key}"}
    assert KeyRing(data.keys, rates, data.read_secret()).admit(named, time.time()).ok

    assert "revoked" in run("revoke", str(row["key_id"]), cwd=tmp_path).stdout
    assert not KeyRing(data.keys, rates, data.read_secret()).admit(named, time.time()).ok
    rates.close()
    part = key[6:26].encode()
    assert [path for path in data.root.rglob("*") if path.is_file() and part in path.read_bytes()] == []


def test_create_as_json_has_the_key_once(tmp_path: Path) -> None:
    made = json.loads(run("create", "ci", "--json", cwd=tmp_path).stdout)
    assert form_fault(made["key"]) == ""
    assert "key" not in listed(tmp_path)[0]


def test_the_program_has_the_commands_and_says_mistakes_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tutelage", "keys", "revoke", "nobody"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith("error:")
    assert "tutelage keys list" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("update", "nobody"), "Nothing to change"),
        (("create", "ci", "--period", "week"), "day or month"),
        (("create", "ci", "--expires", "soon"), "2027-01-31"),
        (("create", "ci", "--expires", "2020-01-01"), "a time to come"),
        (("create", " "), "printable characters"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_made(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    refused = run(*arguments, cwd=tmp_path)
    assert isinstance(refused.exception, BadInput)
    assert words in str(refused.exception)
    assert "Nothing yet" in run("list", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("never", 0.0),
        ("30d", NOW + 2_592_000),
        ("1.5h", NOW + 5_400),
        ("2w", NOW + 1_209_600),
        ("90 m", NOW + 5_400),
        ("2027-01-31", 1_801_353_600.0),
        ("2027-01-31T12:00+02:00", 1_801_389_600.0),
    ],
)
def test_spans_and_dates(text: str, moment: float) -> None:
    assert expiry(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "30 parsecs", "2027-13-01"])
def test_other_expiries_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match="30d, 12h, 2w"):
        expiry(text, NOW)
