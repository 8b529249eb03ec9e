"""Names in a piece of code, by Python's own rules of scope: what it defines, and what it takes from around it."""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterator


def defined_names(source: str) -> list[str]:
    """Names that a piece of code binds at its top level, in order of first appearance."""
    return list(dict.fromkeys(name for node in ast.parse(source).body for name in bound_names(node)))


def bound_names(node: ast.AST) -> Iterator[str]:
    """Names that a statement binds in the scope where it stands, one as often as it does."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            yield (alias.asname or alias.name).split(".")[0]
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif not isinstance(node, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        for child in ast.iter_child_nodes(node):
            yield from bound_names(child)


def global_names(source: str) -> set[str]:
    """Names that a piece of code, compiled alone, looks up at its top level: there, in functions, defaults, decorators.

    Raises:
        SyntaxError: Python cannot read it.
    """
    names: set[str] = set()
    tables = [symtable.symtable(source, "<code>", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        module = table.get_type() == "module"
        names |= {s.get_name() for s in table.get_symbols() if (s.is_referenced() if module else s.is_global())}
    return names
