"""A lesson in a lane: the set-up cell as a student runs it, the solved notebook cell by cell, the bench's reference."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from authoring.execute import CELL_SECONDS, student_environment
from course.notebook import instructor_notebook
from course.parts import ROOT, Lesson
from proofs.lanes import Lane, fresh_copy
from unit24.needs import parse


def run_lesson(lesson: Lesson, lane: Lane, base: Path, wheel: Path, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Run one lesson in a fresh copy of the lane's environment.

    Args:
        base: the environment, as `lanes.prepare` made it.
        wheel: the students' package, which is put beside the notebook.

    Returns:
        ``setup`` (what the set-up cell printed), ``setup_seconds``, ``seconds`` of the whole notebook, ``broken``
        (exercise or cell: first error, in the notebook's order), ``judged`` (exercise: what the bench said where
        the reference fell short there) and ``versions`` of what the lesson needs.
    """
    scratch = Path(tempfile.mkdtemp(prefix="unit24-lane-", dir=base.parent)).resolve()  # beside it, for hard links
    scratch.chmod(0o755)  # an answer on the bench runs as another user
    try:
        for folder in ("work", "home", "tmp", "ipython"):
            (scratch / folder).mkdir()
        say(f"{lesson.name}: a fresh copy")
        python = fresh_copy(base, scratch / "venv")
        shutil.copy2(wheel, scratch / "work")
        variables = student_environment(scratch) | lane.variables
        variables["PATH"] = os.pathsep.join([str(python.parent), variables.get("PATH", "")])
        del variables["PYTHONPATH"], variables["HF_HUB_OFFLINE"]
        result = _notebook(lesson, python, scratch, variables, say)
        say(f"{lesson.name}: the bench")
        result["judged"] = _bench(lesson, python, variables, scratch)
        result["versions"] = _versions(lesson, python)
        return result
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _notebook(lesson: Lesson, python: Path, scratch: Path, variables: dict[str, str], say: Callable[[str], None]) -> dict[str, Any]:
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.util import run_sync

    kernel = scratch / "kernels" / "lane"
    kernel.mkdir(parents=True)
    call = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": call, "display_name": "lane", "language": "python"}))
    specs = KernelSpecManager(kernel_dirs=[str(kernel.parent)], ensure_native_kernel=False)
    notebook = instructor_notebook(lesson)
    began = ended = time.monotonic()
    setup_seconds = 0.0

    def executed(cell, cell_index: int, **rest) -> None:
        nonlocal ended, setup_seconds
        ended = time.monotonic()
        setup_seconds = setup_seconds or round(ended - began, 1)
        say(f"{lesson.name}: cell {cell_index + 1} of {len(notebook.cells)}")

    kernels = AsyncKernelManager(kernel_name="lane", kernel_spec_manager=specs)
    client = NotebookClient(
        notebook,
        km=kernels,
        timeout=CELL_SECONDS,
        allow_errors=True,
        resources={"metadata": {"path": str(scratch / "work")}},
        on_cell_executed=executed,
    )
    broken: dict[str, str] = {}
    try:
        client.execute(env=variables)
    except Exception as error:  # a timeout, a dead kernel: what ran until then is told as well
        broken["the kernel"] = f"{type(error).__name__}: {_line(str(error))}"
    finally:
        if kernels.has_kernel:  # a manager that nbclient was given it leaves alone
            run_sync(kernels.shutdown_kernel)(now=True)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        for output in cell.outputs:
            if output.output_type == "error":
                broken.setdefault(_exercise_of(cell), f"{output.ename}: {_line(output.evalue)}")
    said = "".join(output.get("text", "") for output in code[0].outputs).strip()
    if "unit24" not in said.partition(" ")[0]:
        broken = {"the set-up": said or "it printed nothing"} | broken
    return {"setup": said, "setup_seconds": setup_seconds, "seconds": round(ended - began, 1), "broken": broken}


def _exercise_of(cell) -> str:
    """The exercise that a cell or its tests belong to; any other cell's own id."""
    return cell.metadata.get("nbgrader", {}).get("grade_id", cell.id).removeprefix("test_")


def _bench(lesson: Lesson, python: Path, variables: dict[str, str], scratch: Path) -> dict[str, str]:
    """What the bench, in this environment, says of references that do not get all points there."""
    call = [str(python), "-m", "proofs.lane_reference", str(lesson.path)]
    done = subprocess.run(call, env=variables | {"PYTHONPATH": str(ROOT)}, cwd=scratch, capture_output=True, text=True)
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    judged = {about["exercise"]: about["message"] for about in said if about["message"]}
    missing = {e.id for e in lesson.exercises} - {about["exercise"] for about in said}
    if missing:
        lines = done.stderr.strip().splitlines() or ["no message"]
        judged["the bench"] = _line(f"ended with status {done.returncode} before {len(missing)} exercises: {lines[-1]}")
    return judged


def _versions(lesson: Lesson, python: Path) -> dict[str, str]:
    names = [parse(need)[0].name for need in lesson.needs]
    code = "import sys, json; from importlib import metadata\n" + (
        "print(json.dumps({n: next((d.version for d in metadata.distributions(name=n)), '') for n in sys.argv[1:]}))"
    )
    return json.loads(subprocess.run([str(python), "-c", code, *names], capture_output=True, text=True, check=True).stdout)


def _line(text: str) -> str:
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())[:300]
