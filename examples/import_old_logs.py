"""Logs from before Tutelage: a file of old conversations is taken in, and its patterns are found at once.

    python -m tutelage.examples.import_old_logs [FILE]

You see what came in, that a second import changes nothing, and which recurring work the old log holds. Without a FILE
(LiteLLM's, Langfuse's, OpenAI's stored completions, or chat lines) a log of 40 customers of the parcel desk is written.
"""

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from .parcels.desk import SYSTEM, run_tool, tools
from .parcels.tasks import make_tasks
from .parcels.teacher import answer
from .place import Place, opened


def conversation(text: str, at: float) -> dict[str, Any]:
    """One line of a chat log: a customer's message, and all that the desk did about it."""
    messages: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
    body = {"model": "desk-large", "created_at": at, "tools": tools(), "messages": messages}
    while messages[-1]["role"] != "assistant":
        messages.append(answer(body, plain_numbers=False))
        for call in messages[-1].get("tool_calls") or ():
            result = run_tool(call["function"]["name"], json.loads(call["function"]["arguments"]))
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    return body


def write_log(file: Path, customers: int = 40, since: float = 1_790_000_000.0) -> None:
    """A log of chat lines, one customer a minute from `since` (Unix seconds) on."""
    lines = [conversation(task.text, since + 60 * at) for at, task in enumerate(islice(make_tasks(7), customers))]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def take_in(place: Place, file: Path) -> dict[str, Any]:
    """What `tutelage store import` reports."""
    command = [sys.executable, "-m", "tutelage", "store", "import", str(file), "--data", str(place.world.root)]
    return json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)


def main(place: Place, file: Path | None = None) -> None:
    """Import twice, then look at the patterns."""
    if file is None:
        file = place.world.root / "old-log.jsonl"
        write_log(file)
    for attempt in ("first", "second"):
        report = take_in(place, file)
        print(f"The {attempt} import of {report['rows']} lines: {report['calls']} calls, {report['new']} of them new")
    for row in place.ask("/api/patterns"):
        print(f"Pattern {row['name']} ({row['role']}): {row['calls']} calls")


if __name__ == "__main__":
    with opened() as found:
        main(found, Path(sys.argv[1]) if sys.argv[1:] else None)
