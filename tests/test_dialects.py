"""Endpoints and their protocols."""

import pytest

from tutelage.traffic.dialects import CHAT, dialect_of


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/chat/completions", "chat"),
        ("/openai/v1/chat/completions/", "chat"),
        ("/v1/completions", "completions"),
        ("/v1/responses", "responses"),
        ("/v1/messages", "messages"),
        ("/v1/embeddings", "embeddings"),
    ],
)
def test_the_end_of_the_path_decides(path: str, name: str) -> None:
    dialect = dialect_of("POST", path)
    assert dialect is not None
    assert dialect.name == name
    assert (dialect is CHAT) == (name == "chat")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1/files"),
        ("POST", ""),
    ],
)
def test_other_calls_are_only_passed_on(method: str, path: str) -> None:
    assert dialect_of(method, path) is None
