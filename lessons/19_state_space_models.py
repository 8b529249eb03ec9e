# ---
# jupyter:
#   unit24:
#     needs: ["datasets>=4", "matplotlib>=3.8", "torch>=2.6", "transformers>=5.17"]
# ---

# %% [markdown]
# # 19 · State space models
#
# Attention keeps every token it has read and looks at all of them again for each new one. A state space model (SSM) keeps a
# fixed number of numbers, its *state*, and lets each token change them a little. That is cheaper, and it forgets. In this
# lesson you build one from its differential equation up to a block that gives the same numbers as transformers' Mamba on the
# same weights, and then measure what it wins and what it loses.
#
# **You will build** the scan at the heart of Mamba, three ways; a decoder whose memory does not grow; the layer of a
# real hybrid; and a comparison of attention and Mamba that is fair.
#
# **You need first** lessons 03, 04 and 07: modules, training, causal language models with a cache.
#
# **Time** about four hours: nine exercises of 15 to 40 minutes, 30 points. No GPU is needed.
#
# All of it is variations on two lines, for each token $x_t$ of one channel:
#
# $$h_t = a\,h_{t-1} + b\,x_t, \qquad y_t = c \cdot h_t + D\,x_t$$
#
# | | the state $h$ | $a$, $b$, $c$ |
# |---|---|---|
# | time-invariant (part A) | a few numbers a channel | the same for every token |
# | selective: Mamba (parts B and C) | a few numbers a channel | computed from the token |
# | attention, to compare | a key and a value for every token so far | |
#
# | part | what you write | the question it answers |
# |---|---|---|
# | A | discretise, recurrence, convolution, associative scan | Why can a recurrence be trained in parallel? |
# | B | selective scan, and tests for one | What does "selective" change? |
# | C | Mamba's block with its state, the bytes of a cache, a hybrid layer | What does a token cost when you generate? |
# | D | a fair pair of models | Who remembers, and who carries on past the training length? |

# %% setup

# %%
import copy
import inspect
import math
import time

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn
from transformers import BambaConfig, BambaForCausalLM, DynamicCache, LlamaConfig, LlamaForCausalLM, MambaConfig, MambaForCausalLM
from transformers.cache_utils import DynamicLayer, LinearAttentionAndFullAttentionLayer, LinearAttentionLayer
from transformers.models.mamba import modeling_mamba

from unit24 import cases, check, claims, data

torch.set_num_threads(1)  # the sizes here are too small for more, and timings are steadier


def numbers(seed, *shape, low=None, high=None, dtype=torch.float32):
    """Random numbers from a generator of their own: normal, or uniform between `low` and `high`."""
    generator = torch.Generator().manual_seed(seed)
    if low is None:
        return torch.randn(shape, generator=generator, dtype=dtype)
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=dtype)


def gradients_of(total, inputs):
    """The gradients of `total` for `inputs` (zeros for one that is not in the graph); the error's words if the backward pass stops."""
    try:
        return torch.autograd.grad(total, inputs, retain_graph=True, allow_unused=True, materialize_grads=True)
    except RuntimeError as error:
        return str(error)


def check_backward(found, what):
    """That `gradients_of` found gradients."""
    said = found.split(" Hint:")[0].rstrip(".") if isinstance(found, str) else ""
    hint = " Make new tensors (torch.cat, torch.stack): autograd needs the old values, those of a clone too." if "inplace" in said else ""
    check.true(not isinstance(found, str), f"{what}: there are values, but its backward pass stops ({said}).{hint}")


def check_gradient(observed, expected, name, what, hint, **tolerance):
    """One gradient, of the argument or weight `name`."""
    nothing = f"it is 0 everywhere: nothing that is made of `{name}` is in the graph. Is `{name}` used, without .detach(), .data and no_grad?"
    check.equal(observed, expected, what, hint, causes={nothing: torch.zeros_like(expected)}, **tolerance)


# %% [markdown]
# ## Part A · From an equation to a scan
#
# ### 1 · Discretise (2 points, 15 minutes, difficulty 1 of 3)
#
# One channel of a state space model is a small system of differential equations. Its state $h$ has a few entries, each
# of which decays at its own rate $A < 0$ and is fed by the input $x$ through $B$:
#
# $$h'(t) = A\,h(t) + B\,x(t), \qquad y(t) = \textstyle\sum_n C_n h_n(t)$$
#
# Tokens come one by one, so the equation is turned into a rule from step to step. *Zero-order hold* says: the input
# stays what it is for a time $\Delta$. Then the equation has an exact solution, entry by entry:
#
# $$h_k = a\,h_{k-1} + b\,x_k, \qquad a = e^{\Delta A}, \qquad b = \frac{e^{\Delta A} - 1}{A}\,B$$
#
# For $A = -1$, $B = 1$ and $\Delta = 0.5$ that is $a = 0.607$ and $b = 0.393$. A large $\Delta$ means: forget the past, take
# in this input. A small one means: keep the past, hardly notice this input. Keep that in mind for part B.
#
# One trap: with $\Delta A = -10^{-6}$ in float32, $e^{\Delta A}$ is a number just below 1 in which only one or two digits of
# $\Delta A$ survive; after subtracting 1 the rest is rounding error.
#
# **Task.** Write `discretise(A, B, step)`. The three are tensors of one dtype, float32 or float64. `A` lies between -20 and
# -0.0001, `step` ($\Delta$) between 0.0001 and 3; `B` is 0 or has a size from $10^{-12}$ to $10^{12}$. They broadcast: `A` and
# `step` have the full shape together, and `B` broadcasts to it. For example `A` and `B` are `(channels, state)` and `step` is
# `(channels, 1)`. Return `(a, b)`, both of the full shape.
#
# - `a` is $e^{\Delta A}$. <!-- rule: decay -->
# - `b` is what the formula of zero-order hold gives, not an approximation for small steps. <!-- rule: held_input -->
# - Each entry of `a` and `b` is right to one part in 100,000 in float32 (one in ten million in float64), where the
#   decay is slow too. <!-- rule: digits -->
# - Both have the dtype of the arguments. <!-- rule: dtype -->
# - The arguments stay as they were. <!-- rule: unchanged -->


# %% exercise="discretise" minutes=15 difficulty=1
def discretise(A, B, step):
    """Zero-order hold of h' = A h + B x over the time `step`, elementwise: (a, b) with h_k = a h_(k-1) + b x_k."""
    ### BEGIN SOLUTION
    return torch.exp(step * A), torch.expm1(step * A) / A * B
    ### END SOLUTION


# %% tests="discretise" points=2
def held_by_definition(A, B, step):
    """The formula, in float64."""
    wide_A, wide_B, wide_step = A.double(), B.double(), step.double()
    return torch.exp(wide_step * wide_A).to(A.dtype), (torch.expm1(wide_step * wide_A) / wide_A * wide_B).to(A.dtype)


def check_discretise():
    hint = "`a` is exp(step * A), `b` is (exp(step * A) - 1) / A * B; torch has a function for exp(x) - 1 that keeps its digits"
    causes = {
        "`step * B` is Euler's rule, right only for small steps: the held input decays too": lambda A, B, step: (
            torch.exp(step * A),
            step * B + 0 * A,
        ),
        "exp(small) - 1 loses its digits: torch has a function for exp(x) - 1 that keeps them": lambda A, B, step: (
            torch.exp(step * A),
            (torch.exp(step * A) - 1) / A * B,
        ),
        "`1 + step * A` is Euler's rule for the decay: it is exp(step * A)": lambda A, B, step: (
            1 + step * A,
            torch.expm1(step * A) / A * B,
        ),
    }
    shapes = [
        [("channels", "state"), ("channels", "state"), ("channels", 1)],
        [("channels", 1), ("state",), ("channels", "state")],
        [("state",), ("channels", "state"), ("batch", "channels", "state")],
        [(), (), ()],
    ]
    for axes in shapes:
        for dtype in ("float32", "float64"):
            domain = {
                "A": cases.tensor(*axes[0], dtypes=(dtype,), low=-20, high=-1e-4),
                "B": cases.tensor(*axes[1], dtypes=(dtype,), scale=(1e-12, 1e12)),
                "step": cases.tensor(*axes[2], dtypes=(dtype,), low=1e-4, high=3),
            }
            sizes = {name: (1, 40) for name in ("batch", "channels", "state") if name in sum(axes, ())}
            drawn = cases.draw(seeds, domain, 3, **sizes)
            rtol = 1e-5 if dtype == "float32" else 1e-7
            check.agrees(discretise, held_by_definition, drawn, "`discretise`", hint, causes=causes, floor="value", rtol=rtol)
    for dtype, rtol in ((torch.float32, 1e-5), (torch.float64, 1e-7)):  # from the slowest decay to the fastest that may come
        A, step = (10 ** torch.linspace(-4, math.log10(end), 40, dtype=dtype) for end in (20, 3))
        A, step = -A.clamp(1e-4, 20), step.clamp(1e-4, 3)[:, None]
        grid = A, torch.ones_like(A), step
        wrong = {text: cause(*grid) for text, cause in causes.items()}
        what = f"`discretise` of A from -0.0001 to -20 along the columns, step from 0.0001 to 3 along the rows, B = 1, in {dtype}"
        check.equal(discretise(*grid), held_by_definition(*grid), what, hint, causes=wrong, floor="value", rtol=rtol)


with check.exercise("discretise"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check_discretise()

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Everything is elementwise: no matrix exponential is needed, because each entry of the state decays on its own. Two
# lines, one for `a` and one for `b`. Which subtraction of two nearly equal numbers can be avoided?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `torch.exp`, `torch.expm1`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# a = torch.exp(step * A)
# b = ... / A * B      # e to the (step * A), minus 1, without the loss of digits
# ```
# </details>


# %% [markdown]
# Mamba uses the exact $a$ but Euler's $b \approx \Delta B$: the network learns $B$ anyway, so the factor between the two
# does not matter to it. The picture shows both, for one entry fed with a step.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3), layout="constrained")
sizes = torch.linspace(0.01, 3, 100)
exact = discretise(torch.tensor(-1.0), torch.tensor(1.0), sizes)
left.plot(sizes, exact[0], label="a: share of the state kept")
left.plot(sizes, exact[1], label="b: share of the input taken in")
left.plot(sizes, sizes, "--", color="C1", label="b by Euler's rule, as in Mamba")
left.set(xlabel="step (units of the decay time 1/|A|)", ylabel="factor", title="one entry, A = -1, B = 1", ylim=(0, 1.6))
left.legend(fontsize=8)
for size in (0.05, 0.3, 1.0):
    a, b = discretise(torch.tensor(-1.0), torch.tensor(1.0), torch.tensor(size))
    h, curve = torch.tensor(0.0), []
    for token in range(30):
        h = a * h + b * (1.0 if token < 10 else 0.0)
        curve.append(h.item())
    right.plot(curve, "o-", ms=3, label=f"step {size}")
right.set(xlabel="token (input 1 until token 9, then 0)", ylabel="state", title="how the step decides what is remembered")
right.legend(fontsize=8)
plt.show()

# %% [markdown]
# ### 2 · One model, two ways to run it (3 points, 25 minutes, difficulty 2 of 3)
#
# With constant $a$, $b$, $c$ the recurrence can be unrolled: the input of $j$ steps ago has been multiplied $j$ times by
# $a$. So the output is a **convolution** with a kernel that is as long as the text:
#
# $$y_t = \sum_{j=0}^{t} K_j\,x_{t-j}, \qquad K_j = \textstyle\sum_n c_n\,a_n^{\,j}\,b_n$$
#
# For generating, the recurrence is the better view (one step a token). For training, the convolution: all positions at
# once, by the fast Fourier transform in $O(L \log L)$. A Fourier transform convolves *in a circle*, though: what runs off
# the end comes in again at the start, unless there is room for it.
#
# **Task.** Write three functions; each is checked and earns its point on its own. `a`, `b`, `c` have shape
# `(channels, state)`, and `a` lies between -1 and 1 (both ends and 0 may come); `x` has shape `(batch, channels, length)`.
# Every axis has a length of 1 or more (in the tests up to 20 channels and 200 steps). All are of one dtype, float32 or float64, in
# any memory layout.
#
# `run_recurrence(a, b, c, x)` returns the outputs of $h_t = a\,h_{t-1} + b\,x_t$, $y_t = \sum_n c_n h_{t,n}$:
#
# - The state is 0 before the first input, and each channel of each row has a state of its own. <!-- rule: recurrence -->
# - The input of a step counts in the output of the same step. <!-- rule: same_step -->
#
# `make_kernel(a, b, c, length)` returns $K$:
#
# - It has shape `(channels, length)`, and its column $j$ is $K_j$, from $j = 0$. <!-- rule: kernel -->
#
# `run_convolution(kernel, x)` convolves each channel of `x` with its row of `kernel`. The kernel has shape `(channels, length)` and is as
# long as `x`:
#
# - $y_t$ is the sum above: the newest input meets $K_0$. <!-- rule: convolution -->
# - No input later than $t$ counts in $y_t$. <!-- rule: causal -->
#
# And for all three:
#
# - `run_recurrence` and `run_convolution` return the shape of `x`; an axis of length 1 stays. <!-- rule: shape -->
# - Results have the dtype of the arguments. <!-- rule: dtype -->
# - They are right to one part in 50,000 of their largest value in float32 (one in a billion in float64). <!-- rule: digits -->
# - The arguments stay as they were. <!-- rule: unchanged -->


# %% exercise="two_views" minutes=25 difficulty=2
def run_recurrence(a, b, c, x):
    """y (batch, channels, length) of h_t = a h_(t-1) + b x_t, y_t = sum over the state of c h_t, from h = 0."""
    ### BEGIN SOLUTION
    h = x.new_zeros(x.shape[0], *a.shape)
    outputs = []
    for now in x.unbind(-1):
        h = a * h + b * now[..., None]
        outputs.append((c * h).sum(-1))
    return torch.stack(outputs, -1)
    ### END SOLUTION


def make_kernel(a, b, c, length):
    """The kernel K (channels, length): what an input of 1 gives 0, 1, 2, ... steps later."""
    ### BEGIN SOLUTION
    powers = a[..., None] ** torch.arange(length)
    return ((b * c)[..., None] * powers).sum(1)
    ### END SOLUTION


def run_convolution(kernel, x):
    """Causal convolution of each channel: kernel (channels, length), x and the result (batch, channels, length)."""
    ### BEGIN SOLUTION
    length = x.shape[-1]
    room = length + length
    spectrum = torch.fft.rfft(x, room) * torch.fft.rfft(kernel, room)
    return torch.fft.irfft(spectrum, room)[..., :length]
    ### END SOLUTION


# %% tests="two_views" points=3
def outputs_by_definition(a, b, c, x, old=False, carried=False):
    """The recurrence in float64; with `old`, read before the update; `carried`, with one state for all rows."""
    if carried:  # the batch as one long text
        rows = outputs_by_definition(a, b, c, x.transpose(0, 1).reshape(1, x.shape[1], -1), old)
        return rows.view(x.shape[1], len(x), -1).transpose(0, 1)
    a, b, c, wide = (t.double() for t in (a, b, c, x))
    h, y = wide.new_zeros(x.shape[0], *a.shape), torch.empty_like(wide)
    for t in range(x.shape[-1]):
        before, h = h, a * h + b * wide[:, :, t, None]
        y[:, :, t] = (c * (before if old else h)).sum(-1)
    return y.to(x.dtype)


def kernel_by_definition(a, b, c, length, first=0):
    columns = [(c.double() * a.double() ** j * b.double()).sum(1) for j in range(first, first + length)]
    return torch.stack(columns, 1).to(a.dtype)


def convolved_by_definition(kernel, x):
    y, wide = torch.zeros_like(x, dtype=torch.float64), x.double()
    for j in range(x.shape[-1]):
        y[:, :, j:] += kernel[:, j, None].double() * wide[:, :, : x.shape[-1] - j]
    return y.to(x.dtype)


SIZES = {"channels": (1, 20), "state": (1, 20), "batch": (1, 9), "length": (1, 200)}
DIGITS = {"float32": 2e-5, "float64": 1e-9}


def drawn_systems(dtype, count=3, **more):
    """Cases of a, b, c and of the further arguments."""
    own = {"dtypes": (dtype,), "layouts": ("contiguous", "transposed")}
    domain = {
        "a": cases.tensor("channels", "state", low=-1, high=1, **own),
        "b": cases.tensor("channels", "state", without=("negative", "ties"), **own),
        "c": cases.tensor("channels", "state", without=("negative", "ties"), **own),
        **more,
    }
    used = {"channels", "state"}.union(*(argument.names for argument in more.values()))
    return cases.draw(seeds, domain, count, **{name: SIZES[name] for name in SIZES if name in used})


def check_recurrence():
    causes = {
        "the input of a step counts in the same step": lambda a, b, c, x: outputs_by_definition(a, b, c, x, old=True),
        "each row of the batch has a state of its own, from 0": lambda a, b, c, x: outputs_by_definition(a, b, c, x, carried=True),
    }
    hint = "the new state is a * h + b * x, from 0; the output is the sum over the state of c * h"
    for dtype in ("float32", "float64"):
        drawn = drawn_systems(dtype, x=cases.tensor("batch", "channels", "length", dtypes=(dtype,)))
        check.agrees(run_recurrence, outputs_by_definition, drawn, "`run_recurrence`", hint, causes=causes, rtol=DIGITS[dtype])


def check_kernel():
    causes = {"an input acts at once: the power of a starts at 0": lambda a, b, c, n: kernel_by_definition(a, b, c, n, first=1)}
    hint = "K_j is the sum over the state of c * a**j * b"
    for dtype in ("float32", "float64"):
        drawn = drawn_systems(dtype, length=cases.size("length"))
        check.agrees(make_kernel, kernel_by_definition, drawn, "`make_kernel`", hint, causes=causes, rtol=DIGITS[dtype])


def check_convolution():
    causes = {
        "the end has run round to the start: give the Fourier transform room for twice the length": lambda kernel, x: (
            torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(kernel), x.shape[-1])
        ),
        "torch's conv1d does not reverse its kernel: flip it first": lambda kernel, x: F.conv1d(
            F.pad(x, (x.shape[-1] - 1, 0)), kernel[:, None], groups=x.shape[1]
        ),
        "2 * length - 2 places are too few: the last product comes in again at the start": lambda kernel, x: torch.fft.irfft(
            torch.fft.rfft(x, max(2 * x.shape[-1] - 2, 1)) * torch.fft.rfft(kernel, max(2 * x.shape[-1] - 2, 1)),
            max(2 * x.shape[-1] - 2, 1),
        )[..., : x.shape[-1]],
    }
    hint = "y_t is the sum over j of K_j * x_(t-j), and nothing later than t counts"
    for dtype in ("float32", "float64"):
        domain = {
            "kernel": cases.tensor("channels", "length", dtypes=(dtype,)),
            "x": cases.tensor("batch", "channels", "length", dtypes=(dtype,)),
        }
        drawn = cases.draw(seeds, domain, 3, **{name: SIZES[name] for name in ("channels", "length", "batch")})
        check.agrees(run_convolution, convolved_by_definition, drawn, "`run_convolution`", hint, causes=causes, rtol=DIGITS[dtype])


with check.exercise("two_views"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"run_recurrence": check_recurrence, "make_kernel": check_kernel, "run_convolution": check_convolution})
check.points(3)  # the number below: your points, of 3

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# The state has shape `(batch, channels, state)`; one token of the input has shape `(batch, channels)` and needs one more
# axis to meet it. For the kernel: make the powers of `a` along a new last axis, then sum the state away. For the
# convolution: where in the circle does the last input's tail end up, and how long must the circle be so that it stays
# out of the part you keep?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `x.unbind(-1)`, `torch.stack(..., -1)`; `torch.arange(length)`; `torch.fft.rfft(x, n)` and `torch.fft.irfft(spectrum, n)`,
# where `n` is the length after padding with zeros.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# # run_recurrence, for each token
# h = ...
# outputs.append((c * h).sum(-1))
# # make_kernel
# powers = a[..., None] ** torch.arange(length)      # (channels, state, length)
# # run_convolution
# n = 2 * x.shape[-1]
# return torch.fft.irfft(torch.fft.rfft(x, n) * ..., n)[..., : ...]
# ```
# </details>


# %% [markdown]
# Your three functions on four of Mamba's own starting rates ($A = -1, -2, -3, -4$): the kernel is a sum of
# decays, and the two ways agree up to rounding.

# %%
a, b = discretise(-torch.arange(1.0, 5).repeat(3, 1), torch.ones(3, 4), torch.tensor([[0.003], [0.03], [0.1]]))
c = torch.ones(3, 4)
kernel, x = make_kernel(a, b, c, 200), numbers(70, 1, 3, 200)
figure, axis = plt.subplots(figsize=(7, 2.8))
for line, size in zip(kernel / kernel[:, :1], (0.003, 0.03, 0.1)):
    axis.plot(line, label=f"step {size}")
axis.set(xlabel="age of an input (tokens)", ylabel="its weight, newest = 1", title="kernels: a small step remembers for long")
axis.legend()
plt.show()
difference = (run_recurrence(a, b, c, x) - run_convolution(kernel, x)).abs().max()
print(f"largest difference between recurrence and convolution: {difference:.1e}")

# %% [markdown]
# ### 3 · The associative scan (4 points, 30 minutes, difficulty 3 of 3)
#
# The convolution needs the *same* $a$ and $b$ at every step. Soon they will differ from token to token, and the kernel is
# gone. What is left is the recurrence $h_t = a_t h_{t-1} + b_t$, which looks hopelessly serial. It is not. One step is a
# map $h \mapsto a h + b$; doing step 1 and then step 2 is again such a map, and joining maps is **associative**: how the
# joins are bracketed does not matter.
#
# $$(a_1, b_1) \text{ then } (a_2, b_2) \;=\; (a_2 a_1,\; a_2 b_1 + b_2)$$
#
# So all *prefixes* (the first step, the first two joined, the first three …) can be had in about $\log_2 L$ rounds, and
# within a round everything is computed at once. On a GPU that turns 4,096 steps into 12 rounds. With six steps, and 2–4 for steps
# 2 to 4 joined:
#
# | position | 1 | 2 | 3 | 4 | 5 | 6 |
# |---|---|---|---|---|---|---|
# | before | 1 | 2 | 3 | 4 | 5 | 6 |
# | after round 1: joined with the place 1 before | 1 | 1–2 | 2–3 | 3–4 | 4–5 | 5–6 |
# | after round 2: joined with the place 2 before | 1 | 1–2 | 1–3 | 1–4 | 2–5 | 3–6 |
# | after round 3: joined with the place 4 before | 1 | 1–2 | 1–3 | 1–4 | 1–5 | 1–6 |
#
# **Task.** Write two functions; each is checked and earns its points on its own. Tensors are float32 or float64, in any memory
# layout.
#
# `combine(left, right)` joins two steps. Each is a pair `(a, b)` of tensors; all four have one shape, which may be any.
#
# - It returns the pair that does `left` first and then `right`. <!-- rule: join -->
#
# `scan(a, b, combine)` computes all prefixes. `a` and `b` have one shape, with time on the **last** axis, of any length from
# 1 on (in the tests up to 5,000); any number of axes may stand before it.
#
# - It returns the second part of the prefix at every position, in the shape of `b`. For the steps above that is $h_t$ from
#   $h = 0$, so the first is $b_0$. <!-- rule: prefixes -->
# - It calls `combine` at most $2 \lceil \log_2 L \rceil + 1$ times, with pairs of slices that hold many steps each. <!-- rule: rounds -->
# - It knows nothing about steps except `combine`, and calls it itself. (So leave out torch's own `associative_scan`, which hands
#   `combine` tensors of another kind.) Any other associative rule for pairs may come in its place (the maximum
#   instead of the sum, say); then it gives the prefixes under that rule. The rule need not have a neutral
#   pair, such as $(1, 0)$ here. <!-- rule: any_rule -->
# - Where the rule lets gradients through, they flow through the scan too, to `a` and to `b`, or to the one of them that needs
#   one. <!-- rule: gradients -->
#
# And for both:
#
# - Results have the dtype of the arguments, and are right to one part in 20,000 of their largest value in float32 (one in a billion
#   in float64). <!-- rule: digits -->
# - The arguments stay as they were. <!-- rule: unchanged -->


# %%
def one_by_one(a, b, rule):
    """The prefixes, joined from left to right."""
    now, found = (a[..., 0], b[..., 0]), [b[..., 0]]
    for t in range(1, b.shape[-1]):
        now = rule(now, (a[..., t], b[..., t]))
        found.append(now[1])
    return torch.stack(found, -1)


# %% exercise="associative_scan" minutes=30 difficulty=3
def combine(left, right):
    """The step (a, b) that does `left` = (a, b) first and `right` after it."""
    ### BEGIN SOLUTION
    (a1, b1), (a2, b2) = left, right
    return a2 * a1, a2 * b1 + b2
    ### END SOLUTION


def scan(a, b, combine):
    """Second parts of all prefixes of the pairs (a, b) along the last axis, in about log2(length) rounds."""
    ### BEGIN SOLUTION
    distance = 1
    while distance < b.shape[-1]:
        earlier = a[..., :-distance], b[..., :-distance]
        later = a[..., distance:], b[..., distance:]
        joined = combine(earlier, later)
        a = torch.cat([a[..., :distance], joined[0]], -1)
        b = torch.cat([b[..., :distance], joined[1]], -1)
        distance *= 2
    return b
    ### END SOLUTION


# %% tests="associative_scan" points=4
@check.shared
def joined_by(rule, left, right):
    """Two pairs, joined by an associative rule."""
    (a1, b1), (a2, b2) = left, right
    if rule == "best sum that ends here":  # plus and maximum instead of times and plus
        return a1 + a2, torch.maximum(b1 + a2, b2)
    if rule == "newest that is marked":  # a above 0 marks; neither sums nor products
        return torch.maximum(a1, a2), torch.where(a2 > 0, b2, b1)
    return a2 * a1, a2 * b1 + b2


def prefixes_by_definition(a, b, rule="steps"):
    """One after the other, in float64."""
    now, found = (a[..., 0].double(), b[..., 0].double()), [b[..., 0].double()]
    for t in range(1, b.shape[-1]):
        now = joined_by(rule, now, (a[..., t].double(), b[..., t].double()))
        found.append(now[1])
    return torch.stack(found, -1).to(b.dtype)


@check.scenario
def scan_with_gradients(a, b, weights, rule, needs="ab"):
    """The gradients of a weighted sum of the scan for a and b, or for the one that needs them; None where there is no graph."""
    a, b = a.clone().requires_grad_("a" in needs), b.clone().requires_grad_("b" in needs)
    found = scan(a, b, lambda left, right: joined_by(rule, left, right))
    return gradients_of((found * weights).sum(), [t for t in (a, b) if t.requires_grad]) if found.requires_grad else None


def gradients_by_definition(a, b, weights, rule):
    a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
    found = (prefixes_by_definition(a, b, rule) * weights).sum()
    return torch.autograd.grad(found, (a, b), allow_unused=True, materialize_grads=True)


EXACT = {"float32": 5e-5, "float64": 1e-9}


def drawn_pairs(dtype, axes, count=3, **more):
    plain = cases.tensor(*axes, dtypes=(dtype,))
    sizes = {"rows": (1, 5), "columns": (1, 9), "length": (1, 300)}
    domain = {"a": cases.tensor(*axes, dtypes=(dtype,), low=-1, high=1), "b": plain, **more}
    return cases.draw(seeds, domain, count, **{name: sizes[name] for name in axes})


def check_combine():
    causes = {
        "`left` and `right` are exchanged: what the left step put in is multiplied by the `a` of the right one": lambda left, right: (
            right[0] * left[0],
            left[0] * right[1] + left[1],
        )
    }
    hint = "apply the left step to some h, then the right one: what multiplies h, and what is added in all?"
    given = (numbers(40, 3), numbers(41, 3)), (numbers(42, 3), numbers(43, 3))
    _, after = check.after(combine, *copy.deepcopy(given))
    for name, before, now in zip(("left", "right"), given, after):
        own = "it must stay as it was: does one of your steps work in place?"
        check.equal(list(now), list(before), f"the pair `{name}`, after `combine` has joined it,", own, rtol=0, atol=0)
    for axes in (("rows", "columns"), ("columns",), ()):
        for dtype in ("float32", "float64"):
            domain = {name: cases.tensor(*axes, dtypes=(dtype,)) for name in ("_a1", "_b1", "_a2", "_b2")}
            domain["left"] = cases.derived(lambda _a1, _b1, **_: (_a1, _b1))
            domain["right"] = cases.derived(lambda _a2, _b2, **_: (_a2, _b2))
            drawn = cases.draw(seeds, domain, 2, **{name: (1, 20) for name in axes})
            rtol = EXACT[dtype]
            check.agrees(combine, lambda left, right: joined_by("steps", left, right), drawn, "`combine`", hint, causes=causes, rtol=rtol)


def check_prefixes(a, b, rule, case):
    """One scan, whose combine is lent from here and counted."""
    calls = []

    def counted(left, right):
        calls.append(1)
        return joined_by(rule, left, right)

    length = b.shape[-1]
    what = f"`scan` of {case}" + ("" if rule == "steps" else f' with another rule ("{rule}")')
    expected, zeros = prefixes_by_definition(a, b, rule), torch.zeros_like(b)
    try:
        observed, after = check.after(scan, a, b, counted)
    except Exception as error:
        error.add_note(what)
        raise
    causes = {
        "`combine` was never called: cumulative products leave the range of floats, and fit one rule only": (
            prefixes_by_definition(a, b) if rule != "steps" else zeros / 0
        )
        if not calls
        else zeros / 0,
        "the result is the last pair's own part, not what is joined up to it": b,
    }
    hint = "each is the join of all pairs up to it, joined with `combine` alone"
    check.equal(observed, expected, what, hint, causes=causes, rtol=EXACT[str(b.dtype).removeprefix("torch.")])
    allowed = 2 * math.ceil(math.log2(length)) + 1
    check.between(len(calls), None, allowed, f"the number of calls of combine for {length} steps", "join whole slices, not single steps")
    check.equal(after[:2], [a, b], f"a and b after {what}", "leave the caller's tensors as they are", rtol=0, atol=0)


def check_the_scan():
    for dtype in ("float32", "float64"):
        for axes in (("length",), ("rows", "length"), ("rows", "columns", "length")):
            for case in drawn_pairs(dtype, axes):
                check_prefixes(*case, "steps", case)
    for rule in ("best sum that ends here", "newest that is marked"):
        for case in drawn_pairs("float32", ("rows", "length"), 1):
            check_prefixes(*case, rule, case)
    for shape in ((5000,), (2, 1, 3, 2, 9)):  # more steps and more axes than in any example
        a, b = numbers(seeds[-1], *shape, low=0.999, high=1.0), numbers(seeds[-1] + 1, *shape, low=0.5, high=1.5)
        check_prefixes(a, b, "steps", f"a and b of shape {shape}, where `a` is close to 1")
    for rule in ("steps", "best sum that ends here"):
        for case in drawn_pairs("float64", ("rows", "length"), 1, weights=cases.tensor("rows", "length", dtypes=("float64",), without=("zero",))):
            what = f"`scan` of {case}" + ("" if rule == "steps" else f' with another rule ("{rule}")')
            expected = gradients_by_definition(*case, rule)
            observed = scan_with_gradients(*case, rule)
            check.true(observed is not None, "no gradient flows through `scan`: stay with differentiable operations.")
            check_backward(observed, what)
            for name, mine, right in zip("ab", observed, expected):
                check_gradient(mine, right, name, f"the gradient for `{name}` of {what}", "is something detached?", rtol=1e-7)
    a, b, weights = numbers(seeds[-1], 3, 6, low=0.5, high=1), numbers(seeds[-1] + 1, 3, 6), numbers(seeds[-1] + 2, 3, 6)
    for name, right in zip("ab", gradients_by_definition(a, b, weights, "steps")):
        what = f"`scan` of 3 x 6 numbers, where `{name}` alone needs a gradient"
        observed = scan_with_gradients(a, b, weights, "steps", name)
        check.true(observed is not None, f"no gradient flows through {what}. Whether one is needed is for autograd to say.")
        check_backward(observed, what)
        check_gradient(observed[0], right, name, f"the gradient for `{name}` of {what}", "is something detached?", rtol=1e-4)


with check.exercise("associative_scan"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"combine": check_combine, "scan": check_the_scan})
check.points(4)  # the number below: your points, of 4

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# `combine`: put a number $h$ through the left step, the result through the right step, and collect what multiplies $h$ and
# what does not.
#
# `scan`: after the round with distance $d$, the pair at position $t$ stands for the last $2d$ steps up to $t$. What must
# position $t$ be joined with in the next round? And which positions are already complete, because nothing stands
# before them?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# Slices `a[..., :-d]` (everything that has a partner `d` places later) and `a[..., d:]` (the partners); `torch.cat(..., -1)`
# makes new tensors, so that neither the input nor autograd is disturbed.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# while distance < b.shape[-1]:
#     joined = combine((a[..., :-distance], b[..., :-distance]), ...)
#     a = torch.cat([a[..., :distance], joined[0]], -1)
#     b = ...
#     distance *= 2
# ```
# </details>


# %% [markdown]
# Your scan against a loop, in CPU seconds. The work of the scan is larger (about $\log_2 L$ times), the number of calls to
# torch much smaller. One core does the work one after the other, so the scan's lead here comes from fewer calls
# alone, and shrinks where the tensors are large.

# %%
lengths = [16, 64, 256, 1024]
figure, axis = plt.subplots(figsize=(7, 3))
for channels, style in ((8, "o-"), (512, "s--")):
    for name, function in (("one by one", one_by_one), ("scan", scan)):
        milliseconds = []
        for length in lengths:
            a, b = numbers(150, channels, length, low=0.5, high=1.0), numbers(151, channels, length)
            taken = []
            for _ in range(3):
                begin = time.process_time()
                function(a, b, combine)
                taken.append(1000 * (time.process_time() - begin))
            milliseconds.append(min(taken))
        axis.plot(lengths, milliseconds, style, label=f"{name}, {channels} channels")
axis.set(
    xlabel="length (tokens)", ylabel="CPU time (ms)", xscale="log", yscale="log", title="a recurrence, in a loop and as a scan"
)
axis.legend(fontsize=8)
plt.show()

# %% [markdown]
# transformers has the same rule in its Mamba: `combine_fn` in `modeling_mamba.py`, given to torch's `associative_scan`
# when the model is compiled. On CUDA the kernel of the package `mamba_ssm` goes further: it keeps the states in the
# chip's fast memory and never writes them out.

# %% [markdown]
# ## Part B · Selective
#
# ### 4 · The selective scan (4 points, 30 minutes, difficulty 2 of 3)
#
# A time-invariant system treats every token alike: it cannot skip a filler word and keep a name. Mamba makes three things
# depend on the token: the step $\Delta_t$, the way in $B_t$ and the way out $C_t$. The rates $A$ stay. With the picture of
# exercise 1: a token with a tiny $\Delta_t$ leaves the state alone; one with a large $\Delta_t$ wipes it and writes itself.
#
# $$h_t = e^{\Delta_t A} \odot h_{t-1} + (\Delta_t x_t)\,B_t, \qquad y_t = C_t \cdot h_t + D\,x_t$$
#
# | name | shape | what it is |
# |---|---|---|
# | `x` | `(batch, channels, length)` | inputs |
# | `step` | `(batch, channels, length)` | $\Delta$, one for each token *and channel*, from 0.001 to 3 |
# | `A` | `(channels, state)` | rates, from -20 to -0.01 |
# | `B`, `C` | `(batch, state, length)` | ways in and out, shared by all channels |
# | `D` | `(channels,)` | the shortcut past the state |
# | `state` | `(batch, channels, state)` or `None` | where to start; `None` is zero |
#
# One number through it: $A = -1$, $\Delta = 0.5$, $B = C = 1$, $D = 0$. From $h = 1$ the input $x = 2$ gives
# $h = 0.607 \cdot 1 + 0.5 \cdot 2 = 1.607$, and that is the output.
#
# **Task.** Write `selective_scan(x, step, A, B, C, D, state=None)`. It returns `(y, state)`: the outputs, in the shape of `x`, and
# the state after the last token, `(batch, channels, state)`. A loop over the tokens is fine, and so is your scan of exercise 3. All
# tensors are of one dtype, float32 or float64, in any memory layout; every axis has a length of 1 or more (the tests go to 500
# tokens).
#
# - State and outputs follow the two formulas: what enters is $\Delta_t x_t B_t$, and the output reads the state *after* this
#   token's update. <!-- rule: recurrence -->
# - $D\,x_t$ is added to the output. <!-- rule: shortcut -->
# - It starts from `state`. So a text read in two pieces, with the state handed over, gives what reading it whole
#   gives. <!-- rule: start -->
# - The second result is the state after the last token. <!-- rule: last -->
# - Both results are right to one part in 10,000 of their largest value in float32 (one in a billion in float64), also for a
#   text of 500 tokens. <!-- rule: digits -->
# - Both have the dtype of the arguments. <!-- rule: dtype -->
# - Gradients flow from both results to all arguments that need one, `state` included, also where only one of them does. For all of the
#   table's numbers, and long texts too, they are right to one part in 1,000 of their largest value in float32 (one in a million in
#   float64). <!-- rule: gradients -->
# - The state that you return keeps no larger storage alive: it will be carried for a whole conversation. (A slice is a view, and
#   a view holds the whole storage behind it. What autograd keeps for the gradients does not count.) <!-- rule: small, reported -->
# - The arguments stay as they were, `state` too. <!-- rule: unchanged -->


# %%
def scan_inputs(seed, batch, channels, length, state, dtype=torch.float32):
    """x, step, A, B, C, D of a scan in which everything counts."""
    return (
        numbers(seed, batch, channels, length, dtype=dtype),
        numbers(seed + 1, batch, channels, length, low=0.05, high=1.5, dtype=dtype),
        -numbers(seed + 2, channels, state, low=0.2, high=2, dtype=dtype),
        numbers(seed + 3, batch, state, length, dtype=dtype),
        numbers(seed + 4, batch, state, length, dtype=dtype),
        numbers(seed + 5, channels, dtype=dtype),
    )


def library_scan(x, step, A, B, C, D):
    """transformers' own scan, from state 0: (outputs, last state)."""
    return modeling_mamba.mamba_selective_scan(x, step, A, B, C, D=D, return_last_state=True)


# %% exercise="selective_scan" minutes=30 difficulty=2
def selective_scan(x, step, A, B, C, D, state=None):
    """Mamba's recurrence over a text: (outputs (batch, channels, length), last state (batch, channels, state))."""
    ### BEGIN SOLUTION
    decay = torch.exp(step[..., None] * A[:, None])  # (batch, channels, length, state)
    entering = (step * x)[..., None] * B.mT[:, None]
    h = x.new_zeros(x.shape[0], *A.shape) if state is None else state
    outputs = []
    # unbind, not decay[:, :, t]: the gradient of each such slice would be a tensor as large as the whole
    for a, b, c in zip(decay.unbind(2), entering.unbind(2), C.unbind(2)):
        h = a * h + b
        outputs.append((h * c[:, None]).sum(-1))
    return torch.stack(outputs, -1) + D[:, None] * x, h
    ### END SOLUTION


# %% tests="selective_scan" points=4
def scan_by_definition(x, step, A, B, C, D, state=None, mistake=None):
    """Token by token in float64; with one usual mistake."""
    wide_x, wide_step, wide_A, wide_B, wide_C, wide_D = (t.double() for t in (x, step, A, B, C, D))
    if mistake == "B and C":
        wide_B, wide_C = wide_C, wide_B
    if mistake == "one step":
        wide_step = wide_step.mean(-1, keepdim=True).expand_as(wide_step)
    h = wide_x.new_zeros(x.shape[0], *A.shape) if state is None or mistake == "zero" else state.double()
    outputs = []
    for t in range(x.shape[-1]):
        now = wide_step[:, :, t, None]
        share = 1 if mistake == "no step" else torch.expm1(now * wide_A) / wide_A if mistake == "held" else now
        before = h
        h = torch.exp(-now * wide_A if mistake == "grows" else now * wide_A) * h + share * wide_x[:, :, t, None] * wide_B[:, None, :, t]
        y = ((before if mistake == "old" else h) * wide_C[:, None, :, t]).sum(-1)
        outputs.append(y if mistake == "no D" else y + wide_D * wide_x[:, :, t])
    return torch.stack(outputs, -1).to(x.dtype), (before if mistake == "last" else h).to(x.dtype)


@check.scenario
def scan_in_pieces(given, state, lengths, weights=None, alone=None):
    """What a text gives, read in pieces: outputs, states as they came and as they are at the end, bytes kept, gradients.

    Gradients for all arguments, or for the one of the seven with the number `alone`.
    """
    copies = [None if t is None else t.clone().requires_grad_(weights is not None and alone in (None, i)) for i, t in enumerate((*given, state))]
    x, step, A, B, C, D, state = copies
    inputs = [t for t in copies if t is not None and t.requires_grad]
    outputs, states, came, at = [], [], [], 0
    for length in lengths:
        part = slice(at, at + length)
        with torch.set_grad_enabled(weights is not None):  # as in generating, and as in training
            y, state = selective_scan(x[..., part], step[..., part], A, B[..., part], C[..., part], D, state)
        outputs.append(y)
        states.append(state)
        came.append(state.detach().clone())
        at += length
    outputs = torch.cat(outputs, -1)
    found = {
        "outputs": outputs.detach(),
        "came": came,
        "at the end": [state.detach().clone() for state in states],
        "bytes": [state.untyped_storage().nbytes() for state in states],
    }
    if weights is not None:
        for name, result, share in (("gradients of the outputs", outputs, weights[0]), ("gradients of the last state", state, weights[1])):
            found[name] = None
            if result.requires_grad:
                found[name] = gradients_of((result * share).sum(), inputs)
    return found


def gradients_by_definition(given, state, weights):
    inputs = [t.clone().requires_grad_() for t in (*given, *([] if state is None else [state]))]
    results = scan_by_definition(*inputs)
    return [
        torch.autograd.grad((result * share).sum(), inputs, retain_graph=True, allow_unused=True, materialize_grads=True)
        for result, share in zip(results, weights)
    ]


CAUSES = {
    "D * x is missing: the shortcut past the state": "no D",
    "the output must read the state after this token's update": "old",
    "B is the way in and C the way out": "B and C",
    "the step of each token counts, not one for all": "one step",
    "what enters is step * x * B: the step is missing there": "no step",
    "what enters is step * x * B: Mamba takes Euler's rule there, not the held input of exercise 1": "held",
    "A is negative: the state must decay by exp(step * A)": "grows",
    "start from the state that is handed in": "zero",
    "the state that is returned is that after the last token's update": "last",
}


def check_scans():
    causes = {text: lambda *given, name=name: scan_by_definition(*given, mistake=name) for text, name in CAUSES.items()}
    hint = "the new state is exp(step * A) * h + step * x * B; the output is the sum over the state of C * h, plus D * x; all of it with its digits, "
    hint += "which the difference of two large sums has not"
    for dtype, started in (("float32", True), ("float32", False), ("float64", True)):

        def drawn(*axes, dtype=dtype, **options):
            return cases.tensor(*axes, dtypes=(dtype,), layouts=("contiguous", "transposed"), **options)

        domain = {
            "x": drawn("batch", "channels", "length"),
            "step": drawn("batch", "channels", "length", low=1e-3, high=3),
            "A": drawn("channels", "state", low=-20, high=-0.01),
            "B": drawn("batch", "state", "length"),
            "C": drawn("batch", "state", "length"),
            "D": drawn("channels"),
        }
        if started:
            domain["state"] = drawn("batch", "channels", "state")
        what = "`selective_scan`" if started else "`selective_scan` without a state"
        sizes = {"batch": (1, 4), "channels": (1, 9), "state": (1, 9), "length": (1, 500)}
        rtol = 1e-4 if dtype == "float32" else 1e-9
        check.agrees(selective_scan, scan_by_definition, cases.draw(seeds, domain, 3, **sizes), what, hint, causes=causes, rtol=rtol)
    finite = "products of decays may be as small as 0: what is divided by one, or multiplied by exp(-step * A), leaves the range of floats"
    for dtype in (torch.float32, torch.float64):  # the fastest decays that may come
        x, _, _, B, C, D = scan_inputs(seeds[-1], 2, 3, 40, 2, dtype)
        given = x, torch.full_like(x, 3.0), torch.full((3, 2), -20.0, dtype=dtype), B, C, D, numbers(seeds[-1] + 6, 2, 3, 2, dtype=dtype)
        seen = selective_scan(*given)
        why = finite if not all(part.isfinite().all() for part in seen if isinstance(part, torch.Tensor)) else hint
        rtol = 1e-4 if dtype == torch.float32 else 1e-9
        check.equal(seen, scan_by_definition(*given), f"`selective_scan` of 2 x 3 x 40 tokens in {dtype} with step = 3 and A = -20", why, rtol=rtol)


def check_handing_over(seed):
    for (batch, channels, state, lengths), dtype in (
        ((2, 3, 4, (3, 4)), torch.float32),
        ((1, 1, 1, (1, 1, 40)), torch.float32),  # here even a slice of all states is contiguous
        ((3, 5, 2, (1, 9, 1)), torch.float64),
        ((1, 2, 3, (70, 230)), torch.float32),
    ):
        given = scan_inputs(seed, batch, channels, sum(lengths), state, dtype)
        for start in (None, numbers(seed + 6, batch, channels, state, dtype=dtype)):
            what = f"a text of {'+'.join(map(str, lengths))} tokens read in pieces, {'from zero' if start is None else 'from a given state'}"
            y, last = scan_by_definition(*given, start)
            seen = scan_in_pieces(given, start, lengths)
            rtol = 1e-4 if dtype == torch.float32 else 1e-9
            check.equal(seen["outputs"], y, f"the outputs of {what}", "each piece must start from the state that is handed in", rtol=rtol)
            check.equal(seen["came"][-1], last, f"the last state of {what}", "it is the state after the last token", rtol=rtol)
            own = "a later call has changed a state that was returned before: do not change it in place"
            check.equal(seen["at the end"], seen["came"], f"the states of {what}, when all is read", own, rtol=0, atol=0)
            for n, size in zip(lengths, seen["bytes"]):
                wanted = batch * channels * state * (4 if dtype == torch.float32 else 8)
                view = "is it a slice of all states? A view keeps the whole tensor (.contiguous() may be one too); .clone() lets go of it"
                check.between(size, None, wanted + 64, f"the bytes that a state of {wanted} bytes keeps alive after {n} tokens", view)
            if start is not None or batch == 2:
                check_gradients_of(given, start, lengths, what, seed)


def check_gradients_of(given, start, lengths, what, seed, alone=None):
    """Those of the outputs and of the last state, of a text in pieces; for all arguments, or for one that alone needs them."""
    arguments = ("x", "step", "A", "B", "C", "D", "state")
    if alone is not None:
        what += f", where `{arguments[alone]}` alone needs a gradient"
    x, A = given[0], given[2]
    rtol = 1e-3 if x.dtype == torch.float32 else 1e-6
    weights = numbers(seed + 7, *x.shape, dtype=x.dtype), numbers(seed + 8, len(x), *A.shape, dtype=x.dtype)
    seen = scan_in_pieces(given, start, lengths, weights, alone)
    both = {name: seen[f"gradients of the {name}"] for name in ("outputs", "last state")[: 1 if alone in (4, 5) else 2]}  # C and D: not in the state
    for name, observed in both.items():
        check.true(
            observed is not None,
            f"no gradient flows through the {name} of {what}: it is detached. Training on a text in pieces needs it; .clone() keeps it."
            if alone is None
            else f"no gradient flows through the {name} of {what}. Whether one is needed is for autograd to say, not for one argument.",
        )
        check_backward(observed, f"the {name} of {what}")
    for (name, observed), expected in zip(both.items(), gradients_by_definition(given, start, weights)):
        wanted = zip(arguments, expected) if alone is None else [(arguments[alone], expected[alone])]
        for (argument, right), mine in zip(wanted, observed):
            least = rtol * max(right.abs().max().item(), 1e-20)  # what decays for hundreds of tokens is as good as 0
            hint = "they flow through every token, and through the state that is handed over; small ones too must have their digits"
            if not mine.isfinite().all():
                hint = "they must be finite: an infinity that is masked out after exp still meets its gradient of 0, and gives NaN"
            check_gradient(mine, right, argument, f"the gradients of the {name} for {argument}, {what}", hint, rtol=rtol, atol=least)


def check_gradients():
    """On the same domain as the values."""
    slow = [*scan_inputs(seeds[-1], 1, 2, 500, 2)]
    slow[1], slow[2] = torch.full_like(slow[1], 0.001), torch.full_like(slow[2], -0.01)
    start = numbers(seeds[-1] + 6, 1, 2, 2)
    check_gradients_of(slow, start, (500,), "1 x 2 x 500 tokens, whole, with step = 0.001 and A = -0.01", seeds[-1])
    given, start = scan_inputs(seeds[-1], 2, 3, 7, 4), numbers(seeds[-1] + 6, 2, 3, 4)
    for alone in range(7):
        check_gradients_of(given, start, (3, 4), "a text of 3+4 tokens read in pieces, from a given state", seeds[-1], alone)
    for dtype in ("float32", "float64"):
        domain = {
            "step": cases.tensor("batch", "channels", "length", dtypes=(dtype,), low=1e-3, high=3),
            "A": cases.tensor("channels", "state", dtypes=(dtype,), low=-20, high=-0.01),
        }
        drawn = cases.draw(seeds, domain, 1, batch=(1, 2), channels=(1, 3), state=(1, 3), length=(1, 40))
        fastest = [torch.full((1, 1, 40), 3.0, dtype=getattr(torch, dtype)), torch.full((1, 1), -20.0, dtype=getattr(torch, dtype))]
        for case in (*drawn, fastest):
            step, A = case
            batch, channels, length = step.shape
            x, _, _, B, C, D = scan_inputs(seeds[-1], batch, channels, length, A.shape[1], step.dtype)
            start = numbers(seeds[-1] + 6, batch, *A.shape, dtype=step.dtype)
            words = "1 x 1 x 40 tokens with step = 3 and A = -20" if case is fastest else f"{batch} x {channels} x {length} tokens with {case}"
            check_gradients_of((x, step, A, B, C, D), start, (length,), words, seeds[-1])


with check.exercise("selective_scan"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check_scans()
    for seed in seeds:
        check_handing_over(seed)
    check_gradients()

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# The state needs three axes, the inputs have two of them and a time. `step` and `x` carry batch and channels, `B` and `C`
# carry batch and state: which of them lacks which axis, and where must you insert it so that they broadcast to
# `(batch, channels, state)`?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# Indexing with `None` inserts an axis: `step[:, :, t, None]` is `(batch, channels, 1)`, `B[:, None, :, t]` is
# `(batch, 1, state)`. `x.new_zeros(...)` for the start; `torch.stack(outputs, -1)`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# h = x.new_zeros(x.shape[0], *A.shape) if state is None else state
# for t in range(x.shape[-1]):
#     decay = torch.exp(step[:, :, t, None] * A)
#     h = decay * h + ...
#     outputs.append((h * C[:, None, :, t]).sum(-1))
# ```
# </details>


# %% [markdown]
# ### 5 · Write the tests (3 points, 25 minutes, difficulty 2 of 3)
#
# Scans are rewritten all the time: in Triton, in chunks, with a state for serving. Each version must be tested, and one
# short text against one stored output misses a third of the mistakes made here: below is a scan
# with one of ten bugs. One of them you will meet in a library in part C.
#
# **Task.** Write `check_scan(scan)`. It gets a function with the signature of `selective_scan`: call it with arguments by position or
# by name, as you like (no bug hides there). For float32 arguments, with numbers as large as those of `any_inputs` below, it promises:
#
# - outputs and last state as in exercise 4, in their shapes too, from `state` or from zero; equal to the exact ones as far as `near`
#   (below) can tell, for texts of 1 to 300 tokens;
# - all arguments stay as they were.
#
# (Gradients and memory are not part of it: everything runs without gradients.) `any_inputs(length)` makes inputs; the length,
# and what you look at, are your choice. What is right you may compute by a loop of your own or with `library_scan` of exercise
# 4, which knows no starting state.
#
# - If a promise is broken, `check_scan` raises an error, for instance by `assert`. What it returns is ignored. <!-- rule: raises -->
# - If all are kept it raises nothing. Right implementations differ in rounding, so compare with `near`, not bit for
#   bit, and in the memory layout of what they return. <!-- rule: no_false_alarm -->
# - A bug may show only if a state is handed in, or only if none is. <!-- rule: with_a_state -->
# - A bug may show only in the outputs, or only in the last state; in either in a part of the numbers only: a row, a channel, a token,
#   an entry of the state. <!-- rule: last_state -->
# - A bug may show only in what became of an argument, any of the seven. <!-- rule: arguments -->
# - A bug may show only in a long text (kernels work in chunks, of up to 64 tokens here, so 65 tokens are long), or only in a text of a
#   single token, as in generating. <!-- rule: lengths -->
# - Two of these may come together: only in the last state and only if a state is handed in, for instance. <!-- rule: together -->
#
# It is run on right implementations and on broken ones: the ten below and, at grading, others. A right one turned down costs
# all points; otherwise the share of the broken ones that you catch is the share of the points.


# %%
def any_inputs(length):
    """x, step, A, B, C, D and a starting state, all different, for a text of `length` tokens."""
    return *scan_inputs(300, 2, 3, length, 4), numbers(306, 2, 3, 4)


def near(observed, expected):
    """Whether tensors, or tuples of them, are equal up to rounding in float32."""
    if isinstance(expected, tuple):
        return len(observed) == len(expected) and all(map(near, observed, expected))
    return observed.shape == expected.shape and torch.allclose(observed, expected, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def scan_one_by_one(x, step, A, B, C, D, state, bug=None):
    """A selective scan, token by token; with one of `bugs`, or right."""
    if bug == "exchanges B and C":
        B, C = C, B
    if bug == "uses one step for all tokens":
        step = step.mean(-1, keepdim=True).expand_as(step)
    if bug == "uses one step for all channels":
        step = step.mean(1, keepdim=True).expand_as(step)
    if bug == "starts every call at zero" or state is None:
        state = x.new_full((x.shape[0], *A.shape), float(bug == "starts from ones where no state is handed in"))
    h, outputs = state, []
    for t in range(x.shape[-1]):
        if bug == "forgets everything after every 16 tokens" and t and t % 16 == 0:
            h = torch.zeros_like(h)
        before = h
        decay = torch.exp(step[..., t, None] * A)
        entering = (step * x)[..., t, None] * B[:, None, :, t]
        h = h.mul_(decay).add_(entering) if bug == "changes the caller's state" else decay * h + entering
        read = before if bug == "reads the state before the update" else h
        outputs.append((read * C[:, None, :, t]).sum(-1))
    y = torch.stack(outputs, -1)
    if bug != "leaves out D":
        y = y + D[:, None] * x
    return y, (before if bug == "returns the state before the last token" else h).clone()


def scan_with(bug=None):
    """`scan_one_by_one` with a bug, under the signature of `selective_scan`."""
    return lambda x, step, A, B, C, D, state=None: scan_one_by_one(x, step, A, B, C, D, state, bug)


bugs = [
    "starts every call at zero",
    "starts from ones where no state is handed in",
    "reads the state before the update",
    "returns the state before the last token",
    "changes the caller's state",
    "leaves out D",
    "exchanges B and C",
    "uses one step for all tokens",
    "uses one step for all channels",
    "forgets everything after every 16 tokens",
]


# %% exercise="check_scan" minutes=25 difficulty=2
def check_scan(scan):
    """Raise an error if `scan` breaks a promise of `selective_scan`."""
    ### BEGIN SOLUTION
    for length in (1, 80):
        *given, start = any_inputs(length)
        x, step, A, B, C, D = given
        for state in (None, start):
            h = torch.zeros_like(start) if state is None else state.clone()
            expected = []
            for t in range(length):
                h = torch.exp(step[..., t, None] * A) * h + (step * x)[..., t, None] * B[:, None, :, t]
                expected.append((h * C[:, None, :, t]).sum(-1) + D * x[..., t])
            handed = [t.clone() for t in (*given, start)]
            y, last = scan(*handed[:6], None if state is None else handed[6])
            assert near(y, torch.stack(expected, -1)), f"outputs of {length} tokens, from {state}"
            assert near(last, h), f"last state of {length} tokens, from {state}"
            assert all(map(torch.equal, handed, (*given, start))), "an argument was changed"
    ### END SOLUTION


# %% tests="check_scan" points=3
@torch.no_grad()
def in_chunks(x, step, A, B, C, D, state=None):
    """Right too: matrix products within chunks of 16 tokens, the state carried over."""
    h, outputs = x.new_zeros(x.shape[0], *A.shape) if state is None else state, []
    for x_now, step_now, B_now, C_now in zip(*(t.split(16, -1) for t in (x, step, B, C))):
        total = torch.cumsum(step_now[:, :, None] * A[..., None], -1)  # (batch, channels, state, length)
        age = total[..., :, None] - total[..., None, :]
        causal = torch.ones(age.shape[-2:], dtype=torch.bool).tril()
        weights = age.masked_fill(~causal, -torch.inf).exp()  # to, from
        states = torch.einsum("bcnts,bcs,bns->bcnt", weights, step_now * x_now, B_now) + total.exp() * h[..., None]
        outputs.append(torch.einsum("bcnt,bnt->bct", states, C_now) + D[:, None] * x_now)
        h = states[..., -1].clone()
    return torch.cat(outputs, -1), h


@torch.no_grad()
def in_float64(x, step, A, B, C, D, state=None):
    """Right too: more digits inside, and results in another memory layout."""
    wide = (t if t is None else t.double() for t in (x, step, A, B, C, D, state))
    return tuple(part.float().mT.contiguous().mT for part in scan_one_by_one(*wide))


with check.exercise("check_scan"):
    right_scans = {"a loop": scan_with(), "in chunks": in_chunks, "float64 inside, another memory layout": in_float64}
    wrong_scans = {bug: scan_with(bug) for bug in bugs}
    ### BEGIN HIDDEN TESTS

    @torch.no_grad()
    def hidden_scan(bug, x, step, A, B, C, D, state):
        """The same for the hidden bugs; one that names cases ("in ...", "where ...") is right in all others."""
        length, start = x.shape[-1], x.new_zeros(x.shape[0], *A.shape) if state is None else state
        case = {
            " where a state is handed in": state is not None,
            " where no state is handed in": state is None,
            " in a text of a single token": length == 1,
            " in a text of more than 64 tokens": length > 64,
        }
        while ends := [words for words in case if bug.endswith(words)]:
            bug = bug.removesuffix(ends[0]) if case[ends[0]] else "none"
        if bug == "reads C of the next token":
            C = C.roll(-1, -1)
        if bug == "uses the first row's B for all rows":
            B = B[:1].expand_as(B)
        if bug == "uses the first row's C for all rows":
            C = C[:1].expand_as(C)
        if bug == "has one rate for all entries of the state":
            A = A[:, :1].expand_as(A)
        if bug == "has one D for all channels":
            D = D[:1].expand_as(D)
        if bug == "takes the text for its beginning":
            state = None
        if bug == "forgets everything after every 64 tokens" and length > 64:
            first, _ = scan_one_by_one(x[..., :64], step[..., :64], A, B[..., :64], C[..., :64], D, state)
            rest, last = hidden_scan(bug, x[..., 64:], step[..., 64:], A, B[..., 64:], C[..., 64:], D, None)
            return torch.cat([first, rest], -1), last
        if bug == "decays by Euler's rule":
            h, outputs = start, []
            for t in range(length):
                h = (1 + step[..., t, None] * A) * h + (step * x)[..., t, None] * B[:, None, :, t]
                outputs.append((h * C[:, None, :, t]).sum(-1))
            return torch.stack(outputs, -1) + D[:, None] * x, h
        if bug == "adds the starting state only to the last state":
            y, last = scan_one_by_one(x, step, A, B, C, D, None)
            return y, last + start
        if bug == "adds the starting state undecayed":
            y, last = scan_one_by_one(x, step, A, B, C, D, None)
            return y + (start[..., None] * C[:, None]).sum(2), last + start
        y, last = scan_one_by_one(x, step, A, B, C, D, state)
        after = {"returns the state before the last token": length - 1, "returns the state of token 64": 64}.get(bug)
        if after is not None:
            x_read, step_read, B_read, C_read = (t[..., :after] for t in (x, step, B, C))
            last = scan_one_by_one(x_read, step_read, A, B_read, C_read, D, state)[1] if after else start.clone()
        if bug == "leaves out D":
            y = y - D[:, None] * x
        if bug == "leaves out D for the first token":
            y = torch.cat([y[..., :1] - D[:, None] * x[..., :1], y[..., 1:]], -1)
        if bug == "drops the axis of time from the outputs" and length == 1:
            y = y[..., 0]
        if bug == "gives zeros":
            y, last = 0 * y, 0 * last
        if bug == "returns zeros for the last state":
            last = 0 * last
        if bug == "returns the last state without its batch":
            last = last[0]
        if bug == "returns the first row's last state for all rows":
            last = last[:1].expand_as(last).clone()
        if bug == "returns zeros for the last channel's last state":
            last = torch.cat([last[:, :-1], 0 * last[:, -1:]], 1)
        if bug == "exchanges the last two entries of the last state":
            last = torch.cat([last[..., :-2], last[..., -2:].flip(-1)], -1)
        if bug == "exchanges the rows of the batch":
            y, last = y.flip(0), last.flip(0)
        if bug == "gives only the newest output, and zeros before it":
            y = F.pad(y[..., -1:], (length - 1, 0))
        if bug == "rounds to bfloat16":
            y, last = y.bfloat16().float(), last.bfloat16().float()
        if bug == "writes the outputs over x":
            x.copy_(y)
        if bug == "writes step * x over step":
            step.mul_(x)
        if bug == "writes the last state over the caller's" and state is not None:
            state.copy_(last)
        for name, argument in {"A": A, "B": B, "C": C, "D": D}.items():
            if bug == f"writes zeros over {name}":
                argument.zero_()
        return y, last

    def hidden_scan_with(bug):
        return lambda x, step, A, B, C, D, state=None: hidden_scan(bug, x, step, A, B, C, D, state)

    hidden_bugs = [
        "reads C of the next token",
        "uses the first row's B for all rows",
        "uses the first row's C for all rows",
        "has one rate for all entries of the state",
        "has one D for all channels",
        "decays by Euler's rule",
        "adds the starting state only to the last state",
        "adds the starting state undecayed",
        "gives zeros",
        "returns the last state without its batch",
        "returns the first row's last state for all rows",
        "returns zeros for the last channel's last state",
        "exchanges the last two entries of the last state",
        "exchanges the rows of the batch",
        "gives only the newest output, and zeros before it",
        "rounds to bfloat16",
        "forgets everything after every 64 tokens where a state is handed in",
        "forgets everything after every 64 tokens where no state is handed in",
        "takes the text for its beginning in a text of a single token",
        "gives zeros in a text of a single token where no state is handed in",
        "leaves out D where a state is handed in",
        "leaves out D where no state is handed in",
        "leaves out D in a text of a single token",
        "leaves out D in a text of more than 64 tokens",
        "leaves out D for the first token in a text of more than 64 tokens",
        "drops the axis of time from the outputs in a text of a single token",
        "returns the state before the last token where a state is handed in",
        "returns zeros for the last state where no state is handed in",
        "returns the state before the last token in a text of a single token",
        "returns the state of token 64 in a text of more than 64 tokens",
        "writes the outputs over x",
        "writes the outputs over x where no state is handed in",
        "writes step * x over step",
        "writes step * x over step where a state is handed in",
        "writes zeros over A",
        "writes zeros over B",
        "writes zeros over B in a text of more than 64 tokens",
        "writes zeros over C",
        "writes zeros over C in a text of a single token",
        "writes zeros over D",
        "writes the last state over the caller's in a text of a single token",
    ]
    wrong_scans |= {bug: hidden_scan_with(bug) for bug in hidden_bugs}
    ### END HIDDEN TESTS
    check.catches(check_scan, right_scans, wrong_scans, "your checks")
check.points(3)  # the number below: your points, of 3

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Which bugs can be seen at all with state 0? Which need a text of a certain length? Which stay hidden if all steps are
# equal, if `B` equals `C`, or if the batch has one row? Choose inputs in which everything differs from everything, and
# look at all that a call leaves behind: the outputs, the last state, and the tensors that were handed in. Keep copies of
# those, and compute what is right from the copies.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `any_inputs(length)` and `near(observed, expected)` from above; `torch.equal` and `.clone()` for what must not have changed.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# for length in (1, ...):
#     x, step, A, B, C, D, start = any_inputs(length)
#     for state in (None, start):
#         ...                                         # a loop: expected outputs, and h at the end
#         handed = [t.clone() for t in ...]
#         y, last = scan(*handed[:6], None if state is None else handed[6])
#         assert near(y, torch.stack(expected, -1))
#         ...                                         # the last state; and are all of `handed` what they were?
# ```
# </details>


# %% [markdown]
# ## Part C · What a token costs when you generate
#
# ### 6 · Mamba's block, with its state (5 points, 40 minutes, difficulty 3 of 3)
#
# A Mamba block wraps the scan in four things: a projection that doubles the width twice (one half becomes the input, the
# other a gate), a short causal convolution, small projections that make $\Delta$, $B$, $C$ from the input, and the gate. In the
# order of the computation, with the parts of `mixer` by their names:
#
# | line | what | how |
# |---|---|---|
# | 1 | `x`, `gate` | the two halves of `in_proj(hidden)`, in this order |
# | 2 | `x` | SiLU of the causal convolution `conv1d` of `x`, each channel with its own `conv_kernel_size` taps |
# | 3 | `low`, B, C | the parts of `x_proj(x)`, in this order: `time_step_rank`, `ssm_state_size` and `ssm_state_size` numbers a token |
# | 4 | `step` | softplus of `dt_proj(low)`; `dt_proj(low)` may be as large as 150 |
# | 5 | `y` | the selective scan of `x`, with $A = -e^{\texttt{A\_log}}$ and `D` |
# | 6 | `out` | `out_proj` of `y` times SiLU of `gate` |
#
# Two things must be carried from token to token: the state $h$, and what the convolution still needs of the past, its last
# $K - 1$ inputs ($K$ is `conv_kernel_size`). Together they are all that Mamba ever remembers, after ten tokens or ten million.
#
# **Task.** Write `mamba_block(mixer, hidden, state=None)` with the weights of `mixer`, one of transformers' `MambaMixer`s; its
# parts are printed below. Any of `in_proj`, `conv1d`, `out_proj` may have a bias or none; $K$ is 2 to 4. The mixer and its parts may be
# in either mode, its weights frozen or not; at the next call the mode and the weights' values may be different ones. `hidden` is
# float32 `(batch, length, hidden_size)`, each axis 1 or longer (the tests go to 120 tokens). Return `(out, state)`: `out` of the
# shape of `hidden`, and a `state` of your own making (tensors in a tuple, list or dictionary) that a later call takes.
#
# - From `None` it gives what `mixer(hidden)` gives, to one part in 10,000 of the largest value. <!-- rule: whole -->
# - A text read in pieces gives what reading it whole gives. <!-- rule: pieces -->
# - A piece may be of **any** length, also shorter than the convolution. <!-- rule: short_pieces -->
# - Gradients of a text in pieces are those of the whole text (to one part in 1,000), also where only `hidden` needs one, since all
#   weights are frozen, or where only weights do. <!-- rule: gradients -->
# - It calls `selective_scan`, by that name and from inside the function: the tests put a scan of their own in its
#   place. <!-- rule: scan -->
# - The mixer itself is not called, only its parts. <!-- rule: parts -->
# - The state has the same number of bytes after every text (of one batch size), keeps no larger storage alive, and has at most
#   `ssm_state_size` + $K$ numbers for each row and channel ($K$ inputs may be kept, though $K - 1$ are needed). <!-- rule: size, reported -->
# - `hidden`, `mixer` and the `state` that was given stay as they were: several answers may start from one state. Nothing is kept on the
#   mixer, or anywhere but in the state. <!-- rule: unchanged -->


# %%
def tiny_mamba(seed=0, **changes):
    """A small MambaForCausalLM, with weights large enough for every part to count."""
    torch.manual_seed(seed)
    sizes = dict(vocab_size=24, hidden_size=16, num_hidden_layers=2, state_size=5, conv_kernel=4, eos_token_id=None)
    model = MambaForCausalLM(MambaConfig(**{**sizes, **changes})).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "A_log" not in name:
                weight.add_(0.25 * torch.randn_like(weight))
    return model


def kept_bytes(state):
    """Bytes that a state keeps alive: of the whole storages behind its tensors."""
    if isinstance(state, torch.Tensor):
        return state.untyped_storage().nbytes()
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, (tuple, list)) else []
    return sum(map(kept_bytes, parts))


def as_in_use(module, first=2, freeze=True):
    """The module as a training may have it: every third part, from number `first`, in evaluation mode, a frozen weight, gradients."""
    module.train()
    for part in list(module.modules())[first::3]:
        part.training = False
    weights = list(module.parameters())
    weights[0].requires_grad_(not freeze)
    for weight in weights[1:]:
        weight.grad = torch.ones_like(weight)
    return module


@torch.no_grad()
def updated(module):
    """The module, all of whose weights have changed in place, as an optimizer does it."""
    for weight in module.parameters():
        weight.mul_(0.9).add_(0.05)
    return module


mixer = tiny_mamba().backbone.layers[0].mixer
print(mixer)
for name, value in [("A_log", mixer.A_log), ("D", mixer.D)]:
    print(f"{name}: {tuple(value.shape)}")
print(f"time_step_rank {mixer.time_step_rank}, ssm_state_size {mixer.ssm_state_size}, conv_kernel_size {mixer.conv_kernel_size}")


# %% exercise="mamba_block" minutes=40 difficulty=3
def mamba_block(mixer, hidden, state=None):
    """`mixer` applied to hidden (batch, length, hidden_size), from `state`: (out, new state)."""
    ### BEGIN SOLUTION
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)  # (batch, channels, length) each
    reach = mixer.conv_kernel_size - 1
    past, h = (x.new_zeros(*x.shape[:2], reach), None) if state is None else state
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    sizes = [mixer.time_step_rank, mixer.ssm_state_size, mixer.ssm_state_size]
    low, B, C = mixer.x_proj(x.mT).split(sizes, dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    out = mixer.out_proj((y * F.silu(gate)).mT)
    return out, (seen[..., seen.shape[-1] - reach :].clone(), h)
    ### END SOLUTION


# %% tests="mamba_block" points=5
@check.shared
def mixer_of(plan):
    """A mixer with biases that count; `plan` may name a bias for the step of the last channel."""
    plan = dict(plan)
    step = plan.pop("step", None)
    mixer = tiny_mamba(**plan).backbone.layers[-1].mixer
    with torch.no_grad():
        if step is not None:
            mixer.dt_proj.bias[-1] = step
        for layer in (mixer.in_proj, mixer.conv1d, mixer.out_proj):
            if layer.bias is not None:
                layer.bias.add_(0.5 * torch.randn_like(layer.bias))
    return mixer


@check.shared
def plain_scan(x, step, A, B, C, D, state=None, factor=1.0):
    """A right selective scan; with a factor, one whose outputs tell that it was called."""
    h, outputs = x.new_zeros(x.shape[0], *A.shape) if state is None else state, []
    for now, by, into, out in zip(*(t.unbind(-1) for t in (x, step, B, C))):
        h = torch.exp(by[..., None] * A) * h + (by * now)[..., None] * into[:, None]
        outputs.append((h * out[:, None]).sum(-1) + D * now)
    return factor * torch.stack(outputs, -1), h


@check.shared
def copied(state):
    """Copies of the tensors of a state, in their order."""
    if isinstance(state, torch.Tensor):
        return [state.detach().clone()]
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, (tuple, list)) else []
    return [tensor for part in parts for tensor in copied(part)]


@check.scenario
def block_in_pieces(plan, hidden, lengths, factor=1.0, weights=None, update=False, alone=""):
    """What `mamba_block` gives for a text in pieces, with `plain_scan` in the place of `selective_scan`.

    With `update`, after a first call and a change of all weights; with `alone`, only "hidden" or only "weights" need a gradient.
    """
    mixer = as_in_use(mixer_of(plan), plan["seed"] % 3, freeze=weights is None)
    if alone == "hidden":
        mixer.requires_grad_(False)

    def refuse(*given, **named):
        raise AssertionError("the mixer itself was called: put its parts together yourself")

    def own_scan(*given, **named):
        return plain_scan(*given, **named, factor=factor)

    names = getattr(inspect.unwrap(mamba_block), "__globals__", globals())
    kept, names["selective_scan"] = names.get("selective_scan"), own_scan
    found = {"shapes": [], "bytes": [], "given": [], "again": None}
    try:
        if update:
            with torch.no_grad():
                mamba_block(mixer, hidden)
            updated(mixer)
        before = check.module_state(mixer, values=True)
        mixer.forward = refuse
        with torch.set_grad_enabled(weights is not None):
            text = hidden.clone().requires_grad_(weights is not None and alone != "weights")
            outputs, states = [], [None]
            for piece in text.split(lengths, dim=1):
                handed = copied(states[-1])
                result = mamba_block(mixer, piece, states[-1])
                if not (isinstance(result, (tuple, list)) and len(result) == 2):
                    return {"returned": type(result).__name__}
                outputs.append(result[0])
                states.append(result[1])
                found["shapes"].append(list(result[0].shape))
                found["bytes"].append(kept_bytes(result[1]))
                found["given"].append((copied(states[-2]), handed))
            if len(lengths) > 1:  # the last piece once more, from the state that it had
                found["again"] = mamba_block(mixer, text[:, -lengths[-1] :], states[-2])[0].detach()
            found["last piece"] = outputs[-1].detach()
            if weights is not None:
                out = torch.cat(outputs, 1)
                given = [t for t in (text, *mixer.parameters()) if t.requires_grad]
                found["gradients"] = None
                if out.requires_grad:
                    found["gradients"] = gradients_of((out * weights).sum(), given)
    finally:
        names["selective_scan"] = kept
    del mixer.forward
    found["states"] = check.module_state(mixer, values=True), before
    found["hidden"] = text.detach()
    found["out"] = torch.cat([out.detach() for out in outputs], 1) if len({tuple(out.shape[2:]) for out in outputs}) == 1 else outputs[-1].detach()
    return found


@torch.no_grad()
def block_by_definition(plan, hidden, factor=1.0, mistake=None):
    """The table, line by line."""
    mixer = mixer_of(plan)
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)[:: -1 if mistake == "halves" else 1]
    reach = mixer.conv_kernel_size - 1
    taps = mixer.conv1d.weight.flip(-1) if mistake == "flip" else mixer.conv1d.weight
    seen = mixer.in_proj(F.pad(hidden, (0, 0, reach, 0))).mT.chunk(2, dim=1)[0] if mistake == "early" else F.pad(x, (reach, 0))
    x = F.conv1d(seen, taps, mixer.conv1d.bias, groups=x.shape[1])
    x = x if mistake == "no SiLU" else F.silu(x)
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank, mixer.ssm_state_size, mixer.ssm_state_size], dim=-1)
    B, C = (C, B) if mistake == "B and C" else (B, C)
    step = F.linear(low, mixer.dt_proj.weight) if mistake == "no bias" else mixer.dt_proj(low)
    step = step.exp() if mistake == "no softplus" else (1 + step.exp()).log() if mistake == "overflow" else F.softplus(step)
    y, _ = plain_scan(x, step.mT, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, factor=factor)
    return mixer.out_proj((y * (gate if mistake == "gate" else F.silu(gate))).mT)


MISTAKES = {
    "in_proj gives first the input, then the gate": "halves",
    "the convolution of torch needs no flip": "flip",
    "SiLU follows the convolution": "no SiLU",
    "zeros go in front of the convolution's input: in front of `hidden`, the bias of in_proj makes something else of them": "early",
    "x_proj gives low, then B, then C": "B and C",
    "dt_proj has a bias": "no bias",
    "exp(z) is infinite in float32 where z is above 88, and so is log(1 + exp(z)): torch has softplus": "overflow",
    "the gate goes through SiLU": "gate",
}


def check_pieces_of(plan, hidden, lengths, what, hint, factor=1.0):
    """A text in pieces against the mixer (or, with a factor, against the table)."""
    with torch.no_grad():
        expected = mixer_of(plan)(hidden) if factor == 1 else block_by_definition(plan, hidden, factor)
    if "step" in plan:
        hint = f"dt_proj gives about {plan['step']:.0f} in the last channel, and its softplus is as large, neither cut off nor infinite; {hint}"
    causes = {text: lambda name=name: block_by_definition(plan, hidden, factor, name) for text, name in MISTAKES.items()}
    if factor != 1:
        causes = {"`selective_scan` was not called": block_by_definition(plan, hidden)}
    seen, (_, after, *_) = check.after(block_in_pieces, plan, hidden, lengths, factor)
    check.true("out" in seen, f"`mamba_block` returned one {seen.get('returned')}, expected the pair (out, state).")
    batch, _, width = hidden.shape
    check.equal(seen["shapes"], [[batch, n, width] for n in lengths], f"the shapes of the outputs of {what}")
    check.equal(seen["out"], expected, f"the output of {what}", hint, causes=causes, rtol=1e-4)
    check.unchanged(*seen["states"], f"the mixer after {what}")
    check.equal(seen["hidden"], hidden, f"`hidden` after {what}", "does one of your steps work in place?", rtol=0, atol=0)
    return seen


PLANS = [
    {},
    {"conv_kernel": 3, "use_conv_bias": False, "hidden_size": 24, "time_step_rank": 3},
    {"use_bias": True, "expand": 3, "state_size": 2, "conv_kernel": 2},
    {"state_size": 1, "time_step_rank": 7, "num_hidden_layers": 1, "step": 145.0},
    {"hidden_size": 1, "expand": 1, "state_size": 3},
]


def check_whole():
    hint = "follow the table line by line; convolution (causal, no flip) and scan have the time last, the projections the width"
    for seed in seeds:
        for i, plan in enumerate(PLANS):
            for batch, length in ((1, 1), (2, 9), (3, 40)) if i == 0 else ((2, 14),):
                plan = {**plan, "seed": seed + i}
                hidden = numbers(seed + i, length, batch, plan.get("hidden_size", 16)).transpose(0, 1)
                what = f"a text of {batch} x {length} tokens with {plan}"
                check_pieces_of(plan, hidden, [length], what, hint)
        called = "call `selective_scan` by its name: exercise 4 does the work"
        check_pieces_of({"seed": seed}, numbers(seed, 2, 9, 16), [9], "a text, where selective_scan gives the outputs doubled", called, 2.0)
        plan, hidden = {"use_bias": True, "seed": seed}, numbers(seed, 2, 9, 16)
        with torch.no_grad():
            expected, stale = updated(mixer_of(plan))(hidden), updated(mixer_of(plan))
            stale.A_log.copy_(mixer_of(plan).A_log)
            causes = {"A comes from `A_log` as it was at the first call: compute it in each call": stale(hidden)}
        seen = block_in_pieces(plan, hidden, [9], 1.0, None, True)
        kept = "do all numbers come from the weights as they are now?"
        what = f"the output of a second call, of the same mixer with {plan}, whose weights have changed in place since the first,"
        check.equal(seen["out"], expected, what, kept, causes=causes, rtol=1e-4)


def check_pieces():
    hint = "two things go from call to call: h, and the last inputs of the convolution (before SiLU), as many as its taps less one"
    for seed in seeds:
        for i, (plan, batch, lengths) in enumerate(
            [
                (PLANS[0], 2, [5, 5]),
                (PLANS[0], 1, [1] * 10),
                (PLANS[0], 2, [2, 1, 6, 1]),
                (PLANS[1], 3, [1, 70, 2, 1]),
                (PLANS[2], 2, [1, 1, 4]),
                (PLANS[3], 1, [3, 3]),
                (PLANS[4], 1, [2, 1, 4]),
            ]
        ):
            plan = {**plan, "seed": seed + i}
            hidden = numbers(seed + 10 + i, batch, sum(lengths), plan.get("hidden_size", 16))
            what = f"pieces of {', '.join(map(str, lengths))} tokens with {plan}"
            seen = check_pieces_of(plan, hidden, lengths, what, hint)
            own = "a call must not change the state it is given: several answers may start there"
            for n, (after, before) in enumerate(seen["given"]):
                check.equal(after, before, f"the state that was given to piece {n} (from 0) of {what}, after that call,", own, rtol=0, atol=0)
            again = "what a call needs of the past must all be in the state it is given: is something kept elsewhere?"
            check.equal(seen["again"], seen["last piece"], f"the last of {what}, read a second time from the same state", again, rtol=0, atol=1e-6)
        for i, (plan, lengths) in enumerate(zip((PLANS[1], PLANS[0], PLANS[2], PLANS[3]), ([1, 4, 1, 5], [1], [2, 1], [4, 3]))):
            plan, length, width = {**plan, "seed": seed + i}, sum(lengths), plan.get("hidden_size", 16)
            hidden, weights = numbers(seed + 20, 3, length, width), numbers(seed + 21, 3, length, width)
            mixer, text = mixer_of(plan), hidden.clone().requires_grad_()
            names = ["hidden", *(name for name, _ in mixer.named_parameters())]
            expected = torch.autograd.grad((mixer(text) * weights).sum(), [text, *mixer.parameters()])
            carried = "in one piece it is right, so it is lost between pieces: detach neither the state nor the inputs kept for the convolution"
            detached = "is a part of the computation detached?"
            runs = [([length], detached, ""), (lengths, carried, "")]
            if i == 0:
                runs += [(lengths, detached, "hidden"), (lengths, detached, "weights")]
            for parts, hint, alone in runs:
                what = f"a text in pieces of {parts} tokens with {plan}" if len(parts) > 1 else f"a text of {length} tokens, whole, with {plan}"
                what += ", the mixer in evaluation mode" if plan["seed"] % 3 == 0 else ""
                what += {"hidden": ", all weights frozen", "weights": ", where `hidden` needs no gradient"}.get(alone, "")
                observed = block_in_pieces(plan, hidden, parts, 1.0, weights, False, alone)["gradients"]
                target = {"hidden": "`hidden`", "weights": "the weights"}.get(alone, "the text and the weights")
                check.true(observed is not None, f"no gradient flows from the outputs to {target}: {what}.")
                check_backward(observed, f"the output of {what}")
                wanted = {"": slice(None), "hidden": slice(1), "weights": slice(1, None)}[alone]
                for name, mine, right in zip(names[wanted], observed, expected[wanted]):
                    check_gradient(mine, right, name, f"the gradient for `{name}` of {what}", hint, rtol=1e-3)


def check_state():
    for plan, channels, numbers_kept in (({}, 32, 5 + 4), ({"conv_kernel": 2, "expand": 3, "state_size": 2}, 48, 2 + 2), (PLANS[4], 1, 3 + 4)):
        for batch in (1, 3):
            sizes = {}
            for lengths in ([1], [2, 1], [7], [120], [119, 1]):
                hidden = numbers(205, batch, sum(lengths), plan.get("hidden_size", 16))
                size = block_in_pieces({"seed": 0, **plan}, hidden, lengths).get("bytes", [None])[-1]
                sizes[", then ".join(map(str, lengths))] = size
            most = batch * channels * numbers_kept * 4
            for words, size in sizes.items():
                check.between(
                    size,
                    1,
                    most,
                    f"the bytes that the state keeps alive after {words} tokens ({batch} rows, {channels} channels)",
                    "h and the last inputs of the convolution: is there a view of a longer tensor in it (.contiguous() may be one)?",
                )
            check.equal(len(set(sizes.values())), 1, f"the number of different sizes of the state, {sizes}")


with check.exercise("mamba_block"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"the whole text": check_whole, "a text in pieces": check_pieces, "the size of the state": check_state})
check.points(5)  # the number below: your points, of 5

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Follow the table and write the shape behind each line; the linear layers want the width last, the
# convolution and your scan want the time last. In the first call the convolution sees zeros before the text. What does it
# see in the second call? Is that from before or after the SiLU?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `tensor.mT` (the last two axes exchanged), `tensor.chunk(2, dim=1)`, `tensor.split([sizes], dim=-1)`,
# `F.conv1d(input, weight, bias, groups=channels)` without padding (put the past in front with `torch.cat`), `F.silu`,
# `F.softplus`. `dt_proj` is a linear layer with a bias. `.clone()` lets go of the tensor behind a slice.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
# past, h = (x.new_zeros(*x.shape[:2], mixer.conv_kernel_size - 1), None) if state is None else state
# seen = torch.cat([past, x], -1)
# x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=...))
# low, B, C = mixer.x_proj(x.mT).split([...], dim=-1)
# y, h = selective_scan(x, ...)
# ```
# </details>


# %% [markdown]
# #### Your block in a whole model
#
# A Mamba model is: embedding, blocks of `x + mixer(norm(x))`, a last norm, the head. Below, your block generates with the
# weights of a (random) model, and the tokens are compared with `model.generate`. Then a trap: the same text given to
# transformers' own Mamba in two pieces, through its cache.


# %%
@torch.no_grad()
def own_logits(model, ids, states=None):
    """Logits of a MambaForCausalLM by `mamba_block`, and the states of its layers."""
    x = model.backbone.embeddings(ids)
    states = [None] * len(model.backbone.layers) if states is None else states
    new = []
    for layer, state in zip(model.backbone.layers, states):
        out, state = mamba_block(layer.mixer, layer.norm(x), state)
        x = x + out
        new.append(state)
    return model.lm_head(model.backbone.norm_f(x)), new


model = tiny_mamba(7)
prompt = torch.randint(24, (1, 12), generator=torch.Generator().manual_seed(0))
logits, states = own_logits(model, prompt)
made, sizes = [], []
for _ in range(40):
    token = logits[:, -1:].argmax(-1)
    made.append(token)
    logits, states = own_logits(model, token, states)
    sizes.append(kept_bytes(states))
theirs = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=40, do_sample=False)[:, 12:]
print(
    f"40 tokens equal to model.generate: {torch.equal(torch.cat(made, 1), theirs)}; bytes carried: {min(sizes)} to {max(sizes)}"
)

with torch.no_grad():
    text = torch.randint(24, (1, 20), generator=torch.Generator().manual_seed(1))
    whole = model(text).logits[:, 8:]
    cache = model(text[:, :8], use_cache=True).cache_params
    library = model(text[:, 8:], cache_params=cache, use_cache=True).logits
    cache = model(text[:, :8], use_cache=True).cache_params
    singly = torch.cat([model(token, cache_params=cache, use_cache=True).logits for token in text[:, 8:].split(1, 1)], 1)
    ours = own_logits(model, text[:, 8:], own_logits(model, text[:, :8])[1])[0]
for name, logits in (("your block", ours), ("transformers", library), ("transformers, token by token", singly)):
    print(f"12 tokens after 8 in a cache, largest error of a logit: {name} {(logits - whole).abs().max():.2g}")

# %% [markdown]
# In transformers 5.17 the scan over more than one token starts at zero whatever the cache holds (its source says why: the
# CUDA kernel takes no starting state). With single tokens, as `generate` feeds them, the cache is right: the third line is the
# control. So a conversation that adds a whole second prompt to a cached first one is answered as if nearly all of the first had
# been forgotten (the convolution still sees its last tokens), without an error.
# A test like your `check_scan` finds it.

# %% [markdown]
# ### 7 · The bytes of a cache (3 points, 20 minutes, difficulty 2 of 3)
#
# What limits serving is often the memory of all conversations at once. An attention layer keeps a key and a value for each
# token and KV head; a Mamba layer keeps its state and the last inputs of its convolution, whatever the length. (Mamba as
# in transformers keeps $K$ inputs, one more than it needs.)
#
# transformers keeps both kinds in one object. `cache.layers` has one entry a layer, each with some of these attributes:
#
# | entry of | attributes |
# |---|---|
# | attention | tensors `keys` and `values` |
# | Mamba | dictionaries `conv_states` and `recurrent_states`, each with one or more tensors |
# | both in one layer (Falcon-H1) | all four |
#
# What has not been used yet is `None` in its place: `keys`, `values`, or an entry of a dictionary. (If `keys` is None,
# `values` is None too; a dictionary may hold both tensors and None.)
#
# **Task.** Write three functions; each earns its point on its own.
#
# `cache_bytes(cache)`, for a cache as above with any number of entries (also none), tensors of any shape and dtype:
#
# - It returns the bytes of all tensors in it: the number of elements times the bytes of one. (A tensor may be a view; what lies
#   behind it does not count.) <!-- rule: measured -->
# - All kinds of entries count. <!-- rule: all_kinds -->
# - What is None has no bytes. <!-- rule: unused -->
#
# `predicted_bytes(layers, tokens, batch=1, size=4)` says the same before anything has run. `layers` is a list of dictionaries (it may be
# empty), each of one of two forms:
# `{"kind": "attention", "kv_heads": 2, "head_dim": 12}` or
# `{"kind": "mamba", "conv_channels": 112, "kernel": 4, "channels": 96, "state": 8}`. `tokens` and `batch` are 1 or more; `size` is the bytes
# of a number.
#
# - An attention layer has a key and a value of `head_dim` numbers for each token and KV head. <!-- rule: attention -->
# - A Mamba layer has `kernel` inputs for each of its `conv_channels`, and `state` numbers for each of its `channels`; the number of
#   tokens does not count. <!-- rule: mamba -->
# - All of it is there for each text of the batch. <!-- rule: batch -->
#
# `most_attention(count, attention, mamba, tokens, budget)`: a hybrid has `count` layers, 1 or more, each described by `attention` or by
# `mamba` (dictionaries as above).
#
# - It returns the largest number of attention layers with which one text of `tokens` tokens needs at most `budget` bytes, at 4 a
#   number. The other layers are Mamba layers. <!-- rule: most -->
# - It raises `ValueError` if no number from 0 to `count` fits. <!-- rule: none_fits -->
# - In a short text an attention layer can be the smaller of the two. Then it is possible that few attention layers do not fit, and
#   many do. Both can need the same, too. <!-- rule: short_texts -->
#
# And for all three:
#
# - The cache, the list and the dictionaries stay as they were. <!-- rule: unchanged -->


# %%
def tiny_llama(seed=0, **changes):
    """A small LlamaForCausalLM with 2 KV heads of 12."""
    torch.manual_seed(seed)
    sizes = dict(vocab_size=24, hidden_size=48, num_hidden_layers=2, intermediate_size=32, eos_token_id=None)
    heads = dict(num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=4096)
    return LlamaForCausalLM(LlamaConfig(**{**sizes, **heads, **changes})).eval()


def tiny_hybrid(seed=0, attention_at=(1,), layers=3, **changes):
    """A small Bamba: Mamba-2 layers, and attention at the given places."""
    torch.manual_seed(seed)
    sizes = dict(
        vocab_size=24, hidden_size=48, num_hidden_layers=layers, intermediate_size=32, tie_word_embeddings=True, eos_token_id=None
    )
    mamba = dict(mamba_n_heads=6, mamba_d_head=16, mamba_d_state=8, mamba_n_groups=1, mamba_chunk_size=16)
    heads = dict(num_attention_heads=4, num_key_value_heads=2, attn_layer_indices=list(attention_at))
    model = BambaForCausalLM(BambaConfig(**{**sizes, **heads, **mamba, **changes})).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.add_(0.3 * torch.randn_like(weight))
            elif weight.dim() > 1:
                weight.add_(0.1 * torch.randn_like(weight))
    return model


@torch.no_grad()
def filled(model, tokens, batch=1):
    """The cache of `model` after reading a text."""
    result = model(input_ids=numbers(210, batch, tokens, low=0, high=24).long(), use_cache=True)
    return result["cache_params"] if "cache_params" in result else result["past_key_values"]


for entry in filled(tiny_hybrid(), 7).layers:
    shapes = {
        name: {key: tuple(t.shape) for key, t in value.items()} if isinstance(value, dict) else tuple(value.shape)
        for name, value in vars(entry).items()
        if name in ("keys", "values", "conv_states", "recurrent_states")
    }
    print(type(entry).__name__, shapes)


# %% exercise="cache_size" minutes=20 difficulty=2
def cache_bytes(cache):
    """Bytes of all tensors that a transformers cache holds."""
    ### BEGIN SOLUTION
    tensors = []
    for layer in cache.layers:
        tensors += [getattr(layer, "keys", None), getattr(layer, "values", None)]
        tensors += [*getattr(layer, "conv_states", {}).values(), *getattr(layer, "recurrent_states", {}).values()]
    return sum(t.numel() * t.element_size() for t in tensors if t is not None)
    ### END SOLUTION


def predicted_bytes(layers, tokens, batch=1, size=4):
    """Bytes of the cache of `batch` texts of `tokens` tokens, from the descriptions of the layers."""
    ### BEGIN SOLUTION
    total = 0
    for layer in layers:
        if layer["kind"] == "attention":
            total += 2 * layer["kv_heads"] * layer["head_dim"] * tokens
        else:
            total += layer["conv_channels"] * layer["kernel"] + layer["channels"] * layer["state"]
    return total * batch * size
    ### END SOLUTION


def most_attention(count, attention, mamba, tokens, budget):
    """The largest number of attention layers, of `count`, with which a text of `tokens` tokens fits `budget` bytes."""
    ### BEGIN SOLUTION
    for number in range(count, -1, -1):
        if predicted_bytes([attention] * number + [mamba] * (count - number), tokens) <= budget:
            return number
    raise ValueError(f"no hybrid of {count} such layers fits {budget} bytes at {tokens} tokens")
    ### END SOLUTION


# %% tests="cache_size" points=3
import random


@check.scenario
def bytes_of_built(entries):
    """`cache_bytes` of a cache with these entries: {attribute: (shape, dtype, is a view) or None, lists of them for dictionaries}."""
    kinds = {"attention": DynamicLayer, "mamba": LinearAttentionLayer, "both": LinearAttentionAndFullAttentionLayer}

    def made(spec):
        if spec is None:
            return None
        shape, dtype, view = spec
        return torch.zeros(*shape, 3 if view else 1, dtype=getattr(torch, dtype))[..., 0]

    def held():
        return [
            [len(layer_tensors), *(None if t is None else [str(t.dtype), t.data_ptr(), t.tolist()] for t in layer_tensors)]
            for layer_tensors in (
                [t for value in (vars(layer).get(name) for name in names) for t in (value.values() if isinstance(value, dict) else [value])]
                for layer in cache.layers
            )
        ]

    names = ("keys", "values", "conv_states", "recurrent_states")
    cache = DynamicCache()
    for kind, attributes in entries:
        layer = kinds[kind](**({} if kind == "attention" else {"number_of_states": max(map(len, attributes.values()))}))
        for name, specs in attributes.items():
            tensors = dict(enumerate(map(made, specs)))
            used = {i: t is not None for i, t in tensors.items()}
            if name in ("keys", "values"):
                tensors, layer.is_initialized = tensors[0], used[0]
            else:
                setattr(layer, f"is_{name}_initialized", used)
            setattr(layer, name, tensors)
        cache.layers.append(layer)
    before = held()
    size = cache_bytes(cache)
    return size, held() == before


@check.scenario
def bytes_of_models(kind, tokens, batch, changes):
    """`cache_bytes` of the cache of a small model that has read a text, and of the same model's cache before."""
    model = {"attention": tiny_llama, "Mamba": tiny_mamba, "hybrid": tiny_hybrid}[kind](**changes)
    return cache_bytes(filled(model, tokens, batch)), cache_bytes(DynamicCache(config=model.config)), cache_bytes(DynamicCache())


def check_measured():
    for kind, tokens, batch, changes, expected in (
        ("attention", 7, 1, {}, 2 * 2 * (2 * 12 * 7) * 4),
        ("attention", 5, 2, {"num_key_value_heads": 4, "num_hidden_layers": 1}, 2 * 2 * (4 * 12 * 5) * 4),
        ("Mamba", 7, 3, {}, 2 * 3 * 32 * (4 + 5) * 4),
        ("Mamba", 1, 1, {"state_size": 3}, 2 * 32 * (4 + 3) * 4),
        ("hybrid", 9, 1, {}, 2 * (112 * 4 + 96 * 8) * 4 + 2 * 2 * 12 * 9 * 4),
    ):
        used, unused, empty = bytes_of_models(kind, tokens, batch, changes)
        what = f"the bytes of the cache of a small {kind} model {changes or ''} after {batch} x {tokens} tokens"
        check.equal(used, expected, what, "keys and values, convolution inputs and states of all layers, 4 bytes each")
        check.equal(unused, 0, "the bytes of a cache that has not been used", "what is None takes no bytes")
        check.equal(empty, 0, "the bytes of a cache without entries")
    sizes = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8, "int8": 1, "uint8": 1, "int64": 8}
    for dtype, size in sizes.items():
        for shape, words in (([3, 5], "3 x 5 numbers"), ([], "a single number, without axes,"), ([2, 0, 7], "2 x 0 x 7 numbers")):
            found, _ = bytes_of_built([("attention", {"keys": [(shape, dtype, False)], "values": [(shape, dtype, False)]})])
            what = f"the bytes of a cache of one attention entry, in which `keys` and `values` are {words} of {dtype} each"
            causes = {"an element has not always 4 bytes": 2 * math.prod(shape) * 4}
            check.equal(found, 2 * math.prod(shape) * size, what, "elements times bytes of one: a tensor knows both", causes=causes)
    for seed in seeds:
        source = random.Random(seed)

        def spec(source=source):
            axes = source.randint(1, 4)
            return [source.randint(1, 9) for _ in range(axes)], source.choice(list(sizes)), source.random() < 0.3

        def entry(kind, source=source):
            states = source.choice([1, 2, 3])
            attributes = {}
            if kind != "mamba":
                used = source.random() < 0.8
                attributes |= {name: [spec() if used else None] for name in ("keys", "values")}
            if kind != "attention":
                attributes |= {
                    name: [spec() if source.random() < 0.7 else None for _ in range(states)] for name in ("conv_states", "recurrent_states")
                }
            return kind, attributes

        for count in (1, 1, 1, 1, 2, 3, 3, 5):
            entries = [entry(source.choice(["attention", "mamba", "both"])) for _ in range(count)]
            tensors = [one for _, attributes in entries for specs in attributes.values() for one in specs if one is not None]
            expected = sum(math.prod(shape) * sizes[dtype] for shape, dtype, _ in tensors)
            size, same = bytes_of_built(entries)
            what = f"the bytes of a cache with entries {entries} (shape, dtype, is a view)"
            wrong = {
                "an element has not always 4 bytes": 4 * sum(math.prod(shape) for shape, _, _ in tensors),
                "a view's storage does not count": sum(math.prod(s) * sizes[d] * (3 if view else 1) for s, d, view in tensors),
            }
            check.equal(size, expected, what, "all tensors of all entries: elements times bytes of one", causes=wrong)
            check.true(same, f"the cache with entries {entries} is another after `cache_bytes`: only look at it.")


def bytes_by_definition(layers, tokens, batch=1, size=4):
    numbers_kept = [
        2 * layer["kv_heads"] * layer["head_dim"] * tokens
        if layer["kind"] == "attention"
        else layer["conv_channels"] * layer["kernel"] + layer["channels"] * layer["state"]
        for layer in layers
    ]
    return sum(numbers_kept) * batch * size


ATTENTION = {"kind": "attention", "kv_heads": 2, "head_dim": 12}
MAMBA = {"kind": "mamba", "conv_channels": 40, "kernel": 3, "channels": 32, "state": 5}
WIDE = {"kind": "attention", "kv_heads": 5, "head_dim": 7}
DEEP = {"kind": "mamba", "conv_channels": 9, "kernel": 4, "channels": 7, "state": 11}


def check_predicted():
    causes = {
        "keys and values: twice": lambda layers, tokens, batch=1, size=4: sum(
            bytes_by_definition([x], tokens, batch, size) // (2 if x["kind"] == "attention" else 1) for x in layers
        ),
        "a Mamba layer keeps the same after any text: its length does not matter": lambda layers, tokens, batch=1, size=4: sum(
            bytes_by_definition([x], tokens, batch, size) * (tokens if x["kind"] == "mamba" else 1) for x in layers
        ),
        "every text of the batch has a state of its own": lambda layers, tokens, batch=1, size=4: sum(
            bytes_by_definition([x], tokens, batch if x["kind"] == "attention" else 1, size) for x in layers
        ),
    }
    hint = "attention: 2 * kv_heads * head_dim for each token; Mamba: conv_channels * kernel + channels * state; all times batch and size"
    layers = cases.lists(cases.choice(ATTENTION, MAMBA, WIDE, DEEP), "depth")
    domain = {"layers": layers, "tokens": cases.size("length"), "batch": cases.integer(1, 9), "size": cases.choice(4, 1, 2, 8)}
    drawn = cases.draw(seeds, domain, 12, depth=(0, 70), length=(1, 300000))
    check.agrees(predicted_bytes, bytes_by_definition, drawn, "`predicted_bytes`", hint, causes=causes)
    for one in ([ATTENTION], [MAMBA], [MAMBA, WIDE, DEEP]):
        for tokens in (10, 1):
            check.equal(predicted_bytes(one, tokens), bytes_by_definition(one, tokens), f"`predicted_bytes` of {one} at {tokens} tokens", hint)
        named = {"tokens": 7, "batch": 3, "size": 2}
        check.equal(predicted_bytes(one, **named), bytes_by_definition(one, **named), f"`predicted_bytes` of {one} with {named}", hint)


@check.scenario
def most_with_right_prediction(count, attention, mamba, tokens, budget):
    """`most_attention`, where `predicted_bytes` is right, and the two descriptions after it; "ValueError" for that error."""

    def right(layers, tokens, batch=1, size=4):
        total = 0
        for x in layers:
            attends = x["kind"] == "attention"
            total += 2 * x["kv_heads"] * x["head_dim"] * tokens if attends else x["conv_channels"] * x["kernel"] + x["channels"] * x["state"]
        return total * batch * size

    names = getattr(inspect.unwrap(most_attention), "__globals__", globals())
    kept, names["predicted_bytes"] = names.get("predicted_bytes"), right
    attention, mamba = dict(attention), dict(mamba)
    try:
        found = most_attention(count, attention, mamba, tokens, budget)
    except ValueError:
        found = "ValueError"
    finally:
        names["predicted_bytes"] = kept
    return found, [attention, mamba]


def most_by_definition(count, attention, mamba, tokens, budget):
    needs = [bytes_by_definition([attention] * n + [mamba] * (count - n), tokens) for n in range(count + 1)]
    return max((n for n in range(count + 1) if needs[n] <= budget), default="ValueError")


def check_most():
    source = random.Random(seeds[-1])
    hint = (
        "the others are Mamba layers and need room too; exactly the budget fits; if no number fits, not even 0, raise ValueError; in "
        "a short text few may not fit where many do"
    )
    for attention in (ATTENTION, WIDE):
        for mamba in (MAMBA, DEEP):
            for count, tokens in ((1, 1), (1, 100), (2, 50), (4, 2), (5, 4), (6, 100), (6, 1), (40, 3), (64, 5000)):
                needs = [bytes_by_definition([attention] * n + [mamba] * (count - n), tokens) for n in (0, count // 2, source.randint(0, count), count)]
                for budget in sorted({0, *needs, *(n - 1 for n in needs), *(n + 1 for n in needs), 10**12}):
                    given = (count, attention, mamba, tokens, budget)
                    expected = most_by_definition(*given)
                    found, after = most_with_right_prediction(*given)
                    what = f"`most_attention` of {count} layers, {attention} or {mamba}, {tokens} tokens, {budget} bytes"
                    check.equal(found, expected, what + (", which raises a ValueError," if found == "ValueError" else ""), hint)
                    check.equal(after, [attention, mamba], f"`attention` and `mamba` after {what}", "only look at them")


with check.exercise("cache_size"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"cache_bytes": check_measured, "predicted_bytes": check_predicted, "most_attention": check_most})
check.points(3)  # the number below: your points, of 3

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Measured: collect all tensors first, then add up. Predicted: which of the two kinds has the number of tokens in its
# formula? For the hybrid: there are only `count + 1` possible answers, so no formula is needed.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `tensor.numel() * tensor.element_size()` (or `tensor.nbytes`), `getattr(layer, "keys", None)`, `hasattr(layer, "conv_states")`,
# `dictionary.values()`, `range(count, -1, -1)`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# # cache_bytes, for each layer of cache.layers
# tensors += [getattr(layer, "keys", None), ...]
# tensors += [*getattr(layer, "conv_states", {}).values(), ...]
# # most_attention
# for number in range(count, -1, -1):
#     if predicted_bytes([attention] * number + ..., tokens) <= budget:
#         return number
# ```
# </details>


# %% [markdown]
# ### 8 · The layer of a hybrid (3 points, 20 minutes, difficulty 2 of 3)
#
# Bamba (IBM and others, 2024) has Mamba-2 layers with an attention layer now and then. The frame of all its layers is
# the same; only the *mixer*, the thing in the middle of the first half, differs:
#
# | half | what is added to `x` |
# |---|---|
# | 1 | `mamba` or `self_attn` of `input_layernorm` of `x` |
# | 2 | `feed_forward` of `pre_ff_layernorm` of the new `x` |
#
# **Task.** Write two functions on transformers' Bamba (a small one is printed below); each earns its points on its own. All is
# float32; there may be any number of layers of either kind, in any order, and batch and length are 1 or more (the tests go to 60
# tokens). The model and its parts may be in either mode, its weights frozen or not; at the next call the mode and the weights'
# values may be different ones.
#
# `hybrid_block(layer, x, positions)` is one layer of `model.model.layers` on `x` of shape `(batch, length, hidden)`:
#
# - `layer.block_type` is `"linear_attention"` for Mamba and `"full_attention"` for attention. <!-- rule: kinds -->
# - Each half adds to `x` what its part makes of the *normalised* `x`, as in the table. <!-- rule: halves -->
# - Attention turns its queries and keys by `positions`, the rotary angles. (It takes them as `position_embeddings`, and gives back a
#   pair of which the first part is the output; with `attention_mask=None` it is causal. Mamba takes `x`
#   alone.) <!-- rule: positions -->
#
# `hybrid_logits(model, ids)` is the whole model on token numbers `(batch, length)`, int64:
#
# - It is `model.model.embed_tokens`, all layers in turn, `model.model.final_layernorm`, `model.lm_head`; the angles are
#   `model.model.rotary_emb(x, position_ids=torch.arange(length)[None])`, or any that differ by as much: attention sees differences
#   of positions. <!-- rule: logits -->
#
# And for both (a layer is right to one part in 10,000 of its largest value, the logits to one in 1,000):
#
# - The parts are called, never a whole layer, `model.model` or the model. <!-- rule: parts -->
# - `x`, `ids`, `positions` and the model stay as they were: nothing is done in place on what was given. <!-- rule: unchanged -->

# %%
hybrid = tiny_hybrid()
for number in (0, 1):
    print(number, hybrid.model.layers[number].block_type, hybrid.model.layers[number], sep="\n")


# %% exercise="hybrid" minutes=20 difficulty=2
def hybrid_block(layer, x, positions):
    """One Bamba layer, Mamba or attention, on x (batch, length, hidden)."""
    ### BEGIN SOLUTION
    middle = layer.input_layernorm(x)
    if layer.block_type == "full_attention":
        middle = layer.self_attn(hidden_states=middle, position_embeddings=positions, attention_mask=None)[0]
    else:
        middle = layer.mamba(middle)
    x = x + middle
    return x + layer.feed_forward(layer.pre_ff_layernorm(x))
    ### END SOLUTION


def hybrid_logits(model, ids):
    """Logits (batch, length, vocabulary) of a BambaForCausalLM for ids (batch, length)."""
    ### BEGIN SOLUTION
    x = model.model.embed_tokens(ids)
    positions = model.model.rotary_emb(x, position_ids=torch.arange(ids.shape[1])[None])
    for layer in model.model.layers:
        x = hybrid_block(layer, x, positions)
    return model.lm_head(model.model.final_layernorm(x))
    ### END SOLUTION


# %% tests="hybrid" points=3
@check.shared
def parts_of(plan, first=None):
    """A small Bamba whose layers, inner model and whole refuse to be called, and its state before.

    With `first`, after a first call and a change of all weights.
    """

    def refuse(*args, **kwargs):
        raise AssertionError("a whole layer or model was called: put its parts together yourself")

    model = as_in_use(tiny_hybrid(**plan), plan["seed"] % 3)
    if first is not None:
        with torch.no_grad():
            first(model)
        updated(model)
    before = check.module_state(model, values=True)
    for module in (model, model.model, *model.model.layers):
        module.forward = refuse
    return model, before


@check.shared
def block_by_definition(layer, x, positions, mistake=None):
    """The table; with one usual mistake."""
    normed = x if mistake == "no first norm" else layer.input_layernorm(x)
    if layer.block_type == "full_attention":
        mask = x.new_zeros(1, 1, x.shape[1], x.shape[1]) if mistake == "not causal" else None
        middle = layer.self_attn(hidden_states=normed, position_embeddings=positions, attention_mask=mask)[0]
    else:
        middle = layer.mamba(normed)
    first = middle if mistake == "first half not added" else x + middle
    if mistake == "parallel":
        return first + layer.feed_forward(layer.pre_ff_layernorm(x))
    second = layer.feed_forward(first if mistake == "no second norm" else layer.pre_ff_layernorm(first))
    if mistake == "added once":
        return x + layer.feed_forward(layer.pre_ff_layernorm(middle))
    return second if mistake == "second half not added" else first + second


@check.scenario
def blocks_of(plan, number, x, angles, update=False):
    """`hybrid_block` on one layer: its output, the model's state after and before, x and the angles after."""
    x, positions = x.clone(), tuple(part.clone() for part in angles)
    model, before = parts_of(plan, (lambda model: hybrid_block(model.model.layers[number], x, positions)) if update else None)
    with torch.no_grad():
        out = hybrid_block(model.model.layers[number], x, positions)
    for module in (model, model.model, *model.model.layers):
        del module.forward
    return out, (check.module_state(model, values=True), before), x, positions


@check.scenario
def logits_of(plan, ids, update=False):
    """`hybrid_logits`, where `hybrid_block` is right."""
    ids = ids.clone()
    names = getattr(inspect.unwrap(hybrid_logits), "__globals__", globals())
    kept, names["hybrid_block"] = names.get("hybrid_block"), block_by_definition
    try:
        model, before = parts_of(plan, (lambda model: hybrid_logits(model, ids)) if update else None)
        with torch.no_grad():
            logits = hybrid_logits(model, ids)
    finally:
        names["hybrid_block"] = kept
    for module in (model, model.model, *model.model.layers):
        del module.forward
    return logits, (check.module_state(model, values=True), before), ids


PLANS = [
    ({}, 2, 7),
    ({"attention_at": (0, 2), "layers": 3}, 3, 20),
    ({"attention_at": (), "layers": 2}, 1, 1),
    ({"attention_at": (0, 1), "layers": 2, "num_key_value_heads": 4}, 2, 9),
    ({"attention_at": (0, 3), "layers": 4, "tie_word_embeddings": False}, 1, 60),
]
MISTAKES = {
    "each part gets the normalised x: `input_layernorm` comes before the first": "no first norm",
    "each part gets the normalised x: `pre_ff_layernorm` comes before the second": "no second norm",
    "`x` is added in the first half too": "first half not added",
    "`x` is added in the second half too": "second half not added",
    "the second half starts from the new x, with the first half's result in it: the halves are not parallel": "parallel",
    "there are two sums, one a half: is x added both times": "added once",
    "every token has seen the later ones: attention is causal with `attention_mask=None`, and a mask of zeros takes the place of that": "not causal",
}


def check_block():
    for seed in seeds:
        for i, (plan, batch, length) in enumerate(PLANS):
            plan = {**plan, "seed": seed + i}
            model = tiny_hybrid(**plan)
            x = numbers(seed + i, batch, length, 48)
            for number, layer in enumerate(model.model.layers):
                spread = 1 + number  # attention sees differences of positions
                with torch.no_grad():
                    angles = model.model.rotary_emb(x, position_ids=spread * torch.arange(length)[None] + 3)
                    expected = layer(x, position_embeddings=angles)[0]
                wrong = torch.no_grad()(block_by_definition)
                causes = {text: lambda name=name, given=(layer, x, angles): wrong(*given, name) for text, name in MISTAKES.items()}
                observed, states, x_after, angles_after = blocks_of(plan, number, x, angles)
                kind = "an attention layer" if layer.block_type == "full_attention" else "a Mamba layer"
                what = f"{kind} (layer {number} of {plan}, {batch} x {length} tokens, positions 3, {3 + spread}, {3 + 2 * spread}, …)"
                check.kind(observed, torch.Tensor, f"what {what} returns", "attention gives a pair: its first part is the output")
                hint = "each half is x + part(norm(x)); attention also gets the positions"
                check.equal(observed, expected, f"the output of {what}", hint, causes=causes, rtol=1e-4)
                given = "it was changed in place: `x = x + ...` makes a new tensor, `x += ...` does not"
                check.equal(x_after, x, f"`x` after {what}", given, rtol=0, atol=0)
                check.equal(angles_after, angles, f"`positions` after {what}", given, rtol=0, atol=0)
                check.unchanged(*states, f"the model after {what}")
        plan, x = {"seed": seed}, numbers(seed, 2, 7, 48)
        model = updated(tiny_hybrid(**plan))
        for number in (0, 1):
            with torch.no_grad():
                angles = model.model.rotary_emb(x, position_ids=torch.arange(7)[None])
                expected = model.model.layers[number](x, position_embeddings=angles)[0]
            what = f"the output of a second call of layer {number} of {plan}, whose weights have changed in place since the first,"
            observed = blocks_of(plan, number, x, angles, True)[0]
            check.equal(observed, expected, what, "is something kept from call to call?", rtol=1e-4)


def check_logits():
    for seed in seeds:
        for i, (plan, batch, length, update) in enumerate([*((*plan, False) for plan in PLANS), ({}, 2, 7, True)]):
            plan = {**plan, "seed": seed + i}
            model = updated(tiny_hybrid(**plan)) if update else tiny_hybrid(**plan)
            ids = numbers(seed + i, batch, length, low=0, high=24).long()
            with torch.no_grad():
                expected = model(ids, use_cache=False).logits
                last = model.model(ids, use_cache=False).last_hidden_state
                causes = {
                    "the head is `lm_head`, which need not be the embedding": last @ model.model.embed_tokens.weight.T,
                }
            observed, states, ids_after = logits_of(plan, ids, update)
            what = f"the logits of {plan}, {batch} x {length} tokens"
            what += ", in a second call, all weights changed in place since the first," if update else ""
            hint = "embedding, every layer in turn, the last norm, the head; positions count from 0"
            check.equal(observed, expected, what, hint, causes=causes, rtol=1e-3)
            check.equal(ids_after, ids, f"`ids` after {what}", "do not change it in place")
            check.unchanged(*states, f"the model after {what}")


with check.exercise("hybrid"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"hybrid_block": check_block, "hybrid_logits": check_logits})
check.points(3)  # the number below: your points, of 3

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Twice the same pattern: keep `x`, normalise a copy, send it through a part, add. The kind of layer decides only which
# part that is in the first half.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `layer.self_attn(hidden_states=..., position_embeddings=..., attention_mask=None)` returns a pair;
# `layer.mamba(hidden)` returns a tensor; `layer.feed_forward(hidden)` too.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# middle = layer.input_layernorm(x)
# if layer.block_type == "full_attention":
#     middle = layer.self_attn(hidden_states=middle, position_embeddings=positions, attention_mask=None)[0]
# else:
#     middle = ...
# ```
# </details>


# %% [markdown]
# A trap to know: called directly with a cache, Bamba's model counts positions from 0 in every call unless you give
# `position_ids` (transformers 5.17). `generate` gives them. Mamba layers have no positions and do not notice; the attention
# layers do.
#
# **In 2026** most new models with a recurrent state are hybrids, and the recurrent layer need not be Mamba: Qwen3-Next and OLMo
# Hybrid have a gated delta rule, Kimi Linear a variant of it. The frame and the cache are the same. How many of their layers attend, by
# the default configurations in the installed transformers:

# %%
from transformers import JambaConfig, KimiLinearConfig, OlmoHybridConfig, Qwen3NextConfig

for config in (JambaConfig(), Qwen3NextConfig(), KimiLinearConfig(), OlmoHybridConfig()):
    attend = sum(kind == "full_attention" for kind in config.layer_types)
    print(f"{config.model_type}: {attend} of {config.num_hidden_layers} layers attend")

# %% [markdown]
# ## Part D · A fair comparison
#
# ### 9 · A fair pair (3 points, 25 minutes, difficulty 2 of 3)
#
# "Mamba learns this faster than attention" can be true because of the architecture, or because one of the two began in a
# better place. transformers' defaults differ: `initializer_range` is 0.1 in `MambaConfig` and 0.02 in `LlamaConfig`, Mamba ties
# the head to the embedding and Llama does not, and Llama has an MLP whose width is anybody's choice. If a config names a
# padding token, Llama's embedding of it is zero, and stays zero; Mamba's is not.
#
# **Task.** Write two functions; each is checked and earns its points on its own.
#
# `fair_pair(vocab, hidden, state, std, seed)` returns `(attention, mamba)`, a `LlamaForCausalLM` and a `MambaForCausalLM`.
# `vocab` is 8 or more, `hidden` a multiple of 8, `state` 1 or more, `std` from 0.01 to 0.2, `seed` 0 or more (in the tests `vocab`
# goes to 145, `hidden` to 64, `state` to 16). In which mode the models are, training or evaluation, does not matter.
#
# - Both have 2 layers, the given vocabulary and hidden size; Llama has 4 heads, Mamba `state` numbers of state a
#   channel. <!-- rule: sizes -->
# - `initializer_range` of both is `std`: embeddings and projections start with this standard deviation. <!-- rule: start -->
# - Mamba's own parts, `A_log`, `D`, `dt_proj`, the convolution and `out_proj`, weights and biases, keep the special start that the
#   library gives them; so do the norms. <!-- rule: own_start -->
# - Each ties its head to its own embedding; the two models have no weight in common. <!-- rule: tied -->
# - Neither names a special token: `pad_token_id`, `bos_token_id` and `eos_token_id` are None, and no token's embedding is
#   zero. <!-- rule: special -->
# - The numbers of parameters are as near to each other as a whole `intermediate_size` of Llama allows. (For these sizes the width at
#   which they would be equal is a whole number, or a whole number and a third: rounding down is rounding to the
#   nearest.) <!-- rule: parameters -->
# - What is not named here keeps the library's default: no dropout, for one. <!-- rule: defaults -->
# - The same seed gives two new models with the same weights, whatever was drawn before, and whatever became of the first two;
#   another seed gives others. (`torch.manual_seed` may be used; the global generator need not be put back.) <!-- rule: seed -->
#
# `accuracy(logits, labels)` returns the share of right answers. `logits` is `(batch, length, vocab)`, float32 or float64; at each position
# one number is the largest, also after rounding to float32. `labels` is int64 `(batch, length)`, with -100 where nothing is asked. The
# length is 2 or more, and at least one label after position 0 is asked.
#
# - A causal model predicts the label at position $t$ from position $t - 1$, by its largest logit. (So the label at position 0 does not
#   count: nothing stands before it.) <!-- rule: shift -->
# - Labels of -100 do not count; each of the others counts once, in whatever row. <!-- rule: asked -->
# - The result is a Python float. <!-- rule: float -->
# - The arguments stay as they were. <!-- rule: unchanged -->


# %% exercise="fair_pair" minutes=25 difficulty=2
def fair_pair(vocab, hidden, state, std, seed):
    """(LlamaForCausalLM, MambaForCausalLM) that start alike and have as nearly as possible the same number of parameters."""
    ### BEGIN SOLUTION
    special = dict(pad_token_id=None, bos_token_id=None, eos_token_id=None)
    sizes = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2)
    common = dict(**sizes, **special, initializer_range=std, tie_word_embeddings=True)

    def attention(width):
        return LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))

    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    missing = mamba.num_parameters() - attention(1).num_parameters()
    a_column = 2 * 3 * hidden  # parameters for one more column in the MLPs of two layers
    return attention(1 + round(missing / a_column)), mamba
    ### END SOLUTION


def accuracy(logits, labels):
    """Share of right answers where `labels` asks for one, as a float; the label at t is predicted at t - 1."""
    ### BEGIN SOLUTION
    guess, wanted = logits[:, :-1].argmax(-1), labels[:, 1:]
    asked = wanted != -100
    return (guess == wanted)[asked].double().mean().item()
    ### END SOLUTION


# %% tests="fair_pair" points=3
@check.scenario
def pair_of(vocab, hidden, state, std, seed, noise):
    """What `fair_pair` makes, drawn after other random numbers: of each model its class, settings, weights and logits."""
    torch.manual_seed(noise)
    found = []
    pair = fair_pair(vocab, hidden, state, std, seed)
    pair = pair if isinstance(pair, (tuple, list)) else [pair]
    places = [{p.data_ptr() for p in model.parameters()} if isinstance(model, nn.Module) else set() for model in pair]
    for model in pair:
        if not isinstance(model, (LlamaForCausalLM, MambaForCausalLM)):
            found.append({"class": type(model).__name__})
            continue
        logits = {}
        with torch.no_grad():
            for mode in ("evaluation", "training"):
                model.train(mode == "training")
                logits[mode] = model(input_ids=torch.arange(8)[None] % vocab, use_cache=False).logits
        names = ("vocab_size", "hidden_size", "num_hidden_layers", "initializer_range")
        names += ("num_attention_heads", "intermediate_size") if isinstance(model, LlamaForCausalLM) else ("state_size",)
        found.append(
            {
                "class": type(model).__name__,
                "settings": {name: getattr(model.config, name) for name in names},
                "all settings": {name: str(value) for name, value in model.config.to_dict().items()},
                "special": [model.config.pad_token_id, model.config.bos_token_id, model.config.eos_token_id],
                "tied": model.get_output_embeddings().weight is model.get_input_embeddings().weight,
                "parameters": sum(p.numel() for p in model.parameters()),
                "shared": len(set.intersection(*places)),
                "weights": {name: p.detach().clone() for name, p in model.named_parameters()},
                "frozen": [name for name, p in model.named_parameters() if not p.requires_grad],
                "logits": logits,
            }
        )
    for model in filter(lambda model: isinstance(model, nn.Module), pair):  # as if they were trained
        updated(model)
    return found


def pair_by_definition(vocab, hidden, state, std):
    """Two models as they should be but for their random numbers."""
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, initializer_range=std, tie_word_embeddings=True)
    common |= dict(pad_token_id=None, bos_token_id=None, eos_token_id=None)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    wanted = sum(p.numel() for p in mamba.parameters())
    without_mlp = vocab * hidden + hidden + 2 * (4 * hidden**2 + 2 * hidden)
    width = min(range(1, 20 * hidden), key=lambda width: abs(without_mlp + 6 * hidden * width - wanted))
    return LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width)), mamba


def check_start(weights, std, state, name):
    for part, weight in weights.items():
        if part.endswith(("embeddings.weight", "embed_tokens.weight", "_proj.weight")) and not part.endswith(("dt_proj.weight", "mixer.out_proj.weight")):
            allowed = 0.1 + 4 / math.sqrt(2 * weight.numel())  # a sample's standard deviation is known to 1 / sqrt(2 n)
            hint = "initializer_range decides it: 0.1 for Mamba and 0.02 for Llama if you leave it out"
            check.between(weight.std().item() / std, 1 - allowed, 1 + allowed, f"the standard deviation of `{part}` of {name}, divided by std", hint)
        own = f"`{part}` of {name}"
        hint = "the library gives this part a start of its own"
        if part.endswith("A_log"):
            check.equal(weight, torch.arange(1.0, state + 1).log().expand_as(weight), own, hint)
        elif part.endswith(("mixer.D", "norm.weight", "norm_f.weight")):
            check.equal(weight, torch.ones_like(weight), own, hint)
        elif part.endswith("conv1d.bias"):
            check.equal(weight, torch.zeros_like(weight), own, hint)
        elif part.endswith("dt_proj.bias"):
            check_uniform(F.softplus(weight).log(), math.log(1e-3), math.log(0.1), f"the logarithms of the steps that {own} gives", hint)
        elif part.endswith(("mixer.out_proj.weight", "conv1d.weight", "dt_proj.weight")):
            limit = 1 / math.sqrt(weight[0].numel())
            check_uniform(weight, -limit, limit, f"the numbers of {own}", hint)


def check_uniform(values, low, high, what, hint):
    """Numbers drawn evenly from `low` to `high`; the bounds are missed by one sample in a hundred thousand or fewer."""
    count, width = values.numel(), high - low
    check.between(values.min().item(), low - 1e-4 * width, None, f"the smallest of {what}", hint)
    check.between(values.max().item(), None, high + 1e-4 * width, f"the largest of {what}", hint)
    spread, allowed = values.std().item() / (width / math.sqrt(12)), 2.2 / math.sqrt(count)
    check.between(spread, 1 - allowed, 1 + allowed, f"the spread of {what} (1: even from {low:.3g} to {high:.3g})", hint)
    off = (values.mean().item() - (low + high) / 2) / width
    check.between(off, -1.4 / math.sqrt(count), 1.4 / math.sqrt(count), f"how far the mean of {what} is from the middle, in widths", hint)


# Told apart by the checks above, or noted by the library as it goes.
NOT_SETTINGS = ("intermediate_size", "initializer_range", "tie_word_embeddings", "architectures", "dtype", "transformers_version", "_name_or_path")


def check_pair_of(vocab, hidden, state, std, seed, repeat):
    given = f"fair_pair({vocab}, {hidden}, {state}, {std}, {seed})"
    pair = pair_of(vocab, hidden, state, std, seed, 1)
    check.equal([one["class"] for one in pair], ["LlamaForCausalLM", "MambaForCausalLM"], f"the classes that {given} returns")
    right = pair_by_definition(vocab, hidden, state, std)
    for one, model, name in zip(pair, right, ("the attention model", "the Mamba model")):
        name = f"{name} of {given}"
        settings = {key: getattr(model.config, key) for key in one["settings"] if key not in ("initializer_range", "intermediate_size")}
        check.equal({key: one["settings"][key] for key in settings}, settings, f"the settings of {name}")
        check.true(one["tied"], f"{name} has a head of its own: tie_word_embeddings=True, or its embedding is trained by half as many gradients.")
        check.equal(one["shared"], 0, f"the number of weights that both models of {given} have in common", "training the one would change the other")
        embedding = one["weights"].get("model.embed_tokens.weight", one["weights"].get("backbone.embeddings.weight"))
        zeros = (embedding.norm(dim=1) == 0).nonzero().flatten().tolist()
        check.true(
            not zeros,
            f"{name} has tokens whose embedding is zero, {zeros}: that of a padding token is, and stays so through the training. Name none.",
        )
        own = "left out, the library's own numbers count, and they differ between the two"
        check.equal(one["special"], [None, None, None], f"the special tokens (pad, bos, eos) of {name}", own)
        check_start(one["weights"], std, state, name)
        check.equal(one["frozen"], [], f"the frozen weights of {name}", "all of them are to be trained")
        check.equal(one["settings"]["initializer_range"], std, f"initializer_range of {name}")
    counts = [one["parameters"] for one in pair]
    most = 3 * hidden  # half a column
    hint = "each column of the MLP costs 3 * hidden parameters a layer, in two layers: how many columns are missing, or too many?"
    check.between(abs(counts[0] - counts[1]), 0, most, f"the difference of the parameters ({counts[0]} and {counts[1]}) of {given}", hint)
    for one, model, name in zip(pair, right, ("the attention model", "the Mamba model")):
        name = f"{name} of {given}"
        shapes = [{part: list(w.shape) for part, w in weights.items()} for weights in (one["weights"], dict(model.named_parameters()))]
        default = "what is not named keeps the library's default"
        check.equal(*shapes, f"the shapes of the weights of {name}", default)
        expected = {key: str(value) for key, value in model.config.to_dict().items() if key not in NOT_SETTINGS}
        for key, value in expected.items():
            check.equal(one["all settings"].get(key), value, f"the setting `{key}`, as text, of {name}", default)
        with torch.no_grad():
            for part, weight in model.named_parameters():
                weight.copy_(one["weights"][part])
            for mode, logits in one["logits"].items():
                right_ones = model.train(mode == "training")(input_ids=torch.arange(8)[None] % vocab, use_cache=False).logits
                check.equal(logits, right_ones, f"the logits in {mode} mode of {name}", default, rtol=1e-4)
    if not repeat:
        return
    again, other = pair_of(vocab, hidden, state, std, seed, 2), pair_of(vocab, hidden, state, std, seed + 1, 1)
    for one, same, different, name in zip(pair, again, other, ("attention", "Mamba")):
        equal = all(torch.equal(w, same["weights"][part]) for part, w in one["weights"].items())
        check.true(
            equal,
            f"{given} gave another {name} model the second time, when the weights of the first had changed in place: call torch.manual_seed(seed) "
            "before the models are made, and make them in each call.",
        )
        moved = [part for part, w in one["weights"].items() if w.std() > 0 and not part.endswith("A_log")]
        frozen = [part for part in moved if torch.equal(one["weights"][part], different["weights"][part])]
        check.true(not frozen, f"with seed {seed + 1} in place of {seed} the {name} model is the same in {', '.join(frozen[:2])}.")


PAIRS = [(24, 48, 8, 0.05), (50, 64, 16, 0.02), (31, 40, 3, 0.11), (8, 8, 1, 0.2), (145, 16, 4, 0.01)]


def check_pair():
    for i, seed in enumerate(seeds):
        pairs = PAIRS[i % 2 :: 2]
        for number, given in enumerate(pairs):
            last = number == len(pairs) - 1  # seed 0 is a seed like any other
            check_pair_of(*given, 0 if last else seed, repeat=last or number == 0)


def accuracy_by_definition(logits, labels, shift=1, all_count=False, by_rows=False):
    rows = []
    for said, asked in zip(logits, labels.tolist()):
        found = [int(said[t - shift].argmax()) == asked[t] for t in range(shift, len(asked)) if all_count or asked[t] != -100]
        rows.append(found)
    if by_rows:
        shares = [sum(row) / len(row) for row in rows if row]
        return sum(shares) / len(shares)
    return sum(map(sum, rows)) / sum(map(len, rows))


def labels_of(_classes, _asked, _last):
    """Labels, at least one of them asked."""
    labels = _classes.masked_fill(~_asked, -100)
    labels[-1, -1] = _last % (int(_classes.max()) + 1)
    return labels


def often_right(_noise, labels, **_):
    """Logits that are right about half of the time."""
    logits = _noise.clone()
    wanted = labels[:, 1:].clamp(min=0)[..., None]
    top = logits[:, :-1].amax(-1, keepdim=True) + 1e-4  # the largest, if only by little
    lucky = torch.arange(wanted.numel()).view(wanted.shape) % 2 == 0
    logits[:, :-1].scatter_(-1, wanted, torch.where(lucky, top, logits[:, :-1].gather(-1, wanted)))
    return logits


def check_accuracy():
    causes = {
        "what is said at t - 1 answers for t": lambda logits, labels: accuracy_by_definition(logits, labels, shift=0),
        "places with -100 do not count": lambda logits, labels: accuracy_by_definition(logits, labels, all_count=True),
        "each label counts the same, in whatever row": lambda logits, labels: accuracy_by_definition(logits, labels, by_rows=True),
    }
    hint = "what is said at t - 1 answers for t; places with -100 do not count"
    for dtype in ("float32", "float64"):
        domain = {
            "_noise": cases.tensor("batch", "length", "vocab", dtypes=(dtype,), without=("zero", "equal", "ties")),
            "_classes": cases.tensor("batch", "length", dtypes=("int64",), below="vocab"),
            "_asked": cases.tensor("batch", "length", dtypes=("bool",)),
            "_last": cases.integer(0, 1000),
            "labels": cases.derived(lambda _classes, _asked, _last, **_: labels_of(_classes, _asked, _last)),
            "logits": cases.derived(lambda **drawn: often_right(**{k: v for k, v in drawn.items() if k in ("_noise", "labels")}), "random numbers, right at every other place"),
        }
        drawn = cases.draw(seeds, domain, 4, batch=(1, 70), length=(2, 70), vocab=(2, 70))
        swapped = (cases.Case({"logits": case["logits"], "labels": case["labels"]}, case.words) for case in drawn)
        check.agrees(accuracy, accuracy_by_definition, swapped, "`accuracy`", hint, causes=causes)
    check.kind(accuracy(torch.eye(3)[None], torch.tensor([[0, 0, 2]])), float, "the accuracy", "take the number out with .item()")


with check.exercise("fair_pair"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"fair_pair": check_pair, "accuracy": check_accuracy})
check.points(3)  # the number below: your points, of 3

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Put all that both configs share in one dictionary. For the width: make a Llama with the narrowest MLP, count, and divide
# what is missing by what one more column costs (three matrices a layer, two layers).
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `initializer_range`, `tie_word_embeddings`, `pad_token_id` in the configs; `model.num_parameters()`; `torch.manual_seed` before
# the models. `accuracy`: `argmax(-1)`, and slices `[:, :-1]` and `[:, 1:]`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# torch.manual_seed(seed)
# mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
# missing = mamba.num_parameters() - attention(1).num_parameters()    # attention(width) makes the Llama
# return attention(1 + round(missing / ...)), mamba
#
# guess, wanted = logits[:, :-1].argmax(-1), ...
# return (guess == wanted)[...].double().mean().item()
# ```
# </details>


# %% [markdown]
# ### Measured: memory and time against length
#
# First the bytes. Three small models of four layers read texts of growing length; your `cache_bytes` weighs what they
# carry, and your `predicted_bytes` draws the lines on.


# %%
def describe(config):
    """The layers of a Llama, Mamba or Bamba config, as `predicted_bytes` takes them."""
    found = []
    for kind in getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers:
        if kind == "full_attention":
            width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
            found.append({"kind": "attention", "kv_heads": config.num_key_value_heads, "head_dim": width})
        elif config.model_type == "mamba":
            inner = config.intermediate_size
            found.append(
                {
                    "kind": "mamba",
                    "conv_channels": inner,
                    "kernel": config.conv_kernel,
                    "channels": inner,
                    "state": config.state_size,
                }
            )
        else:
            inner = config.mamba_n_heads * config.mamba_d_head
            with_b_and_c = inner + 2 * config.mamba_n_groups * config.mamba_d_state
            rest = {"kernel": config.mamba_d_conv, "channels": inner, "state": config.mamba_d_state}
            found.append({"kind": "mamba", "conv_channels": with_b_and_c, **rest})
    return found


contestants = {
    "attention (Llama)": tiny_llama(
        hidden_size=64, num_hidden_layers=4, num_key_value_heads=4, intermediate_size=64, max_position_embeddings=65536
    ),
    "Mamba": tiny_mamba(hidden_size=64, num_hidden_layers=4, state_size=8),
    "hybrid (Bamba, 1 of 4 attends)": tiny_hybrid(attention_at=(2,), layers=4),
}
figure, axis = plt.subplots(figsize=(7, 3.6))
lines = [2**k for k in range(4, 18)]
weighed = {}
for (name, model), colour in zip(contestants.items(), ("C0", "C1", "C2")):
    weighed[name] = {length: cache_bytes(filled(model, length)) for length in (16, 64, 256, 1024)}
    axis.plot(lines, [predicted_bytes(describe(model.config), n) / 1e6 for n in lines], color=colour, lw=1)
    axis.plot(weighed[name].keys(), [size / 1e6 for size in weighed[name].values()], "o", color=colour, label=name)
    exact = all(predicted_bytes(describe(model.config), n) == size for n, size in weighed[name].items())
    print(f"{name}: prediction equals measurement at all lengths: {exact}")
axis.set(
    xlabel="length (tokens)",
    ylabel="cache of one text (MB)",
    xscale="log",
    yscale="log",
    title="points: measured; lines: predicted",
)
axis.legend(fontsize=8)
plt.show()

growth = {name: sizes[1024] / sizes[16] for name, sizes in weighed.items()}
claims.record(
    "an SSM's memory does not grow with the text",
    claimed="constant; attention's grows in proportion",
    measured=f"from 16 to 1,024 tokens: Mamba {growth['Mamba']:.0f}x, attention {growth['attention (Llama)']:.0f}x, "
    f"hybrid {growth['hybrid (Bamba, 1 of 4 attends)']:.1f}x",
    holds=growth["Mamba"] == 1 and growth["attention (Llama)"] == 64,
    how="bytes of the cache objects of transformers",
)

# %% [markdown]
# The same formula at the size of a 7 B model, in 16 bits: transformers' default `LlamaConfig` is that of Llama 2 7B; beside it
# a Mamba of the same width with two blocks for each Transformer layer (about as many parameters), and a hybrid of both.

# %%
attends = describe(LlamaConfig())[0]
mamba = describe(MambaConfig(hidden_size=4096, num_hidden_layers=1))[0]
print("tokens      attention    Mamba   hybrid (1 of 8 attends)")
for tokens in (1024, 16384, 262144):
    rows = [attends] * 32, [mamba] * 64, ([attends] + [mamba] * 7) * 8
    print(f"{tokens:7,d} {'':>2}", *(f"{predicted_bytes(row, tokens, size=2) / 2**30:9.2f}" for row in rows), "GiB a text")
fits = most_attention(64, attends, mamba, 262144, 40 * 2**30 * 2)  # it counts 4 bytes a number, 16 bits need half
print(f"of 64 layers, {fits} may attend if a text of 262,144 tokens may take 40 GiB in 16 bits")

# %% [markdown]
# Now time. Generating: one token after a text of a given length. (Attention's cache is filled with random keys and values here:
# the time does not depend on what they are.) Reading: the whole text at once, attention by torch's own kernel, Mamba by the
# library's loop over tokens.


# %%
@torch.no_grad()
def seconds(call, repeats):
    """CPU seconds of a call, the smallest of some after a first one that is not counted."""
    call()
    taken = []
    for _ in range(repeats):
        begin = time.process_time()
        call()
        taken.append(time.process_time() - begin)
    return min(taken)


def one_token(model, length):
    """CPU seconds for one more token after `length` tokens."""
    token = torch.zeros(1, 1, dtype=torch.long)
    if isinstance(model, MambaForCausalLM):
        cache = filled(model, min(length, 64))  # its size is the same after any text
        return seconds(lambda: model(token, cache_params=cache, use_cache=True), 30)
    cache = DynamicCache(config=model.config)
    config = model.config
    for layer in range(config.num_hidden_layers):
        cache.update(
            *torch.randn(2, 1, config.num_key_value_heads, length, config.hidden_size // config.num_attention_heads), layer
        )
    return seconds(lambda: model(token, past_key_values=cache, position_ids=torch.tensor([[length]]), use_cache=True), 30)


tokens_before, text_lengths = [256, 1024, 4096, 16384, 32768], [256, 1024, 4096]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
decode, prefill = {}, {}
for name in ("attention (Llama)", "Mamba"):
    model = contestants[name]
    decode[name] = [1000 * one_token(model, length) for length in tokens_before]
    texts = [torch.zeros(1, length, dtype=torch.long) for length in text_lengths]
    prefill[name] = [1000 * seconds(lambda: model(text, use_cache=False), 2) for text in texts]
    left.plot(tokens_before, decode[name], "o-", label=name)
    right.plot(text_lengths, prefill[name], "o-", label=name)
left.set(xlabel="tokens before", ylabel="CPU time for one token (ms)", xscale="log", yscale="log", title="generating")
right.set(xlabel="length of the text (tokens)", ylabel="CPU time for the text (ms)", xscale="log", yscale="log", title="reading")
for axis, lengths in ((left, tokens_before), (right, text_lengths)):
    axis.set_xticks(lengths, [f"{n:,}" for n in lengths])
    axis.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
left.legend(fontsize=8)
plt.show()

slower = {name: times[-1] / times[0] for name, times in decode.items()}
claims.record(
    "an SSM's time per generated token does not grow with the text",
    claimed="constant; attention's grows",
    measured=f"after 32,768 tokens against 256: Mamba {slower['Mamba']:.1f}x, attention {slower['attention (Llama)']:.1f}x",
    holds=slower["Mamba"] < 2 and slower["attention (Llama)"] > 3,
    how="CPU time of one token, 4 layers of width 64",
)
for what, sizes, times in (("generating", tokens_before, decode), ("reading", text_lengths, prefill)):
    faster = [f"{n:,}" for n, mamba, attends in zip(sizes, times["Mamba"], times["attention (Llama)"]) if mamba < attends]
    print(f"{what}: Mamba is the faster one at {', '.join(faster) or 'none'} of these lengths")
power = {name: math.log(times[-1] / times[-2]) / math.log(4) for name, times in prefill.items()}
claims.record(
    "reading a text is linear for an SSM and quadratic for attention",
    claimed="exponents 1 and 2",
    measured=f"from 1,024 to 4,096 tokens: Mamba {power['Mamba']:.1f}, attention {power['attention (Llama)']:.1f}",
    holds=power["Mamba"] < 1.3 and power["attention (Llama)"] > 1.4,
    how="slope of log time over log length; the linear layers of attention pull it below 2",
)

# %% [markdown]
# The slopes are the point, not the heights: where the lines cross is decided by the implementation. The library's loop for
# reading calls torch several times for each token and layer; its CUDA kernel does not. Constant memory is what holds everywhere.

# %% [markdown]
# ### Measured: who remembers, who carries on
#
# Two tasks that were made for this question (`unit24.data` documents them):
#
# - **Recall.** A list of keys with values, then keys alone: say their values. To make it a question of memory and nothing
#   else, a key and its value are joined to *one* token here. Trained on lists of 2 to 8, tested on 4 to 11.
# - **Selective copying.** Two symbols somewhere in noise, then the symbols in their order. Trained on texts of 12 to 24
#   tokens, tested on up to 192.
#
# The pair of models is yours from exercise 9. Mamba computes with your block of exercise 6: the gradient of the library's
# loop makes a tensor as large as the whole text for each token, so it trains more slowly.


# %%
def use_own_block(model):
    """The Mamba model computes with `mamba_block` from now on, with the same weights."""
    for layer in model.backbone.layers:
        layer.mixer.forward = lambda hidden, mixer=layer.mixer, **unused: mamba_block(mixer, hidden)[0]
    return model


def as_tensors(rows, pairs=None):
    """(ids, labels) of a dataset; with `pairs`, each of the first pairs (key, value) becomes one token."""
    rows = rows[:]
    ids, labels = torch.tensor(rows["input_ids"]), torch.tensor(rows["labels"])
    if pairs:
        keys, values = ids[:, : 2 * pairs : 2] - 2, ids[:, 1 : 2 * pairs : 2] - 13
        ids, labels = torch.cat([24 + 11 * keys + values, ids[:, 2 * pairs :]], 1), labels[:, pairs:]
    return ids, labels


def task(name, seed):
    """(vocabulary, training sets, test sets by size) of "recall" or "copying"."""
    if name == "recall":
        train = [as_tensors(data.load("recall", split="train", n=1000, seed=seed, pairs=n, queries=8), n) for n in range(2, 9)]
        test = {n: as_tensors(data.load("recall", split="test", n=300, seed=seed, pairs=n, queries=8), n) for n in (4, 6, 8, 11)}
        return 24 + 121, train, test
    train = [
        as_tensors(data.load("selective_copy", split="train", n=1000, seed=seed, length=n, symbols=2))
        for n in (12, 15, 18, 21, 24)
    ]
    test = {
        n: as_tensors(data.load("selective_copy", split="test", n=200, seed=seed, length=n, symbols=2)) for n in (24, 48, 96, 192)
    }
    return 24, train, test


def train(model, sets, steps, rate, seed):
    """`steps` updates on batches of 32; the share of right answers in each batch, before its update."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    generator, curve = torch.Generator().manual_seed(seed), []
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 30) * (1 - 0.9 * step / steps)
        ids, labels = sets[int(torch.randint(len(sets), (1,), generator=generator))]
        rows = torch.randint(len(ids), (32,), generator=generator)
        result = model(input_ids=ids[rows], labels=labels[rows], use_cache=False)
        optimizer.zero_grad()
        result.loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        curve.append(accuracy(result.logits.detach(), labels[rows]))
    return curve


RATES = {"attention": 5e-3, "Mamba": 1e-2}  # of 1e-3, 3e-3, 5e-3 and 1e-2, those that did well


def contest(name, seed=0, steps=200, std=0.1, who=("attention", "Mamba")):
    """Train the models of a fair pair on a task, on the same batches: {model: (curve, accuracies by size, CPU seconds)}."""
    vocab, sets, tests = task(name, seed)
    results = {}
    for number, model in enumerate(fair_pair(vocab, 48, 8, std, seed)):
        label = ("attention", "Mamba")[number]
        if label not in who:
            continue
        if label == "Mamba":
            use_own_block(model)
        begin = time.process_time()
        curve = train(model, sets, steps, RATES[label], seed)
        taken = time.process_time() - begin
        model.eval()
        with torch.no_grad():
            scores = {n: accuracy(model(input_ids=ids, use_cache=False).logits, labels) for n, (ids, labels) in tests.items()}
        results[label] = curve, scores, taken
    return results


model = fair_pair(24, 48, 8, 0.1, 0)[1].train()
ids, labels = as_tensors(data.load("recall", split="train", n=32))
twin = use_own_block(copy.deepcopy(model))


def one_update(model):
    begin = time.process_time()
    model(input_ids=ids, labels=labels, use_cache=False).loss.backward()
    return time.process_time() - begin


library, own = (1000 * min(one_update(m) for _ in range(3)) for m in (model, twin))
same = torch.allclose(model(input_ids=ids).logits, twin(input_ids=ids).logits, atol=1e-5)
print(f"forward and backward: transformers' loop {library:.0f} ms, your block {own:.0f} ms; same logits: {same}")

# %%
recall = contest("recall")
unmatched = contest("recall", std=0.02, who=["attention"])
second = {std: contest("recall", seed=1, std=std, who=["attention"]) for std in (0.1, 0.02)}  # another seed


def smooth(curve, width=10):
    return [sum(curve[max(0, i - width) : i + 1]) / len(curve[max(0, i - width) : i + 1]) for i in range(len(curve))]


figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
left.plot(smooth(recall["attention"][0]), "C0", label="attention, std 0.1")
left.plot(smooth(unmatched["attention"][0]), "C0--", label="attention, std 0.02 (Llama's default)")
left.plot(smooth(recall["Mamba"][0]), "C1", label="Mamba, std 0.1 (its default)")
for std, style in ((0.1, "C0"), (0.02, "C0--")):
    left.plot(smooth(second[std]["attention"][0]), style, lw=0.6)  # thin: the other seed
left.set(xlabel="update", ylabel="right answers (share)", title="recall, while training", ylim=(0, 1.05))
left.legend(fontsize=8, loc="upper left")
for name, colour in (("attention", "C0"), ("Mamba", "C1")):
    right.plot(recall[name][1].keys(), recall[name][1].values(), "o-", color=colour, label=name)
right.axvspan(2, 8, color="0.92", label="lengths in training")
right.set(xlabel="pairs to remember", ylabel="right answers (share)", title="recall, on held-out lists (matched)", ylim=(0, 1.05))
right.legend(fontsize=8)
plt.show()
for name, (_, scores, taken) in recall.items():
    print(f"{name}:", ", ".join(f"{n} pairs {score:.2f}" for n, score in scores.items()), f"({taken:.0f} CPU s)")
curves = {
    "attention": [recall["attention"][0], second[0.1]["attention"][0]],
    "attention at 0.02": [unmatched["attention"][0], second[0.02]["attention"][0]],
    "Mamba": [recall["Mamba"][0]],
}
late = {name: [sum(curve[-20:]) / 20 for curve in both] for name, both in curves.items()}
order = sorted(late, key=lambda name: -min(late[name]))
print("share of right answers in the last 20 updates, best first:")
for name in order:
    print(f"  {name}: {', '.join(f'{share:.2f}' for share in late[name])}")
claims.record(
    "attention recalls better than an SSM",
    claimed="attention looks up, a state of fixed size forgets",
    measured=f"8 pairs: attention {recall['attention'][1][8]:.2f}, Mamba {recall['Mamba'][1][8]:.2f}",
    holds=recall["attention"][1][8] > recall["Mamba"][1][8] + 0.1,
    how="equal parameters and starts, 200 updates, one seed (three in the table below)",
)
claims.record(
    "initialisation alone can decide a comparison",
    claimed="match it first",
    measured=f"last 20 updates: Mamba {late['Mamba'][0]:.2f}; attention {min(late['attention']):.2f} at least, or from its default at "
    f"most {max(late['attention at 0.02']):.2f}",
    holds=max(late["attention at 0.02"]) < late["Mamba"][0] < min(late["attention"]),
    how="initializer_range 0.1 for both, or each library default; attention with two seeds",
)

# %% [markdown]
# Compare the dashed line with the other two: it is the same attention model, with Llama's default start. Where the printed order
# has Mamba between the two, one knob outside the architecture has turned the result of the comparison around.
#
# What this does *not* show: that Mamba cannot learn it. 200 updates are few, and the models are tiny.

# %%
copying = contest("copying", steps=300)
figure, axis = plt.subplots(figsize=(7, 3.2))
for name, colour in (("attention", "C0"), ("Mamba", "C1")):
    axis.plot(copying[name][1].keys(), copying[name][1].values(), "o-", color=colour, label=name)
axis.axvspan(12, 24, color="0.92", label="lengths in training")
axis.set(
    xlabel="length of the text (tokens)", ylabel="right answers (share)", xscale="log", title="selective copying", ylim=(0, 1.05)
)
axis.set_xticks([12, 24, 48, 96, 192], ["12", "24", "48", "96", "192"])
axis.minorticks_off()
axis.legend(fontsize=8)
plt.show()
for name, (_, scores, taken) in copying.items():
    print(f"{name}:", ", ".join(f"length {n} {score:.2f}" for n, score in scores.items()), f"({taken:.0f} CPU s)")
claims.record(
    "an SSM carries on beyond its training length",
    claimed="Mamba extrapolates, attention with rotary positions does not",
    measured=f"trained to 24, tested at 96: Mamba {copying['Mamba'][1][96]:.2f}, attention {copying['attention'][1][96]:.2f}",
    holds=copying["Mamba"][1][96] > copying["attention"][1][96] + 0.1,
    how="selective copying of 2 symbols, 300 updates, one seed (three in the table below)",
)

# %% [markdown]
# One seed is one seed. In the course's repository, `python tools/state_space.py recall` and
# `python tools/state_space.py copying --steps 300` run the same code for the seeds 0, 1 and 2. In November 2026, on a CPU with torch
# 2.13 and transformers 5.17, they gave, with a start of 0.1 (on another machine the last digits differ):
#
# | task | size | attention | Mamba |
# |---|---|---|---|
# | recall | 8 pairs, the longest trained | 1.00, 1.00, 1.00 | 0.37, 0.34, 0.36 |
# | recall | 11 pairs | 1.00, 1.00, 1.00 | 0.30, 0.30, 0.30 |
# | copying | 24 tokens, the longest trained | 1.00, 0.99, 0.99 | 1.00, 1.00, 1.00 |
# | copying | 48 tokens | 0.94, 0.77, 0.88 | 1.00, 1.00, 1.00 |
# | copying | 96 tokens | 0.74, 0.62, 0.64 | 1.00, 0.81, 0.99 |
# | copying | 192 tokens | 0.60, 0.59, 0.58 | 0.99, 0.42, 0.92 |
#
# In this table recall hardly depends on the seed. Length does: at two and four times the training length Mamba is ahead in all
# three runs, at eight times in two; with seed 1 it has fallen behind there. Nothing in the training asked for longer texts, so how
# far it carries is left to chance. "Mamba extrapolates" is a tendency, not a law.
#
# And the hybrid? `python tools/state_space.py neighbours` makes recall harder: key and value are two tokens again, so a
# model must first join neighbours and then look up. One Bamba layer of each kind (with 11 % more parameters), 200 updates:
#
# | size | attention | Mamba | hybrid |
# |---|---|---|---|
# | 8 pairs, the longest trained | 0.28, 0.27, 0.27 | 0.30, 0.27, 0.28 | 1.00, 1.00, 1.00 |
# | 11 pairs | 0.23, 0.25, 0.24 | 0.24, 0.25, 0.25 | 1.00, 1.00, 1.00 |
#
# In these runs two layers of either kind alone are still guessing among the values shown, and together they have it. A likely
# reason: the convolution in the Mamba layer joins the neighbours, the attention layer looks up. (Alone, attention must first grow a
# head that looks one token back.)

# %% [markdown]
# ## Claims measured
#
# | claim | where |
# |---|---|
# | an SSM's memory does not grow with the text | memory and time |
# | an SSM's time per generated token does not grow with the text | memory and time |
# | reading a text is linear for an SSM and quadratic for attention | memory and time |
# | attention recalls better than an SSM | who remembers |
# | initialisation alone can decide a comparison | who remembers |
# | an SSM carries on beyond its training length | who carries on |
#
# The table with your own figures stands below the last of them; `unit24 claims` prints it in a terminal.

# %% [markdown]
# ## On a bigger machine
#
# The same measurement with real checkpoints: Mamba with 130 M parameters and SmolLM2 with 135 M, on a GPU, at lengths where the
# difference decides. It runs with `UNIT24_TIER=hub` on a GPU. With the packages `mamba_ssm` and `causal_conv1d` installed,
# transformers uses their kernels for the scan; without, it loops, which is right and slow. On an H200, with models of these
# sizes and random weights (the size of a cache does not depend on what the weights are), Mamba's took 2.5 MiB at every
# length, and attention's 11, 45 and 180 MiB.

# %%
if env.tier == "hub" and env.device == "cuda":
    from transformers import AutoModelForCausalLM

    for name in ("state-spaces/mamba-130m-hf", "HuggingFaceTB/SmolLM2-135M"):
        model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.bfloat16).to(env.device).eval()
        for length in (512, 2048, 8192):
            ids = torch.randint(1000, (1, length), device=env.device)
            with torch.no_grad():
                result = model(input_ids=ids, use_cache=True, logits_to_keep=1)
            cache = result["cache_params"] if "cache_params" in result else result["past_key_values"]
            print(f"{name}: {length:5,d} tokens, {cache_bytes(cache) / 2**20:8.1f} MiB in the cache")
else:
    print("Skipped: this section needs a GPU and UNIT24_TIER=hub.")

# %% [markdown]
# ## Quiz
#
# Five questions, with feedback for every option. Nothing is graded.

# %% [markdown] quiz="state_space_models"
# 1. Mamba gives a filler word a step close to 0. What happens to the state?
# - [x] Almost nothing: it is kept, and the word leaves no trace :: The decay is e to the (step times A), close to 1, and what enters is multiplied by the step.
# - [ ] It is wiped :: That takes a large step: then the decay is close to 0.
# - [ ] It becomes the word :: A large step does that.
# - [ ] It grows :: A is negative: the state never grows by itself.
# 2. Why can Mamba not be trained as a long convolution, as its predecessors were?
# - [ ] Its state is too large :: The size of the state does not matter for that.
# - [ ] The Fourier transform has no gradient :: It has one, and it was used.
# - [x] Its decay and its way in differ from token to token, so there is no one kernel :: The associative scan takes the place of the convolution.
# - [ ] Convolutions are slower than loops :: They are much faster, where they apply.
# 3. What makes the associative scan possible?
# - [ ] The steps commute: their order does not matter :: It does matter; exchanging left and right gives another result.
# - [x] Joining two steps gives a step again, and how the joins are bracketed does not matter :: So neighbours can be joined first, all at once.
# - [ ] The steps are independent of each other :: Each needs the state that the one before leaves.
# - [ ] The state is small :: It would work for any size.
# 4. A service holds 500 conversations of 100,000 tokens each. Which model's memory depends on the 100,000?
# - [ ] Mamba's and the hybrid's :: Mamba carries a state of fixed size, whatever was read.
# - [ ] Only attention's :: The few attention layers of a hybrid keep keys and values too.
# - [x] Attention's and the hybrid's, the hybrid's with fewer layers :: That is the reason to have few of them.
# - [ ] None, if all use a cache :: The cache is what grows.
# 5. A paper trains a Mamba and a Transformer with their libraries' defaults, and Mamba is ahead after 200 steps. What do you ask first?
# - [ ] Whether the loss was cross-entropy :: It was the same for both, most likely.
# - [x] Whether initialisation, tying and parameter counts were matched, and what more steps and seeds give :: In this lesson the same comparison turned round with one knob.
# - [ ] Whether a GPU was used :: The result should not depend on it, only the time.
# - [ ] Whether the Mamba was bidirectional :: A causal language model is not.

# %% [markdown]
# ## What to read next
#
# - [Mamba: Linear-Time Sequence Modeling with Selective State Spaces](https://arxiv.org/abs/2312.00752) by Albert Gu and Tri Dao:
#   selection, the scan as a kernel, selective copying.
# - [Efficiently Modeling Long Sequences with Structured State Spaces](https://arxiv.org/abs/2111.00396) (S4): where discretising and
#   the long convolution come from.
# - [Transformers are SSMs](https://arxiv.org/abs/2405.21060) (Mamba-2): the scan as matrix products, as in Bamba's layers.
# - [Repeat After Me: Transformers are Better than State Space Models at Copying](https://arxiv.org/abs/2402.01032), and
#   [Zoology](https://arxiv.org/abs/2312.04927) on recall: the limits of a fixed state.
# - [Jamba](https://arxiv.org/abs/2403.19887): a hybrid at scale, and how many attention layers it needs.
# - [Mamba in transformers](https://huggingface.co/docs/transformers/model_doc/mamba): the classes of this lesson.
# - Next: lesson 20 writes kernels, the place where a scan becomes fast.
