"""# Arithmetic and list tasks

Short tasks with one right answer and an exact verifier: `verify(task, prompt, completion)` works the
answer out from the prompt again, so it can serve as a reward.

**Fields.** `task` (name), `prompt`, `answer` (bare), all strings.

**Tasks.** Taught to tiny-lm: `add1`, `add2`, `add3` (sums of one-, two-, three-digit numbers), `max`
(largest of three), `sort` (three to six digits, ascending), `reverse` and `copy` (three to six letters).
Never taught to a shipped model: `min` (smallest of three), `subtract`, `sort_down`.

**Splits.** `train`, `test`, by content: operands without their order (27+45 and 45+27 are on one side),
the multiset of a list that is sorted or searched, the letters of a list that is reversed or copied.
One-digit sums are the exception: there are 55, all are taught, so `add1` measures memory.

**Made by** drawing operands uniformly from a seed. No text from elsewhere. CC0.

**Known biases.** Numbers are uniform by value, so few have leading small digits as in real life; carries
occur in about half of the sums; English imperative phrasing only, two to four fixed templates a task;
answers are never negative; letters are lower-case ASCII.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from unit24.data._base import check_split, dataset, draw

FORMS = {
    "bare": "{}",
    "sentence": "The answer is {}.",
    "chatty": "Sure! The answer is {}. Do you need more help?",
}
"""The three forms in which tiny-lm has seen the answer to a numeric task."""


@dataclass(frozen=True)
class Task:
    make: Callable[[random.Random], tuple[str, str, str | None]]  # -> prompt, answer, key of the split
    solve: Callable[[str], str]  # prompt -> answer
    numeric: bool  # the answer is one number, and may stand in a sentence
    taught: bool  # part of the training of tiny-lm


def _ints(text: str) -> list[int]:
    return [int(x) for x in re.findall(r"\d+", text)]


def _items(prompt: str) -> list[str]:
    return prompt.split(": ", 1)[1].split()


def _add(digits: int):
    low, high = (0, 9) if digits == 1 else (10 ** (digits - 1), 10**digits - 1)

    def make(rng: random.Random):
        a, b = rng.randint(low, high), rng.randint(low, high)
        prompt = rng.choice(["What is {}+{}?", "{}+{}=", "Add {} and {}.", "Compute {}+{}."]).format(a, b)
        return prompt, str(a + b), None if digits == 1 else f"add {min(a, b)} {max(a, b)}"

    return Task(make, lambda p: str(sum(_ints(p))), numeric=True, taught=True)


def _subtract(rng: random.Random):
    b, a = sorted((rng.randint(0, 99), rng.randint(0, 99)))
    prompt = rng.choice([f"What is {a}-{b}?", f"{a}-{b}=", f"Subtract {b} from {a}."])
    return prompt, str(a - b), f"subtract {b} {a}"


def _solve_subtract(prompt: str) -> str:
    a, b = _ints(prompt)
    return str(b - a if prompt.startswith("Subtract") else a - b)


def _extreme(word: str, pick: Callable, taught: bool):
    def make(rng: random.Random):
        xs = [rng.randint(0, 99) for _ in range(3)]
        return f"{word} of {xs[0]}, {xs[1]}, {xs[2]}?", str(pick(xs)), f"extreme {sorted(xs)}"

    return Task(make, lambda p: str(pick(_ints(p))), numeric=True, taught=taught)


def _sort(word: str, down: bool, taught: bool):
    def order(xs: list[str]) -> str:
        return " ".join(sorted(xs, reverse=down))

    def make(rng: random.Random):
        xs = [str(rng.randint(0, 9)) for _ in range(rng.randint(3, 6))]
        return f"{word}: {' '.join(xs)}", order(xs), f"sort {sorted(xs)}"

    return Task(make, lambda p: order(_items(p)), numeric=False, taught=taught)


def _letters(word: str, step: int):
    def make(rng: random.Random):
        xs = [rng.choice(string.ascii_lowercase) for _ in range(rng.randint(3, 6))]
        return f"{word}: {' '.join(xs)}", " ".join(xs[::step]), f"letters {min(xs, xs[::-1])}"

    return Task(make, lambda p: " ".join(_items(p)[::step]), numeric=False, taught=True)


TASKS: dict[str, Task] = {
    "add1": _add(1),
    "add2": _add(2),
    "add3": _add(3),
    "max": _extreme("Largest", max, taught=True),
    "sort": _sort("Sort", down=False, taught=True),
    "reverse": _letters("Reverse", -1),
    "copy": _letters("Repeat", 1),
    "min": _extreme("Smallest", min, taught=False),
    "subtract": Task(_subtract, _solve_subtract, numeric=True, taught=False),
    "sort_down": _sort("Sort down", down=True, taught=False),
}


def _task(name: str) -> Task:
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}: choose from {', '.join(TASKS)}")
    return TASKS[name]


def row(name: str, rng: random.Random) -> dict:
    """One row with the "key" that decides its split."""
    prompt, answer, key = TASKS[name].make(rng)
    return {"task": name, "prompt": prompt, "answer": answer, "key": key}


def tasks(names: str | list[str] = "add2", split: str = "train", n: int = 1000, seed: int = 0):
    """`n` rows of each named task as `datasets.Dataset` (columns task, prompt, answer)."""
    check_split(split)
    rows = []
    for name in [names] if isinstance(names, str) else names:
        _task(name)
        rows += draw(partial(row, name), split, n, seed)
    return dataset(rows, __doc__)


def solve(task: str, prompt: str) -> str:
    """The right bare answer, worked out from the prompt."""
    return _task(task).solve(prompt)


def verify(task: str, prompt: str, completion: str) -> bool:
    """Whether a completion is right.

    A numeric answer may stand in a sentence, but must be the only number in it (naming many numbers
    must not pay).  A list must be given exactly, apart from space around it.
    """
    answer = solve(task, prompt)
    if _task(task).numeric:
        return re.findall(r"-?\d+", completion) == [answer]
    return completion.strip() == answer


def form(completion: str) -> str | None:
    """Which of `FORMS` a completion has ("bare", "sentence", "chatty"), or None."""
    for name, template in FORMS.items():
        if re.fullmatch(re.escape(template).replace(r"\{\}", r"-?\d+"), completion.strip()):
            return name
    return None
