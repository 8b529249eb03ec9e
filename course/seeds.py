"""Another seed for a class: constants of hidden tests that a lesson marks ``NAME = 24  # release: seed``."""

from __future__ import annotations

import atexit
import re
import tempfile
from dataclasses import replace
from pathlib import Path

from course.lesson import lesson_names, read, texts, write_texts
from course.parts import Exercise, Lesson

SEEDED = re.compile(r"^(\s*\w+ *= *)\d+(?=\s*# release: seed\b)", re.MULTILINE)


def reseeded(exercise: Exercise, seed: int) -> Exercise | None:
    """The exercise with `seed` in the marked lines of its tests; None if there are none."""
    source, count = SEEDED.subn(rf"\g<1>{seed}", exercise.tests.source)
    return replace(exercise, tests=replace(exercise.tests, source=source)) if count else None


def with_seed(lessons: list[Lesson], seed: int, work: Path) -> tuple[list[Lesson], dict[str, int]]:
    """The lessons with `seed` in each marked line, and how many there were, by lesson.

    Lessons with such lines are read again from copies under `work`.
    """
    result, counts = [], {}
    for lesson in lessons:
        files, count = _seeded(lesson.path, seed)
        if count:
            write_texts(files, work / "lessons")
            lesson, counts[lesson.name] = read(work / "lessons" / lesson.path.name), count
        result.append(lesson)
    return result, counts


def seeded_folder(lessons: Path, seed: int) -> Path:
    """A folder of the lessons with `seed` in each marked line; it goes when the command ends."""
    folder = tempfile.TemporaryDirectory(prefix="unit24-lessons-")
    atexit.register(folder.cleanup)
    for name in lesson_names(lessons):
        write_texts(_seeded(lessons / f"{name}.py", seed)[0], Path(folder.name))
    return Path(folder.name)


def _seeded(path: Path, seed: int) -> tuple[dict[str, str], int]:
    """A lesson's texts with `seed` in each marked line, and how many there were."""
    files, count = {}, 0
    for place, text in texts(path).items():
        files[place], found = SEEDED.subn(rf"\g<1>{seed}", text)
        count += found
    return files, count
