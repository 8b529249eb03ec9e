"""The rules of a task: what it demands, a bullet each, named in a comment that nobody but the audit sees.

``- The model is in training mode. <!-- rule: mode -->`` ends a bullet in the prose of an exercise; with
``<!-- rule: mode, reported -->`` a student's code could forge what tells whether the rule was kept.
A rule belongs to the exercise whose tests come next after it; an earlier exercise's tests, a written
answer or a quiz end the prose of what stands before them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from course.parts import Cell, Exercise, Fault, Rule

COMMENT = re.compile(r"<!--\s*rule\b", re.IGNORECASE)
MARK = re.compile(r"\s*<!--\s*rule:\s*([a-z][a-z0-9_]*)\s*(,\s*reported\s*)?-->\s*$")
BULLET = re.compile(r"\s*([-*+]|\d+[.)])\s+\S")
FORM = "`<!-- rule: name -->` or `<!-- rule: name, reported -->` at the end of a bullet"


def take_out(cells: Iterable[Cell]) -> tuple[list[Cell], dict[str, tuple[Rule, ...]], list[Fault]]:
    """The cells of a story without their rules, the rules by exercise, and what is wrong with them."""
    kept, by_exercise, faults = [], {}, []
    waiting: list[Rule] = []
    for cell in cells:
        if cell.role == "unmarked" and cell.type == "markdown":
            cell, rules, wrong = _rules(cell)
            waiting += rules
            faults += wrong
        elif cell.role in ("tests", "answer", "quiz"):
            if cell.role == "tests":
                by_exercise[cell.name] = tuple(waiting)
            else:
                faults += _left_over(waiting, cell)
            waiting = []
        kept.append(cell)
    return kept, by_exercise, faults + (_left_over(waiting, kept[-1]) if waiting else [])


def rule_faults(exercise: Exercise) -> Iterator[Fault]:
    """Rules that an exercise has twice, and wrong answers that do not say which of them they break."""
    names = [rule.name for rule in exercise.rules]
    for number, rule in enumerate(exercise.rules):
        if rule.name in names[:number]:
            yield Fault(exercise.cell.path, rule.line, f"a second rule {rule.name!r} of {exercise.cell.label}")
    for cell in exercise.wrong:
        broken = broken_rules(cell)
        if names and not broken:
            yield cell.fault(f"{cell.label} needs breaks=: which of the task's rules it breaks ({', '.join(names)})")
        for number, name in enumerate(broken):
            if name not in names:
                yield cell.fault(f"{cell.label} breaks {name!r}, which is no rule of its task: {', '.join(names) or 'it names none'}")
            elif name in broken[:number]:
                yield cell.fault(f"{cell.label} names {name!r} twice in breaks=")


def broken_rules(cell: Cell) -> list[str]:
    """The names in a wrong answer's ``breaks="one, another"``."""
    return re.findall(r"[^\s,]+", str(cell.options.get("breaks", "")))


# --------------------------------------------------------------------------------------------------


def _rules(cell: Cell) -> tuple[Cell, list[Rule], list[Fault]]:
    """A cell without its rules, the rules, and comments that look like one."""
    lines, rules, faults = cell.source.splitlines(), [], []
    for number, line in enumerate(lines):
        if not COMMENT.search(line):
            continue
        match = MARK.search(line)
        if not match or COMMENT.search(line[: match.start()]) or not _ends_bullet(lines, number):
            faults.append(cell.fault(f"a rule of a task is {FORM}", number + 1))
            continue
        rules.append(Rule(match[1], bool(match[2]), cell.line + number))
        lines[number] = line[: match.start()]
    return replace(cell, source="\n".join(lines)), rules, faults


def _ends_bullet(lines: list[str], number: int) -> bool:
    """Whether a bullet ends in this line."""
    after = lines[number + 1] if number + 1 < len(lines) else ""
    if after.strip() and not BULLET.match(after):
        return False
    while number >= 0 and lines[number].strip():
        if BULLET.match(lines[number]):
            return True
        number -= 1
    return False


def _left_over(rules: list[Rule], cell: Cell) -> list[Fault]:
    return [Fault(cell.path, rule.line, f"rule {rule.name!r} belongs to no exercise: no tests follow it") for rule in rules]
