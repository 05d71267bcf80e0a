"""What a server's response to a copied call means for the label: an answer, the student's failure, or "ask again"."""

import math
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import httpx

Message = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What the asked side said. Exactly one of `message`, `failure` and `retry` is set."""

    message: Message | None = None
    failure: str = ""
    """Why there is no usable answer, as a reason code."""
    retry: str = ""
    """Why the question must be asked again later, in words."""
    latency_ms: float = 0.0
    usage: tuple[int | None, int | None] = (None, None)
    score: float | None = None
    """How sure the student is of its answer; None where its server does not say."""


def read_student(response: httpx.Response) -> Reply:
    """The student server's answer. Its overload and a version not loaded yet are no losses; all other errors are."""
    code = _error(response, "code")
    if response.status_code in (404, 429, 503) and code != "deadline_exceeded":
        return Reply(retry=f"The student server answers {response.status_code}: {_error(response, 'message')[:120]}")
    if response.status_code != 200:
        return Reply(failure=code or f"http_{response.status_code}")
    reply, finish = _completion(response)
    if finish == "length":
        return Reply(failure="length", usage=reply.usage)
    return replace(reply, score=_score(response)) if reply.message else Reply(failure="unparsable")


def read_teacher(response: httpx.Response) -> Reply:
    """The teacher's answer. Whatever is wrong with it, the student is not to blame: the audit waits."""
    if response.status_code in (401, 403):
        return Reply(
            retry=f"The teacher refuses audits ({response.status_code}): they need a key of their own. "
            "Set the environment variable named by `teacher_key_env` for the control plane. "
            "Until then nothing is promoted beyond canary."
        )
    if response.status_code != 200:
        what = _error(response, "message")[:120]
        return Reply(retry=f"The teacher answers audits with {response.status_code}: {what}")
    reply, _ = _completion(response)
    return reply if reply.message else Reply(retry="The teacher's answer to an audit is not a chat completion.")


def read_judge(response: httpx.Response) -> Reply:
    """The judge's answer. What it refuses as such is a failure; all other trouble passes, so it is asked again."""
    status, what = response.status_code, _error(response, "message")[:120]
    if status in (401, 403):
        why = f"The judge refuses the key ({status}). Set the environment variable named by `judge.key_env`."
        return Reply(retry=why)
    if status in (400, 413, 422):
        return Reply(failure=f"http_{status}: {what}")
    if status != 200:
        return Reply(retry=f"The judge answers {status}: {what}")
    reply, _ = _completion(response)
    return reply if reply.message else Reply(failure="no chat completion")


def _completion(response: httpx.Response) -> tuple[Reply, str]:
    """The first choice of a chat.completion and its finish reason; an empty Reply when the body is none."""
    try:
        body = response.json()
        choice = body["choices"][0]
        message = choice["message"]
        usage = body.get("usage") or {}
        tokens = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
        finish = str(choice.get("finish_reason") or "")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return Reply(), ""
    return Reply(message=message if isinstance(message, dict) else None, usage=tokens), finish


def _score(response: httpx.Response) -> float | None:
    """The student server's word on its answer."""
    with suppress(ValueError):
        score = float(response.headers.get("x-tutelage-confidence") or "nan")
        return score if math.isfinite(score) else None
    return None


def _error(response: httpx.Response, field_name: str) -> str:
    """A field of an error body in OpenAI's form; empty when it has none."""
    try:
        return str(response.json()["error"].get(field_name) or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
