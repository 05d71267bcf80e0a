"""The shop's database and the desk's ten tools: what they do, and their schemas as the model sees them.

Invariant: a tool either does all that it says and commits, or says why not (`error`) and changes nothing.
"""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE);
CREATE TABLE orders (
    id TEXT PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customers, status TEXT NOT NULL, days INTEGER NOT NULL,
    cents INTEGER NOT NULL, city TEXT NOT NULL, street TEXT NOT NULL
);
CREATE TABLE items (order_id TEXT NOT NULL REFERENCES orders, sku TEXT NOT NULL, title TEXT NOT NULL);
CREATE TABLE refunds (order_id TEXT PRIMARY KEY REFERENCES orders, cents INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE TABLE replacements (order_id TEXT NOT NULL REFERENCES orders, sku TEXT NOT NULL);
CREATE TABLE invoices (order_id TEXT NOT NULL REFERENCES orders);
CREATE TABLE tickets (id INTEGER PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customers, topic TEXT NOT NULL);
"""
REFUND_DAYS = 30
Row = dict[str, Any]


class Refused(ValueError):
    """A tool cannot do what it was asked for."""


class Shop:
    """The database, by one connection; not thread-safe."""

    def __init__(self, file: Path) -> None:
        new = not file.exists()
        self._db = sqlite3.connect(file, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute("PRAGMA synchronous = OFF")  # nobody misses this shop after a power cut
        if new:
            self._db.executescript(SCHEMA)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """What a query gives."""
        return [dict(row) for row in self._db.execute(sql, values)]

    def add(self, table: str, **values: Any) -> None:
        """A new row."""
        marks = ", ".join("?" * len(values))
        self._db.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))

    def run(self, name: str, arguments: str) -> str:
        """A tool's result as JSON text, as an agent hands it back to the model."""
        try:
            known = json.loads(arguments)
            return json.dumps(TOOLS[name](self, **known))
        except (Refused, KeyError, TypeError, ValueError, sqlite3.Error) as error:
            return json.dumps({"error": str(error)})

    def order(self, order: str) -> Row:
        """One order. Raises Refused."""
        found = self.rows("SELECT * FROM orders WHERE id = ?", order)
        if not found:
            raise Refused(f"there is no order {order}")
        return found[0]

    def open_order(self, order: str) -> Row:
        """One that has not left yet. Raises Refused."""
        found = self.order(order)
        if found["status"] != "open":
            raise Refused(f"order {order} is {found['status']}")
        return found


def find_customer(shop: Shop, email: str) -> Row:
    found = shop.rows("SELECT id, name FROM customers WHERE email = ?", email)
    if not found:
        raise Refused(f"nobody has the address {email}")
    return found[0]


def list_orders(shop: Shop, customer: int) -> Row:
    return {"orders": shop.rows("SELECT id, status, days FROM orders WHERE customer = ? ORDER BY days", customer)}


def get_order(shop: Shop, order: str) -> Row:
    items = shop.rows("SELECT sku, title FROM items WHERE order_id = ? ORDER BY sku", order)
    return {**shop.order(order), "items": items}


def track_shipment(shop: Shop, order: str) -> Row:
    found = shop.order(order)
    if found["status"] != "shipped":
        raise Refused(f"order {order} is {found['status']}")
    return {"place": f"depot {found['city']}", "days_left": 1 + len(found["street"]) % 3}


def cancel_order(shop: Shop, order: str) -> Row:
    shop.open_order(order)
    shop.rows("UPDATE orders SET status = 'cancelled' WHERE id = ?", order)
    return {"cancelled": order}


def change_address(shop: Shop, order: str, street: str, city: str) -> Row:
    shop.open_order(order)
    shop.rows("UPDATE orders SET street = ?, city = ? WHERE id = ?", street, city, order)
    return {"address": f"{street}, {city}"}


def refund_order(shop: Shop, order: str, reason: str) -> Row:
    found = shop.order(order)
    if found["status"] != "delivered" or found["days"] > REFUND_DAYS:
        raise Refused(f"order {order} is {found['status']} for {found['days']} days")
    shop.add("refunds", order_id=order, cents=found["cents"], reason=reason)
    return {"euros": f"{found['cents'] / 100:.2f}"}


def replace_item(shop: Shop, order: str, sku: str) -> Row:
    if sku not in {item["sku"] for item in shop.rows("SELECT sku FROM items WHERE order_id = ?", order)}:
        raise Refused(f"order {order} has no {sku}")
    shop.add("replacements", order_id=order, sku=sku)
    return {"sent": sku}


def send_invoice(shop: Shop, order: str) -> Row:
    shop.add("invoices", order_id=shop.order(order)["id"])
    return {"sent": order}


def open_ticket(shop: Shop, customer: int, topic: str) -> Row:
    shop.add("tickets", customer=customer, topic=topic)
    [made] = shop.rows("SELECT max(id) AS id FROM tickets")
    return {"ticket": made["id"]}


TOOLS: dict[str, Callable[..., Row]] = {
    tool.__name__: tool
    for tool in (
        *(find_customer, list_orders, get_order, track_shipment, cancel_order, change_address, refund_order),
        *(replace_item, send_invoice, open_ticket),
    )
}
_WHAT = {
    "find_customer": "Find a customer by e-mail address.",
    "list_orders": "The orders of a customer, the newest first.",
    "get_order": "Status, age in days, address and items of an order.",
    "track_shipment": "Where a shipped order is.",
    "cancel_order": "Cancel an order that has not left yet.",
    "change_address": "Send an order that has not left yet to another address.",
    "refund_order": f"Pay a delivered order back, up to {REFUND_DAYS} days after the delivery.",
    "replace_item": "Send an item of an order once more.",
    "send_invoice": "Mail the invoice of an order.",
    "open_ticket": "Hand a case over to a colleague.",
}
_REASONS = ["damaged", "wrong item", "not wanted"]
_PROPERTIES: dict[str, Row] = {
    "customer": {"type": "integer", "description": "Number of the customer."},
    "order": {"type": "string", "description": "Order number, such as O-12345."},
    "reason": {"type": "string", "enum": _REASONS},
}


def tools() -> list[Row]:
    """The tool schemas, from the functions' own arguments."""
    return [_schema(name, tool) for name, tool in TOOLS.items()]


def _schema(name: str, tool: Callable[..., Row]) -> Row:
    names = [one for one in tool.__annotations__ if one not in ("shop", "return")]
    properties = {one: _PROPERTIES.get(one, {"type": "string"}) for one in names}
    parameters = {"type": "object", "properties": properties, "required": names, "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": _WHAT[name], "parameters": parameters}}
