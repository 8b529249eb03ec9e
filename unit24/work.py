"""A student's own copies of the notebooks, in ``work/``: neither a new version nor a mistake overwrites anybody's work.

``work/NN_name/NN_name.ipynb`` is the copy, ``work/.given/`` holds the notebooks as they were given out, and ``work/kept/``
what was there before a copy was changed by one of these commands.
"""

from __future__ import annotations

import copy
import itertools
import json
import time
from pathlib import Path
from typing import Any

import click

from unit24.doctor import find_course
from unit24.errors import UserError
from unit24.files import write_whole

Notebook = dict[str, Any]


def merged(mine: Notebook, given: Notebook, new: Notebook) -> Notebook:
    """`new` with everything that the student changed or added in `mine`, a copy of `given`.

    Exercises and written answers keep the student's text. Another cell that both changed comes in its new form, with the
    student's below it. Own cells stay behind the cell that they stood behind. Outputs stay where the source does.
    """
    before = {cell["id"]: cell for cell in given["cells"]}
    students: dict[str, Any] = {}
    own: dict[str, list[Any]] = {"": []}
    last = ""
    for cell in mine["cells"]:
        name = cell.get("id", "")
        if name in before and name not in students:
            students[name], last = cell, name
        elif _text(cell).strip():
            own.setdefault(last, []).append(cell)
    result = copy.deepcopy(new)
    present = {cell["id"] for cell in new["cells"]}
    cells = list(own[""])
    for cell in result["cells"]:
        name = cell["id"]
        theirs = students.get(name)
        aside = []
        if theirs is not None and name in before:
            changed = _text(theirs) != _text(before[name])
            if changed and (_is_answer(cell) or _text(cell) == _text(before[name])):
                cell["source"] = theirs["source"]
            elif changed and _text(theirs).strip() and _text(theirs) != _text(cell):
                aside = [{key: value for key, value in theirs.items() if key != "id"} | {"metadata": {}}]
            if _text(cell) == _text(theirs) and "outputs" in theirs and "outputs" in cell:
                cell["outputs"], cell["execution_count"] = theirs["outputs"], theirs.get("execution_count")
        cells += [cell, *aside, *own.get(name, [])]
    for name in before:  # an exercise that is gone: what was written for it, and behind it, stays at the end
        if name not in present and name in students:
            if _is_answer(before[name]) and _text(students[name]) != _text(before[name]):
                cells.append({key: value for key, value in students[name].items() if key != "id"} | {"metadata": {}})
            cells += own.get(name, [])
    result["cells"] = cells
    for number, cell in enumerate(cells):
        cell.setdefault("id", f"own-{number}")
    return result


def _text(cell: Any) -> str:
    source = cell.get("source", "")
    return "".join(source) if isinstance(source, list) else source


def _is_answer(cell: Any) -> bool:
    return bool(cell.get("metadata", {}).get("nbgrader", {}).get("solution"))


class Copies:
    """The copies of one course folder. `root` holds ``notebooks/``."""

    def __init__(self, root: Path):
        self.root, self.folder = root, root / "work"

    def lessons(self) -> list[str]:
        return sorted(path.parent.name for path in self.root.glob("notebooks/[0-9][0-9]_*/*.ipynb") if path.stem == path.parent.name)

    def path(self, lesson: str) -> Path:
        return self.folder / lesson / f"{lesson}.ipynb"

    def _new(self, lesson: str) -> Path:
        return self.root / "notebooks" / lesson / f"{lesson}.ipynb"

    def _given(self, lesson: str) -> Path:
        return self.folder / ".given" / f"{lesson}.ipynb"

    def begin(self, lesson: str) -> bool:
        """Make the copy, if there is none; whether one was made."""
        if self.path(lesson).exists():
            return False
        text = self._new(lesson).read_text(encoding="utf-8")
        write_whole(self._given(lesson), text)
        write_whole(self.path(lesson), text)
        return True

    def is_old(self, lesson: str) -> bool:
        """Whether the lesson has changed since the copy was made."""
        given = self._given(lesson)
        return self.path(lesson).exists() and (not given.exists() or given.read_bytes() != self._new(lesson).read_bytes())

    def update(self, lesson: str) -> Path:
        """Bring the new cells into the copy; returns where the old file is kept.

        Raises:
            UserError: the copy cannot be read; it is left as it is.
        """
        mine, new = _load(self.path(lesson)), _load(self._new(lesson))
        given = _load(self._given(lesson)) if self._given(lesson).exists() else new
        kept = self._keep(lesson)
        write_whole(self.path(lesson), _dump(merged(mine, given, new)))
        write_whole(self._given(lesson), self._new(lesson).read_text(encoding="utf-8"))
        return kept

    def reset(self, lesson: str, exercise: str) -> Path:
        """Bring one exercise's stub back; returns where the old file is kept.

        Raises:
            UserError: there is no such exercise, or no copy.
        """
        if not self.path(lesson).exists():
            raise UserError(f"{self.path(lesson)}: there is no copy yet; nothing to reset.")
        mine = _load(self.path(lesson))
        stubs = {cell["id"]: cell for cell in _load(self._new(lesson))["cells"] if _is_answer(cell)}
        if exercise not in stubs:
            raise UserError(f"{lesson} has no exercise {exercise!r}: it has {', '.join(stubs)}.")
        found = [cell for cell in mine["cells"] if cell.get("id") == exercise]
        if not found:
            raise UserError(f"{self.path(lesson)} has no cell {exercise!r} any more: rename the file, and `unit24 work` makes a new copy.")
        kept = self._keep(lesson)
        for cell in found:
            cell.update(copy.deepcopy(stubs[exercise]))
        write_whole(self.path(lesson), _dump(mine))
        return kept

    def _keep(self, lesson: str) -> Path:
        stem = f"{lesson}_{time.strftime('%Y-%m-%d_%H%M%S')}"
        names = itertools.chain([stem], (f"{stem}_{number}" for number in itertools.count(2)))  # two within a second
        kept = next(path for name in names if not (path := self.folder / "kept" / f"{name}.ipynb").exists())
        write_whole(kept, self.path(lesson).read_text(encoding="utf-8"))
        return kept


def _load(path: Path) -> Notebook:
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(notebook["cells"], list):
            return notebook
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{path} cannot be read as a notebook; it was left as it is.")


def _dump(notebook: Notebook) -> str:
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _copies(root: Path | None) -> Copies:
    found = root or find_course()
    if found is None:
        raise UserError("there is no notebooks/ here: call this in the folder of the course.")
    return Copies(found)


def _lesson(copies: Copies, wanted: str) -> str:
    matches = [name for name in copies.lessons() if name == wanted or name.startswith(f"{wanted}_")]
    if len(matches) != 1:
        raise UserError(f"there is no lesson {wanted!r}: there are {', '.join(copies.lessons())}.")
    return matches[0]


_root = click.option("--root", type=click.Path(path_type=Path, file_okay=False), help="The folder that holds notebooks/, if not this one.")


@click.command()
@click.argument("lessons", nargs=-1)
@click.option("--yes", is_flag=True, help="Bring new versions of lessons over without asking.")
@_root
def work(lessons: tuple[str, ...], yes: bool, root: Path | None) -> None:
    """Make your own copies of the notebooks in work/, and bring new versions over, if you want that.

    Your code, answers and own cells stay; the file as it was is kept in work/kept/.
    """
    copies = _copies(root)
    names = [_lesson(copies, wanted) for wanted in lessons] or copies.lessons()
    begun = [name for name in names if copies.begin(name)]
    if begun:
        click.echo(f"{copies.folder}: {len(begun)} new {'copy' if len(begun) == 1 else 'copies'}.")
    asks = click.get_text_stream("stdin").isatty()
    for name in names:
        if not copies.is_old(name):
            continue
        question = f"{name} has a new version. Bring it into your copy? Your code and own cells stay, the old file is kept."
        if yes or (asks and click.confirm(question)):
            click.echo(f"{name}: brought over; the old file is {copies.update(name)}")
        elif not asks:
            click.echo(f"{name} has a new version: `unit24 work {name[:2]} --yes` brings it into your copy.")


@click.command()
@click.argument("lesson")
@click.argument("exercise")
@_root
def reset(lesson: str, exercise: str, root: Path | None) -> None:
    """Bring the stub of one exercise back into your copy: unit24 reset 04 train_step."""
    copies = _copies(root)
    name = _lesson(copies, lesson)
    click.echo(f"{exercise} of {name} is as it was given out; the old file is {copies.reset(name, exercise)}")
