"""Classes made from the lessons' own answers."""

import ast
import json

import pytest
from texts import read_copy

from grader.classroom import (
    SampleClass,
    _move_to_helper,
    _rename_locals,
    _unreadable,
    write_random_class,
    write_sample_class,
)
from grader.engines import threads
from grader.grade import find_work, grade_class


def test_every_kind_of_student_has_a_description():
    makers = [m for name, m in vars(SampleClass).items() if name.startswith("make_")]
    assert len(makers) >= 12 and all(m.__doc__ for m in makers)


def test_a_lesson_that_gives_shares_in_every_exercise(small, tmp_path):
    """There was no sample class for lesson 16 once its last exercise gave shares: who earns nothing was looked for in vain."""
    shares = [
        (e.tests.source, e.tests.source.rstrip() + f"\ncheck.points({e.points:g})\n")
        for e in small.exercises
        if "check.points(" not in e.tests.source
    ]
    lessons = tmp_path / "lessons"
    expected = write_sample_class(tmp_path, [read_copy(small.path, lessons, *shares)])
    for graded in grade_class(tmp_path, find_work(tmp_path, (), lessons), threads(2), lessons=lessons):
        got = {exercise: verdict.points for exercise, verdict in graded.exercises.items()}
        assert got == expected[graded.student][graded.lesson], graded.student


def test_a_random_class_is_the_same_for_a_seed(tmp_path, small):
    for folder in ("a", "b"):
        write_random_class(tmp_path / folder, [small], 3, seed=5)
    names = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.ipynb"))
    assert len(names) == 3
    assert all((tmp_path / "a" / n).read_text() == (tmp_path / "b" / n).read_text() for n in names)
    assert json.loads((tmp_path / "a" / names[0]).read_text())["cells"]


def test_renaming_locals_keeps_parameters_and_meaning():
    source = "def f(x, scale=2):\n    total = 0\n    for v in x:\n        total += v * scale\n    return total\n"
    renamed = _rename_locals(source)
    space = {}
    exec(renamed, space)
    assert "my_total" in renamed and "my_v" in renamed and space["f"]([1, 2], scale=3) == 9


def test_renaming_leaves_functions_with_classes_inside_alone():
    """Lesson 21's service has a pydantic class inside: its `model_config` became a field without a type."""
    source = "def make():\n    size = 3\n\n    class Picture:\n        model_config = size\n    return Picture"
    assert _rename_locals(source) == source


@pytest.mark.parametrize(
    "source",
    [
        "def f(x):\n    return x",
        "# note: halves\ndef f(x):\n    return x[:1]",
        "def f(x):\n    'a: b'\n    return {x: 1}",
        "threshold = 3",
    ],
)
def test_the_student_with_a_syntax_error_has_one(source):
    """The first colon was left out, whatever it was: in a comment, or where there is none, the answer stayed right."""
    with pytest.raises(SyntaxError):
        ast.parse(_unreadable(source))


@pytest.mark.parametrize(("source", "name"), [("def f():\n    return 1", "f"), ("async def f():\n    pass", "f"), ("size = 3", "size")])
def test_a_solution_moved_to_a_helper_is_still_there(source, name):
    """`async def` was not renamed, and the cell that takes the helper over found nothing."""
    space = {}
    for cell in _move_to_helper(source, name):
        exec(cell, space)
    assert f"_my_{name}" in space and space[name] is space[f"_my_{name}"]
    with pytest.raises(ValueError, match="defines no function"):
        _move_to_helper(source, "other")
