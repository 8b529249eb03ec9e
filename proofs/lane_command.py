"""The maintainer's command ``unit24 lane``."""

from __future__ import annotations

import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import click

from course.parts import ROOT


@click.command()
@click.argument("name", metavar="LANE")
@click.argument("lessons", nargs=-1)
@click.option("--jobs", "-j", type=click.IntRange(1), default=os.cpu_count() or 1, help="Lessons side by side (cores).")
@click.option("--record", is_flag=True, help="Keep the outcome in lanes/LANE.json, in place of an earlier one of the same lessons.")
@click.option("--json", "as_json", is_flag=True, help="Print one object instead of a table.")
def lane(name: str, lessons: tuple[str, ...], jobs: int, record: bool, as_json: bool) -> int:
    """Run LESSONS (as 04; all without a name) where students run them: in the environment that lanes/LANE.txt lists.

    LANE: colab, kaggle or latest.  For each lesson, in a fresh copy of the environment: the set-up cell as a student
    runs it, with the course's wheel beside the notebook; the solved notebook cell by cell; the bench's reference.
    The first call makes the environment (several GB, in .unit24/lanes).  TORCH_INDEX=URL takes another build of torch.

    Exit status 1 if something broke in a lesson that the list does not skip.
    """
    from authoring.build import Course
    from authoring.release import build_wheel
    from course.records import change_record
    from proofs.lane_run import run_lesson
    from proofs.lanes import prepare, read_lane

    environment, wanted = read_lane(name), Course(ROOT).read(lessons)
    about = {"lane": name, "listed": environment.date, "python": environment.python}
    with _Progress() as progress, tempfile.TemporaryDirectory(prefix="unit24-wheel-") as folder:
        base = prepare(environment, progress.say)
        wheel = build_wheel(Path(folder))

        def run(lesson) -> tuple[str, dict]:
            if why := environment.skipped(lesson.name):
                return lesson.name, {"skipped": why}
            outcome = run_lesson(lesson, environment, base, wheel, lambda text: progress.step(lesson.name, text))
            outcome["date"] = str(date.today())
            progress.end(lesson.name, outcome)
            if record:  # at once: a run takes hours, and may be stopped
                change_record(name, lambda old: about | {"lessons": old.get("lessons", {}) | {lesson.name: outcome}}, ROOT / "lanes")
            return lesson.name, outcome

        with ThreadPoolExecutor(jobs) as pool:
            outcomes = dict(pool.map(run, wanted))
    about["lessons"] = outcomes
    if as_json:
        click.echo(json.dumps(about, ensure_ascii=False, indent=1))
    else:
        _print_outcomes(about)
    return 1 if any(_is_broken(outcome) for outcome in outcomes.values()) else 0


def _is_broken(outcome: dict) -> bool:
    return bool(outcome.get("broken") or outcome.get("judged"))


def _errors(lesson: str, outcome: dict) -> list[str]:
    """A line for each first error."""
    parts = ("broken", "the notebook"), ("judged", "the bench")
    return [f"{lesson}, {exercise}, in {where}: {error}" for part, where in parts for exercise, error in outcome[part].items()]


def _print_outcomes(about: dict) -> None:
    """A row a lesson, then every first error with the versions it was met with."""
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    table = Table("lesson", Column("set-up", justify="right"), "notebook", "bench", box=box.SIMPLE_HEAD, pad_edge=False)
    for lesson, outcome in about["lessons"].items():
        if "skipped" in outcome:
            table.add_row(lesson, "", "skipped", "")
            continue
        states = (f"{len(outcome[part])} broken" if outcome[part] else "✓" for part in ("broken", "judged"))
        table.add_row(lesson, f"{outcome['setup_seconds']:.0f} s", *states)
    Console().print(table)
    for lesson, outcome in about["lessons"].items():
        if "skipped" in outcome:
            click.echo(f"{lesson}: skipped {outcome['skipped']}")
            continue
        said = outcome["setup"].splitlines()
        for line in said[1:]:
            click.echo(f"{lesson}, the set-up: {line}")
        for error in _errors(lesson, outcome):
            click.echo(error)
        if _is_broken(outcome):
            click.echo("    with " + ", ".join(f"{name} {version or '(absent)'}" for name, version in outcome["versions"].items()))
    good = sum(not _is_broken(outcome) and "skipped" not in outcome for outcome in about["lessons"].values())
    click.echo(f"{about['lane']} (list of {about['listed']}, Python {about['python']}): {good} of {len(about['lessons'])} lessons run whole.")


class _Progress:
    """What goes on, on a terminal's stderr: a line for each lesson that runs; where there is none, a line for each that ended."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
        self.lines = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.tasks: dict[str, int] = {}

    def __enter__(self) -> _Progress:
        self.lines.start()
        return self

    def __exit__(self, *_) -> None:
        self.lines.stop()

    def say(self, text: str) -> None:
        self.lines.console.print(text, highlight=False, markup=False)

    def step(self, lesson: str, text: str) -> None:
        if lesson not in self.tasks:
            self.tasks[lesson] = self.lines.add_task(lesson)
        self.lines.update(self.tasks[lesson], description=text)

    def end(self, lesson: str, about: dict) -> None:
        self.lines.remove_task(self.tasks.pop(lesson))
        for error in _errors(lesson, about):
            self.say(error)
        self.say(f"{lesson}: {'broken' if _is_broken(about) else 'runs whole'}, {about['seconds']:.0f} s")
