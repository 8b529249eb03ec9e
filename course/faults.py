"""What must hold in a lesson's two files, as rules: each yields the faults that it finds.

A rule of `CELL_RULES` looks at one cell; one of `FILE_RULES` at all cells, in the order of the files,
where every marker could be understood.  To add a rule, write the function and put it in its list.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator

from course.parts import BEGIN_HIDDEN, BEGIN_SOLUTION, END_HIDDEN, END_SOLUTION, PICTURE, Cell, Fault, picture_path, title_of
from course.percent import ANSWERS, Text
from course.quizzes import parse_quiz
from course.rules import COMMENT
from unit24.needs import InvalidRequirement, parse

HEADING = re.compile(r"^(#{1,6})\s+(.+)$", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
FUNCTIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef)


def cell_faults(story: Text, answers: Text) -> Iterator[Fault]:
    """What is wrong in single cells."""
    for cell in story.cells:
        if cell.role in ANSWERS:
            yield cell.fault(f"{cell.label} belongs in answers/{answers.path.name}")
    for cell in answers.cells:
        if cell.role not in ANSWERS:
            yield cell.fault(f"{cell.label} belongs in {story.path.name} itself: answers are {', '.join(ANSWERS)} cells")
    for cell in [*story.cells, *answers.cells]:
        for rule in CELL_RULES:
            yield from rule(cell)


# --------------------------------------------------------------------------------------------------
# Rules of one cell


def is_of_its_type(cell: Cell) -> Iterator[Fault]:
    markdown = cell.role in ("answer", "rubric", "quiz")
    if cell.role != "unmarked" and markdown != (cell.type == "markdown"):
        yield cell.fault(f"{cell.label} must be a {'markdown' if markdown else 'code'} cell")


def is_python(cell: Cell) -> Iterator[Fault]:
    if cell.type == "code" and cell.role != "equivalent" and (error := syntax_error(cell)):
        yield cell.fault(f"{error.msg} (cells are plain Python, without % and ! commands)", error.lineno or 1)


def has_its_solution(cell: Cell) -> Iterator[Fault]:
    begins, ends = cell.source.count(BEGIN_SOLUTION), cell.source.count(END_SOLUTION)
    if cell.role == "exercise" and (not begins or begins != ends):
        yield cell.fault(f"{cell.label} needs `{BEGIN_SOLUTION}` and `{END_SOLUTION}`, equally often")
    if begins and cell.role != "exercise":
        yield cell.fault("a solution stands only in an `exercise` cell")


def hides_only_tests(cell: Cell) -> Iterator[Fault]:
    begins, ends = cell.source.count(BEGIN_HIDDEN), cell.source.count(END_HIDDEN)
    if begins != ends:
        yield cell.fault(f"{cell.label}: hidden tests begin and end unequally often")
    if begins and cell.role != "tests":
        yield cell.fault("hidden tests stand only in a `tests` cell")


def is_tested_as_exercise(cell: Cell) -> Iterator[Fault]:
    if cell.role == "tests" and f'check.exercise("{cell.name}"' not in cell.source:
        yield cell.fault(f'{cell.label} must stand in `with check.exercise("{cell.name}"):`')


def has_numbers(cell: Cell) -> Iterator[Fault]:
    for key in ("points", "minutes", "difficulty", "seconds", "memory_mb"):
        value = cell.options.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            yield cell.fault(f"{key}={value!r} must be a number above 0, without quotes")
        elif key == "difficulty" and value not in (1, 2, 3):
            yield cell.fault(f"difficulty={value!r} must be 1, 2 or 3")


def has_flag(cell: Cell) -> Iterator[Fault]:
    value = cell.options.get("processes", False)
    if not isinstance(value, bool):
        yield cell.fault(f"processes={value!r} must be true or false, without quotes")


def names_rules_in_prose(cell: Cell) -> Iterator[Fault]:
    """Elsewhere than in plain text cells, whose rules have been taken out by now, they would be shown to students."""
    if COMMENT.search(cell.source) and not (cell.role == "unmarked" and cell.type == "markdown"):
        yield cell.fault("rules of a task stand in its prose, in no other cell")


def asks_well(cell: Cell) -> Iterator[Fault]:
    if cell.role == "quiz":
        yield from parse_quiz(cell)[1]


CELL_RULES: tuple[Callable[[Cell], Iterator[Fault]], ...] = (
    is_of_its_type,
    is_python,
    has_its_solution,
    hides_only_tests,
    is_tested_as_exercise,
    has_numbers,
    has_flag,
    names_rules_in_prose,
    asks_well,
)


def syntax_error(cell: Cell) -> SyntaxError | None:
    try:
        ast.parse(cell.source)
    except SyntaxError as error:
        return error
    return None


# --------------------------------------------------------------------------------------------------
# Rules of the two files together


def has_one_setup(story: Text, answers: Text) -> Iterator[Fault]:
    if sum(c.role == "setup" for c in story.cells) != 1:
        yield Fault(story.path, 1, "a lesson has exactly one `# %% setup` cell")


def has_a_title(story: Text, answers: Text) -> Iterator[Fault]:
    if not title_of(story.cells):
        yield Fault(story.path, 1, "the first text cell must start with a title: `# Title`")


def names_differ(story: Text, answers: Text) -> Iterator[Fault]:
    """Exercises and written answers among themselves, and tests."""
    seen: dict[tuple[bool, str], Cell] = {}
    for cell in story.cells:
        if cell.role in ("exercise", "answer", "tests"):
            tests = cell.role == "tests"
            first = seen.setdefault((tests, cell.name), cell)
            if first is not cell and tests:
                yield cell.fault(f"a second {cell.label} (first at line {first.line})")
            elif first is not cell:
                yield cell.fault(f"duplicate id {cell.name!r} (first at line {first.line})")


def belongs_to_something(story: Text, answers: Text) -> Iterator[Fault]:
    """Tests and answers to an exercise, a rubric to a written answer."""
    known = {(cell.role, cell.name) for cell in story.cells}
    for cell in [*story.cells, *answers.cells]:
        if cell.role in ("tests", "wrong", "right", "equivalent") and ("exercise", cell.name) not in known:
            yield cell.fault(f"{cell.label}: there is no such exercise in {story.path.name}")
        if cell.role == "rubric" and ("answer", cell.name) not in known:
            yield cell.fault(f"{cell.label}: there is no such answer in {story.path.name}")


def is_tested(story: Text, answers: Text) -> Iterator[Fault]:
    tested = {cell.name for cell in story.cells if cell.role == "tests"}
    for cell in story.cells:
        if cell.role == "exercise" and cell.name not in tested:
            yield cell.fault(f"{cell.label} has no tests")


def is_answered(story: Text, answers: Text) -> Iterator[Fault]:
    exercises = [cell for cell in story.cells if cell.role == "exercise"]
    answered = {cell.name for cell in answers.cells if cell.role in ("wrong", "right")}
    where = f"answers/{answers.path.name}"
    if exercises and not answers.path.exists():
        yield exercises[0].fault(f"the answers that must fail or pass are missing: there is no {where}")
        return
    for cell in exercises:
        if cell.name not in answered:
            yield cell.fault(f"{cell.label} has no `wrong` and no `right` answer in {where}")


def is_in_order(story: Text, answers: Text) -> Iterator[Fault]:
    """Answers stand together by exercise, the exercises as in the story."""
    names = [cell.name for cell in story.cells if cell.role in ("exercise", "answer")]
    before: Cell | None = None
    for cell in answers.cells:
        if cell.name not in names:
            continue
        if before and names.index(cell.name) < names.index(before.name):
            yield cell.fault(f"{cell.label} stands behind {before.label}: keep the order of the exercises")
        else:
            before = cell


def has_one_header(story: Text, answers: Text) -> Iterator[Fault]:
    if "unit24" in answers.header:
        yield Fault(answers.path, 1, f"what a lesson needs stands in the header of {story.path.name}")


def has_needs_that_can_be_read(story: Text, answers: Text) -> Iterator[Fault]:
    for need in story.header.get("unit24", {}).get("needs", ()):
        try:
            parse(str(need))
        except InvalidRequirement:
            yield Fault(story.path, 1, f"needs: {need!r} is neither a requirement as pip writes it nor `A if B`")


def has_headings_in_order(story: Text, answers: Text) -> Iterator[Fault]:
    """A reader who goes by headings, or a page made from the lesson, finds one title and no level left out."""
    last = 0
    for cell in story.cells:
        text = FENCED.sub("", cell.source) if cell.type == "markdown" and cell.role not in ANSWERS else ""
        for signs, words in HEADING.findall(text):
            if last and len(signs) == 1:
                yield cell.fault(f"a second title, {words!r}: headings below the first begin with ##")
            elif len(signs) > last + 1:
                yield cell.fault(f"{words!r} begins with {signs} where {'#' * (last + 1)} is the next level")
            last = len(signs)


def has_pictures_in_words(story: Text, answers: Text) -> Iterator[Fault]:
    """A picture is there, and says in words what it shows to whoever cannot see it."""
    for cell in story.cells:
        for words, name in PICTURE.findall(cell.source) if cell.type == "markdown" else ():
            if not picture_path(story.path, name).is_file():
                yield cell.fault(f"there is no lessons/{name}")
            if len(words.split()) < 5:
                yield cell.fault(f"{name}: say between the square brackets what the picture shows")


FILE_RULES: tuple[Callable[[Text, Text], Iterator[Fault]], ...] = (
    has_one_setup,
    has_a_title,
    names_differ,
    belongs_to_something,
    is_tested,
    is_answered,
    is_in_order,
    has_one_header,
    has_needs_that_can_be_read,
    has_headings_in_order,
    has_pictures_in_words,
)


def file_faults(story: Text, answers: Text) -> Iterator[Fault]:
    """What is wrong between cells; nothing is said where a cell could not be understood, and so seems to be missing."""
    if story.complete and answers.complete:
        for rule in FILE_RULES:
            yield from rule(story, answers)
