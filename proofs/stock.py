"""The proof that stock nbgrader gives the same scores: ``nbgrader autograde`` on students of the sample class.

It runs the whole notebook for each student, up to 90 s.  Who goes through it is chosen in `proofs.chosen`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from authoring.execute import student_environment
from course.parts import ROOT, Lesson
from grader.classroom import write_sample_class
from judge.fingerprint import cells_hash, hash_of, lesson_hash, tree_hash
from proofs.solved import not_current, notebook_hash, solution_path

CONFIGURATION = "nbgrader_config.py"


def stock_hash(lesson: Lesson, root: Path = ROOT) -> str:
    """Hash of everything that decides on the proof."""
    decides = lesson_hash(lesson, __name__, ("nbgrader",)), tree_hash((root / CONFIGURATION).read_text(encoding="utf-8"))
    return hash_of(*decides, cells_hash(cell for cell in lesson.cells if cell.role != "equivalent"), notebook_hash(solution_path(lesson.name, root)))


def compare(
    lesson: Lesson, chosen: list[str], root: Path = ROOT, done: Callable[[str], None] = lambda student: None
) -> list[str]:
    """What differs, a line each. `done` is called with each student whose scores are as expected."""
    if problems := not_current(lesson, root):
        return problems
    with tempfile.TemporaryDirectory(prefix="unit24-stock-") as folder:
        scratch = Path(folder).resolve()
        for name in ("home", "tmp", "ipython", "course", "class"):
            (scratch / name).mkdir()
        course = scratch / "course"
        expected = write_sample_class(scratch / "class", [lesson])
        shutil.copy(root / CONFIGURATION, course)
        solution = course / "solutions" / lesson.name / f"{lesson.name}.ipynb"
        solution.parent.mkdir(parents=True)
        shutil.copy(solution_path(lesson.name, root), solution)
        environment = student_environment(scratch) | {"JUPYTER_NO_CONFIG": "1"}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"  # nbgrader starts alembic

        def nbgrader(*arguments: str) -> list[str]:
            call = [sys.executable, "-m", "nbgrader", *arguments]
            ended = subprocess.run(call, cwd=course, env=environment, capture_output=True, text=True, check=False)
            said = ended.stderr.strip().splitlines() or ["no message"]
            return [f"nbgrader {arguments[0]}: {said[-1]}"] if ended.returncode else []

        if problems := nbgrader("generate_assignment", lesson.name, "--force"):
            return problems
        for student in chosen:
            shutil.copytree(scratch / "class" / "submitted" / student, course / "submitted" / student)
            if failed := nbgrader("autograde", lesson.name, "--student", student, "--create", "--force"):
                problems += failed
                continue
            got, wanted = _scores(course, lesson.name, student), expected[student][lesson.name]
            differing = [name for name in wanted if got.get(name) != wanted[name]]
            problems += [f"stock nbgrader: {student}, {name}: {got.get(name)} points, not {wanted[name]:g}" for name in differing]
            if not differing:
                done(student)
    return problems


def _scores(course: Path, name: str, student: str) -> dict[str, float]:
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", "unit24") as gradebook:
        grades = gradebook.find_submission_notebook(name, name, student).grades
        return {g.name.removeprefix("test_"): g.auto_score for g in grades if g.name.startswith("test_")}
