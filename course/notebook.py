"""A lesson as an instructor notebook, and what of a lesson a student may see.

The same text gives the same notebook, byte for byte: cell ids come from names, and nothing of the
machine or of the conversion stays in the metadata.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from course.address import badges, package_source
from course.parts import (
    BEGIN_HIDDEN,
    BEGIN_SOLUTION,
    END_HIDDEN,
    END_SOLUTION,
    PICTURE,
    ROOT,
    Cell,
    Lesson,
    LessonError,
    picture_path,
)
from course.quizzes import parse_quiz
from unit24 import quiz
from unit24.errors import UserError

SETUP_CELL = ROOT / "setup_cell.py"
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}
# Cells that are for the audit alone, and those that become part of another cell.
UNSEEN = ("wrong", "right", "equivalent", "rubric")
# Folded where a notebook is opened, so that a student sees one line of it: JupyterLab and Notebook 7, Colab, Kaggle.
FOLDED = {"jupyter": {"source_hidden": True}, "cellView": "form", "_kg_hide-input": True}
TITLE = "# @title "  # how that line begins: Colab shows the rest as a form's title
PROGRESS = "unit24.progress()"  # the last cell of every notebook
STUB = "# YOUR CODE HERE\nraise NotImplementedError()"  # what nbgrader puts in place of a solution


def instructor_notebook(lesson: Lesson, setup: str | None = None) -> NotebookNode:
    """The notebook with all solutions and tests, without outputs.

    Args:
        setup: text of the setup cell; by default that of ``setup_cell.py``.

    Returns:
        A version 4.5 notebook; ``metadata.unit24.source_hash`` is the hash of everything else in it.

    Raises:
        LessonError: two cells get one id, or a cell leaves the student no valid Python.
    """
    text = SETUP_CELL.read_text(encoding="utf-8") if setup is None else setup
    cells = []
    for name, cell in placed_cells(lesson):
        if cell.type == "code":
            _check_student_syntax(lesson, cell)
        source = _title(lesson, cell) + _source(lesson, cell, text)
        kind = "code" if cell.type == "code" or cell.role == "quiz" else "markdown"
        node = NotebookNode(id=name, cell_type=kind, metadata=NotebookNode(_metadata(lesson, cell)), source=source)
        if kind == "code":
            node.update(execution_count=None, outputs=[])
        cells.append(node)
    cells.append(NotebookNode(id="progress", cell_type="code", metadata=NotebookNode(), source=PROGRESS, execution_count=None, outputs=[]))
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.nbformat_minor = 5
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": KERNELSPEC, "language_info": LANGUAGE, "unit24": {"lesson": lesson.name, "needs": list(lesson.needs)}}
    )
    notebook.metadata.unit24.source_hash = source_hash(notebook)
    nbformat.validate(notebook)
    return notebook


def source_hash(notebook: NotebookNode) -> str:
    """SHA-256 (hex) of the notebook's cells and metadata, without outputs and without the hash itself."""
    plain = without_outputs(notebook)
    plain["metadata"].get("unit24", {}).pop("source_hash", None)
    canonical = json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def without_outputs(notebook: NotebookNode) -> dict[str, Any]:
    """A plain copy of the notebook as it was before it ran."""
    plain = json.loads(json.dumps(notebook))
    for cell in plain["cells"]:
        if cell["cell_type"] == "code":
            cell.update(execution_count=None, outputs=[])
    return plain


def as_text(notebook: NotebookNode) -> str:
    """The notebook's file text: sorted keys, one final newline."""
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def placed_cells(lesson: Lesson) -> list[tuple[str, Cell]]:
    """The cells of the notebook with their ids, in order.

    A named cell is called after its name; any other after the last named one, with its number
    since then, so that an edit in one place leaves the ids elsewhere alone.
    """
    placed: list[tuple[str, Cell]] = []
    taken: dict[str, Cell] = {}
    anchor, number = "intro", 0
    for cell in lesson.cells:
        if cell.role in UNSEEN:
            continue
        if cell.role == "unmarked":
            number += 1
            name = f"{anchor}-{number}"
        else:
            prefix = {"tests": "test_", "quiz": "quiz_"}.get(cell.role, "")
            name = anchor = prefix + cell.name
            number = 0
        if name in taken:
            other = taken[name].line
            raise LessonError(lesson.path, cell.line, f"two cells would be called {name!r} (the other at line {other})")
        if len(name) > 64:
            raise LessonError(lesson.path, cell.line, f"the name {name!r} is longer than 64 characters")
        taken[name] = cell
        placed.append((name, cell))
    return placed


def student_source(cell: Cell) -> str:
    """What a student sees of a cell of the lesson; empty for a cell or text kept from students."""
    if cell.role in (*UNSEEN, "answer", "quiz"):
        return ""
    if cell.role == "exercise":
        return _cut(cell.source, BEGIN_SOLUTION, END_SOLUTION, STUB)
    return _cut(cell.source, BEGIN_HIDDEN, END_HIDDEN)


def _cut(source: str, begin: str, end: str, stub: str = "") -> str:
    """`source` without the parts between `begin` and `end` lines; `stub` at their indentation instead."""
    kept, inside = [], False
    for line in source.splitlines():
        if begin in line:
            inside = True
            indent = line[: len(line) - len(line.lstrip())]
            kept += [indent + s for s in stub.splitlines()]
        elif end in line:
            inside = False
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def _check_student_syntax(lesson: Lesson, cell: Cell) -> None:
    """What is left for the student must be valid Python: nbgrader cuts lines without looking."""
    left = student_source(cell)
    try:
        ast.parse(left)
    except SyntaxError as error:
        what = {"exercise": "solution", "tests": "hidden tests"}.get(cell.role, "hidden part")
        raise LessonError(
            lesson.path,
            cell.line,
            f"{cell.role}={cell.name!r} is not valid Python without its {what}: {error.msg} (line {error.lineno} of the rest)",
        ) from None


def _title(lesson: Lesson, cell: Cell) -> str:
    """The line that stays of a folded cell; empty for any other."""
    if cell.role == "tests":
        number = 1 + [e.id for e in lesson.exercises].index(cell.name)
        points = lesson.exercise(cell.name).points
        return f"{TITLE}Tests of exercise {number} · {points:g} {'point' if points == 1 else 'points'}: run me\n"
    named = {"setup": "Set-up: run me first", "quiz": "Quiz: run me"}.get(cell.role)
    return f"{TITLE}{named}\n" if named else ""


def untitled(source: str) -> str:
    """A cell's source without the line that stays of it when it is folded."""
    return source.partition("\n")[2] if source.startswith(TITLE) else source


def _source(lesson: Lesson, cell: Cell, setup: str) -> str:
    if cell.role == "setup":
        return _setup(lesson, setup)
    if cell.role == "quiz":
        questions = [(q.text, q.options) for q in parse_quiz(cell)[0]]
        opaque = quiz.seal(lesson.name, cell.name, questions)
        return f'from unit24 import quiz\n\nquiz.ask("{lesson.name}", "{cell.name}", "{opaque}")'
    if cell.role == "answer":
        answer = next(a for a in lesson.answers if a.id == cell.name)
        if answer.rubric is not None:  # in the same cell, which nbgrader replaces as a whole
            return f"{cell.source.rstrip()}\n\n---\n\n**Rubric**\n\n{answer.rubric.source.strip()}"
    source = PICTURE.sub(lambda found: _picture(lesson.path, found[2], found[1]), cell.source) if cell.type == "markdown" else cell.source
    if links := badges(lesson.name) if cell is lesson.cells[0] and cell.type == "markdown" else "":
        title, _, rest = source.partition("\n")
        return f"{title}\n\n{links}\n{rest}"
    return source


def _picture(story: Path, name: str, words: str) -> str:
    """A picture of a lesson, in the notebook itself, which is read where no other file came along.

    As HTML: Markdown's own pictures may be SVG in no reader that sanitises addresses.
    """
    data = base64.b64encode(picture_path(story, name).read_bytes()).decode()
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{html.escape(words)}">'


def _setup(lesson: Lesson, text: str) -> str:
    for name, value in (("LESSON", lesson.name), ("NEEDS", list(lesson.needs)), ("POINTS", {e.id: e.points for e in lesson.exercises})):
        line = f"{name} = {json.dumps(value)}"
        text, found = re.subn(rf"^{name} = [^#\n]*?(?=\s*(#|$))", lambda _, line=line: line, text, flags=re.MULTILINE)
        if found != 1:
            raise UserError(f"setup_cell.py: expected one line that begins with `{name} = `, found {found}")
    return text.replace('SOURCE = ""', f"SOURCE = {json.dumps(package_source())}").rstrip()


def _metadata(lesson: Lesson, cell: Cell) -> dict[str, Any]:
    """How a cell is shown, and nbgrader's metadata; none for a cell that it need not know."""
    shown = json.loads(json.dumps(FOLDED)) if cell.role in ("setup", "tests", "quiz") else {}
    if cell.role not in ("exercise", "tests", "answer"):
        return shown
    graded = cell.role in ("tests", "answer")
    about = {
        "grade": graded,
        "grade_id": f"test_{cell.name}" if cell.role == "tests" else cell.name,
        "locked": cell.role == "tests",
        "schema_version": 3,
        "solution": cell.role in ("exercise", "answer"),
        "task": False,
    }
    if graded:
        about["points"] = cell.options["points"]
    return {**shown, "nbgrader": about}


def lesson_line(lesson: Lesson, cell_id: str, line: int = 1) -> int:
    """The line of the lesson text for a line of a generated cell (generated text: the cell's first line)."""
    for name, cell in placed_cells(lesson):
        if name == cell_id:
            line -= bool(_title(lesson, cell))
            inside = 1 <= line <= len(cell.source.splitlines()) and cell.role not in ("setup", "quiz")
            return cell.line + (line - 1 if inside else 0)
    return 1


def read_notebook(path: Path) -> NotebookNode | None:
    """The notebook in a file, or None if it does not hold one."""
    try:
        return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    except OSError:
        raise
    except Exception:  # nbformat raises whatever it stumbles over
        return None


def relative(path: Path, root: Path = ROOT) -> str:
    """`path` as a person names it: from `root`, if it is inside."""
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return str(path)
