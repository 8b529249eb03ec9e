# ---
# jupyter:
#   unit24:
#     needs: ["matplotlib>=3.8", "numpy>=1.26", "torch>=2.6"]
# ---

# %% [markdown]
# # 22 · A transformer from scratch
#
# **You will build** a transformer with encoder and decoder, part by part: attention with masks, rotary positions, heads that share keys, a decoder layer, the
# loss and the decoding. It reads dates as people write them ("Thursday, 5 March 1987") and writes them as computers want them ("1987-03-05"). After that come
# the parts that today's large models changed: smaller caches and mixtures of experts. You will also write the test that finds the
# worst bug of this trade: a decoder that sees the future.
#
# **You need first** tensors, broadcasting and modules in PyTorch (lessons 02 and 03), and a training loop (lesson 04).
#
# **Time** about five hours: nine exercises, 28 points.
#
# | part | idea | exercises |
# |---|---|---|
# | 1 | attention looks things up by likeness; a mask says where it may look | `attention`, `masks` |
# | 2 | a position is an angle | `rotate` |
# | 3 | several look-ups side by side, some of them sharing keys | `multi_head` |
# | 4 | encoder and decoder, trained on pairs of sequences | `decoder_layer`, `check_causal`, `translate` |
# | 5 | what it costs: the square of the length in time, the length in memory | `caches` |
# | 6 | more parameters for the same work: a mixture of experts | `mixture` |

# %% setup

# %%
import datetime
import math
import random
import time

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from unit24 import cases, check, claims

torch.set_num_threads(1)  # tensors here are small: more threads would wait for each other

# %% [markdown]
# ## 1 · Attention
#
# A dictionary finds the one key that equals the query, and returns its value. **Attention** (Bahdanau et al., 2014; in this form Vaswani et al., 2017) is
# a soft dictionary: every key is compared with the query by a dot product, and what comes back is a mean of all values, weighted by how well their keys fit:
#
# $$\text{attention}(q, K, V) = \sum_j w_j v_j, \qquad w = \text{softmax}\left(\frac{q \cdot k_1}{\sqrt d}, \dots, \frac{q \cdot k_m}{\sqrt d}\right).$$
#
# Why the root of $d$? A sum of $d$ products of independent numbers of mean 0 and variance 1 has variance $d$. Without the root, scores grow with the width, and softmax
# turns into "the largest takes all", whose gradient is nearly zero. The plot shows how much the largest of 20 weights takes.

# %%
torch.manual_seed(0)
widths = [2**i for i in range(1, 11)]
shares = {"divided by √d": [], "as they are": []}
for d in widths:
    q, K = torch.randn(200, 1, d), torch.randn(200, 20, d)
    for name, scale in (("divided by √d", d**-0.5), ("as they are", 1.0)):
        shares[name].append(((q * K).sum(-1) * scale).softmax(-1).amax(-1).mean().item())
figure, panel = plt.subplots(figsize=(6, 3), layout="constrained")
for name, values in shares.items():
    panel.semilogx(widths, values, "o-", base=2, label=f"scores {name}")
panel.set(title="Random queries and 20 random keys", xlabel="width d", ylabel="share of the largest weight", ylim=(0, 1))
panel.legend()
plt.show()

# %% [markdown]
# A **mask** says which keys a query may look at. Those that it may not get the score $-\infty$, so their weight is exactly 0. Two are everywhere: the
# *causal* mask (no query sees a later position) and the *padding* mask (no query sees the filling that makes rows of a batch equally long).
#
# One case is easily forgotten: a query that may look at **nothing**, in a row of padding alone. The softmax of nothing but $-\infty$ is
# 0 / 0. One such NaN in a batch is enough: through the gradients it reaches every weight of the network.
#
# ### Exercise 1 · Attention with a mask (`attention`, 3 points, 25 minutes, difficulty 1 of 3)
#
# Write `attention(query, key, value, mask=None)`. `query` has shape [b, h, n, d], `key` [b, h, m, d], `value` [b, h, m, e]: for b texts and h heads, n queries
# look at m keys. Sizes are 1 to 40 (b and h: 1 to 5). All three are float32, or all float64, in any memory layout, with numbers from -10 to 10. `mask` is `None` or a boolean tensor [m],
# [n, m], [b, 1, 1, m], [1, h, n, m] or [b, h, n, m]; True means: this query may look at this key.
#
# - The score of a query and a key is their dot product, divided by the root of d. <!-- rule: scores -->
# - The weights of a query are the softmax of its scores over the keys that it may look at; the weight of all others is exactly 0. Without a mask it may look at all. <!-- rule: weights -->
# - A query that may look at nothing has weights 0. <!-- rule: blind -->
# - It returns a pair: the output [b, h, n, e], which is for each query the sum of the values times its weights, and the weights [b, h, n, m]. Both have the dtype of the query. <!-- rule: pair -->
# - They are right to 1 in 100,000 of the largest number (or of 1, where that is more) in float32, or to 1 in 1,000 where scores lie beyond 30, and to 1 in a million in float64. Nothing overflows, however far apart the scores, those of hidden keys among them. <!-- rule: digits -->
# - Gradients of both results flow back to `query`, `key` and `value`. They are right, and finite also where a query may look at nothing (there is nothing to learn from it: it adds 0). <!-- rule: gradients -->
# - What is given stays as it was. <!-- rule: unchanged -->


# %% exercise="attention" minutes=25 difficulty=1
def attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output [b, h, n, e] and weights [b, h, n, m] of queries that look at keys; mask: True where they may."""
    ### BEGIN SOLUTION
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    if mask is None:
        weights = scores.softmax(-1)
    else:
        blind = ~mask.any(-1, keepdim=True)
        weights = scores.masked_fill(~(mask | blind), -math.inf).softmax(-1).masked_fill(blind, 0.0)
    return weights @ value, weights
    ### END SOLUTION


# %% tests="attention" points=3
def mask_of(query, key, form, seed):
    """A boolean mask of some form: about two thirds True; where it has two rows or more, one of them sees nothing."""
    (b, h, n, _), m = query.shape, key.shape[2]
    shape = {"none": None, "queries": (n, m), "padding": (b, 1, 1, m), "heads": (1, h, n, m), "all": (b, h, n, m), "keys": (m,)}[form]
    if shape is None:
        return None
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.65
    rows = mask.view(-1, m)
    if len(rows) > 1:
        rows[seed % len(rows)] = False
    return mask


def attention_by_definition(query, key, value, mask=None, scale=None, blind=0.0, hide=True, dim=-1, renormalise=True):
    """Each weight as a quotient, in float64."""
    q, k, v = query.double(), key.double(), value.double()
    scores = torch.einsum("bhnd,bhmd->bhnm", q, k) * (q.shape[-1] ** -0.5 if scale is None else scale(query, value))
    seen = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask.expand(scores.shape) == hide
    lowest = scores.masked_fill(~seen & renormalise, -math.inf).amax(dim, keepdim=True).nan_to_num(0, 0, 0)
    powers = (scores - lowest).clamp(max=700).exp()
    total = (powers * seen if renormalise else powers).sum(dim, keepdim=True)
    weights = torch.where(total > 0, powers * seen / total.where(total > 0, 1.0), blind if blind == blind else math.nan)
    return torch.einsum("bhnm,bhme->bhne", weights, v).to(query.dtype), weights.to(query.dtype)


def largest_of_all(query, key, value, mask=None):
    """What comes of it where the largest score is taken off before `exp`, though no query may look at its key."""
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    powers = (scores - scores.amax(-1, keepdim=True)).exp() * (1 if mask is None else mask)
    total = powers.sum(-1, keepdim=True)
    weights = powers / total.where(total > 0, 1.0)
    return weights @ value, weights


def gradients_by_definition(query, key, value, mask):
    leaves = [x.double().requires_grad_() for x in (query, key, value)]
    output, weights = attention_by_definition(*leaves, mask)
    return [g.to(query.dtype) for g in torch.autograd.grad(pulled(output) + pulled(weights), leaves)]


@check.shared
def pulled(x):
    """A number that depends on every entry of `x`, on each in its own way."""
    return (x * torch.linspace(-1, 2, x.numel(), dtype=x.dtype).view(x.shape)).sum()


@check.scenario
def gradients_of(query, key, value, mask):
    leaves = [x.clone().requires_grad_() for x in (query, key, value)]
    output, weights = attention(*leaves, mask)
    total = pulled(output) + pulled(weights)
    found = torch.autograd.grad(total, leaves, allow_unused=True) if total.requires_grad else [None] * 3
    return list(found)


def hidden_above(dtype, low):
    """Every score that counts lies far below 0, every hidden one far above."""
    domain = attention_domain(dtype)
    domain |= {"query": cases.tensor("b", "h", "n", "d", dtypes=(dtype,), low=low, high=10), "_far": cases.tensor("b", "h", "m", "d", dtypes=(dtype,), low=-10, high=-low)}
    domain |= {"_form": cases.choice("padding", "keys", "none")}
    seen = cases.derived(lambda query, _far, _form, _seed, **_: mask_of(query, _far, _form, _seed))
    key = cases.derived(lambda _far, _mask, **_: _far if _mask is None else torch.where(_mask.reshape(-1, 1, _mask.shape[-1], 1), _far, -_far), "below 0 where the mask lets through, else above")
    names = ("query", "_far", "_form", "_seed")
    return {name: domain[name] for name in names} | {"_mask": seen, "key": key, "value": domain["value"], "mask": cases.derived(lambda _mask, **_: _mask)}


def attention_domain(dtype, **numbers):
    axes = {"query": ("b", "h", "n", "d"), "key": ("b", "h", "m", "d"), "value": ("b", "h", "m", "e")}
    domain = {name: cases.tensor(*shape, dtypes=(dtype,), **numbers) for name, shape in axes.items()}
    domain |= {"_form": cases.choice("none", "queries", "padding", "heads", "all", "keys"), "_seed": cases.integer(0, 10**6)}
    return domain | {"mask": cases.derived(lambda query, key, _form, _seed, **_: mask_of(query, key, _form, _seed))}


ATTENTION_SIZES = {"b": (1, 5), "h": (1, 5), "n": (1, 40), "m": (1, 40), "d": (1, 40), "e": (1, 40)}

with check.exercise("attention"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    hint = "softmax(q · k / √d) over the keys that the mask lets through, then the mean of the values with these weights"
    causes = {
        "the scores were not divided by √d": lambda *a: attention_by_definition(*a, scale=lambda q, v: 1.0),
        "the scores were divided by d, in place of its root": lambda *a: attention_by_definition(*a, scale=lambda q, v: 1 / q.shape[-1]),
        "the scores were divided by the root of the values' width: d is the width of queries and keys": lambda *a: attention_by_definition(*a, scale=lambda q, v: v.shape[-1] ** -0.5),
        "the mask is turned round: True means that the query may look": lambda *a: attention_by_definition(*a, hide=False),
        "the softmax runs over the queries: it belongs over the keys, the last axis": lambda *a: attention_by_definition(*a, dim=-2),
        "weights were set to 0 after the softmax, so the others no longer add up to 1": lambda *a: attention_by_definition(*a, renormalise=False),
        "a query that may look at nothing gets NaN: 0 / 0": lambda *a: attention_by_definition(*a, blind=math.nan),
        "a query that may look at nothing looks at everything equally, since all its scores are the same": lambda *a: attention_by_definition(*a, blind=1 / a[1].shape[2]),
    }
    for dtype, numbers, digits in (
        ("float32", {}, {"rtol": 1e-5}),
        ("float64", {"scale": (1e-3, 10.0)}, {"rtol": 1e-6}),
        ("float32", {"scale": (1e-3, 10.0)}, {"rtol": 1e-3}),
    ):
        drawn = cases.draw(seeds, attention_domain(dtype, **numbers), count=6, **ATTENTION_SIZES)
        check.agrees(attention, attention_by_definition, drawn, "`attention` (output, weights)", hint, causes=causes, **digits)
    apart = {"the largest of all scores, hidden ones among them, was taken off before `exp`: nothing is left of those that count": largest_of_all}
    for dtype, low, rtol in (("float64", 7, 1e-6), ("float32", 4, 1e-3)):
        drawn = cases.draw(seeds, hidden_above(dtype, low), count=2, **{**ATTENTION_SIZES, "d": (34, 40)})
        check.agrees(attention, attention_by_definition, drawn, "`attention` (output, weights)", hint, causes=apart | causes, rtol=rtol)
    drawn = cases.draw(seeds, attention_domain("float64"), count=6, **ATTENTION_SIZES)
    hint = "a sum of both results has gradients for all three inputs; where a query may look at nothing, keep NaN out before it arises: where minus infinity was added to scores, `nan_to_num` on the result is too late for gradients"
    check.agrees(gradients_of, gradients_by_definition, drawn, "the gradients (of query, key, value) through `attention`", hint, rtol=1e-6, atol=1e-6)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# All scores at once are one product of matrices. Hidden scores must not take part in the softmax; what would you put in their place? And what is the softmax of a row that
# is hidden as a whole? Give such a row something harmless to work on, and take its weights away afterwards.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `key.transpose(-2, -1)`, `@`, `Tensor.masked_fill(where, number)`, `Tensor.softmax(-1)`, `mask.any(-1, keepdim=True)`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# `blind = ~mask.any(-1, keepdim=True)`, then `scores.masked_fill(~(mask | blind), -math.inf).softmax(-1).masked_fill(blind, 0.0)`. A blind row sees everything for a moment, so that no
# NaN arises, and its weights are set to 0 at the end.
# </details>

# %% [markdown]
# PyTorch has the same thing as one function, `F.scaled_dot_product_attention`. It gives the output alone, since its fast forms never hold all weights at once. Yours agrees:

# %%
torch.manual_seed(1)
q, k, v = torch.randn(2, 4, 9, 16), torch.randn(2, 4, 12, 16), torch.randn(2, 4, 12, 16)
padding = (torch.arange(12) < torch.tensor([[12], [7]]))[:, None, None]
for name, mask in (("no mask", None), ("padding", padding), ("causal", torch.ones(9, 12, dtype=torch.bool).tril(3))):
    apart = (attention(q, k, v, mask)[0] - F.scaled_dot_product_attention(q, k, v, attn_mask=mask)).abs().max().item()
    print(f"{name:8} largest difference {apart:.1e}, within 1e-5: {apart < 1e-5}")

# %% [markdown]
# ### Exercise 2 · Three masks (`masks`, 2 points, 15 minutes, difficulty 1 of 3)
#
# `causal_mask(n, m, window=None)` is for n queries that are the **last** n of m positions (n from 1 to 40, m from n to n + 60): query i stands at position m - n + i. While a text is written, one new
# query (n = 1) looks back at all m positions; while it is read, n = m.
#
# - It returns a boolean tensor [n, m], True where the key's position is not later than the query's own. <!-- rule: causal -->
# - The queries are the last n positions. <!-- rule: last -->
# - With a `window` (1 to 120) a query sees only the last `window` positions up to its own, its own among them. `None` means no such limit. <!-- rule: window -->
#
# `padding_mask(tokens, pad)`: `tokens` is int64 [b, m] (b from 1 to 9, m from 1 to 30, numbers from -3 to 5, in any layout), `pad` the number that fills up: -1, 0 or 3. It may stand anywhere in a row, also nowhere or everywhere.
#
# - It returns a boolean tensor [b, 1, 1, m], which fits [b, h, n, m]: True where the token is not `pad`. <!-- rule: padding -->
# - `tokens` stays as it was. <!-- rule: unchanged -->
#
# Each function earns half of the points.


# %% exercise="masks" minutes=15 difficulty=1
def causal_mask(n: int, m: int, window: int | None = None) -> torch.Tensor:
    """Boolean [n, m]: may query i, at position m - n + i, look at position j?"""
    ### BEGIN SOLUTION
    back = torch.arange(m - n, m)[:, None] - torch.arange(m)  # how far each key lies behind each query
    seen = back >= 0
    return seen if window is None else seen & (back < window)
    ### END SOLUTION


def padding_mask(tokens: torch.Tensor, pad: int) -> torch.Tensor:
    """Boolean [b, 1, 1, m]: True where the token is none of the filling."""
    ### BEGIN SOLUTION
    return (tokens != pad)[:, None, None, :]
    ### END SOLUTION


# %% tests="masks" points=2
def causal_by_definition(n, m, window, first=None, ahead=0, wide=0, turned=False):
    first = m - n if first is None else first
    rows = [[j <= first + i + ahead and (window is None or j > first + i - window - wide) for j in range(m)] for i in range(n)]
    if turned:
        rows = [[not seen for seen in row] for row in rows]
    return torch.tensor(rows)


def padding_by_definition(tokens, pad, turned=False):
    rows = [[[[(token == pad) == turned for token in row]]] for row in tokens.tolist()]
    return torch.tensor(rows)


def check_causal_mask():
    domain = {
        "n": cases.size("n"),
        "_more": cases.choice(0, 1, 5, 37, 60),
        "m": cases.derived(lambda n, _more: n + _more),
        "window": cases.choice(None, 1, 2, 5, 40, 120),
    }
    causes = {
        "query 0 was taken to stand at position 0: it stands at m - n": lambda n, m, w: causal_by_definition(n, m, w, first=0),
        "a query sees one position ahead": lambda n, m, w: causal_by_definition(n, m, w, ahead=1),
        "a query does not see its own position": lambda n, m, w: causal_by_definition(n, m, w, ahead=-1),
        "the window is one position too wide: the query's own counts": lambda n, m, w: causal_by_definition(n, m, w, wide=1),
        "the window is one position too narrow": lambda n, m, w: causal_by_definition(n, m, w, wide=-1),
        "the window is not used": lambda n, m, w: causal_by_definition(n, m, None),
        "True and False are exchanged": lambda n, m, w: causal_by_definition(n, m, w, turned=True),
    }
    hint = "query i stands at position p = m - n + i and sees positions p - window + 1 to p"
    check.agrees(causal_mask, causal_by_definition, cases.draw(seeds, domain, n=(1, 40)), "`causal_mask`", hint, causes=causes)


def check_padding_mask():
    for pad, low in ((0, 0), (3, 0), (-1, -3)):
        domain = {"tokens": cases.tensor("b", "m", dtypes=("int64",), low=low, high=low + 5), "pad": cases.choice(pad)}
        hint = "True where the token is not `pad`, with two axes of length 1 for heads and queries"
        causes = {"True and False are exchanged: True means that it may be looked at": lambda t, p: padding_by_definition(t, p, turned=True)}
        drawn = cases.draw(seeds, domain, count=5, b=(1, 9), m=(1, 30))
        check.agrees(padding_mask, padding_by_definition, drawn, "`padding_mask`", hint, causes=causes)


with check.exercise("masks"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"causal_mask": check_causal_mask, "padding_mask": check_padding_mask})
check.points(2)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Write the position of each query as a column and that of each key as a row. Their difference says how far back a key lies.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `torch.arange`, indexing with `None` for a new axis, comparisons, `&`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# `back = torch.arange(m - n, m)[:, None] - torch.arange(m)`; a query may look where `back >= 0`, and with a window where `back < window`, too.
# </details>

# %%
figure, panels = plt.subplots(1, 4, figsize=(11, 2.8), layout="constrained")
some_tokens = torch.tensor([[5, 3, 8, 1, 9, 4, 0, 0, 0, 0]])
for panel, mask, title in zip(
    panels,
    (causal_mask(10, 10), causal_mask(4, 10), causal_mask(10, 10, window=3), causal_mask(10, 10) & padding_mask(some_tokens, 0)[0, 0]),
    ("reading: n = m = 10", "the last 4 of 10", "a window of 3", "and 4 of padding"),
):
    panel.imshow(mask, cmap="Blues", vmin=0, vmax=1.4)
    panel.set(title=title, xlabel="key", ylabel="query")
plt.show()

# %% [markdown]
# Dark is allowed. Masks combine with `&`: in the last panel a query must satisfy both.
#
# ## 2 · A position is an angle
#
# Attention is blind to order: shuffle the keys together with their values and the output stays. Something must say where a token stands. The first transformer added a vector for each
# position. **Rotary** positions (RoPE; Su et al., 2021), which most models use today, turn queries and keys instead. Take the numbers of a head in pairs, read each pair as a point in the plane, and
# turn it by an angle that grows with the position. Turning leaves lengths as they are, and a dot product depends on lengths and the angle *between* two vectors only. So the score of a query at position $s$ and a key at position $t$
# depends on $s - t$ alone.
#
# Pair $i$ turns at its own speed $\text{base}^{-2i/d}$: the first pair by one radian a position, each later one more slowly.
#
# ### Exercise 3 · Rotate (`rotate`, 2 points, 25 minutes, difficulty 2 of 3)
#
# Write `rotate(x, positions, base=10000.0)`. `x` has shape [b, h, n, d] with an even d from 2 to 64 (n from 1 to 50, b and h from 1 to 4), float32, float64 or bfloat16, in any layout. `positions` is an int64
# tensor [n] with numbers from 0 to 1,000 in any order. `base` is a number from 100 to 1,000,000.
#
# - Pair i (from 0 to d/2 - 1) consists of the numbers i and i + d/2 of the last axis. (Llama's code pairs them so; the paper pairs neighbours.) <!-- rule: pairs -->
# - In row j of the n, pair i turns by the angle `positions[j]` times base to the power of -2i/d. <!-- rule: angle -->
# - A pair (u, v) turned by a becomes (u cos a - v sin a, u sin a + v cos a), at the same two places. <!-- rule: turn -->
# - The result has shape and dtype of `x`, and is right to 1 in 1,000 of the largest number (bfloat16: to 2 in 100). Angles are therefore computed in float32 or float64 whatever dtype `x` has: in bfloat16
#   position 257 is 256. <!-- rule: digits -->
# - Gradients flow back to `x`. <!-- rule: gradients -->
# - What is given stays as it was. <!-- rule: unchanged -->


# %% exercise="rotate" minutes=25 difficulty=2
def rotate(x: torch.Tensor, positions: torch.Tensor, base: float = 10000.0) -> torch.Tensor:
    """`x` [b, h, n, d] with pairs (i, i + d/2) turned by positions [n] times base ** (-2 i / d)."""
    ### BEGIN SOLUTION
    half = x.shape[-1] // 2
    speeds = base ** (-torch.arange(half, dtype=torch.float32, device=x.device) / half)
    angles = positions.float()[:, None] * speeds  # [n, d / 2]
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
    ### END SOLUTION


# %% tests="rotate" points=2
def rotated(x, positions, base, neighbours=False, back=False, power=None, halved=False, in_order=False):
    """Pair by pair as complex numbers, in float64."""
    d = x.shape[-1]
    wide = x.double()
    u, v = (wide[..., ::2], wide[..., 1::2]) if neighbours else (wide[..., : d // 2], wide[..., d // 2 :])
    exponents = torch.arange(d // 2, dtype=torch.float64) * -2 / d if power is None else power(torch.arange(d // 2, dtype=torch.float64), d)
    turns = (torch.arange(len(positions)) if in_order else positions).double()
    if halved:
        turns = turns.to(torch.bfloat16).double()
    turned = torch.complex(u, v) * torch.polar(torch.ones((), dtype=torch.float64), (-1 if back else 1) * turns[:, None] * float(base) ** exponents)
    if neighbours:
        return torch.stack([turned.real, turned.imag], -1).flatten(-2).to(x.dtype)
    return torch.cat([turned.real, turned.imag], -1).to(x.dtype)


@check.shared
def with_slope(function, x, positions, base):
    """The result, and the gradient of a sum of it with weights that all differ."""
    x = x.clone().requires_grad_()
    y = function(x, positions, base)
    weights = torch.linspace(-1, 2, y.numel()).view(y.shape).to(y.dtype)
    return [y.detach(), torch.autograd.grad((y * weights).sum(), x)[0] if y.requires_grad else None]


@check.scenario
def rotate_with_slope(x, positions, base):
    return with_slope(rotate, x, positions, base)


with check.exercise("rotate"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    causes = {
        "neighbours were paired: here number i goes with number i + d/2": lambda *a: rotated(*a, neighbours=True),
        "pairs turn the other way round": lambda *a: rotated(*a, back=True),
        "the exponent is -i/d, expected -2i/d": lambda *a: rotated(*a, power=lambda i, d: -i / d),
        "the speeds grow from pair to pair: the exponent is negative": lambda *a: rotated(*a, power=lambda i, d: 2 * i / d),
        "positions were rounded to bfloat16": lambda *a: rotated(*a, halved=True),
        "rows were counted from 0: their positions are given": lambda *a: rotated(*a, in_order=True),
    }
    for dtype, digits in (("float32", {"rtol": 5e-4}), ("float64", {"rtol": 5e-4}), ("bfloat16", {"rtol": 1e-2})):
        domain = {
            "x": cases.tensor("b", "h", "n", "d", dtypes=(dtype,)),
            "positions": cases.tensor("n", dtypes=("int64",), low=0, high=1000),
            "base": cases.choice(10000.0, 100.0, 500_000.0, 1_000_000),
        }
        hint = "pair i of row j turns by positions[j] * base ** (-2 i / d)"
        drawn = cases.draw(seeds, domain, count=6, b=(1, 4), h=(1, 4), n=(1, 50), d=(2, 64, 2))
        check.agrees(rotate, rotated, drawn, "`rotate`", hint, causes=causes, **digits)
    domain = {"x": cases.tensor("b", "h", "n", "d"), "positions": cases.tensor("n", dtypes=("int64",), low=0, high=1000), "base": cases.choice(10000.0)}
    drawn = cases.draw(seeds, domain, count=2, b=(1, 3), h=(1, 3), n=(1, 20), d=(2, 16, 2))
    hint = "cosines and sines need no gradient, `x` does"
    check.agrees(rotate_with_slope, lambda *a: with_slope(rotated, *a), drawn, "`rotate` and its gradient (of a weighted sum)", hint, rtol=1e-3)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Halve the last axis: one half holds all u, the other all v. One table of angles [n, d/2] serves all texts and heads.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `torch.arange(half, dtype=torch.float32)`, `base ** (...)`, `Tensor.cos`, `Tensor.sin`, `Tensor.to(x.dtype)`, `torch.cat(..., dim=-1)`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# `angles = positions.float()[:, None] * base ** (-torch.arange(half, dtype=torch.float32) / half)`; then
# `torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)`.
# </details>

# %%
torch.manual_seed(2)
one, other = torch.randn(1, 1, 1, 64), torch.randn(1, 1, 1, 64)
near = (rotate(one, torch.tensor([7])) * rotate(other, torch.tensor([3]))).sum()
far = (rotate(one, torch.tensor([907])) * rotate(other, torch.tensor([903]))).sum()
print(f"scores at positions (7, 3) and (907, 903), both 4 apart: {near:.3f} and {far:.3f}")

distances = torch.arange(0, 200)
alike = torch.ones(1, 1, 1, 64)
figure, panel = plt.subplots(figsize=(6.5, 3), layout="constrained")
for base in (100.0, 10_000.0, 1_000_000.0):
    panel.plot(distances, (rotate(alike.expand(1, 1, 200, 64), distances, base) * alike).sum(-1).flatten() / 64, label=f"base {base:,.0f}")
panel.set(title="The score of two equal vectors, by distance", xlabel="positions between them", ylabel="share of the score at distance 0")
panel.legend()
plt.show()

# %% [markdown]
# The score falls with the distance: likeness counts for more nearby. A larger base turns more slowly and reaches further. That is why models for long texts raise it: Llama 3 uses 500,000
# (Grattafiori et al., 2024).

# %% [markdown]
# ## 3 · Heads
#
# One look-up a position is little: a verb may want its subject and its object. **Multi-head** attention makes several queries, keys and values of each position, by three linear layers, and lets
# each head look for itself, in its own slice of the width. A fourth layer mixes what they found.
#
# Keys and values are what a model must remember of a text while it writes (part 5). So today's models let several query heads share one head of keys and values: **grouped-query** attention, GQA (Ainslie
# et al., 2023). With as many key heads as query heads it is the ordinary form; with a single one it is *multi-query* attention (Shazeer, 2019).
#
# ### Exercise 4 · Multi-head attention (`multi_head`, 4 points, 40 minutes, difficulty 2 of 3)
#
# Complete the class `MultiHeadAttention(width, heads, kv_heads=None)`. `heads` (1 to 8) divides `width` (up to 64), so a head is d = width / heads wide; `kv_heads` divides `heads`, and `None` means
# as many as `heads`. `forward(x, source, mask=None, positions=None)` takes `x` [b, n, width], where the queries come from, and `source` [b, m, width], where keys and values come from (the same tensor as `x`, or another);
# b from 1 to 4, n and m from 1 to 20. `mask` is as in `attention`, `positions` is `None` or a pair of int64 tensors: those of the queries [n] and those of the keys [m] (then d is even).
#
# - Its parameters are those of four `nn.Linear` with bias, called `query` (width to width), `key` and `value` (width to kv_heads · d), `output` (width to width). There are no others. <!-- rule: layers -->
# - Head i reads the numbers i · d to (i + 1) · d - 1 of what its layer gives: queries, keys and values alike. <!-- rule: heads -->
# - Neighbouring query heads share: with g = heads / kv_heads, the query heads 0 to g - 1 use key head 0, the next g use key head 1, and so on, of keys and values. <!-- rule: groups -->
# - Where positions are given, `rotate` turns queries and keys of all heads by theirs, with its default base; values are not turned. <!-- rule: positions -->
# - The outputs of the heads stand side by side in their order and go through `output`. <!-- rule: output -->
# - It returns a pair: the result [b, n, width], and the weights [b, heads, n, m], with the mask obeyed as in `attention`. <!-- rule: pair -->
# - There is no dropout, so training mode and eval mode give the same. Gradients of both results reach parameters, `x` and `source`; what is given stays as it was. <!-- rule: gradients -->
# - Two layers have nothing in common. <!-- rule: apart -->
#
# `attention` and `rotate` are yours to use. (The test uses float64 and float32: `layer.double()` changes its parameters as for any module. Everything is compared to 1 in 1,000, and to 0.001 where numbers are below 1.)


# %% exercise="multi_head" minutes=40 difficulty=2
class MultiHeadAttention(nn.Module):
    """Heads of queries from `x` that look at keys and values from `source`; groups of heads share keys and values."""

    def __init__(self, width: int, heads: int, kv_heads: int | None = None):
        super().__init__()
        ### BEGIN SOLUTION
        self.heads, self.kv_heads, self.d = heads, kv_heads or heads, width // heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, self.kv_heads * self.d)
        self.value = nn.Linear(width, self.kv_heads * self.d)
        self.output = nn.Linear(width, width)
        ### END SOLUTION

    def forward(self, x, source, mask=None, positions=None):
        """Result [b, n, width] and weights [b, heads, n, m]."""
        ### BEGIN SOLUTION
        q = self.query(x).unflatten(-1, (self.heads, self.d)).transpose(1, 2)  # [b, heads, n, d]
        k = self.key(source).unflatten(-1, (self.kv_heads, self.d)).transpose(1, 2)
        v = self.value(source).unflatten(-1, (self.kv_heads, self.d)).transpose(1, 2)
        if positions is not None:
            q, k = rotate(q, positions[0]), rotate(k, positions[1])
        shared = self.heads // self.kv_heads
        k, v = k.repeat_interleave(shared, dim=1), v.repeat_interleave(shared, dim=1)
        found, weights = attention(q, k, v, mask)
        return self.output(found.transpose(1, 2).flatten(2)), weights
        ### END SOLUTION


# %% tests="multi_head" points=4
@check.shared
def head_numbers(width, heads, kv_heads, seed, dtype):
    """Weights for the four layers, by parameter name."""
    generator = torch.Generator().manual_seed(seed)
    kv = kv_heads * (width // heads)
    shapes = {"query": (width, width), "key": (kv, width), "value": (kv, width), "output": (width, width)}
    numbers = {}
    for name, shape in shapes.items():
        numbers[f"{name}.weight"] = torch.randn(shape, generator=generator, dtype=torch.float64) * 1.5 / width**0.5
        numbers[f"{name}.bias"] = torch.randn(shape[0], generator=generator, dtype=torch.float64)
    return {name: value.to(dtype) for name, value in numbers.items()}


@check.shared
def pull_on_both(result, weights):
    """A number that depends on every entry of both, on each in its own way."""
    return sum((part * torch.linspace(-1, 2, part.numel(), dtype=part.dtype).view(part.shape)).sum() for part in (result, weights))


@check.shared
def head_sources(x, other):
    """What keys come from: another tensor, or `x` itself where there is none."""
    return x if other is None else other


@check.scenario
def shapes_of_parameters(width, heads, kv_heads):
    layer = MultiHeadAttention(width, heads, kv_heads) if kv_heads != heads else MultiHeadAttention(width, heads)
    return {name: list(p.shape) for name, p in sorted(layer.named_parameters())}


@check.scenario
def layers_in_turn(plans):
    """What layers give that are all made and filled before any is used: each from (width, heads, kv_heads, seed)."""
    layers = []
    for width, heads, kv_heads, seed in plans:
        layers.append(MultiHeadAttention(width, heads, kv_heads).double())
        layers[-1].load_state_dict(head_numbers(width, heads, kv_heads, seed, torch.float64))
    found = [[] for _ in plans]
    for turn in range(2):
        for plan, layer, seen in zip(plans, layers, found):
            x = torch.linspace(-2, 2 + turn, 3 * plan[0], dtype=torch.float64).view(1, 3, plan[0])
            seen.extend(result.detach() for result in layer(x, x))
    return found


@check.scenario
def heads_ran(width, heads, kv_heads, seed, x, other, mask, positions, training):
    """Result, weights, and the gradients of a weighted sum of both."""
    layer = MultiHeadAttention(width, heads, kv_heads).to(x.dtype).train(training)
    layer.load_state_dict(head_numbers(width, heads, kv_heads, seed, x.dtype))
    given = [None if t is None else t.clone() for t in (x, other, mask, *(positions or ()))]
    result, weights = layer(x, head_sources(x, other), mask, positions)
    unchanged = all(a is None or torch.equal(a, b) for a, b in zip(given, (x, other, mask, *(positions or ()))))
    leaf = x.clone().requires_grad_()
    second = None if other is None else other.clone().requires_grad_()
    pull = pull_on_both(*layer(leaf, head_sources(leaf, second), mask, positions))
    wanted = {"x": leaf} | ({} if other is None else {"source": second}) | dict(layer.named_parameters())
    slopes = torch.autograd.grad(pull, list(wanted.values()), allow_unused=True) if pull.requires_grad else [None] * len(wanted)
    return [result.detach(), weights.detach(), unchanged, dict(sorted(zip(wanted, slopes)))]


def heads_by_definition(width, heads, kv_heads, seed, x, other, mask, positions, training, groups=None, by_stride=False, turn=(True, True, False), unmixed=False):
    """Head by head, query by query, in float64."""
    numbers = {name: value.double().requires_grad_() for name, value in head_numbers(width, heads, kv_heads, seed, x.dtype).items()}
    leaf = x.double().requires_grad_()
    second = None if other is None else other.double().requires_grad_()
    source, d = head_sources(leaf, second), width // heads
    of_layer = {n: part @ numbers[f"{n}.weight"].T + numbers[f"{n}.bias"] for n, part in (("query", leaf), ("key", source), ("value", source))}

    def head_of(name, i, count):
        return of_layer[name][..., i::count] if by_stride else of_layer[name][..., i * d : (i + 1) * d]

    def turned(part, places):
        angles = places.double()[:, None] * 10000.0 ** (-2 * torch.arange(d // 2, dtype=torch.float64) / d)
        u, v = part[..., : d // 2], part[..., d // 2 :]
        return torch.cat([u * angles.cos() - v * angles.sin(), u * angles.sin() + v * angles.cos()], -1)

    found, maps = [], []
    for i in range(heads):
        shared = i // (heads // kv_heads) if groups is None else groups(i, heads, kv_heads)
        q, k, v = head_of("query", i, heads), head_of("key", shared, kv_heads), head_of("value", shared, kv_heads)
        if positions is not None:
            q, k, v = (turned(part, places) if on else part for part, places, on in zip((q, k, v), (*positions, positions[1]), turn))
        scores = torch.einsum("bnd,bmd->bnm", q, k) / d**0.5
        seen = torch.ones(len(x), heads, *scores.shape[1:], dtype=torch.bool) if mask is None else mask.expand(len(x), heads, *scores.shape[1:])
        powers = (scores - scores.detach().amax(-1, keepdim=True)).exp() * seen[:, i]
        total = powers.sum(-1, keepdim=True)
        maps.append(powers / total.where(total > 0, 1.0))
        found.append(torch.einsum("bnm,bmd->bnd", maps[-1], v))
    side_by_side = torch.stack(found, -1).flatten(2) if unmixed else torch.cat(found, -1)
    result = side_by_side @ numbers["output.weight"].T + numbers["output.bias"]
    pull = pull_on_both(result, torch.stack(maps, 1))
    wanted = {"x": leaf} | ({} if other is None else {"source": second}) | numbers
    slopes = torch.autograd.grad(pull, list(wanted.values()))
    cast = {name: slope.to(x.dtype) for name, slope in sorted(zip(wanted, slopes))}
    return [result.detach().to(x.dtype), torch.stack(maps, 1).detach().to(x.dtype), True, cast]


def some_mask(form, b, heads, n, m, seed):
    shape = {"none": None, "queries": (n, m), "padding": (b, 1, 1, m), "all": (b, heads, n, m)}[form]
    if shape is None:
        return None
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.7
    if mask.view(-1, m).shape[0] > 1:
        mask.view(-1, m)[0] = False
    return mask


HEADS = ((6, 3, 3), (12, 2, 2), (8, 4, 2), (24, 6, 2), (24, 6, 3), (10, 5, 1), (1, 1, 1), (64, 8, 4), (56, 7, 7), (24, 4, 4), (32, 8, 2), (36, 6, 3))  # width, heads, kv_heads


def heads_case(seed, number):
    """One call: sizes, masks, positions, layouts and dtypes go round at different speeds."""
    source = random.Random(f"{seed} {number}")
    generator = torch.Generator().manual_seed(source.getrandbits(60))
    width, heads, kv_heads = HEADS[number % len(HEADS)]
    b, n, m = (1, 1, 1) if number == 0 else (source.randint(1, 4), source.randint(1, 20), source.randint(1, 20))
    dtype = (torch.float64, torch.float32)[number % 2]
    own = number % 3 == 2
    x, other = (torch.randn(length, b, width, generator=generator, dtype=torch.float64).to(dtype).transpose(0, 1) for length in (n, m))
    if number % 4 == 1:
        x, other = x.contiguous(), other.contiguous()
    m = n if own else m
    mask = some_mask(("none", "queries", "padding", "all", "none")[number % 5], b, heads, n, m, source.getrandbits(30))
    places = [torch.tensor([source.randrange(1000) for _ in range(length)]) for length in (n, m)]
    positions = tuple(places) if width // heads % 2 == 0 and (number // len(HEADS)) % 2 == 0 else None
    arguments = {"width": width, "heads": heads, "kv_heads": kv_heads, "seed": source.getrandbits(30), "x": x, "other": None if own else other}
    arguments |= {"mask": mask, "positions": positions, "training": bool(source.getrandbits(1))}
    words = {name: str(arguments[name]) for name in ("width", "heads", "kv_heads")}
    words |= {"x": f"{dtype} {list(x.shape)}", "source": "x itself" if own else str(list(other.shape))}
    words |= {"mask": "None" if mask is None else str(list(mask.shape)), "positions": "None" if positions is None else "given"}
    return cases.Case(arguments, words)


with check.exercise("multi_head"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    for width, heads, kv_heads in HEADS[:8]:
        kv = kv_heads * (width // heads)
        wanted = {"query": width, "key": kv, "value": kv, "output": width}
        shapes = {f"{name}.weight": [rows, width] for name, rows in wanted.items()} | {f"{name}.bias": [rows] for name, rows in wanted.items()}
        what = f"the parameters of MultiHeadAttention({width}, {heads}, {kv_heads}), by name, and their shapes,"
        check.equal(shapes_of_parameters(width, heads, kv_heads), shapes, what, "nn.Linear with bias: query, key, value, output")
    check.apart(layers_in_turn, [[12, 3, 1, 5], [8, 4, 4, 6], [12, 2, 2, 7]], "what a layer gives that was made from (width, heads, kv_heads, seed) =")
    hint = "heads are neighbouring slices of the width; repeat each key head for its group; mix with `output`"
    causes = {
        "key heads were dealt out in turn (0, 1, 0, 1): neighbouring query heads share one (0, 0, 1, 1); look up `repeat_interleave`": lambda *a: heads_by_definition(*a, groups=lambda i, h, g: i % g),
        "heads were taken as every so-many-th number: split the last axis into (heads, d), in this order": lambda *a: heads_by_definition(*a, by_stride=True),
        "the values were turned, too": lambda *a: heads_by_definition(*a, turn=(True, True, True)),
        "the keys were not turned": lambda *a: heads_by_definition(*a, turn=(True, False, False)),
        "positions are not used": lambda *a: heads_by_definition(*a, turn=(False, False, False)),
        "the heads' outputs are interleaved: move the axis of heads back beside d before you flatten": lambda *a: heads_by_definition(*a, unmixed=True),
    }
    for seed in seeds:
        drawn = [heads_case(seed, number) for number in (*range(12), *range(12, 24, 2))]
        for dtype in (torch.float64, torch.float32):
            mine = [case for case in drawn if case["x"].dtype == dtype]
            check.agrees(heads_ran, heads_by_definition, mine, "`MultiHeadAttention` (result, weights, whether all that is given stays, gradients)", hint, causes=causes, rtol=1e-3, atol=1e-3)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# The width is one axis that means two: head and place within the head. Split it, and bring the heads beside the batch, where `attention` wants them. At the end the same way back.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `Tensor.unflatten(-1, (heads, d))`, `Tensor.transpose(1, 2)`, `Tensor.repeat_interleave(times, dim=1)`, `Tensor.flatten(2)`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# `q = self.query(x).unflatten(-1, (self.heads, self.d)).transpose(1, 2)`, keys and values alike with `self.kv_heads`; rotate `q` and `k` where positions are given; repeat `k` and `v`; then
# `found, weights = attention(q, k, v, mask)` and `self.output(found.transpose(1, 2).flatten(2))`.
# </details>

# %% [markdown]
# PyTorch's `nn.MultiheadAttention` keeps the first three layers in one matrix. With the same numbers, it gives the same result. Beware of one thing: there True in a mask means *hidden*.

# %%
torch.manual_seed(3)
theirs = nn.MultiheadAttention(32, 4, batch_first=True).eval()
mine = MultiHeadAttention(32, 4)
with torch.no_grad():
    for layer, weight, bias in zip((mine.query, mine.key, mine.value), theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3)):
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    mine.output.load_state_dict(theirs.out_proj.state_dict())
    x, full = torch.randn(3, 10, 32), padding_mask(torch.tensor([[1] * 10, [1] * 6 + [0] * 4, [1] * 3 + [0] * 7]), 0)
    for name, mask, options in (
        ("no mask", None, {}),
        ("padding", full, {"key_padding_mask": ~full[:, 0, 0]}),
        ("causal", causal_mask(10, 10), {"attn_mask": ~causal_mask(10, 10)}),
        ("both", full & causal_mask(10, 10), {"key_padding_mask": ~full[:, 0, 0], "attn_mask": ~causal_mask(10, 10)}),
    ):
        result, weights = mine(x, x, mask)
        their_result, their_weights = theirs(x, x, x, average_attn_weights=False, **options)
        apart = max((result - their_result).abs().max().item(), (weights - their_weights).abs().max().item())
        print(f"{name:8} largest difference of results and weights {apart:.1e}, within 1e-5: {apart < 1e-5}")

# %% [markdown]
# ## 4 · Encoder and decoder
#
# The **encoder** reads the source and looks everywhere in it. The **decoder** writes the target: it looks back at what it has written (causal mask), and, by *cross-attention*, at what the encoder made of the source. Each step is added
# to what was there before, a **residual** stream. Where the norms stand has changed: the first transformer put them after each sum, today they stand before each step (*pre-norm*; Xiong et al., 2020), which
# trains without a warm-up.
#
# $$x \leftarrow x + \text{self}(\text{norm}_1(x)), \qquad x \leftarrow x + \text{cross}(\text{norm}_2(x), \text{memory}), \qquad x \leftarrow x + \text{feed}(\text{norm}_3(x))$$
#
# The encoder layer is here to read; it has no cross-attention. The feed-forward part works on each position alone.


# %%
class FeedForward(nn.Sequential):
    """Two layers with a bend, on each position alone."""

    def __init__(self, width: int):
        super().__init__(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))


class EncoderLayer(nn.Module):
    def __init__(self, width: int, heads: int, kv_heads: int | None = None):
        super().__init__()
        self.self_attention = MultiHeadAttention(width, heads, kv_heads)
        self.feed_forward = FeedForward(width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x, mask, positions):
        y = self.norm1(x)
        x = x + self.self_attention(y, y, mask, (positions, positions))[0]
        return x + self.feed_forward(self.norm2(x))


# %% [markdown]
# ### Exercise 5 · A decoder layer (`decoder_layer`, 3 points, 25 minutes, difficulty 2 of 3)
#
# Complete `DecoderLayer(width, heads, kv_heads=None)`. `forward(x, memory, mask=None, memory_mask=None, positions=None)` takes `x` [b, n, width], the encoder's `memory` [b, m, width], two masks as for `MultiHeadAttention` (a query may
# see nothing) and int64 positions [n] of `x`, or `None`. Sizes: width up to 32, heads up to 4, width / heads even, b up to 3, n and m up to 12.
#
# - Its parts are `self_attention` and `cross_attention` (each a `MultiHeadAttention` of the given width, heads and kv_heads), `feed_forward` (a `FeedForward`), `norm1`, `norm2` and `norm3` (each an `nn.LayerNorm` with all its defaults, `eps` too). It has no other parameters. <!-- rule: parts -->
# - The three steps of the formula follow in this order, each added to `x`, each reading `x` through its own norm. <!-- rule: steps -->
# - `memory` is read as it is: the encoder has normed it. <!-- rule: memory -->
# - `mask` is for the self-attention, `memory_mask` for the cross-attention. <!-- rule: masks -->
# - Positions turn queries and keys of the self-attention; with `None`, and in the cross-attention, nothing turns. <!-- rule: positions -->
# - It returns the new `x` [b, n, width] and the weights of the cross-attention [b, heads, n, m]. <!-- rule: pair -->
# - What is given stays as it was. Gradients of both results flow to the parameters that they depend on, to `x` and `memory`. <!-- rule: gradients -->
#
# (The test uses float64 and compares to 1 in 1,000, and to 0.001 where numbers are below 1.)


# %% exercise="decoder_layer" minutes=25 difficulty=2
class DecoderLayer(nn.Module):
    """Self-attention, cross-attention to `memory`, feed-forward; each behind its norm and added to `x`."""

    def __init__(self, width: int, heads: int, kv_heads: int | None = None):
        super().__init__()
        ### BEGIN SOLUTION
        self.self_attention = MultiHeadAttention(width, heads, kv_heads)
        self.cross_attention = MultiHeadAttention(width, heads, kv_heads)
        self.feed_forward = FeedForward(width)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        ### END SOLUTION

    def forward(self, x, memory, mask=None, memory_mask=None, positions=None):
        """New x [b, n, width], and weights of the cross-attention [b, heads, n, m]."""
        ### BEGIN SOLUTION
        y = self.norm1(x)
        x = x + self.self_attention(y, y, mask, None if positions is None else (positions, positions))[0]
        found, weights = self.cross_attention(self.norm2(x), memory, memory_mask)
        x = x + found
        return x + self.feed_forward(self.norm3(x)), weights
        ### END SOLUTION


# %% tests="decoder_layer" points=3
@check.shared
def filled(layer, seed):
    """Every parameter of a layer drawn anew, in the order of their names."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(layer.named_parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * (0.5 if parameter.ndim == 1 else len(parameter) ** -0.5))
    return layer


@check.shared
def sum_of_both(result, weights):
    """A number that depends on every entry of both, on each in its own way."""
    return sum((part * torch.linspace(-1, 2, part.numel(), dtype=part.dtype).view(part.shape)).sum() for part in (result, weights))


@check.scenario
def layer_parts(width, heads, kv_heads):
    return {name: list(p.shape) for name, p in sorted(DecoderLayer(width, heads, kv_heads).named_parameters())}


@check.scenario
def decoded(width, heads, kv_heads, seed, x, memory, mask, memory_mask, positions):
    layer = filled(DecoderLayer(width, heads, kv_heads).double(), seed)
    x, memory = x.clone().requires_grad_(), memory.clone().requires_grad_()
    arguments = x, memory, mask, memory_mask, positions
    given = [None if part is None else part.detach().clone() for part in arguments]
    result, weights = layer(*arguments)
    unchanged = all(now is None or torch.equal(now, before) for now, before in zip(arguments, given))
    pull = sum_of_both(result, weights)
    wanted = {"x": x, "memory": memory} | {name: p for name, p in sorted(layer.named_parameters())}
    slopes = torch.autograd.grad(pull, list(wanted.values()), allow_unused=True) if pull.requires_grad else [None] * len(wanted)
    return [result.detach(), weights.detach(), unchanged, dict(zip(wanted, slopes))]


class OtherLayer(nn.Module):
    """The same layer, with a flaw where one is named."""

    def __init__(self, width, heads, kv_heads, flaw):
        super().__init__()
        self.flaw = flaw
        self.self_attention = MultiHeadAttention(width, heads, kv_heads)
        self.cross_attention = MultiHeadAttention(width, heads, kv_heads)
        self.feed_forward = FeedForward(width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x, memory, mask, memory_mask, positions):
        flaw, pair = self.flaw, None if positions is None or self.flaw == "positions" else (positions, positions)
        if flaw == "post":
            x = self.norm1(torch.add(x, self.self_attention(x, x, mask, pair)[0]))
            found, weights = self.cross_attention(x, memory, memory_mask)
            x = self.norm2(torch.add(x, found))
            return self.norm3(torch.add(x, self.feed_forward(x))), weights
        y = self.norm1(x)
        source = x if flaw == "raw keys" else y
        looked, mine = self.self_attention(y, source, None if flaw == "mask" else mask, pair)
        x = torch.add(x, looked)
        read = self.norm2(memory) if flaw == "normed memory" else memory
        found, weights = self.cross_attention(self.norm2(x), read, None if flaw == "memory mask" else memory_mask)
        x = found if flaw == "no residual" else torch.add(x, found)
        last = {"one norm": self.norm1, "no norm": nn.Identity()}.get(flaw, self.norm3)
        return torch.add(x, self.feed_forward(last(x))), mine if flaw == "own weights" else weights


def decoded_by_definition(width, heads, kv_heads, seed, x, memory, mask, memory_mask, positions, flaw=""):
    layer = filled(OtherLayer(width, heads, kv_heads, flaw).double(), seed)
    x, memory = x.clone().requires_grad_(), memory.clone().requires_grad_()
    result, weights = layer(x, memory, mask, memory_mask, positions)
    pull = sum_of_both(result, weights)
    wanted = {"x": x, "memory": memory} | {name: p for name, p in sorted(layer.named_parameters())}
    slopes = torch.autograd.grad(pull, list(wanted.values()), allow_unused=True)
    return [result.detach(), weights.detach(), True, dict(zip(wanted, slopes))]


def decoder_case(seed, number):
    source = random.Random(f"{seed} {number}")
    generator = torch.Generator().manual_seed(source.getrandbits(60))
    width, heads, kv_heads = ((6, 1, 1), (4, 2, 2), (12, 3, 1), (16, 4, 2), (32, 4, 4), (24, 2, 1))[number % 6]
    b, n, m = (1, 1, 1) if number == 0 else (source.randint(1, 3), source.randint(2, 12), source.randint(1, 12))
    x, memory = (torch.randn(b, length, width, generator=generator, dtype=torch.float64) for length in (n, m))
    causal = torch.ones(n, n, dtype=torch.bool).tril()
    hidden = torch.rand(b, 1, 1, m, generator=generator) < 0.7
    hidden[..., 0] = number % 8 < 5  # all of one text may be hidden
    if number % 8 >= 5:
        hidden[-1] = False
    causal = causal.expand(b, heads, n, n).clone() if number % 3 == 1 else causal
    if number % 3 == 1:
        causal[-1, -1, n // 2] = False
    mask, memory_mask = (causal, hidden) if number % 4 < 2 else (causal, None) if number % 4 == 2 else (None, hidden)
    positions = torch.tensor([source.randrange(500) for _ in range(n)]) if number % 2 == 0 else None
    arguments = {"width": width, "heads": heads, "kv_heads": kv_heads, "seed": source.getrandbits(30), "x": x, "memory": memory}
    arguments |= {"mask": mask, "memory_mask": memory_mask, "positions": positions}
    words = {name: str(arguments[name]) for name in ("width", "heads", "kv_heads")} | {"x": str(list(x.shape)), "memory": str(list(memory.shape))}
    words |= {name: "None" if arguments[name] is None else "given" for name in ("mask", "memory_mask", "positions")}
    return cases.Case(arguments, words)


with check.exercise("decoder_layer"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    for width, heads, kv_heads in ((6, 1, 1), (16, 4, 2), (12, 3, None)):
        names = {name: list(p.shape) for name, p in sorted(OtherLayer(width, heads, kv_heads, "").named_parameters())}
        what = f"the parameters of DecoderLayer({width}, {heads}, {kv_heads}), by name, and their shapes,"
        check.equal(layer_parts(width, heads, kv_heads), names, what, "two attentions, a feed-forward part, three norms, under the names of the task")
    flaws = {
        "the norms stand after the sums: here each stands before its step": "post",
        "the self-attention takes its keys from `x` without the norm": "raw keys",
        "`mask` is not obeyed": "mask",
        "`memory_mask` is not obeyed": "memory mask",
        "positions are not used": "positions",
        "`memory` went through a norm": "normed memory",
        "the result of the cross-attention replaces `x`: add it": "no residual",
        "the feed-forward part reads through `norm1`": "one norm",
        "the feed-forward part reads `x` without its norm": "no norm",
        "the weights are those of the self-attention": "own weights",
    }
    causes = {text: lambda *a, flaw=flaw: decoded_by_definition(*a, flaw=flaw) for text, flaw in flaws.items()}
    for seed in seeds:
        drawn = [decoder_case(seed, number) for number in range(16)]
        check.agrees(decoded, decoded_by_definition, drawn, "`DecoderLayer` (x, weights, whether all that is given stays, gradients)", "three steps, each behind its norm and added to `x`", causes=causes, rtol=1e-3, atol=1e-3)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Self-attention takes queries *and* keys from the normed `x`. Which of the three norms belongs to which step, and which of them does `memory` see?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# Read `EncoderLayer` above: the decoder has one step more, in the middle.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# The step in the middle is `found, weights = self.cross_attention(self.norm2(x), memory, memory_mask)` and `x = x + found`.
# </details>

# %% [markdown]
# Without positions it is what PyTorch has as `nn.TransformerDecoderLayer(..., norm_first=True)`:

# %%
torch.manual_seed(4)
theirs = nn.TransformerDecoderLayer(32, 4, dim_feedforward=128, dropout=0.0, batch_first=True, norm_first=True).eval()
mine = DecoderLayer(32, 4)
with torch.no_grad():
    for part, their_part in ((mine.self_attention, theirs.self_attn), (mine.cross_attention, theirs.multihead_attn)):
        for layer, weight, bias in zip((part.query, part.key, part.value), their_part.in_proj_weight.chunk(3), their_part.in_proj_bias.chunk(3)):
            layer.load_state_dict({"weight": weight, "bias": bias})
        part.output.load_state_dict(their_part.out_proj.state_dict())
    mine.feed_forward[0].load_state_dict(theirs.linear1.state_dict())
    mine.feed_forward[2].load_state_dict(theirs.linear2.state_dict())
    x, memory, hidden = torch.randn(2, 7, 32), torch.randn(2, 9, 32), padding_mask(torch.tensor([[1] * 9, [1] * 5 + [0] * 4]), 0)
    result, _ = mine(x, memory, causal_mask(7, 7), hidden)
    expected = theirs(x, memory, tgt_mask=~causal_mask(7, 7), memory_key_padding_mask=~hidden[:, 0, 0])
print(f"largest difference {(result - expected).abs().max():.1e}")

# %% [markdown]
# ### Seeing the future
#
# A decoder is trained on all positions at once: at position t it must guess token t + 1, which lies in its own input one place further. The mask alone keeps it from looking. If anything leaks, the
# loss looks wonderful, since copying is easy, and the model writes nonsense, because when it writes there is no future to copy from. Nothing raises an error.
#
# Reading the code of a mask is not enough: a norm over the wrong axis leaks, too. But there is a test that finds every leak: **change the future and see whether the past moves.** The same test
# finds leaks between the rows of a batch.
#
# ### Exercise 6 · Find the leak (`check_causal`, 3 points, 30 minutes, difficulty 3 of 3)
#
# Someone hands you a layer as a function `layer(x)`. It takes a float32 tensor `x` [b, n, 8] (b from 1 to 4, n from 1 to 64, numbers from -100 to 100) and returns a float32 tensor [b, n, 8]. It promises:
#
# - The result at place t of row r depends on t and x[r, 0], …, x[r, t] alone: on nothing later, on no other row, not on n or b, and not on earlier calls (the first call gives what all others give).
#
# Write `check_causal(layer)`.
#
# - It raises an error (an `assert` is enough) for each of thirteen layers that break the promise, six of them hidden. Each breaks it for standard normal `x` with b = 4 and n = 64. One of these moves some result by more than 0.01: what comes later, or all other rows, drawn anew
#   with 10 times that deviation; fewer places; a row by itself; an earlier call with another `x`. Not all of them do so with small n, at every place, or in every row. Each that you catch earns its share. <!-- rule: leaks -->
# - It raises nothing for a right layer. What right ones compute may move by up to 0.0001 where it must not depend on something, since the order of sums differs. They need not have gradients, and need not use the past. One false
#   alarm, and nothing is earned. <!-- rule: right -->
#
# Up to 300 calls of the layer end in time.


# %% exercise="check_causal" minutes=30 difficulty=3 seconds=60
def check_causal(layer) -> None:
    """Raise an error if a result of `layer(x)`, x [b, n, 8], depends on what comes later or on anything else but its own past."""
    ### BEGIN SOLUTION
    x, other = torch.randn(2, 4, 64, 8, generator=torch.Generator().manual_seed(0))
    whole = layer(x)

    def same(found, expected):
        return (found - expected).abs().max() < 1e-3

    for t in range(0, 63, 9):
        past, future = x[:, : t + 1], 10 * other[:, t + 1 :]
        assert same(layer(torch.cat([past, future], dim=1))[:, : t + 1], whole[:, : t + 1]), f"what comes after place {t} counts"
        assert same(layer(past), whole[:, : t + 1]), f"the length counts at place {t}"
    for row in range(4):
        changed = 10 * other
        changed[row] = x[row]
        assert same(layer(changed)[row], whole[row]), "other rows count"
        assert same(layer(x[row : row + 1])[0], whole[row]), "the number of rows counts"
    assert same(layer(x), whole), "earlier calls count"
    ### END SOLUTION


# %% tests="check_causal" points=3
def mixing(seed):
    """Fixed matrices [8, 8]."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(8, 8, generator=generator) / 8**0.5 for _ in range(3)]


def looking(seen=lambda n: torch.ones(n, n).tril() > 0, change=lambda x: x, scores_of=lambda s: s, after=lambda w: w, seed=0):
    """Attention with 2 heads of 4 over x [b, n, 8], with places where something can go wrong."""

    def layer(x):
        (b, n, _), (Q, K, V) = x.shape, mixing(seed)
        read = change(x)
        q, k, v = ((read @ M).view(b, n, 2, 4).transpose(1, 2) for M in (Q, K, V))
        scores = scores_of(q @ k.transpose(-2, -1) / 2)
        weights = after(scores.masked_fill(~seen(n), -math.inf).softmax(-1).nan_to_num())
        return (x + (weights @ v).transpose(1, 2).reshape(b, n, 8)).float()

    return layer


def mean_of_past(x):
    return x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]


def recurrent(x):
    state, states = torch.zeros(len(x), 8), []
    U = mixing(5)[0]
    for t in range(x.shape[1]):
        state = torch.tanh(x[:, t] + 0.5 * state @ U)
        states.append(state)
    return torch.stack(states, 1)


def block_by_block(x):
    """Causal attention in float64, each query by itself, without gradients."""
    Q, K, V = (M.double() for M in mixing(0))
    wide, rows = x.detach().double(), []
    for t in range(x.shape[1]):
        past = wide[:, : t + 1]
        weights = torch.einsum("bd,bmd->bm", wide[:, t] @ Q, past @ K).softmax(-1)
        rows.append(torch.einsum("bm,bmd->bd", weights, past @ V))
    return torch.stack(rows, 1).float()


def nearly(x):
    """Right within 0.0001: the last digits depend on the length."""
    return looking()(x) + 4e-5 * math.sin(x.shape[1])


def no_past(x):
    return torch.tanh(x)


def same_always(x):
    return torch.arange(x.shape[1] * 8.0).view(1, -1, 8).repeat(len(x), 1, 1)


def shifted(x):
    """The past without the present."""
    return F.pad(x[:, :-1], (0, 0, 1, 0))


def unmasked(n):
    return torch.ones(n, n, dtype=torch.bool)


def two_heads(first, second):
    return lambda n: torch.stack([first(n), second(n)])


def tril(n, diagonal=0):
    return torch.ones(n, n).tril(diagonal) > 0


def from_the_end(x):
    places = torch.arange(x.shape[1]).flip(0)[:, None]
    return torch.tanh(x + 0.1 * places)


with check.exercise("check_causal"):

    def hidden_after(x):
        (b, n, _), (Q, K, V) = x.shape, mixing(0)
        weights = ((x @ Q) @ (x @ K).transpose(-2, -1)).softmax(-1) * tril(n)
        return x + weights @ (x @ V)

    right = {
        "causal attention": looking(),
        "a window of 5": looking(seen=lambda n: tril(n) & ~tril(n, -5)),
        "the mean of the past": mean_of_past,
        "recurrent": recurrent,
        "each query by itself, without gradients": block_by_block,
        "causal attention whose last digits depend on n": nearly,
        "reads its own place alone": no_past,
    }
    wrong = {
        "no mask": looking(seen=unmasked),
        "sees one place ahead": looking(seen=lambda n: tril(n, 1)),
        "the mask is transposed": looking(seen=lambda n: tril(n).T),
        "weights are hidden after the softmax": hidden_after,
        "a norm over all places": lambda x: looking()((x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True, correction=0) + 1e-3)),
        "adds the mean over the rows of the batch": lambda x: looking()(x) + 0.5 * x.mean(0, keepdim=True),
        "counts places from the end": from_the_end,
    }

    ### BEGIN HIDDEN TESTS
    def with_memory():
        kept = []

        def layer(x):
            seen = kept[-1] if kept else torch.zeros(8)
            kept.append(x.detach().mean((0, 1)))
            return looking()(x) + seen

        return layer

    def in_blocks(n, size=16):
        return tril(n) | (torch.arange(n)[:, None] // size == torch.arange(n) // size)

    def last_row_only(x):
        return torch.cat([looking()(x[:-1]), looking(seen=unmasked)(x[-1:])]) if len(x) == 4 else looking()(x)

    right |= {"always the same": same_always, "the past without the present": shifted}
    wrong |= {
        "one of two heads has no mask": looking(seen=two_heads(tril, unmasked)),
        "sees its block of 16 places whole": looking(seen=in_blocks),
        "the first 24 places see each other, as a prompt may in some models": looking(seen=lambda n: tril(n) | ((torch.arange(n)[:, None] < 24) & (torch.arange(n) < 24))),
        "the mask was made for 40 places, the rest sees everything": looking(seen=lambda n: tril(n) | (torch.arange(n)[:, None] >= 40)),
        "an earlier call counts": with_memory(),
        "leaks in the last row of a batch of four": last_row_only,
    }
    ### END HIDDEN TESTS
    check.catches(check_causal, right, wrong)
check.points(3)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Four things must not count: what comes later, other rows, the length and the number of rows, earlier calls. For each, make two inputs that differ in just this, and compare the results where they must be equal. Some leaks
# begin late in the text: choose several places.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `x.clone()`, slices such as `changed[:, t + 1 :]`, `10 * torch.randn(...)`, and `(a - b).abs().max() < 0.001`: between what right layers may move and what leaks move at least.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# For several t: draw `changed[:, t + 1 :]` anew and compare `layer(changed)[:, : t + 1]` with `layer(x)[:, : t + 1]`; compare `layer(x[:, : t + 1])` with it, too. For each row: draw all other rows anew, and call the layer with
# this row alone. At the end call it with `x` once more.
# </details>

# %% [markdown]
# Your test, on the decoder layer of exercise 5: with the mask it is silent, without it it speaks.

# %%
torch.manual_seed(5)
tested = DecoderLayer(8, 2)
for name, mask_for in (("with the causal mask", lambda n: causal_mask(n, n)), ("without", lambda n: None)):
    try:
        with torch.no_grad():
            check_causal(lambda x: tested(x, torch.ones(len(x), 3, 8), mask_for(x.shape[1]), None, torch.arange(x.shape[1]))[0])
        print(f"{name}: no leak")
    except Exception as error:
        print(f"{name}: {error or 'a leak'}")

# %% [markdown]
# ### The task
#
# People write dates in many ways, and computers want one: ISO 8601, "1987-03-05". Ten ways of writing, all dates from 1950 to 2049; a year of two digits counts from 1950 on. Two thousand of the days are held out:
# the model never sees them in any form, in training.

# %%
PAD, START, END = 0, 1, 2
FORMS = "%d %B %Y", "%B %d, %Y", "%d %b %Y", "%A, %d %B %Y", "%d.%m.%Y", "%m/%d/%Y", "%d.%m.%y", "%b %d '%y", "the %dth of %B %Y", "%Y %b %d"


def written(day: datetime.date, form: str) -> str:
    """A date as people write it: "5 March 1987", "the 3rd of May 2001"."""
    ending = "th" if 10 < day.day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
    return day.strftime(form.replace("%dth", "%d" + ending)).replace(" 0", " ").lstrip("0")


days = [datetime.date(1950, 1, 1) + datetime.timedelta(i) for i in range(36525)]
random.Random(0).shuffle(days)
held_out, known = days[:2000], days[2000:]
letters = sorted({letter for day in days[:2000] for form in FORMS for letter in written(day, form)} | set("0123456789-"))
number_of = {letter: i for i, letter in enumerate(letters, start=END + 1)}
VOCABULARY = len(letters) + 3


def batch_of(some_days: list, rng: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
    """Source [b, m] in random forms, filled up with PAD, and target [b, 11] that ends with END."""
    texts = [written(day, rng.choice(FORMS)) for day in some_days]
    longest = max(map(len, texts))
    source = torch.tensor([[number_of[letter] for letter in text] + [PAD] * (longest - len(text)) for text in texts])
    return source, torch.tensor([[number_of[letter] for letter in day.isoformat()] + [END] for day in some_days])


def as_text(tokens: torch.Tensor) -> str:
    """Letters up to the first END."""
    ids = tokens.tolist()
    return "".join(letters[i - 3] if i > END else "?" for i in ids[: ids.index(END) if END in ids else None])


print(f"{len(known):,} days to learn from, {len(held_out):,} held out, {VOCABULARY} tokens")
for form in FORMS:
    print(f"{written(held_out[0], form):28} -> {held_out[0].isoformat()}")

# %% [markdown]
# The whole model: embeddings, layers, a norm at each end, and the embedding once more as the last layer (*tied*). `encode` reads a source and returns its memory and the mask of its padding; `decode` returns logits for all positions, and the maps of
# cross-attention of the last layer.


# %%
class Transformer(nn.Module):
    """Encoder and decoder with shared embeddings."""

    def __init__(self, vocabulary: int, width: int = 64, heads: int = 4, kv_heads: int = 2, layers: int = 1, masked: bool = True):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.encoder = nn.ModuleList(EncoderLayer(width, heads, kv_heads) for _ in range(layers))
        self.decoder = nn.ModuleList(DecoderLayer(width, heads, kv_heads) for _ in range(layers))
        self.source_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.masked = masked  # False only to see what a leak does

    def embed(self, tokens):
        return self.embedding(tokens) * self.embedding.embedding_dim**0.5, torch.arange(tokens.shape[1], device=tokens.device)

    def encode(self, source):
        """Memory [b, m, width] and its mask [b, 1, 1, m]."""
        (x, positions), mask = self.embed(source), padding_mask(source, PAD)
        for layer in self.encoder:
            x = layer(x, mask, positions)
        return self.source_norm(x), mask

    def decode(self, tokens, memory, memory_mask):
        """Logits [b, n, vocabulary] and cross-attention [b, heads, n, m]."""
        x, positions = self.embed(tokens)
        n = tokens.shape[1]
        mask = causal_mask(n, n).to(x.device) if self.masked else None
        for layer in self.decoder:
            x, maps = layer(x, memory, mask, memory_mask, positions)
        return self.norm(x) @ self.embedding.weight.T, maps


# %% [markdown]
# Training and writing differ. In training the decoder reads the right target, moved one place to the right: `START` first, then all but the last. It guesses all tokens at once (*teacher forcing*). When it writes it reads its own tokens, one more
# each time.
#
# ### Exercise 7 · Loss and decoding (`translate`, 3 points, 30 minutes, difficulty 2 of 3)
#
# `model` has the two methods above, `encode(source)` and `decode(tokens, memory, memory_mask)`, each of which returns a pair. The test's models have nothing else: no `eval`, no parameters to ask for. Tokens are int64. Each function earns half of the points.
#
# `training_loss(model, source, target, start, pad)`: `target` [b, n] holds rows of tokens, filled up at the end with `pad` (no row is all `pad`; b from 1 to 8, n from 1 to 12; `start` does not occur in it and differs from `pad`).
#
# - The decoder reads [b, n] tokens: `start`, then the target without its last column. It is called once, with memory and mask as `encode(source)` gives them. <!-- rule: shift -->
# - The result is the mean of the cross-entropy over all tokens of the target that are not `pad`, of all rows together: a tensor without axes, in the dtype of the logits. Its gradient flows through the logits and through what `encode` gave. <!-- rule: loss -->
# - `source` and `target` stay as they were. <!-- rule: unchanged -->
#
# `greedy(model, source, start, end, pad, most)`: writes up to `most` tokens (1 to 12) for each row of `source` [b, m] (b from 1 to 8). `start`, `end` and `pad` are three different tokens; the model may write any of them.
#
# - At each step a row goes on with the token whose logit at the last position is the largest, given `start` and all that this row has written. <!-- rule: greedy -->
# - A row is done once it has written `end`, which stays in the result; after it the result holds `pad`. <!-- rule: end -->
# - Writing ends when all rows are done, or after `most` tokens. The result [b, length] is as long as the longest row, without `start`, int64 and without graph. <!-- rule: length -->
# - `encode` is called once, `decode` as often as the result is long. <!-- rule: calls, reported -->


# %% exercise="translate" minutes=30 difficulty=2
def training_loss(model, source: torch.Tensor, target: torch.Tensor, start: int, pad: int) -> torch.Tensor:
    """Mean cross-entropy over all tokens of `target` that are not `pad`."""
    ### BEGIN SOLUTION
    read = torch.cat([torch.full_like(target[:, :1], start), target[:, :-1]], dim=1)
    logits, _ = model.decode(read, *model.encode(source))
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=pad)
    ### END SOLUTION


@torch.no_grad()
def greedy(model, source: torch.Tensor, start: int, end: int, pad: int, most: int) -> torch.Tensor:
    """The likeliest token at each step, for each row up to `end`: int64 [b, length]."""
    ### BEGIN SOLUTION
    memory = model.encode(source)
    tokens = torch.full((len(source), 1), start, device=source.device)
    done = torch.zeros(len(source), dtype=torch.bool, device=source.device)
    while tokens.shape[1] <= most and not done.all():
        logits, _ = model.decode(tokens, *memory)
        following = logits[:, -1].argmax(-1).masked_fill(done, pad)
        done = done | (following == end)
        tokens = torch.cat([tokens, following[:, None]], dim=1)
    return tokens[:, 1:]
    ### END SOLUTION


# %% tests="translate" points=3
@check.shared
def logits_after(table, key):
    """A row of logits that depends on all of `key` (whole numbers), from a table [rows, vocabulary]."""
    place = 7
    for number in key:
        place = (place * 31 + number + 11) % 1_000_003
    return table[place % len(table)]


@check.shared
def with_memory_read(logits, memory):
    """Logits [b, n, vocabulary] that depend on memory [b, 1], too."""
    return logits + memory[..., None] * torch.linspace(0, 0.1, logits.shape[-1], dtype=logits.dtype)


@check.shared
def loss_record(loss, slopes, calls, source, target):
    gradients = dict(zip(("logits", "encoder"), slopes))
    return {"loss": loss, "gradients": gradients, "calls": calls, "source": source, "target": target}


@check.scenario
def loss_ran(source, target, table, start, pad):
    """The loss, its gradients for the table and for a parameter of the encoder, and what was called with which tokens."""
    table, scale = table.clone().requires_grad_(), torch.ones((), dtype=table.dtype, requires_grad=True)
    calls = []

    class Toy:
        def encode(self, given):
            calls.append(["encode", given.clone()])
            self.memory = given.to(table.dtype).sum(-1)[:, None] * scale, (given != pad)[:, None, None]
            return self.memory

        def decode(self, tokens, memory, memory_mask):
            calls.append(["decode", tokens.clone(), memory is self.memory[0] and memory_mask is self.memory[1]])
            rows = [
                torch.stack([logits_after(table, [int(m), *row[: t + 1]]) for t in range(len(row))])
                for row, m in zip(tokens.tolist(), memory.flatten().tolist())
            ]
            return with_memory_read(torch.stack(rows), memory), None

    loss = training_loss(Toy(), source, target, start, pad)
    slopes = torch.autograd.grad(loss, (table, scale), allow_unused=True) if loss.requires_grad else [None, None]
    return loss_record(loss.detach(), slopes, calls, source, target)


def loss_by_definition(source, target, table, start, pad, shift=True, by_row=False, padded=False, summed=False, first=None, encoder=True):
    table, scale = table.clone().requires_grad_(), torch.ones((), dtype=table.dtype, requires_grad=True)
    losses, read = [], []
    for text, row in zip(source.tolist(), target.tolist()):
        before = [start if first is None else first, *row[:-1]] if shift else row
        read.append(before)
        mine = []
        for t, token in enumerate(row):
            if token != pad or padded:
                memory = sum(text) * scale.view(1, 1)
                logits = with_memory_read(logits_after(table, [sum(text), *before[: t + 1]])[None, None], memory if encoder else memory.detach())
                mine.append(-logits[0, 0].log_softmax(-1)[token])
        losses.append(torch.stack(mine))
    loss = torch.stack([mine.mean() for mine in losses]).mean() if by_row else torch.cat(losses).mean()
    loss = torch.cat(losses).sum() if summed else loss
    slopes = torch.autograd.grad(loss, (table, scale), allow_unused=True)
    return loss_record(loss.detach(), slopes, [["encode", source], ["decode", torch.tensor(read), True]], source, target)


@check.shared
def greedy_record(tokens, graph, encoded, decoded, source):
    return {"tokens": tokens, "they have a graph": graph, "calls of encode": encoded, "calls of decode": decoded, "source": source}


@check.scenario
def greedy_ran(source, table, start, end, pad, most):
    calls, scale = [], torch.ones((), requires_grad=True)

    class Toy:
        def encode(self, given):
            calls.append("encode")
            return given.double().sum(-1)[:, None], (given != pad)[:, None, None]

        def decode(self, tokens, memory, memory_mask):
            calls.append("decode")
            rows = [
                torch.stack([logits_after(table, [int(m), *row[: t + 1]]) for t in range(len(row))])
                for row, m in zip(tokens.tolist(), memory.flatten().tolist())
            ]
            return torch.stack(rows) * scale, None

    result = greedy(Toy(), source, start, end, pad, most)
    return greedy_record(result.detach(), bool(result.requires_grad), calls.count("encode"), calls.count("decode"), source)


def greedy_by_definition(source, table, start, end, pad, most, keep_end=True, fill=None, lowest=False, with_start=False, stop=True):
    rows = []
    for text in source.tolist():
        row = []
        while len(row) < most and (end not in row or not stop):
            logits = logits_after(table, [sum(text), start, *row])
            row.append(int((-logits if lowest else logits).argmax()))
        rows.append(row)
    length = max(map(len, rows))
    if not keep_end:
        rows = [[pad if token == end else token for token in row] for row in rows]
    rows = [row + [pad if fill is None else fill(row)] * (length - len(row)) for row in rows]
    rows = [[start, *row] for row in rows] if with_start else rows
    return greedy_record(torch.tensor(rows), False, 1, length, source)


def sequences(seed, number, greedy_case):
    """Sources, targets and a table of logits; sizes from 1 on."""
    rng = random.Random(f"{seed} {number} {greedy_case}")
    generator = torch.Generator().manual_seed(rng.getrandbits(60))
    b, m, n = (1, 1, 1) if number == 0 else (rng.randint(1, 8), rng.randint(1, 6), rng.randint(1, 12))
    vocabulary = rng.choice((5, 7, 12))
    start, end, pad = rng.sample(range(vocabulary), 3) if number % 3 else (1, 2, 0)
    source = torch.randint(0, vocabulary, (b, m), generator=generator)
    dtype = (torch.float64, torch.float32)[number % 2]
    table = 2 * torch.randn(61, vocabulary, generator=generator, dtype=torch.float64).to(dtype)
    arguments = {"source": source, "table": table, "start": start}
    if greedy_case:
        table[:, end] += (-1.0, 0.5, 2.0, -20.0)[number % 4]
        arguments |= {"end": end, "pad": pad, "most": n}
    else:
        others = [token for token in range(vocabulary) if token not in (start, pad)]
        rows = [[rng.choice(others) for _ in range(n)] for _ in range(b)]
        for row in rows[: b if number % 4 == 3 else b - 1]:  # one row is full, or none
            keep = rng.randint(1, n)
            row[keep:] = [pad] * (n - keep)
        arguments = {"source": source, "target": torch.tensor(rows), "table": table, "start": start, "pad": pad}
    words = {name: str(value.tolist()) if name in ("source", "target") and value.numel() < 30 else str(list(value.shape)) if name != "table" else f"{dtype}" for name, value in arguments.items() if torch.is_tensor(value)}
    words |= {name: str(value) for name, value in arguments.items() if not torch.is_tensor(value)}
    return cases.Case(arguments, words)


def check_training_loss():
    causes = {
        "the decoder read the target itself, which holds the answers": lambda *a: loss_by_definition(*a, shift=False),
        "it is a mean of the rows' means: each token counts the same": lambda *a: loss_by_definition(*a, by_row=True),
        "`pad` tokens count, too": lambda *a: loss_by_definition(*a, padded=True),
        "it is the sum over tokens, expected their mean": lambda *a: loss_by_definition(*a, summed=True),
        "no gradient reaches what `encode` computes: the encoder learns with the rest": lambda *a: loss_by_definition(*a, encoder=False),
        "the first token that is read is `pad`, expected `start`": lambda *a: loss_by_definition(*a, first=a[4]),
    }
    for seed in seeds:
        for dtype, rtol in ((torch.float64, 1e-6), (torch.float32, 1e-4)):
            drawn = [case for case in (sequences(seed, number, False) for number in range(14)) if case["table"].dtype == dtype]
            what = "`training_loss`"
            check.agrees(loss_ran, loss_by_definition, drawn, what, "read start + target[:-1], guess target, leave `pad` out", causes=causes, rtol=rtol, atol=rtol)


def check_greedy():
    causes = {
        "`end` is missing in the result: it stays": lambda *a: greedy_by_definition(*a, keep_end=False),
        "the rest of a row that is done holds `end`, expected `pad`": lambda *a: greedy_by_definition(*a, fill=lambda row: a[3]),
        "the smallest logit was chosen": lambda *a: greedy_by_definition(*a, lowest=True),
        "`start` stands in the result": lambda *a: greedy_by_definition(*a, with_start=True),
        "a row goes on after `end`": lambda *a: greedy_by_definition(*a, stop=False),
    }
    for seed in seeds:
        drawn = [sequences(seed, number, True) for number in range(16)]
        what = "`greedy`"
        check.agrees(greedy_ran, greedy_by_definition, drawn, what, "the largest logit of the last position; up to `end`, then `pad`", causes=causes)


with check.exercise("translate"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"training_loss": check_training_loss, "greedy": check_greedy})
check.points(3)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Write down for a target of three tokens what the decoder reads and what it must guess at each of three positions. In `greedy`, rows end at different times, yet all are computed together: what becomes of those that are done?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `torch.full_like(target[:, :1], start)`, `torch.cat(..., dim=1)`, `F.cross_entropy(..., ignore_index=pad)` on [b · n, vocabulary]; `argmax(-1)`, `masked_fill`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# In `greedy`, `memory = model.encode(source)` once; then, while there is room and not all are done: `logits, _ = model.decode(tokens, *memory)`, `following = logits[:, -1].argmax(-1).masked_fill(done, pad)`,
# `done = done | (following == end)`, and append.
# </details>

# %% [markdown]
# Now everything meets: about 100,000 parameters, 700 steps. Beside it the same model without its causal mask. Watch both loss curves, then what each of them writes.


# %%
def fit(model: nn.Module, steps: int, seed: int, check_every: int = 100) -> dict:
    """Train on random batches: losses, and by step the share of 300 held-out days that are written without a mistake."""
    rng, begin = random.Random(seed), time.process_time()
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps, pct_start=0.1)
    seen = {"losses": [], "exact": {}}
    for step in range(1, steps + 1):
        loss = training_loss(model, *batch_of(rng.sample(known, 64), rng), START, PAD)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        seen["losses"].append(loss.item())
        if step % check_every == 0:
            seen["exact"][step] = exact_share(model, held_out[:300])
    return seen | {"seconds": time.process_time() - begin}


def exact_share(model: nn.Module, some_days: list) -> float:
    """The share of days whose whole date comes out right."""
    source, target = batch_of(some_days, random.Random(7))
    found = greedy(model, source, START, END, PAD, 12)
    return sum(as_text(one) == as_text(other) for one, other in zip(found, target)) / len(some_days)


torch.manual_seed(7)
model = Transformer(VOCABULARY)
curves = fit(model, 700, seed=1)
exact = exact_share(model, held_out)
torch.manual_seed(7)
leaky = Transformer(VOCABULARY, masked=False)
leaky_curves = fit(leaky, 150, seed=1, check_every=150)
leaky_exact = exact_share(leaky, held_out[:300])
print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {curves['seconds']:.0f} CPU seconds for {len(curves['losses'])} steps")
print(f"held-out dates written without a mistake: {exact:.1%};  without the causal mask: {leaky_exact:.1%}")

# %%
figure, panels = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
panels[0].semilogy(range(1, 701), curves["losses"], label="with the causal mask")
panels[0].semilogy(range(1, 151), leaky_curves["losses"], label="without: it sees the answer")
panels[0].set(title="Loss on the batches", xlabel="step", ylabel="cross-entropy (nats a token)")
panels[0].legend()
panels[1].plot(list(curves["exact"]), list(curves["exact"].values()), "o-", label="with the causal mask")
panels[1].plot(list(leaky_curves["exact"]), list(leaky_curves["exact"].values()), "s", label="without")
panels[1].set(title="300 held-out dates", xlabel="step", ylabel="share written without a mistake", ylim=(-0.05, 1.05))
panels[1].legend()
plt.show()
source, target = batch_of(held_out[:4], random.Random(3))
for row, wanted, good, bad in zip(source, target, greedy(model, source, START, END, PAD, 12), greedy(leaky, source, START, END, PAD, 12)):
    print(f"{as_text(row[row != PAD]):28} {as_text(good):12} without a mask: {as_text(bad)}")

# %% [markdown]
# The leaking model has the lower loss at first, and writes nothing of use. Nobody who looks at the loss alone would notice.
#
# Where does the good one look while it writes? Each panel is a head of the cross-attention: rows are the letters that it writes, columns those that it reads.

# %%
source = torch.tensor([[number_of[letter] for letter in written(held_out[5], "%A, %d %B %Y")]])
with torch.no_grad():
    wrote = greedy(model, source, START, END, PAD, 12)
    _, maps = model.decode(torch.cat([torch.full((1, 1), START), wrote[:, :-1]], dim=1), *model.encode(source))
figure, panels = plt.subplots(1, 4, figsize=(14, 3.6), layout="constrained", sharey=True)
for head, panel in enumerate(panels):
    panel.imshow(maps[0, head], cmap="magma", vmin=0, vmax=1, aspect="auto")
    panel.set_xticks(range(source.shape[1]), list(as_text(source[0])), fontsize=8)
    panel.set_yticks(range(wrote.shape[1]), [*as_text(wrote[0]), "END"][: wrote.shape[1]])
    panel.set(title=f"head {head}", xlabel="letters of the source")
panels[0].set_ylabel("letter that is written")
plt.show()

# %% [markdown]
# Bright spots show which letters decide: for the digits of the year and the day the model looks near the digits of the source, for the month at letters of its name. Which head does what differs from
# training to training. A map shows where a head looks, and only that: values can be large where weights are small.

# %% [markdown]
# ## 5 · What it costs
#
# ### Time: the square of the length
#
# Every query meets every key: n² scores. The projections and the feed-forward part do the same work for each position: n. So for short texts a transformer is linear, and for long ones quadratic. Where is the border? We count and measure both parts of
# one layer of width 64 with 4 heads.


# %%
def cpu_seconds(call, at_least: float = 0.01, runs: int = 3) -> float:
    """CPU time of one `call()`: the best of some runs, each long enough for the clock."""
    best, repeats = math.inf, 1
    while runs:
        begin = time.process_time()
        for _ in range(repeats):
            call()
        spent = time.process_time() - begin
        if spent < at_least:
            repeats *= 4
            continue
        best, runs = min(best, spent / repeats), runs - 1
    return best


def multiplications(call) -> float:
    """Multiplications in products of matrices (the counter counts an addition to each)."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 2


lengths = [64, 128, 256, 512, 1024, 2048]
torch.manual_seed(7)
each_position = nn.ModuleList([nn.Linear(64, 64) for _ in range(4)] + [FeedForward(64)])
costs = {"counted": {"scores": [], "positions": []}, "measured": {"scores": [], "positions": []}}
with torch.no_grad():
    for n in lengths:
        q, k, v, x = torch.randn(1, 4, n, 16), torch.randn(1, 4, n, 16), torch.randn(1, 4, n, 16), torch.randn(1, n, 64)
        calls = {"scores": lambda: attention(q, k, v), "positions": lambda: [layer(x) for layer in each_position]}
        for name, call in calls.items():
            costs["counted"][name].append(multiplications(call))
            costs["measured"][name].append(cpu_seconds(call))

figure, panels = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
for panel, (kind, found), unit in zip(panels, costs.items(), ("multiplications", "CPU time (s)")):
    panel.loglog(lengths, found["scores"], "o-", base=2, label="attention: softmax(QKᵀ)V")
    panel.loglog(lengths, found["positions"], "s-", base=2, label="projections and feed-forward")
    panel.set(title=kind, xlabel="length n", ylabel=unit)
    panel.legend()
plt.show()


def growth(values: list[float]) -> float:
    """The factor for twice the length, over the last two doublings."""
    return (values[-1] / values[-3]) ** 0.5


border = next((n for n, one, other in zip(lengths, costs["measured"]["scores"], costs["measured"]["positions"]) if one > other), None)
print("twice the length, the last two doublings: attention", end=" ")
print(f"counted {growth(costs['counted']['scores']):.2f}x, measured {growth(costs['measured']['scores']):.2f}x; ", end="")
print(f"the rest counted {growth(costs['counted']['positions']):.2f}x, measured {growth(costs['measured']['positions']):.2f}x")
print(f"attention takes more time than the rest from length {border} on;  all weights at length 2,048: {4 * 2048**2 * 4 / 2**20:.0f} MiB")
claims.record(
    "attention costs the square of the length",
    claimed="4x for twice the length",
    measured=f"{growth(costs['counted']['scores']):.2f}x in multiplications, {growth(costs['measured']['scores']):.2f}x in time",
    holds=growth(costs["counted"]["scores"]) == 4 and growth(costs["measured"]["scores"]) > 3,
    how="softmax(QKᵀ)V of 4 heads of 16, from length 512 to 2,048, one thread; in time it holds from 3x on, since memory adds to it",
)

# %% [markdown]
# Counting says exactly 4. The clock says about 4, or more where the matrix of weights has outgrown the processor's cache. FlashAttention (Dao et al., 2022) never writes that matrix down; it saves memory and time, and the work still grows with
# the square. Only a sparser mask helps, such as a window: then each query meets a fixed number of keys.
#
# ### Memory: what must be remembered
#
# When a model writes, the keys and values of all earlier positions stay the same. It keeps them: the **KV cache**. For long texts and many users at a time, this cache and not the weights decides how many fit on a machine.
# Four ways to make it smaller:
#
# | kind | kept for each position and layer |
# |---|---|
# | multi-head (MHA) | 2 · heads · d numbers |
# | grouped (GQA) | 2 · kv_heads · d |
# | sliding window | as above, for the last `window` positions only (Mistral 7B: 4,096; Jiang et al., 2023) |
# | latent (MLA; DeepSeek-V2, 2024) | one short vector of r numbers, from which keys and values of all heads are computed by `up_key` and `up_value` |
#
# The latent form has a trick. Key j of a head is $c_j U$, with its latent $c_j$ [r] and the head's matrix $U$ [r, d]. So a score is $q \cdot (c_j U) = (q U^\top) \cdot c_j$: instead of making all keys anew at each step, turn the *query* into the latent
# space, once. With the values it is the same: take the weighted mean of the latents first, then one product. The matrices are *absorbed*. (The real MLA keeps one rotated key of 64 numbers beside, since a rotation does not commute with U.)
#
# ### Exercise 8 · Two caches (`caches`, 4 points, 40 minutes, difficulty 3 of 3)
#
# `extend(cache, key, value, window=None)`: `cache` is `None` or a pair (keys, values) [b, g, m, d], `key` and `value` are those of n new positions, [b, g, n, d]; all float32 or all float64, any layout; b, g and d from 1 to 6, n from 1 to 9, m from 1 to 30;
# `window` is `None` or a number from 1 to 40.
#
# - It returns a pair: the old keys with the new ones behind them, and the values alike. <!-- rule: order -->
# - With a `window` only its last `window` positions are kept, or all where there are fewer. <!-- rule: window -->
# - The memory behind each returned tensor is its own and holds its numbers and nothing more: `untyped_storage().nbytes()` is the number of its numbers times their size. (A slice keeps the whole tensor alive that it was cut from. Then a window saves nothing.) <!-- rule: storage -->
# - What is given stays as it was. <!-- rule: unchanged -->
#
# `latent_attention(query, latent, up_key, up_value)`: `query` [b, h, n, d], `latent` [b, m, r], the same for all heads, `up_key` [h, r, d], `up_value` [h, r, e]; all float32 or all float64, any layout, sizes from 1 to 20.
#
# - It returns what attention gives with the keys `latent @ up_key[i]` and the values `latent @ up_value[i]` for head i, each query looking at all m: [b, h, n, e]. <!-- rule: latent -->
# - Scores are divided by the root of d, the width of queries and keys. <!-- rule: scale -->
# - For b = 1, n = 1, h = 8, d = e = 64, r = 16 and m = 500, it takes fewer than 500,000 multiplications in products of matrices (making all keys takes 4,096,000). <!-- rule: absorbed, reported -->
# - What is given stays as it was. <!-- rule: kept -->
#
# Each function earns half of the points. Tolerance: 1 in 10,000 of the largest number in float32, 1 in a million in float64.


# %% exercise="caches" minutes=40 difficulty=3
def extend(cache, key: torch.Tensor, value: torch.Tensor, window: int | None = None):
    """(keys, values) with the new positions at the end, the last `window` of all, in memory of their own."""
    ### BEGIN SOLUTION
    grown = []
    for i, new in enumerate((key, value)):
        both = new if cache is None else torch.cat([cache[i], new], dim=2)
        last = both if window is None else both[:, :, -window:]
        grown.append(last.clone())
    return tuple(grown)
    ### END SOLUTION


def latent_attention(query: torch.Tensor, latent: torch.Tensor, up_key: torch.Tensor, up_value: torch.Tensor) -> torch.Tensor:
    """Attention [b, h, n, e] to keys `latent @ up_key[i]` and values `latent @ up_value[i]`, which are never made."""
    ### BEGIN SOLUTION
    absorbed = torch.einsum("bhnd,hrd->bhnr", query, up_key)
    weights = (torch.einsum("bhnr,bmr->bhnm", absorbed, latent) / query.shape[-1] ** 0.5).softmax(-1)
    return torch.einsum("bhnr,hre->bhne", torch.einsum("bhnm,bmr->bhnr", weights, latent), up_value)
    ### END SOLUTION


# %% tests="caches" points=4
@check.scenario
def extended(cache, key, value, window):
    """What `extend` returns, bytes of storage, whether memory is shared with what was given, and what was given."""
    given = [key, value, *(cache or ())]
    result = extend(cache, key, value, window)
    places = {x.untyped_storage().data_ptr() for x in given}
    own = [x.untyped_storage().data_ptr() for x in result]
    return [
        [x.detach() for x in result],
        [x.untyped_storage().nbytes() for x in result],
        [place in places for place in own] + [own[0] == own[1]],
    ]


def extended_by_definition(cache, key, value, window, front=False, oldest=False, swapped=False, grown=0):
    result = []
    for i, new in enumerate((key, value)):
        rows = ([] if cache is None else list(cache[i].unbind(2))) + list(new.unbind(2))
        if front and cache is not None:
            rows = list(new.unbind(2)) + list(cache[i].unbind(2))
        keep = len(rows) if window is None else min(len(rows), window + grown)
        result.append(torch.stack(rows[:keep] if oldest else rows[len(rows) - keep :], 2))
    result = result[::-1] if swapped else result
    return [result, [x.numel() * x.element_size() for x in result], [False, False, False]]


@check.scenario
def written_step_by_step(key, value, window):
    """The caches after each of some positions that come one at a time, looked at when all are there, and the bytes behind them."""
    cache, seen = None, []
    for t in range(key.shape[2]):
        cache = extend(cache, key[:, :, t : t + 1], value[:, :, t : t + 1], window)
        seen.append(cache)
    return [[*pair, *(x.untyped_storage().nbytes() for x in pair)] for pair in seen]


def latent_by_definition(query, latent, up_key, up_value, scale=None, first_head=False, values_from_keys=False, summed=False):
    q, c, uk, uv = (x.double() for x in (query, latent, up_key, up_value))
    heads = []
    for i in range(q.shape[1]):
        at = 0 if first_head else i
        keys, values = c @ uk[at], c @ uv[at]
        scores = q[:, i] @ keys.transpose(1, 2) * (q.shape[-1] ** -0.5 if scale is None else scale(query, latent))
        heads.append(scores.softmax(-1) @ values)
    return torch.stack(heads, 1).to(query.dtype)


@check.scenario
def products_of_a_step(query, latent, up_key, up_value):
    with FlopCounterMode(display=False) as counter:
        result = latent_attention(query, latent, up_key, up_value)
    return [result.detach(), counter.get_total_flops() / 2]


def check_extend():
    for dtype in ("float32", "float64"):
        shape = ("b", "g", "n", "d")
        domain = {
            "_keys": cases.tensor("b", "g", "m", "d", dtypes=(dtype,)),
            "_values": cases.tensor("b", "g", "m", "d", dtypes=(dtype,)),
            "cache": cases.derived(lambda _keys, _values: (_keys, _values), "a pair of tensors"),
            "key": cases.tensor(*shape, dtypes=(dtype,)),
            "value": cases.tensor(*shape, dtypes=(dtype,)),
            "window": cases.choice(None, 1, 3, 8, 40),
        }
        causes = {
            "the new positions stand in front: they belong at the end": lambda *a: extended_by_definition(*a, front=True),
            "the oldest positions were kept, expected the last ones": lambda *a: extended_by_definition(*a, oldest=True),
            "keys and values are exchanged": lambda *a: extended_by_definition(*a, swapped=True),
            "one position too many was kept": lambda *a: extended_by_definition(*a, grown=1),
            "the window is not used": lambda *a: extended_by_definition(*a[:3], None),
        }
        sizes = {"b": (1, 6), "g": (1, 6), "n": (1, 9), "m": (1, 30), "d": (1, 6)}
        drawn = [*cases.draw(seeds, domain, **sizes), *cases.draw(seeds, domain | {"cache": cases.choice(None)}, count=3, **sizes)]
        hint = "the last `window` of old and new positions, each tensor a copy of its own: no slice, and not the memory that was given"
        check.agrees(extended, extended_by_definition, drawn, "`extend` (pair, bytes behind each, whether memory is shared with given keys, given values, each other)", hint, causes=causes)
    key, value = torch.arange(12.0).view(1, 1, 6, 2), -torch.arange(12.0).view(1, 1, 6, 2)
    for window in (None, 1, 3):
        kept = [[x[:, :, max(0, t - window) if window else 0 : t] for x in (key, value)] for t in range(1, 7)]
        wanted = [[*pair, *(x.numel() * 4 for x in pair)] for pair in kept]
        what = f"the caches (keys, values, bytes behind each) after each of six positions, one at a time, b = g = 1, window {window},"
        check.equal(written_step_by_step(key, value, window), wanted, what, "each tensor is a copy of its own, no slice, and earlier caches stay as they were")


def check_latent():
    causes = {
        "the scores were divided by the root of r: queries and keys are d wide": lambda *a: latent_by_definition(*a, scale=lambda q, c: c.shape[-1] ** -0.5),
        "the scores were not divided": lambda *a: latent_by_definition(*a, scale=lambda q, c: 1.0),
        "all heads use the matrices of head 0": lambda *a: latent_by_definition(*a, first_head=True),
    }
    for dtype, rtol in (("float64", 1e-6), ("float32", 1e-4)):
        axes = {"query": ("b", "h", "n", "d"), "latent": ("b", "m", "r"), "up_key": ("h", "r", "d"), "up_value": ("h", "r", "e")}
        domain = {name: cases.tensor(*shape, dtypes=(dtype,), without=("ties",)) for name, shape in axes.items()}
        sizes = {name: (1, 20) for name in "bhndmre"}
        drawn = cases.draw(seeds, domain, count=6, **sizes)
        hint = "scores (query @ up_keyᵀ) · latent / √d, softmax over all m, the mean of the latents, then up_value"
        check.agrees(latent_attention, latent_by_definition, drawn, "`latent_attention`", hint, causes=causes, rtol=rtol)
    generator = torch.Generator().manual_seed(seeds[-1])
    step = [torch.randn(shape, generator=generator) for shape in ((1, 8, 1, 64), (1, 500, 16), (8, 16, 64), (8, 16, 64))]
    result, products = products_of_a_step(*step)
    check.equal(result, latent_by_definition(*step), "`latent_attention` of one query and 500 latents", rtol=1e-4)
    check.between(products, None, 500_000, "the number of multiplications in products of matrices for one query and 500 latents", "turn the query into the latent space; do not make keys or values of all positions")


with check.exercise("caches"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"extend": check_extend, "latent_attention": check_latent})
check.points(4)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Which steps copy, and which only describe memory that exists? For the latent form write one score as a product of three: query, matrix, latent. In which order is it cheap when there is one query and there are 500 latents?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `torch.cat(..., dim=2)`, `Tensor.clone`; `torch.einsum("bhnd,hrd->bhnr", query, up_key)` turns queries into the latent space.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# Three more products: `"bhnr,bmr->bhnm"` gives scores, `"bhnm,bmr->bhnr"` the mean of the latents, `"bhnr,hre->bhne"` the values. In `extend`: concatenate, cut, then `.clone()` (of the cut).
# </details>

# %% [markdown]
# Counted, not computed: a small layer with 8 heads of 16 writes 300 positions, and we add up the bytes of memory behind its cache. A sixteenth of that memory is what one latent of 16 numbers takes.


# %%
def bytes_behind(tensors) -> int:
    return sum(x.untyped_storage().nbytes() for x in tensors)


kinds = {"MHA, 8 key heads": (8, None), "GQA, 2 key heads": (2, None), "MQA, 1 key head": (1, None), "GQA, window of 64": (2, 64)}
counted = {name: [] for name in (*kinds, "latent, r = 16")}
for name, (kv_heads, window) in kinds.items():
    cache = None
    for t in range(300):
        cache = extend(cache, torch.randn(1, kv_heads, 1, 16), torch.randn(1, kv_heads, 1, 16), window)
        counted[name].append(bytes_behind(cache))
latents = torch.zeros(1, 0, 16)
for t in range(300):
    latents = torch.cat([latents, torch.randn(1, 1, 16)], dim=1)
    counted["latent, r = 16"].append(bytes_behind([latents]))
figure, panel = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
for name, values in counted.items():
    panel.semilogy(range(1, 301), values, label=name)
panel.set(title="Bytes behind the cache of one layer, float32", xlabel="positions written", ylabel="bytes (counted)")
panel.legend(fontsize=8)
plt.show()
for name, values in counted.items():
    print(f"{name:18} {values[-1]:>9,} bytes after 300 positions, {values[-1] / counted['MHA, 8 key heads'][-1]:.4f} of MHA")

# %% [markdown]
# A window reaches the same answer as a mask: position by position, with a cache that never holds more than 5 entries, the layer gives what it gives with the whole text and `causal_mask(n, n, window=5)`. Keys are rotated once, before they are kept.

# %%
torch.manual_seed(8)
layer, x = MultiHeadAttention(32, 4, 2), torch.randn(1, 20, 32)
with torch.no_grad():
    everything = torch.arange(20)
    whole, _ = layer(x, x, causal_mask(20, 20, window=5), (everything, everything))
    cache, steps = None, []
    for t in range(20):
        q, k, v = (
            part(x[:, t : t + 1]).unflatten(-1, (heads, 8)).transpose(1, 2)
            for part, heads in ((layer.query, 4), (layer.key, 2), (layer.value, 2))
        )
        now = torch.tensor([t])
        cache = extend(cache, rotate(k, now), v, window=5)
        found, _ = attention(rotate(q, now), *(part.repeat_interleave(2, dim=1) for part in cache))
        steps.append(layer.output(found.transpose(1, 2).flatten(2)))
print(f"cache {tuple(cache[0].shape)};  largest difference from the whole text at once: {(torch.cat(steps, dim=1) - whole).abs().max():.1e}")

# %% [markdown]
# The same at real sizes (figures from the papers and the models' configurations). DeepSeek-V2's paper (2024, table 1) says that its cache equals that of GQA with 2.25 groups. Its latents have 512 numbers and its rotated key 64, its heads are 128 wide.

# %%
models = {  # layers, numbers kept for each position and layer
    "GPT-3 175B (MHA)": (96, 2 * 96 * 128),
    "Llama 3 8B (GQA, 8 of 32)": (32, 2 * 8 * 128),
    "DeepSeek-V2 if it were MHA": (60, 2 * 128 * 128),
    "DeepSeek-V2 (MLA)": (60, 512 + 64),
}
for name, (layers, numbers) in models.items():
    print(f"{name:28} {layers * numbers * 2 / 2**10:8.1f} KiB a token in 16 bits, {layers * numbers * 2 * 32_768 / 2**30:7.2f} GiB for a text of 32,768")
mla = [torch.zeros(1, 1, 1, 512), torch.zeros(1, 1, 1, 64)]
one_group = extend(None, torch.zeros(1, 1, 1, 128), torch.zeros(1, 1, 1, 128))
groups = bytes_behind(mla) / bytes_behind(one_group)
claims.record(
    "a latent cache (MLA) is as small as that of GQA with few groups",
    claimed="2.25 groups (DeepSeek-V2, 2024)",
    measured=f"{groups:.2f} groups; against its 128 heads kept whole 1/{128 / groups:.0f}",
    holds=groups == 2.25,
    how="bytes of one position: 512 + 64 numbers, against keys and values of one group of 128 each",
)

# %% [markdown]
# ## 6 · A mixture of experts
#
# The feed-forward part holds most of a model's parameters, and each token pays for all of them. A **mixture of experts** (Shazeer et al., 2017) has many feed-forward parts, and a *router*, one linear layer, that sends each token to k of them. More
# parameters, the same work. Mixtral 8x7B (Jiang et al., 2024) has 47 billion parameters and uses 13 billion for each token.
#
# The router learns with the rest, through the weights by which the outputs are added. There is a trap: an expert that is chosen more often learns faster, so it is chosen even more often. A **balance loss** (Fedus et al., 2021, for the Switch
# Transformer) keeps all of them at work: $e \sum_i f_i P_i$ for e experts, where $f_i$ is the share of choices that fell on expert i, and $P_i$ the router's mean probability for it. It is 1 if both are even.
#
# ### Exercise 9 · Route and balance (`mixture`, 4 points, 40 minutes, difficulty 3 of 3)
#
# `mixture(x, logits, experts, k)`: `x` [t, d] are t tokens, `logits` [t, e] what the router says, both float32 or both float64, in any layout; the numbers of `logits` lie between -40 and 40, and those of a row differ by 0.001 or more. `experts` is a list of e functions (modules), each of
# which takes [rows, d] (one row or more) and returns [rows, d]. t from 1 to 60, d from 1 to 12, e from 1 to 9, and k from 1 to e.
#
# - Each token goes to the k experts with its largest logits. <!-- rule: chosen -->
# - Its output is the sum of what these experts give for it, each times its weight; the weights are the softmax of the k chosen logits alone. <!-- rule: weights -->
# - It returns a pair: the outputs [t, d], in the dtype of `x`, and the chosen experts, int64 [t, k], the largest logit first. <!-- rule: pair -->
# - An expert is called once at most, with just the rows that chose it, in any order; an expert that no token chose is not called. <!-- rule: work, reported -->
# - Gradients reach `x`, `logits` and what belongs to the experts. <!-- rule: gradients -->
# - What is given stays as it was. <!-- rule: unchanged -->
#
# `balance_loss(logits, chosen)`: `logits` [t, e] as above, `chosen` int64 [t, k] as `mixture` returns it (any experts; some may be chosen by nobody).
#
# - It returns $e \sum_i f_i P_i$ as a tensor without axes, in the dtype of `logits`: $f_i$ counts how often i occurs in `chosen`, over t · k; $P_i$ is the mean over tokens of the softmax over all e logits. <!-- rule: balance -->
# - Its gradient flows through $P_i$ to `logits`. <!-- rule: slope -->
# - What is given stays as it was. <!-- rule: kept -->
#
# Each function earns half of the points. Outputs and gradients of `mixture` are right to 1 in 10,000 of the largest number (or of 1, where that is more) in float32 and to 1 in a million in float64, those of `balance_loss` to 1 in 100,000.


# %% exercise="mixture" minutes=40 difficulty=3
def mixture(x: torch.Tensor, logits: torch.Tensor, experts: list, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs [t, d] of the k experts that each token chooses, and which they are, int64 [t, k]."""
    ### BEGIN SOLUTION
    largest, chosen = logits.topk(k, dim=-1)
    weights = largest.softmax(-1)
    output = torch.zeros_like(x)
    for i, expert in enumerate(experts):
        rows, places = (chosen == i).nonzero(as_tuple=True)
        if len(rows):
            output = output.index_add(0, rows, weights[rows, places, None] * expert(x[rows]))
    return output, chosen
    ### END SOLUTION


def balance_loss(logits: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """e times the sum over experts of their share of choices and their mean probability."""
    ### BEGIN SOLUTION
    count = logits.shape[-1]
    shares = torch.bincount(chosen.flatten(), minlength=count) / chosen.numel()
    return count * (shares * logits.softmax(-1).mean(0)).sum()
    ### END SOLUTION


# %% tests="mixture" points=4
@check.shared
def expert_numbers(d, count, seed, dtype):
    """Matrices [e, d, d] of experts tanh(x M + i)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, d, d, generator=generator, dtype=torch.float64).to(dtype) / d**0.5


@check.shared
def mixture_record(outputs, chosen, calls, rows, slopes, unchanged):
    gradients = dict(zip(("x", "logits", "experts"), slopes))
    return {"outputs": outputs, "chosen": chosen, "calls of each expert": calls, "rows of each expert": rows, "gradients": gradients, "x and logits unchanged": unchanged}


@check.scenario
def mixed(x, logits, k, seed):
    """Outputs, choices, calls, the rows that each expert saw (sorted), gradients of a weighted sum, and whether what was given stays."""
    kept = x.clone(), logits.clone()
    matrices = expert_numbers(x.shape[1], logits.shape[1], seed, x.dtype).requires_grad_()
    calls = [[] for _ in matrices]

    def expert(i):
        def call(rows):
            calls[i].append(rows.detach())
            return torch.tanh(rows @ matrices[i] + i)

        return call

    leaf, scores = x.clone().requires_grad_(), logits.clone().requires_grad_()
    mixture(x, logits, [lambda rows: rows] * len(matrices), k)
    unchanged = torch.equal(x, kept[0]) and torch.equal(logits, kept[1])
    output, chosen = mixture(leaf, scores, [expert(i) for i in range(len(matrices))], k)
    pull = (output * torch.linspace(-1, 2, output.numel(), dtype=x.dtype).view(output.shape)).sum()
    slopes = torch.autograd.grad(pull, (leaf, scores, matrices), allow_unused=True) if pull.requires_grad else [None] * 3
    return mixture_record(output.detach(), chosen, [len(seen) for seen in calls], [sorted(row for rows in seen for row in rows.tolist()) for seen in calls], slopes, unchanged)


def mixed_by_definition(x, logits, k, seed, over_all=False, plain=False, smallest=False, upside=False, everywhere=False, fixed=False):
    """Token by token, in float64."""
    matrices = expert_numbers(x.shape[1], logits.shape[1], seed, x.dtype).double().requires_grad_()
    leaf, scores = x.double().requires_grad_(), logits.double().requires_grad_()
    outputs, choices, calls = [], [], [[] for _ in matrices]
    for t in range(len(x)):
        row = logits[t].tolist()
        order = sorted(range(len(matrices)), key=row.__getitem__, reverse=not smallest)[:k]
        powers = [(scores[t, i] - scores[t].max().detach()).exp() for i in (range(len(matrices)) if over_all else order)]
        total = sum(powers)
        mine = {i: (scores[t, i] - scores[t].max().detach()).exp() / total for i in order}
        if plain or fixed:
            mine = {i: torch.tensor(1.0 if plain else 1 / k) for i in order}
        outputs.append(sum(mine[i] * torch.tanh(leaf[t] @ matrices[i] + i) for i in order))
        choices.append(sorted(order) if upside else order)
        for i in order:
            calls[i].append(x[t].tolist())
    output = torch.stack(outputs)
    pull = (output * torch.linspace(-1, 2, output.numel(), dtype=torch.float64).view(output.shape)).sum()
    slopes = torch.autograd.grad(pull, (leaf, scores, matrices), allow_unused=True)
    slopes = [torch.zeros_like(like) if slope is None else slope for slope, like in zip(slopes, (leaf, scores, matrices))]
    calls = [x.tolist() if everywhere else rows for rows in calls]
    return mixture_record(output.detach().to(x.dtype), torch.tensor(choices), [int(bool(rows)) for rows in calls], [sorted(rows) for rows in calls], [slope.to(x.dtype) for slope in slopes], True)


@check.shared
def with_gradient(function, logits, chosen):
    leaf = logits.clone().requires_grad_()
    loss = function(leaf, chosen)
    slope = torch.autograd.grad(loss, leaf, allow_unused=True)[0] if loss.requires_grad else None
    return [loss.detach(), slope]


@check.scenario
def balance_with_gradient(logits, chosen):
    return with_gradient(balance_loss, logits, chosen) + [logits, chosen]


def balance_by_definition(logits, chosen, over="choices", first_only=False, factor=True):
    e, (t, k) = logits.shape[1], chosen.shape
    total = 0.0
    for i in range(e):
        picks = chosen[:, :1] if first_only else chosen
        share = sum(int(number == i) for row in picks.tolist() for number in row) / (t if first_only or over == "tokens" else t * k)
        total = total + share * sum(logits[j].softmax(-1)[i] for j in range(t)) / t
    return e * total if factor else total


def balance_and_slope(logits, chosen, **flaw):
    found = with_gradient(lambda leaf, picks: balance_by_definition(leaf, picks, **flaw), logits.double(), chosen)
    return [part.to(logits.dtype) for part in found] + [logits, chosen]


def router_case(seed, number):
    """Logits whose rows hold different numbers, 0.001 apart or more, and choices that leave some expert out where they can."""
    rng = random.Random(f"{seed} {number}")
    generator = torch.Generator().manual_seed(rng.getrandbits(60))
    t, d, e = ((1, 1, 1), (1, 3, 5), (60, 12, 9), (2, 2, 9))[number] if number < 4 else (rng.randint(1, 60), rng.randint(1, 12), rng.randint(2, 9))
    k = (1, e, min(2, e), rng.randint(1, e))[number % 4]
    dtype = (torch.float64, torch.float32)[number // 2 % 2]
    steps = torch.stack([torch.randperm(4000, generator=generator)[:e] for _ in range(t)])
    logits = (steps.double() / 500 - 4) * (1, 1, 1, 8)[number % 4]
    if number % 5 == 4:  # everybody prefers the first
        logits[:, 0] = 40.0
    x = torch.randn(d, t, generator=generator, dtype=torch.float64).to(dtype)
    x, logits = (x.T, logits.to(dtype)) if number % 3 else (x.T.contiguous(), logits.T.contiguous().T.to(dtype))
    return x, logits, k, rng.getrandbits(30)


def check_mixture():
    causes = {
        "the weights are a softmax over all experts: it belongs over the k that were chosen": lambda *a: mixed_by_definition(*a, over_all=True),
        "the outputs were added without weights": lambda *a: mixed_by_definition(*a, plain=True),
        "each chosen expert has the same weight": lambda *a: mixed_by_definition(*a, fixed=True),
        "the smallest logits were chosen": lambda *a: mixed_by_definition(*a, smallest=True),
        "the chosen experts are sorted by their number: the largest logit comes first": lambda *a: mixed_by_definition(*a, upside=True),
        "each expert was called with all tokens: only those rows are its work that chose it": lambda *a: mixed_by_definition(*a, everywhere=True),
    }
    for seed in seeds:
        for dtype, rtol in ((torch.float64, 1e-6), (torch.float32, 1e-4)):
            drawn = []
            for number in range(16):
                x, logits, k, own = router_case(seed, number)
                if x.dtype == dtype:
                    words = {"x": f"{dtype} {list(x.shape)}", "logits": str(list(logits.shape)), "k": str(k)}
                    drawn.append(cases.Case({"x": x, "logits": logits, "k": k, "seed": own}, words))
            what = "`mixture`"
            check.agrees(mixed, mixed_by_definition, drawn, what, "the k largest logits, softmax over these, one call for each expert that somebody chose", causes=causes, rtol=rtol, atol=rtol * 3)


def check_balance():
    causes = {
        "choices were counted over t, expected t · k": lambda *a: balance_and_slope(*a, over="tokens"),
        "only the first choice of each token counts": lambda *a: balance_and_slope(*a, first_only=True),
        "the factor e is missing": lambda *a: balance_and_slope(*a, factor=False),
    }
    for seed in seeds:
        drawn = []
        for number in range(16):
            _, logits, k, own = router_case(seed, number)
            chosen = logits.topk(k).indices if number % 2 else torch.stack([torch.randperm(max(k, logits.shape[1] - 1), generator=torch.Generator().manual_seed(own + j))[:k] for j in range(len(logits))])
            words = {"logits": f"{logits.dtype} {list(logits.shape)}", "chosen": f"int64 {list(chosen.shape)}"}
            drawn.append(cases.Case({"logits": logits, "chosen": chosen}, words))
        check.agrees(balance_with_gradient, balance_and_slope, drawn, "`balance_loss` (loss, gradient, logits, chosen)", "e times the sum of f_i P_i; experts that nobody chose have f = 0", causes=causes, rtol=1e-5, atol=1e-6)


with check.exercise("mixture"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"mixture": check_mixture, "balance_loss": check_balance})
check.points(4)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Do not loop over tokens but over experts: which rows chose it, and at which of the k places? What must happen to a row's output when a second expert adds to it?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `logits.topk(k, dim=-1)` gives values and numbers; `(chosen == i).nonzero(as_tuple=True)` rows and places; `Tensor.index_add(0, rows, values)` adds to rows; `torch.bincount(..., minlength=e)`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# `largest, chosen = logits.topk(k, dim=-1)`, `weights = largest.softmax(-1)`; for each expert with rows: `output = output.index_add(0, rows, weights[rows, places, None] * expert(x[rows]))`.
# </details>

# %% [markdown]
# ### Is it worth it?
#
# A mixture has more room for knowledge at the same work per token. To see it, give layers something to remember: random points, each with one of 16 labels. There is no rule to find. Four layers learn the
# same points (with a common part, as real features have) with the same steps: a dense layer with 32 hidden units; mixtures of 8 experts of 16 units, of which each point uses 2 (32 active units again), with and without balance loss; and a dense layer with all 128
# units, which does four times the work.


# %%
FACTS, STEPS, OFFSET = 1500, 600, 1.5


class Experts(nn.Module):
    """A mixture as a layer; it keeps its balance loss and what was chosen."""

    def __init__(self, width: int, hidden: int, count: int, k: int):
        super().__init__()
        self.router, self.k = nn.Linear(width, count, bias=False), k
        self.experts = nn.ModuleList(dense(width, hidden) for _ in range(count))

    def forward(self, x):
        logits = self.router(x)
        output, self.chosen = mixture(x, logits, self.experts, self.k)
        self.balance = balance_loss(logits, self.chosen)
        return output


def dense(width: int, hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))


def remember(layer: nn.Module, balance: float = 0.0, count: int = FACTS, steps: int = STEPS, seed: int = 0) -> float:
    """The share of random points whose label a network with this layer knows after some steps."""
    torch.manual_seed(seed)
    points, labels = torch.randn(count, 16) + OFFSET * torch.randn(16), torch.randint(16, (count,))
    head = nn.Linear(16, 16)
    optimizer = torch.optim.AdamW([*layer.parameters(), *head.parameters()], lr=1e-2, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rows = torch.randint(count, (256,))
        loss = F.cross_entropy(head(points[rows] + layer(points[rows])), labels[rows])
        if balance:
            loss = loss + balance * layer.balance
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return (head(points + layer(points)).argmax(-1) == labels).float().mean().item()


def used(layer: Experts) -> torch.Tensor:
    """The share of choices that each expert got when the layer was last used."""
    return torch.bincount(layer.chosen.flatten(), minlength=8) / layer.chosen.numel()


known_share, layers = {}, {}
for name, make, balance in (
    ("dense, 32 units", lambda: dense(16, 32), 0.0),
    ("8 experts of 16, 2 active", lambda: Experts(16, 16, 8, 2), 0.0),
    ("the same with balance loss", lambda: Experts(16, 16, 8, 2), 0.03),
    ("dense, 128 units", lambda: dense(16, 128), 0.0),
):
    torch.manual_seed(9)
    layers[name] = make()
    known_share[name] = remember(layers[name], balance)
figure, panels = plt.subplots(1, 2, figsize=(11, 3.2), layout="constrained")
panels[0].barh(list(known_share), list(known_share.values()), color=["tab:gray", "tab:orange", "tab:blue", "tab:gray"])
panels[0].set(title="Random labels remembered", xlabel="share of points", xlim=(0, 1))
for name, offset, colour in (("8 experts of 16, 2 active", -0.2, "tab:orange"), ("the same with balance loss", 0.2, "tab:blue")):
    panels[1].bar(torch.arange(8) + offset, used(layers[name]), width=0.4, color=colour, label=name)
panels[1].axhline(1 / 8, color="gray", linestyle="--", label="even")
panels[1].set(title="Who does the work", xlabel="expert", ylabel="share of choices")
panels[1].legend(fontsize=8)
plt.show()
for name, share in known_share.items():
    print(f"{name:28} {share:6.1%} remembered, {sum(p.numel() for p in layers[name].parameters()):,} parameters")
x = torch.randn(256, 16)
for name in ("dense, 32 units", "the same with balance loss", "dense, 128 units"):
    print(f"{name:28} {multiplications(lambda: layers[name](x)) / 256:,.0f} multiplications a point, {1e3 * cpu_seconds(lambda: layers[name](x)):.2f} ms for 256 points")

# %%
mixed_share, small_share = known_share["the same with balance loss"], known_share["dense, 32 units"]
claims.record(
    "a mixture knows more than a dense layer of the same active size",
    claimed="yes",
    measured=f"{mixed_share:.1%} against {small_share:.1%} of {FACTS:,} random labels (a dense layer with all its units: {known_share['dense, 128 units']:.1%})",
    holds=mixed_share > small_share + 0.02,
    how=f"32 active hidden units each, {STEPS} steps; holds from 2 points more",
)
claims.record(
    "an encoder-decoder of 100,000 parameters learns to normalise dates",
    claimed="95 % exact within 60 s",
    measured=f"{exact:.1%} of {len(held_out):,} held-out dates, {curves['seconds']:.0f} CPU seconds",
    holds=exact > 0.95 and curves["seconds"] < 60,
    how="700 steps of 64 dates, one thread; every letter must be right",
)

# %% [markdown]
# Equal work does not mean equal time. On this small scale the routing, many small products in place of one large, costs more than it saves: compare the milliseconds. Large models on many GPUs gain, since each product there is large, and have another cost:
# all experts must lie in memory.

# %% [markdown]
# ## Quiz

# %% [markdown] quiz="end"
# 1. Why are scores divided by the root of d?
# - [ ] So that the weights add up to 1 :: Softmax sees to that, whatever the scores.
# - [x] The variance of a dot product grows with d, and large scores make softmax choose one key with hardly any gradient :: Right.
# - [ ] To undo the length of the values :: Values play no part in the scores.
# 2. A decoder's loss falls to almost 0 within minutes, and what it writes is nonsense. What do you look for first?
# - [x] A leak: change the future of an input and see whether earlier results move :: Right. When it writes, there is no future to copy.
# - [ ] A learning rate that is too small :: Then the loss would not fall so fast.
# - [ ] Too few heads :: That would cost loss, too.
# 3. Rotary positions turn queries and keys. What follows?
# - [ ] Values hold the position :: They are not turned.
# - [ ] Scores depend on both positions, each by itself :: The two turns cancel but for their difference.
# - [x] A score depends on the distance of the two positions alone :: Right: turning leaves lengths, and of the angles a dot product sees only the one between.
# 4. A text becomes twice as long. What happens to the KV cache and to the time of reading it all at once, where attention dominates?
# - [ ] Both double :: Reading compares every position with every earlier one.
# - [x] The cache doubles, the time becomes four times as long :: Right.
# - [ ] Both become four times as large :: The cache holds one entry a position.
# 5. A mixture has 8 experts and sends each token to 2. Compared with one expert alone it has
# - [ ] 8 times the parameters and 8 times the work :: Only 2 of them work on a token.
# - [x] 8 times the parameters and about twice the work :: Right, plus the router.
# - [ ] twice the parameters and twice the work :: All 8 lie in memory.

# %% [markdown]
# ## Read next
#
# - The paper, line by line with code: https://nlp.seas.harvard.edu/annotated-transformer/ ; the paper itself, Vaswani et al., 2017: https://arxiv.org/abs/1706.03762
# - Rotary positions: Su et al., 2021, https://arxiv.org/abs/2104.09864. Grouped queries: Ainslie et al., 2023, https://arxiv.org/abs/2305.13245
# - Latent attention: DeepSeek-V2, 2024, https://arxiv.org/abs/2405.04434. Windows: Mistral 7B, 2023, https://arxiv.org/abs/2310.06825
# - Experts: Shazeer et al., 2017, https://arxiv.org/abs/1701.06538; Switch Transformer, Fedus et al., 2021, https://arxiv.org/abs/2101.03961; Mixtral, 2024, https://arxiv.org/abs/2401.04088
# - FlashAttention: Dao et al., 2022, https://arxiv.org/abs/2205.14135. Norms before the steps: Xiong et al., 2020, https://arxiv.org/abs/2002.04745
#
# Lesson 17 serves such models with paged caches; lesson 19 replaces attention by a state of fixed size; lesson 28 trains one on text.

# %% [markdown]
# ## A bigger machine
#
# On a GPU, the square at longer texts: your `attention`, which writes all weights down, beside PyTorch's fused one, which does not. With `UNIT24_TIER=hub` (and the package `transformers`), your `MultiHeadAttention` takes the weights of the first layer of a real
# language model and must give what the library gives.

# %%
if env.device.startswith("cuda"):
    for n in (1024, 4096, 8192):
        q, k, v = (torch.randn(1, 8, n, 64, device=env.device) for _ in range(3))
        for name, call in (("yours", lambda: attention(q, k, v)[0]), ("fused", lambda: F.scaled_dot_product_attention(q, k, v))):
            call()
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            begin = time.perf_counter()
            call()
            torch.cuda.synchronize()
            spent = time.perf_counter() - begin
            print(f"n = {n:5}, {name}: {1e3 * spent:8.2f} ms, peak {torch.cuda.max_memory_allocated() / 2**20:8.0f} MiB")
if env.tier == "hub":
    from transformers import AutoModelForCausalLM

    language_model = AutoModelForCausalLM.from_pretrained(env.model("chat"), dtype=torch.float32)
    config, block = language_model.config, language_model.model.layers[0].self_attn
    head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if head_width * config.num_attention_heads == config.hidden_size and not hasattr(block, "q_norm"):
        layer = MultiHeadAttention(config.hidden_size, config.num_attention_heads, config.num_key_value_heads)
        with torch.no_grad():
            for part, their_part in ((layer.query, block.q_proj), (layer.key, block.k_proj), (layer.value, block.v_proj), (layer.output, block.o_proj)):
                part.weight.copy_(their_part.weight)
                part.bias.copy_(torch.zeros_like(part.bias) if their_part.bias is None else their_part.bias)
            x, places = torch.randn(1, 12, config.hidden_size), torch.arange(12)
            theta = (getattr(config, "rope_parameters", None) or {}).get("rope_theta") or getattr(config, "rope_theta", 10000.0)
            plain = rotate
            with check.swapped(rotate=lambda x, positions: plain(x, positions, theta)):  # the model's own base
                mine, _ = layer(x, x, causal_mask(12, 12), (places, places))
            cos_sin = language_model.model.rotary_emb(x, places[None])
            hidden = torch.zeros(1, 1, 12, 12).masked_fill(~causal_mask(12, 12), torch.finfo(torch.float32).min)
            theirs = block(x, position_embeddings=cos_sin, attention_mask=hidden)[0]
        print(f"{env.model('chat')}: largest difference in the attention of layer 0: {(mine - theirs).abs().max():.1e}")
    else:
        print("This model's attention has norms or widths of its own, which the lesson's class lacks.")
if not env.device.startswith("cuda") and env.tier == "tiny":
    print("A bigger machine: skipped here (it needs a GPU or UNIT24_TIER=hub).")
