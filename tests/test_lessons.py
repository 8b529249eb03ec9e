"""Every lesson of the course: its exercises audited, its notebooks current, its sample class graded.

Tests of one lesson run on one worker (``tests/conftest.py``), lessons side by side.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from authoring.audit import MUTANTS_WANTED, audit_lesson, code_hash, totals
from authoring.build import Course, check
from course.lesson import LESSONS, ROOT, lesson_names, read
from course.records import read_record, update_record
from grader.classroom import STOCK_DEFECTS, write_sample_class
from grader.engines import threads
from grader.grade import find_work, grade_class

NAMES = lesson_names()
STOCK_WHOLE = ("02_pytorch_fundamentals", "04_training_loop")  # the whole class goes through stock nbgrader


each_lesson = pytest.mark.parametrize("name", NAMES)


def test_there_are_lessons():
    assert {"02_pytorch_fundamentals", "04_training_loop"} <= set(NAMES)


@each_lesson
def test_audit(name):
    """100 % of wrong answers rejected with their words, of right ones accepted, of spoilt results rejected.

    Mutants are judged for exercises that are not as in the lesson's recorded audit.
    """
    audits = audit_lesson(read(LESSONS / f"{name}.py"), jobs=1, recorded=read_record(name).get("audit"))
    assert [note for a in audits.values() for note in a.notes] == []
    survivors = [f"{e}: {s}" for e, a in audits.items() for s in a.survivors]
    assert totals({name: audits})["mutation_score"] >= MUTANTS_WANTED, "\n".join(survivors)


def test_notebooks_are_current_and_leak_nothing():
    """What `unit24 build --check` says: generated files equal their source, and no leak."""
    assert check(Course().read(), Course()) == []


@each_lesson
def test_pipelines_are_told_their_device(name):
    """With a GPU in the machine a pipeline moves the model that it is given there, and lesson 07 failed from then on."""
    for cell in read(LESSONS / f"{name}.py").cells:
        if cell.type == "code" and cell.role in ("plain", "tests"):
            calls = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
            pipelines = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id.lower().endswith("pipeline")]
            for keywords in ({k.arg for k in call.keywords} for call in pipelines):
                assert "model" not in keywords or "device" in keywords, f"{cell.role} {cell.name}, line {cell.line}"


@each_lesson
def test_size_and_time(name):
    """The standard: 5 to 9 exercises, 15 to 30 points, five questions; the last measured run in bounds."""
    lesson = read(LESSONS / f"{name}.py")
    measured = read_record(name)["solution"]
    assert 5 <= len(lesson.exercises) <= 9
    assert 15 <= lesson.points <= 30
    assert len(lesson.questions) == 5
    # Computing time: at one thread that is the wall time of a quiet machine, and a busy one does not change it.
    assert measured["cpu_seconds"] <= (90 if name[:2] in ("11", "12", "14", "17") else 60)
    assert measured["peak_mb"] <= 4000


@each_lesson
def test_solution_runs_again(name):
    """nbval executes the solved notebook; cells marked NBVAL_CHECK_OUTPUT must print the same."""
    call = [sys.executable, "-m", "pytest", "--nbval-lax", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "--rootdir", str(ROOT)]
    call += ["-o", "addopts=", "--nbval-cell-timeout=600", f"solutions/{name}/{name}.ipynb"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=850)
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Sample classes by lesson, graded once each."""
    made = {}

    def get(name):
        if name not in made:
            root = tmp_path_factory.mktemp(name)
            expected = write_sample_class(root, [read(LESSONS / f"{name}.py")])
            made[name] = root, expected, list(grade_class(root, find_work(root), threads(1)))
        return made[name]

    return get


@each_lesson
def test_the_sample_class_gets_what_it_must(name, graded):
    _, expected, records = graded(name)
    assert len(expected) >= 12
    for record in records:
        got = {exercise: verdict.points for exercise, verdict in record.exercises.items()}
        wanted = expected[record.student][name]
        assert got == wanted, (record.student, [v for e, v in record.exercises.items() if v.points != wanted[e]])


@each_lesson
@pytest.mark.timeout(3000)
def test_stock_nbgrader_gives_the_same_scores(name, graded, tmp_path):
    """Equal scores from ``nbgrader autograde`` for every submission that it can grade.

    What it cannot grade, and why, stands in `STOCK_DEFECTS`.  Stock nbgrader runs the whole
    notebook for each student, up to 90 s.  So the whole class is compared for the lessons of
    `STOCK_WHOLE` where their code changed since the comparison was last recorded
    (``UNIT24_RECORD=1`` records), and two students otherwise; for other lessons one student
    with mistakes, where the code changed.
    """
    lesson = read(LESSONS / f"{name}.py")
    known = read_record(name).get("stock") == code_hash(lesson)
    if known and name not in STOCK_WHOLE:
        pytest.skip("recorded for exactly this code in lessons/records")
    _, expected, _ = graded(name)
    able = [student for student in expected if student not in STOCK_DEFECTS]
    some = able if not known else ["every_other_wrong", "extra_cells"]
    scores = stock_scores(tmp_path, graded(name)[0], name, some if name in STOCK_WHOLE else ["every_other_wrong"])
    for student, got in scores.items():
        assert got == expected[student][name], student
    if os.environ.get("UNIT24_RECORD") and not known:
        update_record(name, "stock", code_hash(lesson))


def stock_scores(course: Path, graded: Path, name: str, students: list[str]) -> dict[str, dict[str, float]]:
    """Scores by student and exercise, from the stock command line."""
    shutil.copy(ROOT / "nbgrader_config.py", course)
    shutil.copytree(ROOT / "solutions" / name, course / "solutions" / name)
    for student in students:
        shutil.copytree(graded / "submitted" / student, course / "submitted" / student)
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}

    def nbgrader(*arguments):
        done = subprocess.run([bin_folder / "nbgrader", *arguments], cwd=course, env=environment, capture_output=True, text=True, timeout=2800)
        assert done.returncode == 0, done.stderr[-3000:]

    nbgrader("generate_assignment", name, "--force")
    nbgrader("autograde", name, "--create", "--force")
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", "unit24") as gradebook:
        found = {}
        for student in students:
            grades = gradebook.find_submission_notebook(name, name, student).grades
            found[student] = {g.name.removeprefix("test_"): g.auto_score for g in grades if g.name.startswith("test_")}
        return json.loads(json.dumps(found))
