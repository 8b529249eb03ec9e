"""Which file of a student's folder is the notebook: it is often renamed, copied, or downloaded under another name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

KINDS = (".ipynb", ".json", ".txt", "")  # what browsers and mail programs make of a notebook's name
MAX_FILES = 50  # of one folder, that are looked into


def handed_in(path: Path, is_filled: Callable[[Path], bool | None]) -> tuple[Path, list[str]]:
    """The notebook that counts in the folder of `path`, its expected place, and what had to be decided.

    `path` itself, if no other notebook of the lesson lies beside it; else the latest one in which something was
    written, and of untouched ones `path` or the latest.

    Args:
        is_filled: whether a file holds the lesson's notebook with work in it; None if it is another file.
    """
    others = [other for other in _candidates(path) if is_filled(other) is not None]
    if not others:
        return path, []
    exists = path.exists() or path.is_symlink()
    found = [*others, *([path] if exists else [])]
    chosen = max(found, key=lambda one: (bool(is_filled(one)), _modified(one), one == path))
    if len(found) == 1:
        return chosen, [f"the notebook is called {_shown(chosen)}: read in place of {path.name}"]
    if chosen == path and not any(is_filled(other) for other in others):
        return path, []
    left = ", ".join(_shown(one) for one in found if one != chosen)
    return chosen, [f"several notebooks of this lesson: {_shown(chosen)}, the latest with work in it, was graded; not {left}"]


def _candidates(path: Path) -> list[Path]:
    """Other files beside `path` that may be a notebook."""
    try:
        with os.scandir(path.parent) as entries:
            files = [e.name for e in entries if e.name != path.name and not e.name.startswith(".") and e.is_file(follow_symlinks=False)]
    except OSError:
        return []
    return [path.with_name(name) for name in sorted(files)[:MAX_FILES] if Path(name).suffix.lower() in KINDS]


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _shown(path: Path) -> str:
    return repr(path.name)
