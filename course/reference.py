"""The code that makes a lesson's state: its reference notebook without prose and tests."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable

from course.names import defined_names
from course.parts import Exercise, Lesson


def is_blank(source: str) -> bool:
    """Nothing but comments and white space."""
    return all(not line.strip() or line.lstrip().startswith("#") for line in source.splitlines())


def reference_cells(lesson: Lesson) -> Iterable[tuple[str, str, int, str | None]]:
    """Code that makes the reference state, in order: (file name, source, line in the text, exercise id)."""
    for cell in lesson.cells:
        if cell.role == "setup":
            yield "<setup>", f"import unit24\nenv = unit24.start({lesson.name!r})\n", cell.line, None
        elif cell.role == "exercise":
            yield f"<reference {cell.name}>.py", cell.source, cell.line, cell.name
        elif cell.role == "unmarked" and cell.type == "code":
            yield f"<lesson {lesson.name} line {cell.line}>", cell.source, cell.line, None


def needed_cells(lesson: Lesson, exercise: Exercise, texts: list[str] | None) -> list[tuple[str, str, int, str | None]]:
    """Of the reference cells before `exercise`, those that define a name which `texts` need (None: all).

    A cell that imports counts as defining what it imports; the setup cell is always there.
    """
    def used(text: str) -> set[str]:
        try:
            return {n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)} - set(dir(builtins))
        except SyntaxError:
            return set()

    before = []
    for cell in reference_cells(lesson):
        if cell[3] == exercise.id:
            break
        before.append(cell)
    if texts is None:
        return before
    wanted, kept = set().union(*map(used, texts)), []
    for cell in reversed(before):
        if cell[0] == "<setup>" or wanted & set(defined_names(cell[1])):
            kept.append(cell)
            wanted |= used(cell[1])
    return kept[::-1]
