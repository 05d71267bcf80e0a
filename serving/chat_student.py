"""A student behind a server that knows chats only: what goes there, and whether what comes back may be used.

Two forms of a chat:

    passed on   messages, tools, tool_choice and response_format as they came, for models with a template of their own
    turns       the turns that our own rendering makes, each as a message of plain text: for student versions, which
                learnt them, and for models whose server refuses tools; calls come back as text

Nothing holds the model to the schemas while it writes, or not by our own means. So the answer is held to them here, and
one that breaks them is refused: the proxy falls open.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..traffic.calibration import Calibration
from ..traffic.students import Manifest, PromptSpec
from .asking import asked_tokens, check_message, read_text, stops, usage_of, wanted_of
from .bare import HOW_TO_CALL
from .chat_endpoint import ChatEndpoint, Completion, Refusal
from .confidence import confidence_of
from .engine import GREEDY, Generation, Sampling, TokenScore
from .expected import Expected
from .render import CALL_OPEN, RENDER_VERSION, InvalidOutput, Message, Segment, prompt_segments
from .student import Answer, Cancelled, Times

_TURN = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>\n?", re.DOTALL)
_PLAIN_TURNS = PromptSpec(mode="full", version=RENDER_VERSION)
Body = dict[str, Any]


class ChatStudent:
    """A student version, or with no manifest a model by itself, on a chat server."""

    lane = ""
    """The server batches as it likes."""

    def __init__(
        self, name: str, endpoint: ChatEndpoint, max_tokens: int = 512, manifest: Manifest | None = None
    ) -> None:
        """`name` is how it is called here."""
        self._model, self._endpoint, self._max_tokens = endpoint.model_of(name), endpoint, max_tokens
        self._spec: PromptSpec | None = manifest.prompt if manifest else None
        """How its turns are rendered; None: chats are passed on."""
        self._calibration: Calibration | None = manifest.calibration if manifest else None

    def answer(self, request: Body, should_stop: Callable[[], bool] | None = None) -> Answer:
        """As `Student.answer`."""
        [made] = self.draw(request, 1, GREEDY, should_stop)
        if isinstance(made, InvalidOutput):
            raise made
        return made

    def draw(
        self, request: Body, count: int, sampling: Sampling, should_stop: Callable[[], bool] | None = None
    ) -> list[Answer | InvalidOutput]:
        """As `Student.draw`; the answers are asked for at the same time."""
        wanted, times = wanted_of(request), Times(should_stop)
        completions = self._asked(request, wanted, count, sampling, times.look)
        usage, spent = _added(completions), times.spent()
        return [self._answer(made, request.get("tools") or [], wanted, usage, spent) for made in completions]

    def _asked(
        self, request: Body, wanted: Expected, count: int, sampling: Sampling, look: Callable[[], bool]
    ) -> list[Completion]:
        common: Body = {
            "model": self._model,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": asked_tokens(request, self._max_tokens),
            **({"stop": found} if (found := stops(request.get("stop"))) else {}),
        }

        def ask() -> Completion:
            found = self._endpoint.complete(common | self._chat(request, wanted), look)
            if found is None:
                raise Cancelled
            return found

        try:
            return _times(count, ask)
        except Refusal as refusal:
            if self._spec is not None or not wanted.tools or not refusal.is_about("tool"):
                raise
            # Its template knows no tools: from now on it is told in words how to call.
            self._spec = _PLAIN_TURNS
            return _times(count, ask)

    def _chat(self, request: Body, wanted: Expected) -> Body:
        formatted = {"response_format": request["response_format"]} if wanted.content is not None else {}
        if self._spec is None:
            return {"messages": request["messages"], **_tools_of(request, wanted), **formatted}
        messages, tools = request["messages"], request.get("tools") or []
        if self._spec is _PLAIN_TURNS and (tools := list(wanted.tools)):
            messages = [{"role": "system", "content": HOW_TO_CALL}, *messages]
        # A text that must be JSON could be no call, which is written as text here.
        formatted = {} if tools else formatted
        return {"messages": turns_of(prompt_segments(messages, tools, self._spec)), **formatted}

    def _answer(
        self,
        made: Completion,
        tools: Sequence[Message],
        wanted: Expected,
        usage: Body,
        spent: tuple[float, float],
    ) -> Answer | InvalidOutput:
        choice = made.body["choices"][0]
        written = choice.get("message") or {}
        text = written.get("content") or ""
        if choice.get("finish_reason") == "length":
            return InvalidOutput("length", text)
        try:
            if written.get("tool_calls"):
                message = {"role": "assistant", "content": text or None, "tool_calls": _calls(written["tool_calls"])}
                check_message(message, tools, wanted)
            elif self._spec is not None or CALL_OPEN in text:
                message = read_text(text, tools, wanted)
            else:
                message = {"role": "assistant", "content": text}
                check_message(message, tools, wanted)
        except InvalidOutput as error:
            return InvalidOutput(error.reason, error.text or text or str(written)[:2000])
        mean, lowest = _sure(made, choice)
        finish = "tool_calls" if message.get("tool_calls") else "stop"
        known = None if math.isnan(mean) else self._calibration
        probability = known.calibrated(mean) if known else None
        return Answer(message, usage, mean, lowest, finish, *spent, probability=probability)


def turns_of(parts: Iterable[Segment]) -> list[Message]:
    """The turns of a rendered prompt as messages. Rendering makes marks inside a turn inert, so it is found whole."""
    whole = "".join(part.text for part in parts)
    return [{"role": role, "content": content} for role, content in _TURN.findall(whole)]


def _tools_of(request: Body, wanted: Expected) -> Body:
    """The tools that may be called. A choice among them is what they are, so any server's `required` will do."""
    if not wanted.tools:
        return {}
    choice = "required" if wanted.must_call else "auto"
    parallel = request.get("parallel_tool_calls")
    asked = {} if parallel is None else {"parallel_tool_calls": parallel}
    return {"tools": list(wanted.tools), "tool_choice": choice, **asked}


def _calls(calls: Any) -> list[Message]:
    """Calls in OpenAI's form. Raises InvalidOutput for what has no name or no arguments."""
    found = []
    for number, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise InvalidOutput("bad_json")
        arguments = function.get("arguments") or "{}"
        if not isinstance(arguments, str):
            raise InvalidOutput("bad_json")
        named = {"name": function["name"], "arguments": arguments}
        found.append({"id": call.get("id") or f"call_{number}", "type": "function", "function": named})
    return found


def _sure(made: Completion, choice: Body) -> tuple[float, float]:
    """Mean and lowest log-probability of the action's tokens; NaN where the server does not tell."""
    told = [one for one in ((choice.get("logprobs") or {}).get("content") or ()) if isinstance(one, dict)]
    scores = [TokenScore(str(one.get("token", "")).encode(), one["logprob"]) for one in told if "logprob" in one]
    if not scores:
        score = math.nan if made.score is None else made.score
        return score, score
    text = b"".join(score.text for score in scores).decode("utf-8", "replace")
    values = [score.logprob for score in scores]
    found = confidence_of(
        Generation(text, len(scores), 0, sum(values) / len(values), min(values), "stop", scores=tuple(scores))
    )
    return found.mean, found.lowest


def _added(completions: Sequence[Completion]) -> Body:
    """The usage of all: the prompt once, as it is one request here, and the tokens written in each."""
    told = [made.body.get("usage") or {} for made in completions]
    cached = ((told[0].get("prompt_tokens_details") or {}).get("cached_tokens")) or 0
    written = sum(usage.get("completion_tokens") or 0 for usage in told)
    return usage_of(told[0].get("prompt_tokens") or 0, written, cached)


def _times(count: int, ask: Callable[[], Completion]) -> list[Completion]:
    if count == 1:
        return [ask()]
    with ThreadPoolExecutor(count) as pool:
        return [running.result() for running in [pool.submit(ask) for _ in range(count)]]
