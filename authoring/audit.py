"""The audit: does each exercise turn down what is wrong and accept what is right?

Every answer is judged on the same bench that grades students.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace

from authoring.perturbations import KINDS, perturbed
from course.mutants import Mutant, mutants, named_equivalent
from course.notebook import student_source
from course.parts import Cell, Exercise, Fault, Lesson
from course.rules import broken_rules
from course.seeds import reseeded
from judge.bench import Bench
from judge.fingerprint import audit_hashes
from judge.verdict import Verdict

MUTANTS_WANTED = 0.95
SEEDS = (101, 2027)  # for hidden tests, beside the one in the text
MODULE = "authoring.audit"  # what it imports decides on an audit


@dataclass
class ExerciseAudit:
    """Counts for one exercise, and in words everything that fell short."""

    reference: bool = False
    stub: bool = False
    wrong: list[int] = field(default_factory=lambda: [0, 0, 0])  # answers, rejected, with their words
    right: list[int] = field(default_factory=lambda: [0, 0])  # answers, accepted
    visible: list[int] = field(default_factory=lambda: [0, 0])  # wrong answers that fall, and already by what a student sees
    seeds: list[int] = field(default_factory=lambda: [0, 0])  # answers judged with other hidden seeds, to the same points
    perturbations: list[int] = field(default_factory=lambda: [0, 0])  # that change a result, rejected
    mutants: list[int] = field(default_factory=lambda: [0, 0, 0])  # made, killed, named equivalent
    kinds: dict[str, list[int]] = field(default_factory=dict)  # the same for each kind of mutant
    survivors: list[str] = field(default_factory=list)  # mutants that passed: kind and difference
    misnamed: bool = False  # an `equivalent` is none: there is a note, and mutants are to be judged again
    rules: dict[str, int] = field(default_factory=dict)  # of the task: wrong answers that break each
    reported: list[str] = field(default_factory=list)  # of the rules those that can only be reported
    notes: list[str] = field(default_factory=list)  # what fell short
    hash: str = ""  # of all that decides on these counts: they hold for exactly this
    mutants_hash: str = ""  # of all that decides on the mutants' counts

    @property
    def sound(self) -> bool:
        """Everything but mutants is as it must be."""
        return not self.notes

    def note(self, cell: Cell, message: str) -> None:
        self.notes.append(str(cell.fault(message)))

    def as_dict(self) -> dict:
        return asdict(self)


def audit_lesson(
    lesson: Lesson,
    jobs: int = 2,
    recorded: dict[str, dict] | None = None,
    only: set[str] | None = None,
    step: Callable[[str], None] = lambda text: None,
    done: Callable[[str, ExerciseAudit], None] = lambda exercise, found: None,
    bench: Bench | None = None,
) -> dict[str, ExerciseAudit]:
    """Judge every answer that the lesson's text gives or implies.

    Args:
        recorded: an earlier audit (``ExerciseAudit.as_dict`` by exercise): mutants are not judged again where
            nothing has changed since that decides on them.
        step: called once an answer.
        done: called as each exercise is finished.
        bench: the lesson's, if it runs already.

    Raises:
        LessonError: the lesson's own reference cells fail.
    """
    exercises = [e for e in lesson.exercises if only is None or e.id in only]
    (hashes, mutant_hashes), still_hold = audit_hashes(lesson, MODULE), mutants_that_hold(lesson, recorded)
    with nullcontext(bench) if bench else Bench(lesson, [e.id for e in exercises]) as bench, ThreadPoolExecutor(jobs) as pool:
        audits = {}
        for exercise in exercises:
            result = _audit_exercise(bench, pool, exercise, exercise.id not in still_hold, step)
            result.hash, result.mutants_hash = hashes[exercise.id], mutant_hashes[exercise.id]
            if earlier := still_hold.get(exercise.id):
                result.mutants, result.kinds, result.survivors = earlier["mutants"], earlier["kinds"], earlier["survivors"]
            audits[exercise.id] = result
            done(exercise.id, result)
        return audits


def mutants_that_hold(lesson: Lesson, recorded: dict[str, dict] | None) -> dict[str, dict]:
    """Of an earlier audit the exercises whose mutants need not be judged again."""
    if not recorded:
        return {}
    _, hashes = audit_hashes(lesson, MODULE)
    hold = {name for name in recorded if name in hashes and recorded[name].get("mutants_hash") == hashes[name]}
    return {name: recorded[name] for name in hold if not recorded[name]["misnamed"]}


def answers_to_judge(lesson: Lesson, recorded: dict[str, dict] | None = None, only: set[str] | None = None) -> int:
    """How many judgements `audit_lesson` makes with these arguments (for a progress bar)."""
    exercises = [e for e in lesson.exercises if only is None or e.id in only]
    still_hold = mutants_that_hold(lesson, recorded)
    return sum(
        2
        + len(e.wrong) * (2 + len(_other_seeds(e)))
        + len(e.right) * (1 + len(_other_seeds(e)))
        + len(KINDS)
        + (0 if e.id in still_hold else len(_mutants(e)))
        for e in exercises
    )


def _audit_exercise(bench: Bench, pool: ThreadPoolExecutor, exercise: Exercise, with_mutants: bool, step) -> ExerciseAudit:
    result, source = ExerciseAudit(), exercise.cell.source

    def judge(text: str, slack: float = 1.0, exercise: Exercise = exercise) -> Verdict:
        verdict = bench.judge(exercise, text, slack=slack)
        step(exercise.id)
        return verdict

    reference = judge(source)
    result.reference = reference.status == "passed"
    if not result.reference:
        result.note(exercise.cell, f"the reference does not pass: {reference.status}: {reference.message}")
    # A mutant may loop for ever: it gets a few times what the reference needs, not the whole limit.
    slack = min(1.0, (3 + 8 * reference.seconds) / exercise.seconds)

    stub = pool.submit(judge, student_source(exercise.cell))
    wrong = [pool.submit(judge, cell.source) for cell in exercise.wrong]
    right = [pool.submit(judge, cell.source) for cell in exercise.right]
    spoilt = [pool.submit(judge, perturbed(source, exercise.names, kind), slack) for kind in KINDS]
    visible = [pool.submit(judge, cell.source, exercise=_as_seen(exercise)) for cell in exercise.wrong]
    answers = [*exercise.wrong, *exercise.right]
    seeded = [[pool.submit(judge, cell.source, exercise=other) for cell in answers] for other in _other_seeds(exercise)]
    made = _mutants(exercise) if with_mutants else []
    mutated = [pool.submit(judge, mutant.source, slack) for mutant in made]

    _count_stub(exercise, result, stub.result())
    _count_wrong(exercise, result, [f.result() for f in wrong])
    _count_right(exercise, result, [f.result() for f in right])
    _count_visible(result, [f.result() for f in wrong], [f.result() for f in visible])
    for seed, other in zip(SEEDS, seeded):
        _count_seed(exercise, result, seed, [f.result() for f in (*wrong, *right)], [f.result() for f in other])
    _count_spoilt(exercise, result, [f.result() for f in spoilt])
    if with_mutants:
        _count_mutants(exercise, result, made, [f.result() for f in mutated])
    _count_rules(exercise, result)
    for count, least, what in (
        (len(exercise.wrong), 3, "wrong answers"),
        (len(exercise.right), 1, "right answers"),
        (exercise.hints, 3, "hints"),
    ):
        if count < least:
            result.note(exercise.cell, f"{count} {what}, the standard asks for {least}")
    return result


def _count_stub(exercise: Exercise, result: ExerciseAudit, verdict: Verdict) -> None:
    result.stub = verdict.status == "not attempted" and verdict.points == 0
    if not result.stub:
        what = f"the untouched stub is {verdict.status!r} with {verdict.points:g} points, not 'not attempted'"
        result.note(exercise.cell, f"{what}: {verdict.message}")


def _count_wrong(exercise: Exercise, result: ExerciseAudit, verdicts: list[Verdict]) -> None:
    for cell, verdict in zip(exercise.wrong, verdicts):
        says = str(cell.options["says"])
        rejected = verdict.points < exercise.points
        named = rejected and says.lower() in verdict.message.lower()
        result.wrong = [a + b for a, b in zip(result.wrong, (1, rejected, named))]
        if not rejected:
            result.note(cell, f"this wrong answer gets full points (says={says!r})")
        elif not named:
            result.note(cell, f"the message lacks {says!r}: {verdict.message}")


def _count_right(exercise: Exercise, result: ExerciseAudit, verdicts: list[Verdict]) -> None:
    for cell, verdict in zip(exercise.right, verdicts):
        accepted = verdict.status == "passed" and verdict.points == exercise.points
        result.right = [a + b for a, b in zip(result.right, (1, accepted))]
        if not accepted:
            result.note(cell, f"this right answer is turned down ({verdict.status}, {verdict.points:g} points): {verdict.message}")


def _mutants(exercise: Exercise) -> list[Mutant]:
    """The field's own mistakes wait until the task says by rules what it demands: before, nobody can tell which are mistakes."""
    return mutants(exercise.cell.source, field=bool(exercise.rules))


def _as_seen(exercise: Exercise) -> Exercise:
    """The exercise with the tests that a student has."""
    return replace(exercise, tests=replace(exercise.tests, source=student_source(exercise.tests)))


def _other_seeds(exercise: Exercise) -> list[Exercise]:
    return [other for seed in SEEDS if (other := reseeded(exercise, seed))]


def _count_visible(result: ExerciseAudit, verdicts: list[Verdict], seen: list[Verdict]) -> None:
    for verdict, visible in zip(verdicts, seen):
        if verdict.points < verdict.max_points:
            result.visible = [a + b for a, b in zip(result.visible, (1, visible.points < visible.max_points))]


def _count_seed(exercise: Exercise, result: ExerciseAudit, seed: int, verdicts: list[Verdict], seeded: list[Verdict]) -> None:
    for cell, verdict, other in zip((*exercise.wrong, *exercise.right), verdicts, seeded):
        same = verdict.points == other.points
        result.seeds = [a + b for a, b in zip(result.seeds, (1, same))]
        if not same:
            result.note(cell, f"{verdict.points:g} points, and {other.points:g} with the hidden seed {seed}: {other.message}")


def _count_spoilt(exercise: Exercise, result: ExerciseAudit, verdicts: list[Verdict]) -> None:
    """Those that changed a result, as the candidate itself reports; the others say nothing."""
    for kind, verdict in zip(KINDS, verdicts):
        rejected = verdict.points < exercise.points
        changed = isinstance(verdict.report, dict) and verdict.report["changed"]
        if not changed and (verdict.status == "passed" if rejected else isinstance(verdict.report, dict)):
            continue
        result.perturbations = [a + b for a, b in zip(result.perturbations, (1, rejected))]
        if not rejected:
            result.note(exercise.tests, f"results made {kind!r} still pass")


def _count_mutants(exercise: Exercise, result: ExerciseAudit, made: list[Mutant], verdicts: list[Verdict]) -> None:
    named = set()
    for mutant, verdict in zip(made, verdicts):
        killed = verdict.points < exercise.points
        matches = [cell for cell in exercise.equivalent if named_equivalent(mutant, cell.source)]
        named.update(cell.line for cell in matches)
        for cell in matches if killed else ():
            result.misnamed = True
            result.note(cell, f"called equivalent, but the tests reject it: {verdict.message}")
        equivalent = bool(matches) and not killed
        one = (1, killed, equivalent)
        result.mutants = [a + b for a, b in zip(result.mutants, one)]
        result.kinds[mutant.kind] = [a + b for a, b in zip(result.kinds.get(mutant.kind, (0, 0, 0)), one)]
        if not killed and not equivalent:
            result.survivors.append(f"{mutant.kind}:\n{mutant.diff}")
    for cell in exercise.equivalent:
        if cell.line not in named:
            result.misnamed = True
            result.note(cell, "this `equivalent` names no mutant that is made: copy the `- ` and `+ ` lines that the audit shows")


def _count_rules(exercise: Exercise, result: ExerciseAudit) -> None:
    """How many wrong answers break each rule of the task, and what that lacks."""
    result.reported = [rule.name for rule in exercise.rules if rule.reported]
    for rule in exercise.rules:
        result.rules[rule.name] = sum(rule.name in broken_rules(cell) for cell in exercise.wrong)
        if not result.rules[rule.name]:
            result.notes.append(str(Fault(exercise.cell.path, rule.line, f"no wrong answer breaks the rule {rule.name!r}")))
    if exercise.rules and len(result.reported) == len(exercise.rules):
        result.note(exercise.cell, "all its rules can only be reported, which a student's code can forge")


def totals(audits: dict[str, dict[str, ExerciseAudit]]) -> dict:
    """Sums over all exercises; `mutation_score` leaves the named equivalents out."""
    every = [a for lesson in audits.values() for a in lesson.values()]

    def add(name: str) -> list[int]:
        return [sum(column) for column in zip(*(getattr(a, name) for a in every))] if every else [0, 0, 0]

    made, killed, equivalent = add("mutants")
    real = made - equivalent
    return {
        "exercises": len(every),
        "reference": sum(a.reference for a in every),
        "stub": sum(a.stub for a in every),
        "wrong": add("wrong"),
        "right": add("right"),
        "visible": add("visible"),
        "seeds": add("seeds"),
        "perturbations": add("perturbations"),
        "mutants": [made, killed, equivalent],
        "rules": sum(len(a.rules) for a in every),
        "reported": sum(len(a.reported) for a in every),
        "mutation_score": round(killed / real, 4) if real else None,
        "sound": all(a.sound for a in every),
    }
