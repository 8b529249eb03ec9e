"""The course as a website: Sphinx (myst-nb, sphinx-book-theme) on the students' notebooks, offline.

A page of a lesson is its student notebook with the outputs of the demonstrations; solutions, hidden tests and whatever
an exercise printed stay out, and the finished pages are searched for them. Everything is made in a temporary folder
beside the target and put in place in one step.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import nbformat

from authoring import build, leaks
from authoring.release import leaks_in, secret_blocks
from course.address import repository
from course.parts import ROOT, Lesson
from course.records import read_record
from unit24.claims import as_html
from unit24.errors import UserError

TEMPLATES = Path(__file__).parent / "templates" / "site"
MATHJAX = "tex-chtml.js", "output/chtml", "input/tex/extensions"  # of its files, those that formulas of pages can need
# Part of the course: its title in the contents, and the numbers of its lessons.
PARTS = (
    ("Foundations", range(0, 6)),
    ("Keras and Hugging Face", range(6, 11)),
    ("Scale and fine-tuning", range(11, 17)),
    ("Serving, devices and kernels", range(17, 26)),
)


def make_site(course: build.Course, folder: Path, names: tuple[str, ...] = (), step: Callable[[str], None] = lambda text: None) -> int:
    """Write the site into `folder`; returns how many files it has.

    Raises:
        UserError: the folder is taken, a lesson is not built, Sphinx warns, or something would leak.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty; nothing was changed. Choose a new folder.")
    lessons = course.read(names)
    step("looking whether the lessons are built")
    if problems := build.check(lessons, course):
        raise UserError(f"no site: {problems[0]}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        source, pages = work / "source", work / "pages"
        (source / "lessons").mkdir(parents=True)
        for lesson in lessons:
            step(f"{lesson.name}: page")
            notebook = lesson_page(lesson, course)
            (source / "lessons" / f"{lesson.name}.ipynb").write_text(nbformat.writes(notebook), encoding="utf-8")
            shutil.copytree(course.notebooks / lesson.name, source / "notebooks" / lesson.name, ignore=shutil.ignore_patterns(".*"))
        write_pages(lessons, course, source)
        step("Sphinx")
        run_sphinx(source, pages)
        step("looking for leaks")
        count = check_site(pages, source, course.readable(lessons))
        if folder.exists():
            folder.rmdir()
        pages.rename(folder)
        return count
    finally:
        shutil.rmtree(work, ignore_errors=True)


def lesson_page(lesson: Lesson, course: build.Course) -> nbformat.NotebookNode:
    """The student notebook of a lesson with the outputs of its demonstrations, marked for Sphinx."""
    notebook = nbformat.read(course.notebook(lesson.name), as_version=4)
    solution = nbformat.read(course.solution(lesson.name), as_version=4)
    outputs = {cell.id: cell.get("outputs", []) for cell in solution.cells}
    exercises = {exercise.id for exercise in lesson.exercises}
    kept = []
    for cell in notebook.cells:
        if cell.id == "progress":
            continue
        if cell.cell_type == "code":
            folded = cell.metadata.get("jupyter", {}).get("source_hidden", False)  # set-up, tests, quiz
            if folded:
                cell.metadata["tags"] = ["hide-input"]
            if cell.id == "setup" or not (folded or cell.id in exercises):
                cell.outputs = [output for output in map(_static, outputs.get(cell.id, [])) if output]
                cell.execution_count = None
        kept.append(cell)
    notebook.cells = kept
    name = lesson.name
    links = f"{{download}}`Download the notebook <../notebooks/{name}/{name}.ipynb>` · {_length(lesson)}"
    title, _, rest = kept[0].source.partition("\n")
    kept[0].source = f"{title}\n\n{links}\n{rest}"
    notebook.metadata.pop("unit24", None)
    return notebook


def _static(output: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """An output that needs no kernel; widgets do."""
    if output.output_type in ("stream", "error"):
        return output
    data = {kind: value for kind, value in output.data.items() if "widget" not in kind}
    return nbformat.from_dict({**output, "data": data}) if data else None


def _length(lesson: Lesson) -> str:
    minutes = sum(part.minutes for part in (*lesson.exercises, *lesson.answers))
    exercises = f"{len(lesson.exercises)} exercise{'s' if len(lesson.exercises) != 1 else ''}"
    return f"{exercises}, {lesson.points:g} points, about {minutes} minutes of exercises"


def write_pages(lessons: list[Lesson], course: build.Course, source: Path) -> None:
    """Sphinx's configuration, the contents, and the pages for students, instructors and authors."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    sections = {title: text.strip() for title, text in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", readme, re.DOTALL | re.MULTILINE)}
    (source / "conf.py").write_text((TEMPLATES / "conf.py").read_text(encoding="utf-8"), encoding="utf-8")
    (source / "settings.json").write_text(json.dumps({"repository": repository()}), encoding="utf-8")
    shutil.copytree(TEMPLATES / "static", source / "static")
    mathjax = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
    for part in MATHJAX:
        copied = source / "static" / "mathjax" / part
        copied.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (mathjax / part).is_dir() else shutil.copy2)(mathjax / part, copied)
    for name, title, text in (
        ("students", "For students", sections["For students"]),
        ("instructors", "For instructors", sections["For instructors"] + "\n\n" + _below((ROOT / "docs" / "grading.md").read_text(encoding="utf-8"))),
        ("authors", "For authors", sections["For authors"].replace("`CONTRIBUTING.md` has the rest.", "") + "\n\n" + _below((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))),
        ("claims", "Claims, measured", _claims(lessons, course)),
    ):
        (source / f"{name}.md").write_text(f"# {title}\n\n{_plain_links(text)}\n", encoding="utf-8")
    intro = readme.partition("\n")[2].partition("```")[0].strip()
    (source / "index.md").write_text(_index(lessons, intro), encoding="utf-8")


def _below(text: str) -> str:
    """A page as part of another: its headings one level lower."""
    return re.sub(r"^(#+) ", r"#\1 ", text, flags=re.MULTILINE)


def _plain_links(text: str) -> str:
    """Names of files in the repository stay names: the site has other addresses."""
    return re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]*\)", r"\1", text)


def _index(lessons: list[Lesson], intro: str) -> str:
    parts = []
    for title, numbers in PARTS:
        those = [lesson for lesson in lessons if int(lesson.name[:2]) in numbers]
        if those:
            rows = "\n".join(f"| [{lesson.title}](lessons/{lesson.name}.ipynb) | {_length(lesson)} |" for lesson in those)
            tree = "\n".join(f"lessons/{lesson.name}" for lesson in those)
            parts.append(f"## {title}\n\n| lesson | |\n|---|---|\n{rows}\n\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{tree}\n```")
    pages = "```{toctree}\n:hidden:\n:caption: About\n\nstudents\ninstructors\nauthors\nclaims\n```"
    return f"# Machine learning frameworks\n\n{intro}\n\n{chr(10).join(parts)}\n\n{pages}\n"


def _claims(lessons: list[Lesson], course: build.Course) -> str:
    """What the lessons measured when they were last built."""
    found = [(lesson, read_record(lesson.name, course.records).get("solution", {}).get("claims", [])) for lesson in lessons]
    text = "What is often said, beside what came out when the lessons were last run for this site. In each lesson you measure it on your own machine."
    return text + "".join(f"\n\n## {lesson.title}\n\n{as_html(claims)}" for lesson, claims in found if claims)


def run_sphinx(source: Path, pages: Path) -> None:
    """Make HTML of the folder `source`; a warning is an error.

    Raises:
        UserError: what Sphinx said first, and how often.
    """
    call = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-j", "auto", "-d", str(source.parent / "doctrees"), str(source), str(pages)]
    done = subprocess.run(call, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if "WARNING" in line or "ERROR" in line]
    if done.returncode or said:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        more = f" (and {len(said) - 1} more)" if len(said) > 1 else ""
        raise UserError(f"no site: Sphinx says {(said or last)[0].replace(str(source), '')}{more}")
    for name in (".buildinfo", "objects.inv"):
        (pages / name).unlink(missing_ok=True)


def check_site(pages: Path, source: Path, lessons: list[Lesson]) -> int:
    """Look through every page, as text, and every notebook; returns the number of files.

    Raises:
        UserError: a text that students must not get.
    """
    found = [str(leak) for leak in leaks.scan(source / "notebooks", lessons)]
    blocks = [block for lesson in lessons for block in secret_blocks(lesson)]
    files = [path for path in sorted(pages.rglob("*")) if path.is_file()]
    for path in files:
        if path.suffix in (".html", ".ipynb", ".js", ".md", ".txt"):
            text = path.read_text(encoding="utf-8", errors="replace")
            text = html.unescape(re.sub(r"<[^>]+>", "", text)) if path.suffix == ".html" else text
            found += [f"{path.relative_to(pages).as_posix()}: {what}" for what in leaks_in(text, blocks)]
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise UserError(f"no site, this would leak: {found[0]}{more}")
    return len(files)
