"""Random notebooks, as people edit them, in IPython's shell and in the grader: who passes there gets the points here.

A run of the tests takes a few of one lesson, `unit24 prove sweeps` a thousand of three.
"""

import json
import os
import random
from pathlib import Path

import pytest
from drawn import ALL
from edits import Edited
from kernel import kernel_verdicts

from course.lesson import LESSONS, find_lessons, read
from grader.classroom import SampleClass
from grader.grade import find_work, grade_class

FIXTURES = Path(__file__).parents[1] / "fixtures"
SMALL = (FIXTURES / "61_small.py", 400 if ALL else 16, ())
LESSONS_OF_A_SWEEP = [(LESSONS / f"{name}.py", 300, ("torch",)) for name in find_lessons(("02", "16"))] if ALL else []

pytestmark = [pytest.mark.long, pytest.mark.timeout(7200)]


@pytest.mark.parametrize(("path", "count", "preload"), [SMALL, *LESSONS_OF_A_SWEEP], ids=lambda value: getattr(value, "stem", ""))
def test_who_passes_in_a_kernel_gets_the_points(tmp_path, path, count, preload):
    lesson = read(path)
    sample, seed = SampleClass(lesson), os.environ.get("UNIT24_SEED", "24")
    made = [Edited(lesson, random.Random(f"{seed} {lesson.name} {number}"), sample) for number in range(count)]
    for number, notebook in enumerate(made):
        for place, content in ((f"edited{number}", notebook.content), (f"plain{number}", sample._notebook(notebook.sources))):
            file = tmp_path / "submitted" / place / lesson.name / f"{lesson.name}.ipynb"
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps(content))
    kernel = kernel_verdicts([notebook.content for notebook in made], preload, timeout=7000)
    graded = {r.student: r for r in grade_class(tmp_path, find_work(tmp_path, (lesson.name,), path.parent), lessons=path.parent)}
    different, passed = [], 0
    for number, (notebook, visible) in enumerate(zip(made, kernel, strict=True)):
        for exercise in lesson.exercises:
            if visible.get(exercise.id) and notebook.answers[exercise.id] != "none":
                passed += 1
                here, alone = (graded[f"{kind}{number}"].exercises[exercise.id] for kind in ("edited", "plain"))
                # What an answer earns beside nobody else's edits: full points if it is right; a wrong one that only hidden values find, less.
                if here.points < (exercise.points if notebook.answers[exercise.id] == "right" else alone.points):
                    different.append(f"{number} {exercise.id} {notebook.answers[exercise.id]} {notebook.steps}: {here.message}")
    assert not different, "\n".join(different)
    assert passed > count
