"""# Support tickets to JSON

Short customer messages and the record that a help desk would file for them.

**Fields.** `ticket` (text), `json` (one line, keys in the order of `FIELDS`), `queue` (one of `QUEUES`),
`urgent` (bool), `order` (string of five digits, or empty when none is named), `product`.
`validate(text)` says what is wrong with a completion; `same(text, json)` whether it is the right record.

**Splits.** `train`, `test`, by the ticket's text. A fifth of the test tickets state their problem in words
that no training ticket uses (column `unseen`).

**Made by** templates from word lists in this file. CC0.

**Known biases.** Each ticket has exactly one problem; urgency is always said in words ("urgent", "today",
"cannot work"), never meant without saying; English only; polite; no typing errors.
"""

from __future__ import annotations

import json
import random

from unit24.data._base import check_split, dataset, draw

FIELDS = ("queue", "urgent", "order", "product")
QUEUES = ("billing", "access", "shipping", "defect")
PRODUCTS = "lamp kettle camera phone printer tablet speaker router heater scale drill fan".split()

# The last two of each queue are kept for the test split.
PROBLEMS = {
    "billing": [
        "I was charged twice for the {p}",
        "the invoice for my {p} is wrong",
        "please refund the {p}",
        "the payment for the {p} failed",
        "the discount on the {p} is missing",
        "I need a receipt for the {p}",
        "more money was taken than the {p} costs",
        "the amount on my statement for the {p} does not add up",
    ],
    "access": [
        "I cannot log in to register my {p}",
        "the {p} app rejects my password",
        "my account is locked and the {p} is offline",
        "the code to pair the {p} never arrives",
        "the {p} says that my user name is unknown",
        "I lost the PIN of my {p}",
        "the {p} keeps signing me out",
        "I am shut out of the {p} settings",
    ],
    "shipping": [
        "my {p} is late",
        "the parcel with the {p} arrived open",
        "the {p} went to a wrong address",
        "tracking for the {p} shows no movement",
        "only half of my {p} order arrived",
        "I want the {p} delivered to my office",
        "nobody has brought the {p} yet",
        "the courier lost the {p}",
    ],
    "defect": [
        "the {p} does not switch on",
        "the {p} smells of burning",
        "a button of the {p} is stuck",
        "the {p} stops after a minute",
        "the {p} makes a loud noise",
        "the display of the {p} is black",
        "there is a crack in the {p}",
        "the {p} came apart in my hands",
    ],
}
KEPT = 2
CALM = ["", " Please help.", " Thank you.", " What should I do?"]
URGENT = [" This is urgent.", " I need it today.", " I cannot work without it.", " Please hurry!"]


def _row(rng: random.Random, unseen: bool) -> dict:
    queue = rng.choice(QUEUES)
    known, kept = PROBLEMS[queue][:-KEPT], PROBLEMS[queue][-KEPT:]
    product = rng.choice(PRODUCTS)
    problem = rng.choice(kept if unseen else known).format(p=product)
    order = str(rng.randint(10000, 99999)) if rng.random() < 0.7 else ""
    urgent = rng.random() < 0.3
    named = rng.choice([" Order {}.", " My order number is {}.", " It is order {}."]).format(order) if order else ""
    greeting = rng.choice(["", "", "Hello, ", "Hi team, ", "Good morning, "])
    sentence = greeting + (problem if greeting else problem[0].upper() + problem[1:])
    ticket = f"{sentence}.{named}{rng.choice(URGENT if urgent else CALM)}"
    record = {"queue": queue, "urgent": urgent, "order": order, "product": product}
    return {"ticket": ticket, "json": json.dumps(record), **record, "unseen": unseen, "key": ticket}


def tickets(split: str = "train", n: int = 1000, seed: int = 0):
    """`n` tickets as `datasets.Dataset` (ticket, json, queue, urgent, order, product, unseen)."""
    check_split(split)
    rows = draw(lambda rng: _row(rng, unseen=split == "test" and rng.random() < 0.2), split, n, seed)
    return dataset(rows, __doc__)


def validate(text: str) -> str | None:
    """What is wrong with `text` as a record, in one line; None when it has the right form."""
    try:
        record = json.loads(text)
    except ValueError as error:
        return f"not JSON: {error}"
    if not isinstance(record, dict):
        return f"a JSON object is wanted, not a {type(record).__name__}"
    for name in FIELDS:
        if name not in record:
            return f"the field {name!r} is missing"
    if extra := sorted(set(record) - set(FIELDS)):
        return f"unknown field {extra[0]!r}"
    if record["queue"] not in QUEUES:
        return f"queue is {record['queue']!r}, not one of {', '.join(QUEUES)}"
    if not isinstance(record["urgent"], bool):
        return f"urgent is {record['urgent']!r}, not true or false"
    for name in ("order", "product"):
        if not isinstance(record[name], str):
            return f"{name} is {record[name]!r}, not a string"
    return None


def same(text: str, record: str) -> bool:
    """Whether `text` is valid and says the same as `record` (a JSON line), whatever its spacing and order."""
    return validate(text) is None and json.loads(text) == json.loads(record)
