"""Read the files of this folder: ``# %% name: what it tries [exercise] (beats naive)``, then the candidate's cell."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
LESSON = FOLDER / "lessons" / "62_target.py"
HEADER = re.compile(r"^# %% (?P<name>\w+): (?P<what>.+?)(?: \[(?P<exercise>\w+)\])?(?P<naive> \(beats naive\))?$", re.M)


@dataclass(frozen=True)
class Attack:
    theme: str
    name: str
    what: str
    exercise: str
    beats_naive: bool  # full marks from a grader that runs cell and tests one after the other
    source: str

    def text(self, **known: object) -> str:
        """The cell, with what the attacker is told put in for ``LESSON_PATH`` and the like."""
        source = self.source.replace("␀", "\0")
        for name, value in known.items():
            source = source.replace(name, repr(value))
        return source


def attacks(theme: str) -> list[Attack]:
    text = (FOLDER / f"{theme}.py").read_text(encoding="utf-8")
    found = list(HEADER.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    return [
        Attack(theme, m["name"], m["what"], m["exercise"] or "weigh", bool(m["naive"]), text[m.end() : end].strip() + "\n")
        for m, end in zip(found, ends)
    ]
