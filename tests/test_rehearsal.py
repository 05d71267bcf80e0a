from collections.abc import Sequence
from typing import Any

from byte_tokens import decode, tokenise

from tutelage.distill.anchors import anchors
from tutelage.distill.audit import Auditor
from tutelage.distill.rehearsal import PREFIX, rehearsal
from tutelage.distill.rows import rows_of
from tutelage.serving.engine import Generation
from tutelage.traffic.students import PromptSpec

SPEC = PromptSpec(mode="internalised", skeleton=["You help."])


class Talker:
    """An engine that says what its rule makes of the prompt."""

    context = 1024

    def __init__(self, *answers: tuple[str, str]) -> None:
        self.answers, self.asked = list(answers), []

    def tokenise(self, text: str) -> list[int]:
        return tokenise(text)

    def generate(self, prompt_ids: Sequence[int], adapter: str = "", **settings: Any) -> Generation:
        assert adapter == "", "the base itself is asked"
        assert settings["sampling"].temperature > 0
        assert settings["sampling"].seed is not None
        self.asked.append(decode(list(prompt_ids)))
        text, finish = self.answers[(len(self.asked) - 1) % len(self.answers)]
        return Generation(text, 3, len(prompt_ids), -1.0, -1.0, finish)


def conversations(talker: Any, count: int, seed: int = 1) -> list[Any]:
    return rehearsal(talker, SPEC, count, seed=seed)


def test_the_rows_are_the_bases_own_words_and_pass_the_audit():
    talker = Talker(("It is Ottawa.", "stop"), ("Light, bent.", "stop"))
    found = conversations(talker, 6)
    assert [item.messages[1]["content"] for item in found] == ["It is Ottawa.", "Light, bent."] * 3
    assert {item.messages[0]["content"] for item in found} <= set(anchors("rehearse"))
    assert all(item.trajectory_id.startswith(PREFIX) for item in found)
    rows = rows_of(found, SPEC, tokenise, 2048)
    table = Auditor(SPEC, tokenise, decode).audit(rows.rows, found)
    assert {count.role: count.trained for count in table}["user"] == 0
    assert talker.asked[0].endswith("<|im_start|>assistant\n")


def test_unfinished_empty_and_repeated_answers_are_left_out():
    assert conversations(Talker(("and so on and", "length")), 5) == []
    assert conversations(Talker(("  ", "stop")), 5) == []
    assert conversations(Talker(('<tool_call>{"name":"x","arguments":{}}</tool_call>', "stop")), 5) == []
    many = len(anchors("rehearse"))
    assert len(conversations(Talker(("Yes.", "stop")), 3 * many)) == many


def test_prompts_come_in_a_seeded_order():
    first, again, other = (Talker(("Yes.", "stop")) for _ in range(3))
    conversations(first, 10)
    conversations(again, 10)
    conversations(other, 10, seed=2)
    assert first.asked == again.asked != other.asked
