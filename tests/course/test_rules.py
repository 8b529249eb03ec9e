"""Rules of a task: named in the prose, hidden from students, broken by wrong answers."""

import pytest
from texts import replaced

from authoring.leaks import scan
from authoring.student_notebooks import student_notebooks
from course.lesson import LessonError
from course.notebook import as_text, instructor_notebook
from course.rules import broken_rules

SETUP = 'LESSON = "NN_name"\nNEEDS = []\nPOINTS = {}\nimport unit24\n'
TASK = """# Double a number.
#
# - It is twice the number,
#   for negative ones too. <!-- rule: twice -->
# - Its type is the number's. <!-- rule: type, reported -->
# - Numbers are small.
"""
TASK_PAIR = ("# Double a number.\n", TASK)
BREAKS = ('says="added once"', 'breaks="twice" says="added once"')


def told(lesson_from, *replacements):
    with pytest.raises(LessonError) as error:
        lesson_from(*replacements)
    return [(line.split(":")[0].split("lessons/")[-1], line.split(": ", 1)[1]) for line in error.value.lines]


def test_rules_belong_to_the_exercise_below_them(lesson_from):
    lesson = lesson_from(TASK_PAIR, BREAKS)
    (exercise,) = lesson.exercises
    assert [(rule.name, rule.reported) for rule in exercise.rules] == [("twice", False), ("type", True)]
    lines = lesson.path.read_text().splitlines()
    assert all(f"<!-- rule: {rule.name}" in lines[rule.line - 1] for rule in exercise.rules)
    assert broken_rules(exercise.wrong[0]) == ["twice"]
    assert not lesson_from().exercises[0].rules  # a lesson that names no rules says nothing of what is broken


def test_rules_may_stand_between_an_exercise_and_its_tests(lesson_from):
    hint = "# <details><summary>Hint</summary>Add it to itself.</details>\n"
    lesson = lesson_from((hint, hint + "#\n# - Numbers only. <!--rule:number-->\n"), (BREAKS[0], 'breaks="number" ' + BREAKS[0]))
    assert [rule.name for rule in lesson.exercises[0].rules] == ["number"]


def test_nobody_but_the_audit_sees_them(lesson_from, tmp_path):
    lesson = lesson_from(TASK_PAIR, BREAKS)
    plain = lesson_from((TASK_PAIR[0], replaced(TASK, (" <!-- rule: twice -->", ""), (" <!-- rule: type, reported -->", ""))))
    solution = instructor_notebook(lesson, SETUP)
    assert solution == instructor_notebook(plain, SETUP)
    text = student_notebooks({lesson.name: as_text(solution)})[lesson.name]
    assert "Its type is the number's.\\n" in text and "rule:" not in text
    (tmp_path / "out" / lesson.name).mkdir(parents=True)
    (tmp_path / "out" / lesson.name / f"{lesson.name}.ipynb").write_text(text)
    assert scan(tmp_path / "out", [lesson]) == []


@pytest.mark.parametrize("text", ["twice, type", "twice type", " twice ,type "])
def test_a_wrong_answer_may_break_several(lesson_from, text):
    lesson = lesson_from(TASK_PAIR, (BREAKS[0], f'breaks="{text}" {BREAKS[0]}'))
    assert broken_rules(lesson.exercises[0].wrong[0]) == ["twice", "type"]


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        ("", "wrong='double' needs breaks=: which of the task's rules it breaks (twice, type)"),
        ('breaks="" ', "wrong='double' needs breaks=: which of the task's rules it breaks (twice, type)"),
        ('breaks="twice, mode" ', "wrong='double' breaks 'mode', which is no rule of its task: twice, type"),
        ('breaks="twice twice" ', "wrong='double' names 'twice' twice in breaks="),
    ],
)
def test_what_a_wrong_answer_breaks_is_known(lesson_from, breaks, message):
    assert told(lesson_from, TASK_PAIR, (BREAKS[0], breaks + BREAKS[0])) == [("answers/01_small.py", message)]


def test_without_rules_nothing_can_be_broken(lesson_from):
    assert told(lesson_from, BREAKS) == [
        ("answers/01_small.py", "wrong='double' breaks 'twice', which is no rule of its task: it names none")
    ]


FORM = "a rule of a task is `<!-- rule: name -->` or `<!-- rule: name, reported -->` at the end of a bullet"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rule: type, reported", "rule: twice", "a second rule 'twice' of exercise='double'"),
        ("rule: type, reported", "rule: Type", FORM),
        ("rule: type, reported", "rule: type, felt", FORM),
        ("rule: type, reported", "rule type", FORM),
        ("<!-- rule: type, reported -->", "<!-- rule: type --> or so", FORM),
        ("<!-- rule: type, reported -->", "<!-- rule: type --> <!-- rule: kind -->", FORM),
        ("# - It is twice the number,\n", "# It is twice the number,\n", FORM),
        ("<!-- rule: twice -->\n", "<!-- rule: twice -->\n#   and for 0.\n", FORM),
    ],
)
def test_a_rule_that_is_none_is_told(lesson_from, old, new, message):
    found = told(lesson_from, (TASK_PAIR[0], replaced(TASK, (old, new))), (BREAKS[0], 'breaks="twice" ' + BREAKS[0]))
    assert ("01_small.py", message) in found


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("# Why is addition enough?\n", "# - Why is addition enough? <!-- rule: why -->\n", "rule 'why' belongs to no exercise: no tests follow it"),
        ("print(double(start))\n", "print(double(start))\n\n# %% [markdown]\n# - At last. <!-- rule: last -->\n", "rule 'last' belongs to no exercise: no tests follow it"),
        ("start = 3\n", "start = 3  # <!-- rule: start -->\n", "rules of a task stand in its prose, in no other cell"),
        ("# 1. What is", "# <!-- rule: quiz -->\n# 1. What is", "rules of a task stand in its prose, in no other cell"),
    ],
)  # fmt: skip
def test_a_rule_without_an_exercise_is_told(lesson_from, old, new, message):
    assert ("01_small.py", message) in told(lesson_from, (old, new))
