"""Judge a lesson's references in the environment that runs this: ``python -m proofs.lane_reference LESSON.py``.

Prints a line of JSON for each exercise: ``{"exercise": …, "message": what fell short, or ""}``.
"""

import json
import sys
from pathlib import Path

from unit24.needs import install

JUDGING = ("jupytext>=1.16", "nbformat", "psutil")  # what the bench needs beside what lessons need


def main(path: str) -> None:
    absent = install(JUDGING)
    if absent:
        sys.exit(f"not here: {absent}")
    from course.lesson import read
    from judge.bench import Bench

    lesson = read(Path(path))
    with Bench(lesson) as bench:
        for exercise in lesson.exercises:
            verdict = bench.judge(exercise, exercise.cell.source)
            short = verdict.points < verdict.max_points
            message = f"{verdict.status}: {' '.join(verdict.message.split())}" if short else ""
            print(json.dumps({"exercise": exercise.id, "message": message}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
