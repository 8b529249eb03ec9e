"""A graded class as plain objects: nbgrader's gradebook (with manual grades and penalties) and the verdicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from course.lesson import LESSONS, Lesson, find_lessons, lesson_names, read
from grader.journal import last_verdicts
from grader.outcomes import Mark, Verdict, Work
from unit24.errors import UserError


@dataclass(frozen=True)
class Student:
    """A student of the gradebook; all but `id` may be empty."""

    id: str
    last_name: str = ""
    first_name: str = ""
    email: str = ""
    lms_id: str = ""  # the learning platform's own number

    @property
    def name(self) -> str:
        return ", ".join(filter(None, (self.last_name, self.first_name)))


@dataclass
class Results:
    """A class: students, the lessons that have grades, and who did what. `work` is lesson -> student -> Work."""

    root: Path
    students: dict[str, Student]
    lessons: list[Lesson]
    work: dict[str, dict[str, Work]]
    gone: dict[str, set[str]] = field(default_factory=dict)  # lesson -> graded cells that its text no longer has


def read_results(root: Path, wanted: Iterable[str] = (), lessons: Path = LESSONS) -> Results:
    """The grades of the class folder `root`.

    Args:
        wanted: lessons to look at (``04`` or ``04_training_loop``); default all that have grades.

    Raises:
        UserError: there is no gradebook, it cannot be read, or no lesson asked for has grades.
    """
    path = root / "gradebook.db"
    if not path.is_file():
        raise UserError(f"{path}: no such file; grade the class first: unit24 grade --root {root}")
    chosen = find_lessons(tuple(wanted), lessons)
    students, rows, comments = _read_database(path)
    graded = {row.lesson for row in rows}
    found = [read(lessons / f"{name}.py") for name in lesson_names(lessons) if name in chosen and name in graded]
    if not found:
        raise UserError(f"{path}: no grades for {', '.join(chosen) or 'any lesson'}; grade the class first: unit24 grade --root {root}")
    results = Results(root, students, found, work={})
    for lesson in found:
        _add_lesson(results, lesson, [row for row in rows if row.lesson == lesson.name], comments)
    return results


def _add_lesson(results: Results, lesson: Lesson, rows: list, comments: dict[tuple[str, str], str]) -> None:
    """Put everybody's work on one lesson into `results`."""
    verdicts = last_verdicts(results.root, lesson.name)
    most = {part.id: part.points for part in (*lesson.exercises, *lesson.answers)}
    work: dict[str, Work] = {}
    marks: dict[str, dict[str, Mark]] = defaultdict(dict)
    for row in rows:
        one = work.setdefault(row.student, Work(row.student, lesson.name))
        one.penalty, one.handed_in = row.penalty or 0.0, f"{row.timestamp:%Y-%m-%d %H:%M}" if row.timestamp else ""
        written = row.cell in most
        name = row.cell if written else row.cell.removeprefix("test_")
        if name not in most:
            results.gone.setdefault(lesson.name, set()).add(name)
            continue
        verdict = None if written else verdicts.get((row.student, name))
        marks[row.student][name] = Mark.of(
            replace(verdict or _unjudged(row, name, written, most[name]), points=row.score, max_points=most[name]),
            by_hand=_by_hand(row),
            comment=comments.get((row.notebook, name), ""),
            waiting=bool(row.needs_manual_grade),
        )
    for student, one in work.items():
        one.marks = {name: marks[student][name] for name in most if name in marks[student]}
    results.work[lesson.name] = dict(sorted(work.items()))


def _by_hand(row) -> bool:
    return row.manual_score is not None or bool(row.extra_credit)


def _unjudged(row, name: str, written: bool, most: float) -> Verdict:
    """What the gradebook alone says: of a written answer, or of an exercise that stock nbgrader graded."""
    if written:
        status = "waiting" if row.needs_manual_grade else "graded by hand" if _by_hand(row) else "not attempted"
    else:
        status = "passed" if row.score >= most else "partial" if row.score > 0 else "failed"
    return Verdict(name, status, row.score, most, "")


def _read_database(path: Path):
    """Students, one row for each grade, and manual comments by (submitted notebook, cell)."""
    from nbgrader import api
    from sqlalchemy import create_engine, select
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.orm import Session

    S, A, N, G = api.Student, api.SubmittedAssignment, api.SubmittedNotebook, api.Grade
    grades = (
        select(
            api.Assignment.name.label("lesson"),
            A.student_id.label("student"),
            A.timestamp,
            N.id.label("notebook"),
            N.late_submission_penalty.label("penalty"),
            api.BaseCell.name.label("cell"),
            G.score,
            G.manual_score,
            G.extra_credit,
            G.needs_manual_grade,
        )
        .select_from(G)
        .join(api.BaseCell, G.cell_id == api.BaseCell.id)
        .join(N, G.notebook_id == N.id)
        .join(A, N.assignment_id == A.id)
        .join(api.Assignment, A.assignment_id == api.Assignment.id)
    )
    said = (
        select(api.Comment.notebook_id, api.BaseCell.name, api.Comment.manual_comment)
        .join(api.BaseCell, api.Comment.cell_id == api.BaseCell.id)
        .where(api.Comment.manual_comment.is_not(None))
    )
    engine = create_engine(f"sqlite:///file:{quote(str(path.resolve()))}?mode=ro&uri=true")
    try:
        with Session(engine) as session:
            people = session.execute(select(S.id, S.last_name, S.first_name, S.email, S.lms_user_id).order_by(S.id)).all()
            students = {row[0]: Student(row[0], *(value or "" for value in row[1:])) for row in people}
            comments = {(notebook, cell): text for notebook, cell, text in session.execute(said)}
            return students, session.execute(grades).all(), comments
    except SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
        raise UserError(f"{path}: the gradebook cannot be read: {reason}") from None
    finally:
        engine.dispose()
