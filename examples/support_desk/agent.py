"""The desk's agent: a plain tool loop over the OpenAI client, and how its runs are judged.

It knows nothing of Tutelage but the header that names its run, so that the judge can find the run's order again.
"""

import json
import os
import sqlite3
from typing import Any

from openai import OpenAI

from ...traffic.verifiers import Trajectory
from .customers import Customer
from .shop import Shop, tools

DATABASE = "SUPPORT_DESK_DATABASE"
"""Environment variable with the path of the shop's database, for the verifier."""
MAX_TURNS = 5
SYSTEM = """You are the support desk of a web shop.
Look things up with your tools before you act, and never guess an order number or an item.
Orders that have not left yet can be cancelled or sent to another address; shipped ones can be tracked.
Damaged goods are paid back within 30 days after the delivery; later a colleague decides: open a ticket.
When something is missing, send that item once more. Invoices go to the address that we know.
When a customer wants to talk to a person, open a ticket with the topic "call back".
Call one tool at a time. When you are done, say so in one short sentence, and promise nothing that no tool has done."""


def serve(client: OpenAI, model: str, shop: Shop, customer: Customer, run: str) -> str:
    """Work on one customer's message until the last word; empty when there was none."""
    messages: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": customer.text}]
    offered: Any = tools()
    for _ in range(MAX_TURNS):
        answer = client.chat.completions.create(
            model=model, messages=messages, tools=offered, extra_headers={"x-tutelage-trajectory": run}
        )
        message: Any = answer.choices[0].message
        if not message.tool_calls:
            return message.content or ""
        messages.append(message)
        for call in message.tool_calls:
            result = shop.run(call.function.name, call.function.arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    return ""


_DONE = {
    "cancel_order": "SELECT 1 FROM orders WHERE id = :order AND status = 'cancelled'",
    "change_address": "SELECT 1 FROM orders WHERE id = :order AND street = :street AND city = :city",
    "refund_order": "SELECT 1 FROM refunds WHERE order_id = :order",
    "replace_item": "SELECT 1 FROM replacements WHERE order_id = :order AND sku = :sku",
    "send_invoice": "SELECT 1 FROM invoices WHERE order_id = :order",
    "open_ticket": "SELECT 1 FROM tickets WHERE customer = :customer AND topic = :topic",
}
"""What is in the database when a tool that writes has done its work."""


def it_was_done(run: Trajectory) -> bool | None:
    """The verifier: whether the run ended with a word, no tool refused, and all that it did is in the database."""
    last = run.messages[-1]
    if last.get("tool_calls") or not last.get("content"):
        return False
    results = [one["content"] for one in run.messages if one["role"] == "tool"]
    calls = [call["function"] for one in run.messages for call in one.get("tool_calls") or ()]
    if not calls:
        return None
    database = sqlite3.connect(f"file:{os.environ[DATABASE]}?mode=ro", uri=True)
    try:
        found = [
            database.execute(_DONE[call["name"]], json.loads(call["arguments"])).fetchone()
            for call in calls
            if call["name"] in _DONE
        ]
    finally:
        database.close()
    return all(found) and not any('"error"' in result for result in results)


it_was_done.version = "1"  # pyright: ignore[reportFunctionMemberAccess]
