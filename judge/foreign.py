"""Loaders of a student's files, in a clean process: what of them would run code of the file is taken away.

Each loader that a clean scenario uses must be asked whether it evaluates text or falls back to pickle.
``torch.load`` does the latter, ``torch.export.load`` both (symbolic shapes go through ``sympy.sympify``, guards
through ``exec``).  NumPy, safetensors, ONNX, GGUF and ExecuTorch read data alone.
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

_ARITHMETIC = (
    ast.Expression, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.IfExp, ast.Call, ast.keyword, ast.Name, ast.Constant,
    ast.Tuple, ast.List, ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip
_OF_TENSORS = ("size", "stride", "storage_offset", "numel", "shape", "dtype", "item", "dim")  # attributes that a guard reads


def disarm() -> None:
    """From now on in this process, loaders read data and evaluate arithmetic, nothing else.

    Raises:
        ImportError, AttributeError: a library keeps elsewhere what has to be taken away; then nothing may be loaded.
    """
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    if "torch" not in sys.modules:
        return
    parser = importlib.import_module("sympy.parsing.sympy_parser")
    parser.eval_expr = _evaluator(parser.eval_expr)
    # Both are imported late, by the first program that is loaded: here before it.
    unlift = importlib.import_module("torch.export._unlift")
    known = importlib.import_module("torch.fx.experimental.symbolic_shapes").SYMPY_INTERP
    unlift._convert_guards_code_to_fn = _guarded(unlift._convert_guards_code_to_fn, set(known))


def _evaluator(evaluate: Callable) -> Callable:
    """sympy's ``eval`` of an expression, for arithmetic of sympy's own classes alone."""
    import sympy

    def checked(code: Any, local_dict: dict, global_dict: dict) -> Any:
        for node in _nodes(code, ()):
            if isinstance(node, ast.Name):
                found = local_dict.get(node.id, global_dict.get(node.id))
                if not (isinstance(found, sympy.Basic) or isinstance(found, type) and issubclass(found, sympy.Basic)):
                    raise ValueError(f"the file's expression names {node.id!r}, which is no part of a formula")
        return evaluate(code, local_dict, global_dict)

    return checked


def _guarded(convert: Callable, known: set[str]) -> Callable:
    """torch's ``exec`` of a program's guards, for comparisons of sizes alone."""

    def checked(guards_code: list[str], *args: Any) -> Any:
        for guard in guards_code:
            for node in _nodes(guard, (ast.Attribute, ast.Subscript)):
                if isinstance(node, ast.Attribute) and node.attr not in _OF_TENSORS:
                    raise ValueError(f"the file's guard reads {node.attr!r}")
                if isinstance(node, ast.Name) and node.id not in known | {"L", "args", "kwargs", "inf"}:
                    raise ValueError(f"the file's guard names {node.id!r}")
        return convert(guards_code, *args)

    return checked


def _nodes(code: Any, more: tuple[type, ...]) -> Iterator[ast.AST]:
    """The parts of an expression.

    Raises:
        ValueError: it is no text, or holds more than arithmetic and the node types `more`.
    """
    if type(code) is not str:
        raise ValueError("the file's expression is no text")
    for node in ast.walk(ast.parse(code, mode="eval")):
        if not isinstance(node, (*_ARITHMETIC, *more)):
            raise ValueError(f"the file's expression holds {type(node).__name__}, which is no part of a formula")
        yield node
