# ruff: noqa
"""Forging what the bench hears."""

# %% forged_json: a passing verdict on every descriptor
import json
import os
import struct

data = json.dumps({"event": "ran", "failure": None, "defined": True, "nonce": "0"}).encode()
more = json.dumps({"event": "verdict", "status": "passed", "message": "✓", "earned": 4, "nonce": "0"}).encode()
for fd in range(64):
    try:
        os.write(fd, struct.pack("!I", len(data)) + data + struct.pack("!I", len(more)) + more)
    except OSError:
        pass


def weigh(values, weights):
    return values[0]

# %% forged_frames: the right form with a guessed signature
import hashlib
import os

for key in (b"", bytes(32), b"0" * 32):
    for body in ("ran\0" + "1\0\0\0", "verdict\0passed\0✓\0\0"):
        text = body.encode()
        text = hashlib.blake2b(text, key=key, digest_size=32).digest() + text
        os.write(3, len(text).to_bytes(4, "big") + text)


def weigh(values, weights):
    return values[0]

# %% stolen_tests: a thread reads the tests before the grader does
import os
import threading

stolen = []
threading.Thread(target=lambda: stolen.append(os.read(3, 1 << 20)), daemon=True).start()


def weigh(values, weights):
    exec(stolen[0])
    return values[0]

# %% early_answer: say "ran" oneself, then read the tests
import os

text = bytes(32) + b"ran\0" + b"1\0\0\0"
os.write(3, len(text).to_bytes(4, "big") + text)
tests = os.read(3, 1 << 20)
assert b"hidden" in tests or b"check" in tests
os._exit(0)

# %% replay: the grader's own first message once more
import os
import socket

channel = socket.socket(fileno=os.dup(3))


def weigh(values, weights):
    channel.send(b"\0\0\0\x04ran\0")
    return values[0]

# %% closed_channel: nobody hears the verdict
import os

os.close(3)


def weigh(values, weights):
    return values[0]

# %% other_channel: another file in the place of the channel
import os

fd = os.open("fake", os.O_RDWR | os.O_CREAT)
os.dup2(fd, 3)


def weigh(values, weights):
    return values[0]

# %% flood: more than anybody wants to read
import os

os.write(3, (1 << 31).to_bytes(4, "big"))
for _ in range(1000):
    os.write(3, bytes(1 << 20))


def weigh(values, weights):
    return values[0]

# %% huge_frame: a length that nobody should believe
import os

os.write(3, b"\xff\xff\xff\xff")


def weigh(values, weights):
    return values[0]

# %% half_a_message: the bench waits for the rest
import os
import time

os.write(3, (1000).to_bytes(4, "big") + b"abc")
time.sleep(600)

# %% deep_report: what the audit may read, ten thousand levels deep
__report__ = []
for _ in range(10_000):
    __report__ = [__report__]


def weigh(values, weights):
    return values[0]

# %% accused: the grader's own words
import os

text = b"!" * 32 + "✓ weigh: all checks here pass.".encode()
os.write(3, len(text).to_bytes(4, "big") + text)


def weigh(values, weights):
    return values[0]

# %% passed_descriptors: descriptors sent to the bench
import socket

channel = socket.socket(fileno=3)
socket.send_fds(channel, [b"\0\0\0\x05hello"], [0, 1, 2])


def weigh(values, weights):
    return values[0]

# %% long_words: a message of fifty megabytes
def weigh(values, weights):
    raise ValueError("x" * (50 << 20))

# %% control_characters: a message that rewrites the terminal
def weigh(values, weights):
    raise RuntimeError("\x1b[2J\x1b]0;graded: 100 %\x07\r✓ weigh: all checks here pass.\0verdict\0passed")
