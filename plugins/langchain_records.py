"""LangChain's model calls in OpenAI's form: what a handler posts of calls that did not go through the proxy.

Bodies are those that `ChatOpenAI` would have sent and got, whatever the provider: messages, tools and tool choice are
translated, parameters that OpenAI does not know are left out. What cannot be translated is not recorded at all: a
request without its tools would be another request.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, convert_to_openai_messages
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.utils.function_calling import convert_to_openai_tool

from ..traffic.openai_form import Untranslatable, parameters_of

Json = dict[str, Any]
_FINISH = {"end_turn": "stop", "stop_sequence": "stop", "tool_use": "tool_calls", "max_tokens": "length"}
"""Finish reasons of other providers in OpenAI's words."""


def request_of(messages: Sequence[BaseMessage], invocation: Mapping[str, Any], metadata: Mapping[str, Any]) -> Json:
    """The body of the request. Raises Untranslatable, naming what stands in the way."""
    model = invocation.get("model") or invocation.get("model_name") or metadata.get("ls_model_name") or ""
    body: Json = {"model": str(model), "messages": [message_of(message) for message in messages]}
    body |= parameters_of(invocation)
    if tools := invocation.get("tools"):
        body["tools"] = [_tool(tool) for tool in tools]
        if (choice := invocation.get("tool_choice")) is not None:
            body["tool_choice"] = _choice(choice)
    return body


def response_of(result: LLMResult) -> Json:
    """The body of the answer. Raises Untranslatable when there is none."""
    found = [one for one in result.generations[0] if isinstance(one, ChatGeneration)] if result.generations else []
    if not found:
        raise Untranslatable("an answer without a message")
    message = found[0].message
    known = message.response_metadata
    body: Json = {
        "id": answer_id(message) or None,
        "object": "chat.completion",
        "model": known.get("model_name") or known.get("model") or "",
        "choices": [_given(index, generation) for index, generation in enumerate(found)],
    }
    usage = _usage(message)
    return body | ({"usage": usage} if usage else {})


def message_of(message: BaseMessage) -> Json:
    """One message as `ChatOpenAI` sends it."""
    said = _tried(lambda: dict(convert_to_openai_messages(message)), f"a message of type {message.type!r}")
    if said.get("tool_calls") and said.get("content") == "":
        said["content"] = None
    return said


def answer_of(result: LLMResult) -> AIMessage | None:
    """The first message of an answer."""
    first = result.generations[0][0] if result.generations and result.generations[0] else None
    message = first.message if isinstance(first, ChatGeneration) else None
    return message if isinstance(message, AIMessage) else None


def answer_id(message: BaseMessage) -> str:
    """The provider's name of an answer (`chatcmpl-…`); empty when LangChain made one up."""
    found = message.response_metadata.get("id") or message.id or ""
    return "" if not isinstance(found, str) or found.startswith(("lc_run-", "run-")) else found


def finish_of(message: BaseMessage) -> str:
    """Why the answer ended, in OpenAI's words; empty when nobody said it."""
    known = message.response_metadata
    finish = known.get("finish_reason") or known.get("stop_reason") or known.get("done_reason") or ""
    return _FINISH.get(str(finish), str(finish).lower())


def _given(index: int, generation: ChatGeneration) -> Json:
    said = message_of(generation.message)
    # An agent's name is added by LangChain; the provider did not say it.
    said.pop("name", None)
    finish = finish_of(generation.message) or ("tool_calls" if said.get("tool_calls") else "stop")
    return {"index": index, "message": said, "finish_reason": finish}


def _usage(message: BaseMessage) -> Json:
    usage = message.usage_metadata if isinstance(message, AIMessage) else None
    if not usage:
        return {}
    told: Json = {"prompt_tokens": usage["input_tokens"], "completion_tokens": usage["output_tokens"]}
    told["total_tokens"] = usage["total_tokens"]
    cached = (usage.get("input_token_details") or {}).get("cache_read")
    thought = (usage.get("output_token_details") or {}).get("reasoning")
    told |= {"prompt_tokens_details": {"cached_tokens": cached}} if cached is not None else {}
    return told | ({"completion_tokens_details": {"reasoning_tokens": thought}} if thought is not None else {})


def _tool(tool: Any) -> Json:
    if isinstance(tool, Mapping) and tool.get("type") == "function" and "function" in tool:
        return dict(tool)
    return _tried(lambda: convert_to_openai_tool(tool), "a tool that is no function")


def _choice(choice: Any) -> Any:
    """The tool choice; Anthropic's forms are `{"type": "auto" | "any" | "none"}` and `{"type": "tool", "name": …}`."""
    if isinstance(choice, str):
        return "required" if choice == "any" else choice
    kind = choice.get("type") if isinstance(choice, Mapping) else None
    if kind in ("auto", "any", "none"):
        return "required" if kind == "any" else kind
    if kind == "tool":
        return {"type": "function", "function": {"name": choice.get("name")}}
    if kind in ("function", "allowed_tools"):
        return dict(choice)
    raise Untranslatable(f"the tool choice {choice!r}")


def _tried(translate: Callable[[], Json], what: str) -> Json:
    try:
        return translate()
    except Exception as error:  # LangChain raises what it likes for content that it does not know
        raise Untranslatable(f"{what}: {error}") from error
