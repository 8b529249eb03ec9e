"""A small course in a temporary folder, built once."""

import shutil

import pytest
from texts import copy_lesson

from authoring.build import Course, build
from course.parts import ROOT


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("course")
    # With `mean_gap` a mistake in the first exercise spoils the second, for stock nbgrader.
    alone = "return helper(mean_gap(x, y))", "return helper(sum(x) / len(x) - sum(y) / len(y))"
    copy_lesson(ROOT / "tests" / "fixtures" / "61_small.py", root / "lessons", alone)
    for name in ("setup_cell.py", "nbgrader_config.py"):
        shutil.copy(ROOT / name, root)
    course = Course(root)
    assert build(course.read(), course).problems == []
    return root


@pytest.fixture
def course(built, tmp_path):
    """A copy of the course, to be changed."""
    return Course(shutil.copytree(built, tmp_path / "course"))
