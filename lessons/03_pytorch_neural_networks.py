# ---
# jupyter:
#   unit24:
#     needs: ["matplotlib>=3.8", "numpy>=1.26", "scikit-learn", "torch>=2.6"]
# ---

# %% [markdown]
# # 03 · Neural networks in PyTorch
#
# **You will build** the parts that networks are made of, each from tensors: a module with buffers, a residual block, an
# LSTM cell, batch normalisation, dropout. You will start them well, save them safely, and at the end examine sick networks
# without touching them. Then your own residual network runs against a plain one with as many parameters.
#
# **You need first** tensors and autograd (lesson 02), layers and starting weights (lesson 01). Training loops are given here;
# lesson 04 is about them.
#
# **Time** about three and a half hours: nine exercises, 25 points. Where an exercise asks for several parts, each earns
# its share.
#
# An `nn.Module` is a Python object that keeps four registers. Almost everything that PyTorch does for a network is a walk
# through one of them.
#
# | register | filled by | read by | exercises |
# |---|---|---|---|
# | **parameters** | assigning an `nn.Parameter` | optimizers, `.to()`, `state_dict` | `scaled_net`, `arithmetic`, `initialise` |
# | **buffers** | `register_buffer` | `.to()`, `state_dict`, and no optimizer | `scaled_net`, `modes`, `save_and_load` |
# | **submodules** | assigning a module | all of these, one level down | `residual_block`, `arithmetic` |
# | **hooks** | `register_forward_hook` and its kin | every call of the module | `clinic` |
#
# Beside them stands one flag, `training`. Two kinds of layer look at it, and much goes wrong where it is forgotten.

# %% setup

# %%
import copy
import math
import os
import pickle

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from unit24 import cases, check, claims
from unit24.data import digits

# %% [markdown]
# ## 1 · What a module registers
#
# A module finds a part only if it was put into a register. Assigning does that for parameters and for modules. It does
# not for a plain tensor, nor for modules in a plain Python list.


# %%
# NBVAL_CHECK_OUTPUT
class Forgetful(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))  # registered
        self.offset = torch.ones(2)  # a plain tensor: an attribute, no more
        self.register_buffer("mean", torch.zeros(2))  # registered, not trained
        self.layers = [nn.Linear(2, 2)]  # a plain list: nobody looks into it
        self.found = nn.ModuleList([nn.Linear(2, 2)])  # registered


module = Forgetful()
print("parameters:", [name for name, _ in module.named_parameters()])
print("buffers:   ", [name for name, _ in module.named_buffers()])
module.double()
print("after .double():", {"mean": module.mean.dtype, "offset": module.offset.dtype, "layers[0]": module.layers[0].weight.dtype})

# %% [markdown]
# Nothing failed. The optimizer would train `weight` and the layer in `found`. `offset` and the layer in the plain list would
# stay behind in the old dtype, or on the CPU when the rest goes to a GPU. That is the whole reason for `nn.ModuleList`,
# `nn.ParameterList` and `register_buffer`.
#
# ### Exercise 1 · A module with all three (`scaled_net`, 3 points, 20 minutes, difficulty 1 of 3)
#
# Measurements come in units of their own: degrees, metres, percent. Networks like numbers around 0 with size about 1. So let the
# network carry the scaling of its inputs with it: then no file can be lost, and nobody can forget a step.
#
# `ScaledNet(inputs, hidden, outputs)` is an `nn.Module`. The three are whole numbers from 1 to 40.
#
# - Its parameters are `gain` (a vector of `outputs` ones) and those of two submodules: `first`, an `nn.Linear` from `inputs`
#   to `hidden`, and `last`, an `nn.Linear` from `hidden` to `outputs`. It has no other parameter. <!-- rule: parameters -->
# - Its buffers are `mean` (`inputs` zeros) and `scale` (`inputs` ones), both in `state_dict()`. It has no other
#   buffer. <!-- rule: buffers -->
# - A new one is in float32. `model.double()` and `model.to("meta")` take all of it with them: what `model(x)` returns has the new dtype, or
#   is on that device. <!-- rule: moves -->
# - `model(x)`, x of shape `[1 to 70 rows, inputs]`, returns `gain * last(relu(first((x - mean) / scale)))`, with what the parameters
#   and buffers hold now. <!-- rule: forward -->
# - Gradients reach every parameter and x. <!-- rule: gradients -->
# - `model.fit(data)`, data of shape `[2 to 70 rows, inputs]`, sets `mean` to the mean of each column and `scale` to its
#   standard deviation, dividing by the number of rows; where that is below 0.000001, `scale` is 1. What an earlier `fit` found is
#   forgotten. <!-- rule: fit -->
# - `x` and `data` stay as they were, and `fit` leaves the parameters alone. <!-- rule: unchanged -->
#
# `x` and `data` have the dtype of the model, float32 or float64; numbers have sizes up to 100. `fit` is called on the CPU, with `data` that requires no gradient. Where a column of `data` does not vary,
# its numbers are whole or below 4, so that rounding in float32 stays below the limit.


# %% exercise="scaled_net" minutes=20 difficulty=1
class ScaledNet(nn.Module):
    """Two layers that bring the scaling of their inputs with them: [rows, inputs] -> [rows, outputs]."""

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        ### BEGIN SOLUTION
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        ### END SOLUTION

    def fit(self, data: torch.Tensor) -> None:
        """Take mean and scale from the columns of data [rows, inputs]."""
        ### BEGIN SOLUTION
        scale = data.std(0, correction=0)
        self.mean = data.mean(0)
        self.scale = torch.where(scale < 1e-6, 1, scale)
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        return self.gain * self.last(F.relu(self.first((x - self.mean) / self.scale)))
        ### END SOLUTION


# %% tests="scaled_net" points=3
@check.shared
def net_numbers(inputs, hidden, outputs, seed):
    """Numbers for all parameters and buffers, float64, by name."""
    shapes = {"first.weight": (hidden, inputs), "first.bias": (hidden,), "last.weight": (outputs, hidden), "last.bias": (outputs,)}
    shapes |= {"gain": (outputs,), "mean": (inputs,), "scale": (inputs,)}
    generator = torch.Generator().manual_seed(seed)
    numbers = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}
    return numbers | {"scale": numbers["scale"].exp()}


@check.scenario
def new_net(inputs, hidden, outputs, dtype, device):
    """What a new network registers, and where it and its result are after a move."""
    net = ScaledNet(inputs, hidden, outputs)
    seen = {
        "parameters": {name: tuple(p.shape) for name, p in net.named_parameters()},
        "buffers": {name: tuple(b.shape) for name, b in net.named_buffers()},
        "state": sorted(net.state_dict()),
        "dtypes": {str(t.dtype) for t in net.state_dict().values()} == {"torch.float32"},
        "start": {name: getattr(net, name).detach().clone() for name in ("gain", "mean", "scale")},
        "trained": all(p.requires_grad for p in net.parameters()) and not any(b.requires_grad for b in net.buffers()),
    }
    net = net.to(device=device, dtype=dtype)
    result = net(torch.ones(3, inputs, dtype=dtype, device=device))
    if device == "cpu":
        net.fit(torch.ones(3, inputs, dtype=dtype))
    again = net(torch.ones(3, inputs, dtype=dtype, device=device))
    return seen | {"result": [result.dtype, result.device.type], "after fit": [again.dtype, again.device.type]}


@check.scenario
def net_seen(inputs, hidden, outputs, seed, fitted, dtype, data, x):
    """Result, buffers, parameters and (in float64) gradients of a network with some numbers, after `fitted` calls of `fit`."""
    net = ScaledNet(inputs, hidden, outputs).to(dtype)
    net(torch.ones(2, inputs, dtype=dtype))
    net.load_state_dict(net_numbers(inputs, hidden, outputs, seed))
    x, data = x.to(dtype), data.to(dtype)
    for turn in range(fitted, 0, -1):  # the last time with `data`
        net.fit(data if turn == 1 else 3 * x.new_ones(4, inputs).cumsum(0))
    copied = x.clone()
    seen = {"result": net(x).detach(), "mean": net.mean.detach().clone(), "scale": net.scale.detach().clone()}
    seen["parameters"] = {name: p.detach().clone() for name, p in net.named_parameters()}
    seen["buffers"] = sorted(name for name, _ in net.named_buffers())
    if dtype == torch.float64:
        given = copied.requires_grad_()
        y = net(given)
        push = torch.linspace(1, 2, y.numel(), dtype=dtype).view_as(y)
        wanted = {**dict(net.named_parameters()), "x": given}
        slopes = torch.autograd.grad(y, list(wanted.values()), push, allow_unused=True) if y.requires_grad else [None] * len(wanted)
        seen["gradients"] = dict(zip(wanted, slopes))
    return seen


def net_by_definition(inputs, hidden, outputs, seed, fitted, dtype, data, x, mistake=""):
    numbers = {name: number.to(dtype) for name, number in net_numbers(inputs, hidden, outputs, seed).items()}
    x, data = x.to(dtype), data.to(dtype)
    mean, scale = numbers.pop("mean"), numbers.pop("scale")
    if fitted:
        mean, scale = data.double().mean(0), data.double().var(0, correction=mistake == "n - 1").sqrt()
        if mistake == "whole":
            mean, scale = data.double().mean().expand(inputs), data.double().std(correction=0).expand(inputs)
        if mistake != "zero":
            scale = torch.where(scale < 1e-6, 1.0, scale)
        mean, scale = mean.to(dtype), scale.to(dtype)
    numbers = {name: number.clone().requires_grad_() for name, number in numbers.items()}
    given = x.clone().requires_grad_()
    z = given - mean if mistake == "scale" else (given - mean) / scale
    y = torch.relu(z @ numbers["first.weight"].T + numbers["first.bias"]) @ numbers["last.weight"].T + numbers["last.bias"]
    y = y if mistake == "gain" else y * numbers["gain"]
    push = torch.linspace(1, 2, y.numel(), dtype=dtype).view_as(y)
    seen = {"parameters": {name: number.detach() for name, number in numbers.items()}}
    seen |= {"mean": mean, "scale": scale, "buffers": ["mean", "scale"], "result": y.detach()}
    if dtype == torch.float64:
        slopes = torch.autograd.grad(y, [*numbers.values(), given], push, allow_unused=True)
        seen["gradients"] = dict(zip([*numbers, "x"], slopes))
    return seen


@check.scenario
def nets_in_turn(settings):
    """The results of networks that are all made, then fitted in turn, before any is used."""
    nets = [ScaledNet(*sizes) for sizes in settings]
    for net, (inputs, hidden, outputs) in zip(nets, settings):
        net.load_state_dict(net_numbers(inputs, hidden, outputs, 5))
        net.fit(inputs * torch.ones(4, inputs).cumsum(0))
    return [net(torch.ones(2, inputs)).detach() for net, (inputs, *_) in zip(nets, settings)]


def check_net(inputs, hidden, outputs):
    what = f"of a ScaledNet({inputs}, {hidden}, {outputs})"
    for dtype, device in ((torch.float64, "cpu"), (torch.float32, "meta"), (torch.float64, "meta")):
        seen = new_net(inputs, hidden, outputs, dtype, device)
        shapes = {name: tuple(number.shape) for name, number in net_numbers(inputs, hidden, outputs, 1).items()}
        buffers = {name: shapes.pop(name) for name in ("mean", "scale")}
        hint = "assign an `nn.Parameter`, and modules as attributes; what is not trained is a buffer"
        check.equal(seen["parameters"], shapes, f"the parameters {what}", hint)
        check.equal(seen["buffers"], buffers, f"the buffers {what}", "`self.register_buffer(name, tensor)`: a plain tensor is in no register")
        check.equal(seen["state"], sorted([*shapes, *buffers]), f"the names in state_dict() {what}", "buffers are in it, unless persistent=False")
        check.true(seen["dtypes"], f"not all parameters and buffers {what} are float32.")
        check.true(seen["trained"], f"not all parameters {what} require a gradient, or a buffer does.")
        start = {"gain": torch.ones(outputs), "mean": torch.zeros(inputs), "scale": torch.ones(inputs)}
        check.equal(seen["start"], start, f"the first numbers {what}")
        hint = "make new tensors in the dtype and on the device of what they meet"
        for when in ("result", "after fit"):
            check.equal(seen[when], [dtype, device], f"dtype and device of the {when} {what}, once it was moved to {dtype} on {device}", hint)


with check.exercise("scaled_net"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    for sizes in ((1, 1, 1), (3, 40, 2), (40, 2, 7)):
        check_net(*sizes)
    check.apart(nets_in_turn, [[2, 3, 4], [3, 5, 2]], "the results of a ScaledNet made from (inputs, hidden, outputs) =")
    for dtype, rtol in ((torch.float64, 1e-7), (torch.float32, 1e-3)):
        domain = {
            **{name: cases.size(name) for name in ("inputs", "hidden", "outputs")},
            "seed": cases.integer(1, 10**6),
            "calls of fit": cases.choice(0, 1, 2),
            "dtype": cases.choice(dtype),
            "data": cases.tensor("data_rows", "inputs", dtypes=("float64",), scale=(1e-2, 1e2)),
            "x": cases.tensor("rows", "inputs", dtypes=("float64",), scale=(1e-2, 1e2)),
        }
        mistakes = {
            "the standard deviation divides by the number of rows: correction=0": "n - 1",
            "mean and scale were taken over the whole table: each column has its own": "whole",
            "x - mean is divided by scale": "scale",
            "gain is missing": "gain",
            "where a column does not vary, scale is 1": "zero",
        }
        check.agrees(
            net_seen,
            net_by_definition,
            cases.draw(seeds, domain, 6, rows=(1, 70), data_rows=(2, 70), inputs=(1, 40), hidden=(1, 40), outputs=(1, 40)),
            "a ScaledNet",
            "gain * last(relu(first((x - mean) / scale))); `fit` replaces mean and scale and nothing else",
            causes={text: lambda *case, m=m: net_by_definition(*case, mistake=m) for text, m in mistakes.items()},
            rtol=rtol,
        )
    for seed in seeds:
        away = torch.tensor([0.5e-6, 0.9e-6, 1.1e-6, 1.5e-6], dtype=torch.float64)
        data = 1 + torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)[:, None] * away
        case = 4, 3, 2, seed, 1, torch.float64, data, data + 1e-6
        what = f"a ScaledNet(4, 3, 2) in float64 after `fit`, where the columns have the standard deviations {away.tolist()}"
        check.equal(net_seen(*case), net_by_definition(*case), what, "a standard deviation of 0.000001 or more is kept as it is", rtol=1e-5)
check.points(3)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Which of the numbers should an optimizer change? Those are parameters. Which should travel with the model all the same? Those
# are buffers.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `nn.Parameter(tensor)`, `self.register_buffer(name, tensor)`, `nn.Linear`, `data.mean(0)`, `data.std(0, correction=0)`,
# `torch.where`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# self.first, self.last = nn.Linear(inputs, hidden), ...
# self.gain = nn.Parameter(torch.ones(outputs))
# self.register_buffer("mean", torch.zeros(inputs))
# ...
# scale = data.std(0, correction=0)
# self.scale = torch.where(scale < 1e-6, 1, scale)   # assigning a tensor to a buffer's name keeps it a buffer
# ```
# </details>

# %%
torch.manual_seed(0)
weather = torch.stack([15 + 8 * torch.randn(200), 1013 + 9 * torch.randn(200), 0.6 + 0.1 * torch.randn(200)], 1)
net = ScaledNet(3, 16, 1)
figure, panels = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
for panel, title in zip(panels, ("a new network sees", "after `fit` it sees")):
    panel.boxplot(((weather - net.mean) / net.scale).numpy(), orientation="horizontal")
    panel.set_yticks([1, 2, 3], ["degrees", "hectopascal", "humidity"])
    panel.set(title=title, xlabel="what enters the first layer")
    net.fit(weather)
plt.show()
print("in the file with the weights:", list(net.state_dict()))
del net, weather

# %% [markdown]
# On the left only the pressure can be seen. On the right all three columns count alike, and the numbers that do it lie in
# `state_dict`, beside the weights.
#
# ## 2 · Arithmetic of layers
#
# Before a network runs one knows its shapes, how far it sees, and how large it is. A convolution with kernel $k$,
# stride $s$, padding $p$ and dilation $d$ lays a comb with $k$ teeth, $d$ apart, over an axis of size $n + 2p$, and moves on by $s$
# each time (Dumoulin and Visin, 2016, [arXiv:1603.07285](https://arxiv.org/abs/1603.07285)). The picture shows which inputs
# each output reads.


# %%
def draw_combs(settings: dict[str, tuple[int, int, int, int]], size: int = 9) -> None:
    """For each setting (kernel, stride, padding, dilation) one row of dots an output: the inputs that it reads."""
    figure, panels = plt.subplots(1, len(settings), figsize=(11, 2.6), layout="constrained")
    for panel, (title, (kernel, stride, padding, dilation)) in zip(panels, settings.items()):
        outputs = F.conv1d(torch.zeros(1, 1, size), torch.zeros(1, 1, kernel), None, stride, padding, dilation).shape[-1]
        for row in range(outputs):
            places = [row * stride - padding + tooth * dilation for tooth in range(kernel)]
            panel.plot(places, [row] * kernel, "o-", color="tab:blue", linewidth=0.6)
        panel.axvspan(-0.5, size - 0.5, color="grey", alpha=0.15)
        panel.set(title=f"{title}\n{outputs} outputs", xlabel="input (grey: not padding)", xlim=(-2.5, size + 1.5))
        panel.set_yticks(range(outputs))
    panels[0].set_ylabel("output")
    plt.show()


draw_combs({"kernel 3": (3, 1, 0, 1), "padding 1": (3, 1, 1, 1), "stride 2, padding 1": (3, 2, 1, 1), "dilation 2, padding 2": (3, 1, 2, 2)})

# %% [markdown]
# ### Exercise 2 · Sizes, sight and weight (`arithmetic`, 3 points, 25 minutes, difficulty 1 of 3)
#
# `out_size(size, kernel, stride, padding, dilation)`: whole numbers, `size` from 1 to 300, `kernel` from 1 to 11, `stride` from 1 to 5,
# `padding` from 0 to 9, `dilation` from 1 to 4. The comb fits at least once.
#
# - It returns the size of a convolution's output along this axis, as PyTorch makes it, as an `int`. <!-- rule: size -->
# - A comb that would stick out at the end does not count. <!-- rule: floor -->
#
# `receptive_field(layers)`: a list of 1 to 12 convolutions, the first one first, each a tuple `(kernel, stride, dilation)`; kernel from 1 to
# 7, stride from 1 to 3, dilation from 1 to 8.
#
# - It returns how many places of the input lie between the first and the last one that a single output of the last layer
#   depends on, both counted, as an `int`: 5 for `[(3, 1, 2)]`. Padding plays no part. <!-- rule: field -->
# - The list stays as it was. <!-- rule: list -->
#
# `count_parameters(model)`: a module with up to 20 others in it.
#
# - It returns a dict with the keys `"trainable"` and `"frozen"`: how many numbers there are in all parameters that require a
#   gradient, and in all that do not, as `int`. <!-- rule: numbers -->
# - A parameter that several modules share counts once. <!-- rule: once -->
# - Buffers are no parameters. <!-- rule: no_buffers -->
# - The model stays as it was. <!-- rule: model_stays -->


# %% exercise="arithmetic" minutes=25 difficulty=1
def out_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How many outputs a convolution has along one axis."""
    ### BEGIN SOLUTION
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    ### END SOLUTION


def receptive_field(layers: list[tuple[int, int, int]]) -> int:
    """How many places of the input one output of a stack of convolutions spans; layers of (kernel, stride, dilation)."""
    ### BEGIN SOLUTION
    field, step = 1, 1
    for kernel, stride, dilation in layers:
        field += (kernel - 1) * dilation * step
        step *= stride
    return field
    ### END SOLUTION


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Numbers in the parameters of a model: {"trainable": ..., "frozen": ...}."""
    ### BEGIN SOLUTION
    count = {"trainable": 0, "frozen": 0}
    for parameter in model.parameters():
        count["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    return count
    ### END SOLUTION


# %% tests="arithmetic" points=3
@check.scenario
def your_out_size(kernel, stride, padding, dilation, size):
    return out_size(size, kernel, stride, padding, dilation)


def size_by_torch(kernel, stride, padding, dilation, size):
    return F.conv1d(torch.zeros(1, 1, size), torch.zeros(1, 1, kernel), None, stride, padding, dilation).shape[-1]


def check_out_size():
    def fits(kernel, stride, padding, dilation, _spare):
        return min(300, max(1, dilation * (kernel - 1) + 1 - 2 * padding) + _spare)

    domain = {
        "kernel": cases.integer(1, 11),
        "stride": cases.choice(1, 2, 3, 4, 5),
        "padding": cases.integer(0, 9),
        "dilation": cases.choice(1, 2, 3, 4),
        "_spare": cases.choice(7, 0, 1, 2, 3, 299),
        "size": cases.derived(fits),
    }
    causes = {
        "it is rounded up: a comb that sticks out does not count": lambda k, s, p, d, n: -(-(n + 2 * p - d * (k - 1) - 1) // s) + 1,
        "padding is added at both ends": lambda k, s, p, d, n: (n + p - d * (k - 1) - 1) // s + 1,
        "the comb spans dilation * (kernel - 1) + 1 places": lambda k, s, p, d, n: (n + 2 * p - k) // s + 1,
        "a comb of kernel teeth has kernel - 1 gaps: it spans dilation * (kernel - 1) + 1 places": lambda k, s, p, d, n: (n + 2 * p - d * k) // s + 1,
        "the first place counts too: one more": lambda k, s, p, d, n: (n + 2 * p - d * (k - 1) - 1) // s,
    }
    check.agrees(your_out_size, size_by_torch, cases.draw(seeds, domain, 60), "`out_size`", "count the places where the comb can lie", causes=causes)
    for case in ((1, 1, 0, 1, 300), (11, 1, 9, 4, 300), (11, 5, 9, 1, 1), (11, 3, 9, 4, 23)):
        check.equal(your_out_size(*case), size_by_torch(*case), f"`out_size` of kernel, stride, padding, dilation, size = {case}")


def field_by_tracing(layers, backwards=False):
    """From one output back to the input: the first and the last place that it reads."""
    first = last = 0
    for kernel, stride, dilation in layers if backwards else reversed(layers):
        first, last = first * stride, last * stride + (kernel - 1) * dilation
    return last - first + 1


def check_field():
    def some_layers(chosen, sizes, source):
        layers = [(source.randint(1, 7), source.randint(1, 3), source.randint(1, 8)) for _ in range(sizes["depth"])]
        if chosen["layers"] == "plain":
            layers = [(kernel, 1, 1) for kernel, *_ in layers]
        if chosen["layers"] == "one in two of kernel 1":
            layers = [(kernel if number % 2 else 1, stride, dilation) for number, (kernel, stride, dilation) in enumerate(layers)]
        if chosen["layers"] == "equal":
            layers = layers[:1] * len(layers)
        if chosen["layers"] == "largest":
            layers = [(7, 3, 8)] * len(layers)
        return layers, str(layers)

    domain = {"layers": cases.Argument({"layers": ("plain", "any", "one in two of kernel 1", "equal", "largest")}, some_layers, ("depth",))}
    causes = {
        "a layer of kernel 1 skips places too, if it has a stride": lambda layers: field_by_tracing([layer for layer in layers if layer[0] > 1]),
        "the stride of a layer spreads what comes after it, not itself": lambda layers: 1 + sum((k - 1) * d * math.prod(t for _, t, _ in layers[: i + 1]) for i, (k, _, d) in enumerate(layers)),
        "strides of the layers before multiply the step": lambda layers: 1 + sum((k - 1) * d for k, _, d in layers),
        "dilation is missing": lambda layers: field_by_tracing([(k, s, 1) for k, s, _ in layers]),
        "the list was read from its end: the first layer comes first": lambda layers: field_by_tracing(layers, True),
    }
    check.agrees(receptive_field, field_by_tracing, cases.draw(seeds, domain, 12, depth=(1, 12)), "`receptive_field`", "trace one output back, layer by layer", causes=causes)


@check.shared
def model_to_count(plan, extra):
    """A module, which may hold one part twice, or parts of other kinds."""
    model = cases.build(plan)
    if extra == "a part twice":
        model = nn.ModuleDict({"one": model, "other": model, "more": nn.Linear(3, 2)})
    if extra == "frozen norm and a vector":
        model = nn.ModuleDict({"one": model, "norm": nn.BatchNorm2d(5).requires_grad_(False)})
        model.scale = nn.Parameter(torch.ones(4, 2))
    if extra in ("frozen vectors", "frozen matrices"):
        for parameter in model.parameters():
            parameter.requires_grad_((parameter.ndim == 1) != (extra == "frozen vectors"))
    if extra == "equal parts, a convolution and a number":
        model = nn.ModuleDict({"one": model, "more": nn.LayerNorm(5), "again": nn.LayerNorm(5), "line": nn.Conv2d(3, 4, (2, 5))})
        model.number = nn.Parameter(torch.tensor(2.0), requires_grad=False)
    if extra == "all frozen":
        model.requires_grad_(False)
    return nn.Flatten() if extra == "nothing" else model


@check.scenario
def your_count(plan, extra):
    model = model_to_count(plan, extra)
    before = check.module_state(model, values=True)
    return count_parameters(model), before == check.module_state(model, values=True)


def check_count():
    def counted(plan, extra, mistake=""):
        model, count, seen = model_to_count(plan, extra), {"trainable": 0, "frozen": 0}, set()
        for part in model.modules():
            first = next(part.parameters(recurse=False), None)
            for kept in part._parameters.values():
                if kept is not None and (id(kept) not in seen or mistake == "twice"):
                    trained = mistake == "all" or (first if mistake == "by layer" else kept).requires_grad
                    count["trainable" if trained else "frozen"] += 1 if mistake == "tensors" else kept.numel()
                    seen.add(id(kept))
        if mistake == "buffers":
            count["frozen"] += sum(b.numel() for b in model.buffers())
        return count, True

    domain = {
        "model": cases.module(4, 3),
        "and": cases.choice(
            "as it is", "a part twice", "frozen norm and a vector", "frozen vectors", "frozen matrices", "equal parts, a convolution and a number", "all frozen", "nothing"
        ),
    }
    mistakes = {
        "a parameter that several modules share counts once": "twice",
        "buffers are no parameters": "buffers",
        "those that require no gradient are frozen": "all",
        "a layer can be frozen in part: ask each parameter": "by layer",
        "these are tensors: count the numbers in them, `numel()`": "tensors",
    }
    causes = {text: lambda *case, m=m: counted(*case, mistake=m) for text, m in mistakes.items()}
    check.agrees(your_count, counted, cases.draw(seeds, domain, 8), "`count_parameters`, and whether the model stayed as it was:", "walk through `model.parameters()`", causes=causes)


with check.exercise("arithmetic"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"out_size": check_out_size, "receptive_field": check_field, "count_parameters": check_count})
check.points(3)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# How many places does the comb span? How many steps of length `stride` can it then make until its end meets the end of the padded
# axis? For the field: one output of layer 2 reads several outputs of layer 1. How far apart do those begin on the input?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `//` rounds down. `model.parameters()` gives each parameter once; `Tensor.numel()`, `Tensor.requires_grad`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# span = dilation * (kernel - 1) + 1
# return (size + 2 * padding - span) // stride + 1
#
# field, step = 1, 1
# for kernel, stride, dilation in layers:
#     field += ...             # (kernel - 1) gaps, each dilation * step wide
#     step *= stride
# ```
# </details>

# %%
stacks = {
    "four layers, kernel 3": [(3, 1, 1)] * 4,
    "dilation 1, 2, 4, 8": [(3, 1, 1), (3, 1, 2), (3, 1, 4), (3, 1, 8)],
    "stride 2 each": [(3, 2, 1)] * 4,
}
figure, panel = plt.subplots(figsize=(7, 2.8), layout="constrained")
for name, layers in stacks.items():
    x = torch.zeros(1, 1, 101, requires_grad=True)
    stack = nn.Sequential(*(nn.Conv1d(1, 1, k, s, d * (k - 1) // 2, d, bias=False) for k, s, d in layers))
    for layer in stack:
        nn.init.constant_(layer.weight, 1 / 3)
    y = stack(x)[0, 0]
    y[len(y) // 2].backward()
    panel.step(range(-50, 51), x.grad[0, 0], where="mid", label=f"{name}: {receptive_field(layers)} places")
panel.set(xlabel="place of the input, from the middle", ylabel="gradient of the output", title="what one output depends on")
panel.legend(fontsize=8)
plt.show()

# %% [markdown]
# The widths of the three shapes are what `receptive_field` says. Four layers of kernel 3 see 9 places; doubling the
# dilation each time, or a stride of 2, makes that 31, at the same number of weights. The shapes differ: where the layers do not skip, the middle
# counts most.
#
# ## 3 · A way round: residual blocks
#
# Deeper networks ought to be at least as good as shallow ones: the added layers could hand on what they get. Plain stacks
# do not find that out. He et al. (2016, [arXiv:1512.03385](https://arxiv.org/abs/1512.03385)) saw a plain network of 56
# layers end with a higher *training* error than one of 20. Their cure is to make handing on the starting point: a
# block adds its result to what came in, $y = \mathrm{relu}(f(x) + x)$. Where the shapes of $f(x)$ and $x$ differ, $x$ goes through a
# convolution with kernel 1, which mixes channels and makes the same step as $f$, and a batch norm.
#
# ### Exercise 3 · A residual block (`residual_block`, 3 points, 25 minutes, difficulty 2 of 3)
#
# `ResidualBlock(inputs, outputs, stride)` is an `nn.Module`. `inputs` and `outputs` are numbers of channels, from 1 to 12; `stride` is 1
# or 2.
#
# - `conv1` is an `nn.Conv2d` from `inputs` to `outputs` with kernel 3, padding 1, this stride and no bias; `conv2` one from `outputs` to
#   `outputs` with kernel 3, padding 1, stride 1 and no bias. <!-- rule: convs -->
# - `norm1` and `norm2` are an `nn.BatchNorm2d` each, after `conv1` and after `conv2`. <!-- rule: norms -->
# - `shortcut` is an `nn.Module` with no parameters and no buffers where stride is 1 and `inputs` equals `outputs`. Else it is an `nn.Sequential` of two: an
#   `nn.Conv2d` from `inputs` to `outputs` with kernel 1, this stride, no padding and no bias, and an `nn.BatchNorm2d`. <!-- rule: shortcut -->
# - There are no other parameters and buffers. The batch norms are made with no setting but their width. What numbers all of them start with is up to you. <!-- rule: nothing_else -->
# - `block(x)` returns relu(norm2(conv2(relu(norm1(conv1(x))))) + shortcut(x)); in training mode the batch norms do what they always do
#   there. <!-- rule: forward -->
# - Gradients reach all parameters and x. <!-- rule: gradients -->
# - x stays as it was. <!-- rule: unchanged -->
#
# x has shape `[n, inputs, h, w]`, n from 2 to 9, h and w from 1 to 20, in the dtype of the block, float32 or float64.


# %% exercise="residual_block" minutes=25 difficulty=2
class ResidualBlock(nn.Module):
    """Two convolutions and a way round: [n, inputs, h, w] -> [n, outputs, h / stride, w / stride], rounded up."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        ### BEGIN SOLUTION
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))
        ### END SOLUTION


# %% tests="residual_block" points=3
@check.shared
def block_shapes(inputs, outputs, stride):
    """Shapes of all parameters and of the buffers of a block."""
    parameters = {"conv1.weight": (outputs, inputs, 3, 3), "conv2.weight": (outputs, outputs, 3, 3)}
    norms = ["norm1", "norm2"]
    if stride != 1 or inputs != outputs:
        parameters["shortcut.0.weight"] = (outputs, inputs, 1, 1)
        norms.append("shortcut.1")
    parameters |= {f"{norm}.{name}": (outputs,) for norm in norms for name in ("weight", "bias")}
    buffers = {f"{norm}.{name}": (outputs,) for norm in norms for name in ("running_mean", "running_var")}
    return parameters, buffers | {f"{norm}.num_batches_tracked": () for norm in norms}


@check.shared
def block_numbers(inputs, outputs, stride, seed):
    """Numbers for all of them, float64."""
    parameters, buffers = block_shapes(inputs, outputs, stride)
    generator = torch.Generator().manual_seed(seed)
    numbers = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in (parameters | buffers).items()}
    return {name: n.exp() if name.endswith("var") else (n * 0).long() if name.endswith("tracked") else n for name, n in numbers.items()}


@check.scenario
def new_block(inputs, outputs, stride):
    block = ResidualBlock(inputs, outputs, stride)
    return {
        "parameters": {name: tuple(p.shape) for name, p in block.named_parameters()},
        "buffers": {name: tuple(b.shape) for name, b in block.named_buffers()},
        "trained": all(p.requires_grad for p in block.parameters()),
        "kinds": [type(block.conv1) is nn.Conv2d, type(block.norm1) is nn.BatchNorm2d, isinstance(block.shortcut, nn.Module)],
    }


@check.scenario
def block_seen(inputs, outputs, stride, seed, training, dtype, x):
    """Result, buffers afterwards and (in float64) gradients of a block with some numbers."""
    block = ResidualBlock(inputs, outputs, stride).to(dtype).train(training)
    block.load_state_dict(block_numbers(inputs, outputs, stride, seed))
    x = x.to(dtype)
    copied = x.clone()
    seen = {"result": block(x).detach()}
    seen["buffers"] = {name: b.clone() for name, b in block.named_buffers()}
    if dtype == torch.float64:
        given = copied.requires_grad_()
        y = block(given)
        push = torch.linspace(1, 2, y.numel(), dtype=dtype).view_as(y)
        wanted = {**dict(block.named_parameters()), "x": given}
        slopes = torch.autograd.grad(y, list(wanted.values()), push, allow_unused=True) if y.requires_grad else [None] * len(wanted)
        seen["gradients"] = dict(zip(wanted, slopes))
    return seen


def block_by_definition(inputs, outputs, stride, seed, training, dtype, x, mistake=""):
    def passed(x, numbers):
        def norm(name, z):
            numbers[f"{name}.num_batches_tracked"] += training
            tensors = (numbers[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
            return F.batch_norm(z, *tensors, training)

        first, second = (1, stride) if mistake == "stride" else (stride, 1)
        z = norm("norm1", F.conv2d(x, numbers["conv1.weight"], None, first, 1))
        z = norm("norm2", F.conv2d(z if mistake == "relu" else z.relu(), numbers["conv2.weight"], None, second, 1))
        z = z.relu() if mistake == "relu before" else z
        way_round = x
        if "shortcut.0.weight" in numbers and mistake != "no way round":
            way_round = F.conv2d(x, numbers["shortcut.0.weight"], None, stride)
            way_round = way_round if mistake == "bare" else norm("shortcut.1", way_round)
        z = z if mistake == "no way round" else z + way_round
        return z if mistake in ("no relu", "relu before") else z.relu()

    numbers = block_numbers(inputs, outputs, stride, seed)
    numbers = {name: n.to(dtype) if n.is_floating_point() else n for name, n in numbers.items()}
    parameters, buffers = block_shapes(inputs, outputs, stride)
    x = x.to(dtype)
    seen = {"result": passed(x, numbers)}
    seen["buffers"] = {name: numbers[name].clone() for name in buffers}
    if dtype == torch.float64:
        given = x.clone().requires_grad_()
        for name in parameters:
            numbers[name].requires_grad_()
        y = passed(given, numbers)
        push = torch.linspace(1, 2, y.numel(), dtype=dtype).view_as(y)
        slopes = torch.autograd.grad(y, [*(numbers[name] for name in parameters), given], push, allow_unused=True)
        seen["gradients"] = dict(zip([*parameters, "x"], slopes))
    return seen


@check.scenario
def blocks_in_turn(settings):
    """The results of blocks that are all made before any is used."""
    blocks, seen = [ResidualBlock(*setting).eval() for setting in settings], []
    for block, setting in zip(blocks, settings):
        block.load_state_dict(block_numbers(*setting, 3))
    for block, setting in zip(blocks, settings):
        try:
            seen.append(block(torch.ones(2, setting[0], 5, 5)).detach())
        except RuntimeError:  # other checks tell
            seen.append("RuntimeError")
    return seen


def check_new_blocks():
    for setting in ((3, 3, 1), (3, 5, 1), (4, 4, 2), (1, 12, 2), (12, 1, 1)):
        seen, what = new_block(*setting), f"of a ResidualBlock{setting}"
        parameters, buffers = block_shapes(*setting)
        hint = "the shortcut has a convolution only where it must change the shape; no convolution here has a bias"
        check.equal(seen["parameters"], parameters, f"the parameters {what}", hint)
        check.equal(seen["buffers"], buffers, f"the buffers {what}", "those of the batch norms")
        check.true(seen["trained"], f"not all parameters {what} require a gradient.")
        check.equal(seen["kinds"], [True] * 3, f"whether conv1, norm1 and shortcut {what} are an nn.Conv2d, an nn.BatchNorm2d and a module")


with check.exercise("residual_block"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check_new_blocks()
    check.apart(blocks_in_turn, [[3, 3, 1], [2, 4, 2], [3, 2, 1]], "the result of a ResidualBlock made from (inputs, outputs, stride) =")
    for dtype, rtol in ((torch.float64, 1e-6), (torch.float32, 1e-3)):
        for same in (True, False):  # whether the block may have a plain shortcut
            domain = {
                "inputs": cases.size("inputs"),
                "outputs": cases.derived(lambda inputs: inputs) if same else cases.size("outputs"),
                "stride": cases.choice(1, 2),
                "seed": cases.integer(1, 10**6),
                "training": cases.choice(True, False),
                "dtype": cases.choice(dtype),
                "x": cases.tensor("n", "inputs", "h", "w", dtypes=("float64",), without=("zero", "equal", "ties")),
            }
            mistakes = {
                "the way round is missing: what came in is added before the last relu": "no way round",
                "the last relu is missing": "no relu",
                "the last relu comes after the sum": "relu before",
                "the relu between the two convolutions is missing": "relu",
                "`conv1` makes the step, `conv2` has stride 1": "stride",
                "the shortcut's convolution is followed by a batch norm of its own": "bare",
            }
            check.agrees(
                block_seen,
                block_by_definition,
                cases.draw(seeds, domain, 4, n=(2, 9), inputs=(1, 12), h=(1, 20), w=(1, 20), **({} if same else {"outputs": (1, 12)})),
                "a ResidualBlock",
                "relu(norm2(conv2(relu(norm1(conv1(x))))) + shortcut(x))",
                causes={text: lambda *case, m=m: block_by_definition(*case, mistake=m) for text, m in mistakes.items()},
                rtol=rtol,
                atol=rtol,
            )
check.points(3)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Which of the two convolutions makes the step? What must the shortcut do, so that its result has the same shape as that of the two
# convolutions, and when need it do nothing?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `nn.Conv2d(inputs, outputs, kernel, stride, padding=..., bias=False)`, `nn.BatchNorm2d`, `nn.Identity()`, `nn.Sequential`, `F.relu` (which
# leaves its argument alone, unlike `F.relu_`).
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
# ...
# self.shortcut = nn.Identity()
# if stride != 1 or inputs != outputs:
#     self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), ...)
#
# inner = F.relu(self.norm1(self.conv1(x)))
# return F.relu(... + self.shortcut(x))
# ```
# </details>

# %% [markdown]
# Does the way round matter? Below stand stacks of up to 24 blocks, untrained, once as you wrote them and once with the way round cut. The picture
# shows how large the gradient of a loss is at the first block, over that at the last.


# %%
class Cut(nn.Module):
    """A shortcut that leads nowhere."""

    def forward(self, x):
        return torch.zeros_like(x)


def first_over_last(depth: int, residual: bool, seed: int) -> float:
    """Size of the gradient at the first of `depth` blocks, over that at the last, before any training."""
    torch.manual_seed(seed)
    blocks = nn.Sequential(*(ResidualBlock(8, 8) for _ in range(depth)))
    if not residual:
        for block in blocks:
            block.shortcut = Cut()
    head = nn.Linear(8, 10)
    loss = F.cross_entropy(head(blocks(torch.randn(16, 8, 8, 8)).mean((2, 3))), torch.arange(16) % 10)
    loss.backward()
    return float(blocks[0].conv1.weight.grad.norm() / blocks[-1].conv1.weight.grad.norm())


depths = (2, 4, 8, 16, 24)
growth = {name: [[first_over_last(depth, residual, seed) for seed in range(3)] for depth in depths] for name, residual in (("with the way round", True), ("without", False))}
figure, panel = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
for name, ratios in growth.items():
    panel.semilogy(depths, [np.median(of) for of in ratios], "o-", label=name)
    panel.fill_between(depths, [min(of) for of in ratios], [max(of) for of in ratios], alpha=0.2)
panel.set(xlabel="residual blocks", ylabel="gradient, first / last", title="how unequally the blocks of a new network would learn (3 starts)")
panel.legend()
plt.show()

# %% [markdown]
# Without the way round, gradients grow by a factor with each block on the way back, although batch norm keeps every forward signal at size 1. (That batch norm
# itself makes plain stacks explode backwards was shown by Yang et al., 2019, [arXiv:1902.08129](https://arxiv.org/abs/1902.08129).) No single learning rate suits the first
# and the last block then. With the way round the ratio grows far more slowly.
#
# ## 4 · A cell with gates
#
# A recurrent network reads a sequence step by step and carries a state. In a plain one each step squeezes the whole state through a
# matrix, and what was there is soon gone (lesson 01). The LSTM (Hochreiter and Schmidhuber, 1997,
# https://doi.org/10.1162/neco.1997.9.8.1735; with a forget gate since Gers et al., 2000,
# https://doi.org/10.1162/089976600300015015) keeps a second state $c$ that is only scaled and added to:
#
# $$c_t = f \cdot c_{t-1} + i \cdot g, \qquad h_t = o \cdot \tanh(c_t)$$
#
# Four vectors come from one linear map of input and state, $z = x_t W_x^\top + h_{t-1} W_h^\top + b$, cut into four equal parts: $i = \sigma(z_1)$
# says what enters, $f = \sigma(z_2)$ what is kept, $g = \tanh(z_3)$ is what could enter, $o = \sigma(z_4)$ says what shows.
#
# ### Exercise 4 · An LSTM cell (`lstm_cell`, 2 points, 20 minutes, difficulty 2 of 3)
#
# `LSTMCell(inputs, hidden)` is an `nn.Module`; both are from 1 to 40.
#
# - Its parameters are `weight_x` [4 * hidden, inputs], `weight_h` [4 * hidden, hidden] and `bias` [4 * hidden]; it has no
#   other, and no buffer. <!-- rule: parameters -->
# - They start with random numbers, each drawn by itself, in one cell and in two made one after the other, that lie evenly between $-1/\sqrt{\text{hidden}}$ and $1/\sqrt{\text{hidden}}$, except for one part: the quarter of
#   `bias` that belongs to the forget gate starts at 1 (Jozefowicz et al., 2015, https://proceedings.mlr.press/v37/jozefowicz15.html). <!-- rule: start -->
# - `cell(x, state)`, x of shape `[n, inputs]` and `state` a tuple (h, c), both `[n, hidden]`, returns the tuple of the new h and the new c, with the
#   parts of z in the order i, f, g, o. <!-- rule: step -->
# - `cell(x)` and `cell(x, None)` begin with zeros in the dtype of x. <!-- rule: zeros -->
# - Gradients flow to the parameters, to x and to the state that was given, through 1 to 12 steps, in both dtypes. Where z is near -100 or 100 they are not NaN. <!-- rule: gradients -->
# - What was given stays as it was, also inside `torch.no_grad()`, and no call remembers another. <!-- rule: unchanged -->
#
# n is from 1 to 70; x and state have the dtype of the cell, float32 or float64, and their numbers are at most 100 in size.


# %% exercise="lstm_cell" minutes=20 difficulty=2
class LSTMCell(nn.Module):
    """One step of an LSTM: x [n, inputs] and (h, c), each [n, hidden] -> the next (h, c)."""

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        ### BEGIN SOLUTION
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1
        ### END SOLUTION

    def forward(self, x: torch.Tensor, state=None):
        ### BEGIN SOLUTION
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c
        ### END SOLUTION


# %% tests="lstm_cell" points=2
@check.scenario
def new_cell(inputs, hidden, seed):
    """The parameters of a new cell, the names of what it keeps, and the parameters of the next new cell."""
    torch.manual_seed(seed)
    cell, second = LSTMCell(inputs, hidden), LSTMCell(inputs, hidden)
    trained = all(p.requires_grad and p.dtype == torch.float32 for p in cell.parameters())
    numbers, following = ({name: p.detach() for name, p in each.named_parameters()} for each in (cell, second))
    return numbers, sorted({*cell.state_dict(), *dict(cell.named_buffers())}), trained, following


@check.shared
def cell_numbers(inputs, hidden, seed):
    """Numbers for the parameters, float64."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"weight_x": (4 * hidden, inputs), "weight_h": (4 * hidden, hidden), "bias": (4 * hidden,)}
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) / shape[-1] ** 0.5 for name, shape in shapes.items()}


@check.scenario
def cell_seen(inputs, hidden, dtype, start, steps, graph, seed, x, h, c):
    """States of a cell over some steps, and gradients (float64), unless `graph` is False: then it runs in `no_grad`."""
    cell = LSTMCell(inputs, hidden).to(dtype)
    cell.load_state_dict(cell_numbers(inputs, hidden, seed))
    x, h, c = x.to(dtype), h.to(dtype), c.to(dtype)
    cell(x + 1, (h + 1, c - 1))  # nothing of it stays
    wanted = dict(cell.named_parameters())
    first = {"no state": (), "None": (None,)}.get(start, ((h, c),))
    if dtype == torch.float64 and graph:
        wanted["x"] = x = x.clone().requires_grad_()
        if start == "a state":
            wanted |= {"h": h.clone().requires_grad_(), "c": c.clone().requires_grad_()}
            first = ((wanted["h"], wanted["c"]),)
    states, total = [], 0
    with torch.set_grad_enabled(graph):
        for step in range(steps):
            state = cell(x, *((states[-1],) if states else first))
            states.append(state)
            total = total + state[0].sum() + (step + 1) * state[1].sum()
    seen = {"(h, c) of each step": [tuple(part.detach() for part in state) for state in states]}
    seen["tuples"] = all(isinstance(state, tuple) for state in states)
    if dtype == torch.float64 and graph:
        slopes = torch.autograd.grad(total, list(wanted.values()), allow_unused=True) if total.requires_grad else [None] * len(wanted)
        seen["gradients"] = dict(zip(wanted, slopes))
    return seen


def cell_by_torch(inputs, hidden, dtype, start, steps, graph, seed, x, h, c, order=(0, 1, 2, 3), mistake=""):
    """The same with `nn.LSTMCell`, whose second bias is 0. `order`: where the parts i, f, g, o are taken from."""
    cell = nn.LSTMCell(inputs, hidden, dtype=dtype)
    rows = torch.cat([torch.arange(hidden) + part * hidden for part in order])
    numbers = cell_numbers(inputs, hidden, seed)
    with torch.no_grad():
        cell.weight_ih.copy_(numbers["weight_x"][rows])
        cell.weight_hh.copy_(numbers["weight_h"][rows])
        cell.bias_ih.copy_(numbers["bias"][rows] * (mistake != "bias"))
        cell.bias_hh.zero_()
    x, h, c = x.to(dtype), h.to(dtype), c.to(dtype)
    x, h, c = (part.clone().requires_grad_() for part in (x, h, c))
    state = (h, c) if start == "a state" else (0 * h.detach(), 0 * c.detach())
    states, total = [], 0
    for step in range(steps):
        state = (0 * h, 0 * c) if mistake == "zeros" else tuple(part.detach() for part in state) if mistake == "detached" else state
        h_new, c_new = cell(x, state[::-1] if mistake == "swapped" else state)
        state = (c_new, h_new) if mistake == "swapped" else (h_new, c_new)
        states.append(tuple(part.detach() for part in state))
        total = total + state[0].sum() + (step + 1) * state[1].sum()
    seen = {"(h, c) of each step": states, "tuples": True}
    if dtype == torch.float64 and graph:
        back = torch.argsort(rows)
        given = {"x": x, "h": h, "c": c} if start == "a state" else {"x": x}
        slopes = torch.autograd.grad(total, [cell.weight_ih, cell.weight_hh, cell.bias_ih, *given.values()], allow_unused=True)
        seen["gradients"] = {name: slope[back] for name, slope in zip(("weight_x", "weight_h", "bias"), slopes)}
        seen["gradients"] |= dict(zip(given, slopes[3:]))
        if mistake == "bias":
            seen["gradients"]["bias"] = None
    return seen


@check.scenario
def steep_gradients(dtype, seed, x, h, c):
    """Gradients of one step of an LSTMCell(2, 8) for numbers up to 100."""
    cell = LSTMCell(2, 8).to(dtype)
    cell.load_state_dict(cell_numbers(2, 8, seed))
    given = {name: part.to(dtype).requires_grad_() for name, part in (("x", x), ("h", h), ("c", c))}
    state = cell(given["x"], (given["h"], given["c"]))
    wanted = {**dict(cell.named_parameters()), **given}
    return dict(zip(wanted, torch.autograd.grad(state[0].sum() + state[1].sum(), list(wanted.values()), allow_unused=True)))


def check_steep(seed):
    generator = torch.Generator().manual_seed(seed)
    x, h, c = (size * (2 * torch.rand(40, width, generator=generator) - 1) for size, width in ((100, 2), (1, 8), (1, 8)))
    expected = cell_by_torch(2, 8, torch.float64, "a state", 1, True, seed, x, h, c)["gradients"]
    for dtype in (torch.float64, torch.float32):
        found = steep_gradients(dtype, seed, x.clone(), h.clone(), c.clone())
        what = f"the gradients of an LSTMCell(2, 8) in {str(dtype).removeprefix('torch.')} for one step, with x up to 100"
        hint = "as in 1 / (1 + exp(-z)), where exp becomes inf: `torch.sigmoid` is safe"
        for name, slope in expected.items():
            if isinstance(found[name], torch.Tensor) and found[name].isnan().any():
                check.true(False, f"{what}: that of {name} has NaNs; {hint}.")
            check.equal(found[name], slope.to(dtype), f"{what}: that of {name}", rtol=1e-2, atol=1e-2)


@check.scenario
def cells_in_turn(settings):
    """Two steps of cells that are all made before any is used."""
    cells = [LSTMCell(*setting) for setting in settings]
    for cell, setting in zip(cells, settings):
        cell.load_state_dict(cell_numbers(*setting, 3))
    states = [cell(torch.ones(3, inputs)) for cell, (inputs, _) in zip(cells, settings)]
    return [tuple(part.detach() for part in cell(torch.ones(3, inputs), state)) for cell, state, (inputs, _) in zip(cells, states, settings)]


def check_cell_start():
    for seed in seeds:
        for inputs, hidden in ((1, 1), (3, 5), (40, 40), (20, 9)):
            (numbers, names, trained, following), what = new_cell(inputs, hidden, seed), f"of an LSTMCell({inputs}, {hidden})"
            shapes = {"weight_x": (4 * hidden, inputs), "weight_h": (4 * hidden, hidden), "bias": (4 * hidden,)}
            check.equal({name: tuple(n.shape) for name, n in numbers.items()}, shapes, f"the parameters {what}", "nn.Parameter each")
            check.equal(names, sorted(shapes), f"the names in state_dict() {what}", "nothing but the three parameters")
            check.true(trained, f"not all parameters {what} are float32 and require a gradient.")
            forget = numbers["bias"][hidden : 2 * hidden]
            check.equal(forget, torch.ones(hidden), f"the forget gate's quarter of the bias {what}", "the second quarter: the order is i, f, g, o")
            rest, rest_too = (torch.cat([bias[:hidden], bias[2 * hidden :]]) for bias in (numbers["bias"], following["bias"]))
            for name, drawn in {"weight_x": numbers["weight_x"], "weight_h": numbers["weight_h"], "bias (without the forget gate's quarter)": rest}.items():
                n, hint = drawn.numel(), "drawn evenly between plus and minus 1 / sqrt(hidden)"
                drawn = drawn.double() * hidden**0.5  # the limits: beyond them once in 10**9 cells or more
                check.between(drawn.abs().max(), 10 ** (-9 / n), 1 + 1e-6, f"the largest size in {name} {what}, times sqrt(hidden)", hint)
                check.between(drawn.mean(), -6 / (3 * n) ** 0.5, 6 / (3 * n) ** 0.5, f"the mean of {name} {what}, times sqrt(hidden)", hint)
                if n >= 100:
                    spread = 6 * (1 / 15 / n) ** 0.5
                    check.between(drawn.std(), 3**-0.5 - spread, 3**-0.5 + spread, f"the standard deviation of {name} {what}, times sqrt(hidden)", hint)
                    away = ((drawn.flatten().sort().values + 1) / 2 - torch.linspace(0, 1, n, dtype=torch.float64)).abs().max()
                    check.between(away, 0, 3.3 / n**0.5, f"how far the share of numbers below a value is from an even one, in {name} {what},", hint)
                check.true(len(drawn.unique()) > 0.9 * drawn.numel(), f"numbers in {name} {what} repeat: each is drawn by itself.")
            drawn = torch.cat([part.flatten() for part in (numbers["weight_x"], numbers["weight_h"], rest)])
            known = drawn.abs().unique()
            check.true(len(known) > 0.9 * len(drawn), f"numbers repeat in two of the parameters {what}: each is drawn by itself.")
            second = torch.cat([part.flatten() for part in (following["weight_x"], following["weight_h"], rest_too)]).abs()
            again = float(torch.isin(second, known).double().mean())
            check.between(again, 0, 0.1, f"the share of numbers that a second LSTMCell({inputs}, {hidden}) has from the first", "each is drawn at random, not from a seed of one's own")
        check.true(not torch.equal(new_cell(3, 5, seed)[0]["weight_x"], new_cell(3, 5, seed + 1)[0]["weight_x"]), "two cells start with the same numbers after different seeds: they are drawn at random.")


with check.exercise("lstm_cell"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check_cell_start()
    check.apart(cells_in_turn, [[2, 3], [4, 2]], "the second state of an LSTMCell made from (inputs, hidden) =")
    for dtype, rtol in ((torch.float64, 1e-7), (torch.float32, 1e-3)):
        domain = {
            "inputs": cases.size("inputs"),
            "hidden": cases.size("hidden"),
            "dtype": cases.choice(dtype),
            "start": cases.choice("a state", "no state", "None"),
            "steps": cases.choice(1, 2, 5, 12),
            "graph": cases.choice(True, False),
            "seed": cases.integer(1, 10**6),
            "x": cases.tensor("n", "inputs", dtypes=("float64",), scale=(1e-2, 1e2)),
            "h": cases.tensor("n", "hidden", dtypes=("float64",), scale=(1e-2, 1e2)),
            "c": cases.tensor("n", "hidden", dtypes=("float64",), scale=(1e-2, 1e2)),
        }
        mistakes = {
            "the parts come in the order i, f, g, o (here g before f)": {"order": (0, 2, 1, 3)},
            "the parts come in the order i, f, g, o (here f before i)": {"order": (1, 0, 2, 3)},
            "the parts come in the order i, f, g, o (here o before g)": {"order": (0, 1, 3, 2)},
            "the state that was given is not used": {"mistake": "zeros"},
            "the state was cut from the graph, so no gradient goes back over steps": {"mistake": "detached"},
            "h and c changed places: both the state and the result are (h, c)": {"mistake": "swapped"},
            "the bias is missing": {"mistake": "bias"},
        }
        check.agrees(
            cell_seen,
            cell_by_torch,
            cases.draw(seeds, domain, 6, n=(1, 70), inputs=(1, 40), hidden=(1, 40)),
            "an LSTMCell",
            "c = f * c + i * g, h = o * tanh(c); sigmoid for i, f and o, tanh for g",
            causes={text: lambda *case, m=m: cell_by_torch(*case, **m) for text, m in mistakes.items()},
            rtol=rtol,
            atol=rtol / 10,
        )
    for seed in seeds:
        check_steep(seed)
check.points(2)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# One matrix product for the input, one for h, and a bias give all four parts at once. Which of them go through a sigmoid?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `Tensor.uniform_(low, high)`, `Tensor.chunk(4, dim=1)`, `Tensor.sigmoid()`, `Tensor.tanh()`, `x.new_zeros(n, hidden)`. Inside
# `torch.no_grad()` a slice of a parameter can be overwritten.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# bound = hidden**-0.5
# self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
# ...
# with torch.no_grad():
#     self.bias[hidden : 2 * hidden] = 1
#
# i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
# c = f.sigmoid() * c + ...
# return o.sigmoid() * c.tanh(), c
# ```
# </details>

# %%
def memory(forget_bias: float, steps: int = 60) -> list[float]:
    """How much the state after t steps depends on the first c: mean size of its gradient, of a new cell."""
    torch.manual_seed(0)
    cell, first = LSTMCell(4, 32), torch.zeros(16, 32, requires_grad=True)
    nn.init.constant_(cell.bias[32:64].detach(), forget_bias)
    state, sizes = (torch.zeros(16, 32), first), []
    for _ in range(steps):
        state = cell(torch.randn(16, 4), state)
        (slope,) = torch.autograd.grad(state[1].sum(), first, retain_graph=True)
        sizes.append(float(slope.abs().mean()))
    return sizes


figure, panel = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
for bias in (-1, 0, 1, 3):
    panel.semilogy(range(1, 61), memory(bias), label=f"forget bias {bias}")
panel.set(xlabel="step", ylabel="gradient on the first c", title="what a new cell remembers")
panel.legend(fontsize=8)
plt.show()

# %% [markdown]
# A new cell with bias 0 keeps about half of its memory in each step, for $\sigma(0) = 1/2$. A bias of 1 keeps $\sigma(1) \approx 0.73$ a step: that is why it
# begins there. Where long memories are wanted, one starts higher.
#
# ## 5 · Two layers that know the mode
#
# `model.train()` and `model.eval()` set one flag, `training`, in a module and in all its submodules. They change neither
# parameters nor gradients. Most layers never look at the flag. Two do:
#
# | layer | in training mode | in eval mode |
# |---|---|---|
# | batch normalisation | uses mean and variance of **this batch**, and lets them flow into running ones | uses the running ones, and leaves them alone |
# | dropout | throws numbers away at random, and enlarges the rest | does nothing |
# | layer normalisation | uses mean and variance of **each row** | the same |
#
# Batch normalisation (Ioffe and Szegedy, 2015, [arXiv:1502.03167](https://arxiv.org/abs/1502.03167)) therefore couples the rows of a
# batch: what one row becomes depends on its company. Dropout is from Srivastava et al. (2014,
# https://jmlr.org/papers/v15/srivastava14a.html), layer normalisation from Ba et al. (2016,
# [arXiv:1607.06450](https://arxiv.org/abs/1607.06450)).
#
# ### Exercise 5 · Batch norm and dropout (`modes`, 3 points, 30 minutes, difficulty 2 of 3)
#
# Two classes, each an `nn.Module`; each earns half of the points. Do it without `nn.BatchNorm1d`, `F.batch_norm` and the like: the point is to see what they do. (No test looks.)
#
# `BatchNorm(width, eps, momentum)`, width from 1 to 40, eps from 0.00001 to 0.1, momentum from 0.01 to 1:
#
# - Its parameters are `weight` (ones) and `bias` (zeros), its buffers `running_mean` (zeros) and `running_var` (ones), all
#   of length `width`. It has no other parameter and no other buffer. <!-- rule: registers -->
# - In training mode, for x `[2 to 70 rows, width]`, it returns (x - m) / sqrt(v + eps) * weight + bias, with mean m and variance v of each column
#   of x; v divides by the number of rows. In float32 this is right within 0.01 also where m is 1,000 and v is 1. <!-- rule: batch -->
# - Each such call, also inside `torch.no_grad()` or with frozen parameters, changes the running numbers: new = (1 - momentum) * old + momentum * found. What is found is m, and the
#   variance that divides by the number of rows **minus 1**. <!-- rule: running -->
# - In eval mode, for x `[1 to 70 rows, width]`, the running numbers stand in for m and v, and do not change. <!-- rule: eval -->
# - In both modes gradients reach x (also through m and v in training mode), `weight` and `bias`. Running numbers carry no graph. <!-- rule: gradients -->
# - x stays as it was. Its dtype is that of the module, float32 or float64; its numbers are at most 1,000 in size. A column of equal numbers
#   is 0 (else rounding decides). <!-- rule: unchanged -->
#
# `Dropout(p)`, p from 0 to 0.9:
#
# - In training mode, also inside `torch.no_grad()`, each number of x becomes 0 with probability p, independent of all others and anew in every call, and else x / (1 - p). <!-- rule: drop -->
# - Chance comes from torch's global random numbers, so that a seed repeats it. <!-- rule: seeded -->
# - In eval mode it returns the numbers of x as they are. <!-- rule: drop_eval -->
# - Where x is dropped its gradient is 0, elsewhere 1 / (1 - p). <!-- rule: drop_gradient -->
# - It has no parameters and no buffers, and x stays as it was. x has 1 to 4 axes, numbers of at most 1,000 in size, and dtype float32 or float64, which the result has, too. <!-- rule: drop_plain -->


# %% exercise="modes" minutes=30 difficulty=2
class BatchNorm(nn.Module):
    """Batch normalisation of [rows, width]."""

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        ### BEGIN SOLUTION
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias
        ### END SOLUTION


class Dropout(nn.Module):
    """Throws each number away with probability p, in training mode."""

    def __init__(self, p: float):
        super().__init__()
        ### BEGIN SOLUTION
        self.p = p
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)
        ### END SOLUTION


# %% tests="modes" points=3
@check.scenario
def new_norm(width):
    norm = BatchNorm(width, 1e-5, 0.1)
    parameters = {name: p.detach().clone() for name, p in norm.named_parameters()}
    return parameters, {name: b.clone() for name, b in norm.named_buffers()}, sorted(norm.state_dict())


@check.shared
def modes_of_calls(mode):
    """`training` in each of some calls."""
    return {"training": [True], "eval": [False], "training, then eval": [True, False], "three in training, then eval": [True] * 3 + [False]}[mode]


@check.shared
def norm_numbers(width, seed):
    generator = torch.Generator().manual_seed(seed)
    names = ("weight", "bias", "running_mean", "running_var")
    numbers = {name: torch.randn(width, generator=generator, dtype=torch.float64) for name in names}
    return numbers | {"running_var": numbers["running_var"].exp()}


@check.scenario
def norm_seen(width, eps, momentum, seed, mode, graph, dtype, x):
    """What a batch norm gives and keeps in some calls (with `graph` "no_grad" or "frozen" so), and gradients (float64)."""
    norm = BatchNorm(width, eps, momentum).to(dtype)
    norm.load_state_dict(norm_numbers(width, seed))
    x = x.to(dtype)
    copied, seen = x.clone(), {"results": []}
    norm.requires_grad_(graph != "frozen")
    for turn, training in enumerate(modes_of_calls(mode)):
        norm.train(training)
        with torch.set_grad_enabled(graph != "no_grad"):
            seen["results"].append(norm(copied + turn if turn else x).detach())
    seen["running"] = {name: b.clone() for name, b in norm.named_buffers()}
    seen["graph in the running numbers"] = any(b.requires_grad for b in norm.buffers())
    norm.weight.requires_grad_(), norm.bias.requires_grad_()
    if dtype == torch.float64:
        given = copied.requires_grad_()
        y = norm(given)
        push = torch.linspace(1, 2, y.numel(), dtype=dtype).view_as(y).square()
        wanted = {"weight": norm.weight, "bias": norm.bias, "x": given}
        slopes = torch.autograd.grad(y, list(wanted.values()), push, allow_unused=True) if y.requires_grad else [None] * 3
        seen["gradients"] = dict(zip(wanted, slopes))
        seen["graph in the running numbers"] |= any(b.requires_grad for b in norm.buffers())
    return seen


def norm_by_definition(width, eps, momentum, seed, mode, graph, dtype, x, mistake=""):
    numbers = {name: n.to(dtype) for name, n in norm_numbers(width, seed).items()}
    x = x.to(dtype)

    def applied(x, training):
        mean, var = numbers["running_mean"], numbers["running_var"]
        if training or mistake == "always the batch":
            mean, var = x.mean(0), ((x - x.mean(0)) ** 2).mean(0)
        if training and mistake == "always the running":
            mean, var = numbers["running_mean"], numbers["running_var"]
        if mistake == "n - 1" and training:
            var = var * len(x) / (len(x) - 1)
        if (training or mistake == "eval updates" and len(x) > 1) and mistake != graph:
            share = 1 - momentum if mistake == "momentum" else momentum
            kept_var = ((x - x.mean(0)) ** 2).sum(0) / (len(x) - (mistake != "n"))
            for name, found in (("running_mean", x.mean(0)), ("running_var", kept_var)):
                numbers[name] = ((1 - share) * numbers[name] + share * found).detach()
        if mistake == "constants":
            mean, var = mean.detach(), var.detach()
        below = var.sqrt() + eps if mistake == "eps" else (var + eps).sqrt()
        return (x - mean) / below * numbers["weight"] + numbers["bias"]

    results = []
    for turn, training in enumerate(modes_of_calls(mode)):
        results.append(applied(x + turn, training))
    seen = {"results": results, "running": {name: numbers[name] for name in ("running_mean", "running_var")}, "graph in the running numbers": False}
    if dtype == torch.float64:
        given = x.clone().requires_grad_()
        for name in ("weight", "bias"):
            numbers[name].requires_grad_()
        y = applied(given, mode == "training")
        push = torch.linspace(1, 2, y.numel(), dtype=dtype).view_as(y).square()
        seen["gradients"] = dict(zip(("weight", "bias", "x"), torch.autograd.grad(y, (numbers["weight"], numbers["bias"], given), push)))
    return seen


@check.scenario
def norms_in_turn(settings):
    """Batch norms that are all made, then used in training mode, then in eval mode."""
    norms, seen = [BatchNorm(*setting) for setting in settings], []
    for norm, (width, *_) in zip(norms, settings):
        norm.train()(torch.arange(4.0 * width).view(4, width) ** 2)
    return [norm.eval()(torch.ones(1, width)).detach() for norm, (width, *_) in zip(norms, settings)]


@check.scenario
def far_from_zero(x):
    """The result and the running variance of a new batch norm for such numbers."""
    norm = BatchNorm(x.shape[1], 1e-5, 1.0)
    return norm(x).detach(), norm.running_var.clone()


def check_far_from_zero(seed):
    z = torch.randn(64, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    z = (z - z.mean(0)) / z.std(0, correction=0)
    for mean in (1000, -1000):
        (found, var), what = far_from_zero((mean + z).float()), f"of a new BatchNorm, for columns with mean {mean} and variance 1 in float32"
        hint = "mean of squares minus square of the mean loses all digits here: take the mean away first"
        check.equal(found, z.float(), f"the result {what}", hint, rtol=0, atol=0.01)
        check.equal(var, torch.full((9,), 64 / 63), f"running_var (momentum 1) {what}", hint, rtol=0, atol=0.01)


def check_batch_norm():
    check.apart(norms_in_turn, [[3, 1e-5, 0.1], [4, 1e-1, 0.5]], "the result in eval mode, after training mode, of a BatchNorm made from (width, eps, momentum) =")
    for width in (1, 40):
        parameters, buffers, names = new_norm(width)
        check.equal(parameters, {"weight": torch.ones(width), "bias": torch.zeros(width)}, f"the parameters of a BatchNorm({width}, ...)")
        expected = {"running_mean": torch.zeros(width), "running_var": torch.ones(width)}
        check.equal(buffers, expected, f"the buffers of a BatchNorm({width}, ...)", "`register_buffer`: it is saved and moved, and not trained")
        check.equal(names, sorted([*parameters, *expected]), f"the names in state_dict() of a BatchNorm({width}, ...)")
    for dtype, rtol in ((torch.float64, 1e-7), (torch.float32, 2e-3)):
        for rows, modes in (((2, 70), ("training", "training, then eval", "three in training, then eval")), ((1, 70), ("eval",))):
            domain = {
                "width": cases.size("width"),
                "eps": cases.choice(1e-5, 1e-3, 0.1),
                "momentum": cases.choice(0.1, 0.01, 0.5, 1.0),
                "seed": cases.integer(1, 10**6),
                "mode": cases.choice(*modes),
                "graph": cases.choice("as usual", "no_grad", "frozen"),
                "dtype": cases.choice(dtype),
                "x": cases.tensor("rows", "width", dtypes=("float64",), without=("equal",), scale=(1e-2, 1e2)),
            }
            mistakes = {
                "in eval mode the running numbers stand in for those of the batch": "always the batch",
                "in training mode those of this batch are used": "always the running",
                "in eval mode the running numbers do not change": "eval updates",
                "what normalises the batch divides by the number of rows; only the running variance by one less": "n - 1",
                "the running variance divides by the number of rows minus 1": "n",
                "the mode decides whether running numbers change, not `torch.no_grad()`": "no_grad",
                "the mode decides whether running numbers change, not `requires_grad` of the parameters": "frozen",
                "momentum is the share of the new, (1 - momentum) that of the old": "momentum",
                "eps is added to the variance, under the root": "eps",
                "mean and variance of the batch depend on x: they belong to its gradient (no `detach`)": "constants",
            }
            check.agrees(
                norm_seen,
                norm_by_definition,
                cases.draw(seeds, domain, 6, rows=rows, width=(1, 40)),
                "a BatchNorm",
                "the columns' own mean and variance in training mode, the running ones in eval mode",
                causes={text: lambda *case, m=m: norm_by_definition(*case, mistake=m) for text, m in mistakes.items()},
                rtol=rtol,
                atol=rtol,
            )
    for seed in seeds:
        check_far_from_zero(seed)


@check.scenario
def dropped(p, training, x, seed):
    """Two results of one module with one seed before the first, the first again, inside `no_grad` and with a graph, and the gradient for that."""
    layer = Dropout(p).train(training)
    torch.manual_seed(seed)
    first, second = layer(x).detach(), layer(x).detach()
    torch.manual_seed(seed)
    with torch.no_grad():
        quiet = layer(x)
    torch.manual_seed(seed)
    given = x.clone().requires_grad_()
    y = layer(given)
    slope = torch.autograd.grad(y, given, torch.ones_like(y), allow_unused=True)[0] if y.requires_grad else None
    return {"first": first, "second": second, "again": y.detach(), "quiet": quiet, "gradient": slope, "kept": sorted(layer.state_dict())}


@check.scenario
def kept_in_calls(p, count, seed):
    """[400, count]: which of some ones a dropout keeps in each of 400 calls."""
    layer = Dropout(p)
    torch.manual_seed(seed)
    return torch.stack([layer(torch.ones(count)).detach() != 0 for _ in range(400)])


@check.scenario
def dropouts_in_turn(settings):
    layers = [Dropout(p) for p in settings]
    torch.manual_seed(1)
    return [float(layer(torch.ones(100, 40)).max()) for layer in layers]


def check_independent(mask, p, what):
    """Each entry of a mask [...] is True with probability 1 - p, whatever the others are. Limits: passed once in 10**8 or less."""
    n, hint = mask.numel(), "each number is dropped by itself, with probability p"
    share, spread = float((~mask).double().mean()), (p * (1 - p) / n) ** 0.5
    check.between(share, p - 6 * spread, p + 6 * spread, f"the share of zeros in training mode {what}", hint)
    if p == 0:
        return
    z = (mask.double() - (1 - p)) / (p * (1 - p)) ** 0.5
    for axis, length in enumerate(mask.shape):
        if length > 1:
            both = float((z.narrow(axis, 1, length - 1) * z.narrow(axis, 0, length - 1)).mean())
            limit = 8 * (length / (length - 1) / n) ** 0.5
            check.between(both, -limit, limit, f"the correlation of being kept between neighbours along axis {axis}, in training mode {what}", hint)
        lines = n // length
        if length > 1 and lines > 100:  # zeros in each line along this axis: as uneven as chance makes them
            counts = (z.sum(axis) / length**0.5).square().mean()
            limit = 6 * ((2 + 1 / (p * (1 - p)) / length) / lines) ** 0.5
            hint_too = "an exact share in each call, or in each row, leaves nothing to chance"
            check.between(float(counts), 1 - limit, 1 + limit, f"the variance of the number of zeros along axis {axis}, over that of chance, in training mode {what}", hint_too)
    spectrum = torch.fft.rfft(z.flatten()).abs().square()
    shifted = torch.fft.irfft(spectrum, n)[1:].abs().max() / n
    check.between(float(shifted), 0, 8 / n**0.5, f"the correlation of being kept between places that lie some fixed distance apart, in training mode {what}", hint)


def check_dropout():
    check.apart(dropouts_in_turn, [0.0, 0.5, 0.75], "the largest number that a Dropout makes of ones, made from p =")
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        for p in (0.5, 0.0, 0.1, 0.9):
            for shape, dtype in (
                *(((300, 200), torch.float32), ((5,), torch.float64), ((2, 3, 4, 5), torch.float32), ((1, 1), torch.float64)),
                *(((30_000,), torch.float32), ((10, 30, 100), torch.float64), ((20, 15, 10, 10), torch.float32)),
            ):
                x, what = torch.randn(shape, generator=generator, dtype=dtype), f"of a Dropout({p}) for {str(dtype).removeprefix('torch.')} {list(shape)}"
                seen, copied = check.after(dropped, p, False, x, seed)
                check.equal(seen["first"], x, f"the result in eval mode {what}", "no number is dropped, none enlarged", rtol=0, atol=0)
                check.equal(seen["gradient"], torch.ones_like(x), f"the gradient in eval mode {what}")
                seen, copied = check.after(dropped, p, True, x, seed)
                check.equal(copied[2], x, f"x after the call {what}", "write into a tensor of your own", rtol=0, atol=0)
                check.equal(seen["kept"], [], f"the names in state_dict() {what}")
                check.shape(seen["first"], shape, f"the result {what}")
                mask = seen["first"] != 0
                causes = {"what is kept is divided by 1 - p": mask * x, "what is kept is divided by 1 - p, not by p": mask * x / p if p else x}
                check.equal(seen["first"], mask * x / (1 - p), f"in training mode, where it is not 0, the result {what}", causes=causes)
                check.equal(seen["again"], seen["first"], f"with the same torch.manual_seed, the result {what}", "draw with torch's global random numbers")
                check.equal(seen["quiet"], seen["first"], f"inside `torch.no_grad()`, with the same seed, the result {what}", "the mode of the module decides, not the gradient mode")
                check.equal(seen["gradient"], mask / (1 - p) * torch.ones_like(x), f"the gradient of x {what}", "the same mask as in the result")
                if math.prod(shape) < 1000:
                    continue
                check_independent(mask, p, what)
                if p:
                    both, kept = float((mask & (seen["second"] != 0)).double().mean()), (1 - p) ** 2
                    hint = "each number is dropped by itself, anew in each call"
                    check.between(both, kept - 0.02, kept + 0.02, f"the share of places where a number and itself in the next call are both kept {what}", hint)
        for p, count in ((0.5, 10), (0.1, 9), (0.9, 1)):
            check_independent(kept_in_calls(p, count, seed), p, f"of a Dropout({p}) for float32 [{count}], in 400 calls (the first axis)")


with check.exercise("modes"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"BatchNorm": check_batch_norm, "Dropout": check_dropout})
check.points(3)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Which four vectors does a batch norm keep, and which of them does a gradient step change? What does the flag `self.training` decide? For
# dropout: what would the mean of the result be without the division?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `x.mean(0)`, `x.var(0, correction=0)`, `Tensor.detach()`, `Tensor.lerp(end, share)` or plain arithmetic; `torch.rand_like(x)`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# mean, var = self.running_mean, self.running_var
# if self.training:
#     mean, var = x.mean(0), x.var(0, correction=0)
#     self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mean.detach()
#     ...                                  # the same with var * n / (n - 1)
# return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias
#
# keep = torch.rand_like(x) >= self.p
# ```
# </details>

# %%
torch.manual_seed(0)
figure, panel = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
for momentum in (0.01, 0.1, 0.5):
    norm, curve = BatchNorm(1, momentum=momentum), []
    for _ in range(120):
        norm(5 + 2 * torch.randn(16, 1))
        curve.append(norm.running_mean.item())
    panel.plot(range(1, 121), curve, label=f"momentum {momentum}")
panel.axhline(5, color="grey", linestyle=":", label="the true mean")
panel.set(xlabel="batch of 16", ylabel="running_mean", title="what eval mode will use")
panel.legend(fontsize=8)
plt.show()

# %% [markdown]
# A small momentum is slow to arrive, a large one never settles. A model that is put into eval mode after a few batches normalises with
# numbers that are still on their way from 0: it can be good in training mode and useless in eval mode.
#
# ## 6 · Write the tests
#
# A normalisation layer hides its bugs well, because the next layer adapts to whatever comes. A wrong axis or a lost `eps` costs a few points of accuracy, and no
# error is raised. So it needs tests that know what they look for.
#
# ### Exercise 6 · Tests for layer normalisation (`check_layer_norm`, 3 points, 30 minutes, difficulty 3 of 3)
#
# A colleague writes `layer_norm(x, weight, bias, eps)`. This is what it promises for x with 1 to 3 axes, none of them empty, the last one of length 2 or more; `weight` and
# `bias` with one axis, as long as x's last, their numbers side by side in memory. Those of x may lie in any order, but none twice. All three have one dtype, float32 or float64; eps is from 0.00001 to 1. Numbers of x are
# at most 10,000 in size, those of `weight` and `bias` at most 10. In float32, |m| is at most 100 * sqrt(v + eps), but for the third and fourth promise.
#
# - Along the last axis it returns (x - m) / sqrt(v + eps) * weight + bias, with mean m and variance v of these numbers; v divides by how many they
#   are. <!-- rule: value -->
# - What becomes of one vector along the last axis does not depend on others. <!-- rule: rows -->
# - A vector of equal whole numbers becomes `bias`. <!-- rule: equal -->
# - In float32 it is right within 0.01 also where |m| is up to 4,000, v is 1 and `weight` at most 2 in size. <!-- rule: exact -->
# - Shape and dtype are those of x. <!-- rule: dtype -->
# - In float64, gradients of x, `weight` and `bias` are right; `torch.autograd.gradcheck` finds no fault. <!-- rule: gradients -->
# - x stays as it was. <!-- rule: unchanged -->
#
# Write `check_layer_norm(layer_norm)`.
#
# - It raises an error (an `assert`, say) if a promise is broken. <!-- rule: raises -->
# - It raises none if all are kept. Correct ones may differ from the exact values and gradients by one millionth (float64) or one thousandth (float32) of the largest size in the result, or in that gradient; where this size is below 1, of 1. Their result may lie in any order in memory. Where nothing is promised they do as they like. <!-- rule: no_false_alarm -->
#
# It is run on correct implementations and on 21 broken ones, some of them hidden. Turning down a correct one costs all points; else the
# share of the broken ones that you catch is the share of the points. Up to 1,000 calls end in time.


# %% exercise="check_layer_norm" minutes=30 difficulty=3 seconds=120
def check_layer_norm(layer_norm) -> None:
    """Raise an error if `layer_norm(x, weight, bias, eps)` breaks a promise."""
    x, weight, bias = torch.randn(3, 4), torch.ones(4), torch.zeros(4)
    ### BEGIN SOLUTION
    for axes, dtype in ((1, torch.float64), (3, torch.float64), (3, torch.float32)):
        x = 4000 + torch.randn([6] * axes, dtype=dtype)
        weight, bias = torch.rand(2, 6, dtype=dtype) + 1
        expected = F.layer_norm(x.double(), [6], weight.double(), bias.double(), 1)
        for given in (x, torch.stack([x, x], -1)[..., 0]):
            found = layer_norm(given, weight, bias, 1)
            assert found.dtype == dtype and found.shape == x.shape, "dtype or shape"
            assert (found - expected).abs().max() < 0.02, "value"
            assert torch.equal(given, x), "x was changed"
        assert (layer_norm(torch.full_like(x, 3), weight, bias, 1) - bias).abs().max() < 0.02, "equal numbers"
    given = [t.double().requires_grad_() for t in (x[0], weight, bias)]
    torch.autograd.gradcheck(lambda *tensors: layer_norm(*tensors, 1), given, fast_mode=True)
    ### END SOLUTION


# %% tests="check_layer_norm" points=3
def by_library(x, weight, bias, eps):
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def by_hand(x, weight, bias, eps):
    z = x - x.mean(-1, keepdim=True)
    return z * (z.square().mean(-1, keepdim=True) + eps).rsqrt() * weight + bias


def within_the_promise(x, weight, bias, eps):
    if x.dtype not in (torch.float32, torch.float64) or not 1 <= x.ndim <= 4 or x.shape[-1] < 2 or x.numel() == 0:
        raise ValueError("nothing is promised for such an x")
    if not 1e-5 <= eps <= 1 or weight.shape != x.shape[-1:] or bias.shape != x.shape[-1:] or x.abs().max() > 10_000:
        raise ValueError("nothing is promised for such arguments")
    return by_hand(x.double(), weight.double(), bias.double(), eps).to(x.dtype)


def at_the_limit(x, weight, bias, eps):
    return by_hand(x, weight, bias, eps) * (1 + (9e-7 if x.dtype == torch.float64 else 4e-4))


def in_other_memory(x, weight, bias, eps):
    found = by_hand(x, weight, bias, eps)
    return torch.stack([found, found], -1)[..., 0]


def one_less(x, weight, bias, eps):
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + eps).sqrt() * weight + bias


def eps_outside(x, weight, bias, eps):
    z = x - x.mean(-1, keepdim=True)
    root = torch.where(z.any(-1, keepdim=True), z.square().mean(-1, keepdim=True), 1).sqrt()
    return z / (root + eps) * weight + bias


def own_eps(x, weight, bias, eps):
    return by_library(x, weight, bias, 1e-5)


def whole_tensor(x, weight, bias, eps):
    z = x - x.mean()
    return z / (z.square().mean() + eps).sqrt() * weight + bias


def over_rows(x, weight, bias, eps):
    if x.ndim == 1:
        return by_library(x, weight, bias, eps)
    z = x - x.mean(0)
    return z / (z.square().mean(0) + eps).sqrt() * weight + bias


def without_mean(x, weight, bias, eps):
    z = x - x.mean(-1, keepdim=True)
    return x / (z.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias


def difference_of_squares(x, weight, bias, eps):
    mean = x.mean(-1, keepdim=True)
    var = (x.square().mean(-1, keepdim=True) - mean.square()).clamp(min=0)
    return (x - mean) / (var + eps).sqrt() * weight + bias


def without_weight(x, weight, bias, eps):
    return by_library(x, None, bias, eps)


def constants(x, weight, bias, eps):
    mean, var = x.detach().mean(-1, keepdim=True), x.detach().var(-1, correction=0, keepdim=True)
    return (x - mean) / (var + eps).sqrt() * weight + bias


def bias_is_constant(x, weight, bias, eps):
    return by_library(x, weight, bias.detach(), eps)


def overwrites(x, weight, bias, eps):
    found = by_library(x, weight, bias, eps)
    x.data.copy_(found)
    return found


def single(x, weight, bias, eps):
    return by_library(x.float(), weight.float(), bias.float(), eps)


with check.exercise("check_layer_norm"):
    right = {"F.layer_norm": by_library, "written by hand": by_hand, "strict where nothing is promised, exact elsewhere": within_the_promise}
    right |= {"as far from exact as it may be": at_the_limit, "with a result in another order in memory": in_other_memory}
    wrong = {
        "divides the variance by one less": one_less,
        "adds eps outside of the root": eps_outside,
        "has an eps of its own": own_eps,
        "normalises the whole tensor at once": whole_tensor,
        "normalises over the first axis": over_rows,
        "forgets to take the mean away": without_mean,
        "takes the variance as a difference of squares, which is lost at 4,000": difference_of_squares,
        "leaves out weight": without_weight,
        "treats mean and variance as constants in the gradient": constants,
        "cuts bias from the graph": bias_is_constant,
        "writes its result into x": overwrites,
        "returns float32 for float64": single,
    }

    ### BEGIN HIDDEN TESTS
    def in_parts(x, weight, bias, eps):
        mean = x.sum(-1, keepdim=True) / x.shape[-1]
        var = (x - mean).pow(2).sum(-1, keepdim=True) / x.shape[-1]
        return torch.addcmul(bias, (x - mean) / torch.sqrt(var + eps), weight)

    def without_bias(x, weight, bias, eps):
        return by_library(x, weight, None, eps)

    def two_last_axes(x, weight, bias, eps):
        if x.ndim < 3:
            return by_library(x, weight, bias, eps)
        z = x - x.mean((-2, -1), keepdim=True)
        return z / (z.square().mean((-2, -1), keepdim=True) + eps).sqrt() * weight + bias

    def second_axis(x, weight, bias, eps):
        if x.ndim < 3:
            return by_library(x, weight, bias, eps)
        z = x - x.mean(1, keepdim=True)
        return z / (z.square().mean(1, keepdim=True) + eps).sqrt() * weight + bias

    def zeros_for_equal(x, weight, bias, eps):
        equal = (x == x[..., :1]).all(-1, keepdim=True)
        return torch.where(equal, 0, by_library(x, weight, bias, eps))

    def bias_first(x, weight, bias, eps):
        return (by_library(x, None, None, eps) + bias) * weight

    def weight_is_constant(x, weight, bias, eps):
        return by_library(x, weight.detach(), bias, eps)

    def double(x, weight, bias, eps):
        return by_library(x.double(), weight.double(), bias.double(), eps)

    def adds_an_axis(x, weight, bias, eps):
        found = by_library(x, weight, bias, eps)
        return found[None] if x.ndim == 1 else found

    def by_memory(x, weight, bias, eps):
        strides = [math.prod(x.shape[i + 1 :]) for i in range(x.ndim)]
        return by_library(x.as_strided(x.shape, strides), weight, bias, eps)

    right |= {"in parts": in_parts}
    wrong |= {
        "leaves out bias": without_bias,
        "normalises the last two axes together where there are three or more": two_last_axes,
        "normalises the second axis where there are three or more": second_axis,
        "gives 0 in place of bias for equal numbers": zeros_for_equal,
        "multiplies the bias by weight, too": bias_first,
        "cuts weight from the graph": weight_is_constant,
        "returns float64 for float32": double,
        "returns shape [1, n] where x has shape [n]": adds_an_axis,
        "reads x as if its numbers lay one behind the other in memory": by_memory,
    }
    ### END HIDDEN TESTS
    check.catches(check_layer_norm, right, wrong)
check.points(3)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# With `weight` all ones and `bias` all zeros, which bugs cannot be seen? With `eps` = 0.00001? With rows whose mean is 0? With one
# shape only? Go through the promises, and break each in your mind.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# Compute what you expect in float64. `torch.autograd.gradcheck` takes float64 inputs that require gradients.
# `torch.stack([x, x], -1)[..., 0]` has the numbers of x in another memory.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# for axes, dtype in ((1, torch.float64), (3, torch.float64), ...):
#     x = 4000 + torch.randn([6] * axes, dtype=dtype)
#     weight, bias = torch.rand(2, 6, dtype=dtype) + 1
#     expected = F.layer_norm(x.double(), [6], weight.double(), bias.double(), 1)
#     for given in (x, torch.stack([x, x], -1)[..., 0]):
#         ...      # the call; dtype, shape, values; `given` unchanged
#     ...          # a vector of equal numbers
# torch.autograd.gradcheck(lambda *tensors: layer_norm(*tensors, 1), ...)
# ```
# </details>

# %% [markdown]
# ## 7 · Where to begin
#
# PyTorch fills a new `nn.Linear` with numbers that lie evenly between $-1/\sqrt{d}$ and $1/\sqrt{d}$, d being the number of inputs. Their variance is
# $1/(3d)$. A ReLU network wants $2/d$ (He et al., 2015, [arXiv:1502.01852](https://arxiv.org/abs/1502.01852)), six times as much, if its signals shall keep
# their size from layer to layer. With batch norm after each layer it hardly matters; without, it decides how deep a network can be.
#
# ### Exercise 7 · Starting weights (`initialise`, 2 points, 15 minutes, difficulty 1 of 3)
#
# `initialise(model, generator)` changes a model in place. The model is any module, also an `nn.Linear` itself, in float32 or float64; no two of its layers share a
# parameter. `generator` is a `torch.Generator` on the CPU, as the model is.
#
# - The weight of each `nn.Linear` and each `nn.Conv2d` (`isinstance` decides), wherever it is in the model, is drawn anew: each number by itself, normally distributed with mean 0 and
#   standard deviation $\sqrt{2 / d}$. d is how many numbers of the input go into one output. (A convolution with `groups` reads fewer channels.) <!-- rule: drawn -->
# - Their biases, where they have one, are 0. <!-- rule: biases -->
# - All other parameters and all buffers keep their numbers. <!-- rule: others -->
# - Every parameter is the same object as before, with the same dtype and `requires_grad`. Frozen ones are drawn anew like others. <!-- rule: objects -->
# - All chance comes from `generator`: the same state of it gives the same numbers, a second call goes on with it and gives others, and the global
#   random numbers are not touched. <!-- rule: generator -->
#
# What it returns is ignored.


# %% exercise="initialise" minutes=15 difficulty=1
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """He initialisation of all linear layers and convolutions, in place."""
    ### BEGIN SOLUTION
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    ### END SOLUTION


# %% tests="initialise" points=2
@check.shared
def model_to_start(kind, dtype):
    """A model whose numbers are all unusual."""
    if kind == "one linear layer":
        model = nn.Linear(300, 200)
    elif kind == "convolutions":
        model = nn.Sequential(
            nn.Conv2d(8, 60, 5), nn.BatchNorm2d(60), nn.ReLU(), nn.Conv2d(60, 60, 3, groups=4, bias=False), nn.Conv2d(60, 60, 3, groups=4, bias=False)
        )
    else:
        inner = nn.Sequential(nn.Linear(90, 120), nn.LayerNorm(120), nn.Linear(120, 90, bias=False), nn.ReLU(), nn.Linear(90, 120))
        model = nn.ModuleDict({"inner": nn.ModuleList([inner]), "table": nn.Embedding(9, 90), "line": nn.Conv1d(3, 4, 5)})
        model["frozen"] = nn.Linear(90, 70).requires_grad_(False)
        model["once"] = nn.Sequential(nn.Conv2d(6, 50, (3, 5), stride=2), nn.BatchNorm2d(50, affine=False), nn.Linear(1, 4000))
        model["others"] = nn.ModuleList([nn.ConvTranspose2d(2, 3, 3), nn.Conv3d(2, 3, 2), nn.Bilinear(2, 3, 4), nn.LSTM(2, 3)])
        model["attention"] = nn.MultiheadAttention(36, 2)  # its out_proj is of a class derived from nn.Linear
        model["derived"] = type("OwnConv2d", (nn.Conv2d,), {})(4, 30, 3)
        model.scale = nn.Parameter(torch.ones(7, 3))
    for tensor in model.state_dict().values():
        tensor.fill_(3)
    return model.to(dtype)


@check.scenario
def started(kind, dtype, seed, calls=1):
    """Numbers by name after some calls of `initialise`, whether they are the same objects, and the states before and after."""
    model, generator = model_to_start(kind, dtype), torch.Generator().manual_seed(seed)
    objects = [id(p) for p in model.parameters()]
    before = {**check.module_state(model), **check.random_state()}
    for _ in range(calls):
        initialise(model, generator)
    same = objects == [id(p) for p in model.parameters()]
    return {name: t.detach().clone() for name, t in model.state_dict().items()}, same, before, {**check.module_state(model), **check.random_state()}


@check.scenario
def small_layers(inputs, outputs, seed):
    """[300, numbers]: the weights of 300 small layers."""
    model = nn.Sequential(*(nn.Linear(inputs, outputs) for _ in range(300)))
    initialise(model, torch.Generator().manual_seed(seed))
    return torch.stack([layer.weight.detach().flatten() for layer in model])


def check_free(z, what):
    """Mean and mean square of each row [rows, numbers] vary as chance makes them. Limits: passed once in 10**8 or less."""
    n = z.shape[1]
    hint = "each number is drawn by itself: nothing brings those of a weight to a mean or a deviation of their own"
    check.true(bool(z.isfinite().all()), f"not all weights in {what} are finite; {hint}.")
    for name, values in (("mean", z.sum(1) / n**0.5), ("mean square", (z.square().sum(1) - n) / (2 * n) ** 0.5)):
        if name == "mean" or n > 9:
            check.between(values.square().mean(), 0.4, 2.5, f"how much the {name} varies in {what}, over what chance makes", hint)


def check_start(kind, dtype, seed):
    numbers, same, before, after = started(kind, dtype, seed)
    what = f"{kind} ({str(dtype).removeprefix('torch.')})"
    model = model_to_start(kind, dtype)
    kept, shapes = {name: t.clone() for name, t in model.state_dict().items()}, {}
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            prefix = f"{name}." if name else ""
            groups = getattr(module, "groups", 1)
            fan = (module.in_features if isinstance(module, nn.Linear) else module.in_channels // groups) * math.prod(getattr(module, "kernel_size", ()))
            shapes[prefix + "weight"] = fan, groups
            kept.pop(prefix + "weight")
            if module.bias is not None:
                kept[prefix + "bias"].zero_()
    check.unchanged(after, before, what, "in place, and with the generator that is given")
    check.true(same, f"a parameter of {what} is another object than before: an optimizer that was made earlier would train the old one.")
    for name, expected in kept.items():
        check.equal(numbers.get(name), expected, f"`{name}` of {what}", "biases of linear layers and of 2-d convolutions become 0, all else stays", rtol=0, atol=0)
    for name, (fan, groups) in shapes.items():
        drawn = numbers[name].double() * (fan / 2) ** 0.5
        n, subject = drawn.numel(), f"`{name}` of {what}, over sqrt(2 / {fan})"
        hint = "torch.nn.init.kaiming_normal_ does it, with mode fan_in and nonlinearity relu"
        if groups > 1:
            hint = f"with {groups} groups one output reads a {groups}th of the channels: weight[0].numel() numbers"
        check.between(drawn.std(), 1 - 6 / (2 * n) ** 0.5, 1 + 6 / (2 * n) ** 0.5, f"the standard deviation of {subject},", hint)
        check.between(drawn.mean(), -6 / n**0.5, 6 / n**0.5, f"the mean of {subject},", hint)
        beyond = float((drawn.abs() > 2).double().mean())
        spread = 6 * (0.0455 * 0.9545 / n) ** 0.5
        check.between(beyond, 0.0455 - spread, 0.0455 + spread, f"the share of numbers beyond 2 standard deviations in {subject},", "4.6 % of normally distributed ones; none of evenly distributed ones")
        check.true(len(drawn.unique()) > 0.9 * n, f"numbers in {subject}, repeat: each is drawn by itself.")
    return numbers, shapes, what


with check.exercise("initialise"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    for seed in seeds:
        for kind in ("one linear layer", "convolutions", "a nested model"):
            numbers, shapes, what = check_start(kind, torch.float64 if kind == "convolutions" else torch.float32, seed)
            if kind == "one linear layer":
                z = numbers["weight"].double() * 150**0.5
                check_free(z, f"the rows of `weight` of {what}")
                check_free(z.T, f"the columns of `weight` of {what}")
            dtype = numbers[list(shapes)[0]].dtype
            again, other, second_call = (started(kind, dtype, *setting)[0] for setting in ((seed,), (seed + 1,), (seed, 2)))
            for name in shapes:
                hint = "draw with `generator=generator`"
                check.equal(again[name], numbers[name], f"with the same seed of the generator, `{name}` of {what}", hint, rtol=0, atol=0)
                check.true(not torch.equal(other[name], numbers[name]), f"with another seed of the generator `{name}` of {what} is the same.")
                hint = "draw from the generator itself, so that it goes on"
                check.true(not torch.equal(second_call[name], numbers[name]), f"a second call with the same generator gives the same numbers in `{name}` of {what}: {hint}.")
                for second in shapes:
                    alike = name != second and numbers[name].shape == numbers[second].shape and torch.equal(numbers[name], numbers[second])
                    check.true(not alike, f"`{name}` and `{second}` of {what} start with the same numbers: each is drawn by itself.")
        for inputs, outputs in ((1, 1), (2, 1), (3, 4)):
            z = small_layers(inputs, outputs, seed).double() * (inputs / 2) ** 0.5
            check_free(z, f"the weights of 300 nn.Linear({inputs}, {outputs})")
check.points(2)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Which modules of the model are meant, and how do you reach those that lie inside others? What may be missing?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `model.modules()`, `isinstance`, `nn.init.kaiming_normal_(tensor, nonlinearity="relu", generator=...)`, `nn.init.zeros_`. All functions of `nn.init` work
# in place and without a graph.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# for module in model.modules():
#     if isinstance(module, (nn.Linear, nn.Conv2d)):
#         nn.init.kaiming_normal_(module.weight, ...)
#         if module.bias is not None:
#             ...
# ```
# </details>

# %%
def sizes_by_layer(start, depth: int = 40, width: int = 200) -> list[float]:
    """Root mean square of a signal of size 1 after each layer of a ReLU network that `start` prepares."""
    torch.manual_seed(0)
    layers = [nn.Linear(width, width, bias=False) for _ in range(depth)]
    start(nn.Sequential(*layers))
    x, sizes = torch.randn(200, width), []
    with torch.no_grad():
        for layer in layers:
            x = F.relu(layer(x))
            sizes.append(float(x.square().mean().sqrt()))
    return sizes


def too_small(model):
    for layer in model:
        nn.init.normal_(layer.weight, std=0.01)


starts = {
    "PyTorch's own: variance 1 / (3d)": lambda model: None,
    "yours: variance 2 / d": lambda model: initialise(model, torch.Generator().manual_seed(0)),
    "standard deviation 0.01": too_small,
}
sizes_seen = {name: sizes_by_layer(start) for name, start in starts.items()}
figure, panel = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
for name, sizes in sizes_seen.items():
    panel.semilogy(range(1, 41), sizes, label=name)
panel.set(xlabel="layer", ylabel="size of the signal", title="a new ReLU network of width 200, without normalisation and biases", ylim=(1e-14, 10))
panel.legend(fontsize=8)
plt.show()

# %% [markdown]
# With PyTorch's own start each layer leaves about 0.4 of the signal, the square root of a sixth, and after forty layers there is nothing to learn from. So the
# default is no recommendation for deep networks without normalisation.
#
# ## 8 · In a file and back
#
# `torch.save` writes with Python's pickle, and a pickle can run any program when it is read. `torch.load(path, weights_only=True)`, the default since PyTorch 2.6, admits tensors and
# plain data such as numbers, strings, lists and dicts, and runs nothing. So a file should hold the **state** of a model and the **settings** that build it, never the model object.
#
# This is the network that will be saved.


# %%
class Classifier(nn.Module):
    """Linear layers with batch norm, ReLU and dropout between them; `sizes`: inputs, hidden ones, outputs."""

    def __init__(self, sizes: list[int]):
        super().__init__()
        self.sizes = list(sizes)
        self.hidden = nn.ModuleList()
        for inputs, outputs in zip(sizes[:-2], sizes[1:-1]):
            self.hidden.append(nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(), nn.Dropout(0.2)))
        self.last = nn.Linear(*sizes[-2:])

    def forward(self, x):
        for layer in self.hidden:
            x = layer(x)
        return self.last(x)


# %% [markdown]
# ### Exercise 8 · Save and load (`save_and_load`, 2 points, 15 minutes, difficulty 1 of 3)
#
# `save(model, path)`: model is a `Classifier` on the CPU, in float32 or float64, each of its modules in training mode or not, with 2 to 5 sizes from 2 to 20; `path` is the name of a file that may exist already.
#
# - The file can be read with `torch.load(path, weights_only=True)`. It holds a dict with the keys `"sizes"` (the list of sizes) and `"state"` (the model's `state_dict()`). <!-- rule: file -->
# - The model stays as it was, the mode of each module too. <!-- rule: unchanged -->
#
# `load(path)`: a file as `save` writes it, or one with the harm that the last two points name.
#
# - It returns a new `Classifier` with these sizes, and with the same numbers in all parameters and buffers, bit for bit and in the dtype in which they were saved. <!-- rule: numbers -->
# - All of it is in eval mode, and all parameters require a gradient. <!-- rule: ready -->
# - Two calls give two models that share no memory. <!-- rule: apart -->
# - A file with a program or a whole `nn.Module` in it is refused with `pickle.UnpicklingError`, and no program in it runs. <!-- rule: safe -->
# - If `"state"` lacks a parameter, a `running_mean` or a `running_var` (nothing is promised for `num_batches_tracked`), or has a name that the model does not have, it raises a `RuntimeError`. <!-- rule: strict -->


# %% exercise="save_and_load" minutes=15 difficulty=1
def save(model: Classifier, path: str) -> None:
    """Sizes and state of a model in a file."""
    ### BEGIN SOLUTION
    torch.save({"sizes": model.sizes, "state": model.state_dict()}, path)
    ### END SOLUTION


def load(path: str) -> Classifier:
    """The model in a file, in eval mode."""
    ### BEGIN SOLUTION
    content = torch.load(path, weights_only=True)
    model = Classifier(content["sizes"])
    model.load_state_dict(content["state"], assign=True)
    return model.eval()
    ### END SOLUTION


# %% tests="save_and_load" points=2
@check.shared
def model_to_save(sizes, dtype, training, seed):
    """A model with numbers of its own, and batch norms that have seen something."""
    model = Classifier(sizes).to(dtype).train(training is not False)
    if training == "in part":  # as where some layers are to be left alone
        for module in list(model.modules())[2::2]:
            module.eval()
    generator = torch.Generator().manual_seed(seed)
    for tensor in model.state_dict().values():
        tensor.copy_((3 * torch.rand(tensor.shape, generator=generator, dtype=torch.float64) + 1).to(tensor.dtype))
    return model


@check.scenario
def kept_file(sizes, dtype, training, seed):
    """What `save` writes, and the model before and after."""
    model, path = model_to_save(sizes, dtype, training, seed), os.path.join(check.folder(), "kept.pt")
    save(model_to_save([2, 2], dtype, training, 1), path)
    before = check.module_state(model, values=True)
    save(model, path)
    after = check.module_state(model, values=True)
    with torch.no_grad():
        model.last.weight.zero_()  # the file knows nothing of this
    try:
        content = torch.load(path, weights_only=True)
    except pickle.UnpicklingError:
        return "refused", before, after
    plain = {key: dict(value) if hasattr(value, "keys") else value for key, value in content.items()} if isinstance(content, dict) else content
    return plain, before, after


@check.scenario
def read_back(sizes, dtype, training, seed):
    """What `load` makes of a right file, twice."""
    model, path = model_to_save(sizes, dtype, training, seed), os.path.join(check.folder(), "right.pt")
    torch.save({"sizes": list(sizes), "state": model.state_dict()}, path)
    one, two = load(path), load(path)
    with torch.no_grad():
        for tensor in two.state_dict().values():
            tensor.zero_()
    return {
        "is a Classifier": type(one) is Classifier,
        "sizes": one.sizes,
        "state": {name: tensor.clone() for name, tensor in one.state_dict().items()},
        "modules in training mode": [name for name, module in one.named_modules() if module.training],
        "parameters without gradient": [name for name, p in one.named_parameters() if not p.requires_grad],
        "number of parameters": len(list(one.parameters())),
    }


@check.scenario
def refused(sizes, harm):
    """The kind of error of `load` on a file with some harm in it, and whether a program in it ran."""
    folder = check.folder()
    path, mark = os.path.join(folder, "harm.pt"), os.path.join(folder, f"ran {harm}")

    class Program:
        def __reduce__(self):
            return os.mkdir, (mark,)

    model = model_to_save(sizes, torch.float32, True, 5)
    content = {"sizes": list(sizes), "state": model.state_dict()}
    if harm == "a program beside the state":
        content["note"] = Program()
    if harm == "a program in the state":
        content["state"]["last.more"] = Program()
    if harm == "a whole model":
        content["state"]["last.more"] = torch.nn.Linear(1, 1)
    if harm == "a name missing":
        del content["state"]["last.bias"]
    if harm == "a buffer missing":
        del content["state"]["hidden.0.1.running_var"]
    if harm == "a name too many":
        content["state"]["last.scale"] = torch.ones(1)
    if harm == "a name changed":
        content["state"]["last.offset"] = content["state"].pop("last.bias")
    if harm == "a mean under another layer's name":
        content["state"]["hidden.1.1.running_mean"] = content["state"].pop("hidden.0.1.running_mean")
    if harm == "nothing but a program":
        content = Program()
    if harm == "nothing but a model":
        content = torch.nn.Linear(2, 3)
    torch.save(content, path)
    try:
        load(path)
        kind = "no error"
    except NotImplementedError:
        raise
    except Exception as error:
        kind = "UnpicklingError" if isinstance(error, pickle.UnpicklingError) else "RuntimeError" if isinstance(error, RuntimeError) else type(error).__name__
    ran = os.path.isdir(mark)
    if ran:
        os.rmdir(mark)
    return kind, ran


with check.exercise("save_and_load"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    for seed in seeds:
        for sizes, dtype, training in (([2, 3], torch.float32, True), ([4, 7, 3], torch.float64, False), ([20, 3, 20, 5, 2], torch.float32, "in part"), ([5, 9, 6], torch.float64, True)):
            what = f"of a Classifier({sizes}) in {str(dtype).removeprefix('torch.')}"
            model = model_to_save(sizes, dtype, training, seed)
            state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            content, before, after = kept_file(sizes, dtype, training, seed)
            check.unchanged(after, before, f"the model after save, {what}", "saving only reads")
            check.true(content != "refused", f"the file {what} cannot be read with `torch.load(path, weights_only=True)`: it holds more than tensors and plain data.")
            check.kind(content, dict, f"the content of the file {what}")
            for key in ("sizes", "state"):
                check.true(key in content, f"the file {what} has no key {key!r}, only {sorted(map(str, content))}.")
            check.equal(content["sizes"], sizes, f"'sizes' in the file {what}")
            check.equal(content["state"], state, f"'state' in the file {what}", "all of `state_dict()`, buffers too", rtol=0, atol=0)
            seen = read_back(sizes, dtype, training, seed)
            check.true(seen["is a Classifier"], f"what `load` returns is no Classifier, {what}.")
            check.equal(seen["sizes"], sizes, f"the sizes of the loaded model {what}")
            hint = "bit for bit, in the dtype of the file: a new model is float32, and `load_state_dict` writes into what it has (unless assign=True)"
            check.equal(seen["state"], state, f"after the second loaded model was overwritten, the state of the first, {what},", hint, rtol=0, atol=0)
            check.equal(seen["modules in training mode"], [], f"modules of the loaded model in training mode {what}", "`model.eval()` reaches all")
            check.equal(seen["parameters without gradient"], [], f"parameters of the loaded model that require no gradient {what}")
            check.equal(seen["number of parameters"], len(list(model.parameters())), f"the number of parameters of the loaded model {what}")
    for harm, wanted in {
        "a program beside the state": "UnpicklingError",
        "a program in the state": "UnpicklingError",
        "a whole model": "UnpicklingError",
        "nothing but a program": "UnpicklingError",
        "nothing but a model": "UnpicklingError",
        "a name missing": "RuntimeError",
        "a buffer missing": "RuntimeError",
        "a name too many": "RuntimeError",
        "a name changed": "RuntimeError",
        "a mean under another layer's name": "RuntimeError",
    }.items():
        kind, ran = refused([4, 5, 3], harm)
        check.true(not ran, f"a program in the file ran when it was loaded ({harm}): `torch.load(path, weights_only=True)` refuses it.")
        hint = "weights_only=True" if wanted == "UnpicklingError" else "`load_state_dict` is strict by itself: strict=False hides what is missing"
        check.equal(kind, wanted, f"the error of `load` on a file with {harm}", hint)
check.points(2)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# What does `load` need before it can make a model to put the state into? Which dtype has a new model?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `torch.save`, `torch.load(path, weights_only=True)`, `model.load_state_dict(state, assign=True)`, which puts the loaded tensors in the place of
# the new ones in place of copying into them.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# torch.save({"sizes": model.sizes, "state": ...}, path)
#
# content = torch.load(path, weights_only=True)
# model = Classifier(content["sizes"])
# model.load_state_dict(...)
# return model.eval()
# ```
# </details>

# %% [markdown]
# ## 9 · The clinic
#
# A **forward hook** is a function that a module calls after each of its calls, with itself, its arguments and its result. With one on each layer you see
# all signals inside of a network without a change to its code. `register_forward_hook` returns a handle; whoever forgets to `remove()` it leaves a listener behind, which costs time and keeps memory for as long as the model lives.

# %%
# NBVAL_CHECK_OUTPUT
network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
handles = [
    layer.register_forward_hook(lambda module, args, result, name=name: print(f"{name}: {type(module).__name__} {list(args[0].shape)} -> {list(result.shape)}"))
    for name, layer in network.named_children()
]
try:
    network(torch.ones(3, 4))
finally:
    for handle in handles:
        handle.remove()
network(torch.ones(3, 4))  # silent again
print("hooks left:", sum(len(layer._forward_hooks) for layer in network.modules()))

# %% [markdown]
# Patients come in. Each is a stack of stages (linear layer, perhaps batch norm, ReLU, dropout) with a linear layer at the end, and each is to predict now.
# Four are sick, one is not. From outside they show little.


# %%
def patient(illness: str, stages: int, width: int, norm: bool, place: int, seed: int, rows: int = 32, scale: float = 1.0, detail: str = ""):
    """A network of `stages` stages and a last layer, sick at stage `place`, and a batch of inputs of size `scale`."""
    generator = torch.Generator().manual_seed(seed)
    x = h = scale * torch.randn(rows, width, generator=generator)
    model = nn.Sequential()
    sizes = {}  # by stage: the result of its linear layer over x
    if detail == "in steps":
        sizes = {place - 1: 18, place: 100.4}
    if detail == "large":
        sizes = dict.fromkeys(range(place, stages + 1), 15)
    if detail == "at the end":
        sizes = {stages: 100.4}

    def enlarge(linear, h, times):
        factor = times * x.square().mean().sqrt() / linear(h).square().mean().sqrt()
        linear.weight.mul_(factor)
        linear.bias.mul_(factor)

    for number in range(stages):
        linear, batch_norm, sick = nn.Linear(width, width), nn.BatchNorm1d(width), number == place
        if sick and illness == "shared weights" and detail == "called twice":
            linear = model[0][0]
        else:
            nn.init.kaiming_normal_(linear.weight, generator=generator)
        with torch.no_grad():
            if sick and illness == "shared weights" and detail != "called twice":
                linear.weight = model[0][0].weight
            if sick and detail == "equal numbers":  # and another object
                linear.weight.copy_(model[0][0].weight)
            if sick and illness == "exploding scale" and not detail.startswith(("in steps", "at the end")):
                linear.weight.mul_(1000 * max(1, scale))
            if not (sick and detail == "called twice"):
                linear.bias.copy_(-(h @ linear.weight.T).mean(0))
            if number in sizes:
                enlarge(linear, h, sizes[number])
            h = linear(h)
            batch_norm.running_mean.copy_(h.mean(0))
            batch_norm.running_var.copy_(h.var(0) + 1e-3)
            dying = batch_norm.bias if norm else linear.bias
            silent = {"all": width, "some": (width + 1) // 2}.get(detail, (3 * width + 3) // 4) if illness == "dead units" else width // 5
            if sick and illness in ("dead units", "healthy") and detail != "large":
                below = 12 if norm else 1.5 * float(h.abs().max())
                dying[:silent] -= below
                h[:, :silent] -= 0 if norm else below
            h = batch_norm.eval()(h) if norm else h
            h = F.relu(h)
        parts = [linear, *([batch_norm] if norm else []), nn.ReLU(), nn.Dropout(0.3)]
        model.append(nn.Sequential(*parts))
    model.append(nn.Linear(width, 3))
    nn.init.kaiming_normal_(model[-1].weight, generator=generator)
    nn.init.zeros_(model[-1].bias)
    if stages in sizes:
        with torch.no_grad():
            enlarge(model[-1], h, sizes[stages])
    model.eval()
    if illness == "forgotten eval":
        if detail == "everywhere":
            model.train()
        else:
            model[place][1 if detail == "batch norm" and norm else -1].train()
    if detail == "in use":  # somebody listens and trains
        for number, module in enumerate(model.modules()):
            module.register_forward_hook(lambda module, args, result: None)
            if number % 2:
                module.register_forward_pre_hook(lambda module, args: None)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        model[0][0].bias.requires_grad_(False)
    if detail == "harmless modes":
        for module in model.modules():
            module.training = not isinstance(module, (nn.BatchNorm1d, nn.Dropout))
    return model, x


ward = {illness: patient(illness, 4, 16, False, 2, 7) for illness in ("healthy", "dead units", "exploding scale", "forgotten eval", "shared weights")}
for number, (network, x) in enumerate(ward.values(), 1):
    with torch.no_grad():
        y = network(x)
    print(f"patient {number}: {count_parameters(network)['trainable']} parameters, result {list(y.shape)}, first row", [f"{value:.3g}" for value in y[0].tolist()])

# %% [markdown]
# ### Exercise 9 · The diagnosis (`clinic`, 4 points, 40 minutes, difficulty 3 of 3)
#
# `diagnose(model, x)` examines a network that is to predict, and returns a tuple of two strings: the illness, and the name of the module where it shows, as in
# `model.named_modules()`. The model is an `nn.Sequential` of `nn.Sequential`s and of an `nn.Linear` at the end; `patient` makes it, with 2 to 6 stages of `nn.Linear`, perhaps `nn.BatchNorm1d`, `nn.ReLU` and `nn.Dropout`,
# of width 8 to 40; x has shape `[16 to 64 rows, width]` and a root mean square from 0.3 to 150. A patient has one illness or none.
#
# - `"dead units"`: of an `nn.ReLU` at least half of the units (the columns of its result) give 0 for every row of x. The name is that of the first such ReLU. Before it, and in patients without this illness, fewer than a quarter do. <!-- rule: dead -->
# - `"exploding scale"`: the result of an `nn.Linear` has a root mean square of more than 100 times that of x. The name is that of the first such layer. Before it, and in patients without this illness, it is at most 20 times. <!-- rule: exploding -->
# - `"forgotten eval"`: an `nn.Dropout` or `nn.BatchNorm1d` is in training mode. The name is that of the first one. Other modules may be in any mode: they do not look at it. <!-- rule: eval -->
# - `"shared weights"`: an `nn.Linear` has the same weight (the same `nn.Parameter`) as one before it; the name is that of the later one. Or one and the same `nn.Linear` stands in two places and is called twice in a pass; the name is that of its first place, the only one that `named_modules()` gives. <!-- rule: shared -->
# - `"healthy"`, with the name `""`, if it has none of these. <!-- rule: healthy -->
# - The model is as before: numbers of parameters and buffers, modes, gradients, and the hooks that others registered. And x is as before. <!-- rule: unchanged -->
#
# "First" means in the order in which they are called, which is that of `model.named_modules()` here.


# %% exercise="clinic" minutes=40 difficulty=3
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    """(illness, name of the module where it shows) of a network that is to predict."""
    ### BEGIN SOLUTION
    names = {module: name for name, module in model.named_modules()}
    found, weights = [], set()
    size = x.square().mean().sqrt()

    def look(module, args, result):
        illness = None
        if isinstance(module, nn.ReLU) and (result == 0).all(0).float().mean() >= 0.5:
            illness = "dead units"
        if isinstance(module, nn.Linear):
            if result.square().mean().sqrt() > 100 * size:
                illness = "exploding scale"
            if module.weight in weights:  # another layer's, or that of this one in an earlier call
                illness = "shared weights"
            weights.add(module.weight)
        if illness:
            found.append((illness, names[module]))

    for module, name in names.items():
        if isinstance(module, (nn.Dropout, nn.BatchNorm1d)) and module.training:
            return "forgotten eval", name
    handles = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ("healthy", "")
    ### END SOLUTION


# %% tests="clinic" points=4
@check.scenario
def your_diagnosis(illness, stages, width, norm, place, seed, rows, scale, detail):
    """What `diagnose` says of a patient, and the patient before and after."""
    model, x = patient(illness, stages, width, norm, place, seed, rows, scale, detail)
    given, before = x.clone(), check.module_state(model, values=True)
    said = diagnose(model, x)
    return said, torch.equal(x, given), before, check.module_state(model, values=True)


def expected_name(illness, stages, norm, place, detail):
    """Where a patient of this plan shows its illness."""
    if illness == "healthy":
        return ""
    if illness == "dead units":
        return f"{place}.{2 if norm else 1}"
    if illness == "exploding scale":
        return str(stages) if detail == "at the end" else f"{place}.0"
    if illness == "shared weights":
        return "0.0" if detail == "called twice" else f"{place}.0"
    if detail == "everywhere":
        return "0.1" if norm else "0.2"
    return f"{place}.1" if detail == "batch norm" and norm else f"{place}.{3 if norm else 2}"


def patients(seed):
    """Plans of patients, from small to large."""
    generator = np.random.default_rng(seed)
    kinds = {
        "healthy": ("", "harmless modes", "large", "equal numbers", "in use"),
        "dead units": ("", "some", "all", "harmless modes"),
        "exploding scale": ("", "harmless modes", "in steps", "at the end", "in use"),
        "forgotten eval": ("everywhere", "batch norm", "dropout"),
        "shared weights": ("", "called twice", "harmless modes"),
    }
    for stages, width, rows in ((2, 8, 16), (3, 15, 33), (6, 40, 64)):
        for illness, details in kinds.items():
            for detail in details:
                for norm in (False, True):
                    if not norm and detail in ("called twice", "batch norm") or norm and detail in ("in steps", "large"):
                        continue
                    place = int(generator.integers(1 if illness == "shared weights" or detail in ("in steps", "equal numbers") else 0, stages))
                    scale = float(generator.choice([1.0, 0.5, 100.0]))
                    yield illness, stages, width, norm, place, int(generator.integers(10**6)), rows, scale, detail


with check.exercise("clinic"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    for seed in seeds:
        for plan in patients(seed):
            illness, stages, width, norm, place, number, rows, scale, detail = plan
            layers = "Linear, BatchNorm1d, ReLU, Dropout" if norm else "Linear, ReLU, Dropout"
            what = f"a patient of {stages} stages ({layers}) of width {width}, with {rows} rows of size {scale:g}{', ' + detail if detail else ''}"
            said, same, before, after = your_diagnosis(*plan)
            check.kind(said, tuple, f"what `diagnose` returns for {what}", "a tuple of two strings")
            wanted = (illness, expected_name(illness, stages, norm, place, detail))
            check.equal(len(said), 2, f"the number of things that `diagnose` returns for {what}")
            hints = {
                "healthy": "no half of the units of a ReLU is dead, nothing is 100 times as large as x, no weight is one object in two layers (be numbers equal or not), and dropout and batch norm are in eval mode",
                "dead units": "a unit is dead if its column of the ReLU's result is 0 in every row",
                "exploding scale": "compare sqrt(mean of squares) of a linear layer's result with that of x",
                "forgotten eval": "`module.training` of a dropout or batch norm, wherever it is, also where `model.training` is False",
                "shared weights": "two layers whose `weight` is one object, or one layer that is called twice: count calls in a hook",
            }
            check.equal(said[0], illness, f"the illness that `diagnose` finds in {what}", hints[illness])
            check.equal(said[1], wanted[1], f"the place of {illness!r} in {what}", "the name of the first module where it shows; of shared weights, that of the later layer")
            check.unchanged(after, before, f"{what}, after `diagnose`", "a forward pass in training mode changes batch norm's running numbers: look at modes first, and use no_grad")
            check.true(same, f"x was changed by the diagnosis of {what}.")
check.points(4)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Which illnesses can be seen without a forward pass? Which of them makes a forward pass dangerous for the patient, so that it is asked for first? For the others: which modules
# should the hook look at, and what does it compare?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `model.named_modules()`, `isinstance`, `module.training`, `module.register_forward_hook(hook)` with `hook(module, args, result)`, `handle.remove()`,
# `(result == 0).all(0)`, `x.square().mean().sqrt()`, a set of the weights seen so far.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# names = {module: name for name, module in model.named_modules()}
# found, weights = [], set()
#
# def look(module, args, result):
#     if isinstance(module, nn.ReLU) and (result == 0).all(0).float().mean() >= 0.5:
#         found.append(("dead units", names[module]))
#     if isinstance(module, nn.Linear):
#         ...                       # its size; its weight (a second call shows it again)
#
# # first: dropout or batch norm in training mode?
# handles = [module.register_forward_hook(look) for module in names]
# try:
#     with torch.no_grad():
#         model(x)
# finally:
#     ...
# ```
# </details>

# %%
def listen(network, x):
    """By linear layer, the size of its result; by ReLU, the share of units that are 0 for every row."""
    sizes, silent, handles = [], [], []
    for module in network.modules():
        if isinstance(module, nn.Linear):
            handles.append(module.register_forward_hook(lambda module, args, y: sizes.append(float(y.square().mean().sqrt()))))
        if isinstance(module, nn.ReLU):
            handles.append(module.register_forward_hook(lambda module, args, y: silent.append(float((y == 0).all(0).float().mean()))))
    with torch.no_grad():
        network(x)
    for handle in handles:
        handle.remove()
    return sizes, silent


figure, panels = plt.subplots(1, 2, figsize=(11, 3.2), layout="constrained")
for number, ((name, (network, x)), mark) in enumerate(zip(ward.items(), "osd^v"), 1):
    print(f"patient {number} is said to have:", diagnose(network, x))
    sizes, silent = listen(network, x)
    panels[0].semilogy(range(1, len(sizes) + 1), sizes, mark + "-", label=name, alpha=0.7)
    panels[1].plot(range(1, len(silent) + 1), silent, mark + "-", label=name, alpha=0.7)
panels[0].set(xlabel="linear layer", ylabel="size of its result", title="exploding scale can be seen here", xticks=range(1, 6))
panels[1].set(xlabel="ReLU", ylabel="share of dead units", title="dead units here", ylim=(-0.05, 1.05), xticks=range(1, 5))
for panel in panels:
    panel.legend(fontsize=8)
plt.show()

# %% [markdown]
# Two of the four show in the size of signals. The two others do not: in the curves a network with a forgotten dropout or a shared weight looks like a healthy
# one. What betrays them is a flag, and the identity of a tensor. A good diagnosis asks more than one kind of question.
#
# ## Claims, measured
#
# **"A convolutional network beats a plain one at equal parameters."** Your residual blocks against three linear layers with as many parameters, on cluttered
# digits of 16 x 16 pixels: 3,000 to learn from, 1,000 new ones. Both start as `initialise` says, both see the same batches with the same optimizer, and
# there are three starts of each.
#
# Then the same once more with the pixels **shuffled**: one fixed random order for all pictures. To the plain network that changes nothing, for it
# never knew which pixels are neighbours. To a convolution it should.


# %%
def convolutional() -> nn.Sequential:
    blocks = ResidualBlock(1, 8, 2), ResidualBlock(8, 16, 2), ResidualBlock(16, 24, 1)
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10))


def plain(width: int) -> nn.Sequential:
    def hidden(inputs):
        return nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU()

    return nn.Sequential(nn.Flatten(), *hidden(256), *hidden(width), nn.Linear(width, 10))


def new_digits_right(network, seed: int, images, labels, new_images, new_labels, epochs: int = 8) -> list[float]:
    """Share of the new digits that are told rightly, after each epoch of training."""
    initialise(network, torch.Generator().manual_seed(seed))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    batches = math.ceil(len(images) / 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, epochs * batches)
    shares, order = [], torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        network.train()
        for rows in torch.randperm(len(images), generator=order).split(64):
            optimizer.zero_grad()
            F.cross_entropy(network(images[rows]), labels[rows]).backward()
            optimizer.step()
            schedule.step()
        network.eval()
        with torch.no_grad():
            shares.append(float((network(new_images).argmax(1) == new_labels).float().mean()))
    return shares


budget = count_parameters(convolutional())["trainable"]
width = max(width for width in range(1, 200) if count_parameters(plain(width))["trainable"] <= budget)
print(f"convolutional: {budget:,} parameters; plain, of width {width}: {count_parameters(plain(width))['trainable']:,}")

images, labels, _ = digits.tensors("train", 3000, seed=0)
new_images, new_labels, _ = digits.tensors("test", 1000, seed=1)
shuffle = torch.randperm(256, generator=torch.Generator().manual_seed(3))
mixed, new_mixed = (some.flatten(1)[:, shuffle].view_as(some) for some in (images, new_images))
figure, panels = plt.subplots(1, 6, figsize=(10, 1.9), layout="constrained")
for i, panel in enumerate(panels):
    panel.imshow((images if i < 3 else mixed)[i % 3, 0], cmap="gray_r")
    panel.set(title=f"{'shuffled ' if i > 2 else ''}{labels[i % 3].item()}", xticks=[], yticks=[])
plt.show()

# %%
curves = {}
for pixels, (seen, unseen) in {"in place": (images, new_images), "shuffled": (mixed, new_mixed)}.items():
    for kind, make in {"convolutional": convolutional, "plain": lambda: plain(width)}.items():
        curves[kind, pixels] = [new_digits_right(make(), seed, seen, labels, unseen, new_labels) for seed in range(3)]

figure, panels = plt.subplots(1, 2, figsize=(11, 3.4), layout="constrained", sharey=True)
colours = {"convolutional": "tab:blue", "plain": "tab:orange"}
for (kind, pixels), starts_seen in curves.items():
    style = "-" if pixels == "in place" else "--"
    panels[0].plot(range(1, 9), np.mean(starts_seen, 0), style, color=colours[kind], label=f"{kind}, pixels {pixels}")
    panels[0].fill_between(range(1, 9), np.min(starts_seen, 0), np.max(starts_seen, 0), color=colours[kind], alpha=0.15)
panels[0].set(xlabel="epoch", ylabel="new digits told rightly", title="three starts each: mean, lowest and highest")
panels[0].legend(fontsize=8)
for number, (pixels, kind) in enumerate([(pixels, kind) for pixels in ("in place", "shuffled") for kind in colours]):
    ends = [curve[-1] for curve in curves[kind, pixels]]
    panels[1].bar(number, np.mean(ends), color=colours[kind], alpha=0.5)
    panels[1].plot([number] * 3, ends, "k.")
panels[1].set_xticks(range(4), [f"{kind}\npixels {pixels}" for pixels in ("in place", "shuffled") for kind in colours], fontsize=8)
panels[1].set(title="at the end (a dot a start)", xlabel="network and pixels")
plt.show()

# %%
ends = {key: [curve[-1] for curve in of] for key, of in curves.items()}


def said(key) -> str:
    return f"{np.mean(ends[key]):.1%} ({min(ends[key]):.1%} to {max(ends[key]):.1%})"


claims.record(
    "a convolutional network beats a plain one at equal parameters",
    claimed="yes, on pictures",
    measured=f"convolutional {said(('convolutional', 'in place'))}, plain {said(('plain', 'in place'))}",
    holds=min(ends["convolutional", "in place"]) > max(ends["plain", "in place"]),
    how=f"{budget:,} parameters, 3 starts each, 1,000 new digits; holds if the worst of one is above the best of the other",
)
claims.record(
    "it does because neighbours belong together",
    claimed="with shuffled pixels the lead is gone",
    measured=f"convolutional {said(('convolutional', 'shuffled'))}, plain {said(('plain', 'shuffled'))}",
    holds=np.mean(ends["convolutional", "shuffled"]) < np.mean(ends["plain", "shuffled"]) + 0.02,
    how="the same, with one fixed order of the pixels for all pictures; holds if the lead is below 2 points",
)
claims.record(
    "variance 2 / d keeps the size of signals in a ReLU network",
    claimed="through any depth",
    measured=f"after 40 layers {sizes_seen['yours: variance 2 / d'][-1]:.2f} of {sizes_seen['yours: variance 2 / d'][0]:.2f}; PyTorch's own start {sizes_seen[next(iter(starts))][-1]:.2g}",
    holds=0.1 < sizes_seen["yours: variance 2 / d"][-1] / sizes_seen["yours: variance 2 / d"][0] < 10,
    how="root mean square of 200 signals, width 200, after the first layer and after the last; holds within a factor of 10",
)
claims.record(
    "gradients explode with depth without a way round, and not with it",
    claimed="with batch norm, at any depth",
    measured=f"first over last of 24 blocks: {np.median(growth['with the way round'][-1]):.2g} with, {np.median(growth['without'][-1]):.2g} without",
    holds=10 * np.median(growth["with the way round"][-1]) < np.median(growth["without"][-1]),
    how="gradient of the first convolution's weights, median of 3 starts, before training; holds if less than a tenth of that without",
)

# %% [markdown]
# What a network can tell depends on its number of parameters less than on what it takes for granted. A convolution takes for granted that neighbours belong
# together and that a stroke is a stroke wherever it stands. Where that is true it learns from fewer pictures, and where it is made untrue there is no lead left; a network that takes nothing for granted can be the better one then.
#
# ## Quiz

# %% [markdown] quiz="end"
# 1. You keep five layers in a Python list that is an attribute of your module. What happens?
# - [ ] An error at the first forward pass :: Nothing fails: the forward pass uses the list as it is.
# - [x] The optimizer does not train them, and `.to()` leaves them behind :: Right: only what is in a register is found. `nn.ModuleList` registers.
# - [ ] They are trained, but not saved :: `parameters()` does not find them either.
# 2. What does `model.eval()` do?
# - [ ] It turns gradients off :: That is `torch.no_grad()`.
# - [ ] It freezes the parameters :: That is `requires_grad_(False)`.
# - [x] It sets a flag that dropout and batch norm look at :: Right, and nothing else.
# 3. A batch norm has seen one batch of 32 rows in training mode. Which of its tensors changed?
# - [ ] weight and bias :: Those change when an optimizer makes a step.
# - [x] running_mean and running_var :: Right: they are buffers, changed by the forward pass alone.
# - [ ] None, until `backward` :: Running numbers do not wait for it.
# 4. Two convolutions with kernel 3; the first has stride 2. How many places does one output of the second span?
# - [ ] 5 :: That is so with stride 1.
# - [x] 7 :: Right: 3 outputs of the first, 2 apart, each 3 wide: 2 + 2 + 3.
# - [ ] 9 :: That would be a stride of 3.
# 5. Somebody sends you `model.pt`, which `torch.load(path, weights_only=True)` refuses. What now?
# - [ ] Load it with `weights_only=False` :: That runs whatever program is in it, with your rights.
# - [x] Ask for a file with the state_dict and the settings :: Right: it needs nothing but tensors and plain data.
# - [ ] Load it on another device :: The device has no part in it.

# %% [markdown]
# ## Read next
#
# - Modules, their registers and hooks: https://docs.pytorch.org/docs/stable/notes/modules.html
# - Saving and loading, and what `weights_only` admits: https://docs.pytorch.org/docs/stable/notes/serialization.html
# - All the arithmetic of convolutions, drawn: Dumoulin and Visin, https://arxiv.org/abs/1603.07285
# - Looking at statistics of activations and gradients while a network trains: A. Karpathy, *Building makemore, part 3*, https://github.com/karpathy/nn-zero-to-hero
# - Identity shortcuts, taken apart: He et al., *Identity Mappings in Deep Residual Networks*, 2016, https://arxiv.org/abs/1603.05027
# - How to debug a network that does not learn: A. Karpathy, *A Recipe for Training Neural Networks*, 2019, https://karpathy.github.io/2019/04/25/recipe/
#
# Lesson 04 writes the training loop that was given here.

# %% [markdown]
# ## A bigger machine
#
# With a GPU: the same blocks, eight times as wide, on ten times as many pictures. Not a line of `ResidualBlock` changes.

# %%
if env.device.startswith("cuda"):
    big_images, big_labels, _ = (tensor.to(env.device) for tensor in digits.tensors("train", 30_000, seed=0))
    big = nn.Sequential(ResidualBlock(1, 64, 2), ResidualBlock(64, 128, 2), ResidualBlock(128, 192, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(192, 10))
    initialise(big, torch.Generator().manual_seed(0))
    big.to(env.device)
    optimizer = torch.optim.AdamW(big.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, 600)
    for _ in range(600):
        rows = torch.randint(len(big_images), (256,), device=env.device)
        optimizer.zero_grad()
        F.cross_entropy(big(big_images[rows]), big_labels[rows]).backward()
        optimizer.step()
        schedule.step()
    big.eval()
    with torch.no_grad():
        told = (big(new_images.to(env.device)).argmax(1).cpu() == new_labels).float().mean()
    print(f"{count_parameters(big)['trainable']:,} parameters: {told:.1%} of the new digits")
else:
    print("A bigger machine: skipped here (it needs a GPU).")
