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
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

# What may be left: how it is said, and how it is put back.
KINDS = {
    "gradient mode": ("gradients are {}", "`with torch.no_grad():` (or `torch.enable_grad()`) puts them back at its end"),
    "inference mode": ("inference mode is {}", "`with torch.inference_mode():` ends it"),
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
    "logging": ("the root logger's level is {}", "set the level of a logger of your own: `logging.getLogger(name)`"),
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
        """What the block that ends has left behind. What it did is not held against the block around it.

        Args:
            leaves: kinds that it may leave.
            failed: it has ended by an error: then settings are put back, and nothing else is looked at.
        """
        watch = self._open.pop()
        found = list(watch.put_back(frozenset(leaves)))
        if not failed:
            found += watch.still_there(frozenset(leaves))
        if self._open and (found or failed):
            self._open[-1] = Watch()
        return sorted(found, key=lambda finding: list(KINDS).index(finding[0]))


def sentence(found: list[Finding]) -> str:
    """What was left, and how it is put back; of more than one the first in full."""
    (kind, detail), *more = found
    said, advice = KINDS[kind]
    also = f" (Also left: {', '.join(dict.fromkeys(kind for kind, _ in more))}.)" if more else ""
    return f"after your code {said.format(detail)}. To leave nothing behind: {advice}.{also}"


def read(said: Any) -> list[Finding]:
    """Findings as another process says them: kinds that there are, details short and printable.

    Raises:
        TypeError, ValueError: these are no findings.
    """
    return [(kind, "".join(filter(str.isprintable, str(detail)))[:DETAIL_LIMIT]) for kind, detail in said if kind in KINDS]


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
        Setting("logging", lambda: root.manager.disable, logging.disable, lambda level: f"disabled up to level {level}"),
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
        Setting("matmul precision", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
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
        self._alarm = _alarm_is_set()
        self._free = _free_descriptors()
        self._threads = set(threading.enumerate())
        self._processes = {process.pid for process in _processes()}

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
        found = self._alive(leaves)
        if found:
            gc.collect()  # what nobody can reach any more is closed
        end = time.monotonic() + PATIENCE
        while found and (found := self._alive(leaves)) and time.monotonic() < end:
            time.sleep(0.02)
        return found

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
                with contextlib.suppress(OSError, RuntimeError):  # the old folder is gone; flags that torch has frozen
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
        names = [signal.Signals(number).name for number in changed]
        if _alarm_is_set() and not self._alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
            names.append("an alarm is set")
        return ", ".join(names)

    def _path_changed(self) -> str:
        added = [entry for entry in sys.path if entry not in self._path and not _in_libraries(str(entry))]
        if added:
            sys.path[:] = [entry for entry in sys.path if entry not in added]
        return ", ".join(os.path.basename(str(entry)) or str(entry) for entry in added)

    def _streams_changed(self) -> str:
        changed = [n for n, before in self._streams.items() if (now := getattr(sys, n)) is not before and not _is_foreign(type(now))]
        for name in changed:
            setattr(sys, name, self._streams[name])
        return " and ".join(f"`sys.{name}`" for name in changed)

    def _alive(self, leaves: frozenset[str]) -> list[Finding]:
        found = [("threads", _thread_label(t)) for t in threading.enumerate() if t not in self._threads and _is_students(t)]
        found += [("processes", _process_label(p)) for p in _processes() if p.pid not in self._processes and _runs(p)]
        if taken := set(self._free).difference(_free_descriptors()):
            found += _open_things(taken)
        return [finding for finding in found if finding[0] not in leaves]


def _alarm_is_set() -> bool:
    return hasattr(signal, "getitimer") and signal.getitimer(signal.ITIMER_REAL)[0] > 0


# --------------------------------------------------------------------------------------------------
# Whose it is

_PATHS = sysconfig.get_paths()
_FOREIGN = tuple({os.path.realpath(_PATHS[name]) + os.sep for name in ("purelib", "platlib")})
_LIBRARIES = _FOREIGN + tuple({os.path.realpath(_PATHS[name]) + os.sep for name in ("stdlib", "platstdlib")})


def _in_libraries(path: str, folders: tuple[str, ...] = _LIBRARIES) -> bool:
    return (os.path.realpath(path) + os.sep).startswith(folders)


def _is_of_library(thing: Any) -> bool:
    """Whether a function is of Python's own or another library, as far as its code tells; False for all else."""
    file = _code_file(thing)
    return file is not None and (file.startswith("<frozen ") or _in_libraries(file))


def _code_file(function: Any) -> str | None:
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return getattr(code, "co_filename", None)


def _is_foreign(kind: type) -> bool:
    """Whether a class is of a library that is not Python's own."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return file is not None and _in_libraries(file, _FOREIGN)


def _is_students(thread: threading.Thread) -> bool:
    """Whether a new thread was started by a person's code, as far as its class and what it runs tell."""
    if type(thread) not in (threading.Thread, threading.Timer):
        return type(thread).__module__ == "__main__"  # libraries have classes of their own
    target = _target(thread)
    if not _is_of_library(target):
        return target is not None
    if target.__module__ == "concurrent.futures.thread":  # a pool, of a person or of a library: who holds it?
        pool = thread._args[0]()
        return pool is not None and any(_module_of(holder) == "__main__" for holder in gc.get_referrers(pool))
    if target.__module__.startswith(("asyncio", "multiprocessing")) or _in_libraries(_code_file(target), _FOREIGN):
        return False
    return thread.name.startswith("Thread-")  # libraries give names to threads that they keep


def _target(thread: threading.Thread) -> Any:
    return getattr(thread, "function" if type(thread) is threading.Timer else "_target", None)


def _module_of(holder: Any) -> Any:
    """The module of a namespace, of a class (by its dict), or of an object's class."""
    return holder.get("__module__", holder.get("__name__")) if type(holder) is dict else type(holder).__module__


def _thread_label(thread: threading.Thread) -> str:
    target = _target(thread)
    if getattr(target, "__module__", "") == "concurrent.futures.thread":
        return "one of a pool"
    return getattr(target, "__name__", type(thread).__name__)


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


def _open_things(numbers: set[int]) -> Iterator[Finding]:
    """Python's files (other than logs) and internet sockets with these descriptors. Memory maps and pipes are none."""
    things = _objects(io.FileIO, socket.socket, logging.StreamHandler)
    logs = {_descriptor(handler.stream) for handler in things if isinstance(handler, logging.StreamHandler)}
    for thing in things:
        number = _descriptor(thing)
        if number not in numbers or number in logs:
            continue
        if isinstance(thing, io.FileIO):
            path = thing.name if isinstance(thing.name, str) else ""
            if not path.startswith(SYSTEM_FILES) and not _in_libraries(path):
                yield "open files", os.path.basename(path) or "without a name"
        elif isinstance(thing, socket.socket) and thing.family in (socket.AF_INET, socket.AF_INET6):
            yield "open sockets", f"port {thing.getsockname()[1]}"


def _descriptor(file: Any) -> int:
    """Its number; -1 for what is closed, or has none."""
    try:
        return file.fileno()
    except Exception:
        return -1


def _objects(*kinds: type) -> list[Any]:
    """Living objects. Not by `isinstance`: some objects warn when they are asked for their class."""
    return [thing for thing in gc.get_objects() if issubclass(type(thing), kinds)]


def _processes() -> list[Any]:
    """Programs and processes that Python code started and has not seen the end of, those of libraries left out."""
    if not _has_children():
        return []
    programs = [p for p in _objects(subprocess.Popen) if p.returncode is None and not _runs_library(p)]
    multiprocessing = sys.modules.get("multiprocessing")
    started = multiprocessing.active_children() if multiprocessing else []
    return programs + [process for process in started if not _is_foreign(type(process))]


def _has_children() -> bool:
    if not hasattr(os, "waitid"):  # macOS, Windows: the look at every object would be made each time
        return False
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return True
    except ChildProcessError:
        return False


def _runs_library(program: subprocess.Popen) -> bool:
    """Whether it runs a file of an installed library: a helper that the library keeps."""
    words = [program.args] if isinstance(program.args, (str, bytes, os.PathLike)) else program.args
    return any(_in_libraries(os.fsdecode(word), _FOREIGN) for word in words)


def _runs(process: Any) -> bool:
    return process.poll() is None if isinstance(process, subprocess.Popen) else process.is_alive()


def _process_label(process: Any) -> str:
    if not isinstance(process, subprocess.Popen):
        return type(process).__name__
    words = process.args if isinstance(process.args, (list, tuple)) else os.fsdecode(process.args).split()
    return os.path.basename(os.fsdecode(words[0])) if words else ""
