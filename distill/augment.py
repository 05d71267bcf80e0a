"""Lessons in reading the schema: sessions again, with other names for tools and arguments, or without the tool needed.

A student with the whole prompt should choose by what the schemas say, not by names that it has by heart. So a share of
the sessions is repeated with every tool and argument renamed, in the schemas, in the calls and where the texts name
them, and with the tools in another order. In every tenth of them the tool that the teacher used is missing instead,
and the answer is that there is none. Of no use where tool schemas are not shown to the student at all.
"""

import itertools
import json
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from .curate import Message, Trajectory

MARK = "#"
"""In the names of such sessions and calls, between the original's and what was done with it."""
WITHOUT_TOOL = 10
"""One in so many is without its tool."""
NO_TOOL = (
    "None of my tools can do this.",
    "I have no tool for that.",
    "I am sorry, but the tools I have cannot do this.",
    "That is beyond what my tools can do.",
    "There is no tool here that would help with this.",
)
_SYNONYMS = {
    "get": ("fetch", "read", "retrieve", "load"),
    "set": ("assign", "change", "put"),
    "update": ("modify", "edit", "revise"),
    "create": ("make", "add", "new"),
    "add": ("insert", "append", "include"),
    "delete": ("remove", "erase", "drop"),
    "remove": ("delete", "discard", "erase"),
    "send": ("dispatch", "transmit", "post"),
    "list": ("enumerate", "show", "all"),
    "search": ("find", "query", "seek"),
    "find": ("search", "locate", "lookup"),
    "cancel": ("abort", "revoke", "undo"),
    "book": ("reserve", "order"),
    "order": ("purchase", "request"),
    "user": ("person", "account", "customer"),
    "id": ("key", "identifier", "ref"),
    "name": ("title", "label"),
    "date": ("day", "on"),
    "time": ("hour", "moment"),
    "amount": ("sum", "value"),
    "message": ("text", "body", "note"),
    "file": ("document", "item"),
    "email": ("mail", "letter"),
    "turn": ("switch", "make"),
    "start": ("begin", "from"),
    "end": ("until", "finish"),
}
_STYLES: tuple[Callable[[list[str]], str], ...] = (
    "_".join,
    "-".join,
    lambda words: words[0] + "".join(word.capitalize() for word in words[1:]),
    lambda words: "".join(word.capitalize() for word in words),
)
_BY_REFERENCE = (
    "$ref",
    "$defs",
    "definitions",
    "allOf",
    "anyOf",
    "oneOf",
    "patternProperties",
    "if",
    "dependentSchemas",
)
Names = dict[str, str]


def augmented(trajectories: Sequence[Trajectory], share: float, seed: int) -> list[Trajectory]:
    """`share` times as many sessions as there are, made of those that have tools. The same every time."""
    rng = random.Random(seed)
    candidates = [item for item in trajectories if item.tools]
    wanted = round(share * len(trajectories))
    made: list[Trajectory] = []
    for number, item in enumerate(itertools.islice(_again_and_again(candidates, rng), 3 * wanted)):
        if len(made) == wanted:
            break
        without = len(made) % WITHOUT_TOOL == WITHOUT_TOOL - 1
        found = without_tool(item, number, rng) if without else renamed(item, number, rng)
        made += [found] if found else []
    return made


def _again_and_again(items: list[Trajectory], rng: random.Random) -> Iterable[Trajectory]:
    while items:
        yield from rng.sample(items, len(items))


def renamed(item: Trajectory, number: int, rng: random.Random) -> Trajectory | None:
    """The session with other names for everything; None where a call has arguments that are no JSON object."""
    functions = {tool["function"]["name"]: tool["function"] for tool in item.tools if tool.get("function")}
    names = _new_names(functions, rng)
    schemas = {name: function.get("parameters") or {} for name, function in functions.items()}
    arguments = {name: _new_names(_properties(schema), rng) for name, schema in schemas.items()}
    tools = [_tool(tool, names, arguments) for tool in item.tools]
    rng.shuffle(tools)
    try:
        messages = [_message(message, names, arguments) for message in item.messages]
    except ValueError:
        return None
    return _copy(item, f"{MARK}renamed-{number}", tools=tools, messages=messages)


def without_tool(item: Trajectory, number: int, rng: random.Random) -> Trajectory | None:
    """The session up to the first call of a tool, which is not there; None where no other is, or none is called."""
    first = item.trainable[0]
    used = {function["name"] for function in _functions(item.messages[first.index])}
    before = {f["name"] for message in item.messages[: first.index] for f in _functions(message)}
    tools = [tool for tool in item.tools if (tool.get("function") or {}).get("name") not in used]
    if not used or not tools or used & before:
        return None
    answer: Message = {"role": "assistant", "content": rng.choice(NO_TOOL)}
    messages = [*item.messages[: first.index], answer]
    return _copy(replace(item, calls=(first,)), f"{MARK}no-tool-{number}", tools=tools, messages=messages)


def _copy(item: Trajectory, mark: str, tools: list[Message], messages: list[Message]) -> Trajectory:
    calls = tuple(replace(call, call_id=call.call_id + mark) for call in item.calls)
    return replace(item, trajectory_id=item.trajectory_id + mark, tools=tools, messages=messages, calls=calls)


def _new_names(known: Iterable[str], rng: random.Random) -> Names:
    """Another name for each; no two alike, none of them a known one."""
    style, made = rng.choice(_STYLES), {}
    taken = set(known)
    for name in sorted(taken):
        words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)] or ["it"]
        words = [rng.choice(_SYNONYMS.get(word, (word,))) for word in words]
        new = style(words)
        while new in taken:
            words.append(rng.choice(("one", "now", "x", "for_all", "two", "data")))
            new = style(words)
        taken.add(new)
        made[name] = new
    return made


def _properties(schema: Message) -> Message:
    """The arguments that can be renamed: none where parts of the schema name them in ways that are not followed."""
    text = json.dumps(schema)
    return {} if any(f'"{word}"' in text for word in _BY_REFERENCE) else schema.get("properties") or {}


def _tool(tool: Message, names: Names, arguments: dict[str, Names]) -> Message:
    function = tool.get("function")
    if not function:
        return tool
    own = arguments[function["name"]]
    schema = dict(function.get("parameters") or {})
    if own:
        schema["properties"] = {own[name]: _described(part, own | names) for name, part in schema["properties"].items()}
        schema["required"] = [own.get(name, name) for name in schema.get("required") or []]
    made = {**_described(function, own | names), "name": names[function["name"]], "parameters": schema}
    return {**tool, "function": made}


def _described(part: Any, names: Names) -> Any:
    if isinstance(part, dict) and isinstance(part.get("description"), str):
        return {**part, "description": _speaking(part["description"], names)}
    return part


def _speaking(text: str, names: Names) -> str:
    """The text with names exchanged that can be nothing but names: `get_order`, not `track`."""
    telling = {name: new for name, new in names.items() if re.search(r"_|-|[a-z][A-Z]", name)}
    if not telling:
        return text
    found = "|".join(map(re.escape, sorted(telling, key=len, reverse=True)))
    return re.sub(rf"(?<![\w-])({found})(?![\w-])", lambda match: telling[match.group()], text)


def _functions(message: Message) -> list[Message]:
    calls = [call["function"] for call in message.get("tool_calls") or [] if call.get("function")]
    return [*calls, message["function_call"]] if message.get("function_call") else calls


def _message(message: Message, names: Names, arguments: dict[str, Names]) -> Message:
    made = dict(message)
    if message.get("role") in ("system", "developer") and isinstance(message.get("content"), str):
        made["content"] = _speaking(message["content"], names)
    if message.get("role") in ("tool", "function") and message.get("name") in names:
        made["name"] = names[message["name"]]
    if message.get("tool_calls"):
        made["tool_calls"] = [
            {**call, "function": _function(call["function"], names, arguments)} for call in message["tool_calls"]
        ]
    if message.get("function_call"):
        made["function_call"] = _function(message["function_call"], names, arguments)
    return made


def _function(function: Message, names: Names, arguments: dict[str, Names]) -> Message:
    name = function["name"]
    given = json.loads(function.get("arguments") or "{}")
    if not isinstance(given, dict) or name not in names:
        raise ValueError(f"a call of {name} that the tools do not explain")
    own = arguments[name]
    written = json.dumps({own.get(key, key): value for key, value in given.items()}, ensure_ascii=False)
    return {**function, "name": names[name], "arguments": written}
