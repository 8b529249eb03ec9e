"""The same tests cell in one process, as in a notebook, and in the bench: the same status and the same points."""

import sys
from pathlib import Path

import pytest
import torch._dynamo  # so that each fork has it  # noqa: F401
import torch.export  # noqa: F401
from drawn import drawn

from course.lesson import read
from judge.bench import Bench
from lessons import points_in_one_process

sys.path.insert(0, str(Path(__file__).parent))
from attacks.read import INNOCENT, corpus, lesson_path  # noqa: E402

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

LESSON = read(lesson_path("63_wall"))
ODD = (
    "callable_result", "code_replaced", "data_class", "decorated", "deepcopied", "marshalled", "method_result", "mock_patches", "moved",
    "names_overwritten", "own_errors", "parameter_result", "program_output", "slots_and_metaclass", "threads_ask", "wrapped",
)  # fmt: skip


def answers():
    """(name, exercise, answer): the reference, right and wrong answers, and some that are odd."""
    for exercise in LESSON.exercises:
        for kind, cells in (("reference", [exercise.cell]), ("right", exercise.right), ("wrong", exercise.wrong)):
            yield from ((f"{exercise.id}-{kind}{number}", exercise, cell.source) for number, cell in enumerate(cells))
        yield f"{exercise.id}-stub", exercise, exercise.cell.source.replace("### BEGIN SOLUTION", "raise NotImplementedError")
    for odd in corpus({"63_wall": INNOCENT["63_wall"]}):
        if odd.name in ODD:
            exercise = LESSON.exercise(odd.exercise)
            yield odd.name, exercise, odd.text(exercise.right[0].source)


EVERY = drawn(list(answers()), 25)


@pytest.fixture(scope="module")
def both():
    """(status, points) by name: in one process, and of the bench."""
    here = {name: points_in_one_process(LESSON, exercise, answer) for name, exercise, answer in EVERY}  # forks, before the bench's threads
    with Bench(LESSON) as bench:
        there = {name: bench.judge(exercise, answer) for name, exercise, answer in EVERY}
    return here, {name: (verdict.status, verdict.points) for name, verdict in there.items()}


@pytest.mark.parametrize("name", [name for name, _, _ in EVERY])
def test_the_same_status_and_points(name, both):
    here, there = both
    assert here[name] == there[name]


def test_all_the_odd_answers_are_there():
    assert {odd.name for odd in corpus({"63_wall": INNOCENT["63_wall"]})} >= set(ODD)
