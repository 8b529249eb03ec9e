"""Read what a student handed in: sources of known cells, and the student's own cells. Nothing else.

A submission may be anything: not JSON, huge, deep, with cells missing or doubled.  Reading it never
raises; what is odd about it becomes a finding in words, and what can be used is used.
"""

from __future__ import annotations

import ast
import itertools
import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from course.names import defined_names
from course.notebook import instructor_notebook, placed_cells, student_source, untitled
from course.parts import Lesson
from course.reference import is_blank, reference_cells
from grader.files import handed_in
from grader.prose import Prose, joined, prose_of
from grader.syntax import plain_python, same_code

MAX_BYTES = 200 << 20  # most of it outputs; one with a few plots is below 2 MB
MAX_SOURCE = 200_000  # characters of one cell of code
MAX_PROSE = 20 << 20  # of text: Colab writes pictures into it
MAX_CELLS = 2_000
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


@dataclass(frozen=True)
class Written:
    """A piece of the student's code, as plain Python. `exercise`: of which it stands in the cell."""

    label: str  # the cell's number in the notebook, from 1
    source: str
    exercise: str = ""


@dataclass
class Submission:
    """One student's notebook for one lesson, reduced to what grading uses."""

    student: str
    lesson: str
    path: Path
    sources: dict[str, str] = field(default_factory=dict)  # exercise id -> source, as in the notebook
    answers: dict[str, Prose] = field(default_factory=dict)  # by the written answer's id
    written: list[Written] = field(default_factory=list)  # all code that is the student's, in its order
    tested: dict[str, int] = field(default_factory=dict)  # exercise id -> how many of them stand before the end of its tests
    after: dict[str, list[str | Prose]] = field(default_factory=dict)  # cell id -> own code and text that stood after it
    findings: list[str] = field(default_factory=list)
    readable: bool = True
    is_of_lesson: bool = False  # it holds exercises of it

    @property
    def is_filled(self) -> bool:
        """Whether the student wrote anything: code, or an answer."""
        return bool(self.written) or not all(answer.is_blank for answer in self.answers.values())

    def before(self, exercise: str) -> list[Written]:
        """What the student wrote before the (last) cell of an exercise; everything, where it has no cell."""
        places = [place for place, piece in enumerate(self.written) if piece.exercise == exercise]
        return self.written[: places[-1]] if places else list(self.written)

    def between(self, exercise: str) -> list[Written]:
        """What stands between the (last) cell of an exercise and its tests, or the next exercise's cell where they are missing."""
        places = [place for place, piece in enumerate(self.written) if piece.exercise == exercise]
        if not places:
            return []
        following = self.written[places[-1] + 1 : self.tested.get(exercise)]
        return list(itertools.takewhile(lambda piece: not piece.exercise, following))


class LessonCells:
    """What of a lesson is known to be in every student's notebook."""

    def __init__(self, lesson: Lesson):
        self.lesson = lesson
        self.exercises = {e.id: e for e in lesson.exercises}
        self.answers = {a.id: a for a in lesson.answers}
        placed = placed_cells(lesson)
        self.first, self.ids = placed[0][0], {name for name, _ in placed}
        self.previous = {name: before for (before, _), (name, _) in itertools.pairwise(placed)}
        self.stubs = {e.id: same_code(student_source(e.cell)) for e in lesson.exercises}
        notebook = instructor_notebook(lesson)
        setup = [untitled(cell.source) for cell in notebook.cells if cell.id in ("setup", "progress")]
        self.prose = {_bare(cell.source) for cell in notebook.cells if cell.cell_type == "markdown"}
        self.released = {same_code(text) for text in [*setup, *(student_source(c) for _, c in placed if c.type == "code")]}
        self.given = {ast.dump(node) for text in self.released for node in _statements(text)}
        self.setup_names = {name for text in setup for name in _defined(text)}
        self.before: dict[str, set[str]] = {}
        known: set[str] = set()
        for _, source, _, exercise in reference_cells(lesson):
            if exercise:
                self.before[exercise] = set(known)
            known |= set(defined_names(source))


def submission_path(root: Path, student: str, lesson: str) -> Path:
    """Where the class folder `root` keeps what a student handed in."""
    return root / "submitted" / student / lesson / f"{lesson}.ipynb"


def read_submitted(root: Path, student: str, cells: LessonCells) -> Submission:
    """What a student of the class folder `root` handed in, as `read_submission` reads it."""
    return read_submission(submission_path(root, student, cells.lesson.name), student, cells)


def read_submission(path: Path, student: str, cells: LessonCells) -> Submission:
    """The submission at `path`, or in a renamed file beside it. Never raises for anything that a student could hand in."""

    def is_filled(other: Path) -> bool | None:
        found = _read(other, student, cells)
        return found.is_filled if found.readable and found.is_of_lesson else None

    chosen, findings = handed_in(path, is_filled)
    result = _read(chosen, student, cells)
    result.findings[:0] = findings
    return result


def _read(path: Path, student: str, cells: LessonCells) -> Submission:
    result = Submission(student, cells.lesson.name, path)
    notebook = _load(path, result)
    if notebook is None:
        result.readable = False
        return result
    result.is_of_lesson = any(isinstance(cell, dict) and _name_of(cell) in cells.exercises for cell in notebook)
    seen: dict[str, list[str]] = {}
    texts: dict[str, list[Prose]] = {}
    last_known = cells.first
    for index, cell in enumerate(notebook):
        if not isinstance(cell, dict):
            continue
        source, name, label = _source_of(cell), _name_of(cell), str(index + 1)
        is_code = cell.get("cell_type") == "code"
        most = MAX_PROSE if cell.get("cell_type") == "markdown" else MAX_SOURCE
        if len(source) > most:
            result.findings.append(f"cell {label}{f' ({name})' if name in cells.ids else ''}: {len(source)} characters, more than {most}: left out")
            continue
        if name in cells.ids:
            last_known = name
        if name in cells.exercises:
            seen.setdefault(name, []).append(source)
            if not _is_stub(source, cells.stubs[name]):
                result.written.append(Written(label, plain_python(source), name))
        elif name in cells.answers:
            texts.setdefault(name, []).append(prose_of(cell, source))
        elif is_code and not name.startswith("quiz_"):
            text = untitled(source)
            locked = name.startswith("test_") or name == "setup"
            if same_code(text) not in cells.released and not is_blank(text):
                added = _added(plain_python(text), cells, name == "setup") if locked or "check.exercise" in text else plain_python(text)
                if not is_blank(added):
                    result.written.append(Written(label, added))
                    result.after.setdefault(last_known, []).append(added if locked else text)
            if name.startswith("test_"):
                result.tested[name.removeprefix("test_")] = len(result.written)
        elif cell.get("cell_type") == "markdown" and _bare(source) not in cells.prose:
            result.after.setdefault(last_known, []).append(prose_of(cell, source))
    for name in cells.exercises:
        result.sources[name] = _pick(name, seen.get(name, []), cells, result)
    for name in cells.answers:
        result.answers[name] = _answer(name, texts.get(name, []), cells, result)
    return result


def _answer(name: str, versions: list[Prose], cells: LessonCells, result: Submission) -> Prose:
    """The text that counts as a written answer. Whatever else the student wrote there stays below it, for the person who grades."""
    filled = [text for number, text in enumerate(versions) if not text.is_blank and text not in versions[:number]]
    if filled:
        if filled[1:]:
            result.findings.append(f"cell {name}: there are {len(filled)} different ones; the last counts, the others stand below it")
            result.after.setdefault(name, [])[:0] = filled[:-1]
        return filled[-1]
    beside = [places for place in (cells.previous.get(name, ""), name) if (places := result.after.get(place))]
    own = [text for place in beside for text in place if isinstance(text, Prose) and not text.is_blank]
    if own:
        result.findings.append(f"cell {name}: {'empty' if versions else 'missing'}; the text beside it was taken for the answer")
        for place in beside:
            place[:] = [text for text in place if text not in own]
        return joined(own)
    if not versions:
        result.findings.append(f"cell {name}: missing (written answer)")
    return versions[-1] if versions else Prose()


def _bare(text: str) -> str:
    return "".join(text.split())


def _is_stub(source: str, stub: str) -> bool:
    return is_blank(source) or same_code(source) == stub


def _added(source: str, cells: LessonCells, is_setup: bool) -> str:
    """What a student added to a cell of the course, or wrote beside a copy of its tests: lines keep their numbers.

    Left out are statements of the course, changed tests, and in the set-up cell whatever touches what it sets up.
    """
    lines = source.split("\n")
    kept = [""] * len(lines)
    for node in _statements(source):
        if ast.dump(node) in cells.given or isinstance(node, ast.Pass) or _is_test(node):
            continue
        if is_setup and {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} & cells.setup_names:
            continue
        start = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        kept[start - 1 : node.end_lineno] = lines[start - 1 : node.end_lineno]
    return "\n".join(kept).rstrip("\n")


def _is_test(node: ast.stmt) -> bool:
    """Whether a statement is part of the course's way to test: ``with check.exercise(...)``, ``@check.scenario``."""
    heads = [item.context_expr for item in node.items] if isinstance(node, ast.With) else getattr(node, "decorator_list", [])
    return any(ast.unparse(head).startswith("check.") for head in heads)


def _statements(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(source).body
    except UNREADABLE:
        return []


def _pick(name: str, texts: list[str], cells: LessonCells, result: Submission) -> str:
    """The source that counts for an exercise, with a finding where that needed a decision."""
    attempted = list(dict.fromkeys(text for text in texts if not _is_stub(text, cells.stubs[name])))
    wanted = cells.exercises[name].names
    if len(attempted) > 1:
        if wanted <= set(_defined(plain_python(attempted[-1]))):
            result.findings.append(
                f"cell {name}: occurs {len(texts)} times (different; the last counts, as in a notebook run from top to bottom)"
            )
            return attempted[-1]
        result.findings.append(f"cell {name}: occurs {len(texts)} times; its parts were joined in their order")
        return "\n\n".join(attempted)
    if len(texts) > 1:
        result.findings.append(f"cell {name}: occurs {len(texts)} times (the same in each, or untouched)")
    if attempted:
        return attempted[0]
    elsewhere = [piece for piece in result.written if wanted <= set(_defined(piece.source))]
    if elsewhere:
        names, where = ", ".join(sorted(wanted)), elsewhere[-1].label
        result.findings.append(f"cell {name}: {'untouched' if texts else 'missing'}; graded cell {where}, which defines {names}")
        return elsewhere[-1].source
    if not texts:
        result.findings.append(f"cell {name}: missing")
    return texts[-1] if texts else ""


def _load(path: Path, result: Submission) -> list | None:
    try:
        if path.is_symlink() or not stat.S_ISREG(os.lstat(path).st_mode):
            result.findings.append("the submission is not a plain file (a link or a special file): not read")
            return None
        size = path.stat().st_size
        if size > MAX_BYTES:
            result.findings.append(f"the notebook has {size >> 20} MB, more than {MAX_BYTES >> 20} MB: not read")
            return None
        notebook = json.loads(_text(path.read_bytes()))
    except RecursionError:
        result.findings.append("the notebook is nested too deeply to be read")
        return None
    except (ValueError, MemoryError) as error:
        said = str(error) or type(error).__name__
        result.findings.append(f"the notebook is not valid JSON: {said[:120]}")
        return None
    except OSError as error:
        result.findings.append(f"the notebook cannot be read: {error.strerror}")
        return None
    if isinstance(notebook, dict) and isinstance(notebook.get("worksheets"), list):  # format 3
        sheets = [sheet.get("cells") for sheet in notebook["worksheets"] if isinstance(sheet, dict)]
        notebook["cells"] = [cell for sheet in sheets if isinstance(sheet, list) for cell in sheet]
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        result.findings.append("the file is JSON but not a notebook: it has no list of cells")
        return None
    if len(cells) > MAX_CELLS:
        result.findings.append(f"the notebook has {len(cells)} cells; only the first {MAX_CELLS} are read")
    return cells[:MAX_CELLS]


def _text(data: bytes) -> str:
    """The text of a file, in UTF-8 or UTF-16 (some Windows editors save it so)."""
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")


def _source_of(cell: dict) -> str:
    source = cell.get("source", cell.get("input", ""))  # format 3 has its code in "input"
    if isinstance(source, list):
        source = "".join(s for s in source if isinstance(s, str))
    # Half an emoji is valid JSON and no text: nothing could write or run it.
    return source.encode("utf-8", "replace").decode() if isinstance(source, str) else ""


def _name_of(cell: dict) -> str:
    """A cell's name: nbgrader's grade_id; failing that (some platforms drop metadata), its id, which older formats keep there."""
    metadata = cell.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    about = metadata.get("nbgrader")
    names = [about.get("grade_id") if isinstance(about, dict) else None, cell.get("id"), metadata.get("id")]
    return next((name for name in names if isinstance(name, str)), "")


def _defined(text: str) -> list[str]:
    try:
        return defined_names(text)
    except UNREADABLE:
        return []
