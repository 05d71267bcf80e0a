"""The preview of what scrubbing makes of a run."""

import re
from pathlib import Path

import msgspec
import pytest

from tutelage.distill.detect import Detector
from tutelage.distill.findings import Finding
from tutelage.distill.preview import Wanted, main, preview
from tutelage.distill.scrub import Scrubber
from tutelage.traffic.layout import DataDir


def mails(text: str) -> list[Finding]:
    return [Finding("EMAIL_ADDRESS", m.start(), m.end(), 1.0) for m in re.finditer(r"\S+@\S+\.test", text)]


def test_the_stand_ins_are_those_of_a_distillation(tmp_path: Path) -> None:
    data = DataDir(tmp_path).prepare()
    messages = [{"role": "system", "content": "Write to desk@shop.test"}, {"role": "user", "content": "I am a@b.test"}]
    texts = ["Write to desk@shop.test", "Write to desk@shop.test now"]
    wanted = Wanted(str(tmp_path), "run-1", messages, system_texts=texts)
    found = preview(wanted, (Detector([mails]), False))
    detector = Detector([mails])
    same = Scrubber(detector, data.read_secret(), ["desk@shop.test"]).scrub("run-1", messages)
    assert found.messages == same.messages
    assert found.messages[0] == messages[0], "what all runs share is the agent's own"
    assert found.counts == {"EMAIL_ADDRESS": 1}
    assert found.stand_ins == [same.exchanged["a@b.test"]]
    assert "a@b.test" not in str(found.messages)


def test_what_cannot_be_read_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(b"{}") == 1
    assert "data" in capsys.readouterr().err
    missing = msgspec.json.encode({"data": str(tmp_path / "none"), "trajectory_id": "t", "messages": []})
    assert main(missing) == 1
    assert "secret.key" in capsys.readouterr().err
