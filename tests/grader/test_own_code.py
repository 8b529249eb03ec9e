"""A notebook that passes its visible tests in a kernel gets its points: kinds of trouble that students really have.

Each case edits the notebook of a student whose answers are right, as people do, and passes when its cells are run from top
to bottom in a kernel.  All are graded as one class.
"""

import json
import os
import re
from pathlib import Path

import pytest

from course.lesson import read
from grader.classroom import SampleClass
from grader.grade import find_work, grade_class
from grader.syntax import plain_python

FIXTURES = Path(__file__).parents[1] / "fixtures"
RIGHT = {
    "mean_gap": "def mean_gap(x, y):\n    if len(x) != len(y):\n        raise ValueError\n    return sum(a - b for a, b in zip(x, y)) / len(x)\n",
    "gap_plus_one": "def gap_plus_one(x, y):\n    return helper(mean_gap(x, y))\n",
    "check_even": "def check_even(is_even):\n    assert is_even(-4)\n    assert not is_even(3)\n",
}
SPLIT = RIGHT["mean_gap"].partition("    return")


class Notebook:
    """A student's notebook, edited step by step."""

    def __init__(self, sample):
        self.content = sample._notebook(RIGHT)

    @property
    def cells(self):
        return self.content["cells"]

    def at(self, name):
        return next(i for i, cell in enumerate(self.cells) if cell["metadata"].get("nbgrader", {}).get("grade_id", cell["id"]) == name)

    def write(self, name, source):
        self.cells[self.at(name)]["source"] = source

    def before(self, name, *sources):
        place = self.at(name)
        self.cells[place:place] = [{"cell_type": "code", "id": f"own{place}{n}", "metadata": {}, "outputs": [], "source": s} for n, s in enumerate(sources)]

    def prepend(self, name, line):
        self.write(name, f"{line}\n{self.cells[self.at(name)]['source']}")

    def copy(self, name, source):
        """A cell below with the same metadata, as editors make it when a cell is split or copied."""
        place = self.at(name)
        self.cells.insert(place + 1, {**json.loads(json.dumps(self.cells[place])), "id": "copied", "source": source})


USES = "def mean_gap(x, y):\n    if len(x) != len(y):\n        raise ValueError\n    return sum(a - b for a, b in zip(x, y)) / {}\n"
KINDS = {}


def kind(function):
    KINDS[function.__name__] = function
    return function


@kind
def scratch_cell_binds_local_names(n):
    n.before("mean_gap", "x = y = total = None\nlosses = 1 / 0")


@kind
def split_cell(n):
    n.write("mean_gap", "import statistics\n\ndef gaps(x, y):\n    if len(x) != len(y):\n        raise ValueError\n    return [a - b for a, b in zip(x, y)]")
    n.copy("mean_gap", "def mean_gap(x, y):\n    return statistics.mean(gaps(x, y))")


@kind
def copied_cell_of_an_older_try(n):
    n.copy("mean_gap", RIGHT["mean_gap"])
    n.write("mean_gap", "def mean_gap(x, y):\n    return 0")


@kind
def merged_cells(n):
    n.write("mean_gap", RIGHT["mean_gap"] + "\n" + RIGHT["gap_plus_one"])
    del n.cells[n.at("gap_plus_one")]


@kind
def answer_below_a_stub_that_was_touched(n):
    """Random notebooks found it: the stub's cell, with a magic or a check of the student's added, was taken for the answer."""
    n.write("mean_gap", "%matplotlib inline\ndef mean_gap(x, y):\n    raise NotImplementedError\n")
    n.before("test_mean_gap", "def gap(x, y):\n    return mean_gap(x, y) / 0", RIGHT["mean_gap"], "1 / 0")


@kind
def answer_below_an_older_try_in_the_tests_cell(n):
    n.write("mean_gap", "mean_gap = None")
    n.prepend("test_mean_gap", RIGHT["mean_gap"])


@kind
def settings_below_the_answer(n):
    n.write("mean_gap", USES.format("LENGTH['of'](x)"))
    n.before("test_mean_gap", "LENGTH = {}", "LENGTH['of'] = len")


@kind
def import_in_the_setup_cell(n):
    n.prepend("setup", "import statistics")
    n.write("mean_gap", "def mean_gap(x, y):\n    if len(x) != len(y):\n        raise ValueError\n    return statistics.mean(a - b for a, b in zip(x, y))")


@kind
def helper_in_a_tests_cell(n):
    n.prepend("test_mean_gap", "def one_more(v):\n    return v + 1\n")
    n.write("gap_plus_one", "def gap_plus_one(x, y):\n    return one_more(mean_gap(x, y))")


@kind
def import_beside_a_copy_of_the_tests(n):
    n.before("gap_plus_one", "import statistics as st\n" + n.cells[n.at("test_mean_gap")]["source"])
    n.write("gap_plus_one", "def gap_plus_one(x, y):\n    return st.mean(a - b for a, b in zip(x, y)) + 1")


@kind
def own_cell_changes_a_dictionary(n):
    n.before("mean_gap", "TABLE = {}", "TABLE['count'] = len")
    n.write("mean_gap", USES.format("TABLE['count'](x)"))


@kind
def own_cell_appends(n):
    n.before("mean_gap", "STEPS = []", "STEPS.append(len)")
    n.write("mean_gap", USES.format("STEPS[0](x)"))


@kind
def own_cell_adds_in_place(n):
    n.before("mean_gap", "ONE = 0", "ONE += 1")
    n.write("mean_gap", USES.format("(len(x) * ONE)"))


@kind
def own_cell_adds_a_method(n):
    n.before("mean_gap", "class Row:\n    pass", "Row.size = staticmethod(len)")
    n.write("mean_gap", USES.format("Row.size(x)"))


@kind
def own_cell_imports_everything(n):
    n.before("mean_gap", "from statistics import *")
    n.write("mean_gap", "def mean_gap(x, y):\n    if len(x) != len(y):\n        raise ValueError\n    return mean(a - b for a, b in zip(x, y))")


@kind
def own_function_sets_a_global(n):
    n.before("mean_gap", "def begin():\n    global size\n    size = len\n", "begin()")
    n.write("mean_gap", USES.format("size(x)"))


@kind
def a_module_written_by_a_cell(n):
    n.before("mean_gap", "%%writefile my_gaps.py\ndef size(x):\n    return len(x)\n")
    n.write("mean_gap", "from my_gaps import size\n\n" + USES.format("size(x)"))


@kind
def a_name_of_the_lesson_made_otherwise(n):
    n.before("gap_plus_one", "def helper(v, step=1):\n    return v + step")
    n.write("gap_plus_one", "def gap_plus_one(x, y):\n    return helper(mean_gap(x, y), step=1)")


@kind
def a_name_that_comes_from_an_earlier_answer(n):
    n.write("mean_gap", RIGHT["mean_gap"] + "\nmean_gap.unit = 1\n")
    n.write("gap_plus_one", "def gap_plus_one(x, y):\n    return mean_gap(x, y) + mean_gap.unit")


@kind
def commands(n):
    n.write("mean_gap", "%matplotlib inline\nfiles = !ls\nmean?\n%time unit = 1\n" + USES.format("len(x) * unit"))


@kind
def timed_cell(n):
    n.write("mean_gap", "%%time\nfrom __future__ import annotations\n" + RIGHT["mean_gap"])


@kind
def awaits(n):
    n.before("mean_gap", "import asyncio\nunit = await asyncio.sleep(0, 1)")
    n.write("mean_gap", USES.format("len(x) * unit"))


@kind
def brackets_in_comments(n):
    n.write("mean_gap", "# :(\n%matplotlib inline\n# 1)\n" + RIGHT["mean_gap"])


@kind
def blanks_at_the_end_of_a_line_in_a_string(n):
    n.write("mean_gap", 'TEXT = """two  \nblanks"""\nassert len(TEXT) == 12\n' + USES.format("(len(x) * (TEXT.count(' ') == 2))"))


@kind
def half_an_emoji(n):
    n.write("mean_gap", "# well done \ud83d\n" + RIGHT["mean_gap"])


@kind
def only_ids(n):
    for cell in n.cells:
        cell["id"], cell["metadata"] = cell["metadata"].get("nbgrader", {}).get("grade_id", cell["id"]), {}


@pytest.fixture(scope="module")
def sample():
    return SampleClass(read(FIXTURES / "61_small.py"))


@pytest.fixture(scope="module")
def graded(tmp_path_factory, sample):
    root = tmp_path_factory.mktemp("class")
    for name, edit in KINDS.items():
        notebook = Notebook(sample)
        edit(notebook)
        path = root / "submitted" / name / "61_small" / "61_small.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(notebook.content))
    return {r.student: r for r in grade_class(root, find_work(root, ("61",), FIXTURES), lessons=FIXTURES)}


@pytest.mark.parametrize("name", KINDS)
def test_what_a_kernel_accepts_gets_its_points(graded, name):
    verdicts = graded[name].exercises
    assert {e: v.points for e, v in verdicts.items()} == {"mean_gap": 2, "gap_plus_one": 3, "check_even": 3}, [v.message for v in verdicts.values()]


def test_a_message_says_in_whose_company_an_answer_was_judged(graded):
    told = graded["own_cell_changes_a_dictionary"].exercises["mean_gap"].message
    assert re.search(r"Judged with the cells that change what it uses: cell \d+, \d+", told)


FILES = {
    "copy_of": ("Copy of 61_small.ipynb", "utf-8"),
    "downloaded_twice": ("61_small (1).ipynb", "utf-8"),
    "jupyter_copy": ("61_small-Copy1.ipynb", "utf-8"),
    "mail_program": ("61_small.ipynb.txt", "utf-8"),
    "kaggle": ("__notebook__.ipynb", "utf-8"),
    "windows_editor": ("61_small.ipynb", "utf-16"),
}


def test_renamed_files_are_read(tmp_path, sample):
    """They got 0 and "No such file", or the untouched original beside them was graded without a word."""
    text = json.dumps(Notebook(sample).content)
    for student, (name, encoding) in FILES.items():
        folder = tmp_path / "submitted" / student / "61_small"
        folder.mkdir(parents=True)
        (folder / name).write_text(text, encoding=encoding)
    both = tmp_path / "submitted" / "both" / "61_small"
    both.mkdir(parents=True)
    (both / "61_small (1).ipynb").write_text(text)
    os.utime(both / "61_small (1).ipynb", (1, 1))
    (both / "61_small.ipynb").write_text(json.dumps(sample._notebook({})))
    records = {r.student: r for r in grade_class(tmp_path, find_work(tmp_path, ("61",), FIXTURES), lessons=FIXTURES)}
    assert {s: r.points for s, r in records.items()} == dict.fromkeys([*FILES, "both"], 8)
    assert "'Copy of 61_small.ipynb'" in records["copy_of"].findings[0]
    assert "'61_small (1).ipynb', the latest with work in it, was graded; not '61_small.ipynb'" in records["both"].findings[0]


def test_format_3_is_read(tmp_path, sample):
    old = Notebook(sample).content
    cells = [{**cell, "input": cell["source"]} if cell["cell_type"] == "code" else cell for cell in old["cells"]]
    for cell in cells:
        if cell["cell_type"] == "code":
            del cell["source"]
    folder = tmp_path / "submitted" / "ada" / "61_small"
    folder.mkdir(parents=True)
    (folder / "61_small.ipynb").write_text(json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": cells}]}))
    (record,) = grade_class(tmp_path, find_work(tmp_path, ("61",), FIXTURES), lessons=FIXTURES)
    assert record.points == 8


def test_many_commands_do_not_hold_up_the_class():
    """240 kB of lines that begin with % took minutes, before any limit was looked at."""
    assert plain_python("%x\n" * 60_000).startswith("%x")


def test_a_pipe_as_timestamp_is_passed_over(tmp_path, sample):
    folder = tmp_path / "submitted" / "ada" / "61_small"
    folder.mkdir(parents=True)
    (folder / "61_small.ipynb").write_text(json.dumps(Notebook(sample).content))
    os.mkfifo(folder / "timestamp.txt")
    (record,) = grade_class(tmp_path, find_work(tmp_path, ("61",), FIXTURES), lessons=FIXTURES)
    assert record.points == 8


def test_a_name_or_a_right_that_is_odd_stops_nobody(tmp_path, sample):
    """A folder name that is not UTF-8, or one that may not be entered, once stopped the whole class without naming it."""
    for student in (b"ada", b"caf\xe9", b"red\x1b[31m", b"locked"):
        folder = os.path.join(os.fsencode(tmp_path), b"submitted", student, b"61_small")
        os.makedirs(folder)
        with open(os.path.join(folder, b"61_small.ipynb"), "w") as file:
            json.dump(Notebook(sample).content, file)
    locked = tmp_path / "submitted" / "locked"
    locked.chmod(0)
    try:
        work = find_work(tmp_path, ("61",), FIXTURES)
        records = list(grade_class(tmp_path, work, lessons=FIXTURES))
    finally:
        locked.chmod(0o755)
    assert "ada" in [r.student for r in records if r.points == 8]
    assert sum("name is not UTF-8" in words for words in work.stray) == 2 and "\x1b" not in str(work.stray)
    assert os.getuid() == 0 or any("locked: cannot be read" in words for words in work.stray)
