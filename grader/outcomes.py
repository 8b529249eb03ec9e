"""What a student got: the judge's verdicts, what a person added to them, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from judge.verdict import STATUSES, Verdict  # everything in this package takes them from here


@dataclass(frozen=True)
class Shown:
    """How a status is shown: a sign in a row of exercises, and the outcome that figures and colours count it as."""

    sign: str
    outcome: str


SHOWN: dict[str, Shown] = {
    "passed": Shown("✓", "passed"),
    "partial": Shown("◐", "partial"),
    "failed": Shown("✗", "failed"),
    "not attempted": Shown("·", "not attempted"),
    "error": Shown("E", "failed"),
    "timeout": Shown("T", "failed"),
    "out of memory": Shown("M", "failed"),
    "crashed": Shown("C", "failed"),
    # of written answers
    "waiting": Shown("?", "by hand"),
    "graded by hand": Shown("✍", "by hand"),
}
"""Every status: the judge's, then those of written answers."""


def shown(status: str) -> Shown:
    """How `status` is shown; one of an older version counts as a failure."""
    return SHOWN.get(status, SHOWN["failed"])


def legend(statuses: Iterable[str] = STATUSES) -> str:
    """What the signs of these statuses mean, on one line."""
    return ", ".join(f"{SHOWN[status].sign} {status}" for status in statuses)


@dataclass(frozen=True)
class Mark(Verdict):
    """A verdict as the gradebook has it: `points` may be a person's.

    For a written answer `status` is "waiting", "graded by hand" or "not attempted".
    """

    by_hand: bool = False  # a person set these points
    comment: str = ""  # written by a person
    waiting: bool = False  # a person must still look

    @classmethod
    def of(cls, verdict: Verdict, by_hand: bool = False, comment: str = "", waiting: bool = False) -> Mark:
        """The verdict with what a person added."""
        said = {f.name: getattr(verdict, f.name) for f in fields(Verdict)}
        return cls(**said, by_hand=by_hand, comment=comment, waiting=waiting)


@dataclass
class Work:
    """One student's work on one lesson."""

    student: str
    lesson: str
    marks: dict[str, Mark] = field(default_factory=dict)  # by exercise and written answer, in the lesson's order
    penalty: float = 0.0
    handed_in: str = ""

    @property
    def points(self) -> float:
        """The score as nbgrader exports it: marks less the penalty, never below 0."""
        return max(0.0, round(sum(m.points for m in self.marks.values()) - self.penalty, 4))

    @property
    def waiting(self) -> int:
        return sum(m.waiting for m in self.marks.values())


def points_text(value: float) -> str:
    """Points with at most two decimals: 3, 2.5."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def percent_text(share: float | None) -> str:
    """A share from 0 to 1 in percent; a dash for None."""
    return "–" if share is None else f"{100 * share:.0f} %"
