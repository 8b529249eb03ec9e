"""The author's commands: ``unit24 lessons``, ``unit24 build``, ``unit24 new``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click

from authoring.lesson import ROOT, Lesson, lesson_names
from unit24.env import UserError

TEMPLATE = Path(__file__).with_name("template_lesson.txt")
root_option = click.option(
    "--root", type=click.Path(path_type=Path, file_okay=False), default=ROOT, hidden=True, help="The repository, if not this one."
)


# --------------------------------------------------------------------------------------------------
# unit24 lessons


@click.command()
@click.argument("names", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects instead of a table.")
@root_option
def lessons(names: tuple[str, ...], as_json: bool, root: Path) -> None:
    """List the lessons (NAMES: some of them, as 04 or 04_training_loop)."""
    from authoring.build import Course

    course = Course(root)
    about = [describe(lesson, course.records) for lesson in course.read(names)]
    if as_json:
        click.echo(json.dumps(about, ensure_ascii=False, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("lesson", "title", *(_right(h) for h in ("exercises", "points", "minutes", "quiz", "seconds", "MB")))
    for a in about:
        graded = [*a["exercises"], *a["answers"]]
        minutes, points = (sum(e[key] for e in graded) for key in ("minutes", "points"))
        measured = ["–" if a[key] is None else f"{a[key]:.0f}" for key in ("seconds", "peak_mb")]
        table.add_row(a["lesson"], a["title"], str(len(graded)), f"{points:g}", str(minutes), str(a["quiz"]), *measured)
    Console().print(table)


def describe(lesson: Lesson, records: Path) -> dict[str, Any]:
    """What ``unit24 lessons --json`` says about one lesson."""
    from authoring.records import read_record

    measured = read_record(lesson.name, records).get("solution", {})
    return {
        "lesson": lesson.name,
        "title": lesson.title,
        "exercises": [
            {
                "id": e.id,
                "points": _number(e.points),
                "minutes": e.minutes,
                "difficulty": e.difficulty,
                "wrong": len(e.wrong),
                "right": len(e.right),
                "hints": e.hints,
            }
            for e in lesson.exercises
        ],
        "answers": [
            {"id": a.id, "points": _number(a.points), "minutes": a.minutes, "difficulty": a.difficulty} for a in lesson.answers
        ],
        "quiz": len(lesson.questions),
        "seconds": measured.get("seconds"),
        "peak_mb": measured.get("peak_mb"),
    }


# --------------------------------------------------------------------------------------------------
# unit24 build


@click.command()
@click.argument("names", nargs=-1)
@click.option("--check", is_flag=True, help="Only say what is not current; nothing is executed or written.")
@click.option("--force", is_flag=True, help="Execute lessons again that have not changed.")
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Lessons executed side by side.")
@root_option
def build(names: tuple[str, ...], check: bool, force: bool, jobs: int, root: Path) -> int:
    """Make solutions/ (executed) and notebooks/ from the lesson texts.

    NAMES: some lessons, as 04 or 04_training_loop; all without a name.  What has not changed is
    not executed again.
    """
    from rich.console import Console

    from authoring import build as building

    course = building.Course(root)
    chosen = course.read(names)
    if check:
        if force:
            raise click.UsageError("--check executes nothing, so --force means nothing with it.")
        problems = building.check(chosen, course)
        for problem in problems:
            click.echo(problem)
        if not problems:
            click.echo(f"{_count(len(chosen), 'lesson')}: solutions/ and notebooks/ are current, no leak.")
        return 1 if problems else 0
    console = Console()
    with _Progress(console) as progress:
        report = building.build(chosen, course, force, jobs, progress)
    for problem in report.problems:
        click.echo(problem, err=True)
    done = f"{len(report.executed)} executed, {len(report.released)} released, {len(report.current)} already current"
    problems = f", {_count(len(report.problems), 'problem')}" if report.problems else ""
    click.echo(f"{_count(len(chosen), 'lesson')}: {done}{problems}.")
    return 1 if report.problems else 0


class _Progress:
    """A bar for each running lesson on a terminal; one line for each finished lesson anywhere."""

    def __init__(self, console):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("cells"), TimeElapsedColumn()
        self.bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.tasks: dict[str, Any] = {}

    def __enter__(self):
        self.bars.start()
        return self

    def __exit__(self, *_):
        self.bars.stop()

    def start(self, name: str, total: int) -> None:
        self.tasks[name] = self.bars.add_task(name, total=total)

    def cell(self, name: str, done: int, total: int) -> None:
        self.bars.update(self.tasks[name], completed=done, total=total)

    def end(self, name: str, run) -> None:
        self.bars.remove_task(self.tasks.pop(name))
        said = f"executed in {run.seconds:.1f} s, at most {run.peak_mb} MB" if run else "failed"
        (self.bars.console.print if self.bars.live.is_started else click.echo)(f"{name}: {said}")


# --------------------------------------------------------------------------------------------------
# unit24 new


@click.command()
@click.argument("name")
@root_option
def new(name: str, root: Path) -> None:
    """Begin lesson NAME (as 61_my_topic) from the template, which already builds and passes the audit."""
    from unit24.files import write_whole

    name = name.removesuffix(".py")
    if not re.fullmatch(r"[0-9]{2}_[a-z0-9]+(_[a-z0-9]+)*", name):
        raise UserError(f"{name!r} is not a lesson's name: two digits, then words in lower case, joined by _, as 61_my_topic.")
    folder = root / "lessons"
    for other in lesson_names(folder):
        if other == name:
            raise UserError(f"lessons/{name}.py is there already; nothing was changed.")
        if other[:2] == name[:2]:
            raise UserError(f"the number {name[:2]} belongs to lessons/{other}.py: choose another.")
    title = name[3:].replace("_", " ").capitalize()
    write_whole(folder / f"{name}.py", TEMPLATE.read_text(encoding="utf-8").replace("The lesson's title", title))
    click.echo(f"lessons/{name}.py is written: one exercise, complete, to be replaced by yours.")
    click.echo(f"Next: unit24 build {name} && unit24 audit {name}, then make lab to look at notebooks/{name}.")


# --------------------------------------------------------------------------------------------------


def _right(header: str):
    from rich.table import Column

    return Column(header, justify="right")


def _number(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
