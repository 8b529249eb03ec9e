"""What there is to prove, and proving it: a process for each job, so many side by side, the longest first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from json import loads
from pathlib import Path

from authoring.audit import answers_to_judge
from course.parts import ROOT, Lesson
from course.records import read_record
from grader.classroom import STUDENTS
from proofs import standing, sweeps
from proofs.chosen import students
from proofs.standing import PROVEN
from proofs.work import Job

# Seconds expected of what was never timed, beside the lesson's own run.
AN_ANSWER, A_STUDENT, A_KERNEL, A_SWEEP = 0.3, 2.0, 12.0, 200.0


class Watcher:
    """Told what happens; does nothing by itself. Called from several threads."""

    def start(self, job: Job) -> None: ...

    def total(self, job: Job, steps: int) -> None: ...

    def step(self, job: Job, what: str) -> None: ...

    def end(self, job: Job, problems: list[str], seconds: float) -> None: ...


def plan(lessons: Iterable[Lesson], with_sweeps: bool, workers: int, afresh: bool = False, root: Path = ROOT) -> list[Job]:
    """Jobs for everything that does not hold (with `afresh` for all), the longest first."""
    jobs = [job for lesson in lessons for job in _lesson_jobs(lesson, afresh, root)]
    recorded = read_record(sweeps.NAME, root / "lessons" / "records")
    for about in standing.sweep_standings(root) if with_sweeps else ():
        if afresh or about.state != PROVEN:
            seconds = recorded.get(about.proof, {}).get("seconds", A_SWEEP)
            jobs.append(Job(sweeps.NAME, ("sweep",), (about.proof,), afresh, seconds=seconds, root=str(root)))
    threads = max(1, workers // max(1, len(jobs)))
    return [replace(job, threads=threads) for job in sorted(jobs, key=lambda job: -job.seconds)]


def _lesson_jobs(lesson: Lesson, afresh: bool, root: Path) -> list[Job]:
    record = read_record(lesson.name, root / "lessons" / "records")
    open_ = {about.proof for about in standing.standings(lesson, root) if afresh or about.state != PROVEN}
    once = record.get("solution", {}).get("cpu_seconds", 60.0)

    def seconds(proof: str, otherwise: float) -> float:
        recorded = record.get(proof)
        return recorded.get("seconds", otherwise) if isinstance(recorded, dict) else otherwise

    jobs = []
    exercises = standing.to_audit(lesson, {} if afresh else record.get("audit", {}))
    judged = [*(["audit"] if exercises else []), *(["sample_class"] if "sample_class" in open_ else [])]
    if judged:
        answers = answers_to_judge(lesson, None if afresh else record.get("audit"), set(exercises))
        graded = seconds("sample_class", A_STUDENT * len(STUDENTS)) if "sample_class" in judged else 0.0
        expected = once + AN_ANSWER * answers + graded
        jobs.append(Job(lesson.name, tuple(judged), tuple(exercises), afresh, seconds=expected, root=str(root)))
    if "nbval" in open_:
        jobs.append(Job(lesson.name, ("nbval",), (), afresh, seconds=seconds("nbval", once + A_KERNEL), root=str(root)))
    if "stock" in open_:
        left, all_of_them = standing.to_compare(lesson, {} if afresh else record.get("stock"), root), len(students(lesson))
        each = seconds("stock", (once + A_KERNEL) * all_of_them) / all_of_them
        jobs.append(Job(lesson.name, ("stock",), tuple(left), afresh, seconds=each * len(left), root=str(root)))
    return jobs


def prove(jobs: list[Job], workers: int, watcher: Watcher) -> list[str]:
    """Do all jobs; what went wrong, a line each. Stopped by an exception, it leaves no process behind."""
    running: set[subprocess.Popen] = set()
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        return [problem for problems in pool.map(lambda job: _run(job, running, watcher), jobs) for problem in problems]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list(running):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _run(job: Job, running: set[subprocess.Popen], watcher: Watcher) -> list[str]:
    watcher.start(job)
    start, problems, done = time.monotonic(), [], False
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    settings = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    errors = tempfile.TemporaryFile("w+", errors="replace")
    process = subprocess.Popen(
        [sys.executable, "-m", "proofs.work", job.as_json()],
        env=settings,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        start_new_session=True,
    )
    running.add(process)
    with errors, process:
        for line in process.stdout:
            said = loads(line)
            if "total" in said:
                watcher.total(job, said["total"])
            if "step" in said:
                watcher.step(job, said["step"])
            if "problem" in said:
                problems.append(f"{job.subject}: {said['problem']}")
            done = done or "done" in said
        process.wait()
        running.discard(process)
        if not done:
            errors.seek(0)
            said = errors.read().strip().splitlines() or ["no message"]
            problems.append(f"{job.subject}, {' and '.join(job.proofs)}: ended with status {process.returncode}: {said[-1]}")
    watcher.end(job, problems, time.monotonic() - start)
    return problems
