from tutelage.proxy.headers import relayed, to_agent, to_student, to_teacher
from tutelage.proxy.http_messages import ReceivedHeaders

AGENT = [
    ("host", "proxy"),
    ("authorization", "Bearer a"),
    ("cookie", "c"),
    ("connection", "keep-alive, x-hop"),
    ("x-hop", "1"),
    ("te", "trailers"),
    ("accept-encoding", "gzip"),
    ("content-length", "3"),
    ("x-tutelage-pattern", "p"),
    ("openai-organization", "org"),
    ("traceparent", "00-1"),
    ("x-own", "1"),
    ("x-own", "2"),
]


def test_the_teacher_gets_all_that_is_not_of_this_hop() -> None:
    assert to_teacher(AGENT) == [
        ("authorization", "Bearer a"),
        ("cookie", "c"),
        ("openai-organization", "org"),
        ("traceparent", "00-1"),
        ("x-own", "1"),
        ("x-own", "2"),
    ]


def test_a_key_of_the_proxy_takes_the_place_of_the_agents() -> None:
    sent = to_teacher([*AGENT, ("api-key", "b")], key="sk-proxy")
    assert [value for name, value in sent if name in ("authorization", "api-key")] == ["Bearer sk-proxy"]


def test_a_key_of_this_proxy_reaches_no_teacher() -> None:
    both = [("authorization", "Bearer sk-tu-abc"), ("authorization", "Bearer sk-own"), ("x-api-key", "sk-tu-abc")]
    assert to_teacher(both) == [("authorization", "Bearer sk-own")]


def test_the_student_gets_no_secret() -> None:
    assert {name for name, _ in to_student(AGENT)} == {"openai-organization", "traceparent", "x-own"}


def test_the_agent_gets_none_of_the_upstreams_headers_that_the_proxy_says_itself() -> None:
    upstream = [("retry-after", "1"), ("set-cookie", "c"), ("transfer-encoding", "chunked"), ("x-request-id", "theirs")]
    upstream.append(("content-encoding", "gzip"))
    upstream.append(("x-tutelage-route", "student"))
    assert to_agent(upstream) == [("retry-after", "1"), ("content-encoding", "gzip")]


def test_headers_that_come_again_are_sorted_out_once() -> None:
    upstream = ReceivedHeaders([("retry-after", "1"), ("set-cookie", "c"), ("content-length", "3")])
    assert relayed(list(upstream)) == relayed(upstream) == "retry-after: 1\r\n"
    again = upstream.with_length("44")
    assert again == [("retry-after", "1"), ("set-cookie", "c"), ("content-length", "44")]
    assert again.named["content-length"] == "44"
    assert relayed(again) is relayed(upstream)
