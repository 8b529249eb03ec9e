"""Run one candidate and its tests together in one process, so that only the tests decide what is reported.

The candidate's code shares this process, and it is Python: it can replace functions of libraries,
walk frames, search memory.  What stands against that:

* The functions here run as private copies (`private`) whose globals and builtins nobody else holds,
  and what they use they bind at import: a name replaced elsewhere does not reach them.
* Every message to the bench is signed, and the tests come enciphered, with a key that is only in
  local variables.  So candidate code that gets hold of the channel can neither read the tests nor
  send a verdict.
* A *watch* compares what tests rely on (every imported module and its classes) before and after.
* *Probes*, comparisons that must fail, are seen to fail before and after.
* An audit hook reports the ways to a frame or to foreign code at the moment they are tried.

What stays open is much (code that writes to memory by address, say): exercises are moved to a judge
of their own (``apart=true``), and when the last one is, this module goes.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import gc
import importlib
import linecache
import site
import sys
import sysconfig
import threading
import traceback
import warnings
from _thread import get_ident
from array import array
from builtins import __dict__ as _builtins
from collections.abc import Callable
from copy import deepcopy
from hashlib import blake2b, shake_256
from json import dumps
from marshal import dumps as marshalled
from marshal import loads
from operator import is_
from os import O_RDONLY, read, urandom, write
from os import close as close_fd
from os import open as open_fd
from os.path import abspath, realpath
from sys import _getframe, addaudithook
from types import BuiltinFunctionType, CodeType, FunctionType, MappingProxyType, MethodType, ModuleType

from course.parts import Exercise
from judge.protocol import Request
from judge.visible import Names, Words
from unit24 import check
from unit24.check import CheckFailed, NotAttempted

LINE_LIMIT, TEXT_LIMIT, REPORT_LIMIT = 400, 8_000, 100_000
_ROOTS = [path for name, path in sysconfig.get_paths().items() if "lib" in name] + site.getsitepackages()
LIBRARIES = tuple({f(path) + "/" for path in _ROOTS for f in (abspath, realpath)})
PACKAGE = realpath(__file__).rsplit("/", 2)[0] + "/unit24/"
_HERE = realpath(__file__).rsplit("/", 1)[0]
# File names of trusted code.
OURS = ("<tests ", "<reference ", "<setup>", "<lesson ", "<frozen ", f"{_HERE}/inprocess.py", PACKAGE)
TRUSTED = LIBRARIES + OURS
_BUILTINS = _builtins  # in a private copy: a copy


def prepare(namespace: dict, uses: list[str], known: dict | None = None) -> dict:
    """All that `judge` needs to know of the state before a candidate, for forks of this process.

    Args:
        namespace: the lesson's names.
        uses: those that the tests read; of their data copies are made, which no candidate sees.
        known: what this function returned earlier, to look only at what has changed since.
    """
    tame_libraries()
    own = _private()
    libraries = _libraries(namespace)
    probe(libraries)  # libraries import and set up things at their first call
    return {
        "judge": own["judge"],
        "namespace": namespace,
        "names": dict(namespace),
        "clean": pristine(namespace, uses),
        "libraries": libraries,
        "state": own["_state"](libraries),
        "watched": watch((known or {}).get("watched")),
    }


def tame_libraries() -> None:
    """What libraries do late, and to one another, once here: the watch on candidates would take it for a trick."""
    # Imported by deepspeed, MLflow and TRL, it takes `find_distributions` away from Python's own finder.
    with contextlib.suppress(ImportError):
        importlib.import_module("importlib_metadata")
    if "torch" in sys.modules:
        # The first torch.compile or torch.cond puts wrappers round functions of torch. It also has distributions look at
        # their arguments no more; that stays as in a student's notebook.
        importlib.import_module("torch._dynamo.eval_frame").TorchPatcher.patch()
        importlib.import_module("torch.distributions").Distribution.set_default_validate_args(True)
        trace = importlib.import_module("torch.export._trace")
        # torch.export replaces builtins.max, builtins.min and math.pow while it traces (for models that call them on
        # tensors) and puts them back.
        if hasattr(trace, "_override_builtin_ops"):
            trace._override_builtin_ops = contextlib.nullcontext


def pristine(namespace: dict, uses: list[str]) -> dict:
    """Copies of the data among the lesson's names that tests use, so that no candidate can change them.

    All are copied in one go: what refers to one another (a model and its optimizer) still does.
    """
    data = {name: namespace[name] for name in uses if name in namespace and not _is_code(namespace[name])}
    try:
        return deepcopy(data)
    except Exception:  # something in it cannot be copied: a lock, an open file
        return deepcopy({name: value for name, value in data.items() if _can_be_copied(value)})


def _is_code(value) -> bool:
    kinds = (ModuleType, FunctionType, BuiltinFunctionType, MethodType, type)
    return isinstance(value, kinds) or type(value).__module__.startswith("unit24.")


def _can_be_copied(value) -> bool:
    try:
        deepcopy(value)
        return True
    except Exception:
        return False


def _private() -> dict:
    """Copies of this module's functions, with globals and builtins that only they can reach."""
    own = dict(globals())
    own["__builtins__"] = own["_BUILTINS"] = dict(_builtins)
    for name, value in globals().items():
        if type(value) is FunctionType and value.__globals__ is globals():
            own[name] = FunctionType(value.__code__, own, name, value.__defaults__, value.__closure__)
    return own


def _libraries(namespace: dict) -> dict:
    """Of torch and NumPy those that the lesson has imported."""
    roots = {value.__name__.split(".")[0] for value in namespace.values() if type(value) is ModuleType}
    return {name: sys.modules[name] for name in ("torch", "numpy") if name in roots}


# --------------------------------------------------------------------------------------------------
# The channel: signed from here to the bench, enciphered from the bench to here


ACCUSATION = b"!" * 32  # in place of a signature


def framed(body: bytes) -> bytes:
    """`body` with its length before it."""
    return len(body).to_bytes(4, "big") + body


def seal(key: bytes, body: bytes) -> bytes:
    """`body` with its signature before it."""
    return blake2b(body, key=key, digest_size=32).digest() + body


def unseal(key: bytes, message: bytes) -> bytes | None:
    """The content of a sealed message, or None if the signature is not right."""
    signature, body = message[:32], message[32:]
    return body if blake2b(body, key=key, digest_size=32).digest() == signature else None


def cipher(key: bytes, text: bytes) -> bytes:
    """`text` enciphered, or deciphered. One text for each key."""
    stream = shake_256(b"tests" + key).digest(len(text))
    return (int.from_bytes(text, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(text), "big")


def tell(fd: int, key: bytes, *parts: str) -> None:
    text = "\0".join([part.replace("\0", "") for part in parts])
    _send(fd, seal(key, text.encode("utf-8", "backslashreplace")))


def accuse(fd: int, what: str) -> None:
    """Tell the bench that the candidate did something it must not. Needs no key: nobody gains by it."""
    _send(fd, ACCUSATION + what[:LINE_LIMIT].encode("utf-8", "backslashreplace"))


def _send(fd: int, body: bytes) -> None:
    data = framed(body)
    while data:
        data = data[write(fd, data) :]


def hear(fd: int) -> bytes | None:
    """One message without its length; None when the other side is gone."""
    data = b""
    while len(data) < 4:
        more = read(fd, 4 - len(data))
        if not more:
            return None
        data += more
    size, parts = int.from_bytes(data, "big"), []
    while size:
        more = read(fd, min(size, 1 << 20))
        if not more:
            return None
        parts.append(more)
        size -= len(more)
    return b"".join(parts)


# --------------------------------------------------------------------------------------------------
# One candidate


def judge(fd: int, cells: list, request: Request, ready: dict) -> None:
    """Run the candidate's cells, then the tests; tell the bench ``ran`` and ``verdict``, or accuse.

    Args:
        fd: the socket to the bench.
        cells: (file name, source) of the student's cells.
        ready: from `prepare`.
    """
    fields = vars(request)
    key = bytes.fromhex(fields.pop("key"))
    names, namespace, before = fields["names"], ready["namespace"], ready["names"]
    state, watched, libraries = ready["state"], ready["watched"], ready["libraries"]
    guard(fd)

    module = ModuleType("__main__")
    space = module.__dict__
    space.update(namespace)
    for name in names:
        space.pop(name, None)
    sys.modules["__main__"] = module  # so that classes of the candidate can be pickled
    failure = None
    for name, source in cells:
        failure = execute(name, source, space)
        if failure and not name.startswith("<own"):
            break
    found = settle(state) or changed(watched, namespace, before) or probe(libraries)
    if found:
        return accuse(fd, found)
    defined = all(name in space for name in names)
    tell(fd, key, "ran", "1" if defined else "", *(failure or ("", "", "")))

    message = hear(fd)
    if message is None:
        return None
    names = {name: space[name] for name in names if name in space}
    code = bound(loads(cipher(key, message)), {**before, **ready["clean"], **names})
    status, text, earned = run_tests(code)
    found = settle(state, after=True) or changed(watched, namespace, before) or probe(libraries)
    if found:
        return accuse(fd, found)
    return tell(fd, key, "verdict", status, text, earned, _report(space))


def execute(name: str, source: str, space: dict) -> tuple[str, str, str] | None:
    """Run one cell. Returns None, or what went wrong: ``(kind, text, line)``."""
    try:
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        exec(compile(source, name, "exec", dont_inherit=True), space)
        return None
    except SyntaxError as error:
        return "syntax", f"{error.msg}: {str(error.text or '').strip()}"[:LINE_LIMIT], str(error.lineno or "")
    except NotImplementedError as error:
        return "error" if error.args else "stub", f"NotImplementedError: {_words(error)}", _last_line(error, name)
    except (SystemExit, KeyboardInterrupt) as error:
        return "exit", type(error).__name__, _last_line(error, name)
    except MemoryError:
        return "memory", "MemoryError", ""
    except BaseException as error:
        said = _words(error)
        kind = "memory" if "can't allocate memory" in said else "error"
        return kind, f"{type(error).__name__}: {said}", _last_line(error, name)


CLEAN = "\0clean names"  # the constant of the tests' code in which they look up names


def bound(code: CodeType, values: dict) -> CodeType:
    """`code` with `values` (and the builtins) in the place of the constant `CLEAN`."""
    names = values if type(values) is MappingProxyType else MappingProxyType(Names({**_BUILTINS, **values}))
    constants = [
        bound(constant, names) if type(constant) is CodeType else names if constant == CLEAN else constant
        for constant in code.co_consts
    ]
    return code.replace(co_consts=tuple(constants))


def run_tests(code: CodeType) -> tuple[str, str, str]:
    """Run compiled tests: (status, message, points if they gave a number).

    The tests leave in ``__points__`` the value of their last expression.  A callback of theirs leads
    the candidate to this namespace, so it holds nothing of ours.
    """
    space = {"__name__": "__main__", "__builtins__": {**_BUILTINS}}
    words = Words()
    kept, sys.stdout = sys.stdout, words
    try:
        exec(code, space)
        value = space.get("__points__")
    except NotAttempted as failure:
        return "not attempted", _words(failure, TEXT_LIMIT), ""
    except CheckFailed as failure:
        said = _words(failure, TEXT_LIMIT)
        memory = "can't allocate memory" in said or "MemoryError" in said
        return "out of memory" if memory else "failed", said, ""
    except SystemExit:
        return "error", "your code called exit() or sys.exit(): it ends the process that should go on to the checks.", ""
    except MemoryError:
        return "out of memory", "your code used more memory than this exercise allows.", ""
    except BaseException as error:
        return "error", f"the tests stopped with {type(error).__name__}: {_words(error)}", ""
    finally:
        sys.stdout = kept
    said = [line for line in str(words.text).splitlines() if line.startswith(("✓", "◐"))]
    return (
        "scored" if type(value) in (int, float) else "passed",
        said[-1][:LINE_LIMIT] if said else "",
        repr(float(value)) if type(value) in (int, float) else "",
    )


def _words(error: BaseException, limit: int = LINE_LIMIT) -> str:
    """The text of an exception, which may be one of the candidate's own making."""
    try:
        said = str(error)
        return str.__str__(said)[:limit] if type(said) is str else ""
    except BaseException:
        return ""


def _last_line(error: BaseException, name: str) -> str:
    try:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
        return str(int(lines[-1])) if lines else ""
    except BaseException:
        return ""


def _report(space: dict) -> str:
    """What the candidate left in ``__report__`` (the audit's perturbations count there), as JSON."""
    try:
        text = dumps(space["__report__"]) if "__report__" in space else ""
        return text if type(text) is str and len(text) <= REPORT_LIMIT else ""
    except BaseException:
        return ""


# --------------------------------------------------------------------------------------------------
# What outlives a cell: hooks, modes, tracing


def _state(libraries: dict) -> dict:
    """What `settle` puts back, looked up while nothing is spoilt."""
    state: dict = {
        "sys": {
            name: getattr(sys, name, None)
            for name in ("stdin", "stdout", "stderr", "displayhook", "excepthook", "unraisablehook", "breakpointhook")
        },
        "finders": (sys.meta_path, list(sys.meta_path), sys.path_hooks, list(sys.path_hooks)),
        "trace": (sys.settrace, sys.setprofile, threading.settrace, threading.setprofile),
        "gc": (gc.callbacks, list(gc.callbacks), gc.set_debug, gc.enable),
        "off": [],  # C functions, called before any other function
        "dials": [],  # (read, put back, value)
        "stacks": [],  # (what, length, pop, length now)
        "tables": [],  # (what, dict of hooks, copy)
    }
    torch = libraries.get("torch")
    if torch is not None:
        core = torch._C
        state["off"].append((core._dynamo.eval_frame.set_eval_frame, None))
        for read_it, put in (
            (torch.get_default_dtype, core._set_default_dtype),
            (torch.is_grad_enabled, core._set_grad_enabled),
        ):
            state["dials"].append((read_it, put, read_it()))
        for what, length, pop in (
            ("a torch function mode", core._len_torch_function_stack, core._pop_torch_function_stack),
            ("a torch dispatch mode", core._len_torch_dispatch_stack, core._pop_torch_dispatch_stack),
        ):
            state["stacks"].append((what, length, pop, length()))
        for module in ("torch.nn.modules.module", "torch.optim.optimizer"):
            for name, table in vars(sys.modules[module]).items() if module in sys.modules else ():
                if name.startswith("_global_") and isinstance(table, dict):
                    state["tables"].append((f"{module}.{name}", table, dict(table)))
        state["operators"] = (core._dispatch_dump, {name: core._dispatch_dump(name) for name in OPERATORS})
    return state


OPERATORS = tuple(
    f"aten::{name}"
    for name in (
        "equal",
        "allclose",
        "isclose",
        "all",
        "any",
        "eq.Tensor",
        "ne.Tensor",
        "sub.Tensor",
        "abs",
        "max",
        "clone",
        "_to_copy",
    )
)


def settle(state: dict, after: bool = False) -> str:
    """Undo what the candidate left on for others to run into; say what cannot be an accident.

    Args:
        after: the tests have run: modes left on by the candidate's functions were on during them.
    """
    for switch, value in state["off"]:
        switch(value)
    for stop in state["trace"]:
        stop(None)
    vars(sys).update(state["sys"])
    callbacks, known, set_debug, enable = state["gc"]
    callbacks[:] = known
    set_debug(0)
    enable()
    meta_path, finders, path_hooks, hooks = state["finders"]
    sys.meta_path, sys.path_hooks = meta_path, path_hooks
    for places, old in ((meta_path, finders), (path_hooks, hooks)):
        for place in places:
            if not any(is_(place, known) for known in old) and not _made_by_library(place):
                return "an import hook was installed"
    for read_it, put, value in state["dials"]:
        if read_it() != value:
            put(value)
    for what, length, pop, value in state["stacks"]:
        if after and length() > value:
            return f"{what} was left on while the checks ran"
        while length() > value:
            pop()
    for what, table, old in state["tables"]:
        if after and len(table) != len(old):
            return f"a hook was left in {what} while the checks ran"
        table.clear()
        table.update(old)
    if "operators" in state:
        dump, known = state["operators"]
        for name, text in known.items():
            if dump(name) != text:
                return f"the operator {name} of torch was replaced"
    return ""


# --------------------------------------------------------------------------------------------------
# The watch

# In these, every value counts, and a change that was undone is seen where Python numbers the versions of a dict.
CORE = {
    "builtins", "cmath", "collections", "contextlib", "copy", "functools", "inspect", "itertools", "json", "math",
    "numpy", "numpy.linalg", "numpy.random", "numpy.testing", "operator", "random", "re", "statistics", "torch",
    "torch.Tensor", "torch.autograd", "torch.linalg", "torch.nn", "torch.nn.Module", "torch.nn.functional",
    "torch.nn.init", "torch.testing", "traceback", "types", "unit24.check",
}  # fmt: skip
STRICT = {"builtins", "math", "operator", "numpy", "torch.Tensor", "torch.nn.functional", "torch.testing", "unit24.check"}
# What only shows or reports; people set these freely.
SHOW = ("matplotlib", "tqdm", "IPython", "logging", "warnings", "sys", "threading", "rich", "pandas.plotting")
VERSIONED = sys.implementation.name == "cpython" and sys.version_info[:2] in ((3, 11), (3, 12)) and sys.maxsize > 2**32


def watch(known: dict | None = None) -> dict:
    """Everything that modules and their classes hold now.

    `known` is an earlier watch; only what changed since is looked at again.  The result is made for
    forks: `changed` compares one array of numbers and touches (so that the kernel need not copy it)
    only what differs.

    Returns:
        ``entries``: ``(where, dict, copy)``; and where Python numbers the versions of a dict,
        ``places`` (of the version numbers, in `memory`), ``versions`` and ``memory``.
    """
    old = {id(entry[1]): (entry, version) for entry, version in zip(known["entries"], known["versions"])} if known else {}
    memory = _memory() if VERSIONED else None
    spaces: dict[int, tuple[str, dict]] = {}
    for name, module in list(sys.modules.items()):
        space = getattr(module, "__dict__", None)
        if type(space) is not dict or name == "__main__" or name.split(".")[0] in ("judge", "grader", "ctypes", *SHOW):
            continue
        if not VERSIONED and name not in CORE:
            continue
        found = [(name, space)]
        for attribute, value in list(space.items()):
            if issubclass(type(value), type):
                inner = gc.get_referents(type.__dict__["__dict__"].__get__(value))
                if len(inner) == 1 and type(inner[0]) is dict:
                    found.append((f"{name}.{attribute}", inner[0]))
        for where, inside in found:
            if id(inside) not in spaces or where in CORE:  # a class has several names: the one that people know
                spaces[id(inside)] = where, inside
    entries, versions = [], array("Q")
    for place, (where, space) in spaces.items():
        version = memory[place // 8 + 3] if memory else 0
        entry, seen = old.get(place, (None, 0))
        fresh = entry is None or not memory or version != seen
        entries.append((where, space, dict(space)) if fresh else entry)
        versions.append(version)
    places = array("Q", [place // 8 + 3 for place in spaces])
    return {"entries": entries, "places": places, "versions": versions, "memory": memory}


def _memory() -> memoryview:
    """This process's memory as an array of 8-byte numbers.

    At ``id(d) + 24`` CPython 3.11 and 3.12 keep a number that a dict gets anew at every change
    (``ma_version_tag``, PEP 509).
    """
    return memoryview((ctypes.c_uint64 * (1 << 44)).from_address(0)).cast("B").cast("Q")


def changed(watched: dict, namespace: dict, before: dict) -> str:
    """What of the watched the candidate replaced, in words; the empty string if nothing."""
    for name, value in before.items():
        if callable(value) and namespace.get(name) is not value:
            return f"the lesson's own `{name}` was replaced"
    entries, memory = watched["entries"], watched["memory"]
    if memory:
        versions, places = watched["versions"], watched["places"]
        entries = [entries[i] for i in range(len(versions)) if memory[places[i]] != versions[i]]
    for where, space, copy in entries:
        core, undone = where in CORE, memory is not None and where in STRICT
        for name, old in copy.items():
            new = space.get(name, watched)
            if new is old:
                continue
            undone = False
            if _matters(old, core) and not _is_own_change(watched, new):
                return f"`{where}.{name}` was {'deleted' if new is watched else 'replaced'}"
        if undone and len(space) == len(copy):
            return f"`{where}` was changed and put back"
    return ""


def _matters(old, core: bool) -> bool:
    if core and not isinstance(old, (bool, dict, list, set, type(None))):
        return True
    return callable(old)


def _is_own_change(watched: dict, new) -> bool:
    """Whether a library changed its own entry, as some do when they are first used: new code of its own."""
    return _from_library(new) and not any(is_(new, value) for _, _, copy in watched["entries"] for value in copy.values())


def _from_library(value, depth: int = 4) -> bool:
    """Whether a function or class is made of library code alone, as far as one can see."""
    if depth == 0:
        return False
    if type(value) is BuiltinFunctionType:
        return value.__self__ is None or type(value.__self__) is ModuleType
    if type(value) is FunctionType:
        if not is_trusted(value.__code__.co_filename):
            return False
        for cell in value.__closure__ or ():
            try:
                inner = cell.cell_contents
            except ValueError:
                continue  # not filled yet
            if callable(inner) and not _from_library(inner, depth - 1):
                return False
        return True
    if not issubclass(type(value), type):
        return False
    kinds = {*type.mro(value), *type.mro(type(value))}
    methods = [item for kind in kinds for item in type.__dict__["__dict__"].__get__(kind).values()]
    return all(is_trusted(item.__code__.co_filename) for item in methods if type(item) is FunctionType)


def _made_by_library(place) -> bool:
    """Whether an entry of ``sys.meta_path`` or ``sys.path_hooks`` is a library's."""
    return _from_library(place if callable(place) else type(place))


def is_trusted(filename: str) -> bool:
    return filename.startswith(TRUSTED) and "/../" not in filename


# --------------------------------------------------------------------------------------------------
# Probes


def probe(libraries: dict) -> str:
    """Comparisons of what is different: each must say so. Returns the first that does not, in words."""
    for what, wrong in _probes(libraries):
        try:
            agreed = wrong()
        except BaseException:
            continue
        if agreed is not False:
            return f"{what} finds no difference where there is one"
    return ""


def _probes(libraries: dict) -> list:
    first, second = urandom(2)  # so that nothing can know a probe by its values
    a, b = 2 + first, 300 + second
    probes = [
        ("check.equal", lambda: check.equal(a, b)),
        ("check.equal", lambda: check.equal([a, b], [b, a])),
        ("check.true", lambda: check.true(a == b, "probe")),
        ("check.between", lambda: check.between(a, b, b + a)),
        ("check.shape", lambda: check.shape(a, (a,))),
        ("check.kind", lambda: check.kind(a, str)),
        ("check.raises", lambda: check.raises(ValueError, lambda: a, "probe")),
    ]
    torch, numpy = libraries.get("torch"), libraries.get("numpy")
    if numpy is not None:
        x, y = numpy.arange(a) * 0.5, numpy.arange(a) * 0.5 + 1
        probes += [
            ("check.equal", lambda: check.equal(x, y)),
            ("numpy.allclose", lambda: bool(numpy.allclose(x, y))),
            ("numpy.array_equal", lambda: bool(numpy.array_equal(x, y))),
            ("numpy.isclose", lambda: bool(numpy.isclose(x, y).any())),
            ("a comparison of arrays", lambda: bool((x == y).any())),
        ]
    if torch is not None:
        t, u = torch.arange(a) * 0.5, torch.arange(a) * 0.5 + 1
        probes += [
            ("check.equal", lambda: check.equal(t, u)),
            ("torch.allclose", lambda: bool(torch.allclose(t, u))),
            ("torch.equal", lambda: bool(torch.equal(t, u))),
            ("torch.isclose", lambda: bool(torch.isclose(t, u).any())),
            ("a comparison of tensors", lambda: bool((t == u).any())),
        ]
    return probes


# --------------------------------------------------------------------------------------------------
# The audit hook

FRAMES = {"tb_frame", "gi_frame", "cr_frame", "ag_frame"}
CODE = {"__code__", "__defaults__", "__kwdefaults__"}
NEVER = {  # event -> what it is, in words
    "code.__new__": "makes code objects by hand",
    "cpython.PyInterpreterState_New": "starts another interpreter",
    "gc.get_objects": "searches memory (gc.get_objects)",
    "gc.get_referents": "searches memory (gc.get_referents)",
    "gc.get_referrers": "searches memory (gc.get_referrers)",
    "marshal.load": "loads compiled code (marshal)",
    "marshal.loads": "loads compiled code (marshal)",
    "object.__getattr__": "reads the interpreter's frames",
    "object.__setattr__": "rewrites a function that is not its own",
    "sqlite3.load_extension": "loads compiled code",
    "sys._current_exceptions": "reads the interpreter's frames",
    "sys._current_frames": "reads the interpreter's frames",
    "sys._getframe": "reads the interpreter's frames",
    "sys.addaudithook": "installs an audit hook",
    "sys.monitoring.register_callback": "watches other code run (sys.monitoring)",
    "sys.setprofile": "watches other code run (sys.setprofile)",
    "sys.settrace": "watches other code run (sys.settrace)",
}
LOADING = {"compile", "ctypes.dlopen", "import", "open"}
CTYPES = {
    f"ctypes.{name}"
    for name in ("addressof", "call_function", "cdata", "cdata/buffer", "dlsym", "dlsym/handle", "string_at", "wstring_at")
}
SUSPECT = frozenset(NEVER) | LOADING | CTYPES
# Library functions that hand a frame to whoever calls them, and those that show code as it runs: (file, function).
GIVERS = {("inspect.py", name) for name in ("currentframe", "getinnerframes", "getouterframes", "stack", "trace")} | {
    ("traceback.py", "walk_stack"),
    ("traceback.py", "walk_tb"),
    ("base_tasks.py", "_task_get_stack"),
    ("__init__.py", "<lambda>"),
}
TRACERS = {("bdb.py", name) for name in ("runcall", "runctx", "runeval", "set_trace", "run")} | {
    ("threading.py", "settrace"), ("threading.py", "setprofile"), ("trace.py", "runfunc"), ("trace.py", "runctx"),
}  # fmt: skip
SYSTEM_LIBRARIES = ("/usr/", "/lib", "/opt/")
NATIVE_MODULES = {"_testcapi", "_testinternalcapi", "_xxsubinterpreters", "_interpreters", "_ctypes_test"}


def guard(fd: int) -> None:
    """From now on report (and refuse) the ways by which code gets at frames, memory or foreign code.

    The same events raised by a library for purposes of its own do not matter: what counts is who called.
    """
    busy: set = set()
    is_on, gc_on, gc_off = gc.isenabled, gc.enable, gc.disable

    def hook(event, arguments):
        if event not in SUSPECT:
            return
        who = get_ident()
        if who in busy:  # our own look at the frame, below
            return
        collecting = is_on()
        gc_off()  # no foreign finaliser runs while this thread is busy
        busy.add(who)
        try:
            what = suspicion(event, arguments, _getframe(1))
        finally:
            busy.discard(who)
            if collecting:
                gc_on()
        if what:
            accuse(fd, what)
            raise RuntimeError(what)

    addaudithook(hook)


def suspicion(event: str, arguments: tuple, frame) -> str:
    """What is wrong with an audit event, in words; the empty string if nothing."""
    if event == "object.__getattr__" and arguments[1] not in FRAMES:
        return ""
    if event == "object.__setattr__" and arguments[1] not in CODE:
        return ""
    near, last_frozen = [], ""  # the nearest callers that are not the import machinery: (trusted, (file, function))
    while frame is not None and len(near) < 3:
        name, function = frame.f_code.co_filename, frame.f_code.co_name
        if not near and name.startswith("<frozen "):
            last_frozen = function
        elif near or not (event.startswith("ctypes.") and name.endswith("/ctypes/__init__.py")):
            near.append((is_trusted(name), (name.rsplit("/", 1)[-1], function)))
        frame = frame.f_back
    direct = bool(near) and not near[0][0]
    if event == "open":
        path = arguments[0]
        if type(path) is str and path.endswith(".pyc") and not is_trusted(abspath(path)):
            return "your code loads compiled code (.pyc)"
        return ""
    if event == "compile":
        name = arguments[1]
        if type(name) is not str or not is_trusted(name) or all(trusted for trusted, _ in near):
            return ""
        return "" if _is_text_of(name, arguments[0]) else "your code compiles code under a file name that is not its own"
    if event == "import":
        if direct and arguments[0] in NATIVE_MODULES:
            return f"your code imports {arguments[0]}"
        path = arguments[1]
        return (
            "" if type(path) is not str or is_trusted(realpath(path)) else "your code loads compiled code (an extension module)"
        )
    if event == "ctypes.dlopen":
        path = arguments[0]
        foreign = type(path) is str and "/" in path and not is_trusted(realpath(path)) and not path.startswith(SYSTEM_LIBRARIES)
        return "your code loads a shared library (ctypes)" if foreign or direct else ""
    if event in CTYPES:
        return "your code reads or writes memory by address (ctypes)" if direct else ""
    if event.startswith("marshal."):
        mine = direct and last_frozen not in ("_find_and_load", "_handle_fromlist", "_gcd_import")
        return f"your code {NEVER[event]}" if mine else ""
    if event == "object.__setattr__":
        function = arguments[0]
        own = type(function) is FunctionType and not is_trusted(function.__code__.co_filename)
        return f"your code {NEVER[event]}" if direct and not own else ""
    return f"your code {NEVER[event]}" if direct or _asked(near) else ""


def _asked(near: list) -> bool:
    """Whether a library does it on behalf of the candidate: by a function that hands on what it gets."""
    who, callers = near[0][1] if near else None, [trusted for trusted, _ in near[1:]]
    return (who in GIVERS and not all(callers[:1])) or (who in TRACERS and not all(callers))


def _is_text_of(path: str, source) -> bool:
    """Whether `source` is what stands in the file `path` (then it is the library's own code)."""
    if not path.startswith("/") or not isinstance(source, (bytes, str)):
        return False
    try:
        fd, parts = open_fd(path, O_RDONLY), []
        while part := read(fd, 1 << 20):
            parts.append(part)
        close_fd(fd)
    except OSError:
        return False
    text = b"".join(parts)
    return source == text if isinstance(source, bytes) else source.encode("utf-8", "replace") == text


# --------------------------------------------------------------------------------------------------
# In the bench: the tests as code


def compiled_together(exercise: Exercise) -> bytes:
    """The tests as marshalled code, which leaves the value of a last expression in ``__points__``.

    Compiled here, so that their source is never in a candidate's process.  The tests become the body
    of a function, so that what they compute is in no namespace: a callback that they hand to the
    candidate leads to nothing.  Every other name is looked up in a constant, which
    `bound` fills in.
    """
    tree = ast.parse(exercise.tests.source)
    own = {name for node in ast.walk(tree) for name in _binds(node)}
    body = _CleanNames(own).visit(tree).body
    if body and isinstance(last := body[-1], ast.Expr):
        body[-1] = ast.copy_location(ast.Return(last.value), last)
    # What the tests bind may have a meaning before: `values = values * 2`.
    known = [f"if {name!r} in {CLEAN!r}: {name} = {CLEAN!r}[{name!r}]" for name in sorted(own)]
    wrapped = ast.parse("def tests():\n    pass\n__points__ = tests()")
    wrapped.body[0].body[:] = [*ast.parse("\n".join(known)).body, *body, ast.Pass()]
    with warnings.catch_warnings():  # the compiler remarks that a string is looked up by name
        warnings.simplefilter("ignore", SyntaxWarning)
        return marshalled(compile(ast.fix_missing_locations(wrapped), f"<tests {exercise.id}>", "exec", dont_inherit=True))


def _binds(node: ast.AST) -> list[str]:
    """Names that this one node binds, in whatever scope."""
    if isinstance(node, ast.Name):
        return [] if isinstance(node.ctx, ast.Load) else [node.id]
    if isinstance(node, ast.arg):
        return [node.arg]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [(alias.asname or alias.name).split(".")[0] for alias in node.names]
    if isinstance(node, (ast.Global, ast.Nonlocal)):
        return node.names
    name = getattr(node, "name", None) or getattr(node, "rest", None)  # def, class, except, match
    return [name] if isinstance(name, str) else []


class _CleanNames(ast.NodeTransformer):
    """Reads of names, other than those in `own`, become look-ups in the constant `CLEAN`."""

    def __init__(self, own: set[str]):
        self.own = own

    def visit_Name(self, node: ast.Name) -> ast.AST:
        # The compiler must see the word `super` to give a method the class that it needs.
        if isinstance(node.ctx, ast.Load) and node.id not in self.own and node.id != "super":
            return ast.copy_location(ast.Subscript(ast.Constant(CLEAN), ast.Constant(node.id), node.ctx), node)
        return node

    def visit_Global(self, node: ast.Global) -> ast.AST:
        return ast.copy_location(ast.Nonlocal(node.names), node)  # of the function that the tests become


def follow(hear: Callable, say: Callable[[bytes], object], key: str, tests: bytes) -> tuple[str, dict, dict]:
    """The bench's side of the talk with a candidate: ``(how it ended, failure of its cells, what the tests said)``.

    Args:
        hear: gives ``(how, message)``, as `judge.bench._Watch.wait`.
        say: sends bytes.
        key: of the sealed messages.
        tests: from `compiled_together`.
    """
    secret, failure, ran = bytes.fromhex(key), {}, False
    while True:
        how, data = hear()
        if how != "heard":
            return how, failure, {}
        if data.startswith(ACCUSATION):
            return "tampered", failure, {"message": data.removeprefix(ACCUSATION).decode(errors="replace")}
        kind, *parts = (unseal(secret, data) or b"").decode().split("\0")
        if kind == "ran" and not ran:
            ran, (defined, *said) = True, parts
            failure = dict(zip(("kind", "text", "line"), said, strict=True)) if said[0] else {}
            if not defined:
                return "undefined", failure, {}
            try:
                say(framed(cipher(secret, tests)))
            except OSError:
                return "gone", failure, {}
        elif kind == "verdict" and ran:
            return "verdict", failure, dict(zip(("status", "message", "earned", "report"), parts, strict=True))
        else:
            return "nonsense", failure, {}
