"""The process that holds a lesson's reference state and forks what judges one answer.

Started by `judge.bench` as ``python -m judge.holder FD`` with one Unix socket; what it obeys stands in
`judge.protocol`.  It gets compiled code.  The text of the lesson's visible cells is known to it, as to every
student; the text of solutions only while a library looks it up; tests never.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import importlib
import linecache
import marshal
import os
import pdb
import selectors
import signal
import socket
import sys
import traceback
import types

from judge import isolation, sides
from judge.notebook import display, get_ipython
from judge.protocol import FIRST, Request, Usage, receive, send
from unit24 import leftovers

SOLUTION = "<reference "  # how the file names of solutions begin
ROLES = {
    "candidate": sides.candidate,
    "judge": sides.judge,
    "clean": sides.clean,
}


# --------------------------------------------------------------------------------------------------
# The reference state


class Holder:
    """Serves one control socket: runs reference cells, forks holders and candidates."""

    def __init__(self, control: socket.socket, namespace: dict):
        self.control, self.namespace = control, namespace
        self.children: dict[int, tuple[str, socket.socket]] = {}  # pid -> (id, status socket)
        self.killed: set[int] = set()  # children that the bench had killed
        self.holders: set[int] = set()

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
                message, fds = receive(self.control, max_descriptors=4)
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
            return self._hold(fds[0])
        elif op == "fork":
            status, *given = fds
            pid = os.fork()
            if pid == 0:
                self._become(message, given)
            for fd in given:
                os.close(fd)
            self.children[pid] = (message["id"], socket.socket(fileno=status))
            send(self.children[pid][1], {"pid": pid})
        elif op == "become":  # no fork: this process is used up
            self._become(message, fds)
        elif op == "confine":
            send(self.control, {"ok": isolation.confine_files(Request.of(message))})
        elif op == "kill":
            self._reap()  # what has ended by itself was not killed
            for pid, (name, _) in self.children.items():
                if name == message["id"]:
                    self.killed.add(pid)
                    _kill_session(pid)
        return False

    def _hold(self, fd: int) -> bool:
        """Fork: True in the new process, which keeps the state and serves the socket `fd`."""
        import_late_parts()
        gc.collect()
        gc.freeze()
        if not self.holders:  # later, each would cost memory: what has been written to since is the holder's own
            _use_huge_pages()
        pid = os.fork()
        if pid == 0:
            self.control.close()
            self.control = socket.socket(fileno=fd)
            self.children, self.holders = {}, set()
            return True
        self.holders.add(pid)
        os.close(fd)
        return False

    def _become(self, message: dict, fds: list[int]) -> None:
        """The life of what this process was forked for. Never returns."""
        try:
            request = Request.of(message)
            if os.getpid() != os.getsid(0):
                os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            kept = [os.dup2(fd, 64 + i) for i, fd in enumerate(fds)]  # out of the way
            for number, one in enumerate(kept, start=FIRST):
                os.dup2(one, number)
            null = os.open(os.devnull, os.O_RDWR)
            for standard in (0, 1, 2):
                os.dup2(null, standard)
            os.closerange(FIRST + len(fds), 4096)
            for name in [name for name in linecache.cache if name.startswith(SOLUTION)]:
                del linecache.cache[name]
            ROLES[request.role](request, self.namespace)
        except BaseException:
            if os.environ.get("UNIT24_DEBUG"):
                traceback.print_exc()
        finally:
            os._exit(0)

    def _run(self, message: dict) -> dict:
        name, text = message["name"], message.get("text")
        # A text that is not there is asked for when a library looks it up (Triton and torch.jit read their functions).
        linecache.cache[name] = (
            (lambda: self._ask_text(name),) if text is None else (len(text), None, text.splitlines(keepends=True), name)
        )
        try:
            exec(marshal.loads(base64.b64decode(message["code"])), self.namespace)
            return {"ok": True}
        except BaseException as error:
            lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == name]
            return {"ok": False, "error": f"{type(error).__name__}: {error}", "line": lines[-1] if lines else 1}

    def _ask_text(self, name: str) -> str:
        send(self.control, {"text": name})
        return (receive(self.control)[0] or {}).get("text", "")

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
            code = os.waitstatus_to_exitcode(status)
            killed = pid in self.killed and code == -signal.SIGKILL
            used = Usage(code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, killed)
            self.killed.discard(pid)
            with contextlib.suppress(OSError):
                send(status_socket, vars(used))
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


def import_late_parts() -> None:
    """What libraries import, and we set up, at first use, once here: in a fork it would cost each answer a second."""
    leftovers.Watch()
    if "torch" in sys.modules:
        importlib.import_module("torch._dynamo")  # imported by the first optimizer made
        importlib.import_module("torch.export._unlift")  # by the first exported program that is loaded
        # torch.distributions look at their arguments no more once torch._dynamo is there; in a student's notebook they do.
        importlib.import_module("torch.distributions").Distribution.set_default_validate_args(True)


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    module = types.ModuleType("__main__")
    module.__dict__.update(display=display, get_ipython=get_ipython)
    sys.modules["__main__"] = module
    pdb.set_trace = lambda *args, **options: None  # forgotten in an answer: nobody is at the keyboard
    isolation.prepare()
    Holder(control, module.__dict__).serve()


if __name__ == "__main__":
    main()
