"""The operators of mutation analysis: arithmetic, comparison, logic, constants, dropped statements, swapped arguments.

See Jia and Harman, "An Analysis and Survey of the Development of Mutation Testing", IEEE TSE 37(5), 2011,
https://doi.org/10.1109/TSE.2010.62
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from course.mutators.edits import Code, Edit, changed, neighbours

_ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
_COMPARISON = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip


def edits(code: Code, node: ast.AST) -> Iterator[Edit]:
    for kind, text in _variants(node):
        yield code.replace(kind, node, text)


def _variants(node: ast.AST):
    """(kind, replacement text) for one node."""
    if isinstance(node, ast.BinOp):
        if isinstance(node.op, ast.MatMult):
            yield "arithmetic", _text(node, left=node.right, right=node.left)
        elif type(node.op) in _ARITHMETIC:
            yield "arithmetic", _text(node, op=_ARITHMETIC[type(node.op)]())
    elif isinstance(node, ast.AugAssign) and type(node.op) in _ARITHMETIC:
        yield "arithmetic", changed(node, op=_ARITHMETIC[type(node.op)]())
        yield "dropped", "pass"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not, ast.Invert)):
        yield "arithmetic", f"({ast.unparse(node.operand)})"
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in _COMPARISON.get(type(node.ops[0]), ()):
            yield "comparison", _text(node, ops=[other()])
    elif isinstance(node, ast.BoolOp):
        yield "logic", _text(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.Constant):
        yield from _constants(node.value)
    elif isinstance(node, ast.Call) and len(node.args) >= 2 and not any(isinstance(a, ast.Starred) for a in node.args[:2]):
        yield "swapped", _text(node, args=[node.args[1], node.args[0], *node.args[2:]])
    elif isinstance(node, ast.Return) and node.value is not None:
        yield "dropped", "return None"
    elif isinstance(node, (ast.Expr, ast.Assign, ast.AnnAssign, ast.Delete, ast.Raise, ast.Break, ast.Continue)):
        yield "dropped", "pass"
    elif isinstance(node, ast.If) and isinstance(node.test, (ast.Name, ast.Attribute, ast.Call)):
        yield "logic", changed(node, test=ast.UnaryOp(op=ast.Not(), operand=node.test))


def _constants(value):
    if isinstance(value, bool):
        yield "constant", repr(not value)
    elif isinstance(value, int):
        for other in neighbours(value):
            yield "constant", other
    elif isinstance(value, float):
        yield "constant", repr(value * 2 if value else 1.0)
        yield "constant", repr(value + 1)
    elif isinstance(value, str) and value:
        yield "constant", repr(value[::-1] if value[::-1] != value else value + "x")


def _text(node: ast.AST, **changes) -> str:
    return f"({changed(node, **changes)})"
