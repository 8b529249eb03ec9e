"""The journal of verdicts: one JSON line as each exercise is judged, so that nothing is judged twice.

A verdict holds as long as what it came from is the same: everything that judges, the lesson's state before
the exercise, its tests and limits (`judge.fingerprint`), and the student's code.  A run that was killed goes on
where it stopped; after a lesson was mended only the exercises that changed are judged again.

Nothing else knows the file's format: a line is ``{"student", "key", "verdict"}``, and of the lines for
one student and exercise the last counts.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from course.parts import Exercise, Lesson
from grader.courses import Course
from grader.outcomes import Verdict
from judge.fingerprint import exercise_hashes, hash_of


@dataclass(frozen=True)
class Entry:
    """A line of the journal. `key` is the hash of everything that the verdict depends on."""

    student: str
    key: str
    verdict: Verdict

    def line(self) -> bytes:
        said = {"student": self.student, "key": self.key, "verdict": self.verdict.as_dict()}
        return json.dumps(said, ensure_ascii=True).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Entry | None:
        """What stands in a line; None if it broke off when a disk was full."""
        try:
            said = json.loads(line)
            return cls(said["student"], said["key"], Verdict.from_dict(said["verdict"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def journal_path(root: Path, lesson: str) -> Path:
    """Where the class folder `root` keeps the verdicts of a lesson."""
    return root / ".unit24" / "verdicts" / f"{lesson}.jsonl"


def last_verdicts(root: Path, lesson: str) -> dict[tuple[str, str], Verdict]:
    """(student, exercise) -> the last verdict, whether or not it still holds."""
    entries = (entry for _, entry in _entries(journal_path(root, lesson)))
    return {(entry.student, entry.verdict.exercise): entry.verdict for entry in entries}


def _entries(path: Path) -> Iterator[tuple[int, Entry]]:
    """What can be read of a journal: (place in the file, entry)."""
    if not path.exists():
        return
    place = 0
    with path.open("rb") as file:
        for line in file:
            if entry := Entry.parse(line):
                yield place, entry
            place += len(line)


class Journal:
    """Verdicts of one lesson in one class folder. Appending is safe from several threads."""

    def __init__(self, root: Path, lesson: Lesson):
        self.path = journal_path(root, lesson.name)
        self._lock = threading.Lock()
        self._states = exercise_hashes(lesson)
        # (student, exercise): key, place in the file.  A class's verdicts are not kept in memory.
        self._known = {(e.student, e.verdict.exercise): (e.key, place) for place, e in _entries(self.path)}
        self._end_broken_line()

    def keys(self, exercise: Exercise, source: str, ways: tuple[Course, ...]) -> list[str]:
        """For each course of events the hash of everything that a verdict reached on it, or before, depends on.

        So an answer that is right alone is not judged again because of what changed in other cells.
        """
        cells = [json.dumps([way.cells, way.after] if way.after else way.cells) for way in ways]
        return [hash_of(self._states[exercise.id], source, *cells[:tried]) for tried in range(1, len(ways) + 1)]

    def find(self, student: str, exercise: str, keys: list[str]) -> Verdict | None:
        """The verdict that an earlier run reached for this student and exercise, if it still holds."""
        known, place = self._known.get((student, exercise), ("", 0))
        if known not in keys:
            return None
        with self.path.open("rb") as file:
            file.seek(place)
            verdict = Entry.parse(file.readline()).verdict
        # One that fell short is final only where no course of events is left to try.
        return verdict if verdict.points >= verdict.max_points or known == keys[-1] else None

    def add(self, student: str, key: str, verdict: Verdict) -> None:
        """Append a verdict; it is with the operating system when this returns."""
        data = Entry(student, key, verdict).line()
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # One write of one line to a file opened for appending: a kill leaves it whole or not there.
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                if os.write(fd, data) != len(data):
                    raise OSError(28, "No space left on device", str(self.path))
            finally:
                os.close(fd)

    def _end_broken_line(self) -> None:
        """After a disk that filled up: what is appended must not become part of half a line."""
        if self.path.exists() and self.path.stat().st_size:
            with self.path.open("r+b") as file:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
