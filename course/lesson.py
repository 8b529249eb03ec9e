"""Read a lesson into plain objects: ``lessons/NN_name.py`` and ``lessons/answers/NN_name.py``, in jupytext's percent format.

Everything that a lesson says about itself (exercises, points, answers that must fail or pass) is
read here and nowhere else.  A lesson that does not make sense raises `LessonError` with all its
faults, each with file and line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from course.faults import cell_faults, file_faults, syntax_error
from course.parts import ROOT, Answer, Cell, Exercise, Fault, Lesson, LessonError, Rule, answers_path, title_of
from course.percent import ANSWERS, Text, read_text
from course.quizzes import parse_quiz
from course.rules import rule_faults, take_out
from course.scenarios import scope_faults
from unit24.errors import UserError

LESSONS = ROOT / "lessons"


def lesson_names(folder: Path = LESSONS) -> list[str]:
    """Names of all lessons, in order."""
    return sorted(p.stem for p in folder.glob("[0-9][0-9]_*.py"))


def find_lessons(wanted: tuple[str, ...] = (), folder: Path = LESSONS) -> list[str]:
    """Full names for what a user typed: ``04``, ``4``, ``04_training_loop`` or its path.

    Raises:
        UserError: nothing is called that; the message lists what there is.
    """
    names = lesson_names(folder)
    if not wanted:
        return names
    found = []
    for word in wanted:
        stem = Path(word).stem
        number = f"{int(stem):02d}" if stem.isdigit() else stem
        match = [n for n in names if n == stem or n.split("_")[0] == number]
        if not match:
            raise UserError(f"there is no lesson {word!r}; there are: {', '.join(names) or 'none'}")
        found += [n for n in match if n not in found]
    return found


def texts(path: Path) -> dict[str, str]:
    """The texts of a lesson's files, by their place in the folder of lessons."""
    files = [file for file in (path, answers_path(path)) if file.exists()]
    return {file.relative_to(path.parent).as_posix(): file.read_text(encoding="utf-8") for file in files}


def write_texts(files: dict[str, str], folder: Path) -> None:
    """What `texts` gave, into another folder of lessons."""
    for place, text in files.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text, encoding="utf-8")


def read(path: Path) -> Lesson:
    """Read and check one lesson, with its answers.

    Raises:
        LessonError: with every fault's file and line, if the texts break the format.
    """
    story, answers = read_text(path), Text(answers_path(path))
    if answers.path.exists():
        answers = read_text(answers.path)
    story.cells, rules, faults = take_out(story.cells)
    lesson = _lesson(path, story, answers, rules)
    faults += [*story.faults, *answers.faults, *cell_faults(story, answers), *file_faults(story, answers)]
    faults += [fault for exercise in lesson.exercises for fault in rule_faults(exercise) if story.complete]
    faults += _scopes(lesson)
    if faults:
        first, *others = sorted(dict.fromkeys(faults), key=lambda fault: (fault.path != path, fault.line))
        raise LessonError(*first, *others)
    return lesson


# --------------------------------------------------------------------------------------------------


def _lesson(path: Path, story: Text, answers: Text, rules: dict[str, tuple[Rule, ...]]) -> Lesson:
    """The lesson, as far as there are the cells for it."""
    cells = _merged(story.cells, answers.cells)
    by_role: dict[str, dict[str, list[Cell]]] = {}
    for cell in cells:
        by_role.setdefault(cell.role, {}).setdefault(cell.name, []).append(cell)

    def of(role: str, name: str) -> tuple[Cell, ...]:
        return tuple(by_role.get(role, {}).get(name, ()))

    exercises = [
        Exercise(
            id=name,
            cell=cell,
            tests=tests,
            points=_number(tests, "points", 1),
            minutes=int(_number(cell, "minutes", 1)),
            difficulty=int(_number(cell, "difficulty", 1)),
            hints=_hints(cells, cell),
            wrong=of("wrong", name),
            right=of("right", name),
            equivalent=of("equivalent", name),
            seconds=_number(cell, "seconds", 20),
            memory_mb=int(_number(cell, "memory_mb", 2048)),
            processes=cell.options.get("processes") is True,
            rules=rules.get(name, ()),
        )
        for name, (cell, *_) in by_role.get("exercise", {}).items()
        for tests in of("tests", name)[:1]
    ]
    written = [
        Answer(
            id=name,
            cell=cell,
            rubric=next(iter(of("rubric", name)), None),
            points=_number(cell, "points", 1),
            minutes=int(_number(cell, "minutes", 10)),
            difficulty=int(_number(cell, "difficulty", 1)),
        )
        for name, (cell, *_) in by_role.get("answer", {}).items()
    ]
    about = story.header.get("unit24", {})
    return Lesson(
        name=path.stem,
        title=title_of(story.cells),
        path=path,
        cells=tuple(cells),
        exercises=tuple(exercises),
        answers=tuple(written),
        questions=tuple(q for cell in cells if cell.role == "quiz" for q in parse_quiz(cell)[0]),
        needs=tuple(about.get("needs", ())),
        fork=bool(about.get("fork", True)),
    )


def _scopes(lesson: Lesson) -> Iterator[Fault]:
    """What is wrong with scenarios; nothing is said where the names of the lesson cannot be read."""
    if not any(cell.type == "code" and cell.role not in ANSWERS and syntax_error(cell) for cell in lesson.cells):
        for exercise in lesson.exercises:
            yield from (Fault(lesson.path, *fault) for fault in scope_faults(lesson, exercise))


def _merged(story: Iterable[Cell], answers: Iterable[Cell]) -> list[Cell]:
    """The story with each answer behind the tests of its exercise, each rubric behind its written answer."""
    cells: list[Cell] = []
    for cell in story:
        cells.append(cell)
        if cell.role in ("tests", "answer"):
            cells += [a for a in answers if a.name == cell.name and (a.role == "rubric") == (cell.role == "answer")]
    return cells


def _number(cell: Cell, key: str, default: float) -> float:
    """An option's value; `default` where it is missing, or no number (which is a fault of the cell)."""
    value: Any = cell.options.get(key, default)
    return float(value) if isinstance(value, (int, float)) else default


def _hints(cells: list[Cell], exercise: Cell) -> int:
    """Folded hints (``<details>``) in the prose between an exercise's cell and the next exercise."""
    count = 0
    for cell in cells[cells.index(exercise) + 1 :]:
        if cell.role in ("exercise", "answer", "quiz"):
            break
        if cell.role == "unmarked" and cell.type == "markdown":
            count += cell.source.count("<details>")
    return count
