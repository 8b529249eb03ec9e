"""Run a notebook in a fresh kernel with papermill, and say what it took.

Each notebook runs under a process of its own (``python -m authoring.execute``): papermill changes
the working directory of its process, so that two could not run side by side in one.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import site
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from course.lesson import ROOT

CELL_SECONDS = 900  # one cell; an endless loop in a lesson ends here


@dataclass(frozen=True)
class Run:
    """A notebook after it ran.  `seconds` is wall time with the kernel's start, `cpu_seconds` the computing
    time of the kernel and its child processes, `peak_mb` their largest memory in MB (10^6 bytes), `claims` what
    it measured of them (`unit24.claims`)."""

    notebook: NotebookNode
    seconds: float
    cpu_seconds: float
    peak_mb: int
    claims: list[dict[str, Any]]


# What most of a lesson's time goes to: imports, small layers, a training loop in Python.
WORKLOAD = """
import torch
torch.set_num_threads(1)
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 64))
adam = torch.optim.Adam(net.parameters())
for step in range(600):
    x = torch.randn(32, 64)
    loss = (net(x) - x).square().mean()
    adam.zero_grad()
    loss.backward()
    adam.step()
"""
WORKLOAD_SECONDS = 2.7  # computing seconds of it where the lessons' limits were set: it takes 6.5 where lesson 16's 47 become 116


def slowness() -> float:
    """How many times the computing seconds that the limits were set for this machine takes now.

    The same text took 2.1 to 2.5 times as many on a shared machine as on a quiet one: so seconds alone say nothing.
    """
    process = subprocess.Popen([sys.executable, "-c", WORKLOAD], env={**os.environ, "OMP_NUM_THREADS": "1"})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the workload that measures the machine's speed ended with status {process.returncode}")
    return round((usage.ru_utime + usage.ru_stime) / WORKLOAD_SECONDS, 2)


class CellFailed(RuntimeError):
    """A cell raised.  `frames` are (cell id, line) of the notebook's own code, innermost last."""

    def __init__(self, cell: str, frames: list[tuple[str, int]], message: str):
        super().__init__(message)
        self.cell, self.frames = cell, frames


def execute(notebook: NotebookNode, report: Callable[[int, int], None] = lambda done, total: None) -> Run:
    """Run a copy of `notebook` in an empty scratch folder and clean what the machine left in it.

    Args:
        report: called with (cells done, cells in all) as the run goes on.

    Raises:
        CellFailed: a cell raised, took longer than `CELL_SECONDS`, or the kernel died.
    """
    scratch = Path(tempfile.mkdtemp(prefix="unit24-")).resolve()
    try:
        for folder in ("work", "home", "tmp", "ipython"):
            (scratch / folder).mkdir()
        source, result, log = scratch / "in.ipynb", scratch / "out.ipynb", scratch / "log"
        source.write_text(nbformat.writes(notebook), encoding="utf-8")
        with open(log, "wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "authoring.execute", str(source), str(result)],
                cwd=scratch / "work",
                env=student_environment(scratch),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
            try:
                last = {}
                for line in process.stdout:
                    last = json.loads(line)
                    if "done" in last:
                        report(last["done"], last["total"])
                process.wait()
            finally:
                _stop(process)
        if "failed" in last:
            raise CellFailed(last["failed"], [tuple(f) for f in last["frames"]], _clean_text(last["message"], scratch))
        if "seconds" not in last:
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise CellFailed("", [], f"papermill ended with status {process.returncode}: {said[-1] if said else 'no message'}")
        done = nbformat.reads(result.read_text(encoding="utf-8"), as_version=4)
        claims = [claim for path in sorted((scratch / "home" / "claims").glob("*.json")) for claim in json.loads(path.read_text(encoding="utf-8"))]
        return Run(clean(notebook, done, scratch), last["seconds"], last["cpu_seconds"], last["peak_mb"], claims)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def clean(source: NotebookNode, executed: NotebookNode, scratch: Path) -> NotebookNode:
    """`source` with the outputs of `executed`, without timings, transient ids and machine paths."""
    notebook = nbformat.from_dict(json.loads(json.dumps(source)))
    outputs = {cell.id: cell.get("outputs", []) for cell in executed.cells}
    count = 0
    for cell in notebook.cells:
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        count += 1
        cell.execution_count = count
        cell.outputs = [_clean_output(o, count, scratch) for o in outputs[cell.id]]
    return notebook


def _clean_output(output: NotebookNode, count: int, scratch: Path) -> NotebookNode:
    plain = {k: v for k, v in output.items() if k != "transient"}
    if "execution_count" in plain:
        plain["execution_count"] = count
    # A widget's state is gone with its kernel; its text stands beside it.
    plain.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)

    def walk(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: walk(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [walk(v, key) for v in value]
        return _clean_text(value, scratch) if isinstance(value, str) and not key.startswith("image/") else value

    return nbformat.from_dict(walk(plain))


_EMBEDDED = re.compile(r"(data:[\w/+.-]+;base64,[\w+/=]+)")  # a picture in HTML: no words, and long


def _clean_text(text: str, scratch: Path) -> str:
    """`text` without paths of this machine; what a reader needs of them stays."""
    parts = _EMBEDDED.split(text)
    return "".join(part if number % 2 else _clean_words(part, scratch) for number, part in enumerate(parts))


def _clean_words(text: str, scratch: Path) -> str:
    text = re.sub(r"[^\s'\"(]*ipykernel_\d+[/\\]\d+\.py", "<cell>", text)
    prefixes = {str(scratch / "work"): ".", str(scratch): "scratch", str(ROOT): "unit24-course"}
    for folder in (*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_path("purelib")):
        prefixes[folder] = "site-packages"
    for folder in (sysconfig.get_path("stdlib"), sys.prefix, sys.base_prefix):
        prefixes.setdefault(folder, "python")
    prefixes.setdefault(str(Path.home()), "~")
    for prefix in sorted(prefixes, key=len, reverse=True):
        if len(prefix) > 1:
            text = re.sub(rf"(?<![\w./-]){re.escape(prefix)}(?![\w-])", prefixes[prefix], text)
    return text


def student_environment(scratch: Path) -> dict[str, str]:
    """Like a student's first start on a machine without network, with one thread."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("UNIT24_", "JUPYTER", "COLAB_", "KAGGLE_"))}
    return kept | {
        "OMP_NUM_THREADS": "1",
        "UNIT24_DEVICE": "cpu",  # what every student has
        "UNIT24_HOME": str(scratch / "home"),
        "TMPDIR": str(scratch / "tmp"),
        "IPYTHONDIR": str(scratch / "ipython"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "HF_HUB_OFFLINE": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    }


def _stop(process: subprocess.Popen) -> None:
    """End the process and everything it started: a kernel has a session of its own and would stay."""
    import psutil

    if process.poll() is not None:
        return
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        family = []
    process.kill()
    for child in family:
        try:
            child.kill()
        except psutil.Error:
            pass
    process.wait()


# --------------------------------------------------------------------------------------------------
# The process that runs one notebook


def main(source: str, result: str) -> None:
    """Run `source` into `result`; print progress and the outcome as lines of JSON."""
    import papermill
    from papermill.engines import NBClientEngine, papermill_engines

    notebook = nbformat.read(source, as_version=4)
    ids = [cell.id for cell in notebook.cells]
    now = {"cell": ids[0] if ids else ""}

    class Engine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, manager, kernel_name, **kwargs):
            start = manager.cell_start

            def cell_start(cell, cell_index=None, **rest):
                now["cell"] = cell.id
                _say(done=cell_index, total=len(ids))
                start(cell, cell_index, **rest)

            manager.cell_start = cell_start
            return super().execute_managed_notebook(manager, kernel_name, **kwargs)

    papermill_engines.register("unit24", Engine)
    memory = _Memory()
    memory.start()
    began = time.monotonic()
    try:
        done = papermill.execute_notebook(
            source,
            result,
            engine_name="unit24",
            kernel_name="python3",
            progress_bar=False,
            request_save_on_cell_execute=False,
            execution_timeout=CELL_SECONDS,
        )
    except papermill.PapermillExecutionError as error:
        cell = ids[error.cell_index]
        frames = _frames("\n".join(error.traceback), dict(enumerate(_code_cells(notebook), start=1)))
        _say(failed=cell, frames=frames, message=_one_line(f"{error.ename}: {error.evalue}"))
        return
    except Exception as error:  # a timeout, a dead kernel
        what = {
            "CellTimeoutError": f"took longer than {CELL_SECONDS} s",
            "DeadKernelError": "the kernel died (out of memory, or a crash in a library)",
        }.get(type(error).__name__, _one_line(str(error)))
        _say(failed=now["cell"], frames=[], message=f"{type(error).__name__}: {what}")
        return
    seconds = time.monotonic() - began
    unrun = [c.id for c in done.cells if c.cell_type == "code" and c.source.strip() and c.execution_count is None]
    if unrun:
        _say(failed=unrun[0], frames=[], message="the run ended before this cell (sys.exit in a cell before it?)")
        return
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # the kernel has ended and been waited for
    _say(seconds=round(seconds, 1), cpu_seconds=round(used.ru_utime + used.ru_stime, 1), peak_mb=memory.stop())


def _code_cells(notebook: NotebookNode) -> list[str]:
    return [c.id for c in notebook.cells if c.cell_type == "code" and c.source.strip()]


def _frames(trace: str, executed: dict[int, str]) -> list[tuple[str, int]]:
    """(cell id, line) of the notebook's own frames in an IPython traceback."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", trace)
    found = re.findall(r"Cell In\[(\d+)\], line (\d+)", plain)
    return [(executed[int(n)], int(line)) for n, line in found if int(n) in executed]


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]


def _say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


class _Memory(threading.Thread):
    """Samples the memory of this process's children (the kernel and what it starts)."""

    def __init__(self, every: float = 0.2):
        super().__init__(daemon=True)
        self.every, self.peak, self._done = every, 0, threading.Event()

    def run(self) -> None:
        import psutil

        me = psutil.Process()
        while not self._done.wait(self.every):
            total = 0
            for child in me.children(recursive=True):
                try:
                    # PSS counts memory shared by forked processes once (Linux only).
                    total += getattr(child.memory_full_info(), "pss", 0) or child.memory_info().rss
                except psutil.Error:
                    continue
            self.peak = max(self.peak, total)

    def stop(self) -> int:
        """The peak in MB (10^6 bytes)."""
        self._done.set()
        self.join()
        return round(self.peak / 1e6)


if __name__ == "__main__":
    main(*sys.argv[1:])
