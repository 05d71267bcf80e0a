"""Tutelage for LangChain and LangGraph: `pip install 'tutelage[langchain]'`. See docs/langchain.md.

from tutelage.plugins.langchain import TutelageCallbackHandler, chat_model

agent = create_agent(chat_model("gpt-5-mini"), tools)
agent.invoke(inputs, {"callbacks": [TutelageCallbackHandler()]})
"""

try:
    from .langchain_handler import TutelageCallbackHandler
    from .langchain_middleware import TutelageMiddleware
    from .langchain_model import chat_model
except ImportError as error:
    raise ImportError(
        f"Tutelage's plugin for LangChain needs langchain >= 1.0, langchain-openai and langgraph ({error}). "
        "Install them with: pip install 'tutelage[langchain]'"
    ) from error
from .tags import tag_requests

__all__ = ["TutelageCallbackHandler", "TutelageMiddleware", "chat_model", "tag_requests"]
