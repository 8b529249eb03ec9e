"""Lessons made in a test, without a text; and a test cell run as a notebook runs it."""

import contextlib
import io
import linecache
import sys
import types
from pathlib import Path

from course.parts import Cell, Exercise, Lesson
from unit24 import check


def apart_lesson(setup: str, exercises: dict[str, tuple[str, str]], **options) -> Lesson:
    """A lesson of one demonstration cell and exercises judged apart: id -> (reference, test cell)."""
    path = Path("64_made.py")
    cells, made = [Cell("setup", "setup", "code", "", path, 1), Cell("unmarked", "", "code", setup, path, 2)], []
    for name, (reference, tests) in exercises.items():
        block = "".join(f"    {line}\n" if line else "\n" for line in tests.strip("\n").splitlines())
        tests = f'with check.exercise("{name}"):\n{block}'
        pair = [Cell("exercise", name, "code", reference, path, 10), Cell("tests", name, "code", tests, path, 50)]
        cells += pair
        fields = dict(points=4.0, minutes=5, difficulty=1, hints=3, wrong=(), right=(), equivalent=(), seconds=5.0, memory_mb=1024, apart=True)
        made.append(Exercise(name, *pair, **{**fields, **options}))
    return Lesson("64_made", "Made", path, tuple(cells), tuple(made), (), (), (), True)


def in_one_process(lesson: Lesson, exercise: Exercise, answer: str) -> tuple[str, str]:
    """(status, message) of an answer whose test cell runs in the same process: ordinary calls, as in a notebook."""
    module = types.ModuleType("__main__")
    kept, sys.modules["__main__"] = sys.modules["__main__"], module
    space, file, said = module.__dict__, f"<cell {exercise.id}>", io.StringIO()
    try:
        exec(lesson.cells[1].source, space)
        linecache.cache[file] = (len(answer), None, answer.splitlines(keepends=True), file)
        with contextlib.redirect_stdout(said):
            exec(compile(answer, file, "exec", dont_inherit=True), space)
            exec(compile(exercise.tests.source, "<tests>", "exec", dont_inherit=True), space)
        return "passed", said.getvalue()
    except check.NotAttempted as failure:
        return "not attempted", str(failure)
    except check.CheckFailed as failure:
        return "failed", str(failure)
    finally:
        sys.modules["__main__"] = kept
