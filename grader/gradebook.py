"""Write grades where nbgrader looks for them: ``gradebook.db``.

One writer at a time (`exclusive`).  Rows are nbgrader's own tables, written in bulk; a manual grade,
a comment by hand, an extension or a late penalty that is already there stays as it is.
"""

from __future__ import annotations

import contextlib
import copy
import fcntl
import json
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from course.notebook import instructor_notebook
from course.parts import Lesson
from grader.submission import Submission
from unit24.errors import UserError

COURSE = "unit24"  # as in nbgrader_config.py


@contextlib.contextmanager
def exclusive(root: Path):
    """Hold the class folder for writing.

    Raises:
        UserError: another grading run has it.
        OSError: the folder cannot be written.
    """
    state = root / ".unit24"
    state.mkdir(parents=True, exist_ok=True)
    with open(state / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{root}: another grading run is writing here; wait for it or stop it.") from None
        yield


class Forms:
    """A lesson's notebook as nbgrader's own preprocessors make it, with and without hidden tests."""

    def __init__(self, lesson: Lesson):
        from nbgrader.preprocessors import (
            ClearHiddenTests,
            ClearMarkScheme,
            ClearOutput,
            ClearSolutions,
            ComputeChecksums,
            LockCells,
        )

        def run(notebook, *steps):
            notebook, resources = copy.deepcopy(notebook), {"language": "python"}
            for step in steps:
                notebook, resources = step().preprocess(notebook, resources)
            return notebook

        self.lesson = lesson
        self.whole = run(instructor_notebook(lesson), LockCells, ClearSolutions, ClearOutput, ComputeChecksums)
        self.student = run(self.whole, ClearHiddenTests, ClearMarkScheme, ComputeChecksums)


@dataclass(frozen=True)
class _Cells:
    """Ids of a lesson's rows in the gradebook. `grades` and `comments` are by the name of the cell."""

    assignment: str
    notebook: str
    grades: dict[str, str]
    comments: dict[str, str]


class Gradebook:
    """nbgrader's database of one class folder, open for writing. A context manager.

    Raises:
        UserError: the database cannot be opened or written; nothing was changed.
    """

    def __init__(self, root: Path):
        self.root, self.path = root, root / "gradebook.db"
        self._cells: dict[str, _Cells] = {}
        self._pending = 0

    def __enter__(self) -> Gradebook:
        from nbgrader.api import Gradebook as Stock
        from sqlalchemy import text
        from sqlalchemy.exc import SQLAlchemyError

        # nbgrader starts `alembic` by name when it makes a database: let it find this environment's.
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        try:
            self.stock = Stock(f"sqlite:///{self.path.resolve()}", COURSE)
            self.db = self.stock.db
            self.db.execute(text("BEGIN IMMEDIATE"))  # fails now, not after an hour of grading
            self.db.rollback()
        except (SQLAlchemyError, OSError) as error:
            raise UserError(f"{self.path}: the gradebook cannot be opened for writing: {_reason(error)}") from None
        return self

    def __exit__(self, kind, *_) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.stock.close()

    def commit(self) -> None:
        """Make what was written durable."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            self.db.commit()
        except SQLAlchemyError as error:
            raise self._unwritable(error) from None
        self._pending = 0

    def register(self, forms: Forms) -> None:
        """Make the lesson known as an assignment, as ``nbgrader generate_assignment`` does."""
        from nbgrader.api import GradeCell, SolutionCell

        name, stock = forms.lesson.name, self.stock
        stock.update_or_create_assignment(name)
        notebook = stock.update_or_create_notebook(name, name, kernelspec=json.dumps(forms.whole.metadata.kernelspec))
        for cell in forms.whole.cells:
            about = cell.metadata.get("nbgrader")
            if not about:
                continue
            if about["grade"]:
                stock.update_or_create_grade_cell(
                    about["grade_id"], name, name, max_score=float(about["points"]), cell_type=cell.cell_type
                )
            if about["solution"]:
                stock.update_or_create_solution_cell(about["grade_id"], name, name)
            stock.update_or_create_source_cell(
                about["grade_id"],
                name,
                name,
                cell_type=cell.cell_type,
                locked=about["locked"],
                source=cell.source,
                checksum=about["checksum"],
            )
        grades = self.db.query(GradeCell.name, GradeCell.id).filter(GradeCell.notebook_id == notebook.id)
        comments = self.db.query(SolutionCell.name, SolutionCell.id).filter(SolutionCell.notebook_id == notebook.id)
        assignment = stock.find_assignment(name).id
        self._cells[name] = _Cells(assignment, notebook.id, dict(grades.all()), dict(comments.all()))
        self.db.commit()

    def write(
        self, submission: Submission, scores: dict[str, float | None], comments: dict[str, str], timestamp: str | None = None
    ) -> None:
        """Record one submission.

        Args:
            scores: automatic score by grade cell (``test_<exercise>`` or an answer's id); None
                where a person must grade.
            comments: automatic comment by solution cell.
            timestamp: when it was handed in, as nbgrader writes it in ``timestamp.txt``.
        """
        from sqlalchemy.exc import SQLAlchemyError

        cells = self._cells[submission.lesson]
        # What has no cell in the gradebook would be lost without a word.  (The other way round, a cell that
        # the lesson no longer has stays in a gradebook and has no score.)
        lost = (scores.keys() - cells.grades.keys()) | (comments.keys() - cells.comments.keys())
        if lost:
            raise KeyError(f"{submission.lesson}: the gradebook has no cell {', '.join(sorted(lost))}")
        try:
            notebook = self._notebook_id(submission.student, cells, timestamp)
            self._write_scores(notebook, {cell: scores.get(name, 0.0) for name, cell in cells.grades.items()})
            self._write_comments(notebook, {cell: comments.get(name) for name, cell in cells.comments.items()})
        except SQLAlchemyError as error:
            raise self._unwritable(error) from None
        self._pending += 1
        if self._pending >= 50:
            self.commit()

    def penalise(self, lesson: str) -> None:
        """Give late submissions the penalty of nbgrader's plugin, as ``nbgrader_config.py`` names and configures it.

        Due dates and students' extensions are the gradebook's. A penalty that is there stays where the plugin gives none.
        """
        from nbgrader.preprocessors import AssignLatePenalties

        self.commit()
        if self.stock.find_assignment(lesson).duedate is None:
            return
        step = AssignLatePenalties(config=_configuration(self.root))
        step.init_plugin()
        self.db.expire_all()
        for submission in self.stock.assignment_submissions(lesson):
            if not submission.total_seconds_late:
                continue
            for notebook in submission.notebooks:
                penalty = step.plugin_inst.late_submission_penalty(
                    submission.student.id, notebook.score, submission.total_seconds_late
                )
                if penalty is not None:
                    notebook.late_submission_penalty = step._check_late_penalty(notebook, penalty)
        self.commit()

    def _unwritable(self, error: Exception) -> UserError:
        self.db.rollback()
        return UserError(f"{self.path}: the gradebook cannot be written: {_reason(error)}; verdicts are kept, run again")

    def _notebook_id(self, student: str, cells: _Cells, timestamp: str | None) -> str:
        """The row of a student's submitted notebook; made where it is not there, with those of student and submission."""
        from nbgrader.api import Student, SubmittedAssignment, SubmittedNotebook
        from nbgrader.utils import parse_utc
        from sqlalchemy import insert, select, update

        db, S, A, N = self.db, Student.__table__, SubmittedAssignment.__table__, SubmittedNotebook.__table__
        if db.execute(select(S.c.id).where(S.c.id == student)).first() is None:
            db.execute(insert(S), {"id": student})
        when = parse_utc(timestamp) if timestamp else None
        row = db.execute(select(A.c.id).where(A.c.assignment_id == cells.assignment, A.c.student_id == student)).first()
        assignment = row[0] if row else _new(db, A, assignment_id=cells.assignment, student_id=student, timestamp=when)
        if row and when:
            db.execute(update(A).where(A.c.id == assignment).values(timestamp=when))
        row = db.execute(select(N.c.id).where(N.c.assignment_id == assignment, N.c.notebook_id == cells.notebook)).first()
        return row[0] if row else _new(db, N, assignment_id=assignment, notebook_id=cells.notebook, flagged=False)

    def _write_scores(self, notebook: str, scores: dict[str, float | None]) -> None:
        """Automatic scores by cell id; a manual score that is there stays."""
        from nbgrader.api import Grade
        from sqlalchemy import insert, select, update

        db, G = self.db, Grade.__table__
        found = select(G.c.id, G.c.cell_id, G.c.auto_score, G.c.manual_score).where(G.c.notebook_id == notebook)
        old = {row.cell_id: row for row in db.execute(found)}
        fresh = []
        for cell, score in scores.items():
            had = old.get(cell)
            if had is None:
                row = {"notebook_id": notebook, "cell_id": cell, "auto_score": score, "needs_manual_grade": score is None}
                fresh.append({"id": _uuid(), **row})
            elif had.auto_score != score:
                # As nbgrader does: a manual score is kept, and marked for another look.
                again = score is None or had.manual_score is not None
                db.execute(update(G).where(G.c.id == had.id).values(auto_score=score, needs_manual_grade=again))
        if fresh:
            db.execute(insert(G), fresh)

    def _write_comments(self, notebook: str, comments: dict[str, str | None]) -> None:
        """Automatic comments by cell id; None takes an earlier one away."""
        from nbgrader.api import Comment
        from sqlalchemy import insert, select, update

        db, C = self.db, Comment.__table__
        old = {row.cell_id: row.id for row in db.execute(select(C.c.id, C.c.cell_id).where(C.c.notebook_id == notebook))}
        fresh = []
        for cell, said in comments.items():
            if cell in old:
                db.execute(update(C).where(C.c.id == old[cell]).values(auto_comment=said))
            else:
                fresh.append({"id": _uuid(), "notebook_id": notebook, "cell_id": cell, "auto_comment": said})
        if fresh:
            db.execute(insert(C), fresh)


def _configuration(root: Path):
    """What the class folder's ``nbgrader_config.py`` says, which may name plugins that lie beside it.

    Raises:
        UserError: the file does not run.
    """
    from traitlets.config import Config, PyFileConfigLoader

    path = root / "nbgrader_config.py"
    if not path.exists():
        return Config()
    if str(root) not in sys.path:
        sys.path.append(str(root))
    try:
        return PyFileConfigLoader(path.name, path=str(root)).load_config()
    except Exception as error:  # it is code: it raises what it likes
        raise UserError(f"{path}: {type(error).__name__}: {_reason(error)}") from None


def _new(db, table, **values) -> str:
    from sqlalchemy import insert

    values["id"] = _uuid()
    db.execute(insert(table), values)
    return values["id"]


def _uuid() -> str:
    from nbgrader.api import new_uuid

    return new_uuid()


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "orig", None) or error).split())[:200]


def read_timestamp(submission: Submission) -> str | None:
    """nbgrader's ``timestamp.txt`` beside the notebook, if there is a sound one."""
    from nbgrader.utils import parse_utc

    path = submission.path.parent / "timestamp.txt"
    try:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_size > 200:  # one that is a pipe would be waited for
            return None
        text = path.read_text(encoding="utf-8").strip()
        parse_utc(text)
        return text
    except (OSError, ValueError, OverflowError, UnicodeDecodeError):
        return None
