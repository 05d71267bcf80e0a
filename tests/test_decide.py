"""The routing decision as a table: one line per reason, and the order in which reasons win."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.decide import MAX_BYTES, Decision, decide, missing_capability
from tutelage.proxy.routes import Route, RouteTable, bucket

MESSAGES = [{"role": "user", "content": "hi"}]
FUNCTION = {"type": "function", "function": {"name": "f"}}


@dataclass(frozen=True)
class Call:
    body: dict[str, Any]
    size: int = 100
    session: str = "s"


@dataclass(frozen=True)
class Match:
    pattern_id: str = "p_1"


PLAIN = Call({"model": "m", "messages": MESSAGES})


def table(state: str = "live", share: float = 1.0, off: bool = False, student: str = "a@1") -> RouteTable:
    return RouteTable(off=off, routes={"p_1": Route(state=state, student=student, share=share, salt="x")})


@pytest.mark.parametrize(
    ("call", "match", "routes", "accepted", "expected"),
    [
        (PLAIN, Match(), table(), True, Decision("student", "state:live", "a@1")),
        (PLAIN, Match(), table("canary"), True, Decision("student", "state:canary", "a@1")),
        (PLAIN, Match(), table("canary", 0.0), True, Decision("teacher", "teacher_share")),
        (PLAIN, Match(), table(), False, Decision("teacher", "caller_not_accepted")),
        (PLAIN, Match(), table("observe"), True, Decision("teacher", "state:observe")),
        (PLAIN, Match(), table("shadow"), True, Decision("teacher", "state:shadow")),
        (PLAIN, Match(), table("blocked"), True, Decision("teacher", "state:blocked")),
        (PLAIN, Match(), table("quarantined"), True, Decision("teacher", "state:quarantined")),
        (PLAIN, Match(), table("off"), True, Decision("teacher", "state:off")),
        (PLAIN, Match(), table(student=""), True, Decision("teacher", "state:live")),
        (PLAIN, Match("p_2"), table(), True, Decision("teacher", "no_route")),
        (PLAIN, Match(), RouteTable(), True, Decision("teacher", "no_route")),
        (PLAIN, None, table(), True, Decision("teacher", "unknown_pattern")),
        (PLAIN, None, table(off=True), False, Decision("teacher", "switched_off")),
        (PLAIN, Match(), table(off=True), True, Decision("teacher", "switched_off")),
        (Call({"messages": MESSAGES, "n": 2}), None, table(off=True), False, Decision("teacher", "cannot:n")),
        (Call({"messages": MESSAGES}, MAX_BYTES + 1), Match(), table(), True, Decision("teacher", "cannot:long_body")),
        (PLAIN, Match(), table("shadow"), False, Decision("teacher", "state:shadow")),
    ],
)
def test_decide(call: Call, match: Match | None, routes: RouteTable, accepted: bool, expected: Decision) -> None:
    assert decide(call, match, routes, lambda: accepted) == expected


@pytest.mark.parametrize(
    ("extra", "lacking"),
    [
        ({}, ""),
        ({"n": 1, "logprobs": False, "top_logprobs": 0, "modalities": ["text"]}, ""),
        ({"temperature": 0, "seed": 3, "stream": True, "stop": ["x"], "max_tokens": 5, "unknown": 1}, ""),
        ({"response_format": {"type": "text"}, "tool_choice": "required", "tools": [FUNCTION]}, ""),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "f"}}}, ""),
        ({"n": 3}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"web_search_options": {"x": 1}}, "web_search_options"),
        ({"prediction": {"type": "content"}}, "prediction"),
        ({"response_format": {"type": "json_object"}}, ""),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}, ""),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "grammar", "syntax": "lark"}}, "response_format"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": "json_object"}, "response_format"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools"),
        ({"tools": [FUNCTION, {"type": "web_search"}]}, "tools"),
        ({"tools": ["f"]}, "tools"),
        ({"tools": {"f": 1}}, "tools"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"tool_choice": "f"}, "tool_choice"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"previous_response_id": "r"}, "previous_response_id"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}, ""),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "image_url"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input_audio"),
        ({"messages": [{"role": "user", "content": [{"type": "odd\nkind"}]}]}, "content_part"),
        ({"messages": [{"role": "user", "content": ["hi"]}]}, "content_part"),
        ({"messages": [{"role": "assistant", "content": None, "audio": {"id": "a"}}]}, "audio"),
    ],
)
def test_capability(extra: dict[str, Any], lacking: str) -> None:
    assert missing_capability({"messages": MESSAGES} | extra, 100) == lacking


@given(st.text(max_size=20), st.floats(0, 1), st.floats(0, 1))
def test_raising_the_share_takes_no_session_back(session: str, one: float, other: float) -> None:
    call = Call(PLAIN.body, session=session)
    low, high = (decide(call, Match(), table("canary", share), lambda: True).route for share in sorted((one, other)))
    assert not (low == "student" and high == "teacher")


def test_the_share_is_that_of_the_buckets() -> None:
    sessions = [f"s{i}" for i in range(2_000)]
    routes = [decide(Call(PLAIN.body, session=s), Match(), table("canary", 0.2), lambda: True).route for s in sessions]
    assert routes.count("student") == sum(bucket("x", s) < 2_000 for s in sessions)
    assert 340 <= routes.count("student") <= 460


def test_what_a_canary_leaves_goes_to_the_live_version_before_it() -> None:
    behind = Route(state="live", student="lamp@1", share=1.0, salt="y", threshold=-0.5)
    ahead = Route(state="canary", student="lamp@2", share=0.2, salt="x", behind=behind)
    routes = RouteTable(routes={Match().pattern_id: ahead})
    found = [decide(Call(PLAIN.body, session=f"s{i}"), Match(), routes, lambda: True) for i in range(500)]
    assert {(one.student, one.reason, one.threshold) for one in found} == {
        ("lamp@2", "state:canary", None),
        ("lamp@1", "state:live", -0.5),
    }
    assert 50 < sum(one.student == "lamp@2" for one in found) < 150
