"""Small changes of a piece of Python that leave its other lines as they are.

Positions are offsets in UTF-8 bytes, in which `ast` counts columns.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

_ATOMS = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Constant, ast.List, ast.Dict, ast.ListComp)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_MODULES = {"torch", "np", "numpy", "F", "functional", "nn", "tl", "math", "copy"}


@dataclass(frozen=True)
class Edit:
    """The bytes from `start` to `end` become `text`; `kind` names the mistake."""

    kind: str
    start: int
    end: int
    text: str


class Code:
    """A piece of Python with its tree, and ways to change it."""

    def __init__(self, source: str):
        self.tree = ast.parse(source)
        self._bytes = source.encode()
        self._lines = [0, *accumulate(map(len, self._bytes.splitlines(keepends=True)))]
        self.parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    def start(self, node: ast.AST) -> int:
        return self._lines[node.lineno - 1] + node.col_offset

    def end(self, node: ast.AST) -> int:
        return self._lines[node.end_lineno - 1] + node.end_col_offset

    def line(self, number: int) -> int:
        """Where a line, counted from 1, begins."""
        return self._lines[number - 1]

    def between(self, start: int, end: int) -> str:
        return self._bytes[start:end].decode()

    def text(self, node: ast.AST) -> str:
        return self.between(self.start(node), self.end(node))

    def operand(self, node: ast.AST) -> str:
        """The text of an expression, in parentheses where something may bind its parts otherwise."""
        return self.text(node) if isinstance(node, _ATOMS) else f"({self.text(node)})"

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        while node := self.parents.get(node):
            yield node

    def is_statement(self, node: ast.AST) -> bool:
        return isinstance(self.parents.get(node), ast.Expr)

    def arguments(self, node: ast.AST) -> dict[str, str]:
        """The arguments of the functions around a node, each with the text of its annotation (or none)."""
        found: dict[str, str] = {}
        for function in self.ancestors(node):
            if isinstance(function, _FUNCTIONS):
                given = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
                found = {one.arg: self.text(one.annotation) if one.annotation else "" for one in given} | found
        return found

    def loop_variables(self, node: ast.AST) -> set[str]:
        """Names that the loops around a node bind, up to its function."""
        found: set[str] = set()
        for around in self.ancestors(node):
            if isinstance(around, _FUNCTIONS):
                break
            if isinstance(around, ast.For):
                found |= {name.id for name in ast.walk(around.target) if isinstance(name, ast.Name)}
        return found

    # What may be changed

    def replace(self, kind: str, node: ast.AST, text: str) -> Edit:
        """`text` in place of a node; its further lines are indented as the node is."""
        return Edit(kind, self.start(node), self.end(node), text.replace("\n", "\n" + " " * node.col_offset))

    def rename(self, kind: str, call: ast.Call, name: str) -> Edit:
        """Another method of the same object, or function of the same module."""
        end = self.end(call.func)
        return Edit(kind, end - len(call.func.attr.encode()), end, name)

    def drop_argument(self, kind: str, call: ast.Call, argument: ast.AST) -> Edit:
        """A call without one of its arguments or keywords, and without the comma that it no longer needs."""
        start, end = self.start(argument), self.end(argument)
        if after := re.match(r"\s*,[ ]*(\n\s*)?(?=[^\s)])", self.between(end, self.end(call))):
            return Edit(kind, start, end + len(after[0].encode()), "")
        before = re.search(r",\s*$", self.between(self.end(call.func), start))
        return Edit(kind, start - (len(before[0].encode()) if before else 0), end, "")

    def add_argument(self, kind: str, call: ast.Call, text: str) -> Edit:
        """A call with one more keyword at its end."""
        end = self.end(call) - 1
        before = self.between(self.end(call.func), end).rstrip()
        return Edit(kind, end, end, text if before.endswith(("(", ",")) else f", {text}")

    def drop_arguments(self, kind: str, call: ast.Call) -> Edit:
        return Edit(kind, self.end(call.func), self.end(call), "()")

    def drop_call(self, kind: str, call: ast.Call) -> Edit:
        """``x.f(...)`` or ``module.f(x, ...)`` becomes ``x``."""
        if not isinstance(call.func, ast.Attribute) or module_of(call):
            return self.replace(kind, call, self.operand(call.args[0]))
        return self.drop_attribute(kind, call.func, self.end(call))

    def drop_attribute(self, kind: str, attribute: ast.Attribute, end: int | None = None) -> Edit:
        """``x.name``, or what is called by it up to `end`, becomes ``x``."""
        name = self.end(attribute) - len(attribute.attr.encode())
        before = self.between(self.end(attribute.value), name)
        kept = len(before[: before.rindex(".")].rstrip().encode())
        return Edit(kind, self.end(attribute.value) + kept, self.end(attribute) if end is None else end, "")

    def apply(self, edit: Edit) -> str:
        return (self._bytes[: edit.start] + edit.text.encode() + self._bytes[edit.end :]).decode()


def module_of(call: ast.Call) -> str:
    """The module whose function is called, as its root is usually imported (``torch`` of ``torch.linalg.norm``), or nothing."""
    root = call.func.value if isinstance(call.func, ast.Attribute) else None
    while isinstance(root, ast.Attribute):
        root = root.value
    return root.id if isinstance(root, ast.Name) and root.id in _MODULES else ""


def method(call: ast.AST) -> str:
    """The last name of what is called: ``f`` in ``x.f(...)`` and ``f(...)``."""
    if not isinstance(call, ast.Call):
        return ""
    return call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else ""


def keyword(call: ast.Call, *names: str) -> ast.keyword | None:
    return next((one for one in call.keywords if one.arg in names), None)


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def neighbours(value: int) -> tuple[str, str]:
    """An integer one too large, and one too small."""
    return str(value + 1), f"({value - 1})" if value < 1 else str(value - 1)


def changed(node: ast.AST, **changes) -> str:
    """The text of a node with other parts."""
    other = copy.copy(node)
    for name, value in changes.items():
        setattr(other, name, value)
    return ast.unparse(ast.fix_missing_locations(other))
