"""The author's commands: ``unit24 lessons``, ``unit24 build``, ``unit24 new``."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

from course.lesson import ROOT, Lesson, lesson_names
from unit24.errors import UserError

TEMPLATES = {"lessons": "template_lesson.txt", "lessons/answers": "template_answers.txt"}  # beside this file, by folder
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
    about = [describe(lesson, course.setup(), course.records) for lesson in course.read(names)]
    if as_json:
        click.echo(json.dumps(about, ensure_ascii=False, indent=2))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    numbers = [_right(header) for header in ("tasks", "points", "min", "quiz", "s", "MB")]
    table = Table(Column("lesson", no_wrap=True), *numbers, box=box.SIMPLE_HEAD, pad_edge=False)
    for a in about:
        graded = [*a["exercises"], *a["answers"]]
        minutes, points = (sum(e[key] for e in graded) for key in ("minutes", "points"))
        unknown = "stale" if a["stale"] else "–"
        measured = [unknown if a[key] is None else f"{a[key]:.0f}" for key in ("seconds", "peak_mb")]
        table.add_row(a["lesson"], str(len(graded)), f"{points:g}", str(minutes), str(a["quiz"]), *measured)
    Console().print(table)


def describe(lesson: Lesson, setup: str, records: Path) -> dict[str, Any]:
    """What ``unit24 lessons --json`` says about one lesson; `setup` is the text of the setup cell."""
    from course.records import last_run

    run = last_run(lesson, setup, records)
    measured = run or {}
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
        "stale": run is None,  # what was measured was another text
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
# unit24 audit


@click.command()
@click.argument("names", nargs=-1)
@click.option("--exercise", "-e", "only", multiple=True, help="Only this exercise (may be given several times).")
@click.option("--changed", is_flag=True, help="Mutants only for exercises that changed since their recorded audit.")
@click.option("--jobs", "-j", type=click.IntRange(1), default=2, show_default=True, help="Answers judged side by side.")
@click.option("--json", "as_json", is_flag=True, help="Print one object instead of a table.")
@root_option
def audit(names: tuple[str, ...], only: tuple[str, ...], changed: bool, jobs: int, as_json: bool, root: Path) -> int:
    """Judge each exercise by its answers, on the bench that grades students.

    The reference must pass, the untouched stub must earn nothing, every `wrong` must fail with its
    words, every `right` must pass, spoilt results and small mistakes (mutants) must be rejected.
    Where a task names its rules, each must be broken by a `wrong` answer.
    The audit is recorded in lessons/records/, an exercise at a time.  Beside it stands the last blind
    round, if there was one.
    """
    from authoring import audit as auditing
    from authoring.build import Course
    from course.records import read_record, record_audit
    from course.rounds import last_round

    course = Course(root)
    audits = {}
    for lesson in course.read(names):
        unknown = set(only) - {e.id for e in lesson.exercises}
        if unknown:
            raise UserError(f"{lesson.name} has no exercise {sorted(unknown)[0]!r}; it has {', '.join(e.id for e in lesson.exercises)}.")
        earlier = read_record(lesson.name, course.records).get("audit") if changed else None
        with _bar(f"{lesson.name}: audit", auditing.answers_to_judge(lesson, earlier, set(only) or None)) as step:
            record = partial(record_audit, lesson, course.records)
            audits[lesson.name] = auditing.audit_lesson(lesson, jobs, earlier, set(only) or None, step, record)
    totals = auditing.totals(audits)
    rounds = {name: last_round(name, course.records) for name in audits}
    if as_json:
        about = {name: {e: found.as_dict() for e, found in result.items()} for name, result in audits.items()}
        click.echo(json.dumps({"lessons": about, "totals": totals, "blind": rounds}, ensure_ascii=False, indent=1))
    else:
        _print_audit(audits, totals, rounds)
    score = totals["mutation_score"]
    return 0 if totals["sound"] and (score is None or score >= auditing.MUTANTS_WANTED) else 1


def _print_audit(audits, totals, rounds) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from course.rounds import in_words

    console = Console()
    for name, result in audits.items():
        columns = [_right(h) for h in ("wrong", "named", "seen", "right", "seeds", "spoilt", "mutants", "equiv.", "rules", "reported")]
        table = Table("exercise", "ref.", "stub", *columns, title=name, title_justify="left")
        for exercise, a in result.items():
            counts = (
                f"{a.wrong[1]}/{a.wrong[0]}",
                f"{a.wrong[2]}/{a.wrong[0]}",
                f"{a.visible[1]}/{a.visible[0]}",
                f"{a.right[1]}/{a.right[0]}",
                f"{a.seeds[1]}/{a.seeds[0]}" if a.seeds[0] else "–",
                f"{a.perturbations[1]}/{a.perturbations[0]}",
                f"{a.mutants[1]}/{a.mutants[0]}",
                str(a.mutants[2]),
                f"{sum(map(bool, a.rules.values()))}/{len(a.rules)}" if a.rules else "–",
                str(len(a.reported)) if a.rules else "–",
            )
            table.add_row(exercise, *("✓" if ok else "✗" for ok in (a.reference, a.stub)), *counts)
        console.print(table)
        for exercise, a in result.items():
            for note in a.notes:
                console.print(f"[red]✗[/red] {exercise}: {escape(note)}", highlight=False)
            for mutant in a.survivors:
                console.print(f"[yellow]survivor[/yellow] in {exercise}: " + escape(mutant).replace("\n", "\n    "), highlight=False)
        if last := rounds[name]:
            console.print(f"last blind round, {last['date']}: {in_words(last)}", highlight=False)
    made, killed, equivalent = totals["mutants"]
    share = "" if totals["mutation_score"] is None else f" ({100 * totals['mutation_score']:.1f} % of those not equivalent)"
    wrong, right, spoilt = totals["wrong"], totals["right"], totals["perturbations"]
    rules = f" Rules of tasks: {totals['rules']}, {totals['reported']} of them only reported." if totals["rules"] else ""
    console.print(
        f"{_count(totals['exercises'], 'exercise')}: wrong {wrong[1]} of {wrong[0]} rejected, {wrong[2]} with their words, "
        f"{totals['visible'][1]} already by the visible tests; right {right[1]} of {right[0]} "
        f"accepted; other hidden seeds change {totals['seeds'][0] - totals['seeds'][1]} of {totals['seeds'][0]} verdicts; spoilt results {spoilt[1]} of {spoilt[0]} rejected; mutants {killed} of {made} killed, {equivalent} equivalent{share}.{rules}",
        highlight=False,
    )


@contextmanager
def _bar(what: str, total: int):
    """A progress bar on a terminal's stderr; gives the function that moves it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda name: bar.update(task, advance=1, description=f"{what} {name}")


# --------------------------------------------------------------------------------------------------
# unit24 try


@click.command("try")
@click.argument("name")
@click.argument("exercise")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--quick", is_flag=True, help="Before it run only the cells whose names it uses: not where a cell works by what it does.")
@click.option("--seed", type=click.IntRange(0), help="Another seed of the hidden tests.")
@root_option
def try_(name: str, exercise: str, files: tuple[Path, ...], quick: bool, seed: int | None, root: Path) -> int:
    """Try answers to EXERCISE of lesson NAME in one process, while you write them.

    FILES: answers of your own, each below a line `# %% wrong="EXERCISE"` or `# %% right="EXERCISE"`, as in
    lessons/answers; without them the reference and the lesson's answers. Each shows what a student would be told;
    ✗ marks a right one that loses points, a wrong one that does not, or one whose message lacks its `says`.
    They run with your rights, and fast; what counts is the bench: `unit24 audit`.
    """
    import subprocess
    import sys
    import tempfile

    from authoring.build import Course
    from authoring.execute import student_environment

    (lesson,) = Course(root).read([name])
    if exercise not in (known := [e.id for e in lesson.exercises]):
        raise UserError(f"{lesson.name} has no exercise {exercise!r}; it has {', '.join(known)}.")
    with tempfile.TemporaryDirectory(prefix="unit24-try-") as folder:
        scratch = Path(folder)
        (scratch / "tmp").mkdir()
        environment = student_environment(scratch) | {"MPLBACKEND": "agg"}
        arguments = [lesson.path, exercise, "" if seed is None else seed, "quick" if quick else "", *(file.resolve() for file in files)]
        command = [sys.executable, "-m", "authoring.trying", *map(str, arguments)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as trying:
            for line in trying.stdout:
                click.echo(line, nl=False)
    return trying.returncode


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
    files = {root / folder / f"{name}.py": Path(__file__).with_name(template) for folder, template in TEMPLATES.items()}
    for path in files:
        if path.exists():
            raise UserError(f"{path.relative_to(root)} is there already; nothing was changed.")
    for other in lesson_names(root / "lessons"):
        if other[:2] == name[:2]:
            raise UserError(f"the number {name[:2]} belongs to lessons/{other}.py: choose another.")
    title = name[3:].replace("_", " ").capitalize()
    for path, template in files.items():
        write_whole(path, template.read_text(encoding="utf-8").replace("The lesson's title", title))
    written = " and ".join(str(path.relative_to(root)) for path in files)
    click.echo(f"{written} are written: one exercise, complete, to be replaced by yours.")
    click.echo(f"Next: unit24 build {name} && unit24 audit {name}, then make lab to look at notebooks/{name}.")


# --------------------------------------------------------------------------------------------------
# unit24 release


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--lesson", "names", multiple=True, help="Only this lesson (may be given several times).")
@click.option("--zip", "as_zip", is_flag=True, help="Write the archive FOLDER.zip in place of a folder.")
@click.option("--seed", type=click.IntRange(0), help="This class's value for constants that a lesson marks `# release: seed`.")
@click.option("--source", help="Where notebooks get the unit24 package: a web address of a wheel, or git+https://...")
@click.option(
    "--repository",
    type=click.Path(path_type=Path, file_okay=False),
    default=ROOT,
    hidden=True,
    help="The course repository, if not this one.",
)
def release(
    folder: Path, names: tuple[str, ...], as_zip: bool, seed: int | None, source: str | None, repository: Path
) -> None:
    """Make what students get: notebooks, the unit24 package as a wheel, instructions. No solutions, no hidden tests.

    FOLDER must be new or empty. Everything is looked through for leaks before it is put there.
    """
    from rich.console import Console

    from authoring.build import Course
    from authoring.release import make_release

    with Console(stderr=True).status("") as status:
        made = make_release(Course(repository), folder, names, as_zip, seed, source, step=status.update)
    click.echo(f"{made.path}: {len(made.lessons)} {'lesson' if len(made.lessons) == 1 else 'lessons'}, no leak in {made.scanned} files")
    if seed is not None:
        said = ", ".join(f"{n} in {name}" for name, n in made.seeded.items()) or "no lesson marks a constant, nothing changed"
        click.echo(f"seed {seed}: {said}")
    if source is None:
        click.echo("On Colab and Kaggle students put the wheel beside the notebook, or give --source, an address of it")


# --------------------------------------------------------------------------------------------------
# unit24 site


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--lesson", "names", multiple=True, help="Only this lesson (may be given several times).")
@click.option("--repository", type=click.Path(path_type=Path, file_okay=False), default=ROOT, hidden=True, help="The course repository, if not this one.")
def site(folder: Path, names: tuple[str, ...], repository: Path) -> None:
    """Make the course's website: lessons as students see them, with the outputs of demonstrations.

    FOLDER must be new or empty. Open FOLDER/index.html, or put the folder on any web server.
    """
    import time

    from rich.console import Console

    from authoring.build import Course
    from authoring.website import make_site

    begin = time.monotonic()
    with Console(stderr=True).status("") as status:
        files = make_site(Course(repository), folder, names, step=status.update)
    megabytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    click.echo(f"{folder / 'index.html'}: {files} files, {megabytes:.1f} MB, made in {time.monotonic() - begin:.0f} s, no leak")


# --------------------------------------------------------------------------------------------------


def _right(header: str):
    from rich.table import Column

    return Column(header, justify="right")


def _number(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
