"""The sample text holds the kinds of text that students read and write."""

import json

from tutelage.serving.sample_text import SAMPLE


def test_turns_records_and_a_call() -> None:
    assert SAMPLE.count("<|im_start|>") == SAMPLE.count("<|im_end|>") == 5
    [call] = [line.removesuffix("<|im_end|>") for line in SAMPLE.splitlines() if line.startswith("{")]
    assert set(json.loads(call)) == {"name", "arguments"}
    assert "- id:" in SAMPLE
