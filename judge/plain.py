"""Check functions from plain data to plain data in another process than the one that runs them.

For an exercise marked ``plain=true`` the tests run in a process that never runs student code.  There
each of the exercise's functions is a stand-in (`stand_in`) that sends its arguments to the
candidate's process (`serve`) and gets a result back.  So whatever a candidate does to its own
process, it can only answer with data; what that data is compared with, it never sees.

Data goes as JSON in which every type has a mark, and is rebuilt from built-in types alone.
"""

from __future__ import annotations

import builtins
import linecache
import sys
import traceback
from base64 import b64decode, b64encode
from collections.abc import Callable
from json import dumps, loads

from unit24.check import CheckFailed, NotAttempted

LISTS = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


class NotPlain(TypeError):
    """Something that is not plain data; the message is its type's name."""


class Gone(BaseException):
    """The candidate's process has ended: no check may take this for an error of the candidate's code."""


# --------------------------------------------------------------------------------------------------
# Plain data as text


def encode(value: object) -> object:
    """`value` as what JSON can say: numbers, text, bytes, None, lists, tuples, sets, dicts, tensors, arrays.

    Raises:
        NotPlain: it is, or holds, something else (a subclass counts as something else).
    """
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is complex:
        return {"complex": [value.real, value.imag]}
    if kind is bytes:
        return {"bytes": b64encode(value).decode()}
    for name, made in LISTS.items():
        if kind is made:
            return {name: [encode(item) for item in value]}
    if kind is dict:
        return {"dict": [[encode(key), encode(item)] for key, item in value.items()]}
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and kind is torch.Tensor:
        raw = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return {"tensor": [str(value.dtype).removeprefix("torch."), list(value.shape), b64encode(raw).decode()]}
    if numpy is not None and (kind is numpy.ndarray or issubclass(kind, numpy.generic)) and not value.dtype.hasobject:
        name = "array" if kind is numpy.ndarray else "scalar"
        return {name: [value.dtype.str, list(value.shape), b64encode(value.tobytes()).decode()]}
    raise NotPlain(kind.__name__)


def decode(said: object) -> object:
    """What `encode` was given.

    Raises:
        ValueError, TypeError, KeyError: it is not what `encode` makes.
    """
    if type(said) is not dict:
        return said
    ((name, inner),) = said.items()
    if name in LISTS:
        return LISTS[name](decode(item) for item in inner)
    if name == "dict":
        return {decode(key): decode(item) for key, item in inner}
    if name == "complex":
        return complex(*inner)
    if name == "bytes":
        return b64decode(inner)
    kind, shape, data = inner
    if name == "tensor":
        import torch

        dtype = getattr(torch, kind)
        if type(dtype) is not torch.dtype:
            raise ValueError(kind)
        raw = torch.frombuffer(bytearray(b64decode(data)), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
        return raw.view(dtype).reshape([int(n) for n in shape])
    import numpy

    array = numpy.frombuffer(b64decode(data), dtype=numpy.dtype(kind)).reshape([int(n) for n in shape]).copy()
    return array if name == "array" else array[()]


# --------------------------------------------------------------------------------------------------
# In the candidate's process


def serve(hear: Callable[[], bytes | None], say: Callable[[bytes], None], space: dict, report: Callable[[dict], str]) -> None:
    """Answer calls until nobody asks any more.

    A question is ``[name, args, kwargs]``; an answer ``{"value", "args"}`` (what the call made of its
    arguments), or ``{"raised", "text", "where"}``, or ``{"type"}`` of a result that is not plain.
    """
    while (question := hear()) is not None:
        name, args, kwargs = loads(question)
        if not name:
            say(dumps(report(space)).encode())
            continue
        given, named = decode(args), decode(kwargs)
        try:
            value = space[name](*given, **named)
        except BaseException as error:
            answer = {"raised": [kind.__name__ for kind in type(error).__mro__], "text": _text(error), "where": _where(error)}
        else:
            try:
                answer = {"value": encode(value), "args": encode([*given, *named.values()])}
            except NotPlain as error:
                answer = {"type": str(error)}
            except (RecursionError, MemoryError):
                answer = {"type": f"{type(value).__name__} (too deep or too large)"}
        say(dumps(answer).encode())


def _text(error: BaseException) -> str:
    try:
        return str(error)[:2000]
    except BaseException:
        return ""


def _where(error: BaseException) -> list:
    """(file, line, function) of the student's innermost line."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(("<cell ", "<own cell "))]
    return [frames[-1].filename, frames[-1].lineno, frames[-1].name] if frames else []


# --------------------------------------------------------------------------------------------------
# In the process of the tests


def stand_in(name: str, ask: Callable[[bytes], bytes | None]) -> Callable:
    """A function that has the candidate's process compute `name`.

    Raises:
        Gone: that process has ended.
    """

    def call(*args, **kwargs):
        answer = ask(dumps([name, encode(list(args)), encode(kwargs)]).encode())
        if answer is None:
            raise Gone
        try:
            said = loads(answer)
            if "value" in said:
                value, after = decode(said["value"]), decode(said["args"])
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, RecursionError):
            raise CheckFailed(f"`{name}` gave an answer that cannot be read.") from None
        if "value" in said:
            for argument, now in zip([*args, *kwargs.values()], after):
                _become(argument, now)
            return value
        if "type" in said:
            raise CheckFailed(
                f"`{name}` returned something of type {said['type']}, expected plain data (numbers, text, lists, dicts, tensors)."
            )
        raise _error(name, said)

    call.__name__ = call.__qualname__ = name
    return call


def _become(argument: object, now: object) -> None:
    """Do to the test's own argument what the candidate's call did to its copy."""
    if type(argument) is not type(now):
        return
    if type(argument) is list:
        argument[:] = now
    elif type(argument) is dict:
        argument.clear()
        argument.update(now)
    elif type(argument) is set:
        argument.clear()
        argument.update(now)
    elif type(argument).__name__ in ("Tensor", "ndarray") and argument.shape == now.shape:
        argument[...] = now


def _error(name: str, said: dict) -> BaseException:
    """The candidate's exception as the nearest built-in one, raised in the line where it was raised there."""
    text, where = str(said["text"]), said["where"]
    if said["raised"][0] == "NotImplementedError" and not text:
        return NotAttempted(f"○ {name}: not attempted yet.")
    known = (getattr(builtins, str(kind), None) for kind in said["raised"])
    kind = next((k for k in known if isinstance(k, type) and issubclass(k, (Exception, SystemExit))), Exception)
    try:
        error = kind(text)
    except TypeError:  # UnicodeDecodeError wants more than a text
        error = Exception(text)
    if where:
        file, line, function = str(where[0]), int(where[1]), str(where[2])
        line = min(max(line, 1), 1 + len(linecache.getlines(file)))
        code = compile("\n" * (line - 1) + "raise error", file, "exec").replace(co_name=function)
        try:
            exec(code, {"error": error})
        except BaseException as raised:
            return raised
    return error
