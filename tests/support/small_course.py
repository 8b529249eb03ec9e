"""A small course: two lessons that need no library, so that a run is quick."""

from authoring.build import Course
from course.lesson import write_texts

SETUP = 'LESSON = "NN_name"\nNEEDS = []\nPOINTS = {}\nimport unit24\n'

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

# %% [markdown]
# Why is addition enough?

# %% [markdown] answer="why_sum" points=1.5
# Because twice a number is that number added to itself.

# %%
print(double(start))

# %% [markdown] quiz="end"
# 1. What is `double(2)`?
# - [x] four, of course :: Exactly: two and two.
# - [ ] twenty-two :: That would be joining digits.
'''

ANSWERS = '''\
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

# %% [markdown] rubric="why_sum"
# One point for naming repeated addition.
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

OTHER_ANSWERS = '''\
# %% right="half"
def half(number):
    return number * 0.5
'''


def make_course(root):
    """A course folder with the two lessons, nothing built."""
    course = Course(root)
    write_texts({"01_small.py": LESSON, "answers/01_small.py": ANSWERS}, course.lessons)
    write_texts({"02_other.py": OTHER, "answers/02_other.py": OTHER_ANSWERS}, course.lessons)
    (root / "setup_cell.py").write_text(SETUP)
    return course
