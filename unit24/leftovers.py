"""What code leaves behind in its process: modes, settings, environment, open files, threads, programs.

`check.exercise` looks before its checks and after them.  Only what the student's calls can have done is named: what
libraries do on their own (import others, start a thread of theirs, set variables of theirs) is nobody's fault, and
where the two cannot be told apart nothing is said.  What is cheap to put back is put back.

A finding is ``(kind, detail)``: a key of `KINDS`, and a few words.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import io
import logging
import os
import signal
import site
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CellType, FunctionType
from typing import Any

# What may be left: how it is said, and how it is put back.
KINDS = {
    "inference mode": ("inference mode is {}", "`with torch.inference_mode():` ends it"),
    "gradient mode": ("gradients are {}", "`with torch.no_grad():` (or `torch.enable_grad()`) puts them back at its end"),
    "anomaly mode": ("autograd's anomaly mode is {}", "`with torch.autograd.detect_anomaly():` ends it"),
    "default dtype": ("the default dtype is {}", "give `dtype=` to what makes a tensor, or put the old one back in a `finally`"),
    "default device": ("the default device is {}", "give `device=` to what makes a tensor, or use `with torch.device(...):`"),
    "autocast": ("autocast is {}", "`with torch.autocast(...):` ends it"),
    "deterministic mode": ("deterministic algorithms are {}", "put back what `torch.are_deterministic_algorithms_enabled()` said before"),
    "cudnn": ("`torch.backends.cudnn` is left with {}", "`with torch.backends.cudnn.flags(...):` puts it back"),
    "number of threads": ("torch's number of threads is {}", "put back what `torch.get_num_threads()` said before"),
    "matmul precision": ("the precision of float32 products is {}", "put back what `torch.get_float32_matmul_precision()` said before"),
    "warnings filters": ("warnings filters are changed: {}", "`with warnings.catch_warnings():` puts them back"),
    "environment": ("environment variables are changed: {}", "put the old values back in a `finally`"),
    "working folder": ("the working folder is another one{}", "use paths instead, or go back in a `finally`"),
    "signal handlers": ("signals are handled in another way: {}", "put back what `signal.signal` returned"),
    "import path": ("`sys.path` is longer: {}", "take out what you put in, in a `finally`"),
    "standard output": ("{} is another one", "`with contextlib.redirect_stdout(...):` (or `redirect_stderr`) puts it back"),
    "exception hook": ("`sys.excepthook` is another one{}", "put the old one back in a `finally`"),
    "logging": ("the root logger has {}", "set the level of a logger of your own: `logging.getLogger(name)`"),
    "open files": ("a file is still open: {}", "open it in a `with` block, or close it"),
    "open sockets": ("a socket is still open: {}", "open it in a `with` block, or close it (a server: shut it down)"),
    "threads": ("a thread still runs: {}", "let it end, and `join()` it (a pool: use a `with` block)"),
    "processes": ("a process that was started still runs: {}", "end it, and `wait()` for it (or `join()` it)"),
}
DETAIL_LIMIT = 80  # characters
PATIENCE = 1.0  # seconds that threads and processes have to end: some are just about to

Finding = tuple[str, str]


def put_back_modes() -> None:
    """Gradients on, default dtype float32, default device none: what a cell left switched must not decide on its tests."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


class Watches:
    """What was there before each of the blocks that are running, one inside the other."""

    def __init__(self) -> None:
        self._open: list[Watch] = []

    def begin(self, nested: bool) -> None:
        """Look, and remember. Around the outermost block there is none, whatever was interrupted before."""
        if not nested:
            self._open.clear()
        self._open.append(Watch())

    def end(self, leaves: Iterable[str], failed: bool) -> list[Finding]:
        """What the block that ends has left behind, in the order of `KINDS`. It is not held against the block around it.

        Args:
            leaves: kinds that it may leave.
            failed: it has ended by an error: then settings are put back, and nothing else is looked at.
        """
        watch, leaves = self._open.pop(), frozenset(leaves)
        found = list(watch.put_back(leaves))
        if not failed:
            found += watch.still_there(leaves)
        if self._open and (found or failed or leaves):
            self._open[-1] = Watch()
        return read(sorted(found, key=lambda finding: list(KINDS).index(finding[0])))


def sentence(found: list[Finding]) -> str:
    """What was left, and how it is put back; of more than one the first in full."""
    kind, detail = found[0]
    said, advice = KINDS[kind]
    others = dict.fromkeys(other for other, _ in found if other != kind)
    also = f" (Also left: {', '.join(others)}.)" if others else ""
    return f"after your code {said.format(detail)}. To leave nothing behind: {advice}.{also}"


def read(said: Any) -> list[Finding]:
    """Findings, which another process may have made up: of kinds that there are, with details short and printable.

    Raises:
        TypeError, ValueError: these are no findings.
    """
    return [(kind, "".join(filter(str.isprintable, detail))[:DETAIL_LIMIT]) for kind, detail in said[: 2 * len(KINDS)] if kind in KINDS]


def known(leaves: Iterable[str]) -> frozenset[str]:
    """`leaves`, each of which is a kind.

    Raises:
        ValueError: one is not.
    """
    if isinstance(leaves, str) or not set(leaves) <= set(KINDS):
        raise ValueError(f"check.exercise: leaves={leaves!r} must be a tuple of some of: {', '.join(KINDS)}")
    return frozenset(leaves)


# --------------------------------------------------------------------------------------------------
# Settings that one call reads and one call sets


@dataclass(frozen=True)
class Setting:
    kind: str
    read: Callable[[], Any]
    put_back: Callable[[Any], Any] | None = None
    show: Callable[[Any], str] = str
    set_by_imports: bool = False  # then a change counts only where nothing was imported


def _on(value: bool | tuple) -> str:
    return "on" if (value[0] if isinstance(value, tuple) else value) else "off"


def _name(value: Any) -> str:
    return str(value).removeprefix("torch.")


@functools.cache
def _settings(torch: Any) -> tuple[Setting, ...]:
    """What is read: of the process, and of torch where it is imported."""
    root = logging.getLogger()
    general = (
        Setting("working folder", _folder, os.chdir, lambda folder: ""),
        Setting("exception hook", lambda: sys.excepthook, lambda hook: setattr(sys, "excepthook", hook), lambda hook: ""),
        Setting("logging", lambda: root.level, root.setLevel, lambda level: f"level {logging.getLevelName(level)}", set_by_imports=True),
        Setting("logging", lambda: root.manager.disable, logging.disable, lambda level: f"all disabled up to level {level}"),
    )
    if torch is None:
        return general

    def autocast(device: str) -> Setting:
        def put_back(value: tuple) -> None:
            torch.set_autocast_enabled(device, value[0])
            torch.set_autocast_dtype(device, value[1])

        return Setting(
            "autocast",
            lambda: (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)),
            put_back,
            lambda value: f"{_on(value)} for {device} with {_name(value[1])}",
        )

    def cudnn(name: str) -> Setting:
        flags = torch.backends.cudnn
        return Setting("cudnn", lambda: getattr(flags, name), lambda value: setattr(flags, name, value), lambda value: f"{name}={value}")

    def precision() -> str:
        try:
            return torch.get_float32_matmul_precision()
        except RuntimeError:  # said in the other one of two ways, which some versions do not translate
            return "as given for each device"

    return general + (
        Setting("gradient mode", torch.is_grad_enabled, torch.set_grad_enabled, _on),
        Setting("inference mode", torch.is_inference_mode_enabled, None, _on),
        Setting("anomaly mode", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly, _on),
        Setting("default dtype", torch.get_default_dtype, torch.set_default_dtype, _name),
        Setting("default device", torch.get_default_device, lambda d: torch.set_default_device(None if d.type == "cpu" else d)),
        autocast("cpu"),
        autocast("cuda"),
        Setting(
            "deterministic mode",
            lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
            lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
            _on,
        ),
        cudnn("deterministic"),
        cudnn("benchmark"),
        Setting("number of threads", torch.get_num_threads, torch.set_num_threads),
        Setting("matmul precision", precision, torch.set_float32_matmul_precision),
    )


def _folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed
        return ""


# --------------------------------------------------------------------------------------------------
# One look, and the comparison with it

SIGNALS = [getattr(signal, f"SIG{name}") for name in "ALRM CHLD HUP INT PIPE TERM USR1 USR2".split() if hasattr(signal, f"SIG{name}")]
# How variables begin that libraries set when they are first used, other than by the library's own name.
LIBRARIES_SET = (
    "COLUMNS", "CUBLAS", "CUDA", "FSDP_", "GLOO_", "GROUP_", "HF_", "HIP_", "KMP_", "LD_", "LINES", "LOCAL_", "MASTER_", "MKL_", "MPL",
    "NCCL_", "NODE_RANK", "NVIDIA_", "OMP_", "OPENBLAS_", "ORT_", "PL_", "PYTEST_", "PYTORCH", "QT_", "RANK", "ROLE_", "TEARDOWN_", "TF",
    "TPU_", "WORLD_", "XLA_",
)  # fmt: skip


class Watch:
    """What was there at one moment."""

    def __init__(self) -> None:
        self._modules = len(sys.modules)
        self._settings = [(setting, setting.read()) for setting in _settings(sys.modules.get("torch"))]
        self._filters = list(warnings.filters)
        self._environment = dict(os.environ)
        self._path = list(sys.path)
        self._streams = {name: getattr(sys, name) for name in ("stdout", "stderr")}
        self._handlers = {number: signal.getsignal(number) for number in SIGNALS}
        self._free = _free_descriptors()
        self._threads = set(threading.enumerate())
        self._children = _children()

    def put_back(self, leaves: frozenset[str]) -> Iterator[Finding]:
        """Settings, variables and the like that are not as they were; they are again."""
        yield from self._settings_changed(leaves)
        for kind, changes in (
            ("warnings filters", self._filters_changed),
            ("environment", self._environment_changed),
            ("signal handlers", self._handlers_changed),
            ("import path", self._path_changed),
            ("standard output", self._streams_changed),
        ):
            if kind not in leaves and (detail := changes()):
                yield kind, detail

    def still_there(self, leaves: frozenset[str]) -> list[Finding]:
        """Files, sockets, threads and processes that are new and do not end."""
        if not self._suspects(leaves):
            return []
        gc.collect()  # what nobody can reach any more is closed
        suspects, end = self._suspects(leaves), time.monotonic() + PATIENCE
        while any(s.kind in ("threads", "processes") for s in suspects) and time.monotonic() < end:
            time.sleep(0.02)
            suspects = [s for s in suspects if s.lives()]
        return [(s.kind, s.label) for s in suspects]

    # ---- settings, variables, lists: each says what is changed (nothing where nothing is), and puts it back

    @property
    def _imported(self) -> bool:
        """Whether modules were imported since."""
        return len(sys.modules) != self._modules

    def _settings_changed(self, leaves: frozenset[str]) -> Iterator[Finding]:
        for setting, before in self._settings:
            now = setting.read()
            if now == before or setting.kind in leaves or (setting.set_by_imports and self._imported) or _is_of_library(now):
                continue
            shown = setting.show(now)
            yield setting.kind, f"{shown} (before: {setting.show(before)})" if shown else ""
            if setting.put_back is not None:
                with contextlib.suppress(OSError, RuntimeError, ValueError):  # a folder that is gone, flags that torch has frozen
                    setting.put_back(before)

    def _filters_changed(self) -> str:
        before, now = self._filters, list(warnings.filters)
        # Imported libraries add filters for one text or one class of warnings; one for every warning is a person's.
        added = [f for f in now if f not in before and (not self._imported or f[1:4] == (None, Warning, None))]
        removed = [] if self._imported else [f for f in before if f not in now]
        if not added and not removed:
            return ""
        warnings.filters[:] = [f for f in now if f not in before and f not in added] + before
        with warnings.catch_warnings():  # what was decided about warnings under those filters is forgotten
            pass
        return f"{added[0][0]} {added[0][2].__name__}" if added else "some are gone"

    def _environment_changed(self) -> str:
        before, now = self._environment, dict(os.environ)
        if now == before or self._imported:
            return ""
        libraries = {name.partition(".")[0].upper() for name in sys.modules} - {name.upper() for name in sys.stdlib_module_names}
        theirs = LIBRARIES_SET + tuple(name for name in libraries if len(name) > 2)
        changed = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name) and not name.startswith(theirs)]
        for name in changed:
            if name in before:
                os.environ[name] = before[name]
            else:
                del os.environ[name]
        return ", ".join(changed)

    def _handlers_changed(self) -> str:
        changed = [n for n, before in self._handlers.items() if (now := signal.getsignal(n)) is not before and not _is_of_library(now)]
        for number in changed:
            with contextlib.suppress(OSError, TypeError, ValueError):  # not from this thread; one that Python did not set
                signal.signal(number, self._handlers[number])
        return ", ".join(signal.Signals(number).name for number in changed)

    def _path_changed(self) -> str:
        added = [entry for entry in sys.path if entry not in self._path and not _in_libraries(str(entry))]
        if added:
            sys.path[:] = [entry for entry in sys.path if entry not in added]
        return ", ".join(os.path.basename(str(entry)) or str(entry) for entry in added)

    def _streams_changed(self) -> str:
        changed = [n for n, before in self._streams.items() if (now := getattr(sys, n)) is not before and not _is_foreign(type(now).__module__)]
        for name in changed:
            setattr(sys, name, self._streams[name])
        return " and ".join(f"`sys.{name}`" for name in changed)

    # ---- what lives on

    def _suspects(self, leaves: frozenset[str]) -> list[Suspect]:
        """New threads; and if there are new children or descriptors, the Python objects behind them."""
        found = [
            Suspect("threads", _thread_label(thread), thread.is_alive)
            for thread in threading.enumerate()
            if thread not in self._threads and _is_students(thread)
        ]
        if children := _children() - self._children:
            found += _processes(children)
        if descriptors := set(self._free).difference(_free_descriptors()):
            found += _open_things(descriptors)
        return [suspect for suspect in found if suspect.kind not in leaves]


@dataclass(frozen=True)
class Suspect:
    """Something new that lives on."""

    kind: str
    label: str
    lives: Callable[[], bool]


# --------------------------------------------------------------------------------------------------
# Whose it is

_PATHS = sysconfig.get_paths()


def _folders(*paths: str) -> tuple[str, ...]:
    return tuple({os.path.realpath(path) + os.sep for path in paths})


_FOREIGN = _folders(_PATHS["purelib"], _PATHS["platlib"], *site.getsitepackages(), site.getusersitepackages(), os.path.dirname(__file__))
_LIBRARIES = _FOREIGN + _folders(_PATHS["stdlib"], _PATHS["platstdlib"])


def _in_libraries(path: str, folders: tuple[str, ...] = _LIBRARIES) -> bool:
    return (os.path.realpath(path) + os.sep).startswith(folders)


def _is_foreign(module: str) -> bool:
    """Whether a module is of a library that is not Python's own."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and _in_libraries(file, _FOREIGN)


def _is_of_library(thing: Any) -> bool:
    """Whether a function is of Python's own or another library, as far as its code tells; False for all else."""
    file = _code_file(thing)
    return file is not None and (file.startswith("<frozen ") or _in_libraries(file))


def _code_file(function: Any) -> str | None:
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return getattr(code, "co_filename", None)


POOLS = "concurrent.futures.thread"
CONTAINERS = (CellType, dict, list, set)


def _is_students(thread: threading.Thread) -> bool:
    """Whether a new thread was started by a person's code, as far as its class and what it runs tell."""
    if type(thread) not in (threading.Thread, threading.Timer):
        return type(thread).__module__ == "__main__"  # libraries have classes of their own
    target = _target(thread)
    module = str(getattr(target, "__module__", None) or type(target).__module__)
    if target is None or _is_foreign(module) or module.startswith(("asyncio.", "multiprocessing.")):
        return False
    if module == POOLS:  # of a person, or of a library: who holds it?
        pool = getattr(thread, "_args", [lambda: None])[0]()
        return pool is not None and _is_held_by_main(pool)
    return not _is_of_library(target) or thread.name.startswith("Thread-")  # libraries name the threads that they keep


def _target(thread: threading.Thread) -> Any:
    return getattr(thread, "function" if type(thread) is threading.Timer else "_target", None)


def _is_held_by_main(thing: Any, depth: int = 2) -> bool:
    """Whether a name, function, class or object of the notebook holds `thing`, itself or in a container."""
    for holder in gc.get_referrers(thing):
        if type(holder) is dict:
            module = holder.get("__module__", holder.get("__name__"))  # of a class, of a module
        else:
            module = holder.__module__ if type(holder) is FunctionType else type(holder).__module__
        if type(module) is str and module == "__main__":
            return True
        if depth > 1 and type(holder) in CONTAINERS and _is_held_by_main(holder, depth - 1):
            return True
    return False


def _thread_label(thread: threading.Thread) -> str:
    target = _target(thread)
    return "one of a pool" if getattr(target, "__module__", "") == POOLS else getattr(target, "__name__", type(thread).__name__)


# --------------------------------------------------------------------------------------------------
# Files, sockets and programs: cheap signs first, then the Python objects behind them

WATCHED_DESCRIPTORS = 16  # what is opened gets the lowest free number, so what stays open shows there
SYSTEM_FILES = ("/dev/", "/proc/", "/sys/")


def _free_descriptors() -> list[int]:
    """The lowest numbers that the next files would get."""
    free: list[int] = []
    with contextlib.suppress(OSError):  # none is left
        free.append(os.open(os.devnull, os.O_RDONLY))
        while len(free) < WATCHED_DESCRIPTORS:
            free.append(os.dup(free[0]))
    for number in free:
        os.close(number)
    return free


def _open_things(descriptors: set[int]) -> Iterator[Suspect]:
    """Python's files (other than logs) and internet sockets with these descriptors. Memory maps and pipes are none."""
    things = _objects(io.FileIO, socket.socket, logging.StreamHandler)
    logs = {_descriptor(getattr(thing, "stream", None)) for thing in things if isinstance(thing, logging.StreamHandler)}
    for thing in things:
        number = _descriptor(thing)
        if number not in descriptors or number in logs:
            continue
        lives = functools.partial(lambda thing: _descriptor(thing) >= 0, thing)
        with contextlib.suppress(OSError):  # closed just now
            if isinstance(thing, io.FileIO):
                path = thing.name if isinstance(thing.name, str) else ""
                if not path.startswith(SYSTEM_FILES) and not _in_libraries(path):
                    yield Suspect("open files", os.path.basename(path) or "without a name", lives)
            elif thing.family in (socket.AF_INET, socket.AF_INET6):
                yield Suspect("open sockets", f"port {thing.getsockname()[1]}", lives)


def _descriptor(file: Any) -> int:
    """Its number; -1 for what is closed, or has none."""
    try:
        return file.fileno()
    except Exception:
        return -1


def _objects(*kinds: type) -> list[Any]:
    """Living objects. Not by `isinstance`: some objects warn when they are asked for their class."""
    return [thing for thing in gc.get_objects() if issubclass(type(thing), kinds)]


def _children() -> set[int]:
    """Ids of this process's children, dead ones that nobody waited for included."""
    if not hasattr(os, "waitid"):  # Windows, macOS
        return set()
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return set()
    try:
        return {int(word) for task in Path("/proc/self/task").iterdir() for word in (task / "children").read_text().split()}
    except OSError:  # may not be read
        return {process.pid for process in _started()}


def _processes(children: set[int]) -> Iterator[Suspect]:
    """Those of the processes that live, and that Python code started on its own account and not as a library's helper."""
    for process in _started():
        if process.pid not in children:
            continue
        if isinstance(process, subprocess.Popen):
            words = process.args if isinstance(process.args, (list, tuple)) else os.fsdecode(process.args).split()
            words, lives = [os.fsdecode(word) for word in words], functools.partial(lambda p: p.poll() is None, process)
            if lives() and not any(_in_libraries(word, _FOREIGN) for word in words):
                yield Suspect("processes", os.path.basename(words[0]), lives)
        elif not _is_foreign(type(process).__module__) and process.is_alive():
            yield Suspect("processes", type(process).__name__, process.is_alive)


def _started() -> list[Any]:
    """Programs (`subprocess`) and processes (`multiprocessing`) whose end was not seen yet."""
    multiprocessing = sys.modules.get("multiprocessing")
    programs = [program for program in _objects(subprocess.Popen) if getattr(program, "returncode", 0) is None]
    return programs + (multiprocessing.active_children() if multiprocessing else [])
