"""The journal of verdicts: one JSON line as each exercise is judged, so that nothing is judged twice.

A verdict holds as long as what it came from is the same: the lesson's state before the exercise,
its tests and limits, the checks, and the student's code.  A run that was killed goes on where it
stopped; after a lesson was mended only the exercises that changed are judged again.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from course.lesson import ROOT, Exercise, Lesson
from judge.fingerprint import exercise_hashes, hash_of
from judge.verdict import Verdict

# What decides, besides the lesson.
_JUDGES = (ROOT / "unit24" / "check.py", *(ROOT / "judge" / f"{name}.py" for name in ("holder", "sides", "line", "wire", "inprocess")))


class Journal:
    """Verdicts of one lesson in one class folder. Appending is safe from several threads."""

    def __init__(self, root: Path, lesson: Lesson):
        self.path = root / ".unit24" / "verdicts" / f"{lesson.name}.jsonl"
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], tuple[str, int]] = {}  # (student, exercise): key, place in the file
        judges = [path.read_text(encoding="utf-8") for path in _JUDGES]
        self._states = {name: hash_of(*judges, state) for name, state in exercise_hashes(lesson).items()}
        self._read()

    def key(self, exercise: Exercise, source: str, own: list[tuple[str, str]]) -> str:
        """Hash of everything that the verdict depends on."""
        return hash_of(self._states[exercise.id], source, *[text for _, text in own])

    def find(self, student: str, exercise: str, key: str) -> dict | None:
        """The verdict that an earlier run reached for this student and exercise, if it still holds."""
        known, place = self._known.get((student, exercise), ("", 0))
        if known != key:
            return None
        with self.path.open("rb") as file:
            file.seek(place)
            return json.loads(file.readline())["verdict"]

    def add(self, student: str, key: str, verdict: Verdict) -> dict:
        """Append a verdict; it is with the operating system when this returns."""
        record = verdict.as_dict()
        line = json.dumps({"student": student, "key": key, "verdict": record}, ensure_ascii=True) + "\n"
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # One write of one line to a file opened for appending: a kill leaves it whole or not there.
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                data = line.encode()
                if os.write(fd, data) != len(data):
                    raise OSError(28, "No space left on device", str(self.path))
            finally:
                os.close(fd)
        return record

    def _read(self) -> None:
        """Where in the file the last verdict of each student and exercise stands (a class's verdicts are not kept in memory)."""
        if not self.path.exists():
            return
        place = 0
        with self.path.open("r+b") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                    self._known[entry["student"], entry["verdict"]["exercise"]] = (entry["key"], place)
                except (ValueError, KeyError, TypeError):
                    pass
                place += len(line)
            if place and not line.endswith(b"\n"):  # a disk that filled up: end the broken line
                file.write(b"\n")
