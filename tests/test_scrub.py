import json
from typing import Any

import pytest

from tutelage.distill.detect import Detector, presidio_detector
from tutelage.distill.findings import Finding
from tutelage.distill.scrub import Scrubber, shared_values
from tutelage.traffic.scrub_rules import RecogniserRule, ScrubRules

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "send_receipt",
            "parameters": {
                "type": "object",
                "properties": {"email": {"type": "string"}, "to": {"enum": ["desk@example.org", "customer"]}},
            },
        },
    }
]
MESSAGES = [
    {"role": "system", "content": "You help."},
    {
        "role": "user",
        "content": "I'm anna.keller@firma.de, phone (212) 555-0188, order #W1234567. Copy desk@example.org",
    },
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {
                    "name": "send_receipt",
                    "arguments": '{"email":"anna.keller@firma.de","to":"desk@example.org","phone":2125550188}',
                },
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": '{"sent": "Anna.Keller@firma.de", "by": ["#W1234567"]}'},
    {"role": "assistant", "content": "Sent to anna.keller@firma.de."},
]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return presidio_detector()[0]


def test_one_stand_in_in_prompt_arguments_and_results(detector: Detector):
    scrubbed = Scrubber(detector, b"k" * 32).scrub("t1", MESSAGES, TOOLS)
    stand_in = scrubbed.exchanged["anna.keller@firma.de"]
    arguments = json.loads(scrubbed.messages[2]["tool_calls"][0]["function"]["arguments"])
    assert stand_in in scrubbed.messages[1]["content"]
    assert arguments["email"] == stand_in
    assert json.loads(scrubbed.messages[3]["content"])["sent"].lower() == stand_in
    assert scrubbed.messages[4]["content"] == f"Sent to {stand_in}."
    assert scrubbed.counts["EMAIL_ADDRESS"] >= 1


def test_a_number_in_arguments_follows_the_one_in_the_text(detector: Detector):
    scrubbed = Scrubber(detector, b"k" * 32).scrub("t1", MESSAGES, TOOLS)
    digits = "".join(filter(str.isdigit, scrubbed.exchanged["(212) 555-0188"]))
    arguments = json.loads(scrubbed.messages[2]["tool_calls"][0]["function"]["arguments"])
    assert arguments["phone"] == int(digits)
    assert digits != "2125550188"


def test_names_enums_and_order_numbers_survive(detector: Detector):
    scrubbed = Scrubber(detector, b"k" * 32).scrub("t1", MESSAGES, TOOLS)
    call = scrubbed.messages[2]["tool_calls"][0]
    assert call["function"]["name"] == "send_receipt"
    assert json.loads(call["function"]["arguments"])["to"] == "desk@example.org"
    assert "#W1234567" in scrubbed.messages[1]["content"]
    assert "desk@example.org" in scrubbed.messages[1]["content"]
    assert [message["role"] for message in scrubbed.messages] == [message["role"] for message in MESSAGES]


def test_deterministic_and_the_input_is_untouched(detector: Detector):
    before = json.dumps(MESSAGES)
    one, two = (Scrubber(detector, b"k" * 32).scrub("t1", MESSAGES, TOOLS) for _ in range(2))
    assert one == two
    assert json.dumps(MESSAGES) == before


def test_clean_text_is_returned_as_it_is(detector: Detector):
    messages = [{"role": "user", "content": '{"a" :  1}'}, {"role": "user", "content": "hello"}]
    assert Scrubber(detector, b"k").scrub("t", messages).messages == messages


def test_a_value_that_all_prompts_share_is_the_shops_own(detector: Detector):
    texts = ["Write to help@firma.de. User: a@x.de", "Write to help@firma.de. User: b@x.de"]
    assert shared_values(detector, texts) == {"help@firma.de"}
    assert shared_values(detector, texts[:1]) == frozenset()


def test_keys_of_results_are_exchanged_but_not_those_of_schemas(detector: Detector):
    messages = [{"role": "tool", "tool_call_id": "c", "content": '{"a.b@firma.de": "a.b@firma.de", "email": 1}'}]
    content = json.loads(Scrubber(detector, b"k").scrub("t", messages, TOOLS).messages[0]["content"])
    assert "a.b@firma.de" not in content
    assert content["email"] == 1


def scrubbed_result(rules: ScrubRules, result: dict[str, object], text: str = "hi") -> tuple[dict[str, Any], str]:
    messages = [{"role": "user", "content": text}, {"role": "tool", "tool_call_id": "c", "content": json.dumps(result)}]
    found = Scrubber(presidio_detector(rules)[0], b"k" * 32, (), rules).scrub("t", messages)
    return json.loads(found.messages[1]["content"]), found.messages[0]["content"]


def test_what_a_rule_says_of_a_field():
    rules = ScrubRules(fields={"note": "drop", "customer": "hash", "public": "keep", "room": "scrub"})
    before = {"note": "secret", "n": 3, "customer": "C-4711-X", "public": "a.b@firma.de", "room": "Blue Salon"}
    after, text = scrubbed_result(rules, before, "Mail a.b@firma.de about C-4711-X in the Blue Salon")
    assert after["note"] == ""
    assert after["n"] == 3
    assert len(after["customer"]) == 16
    assert after["public"] == "a.b@firma.de"
    assert after["room"] not in ("Blue Salon", "")
    assert text == f"Mail a.b@firma.de about {after['customer']} in the {after['room']}"


def test_dropped_values_keep_their_type():
    rules = ScrubRules(fields={"inner": "drop"})
    after, _ = scrubbed_result(rules, {"inner": {"a": "x", "b": 7, "c": 1.5, "d": True, "e": ["y"]}, "mail": "a@b.de"})
    assert after["inner"] == {"a": "", "b": 0, "c": 0.0, "d": True, "e": [""]}


def test_deny_and_custom_recognisers():
    custom = {"PATIENT_ID": RecogniserRule(r"PT-\d{6}", ("patient",))}
    rules = ScrubRules(deny=("Blue Sparrow",), recognisers=custom, ignore=("IP_ADDRESS",))
    _, text = scrubbed_result(rules, {}, "blue sparrow, part PT-999999, from 10.0.0.1; patient PT-123456")
    assert "sparrow" not in text.lower()
    assert "PT-123456" not in text
    assert "PT-999999" in text
    assert "10.0.0.1" in text


def test_a_report_names_fields_and_no_values(detector: Detector):
    content = json.dumps({"email": "x.y@firma.de", "a.b@firma.de": 1, "anna b@c.de 12": {"x.z@firma.de 9": "q@r.de"}})
    found = Scrubber(detector, b"k").scrub("t", [{"role": "tool", "tool_call_id": "c", "content": content}])
    assert ("EMAIL_ADDRESS", "email") in found.fields
    assert {name for _, name in found.fields} <= {"email", "other"}


def test_each_message_is_searched_once():
    looked: list[str] = []

    class Counting(Detector):
        def find(self, text: str, field_name: str = "") -> list[Finding]:
            looked.append(text)
            return []

    scrubber = Scrubber(Counting([]), b"k")
    for number in range(3):
        scrubber.scrub(f"t{number}", [{"role": "user", "content": text} for text in ("the same", str(number))])
    assert looked == ["the same", "0", "1", "2"]


def test_calls_that_differ_still_differ(detector: Detector):
    def arguments(mail: str) -> str:
        function = {"name": "send_receipt", "arguments": json.dumps({"email": mail})}
        answer = {"role": "assistant", "tool_calls": [{"id": "x", "type": "function", "function": function}]}
        found = Scrubber(detector, b"k").scrub("t", [*MESSAGES, answer], TOOLS)
        return found.messages[-1]["tool_calls"][0]["function"]["arguments"]

    assert arguments("anna.keller@firma.de") == arguments("anna.keller@firma.de") != arguments("anna.k@firma.de")
