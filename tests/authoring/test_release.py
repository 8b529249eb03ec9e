"""What students get: it works alone, nothing of the instructor's is in it, and a failure leaves nothing behind."""

import json
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from texts import copy_lesson, edit, replaced

from authoring import build, release
from unit24 import __version__
from unit24.errors import UserError

FIXTURES = Path(__file__).parents[1] / "fixtures"
SMALL = "61_small"
SETUP = (release.ROOT / "setup_cell.py").read_text()
WHEEL = f"unit24-{__version__}-py3-none-any.whl"
# Lines that only the instructor has: a solution, a hidden test, wrong and right answers, a model answer, a rubric.
SECRETS = ["total += a - b", "secret_answer", "b - a for a, b", "math.fsum(x)", "sums grow with the count", "Names the count"]
BROUGHT = "click packaging platformdirs rich markdown-it-py mdurl Pygments".split()  # what Jupyter brings


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course of one built lesson, with a constant that a class may have otherwise."""
    root = tmp_path_factory.mktemp("course")
    seeded = "PLACE = 24  # release: seed\nassert PLACE != 13\n\n\ndef helper(x):"
    copy_lesson(FIXTURES / f"{SMALL}.py", root / "lessons", ("def helper(x):", seeded))
    shutil.copy(release.ROOT / "setup_cell.py", root)
    made = build.Course(root)
    assert not build.build(made.read(), made).problems
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return release.build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def quick(monkeypatch, wheel):
    """The wheel is the same each time: built once."""
    monkeypatch.setattr(release, "build_wheel", lambda folder: Path(shutil.copy(wheel, folder)))


def everything(folder):
    """Every file of a release as text, those in the wheel too."""
    texts = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as inside:
                texts |= {name: inside.read(name).decode("utf-8", "replace") for name in inside.namelist()}
        else:
            texts[path.relative_to(folder).as_posix()] = path.read_bytes().decode()
    return texts


def cells(folder):
    notebook = json.loads((folder / "notebooks" / SMALL / f"{SMALL}.ipynb").read_text())
    return {cell["id"]: "".join(cell["source"]) for cell in notebook["cells"]}


def test_a_release_holds_what_students_need_and_nothing_else(course, quick, tmp_path):
    made = release.make_release(course, tmp_path / "students")
    files = {p.relative_to(made.path).as_posix() for p in made.path.rglob("*") if p.is_file()}
    assert files == {"README.md", "AGENTS.md", "LICENSE", "requirements.txt", WHEEL, f"notebooks/{SMALL}/{SMALL}.ipynb"}
    assert list(tmp_path.iterdir()) == [made.path]
    texts = everything(made.path)
    assert made.scanned == len(texts)
    for name, text in texts.items():
        assert name.startswith(("unit24/", "unit24-")) or name in files
        assert not [secret for secret in SECRETS if secret in text], name
    assert cells(made.path)["mean_gap"].endswith("raise NotImplementedError()")
    lines = (made.path / "requirements.txt").read_text().splitlines()
    assert lines[0] == f"./{WHEEL}" and {Requirement(line).name for line in lines[1:]} >= {"jupyterlab", "ipykernel"}
    assert f"notebooks/{SMALL}/{SMALL}.ipynb" in texts["README.md"] and WHEEL in texts["README.md"]


def test_a_released_notebook_works_where_nothing_else_is(course, tmp_path):
    """A new environment without this repository: the first cell installs the wheel, without a network."""
    made = release.make_release(course, tmp_path / "students")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=120)
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    for name in BROUGHT:
        for file in metadata.files(name):
            if ".." not in file.parts and "__pycache__" not in file.parts:
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), packages / file)
    source = cells(made.path)
    solved = source | {"mean_gap": "def mean_gap(x, y):\n    if len(x) != len(y):\n        raise ValueError\n    return (sum(x) - sum(y)) / len(x)"}
    script = [solved[name] for name in ("setup", "setup-1", "mean_gap", "test_mean_gap") if name in solved]
    (tmp_path / "cells.py").write_text("\n".join([*script, "print(unit24.__file__)"]))
    settings = {"PATH": "/usr/bin:/bin", "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null", "HOME": str(tmp_path)}
    python = tmp_path / "venv" / "bin" / "python"
    call = [python, tmp_path / "cells.py"]
    done = subprocess.run(call, cwd=made.path / "notebooks" / SMALL, env=settings, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout
    started, passed, where = done.stdout.splitlines()
    assert started.startswith(f"unit24 {__version__}, lesson {SMALL}") and passed.startswith("✓ mean_gap")
    assert Path(where).is_relative_to(packages)


def test_the_source_of_the_package_is_a_setting(course, quick, tmp_path):
    address = "https://example.org/unit24.whl"
    made = release.make_release(course, tmp_path / "students", source=address)
    assert f'SOURCE = "{address}"' in cells(made.path)["setup"]
    assert "UNIT24_SOURCE" not in (made.path / "README.md").read_text()


@pytest.mark.parametrize("lines", [0, 2])
def test_a_setup_cell_without_one_line_for_the_source_is_refused(lines):
    """``--source`` was silently ignored where the set-up cell had no such line, and students got no package."""
    (line,) = [line for line in SETUP.splitlines(keepends=True) if line.startswith("SOURCE = ")]
    with pytest.raises(UserError, match=f"setup_cell.py: expected one line that begins with `SOURCE = `, found {lines}"):
        release.setup_cell(replaced(SETUP, (line, lines * line)), "https://example.org/unit24.whl")


def test_a_tool_for_laptops_that_is_named_nowhere_is_an_error(course, tmp_path, monkeypatch):
    """A tool that the extra did not name was left out of the students' requirements without a word."""
    monkeypatch.setattr(release, "LAPTOP", ("jupyterlab", "jupyterlabb"))
    with pytest.raises(UserError, match="pyproject.toml: the extra `instructor` lacks jupyterlabb"):
        release.write_texts(course.read(), WHEEL, None, tmp_path)


def test_an_archive_holds_the_same_and_is_reproducible(course, quick, tmp_path):
    folder = release.make_release(course, tmp_path / "students").path
    first = release.make_release(course, tmp_path / "students", as_zip=True).path
    before = first.read_bytes()
    first.unlink()
    assert release.make_release(course, tmp_path / "students", as_zip=True).path.read_bytes() == before
    with zipfile.ZipFile(first) as archive:
        inside = {name: archive.read(name) for name in archive.namelist()}
    assert inside == {f"students/{p.relative_to(folder)}": p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_nothing_is_overwritten(course, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    (tmp_path / "file").write_text("keep")
    (tmp_path / "packed.zip").write_text("keep")
    before = sorted(tmp_path.rglob("*"))
    for name, as_zip in (("full", False), ("file", False), ("packed", True)):
        with pytest.raises(UserError, match="nothing was changed"):
            release.make_release(course, tmp_path / name, as_zip=as_zip)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_is_taken(course, quick, tmp_path):
    (tmp_path / "students").mkdir()
    assert release.make_release(course, tmp_path / "students").path.joinpath("README.md").is_file()


def leak_in_readme(folder):
    lesson = (FIXTURES / f"{SMALL}.py").read_text()
    at = lesson.index("    total = 0.0")
    (folder / "README.md").write_text("Look:\n\n" + lesson[lesson.index("    if len(x)") : lesson.index("    ### END SOLUTION", at)])


def leak_in_notebook(folder):
    edit(folder / "notebooks" / SMALL / f"{SMALL}.ipynb", "A lesson for tests", "total += a - b")


def leak_in_wheel(folder):
    with zipfile.ZipFile(folder / WHEEL, "a") as archive:
        archive.writestr("lessons/61_small.py", "x = 1\n")


def leak_as_file(folder):
    shutil.copy(FIXTURES / f"{SMALL}.py", folder)


@pytest.mark.parametrize(
    "spoil, words",
    [
        (leak_in_readme, f"README.md: the solution of {SMALL}, mean_gap"),
        (leak_in_notebook, "a line of the solution of mean_gap"),
        (leak_in_wheel, "lessons/61_small.py: not part of unit24"),
        (leak_as_file, "a file that does not belong there"),
    ],
)
def test_a_leak_is_found_and_nothing_is_left(course, quick, tmp_path, monkeypatch, spoil, words):
    write_texts = release.write_texts

    def spoilt(lessons, wheel, source, folder):
        write_texts(lessons, wheel, source, folder)
        spoil(folder)

    monkeypatch.setattr(release, "write_texts", spoilt)
    with pytest.raises(UserError, match="would leak") as failure:
        release.make_release(course, tmp_path / "students")
    assert words in str(failure.value) and not list(tmp_path.iterdir())


def test_a_lesson_that_is_not_built_is_not_released(course, tmp_path):
    other = build.Course(tmp_path / "course")
    shutil.copytree(course.root, other.root)
    edit(other.lessons / f"{SMALL}.py", "plain Python, no heavy", "plain Python without a heavy")
    with pytest.raises(UserError, match="not released: .* has changed since .*: run `unit24 build 61_small`"):
        release.make_release(other, tmp_path / "students")
    assert not (tmp_path / "students").exists()


def test_a_class_can_have_its_own_seed(course, quick, tmp_path):
    made = release.make_release(course, tmp_path / "students", seed=31)
    assert made.seeded == {SMALL: 1}
    assert any("PLACE = 31  # release: seed" in source for source in cells(made.path).values())
    # A seed with which the lesson's own answers do not hold is refused.
    with pytest.raises(ValueError, match="AssertionError"):
        release.make_release(course, tmp_path / "others", seed=13)
    assert not (tmp_path / "others").exists()


def test_the_command(course, tmp_path):
    call = [str(Path(sys.executable).with_name("unit24")), "release", str(tmp_path / "students"), "--repository", str(course.root)]
    done = subprocess.run([*call, "--zip"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "students.zip: 1 lesson, no leak in" in done.stdout and "give --source" in done.stdout
    again = subprocess.run([*call, "--zip"], capture_output=True, text=True, timeout=120)
    assert again.returncode == 2 and again.stderr.count("\n") == 1 and "is there already" in again.stderr
