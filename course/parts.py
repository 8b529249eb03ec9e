"""What a lesson consists of: cells, exercises, written answers, quiz questions, and what may be wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from course.names import defined_names
from unit24.errors import UserError

ROOT = Path(__file__).resolve().parent.parent

BEGIN_SOLUTION, END_SOLUTION = "### BEGIN SOLUTION", "### END SOLUTION"
BEGIN_HIDDEN, END_HIDDEN = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"


class Fault(NamedTuple):
    """Something in a lesson's file that must be put right."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        try:
            path = self.path.resolve().relative_to(ROOT)
        except ValueError:
            path = self.path
        return f"{path}:{self.line}: {self.message}"


class LessonError(UserError):
    """A lesson that cannot be used; the message has a line ``file:line: what`` for each fault."""

    def __init__(self, path: Path, line: int, message: str, *others: Fault):
        self.faults = (Fault(path, line, message), *others)
        super().__init__("\n".join(map(str, self.faults)))

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(map(str, self.faults))


@dataclass(frozen=True)
class Cell:
    """One cell of a text. `role` is a key of `percent.KEYS`, ``"setup"`` or ``"unmarked"``; `name` its value."""

    role: str
    name: str
    type: str  # "code" or "markdown"
    source: str
    path: Path
    line: int  # of the source's first line in the file, from 1
    options: dict[str, Any] = field(default_factory=dict)

    def fault(self, message: str, line: int = 1) -> Fault:
        """What is wrong in a line of the source, counted from 1."""
        return Fault(self.path, self.line + line - 1, message)

    @property
    def label(self) -> str:
        """How messages call the cell."""
        return f"{self.role}={self.name!r}" if self.name else f"{'an' if self.role == 'unmarked' else 'a'} {self.role} cell"


@dataclass(frozen=True)
class Rule:
    """One demand of a task. `reported`: whether it was kept is only told by the process of the student's code."""

    name: str
    reported: bool
    line: int  # in the lesson text


@dataclass(frozen=True)
class Exercise:
    """One exercise with everything that belongs to it."""

    id: str
    cell: Cell
    tests: Cell
    points: float
    minutes: int
    difficulty: int
    hints: int
    wrong: tuple[Cell, ...]
    right: tuple[Cell, ...]
    equivalent: tuple[Cell, ...]
    seconds: float  # limit for one candidate, CPU seconds
    memory_mb: int  # limit for one candidate above the reference state
    processes: bool = False  # a candidate may start programs
    rules: tuple[Rule, ...] = ()  # what its task demands, if the task says so by name

    @property
    def names(self) -> frozenset[str]:
        """Top-level names that the exercise's reference solution defines."""
        return frozenset(defined_names(self.cell.source))


@dataclass(frozen=True)
class Answer:
    """A written answer, graded by hand against its rubric."""

    id: str
    cell: Cell
    rubric: Cell | None
    points: float
    minutes: int
    difficulty: int


@dataclass(frozen=True)
class Question:
    """A quiz question: options as (text, is right, feedback)."""

    text: str
    options: tuple[tuple[str, bool, str], ...]


@dataclass(frozen=True)
class Lesson:
    """A lesson; each answer that must fail or pass stands in `cells` behind the tests of its exercise."""

    name: str
    title: str
    path: Path
    cells: tuple[Cell, ...]
    exercises: tuple[Exercise, ...]
    answers: tuple[Answer, ...]
    questions: tuple[Question, ...]
    needs: tuple[str, ...]  # requirement strings beyond the package's own
    fork: bool  # False: its components do not survive a fork

    @property
    def points(self) -> float:
        return sum(e.points for e in self.exercises) + sum(a.points for a in self.answers)

    def exercise(self, name: str) -> Exercise:
        for exercise in self.exercises:
            if exercise.id == name:
                return exercise
        raise KeyError(f"lesson {self.name} has no exercise {name!r}; it has {', '.join(e.id for e in self.exercises)}")


def answers_path(path: Path) -> Path:
    """The file with the answers to a lesson's exercises."""
    return path.parent / "answers" / path.name


PICTURE = re.compile(r"!\[([^\]]*)\]\((pictures/[\w.-]+\.svg)\)")  # in a text: what it shows, and its file beside the lessons


def picture_path(story: Path, name: str) -> Path:
    """The file of a picture that a lesson names; a copy of the lesson elsewhere has those of the course."""
    beside = story.parent / name
    return beside if beside.is_file() else ROOT / "lessons" / name


def title_of(cells: Iterable[Cell]) -> str:
    """The first heading that begins a text cell; empty if there is none."""
    for cell in cells:
        if cell.type == "markdown" and (match := re.match(r"#\s+(.+)", cell.source)):
            return match[1].strip()
    return ""
