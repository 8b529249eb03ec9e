"""Grading a class: the sample class, again and again, on good days and bad."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from texts import copy_lesson, edit

from grader.classroom import write_random_class, write_sample_class
from grader.grade import find_work, grade_class
from unit24.errors import UserError

FIXTURES = Path(__file__).parents[1] / "fixtures"


def grade(root, lessons=FIXTURES, **options):
    return {r.student: r for r in grade_class(root, find_work(root, ("61",), lessons), lessons=lessons, **options)}


def command(root, *arguments, lessons=FIXTURES, **options):
    call = [str(Path(sys.executable).with_name("unit24")), *arguments, "--root", str(root), "--lessons", str(lessons)]
    return subprocess.run(call, capture_output=True, text=True, timeout=120, **options)


def journal_lines(root):
    return (root / ".unit24" / "verdicts" / "61_small.jsonl").read_text().splitlines()


def scores(root):
    query = """select s.student_id, c.name, g.auto_score, g.manual_score, g.needs_manual_grade
               from grade g join base_cell c on g.cell_id = c.id join submitted_notebook n on g.notebook_id = n.id
               join submitted_assignment s on n.assignment_id = s.id"""
    with sqlite3.connect(root / "gradebook.db") as db:
        return {(student, cell): rest for student, cell, *rest in db.execute(query)}


@pytest.fixture(scope="module")
def graded(tmp_path_factory, small):
    """The sample class, graded once."""
    root = tmp_path_factory.mktemp("class")
    expected = write_sample_class(root, [small])
    return root, expected, grade(root)


@pytest.fixture
def few(tmp_path, small):
    """A random class of four, not yet graded."""
    write_random_class(tmp_path, [small], 4)
    return tmp_path


def test_the_sample_class_gets_what_it_must(graded):
    root, expected, records = graded
    assert len(expected) >= 12
    got = {s: {e: v.points for e, v in r.exercises.items()} for s, r in records.items()}
    assert got == {student: lessons["61_small"] for student, lessons in expected.items()}


def test_the_gradebook_holds_the_same_scores(graded):
    root, expected, _ = graded
    stored = scores(root)
    for student, lessons in expected.items():
        for exercise, points in lessons["61_small"].items():
            assert stored[student, f"test_{exercise}"][0] == points
        # a written answer waits for a person only if there is one
        assert stored[student, "why_mean"] == [0.0, None, 0]


def test_nbgrader_reads_the_same_scores_from_autograded(graded):
    """`determine_grade` is what stock nbgrader would make of our outputs."""
    import nbformat
    from nbgrader.utils import determine_grade

    root, expected, _ = graded
    for student, lessons in expected.items():
        notebook = nbformat.read(root / "autograded" / student / "61_small" / "61_small.ipynb", as_version=4)
        found = {c.metadata.nbgrader.grade_id: determine_grade(c)[0] for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade") and c.cell_type == "code"}
        assert found == {f"test_{e}": p for e, p in lessons["61_small"].items()}, student


def test_students_see_messages_but_no_hidden_test(graded):
    root, _, records = graded
    page = (root / "feedback" / "first_mistakes" / "61_small" / "61_small.html").read_text()
    assert "divided by the count" in page
    for path in [*root.glob("feedback/**/*.html"), *root.glob("autograded/**/*.ipynb")]:
        assert "secret_answer" not in path.read_text()


def test_a_second_run_judges_nothing(graded):
    root, _, records = graded
    before = journal_lines(root)
    assert {s: r.points for s, r in grade(root).items()} == {s: r.points for s, r in records.items()}
    assert journal_lines(root) == before


def test_only_what_changed_is_judged_again(few, tmp_path_factory, small):
    lessons = tmp_path_factory.mktemp("lessons")
    path = copy_lesson(small.path, lessons)
    grade(few, lessons)
    edit(path, "8.5 / 3 + 1", "8.5 / 3 + 1.0")
    before = journal_lines(few)
    grade(few, lessons)
    again = [json.loads(line)["verdict"]["exercise"] for line in journal_lines(few)[len(before) :]]
    assert set(again) == {"gap_plus_one"}


def test_a_broken_last_line_is_no_loss(few):
    """A disk that filled up leaves half a line; what came before it counts, and it is judged again."""
    points = {s: r.points for s, r in grade(few).items()}
    path = few / ".unit24" / "verdicts" / "61_small.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    assert {s: r.points for s, r in grade(few).items()} == points


def test_manual_grades_and_penalties_survive(few):
    grade(few)
    with sqlite3.connect(few / "gradebook.db") as db:
        db.execute("update grade set manual_score = 1.5 where cell_id in (select id from base_cell where name = 'why_mean' and type = 'GradeCell')")
        db.execute("update submitted_notebook set late_submission_penalty = 0.5")
    grade(few, force=True)
    assert all(v[1] == 1.5 for (_, cell), v in scores(few).items() if cell == "why_mean")
    with sqlite3.connect(few / "gradebook.db") as db:
        assert {p for (p,) in db.execute("select late_submission_penalty from submitted_notebook")} == {0.5}


def test_late_penalties_are_those_of_nbgraders_plugin(few):
    """A due date and a method of penalties were set: stock nbgrader took points, we took none, without a word."""
    grade(few)
    (few / "late.py").write_text(
        "from nbgrader.plugins import BasePlugin\n"
        "class ATenthADay(BasePlugin):\n"
        "    def late_submission_penalty(self, student_id, score, total_seconds_late):\n"
        "        return 0.1 * score * round(total_seconds_late / 86400)\n"
    )
    (few / "nbgrader_config.py").write_text("c = get_config()\nc.AssignLatePenalties.plugin_class = 'late.ATenthADay'\n")
    for student, day in (("s00001", 1), ("s00002", 3), ("s00003", 3)):
        (few / "submitted" / student / "61_small" / "timestamp.txt").write_text(f"2026-03-0{day} 12:00:00 UTC")
    with sqlite3.connect(few / "gradebook.db") as db:
        db.execute("update assignment set duedate = '2026-03-01 12:00:00'")
        db.execute("update submitted_assignment set extension = '1970-01-02 00:00:00' where student_id = 's00003'")
    points = {student: record.points for student, record in grade(few).items()}
    with sqlite3.connect(few / "gradebook.db") as db:
        query = "select a.student_id, n.late_submission_penalty from submitted_notebook n join submitted_assignment a on n.assignment_id = a.id"
        taken = {student: penalty or 0.0 for student, penalty in db.execute(query)}
    days = {"s00001": 0, "s00002": 2, "s00003": 1, "s00004": 0}
    assert taken == {student: pytest.approx(0.1 * days[student] * points[student]) for student in days}


def test_a_written_answer_waits_for_a_person(few):
    path = few / "submitted" / "s00001" / "61_small" / "61_small.ipynb"
    notebook = json.loads(path.read_text())
    next(c for c in notebook["cells"] if c["id"] == "why_mean")["source"] = "Because of the count."
    path.write_text(json.dumps(notebook))
    assert grade(few)["s00001"].waiting == ["why_mean"]
    assert scores(few)["s00001", "why_mean"] == [None, None, 1]


def test_stray_files_are_named_and_left_out(few):
    (few / "submitted" / "notes.txt").write_text("hello")
    (few / "submitted" / "s00001" / "99_nothing").mkdir()
    (few / "submitted" / "s00002" / "61_small" / "61_small.ipynb").unlink()
    done = command(few, "grade", "61", "--json")
    told = json.loads(done.stdout)
    assert len(told["submissions"]) == 4
    assert any("notes.txt" in s for s in told["stray"]) and any("99_nothing" in s for s in told["stray"])
    (missing,) = [s for s in told["submissions"] if s["student"] == "s00002"]
    assert missing["status"] == "no notebook" and missing["points"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("grade", "77"), "there is no lesson '77'"), (("grade", "61"), "submitted")],
)
def test_wrong_use_is_one_line(tmp_path, arguments, words):
    if arguments[1] == "77":
        (tmp_path / "submitted").mkdir()
    done = command(tmp_path, *arguments)
    assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1


def test_a_gradebook_that_is_no_database(few):
    (few / "gradebook.db").write_text("not a database, but long enough to be looked at by sqlite as a header")
    done = command(few, "grade", "61")
    assert done.returncode == 2 and "gradebook.db" in done.stderr and done.stderr.count("\n") == 1
    assert not (few / "autograded").exists()


def test_one_writer_at_a_time(few):
    from grader.gradebook import exclusive

    with exclusive(few), pytest.raises(UserError, match="another grading run"):
        grade(few)


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounting a small disk needs root")
def test_a_full_disk_leaves_nothing_half_written(tmp_path, small):
    """One line that says where, no broken notebook or gradebook, and with space the run goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this machine mounts nothing")
    try:
        write_random_class(disk, [small], 6)
        (disk / "filler").write_bytes(b"x" * (os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize - 260_000))
        done = command(disk, "grade", "61")
        assert done.returncode in (1, 2) and done.stderr.count("\n") == 1, done.stderr
        for path in disk.glob("autograded/**/*.ipynb"):
            json.loads(path.read_text())
        assert not list(disk.glob("**/*.part"))
        (disk / "filler").unlink()
        assert len(grade(disk)) == 6
    finally:
        subprocess.run(["umount", disk], capture_output=True)


def test_a_class_released_with_a_seed_is_graded_with_it(few, tmp_path_factory, small):
    lessons = tmp_path_factory.mktemp("seeded")
    copy_lesson(
        small.path,
        lessons,
        ("def helper(x):\n    return x + 1", "STEP = 1  # release: seed\n\n\ndef helper(x):\n    return x + STEP"),
        ('2.5, "the gap', '1.5 + STEP, "the gap'),
        ("8.5 / 3 + 1,", "8.5 / 3 + STEP,"),
    )
    path = few / "submitted" / "s00001" / "61_small" / "61_small.ipynb"
    notebook = json.loads(path.read_text())
    next(c for c in notebook["cells"] if c["id"] == "gap_plus_one")["source"] = "def gap_plus_one(x, y):\n    return mean_gap(x, y) + 7"
    path.write_text(json.dumps(notebook))
    for options, points in (((), 0), (("--seed", "7"), 3)):
        told = json.loads(command(few, "grade", "61", "--json", *options, lessons=lessons).stdout)
        (mine,) = [s for s in told["submissions"] if s["student"] == "s00001"]
        assert mine["exercises"]["gap_plus_one"]["points"] == points


def test_json_and_table(graded):
    root, expected, _ = graded
    told = json.loads(command(root, "grade", "61", "--json").stdout)
    assert set(told) >= {"submissions", "isolation", "seconds"}
    one = told["submissions"][0]
    assert set(one) >= {"student", "lesson", "points", "max_points", "status", "exercises"}
    assert set(one["exercises"]["mean_gap"]) >= {"status", "points", "message", "seconds"}
    table = command(root, "grade", "61").stdout
    assert all(student in table for student in expected)


def test_a_score_without_a_cell_in_the_gradebook_is_an_error(few, small):
    """It was left out without a word: nothing but a zero in the gradebook told of it."""
    from grader.gradebook import Forms, Gradebook
    from grader.submission import LessonCells, read_submitted

    submission = read_submitted(few, "s00001", LessonCells(small))
    with Gradebook(few) as gradebook:
        gradebook.register(Forms(small))
        for scores, comments in (({"test_mean_gapp": 2.0}, {}), ({}, {"mean_gapp": "no"})):
            with pytest.raises(KeyError, match="no cell .*mean_gapp"):
                gradebook.write(submission, scores, comments)


def test_names_that_look_like_markup_are_printed_as_they_are(few):
    """rich took ``[red]`` for a style and left it out of the table, and stopped at ``[/b]`` with a traceback."""
    (few / "submitted" / "s00001").rename(few / "submitted" / "[red]eve")
    (few / "submitted" / "[" / "b]").mkdir(parents=True)
    done = command(few, "grade", "61")
    assert done.returncode == 0 and "[red]eve" in done.stdout and "submitted/[/b]" in done.stdout, done.stderr
