"""A student's points so far, lesson by lesson, on this machine; they are sent nowhere.

`unit24.start` has the tests of a lesson noted here (`follow`). ``unit24.progress()`` in a notebook and ``unit24 progress``
in a shell show them. Each lesson has a file of its own in the storage folder (on Colab and Kaggle a folder that outlives
the session, where there is one).
"""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import click

from unit24 import check, env
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


def follow(lesson: str, possible: Mapping[str, float]) -> None:
    """From now on note what the tests of `lesson` say. `possible`: points by exercise, in order."""

    def note(exercise: str, share: float) -> None:
        if exercise not in possible:
            return
        earned = round(possible[exercise] * share, 2)
        standing = _noted(lesson, possible, exercise, earned)
        if earned:
            line = f"{_text(earned)} of {_text(possible[exercise])} points; {_text(standing.total)} of {_text(standing.most)} in this lesson."
            print(f"{line} Grading also tries other values.")

    check.exercise.on_end = note
    _noted(lesson, possible)


def _noted(lesson: str, possible: Mapping[str, float], exercise: str = "", earned: float = 0.0) -> Standing:
    """The lesson's standing with one more verdict; kept, where there is a place for it."""
    path = folder() / f"{lesson}.json"
    with suppress(OSError), _locked(path):  # a full or read-only disk must not stop the lesson
        standing = _read(path) or Standing(lesson, {})
        standing.possible, standing.visited = dict(possible), time.strftime("%Y-%m-%d %H:%M")
        if exercise:
            standing.earned[exercise] = earned
        write_whole(path, json.dumps(vars(standing), ensure_ascii=False, indent=1) + "\n")
        return standing
    return Standing(lesson, dict(possible), {exercise: earned} if exercise else {})


def folder() -> Path:
    """Where the standings of all lessons are kept."""
    storage = env.current.storage if env.current else env.find_folders(env.find_platform())[1]
    return storage / "points"


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


def standings() -> list[Standing]:
    """Of every lesson that was begun on this machine, in the order of the course."""
    return [found for path in sorted(folder().glob("*.json")) if (found := _read(path))]


class progress:  # noqa: N801  (called as a function: in a notebook its value is the table)
    """Points so far on this machine: ``unit24.progress()`` as the last line of a cell shows a table."""

    def __init__(self):
        self.standings = standings()

    def _lines(self) -> list[tuple[str, str, str, str]]:
        return [
            (_title(s.lesson), f"{_text(s.total)} of {_text(s.most)}", s.visited, s.next or "all done") for s in self.standings
        ]

    def __repr__(self) -> str:
        if not self.standings:
            return "No points yet: run the set-up cell of a lesson, then the tests under an exercise."
        rows = [("lesson", "points", "last visit", "next"), *self._lines()]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        return "\n".join("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]]) for row in rows)

    def _repr_html_(self) -> str:
        if not self.standings:
            return f"<p>{html.escape(repr(self))}</p>"
        head = "".join(f'<th scope="col">{name}</th>' for name in ("Lesson", "Points", "", "Last visit", "Next"))
        body = ""
        for (title, points, visited, then), s in zip(self._lines(), self.standings):
            bar = f'<progress max="{s.most:g}" value="{s.total:g}" aria-label="{points} points"></progress>'
            cells = [html.escape(title), points, bar, html.escape(visited), html.escape(then)]
            body += f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _title(lesson: str) -> str:
    return re.sub(r"^(\d\d)_", r"\1 ", lesson).replace("_", " ")


def _text(points: float) -> str:
    return f"{points:.2f}".rstrip("0").rstrip(".")


@click.command("progress")
@click.option("--json", "as_json", is_flag=True, help="Print a list instead of a table.")
def progress_command(as_json: bool) -> None:
    """Your points so far on this machine, lesson by lesson."""
    found = progress()
    if as_json:
        click.echo(json.dumps([vars(s) | {"points": s.total, "max_points": s.most, "next": s.next} for s in found.standings], ensure_ascii=False, indent=1))
    else:
        click.echo(repr(found))
