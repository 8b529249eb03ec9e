"""The small course in a temporary folder."""

import shutil

import pytest
from small_course import make_course

from authoring.build import Course, build


@pytest.fixture
def course(tmp_path):
    """Two lessons, nothing built."""
    return make_course(tmp_path)


@pytest.fixture(scope="session")
def built_once(tmp_path_factory):
    course = make_course(tmp_path_factory.mktemp("course"))
    report = build(course.read(), course)
    assert not report.problems
    return course, report


@pytest.fixture
def built(built_once, tmp_path):
    """The two lessons, built; a copy that a test may change."""
    shutil.copytree(built_once[0].root, tmp_path, dirs_exist_ok=True)
    return Course(tmp_path)
