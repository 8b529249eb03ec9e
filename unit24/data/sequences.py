"""# Associative recall and selective copying

Two tasks on symbols that show what a sequence model keeps in mind.

*Associative recall* (Ba et al. 2016): pairs of key and value, a separator, then keys that ask for their
values. *Selective copying* (Gu and Dao 2023): symbols scattered in noise, a separator, then the symbols
alone, in order.

**Fields.** `input_ids` (list of int), `labels` (list of int of the same length, -100 where nothing is
asked). A model reads `input_ids` and predicts each label from the position *before* it, as causal models
of transformers do with `labels=`.

**Vocabulary** (`VOCAB` = 24). 0 noise, 1 separator. Recall: keys 2 to 12, values 13 to 23. Copying:
symbols 2 to 17.

**Splits.** `train`, `test`, by the pairs (the map from key to value) and by the symbols with their places.

**Made by** uniform draws. CC0.

**Known biases.** A key has one value in a row, so nothing is ever overwritten; all rows of a call have one
length; at most eleven pairs.
"""

from __future__ import annotations

import random

from unit24.data._base import check_split, dataset, draw

VOCAB = 24
NOISE, SEPARATOR = 0, 1
KEYS, VALUES, SYMBOLS = range(2, 13), range(13, 24), range(2, 18)


def recall(split: str = "train", n: int = 1000, seed: int = 0, pairs: int = 6, queries: int = 4):
    """`n` rows of associative recall with `pairs` pairs (1 to 11): length 2 * pairs + 1 + 2 * queries."""
    check_split(split)
    if not 1 <= pairs <= len(KEYS):
        raise ValueError(f"pairs is {pairs}: choose 1 to {len(KEYS)}")

    def make(rng: random.Random) -> dict:
        value = {key: rng.choice(VALUES) for key in rng.sample(KEYS, pairs)}
        asked = [rng.choice(list(value)) for _ in range(queries)]
        shown = [x for pair in value.items() for x in pair]
        labels = [-100] * (len(shown) + 1) + [x for key in asked for x in (-100, value[key])]
        ids = [*shown, SEPARATOR, *(x for key in asked for x in (key, value[key]))]
        return {"input_ids": ids, "labels": labels, "key": f"recall {sorted(value.items())}"}

    return dataset(draw(make, split, n, seed), __doc__)


def selective_copy(split: str = "train", n: int = 1000, seed: int = 0, length: int = 24, symbols: int = 4):
    """`n` rows of selective copying: `symbols` symbols within `length` places, row length + 1 + symbols."""
    check_split(split)
    if not 1 <= symbols <= length:
        raise ValueError(f"symbols is {symbols}: choose 1 to the length, {length}")

    def make(rng: random.Random) -> dict:
        body = [NOISE] * length
        kept = [rng.choice(SYMBOLS) for _ in range(symbols)]
        for place, symbol in zip(sorted(rng.sample(range(length), symbols)), kept, strict=True):
            body[place] = symbol
        return {
            "input_ids": [*body, SEPARATOR, *kept],
            "labels": [-100] * (length + 1) + kept,
            "key": f"copy {body}",
        }

    return dataset(draw(make, split, n, seed), __doc__)
