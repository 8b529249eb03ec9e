"""Read a lesson text (``lessons/NN_name.py``, jupytext percent format) into plain objects.

Everything that a lesson says about itself (exercises, points, answers that must fail or pass) is
read here and nowhere else.  A text that does not make sense raises `LessonError` with file and line.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unit24.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
LESSONS = ROOT / "lessons"

# What a cell may be, by the key that names it, and the other keys that may stand beside it.
KEYS: dict[str, set[str]] = {
    "exercise": {"minutes", "difficulty", "seconds", "memory_mb", "processes", "apart"},
    "tests": {"points"},
    "answer": {"points", "minutes", "difficulty"},
    "rubric": set(),
    "wrong": {"says"},
    "right": set(),
    "equivalent": {"because"},
    "quiz": set(),
}
REQUIRED = {
    "exercise": {"minutes", "difficulty"},
    "tests": {"points"},
    "answer": {"points"},
    "wrong": {"says"},
    "equivalent": {"because"},
}
BEGIN_SOLUTION, END_SOLUTION = "### BEGIN SOLUTION", "### END SOLUTION"
BEGIN_HIDDEN, END_HIDDEN = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"


_IMPORTS = (ast.Import, ast.ImportFrom)


class LessonError(UserError):
    """A lesson text that cannot be used; the message starts with ``file:line:``."""

    def __init__(self, path: Path, line: int, message: str):
        try:
            path = path.resolve().relative_to(ROOT)
        except ValueError:
            pass
        super().__init__(f"{path}:{line}: {message}")


@dataclass(frozen=True)
class Cell:
    """One cell of the text. `role` is a key of `KEYS`, ``"setup"`` or ``"plain"``; `name` its value."""

    role: str
    name: str
    type: str  # "code" or "markdown"
    source: str
    line: int  # of the source's first line in the file, from 1
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Exercise:
    """One exercise with everything that belongs to it."""

    id: str
    cell: Cell
    tests: Cell
    points: float
    minutes: int
    difficulty: int
    hints: int
    wrong: tuple[Cell, ...]
    right: tuple[Cell, ...]
    equivalent: tuple[Cell, ...]
    seconds: float  # limit for one candidate, CPU seconds
    memory_mb: int  # limit for one candidate above the reference state
    processes: bool = False  # a candidate may start programs
    apart: bool = False  # its tests are written for a process of their own, which the student's code cannot reach

    @property
    def names(self) -> frozenset[str]:
        """Top-level names that the exercise's reference solution defines."""
        return frozenset(defined_names(self.cell.source))


@dataclass(frozen=True)
class Answer:
    """A written answer, graded by hand against its rubric."""

    id: str
    cell: Cell
    rubric: Cell | None
    points: float
    minutes: int
    difficulty: int


@dataclass(frozen=True)
class Question:
    """A quiz question: options as (text, is right, feedback)."""

    text: str
    options: tuple[tuple[str, bool, str], ...]


@dataclass(frozen=True)
class Lesson:
    name: str
    title: str
    path: Path
    cells: tuple[Cell, ...]
    exercises: tuple[Exercise, ...]
    answers: tuple[Answer, ...]
    questions: tuple[Question, ...]
    needs: tuple[str, ...]  # requirement strings beyond the package's own
    fork: bool  # False: its components do not survive a fork

    @property
    def points(self) -> float:
        return sum(e.points for e in self.exercises) + sum(a.points for a in self.answers)

    def exercise(self, name: str) -> Exercise:
        for exercise in self.exercises:
            if exercise.id == name:
                return exercise
        raise KeyError(f"lesson {self.name} has no exercise {name!r}; it has {', '.join(e.id for e in self.exercises)}")


def lesson_names(folder: Path = LESSONS) -> list[str]:
    """Names of all lessons, in order."""
    return sorted(p.stem for p in folder.glob("[0-9][0-9]_*.py"))


def find_lessons(wanted: tuple[str, ...] = (), folder: Path = LESSONS) -> list[str]:
    """Full names for what a user typed: ``04``, ``4``, ``04_training_loop`` or its path.

    Raises:
        UserError: nothing is called that; the message lists what there is.
    """
    names = lesson_names(folder)
    if not wanted:
        return names
    found = []
    for word in wanted:
        stem = Path(word).stem
        number = f"{int(stem):02d}" if stem.isdigit() else stem
        match = [n for n in names if n == stem or n.split("_")[0] == number]
        if not match:
            raise UserError(f"there is no lesson {word!r}; there are: {', '.join(names) or 'none'}")
        found += [n for n in match if n not in found]
    return found


def read(path: Path) -> Lesson:
    """Read and check one lesson text.

    Raises:
        LessonError: with file and line, if the text breaks the format.
    """
    text = path.read_text(encoding="utf-8")
    header, cells = _cells(path, text)
    _check_cells(path, cells)

    by_role: dict[str, dict[str, list[Cell]]] = {}
    for cell in cells:
        by_role.setdefault(cell.role, {}).setdefault(cell.name, []).append(cell)
    exercises = []
    for name, (cell,) in by_role.get("exercise", {}).items():
        tests = by_role["tests"][name][0]
        exercises.append(
            Exercise(
                id=name,
                cell=cell,
                tests=tests,
                points=_number(path, tests, "points"),
                minutes=int(_number(path, cell, "minutes")),
                difficulty=int(_number(path, cell, "difficulty")),
                hints=_hints(cells, cell),
                wrong=tuple(by_role.get("wrong", {}).get(name, ())),
                right=tuple(by_role.get("right", {}).get(name, ())),
                equivalent=tuple(by_role.get("equivalent", {}).get(name, ())),
                seconds=float(cell.options.get("seconds", 20)),
                memory_mb=int(cell.options.get("memory_mb", 2048)),
                processes=_flag(path, cell, "processes"),
                apart=_flag(path, cell, "apart"),
            )
        )
    answers = [
        Answer(
            id=name,
            cell=cell,
            rubric=by_role.get("rubric", {}).get(name, [None])[0],
            points=_number(path, cell, "points"),
            minutes=int(cell.options.get("minutes", 10)),
            difficulty=int(cell.options.get("difficulty", 1)),
        )
        for name, (cell,) in by_role.get("answer", {}).items()
    ]
    questions = [q for quiz in by_role.get("quiz", {}).values() for cell in quiz for q in parse_quiz(path, cell)]
    about = header.get("unit24", {})
    return Lesson(
        name=path.stem,
        title=_title(path, cells),
        path=path,
        cells=tuple(cells),
        exercises=tuple(exercises),
        answers=tuple(answers),
        questions=tuple(questions),
        needs=tuple(about.get("needs", ())),
        fork=bool(about.get("fork", True)),
    )


def parse_quiz(path: Path, cell: Cell) -> list[Question]:
    """Questions of a quiz cell: ``1. text``, then options ``- [ ] text :: feedback`` (``[x]`` is right)."""
    questions: list[tuple[str, list]] = []
    for offset, line in enumerate(cell.source.splitlines()):
        at, line = cell.line + offset, line.strip()
        if not line:
            continue
        if match := re.match(r"\d+\.\s+(.*)", line):
            questions.append((match[1], []))
        elif match := re.match(r"- \[([ x])\]\s+(.*)", line):
            if not questions:
                raise LessonError(path, at, "a quiz option stands before the first question")
            text, separator, feedback = match[2].partition(" :: ")
            if not separator or not feedback.strip():
                raise LessonError(path, at, "a quiz option has no feedback: write `- [ ] option :: feedback`")
            questions[-1][1].append((text.strip(), match[1] == "x", feedback.strip()))
        else:
            raise LessonError(path, at, "a quiz holds `1. question` and `- [ ] option :: feedback` lines, each on one line")
    for text, options in questions:
        if len(options) < 2 or sum(right for _, right, _ in options) != 1:
            raise LessonError(path, cell.line, f"quiz question {text[:40]!r} needs at least two options and exactly one `[x]`")
    return [Question(text, tuple(options)) for text, options in questions]


def defined_names(source: str) -> list[str]:
    """Names that a piece of code binds at its top level, in order of first appearance."""
    names: dict[str, None] = {}
    for node in ast.parse(source).body:
        for name in _bound(node):
            names.setdefault(name)
    return list(names)


def _bound(node: ast.AST):
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            yield (alias.asname or alias.name).split(".")[0]
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif not isinstance(node, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        for child in ast.iter_child_nodes(node):
            yield from _bound(child)


# --------------------------------------------------------------------------------------------------


def _cells(path: Path, text: str) -> tuple[dict, list[Cell]]:
    import jupytext

    try:
        notebook = jupytext.reads(text, fmt="py:percent")
    except Exception as error:
        raise LessonError(path, 1, f"not a jupytext percent file: {error}") from None
    lines = text.splitlines()
    markers = _markers(lines)
    raw = [c for c in notebook.cells]
    if len(markers) != len(raw):
        first = markers[0] if markers else len(lines)
        raise LessonError(
            path,
            1,
            f"text before the first cell marker (line {first}), or a marker inside a string: {len(raw)} cells, {len(markers)} `# %%` lines",
        )
    return notebook.metadata, [_cell(path, c, line) for c, line in zip(raw, markers)]


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


def _cell(path: Path, raw, line: int) -> Cell:
    options = {k: v for k, v in raw.metadata.items() if k not in ("lines_to_next_cell", "cell_marker")}
    title = options.pop("title", None)
    if title == "setup" and not options:
        return Cell("setup", "setup", "code", raw.source, line + 1)
    if title is not None:
        raise LessonError(path, line, f'a cell marker carries only `key="value"` pairs or `setup`, not {title!r}')
    roles = [k for k in options if k in KEYS]
    if not options:
        return Cell("plain", "", raw.cell_type, raw.source, line + 1)
    if len(roles) != 1:
        known = ", ".join(KEYS)
        raise LessonError(
            path, line, f"unknown cell key {', '.join(map(repr, options))}: a marked cell has exactly one of {known}"
        )
    role = roles[0]
    name = options.pop(role)
    for key in options:
        if key not in KEYS[role]:
            raise LessonError(
                path,
                line,
                f"unknown key {key!r} beside {role}={name!r}; it may have: {', '.join(sorted(KEYS[role])) or 'no other key'}",
            )
    for key in sorted(REQUIRED.get(role, set()) - set(options)):
        raise LessonError(path, line, f"{role}={name!r} needs {key}=")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", str(name)):
        raise LessonError(path, line, f"{role}={name!r}: a name is lower case letters, digits and _")
    return Cell(role, name, raw.cell_type, raw.source, line + 1, options)


def _check_cells(path: Path, cells: list[Cell]) -> None:
    if sum(c.role == "setup" for c in cells) != 1:
        raise LessonError(path, 1, "a lesson has exactly one `# %% setup` cell")
    seen: dict[str, Cell] = {}
    for cell in cells:
        markdown = cell.role in ("answer", "rubric", "quiz")
        if cell.role != "plain" and markdown != (cell.type == "markdown"):
            raise LessonError(path, cell.line, f"{cell.role}={cell.name!r} must be a {'markdown' if markdown else 'code'} cell")
        if cell.type == "code" and cell.role != "equivalent":
            try:
                ast.parse(cell.source)
            except SyntaxError as error:
                raise LessonError(
                    path, cell.line + (error.lineno or 1) - 1, f"{error.msg} (cells are plain Python, without % and ! commands)"
                ) from None
        if cell.role in ("exercise", "answer"):
            if cell.name in seen:
                raise LessonError(path, cell.line, f"duplicate id {cell.name!r} (first at line {seen[cell.name].line})")
            seen[cell.name] = cell
        if cell.role == "exercise":
            if not cell.source.count(BEGIN_SOLUTION) or cell.source.count(BEGIN_SOLUTION) != cell.source.count(END_SOLUTION):
                raise LessonError(
                    path, cell.line, f"exercise={cell.name!r} needs `{BEGIN_SOLUTION}` and `{END_SOLUTION}`, equally often"
                )
        if cell.source.count(BEGIN_HIDDEN) != cell.source.count(END_HIDDEN):
            raise LessonError(path, cell.line, f"{cell.role or 'cell'} {cell.name!r}: hidden tests begin and end unequally often")
        if BEGIN_HIDDEN in cell.source and cell.role != "tests":
            raise LessonError(path, cell.line, "hidden tests stand only in a `tests` cell")
        if BEGIN_SOLUTION in cell.source and cell.role != "exercise":
            raise LessonError(path, cell.line, "a solution stands only in an `exercise` cell")
    tested: dict[str, Cell] = {}
    for cell in cells:
        if cell.role == "tests":
            if cell.name in tested:
                raise LessonError(path, cell.line, f"a second tests={cell.name!r} (first at line {tested[cell.name].line})")
            tested[cell.name] = cell
            if f'check.exercise("{cell.name}")' not in cell.source:
                raise LessonError(path, cell.line, f'tests={cell.name!r} must stand in `with check.exercise("{cell.name}"):`')
        if cell.role in ("tests", "wrong", "right", "equivalent") and seen.get(cell.name, cell).role != "exercise":
            raise LessonError(path, cell.line, f"{cell.role}={cell.name!r}: there is no such exercise")
        if cell.role in ("tests", "wrong", "right", "equivalent") and cell.name not in seen:
            raise LessonError(path, cell.line, f"{cell.role}={cell.name!r}: there is no such exercise")
        if cell.role == "rubric" and (cell.name not in seen or seen[cell.name].role != "answer"):
            raise LessonError(path, cell.line, f"rubric={cell.name!r}: there is no such answer")
    for name, cell in seen.items():
        if cell.role == "exercise" and name not in tested:
            raise LessonError(path, cell.line, f"exercise={name!r} has no tests")


def _number(path: Path, cell: Cell, key: str) -> float:
    value = cell.options[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        raise LessonError(path, cell.line, f"{key}={value!r} must be a number above 0, without quotes")
    if key == "difficulty" and value not in (1, 2, 3):
        raise LessonError(path, cell.line, f"difficulty={value!r} must be 1, 2 or 3")
    return float(value)


def _flag(path: Path, cell: Cell, key: str) -> bool:
    value = cell.options.get(key, False)
    if not isinstance(value, bool):
        raise LessonError(path, cell.line, f"{key}={value!r} must be true or false, without quotes")
    return value


def _hints(cells: list[Cell], exercise: Cell) -> int:
    """Folded hints (``<details>``) in the prose between an exercise's cell and the next exercise."""
    after = cells[cells.index(exercise) + 1 :]
    count = 0
    for cell in after:
        if cell.role in ("exercise", "answer", "quiz"):
            break
        if cell.role == "plain" and cell.type == "markdown":
            count += cell.source.count("<details>")
    return count


def _title(path: Path, cells: list[Cell]) -> str:
    for cell in cells:
        if cell.type == "markdown" and (match := re.match(r"#\s+(.+)", cell.source)):
            return match[1].strip()
    raise LessonError(path, 1, "the first text cell must start with a title: `# Title`")
