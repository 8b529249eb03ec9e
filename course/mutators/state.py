"""Mistakes that leave a state behind, or forget to set it: modes, gradients, contexts, generators."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from course.mutators.edits import Code, Edit, changed, method

KINDS = {
    "gradient mode": "`no_grad` or `inference_mode` dropped, or gradients switched off for good",
    "context": "a `with` dropped: autocast, a lock, a limit",
    "mode": "`eval` or `train` dropped, for the outermost module only, or only where the outermost was in the other mode",
    "zero_grad": "old gradients not taken away",
    "graph": "`backward` keeps the graph alive; `requires_grad_` dropped",
    "class": "what an object knows lies in its class: a second object takes it over",
    "generator": "`generator=` or the seed dropped: the global generator decides",
}

_NO_GRADIENTS = {"no_grad", "inference_mode"}
_GRADIENT_MODES = {*_NO_GRADIENTS, "set_grad_enabled", "enable_grad"}


def edits(code: Code, node: ast.AST) -> Iterator[Edit]:
    match node:
        case ast.With() | ast.AsyncWith():
            yield from _without_context(code, node)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield from _without_decorator(code, node)
            yield from _known_by_class(code, node)
        case ast.Expr(value=ast.Call() as call):
            yield from _statement(code, node, call)
        case ast.Assign(targets=[ast.Attribute(attr="grad")], value=ast.Constant(value=None)):
            yield code.replace("zero_grad", node, "pass")
        case ast.Call():
            yield from _call(code, node)


def _without_context(code: Code, node: ast.With | ast.AsyncWith) -> Iterator[Edit]:
    """The body without one of its contexts; `if True:` keeps its lines as they are."""
    last = code.end(node.items[-1].optional_vars or node.items[-1].context_expr)
    end = last + code.between(last, code.start(node.body[0])).index(":")
    for item in node.items:
        if item.optional_vars:
            continue
        name = method(item.context_expr)
        kind = "gradient mode" if name in _GRADIENT_MODES else "context"
        others = [one for one in node.items if one is not item]
        without = "if True" if not others else changed(node, items=others, body=[]).rstrip(":")
        yield Edit(kind, code.start(node), end, without)
        if name in _NO_GRADIENTS and isinstance(item.context_expr.func, ast.Attribute):
            off = f"{code.text(item.context_expr.func.value)}.set_grad_enabled(False)\n{' ' * node.col_offset}"
            yield Edit(kind, code.start(node), end, off + without)


def _without_decorator(code: Code, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> Iterator[Edit]:
    starts = [code.start(one) - 1 for one in node.decorator_list] + [code.start(node)]  # the @ stands before
    for decorator, start, following in zip(node.decorator_list, starts, starts[1:]):
        name = method(decorator) or (decorator.attr if isinstance(decorator, ast.Attribute) else "")
        if name in _GRADIENT_MODES:
            yield Edit("gradient mode", start, following, "")


def _known_by_class(code: Code, node: ast.AST) -> Iterator[Edit]:
    """``self.free = []`` in `__init__` becomes ``type(self).free = []``; a constant, that later steps replace, stays the object's."""
    if not isinstance(node, ast.FunctionDef) or node.name != "__init__" or not node.args.args:
        return
    me = node.args.args[0].arg
    for assigned in (inner for inner in ast.walk(node) if isinstance(inner, ast.Assign | ast.AnnAssign) and inner.value):
        for target in getattr(assigned, "targets", None) or [assigned.target]:
            apart = isinstance(target, ast.Tuple) and isinstance(assigned.value, ast.Tuple)
            for place, value in zip(target.elts, assigned.value.elts) if apart else [(target, assigned.value)]:
                match place, value:
                    case _, ast.Constant() | ast.UnaryOp() | ast.Attribute(value=ast.Name(id="math")):
                        continue
                    case ast.Attribute(value=ast.Name(id=name) as owner), _ if name == me:
                        yield code.replace("class", owner, f"type({me})")


def _statement(code: Code, node: ast.Expr, call: ast.Call) -> Iterator[Edit]:
    name = method(call)
    if name in ("zero_grad", "manual_seed", "requires_grad_"):
        yield code.replace({"zero_grad": "zero_grad", "manual_seed": "generator"}.get(name, "graph"), node, "pass")
    elif name in ("eval", "train") and isinstance(call.func, ast.Attribute):
        module = code.text(call.func.value)
        mode = code.text(call.args[0]) if call.args else str(name == "train")
        yield code.replace("mode", node, "pass")
        yield code.replace("mode", node, f"{module}.training = {mode}")
        if call.args:
            yield code.drop_argument("mode", call, call.args[0])
        else:
            yield code.replace("mode", node, f"if {'not ' * (name == 'train')}{module}.training: {code.text(call)}")


def _call(code: Code, call: ast.Call) -> Iterator[Edit]:
    name = method(call)
    if name == "backward" and not any(one.arg == "retain_graph" for one in call.keywords):
        yield code.add_argument("graph", call, "retain_graph=True")
    for one in call.keywords:
        if one.arg == "generator":
            yield code.drop_argument("generator", call, one)
    if isinstance(call.func, ast.Attribute) and not code.is_statement(call):
        if name in ("eval", "train"):
            yield code.drop_call("mode", call)
        elif name == "requires_grad_":
            yield code.drop_call("graph", call)
