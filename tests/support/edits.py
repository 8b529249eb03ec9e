"""Random notebooks of one lesson, as people make them: right and wrong answers, and what they do to a notebook around them."""

import ast
import copy
import random

from course.lesson import Lesson
from course.names import defined_names, global_names
from course.notebook import student_source
from grader.classroom import SampleClass

EDITS = []


def edit(function):
    EDITS.append(function)
    return function


class Edited:
    """A notebook on its way. `answers`: exercise -> the answer's kind (right, wrong, none)."""

    def __init__(self, lesson: Lesson, rng: random.Random, sample: SampleClass):
        self.lesson, self.rng, self.steps, self.answers = lesson, rng, [], {}
        sources = {}
        for e in lesson.exercises:
            draw = rng.random()
            kind, choices = ("right", [e.cell, *e.right]) if draw < 0.7 else ("wrong", e.wrong) if draw < 0.9 else ("none", ())
            if choices:
                sources[e.id] = rng.choice(choices).source
            self.answers[e.id] = kind if choices else "none"
        self.content = sample._notebook(sources)
        self.sources = sources
        for step in rng.sample(EDITS, rng.randint(1, 4)):
            exercise = rng.choice(list(sources) or [""])
            if not self.places(exercise):  # it has been merged with another
                continue
            try:
                done = step(self, exercise)
            except SyntaxError:  # a magic stands in it by now
                continue
            self.steps += [f"{step.__name__}({exercise})"] if done else []

    @property
    def cells(self):
        return self.content["cells"]

    def places(self, name):
        return [i for i, c in enumerate(self.cells) if c["metadata"].get("nbgrader", {}).get("grade_id", c["id"]) == name]

    def source(self, name):
        return self.cells[self.places(name)[-1]]["source"] if self.places(name) else ""

    def write(self, name, source):
        self.cells[self.places(name)[-1]]["source"] = source
        return True

    def insert(self, place, source):
        number = self.rng.randrange(10**9)
        self.cells.insert(place, {"cell_type": "code", "id": f"own{number}", "metadata": {}, "execution_count": None, "outputs": [], "source": source})
        return True

    def before(self, name, source):
        return self.insert(self.places(name)[0], source)


def _split(source):
    """(first, rest) of a cell that has more than one statement: cut after its first."""
    body = ast.parse(source).body
    if len(body) < 2:
        return None
    lines = source.splitlines()
    start = min([body[1].lineno, *(d.lineno for d in getattr(body[1], "decorator_list", []))]) - 1
    return "\n".join(lines[:start]), "\n".join(lines[start:])


@edit
def split_in_two_of_one_id(n, exercise):
    parts = _split(n.source(exercise))
    if parts is None or len(n.places(exercise)) != 1:
        return False
    place = n.places(exercise)[0]
    second = {**copy.deepcopy(n.cells[place]), "id": "second", "source": parts[1]}
    n.cells[place]["source"] = parts[0]
    n.cells.insert(place + 1, second)
    return True


@edit
def first_part_to_an_own_cell(n, exercise):
    parts = _split(n.source(exercise))
    return bool(parts) and n.before(exercise, parts[0]) and n.write(exercise, parts[1])


@edit
def first_part_to_the_setup_cell(n, exercise):
    parts = _split(n.source(exercise))
    if not parts or global_names(parts[0]) - set(dir(__builtins__)) or not n.places("setup"):
        return False
    return n.write("setup", f"{n.source('setup')}\n\n{parts[0]}") and n.write(exercise, parts[1])


@edit
def first_part_to_the_tests_before(n, exercise):
    place = [e.id for e in n.lesson.exercises].index(exercise)
    parts = _split(n.source(exercise))
    if not parts or not place:
        return False
    tests = f"test_{n.lesson.exercises[place - 1].id}"
    return n.write(tests, f"{parts[0]}\n\n{n.source(tests)}") and n.write(exercise, parts[1])


@edit
def scratch_cell(n, exercise):
    tree = ast.parse(n.source(exercise))
    local = sorted({a.arg for a in ast.walk(tree) if isinstance(a, ast.arg)} - global_names(n.source(exercise)) - set(defined_names(n.source(exercise))) - {"self", "cls"})
    names = [name for name in local if name.isidentifier()][:3] or ["scratch"]
    return n.before(exercise, " = ".join(names) + " = None\n" + n.rng.choice(["1 / 0", "print('here')", "undefined_name", "import a_missing_package"]))


@edit
def magic_at_the_top(n, exercise):
    line = n.rng.choice(["%%time", "%matplotlib inline", "!ls", "# :(\n%matplotlib inline", "files = !ls", "len?", "%time unit = 1"])
    return n.write(exercise, f"{line}\n{n.source(exercise)}")


@edit
def older_try_above(n, exercise):
    place = n.places(exercise)[0]
    older = {**copy.deepcopy(n.cells[place]), "id": "older"}
    older["source"] = "\n".join(f"{name} = None" for name in defined_names(n.source(exercise)))
    n.cells.insert(place, older)
    return True


@edit
def answer_in_an_own_cell(n, exercise):
    source = n.source(exercise)
    stub = student_source(n.lesson.exercise(exercise).cell)
    place = n.places(exercise)[-1]
    return n.write(exercise, stub) and n.insert(place + 1, source)


@edit
def merged_with_the_next(n, exercise):
    ids = [e.id for e in n.lesson.exercises]
    following = ids[ids.index(exercise) + 1 :][:1]
    if not following or following[0] not in n.sources or len(n.places(following[0])) != 1 or "%%" in n.source(following[0]):
        return False
    n.write(exercise, f"{n.source(exercise)}\n\n{n.source(following[0])}")
    del n.cells[n.places(following[0])[0]]
    return True


@edit
def note_in_the_tests(n, exercise):
    return n.write(f"test_{exercise}", f"print('running')\n{n.source(f'test_{exercise}')}")


@edit
def copy_of_the_tests(n, exercise):
    text = n.source(f"test_{exercise}")
    return n.insert(n.places(f"test_{exercise}")[-1] + 1, f"import collections\n{text}")


@edit
def settings_in_own_cells(n, exercise):
    name = f"settings_{exercise}"
    n.before(exercise, f"{name} = {{}}")
    n.before(exercise, f"{name}['on'] = True")
    return "%%" not in n.source(exercise) and n.write(exercise, f"{n.source(exercise)}\n\nassert {name}['on']")


@edit
def awaits_first(n, exercise):
    return n.before(exercise, "import asyncio\nunit = await asyncio.sleep(0, 1)")


@edit
def metadata_lost(n, exercise):
    for cell in n.cells:
        cell["id"], cell["metadata"] = cell["metadata"].get("nbgrader", {}).get("grade_id", cell["id"]), {}
    return True
