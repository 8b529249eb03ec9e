"""Whose scores are compared with stock nbgrader's, which runs the whole notebook for each.

The whole class goes through it for the lessons in `WHOLE`, one student with mistakes for others.  Whom it cannot
grade, and why, stands in `STOCK_DEFECTS`.  This decides on no comparison, so a change makes none stale.
"""

from __future__ import annotations

from course.parts import Lesson
from grader.classroom import STOCK_DEFECTS, STUDENTS

WHOLE = ("02_pytorch_fundamentals", "04_training_loop")
ONE = "every_other_wrong"


def students(lesson: Lesson) -> list[str]:
    """Those of the sample class whose scores are compared."""
    return [name for name in STUDENTS if name not in STOCK_DEFECTS] if lesson.name in WHOLE else [ONE]
