"""Answers tried in one process, as a notebook would judge them: for whoever writes an exercise, a second or so an answer.

The state before the exercise is made once; each answer runs in a fork of it, with the rights of whoever calls this: it is for
answers of one's own.  What counts is the bench (`unit24 audit`), which keeps tests and answers apart.
"""

from __future__ import annotations

import contextlib
import linecache
import os
import signal
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from course.lesson import read
from course.parts import Cell, Exercise, Lesson, LessonError
from course.percent import Markers, read_text
from course.reference import needed_cells
from course.seeds import reseeded
from unit24 import check
from unit24.errors import UserError

# As in lessons/answers, where nothing but the role is asked for, and as in blind rounds.
MARKERS = Markers(
    keys={"wrong": {"says", "breaks", "misunderstands", "not_counted", "misleads"}, "right": {"note", "not_counted", "misleads"}},
    required={},
)


def answers_to_try(exercise: Exercise, files: list[Path]) -> list[Cell]:
    """The reference and the answers to `exercise` in `files`; those of the lesson where there are none.

    Raises:
        LessonError: with file and line of a marker that cannot be understood.
        UserError: there is no answer to it in `files`.
    """
    reference = replace(exercise.cell, role="right", name=exercise.id, options={"note": "the reference"})
    if not files:
        return [reference, *exercise.right, *exercise.wrong]
    texts = [read_text(path, MARKERS) for path in files]
    if faults := [fault for text in texts for fault in text.faults]:
        raise LessonError(*faults[0], *faults[1:])
    found = [cell for text in texts for cell in text.cells if cell.name == exercise.id and cell.role in MARKERS.keys]
    if not found:
        names = ", ".join(path.name for path in files)
        raise UserError(f"no answer to {exercise.id} in {names}: each begins with a line `# %% wrong=\"{exercise.id}\"` or `# %% right=\"{exercise.id}\"`.")
    return found


def make_state(lesson: Lesson, exercise: Exercise, texts: list[str] | None) -> dict:
    """Run what comes before `exercise` (of it only what `texts` need, where they are given) as the module ``__main__``."""
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    with _silence():
        for name, source, _, _ in needed_cells(lesson, exercise, texts):
            _run(name, source, main.__dict__)
    return main.__dict__


def try_answers(exercise: Exercise, answers: list[Cell], state: dict) -> Iterator[tuple[Cell, float, str, bool]]:
    """For each answer: it, its CPU seconds, what the student would be told, and whether that is as it must be."""
    for cell in answers:
        mine, theirs = os.pipe()
        child = os.fork()
        if not child:
            os.close(mine)
            signal.alarm(int(3 * exercise.seconds) + 30)
            seconds, share, told = _judged(exercise, cell, state)
            os.write(theirs, f"{seconds} {share} {told[:4000]}".encode())
            os._exit(0)
        os.close(theirs)
        with open(mine, "rb") as pipe:
            said = pipe.read().decode(errors="replace")
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        how = "was stopped: it takes too long" if code == -signal.SIGALRM else f"ended with exit status {code}"
        seconds, share, told = said.split(" ", 2) if said else ("nan", "0", f"the process {how}")
        if cell.role == "right":
            fits = float(share) >= 1
        else:
            fits = float(share) < 1 and str(cell.options.get("says", "")).lower() in told.lower()
        yield cell, float(seconds), told, fits


def _judged(exercise: Exercise, cell: Cell, state: dict) -> tuple[float, float, str]:
    """CPU seconds, the share of the points, and what was said."""
    ended = {exercise.id: 0.0}
    check.exercise.on_end = ended.__setitem__
    begin = time.process_time()
    with tempfile.TemporaryFile("w+") as said:
        try:
            with _silence(os.dup(said.fileno())):
                _run(f"<answer {cell.path.name}:{cell.line}>", cell.source, state)
                _run(f"<tests {exercise.id}>", exercise.tests.source, state)
            said.seek(0)
            told = said.read()
        except BaseException as error:  # an answer may end in any way
            told = str(error) if isinstance(error, check.CheckFailed) else f"{type(error).__name__}: {error}"
    return time.process_time() - begin, ended[exercise.id], told.strip()


def _run(name: str, source: str, state: dict) -> None:
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    exec(compile(source, name, "exec"), state)


@contextlib.contextmanager
def _silence(to: int | None = None):
    """What is printed, by whatever means, goes to the descriptor `to`, which is closed, or nowhere."""
    sys.stdout.flush()
    kept, there = os.dup(1), os.open(os.devnull, os.O_WRONLY) if to is None else to
    os.dup2(there, 1)
    os.close(there)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def main(path: str, exercise_id: str, seed: str, quick: str, *files: str) -> int:
    """Print what becomes of each answer. `seed`: of the hidden tests, or empty; `quick`: not empty for `make_state` with texts."""
    lesson = read(Path(path))
    exercise = lesson.exercise(exercise_id)
    exercise = seed and reseeded(exercise, int(seed)) or exercise
    try:
        answers = answers_to_try(exercise, [Path(file) for file in files])
    except UserError as error:
        print(f"unit24: {error}", file=sys.stderr)
        return 2
    texts = [exercise.cell.source, exercise.tests.source, *(cell.source for cell in answers)] if quick else None
    unfit = 0
    with tempfile.TemporaryDirectory(prefix="unit24-try-") as folder, contextlib.chdir(folder):
        for cell, seconds, told, fits in try_answers(exercise, answers, make_state(lesson, exercise, texts)):
            unfit += not fits
            about = cell.options.get("note") or cell.options.get("misunderstands") or cell.options.get("says") or ""
            print(f"{'✓' if fits else '✗'} {cell.role} {cell.path.name}:{cell.line - 1} ({seconds:.1f} s) {about}", flush=True)
            print("    " + told.replace("\n", "\n    "), flush=True)
    print(f"{len(answers)} tried, {unfit} not as they must be.")
    return 1 if unfit else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
