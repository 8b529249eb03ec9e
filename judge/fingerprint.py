"""Hashes of everything that decides on a verdict: it holds as long as they are the same."""

from __future__ import annotations

import hashlib

from course.parts import Lesson
from course.reference import reference_cells


def exercise_hashes(lesson: Lesson) -> dict[str, str]:
    """For each exercise: hash of what decides on an answer: the state before it, tests, names, points and limits."""
    before, hashes = "", {}
    for _, source, _, exercise in reference_cells(lesson):
        if exercise:
            e = lesson.exercise(exercise)
            limits = str((e.points, e.seconds, e.memory_mb, e.processes, e.apart))
            hashes[exercise] = hash_of(before, e.tests.source, *sorted(e.names), limits)
        before = hash_of(before, source)
    return hashes


def hash_of(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()
