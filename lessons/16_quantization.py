# ---
# jupyter:
#   unit24:
#     needs: ["accelerate>=1", "bitsandbytes>=0.48", "gguf>=0.17", "matplotlib>=3.8", "scikit-learn", "torch>=2.6", "torchao>=0.14", "transformers>=5"]
# ---

# %% [markdown]
# # 16 · Quantization
#
# A weight is stored in 32 or 16 bits because training needs fine steps. A trained model does not: it works with 8 bits a
# weight, often with 4, and what it then reads from memory is four or eight times less. What is lost depends on *how* you
# round: with which step, over which group of weights, after having seen which data.
#
# **You will build** an affine quantizer with an error bound, an int8 layer, FP8 rounding, GPTQ, AWQ, quantization-aware
# training, and a GGUF file that other programs can load. You use them on the course's language model, beside torchao,
# bitsandbytes and gguf, and end with one plot: bytes against perplexity.
#
# **You need first** lessons 02 to 04 (tensors, modules, the training loop) and 07 (the language model).
#
# **Time** about five hours for the nine exercises (30 points), reading not counted. No GPU is needed.
#
# Three weights in 4 bits. The range is 0.58 wide and has 15 steps, so the **scale** is 0.0387; the **zero point**, the code of 0, is -3:
#
# | weight (float32) | over the scale | rounded, plus the zero point: the code that is stored | minus the zero point, times the scale |
# |---|---|---|---|
# | -0.20 | -5.17 | -8, the lowest of -8 … 7 | -0.193 |
# | 0.02 | 0.52 | -2 | 0.039 |
# | 0.38 | 9.83 | 7, the highest | 0.387 |
#
# No weight moves by more than half a step.
#
# | part | what you write | the question it answers |
# |---|---|---|
# | A | affine quantizer, int8 layer, FP8, tests for a quantizer | What is rounding, and how far off can it be? |
# | B | GPTQ, AWQ | What does it help to have seen data? |
# | C | GGUF blocks and a whole file, the Pareto front | What do others load, and which choice is a waste? |
# | D | quantization-aware training | What is left to do when 2 bits are too few? |

# %% setup

# %%
import copy
import math
import tempfile
import time
import warnings
from pathlib import Path
from unittest import mock

import gguf
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
import torch.nn.utils.parametrize as parametrize
from gguf import GGMLQuantizationType
from torch import nn
from torchao.quantization import (
    Float8WeightOnlyConfig,
    Int8DynamicActivationInt8WeightConfig,
    Int8WeightOnlyConfig,
    IntxWeightOnlyConfig,
    PerGroup,
    quantize_,
)
from torchao.quantization.qat import QATConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging as transformers_logging

from unit24 import cases, check, claims, models
from unit24.data import digits
from unit24.data.python_docs import split_paragraphs
from unit24.models.digits_cnn import DigitsCNN

transformers_logging.disable_progress_bar()


def load_gguf(place, name):
    """A model from a GGUF file in the folder `place`, unpacked to float32 by transformers, without its progress bar."""
    with mock.patch("transformers.modeling_gguf_pytorch_utils.tqdm", lambda items, **options: items, create=True):
        return AutoModelForCausalLM.from_pretrained(place, gguf_file=name, dtype=torch.float32).eval()


# %% [markdown]
# ## The model and how it is judged
#
# The language model that ships with the course: four Llama layers, 0.9 million weights, perplexity about 17 on
# paragraphs of the Python reference that it has never seen. **Perplexity** is the exponential of the mean loss per token:
# the number of equally likely next tokens that would be as hard to guess. It is the usual measure here: every token counts,
# so it moves where the share of right answers in a benchmark does not yet. The text for *calibration* (part B) comes from the
# training split, so that nothing that judges a model has been used to make it. To save time 64 windows of 128 tokens do the
# judging. Two models read the *same* windows, so their difference is known better than either value; `worse_by` gives it with
# twice its standard error over the windows. What is smaller than that is noise.

# %%
folder = models.path("chat")
language_model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)


def windows(split, count=None):
    """Paragraphs of one split as rows of 128 tokens: int64 (rows, 128)."""
    text = "\n\n".join(paragraph for _, paragraph in split_paragraphs(split))
    ids = torch.tensor(tokenizer(text, verbose=False)["input_ids"])
    return ids[: len(ids) // 128 * 128].view(-1, 128)[:count]


held_out = windows("test", 64)
training = windows("train")
calibration = training[:32]


@torch.no_grad()
def window_losses(model, rows=held_out):
    """Mean negative log-likelihood of each row of `rows`, int64 (n, length): float64 (n,)."""
    losses = []
    for part in rows.split(32):
        logits = model(input_ids=part).logits[:, :-1].float()
        losses.append(F.cross_entropy(logits.transpose(1, 2), part[:, 1:], reduction="none").double().mean(1).cpu())
    return torch.cat(losses)


def perplexity(model, rows=held_out):
    """exp of the mean negative log-likelihood of `rows`, int64 (n, length)."""
    return window_losses(model, rows).mean().exp().item()


def worse_by(losses):
    """By how many percent the perplexity is above float32's, and twice the standard error of that: from `window_losses`."""
    change = losses - base_losses
    return 100 * math.expm1(change.mean()), 200 * (change.std() / len(change) ** 0.5).item()


linear_names = [n for n, m in language_model.named_modules() if isinstance(m, nn.Linear) and n != "lm_head"]
in_linears = sum(language_model.get_submodule(n).weight.numel() for n in linear_names)
everything = sum(p.numel() for p in language_model.parameters())
base_losses = window_losses(language_model)
base_perplexity = base_losses.mean().exp().item()
print(f"{held_out.numel():,} held-out tokens, perplexity {base_perplexity:.2f} in float32")
print(f"{everything:,} weights, {in_linears:,} of them in {len(linear_names)} linear layers, the rest in the embedding")

# %% [markdown]
# The output layer `lm_head` shares its matrix with the embedding. As in most toolkits it stays out of the quantization
# of linear layers: rounding it would untie the two. Keep the share of the embedding in mind when you read "4x smaller".
#
# ## Part A · What is rounding?
#
# ### 1 · Affine quantization (3 points, 30 minutes, difficulty 1 of 3)
#
# With $b$ bits there are $2^b$ codes, here the signed ones from $-2^{b-1}$ to $2^{b-1}-1$. A **scale** $s$ (the step) and
# an integer **zero point** $z$ map them to the range of the weights:
#
# $$ q = \operatorname{clamp}\big(\operatorname{round}(w / s) + z\big) \qquad\qquad \hat w = s\,(q - z) $$
#
# The range runs from the smallest to the largest weight and always contains 0, so that 0 has a code of its own and comes
# back as exactly 0 (padding, pruned weights). The scale is the width of the range over the number of *steps* $2^b - 1$.
# The zero point is the code of 0: the lowest code, minus the low end of the range in steps, rounded.
#
# No weight in the range is moved by more than half a step: $|\hat w - w| \le s/2$. So you know before you try how wrong an
# output $y = Wx$ can become: each of its terms $w_j x_j$ is off by at most $|x_j|\, s / 2$.
#
# One scale for the whole tensor (*per tensor*) is cheap; one for each output row (*per channel*) follows the rows.
#
# **Task.** Write four functions. Tensors have any memory layout, and every axis has a length of 1 or more. `w` is float32 with two to
# four axes. Its weights are finite and up to a million in size; they may all be 0, and a range may be as narrow as 1e-9. `bits` goes from
# 2 to 8. (Where 0 lies halfway between two codes, either is right as zero point.)
#
# `affine_params(w, bits, axis=None)` returns `(scale, zero_point)`. For the weights -1, 0.5 and 2 at 2 bits the range is 3 wide
# and has three steps, so the scale is 1. The lowest code, -2, stands for -1, so the code of 0, the zero point, is -1.
#
# - Both results have as many axes as `w`. With `axis=None` every axis has length 1; with an axis (0 or more) that one keeps its
#   length, and each of its indices has a range of its own. <!-- rule: axis -->
# - The range runs from the smallest to the largest weight, and contains 0. <!-- rule: range -->
# - The scale is the width of the range over the number of steps, $2^b - 1$. <!-- rule: steps -->
# - A range of width 0 (all weights are 0) gets the scale 1. A narrow range is not one of width 0. <!-- rule: zeros -->
# - The zero point is the code of 0: the lowest code, $-2^{b-1}$, minus the low end of the range in steps, rounded to the
#   nearest integer. <!-- rule: zero_point -->
#
# `quantize(w, scale, zero_point, bits)` returns the codes. `scale` (1e-12 or more) and `zero_point` (a code) have as many axes as `w`
# and broadcast against it: one for all, one for each index of any axis, or one for each weight. They need not come from
# `affine_params` of this very `w`, so a weight can lie a billion billion steps outside the range.
#
# - It divides by the scale, rounds to the nearest as `torch.round` does (halves to even), and then adds the zero
#   point. <!-- rule: rounding -->
# - Weights outside the range get the end codes, $-2^{b-1}$ or $2^{b-1}-1$. <!-- rule: clamp -->
#
# `dequantize(q, scale, zero_point)` returns the weights that codes stand for; `scale` and `zero_point` broadcast against `q` as above.
#
# - These are `q - zero_point` times `scale`. `q` is int8, and `q - zero_point` can be as large as 255. <!-- rule: wide -->
#
# `output_bound(scale, x)` returns the largest possible error of each output of a linear layer, `(batch, out)`. `scale` is
# `(out, 1)`, as for a weight `(out, in)` with `axis=0`; `x` is float32 `(batch, in)`.
#
# - Entry `[i, j]` is the error of output `j` for row `i` of `x` in the worst case: each weight of the row off by half a
#   step. <!-- rule: bound -->
#
# And for all four:
#
# - Codes are int8, zero points int32, everything else is float32. <!-- rule: dtypes -->
# - The arguments stay as they were. <!-- rule: unchanged -->


# %% exercise="affine" minutes=30 difficulty=1
def affine_params(w, bits, axis=None):
    """Scale (float32) and zero point (int32), broadcastable against `w`."""
    ### BEGIN SOLUTION
    others = [d for d in range(w.ndim) if d != axis]
    low = w.amin(others, keepdim=True).clamp(max=0)
    high = w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    zero_point = (-low / scale).round() - 2 ** (bits - 1)
    return scale, zero_point.to(torch.int32)
    ### END SOLUTION


def quantize(w, scale, zero_point, bits):
    """Codes of `w`, int8, of the same shape."""
    ### BEGIN SOLUTION
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)
    ### END SOLUTION


def dequantize(q, scale, zero_point):
    """The float32 weights that the codes stand for."""
    ### BEGIN SOLUTION
    return (q.int() - zero_point) * scale
    ### END SOLUTION


def output_bound(scale, x):
    """For each output of a linear layer the largest possible error, float32 (batch, out)."""
    ### BEGIN SOLUTION
    return x.abs().sum(1, keepdim=True) * scale.T / 2
    ### END SOLUTION


# %% tests="affine" points=3
def params_by_definition(w, bits, axis=None, less=1):
    """One range after the other, with Python's floats (float64)."""
    found = []
    for part in [w] if axis is None else w.unbind(axis):
        low, high = min(part.min().item(), 0.0), max(part.max().item(), 0.0)
        scale = (high - low) / (2**bits - less) or 1.0
        found.append((scale, round(-low / scale) - 2 ** (bits - 1)))
    shape = [n if d == axis else 1 for d, n in enumerate(w.shape)]
    scales, zero_points = zip(*found)
    return torch.tensor(scales).view(shape), torch.tensor(zero_points, dtype=torch.int32).view(shape)


def zero_is_clear(w, bits, axis=None):
    """In no range 0 lies close to the middle between two codes."""
    low = w.amin([d for d in range(w.ndim) if d != axis], keepdim=True).clamp(max=0)
    steps = -low.double() / params_by_definition(w, bits, axis)[0]
    return ((steps % 1 - 0.5).abs() > 1e-3).all()


def without_zero(w, bits, axis=None):
    """The range ends at the weights, wherever 0 is."""
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True), w.amax(others, keepdim=True)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def one_where_small(w, bits, axis=None):
    scale, zero_point = params_by_definition(w, bits, axis)
    return torch.where(scale < 1e-6, 1, scale), torch.where(scale < 1e-6, -(2 ** (bits - 1)), zero_point).int()


def check_params():
    hint = "the width of the range, with 0 in it, over 2**bits - 1 steps (1 where it is 0); the lowest code minus low / scale, rounded"
    causes = {
        "the scale is 1 only where the width is 0, not where it is small": one_where_small,
        "the range must contain 0": without_zero,
        "2**bits codes have one gap less between them": lambda w, bits, axis=None: params_by_definition(w, bits, axis, less=0),
        "codes are signed: the lowest is -2**(bits - 1)": lambda w, bits, axis=None: (
            params_by_definition(w, bits, axis)[0],
            params_by_definition(w, bits, axis)[1] + 2 ** (bits - 1),
        ),
    }
    for axes, larger in ((("a", "b"), 300), (("a", "b", "c"), 20), (("a", "b", "c", "d"), 6)):
        domain = {
            "w": cases.tensor(*axes, dtypes=("float32",), scale=(1e-6, 1e6)),
            "bits": cases.integer(2, 8),
            "axis": cases.choice(None, *range(len(axes))),
        }
        drawn = cases.draw(seeds, domain, a=(1, 70 if larger > 70 else larger), **{name: (1, larger) for name in axes[1:]})
        clear = (case for case in drawn if zero_is_clear(*case))
        check.agrees(affine_params, params_by_definition, clear, "`affine_params`", hint, causes=causes, floor="value")
    w = torch.tensor([[-1.0, 0.5], [2.0, 0.0], [0.0, 0.0], [1e-9, -3e-10]])
    check.equal(affine_params(w, 2), params_by_definition(w, 2), "`affine_params` without `axis`", hint)
    for axis, words, given in ((0, "rows", w), (1, "columns", w.T.contiguous())):
        what, causes = f"`affine_params` by {words} of {given.tolist()}", {"the range must contain 0": without_zero(given, 8, axis)}
        check.equal(affine_params(given, 8, axis), params_by_definition(given, 8, axis), what, hint, causes=causes, floor="value")


def laid_along(seed):
    """Steps and codes of any shape, square ones too, with scale and zero point along each axis, for all, or for each weight."""
    generator = torch.Generator().manual_seed(seed)
    for shape in ((5, 5), (3, 7), (4, 4, 4), (2, 3, 5), (3, 3, 3, 3), (2, 1, 4, 3)):
        laid = [("one for all", [1] * len(shape)), ("one for each weight", list(shape))]
        laid += [(f"along axis {axis}", [n if d == axis else 1 for d, n in enumerate(shape)]) for axis in range(len(shape))]
        for words, along in laid:
            scale = 2.0 ** torch.randint(-9, 9, along, generator=generator)
            zero_point = torch.randint(-8, 8, along, generator=generator, dtype=torch.int32)
            codes = torch.randint(-8, 8, shape, generator=generator, dtype=torch.int8)
            between = 0.8 * torch.rand(shape, generator=generator) - 0.4
            yield f"{list(shape)}", f"{words}, {along}", scale, zero_point, codes, between


def codes_by_definition(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w.double() / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def fraction_cut_off(w, scale, zero_point, bits):
    """A cast in place of the rounding; the right codes where the two differ in halves alone, which other mistakes move too."""
    cut = (w / scale + zero_point).clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).to(torch.int8)
    codes = codes_by_definition(w, scale, zero_point, bits)
    return cut if ((cut != codes) & ((w / scale) % 1 != 0.5)).any() else codes


def zero_after_clamp(w, scale, zero_point, bits):
    """The zero point added last; the right codes where no clamp at all gives the same."""
    half = 2 ** (bits - 1)
    late = ((w / scale).round().clamp(-half, half - 1) + zero_point).to(torch.int8)
    never = ((w / scale).round() + zero_point).clamp(-128, 127).to(torch.int8)
    return late if (late != never).any() else codes_by_definition(w, scale, zero_point, bits)


def check_quantize():
    domain = {  # steps of a power of two: then no quotient is itself rounded
        "_steps": cases.tensor("rows", "columns", dtypes=("float32",), scale=(0.01, 300), also=("halves",)),
        "_power": cases.tensor("rows", 1, dtypes=("int64",), low=-20, high=20),
        "_zero": cases.tensor("rows", 1, dtypes=("int32",), low=-128, high=127),
        "_bits": cases.integer(2, 8),
        "w": cases.derived(lambda _steps, _power, **_: _steps * 2.0**_power, "whole and half steps and numbers between"),
        "scale": cases.derived(lambda _power, **_: 2.0**_power, "a power of two for each row"),
        "zero_point": cases.derived(lambda _zero, _bits, **_: _zero >> (8 - _bits), "a code for each row"),
        "bits": cases.derived(lambda _bits, **_: _bits, "one of 2 to 8"),
    }
    hint = "divide, round to the nearest (halves as torch.round does: to even), add the zero point, then clamp"
    causes = {
        "the zero point is added before the clamp, which is the last step": zero_after_clamp,
        "a cast to int8 cuts the fraction off": fraction_cut_off,
        "a weight can lie more steps away than int32 can count": lambda w, scale, zero_point, bits: (
            ((w / scale).round().int() + zero_point).clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).to(torch.int8)
        ),
    }
    def drawn():
        yield from cases.draw(seeds, domain, rows=(1, 70), columns=(1, 300))
        for seed in seeds:
            for shape, along, scale, zero_point, codes, between in laid_along(seed):
                w = (2 * codes + between) * scale
                words = {"w": f"float32 {shape}", "scale and zero point": along}
                yield cases.Case({"w": w, "scale": scale, "zero_point": zero_point, "bits": 4}, words)
        w = torch.tensor([[1e6, -1e6, 3.0, -3e-3, 0.0]])
        for step, zero, bits in ((4e-12, 5, 8), (1e-12, -128, 8), (1e-6, 1, 2)):
            scale, zero_point = torch.tensor([[step]]), torch.tensor([[zero]], dtype=torch.int32)
            words = {"w": str(w.tolist()), "scale": str(step), "zero_point": str(zero), "bits": str(bits)}
            yield cases.Case({"w": w, "scale": scale, "zero_point": zero_point, "bits": bits}, words)

    check.agrees(quantize, codes_by_definition, drawn(), "`quantize`", hint, causes=causes)
    for scale in (torch.tensor([0.3]).view(1, 1, 1), torch.tensor([0.3, 0.7, 1.1]).view(1, 3, 1)):
        w = scale * torch.tensor([-200, -6.3, -1.2, 0, 0.4, 2.3, 300]).view(7, 1, 1)
        zero_point = torch.tensor(2, dtype=torch.int32).expand(scale.shape).clone()
        what = f"`quantize` of a weight with three axes and a scale {tuple(scale.shape)}"
        check.equal(quantize(w, scale, zero_point, 4), codes_by_definition(w, scale, zero_point, 4), what, hint)


def weights_by_definition(q, scale, zero_point):
    return ((q.double() - zero_point) * scale).float()


def check_dequantize():
    domain = {
        "q": cases.tensor("rows", "columns", dtypes=("int8",), low=-128, high=127, also=("ends",)),
        "scale": cases.tensor("rows", 1, dtypes=("float32",), low=1e-9, high=1e4),
        "zero_point": cases.tensor("rows", 1, dtypes=("int32",), low=-128, high=127, also=("ends",)),
    }
    hint = "subtract the zero point first, in a type wider than int8 (127 + 128 = 255), then multiply"

    def drawn():
        yield from cases.draw(seeds, domain, rows=(1, 70), columns=(1, 300))
        for seed in seeds:
            for shape, along, scale, zero_point, codes, _ in laid_along(seed):
                yield cases.Case({"q": codes, "scale": scale, "zero_point": zero_point}, {"q": f"int8 {shape}", "scale and zero point": along})

    check.agrees(dequantize, weights_by_definition, drawn(), "`dequantize`", hint, floor="value")


def bound_by_definition(scale, x):
    """Each weight is off by half a step, in the direction that its input makes worst."""
    return torch.stack([(x.double().abs() * step / 2).sum(1) for step in scale.flatten()], 1).float()


def check_bound():
    domain = {
        "scale": cases.tensor("out", 1, dtypes=("float32",), low=1e-9, high=1e4),
        "x": cases.tensor("batch", "in", dtypes=("float32",), scale=(1e-4, 1e4)),
    }
    hint = "half a step of that row times the sum of the absolute inputs: signs must not cancel, a bound is for the worst case"
    causes = {
        "positive and negative inputs cancel": lambda scale, x: (x.sum(1, keepdim=True) * scale.T / 2).abs(),
        "a weight is off by half a step, not by a whole one": lambda scale, x: 2 * bound_by_definition(scale, x),
    }
    drawn = cases.draw(seeds, domain, out=(1, 70), batch=(1, 40), **{"in": (1, 300)})
    check.agrees(output_bound, bound_by_definition, drawn, "`output_bound`", hint, causes=causes, floor="value")


with check.exercise("affine"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts(
        {
            "affine_params": check_params,
            "quantize": check_quantize,
            "dequantize": check_dequantize,
            "output_bound": check_bound,
        }
    )
check.points(3)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Draw the number line with the codes above it. Which weight must sit at the lowest code, which at the highest, and how
# many *gaps* are there between them? For `axis`: which axes disappear in the minimum?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `w.amin(axes, keepdim=True)` takes a list of axes; `.clamp(max=0)`; `torch.where(condition, a, b)`; `.round()`;
# `.to(torch.int8)` cuts off what does not fit without a word. `q.int()` is int32.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# others = [d for d in range(w.ndim) if d != axis]
# low = w.amin(others, keepdim=True).clamp(max=0)
# high = ...
# scale = (high - low) / ...                      # and 1 where that is 0
# zero_point = ...                                # lowest code - low / scale, rounded, int32
#
# ((w / scale).round() + ...).clamp(..., ...)     # quantize
# (q.int() - ...) * scale                         # dequantize
# x.abs().sum(1, keepdim=True) * ...              # output_bound: (batch, 1) times (1, out)
# ```
# </details>


# %% [markdown]
# #### Per tensor or per channel?
#
# Left: one layer of the model with its strongest row made ten times larger, as happens in large models. With one scale for the
# tensor, the large row dictates the step of all others. Right: all layers of the model as they are, error against
# bits. Each bit halves the step, and with it the error.

# %%
layer = language_model.get_submodule("model.layers.1.mlp.up_proj").weight.detach()
outlier = layer.clone()
outlier[layer.abs().amax(1).argmax()] *= 10
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.4), layout="constrained")
for axis, label in ((None, "per tensor"), (0, "per channel")):
    scale, zero_point = affine_params(outlier, 8, axis)
    error = dequantize(quantize(outlier, scale, zero_point, 8), scale, zero_point) - outlier
    left.plot(error.square().mean(1).sqrt(), ".", ms=4, label=label)
    inside = (error.abs() <= scale / 2 * (1 + 1e-3)).all().item()
    print(f"{label}: every error within half a step: {inside}")
left.set(xlabel="output row", ylabel="RMS error of the weights", yscale="log", title="8 bits, one row ten times larger")
left.legend()
for axis, label in ((None, "per tensor"), (0, "per channel")):
    shares = []
    for bits in range(2, 9):
        wrong, whole = 0.0, 0.0
        for name in linear_names:
            w = language_model.get_submodule(name).weight.detach()
            scale, zero_point = affine_params(w, bits, axis)
            wrong += (dequantize(quantize(w, scale, zero_point, bits), scale, zero_point) - w).square().sum().item()
            whole += w.square().sum().item()
        shares.append(math.sqrt(wrong / whole))
    right.plot(range(2, 9), shares, "o-", label=label)
right.set(xlabel="bits a weight", ylabel="RMS error / RMS weight", yscale="log", title="all linear layers of the model")
right.legend()
plt.show()

# %% [markdown]
# The bound is for the worst case. Errors of many weights have different signs and mostly cancel, so the true error of
# an output is far below it:

# %%
scale, zero_point = affine_params(layer, 8, 0)
rounded = dequantize(quantize(layer, scale, zero_point, 8), scale, zero_point)
inputs = torch.randn(100, layer.shape[1], generator=torch.Generator().manual_seed(0))
ratio = (inputs @ (rounded - layer).T).abs() / output_bound(scale, inputs)
print(f"true error / bound: median {ratio.median():.3f}, largest {ratio.max():.3f}")

# %% [markdown]
# ### 2 · An int8 layer (4 points, 30 minutes, difficulty 2 of 3)
#
# Weights of a trained layer are nearly symmetric around 0, so most weight-only formats drop the zero point:
# $s = \max|w| / 127$ for each row, codes from -127 to 127. The scale belongs to an output, so it can be applied *after*
# the matrix product, once per output instead of once per weight.
#
# **Task.** A class and two functions.
#
# `Int8Linear(linear)` is an `nn.Module` made from an `nn.Linear` with weight `(out, in)`, with or without bias. Weight, bias and
# inputs are all float32, or all bfloat16 (as on a bigger machine). Both lengths are 1 or more; the largest weight
# of a row is 0 or between 1e-6 and 1e6 in size, so rows may differ by many orders of magnitude.
#
# - The scale of a row is its largest absolute weight / 127. It is worked out in float32. <!-- rule: scale -->
# - A row of zeros has the scale 1. <!-- rule: zeros -->
# - The codes are the row over its scale, rounded to the nearest. (Halfway between two codes either is
#   right.) <!-- rule: codes -->
# - The codes are a buffer `weight` (int8, `(out, in)`) and the scales a buffer `scale` (float32, `(out,)`), so that they are
#   saved and moved with the module. <!-- rule: buffers -->
# - `bias` is the layer's own parameter, the very object, or `None`. <!-- rule: bias -->
# - Nothing else of the layer stays: when the caller drops it, the float weight is freed. So the module holds neither the layer
#   nor a copy of the weight (not after `forward` either), and no autograd graph hangs on `scale`. <!-- rule: freed -->
# - The given layer is not changed: what is frozen stays frozen. <!-- rule: layer_unchanged -->
# - The module has the training flag of the given layer. <!-- rule: mode -->
#
# `forward(x)` takes `x` of shape `(..., in)`, with no, one or several axes (of length 1 or more) before the last, of any memory layout.
#
# - It returns what `F.linear` gives with the rounded weight and the bias, in the dtype of `x`. <!-- rule: forward -->
# - Gradients flow to `x` and to the bias, in eval mode too, as LoRA on top of it would need; to each of them also where the
#   other requires none. <!-- rule: gradients -->
# - It goes by the buffers as they are at the call: `load_state_dict` may have filled them anew, or (`assign=True`) put others in
#   their place. <!-- rule: anew -->
#
# `quantize_linears(model, skip=())`. No layer stands at two places of `model`, `model` is not itself an `nn.Linear`, and no layer is of
# a subclass of `nn.Linear`. `skip` is a tuple, list or set of names.
#
# - It replaces every `nn.Linear` of `model`, at any depth, by an `Int8Linear` made from it, in place. All else stays: the weight
#   of a layer may be that of an embedding, too. <!-- rule: depth -->
# - It leaves those alone whose **full** name (as in `model.named_modules()`) is in `skip`. <!-- rule: skip -->
# - It returns the list of the names replaced, in the order of `named_modules()`. <!-- rule: names -->
#
# `stored_bytes(model)` returns an `int`.
#
# - It counts the bytes of all parameters and buffers, by their dtypes. <!-- rule: bytes -->
# - Buffers that a `state_dict` leaves out (`persistent=False`) count too. <!-- rule: unsaved -->
# - A parameter that two modules share counts once. <!-- rule: once -->


# %% [markdown]
# (The next cell only helps the tests: it makes layers, moves weights away from the middle between two codes, where either
# code would be right, and makes rows as large as a task says that they are.)


# %%
def linear_of(weight, bias=None):
    """An `nn.Linear` with these parameters, in their dtype."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer


def off_the_middle(w, scale):
    """`w` with every weight at least 0.02 steps away from the middle between two multiples of `scale`, in the dtype of `w`.

    The largest weights stay, and so do their scales.
    """
    steps = w.double() / scale
    close = ((steps % 1 - 0.5).abs() < 0.02) & (w.abs() < w.flatten(1).abs().amax(1).view(-1, *[1] * (w.ndim - 1)))
    return torch.where(close, (steps - 0.04 * steps.sign()) * scale, w.double()).to(w.dtype)


def no_row_below(w, least):
    """`w` with the rows (indices of axis 0) whose largest weight is below `least`, but not 0, made that large, in the dtype of `w`."""
    peaks = w.double().abs().flatten(1).amax(1).view(-1, *[1] * (w.ndim - 1))
    return torch.where((peaks > 0) & (peaks < least), w.double() * (1.01 * least / peaks), w.double()).to(w.dtype)


# %% exercise="int8_model" minutes=30 difficulty=2
class Int8Linear(nn.Module):
    """A linear layer whose weight is stored as int8 codes with one scale for each output."""

    def __init__(self, linear):
        super().__init__()
        ### BEGIN SOLUTION
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.train(linear.training)
        ### END SOLUTION

    def forward(self, x):
        """(..., in) -> (..., out), in the dtype of `x`."""
        ### BEGIN SOLUTION
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias
        ### END SOLUTION


def quantize_linears(model, skip=()):
    """Replace the linear layers of `model` in place; returns their names."""
    ### BEGIN SOLUTION
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names
    ### END SOLUTION


def stored_bytes(model):
    """Bytes of all parameters and buffers of `model`, shared ones once."""
    ### BEGIN SOLUTION
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    ### END SOLUTION


# %% tests="int8_model" points=4
@check.shared
def large_floats(thing, least, depth=5):
    """How many float tensors (or arrays) of at least so many numbers there are in a module's attributes, lists and dicts."""
    if isinstance(thing, np.ndarray):
        return int(thing.size >= least)
    if isinstance(thing, torch.Tensor):
        return int(thing.is_floating_point() and thing.numel() >= least)
    inside = vars(thing) if isinstance(thing, nn.Module) else thing
    inside = inside.values() if isinstance(inside, dict) else inside if isinstance(inside, (list, tuple)) else ()
    return sum(large_floats(part, least, depth - 1) for part in inside) if depth else 0


@check.scenario
def look_at_int8(weight, bias, x, training, frozen):
    """What an Int8Linear holds, and what becomes of the layer that it was made from."""
    import gc
    import weakref

    layer = linear_of(weight, bias).train(training).requires_grad_(not frozen)
    own_bias, gone = layer.bias, weakref.ref(layer.weight)
    packed = Int8Linear(layer)
    buffers = dict(packed.named_buffers())
    seen = {
        "buffers": {name: buffer.detach().clone() for name, buffer in buffers.items()},
        "saved": sorted(packed.state_dict()),
        "parameters": sorted(name for name, _ in packed.named_parameters()),
        "own bias": packed.bias is own_bias,
        "graph": any(buffer.requires_grad for buffer in buffers.values()),
        "training": packed.training,
        "layer": {name: p.detach().clone() for name, p in layer.named_parameters()},
        "layer's flags": [layer.training, *(p.requires_grad for p in layer.parameters()), *(p.grad is None for p in layer.parameters())],
    }
    least = max(weight.numel(), len(weight) + 1)  # a weight of one column is no larger than scale and bias
    seen["float copies"] = large_floats(packed, least)
    packed(x)
    seen["float copies after forward"] = large_floats(packed, least)
    del layer, buffers
    if gone() is not None:
        gc.collect()
    seen["freed"] = gone() is None
    return seen


@check.scenario
def run_int8(weight, bias, x, pull, training):
    """Output, the gradients of x and of the bias, the output with the codes of another layer (columns the other way round,
    doubled) filled in, and the output with the first codes put in their place; the gradients of the bias where x requires
    none, and of x where the bias requires none."""
    packed, x = Int8Linear(linear_of(weight, bias).train(training)), x.clone().requires_grad_()
    y = packed(x)
    if y.shape != pull.shape:
        return y.detach(), [], None, None, []
    wanted = [x] if bias is None else [x, packed.bias]
    open_way = y.requires_grad and all(isinstance(t, torch.Tensor) and t.requires_grad for t in wanted)
    slopes = torch.autograd.grad(y, wanted, pull, allow_unused=True) if open_way else [None] * len(wanted)
    alone = []
    if open_way and bias is not None:
        for frozen, given, other in ((False, x.detach(), packed.bias), (True, x, x)):
            packed.bias.requires_grad_(not frozen)
            y_now = packed(given)
            alone.append(torch.autograd.grad(y_now, other, pull, allow_unused=True)[0] if y_now.requires_grad else None)
        packed.bias.requires_grad_()
    packed.load_state_dict(Int8Linear(linear_of(2 * weight.flip(1), bias)).state_dict(), strict=False)
    filled = packed(x).detach()
    packed.load_state_dict(Int8Linear(linear_of(weight, bias)).state_dict(), strict=False, assign=True)
    return y.detach(), list(slopes), filled, packed(x).detach(), alone


def codes_and_scale(weight):
    """By the definition, row by row, in float64."""
    peaks = [max(map(abs, row)) for row in weight.tolist()]
    scale = torch.tensor([peak / 127 or 1.0 for peak in peaks], dtype=torch.float64)
    return (weight.double() / scale[:, None]).round().to(torch.int8), scale.float()


def int8_cases():
    """Weights (none close to the middle between two codes), biases or None, inputs: from small to large."""
    domain = {
        "weight": cases.tensor("out", "in", dtypes=("float32", "bfloat16"), scale=(1e-6, 1e6), layouts=("contiguous",)),
        "bias": cases.tensor("out", dtypes=("float32",), layouts=("contiguous",)),
        "x": cases.tensor("rows", "in", dtypes=("float32",)),
        "with bias": cases.choice(True, False),
    }
    for seed in seeds:
        for case in cases.draw(seed, domain, out=(1, 70), rows=(1, 5), **{"in": (1, 300)}):
            weight, bias, x, with_bias = case
            weight = no_row_below(weight, 1e-6)
            peaks = weight.double().abs().amax(1, keepdim=True) / 127
            weight = off_the_middle(weight, torch.where(peaks > 0, peaks, 1)) if weight.dtype == torch.float32 else weight
            what = f"a layer with weight {case.words['weight']}, {'with' if with_bias else 'without'} bias"
            yield what, weight, bias.to(weight.dtype) if with_bias else None, x.to(weight.dtype)


def check_int8_state():
    for number, (what, weight, bias, x) in enumerate(int8_cases()):
        training, frozen = number % 2 == 0, number % 3 == 2
        codes, scale = codes_and_scale(weight)
        seen = look_at_int8(weight, bias, x, training, frozen)
        what = f"Int8Linear of {what}"
        hint = "`weight` and `scale` must be buffers (register_buffer), and nothing else may be stored"
        check.equal(sorted(seen["buffers"]), ["scale", "weight"], f"the buffers of {what}", hint)
        hint = "the row's largest absolute weight / 127, in float32; 1 for a row of zeros, for no other"
        check.equal(seen["buffers"]["scale"], scale, f"the scales of {what}", hint, floor="value", atol=0, rtol=1e-5)
        observed = seen["buffers"]["weight"]
        check.shape(observed, codes.shape, f"the codes of {what}")
        check.equal(observed.dtype, torch.int8, f"the dtype of the codes of {what}", "whole numbers in floats take four times the bytes")
        close = ((weight.double() / scale[:, None].double()) % 1 - 0.5).abs() < 1e-3  # bfloat16 has weights right in the middle
        codes = torch.where(close & ((observed.int() - codes.int()).abs() == 1), observed, codes)
        check.equal(observed, codes, f"the codes of {what}", "the row over its scale, rounded to the nearest, int8")
        names = ["bias", "scale", "weight"] if bias is not None else ["scale", "weight"]
        hint = "codes, scales and the bias of a layer that has one: no float copy of the weight may stay in the module"
        check.equal(seen["saved"], names, f"what {what} stores", hint)
        hint = "codes are buffers; the bias stays a parameter"
        check.equal(seen["parameters"], ["bias"] if bias is not None else [], f"the parameters of {what}", hint)
        check.true(
            seen["own bias"],
            f"{what}: `bias` is not the layer's own parameter but something else, perhaps a copy: an optimizer would keep the old one.",
        )
        check.true(
            not seen["graph"],
            f"{what}: a buffer requires gradients, so a graph hangs on it and keeps the float weight alive. Detach the weight first.",
        )
        check.true(
            seen["freed"] and not seen["float copies"],
            f"{what}: the float weight is still in memory after the layer was dropped (or a copy of it is): the module must keep neither.",
        )
        check.true(
            not seen["float copies after forward"],
            f"{what}: forward keeps floats, as many as the weight has, in the module: that is four times the memory of the codes.",
        )
        check.equal(seen["training"], training, f"the training flag of {what}", "that of the given layer, as `train(mode)` sets it")
        hint = "the given layer must not be changed"
        wanted = {"weight": weight} | ({} if bias is None else {"bias": bias})
        check.equal(seen["layer"], wanted, f"the layer's parameters after {what}", hint, rtol=0, atol=0)
        flags = [training] + [not frozen] * len(seen["layer"]) + [True] * len(seen["layer"])
        check.equal(seen["layer's flags"], flags, f"training flag, requires_grad and empty .grad of the layer after {what}", hint)


def check_int8_forward():
    for number, (what, weight, bias, rows) in enumerate(int8_cases()):
        training = number % 2 == 0
        codes, scale = codes_and_scale(weight)
        rounded = codes.double() * scale[:, None].double()
        several = torch.stack([rows, 2 * rows.flip(0)], 1).transpose(0, 1)[:, :, None]  # axes that no view can flatten
        for x in (rows, rows[0], several):
            pull = torch.ones(*x.shape[:-1], len(weight), dtype=x.dtype)
            y, slopes, filled, assigned, alone = run_int8(weight, bias, x, pull, training)
            own, others = (F.linear(inputs, rounded, None if bias is None else bias.double()) for inputs in (x.double(), 2 * x.double().flip(-1)))
            share = 0.02 if weight.dtype == torch.bfloat16 else 1e-5  # rounding errors grow with what is added up, not with the sum
            largest = (x.double().abs() @ rounded.abs().T).max() + (0 if bias is None else bias.double().abs().max())
            limit = {"rtol": share, "atol": share * largest.item()}
            said = f"the output for x {list(x.shape)} of {what}"
            hint = "codes times the scale of their output, nothing else is rounded; the bias is added after the scale"
            check.equal(y, own.to(x.dtype), said, hint, **limit)
            hint = "the path from x (and the bias) to the output must stay in the graph"
            mode = "training" if training else "eval"
            check.true(all(slope is not None for slope in slopes), f"No gradient comes through {what}, in {mode} mode, to x or the bias: {hint}.")
            hint = "x gets the incoming gradient times codes and scale, the bias gets it as it is"
            wanted = [rounded.sum(0).expand(x.shape).to(x.dtype)]
            wanted += [] if bias is None else [pull.reshape(-1, len(weight)).sum(0)]
            near = {"rtol": 0.03 if x.dtype == torch.bfloat16 else 1e-4}
            check.equal(slopes, wanted, f"the gradients of x and bias through {what}", hint, **near)
            if bias is not None:
                for slope, right, one, other in zip(alone, wanted[::-1], ("the bias", "x"), ("x", "the bias")):
                    check.true(slope is not None, f"No gradient comes through {what}, in {mode} mode, to {one} where {other} requires none: each has a way of its own.")
                    check.equal(slope, right, f"the gradient of {one} through {what}, where {other} requires none,", hint, **near)
            hint = "forward goes by the buffers as they are now, not by what it kept from a call before"
            limit["atol"] *= 2
            check.equal(filled, others.to(x.dtype), f"{said}, after `load_state_dict` with the codes of another layer,", hint, **limit)
            what_now = f"{said}, after `load_state_dict(..., assign=True)` put other buffers in the place of the old ones,"
            check.equal(assigned, own.to(x.dtype), what_now, hint, **limit)


@check.shared
def shared_model(seed, dtype=torch.float32):
    """A tied output layer, nested blocks in different modes, and buffers, one of which is not saved (like RoPE's tables)."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Module()
    model.embedding = nn.Embedding(9, 6)
    model.block = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.ModuleDict({"deep": nn.Linear(8, 6, bias=False)}))
    model.norm = nn.BatchNorm1d(6)
    model.outer = nn.Linear(6, 5)
    model.head = nn.Linear(6, 9, bias=False)
    model.head.weight = model.embedding.weight
    model.register_buffer("mask", torch.ones(3), persistent=False)
    model.stack = nn.ModuleList([nn.ModuleList([nn.Linear(2, 3)]), nn.Linear(1, 1)])
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    model.block.eval()
    model.norm.weight.requires_grad_(False)
    model.head.weight.requires_grad_(False)
    return model.to(dtype)


@check.scenario
def replace_linears(seed, skip):
    """Names returned, names and kinds of the layers afterwards, training flags, weights from which they were made, and the rest.

    While it runs, Int8Linear only notes what it was made from, so that nothing depends on the student's own.
    """

    class Int8Noted(nn.Module):
        def __init__(self, linear):
            super().__init__()
            self.weight, self.scale = linear.weight.detach().clone(), torch.ones(len(linear.weight))
            self.train(linear.training)

    model, own = shared_model(seed), Int8Linear
    with check.swapped(Int8Linear=Int8Noted):
        names = quantize_linears(model) if skip is None else quantize_linears(model, skip)
    modules = dict(model.named_modules())
    changed = [name for name, module in modules.items() if type(module) in (Int8Noted, own)]
    return (
        names,
        changed,
        [name for name, module in modules.items() if isinstance(module, nn.Linear)],
        {name: module.training for name, module in modules.items()},
        {name: modules[name].weight.float() * modules[name].scale[:, None] for name in changed},
        {name: p.requires_grad for name, p in model.named_parameters() if name.rpartition(".")[0] not in changed},
        {name: p.detach().clone() for name, p in model.named_parameters() if name.rpartition(".")[0] not in changed},
    )


def check_replacing():
    everything = ["block.0", "block.2.deep", "outer", "head", "stack.0.0", "stack.1"]
    for seed in seeds:
        model = shared_model(seed)
        for skip in (None, ("head",), ["deep", "head", "block", "0"], {"block.2.deep", "head", "stack.0.0"}, tuple(everything)):
            wanted = [name for name in everything if name not in (skip or ())]
            names, changed, left, flags, weights, rest, values = replace_linears(seed, skip)
            said, hint = f"with skip={skip}", "full names, at any depth, in the order of named_modules()"
            check.equal(names, wanted, f"the names replaced {said}", hint)
            check.equal(changed, wanted, f"the layers that are Int8Linear {said}", "the model is changed in place")
            check.equal(left, [n for n in everything if n not in wanted], f"the layers that stay nn.Linear {said}", hint)
            check.equal(flags, {n: m.training for n, m in model.named_modules()}, f"the training flags {said}", "all stay as they were")
            still = {n: p.requires_grad for n, p in model.named_parameters() if n.rpartition(".")[0] not in wanted}
            check.equal(rest, still, f"requires_grad of what is not replaced {said}", "it stays as it was")
            kept = {n: model.get_parameter(n).detach() for n in still}
            hint = "it stays as it was; a layer that is replaced may share its weight with the embedding"
            check.equal(values, kept, f"the parameters of what is not replaced {said}", hint, rtol=0, atol=0)
            for name in wanted:
                weight = model.get_submodule(name).weight.detach()
                error = (weights[name] - weight).abs() / weight.abs().amax(1, keepdim=True)
                what = f"the change of the weight {name} {said}, as a share of its row's largest"
                check.between(error.max().item(), 0, 0.6 / 127, what, "each layer must get its own weight, rounded")


@check.scenario
def count_bytes(kind, seed, dtype):
    """stored_bytes of a model of some kind."""
    if kind == "shared":
        return stored_bytes(shared_model(seed, dtype))
    layer = nn.Linear(3, 5).to(dtype)
    if kind == "equal":
        return stored_bytes(nn.ModuleList([layer, copy.deepcopy(layer)]))
    if kind == "nothing":
        return stored_bytes(nn.ReLU())
    if kind == "codes":
        layer.register_buffer("codes", torch.zeros(7, dtype=torch.int8))
        layer.weight.requires_grad_(False)
    return stored_bytes(nn.Sequential(layer, layer) if kind == "twice" else layer)


def check_bytes():
    floats = 9 * 6 + (8 * 6 + 8) + 6 * 8 + (6 + 6) + (6 + 6) + (5 * 6 + 5) + 3 + (2 * 3 + 3) + 2
    hint = "nbytes of parameters and buffers, those too that a state_dict leaves out; the tied matrix counts once"
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        size, name = dtype.itemsize, str(dtype).removeprefix("torch.")
        for kind, what, wanted in (
            ("plain", "a layer", 20 * size),
            ("twice", "a layer at two places", 20 * size),
            ("equal", "two layers with equal weights", 40 * size),
            ("codes", "a layer with int8 codes", 20 * size + 7),
            ("shared", "a small model", floats * size + 8),
            ("nothing", "a module without parameters", 0),
        ):
            found = count_bytes(kind, 0, dtype)
            check.kind(found, int, f"what stored_bytes gives for {what} in {name}")
            check.equal(found, wanted, f"the bytes of {what} in {name}", hint)


with check.exercise("int8_model"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts(
        {
            "Int8Linear's state": check_int8_state,
            "Int8Linear's forward": check_int8_forward,
            "quantize_linears": check_replacing,
            "stored_bytes": check_bytes,
        }
    )
check.points(4)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Write the product with the scale as a sum: which factor does not depend on the index that is summed over? And while you
# walk through the modules of a model, do not change what you walk through.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `self.register_buffer(name, tensor)`, `.detach()`, `.float()`, `self.train(mode)`, `F.linear`, `weight.abs().amax(1)`; `model.named_modules()`,
# `model.get_submodule(name)`, `model.set_submodule(name, module)`; `model.parameters()` gives a shared parameter once;
# `tensor.nbytes`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# scale = weight.abs().amax(1) / 127
# ...                                              # rows of zeros: 1
# self.register_buffer("weight", (weight / scale[:, None])...)
#
# y = F.linear(x, self.weight.to(x.dtype)) * ...   # forward
#
# names = [name for name, module in model.named_modules() if ...]
# for name in names:
#     model.set_submodule(name, ...)
#
# sum(tensor.nbytes for tensor in [*model.parameters(), ...])
# ```
# </details>


# %% [markdown]
# #### Your layer and torchao's
#
# `quantize_` of torchao does the same to a model in one call: it replaces each weight by a tensor subclass that holds
# codes and scales. The two differ in one detail: torchao divides the largest absolute weight by 127.5 and uses the code
# -128 too.

# %%


def linear_but_head(module, name):
    """Which modules torchao is to quantize."""
    return isinstance(module, nn.Linear) and name != "lm_head"


results = {}  # name: (bytes, perplexity)
results["float32"] = (stored_bytes(language_model), base_perplexity)

by_hand = copy.deepcopy(language_model)
quantize_linears(by_hand, skip=("lm_head",))
results["int8 by hand"] = (stored_bytes(by_hand), perplexity(by_hand))


def packed_bytes(model, bits):
    """Bytes of a torchao model when `bits` bits a code are really packed: codes, scales and zero points."""
    total = 0
    for p in model.parameters():
        if hasattr(p, "qdata"):
            others = [getattr(p, n) for n in ("scale", "zero_point") if isinstance(getattr(p, n, None), torch.Tensor)]
            others = [t for t in others if t.dtype != torch.int8 or t.any()]  # zero points that are all 0 need not be stored
            total += p.qdata.numel() * bits // 8 + sum(t.nbytes for t in others)
        else:
            total += p.nbytes
    return total + sum(b.nbytes for b in model.buffers())


for label, config, bits in (
    ("torchao int8", Int8WeightOnlyConfig(), 8),
    ("torchao int8, activations too", Int8DynamicActivationInt8WeightConfig(), 8),
):
    model = copy.deepcopy(language_model)
    quantize_(model, config, filter_fn=linear_but_head)
    results[label] = (packed_bytes(model, bits), perplexity(model))

int8_worse = worse_by(window_losses(by_hand))
up = by_hand.get_submodule("model.layers.1.mlp.up_proj")
print("codes of row 0, by hand:", up.weight[0, :8].tolist())
print("codes of row 0, torchao:", model.get_submodule("model.layers.1.mlp.up_proj").weight.qdata[0, :8].tolist())
for label, (size, value) in results.items():
    print(f"{label:30} {size / 1e6:6.3f} MB   perplexity {value:.3f}   {value / base_perplexity - 1:+.2%}")
print(f"int8 by hand is worse by {int8_worse[0]:+.2f} % ± {int8_worse[1]:.2f}")

# %%
linear_ratio = 4 * in_linears / sum(m.weight.nbytes + m.scale.nbytes for m in by_hand.modules() if isinstance(m, Int8Linear))
model_ratio = results["float32"][0] / results["int8 by hand"][0]
claims.record(
    "INT8 weights are 4 times smaller",
    claimed="4x",
    measured=f"linear layers {linear_ratio:.2f}x, whole model {model_ratio:.2f}x",
    holds=model_ratio > 3.8,
    how="bytes of codes and scales, against float32; the embedding stays in float32",
)
claims.record(
    "INT8 is less than 1 % worse",
    claimed="< 1 %",
    measured=f"perplexity {int8_worse[0]:+.2f} % ± {int8_worse[1]:.2f}",
    holds=sum(int8_worse) < 1,
    how="held-out Python reference, int8 weights with one scale a row; ± two standard errors over the windows",
)
print(
    f"Smaller: the linear layers {linear_ratio:.2f} times, the whole model {model_ratio:.2f} times, because "
    f"{1 - in_linears / everything:.0%} of its weights, the embedding, stay in float32."
)

# %% [markdown]
# Two thirds of the claim "INT8 is four times smaller, two to four times faster, and less than 1 % worse" are checked. In a large
# model the embedding has a smaller share, and the two ratios come closer. Speed has to wait for the end of the lesson.
#
# ### 3 · FP8: rounding to a tiny float (4 points, 35 minutes, difficulty 3 of 3)
#
# Recent GPUs multiply 8-bit *floats*. Equal steps suit weights; floats suit activations and gradients, whose sizes
# differ by factors of thousands. A float of $e$ exponent bits and $m$ mantissa bits has the bias $2^{e-1}-1$. Between
# $2^k$ and $2^{k+1}$ its numbers stand $2^{k-m}$ apart. The smallest $k$ is $1 - \text{bias}$; below that the step does
# not shrink any further (*subnormal* numbers), so that 0 is reached in equal steps.
#
# | format | sign, exponent, mantissa | largest number | used for |
# |---|---|---|---|
# | e4m3 (`torch.float8_e4m3fn`) | 1, 4, 3 | 448 (no infinity; one pattern is NaN) | weights, activations |
# | e5m2 (`torch.float8_e5m2`) | 1, 5, 2 | 57,344 (infinity and NaN as in IEEE) | gradients |
# | e2m1 ("FP4") | 1, 2, 1 | 6 | weights, in blocks of 16 or 32 that share a scale (NVFP4, MXFP4) |
#
# **Task.** Three functions for float32 tensors of any shape with at least one number, of any memory layout. All numbers are
# finite. A format has 2 to 5 exponent bits and 1 to 3 mantissa bits, with the sign at most 8. Which patterns stand for infinity or NaN differs from
# format to format, so the largest number is given.
#
# `round_float(x, exponent_bits, mantissa_bits, largest)`. For example, e2m1 has the numbers 0, 0.5, 1, 1.5, 2, 3, 4, 6: it rounds
# 2.6 to 3, 5 (halfway) to 4, 0.2 to 0 and -100 to -6.
#
# - Each number goes to the nearest number of the format. <!-- rule: nearest -->
# - Halfway between two it goes to the one with the even mantissa (in steps from 0: the even one, so `torch.round` on steps is
#   right). <!-- rule: even -->
# - Subnormal numbers are numbers of the format too. <!-- rule: subnormal -->
# - Beyond `largest` it saturates: ±`largest`. `x` may be as large as 1e38, or as small as 1e-38. <!-- rule: saturate -->
# - It rounds **once**: a number just above the middle goes up, be it by one part in a million. (By way of float16 it would first be
#   rounded to the middle, and then perhaps down.) <!-- rule: once -->
#
# `float_bits(x, exponent_bits, mantissa_bits)` returns the bit patterns, uint8, of numbers that *are* in the format (-0.0 is not
# given). In e2m1 the number -3 is $-1.1_2 \cdot 2^1$: sign 1, exponent 1 plus bias 1, mantissa 1, together `1 10 1`, that is 13.
#
# - From the top: sign, then the exponent plus the bias, then the mantissa without its leading 1. <!-- rule: pattern -->
# - The sign is 1 for negative numbers, and stands just above the exponent: bits above it are 0. <!-- rule: sign -->
# - Subnormal numbers and 0 have 0 in the exponent's place, and their mantissa counts steps. <!-- rule: subnormal_bits -->
#
# `float8_rows(w)` returns `(codes, scale)` for a weight `(out, in)`. Rows may be of very different size, from 1e-30 to 1e30.
#
# - `scale` is `(out, 1)`: the row's largest absolute weight over 448, so that it becomes 448. <!-- rule: row_scale -->
# - A row of zeros has the scale 1. A row of tiny weights is not a row of zeros. <!-- rule: zero_row -->
# - `codes` is `w / scale` as `torch.float8_e4m3fn`, rounded once. <!-- rule: codes -->
#
# And for all three:
#
# - Results have the shape of what was given (`scale` excepted), and where nothing else is said they are
#   float32. <!-- rule: dtypes -->
# - The arguments stay as they were. <!-- rule: unchanged -->


# %% [markdown]
# For the tests and the plot, all numbers of such a format, written out from their bit patterns:


# %%
def numbers_of(exponent_bits, mantissa_bits, largest):
    """All finite numbers of a format from 0 up, in the order of their bit patterns, by the definition."""
    bias = 2 ** (exponent_bits - 1) - 1
    numbers = []
    for pattern in range(2 ** (exponent_bits + mantissa_bits)):
        exponent, mantissa = divmod(pattern, 2**mantissa_bits)
        if exponent == 0:
            numbers.append(mantissa / 2**mantissa_bits * 2.0 ** (1 - bias))
        else:
            numbers.append((1 + mantissa / 2**mantissa_bits) * 2.0 ** (exponent - bias))
    return [n for n in numbers if n <= largest]


print("FP4 (e2m1) has these numbers and their negatives:", numbers_of(2, 1, 6.0))


# %% exercise="float8" minutes=35 difficulty=3
def round_float(x, exponent_bits, mantissa_bits, largest):
    """`x` rounded to a small float format, as float32."""
    ### BEGIN SOLUTION
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)
    ### END SOLUTION


def float_bits(x, exponent_bits, mantissa_bits):
    """Bit patterns of numbers that are in the format, as uint8."""
    ### BEGIN SOLUTION
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)  # 2**m and more, below that where subnormal: the 1 is added in front
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)
    ### END SOLUTION


def float8_rows(w):
    """Codes (float8_e4m3fn) and scale (float32, one a row) of a weight (out, in)."""
    ### BEGIN SOLUTION
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale
    ### END SOLUTION


# %% tests="float8" points=4
FORMATS = [(2, 1, 6.0), (3, 2, 28.0), (2, 3, 7.5), (4, 3, 448.0), (5, 2, 57344.0), (3, 1, 16.0), (5, 1, 49152.0), (4, 2, 448.0)]
FORMATS += [(4, 3, 240.0), (2, 2, 7.0), (3, 3, 30.0), (4, 1, 384.0)]


def round_by_table(x, exponent_bits, mantissa_bits, largest):
    """The nearest in the list of all numbers of the format; of two equally near ones the one with the even pattern."""
    table = torch.tensor(numbers_of(exponent_bits, mantissa_bits, largest), dtype=torch.float64)
    size = x.double().abs().clamp(max=largest).flatten()
    above = torch.searchsorted(table, size).clamp(max=len(table) - 1)
    below = (above - 1).clamp(min=0)
    up, down = table[above] - size, size - table[below]
    goes_up = (up < down) | ((up == down) & (above % 2 == 0))
    return (torch.where(goes_up, table[above], table[below]).view(x.shape) * x.sign()).float()


def numbers_to_round():
    """A case for each format: its numbers, the middles, what is a little off the middles, and the ends; then any shape and size."""
    for e, m, largest in FORMATS:
        table = torch.tensor(numbers_of(e, m, largest), dtype=torch.float64)
        middle = (table[1:] + table[:-1]) / 2
        parts = {"its own numbers": table, "the middles between two": middle}
        parts |= {f"{share:.5%} of the middles": share * middle for share in (0.8, 1.2, 1 - 1e-5, 1 + 1e-5, 1 - 5e-7, 1 + 5e-7)}
        parts["the ends"] = torch.tensor([1.02, 1.3, 2, 50, 1e38 / largest, 1e-30, 1e-38, 0.0], dtype=torch.float64)
        parts["the ends"][:5] *= largest
        for words, x in parts.items():
            for sign in (1, -1):
                arguments = {"x": (sign * x).float().view(1, -1, 1), "exponent_bits": e, "mantissa_bits": m, "largest": largest}
                yield cases.Case(arguments, {"x": f"{'-' * (sign < 0)}{words} in e{e}m{m}"})
    for axes in ((), ("a",), ("a", "b", "c")):
        domain = {
            "x": cases.tensor(*axes, dtypes=("float32",), scale=(1e-8, 1e8)),
            "format": cases.choice(*FORMATS[:5]),
        }
        for x, chosen in cases.draw(seeds, domain, a=(1, 300), b=(1, 5), c=(1, 7)):
            arguments = dict(zip(("x", "exponent_bits", "mantissa_bits", "largest"), (x, *chosen)))
            yield cases.Case(arguments, {"x": f"float32 {list(x.shape)}", "format": str(chosen)})


def steps_of(x, exponent_bits, mantissa_bits, lowest=None):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1) if lowest is None else lowest)
    return 2.0 ** (exponent - mantissa_bits)


def check_rounding():
    hint = "to the nearest, halfway to the even mantissa, beyond the largest number to it; below 2**(1 - bias) the step stays the same"
    causes = {
        "numbers below 2**(1 - bias) are in the format too: the subnormal ones": lambda x, e, m, largest: torch.where(
            x.abs() < 2.0 ** (2 - 2 ** (e - 1)), 0.0, round_by_table(x, e, m, largest)
        ),
        "below 2**(1 - bias) the step does not shrink any further": lambda x, e, m, largest: (
            (x / steps_of(x, e, m, -126)).round() * steps_of(x, e, m, -126)
        ).clamp(-largest, largest),
        "halves go to the even mantissa, not up": lambda x, e, m, largest: (
            x.sign() * (x.abs() / steps_of(x, e, m) + 0.5).floor() * steps_of(x, e, m)
        ).clamp(-largest, largest),
        "the number was rounded twice, by way of another format as float16 is one": lambda x, e, m, largest: round_by_table(
            x.clamp(-largest, largest).half().float(), e, m, largest
        ),
    }
    check.agrees(round_float, round_by_table, numbers_to_round(), "`round_float`", hint, causes=causes, rtol=0.0, atol=0.0)


def patterns_by_table(x, exponent_bits, mantissa_bits):
    table = torch.tensor(numbers_of(exponent_bits, mantissa_bits, math.inf), dtype=torch.float64)
    place = torch.searchsorted(table, x.double().abs().contiguous())
    return (place + (x < 0) * 2 ** (exponent_bits + mantissa_bits)).to(torch.uint8)


def check_patterns():
    def drawn():
        for e, m, largest in FORMATS:
            table = torch.tensor(numbers_of(e, m, largest))
            for words, x in (("the numbers from 0 up", table), ("the numbers below 0", -table[1:])):
                yield cases.Case({"x": x.view(-1, 1), "exponent_bits": e, "mantissa_bits": m}, {"x": f"{words} of e{e}m{m}"})
            for seed in seeds:
                generator = torch.Generator().manual_seed(seed)
                x = table[torch.randint(len(table), (5, 3), generator=generator)]
                x = torch.where((torch.rand(5, 3, generator=generator) < 0.5) & (x > 0), -x, x).T
                for what, some in ((f"numbers of e{e}m{m} in any order", x), (f"one number of e{e}m{m}", x[0, 0].clone())):
                    yield cases.Case({"x": some, "exponent_bits": e, "mantissa_bits": m}, {"x": what})

    hint = "from 0 up they count up by one: exponent plus bias above the mantissa, the mantissa without its leading 1, the sign on top"
    causes = {
        "the mantissa is stored without its leading 1": lambda x, e, m: (
            patterns_by_table(x, e, m).int() + 2**m * (x.abs() >= 2.0 ** (2 - 2 ** (e - 1)))
        ).to(torch.uint8),
        "the sign is the bit above the exponent, not always the eighth": lambda x, e, m: (
            patterns_by_table(x.abs(), e, m) + 128 * (x < 0)
        ).to(torch.uint8),
    }
    check.agrees(float_bits, patterns_by_table, drawn(), "`float_bits`", hint, causes=causes)


def rows_to_pack():
    """Weights (words, tensor), from small to large; in the last ones every quotient lies just off a middle."""
    domain = {"w": cases.tensor("out", "in", dtypes=("float32",), scale=(1e-30, 1e30))}
    for case in cases.draw(seeds, domain, out=(1, 70), **{"in": (1, 300)}):
        yield str(case), case["w"]
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        table = torch.tensor(numbers_of(4, 3, 448))
        middle = (table[1:] + table[:-1]) / 2
        for share in (1 + 1e-4, 1 - 1e-4):
            order = torch.randperm(len(middle), generator=generator)
            row = torch.cat([share * middle[order], torch.tensor([448.0])])
            yield "w = weights whose quotients lie just off the middle", torch.stack([row, -row / 1024, 64 * row.flip(0)])


def check_rows():
    table = torch.tensor(numbers_of(4, 3, 448), dtype=torch.float64)
    for what, w in rows_to_pack():
        what = f"of {what}"
        answer, (after,) = check.after(float8_rows, w)
        check.kind(answer, tuple, f"what float8_rows gives {what}")
        check.equal(len(answer), 2, f"the number of results {what}")
        codes, scale = answer
        peaks = w.double().abs().amax(1, keepdim=True)
        wanted = torch.where(peaks > 0, peaks / 448, 1).float()
        hint = "largest absolute weight of the row / 448, as (out, 1); 1 for a row of zeros"
        check.equal(scale, wanted, f"the scale {what}", hint, rtol=1e-5, atol=0.0)
        check.shape(codes, w.shape, f"the codes {what}")
        check.equal(codes.dtype, torch.float8_e4m3fn, f"the dtype of the codes {what}")
        quotient = w.double() / scale.double()
        nearest = round_by_table(quotient, 4, 3, 448.0).double()
        observed = codes.double()
        as_near = (observed - quotient).abs() <= (nearest - quotient).abs() + 1e-5 * quotient.abs()
        as_near &= (observed.abs()[..., None] == table).any(-1)
        hint = "divide by the scale, then cast, once: not by way of another dtype"
        check.equal(observed, torch.where(as_near, observed, nearest), f"the codes {what}", hint, rtol=0.0, atol=0.0)
        check.equal(after, w, f"the weight after float8_rows {what}", "it must stay as it was", rtol=0, atol=0)


with check.exercise("float8"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"round_float": check_rounding, "float_bits": check_patterns, "float8_rows": check_rows})
check.points(4)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Rounding to a grid is easy when the grid has one step: divide by it, round, multiply. Here each number has its own step.
# Which power of two is just below it, and when does that power stop mattering? For the pattern: how many steps above 0 is
# the number, counted in its own step?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `x.abs().log2().floor()` is the exponent (of 0: minus infinity, which `clamp(min=...)` lifts); `2.0 ** tensor`;
# `torch.round` takes halves to even; `.to(torch.uint8)`, `.to(torch.float8_e4m3fn)`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# exponent = x.abs().log2().floor().clamp(min=...)    # 1 - bias
# step = 2.0 ** (exponent - ...)
# return (... .round() * step).clamp(...)             # round_float
#
# steps = x.abs() / step      # normal numbers: 2**m + mantissa, so the leading 1 carries into the exponent's place
# (x < 0) * ... + (exponent - lowest) * 2**mantissa_bits + steps
#
# scale = w.abs().amax(1, keepdim=True) / ...         # float8_rows
# ```
# </details>


# %% [markdown]
# #### A float beside an integer
#
# Both have 8 bits. Left: the numbers that each can name between 0 and 1 when 1 is the largest weight; the float has
# most of them near 0. Right: the relative error. Down to its subnormal numbers e4m3 is at most 1/16 off; the integer is
# finer for large weights and hopeless for tiny ones.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.2), layout="constrained")
for height, numbers, label in (
    (2, torch.arange(128) / 127, "int8"),
    (1, torch.tensor(numbers_of(4, 3, 448)) / 448, "e4m3"),
    (0, torch.tensor(numbers_of(5, 2, 57344)) / 57344, "e5m2"),
):
    left.plot(numbers, torch.full_like(numbers, height), "|", ms=18, label=label)
left.set(yticks=[2, 1, 0], yticklabels=["int8", "e4m3", "e5m2"], xlabel="weight / largest weight", ylim=(-0.7, 2.7))
sizes = torch.logspace(-5, 0, 2000)
for label, rounded in (
    ("int8", (sizes * 127).round() / 127),
    ("e4m3", round_float(sizes * 448, 4, 3, 448) / 448),
    ("e5m2", round_float(sizes * 57344, 5, 2, 57344) / 57344),
):
    right.plot(sizes, ((rounded - sizes) / sizes).abs().clamp(min=1e-5), lw=0.8, label=label)
right.set(xscale="log", yscale="log", xlabel="weight / largest weight", ylabel="relative error", ylim=(1e-4, 1.5))
right.legend()
plt.show()

library = copy.deepcopy(language_model)
quantize_(library, Float8WeightOnlyConfig(), filter_fn=linear_but_head)
e4m3_losses = window_losses(library)
results["torchao e4m3"] = (packed_bytes(library, 8), e4m3_losses.mean().exp().item())
codes, scale = float8_rows(layer)
same = torch.equal(codes.float(), library.get_submodule("model.layers.1.mlp.up_proj").weight.qdata.float())
print(f"codes equal torchao's: {same}")
apart = {"int8": 0.0, "e4m3": 0.0}
for name in linear_names:
    w = language_model.get_submodule(name).weight.detach()
    codes, scale = float8_rows(w)
    step = w.abs().amax(1, keepdim=True) / 127
    apart["int8"] += ((w / step).round() * step - w).square().sum().item()
    apart["e4m3"] += (codes.float() * scale - w).square().sum().item()
whole = sum(language_model.get_submodule(name).weight.square().sum().item() for name in linear_names)
for label, row, (by, noise) in (("int8", "int8 by hand", int8_worse), ("e4m3", "torchao e4m3", worse_by(e4m3_losses))):
    share = math.sqrt(apart[label] / whole)
    seen = "not to be told from float32" if abs(by) <= noise else "measurably different from float32"
    print(
        f"{label}: RMS error / RMS weight of all linear layers {share:.2%}, perplexity {results[row][1]:.3f}, "
        f"worse by {by:+.2f} % ± {noise:.2f}: {seen}"
    )
print(f"At the same size e4m3 leaves the weights {math.sqrt(apart['e4m3'] / apart['int8']):.1f} times as far off as int8.")

# %% [markdown]
# Weights of a row have no tails worth speaking of, so equal steps suit them better. FP8 wins where values spread over many powers
# of two, and where the hardware multiplies it: NVIDIA GPUs since Ada and Hopper (2022), AMD's since the MI300 (2023).
#
# **Four bits as floats (2026).** e2m1 has only fifteen different numbers, so the scale must follow the weights closely: *block-scaled*
# FP4. MXFP4 ([OCP Microscaling Formats, 1.0, 2023](https://www.opencompute.org/documents/ocp-microscaling-formats-mx-v1-0-spec-final-pdf))
# has a power of two for each 32 weights, NVFP4
# ([NVIDIA, 2025](https://developer.nvidia.com/blog/introducing-nvfp4-for-efficient-and-accurate-low-precision-inference/)) an e4m3
# number for each 16, and one float32 for the tensor. Your `round_float` makes both:


# %%
def block_fp4(w, block, nvfp4):
    """Weights (out, in) rounded to e2m1 with a scale for each `block` of a row: an e4m3 number, or a power of two."""
    parts = w.unflatten(1, (-1, block))
    peaks = parts.abs().amax(2, keepdim=True).clamp(min=1e-12)
    if nvfp4:
        whole = peaks.max() / 6 / 448  # the largest scale becomes the largest number of e4m3
        scale = round_float(peaks / 6 / whole, 4, 3, 448.0).clamp(min=2.0**-9) * whole
    else:
        scale = 2.0 ** (peaks.log2().floor() - 2)  # 4, the largest power of two in e2m1, stands for the peak's power of two
    return (round_float(parts / scale, 2, 1, 6.0) * scale).flatten(1)


for label, block, nvfp4, bits in (("MXFP4", 32, False, 4 + 8 / 32), ("NVFP4", 16, True, 4 + 8 / 16)):
    changed = copy.deepcopy(language_model)
    with torch.no_grad():
        for name in linear_names:
            weight = changed.get_submodule(name).weight
            weight.copy_(block_fp4(weight, block, nvfp4))
    by, noise = worse_by(window_losses(changed))
    print(f"{label}: {bits} bits a weight, perplexity worse by {by:+.1f} % ± {noise:.1f}")

# %% [markdown]
# ### 4 · Write the tests (3 points, 30 minutes, difficulty 2 of 3)
#
# A quantizer that is a little wrong still gives a model that talks. Nobody notices a zero point that is off by one until a
# benchmark falls by two points, and then nobody looks there. So it needs tests.
#
# **Task.** A colleague will write `quantize_rows(w, bits)`, with a range for each row as in exercise 1. `w` is any float32 tensor
# `(rows, columns)` with one row and one column or more, in any memory layout; the largest weight of a row is 0 or between 1e-6 and
# 1e6 in size; `bits` is 2 to 8; both may be given by name. This is what it promises:
#
# - It returns `(q, scale, zero_point)`: int8 `(rows, columns)`, float32 `(rows, 1)`, int32 `(rows, 1)`. <!-- rule: types -->
# - Codes and zero points lie from $-2^{b-1}$ to $2^{b-1}-1$. <!-- rule: codes -->
# - `scale` is the width of the row's range, with 0 in it, over $2^b-1$; it is off by one part in 100,000 at
#   most. <!-- rule: scale -->
# - For a row of zeros `scale` is any positive number. <!-- rule: zeros -->
# - `(q.int() - zero_point) * scale` is nowhere further from `w` than 0.501 `scale`: half a step, and a little for rounding
#   errors. <!-- rule: error -->
# - `w` is not changed. <!-- rule: unchanged -->
#
# Write `check_quantizer(quantize_rows)`. It calls what it is given on inputs of your choice, of the kinds above.
#
# - If a promise is broken it raises an error, for instance by `assert`. What it returns is ignored. <!-- rule: raises -->
# - If all promises are kept it raises nothing. Correct implementations differ in how they round ties and in the scale of a row of
#   zeros, they may use all the slack of the promises, and refuse inputs of other kinds. <!-- rule: no_false_alarm -->
# - A bug may show only with some number of bits, in small weights (1e-5) or large ones (1e5), in rows of one sign, near 0 or far
#   from it, or in wide rows (100 weights are wide enough). <!-- rule: inputs -->
#
# It is run on correct implementations and on thirty-one broken ones, twenty-five of them hidden. A correct one turned down costs all
# points; otherwise the share of the broken ones that you catch is the share of the points.
#
# One trap of PyTorch: a comparison with an int8 tensor is made in int8. `q.max() < 128` is always False, because 128 becomes -128
# there. Compare `q.int()`.


# %% exercise="check_quantizer" minutes=30 difficulty=2
def check_quantizer(quantize_rows) -> None:
    """Raise an error if `quantize_rows(w, bits)` breaks a promise."""
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    ### BEGIN SOLUTION
    w[1] = 1e4 * (10 + w[1].abs())
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w), "the input was changed"
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half, "a code is too low"
            assert codes.max() < half, "a code is too high"
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert ((((q.int() - zero_point) * scale) - w).abs() <= 0.501 * scale).all()
    ### END SOLUTION


# %% tests="check_quantizer" points=3
def row_ranges(w):
    """Low and high end of each row's range."""
    return w.amin(1, keepdim=True).clamp(max=0), w.amax(1, keepdim=True).clamp(min=0)


def make_quantizer(name="right"):
    """A quantizer with one named fault."""

    def quantize_rows(w, bits):
        if name == "always uses 8 bits":
            bits = 8
        half = 2 ** (bits - 1)
        low, high = row_ranges(w)
        if name == "one range for the whole tensor":
            low, high = low.amin().expand(len(w), 1), high.amax().expand(len(w), 1)
        scale = (high - low) / (2**bits - 1)
        scale = torch.where(scale > 0, scale, 1)
        zero_point = (-half - low / scale).round()
        if name == "truncates instead of rounding":
            q = (w / scale).trunc() + zero_point
        elif name == "clamps before it adds the zero point":
            q = (w / scale).round().clamp(-half, half - 1) + zero_point
        else:
            q = (w / scale).round() + zero_point
        q, zero_point = q.clamp(-half, half - 1), zero_point.to(torch.int32)
        if name == "zero point off by one":
            zero_point = zero_point + 1
        if name == "writes the rounded weights into its input":
            w.copy_((q - zero_point) * scale)
        return q.to(torch.int8), scale, zero_point

    return quantize_rows


def halves_up(w, bits):
    """Correct: ties go up, a row of zeros has a tiny scale, computed in float64."""
    wide = w.double()
    low, high = row_ranges(wide)
    scale = ((high - low) / (2**bits - 1)).clamp(min=1e-20)
    zero_point = torch.floor(-low / scale + 0.5) - 2 ** (bits - 1)
    q = torch.floor(wide / scale + 0.5) + zero_point
    return q.clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).to(torch.int8), scale.float(), zero_point.int()


def to_the_limits(w, bits):
    """Correct: a scale and errors as large as the promises let them be; refuses inputs of other kinds."""
    peaks = w.abs().amax(1) if w.ndim == 2 else w.new_zeros(0)
    if w.ndim != 2 or w.dtype != torch.float32 or ((peaks != 0) & ((peaks < 0.99e-6) | ~(peaks < 1.01e6))).any():
        raise ValueError("w must be float32 (rows, columns), the largest weight of each row 0 or between 1e-6 and 1e6")
    if bits not in range(2, 9):
        raise ValueError("bits must be 2 to 8")
    half, (low, high) = 2 ** (bits - 1), row_ranges(w)
    scale = (high - low) / (2**bits - 1) * (1 + 6e-6)
    scale = torch.where(scale > 0, scale, 5)
    zero_point = (-low / scale + 0.5006).floor() - half
    q = (w / scale + 0.5006).floor() + zero_point
    return q.clamp(-half, half - 1).to(torch.int8), scale, zero_point.int()


right_quantizers = {"as in exercise 1": make_quantizer(), "ties rounded up": halves_up, "uses all the slack": to_the_limits}
visible_faults = [
    "zero point off by one",
    "clamps before it adds the zero point",
    "truncates instead of rounding",
    "one range for the whole tensor",
    "always uses 8 bits",
    "writes the rounded weights into its input",
]
wrong_quantizers = {name: make_quantizer(name) for name in visible_faults}
with check.exercise("check_quantizer"):
    ### BEGIN HIDDEN TESTS
    def make_hidden_quantizer(name):
        """The same for the hidden faults."""

        def quantize_rows(w, bits):
            if name == "takes 7 bits when asked for 8":
                bits = min(bits, 7)
            if name == "takes 3 bits when asked for 2":
                bits = max(bits, 3)
            if name == "takes 4 bits when asked for 5" and bits == 5:
                bits = 4
            half, steps = 2 ** (bits - 1), 2**bits - 1
            if name == "cuts weights off at 65,504, as float16 does":
                w = w.clamp(-65504, 65504)
            low, high = row_ranges(w)
            if name == "takes the range from the first 64 columns":
                low, high = row_ranges(w[:, :64])
            if name == "the range of weights above 0 need not contain 0":
                low = w.amin(1, keepdim=True)
            if name == "the range of weights below 0 need not contain 0":
                high = w.amax(1, keepdim=True)
            if name == "symmetric: the range is as wide as twice the largest absolute weight":
                high = w.abs().amax(1, keepdim=True)
                low = -high
            scale = (high - low) / (steps + 1 if name == "divides by the number of codes, not of steps" else steps)
            if name != "scale 0 for a row of zeros":
                small = high - low < (1e-3 if name == "takes a row of small weights for one of zeros" else 0)
                scale = torch.where((scale > 0) & ~small, scale, 1)
            if name == "makes the scale 2 parts in 100,000 too large":
                scale = scale * (1 + 2e-5)
            if name == "adds 1e-10 to the scale, which shows in small weights":
                scale = scale + 1e-10
            zero_point = (-half - low / scale).round()
            q = (w / scale).round() + zero_point
            if name == "rounds down up to 0.52 of a step":
                q = (w / scale + 0.48).floor() + zero_point
            if name == "zero points below the lowest code in rows far above 0":
                far = (w.amin(1, keepdim=True) > scale).float()
                q, zero_point = q - far, zero_point - far
            if name == "zero points above the highest code in rows far below 0":
                far = (w.amax(1, keepdim=True) < -scale).float()
                q, zero_point = q + far, zero_point + far
            q = q.clamp(-half + 1 if name == "never uses the lowest code" else -half, half - 1)
            zero_point = zero_point.nan_to_num().to(torch.int32)
            if bits < 8 and (name.startswith("codes one too high") or name.startswith("codes one too low")):
                moved = zero_point + (1 if "high" in name else -1)
                moved = torch.where((moved >= -half) & (moved < half), moved, zero_point)
                q, zero_point = q + moved - zero_point, moved
            if name == "zero point 0 in a row of zeros, whose codes are the lowest":
                zero_point = torch.where(w.any(1, keepdim=True), zero_point, 0)
            if name == "returns codes as int16":
                return q.to(torch.int16), scale, zero_point
            if name == "returns scales in float64":
                return q.to(torch.int8), scale.double(), zero_point
            if name == "returns flat zero points":
                return q.to(torch.int8), scale, zero_point.flatten()
            if name == "returns a flat scale":
                return q.to(torch.int8), scale.flatten(), zero_point
            if name == "returns zero points as int64":
                return q.to(torch.int8), scale, zero_point.long()
            return q.nan_to_num().to(torch.int8), scale, zero_point

        return quantize_rows

    hidden_faults = [
        "the range of weights above 0 need not contain 0",
        "the range of weights below 0 need not contain 0",
        "takes 7 bits when asked for 8",
        "takes 3 bits when asked for 2",
        "takes 4 bits when asked for 5",
        "takes the range from the first 64 columns",
        "takes a row of small weights for one of zeros",
        "scale 0 for a row of zeros",
        "zero point 0 in a row of zeros, whose codes are the lowest",
        "divides by the number of codes, not of steps",
        "symmetric: the range is as wide as twice the largest absolute weight",
        "makes the scale 2 parts in 100,000 too large",
        "adds 1e-10 to the scale, which shows in small weights",
        "rounds down up to 0.52 of a step",
        "cuts weights off at 65,504, as float16 does",
        "never uses the lowest code",
        "codes one too high below 8 bits, zero points in their range",
        "codes one too low below 8 bits, zero points in their range",
        "zero points below the lowest code in rows far above 0",
        "zero points above the highest code in rows far below 0",
        "returns a flat scale",
        "returns flat zero points",
        "returns zero points as int64",
        "returns codes as int16",
        "returns scales in float64",
    ]
    wrong_quantizers |= {name: make_hidden_quantizer(name) for name in hidden_faults}
    ### END HIDDEN TESTS
    check.catches(check_quantizer, right_quantizers, wrong_quantizers)
check.points(3)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Go through the promises one by one. Which *row* makes a bug visible: one with weights on both sides of 0, one above 0, one
# of zeros? Are both ends of the range in your input? Why is one number of bits not enough?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `torch.equal(given, copy)`; `.dtype`, `.shape`; `torch.testing.assert_close(actual, expected)` allows for rounding errors;
# a comparison with NaN is False, so `assert (error <= limit).all()` catches it. Compare codes as `q.int()`: 128 does not
# fit into int8.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# w[1] = 1e4 * (10 + w[1].abs())                     # a row far above 0, of large weights
# w[2] = ...
# w[3] = ...
# w[4] *= ...                                        # small weights
# for bits in range(2, 9):
#     given = w.clone()
#     q, scale, zero_point = quantize_rows(given, bits)
#     assert torch.equal(given, w)
#     assert (q.dtype, ...) == (torch.int8, ...)
#     assert (q.shape, ...) == (w.shape, ...)
#     assert ...                                     # codes in range, compared as q.int()
#     assert (scale > 0).all()
#     width = ...                                    # of each row's range, with 0 in it
#     used = width > 0
#     torch.testing.assert_close(scale[used], width[used] / ..., rtol=1e-5, atol=0)
#     assert ((((q.int() - zero_point) * scale) - w).abs() <= 0.501 * scale).all()
# ```
# </details>


# %% [markdown]
# ## Part B · Having seen data
#
# Rounding every weight to the nearest code (*round to nearest*) makes the **weights** as exact as possible. What
# counts is the **output**. A layer sees certain inputs far more often than others: an error in a direction that never
# occurs costs nothing, and an error in one weight can be made up for by another. Both methods of this part look at a
# few thousand tokens of calibration text. First, what the layers of the model see:

# %%


@torch.no_grad()
def record_inputs(model, rows, keep=4):
    """Inputs of every linear layer but the head while `model` reads `rows`: name -> float32 (tokens, in), every `keep`-th token."""
    inputs, hooks = {}, []
    for name in linear_names:

        def hook(module, args, name=name):
            inputs[name] = args[0].flatten(0, -2)[::keep]

        hooks.append(model.get_submodule(name).register_forward_pre_hook(hook))
    model(input_ids=rows)
    for handle in hooks:
        handle.remove()
    return inputs


def to_grid(w, scale, bits):
    """Weights rounded to the nearest multiple of `scale` that has a code, float; no zero point, as many codes up as down."""
    highest = 2 ** (bits - 1) - 1
    return (w / scale).round().clamp(-highest, highest) * scale


def group_scale(w, bits, group):
    """One scale for `group` neighbours in a row, spread over (out, in): the strongest weight lies half a step beyond the last code."""
    parts = w.unflatten(1, (-1, group))
    peaks = parts.abs().amax(2, keepdim=True).clamp(min=1e-12)
    return (peaks / (2 ** (bits - 1) - 0.5)).expand_as(parts).reshape(w.shape)


def with_weights(model, change):
    """A copy of `model` in which each linear layer but the head has the weight change(name, weight)."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for name in linear_names:
            weight = model.get_submodule(name).weight
            weight.copy_(change(name, weight))
    return model


layer_inputs = record_inputs(language_model, calibration)
seen = layer_inputs["model.layers.1.mlp.up_proj"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.2), layout="constrained")
strength = torch.linalg.eigvalsh(seen.T @ seen / len(seen)).flip(0)
left.plot(range(1, len(strength) + 1), strength / strength.sum())
left.set(xlabel="direction, strongest first", ylabel="share of the inputs' energy", yscale="log", title="inputs of one layer")
right.plot(seen.abs().mean(0).sort(descending=True).values)
right.set(xlabel="input channel, strongest first", ylabel="mean absolute input", title="the same layer, by channel")
plt.show()
carried = (strength / strength.sum()).cumsum(0)
half, most = (int((carried < share).sum()) + 1 for share in (0.5, 0.9))
print(f"of {len(strength)} directions, {half} carry half of the energy and {most} carry 90 %")
peaks = {name: (x.abs().mean(0).max() / x.abs().mean(0).median()).item() for name, x in layer_inputs.items()}
print(
    f"strongest channel / median channel: {peaks['model.layers.1.mlp.up_proj']:.1f} in this layer; the largest over all blocks:"
)
for before in ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"):
    print(f"  before {before:16} {max(value for name, value in peaks.items() if name.endswith(before)):.1f}")

# %% [markdown]
# Left: how much of the energy a few directions carry. Right: the channels of this layer. The lines above say how much stronger the
# strongest channel is in other places. That is still far from large models, where a handful of channels are tens of times stronger than the rest
# ([LLM.int8()](https://arxiv.org/abs/2208.07339), Dettmers and others, 2022).
# Remember this when you compare the two methods.
#
# ### 5 · GPTQ: let the next columns pay (4 points, 45 minutes, difficulty 3 of 3)
#
# [GPTQ](https://arxiv.org/abs/2210.17323) (Frantar and others, 2022) rounds a layer's weight one *input column* after the
# other and lets the columns not yet rounded make up for the error. The output error of a row changed by
# $\delta$ is $\delta H \delta^T$ with $H = \frac{1}{n} X^T X$ from the layer's inputs $X$, `(n, in)`. If column $j$ is moved
# by an error, the best answer of the later columns follows from the inverse of $H$ restricted to
# columns $j, j+1, \dots$. The trick: all these inverses are in *one* matrix, the upper Cholesky factor $U$ of
# $H^{-1} = U^T U$. For each column $j$:
#
# $$ e_j = \frac{w_j - \operatorname{grid}(w_j)}{U_{jj}} \qquad\qquad w_k \leftarrow w_k - e_j\, U_{jk} \quad\text{for } k > j $$
#
# where $w_j$ is the column as the earlier columns left it, for all rows at once ($e_j$ has one entry a row).
#
# **Task.** Two functions; the tensors of a call are all float32 or all float64, of any memory layout. There are one or more inputs,
# rows and columns; a layer can have many hundreds of columns.
#
# `hessian(x, damping)` takes inputs `x` of shape `(n, in)` and a number of 0 or more.
#
# - It returns $H$, `(in, in)`: the mean, over the inputs, of the outer product of an input with itself. <!-- rule: mean -->
# - `damping` times the mean of its diagonal is added to the diagonal, and nowhere else. (That makes it
#   invertible.) <!-- rule: damping -->
#
# `gptq(weight, H, scale, bits)` takes a weight `(out, in)`, an $H$ that can be inverted, the step of each weight as `scale`
# `(out, in)`, and 2 to 8 bits. It returns the rounded weight, `(out, in)`.
#
# - Every result is on its weight's own grid: it comes from `to_grid(column, scale of the column, bits)`. Weights far beyond the last
#   code may come. <!-- rule: grid -->
# - A column is rounded as the columns before it left it, for all rows at once. <!-- rule: order -->
# - After each column **all** later ones are changed by the rule above, the ones far behind it too. <!-- rule: later -->
# - The step `scale` is not changed while the columns move. <!-- rule: steps -->
#
# And for both:
#
# - The result has the dtype of the tensors given, and is worked out in it or in a finer one. <!-- rule: dtypes -->
# - The arguments stay as they were. <!-- rule: unchanged -->
#
# (A weight may come to lie very close to the middle between two codes. Either is right there, and the later columns follow from the
# one that you chose: the tests go by your own choice.)
#
# `hessian` earns a third of the points, `gptq` a third in each of the two dtypes.


# %% exercise="gptq" minutes=45 difficulty=3
def hessian(x, damping):
    """Mean outer product of the inputs, damped: (n, in) -> (in, in)."""
    ### BEGIN SOLUTION
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)
    ### END SOLUTION


def gptq(weight, H, scale, bits):
    """`weight` (out, in) on the grid of `scale`, rounded column by column with the errors handed on."""
    ### BEGIN SOLUTION
    U = torch.linalg.cholesky(torch.linalg.inv(H)).T
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        error = (weight[:, j] - rounded[:, j]) / U[j, j]
        weight -= error[:, None] * U[j]
    return rounded
    ### END SOLUTION


# %% tests="gptq" points=4
def hessian_by_definition(x, damping):
    H = torch.stack([torch.outer(row, row) for row in x.double()]).mean(0)
    H.diagonal().add_(damping * H.diagonal().mean().item())
    return H.to(x.dtype)


def check_hessian():
    domain = {
        "x": cases.tensor("n", "in", dtypes=("float32", "float64"), scale=(1e-3, 1e3)),
        "damping": cases.choice(0.01, 0.0, 0.5, 3),
    }
    hint = "the mean of the inputs' outer products, (in, in); damping times the mean of its diagonal goes on the diagonal only"
    causes = {
        "the sum grows with the number of inputs: divide by it": lambda x, damping: len(x) * hessian_by_definition(x, damping),
        "the damping goes on the diagonal only": lambda x, damping: (
            hessian_by_definition(x, 0) + damping * hessian_by_definition(x, 0).diagonal().mean()
        ),
    }
    drawn = cases.draw(seeds, domain, n=(1, 300), **{"in": (1, 70)})
    check.agrees(hessian, hessian_by_definition, drawn, "`hessian`", hint, causes=causes)


def weights_to_round(seed, dtype):
    """Words and arguments for gptq, from small to large: channels that depend on each other, steps of their own, weights beyond the codes."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(1, 1, 4, 1), (3, 2, 4, 1), (2, 5, 3, 0), (5, 6, 2, 1), (4, 9, 8, 2), (2, 530, 3, 1)]
    if dtype == torch.float64:  # so dependent that float32 is too coarse
        shapes.insert(-1, (4, 12, 8, 1000))
    for out, width, bits, depend in shapes:
        n = 2 * width + 30
        own, common, mix, weight, share = (
            torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((n, width), (n, 2), (2, width), (out, width), (out, width))
        )
        x = own + depend * common @ (mix + 1)
        H = torch.diag(own.square().mean(0)) if depend == 0 else x.T @ x / n
        scale = (0.3 + share.abs()) / 2 ** (bits - 2)
        weight[0, 0] = 3 * 2 ** (bits - 1) * scale[0, 0]
        if width == 6:  # another layout
            weight, scale = weight.T.contiguous().T, scale.T.contiguous().T
        name = str(dtype).removeprefix("torch.")
        said = "whose channels do not depend on each other" if depend == 0 else ""
        yield f"GPTQ of a weight {out} x {width} at {bits} bits in {name} {said}".strip(), (weight.to(dtype), H.to(dtype), scale.to(dtype), bits)


def as_left(weight, H, rounded):
    """Each column as the earlier ones left it, where those were rounded as in `rounded`; by the definition, in float64.

    What is left of the inverse after column j (one step of elimination) is the inverse of H without its first columns.
    """
    left, inverse = weight.double().clone(), torch.linalg.inv(H.double())
    for j in range(len(H)):
        row = inverse[0, 1:] / inverse[0, 0]
        left[:, j + 1 :] -= torch.outer(left[:, j] - rounded[:, j].double(), row)
        inverse = inverse[1:, 1:] - torch.outer(inverse[1:, 0], row)
    return left


def plain_rounding(weight, H, scale, bits):
    return to_grid(weight, scale, bits)


def whole_inverse(weight, H, scale, bits):
    """The row of the inverse of all of H, for every column."""
    inverse, weight, rounded = torch.linalg.inv(H), weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        weight[:, j + 1 :] -= torch.outer((weight[:, j] - rounded[:, j]) / inverse[j, j], inverse[j, j + 1 :])
    return rounded


def check_gptq(dtype):
    slack = 1e-6 if dtype == torch.float64 else 2e-3  # in steps: so close to the middle either code is right
    for seed in seeds:
        for what, arguments in weights_to_round(seed, dtype):
            weight, H, scale, bits = arguments
            observed, after = check.after(gptq, *arguments)
            check.shape(observed, weight.shape, what)
            check.equal(observed.dtype, dtype, f"the dtype of {what}", "that of `weight`: torch.zeros and torch.eye need a dtype")
            left = as_left(weight, H, observed)
            wanted = to_grid(left, scale.double(), bits)
            on_grid = (observed.double() - to_grid(observed.double(), scale.double(), bits)).abs() <= 1e-5 * scale
            as_near = on_grid & ((observed - left).abs() <= (wanted - left).abs() + 2 * slack * scale)
            first = as_near.all(0).int().argmin().item() if not as_near.all() else 0
            hint = (
                "there is nothing before it: it is simply rounded to the grid"
                if first == 0
                else "it is rounded as the earlier ones left it; the error of a column over U[j, j], times row j of U, goes off ALL later ones"
            )
            usual = {
                "this is plain rounding: no column was changed by an earlier one": plain_rounding(*arguments),
                "row j of the inverse of the whole H is not row j of U": whole_inverse(*arguments),
                "it is not on the grid: return the rounded columns, not the ones that were corrected": left.to(dtype),
            }  # a guess is made only if it explains every column, and where there are enough of them
            causes = {n: v[:, first] for n, v in usual.items() if v.shape[1] > 4 and torch.allclose(v, observed, rtol=1e-4)}
            expected = torch.where(as_near, observed.double(), wanted).to(dtype)[:, first]
            check.equal(observed[:, first], expected, f"column {first} of {what}", hint, causes=causes)
            check.equal(as_near.all().item(), True, f"whether every column of {what} is right", hint)
            for name, now, before in zip(("weight", "H", "scale"), after, arguments):
                check.equal(now, before, f"`{name}` after {what}", "work on a copy", rtol=0, atol=0)


with check.exercise("gptq"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts(
        {
            "hessian": check_hessian,
            "gptq in float64": lambda: check_gptq(torch.float64),
            "gptq in float32": lambda: check_gptq(torch.float32),
        }
    )
check.points(4)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# A row of $U$ has zeros left of its diagonal. What does that do to columns that are already finished? And what does the
# update do to column $j$ itself?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `torch.linalg.inv`, `torch.linalg.cholesky(matrix)` gives the *lower* factor $L$ with $LL^T$, `upper=True` the upper one;
# `torch.outer` or `error[:, None] * row`; `H.diagonal()`, `torch.eye`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# H = x.T @ x / ...                                # hessian
# return H + ... * torch.eye(len(H), dtype=x.dtype)
#
# U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
# weight, rounded = weight.clone(), torch.empty_like(weight)
# for j in range(len(H)):
#     rounded[:, j] = to_grid(...)
#     error = ...
#     weight -= error[:, None] * ...
# ```
# </details>


# %% [markdown]
# #### What it brings
#
# The same grid, the same bytes, only the choice of the codes differs. The scales (one for 32 weights) come from the
# weights before GPTQ starts.

# %%
comparison = []
for bits in (4, 3, 2):
    plain = with_weights(language_model, lambda name, w: to_grid(w, group_scale(w, bits, 32), bits))

    def by_gptq(name, w):
        return gptq(w, hessian(layer_inputs[name], 0.01), group_scale(w, bits, 32), bits)

    moved = with_weights(language_model, by_gptq)
    comparison.append((bits, perplexity(plain), perplexity(moved)))
    x, w = layer_inputs["model.layers.1.mlp.up_proj"], layer
    apart = [
        ((m.get_submodule("model.layers.1.mlp.up_proj").weight.detach() - w).square().mean() / w.square().mean()).sqrt()
        for m in (plain, moved)
    ]
    errors = [
        (
            (x @ (m.get_submodule("model.layers.1.mlp.up_proj").weight.detach() - w).T).square().mean()
            / (x @ w.T).square().mean()
        ).sqrt()
        for m in (plain, moved)
    ]
    print(
        f"{bits} bits: perplexity {comparison[-1][1]:7.2f} rounded, {comparison[-1][2]:7.2f} with GPTQ"
        f"; one layer: weight error {apart[0]:.1%} and {apart[1]:.1%}, output error {errors[0]:.1%} and {errors[1]:.1%}"
    )
gptq_helps = all(after < before for _, before, after in comparison)
claims.record(
    "GPTQ beats rounding to nearest at the same bytes",
    claimed="most at 3 and 2 bits",
    measured="; ".join(f"{b} bits: {before:.1f} -> {after:.1f}" for b, before, after in comparison),
    holds=gptq_helps,
    how="perplexity of the shipped model, groups of 32, 4,096 calibration tokens (every fourth used)",
)
left_over = {bits: (after / base_perplexity - 1) / (before / base_perplexity - 1) for bits, before, after in comparison}
print("Share of the damage that GPTQ leaves:", ", ".join(f"{share:.0%} at {bits} bits" for bits, share in left_over.items()))
print(f"At 2 bits perplexity is still {comparison[-1][2] / base_perplexity:.1f} times that of float32.")

# %% [markdown]
# Compare the weight errors with the output errors above: which of the two does GPTQ make smaller, and which larger? Part D comes
# back to 2 bits.
#
# ### 6 · AWQ: protect the channels that matter (3 points, 30 minutes, difficulty 2 of 3)
#
# [AWQ](https://arxiv.org/abs/2306.00978) (Lin and others, 2023) starts from another observation: in large models one input
# channel in a hundred is far stronger than the others, so errors of *its* weights dominate. Multiply the weights of
# channel $i$ by $s_i$ before rounding and divide its input by $s_i$: nothing changes, except that the step relative to these
# weights becomes finer. How strong should the protection be? AWQ takes $s_i = a_i^{\alpha}$, where $a_i$ is the mean absolute
# input of the channel, and simply tries values of $\alpha$ between 0 (none) and 1.
#
# Dividing the input costs nothing either, if a normalisation layer stands before: its gain is divided by $s$ once and for
# all.
#
# **Task.** Two functions.
#
# `awq_search(weight, x, quantize, alphas)`: `weight` is `(out, in)` and `x` is `(n, in)`, both float32 or both float64, of any memory
# layout; every length is 1 or more. `quantize(w)` gives the rounded weights as floats, a new tensor. `alphas` is a list of one or more numbers from 0
# to 1.
#
# - For each $\alpha$ the scale of channel $i$ is $a_i^\alpha$, with $a_i$ the mean absolute input of the channel. <!-- rule: strength -->
# - $a_i$ is at least 0.0001: smaller ones count as 0.0001. <!-- rule: floor -->
# - The scales of one $\alpha$ are divided by $\sqrt{\max s \cdot \min s}$, so that they stay near 1. <!-- rule: centred -->
# - $\alpha$ is judged by the weight as it will act: multiplied by the scale, rounded, and divided by the scale
#   again. <!-- rule: undone -->
# - The best $\alpha$ has the smallest mean squared error of the layer's **output** on `x`, compared with the exact weight. (Errors of
#   channels that occur together add up or cancel there.) <!-- rule: output -->
# - Of equally good ones the first in the list wins. <!-- rule: first -->
# - It returns `(alpha, scale)`: the best of `alphas` and its scale, `(in,)`, in the dtype of the tensors. <!-- rule: result -->
# - `weight`, `x` and `alphas` stay as they were. <!-- rule: unchanged -->
#
# `fold_scale(norm, linears, scale)` changes a normalisation layer and the linear layers that read its output. `norm` is of any
# class with a `weight`, and perhaps a `bias` (there may be no such attribute, or it is `None`): not only of `nn.LayerNorm`.
# `linears` is a list of one or more `nn.Linear`, with or without bias. Parameters are float32 or bfloat16, the norm's and each
# layer's for themselves; `scale` is float32.
#
# - The norm's `weight` is divided by `scale`. <!-- rule: gain -->
# - So is its `bias`, if it has one. <!-- rule: norm_bias -->
# - Each linear weight is multiplied by it, channel by channel, and the biases of the linear layers stay: the output is as
#   before. <!-- rule: linears -->
# - Every parameter is the same object as before, with its dtype, its `requires_grad` and its empty `.grad`. Nothing else of the
#   layers changes: neither buffers nor training flags. <!-- rule: in_place -->
# - `scale` and the list `linears` stay as they were. <!-- rule: scale_unchanged -->


# %% exercise="awq" minutes=30 difficulty=2
def awq_search(weight, x, quantize, alphas):
    """The exponent and the channel scale (in,) with the smallest output error."""
    ### BEGIN SOLUTION
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        change = quantize(weight * scale) / scale - weight
        error = (x @ change.T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best
    ### END SOLUTION


def fold_scale(norm, linears, scale):
    """Divide the output of `norm` by `scale` and multiply the inputs of `linears` by it, in their weights."""
    ### BEGIN SOLUTION
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale
    ### END SOLUTION


# %% tests="awq" points=3
def round_rows(w):
    """Three bits, one scale a row."""
    return to_grid(w, w.abs().amax(1, keepdim=True).clamp(min=1e-12) / 3, 3)


def coarse(w):
    """Rounds to whole numbers."""
    return w.round()


def scale_by_definition(x, alpha):
    values = x.double().abs().mean(0).clamp(min=1e-4) ** alpha
    return values / (values.max() * values.min()).sqrt()


def check_scales():
    domain = {
        "x": cases.tensor("n", "in", dtypes=("float32", "float64"), scale=(1e-6, 1e4)),
        "alpha": cases.choice(0.5, 0, 1, 0.3),
    }
    hint = "mean absolute input of each channel, at least 1e-4, to the power alpha, over the root of largest times smallest"
    for case in cases.draw(seeds, domain, n=(1, 70), **{"in": (1, 300)}):
        x, alpha = case
        if len(x) > 2 and x.shape[1] > 3:
            x[:, 1], x[:, 2] = 0, 1e-5 * x[:, 2].sign()  # a silent channel and one that is almost silent
            x[:, 3], x[0, 3] = 0, 3e-4 * len(x)  # one that speaks once
        weight = torch.ones(2, x.shape[1], dtype=x.dtype)
        answer, (weight_after, x_after, _, alphas_after) = check.after(awq_search, weight, x, round_rows, [alpha])
        check.kind(answer, tuple, f"what awq_search gives for {case}")
        check.equal(len(answer), 2, "the number of results")
        check.equal(answer[0], alpha, f"the exponent when {alpha} is the only one ({case})")
        wanted = scale_by_definition(x, alpha)
        larger = 1e-4 + x.double().abs().mean(0)
        causes = {
            "a channel below 1e-4 counts as 1e-4; nothing is added to the others": larger**alpha
            / ((larger**alpha).max() * (larger**alpha).min()).sqrt(),
            "divide by the root of largest times smallest": x.double().abs().mean(0).clamp(min=1e-4) ** alpha,
            "the mean of absolute inputs, not the root of the mean square": scale_by_definition(x.square().mean(0, keepdim=True).sqrt(), alpha),
        }
        causes = {words: value.to(x.dtype) for words, value in causes.items()}
        check.equal(answer[1], wanted.to(x.dtype), f"the scale for {case}", hint, causes=causes, floor="value")
        for name, now, before in (("weight", weight_after, weight), ("x", x_after, x)):
            check.equal(now, before, f"`{name}` after the search ({case})", "work on new tensors", rtol=0, atol=0)
        check.equal(alphas_after, [alpha], "the list of exponents after the search", "it must stay as it was")


def errors_by_exponent(weight, x, quantize, alphas):
    """For each exponent: error of the output, of the weight, of the weight times its channel's strength, with the scale left on, not squared."""
    found = []
    for alpha in alphas:
        scale = scale_by_definition(x, alpha).to(x.dtype)
        scaled = quantize(weight * scale)
        change, left_on = (scaled / scale - weight).double(), (scaled - weight).double()
        by_channel = (change.square() * x.double().square().mean(0)).mean()
        output, wrong_output = ((x.double() @ c.T).square().mean() for c in (change, left_on))
        absolute = (x.double() @ change.T).abs().mean()
        found.append([v.item() for v in (output, change.square().mean(), by_channel, wrong_output, absolute)])
    return list(zip(*found))


def search_case(seed, n, out, width, quantize, alphas, size, dtype):
    """Weight and inputs (times `size`) where the best exponent is clear, and not the one that a usual mistake finds."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(2000):
        weight, own = (torch.randn(*shape, generator=generator) for shape in ((out, width), (n, width)))
        strength = torch.logspace(-0.7, 0.9, width)[torch.randperm(width, generator=generator)]
        common = torch.randn(n, 2, generator=generator) @ torch.randn(2, width, generator=generator)
        x = (size * (common + 0.1 * own) * strength).to(dtype)
        weight = weight.to(dtype)
        output, *mistakes = errors_by_exponent(weight, x, quantize, alphas)
        best, second = sorted(output)[:2]
        if n > 9:  # there the absolute error chooses as the squared one does
            mistakes.pop()
        if second > 1.02 * best and all(output.index(best) != other.index(min(other)) for other in mistakes):
            break
    return weight, x


def check_search():
    grid = [0.25, 0.0, 0.5, 1.0, 0.75]
    for seed in seeds:
        for n, out, width, quantize, size, dtype in (
            (9, 2, 5, coarse, 1, torch.float32),
            (20, 6, 8, round_rows, 0.01, torch.float64),
            (30, 5, 9, coarse, 1000, torch.float32),
            (60, 40, 150, round_rows, 1, torch.float32),
        ):
            alphas = grid if width < 100 else [i / 10 for i in range(11)]
            weight, x = search_case(seed, n, out, width, quantize, alphas, size, dtype)
            answer, (weight_after, x_after, _, alphas_after) = check.after(awq_search, weight, x, quantize, alphas)
            what = f"for a weight {out} x {width} and {n} inputs"
            check.kind(answer, tuple, f"what awq_search gives {what}")
            output, *_ = errors_by_exponent(weight, x, quantize, alphas)
            wanted = alphas[output.index(min(output))]
            hint = (
                "it has the smallest error of the output (squared), not of the weight, not even times the strength of its channel, with the scale "
                f"taken off again; output errors by exponent: {', '.join(f'{a}: {e:.3g}' for a, e in zip(alphas, output))}"
            )
            check.equal(answer[0], wanted, f"the best exponent {what}", hint, rtol=1e-9)
            check.equal(answer[1], scale_by_definition(x, wanted).to(dtype), f"the scale {what}", "that of the best exponent", floor="value")
            for name, now, before in (("weight", weight_after, weight), ("x", x_after, x), ("alphas", alphas_after, alphas)):
                check.equal(now, before, f"`{name}` after the search {what}", "it must stay as it was", rtol=0, atol=0)
    signs = torch.tensor([[1.0, -1, 1], [-1, -1, 1], [1, 1, 1], [-1, 1, -1]])
    for alphas in ([0.5, 0.0, 1.0], [1.0, 0.25, 0.5]):
        found = awq_search(0.7 * torch.ones(2, 3), signs, coarse, alphas)[0]
        check.equal(found, alphas[0], f"the exponent of {alphas} when all are equally good", "the first of equals", rtol=1e-9)


@check.scenario
def fold(kind, gain, shift, weights, biases, scale, frozen):
    """Parameters by name after fold_scale, and what became of the objects."""
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    class OwnNorm(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    norms = {
        "RMSNorm": nn.RMSNorm, "LlamaRMSNorm": LlamaRMSNorm, "LayerNorm": nn.LayerNorm, "BatchNorm1d": nn.BatchNorm1d, "a norm of its own class": OwnNorm,
        "LayerNorm without bias": lambda width: nn.LayerNorm(width, bias=False), "GroupNorm": lambda width: nn.GroupNorm(1, width),
    }  # fmt: skip
    norm = norms[kind](len(gain)).to(gain.dtype)
    with torch.no_grad():
        norm.weight.copy_(gain)
        if shift is not None:
            norm.bias.copy_(shift)
    linears = [linear_of(w, b) for w, b in zip(weights, biases)]
    if frozen:
        norm.weight.requires_grad_(False)
        linears[0].weight.requires_grad_(False)
        linears[-1].requires_grad_(False)
    model = nn.ModuleDict({"norm": norm, "linears": nn.ModuleList(linears)})
    before = {name: (p, p.requires_grad) for name, p in model.named_parameters()}
    buffers = {name: b.detach().clone() for name, b in model.named_buffers()}
    given, given_list = scale.clone(), list(linears)
    fold_scale(norm, given_list, given)
    rest = {
        "buffers": all(torch.equal(b, buffers[name]) for name, b in model.named_buffers()),
        "training flags": all(module.training for module in model.modules()),
        "the list of layers": len(given_list) == len(linears) and all(one is other for one, other in zip(given_list, linears)),
    }
    after = dict(model.named_parameters())
    same = [name for name, (p, flag) in before.items() if name in after and after[name] is p and p.requires_grad == flag]
    clean = [name for name, p in after.items() if p.grad is None and p.is_leaf]
    return rest, {n: p.detach().clone() for n, p in after.items()}, sorted(before), sorted(same), sorted(clean), given


def check_folding():
    domain = {
        "gain": cases.tensor("width", dtypes=("float32", "bfloat16"), layouts=("contiguous",)),
        "kind": cases.choice(
            "RMSNorm", "LayerNorm", "LayerNorm without bias", "LlamaRMSNorm", "BatchNorm1d", "a norm of its own class", "GroupNorm"
        ),
        "count": cases.integer(1, 3),
        "frozen": cases.choice(False, True),
        "first layer": cases.choice("float32", "bfloat16"),
    }
    for seed in seeds:
        for number, case in enumerate(cases.draw(seed, domain, width=(1, 300))):
            gain, kind, count, frozen, first = case
            width, dtype = len(gain), gain.dtype
            dtypes = (2 * (torch.float32, torch.bfloat16))[first == "bfloat16" :]  # of the layers, one after the other
            generator = torch.Generator().manual_seed(seed + number)
            weights = [torch.randn(out, width, generator=generator).to(own) for out, own in zip((width, 3, 1)[:count], dtypes)]
            biases = [torch.randn(len(w), generator=generator).to(w.dtype) if i != 1 else None for i, w in enumerate(weights)]
            shift = torch.randn(width, generator=generator).to(dtype) if kind in ("LayerNorm", "BatchNorm1d", "a norm of its own class", "GroupNorm") else None
            scale = torch.exp2(2 * torch.randn(width, generator=generator))
            rest, values, names, same, clean, scale_after = fold(kind, gain, shift, weights, biases, scale, frozen)
            wanted = {"norm.weight": gain.double() / scale} | ({} if shift is None else {"norm.bias": shift.double() / scale})
            for i, (weight, bias) in enumerate(zip(weights, biases)):
                wanted[f"linears.{i}.weight"] = weight.double() * scale
                wanted |= {} if bias is None else {f"linears.{i}.bias": bias.double()}
            kinds = ", ".join(str(one.dtype).removeprefix("torch.") for one in (gain, *weights))
            what = f"after folding into {kind} and {count} linear layers, width {width}, in {kinds},"
            check.equal(scale_after, scale, f"`scale` {what}", "it must stay as it was", rtol=0, atol=0)
            check.equal(sorted(values), names, f"the parameters {what}", "none is added or taken away")
            for name, value in wanted.items():
                hint = (
                    "its output is divided by the scale: gain and bias"
                    if "norm" in name
                    else "the scale belongs to the input channels, the columns; each layer once; biases of linear layers stay"
                )
                given = dtype if "norm" in name else weights[int(name.split(".")[1])].dtype
                check.equal(values[name], value.to(given), f"{name} {what}", hint, floor="value")
            hint = "change them in place, under no_grad: other objects are unknown to an optimizer; what was frozen stays frozen"
            check.equal(same, names, f"parameters that are the same objects with the same requires_grad {what}", hint)
            check.equal(clean, names, f"parameters without gradients and graph {what}", hint)
            check.equal(rest, dict.fromkeys(rest, True), f"what stayed as it was {what}", "only the weights, and the norm's bias, change")


with check.exercise("awq"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"awq_search, the scale": check_scales, "awq_search, the choice": check_search, "fold_scale": check_folding})
check.points(3)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Which axis of the weight does a channel scale belong to, and does broadcasting do the right thing there? After rounding the
# scaled weight you want to compare with the original: what has to happen to the scale first?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `x.abs().mean(0)`, `.clamp(min=...)`, `tensor**alpha`; `math.inf` as a start for the smallest error; `torch.no_grad()` and
# `*=`, `/=` change a parameter in place; `getattr(norm, "bias", None)`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# size = x.abs().mean(0).clamp(min=1e-4)
# best, least = None, math.inf
# for alpha in alphas:
#     scale = ...
#     scale = scale / ...
#     change = quantize(weight * scale) / scale - weight
#     error = ...                                # of the output
#     if error < least: ...
#
# with torch.no_grad():                          # fold_scale
#     for linear in linears:
#         linear.weight *= ...
#     norm.weight /= ...
#     ...                                        # the bias
# ```
# </details>


# %% [markdown]
# #### AWQ on the model, and on the model with strong channels
#
# The model has no channels of the kind that AWQ was made for, so there is little to protect. But `fold_scale` works both
# ways: we can *give* the model strong channels without changing a single output, by folding 1/20 into three channels of each
# norm. That is a fair stand-in for what training does in large models, though a made one. Each block has two norms: one feeds
# query, key and value, the other the two input matrices of the feed-forward part.

# %%


def norms_and_linears(model):
    """(norm, linear layers that read its output, name of the first of them), for each norm inside the blocks."""
    for i, block in enumerate(model.model.layers):
        attention, mlp = block.self_attn, block.mlp
        yield block.input_layernorm, [attention.q_proj, attention.k_proj, attention.v_proj], f"model.layers.{i}.self_attn.q_proj"
        yield block.post_attention_layernorm, [mlp.gate_proj, mlp.up_proj], f"model.layers.{i}.mlp.gate_proj"


def with_awq(model, inputs, bits, group):
    """A copy of `model` with folded AWQ scales and rounded weights, and the exponents chosen."""
    model, chosen = copy.deepcopy(model), []
    for norm, linears, name in norms_and_linears(model):
        together = torch.cat([linear.weight.detach() for linear in linears])
        alpha, scale = awq_search(
            together, inputs[name], lambda w: to_grid(w, group_scale(w, bits, group), bits), [i / 5 for i in range(6)]
        )
        fold_scale(norm, linears, scale)
        chosen.append(alpha)
    return with_weights(model, lambda name, w: to_grid(w, group_scale(w, bits, group), bits)), chosen


strong = copy.deepcopy(language_model)
for norm, linears, _ in norms_and_linears(strong):
    scale = torch.ones(norm.weight.shape)
    scale[[5, 40, 77]] = 1 / 20
    fold_scale(norm, linears, scale)
print(f"perplexity before any rounding: {base_perplexity:.3f} and, with strong channels, {perplexity(strong):.3f}")

awq_bits, awq_group = 4, 128
for label, model in (("model as it is", language_model), ("with strong channels", strong)):
    inputs = record_inputs(model, calibration)
    plain = with_weights(model, lambda name, w: to_grid(w, group_scale(w, awq_bits, awq_group), awq_bits))
    protected, chosen = with_awq(model, inputs, awq_bits, awq_group)
    losses = window_losses(plain), window_losses(protected)
    change = losses[1] - losses[0]
    by, noise = 100 * math.expm1(change.mean()), 200 * (change.std() / len(change) ** 0.5).item()
    print(
        f"{label}: {awq_bits} bits rounded {losses[0].mean().exp():.2f}, with AWQ {losses[1].mean().exp():.2f}, "
        f"that is {by:+.1f} % ± {noise:.1f} (exponents {min(chosen)} to {max(chosen)})"
    )

# %% [markdown]
# On the model as it is no channel sticks out by tens of times, so there is little to gain; and a smaller error in each layer is not
# yet a better model. With strong channels plain rounding suffers, because their weights are small and round to nothing while
# their inputs are large. A method is as good as the problem it was made for.
#
# ## Part C · Files and choices
#
# ### 7 · GGUF: write a file that others can load (4 points, 45 minutes, difficulty 3 of 3)
#
# [GGUF](https://github.com/ggml-org/ggml/blob/master/docs/gguf.md) is the file format of llama.cpp and the programs built on
# it: metadata as key and value, then tensors. A quantized tensor is a row of **blocks** of 32 weights, each with its own
# step $d$ in float16:
#
# | type | step $d$ | code of a weight $w$ | bytes of a block |
# |---|---|---|---|
# | Q8_0 | largest absolute weight / 127 | round($w/d$), int8 | 2 ($d$) + 32 = 34, that is 8.5 bits a weight |
# | Q4_0 | the weight of largest absolute value, *with its sign*, / -8 | floor($w/d$ + 8.5), at most 15; it stands for $d\,(q-8)$ | 2 ($d$) + 16 = 18, that is 4.5 bits a weight |
#
# In Q4_0 two codes share a byte: byte $i$ holds the code of weight $i$ in its lower half and that of weight $i+16$ in its upper
# half. (With the sign in $d$ the strongest weight always gets code 0, which stands for $-8d$: none of the 16 codes is wasted.)
# Codes are worked out with $d$ in float32; float16 is only for storage.
#
# For example, a block of Q4_0 with the weights 4, -2, 1.25 and zeros has $d = -0.5$. Its codes are 0, 12, 6 (that is
# floor(-2.5 + 8.5): halves go up) and 8, which stand for 4, -2, 1 and 0.
#
# Two traps of the format, both handled by tables and a function below: tensors have other names than in transformers, and
# the rows of the query and key matrices are in another order, because llama.cpp turns neighbouring pairs where
# transformers turns the two halves of a head.

# %%


def ggml_name(name, layers):
    """Name of a Llama tensor in GGUF: "model.layers.0.mlp.up_proj.weight" -> "blk.0.ffn_up.weight"."""
    return gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, layers).get_name(name, try_suffixes=(".weight",))


def to_ggml_rope(weight, heads):
    """Rows of a query or key matrix, a NumPy array (heads * size, in), in llama.cpp's order."""
    return weight.reshape(heads, 2, len(weight) // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def add_metadata(writer, config):
    """What a program must know to run the tensors as a Llama model."""
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def write_file(path, model, kind, add):
    """A whole GGUF file; add(writer, model, kind) adds the tensors."""
    writer = gguf.GGUFWriter(path, "llama")
    add_metadata(writer, model.config)
    add(writer, model, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# %% [markdown]
# **Task.** Four functions. Arrays are NumPy, float32.
#
# `pack_q8_0(x)` and `pack_q4_0(x)` take float32 `(rows, columns)`, with one row or more, `columns` a multiple of 32 and any memory
# layout. Weights are 0 or up to 10,000 in size; the largest of a block is 0 or at least 0.0001. They return uint8
# `(rows, columns // 32 * 34)` and `(rows, columns // 32 * 18)`.
#
# - A row holds its blocks one after the other; in each block $d$ comes first, two bytes of float16, then the
#   codes. <!-- rule: layout -->
# - $d$ follows from the 32 weights of the block alone, by the table. If two weights of a block of Q4_0 are equally strong, the first
#   one gives the sign. <!-- rule: step -->
# - In Q8_0 codes are rounded to the nearest, with $d$ in float32. (At halves either is right: llama.cpp goes away from zero,
#   `np.round` to even.) <!-- rule: codes8 -->
# - In Q4_0 they are floor($w/d$ + 8.5), at most 15, with $d$ in float32; so halves go up. <!-- rule: codes4 -->
# - Byte $i$ of a Q4_0 block holds code $i$ in its lower and code $i+16$ in its upper half. <!-- rule: halves -->
# - In a block of zeros $d$ is 0 and $w/d$ counts as 0, without a warning from NumPy. <!-- rule: zeros -->
# - `x` stays as it was, and so do the settings of NumPy and of Python's warnings. <!-- rule: unchanged -->
#
# `add_tensors(writer, model, kind)` adds the weights of a `LlamaForCausalLM` without biases to a `gguf.GGUFWriter`; `kind` is
# `"F32"`, `"F16"`, `"Q8_0"` or `"Q4_0"`.
#
# - Every weight of `model.state_dict()` is added once, under the name that `ggml_name` gives, by
#   `writer.add_tensor(name, packed, raw_dtype=...)`, where `raw_dtype` is the `GGMLQuantizationType`. <!-- rule: complete -->
# - `lm_head.weight` is left out if `model.config.tie_word_embeddings`, and only then. <!-- rule: tied -->
# - Query and key matrices (`q_proj.weight`, `k_proj.weight`) go through `to_ggml_rope`. <!-- rule: rope -->
# - That takes the number of *their* heads: `num_attention_heads` and `num_key_value_heads` of the config. <!-- rule: heads -->
# - Matrices are packed by `gguf.quants.quantize(array, GGMLQuantizationType[kind])`. <!-- rule: kinds -->
# - Vectors stay float32 (`"F32"`) in any `kind`. <!-- rule: vectors -->
# - The model may be float32 or bfloat16 (which NumPy does not know, and which holds numbers too large for
#   float16). <!-- rule: bfloat16 -->
# - The model stays as it was. <!-- rule: model_unchanged -->
#
# `read_tensors(path)` reads a GGUF file with `gguf.GGUFReader`. Its `tensors` have a `name`, a `tensor_type`, and `data`: a NumPy array
# with a row for each row of the matrix, of floats in F32 and F16, of the blocks' bytes in other types.
# `gguf.quants.dequantize(data, type)` unpacks.
#
# - It returns a dict from GGUF name to array, for all tensors of the file, of whatever type that function knows. <!-- rule: types -->
# - Arrays are float32 and have the shape `(rows, columns)` or `(length,)`. <!-- rule: shapes -->


# %% exercise="gguf_file" minutes=45 difficulty=3
def pack_q8_0(x):
    """Blocks of type Q8_0: float32 (rows, columns) -> uint8 (rows, columns // 32 * 34)."""
    ### BEGIN SOLUTION
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)
    ### END SOLUTION


def pack_q4_0(x):
    """Blocks of type Q4_0: float32 (rows, columns) -> uint8 (rows, columns // 32 * 18)."""
    ### BEGIN SOLUTION
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)
    ### END SOLUTION


def add_tensors(writer, model, kind):
    """Add the weights of a Llama model to an open GGUF writer, matrices as `kind`."""
    ### BEGIN SOLUTION
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]  # NumPy knows no bfloat16
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        new_name = ggml_name(name, config.num_hidden_layers)
        writer.add_tensor(new_name, gguf.quants.quantize(array, code), raw_dtype=code)
    ### END SOLUTION


def read_tensors(path):
    """All tensors of a GGUF file: name -> float32 array."""
    ### BEGIN SOLUTION
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}
    ### END SOLUTION


# %% tests="gguf_file" points=4
@check.scenario
def pack_and_listen(pack, x):
    """What a packing function gives, what NumPy warned of, and whether the settings are those from before."""
    with np.errstate(divide="warn", invalid="warn", over="warn"), warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        settings = np.geterr(), list(warnings.filters)
        packed = pack(x)
        kept = settings == (np.geterr(), list(warnings.filters))
    return packed, [str(w.message) for w in seen if issubclass(w.category, RuntimeWarning)], kept


def arrays_to_pack():
    """Words and arrays, from small to large: any values, then blocks made for one purpose each."""
    domain = {"x": cases.array("rows", "columns", dtypes=("float32",), scale=(1e-3, 1e4))}
    for case in cases.draw(seeds, domain, rows=(1, 20), columns=(32, 320, 32)):
        yield str(case), case["x"]
    for seed in seeds:
        random = np.random.default_rng(seed)
        x = random.standard_normal((3, 96)).astype(np.float32)
        yield "blocks of different size", x * np.repeat(np.float32([1e-3, 1, 1e3]), 32)
        x[1, :32], x[2, 64:] = 0, 0
        yield "blocks of zeros between others", x
        strong = random.standard_normal((4, 32)).astype(np.float32)
        strong[0, [5, 20]], strong[1, [20, 5]], strong[2, [5, 6]], strong[3, [30, 31]] = [9, -9], [9, -9], [-9, 9], [7, 7]
        yield "two equally strong weights in a block", strong
        halves = (random.permuted(np.arange(-16, 16)[None].repeat(3, 0), axis=1) / 2).astype(np.float32)
        halves *= np.float32([1, -1, 0.125])[:, None]
        yield "weights halfway between two codes", np.concatenate([halves, np.roll(halves, 3, 1)], 1)
        share = random.uniform(-1, 1, (4, 64)).astype(np.float32)
        share[:, [7, 40]] = np.float32([[1, -1], [-1, 1], [1, 1], [-1, -1]])
        for peak in (1e-4, 1e4):
            yield f"blocks whose strongest weight is {peak}", share * np.float32(peak)


def settled(observed, wanted, exact, slack):
    """`observed` where it is as near to `exact` as `wanted` is, up to `slack`; `wanted` elsewhere."""
    as_near = np.abs(observed - exact) <= np.abs(wanted - exact) + slack
    return np.where(as_near, observed, wanted)


def check_blocks(pack, kind, size):
    for words, x in arrays_to_pack():
        what = f"{kind} of {words}"
        (observed, warned, kept), (_, after) = check.after(pack_and_listen, pack, x)
        check.kind(observed, np.ndarray, what)
        check.shape(observed, (len(x), x.shape[1] // 32 * size), what, f"{size} bytes for 32 weights")
        check.equal(observed.dtype, np.dtype(np.uint8), f"the dtype of {what}", "view(np.uint8) shows the bytes of an array")
        blocks, w = observed.reshape(-1, size), np.ascontiguousarray(x).reshape(-1, 32).astype(np.float64)
        strongest = np.take_along_axis(w, np.abs(w).argmax(1, keepdims=True), 1)
        d = np.abs(strongest) / 127 if kind == "Q8_0" else strongest / -8
        found = np.ascontiguousarray(blocks[:, :2]).view(np.float16)
        hint = "float16, the first two bytes of each block; in Q4_0 it has the sign opposite to the strongest weight (the first of equals)"
        wanted = settled(found, d.astype(np.float32).astype(np.float16), d, 1e-6 * np.abs(d)).astype(np.float16)
        check.equal(found, wanted, f"the steps d of {what}", hint, rtol=0.0, atol=0.0)
        exact = w / np.where(d == 0, 1, d)
        if kind == "Q8_0":
            codes = np.ascontiguousarray(blocks[:, 2:]).view(np.int8).astype(np.float64)
            wanted = settled(codes, np.round(exact), exact, 1e-4)
            causes, hint = {}, "w over d in float32, to the nearest; 0 in a block of zeros"
        else:
            codes = np.hstack([blocks[:, 2:] & 15, blocks[:, 2:] >> 4]).astype(np.float64)
            wanted = np.floor(exact + 8.5).clip(max=15)
            # where d is a power of two no quotient is rounded, so halves are halves; elsewhere close to the middle either is right
            wanted = np.where(np.abs(np.frexp(d)[0]) == 0.5, wanted, settled(codes, wanted, exact + 8, 1e-4))
            causes = {
                "neighbours do not share a byte: weight i is in its lower half, weight i + 16 in the upper": np.hstack([wanted[:, ::2], wanted[:, 1::2]]),
                "halves go up: the floor of w / d + 8.5, not a rounding": (np.round(exact) + 8).clip(max=15),
                "the lower half of byte i holds weight i, the upper weight i + 16": np.hstack([wanted[:, 16:], wanted[:, :16]]),
            }
            hint = "floor(w / d + 8.5), at most 15, d in float32; weight i is in the lower half of byte i, weight i + 16 in the upper"
        check.equal(codes, wanted, f"the codes of {what}", hint, causes=causes, rtol=0.0, atol=0.0)
        if warned:
            check.true(False, f"{what}: NumPy warns of '{warned[0]}'. A block of zeros has the step 0: do not divide by it.")
        check.true(kept, f"after packing {what} other settings than before hold for NumPy's errors (np.seterr) or Python's warnings.")
        check.equal(after, x, f"the array after packing {what}", "it must not be changed", rtol=0.0, atol=0.0)


@check.shared
def random_llama(tied, layers, heads, kv_heads, head_dim, dtype, seed):
    """A tiny Llama with random weights, matrices of sizes that tell rows from columns."""
    config = LlamaConfig(
        vocab_size=40, hidden_size=64, intermediate_size=96, num_hidden_layers=layers, num_attention_heads=heads, head_dim=head_dim,
        num_key_value_heads=kv_heads, max_position_embeddings=64, tie_word_embeddings=tied == "tied",
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    model = LlamaForCausalLM(config).eval().to(dtype)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.3 + (p.ndim == 1))
        if tied == "untied, with equal values":
            model.lm_head.weight.copy_(model.model.embed_tokens.weight)
        if dtype == torch.bfloat16:
            model.model.layers[0].mlp.up_proj.weight[0, 0] = 3e5  # beyond float16
    model.model.layers[0].train().self_attn.k_proj.requires_grad_(False)
    return model


@check.scenario
def write_model(folder, plan, kind):
    """Writes a GGUF file; the model's state and whether its parameters are the same objects, afterwards and before."""
    model = random_llama(*plan)
    parameters, before = dict(model.named_parameters()), check.module_state(model, values=True)
    write_file(Path(folder, "model.gguf"), model, kind, add_tensors)
    after = dict(model.named_parameters())
    return check.module_state(model, values=True), before, after.keys() == parameters.keys() and all(after[n] is p for n, p in parameters.items())


@check.scenario(clean=True)
def look_into(folder):
    return {t.name: (t.tensor_type.name, np.array(t.data)) for t in gguf.GGUFReader(Path(folder, "model.gguf")).tensors}


@check.scenario(clean=True)
def loaded_logits(folder, ids):
    with torch.no_grad():
        return load_gguf(folder, "model.gguf")(input_ids=ids).logits.float()


def wanted_tensors(model):
    """GGUF name -> float32 array, in llama.cpp's order of rows."""
    config, wanted = model.config, {}
    names = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    for i, block in enumerate(model.model.layers):
        for old, new in names.items():
            array = block.get_submodule(old).weight.detach().float().numpy()
            heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(new)
            if heads:
                halves = array.reshape(heads, 2, -1, array.shape[1])
                array = np.stack([halves[:, 0], halves[:, 1]], 2).reshape(array.shape)
            wanted[f"blk.{i}.{new}.weight"] = array
    wanted["token_embd.weight"] = model.model.embed_tokens.weight.detach().float().numpy()
    wanted["output_norm.weight"] = model.model.norm.weight.detach().float().numpy()
    if not config.tie_word_embeddings:
        wanted["output.weight"] = model.lm_head.weight.detach().float().numpy()
    return wanted


def check_tensors():
    folder = check.folder()
    for seed in seeds:
        for plan, kind in (
            (("tied", 2, 4, 2, 16, torch.float32), "F32"),
            (("untied", 1, 2, 2, 32, torch.float32), "Q4_0"),
            (("tied", 6, 8, 4, 8, torch.bfloat16), "Q8_0"),
            (("untied, with equal values", 3, 4, 1, 32, torch.float32), "F16"),
        ):
            tied, layers, heads, kv_heads, head_dim, dtype = plan
            model = random_llama(*plan, seed)
            what = f"a file of kind {kind}, {tied}, {layers} layers, {heads} heads of {head_dim}, {kv_heads} for keys, {dtype}"
            state, before, same = write_model(folder, (*plan, seed), kind)
            tensors, wanted = look_into(folder), wanted_tensors(model)
            as_they_are = {ggml_name(name, layers): tensor.float().numpy() for name, tensor in model.state_dict().items()}
            hint = "ggml_name gives the names; a tied output layer is not written, one of its own is"
            check.equal(sorted(tensors), sorted(wanted), f"the tensors in {what}", hint)
            for name, array in wanted.items():
                stored, packed = tensors[name]
                as_kind = kind if array.ndim == 2 else "F32"
                check.equal(stored, as_kind, f"the type of {name} in {what}", "matrices get the kind, vectors stay F32")
                code = GGMLQuantizationType[as_kind]
                goal = gguf.quants.dequantize(gguf.quants.quantize(np.ascontiguousarray(array), code), code)
                unpacked = gguf.quants.dequantize(packed, code)
                causes = {}
                if name.endswith(("attn_q.weight", "attn_k.weight")):
                    plain = gguf.quants.dequantize(gguf.quants.quantize(as_they_are[name], code), code)
                    causes = {"query and key rows must be put into llama.cpp's order": plain}
                hint = "only query and key rows are put into llama.cpp's order, by the number of their own heads"
                check.equal(unpacked, goal, f"{name} in {what}", hint, causes=causes)
            check.unchanged(state, before, f"the model after writing {what}")
            check.true(same, f"after writing {what} a parameter of the model is not the same object as before.")
            if kind == "F32" and seed == seeds[0]:
                ids = torch.arange(12).view(2, 6)
                with torch.no_grad():
                    logits = model(input_ids=ids).logits
                error = (loaded_logits(folder, ids) - logits).norm() / logits.norm()
                check.between(error, 0, 1e-4, f"the relative error of the logits when transformers loads {what}")


@check.scenario
def read_back(folder, tensors):
    """What read_tensors gives for a file of these tensors: name -> (type, packed array)."""
    path = Path(folder, "tensors.gguf")
    writer = gguf.GGUFWriter(path, "llama")
    for name, (kind, packed) in tensors.items():
        writer.add_tensor(name, packed, raw_dtype=GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    read = read_tensors(path)
    return {name: np.array(array) for name, array in read.items()} if type(read) is dict else read


def check_reading():
    folder = check.folder()
    for seed in seeds:
        random = np.random.default_rng(seed)
        for kinds in (("F32",), ("F32", "Q8_0"), ("Q4_0", "F16", "Q5_0", "BF16", "Q4_1", "Q4_K")):
            tensors, wanted = {"vector": ("F32", np.arange(5, dtype=np.float32))}, {"vector": np.arange(5, dtype=np.float32)}
            for i, kind in enumerate(kinds):
                code, array = GGMLQuantizationType[kind], random.standard_normal((1 + 2 * i, 64 * (1 + i))).astype(np.float32)
                # the package packs no K types: any bytes are a block
                packed = random.integers(0, 60, (3, 2 * 144), dtype=np.uint8) if kind == "Q4_K" else gguf.quants.quantize(array, code)
                tensors[f"{kind}.weight"] = (kind, packed)
                wanted[f"{kind}.weight"] = gguf.quants.dequantize(packed, code)
            hint = "`data` by rows, unpacked by its type; the `shape` of a GGUF tensor lists the axes the other way round"
            what = f"the tensors of a file with types {', '.join(kinds)}"
            observed = read_back(folder, tensors)
            check.kind(observed, dict, what)
            check.equal(observed, {name: np.array(array) for name, array in wanted.items()}, what, hint)


with check.exercise("gguf_file"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts(
        {
            "pack_q8_0": lambda: check_blocks(pack_q8_0, "Q8_0", 34),
            "pack_q4_0": lambda: check_blocks(pack_q4_0, "Q4_0", 18),
            "add_tensors": check_tensors,
            "read_tensors": check_reading,
        }
    )
check.points(4)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Work on an array of blocks, `(number of blocks, 32)`: then a step is a column and a block of bytes is a row, and the pieces only
# have to be put side by side. For the file: which three kinds of tensor need something special?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `array.reshape(-1, 32)`; `np.abs(blocks).argmax(1, keepdims=True)` with `np.take_along_axis`; `np.hstack`;
# `.astype(np.float16).view(np.uint8)` gives two bytes a number; `low | high << 4` puts two codes into a byte;
# `tensor.float().numpy()`; `GGMLQuantizationType["Q8_0"]`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# blocks = x.reshape(-1, 32)                                       # pack_q4_0
# d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
# codes = np.floor(blocks / np.where(d == 0, 1, d) + ...).clip(max=15).astype(np.uint8)
# np.hstack([d.astype(np.float16).view(np.uint8), ...]).reshape(len(x), -1)
#
# for name, tensor in model.state_dict().items():                  # add_tensors
#     if name == "lm_head.weight" and ...:
#         continue
#     array = tensor.float().numpy()
#     if name.endswith("q_proj.weight"):
#         array = to_ggml_rope(array, ...)
#     ...
#     code = GGMLQuantizationType[...]                             # kind for matrices, "F32" for vectors
#     writer.add_tensor(..., gguf.quants.quantize(array, code), raw_dtype=code)
#
# {t.name: gguf.quants.dequantize(...) for t in gguf.GGUFReader(path).tensors}   # read_tensors
# ```
# </details>


# %% [markdown]
# #### The model as GGUF, and as bitsandbytes
#
# The language model is written in four types and loaded again by transformers, which unpacks it to floats. llama.cpp
# would compute on the packed blocks. In GGUF the embedding is packed too. (llama.cpp also wants the tokenizer in the file, as
# metadata; its `convert_hf_to_gguf.py` writes that. Our files hold the weights alone.)

# %%
with tempfile.TemporaryDirectory() as place:
    for kind in ("F32", "F16", "Q8_0", "Q4_0"):
        path = Path(place, f"{kind}.gguf")
        write_file(path, language_model, kind, add_tensors)
        loaded = load_gguf(place, path.name)
        results[f"GGUF {kind}"] = (path.stat().st_size, perplexity(loaded))
        print(f"{path.name:10} {path.stat().st_size / 1e6:.3f} MB, perplexity {results[f'GGUF {kind}'][1]:.3f}")
    own = pack_q4_0(layer.numpy())
    reader = {t.name: t.data for t in gguf.GGUFReader(Path(place, "Q4_0.gguf")).tensors}
    print("your Q4_0 bytes are those in the file:", np.array_equal(own, reader["blk.1.ffn_up.weight"]))
    del reader

# %% [markdown]
# `bitsandbytes` quantizes while it loads. Its NF4 (built by hand in lesson 12) uses 16 levels placed as normal weights are, one
# scale for 64 weights. Note how the size is counted: `model.get_memory_footprint()` leaves out the scales.

# %%


def bitsandbytes_bytes(model):
    """Parameters and buffers, plus scales, which bitsandbytes keeps beside its 4-bit and 8-bit weights."""
    total = stored_bytes(model)
    for p in model.parameters():
        state = getattr(p, "quant_state", None)
        if state is not None:
            inner = state.state2  # scales of the scales, with double quantization
            tables = [state.absmax] if inner is None else [state.absmax, inner.absmax]
            total += sum(t.nbytes for t in tables)
        elif getattr(p, "SCB", None) is not None:
            total += p.SCB.nbytes
    return total


for label, options in (
    ("bitsandbytes int8", {"load_in_8bit": True}),
    ("bitsandbytes NF4", {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.float32}),
    (
        "bitsandbytes NF4, double",
        {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_compute_dtype": torch.float32,
            "bnb_4bit_use_double_quant": True,
        },
    ),
):
    config = BitsAndBytesConfig(**options)
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=config, device_map="cpu", dtype=torch.float32).eval()
    results[label] = (bitsandbytes_bytes(model), perplexity(model))
    print(
        f"{label:26} {results[label][0] / 1e6:.3f} MB (get_memory_footprint: {model.get_memory_footprint() / 1e6:.3f}), "
        f"perplexity {results[label][1]:.3f}"
    )

# %% [markdown]
# ### 8 · Which one? The Pareto front (2 points, 20 minutes, difficulty 1 of 3)
#
# "4 bits" is never 4 bits: scales (and zero points) are shared by a group of weights and cost their share. And a method is
# worth a thought only if no other is both smaller and better. What is left is the **Pareto front**.
#
# **Task.** Three functions. `points` is a dict of one or more entries from name to `(bytes, perplexity)`: bytes from 1 to 10¹²,
# perplexities from 1 to 10³⁰ (a model that rounding has destroyed has a huge one). Different names can have equal numbers. Numbers are
# compared as they are: who is one byte smaller is smaller, and who is better by a millionth is better.
#
# `bits_per_weight(bits, group, scale_bits, zero_bits=0)`: a group of `group` weights, one or more, shares one scale of `scale_bits`
# and one zero point of `zero_bits`.
#
# - It returns the bits that one weight really takes: its own and its share of the scale. <!-- rule: share -->
# - The share of the zero point counts too. <!-- rule: zero_bits -->
#
# `frontier(points)` returns a list of names.
#
# - A point is **not** on the front if another one is at least as good in both and better in one; all others are on
#   it. <!-- rule: beaten -->
# - Equal points do not beat one another: they are on the front together, or both not. <!-- rule: equals -->
# - The names come by bytes, the smallest first; equal points in the order of the dict. <!-- rule: order -->
#
# `cheapest(points, reference, worse)` returns a name; `worse` is 0 or more.
#
# - A point may be chosen if its perplexity is at most the share `worse` above that of the point `reference`: 0.01 means at most 1 %
#   more, and exactly 1 % more is allowed. <!-- rule: limit -->
# - A better perplexity than that of `reference` is welcome, however much better it is. <!-- rule: better -->
# - Among those it takes the one with the fewest bytes. <!-- rule: fewest -->
# - Of equally small ones it takes the first in the dict, whatever their perplexity. <!-- rule: first -->
#
# And for both:
#
# - `points` stays as it was, and in its order. <!-- rule: unchanged -->


# %% exercise="pareto" minutes=20 difficulty=1
def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    """Bits that a weight takes, with its share of scale and zero point."""
    ### BEGIN SOLUTION
    return bits + (scale_bits + zero_bits) / group
    ### END SOLUTION


def frontier(points):
    """Names of the points that no other point beats, smallest first."""
    ### BEGIN SOLUTION

    def beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][0])
    ### END SOLUTION


def cheapest(points, reference, worse):
    """The smallest point whose perplexity is at most the share `worse` above that of `reference`."""
    ### BEGIN SOLUTION
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][0])
    ### END SOLUTION


# %% tests="pareto" points=2
def check_bits():
    domain = {
        "bits": cases.integer(2, 16),
        "group": cases.choice(32, 1, 5, 128, 4096),
        "scale_bits": cases.choice(16, 8, 32),
        "zero_bits": cases.choice(0, 4, 16),
    }
    hint = "scale and zero point are shared by the weights of a group"
    causes = {"the zero point takes bits too": lambda bits, group, scale_bits, zero_bits: bits + scale_bits / group}
    wanted = lambda bits, group, scale_bits, zero_bits=0: float(bits + (scale_bits + zero_bits) / group)  # noqa: E731
    check.agrees(bits_per_weight, wanted, cases.draw(seeds, domain), "`bits_per_weight`", hint, causes=causes)
    check.equal(bits_per_weight(4, 32, 16), 4.5, "`bits_per_weight` of 4 bits in groups of 32 with scales of 16 bits", hint)


def points_to_judge():
    """Dicts of points, from one to many, with equal bytes, equal perplexities and equal points; the names tell nothing."""
    shop = {"big": (40, 10.0), "waste": (30, 12.0), "good": (20, 10.5), "tiny": (5, 30.0), "bad": (6, 31.0)}
    yield {"only": (3, 3.0)}
    yield shop
    yield {"b": (7, 3.0), "a": (7, 3.0), "c": (7, 3.5), "d": (9, 3.0)}
    yield {"b": (9, 4.0), "a": (9, 4.0), "c": (8, 4.0), "d": (9, 3.5), "e": (9, 4.0)}
    yield {"near": (10**12, 4.0), "a byte less": (10**12 - 1, 4.0), "better by a millionth": (10**12, 4.0 - 4e-6)}
    yield {"near": (10**12, 4.0), "a byte less": (10**12 - 1, 4.0)}  # each edge in a dict of its own: it alone decides
    yield {"near": (7, 4.0), "better by a billionth": (7, 4.0 - 4e-9)}
    yield {"near": (10**12, 4.0), "a byte less, worse by a billionth": (10**12 - 1, 4.0 + 4e-9)}
    yield {"broken": (10**12 - 1, 1e30), "fine": (10**12, 9e29)}
    yield {"b": (2**31 + 1, 7.0), "a": (2**31, 7.000001), "c": (2**31 + 1, 7.0), "d": (2**31 + 1, 7.000002)}
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        for count, different in ((2, 2), (3, 2), (6, 3), (12, 4), (40, 30)):
            for _ in range(4):
                numbers = torch.randint(1, different + 1, (count, 2), generator=generator).tolist()
                names = torch.randperm(count, generator=generator).tolist()
                yield {f"p{name}": (10 * size, 3.0 + value / 4) for name, (size, value) in zip(names, numbers)}


def front_by_definition(points):
    def beats(one, other):
        return one[0] <= other[0] and one[1] <= other[1] and one != other

    front = [name for name in points if not any(beats(other, points[name]) for other in points.values())]
    return sorted(front, key=lambda name: points[name][0])


def check_front():
    hint = "beaten is who has another at least as good in bytes and perplexity, and better in one; the smallest comes first"
    causes = {
        "equal points do not beat each other": lambda points: [
            n for n in front_by_definition(points) if list(points.values()).count(points[n]) == 1
        ],
        "equal points are on the front together": lambda points: list({points[n]: n for n in front_by_definition(points)[::-1]}.values())[::-1],
        "who is as good in one and worse in the other is beaten too": lambda points: sorted(
            (n for n in points if not any(o[0] < points[n][0] and o[1] < points[n][1] for o in points.values())),
            key=lambda n: points[n][0],
        ),
    }
    drawn = (cases.Case({"points": points}, {"points": str(points)}) for points in points_to_judge())
    check.agrees(frontier, front_by_definition, drawn, "`frontier`", hint, causes=causes)
    for points in points_to_judge():
        _, (after,) = check.after(frontier, points)
        check.equal(list(after), list(points), f"the order of `points` after `frontier` of {points}", "sort names, not the dict")


def cheapest_by_definition(points, reference, worse):
    best = None
    for name, (size, perplexity) in points.items():
        if perplexity <= points[reference][1] * (1 + worse) and (best is None or size < points[best][0]):
            best = name
    return best


def check_choice():
    shop = {"fp": (40, 10.0), "eight": (11, 10.0), "four": (6, 10.1), "four too": (6, 10.04), "two": (3, 16.0)}
    at_limit = {"fp": (40, 16.0), "at the limit": (10, 20.0), "beyond": (5, 20.5), "better": (20, 2.0)}  # numbers that floats hold exactly
    hand = [(shop, "fp", worse) for worse in (0.02, 0.005, 0.001, 0, 0.61)] + [(shop, "four", 0.0)]
    hand += [(at_limit, "fp", worse) for worse in (0.25, 0, 0.125)] + [({"last": (6, 20.0), "cheap": (3, 6.0)}, "last", 0.05)]
    hand += [({"fp": (10**11, 16.0), "a little beyond": (10**10, 20.000004), "at the limit": (10**11 - 1, 20.0)}, "fp", 0.25)]
    hand += [({"only": (10**12, 1e30)}, "only", 0.0), ({"small": (3, 12.0), "large": (9, 11.0)}, "small", 0.0), ({"b": (3, 4.5), "a": (3, 4.0)}, "a", 0.5)]
    drawn = hand + [(points, name, worse) for points in points_to_judge() for name in list(points)[:2] for worse in (0.0, 0.07, 1)]
    hint = "limit: perplexity of the reference times 1 + worse, itself allowed; then the fewest bytes, the first of equals"
    causes = {
        "a better perplexity is welcome, however far it is from the reference": lambda points, reference, worse: min(
            (n for n in points if abs(points[n][1] - points[reference][1]) <= worse * points[reference][1]), key=lambda n: points[n][0]
        ),
        "`worse` is a share of the reference's perplexity, not an amount": lambda points, reference, worse: min(
            (n for n in points if points[n][1] <= points[reference][1] + worse), key=lambda n: points[n][0]
        ),
    }
    named = (cases.Case(dict(zip(("points", "reference", "worse"), case)), {"arguments": str(case)}) for case in drawn)
    check.agrees(cheapest, cheapest_by_definition, named, "`cheapest`", hint, causes=causes)
    for points in points_to_judge():
        _, (after, *_) = check.after(cheapest, points, next(iter(points)), 0.07)
        check.equal(list(after), list(points), f"the order of `points` after `cheapest` of {points}", "sort names, not the dict")


with check.exercise("pareto"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"bits_per_weight": check_bits, "frontier": check_front, "cheapest": check_choice})
check.points(2)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Say in one sentence when point A beats point B, and try the sentence on two equal points: neither may beat the other.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `any(... for other in points.values())`; `sorted(names, key=...)` and `min(names, key=...)`: both keep the order of
# equals.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# bits + (...) / group
#
# def beaten(point):
#     return any(other != point and ... for other in points.values())
#
# sorted((name for name in points if not beaten(points[name])), key=...)
#
# limit = points[reference][1] * ...
# min((name for name in points if ... <= limit), key=lambda name: points[name][0])
# ```
# </details>


# %% [markdown]
# #### One table, one plot
#
# The rows still missing: 4, 3 and 2 bits in groups of 32, rounded, by torchao, and with GPTQ. torchao keeps codes below 8 bits
# unpacked, one a byte, on this kind of machine; the table counts them as packed, with float32 scales as it has them. "By hand" counts float16 scales.

# %%
fixed_bytes = 4 * (everything - in_linears)  # embedding and norms in float32
for bits in (4, 3, 2):
    config = IntxWeightOnlyConfig(weight_dtype=getattr(torch, f"int{bits}"), granularity=PerGroup(32))
    library = copy.deepcopy(language_model)
    quantize_(library, config, filter_fn=linear_but_head)
    results[f"torchao int{bits}, groups of 32"] = (packed_bytes(library, bits), perplexity(library))
    size = int(fixed_bytes + in_linears * bits_per_weight(bits, 32, 16) / 8)
    _, rounded, corrected = next(row for row in comparison if row[0] == bits)
    results[f"int{bits} by hand, groups of 32"] = (size, rounded)
    results[f"int{bits} GPTQ, groups of 32"] = (size, corrected)
results["bfloat16"] = (
    stored_bytes(copy.deepcopy(language_model).bfloat16()),
    perplexity(copy.deepcopy(language_model).bfloat16()),
)

front = frontier(results)
print(f"{'':32} {'MB':>7} {'smaller':>8} {'perplexity':>11} {'worse by':>9}")
for name in sorted(results, key=lambda name: -results[name][0]):
    size, value = results[name]
    print(
        f"{name:32} {size / 1e6:7.3f} {results['float32'][0] / size:7.2f}x {value:11.3f} {value / base_perplexity - 1:9.2%}"
        f"{'   on the front' if name in front else ''}"
    )
print("cheapest at most 1 % worse than float32:", cheapest(results, "float32", 0.01))
print(f"{len(front)} of {len(results)} rows are on the front.")

# %%
families = {"by hand": "o", "GPTQ": "*", "torchao": "s", "bitsandbytes": "^", "GGUF": "D", "float": "x"}
figure, axis = plt.subplots(figsize=(9, 5), layout="constrained")
places = {n: (size / 1e6, 100 * (value / base_perplexity - 1)) for n, (size, value) in results.items()}  # MB, % worse
for i, (family, marker) in enumerate(families.items()):
    chosen = [place for n, place in places.items() if family in n]
    axis.plot(*zip(*chosen), marker, color=f"C{i}", ms=7, label=family, alpha=0.8)
axis.plot(*zip(*[places[n] for n in front]), color="grey", lw=1, zorder=0, label="Pareto front")
for n in front:
    axis.annotate(n, places[n], xytext=(7, 6), textcoords="offset points", fontsize=9)
axis.axhline(1, ls=":", color="black", lw=1, label="1 % worse than float32")
axis.set(xlabel="size of the model (MB, 10⁶ bytes)", ylabel="perplexity, % worse than float32", xscale="log")
axis.set_yscale("symlog", linthresh=1)  # even steps from 0 to 1 %, factors of ten above
axis.set_ylim(-0.5, 500)
axis.set_yticks([0, 0.5, 1, 3, 10, 30, 100, 300], ["0", "0.5", "1", "3", "10", "30", "100", "300"])
axis.set_xlim(0.45, 4.4)
axis.set_xticks([0.5, 1, 2, 4], ["0.5", "1", "2", "4"])
axis.minorticks_off()
axis.legend(fontsize=8)
plt.show()

# %% [markdown]
# Read the plot from right to left: what is the first step that costs anything, and where does the curve turn up? Fewer bits in the
# linear layers are not the only step to the left. The GGUF files pack the *embedding* as well, which no other row does; in a
# large model its share is small and the linear layers decide.
#
# So which choice is a waste? Almost every row is off the front. But a difference of a thousandth in perplexity is noise, and a front
# compares whole files: GPTQ's files have their embedding in float32, Q8_0's has not. Where GPTQ would stand with a packed embedding
# this table does not say. Ask what else differs before you call a *method* a waste.

# %% [markdown]
# ## Part D · Training for the rounding
#
# ### 9 · Quantization-aware training (3 points, 35 minutes, difficulty 3 of 3)
#
# Everything so far rounds a finished model: *post-training quantization*, PTQ. With 2 bits that fails: three levels, and
# weights that were never meant for them. **QAT** trains the model *with* its rounding: the forward pass uses
# rounded weights, the optimizer moves the full ones behind them.
#
# The rounding function is flat almost everywhere, so its true gradient is 0 and nothing would learn. The
# **straight-through estimator** ([Bengio and others, 2013](https://arxiv.org/abs/1308.3432)) pretends in the backward pass that
# rounding did nothing. This is wrong, and it works.
#
# **Task.** A module and two functions.
#
# `FakeQuantize(bits)`, with 2 to 8 bits, is an `nn.Module`. `forward(w)` takes a float32 or float64 weight with two to four axes,
# output channels first, each of length 1 or more, of any memory layout. The largest weight of a channel is 0 or at least 1e-6 in
# size, and channels may differ by many orders of magnitude. It returns the weight rounded, symmetrically and per channel. (No
# weight of the tests lies halfway between two codes.)
#
# - The scale of a channel is its largest absolute weight over $2^{b-1}-\tfrac12$. (The strongest weight lies half a step beyond the
#   last code. At 2 bits this scale is two thirds of the obvious one and far better.) <!-- rule: scale -->
# - Each channel (index of axis 0) has a scale of its own, over all other axes. <!-- rule: channel -->
# - Codes are the nearest from $-(2^{b-1}-1)$ to $2^{b-1}-1$; with 2 bits these are -1, 0 and 1. The result is code times
#   scale. <!-- rule: codes -->
# - A channel of zeros stays zero. <!-- rule: zeros -->
# - Each call rounds the weight that it is given by that weight's own scales, in training and in eval mode, whether or not the
#   weight requires a gradient. <!-- rule: each_call -->
# - The gradient of `w` is the incoming gradient, unchanged: nothing flows by way of the scale. <!-- rule: straight -->
# - The result has the shape and dtype of `w` and is worked out in it (or in a finer one); `w` stays as it was. <!-- rule: dtype -->
#
# `prepare_qat(model, bits)` registers it, in place, by `parametrize.register_parametrization(module, "weight", ...)`: from then on
# `module.weight` is the rounded weight, and the full one stays a parameter of the model. `model` may itself be such a layer. No two
# layers share a weight, and no weight has a parametrization yet.
#
# - This happens to every `nn.Conv2d` and `nn.Linear` of `model`, those of a subclass too, at any depth. <!-- rule: depth -->
# - It happens to no other module, and to no bias. <!-- rule: others -->
# - The rounding is done anew at each forward pass, so an optimizer's step on the full weights shows in the next. <!-- rule: anew -->
# - The full weights stay trainable parameters, with the gradient at the rounded ones; a frozen weight stays
#   frozen. <!-- rule: trainable -->
# - Training flags of all modules that were there stay as they were. <!-- rule: mode -->
#
# `convert_qat(model)` ends it, in place.
#
# - Every such weight then has the rounded values. <!-- rule: rounded -->
# - It is an ordinary `nn.Parameter` again, under its old name, and nothing of the parametrization stays in the
#   `state_dict`. <!-- rule: ordinary -->
# - What was trainable is trainable, what was frozen is frozen. <!-- rule: frozen -->


# %% exercise="qat" minutes=35 difficulty=3
class FakeQuantize(nn.Module):
    """Rounds a weight in the forward pass and lets the gradient through unchanged."""

    def __init__(self, bits):
        super().__init__()
        ### BEGIN SOLUTION
        self.highest = 2 ** (bits - 1) - 1
        ### END SOLUTION

    def forward(self, w):
        """Rounded weight, of the same shape as `w` (channels first)."""
        ### BEGIN SOLUTION
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()
        ### END SOLUTION


def prepare_qat(model, bits):
    """Round the weights of all convolutions and linear layers of `model` from now on."""
    ### BEGIN SOLUTION
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))
    ### END SOLUTION


def convert_qat(model):
    """Put the rounded weights in place of the full ones."""
    ### BEGIN SOLUTION
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    ### END SOLUTION


# %% tests="qat" points=3
@check.scenario
def round_and_pull(w, bits, incoming, training, other):
    """The rounded weight, the gradient of w (None: no way back), w afterwards, and the same weight rounded without any gradient.

    `other` (or None) was rounded before it.
    """
    module, w = FakeQuantize(bits).train(training), w.clone().requires_grad_()
    if other is not None:
        module(other)
    rounded = module(w)
    slope = torch.autograd.grad(rounded, w, incoming, allow_unused=True)[0] if rounded.requires_grad else None
    with torch.no_grad():
        frozen = module(w.detach().clone())
    return rounded.detach(), slope, w.detach(), frozen.detach()


@check.scenario
def rounded_in_turn(bits_of_each, w):
    """`w` rounded by several modules that were made before any of them was used, one after the other."""
    modules = [FakeQuantize(bits) for bits in bits_of_each]
    return [module(w.clone()).detach() for module in modules]


@check.shared
def round_channels(w, bits, obvious=0.0):
    """Symmetric rounding of each output channel, channel by channel, in float64."""
    highest, channels = 2 ** (bits - 1) - 1, []
    for channel in w.detach().double().reshape(len(w), -1):
        scale = channel.abs().max() / (highest + 0.5 - obvious)
        channels.append((channel / scale).round().clamp(-highest, highest) * scale if scale > 0 else channel)
    return torch.stack(channels).view(w.shape).to(w.dtype)


def check_fake():
    check.apart(lambda several: rounded_in_turn(several, torch.linspace(-1, 1.3, 12).reshape(3, 4)), [2, 8, 4], "what a FakeQuantize gives whose bits are")
    for axes in (("out", "in"), ("out", "in", "length"), ("out", "in", "height", "width")):
        larger = {2: 300, 3: 40, 4: 7}[len(axes)]
        domain = {
            "w": cases.tensor(*axes, dtypes=("float32", "float64"), scale=(1e-6, 1e3)),
            "bits": cases.choice(2, 3, 4, 8),
        }
        for number, case in enumerate(cases.draw(seeds, domain, out=(1, 40), **{name: (1, larger) for name in axes[1:]})):
            w, bits = case
            if w.ndim > 2:  # channels of very different size
                w = w * torch.logspace(0, -7, len(w), dtype=w.dtype).view(-1, *[1] * (w.ndim - 1))
            w = no_row_below(w, 1e-6)
            peaks = w.double().abs().flatten(1).amax(1).view(-1, *[1] * (w.ndim - 1)) / (2 ** (bits - 1) - 0.5)
            w = off_the_middle(w, torch.where(peaks > 0, peaks, 1))
            training, again = number % 2 == 0, number % 3 == 1
            what = f"{case.words['w']} at {bits} bits, in {'training' if training else 'eval'} mode{', after another weight' if again else ''}"
            incoming = torch.randn(w.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(w.dtype)
            got, slope, after, frozen = round_and_pull(w, bits, incoming, training, 3 * w.flip(0) + 1 if again else None)
            hint = "one scale for each channel of axis 0: largest absolute weight / (2**(bits - 1) - 0.5); codes at most 2**(bits - 1) - 1"
            highest, peak = 2 ** (bits - 1) - 1, w.abs().max().clamp(min=1e-30)
            causes = {
                "the strongest weight lies half a step beyond the last code": round_channels(w, bits, 0.5),
                "this is the weight as it was given: it must be rounded, in eval mode too": w,
                "one scale for the whole tensor is not one for each channel": (w / peak * (highest + 0.5)).round().clamp(-highest, highest)
                * (peak / (highest + 0.5)),
            }
            expected = round_channels(w, bits)
            check.equal(got, expected, f"the rounding of {what}", hint, causes=causes)
            digits = {"floor": "row", "rtol": 1e-11 if w.dtype == torch.float64 else None}
            precise = f"{hint}; worked out in the dtype of the weight"
            check.equal(got.flatten(1), expected.flatten(1), f"the rounding of {what}, channel by channel", precise, **digits)
            check.equal(after, w, f"the weight after rounding {what}", "it must not be changed", rtol=0, atol=0)
            said = f"the rounding of {what}, of a weight that requires no gradient, under no_grad"
            check.equal(frozen.flatten(1), expected.flatten(1), said, "it is rounded in the same way", **digits)
            check.true(slope is not None, f"{what}: no gradient reaches the weight, the result is cut from the graph, so nothing can learn.")
            hint = "straight through: the incoming gradient as it is; also no gradient by way of the scale"
            check.equal(slope, incoming, f"the gradient of {what}", hint, rtol=1e-6)


@check.shared
def small_net(seed, kind):
    """Layers to round at several depths, one of them frozen, beside a norm, a Conv1d and an embedding; or one layer alone."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "one layer":
        model = nn.Linear(7, 5)
    else:
        subclass = nn.modules.linear.NonDynamicallyQuantizableLinear  # as in nn.MultiheadAttention
        inner = nn.Sequential(nn.Linear(12, 5), nn.Tanh(), nn.ModuleDict({"deep": subclass(5, 5, bias=False)}))
        model = nn.Module()
        model.first = nn.Conv2d(2, 3, 3)
        model.body = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(2), nn.Conv1d(3, 4, 2), nn.Flatten())
        model.inner, model.last, model.unused = inner, nn.Linear(5, 4), nn.Embedding(3, 2)
        model.last.weight.requires_grad_(False)
        model.body[0].eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    return model


@check.shared
def output_of(model, x):
    if isinstance(model, nn.Linear):
        return model(x.flatten(1)[:, :7])
    h = model.body(model.first(x))
    h = model.inner[2]["deep"](model.inner[1](model.inner[0](h)))
    return model.last(h)


@check.scenario
def train_and_convert(seed, kind, bits, x, y, rate):
    """What is seen after prepare_qat, after a step of SGD, and after convert_qat.

    While it runs, FakeQuantize is one that works, so that nothing depends on the student's own.
    """

    class Rounding(nn.Module):
        def __init__(self, bits):
            super().__init__()
            self.bits = bits

        def forward(self, w):
            return w + (round_channels(w, self.bits) - w).detach()

    with check.swapped(FakeQuantize=Rounding):
        return train_step_by_step(seed, kind, bits, x, y, rate)


@check.scenario
def train_step_by_step(seed, kind, bits, x, y, rate):
    model = small_net(seed, kind)
    modules = dict(model.named_modules())
    flags = {name: module.training for name, module in modules.items()}
    prepare_qat(model, bits)
    seen = {"prepared": output_of(model, x).detach()}
    seen["flags"] = {name: module.training for name, module in modules.items()} == flags
    seen["trainable"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
    seen["numbers"] = sum(p.numel() for p in model.parameters())
    F.cross_entropy(output_of(model, x), y).backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=rate).step()
    seen["after a step"] = output_of(model, x).detach()
    convert_qat(model)
    seen["names"] = sorted(model.state_dict())
    seen["weights"] = {name: p.detach().clone() for name, p in model.named_parameters()}
    seen["kinds"] = {name: type(p) is nn.Parameter for name, p in model.named_parameters()}
    seen["requires_grad"] = {name: p.requires_grad for name, p in model.named_parameters()}
    seen["converted"] = output_of(model, x).detach()
    seen["flags afterwards"] = {name: module.training for name, module in modules.items()} == flags
    return seen


def rounded_twin(model, bits):
    """A copy of an unprepared model with rounded weights."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for module in twin.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.weight.copy_(round_channels(module.weight, bits))
    return twin


def check_training():
    for seed in seeds:
        for kind, bits in (("one layer", 3), ("a network", 2), ("a network", 4)):
            plain = small_net(seed, kind)  # takes the same step by hand
            twin, what = rounded_twin(plain, bits), f"{kind} at {bits} bits"
            generator = torch.Generator().manual_seed(seed)
            x, y, rate = torch.randn(6, 2, 4, 4, generator=generator), torch.tensor([0, 1, 2, 3, 0, 1]), 0.7
            seen = train_and_convert(seed, kind, bits, x, y, rate)
            check.true(seen["flags"], f"prepare_qat changed the training flag of a module of {what}.")
            hint = "every Conv2d and Linear uses rounded weights, nested ones and those of a subclass too; other layers (Conv1d, norms) and biases do not"
            causes = {"nothing is rounded yet": output_of(plain, x).detach()}
            check.equal(seen["prepared"], output_of(twin, x).detach(), f"the output of {what} after prepare_qat", hint, rtol=1e-4, causes=causes)
            wanted = sum(p.numel() for p in plain.parameters())
            check.equal(seen["numbers"], wanted, f"the number of weights of {what}", "the full weights stay parameters, and none is added")
            wanted = sum(p.numel() for p in plain.parameters() if p.requires_grad)
            hint = "the full weights behind the rounded ones stay trainable parameters, and what is frozen stays frozen"
            check.equal(seen["trainable"], wanted, f"the number of trainable weights of {what}", hint)
            F.cross_entropy(output_of(twin, x), y).backward()
            with torch.no_grad():
                for p, other in zip(plain.parameters(), twin.parameters()):
                    p -= 0 if other.grad is None else rate * other.grad
            stepped = rounded_twin(plain, bits)
            hint = "the step moves the full weights by the gradient at the rounded ones, and the next forward pass rounds anew"
            check.equal(seen["after a step"], output_of(stepped, x).detach(), f"the output of {what} after a step of SGD", hint, rtol=2e-3)
            names = sorted(plain.state_dict())
            check.equal(seen["names"], names, f"the names in {what} after convert_qat", "nothing of the parametrization may stay")
            names = sorted(name for name, _ in plain.named_parameters())
            check.equal(sorted(seen["weights"]), names, f"the parameters of {what} after convert_qat", "an nn.Parameter under its old name")
            for name, p in stepped.named_parameters():
                place, _, kind_of = name.rpartition(".")
                ours = kind_of == "weight" and isinstance(stepped.get_submodule(place), (nn.Conv2d, nn.Linear))
                hint = "the rounded weight stays, not the full one behind it" if ours else "it is never rounded: only the optimizer moves it"
                causes = {"this is the full weight": plain.get_parameter(name).detach()} if ours else {}
                check.equal(seen["weights"][name], p.detach(), f"{name} of {what} after convert_qat", hint, rtol=2e-3, causes=causes)
            kinds, flags = dict.fromkeys(seen["kinds"], True), {n: p.requires_grad for n, p in plain.named_parameters()}
            check.equal(seen["kinds"], kinds, f"which weights of {what} are an nn.Parameter after convert_qat")
            check.equal(seen["requires_grad"], flags, f"which weights of {what} are trainable after convert_qat", "as they were before")
            check.equal(seen["converted"], output_of(stepped, x).detach(), f"the output of {what} after convert_qat", rtol=2e-3)
            check.true(seen["flags afterwards"], f"convert_qat changed the training flag of a module of {what}.")


with check.exercise("qat"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"FakeQuantize": check_fake, "prepare_qat and convert_qat": check_training})
check.points(3)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# You want a value that *is* the rounded weight and whose gradient is that of the full one. Which sum of `w` and something
# that autograd does not see has both properties?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `.detach()` (or a `torch.autograd.Function` with its own backward); `w.abs().amax(axes, keepdim=True)`;
# `parametrize.register_parametrization`, `parametrize.is_parametrized(module, "weight")`,
# `parametrize.remove_parametrizations(module, "weight", leave_parametrized=...)`; `list(model.modules())`, because the walk
# changes the model.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / ...
# codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(...)
# return w + ...
#
# for module in list(model.modules()):
#     if isinstance(module, (nn.Conv2d, nn.Linear)):
#         parametrize.register_parametrization(module, "weight", ...)
#
# for module in list(model.modules()):
#     if parametrize.is_parametrized(module, "weight"):
#         ...
# ```
# </details>


# %% [markdown]
# #### Does it pay? Three seeds, and a control
#
# The shipped digits network (28,702 weights) learns on at 2 and at 3 bits for 64 steps, with pictures made from *training*
# digits. It is judged on pictures made from digits that no training has seen. Training longer might help by itself, so
# there is a control: the same 64 steps without rounding, then PTQ. The seed decides which pictures come in which order.

# %%
network = DigitsCNN.from_pretrained(models.path("vision-ten")).eval()
train_x, train_y, _ = digits.tensors("train", 6400, seed=7)  # float32 (n, 1, 16, 16) and int64 (n,)
test_x, test_y, _ = digits.tensors("test", 2000, seed=5)
QAT_STEPS = 64


@torch.no_grad()
def digit_accuracy(model):
    """Share of the held-out pictures that are named rightly."""
    return (model.eval()(test_x).argmax(1) == test_y).float().mean().item()


def clip_search(w, bits, tried=15):
    """Rounded weights with the scale, of those `tried` for each channel, that leaves the smallest squared error.

    With one only the obvious scale is tried: the strongest weight gets the last code.
    """
    flat, highest = w.flatten(1), 2 ** (bits - 1) - 1
    least, best = torch.full((len(w), 1), math.inf), torch.zeros_like(flat)
    for share in torch.linspace(1, 0.3, tried):
        scale = flat.abs().amax(1, keepdim=True) * share / highest
        rounded = (flat / scale).round().clamp(-highest, highest) * scale
        error = (rounded - flat).square().sum(1, keepdim=True)
        best, least = torch.where(error < least, rounded, best), torch.minimum(error, least)
    return best.view_as(w)


def rounded_network(model, bits, tried):
    """A copy of `model` with all weights rounded by clip_search, without training."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.weight.copy_(clip_search(module.weight, bits, tried))
    return model


def after_ptq(model, bits):
    """Accuracy of `model` rounded to `bits` without training, by its scale: (half a step beyond, searched)."""
    simple = copy.deepcopy(model)
    prepare_qat(simple, bits)
    convert_qat(simple)
    return digit_accuracy(simple), digit_accuracy(rounded_network(model, bits, 15))


def train_on(bits, seed):
    """The shipped network after more training, at `bits` bits or (None) in float32."""
    model = copy.deepcopy(network).train()
    if bits:
        prepare_qat(model, bits)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=QAT_STEPS + 1)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(QAT_STEPS):
        rows = torch.randint(len(train_y), (64,), generator=generator)
        F.cross_entropy(model(train_x[rows]), train_y[rows]).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    if bits:
        convert_qat(model)
    return model


seeds = (0, 1, 2)
full = digit_accuracy(network)
ptq = {bits: after_ptq(network, bits) for bits in (8, 4, 3, 2)}
trained = {bits: [train_on(bits, seed) for seed in seeds] for bits in (3, 2)}
qat = {bits: [digit_accuracy(model) for model in trained[bits]] for bits in (3, 2)}
controls = [train_on(None, seed) for seed in seeds]
control = {bits: [after_ptq(model, bits) for model in controls] for bits in (3, 2)}


def shares(values):
    """Accuracies as text."""
    return ", ".join(f"{value:.1%}" for value in values)


print(f"float32: {full:.1%}; trained on in float32: {shares(map(digit_accuracy, controls))}")
print(f"PTQ at 8, 4, 3, 2 bits: {shares(ptq[b][0] for b in ptq)}; with searched scales {shares(ptq[b][1] for b in ptq)}")
print(f"PTQ at 2 bits with the obvious scale: {digit_accuracy(rounded_network(network, 2, 1)):.1%}")
for bits in (3, 2):
    print(
        f"{bits} bits, seeds {seeds}: QAT {shares(qat[bits])}; trained on, then the better PTQ {shares(map(max, control[bits]))}"
    )
channels = trained[2][0].get_submodule("features.5.0").weight.detach().flatten(1)
print("different values in a channel after QAT at 2 bits, at most:", max(len(set(channel.tolist())) for channel in channels))

figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
axis.plot([8, 4, 3, 2], [100 * ptq[b][0] for b in (8, 4, 3, 2)], "o-", label="PTQ of the shipped network")
axis.plot([8, 4, 3, 2], [100 * ptq[b][1] for b in (8, 4, 3, 2)], "^--", label="PTQ, searched scales")
best_control = {bits: [max(both) for both in control[bits]] for bits in (3, 2)}
for values, marker, label in ((best_control, "s", f"{QAT_STEPS} more steps, then PTQ"), (qat, "*", f"QAT, {QAT_STEPS} steps")):
    points = [(bits, 100 * a) for bits in (3, 2) for a in values[bits]]
    axis.plot(*zip(*points), marker, ms=8, alpha=0.7, ls="", label=label + " (3 seeds)")
axis.axhline(100 * full, color="grey", ls=":", label="float32")
axis.set(xlabel="bits a weight", ylabel="accuracy on held-out digits (%)", xticks=[8, 4, 3, 2], ylim=(0, 100))
axis.legend(fontsize=8, loc="lower right")
plt.show()

# %%
gaps = {bits: [a - max(*ptq[bits], *b) for a, b in zip(qat[bits], control[bits])] for bits in (3, 2)}
for bits in (3, 2):
    claims.record(
        f"QAT beats PTQ at {bits} bits",
        claimed="yes, the more the fewer bits",
        measured=f"by {100 * min(gaps[bits]):.1f} to {100 * max(gaps[bits]):.1f} points of accuracy",
        holds=min(gaps[bits]) > 0.01,
        how="held-out digits, 3 seeds: QAT minus the best PTQ (shipped or trained on, either scale); one point is about the noise",
    )
best = {bits: max(max(ptq[bits]), *map(max, control[bits])) for bits in (3, 2)}
obvious = digit_accuracy(rounded_network(network, 2, 1))
print(
    f"2 bits: QAT {min(qat[2]):.1%} to {max(qat[2]):.1%}, best PTQ {best[2]:.1%}; against the obvious scale ({obvious:.1%}) the gap "
    f"would have looked {(min(qat[2]) - obvious) / (min(qat[2]) - best[2]):.1f} times as large"
)

# %% [markdown]
# The control is the point: it had the same training, without the rounding. Where PTQ loses next to nothing (4 bits and more,
# above) QAT is not worth its price: it needs training data, an optimizer and memory for both, where GPTQ needs a few thousand
# tokens.
#
# Look at PTQ at 2 bits with the *obvious* scale. Had we compared QAT with that, most of the gap would have been a badly chosen
# scale. Ask of every such comparison how good the other side was made.
#
# #### The same on the language model, with torchao
#
# torchao's `QATConfig` prepares and converts a model just as you did. Twenty short steps on training text, at 2 bits in groups of
# 32, with one seed (a glance, not a measurement of the method):

# %%
config = IntxWeightOnlyConfig(weight_dtype=torch.int2, granularity=PerGroup(32))
library = copy.deepcopy(language_model)
quantize_(library, QATConfig(config, step="prepare"), filter_fn=linear_but_head)
optimizer = torch.optim.AdamW(library.parameters(), lr=2e-3, weight_decay=0)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=21)
generator = torch.Generator().manual_seed(0)
library.train()
for _ in range(20):
    rows = training[torch.randint(len(training), (4,), generator=generator)]
    F.cross_entropy(library(input_ids=rows).logits[:, :-1].flatten(0, 1), rows[:, 1:].flatten()).backward()
    optimizer.step()
    optimizer.zero_grad()
    schedule.step()
quantize_(library.eval(), QATConfig(config, step="convert"), filter_fn=linear_but_head)
print(
    f"2 bits, perplexity: torchao PTQ {results['torchao int2, groups of 32'][1]:.1f}, "
    f"GPTQ {results['int2 GPTQ, groups of 32'][1]:.1f}, torchao QAT {perplexity(library):.1f}; float32 {base_perplexity:.1f}"
)

# %% [markdown]
# Count the price too: QAT took gradients, an optimizer, and 10,240 tokens of training text. GPTQ used about a thousand tokens
# and no gradient.
#
# ## Claims measured
#
# "INT8: four times smaller, two to four times faster, less than 1 % worse." Size and quality you have. Speed depends on the
# *kernel*: whoever turns int8 codes back into floats before each product does more work than before, not less. A gain needs code
# that multiplies integers, or, where reading the weights from memory is the bottleneck (large models, one token at a time), code that unpacks on
# the fly. `quantize_dynamic` is PyTorch's older API with such a kernel for the CPU.

# %%


def cpu_ms(call, repeat=5, inner=8):
    """Smallest CPU time of one call, in milliseconds."""
    call()
    times = []
    for _ in range(repeat):
        start = time.process_time()
        for _ in range(inner):
            call()
        times.append(1000 * (time.process_time() - start) / inner)
    return min(times)


def with_int8_kernels(model, names):
    """A copy of `model` whose linear layers `names` multiply integers (activations are rounded as well, on the fly)."""
    setting = torch.ao.quantization.default_dynamic_qconfig
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the API is deprecated; its kernels are what is shown here
        return torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), {name: setting for name in names})


big = nn.Sequential(nn.Linear(1024, 1024, bias=False)).eval()
by_own, weight_only = nn.Sequential(Int8Linear(big[0])), copy.deepcopy(big)
quantize_(weight_only, Int8WeightOnlyConfig())
kernels = with_int8_kernels(big, ["0"])
speed, threads = {}, torch.get_num_threads()
torch.set_num_threads(1)  # a comparison of kernels, not of the number of cores
with torch.no_grad():
    for rows in (1, 64):
        x = torch.randn(rows, 1024, generator=torch.Generator().manual_seed(0))
        base = cpu_ms(lambda: big(x))
        for label, module in (("Int8Linear", by_own), ("torchao weight-only", weight_only), ("int8 kernel", kernels)):
            speed[label, rows] = base / cpu_ms(lambda: module(x))
            print(f"1024 x 1024, {rows:2} rows, {label:20} {speed[label, rows]:.2f} times as fast as float32")
    quick = with_int8_kernels(language_model, linear_names)
    for label, ids in (("128 tokens at once", held_out[:4]), ("one token", held_out[:1, :1])):
        base = cpu_ms(lambda: language_model(input_ids=ids), inner=2)
        speed["model", label] = base / cpu_ms(lambda: quick(input_ids=ids), inner=2)
        print(f"language model, {label}: {speed['model', label]:.2f} times as fast with int8 kernels")
torch.set_num_threads(threads)

# %%
claims.record(
    "INT8 is 2 to 4 times faster: one large layer, int8 kernel",
    claimed="2-4x",
    measured=f"int8 kernel {speed['int8 kernel', 1]:.1f}x (1 row), {speed['int8 kernel', 64]:.1f}x (64 rows); "
    f"weight-only {speed['torchao weight-only', 1]:.1f}x, {speed['torchao weight-only', 64]:.1f}x",
    holds=min(speed["int8 kernel", 1], speed["int8 kernel", 64]) >= 2,
    how="CPU time, linear layer 1024 x 1024, one thread, so a little noisy; weight-only unpacks in separate steps here",
)
claims.record(
    "INT8 is 2 to 4 times faster: the shipped model",
    claimed="2-4x",
    measured=", ".join(f"{label} {speed['model', label]:.2f}x" for label in ("128 tokens at once", "one token")),
    holds=min(speed["model", "128 tokens at once"], speed["model", "one token"]) >= 2,
    how="CPU time with int8 kernels, one thread; layers of 128 columns are too small to pay for rounding the activations",
)

# %% [markdown]
# So the slogan is three claims. *Quality* and *size* were measured in part A: size holds for what is quantized, and for the model
# only if the embedding is included. *Speed* is a property of kernel, shape and machine: compare the lines above, all with the
# same int8 weights.
#
# ### When something goes wrong
#
# | what you see | look at | usual cause |
# |---|---|---|
# | perplexity explodes already at 8 bits | zero points, axis of the scale | off by one; scale of the wrong axis |
# | one layer is far worse than the others | largest absolute input by channel | strong channels: AWQ, or keep this layer in 16 bits |
# | GPTQ is worse than rounding | number and kind of calibration tokens | fewer tokens than channels, no damping, or text of another kind |
# | smaller file, same memory | dtype of the weights after loading | unpacked to floats while loading |
# | smaller, but slower | the kernel in a profile | unpacks before each product; batch too large for weight-only |
# | a GGUF file loads and talks nonsense | order of the query and key rows | RoPE order not changed, or changed twice |
# | QAT does not learn | gradient of the full weight | rounding without straight-through |

# %% [markdown]
# ## On a bigger machine
#
# The same steps on a model of 135 million weights, on a GPU: your int8 layer, torchao compiled, and bitsandbytes NF4. Only the name
# given to `from_pretrained` differs. It runs with `UNIT24_TIER=hub` on a GPU. The cell was tried on an H200 with the course's
# own model in the place of the real one, so nothing is quoted here: run it for figures.

# %%
if env.tier == "hub" and env.device == "cuda":
    name = env.model("chat")
    hub_tokenizer = AutoTokenizer.from_pretrained(name)
    text = "\n\n".join(paragraph for _, paragraph in split_paragraphs("test"))
    hub_ids = torch.tensor(hub_tokenizer(text, verbose=False)["input_ids"])
    hub_rows = hub_ids[: len(hub_ids) // 128 * 128].view(-1, 128).to(env.device)

    def hub_report(label, model, size):
        """Bytes, perplexity, and tokens a second for 64 new tokens."""
        prompt, settings = hub_rows[:1, :16], {"max_new_tokens": 64, "min_new_tokens": 64, "do_sample": False}
        model.generate(prompt, **settings)  # compiles, for every length that the cache will have
        torch.cuda.synchronize()
        start = time.perf_counter()
        model.generate(prompt, **settings)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        value = perplexity(model, hub_rows)
        print(f"{label:24} {size / 1e6:7.1f} MB, perplexity {value:.2f}, {64 / seconds:.0f} tokens/s")

    def load_hub(**options):
        """The hub model in bfloat16."""
        return AutoModelForCausalLM.from_pretrained(name, dtype=torch.bfloat16, device_map=env.device, **options).eval()

    model = load_hub()
    hub_report("bfloat16", model, stored_bytes(model))
    quantize_linears(model, skip=("lm_head",))
    hub_report("int8 by hand", model, stored_bytes(model))
    model = load_hub()
    quantize_(model, Int8WeightOnlyConfig(), filter_fn=linear_but_head)
    model.forward = torch.compile(model.forward)
    hub_report("torchao int8, compiled", model, packed_bytes(model, 8))
    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    model = load_hub(quantization_config=nf4)
    hub_report("bitsandbytes NF4", model, bitsandbytes_bytes(model))
else:
    print("Skipped: this section needs a GPU and UNIT24_TIER=hub.")

# %% [markdown]
# ## Quiz
#
# Five questions, with feedback for every option. Nothing is graded.

# %% [markdown] quiz="end"
# 1. Weights between -1 and 3 are stored in 8 bits, affine. How far off can a weight be?
# - [ ] 3 / 127 / 2 :: That is the symmetric scheme, with a step of 3/127; here the range is used whole.
# - [ ] 4 / 256 / 2 :: 256 codes have 255 gaps.
# - [x] 4 / 255 / 2 :: The range is 4 wide, there are 255 steps, and rounding is off by at most half of one.
# - [ ] 4 / 255 :: Rounding goes to the nearest code, so half a step is the worst case.
# 2. One row of a matrix has weights ten times larger than all others. What happens with one int8 scale for the tensor?
# - [ ] The large row loses its largest weights :: The range covers them; they are the only ones that are treated well.
# - [ ] All rows lose the same share of their weights' size :: They get the same step, and that is a larger share of small weights.
# - [ ] The other rows all become zero :: They still have about 25 codes.
# - [x] All other rows get a step ten times too coarse :: The scale follows the largest weight. One scale a row repairs it.
# 3. GPTQ moves the weights further from the original than rounding to nearest does. Why is the model better?
# - [x] It makes the *outputs* on typical inputs closer: later columns make up for earlier errors :: The output error δHδᵀ is what it reduces.
# - [ ] It gives important columns finer steps :: The steps are the same; only the choice of the codes differs.
# - [ ] It trains the model on the calibration text :: No gradient step is taken, and the loss is never computed.
# - [ ] It rounds important weights first, while there is still room :: In this lesson the columns come in their order, important or not.
# 4. A weight-only int8 model is slower than float32 on your CPU. What is the likely reason?
# - [ ] CPUs cannot multiply integers as quickly as floats :: They can; it takes a kernel that does it.
# - [ ] int8 needs more memory traffic, because of the scales :: A scale a row is next to nothing; codes take a quarter of the bytes.
# - [x] The weights are turned into floats before each product :: More work, and no integer arithmetic: the kernel decides.
# - [ ] The zero points have to be subtracted :: A symmetric scheme has none.
# 5. When is QAT worth its price?
# - [ ] Whenever the model is to be small :: At equal bits QAT and PTQ have the same size, and at 8 and 4 bits PTQ loses almost nothing here.
# - [x] At 2 bits, perhaps 3, when training data and time are there :: That is where PTQ falls apart and QAT does not.
# - [ ] When there is no data for calibration :: QAT needs more data than GPTQ or AWQ, not less.
# - [ ] When the model is too large for GPTQ :: Training needs gradients and an optimizer's state on top of what GPTQ needs.

# %% [markdown]
# ## What to read next
#
# - [A White Paper on Neural Network Quantization](https://arxiv.org/abs/2106.08295), Nagel and others, 2021: affine
#   quantization, PTQ and QAT from the ground up.
# - [GPTQ](https://arxiv.org/abs/2210.17323), Frantar and others, 2022: section 3, with the batching that this lesson leaves out.
# - [AWQ](https://arxiv.org/abs/2306.00978), Lin and others, 2023.
# - [FP8 Formats for Deep Learning](https://arxiv.org/abs/2209.05433), Micikevicius and others, 2022.
# - [torchao's quantization guide](https://docs.pytorch.org/ao/stable/): which configuration has a fast kernel on which device.
# - [GGUF](https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): the whole format, with the K types that Python's `gguf` reads
#   and cannot write.
# - Next: lesson 17 serves a quantized model to many users; lesson 18 puts one on a phone.
