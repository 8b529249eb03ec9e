"""The stock nbgrader commands, with this repository's configuration: on its own notebooks, and on a class that unit24 graded."""

import csv
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from authoring.student_notebooks import student_notebooks
from course.lesson import ROOT
from course.notebook import as_text, instructor_notebook, without_outputs
from grader.grade import find_work, grade_class

FIXTURES = Path(__file__).parents[1] / "fixtures"
SMALL = "61_small"
NAMES = r".*_(?P<student_id>\w+)_attempt_(?P<timestamp>[0-9\-]+)_(?P<file_id>61_small)"
ANSWER = "Sums grow with the number of values."

def nbgrader(folder, *arguments, **options):
    """Run a stock command in a course folder; returns what it logged."""
    # nbgrader starts `alembic` by name.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    settings = os.environ | {"PATH": path, "JUPYTER_NO_CONFIG": "1", **options}
    call = [sys.executable, "-m", "nbgrader", *map(str, arguments)]
    done = subprocess.run(call, cwd=folder, env=settings, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def answers(small):
    """Student -> what they wrote: everything right, mistakes, nothing."""
    reference = {e.id: e.cell.source for e in small.exercises}
    return {
        "ada": reference | {"why_mean": ANSWER},
        "bo": {"mean_gap": small.exercises[0].wrong[0].source, "check_even": small.exercises[2].wrong[1].source},
        "cy": {},
    }


def write(notebook, sources):
    """The text of a student notebook with cells filled in."""
    notebook = json.loads(json.dumps(notebook))
    for cell in notebook["cells"]:
        cell["source"] = sources.get(cell["metadata"].get("nbgrader", {}).get("grade_id"), cell["source"])
    return json.dumps(notebook)


def exported(folder):
    """Student -> (raw score, penalty, score, most) from ``nbgrader export``."""
    nbgrader(folder, "export", "--to", "exported.csv")
    with open(folder / "exported.csv") as file:
        keys = ("raw_score", "late_submission_penalty", "score", "max_score")
        return {row["student_id"]: tuple(float(row[k]) for k in keys) for row in csv.DictReader(file) if row["assignment"] == SMALL}


def new_course(folder, small):
    shutil.copy(ROOT / "nbgrader_config.py", folder)
    source = folder / "solutions" / SMALL
    source.mkdir(parents=True)
    (source / f"{SMALL}.ipynb").write_text(as_text(instructor_notebook(small)))
    return folder


@pytest.fixture(scope="module")
def stock(tmp_path_factory, small):
    """A course that stock commands alone released, collected and graded."""
    root = new_course(tmp_path_factory.mktemp("stock"), small)
    nbgrader(root, "generate_assignment", SMALL)
    released = json.loads((root / "notebooks" / SMALL / f"{SMALL}.ipynb").read_text())
    archive = root / "downloaded" / SMALL / "archive"
    archive.mkdir(parents=True)
    with zipfile.ZipFile(archive / "all.zip", "w") as out:
        for student, sources in answers(small).items():
            out.writestr(f"class_{student}_attempt_2026-02-01-10-30-10_{SMALL}.ipynb", write(released, sources))
    nbgrader(root, "zip_collect", SMALL, f"--FileNameCollectorPlugin.named_regexp={NAMES}")
    nbgrader(root, "autograde", SMALL)
    nbgrader(root, "generate_feedback", SMALL)
    return root


@pytest.fixture(scope="module")
def ours(tmp_path_factory, stock):
    """The same submissions in another course folder, graded by unit24."""
    root = tmp_path_factory.mktemp("ours")
    shutil.copy(ROOT / "nbgrader_config.py", root)
    shutil.copytree(stock / "submitted", root / "submitted")
    list(grade_class(root, find_work(root, ("61",), FIXTURES), lessons=FIXTURES))
    return root


def test_generate_assignment_gives_what_the_build_releases(stock, small):
    text = student_notebooks({SMALL: as_text(instructor_notebook(small))})[SMALL]
    by_command = json.loads((stock / "notebooks" / SMALL / f"{SMALL}.ipynb").read_text())
    assert without_outputs(by_command) == without_outputs(json.loads(text))


def test_both_export_the_same_scores(stock, ours):
    assert exported(stock) == exported(ours) == {"ada": (8, 0, 8, 12), "bo": (1, 0, 1, 12), "cy": (0, 0, 0, 12)}


def test_stock_feedback_for_a_class_that_unit24_graded(ours, tmp_path):
    root = shutil.copytree(ours, tmp_path / "class")
    nbgrader(root, "generate_feedback", SMALL, "--force")
    for folder in (root, ours):
        page = (folder / "feedback" / "bo" / SMALL / f"{SMALL}.html").read_text()
        assert "it is 3 times what was expected" in page and "secret_answer" not in page


def test_a_manual_grade_and_a_penalty_reach_export_and_report_and_survive_another_run(ours, tmp_path):
    from nbgrader.api import Gradebook

    from grader.report import make_report

    root = shutil.copytree(ours, tmp_path / "class")
    with Gradebook(f"sqlite:///{root / 'gradebook.db'}", "unit24") as gradebook:
        grade = gradebook.find_grade("why_mean", SMALL, SMALL, "ada")
        assert grade.needs_manual_grade and grade.auto_score is None
        grade.manual_score, grade.needs_manual_grade = 3.5, False
        gradebook.find_submission_notebook(SMALL, SMALL, "ada").late_submission_penalty = 2.0
        gradebook.db.commit()
    list(grade_class(root, find_work(root, ("61",), FIXTURES), lessons=FIXTURES, force=True))
    assert exported(root)["ada"] == (11.5, 2, 9.5, 12)
    report = make_report(root, lessons=FIXTURES)
    assert {student: work.points for student, work in report.results.work[SMALL].items()} == {"ada": 9.5, "bo": 1, "cy": 0}


def test_stock_autograde_takes_over_from_unit24(ours, tmp_path):
    """An instructor may go back to the stock command in the middle of a course."""
    root = shutil.copytree(ours, tmp_path / "class")
    nbgrader(root, "autograde", SMALL, "--student", "bo", "--force")
    assert exported(root) == exported(ours)


def test_the_exchange_releases_fetches_submits_and_collects(stock, tmp_path, small):
    course, student, exchange = (tmp_path / name for name in ("course", "student", "exchange"))
    for folder in (course, student, exchange):
        folder.mkdir()
    exchange.chmod(0o777)  # nbgrader insists
    new_course(course, small)
    shutil.copytree(stock / "notebooks", course / "notebooks")
    there = f"--Exchange.root={exchange}"
    cache = f"--Exchange.cache={tmp_path / 'cache'}"
    nbgrader(course, "release_assignment", SMALL, there)
    nbgrader(student, "fetch_assignment", SMALL, there, cache, "--course=unit24")
    path = student / SMALL / f"{SMALL}.ipynb"
    path.write_text(write(json.loads(path.read_text()), answers(small)["ada"]))
    nbgrader(student, "submit", SMALL, there, cache, "--course=unit24")
    nbgrader(course, "collect", SMALL, there)
    (collected,) = course.glob(f"submitted/*/{SMALL}/{SMALL}.ipynb")
    assert collected.read_text() == path.read_text()
    (record,) = grade_class(course, find_work(course, ("61",), FIXTURES), lessons=FIXTURES)
    assert record.points == 8 and record.waiting == ["why_mean"]
