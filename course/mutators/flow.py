"""Mistakes about which cases there are: the last batch, exceptions, types, what is absent, what the default is."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from course.mutators.edits import Code, Edit, changed, is_text, keyword, method

KINDS = {
    "last batch": "the last, smaller batch or block forgotten",
    "except": "an exception caught too narrowly",
    "finally": "what must happen in any case happens only if nothing is raised, or not at all",
    "case": "one of two cases taken always",
    "clause": "one of several conditions forgotten",
    "filter": "the condition of a comprehension forgotten",
    "default": "what is absent forgotten: `d[k]` for `d.get(k, default)`",
    "truth": "0, an empty list or an empty text taken for None",
    "type": "one of several types forgotten; a subclass not taken for its class",
    "nan": "NaN passes an assertion",
    "option": "an argument by keyword forgotten: the library's default decides",
    "clock": "the clock read before or after other work than what is timed",
    "separator": "texts joined without a mark between them",
}

_ELSEWHERE = {"dtype", "device", "generator", "dim", "axis", "dims"}  # keywords with a kind of their own


_NOT = {ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt}
_CLOCKS = {"clock", "perf_counter", "perf_counter_ns", "monotonic", "process_time", "time"}


def edits(code: Code, node: ast.AST) -> Iterator[Edit]:
    if isinstance(getattr(node, "body", None), list):
        yield from _clock(code, node.body)
    match node:
        case ast.Call():
            for mistakes in (_last_batch_of_call, _absent, _type, _option, _separator):
                yield from mistakes(code, node)
        case ast.BinOp():
            yield from _floor_for_ceiling(code, node)
            yield from _clause_of_mask(code, node)
        case ast.UnaryOp():
            yield from _floor_for_ceiling(code, node)
        case ast.ExceptHandler():
            yield from _except(code, node)
        case ast.Try(finalbody=[_, *_]):
            yield from _finally(code, node)
        case ast.IfExp():
            for one in (node.body, node.orelse):
                yield code.replace("case", node, code.operand(one))
        case ast.BoolOp():
            for one in node.values:
                others = [other for other in node.values if other is not one]
                yield code.replace("clause", node, f"({changed(node, values=others)})" if len(others) > 1 else code.operand(others[0]))
        case ast.comprehension():
            for one in node.ifs:
                start = code.end(node.ifs[node.ifs.index(one) - 1] if one is not node.ifs[0] else node.iter)
                yield Edit("filter", start, code.end(one), "")
        case ast.Compare(ops=[ast.Is() | ast.IsNot()], comparators=[ast.Constant(value=None)]):
            text = code.operand(node.left)
            yield code.replace("truth", node, f"(not {text})" if isinstance(node.ops[0], ast.Is) else text)
        case ast.Assert(test=ast.Compare(ops=[op])) if type(op) in _NOT:
            yield code.replace("nan", node.test, f"not {changed(node.test, ops=[_NOT[type(op)]()])}")


# --------------------------------------------------------------------------------------------------
# The last, smaller batch


def _last_batch_of_call(code: Code, call: ast.Call) -> Iterator[Edit]:
    name, given = method(call), call.args
    if isinstance(call.func, ast.Name) and name == "range" and len(given) == 3 and not _one(given[2]):
        start, stop, step = given
        count = stop if isinstance(start, ast.Constant) and start.value == 0 else ast.BinOp(stop, ast.Sub(), start)
        whole = ast.BinOp(stop, ast.Sub(), ast.BinOp(count, ast.Mod(), step))
        yield code.replace("last batch", stop, changed(whole))
    elif name == "cdiv" and len(given) == 2:
        yield code.replace("last batch", call, _floor(*given))
    elif name == "ceil" and len(given) == 1 and isinstance(given[0], ast.BinOp) and isinstance(given[0].op, ast.Div):
        yield code.replace("last batch", call, _floor(given[0].left, given[0].right))
    elif name == "DataLoader" and not keyword(call, "drop_last"):
        yield code.add_argument("last batch", call, "drop_last=True")
    elif name == "split" and isinstance(call.func, ast.Attribute) and len(given) == 1 and not is_text(given[0]):
        size = code.text(given[0])
        yield code.replace("last batch", call, f"[part for part in {code.text(call)} if len(part) == {size}]")


def _floor_for_ceiling(code: Code, node: ast.BinOp | ast.UnaryOp) -> Iterator[Edit]:
    match node:
        case ast.UnaryOp(ast.USub(), ast.BinOp(ast.UnaryOp(ast.USub(), n), ast.FloorDiv(), k)):  # -(-n // k)
            yield code.replace("last batch", node, _floor(n, k))
        case ast.BinOp(ast.BinOp(ast.BinOp(n, ast.Add(), k), ast.Sub(), one), ast.FloorDiv(), by) if _one(one) and _same(k, by):
            yield code.replace("last batch", node, _floor(n, k))  # (n + k - 1) // k
        case ast.BinOp(ast.BinOp(n, ast.Add(), ast.BinOp(k, ast.Sub(), one)), ast.FloorDiv(), by) if _one(one) and _same(k, by):
            yield code.replace("last batch", node, _floor(n, k))  # (n + (k - 1)) // k
        case ast.BinOp(ast.BinOp(ast.BinOp(n, ast.Sub(), one), ast.FloorDiv(), k), ast.Add(), more) if _one(one) and _one(more):
            yield code.replace("last batch", node, _floor(n, k))  # (n - 1) // k + 1


def _floor(n: ast.expr, k: ast.expr) -> str:
    return f"({ast.unparse(ast.BinOp(n, ast.FloorDiv(), k))})"


def _one(node: ast.expr) -> bool:
    value = node.operand if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else node
    return isinstance(value, ast.Constant) and value.value == 1


def _same(one: ast.expr, other: ast.expr) -> bool:
    return ast.dump(one) == ast.dump(other)


# --------------------------------------------------------------------------------------------------
# Exceptions


def _except(code: Code, handler: ast.ExceptHandler) -> Iterator[Edit]:
    kind, caught = "except", handler.type
    if caught is None:
        yield Edit(kind, code.start(handler), code.start(handler) + len("except"), "except ValueError")
    elif isinstance(caught, ast.Tuple):
        for i in range(len(caught.elts)):
            others = caught.elts[:i] + caught.elts[i + 1 :]
            yield code.replace(kind, caught, changed(caught, elts=others) if len(others) > 1 else code.text(others[0]))
    elif isinstance(caught, ast.Name) and caught.id in ("Exception", "BaseException"):
        yield code.replace(kind, caught, "ValueError")


def _finally(code: Code, node: ast.Try) -> Iterator[Edit]:
    first, last = node.finalbody[0], node.finalbody[-1]
    yield Edit("finally", code.start(first), code.end(last), "pass")
    if not node.handlers:  # `if True:` keeps the lines of both bodies as they are
        before = code.end(node.body[-1])
        header = before + len(code.between(before, code.start(first)).rpartition("finally")[0].encode())
        tried = code.between(code.start(node) + len("try"), header)
        yield Edit("finally", code.start(node), header + len("finally"), f"if True{tried}if True")


# --------------------------------------------------------------------------------------------------
# Conditions

_CONDITIONS = {"bool", "isin", "isnan", "isinf", "isfinite", "isclose", "any", "all"}


def _clause_of_mask(code: Code, node: ast.BinOp) -> Iterator[Edit]:
    """``a & b`` of masks; other ``&`` and ``|`` work on bits, sets and dicts."""
    if isinstance(node.op, (ast.BitAnd, ast.BitOr)) and (_condition(node.left) or _condition(node.right)):
        for one in (node.left, node.right):
            yield code.replace("clause", node, code.operand(one))


def _condition(node: ast.expr) -> bool:
    inverted = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert)
    return isinstance(node, ast.Compare) or inverted or method(node) in _CONDITIONS


# --------------------------------------------------------------------------------------------------
# What is absent, and what the default is


def _absent(code: Code, call: ast.Call) -> Iterator[Edit]:
    name, given = method(call), call.args
    if isinstance(call.func, ast.Name):
        if (name == "getattr" and len(given) == 3) or (name == "next" and len(given) == 2):
            yield code.drop_argument("default", call, given[-1])
    elif len(given) == 2 and not call.keywords and name == "get":
        yield code.replace("default", call, f"{code.operand(call.func.value)}[{code.text(given[0])}]")
    elif len(given) == 2 and not call.keywords and name == "pop":
        yield code.drop_argument("default", call, given[1])


def _type(code: Code, call: ast.Call) -> Iterator[Edit]:
    if method(call) != "isinstance" or len(call.args) != 2:
        return
    value, types = call.args
    several = isinstance(types, ast.Tuple)
    for i in range(len(types.elts) if several else 0):
        others = types.elts[:i] + types.elts[i + 1 :]
        yield code.replace("type", types, changed(types, elts=others) if len(others) > 1 else code.text(others[0]))
    yield code.replace("type", call, f"(type({code.text(value)}) {'in' if several else 'is'} {code.text(types)})")


def _option(code: Code, call: ast.Call) -> Iterator[Edit]:
    if isinstance(call.func, ast.Subscript) or method(call) in ("dict", "clamp", "clip"):  # a kernel's sizes; no option, but the matter
        return
    for one in call.keywords:
        if one.arg is None or one.arg in _ELSEWHERE:
            continue
        if isinstance(one.value, ast.Constant) and isinstance(one.value.value, bool):
            yield code.replace("option", one.value, repr(not one.value.value))  # which is the default, or why say it
        else:
            yield code.drop_argument("option", call, one)


def _separator(code: Code, call: ast.Call) -> Iterator[Edit]:
    if method(call) == "join" and isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Constant) and call.func.value.value:
        yield code.replace("separator", call.func.value, '""')


# --------------------------------------------------------------------------------------------------
# Order


def _clock(code: Code, body: list[ast.stmt]) -> Iterator[Edit]:
    """A reading of the clock exchanged with the statement after it, and that of the end also with the one before it."""
    for one, other in zip(body, body[1:]):
        read = _reads_clock(one) or (_reads_clock(other) and any(isinstance(part, ast.Sub) for part in ast.walk(other)))
        if read and isinstance(one, _SIMPLE) and isinstance(other, _SIMPLE):  # on one line, so that the difference shows both
            yield Edit("clock", code.start(one), code.end(other), f"{code.text(other)}; {code.text(one)}")


_SIMPLE = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr)


def _reads_clock(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and any(method(part) in _CLOCKS for part in ast.walk(node.value))
