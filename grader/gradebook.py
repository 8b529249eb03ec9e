"""Write grades where nbgrader looks for them: ``gradebook.db``, ``autograded/`` and ``feedback/``.

One writer at a time (`exclusive`).  Rows are nbgrader's own tables, written in bulk; a manual grade,
a comment by hand, an extension or a late penalty that is already there stays as it is.
"""

from __future__ import annotations

import contextlib
import copy
import fcntl
import json
import os
import sys
from pathlib import Path

from course.notebook import instructor_notebook
from course.parts import Lesson
from grader.submission import Submission
from unit24.errors import UserError
from unit24.files import write_whole

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


class Gradebook:
    """nbgrader's database of one class folder, open for writing. A context manager.

    Raises:
        UserError: the database cannot be opened or written; nothing was changed.
    """

    def __init__(self, root: Path):
        self.root, self.path = root, root / "gradebook.db"
        self._cells: dict[str, dict] = {}
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
            self.db.rollback()
            raise UserError(
                f"{self.path}: the gradebook cannot be written: {_reason(error)}; verdicts are kept, run again"
            ) from None
        self._pending = 0

    def register(self, forms: Forms) -> None:
        """Make the lesson known as an assignment, as ``nbgrader generate_assignment`` does."""
        from nbgrader.api import GradeCell, Notebook, SolutionCell

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
        notebook_id = notebook.id
        self._cells[name] = {
            "notebook": notebook_id,
            "assignment": stock.find_assignment(name).id,
            "grades": dict(self.db.query(GradeCell.name, GradeCell.id).filter(GradeCell.notebook_id == notebook_id).all()),
            "comments": dict(
                self.db.query(SolutionCell.name, SolutionCell.id).filter(SolutionCell.notebook_id == notebook_id).all()
            ),
        }
        assert self.db.query(Notebook.id).filter(Notebook.id == notebook_id).count() == 1
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
        from nbgrader.api import Comment, Grade, Student, SubmittedAssignment, SubmittedNotebook
        from nbgrader.utils import parse_utc
        from sqlalchemy import insert, select, update
        from sqlalchemy.exc import SQLAlchemyError

        cells, db = self._cells[submission.lesson], self.db
        student, A, N = submission.student, SubmittedAssignment.__table__, SubmittedNotebook.__table__
        G, C, S = Grade.__table__, Comment.__table__, Student.__table__
        try:
            if db.execute(select(S.c.id).where(S.c.id == student)).first() is None:
                db.execute(insert(S), {"id": student})
            when = parse_utc(timestamp) if timestamp else None
            row = db.execute(select(A.c.id).where(A.c.assignment_id == cells["assignment"], A.c.student_id == student)).first()
            assignment = row[0] if row else _new(db, A, assignment_id=cells["assignment"], student_id=student, timestamp=when)
            if row and when:
                db.execute(update(A).where(A.c.id == assignment).values(timestamp=when))
            row = db.execute(select(N.c.id).where(N.c.assignment_id == assignment, N.c.notebook_id == cells["notebook"])).first()
            notebook = row[0] if row else _new(db, N, assignment_id=assignment, notebook_id=cells["notebook"], flagged=False)

            old = {
                r.cell_id: r
                for r in db.execute(
                    select(G.c.id, G.c.cell_id, G.c.auto_score, G.c.manual_score).where(G.c.notebook_id == notebook)
                )
            }
            fresh = []
            for name, cell_id in cells["grades"].items():
                score, had = scores.get(name, 0.0), old.get(cell_id)
                if had is None:
                    fresh.append(
                        {
                            "id": _uuid(),
                            "notebook_id": notebook,
                            "cell_id": cell_id,
                            "auto_score": score,
                            "needs_manual_grade": score is None,
                        }
                    )
                elif had.auto_score != score:
                    # As nbgrader does: a manual score is kept, and marked for another look.
                    again = score is None or had.manual_score is not None
                    db.execute(update(G).where(G.c.id == had.id).values(auto_score=score, needs_manual_grade=again))
            if fresh:
                db.execute(insert(G), fresh)

            old = {r.cell_id: r.id for r in db.execute(select(C.c.id, C.c.cell_id).where(C.c.notebook_id == notebook))}
            fresh = []
            for name, cell_id in cells["comments"].items():
                said = comments.get(name)
                if cell_id in old:
                    db.execute(update(C).where(C.c.id == old[cell_id]).values(auto_comment=said))
                else:
                    fresh.append({"id": _uuid(), "notebook_id": notebook, "cell_id": cell_id, "auto_comment": said})
            if fresh:
                db.execute(insert(C), fresh)
        except SQLAlchemyError as error:
            db.rollback()
            raise UserError(
                f"{self.path}: the gradebook cannot be written: {_reason(error)}; verdicts are kept, run again"
            ) from None
        self._pending += 1
        if self._pending >= 50:
            self.commit()


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


# --------------------------------------------------------------------------------------------------
# autograded/


def autograded_text(forms: Forms, submission: Submission, verdicts: dict[str, dict]) -> str:
    """The graded notebook that formgrader shows: the student's code with verdicts as outputs.

    It holds the visible tests only, so that feedback made from it shows no hidden test.
    """
    cells = []
    for cell in forms.student.cells:
        cell = json.loads(json.dumps(cell))
        name = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
        if name in submission.sources:
            cell["source"] = submission.sources[name] or cell["source"]
        elif name in submission.answers:
            cell["source"] = submission.answers[name]
        elif name.startswith("test_") and name[5:] in verdicts:
            cell["outputs"] = _outputs(verdicts[name[5:]])
        cells.append(cell)
        for number, source in enumerate(submission.after.get(cell["id"], ()), 1):
            cells.append(
                {
                    "id": f"own-{cell['id']}-{number}"[:64],
                    "cell_type": "code",
                    "metadata": {},
                    "execution_count": None,
                    "outputs": [],
                    "source": source,
                }
            )
    notebook = {"cells": cells, "metadata": json.loads(json.dumps(forms.student.metadata)), "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1, ensure_ascii=False).encode("utf-8", "replace").decode() + "\n"


def _outputs(verdict: dict) -> list[dict]:
    """Outputs of a tests cell from which nbgrader would read the same score."""
    status, message = verdict["status"], verdict["message"]
    if status == "passed":
        return [{"output_type": "stream", "name": "stdout", "text": message + "\n"}]
    if status == "partial":
        return [
            {"output_type": "stream", "name": "stdout", "text": message + "\n"},
            {
                "output_type": "execute_result",
                "execution_count": None,
                "metadata": {},
                "data": {"text/plain": f"{verdict['points']:g}"},
            },
        ]
    name = {"not attempted": "NotAttempted"}.get(status, "CheckFailed")
    return [{"output_type": "error", "ename": name, "evalue": message, "traceback": [message]}]


def write_autograded(root: Path, text: str, submission: Submission) -> None:
    write_whole(root / "autograded" / submission.student / submission.lesson / f"{submission.lesson}.ipynb", text)


def read_timestamp(submission: Submission) -> str | None:
    """nbgrader's ``timestamp.txt`` beside the notebook, if there is a sound one."""
    from nbgrader.utils import parse_utc

    path = submission.path.parent / "timestamp.txt"
    try:
        if path.is_symlink() or os.path.getsize(path) > 200:
            return None
        text = path.read_text(encoding="utf-8").strip()
        parse_utc(text)
        return text
    except (OSError, ValueError, OverflowError, UnicodeDecodeError):
        return None
