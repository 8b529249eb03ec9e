"""What students get: notebooks, the unit24 package as a wheel, instructions; and the proof that nothing leaks.

Everything is made in a temporary folder beside the target, scanned there, and put in place in one step.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from authoring import build, leaks
from authoring.student_notebooks import ReleaseError, student_notebooks
from course.notebook import as_text, instructor_notebook
from course.parts import BEGIN_HIDDEN, BEGIN_SOLUTION, END_HIDDEN, END_SOLUTION, ROOT, Lesson
from course.seeds import with_seed
from unit24.errors import UserError
from unit24.needs import parse

TEMPLATES = Path(__file__).parent / "templates"
LAPTOP = ("jupyterlab", "ipykernel")  # beside what lessons need; versions from pyproject.toml
SHORTEST = 3  # lines; a solution or hidden test of fewer is too common to be looked for as a block


@dataclass(frozen=True)
class Release:
    """What was made. `seeded` counts the constants that the class's seed replaced, by lesson."""

    path: Path
    lessons: tuple[str, ...]
    scanned: int  # files looked through
    seeded: dict[str, int]


def make_release(
    course: build.Course,
    folder: Path,
    names: tuple[str, ...] = (),
    as_zip: bool = False,
    seed: int | None = None,
    source: str | None = None,
    step: Callable[[str], None] = lambda text: None,
) -> Release:
    """Make the students' folder, or archive, from the course's lessons.

    Args:
        names: some lessons; default all.
        as_zip: write ``FOLDER.zip`` in place of a folder.
        seed: value for constants marked ``# release: seed``; they keep the lesson's own without it.
        source: where the setup cell gets the package; default the wheel, seen from a notebook's folder.

    Raises:
        UserError: the target is taken, a lesson is not built or not sound with this seed, or
            something leaks; then nothing is left behind.
    """
    target = folder.with_name(f"{folder.name}.zip") if as_zip else folder
    _check_target(target, folder, as_zip)
    lessons = _built_lessons(course, names, step)
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=target.parent))
    try:
        inside = work / folder.name
        inside.mkdir()
        seeded: dict[str, int] = {}
        if seed is not None:
            lessons, seeded = with_seed(lessons, seed, work)
            for lesson in lessons:
                if lesson.name in seeded:
                    step(f"{lesson.name}: does the reference hold with seed {seed}?")
                    check_reference(lesson, seed)
        step("packing unit24")
        wheel = build_wheel(inside)
        step("making notebooks")
        setup = setup_cell(course.setup(), source or f"../../{wheel.name}")
        write_notebooks(lessons, setup, inside / "notebooks")
        write_texts(lessons, wheel.name, source, inside)
        step("looking for leaks")
        scanned = check_leaks(inside, lessons, course)
        if as_zip:
            pack(inside, work / "packed.zip")
            os.replace(work / "packed.zip", target)
        else:
            if folder.exists():
                folder.rmdir()
            os.rename(inside, folder)
        return Release(target, tuple(lesson.name for lesson in lessons), scanned, seeded)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check_target(target: Path, folder: Path, as_zip: bool) -> None:
    if as_zip and target.exists():
        raise UserError(f"{target} is there already; nothing was changed.")
    if not as_zip and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty; nothing was changed. Choose a new folder.")


def _built_lessons(course: build.Course, names: tuple[str, ...], step: Callable[[str], None]) -> list[Lesson]:
    lessons = course.read(names)
    if not lessons:
        raise UserError(f"{course.lessons}: no lessons there")
    step("looking whether the lessons are built")
    if problems := build.check(lessons, course):
        more = f" (and {len(problems) - 1} more: unit24 build --check)" if len(problems) > 1 else ""
        raise UserError(f"not released: {problems[0]}{more}")
    return lessons


# --------------------------------------------------------------------------------------------------
# The parts


def check_reference(lesson: Lesson, seed: int) -> None:
    """Judge the lesson's own answers on its bench.

    Raises:
        UserError: with this seed one of them does not pass, so neither would a student's.
    """
    from judge.bench import Bench

    with Bench(lesson) as bench:
        for exercise in lesson.exercises:
            verdict = bench.judge(exercise, exercise.cell.source)
            if verdict.points < exercise.points:
                raise UserError(f"with seed {seed} the reference of {lesson.name}, {exercise.id} fails: {verdict.message}")


def build_wheel(folder: Path) -> Path:
    """The wheel of the package that notebooks import, in `folder`."""
    with tempfile.TemporaryDirectory(prefix="unit24-wheel-") as temporary:
        # A copy: a build leaves its own folders where it runs.
        copy = Path(temporary) / "unit24"
        copy.mkdir()
        for name in ("pyproject.toml", "LICENSE"):
            shutil.copy(ROOT / name, copy)
        shutil.copytree(ROOT / "unit24", copy / "unit24", ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
        # A fixed time in the archive: the same source gives the same file.
        env = os.environ | {"SOURCE_DATE_EPOCH": "315532800", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        done = subprocess.run([*command, "-w", str(folder), str(copy)], capture_output=True, text=True, env=env, timeout=600)
    wheels = list(folder.glob("unit24-*.whl"))
    if done.returncode or len(wheels) != 1:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise UserError(f"pip could not build the wheel of unit24: {said[-1] if said else 'no message'}")
    return wheels[0]


def setup_cell(text: str, source: str) -> str:
    """The setup cell with `source` as the place that the package comes from.

    Raises:
        UserError: the cell has no line that says it, or several.
    """
    text, found = re.subn(r"^SOURCE = [^#\n]*?(?=\s*(#|$))", lambda _: f"SOURCE = {json.dumps(source)}", text, flags=re.MULTILINE)
    if found != 1:
        raise UserError(f"setup_cell.py: expected one line that begins with `SOURCE = `, found {found}")
    return text


def write_notebooks(lessons: list[Lesson], setup: str, folder: Path) -> None:
    """The students' notebooks, as stock nbgrader makes them."""
    try:
        texts = student_notebooks({lesson.name: as_text(instructor_notebook(lesson, setup)) for lesson in lessons})
    except ReleaseError as error:
        raise UserError(str(error)) from None
    for name, text in texts.items():
        path = folder / name / f"{name}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8", newline="\n")


def write_texts(lessons: list[Lesson], wheel: str, source: str | None, folder: Path) -> None:
    """README.md, AGENTS.md (for coding assistants), requirements.txt and LICENSE."""
    import jinja2

    about = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = {re.match(r"[\w-]+", need)[0]: need for need in about["optional-dependencies"]["instructor"]}
    if absent := [name for name in LAPTOP if name not in extra]:
        raise UserError(f"pyproject.toml: the extra `instructor` lacks {', '.join(absent)}, which students need on a laptop")
    tools = [need for name, need in extra.items() if name in LAPTOP]
    # A version that follows another package's is pip's to find: both are named.
    parsed = [parse(need) for lesson in lessons for need in lesson.needs]
    needs = sorted({wanted.name if condition else str(wanted) for wanted, condition in parsed})
    (folder / "requirements.txt").write_text("\n".join([f"./{wheel}", *tools, *needs]) + "\n", encoding="utf-8")
    shutil.copy(ROOT / "LICENSE", folder)
    shutil.copy(TEMPLATES / "AGENTS.md", folder)
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), trim_blocks=True, lstrip_blocks=True)
    text = environment.get_template("README_students.md").render(
        lessons=[
            {
                "name": lesson.name,
                "title": lesson.title,
                "minutes": sum(part.minutes for part in (*lesson.exercises, *lesson.answers)),
                "points": f"{lesson.points:g}",
            }
            for lesson in lessons
        ],
        wheel=wheel,
        source=source,
        python=about["requires-python"].removeprefix(">="),
    )
    (folder / "README.md").write_text(text.rstrip("\n") + "\n", encoding="utf-8")


def pack(folder: Path, archive: Path) -> None:
    """`folder` as a zip archive; the same files give the same bytes."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            about = zipfile.ZipInfo(path.relative_to(folder.parent).as_posix(), date_time=(1980, 1, 1, 0, 0, 0))
            about.external_attr = 0o644 << 16
            about.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(about, path.read_bytes())


# --------------------------------------------------------------------------------------------------
# The proof


def check_leaks(folder: Path, lessons: list[Lesson], course: build.Course) -> int:
    """Look through every file of a release; returns how many there were.

    Raises:
        UserError: a file that does not belong there, or a text that students must not get.
    """
    known = course.readable(lessons)
    found = [str(leak) for leak in leaks.scan(folder / "notebooks", known)]
    expected = {"README.md", "AGENTS.md", "requirements.txt", "LICENSE"}
    blocks = [block for lesson in known for block in secret_blocks(lesson)]
    count = sum(p.is_file() for p in (folder / "notebooks").rglob("*"))
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and "notebooks" not in p.relative_to(folder).parts):
        where = path.relative_to(folder).as_posix()
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                texts = {f"{where}/{name}": wheel.read(name) for name in wheel.namelist()}
            found += [f"{name}: not part of unit24" for name in texts if not re.match(r"[^/]+/unit24(/|-[\w.]+\.dist-info/)", name)]
        else:
            texts = {where: path.read_bytes()}
            found += [] if where in expected else [f"{where}: a file that does not belong there"]
        for name, data in texts.items():
            count += 1
            found += [f"{name}: {what}" for what in leaks_in(data.decode("utf-8", "replace"), blocks)]
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise UserError(f"not released, this would leak: {found[0]}{more}")
    return count


def leaks_in(text: str, blocks: list[tuple[str, str]]) -> list[str]:
    """What of `secret_blocks` and which markers stand in a text, line breaks and indentation left aside."""
    lines = "\n".join(" ".join(line.split()) for line in text.splitlines())
    found = [f"a `{marker}` marker" for marker in (BEGIN_SOLUTION, BEGIN_HIDDEN) if marker in text]
    return found + [what for what, block in blocks if block in lines]


def secret_blocks(lesson: Lesson) -> list[tuple[str, str]]:
    """(what it is, its lines without indentation) of every solution and hidden test long enough to be told."""
    blocks = []
    for exercise in lesson.exercises:
        parts = (
            ("the solution", exercise.cell.source, BEGIN_SOLUTION, END_SOLUTION),
            ("hidden tests", exercise.tests.source, BEGIN_HIDDEN, END_HIDDEN),
        )
        for what, source, begin, end in parts:
            for part in re.findall(rf"{re.escape(begin)}[^\n]*\n(.*?)\n[^\n]*{re.escape(end)}", source, re.DOTALL):
                lines = [" ".join(line.split()) for line in part.splitlines()]
                if len([line for line in lines if len(line) >= leaks.SHORTEST]) >= SHORTEST:
                    blocks.append((f"{what} of {lesson.name}, {exercise.id}", "\n".join(lines)))
    return blocks
