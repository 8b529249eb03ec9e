"""Data sets that need no network: each is made on the spot from a seed.

    from unit24 import data
    train = data.load("reviews", split="train", n=500)
    print(data.card("reviews"))

`load` gives a `datasets.Dataset`.  The test split is held out by content: no seed draws a test row when
"train" is asked for, and no shipped model was trained on one.  Each module begins with the card of its
data set: fields, splits, how it was made, and its known biases.  Verifiers and word lists stand in the
modules too (`from unit24.data.tasks import verify`).
"""

from __future__ import annotations

import importlib

# name for `load`: (module, function in it)
SETS = {
    "tasks": ("tasks", "tasks"),
    "context_questions": ("questions", "context_questions"),
    "reviews": ("reviews", "reviews"),
    "sentiment": ("reviews", "sentiment"),
    "preferences": ("preferences", "preferences"),
    "tickets": ("tickets", "tickets"),
    "contracts": ("contracts", "contracts"),
    "contract_questions": ("contracts", "contract_questions"),
    "reference": ("python_docs", "reference"),
    "reference_questions": ("python_docs", "reference_questions"),
    "digits": ("digits", "cluttered_digits"),
    "recall": ("sequences", "recall"),
    "selective_copy": ("sequences", "selective_copy"),
}


def _module(name: str):
    if name not in SETS:
        raise ValueError(f"unknown data set {name!r}: choose from {', '.join(SETS)}")
    return importlib.import_module(f"unit24.data.{SETS[name][0]}")


def load(name: str, **options):
    """Data set `name` as `datasets.Dataset`.

    Most take `split` ("train" or "test"), `n` rows and `seed`; the function behind a name says what
    else (`tasks`: `names`; `recall`: `pairs`; ...).  ValueError on an unknown name, split or option value.
    """
    return getattr(_module(name), SETS[name][1])(**options)


def card(name: str) -> str:
    """The data set's card, Markdown."""
    return _module(name).__doc__
