"""A text in jupytext's percent format as cells: which file, which line, which role."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from course.parts import Cell, Fault

# What a cell may be, by the key that names it, and the other keys that may stand beside it.
STORY: dict[str, set[str]] = {
    "exercise": {"minutes", "difficulty", "seconds", "memory_mb", "processes"},
    "tests": {"points"},
    "answer": {"points", "minutes", "difficulty"},
    "quiz": set(),
}
ANSWERS: dict[str, set[str]] = {
    "wrong": {"says", "breaks"},
    "right": set(),
    "equivalent": {"because"},
    "rubric": set(),
}
KEYS = STORY | ANSWERS
REQUIRED = {
    "exercise": {"minutes", "difficulty"},
    "tests": {"points"},
    "answer": {"points"},
    "wrong": {"says"},
    "equivalent": {"because"},
}


@dataclass(frozen=True)
class Markers:
    """What may stand in the cell markers of a file.

    Attributes:
        keys: for each role a cell may have, the other keys that may stand beside it.
        required: those of them that must.
    """

    keys: dict[str, set[str]]
    required: dict[str, set[str]]


OF_LESSONS = Markers(KEYS, REQUIRED)


@dataclass
class Text:
    """One file as it was read. `complete` is false where a cell could not be understood, and so is missing."""

    path: Path
    header: dict = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    complete: bool = True


def read_text(path: Path, allowed: Markers = OF_LESSONS) -> Text:
    """The cells of a file, as far as they can be understood.

    Args:
        allowed: what its markers may say.

    Raises:
        OSError, UnicodeDecodeError: the file cannot be read.
    """
    import jupytext

    text, result = path.read_text(encoding="utf-8"), Text(path)
    if not text.strip():
        return result
    try:
        notebook = jupytext.reads(text, fmt="py:percent")
    except Exception as error:
        return Text(path, faults=[Fault(path, 1, f"not a jupytext percent file: {error}")], complete=False)
    lines = text.splitlines()
    markers = _markers(lines)
    if len(markers) != len(notebook.cells):
        first = markers[0] if markers else len(lines)
        what = f"text before the first cell marker (line {first}), or a marker inside a string"
        message = f"{what}: {len(notebook.cells)} cells, {len(markers)} `# %%` lines"
        return Text(path, faults=[Fault(path, 1, message)], complete=False)
    result.header = notebook.metadata
    for raw, line in zip(notebook.cells, markers):
        cell, faults = _cell(path, raw, line, allowed)
        result.faults += faults
        if cell is None:
            result.complete = False
        else:
            result.cells.append(cell)
    return result


def _markers(lines: list[str]) -> list[int]:
    """Line numbers (from 1) of cell markers, leaving out those inside triple-quoted strings."""
    found, quote = [], None
    for number, line in enumerate(lines, 1):
        if quote is None and re.match(r"# %%($|\s)", line):
            found.append(number)
            continue
        if line.startswith("#"):
            continue
        rest = line
        while True:
            if quote is None:
                match = re.search(r'"""|\'\'\'', rest)
                if not match:
                    break
                quote, rest = match[0], rest[match.end() :]
            else:
                at = rest.find(quote)
                if at < 0:
                    break
                quote, rest = None, rest[at + 3 :]
    return found


def _cell(path: Path, raw, line: int, allowed: Markers) -> tuple[Cell | None, list[Fault]]:
    """The cell below the marker at `line`, and what is wrong with the marker."""
    options = {k: v for k, v in raw.metadata.items() if k not in ("lines_to_next_cell", "cell_marker")}
    title = options.pop("title", None)
    if title == "setup" and not options:
        return Cell("setup", "setup", "code", raw.source, path, line + 1), []
    if title is not None:
        return None, [Fault(path, line, f'a cell marker carries only `key="value"` pairs or `setup`, not {title!r}')]
    roles = [k for k in options if k in allowed.keys]
    if not options:
        return Cell("unmarked", "", raw.cell_type, raw.source, path, line + 1), []
    if len(roles) != 1:
        known = ", ".join(allowed.keys)
        message = f"unknown cell key {', '.join(map(repr, options))}: a marked cell has exactly one of {known}"
        return None, [Fault(path, line, message)]
    role = roles[0]
    name = options.pop(role)
    return Cell(role, str(name), raw.cell_type, raw.source, path, line + 1, options), [
        Fault(path, line, message) for message in _marker_faults(role, name, options, allowed)
    ]


def _marker_faults(role: str, name: object, options: dict, allowed: Markers):
    for key in options:
        if key not in allowed.keys[role]:
            known = ", ".join(sorted(allowed.keys[role])) or "no other key"
            yield f"unknown key {key!r} beside {role}={name!r}; it may have: {known}"
    for key in sorted(allowed.required.get(role, set()) - set(options)):
        yield f"{role}={name!r} needs {key}="
    if not re.fullmatch(r"[a-z][a-z0-9_]*", str(name)):
        yield f"{role}={name!r}: a name is lower case letters, digits and _"
