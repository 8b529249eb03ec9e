"""Small, systematic mistakes made in a reference solution: what its tests ought to notice.

The mistakes are the classic ones of mutation analysis and those that the field's own people make; `course.mutators`
has them by family.
"""

from __future__ import annotations

import ast
import difflib
from dataclasses import dataclass

from course.mutators import classic, flow, state, tensors
from course.mutators.edits import Code, Edit
from course.parts import BEGIN_SOLUTION, END_SOLUTION

FIELD_KINDS = tensors.KINDS | state.KINDS | flow.KINDS
"""The kinds of the field's own mistakes, with what each is."""
_FIELD = (tensors.edits, state.edits, flow.edits)


@dataclass(frozen=True)
class Mutant:
    kind: str
    source: str
    removed: tuple[str, ...]  # lines, without indentation
    added: tuple[str, ...]

    @property
    def diff(self) -> str:
        return "\n".join([f"- {line}" for line in self.removed] + [f"+ {line}" for line in self.added])


def mutants(source: str, field: bool = True) -> list[Mutant]:
    """All mutants of the lines between the solution markers of an exercise cell.

    Docstrings, error messages and anything outside the markers stay as they are.  A mutant of two kinds bears the
    field's name.

    Args:
        field: with the field's own mistakes.
    """
    code = Code(source)
    skipped = {inner for node in ast.walk(code.tree) for outer in _prose(node) for inner in ast.walk(outer)}
    nodes = [node for node in ast.walk(code.tree) if node not in skipped]
    solutions = _solutions(code, source)
    found: dict[str, Mutant] = {}
    for edits in (*(_FIELD if field else ()), classic.edits):
        for edit in (edit for node in nodes for edit in edits(code, node)):
            changed = code.apply(edit)
            if _inside(edit, solutions) and changed != source and changed not in found and _compiles(changed):
                found[changed] = Mutant(edit.kind, changed, *_difference(source, changed))
    return list(found.values())


def _solutions(code: Code, source: str) -> list[tuple[int, int]]:
    """Where solutions begin and end, in bytes."""
    lines = source.splitlines()
    starts, ends = ([i for i, line in enumerate(lines, 1) if marker in line] for marker in (BEGIN_SOLUTION, END_SOLUTION))
    return [(code.line(start + 1), code.line(end)) for start, end in zip(starts, ends)]


def _inside(edit: Edit, solutions: list[tuple[int, int]]) -> bool:
    return any(start <= edit.start and edit.end < end for start, end in solutions)


def _compiles(source: str) -> bool:
    try:
        compile(source, "<mutant>", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


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


def _difference(old: str, new: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    removed, added = [], []
    for line in difflib.ndiff(old.splitlines(), new.splitlines()):
        if line.startswith("- "):
            removed.append(line[2:].strip())
        elif line.startswith("+ "):
            added.append(line[2:].strip())
    return tuple(removed), tuple(added)
