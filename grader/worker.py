"""The process that holds a lesson's reference state and forks one child for each candidate.

Started by `grader.bench` as ``python -m grader.worker FD`` with one Unix socket, it obeys these
messages (JSON with a 4-byte length, some with file descriptors):

=========  ====================================================================================
confine    give up access to files, before anything starts threads (where there is no fork)
run        execute reference source in the lesson's namespace
hold       fork; the child serves the socket sent along: the lesson's state at this point, kept
judge      fork a child that runs one candidate and talks on the socket sent along
become     be that child without a fork, for components that do not survive one
kill       kill a candidate with everything in its session
=========  ====================================================================================

A closed socket ends the process and everything below it.  Hidden tests are never in this
process: the bench hands them to a candidate's own socket after the candidate's code has run.
"""

from __future__ import annotations

import ast
import gc
import json
import linecache
import os
import selectors
import signal
import socket
import struct
import sys
import tempfile
import time
import traceback
import types
from pathlib import Path

from grader import isolation

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


def receive(sock: socket.socket, max_fds: int = 0, limit: int = MESSAGE_LIMIT) -> tuple[dict | None, list[int]]:
    """Next message and its descriptors; ``(None, [])`` when the other side is gone.

    Raises:
        ValueError: what arrived is not a message of ours.
        TimeoutError: the socket has a timeout and it passed.
    """
    head, fds, _, _ = socket.recv_fds(sock, 4, max_fds) if max_fds else (sock.recv(4), [], 0, None)
    while 0 < len(head) < 4:
        more = sock.recv(4 - len(head))
        if not more:
            return None, []
        head += more
    if not head:
        return None, []
    (size,) = struct.unpack("!I", head)
    if size > limit:
        raise ValueError(f"a message of {size} bytes")
    parts = bytearray()
    while len(parts) < size:
        more = sock.recv(min(1 << 20, size - len(parts)))
        if not more:
            return None, []
        parts += more
    message = json.loads(parts)
    if not isinstance(message, dict):
        raise ValueError("a message that is not an object")
    return message, list(fds)


# --------------------------------------------------------------------------------------------------
# The reference state


class Holder:
    """Serves one control socket: runs reference cells, forks holders and candidates."""

    def __init__(self, control: socket.socket, namespace: dict):
        self.control, self.namespace = control, namespace
        self.children: dict[int, tuple[str, socket.socket]] = {}  # pid -> (id, status socket)
        self.holders: set[int] = set()

    def serve(self) -> None:
        """Obey messages until the control socket closes."""
        woken, waker = socket.socketpair()
        woken.setblocking(False)
        waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        _become_subreaper()
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
                message, fds = receive(self.control, max_fds=2)
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
            gc.collect()
            gc.freeze()
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
                channel = socket.socket(fileno=fds[0])
                run_child(channel, fds[0], self.namespace, message)
            os.close(fds[0])
            self.children[pid] = (message["id"], socket.socket(fileno=fds[1]))
            send(self.children[pid][1], {"pid": pid})
        elif op == "become":  # no fork: this process is used up by one candidate
            run_child(socket.socket(fileno=fds[0]), fds[0], self.namespace, message)
        elif op == "confine":
            send(self.control, {"ok": isolation.confine_files(message)})
        elif op == "kill":
            for pid, (name, _) in self.children.items():
                if name == message["id"]:
                    _kill_session(pid)
        return False

    def _run(self, message: dict) -> dict:
        try:
            remember_source(message["name"], message["source"])
            exec(compile(message["source"], message["name"], "exec"), self.namespace)
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


def _become_subreaper() -> None:
    """Orphans of candidates become our children, so that none outlives us (Linux only)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


# --------------------------------------------------------------------------------------------------
# One candidate


def run_child(channel: socket.socket, fd: int, namespace: dict, request: dict) -> None:
    """The life of a forked candidate. Never returns."""
    try:
        if os.getpid() != os.getsid(0):
            os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(fd, 3)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.closerange(4, 4096)
        channel.detach()
        judge(socket.socket(fileno=3), namespace, request)
    except BaseException:
        pass
    finally:
        os._exit(0)


def judge(channel: socket.socket, namespace: dict, request: dict) -> None:
    """Run one candidate and its tests; report ``ran`` and ``verdict`` on `channel`."""
    confine(request)
    reseed()
    started = time.process_time()
    module = types.ModuleType("__main__")
    module.__dict__.update(namespace)
    names = request["names"]
    for name in names:
        module.__dict__.pop(name, None)
    sys.modules["__main__"] = module  # so that classes of the candidate can be pickled
    failure = None
    for name, source in request["cells"]:
        failure = execute(name, source, module.__dict__)
        if failure and not name.startswith("<own"):
            break
    send(channel, {"event": "ran", "failure": failure, "defined": all(n in module.__dict__ for n in names)})

    message, _ = receive(channel)
    if message is None:
        return
    tests = dict(namespace)
    tests.update((name, module.__dict__[name]) for name in names if name in module.__dict__)
    verdict = run_tests(message["name"], message["source"], tests)
    verdict.update(
        event="verdict", nonce=message["nonce"], cpu=time.process_time() - started, report=module.__dict__.get("__report__")
    )
    send(channel, verdict)


def execute(name: str, source: str, namespace: dict) -> dict | None:
    """Run one cell. Returns None, or what went wrong as ``{kind, text, line}``."""
    try:
        remember_source(name, source)
        exec(compile(source, name, "exec"), namespace)
        return None
    except SyntaxError as error:
        return {"kind": "syntax", "text": f"{error.msg}: {(error.text or '').strip()}", "line": error.lineno}
    except NotImplementedError as error:
        return {
            "kind": "stub" if not error.args else "error",
            "text": f"NotImplementedError: {error}",
            "line": _last_line(error, name),
        }
    except (SystemExit, KeyboardInterrupt) as error:
        return {"kind": "exit", "text": type(error).__name__, "line": _last_line(error, name)}
    except MemoryError:
        return {"kind": "memory", "text": "MemoryError", "line": None}
    except BaseException as error:
        kind = "memory" if "can't allocate memory" in str(error) else "error"
        return {"kind": kind, "text": f"{type(error).__name__}: {str(error)[:400]}", "line": _last_line(error, name)}


def run_tests(name: str, source: str, namespace: dict) -> dict:
    """Run a tests cell: ``{status, share, message}``; share is of the exercise's points.

    The value of a last expression that is a number (`unit24.check.points`) is partial credit,
    as in nbgrader.
    """
    from unit24.check import CheckFailed, NotAttempted

    said = _Words()
    kept, sys.stdout = sys.stdout, said
    try:
        remember_source(name, source)
        tree = ast.parse(source, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), namespace)
        value = eval(compile(ast.Expression(last.value), name, "eval"), namespace) if last else None
    except NotAttempted as failure:
        return {"status": "not attempted", "message": str(failure), "earned": 0.0}
    except CheckFailed as failure:
        status = "out of memory" if "can't allocate memory" in str(failure) or "MemoryError" in str(failure) else "failed"
        return {"status": status, "message": str(failure), "earned": 0.0}
    except SystemExit:
        return {
            "status": "error",
            "message": "your code called exit() or sys.exit(): it ends the process that should go on to the checks.",
            "earned": 0.0,
        }
    except MemoryError:
        return {"status": "out of memory", "message": "your code used more memory than this exercise allows.", "earned": 0.0}
    except BaseException as error:
        return {"status": "error", "message": f"the tests stopped with {type(error).__name__}: {str(error)[:400]}", "earned": 0.0}
    finally:
        sys.stdout = kept
    if type(value) in (int, float):
        return {"status": "scored", "message": said.last(), "earned": float(value)}
    return {"status": "passed", "message": said.last(), "earned": None}


class _Words:
    """A stdout that keeps the last kilobytes of what tests print."""

    def __init__(self):
        self.text = ""

    def write(self, text: str) -> int:
        self.text = (self.text + text)[-4000:]
        return len(text)

    def flush(self) -> None:
        pass

    def last(self) -> str:
        lines = [line for line in self.text.splitlines() if line.startswith(("✓", "◐"))]
        return lines[-1] if lines else ""


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


def remember_source(name: str, source: str) -> None:
    """Let tracebacks and `inspect` show the lines of a cell."""
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)


def _last_line(error: BaseException, name: str) -> int | None:
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == name]
    return lines[-1] if lines else None


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    import unit24.check  # noqa: F401  the clean copy that every test uses

    module = types.ModuleType("__main__")
    module.__dict__["display"] = lambda *objects, **options: None  # notebooks have it, plain Python does not
    sys.modules["__main__"] = module
    isolation.prepare()
    Holder(control, module.__dict__).serve()


if __name__ == "__main__":
    main()
