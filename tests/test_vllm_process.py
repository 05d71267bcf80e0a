"""A server of our own: started, spoken to, ended. The command is a process with vLLM's options and contract."""

import os
import sys
from pathlib import Path

import pytest
from vllm_server import BASE

from tutelage.serving.engine import EngineError
from tutelage.serving.engines import engines_for
from tutelage.serving.options import ServingOptions
from tutelage.serving.remote_engine import RemoteEngine
from tutelage.serving.vllm_process import VllmProcess
from tutelage.traffic.errors import BadInput
from tutelage.traffic.layout import DataDir

COMMAND = (sys.executable, str(Path(__file__).with_name("vllm_server.py")))


def test_an_engine_with_a_server_of_its_own(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataDir(tmp_path / "data").prepare()
    monkeypatch.setenv("TUTELAGE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("TINY_GGUF", str(tiny_gguf))
    base = tmp_path / f"{BASE}.gguf"
    base.write_bytes(tiny_gguf.read_bytes())
    options = ServingOptions(data=str(data.root), engine="vllm", engine_command=COMMAND, context=128)
    engine = engines_for(options)(str(base), {})
    assert isinstance(engine, RemoteEngine)
    assert engine.context == 128
    assert engine.generate([1, 70], "", 'root ::= "lamp"', max_tokens=9).text == "lamp"
    engine.close()
    assert (data.root / "logs" / "vllm.log").exists()
    with pytest.raises(EngineError, match="closed"):
        engine.generate([1, 70], max_tokens=1)


def test_why_it_did_not_come_up_is_told(tmp_path: Path) -> None:
    log, known = tmp_path / "logs" / "vllm.log", {"context": 64, "adapters": 1}
    with pytest.raises(BadInput, match=r"ended with 1 .* ValueError: .*none is no model"):
        VllmProcess(COMMAND, tmp_path / "none", BASE, log=log, **known)
    with pytest.raises(BadInput, match=r"cannot be started .* serving\.engine_command"):
        VllmProcess((str(tmp_path / "no-such-command"),), tmp_path, BASE, log=log, **known)


def test_the_cause_is_found_among_what_followed_from_it(tmp_path: Path) -> None:
    said = (
        "(APIServer pid=3) WARNING 11-22 [utils.py:255] This can cause errors like OSError: too many open files",
        "(Worker pid=9) ERROR 11-22 [executor.py:953]     raise ValueError(",
        "(Worker pid=9) ERROR 11-22 [executor.py:953] ValueError: less memory than wanted.",
        "Traceback (most recent call last):",
        "RuntimeError: Engine core initialization failed. See root cause above.",
    )
    (tmp_path / "vllm.log").write_text("KeyError: of the start before\n")
    command = (sys.executable, "-c", f"print({chr(10).join(said)!r}); raise SystemExit(1)")
    with pytest.raises(BadInput, match=r"vllm\.log says: ValueError: less memory than wanted\.$"):
        VllmProcess(command, tmp_path, BASE, context=64, adapters=1, log=tmp_path / "vllm.log")


def test_the_model_comes_right_after_serve(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import sys; sys.exit(f'ValueError: {sys.argv[1:5]}')", "serve", "--dtype", "half")
    with pytest.raises(BadInput, match=r"\['serve', '.*model', '--dtype', 'half'\]"):
        VllmProcess(command, tmp_path / "model", BASE, context=64, adapters=1, log=tmp_path / "vllm.log")


def test_one_that_is_never_ready_is_ended(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(BadInput, match=r"not ready after 0\.5 s"):
        VllmProcess(COMMAND, folder, "never", context=64, adapters=1, log=tmp_path / "vllm.log", starting_s=0.5)
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    if children.exists():
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children.read_text().split()]
        assert not any(b"vllm_server" in command for command in commands)
