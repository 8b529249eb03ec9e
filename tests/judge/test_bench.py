"""One candidate on the bench: what each kind of answer is told."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest
from texts import read_copy, replaced

from course.lesson import LessonError
from course.reference import needed_cells
from judge.bench import Bench

RIGHT = "def mean_gap(x, y):\n    if len(x) != len(y):\n        raise ValueError\n    return sum(a - b for a, b in zip(x, y)) / len(x)\n"
LINE = "def mean_gap(x, y):\n    {}\n"


@pytest.fixture(scope="module")
def bench(small):
    with Bench(small) as bench:
        bench.wait()
        yield bench


@pytest.mark.parametrize(
    ("source", "status", "words"),
    [
        (RIGHT, "passed", "all checks here pass"),
        ("", "not attempted", "not attempted yet"),
        ("# later\n", "not attempted", "not attempted yet"),
        (LINE.format("raise NotImplementedError()"), "not attempted", "not attempted yet"),
        ("raise NotImplementedError()", "not attempted", "not attempted yet"),
        (LINE.format("return 1 +"), "error", "line 2"),
        (LINE.format("pass"), "failed", "None"),
        (LINE.format("return x - y"), "failed", "line 2 in mean_gap"),
        (LINE.format("return math.nan"), "failed", "nan"),
        ("def meen_gap(x, y):\n    return 0\n", "error", "does not define `mean_gap`"),
        ("undefined_name\n", "error", "NameError"),
        (LINE.format("while True: pass"), "timeout", "2 s of computing time"),
        (LINE.format("import time; time.sleep(600)"), "timeout", "does it wait for something"),
        (LINE.format("import sys; sys.exit(0)"), "error", "sys.exit"),
        ("import sys\nsys.exit(0)\n", "error", "sys.exit"),
        (LINE.format("import os; os._exit(0)"), "crashed", "exit status 0"),
        (LINE.format("import os; os.abort()"), "crashed", "signal 6"),
        (LINE.format("return bytearray(4 << 30)"), "out of memory", "MemoryError"),
        (LINE.format("return mean_gap(x, y)"), "failed", "RecursionError"),
    ],
)
def test_what_a_candidate_is_told(bench, small, source, status, words):
    verdict = bench.judge(small.exercise("mean_gap"), source)
    assert verdict.status == status, verdict.message
    assert verdict.points == (2 if status == "passed" else 0)
    assert words in verdict.message


def test_an_error_after_the_definition_does_not_matter(bench, small):
    """As in a notebook: the function is there, so its tests can run."""
    assert bench.judge(small.exercise("mean_gap"), RIGHT + "print(undefined_name)\n").points == 2


def test_what_a_notebook_allows(bench, small):
    """Top-level `await`, `display` and what IPython makes of magics once were errors: a kernel takes them all."""
    before = """import asyncio
gaps = await asyncio.sleep(0, [1])
display(gaps)
files = get_ipython().getoutput('ls')
get_ipython().run_line_magic('matplotlib', 'inline')
get_ipython().run_line_magic('time', 'unit = len(gaps) + len(files)')
timing = get_ipython().run_line_magic('timeit', '-n 3 -o sum(gaps)')
assert timing.best >= 0
get_ipython().run_cell_magic('capture', 'seen', 'print(24)')
get_ipython().run_cell_magic('writefile', 'unit.txt', str(seen.stdout))
assert open('unit.txt').read().strip() == '24'
"""
    verdict = bench.judge(small.exercise("mean_gap"), before + replaced(RIGHT, ("/ len(x)", "/ len(x) * unit")))
    assert verdict.status == "passed", verdict.message


def test_the_first_cause_is_told(bench, small):
    """Only the NameError in the exercise was told, when a cell before it had already failed on a missing package."""
    own = [("3", "import a_package_of_colab\ngap = lambda a, b: a - b\n"), ("5", "unit = 1\n")]
    verdict = bench.judge(small.exercise("mean_gap"), replaced(RIGHT, ("a - b for", "gap(a, b) for")), own)
    assert verdict.status == "failed" and "name 'gap' is not defined" in verdict.message
    assert "Before it your cell 3 stopped: ModuleNotFoundError: No module named 'a_package_of_colab'" in verdict.message


def test_partial_credit(bench, small):
    exercise = small.exercise("check_even")
    verdict = bench.judge(exercise, "def check_even(f):\n    assert f(2)\n    assert not f(3)\n")
    assert verdict.status == "partial" and 0 < verdict.points < 3
    assert "not for negatives" in verdict.message


def test_a_candidate_gets_the_reference_of_earlier_exercises(bench, small):
    source = "def gap_plus_one(x, y):\n    return mean_gap(x, y) + 1\n"
    assert bench.judge(small.exercise("gap_plus_one"), source).status == "passed"


def test_a_candidate_cannot_change_what_the_next_one_sees(bench, small):
    """Each candidate has a process of its own."""
    exercise = small.exercise("mean_gap")
    bench.judge(exercise, RIGHT + "import math\nmath.fsum = None\nhelper = None\n")
    assert bench.judge(exercise, exercise.right[0].source).status == "passed"


def test_tests_use_the_lessons_own_names(bench, small):
    """A candidate's own `check` or helper is not what the tests call."""
    spoilt = LINE.format("return 0") + "class check:\n    exercise = equal = raises = staticmethod(lambda *a, **k: None)\n"
    assert bench.judge(small.exercise("mean_gap"), spoilt).points == 0


def test_own_cells_run_first(bench, small):
    own = [("7", "def gap(a, b):\n    return a - b\n")]
    source = replaced(RIGHT, ("a - b for", "gap(a, b) for"))
    assert bench.judge(small.exercise("mean_gap"), source, own).status == "passed"
    assert bench.judge(small.exercise("mean_gap"), source).status == "failed"


def test_several_threads_at_once(bench, small):
    exercise = small.exercise("mean_gap")
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(lambda i: bench.judge(exercise, RIGHT if i % 2 else LINE.format("return 0")).status, range(24)))
    assert statuses == ["failed", "passed"] * 12


def test_numbers_of_seconds_and_memory_are_there(bench, small):
    verdict = bench.judge(small.exercise("mean_gap"), RIGHT)
    assert verdict.peak_mb > 1 and verdict.seconds >= 0


def test_a_fresh_process_gives_the_same_verdicts(small):
    """Lessons whose components do not survive a fork replay what an exercise needs."""
    lesson = dataclasses.replace(small, fork=False)
    with Bench(lesson) as bench:
        assert bench.judge(lesson.exercise("mean_gap"), RIGHT).status == "passed"
        assert bench.judge(lesson.exercise("gap_plus_one"), "def gap_plus_one(x, y):\n    return helper(mean_gap(x, y))\n").status == "passed"
        assert bench.judge(lesson.exercise("mean_gap"), LINE.format("import os; os._exit(3)")).status == "crashed"
        assert bench.judge(lesson.exercise("mean_gap"), LINE.format("while True: pass")).status == "timeout"


def test_what_a_fresh_process_replays(small):
    """Only cells that define something needed: for the first exercise the imports, not the helpers of others."""
    exercise = small.exercise("gap_plus_one")
    names = [name for name, *_ in needed_cells(small, exercise, ["mean_gap(1, 2)"])]
    assert names[0] == "<setup>" and "<reference mean_gap>.py" in names


def test_a_failing_reference_cell_is_named_with_its_line(tmp_path, small):
    lesson = read_copy(small.path, tmp_path, ("def helper(x):\n    return x + 1", "helper = 1 / 0"))
    line = lesson.path.read_text().splitlines().index("helper = 1 / 0") + 1
    with Bench(lesson) as bench, pytest.raises(LessonError, match=f"61_small.py:{line}: .*ZeroDivisionError"):
        bench.wait()


def test_what_tests_may_define(tmp_path, small):
    """Tests are judged as the body of a function.

    Found with a lesson whose tests define classes: there `super()` lacked its class, since the
    bench had replaced the word before the compiler saw it.
    """
    tests = """with check.exercise("mean_gap"):
    class Base:
        def value(self): return 5.25 / 3
    class Derived(Base):
        def value(self): return super().value()
    calls = 0
    def counted():
        global calls
        calls += 1
        return calls
    helper = helper(0)  # of the lesson
    got = [mean_gap([1.0, 2.0, 4.0], [0.5, 0.25, 1.0]) for _ in range(2) if counted()]
    check.equal(got, [Derived().value()] * calls, "the mean gap")
    check.equal((calls, helper), (2, 1), "the counts")
2.0
"""
    lesson = read_copy(small.path, tmp_path, (small.exercise("mean_gap").tests.source, tests))
    with Bench(lesson, ["mean_gap"]) as bench:
        verdict = bench.judge(lesson.exercise("mean_gap"), RIGHT)
        assert (verdict.status, verdict.points) == ("passed", 2.0), verdict.message
