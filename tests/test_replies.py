"""What a response means for a label."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.replies import Reply, read_student, read_teacher

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["choices", "message", "usage", "error"]), inner)
    ),
    max_leaves=8,
)


@given(JSON, st.sampled_from([200, 400, 401, 404, 429, 500, 503]))
def test_any_body_is_read_as_exactly_one_thing(body: object, status: int) -> None:
    for read in (read_student, read_teacher):
        reply = read(httpx.Response(status, json=body))
        assert sum((reply.message is not None, bool(reply.failure), bool(reply.retry))) == 1


def test_a_cut_off_teacher_is_still_the_reference() -> None:
    body = {"choices": [{"message": {"role": "assistant", "content": "a"}, "finish_reason": "length"}]}
    assert read_teacher(httpx.Response(200, json=body)).message == {"role": "assistant", "content": "a"}
    assert read_student(httpx.Response(200, json=body)) == Reply(failure="length")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_explained(status: int) -> None:
    assert "teacher_key_env" in read_teacher(httpx.Response(status)).retry
