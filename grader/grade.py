"""Grade a class: every submission of a lesson on that lesson's bench, results into nbgrader's places."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from course.lesson import LESSONS, Lesson, find_lessons, lesson_names, read
from grader.autograded import write_autograded
from grader.courses import ALONE, Judged, courses
from grader.engines import Engine, Job, threads
from grader.feedback import write_feedback
from grader.gradebook import Forms, Gradebook, exclusive, read_timestamp
from grader.journal import Journal
from grader.outcomes import Mark, Verdict, Work
from grader.submission import LessonCells, Submission, read_submission
from grader.syntax import plain_python, same_code
from unit24.errors import UserError


@dataclass
class GradedSubmission:
    """The outcome of one submission. `status` is graded, unreadable or no notebook."""

    student: str
    lesson: str
    points: float
    max_points: float
    status: str
    exercises: dict[str, Verdict]
    findings: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)  # written answers that a person must grade

    def as_dict(self) -> dict:
        """What ``unit24 grade --json`` says about it."""
        return vars(self) | {"exercises": {name: verdict.as_dict() for name, verdict in self.exercises.items()}}


@dataclass(frozen=True)
class ToGrade:
    """What there is to grade in a class folder, and what lies there without being a submission."""

    submissions: dict[str, list[tuple[str, Path]]]  # lesson -> (student, notebook)
    stray: list[str]


def find_work(root: Path, wanted: tuple[str, ...] = (), lessons: Path = LESSONS) -> ToGrade:
    """Submissions under ``root/submitted/STUDENT/LESSON/``.

    Raises:
        UserError: there is no ``submitted`` folder, or an unknown lesson was asked for.
    """
    submitted = root / "submitted"
    if not submitted.is_dir():
        raise UserError(f"{submitted}: no such folder; a class is graded from submitted/STUDENT/LESSON/LESSON.ipynb")
    chosen = find_lessons(wanted, lessons)
    known = set(lesson_names(lessons))
    work: dict[str, list[tuple[str, Path]]] = {}
    stray = []
    for student in _entries(submitted, "submitted", stray):
        if student.is_symlink() or not student.is_dir():
            stray.append(f"submitted/{student.name}: not a student's folder")
            continue
        for folder in _entries(student, f"submitted/{student.name}", stray):
            where = f"submitted/{student.name}/{folder.name}"
            if folder.is_symlink() or not folder.is_dir():
                stray.append(f"{where}: not a lesson's folder")
            elif folder.name not in known:
                stray.append(f"{where}: there is no lesson of this name")
            elif folder.name in chosen:
                work.setdefault(folder.name, []).append((student.name, folder / f"{folder.name}.ipynb"))
    return ToGrade({name: work[name] for name in sorted(work)}, stray)


def _entries(folder: Path, where: str, stray: list[str]) -> list[Path]:
    """What lies in a folder, hidden files left out; what cannot be read or named is told in `stray`."""
    try:
        found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        stray.append(f"{where}: cannot be read ({error.strerror}): graded without it")
        return []
    named = [path for path in found if _is_text(path.name)]
    for path in set(found) - set(named):
        shown = ascii(path.name)
        stray.append(f"{where}/{shown}: its name is not UTF-8, or has signs that cannot be shown: rename it, then grade again")
    return named


def _is_text(name: str) -> bool:
    return name.isprintable()  # half a sign is not


def grade_class(
    root: Path,
    work: ToGrade,
    engine: Engine | None = None,
    force: bool = False,
    lessons: Path = LESSONS,
    step: Callable[[str], None] = lambda text: None,
) -> Iterator[GradedSubmission]:
    """Grade everything in `work`, yielding each submission as it is done and written.

    Args:
        engine: who judges; default `engines.threads`, one for each core.
        force: judge again what has a verdict.
        step: called with what is going on, for a progress display.
    """
    engine = engine or threads()
    with exclusive(root), Gradebook(root) as gradebook:
        for name, submissions in work.submissions.items():
            lesson = read(lessons / f"{name}.py")
            forms, cells, journal = Forms(lesson), LessonCells(lesson), Journal(root, lesson)
            gradebook.register(forms)
            jobs = (_job(read_submission(path, student, cells), cells, journal, force) for student, path in submissions)
            with closing(engine(lesson, jobs, _journalled)) as finished:
                for job in finished:
                    step(f"{name}: {job.about.submission.student}")
                    graded = _graded(job.about, lesson)
                    _write(root, gradebook, forms, job.about.submission, graded)
                    yield graded
            gradebook.penalise(name)


@dataclass
class _InProgress:
    """A submission being graded: its verdicts so far, and the journal's keys for each exercise."""

    submission: Submission
    journal: Journal
    keys: dict[str, list[str]]
    verdicts: dict[str, Verdict]


def _job(submission: Submission, cells: LessonCells, journal: Journal, force: bool) -> Job:
    """What of a submission is to be judged: every exercise without a verdict that still holds."""
    about = _InProgress(submission, journal, {}, {})
    tasks = []
    for exercise in cells.lesson.exercises:
        source = plain_python(submission.sources.get(exercise.id, ""))
        if same_code(submission.sources.get(exercise.id, "")) == cells.stubs[exercise.id]:
            source = ""  # untouched: the bench answers without running anything
        ways = courses(submission, exercise, source, cells) if source else (ALONE,)
        keys = about.keys[exercise.id] = journal.keys(exercise, source, ways)
        verdict = None if force else journal.find(submission.student, exercise.id, keys)
        if verdict:
            about.verdicts[exercise.id] = verdict
        else:
            tasks.append((exercise.id, source, ways))
    return Job(about, tuple(tasks))


def _journalled(job: Job, judged: Judged) -> None:
    about, verdict = job.about, judged.verdict
    about.journal.add(about.submission.student, about.keys[verdict.exercise][judged.courses - 1], verdict)
    about.verdicts[verdict.exercise] = verdict


def _graded(about: _InProgress, lesson: Lesson) -> GradedSubmission:
    submission = about.submission
    verdicts = {e.id: about.verdicts[e.id] for e in lesson.exercises}
    waiting = [name for name, answer in submission.answers.items() if not answer.is_blank]
    exists = submission.path.exists() or submission.path.is_symlink()
    status = "graded" if submission.readable else "unreadable" if exists else "no notebook"
    points = round(sum(v.points for v in verdicts.values()), 4)
    return GradedSubmission(
        submission.student, lesson.name, points, lesson.points, status, verdicts, submission.findings, waiting
    )


def _write(root: Path, gradebook: Gradebook, forms: Forms, submission: Submission, graded: GradedSubmission) -> None:
    marks = {name: Mark.of(verdict) for name, verdict in graded.exercises.items()}
    for answer in forms.lesson.answers:
        waiting = answer.id in graded.waiting
        unjudged = Verdict(answer.id, "waiting" if waiting else "not attempted", 0.0, answer.points, "")
        marks[answer.id] = Mark.of(unjudged, waiting=waiting)
    write_autograded(root, forms, submission, graded.exercises)
    write_feedback(root, forms.lesson, submission, Work(submission.student, submission.lesson, marks))
    scores: dict[str, float | None] = {f"test_{name}": v.points for name, v in graded.exercises.items()}
    scores.update((a.id, None if a.id in graded.waiting else 0.0) for a in forms.lesson.answers)
    comments = {name: v.message for name, v in graded.exercises.items() if v.status != "passed"}
    gradebook.write(submission, scores, comments, read_timestamp(submission))
