"""What test cells call: a handful of checks that say what was observed, what was expected and why.

A test cell is one ``with check.exercise("name"):`` block.  Inside it the checks below raise
`CheckFailed` at the first thing that is wrong; the block turns every other error of the student's
code into one readable message, recognises an untouched stub, and prints one line on success.

In a notebook all this is one process.  At grading the tests run in one process and the student's
code in another: see "Across the wall" below.
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
import os
import random
import re
import sys
import sysconfig
import tempfile
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from unit24 import leftovers
from unit24.compare import as_bool, as_number, brief, equal, fail, loaded_torch, shape, shorten, type_name
from unit24.errors import CheckFailed, NotAttempted, Unreadable
from unit24.leftovers import put_back_modes
from unit24.states import State, differences, module_state, random_state

__all__ = [
    "CheckFailed",
    "NotAttempted",
    "exercise",
    "agrees",
    "equal",
    "true",
    "between",
    "shape",
    "kind",
    "raises",
    "catches",
    "apart",
    "unchanged",
    "module_state",
    "random_state",
    "parts",
    "points",
    "scenario",
    "shared",
    "live",
    "swapped",
    "after",
    "folder",
]


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
    on_end: Callable[[str, float], None] | None = None  # told of each block that ends: its name, the share of its points

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
        passed = error is None and not left
        if passed and (self.score is None or self.score >= 1):
            print(f"✓ {self.name}: all checks here pass.")
        if exercise.on_end and self._outer is None:
            exercise.on_end(self.name, (1.0 if self.score is None else self.score) if passed else 0.0)
        if error is None:
            if left:
                raise CheckFailed(f"✗ {self.name}: {leftovers.sentence(left)}")
            exercise._score = self.score
            return False
        if not isinstance(error, Exception):  # KeyboardInterrupt, SystemExit
            return False
        raise self._explain(error, trace) from None

    def _explain(self, error: Exception, trace) -> CheckFailed:
        if isinstance(error, CheckFailed):
            named = str(error).startswith(("✗", "○"))  # by a part of this exercise
            return error if named else type(error)(f"✗ {self.name}: {error}")
        # The first that is not this package: a part of an exercise (`parts`) begins in it.
        passed = [frame.filename for frame in traceback.extract_tb(trace)]
        frames = _student_frames(error, next((name for name in passed if not os.path.realpath(name).startswith(_HERE)), passed[0]))
        if isinstance(error, NotImplementedError) and not error.args:
            who = frames[-1].name if frames else self.name
            if who in (self.name, "<module>", "<cell line: 1>", "forward", "backward", "__init__"):
                return NotAttempted(f"○ {self.name}: not attempted yet.")
            return NotAttempted(f"○ {self.name}: not attempted yet (`{who}` is still a stub).")
        said = f"{type(error).__name__}: {shorten(str(error), 300)}" if str(error) else type(error).__name__
        case = "".join(f"{note}: " for note in getattr(error, "__notes__", ()))
        if isinstance(error, NameError) and not frames:
            return CheckFailed(f"✗ {self.name}: {said}. Run the exercise's cell first, and keep the names that it gives.")
        if not frames:
            return CheckFailed(
                f"✗ {self.name}: {case}the test could not use what your code returned: {_lack(error) or said}. "
                "Does it return something, and of the type that the task asks for?"
            )
        return CheckFailed(f"✗ {self.name}: {case}your code raised {said}{_line_of(frames[-1])}")


def _student_frames(error: BaseException, tests: str) -> list[traceback.FrameSummary]:
    """Where an error passed through the student's code; `tests`: the file name of the tests cell."""
    return [f for f in traceback.extract_tb(error.__traceback__) if f.filename != tests and _is_student_code(f.filename)]


def _line_of(frame: traceback.FrameSummary) -> str:
    return f"\n    line {frame.lineno} in {frame.name}:  {frame.line}" if frame.line else f" (in {frame.name})"


def _lack(error: Exception) -> str:
    """What an error inside a test says about the result that the test was given, in words."""
    said = str(error)
    if isinstance(error, AttributeError) and error.name:
        return f"{brief(error.obj)} has no `{error.name}`"
    if isinstance(error, KeyError) and error.args:
        return f"it has no key {brief(error.args[0])}"
    if isinstance(error, FileNotFoundError) and (found := re.search(r"'([^']*)'$", said)):
        return f"there is no file `{os.path.basename(found[1])}`"
    if isinstance(error, IndexError):
        return f"it has fewer entries, or fewer axes, than the task asks for ({said})"
    if isinstance(error, TypeError) and (found := re.match(r"'(\w+)' object is not (\w+)|cannot unpack non-iterable (\w+)", said)):
        name = (found[1] or found[3]).removesuffix("Type")
        ability = {"subscriptable": "has no entries", "iterable": "has no entries", "callable": "is no function"}.get(found[2], "has no entries")
        return f"{name} {ability}"
    if isinstance(error, ValueError) and (found := re.match(r"(?:not enough|too many) values to unpack \(expected (?:at least )?(\d+)", said)):
        return f"it has not the {found[1]} parts that the task asks for"
    return ""


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

CONFIRMED_BY = 6  # cases, in which a guess at a cause must hold, too


def true(condition: Any, message: str) -> None:
    """`condition` is True. `message` says what was expected, what was seen, and the usual cause."""
    if not as_bool(condition):
        raise CheckFailed(message)


def kind(actual: Any, expected: type | tuple[type, ...], what: str = "the result", hint: str = "") -> None:
    """`actual` is an instance of `expected` (subclasses included)."""
    if not issubclass(type(actual), expected):
        wanted = expected if isinstance(expected, tuple) else (expected,)
        names = " or ".join(type_name(t) for t in wanted)
        fail(f"{what} is of type {type_name(type(actual))}, expected {names}", hint)


def between(actual: Any, low: float | None, high: float | None, what: str = "the result", hint: str = "") -> None:
    """``low <= actual <= high`` for one finite number; either end may be None (open)."""
    number = as_number(actual, what)
    if number != number:
        fail(f"{what} is NaN (not a number)", hint)
    if (low is not None and number < low) or (high is not None and number > high):
        wanted = (
            f"at least {low:.6g}"
            if high is None
            else f"at most {high:.6g}"
            if low is None
            else f"between {low:.6g} and {high:.6g}"
        )
        fail(f"{what} is {number:.6g}, expected {wanted}", hint)


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
        fail(f"{what} raised {type(error).__name__} ({shorten(str(error), 120)}), expected {names}", hint)
    fail(f"{what} raised no error (it returned {brief(result)}), expected {names}", hint)


def agrees(
    function: Callable,
    expected: Callable,
    cases: Iterable,
    what: str,
    hint: str = "",
    *,
    causes: dict[str, Callable] | None = None,
    **tolerance: Any,
) -> None:
    """`function` does what `expected` does in every one of `cases`: the result, and what becomes of the arguments.

    `expected` gets copies, before `function` is called: what it changes in place, `function` must change alike, and
    what it leaves alone must stay as it was.  Where `expected` raises, `function` must raise the same kind of error.
    At the end the first case comes once more: what a call leaves behind must not decide on the next.

    Args:
        function: the student's function, or a scenario, of plain data.
        expected: the definition, computed as plainly as can be.
        cases: arguments, from small to large, as `unit24.cases.draw` gives them; the first one that fails is named.
        what: the subject of a sentence ("`rms_norm`").
        hint: as for `equal`.
        causes: what usually goes wrong, and a function of the arguments that does it wrong in just this way: said where
            it gives what `function` gives, in the case that fails and in the next ones.
        tolerance: ``rtol, atol, floor, dtype`` of `equal`; by default the tolerance follows from the dtype and from
            the size of the largest argument.

    Raises:
        ValueError: there is no case: a fault of the test cell.
    """
    first, cases = None, iter(cases)
    for case in cases:
        first = first or copy.deepcopy(case)
        _agree(function, expected, case, f"{what} of {case}", hint, causes, cases, **tolerance)
    if first is None:
        raise ValueError("check.agrees got no case: a fault of the test cell")
    again = f"{what} of {first}, called once more after others,"
    _agree(function, expected, first, again, "does something stay behind from call to call?", **tolerance)


def _agree(function, expected, case, what, hint, causes=None, following=(), **tolerance):
    arguments = tuple(case)
    before, copies = copy.deepcopy(arguments), copy.deepcopy(arguments)
    try:
        wanted = expected(*copies)
    except Exception as error:
        raises(type(error), lambda: function(*arguments), what, hint)
        return
    try:
        got = function(*arguments)
    except Unreadable as failure:
        raise Unreadable(f"{what}: {failure}") from None
    except Exception as error:
        error.add_note(what)
        raise
    after = dict(enumerate(arguments)) | ({} if _wall is None else _wall.changed_by(function))
    terms = _terms(before)
    seen = [(before, got)]

    def mistaken(compute):
        """What a usual mistake gives here; an error where it is not what `function` does in the next cases."""
        value = compute(*copy.deepcopy(before))
        if len(seen) == 1 and _same(got, value, terms=terms, **tolerance):
            seen.extend(_results(function, itertools.islice(following, CONFIRMED_BY)))
        for arguments, result in seen[1:]:
            equal(result, compute(*copy.deepcopy(arguments)), terms=_terms(arguments), **tolerance)
        return value

    wrong = {text: functools.partial(mistaken, compute) for text, compute in (causes or {}).items()}
    equal(got, wanted, what, hint, causes=wrong, terms=terms, **tolerance)
    names = getattr(case, "arguments", range(1, len(before) + 1))
    for i, (name, given, mine) in enumerate(zip(names, before, copies)):
        name = f"argument {name} after the call ({what})"
        if _same(mine, given):
            equal(after[i], given, name, "it must stay as it was: does one of your steps work in place?", rtol=0, atol=0)
        else:
            equal(after[i], mine, name, "the task asks for a change in place", terms=terms)
        if getattr(after[i], "requires_grad", False) is True and not (given.requires_grad or mine.requires_grad):
            fail(f"{name} has requires_grad=True, expected False", "work on `x.detach().requires_grad_()`, which leaves `x` as it was")


def _terms(arguments: tuple) -> int:
    """How many numbers may go into one value of a result: as many as the largest argument has."""
    return max((math.prod(a.shape) for a in arguments if hasattr(a, "shape")), default=1)


def _results(function: Callable, cases: Iterable) -> list[tuple[tuple, Any]]:
    """Arguments and result of each case in which `function` returns something."""
    found = []
    for case in cases:
        arguments = tuple(case)
        before = copy.deepcopy(arguments)
        try:
            found.append((before, function(*arguments)))
        except Exception:
            continue
    return found


def _same(one: Any, other: Any, **tolerance: Any) -> bool:
    try:
        equal(one, other, **(tolerance or {"rtol": 0, "atol": 0}))
    except CheckFailed:
        return False
    return True


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
    calls: dict[str, str] = {}  # the last of each implementation, in words
    returned = None
    # Twice at grading: who rejects by the place in the order has little luck in both rounds.
    rounds = 1 if _wall is None else 2
    turns = [turn for _ in range(rounds) for turn in random.SystemRandom().sample(list({**right, **wrong}.items()), len(right) + len(wrong))]
    for name, implementation in turns:
        handed_out, take_back = _lend(implementation, functools.partial(calls.__setitem__, name))
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
        if (error := outcomes.get(name, [None])[0]) is not None:
            frames = _student_frames(error, sys._getframe(1).f_code.co_filename)
            place = f"; {calls.get(name, _NEVER)}{_line_of(frames[-1]) if frames else ''}"
            said = f": {shorten(str(error), 160)}" if str(error) else ""
            if not isinstance(error, AssertionError):
                fail(f"{what} stop with {type(error).__name__} on a correct implementation ({name}){said}{place}")
            fail(f"{what} reject a correct implementation ({name}){said}{place}", "a test must hold for every right answer, not for one way to write it")
    missed = [name for name in wrong if len(outcomes.get(name, ())) < rounds]
    share = 1 - len(missed) / len(wrong)
    if share == 0:
        ignored = "" if returned is None else "what they return is ignored: reject with `assert`"
        fail(f"{what} catch none of {len(wrong)} wrong implementations; the first that slips through: {missed[0]}; {calls.get(missed[0], _NEVER)}", ignored)
    _give_share(share)
    if missed:
        print(
            f"◐ {what} catch {len(wrong) - len(missed)} of {len(wrong)} bugs, with no false alarm. Still unseen: {'; '.join(missed)}."
        )


def apart(run: Callable[[list], list], arguments: list, what: str, hint: str = "") -> None:
    """Objects that are used in turn do beside each other what each does alone.

    It stands before other checks, which meet leftovers of objects made before.  An error is an outcome like any other here:
    what goes wrong alone is for the other checks to tell.

    Args:
        run: a scenario that makes an object from each of some arguments, uses all of them in turn, and returns for each
            what it did.
        arguments: two or more, which differ in all that an object may have to remember.
        what: what it returns for each, as the subject of a sentence ("the output of a layer").
    """

    def outcomes(some: list) -> list:
        try:
            return run(some)
        except (Unreadable, NotImplementedError):
            raise
        except Exception as error:
            return [_Raised(type(error).__name__)] * len(some)

    alone = [outcomes([one])[0] for one in arguments]
    places = "in the class body, a default argument or a global"
    for one, expected, seen in zip(arguments, alone, outcomes(arguments)):
        if not _same(seen, expected):
            again = outcomes([one])[0]
            chance = f"expected is what an earlier one did. Is something drawn at random, or does it stay behind {places}?"
            _same_outcome(again, expected, f"made and used once more, {what} {brief(one)}", hint or chance)
            where = f"expected is what it does alone. What an object knows lies in `self`, set in `__init__`, not {places}"
            _same_outcome(seen, expected, f"with another beside it that takes turns with it, {what} {brief(one)}", hint or where)


class _Raised(str):
    """The kind of an error, in the place of a result."""


def _same_outcome(seen: Any, expected: Any, what: str, hint: str) -> None:
    if _Raised in (type(seen), type(expected)) and not _same(seen, expected):
        said, wanted = (f"an error ({one})" if type(one) is _Raised else brief(one) for one in (seen, expected))
        fail(f"{what}: the result is {said}, expected {wanted}", hint)
    equal(seen, expected, f"{what}: the result", hint)


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
        fail(shorten(found[0], 300) + more, hint)


def _lend(function: Callable, note: Callable[[str], None]) -> tuple[Callable, Callable[[], None]]:
    """`function` under a neutral name, and what ends the loan; `note` gets each call in words."""
    lent = [function]

    def implementation(*args, **kwargs):
        if not lent:
            raise RuntimeError("this implementation belongs to another call of your tests")
        note(_call_words(args, kwargs))
        return lent[0](*args, **kwargs)

    return implementation, lent.clear


_NEVER = "they never called it"


def _call_words(args: tuple, kwargs: dict) -> str:
    said = [*map(brief, args), *(f"{name}={brief(value)}" for name, value in kwargs.items())]
    return f"their last call: ({', '.join(said)})"


class _same_random_state:
    """The same random state at each start, here and where the student's code runs; put back at the end (here)."""

    def __enter__(self):
        torch, numpy = loaded_torch(), sys.modules.get("numpy")
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
            loaded_torch().set_rng_state(tensor)


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


class swapped:
    """``with check.swapped(Linear=Noted):`` in a scenario: while it lasts the student's code finds `Noted` under the name `Linear`.

    So that one function of a cell is tried with a right class in the place of the student's own, which is tried by itself.
    """

    spaces: tuple[dict, ...] = ()  # in a candidate: of the student's cells, and of scenarios; in a notebook there is one

    def __init__(self, **values: Any):
        self._values = values
        self._spaces = swapped.spaces or (sys._getframe(1).f_globals,)

    def __enter__(self) -> None:
        self._before = [{name: space[name] for name in self._values} for space in self._spaces]
        for space in self._spaces:
            space.update(self._values)

    def __exit__(self, *_: object) -> None:
        for space, before in zip(self._spaces, self._before):
            space.update(before)


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
    if loaded_torch() is not None:
        loaded_torch().manual_seed(seed)

