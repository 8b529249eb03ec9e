"""Compile what runs in the bench's processes: in them there is code, and no text of solutions and tests."""

from __future__ import annotations

import ast
import functools
import marshal
from base64 import b64encode
from dataclasses import dataclass
from types import CodeType

from course.parts import Exercise
from course.scenarios import scenarios

POINTS = "__points__"  # where the tests leave the value of their last expression


@dataclass(frozen=True)
class Tests:
    """The compiled tests of one exercise, as base64 of marshalled code."""

    code: str
    scenarios: dict[str, str]  # functions that run beside the student's code, by name
    clean: bool  # some of them run where that code never was


def code_text(code: CodeType) -> str:
    """`code` as text that can be sent; `judge.holder` reads it."""
    return b64encode(marshal.dumps(code)).decode()


@functools.lru_cache(maxsize=64)
def compiled_cell(name: str, source: str) -> str:
    return code_text(compile(source, name, "exec", dont_inherit=True))


def compiled_tests(exercise: Exercise) -> Tests:
    """Tests and scenarios. A last expression's value is left in `POINTS`."""
    file = f"<tests {exercise.id}>"
    tree = ast.parse(exercise.tests.source)
    if tree.body and isinstance(last := tree.body[-1], ast.Expr):
        target = ast.Name(POINTS, ast.Store())
        tree.body[-1] = ast.copy_location(ast.Assign([target], last.value), last)
    found = scenarios(exercise)
    alone = {s.name: code_text(compile(_alone(s.node), file, "exec", dont_inherit=True)) for s in found}
    whole = code_text(compile(ast.fix_missing_locations(tree), file, "exec", dont_inherit=True))
    return Tests(whole, alone, any(s.kind == "clean" for s in found))


def _alone(node: ast.FunctionDef) -> ast.Module:
    """A module that holds the function, without its mark, annotation of the result and docstring."""
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    bare = ast.FunctionDef(node.name, node.args, body or [ast.Pass()], node.decorator_list[1:], None, None)
    if hasattr(node, "type_params"):  # Python 3.12
        bare.type_params = node.type_params
    return ast.fix_missing_locations(ast.Module([ast.copy_location(bare, node)], []))
