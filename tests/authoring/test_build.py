"""The build as a whole: what it makes, what it leaves alone, what `--check` sees."""

import json

import nbformat
import pytest
import texts

from authoring import build as building
from authoring.build import build, check
from course.records import read_record
from unit24.errors import UserError


@pytest.fixture
def no_execution(monkeypatch):
    def refuse(*_):
        raise AssertionError("executed")

    monkeypatch.setattr(building, "execute", refuse)


def edit(course, name, old, new):
    texts.edit(course.lessons / f"{name}.py", old, new)


def test_a_build_makes_solved_and_student_notebooks_and_measures(built_once):
    course, report = built_once
    assert set(report.executed) == {"01_small", "02_other"} == set(report.released)
    solution = nbformat.read(course.solution("01_small"), as_version=4)
    outputs = {c.id: c.outputs for c in solution.cells if c.cell_type == "code"}
    assert outputs["test_double"][0].text == "✓ double: all checks here pass.\n"
    assert outputs["why_sum-1"][0].text == "6\n"
    assert "text/html" in outputs["quiz_end"][0].data
    record = read_record("01_small", course.records)["solution"]
    assert record["source_hash"] == solution.metadata.unit24.source_hash
    assert record["seconds"] > 0 and record["peak_mb"] > 10
    assert check(course.read(), course) == []


def test_a_second_build_does_nothing(built, no_execution):
    before = {p: p.stat().st_mtime_ns for p in built.root.rglob("*") if p.is_file()}
    report = build(built.read(), built)
    assert report.current == ["01_small", "02_other"] and not (report.executed or report.released or report.problems)
    assert before == {p: p.stat().st_mtime_ns for p in built.root.rglob("*") if p.is_file()}


def test_only_what_changed_is_executed(built):
    edit(built, "02_other", "# # Another lesson", "# # Another lesson, better")
    assert check(built.read(), built) == [
        "lessons/02_other.py or setup_cell.py has changed since solutions/02_other/02_other.ipynb was made: run `unit24 build 02_other`"
    ]
    report = build(built.read(), built)
    assert list(report.executed) == ["02_other"] == report.released and report.current == ["01_small"]
    assert "better" in built.notebook("02_other").read_text()
    assert check(built.read(), built) == []


def test_a_changed_wrong_answer_needs_no_run(built, no_execution):
    edit(built, "answers/01_small", "number + 1", "number + 2")
    assert check(built.read(), built) == []
    assert not build(built.read(), built).executed


def test_an_edited_student_notebook_is_seen_and_made_again(built, no_execution):
    made = built.notebook("01_small").read_bytes()
    built.notebook("01_small").write_bytes(texts.replaced(made, (b"Double a number", b"Treble a number")))
    assert check(built.read(), built) == [
        "notebooks/01_small/01_small.ipynb is not what nbgrader makes of the solution: run `unit24 build 01_small`"
    ]
    assert build(built.read(), built).released == ["01_small"]
    assert built.notebook("01_small").read_bytes() == made


def shown(data):
    return {"output_type": "display_data", "data": data, "metadata": {}}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda nb: nb["cells"][3]["source"].append("!"), "was changed by hand"),
        (lambda nb: nb["cells"][3]["metadata"].update(tags=["x"]), "was changed by hand"),
        (lambda nb: nb["cells"][2].update(execution_count=None), "was not executed"),
        (lambda nb: nb["cells"][2]["outputs"].append(shown({"image/png": ""})), "shows in cell"),
        (lambda nb: nb["cells"][2]["outputs"].append(shown({"text/html": "<p>one <IMG src='x'></p>"})), "shows in cell"),
        (lambda nb: nb["cells"][2]["outputs"].append(shown({"text/html": '<img src="x" alt="">'})), "shows in cell"),
        (lambda nb: nb.update(cells=7), "is not a readable notebook"),
        (lambda nb: nb["metadata"].pop("unit24"), "has changed since"),
    ],
)
def test_an_edited_solution_is_seen(built, change, problem):
    path = built.solution("01_small")
    notebook = json.loads(path.read_text())
    change(notebook)
    path.write_text(json.dumps(notebook))
    found = check(built.read(), built)
    assert len(found) == 1 and problem in found[0] and found[0].endswith("run `unit24 build 01_small`")


def test_missing_and_left_over_files_are_named(built):
    built.notebook("01_small").unlink()
    built.solution("02_other").unlink()
    (built.root / "solutions" / "01_small" / "answers.txt").write_text("6")
    (built.root / "solutions" / "01_small" / ".ipynb_checkpoints").mkdir()
    (built.root / "solutions" / "01_small" / ".ipynb_checkpoints" / "x.ipynb").write_text("{}")
    (built.root / "solutions" / "09_gone").mkdir()
    (built.root / "solutions" / "09_gone" / "09_gone.ipynb").write_text("{}")
    (built.notebooks / "09_gone").mkdir()
    (built.lessons / "answers" / "09_gone.py").write_text("")
    problems = "\n".join(check(built.read(), built))
    assert "notebooks/01_small/01_small.ipynb is missing: run" in problems
    assert "solutions/02_other/02_other.ipynb is missing: run" in problems
    assert "solutions/01_small/answers.txt comes from no lesson text" in problems
    assert "solutions/09_gone/09_gone.ipynb has no lesson text" in problems
    assert "notebooks/09_gone has no lesson text" in problems
    assert "lessons/answers/09_gone.py answers no lesson: there is no lessons/09_gone.py" in problems
    assert len(problems.splitlines()) == 6


def test_a_failing_lesson_names_the_line_and_stops_no_other(course):
    edit(course, "01_small", "print(double(start))", "def use(n):\n    return double(n)['x']\n\nprint(use(start))")
    report = build(course.read(), course)
    line = (course.lessons / "01_small.py").read_text().splitlines().index("    return double(n)['x']") + 1
    assert report.problems == [
        f"lessons/01_small.py:{line}: TypeError: 'int' object is not subscriptable (called from line {line + 2})"
    ]
    assert list(report.executed) == ["02_other"]
    assert not course.solution("01_small").exists() and not course.notebook("01_small").exists()


def test_a_failing_check_is_shown_at_its_test_cell(course):
    edit(course, "01_small", "secret_result = number + number", "secret_result = number * number")
    (problem,) = build(course.read(("01",)), course).problems
    line = (course.lessons / "01_small.py").read_text().splitlines().index('with check.exercise("double"):') + 1
    assert problem.startswith(f"lessons/01_small.py:{line}: CheckFailed: ✗ double: double(3) is 9, expected 6")


def test_a_test_cell_that_writes_to_stderr_is_turned_down(course):
    edit(course, "01_small", "check.equal(double(start)", "import sys; print('noise', file=sys.stderr)\n    check.equal(double(start)")
    report = build(course.read(("01",)), course)
    assert len(report.problems) == 1 and "tests='double' writes to stderr" in report.problems[0]
    assert not course.solution("01_small").exists()


def test_a_malformed_lesson_is_one_line(course):
    edit(course, "01_small", "points=2", "point=2")
    with pytest.raises(UserError, match=r"01_small.py:\d+: unknown key 'point' beside tests='double'"):
        course.read()
    assert [lesson.name for lesson in course.readable()] == ["02_other"]
    with pytest.raises(UserError, match="there is no lesson '77'; there are: 01_small, 02_other"):
        course.read(("77",))
