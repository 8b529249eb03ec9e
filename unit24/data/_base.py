"""What all generators share: the split by content, drawing rows, and the `datasets.Dataset` around them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable
from typing import Any

SPLITS = ("train", "test")
HELD_OUT = 8  # one key in this many belongs to the test split


def side(key: str | None) -> str:
    """"test" or "train" for a key, decided by its content alone; None is always "train".

    A split by content needs no bookkeeping: whatever seed drew a row, it is on the same side, so no
    run that asked for "train" can have seen a held-out row.
    """
    if key is None:
        return "train"
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return "test" if int.from_bytes(digest, "big") % HELD_OUT == 0 else "train"


def check_split(split: str, allowed: Iterable[str] = SPLITS) -> None:
    if split not in allowed:
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(allowed)}")


def draw(make: Callable[[random.Random], dict], split: str, n: int, seed: int) -> list[dict]:
    """`n` rows of `make(rng)` that lie in `split`, without the "key" that decided it.

    Rows of the test split are all different; training rows may repeat.  ValueError when the
    generator cannot make that many different rows.
    """
    rng = random.Random(f"{split} {seed}")
    rows, seen, misses = [], set(), 0
    while len(rows) < n:
        row = make(rng)
        key = row.pop("key")
        if side(key) != split or (split == "test" and repr(row) in seen):
            misses += 1
            if misses > 2000 + 100 * n:
                raise ValueError(f"only {len(rows)} different rows of split {split!r} exist: ask for at most that many")
            continue
        seen.add(repr(row))
        rows.append(row)
    return rows


def dataset(rows: list[dict] | dict[str, list], card: str | None, features: Any = None):
    """Rows (or columns) as `datasets.Dataset` with the card as its description."""
    from datasets import Dataset, DatasetInfo, Features

    columns = rows if isinstance(rows, dict) else {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}
    info = DatasetInfo(description=card or "", license="cc0-1.0", features=Features(features) if features else None)
    return Dataset.from_dict(columns, features=info.features, info=info)
