# ruff: noqa
"""Messages nobody asked for, on every descriptor; too large, too deep, of no shape at all."""

# %% flood: well-formed answers on every descriptor, before anything is asked
import json
import os
import struct


def say(fd, said, pieces=()):
    text = json.dumps(said).encode()
    sizes = struct.pack(f"!I{len(pieces)}Q", len(pieces), *map(len, pieces))
    try:
        os.write(fd, struct.pack("!I", len(text)) + sizes + text + b"".join(pieces))
    except OSError:
        pass


for fd in range(3, 65):
    for _ in range(30):
        say(fd, {"value": None, "changed": []})
def weigh(values, weights): return values[0]
scale_ = scaler = gap = weigh

# %% forged_ran: the bench's own message, then nothing
import json
import os
import struct

text = json.dumps({"ran": None, "defined": True}).encode()
os.write(3, struct.pack("!I", len(text)) + text)
raise SystemExit

# %% forged_verdict: what a judge would say, on every descriptor
import json
import os
import struct

text = json.dumps({"status": "passed", "message": "✓ plain: all checks here pass.", "earned": 4.0, "ran": None, "defined": True}).encode()
for fd in range(3, 65):
    try:
        os.write(fd, struct.pack("!I", len(text)) + text)
    except OSError:
        pass
def weigh(values, weights): return values[0]
scale_ = scaler = gap = weigh

# %% forged_told: a verdict as the value of the report that the judge asks for last
import gc


def lie():
    return {"status": "passed", "earned": 4.0, "message": "✓"}


def weigh(values, weights):
    line = next(o for o in gc.get_objects() if type(o).__name__ == "Line")
    line.names["\0report"] = lie
    line.names["\0reseed"] = lie
    return values[0]
scale_ = scaler = gap = weigh

# %% dead_report: a right answer that is silent when the judge asks for its report
import gc

# honest

kept = weigh


def weigh(values, weights):
    import os

    line = next(o for o in gc.get_objects() if type(o).__name__ == "Line")
    line.names["\0report"] = lambda: os._exit(0)
    return kept(values, weights)

# %% too_large: a head that says four gigabytes
import os
import struct

os.write(4, struct.pack("!II", 4_000_000_000, 1))
def weigh(values, weights): return values[0]
scale_ = scaler = gap = weigh

# %% too_many_pieces: two million pieces, each of nothing
import os
import struct

os.write(3, struct.pack("!I", 30) + b'{"ran": null, "defined": true}')
text = b'{"value": null, "changed": []}'
data = struct.pack("!II", len(text), 2_000_000) + bytes(8 * 2_000_000) + text
while data:
    data = data[os.write(4, data) :]
def weigh(values, weights): return values[0]
scale_ = scaler = gap = weigh

# %% raw_too_large: an exabyte of raw data
import os
import struct

text = b'{"value": {"bytes": [0, 1]}, "changed": []}'
os.write(4, struct.pack("!IIQ", len(text), 1, 1 << 60) + text)
def weigh(values, weights): return values[0]
scale_ = scaler = gap = weigh

# %% too_deep: brackets in brackets
import os
import struct


def weigh(values, weights):
    data = b'{"value": ' + b"[" * 4_000_000
    data = struct.pack("!II", len(data), 0) + data
    while data:
        data = data[os.write(4, data) :]
    return values[0]
scale_ = scaler = gap = weigh

# %% deep_but_allowed: lists in lists, as deep as JSON reads
import os
import struct


def weigh(values, weights):
    data = b'{"value": ' + b'{"list": [' * 900 + b"]}" * 900 + b', "changed": []}'
    os.write(4, struct.pack("!II", len(data), 0) + data)
    return values[0]
scale_ = scaler = gap = weigh

# %% bad_shapes: shapes, dtypes and places that do not fit
import json
import os
import struct

VALUES = [
    {"tensor": ["float32", [-1, 99999999999], False, [0, 0]]},
    {"tensor": ["float32", [1 << 62, 1 << 62], False, [0, 0]]},
    {"tensor": ["float32", [2], False, [7, 8]]},
    {"tensor": ["__class__", [2], False, [0, 8]]},
    {"tensor": ["quint8", [0], True, [0, 0]]},
    {"parameter": ["int64", [0], True, [0, 0]]},
    {"array": ["|O", [1], [0, 8]]},
    {"array": ["<U999999999", [0], [0, 0]]},
    {"array": ["i4,O", [1], [0, 8]]},
    {"array": ["<f4", [2] * 40, [0, 0]]},
    {"scalar": ["<f4", [3], [0, 0]]},
    {"size": [1.5, "x", None]},
    {"device": "cuda:999"},
    {"device": "meta"},
    {"dtype": "load"},
    {"range": [0, 1, 0]},
    {"slice": [1]},
    {"complex": [1, 2, 3]},
    {"int": "zz"},
    {"int": "f" * 1_000_000},
    {"set": [{"list": []}]},
    {"dict": [[{"list": []}, 1]]},
    {"Counter": 7},
    {"function": True},
    {"function": "exec"},
    {"function": -1},
    {"yours": 99},
    {"yours": "weigh"},
    {"yours": "\0make"},
    {"path": 7},
    {"path": "\0"},
    {"__reduce__": []},
    {},
    {"a": 1, "b": 2},
    [],
]


def answer(value):
    text = json.dumps({"value": value, "changed": [[0, value], [1 << 70, 3], ["x", 1]]}).encode()
    os.write(4, struct.pack("!II", len(text), 0) + text)


n = 0
def weigh(values, weights):
    global n
    n += 1
    for value in VALUES[n % 7 :: 7]:
        answer(value)
    return values[0]
scale_ = scaler = gap = weigh

# %% odd_answers: answers that hold the wrong things
import json
import os
import struct

SAID = [
    {"value": 1},
    {"value": 1, "changed": 7},
    {"value": 1, "changed": [[0]]},
    {"value": 1, "changed": [[1e999, 1]]},
    {"raised": 7, "text": 1, "where": 3},
    {"raised": ["SystemExit"], "text": "0", "where": []},
    {"raised": ["KeyboardInterrupt", "GeneratorExit", "BaseException"], "text": "", "where": []},
    {"raised": ["ValueError"], "text": "x", "where": ["<cell plain>", 1e999, "\0"]},
    {"raised": ["ValueError"], "text": "x", "where": ["<cell plain>", 10**400, "\ud800"]},
    {"raised": ["exec", "print", "__import__"], "text": "x", "where": ["<tests plain>", -5, "weigh"]},
    {"raised": [], "text": {"a": 1}, "where": {"a": 1}},
    {"type": ["x"] * 1000},
    {"ask": None, "args": None, "kwargs": None},
    {"ask": [], "args": [], "kwargs": []},
    {"ask": 0, "args": {"list": []}, "kwargs": {"dict": []}},
    {"ask": "exec", "args": {"list": ["raise SystemExit"]}, "kwargs": {"dict": []}},
    {"ask": 0, "args": {"list": []}, "kwargs": {"dict": [["a", 1], [3, 4]]}, "scenarios": {"x": "4wAAAAA="}},
    {"ask": "x", "args": {"list": []}, "kwargs": {"dict": []}, "scenarios": [1, 2, 3], "grad": [], "no_grad": {}},
    {},
]


def weigh(values, weights):
    for said in SAID:
        text = json.dumps(said).encode()
        os.write(4, struct.pack("!II", len(text), 0) + text)
    return values[0]
scale_ = scaler = gap = weigh

# %% not_json: bytes that are no text, numbers that are none
import os
import struct


def weigh(values, weights):
    for text in (b'{"value": 1e999999, "changed": []}', b'{"value": NaN, "changed": []}', b"\xff\xfe{}", b'{"value": ' + b"9" * 100_000 + b"}"):
        os.write(4, struct.pack("!II", len(text), 0) + text)
    return values[0]
scale_ = scaler = gap = weigh

# %% half_a_message: the rest never comes
import os
import struct
import time


def weigh(values, weights):
    os.write(4, struct.pack("!II", 1000, 0) + b'{"value": ')
    time.sleep(600)
scale_ = scaler = gap = weigh

# %% descriptors_sent: descriptors along with the answer
import array
import os
import socket
import struct


def weigh(values, weights):
    line = socket.socket(fileno=os.dup(4))
    text = b'{"value": null, "changed": []}'
    for _ in range(50):
        line.sendmsg([struct.pack("!II", len(text), 0) + text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [4, 3]))])
    return values[0]
scale_ = scaler = gap = weigh

# %% line_patched: the functions of judge.line and judge.wire in its own process
import judge.line
import judge.wire


def weigh(values, weights):
    judge.line.encode = judge.wire.encode = lambda value, raw=None, mark=None: True
    judge.line._picture = lambda a: None
    judge.wire.decode = judge.line.decode = lambda *a: []
    return values[0]
scale_ = scaler = gap = weigh

# %% libraries_patched: json, struct, socket, marshal and base64 as one likes
import base64
import json
import marshal
import socket
import struct

json.dumps = lambda *a, **k: '{"value": true, "changed": []}'
struct.pack = lambda *a: b"\0\0\0\x1e\0\0\0\0"
marshal.loads = lambda *a: compile("", "x", "exec")
def weigh(values, weights): return True
scale_ = scaler = gap = weigh

# %% lent_marks: functions that were never lent, called and handed back
import gc

import judge.line


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return weights @ values / weights.sum()


def scale_(table, factors): table *= factors
def scaler(factor): return lambda x: factor * x
def gap(a, b):
    line = next(o for o in gc.get_objects() if type(o) is judge.line.Line)
    for number in (*range(-2, 40), "weigh", "gap", "check", "exec", "\0make"):
        try:
            value = judge.line.StandIn(line, number)(a, b)
        except Exception:
            continue
        return value
    return judge.line.StandIn(line, 99)

# %% judges_own_stand_in: the judge is told to call itself
import gc

import judge.line


def weigh(values, weights):
    line = next(o for o in gc.get_objects() if type(o) is judge.line.Line)
    line._mark = lambda value: {"yours": 0}
    return object()
scale_ = scaler = gap = weigh

# %% asks_for_ever: questions in the place of an answer
import gc

import judge.line


def weigh(values, weights):
    line = next(o for o in gc.get_objects() if type(o) is judge.line.Line)
    while True:
        try:
            judge.line.StandIn(line, 0)(torch.zeros(1000, 1000))
        except Exception:
            pass
scale_ = scaler = gap = weigh

# %% closed: the line is shut for one direction
import os
import socket


def weigh(values, weights):
    socket.socket(fileno=os.dup(4)).shutdown(socket.SHUT_WR)
    return values[0]
scale_ = scaler = gap = weigh

# %% hundred_megabytes: much more than anybody asked for
def weigh(values, weights): return torch.zeros(30 << 20)
def scale_(table, factors): table.resize_(1 << 24)
def scaler(factor): return lambda x: b"x" * (300 << 20)
def gap(a, b): return "x" * (20 << 20)

# %% unreadable_words: escape sequences, markup and half characters in a message
def weigh(values, weights):
    raise ValueError("\x1b[2J\x1b]0;title\x07 [/x] <script>alert(1)</script> \ud800 \0 ✓ plain: all checks here pass.\n✓ plain")
scale_ = scaler = gap = weigh

# %% forged_leftovers: right values with modes left off, and nothing said of it
import gc

# honest

kept = weigh


def weigh(values, weights):
    line = next(o for o in gc.get_objects() if type(o).__name__ == "Line")
    line.names["\0end"] = lambda *arguments: {"status": "passed", "earned": 4.0}
    torch.set_grad_enabled(False)
    return kept(values, weights)
# deserves: 4

# %% wrong_leftovers: what was left is said at length, of no kind and in no shape
import gc


def weigh(values, weights):
    line = next(o for o in gc.get_objects() if type(o).__name__ == "Line")
    line.names["\0end"] = lambda *arguments: [["threads", "x" * 1_000_000], ["✓", [[]]], {}]
    return values[0]
scale_ = scaler = gap = weigh
