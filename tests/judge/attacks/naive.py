"""A grader without defences: cell and tests in one namespace, one after the other. Attacks must beat it to be worth a test.

Started with one JSON object on stdin, ``{"lesson": path, "cells": [[exercise, source], ...]}``; prints
a list of true (all tests passed) and false.  Each cell runs in a fork, confined like a candidate.
"""

import json
import os
import sys
import tempfile
import types
from pathlib import Path

from course.lesson import read
from course.reference import reference_cells
from judge import isolation
from judge.protocol import Limits, Request


def main():
    told = json.load(sys.stdin)
    lesson = read(Path(told["lesson"]))
    out, sys.stdout = sys.stdout, open(os.devnull, "w")
    states, module = {}, types.ModuleType("__main__")
    for name, source, _, exercise in reference_cells(lesson):
        if exercise:
            states[exercise] = dict(vars(module))
        exec(compile(source, name, "exec", dont_inherit=True), vars(module))
    passed = []
    for exercise, source in told["cells"]:
        with tempfile.TemporaryDirectory() as scratch:
            pid = os.fork()
            if pid == 0:
                judge(lesson.exercise(exercise), source, states[exercise], scratch)
            passed.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 24)
    print(json.dumps(passed), file=out)


def judge(exercise, source, state, scratch):
    try:
        os.chdir(scratch)
        isolation.enter(Request("naive", "together", Limits(5, 2048, True), scratch, []))
        module = sys.modules["__main__"] = types.ModuleType("__main__")
        space = vars(module)
        space.update(state)
        exec(compile(source, "<cell>", "exec", dont_inherit=True), space)
        exec(compile(exercise.tests.source, "<tests>", "exec", dont_inherit=True), space)
        os._exit(24)
    except BaseException:
        if os.environ.get("UNIT24_DEBUG"):
            import traceback

            traceback.print_exc()
    finally:
        os._exit(1)


main()
