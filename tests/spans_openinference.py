# pyright: reportMissingImports=false
"""A program for tests/test_otlp.py: an agent on OpenAI's client, whose calls OpenInference tells in spans.

    python spans_openinference.py URL KEY TEACHER

TEACHER is asked, not the server at URL. Prints, as JSON, the messages at the end of each run.
"""

import json
import sys
from typing import Any

import openai
from openinference.instrumentation import using_metadata, using_session
from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"town": {"type": "string"}}}},
}


def run(client: openai.OpenAI, question: str, stream: bool) -> list[Any]:
    """Ask until the model calls no more tools."""
    messages: list[Any] = [{"role": "system", "content": "A desk."}, {"role": "user", "content": question}]
    for _ in range(3):
        asked: Any = {"model": "gpt-5-mini", "messages": messages, "tools": [WEATHER], "temperature": 0}
        if stream:
            with client.chat.completions.stream(**asked) as parts:
                message: Any = parts.get_final_completion().choices[0].message
        else:
            message = client.chat.completions.create(**asked).choices[0].message
        messages.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
        if not message.tool_calls:
            return messages
        messages += [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in message.tool_calls]
    raise AssertionError("the model never stopped")


def main(url: str, key: str, teacher: str) -> None:
    provider = TracerProvider()
    headers = {"authorization": f"Bearer {key}"}
    exporter = OTLPSpanExporter(f"{url}/traces", headers=headers, compression=Compression.Gzip)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    with openai.OpenAI(base_url=teacher, api_key=key, max_retries=0) as client:
        whole = run(client, "Which weather?", False)
        with using_session("thread 7"):
            streamed = run(client, "Which weather, in parts?", True)
        with using_metadata({"tutelage_trajectory": "named", "tutelage_pattern": "weather"}):
            named = run(client, "Which weather, by name?", False)
    with openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key=key, max_retries=0) as nowhere:
        failed = ""
        try:
            nowhere.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": "fail"}])
        except openai.APIConnectionError as error:
            failed = str(error)
    assert provider.force_flush(20_000)
    provider.shutdown()
    print(json.dumps({"whole": whole, "streamed": streamed, "named": named, "failed": failed}))


if __name__ == "__main__":
    main(*sys.argv[1:])
