"""Read what a student handed in: sources of known cells, and the student's own cells. Nothing else.

A submission may be anything: not JSON, huge, deep, with cells missing or doubled.  Reading it never
raises; what is odd about it becomes a finding in words, and what can be used is used.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from course.notebook import placed_cells, student_source, untitled
from course.parts import Exercise, Lesson, defined_names
from course.reference import is_blank, reference_cells

MAX_BYTES = 20 << 20  # a notebook with a few plots is below 2 MB
MAX_SOURCE = 200_000  # characters of one cell
MAX_CELLS = 2_000


@dataclass
class Submission:
    """One student's notebook for one lesson, reduced to what grading uses."""

    student: str
    lesson: str
    path: Path
    sources: dict[str, str] = field(default_factory=dict)  # exercise id -> source
    answers: dict[str, str] = field(default_factory=dict)  # written answer id -> text
    own: list[tuple[str, str]] = field(default_factory=list)  # (label, source) of the student's own code cells
    after: dict[str, list[str]] = field(default_factory=dict)  # cell id -> own sources that stood after it
    findings: list[str] = field(default_factory=list)
    readable: bool = True

    @property
    def digest(self) -> str:
        """Hash of everything that grading uses."""
        content = json.dumps([self.sources, self.answers, self.own, self.findings], sort_keys=True)
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


class LessonCells:
    """What of a lesson is known to be in every student's notebook."""

    def __init__(self, lesson: Lesson):
        self.lesson = lesson
        self.exercises = {e.id: e for e in lesson.exercises}
        self.answers = {a.id: a for a in lesson.answers}
        placed = placed_cells(lesson)
        self.first, self.ids = placed[0][0], {name for name, _ in placed}
        self.stubs = {e.id: python_source(student_source(e.cell)) for e in lesson.exercises}
        self.released = {python_source(student_source(c)) for _, c in placed if c.type == "code"}
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
    """The submission at `path`. Never raises for anything that a student could hand in."""
    result = Submission(student, cells.lesson.name, path)
    notebook = _load(path, result)
    if notebook is None:
        result.readable = False
        return result
    seen: dict[str, list[str]] = {}
    last_known = cells.first
    for index, cell in enumerate(notebook):
        if not isinstance(cell, dict):
            continue
        source = _source_of(cell)
        name = _name_of(cell)
        if name in cells.exercises or name in cells.answers:
            if len(source) > MAX_SOURCE:
                result.findings.append(f"cell {name}: {len(source)} characters, more than {MAX_SOURCE}: left out")
                continue
            seen.setdefault(name, []).append(source)
            last_known = name
        elif cell.get("cell_type") == "code" and not name.startswith(("test_", "quiz_")) and name != "setup":
            text = python_source(untitled(source))
            if name in cells.ids:
                last_known = name
            if text not in cells.released and not is_blank(text) and len(text) <= MAX_SOURCE:
                result.own.append((str(index + 1), text))
                result.after.setdefault(last_known, []).append(text)
        elif name in cells.ids:
            last_known = name
    for name in cells.exercises:
        result.sources[name] = _pick(name, seen.get(name, []), cells, result)
    for name in cells.answers:
        texts = seen.get(name, [])
        if not texts:
            result.findings.append(f"cell {name}: missing (written answer)")
        elif len(set(texts)) > 1:
            result.findings.append(f"cell {name}: there are {len(texts)} different ones; the last is kept")
        result.answers[name] = texts[-1] if texts else ""
    return result


def prerequisites(submission: Submission, exercise: Exercise, cells: LessonCells) -> list[tuple[str, str]]:
    """The student's other cells that must run before the exercise's cell: exercises, then own cells.

    A cell is needed if it defines a name that the exercise's cell (or another needed cell) uses
    and that neither Python nor the lesson provides.
    """
    known = cells.before[exercise.id] | set(dir(builtins)) | {"display", "get_ipython"}
    others = [(name, python_source(text)) for name, text in submission.sources.items() if name != exercise.id]
    available = [(name, text) for name, text in others if text != cells.stubs[name]] + submission.own
    definitions = [(label, text, set(_defined(text))) for label, text in available]
    source = python_source(submission.sources[exercise.id])
    missing = _used(source) - known - set(_defined(source))
    chosen: set[str] = set()
    while True:
        more = [d for d in definitions if d[0] not in chosen and d[2] & missing and d[1] != source]
        if not more:
            break
        label, text, names = more[-1]  # the latest definition is the one that a notebook would hold
        chosen.add(label)
        missing = (missing | (_used(text) - known)) - names
    return [(label, text) for label, text, _ in definitions if label in chosen]


def python_source(source: str) -> str:
    """`source` without notebook commands (``%`` and ``!`` lines) and trailing space.

    A whole-cell command (``%%``) leaves its body, except for another language.
    """
    lines = source.replace("\r\n", "\n").split("\n")
    first = next((line.strip() for line in lines if line.strip()), "")
    if first.startswith("%%") and first.split()[0] not in ("%%time", "%%timeit", "%%capture"):
        return ""
    kept = []
    for line in lines:
        bare = line.lstrip()
        if bare.startswith(("%", "!")) and not _inside_expression(kept):
            kept.append(line[: len(line) - len(bare)] + "pass")
        else:
            kept.append(line.rstrip())
    return "\n".join(kept).strip("\n")


def _inside_expression(lines: list[str]) -> bool:
    """Whether the lines so far leave a bracket or a string open, so that a leading % is an operator."""
    text = "\n".join(lines)
    if text.count('"""') % 2 or text.count("'''") % 2 or (lines and lines[-1].endswith("\\")):
        return True
    return sum(text.count(c) for c in "([{") > sum(text.count(c) for c in ")]}")


def _pick(name: str, texts: list[str], cells: LessonCells, result: Submission) -> str:
    """The source that counts for an exercise, with a finding where that needed a decision."""
    attempted = [t for t in texts if python_source(t) != cells.stubs[name] and not is_blank(t)]
    if len(texts) > 1:
        what = (
            "the same in each"
            if len(set(attempted)) <= 1
            else "different; the last counts, as in a notebook run from top to bottom"
        )
        result.findings.append(f"cell {name}: occurs {len(texts)} times ({what})")
    if attempted:
        return attempted[-1]
    wanted = cells.exercises[name].names
    elsewhere = [text for _, text in result.own if wanted <= set(_defined(text))]
    if elsewhere:
        result.findings.append(
            f"cell {name}: {'untouched' if texts else 'missing'}; graded the student's own cell that defines {', '.join(sorted(wanted))}"
        )
        return elsewhere[-1]
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
        notebook = json.loads(path.read_bytes().decode("utf-8-sig"))
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
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        result.findings.append("the file is JSON but not a notebook: it has no list of cells")
        return None
    if len(cells) > MAX_CELLS:
        result.findings.append(f"the notebook has {len(cells)} cells; only the first {MAX_CELLS} are read")
    return cells[:MAX_CELLS]


def _source_of(cell: dict) -> str:
    source = cell.get("source", "")
    if isinstance(source, list):
        source = "".join(s for s in source if isinstance(s, str))
    return source if isinstance(source, str) else ""


def _name_of(cell: dict) -> str:
    """A cell's name: nbgrader's grade_id; failing that (some platforms drop metadata), its id."""
    metadata = cell.get("metadata")
    about = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    name = about.get("grade_id") if isinstance(about, dict) else None
    name = name if isinstance(name, str) else cell.get("id")
    return name if isinstance(name, str) else ""


def _defined(text: str) -> list[str]:
    try:
        return defined_names(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _used(text: str) -> set[str]:
    try:
        return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
