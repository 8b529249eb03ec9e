"""Functions of a test cell that run beside the student's code, in another process than the tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from course.lesson import Exercise

KINDS = ("scenario", "clean", "shared")


@dataclass(frozen=True)
class Scenario:
    """`line` is counted from 1 in the test cell's source."""

    name: str
    kind: str  # one of KINDS
    node: ast.FunctionDef
    line: int


def scenarios(exercise: Exercise) -> list[Scenario]:
    """Those of the exercise's test cell, in order."""
    return list(_find(ast.parse(exercise.tests.source)))


def _find(tree: ast.Module) -> Iterator[Scenario]:
    for node in ast.walk(tree):
        for decorator in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
            call = decorator if isinstance(decorator, ast.Call) else None
            named = ast.unparse(call.func if call else decorator)
            if named == "check.shared":
                yield Scenario(node.name, "shared", node, node.lineno)
            elif named == "check.scenario":
                clean = call and any(k.arg == "clean" and getattr(k.value, "value", False) for k in call.keywords)
                yield Scenario(node.name, "clean" if clean else "scenario", node, node.lineno)
