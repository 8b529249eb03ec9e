"""Figures of a graded class: how hard each exercise is, what it tells apart, which failures are frequent."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field

from course.lesson import Lesson
from grader.outcomes import Work, shown
from grader.results import Results
from grader.similar import Pair
from grader.submission import LessonCells, read_submitted

WEAK = 0.2  # a discrimination below this is poor (Ebel and Frisbie, Essentials of Educational Measurement)


@dataclass(frozen=True)
class Item:
    """One exercise over the class.

    `mean` is its difficulty as test theory has it: the mean share of its points, 0 to 1, over all who
    handed in.  `discrimination` is the correlation of its points with the points of the rest of the
    lesson (the corrected item-total correlation, for 0 and 1 a point-biserial one: Henrysson,
    Correction of item-total correlations in item analysis, Psychometrika 28, 1963); None where it is
    not defined.  Seconds are CPU time of code and tests.
    """

    id: str
    points: float
    minutes: int
    graded: int
    mean: float | None
    discrimination: float | None
    statuses: dict[str, int]
    seconds: float | None  # median
    slowest: float | None
    waiting: int

    @property
    def outcomes(self) -> dict[str, int]:
        """Counts for bars, without answers that a person grades."""
        counts = dict.fromkeys(("passed", "partial", "failed", "not attempted", "by hand"), 0)
        for status, count in self.statuses.items():
            counts[shown(status).outcome] += count
        del counts["by hand"]
        return counts

    @property
    def weak(self) -> bool:
        """Whether even the upper end of the discrimination's 95 % interval (Fisher's z) is below `WEAK`."""
        if self.discrimination is None or self.graded < 4:
            return False
        z = math.atanh(max(-0.9999, min(0.9999, self.discrimination)))
        return math.tanh(z + 1.96 / math.sqrt(self.graded - 3)) < WEAK


@dataclass(frozen=True)
class Failure:
    """One message, numbers masked, over the class."""

    lesson: str
    exercise: str
    status: str
    message: str  # as one student got it
    students: tuple[str, ...]


@dataclass(frozen=True)
class LessonView:
    """One lesson over the class. `bins` counts students by tenths of the points; the last holds 100 %."""

    name: str
    title: str
    max_points: float
    handed_in: int
    mean: float
    median: float
    bins: tuple[int, ...]
    items: tuple[Item, ...]
    waiting: int


@dataclass
class Report:
    """Everything that the page shows."""

    results: Results
    lessons: list[LessonView]
    failures: list[Failure]
    pairs: list[Pair]
    notes: list[tuple[str, str, str]] = field(default_factory=list)  # student, lesson, what needs a look

    def as_dict(self) -> dict:
        """What ``unit24 report --json`` says."""
        r = self.results
        return {
            "students": len(r.students),
            "lessons": {
                v.name: {
                    "handed_in": v.handed_in,
                    "max_points": v.max_points,
                    "mean": v.mean,
                    "median": v.median,
                    "distribution": list(v.bins),
                    "waiting": v.waiting,
                    "exercises": {item.id: {k: x for k, x in asdict(item).items() if k != "id"} for item in v.items},
                }
                for v in self.lessons
            },
            "scores": {
                student: {
                    lesson.name: {"points": w.points, "max_points": lesson.points, "penalty": w.penalty, "waiting": w.waiting}
                    for lesson in r.lessons
                    if (w := r.work[lesson.name].get(student))
                }
                for student in r.students
            },
            "failures": [asdict(f) | {"count": len(f.students)} for f in self.failures],
            "similar": [asdict(p) for p in self.pairs],
            "notes": [dict(zip(("student", "lesson", "text"), note)) for note in self.notes],
        }


# --------------------------------------------------------------------------------------------------


def view_lesson(lesson: Lesson, work: dict[str, Work]) -> LessonView:
    """One lesson's figures over all who handed in."""
    shares = [w.points / lesson.points for w in work.values()]
    bins = [0] * 10
    for share in shares:
        bins[min(9, max(0, int(share * 10 + 1e-9)))] += 1
    return LessonView(
        name=lesson.name,
        title=lesson.title,
        max_points=lesson.points,
        handed_in=len(work),
        mean=round(statistics.fmean(shares), 4),
        median=round(statistics.median(shares), 4),
        bins=tuple(bins),
        items=tuple(analyse(part.id, part.points, part.minutes, work) for part in (*lesson.exercises, *lesson.answers)),
        waiting=sum(w.waiting for w in work.values()),
    )


def analyse(name: str, points: float, minutes: int, work: dict[str, Work]) -> Item:
    """Difficulty, discrimination and time of one exercise. Marks that wait for a person are left out."""
    marks = [(w.marks[name], w) for w in work.values() if name in w.marks]
    graded = [(mark, w) for mark, w in marks if mark.status != "waiting"]
    seconds = [mark.seconds for mark, _ in marks if mark.seconds]
    return Item(
        id=name,
        points=points,
        minutes=minutes,
        graded=len(graded),
        mean=round(statistics.fmean(m.points / points for m, _ in graded), 4) if graded else None,
        discrimination=_correlation([m.points for m, _ in graded], [_rest(w, name) for _, w in graded]),
        statuses=dict(Counter(mark.status for mark, _ in marks)),
        seconds=round(statistics.median(seconds), 3) if seconds else None,
        slowest=round(max(seconds), 3) if seconds else None,
        waiting=sum(mark.waiting for mark, _ in marks),
    )


def _rest(work: Work, name: str) -> float:
    """Points of everything else in the lesson."""
    return sum(mark.points for other, mark in work.marks.items() if other != name)


def _correlation(x: list[float], y: list[float]) -> float | None:
    try:
        return round(statistics.correlation(x, y), 4)
    except statistics.StatisticsError:  # fewer than two students, or all alike
        return None


NUMBER = re.compile(r"(?<![^\W\d_])[-+−]?\d+(?:[.,_]\d+)*(?:e[-+]?\d+)?j?", re.IGNORECASE)


def mask(message: str) -> str:
    """`message` with every number as ``#`` and long runs of them shortened, so that like messages are equal."""
    text = NUMBER.sub("#", " ".join(message.split()))
    return re.sub(r"(#[,\s\[\]()]+){3,}#", "#, …, #", text)


def count_failures(results: Results) -> list[Failure]:
    """Messages of failed exercises, those that most students got first."""
    groups: dict[tuple[str, str, str, str], list[tuple[str, str]]] = defaultdict(list)
    for lesson, work in results.work.items():
        for student, one in work.items():
            for exercise, mark in one.marks.items():
                if shown(mark.status).outcome in ("failed", "partial") and mark.message:
                    groups[lesson, exercise, mark.status, mask(mark.message)].append((student, mark.message))
    failures = [Failure(*key[:3], who[0][1], tuple(student for student, _ in who)) for key, who in groups.items()]
    return sorted(failures, key=lambda f: (-len(f.students), f.lesson, f.exercise, f.message))


def find_notes(results: Results) -> list[tuple[str, str, str]]:
    """What a person should look at: unreadable submissions, answers that wait."""
    notes = []
    for lesson in results.lessons:
        if gone := results.gone.get(lesson.name):
            text = f"the lesson no longer has {', '.join(sorted(gone))}: left out here; run unit24 grade again"
            notes.append(("", lesson.name, text))
        cells = LessonCells(lesson)
        for student, work in results.work[lesson.name].items():
            for exercise, mark in work.marks.items():
                if mark.waiting and mark.status != "waiting":
                    notes.append((student, lesson.name, f"{exercise}: graded by hand, and the code's own points have changed since"))
            if all(mark.points == 0 and mark.status in ("not attempted", "waiting") for mark in work.marks.values()):
                submission = read_submitted(results.root, student, cells)
                if submission.path.exists() and not submission.readable:
                    notes.append((student, lesson.name, "; ".join(submission.findings)))
    return notes
