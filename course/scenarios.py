"""The functions of a tests cell that run in another process than the tests, and what they may refer to.

Three decorators mark them: ``@check.scenario`` runs beside the student's code, ``@check.scenario(clean=True)``
where that code never was, ``@check.shared`` wherever it is called.  Each travels as its own text, so it
finds there its arguments and locals, builtins, the names that the lesson has defined before the exercise,
those of the exercise (not in a clean one), and the other scenarios of the cell: nothing else of the tests.
"""

from __future__ import annotations

import ast
import builtins
import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from course.names import bound_names, defined_names, global_names
from course.parts import Exercise, Lesson
from course.reference import reference_cells

FORMS = "@check.scenario, @check.scenario(clean=True) or @check.shared"
MARKS = {
    "check.scenario": "scenario",
    "check.scenario(clean=False)": "scenario",
    "check.scenario(clean=True)": "clean",
    "check.shared": "shared",
}


@dataclass(frozen=True)
class Scenario:
    """A function of the tests that runs elsewhere."""

    name: str
    kind: str  # "scenario", "clean" or "shared"
    source: str  # what travels: the function alone, without its mark, comments and docstring
    line: int  # of its `def` in the lesson text
    node: ast.FunctionDef = field(repr=False, compare=False)  # as it stands in the cell, with the cell's line numbers


def scenarios(exercise: Exercise) -> list[Scenario]:
    """The scenarios of an exercise's tests, in their order."""
    return [
        Scenario(node.name, kind, _alone(node), exercise.tests.line + node.lineno - 1, node)
        for node in _top_level(ast.parse(exercise.tests.source).body)
        if isinstance(node, ast.FunctionDef)
        for kind in filter(None, map(_kind, node.decorator_list[:1]))
    ]


def scope_faults(lesson: Lesson, exercise: Exercise) -> Iterator[tuple[int, str]]:
    """Line and message where a scenario reaches for what is not there when it runs, or is not written as one."""
    tree, start = ast.parse(exercise.tests.source), exercise.tests.line - 1
    yield from ((start + line, message) for line, message in _misused_marks(tree))
    if found := scenarios(exercise):
        if exercise.processes and (clean := next((s for s in found if s.kind == "clean"), None)):
            yield clean.line, f"clean scenario `{clean.name}`: what an answer started could change files while they are copied (processes=true)"
        before = _names_before(lesson, exercise)
        here = Counter(name for node in tree.body for name in bound_names(node))
        yield from _name_faults(found, exercise, before, here)
        yield from ((start + line, message) for line, message in _reach_faults(found, exercise, before, here))


# --------------------------------------------------------------------------------------------------
# Marks


def _kind(decorator: ast.expr) -> str | None:
    return MARKS.get(ast.unparse(decorator))


def _is_mark(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(ast.Name("check"), "scenario" | "shared"):
            return True
    return False


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a cell, those in its `with` blocks too."""
    for node in body:
        yield node
        if isinstance(node, ast.With):
            yield from _top_level(node.body)


def _misused_marks(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Marks that make no scenario."""
    top, used = set(_top_level(tree.body)), set()
    for node in ast.walk(tree):
        for place, decorator in enumerate(getattr(node, "decorator_list", ())):
            marks = [inner for inner in ast.walk(decorator) if _is_mark(inner)]
            used.update(marks)
            if not marks:
                continue
            if not isinstance(node, ast.FunctionDef):
                yield node.lineno, f"`{node.name}` can be no scenario: only a plain function (`def`) can"
            elif not _kind(decorator):
                yield decorator.lineno, f"`{node.name}`: write {FORMS}"
            elif place:
                yield decorator.lineno, f"`{node.name}`: check's decorator stands above all others, which travel with the function"
            elif node not in top:
                yield node.lineno, f"`{node.name}`: a scenario stands at the top level of the tests, in no function or class"
    for node in ast.walk(tree):
        if _is_mark(node) and node not in used:
            yield node.lineno, f"{ast.unparse(node)} is a decorator: write {FORMS} above a function"


def _alone(node: ast.FunctionDef) -> str:
    """The text of a function without its first decorator, comments and docstring."""
    node = copy.deepcopy(node)
    del node.decorator_list[0]
    if ast.get_docstring(node) is not None:
        node.body[:1] = [] if len(node.body) > 1 else [ast.Pass()]
    return ast.unparse(node)


# --------------------------------------------------------------------------------------------------
# Names


def _names_before(lesson: Lesson, exercise: Exercise) -> set[str]:
    """What the lesson has defined when the exercise begins."""
    names: set[str] = set()
    for _, source, _, name in reference_cells(lesson):
        if name == exercise.id:
            break
        names.update(defined_names(source))
    return names


def _name_faults(
    found: list[Scenario], exercise: Exercise, before: set[str], here: Counter[str]
) -> Iterator[tuple[int, str]]:
    """A scenario's name means it alone, in the tests and where it runs."""
    for scenario in found:
        if scenario.name in exercise.names:
            yield scenario.line, f"scenario `{scenario.name}` is called like something of the exercise"
        elif scenario.name in before:
            yield scenario.line, f"scenario `{scenario.name}` is called like something of the lesson"
        elif here[scenario.name] > 1:
            yield scenario.line, f"scenario `{scenario.name}`: the tests define this name more than once"


def _reach_faults(
    found: list[Scenario], exercise: Exercise, before: set[str], here: Counter[str]
) -> Iterator[tuple[int, str]]:
    """Names that a scenario looks up and that are not there; lines are the cell's."""
    by_name = {scenario.name: scenario for scenario in found}
    looked_up: dict[str, set[str]] = {}
    for scenario in found:
        try:
            looked_up[scenario.name] = _looked_up(scenario)
        except SyntaxError as error:
            looked_up[scenario.name] = set()
            yield scenario.node.lineno, f"scenario `{scenario.name}` cannot stand alone: {error.msg}"
    for scenario in found:
        kind = "clean scenario" if scenario.kind == "clean" else scenario.kind
        for name in sorted(looked_up[scenario.name]):
            problem = ""
            if name in by_name:
                others = _reached(name, looked_up)
                if by_name[name].kind == "clean" and scenario.kind != "clean":
                    problem = "which is clean: only the tests, or another clean scenario, may call it"
                elif scenario.kind == "clean" and (theirs := sorted(others & exercise.names)):
                    problem = f"which uses `{theirs[0]}`: the exercise's code is not there"
            elif name in here:
                problem = "a name of the tests: give it as an argument, or define (import) it inside"
            elif name in exercise.names:
                problem = "a name of the exercise, whose code is not there" if scenario.kind == "clean" else ""
            elif name not in before and not hasattr(builtins, name):
                problem = "which neither the lesson has defined by then, nor the exercise"
            if problem:
                yield _line(scenario.node, name), f"{kind} `{scenario.name}` uses `{name}`, {problem}"


def _looked_up(scenario: Scenario) -> set[str]:
    """Names that a scenario's text, compiled alone, takes from around it: in its body, defaults, decorators, annotations."""
    return global_names(scenario.source) - {scenario.name}


def _reached(name: str, looked_up: dict[str, set[str]]) -> set[str]:
    """What a scenario looks up, itself or through others that it calls."""
    seen, waiting = set(), {name}
    while waiting:
        one = waiting.pop()
        seen.add(one)
        waiting |= looked_up.get(one, set()) - seen
    return seen


def _line(node: ast.FunctionDef, name: str) -> int:
    """Where a name is first used in a function."""
    lines = [inner.lineno for inner in ast.walk(node) if isinstance(inner, ast.Name) and inner.id == name]
    return min(lines, default=node.lineno)
