"""The class report: its figures, its files, and what hostile names and messages do to them."""

import csv
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from texts import replaced

from grader.analysis import analyse, mask
from grader.classroom import SampleClass, write_random_class
from grader.grade import find_work, grade_class
from grader.outcomes import Mark, Work
from grader.report import make_report, page, write_report
from grader.similar import CROWD, similar_pairs
from grader.spreadsheets import canvas_rows, csv_files, moodle_rows, to_csv
from unit24.errors import UserError

FIXTURES = Path(__file__).parents[1] / "fixtures"
SMALL = "61_small"
HOSTILE = '<img src=x onerror=alert(1)> & "eve"'
FORMULA = "=HYPERLINK(1)"
UNUSUAL = """
def mean_gap(x, y):
    # {name}'s own way
    pairs = list(zip(x, y))
    if len(pairs) < max(len(x), len(y)):
        raise ValueError("one list is longer")
    gaps = {{}}
    for place, (left, right) in enumerate(pairs):
        gaps.setdefault(place % 3, []).append(left - right)
    sums = [sum(part) for key, part in sorted(gaps.items())]
    while len(sums) > 1:
        sums.append(sums.pop(0) + sums.pop(0))
    return sums[0] / len(pairs)
"""


def submit(root, small, student, sources, answer=""):
    sample = SampleClass(small)
    notebook = sample._notebook(sources)
    for cell in notebook["cells"]:
        if answer and cell["metadata"].get("nbgrader", {}).get("grade_id") == "why_mean":
            cell["source"] = answer
    folder = root / "submitted" / student / SMALL
    folder.mkdir(parents=True)
    (folder / f"{SMALL}.ipynb").write_text(json.dumps(notebook))


@pytest.fixture(scope="module")
def graded(tmp_path_factory, small):
    """A class of 14, graded: two alike, two with hostile names, one unreadable, one answer graded by hand, one late."""
    from nbgrader.api import Gradebook

    root = tmp_path_factory.mktemp("class")
    write_random_class(root, [small], 8)
    reference = {e.id: e.cell.source for e in small.exercises}
    submit(root, small, "ada", reference | {"mean_gap": UNUSUAL.format(name="ada")}, answer="Sums grow <b>with</b> the count.")
    other = replaced(UNUSUAL.format(name="bo"), ("gaps", "differences"), ("place", "n"), ("part", "group"))
    submit(root, small, "bo", reference | {"mean_gap": other})
    submit(root, small, HOSTILE, reference | {"mean_gap": "def mean_gap(x, y):\n    raise KeyError('<script>alert(2)</script>')"})
    submit(root, small, FORMULA, reference)
    submit(root, small, "cy", {"mean_gap": reference["mean_gap"]}, answer="Not graded yet.")
    submit(root, small, "dee", {})
    (root / "submitted" / "dee" / SMALL / f"{SMALL}.ipynb").write_text("{broken")
    list(grade_class(root, find_work(root, ("61",), FIXTURES), lessons=FIXTURES))
    with Gradebook(f"sqlite:///{root / 'gradebook.db'}", "unit24") as gradebook:
        student = gradebook.find_student("bo")
        student.first_name, student.last_name, student.email, student.lms_user_id = "Bo", "Ek", "bo@example.org", "4711"
        grade = gradebook.find_grade("why_mean", SMALL, SMALL, "ada")
        grade.manual_score, grade.needs_manual_grade = 3.0, False
        gradebook.find_comment("why_mean", SMALL, SMALL, "ada").manual_comment = "Say <i>why</i> they grow."
        gradebook.find_submission_notebook(SMALL, SMALL, "bo").late_submission_penalty = 1.5
        gradebook.db.commit()
    return root


@pytest.fixture(scope="module")
def report(graded):
    made = make_report(graded, lessons=FIXTURES)
    write_report(made)
    return made


def table(root, name):
    return list(csv.DictReader(io.StringIO((root / "report" / name).read_text())))


# --------------------------------------------------------------------------------------------------
# Figures


def test_scores_are_those_that_nbgrader_exports(graded, report):
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{graded / 'gradebook.db'}", "unit24") as gradebook:
        expected = {s.student.id: max(0.0, s.score - s.late_submission_penalty) for s in gradebook.assignment_submissions(SMALL)}
    assert {student: work.points for student, work in report.results.work[SMALL].items()} == pytest.approx(expected)
    assert expected["ada"] == 11 and expected["bo"] == 6.5
    said = report.as_dict()["scores"]
    assert said["ada"][SMALL] == {"points": 11, "max_points": 12, "penalty": 0, "waiting": 0}
    assert said["cy"][SMALL]["waiting"] == 1 and said["bo"][SMALL]["penalty"] == 1.5
    json.dumps(report.as_dict())


def works(*rows):
    """Work on exercises a, b, c worth 1, 2, 4 points."""
    return {
        f"s{n}": Work(f"s{n}", "x", {k: Mark(k, "passed", p, m, "", seconds=float(n)) for k, p, m in zip("abc", row, (1, 2, 4))})
        for n, row in enumerate(rows, 1)
    }


def test_difficulty_discrimination_and_time():
    import numpy as np

    rows = [(1, 2, 4), (1, 0, 4), (0, 2, 0), (1, 2, 0), (0, 0, 0), (1, 1, 4)]
    item = analyse("a", 1, 5, works(*rows))
    # The definition, another way: Pearson's r between the exercise and the total without it.
    scores = np.array(rows, dtype=float)
    assert item.discrimination == pytest.approx(np.corrcoef(scores[:, 0], scores[:, 1:].sum(1))[0, 1], abs=1e-4)
    assert item.mean == pytest.approx(4 / 6, abs=1e-4) and item.graded == 6
    assert (item.seconds, item.slowest) == (3.5, 6.0)
    # Where everybody scores alike there is nothing to correlate.
    assert analyse("a", 1, 5, works((1, 0, 0), (1, 2, 4), (1, 2, 0))).discrimination is None
    assert analyse("a", 1, 5, works((1, 0, 0))).discrimination is None
    # An exercise that strong students fail is called low, but not on the word of three.
    inverted = [(1, 0, 0), (0, 2, 4), (1, 0, 0), (0, 1, 4)]
    assert analyse("a", 1, 5, works(*inverted * 5)).weak and not analyse("a", 1, 5, works(*inverted[:3])).weak


def test_marks_that_wait_are_left_out_of_the_statistics():
    work = works((1, 2, 4), (0, 2, 4), (1, 0, 0))
    work["s3"].marks["a"] = Mark("a", "waiting", 0.0, 1, "", waiting=True)
    item = analyse("a", 1, 5, work)
    assert (item.graded, item.waiting, item.mean) == (2, 1, 0.5)


def test_distribution_counts_every_student_once(report):
    (view,) = report.lessons
    assert sum(view.bins) == view.handed_in == 14
    assert view.bins[9] == 1  # ada, 11 of 12


def test_messages_that_differ_in_numbers_are_one():
    assert mask("shape is (3, 5), expected (7, 5)") == mask("shape is (11, 2), expected (4, 40)")
    assert mask("observed -1.5e-07, expected 0.3") == mask("observed 2, expected 1,000.25")
    assert mask("values [1.0, 2.0, 3.5, 4.0, 5.0]") == mask("values [1, 2, 3, 4, 5, 6, 7]")
    assert mask("conv2d is missing") != mask("linear is missing")
    assert mask("float32 expected") != mask("float16 expected")  # a number inside a word is part of it


def test_failures_are_grouped_and_the_most_frequent_stand_first(report):
    counts = [len(f.students) for f in report.failures]
    assert counts == sorted(counts, reverse=True) and counts
    found = [f for f in report.failures if "KeyError" in f.message]
    assert [f.students for f in found] == [(HOSTILE,)]


def test_what_a_person_should_look_at(report):
    assert [(student, lesson) for student, lesson, _ in report.notes] == [("dee", SMALL)]
    assert "not valid JSON" in report.notes[0][2]


# --------------------------------------------------------------------------------------------------
# Alike


def test_copied_code_is_found_under_other_names_and_comments(report):
    assert [(p.students, p.exercises, p.alike) for p in report.pairs] == [(("ada", "bo"), ("mean_gap",), 1.0)]


def test_what_the_lesson_or_the_crowd_writes_is_not_reported(small):
    own = {e.id: [e.cell.source, *(c.source for c in (*e.right, *e.wrong))] for e in small.exercises}
    theirs = small.exercises[0].right[0].source
    slip = replaced(small.exercises[0].cell.source, ("len(x)\n", "len(y)\n"))
    for source in (theirs, slip, "def mean_gap(x, y):\n    return 0", "def broken(:", ""):
        assert similar_pairs(SMALL, {s: {"mean_gap": source} for s in "ab"}, own) == []
    for size, pairs in ((3, 3), (CROWD, CROWD * (CROWD - 1) // 2), (CROWD + 1, 0)):
        work = {f"s{n}": {"mean_gap": UNUSUAL.format(name=n)} for n in range(size)}
        assert len(similar_pairs(SMALL, work, own)) == pairs


def test_nearly_the_same_code_is_found_and_other_code_is_not(small):
    own = {"mean_gap": [small.exercises[0].cell.source]}
    first = UNUSUAL.format(name="a")
    near = replaced(first, ("% 3", "% 4"), ("    gaps =", "    print(x)\n    gaps ="))
    far = """def mean_gap(x, y):
    import itertools
    total = [a for a in x]
    for n, b in itertools.zip_longest(range(len(total)), y):
        try:
            total[n] -= b
        except TypeError as error:
            raise ValueError from error
    return functools.reduce(operator.add, total) / float(len(total))"""
    (pair,) = similar_pairs(SMALL, {"a": {"mean_gap": first}, "b": {"mean_gap": near}, "c": {"mean_gap": far}}, own)
    assert pair.students == ("a", "b") and 0.9 <= pair.alike < 1


def test_the_same_text_everywhere_is_found_though_each_part_is_usual(small):
    own = {e.id: [e.cell.source] for e in small.exercises}
    mine = {e.id: f"# my way\n{e.cell.source}" for e in small.exercises}
    (pair,) = similar_pairs(SMALL, {"a": mine, "b": dict(mine), "c": {e.id: e.cell.source for e in small.exercises}}, own)
    assert pair.same_text and pair.students == ("a", "b") and set(pair.exercises) == set(mine)


# --------------------------------------------------------------------------------------------------
# Files


def test_spreadsheets_get_no_formula(graded, report):
    rows = table(graded, "class.csv")
    assert len(rows) == 14 and {row["total"] for row in rows if row["student"] == "ada"} == {"11"}
    assert f"'{FORMULA}" in [row["student"] for row in rows]
    for name in csv_files(report):
        for row in csv.reader(io.StringIO((graded / "report" / name).read_text())):
            assert not any(value.lstrip()[:1] in tuple("=+@\t") for value in row), (name, row)
    hostile = ["=1", "+1", "-1", "@x", "\t=1", " =1", "\n=1", "＝1", "a=1", "-", 3, -2.5]
    (row,) = csv.reader(io.StringIO(to_csv([hostile])))
    assert row == ["'=1", "'+1", "'-1", "'@x", "'\t=1", "' =1", "'\n=1", "'＝1", "a=1", "-", "3", "-2.5"]


def test_canvas_and_moodle_forms(graded, report):
    lines = list(csv.reader(io.StringIO((graded / "report" / "canvas.csv").read_text())))
    assert lines[0] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", SMALL]
    assert lines[1][0].strip() == "Points Possible" and lines[1][5] == "12"
    assert ["Ek, Bo", "4711", "", "bo", "", "6.5"] in lines
    rows = {row["Username"]: row for row in table(graded, "moodle.csv")}
    assert rows["bo"] == {
        "Username": "bo", "First name": "Bo", "Last name": "Ek", "ID number": "4711", "Email address": "bo@example.org", SMALL: "6.5"
    }  # fmt: skip


def test_a_student_without_a_submission_has_no_score(graded, report, tmp_path):
    """Canvas leaves an empty field as it is, Moodle takes a dash for no grade."""
    from grader.results import Results, Student

    absent = Results(graded, {"zed": Student("zed")}, report.results.lessons, {SMALL: {}})
    assert canvas_rows(absent)[2] == ["zed", "", "", "zed", "", ""] and moodle_rows(absent)[1][-1] == "-"


class Outline(HTMLParser):
    """Tags of a page with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_the_page_needs_nothing_else_and_escapes_what_students_chose(graded, report):
    text = (graded / "report" / "index.html").read_text()
    outline = Outline(text)
    assert text == page(report)  # the same grades give the same page
    for tag, attributes in outline.tags:
        assert tag not in ("img", "link", "iframe", "object", "embed") and "src" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        assert re.match(r"#|\.\./feedback/", attributes.get("href", "#"))
    assert [tag for tag, _ in outline.tags].count("script") == 1
    assert HOSTILE in outline.text and "<script>alert(2)</script>" in outline.text
    names = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(names) == len(set(names))


def test_links_lead_to_feedback_pages(graded, report):
    from urllib.parse import unquote

    links = [a["href"] for tag, a in Outline((graded / "report" / "index.html").read_text()).tags if a.get("href", "").startswith("..")]
    assert len(links) == 14
    for link in links:
        assert (graded / "report" / unquote(link)).is_file()


def test_feedback_has_code_and_manual_grades_but_no_hidden_test(graded, report):
    ada = (graded / "feedback" / "ada" / SMALL / f"{SMALL}.html").read_text()
    assert "11 of 12 points" in ada and "3 / 4" in ada and "own way" in ada
    assert "Say &lt;i&gt;why&lt;/i&gt; they grow." in ada and "Sums grow &lt;b&gt;with&lt;/b&gt; the count." in ada
    bo = (graded / "feedback" / "bo" / SMALL / f"{SMALL}.html").read_text()
    assert "6.5 of 12 points" in bo and "1.5 points for handing in late" in bo
    cy = (graded / "feedback" / "cy" / SMALL / f"{SMALL}.html").read_text()
    assert "4 more to be graded by hand" in cy and "? / 4" in cy
    for path in [*graded.glob("feedback/*/*/*.html"), graded / "report" / "index.html"]:
        assert "secret_answer" not in path.read_text(), path


def test_feedback_for_a_person_who_graded_what_cannot_be_read(tmp_path, small):
    """The page shows what there is: no code and no answer of an unreadable notebook, but points and comment."""
    from nbgrader.api import Gradebook

    submit(tmp_path, small, "dee", {})
    (tmp_path / "submitted" / "dee" / SMALL / f"{SMALL}.ipynb").write_text("{broken")
    list(grade_class(tmp_path, find_work(tmp_path, ("61",), FIXTURES), lessons=FIXTURES))
    with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}", "unit24") as gradebook:
        gradebook.find_grade("why_mean", SMALL, SMALL, "dee").manual_score = 2.0
        gradebook.find_comment("mean_gap", SMALL, SMALL, "dee").manual_comment = "Seen on paper."
        gradebook.db.commit()
    write_report(make_report(tmp_path, lessons=FIXTURES))
    text = (tmp_path / "feedback" / "dee" / SMALL / f"{SMALL}.html").read_text()
    assert "2 of 12 points" in text and "Seen on paper." in text and "not valid JSON" in text


# --------------------------------------------------------------------------------------------------
# The command


def command(*arguments):
    call = [str(Path(sys.executable).with_name("unit24")), "report", *map(str, arguments), "--lessons", str(FIXTURES)]
    return subprocess.run(call, capture_output=True, text=True, timeout=120)


def test_the_command(graded, report, tmp_path):
    done = command("--root", graded)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "14 handed in" in done.stdout and "mean_gap" in done.stdout and "1 pair alike" in done.stdout
    said = json.loads(command("--root", graded, "--lesson", "61", "--json").stdout)
    assert said["lessons"][SMALL]["handed_in"] == 14 and Path(said["page"]).is_file()

    for arguments, words in ((("--root", tmp_path), "grade the class first"), (("--root", graded, "--lesson", "99"), "no lesson '99'")):
        done = command(*arguments)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and words in done.stderr


def test_a_gradebook_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "gradebook.db").write_text("not a database at all, but long enough to look at" * 20)
    with pytest.raises(UserError, match="cannot be read: file is not a database"):
        make_report(tmp_path, lessons=FIXTURES)
