"""The questions of a quiz cell: ``1. text``, then options ``- [ ] text :: feedback`` (``[x]`` is right)."""

from __future__ import annotations

import re

from course.parts import Cell, Fault, Question


def parse_quiz(cell: Cell) -> tuple[list[Question], list[Fault]]:
    """The questions, and what is wrong with them."""
    questions: list[tuple[str, list]] = []
    faults = []
    for number, line in enumerate(map(str.strip, cell.source.splitlines()), 1):
        if not line:
            continue
        if match := re.match(r"\d+\.\s+(.*)", line):
            questions.append((match[1], []))
        elif match := re.match(r"- \[([ x])\]\s+(.*)", line):
            text, separator, feedback = match[2].partition(" :: ")
            if not questions:
                faults.append(cell.fault("a quiz option stands before the first question", number))
            elif not separator or not feedback.strip():
                faults.append(cell.fault("a quiz option has no feedback: write `- [ ] option :: feedback`", number))
            if questions:
                questions[-1][1].append((text.strip(), match[1] == "x", feedback.strip()))
        else:
            what = "a quiz holds `1. question` and `- [ ] option :: feedback` lines, each on one line"
            faults.append(cell.fault(what, number))
    for text, options in questions:
        if len(options) < 2 or sum(right for _, right, _ in options) != 1:
            faults.append(cell.fault(f"quiz question {text[:40]!r} needs at least two options and exactly one `[x]`"))
    return [Question(text, tuple(options)) for text, options in questions], faults
