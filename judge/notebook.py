"""What a notebook's kernel has and plain Python has not: ``display``, and ``get_ipython()`` for its commands.

IPython's own transformer (`grader.syntax`) makes calls of ``get_ipython()`` out of lines that begin with ``%`` and
``!``.  Here those commands that run Python run it, ``%%writefile`` writes, and all others do nothing: there is no
shell, no display and nothing to install where code is judged.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_OPTIONS = re.compile(r"\s*(?:--?[A-Za-z][\w-]*(?:[= ]?\d+)?(?:\s+|$))*")  # of a command, before its code


def display(*objects, **options):
    """Shows nothing."""


class Shell:
    """What ``get_ipython()`` returns."""

    @property
    def user_ns(self) -> dict[str, Any]:
        return sys.modules["__main__"].__dict__

    def run_line_magic(self, name: str, line: str = "", _stack_depth: int = 1) -> Any:
        code = line[_OPTIONS.match(line).end() :]
        if name in ("time", "prun"):
            exec(compile(code, f"<%{name}>", "exec"), self.user_ns)
        elif name == "timeit":
            start = time.perf_counter()
            exec(compile(code, "<%timeit>", "exec"), dict(self.user_ns))  # what it defines is not kept
            seconds = time.perf_counter() - start
            return SimpleNamespace(average=seconds, best=seconds, worst=seconds, stdev=0.0, all_runs=[seconds], timings=[seconds])
        elif name == "capture":
            return SimpleNamespace(stdout="", stderr="", outputs=[], show=lambda: None)
        return None

    def run_cell_magic(self, name: str, line: str, cell: str) -> Any:
        if name in ("time", "prun", "timeit"):
            return self.run_line_magic(name, cell)
        if name == "capture":
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                exec(compile(cell, "<%%capture>", "exec"), self.user_ns)
            for target in [word for word in line.split() if not word.startswith("-")][:1]:
                self.user_ns[target] = SimpleNamespace(stdout=said.getvalue(), stderr="", outputs=[], show=lambda: None)
        elif name in ("writefile", "file"):
            *options, path = line.split() or [""]
            if path:
                with Path(path.strip("'\"")).open("a" if options else "w", encoding="utf-8") as file:
                    file.write(cell if cell.endswith("\n") else cell + "\n")
        return None

    def system(self, command: str) -> None:
        """Starts nothing."""

    def getoutput(self, command: str, *args: object, **options: object) -> list[str]:
        """Starts nothing."""
        return []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **options: None


_shell = Shell()


def get_ipython() -> Shell:
    return _shell
