"""Reading a lesson: two files become one, and everything that is wrong with them is said at once, with its place."""

import re

import pytest
from small_course import ANSWERS, LESSON
from texts import copy_lesson, read_copy, replaced

from course.lesson import find_lessons, lesson_names, read, texts, write_texts
from course.parts import LessonError
from course.seeds import seeded_folder, with_seed

STORY = "lessons/01_small.py"
BESIDE = "lessons/answers/01_small.py"


def faults(make, *replacements, **texts):
    """(file, line, message) of everything that reading complains about."""
    with pytest.raises(LessonError) as error:
        make(*replacements, **texts)
    found = [re.fullmatch(r"\S*?(lessons/\S+):(\d+): (.*)", line).groups() for line in str(error.value).splitlines()]
    assert list(error.value.lines) == str(error.value).splitlines()
    return [(file, int(line), message) for file, line, message in found]


def line_of(text, words):
    return next(number for number, line in enumerate(text.splitlines(), 1) if words in line)


def test_answers_stand_behind_the_tests_of_their_exercise(lesson_from):
    roles = [cell.role for cell in lesson_from().cells]
    expected = "unmarked setup unmarked unmarked exercise unmarked tests wrong right equivalent unmarked answer rubric unmarked quiz"
    assert roles == expected.split()


def test_every_cell_knows_its_file_and_line(lesson_from):
    lesson = lesson_from()
    for cell in lesson.cells:
        first = cell.path.read_text().splitlines()[cell.line - 1]
        assert first.removeprefix("# " if cell.type == "markdown" else "") == (cell.source.splitlines() or [""])[0]
    assert {cell.path.parent.name for cell in lesson.cells if cell.role in ("wrong", "right", "equivalent", "rubric")} == {"answers"}
    (exercise,), (answer,) = lesson.exercises, lesson.answers
    assert [len(exercise.wrong), len(exercise.right), len(exercise.equivalent), exercise.hints] == [1, 1, 1, 1]
    assert answer.rubric.source == "One point for naming repeated addition."


@pytest.mark.parametrize(
    ("old", "new", "file", "at", "message"),
    [
        ('points=2', 'point=2', STORY, "# %% tests=", "unknown key 'point' beside tests='double'; it may have: points"),
        ('minutes=5 ', '', STORY, "# %% exercise=", "exercise='double' needs minutes="),
        ('exercise="double"', 'exercise="Double"', STORY, "# %% exercise=", "exercise='Double': a name is lower case"),
        ('exercise="double" minutes', 'exercise="double" processes="yes" minutes', STORY, "def double", "processes='yes' must be true or false"),
        ('difficulty=1', 'difficulty=4', STORY, "def double", "difficulty=4 must be 1, 2 or 3"),
        ('minutes=5', 'minutes=5 seconds="two"', STORY, "def double", "seconds='two' must be a number above 0"),
        ("### END SOLUTION", "### THE END", STORY, "def double", "needs `### BEGIN SOLUTION` and `### END SOLUTION`"),
        ("### END HIDDEN TESTS", "### THE END", STORY, "with check", "hidden tests begin and end unequally often"),
        ('check.exercise("double")', 'check.exercise("twice")', STORY, "with check", 'must stand in `with check.exercise("double"):`'),
        ("start = 3", "start = = 3", STORY, "start = = 3", "invalid syntax (cells are plain Python"),
        ("# # Small numbers", "# Small numbers", STORY, None, "must start with a title"),
        ("# %% setup", "# %%", STORY, None, "exactly one `# %% setup` cell"),
        ("# %% setup", "# %% start", STORY, "# %% start", "a cell marker carries only `key=\"value\"` pairs or `setup`, not 'start'"),
        ("- [ ] twenty-two ::", "- [ ] twenty-two", STORY, "- [ ] twenty-two", "a quiz option has no feedback"),
        ("- [x] four", "- [ ] four", STORY, "1. What is", "needs at least two options and exactly one `[x]`"),
        ("# %% [markdown]\n# # Small", "text\n\n# %% [markdown]\n# # Small", STORY, None, "text before the first cell marker (line 3)"),
        ('wrong="double" says="added once"', 'wrong="double"', BESIDE, "# %% wrong", "wrong='double' needs says="),
        ("misunderstood = number", "misunderstood = = number", BESIDE, "= = number", "invalid syntax"),
        ('# %% equivalent="double"', '# %% equivalent="treble"', BESIDE, "# - secret_result", "no such exercise in 01_small.py"),
        ('rubric="why_sum"', 'rubric="why_not"', BESIDE, "# One point", "rubric='why_not': there is no such answer in 01_small.py"),
        ('[markdown] rubric="why_sum"', 'rubric="why_sum"', BESIDE, "# One point", "rubric='why_sum' must be a markdown cell"),
        ('# %% right="double"', '# %%', BESIDE, "def double(value)", "an unmarked cell belongs in 01_small.py itself"),
        ('# %% right="double"', '# %% tests="double" points=2', BESIDE, "def double(value)", "tests='double' belongs in 01_small.py itself"),
        ('# %% wrong="double"', "# ---\n# jupyter:\n#   unit24:\n#     needs: [peft]\n# ---\n\n# %% wrong=\"double\"", BESIDE, None, "stands in the header of 01_small.py"),
        ("# Double a number.", "# # Another title", STORY, "# # Another", "a second title, 'Another title'"),
        ("# Double a number.", "# #### Deep", STORY, "# #### Deep", "'Deep' begins with #### where ## is the next level"),
        ("# Double a number.", "# ![a sum of two equal numbers](pictures/no.svg)", STORY, "# ![a sum", "there is no lessons/pictures/no.svg"),
        ("# Double a number.", "# ![a sum](pictures/20_program.svg)", STORY, "# ![a sum", "say between the square brackets what the picture shows"),
        ("# %% [markdown]\n# # Small", "# ---\n# jupyter:\n#   unit24:\n#     needs: ['torch if']\n# ---\n\n# %% [markdown]\n# # Small", STORY, None, "needs: 'torch if' is neither a requirement"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_file_and_line(lesson_from, old, new, file, at, message):
    found = faults(lesson_from, (old, new))
    text = replaced(ANSWERS if file == BESIDE else LESSON, (old, new))
    line = 1 if at is None else line_of(text, at)
    assert any(f == file and n == line and message in m for f, n, m in found), found


def test_an_answer_in_the_story_belongs_beside_it(lesson_from):
    right = ANSWERS[ANSWERS.index('# %% right="double"') : ANSWERS.index('# %% equivalent="double"')]
    found = faults(lesson_from, text=LESSON + "\n" + right)
    assert found == [(STORY, line_of(LESSON + "\n" + right, "def double(value)"), "right='double' belongs in answers/01_small.py")]


def test_an_exercise_without_answers(lesson_from, tmp_path):
    only_rubric = ANSWERS[ANSWERS.index("# %% [markdown] rubric") :]
    line = line_of(LESSON, "def double")
    what = "exercise='double' has no `wrong` and no `right` answer in answers/01_small.py"
    assert faults(lesson_from, answers=only_rubric) == [(STORY, line, what)]
    assert faults(lesson_from, answers="") == [(STORY, line, what)]
    path = copy_lesson(tmp_path / "lessons" / "01_small.py", tmp_path / "more" / "lessons")
    (path.parent / "answers" / path.name).unlink()
    what = "the answers that must fail or pass are missing: there is no answers/01_small.py"
    assert faults(lambda: read(path)) == [(STORY, line, what)]


def test_a_lesson_without_exercises_needs_no_answers(tmp_path):
    write_texts({"01_talk.py": "# %% [markdown]\n# # Talk\n\n# %% setup\n"}, tmp_path)
    assert read(tmp_path / "01_talk.py").exercises == ()


def test_answers_keep_the_order_of_the_exercises(small, tmp_path):
    text = texts(small.path)["answers/61_small.py"]
    first, rest = text[: text.index('# %% wrong="gap_plus_one"')], text[text.index('# %% wrong="gap_plus_one"') :]
    write_texts({**texts(small.path), "answers/61_small.py": rest + "\n" + first}, tmp_path / "lessons")
    found = faults(lambda: read(tmp_path / "lessons" / "61_small.py"))
    assert len(found) == 4 and all("keep the order of the exercises" in message for _, _, message in found)


def test_names_that_stand_twice(lesson_from):
    again = LESSON[LESSON.index('# %% exercise="double"') : LESSON.index("# %% [markdown]\n# Why is")]
    found = faults(lesson_from, text=LESSON + "\n" + again)
    at = [line_of(LESSON, words) for words in ("def double", "with check")]
    messages = [f"duplicate id 'double' (first at line {at[0]})", f"a second tests='double' (first at line {at[1]})"]
    assert [message for _, _, message in found] == messages


def test_all_faults_are_told_at_once_in_the_order_of_the_files(lesson_from):
    """An author used to mend one and meet the next."""
    replacements = [
        ("points=2", "points='two'"),
        ("start = 3", "start = (3"),
        ("- [ ] twenty-two ::", "- [ ] twenty-two"),
        ('wrong="double" says', 'wrong="double" tells'),
        ('rubric="why_sum"', 'rubric="why"'),
    ]
    found = faults(lesson_from, *replacements)
    assert [file for file, _, _ in found] == [STORY] * 3 + [BESIDE] * 3
    lines = [line for _, line, _ in found]
    assert lines[:3] == sorted(lines[:3]) and lines[3:] == sorted(lines[3:])
    words = "was never closed", "points='two'", "no feedback", "unknown key 'tells'", "needs says=", "no such answer"
    assert all(word in message for word, (_, _, message) in zip(words, found)), found


def test_what_seems_to_be_missing_is_not_told_where_a_cell_cannot_be_understood(lesson_from):
    """A misspelt `exercise` must not make its tests and answers look like those of no exercise."""
    (fault,) = faults(lesson_from, ('exercise="double"', 'excercise="double"'))
    assert fault[2].startswith("unknown cell key 'excercise', 'minutes', 'difficulty'")


def test_answers_are_no_lessons(small):
    folder = small.path.parent
    assert lesson_names(folder) == ["61_small"] == find_lessons(("61",), folder)
    assert find_lessons((str(folder / "answers" / "61_small.py"),), folder) == ["61_small"]


def test_a_seed_reaches_both_files(small, tmp_path):
    path = copy_lesson(
        small.path,
        tmp_path,
        ("    secret_answer = 0.125", "    SHIFT = 24  # release: seed\n    secret_answer = 0.125"),
        ('# %% right="mean_gap"', '# %% right="mean_gap"\nSHIFT = 24  # release: seed'),
    )
    (lesson,), counts = with_seed([read(path)], 7, tmp_path / "work")
    assert counts == {"61_small": 2} and lesson.path.parent == tmp_path / "work" / "lessons"
    for made in (lesson, read(seeded_folder(tmp_path, 7) / path.name)):
        exercise = made.exercise("mean_gap")
        assert "SHIFT = 7 " in exercise.tests.source and "SHIFT = 7 " in exercise.right[0].source
    assert "SHIFT = 24 " in read_copy(path, tmp_path / "copy").exercise("mean_gap").tests.source
