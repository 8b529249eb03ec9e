# ruff: noqa
"""Odd, and honest, where tests are apart: each of these is a right answer and must get full points."""

# %% symbolic_trace: a graph of a module
import torch.fx

graph = torch.fx.symbolic_trace(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
# honest

# %% prepared_fx: quantisation prepares a module
import warnings

warnings.simplefilter("ignore")
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import prepare_fx

prepared = prepare_fx(nn.Sequential(nn.Linear(2, 2), nn.ReLU()).eval(), get_default_qconfig_mapping("x86"), (torch.zeros(1, 2),))
# honest

# %% traced: torch.jit's trace of a module [rms_norm]
traced = torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2))
# honest

# %% own_module: an own .py file is written and imported
import sys

with open("mine.py", "w") as file:
    file.write("answer = 42\n")
sys.path.insert(0, ".")
import mine

assert mine.answer == 42
# honest

# %% mock_patches: patches on print, math.sqrt and F.relu [training]
from unittest import mock

with mock.patch("builtins.print"), mock.patch("math.sqrt", return_value=3) as root, mock.patch.object(F, "relu") as relu:
    print(math.sqrt(2), F.relu(1))
assert root.called and relu.called
# honest

# %% profiled: cProfile around code
import cProfile
import io
import pstats

profile = cProfile.Profile()
profile.enable()
sum(range(1000))
profile.disable()
pstats.Stats(profile, stream=io.StringIO()).print_stats(3)
# honest

# %% profiled_in_function: cProfile that stays on [batches]
import cProfile

profile = cProfile.Profile()
profile.enable()
# honest

# %% torch_profiler: torch's own profiler [training]
from torch.profiler import profile

with profile() as found:
    torch.ones(3) + 1
# honest

# %% settrace_none: tracing switched off, a debugger's habit
import sys
import threading

sys.settrace(None)
threading.settrace(None)
# honest

# %% settrace_left: a tracer that counts lines, left on [window]
import sys

lines = [0]


def tracer(frame, event, argument):
    lines[0] += 1
    return tracer


sys.settrace(tracer)
# honest

# %% current_frame: inspect.currentframe and stack [window]
import inspect

here = inspect.currentframe().f_code.co_name
who = [frame.function for frame in inspect.stack()]
# honest

# %% traceback_frames: frames of a traceback
import traceback

try:
    {}["no"]
except KeyError as error:
    text = "".join(traceback.format_exception(error))
    names = [f.f_code.co_name for f, _ in traceback.walk_tb(error.__traceback__)]
# honest

# %% counts_tensors: all tensors counted with gc
import gc

count = sum(torch.is_tensor(thing) for thing in gc.get_objects())
gc.collect()
gc.disable()
# honest

# %% tensor_repr: tensors print their shape [training]
torch.Tensor.__repr__ = lambda self: f"tensor of {tuple(self.shape)}"
# honest

# %% lovely_tensors: __str__, __format__ and a property of tensors [rms_norm]
torch.Tensor.__str__ = lambda self, **k: "t"
torch.Tensor.deeper = property(lambda self: self)
# honest

# %% torch_load_partial: torch.load with another default [ship]
import functools

torch.load = functools.partial(torch.load, weights_only=False)
# honest

# %% np_bool: a name that NumPy has no more [pack]
np.bool = bool
np.float = float
np.int = int
# honest

# %% json_default: tensors in JSON
json.JSONEncoder.default = lambda self, thing: thing.tolist()
assert json.dumps(torch.ones(2)) == "[1.0, 1.0]"
# honest

# %% json_replaced: json.dumps and loads are another library's
json.dumps = lambda thing, **options: json.JSONEncoder().encode(thing)
json.loads = lambda text, **options: json.JSONDecoder().decode(text if isinstance(text, str) else text.decode())
# honest

# %% default_device: the default device is set in a function
def use_cpu():
    torch.set_default_device("cpu")


use_cpu()
# honest

# %% default_dtype: double precision at the top [training]
torch.set_default_dtype(torch.float64)
# honest

# %% no_grad_left: gradients are off at the cell's end [rms_norm]
torch.set_grad_enabled(False)
# honest

# %% marshalled: marshal and pickle of its own data
import marshal
import pickle

assert marshal.loads(marshal.dumps([1, 2])) == [1, 2] == pickle.loads(pickle.dumps([1, 2]))


class Kept:
    pass


pickle.loads(pickle.dumps(Kept()))
# honest

# %% code_replaced: a function's code under another name
def one(): return 1


two = one.__code__.replace(co_name="two")
one.__code__ = two
# honest

# %% ssl_context: an old workaround for downloads
import ssl

ssl._create_default_https_context = ssl._create_unverified_context
# honest

# %% nested_asyncio: asyncio in a cell
import asyncio


async def wait():
    await asyncio.sleep(0.01)
    return 3


assert asyncio.run(wait()) == 3
# honest

# %% signal_handler: handlers and an alarm [window]
import signal

signal.signal(signal.SIGALRM, lambda *a: None)
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
# honest

# %% imports_sklearn: installed libraries that the lesson had not [batches]
import scipy.stats
import sklearn.metrics
from sklearn.linear_model import LinearRegression

# honest

# %% imports_transformers: AutoTokenizer, a summary writer [batches]
from torch.utils.tensorboard import SummaryWriter
from transformers import AutoTokenizer

# honest

# %% imports_ray: ray, never started [batches]
import ray

# honest

# %% imports_mlflow: mlflow, never used [batches]
import mlflow

# honest

# %% imports_pandas: pandas, matplotlib and a figure [batches]
import matplotlib.pyplot as plt
import pandas as pd

pd.DataFrame({"a": [1, 2]}).describe()
plt.plot([1, 2])
plt.close("all")
# honest

# %% data_loader: workers that a candidate cannot have [batches]
from torch.utils.data import DataLoader


def batches(items, size):
    for batch in DataLoader(list(items), batch_size=size, num_workers=2, persistent_workers=True, prefetch_factor=2):
        yield batch.tolist()

# %% breakpoint_left: a forgotten debugger [batches]
def batches(items, size):
    import pdb

    pdb.set_trace()
    breakpoint()
    items = list(items)
    return [items[i : i + size] for i in range(0, len(items), size)]

# %% progress: a progress bar and many words [batches]
import sys

from tqdm.auto import tqdm


def batches(items, size):
    items = list(items)
    print("x" * 5_000_000)
    print("y" * 5_000_000, file=sys.stderr)
    for i in tqdm(range(0, len(items), size), leave=False):
        yield items[i : i + size]

# %% moved: the working folder is another one [pack]
import os

os.makedirs("work")
os.chdir("work")
# honest

# %% moved_in_function: the same while a file is written [pack]
import os


def pack(weights, path):
    path = path.resolve()
    os.makedirs("deeper", exist_ok=True)
    here = os.getcwd()
    os.chdir("deeper")
    parts = {}
    for name, matrix in weights.items():
        scale = np.abs(matrix).max(axis=1, keepdims=True) / 127
        parts[f"{name}.q"] = np.round(matrix / scale).astype(np.int8)
        parts[f"{name}.scale"] = scale[:, 0].astype(np.float32)
    np.savez(path, **parts)
    os.chdir(here)

# %% by_temporary: written aside, moved into its place [pack]
import os
import shutil
import tempfile


def pack(weights, path):
    parts = {}
    for name, matrix in weights.items():
        scale = np.abs(matrix).max(axis=1, keepdims=True) / 127
        parts[f"{name}.q"] = np.round(matrix / scale).astype(np.int8)
        parts[f"{name}.scale"] = scale[:, 0].astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(os.path.join(folder, "x.npz"), **parts)
        shutil.move(os.path.join(folder, "x.npz"), path)

# %% threads_ask: a lent function is called from a thread [callbacks]
from concurrent.futures import ThreadPoolExecutor

# honest

kept = best


def best(items, reward, clock, seconds):
    def inside(item):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(reward, item).result()

    return kept(items, inside, clock, seconds)

# %% threads_at_once: lent functions from four threads at once [normalise_tests]
from concurrent.futures import ThreadPoolExecutor

# honest

kept = check_normalise


def check_normalise(normalise):
    x = torch.randn(3, 5, dtype=torch.float64)
    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(lambda i: normalise(x * i, 0), range(1, 9)))
    for out in outputs:
        assert torch.allclose(out.norm(dim=0), torch.ones(5, dtype=x.dtype))
    kept(normalise)

# %% deepcopied: a deep copy of a configuration that holds a lent function [callbacks]
# honest

kept = best


def best(items, reward, clock, seconds):
    settings = copy.deepcopy({"reward": reward, "clock": clock, "items": items})
    return kept(settings["items"], settings["reward"], settings["clock"], seconds)

# %% wrapped: functools.wraps, partial and lru_cache on a lent function [callbacks]
import functools

# honest

kept = best


def best(items, reward, clock, seconds):
    @functools.lru_cache
    @functools.wraps(reward)
    def once(item):
        return reward(item)

    return kept(items, once, functools.partial(clock), seconds)

# %% partial_result: a partial as the function that is returned
import functools
import operator

# honest


def scaler(factor):
    return functools.partial(operator.mul, factor)

# %% cached_result: a function with a cache as the result
import functools

# honest


def scaler(factor):
    @functools.lru_cache
    def times(x):
        return factor * x

    return times

# %% callable_result: an instance that can be called as the result
# honest


class scaler:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return self.factor * x

# %% method_result: a bound method as the result
# honest


def scaler(factor):
    return factor.__mul__

# %% decorated: functions that count and time themselves
import functools
import time

calls = []


def timed(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            calls.append(time.perf_counter() - start)

    return wrapper

# honest

weigh, scale_, scaler, gap = map(timed, (weigh, scale_, scaler, gap))

# %% compiled: a function that is torch.jit's
# honest


@torch.jit.script
def _mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return weights @ values / weights.sum()


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return _mean(values, weights)

# %% parameter_result: a parameter, a numpy number and a bool where numbers are wanted
# honest


def gap(a, b):
    assert a == a and b == b
    return abs(np.float64(a) - np.float64(b)) if isinstance(a, float) or isinstance(b, float) else np.int64(abs(a - b))

# %% own_errors: classes of errors of one's own
class LengthError(ValueError):
    def __init__(self, have, want):
        super().__init__(f"{have} for {want}")


class NaNError(AssertionError):
    pass

# honest

def weigh(values, weights):
    if len(values) != len(weights):
        raise LengthError(len(weights), len(values))
    return weights @ values / weights.sum()


def gap(a, b):
    if a != a or b != b:
        raise NaNError("NaN")
    return abs(a - b)

# %% warnings_as_errors: warnings are errors, from the first line [window]
import warnings

warnings.simplefilter("error")
# honest

# %% names_overwritten: names of the lesson for other things [training]
# honest
copy = math = random = Path = struct = json = scores = spread = 3

# %% scratch_names: names that the tests use [training]
x = losses = p = build = net = seen = expected = data = compare = 7
# honest

# %% data_class: a data class, an enum, a named tuple [window]
import enum
from dataclasses import dataclass, field


class Kind(enum.IntEnum):
    SMALL = 1


@dataclass
class Window:
    size: int
    kept: list = field(default_factory=list)

    def __post_init__(self):
        if self.size < Kind.SMALL:
            raise ValueError("size")

    def add(self, x):
        self.kept = [*self.kept, x][-self.size :]
        return sum(self.kept) / len(self.kept)

    @property
    def count(self):
        return len(self.kept)

    def reset(self):
        self.kept.clear()

# %% slots_and_metaclass: a metaclass, slots, __getattr__ [window]
from abc import ABC, abstractmethod


class Base(ABC):
    @abstractmethod
    def add(self, x): ...


class Window(Base):
    __slots__ = ("size", "kept")

    def __new__(cls, size):
        if size < 1:
            raise ValueError
        return super().__new__(cls)

    def __init__(self, size):
        self.size, self.kept = size, []

    def add(self, x):
        self.kept = (self.kept + [x])[-self.size :]
        return math.fsum(self.kept) / len(self.kept)

    def __getattr__(self, name):
        if name == "count":
            return len(self.kept)
        raise AttributeError(name)

    def reset(self):
        self.kept = []

# %% custom_op: an operator of one's own [rms_norm]
@torch.library.custom_op("mine::rms", mutates_args=())
def rms(x: torch.Tensor) -> torch.Tensor:
    return x.clone()

# honest

# %% global_hooks: a forward hook of all modules that counts [training]
counts = []
torch.nn.modules.module.register_module_forward_hook(lambda module, inputs, output: counts.append(type(module).__name__))
# honest

# %% function_mode: a mode that counts calls, entered and left
from torch.overrides import TorchFunctionMode


class Counts(TorchFunctionMode):
    number = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        Counts.number += 1
        return function(*args, **(kwargs or {}))


with Counts():
    torch.ones(2) + 1
# honest

# %% sleeps_a_little: a moment's sleep, a thread that sleeps longer
import threading
import time

threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
time.sleep(0.2)
# honest

# %% exit_after: exit() at the end of the cell [window]
# honest
exit()

# %% audit_hook: an audit hook that counts
import sys

events = []
sys.addaudithook(lambda event, arguments: events.append(event) if len(events) < 10 else None)
# honest

# %% random_seeds: seeds and deterministic algorithms in a cell [training]
import random

random.seed(0)
np.random.seed(0)
torch.manual_seed(0)
torch.use_deterministic_algorithms(True)
torch.set_num_threads(1)
# honest

# %% compiled_module: torch.compile with an eager back end [training]
# honest

_step = train_step


def train_step(model, optimizer, x, y):
    return _step(torch.compile(model, backend="eager"), optimizer, x, y)

# %% program_output: what a program writes [shout]
import subprocess


def shout(text):
    made = subprocess.Popen(["sh", "-c", "cat | tr a-z A-Z"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return made.communicate(text.encode())[0].decode()

# %% pool_of_processes: a pool where processes are allowed [shout]
# known: semaphores lie in /dev/shm, where a candidate may not write
import multiprocessing


def shout(text):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return "".join(pool.map(str.upper, text))

# %% exported_strict: an export by another way, the file over a buffer [ship]
import io


def ship(model, example, path):
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(model, (example,), strict=True), buffer)
    path.write_bytes(buffer.getvalue())
    return len(buffer.getvalue())

# %% exported_dynamic: an export with a free batch axis and a guard of sizes [ship]
from torch.export import Dim


def ship(model, example, path):
    program = torch.export.export(model, (example,), dynamic_shapes=({0: Dim("batch", min=1, max=64)},))
    torch.export.save(program, path)
    return path.stat().st_size

# %% imports_when_called: libraries that set variables, filters and levels of their own, imported where they are needed [batches]
def batches(items, size):
    import matplotlib.pyplot as plt
    import sklearn.metrics
    from transformers import AutoTokenizer

    items = list(items)
    return [items[i : i + size] for i in range(0, len(items), size)]

# %% progress_monitored: a progress bar that is never closed, with tqdm's own thread [batches]
from tqdm import tqdm

bars = []


def batches(items, size):
    items = list(items)
    bars.append(tqdm(total=len(items), mininterval=0.1))
    return [items[i : i + size] for i in range(0, len(items), size)]

# %% pool_in_each_call: a pool and asyncio in each call
import asyncio
from concurrent.futures import ThreadPoolExecutor

# honest

kept = weigh


async def weighed(values, weights):
    return await asyncio.to_thread(kept, values, weights)


def weigh(values, weights):
    with ThreadPoolExecutor(4) as pool:
        return pool.submit(asyncio.run, weighed(values, weights)).result()

# %% pool_forgotten: a pool that goes with its function's names
from concurrent.futures import ThreadPoolExecutor

# honest

kept = weigh


def weigh(values, weights):
    return ThreadPoolExecutor(2).submit(kept, values, weights).result()

# %% words_and_logs: words by every way, a log file among them
import logging
import warnings

logging.getLogger("mine").addHandler(logging.FileHandler("early.log"))
# honest

kept = weigh


def weigh(values, weights):
    if not logging.getLogger("mine.other").handlers:
        logging.getLogger("mine.other").addHandler(logging.FileHandler("late.log"))
    logging.warning("a word")
    warnings.warn("another word")
    return kept(values, weights)

# %% mapped_array: an array that lives in its file [pack]
# honest

kept, mapped = pack, []


def pack(weights, path):
    np.save("copy.npy", next(iter(weights.values())))
    mapped.append(np.load("copy.npy", mmap_mode="r"))
    kept(weights, path)

# %% modes_within: modes of torch, each put back [training]
# honest

kept = train_step


def train_step(model, optimizer, x, y):
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.autograd.detect_anomaly(check_nan=False), torch.enable_grad():
            return kept(model, optimizer, x, y)
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])

# %% compiled_when_called: torch.compile in a call, with its own threads [training]
# honest

kept = evaluate


def evaluate(model, loader):
    return kept(torch.compile(model, backend="eager"), loader)

# %% child_waited_for: a program and a child of its own, both ended [shout]
import os
import subprocess


def shout(text):
    waiting = subprocess.Popen(["sleep", "60"])
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writer, text.upper().encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    waiting.kill()
    waiting.wait()
    return said

# %% debug_switches: faulthandler, tracemalloc, a deeper recursion limit
import faulthandler
import sys
import tracemalloc

faulthandler.enable()
tracemalloc.start()
sys.setrecursionlimit(20_000)
# honest

# %% print_options: how torch, NumPy and pandas show numbers
import pandas as pd

torch.set_printoptions(precision=2, sci_mode=False)
np.set_printoptions(precision=3, suppress=True)
pd.set_option("display.max_rows", 5)
# honest

# %% decimal_and_locale: a context of decimals, a locale, a time zone
import decimal
import locale
import os
import time

decimal.getcontext().prec = 50
locale.setlocale(locale.LC_ALL, "C")
os.environ["TZ"] = "UTC"
time.tzset()
# honest

# %% dispatched: singledispatch, overloads and protocols
import functools
import typing


@functools.singledispatch
def show(value): return str(value)


@show.register
def _(value: list): return ", ".join(map(show, value))


@typing.runtime_checkable
class Shown(typing.Protocol):
    def show(self): ...


assert show([1, 2]) == "1, 2" and not isinstance(3, Shown)
# honest

# %% start_method: how processes would be started
import multiprocessing

multiprocessing.set_start_method("spawn", force=True)
# honest

# %% databases_and_archives: sqlite in memory, gzip and zip files [pack]
import gzip
import io
import sqlite3
import zipfile

with sqlite3.connect(":memory:") as db:
    db.execute("create table t (x)")
with zipfile.ZipFile(io.BytesIO(), "w") as archive:
    archive.writestr("a.txt", gzip.compress(b"a"))
# honest

# %% function_transforms: vmap, grad and a checkpoint [training]
from torch.func import grad, vmap
from torch.utils.checkpoint import checkpoint

slope = vmap(grad(lambda x: x**3))(torch.arange(3.0))
x = torch.ones(2, requires_grad=True)
checkpoint(torch.sin, x, use_reentrant=False).sum().backward()
# honest

# %% parametrized: a parametrization and weight norm on a module of one's own [training]
from torch.nn.utils import parametrizations

layer = parametrizations.weight_norm(nn.Linear(3, 2))
layer(torch.ones(1, 3)).sum().backward()
# honest

# %% notebook_ways: magics, display and help, as calls
shell = get_ipython()
shell.run_line_magic("load_ext", "autoreload")
shell.run_line_magic("matplotlib", "inline")
display(torch.ones(2))
help(len)
# honest

# %% context_variables: contextvars, an exit stack, a finalizer
import contextlib
import contextvars
import weakref

depth = contextvars.ContextVar("depth", default=0)
with contextlib.ExitStack() as stack:
    token = depth.set(1)
    stack.callback(depth.reset, token)
layer = nn.Linear(1, 1)
weakref.finalize(layer, lambda: None)
# honest

# %% reloaded: modules imported anew
import importlib
import json

importlib.reload(math)
importlib.reload(json)
# honest

# %% temporary_left: a temporary folder and a file that stay open [pack]
import tempfile

holder = tempfile.TemporaryDirectory()
notes = open(holder.name + "/notes.txt", "w+")
notes.write("a")
# honest
