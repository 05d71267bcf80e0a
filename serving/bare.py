"""A base model that serves itself: no adapter, no training, no template for tools needed.

It is told in its system prompt how a call is written, and the grammar holds it to that. So a model whose own template
knows no tools, and whose server would refuse them, answers with valid calls too. Which call is right is another matter:
that is what training is for.
"""

from pathlib import Path
from typing import Any

from ..traffic.students import PromptSpec
from .engine import Engine
from .render import CALL_CLOSE, CALL_OPEN, RENDER_VERSION
from .schemas import Limits
from .student import Student

HOW_TO_CALL = (
    "You have the tools listed in <tools>. To use one, answer with nothing but "
    f'{CALL_OPEN}{{"name":"NAME","arguments":{{…}}}}{CALL_CLOSE}. '
    "Once the tool's response answers the question, say the answer in plain words."
)


def model_name(base: str) -> str:
    """The name under which a base is served: its own, or that of its file."""
    path = Path(base)
    return path.stem if path.suffix == ".gguf" else base


class BareBase(Student):
    """An untrained base as a student: everything is written out in its prompt."""

    limits = Limits(string=200, items=8, thought=0)
    """What nobody has taught where to stop would go on until its tokens run out, and leave no valid answer."""

    def __init__(self, engine: Engine, max_tokens: int = 512) -> None:
        super().__init__(PromptSpec(mode="full", version=RENDER_VERSION), engine, max_tokens=max_tokens)

    def prompt_ids(self, request: dict[str, Any]) -> list[int]:
        if request.get("tools") and request.get("tool_choice") != "none":
            told = {"role": "system", "content": HOW_TO_CALL}
            request = {**request, "messages": [told, *request["messages"]]}
        return super().prompt_ids(request)
