"""Classes to try grading on, made from the lessons' own answers.

The sample class has one student for each thing that happens to real submissions, with the points
that each must get in ``expected.json``.  `random_class` makes a class of any size.
"""

from __future__ import annotations

import ast
import copy
import json
import random
import re
import zlib
from collections.abc import Callable
from pathlib import Path

from course.mutants import mutants
from course.names import defined_names
from course.notebook import student_source
from course.parts import Exercise, Lesson
from grader.gradebook import Forms
from unit24.files import write_whole

Sources = dict[str, str]  # exercise id -> source of its cell

# Students of the sample class whom stock nbgrader cannot grade, or grades otherwise, and why.
STOCK_DEFECTS = {
    "deleted_tests": "a deleted test cell leaves its grade empty for ever",
    "duplicated_cell": "one duplicated grade_id aborts the whole batch",
    "malformed_json": "an unreadable notebook is an error without a grade",
    "not_a_notebook": "an unreadable notebook is an error without a grade",
    "crash": "a dead kernel loses the points of the exercises before it",
    "exit_process": "a dead kernel loses the points of the exercises before it",
    "endless_loop": "every loop costs its timeout, and what hangs in C is not interrupted",
}


class SampleClass:
    """Builds the submissions for one lesson."""

    def __init__(self, lesson: Lesson):
        self.lesson, self.forms = lesson, Forms(lesson)
        self.reference: Sources = {e.id: e.cell.source for e in lesson.exercises}
        self.full = {e.id: e.points for e in lesson.exercises}
        # Those where every wrong answer earns nothing; a lesson may give shares of the points everywhere.
        self.all_or_nothing = [e for e in lesson.exercises if not _gives_shares(e)] or list(lesson.exercises)

    def students(self) -> dict[str, tuple[str, dict[str, float]]]:
        """Notebook text and expected points by exercise, for each student."""
        return {name: getattr(self, f"make_{name}")() for name in STUDENTS}

    # ---- students; a docstring says what is the matter with each

    def make_all_correct(self):
        """The reference everywhere."""
        return self._text(self.reference), self.full

    def make_other_style(self):
        """Each exercise solved in the lesson's first other way."""
        return self._text({e.id: (e.right or (e.cell,))[0].source for e in self.lesson.exercises}), self.full

    def make_yet_another_style(self):
        """Each exercise solved in the lesson's last other way."""
        return self._text({e.id: (e.right or (e.cell,))[-1].source for e in self.lesson.exercises}), self.full

    def make_first_mistakes(self):
        """The first wrong answer of each exercise."""
        return self._spoilt({e.id: _wrong(e, 0) for e in self.all_or_nothing})

    def make_last_mistakes(self):
        """The last wrong answer of each exercise."""
        return self._spoilt({e.id: _wrong(e, -1) for e in self.all_or_nothing})

    def make_every_other_wrong(self):
        """Right and wrong in turn: a mistake must not spoil what comes after it."""
        return self._spoilt({e.id: _wrong(e, len(e.wrong) // 2) for e in self.all_or_nothing[::2]})

    def make_blank(self):
        """Handed in as it was given out."""
        return self._text({}), dict.fromkeys(self.full, 0.0)

    def make_half_done(self):
        """The first half of the exercises."""
        done = list(self.reference)[: len(self.reference) // 2]
        return self._text({n: self.reference[n] for n in done}), {n: p if n in done else 0.0 for n, p in self.full.items()}

    def make_renamed_variables(self):
        """Local variables with other names."""
        return self._text({n: _rename_locals(s) for n, s in self.reference.items()}), self.full

    def make_extra_cells(self):
        """Own cells in between: notes, a plot, a helper that a solution uses, a notebook command."""
        first = self.lesson.exercises[0]
        helper, user = _move_to_helper(self.reference[first.id], sorted(first.names)[0])
        notebook = self._notebook({**self.reference, first.id: user})
        at = self._index(notebook, first.id)
        notebook["cells"][at:at] = [
            _own(helper),
            _own("%matplotlib inline\nnote = 'my own notes'\nprint(note)"),
            _own("1 / 0  # a try that failed"),
        ]
        return _dump(notebook), self.full

    def make_solved_below_the_stub(self):
        """The stub untouched, the solution in a cell of the student's own."""
        first = self.lesson.exercises[0].id
        notebook = self._notebook({n: s for n, s in self.reference.items() if n != first})
        notebook["cells"].insert(self._index(notebook, first) + 1, _own(self.reference[first]))
        return _dump(notebook), self.full

    def make_deleted_tests(self):
        """All test cells deleted: they are not needed."""
        notebook = self._notebook(self.reference)
        notebook["cells"] = [c for c in notebook["cells"] if not _grade_id(c).startswith("test_")]
        return _dump(notebook), self.full

    def make_deleted_cell(self):
        """The last exercise's cell deleted."""
        last = self.lesson.exercises[-1].id
        notebook = self._notebook(self.reference)
        del notebook["cells"][self._index(notebook, last)]
        return _dump(notebook), {**self.full, last: 0.0}

    def make_duplicated_cell(self):
        """An exercise's cell copied with its id."""
        notebook = self._notebook(self.reference)
        at = self._index(notebook, self.lesson.exercises[0].id)
        notebook["cells"].insert(at + 1, copy.deepcopy(notebook["cells"][at]))
        return _dump(notebook), self.full

    def make_syntax_error(self):
        """One cell that Python cannot read."""
        first = self.all_or_nothing[0]
        return self._spoilt({first.id: _unreadable(first.cell.source)})

    def make_endless_loop(self):
        """A loop that never ends, in one exercise."""
        return self._body("while True:\n    pass")

    def make_sys_exit(self):
        """``sys.exit`` inside a solution."""
        return self._body("import sys\nsys.exit(0)")

    def make_exit_process(self):
        """The process ended from inside a solution."""
        return self._body("import os\nos._exit(0)")

    def make_crash(self):
        """A segmentation fault."""
        return self._body("import ctypes\nctypes.string_at(0)")

    def make_malformed_json(self):
        """A file that broke off in the middle."""
        text = self._text(self.reference)
        return text[: len(text) // 2], dict.fromkeys(self.full, 0.0)

    def make_not_a_notebook(self):
        """JSON, but something else."""
        return '{"hello": ["world"]}\n', dict.fromkeys(self.full, 0.0)

    # ---- building

    def _notebook(self, sources: Sources) -> dict:
        notebook = json.loads(json.dumps(self.forms.student))
        cells = {_grade_id(cell): cell for cell in notebook["cells"]}
        for name, source in sources.items():
            cells[name]["source"] = source
        return notebook

    def _text(self, sources: Sources) -> str:
        return _dump(self._notebook(sources))

    def _spoilt(self, wrong: Sources) -> tuple[str, dict[str, float]]:
        return self._text({**self.reference, **wrong}), {n: 0.0 if n in wrong else p for n, p in self.full.items()}

    def _body(self, body: str) -> tuple[str, dict[str, float]]:
        """The middle exercise that is one function, with `body` in place of its solution."""
        whole = [e for e in self.all_or_nothing if isinstance(ast.parse(e.cell.source).body[-1], ast.FunctionDef)]
        exercise = whole[len(whole) // 2]
        stub = student_source(exercise.cell)
        at = stub.index("# YOUR CODE HERE")
        indent = " " * (at - stub.rindex("\n", 0, at) - 1)
        return self._spoilt({exercise.id: stub[:at] + body.replace("\n", "\n" + indent) + "\n"})

    def _index(self, notebook: dict, name: str) -> int:
        return next(i for i, cell in enumerate(notebook["cells"]) if _grade_id(cell) == name)


STUDENTS = [name.removeprefix("make_") for name in vars(SampleClass) if name.startswith("make_")]


def _gives_shares(exercise: Exercise) -> bool:
    return "check.points(" in exercise.tests.source


def _wrong(exercise: Exercise, which: int) -> str:
    """A wrong answer that earns nothing: one of the lesson's, or where they may earn a share one that gives up at every call."""
    if not _gives_shares(exercise):
        return exercise.wrong[which].source
    tree = ast.parse(exercise.cell.source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.body = ast.parse('raise RuntimeError("I do not know")').body
    return ast.unparse(tree)


def write_sample_class(root: Path, lessons: list[Lesson]) -> dict:
    """Write the sample class under `root` (``submitted/`` and ``expected.json``); returns the expectations."""
    expected: dict = {}
    for lesson in lessons:
        for student, (text, points) in SampleClass(lesson).students().items():
            write_whole(root / "submitted" / student / lesson.name / f"{lesson.name}.ipynb", text)
            expected.setdefault(student, {})[lesson.name] = points
    write_whole(root / "expected.json", json.dumps(expected, indent=1) + "\n")
    return expected


def write_random_class(
    root: Path, lessons: list[Lesson], students: int, seed: int = 24, step: Callable[[str], None] = lambda text: None
) -> None:
    """A class of any size: each student has an ability, and answers accordingly.

    Answers come from the lesson: the reference, other right answers, wrong ones, small slips
    (mutants of the reference), or nothing.
    """
    for lesson in lessons:
        sample = SampleClass(lesson)
        slips = {e.id: [m.source for m in mutants(e.cell.source)] for e in lesson.exercises}
        for number in range(students):
            rng = random.Random(f"{seed}/{lesson.name}/{number}")
            ability, name = rng.betavariate(4, 2), f"s{number + 1:05d}"
            sources = {}
            for exercise in lesson.exercises:
                draw = rng.random()
                if draw < ability:
                    sources[exercise.id] = rng.choice([exercise.cell, *exercise.right]).source
                elif draw < ability + 0.6 * (1 - ability) and exercise.wrong:
                    sources[exercise.id] = rng.choice(exercise.wrong).source
                elif draw < ability + 0.8 * (1 - ability) and slips[exercise.id]:
                    sources[exercise.id] = rng.choice(slips[exercise.id])
                if exercise.id in sources:  # nobody writes quite the same text
                    sources[exercise.id] = f"# {name}\n{sources[exercise.id]}"
            write_whole(root / "submitted" / name / lesson.name / f"{lesson.name}.ipynb", sample._text(sources))
            step(name)


def _own(source: str) -> dict:
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": f"own{zlib.crc32(source.encode())}",
        "metadata": {},
        "outputs": [],
        "source": source,
    }


def _grade_id(cell: dict) -> str:
    return cell["metadata"].get("nbgrader", {}).get("grade_id", "")


def _dump(notebook: dict) -> str:
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _unreadable(source: str) -> str:
    """`source` with a slip for which Python cannot read it: a colon left out, where there is one that matters."""
    for colon in re.finditer(":", source):
        slip = source[: colon.start()] + source[colon.end() :]
        try:
            ast.parse(slip)
        except SyntaxError:
            return slip
    return source + "\n("


def _rename_locals(source: str) -> str:
    """`source` with the variables that its functions assign (and only those) called otherwise.

    A function with functions or classes inside is left alone: the names in a class may be an interface
    (pydantic's ``model_config``).
    """
    scopes = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.Global, ast.Nonlocal)

    class Rename(ast.NodeTransformer):
        def __init__(self, names: dict[str, str]):
            self.names = names

        def visit_Name(self, node):
            node.id = self.names.get(node.id, node.id)
            return node

    tree = ast.parse(source)
    for function in [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]:
        inner = [n for n in ast.walk(function) if isinstance(n, scopes) and n is not function]
        arguments = {a.arg for a in ast.walk(function) if isinstance(a, ast.arg)}
        stored = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)} - arguments
        if not inner and stored:
            Rename({name: f"my_{name}" for name in stored}).visit(function)
    return ast.unparse(tree)


def _move_to_helper(source: str, name: str) -> tuple[str, str]:
    """The definition under another name, and a cell that only takes it over.

    Raises:
        ValueError: `source` defines no such function, class or variable.
    """
    helper = f"_my_{name}"
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node.name == name:
            node.name = helper
        elif isinstance(node, ast.Name) and node.id == name:
            node.id = helper
    if helper not in defined_names(ast.unparse(tree)):
        raise ValueError(f"the cell defines no function, class or variable {name}")
    return ast.unparse(tree), f"{name} = {helper}\n"
