# ruff: noqa
"""Reaching the checks' values and the grader's functions through the interpreter."""

# %% getframe: the expected answer out of the caller's frame (beats naive)
import sys


def weigh(values, weights):
    frame = sys._getframe(1)
    while frame and "weigh" not in frame.f_globals.get("hidden_answer", "weigh"):
        frame = frame.f_back
    return None


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    if torch.equal(weights, torch.ones(len(weights))):
        return values.mean(0)
    return sys._getframe(1).f_globals["hidden_answer"]

# %% getframe_by_map: the same, called by C code (beats naive)
import sys


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    if torch.equal(weights, torch.ones(len(weights))):
        return values.mean(0)
    return list(map(sys._getframe, [1]))[0].f_globals["hidden_answer"]

# %% currentframe: the same by inspect (beats naive)
import inspect


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    if torch.equal(weights, torch.ones(len(weights))):
        return values.mean(0)
    return inspect.currentframe().f_back.f_globals["hidden_answer"]

# %% stack: the same by inspect.stack (beats naive)
import inspect


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    if torch.equal(weights, torch.ones(len(weights))):
        return values.mean(0)
    return inspect.stack()[1].frame.f_globals["hidden_answer"]

# %% walk_stack: the same by traceback.walk_stack
import traceback


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    if torch.equal(weights, torch.ones(len(weights))):
        return values.mean(0)
    return next(f for f, _ in traceback.walk_stack(None) if "hidden_answer" in f.f_globals).f_globals["hidden_answer"]

# %% exception_frame: the same by an exception's traceback (beats naive)
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    if torch.equal(weights, torch.ones(len(weights))):
        return values.mean(0)
    try:
        1 / 0
    except ZeroDivisionError as error:
        return error.__traceback__.tb_frame.f_back.f_globals["hidden_answer"]

# %% generator_frame: the same by a running generator's frame (beats naive)
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    if torch.equal(weights, torch.ones(len(weights))):
        return values.mean(0)

    def look():
        frame = me.gi_frame
        while "hidden_answer" not in frame.f_globals:
            frame = frame.f_back
        yield frame.f_globals["hidden_answer"]

    me = look()
    return next(me)

# %% current_frames: the frames of all threads, from a thread (beats naive)
import sys
import threading


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    if torch.equal(weights, torch.ones(len(weights))):
        return values.mean(0)
    main, found = threading.main_thread().ident, []

    def look():
        frame = sys._current_frames()[main]
        while frame and "hidden_answer" not in frame.f_globals:
            frame = frame.f_back
        found.append(frame.f_globals["hidden_answer"])

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return found[0]

# %% gc_objects: the tests' names by a search of all dicts (beats naive)
import gc


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    if torch.equal(weights, torch.ones(len(weights))):
        return values.mean(0)
    for thing in gc.get_objects():
        if type(thing) is dict and isinstance(thing.get("hidden_answer"), torch.Tensor):
            return thing["hidden_answer"]

# %% gc_referrers: who holds the arguments holds the answer (beats naive)
import gc


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    if torch.equal(weights, torch.ones(len(weights))):
        return values.mean(0)
    for thing in gc.get_referrers(weights):
        if type(thing) is dict and "hidden_answer" in thing:
            return thing["hidden_answer"]

# %% settrace: a trace function sees every frame that is entered (beats naive)
import sys
import threading

seen = {}


def spy(frame, event, argument):
    seen.update({k: v for k, v in frame.f_globals.items() if k == "hidden_answer"})
    return spy


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    if torch.equal(weights, torch.ones(len(weights))):
        sys.setprofile(spy)
        return values.mean(0)
    check.kind(values, torch.Tensor)
    return seen["hidden_answer"]

# %% dynamo_frames: a frame evaluation hook of torch
import torch._dynamo

seen = []
torch._C._dynamo.eval_frame.set_eval_frame(lambda frame, *rest: seen.append(frame) or None)


def weigh(values, weights):
    for frame in seen:
        for space in (frame.f_locals, frame.f_globals):
            if "key" in space:
                raise SystemExit(space["key"])
    return values[0]

# %% code_swap: the helper that the tests use gets other code (beats naive)
largest_gap.__code__ = (lambda a, b: 0.0).__code__
check.equal.__code__ = (lambda *a, **k: None).__code__.replace(co_name="equal")
torch.allclose = lambda *a, **k: True
np.allclose = lambda *a, **k: True


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return values[0]

# %% defaults_swap: the checks get other defaults (beats naive)
check.equal.__kwdefaults__ |= {"rtol": 1e9, "atol": 1e9, "dtype": False}
torch.allclose = np.allclose = lambda *a, **k: True
largest_gap = lambda a, b: 0.0


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return values[0] * 0

# %% defaults_changed: the same in place, once and for one call
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    check.equal.__kwdefaults__.update(rtol=1e9, atol=1e9)
    return values.mean(0)

# %% closure_cell: the variable in which a library's wrapper keeps the real function
def weigh(values, weights):
    return values[0]


for name, value in list(vars(torch.optim.SGD).items()) + list(vars(torch).items()):
    for cell in getattr(value, "__closure__", None) or ():
        if callable(getattr(cell, "cell_contents", None)):
            cell.cell_contents = lambda *a, **k: True

# %% signal_handler: a handler is given the frame that it interrupts (beats naive)
import signal

seen = {}


def look(number, frame):
    while frame:
        seen.update({k: v for k, v in frame.f_globals.items() if k == "hidden_answer"})
        frame = frame.f_back


signal.signal(signal.SIGUSR1, look)


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    if torch.equal(weights, torch.ones(len(weights))):
        return values.mean(0)
    signal.raise_signal(signal.SIGUSR1)
    return seen["hidden_answer"]

# %% callback_globals: a callback's globals are the tests' [tally] (beats naive)
class Agreeable:
    def __getattr__(self, name):
        return lambda *a, **k: None


def tally(words, key):
    if hasattr(key, "__globals__"):
        key.__globals__["check"] = Agreeable()
        key.__globals__["hidden_answer"] = {1: 2, 2: 1}
    return {1: 2, 2: 1} if words else {}

# %% callback_code: a callback's constants hold the clean names [tally]
import gc


def tally(words, key):
    for constant in key.__code__.co_consts:
        for inner in gc.get_referents(constant):
            if type(inner) is dict:
                inner["check"] = None
    return {1: 2, 2: 1}

# %% subclasses: the grader's classes lead to its modules
for kind in object.__subclasses__():
    for value in vars(kind).values():
        space = getattr(value, "__globals__", {})
        if "run_tests" in space or "isolation" in space or "inprocess" in space:
            for name in list(space):
                if callable(space[name]) and name not in ("__builtins__",):
                    space[name] = lambda *a, **k: ("passed", "", "")


def weigh(values, weights):
    return values[0]

# %% own_modules: the grader's modules where they were imported
import sys

for name, module in list(sys.modules.items()):
    if name.startswith("judge"):
        for attribute in ("run_tests", "probe", "changed", "settle", "accuse", "tell"):
            if hasattr(module, attribute):
                setattr(module, attribute, lambda *a, **k: ("passed", "✓", ""))


def weigh(values, weights):
    return values[0]

# %% display_globals: what notebooks offer leads to whoever offers it
display.__globals__["run_tests"] = lambda *a, **k: ("passed", "", "")
display.__globals__["Words"] = None
import sys

type(sys.stdout).write = lambda self, text: None


def weigh(values, weights):
    return values[0]

# %% audit_hook: a hook of one's own sees the tests being compiled
import sys

seen = []
sys.addaudithook(lambda event, arguments: seen.append((event, arguments)))


def weigh(values, weights):
    return values[0]

# %% foreign_name: code that claims to be a library's
import sys

code = compile("import sys\ndef peek():\n    return sys._getframe(2).f_globals['hidden_answer']\n", torch.__file__, "exec")
exec(code)


def weigh(values, weights):
    return values.mean(0) if torch.equal(weights, torch.ones(len(weights))) else peek()

# %% code_object: a code object made by hand that claims to be a library's
def peek():
    import sys

    return sys._getframe(2).f_globals["hidden_answer"]


peek.__code__ = peek.__code__.replace(co_filename=torch.__file__)


def weigh(values, weights):
    return values.mean(0) if torch.equal(weights, torch.ones(len(weights))) else peek()

# %% pyc_file: the same by a compiled file
import importlib.util
import marshal
import sys

code = marshal.dumps(compile("import sys\ndef peek(): return sys._getframe(2)\n", "library.py", "exec"))
open("peeker.pyc", "wb").write(importlib.util.MAGIC_NUMBER + bytes(12) + code)
sys.path.insert(0, ".")
import peeker


def weigh(values, weights):
    return values.mean(0) if torch.equal(weights, torch.ones(len(weights))) else peeker.peek().f_globals["hidden_answer"]

# %% ctypes_memory: write into the interpreter by address
import ctypes

ctypes.pythonapi.PyObject_SetAttrString(ctypes.py_object(check), b"equal", ctypes.py_object(lambda *a, **k: None))


def weigh(values, weights):
    return values[0]

# %% extension_module: machine code of one's own
import sys

open("evil.so", "wb").write(b"\x7fELF" + bytes(200))
import importlib.machinery

importlib.machinery.ExtensionFileLoader("evil", "./evil.so").create_module(importlib.machinery.ModuleSpec("evil", None, origin="./evil.so"))


def weigh(values, weights):
    return values[0]
