"""A blind round: a reader who saw only the student notebook writes right and wrong answers; how does grading treat them?

Its folder:

- ``NN_name.ipynb`` and ``README.md``: all that the reader gets;
- ``answers/``: what the reader writes, only read here (`proofs.blind_answers`);
- ``round.json``: which round it is, and of which text;
- ``class/``: a class folder with one student for each answer, made anew by every grading but for its journal of verdicts,
  so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import copy
import datetime
import json
import secrets
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from course.notebook import as_text, instructor_notebook
from course.parts import Lesson
from grader.engines import threads
from grader.grade import find_work, grade_class
from grader.gradebook import Forms, exclusive
from grader.submission import submission_path
from judge.verdict import Verdict
from proofs.blind_answers import BlindAnswer, asked_names
from unit24.errors import UserError
from unit24.files import write_whole

TEMPLATES = Path(__file__).parent / "templates"
ABOUT, README, ANSWERS, CLASS = "round.json", "README.md", "answers", "class"


@dataclass(frozen=True)
class Round:
    """What ``round.json`` says: which round, begun when, of which text of which lesson."""

    id: str
    date: str
    lesson: str
    source_hash: str

    def is_of(self, lesson: Lesson) -> bool:
        """Whether the lesson is still the text that the reader saw, and its hidden tests the same."""
        return self.source_hash == _source_hash(lesson)


@dataclass(frozen=True)
class Graded:
    """An answer with its verdict."""

    answer: BlindAnswer
    verdict: Verdict

    @property
    def accepted(self) -> bool:
        return self.verdict.points >= self.verdict.max_points

    @property
    def counted(self) -> bool:
        return not self.answer.not_counted

    @property
    def deviates(self) -> bool:
        """It counts, and was not treated as it must be."""
        return self.counted and self.accepted != self.answer.is_right

    @property
    def misleading(self) -> bool:
        """It counts, and what it was told is not so."""
        return self.counted and not self.accepted and bool(self.answer.misleads)

    def as_dict(self) -> dict[str, Any]:
        """What ``unit24 blind --json`` says about it."""
        answer, verdict = self.answer, self.verdict
        said = {key: verdict.as_dict()[key] for key in ("status", "points", "max_points", "message")}
        about = {"place": answer.place, "exercise": answer.exercise, "kind": answer.cell.role, "says": answer.says}
        return about | said | {"deviates": self.deviates, "not_counted": answer.not_counted, "misleads": answer.misleads}


def find_round(lesson: Lesson, folder: Path) -> Round | None:
    """The round in a folder; None where one can be begun.

    Raises:
        UserError: the folder holds something else.
    """
    try:
        about = Round(**json.loads((folder / ABOUT).read_text(encoding="utf-8")))
    except FileNotFoundError:
        if _seen(folder):
            raise UserError(f"{folder} is not empty and no blind round: name a new folder.") from None
        return None
    except (ValueError, TypeError):
        raise UserError(f"{folder / ABOUT} cannot be read: begin a new round, and take {ANSWERS}/ along.") from None
    if about.lesson != lesson.name:
        raise UserError(f"{folder} is a blind round of {about.lesson}, not of {lesson.name}.")
    return about


def begin(lesson: Lesson, folder: Path) -> None:
    """Write what the reader gets into a new or empty folder."""
    about = Round(secrets.token_hex(4), datetime.date.today().isoformat(), lesson.name, _source_hash(lesson))
    notebook, instructions = as_text(Forms(lesson).student), _instructions(lesson)
    write_whole(folder / ABOUT, json.dumps(asdict(about), indent=1) + "\n")
    write_whole(folder / f"{lesson.name}.ipynb", notebook)
    write_whole(folder / README, instructions)
    (folder / ANSWERS).mkdir()


def grade(
    lesson: Lesson,
    folder: Path,
    answers: list[BlindAnswer],
    jobs: int | None = None,
    going_on: Callable[[str], None] = lambda text: None,
    done: Callable[[BlindAnswer], None] = lambda answer: None,
) -> list[Graded]:
    """Have each answer graded as a student's, in the class folder of the round.

    Args:
        jobs: answers graded side by side; default one for each core.
        going_on: called with what goes on; done: with each answer as it has its verdict.

    Returns:
        The answers with their verdicts, in their order.
    """
    root = folder / CLASS
    write_class(lesson, root, answers)
    by_student, verdicts = {answer.student: answer for answer in answers}, {}
    work = find_work(root, (lesson.name,), lesson.path.parent)
    for graded in grade_class(root, work, threads(jobs, going_on), lessons=lesson.path.parent):
        answer = by_student[graded.student]
        verdicts[graded.student] = graded.exercises[answer.exercise]
        done(answer)
    return [Graded(answer, verdicts[answer.student]) for answer in answers]


def write_class(lesson: Lesson, root: Path, answers: Iterable[BlindAnswer]) -> None:
    """A class folder where each answer is handed in by a student who did nothing else. Verdicts of an earlier run stay.

    Raises:
        UserError: a grading run is at work there.
    """
    student = Forms(lesson).student
    with exclusive(root):
        for path in _seen(root):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for answer in answers:
            write_whole(submission_path(root, answer.student, lesson.name), as_text(_with(student, answer)))


def figures(lesson: Lesson, graded: list[Graded]) -> dict[str, Any]:
    """The round's figures, over all and by exercise, in the form of `course.rounds`."""
    by_exercise = {e.id: [g for g in graded if g.answer.exercise == e.id] for e in lesson.exercises}
    return {**_figures(graded), "exercises": {name: _figures(of_it) for name, of_it in by_exercise.items()}}


def _figures(graded: list[Graded]) -> dict[str, Any]:
    counted = [g for g in graded if g.counted]
    right, wrong = [g for g in counted if g.answer.is_right], [g for g in counted if not g.answer.is_right]
    return {
        "right": [len(right), sum(g.accepted for g in right)],
        "wrong": [len(wrong), sum(not g.accepted for g in wrong)],
        "misleading": sum(g.misleading for g in counted),
        "not_counted": len(graded) - len(counted),
    }


def _source_hash(lesson: Lesson) -> str:
    return instructor_notebook(lesson).metadata.unit24.source_hash


def _seen(folder: Path) -> list[Path]:
    """What lies in a folder, without what is hidden."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.exists() else []


def _with(student: NotebookNode, answer: BlindAnswer) -> NotebookNode:
    notebook = copy.deepcopy(student)
    next(cell for cell in notebook.cells if cell.id == answer.exercise).source = answer.cell.source
    return notebook


def _instructions(lesson: Lesson) -> str:
    import jinja2

    exercises = [{"id": e.id, "names": asked_names(e)} for e in lesson.exercises]
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("README_blind.md").render(lesson=lesson, exercises=exercises)
