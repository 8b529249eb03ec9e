"""Plain data between two processes that do not trust one another: a JSON head, and raw bytes behind it.

What may cross: None, bool, int, float, complex, text, bytes; lists, tuples, sets, dicts; ranges, slices, paths;
dense tensors and arrays with their dtypes and strides, torch's sizes, devices and parameters; functions, as a mark that
the other side can call.  A subclass of a built-in type crosses as what the built-in type itself sees of it.

Everything that arrives is read as hostile: built-in types are rebuilt from data alone, sizes and depth are bounded,
nothing is unpickled.
"""

from __future__ import annotations

import json
import math
import socket
import struct
import sys
import types
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

HEAD_LIMIT, RAW_LIMIT = 16 << 20, 256 << 20  # bytes of one message
AXES_LIMIT = 32
FUNCTIONS = (types.FunctionType, types.MethodType, types.BuiltinFunctionType)
SEQUENCES = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
MAPPINGS = {"dict": dict, "OrderedDict": OrderedDict, "defaultdict": dict, "Counter": Counter}  # a default_factory stays behind
DTYPES = frozenset(
    "float64 float32 float16 bfloat16 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu "
    "complex128 complex64 complex32 int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool".split()
)
ARRAY_KINDS = "biufcSU"  # NumPy's dtype.kind of what holds no objects

Raw = list[bytes]
Mark = Callable[[Any], "dict | None"]  # a function or another living thing -> how the other side may name it


class NotPlain(TypeError):
    """Something that is not plain data; the message is its type's name."""


class Gone(BaseException):
    """The other process has ended, or talks nonsense: no check may take this for an error of the student's code."""


# --------------------------------------------------------------------------------------------------
# Values


def encode(value: Any, raw: Raw, mark: Mark = lambda value: None) -> Any:
    """`value` as JSON can say it; bytes of tensors and arrays are appended to `raw`.

    Raises:
        NotPlain: it is, or holds, something that cannot cross.
    """
    kind = type(value)
    if value is None or kind in (bool, float, str) or kind is int and -(1 << 63) <= value < 1 << 63:
        return value
    if kind in SEQUENCES.values():
        return {kind.__name__: [encode(item, raw, mark) for item in value]}
    if kind is dict:
        return {"dict": [[encode(k, raw, mark), encode(v, raw, mark)] for k, v in value.items()]}
    if kind is int:  # JSON's text of a long one is limited, and slow
        return {"int": hex(value)}
    if kind is complex:
        return {"complex": [value.real, value.imag]}
    if kind is bytes:
        return {"bytes": _put(raw, value)}
    for known in (_encode_torch, _encode_numpy):
        if (said := known(value, kind, raw)) is not None:
            return said
    if kind in FUNCTIONS and (said := mark(value)) is not None:
        return said
    if kind in (OrderedDict, defaultdict, Counter):
        return {kind.__name__: [[encode(k, raw, mark), encode(v, raw, mark)] for k, v in dict.items(value)]}
    if kind is range:
        return {"range": [value.start, value.stop, value.step]}
    if kind is slice:
        return {"slice": [encode(part, raw, mark) for part in (value.start, value.stop, value.step)]}
    if issubclass(kind, PurePath):
        return {"path": PurePath.__str__(value)}
    for base in (tuple, list, dict, str, int, float):  # a named tuple, an enum of numbers: what the base type sees
        if issubclass(kind, base):
            return encode(_as_base(base, value), raw, mark)
    if (said := mark(value)) is not None:
        return said
    raise NotPlain(kind.__name__)


def decode(said: Any, raw: Raw, find: Callable[[str, Any], Any] | None = None) -> Any:
    """What `encode` was given. `find` looks up marks: ``find(kind, key)``.

    Raises:
        ValueError, TypeError, KeyError, IndexError, RuntimeError, OverflowError, RecursionError: it is not what `encode` makes.
    """
    if type(said) is not dict:
        if said is None or type(said) in (bool, int, float, str):
            return said
        raise ValueError("not a value")
    ((name, inner),) = said.items()
    if name in SEQUENCES:
        return SEQUENCES[name](decode(item, raw, find) for item in inner)
    if name in MAPPINGS:
        return MAPPINGS[name]({decode(k, raw, find): decode(v, raw, find) for k, v in inner})
    if name == "int":
        return int(inner, 16)
    if name == "complex":
        return complex(*inner)
    if name == "bytes":
        return _get(raw, inner)
    if name == "range":
        return range(*inner)
    if name == "slice":
        return slice(*(decode(part, raw, find) for part in inner))
    if name == "path":
        return Path(inner)
    if name in ("tensor", "parameter", "dtype", "size", "device"):
        return _decode_torch(name, inner, raw)
    if name in ("array", "scalar"):
        return _decode_numpy(name, inner, raw)
    if find is None:
        raise ValueError("a mark where none may be")
    return find(name, inner)


def _as_base(base: type, value: Any) -> Any:
    """A copy of exact type `base`, made by that type's own methods: those of a subclass may say anything."""
    if base in (tuple, list):
        return base(base.__iter__(value))
    if base is dict:
        return dict(dict.items(value))
    return base.__str__(value) if base is str else base.__int__(value) if base is int else base.__float__(value)


def _encode_torch(value: Any, kind: type, raw: Raw) -> dict | None:
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    if kind in (torch.Tensor, torch.nn.Parameter):
        name = str(value.dtype).removeprefix("torch.")
        if value.layout is not torch.strided or value.device.type != "cpu" or name not in DTYPES:
            raise NotPlain(f"{kind.__name__} ({value.layout}, {value.device}, {value.dtype})")
        flat = value.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
        if flat.stride(0) != 1:  # of one element: that counts as contiguous, and cannot be viewed as bytes
            flat = flat.clone(memory_format=torch.contiguous_format)
        flat = flat.view(torch.uint8)
        made, layout = "tensor" if kind is torch.Tensor else "parameter", _layout(list(value.shape), list(value.stride()))
        return {made: [name, list(value.shape), value.requires_grad, _put(raw, flat.numpy().tobytes()), layout]}
    if kind is torch.dtype:
        return {"dtype": str(value).removeprefix("torch.")}
    if kind is torch.Size:
        return {"size": list(value)}
    if kind is torch.device:
        return {"device": str(value)}
    return None


def _decode_torch(name: str, inner: Any, raw: Raw) -> Any:
    torch = sys.modules["torch"]
    if name == "size":
        return torch.Size(inner)
    if name == "device":
        return torch.device(inner)
    if name == "dtype":
        return _dtype(torch, inner)
    dtype, shape, requires_grad, place, layout = inner
    dtype, data = _dtype(torch, dtype), bytearray(_get(raw, place))
    if math.prod(_shape(shape)) * dtype.itemsize != len(data):
        raise ValueError("a size")
    flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
    tensor = flat.reshape(shape)
    if layout is not None:
        tensor = flat.new_zeros(_span(shape, layout)).as_strided(shape, layout).copy_(tensor)
    if name == "parameter":
        return torch.nn.Parameter(tensor, requires_grad is True)
    return tensor.requires_grad_() if requires_grad is True else tensor


def _dtype(torch: types.ModuleType, name: Any) -> Any:
    if name not in DTYPES:
        raise ValueError("a dtype")
    return getattr(torch, name)


def _encode_numpy(value: Any, kind: type, raw: Raw) -> dict | None:
    numpy = sys.modules.get("numpy")
    if numpy is None or not (kind is numpy.ndarray or issubclass(kind, numpy.generic)):
        return None
    if value.dtype.kind not in ARRAY_KINDS:
        raise NotPlain(f"{kind.__name__} of {value.dtype}")
    steps = [step / value.dtype.itemsize for step in value.strides]
    layout = _layout(list(value.shape), list(map(int, steps))) if all(step == int(step) for step in steps) else None
    return {"array" if kind is numpy.ndarray else "scalar": [value.dtype.str, list(value.shape), _put(raw, value.tobytes()), layout]}


def _decode_numpy(name: str, inner: Any, raw: Raw) -> Any:
    import numpy

    dtype, shape, place, layout = inner
    dtype = numpy.dtype(str(dtype))
    if dtype.kind not in ARRAY_KINDS:
        raise ValueError("a dtype")
    array = numpy.frombuffer(bytearray(_get(raw, place)), dtype=dtype).reshape(_shape(shape))
    if layout is not None:
        memory = numpy.zeros(_span(shape, layout), array.dtype)
        laid_out = numpy.lib.stride_tricks.as_strided(memory, shape, [step * memory.itemsize for step in layout])
        laid_out[...] = array
        return laid_out
    return array if name == "array" else array[()]


def _shape(shape: Any) -> list[int]:
    if type(shape) is not list or len(shape) > AXES_LIMIT or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError("a shape")
    return shape


def _layout(shape: list[int], strides: list[int]) -> list[int] | None:
    """Strides (in elements) that are worth sending: not those of contiguous memory, nor what `_span` refuses."""
    plain = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    if all(n == 1 or a == b for n, a, b in zip(shape, strides, plain)) or 0 in shape:
        return None
    try:
        _span(shape, strides)
    except ValueError:
        return None
    return strides


def _span(shape: list[int], strides: Any) -> int:
    """How many elements lie between the first and the last.

    Raises:
        ValueError: they would share memory, run backwards, or lie far apart.
    """
    if type(strides) is not list or len(strides) != len(shape) or any(type(step) is not int or step < 0 for step in strides):
        raise ValueError("a layout")
    span = 1
    for step, n in sorted((step, n) for step, n in zip(strides, shape) if n > 1):
        if step < span:
            raise ValueError("a layout")
        span += step * (n - 1)
    if span > 8 * math.prod(shape) + 1024:
        raise ValueError("a layout")
    return span


def _put(raw: Raw, data: bytes) -> list[int]:
    """Append `data`; its number among the pieces."""
    raw.append(data)
    return [len(raw) - 1, len(data)]


def _get(raw: Raw, place: Any) -> bytes:
    number, size = place
    piece = raw[number] if type(number) is int and 0 <= number < len(raw) else b""
    if len(piece) != size:
        raise ValueError("a place")
    return piece


# --------------------------------------------------------------------------------------------------
# Messages


def send(sock: socket.socket, head: dict, raw: Raw | tuple = ()) -> None:
    """One message: the sizes of its parts, the head as JSON, the raw pieces.

    Raises:
        Gone: nobody listens any more.
    """
    text = json.dumps(head).encode()
    sizes = struct.pack(f"!I{len(raw)}Q", len(raw), *map(len, raw))
    try:
        sock.sendall(struct.pack("!I", len(text)) + sizes + text)
        for piece in raw:
            sock.sendall(piece)
    except OSError:
        raise Gone from None


def receive(sock: socket.socket) -> tuple[dict, Raw]:
    """The next message.

    Raises:
        Gone: the other side has ended, or what it sends is no message.
    """
    head, count = struct.unpack("!II", _read(sock, 8))
    if head > HEAD_LIMIT or count > HEAD_LIMIT // 8:
        raise Gone("a message that is too large")
    sizes = struct.unpack(f"!{count}Q", _read(sock, 8 * count))
    if sum(sizes) > RAW_LIMIT:
        raise Gone("a message that is too large")
    text = _read(sock, head)
    raw = [_read(sock, size) for size in sizes]
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise Gone("a message that cannot be read") from None
    if type(said) is not dict:
        raise Gone("a message that is not an object")
    return said, raw


def _read(sock: socket.socket, size: int) -> bytes:
    data, done = bytearray(size), 0
    view = memoryview(data)
    while done < size:
        try:
            more = sock.recv_into(view[done:], size - done)
        except OSError:
            more = 0
        if not more:
            raise Gone
        done += more
    return bytes(data)
