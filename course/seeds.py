"""Another seed for a class: constants of hidden tests that a lesson marks ``NAME = 24  # release: seed``."""

from __future__ import annotations

import atexit
import re
import tempfile
from pathlib import Path

from course.lesson import Lesson, read

SEEDED = re.compile(r"^(\s*\w+ *= *)\d+(?=\s*# release: seed\b)", re.MULTILINE)


def with_seed(lessons: list[Lesson], seed: int, work: Path) -> tuple[list[Lesson], dict[str, int]]:
    """The lessons with `seed` in each marked line, and how many there were, by lesson.

    Texts with such lines are read again from copies under `work`.
    """
    result, counts = [], {}
    for lesson in lessons:
        text, count = SEEDED.subn(rf"\g<1>{seed}", lesson.path.read_text(encoding="utf-8"))
        if count:
            copy = work / "lessons" / lesson.path.name
            copy.parent.mkdir(exist_ok=True)
            copy.write_text(text, encoding="utf-8")
            lesson, counts[lesson.name] = read(copy), count
        result.append(lesson)
    return result, counts


def seeded_folder(lessons: Path, seed: int) -> Path:
    """A folder of the lesson texts with `seed` in each marked line; it goes when the command ends."""
    folder = tempfile.TemporaryDirectory(prefix="unit24-lessons-")
    atexit.register(folder.cleanup)
    for path in lessons.glob("*.py"):
        text = SEEDED.sub(rf"\g<1>{seed}", path.read_text(encoding="utf-8"))
        (Path(folder.name) / path.name).write_text(text, encoding="utf-8")
    return Path(folder.name)
