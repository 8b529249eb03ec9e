"""The maintainer's commands: ``unit24 prove`` and ``unit24 blind``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path

import click

from course.parts import ROOT

root_option = click.option("--root", type=click.Path(path_type=Path, file_okay=False), default=ROOT, hidden=True)


@click.command()
@click.argument("names", nargs=-1)
@click.option("--check", is_flag=True, help="Only say what is stale or missing; exit status 1 if anything is.")
@click.option("--all", "--force", "afresh", is_flag=True, help="Prove again what still holds.")
@click.option("--jobs", "-j", type=click.IntRange(1), default=os.cpu_count() or 1, help="Processes side by side (cores).")
@click.option("--json", "as_json", is_flag=True, help="Print one object instead of a table.")
@root_option
def prove(names: tuple[str, ...], check: bool, afresh: bool, jobs: int, as_json: bool, root: Path) -> int:
    """Prove what is recorded about lessons again where anything changed that decides on it.

    NAMES: some lessons, as 04 or 04_training_loop, or `sweeps` for the long sweeps of the tests; all without a name.

    For each lesson: the audit with mutants, nbval of the solved notebook, the sample class with its expected points,
    and equal scores from stock nbgrader.  Each is recorded in lessons/records/ as it is reached, so that a run that
    was stopped goes on where it was.
    """
    from authoring.build import Course
    from proofs import run, standing, sweeps

    with_sweeps = not names or sweeps.NAME in names
    wanted = tuple(name for name in names if name != sweeps.NAME)
    lessons = Course(root).read(wanted) if wanted or not names else []

    def standings() -> list[standing.Standing]:
        found = [about for lesson in lessons for about in standing.standings(lesson, root)]
        return found + (standing.sweep_standings(root) if with_sweeps else [])

    if check:
        if afresh:
            raise click.UsageError("--check proves nothing, so --all means nothing with it.")
        now = standings()
        return _tell(now, [], None, as_json)
    start = time.monotonic()
    todo = run.plan(lessons, with_sweeps, jobs, afresh, root)
    minutes = max(sum(job.seconds for job in todo) / jobs, max((job.seconds for job in todo), default=0)) / 60
    if todo:
        click.echo(f"{len(todo)} things to prove, {jobs} at a time: about {max(1, round(minutes))} minutes.", err=True)
    with _Progress() as progress:
        problems = run.prove(todo, jobs, progress)
    return _tell(standings(), problems, time.monotonic() - start if todo else None, as_json)


def _tell(now: Iterable, problems: list[str], seconds: float | None, as_json: bool) -> int:
    """Print how things stand; the command's exit status."""
    from proofs.standing import PROVEN

    now = list(now)
    short = [about for about in now if about.state != PROVEN]
    if as_json:
        subjects: dict[str, dict] = {}
        for about in now:
            subjects.setdefault(about.subject, {})[about.proof] = {"state": about.state, "what": about.what}
        click.echo(json.dumps({"proofs": subjects, "problems": problems, "seconds": seconds}, ensure_ascii=False, indent=1))
        return 1 if short or problems else 0
    if seconds is not None:
        _print_table(now)
    for line in [*problems, *map(str, short)]:
        click.echo(line)
    took = "" if seconds is None else f" ({seconds:.0f} s)"
    click.echo(f"{len(now) - len(short)} of {len(now)} proofs hold{took}.")
    return 1 if short or problems else 0


def _print_table(now: list) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from proofs.standing import PROVEN
    from proofs.sweeps import NAME

    rows: dict[str, dict[str, str]] = {}
    for about in now:
        rows.setdefault(about.subject, {})[about.proof] = "✓" if about.state == PROVEN else about.state
    swept, console = rows.pop(NAME, {}), Console()
    if rows:
        proofs = list(next(iter(rows.values())))
        table = Table("lesson", *proofs, box=box.SIMPLE_HEAD, pad_edge=False)
        for lesson, states in rows.items():
            table.add_row(lesson, *(states[proof] for proof in proofs))
        console.print(table)
    for file, state in swept.items():
        console.print(f"{state} {file}", highlight=False)


class _Progress:
    """A bar for each running job on a terminal's stderr; a line for each that ended, anywhere."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        self.bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.tasks: dict = {}

    def __enter__(self) -> _Progress:
        self.bars.start()
        return self

    def __exit__(self, *_) -> None:
        self.bars.stop()

    def start(self, job) -> None:
        self.tasks[job] = self.bars.add_task(_name(job), total=None)

    def total(self, job, steps: int) -> None:
        self.bars.update(self.tasks[job], total=steps)

    def step(self, job, what: str) -> None:
        self.bars.update(self.tasks[job], advance=1, description=f"{_name(job)} {what}")

    def end(self, job, problems: list[str], seconds: float) -> None:
        self.bars.remove_task(self.tasks.pop(job))
        said = "fell short" if problems else "done"
        self.bars.console.print(f"{_name(job)}: {said} in {seconds:.0f} s", highlight=False, markup=False)


def _name(job) -> str:
    return f"{job.subject}, {' and '.join(job.parts if job.subject == 'sweeps' else job.proofs)}"


# --------------------------------------------------------------------------------------------------
# unit24 blind


@click.command()
@click.argument("name", metavar="LESSON")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--messages", is_flag=True, help="List what each rejected wrong answer was told, too.")
@click.option("--record", is_flag=True, help="Put the round's figures into the lesson's record.")
@click.option("--jobs", "-j", type=click.IntRange(1), help="Answers graded side by side.  [default: one for each core]")
@click.option("--json", "as_json", is_flag=True, help="Print one object instead of a table.")
@root_option
def blind(name: str, folder: Path, messages: bool, record: bool, jobs: int | None, as_json: bool, root: Path) -> int:
    """Measure whether LESSON (as 04 or 04_training_loop) is graded fairly, by a reader who does not know its solutions.

    \b
    1. A new or empty DIR gets the student notebook and README.md: all that
       the reader needs to write right and wrong answers into DIR/answers/.
    2. Called again, it grades each answer as a student's and lists those that
       were not treated as they must be.
    3. Whoever judges them marks answers that are not what they were meant to
       be (not_counted="why"), and false messages (misleads="how").
    4. --record keeps the figures.  After that the lesson may be mended, and
       the same call shows what became of the answers.

    Verdicts are kept as they are reached: a run that was stopped goes on where it was.
    Exit status 1 if an answer that counts was not treated as it must be.
    """
    from authoring.build import Course
    from course.rounds import record_round
    from proofs import blind as blinding
    from proofs.blind_answers import read_answers
    from unit24.errors import UserError

    course, start = Course(root), time.monotonic()
    (lesson,) = course.read((name,))
    about = blinding.find_round(lesson, folder)
    if about is None:
        if record:
            raise UserError(f"{folder}: there is no round to record yet; without --record it begins one.")
        blinding.begin(lesson, folder)
        click.echo(f"{folder} is for a reader who knows neither solutions nor hidden tests of {lesson.name}: {blinding.README} says what to do.")
        click.echo(f"When there are answers in {folder / blinding.ANSWERS}, call this again.")
        return 0
    answers = read_answers(lesson, folder / blinding.ANSWERS)
    if not answers:
        raise UserError(f"{folder / blinding.ANSWERS}: no answers there yet; {folder / blinding.README} says how they are written.")
    mended = not about.is_of(lesson)
    if mended and record:
        raise UserError(f"{lesson.name} has changed since the reader saw it: record the round with the lesson as it was.")
    with _grading(lesson.name, len(answers)) as (going_on, done):
        graded = blinding.grade(lesson, folder, answers, jobs, going_on, done)
    found = blinding.figures(lesson, graded)
    if record:
        record_round(lesson.name, {"id": about.id, "date": about.date, **found}, course.records)
    if as_json:
        told = {"lesson": lesson.name, "date": about.date, "changed": mended, "recorded": record}
        click.echo(json.dumps({**told, **found, "answers": [g.as_dict() for g in graded]}, ensure_ascii=False, indent=1))
    else:
        _print_round(found, graded, messages)
        if mended:
            click.echo(f"{lesson.name} has changed since the reader saw it: these are no figures of a blind round.")
        click.echo(f"{'recorded, ' if record else ''}{time.monotonic() - start:.0f} s")
    return 1 if any(g.deviates for g in graded) else 0


@contextmanager
def _grading(lesson: str, total: int):
    """A progress bar on a terminal's stderr; gives two functions: what goes on, and that an answer is done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(lesson, total=total)
        yield (
            lambda text: bar.update(task, description=f"{lesson}: {text}"[:60].ljust(60)),
            lambda answer: bar.update(task, advance=1, description=f"{lesson}: {answer.student}"[:60].ljust(60)),
        )


def _print_round(found: dict, graded: list, messages: bool) -> None:
    """The figures by exercise, then what there is to look at."""
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    from course.rounds import in_words

    headers = ("right accepted", "wrong rejected", "misleading", "not counted")
    table = Table("exercise", *(Column(header, justify="right") for header in headers), box=box.SIMPLE_HEAD, pad_edge=False)
    for exercise, of_it in found["exercises"].items():
        shares = (f"{good} of {counted}" if counted else "–" for counted, good in (of_it["right"], of_it["wrong"]))
        table.add_row(exercise, *shares, *(str(of_it[key] or "") for key in ("misleading", "not_counted")))
    Console().print(table)
    shown = [g for g in graded if g.deviates or g.misleading or not g.counted or (messages and not g.accepted)]
    for one in sorted(shown, key=lambda g: (not g.deviates, not g.misleading, g.counted)):
        _print_answer(one)
    click.echo(f"{in_words(found)}, not counted: {found['not_counted']}.")


def _print_answer(graded) -> None:
    answer, verdict = graded.answer, graded.verdict
    happened = "accepted" if graded.accepted else "rejected"
    if graded.deviates:
        happened = "turned down, though right" if answer.is_right else "slips through, though wrong"
    points = f"{verdict.points:g} of {verdict.max_points:g} points"
    click.echo(f"{answer.place}: {answer.cell.label}: {happened} ({verdict.status}, {points})")
    told = "" if graded.accepted else " ".join(verdict.message.split())
    about = "written as" if answer.is_right else "misunderstands"
    for name, text in ((about, answer.says), ("told", told), ("misleads", answer.misleads), ("not counted", answer.not_counted)):
        if text:
            click.echo(f"    {name}: {text}")
