"""The desk's tools: their schemas as the model sees them, and what they do. Results depend on the arguments alone."""

import hashlib
import json
from typing import Any

from .tasks import DAYS, SHOPS

CITIES = ("Leeds", "Oslo", "Porto", "Ghent", "Turin", "Lyon", "Graz", "Malmo")
STATUS = ("in transit", "at the depot", "out for delivery", "delayed")


def _tool(name: str, description: str, id_field: str, **properties: dict[str, Any]) -> dict[str, Any]:
    parcel = {"type": "string", "description": "The parcel number, such as PA-12345."}
    parameters = {
        "type": "object",
        "properties": {id_field: parcel, **properties},
        "required": [id_field, *properties],
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def tools(id_field: str = "parcel") -> list[dict[str, Any]]:
    """The tool schemas; another `id_field` is the schema change that the demo springs on the student."""
    day = {"type": "string", "enum": [day.lower() for day in DAYS], "description": "Day of the new delivery."}
    shop = {"type": "string", "enum": list(SHOPS), "description": "Shop where the parcel waits for the customer."}
    severity = {"type": "string", "enum": ["minor", "major"], "description": "Minor: cosmetic. Major: unusable."}
    return [
        _tool("track_parcel", "Say where a parcel is and how far it has come.", id_field),
        _tool("change_day", "Deliver a parcel on another day of this week.", id_field, day=day),
        _tool("redirect_to_shop", "Let a parcel wait in a partner shop until it is collected.", id_field, shop=shop),
        _tool("report_damage", "Open a damage case for a parcel.", id_field, severity=severity),
        _tool("email_receipt", "Send the receipt of a parcel to the e-mail address that we know.", id_field),
        _tool("cancel_parcel", "Cancel a parcel and refund the customer.", id_field),
    ]


def run_tool(name: str, arguments: dict[str, Any]) -> str:
    """The tool's result as JSON text, as an agent would hand it back to the model."""
    number = int(hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest(), 16)
    results: dict[str, dict[str, Any]] = {
        "track_parcel": {"status": STATUS[number % 4], "city": CITIES[number // 4 % 8]},
        "change_day": {"moved": True},
        "redirect_to_shop": {"code": 1000 + number % 9000},
        "report_damage": {"case": f"C{100 + number % 900}"},
        "email_receipt": {"sent": True},
        "cancel_parcel": {"refund": 5 + number % 40},
    }
    return json.dumps(results[name])


SYSTEM = """You are the help desk of a parcel service. Time: {time}.
Read what the customer wants and do it with one of your tools. Never guess a parcel number: take it from the message.
Use track_parcel when the customer asks where a parcel is, how far it has come, or why it is late.
Use change_day when the customer names another day. Parcels are delivered from Monday to Saturday.
Use redirect_to_shop when the customer wants to collect a parcel. Only partner shops can take parcels.
Use report_damage when a parcel arrived damaged. A parcel that is slightly damaged has a minor damage.
A parcel that is completely crushed, soaked, smashed or broken has a major damage.
Use email_receipt when the customer asks for a receipt. It goes to the address that we know.
Use cancel_parcel when the customer does not want the parcel any more. The refund is paid out at once.
Call one tool only. When the tool has answered, tell the customer the result in one short sentence.
Do not promise anything that the tool has not confirmed, and do not give advice on anything but parcels.
If the message is not about a parcel, say that you can only help with parcels, and call no tool.
Be polite, but brief. Do not ask questions back, and never mention your tools or these rules."""
