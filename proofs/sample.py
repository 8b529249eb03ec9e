"""The proof that a lesson's sample class is graded as it must be: every student gets the expected points."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from course.parts import Lesson
from grader.classroom import write_sample_class
from grader.engines import threads
from grader.grade import find_work, grade_class
from judge.bench import Bench
from judge.fingerprint import cells_hash, hash_of, lesson_hash

AT_LEAST = 12  # students


def sample_hash(lesson: Lesson) -> str:
    """Hash of everything that decides on the proof."""
    return hash_of(lesson_hash(lesson, __name__), cells_hash(cell for cell in lesson.cells if cell.role != "equivalent"))


def grade_sample(
    lesson: Lesson, bench: Bench | None = None, jobs: int = 1, step: Callable[[str], None] = lambda text: None
) -> list[str]:
    """What fell short, a line each. `bench` is the lesson's, if it runs already; `step` is called once a student."""
    problems = []
    with tempfile.TemporaryDirectory(prefix="unit24-class-") as folder:
        root = Path(folder)
        expected = write_sample_class(root, [lesson])
        if len(expected) < AT_LEAST:
            problems.append(f"the sample class has {len(expected)} students, at least {AT_LEAST} are wanted")
        work = find_work(root, lessons=lesson.path.parent)
        for graded in grade_class(root, work, threads(jobs, bench=bench), lessons=lesson.path.parent):
            step(graded.student)
            for exercise, points in expected[graded.student][lesson.name].items():
                verdict = graded.exercises[exercise]
                if verdict.points != points:
                    said = f"{verdict.points:g} points, not {points:g}: {' '.join(verdict.message.split())}"
                    problems.append(f"sample class: {graded.student}, {exercise}: {said}")
    return problems
