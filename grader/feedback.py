"""The page that a student gets back: code, verdicts, messages and what a person added, without hidden tests."""

from __future__ import annotations

from pathlib import Path

from course.lesson import Lesson
from grader.outcomes import Work
from grader.pages import render
from grader.results import Results
from grader.submission import LessonCells, Submission, read_submitted
from unit24.files import write_whole


def feedback_path(root: Path, student: str, lesson: str) -> Path:
    """Where the class folder `root` keeps the page."""
    return root / "feedback" / student / lesson / f"{lesson}.html"


def write_feedback(root: Path, lesson: Lesson, submission: Submission, work: Work) -> None:
    """Write the page of one submission. `work` has a mark for each exercise and written answer of the lesson."""
    text = render("feedback.html", lesson=lesson, submission=submission, work=work)
    write_whole(feedback_path(root, submission.student, lesson.name), text)


def refresh_feedback(results: Results) -> int:
    """Write the pages again of students whose points a person changed; returns how many."""
    count = 0
    for lesson in results.lessons:
        cells = LessonCells(lesson)
        for student, work in results.work[lesson.name].items():
            if not work.penalty and not any(mark.by_hand or mark.comment for mark in work.marks.values()):
                continue
            if any(part.id not in work.marks for part in (*lesson.exercises, *lesson.answers)):
                continue  # graded with an older lesson text
            write_feedback(results.root, lesson, read_submitted(results.root, student, cells), work)
            count += 1
    return count
