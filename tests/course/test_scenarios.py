"""What a scenario may refer to: it runs in another process than the tests that define it."""

import re

import pytest
from texts import replaced

from course.lesson import read, write_texts
from course.parts import LessonError
from course.scenarios import scenarios, scope_faults

LESSON = '''\
# %% [markdown]
# # A wall

# %% setup

# %%
import torch
from unit24 import check

SIZE = 3

# %% exercise="earlier" minutes=5 difficulty=1
def earlier(x):
    ### BEGIN SOLUTION
    return x
    ### END SOLUTION

# %% tests="earlier" points=1
with check.exercise("earlier"):
    check.equal(earlier(1), 1, "earlier(1)")

# %% exercise="train" minutes=5 difficulty=1
class Trainer:
    ### BEGIN SOLUTION
    rate = 0.5
    ### END SOLUTION

def train(model):
    ### BEGIN SOLUTION
    return Trainer()
    ### END SOLUTION

# %% tests="train" points=1
import json

CASES = [1, 2]

@@
with check.exercise("train"):
    check.equal(run(2), [2.0], "the run")

# %%
LATER = 3
'''
ANSWERS = '''\
# %% right="earlier"
def earlier(x):
    return x + 0

# %% right="train"
class Trainer:
    rate = 0.5

def train(model):
    return Trainer()
'''
RUN = """
@check.scenario
def run(n):
    return [float(n)]
"""


@pytest.fixture
def lesson_with(tmp_path):
    """A function that reads the lesson with these functions in its tests (`RUN` too, if they have no `run`)."""

    def make(text, answers=ANSWERS):
        text = text if "def run(" in text else RUN + text
        write_texts({"61_wall.py": replaced(LESSON, ("@@\n", text)), "answers/61_wall.py": answers}, tmp_path)
        return read(tmp_path / "61_wall.py")

    return make


@pytest.mark.parametrize(
    "text",
    [
        "@check.scenario\ndef run(n, *rest, key=2, **more):\n    m = n\n    return [m, rest, key, more]\n",
        "@check.scenario\ndef run(n):\n    return [len(str(n)) + int(isinstance(n, Exception))]\n",
        "@check.scenario\ndef run(n):\n    return [torch.tensor(n) + SIZE, unit24, env.tier, earlier(n)]\n",
        "@check.scenario\ndef run(n):\n    return [train(n), Trainer.rate]\n",
        "@check.scenario\ndef run(n):\n    import json as j\n    from math import sqrt\n    return [j.dumps(n), sqrt(n)]\n",
        "@check.scenario\ndef run(n):\n    return [weights(n), run(n - 1)]\n@check.shared\ndef weights(n):\n    return n\n",
        "@check.scenario\ndef run(n, size=SIZE, where=torch.device('cpu')) -> torch.Tensor:\n    return [n]\n",
        "@check.scenario\n@torch.no_grad()\ndef run(n: torch.Tensor):\n    return [n]\n",
        "@check.scenario\ndef run(n):\n    class Net(torch.nn.Module):\n        def forward(self, x):\n            return super().forward(x) + n\n    return [Net]\n",
        "@check.scenario\ndef run(n):\n    seen = [m for m in range(n) if m]\n    def inner():\n        nonlocal seen\n        return seen\n    return inner() + [(lambda m: m + n)(1), (k := n), k]\n",
        "@check.scenario\ndef run(n):\n    try:\n        train(n)\n    except ValueError as error:\n        return [str(error)]\n    with open('x') as file:\n        return [file.read()]\n",
        "@check.scenario(clean=True)\ndef run(n):\n    return [torch.load(n), other(n)]\n@check.scenario(clean=True)\ndef other(n):\n    return SIZE\n",
        "with open('x'):\n    @check.scenario(clean=False)\n    def run(n):\n        return [n]\n",
    ],
)  # fmt: skip
def test_within_its_scope(lesson_with, text):
    assert lesson_with(text).exercise("train").id == "train"


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("@check.scenario\ndef run(n):\n    x = n\n    return [CASES[x]]\n", "CASES[x]", "scenario `run` uses `CASES`, a name of the tests: give it as an argument"),
        ("@check.scenario\ndef run(n):\n    return [json.dumps(n)]\n", "json.dumps", "uses `json`, a name of the tests: give it as an argument, or define (import) it inside"),
        ("SIZE = 5\n@check.scenario\ndef run(n):\n    return [SIZE]\n", "[SIZE]", "uses `SIZE`, a name of the tests"),
        ("def helper(n):\n    return n\n@check.scenario\ndef run(n):\n    return helper(n)\n", "return helper", "uses `helper`, a name of the tests"),
        ("@check.scenario\ndef run(n):\n    return [LATER]\n", "[LATER]", "uses `LATER`, which neither the lesson has defined by then, nor the exercise"),
        ("@check.scenario\ndef run(n):\n    return [nowhere]\n", "[nowhere]", "uses `nowhere`, which neither"),
        ("@check.scenario\ndef run(n, cases=CASES):\n    return cases\n", "cases=CASES", "uses `CASES`, a name of the tests"),
        ("@check.scenario\ndef run(n: json.JSONDecoder):\n    return [n]\n", "json.JSONDecoder", "uses `json`"),
        ("import functools\n@check.scenario\n@functools.cache\ndef run(n):\n    return [n]\n", "@functools", "uses `functools`, a name of the tests"),
        ("@check.scenario\ndef run(n):\n    return [[CASES for _ in range(n)], lambda: CASES]\n", "[[CASES", "uses `CASES`"),
        ("@check.scenario\ndef run(n):\n    class Net:\n        size = CASES\n    return [Net]\n", "size = CASES", "uses `CASES`"),
        ("@check.scenario\ndef run(n):\n    global count\n    count = n\n    return [n]\n", "count = n", "uses `count`"),
        ("@check.scenario\ndef run(n):\n    nonlocal count\n    return [n]\n", "def run", "cannot stand alone: no binding for nonlocal 'count'"),
        ("@check.shared\ndef weights(n):\n    return CASES\n", "return CASES", "shared `weights` uses `CASES`, a name of the tests"),
        ("@check.scenario(clean=True)\ndef load(n):\n    return train(n)\n", "return train", "clean scenario `load` uses `train`, a name of the exercise, whose code is not there"),
        ("@check.scenario(clean=True)\ndef load(n):\n    return build(n)\n@check.shared\ndef build(n):\n    return deep(n)\n@check.shared\ndef deep(n):\n    return Trainer()\n", "return build", "clean scenario `load` uses `build`, which uses `Trainer`: the exercise's code is not there"),
        ("@check.scenario\ndef run(n):\n    return load(n)\n@check.scenario(clean=True)\ndef load(n):\n    return n\n", "return load", "uses `load`, which is clean: only the tests, or another clean scenario, may call it"),
        ("def around(cases):\n    @check.scenario\n    def inner(n):\n        return cases\n    return inner\n", "def inner", "`inner`: a scenario stands at the top level of the tests"),
        ("class Around:\n    @check.scenario\n    def inner(self):\n        return 1\n", "def inner", "stands at the top level of the tests"),
        ("@check.scenario\nasync def later(n):\n    return n\n", "def later", "`later` can be no scenario: only a plain function (`def`) can"),
        ("@check.shared\nclass Net:\n    pass\n", "class Net", "`Net` can be no scenario"),
        ("@check.scenario(cleen=True)\ndef other(n):\n    return n\n", "cleen", "`other`: write @check.scenario, @check.scenario(clean=True) or @check.shared"),
        ("@check.scenario()\ndef other(n):\n    return n\n", "scenario()", "`other`: write @check.scenario,"),
        ("@torch.no_grad()\n@check.scenario\ndef other(n):\n    return n\n", "@check.scenario\ndef other", "`other`: check's decorator stands above all others"),
        ("other = check.scenario(lambda n: n)\n", "check.scenario(lambda", "check.scenario is a decorator: write"),
        ("@check.shared\ndef run(n):\n    return [n]\n@check.shared\ndef run(n):\n    return [n]\n", "def run", "scenario `run`: the tests define this name more than once"),
        ("@check.scenario\ndef other(n):\n    return n\nother = 3\n", "def other", "scenario `other`: the tests define this name more than once"),
        ("@check.scenario\ndef train(n):\n    return n\n", "def train(n)", "scenario `train` is called like something of the exercise"),
        ("@check.scenario\ndef earlier(n):\n    return n\n", "def earlier(n)", "scenario `earlier` is called like something of the lesson"),
    ],
)  # fmt: skip
def test_out_of_its_scope(lesson_with, tmp_path, text, at, message):
    with pytest.raises(LessonError) as error:
        lesson_with(text)
    source = (tmp_path / "61_wall.py").read_text()
    line = source[: source.index(at)].count("\n") + 1
    assert any(f"61_wall.py:{line}: " in told and message in told for told in error.value.lines), str(error.value)


def test_what_is_known_of_a_scenario(lesson_with):
    text = '''@check.shared
def weights(model):
    """Words."""
    # More words.
    return dict(model)


@check.scenario(clean=True)
@torch.no_grad()
def load(path, size=SIZE):
    """Words alone."""


@check.scenario
def run(n):
    return [n]
'''
    lesson = lesson_with(text)
    exercise = lesson.exercise("train")
    weights, load, run = scenarios(exercise)
    assert [(s.name, s.kind) for s in (weights, load, run)] == [("weights", "shared"), ("load", "clean"), ("run", "scenario")]
    assert weights.source == "def weights(model):\n    return dict(model)"
    assert load.source == "@torch.no_grad()\ndef load(path, size=SIZE):\n    pass"
    lines = lesson.path.read_text().splitlines()
    assert [re.match(r"def (\w+)", lines[s.line - 1])[1] for s in (weights, load, run)] == ["weights", "load", "run"]
    assert run.node.body and not scenarios(lesson.exercise("earlier")) and not list(scope_faults(lesson, exercise))


def test_scope_faults_stand_beside_all_others(lesson_with):
    with pytest.raises(LessonError) as error:
        lesson_with("@check.scenario\ndef run(n):\n    return CASES, json\n", replaced(ANSWERS, ('right="earlier"', 'right="later"')))
    assert len(error.value.lines) == 4
