"""Small, systematic mistakes made in a reference solution: what its tests ought to notice.

The operators are the classic ones of mutation analysis (arithmetic, comparison, logic, constants,
dropped statements, swapped arguments); see Jia and Harman, "An Analysis and Survey of the
Development of Mutation Testing", IEEE TSE 37(5), 2011, https://doi.org/10.1109/TSE.2010.62
"""

from __future__ import annotations

import ast
import copy
import difflib
from dataclasses import dataclass

from course.parts import BEGIN_SOLUTION, END_SOLUTION

_ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
_COMPARISON = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    kind: str
    source: str
    removed: tuple[str, ...]  # lines, without indentation
    added: tuple[str, ...]

    @property
    def diff(self) -> str:
        return "\n".join([f"- {line}" for line in self.removed] + [f"+ {line}" for line in self.added])


def mutants(source: str) -> list[Mutant]:
    """All mutants of the lines between the solution markers of an exercise cell.

    Docstrings, error messages and anything outside the markers stay as they are.
    """
    lines = source.splitlines()
    starts, ends = ([i for i, line in enumerate(lines, 1) if marker in line] for marker in (BEGIN_SOLUTION, END_SOLUTION))
    solutions = list(zip(starts, ends))
    tree = ast.parse(source)
    skipped = {id(inner) for node in ast.walk(tree) for outer in _prose(node) for inner in ast.walk(outer)}
    found: dict[str, Mutant] = {}
    for node in ast.walk(tree):
        inside = hasattr(node, "lineno") and any(start < node.lineno and node.end_lineno < end for start, end in solutions)
        if not inside or id(node) in skipped:
            continue
        for kind, text in _variants(node):
            changed = _splice(source, node, text)
            try:
                compile(changed, "<mutant>", "exec")
            except (SyntaxError, ValueError):
                continue
            if changed != source and changed not in found:
                found[changed] = Mutant(kind, changed, *_difference(source, changed))
    return list(found.values())


def named_equivalent(mutant: Mutant, cell_source: str) -> bool:
    """Whether an `equivalent` cell (comment lines ``# - old`` and ``# + new``) names this mutant."""
    removed = tuple(_normal(line[3:]) for line in _comment_lines(cell_source) if line.startswith("# -"))
    added = tuple(_normal(line[3:]) for line in _comment_lines(cell_source) if line.startswith("# +"))
    return (removed, added) == (tuple(map(_normal, mutant.removed)), tuple(map(_normal, mutant.added)))


def _comment_lines(source: str) -> list[str]:
    return [line.strip() for line in source.splitlines()]


def _normal(line: str) -> str:
    return " ".join(line.split())


def _prose(node: ast.AST):
    """Parts of a node that only speak to people: docstrings, messages of raise and assert."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        yield node
    elif isinstance(node, ast.Raise):
        yield from (n for n in (node.exc, node.cause) if n is not None)
    elif isinstance(node, ast.Assert) and node.msg is not None:
        yield node.msg
    elif isinstance(node, ast.JoinedStr):
        yield node
    elif isinstance(node, (ast.arg, ast.AnnAssign)) and node.annotation is not None:
        yield node.annotation


def _variants(node: ast.AST):
    """(kind, replacement text) for one node."""
    if isinstance(node, ast.BinOp):
        if isinstance(node.op, ast.MatMult):
            yield "arithmetic", _text(node, left=node.right, right=node.left)
        elif type(node.op) in _ARITHMETIC:
            yield "arithmetic", _text(node, op=_ARITHMETIC[type(node.op)]())
    elif isinstance(node, ast.AugAssign) and type(node.op) in _ARITHMETIC:
        yield "arithmetic", _statement(node, op=_ARITHMETIC[type(node.op)]())
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
        yield "logic", _statement(node, test=ast.UnaryOp(op=ast.Not(), operand=node.test))


def _constants(value):
    if isinstance(value, bool):
        yield "constant", repr(not value)
    elif isinstance(value, int):
        yield "constant", str(value + 1)
        yield "constant", f"({value - 1})" if value < 1 else str(value - 1)
    elif isinstance(value, float):
        yield "constant", repr(value * 2 if value else 1.0)
        yield "constant", repr(value + 1)
    elif isinstance(value, str) and value:
        yield "constant", repr(value[::-1] if value[::-1] != value else value + "x")


def _text(node: ast.AST, **changes) -> str:
    return f"({_statement(node, **changes)})"


def _statement(node: ast.AST, **changes) -> str:
    changed = copy.copy(node)
    for name, value in changes.items():
        setattr(changed, name, value)
    return ast.unparse(ast.fix_missing_locations(changed))


def _splice(source: str, node: ast.AST, text: str) -> str:
    """`source` with the text of `node` replaced (ast counts columns in UTF-8 bytes)."""
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    end = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
    if "\n" in text:  # a whole compound statement: keep its indentation
        text = text.replace("\n", "\n" + " " * node.col_offset)
    whole = b"".join(lines)
    return (whole[:start] + text.encode() + whole[end:]).decode()


def _difference(old: str, new: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    removed, added = [], []
    for line in difflib.ndiff(old.splitlines(), new.splitlines()):
        if line.startswith("- "):
            removed.append(line[2:].strip())
        elif line.startswith("+ "):
            added.append(line[2:].strip())
    return tuple(removed), tuple(added)
