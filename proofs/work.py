"""One piece of proving, in a process of its own: ``python -m proofs.work JOB``, with the job as JSON.

It says what happens in lines of JSON: ``{"total": 90}``, ``{"step": "what"}``, ``{"problem": "what"}``, at the end
``{"done": true}``.  What is proven is recorded as it is reached.  When its standard input closes, whoever
started it is gone: it ends, with every process below it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from course.lesson import read
from course.parts import ROOT, Lesson
from course.records import change_record, read_record, record_audit, update_record
from unit24.errors import UserError

_talking = threading.Lock()
_out = sys.stdout


@dataclass(frozen=True)
class Job:
    """What one process proves. Audit and sample class of a lesson share one run of its reference."""

    subject: str  # a lesson, or "sweeps"
    proofs: tuple[str, ...]
    parts: tuple[str, ...] = ()  # exercises to audit, or students to compare
    afresh: bool = False  # mutants are judged again though nothing changed
    threads: int = 1  # answers judged side by side
    seconds: float = 0.0  # expected
    root: str = str(ROOT)

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        fields = json.loads(text)
        return cls(**fields | {name: tuple(fields[name]) for name in ("proofs", "parts")})


def do(job: Job) -> None:
    """Prove and record."""
    if job.subject == "sweeps":
        return _sweep(job)
    lesson = read(Path(job.root) / "lessons" / f"{job.subject}.py")
    {"nbval": _nbval, "stock": _stock}.get(job.proofs[0], _judged)(job, lesson)


def _judged(job: Job, lesson: Lesson) -> None:
    from authoring import audit
    from grader.classroom import STUDENTS
    from judge.bench import Bench
    from proofs import sample

    audited, graded = "audit" in job.proofs, "sample_class" in job.proofs
    earlier = None if job.afresh else read_record(lesson.name, _records(job)).get("audit")
    exercises, students = set(job.parts), len(STUDENTS) if graded else 0
    _say(total=(audit.answers_to_judge(lesson, earlier, exercises) if audited else 0) + students)
    now = sample.sample_hash(lesson)
    with Bench(lesson, None if graded else exercises) as bench:
        if audited:
            record = partial(record_audit, lesson, _records(job))
            audit.audit_lesson(lesson, job.threads, earlier, exercises, _step, record, bench)
        if graded:
            start = time.monotonic()
            problems = sample.grade_sample(lesson, bench, job.threads, _step)
            _record(job, "sample_class", problems, hash=now, seconds=_since(start), students=students)


def _nbval(job: Job, lesson: Lesson) -> None:
    from proofs import solved

    start, root = time.monotonic(), Path(job.root)
    now = solved.solved_hash(lesson, root)
    _record(job, "nbval", solved.run_again(lesson, root), hash=now, seconds=_since(start))


def _stock(job: Job, lesson: Lesson) -> None:
    from proofs import stock

    start, root = time.monotonic(), Path(job.root)
    now = stock.stock_hash(lesson, root)
    recorded = read_record(lesson.name, _records(job)).get("stock")
    known = isinstance(recorded, dict) and recorded.get("hash") == now and not job.afresh
    compared, spent = (recorded["students"], recorded["seconds"]) if known else ([], 0)
    if not known:
        _forget(job, "stock")
    _say(total=len(job.parts))

    def done(student: str) -> None:
        compared.append(student)
        _record(job, "stock", [], hash=now, seconds=round(spent + _since(start), 1), students=sorted(compared))
        _step(student)

    for problem in stock.compare(lesson, list(job.parts), root, done):
        _say(problem=problem)


def _sweep(job: Job) -> None:
    """While it runs, its record says which tests passed (``"reached"``, for the hash ``"begun"``): a run that was stopped goes on."""
    from proofs import sweeps

    start, (file,), root = time.monotonic(), job.parts, Path(job.root)
    now = sweeps.sweep_hash(file, root)
    known = read_record(sweeps.NAME, _records(job)).get(file, {})
    known = known if known.get("begun") == now and not job.afresh else {"reached": [], "seconds": 0.0}

    kept = {name for name in sweeps.sweeps(root) if name != file}  # those that are gone leave the record

    def record(entry: dict[str, Any]) -> None:
        change_record(sweeps.NAME, lambda all_: {f: about for f, about in all_.items() if f in kept} | {file: entry}, _records(job))

    with tempfile.TemporaryDirectory(prefix="unit24-sweep-") as folder:
        reached, ended = Path(folder) / "reached.txt", threading.Event()
        reached.write_text("".join(f"{test}\n" for test in known["reached"]), encoding="utf-8")

        def so_far() -> dict[str, Any]:
            tests = reached.read_text(encoding="utf-8").splitlines()
            return {"begun": now, "reached": tests, "seconds": round(known["seconds"] + _since(start), 1)}

        def keep() -> None:
            while not ended.wait(5):
                record(so_far())

        keeping = threading.Thread(target=keep)
        keeping.start()
        try:
            problems = sweeps.run_sweep(file, reached, root)
        finally:
            ended.set()
            keeping.join()
        found = so_far()
    for problem in problems:
        _say(problem=problem)
    record(found if problems else {"hash": now, "seconds": found["seconds"], "passed": len(found["reached"])})


def _records(job: Job) -> Path:
    return Path(job.root) / "lessons" / "records"


def _record(job: Job, proof: str, problems: list[str], **about: Any) -> None:
    """Record the proof; or say what is wrong and take an earlier one out."""
    for problem in problems:
        _say(problem=problem)
    if problems:
        _forget(job, proof)
    else:
        update_record(job.subject, proof, about, _records(job))


def _forget(job: Job, proof: str) -> None:
    change_record(job.subject, lambda record: {key: value for key, value in record.items() if key != proof}, _records(job))


def _since(start: float) -> float:
    return round(time.monotonic() - start, 1)


def _step(what: str) -> None:
    _say(step=what)


def _say(**fields: Any) -> None:
    with _talking:  # answers are judged in threads
        print(json.dumps(fields), file=_out, flush=True)


def _end_with_parent() -> None:
    while os.read(0, 1024):  # not sys.stdin, whose lock would be held when Python ends
        pass
    os.killpg(0, signal.SIGKILL)


def main(text: str) -> int:
    global _out
    _out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no message
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        do(Job.from_json(text))
    except UserError as error:
        _say(problem=" ".join(str(error).split()))
    _say(done=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
