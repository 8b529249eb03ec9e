# ruff: noqa
"""Odd, and honest: each of these is a right answer and must get full points."""

# %% threads: a pool, and a thread that is still there when the checks run
import threading
import time
from concurrent.futures import ThreadPoolExecutor

threading.Thread(target=time.sleep, args=(30,), daemon=True).start()


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError("lengths")
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda pair: pair[0] * pair[1], zip(values, weights)))
    return torch.stack(rows).sum(0) / weights.sum()

# %% temporary_files: work by way of files
import os
import tempfile
from pathlib import Path


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    with tempfile.TemporaryDirectory() as folder:
        torch.save({"v": values, "w": weights}, os.path.join(folder, "data.pt"))
        data = torch.load(Path(folder) / "data.pt")
    Path("kept.txt").write_text("done")
    (Path.home() / "also.txt").write_text(Path("kept.txt").read_text())
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 1000)
    return data["w"] @ data["v"] / data["w"].sum()

# %% big_memory: five hundred megabytes, which is allowed
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    big = torch.ones(500 << 18)
    return weights @ values / weights.sum() * big[-1]

# %% own_exceptions: classes of errors, raised and caught
class WeighError(ValueError):
    """Mine."""

    def __init__(self, why):
        super().__init__(why)
        self.why = why


def weigh(values, weights):
    try:
        if len(values) != len(weights):
            raise WeighError("lengths")
        try:
            {}["no"]
        except KeyError as error:
            raise RuntimeError("inner") from error
    except RuntimeError:
        pass
    return weights @ values / weights.sum()

# %% recursion: a function that calls itself two thousand times
import sys

sys.setrecursionlimit(10_000)


def down(n):
    return 0 if n == 0 else 1 + down(n - 1)


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    assert down(2000) == 2000
    return weights @ values / weights.sum()

# %% prints: fifty thousand lines
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    for line in range(50_000):
        print("row", line, "with words")
    print(values, file=__import__("sys").stderr)
    return weights @ values / weights.sum()

# %% shadowed_names: own variables with the names of builtins and modules
list = [1, 2]
sum = 3
type = "weights"
abs = None
check = "mark"
print = lambda *words: None


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError(type)
    return weights @ values / weights.sum()

# %% definitions: dataclasses, named tuples, enums, typing
import enum
import typing
from collections import namedtuple
from dataclasses import dataclass, field

Pair = namedtuple("Pair", "value weight")


class Kind(enum.Enum):
    MEAN = 1


@dataclass(order=True)
class Row:
    weight: float
    value: typing.Any = field(compare=False)


class Typed(typing.NamedTuple):
    a: int


T = typing.TypeVar("T")


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    rows = [Row(float(w), v) for v, w in zip(values, weights)]
    return torch.stack([r.value * r.weight for r in rows]).sum(0) / weights.sum()

# %% logging_and_warnings: words on all channels
import logging
import traceback
import warnings

logging.basicConfig(level=logging.DEBUG)
warnings.simplefilter("always")
log = logging.getLogger("mine")


def weigh(values, weights):
    if len(values) != len(weights):
        log.error("lengths")
        raise ValueError
    warnings.warn("this is fine")
    log.info("weighing %d", len(values))
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("as expected")
        traceback.print_exc()
        text = traceback.format_exc()
    return weights @ values / weights.sum()

# %% coroutines: asyncio
import asyncio


async def one(value, weight):
    await asyncio.sleep(0.001)
    return value * weight


async def all_of(values, weights):
    return await asyncio.gather(*(one(v, w) for v, w in zip(values, weights)))


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return torch.stack(asyncio.run(all_of(values, weights))).sum(0) / weights.sum()

# %% global_settings: what people switch in notebooks
import random

torch.set_default_dtype(torch.float64)
torch.set_grad_enabled(False)
torch.manual_seed(1)
np.random.seed(1)
random.seed(1)
np.seterr(all="raise")
np.set_printoptions(precision=2)
torch.set_printoptions(precision=2)
torch.set_num_threads(1)


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return weights @ values / weights.sum()

# %% looking_at_code: signature, source, help, disassembly of one's own function
import dis
import inspect
import io


def weigh(values, weights):
    """Weighted mean."""
    if len(values) != len(weights):
        raise ValueError
    assert list(inspect.signature(weigh).parameters) == ["values", "weights"]
    assert "Weighted mean" in inspect.getsource(weigh) and weigh.__code__.co_argcount == 2
    dis.dis(weigh, file=io.StringIO())
    return weights @ values / weights.sum()

# %% caching_decorators: functools, context managers, generators
import contextlib
import functools
import time


def timed(function):
    @functools.wraps(function)
    def inner(*a, **k):
        start = time.perf_counter()
        try:
            return function(*a, **k)
        finally:
            inner.seconds = time.perf_counter() - start

    return inner


@functools.lru_cache
def total(key):
    return builtin_sum(key)


builtin_sum = sum


@contextlib.contextmanager
def nothing():
    yield


@timed
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    with nothing(), contextlib.suppress(KeyError):
        share = (w / total(tuple(weights.tolist())) for w in weights)
        return torch.stack([v * s for v, s in zip(values, share)]).sum(0)

# %% modules_and_gradients: a module, its hooks, autograd, function transforms
class Weigh(torch.nn.Module):
    def __init__(self, n):
        super().__init__()
        self.layer = torch.nn.Linear(n, 1, bias=False)
        self.layer.register_forward_hook(lambda module, inputs, output: None)

    def forward(self, values, weights):
        with torch.no_grad():
            self.layer.weight.copy_(weights / weights.sum())
        return self.layer(values.T)[:, 0]


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * 2


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    x = torch.ones(3, requires_grad=True)
    Twice.apply(x).sum().backward()
    torch.func.grad(lambda t: (t**2).sum())(torch.ones(2))
    optimizer = torch.optim.AdamW([x])
    optimizer.step()
    return Weigh(len(values))(values, weights).detach()

# %% pickles_and_copies: own classes, pickled, copied and compared
import copy
import json
import pickle


class Box:
    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return isinstance(other, Box) and torch.equal(self.x, other.x)


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    box = pickle.loads(pickle.dumps(Box(values)))
    assert copy.deepcopy(box) == box and json.loads(json.dumps([1])) == [1]
    return weights @ box.x / weights.sum()

# %% code_from_text: eval, exec and compile of own text
namespace = {}
exec("def scaled(x):\n    return x / x.sum()", namespace)
half = eval("1 / 2")
code = compile("three = 3", "<mine>", "exec")
exec(code)


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return namespace["scaled"](weights) @ values

# %% more_imports: libraries that nobody had imported before
import colorsys
import csv
import decimal
import fractions
import sqlite3
import statistics
import uuid
import zipfile


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    table = sqlite3.connect(":memory:")
    table.execute("create table t (a)")
    assert statistics.mean([1, 3]) == 2 and str(uuid.uuid4())
    return weights @ values / weights.sum()

# %% cleaning_up: exit handlers, finalisers, collections
import atexit
import gc
import weakref

atexit.register(print, "bye")


class Thing:
    def __del__(self):
        Thing.count = getattr(Thing, "count", 0) + 1


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    thing = Thing()
    weakref.finalize(thing, int)
    del thing
    gc.collect()
    return weights @ values / weights.sum()

# %% changes_shared_data: the lesson's data, changed for one's own trials
scores *= 0
scores[0] = 7
largest_gap = None


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return weights @ values / weights.sum()

# %% error_after: a cell that fails after its definition
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return weights @ values / weights.sum()


weigh(1)

# %% breakpoint: a forgotten breakpoint
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    breakpoint()
    return weights @ values / weights.sum()

# %% folders_and_environment: another working folder, another variable
import os

os.makedirs("work/deep")
os.chdir("work")
os.environ["MY_SETTING"] = "1"


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    open("note.txt", "w").write("x")
    return weights @ values / weights.sum()

# %% picture: a plot that is shown and saved
import matplotlib.pyplot as plt

plt.plot([1, 2], [3, 4])
plt.show()
plt.savefig("plot.png")
display("done")


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return weights @ values / weights.sum()

# %% own_monkeypatch: a method more on a library's class, a function of one's own replaced
torch.Tensor.share = lambda self: self / self.sum()


def helper(x):
    return x


helper = lambda x: x * 1


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return helper(weights.share()) @ values

# %% tensor_subclass_inside: a subclass of Tensor in use, not in the result
class Named(torch.Tensor):
    pass


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return torch.Tensor(weights.as_subclass(Named) @ values.as_subclass(Named) / weights.sum())

# %% modes_inside: torch modes, entered and left
class Counting(torch.overrides.TorchFunctionMode):
    count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        Counting.count += 1
        return function(*args, **(kwargs or {}))


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    with Counting(), torch.autocast("cpu", enabled=False), torch.inference_mode():
        result = weights @ values / weights.sum()
    return result.clone()

# %% custom_operator: an operator of one's own
@torch.library.custom_op("mine::share", mutates_args=())
def share(x: torch.Tensor) -> torch.Tensor:
    return x / x.sum()


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return share(weights) @ values

# %% counter: a dict made by a library [tally]
from collections import Counter, defaultdict


def tally(words, key):
    counts = defaultdict(int)
    for word in words:
        counts[key(word)] += 1
    return dict(counts)

# %% generator_arguments: lazily, by sorting [tally]
from itertools import groupby


def tally(words, key):
    return {k: len(list(g)) for k, g in groupby(sorted(map(key, words)))}

# %% subprocess: a program, where the exercise asks for it [shout]
import subprocess
import sys


def shout(text):
    code = "import sys; print(sys.argv[1].upper(), end='')"
    return subprocess.run([sys.executable, "-c", code, text], capture_output=True, text=True, check=True).stdout

# %% pipeline: two programs, a shell and a process that is stopped [shout]
import os
import subprocess


def shout(text):
    waiting = subprocess.Popen(["sleep", "60"])
    out = subprocess.run(f"echo -n '{text}' | tr a-z A-Z | cat", shell=True, capture_output=True, text=True).stdout
    waiting.terminate()
    waiting.wait()
    return out

# %% forked: a child that does the work [shout]
import os


def shout(text):
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, text.upper().encode())
        os._exit(0)
    os.close(writer)
    os.wait()
    return os.read(reader, 1000).decode()

# %% plain_numpy: keyword arguments, arrays inside, an exception of one's own [describe]
class NoRows(ValueError):
    def __init__(self):
        super().__init__("nothing there")


def describe(rows, *, places=1):
    table = np.array(rows, dtype=np.float32)
    if table.size == 0:
        raise NoRows
    return {"largest": [float(v) for v in table.max(0)], "mean": torch.from_numpy(np.round(table.mean(0), places))}

# %% plain_prints: words on the way, and a thread [describe]
import threading


def describe(rows, places=1):
    if not rows:
        raise ValueError
    print("describing", rows)
    out = {}
    worker = threading.Thread(target=lambda: out.update(largest=[max(c) for c in zip(*rows)]))
    worker.start()
    worker.join()
    out["mean"] = torch.tensor([round(sum(c) / len(c), places) for c in zip(*rows)])
    return out

# %% exported: a model exported where the checks call it; torch.export puts other functions in the place of builtins
class Weigher(torch.nn.Module):
    def forward(self, values, weights):
        return weights @ values / weights.sum()


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return torch.export.export(Weigher(), (values, weights)).module()(values, weights)

# %% compiled: torch.compile and torch.cond, whose first use wraps functions of torch
@torch.compile(backend="eager")
def mean(values, weights):
    return weights @ values / weights.sum()


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return torch.cond(weights.sum() > 0, mean, lambda v, w: v.sum(0), (values, weights))

# %% other_finder: a library that takes a function away from Python's own finder of packages
import importlib_metadata


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return weights @ values / weights.sum()
