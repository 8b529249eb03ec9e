"""The answers of a blind round: any number of ``answers/*.py`` in the percent format of ``lessons/answers/``.

| cell | means |
|---|---|
| ``# %% right="name" note="another style"`` | a whole replacement of the exercise's cell that must earn full points |
| ``# %% wrong="name" misunderstands="what"`` | one that must not |

Whoever judges the outcome adds ``not_counted="why"`` (the answer is not what it was meant to be) and
``misleads="how"`` (its message says something that is not so).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from course.faults import is_of_its_type, is_python
from course.names import defined_names
from course.notebook import student_source
from course.parts import Cell, Exercise, Fault, Lesson, LessonError
from course.percent import Markers, Text, read_text
from course.reference import is_blank
from judge.fingerprint import tree_hash

JUDGED = {"not_counted", "misleads"}
MARKERS = Markers(
    keys={"right": {"note", *JUDGED}, "wrong": {"misunderstands", *JUDGED}},
    required={"wrong": {"misunderstands"}},
)


@dataclass(frozen=True)
class BlindAnswer:
    """One answer. `student` is who hands it in, in the class that is graded: it is that student's only answer."""

    cell: Cell
    student: str

    @property
    def exercise(self) -> str:
        return self.cell.name

    @property
    def is_right(self) -> bool:
        return self.cell.role == "right"

    @property
    def place(self) -> str:
        """``file:line`` of its marker."""
        return f"{self.cell.path}:{self.cell.line - 1}"

    @property
    def says(self) -> str:
        """What a right answer is like, what a wrong one misunderstands."""
        return self.cell.options.get("note" if self.is_right else "misunderstands", "")

    @property
    def not_counted(self) -> str:
        """Why it is not counted; empty if it is."""
        return self.cell.options.get("not_counted", "")

    @property
    def misleads(self) -> str:
        """What is not so in the message that it got."""
        return self.cell.options.get("misleads", "")


def read_answers(lesson: Lesson, folder: Path) -> list[BlindAnswer]:
    """All answers in a folder, in the order of the exercises.

    Raises:
        LessonError: with file and line of everything that is wrong with them.
    """
    texts = [_read(path) for path in sorted(folder.rglob("*.py")) if not _hidden(path.relative_to(folder))]
    cells = [cell for text in texts for cell in text.cells]
    faults = [fault for text in texts for fault in text.faults] + [fault for cell in cells for fault in _faults(cell, lesson)]
    faults += _repetitions(cells)
    if faults:
        first, *others = sorted(dict.fromkeys(faults))
        raise LessonError(*first, *others)
    answers, numbers = [], {}
    for exercise in lesson.exercises:
        for cell in (cell for cell in cells if cell.name == exercise.id):
            number = numbers[cell.name, cell.role] = numbers.get((cell.name, cell.role), 0) + 1
            answers.append(BlindAnswer(cell, f"{cell.name}_{cell.role}{number}"))
    return answers


def asked_names(exercise: Exercise) -> list[str]:
    """Functions and classes that the stub of an exercise defines, and so every answer to it."""
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node.name for node in ast.parse(student_source(exercise.cell)).body if isinstance(node, definitions)]


def _read(path: Path) -> Text:
    try:
        return read_text(path, MARKERS)
    except UnicodeDecodeError as error:
        return Text(path, faults=[Fault(path, 1, f"not a text in UTF-8 (byte {error.start})")])


def _hidden(path: Path) -> bool:
    """What an editor leaves beside the files: ``.ipynb_checkpoints`` and the like."""
    return any(part.startswith(".") for part in path.parts)


# --------------------------------------------------------------------------------------------------
# What may be wrong with them


def _faults(cell: Cell, lesson: Lesson) -> Iterator[Fault]:
    if cell.role not in MARKERS.keys:
        yield _at_marker(cell, f"{cell.label} is no answer: each cell begins with `# %% right=` or `# %% wrong=`")
        return
    for key, value in cell.options.items():
        if not isinstance(value, str) or not value.strip():
            yield _at_marker(cell, f'{cell.label}: {key}={value!r} must say something: {key}="a few words"')
    unfit = [*is_of_its_type(cell), *is_python(cell)]
    yield from unfit
    exercises = {exercise.id: exercise for exercise in lesson.exercises}
    if cell.name not in exercises:
        yield _at_marker(cell, f"{cell.label}: there is no such exercise in {lesson.name}; it has {', '.join(exercises)}")
    elif not unfit:
        yield from _unfinished(cell, exercises[cell.name])


def _unfinished(cell: Cell, exercise: Exercise) -> Iterator[Fault]:
    stub = student_source(exercise.cell)
    if is_blank(cell.source) or tree_hash(cell.source) == tree_hash(stub):
        yield _at_marker(cell, f"{cell.label} is empty, or still the stub")
        return
    if missing := [name for name in asked_names(exercise) if name not in defined_names(cell.source)]:
        what = "it replaces the whole cell of the exercise, so all that stands there must be in it"
        yield _at_marker(cell, f"{cell.label} does not define {', '.join(missing)}: {what}")


def _repetitions(cells: list[Cell]) -> Iterator[Fault]:
    """The same code twice for an exercise would count twice, or as right and as wrong."""
    seen: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        if cell.role in MARKERS.keys and not any(is_python(cell)):
            first = seen.setdefault((cell.name, tree_hash(cell.source)), cell)
            if first is not cell:
                yield _at_marker(cell, f"{cell.label} has the same code as {first.path.name}:{first.line - 1}")


def _at_marker(cell: Cell, message: str) -> Fault:
    return Fault(cell.path, cell.line - 1, message)
