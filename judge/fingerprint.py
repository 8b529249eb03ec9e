"""Hashes of everything that decides on a verdict or a proof: it holds as long as its hash is the same.

- Code counts as its syntax tree, without docstrings, comments and layout.  Which files of this repository
  decide is found by following imports from the module that judges and from the lesson's cells: a new file is
  never forgotten.
- Shipped models that the lesson names (all, where that cannot be told) and files of data count by their bytes.
- Packages that the lesson names in ``needs`` count by the installed version, without its local part: a build of
  torch for CUDA has the version of one for the CPU.  Python's own version does not count, so that a proof holds
  wherever the same lock does.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import metadata
from pathlib import Path

from packaging.version import Version

from course.notebook import student_source
from course.parts import ROOT, Cell, Exercise, Lesson
from course.reference import reference_cells
from unit24 import models
from unit24.needs import parse

JUDGE = "judge.bench"
DATA = "unit24/data"
# What of an exercise is for people and decides nothing, and what decides on its audit alone.
_FOR_PEOPLE = {"minutes", "difficulty"}
_AUDIT_ALONE = {"hints", "rules", "wrong", "right", "equivalent"}


def hash_of(*parts: str) -> str:
    """SHA-256 (hex) of texts in their order."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def exercise_hashes(lesson: Lesson, by: str = JUDGE) -> dict[str, str]:
    """For each exercise: hash of what decides on an answer to it: who judges, the state before it, tests and limits.

    Args:
        by: the module that judges, dotted; what it imports decides too.
    """
    before, hashes = lesson_hash(lesson, by), {}
    for _, source, _, exercise in reference_cells(lesson):
        if exercise:
            about = lesson.exercise(exercise)
            hashes[exercise] = hash_of(before, *sorted(about.names), *_parts(about, without=_AUDIT_ALONE | {"cell"}))
        before = hash_of(before, tree_hash(source))
    return hashes


def audit_hashes(lesson: Lesson, by: str) -> tuple[dict[str, str], dict[str, str]]:
    """For each exercise: hash of all that decides on its audit; and of all that decides on its mutants, most of the work."""
    decides = exercise_hashes(lesson, by)
    mutants, whole = {}, {}
    for exercise in lesson.exercises:
        stub = tree_hash(student_source(exercise.cell))
        mutants[exercise.id] = hash_of(decides[exercise.id], stub, *_parts(exercise, without=_AUDIT_ALONE - {"equivalent"}))
        whole[exercise.id] = hash_of(mutants[exercise.id], *_parts(exercise))
    return whole, mutants


def cells_hash(cells: Iterable[Cell]) -> str:
    """Hash of the code among a lesson's cells."""
    return hash_of(*(part for cell in cells if cell.type == "code" for part in _cell(cell)))


def lesson_hash(lesson: Lesson, by: str, packages: tuple[str, ...] = ()) -> str:
    """Hash of what decides on a lesson beside its own cells: see `deciding`."""
    return hash_of(str(lesson.fork), *(part for item in sorted(deciding(lesson, by, packages).items()) for part in item))


def deciding(lesson: Lesson, by: str, packages: tuple[str, ...] = ()) -> dict[str, str]:
    """What decides on a lesson beside its own cells: hash by file of this repository, version by package.

    Args:
        packages: names of packages that decide beside those that the lesson names.
    """
    sources = [cell.source for cell in lesson.cells if cell.type == "code"]
    found = code_from([by], sources)
    for path in _weights(lesson, sources, found):
        found[path.relative_to(ROOT).as_posix()] = file_hash(path)
    return found | _versions((*lesson.needs, *packages))


def code_from(modules: Iterable[str], sources: Iterable[str] = ()) -> dict[str, str]:
    """Hash by file of the repository's own code that `modules` and pieces of code import, and of the data that it reads."""
    own = _own_modules()
    waiting = {name for module in modules for name in _run_by_import(module, own)}
    for source in sources:
        waiting |= _imported(source, "", own)
    found: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        path = own[name]
        file = path.relative_to(ROOT).as_posix()
        if file not in found:
            text = _text(path)
            found[file] = tree_hash(text)
            waiting |= _imported(text, name if path.name == "__init__.py" else name.rpartition(".")[0], own)
    if any(file.startswith(f"{DATA}/") for file in found):
        for path in sorted(p for p in (ROOT / DATA).rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")):
            found[path.relative_to(ROOT).as_posix()] = file_hash(path)
    return found


# --------------------------------------------------------------------------------------------------
# The parts of a lesson


def _parts(exercise: Exercise, without: set[str] = frozenset()) -> Iterator[str]:
    for name in (one.name for one in fields(exercise)):
        if name not in without and name not in _FOR_PEOPLE:
            yield name
            yield from _texts(getattr(exercise, name))


def _texts(value: object) -> Iterator[str]:
    """What a part of a lesson says, but for where it stands."""
    if isinstance(value, Cell):
        yield from _cell(value)
    elif isinstance(value, tuple):
        yield str(len(value))
        for one in value:
            yield from _texts(one)
    elif is_dataclass(value):
        for one in fields(value):
            if one.name not in ("path", "line"):
                yield from (one.name, *_texts(getattr(value, one.name)))
    else:
        yield repr(value)


def _cell(cell: Cell) -> tuple[str, ...]:
    """What decides of a code cell. A named equivalent is made of comments."""
    options = sorted((key, value) for key, value in cell.options.items() if key not in _FOR_PEOPLE)
    return cell.role, cell.name, repr(options), cell.source if cell.role == "equivalent" else tree_hash(cell.source)


def _weights(lesson: Lesson, sources: list[str], code: dict[str, str]) -> Iterator[Path]:
    """Files of the shipped models that the lesson's cells, or what they import, ask for."""
    asked = _asked_models(sources)
    for name in code:  # but for the loader itself, which is told the name
        if name.startswith("unit24/") and name not in ("unit24/env.py", "unit24/models/__init__.py"):
            asked |= _asked_models([_text(ROOT / name)])
    shipped = {models.TABLE[name].tiny if name in models.TABLE else name for name in asked}
    for name in models.SHIPPED if None in asked else shipped & set(models.SHIPPED):
        folder = ROOT / "unit24" / "models" / models.folder(name).name
        yield from sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "README.md")


def _asked_models(sources: list[str]) -> set[str | None]:
    """Names given to ``env.model``, ``unit24.models.path`` and ``folder``; None for one that is computed."""
    looks = [_look(source) for source in sources]
    aliases = {alias for look in looks for alias in look.aliases}
    asked: set[str | None] = set()
    for function, argument in {ask for look in looks for ask in look.asks}:
        first, dot, rest = function.partition(".")
        meant = {function, *(full + dot + rest for alias, full in aliases if alias == first)}
        if meant & {"unit24.models.path", "unit24.models.folder"} or re.search(r"(^|\.)(env|current)\.model$", function):
            asked.add(argument)
    return asked


def _versions(needs: Iterable[str]) -> dict[str, str]:
    wanted = (parse(need)[0] for need in needs)
    return {need.name: _version(need.name) for need in wanted if not need.marker or need.marker.evaluate()}


@functools.cache
def _version(package: str) -> str:
    try:
        return Version(metadata.version(package)).public
    except metadata.PackageNotFoundError:
        return "not installed"


# --------------------------------------------------------------------------------------------------
# Modules of this repository


def _own_modules() -> dict[str, Path]:
    """The repository's own modules: file by dotted name."""
    own = {}
    for package in ROOT.glob("*/__init__.py"):
        for path in package.parent.rglob("*.py"):
            words = path.relative_to(ROOT).with_suffix("").parts
            own[".".join(words[:-1] if words[-1] == "__init__" else words)] = path
    return own


def _run_by_import(name: str, own: dict[str, Path]) -> set[str]:
    """What importing `name` runs: the module, if it is one, and the packages around it; all of a package for ``name.``."""
    if name.partition(".")[0] not in own:
        return set()
    if name.endswith("."):
        return {one for one in own if one.startswith(name)} | _run_by_import(name[:-1], own)
    words = name.split(".")
    return {one for length in range(len(words)) if (one := ".".join(words[: length + 1])) in own}


def _imported(source: str, package: str, own: dict[str, Path]) -> set[str]:
    """The repository's own modules that a piece of code, in `package`, imports or names."""
    found = set()
    for name in _look(source).mentions:
        rest = name.lstrip(".")
        if dots := len(name) - len(rest):
            parents = package.split(".")
            name = ".".join([*parents[: len(parents) - dots + 1], rest])
        found |= _run_by_import(name, own)
    return found


# --------------------------------------------------------------------------------------------------
# One piece of Python


@dataclass
class _Look:
    """What a piece of code says, as far as its text tells."""

    hash: str = ""
    mentions: set[str] = field(default_factory=set)  # dotted names that may be modules
    aliases: set[tuple[str, str]] = field(default_factory=set)  # names that imports bind, and what they mean
    asks: set[tuple[str, str | None]] = field(default_factory=set)  # uses of functions in `_LOADERS`, with their first argument


_LOADERS = ("model", "path", "folder")  # how lessons and `unit24` ask for a shipped model
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+\.?")
_IN_TEXT = re.compile(r"^\s*(?:from|import)\s+([\w.]+)(?:\s+import\s+([\w, ]+))?", re.MULTILINE)  # a program in a string
_WITH_DOCSTRING = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def tree_hash(source: str) -> str:
    """Hash of Python code that comments, docstrings, blank lines and layout do not change; of the text where it is none.

    The same under all versions of Python, unlike one of `ast.dump`.
    """
    return _look(source).hash


@functools.cache
def _look(source: str) -> _Look:
    look = _Look()
    try:
        look.hash = hash_of(_canonical(ast.parse(source), look))
    except (SyntaxError, ValueError):
        look.hash = hash_of(source)
    return look


def _canonical(node: object, look: _Look) -> str:
    """The tree below `node` as text; what it mentions goes into `look`."""
    if isinstance(node, ast.AST):
        _note(node, look)
        parts = []
        for name in node._fields:
            value = getattr(node, name, None)
            if name == "body" and isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
                value = value[1:]
            if value is not None and value != []:
                parts.append(f"{name}={_canonical(value, look)}")
        return f"{type(node).__name__}({','.join(parts)})"
    if isinstance(node, list):
        return f"[{','.join(_canonical(one, look) for one in node)}]"
    return repr(node)


def _note(node: ast.AST, look: _Look) -> None:
    match node:
        case ast.Import():
            look.mentions.update(alias.name for alias in node.names)
            look.aliases.update((alias.asname, alias.name) for alias in node.names if alias.asname)
        case ast.ImportFrom():
            base = "." * node.level + (f"{node.module}." if node.module else "")
            look.mentions.update(base + alias.name for alias in node.names)
            look.aliases.update((alias.asname or alias.name, base + alias.name) for alias in node.names)
        case ast.Constant(value=str(text)):
            if _DOTTED.fullmatch(text):
                look.mentions.add(text.removesuffix("."))
            elif "import " in text:
                for module, names in _IN_TEXT.findall(text):
                    look.mentions.update([module, *(f"{module}.{name.strip()}" for name in names.split(",") if name.strip())])
        case ast.JoinedStr(values=[ast.Constant(value=str(start)), *_]) if start.endswith(".") and _DOTTED.fullmatch(start):
            look.mentions.add(start)  # a module whose name is made up: any of the package
        case ast.Call():
            name = _dotted(node.func)
            if name.split(".")[-1] in _LOADERS:
                first = node.args[0] if node.args else None
                look.asks.add((name, str(first.value) if isinstance(first, ast.Constant) else None))
                node.func.called = True
        case ast.Attribute() | ast.Name():
            name = _dotted(node)
            if "." in name:
                look.mentions.add(name)
            if name.split(".")[-1] in _LOADERS and isinstance(node.ctx, ast.Load) and not hasattr(node, "called"):
                look.asks.add((name, None))


def _dotted(node: ast.AST) -> str:
    """``a.b.c`` for such an expression, empty for another."""
    words = []
    while isinstance(node, ast.Attribute):
        words.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(words)]) if isinstance(node, ast.Name) else ""


# --------------------------------------------------------------------------------------------------
# Files, each read once in a process while it stays as it is


def file_hash(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    return _file_hash(path, *state(path))


def _text(path: Path) -> str:
    return _read(path, *state(path))


def state(path: Path) -> tuple[int, int]:
    """What changes when a file is written: time and size."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size


@functools.cache
def _file_hash(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def _read(path: Path, changed: int, size: int) -> str:
    return path.read_text(encoding="utf-8")
