"""The grammar (GBNF, llama.cpp's notation) of the valid answers to one request: text, or calls that fit the schemas.

Text may hold anything but an opening call tag, so that once a model writes that tag only a valid call can follow. Where
a call must come, only a short thought may stand before it, or a weak model would never reach it. Objects have their
properties in the order of the schema, which is the order in which calls are rendered for training.
"""

import json
from collections.abc import Sequence
from typing import Any

from .expected import Expected, expected
from .gbnf import Rules, literal
from .render import CALL_CLOSE, CALL_OPEN, Message
from .schemas import LIMITS, SIZE_LIMIT, Compiler, Limits, Uncompilable

_FIRST = r"[^<\x09-\x0D\x1C-\x20\x85\xA0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]"
"""An answer that is white space alone would be none."""


def grammar_for(
    tools: Sequence[Message], tool_choice: Any = None, parallel: bool = True, response_format: Any = None
) -> str | None:
    """GBNF of the answers that these fields of a request allow; None where any text will do.

    Raises Uncompilable where there is none, BadInput for fields that OpenAI's API does not have either."""
    if not tools and response_format is None:
        return None
    return grammar_of(expected(tools, tool_choice, parallel, response_format))


def grammar_of(wanted: Expected, limits: Limits = LIMITS) -> str:
    """GBNF of these answers. Raises Uncompilable."""
    rules, options = Rules(), []
    if wanted.tools:
        options.append("calls" if wanted.content is not None else "thought calls")
        _put_calls(wanted, rules, limits)
    if wanted.content is not None and not wanted.must_call:
        options.append(Compiler(wanted.content, rules, "response_format", limits).compile(wanted.content))
    elif not wanted.must_call:
        options += [f"{_FIRST} text0", '"<" text1']
    if wanted.must_call:
        rules.put("thought", f"[^<]{{0,{limits.thought}}}" if limits.thought else '""')
    elif wanted.content is None:
        _put_text(rules)
        rules.put("thought", "text0")
    rules.put("root", " | ".join(options))
    text = rules.written()
    if len(text) > SIZE_LIMIT:
        raise Uncompilable(
            f"The grammar has {len(text)} characters, more than {SIZE_LIMIT}: too many or too large tools"
        )
    return text


def _put_calls(wanted: Expected, rules: Rules, limits: Limits) -> None:
    names = [rules.add("tool", _call(tool["function"], rules, limits)) for tool in wanted.tools]
    more = f' ("\\n" call){{0,{wanted.most_calls - 1}}}' if wanted.most_calls > 1 else ""
    rules.put("call", f"{literal(CALL_OPEN)} ({' | '.join(names)}) {literal(CALL_CLOSE)}")
    rules.put("calls", f"call{more}")


def _put_text(rules: Rules) -> None:
    """Text without the opening tag: one rule per number of its characters that have just been read."""
    for read, following in enumerate(CALL_OPEN):
        other = f"[^<{following if read else ''}] text0"
        again = '"<" text1'
        onward = f' | "{following}" text{read + 1}' if 0 < read < len(CALL_OPEN) - 1 else ""
        rules.put(f"text{read}", f"({other} | {again}{onward})?")


def _call(function: Message, rules: Rules, limits: Limits) -> str:
    schema = function.get("parameters") or {"properties": {}}
    if not isinstance(schema, dict):
        raise Uncompilable(f"{function['name']}: `parameters` is no JSON schema")
    arguments = Compiler(schema, rules, function["name"], limits).compile({"type": "object", **schema})
    head = '{"name":' + json.dumps(function["name"], ensure_ascii=False) + ',"arguments":'
    return f'{literal(head)} {arguments} "}}"'
