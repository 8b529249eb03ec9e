"""What an answer leaves behind in its process is found, in one process and across the wall, in the same words; and nobody else's."""

import logging
import os
import signal

import pytest

from judge.bench import Bench
from lessons import apart_lesson, in_one_process
from unit24 import check, leftovers

SETUP = """
import asyncio, concurrent.futures, contextlib, importlib.util, io, logging, os, signal, socket, subprocess, sys, tempfile, threading, time, warnings
import numpy as np
import torch
from unit24 import check
kept = []
"""
LEAVE = "def leave():\n    {}\n    return 3\n"

# the statement that leaves something: the kind, and words of the message
LEFT = {
    "torch.set_grad_enabled(False)": ("gradient mode", "after your code gradients are off (before: on)"),
    "torch.no_grad().__enter__()": ("gradient mode", "`with torch.no_grad():`"),
    "torch.autograd.set_detect_anomaly(True)": ("anomaly mode", "anomaly mode is on"),
    "torch.set_default_dtype(torch.float64)": ("default dtype", "the default dtype is float64 (before: float32)"),
    "torch.set_default_device('meta')": ("default device", "the default device is meta (before: cpu)"),
    "torch.autocast('cpu', dtype=torch.bfloat16).__enter__()": ("autocast", "autocast is on for cpu with bfloat16"),
    "torch.use_deterministic_algorithms(True)": ("deterministic mode", "deterministic algorithms are on"),
    "torch.backends.cudnn.benchmark = True": ("cudnn", "benchmark=True (before: benchmark=False)"),
    "torch.set_num_threads(torch.get_num_threads() + 2)": ("number of threads", "torch's number of threads is"),
    "torch.set_float32_matmul_precision('high')": ("matmul precision", "is high (before: highest)"),
    "warnings.simplefilter('ignore')": ("warnings filters", "changed: ignore Warning"),
    "warnings.filterwarnings('error', category=RuntimeWarning)": ("warnings filters", "changed: error RuntimeWarning"),
    "warnings.resetwarnings()": ("warnings filters", "changed: some are gone"),
    "os.environ['DATA_FOLDER'] = 'secret'": ("environment", "environment variables are changed: DATA_FOLDER"),
    "os.environ.pop('PATH')": ("environment", "environment variables are changed: PATH"),
    "os.makedirs('deep', exist_ok=True); os.chdir('deep')": ("working folder", "the working folder is another one."),
    "signal.signal(signal.SIGTERM, lambda *a: None)": ("signal handlers", "in another way: SIGTERM"),
    "signal.signal(signal.SIGINT, signal.SIG_IGN)": ("signal handlers", "in another way: SIGINT"),
    "sys.path.insert(0, 'own_code')": ("import path", "`sys.path` is longer: own_code"),
    "sys.stdout = io.StringIO()": ("standard output", "`sys.stdout` is another one"),
    "sys.excepthook = lambda *a: None": ("exception hook", "`sys.excepthook` is another one."),
    "logging.getLogger().setLevel(logging.DEBUG)": ("logging", "the root logger has level DEBUG (before: level WARNING)"),
    "logging.disable(logging.ERROR)": ("logging", "the root logger has all disabled up to level 40"),
    "kept.append(open('notes.txt', 'w'))": ("open files", "a file is still open: notes.txt"),
    "threading.Thread(target=time.sleep, args=(8,), daemon=True).start()": ("threads", "a thread still runs: sleep"),
    "timer = threading.Timer(8, int); timer.daemon = True; timer.start()": ("threads", "a thread still runs: int"),
    "leave.pool = concurrent.futures.ThreadPoolExecutor(); leave.pool.submit(int).result()": ("threads", "a thread still runs: one of a pool"),
    "kept.append(subprocess.Popen(['sleep', '8']))": ("processes", "a process that was started still runs: sleep"),
}  # fmt: skip
SOCKETS = {"kept.append(socket.create_server(('127.0.0.1', 0)))": ("open sockets", "a socket is still open: port ")}  # refused at grading

IMPORT = """open('library.py', 'w').write('import logging, os, warnings')
    with open('library.py', 'a') as file:
        file.write('; os.environ["ANY_NAME"] = "x"; warnings.filterwarnings("ignore", message="x"); logging.getLogger().setLevel(10)')
    specification = importlib.util.spec_from_file_location('library', 'library.py')
    sys.modules['library'] = library = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(library)"""

# Nobody's fault, or put back in time.
INNOCENT = {
    "put_back": "with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):\n        warnings.simplefilter('ignore')",
    "autocast": "with torch.autocast('cpu', dtype=torch.bfloat16), torch.autograd.detect_anomaly(), torch.device('meta'):\n        torch.ones(2)",
    "files": "with open('notes.txt', 'w') as file:\n        file.write('x')\n    open('notes.txt').read()\n    os.listdir(tempfile.mkdtemp())",
    "in_a_cycle": "file = open('notes.txt', 'w')\n    cycle = [file]\n    cycle.append(cycle)",
    "mapped": "np.save('x.npy', np.ones(3))\n    kept.append(np.load('x.npy', mmap_mode='r'))",
    "pipes": "kept.append(os.pipe())",
    "words": "logging.warning('hello')\n    logging.getLogger('mine').setLevel(10)\n    warnings.warn('hello')",
    "log_file": "logging.getLogger('mine').addHandler(logging.FileHandler('mine.log'))",
    "pool": "with concurrent.futures.ThreadPoolExecutor() as pool:\n        pool.submit(int).result()",
    "forgotten_pool": "concurrent.futures.ThreadPoolExecutor().submit(int).result()",
    "about_to_end": "threading.Thread(target=time.sleep, args=(0.3,)).start()",
    "asyncio": "asyncio.run(asyncio.sleep(0.01))",
    "loop_left": "loop = asyncio.new_event_loop()\n    loop.run_until_complete(loop.run_in_executor(None, int))\n    kept.append(loop)",
    "native_target": "threading.Thread(target=torch.ones(3).sum).start()",
    "library_thread": "from fsspec.asyn import get_loop\n    get_loop()",
    "progress": "from tqdm import tqdm\n    kept.extend(tqdm(range(3), file=io.StringIO()))",
    "import_sets": IMPORT,
    "library_variables": "os.environ['TORCHINDUCTOR_CACHE_DIR'] = os.environ['CUDA_MODULE_LOADING'] = os.environ['RANK'] = 'x'",
    "compiled": "torch.compile(lambda x: x + 1, backend='eager')(torch.ones(2))",
    "program": "subprocess.run(['true'], check=True)",
    "random": "torch.manual_seed(0)\n    np.random.rand()",
}  # fmt: skip
# name -> (tests, answer -> (status, words))
CASES = {
    "parts": (
        """
def first():
    check.equal(leave(1), 1, "one")

def second():
    check.equal(leave(2), 2, "two")

check.parts({"first": first, "second": second})
""",
        {
            "def leave(x):\n    torch.set_grad_enabled(x == 1)\n    return x": ("passed", "✗ second: after your code gradients are off"),
            "def leave(x):\n    if x == 1:\n        kept.append(open('notes.txt', 'w'))\n    return x": ("passed", "✗ first: after your code a file is still open"),
            "def leave(x):\n    os.environ['DATA_FOLDER'] = str(x)\n    return x": ("failed", "✗ first: after your code environment variables"),
            "def leave(x):\n    torch.set_num_threads(5 - x)\n    return 1": ("failed", "✗ first: after your code torch's number of threads"),
        },
    ),
    "around": (
        """
leave(1)
with check.exercise("inner"):
    check.equal(leave(2), 2, "two")
""",
        {
            "def leave(x):\n    if x == 1:\n        torch.set_num_threads(5)\n    return x": ("failed", "✗ around: after your code torch's number of threads is 5"),
            "def leave(x):\n    if x == 2:\n        torch.set_num_threads(5)\n    return x": ("failed", "✗ inner: after your code torch's number of threads is 5"),
            "def leave(x):\n    return x": ("passed", "✓"),
        },
    ),
    "live": (
        """
new = check.live(leave)
check.equal([new(1).add(2), new(2).add(2)], [3, 4], "the sums")
""",
        {
            """
class leave:
    def __init__(self, x):
        self.x, self.file = x, open(f"{x}.txt", "w")
    def add(self, y):
        return self.x + y
""": ("passed", "✓"),  # the file is closed with the object
            """
class leave:
    def __init__(self, x):
        self.x = x
        threading.Thread(target=self.wait, daemon=True).start()
    def wait(self):
        time.sleep(8)
    def add(self, y):
        return self.x + y
""": ("failed", "a thread still runs: wait"),
        },
    ),
    "allowed": (
        """
with check.exercise("inner", leaves=("threads",)):
    check.equal(leave(), 3, "the result")
""",
        {
            "def leave():\n    threading.Thread(target=time.sleep, args=(8,), daemon=True).start()\n    return 3": ("passed", "✓"),
            "def leave():\n    torch.set_grad_enabled(False)\n    return 3": ("failed", "gradients are off"),
        },
    ),
    "cell": (
        """
check.equal(leave(), 3, "the result")
""",
        {
            # what the cell does while it runs, before any test, is not looked at
            """
threading.Thread(target=time.sleep, args=(8,), daemon=True).start()
early = open("early.txt", "w")
torch.set_grad_enabled(False)
torch.set_default_dtype(torch.float64)
os.environ["DATA_FOLDER"] = "x"
warnings.simplefilter("ignore")
def leave():
    return 3
""": ("passed", "✓"),
            "def leave():\n    torch.set_grad_enabled(False)\n    raise ValueError('no')": ("failed", "your code raised ValueError: no"),
        },
    ),
}  # fmt: skip
REFERENCE = "def leave(x=3):\n    return x\n"
ANSWERS = [(name, answer, *expected) for name, (_, answers) in CASES.items() for answer, expected in answers.items()]
ANSWERS += [("cell", LEAVE.format(line), "failed", words) for line, (_, words) in LEFT.items()]
ANSWERS += [("cell", LEAVE.format(INNOCENT[name]), "passed", "✓") for name in INNOCENT]


@pytest.fixture(scope="module")
def lesson():
    return apart_lesson(SETUP, {name: (REFERENCE, tests) for name, (tests, _) in CASES.items()}, processes=True)


@pytest.fixture(scope="module")
def bench(lesson):
    with Bench(lesson) as bench:
        yield bench


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of one's own; and what innocents change is as before."""
    monkeypatch.chdir(tmp_path)
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)  # started in a shell's background it is ignored
    before = leftovers.Watch()
    environment, level = dict(os.environ), logging.getLogger().level
    yield
    list(before.put_back(frozenset()))
    signal.signal(signal.SIGINT, interrupt)
    logging.getLogger().setLevel(level)
    os.environ.clear()
    os.environ.update(environment)


@pytest.mark.parametrize(("name", "answer", "status", "words"), ANSWERS)
def test_the_same_in_one_process_and_across_the_wall(name, answer, status, words, lesson, bench, place):
    exercise = lesson.exercise(name)
    here, said = in_one_process(lesson, exercise, answer)
    there = bench.judge(exercise, answer)
    assert (here, there.status) == (status, status), (said, there.message)
    assert words in said
    assert there.message == (said.strip() if status == "failed" else said.splitlines()[-1])


def test_every_kind_is_tried():
    assert {kind for kind, _ in (*LEFT.values(), *SOCKETS.values())} | {"inference mode"} == set(leftovers.KINDS)


def test_inference_mode_is_found(lesson, bench):
    """Across the wall only: nothing ends it but the object that began it."""
    verdict = bench.judge(lesson.exercise("cell"), LEAVE.format("leave.mode = torch.inference_mode(); leave.mode.__enter__()"))
    assert verdict.status == "failed" and "inference mode is on (before: off)" in verdict.message


@pytest.mark.parametrize("line", SOCKETS)
def test_an_open_socket_is_found(line, lesson, place):
    status, said = in_one_process(lesson, lesson.exercise("cell"), LEAVE.format(line))
    assert status == "failed" and SOCKETS[line][1] in said


def test_what_was_left_is_put_back(lesson, place):
    """Cells after a test are not spoilt by what its calls have left, whether the test passed or not."""
    before = leftovers.Watch()
    for end in ("return 3", "raise ValueError"):
        lines = [line for line, (kind, _) in LEFT.items() if kind not in ("open files", "threads", "processes")]
        for line in lines:
            in_one_process(lesson, lesson.exercise("cell"), f"def leave():\n    {line}\n    {end}\n")
    assert list(before.put_back(frozenset())) == []


FORGED = {
    "7": "passed",
    "[]": "passed",
    "[['threads']]": "passed",
    "[['gradient mode', 'x' * 100_000]]": "failed",
    "[['gradient mode', None]]": "passed",
    "[['gradient mode', '\\n✓'], ['no such kind', 'x'], ['threads', '']]": "failed",
    "[['gradient mode', 'x'], [[], {}]]": "passed",
    "torch.ones(3)": "passed",
    "os._exit(3)": "crashed",
    "[][0]": "passed",
}


@pytest.mark.parametrize("said", FORGED)
def test_a_candidate_may_say_what_it_likes(said, bench, lesson):
    """It loses what it says it left, at most; the judge reads it as it reads all else."""
    answer = f"""
import gc
def forge(*arguments):
    return {said}
def leave():
    line = next(thing for thing in gc.get_objects() if type(thing).__name__ == "Line")
    line.names["\\0end"] = forge
    return 3
"""
    verdict = bench.judge(lesson.exercise("cell"), answer)
    assert verdict.status == FORGED[said], verdict.message
    assert len(verdict.message) < 500


def test_only_kinds_that_there_are_can_be_left():
    with pytest.raises(ValueError, match="leaves='threads' must be a tuple of some of"):
        check.exercise("thing", leaves="threads")
    with pytest.raises(ValueError, match="some of: inference mode, gradient mode"):
        check.exercise("thing", leaves=("modes",))
