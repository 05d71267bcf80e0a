"""The desk's teacher: an OpenAI-compatible server that stands for the large, costly model.

    python -m tutelage.examples.support_desk.teacher --port 8410

It reads nothing but the request: what the customer wants, and what the tools have said so far. `POST /habits` works as
with the parcel desk's teacher: with `plain_numbers` it writes order numbers without their hyphen.
"""

import argparse
import json
import re
from collections.abc import Callable
from typing import Any

from ...proxy.standalone import serve_app
from ..parcels.teacher import create_app
from .customers import TITLES
from .shop import REFUND_DAYS

ORDER = re.compile(r"\bO-\d+\b")
EMAIL = re.compile(r"[\w.]+@[\w.]+\w")
ADDRESS = re.compile(r"(?:to|:) (.+) in (\w+)")
ONLY_ORDERS = "I can only help with orders."
Json = dict[str, Any]
Step = tuple[str, Json] | str
"""A tool to call with its arguments, or the last word."""


def answer(body: Json, plain_numbers: bool) -> Json:
    """The assistant message for a request."""
    messages = body["messages"]
    asked = next((one["content"] for one in messages if one["role"] == "user"), "")
    results = [json.loads(one["content"]) for one in messages if one["role"] == "tool"]
    step = next_step(asked, results)
    if isinstance(step, str):
        return {"role": "assistant", "content": step.replace("O-", "O") if plain_numbers else step}
    name, arguments = step
    if plain_numbers and "order" in arguments:
        arguments = {**arguments, "order": arguments["order"].replace("-", "")}
    function = {"name": name, "arguments": json.dumps(arguments)}
    identity = f"call_{len(results)}_{sum(map(ord, asked)) % 100_000:05d}"
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": identity, "type": "function", "function": function}],
    }


def next_step(asked: str, results: list[Json]) -> Step:
    """What the desk does next for a customer."""
    order, email = ORDER.search(asked), EMAIL.search(asked)
    if results and "error" in results[-1]:
        return f"I am sorry, that is not possible: {results[-1]['error']}."
    if email:
        return _for_customer(email.group(), asked, results)
    if not order:
        return ONLY_ORDERS
    if not results:
        return "get_order", {"order": order.group()}
    wish = next(found for pattern, found in _WISHES if re.search(pattern, asked))
    return wish(asked, results[0], results[1:])


def _for_customer(email: str, asked: str, results: list[Json]) -> Step:
    if not results:
        return "find_customer", {"email": email}
    if "nvoice" not in asked:
        if len(results) == 1:
            return "open_ticket", {"customer": results[0]["id"], "topic": "call back"}
        return f"A colleague calls you. Your ticket is {results[1]['ticket']}."
    if len(results) == 1:
        return "list_orders", {"customer": results[0]["id"]}
    if len(results) == 2:
        return "send_invoice", {"order": results[1]["orders"][0]["id"]}
    return f"The invoice of {results[2]['sent']} is on its way."


def _move(asked: str, order: Json, done: list[Json]) -> Step:
    found = ADDRESS.search(asked)
    if done or not found:
        return f"{order['id']} goes to {done[0]['address']}." if done else "Where shall it go?"
    if order["status"] != "open":
        return f"{order['id']} is {order['status']} already, so its address stays."
    return "change_address", {"order": order["id"], "street": found[1], "city": found[2]}


def _cancel(asked: str, order: Json, done: list[Json]) -> Step:
    if done:
        return f"{order['id']} is cancelled."
    if order["status"] != "open":
        return f"{order['id']} is {order['status']} already and cannot be cancelled."
    return "cancel_order", {"order": order["id"]}


def _refund(asked: str, order: Json, done: list[Json]) -> Step:
    if done:
        paid = f"You get {done[0]['euros']} euros back for {order['id']}." if "euros" in done[0] else ""
        return paid or f"A colleague looks at {order['id']}. Your ticket is {done[0]['ticket']}."
    if order["status"] == "delivered" and order["days"] <= REFUND_DAYS:
        return "refund_order", {"order": order["id"], "reason": "damaged"}
    return "open_ticket", {"customer": order["customer"], "topic": f"refund of {order['id']}"}


def _replace(asked: str, order: Json, done: list[Json]) -> Step:
    if done:
        return f"We send {done[0]['sent']} of {order['id']} once more."
    title = next(title for title in TITLES if title in asked)
    sku = next(item["sku"] for item in order["items"] if item["title"] == title)
    return "replace_item", {"order": order["id"], "sku": sku}


def _status(asked: str, order: Json, done: list[Json]) -> Step:
    if done:
        return f"{order['id']} is at the {done[0]['place']} and arrives in {done[0]['days_left']} days."
    if order["status"] == "shipped":
        return "track_shipment", {"order": order["id"]}
    return f"{order['id']} is {order['status']}."


_WISHES: tuple[tuple[str, Callable[[str, Json, list[Json]], Step]], ...] = (
    ("cancel", _cancel),
    ("damaged", _refund),
    (r"address|Send O-", _move),
    ("missing|There was no", _replace),
    ("", _status),
)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="The support desk's teacher.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8410)
    options = parser.parse_args()
    serve_app(create_app(answer), options.host, options.port)


if __name__ == "__main__":
    main()
