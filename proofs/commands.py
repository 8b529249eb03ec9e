"""``unit24 prove``: what of the recorded proofs does not hold is proven again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

import click

from course.parts import ROOT


@click.command()
@click.argument("names", nargs=-1)
@click.option("--check", is_flag=True, help="Only say what is stale or missing; exit status 1 if anything is.")
@click.option("--all", "--force", "afresh", is_flag=True, help="Prove again what still holds.")
@click.option("--jobs", "-j", type=click.IntRange(1), default=os.cpu_count() or 1, help="Processes side by side (cores).")
@click.option("--json", "as_json", is_flag=True, help="Print one object instead of a table.")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), default=ROOT, hidden=True)
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
