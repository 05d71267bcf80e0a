"""The shop's customers: who they are, what they ordered, and what they write. Seeded; a shop is filled as it goes."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from .shop import Shop

FIRST = ("anna", "jonas", "mei", "tariq", "lucia", "piotr", "sara", "david", "noor", "elena", "hugo", "priya")
LAST = ("keller", "kovacs", "haddad", "moreau", "silva", "nowak", "berg", "okafor", "rossi", "tanaka", "lind", "patel")
CITIES = ("Leeds", "Oslo", "Porto", "Ghent", "Turin", "Lyon")
STREETS = ("Mill Lane", "Harbour Road", "Station Street", "Church Row")
TITLES = ("kettle", "lamp", "kite", "clock", "mirror", "basket", "blanket", "stool")
STATUS = ("open", "shipped", "delivered", "delivered")
WISHES: dict[str, tuple[str, ...]] = {
    "status": ("Where is my order {order}?", "When does {order} arrive?", "Any news on {order}?"),
    "cancel": ("Please cancel {order}.", "I don't want {order} any more, cancel it."),
    "refund": ("{order} arrived damaged, I want my money back.", "My order {order} is damaged. Refund me, please."),
    "move": ("Send {order} to {street} in {city}, please.", "New address for {order}: {street} in {city}."),
    "replace": ("The {title} of {order} is missing.", "There was no {title} in {order}, please send it again."),
    "invoice": ("I need the invoice of my last order. My address is {email}.", "Invoice for {email}, please."),
    "complain": ("Nobody ever calls me back! {email}", "I want to talk to a person. {email}"),
}


@dataclass(frozen=True)
class Customer:
    """Somebody who writes once."""

    text: str
    wish: str
    """Key of WISHES, and what the order of it was like; neither agent nor teacher sees it."""
    order: str
    status: str
    days: int


def customers(shop: Shop, seed: int) -> Iterator[Customer]:
    """An endless stream of customers, each of whom is put into the shop just before they write."""
    rng = random.Random(seed)
    number = 0
    while True:
        number += 1
        first, last = rng.choice(FIRST), rng.choice(LAST)
        email = f"{first}.{last}{number}@example.org"
        order, title = f"O-{10_000 + number}", rng.choice(TITLES)
        status, days = rng.choice(STATUS), rng.randrange(1, 45)
        shop.add("customers", id=number, name=f"{first} {last}".title(), email=email)
        place = {"city": rng.choice(CITIES), "street": f"{rng.choice(STREETS)} {rng.randrange(1, 90)}"}
        cents = rng.randrange(900, 9_000)
        shop.add("orders", id=order, customer=number, status=status, days=days, cents=cents, **place)
        for sku, one in enumerate((title, rng.choice([other for other in TITLES if other != title]))):
            shop.add("items", order_id=order, sku=f"{one[:3].upper()}-{sku}", title=one)
        wish = rng.choice(list(WISHES))
        street, city = f"{rng.choice(STREETS)} {rng.randrange(1, 90)}", rng.choice(CITIES)
        text = rng.choice(WISHES[wish]).format(order=order, title=title, email=email, street=street, city=city)
        yield Customer(text, wish, order, status, days)
