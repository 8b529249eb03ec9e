"""What test cells call: a handful of checks that say what was observed, what was expected and why.

A test cell is one ``with check.exercise("name"):`` block.  Inside it the checks below raise
`CheckFailed` at the first thing that is wrong; the block turns every other error of the student's
code into one readable message, recognises an untouched stub, and prints one line on success.

Nothing here trusts the object under test: types are compared exactly and values are copied to
plain NumPy before they are compared, so an object whose ``__eq__`` always says yes gains nothing.

In a notebook all this is one process.  At grading the tests run in one process and the student's
code in another: see "Across the wall" below.
"""

from __future__ import annotations

import copy
import functools
import os
import random
import re
import sys
import sysconfig
import tempfile
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from unit24 import leftovers
from unit24.leftovers import put_back_modes
from unit24.states import State, differences, module_state, random_state

__all__ = [
    "CheckFailed",
    "NotAttempted",
    "exercise",
    "equal",
    "true",
    "between",
    "shape",
    "kind",
    "raises",
    "catches",
    "unchanged",
    "module_state",
    "random_state",
    "parts",
    "points",
    "scenario",
    "shared",
    "live",
    "after",
    "folder",
]


class CheckFailed(AssertionError):
    """A check that did not hold. Notebooks show its message alone, without a traceback."""

    def _render_traceback_(self) -> list[str]:  # IPython's hook for exceptions that draw themselves
        return [str(self)]


class Unreadable(CheckFailed):
    """What the student's code returned cannot be read by its tests."""


class NotAttempted(CheckFailed):
    """The exercise (or one that it builds on) is still an untouched stub."""


# --------------------------------------------------------------------------------------------------
# The block around a test cell


class exercise:
    """Context manager around the checks of one exercise.

    On success prints one line.  `CheckFailed` gets the exercise's name in front.  A
    ``NotImplementedError`` from a stub becomes `NotAttempted`.  Any other exception of the
    student's code becomes a `CheckFailed` that names the error and the student's line.  So does
    what the student's code has left behind at the end (`unit24.leftovers`).

    Args:
        leaves: what it may leave behind, because that is the task: some of `leftovers.KINDS`.
    """

    _score: float | None = None  # of the last finished block, for `points`
    _current: exercise | None = None  # the block that is running

    def __init__(self, name: str, *, leaves: Sequence[str] = ()):
        self.name, self.leaves = name, leftovers.known(leaves)
        self.score: float | None = None

    def __enter__(self) -> exercise:
        exercise._score = None
        self._outer, exercise._current = exercise._current, self
        if self._outer is None:
            put_back_modes()
        else:
            self.leaves |= self._outer.leaves
        (_wall or _watches).begin(nested=self._outer is not None)
        return self

    def __exit__(self, kind, error, trace) -> bool:
        exercise._current = self._outer
        if _wall is not None:
            _wall.end_loans()
        left = (_wall or _watches).end(self.leaves, failed=error is not None) if error is None or isinstance(error, Exception) else []
        if error is None:
            if left:
                raise CheckFailed(f"✗ {self.name}: {leftovers.sentence(left)}")
            exercise._score = self.score
            if self.score is None or self.score >= 1:
                print(f"✓ {self.name}: all checks here pass.")
            return False
        if not isinstance(error, Exception):  # KeyboardInterrupt, SystemExit
            return False
        raise self._explain(error, trace) from None

    def _explain(self, error: Exception, trace) -> CheckFailed:
        if isinstance(error, CheckFailed):
            named = str(error).startswith(("✗", "○"))  # by a part of this exercise
            return error if named else type(error)(f"✗ {self.name}: {error}")
        every = traceback.extract_tb(trace)
        frames = [f for f in every if f.filename != every[0].filename and _is_student_code(f.filename)]  # [0]: the tests cell
        if isinstance(error, NotImplementedError) and not error.args:
            who = frames[-1].name if frames else self.name
            if who in (self.name, "<module>", "<cell line: 1>", "forward", "backward", "__init__"):
                return NotAttempted(f"○ {self.name}: not attempted yet.")
            return NotAttempted(f"○ {self.name}: not attempted yet (`{who}` is still a stub).")
        said = f"{type(error).__name__}: {_shorten(str(error), 300)}" if str(error) else type(error).__name__
        if isinstance(error, NameError) and not frames:
            return CheckFailed(f"✗ {self.name}: {said}. Run the exercise's cell first, and keep the names that it gives.")
        if not frames:
            return CheckFailed(
                f"✗ {self.name}: the test could not use what your code returned ({said}). "
                "Does it return something, and of the type that the task asks for?"
            )
        last = frames[-1]
        line = f"\n    line {last.lineno} in {last.name}:  {last.line}" if last.line else f" (in {last.name})"
        return CheckFailed(f"✗ {self.name}: your code raised {said}{line}")


_LIBRARY_ROOTS = tuple({os.path.realpath(p) + os.sep for p in sysconfig.get_paths().values() if "lib" in p})
_HERE = os.path.dirname(os.path.realpath(__file__)) + os.sep


def _is_student_code(filename: str) -> bool:
    """True for code typed into a cell: neither a library, nor this package, nor Python itself."""
    if filename.startswith("<frozen") or filename == "<string>":
        return False
    path = os.path.realpath(filename)
    return not path.startswith(_LIBRARY_ROOTS) and not path.startswith(_HERE)


def points(possible: float) -> float:
    """Points of the test block just finished: all of them, or the share that its check earned.

    Stands as the last expression of a test cell with partial credit; nbgrader reads the number.
    """
    share = 1.0 if exercise._score is None else exercise._score
    return round(possible * share, 2)


# --------------------------------------------------------------------------------------------------
# The checks


def true(condition: Any, message: str) -> None:
    """`condition` is True. `message` says what was expected, what was seen, and the usual cause."""
    if not _as_bool(condition):
        raise CheckFailed(message)


def kind(actual: Any, expected: type | tuple[type, ...], what: str = "the result", hint: str = "") -> None:
    """`actual` is an instance of `expected` (subclasses included)."""
    if not issubclass(type(actual), expected):
        wanted = expected if isinstance(expected, tuple) else (expected,)
        names = " or ".join(_type_name(t) for t in wanted)
        _fail(f"{what} is of type {_type_name(type(actual))}, expected {names}", hint)


def shape(actual: Any, expected: Sequence[int], what: str = "the result", hint: str = "") -> None:
    """`actual` has exactly the shape `expected`."""
    observed = getattr(actual, "shape", None)
    if observed is None:
        _fail(f"{what} is of type {_type_name(type(actual))} and has no shape, expected shape {tuple(expected)}", hint)
    if tuple(observed) != tuple(expected):
        _fail(f"{what} has shape {tuple(observed)}, expected {tuple(expected)}", hint)


def between(actual: Any, low: float | None, high: float | None, what: str = "the result", hint: str = "") -> None:
    """``low <= actual <= high`` for one finite number; either end may be None (open)."""
    number = _as_number(actual, what)
    if number != number:
        _fail(f"{what} is NaN (not a number)", hint)
    if (low is not None and number < low) or (high is not None and number > high):
        wanted = (
            f"at least {low:.6g}"
            if high is None
            else f"at most {high:.6g}"
            if low is None
            else f"between {low:.6g} and {high:.6g}"
        )
        _fail(f"{what} is {number:.6g}, expected {wanted}", hint)


def raises(
    errors: type[BaseException] | tuple[type[BaseException], ...], call: Callable[[], Any], what: str, hint: str = ""
) -> BaseException:
    """`call()` raises one of `errors`; returns the exception so that its text can be checked."""
    wanted = errors if isinstance(errors, tuple) else (errors,)
    names = " or ".join(e.__name__ for e in wanted)
    try:
        result = call()
    except Unreadable:
        raise
    except wanted as error:
        if isinstance(error, NotImplementedError) and not error.args:
            raise
        return error
    except NotImplementedError:
        raise
    except Exception as error:
        _fail(f"{what} raised {type(error).__name__} ({_shorten(str(error), 120)}), expected {names}", hint)
    _fail(f"{what} raised no error (it returned {_brief(result)}), expected {names}", hint)


def equal(
    actual: Any,
    expected: Any,
    what: str = "the result",
    hint: str = "",
    *,
    rtol: float | None = None,
    atol: float | None = None,
    dtype: bool = True,
) -> None:
    """`actual` equals `expected`: type, then shape, then dtype, then values.

    Args:
        actual: what the student's code produced.
        expected: tensor, array, number, string, None, or a list, tuple or dict of these.
            A number accepts a Python number, a NumPy scalar or a tensor without axes.
        what: what is compared, as the subject of a sentence ("the loss of step 2").
        hint: what a difference usually means.
        rtol, atol: a value may differ by ``atol + rtol * |expected|``.  Default: exact for
            integers and booleans; for floats rtol is 1e-7 (float64), 1e-5 (float32), 2e-3
            (float16) or 1.6e-2 (bfloat16), and atol is rtol times the largest expected value.
        dtype: compare the dtypes of tensors and arrays too.

    Raises:
        CheckFailed: says what was observed, what was expected, and how the two are related
            where that is recognisable (negated, scaled, transposed, shifted, all zero, NaN).
    """
    if expected is None or isinstance(expected, (str, bytes)):
        if type(actual) is not type(expected) or actual != expected:
            _fail(f"{what} is {_brief(actual)}, expected {_brief(expected)}", hint)
    elif isinstance(expected, dict):
        _require_type(actual, dict, what, hint)
        missing, extra = [k for k in expected if k not in actual], [k for k in actual if k not in expected]
        if missing or extra:
            _fail(f"{what} has keys {_brief(list(actual))}, expected {_brief(list(expected))}", hint)
        for key in expected:
            equal(actual[key], expected[key], f"{what}[{key!r}]", hint, rtol=rtol, atol=atol, dtype=dtype)
    elif isinstance(expected, (list, tuple)):
        if type(actual) not in (list, tuple) and not issubclass(type(actual), tuple):
            _fail(f"{what} is of type {_type_name(type(actual))}, expected {_type_name(type(expected))}", hint)
        if len(actual) != len(expected):
            _fail(f"{what} has {len(actual)} items ({_brief(actual)}), expected {len(expected)}", hint)
        for i, (a, e) in enumerate(zip(actual, expected)):
            equal(a, e, f"{what}[{i}]", hint, rtol=rtol, atol=atol, dtype=dtype)
    elif _is_array(expected):
        _equal_arrays(actual, expected, what, hint, rtol, atol, dtype)
    elif isinstance(expected, bool):
        if _is_array(actual) and _numpy(actual).ndim == 0 and _numpy(actual).dtype == bool:
            actual = bool(_numpy(actual))
        if type(actual) is not bool or actual is not expected:
            _fail(f"{what} is {_brief(actual)}, expected {expected}", hint)
    elif isinstance(expected, (int, float, complex)):
        _equal_numbers(actual, expected, what, hint, rtol, atol)
    else:  # dtypes, devices, classes: compared by identity or by their own type's equality
        if type(actual) is not type(expected) or not (actual is expected or expected == actual):
            _fail(f"{what} is {_brief(actual)}, expected {_brief(expected)}", hint)


def catches(
    tests: Callable[[Callable], Any], right: dict[str, Callable], wrong: dict[str, Callable], what: str = "your tests"
) -> None:
    """The student's `tests(implementation)` accept every right and reject every wrong implementation.

    `tests` rejects by raising (an ``assert``), and accepts by returning.  A false alarm earns
    nothing; otherwise the share of bugs caught is the share of the points (see `points`).
    Implementations come under one neutral name, in an order that nobody knows, each time with the
    same random state; what is kept of one cannot be called once its turn is over.

    Args:
        right, wrong: implementations by name; the name of a wrong one says what is wrong with it.

    Raises:
        ValueError: `wrong` is empty, or a name is in both: a fault of the test cell.
    """
    if not wrong or right.keys() & wrong.keys():
        raise ValueError("check.catches needs at least one wrong implementation, and a name of its own for each")
    outcomes: dict[str, list[Exception]] = {}
    returned = None
    # Twice at grading: who rejects by the place in the order has little luck in both rounds.
    rounds = 1 if _wall is None else 2
    turns = [turn for _ in range(rounds) for turn in random.SystemRandom().sample(list({**right, **wrong}.items()), len(right) + len(wrong))]
    for name, implementation in turns:
        handed_out, take_back = _lend(implementation)
        with _same_random_state():
            try:
                value = tests(handed_out)
                returned = value if name in wrong else returned
            except NotImplementedError:
                raise
            except Unreadable as value:  # they returned something, whatever it is
                returned = value
            except Exception as error:
                outcomes.setdefault(name, []).append(error)
        take_back()
    for name in right:
        error = outcomes.get(name, [None])[0]
        if isinstance(error, AssertionError):
            said = f": {_shorten(str(error), 160)}" if str(error) else ""
            _fail(
                f"{what} reject a correct implementation ({name}){said}",
                "a test must hold for every right answer, not for one way to write it",
            )
        elif error is not None:
            _fail(f"{what} stop with {type(error).__name__} on a correct implementation ({name}): {_shorten(str(error), 160)}")
    missed = [name for name in wrong if len(outcomes.get(name, ())) < rounds]
    share = 1 - len(missed) / len(wrong)
    if share == 0:
        ignored = "" if returned is None else "what they return is ignored: reject with `assert`"
        _fail(f"{what} catch none of {len(wrong)} wrong implementations; the first that slips through: {missed[0]}", ignored)
    _give_share(share)
    if missed:
        print(
            f"◐ {what} catch {len(wrong) - len(missed)} of {len(wrong)} bugs, with no false alarm. Still unseen: {'; '.join(missed)}."
        )


def unchanged(state: State, before: State, what: str = "the model", hint: str = "", *, changes: Sequence[str] = ()) -> None:
    """A state (`module_state`, `random_state`) is as it was before. Both may come from a scenario.

    Args:
        what: whose state it is, as in "submodule `0` of the model after `evaluate`".
        changes: kinds that the task changes: some of `unit24.states.KINDS`.
    """
    kind(state, dict, f"the state of {what}")
    found = differences(state, before, what, changes)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        _fail(_shorten(found[0], 300) + more, hint)


def _lend(function: Callable) -> tuple[Callable, Callable[[], None]]:
    """`function` under a neutral name, and what ends the loan."""
    lent = [function]

    def implementation(*args, **kwargs):
        if not lent:
            raise RuntimeError("this implementation belongs to another call of your tests")
        return lent[0](*args, **kwargs)

    return implementation, lent.clear


class _same_random_state:
    """The same random state at each start, here and where the student's code runs; put back at the end (here)."""

    def __enter__(self):
        torch, numpy = _torch(), sys.modules.get("numpy")
        self.state = random.getstate(), numpy and numpy.random.get_state(), torch and torch.get_rng_state()
        reseed()
        if _wall is not None:
            _wall.reseed()

    def __exit__(self, *_):
        mine, array, tensor = self.state
        random.setstate(mine)
        if array:
            sys.modules["numpy"].random.set_state(array)
        if tensor is not None:
            _torch().set_rng_state(tensor)


def parts(checks: dict[str, Callable[[], Any]]) -> None:
    """Judge the parts of an exercise one by one: each that passes earns an equal share (see `points`).

    Args:
        checks: for each part its name and a function that makes its checks.
    """
    failures = []
    for name, part in checks.items():
        outer = exercise._current
        try:
            with exercise(name):
                part()
        except CheckFailed as failure:
            failures.append(failure)
        exercise._current = outer
    if len(failures) == len(checks):  # a part that was attempted says more than one that was not
        raise min(failures, key=lambda failure: isinstance(failure, NotAttempted))
    if failures:
        _give_share(1 - len(failures) / len(checks))
        print(f"◐ {len(checks) - len(failures)} of {len(checks)} parts pass.", *(" ".join(str(f).split()) for f in failures))


def _give_share(share: float) -> None:
    """Lower the share of its points that the running block earns."""
    current = exercise._current
    if current is not None:
        current.score = share if current.score is None else min(current.score, share)


# --------------------------------------------------------------------------------------------------
# Across the wall: at grading tests run in one process (the judge), the student's code in another

_wall: Any = None  # in a judge: `judge.line.Wall`; in a notebook every call is just a call
_watches = leftovers.Watches()  # of the blocks in this process


def scenario(function: Callable | None = None, *, clean: bool = False) -> Callable:
    """Decorator: a function from plain data to plain data that runs beside the student's code.

    It builds what is not plain data (a model, an optimizer, a file), uses the student's code with it, and
    reports what was seen.  It may use the lesson's names, the exercise's names, its arguments, other
    scenarios and `shared` functions, and nothing else of the test cell.

    Args:
        clean: it runs where the student's code never was, and sees the files that this code left in `folder`.
    """
    if function is None:
        return functools.partial(scenario, clean=clean)
    return function if _wall is None else _wall.scenario(function, clean)


def shared(function: Callable) -> Callable:
    """Decorator: a function of the test cell that runs wherever it is called, in the tests and in scenarios."""
    return function if _wall is None else _wall.share(function)


def live(cls: Callable) -> Callable:
    """A class of the exercise whose instances live on from call to call; attributes and methods give and take plain data."""
    return cls if _wall is None else _wall.live(cls)


def after(function: Callable, *args: Any, **kwargs: Any) -> tuple[Any, list]:
    """``(result, arguments)``: the result of a call, and what it made of (copies of) its positional arguments."""
    args, kwargs = copy.deepcopy((args, kwargs))
    value = function(*args, **kwargs)
    changed = {} if _wall is None else _wall.changed
    return value, [changed.get(i, argument) for i, argument in enumerate(args)]


def folder() -> str:
    """A folder for files: of the student's code, of scenarios, and of clean scenarios."""
    return tempfile.mkdtemp() if _wall is None else "."


def reseed(seed: int = 24) -> None:
    """Set Python's, NumPy's and torch's global random state."""
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if _torch() is not None:
        _torch().manual_seed(seed)


# --------------------------------------------------------------------------------------------------
# Comparing


def _equal_numbers(actual, expected, what, hint, rtol, atol):
    observed = _as_number(actual, what, hint)
    exact = isinstance(expected, int) and rtol is None and atol is None
    if exact:
        same, limit = observed == expected, ""
    else:
        rtol = 1e-5 if rtol is None else rtol
        atol = 1e-12 if atol is None else atol
        allowed = atol + rtol * abs(expected)
        same = observed == expected or abs(observed - expected) <= allowed or (observed != observed and expected != expected)
        limit = f" (tolerance {allowed:.1g})"
    if not same:
        import numpy as np

        # For a count or an index "three times" says nothing that the two numbers do not.
        relation = "" if exact else _relation(np.asarray(observed, dtype=complex), np.asarray(expected, dtype=complex))
        seen, wanted = _two_numbers(observed, expected)
        _fail(f"{what} is {seen}, expected {wanted}{limit}{relation}", hint)


def _equal_arrays(actual, expected, what, hint, rtol, atol, compare_dtype):
    import numpy as np

    if not _is_array(actual):
        _fail(
            f"{what} is {_brief(actual)} of type {_type_name(type(actual))}, expected a {_type_name(type(expected))} of shape {tuple(expected.shape)}",
            hint,
        )
    if _family(actual) != _family(expected):
        _fail(f"{what} is a {_type_name(type(actual))}, expected a {_type_name(type(expected))}", hint)
    shape(actual, tuple(expected.shape), what, hint)
    if compare_dtype and actual.dtype != expected.dtype:
        _fail(f"{what} has dtype {actual.dtype}, expected {expected.dtype}", hint)
    a, e = _numpy(actual), _numpy(expected)
    if e.size == 0:
        return
    if e.dtype.kind in "biu" and rtol is None and atol is None and a.dtype.kind in "biu":
        wrong = a != e
        allowed = np.zeros(e.shape)
    else:
        a, e = (x.astype(np.complex128 if x.dtype.kind == "c" else np.float64) for x in (a, e))
        rtol = _default_rtol(expected) if rtol is None else rtol
        finite = np.abs(e[np.isfinite(e)])
        atol = rtol * float(finite.max()) if atol is None and finite.size else atol or 0.0
        allowed = atol + rtol * np.where(np.isfinite(e), np.abs(e), 0)
        with np.errstate(invalid="ignore"):
            close = (a == e) | (np.abs(a - e) <= allowed) | (np.isnan(a) & np.isnan(e))
        wrong = ~close
    count = int(wrong.sum())
    if not count:
        return
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    place = f" at {list(at)}" if at else ""
    share = f"{count} of {e.size} values differ; " if e.size > 1 else ""
    limit = f" (tolerance {float(np.asarray(allowed)[at]):.1g})" if float(np.max(allowed)) > 0 else ""
    observed, wanted = _two_numbers(a[at], e[at])
    _fail(f"{what}: {share}observed {observed}, expected {wanted}{place}{limit}{_relation(a, e)}", hint)


def _relation(a, e) -> str:
    """How a wrong array is related to the right one, if that is easily said."""
    import numpy as np

    def close(x, y):
        scale = float(np.abs(y).max()) or 1.0
        return x.shape == y.shape and bool(np.all(np.abs(x - y) <= 1e-4 * scale))

    a, e = np.asarray(a).astype(np.complex128), np.asarray(e).astype(np.complex128)
    if np.isnan(a).any() and not np.isnan(e).any():
        return "; there are NaNs (not a number) in it" if a.size > 1 else ""
    if not (np.isfinite(a).all() and np.isfinite(e).all()) or not np.abs(e).max() > 0:
        return ""
    if not np.abs(a).max() > 0:
        return "; every value is zero" if a.size > 1 else ""
    if close(a, -e):
        return "; the sign is flipped"
    factor = np.vdot(e, a) / np.vdot(e, e)
    f = factor.real
    telling = any(abs(x - round(x)) < 1e-4 and 1 < abs(round(x)) <= 1000 for x in (f, 1 / f)) if f else False
    if (a.size > 1 or telling) and abs(factor) > 0 and abs(factor - 1) > 1e-3 and close(a, factor * e):
        nice = f"{f:.4g}" if abs(f) >= 1 or f == 0 else f"1/{1 / f:.4g}"
        return f"; it is {nice} times what was expected"
    if a.size > 1:
        if a.ndim >= 2 and any(close(np.swapaxes(a, i, j), e) for i in range(a.ndim) for j in range(i)):
            return "; it is transposed"
        if any(close(np.flip(a, i), e) for i in range(a.ndim)):
            return "; it is in reversed order"
        if close(a - (a - e).mean(), e):
            return f"; every value is off by {(a - e).mean().real:.4g}"
        if close(np.sort(a.real.ravel()), np.sort(e.real.ravel())):
            return "; the values are right but in another order"
        if np.ptp(a.real) == 0 and np.ptp(e.real) > 0:
            return "; every value is the same"
    return ""


def _default_rtol(expected) -> float:
    name = str(expected.dtype).removeprefix("torch.")
    return {"float64": 1e-7, "complex128": 1e-7, "float16": 2e-3, "bfloat16": 1.6e-2}.get(name, 1e-5)


def _family(x) -> str:
    return type(x).__module__.split(".")[0] if _torch() is None or not isinstance(x, _torch().Tensor) else "torch"


def _torch():
    return sys.modules.get("torch")


def _is_array(x) -> bool:
    """A torch tensor (or parameter) or a NumPy array or scalar, exactly: subclasses can lie."""
    torch, numpy = _torch(), sys.modules.get("numpy")
    if torch is not None and type(x) in (torch.Tensor, torch.nn.Parameter):
        return True
    if numpy is not None and (type(x) is numpy.ndarray or issubclass(type(x), numpy.generic)):
        return True
    jax = sys.modules.get("jax")
    return jax is not None and issubclass(type(x), jax.Array)


def _numpy(x):
    """A plain NumPy copy of a tensor or array (bfloat16 and float16 become float32)."""
    import numpy as np

    torch = _torch()
    if torch is not None and issubclass(type(x), torch.Tensor):
        x = x.detach().cpu()
        if x.is_sparse or x.layout is not torch.strided:
            x = x.to_dense()
        if x.dtype in (torch.bfloat16, torch.float16) or x.dtype.itemsize == 1 and x.dtype.is_floating_point:
            x = x.float()
        return np.array(x.resolve_conj().resolve_neg().numpy())
    return np.array(x)


def _as_number(x, what: str, hint: str = ""):
    if type(x) in (int, float, complex):
        return x
    if _is_array(x):
        array = _numpy(x)
        if array.ndim == 0:
            return array.item()
        _fail(f"{what} has shape {array.shape}, expected one number", hint)
    _fail(f"{what} is {_brief(x)} of type {_type_name(type(x))}, expected a number", hint)


def _as_bool(x) -> bool:
    if type(x) is bool:
        return x
    if _is_array(x) and _numpy(x).ndim == 0:
        return bool(_numpy(x))
    raise CheckFailed(f"a test expected True or False and got {_brief(x)}")


def _require_type(actual, expected: type, what: str, hint: str):
    if not issubclass(type(actual), expected):
        _fail(f"{what} is of type {_type_name(type(actual))}, expected {_type_name(expected)}", hint)


# --------------------------------------------------------------------------------------------------
# Words


def _fail(message: str, hint: str = ""):
    raise CheckFailed(f"{message}. {_sentence(hint)}" if hint else f"{message}.")


def _sentence(text: str) -> str:
    """`text` with a capital first letter, unless its first word is code (``backward() adds``)."""
    first = text.split(maxsplit=1)[0]
    return text if re.search(r"[()_.`=\[]", first.rstrip(".,:;")) else text[:1].upper() + text[1:]


def _type_name(t: type) -> str:
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


def _brief(x) -> str:
    """A short description that never runs the object's own code unless its type is a known one."""
    if _is_array(x):
        array = _numpy(x)
        return _number(array[()]) if array.ndim == 0 else f"{_type_name(type(x))} of shape {array.shape}"
    if x is None or type(x) in (bool, int, float, complex, str, bytes):
        return _shorten(repr(x), 80)
    if type(x) in (list, tuple):
        inner = ", ".join(_brief(i) for i in x[:6]) + (", …" if len(x) > 6 else "")
        return f"[{inner}]" if type(x) is list else f"({inner})"
    if isinstance(x, type):
        return _type_name(x)
    if type(x).__module__.split(".")[0] in ("torch", "numpy", "builtins"):
        return _shorten(repr(x), 80)
    return f"an object of type {_type_name(type(x))}"


def _shorten(text: str, limit: int) -> str:
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
