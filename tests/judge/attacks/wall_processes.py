# ruff: noqa
"""Ending, killing, staying, sleeping."""

# %% leaves: the process ends when it is asked
import os


def weigh(values, weights): os._exit(0)
scale_ = scaler = gap = weigh

# %% leaves_late: a right answer, and the end in the middle of the tests
import os


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    if len(values) == 40:
        os._exit(0)
    return weights @ values / weights.sum()


def scale_(table, factors): table *= factors
def scaler(factor): return lambda x: factor * x
def gap(a, b):
    assert a == a and b == b
    return abs(a - b)

# %% kills_all: judge, holder and neighbours
import os
import signal


def weigh(values, weights):
    for pid in [-1, 0, os.getppid(), -os.getppid(), *range(max(2, os.getpid() - 8), os.getpid() + 8)]:
        if pid != os.getpid():
            for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM):
                try:
                    os.kill(pid, number)
                except OSError:
                    pass
    return values[0]
scale_ = scaler = gap = weigh

# %% kills_by_owner: signals by descriptors: who owns the line
import fcntl
import os
import signal


def weigh(values, weights):
    for fd in (3, 4):
        for pid in (os.getppid(), -os.getppid(), os.getpid() + 1, os.getpid() + 2, os.getpid() - 1):
            try:
                fcntl.fcntl(fd, fcntl.F_SETOWN, pid)
                fcntl.fcntl(fd, 10, signal.SIGKILL)  # F_SETSIG
                fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
            except OSError:
                pass
    return values[0]
scale_ = scaler = gap = weigh

# %% deaf_to_time: SIGXCPU is ignored
import signal

signal.signal(signal.SIGXCPU, signal.SIG_IGN)


def weigh(values, weights):
    while True:
        pass
scale_ = scaler = gap = weigh

# %% deaf_with_frames: a handler of SIGXCPU that raises for ever
import signal


def handler(number, frame):
    raise ValueError


signal.signal(signal.SIGXCPU, handler)
def weigh(values, weights):
    while True:
        try:
            while True:
                pass
        except ValueError:
            pass
scale_ = scaler = gap = weigh

# %% sleeps: waits when it is asked
import time


def weigh(values, weights): time.sleep(600)
scale_ = scaler = gap = weigh

# %% sleeps_in_steps: as many short naps as the tests have questions, and each a little longer [window]
import time


class Window:
    def __init__(self, size): time.sleep(100)
    def add(self, x): time.sleep(100)
    count = property(lambda self: time.sleep(100))
    def reset(self): time.sleep(100)

# %% stops_itself: stopped, not ended [window]
import os
import signal


class Window:
    def __init__(self, size): os.kill(os.getpid(), signal.SIGSTOP)
    def add(self, x): return x
    count = 0
    def reset(self): pass

# %% threads_stay: threads that go on while the tests run
import threading


def burn():
    while True: pass


def weigh(values, weights):
    for _ in range(20):
        threading.Thread(target=burn, daemon=True).start()
    return values[0]
scale_ = scaler = gap = weigh

# %% memory: more memory than allowed, when asked
def weigh(values, weights):
    kept = []
    while True:
        kept.append(bytearray(16 << 20))
scale_ = scaler = gap = weigh

# %% forks: a child that answers in its place, another that stays [shout]
import os
import sys
import time

for number in range(3):
    if os.fork() == 0:
        try:
            os.setsid()
        except OSError:
            pass
        open("/tmp/unit24-left-behind", "w").close() if number == 0 else None
        time.sleep(600)
        os._exit(0)


def shout(text): return text

# %% child_talks: a child that keeps the line after its parent has gone [shout]
import os
import struct
import time


def shout(text):
    if os.fork() == 0:
        time.sleep(1)
        said = b'{"value": "UNIT 24!", "changed": []}'
        while True:
            os.write(4, struct.pack("!II", len(said), 0) + said)
            time.sleep(0.2)
    os._exit(0)

# %% program_finds: a program looks for the answer in other folders [shout]
import subprocess


def shout(text):
    found = subprocess.run(["sh", "-c", "cat ../judge-*/* ../clean-*/* /proc/*/environ /proc/*/cmdline 2>/dev/null; ls -la .. /tmp /root"], capture_output=True, text=True).stdout
    raise ValueError(found[-1500:])

# %% exits_at_exit: exit handlers and finalisers that write to the line
import atexit
import os


class Last:
    def __del__(self): os.write(4, b"\0\0\0\x1e\0\0\0\0" + b'{"value": null, "changed": []}')


last = Last()
atexit.register(lambda: os.write(4, b"\0\0\0\x1e\0\0\0\0" + b'{"value": null, "changed": []}'))
def weigh(values, weights): raise SystemExit
scale_ = scaler = gap = weigh

# %% children_hold_memory: each within the limit, all together far above it; orphans too [shout]
import os
import time


def shout(text):
    for number in range(6):
        if os.fork() == 0:
            if number % 2 and os.fork():
                os._exit(0)
            kept = bytearray(300 << 20)
            kept[:: 4096] = b"x" * len(kept[:: 4096])
            time.sleep(60)
            os._exit(0)
    time.sleep(60)
    return text.upper()
