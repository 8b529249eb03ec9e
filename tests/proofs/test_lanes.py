"""Lanes: their lists, fresh copies, and a small lesson run in one."""

import os
import subprocess
import sys
import sysconfig
from datetime import date

import psutil
import pytest
from texts import copy_lesson, edit

from course.lesson import read
from course.parts import ROOT
from proofs import lane_run, lanes
from unit24.errors import UserError

LIST = """# Some words.
# python: 3.11
# date: 2026-11-30
# env: KAGGLE_KERNEL_RUN_TYPE=Interactive
# skip: 61_small until 2026-12-31: no wheel for this Python
torch==2.6.0  # by hand
numpy==1.26.4
"""


@pytest.fixture
def course(tmp_path):
    (tmp_path / "lanes").mkdir()
    (tmp_path / "lessons").mkdir()
    (tmp_path / "lessons" / "61_small.py").touch()
    (tmp_path / "lanes" / "old.txt").write_text(LIST)
    return tmp_path


def test_a_list_says_python_date_variables_pins_and_skips(course):
    lane = lanes.read_lane("old", course)
    assert (lane.python, lane.date, lane.pins) == ("3.11", "2026-11-30", ("torch==2.6.0", "numpy==1.26.4"))
    assert lane.variables == {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}
    assert "no wheel" in lane.skipped("61_small", date(2026, 12, 31))


def test_a_skip_ends_on_its_day(course):
    lane = lanes.read_lane("old", course)
    assert not lane.skipped("61_small", date(2027, 1, 1))
    assert not lane.skipped("04_training_loop", date(2026, 12, 1))


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("until 2026-12-31: no wheel for this Python", "until soon", "lanes/old.txt:5"),
        ("61_small until", "99_nothing until", "of a lesson that is there"),
        ("# python: 3.11\n", "", "no line `# python: …`"),
    ],
)
def test_a_list_that_makes_no_sense_says_where(course, old, new, said):
    edit(course / "lanes" / "old.txt", old, new)
    with pytest.raises(UserError, match=said):
        lanes.read_lane("old", course)


def test_an_unknown_lane_or_python_says_what_there_is(course):
    with pytest.raises(UserError, match="no lane 'moon': old"):
        lanes.read_lane("moon", course)
    with pytest.raises(UserError, match="No Python 3.2 here: install it"):
        lanes.find_python("3.2")


def test_the_lists_of_the_course_can_be_read():
    names = sorted(path.stem for path in (ROOT / "lanes").glob("*.txt"))
    assert names == ["colab", "kaggle", "latest"]
    assert {lanes.read_lane(name).python for name in names} == {"3.11", "3.12", "3.13"}


@pytest.fixture
def environment(tmp_path):
    """What a lane's environment is: here one that sees the packages of this one."""
    base = tmp_path / "lanes" / "here"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", base], check=True)
    (packages,) = base.glob("lib/python*/site-packages")
    (packages / "here.pth").write_text(sysconfig.get_path("purelib") + "\n" + str(ROOT) + "\n")
    return base


def test_a_copy_is_of_links_and_has_its_own_python(environment, tmp_path):
    python = lanes.fresh_copy(environment, tmp_path / "copy")
    said = subprocess.run([python, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(tmp_path / "copy")
    (link,) = (tmp_path / "copy").glob("lib/python*/site-packages/here.pth")
    assert os.stat(link).st_nlink == 2


def test_what_breaks_is_told_by_exercise_in_notebook_and_bench(environment, tmp_path):
    """The rest runs: one broken exercise hides no other."""
    lane = lanes.Lane("here", "3.11", "2026-11-30", ())
    wheel = tmp_path / "unit24-0-py3-none-any.whl"
    wheel.touch()
    fixture = ROOT / "tests" / "fixtures" / "61_small.py"
    whole = lane_run.run_lesson(read(fixture), lane, environment, wheel)
    assert (whole["broken"], whole["judged"]) == ({}, {})
    assert whole["setup"].startswith("unit24 ")
    gone = "return helper(mean_gap(x, y))", "return helper(mean_gap(x, y), axis=0)"
    broken = lane_run.run_lesson(read(copy_lesson(fixture, tmp_path / "lessons", gone)), lane, environment, wheel)
    assert list(broken["broken"]) == ["gap_plus_one"] and "axis" in broken["broken"]["gap_plus_one"]
    assert list(broken["judged"]) == ["gap_plus_one"]
    assert not list(environment.parent.glob("unit24-lane-*")), "a copy stayed"
    here = [psutil.Process(child.pid).cmdline() for child in psutil.Process().children(recursive=True) if child.is_running()]
    assert not [call for call in here if "ipykernel_launcher" in call], "nbclient leaves a kernel that it was given"
