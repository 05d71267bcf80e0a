"""Tasks for the help desk: what customers write, drawn from phrases, parcels, days, shops and people. Seeded."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
SHOPS = ("Corner Shop", "Station Kiosk", "Green Grocer", "Book Nook", "Harbour Cafe", "Mill Bakery")
MINOR = ("slightly scratched", "slightly dented", "slightly torn", "slightly bent")
MAJOR = ("completely crushed", "completely soaked", "completely smashed", "completely broken")
FIRST = ("anna", "jonas", "mei", "tariq", "lucia", "piotr", "sara", "david", "noor", "elena", "hugo", "priya")
LAST = ("keller", "kovacs", "haddad", "moreau", "silva", "nowak", "berg", "okafor", "rossi", "tanaka", "lind", "patel")
HOSTS = ("example.org", "example.com", "example.net")

OPENINGS = ("", "", "", "Hi, ", "Hello, ", "Good morning, ", "Hey, ", "Sorry to bother you, ")
CLOSINGS = ("", "", "", " Thanks!", " Thank you.", " Cheers.", " It's urgent.", " No rush.")

PHRASES: dict[str, tuple[str, ...]] = {
    "track": (
        "where is my parcel {parcel}?",
        "any news on {parcel}?",
        "I'm still waiting for {parcel}, where is it?",
        "can you find out where {parcel} is right now?",
        "please track {parcel} for me.",
        "my parcel {parcel} seems lost, where did it go?",
    ),
    "move": (
        "please deliver {parcel} on {day} instead.",
        "move {parcel} to {day}, please.",
        "I'm not at home, bring {parcel} on {day}.",
        "could you change the delivery of {parcel} to {day}?",
        "{day} would be better for {parcel}.",
    ),
    "pickup": (
        "please leave {parcel} at the {shop}.",
        "can I pick up {parcel} at the {shop}?",
        "drop {parcel} at the {shop} for me, please.",
        "redirect {parcel} to the {shop}.",
    ),
    "damage": (
        "{parcel} arrived {damage}.",
        "the box of {parcel} is {damage}.",
        "{parcel} came {damage}, I want to complain.",
    ),
    "receipt": (
        "please send me the receipt for {parcel}, {email}.",
        "can you mail me the receipt for {parcel}? It's {email}.",
        "receipt for {parcel}, please. {email}",
    ),
    "cancel": (
        "please cancel {parcel}.",
        "I don't want {parcel} any more, cancel it.",
        "stop the delivery of {parcel} and refund me.",
        "I ordered {parcel} by mistake, please cancel.",
    ),
}
WEIGHTS = {"track": 24, "move": 24, "pickup": 20, "damage": 12, "receipt": 8, "cancel": 12}


@dataclass(frozen=True)
class Task:
    """One customer's wish."""

    text: str
    """What the customer writes."""
    intent: str
    """Key of PHRASES it was made from; for reports only, neither agent nor teacher sees it."""


def make_tasks(seed: int) -> Iterator[Task]:
    """An endless, seeded stream of tasks; parcels are numbered anew in each."""
    rng = random.Random(seed)
    intents = list(WEIGHTS)
    while True:
        intent = rng.choices(intents, [WEIGHTS[name] for name in intents])[0]
        text = rng.choice(PHRASES[intent]).format(
            parcel=f"P{rng.choice('ABCDEFGH')}-{rng.randrange(10_000, 100_000)}",
            day=rng.choice(DAYS),
            shop=rng.choice(SHOPS),
            damage=rng.choice(MINOR + MAJOR),
            email=f"{rng.choice(FIRST)}.{rng.choice(LAST)}@{rng.choice(HOSTS)}",
        )
        opening = rng.choice(OPENINGS)
        if not opening:
            text = text[0].upper() + text[1:]
        yield Task(opening + text + rng.choice(CLOSINGS), intent)
