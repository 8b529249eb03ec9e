"""# Context questions

Two to four facts about who has what and where it is, and one question that the facts answer.

**Fields.** `context`, `question`, `answer` (one word), `kind` (who, what, colour, where), all strings;
`prompt` is context and question in one line, as tiny-lm was taught.

**Splits.** `train`, `test`, by the context. Names, things and colours are the same in both: the test
asks for reading a new context, not for new words.

**Made by** a template from word lists in this file. CC0.

**Known biases.** One sentence form per fact; the answer always stands in the context, word for word; no
two facts share a name, thing or colour, so no fact contradicts another; English given names.
"""

from __future__ import annotations

import random

from unit24.data._base import check_split, dataset, draw

NAMES = "Mia Tom Ana Ben Eva Sam Lea Max Zoe Ian Ada Leo Ivy Kim Joe Amy Dan Pia Rob Una".split()
THINGS = "kite ball book lamp cup hat drum boat coin ring bell map pen key box rope doll cake fan rug".split()
COLOURS = "red blue green black white pink brown grey".split()
PLACES = "park school shop beach farm station garden library".split()


def conversation(rng: random.Random, turns: int = 1) -> dict:
    """A context and `turns` different questions on it: context, turns [(kind, question, answer)], key of the split."""
    count = rng.choice([2, 2, 3, 3, 4])
    names, things = rng.sample(NAMES, count), rng.sample(THINGS, count)
    colours, places = rng.sample(COLOURS, count), rng.sample(PLACES, count)
    if rng.random() < 0.25:
        facts = [f"{n} is at the {p}." for n, p in zip(names, places, strict=True)]
        asked = [("where", f"Where is {n}?", p) for n, p in zip(names, places, strict=True)]
    else:
        facts = [f"{n} has a {c} {t}." for n, c, t in zip(names, colours, things, strict=True)]
        asked = [("who", f"Who has the {t}?", n) for n, t in zip(names, things, strict=True)]
        asked += [("what", f"What does {n} have?", t) for n, t in zip(names, things, strict=True)]
        asked += [("colour", f"What color is the {t}?", c) for c, t in zip(colours, things, strict=True)]
    context = " ".join(facts)
    return {"context": context, "turns": rng.sample(asked, min(turns, len(asked))), "key": context}


def row(rng: random.Random) -> dict:
    """One row with the "key" that decides its split."""
    talk = conversation(rng)
    [(kind, question, answer)] = talk["turns"]
    context = talk["context"]
    prompt = f"{context} {question}"
    return {"context": context, "question": question, "answer": answer, "kind": kind, "prompt": prompt, "key": context}


def context_questions(split: str = "train", n: int = 1000, seed: int = 0):
    """`n` rows as `datasets.Dataset` (columns context, question, answer, kind, prompt)."""
    check_split(split)
    return dataset(draw(row, split, n, seed), __doc__)


def story(rng: random.Random) -> str:
    """A story of six sentences about two children, for language modelling."""
    n, m = rng.sample(NAMES, 2)
    t, u = rng.sample(THINGS, 2)
    c, d = rng.sample(COLOURS, 2)
    p = rng.choice(PLACES)
    sentences = [
        rng.choice([f"{n} went to the {p}.", f"One day {n} was at the {p}.", f"{n} liked to go to the {p}."]),
        rng.choice([f"{n} had a {c} {t}.", f"There {n} found a {c} {t}."]),
        rng.choice([f"{m} was there too.", f"Soon {m} came to the {p}.", f"{m} saw {n} and came to play."]),
        rng.choice([f"{m} liked the {t} and asked to play.", f"{m} had a {d} {u}.", f"{m} wanted the {c} {t} too."]),
        rng.choice(
            [
                f"{n} gave the {t} to {m}.",
                f"They played with the {c} {t} all day.",
                f"The {t} fell and {n} was sad, so {m} helped.",
                f"{n} lost the {t}, but {m} found it at the {p}.",
            ]
        ),
        rng.choice([f"Then {n} and {m} went home.", f"{n} was happy.", f"At night they left the {p} and slept well."]),
    ]
    return " ".join(sentences)
