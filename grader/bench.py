"""The bench: judge one candidate for one exercise, on the lesson's own state just before it.

`Bench` runs a lesson's reference cells once, in a `grader.worker` process, and keeps that process
ready before every exercise.  `Bench.judge` forks it for a candidate.  Audit and grading both use
this and nothing else, so what an author sees is what a student gets.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from authoring.lesson import Exercise, Lesson, LessonError, defined_names
from grader.worker import receive, send

ROOT = Path(__file__).resolve().parent.parent
STATUSES = ("passed", "partial", "failed", "not attempted", "error", "timeout", "out of memory", "crashed", "tampered")
START_SECONDS = 600  # a reference cell that takes longer than this is a defect of the lesson


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
        fields = asdict(self)
        fields.pop("report")
        return fields


class Bench:
    """One lesson's reference state and the judging of candidates on it. A context manager.

    Args:
        lesson: the lesson as read from its text.
        exercises: ids to get ready for; default all.
        progress: called with a short text as the reference run goes on.

    `judge` may be called from several threads at once; it waits until the exercise is ready.
    """

    def __init__(
        self, lesson: Lesson, exercises: Iterable[str] | None = None, progress: Callable[[str], None] = lambda text: None
    ):
        self.lesson, self._progress = lesson, progress
        self._wanted = set(exercises) if exercises is not None else {e.id for e in lesson.exercises}
        self._scratch = Path(tempfile.mkdtemp(prefix="unit24-bench-"))
        self._scratch.chmod(0o755)
        self._ready = {name: threading.Event() for name in self._wanted}
        self._holders: dict[str, socket.socket] = {}
        self._locks = {name: threading.Lock() for name in self._wanted}
        self._failure: Exception | None = None
        self._process: subprocess.Popen | None = None
        self._runner: threading.Thread | None = None
        self._closing = False

    # ---- life

    def __enter__(self) -> Bench:
        if self.lesson.fork:
            self._process, self._main = _launch(self._scratch)
            self._runner = threading.Thread(target=self._run_reference, daemon=True)
            self._runner.start()
        return self

    def __exit__(self, *_) -> None:
        self._closing = True
        for sock in self._holders.values():
            sock.close()
        if self._process:
            self._process.kill()
            self._process.wait()
            self._main.close()
        if self._runner:
            self._runner.join(timeout=5)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def wait(self) -> None:
        """Wait until every wanted exercise is ready; raises LessonError if a reference cell fails."""
        for name in self._wanted:
            self._await(name)

    def _await(self, name: str) -> None:
        if self.lesson.fork:
            self._ready[name].wait()
            if name not in self._holders:
                raise self._failure or RuntimeError(f"the reference run of {self.lesson.name} ended early")

    def _run_reference(self) -> None:
        try:
            waiting = set(self._wanted)
            for name, source, line, exercise in reference_cells(self.lesson):
                if exercise in waiting:
                    ours, theirs = socket.socketpair()
                    send(self._main, {"op": "hold"}, (theirs.fileno(),))
                    theirs.close()
                    self._holders[exercise] = ours
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
            "id": secrets.token_hex(8),
            "cells": [(f"<own cell {label}>", text) for label, text in own] + [(f"<cell {exercise.id}>", source)],
            "names": sorted(exercise.names),
            "seconds": exercise.seconds * slack,
            "memory_mb": exercise.memory_mb,
            "scratch": str(scratch),
        }
        try:
            if self.lesson.fork:
                return self._judge_fork(exercise, request)
            return self._judge_fresh(exercise, request)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _judge_fork(self, exercise: Exercise, request: dict) -> Verdict:
        channel, theirs = socket.socketpair()
        status, status_theirs = socket.socketpair()
        holder, lock = self._holders[exercise.id], self._locks[exercise.id]
        with channel, status:
            with theirs, status_theirs, lock:
                send(holder, request, (theirs.fileno(), status_theirs.fileno()))
            talk = _talk(exercise, channel, request["seconds"])
            with lock:
                send(holder, {"op": "kill", "id": request["id"]})
            status.settimeout(30)
            try:
                ended, _ = receive(status)
            except (OSError, ValueError):
                ended = None
        return _verdict(exercise, talk, ended or {})

    def _judge_fresh(self, exercise: Exercise, request: dict) -> Verdict:
        """A new process for a lesson that cannot be forked: replay what the exercise needs, then judge."""
        process, main = _launch(self._scratch)
        how = ""
        try:
            texts = [text for _, text in request["cells"]] + [exercise.tests.source]
            for name, source, line, at in needed_cells(self.lesson, exercise, texts):
                _run(self.lesson, main, name, source, line)
            channel, theirs = socket.socketpair()
            with channel:
                with theirs:
                    send(main, {**request, "op": "become"}, (theirs.fileno(),))
                talk = _talk(exercise, channel, request["seconds"])
                how = talk[0]
        finally:
            if how == "gone":
                time.sleep(0.2)  # the socket closes a moment before the exit status is there
            os.kill(process.pid, signal.SIGKILL)
            main.close()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        return _verdict(
            exercise,
            talk,
            {"exit": process.returncode, "cpu": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024},
        )


def is_blank(source: str) -> bool:
    """Nothing but comments and white space."""
    return all(not line.strip() or line.lstrip().startswith("#") for line in source.splitlines())


def reference_cells(lesson: Lesson) -> Iterable[tuple[str, str, int, str | None]]:
    """Code that makes the reference state, in order: (file name, source, line in the text, exercise id)."""
    for cell in lesson.cells:
        if cell.role == "setup":
            yield "<setup>", f"import unit24\nenv = unit24.start({lesson.name!r})\n", cell.line, None
        elif cell.role == "exercise":
            yield f"<reference {cell.name}>", cell.source, cell.line, cell.name
        elif cell.role == "plain" and cell.type == "code":
            yield f"<{lesson.name} line {cell.line}>", cell.source, cell.line, None


def needed_cells(lesson: Lesson, exercise: Exercise, texts: list[str]) -> list[tuple[str, str, int, str | None]]:
    """Of the reference cells before `exercise`, those that define a name which `texts` need.

    A cell that imports counts as defining what it imports; the setup cell is always there.
    """
    import ast
    import builtins

    def used(text: str) -> set[str]:
        try:
            return {n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)} - set(dir(builtins))
        except SyntaxError:
            return set()

    before = []
    for cell in reference_cells(lesson):
        if cell[3] == exercise.id:
            break
        before.append(cell)
    wanted, kept = set().union(*map(used, texts)), []
    for cell in reversed(before):
        if cell[0] == "<setup>" or wanted & set(defined_names(cell[1])):
            kept.append(cell)
            wanted |= used(cell[1])
    return kept[::-1]


# --------------------------------------------------------------------------------------------------


def _launch(scratch: Path) -> tuple[subprocess.Popen, socket.socket]:
    ours, theirs = socket.socketpair()
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
        "MPLBACKEND": "agg",
        "HF_HUB_OFFLINE": "1",
        "UNIT24_HOME": str(scratch),
        "UNIT24_TIER": "tiny",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "grader.worker", str(theirs.fileno())],
        pass_fds=(theirs.fileno(),),
        env=environment,
        cwd=scratch,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if not os.environ.get("UNIT24_DEBUG") else None,
        start_new_session=True,
    )
    theirs.close()
    return process, ours


def _run(lesson: Lesson, main: socket.socket, name: str, source: str, line: int) -> None:
    main.settimeout(START_SECONDS)
    send(main, {"op": "run", "name": name, "source": source})
    reply, _ = receive(main)
    if reply is None:
        raise LessonError(lesson.path, line, "the reference process died in this cell")
    if not reply["ok"]:
        raise LessonError(lesson.path, line + reply["line"] - 1, f"the reference cell fails: {reply['error']}")


def _talk(exercise: Exercise, channel: socket.socket, seconds: float) -> tuple[str, dict]:
    """Follow a candidate: ``(how it ended, its messages merged)``. Ends: verdict, gone, timeout, nonsense."""
    nonce = secrets.token_hex(16)
    heard: dict = {}
    deadline = time.monotonic() + 3 * seconds + 10  # CPU time is the limit; this is for those who sleep
    try:
        while True:
            channel.settimeout(max(0.01, deadline - time.monotonic()))
            message, _ = receive(channel)
            if message is None:
                return "gone", heard
            if message.get("event") == "ran" and "ran" not in heard:
                heard["ran"] = message
                if not message.get("defined"):
                    return "undefined", heard
                send(channel, {"name": f"<tests {exercise.id}>", "source": exercise.tests.source, "nonce": nonce})
            elif message.get("event") == "verdict" and message.get("nonce") == nonce:
                heard["verdict"] = message
                return "verdict", heard
            else:
                return "nonsense", heard
    except TimeoutError:
        return "timeout", heard
    except (OSError, ValueError):
        return "gone", heard


def _verdict(exercise: Exercise, talk: tuple[str, dict], ended: dict) -> Verdict:
    how, heard = talk
    ran, told = heard.get("ran", {}), heard.get("verdict", {})
    failure, code = ran.get("failure"), ended.get("exit", 0)
    limit = f"{exercise.seconds:g} s of computing time"

    def verdict(status: str, message: str, points: float = 0.0) -> Verdict:
        return Verdict(
            exercise.id,
            status,
            points,
            exercise.points,
            message,
            round(ended.get("cpu", 0.0), 3),
            round(ended.get("peak_mb", 0.0), 1),
            told.get("report"),
        )

    if how == "timeout" or code in (-24,):  # SIGXCPU
        return verdict("timeout", f"✗ {exercise.id}: still running after {limit}: is there a loop that never ends?")
    if how == "verdict":
        status, message, earned = told["status"], told["message"], told["earned"]
        if status == "passed":
            return verdict("passed", message, exercise.points)
        if status == "scored":
            earned = min(max(earned, 0.0), exercise.points)
            status = "passed" if earned >= exercise.points else "partial" if earned > 0 else "failed"
            return verdict(status, message, earned)
        return verdict(status, message)
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
    if code == -9:
        return verdict("out of memory", f"✗ {exercise.id}: the process was killed, most likely for using too much memory.")
    what = f"signal {-code}" if code < 0 else f"exit status {code}"
    return verdict("crashed", f"✗ {exercise.id}: the process that ran your code ended ({what}) before the checks were done.")
