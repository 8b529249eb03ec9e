"""Lessons made in a test, without a text; and a test cell run as a notebook runs it."""

import ast
import contextlib
import io
import json
import linecache
import os
import sys
import tempfile
import types
from pathlib import Path

from course.parts import Cell, Exercise, Lesson
from course.reference import reference_cells
from unit24 import check


def apart_lesson(setup: str, exercises: dict[str, tuple[str, str]], **options) -> Lesson:
    """A lesson of one demonstration cell and exercises: id -> (reference, test cell)."""
    path = Path("64_made.py")
    cells, made = [Cell("setup", "setup", "code", "", path, 1), Cell("unmarked", "", "code", setup, path, 2)], []
    for name, (reference, tests) in exercises.items():
        block = "".join(f"    {line}\n" if line else "\n" for line in tests.strip("\n").splitlines())
        tests = f'with check.exercise("{name}"):\n{block}'
        pair = [Cell("exercise", name, "code", reference, path, 10), Cell("tests", name, "code", tests, path, 50)]
        cells += pair
        fields = dict(points=4.0, minutes=5, difficulty=1, hints=3, wrong=(), right=(), equivalent=(), seconds=5.0, memory_mb=1024)
        made.append(Exercise(name, *pair, **{**fields, **options}))
    return Lesson("64_made", "Made", path, tuple(cells), tuple(made), (), (), (), True)


def in_one_process(lesson: Lesson, exercise: Exercise, answer: str) -> tuple[str, str]:
    """(status, message) of an answer whose test cell runs in the same process: ordinary calls, as in a notebook."""
    status, message, _ = _judged(lesson, exercise, answer)
    return status, message


def points_in_one_process(lesson: Lesson, exercise: Exercise, answer: str) -> tuple[str, float]:
    """(status, points) of the same, in a fork of this process: the lesson's cells and the answer may leave anything behind.

    To be called before this process has threads.
    """
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.close(reader)
            with tempfile.TemporaryDirectory() as home:
                os.chdir(home)
                status, _, points = _judged(lesson, exercise, answer)
                os.write(writer, json.dumps([status, points]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return tuple(json.loads(said)) if said else ("crashed", 0.0)


def _judged(lesson: Lesson, exercise: Exercise, answer: str) -> tuple[str, str, float]:
    """Status, message and points. What the lesson runs before the exercise, its set-up cell apart, has run."""
    module = types.ModuleType("__main__")
    kept, sys.modules["__main__"] = sys.modules["__main__"], module
    space, file, said = module.__dict__, f"<cell {exercise.id}>", io.StringIO()
    try:
        for name, source, _, of in reference_cells(lesson):
            if of == exercise.id:
                break
            if name == "<setup>":
                continue
            exec(compile(source, name, "exec", dont_inherit=True), space)
        linecache.cache[file] = (len(answer), None, answer.splitlines(keepends=True), file)
        with contextlib.redirect_stdout(said):
            exec(compile(answer, file, "exec", dont_inherit=True), space)
            tree = ast.parse(exercise.tests.source)
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, "<tests>", "exec", dont_inherit=True), space)
            value = eval(compile(ast.Expression(last.value), "<tests>", "eval", dont_inherit=True), space) if last else None
        # nbgrader takes the number at the end of a cell for the points
        earned = float(value) if type(value) in (int, float) else exercise.points
        return "passed" if earned >= exercise.points else "partial", said.getvalue(), earned
    except check.NotAttempted as failure:
        return "not attempted", str(failure), 0.0
    except check.CheckFailed as failure:
        return "failed", str(failure), 0.0
    finally:
        sys.modules["__main__"] = kept
