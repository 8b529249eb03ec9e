"""Calls across the wall: both sides ask and answer with the same class.

A question is ``{"ask", "args", "kwargs", "grad", "no_grad", "fresh"}`` and, where the other side does not know them yet, ``"scenarios"``
(compiled code by name).  An answer is ``{"value", "changed"}`` (`changed`: what the call made of its
arguments, by position or name, where that differs), ``{"raised", "text", "where"}``, or ``{"type"}`` of a result that is not plain data.
Until the answer comes the other side may ask in its turn: for what it was handed as an argument.
"""

from __future__ import annotations

import base64
import builtins
import contextlib
import functools
import itertools
import linecache
import marshal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from judge.gradients import bridged, pullback, wants_gradient
from judge.wire import Gone, NotPlain, Raw, decode, encode, receive, send
from unit24 import leftovers
from unit24.check import Unreadable, reseed

STUDENT_CODE = ("<cell ", "<own cell ")  # how the file names of student code begin
TEXT_LIMIT = 2_000  # characters of an exception's message
PLAIN_DATA = "plain data (numbers, text, lists, dicts, tensors)"


class StandIn:
    """A function that lives on the other side of a line. `key`: its name there, or the number under which it was lent."""

    def __init__(self, line: Line, key: str | int):
        self._line, self._key = line, key
        self.__name__ = self.__qualname__ = key if type(key) is str else "implementation"

    def __call__(self, *args, **kwargs):
        return self._line.call(self._key, args, kwargs)

    def __copy__(self) -> StandIn:
        return self

    def __deepcopy__(self, memo: dict) -> StandIn:
        return self


StandIn.__module__, StandIn.__qualname__ = "builtins", "function"  # how messages of checks name its type
StandIn.__name__ = "function"


class Line:
    """One end of a conversation between the judge and a process that it does not trust.

    Args:
        sock: to the other end.
        names: what the other side may call by name.
        trusts: the other side is the judge: code that it sends is run, and what it did to its copy of an
            argument is done to the argument itself (a callback that works in place).
        scenarios: compiled code by name, which the other side gets with the next question.
        forgets: the other side keeps nothing from question to question.
    """

    def __init__(
        self,
        sock: socket.socket,
        names: dict[str, Any],
        trusts: bool = False,
        scenarios: dict[str, bytes] | None = None,
        forgets: bool = False,
    ):
        self.sock, self.names, self.trusts, self.forgets = sock, names, trusts, forgets
        self.scenarios = dict(scenarios or {})
        self.asked, self.fresh = 0, False  # questions until now; the other side is to take a new copy of files
        self.changed: dict[int | str, Any] = {}  # of the last call: arguments that the other side changed, by position or name
        self._lent: dict[int, Callable] = {}
        self._numbers = itertools.count()
        self._asking = threading.RLock()  # threads of the student's code may call what was lent

    # ---- asking

    def call(self, key: str | int, args: tuple, kwargs: dict) -> Any:
        """Have the other side call `key`.

        Raises:
            Gone: the other side has ended.
            NotPlain: an argument cannot cross: a fault of the tests.
            Unreadable: the result is not plain data.
            Exception: what the function raised, as the nearest built-in type, in the student's line.
        """
        if any(map(wants_gradient, (*args, *kwargs.values()))) and sys.modules["torch"].is_grad_enabled():
            return bridged(functools.partial(self._ask_with_graph, key), args, kwargs)
        return self.result(key, self.ask(key, args, kwargs), args, kwargs)

    def _ask_with_graph(self, key: str | int, args: tuple, kwargs: dict) -> tuple[Any, Callable | None]:
        reply = self.ask(key, args, kwargs, grad=True)
        number = reply[0].get("pullback")
        return self.result(key, reply, args, kwargs), StandIn(self, number) if type(number) is int else None

    def ask(self, key: str | int, args: tuple, kwargs: dict, grad: bool = False) -> tuple[dict, Raw]:
        """The other side's reply, not yet read."""
        raw: Raw = []
        question = {"ask": key, "args": encode(list(args), raw, self._mark), "kwargs": encode(kwargs, raw, self._mark)}
        if self.scenarios:
            question["scenarios"] = {name: base64.b64encode(code).decode() for name, code in self.scenarios.items()}
            self.scenarios = self.scenarios if self.forgets else {}
        torch = sys.modules.get("torch")
        self.asked += 1
        question["fresh"] = self.fresh
        question["grad"] = grad  # the backward pass will be asked for
        question["no_grad"] = not grad and torch is not None and not torch.is_grad_enabled()
        with self._asking:
            send(self.sock, question, raw)
            while True:
                said, data = receive(self.sock)
                if "ask" not in said:
                    return said, data
                self.answer(said, data)

    def result(self, key: str | int, reply: tuple[dict, Raw], args: tuple, kwargs: dict) -> Any:
        """What a reply says: the value, or the exception raised."""
        said, raw = reply
        name = key if type(key) is str else "implementation"
        error = None
        try:
            if "value" in said:
                changed = {place: decode(now, raw, self._found) for place, now in said["changed"]}
                given = {**dict(enumerate(args)), **kwargs}
                if not changed.keys() <= given.keys():
                    raise ValueError("not an argument")
                value = decode(said["value"], raw, self._found)
            elif "raised" in said:
                error = _rebuilt(said)
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, IndexError, OverflowError, MemoryError, NameError):
            raise Unreadable(f"`{name}` gave an answer that cannot be read.") from None
        if error is not None:
            raise error
        if "value" not in said:
            raise Unreadable(f"`{name}` returned something of type {str(said.get('type'))[:100]}, expected {PLAIN_DATA}.")
        self.changed = changed
        if self.trusts:
            for place, now in changed.items():
                _become(given[place], now)
        return value

    # ---- answering

    def serve(self) -> None:
        """Answer until nobody asks any more."""
        with contextlib.suppress(Gone):
            while True:
                self.answer(*receive(self.sock))

    def answer(self, said: dict, data: Raw) -> None:
        """Answer one question.

        Raises:
            Gone: the other side has ended.
        """
        raw: Raw = []
        try:
            for code in said.get("scenarios", {}).values() if self.trusts else ():
                exec(marshal.loads(base64.b64decode(code)), self.names)
            function = self._find(said["ask"])
            args, kwargs = decode(said["args"], data, self._found), decode(said["kwargs"], data, self._found)
            given = {**dict(enumerate(args)), **kwargs}
            before = {place: _picture(argument) for place, argument in given.items()}
            with _gradients(not said.get("no_grad")):
                value = function(*args, **kwargs)
            changed = {place: a for place, a in given.items() if before[place] is not None and before[place] != _picture(a)}
            reply = {
                "changed": [[place, encode(a, raw, self._mark)] for place, a in changed.items()],
                "value": encode(value, raw, self._mark),
            }
            if said.get("grad"):
                backward = pullback(value, [*args, *kwargs.values()])
                reply["pullback"] = backward and self._mark(backward)["function"]
        except Gone:
            raise
        except NotPlain as error:
            reply = {"type": str(error)[:TEXT_LIMIT]}
        except BaseException as error:
            reply = {"raised": [kind.__name__ for kind in type(error).__mro__], "text": _text(error), "where": where(error)}
        send(self.sock, reply, raw if "value" in reply else [])

    def _find(self, key: Any) -> Callable:
        found = self._lent.get(key) if type(key) is int else self.names.get(key)
        if found is None:
            raise NameError(f"name {key!r} is not defined")
        return found

    # ---- functions that are handed over

    def _mark(self, value: Any) -> dict | None:
        if type(value) is StandIn and value._line is self:
            return {"yours": value._key}
        if not callable(value) or isinstance(value, type) or _is_module(value):
            return None
        number = next(self._numbers)
        self._lent[number] = value
        return {"function": number}

    def count_loans(self) -> int:
        """A number above those of all that was handed over until now."""
        return next(self._numbers)

    def end_loans(self, since: int = 0) -> None:
        """What was handed over until now (from the number `since` on) cannot be called any more."""
        for number in [number for number in self._lent if number >= since]:
            del self._lent[number]

    def _found(self, kind: str, key: Any) -> Callable:
        if kind == "function" and type(key) is int:
            return StandIn(self, key)
        if kind == "yours" and type(key) in (int, str):
            return self._find(key)
        raise ValueError("not a mark")


class Wall:
    """What `unit24.check` asks for while tests run in a judge.

    Args:
        line: to the candidate.
        clean: to the processes that see its files and run none of its code.
    """

    def __init__(self, line: Line, clean: Line):
        self._line, self._clean, self._looked_at = line, clean, -1

    @property
    def changed(self) -> dict[int | str, Any]:
        return self._line.changed

    def changed_by(self, function: Callable) -> dict[int | str, Any]:
        """What the last call made of its arguments, if it was one of `function` on the other side."""
        return self._line.changed if type(function) is StandIn else {}

    def scenario(self, function: Callable, clean: bool) -> Callable:
        return functools.partial(self._look, function.__name__) if clean else StandIn(self._line, function.__name__)

    def _look(self, name: str, *args, **kwargs) -> Any:
        """A clean scenario. One right after another sees the same files: nothing can be exchanged between the two."""
        self._clean.fresh, self._looked_at = self._line.asked != self._looked_at, self._line.asked
        return self._clean.call(name, args, kwargs)

    def share(self, function: Callable) -> Callable:
        return function  # the other sides have its code under the same name

    def live(self, stand_in: StandIn) -> Callable:
        def make(*args, **kwargs):
            return Live(self._line.call(MAKE, (stand_in, list(args), kwargs), {}))

        return make

    def end_loans(self) -> None:
        self._line.end_loans()

    def reseed(self) -> None:
        self._line.call(RESEED, (), {})

    def begin(self, nested: bool) -> None:
        self._line.call(BEGIN, (nested,), {})

    def end(self, leaves: Iterable[str], failed: bool) -> list[leftovers.Finding]:
        """What the candidate says that it has left behind. It may lie: that is its right, as with all that is only reported."""
        try:
            return leftovers.read(self._line.call(END, (sorted(leaves), failed), {}))
        except Gone:
            if not failed:  # else there is something better to say
                raise
        except Exception:  # it answers with nonsense
            pass
        return []


class Live:
    """An object on the other side: its attributes are looked up there, its methods run there."""

    def __init__(self, look: Callable[[str], Any]):
        self.__dict__["_look"] = look

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._look(name)


# Names that no student code can have, for what the judge asks of every candidate.
MAKE, RESEED, REPORT, BEGIN, END = "\0make", "\0reseed", "\0report", "\0begin", "\0end"


def services(line: Line, report: Callable[[], str]) -> dict[str, Callable]:
    """What a candidate answers beside the exercise's functions."""
    watches, lent = leftovers.Watches(), []

    def make(cls, args, kwargs):
        instance = cls(*args, **kwargs)
        return lambda name: getattr(instance, name)

    def begin(nested):
        """A block of checks begins."""
        if not nested:
            leftovers.put_back_modes()
        watches.begin(nested)
        lent.append(line.count_loans())

    def end(leaves, failed):
        """It ends, and with it the objects that it made here."""
        line.end_loans(lent.pop())
        return watches.end(leaves, failed)

    return {MAKE: make, RESEED: reseed, REPORT: report, BEGIN: begin, END: end}


# --------------------------------------------------------------------------------------------------


def _is_module(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def _gradients(on: bool):
    """Gradients as the caller has them."""
    torch = sys.modules.get("torch")
    return contextlib.nullcontext() if on or torch is None else torch.no_grad()


def _picture(argument: Any) -> tuple[Any, Raw] | None:
    """What tells whether a call changed its argument; None for what is never compared."""
    raw: Raw = []
    try:
        return encode(argument, raw), raw
    except (NotPlain, RecursionError):
        return None


def _become(argument: Any, now: Any) -> bool:
    """Do to an argument what a call on the other side did to its copy; whether it could be done.

    What it holds is changed in place too, or left alone where it is as it was: a shallow copy of a list of lists sees
    what happens to the inner ones, and not that the outer one was turned round.
    """
    if type(argument) is not type(now):
        return False
    if type(argument) is list:
        argument[:] = _parts(list(enumerate(argument)), list(enumerate(now)))
    elif type(argument) is dict:
        parts = _parts(list(argument.items()), list(now.items()))
        values = dict(zip(now, parts))
        argument.clear()
        argument.update(values)
    elif type(argument) is set:
        argument.clear()
        argument.update(now)
    elif type(argument).__name__ in ("Tensor", "ndarray") and argument.shape == now.shape and argument.dtype == now.dtype:
        target = argument.detach() if hasattr(argument, "detach") else argument
        target[...] = now
    else:
        return False
    return True


def _parts(old: list[tuple[Any, Any]], new: list[tuple[Any, Any]]) -> list[Any]:
    """The values of `new`, (place, value) each, as objects of `old` where they are the same ones, wherever they stand now."""
    holds = [(place, value, _picture(value)) for place, value in old if type(value) in (list, dict, set) or hasattr(value, "shape")]
    if not holds:
        return [value for _, value in new]
    free = {place: (value, seen) for place, value, seen in holds}
    found: dict[Any, Any] = {}
    pictures = {place: _picture(value) for place, value in new}
    for same_place in (True, False):  # what did not change, first where it stood
        for place, _ in new if len(new) * len(free) < 1_000_000 or same_place else ():
            candidates = ([place] if place in free else []) if same_place else list(free)
            if place not in found and pictures[place] is not None:
                match = next((at for at in candidates if free[at][1] == pictures[place]), None)
                if match is not None:
                    found[place] = free.pop(match)[0]
    for place, value in new:  # then what was changed in its place
        if place not in found:
            found[place] = free.pop(place)[0] if place in free and _become(free[place][0], value) else value
    return [found[place] for place, _ in new]


def _text(error: BaseException) -> str:
    try:
        first = error.args[0] if len(error.args) == 1 else None
        return str.__str__(first if type(first) is str else str(error))[:TEXT_LIMIT]
    except BaseException:
        return ""


def where(error: BaseException) -> list:
    """[file, line, function] of the student's innermost line; empty if it is in none."""
    with contextlib.suppress(Exception):
        frames = [f for f in _frames(error) if f.filename.startswith(STUDENT_CODE)]
        return [frames[-1].filename, frames[-1].lineno, frames[-1].name] if frames else []
    return []


def _frames(error: BaseException) -> Iterator[traceback.FrameSummary]:
    yield from traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), lookup_lines=False)


def _rebuilt(said: dict) -> BaseException:
    """The other side's exception as the nearest built-in one, raised in the line where it was raised there."""
    text, place = str(said["text"])[:TEXT_LIMIT], said["where"]
    known = (getattr(builtins, str(kind), None) for kind in said["raised"])
    kind = next((k for k in known if isinstance(k, type) and issubclass(k, (Exception, SystemExit))), Exception)
    if issubclass(kind, (StopIteration, StopAsyncIteration)):  # would end a loop of the tests (as PEP 479)
        kind = RuntimeError
    try:
        error = kind(text) if text else kind()
    except TypeError:  # UnicodeDecodeError wants more than a text
        error = Exception(text)
    if not place:
        return error
    file, line, function = str(place[0]), int(place[1]), str(place[2])[:100]
    if file not in linecache.cache:
        return error
    line = min(max(line, 1), len(linecache.getlines(file)))
    code = compile("\n" * (line - 1) + "raise error", file, "exec").replace(co_name=function)
    try:
        exec(code, {"error": error})
    except BaseException as raised:
        return raised
    return error
