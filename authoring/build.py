"""Lesson texts -> executed instructor notebooks -> student notebooks; and whether those are current.

Each step is a function with a plain input and output; this module puts them in order and decides
what need not be done again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from nbformat import NotebookNode

from authoring import leaks
from authoring.execute import CellFailed, Run, execute, slowness
from authoring.student_notebooks import ReleaseError, student_notebooks
from course.lesson import ROOT, Lesson, LessonError, find_lessons, lesson_names, read
from course.notebook import as_text, instructor_notebook, lesson_line, placed_cells, read_notebook, relative, without_outputs
from course.records import update_record
from unit24.files import write_whole

_MUTE = re.compile(r"<img\b(?![^>]*\balt=.[^\"'])", re.IGNORECASE)  # without `alt`, or with an empty one


@dataclass(frozen=True)
class Course:
    """The folders of one course repository."""

    root: Path = ROOT

    @property
    def lessons(self) -> Path:
        return self.root / "lessons"

    @property
    def records(self) -> Path:
        return self.lessons / "records"

    @property
    def notebooks(self) -> Path:
        return self.root / "notebooks"

    def solution(self, name: str) -> Path:
        return self.root / "solutions" / name / f"{name}.ipynb"

    def notebook(self, name: str) -> Path:
        return self.notebooks / name / f"{name}.ipynb"

    def setup(self) -> str:
        return (self.root / "setup_cell.py").read_text(encoding="utf-8")

    def read(self, wanted: tuple[str, ...] = ()) -> list[Lesson]:
        """The lessons that a user named (all without a name).

        Raises:
            UserError: there is no such lesson.
            LessonError: its text breaks the format.
        """
        return [read(self.lessons / f"{name}.py") for name in find_lessons(wanted, self.lessons)]

    def readable(self, known: Iterable[Lesson] = ()) -> list[Lesson]:
        """All lessons that can be read; those in `known` are not read again."""
        lessons = {lesson.name: lesson for lesson in known}
        for name in lesson_names(self.lessons):
            if name not in lessons:
                try:
                    lessons[name] = read(self.lessons / f"{name}.py")
                except LessonError:
                    continue
        return list(lessons.values())


@dataclass
class Report:
    """What a build did and what went wrong; lines for a person."""

    executed: dict[str, Run] = field(default_factory=dict)
    released: list[str] = field(default_factory=list)
    current: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Watcher:
    """Told what happens during a build; does nothing by itself."""

    def start(self, name: str, total: int) -> None: ...

    def cell(self, name: str, done: int, total: int) -> None: ...

    def end(self, name: str, run: Run | None) -> None: ...


def build(lessons: list[Lesson], course: Course, force: bool = False, jobs: int = 2, watcher: Watcher | None = None) -> Report:
    """Bring ``solutions/`` and ``notebooks/`` up to date with `lessons`.

    A lesson is executed if its instructor notebook is not the one in ``solutions/`` (or with
    `force`); a failing lesson leaves its old files as they are and the others are built.

    Raises:
        UserError: a lesson cannot become a notebook.
        OSError: a file cannot be written; nothing half-written is left.
    """
    watcher, report = watcher or Watcher(), Report()
    instructors = _instructors(lessons, course)
    by_name = {lesson.name: lesson for lesson in lessons}
    todo = [n for n in instructors if force or _solution_problem(instructors[n], course.solution(n), course)]
    _execute_all({n: instructors[n] for n in todo}, by_name, course, jobs, watcher, report)

    failed = set(todo) - report.executed.keys()
    texts = {n: course.solution(n).read_text(encoding="utf-8") for n in instructors if n not in failed}
    released, refused = _release(texts)
    report.problems += refused
    for name, text in released.items():
        path = course.notebook(name)
        if not path.exists() or path.read_bytes() != text.encode():
            write_whole(path, text)
            report.released.append(name)
        elif name not in report.executed:
            report.current.append(name)
    report.problems += leftovers(course)
    report.problems += [f"leak: {leak}" for leak in leaks.scan(course.notebooks, course.readable(lessons))]
    return report


def check(lessons: list[Lesson], course: Course) -> list[str]:
    """What of ``solutions/`` and ``notebooks/`` is not current, a line each.  Executes nothing.

    Raises:
        UserError: a lesson cannot become a notebook.
    """
    problems, texts = [], {}
    for name, instructor in _instructors(lessons, course).items():
        if problem := _solution_problem(instructor, course.solution(name), course):
            problems.append(f"{problem}: run `unit24 build {name}`")
        else:
            texts[name] = course.solution(name).read_text(encoding="utf-8")
    released, refused = _release(texts)
    problems += refused
    for name, text in released.items():
        path = course.notebook(name)
        if not path.exists():
            problems.append(f"{relative(path, course.root)} is missing: run `unit24 build {name}`")
        elif path.read_bytes() != text.encode():
            where = relative(path, course.root)
            problems.append(f"{where} is not what nbgrader makes of the solution: run `unit24 build {name}`")
    problems += leftovers(course)
    problems += [f"leak: {leak}" for leak in leaks.scan(course.notebooks, course.readable(lessons))]
    return problems


def leftovers(course: Course) -> list[str]:
    """Files of lessons that are not there. Those in ``solutions/`` stock nbgrader would copy to students."""
    names, problems = set(lesson_names(course.lessons)), []
    folder = course.root / "solutions"
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and ".ipynb_checkpoints" not in p.parts):
        inside = path.relative_to(folder)
        if inside.parts[0] not in names:
            problems.append(f"{relative(path, course.root)} has no lesson text: delete it")
        elif inside.as_posix() != f"{inside.parts[0]}/{inside.parts[0]}.ipynb":
            problems.append(f"{relative(path, course.root)} comes from no lesson text and would reach students: delete it")
    for path in sorted(course.notebooks.glob("*")):
        if path.is_dir() and path.name not in names:
            problems.append(f"{relative(path, course.root)} has no lesson text: delete it")
    for path in sorted(course.lessons.glob("answers/*.py")):
        if path.stem not in names:
            problems.append(f"{relative(path, course.root)} answers no lesson: there is no lessons/{path.name}")
    return problems


# --------------------------------------------------------------------------------------------------


def _instructors(lessons: list[Lesson], course: Course) -> dict[str, NotebookNode]:
    setup = course.setup()
    return {lesson.name: instructor_notebook(lesson, setup) for lesson in lessons}


def _solution_problem(instructor: NotebookNode, path: Path, course: Course) -> str:
    """Why the file at `path` is not `instructor` after a run; empty if it is."""
    where, name = relative(path, course.root), instructor.metadata.unit24.lesson
    if not path.exists():
        return f"{where} is missing"
    saved = read_notebook(path)
    if saved is None:
        return f"{where} is not a readable notebook"
    if without_outputs(saved) != without_outputs(instructor):
        was = saved.metadata.get("unit24", {}).get("source_hash")
        if was == instructor.metadata.unit24.source_hash:
            return f"{where} was changed by hand"
        return f"lessons/{name}.py or setup_cell.py has changed since {where} was made"
    if any(c.cell_type == "code" and c.source.strip() and c.execution_count is None for c in saved.cells):
        return f"{where} was not executed"
    if mute := _without_words(saved):
        return f"{where} shows in cell {mute[0]} a picture that says nothing to whoever cannot see it (`unit24.figures`)"
    return ""


def _without_words(notebook: NotebookNode) -> list[str]:
    """Ids of cells with an output that is a picture alone."""
    outputs = [(cell.id, output.get("data", {})) for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [cell for cell, data in outputs if any(kind.startswith("image/") for kind in data) or _MUTE.search(data.get("text/html", ""))]


def _execute_all(
    instructors: dict[str, NotebookNode], lessons: dict[str, Lesson], course: Course, jobs: int, watcher: Watcher, report: Report
) -> None:
    """Execute notebooks side by side and write each as soon as it is done."""

    def run(name: str) -> tuple[Run, float]:
        watcher.start(name, len(instructors[name].cells))
        done = execute(instructors[name], lambda done, total: watcher.cell(name, done, total))
        # Beside the same neighbours as the run; what was over at once needs no comparison with a limit.
        return done, slowness() if done.cpu_seconds > 10 else 1.0

    pool = ThreadPoolExecutor(max_workers=max(1, jobs))
    try:
        futures = {pool.submit(run, name): name for name in instructors}
        for future in as_completed(futures):
            name = futures[future]
            try:
                done, slow = future.result()
            except CellFailed as error:
                report.problems.append(_explain(lessons[name], error, course))
                watcher.end(name, None)
                continue
            if complaints := _complaints(lessons[name], done.notebook, course):
                report.problems += complaints
                watcher.end(name, None)
                continue
            write_whole(course.solution(name), as_text(done.notebook))
            source_hash = instructors[name].metadata.unit24.source_hash
            measured = {
                "source_hash": source_hash,
                "seconds": done.seconds,
                "cpu_seconds": done.cpu_seconds,
                "slowness": slow,
                "peak_mb": done.peak_mb,
                "claims": done.claims,
            }
            update_record(name, "solution", measured, course.records)
            report.executed[name] = done
            watcher.end(name, done)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _explain(lesson: Lesson, error: CellFailed, course: Course) -> str:
    """``lessons/NN.py:LINE: Error: message`` for the innermost line of the lesson that was running."""
    file = relative(lesson.path, course.root)
    if not error.cell:
        return f"{file}:1: {error}"
    cell, line = error.frames[-1] if error.frames else (error.cell, 1)
    at = lesson_line(lesson, cell, line)
    outer = next((n for c, n in error.frames if c == error.cell), None)
    elsewhere = outer is not None and (error.cell, outer) != (cell, line)
    called = f" (called from line {lesson_line(lesson, error.cell, outer)})" if elsewhere else ""
    setup = " (in the setup cell)" if cell == "setup" else ""
    return f"{file}:{at}: {error}{called}{setup}"


def _complaints(lesson: Lesson, notebook: NotebookNode, course: Course) -> list[str]:
    """Test cells that write to stderr: stock nbgrader gives such a cell no points."""
    cells = dict(placed_cells(lesson))
    problems = []
    for node in notebook.cells:
        cell = cells.get(node.id)  # the last one is the build's own
        for output in node.get("outputs", []) if cell and cell.role == "tests" else []:
            if output.get("name") == "stderr":
                said = " ".join(output.text.split())[:120]
                problems.append(
                    f"{relative(lesson.path, course.root)}:{cell.line}: tests={cell.name!r} writes to stderr, "
                    f"for which stock nbgrader takes all points: {said}"
                )
    return problems


def _release(texts: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Student notebooks, and a line for each that nbgrader refuses."""
    if not texts:
        return {}, []
    try:
        return student_notebooks(texts), []
    except ReleaseError:
        pass
    released, refused = {}, []
    for name, text in texts.items():  # again, one by one, so that one bad notebook stops no other
        try:
            released |= student_notebooks({name: text})
        except ReleaseError as error:
            refused.append(str(error))
    return released, refused


