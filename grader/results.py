"""A graded class as plain objects: nbgrader's gradebook (with manual grades and penalties) and the verdicts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from course.lesson import LESSONS, Lesson, find_lessons, lesson_names, read
from grader.submission import plain
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


@dataclass(frozen=True)
class Mark:
    """What one student got for one exercise or written answer. `status` is a verdict's, or one of
    "waiting" and "graded by hand" for a written answer."""

    points: float
    max_points: float
    status: str
    message: str = ""
    seconds: float | None = None  # CPU time of the student's code with its tests
    by_hand: bool = False  # a person set these points
    comment: str = ""  # written by a person
    waiting: bool = False  # a person must still look


@dataclass
class Work:
    """One student's work on one lesson."""

    student: str
    lesson: str
    marks: dict[str, Mark] = field(default_factory=dict)  # in the lesson's order
    penalty: float = 0.0
    handed_in: str = ""

    @property
    def points(self) -> float:
        """The score as nbgrader exports it: marks less the penalty, never below 0."""
        return max(0.0, round(sum(m.points for m in self.marks.values()) - self.penalty, 4))

    @property
    def waiting(self) -> int:
        return sum(m.waiting for m in self.marks.values())


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
    try:
        chosen = find_lessons(tuple(wanted), lessons)
    except ValueError as error:
        raise UserError(str(error)) from None
    students, rows, comments = _read_database(path)
    graded = {row.lesson for row in rows}
    found = [read(lessons / f"{name}.py") for name in lesson_names(lessons) if name in chosen and name in graded]
    if not found:
        raise UserError(f"{path}: no grades for {', '.join(chosen) or 'any lesson'}; grade the class first: unit24 grade --root {root}")
    said = {lesson.name: _read_verdicts(root, lesson.name) for lesson in found}
    known = {lesson.name: {e.id: e.points for e in (*lesson.exercises, *lesson.answers)} for lesson in found}
    work: dict[str, dict[str, Work]] = {lesson.name: {} for lesson in found}
    marks: dict[tuple[str, str], dict[str, Mark]] = {}
    gone: dict[str, set[str]] = {}
    for row in rows:
        if row.lesson not in known:
            continue
        one = work[row.lesson].setdefault(row.student, Work(row.student, row.lesson))
        one.penalty, one.handed_in = row.penalty or 0.0, f"{row.timestamp:%Y-%m-%d %H:%M}" if row.timestamp else ""
        name = row.cell.removeprefix("test_") if row.cell not in known[row.lesson] else row.cell
        if name in known[row.lesson]:
            verdict = said[row.lesson].get((row.student, name))
            comment = comments.get((row.notebook, name), "")
            mark = _mark(row, row.cell == name, known[row.lesson][name], verdict, comment)
            marks.setdefault((row.lesson, row.student), {})[name] = mark
        else:
            gone.setdefault(row.lesson, set()).add(name)
    for (lesson, student), found_marks in marks.items():
        work[lesson][student].marks = {name: found_marks[name] for name in known[lesson] if name in found_marks}
    return Results(root, students, found, {name: dict(sorted(w.items())) for name, w in work.items()}, gone)


def read_sources(root: Path, student: str, lesson: Lesson) -> dict[str, str]:
    """Exercise -> the source that was graded, from ``autograded/``; untouched exercises left out."""
    from course.notebook import student_source

    path = root / "autograded" / student / lesson.name / f"{lesson.name}.ipynb"
    try:
        cells = json.loads(path.read_bytes())["cells"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    stubs = {e.id: plain(student_source(e.cell)) for e in lesson.exercises}
    sources = {}
    for cell in cells:
        name = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
        text = "".join(cell["source"])
        if name in stubs and plain(text) not in ("", stubs[name]):
            sources[name] = text
    return sources


def _mark(row, written: bool, most: float, verdict: dict | None, comment: str) -> Mark:
    by_hand = row.manual_score is not None or bool(row.extra_credit)
    about = {"by_hand": by_hand, "comment": comment, "waiting": bool(row.needs_manual_grade)}
    if written:
        status = "waiting" if row.needs_manual_grade else "graded by hand" if by_hand else "not attempted"
        return Mark(row.score, most, status, **about)
    if verdict:
        return Mark(row.score, most, verdict["status"], verdict["message"], verdict["seconds"], **about)
    # Graded by stock nbgrader, which keeps points and nothing else.
    status = "passed" if row.score >= most else "partial" if row.score > 0 else "failed"
    return Mark(row.score, most, status, **about)


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


def _read_verdicts(root: Path, lesson: str) -> dict[tuple[str, str], dict]:
    """(student, exercise) -> the last verdict in the lesson's journal."""
    found = {}
    try:
        lines = (root / ".unit24" / "verdicts" / f"{lesson}.jsonl").read_bytes().splitlines()
    except OSError:
        return {}
    for line in lines:
        try:
            entry = json.loads(line)
            found[entry["student"], entry["verdict"]["exercise"]] = entry["verdict"]
        except (ValueError, KeyError, TypeError):
            continue  # broken off when a disk was full
    return found
