# pyright: reportMissingImports=false
"""A program for tests/test_otlp.py: agents of Pydantic AI, whose spans go to the server by OpenTelemetry's exporter.

    python spans_pydantic_ai.py URL KEY

Prints, as JSON, the ids that Pydantic AI gave the runs and the messages that its models were asked with.
"""

import asyncio
import json
import sys
import warnings
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from pydantic import BaseModel
from pydantic_ai import Agent, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.test import TestModel

asked: list[int] = []


def weather_model(messages: list[Any], info: Any) -> ModelResponse:
    """Asks for two towns at once, then says what the tools gave."""
    asked.append(len(messages))
    parts = messages[-1].parts
    results = [part.content for part in parts if part.part_kind == "tool-return"]
    if results:
        return ModelResponse([TextPart(" and ".join(results))])
    towns = ("Oslo", "Rome")
    return ModelResponse([ToolCallPart("weather", {"town": t}, tool_call_id=f"call_{t}") for t in towns])


def front_model(messages: list[Any], info: Any) -> ModelResponse:
    """Hands over to the other agent, then repeats what it said."""
    results = [part.content for part in messages[-1].parts if part.part_kind == "tool-return"]
    if results:
        return ModelResponse([TextPart(f"They say: {results[0]}")])
    return ModelResponse([ToolCallPart("ask_weather_desk", {"question": "both?"}, tool_call_id="call_desk")])


class Place(BaseModel):
    """A place."""

    town: str


def broken_model(messages: list[Any], info: Any) -> ModelResponse:
    raise ConnectionError("the provider is away")


weather_desk = Agent(
    FunctionModel(weather_model), name="weather_desk", instructions="Be kind.", system_prompt="You know."
)
front = Agent(FunctionModel(front_model), name="front", system_prompt="You pass questions on.")
typed = Agent(TestModel(), name="typed", output_type=Place)
broken = Agent(FunctionModel(broken_model), name="broken")


@weather_desk.tool_plain
def weather(town: str) -> str:
    """The weather of a town."""
    return f"rain in {town}"


@front.tool_plain
async def ask_weather_desk(question: str) -> str:
    """Ask the desk that knows the weather."""
    return (await weather_desk.run(question)).output


async def main(url: str, key: str, version: int) -> None:
    provider = TracerProvider()
    exporter = OTLPSpanExporter(f"{url}/traces", headers={"authorization": f"Bearer {key}"}, compression=None)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    settings: Any = {"tracer_provider": provider, "version": version}
    Agent.instrument_all(InstrumentationSettings(**settings))
    direct = await weather_desk.run("How is it?")
    nested = await front.run("How is it there?")
    schema = await typed.run("Where?")
    failed = ""
    try:
        await broken.run("Hello?")
    except ConnectionError as error:
        failed = str(error)
    assert provider.force_flush(20_000)
    provider.shutdown()
    runs = {name: run.run_id for name, run in (("direct", direct), ("nested", nested), ("typed", schema))}
    print(json.dumps({"runs": runs, "failed": failed, "asked": asked}))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
