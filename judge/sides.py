"""The lives of the processes that are forked to judge one answer: candidate, judge, and clean process.

Each is called in its own process with what it was asked for and the lesson's namespace, finds its sockets at the
places that `judge.protocol` gives, and returns when it is done.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import linecache
import os
import shutil
import signal
import socket
import stat
import sys
import tempfile
import traceback
from base64 import b64decode
from json import dumps
from marshal import loads
from pathlib import Path
from types import ModuleType

from judge import foreign, isolation
from judge.compiled import POINTS
from judge.line import REPORT, Line, StandIn, Wall, services
from judge.protocol import FIRST, Request, receive, send
from judge.wire import Gone, NotPlain
from judge.wire import receive as receive_plain
from judge.wire import send as send_plain
from unit24 import check
from unit24.check import CheckFailed, NotAttempted

LINE_LIMIT, TEXT_LIMIT, REPORT_LIMIT = 400, 8_000, 100_000  # characters: of an error, a message, a report
ANSWERED = 24  # exit status of a clean process that has answered: one that a loader ended has not
CLEAN_BYTES, CLEAN_FILES = 512 << 20, 20_000  # of a candidate's files that a clean process looks at

Failure = dict[str, str]  # what went wrong in a cell: kind, text, line


# --------------------------------------------------------------------------------------------------
# Before the first line


def confine(request: Request) -> None:
    """Give up everything that judging an answer does not need."""
    os.chdir(request.scratch)
    cleaned = isolation.clean_environment(dict(os.environ), request.scratch)
    os.environ.clear()
    os.environ.update(cleaned)
    tempfile.tempdir = None  # found anew, in the scratch folder
    environment = sys.modules["unit24.env"].current if "unit24.env" in sys.modules else None
    if environment is not None:  # the lesson's own folders are for reading only
        vars(environment).update(cache=Path(request.scratch), storage=Path(request.scratch))
    if request.isolate:
        isolation.enter(request, files=not request.confined)
    else:
        isolation.set_limits(request.limits)
    check.reseed()


def _cells(fd: int) -> list[tuple[str, str]]:
    """What the bench says first."""
    message, _ = receive(socket.socket(fileno=os.dup(fd)))
    return message["cells"]


# --------------------------------------------------------------------------------------------------
# The candidate: student code, and answers


def candidate(request: Request, namespace: dict) -> None:
    """Run the student's cells, then answer what the judge asks."""
    channel, line = (socket.socket(fileno=FIRST + i) for i in range(2))
    cells = _cells(FIRST)
    confine(request)
    _do_without_processes(request)
    sys.path.insert(0, "")  # as in a notebook: a cell may have written a module
    module = ModuleType("__main__")
    sys.modules["__main__"] = module  # so that classes of the student can be pickled
    space = module.__dict__
    space.update((name, value) for name, value in namespace.items() if name not in request.names)
    failure, first = run_cells(cells, space)
    check.put_back_modes()
    os.chdir(request.scratch)  # where `check.folder` is
    send(channel, {"ran": failure, "before": first, "defined": all(name in space for name in request.names)})
    # Scenarios see the lesson's names as the lesson made them, and of the student's those of the exercise.
    names = {**namespace, **{name: space[name] for name in request.names if name in space}}
    asked = Line(line, names, trusts=True)
    names.update(services(asked, lambda: _report(space)))
    check.swapped.spaces = (space, names)
    asked.serve()


def _do_without_processes(request: Request) -> None:
    """A data loader that asks for processes does without, where they are refused: in a notebook it would have had them."""
    loading = sys.modules.get("torch.utils.data.dataloader")
    if loading is None or request.limits.processes:
        return

    def get_iterator(loader):
        kept = loader.num_workers, loader.timeout
        loader.num_workers, loader.timeout = 0, 0
        try:
            return loading._SingleProcessDataLoaderIter(loader)
        finally:
            loader.num_workers, loader.timeout = kept

    loading.DataLoader._get_iterator = get_iterator


def run_cells(cells: list[tuple[str, str]], space: dict) -> tuple[Failure | None, Failure | None]:
    """Run a student's cells. A failing one stops nothing: what went wrong in the last, and first in those before it."""
    first, failure = None, None
    for place, (name, source) in enumerate(cells, start=1):
        failure = execute(name, source, space)
        if failure and not first and place < len(cells):
            first = failure | {"cell": name}
    return failure, first


def execute(name: str, source: str, space: dict) -> Failure | None:
    """Run one cell. Returns None, or what went wrong."""

    def failed(kind: str, text: str = "", line: object = "") -> Failure:
        return {"kind": kind, "text": text, "line": str(line or "")}

    try:
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        code = compile(source, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        if code.co_flags & inspect.CO_COROUTINE:  # `await` outside a function, as notebooks allow it
            asyncio.run(eval(code, space))
        else:
            exec(code, space)
        return None
    except SyntaxError as error:
        if error.filename != name:  # raised by the student's code: of another text
            return failed("error", f"SyntaxError: {_words(error)}", _last_line(error, name))
        return failed("syntax", f"{error.msg}: {str(error.text or '').strip()}"[:LINE_LIMIT], error.lineno)
    except NotImplementedError as error:
        return failed("error" if error.args else "stub", f"NotImplementedError: {_words(error)}", _last_line(error, name))
    except (SystemExit, KeyboardInterrupt) as error:
        return failed("exit", type(error).__name__, _last_line(error, name))
    except MemoryError:
        return failed("memory", "MemoryError")
    except BaseException as error:
        said = _words(error)
        kind = "memory" if "can't allocate memory" in said else "error"
        return failed(kind, f"{type(error).__name__}: {said}", _last_line(error, name))


def _report(space: dict) -> str:
    """What the student's code left in ``__report__`` (the audit's perturbations count there), as JSON."""
    text = dumps(space["__report__"]) if "__report__" in space else ""
    return text if len(text) <= REPORT_LIMIT else ""


# --------------------------------------------------------------------------------------------------
# The judge: tests, and the verdict


def judge(request: Request, namespace: dict) -> None:
    """Run the tests; the exercise's functions are stand-ins for those of the candidate."""
    channel, line, clean = (socket.socket(fileno=FIRST + i) for i in range(3))
    confine(request)
    check._LIBRARY_ROOTS += (os.path.dirname(os.path.realpath(__file__)) + os.sep,)  # no line of ours is the student's
    tests, _ = receive(channel)
    for name, source in tests["cells"]:  # for the lines that messages quote
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    scenarios = {name: b64decode(code) for name, code in tests["scenarios"].items()}
    asking, cleaning = Line(line, {}, scenarios=scenarios), Line(clean, {}, scenarios=scenarios, forgets=True)
    check._wall = Wall(asking, cleaning)
    space = {**namespace, **{name: StandIn(asking, name) for name in request.names}}
    try:
        told = run_tests(tests["code"], space)
        with contextlib.suppress(CheckFailed, Exception):
            told["report"] = str(asking.call(REPORT, (), {}))
    except Gone as gone:
        told = {"status": "gone", "message": str(gone)}
    send(channel, told)


def run_tests(code: str, space: dict) -> dict:
    """Run compiled tests: ``{"status", "message"}``, and ``"earned"`` where their last expression gave a number.

    Raises:
        Gone: the candidate has ended.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            exec(loads(b64decode(code)), space)
    except NotAttempted as failure:
        return {"status": "not attempted", "message": _words(failure, TEXT_LIMIT)}
    except CheckFailed as failure:
        words = _words(failure, TEXT_LIMIT)
        memory = "can't allocate memory" in words or "MemoryError" in words
        return {"status": "out of memory" if memory else "failed", "message": words}
    except SystemExit:
        return {
            "status": "error",
            "message": "your code called exit() or sys.exit(): it ends the process that should go on to the checks.",
        }
    except MemoryError:
        return {"status": "out of memory", "message": "your code used more memory than this exercise allows."}
    except NotPlain as error:
        return {"status": "error", "message": f"the tests hand over a {error}, which cannot cross to the student's code"}
    except Exception as error:
        return {"status": "error", "message": f"the tests stopped with {type(error).__name__}: {_words(error)}"}
    lines = [line for line in said.getvalue().splitlines() if line.startswith(("✓", "◐"))]
    told = {"status": "passed", "message": lines[-1][:TEXT_LIMIT] if lines else ""}
    earned = space.get(POINTS)
    return told | ({"earned": float(earned)} if type(earned) in (int, float) else {})


# --------------------------------------------------------------------------------------------------
# The clean process: looks at the student's files where their code never ran


def clean(request: Request, namespace: dict) -> None:
    """Answer each question in a process of its own, with a copy of the candidate's files: no code, no race, no links.

    Questions in a row, without one to the candidate between them, see the same copy.
    """
    line, place, files = socket.socket(fileno=FIRST), Path(request.scratch), None
    place.chmod(0o711)  # what looks at the files may be another user
    with contextlib.suppress(Gone):
        while True:
            said, raw = receive_plain(line)
            home = Path(tempfile.mkdtemp(dir=place))
            if files is None or said.get("fresh"):
                if files is not None:
                    shutil.rmtree(files, ignore_errors=True)
                files = Path(tempfile.mkdtemp(dir=place))
                with _stopped(request.candidate):
                    copy_files(request.readable[0], files)
                files.chmod(0o755)
            if (pid := os.fork()) == 0:
                try:
                    _look(line, said, raw, request, namespace, files, home)
                finally:
                    os._exit(1)
            if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != ANSWERED:
                send_plain(line, {"raised": ["RuntimeError"], "text": "reading your files ended the process", "where": []})


def _look(line: socket.socket, said: dict, raw: list, request: Request, namespace: dict, files: Path, home: Path) -> None:
    own = {**vars(request), "scratch": str(home), "readable": [str(files)]}
    confine(Request(**own))
    foreign.disarm()
    os.chdir(files)
    sys.path[:] = [path for path in sys.path if path not in ("", ".")]
    Line(line, dict(namespace), trusts=True).answer(said, raw)
    os._exit(ANSWERED)


@contextlib.contextmanager
def _stopped(pid: int):
    """The candidate and what it started stand still: nothing is exchanged for a link while it is copied."""
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGCONT)


def copy_files(source: str, target: Path) -> None:
    """Copy regular files, following no link, up to `CLEAN_BYTES` and `CLEAN_FILES` in all."""
    left, files = CLEAN_BYTES, CLEAN_FILES
    for place, folders, names in os.walk(source):
        inside = target / os.path.relpath(place, source)
        for name in folders:
            if not os.path.islink(os.path.join(place, name)):
                (inside / name).mkdir()
        for name in names:
            try:
                fd = os.open(os.path.join(place, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError:
                continue
            with os.fdopen(fd, "rb") as file:
                size = os.fstat(fd).st_size
                if not stat.S_ISREG(os.fstat(fd).st_mode) or size > left or files <= 0:
                    continue
                left, files = left - size, files - 1
                with open(inside / name, "wb") as copy:
                    shutil.copyfileobj(file, copy)


# --------------------------------------------------------------------------------------------------


def _words(error: BaseException, limit: int = LINE_LIMIT) -> str:
    """The text of an exception, which may be one of the student's own making."""
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
