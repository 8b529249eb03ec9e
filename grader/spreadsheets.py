"""CSV files of a graded class: for spreadsheets, and for the gradebooks of Canvas and Moodle."""

from __future__ import annotations

import csv
import io

from grader.analysis import Report
from grader.outcomes import points_text
from grader.results import Results


def csv_files(report: Report) -> dict[str, str]:
    """Name -> text of every CSV file."""
    r = report.results
    names = [lesson.name for lesson in r.lessons]
    total = sum(lesson.points for lesson in r.lessons)
    files = {}

    rows = [["student", "last_name", "first_name", "email", *names, "total", "max_total", "waiting"]]
    for s in r.students.values():
        works = [r.work[name].get(s.id) for name in names]
        points = [points_text(w.points) if w else "" for w in works]
        done = [w for w in works if w]
        sums = [points_text(sum(w.points for w in done)), points_text(total), sum(w.waiting for w in done)]
        rows.append([s.id, s.last_name, s.first_name, s.email, *points, *sums])
    files["class.csv"] = to_csv(rows)

    rows = [["student", "lesson", "exercise", "status", "points", "max_points", "by_hand", "seconds", "message"]]
    for name in names:
        for student, work in r.work[name].items():
            for exercise, m in work.marks.items():
                points = [points_text(m.points), points_text(m.max_points), "yes" if m.by_hand else ""]
                rows.append([student, name, exercise, m.status, *points, m.seconds or "", m.message])
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
    rows.append(["    Points Possible", "", "", "", "", *(points_text(lesson.points) for lesson in r.lessons)])
    for s in r.students.values():
        works = [r.work[lesson.name].get(s.id) for lesson in r.lessons]
        rows.append([s.name or s.id, s.lms_id, "", s.id, "", *(points_text(w.points) if w else "" for w in works)])
    return rows


def moodle_rows(r: Results) -> list[list]:
    """Rows for Moodle (Grades, Import, CSV file): map ``Username`` (or e-mail address, or ID number)
    to the user, and each lesson to its grade item or to a new one. A dash is no grade.
    https://docs.moodle.org/en/Grade_import
    """
    rows = [["Username", "First name", "Last name", "ID number", "Email address", *(lesson.name for lesson in r.lessons)]]
    for s in r.students.values():
        works = [r.work[lesson.name].get(s.id) for lesson in r.lessons]
        points = [points_text(w.points) if w else "-" for w in works]
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
