"""The process that holds a lesson's reference state and forks one child for each candidate.

Started by `judge.bench` as ``python -m judge.worker FD`` with one Unix socket, it obeys these
messages (JSON with a 4-byte length, some with file descriptors):

=========  ====================================================================================
confine    give up access to files, before anything starts threads (where there is no fork)
run        execute reference source in the lesson's namespace
hold       fork; the child serves the socket sent along: the lesson's state at this point, kept
judge      fork a child that runs one candidate (or a plain exercise's tests) and talks on the sockets sent along
become     be that child without a fork, for components that do not survive one
kill       kill a candidate with everything in its session
=========  ====================================================================================

A closed socket ends the process and everything below it.  Hidden tests are never in this
process: the bench hands them to a candidate's own socket after the candidate's code has run.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import importlib
import json
import linecache
import os
import selectors
import signal
import socket
import struct
import sys
import tempfile
import traceback
import types
from pathlib import Path

from judge import honest, isolation
from judge.visible import display

SEED = 24
MESSAGE_LIMIT = 64 << 20


# --------------------------------------------------------------------------------------------------
# Messages


def send(sock: socket.socket, message: dict, fds: tuple[int, ...] = ()) -> None:
    data = json.dumps(message).encode()
    head = struct.pack("!I", len(data))
    if fds:
        socket.send_fds(sock, [head], list(fds))
        sock.sendall(data)
    else:
        sock.sendall(head + data)


def receive(sock: socket.socket, max_fds: int = 0) -> tuple[dict | None, list[int]]:
    """Next message and its descriptors; ``(None, [])`` when the other side is gone.

    Raises:
        ValueError: what arrived is not a message of ours.
        TimeoutError: the socket has a timeout and it passed.
    """
    head, fds, _, _ = socket.recv_fds(sock, 4, max_fds) if max_fds else (b"", [], 0, None)
    if max_fds and not head:
        return None, []
    data = receive_bytes(sock, head=head)
    if data is None:
        return None, []
    message = json.loads(data)
    if not isinstance(message, dict):
        raise ValueError("a message that is not an object")
    return message, list(fds)


def receive_bytes(sock: socket.socket, limit: int = MESSAGE_LIMIT, head: bytes = b"") -> bytes | None:
    """Next message as it came; None when the other side is gone. `head` is what of it was read already.

    Raises:
        ValueError: it has more than `limit` bytes.
        TimeoutError: the socket has a timeout and it passed.
    """
    head = _read(sock, 4, head)
    if head is None:
        return None
    size = int.from_bytes(head, "big")
    if size > limit:
        raise ValueError(f"a message of {size} bytes")
    return _read(sock, size)


def _read(sock: socket.socket, size: int, start: bytes = b"") -> bytes | None:
    data = bytearray(start)
    while len(data) < size:
        more = sock.recv(min(1 << 20, size - len(data)))
        if not more:
            return None
        data += more
    return bytes(data)


# --------------------------------------------------------------------------------------------------
# The reference state


class Holder:
    """Serves one control socket: runs reference cells, forks holders and candidates."""

    def __init__(self, control: socket.socket, namespace: dict):
        self.control, self.namespace = control, namespace
        self.children: dict[int, tuple[str, socket.socket]] = {}  # pid -> (id, status socket)
        self.holders: set[int] = set()
        self.ready: dict | None = None  # from honest.prepare

    def serve(self) -> None:
        """Obey messages until the control socket closes."""
        woken, waker = socket.socketpair()
        woken.setblocking(False)
        waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        become_subreaper()
        selector = selectors.DefaultSelector()
        selector.register(self.control, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is woken:
                    try:
                        woken.recv(4096)
                    except BlockingIOError:
                        pass
                    self._reap()
                    continue
                message, fds = receive(self.control, max_fds=3)
                if message is None:
                    self._end()
                    return
                if self._obey(message, fds):  # True in a forked holder: start over on its own socket
                    selector.close()
                    woken.close()
                    waker.close()
                    return self.serve()

    def _obey(self, message: dict, fds: list[int]) -> bool:
        op = message["op"]
        if op == "run":
            send(self.control, self._run(message))
        elif op == "hold":
            _settle()
            first = self.ready is None
            self.ready = honest.prepare(self.namespace, pristine(self.namespace, message["uses"]), self.ready)
            gc.collect()
            gc.freeze()
            if first:  # later, each would cost memory: what has been written to since is the holder's own
                _use_huge_pages()
            pid = os.fork()
            if pid == 0:
                self.control.close()
                self.control = socket.socket(fileno=fds[0])
                self.children, self.holders = {}, set()
                return True
            self.holders.add(pid)
            os.close(fds[0])
        elif op == "judge":
            pid = os.fork()
            if pid == 0:
                self._become(message, fds[0], *fds[2:])
            for fd in (fds[0], *fds[2:]):
                os.close(fd)
            self.children[pid] = (message["id"], socket.socket(fileno=fds[1]))
            send(self.children[pid][1], {"pid": pid})
        elif op == "become":  # no fork: this process is used up by one candidate
            self.ready = honest.prepare(self.namespace, pristine(self.namespace, message["uses"]))
            self._become(message, fds[0])
        elif op == "confine":
            send(self.control, {"ok": isolation.confine_files(message)})
        elif op == "kill":
            for pid, (name, _) in self.children.items():
                if name == message["id"]:
                    _kill_session(pid)
        return False

    def _become(self, request: dict, fd: int, calls: int | None = None) -> None:
        """The life of a candidate, or of the tests of a plain one, which this process is from now on. Never returns."""
        try:
            if os.getpid() != os.getsid(0):
                os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            kept = [os.dup(fd), os.dup(fd if calls is None else calls)]  # out of the way of 3 and 4
            for number, one in enumerate(kept, start=3):
                os.dup2(one, number)
            null = os.open(os.devnull, os.O_RDWR)
            for standard in (0, 1, 2):
                os.dup2(null, standard)
            os.closerange(4 if calls is None else 5, 4096)
            confine(request)
            reseed()
            self.ready[request["role"]](3, request, self.ready)
        except BaseException:
            if os.environ.get("UNIT24_DEBUG"):
                traceback.print_exc()
        finally:
            os._exit(0)

    def _run(self, message: dict) -> dict:
        try:
            linecache.cache[message["name"]] = (
                len(message["source"]),
                None,
                message["source"].splitlines(keepends=True),
                message["name"],
            )
            exec(compile(message["source"], message["name"], "exec", dont_inherit=True), self.namespace)
            return {"ok": True}
        except BaseException as error:
            lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == message["name"]]
            return {"ok": False, "error": f"{type(error).__name__}: {error}", "line": lines[-1] if lines else 1}

    def _reap(self) -> None:
        """Collect every dead child; what is not ours was left behind by a candidate and is killed."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid not in self.children:
                continue
            _, status_socket = self.children.pop(pid)
            _kill_session(pid)
            self._sweep()
            try:
                send(
                    status_socket,
                    {
                        "exit": os.waitstatus_to_exitcode(status),
                        "cpu": usage.ru_utime + usage.ru_stime,
                        "peak_mb": usage.ru_maxrss / 1024,
                    },
                )
            except OSError:
                pass
            status_socket.close()

    def _sweep(self) -> None:
        """Kill what candidates left behind: orphans come to us, and ours are only candidates and holders."""
        for pid in _children():
            if pid not in self.children and pid not in self.holders:
                _kill_session(pid)

    def _end(self) -> None:
        for pid in self.children:
            _kill_session(pid)
        self._sweep()
        os._exit(0)


def _kill_session(leader: int) -> None:
    """Kill a candidate's process group, and by session whatever left the group (Linux)."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except OSError:
        pass
    try:
        os.kill(leader, signal.SIGKILL)
    except OSError:
        pass


def _children() -> list[int]:
    """Process ids of our children (Linux; elsewhere none)."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def _use_huge_pages() -> None:
    """Have the kernel put this process's memory into pages of 2 MB (Linux 6.1), so that a fork copies 512 times fewer entries.

    With torch in memory that halves the time of a fork and of its end. Where it is not possible nothing changes.
    """
    if sys.platform != "linux":
        return
    import ctypes

    size, collapse = 2 << 20, 25  # MADV_COLLAPSE
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    with open("/proc/self/maps") as maps:
        lines = [line.split() for line in maps]
    for words in lines:
        if words[1] == "rw-p" and (len(words) == 5 or words[5] == "[heap]"):
            start, end = (int(word, 16) for word in words[0].split("-"))
            for place in range(-(-start // size) * size, end - size + 1, size):
                libc.madvise(place, size, collapse)


def become_subreaper() -> None:
    """Orphans of candidates become our children, so that none outlives us (Linux only)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


# --------------------------------------------------------------------------------------------------
# Before a candidate's first line


def confine(request: dict) -> None:
    """Give up everything that a candidate does not need, before its first line runs."""
    scratch = request["scratch"]
    os.chdir(scratch)
    cleaned = isolation.clean_environment(dict(os.environ), scratch)
    os.environ.clear()
    os.environ.update(cleaned)
    tempfile.tempdir = None  # found anew, in the scratch folder
    environment = sys.modules["unit24.env"].current if "unit24.env" in sys.modules else None
    if environment is not None:  # the lesson's own folders are for reading only
        vars(environment).update(cache=Path(scratch), storage=Path(scratch))
    if request["isolate"]:
        isolation.enter(request, files=not request.get("confined"))
    else:
        isolation.set_limits(request["seconds"], request["memory_mb"])


def reseed() -> None:
    """Every candidate starts from the same random state."""
    import random

    random.seed(SEED)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(SEED)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(SEED)


def _settle() -> None:
    """What libraries do late, and to one another, once here: the watch on candidates would take it for a trick."""
    # Imported by deepspeed, MLflow and TRL, it takes `find_distributions` away from Python's own finder.
    with contextlib.suppress(ImportError):
        importlib.import_module("importlib_metadata")
    if "torch" in sys.modules:
        _settle_torch()


def _settle_torch() -> None:
    importlib.import_module("torch._dynamo")  # imported by the first optimizer made: about a second
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
        return copy.deepcopy(data)
    except Exception:  # something in it cannot be copied: a lock, an open file
        return copy.deepcopy({name: value for name, value in data.items() if _can_be_copied(value)})


def _is_code(value) -> bool:
    kinds = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, type)
    return isinstance(value, kinds) or type(value).__module__.startswith("unit24.")


def _can_be_copied(value) -> bool:
    try:
        copy.deepcopy(value)
        return True
    except Exception:
        return False


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    module = types.ModuleType("__main__")
    module.__dict__["display"] = display
    sys.modules["__main__"] = module
    isolation.prepare()
    Holder(control, module.__dict__).serve()


if __name__ == "__main__":
    main()
