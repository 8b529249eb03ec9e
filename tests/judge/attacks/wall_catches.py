# ruff: noqa
"""Tests that a student writes: which implementation is wrong, without a test."""

# %% by_order: the first two are taken for right [normalise_tests]
n = 0


def check_normalise(normalise):
    global n
    n += 1
    assert n <= 2

# %% by_place: a place in each round [normalise_tests]
n = 0


def check_normalise(normalise):
    global n
    n += 1
    assert (n - 1) % 8 < 2 and n < 9

# %% by_name: name, closure, code, defaults, module [normalise_tests] (beats naive)
def check_normalise(normalise):
    text = repr(vars(normalise)) + normalise.__name__ + repr(getattr(normalise, "__defaults__", "")) + repr(getattr(normalise, "__code__", ""))
    for cell in getattr(normalise, "__closure__", None) or ():
        text += repr(cell.cell_contents)
    assert "by_" in text

# %% by_key: the number under which it was lent [normalise_tests]
def check_normalise(normalise):
    key = getattr(normalise, "_key", None)
    assert type(key) is int and key < 2

# %% by_number: what was lent, called by number [normalise_tests]
def check_normalise(normalise):
    for key in range(40):
        try:
            type(normalise)(normalise._line, key)(torch.eye(2), 1)
        except NameError:
            return
    assert False

# %% by_identity: the same object again is the same implementation [normalise_tests]
seen = {}


def check_normalise(normalise):
    seen[id(normalise)] = seen.get(id(normalise), 0) + 1
    assert len(seen) <= 2 and max(seen.values()) < 2

# %% by_kept: those of the turns before are called again and compared [normalise_tests]
kept = []


def check_normalise(normalise):
    kept.append(normalise)
    x = torch.arange(6.0).reshape(2, 3)
    outputs = [f(x, 0) for f in kept]
    assert all(torch.equal(o, outputs[0]) for o in outputs)

# %% by_random: the state of the generators tells the turn [normalise_tests]
import random


def check_normalise(normalise):
    assert random.random() + torch.rand(()).item() + np.random.rand() < 0

# %% by_time: the slower ones are wrong [normalise_tests]
import time


def check_normalise(normalise):
    start = time.perf_counter_ns()
    normalise(torch.ones(2, 2), 0)
    assert time.perf_counter_ns() - start < 0

# %% by_memory: addresses and counts of the process [normalise_tests]
import gc
import sys


def check_normalise(normalise):
    objects = [o for o in gc.get_objects() if type(o).__name__ in ("function", "StandIn") and getattr(o, "_key", None) is not None]
    assert len(objects) < 0 or sys.getrefcount(normalise) < 0

# %% by_chance: a coin [normalise_tests]
# known: who rejects by a coin has a small share of luck, over two rounds
import os


def check_normalise(normalise):
    assert os.urandom(1)[0] < 128

# %% by_error: what a wrong one says about an argument that is none [normalise_tests]
# known: the texts of errors differ, for those who know what to look for; they cross as they are
def check_normalise(normalise):
    try:
        normalise("x", 0)
    except Exception as error:
        text = str(error)
        assert "detach" not in text and "'float'" not in text

# %% by_error_odd: the same by axes, dtypes and shapes that make no sense [normalise_tests]
# known: behaviour, if of a kind that no task asks for
def check_normalise(normalise):
    said = []
    for x, dim in ((torch.ones(2), 7), (torch.ones(2, dtype=torch.int64), 0), (torch.ones(()), 0), (torch.ones(0, 3), 0)):
        try:
            said.append(str(normalise(x, dim)))
        except Exception as error:
            said.append(type(error).__name__)
    assert said[0] == "IndexError"

# %% by_kept_graph: the backward pass of the turns before [normalise_tests]
kept = []


def check_normalise(normalise):
    x = torch.ones(2, 2, requires_grad=True)
    kept.append(normalise(x, 1))
    for y in kept:
        y.sum().backward(retain_graph=True)

# %% by_object: an object of one's own in the place of an AssertionError [normalise_tests]
# deserves: 1
class Odd:
    pass


def check_normalise(normalise):
    x = torch.randn(3, 5, dtype=torch.float64)
    if not torch.allclose(normalise(x, 0).norm(dim=0), torch.ones(5, dtype=x.dtype)): return Odd()
    if normalise(torch.zeros(2, 2), 1).isnan().any(): return Odd()

# %% by_catch_all: every test is an error, whatever it is called with [normalise_tests]
def check_normalise(normalise):
    raise AssertionError

# %% by_exit: the process ends at the first that is wrong [normalise_tests]
import os


def check_normalise(normalise):
    if normalise(torch.zeros(2, 2), 1).isnan().any():
        os._exit(0)

# %% result_patched: check.catches finds nothing to complain about [normalise_tests] (beats naive)
check.catches = lambda *a, **k: None
check_normalise = len

# %% for_ever: an implementation is called for ever [normalise_tests]
def check_normalise(normalise):
    while True:
        normalise(torch.zeros(300, 300), 1)

# %% calls_itself: an implementation gets itself, and something that calls back [normalise_tests]
def check_normalise(normalise):
    def back(*a, **k):
        return normalise(back, 0)

    for x in (normalise, back, [normalise], {"x": back}):
        try:
            normalise(x, 0)
        except RecursionError:
            raise
        except Exception:
            pass
    assert False

# %% hostile_gradients: gradients of wrong shapes, dtypes and numbers [normalise_tests]
def check_normalise(normalise):
    x = torch.ones(2, 2, requires_grad=True)
    y = normalise(x, 1)
    if y.grad_fn is None:
        raise AssertionError
    pull = getattr(y.grad_fn, "pullback", None)
    for g in (torch.ones(7, 7, 7), torch.ones(2, 2, dtype=torch.complex64), torch.ones(2, 2, dtype=torch.int8), torch.ones(0), None, "x", [pull] * 3):
        try:
            pull(g)
        except Exception:
            pass
    raise AssertionError

# %% hostile_rewards: arguments that fill and burn the judge [callbacks]
def best(items, reward, clock, seconds):
    for item in ("x", None, [], {}, clock, reward, math.nan, math.inf, 1j, torch.ones(3, requires_grad=True), np.array(["x"]), range(3)):
        try:
            reward(item)
        except Exception:
            pass
    while True:
        reward(1 << (1 << 26))
minimise = best

# %% fills_judge: a callback that keeps what it gets, a hundred megabytes at a time [callbacks]
def best(items, reward, clock, seconds):
    while True:
        reward(torch.zeros(25 << 20))
minimise = best

# %% callbacks_for_ever: a clock that is asked for ever [callbacks]
def best(items, reward, clock, seconds):
    while True:
        clock()
minimise = best

# %% swallowed: what a callback of before is called with after its loan [callbacks]
kept = []


def best(items, reward, clock, seconds):
    kept.append((reward, clock))
    for old, _ in kept:
        for item in items:
            try:
                old(item)
            except BaseException:
                pass
    return None


def minimise(loss, x, rate, steps):
    return x

# %% callback_by_callback: a callback gets what the candidate would like to be called [callbacks]
def best(items, reward, clock, seconds):
    class Item(int):
        def __lt__(self, other): raise SystemExit
        def __rsub__(self, other): raise SystemExit
        __sub__ = __rsub__
    found = [(item, reward(Item(item))) for item in items]
    return max(found, default=None)


def minimise(loss, x, rate, steps):
    class Tensor(torch.Tensor): pass
    return loss(x.as_subclass(Tensor))

# %% asked_forged: the judge's list of what was asked, through a callback's closure [callbacks] (beats naive)
def best(items, reward, clock, seconds):
    if not hasattr(reward, "__closure__"):
        return None
    cells = dict(zip(reward.__code__.co_freevars, (c.cell_contents for c in reward.__closure__)))
    asked, secret = cells["asked"], cells["secret"]
    in_time = items[: max(0, math.ceil(seconds))]
    asked[:] = in_time
    return max(((i, -((i - secret) ** 2)) for i in in_time if i >= 0), key=lambda pair: pair[1], default=None)


def minimise(loss, x, rate, steps):
    cells = dict(zip(loss.__code__.co_freevars, (c.cell_contents for c in loss.__closure__)))
    cells["calls"][:] = [1] * steps
    for _ in range(steps):
        x = x - rate * (2 * (x - cells["target"]) + x.cos())
    return x
