"""Middleware for `create_agent`: names each model call, whatever client the model was made with.

    create_agent(model, tools, middleware=[TutelageMiddleware()])

The names go out with the call itself (`extra_headers`), so any model with OpenAI's client will do. The trajectory is
kept in the agent's state: with a checkpointer, a run that another process continues after an interrupt stays one
trajectory. Beside a `TutelageCallbackHandler` both use the same names; parents of sub-agents and outcomes are the
handler's.
"""

import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, NotRequired

from langchain.agents import AgentState
from langchain.agents.middleware import AgentMiddleware, ModelRequest
from langchain.agents.middleware.types import PrivateStateAttr
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config

from .langchain_handler import TutelageCallbackHandler
from .langchain_runs import TRAJECTORY_KEY, Frame, hint_of
from .tags import Tag, name_of

log = logging.getLogger("tutelage.plugins")
_AGENT_NAME = "lc_agent_name"


class TutelageState(AgentState):
    """The agent's state with the name of its trajectory."""

    tutelage_trajectory: NotRequired[Annotated[str, PrivateStateAttr]]


class TutelageMiddleware(AgentMiddleware):
    """Puts the names of the run on each model call. Needs no settings: what the proxy is, the model knows."""

    state_schema = TutelageState  # type: ignore[assignment]

    def before_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """A new run of the agent; one that is continued does not come here."""
        config = _config()
        frame = _frame(config)
        named = config.get("metadata", {}).get(TRAJECTORY_KEY)
        found = frame.trajectory if frame else name_of(named) if named else ""
        return {"tutelage_trajectory": found or str(uuid.uuid4())}

    async def abefore_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """The same."""
        return self.before_agent(state, runtime)

    def wrap_model_call(self, request: ModelRequest, handler: Callable[[ModelRequest], Any]) -> Any:
        """Ask the model, with the names of the run."""
        return handler(_tagged(request))

    async def awrap_model_call(self, request: ModelRequest, handler: Callable[[ModelRequest], Awaitable[Any]]) -> Any:
        """The same."""
        return await handler(_tagged(request))


def _tagged(request: ModelRequest) -> ModelRequest:
    """The request with our headers; those of the user stay. As it is for models without OpenAI's client."""
    if not hasattr(request.model, "openai_api_base"):
        return request
    settings = request.model_settings
    headers = {**_headers(request.state), **settings.get("extra_headers", {})}
    return request.override(model_settings={**settings, "extra_headers": headers})


def _headers(state: Any) -> dict[str, str]:
    config = _config()
    frame, metadata = _frame(config), config.get("metadata", {})
    named = str(state.get("tutelage_trajectory") or "")
    if frame is None:
        pattern = name_of(hint_of(str(metadata.get(_AGENT_NAME) or ""), metadata))
        return Tag(named, "", name_of(metadata.get("thread_id") or ""), pattern).headers()
    # A run that was begun in another process: now its name is known.
    frame.trajectory = frame.trajectory or named
    pattern = name_of(hint_of(frame.graph, metadata))
    return Tag(frame.trajectory, frame.parent, frame.conversation, pattern).headers()


def _config() -> RunnableConfig:
    try:
        return get_config()
    except RuntimeError:  # outside of a graph
        return {}


def _frame(config: RunnableConfig) -> Frame | None:
    """The trajectory that a handler among the callbacks knows."""
    callbacks: Any = config.get("callbacks")
    for one in getattr(callbacks, "handlers", ()):
        if isinstance(one, TutelageCallbackHandler):
            return one.frame_of(getattr(callbacks, "parent_run_id", None))
    return None
