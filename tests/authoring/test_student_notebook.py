"""Instructor notebook -> student notebook, by stock nbgrader."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from authoring.student_notebooks import ReleaseError, student_notebooks
from course.lesson import ROOT
from course.notebook import as_text, instructor_notebook


@pytest.fixture
def solution(lesson_from):
    return instructor_notebook(lesson_from(), 'LESSON = ""\nNEEDS = []\nPOINTS = {}\n')


def test_solutions_hidden_tests_and_answers_are_gone(solution):
    solution.cells[2].outputs = [nbformat.v4.new_output("stream", text="seen")]
    text = student_notebooks({"01_small": as_text(solution)})["01_small"]
    student = nbformat.reads(text, as_version=4)
    nbformat.validate(student)
    source = {c.id: c.source for c in student.cells}
    assert list(source) == [c.id for c in solution.cells]
    assert source["double"].endswith("    # YOUR CODE HERE\n    raise NotImplementedError()")
    assert source["test_double"].count("check.equal") == 1 and "HIDDEN" not in text
    assert source["why_sum"] == "YOUR ANSWER HERE"
    assert source["double-1"].startswith("<details>")
    assert not any(c.get("outputs") or c.get("execution_count") for c in student.cells)
    assert student.metadata == solution.metadata


def test_the_same_solution_gives_the_same_bytes(solution):
    texts = {"01_small": as_text(solution), "02_other": as_text(solution)}
    first = student_notebooks(texts)
    assert first == student_notebooks(texts) and first["01_small"] == first["02_other"]


def test_a_notebook_that_nbgrader_refuses_is_named(solution):
    solution.cells.append(solution.cells[4].copy())
    solution.cells[-1].id = "again"
    with pytest.raises(ReleaseError, match="01_small: nbgrader could not make the student notebook: .*metadata may be corrupted"):
        student_notebooks({"01_small": as_text(solution)})


def test_the_stock_command_at_the_root_makes_the_same_notebook(built, tmp_path):
    shutil.copy(ROOT / "nbgrader_config.py", tmp_path)
    made = built.notebook("01_small")
    before = made.read_bytes()
    made.unlink()
    bin_folder = Path(sys.executable).parent
    done = subprocess.run(
        [bin_folder / "nbgrader", "generate_assignment", "01_small", "--force"],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert made.read_bytes().rstrip(b"\n") == before.rstrip(b"\n")
