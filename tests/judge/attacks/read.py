"""Read the files of this folder: ``# %% name: what it tries [exercise] (beats naive)``, then the candidate's cell.

Lines may follow that begin with ``# deserves:`` (points that the honest part of the answer deserves) and ``# known:`` (a limit that
is documented, and why: the attack may gain).  A line ``# honest`` stands for a right answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
THEMES = {  # the lesson whose exercises they are for, and the one that they try first
    "62_target": ("weigh", ("channel", "disk", "frames", "objects", "patches", "resources", "when_asked")),
    "63_wall": (
        "plain",
        ("wall_catches", "wall_files", "wall_frames", "wall_memory", "wall_objects", "wall_processes", "wall_state", "wall_wire"),
    ),
}
INNOCENT = {"62_target": ("weigh", ("innocent",)), "63_wall": ("plain", ("wall_innocent",))}
HEADER = re.compile(r"^# %% (?P<name>\w+): (?P<what>.+?)(?: \[(?P<exercise>\w+)\])?(?P<naive> \(beats naive\))?$", re.M)
NOTE = re.compile(r"^# (deserves|known): (.+)$", re.M)


@dataclass(frozen=True)
class Attack:
    lesson: str
    theme: str
    name: str
    what: str
    exercise: str
    beats_naive: bool  # full marks from a grader that runs cell and tests one after the other
    deserves: float  # points of the honest part
    known: str  # why it may gain
    source: str

    def text(self, honest: str = "", **known: object) -> str:
        """The cell, with a right answer for ``# honest``, and what the attacker is told for ``LESSON_PATH`` and the like."""
        source = self.source.replace("␀", "\0")
        for name, value in known.items():
            source = source.replace(name, repr(value))
        return re.sub(r"^# honest$", lambda _: honest, source, flags=re.M)


def lesson_path(name: str) -> Path:
    return FOLDER / "lessons" / f"{name}.py"


def corpus(themes: dict[str, tuple[str, tuple[str, ...]]]) -> list[Attack]:
    """All attacks of some themes (`THEMES`, `INNOCENT`)."""
    return [attack for lesson, (first, names) in themes.items() for theme in names for attack in attacks(theme, lesson, first)]


def attacks(theme: str, lesson: str, first: str) -> list[Attack]:
    """The attacks of one file; on the exercise `first` where they do not say."""
    text = (FOLDER / f"{theme}.py").read_text(encoding="utf-8")
    found = list(HEADER.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    made = []
    for m, end in zip(found, ends):
        source = text[m.end() : end].strip() + "\n"
        notes = dict(NOTE.findall(source))
        deserves, known = float(notes.get("deserves", 0)), notes.get("known", "")
        made.append(Attack(lesson, theme, m["name"], m["what"], m["exercise"] or first, bool(m["naive"]), deserves, known, source))
    return made
