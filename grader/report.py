"""The class report: who is stuck where, from the gradebook and the verdicts.

``report/index.html`` needs nothing else; ``class.csv``, ``exercises.csv`` and ``similar.csv`` are for
spreadsheets, ``canvas.csv`` and ``moodle.csv`` for the gradebooks of these platforms.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from course.lesson import LESSONS, Lesson
from course.notebook import student_source
from grader.analysis import WEAK, Report, count_failures, find_notes, view_lesson
from grader.autograded import read_sources
from grader.feedback import feedback_path, refresh_feedback
from grader.outcomes import SHOWN, Work, legend, shown
from grader.pages import render
from grader.results import Results, read_results
from grader.similar import Pair, similar_pairs
from grader.spreadsheets import csv_files
from unit24.files import write_whole

SHOWN_FAILURES, SHOWN_PAIRS = 20, 20


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


def lesson_answers(lesson: Lesson) -> dict[str, list[str]]:
    """Exercise -> everything that the lesson itself has for its cell."""
    return {
        e.id: [student_source(e.cell), e.cell.source, *(cell.source for cell in (*e.right, *e.wrong))] for e in lesson.exercises
    }


# --------------------------------------------------------------------------------------------------
# The page


def page(report: Report) -> str:
    """The whole report as one HTML text."""
    r = report.results
    when = datetime.fromtimestamp((r.root / "gradebook.db").stat().st_mtime)
    return render(
        "report.html",
        report=report,
        results=r,
        name=r.root.resolve().name,
        when=f"{when:%Y-%m-%d %H:%M}",
        total=sum(lesson.points for lesson in r.lessons),
        link=lambda student, lesson: feedback_link(r.root, student, lesson),
        failures=report.failures[:SHOWN_FAILURES],
        pairs=[(pair, _side_by_side(r, pair)) for pair in report.pairs[:SHOWN_PAIRS]],
        strip=_strip,
        legend=legend(SHOWN),
        weak=WEAK,
    )


def _strip(work: Work) -> str:
    """One character for each exercise, as ``unit24 grade`` prints them."""
    return "".join(shown(mark.status).sign for mark in work.marks.values())


def feedback_link(root: Path, student: str, lesson: str) -> str:
    """Address of a feedback page from ``report/``; empty if there is none."""
    path = feedback_path(root, student, lesson)
    return "../" + "/".join(quote(part, safe="") for part in path.relative_to(root).parts) if path.is_file() else ""


def _side_by_side(r: Results, pair: Pair) -> list[tuple[str, list[list[tuple[bool, str]]]]]:
    """(exercise, two columns of (differs, line)) for each exercise of a pair."""
    lesson = next(lesson for lesson in r.lessons if lesson.name == pair.lesson)
    one, other = (read_sources(r.root, student, lesson) for student in pair.students)
    compared = []
    for exercise in pair.exercises:
        left, right = one.get(exercise, "").splitlines(), other.get(exercise, "").splitlines()
        columns: list[list[tuple[bool, str]]] = [[], []]
        for tag, a, b, c, d in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
            columns[0] += [(tag != "equal", line) for line in left[a:b]]
            columns[1] += [(tag != "equal", line) for line in right[c:d]]
        compared.append((exercise, columns))
    return compared
