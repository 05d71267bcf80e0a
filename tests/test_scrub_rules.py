"""The policy of scrubbing, without any finding."""

import pytest

from tutelage.traffic.errors import BadInput
from tutelage.traffic.scrub_rules import RecogniserRule, ScrubRules

RULES = ScrubRules(fields={"note": "drop", "*_id": "hash", "public": "keep", "Address": "scrub"})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("note",), "drop"),
        (("customer_id",), "hash"),
        (("address", "street"), "scrub"),
        (("address", "public"), "keep"),
        (("public", "User_ID"), "hash"),
        (("name",), None),
        ((), None),
    ],
)
def test_the_innermost_rule_counts(path: tuple[str, ...], expected: str | None) -> None:
    assert RULES.treatment(path) == expected


def test_a_name_beats_a_pattern() -> None:
    assert ScrubRules(fields={"*": "hash", "order": "keep"}).treatment(("order",)) == "keep"


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (ScrubRules(allow=("[a-",)), r"scrub.allow\[0\] is no regular expression"),
        (ScrubRules(recognisers={"X": RecogniserRule(r"\d*")}), "scrub.recognisers.X.pattern.*fits the empty text"),
        (ScrubRules(languages=("english",)), "two letters"),
        (ScrubRules(deny=(" ",)), "scrub.deny"),
    ],
)
def test_what_cannot_be_is_said(rules: ScrubRules, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        rules.checked()


def test_sound_rules_are_themselves() -> None:
    assert RULES.checked() is RULES
