import pytest

from tutelage.distill.detect import Detector, presidio_detector
from tutelage.distill.leaks import PersonalDataLeft, require_clean, scan
from tutelage.distill.scrub import Scrubbed, Scrubber
from tutelage.traffic.scrub_rules import ScrubRules


@pytest.fixture(scope="module")
def detector() -> Detector:
    return presidio_detector()[0]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_a_scrubbed_conversation_is_clean(detector: Detector):
    messages = [user("a.b@firma.de, +1 415-555-2671, 4111 1111 1111 1111"), user('{"phone": "14155552671"}')]
    scrubbed = Scrubber(detector, b"k").scrub("t", messages)
    assert len(scrubbed.exchanged) >= 3
    assert scan("t", scrubbed, detector) == []


def test_what_the_first_pass_missed_is_found(detector: Detector):
    leaks = scan("t", Scrubbed([user("hello a.b@firma.de")], {}), detector)
    assert [(leak.scope, leak.kind) for leak in leaks] == [("t", "EMAIL_ADDRESS")]


def test_an_original_that_no_recogniser_sees_is_found(detector: Detector):
    exchanged = {"(212) 555-0188": "(212) 555-9999"}
    leaks = scan("t", Scrubbed([user("the code 212 5550188 again")], exchanged), detector)
    assert [leak.kind for leak in leaks] == ["original"]


def test_an_original_name_is_found_as_a_whole_word_only(detector: Detector):
    scrubbed = Scrubbed([user("the keller is a cellar; kellers too")], {"Keller": "Lind"})
    assert [leak.kind for leak in scan("t", scrubbed, detector)] == ["original"]
    assert scan("t", Scrubbed([user("kellers only")], {"Keller": "Lind"}), detector) == []


def test_stand_ins_and_kept_values_are_no_leaks(detector: Detector):
    scrubbed = Scrubbed([user("mia.berg@web.de or desk@firma.de")], {"x.y@web.de": "mia.berg@web.de"})
    assert scan("t", scrubbed, detector, ["desk@firma.de"]) == []


def test_a_leak_blocks_and_the_message_does_not_repeat_it(detector: Detector):
    leaks = scan("t7", Scrubbed([user("a.b@firma.de")], {}), detector)
    with pytest.raises(PersonalDataLeft, match="t7") as caught:
        require_clean(leaks)
    assert "firma" not in str(caught.value)
    require_clean([])


def test_sure_forms_are_found_without_a_recogniser():
    nothing = Detector([])
    texts = ["a.b@firma.de", "4111 1111 1111 1111", "DE89370400440532013000", "AKIAABCDEFGHIJKLMNOP"]
    for text in texts:
        assert len(scan("t", Scrubbed([user(f"it is {text} here")], {}), nothing)) == 1, text
    assert scan("t", Scrubbed([user("4111 1111 1111 1112, DE00370400440532013000")], {}), nothing) == []


def test_fields_that_are_kept_are_no_leaks(detector: Detector):
    rules = ScrubRules(fields={"contact": "keep"})
    messages = [{"role": "tool", "tool_call_id": "c", "content": '{"contact": "desk@firma.de"}'}]
    assert scan("t", Scrubbed(messages, {}), detector, (), rules) == []
    assert [leak.field for leak in scan("t", Scrubbed(messages, {}), detector)] == ["contact"]


def test_a_single_name_counts_as_it_is_written_and_not_in_a_place():
    def leaks(text: str) -> int:
        return len(scan("t", Scrubbed([user(text)], {"Antonio": "Bo"}, cased=frozenset(["Antonio"])), Detector([])))

    assert leaks("ask Antonio") == 1
    assert leaks("antonio") == leaks("San Antonio") == 0


def test_values_that_the_rules_allow_are_no_leaks():
    assert scan("t", Scrubbed([user("write to help@shop.example")], {}), Detector([], (r".*@shop\.example",))) == []
