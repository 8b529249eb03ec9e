"""Lesson text -> instructor notebook: ids, metadata, what is in it and what is not."""

import json

import nbformat
import pytest

from course import address
from course.lesson import LessonError
from course.notebook import as_text, instructor_notebook, lesson_line, student_source
from unit24 import __version__, quiz
from unit24.errors import UserError

SETUP = 'LESSON = "NN_name"  # which one\nNEEDS = []\nPOINTS = {}\nimport unit24\n'


@pytest.fixture
def notebook(lesson_from):
    return instructor_notebook(lesson_from(), SETUP)


def cell(notebook, name):
    return next(c for c in notebook.cells if c.id == name)


def test_ids_come_from_names(notebook):
    assert [c.id for c in notebook.cells] == [
        "intro-1",
        "setup",
        "setup-1",
        "setup-2",
        "double",
        "double-1",
        "test_double",
        "test_double-1",
        "why_sum",
        "why_sum-1",
        "quiz_end",
        "progress",
    ]


def test_an_added_cell_leaves_ids_after_the_next_name_alone(notebook, lesson_from):
    more = instructor_notebook(lesson_from(("# %% [markdown]\n# Double a", "# %%\nx = 1\n\n# %% [markdown]\n# Double a")), SETUP)
    kept = [c.id for c in notebook.cells]
    assert [c.id for c in more.cells] == [*kept[:4], "setup-3", *kept[4:]]


def test_the_same_text_gives_the_same_bytes(lesson_from):
    first, second = (as_text(instructor_notebook(lesson_from(), SETUP)) for _ in range(2))
    assert first == second
    assert "jupytext" not in first and "lines_to_next_cell" not in first
    nbformat.validate(nbformat.reads(first, as_version=4))


def test_nbgrader_metadata(notebook):
    about = {c.id: c.metadata.get("nbgrader") for c in notebook.cells}
    common = {"schema_version": 3, "task": False}
    assert about.pop("double") == {"grade": False, "grade_id": "double", "locked": False, "solution": True, **common}
    tests = {"grade": True, "grade_id": "test_double", "locked": True, "points": 2, "solution": False, **common}
    assert about.pop("test_double") == tests
    answer = {"grade": True, "grade_id": "why_sum", "locked": False, "points": 1.5, "solution": True, **common}
    assert about.pop("why_sum") == answer
    assert set(about.values()) == {None}


def test_what_a_student_need_not_read_is_folded_to_one_line(notebook):
    """A third of a notebook's lines were test code, unfolded, and 39 lines of set-up stood first on the screen."""
    folded = {c.id for c in notebook.cells if c.metadata.get("jupyter", {}).get("source_hidden")}
    assert folded == {"setup", "test_double", "quiz_end"}
    for c in notebook.cells:
        colab, kaggle = c.metadata.get("cellView") == "form", c.metadata.get("_kg_hide-input") is True
        assert (c.id in folded) == colab == kaggle == c.source.startswith("# @title ")
    assert cell(notebook, "test_double").source.splitlines()[0] == "# @title Tests of exercise 1 · 2 points: run me"


def test_what_is_for_the_audit_alone_is_left_out(notebook):
    text = as_text(notebook)
    assert "misunderstood" not in text and "sum([value" not in text and "(number) + (number)" not in text


def test_the_rubric_stands_below_the_model_answer(notebook):
    source = cell(notebook, "why_sum").source
    assert source.index("added to itself") < source.index("\n---\n") < source.index("**Rubric**") < source.index("One point for")


def test_the_quiz_shows_no_answer_in_its_source(notebook):
    source = cell(notebook, "quiz_end").source
    assert source.startswith('# @title Quiz: run me\nfrom unit24 import quiz\n\nquiz.ask("01_small", "end", "')
    for secret in ("four", "Exactly", "twenty", "double", "true"):
        assert secret not in source.split('"end"')[1]
    opaque = source.split('"')[-2]
    assert quiz.unseal("01_small", "end", opaque)[0][1][0] == ["four, of course", True, "Exactly: two and two."]


def test_the_setup_cell_is_for_this_lesson(lesson_from):
    header = "# ---\n# jupyter:\n#   unit24:\n#     needs: ['peft>=0.21']\n# ---\n\n# %% [markdown]\n# # Small"
    notebook = instructor_notebook(lesson_from(("# %% [markdown]\n# # Small", header)), SETUP)
    assert cell(notebook, "setup").source == '# @title Set-up: run me first\nLESSON = "01_small"  # which one\nNEEDS = ["peft>=0.21"]\nPOINTS = {"double": 2.0}\nimport unit24'
    assert notebook.metadata.unit24.needs == ["peft>=0.21"] and notebook.metadata.unit24.lesson == "01_small"
    with pytest.raises(UserError, match="setup_cell.py: expected one line that begins with `NEEDS = `, found 0"):
        instructor_notebook(lesson_from(), 'LESSON = "NN_name"\n')


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("number + 1", "number + 2", True),  # a wrong answer is in no notebook
        ("number + number", "number * 2", False),
        ("visible to everybody", "seen by all", False),
        ("One point for", "Two points for", False),
        ("points=2", "points=3", False),
        ("Exactly: two", "Yes: two", False),
    ],
)
def test_the_hash_changes_with_what_the_notebook_holds(notebook, lesson_from, old, new, same):
    changed = instructor_notebook(lesson_from((old, new)), SETUP)
    assert (changed.metadata.unit24.source_hash == notebook.metadata.unit24.source_hash) is same


def test_the_hash_changes_with_the_setup_cell(notebook, lesson_from):
    changed = instructor_notebook(lesson_from(), SETUP + "print('hello')\n")
    assert changed.metadata.unit24.source_hash != notebook.metadata.unit24.source_hash


def test_what_a_student_sees_of_each_cell(lesson_from):
    seen = {c.role: student_source(c) for c in lesson_from().cells if c.role != "unmarked"}
    assert "raise NotImplementedError()" in seen["exercise"] and "secret_result" not in seen["exercise"]
    assert "double(start)" in seen["tests"] and "-17" not in seen["tests"]
    assert not any(seen[role] for role in ("wrong", "right", "equivalent", "answer", "rubric", "quiz"))


def test_a_line_of_a_generated_cell_is_found_in_the_text(lesson_from):
    lesson = lesson_from()
    lines = lesson.path.read_text().splitlines()
    assert lines[lesson_line(lesson, "double", 4) - 1].strip() == "secret_result = number + number"
    assert lines[lesson_line(lesson, "test_double", 2) - 1].startswith("with check.exercise")
    assert lines[lesson_line(lesson, "setup", 20) - 2] == "# %% setup"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '    check.equal(double(start), 6, "double(3)", "is it added once?")\n    ### BEGIN',
            "    ### BEGIN",
            r"small.py:\d+: tests='double' is not valid Python without its hidden tests",
        ),
        ("    ### BEGIN SOLUTION", "    if True:\n      pass\n     ### BEGIN SOLUTION", "not valid Python without its solution"),
        ('answer="why_sum"', 'answer="test_double"', r"small.py:\d+: two cells would be called 'test_double' \(the other at line 28\)"),
        ('quiz="end"', f'quiz="{"e" * 60}"', "is longer than 64 characters"),
    ],
)
def test_a_cell_that_makes_no_notebook_is_named_with_its_line(lesson_from, old, new, message):
    with pytest.raises(LessonError, match=message):
        replacements = [(old, new)]
        if "answer=" in old:
            replacements.append(('rubric="why_sum"', 'rubric="test_double"'))
        instructor_notebook(lesson_from(*replacements), SETUP)


def test_a_notebook_is_plain_json_with_sorted_keys(notebook):
    text = as_text(notebook)
    assert json.dumps(json.loads(text), indent=1, sort_keys=True, ensure_ascii=False) + "\n" == text


def test_what_follows_from_the_repositorys_address(lesson_from, monkeypatch):
    """Buttons and the package's source, of the release's tag; without an address (a private copy) neither."""
    plain = instructor_notebook(lesson_from(), SETUP + 'SOURCE = ""\n')
    assert "colab" not in as_text(plain) and 'SOURCE = ""' in cell(plain, "setup").source
    monkeypatch.setattr(address, "repository", lambda: "https://github.com/us/course")
    notebook = instructor_notebook(lesson_from(), SETUP + 'SOURCE = ""\n')
    title, _, links, *_ = cell(notebook, "intro-1").source.splitlines()
    where = f"us/course/blob/v{__version__}/notebooks/01_small/01_small.ipynb"
    assert title == "# Small numbers" and f"colab.research.google.com/github/{where}" in links and f"src=https://github.com/{where}" in links
    assert f'SOURCE = "git+https://github.com/us/course@v{__version__}"' in cell(notebook, "setup").source
    monkeypatch.setattr(address, "repository", lambda: "https://git.example.org/course")
    assert "colab" not in as_text(instructor_notebook(lesson_from(), SETUP))


def test_a_picture_is_in_the_notebook_itself(lesson_from):
    told = "# ![a grid of \"programs\" beside memory](pictures/20_program.svg)"
    source = cell(instructor_notebook(lesson_from(("# Double a number.", told)), SETUP), "setup-2").source
    assert source.startswith('<img src="data:image/svg+xml;base64,') and 'alt="a grid of &quot;programs&quot; beside memory"' in source
