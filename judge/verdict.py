"""From what was heard of an answer's processes to a verdict in words."""

from __future__ import annotations

import json
import platform
import signal
from dataclasses import dataclass, field, fields

from course.parts import Exercise
from judge.protocol import Usage

STATUSES = ("passed", "partial", "failed", "not attempted", "error", "timeout", "out of memory", "crashed")
REFUSED = "(Graded code has no network, starts no processes, and has files in its working folder alone.)"
SCRATCH_BYTES, SCRATCH_FILES = 512 << 20, 20_000  # what a candidate may leave in its folder
MESSAGE_LIMIT = 4_000  # characters


@dataclass(frozen=True)
class Verdict:
    """What happened to one candidate. `seconds` is CPU time of the answer and its tests, `peak_mb` the largest resident size."""

    exercise: str
    status: str  # one of STATUSES
    points: float
    max_points: float
    message: str
    seconds: float = 0.0
    peak_mb: float = 0.0
    report: object = field(default=None, compare=False)  # what the candidate left in ``__report__``

    def as_dict(self) -> dict:
        """All but the report, which is the candidate's own: it may be nested too deeply to be copied."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "report"}

    @classmethod
    def from_dict(cls, said: dict) -> Verdict:
        """What `as_dict` gave; keys of another version are left out.

        Raises:
            TypeError: something is missing.
        """
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in said.items() if name in known})


@dataclass(frozen=True)
class Ending:
    """How the judging of one answer ended.

    Attributes:
        how: ``verdict`` (the tests said so), ``undefined`` (the student's cells ran and left no function to test),
            ``gone`` (the candidate ended before), ``judge gone``, ``timeout``, ``disk`` (too much in its folder),
            ``memory`` (of the processes that it started), ``nonsense`` (what it wrote is no message).
        candidate: how the candidate's process ended.
        seconds: computing time that it was allowed.
        failure: what went wrong in the student's cells: kind, text, line.
        told: what the tests said: status, message, earned, report.
        judge: how the process of the tests ended, where they have one.
        before: what first went wrong in the student's cells before the exercise's: kind, text, line, cell.
    """

    how: str
    candidate: Usage
    seconds: float
    failure: dict = field(default_factory=dict)
    told: dict = field(default_factory=dict)
    judge: Usage | None = None
    before: dict = field(default_factory=dict)


def verdict_on(exercise: Exercise, ending: Ending) -> Verdict:
    """The verdict, with the message for the student."""
    status, message, points = _judged(exercise, ending)
    if not message.startswith(("✗", "○", "◐", "✓")) and status not in ("passed", "partial"):
        message = f"✗ {exercise.id}: {message}"
    if status in ("error", "failed") and ("PermissionError" in message or "Operation not permitted" in message):
        message = f"{_shortened(message)} {REFUSED}"
    if status not in ("passed", "not attempted") and ending.before:
        # What is missing here may have been lost there.
        said = ending.before["text"] or ending.before["kind"]
        message = f"{_shortened(message)} Before it your {ending.before['cell'].strip('<>').removeprefix('own ')} stopped: {said}"
    used = [ending.candidate, *([ending.judge] if ending.judge else [])]
    return Verdict(
        exercise.id,
        status,
        points,
        exercise.points,
        _shortened(message),
        round(sum(u.cpu for u in used), 3),
        round(max(u.peak_mb for u in used), 1),
        _parsed(ending.told.get("report")),
    )


def _judged(exercise: Exercise, ending: Ending) -> tuple[str, str, float]:
    """Status, message, points."""
    name = exercise.id
    limit = f"{exercise.seconds:g} s of computing time"
    if _out_of_time(ending):
        return "timeout", f"✗ {name}: still running after {limit}: is there a loop that never ends?", 0.0
    if ending.how == "timeout":
        spent = ending.candidate.cpu + (ending.judge.cpu if ending.judge else 0)
        waits = "does it wait for something (sleep, input, a lock, a process)?"
        return "timeout", f"✗ {name}: no result, and only {spent:.1f} of the {limit} used: {waits}", 0.0
    if ending.how == "verdict":
        return _told(exercise, ending.told)
    if ending.how == "undefined":
        return (*_undefined(exercise, ending.failure), 0.0)
    if ending.how == "disk":
        most = f"{SCRATCH_BYTES >> 20} MB, or more than {SCRATCH_FILES} files"
        return "error", f"✗ {name}: your code writes more than {most}.", 0.0
    if ending.how == "memory":
        return "out of memory", f"✗ {name}: the processes that your code started hold more than the {exercise.memory_mb} MB that this exercise allows.", 0.0
    if ending.how == "nonsense":
        return "crashed", f"✗ {name}: your code wrote to the channel that the grader listens to, before the checks were done.", 0.0
    ended = ending.candidate if ending.how == "gone" or ending.judge is None else ending.judge
    if ended.killed:
        return "crashed", f"✗ {name}: your code closed, or wrote to, what it is asked through, before the checks were done.", 0.0
    if ended.exit == -signal.SIGKILL:
        return "out of memory", f"✗ {name}: the process was killed, most likely for using too much memory.", 0.0
    what = f"signal {-ended.exit}" if ended.exit < 0 else f"exit status {ended.exit}"
    whose = "that ran your code" if ending.how == "gone" else "that tested your code"
    return "crashed", f"✗ {name}: the process {whose} ended ({what}) before the checks were done.", 0.0


def _out_of_time(ending: Ending) -> bool:
    """A process ended by its limit of computing time; one that ignored the signal was killed a second later."""
    if ending.how in ("verdict", "undefined"):
        return False
    for used in (ending.candidate, ending.judge):
        if used and (used.exit == -signal.SIGXCPU or (used.exit == -signal.SIGKILL and used.cpu >= ending.seconds)):
            return True
    return False


def _told(exercise: Exercise, told: dict) -> tuple[str, str, float]:
    """What the tests said."""
    status, message = str(told["status"]), str(told["message"])
    if status != "passed":
        return status, message, 0.0
    if told.get("earned") is None:
        return "passed", message, exercise.points
    earned = min(max(float(told["earned"]), 0.0), exercise.points)
    return "passed" if earned >= exercise.points else "partial" if earned > 0 else "failed", message, earned


def _undefined(exercise: Exercise, failure: dict) -> tuple[str, str]:
    name = exercise.id
    if not failure:
        names = ", ".join(f"`{n}`" for n in sorted(exercise.names))
        return "error", f"✗ {name}: your cell does not define {names}: keep the names that the task gives."
    where = f" in line {failure['line']}" if failure.get("line") else ""
    text = failure["text"]
    match failure["kind"]:
        case "stub":
            return "not attempted", f"○ {name}: not attempted yet."
        case "syntax":
            version = ".".join(platform.python_version_tuple()[:2])
            return "error", f"✗ {name}: Python {version} cannot read your cell{where}: {text}"
        case "exit":
            ends = "it ends the process that should go on to the checks"
            return "error", f"✗ {name}: your cell calls exit() or sys.exit(){where}: {ends}."
        case "memory":
            return "out of memory", f"✗ {name}: your cell needs more than the {exercise.memory_mb} MB that this exercise allows."
    return "error", f"✗ {name}: your cell raised {text}{where}"


def _shortened(message: str) -> str:
    return message if len(message) <= MESSAGE_LIMIT else message[:MESSAGE_LIMIT] + "…"


def _parsed(report: object) -> object:
    try:
        return json.loads(report) if type(report) is str and report else None
    except (ValueError, RecursionError):
        return None
