"""A student's points so far, as the tests of a lesson give them: kept in a file for each lesson, sent nowhere.

`unit24.start` has them noted (`follow`); `unit24.overview` shows them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from unit24 import check
from unit24.files import write_whole


@dataclass
class Standing:
    """How far a student is in one lesson. `possible` and `earned` are points by exercise, in the lesson's order."""

    lesson: str
    possible: dict[str, float]
    earned: dict[str, float] = field(default_factory=dict)  # of those whose tests ran
    visited: str = ""  # date and time, local

    @property
    def total(self) -> float:
        return sum(self.earned.get(name, 0.0) for name in self.possible)

    @property
    def most(self) -> float:
        return sum(self.possible.values())

    @property
    def next(self) -> str:
        """The first exercise without full points; empty where there is none."""
        return next((name for name, points in self.possible.items() if self.earned.get(name, 0.0) < points), "")


def follow(lesson: str, possible: Mapping[str, float], folder: Path) -> None:
    """From now on note in `folder` what the tests of `lesson` say. `possible`: points by exercise, in order."""
    path = folder / f"{lesson}.json"

    def note(exercise: str, share: float) -> None:
        if exercise not in possible:
            return
        earned = round(possible[exercise] * share, 2)
        standing = _noted(path, lesson, possible, exercise, earned)
        if earned:
            line = f"{points_text(earned)} of {points_text(possible[exercise])} points; {points_text(standing.total)} of {points_text(standing.most)} in this lesson."
            print(f"{line} Grading also tries other values.")

    check.exercise.on_end = note
    _noted(path, lesson, possible)


def _noted(path: Path, lesson: str, possible: Mapping[str, float], exercise: str = "", earned: float = 0.0) -> Standing:
    """The lesson's standing with one more verdict; kept, where there is a place for it."""
    with suppress(OSError), _locked(path):  # a full or read-only disk must not stop the lesson
        standing = _read(path) or Standing(lesson, {})
        standing.possible, standing.visited = dict(possible), time.strftime("%Y-%m-%d %H:%M")
        if exercise:
            standing.earned[exercise] = earned
        write_whole(path, json.dumps(vars(standing), ensure_ascii=False, indent=1) + "\n")
        return standing
    return Standing(lesson, dict(possible), {exercise: earned} if exercise else {})


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Two notebooks may write at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "w") as file:
        with suppress(ImportError, OSError):  # Windows; some network drives
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(path: Path) -> Standing | None:
    """What a file says; None where it says nothing that can be used."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        points = [{str(name): float(value) for name, value in said[key].items()} for key in ("possible", "earned")]
        return Standing(str(said["lesson"]), *points, visited=str(said["visited"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def standings(folder: Path) -> list[Standing]:
    """Of every lesson that has a file in `folder`, in the order of the course."""
    return [found for path in sorted(folder.glob("*.json")) if (found := _read(path))]


def points_text(points: float) -> str:
    """Points with at most two decimals: 3, 2.5."""
    return f"{points:.2f}".rstrip("0").rstrip(".")
