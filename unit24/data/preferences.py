"""# Preference pairs: same content, other form

Pairs of answers to one numeric task. Both are right; they differ in form alone (`tasks.FORMS`: the bare
number, a sentence, a chatty answer). A model trained on them should change how it answers, not what.

**Fields.** `prompt`, `chosen`, `rejected`: lists of one message (`role`, `content`), as TRL takes them;
`answer` (bare), `task`.

**Splits.** `train`, `test`, those of the tasks: the test operands are held out.

**Made by** `tasks` (two-digit sums and the largest of three) and the three forms. CC0.

**Known biases.** The preference depends on form alone and never conflicts with being right; a form is one
fixed string around the number, so a reward model needs to look at a few tokens only; the chosen form is
longer (or shorter) throughout, so length predicts it.
"""

from __future__ import annotations

import random

from unit24.data._base import check_split, dataset, draw
from unit24.data.tasks import FORMS, row


def preferences(split: str = "train", n: int = 1000, seed: int = 0, prefer: str = "sentence"):
    """`n` pairs as `datasets.Dataset` in TRL's conversational form; `prefer` is a key of `tasks.FORMS`."""
    check_split(split)
    if prefer not in FORMS:
        raise ValueError(f"unknown form {prefer!r}: choose from {', '.join(FORMS)}")

    def pair(rng: random.Random) -> dict:
        made = row(rng.choice(["add2", "max"]), rng)
        other = rng.choice([form for form in FORMS if form != prefer])
        say = {form: [{"role": "assistant", "content": FORMS[form].format(made["answer"])}] for form in FORMS}
        return {
            "prompt": [{"role": "user", "content": made["prompt"]}],
            "chosen": say[prefer],
            "rejected": say[other],
            "answer": made["answer"],
            "task": made["task"],
            "key": made["key"],
        }

    return dataset(draw(pair, split, n, seed), __doc__)
