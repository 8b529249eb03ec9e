"""A small course in a temporary folder: two lessons that need no library, so that a run is quick."""

import shutil

import pytest

from authoring.build import Course, build
from course.lesson import read

SETUP = 'LESSON = "NN_name"\nNEEDS = []\nimport unit24\n'

LESSON = '''\
# %% [markdown]
# # Small numbers
#
# What is visible to everybody stands here.

# %% setup

# %%
from unit24 import check

start = 3

# %% [markdown]
# Double a number.

# %% exercise="double" minutes=5 difficulty=1
def double(number):
    """Twice `number`."""
    ### BEGIN SOLUTION
    secret_result = number + number
    return secret_result
    ### END SOLUTION

# %% [markdown]
# <details><summary>Hint</summary>Add it to itself.</details>

# %% tests="double" points=2
with check.exercise("double"):
    check.equal(double(start), 6, "double(3)", "is it added once?")
    ### BEGIN HIDDEN TESTS
    check.equal(double(-17), -34, "double of a negative number")
    ### END HIDDEN TESTS

# %% wrong="double" says="added once"
def double(number):
    misunderstood = number + 1
    return misunderstood

# %% right="double"
def double(value):
    return sum([value, value, 0])

# %% equivalent="double" because="addition commutes"
# - secret_result = number + number
# + secret_result = (number) + (number)

# %% [markdown]
# Why is addition enough?

# %% [markdown] answer="why_sum" points=1.5
# Because twice a number is that number added to itself.

# %% [markdown] rubric="why_sum"
# One point for naming repeated addition.

# %%
print(double(start))

# %% [markdown] quiz="end"
# 1. What is `double(2)`?
# - [x] four, of course :: Exactly: two and two.
# - [ ] twenty-two :: That would be joining digits.
'''

OTHER = '''\
# %% [markdown]
# # Another lesson

# %% setup

# %%
from unit24 import check

# %% exercise="half" minutes=5 difficulty=1
def half(number):
    ### BEGIN SOLUTION
    return number / 2.0
    ### END SOLUTION

# %% tests="half" points=1
with check.exercise("half"):
    check.equal(half(4.0), 2.0, "half(4.0)")
'''


def make_course(root, **lessons):
    """A course folder with lessons given as ``name=text``."""
    course = Course(root)
    course.lessons.mkdir(parents=True)
    (root / "setup_cell.py").write_text(SETUP)
    for name, text in lessons.items():
        (course.lessons / f"{name.removeprefix('n')}.py").write_text(text)
    return course


@pytest.fixture
def lesson_from(tmp_path):
    """A function that reads a lesson text, by default the first one's, with replacements (old, new)."""

    def make(*replacements, text=LESSON, name="01_small"):
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "lessons" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return read(path)

    return make


@pytest.fixture
def course(tmp_path):
    """Two lessons, nothing built."""
    return make_course(tmp_path, n01_small=LESSON, n02_other=OTHER)


@pytest.fixture(scope="session")
def built_once(tmp_path_factory):
    course = make_course(tmp_path_factory.mktemp("course"), n01_small=LESSON, n02_other=OTHER)
    report = build(course.read(), course)
    assert not report.problems
    return course, report


@pytest.fixture
def built(built_once, tmp_path):
    """The two lessons, built; a copy that a test may change."""
    shutil.copytree(built_once[0].root, tmp_path, dirs_exist_ok=True)
    return Course(tmp_path)
