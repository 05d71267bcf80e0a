"""Users' functions in their own process: verdicts, and everything that a function may do wrong."""

import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tutelage.traffic.verifiers import Call, Ended, Loaded, Trajectory, Verdict, Verifiers

MODULE = """
import math, os, sys, time
from tutelage.traffic.verifiers import Call, Trajectory

def good(run):
    assert isinstance(run, Trajectory) and isinstance(run.calls[0], Call)
    return run.messages[-1]["content"] == "done"

good.version = 2
def share(run): return len(run.calls) / 4
def whole(run): return 1
def nothing(run): return None
def wrong(run): return "yes"
def endless(run): return math.inf
def raises(run): raise KeyError("order")
def leaves(run): sys.exit(3)
def dies(run): os._exit(7)
def hangs(run): time.sleep(600)

def prints(run):
    print("{}")
    os.write(1, b"more\\n")
    return True

number = 5
"""
CALL = Call("c1", 12.5, "m", "teacher", 200, "stop", 30.0)
RUN = Trajectory("x:r", [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "done"}], [], [CALL])


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module beside which everything is started."""
    (tmp_path / "my_checks.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return "my_checks"


def test_verdicts(module: str) -> None:
    expected = {
        "good": Verdict(True),
        "share": Verdict(0.25),
        "whole": Verdict(1.0),
        "nothing": Verdict(None),
        "prints": Verdict(True),
        "wrong": Verdict(None, "It returned 'yes': expected True, False, a finite number, or None."),
        "endless": Verdict(None, "It returned 'inf': expected True, False, a finite number, or None."),
        "raises": Verdict(None, "It raised KeyError: 'order'"),
        "leaves": Verdict(None, "It raised SystemExit: 3"),
        "dies": Verdict(None, "Its process ended with code 7."),
    }
    names = [f"{module}:{name}" for name in expected]
    functions = Verifiers(names, limit_s=60.0)
    try:
        # Twice: after the process has ended it is started again.
        for _ in range(2):
            assert {name: functions.ask(f"{module}:{name}", RUN) for name in expected} == expected
        bad = replace(RUN, messages=[{"role": "assistant", "content": "no \ud800"}])
        assert functions.ask(f"{module}:good", bad) == Verdict(False)
    finally:
        functions.close()


def test_what_cannot_be_used_is_named_and_the_others_work(module: str) -> None:
    names = [f"{module}:good", f"{module}:missing", "no_such_module:f", f"{module}:number", "nonsense"]
    functions = Verifiers(names, limit_s=60.0)
    try:
        good, *others = functions.load()
        assert good == Loaded(f"{module}:good", "2")
        words = ["AttributeError", "ModuleNotFoundError", "no function but int", "Expected package.module:function"]
        for one, name, word in zip(others, names[1:], words, strict=True):
            assert one.name == name
            assert word in one.error
        assert functions.ask(f"{module}:good", RUN) == Verdict(True)
    finally:
        functions.close()


def test_a_function_that_hangs_is_ended(module: str) -> None:
    functions = Verifiers([f"{module}:hangs", f"{module}:good"], limit_s=0.3)
    try:
        functions.load()
        assert functions.ask(f"{module}:hangs", RUN) == Verdict(None, "It took longer than 0.3 s.")
        functions.limit_s = 60.0
        assert functions.ask(f"{module}:good", RUN) == Verdict(True)
    finally:
        functions.close()


def test_close_ends_a_function_that_is_at_work(module: str) -> None:
    functions = Verifiers([f"{module}:hangs"], limit_s=500.0)
    functions.load()
    closing = threading.Timer(0.3, functions.close)
    closing.start()
    began = time.monotonic()
    with pytest.raises(Ended):
        functions.ask(f"{module}:hangs", RUN)
    assert time.monotonic() - began < 60
    closing.join()
    with pytest.raises(Ended):
        functions.ask(f"{module}:hangs", RUN)


def test_the_process_ends_with_its_standard_input_even_while_a_function_hangs(module: str) -> None:
    code = "from tutelage.traffic.verifiers import answer_questions; answer_questions()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b'{"names": ["%s:hangs"]}\n' % module.encode())
        process.stdin.flush()
        assert b"loaded" in process.stdout.readline()
        process.stdin.write(
            b'{"name": "%s:hangs", "run": {"trajectory_id": "", "messages": [], "tools": [], "calls": []}}\n'
            % module.encode()
        )
        process.stdin.close()
        assert process.wait(30) == 0


def test_the_example_of_the_documentation_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parent.parent / "docs" / "feedback.md").read_text()
    (tmp_path / "my_checks.py").write_text(page.split("```python\n")[1].split("```")[0])
    monkeypatch.chdir(tmp_path)
    functions = Verifiers(["my_checks:order_was_booked"], limit_s=60.0)
    booked = replace(RUN, messages=[{"role": "tool", "tool_call_id": "c", "content": "order booked: 17"}])
    try:
        assert functions.load() == [Loaded("my_checks:order_was_booked", "1")]
        assert functions.ask("my_checks:order_was_booked", booked) == Verdict(True)
        assert functions.ask("my_checks:order_was_booked", RUN) == Verdict(False)
    finally:
        functions.close()
