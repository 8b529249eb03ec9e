"""The bench: judge one candidate for one exercise, on the lesson's own state just before it.

`Bench` runs a lesson's reference cells once, in a `judge.worker` process, and keeps that process
ready before every exercise.  `Bench.judge` forks it for a candidate.  Audit and grading both use
this and nothing else, so what an author sees is what a student gets.
"""

from __future__ import annotations

import ast
import json
import marshal
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
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from course.lesson import ROOT, Exercise, Lesson, LessonError
from course.reference import is_blank, needed_cells, reference_cells
from judge import isolation
from judge.honest import ACCUSATION, CLEAN, cipher, framed, unseal
from judge.worker import receive, receive_bytes, send

STATUSES = ("passed", "partial", "failed", "not attempted", "error", "timeout", "out of memory", "crashed", "tampered")
START_SECONDS = 600  # a reference cell that takes longer than this is a defect of the lesson
REFUSED = "(Graded code has no network, starts no processes, and has files in its working folder alone.)"
SCRATCH_BYTES, SCRATCH_FILES = 512 << 20, 20_000  # what a candidate may leave in its folder
TALK_LIMIT = 256 << 10  # bytes of one message of a candidate
MESSAGE_LIMIT = 4_000  # characters of a verdict's message


@dataclass(frozen=True)
class Verdict:
    """What happened to one candidate. `seconds` is CPU time, `peak_mb` the largest resident size."""

    exercise: str
    status: str  # one of STATUSES
    points: float
    max_points: float
    message: str
    seconds: float = 0.0
    peak_mb: float = 0.0
    report: object = field(default=None, compare=False)  # what the candidate left in ``__report__``

    def as_dict(self) -> dict:
        said = asdict(self)
        said.pop("report")
        return said

    @classmethod
    def from_dict(cls, said: dict) -> Verdict:
        """What `as_dict` gave; keys of another version are left out.

        Raises:
            TypeError: something is missing.
        """
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in said.items() if name in known})


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
        self._tests = {e.id: compiled_tests(e) for e in lesson.exercises if e.id in self._wanted}
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
            for name, source, line, exercise in reference_cells(self.lesson):
                if exercise in waiting:
                    self._holders[exercise] = self._hold(self._main, self.lesson.exercise(exercise))
                    self._ready[exercise].set()
                    waiting.discard(exercise)
                if not waiting:
                    break
                self._progress(f"reference: {exercise or name}")
                _run(self.lesson, self._main, name, source, line)
        except Exception as error:
            if not self._closing:
                self._failure = error
        finally:
            for event in self._ready.values():
                event.set()

    @staticmethod
    def _hold(main: socket.socket, exercise: Exercise) -> socket.socket:
        """Have the process behind `main` keep its present state; returns the way to the one that keeps it."""
        ours, theirs = socket.socketpair()
        with theirs:
            send(main, {"op": "hold", "uses": _uses(exercise)}, (theirs.fileno(),))
        return ours

    # ---- judging

    def judge(self, exercise: Exercise, source: str, own: Iterable[tuple[str, str]] = (), slack: float = 1.0) -> Verdict:
        """Judge `source` as the whole cell of `exercise`.

        Args:
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
        scratch = Path(tempfile.mkdtemp(prefix="candidate-", dir=self._scratch))
        request = {
            "op": "judge",
            "role": "judge",
            "apart": False,
            "id": secrets.token_hex(8),
            "key": secrets.token_hex(32),
            "cells": [(f"<own cell {label}>", text) for label, text in own] + [(f"<cell {exercise.id}>", source)],
            "names": sorted(exercise.names),
            "seconds": exercise.seconds * slack,
            "memory_mb": exercise.memory_mb,
            "processes": exercise.processes,
            "isolate": self.isolate,
            "scratch": str(scratch),
            "readable": [str(self._home)],
            "uses": _uses(exercise),
        }
        try:
            if not self.lesson.fork:
                return self._judge_fresh(exercise, request)
            verdict = self._judge_fork(exercise, request)
            if verdict is None:
                # The process that holds the lesson's state died, perhaps by the hand of another
                # candidate: once more, in a process of its own that nobody shares.
                verdict = self._judge_fresh(exercise, request, replay_all=True)
            return verdict
        finally:
            _remove(scratch)

    def _judge_fork(self, exercise: Exercise, request: dict) -> Verdict | None:
        """Judge in a fork of the held state; None where its holder died meanwhile."""
        holder, lock = self._holder(exercise), self._locks[exercise.id]
        try:
            if exercise.plain:
                talk, ended = self._judge_apart(exercise, request, holder, lock)
            else:
                with _Fork(holder, lock, request) as candidate:
                    talk = _talk(candidate.channel, request, self._tests[exercise.id], candidate.pid)
                    ended = candidate.end()
        except (OSError, ValueError):
            ended = None
        if ended is None:
            with lock:
                if self._holders.get(exercise.id) is holder:
                    self._lost.add(exercise.id)
                    del self._holders[exercise.id]
                    holder.close()
            return None
        return _verdict(exercise, request, talk, ended)

    def _judge_apart(self, exercise: Exercise, request: dict, holder: socket.socket, lock: threading.Lock):
        """A plain exercise: its tests run in a fork of their own, which asks the candidate's for results."""
        asking, answering = socket.socketpair()
        with asking, answering, _Fork(holder, lock, {**request, "apart": True}, answering.fileno()) as candidate:
            answering.close()
            talk = _talk(candidate.channel, request, None, candidate.pid)
            if talk[0] == "ran":
                folder = tempfile.mkdtemp(prefix="tests-", dir=self._scratch)
                testing = {**request, "role": "test", "scratch": folder}
                testing.update(id=secrets.token_hex(8), key=secrets.token_hex(32))
                with _Fork(holder, lock, testing, asking.fileno()) as tests:
                    asking.close()  # so that each of the two sees when the other ends
                    watched = {**testing, "scratch": request["scratch"]}
                    how, heard = _talk(tests.channel, watched, self._tests[exercise.id], candidate.pid)
                    tests.end()
                talk = how, {**heard, "ran": talk[1]["ran"]}
                _remove(Path(folder))
            return talk, candidate.end()

    def _holder(self, exercise: Exercise) -> socket.socket:
        """The socket of the exercise's held state, which is made again if it was lost."""
        with self._locks[exercise.id]:
            if exercise.id not in self._holders:
                process, main = _launch(self._home)
                self._rebuilt.append((process, main))
                for name, source, line, at in reference_cells(self.lesson):
                    if at == exercise.id:
                        break
                    _run(self.lesson, main, name, source, line)
                self._holders[exercise.id] = self._hold(main, exercise)
            return self._holders[exercise.id]

    def _judge_fresh(self, exercise: Exercise, request: dict, replay_all: bool = False) -> Verdict:
        """A new process: replay what the exercise needs (or everything before it), then judge."""
        process, main = _launch(Path(request["scratch"]))
        how = ""
        try:
            if self.isolate and not self.lesson.fork:
                # Landlock holds the threads that are started later: so before there are any.
                send(main, {**request, "op": "confine"})
                receive(main)
            texts = [text for _, text in request["cells"]] + [exercise.tests.source]
            cells = needed_cells(self.lesson, exercise, texts if not replay_all else None)
            for name, source, line, _ in cells:
                _run(self.lesson, main, name, source, line)
            channel, theirs = socket.socketpair()
            with channel:
                with theirs:
                    send(main, {**request, "op": "become", "confined": not self.lesson.fork}, (theirs.fileno(),))
                talk = _talk(channel, request, self._tests[exercise.id], process.pid)
                how = talk[0]
        finally:
            if how == "gone":
                time.sleep(0.2)  # the socket closes a moment before the exit status is there
            os.killpg(process.pid, signal.SIGKILL)
            main.close()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        return _verdict(
            exercise,
            request,
            talk,
            {"exit": process.returncode, "cpu": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024},
        )


# --------------------------------------------------------------------------------------------------


def _launch(home: Path) -> tuple[subprocess.Popen, socket.socket]:
    """A worker process with `home` as its working and home folder. Its environment holds no secrets."""
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
        [sys.executable, "-m", "judge.worker", str(theirs.fileno())],
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
    """A process forked from a held state: the channel to it and its id. Raises OSError or ValueError if the holder is gone."""

    def __init__(self, holder: socket.socket, lock: threading.Lock, request: dict, *calls: int):
        self._holder, self._lock, self._id = holder, lock, request["id"]
        self.channel, theirs = socket.socketpair()
        self._status, status_theirs = socket.socketpair()
        self._status.settimeout(60)
        with theirs, status_theirs, lock:
            send(holder, request, (theirs.fileno(), status_theirs.fileno(), *calls))
        started, _ = receive(self._status)
        self.pid = (started or {}).get("pid", 0)

    def end(self) -> dict | None:
        """Kill it, if it still lives; how it ended and what it used."""
        with self._lock:
            send(self._holder, {"op": "kill", "id": self._id})
        return receive(self._status)[0]

    def __enter__(self) -> _Fork:
        return self

    def __exit__(self, *_) -> None:
        self.channel.close()
        self._status.close()


def _run(lesson: Lesson, main: socket.socket, name: str, source: str, line: int) -> None:
    main.settimeout(START_SECONDS)
    send(main, {"op": "run", "name": name, "source": source})
    reply, _ = receive(main)
    if reply is None:
        raise LessonError(lesson.path, line, "the reference process died in this cell")
    if not reply["ok"]:
        raise LessonError(lesson.path, line + reply["line"] - 1, f"the reference cell fails: {reply['error']}")


def _talk(channel: socket.socket, request: dict, tests: bytes | None, pid: int) -> tuple[str, dict]:
    """Follow a candidate: ``(how it ended, its messages merged)``. Without tests until its cells have run.

    Ends: verdict, ran, undefined, gone, timeout, disk (too much in its folder), tampered, nonsense.
    """
    key = bytes.fromhex(request["key"])
    heard: dict = {}
    deadline = time.monotonic() + 3 * request["seconds"] + 10  # CPU time is the limit; this is for those who sleep
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    pause = 0.25
    try:
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return "timeout", heard
            if not poll.poll(1000 * min(pause, left)):  # it works: look at its folder now and then
                pause = min(2 * pause, 2.0)
                if _too_much(Path(request["scratch"]), pid):
                    return "disk", heard
                continue
            channel.settimeout(max(0.01, left))
            data = receive_bytes(channel, limit=TALK_LIMIT)
            if data is None:
                return "gone", heard
            if data.startswith(ACCUSATION):
                heard["found"] = data.removeprefix(ACCUSATION).decode()
                return "tampered", heard
            kind, *parts = (unseal(key, data) or b"").decode().split("\0")
            if kind == "ran" and "ran" not in heard:
                defined, *failure = parts
                heard["ran"] = dict(zip(("kind", "text", "line"), failure, strict=True)) if failure[0] else {}
                if not defined:
                    return "undefined", heard
                if tests is None:
                    return "ran", heard
                channel.sendall(framed(cipher(key, tests)))
            elif kind == "verdict" and "ran" in heard:
                heard["verdict"] = dict(zip(("status", "message", "earned", "report"), parts, strict=True))
                return "verdict", heard
            else:
                return "nonsense", heard
    except TimeoutError:
        return "timeout", heard
    except OSError:
        return "gone", heard
    except ValueError:  # not a message of ours
        return "nonsense", heard


def _uses(exercise: Exercise) -> list[str]:
    """Names that the exercise's tests read."""
    return sorted({n.id for n in ast.walk(ast.parse(exercise.tests.source)) if isinstance(n, ast.Name)})


def compiled_tests(exercise: Exercise) -> bytes:
    """The tests as marshalled code, which leaves the value of a last expression in ``__points__``.

    Compiled here, so that their source is never in a candidate's process.  The tests become the body
    of a function, so that what they compute is in no namespace: a callback that they hand to the
    candidate leads to nothing.  Every other name is looked up in a constant, which
    `judge.honest.bound` fills in.
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
        return marshal.dumps(compile(ast.fix_missing_locations(wrapped), f"<tests {exercise.id}>", "exec", dont_inherit=True))


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


def _parsed(report: str | None) -> object:
    try:
        return json.loads(report) if report else None
    except (ValueError, RecursionError):
        return None


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


def _verdict(exercise: Exercise, request: dict, talk: tuple[str, dict], ended: dict) -> Verdict:
    how, heard = talk
    failure, told = heard.get("ran", {}), heard.get("verdict", {})
    code = ended.get("exit", 0)
    limit = f"{exercise.seconds:g} s of computing time"

    def verdict(status: str, message: str, points: float = 0.0) -> Verdict:
        refused = status in ("error", "failed") and ("PermissionError" in message or "Operation not permitted" in message)
        hint = f" {REFUSED}" if refused else ""
        return Verdict(
            exercise.id,
            status,
            points,
            exercise.points,
            (message if len(message) <= MESSAGE_LIMIT else message[:MESSAGE_LIMIT] + "…") + hint,
            round(ended.get("cpu", 0.0), 3),
            round(ended.get("peak_mb", 0.0), 1),
            _parsed(told.get("report")),
        )

    killed = code == -signal.SIGKILL and how == "gone"
    if how == "timeout" or code == -signal.SIGXCPU or (killed and ended.get("cpu", 0.0) >= request["seconds"]):
        return verdict("timeout", f"✗ {exercise.id}: still running after {limit}: is there a loop that never ends?")
    if how == "verdict":
        status, message = told["status"], told["message"]
        if status == "passed":
            return verdict("passed", message, exercise.points)
        if status == "scored":
            earned = min(max(float(told["earned"]), 0.0), exercise.points)
            status = "passed" if earned >= exercise.points else "partial" if earned > 0 else "failed"
            return verdict(status, message, earned)
        return verdict(status, message)
    if how == "disk":
        return verdict(
            "error",
            f"✗ {exercise.id}: your code writes more than {SCRATCH_BYTES >> 20} MB, or more than {SCRATCH_FILES} files.",
        )
    if how == "tampered":
        return verdict("tampered", f"✗ {exercise.id}: {heard['found']}.")
    if how == "nonsense":
        return verdict("tampered", f"✗ {exercise.id}: the process wrote something else than a verdict on the grader's channel.")
    if how == "undefined" and failure:
        where = f" in line {failure['line']}" if failure.get("line") else ""
        if failure["kind"] == "stub":
            return verdict("not attempted", f"○ {exercise.id}: not attempted yet.")
        if failure["kind"] == "syntax":
            return verdict("error", f"✗ {exercise.id}: Python cannot read your cell{where}: {failure['text']}")
        if failure["kind"] == "exit":
            return verdict(
                "error",
                f"✗ {exercise.id}: your cell calls exit() or sys.exit(){where}: it ends the process that should go on to the checks.",
            )
        if failure["kind"] == "memory":
            return verdict(
                "out of memory",
                f"✗ {exercise.id}: your cell needs more than the {exercise.memory_mb} MB that this exercise allows.",
            )
        return verdict("error", f"✗ {exercise.id}: your cell raised {failure['text']}{where}")
    if how == "undefined":
        names = ", ".join(f"`{n}`" for n in sorted(exercise.names))
        return verdict("error", f"✗ {exercise.id}: your cell does not define {names}: keep the names that the task gives.")
    if killed:
        return verdict("out of memory", f"✗ {exercise.id}: the process was killed, most likely for using too much memory.")
    what = f"signal {-code}" if code < 0 else f"exit status {code}"
    return verdict("crashed", f"✗ {exercise.id}: the process that ran your code ended ({what}) before the checks were done.")


def isolation_cost(lesson: Lesson, rounds: int = 20) -> tuple[float, float]:
    """CPU seconds of the reference answers to all exercises with isolation and without: sums of medians.

    Both are judged in turn, so that a noisy machine is noisy for both.
    """
    from statistics import median

    sums = {True: 0.0, False: 0.0}
    with Bench(lesson) as held, Bench(lesson, isolate=False) as free:
        for exercise in lesson.exercises:
            seconds: dict[bool, list[float]] = {True: [], False: []}
            for _ in range(rounds):
                for bench in (held, free):
                    seconds[bench.isolate].append(bench.judge(exercise, exercise.cell.source).seconds)
            for isolate, measured in seconds.items():
                sums[isolate] += median(measured)
    return sums[True], sums[False]


def own_cost(lesson: Lesson, exercise: Exercise, rounds: int = 50) -> float:
    """CPU seconds that judging one answer costs beside its own work, everywhere: fork, confinement, probes, checks of tampering.

    Measured with an answer that does nothing: its functions are stubs.
    """
    import psutil

    names = sorted(exercise.names)
    stub = "\n".join(f"def {name}(*args, **kwargs):\n    raise NotImplementedError()" for name in names)

    def used(bench: Bench) -> float:
        main = psutil.Process(bench._process.pid)
        times = [process.cpu_times() for process in (main, *main.children(recursive=True))]
        return time.process_time() + sum(t.user + t.system + t.children_user + t.children_system for t in times)

    with Bench(lesson, [exercise.id]) as bench:
        bench.judge(exercise, stub)
        before = used(bench)
        for _ in range(rounds):
            bench.judge(exercise, stub)
        return (used(bench) - before) / rounds
