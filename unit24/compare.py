"""Comparing what came with what was expected, and saying how the two differ.

Types are compared exactly and values are copied to plain NumPy first, so an object whose ``__eq__`` always says yes
gains nothing.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from typing import Any

from unit24.errors import CheckFailed


def shape(actual: Any, expected: Sequence[int], what: str = "the result", hint: str = "") -> None:
    """`actual` has exactly the shape `expected`."""
    observed = getattr(actual, "shape", None)
    if observed is None:
        fail(f"{what} is of type {type_name(type(actual))} and has no shape, expected shape {tuple(expected)}", hint)
    if tuple(observed) != tuple(expected):
        fail(f"{what} has shape {tuple(observed)}, expected {tuple(expected)}", hint)


def equal(
    actual: Any,
    expected: Any,
    what: str = "the result",
    hint: str = "",
    *,
    rtol: float | None = None,
    atol: float | None = None,
    floor: str = "all",
    terms: int = 1,
    dtype: bool = True,
    causes: dict[str, Any] | None = None,
) -> None:
    """`actual` equals `expected`: type, then shape, then dtype, then values.

    Args:
        actual: what the student's code produced.
        expected: tensor, array, number, string, None, or a list, tuple or dict of these.
            A number accepts a Python number, a NumPy scalar or a tensor without axes.
        what: what is compared, as the subject of a sentence ("the loss of step 2").
        hint: what the task asks for here, or where to look. A guess at a mistake goes into `causes`.
        rtol, atol: a value may differ by ``atol + rtol * |expected|``.  Default: exact for
            integers and booleans; for floats rtol is 1e-7 (float64), 1e-5 (float32), 2e-3
            (float16) or 1.6e-2 (bfloat16), and atol is rtol times the largest expected value.
        floor: where that largest value is looked for: in "all", in the "row" (the last axis), or
            nowhere ("value": atol is 0), for results whose entries differ by orders of magnitude.
        terms: how many numbers went into each value: the default tolerance grows with its square root (`default_rtol`).
        dtype: compare the dtypes of tensors and arrays too.
        causes: what usually goes wrong, and the value that it gives (or a function that computes it): said
            in place of the hint where this value was observed.

    Raises:
        CheckFailed: says what was observed, what was expected, and how the two are related
            where that is recognisable (negated, scaled, transposed, shifted, all zero, NaN).
    """
    try:
        _equal(actual, expected, what, rtol, atol, floor, terms, dtype)
    except CheckFailed as failure:
        why = _cause(actual, expected, causes or {}, rtol, atol, floor, terms) or hint
        raise (CheckFailed(f"{failure} {_sentence(why)}") if why else failure) from None


def _cause(actual, expected, causes: dict[str, Any], *tolerance) -> str:
    """The first cause whose value is `actual`, and far nearer to it than what was expected.

    There is none where only the dtype is wrong, which no cause is about.
    """
    if not causes or _agrees(actual, expected, *tolerance):
        return ""
    limit = _distance(actual, expected, *tolerance) / 2
    for text, value in causes.items():
        try:
            value = value() if callable(value) else value
        except Exception:  # a mistake that does not even compute here
            continue
        if _agrees(actual, value, *tolerance) and not _distance(actual, value, *tolerance) > limit:
            return text
    return ""


def _agrees(actual, expected, rtol, atol, floor, terms) -> bool:
    try:
        _equal(actual, expected, "", rtol, atol, floor, terms, False)
    except Exception:
        return False
    return True


def _distance(actual, expected, *tolerance) -> float:
    """The largest difference between numbers of the same place, in tolerances; infinite where something else differs."""
    import numpy as np

    if isinstance(expected, dict) and isinstance(actual, dict) and actual.keys() == expected.keys():
        return max((_distance(actual[key], expected[key], *tolerance) for key in expected), default=0.0)
    if isinstance(expected, (list, tuple)) and isinstance(actual, (list, tuple)) and len(actual) == len(expected):
        return max((_distance(a, e, *tolerance) for a, e in zip(actual, expected)), default=0.0)
    number = isinstance(expected, (int, float, complex)) and not isinstance(expected, bool)
    if number and _is_array(actual) and _numpy(actual).ndim == 0:
        actual = _numpy(actual).item()
    if number and isinstance(actual, (int, float, complex)) or _is_array(expected) and _is_array(actual) and actual.shape == expected.shape:
        a, e = (np.asarray(x if number else _numpy(x), dtype=complex) for x in (actual, expected))
        allowed = np.asarray(_allowed_number(expected, *tolerance[:2])) if number else _allowed(e, expected.dtype, *tolerance)
        with np.errstate(invalid="ignore", divide="ignore"):
            apart = np.where((a == e) | (np.isnan(a) & np.isnan(e)), 0.0, np.abs(a - e) / allowed)
        return float(np.nan_to_num(apart, nan=math.inf).max(initial=0.0))
    return 0.0 if _agrees(actual, expected, *tolerance) else math.inf


def _equal(actual, expected, what, rtol, atol, floor, terms, dtype):
    if expected is None or isinstance(expected, (str, bytes)):
        if type(actual) is not type(expected) or actual != expected:
            fail(f"{what} is {brief(actual)}, expected {brief(expected)}")
    elif isinstance(expected, dict):
        _require_type(actual, dict, what)
        missing, extra = [k for k in expected if k not in actual], [k for k in actual if k not in expected]
        if missing or extra:
            fail(f"{what} has keys {brief(list(actual))}, expected {brief(list(expected))}")
        for key in expected:
            _equal(actual[key], expected[key], _entry(what, key), rtol, atol, floor, terms, dtype)
    elif isinstance(expected, (list, tuple)):
        if type(actual) not in (list, tuple) and not issubclass(type(actual), tuple):
            fail(f"{what} is of type {type_name(type(actual))}, expected {type_name(type(expected))}")
        if len(actual) != len(expected):
            fail(f"{what} has {len(actual)} items ({brief(actual)}), expected {len(expected)}")
        for i, (a, e) in enumerate(zip(actual, expected)):
            _equal(a, e, _entry(what, i), rtol, atol, floor, terms, dtype)
    elif _is_array(expected):
        _equal_arrays(actual, expected, what, rtol, atol, floor, terms, dtype)
    elif isinstance(expected, bool):
        if _is_array(actual) and _numpy(actual).ndim == 0 and _numpy(actual).dtype == bool:
            actual = bool(_numpy(actual))
        if type(actual) is not bool or actual is not expected:
            fail(f"{what} is {brief(actual)}, expected {expected}")
    elif isinstance(expected, (int, float, complex)):
        _equal_numbers(actual, expected, what, rtol, atol)
    else:  # dtypes, devices, classes: compared by identity or by their own type's equality
        if type(actual) is not type(expected) or not (actual is expected or expected == actual):
            fail(f"{what} is {brief(actual)}, expected {brief(expected)}")


def _entry(what: str, key: Any) -> str:
    """An entry of what is compared; set apart where `what` ends in values ("f of axis = 1", "f of (1, 2)"), which it would seem part of."""
    whole = what.removesuffix(",")
    apart = whole != what or (" = " in what or " of (" in what) and ": entry [" not in what
    return f"{whole}: entry [{key!r}]" if apart else f"{what}[{key!r}]"


def _equal_numbers(actual, expected, what, rtol, atol):
    observed = as_number(actual, what)
    exact = isinstance(expected, int) and rtol is None and atol is None
    if exact:
        same, limit = observed == expected, ""
    else:
        allowed = _allowed_number(expected, rtol, atol)
        same = observed == expected or _apart(observed, expected) <= allowed or (observed != observed and expected != expected)
        limit = f" (tolerance {allowed:.1g})"
    if not same:
        import numpy as np

        # For a count or an index "three times" says nothing that the two numbers do not.
        huge = not math.isfinite(_apart(observed, expected))
        relation = "" if exact or huge else _relation(*map(np.asarray, (observed, expected, allowed)))
        seen, wanted = _two_numbers(observed, expected)
        fail(f"{what} is {seen}, expected {wanted}{limit}{relation}")


def _apart(observed, expected) -> float:
    """The difference between two numbers; infinite where a whole number is beyond the largest float."""
    try:
        return float(abs(observed - expected))
    except OverflowError:
        return math.inf


def _allowed_number(expected, rtol, atol) -> float:
    """How far a number may lie from `expected`."""
    return (1e-12 if atol is None else atol) + (1e-5 if rtol is None else rtol) * abs(expected)


def _equal_arrays(actual, expected, what, rtol, atol, floor, terms, compare_dtype):
    import numpy as np

    if not _is_array(actual):
        wanted = f"a {type_name(type(expected))} of shape {tuple(expected.shape)}"
        fail(f"{what} is {brief(actual)} of type {type_name(type(actual))}, expected {wanted}")
    if _family(actual) != _family(expected):
        fail(f"{what} is a {type_name(type(actual))}, expected a {type_name(type(expected))}")
    shape(actual, tuple(expected.shape), what)
    if compare_dtype and actual.dtype != expected.dtype:
        fail(f"{what} has dtype {actual.dtype}, expected {expected.dtype}")
    a, e = _numpy(actual), _numpy(expected)
    if e.size == 0:
        return
    if e.dtype.kind in "biu" and rtol is None and atol is None and a.dtype.kind in "biu":
        wrong = a != e
        allowed = np.zeros(e.shape)
    else:
        a, e = (x.astype(np.complex128 if x.dtype.kind == "c" else np.float64) for x in (a, e))
        allowed = _allowed(e, expected.dtype, rtol, atol, floor, terms)
        with np.errstate(invalid="ignore"):
            close = (a == e) | (np.abs(a - e) <= allowed) | (np.isnan(a) & np.isnan(e))
        wrong = ~close
    count = int(wrong.sum())
    if not count:
        return
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    place = f" at {list(at)}" if at else ""
    share = f"{count} of {e.size} values differ; " if e.size > 1 else ""
    limit = f" (tolerance {float(allowed[at]):.1g})" if float(np.max(allowed)) > 0 else ""
    observed, wanted = _two_numbers(a[at], e[at])
    fail(f"{what}: {share}observed {observed}, expected {wanted}{place}{limit}{_relation(a, e, allowed)}")


def _allowed(e, dtype, rtol, atol, floor, terms):
    """How far each value may lie from those of the array `e`; `dtype`: of what was expected."""
    import numpy as np

    rtol = default_rtol(dtype, terms) if rtol is None else rtol
    size = np.where(np.isfinite(e), np.abs(e), 0)
    if atol is None:
        largest = {"all": size.max, "row": lambda: size.max(axis=-1, keepdims=True) if size.ndim else size, "value": lambda: 0.0}
        atol = rtol * largest[floor]() if size.size else 0.0
    return np.broadcast_to(atol + rtol * size, e.shape)


def _relation(a, e, allowed) -> str:
    """How a wrong array is related to the right one, if that is easily said, and true of every single value.

    Args:
        allowed: how far each value may lie from the right one.
    """
    import numpy as np

    def close(x, y, size=1.0):
        """Every value agrees, and far better than without the relation: else it explains nothing."""
        if x.shape != y.shape:
            return False
        left = np.abs(x - y)
        return bool(np.all(left <= np.maximum(1e-4 * np.abs(y), size * allowed)) and left.max() <= 0.01 * np.abs(a - e).max())

    a, e = np.asarray(a).astype(np.complex128), np.asarray(e).astype(np.complex128)
    if np.isnan(a).any() and not np.isnan(e).any():
        return "; there are NaNs (not a number) in it" if a.size > 1 else ""
    if not (np.isfinite(a).all() and np.isfinite(e).all()) or not np.abs(e).max() > 0:
        return ""
    if not np.abs(a).max() > 0:
        return "; every value is zero" if a.size > 1 else ""
    scale = np.frexp(np.abs(e).max())[1]  # differences and squares of very small or large values would be 0 or infinite
    with np.errstate(over="ignore"):
        a, e = (np.ldexp(x.real, -scale) + 1j * np.ldexp(x.imag, -scale) for x in (a, e))
        allowed = np.ldexp(allowed, -scale)
    if np.abs(a).max() > 1e100:  # so much larger that a relation says nothing, and its squares overflow
        return ""
    if close(a, -e):
        return "; the sign is flipped"
    factor = np.vdot(e, a) / np.vdot(e, e)
    f = float(factor.real)
    telling = any(1.5 < abs(x) <= 1000 and abs(x - round(x)) < 1e-4 for x in (f, 1 / f)) if abs(f) > 1e-100 else False
    if (a.size > 1 or telling) and abs(factor) > 0 and abs(factor - 1) > 1e-3 and close(a, factor * e, abs(factor)):
        nice = f"{f:.4g}" if abs(f) >= 1 or f == 0 else f"1/{1 / f:.4g}"
        return f"; it is {nice} times what was expected"
    if a.size > 1:
        if a.ndim >= 2 and any(close(np.swapaxes(a, i, j), e) for i in range(a.ndim) for j in range(i)):
            return "; it is transposed"
        if any(close(np.flip(a, i), e) for i in range(a.ndim)):
            return "; it is in reversed order"
        distance = (a - e).mean()
        if abs(distance) > 10 * np.max(allowed) and np.all(np.abs(a - e - distance) <= np.maximum(1e-3 * abs(distance), allowed)):
            return f"; every value is off by {np.ldexp(distance.real, scale):.4g}"
        if close(np.sort(a.real.ravel()).reshape(e.shape), np.sort(e.real.ravel()).reshape(e.shape)):
            return "; the values are right but in another order"
        if np.ptp(a.real) == 0 and np.ptp(e.real) > 0:
            return "; every value is the same"
    return ""


def default_rtol(dtype: Any, terms: int = 1) -> float:
    """How far a result of this dtype may lie from the exact one, in shares of it, if so many numbers went into it.

    Rounding errors of a sum of n terms grow like sqrt(n) (Higham, "Accuracy and Stability of Numerical Algorithms",
    2nd edition, 2002, section 2.8); the base holds for about a thousand terms.
    """
    name = str(dtype).removeprefix("torch.")
    base = {"float64": 1e-7, "complex128": 1e-7, "float16": 2e-3, "bfloat16": 1.6e-2}.get(name, 1e-5)
    return base * max(1.0, (terms / 1000) ** 0.5)


def _family(x) -> str:
    return type(x).__module__.split(".")[0] if loaded_torch() is None or not isinstance(x, loaded_torch().Tensor) else "torch"


def loaded_torch():
    return sys.modules.get("torch")


def _is_array(x) -> bool:
    """A torch tensor (or parameter) or a NumPy array or scalar, exactly: subclasses can lie."""
    torch, numpy = loaded_torch(), sys.modules.get("numpy")
    if torch is not None and type(x) in (torch.Tensor, torch.nn.Parameter):
        return True
    if numpy is not None and (type(x) is numpy.ndarray or issubclass(type(x), numpy.generic)):
        return True
    jax = sys.modules.get("jax")
    return jax is not None and issubclass(type(x), jax.Array)


def _numpy(x):
    """A plain NumPy copy of a tensor or array (bfloat16 and float16 become float32)."""
    import numpy as np

    torch = loaded_torch()
    if torch is not None and issubclass(type(x), torch.Tensor):
        x = x.detach().cpu()
        if x.is_sparse or x.layout is not torch.strided:
            x = x.to_dense()
        if x.dtype in (torch.bfloat16, torch.float16) or x.dtype.itemsize == 1 and x.dtype.is_floating_point:
            x = x.float()
        return np.array(x.resolve_conj().resolve_neg().numpy())
    return np.array(x)


def as_number(x: Any, what: str) -> Any:
    if type(x) in (int, float, complex):
        return x
    if _is_array(x):
        array = _numpy(x)
        if array.ndim == 0:
            return array.item()
        fail(f"{what} has shape {array.shape}, expected one number")
    fail(f"{what} is {brief(x)} of type {type_name(type(x))}, expected a number")


def as_bool(x) -> bool:
    if type(x) is bool:
        return x
    if _is_array(x) and _numpy(x).ndim == 0:
        return bool(_numpy(x))
    raise CheckFailed(f"a test expected True or False and got {brief(x)}")


def _require_type(actual, expected: type, what: str):
    if not issubclass(type(actual), expected):
        fail(f"{what} is of type {type_name(type(actual))}, expected {type_name(expected)}")


# --------------------------------------------------------------------------------------------------
# Words


def fail(message: str, hint: str = ""):
    raise CheckFailed(f"{message}. {_sentence(hint)}" if hint else f"{message}.")


def _sentence(text: str) -> str:
    """`text` with a capital first letter, unless its first word is code (``backward() adds``, ``step * A``, ``a is``)."""
    first, _, rest = text.partition(" ")
    is_code = re.search(r"[()_.`=\[]", first.rstrip(".,:;")) or re.match(r"[-=+*/@<>]", rest) or len(first) == 1 and first != "a"
    return text if is_code or re.match(r"a (is|has|stays|=)", text) else text[:1].upper() + text[1:]


def type_name(t: type) -> str:
    module = getattr(t, "__module__", "")
    short = {"builtins": "", "__main__": "", "numpy": "np."}.get(module, module.split(".")[0] + ".")
    return f"{short}{t.__name__}"


def _number(x) -> str:
    if isinstance(x, complex) or getattr(x, "dtype", None) is not None and x.dtype.kind == "c":
        x = complex(x)
        return f"{x.real:.6g}" if x.imag == 0 else f"{x:.6g}"
    if isinstance(x, (bool, int)) or getattr(x, "dtype", None) is not None and x.dtype.kind in "biu":
        return str(x)
    return f"{float(x):.6g}"


def _two_numbers(observed, expected) -> tuple[str, str]:
    """Two different numbers, with as many digits as it takes to see that they are."""
    texts = _number(observed), _number(expected)
    if texts[0] != texts[1] or isinstance(observed, complex) or isinstance(expected, complex):
        return texts
    return f"{float(observed):.17g}", f"{float(expected):.17g}"


def brief(x) -> str:
    """A short description that never runs the object's own code unless its type is a known one."""
    if _is_array(x):
        array = _numpy(x)
        values = f" {array.tolist()}" if 0 < array.size <= 4 and array.dtype.kind in "biuf" else ""
        return _number(array[()]) if array.ndim == 0 else f"{type_name(type(x))} of shape {array.shape}{values}"
    if x is None or type(x) in (bool, int, float, complex, str, bytes):
        return shorten(repr(x), 80)
    if type(x) in (list, tuple):
        inner = ", ".join(brief(i) for i in x[:6]) + (", …" if len(x) > 6 else "")
        return f"[{inner}]" if type(x) is list else f"({inner})"
    if isinstance(x, type):
        return type_name(x)
    if type(x).__module__.split(".")[0] in ("torch", "numpy", "builtins"):
        return shorten(repr(x), 80)
    return f"an object of type {type_name(type(x))}"


def shorten(text: str, limit: int) -> str:
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
