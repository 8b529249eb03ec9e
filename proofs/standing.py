"""Which recorded proofs hold. One whose hash is no longer that of what decides on it is stale, and counts for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from authoring import audit
from authoring.audit import ExerciseAudit
from course.parts import ROOT, Lesson
from course.records import read_record
from judge.fingerprint import audit_hashes
from proofs import sample, solved, stock, sweeps
from proofs.chosen import students

PROVEN, STALE, MISSING, SHORT = "proven", "stale", "missing", "fell short"


@dataclass(frozen=True)
class Standing:
    """Of one proof. `subject` is a lesson or ``"sweeps"``, `proof` a key of its record; `what` says more in words."""

    subject: str
    proof: str
    state: str  # PROVEN, STALE, MISSING or SHORT
    what: str = ""

    def __str__(self) -> str:
        name = self.subject.split("_")[0]
        return f"{self.subject}, {self.proof}: {self.state}{f' ({self.what})' if self.what else ''}: run `unit24 prove {name}`"


def standings(lesson: Lesson, root: Path = ROOT) -> list[Standing]:
    """Of the four proofs about a lesson."""
    record = read_record(lesson.name, root / "lessons" / "records")
    return [
        _audit_standing(lesson, record.get("audit", {})),
        Standing(lesson.name, "nbval", _state(record.get("nbval"), solved.solved_hash(lesson, root))),
        Standing(lesson.name, "sample_class", _state(record.get("sample_class"), sample.sample_hash(lesson))),
        _stock_standing(lesson, record.get("stock"), root),
    ]


def sweep_standings(root: Path = ROOT) -> list[Standing]:
    record = read_record(sweeps.NAME, root / "lessons" / "records")
    return [Standing(sweeps.NAME, file, _state(record.get(file), sweeps.sweep_hash(file, root))) for file in sweeps.sweeps(root)]


def to_audit(lesson: Lesson, recorded: dict[str, dict]) -> list[str]:
    """Exercises without a recorded audit that holds and finds nothing wrong."""
    hold = audits_that_hold(lesson, recorded)
    return [e.id for e in lesson.exercises if e.id not in hold or not hold[e.id].sound]


def to_compare(lesson: Lesson, recorded: Any, root: Path = ROOT) -> list[str]:
    """Students whose scores from stock nbgrader are not recorded for what decides on them now."""
    proven = _state(recorded, stock.stock_hash(lesson, root)) == PROVEN
    return [student for student in students(lesson) if not proven or student not in recorded["students"]]


def _state(recorded: Any, hash_now: str) -> str:
    if not isinstance(recorded, dict) or "hash" not in recorded:
        return MISSING
    return PROVEN if recorded["hash"] == hash_now else STALE


def _stock_standing(lesson: Lesson, recorded: Any, root: Path) -> Standing:
    left, wanted = to_compare(lesson, recorded, root), students(lesson)
    if left and len(left) < len(wanted):
        return Standing(lesson.name, "stock", MISSING, f"{len(left)} of {len(wanted)} students")
    return Standing(lesson.name, "stock", _state(recorded, stock.stock_hash(lesson, root)))


def audits_that_hold(lesson: Lesson, recorded: dict[str, dict]) -> dict[str, ExerciseAudit]:
    """Of a recorded audit the exercises for which it holds, sound or not."""
    hashes, _ = audit_hashes(lesson, audit.MODULE)
    return {name: ExerciseAudit(**recorded[name]) for name in hashes if _state(recorded.get(name), hashes[name]) == PROVEN}


def _audit_standing(lesson: Lesson, recorded: dict[str, dict]) -> Standing:
    def standing(state: str, what: str = "") -> Standing:
        return Standing(lesson.name, "audit", state, what)

    if not recorded:
        return standing(MISSING)
    hold = audits_that_hold(lesson, recorded)
    open_ = [exercise.id for exercise in lesson.exercises if exercise.id not in hold]
    if changed := sum(name in recorded for name in open_):
        return standing(STALE, f"{changed} of {len(lesson.exercises)} exercises")
    if open_:
        return standing(MISSING, f"{len(open_)} of {len(lesson.exercises)} exercises")
    if notes := [f"{name}: {note}" for name, found in hold.items() for note in found.notes]:
        return standing(SHORT, notes[0])
    score = audit.totals({lesson.name: hold})["mutation_score"]
    if score is not None and score < audit.MUTANTS_WANTED:
        return standing(SHORT, f"{100 * score:.1f} % of the mutants killed")
    return standing(PROVEN)
