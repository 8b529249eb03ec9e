"""Blind rounds in a lesson's record: how answers by readers who saw only the student notebook fared.

A round is ``{"id", "date", "right": [counted, accepted], "wrong": [counted, rejected], "misleading", "not_counted",
"exercises": {ID: the same four}}``, the oldest first (the oldest of all have no id and no exercises).  It says what was
measured of a text on a day, which no later change makes untrue: so it has no hash, and nothing depends on it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from course.records import RECORDS, change_record, read_record

KEY = "blind"


def record_round(name: str, about: dict[str, Any], folder: Path = RECORDS) -> None:
    """Put a round into the lesson's record, in the place of the one with its id or behind all others."""

    def change(record: dict[str, Any]) -> dict[str, Any]:
        rounds = {known.get("id", place): known for place, known in enumerate(record.get(KEY, []))}
        return record | {KEY: list((rounds | {about["id"]: about}).values())}

    change_record(name, change, folder)


def last_round(name: str, folder: Path = RECORDS) -> dict[str, Any] | None:
    """The last round of the lesson, if there was one."""
    rounds = read_record(name, folder).get(KEY, [])
    return rounds[-1] if rounds else None


def in_words(about: dict[str, Any]) -> str:
    """The figures of a round."""
    (right, accepted), (wrong, rejected) = about["right"], about["wrong"]
    return f"right {accepted} of {right} accepted, wrong {rejected} of {wrong} rejected, misleading messages: {about['misleading']}"
