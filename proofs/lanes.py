"""Lanes: the environments beside the lock in which lessons must run, where students are. ``lanes/NAME.txt`` lists one.

A list holds what pip takes (``name==version``), and in its head, as comments: ``python: 3.13``, ``date: …`` (of the
versions), ``env: NAME=value`` (what tells a notebook that it runs there) and, where a lesson cannot run yet,
``skip: NN_name until 2027-01-31: why``. After that day the lesson runs, and fails if it still cannot.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from course.lesson import lesson_names
from course.parts import ROOT
from unit24.errors import UserError
from unit24.needs import reason

PINS = "lane.txt"  # in an environment: the list that it was made from


@dataclass(frozen=True)
class Lane:
    """One list. `skips` holds, by lesson, the last day on which it is left out, and why."""

    name: str
    python: str
    date: str
    pins: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)
    skips: dict[str, tuple[date, str]] = field(default_factory=dict)

    def skipped(self, lesson: str, today: date | None = None) -> str:
        """Why a lesson is left out today; empty where it is not."""
        last, why = self.skips.get(lesson, (date.min, ""))
        return f"until {last}: {why}" if (today or date.today()) <= last else ""


def read_lane(name: str, root: Path = ROOT) -> Lane:
    """Read a list.

    Raises:
        UserError: there is no such list, or a line of its head makes no sense.
    """
    path = root / "lanes" / f"{name}.txt"
    if not path.is_file():
        known = sorted(other.stem for other in path.parent.glob("*.txt"))
        raise UserError(f"There is no lane {name!r}: {', '.join(known) or 'no list stands in lanes/'}.")
    about: dict[str, str] = {}
    pins, variables, skips = [], {}, {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        said = re.fullmatch(r"# (python|date|env|skip): (.+)", line)
        if not said:
            if pin := line.partition("#")[0].strip():
                pins.append(pin)
        elif said[1] == "env" and "=" in said[2]:
            variables |= [said[2].split("=", 1)]
        elif said[1] == "skip":
            lesson, last, why = _skip(said[2], f"lanes/{name}.txt:{number}", root)
            skips[lesson] = last, why
        else:
            about[said[1]] = said[2].strip()
    if missing := {"python", "date"} - about.keys():
        raise UserError(f"lanes/{name}.txt: its head has no line `# {min(missing)}: …`.")
    return Lane(name, about["python"], about["date"], tuple(pins), variables, skips)


def _skip(text: str, where: str, root: Path) -> tuple[str, date, str]:
    found = re.fullmatch(r"(\w+) until (\d{4}-\d\d-\d\d): (.+)", text)
    if not found or found[1] not in lesson_names(root / "lessons"):
        raise UserError(f"{where}: a skip is `NN_name until YYYY-MM-DD: why`, of a lesson that is there.")
    return found[1], date.fromisoformat(found[2]), found[3]


def prepare(lane: Lane, say: Callable[[str], None], root: Path = ROOT) -> Path:
    """Make the lane's environment in ``.unit24/lanes/``, if it is not there as listed; returns its folder.

    torch comes first with all that its build requires, from ``TORCH_INDEX`` where that is set (another build);
    then the list as it stands, which no resolver would agree to; then what that still lacks.

    Raises:
        UserError: this Python is not on the machine, or pip could not install the list.
    """
    base = root / ".unit24" / "lanes" / lane.name
    listed = "\n".join([lane.python, *lane.pins, os.environ.get("TORCH_INDEX", "")])
    if (base / PINS).is_file() and (base / PINS).read_text() == listed:
        return base
    python = find_python(lane.python)
    pinned = root / ".unit24" / "lanes" / f"{lane.name}-pins.txt"
    if base.exists():
        shutil.rmtree(base)
    base.parent.mkdir(parents=True, exist_ok=True)
    pinned.write_text("".join(f"{pin}\n" for pin in lane.pins))
    say(f"{lane.name}: an environment with Python {lane.python}, this once")
    subprocess.run([python, "-m", "venv", str(base)], check=True)
    pip = [str(base / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    first = [pin for pin in lane.pins if re.match(r"torch\b(?!-)", pin)]
    rest = [pin for pin in lane.pins if pin not in first]
    if first:
        index = ["--index-url", os.environ["TORCH_INDEX"]] if os.environ.get("TORCH_INDEX") else []
        say(f"{lane.name}: {first[0]}")
        _pip([*pip, *index, *first])
    if rest:
        say(f"{lane.name}: {len(rest)} packages")
        _pip([*pip, "--no-deps", *rest])
    if lacking := _lacking(base):
        _pip([*pip, "-c", str(pinned), *lacking])
    (base / PINS).write_text(listed)
    return base


def find_python(version: str) -> str:
    """An interpreter of this version: on the path, or among pyenv's.

    Raises:
        UserError: there is none.
    """
    on_path = shutil.which(f"python{version}")
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    several = sorted(pyenv.glob(f"{version}.*/bin/python"), key=lambda path: [int(n) for n in path.parts[-3].split(".") if n.isdigit()])
    for python in filter(None, [on_path, *map(str, reversed(several))]):
        said = subprocess.run([python, "-c", "import sys; print(*sys.version_info[:2], sep='.')"], capture_output=True, text=True)
        if said.stdout.strip() == version:
            return python
    raise UserError(f"No Python {version} here: install it (uv python install {version}, pyenv install {version}) and call again.")


def _lacking(base: Path) -> list[str]:
    """What the installed packages require and have not: the list names only what lessons can meet."""
    checked = subprocess.run([str(base / "bin" / "python"), "-m", "pip", "check"], capture_output=True, text=True).stdout
    return sorted(set(re.findall(r"requires ([\w.-]+), which is not installed", checked)))


def _pip(call: list[str]) -> None:
    done = subprocess.run(call, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"pip could not install the lane's list: {reason(done.stdout + done.stderr)}")


def fresh_copy(base: Path, folder: Path) -> Path:
    """A copy of an environment, of hard links where the disk has them (pip replaces files, it changes none); its Python."""

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)

    shutil.copytree(base, folder, symlinks=True, copy_function=link)
    return folder / "bin" / "python"
