"""The leak scan: nothing that belongs to the instructor may stand in what students get.

Secrets are the lines of a lesson that its student-visible part does not contain: solutions, hidden
tests, `wrong` and `right` answers, model answers, rubrics, quiz feedback.  Each is looked for in
every text of every released notebook (sources, outputs, metadata).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course.notebook import SETUP_CELL, relative, student_source
from course.parts import BEGIN_HIDDEN, BEGIN_SOLUTION, Cell, Lesson

SHORTEST = 12  # characters; a shorter line (`return x`, `else:`) tells nothing


@dataclass(frozen=True)
class Leak:
    """One thing that students must not get. `lesson_line` is ``file:line`` of the secret, or empty."""

    where: str
    what: str
    lesson_line: str = ""
    text: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" ({self.lesson_line}): {self.text}" if self.lesson_line else "")


def scan(folder: Path, lessons: Iterable[Lesson], public: Iterable[str] = ()) -> list[Leak]:
    """Leaks in a folder of released notebooks; an empty list is what one wants.

    Args:
        folder: holds ``NN_name/NN_name.ipynb``.
        lessons: whose secrets to look for; give all lessons, since a line that one lesson shows
            to students is no secret of another.
        public: names of other files that may stand there, relative to `folder`.
    """
    lessons, public = list({lesson.name: lesson for lesson in lessons}.values()), set(public)
    shown = {lesson.name: _shown(lesson) for lesson in lessons}
    shown_lines = {line for text in shown.values() for line in text.splitlines()}
    secrets = {lesson.name: _secrets(lesson, shown[lesson.name], shown_lines) for lesson in lessons}
    everywhere: dict[str, tuple[Cell, int]] = {}
    for lesson in lessons:
        for line, place in secrets[lesson.name].items():
            everywhere.setdefault(line, place)

    leaks: list[Leak] = []
    for path in sorted(p for p in folder.rglob("*") if not p.is_dir()):
        inside = path.relative_to(folder)
        where = f"{folder.name}/{inside.as_posix()}"
        if len(inside.parts) != 2 or inside.name != f"{inside.parts[0]}.ipynb" or path.is_symlink():
            if inside.as_posix() not in public:
                leaks.append(Leak(where, "a file that is not a lesson's notebook"))
            continue
        try:
            notebook = json.loads(path.read_text(encoding="utf-8"))
            cells = notebook["cells"]
        except (ValueError, KeyError, TypeError):
            leaks.append(Leak(where, "not a readable notebook"))
            continue
        own = secrets.get(path.stem, {})
        for cell in [*cells, {"id": "(metadata)", "rest": {k: v for k, v in notebook.items() if k != "cells"}}]:
            at = f"{where} [{cell.get('id', '?')}]"
            if cell.get("outputs"):
                leaks.append(Leak(at, "an output"))
            if cell.get("attachments"):
                leaks.append(Leak(at, "an attachment"))
            text = "\n".join(_strings(cell))
            for marker in (BEGIN_SOLUTION, BEGIN_HIDDEN):
                if marker in text:
                    leaks.append(Leak(at, f"a `{marker}` marker"))
            lines = [_normal(line) for line in text.splitlines()]
            joined = "\n".join(lines)
            # A lesson's own secrets may hide inside longer lines; those of others are compared line by line.
            found = {s: own[s] for s in own if s in joined}
            found |= {s: everywhere[s] for s in lines if s in everywhere}
            for secret, (source, number) in found.items():
                leaks.append(Leak(at, f"a line of {_kind(source)}", f"{relative(source.path)}:{number}", secret))
    return leaks


def _shown(lesson: Lesson) -> str:
    """Everything that students see of the lesson, as normalised lines."""
    texts = [student_source(cell) for cell in lesson.cells]
    if SETUP_CELL.exists():
        texts.append(SETUP_CELL.read_text(encoding="utf-8"))
    # Questions and options of a quiz are shown, but not which is right, nor why.
    texts += [t for q in lesson.questions for t in (q.text, *(text for text, _, _ in q.options))]
    return "\n".join(_normal(line) for text in texts for line in text.splitlines())


def _secrets(lesson: Lesson, shown: str, shown_lines: set[str]) -> dict[str, tuple[Cell, int]]:
    """Distinctive lines kept from students, with their cell and line in its file.

    A line is no secret if it is part of what this lesson shows, or a whole line that another shows.
    """
    found: dict[str, tuple[Cell, int]] = {}
    for cell in lesson.cells:
        for number, line in enumerate(cell.source.splitlines(), cell.line):
            secrets = [_normal(line)]
            if cell.role == "quiz":  # the feedback alone, too
                secrets.append(_normal(line.partition(" :: ")[2]))
            for secret in secrets:
                if len(secret) >= SHORTEST and secret not in shown and secret not in shown_lines:
                    found.setdefault(secret, (cell, number))
    return found


def _kind(cell: Cell) -> str:
    return {
        "exercise": f"the solution of {cell.name}",
        "tests": f"the hidden tests of {cell.name}",
        "wrong": f"a wrong answer to {cell.name}",
        "right": f"a right answer to {cell.name}",
        "answer": f"the model answer to {cell.name}",
        "rubric": f"the rubric of {cell.name}",
        "quiz": f"the answers of quiz {cell.name}",
        "equivalent": f"a mutant of {cell.name}",
    }.get(cell.role, "the lesson")


def _strings(value: Any) -> list[str]:
    """All texts in a JSON value; a list of strings is one text, as notebooks keep theirs."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return ["".join(value)] if all(isinstance(v, str) for v in value) else [s for v in value for s in _strings(v)]
    return [s for k, v in value.items() for s in (k, *_strings(v))] if isinstance(value, dict) else []


def _normal(line: str) -> str:
    return " ".join(line.split())
