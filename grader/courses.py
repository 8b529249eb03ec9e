"""In which company an answer is judged: alone on the lesson's own state, and, where it falls short there, with more of
what the student wrote, as their own kernel ran it.

The best verdict counts, so a notebook whose tests pass when it is run from top to bottom gets its points, whatever
stands in other cells; and an answer that is right alone is not hurt by what stands there.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass

from course.names import defined_names, global_names
from course.parts import Exercise
from grader.outcomes import Verdict
from grader.submission import LessonCells, Submission, Written
from judge.bench import Bench

OWN_SLACK = 3.0  # the student's other cells compute too
ANY = "*"  # among names: all of them, perhaps
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


@dataclass(frozen=True)
class Course:
    """Cells of the student that run before the answer, and after it, in order: (label, source). `words` say so in a message."""

    words: str
    cells: tuple[tuple[str, str], ...]
    after: tuple[tuple[str, str], ...] = ()


ALONE = Course("", ())


def courses(submission: Submission, exercise: Exercise, source: str, cells: LessonCells) -> tuple[Course, ...]:
    """The courses of events on which an answer is judged, until it gets full points.

    1. Alone, but for cells that define what neither the lesson nor Python has.
    2. With the cells before it that define or change, globally, what it uses.
    3. With everything that the student wrote before it, in order, and with what they wrote between it and its tests that
       defines it again, or changes it or what it uses.
    """
    before = [piece for piece in submission.before(exercise.id) if piece.source]
    between = [piece for piece in submission.between(exercise.id) if piece.source]
    defined, named = _defined(source), names_in(source)
    after = _as_cells(_used(between, exercise, defined | named | exercise.names))
    found = [
        Course("", _as_cells(_missing(submission, exercise, source, cells))),
        Course("with the cells that change what it uses", _as_cells(_used(before, exercise, named - defined))),
        Course(f"with everything that you wrote before {'its tests' if after else 'it'}", _as_cells(before), after),
    ]
    seen: list[Course] = []
    for course in found:
        if all((course.cells, course.after) != (other.cells, other.after) for other in seen):
            seen.append(course)
    return tuple(seen)


@dataclass(frozen=True)
class Judged:
    """A verdict, and on how many of its courses of events the answer was judged until it was reached."""

    verdict: Verdict
    courses: int


def judge_best(bench: Bench, exercise: Exercise, source: str, ways: tuple[Course, ...]) -> Judged:
    """The best verdict on an answer over its courses of events; of equals the first."""
    best = None
    for course in ways:
        whole = "\n\n".join([source, *(text for _, text in course.after)])
        verdict = bench.judge(exercise, whole, course.cells, OWN_SLACK if course.words else 1.0)
        if best is None or verdict.points > best.points:
            best = verdict
            if course.words:
                said = "cell " + ", ".join(label for label, _ in course.cells + course.after)
                best = dataclasses.replace(verdict, message=f"{verdict.message} (Judged {course.words}: {said}.)")
        if best.points >= best.max_points:
            break
        if verdict.status == "not attempted" and not any(way.after for way in ways):  # what stands before a stub cannot help it
            return Judged(best, len(ways))
    return Judged(best, ways.index(course) + 1)


def _as_cells(pieces: list[Written]) -> tuple[tuple[str, str], ...]:
    return tuple((piece.label, piece.source) for piece in pieces)


def _missing(submission: Submission, exercise: Exercise, source: str, cells: LessonCells) -> list[Written]:
    """The student's other cells without which names are missing, wherever they stand: of several the last."""
    known = cells.before[exercise.id] | set(dir(builtins)) | {"display", "get_ipython"}
    others = [piece for piece in submission.written if piece.exercise != exercise.id and piece.source]
    defined = {piece: _defined(piece.source) for piece in others}
    missing = names_in(source) - known - _defined(source)
    chosen: set[Written] = set()
    while more := [p for p in others if p not in chosen and defined[p] & missing and p.source != source]:
        chosen.add(more[-1])
        missing = (missing | (names_in(more[-1].source) - known)) - defined[more[-1]]
    return [piece for piece in others if piece in chosen]


def _used(pieces: list[Written], exercise: Exercise, names: frozenset[str]) -> list[Written]:
    """Of other cells those that define or change, globally, one of `names` or what they use themselves."""
    wanted = set(names)
    chosen: set[Written] = set()
    while more := [p for p in pieces if p not in chosen and p.exercise != exercise.id and _changes(p.source, wanted)]:
        chosen.update(more)
        for piece in more:
            wanted |= names_in(piece.source)
    return [piece for piece in pieces if piece in chosen]


@functools.lru_cache(maxsize=2_000)  # a cell is looked at for each exercise after it
def names_in(source: str) -> frozenset[str]:
    """Names that a cell takes from its notebook; none where Python cannot read it."""
    try:
        return frozenset(global_names(source))
    except UNREADABLE:
        return frozenset()


@functools.lru_cache(maxsize=2_000)
def _defined(source: str) -> frozenset[str]:
    try:
        return frozenset(defined_names(source))
    except UNREADABLE:
        return frozenset()


def _changes(source: str, wanted: set[str]) -> bool:
    changed = changed_names(source)
    return ANY in changed or not changed.isdisjoint(wanted)


@functools.lru_cache(maxsize=2_000)
def changed_names(source: str) -> frozenset[str]:
    """Names that a cell, when it runs, may define or change for others.

    `ANY` is among them where one cannot see which (``from x import *``, ``exec``, a written file).
    """
    try:
        tree = ast.parse(source)
    except UNREADABLE:
        return frozenset()
    return frozenset(_changed(tree)) | _defined(source)


def _changed(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(names=[ast.alias("*")]):
                yield ANY
            case ast.Global(names):
                yield from names
            case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
                yield from _root(node)  # T["k"] = 1, Class.method = f
            case ast.Name(name, ast.Del()):
                yield name
            case ast.Call(ast.Name("exec" | "eval" | "setattr" | "delattr" | "globals"), arguments):
                yield from [ANY] if not arguments or isinstance(arguments[0], ast.Constant) else _root(arguments[0])
            case ast.Call(ast.Attribute(ast.Call(ast.Name("get_ipython")), "run_cell_magic")):
                yield ANY
            case ast.Call(function, arguments):
                if isinstance(function, ast.Attribute):
                    yield from _root(function)  # names.append(x), torch.manual_seed(0)
                for argument in arguments:
                    yield from _root(argument)  # random.shuffle(names)


def _root(node: ast.AST) -> Iterator[str]:
    """The name at the beginning of ``a.b[c].d``."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call, ast.Starred)):
        node = node.func if isinstance(node, ast.Call) else node.value
    if isinstance(node, ast.Name):
        yield node.id
