"""A small course in a temporary folder, built once."""

import shutil

import pytest

from authoring.build import Course, build
from course.lesson import ROOT


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("course")
    (root / "lessons").mkdir()
    text = (ROOT / "tests" / "fixtures" / "61_small.py").read_text()
    old = "return helper(mean_gap(x, y))"  # with which a mistake in the first exercise spoils the second, for stock nbgrader
    assert old in text
    (root / "lessons" / "61_small.py").write_text(text.replace(old, "return helper(sum(x) / len(x) - sum(y) / len(y))"))
    for name in ("setup_cell.py", "nbgrader_config.py"):
        shutil.copy(ROOT / name, root)
    course = Course(root)
    assert build(course.read(), course).problems == []
    return root


@pytest.fixture
def course(built, tmp_path):
    """A copy of the course, to be changed."""
    return Course(shutil.copytree(built, tmp_path / "course"))
