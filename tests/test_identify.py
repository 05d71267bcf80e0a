from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.identify import Names, call_facts, names_in, retry_count, session_key

SYSTEM = {"role": "system", "content": "It is 10:00."}
LATER = {"role": "system", "content": "It is 10:05."}
GREETING = {"role": "assistant", "content": "How can I help?"}
ASK = {"role": "user", "content": "Where is my order?"}
ANSWER = {"role": "assistant", "content": "Which one?"}
MORE = {"role": "user", "content": "Number 12."}


def key(*messages: Any, caller: str = "c", explicit: str = "") -> str:
    return session_key(caller, explicit, {"messages": list(messages)})


@pytest.mark.parametrize("opening", [[], [SYSTEM], [GREETING], [SYSTEM, GREETING]])
def test_all_calls_of_a_run_have_one_key(opening: list[Any]) -> None:
    first = key(*opening, ASK)
    assert len(first) == 32
    assert key(*opening, ASK, ANSWER, MORE) == first
    assert key(*opening, ASK, ANSWER, {"role": "tool", "content": "x"}, ANSWER, MORE) == first


def test_a_clock_in_the_system_prompt_makes_no_new_session() -> None:
    assert key(SYSTEM, ASK) == key(LATER, ASK, ANSWER, MORE)


def test_other_openings_callers_and_ids_are_other_sessions() -> None:
    keys = {key(ASK), key(MORE), key(ASK, MORE), key(ASK, caller="d"), key(ASK, explicit="r"), key(GREETING, ASK)}
    assert len(keys) == 6
    assert key(ASK, explicit="r") == key(MORE, explicit="r")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_odd_messages_are_no_error(messages: Any) -> None:
    assert len(session_key("c", "", {"messages": messages})) == 32
    assert len(session_key("c", "", {"messages": [{"role": "user", "content": messages}]})) == 32


def test_text_that_is_not_unicode() -> None:
    assert len(key({"role": "user", "content": "\ud800"})) == 32


def test_names_come_from_headers_before_metadata() -> None:
    body = {"messages": [ASK], "stream": True, "metadata": {"tutelage_trajectory": "m", "tutelage_pattern": "mp"}}
    facts = call_facts(Names(), body, 10, "c")
    assert (facts.trajectory, facts.hint, facts.stream, facts.size) == ("m", "mp", True, 10)
    assert facts.parent == ""
    facts = call_facts(names_in({"x-tutelage-trajectory": "h", "x-tutelage-pattern": "hp"}), body, 10, "c")
    assert (facts.trajectory, facts.hint) == ("h", "hp")
    body = {"metadata": {"tutelage_parent": "m"}}
    assert call_facts(Names(), body, 10, "c").parent == "m"
    assert call_facts(names_in({"x-tutelage-parent": "h"}), body, 10, "c").parent == "h"
    assert call_facts(Names(), {"metadata": {"tutelage_parent": ["m"]}}, 10, "c").parent == ""
    both = dict.fromkeys(("tutelage_trajectory", "tutelage_pattern"), "a\ud800")
    half = call_facts(Names(), {"metadata": both}, 0, "")
    assert (half.trajectory, half.hint) == ("a?", "a?")
    odd = call_facts(Names(), {"metadata": {"tutelage_trajectory": 5}, "stream": "yes"}, 0, "")
    assert (odd.trajectory, odd.stream) == ("", False)


@pytest.mark.parametrize(("text", "count"), [("2", 2), ("", 0), ("-1", 0), ("²", 0), ("9" * 50, 0)])
def test_retry_counts(text: str, count: int) -> None:
    assert retry_count({"x-stainless-retry-count": text}) == count


def test_runs_of_one_conversation_share_a_session_and_stay_runs_of_their_own() -> None:
    first, second = ({"x-tutelage-conversation": "thread 1", "x-tutelage-trajectory": name} for name in ("a", "b"))
    body = {"messages": [{"role": "user", "content": "hello"}]}
    facts = [call_facts(names_in(headers), body, 10, "caller") for headers in (first, second)]
    assert facts[0].session == facts[1].session
    assert [one.trajectory for one in facts] == ["a", "b"]
    named = {**body, "metadata": {"tutelage_conversation": "thread 1"}}
    assert call_facts(Names(), named, 10, "caller").session == facts[0].session
    assert call_facts(Names(), body, 10, "caller").session != facts[0].session
