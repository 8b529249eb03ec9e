"""What was last measured about a lesson: ``lessons/records/NN_name.json``.

One small JSON file a lesson, kept in the repository.  The build writes ``"solution"`` (source hash,
seconds, peak memory), the audit ``"audit"`` (by exercise), the comparison with stock nbgrader ``"stock"``.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from course.lesson import LESSONS
from unit24.files import write_whole

RECORDS = LESSONS / "records"


def read_record(name: str, folder: Path = RECORDS) -> dict[str, Any]:
    """Everything recorded about the lesson `name`; empty if there is nothing, or nothing readable."""
    try:
        record = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def update_record(name: str, key: str, value: Any, folder: Path = RECORDS) -> None:
    """Set one key of the lesson's record and leave the others, also when several processes write."""
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        record = read_record(name, folder) | {key: value}
        write_whole(folder / f"{name}.json", json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


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
