"""The instructor's commands: ``unit24 grade``, ``unit24 class``, ``unit24 report``."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from course.lesson import LESSONS, ROOT

root_option = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=ROOT,
    show_default="this repository",
    help="Class folder: holds submitted/ and gets gradebook.db, autograded/ and feedback/.",
)
lessons_option = click.option(
    "--lessons", type=click.Path(path_type=Path, file_okay=False), default=LESSONS, hidden=True, help="Folder of lesson texts."
)
workers_option = click.option(
    "--workers", "-j", type=click.IntRange(1), default=None, help="Submissions graded at a time.  [default: one for each core]"
)


@click.command()
@click.argument("names", nargs=-1)
@root_option
@workers_option
@click.option(
    "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="Where submissions are judged."
)
@click.option("--address", help="Of the Ray cluster, as for ray.init.  [default: a cluster on this machine]")
@click.option("--force", is_flag=True, help="Judge again what already has a verdict.")
@click.option(
    "--require-isolation",
    "require",
    type=click.Choice(["limits", "partial", "full"]),
    default="limits",
    show_default=True,
    help="Refuse to grade where student code cannot be held at least this well.",
)
@click.option("--seed", type=int, help="The seed of `unit24 release --seed`, if these notebooks were released with one.")
@click.option("--json", "as_json", is_flag=True, help="Print one object instead of a table.")
@lessons_option
def grade(names, root, workers, engine, address, force, require, seed, as_json, lessons) -> None:
    """Grade submitted/STUDENT/LESSON/LESSON.ipynb (NAMES: some lessons, as 04 or 04_training_loop).

    Verdicts are kept as they are reached: a run that was stopped goes on where it was, and a second
    run judges only what changed.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from course.seeds import seeded_folder
    from grader import engines
    from grader.grade import find_work, grade_class
    from judge import isolation
    from unit24.errors import UserError

    if address and engine != "ray":
        raise UserError("--address belongs to --engine ray.")
    start = time.monotonic()
    if seed is not None:
        lessons = seeded_folder(lessons, seed)
    work = find_work(root, names, lessons)
    count = sum(map(len, work.submissions.values()))
    held = isolation.require(require)
    submissions, rows = [], []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    if held.level != "full":
        console.print(str(held), highlight=False, style="yellow")
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("grading", total=count)

        def step(text: str) -> None:
            bar.update(task, description=text[:40].ljust(40))

        judge = engines.ray(address, workers, require) if engine == "ray" else engines.threads(workers, progress=step)
        for graded in grade_class(root, work, judge, force, lessons, step):
            bar.advance(task)
            if as_json:
                submissions.append(graded.as_dict())
            else:
                rows.append(_row(graded))
    seconds = round(time.monotonic() - start, 2)
    if as_json:
        order = sorted(submissions, key=lambda r: (r["lesson"], r["student"]))
        click.echo(
            json.dumps({"submissions": order, "stray": work.stray, "isolation": held.level, "seconds": seconds}, ensure_ascii=False)
        )
        return
    _print_table(sorted(rows), work.stray, count, seconds, root)
    Console().print(str(held), highlight=False, style="dim")


def _row(graded) -> tuple:
    from grader.outcomes import shown

    strip = "".join(shown(verdict.status).sign for verdict in graded.exercises.values())
    words = "; ".join(([graded.status] if graded.status != "graded" else []) + graded.findings)
    return graded.lesson, graded.student, strip, graded.points, graded.max_points, len(graded.waiting), words


def _print_table(rows: list[tuple], stray: list[str], count: int, seconds: float, root: Path) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from grader.outcomes import legend

    console = Console()
    for lesson in dict.fromkeys(row[0] for row in rows):
        table = Table(
            "student", "exercises", *(_right(h) for h in ("points", "by hand")), "findings", title=lesson, title_justify="left"
        )
        for _, student, strip, points, most, waiting, words in (r for r in rows if r[0] == lesson):
            table.add_row(escape(student), strip, f"{points:g} / {most:g}", str(waiting) if waiting else "", escape(words))
        console.print(table)
    console.print(legend(), style="dim")
    for text in stray:
        console.print(f"left out: {escape(text)}", style="yellow", highlight=False)
    console.print(
        f"{count} submissions in {seconds:g} s; grades in {escape(str(root / 'gradebook.db'))}, "
        f"pages for students in {escape(str(root / 'feedback'))}",
        highlight=False,
    )


@click.command("class")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--students", type=click.IntRange(1), help="A random class of this size, instead of the sample class.")
@click.option("--seed", type=int, default=24, show_default=True, help="Of the random class.")
@click.option("--lesson", "names", multiple=True, help="Only this lesson (may be given several times).")
@lessons_option
def class_(folder: Path, students: int | None, seed: int, names: tuple[str, ...], lessons: Path) -> None:
    """Write a class of submissions into FOLDER, made from the lessons' own answers.

    The sample class has one student for each kind of submission that happens (all correct, blank,
    half done, deleted cells, endless loop, ...) and expected.json with the points each must get.
    """
    from course.lesson import find_lessons, read
    from grader.classroom import write_random_class, write_sample_class
    from unit24.errors import UserError

    chosen = [read(lessons / f"{name}.py") for name in find_lessons(names, lessons)]
    if not chosen:
        raise UserError(f"{lessons}: no lessons there")
    if students:
        write_random_class(folder, chosen, students, seed)
        click.echo(f"{folder}: a random class of {students} students (seed {seed}), {len(chosen)} lessons")
    else:
        expected = write_sample_class(folder, chosen)
        click.echo(
            f"{folder}: the sample class, {len(expected)} students, {len(chosen)} lessons; what each must get is in expected.json"
        )


def _right(header: str):
    from rich.table import Column

    return Column(header, justify="right")


# --------------------------------------------------------------------------------------------------
# unit24 report


@click.command()
@root_option
@click.option("--lesson", "names", multiple=True, help="Only this lesson (may be given several times).")
@click.option("--json", "as_json", is_flag=True, help="Print one object instead of tables.")
@lessons_option
def report(root: Path, names: tuple[str, ...], as_json: bool, lessons: Path) -> None:
    """Sum up a graded class in ROOT/report/: a page to read, CSV files for Canvas, Moodle and spreadsheets.

    Manual grades and late penalties count as they stand in the gradebook; feedback pages are brought
    up to date with them.
    """
    from rich.console import Console

    from grader.report import make_report, write_report

    with Console(stderr=True).status("") as status:
        made = make_report(root, names, lessons, step=status.update)
        path = write_report(made, step=status.update)
    if as_json:
        click.echo(json.dumps(made.as_dict() | {"page": str(path)}, ensure_ascii=False))
    else:
        _print_report(made, path)


def _print_report(made, path: Path) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from grader.outcomes import percent_text

    console = Console()

    for view in made.lessons:
        title = f"{view.name}: {view.handed_in} handed in, mean {percent_text(view.mean)}, median {percent_text(view.median)}"
        columns = [_right(h) for h in ("passed", "partly", "failed", "not tried", "mean", "discr.", "CPU s")]
        table = Table("exercise", *columns, title=title, title_justify="left")
        for item in view.items:
            discrimination = "–" if item.discrimination is None else f"{item.discrimination:.2f}{' low' if item.weak else ''}"
            seconds = "–" if item.seconds is None else f"{item.seconds:.2f}"
            table.add_row(item.id, *map(str, item.outcomes.values()), percent_text(item.mean), discrimination, seconds)
        console.print(table)
    if made.failures:
        table = Table(_right("students"), "exercise", "most frequent failures", title_justify="left")
        for failure in made.failures[:5]:
            table.add_row(str(len(failure.students)), failure.exercise, escape(" ".join(failure.message.split())[:200]))
        console.print(table)
    for student, lesson, text in made.notes[:10]:
        console.print(f"look at {escape(student)}, {lesson}: {escape(text[:200])}", style="yellow", highlight=False)
    if len(made.notes) > 10:
        console.print(f"and {len(made.notes) - 10} more to look at, on the page", style="yellow", highlight=False)
    waiting = sum(view.waiting for view in made.lessons)
    said = [f"{len(made.results.students)} students", f"{len(made.pairs)} {'pair' if len(made.pairs) == 1 else 'pairs'} alike"]
    said += [f"{waiting} answers wait for a grade by hand (nbgrader formgrader)"] if waiting else []
    console.print(f"{', '.join(said)}; open {escape(str(path))}", highlight=False, soft_wrap=True)


@click.command()
@click.argument("archives", nargs=-1, required=True, type=click.Path(path_type=Path))
@root_option
@click.option("--roster", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="CSV of the class: id, first_name, last_name, email, …")
@lessons_option
def collect(archives: tuple[Path, ...], root: Path, roster: Path | None, lessons: Path) -> None:
    """Bring downloads of Canvas, Moodle, Gradescope, Google Classroom or Colab into submitted/.

    ARCHIVES are zip or tar files, folders or single notebooks, as they come. Which lesson a notebook is it says itself; whose
    it is, the platform's names say, by the roster where one is given. What is not taken is listed, what is replaced is kept in
    .unit24/collected/, and the command can be run again. Exit status 1 if something was not taken.
    """
    from rich.console import Console
    from rich.markup import escape

    from course.lesson import lesson_names
    from grader.collect import collect as bring
    from grader.collect import read_roster

    done = bring(list(archives), root, lesson_names(lessons), read_roster(roster) if roster else None)
    console = Console()
    for path, student, lesson in done.taken:
        console.print(f"{escape(student)}  {lesson}  [dim]{escape(path)}[/dim]", highlight=False, soft_wrap=True)
    for path, why in done.left:
        console.print(f"[yellow]not taken[/yellow]: {escape(path)}: {escape(why)}", highlight=False, soft_wrap=True)
    students = len({student for _, student, _ in done.taken})
    console.print(f"{len(done.taken)} notebooks of {students} students, {len(done.same)} unchanged, {len(done.left)} not taken.", highlight=False)
    if any(not why.startswith("an earlier version") for _, why in done.left):
        raise SystemExit(1)
