import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.distill.detect import Detector, presidio_detector
from tutelage.distill.scrub import Scrubber, exchange, json_inside, leaves, schema_words, shared_values

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


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_exchanging_nothing_changes_nothing(value: object):
    assert exchange(value, lambda text: text, frozenset()) == value


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=3))
def test_json_inside_a_text_stays_json(value: dict[str, object]):
    text = json.dumps(value)
    assert json_inside(exchange(text, lambda leaf: leaf.replace("a", "b"), frozenset(value))) is not None


def test_leaves_know_their_field_and_skip_protocol_ids():
    assert ("anna", "name") in list(leaves([{"role": "tool", "content": '{"name": "anna", "id": "x"}'}]))
    assert ("x", "id") in list(leaves([{"role": "tool", "content": '{"name": "anna", "id": "x"}'}]))
    assert "call_1" not in [text for text, _ in leaves(MESSAGES)]


def test_schema_words():
    assert {"send_receipt", "email", "to", "customer"} <= schema_words(TOOLS)
