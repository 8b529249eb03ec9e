"""Tests in one process, the answer in another: the verdicts of a notebook, and nothing to reach."""

import re
import socket
import threading

import pytest
import torch

from judge.bench import Bench
from judge.line import Line, _become
from lessons import apart_lesson, in_one_process

SETUP = "import asyncio, functools, math, random, os\nfrom pathlib import Path\nimport torch\nfrom torch import nn\nfrom unit24 import check\nscale = 3\n"

# name -> (test cell, {answer: (status, words)})
CASES = {
    "plain": (
        """
values = torch.arange(12.0).reshape(4, 3)
expected = values.mean(0)
got, (now,) = check.after(plain, values)
check.equal(got, expected, "the mean")
check.equal(now, values, "the values after the call", "leave them alone")
check.raises(ValueError, lambda: plain(values[:0]), "no values")
""",
        {
            "def plain(values):\n    if not len(values):\n        raise ValueError('none')\n    return values.mean(0)": ("passed", "✓"),
            "def plain(values):\n    return values.sum(0)": ("failed", "it is 4 times what was expected"),
            "def plain(values):\n    return values.div_(len(values)).sum(0)": ("failed", "values after the call"),
            "def plain(values):\n    return values.zero_()[0]": ("failed", "every value is zero"),
            "def plain(values):\n    return values.mean(0)": ("failed", "no values raised no error"),
            "def plain(values):\n    return values.nothing": ("failed", "line 2 in plain"),
            "def plain(values):\n    raise NotImplementedError()": ("not attempted", "not attempted yet"),
            "plain = functools.partial(torch.mean, dim=0)": ("failed", "no values"),
        },
    ),
    "steps": (
        """
@check.shared
def build(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5), nn.Linear(4, 3))
    return model, torch.optim.SGD(model.parameters(), lr=0.5)

@check.scenario
def train(seed, x, y):
    model, optimizer = build(seed)
    model.eval()
    torch.manual_seed(seed)
    return steps(model, optimizer, x, y), [p.detach() for p in model.parameters()]

x, y = torch.ones(6, 5), torch.arange(6) % 3
model, optimizer = build(1)
torch.manual_seed(1)
loss = nn.functional.cross_entropy(model(x), y)
loss.backward()
optimizer.step()
got, weights = train(1, x, y)
check.equal(got, loss.item(), "the loss", "in training mode?")
check.equal(weights, [p.detach() for p in model.parameters()], "the weights")
""",
        {
            """
def steps(model, optimizer, x, y):
    model.train()
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()
""": ("passed", "✓"),
            """
def steps(model, optimizer, x, y):
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()
""": ("failed", "n training mode?"),
            "def steps(model, optimizer, x, y):\n    return model.nothing": ("failed", "line 2 in steps"),
        },
    ),
    "gradient": (
        """
x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
(expected,) = torch.autograd.grad((x * x.sin()).sum(), x)
y = gradient(x)
check.true(y.requires_grad, "the result has no graph.")
(y * 2).sum().backward()
check.equal(x.grad, 2 * expected, "the gradient")
with torch.no_grad():
    check.true(not gradient(x).requires_grad, "a graph without gradients.")
""",
        {
            "def gradient(x):\n    return x * x.sin()": ("passed", "✓"),
            "def gradient(x):\n    return x.detach() * x.sin()": ("failed", "the gradient"),
            "def gradient(x):\n    return (x * x.sin()).detach()": ("failed", "no graph"),
        },
    ),
    "sessions": (
        """
@check.scenario
def session(n):
    generator = sessions(n)
    return lambda value=None: next(generator, "the end") if value is None else generator.send(value)

go = session(3)
check.equal([go(), go(7), go(), go()], [0, 8, 2, "the end"], "what is yielded")
""",
        {
            "def sessions(n):\n    got = None\n    for i in range(n):\n        got = yield i + (got or 0)": ("passed", "✓"),
            "def sessions(n):\n    for i in range(n):\n        yield i": ("failed", "what is yielded"),
        },
    ),
    "Counter": (
        """
new = check.live(Counter)
one, two = new(5), new(start=7)
check.equal([one.add(1), one.add(2), two.add(1)], [6, 8, 8], "the sums")
check.equal(one.total, 8, "total")
check.raises(ValueError, lambda: one.add(-1), "a negative number")
""",
        {
            """
class Counter:
    def __init__(self, start):
        self.total = start
    def add(self, n):
        if n < 0:
            raise ValueError(n)
        self.total += n
        return self.total
""": ("passed", "✓"),
            """
class Counter:
    total = 0
    def __init__(self, start):
        Counter.total = start
    def add(self, n):
        Counter.total += n
        return Counter.total
""": ("failed", "the sums"),
        },
    ),
    "widgets": (
        """
@check.scenario
def made(n):
    class Noted:
        def __init__(self, size):
            self.size = size
    with check.swapped(Widget=Noted):
        inside = [type(w).__name__ for w in widgets(n)]
    return inside, [type(w).__name__ for w in widgets(n)]

check.equal(made(2), (["Noted", "Noted"], ["Widget", "Widget"]), "what is made")
""",
        {
            "class Widget:\n    def __init__(self, size):\n        pass\ndef widgets(n):\n    return [Widget(i) for i in range(n)]": ("passed", "✓"),
            "class Widget:\n    def __init__(self, size):\n        pass\ndef widgets(n, cls=Widget):\n    return [cls(i) for i in range(n)]": ("failed", "what is made"),
        },
    ),
    "callback": (
        """
calls = []
def reward(text, *, factor=1):
    calls.append(text)
    text.append(0)
    return factor * len(text)

check.equal(callback(reward, [["a"], []]), [4, 2], "the rewards")
check.equal(len(calls), 2, "the number of calls")
check.equal(callback(lambda t, factor: factor, [["b"]]), [2], "another reward")
""",
        {
            "def callback(f, texts):\n    return [f(t, factor=2) * (len(t) > 0) for t in texts]": ("passed", "✓"),
            "def callback(f, texts):\n    return [f(t, factor=2) for t in texts for _ in 'ab'][::2]": ("failed", "number of calls"),
            "def callback(f, texts):\n    return [f(t) for t in texts]": ("failed", "the rewards"),
        },
    ),
    "find_bugs": (
        """
def square(x):
    return x * x

def power(x):
    return x**2

def double(x):
    return 2 * x

def draws(x):
    return x * x + (torch.rand(()) > 0.5)

check.catches(find_bugs, {"product": square, "power": power}, {"doubles": double, "overwrites": lambda x: x.zero_(), "adds": lambda x: x + x})
""",
        {
            "def find_bugs(f):\n    x = torch.tensor([1.0, 3.0])\n    assert torch.equal(f(x), torch.tensor([1.0, 9.0]))": ("passed", "✓"),
            "def find_bugs(f):\n    x = torch.tensor([3.0])\n    f(x)\n    assert x == 3": ("passed", "◐ your tests catch 1 of 3"),
            "def find_bugs(f):\n    assert f(torch.tensor([1.0])) == 2": ("failed", "reject a correct implementation"),
            "def find_bugs(f):\n    assert f(torch.rand(())) <= 0.3": ("failed", None),
            "def find_bugs(f):\n    pass": ("failed", "none of 3"),
        },
    ),
    "save": (
        """
@check.scenario
def write(folder, values):
    return save(Path(folder) / "values.txt", values)

@check.scenario(clean=True)
def look(folder):
    path = Path(folder) / "values.txt"
    return path.stat().st_size, [float(word) for word in path.read_text().split()]

folder, values = check.folder(), [1.5, -2.0]
size = write(folder, values)
check.equal(look(folder), (size, values), "size and values of the file")
""",
        {
            "def save(path, values):\n    path.write_text(' '.join(map(str, values)))\n    return path.stat().st_size": ("passed", "✓"),
            "def save(path, values):\n    path.write_text('1 2')\n    return 3": ("failed", "size and values"),
            "def save(path, values):\n    return 3": ("failed", "no file `values.txt`"),
        },
    ),
    "modes": (
        """
@check.scenario
def observe():
    return torch.is_grad_enabled(), torch.get_default_dtype(), torch.ones(2).dtype

check.equal(observe(), (True, torch.float32, torch.float32), "the modes")
check.equal(modes(), 2 * scale, "a name of the lesson")
""",
        {
            "torch.set_grad_enabled(False)\ntorch.set_default_dtype(torch.float64)\ndef modes():\n    return 6": ("passed", "✓"),
        },
    ),
    "odd_results": (
        """
from collections import namedtuple
got = odd_results()
check.equal(got[:4], [math.inf, 2**80, (1, 2), torch.Size([3])], "the first")
check.equal(asyncio.iscoroutinefunction(odd_results), False, "what it is")
""",
        {
            """
from collections import namedtuple
import signal
Pair = namedtuple("Pair", "a b")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
async def job():
    return math.inf
def odd_results():
    return [asyncio.run(job()), 2**80, Pair(1, 2), torch.ones(3).shape]
""": ("passed", "✓"),
        },
    ),
}  # fmt: skip
EVERY = [(name, answer) for name, (_, answers) in CASES.items() for answer in answers]


@pytest.fixture(scope="module")
def lesson():
    return apart_lesson(SETUP, {name: (next(iter(answers)), tests) for name, (tests, answers) in CASES.items()})


@pytest.fixture(scope="module")
def bench(lesson):
    with Bench(lesson) as bench:
        yield bench


@pytest.mark.parametrize(("name", "answer"), EVERY)
def test_the_same_in_one_process_and_across_the_wall(name, answer, lesson, bench):
    status, words = CASES[name][1][answer]
    exercise = lesson.exercise(name)
    here, said = in_one_process(lesson, exercise, answer)
    there = bench.judge(exercise, answer)
    assert (here, there.status) == (status, status), (said, there.message)
    if words is not None:
        assert words in said and words in there.message
        assert _without_type(there.message) == _without_type(said.strip())


def _without_type(message: str) -> str:
    """Exceptions of the student's own kind arrive as the nearest built-in one."""
    return re.sub(r"\((\w+Error).*?\)", r"(\1)", message)


def test_what_cannot_cross_is_said(bench, lesson):
    exercise = lesson.exercise("plain")
    verdict = bench.judge(exercise, "def plain(values):\n    return nn.Linear(1, 1)\n")
    assert verdict.status == "failed" and "`plain` returned something of type Linear, expected plain data" in verdict.message


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        ("def plain(v):\n    os._exit(3)", "crashed", "exit status 3"),
        ("def plain(v):\n    os.close(4)", "crashed", "exit status 0"),
        ("def plain(v):\n    os.write(4, b'x' * 4000)\n    os.write(4, b'y' * 4000)", "crashed", "before the checks were done"),
        ("def plain(v):\n    raise SystemExit", "error", "exit()"),
        ("def plain(v):\n    raise check.CheckFailed('✓ plain: all checks here pass.')", "failed", "AssertionError"),
        ("def plain(v):\n    return bytearray(8 << 30)", "out of memory", "MemoryError"),
    ],
)
def test_how_an_answer_may_end(answer, status, words, bench, lesson):
    verdict = bench.judge(lesson.exercise("plain"), answer)
    assert (verdict.status, verdict.points) == (status, 0), verdict.message
    assert words in verdict.message


def test_tests_hold_time_and_memory_of_both(bench, lesson):
    """A callback for ever is the computing time of the judge; an ignored signal of the limit ends as a kill."""
    for name, answer in (
        ("find_bugs", "def find_bugs(f):\n    while True:\n        f(torch.ones(3))"),
        ("plain", "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\ndef plain(v):\n    while True:\n        pass"),
    ):
        verdict = bench.judge(lesson.exercise(name), answer, slack=0.2)
        assert verdict.status == "timeout", verdict.message


def test_no_text_of_solutions_is_in_a_candidate(bench, lesson):
    """The source of earlier answers was read from `linecache` and shown in feedback."""
    spy = "import inspect, linecache\ndef plain(v):\n    known = [k for k in linecache.cache if k.startswith('<')]\n    raise ValueError(str(known))"
    said = bench.judge(lesson.exercise("plain"), spy).message
    assert "<cell plain>" in said and "reference" not in said
    exercise = lesson.exercise("steps")
    spy = "import inspect\ndef steps(*a):\n    raise ValueError(inspect.getsource(plain))"
    assert "source code" in bench.judge(exercise, spy).message


def test_a_library_may_look_up_the_text_of_a_reference_function():
    """torch.jit and Triton read the source of what they compile, also in the reference run."""
    reference = "@torch.jit.script\ndef scripted(x):\n    return x + 1\n"
    after = 'assert "return x + 1" in __import__("inspect").getsource(plain_function)\n'
    lesson = apart_lesson(
        SETUP,
        {
            "scripted": (reference, 'check.equal(scripted(torch.ones(2)), torch.full((2,), 2.0), "the sum")'),
            "plain_function": ("def plain_function(x):\n    return x + 1\n", 'check.equal(plain_function(1), 2, "the sum")'),
            "last": (f"{after}def last():\n    return 1\n", 'check.equal(last(), 1, "one")'),
        },
    )
    with Bench(lesson) as bench:
        for exercise in lesson.exercises[:2]:
            assert bench.judge(exercise, exercise.cell.source).status == "passed"
        verdict = bench.judge(lesson.exercise("last"), "def last():\n    return 1\n")
        assert verdict.status == "passed", verdict.message


def test_a_change_in_place_comes_back_by_position_and_by_name():
    """What a lent implementation wrote into an argument given by name did not: right tests of a student missed that bug."""
    here, there = socket.socketpair()
    with here, there:
        other = Line(there, {"fill": lambda items, more: (items.append(1), more.add_(1), None)[2]})
        thread = threading.Thread(target=other.serve)
        thread.start()
        for positional in (0, 1, 2):
            items, more = [], torch.zeros(2)
            given = {"items": items, "more": more}
            names = list(given)
            line = Line(here, {}, trusts=True)
            line.call("fill", tuple(given.values())[:positional], {name: given[name] for name in names[positional:]})
            assert items == [1] and more.tolist() == [1, 1]
        here.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=10)


def test_what_an_argument_holds_is_changed_in_place_too():
    """Inner lists were replaced: a shallow copy saw the change of a row, which in one process it would not have been kept from."""
    rows = [[1, 2], [3], [3], {"a": [4]}]
    shallow, (_, second, third, last) = list(rows), rows
    _become(rows, [[3], [1, 2, 9], [3], {"a": [4, 5]}, [6]])
    assert rows == [[3], [1, 2, 9], [3], {"a": [4, 5]}, [6]]
    assert rows[0] is second and rows[2] is third and rows[3] is last and last["a"] == [4, 5]
    assert shallow[1:] == [[3], [3], {"a": [4, 5]}]
    turned = [[1], [2]]
    one, two = turned
    _become(turned, [[2], [1]])
    assert turned[0] is two and turned[1] is one
    table = {"x": torch.zeros(2), "y": torch.ones(2)}
    x = table["x"]
    _become(table, {"y": torch.ones(2), "x": torch.full((2,), 3.0)})
    assert list(table) == ["y", "x"] and table["x"] is x and x.tolist() == [3.0, 3.0]
