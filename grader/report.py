"""The class report: who is stuck where, from the gradebook and the verdicts.

``report/index.html`` needs nothing else; ``class.csv``, ``exercises.csv`` and ``similar.csv`` are for
spreadsheets, ``canvas.csv`` and ``moodle.csv`` for the gradebooks of these platforms.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from course.lesson import LESSONS, Lesson
from course.notebook import student_source
from grader.grade import Record, feedback_page
from grader.results import Mark, Results, Work, read_results, read_sources
from grader.similar import Pair, similar_pairs
from grader.submission import LessonCells, Submission, read_submission
from unit24.files import write_whole

WEAK = 0.2  # a discrimination below this is poor (Ebel and Frisbie, Essentials of Educational Measurement)
SHOWN_FAILURES, SHOWN_PAIRS = 20, 20
MARKS = {
    "passed": "✓",
    "partial": "◐",
    "failed": "✗",
    "not attempted": "·",
    "error": "E",
    "timeout": "T",
    "out of memory": "M",
    "crashed": "C",
    "tampered": "!",
    "graded by hand": "✍",
    "waiting": "?",
}


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
        """Counts for bars: whatever verdict is not one of these is a failure."""
        passed, partial, untouched = (self.statuses.get(s, 0) for s in ("passed", "partial", "not attempted"))
        by_hand = sum(self.statuses.get(s, 0) for s in ("graded by hand", "waiting"))
        failed = sum(self.statuses.values()) - passed - partial - untouched - by_hand
        return {"passed": passed, "partial": partial, "failed": failed, "not attempted": untouched}

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


def make_report(
    root: Path, wanted: Iterable[str] = (), lessons: Path = LESSONS, step: Callable[[str], None] = lambda text: None
) -> Report:
    """Read a graded class and sum it up; writes nothing.

    Raises:
        UserError: the class has no grades, or there is no such lesson.
    """
    step("reading the gradebook")
    results = read_results(root, wanted, lessons)
    views = [view_lesson(lesson, results.work[lesson.name]) for lesson in results.lessons]
    pairs = []
    for lesson in results.lessons:
        step(f"{lesson.name}: comparing submissions")
        work = {student: read_sources(root, student, lesson) for student in results.work[lesson.name]}
        pairs += similar_pairs(lesson.name, work, lesson_answers(lesson))
    return Report(results, views, count_failures(results), pairs, find_notes(results))


def write_report(report: Report, step: Callable[[str], None] = lambda text: None) -> Path:
    """Write ``report/`` and bring feedback pages up to date with manual grades; returns the page's path."""
    root = report.results.root
    step("writing")
    refresh_feedback(report.results)
    folder = root / "report"
    for name, text in csv_files(report).items():
        write_whole(folder / name, text)
    write_whole(folder / "index.html", page(report))
    return folder / "index.html"


# --------------------------------------------------------------------------------------------------
# Statistics


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
                if mark.status not in ("passed", "not attempted", "waiting", "graded by hand") and mark.message:
                    groups[lesson, exercise, mark.status, mask(mark.message)].append((student, mark.message))
    failures = [Failure(*key[:3], who[0][1], tuple(student for student, _ in who)) for key, who in groups.items()]
    return sorted(failures, key=lambda f: (-len(f.students), f.lesson, f.exercise, f.message))


def lesson_answers(lesson: Lesson) -> dict[str, list[str]]:
    """Exercise -> everything that the lesson itself has for its cell."""
    return {
        e.id: [student_source(e.cell), e.cell.source, *(cell.source for cell in (*e.right, *e.wrong))] for e in lesson.exercises
    }


def find_notes(results: Results) -> list[tuple[str, str, str]]:
    """What a person should look at: tampering, unreadable submissions, answers that wait."""
    notes = []
    for lesson in results.lessons:
        if gone := results.gone.get(lesson.name):
            text = f"the lesson no longer has {', '.join(sorted(gone))}: left out here; run unit24 grade again"
            notes.append(("", lesson.name, text))
        cells = LessonCells(lesson)
        for student, work in results.work[lesson.name].items():
            for exercise, mark in work.marks.items():
                if mark.status == "tampered":
                    notes.append((student, lesson.name, f"{exercise}: tampering: {mark.message}"))
                elif mark.waiting and mark.status != "waiting":
                    notes.append((student, lesson.name, f"{exercise}: graded by hand, and the code's own points have changed since"))
            if all(mark.points == 0 and mark.status in ("not attempted", "waiting") for mark in work.marks.values()):
                submission = _submission(results.root, student, cells)
                if submission.path.exists() and not submission.readable:
                    notes.append((student, lesson.name, "; ".join(submission.findings)))
    return notes


def _submission(root: Path, student: str, cells: LessonCells) -> Submission:
    name = cells.lesson.name
    return read_submission(root / "submitted" / student / name / f"{name}.ipynb", student, cells)


# --------------------------------------------------------------------------------------------------
# Feedback pages


@dataclass
class Reviewed(Record):
    """A record with what a person added: `by_hand` holds marks by exercise or answer."""

    by_hand: dict[str, Mark] = field(default_factory=dict)
    penalty: float = 0.0


def refresh_feedback(results: Results) -> int:
    """Write the pages again of students whose points a person changed; returns how many."""
    count = 0
    for lesson in results.lessons:
        cells = LessonCells(lesson)
        for student, work in results.work[lesson.name].items():
            changed = {name: m for name, m in work.marks.items() if m.by_hand or m.comment}
            if not changed and not work.penalty:
                continue
            submission = _submission(results.root, student, cells)
            exercises = {e.id: _verdict(work.marks[e.id]) for e in lesson.exercises if e.id in work.marks}
            if len(exercises) < len(lesson.exercises):
                continue  # graded with an older lesson text
            waiting = [a.id for a in lesson.answers if a.id in work.marks and work.marks[a.id].status == "waiting"]
            record = Reviewed(
                student, lesson.name, work.points, lesson.points, "graded", exercises, submission.findings, waiting, changed, work.penalty
            )
            path = results.root / "feedback" / student / lesson.name / f"{lesson.name}.html"
            write_whole(path, feedback_page(lesson, submission, record))
            count += 1
    return count


def _verdict(mark: Mark) -> dict:
    return {"status": mark.status, "points": mark.points, "max_points": mark.max_points, "message": mark.message}


# --------------------------------------------------------------------------------------------------
# CSV


def csv_files(report: Report) -> dict[str, str]:
    """Name -> text of every CSV file."""
    r = report.results
    names = [lesson.name for lesson in r.lessons]
    total = sum(lesson.points for lesson in r.lessons)
    files = {}

    rows = [["student", "last_name", "first_name", "email", *names, "total", "max_total", "waiting"]]
    for s in r.students.values():
        works = [r.work[name].get(s.id) for name in names]
        points = [_points(w.points) if w else "" for w in works]
        done = [w for w in works if w]
        sums = [_points(sum(w.points for w in done)), _points(total), sum(w.waiting for w in done)]
        rows.append([s.id, s.last_name, s.first_name, s.email, *points, *sums])
    files["class.csv"] = to_csv(rows)

    rows = [["student", "lesson", "exercise", "status", "points", "max_points", "by_hand", "seconds", "message"]]
    for name in names:
        for student, work in r.work[name].items():
            for exercise, m in work.marks.items():
                points = [_points(m.points), _points(m.max_points), "yes" if m.by_hand else ""]
                rows.append([student, name, exercise, m.status, *points, m.seconds if m.seconds is not None else "", m.message])
    files["exercises.csv"] = to_csv(rows)

    rows = [["lesson", "student_1", "student_2", "exercises", "alike", "same_text", "weight"]]
    for p in report.pairs:
        rows.append([p.lesson, *p.students, " ".join(p.exercises), f"{p.alike:.3f}", "yes" if p.same_text else "", f"{p.weight:g}"])
    files["similar.csv"] = to_csv(rows)
    files["canvas.csv"] = to_csv(canvas_rows(r))
    files["moodle.csv"] = to_csv(moodle_rows(r))
    return files


def canvas_rows(r: Results) -> list[list]:
    """Rows for Canvas (Gradebook, Import).

    Canvas finds a student by ID (its own number), else by SIS Login ID, else by name; it finds a
    column by the assignment's title, or offers to make a new assignment with the points of the
    second row.  An empty field changes nothing.
    https://community.canvaslms.com/t5/Instructor-Guide/How-do-I-import-grades-in-the-Gradebook/ta-p/807
    """
    rows = [["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *(lesson.name for lesson in r.lessons)]]
    rows.append(["    Points Possible", "", "", "", "", *(_points(lesson.points) for lesson in r.lessons)])
    for s in r.students.values():
        works = [r.work[lesson.name].get(s.id) for lesson in r.lessons]
        rows.append([s.name or s.id, s.lms_id, "", s.id, "", *(_points(w.points) if w else "" for w in works)])
    return rows


def moodle_rows(r: Results) -> list[list]:
    """Rows for Moodle (Grades, Import, CSV file): map ``Username`` (or e-mail address, or ID number)
    to the user, and each lesson to its grade item or to a new one. A dash is no grade.
    https://docs.moodle.org/en/Grade_import
    """
    rows = [["Username", "First name", "Last name", "ID number", "Email address", *(lesson.name for lesson in r.lessons)]]
    for s in r.students.values():
        works = [r.work[lesson.name].get(s.id) for lesson in r.lessons]
        points = [_points(w.points) if w else "-" for w in works]
        rows.append([s.id, s.first_name, s.last_name, s.lms_id, s.email, *points])
    return rows


def to_csv(rows: list[list]) -> str:
    """CSV as RFC 4180 has it, with texts that a spreadsheet would take for a formula made harmless."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows([[_harmless(v) for v in row] for row in rows])
    return out.getvalue()


def _harmless(value):
    """A text that begins like a formula gets an apostrophe (OWASP, CSV Injection). A lone dash stays."""
    if not isinstance(value, str):
        return value
    value = value.replace("\0", "")
    begins = value.lstrip(" \u00a0")[:1]
    return f"'{value}" if begins in tuple("=+-@\t\r\n＝＋－＠") and value != "-" else value


def _points(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


# --------------------------------------------------------------------------------------------------
# The page


def page(report: Report) -> str:
    """The whole report as one HTML text."""
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(points=_points, percent=lambda share: "–" if share is None else f"{100 * share:.0f} %")
    r = report.results
    when = datetime.fromtimestamp((r.root / "gradebook.db").stat().st_mtime)
    return environment.get_template("report.html").render(
        report=report,
        results=r,
        name=r.root.resolve().name,
        when=f"{when:%Y-%m-%d %H:%M}",
        total=sum(lesson.points for lesson in r.lessons),
        link=lambda student, lesson: feedback_link(r.root, student, lesson),
        failures=report.failures[:SHOWN_FAILURES],
        pairs=[(pair, _side_by_side(r, pair)) for pair in report.pairs[:SHOWN_PAIRS]],
        strip=_strip,
        weak=WEAK,
    )


def _strip(work: Work) -> str:
    """One character for each exercise, as ``unit24 grade`` prints them."""
    return "".join(MARKS.get(mark.status, "✗") for mark in work.marks.values())


def feedback_link(root: Path, student: str, lesson: str) -> str:
    """Address of a feedback page from ``report/``; empty if there is none."""
    parts = ("feedback", student, lesson, f"{lesson}.html")
    return "../" + "/".join(quote(part, safe="") for part in parts) if root.joinpath(*parts).is_file() else ""


def _side_by_side(r: Results, pair: Pair) -> list[tuple[str, list[list[tuple[bool, str]]]]]:
    """(exercise, two columns of (differs, line)) for each exercise of a pair."""
    lesson = next(lesson for lesson in r.lessons if lesson.name == pair.lesson)
    one, other = (read_sources(r.root, student, lesson) for student in pair.students)
    shown = []
    for exercise in pair.exercises:
        left, right = one.get(exercise, "").splitlines(), other.get(exercise, "").splitlines()
        columns: list[list[tuple[bool, str]]] = [[], []]
        for tag, a, b, c, d in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
            columns[0] += [(tag != "equal", line) for line in left[a:b]]
            columns[1] += [(tag != "equal", line) for line in right[c:d]]
        shown.append((exercise, columns))
    return shown
