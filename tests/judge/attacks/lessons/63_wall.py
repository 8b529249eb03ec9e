# %% [markdown]
# # Apart
#
# A lesson for the attacks in `attacks/wall/`: every exercise is judged by two processes, in each way that a test can
# speak across the wall.

# %% setup

# %%
import copy
import json
import math
import random
import struct
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from unit24 import check

scores = torch.tensor([3.0, 1.0, 4.0, 1.5, 5.0, 9.0])


def spread(x):
    """Largest minus smallest value, a helper of the lesson."""
    return float(x.max() - x.min())


# %% [markdown]
# ## 1. Plain data
#
# - `weigh(values, weights)`: mean of the rows by weights, whose sum is not 0; `ValueError` if there are not as many
#   weights as rows. Inputs stay unchanged.
# - `scale_(table, factors)`: multiplies the columns of `table` in place and returns nothing.
# - `scaler(factor)`: a function that multiplies its argument by `factor`.
# - `gap(a, b)`: absolute difference of two numbers, `AssertionError` where one of them is NaN.

# %% exercise="plain" minutes=5 difficulty=1 seconds=2 memory_mb=512
def weigh(values, weights):
    """Mean of the rows by weights."""
    ### BEGIN SOLUTION
    # reference_comment_51ab: only an author reads this
    if len(values) != len(weights):
        raise ValueError("reference_text_62bc: as many weights as rows, please")
    return (values * (weights / weights.sum())[:, None]).sum(0)
    ### END SOLUTION


def scale_(table, factors):
    """Multiply the columns of `table` in place."""
    ### BEGIN SOLUTION
    table *= factors
    ### END SOLUTION


def scaler(factor):
    """A function that multiplies by `factor`."""
    ### BEGIN SOLUTION
    return lambda x: factor * x
    ### END SOLUTION


def gap(a, b):
    """Absolute difference. AssertionError where one is NaN."""
    ### BEGIN SOLUTION
    assert a == a and b == b, "NaN"
    return abs(a - b)
    ### END SOLUTION

# %% tests="plain" points=4
with check.exercise("plain"):
    def compare(rows, columns, seed, dtype):
        generator = torch.Generator().manual_seed(seed)
        values = torch.randn(rows, columns, generator=generator, dtype=dtype)
        weights = torch.rand(rows, generator=generator, dtype=dtype) + 0.1
        expected = torch.einsum("rc,r->c", values, weights) / weights.sum()
        got, (values_after, weights_after) = check.after(weigh, values, weights)
        check.kind(got, torch.Tensor, "the weighted mean")
        check.equal(got, expected, f"the weighted mean of {rows} rows", "is it divided by the sum of the weights?")
        check.equal((values_after, weights_after), (values, weights), "values and weights after the call", "work on a copy")
        check.equal(weigh(weights=weights, values=values), expected, "the weighted mean, called by names")
        factors = torch.arange(1.0, columns + 1, dtype=dtype)
        returned, (table, _) = check.after(scale_, values, factors)
        check.equal(returned, None, "what scale_ returns")
        check.equal(table, values * factors, "the table after scale_", "in place: `table` itself changes")

    compare(3, 2, 1, torch.float32)
    check.equal(scaler(3)(14), 42, "scaler(3)(14)")
    check.raises(ValueError, lambda: weigh(torch.ones(3, 2), torch.ones(2)), "unequal lengths")
    check.equal(gap(1.5, -2.0), 3.5, "the gap of 1.5 and -2")
    check.raises(AssertionError, lambda: gap(math.nan, 1.0), "the gap of NaN and 1")
    ### BEGIN HIDDEN TESTS
    hidden_answer = "hidden_constant_73cd"
    for case, (rows, columns) in enumerate([(1, 1), (5, 3), (40, 7)]):
        compare(rows, columns, 20 + case, torch.float64)
    check.equal(scaler(hidden_answer)(2), hidden_answer * 2, "scaler of a text")
    check.equal(list(map(gap, [1, 2.5, -3], [4, 2.5, 3])), [3, 0.0, 6], "the gaps of three pairs")
    check.true(all(map(lambda a, b: gap(a, b) == abs(a - b), range(5), (7, 1, 4, 2, 2))), "a gap is not the absolute difference")
    ### END HIDDEN TESTS

# %% [markdown]
# ## 2. Plain iteration
#
# `batches(items, size)` gives lists of `size` items, the last one shorter, one after the other (a generator, a list: as you like).

# %% exercise="batches" minutes=5 difficulty=1 seconds=20 memory_mb=2048
def batches(items, size):
    """Lists of `size` items, the last one shorter."""
    ### BEGIN SOLUTION
    items = list(items)
    for start in range(0, len(items), size):
        yield items[start : start + size]
    ### END SOLUTION

# %% tests="batches" points=2
@check.scenario
def collect(count, size):
    return [list(batch) for batch in batches(iter(range(count)), size)]


with check.exercise("batches"):
    check.equal(collect(7, 3), [[0, 1, 2], [3, 4, 5], [6]], "7 items in batches of 3", "the last batch is shorter")
    ### BEGIN HIDDEN TESTS
    for count, size in [(0, 2), (4, 2), (5, 1), (3, 8)]:
        expected = [list(range(count))[at : at + size] for at in range(0, count, size)]
        check.equal(collect(count, size), expected, f"{count} items in batches of {size}")
    ### END HIDDEN TESTS

# %% [markdown]
# ## 3. A model and an optimizer
#
# - `train_step(model, optimizer, x, y)`: one step with the mean cross-entropy; the model is in training mode; gradients
#   of before do not count; returns the loss as a number.
# - `evaluate(model, loader)`: (loss, accuracy) over all samples, in evaluation mode, without autograd; the mode
#   is as before afterwards. <!-- rule: autograd, reported -->

# %% exercise="training" minutes=10 difficulty=2 seconds=3 memory_mb=1024
def train_step(model, optimizer, x, y):
    """One optimisation step; the loss."""
    ### BEGIN SOLUTION
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()
    ### END SOLUTION


def evaluate(model, loader):
    """(loss, accuracy) over all samples."""
    ### BEGIN SOLUTION
    was_training = model.training
    model.eval()
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    model.train(was_training)
    return loss / seen, right / seen
    ### END SOLUTION

# %% tests="training" points=4
@check.shared
def build(seed, kind):
    torch.manual_seed(seed)
    if kind == "plain":
        model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
        return model, torch.optim.SGD(model.parameters(), lr=0.5)
    if kind == "dropout":
        model = nn.Sequential(nn.Linear(5, 40), nn.Dropout(0.5), nn.Linear(40, 3))
        return model, torch.optim.SGD(model.parameters(), lr=0.1)
    model = nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    return model, torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)


@check.shared
def weights_of(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@check.scenario
def train(seed, kind, batches, leftover=0.0):
    """Losses and weights after each step. (Dropout, running means: the mode shows in the values.)"""
    model, optimizer = build(seed, kind)
    model.eval()
    for p in model.parameters():
        p.grad = torch.full_like(p, leftover) if leftover else None
    torch.manual_seed(seed)
    seen = []
    for x, y in batches:
        loss = train_step(model, optimizer, x, y)
        seen.append((loss, weights_of(model)))
    return seen


@check.scenario
def judge_model(seed, kind, batches, training):
    model, _ = build(seed, kind)
    model.train(training)
    before, watched = weights_of(model), []
    model[0].register_forward_pre_hook(lambda module, args: watched.append(torch.is_grad_enabled()))
    got = evaluate(model, (batch for batch in batches))
    return got, watched, [module.training for module in model.modules()], before, weights_of(model)


def expected_training(seed, kind, batches):
    model, optimizer = build(seed, kind)
    torch.manual_seed(seed)
    for x, y in batches:
        loss = F.cross_entropy(model.train()(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item(), weights_of(model)


def data(seed, sizes, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(n, 5, generator=generator) * scale, torch.randint(3, (n,), generator=generator)) for n in sizes]


def check_train_step():
    def compare(seed, kind, batches, leftover=0.0):
        seen = train(seed, kind, batches, leftover)
        for step, ((loss, now), (right, after)) in enumerate(zip(seen, expected_training(seed, kind, batches), strict=True), 1):
            check.kind(loss, float, f"the loss of step {step}", "`.item()` takes the number out")
            check.equal(loss, right, f"the loss of step {step}", "the mean cross-entropy of this batch, before the update")
            check.equal(now, after, f"the weights after step {step}", "old gradients cleared, backward, step?", rtol=1e-4)

    compare(3, "plain", data(4, (11, 11, 11)))
    compare(3, "plain", data(5, (9,)), leftover=100.0)
    compare(4, "dropout", data(5, (9,)))
    ### BEGIN HIDDEN TESTS
    compare(8, "norm", data(6, (13, 13, 13), 2.0))
    ### END HIDDEN TESTS


def check_evaluate():
    def compare(seed, kind, batches, training=True):
        model, _ = build(seed, kind)
        x, y = (torch.cat(parts) for parts in zip(*batches))
        logits = model.eval()(x).detach()
        expected = (F.cross_entropy(logits, y).item(), (logits.argmax(1) == y).double().mean().item())
        got, watched, modes, before, now = judge_model(seed, kind, batches, training)
        check.equal(got, expected, "what evaluate returns", "every sample counts the same; evaluation mode")
        check.equal(watched, [False] * len(batches), "whether autograd recorded each call of the model", "torch.no_grad()")
        check.equal(modes, [training] * len(modes), "the modes afterwards")
        check.equal(now, before, "weights and buffers after evaluate")

    compare(5, "norm", data(7, (4, 4, 2)))
    compare(5, "dropout", data(7, (4, 4, 2)), training=False)
    ### BEGIN HIDDEN TESTS
    compare(6, "dropout", data(9, (7, 1, 4), 4.0))
    ### END HIDDEN TESTS


with check.exercise("training"):
    check.parts({"train_step": check_train_step, "evaluate": check_evaluate})
check.points(4)

# %% [markdown]
# ## 4. An autograd function
#
# `RMSNorm`, a `torch.autograd.Function` with its own backward: `RMSNorm.apply(x, weight, eps)`.

# %% exercise="rms_norm" minutes=10 difficulty=2 seconds=3 memory_mb=1024
class RMSNorm(torch.autograd.Function):
    """x / sqrt(mean(x²) + eps) * weight, over the last axis."""

    @staticmethod
    def forward(ctx, x, weight, eps):
        ### BEGIN SOLUTION
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + eps) * weight
        ### END SOLUTION

    @staticmethod
    def backward(ctx, grad_output):
        ### BEGIN SOLUTION
        x, weight = ctx.saved_tensors
        inverse = torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + ctx.eps)
        normal, grad_normal = x * inverse, grad_output * weight
        along = (grad_normal * normal).mean(dim=-1, keepdim=True)
        return inverse * (grad_normal - along * normal), (grad_output * normal).reshape(-1, len(weight)).sum(dim=0), None
        ### END SOLUTION

# %% tests="rms_norm" points=4
@check.shared
def observe(function, x, weight, eps, grad_output):
    """Value, gradients, and gradients through two in a row."""
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    y = function(x, weight, eps)
    once = torch.autograd.grad(y, (x, weight), grad_output)
    twice = torch.autograd.grad(function(function(x, weight, eps) + 1, weight, eps), (x, weight), grad_output)
    return {"value": y.detach(), "gradients": once, "gradients through two": twice}


@check.scenario
def norm(x, weight, eps, grad_output):
    return observe(RMSNorm.apply, x, weight, eps, grad_output)


def formula(x, weight, eps):
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


with check.exercise("rms_norm"):
    def compare(shape, eps, dtype, seed):
        generator = torch.Generator().manual_seed(seed)
        x, grad_output = (torch.randn(*shape, generator=generator, dtype=dtype) for _ in range(2))
        weight = torch.randn(shape[-1], generator=generator, dtype=dtype)
        expected = observe(formula, x, weight, eps, grad_output)
        check.equal(norm(x, weight, eps, grad_output), expected, f"with eps {eps}", "eps under the root; notes on `ctx`", rtol=1e-4)

    compare((3, 4, 5), 0.3, torch.float64, 24)
    ### BEGIN HIDDEN TESTS
    compare((7, 3), 1e-5, torch.float32, 25)
    compare((2, 3, 2, 6), 0.1, torch.float64, 26)
    ### END HIDDEN TESTS

# %% [markdown]
# ## 5. A class with a state
#
# `Window(size)` keeps the last `size` numbers: `add(x)` returns their mean; `count` (a property) how many there
# are; `reset()` forgets them. `ValueError` for a size below 1.

# %% exercise="window" minutes=5 difficulty=1 seconds=2 memory_mb=512
class Window:
    """The last `size` numbers."""

    def __init__(self, size):
        ### BEGIN SOLUTION
        if size < 1:
            raise ValueError("a size of at least 1")
        self.size, self.kept = size, []
        ### END SOLUTION

    def add(self, x):
        """Add a number; the mean of those kept."""
        ### BEGIN SOLUTION
        self.kept = [*self.kept, x][-self.size :]
        return sum(self.kept) / len(self.kept)
        ### END SOLUTION

    @property
    def count(self):
        ### BEGIN SOLUTION
        return len(self.kept)
        ### END SOLUTION

    def reset(self):
        ### BEGIN SOLUTION
        self.kept = []
        ### END SOLUTION

# %% tests="window" points=3
@check.scenario
def session(size, steps):
    """What happens in a long life, in one question."""
    window, seen = Window(size), []
    for step in steps:
        seen.append(window.add(step) if step is not None else window.reset())
        seen.append(window.count)
    return seen


with check.exercise("window"):
    new = check.live(Window)
    one, other = new(3), new(size=1)
    check.equal([one.add(x) for x in (3.0, 5.0, 1.0, 9.0)], [3.0, 4.0, 3.0, 5.0], "the means of a window of 3")
    check.equal((one.count, other.count), (3, 0), "the counts of two windows", "each has numbers of its own")
    check.raises(ValueError, lambda: new(0), "a window of 0")
    ### BEGIN HIDDEN TESTS
    rng, steps, expected, kept = random.Random(31), [], [], []
    for _ in range(60):
        steps.append(None if rng.random() < 0.15 else rng.randint(-50, 50) / 4)
        kept = [] if steps[-1] is None else [*kept, steps[-1]][-5:]
        expected += [sum(kept) / len(kept) if kept else None, len(kept)]
    check.equal(session(5, steps), expected, "a window of 5 over 60 steps")
    other.add(7.5)
    other.reset()
    check.equal((other.add(2.0), other.count), (2.0, 1), "a window after reset()")
    ### END HIDDEN TESTS

# %% [markdown]
# ## 6. A file
#
# `pack(weights, path)` writes a dict of matrices, each row as 8-bit integers with a scale: an `.npz` file with `NAME.q`
# (int8) and `NAME.scale` (float32, one a row) for each matrix; it returns nothing. A value may differ by a 200th of its
# row's largest one; the file has at most 1.4 bytes a value, and 600 bytes for each matrix.

# %% exercise="pack" minutes=10 difficulty=2 seconds=3 memory_mb=1024
def pack(weights, path):
    """Write `weights` as 8-bit integers with scales."""
    ### BEGIN SOLUTION
    parts = {}
    for name, matrix in weights.items():
        scale = np.maximum(np.abs(matrix).max(axis=1, keepdims=True), 1e-30) / 127
        parts[f"{name}.q"] = np.round(matrix / scale).astype(np.int8)
        parts[f"{name}.scale"] = scale[:, 0].astype(np.float32)
    np.savez(path, **parts)
    ### END SOLUTION

# %% tests="pack" points=4
@check.scenario
def write(weights, folder, name):
    path = Path(folder) / name
    pack(weights, path)
    return path.is_file()


@check.scenario(clean=True)
def size_of(folder, name):
    return (Path(folder) / name).stat().st_size


@check.scenario(clean=True)
def unpack(folder, name):
    with np.load(Path(folder) / name) as parts:
        names = [key.removesuffix(".q") for key in parts.files if key.endswith(".q")]
        return {n: (parts[f"{n}.q"], parts[f"{n}.scale"]) for n in names}


def matrices(seed, shapes):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


with check.exercise("pack"):
    def compare(seed, shapes):
        weights, folder, name = matrices(seed, shapes), check.folder(), f"packed{seed}.npz"
        check.true(write(weights, folder, name), "after pack there is no file at `path`.")
        allowed = sum(1.4 * w.size + 600 for w in weights.values())
        check.between(size_of(folder, name), 1, allowed, "the size of the file")
        got = unpack(folder, name)
        check.equal(sorted(got), sorted(weights), "the names in the file")
        for key, (q, scale) in got.items():
            check.equal(str(q.dtype), "int8", f"the dtype of {key}.q")
            check.shape(scale, (len(weights[key]),), f"{key}.scale")
            error = np.abs(q * scale[:, None] - weights[key]) / np.abs(weights[key]).max(axis=1, keepdims=True)
            check.between(error.max(), 0, 0.005, f"the largest error of {key}, by its row's largest value")

    compare(1, {"a": (20, 30)})
    ### BEGIN HIDDEN TESTS
    compare(2, {"first": (7, 50), "second": (40, 9)})
    ### END HIDDEN TESTS

# %% [markdown]
# ## 7. An exported program
#
# `ship(model, example, path)` exports the model with `torch.export` and returns the file's size in bytes.

# %% exercise="ship" minutes=10 difficulty=2 seconds=8 memory_mb=2048
def ship(model, example, path):
    """Export `model` to `path`; the file's size."""
    ### BEGIN SOLUTION
    torch.export.save(torch.export.export(model, (example,)), path)
    return path.stat().st_size
    ### END SOLUTION

# %% tests="ship" points=3
@check.shared
def net(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).eval()


@check.scenario
def export(seed, folder, name):
    return ship(net(seed), torch.zeros(3, 6), Path(folder) / name)


@check.scenario(clean=True)
def run(folder, name, inputs):
    path = Path(folder) / name
    program = torch.export.load(path)
    return path.stat().st_size, [program.module()(x).detach() for x in inputs]


with check.exercise("ship"):
    def compare(seed):
        folder, name = check.folder(), f"net{seed}.pt2"
        inputs = [torch.linspace(-1, 2, 18).reshape(3, 6), torch.linspace(5, -2, 18).reshape(3, 6)]
        size = export(seed, folder, name)
        real, outputs = run(folder, name, inputs)
        check.equal(size, real, "the size that ship returns", "the number of bytes in the file")
        for got, x in zip(outputs, inputs, strict=True):
            check.equal(got, net(seed)(x).detach(), "an output of the exported program", rtol=1e-4)

    compare(1)
    ### BEGIN HIDDEN TESTS
    compare(2)
    ### END HIDDEN TESTS

# %% [markdown]
# ## 8. Write the tests
#
# `check_normalise(normalise)` fails (by an `assert`) for a wrong `normalise(x, dim)`, which divides by the length along
# an axis and leaves zeros alone.

# %% exercise="normalise_tests" minutes=10 difficulty=2 seconds=3 memory_mb=512
def check_normalise(normalise):
    """Accept every right `normalise`, reject wrong ones."""
    ### BEGIN SOLUTION
    x = torch.randn(3, 5, dtype=torch.float64)
    kept = x.clone()
    for dim in (0, 1):
        assert torch.allclose(normalise(x, dim).norm(dim=dim), torch.ones(x.shape[1 - dim], dtype=x.dtype))
    assert torch.equal(x, kept), "writes into its input"
    assert normalise(x, 0).dtype == x.dtype
    assert torch.equal(normalise(torch.zeros(2, 2), 1), torch.zeros(2, 2))
    y = x.clone().requires_grad_()
    g = torch.randn(3, 5, dtype=torch.float64)
    (got,) = torch.autograd.grad(normalise(y, 1), y, g)
    z = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(F.normalize(z, dim=1), z, g)
    assert torch.allclose(got, expected)
    ### END SOLUTION

# %% tests="normalise_tests" points=6
with check.exercise("normalise_tests"):
    def by_library(x, dim):
        return F.normalize(x, dim=dim)

    def by_hand(x, dim):
        square = x.square().sum(dim, keepdim=True)
        return x * torch.where(square > 0, square, 1).rsqrt()

    def last_axis(x, dim):
        return F.normalize(x, dim=-1)

    def nan_for_zeros(x, dim):
        return x / x.norm(dim=dim, keepdim=True)

    def single_precision(x, dim):
        return F.normalize(x.float(), dim=dim)

    def overwrites(x, dim):
        result = F.normalize(x, dim=dim)
        x.data.copy_(result)
        return result

    right = {"F.normalize": by_library, "written by hand": by_hand}
    wrong = {"normalises the last axis": last_axis, "gives NaN for zeros": nan_for_zeros}
    wrong |= {"returns float32 for float64": single_precision, "writes into the input": overwrites}
    ### BEGIN HIDDEN TESTS
    def cut_from_graph(x, dim):
        return F.normalize(x.detach(), dim=dim)

    def constant_length(x, dim):
        return x / x.detach().norm(dim=dim, keepdim=True).clamp(min=1e-12)

    wrong |= {"cuts its result from the graph": cut_from_graph, "treats the length as a constant": constant_length}
    ### END HIDDEN TESTS
    check.catches(check_normalise, right, wrong)
check.points(6)

# %% [markdown]
# ## 9. Functions that the tests hand over
#
# - `best(items, reward, clock, seconds)`: (item, reward) of the highest reward; each item is judged once, in order; one
#   whose reward raises ValueError is left out; after `seconds` by `clock()` no further one is begun. None if there is none.
# - `minimise(loss, x, rate, steps)`: `x` after so many steps of gradient descent on `loss(x)`.

# %% exercise="callbacks" minutes=10 difficulty=2 seconds=3 memory_mb=512
def best(items, reward, clock, seconds):
    """(item, reward) of the highest reward, or None."""
    ### BEGIN SOLUTION
    start, found = clock(), None
    for item in items:
        if clock() - start >= seconds:
            break
        try:
            value = reward(item)
        except ValueError:
            continue
        if found is None or value > found[1]:
            found = (item, value)
    return found
    ### END SOLUTION


def minimise(loss, x, rate, steps):
    """`x` after gradient descent."""
    ### BEGIN SOLUTION
    x = x.clone().requires_grad_()
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(loss(x), x)
        x = (x - rate * gradient).detach().requires_grad_()
    return x.detach()
    ### END SOLUTION

# %% tests="callbacks" points=4
with check.exercise("callbacks"):
    def compare(items, seconds, secret):
        now, asked = [100.0], []

        def clock():
            return now[0]

        def reward(item):
            asked.append(item)
            now[0] += 1.0
            if item < 0:
                raise ValueError("no reward for that")
            return -((item - secret) ** 2)

        in_time = items[: max(0, math.ceil(seconds))]
        judged = [(item, -((item - secret) ** 2)) for item in in_time if item >= 0]
        expected = max(judged, key=lambda pair: pair[1], default=None)
        check.equal(best(items, reward, clock, seconds), expected, f"best of {items} in {seconds} s")
        check.equal(asked, in_time, "the items that were judged, in order", "each once, none after the time is up")

    def descend(start, target, rate, steps):
        calls = []

        def loss(x):
            calls.append(1)
            return ((x - target) ** 2).sum() + x.sin().sum()

        x = start.clone()
        for _ in range(steps):
            x = x - rate * (2 * (x - target) + x.cos())
        check.equal(minimise(loss, start, rate, steps), x, f"x after {steps} steps", rtol=1e-4)
        check.equal(len(calls), steps, "how often the loss was computed")

    compare([3, -1, 8, 5], 10, secret=6)
    descend(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0]), 0.1, 3)
    ### BEGIN HIDDEN TESTS
    compare([3, -1, 8, 5], 2, secret=8)
    compare([], 1, secret=0)
    compare([4, 2, 9], 0, secret=4)
    descend(torch.linspace(-1, 1, 5), torch.linspace(2, -3, 5), 0.05, 7)
    ### END HIDDEN TESTS

# %% [markdown]
# ## 10. Programs

# %% exercise="shout" minutes=5 difficulty=1 seconds=3 memory_mb=512 processes=true
def shout(text):
    """`text` in capitals, by the program tr."""
    ### BEGIN SOLUTION
    import subprocess

    return subprocess.run(["tr", "a-z", "A-Z"], input=text, capture_output=True, text=True, check=True).stdout
    ### END SOLUTION

# %% tests="shout" points=2
with check.exercise("shout"):
    check.equal(shout("abc"), "ABC", "abc in capitals")
    ### BEGIN HIDDEN TESTS
    check.equal(shout("unit 24!"), "UNIT 24!", "unit 24! in capitals")
    ### END HIDDEN TESTS
