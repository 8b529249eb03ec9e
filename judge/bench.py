"""The bench: judge one candidate for one exercise, on the lesson's own state just before it.

`Bench` runs a lesson's reference cells once, in a `judge.holder` process, and keeps that process
ready before every exercise.  `Bench.judge` has it forked: once for the student's code, once for the
tests.  Audit and grading both use this and nothing else, so what an author sees is what a student gets.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from course.lesson import ROOT, LessonError
from course.parts import Exercise, Lesson
from course.reference import is_blank, needed_cells, reference_cells
from judge import isolation
from judge.compiled import Tests, compiled_cell, compiled_tests
from judge.protocol import TALK_LIMIT, Limits, Request, Usage, receive, receive_bytes, send
from judge.verdict import SCRATCH_BYTES, SCRATCH_FILES, Ending, Verdict, verdict_on

START_SECONDS = 600  # a reference cell that takes longer than this is a defect of the lesson
WINDOWS = 10  # how often an answer that computes slowly is given as long again


class Bench:
    """One lesson's reference state and the judging of candidates on it. A context manager.

    Args:
        lesson: the lesson as read from its text.
        exercises: ids to get ready for; default all.
        progress: called with a short text as the reference run goes on.
        isolate: False only to measure what isolation costs.

    `judge` may be called from several threads at once; it waits until the exercise is ready.
    """

    def __init__(
        self,
        lesson: Lesson,
        exercises: Iterable[str] | None = None,
        progress: Callable[[str], None] = lambda text: None,
        isolate: bool = True,
    ):
        self.lesson, self._progress, self.isolate = lesson, progress, isolate
        self._wanted = set(exercises) if exercises is not None else {e.id for e in lesson.exercises}
        self._scratch = Path(tempfile.mkdtemp(prefix="unit24-bench-"))
        self._scratch.chmod(0o711)  # candidates pass through to their own folder and see no other's name
        self._home = self._scratch / "home"  # of the reference cells
        self._home.mkdir()
        self._ready = {name: threading.Event() for name in self._wanted}
        self._holders: dict[str, socket.socket] = {}
        self._locks = {name: threading.Lock() for name in self._wanted}
        self._failure: Exception | None = None
        self._process: subprocess.Popen | None = None
        self._runner: threading.Thread | None = None
        self._rebuilt: list[tuple[subprocess.Popen, socket.socket]] = []
        self._lost: set[str] = set()  # exercises whose holder died; it is made again when needed
        self._compiled: dict[tuple[str, str], Tests] = {}  # by exercise and text of its tests
        self._closing = False

    # ---- life

    def __enter__(self) -> Bench:
        if self.lesson.fork:
            self._process, self._main = _launch(self._home)
            self._runner = threading.Thread(target=self._run_reference, daemon=True)
            self._runner.start()
        return self

    def __exit__(self, *_) -> None:
        self._closing = True
        for process in filter(None, [self._process, *(process for process, _ in self._rebuilt)]):
            process.kill()
            process.wait()
        if self._runner:  # ends with its process; until then it may still add holders
            self._runner.join(timeout=30)
            self._main.close()
        for sock in [*self._holders.values(), *(main for _, main in self._rebuilt)]:
            sock.close()
        _remove(self._scratch)

    def wait(self) -> None:
        """Wait until every wanted exercise is ready; raises LessonError if a reference cell fails."""
        for name in self._wanted:
            self._await(name)

    def _await(self, name: str) -> None:
        if self.lesson.fork:
            self._ready[name].wait()
            if name not in self._holders and name not in self._lost:
                raise self._failure or RuntimeError(f"the reference run of {self.lesson.name} ended early")

    def _run_reference(self) -> None:
        try:
            waiting = set(self._wanted)
            for cell in reference_cells(self.lesson):
                name, _, _, exercise = cell
                if exercise in waiting:
                    self._holders[exercise] = self._hold(self._main)
                    self._ready[exercise].set()
                    waiting.discard(exercise)
                if not waiting:
                    break
                self._progress(f"reference: {exercise or name}")
                _run(self.lesson, self._main, cell)
        except Exception as error:
            if not self._closing:
                self._failure = error
        finally:
            for event in self._ready.values():
                event.set()

    @staticmethod
    def _hold(main: socket.socket) -> socket.socket:
        """Have the process behind `main` keep its present state; returns the way to the one that keeps it."""
        ours, theirs = socket.socketpair()
        with theirs:
            send(main, {"op": "hold"}, (theirs.fileno(),))
        return ours

    # ---- judging

    def judge(self, exercise: Exercise, source: str, own: Iterable[tuple[str, str]] = (), slack: float = 1.0) -> Verdict:
        """Judge `source` as the whole cell of `exercise`.

        Args:
            exercise: one of the lesson's, or the same with other tests.
            source: plain Python.
            own: (label, source) of the student's own cells that must run first.
            slack: multiplies the time limit.

        Returns:
            A verdict; a candidate can do nothing that raises here.

        Raises:
            LessonError: the lesson's own reference cells fail.
        """
        self._await(exercise.id)
        if is_blank(source):
            return Verdict(exercise.id, "not attempted", 0.0, exercise.points, f"○ {exercise.id}: not attempted yet.")
        cells = [(f"<own cell {label}>", text) for label, text in own] + [(f"<cell {exercise.id}>", source)]
        scratch = Path(tempfile.mkdtemp(prefix="candidate-", dir=self._scratch))
        request = Request(
            id=secrets.token_hex(8),
            role="candidate",
            limits=Limits(exercise.seconds * slack, exercise.memory_mb, exercise.processes),
            scratch=str(scratch),
            names=sorted(exercise.names),
            readable=[str(self._home)],
            isolate=self.isolate,
        )
        try:
            if self.lesson.fork:
                holder, lock = self._holder(exercise), self._locks[exercise.id]
                try:
                    return self._judge(exercise, request, cells, lambda *what: _Fork(holder, lock, *what))
                except HolderGone:
                    # Perhaps by the hand of another candidate: once more, in processes of their own that nobody shares.
                    self._lose(exercise, holder)
                    request = dataclasses.replace(request, id=secrets.token_hex(8))
            return self._judge(exercise, request, cells, lambda *what: _Fresh(self.lesson, exercise, cells, *what))
        finally:
            _remove(scratch)

    def _judge(self, exercise: Exercise, request: Request, cells: Cells, start: Start) -> Verdict:
        """The student's code in one process; when it has run, its tests in another, which asks the first for results."""
        tests, seconds = self._tests(exercise), request.limits.seconds
        asking, answering = socket.socketpair()
        folders = ExitStack()
        with folders, asking, answering, start(request, answering.fileno()) as candidate:
            answering.close()
            watch = _Watch(candidate.pid, request)
            _tell(candidate.channel, {"cells": cells})
            how, said = watch.hear(candidate.channel)
            failure, before = _failure(said.get("ran")), _failure(said.get("before"))
            if how == "heard" and not said.get("defined"):
                how = "undefined"
            if how != "heard":
                return verdict_on(exercise, Ending(how, candidate.end(), seconds, failure, before=before))
            looking, cleaning = socket.socketpair()
            with looking, cleaning:
                if tests.clean:
                    folder = folders.enter_context(self._folder("clean-"))
                    aside = dataclasses.replace(
                        request, id=secrets.token_hex(8), role="clean", scratch=folder, readable=[request.scratch], candidate=candidate.pid
                    )
                    folders.enter_context(start(aside, cleaning.fileno()))
                folder = folders.enter_context(self._folder("judge-"))
                limits = dataclasses.replace(request.limits, processes=False)
                judging = dataclasses.replace(request, id=secrets.token_hex(8), role="judge", scratch=folder, limits=limits)
                with start(judging, asking.fileno(), looking.fileno()) as judge:
                    for ours in (asking, looking, cleaning):  # so that each sees when the other ends
                        ours.close()
                    watch.pids.append(judge.pid)
                    _tell(judge.channel, {"cells": cells, "code": tests.code, "scenarios": tests.scenarios})
                    how, told = watch.hear(judge.channel)
                    if how == "heard":
                        how = "gone" if told["status"] == "gone" else "verdict"
                    elif how == "gone":
                        how = "judge gone"
                    used = judge.end()
            return verdict_on(exercise, Ending(how, candidate.end(), seconds, failure, told, used, before))

    def _tests(self, exercise: Exercise) -> Tests:
        key = (exercise.id, exercise.tests.source)
        if key not in self._compiled:
            self._compiled[key] = compiled_tests(exercise)
        return self._compiled[key]

    @contextmanager
    def _folder(self, prefix: str):
        folder = tempfile.mkdtemp(prefix=prefix, dir=self._scratch)
        try:
            yield folder
        finally:
            _remove(Path(folder))

    # ---- the held states

    def _holder(self, exercise: Exercise) -> socket.socket:
        """The socket of the exercise's held state, which is made again if it was lost."""
        with self._locks[exercise.id]:
            if exercise.id not in self._holders:
                process, main = _launch(self._home)
                self._rebuilt.append((process, main))
                for cell in reference_cells(self.lesson):
                    if cell[3] == exercise.id:
                        break
                    _run(self.lesson, main, cell)
                self._holders[exercise.id] = self._hold(main)
            return self._holders[exercise.id]

    def _lose(self, exercise: Exercise, holder: socket.socket) -> None:
        with self._locks[exercise.id]:
            if self._holders.get(exercise.id) is holder:
                self._lost.add(exercise.id)
                del self._holders[exercise.id]
                holder.close()


def _run(lesson: Lesson, main: socket.socket, cell: tuple[str, str, int, str | None]) -> None:
    """Have a holder run one reference cell. It gets the text of what every student sees, else only what a library asks for."""
    name, source, line, exercise = cell
    main.settimeout(START_SECONDS)
    send(main, {"op": "run", "name": name, "code": compiled_cell(name, source), "text": None if exercise else source})
    reply, _ = receive(main)
    while reply is not None and "text" in reply:
        send(main, {"text": source if reply["text"] == name else _text(lesson, reply["text"])})
        reply, _ = receive(main)
    if reply is None:
        raise LessonError(lesson.path, line, "the reference process died in this cell")
    if not reply["ok"]:
        raise LessonError(lesson.path, line + reply["line"] - 1, f"the reference cell fails: {reply['error']}")


def _text(lesson: Lesson, name: str) -> str:
    """The text of an earlier reference cell."""
    return next((source for known, source, _, _ in reference_cells(lesson) if known == name), "")


def _tell(channel: socket.socket, message: dict) -> None:
    """Send, to a process that may have ended: what it does not answer is heard."""
    with suppress(OSError):
        send(channel, message)


def _failure(said: object) -> dict:
    """What a candidate says went wrong in its cells, which may be anything."""
    if type(said) is not dict:
        return {}
    return {name: str(said.get(name, "")) for name in ("kind", "text", "line", "cell")}


# --------------------------------------------------------------------------------------------------
# Processes


class HolderGone(Exception):
    """The process that holds the lesson's state has ended."""


def _launch(home: Path) -> tuple[subprocess.Popen, socket.socket]:
    """A holder with `home` as its working and home folder. Its environment holds no secrets."""
    ours, theirs = socket.socketpair()
    environment = {
        **isolation.clean_environment(dict(os.environ), str(home)),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
        "MPLBACKEND": "agg",
        "HF_HUB_OFFLINE": "1",
        "UNIT24_DEVICE": "cpu",  # a process that has used a GPU cannot be forked
        "UNIT24_TIER": "tiny",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "judge.holder", str(theirs.fileno())],
        pass_fds=(theirs.fileno(),),
        env=environment,
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if not os.environ.get("UNIT24_DEBUG") else None,
        start_new_session=True,
    )
    theirs.close()
    return process, ours


class _Fork:
    """A process forked from a held state for a role. A context manager that ends it.

    Attributes:
        channel: to the process; pid: its id.

    Raises:
        HolderGone: from any of its methods.
    """

    def __init__(self, holder: socket.socket, lock: threading.Lock, request: Request, *lines: int):
        self._holder, self._lock, self._id = holder, lock, request.id
        self.channel, theirs = socket.socketpair()
        self._status, status_theirs = socket.socketpair()
        self._status.settimeout(60)
        self._usage: Usage | None = None
        # A clean process has nothing to say to the bench.
        given = lines if request.role == "clean" else (theirs.fileno(), *lines)
        try:
            with theirs, status_theirs, lock:
                send(holder, request.message("fork"), (status_theirs.fileno(), *given))
            self.pid = self._heard()["pid"]
        except (OSError, ValueError):
            self._close()
            raise HolderGone from None

    def end(self) -> Usage:
        """Kill it, if it still lives; how it ended and what it used."""
        if self._usage is None:
            try:
                with self._lock:
                    send(self._holder, {"op": "kill", "id": self._id})
                self._usage = Usage(**self._heard())
            except (OSError, ValueError):
                raise HolderGone from None
        return self._usage

    def _heard(self) -> dict:
        said, _ = receive(self._status)
        if said is None:
            raise ValueError("the holder has ended")
        return said

    def _close(self) -> None:
        self.channel.close()
        self._status.close()

    def __enter__(self) -> _Fork:
        return self

    def __exit__(self, kind, *_) -> None:
        try:
            if kind is None:
                self.end()
            else:
                with suppress(HolderGone):
                    self.end()
        finally:
            self._close()


class _Fresh:
    """As `_Fork`, without a fork: a new process runs what the exercise needs of the lesson (or, where the lesson
    could be forked, everything before the exercise), and then becomes what is asked for."""

    def __init__(self, lesson: Lesson, exercise: Exercise, cells: Cells, request: Request, *lines: int):
        self._process, self._main = _launch(Path(request.scratch))
        self._usage: Usage | None = None
        self.pid = self._process.pid
        self.channel, theirs = socket.socketpair()
        try:
            with theirs:
                early = request.isolate and not lesson.fork and request.role != "clean"
                if early:  # Landlock holds the threads that are started later: so before there are any
                    send(self._main, request.message("confine"))
                    receive(self._main)
                texts = [text for _, text in cells] + [exercise.tests.source]
                for cell in needed_cells(lesson, exercise, None if lesson.fork else texts):
                    _run(lesson, self._main, cell)
                given = lines if request.role == "clean" else (theirs.fileno(), *lines)
                send(self._main, dataclasses.replace(request, confined=early).message("become"), given)
        except BaseException:
            self.__exit__()
            raise

    def end(self) -> Usage:
        if self._usage is None:
            time.sleep(0.2)  # a socket closes a moment before the exit status is there
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
            with suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)
            _, status, usage = os.wait4(self.pid, 0)
            self._process.returncode = code = os.waitstatus_to_exitcode(status)
            self._usage = Usage(code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, not ended)
        return self._usage

    def __enter__(self) -> _Fresh:
        return self

    def __exit__(self, *_) -> None:
        self.end()
        self.channel.close()
        self._main.close()


Cells = list[tuple[str, str]]  # (file name, source)
Start = Callable[..., _Fork | _Fresh]


class _Watch:
    """Waits for messages while an answer is judged: not for ever, and not while it fills the disk.

    CPU time is the limit; this is for those who sleep.  Who computes, if slowly (on a machine that does too much at
    once), is given more time.

    Attributes:
        pids: whose computing counts: the candidate first, then whoever judges it.
    """

    def __init__(self, pid: int, request: Request):
        self.pids, self._folder = [pid], Path(request.scratch)
        self._memory_mb = request.limits.memory_mb if request.limits.processes else None  # of one process the kernel sees to it
        self._window = 3 * request.limits.seconds + 10  # seconds without an answer
        self._windows, self._used = WINDOWS, 0.0
        self._deadline = time.monotonic() + self._window
        self._pause = 0.25

    def hear(self, channel: socket.socket) -> tuple[str, dict]:
        """``(how, message)``: how is heard, gone, timeout, disk (too much in its folder), memory (of its processes) or nonsense."""
        how, data = self._wait(channel)
        if how != "heard":
            return how, {}
        try:
            message = json.loads(data)
        except (ValueError, RecursionError):
            message = None
        return ("heard", message) if type(message) is dict else ("nonsense", {})

    def _wait(self, channel: socket.socket) -> tuple[str, bytes]:
        """As `hear`, for a message that is not read yet."""
        poll = select.poll()
        poll.register(channel, select.POLLIN)
        try:
            while True:
                left = self._deadline - time.monotonic()
                if left <= 0 and not self._extended():
                    return "timeout", b""
                if poll.poll(1000 * min(self._pause, max(left, 0.01))):
                    break
                self._pause = min(2 * self._pause, 2.0)  # it works: look at its folder now and then
                if _too_much(self._folder, self.pids[0]):
                    return "disk", b""
                if self._memory_mb is not None:
                    self._pause = min(self._pause, 0.5)  # many processes fill a machine quickly
                    if _held_by_children(self.pids[0]) > self._memory_mb << 20:
                        return "memory", b""
            channel.settimeout(max(0.01, self._deadline - time.monotonic()))
            data = receive_bytes(channel, limit=TALK_LIMIT)
            return ("gone", b"") if data is None else ("heard", data)
        except TimeoutError:
            return "timeout", b""
        except OSError:
            return "gone", b""
        except ValueError:  # not a message of ours
            return "nonsense", b""


    def _extended(self) -> bool:
        """One more window, if the last was used: a right answer was once stopped on a machine with a fifth of a core."""
        used = sum(map(_computed, self.pids))
        busy = used - self._used >= 0.05 * self._window
        self._windows, self._used = self._windows - 1, used
        self._deadline += self._window if busy and self._windows > 0 else 0
        return time.monotonic() < self._deadline


def _computed(pid: int) -> float:
    """Seconds of computing of a process and those below it; of one that has ended, none."""
    total = 0.0
    with suppress(psutil.Error):
        main = psutil.Process(pid)
        for process in (main, *main.children(recursive=True)):
            with suppress(psutil.Error):
                spent = process.cpu_times()
                total += spent.user + spent.system + spent.children_user + spent.children_system
    return total


def _held_by_children(pid: int) -> int:
    """Bytes that the processes below a candidate hold for themselves; what they share with it counts for none of them."""
    total = 0
    with suppress(psutil.Error):
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.Error):
                total += process.memory_full_info().uss
    return total


def _too_much(folder: Path, pid: int) -> bool:
    """Whether a candidate holds more than it may on the disk, in bytes or in files.

    What it deleted and still has open counts too.  A folder that we cannot look into counts as full.
    """
    size = files = 0
    waiting = [str(folder)]
    try:
        for fd in os.scandir(f"/proc/{pid}/fd"):
            found = os.stat(fd.path)
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 0:
                size += found.st_blocks * 512
    except OSError:
        pass  # no /proc, or it has just ended
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    files += 1
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if size > SCRATCH_BYTES or files > SCRATCH_FILES:
                        return True
        except (FileNotFoundError, NotADirectoryError):
            continue  # removed while we looked
        except OSError:
            return True
    return size > SCRATCH_BYTES


def _remove(folder: Path) -> None:
    """Remove a folder whatever was left in it: a thousand levels, no rights to enter."""
    try:
        os.rmdir(folder)  # most candidates leave nothing
    except FileNotFoundError:
        pass
    except OSError:
        # rm holds no descriptor and no Python frame a level, as shutil.rmtree would.
        if os.getuid():
            subprocess.run(["chmod", "-R", "u+rwX", "--", str(folder)], stderr=subprocess.DEVNULL)
        subprocess.run(["rm", "-rf", "--", str(folder)], stderr=subprocess.DEVNULL)
