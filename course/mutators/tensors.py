"""Mistakes with tensors: what a result carries, its numbers, its axes, its memory."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from course.mutators.edits import Code, Edit, changed, is_text, keyword, method, module_of, neighbours

KINDS = {
    "detach": "`detach` dropped: the result carries a graph",
    "number": "a tensor kept where a number is wanted: `item`, `tolist`, `float(x)` or `int(x)` dropped",
    "dtype": "right for one dtype only: a cast or `dtype=` dropped, `x.dtype` or float64 written as float32",
    "device": "right on one device only: `device=` or the move dropped, `x.device` written as the CPU",
    "size": "right for one size only: a length of the input written as a constant",
    "axis": "another axis, one of several axes forgotten, or the default one where another is meant",
    "broadcast": "the new axis on the other side: `x[None, :]` for `x[:, None]`",
    "whole": "one number for the whole tensor in place of one for each row",
    "squeeze": "`squeeze()` for `squeeze(axis)`: an axis of length 1 that should stay is lost too",
    "rounding": "halves and negative numbers rounded otherwise",
    "overflow": "the formula as written in place of the function that is stable for large or tiny numbers",
    "clamp": "a limit dropped: `clamp`, `nan_to_num`",
    "abs": "`abs` dropped: the largest in place of the largest in size",
    "order": "`sorted` or `reversed` dropped",
    "copy": "no copy, or a shallow one: what is returned or kept shares memory with what changes later",
    "strides": "right for contiguous memory only: `contiguous` dropped, `view` for `reshape`",
    "in place": "in place for out of place: the caller's tensor is changed",
    "out of place": "out of place for in place: the caller's tensor stays as it was",
}

_TENSOR_MODULES = {"torch", "F", "functional", "nn", "np", "numpy", "tl"}

# Calls that may be forgotten: method, or function of a module.
_BARE = {
    "detach": "detach", "item": "number", "tolist": "number", "clone": "copy", "copy": "copy", "deepcopy": "copy",
    "contiguous": "strides", "float": "dtype", "double": "dtype", "half": "dtype", "bfloat16": "dtype", "int": "dtype",
    "long": "dtype", "short": "dtype", "bool": "dtype", "cpu": "device", "cuda": "device", "abs": "abs", "nan_to_num": "clamp",
}  # fmt: skip
_WITH_ARGUMENTS = {
    "astype": "dtype", "type": "dtype", "type_as": "dtype", "clamp": "clamp", "clip": "clamp", "clamp_min": "clamp", "clamp_max": "clamp",
}  # fmt: skip
_BUILTINS = {"float": "number", "int": "number", "abs": "abs", "deepcopy": "copy", "list": "copy", "tuple": "copy", "dict": "copy", "set": "copy"}

# Where a method has its axis among its arguments; the function of the same name has the tensor before them.
_AXIS = {
    **dict.fromkeys(("sum", "mean", "prod", "std", "var", "amax", "amin", "max", "min", "median", "any", "all", "logsumexp"), 0),
    **dict.fromkeys(("argmax", "argmin", "softmax", "log_softmax", "cumsum", "cumprod", "cummax", "sort", "argsort"), 0),
    **dict.fromkeys(("squeeze", "unsqueeze", "unbind", "select", "narrow", "flip", "gather", "scatter", "scatter_add"), 0),
    **dict.fromkeys(("index_add", "index_select", "index_copy", "unfold"), 0),
    **dict.fromkeys(("norm", "topk", "chunk", "split", "roll", "repeat_interleave", "diff", "quantile"), 1),
}
_JOIN = {"cat": "dim", "concat": "dim", "stack": "dim", "concatenate": "axis"}  # functions with the axis after the list of tensors
_ONLY_AXES = {"transpose", "swapaxes", "permute", "movedim", "moveaxis", "flatten"}
_REDUCTIONS = {"sum", "mean", "prod", "std", "var", "amax", "amin", "max", "min", "any", "all", "norm", "logsumexp"}

# Methods that have a twin in place, and those whose result may be the same memory as before.
_TWINS = set(
    "abs add addmm baddbmm ceil clamp clamp_max clamp_min clip cos cumprod cumsum div erf exp expm1 floor index_add index_copy index_fill "
    "lerp log log1p log2 masked_fill mul nan_to_num neg pow relu remainder round rsqrt scatter scatter_add sigmoid sin sqrt square squeeze "
    "sub t tanh transpose tril triu trunc unsqueeze".split()
)
_VIEWS = set("contiguous detach double expand flatten float movedim narrow permute reshape squeeze t transpose type_as unsqueeze view".split())
_OPERATORS = {ast.Add: "add_", ast.Sub: "sub_", ast.Mult: "mul_", ast.Div: "div_", ast.Pow: "pow_"}


def edits(code: Code, node: ast.AST) -> Iterator[Edit]:
    match node:
        case ast.Call():
            for mistakes in _OF_CALLS:
                yield from mistakes(code, node)
        case ast.Attribute():
            yield from _written_attribute(code, node)
        case ast.Subscript():
            yield from _size(code, node)
            yield from _broadcast(code, node)
        case ast.BinOp():
            yield from _operator_in_place(code, node)
        case ast.Assign(targets=[ast.Tuple()]):
            yield from _unpacked_size(code, node)
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.BinOp(left=ast.Name(id=left), op=op)) if name == left:
            if code.arguments(node).get(name, "int") in ("", "np.ndarray"):  # of a tensor the expression itself, below
                yield code.replace("in place", node, changed(ast.AugAssign(node.targets[0], op, node.value.right)))
        case ast.AugAssign(target=ast.Name(id=name)) if _seen_outside(code, node, name):
            value = changed(ast.BinOp(node.target, node.op, node.value))
            yield code.replace("out of place", node, f"{name} = {value}")


# --------------------------------------------------------------------------------------------------
# Calls that are forgotten


def _forgotten(code: Code, call: ast.Call) -> Iterator[Edit]:
    name, given = method(call), call.args + call.keywords
    if code.is_statement(call):
        return
    if isinstance(call.func, ast.Name):
        if name in _BUILTINS and len(given) == 1 and _may_be_tensor(call.args):
            yield code.drop_call(_BUILTINS[name], call)
        elif name in ("sorted", "reversed") and call.args:
            yield code.replace("order", call, f"list({code.text(call.args[0])})")
    elif module := module_of(call):
        if name in _BARE | _WITH_ARGUMENTS and call.args and (module in _TENSOR_MODULES or module == "copy"):
            yield code.drop_call((_BARE | _WITH_ARGUMENTS)[name], call)
        if module == "copy" and name == "deepcopy":
            yield code.rename("copy", call, "copy")
        if name in ("tensor", "array") and call.args and _has_memory(code, call.args[0]):
            yield code.rename("copy", call, "as_tensor" if name == "tensor" else "asarray")
    elif (name in _BARE and not given) or (name in _WITH_ARGUMENTS and given):
        yield code.drop_call((_BARE | _WITH_ARGUMENTS)[name], call)
    elif name == "to":
        yield from _no_move(code, call)


def _may_be_tensor(args: list[ast.expr]) -> bool:
    return bool(args) and isinstance(args[0], (ast.Name, ast.Attribute, ast.Subscript, ast.Call, ast.BinOp))


def _has_memory(code: Code, node: ast.expr) -> bool:
    """Whether a value may lend its memory, as a list cannot."""
    if isinstance(node, ast.Name):
        return bool(re.search("ndarray|Tensor", code.arguments(node).get(node.id, "")))
    return isinstance(node, ast.Call)


def _no_move(code: Code, call: ast.Call) -> Iterator[Edit]:
    """``x.to(...)`` without what it is moved to, or without one of the two."""
    given = call.args + call.keywords
    for one in given:
        kind = "device" if re.search(r"\bdevice|\b(cpu|cuda|meta)\b", code.text(one)) else "dtype"
        yield code.drop_argument(kind, call, one) if len(given) > 1 else code.drop_call(kind, call)


def _no_keyword(code: Code, call: ast.Call) -> Iterator[Edit]:
    for one in call.keywords:
        if one.arg in ("dtype", "device"):
            yield code.drop_argument(one.arg, call, one)


# --------------------------------------------------------------------------------------------------
# Properties of the input written as constants


def _written_attribute(code: Code, node: ast.Attribute) -> Iterator[Edit]:
    around = code.parents.get(node)
    given = isinstance(around, ast.keyword) or (isinstance(around, ast.Call) and node in around.args)
    if node.attr == "dtype" and given:
        module = "np" if isinstance(around, ast.Call) and method(around) == "astype" else "torch"
        yield code.replace("dtype", node, f"{module}.float32")
    elif node.attr in ("float64", "double") and given:
        yield code.replace("dtype", node, f"{code.text(node.value)}.float32")
    elif node.attr == "device" and not isinstance(around, ast.keyword) and "to" != method(around):
        yield code.replace("device", node, 'torch.device("cpu")')
    elif node.attr in ("T", "mT", "mH", "H"):
        yield code.drop_attribute("axis", node)


def _only_float32(code: Code, call: ast.Call) -> Iterator[Edit]:
    if method(call) == "is_floating_point" and isinstance(call.func, ast.Attribute):
        tensor = code.operand(call.args[0] if call.args else call.func.value)
        yield code.replace("dtype", call, f"({tensor}.dtype == torch.float32)")


def _size(code: Code, node: ast.Call | ast.Subscript) -> Iterator[Edit]:
    match node:
        case ast.Subscript(value=ast.Attribute(attr="shape"), slice=ast.Constant() | ast.UnaryOp()):
            yield code.replace("size", node, "2")
        case ast.Call(func=ast.Attribute(attr="size") | ast.Name(id="len"), args=[_]):
            if not isinstance(code.parents[node], ast.Compare):  # where it asks for a case, often that of a loop's end
                yield code.replace("size", node, "2")


def _unpacked_size(code: Code, node: ast.Assign) -> Iterator[Edit]:
    match node.value:
        case ast.Attribute(attr="shape") | ast.Subscript(value=ast.Attribute(attr="shape"), slice=ast.Slice()):
            yield code.replace("size", node.value, f"(2, *{code.text(node.value)}[1:])")


# --------------------------------------------------------------------------------------------------
# Axes


def _axis_of(call: ast.Call) -> ast.expr | None:
    """Where the call says along which axis."""
    name, module = method(call), module_of(call)
    if not isinstance(call.func, ast.Attribute):
        return None
    if named := keyword(call, "dim", "axis", "dims"):
        return named.value
    place = 1 if name in _JOIN else _AXIS[name] + bool(module) if name in _AXIS else len(call.args)
    given = call.args[place] if place < len(call.args) and not is_text(call.args[0]) else None  # text has `split` too
    return None if isinstance(given, ast.Starred) or (isinstance(given, ast.Constant) and not _integer(given)) else given


def _axis(code: Code, call: ast.Call) -> Iterator[Edit]:
    name, given = method(call), _axis_of(call)
    if given is not None:
        yield from _other_axis(code, given)
    elif name in _JOIN and module_of(call) and len(call.args) == 1:
        named = "axis" if module_of(call) in ("np", "numpy") else _JOIN[name]
        yield code.add_argument("axis", call, f"{named}=1")
    elif name in _ONLY_AXES and isinstance(call.func, ast.Attribute):
        for one in call.args[bool(module_of(call)) :]:
            if _integer(one):
                yield from _other_axis(code, one)
    elif name == "einsum" and call.args and isinstance(call.args[0], ast.Constant):
        inputs, arrow, output = str(call.args[0].value).partition("->")
        for i in range(len(output) - 1 if "." not in output and arrow else 0):
            other = output[:i] + output[i + 1] + output[i] + output[i + 2 :]
            yield code.replace("axis", call.args[0], f'"{inputs}->{other}"')


def _integer(node: ast.AST) -> bool:
    inner = node.operand if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else node
    return isinstance(inner, ast.Constant) and type(inner.value) is int


def _other_axis(code: Code, given: ast.expr) -> Iterator[Edit]:
    if _integer(given):
        constant = given.operand if isinstance(given, ast.UnaryOp) else given
        if constant is not given:
            yield code.replace("axis", given, f"({constant.value})")
        for other in neighbours(constant.value):
            yield code.replace("axis", constant, other)
    elif isinstance(given, (ast.Tuple, ast.List)):
        for i in range(len(given.elts) if len(given.elts) > 1 else 0):
            yield code.replace("axis", given, changed(given, elts=given.elts[:i] + given.elts[i + 1 :]))
        for one in given.elts:
            if _integer(one):
                yield from _other_axis(code, one)
    else:  # the argument ignored
        yield code.replace("axis", given, "0")
        yield code.replace("axis", given, "-1")


def _broadcast(code: Code, node: ast.Subscript) -> Iterator[Edit]:
    if not isinstance(node.slice, ast.Tuple):
        return
    texts = [code.text(one) if not isinstance(one, ast.Slice) else changed(one) for one in node.slice.elts]
    for i, (one, other) in enumerate(zip(texts, texts[1:])):
        if {one, other} == {"None", ":"}:
            inside = ", ".join([*texts[:i], other, one, *texts[i + 2 :]])
            yield code.replace("broadcast", node, f"{code.operand(node.value)}[{inside}]")
            return


def _whole(code: Code, call: ast.Call) -> Iterator[Edit]:
    """Of the same shape as before, or one number where the axis was kept: it runs wherever the original does."""
    name, axis, around = method(call), _axis_of(call), code.parents.get(call)
    if name not in _REDUCTIONS or axis is None:
        return
    node, given, module = call, code.text(call), module_of(call)
    if name in ("max", "min") and module not in ("np", "numpy", "tl") and not keyword(call, "axis"):  # a pair
        if not isinstance(around, ast.Attribute) or around.attr != "values":
            return
        node, given = around, code.text(around)
    args = [one for one in call.args if one is not axis]
    rest = [one for one in call.keywords if one.value is not axis and one.arg not in ("keepdim", "keepdims")]
    whole = changed(call, args=args, keywords=rest)
    kept = keyword(call, "keepdim", "keepdims")
    if (kept and isinstance(kept.value, ast.Constant) and kept.value.value is True) or module == "tl":
        yield code.replace("whole", node, whole)
    elif module in ("np", "numpy"):
        yield code.replace("whole", node, f"{module}.broadcast_to({whole}, {given}.shape)")
    else:
        yield code.replace("whole", node, f"{whole}.expand_as({given})")


def _squeeze(code: Code, call: ast.Call) -> Iterator[Edit]:
    if method(call) == "squeeze" and isinstance(call.func, ast.Attribute) and not module_of(call) and (call.args or call.keywords):
        yield code.drop_arguments("squeeze", call)


# --------------------------------------------------------------------------------------------------
# Numbers


def _rounding(code: Code, call: ast.Call) -> Iterator[Edit]:
    """Halves upwards, not to even numbers, or the other way round; towards zero, not downwards."""
    name, module, given = method(call), module_of(call), call.args + call.keywords
    if module in _TENSOR_MODULES and len(given) == 1:
        x = code.operand(call.args[0])
        others = {"round": [f"{module}.floor({x} + 0.5)"], "floor": [f"{module}.trunc({x})", f"{module}.round({x} - 0.5)"]}.get(name, [])
        for other in others:
            yield code.replace("rounding", call, other)
    elif isinstance(call.func, ast.Name) and name == "round" and len(given) == 1:
        yield code.replace("rounding", call, f"int({code.operand(call.args[0])} + 0.5)")
    elif isinstance(call.func, ast.Attribute) and not module and not given:
        for other in {"round": ["add(0.5).floor"], "floor": ["trunc", "sub(0.5).round"]}.get(name, []):
            yield code.rename("rounding", call, other)


def _overflow(code: Code, call: ast.Call) -> Iterator[Edit]:
    name, module = method(call), module_of(call)
    if name == "log_softmax":
        function = code.between(code.start(call), code.end(call.func)).removesuffix(name)
        yield code.replace("overflow", call, f"{function}softmax{code.between(code.end(call.func), code.end(call))}.log()")
    elif name == "logsumexp" and not module:
        yield code.replace("overflow", call, f"{code.operand(call.func.value)}.exp().sum{code.between(code.end(call.func), code.end(call))}.log()")
    elif name in ("logsigmoid", "softplus", "expm1", "log1p") and (module or not call.args):
        x = code.operand(call.args[0] if module else call.func.value)
        formula = {"logsigmoid": "{0}.sigmoid().log()", "softplus": "(1 + {0}.exp()).log()", "expm1": "({0}.exp() - 1)", "log1p": "(1 + {0}).log()"}
        yield code.replace("overflow", call, formula[name].format(x))


# --------------------------------------------------------------------------------------------------
# Memory


def _strides(code: Code, call: ast.Call) -> Iterator[Edit]:
    if method(call) == "reshape" and isinstance(call.func, ast.Attribute) and not module_of(call):
        yield code.rename("strides", call, "view")


def _in_place(code: Code, call: ast.Call) -> Iterator[Edit]:
    """Where a tensor of the caller is worked on, or a view of it."""
    name, module = method(call), module_of(call)
    if not isinstance(call.func, ast.Attribute):
        return
    if name in _TWINS and module == "torch" and call.args and _of_caller(code, call.args[0]):
        rest = ", ".join(code.text(one) for one in call.args[1:] + call.keywords)
        yield code.replace("in place", call, f"{code.operand(call.args[0])}.{name}_({rest})")
    elif name in _TWINS and not module and _of_caller(code, call.func.value):
        yield code.rename("in place", call, f"{name}_")
    elif name.removesuffix("_") in _TWINS and not module and name.endswith("_"):
        receiver = call.func.value
        if code.is_statement(call) and isinstance(receiver, ast.Name) and _seen_outside(code, call, receiver.id):
            text = f"{receiver.id} = {receiver.id}.{name[:-1]}{code.between(code.end(call.func), code.end(call))}"
            yield code.replace("out of place", code.parents[call], text)
        elif not code.is_statement(call):
            yield code.rename("out of place", call, name[:-1])


def _operator_in_place(code: Code, node: ast.BinOp) -> Iterator[Edit]:
    """``x + y`` as ``x.add_(y)``, where the annotation says that the caller's x is a tensor."""
    if type(node.op) in _OPERATORS and "Tensor" in code.arguments(node).get(_root(node.left), ""):
        yield code.replace("in place", node, f"{code.operand(node.left)}.{_OPERATORS[type(node.op)]}({code.text(node.right)})")


def _of_caller(code: Code, node: ast.expr) -> bool:
    return _root(node) in code.arguments(node)


def _root(node: ast.expr) -> str:
    """The name of what an expression may share memory with, or nothing."""
    while True:
        match node:
            case ast.Call(func=ast.Attribute(attr=name)) if name in _VIEWS and not module_of(node):
                node = node.func.value
            case ast.Attribute(attr="data" | "T" | "mT") | ast.Subscript():
                node = node.value
            case ast.Name():
                return node.id
            case _:
                return ""


def _seen_outside(code: Code, node: ast.AST, name: str) -> bool:
    """Whether a name stands for something that others hold too: an argument, or an element of a loop."""
    return name in code.arguments(node) or name in code.loop_variables(node)


_OF_CALLS = (
    _forgotten, _no_keyword, _only_float32, _size, _axis, _whole, _squeeze, _rounding, _overflow, _strides, _in_place,
)  # fmt: skip
