"""The proof that a solved notebook runs again: nbval executes it, and cells marked for it print the same."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from authoring.execute import CELL_SECONDS, student_environment
from course.notebook import UNSEEN, instructor_notebook, read_notebook
from course.parts import ROOT, Lesson
from judge.fingerprint import cells_hash, hash_of, lesson_hash, state, tree_hash

MARK = "NBVAL_CHECK_OUTPUT"  # in a cell whose output must be the same


def solution_path(name: str, root: Path = ROOT) -> Path:
    return root / "solutions" / name / f"{name}.ipynb"


def solved_hash(lesson: Lesson, root: Path = ROOT) -> str:
    """Hash of everything that decides on the proof."""
    seen = cells_hash(cell for cell in lesson.cells if cell.role not in UNSEEN)
    return hash_of(lesson_hash(lesson, __name__, ("nbval",)), seen, notebook_hash(solution_path(lesson.name, root)))


def notebook_hash(path: Path) -> str:
    """Hash of a notebook's code, and of the outputs that must be the same; empty without a notebook."""
    return _notebook_hash(path, *state(path)) if path.exists() else ""


@functools.cache
def _notebook_hash(path: Path, changed: int, size: int) -> str:
    notebook = read_notebook(path)
    parts = []
    for cell in notebook.cells if notebook else ():
        if cell.cell_type == "code":
            parts += [tree_hash(cell.source), json.dumps(cell.outputs, sort_keys=True) if MARK in cell.source else ""]
    return hash_of(*parts)


def not_current(lesson: Lesson, root: Path = ROOT) -> list[str]:
    """A line if the solved notebook is not the one of this text."""
    path = solution_path(lesson.name, root)
    notebook = read_notebook(path) if path.exists() else None
    wanted = instructor_notebook(lesson, (root / "setup_cell.py").read_text(encoding="utf-8"))
    if notebook is not None and notebook.metadata.get("unit24", {}).get("source_hash") == wanted.metadata.unit24.source_hash:
        return []
    return [f"{path.relative_to(root)} is not current: run `unit24 build {lesson.name}` first"]


def run_again(lesson: Lesson, root: Path = ROOT) -> list[str]:
    """What went wrong, a line each."""
    if problems := not_current(lesson, root):
        return problems
    with tempfile.TemporaryDirectory(prefix="unit24-nbval-") as folder:
        scratch = Path(folder).resolve()
        for name in ("work", "home", "tmp", "ipython"):
            (scratch / name).mkdir()
        notebook = scratch / "work" / f"{lesson.name}.ipynb"
        notebook.write_bytes(solution_path(lesson.name, root).read_bytes())
        call = [sys.executable, "-m", "pytest", "--nbval-lax", f"--nbval-cell-timeout={CELL_SECONDS}", "-q", "--tb=line"]
        call += ["-c", "/dev/null", "--rootdir", scratch, "-p", "no:cacheprovider", "-p", "no:xdist", notebook.name]
        environment = student_environment(scratch)
        done = subprocess.run(call, cwd=notebook.parent, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return []
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return [f"nbval: {line}" for line in failed or [*done.stdout.splitlines()[-1:], *done.stderr.splitlines()[-1:]]]
