"""Conversations with planted personal values, for the benchmark of scrubbing.

Each conversation is a function of a table of values, so it can be built again with other values in their places. The
shapes are those of recorded agents: sentences of users and assistants, arguments and results in JSON, results in YAML
and in Python's notation. In every other conversation the values stand in sentences only, where no field tells what they
are. Values come from faker; names from locales whose lists the detector reads, and from others.
"""

import json
import random
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

Message = dict[str, Any]
KNOWN, UNKNOWN = ("en_US", "de_DE", "fr_FR"), ("cs_CZ", "ro_RO", "hr_HR", "id_ID")
TOOLS: list[Message] = [
    {
        "type": "function",
        "function": {
            "name": "update_profile",
            "parameters": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("user_id", "email", "phone", "address", "note")}
                | {"channel": {"type": "string", "enum": ["email", "phone"]}},
                "required": ["note"],
            },
        },
    }
]
DECOYS: dict[str, str] = {
    "order": "#W{7}",
    "ticket": "TCK-{6}",
    "flight": "HAT{3}",
    "uuid": "{8}-{4}-4{3}-8{3}-{12}",
    "sku": "{10}",
    "price": "{3}.{2}",
    "when": "2024-05-1{1} 15:0{1}:00",
    "day": "2024-06-1{1}",
    "version": "{1}.{2}.{1}",
    "url": "https://shop.example/items/{7}?page={1}",
    "device": "light.kitchen_{1}",
    "title": "Kitchen Light {2}",
    "city": "San Antonio",
    "place": "Jordan Street Market",
    "month": "April Summer Sale",
    "tracking": "1Z{6}E{10}",
}
"""Values that are none of anybody's: what the work is about. `{n}`: n digits."""


@lru_cache(maxsize=16)
def _faker(locale: str) -> Any:
    from faker import Faker

    return Faker(locale)


def locale_of(number: int, seed: int) -> str:
    """Where the person of a conversation has their name from."""
    return random.Random(f"locale/{seed}/{number}").choice(KNOWN + UNKNOWN)


def values_of(number: int, seed: int) -> dict[str, str]:
    """Personal values (by kind, upper case) and decoys (lower case) of one conversation."""
    rng = random.Random(f"{seed}/{number}")
    fake, us = _faker(locale_of(number, seed)), _faker("en_US")
    fake.seed_instance(rng.random())
    # Taken at once: the others may be the same faker under another seed.
    first, last = fake.first_name().split()[0], fake.last_name().split()[0]
    us.seed_instance(rng.random())
    german = _faker("de_DE")
    german.seed_instance(rng.random())
    plain = [_ascii(word) for word in (first, last)]
    digits = lambda count: "".join(rng.choice("123456789") for _ in range(count))  # noqa: E731
    found = {
        "PERSON": f"{first} {last}",
        "EMAIL_ADDRESS": f"{plain[0]}.{plain[1]}@{rng.choice(['gmail.com', us.domain_name()])}",
        "PHONE_NUMBER": rng.choice(["(212) 555-{4}", "+1 415-555-{4}", "212.555.{4}", "+49 30 9018{4}"]),
        "CREDIT_CARD": us.credit_card_number("visa16"),
        "IBAN_CODE": german.iban(),
        "US_SSN": us.ssn(),
        "IP_ADDRESS": us.ipv4_public() if rng.random() < 0.7 else us.ipv6(),
        "MAC_ADDRESS": us.mac_address(),
        "CRYPTO": _wallet(rng),
        "USER_NAME": f"{plain[0]}_{plain[1]}_{digits(4)}",
        "STREET_ADDRESS": f"{rng.randint(10, 999)} {us.last_name()} {rng.choice(['Lane', 'Street', 'Avenue', 'Road'])}",
        "DATE_OF_BIRTH": us.date_of_birth(minimum_age=20, maximum_age=80).isoformat(),
        "PASSPORT": us.passport_number(),
        "DRIVER_LICENSE": f"{rng.choice('DKLM')}{digits(7)}",
        "BANK_ACCOUNT": digits(10),
        "SECRET": "sk-proj-" + "".join(rng.choice("abcdefghijkmnpqrstuvwxyz23456789") for _ in range(24)),
    }
    found["PHONE_NUMBER"] = _filled(found["PHONE_NUMBER"], rng)
    return found | {name: _filled(form, rng) for name, form in DECOYS.items()}


def _ascii(word: str) -> str:
    import unicodedata

    plain = unicodedata.normalize("NFKD", word).encode("ascii", "ignore").decode().lower()
    return "".join(char for char in plain if char.isalpha()) or "x"


def _filled(form: str, rng: random.Random) -> str:
    for count in (1, 2, 3, 4, 6, 7, 8, 10, 12):
        while f"{{{count}}}" in form:
            form = form.replace(f"{{{count}}}", "".join(rng.choice("123456789") for _ in range(count)), 1)
    return form


def _wallet(rng: random.Random) -> str:
    from tutelage.distill.forms import base58check

    return base58check(b"\0" + rng.randbytes(20))


def conversation(value: Mapping[str, str], style: int) -> list[Message]:
    """The conversation with these values. `style`: which of the wordings and result formats is used."""
    v = value
    openings = (
        f"Hi, my name is {v['PERSON']}. Order {v['order']} ({v['title']}) of {v['day']} has not come. My email is "
        f"{v['EMAIL_ADDRESS']}, you can call me at {v['PHONE_NUMBER']}.",
        f"I need help with {v['ticket']}. {v['EMAIL_ADDRESS']} is my address, user id {v['USER_NAME']}. I live at "
        f"{v['STREET_ADDRESS']} in {v['city']}. Thanks, {v['PERSON']}",
        f"Please update my profile: name: {v['PERSON']}, phone: {v['PHONE_NUMBER']}, born on {v['DATE_OF_BIRTH']}. "
        f"Flight {v['flight']}, price {v['price']}, see {v['url']}.",
    )
    wants = (
        f"My passport number is {v['PASSPORT']} and my driver's license is {v['DRIVER_LICENSE']}. Pay from account "
        f"number {v['BANK_ACCOUNT']} or card {v['CREDIT_CARD']}; SKU {v['sku']}, version {v['version']}.",
        f"The IBAN is {v['IBAN_CODE']}, my SSN is {v['US_SSN']}. The key was {v['SECRET']} at {v['when']}, from "
        f"{v['IP_ADDRESS']} ({v['MAC_ADDRESS']}). Wallet {v['CRYPTO']}. Tracking {v['tracking']}.",
        f"Ship it to {v['STREET_ADDRESS']}, near {v['place']}. It was the {v['month']}. My card is {v['CREDIT_CARD']}.",
    )
    profile = {
        "user_id": v["USER_NAME"], "email": v["EMAIL_ADDRESS"], "phone": v["PHONE_NUMBER"],
        "address": v["STREET_ADDRESS"], "note": f"{v['order']} {v['title']}", "channel": "email",
    }  # fmt: skip
    in_fields = style // 9 % 2 == 0
    arguments = profile if in_fields else {"note": f"{v['order']} of {v['PERSON']}", "channel": "phone"}
    result = _result(v, style) if in_fields else json.dumps({"status": "ok", "id": v["uuid"], "device": v["device"]})
    who = {"user_id": v["USER_NAME"]} if in_fields else {}
    return [
        {"role": "system", "content": "You are the agent of a shop. Today is 2024-05-15. Use the tools."},
        {"role": "user", "content": openings[style % 3]},
        _call("call_1", arguments),
        {"role": "tool", "tool_call_id": "call_1", "content": result},
        {
            "role": "assistant",
            "content": f"I found {v['PERSON']} ({v['EMAIL_ADDRESS']}), order {v['order']}. What else?",
        },
        {"role": "user", "content": wants[(style // 3) % 3]},
        _call("call_2", {**who, "note": f"paid with {v['CREDIT_CARD']} for {v['ticket']}"}),
        {
            "role": "tool",
            "tool_call_id": "call_2",
            "content": json.dumps({"ok": True, "id": v["uuid"], "sku": v["sku"]}),
        },
        {"role": "assistant", "content": f"Done, {v['PERSON'].split()[0]}. We write to {v['EMAIL_ADDRESS']}."},
    ]


def _call(name: str, arguments: Mapping[str, str]) -> Message:
    function = {"name": "update_profile", "arguments": json.dumps(arguments, ensure_ascii=False)}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": name, "type": "function", "function": function}],
    }


def _result(v: Mapping[str, str], style: int) -> str:
    first, _, last = v["PERSON"].partition(" ")
    record = {
        "user_id": v["USER_NAME"], "name": {"first_name": first, "last_name": last}, "dob": v["DATE_OF_BIRTH"],
        "email": v["EMAIL_ADDRESS"], "address": v["STREET_ADDRESS"], "city": v["city"], "passport_no": v["PASSPORT"],
        "license": {"driver_license": v["DRIVER_LICENSE"]}, "account_number": v["BANK_ACCOUNT"], "iban": v["IBAN_CODE"],
        "ssn": v["US_SSN"], "last_ip": v["IP_ADDRESS"], "mac": v["MAC_ADDRESS"], "wallet": v["CRYPTO"],
        "api_key": v["SECRET"], "card": v["CREDIT_CARD"], "orders": [v["order"]], "created": v["when"],
        "device": v["device"], "tracking": v["tracking"], "url": v["url"],
    }  # fmt: skip
    if style % 4 == 1:
        flat = {**record, **record["name"], **record["license"]}  # pyright: ignore[reportGeneralTypeIssues]
        return "\n".join(f"{key}: {item}" for key, item in flat.items() if isinstance(item, str))
    if style % 4 == 2:
        return str(record)
    return json.dumps(record, ensure_ascii=False, indent=2 if style % 4 == 3 else None)
