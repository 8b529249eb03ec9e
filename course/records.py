"""What was measured and proven about a lesson: ``lessons/records/NN_name.json``.

One small JSON file a lesson, kept in the repository.  Each key has one writer:

- ``"solution"``, the build: hash of its source, seconds, computing seconds, peak memory;
- ``"audit"``, by exercise, ``"nbval"``, ``"sample_class"`` and ``"stock"``, the proofs: each with the hash of
  everything that it holds for (`judge.fingerprint`);
- ``"blind"``, ``unit24 blind --record``: rounds of readers who saw only the student notebook (`course.rounds`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from course.lesson import LESSONS
from course.notebook import instructor_notebook
from course.parts import Lesson
from unit24.files import write_whole

RECORDS = LESSONS / "records"


def read_record(name: str, folder: Path = RECORDS) -> dict[str, Any]:
    """Everything recorded about the lesson `name`; empty if there is nothing, or nothing readable."""
    try:
        record = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def last_run(lesson: Lesson, setup: str | None = None, folder: Path = RECORDS) -> dict[str, Any] | None:
    """What the last run of the lesson's solution took; None if that was another text, empty if there was none.

    Args:
        setup: text of the setup cell; by default that of ``setup_cell.py``.
    """
    measured = read_record(lesson.name, folder).get("solution", {})
    now = instructor_notebook(lesson, setup).metadata.unit24.source_hash
    return measured if not measured or measured["source_hash"] == now else None


def update_record(name: str, key: str, value: Any, folder: Path = RECORDS) -> None:
    """Set one key of the lesson's record and leave the others, also when several processes write."""
    change_record(name, lambda record: record | {key: value}, folder)


def change_record(name: str, change: Callable[[dict[str, Any]], dict[str, Any]], folder: Path = RECORDS) -> None:
    """Put what `change` makes of the lesson's record in its place; no other process writes meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        record = change(read_record(name, folder))
        write_whole(folder / f"{name}.json", json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def record_audit(lesson: Lesson, folder: Path, exercise: str, found: Any) -> None:
    """Set the audit of one exercise (anything with ``as_dict``); those of exercises that are gone leave the record."""

    def change(record: dict[str, Any]) -> dict[str, Any]:
        audits = record.get("audit", {}) | {exercise: found.as_dict()}
        return record | {"audit": {e.id: audits[e.id] for e in lesson.exercises if e.id in audits}}

    change_record(lesson.name, change, folder)


@contextmanager
def _locked(folder: Path):
    """Only one writer in `folder` at a time (where the system has `flock`)."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
