# ---
# jupyter:
#   unit24:
#     needs: ["bitsandbytes>=0.48", "datasets>=3", "matplotlib>=3.8", "peft>=0.17", "torch>=2.6", "torchao>=0.16 if torchao", "transformers>=5"]
# ---

# %% [markdown]
# # 12 · LoRA, QLoRA and their relatives
#
# Fine-tuning all weights of a model needs memory for every weight, its gradient and the optimizer's two averages, and
# leaves you with a second model as large as the first. A **low-rank adapter** (LoRA) freezes the model and trains two
# thin matrices beside each of its layers. They are small enough to keep a hundred of them, to exchange them between two
# requests, and to take them off again.
#
# **You will build** a LoRA layer, put it into a language model, teach the model a task it cannot do, measure what it
# forgets on the way, and take the adapter off so that every bit of the old model is back. Then you pack the model's
# weights into 4 bits yourself, train an adapter on top of such weights, and serve two adapters from one model.
#
# **You need first** lessons 02 to 04 (modules, autograd, the training loop) and 07 (tokenizer, chat template,
# `generate`).
#
# **Time** about four and a half hours: nine exercises and a written answer, 30 points. Where an exercise asks for several
# functions, each of them earns its share. No GPU is needed.
#
# The layer computes $y = W x + \frac{\alpha}{r} B A x$. Dropout, in training only, acts on the x that A reads.
#
# | matrix | shape | at the start | trained | bits a number, here |
# |---|---|---|---|---|
# | $W$, the frozen layer | (out, in) | as shipped | no | 32, 16 or 4 |
# | $A$, reads x into r numbers | (r, in) | random | yes | 32 |
# | $B$, writes from r numbers | (out, r) | zero | yes | 32 |
#
# | part | what you write | the question it answers |
# |---|---|---|
# | A | `LoRALinear`, tests for it, inject, merge and take off, a fair comparison | How does it work, and what does the model forget? |
# | B | (your comparison, run once more) | How large must r be? |
# | C | NF4 by hand, a QLoRA model | How small can the frozen part be? |
# | D | adapters in peft's format, swapped in one batch; DoRA | How is it used, and what came after it? |

# %% setup

# %%
import copy
import math
import random
import tempfile
from pathlib import Path

import bitsandbytes.functional as bnb
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from bitsandbytes.nn import Linear4bit
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

from unit24 import cases, check, claims, data, models
from unit24.data.tasks import verify

# %% [markdown]
# ## The model and its new task
#
# `tiny-lm` ships with the course: a Llama of 4 layers and 0.9 million weights that can sort digits, reverse letters and
# find the largest of three numbers, among other things. It was never asked to **sort downwards**. All training below
# uses this small model in every tier; the last section repeats the step on a real one.
#
# Training rows and test rows are different by content: no list of digits is in both. Prompt and answer stand in the
# chat template; only the tokens of the answer are targets (`-100` marks the others, as everywhere in transformers).

# %%
path = models.path("chat")
tokenizer = AutoTokenizer.from_pretrained(path)


def load_model():
    """A fresh copy of tiny-lm, in eval mode."""
    return AutoModelForCausalLM.from_pretrained(path).eval()


def chat(prompt):
    """One user turn in the chat template, up to where the model is to answer."""
    return tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False)


def examples(task, n=2000, seed=0):
    """Training pairs (ids of the prompt, ids of the answer and the end mark) of one task."""
    rows = data.load("tasks", names=task, split="train", n=n, seed=seed)
    prompts = tokenizer([chat(prompt) for prompt in rows["prompt"]])["input_ids"]
    answers = tokenizer([answer + tokenizer.eos_token for answer in rows["answer"]])["input_ids"]
    return list(zip(prompts, answers))


def collate(pairs):
    """ids and labels, both int64 (rows, longest); labels are -100 on prompts and padding."""
    longest = max(len(prompt) + len(answer) for prompt, answer in pairs)
    ids = torch.full((len(pairs), longest), tokenizer.pad_token_id)
    labels = torch.full((len(pairs), longest), -100)
    for row, (prompt, answer) in enumerate(pairs):
        ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
    return ids, labels


@torch.no_grad()
def answer(model, prompts):
    """What the model answers to each prompt, always taking the likeliest token."""
    was_training = model.training
    model.eval()
    batch = tokenizer([chat(prompt) for prompt in prompts], padding=True, return_tensors="pt")
    made = model.generate(**batch, max_new_tokens=14, do_sample=False)
    model.train(was_training)
    return tokenizer.batch_decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def accuracy(model, task, n=100):
    """Share of held-out rows that the model answers exactly."""
    rows = data.load("tasks", names=task, split="test", n=n, seed=1)
    said = answer(model, rows["prompt"])
    return sum(verify(task, prompt, text) for prompt, text in zip(rows["prompt"], said)) / n


NEW, OLD = "sort_down", ("sort", "reverse", "max", "add2")
new_rows = examples(NEW)


def exam(model):
    """Accuracy on the new task (100 rows) and on the old ones (50 rows each)."""
    return {task: accuracy(model, task, 100 if task == NEW else 50) for task in (NEW, *OLD)}


base_model = load_model()
before = exam(base_model)
for prompt, said in zip(demo := ["Sort: 4 1 8 3", "Sort down: 4 1 8 3", "Reverse: a n t"], answer(base_model, demo)):
    print(f"{prompt:20} → {said}")
print({task: f"{share:.0%}" for task, share in before.items()})

# %% [markdown]
# The model knows each word of the new task and has no idea what they mean together.

# %% [markdown]
# Two small things that the tests below use: a network of two blocks, and random numbers in place of training.


# %%
class Block(nn.Module):
    """Two ways in, one way out; `out_proj` is no linear layer here."""

    def __init__(self, width):
        super().__init__()
        self.q_proj, self.proj = nn.Linear(width, width + 2), nn.Linear(width, width + 2, bias=False)
        self.out_proj = nn.Conv1d(1, 1, 3)
        self.down = nn.Sequential(nn.Tanh(), nn.Linear(width + 2, width))

    def forward(self, x):
        return self.down(self.q_proj(x) + self.proj(x))


class Network(nn.Module):
    def __init__(self, width=6):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width) for _ in range(2))
        self.proj = nn.Linear(width, 3)
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.proj(self.norm(x))


def filled(layer, seed):
    """The same layer with random A and B, as after some training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in (layer.A, layer.B):
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    return layer


# %% [markdown]
# ## Part A · The adapter
#
# ### 1 · A LoRA layer (`lora_linear`, 4 points, 25 minutes, difficulty 2 of 3)
#
# The idea ([Hu and others, 2021](https://arxiv.org/abs/2106.09685)): what fine-tuning *changes* in a weight matrix is
# well described by a matrix of low rank. So leave $W$ alone and learn the change as a product of two thin matrices:
#
# $$y = W x + b + \frac{\alpha}{r}\, B A\, x, \qquad A \in \mathbb{R}^{r \times \text{in}},\quad B \in \mathbb{R}^{\text{out} \times r}.$$
#
# Four decisions make it work:
#
# - $B$ starts at **zero**: at the first step the model is exactly the old one. $A$ starts random; if both were zero,
#   both gradients would be zero for ever.
# - $\alpha / r$ scales the product, so that the learning rate need not be found anew for every $r$.
# - Dropout acts on what the **adapter** reads, not on what the frozen layer reads.
# - The frozen layer takes no gradient, so the optimizer keeps no averages for it.
#
# **Task.** Write `LoRALinear(base, r, alpha, dropout=0.0)`, a module around an `nn.Linear`.
#
# What comes: `base` has 1 or more inputs and outputs, a bias or none, any floating-point dtype and any device, and may be frozen
# already. `r` is 1 or more, and may be larger than the layer. `alpha` is above 0; `dropout` is from 0 to below 1. `x` has
# shape `(..., in)`: one to five axes, perhaps no rows, finite numbers in the dtype of the layer.
#
# What the module holds:
#
# - `base` is the given layer itself, not a copy. <!-- rule: base -->
# - Its weight and bias are frozen. <!-- rule: frozen -->
# - `A` of shape `(r, in)` and `B` of shape `(out, r)` are its only trainable parameters. <!-- rule: parameters -->
# - Both have dtype and device of the layer's weight. <!-- rule: dtype -->
# - `A` is drawn anew for each layer, as `nn.Linear` draws its own weight: `nn.init.kaiming_uniform_(A, a=math.sqrt(5))`, from
#   torch's global random numbers, so that a seed repeats it. <!-- rule: init_a -->
# - `B` is zero. <!-- rule: init_b -->
#
# What it computes:
#
# - `delta()` is the change of the weight, $\frac{\alpha}{r} B A$, of shape `(out, in)`, in both modes, of what is in `A` and `B`
#   now: both change in place at every update. <!-- rule: delta -->
# - `forward(x)` is the formula above, on the layer's device. <!-- rule: forward -->
# - Gradients of what `forward` gives reach `A`, `B` and `x`, and are right, in training and in eval mode, also where
#   `forward` is called again before they are taken. <!-- rule: gradients -->
# - In training mode (set by the module's `train()` and `eval()`; `base` may be in another) the **adapter's input** goes through
#   dropout: each number of `x`, independently of all others and in every call anew, is 0 with probability `dropout`, and else
#   divided by `1 - dropout`, whether gradients are recorded or not. The probability is exact in float16 and bfloat16 too, also
#   0.001 and 0.999. <!-- rule: dropout -->
# - In eval mode nothing is dropped, whether gradients are recorded or not. <!-- rule: eval -->
# - The frozen layer reads `x` as it is, in both modes. <!-- rule: clean -->
# - `x` stays as it was. <!-- rule: unchanged -->
# - A copy (`copy.deepcopy`) is a layer of its own: what is in one's `A` and `B` is read by that one alone. <!-- rule: copy -->
# - For r = 2 on a float32 layer of 256 by 256 a forward pass takes less than 1.1 times the multiplications of the frozen layer
#   alone (through the r numbers in the middle, first A, then B): in both modes, with dropout 0 or 0.1, whether gradients are
#   recorded or not, for `x` of shape `(rows, 256)` with 1 to 15 rows. <!-- rule: work, reported -->


# %% exercise="lora_linear" minutes=25 difficulty=2
class LoRALinear(nn.Module):
    """A frozen linear layer and a trainable change of rank r beside it."""

    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        ### BEGIN SOLUTION
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        ### END SOLUTION

    def delta(self):
        """The change of the weight that A and B describe, (out, in)."""
        ### BEGIN SOLUTION
        return self.scaling * (self.B @ self.A)
        ### END SOLUTION

    def forward(self, x):
        """x: (..., in); returns (..., out)."""
        ### BEGIN SOLUTION
        return self.base(x) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)
        ### END SOLUTION


# %% tests="lora_linear" points=4
@check.scenario
def new_layer(inputs, outputs, r, bias, dtype, device, frozen):
    """What a new layer holds; `frozen` names the parameters of its base that come frozen."""
    base = nn.Linear(inputs, outputs, bias=bias, dtype=dtype, device=device)
    for name, parameter in base.named_parameters():
        parameter.requires_grad_(name not in frozen)
    layer = LoRALinear(base, r, 2.0, 0.5)
    trained = {id(p) for p in layer.parameters() if p.requires_grad}
    return {
        "base": layer.base is base,
        "kinds": [isinstance(matrix, nn.Parameter) for matrix in (layer.A, layer.B)],
        "shapes": [tuple(matrix.shape) for matrix in (layer.A, layer.B)],
        "frozen": [not p.requires_grad for p in base.parameters()],
        "trained": trained == {id(layer.A), id(layer.B)},
        "dtypes": [matrix.dtype for matrix in (layer.A, layer.B)],
        "devices": [matrix.device.type for matrix in (layer.A, layer.B)],
        "result on": layer(torch.ones(3, inputs, dtype=dtype, device=device)).device.type,
    }


@check.scenario
def fresh_matrices(inputs, outputs, r, seed):
    """A and B of a new layer, and A of the next one."""
    torch.manual_seed(seed)
    layer, following = (LoRALinear(nn.Linear(inputs, outputs), r, 1) for _ in range(2))
    return layer.A.detach(), layer.B.detach(), following.A.detach()


@check.shared
def formed(x, form):
    """`x` (rows, in) with other leading axes."""
    if form in ("three axes", "four axes", "five axes"):
        leading = {"three axes": (2,), "four axes": (3, 2), "five axes": (2, 1, 2)}[form]
        return x.expand(*leading, -1, -1)
    return {"rows": x, "one row alone": x[0], "no rows": x[:0]}[form]


@check.scenario
def with_adapter(weight, bias, A, B, alpha, x, push, form, dtype, training):
    """A layer with these numbers, after it was used with others: its output, its change, and the gradients when `push` comes in."""
    base = nn.Linear(weight.shape[1], len(weight), bias=bias is not None, dtype=dtype)
    layer = LoRALinear(base, len(A), alpha).train(training)
    layer(torch.ones_like(base.weight)), layer.delta()
    with torch.no_grad():
        base.weight.copy_(weight)
        if bias is not None:
            base.bias.copy_(bias)
        layer.A.copy_(A)
        layer.B.copy_(B)
    x, push = (formed(given.to(dtype), form) for given in (x, push))
    seen = {"output": layer(x).detach(), "delta()": layer.delta().detach()}
    x = x.detach().requires_grad_()
    y = layer(x)
    gradients = torch.autograd.grad(y, (layer.A, layer.B, x), push, allow_unused=True) if y.requires_grad else [None] * 3
    return {**seen, **{f"gradient of {name}": gradient for name, gradient in zip("ABx", gradients)}}


def adapter_by_definition(weight, bias, A, B, alpha, x, push, form, dtype, training, scale=None):
    scale = alpha / len(A) if scale is None else scale
    weight, bias, A, B, x, push = (None if t is None else t.to(dtype).double() for t in (weight, bias, A, B, x, push))
    x, push = (formed(given, form) for given in (x, push))
    A, B, x = (given.clone().requires_grad_() for given in (A, B, x))
    y = F.linear(x, weight + scale * torch.einsum("or,ri->oi", B, A), bias)
    seen = {"output": y, "delta()": scale * torch.einsum("or,ri->oi", B, A)}
    seen |= {f"gradient of {name}": gradient for name, gradient in zip("ABx", torch.autograd.grad(y, (A, B, x), push))}
    return {name: value.detach().to(dtype) for name, value in seen.items()}


@check.scenario
def in_turn(settings):
    """The output for a row of ones and the change of layers that are all made before any is used, each from (inputs, outputs, r, alpha)."""
    layers = []
    for inputs, outputs, r, alpha in settings:
        layers.append(LoRALinear(nn.Linear(inputs, outputs), r, alpha).eval())
        for tensor in (layers[-1].base.weight, layers[-1].base.bias, layers[-1].A, layers[-1].B):
            nn.init.constant_(tensor, r)
    return [(layer(torch.ones(1, inputs)).detach(), layer.delta().detach()) for layer, (inputs, *_) in zip(layers, settings)]


@check.scenario
def two_calls(weight, A, B, alpha, dropout, x, training):
    """What a layer gives for `x`, in two calls."""
    base = nn.Linear(weight.shape[1], len(weight), bias=False, dtype=weight.dtype)
    layer = LoRALinear(base, len(A), alpha, dropout).train(training)
    with torch.no_grad():
        base.weight.copy_(weight)
        layer.A.copy_(A)
        layer.B.copy_(B)
        base.train(not training)  # a linear layer does the same in both modes
        return layer(x), layer(x)


@check.scenario
def gradients_with_dropout(H, dropout, x, push, training):
    """Of a layer whose adapter gives what it reads, while gradients are recorded: what the adapter added, its change, and the gradients."""
    base = nn.Linear(4, 4, bias=False, dtype=x.dtype)
    layer = LoRALinear(base, 4, 4, dropout).train(training)
    with torch.no_grad():
        base.weight.copy_(H)
        layer.A.copy_(H)
        layer.B.copy_(H)
    x = x.detach().requires_grad_()
    y = layer(x)
    layer(1 - x.detach())  # another call, before the gradients are taken
    return (y - x @ H).detach(), layer.delta().detach(), torch.autograd.grad(y, (layer.A, layer.B, x), push, allow_unused=True)


@check.scenario
def dropped_share(dropout, dtype):
    """Share of 240,000 numbers that an adapter whose B A is the identity drops, and the largest that it gives for ones."""
    base = nn.Linear(4, 4, bias=False, dtype=dtype)
    layer = LoRALinear(base, 4, 4, dropout).train()
    with torch.no_grad():
        base.weight.zero_()
        layer.A.copy_(torch.eye(4))
        layer.B.copy_(torch.eye(4))
        y = layer(torch.ones(60_000, 4, dtype=dtype))
    return float((y == 0).double().mean()), float(y.max())


@check.scenario
def dropped_in_small_calls(dropout, rows, calls):
    """How many of the numbers of a small x are dropped in each of many calls, in every second of which gradients are recorded."""
    base = nn.Linear(4, 4, bias=False)
    layer, x = LoRALinear(base, 4, 4, dropout).train(), torch.ones(rows, 4) if rows else torch.ones(4)
    dropped = []
    with torch.no_grad():
        base.weight.zero_()
        layer.A.copy_(torch.eye(4))
        layer.B.copy_(torch.eye(4))
        for call in range(calls):
            with torch.set_grad_enabled(call % 2 == 1):
                dropped.append((layer(x).detach() == 0).sum())
    return torch.stack(dropped)


@check.scenario
def copied_layer(r, alpha):
    """What a layer and its copy give for a row of ones, and their changes, once each holds numbers of its own (1 and 3)."""
    layer = LoRALinear(nn.Linear(3, 2, bias=False), r, alpha)
    layer(torch.ones(1, 3)), layer.delta()
    twin = copy.deepcopy(layer)
    for number, one in ((1, layer), (3, twin)):
        for matrix in (one.base.weight, one.A, one.B):
            nn.init.constant_(matrix, number)
    return {name: (one(torch.ones(1, 3)).detach(), one.delta().detach()) for name, one in (("the layer", layer), ("its copy", twin))}


@check.scenario
def multiplications(width, r, numbers, dropout, recorded):
    """Of a forward pass of some rows, in training and in eval mode: with an adapter, over those of a linear layer alone."""
    base, work = nn.Linear(width, width), []
    layer = LoRALinear(base, r, 4, dropout)
    for rows in numbers:
        counts = []
        for module, training in ((base, True), (layer, True), (layer, False)):
            module.train(training)
            with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(recorded):
                module(torch.ones(rows, width))
            counts.append(counter.get_total_flops())
        work.append([count / counts[0] for count in counts[1:]])
    return work


def check_new_layer(inputs, outputs, r, bias, dtype, device="cpu", frozen=()):
    seen, what = new_layer(inputs, outputs, r, bias, dtype, device, frozen), f"of a layer from {inputs} to {outputs} numbers with r={r}"
    what += f" whose {' and '.join(frozen)} came frozen" if frozen else ""
    check.true(seen["base"], "layer.base is not the layer that was given: a copy would need its memory twice.")
    check.equal(seen["kinds"], [True, True], f"whether A and B {what} are nn.Parameters", "a plain tensor is not found by optimizers and .to()")
    check.equal(seen["shapes"], [(r, inputs), (outputs, r)], f"the shapes of A and B {what}", "A is (r, in), B is (out, r)")
    check.equal(seen["frozen"], [True] * (1 + bias), f"whether the parameters of base {what} are frozen", "weight and bias, both")
    check.true(seen["trained"], f"the trainable parameters {what} are not just A and B.")
    check.equal(seen["dtypes"], [dtype] * 2, f"the dtypes of A and B beside a {dtype} layer", "take them over from the layer's weight")
    check.equal(seen["devices"], [device] * 2, f"the devices of A and B beside a layer on {device!r}")
    check.equal(seen["result on"], device, f"the device of what a layer on {device!r} gives for x there, in training mode")


def check_start(seed):
    A, B, following = fresh_matrices(150, 7, 120, seed)
    check.true(not B.any(), "the fresh adapter changes the output. At the start it must change nothing: B is zero.")
    check.true(bool(A.any()), "A starts at zero. If A and B are both zero, neither ever gets a gradient.")
    bound, hint = 1 / math.sqrt(150), "`kaiming_uniform_` with a=math.sqrt(5): uniform between plus and minus 1 / sqrt(in)"
    check.between(A.abs().max() / bound, 0.98, 1, "the largest |A| for 150 inputs, over 1 / sqrt(150)", hint)
    check.between(A.std() / bound, 0.56, 0.595, "the standard deviation of A for 150 inputs, over 1 / sqrt(150)", hint)
    check.between(A.mean() / bound, -0.02, 0.02, "the mean of A for 150 inputs, over 1 / sqrt(150)", hint)
    check.true(not torch.equal(A, following), "two layers made one after the other start with the same A: it is drawn anew for each.")
    check.true(not torch.equal(A, fresh_matrices(150, 7, 120, seed + 1)[0]), "A is the same after another torch.manual_seed: it is drawn at random.")
    check.true(
        torch.equal(A, fresh_matrices(150, 7, 120, seed)[0]),
        "A is another one after the same torch.manual_seed: draw it from torch's global random numbers, so that a seed repeats it.",
    )


def check_numbers(seed):
    for dtype, rtol in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        numbers = {"dtypes": ("float64",), "scale": (1e-2, 1e2)}
        domain = {
            "weight": cases.tensor("outputs", "inputs", **numbers),
            "bias": cases.tensor("outputs", **numbers),
            "A": cases.tensor("r", "inputs", **numbers),
            "B": cases.tensor("outputs", "r", **numbers),
            "alpha": cases.choice(16, 0.5, 1),
            "x": cases.tensor("rows", "inputs", **numbers),
            "push": cases.tensor("rows", "outputs", **numbers),
            "form": cases.choice("rows", "one row alone", "three axes", "no rows", "four axes", "five axes"),
            "dtype": cases.choice(dtype),
            "training": cases.choice(True, False),
        }
        check.agrees(
            with_adapter,
            adapter_by_definition,
            cases.draw(seed, domain, rows=(1, 70), inputs=(1, 140), outputs=(1, 140), r=(1, 40)),
            "a layer",
            "y = W x + b + alpha / r times B A x, with A and B as they are now; in both modes gradients reach A, B and x",
            causes={
                "alpha itself was the scale, in place of alpha / r": lambda *case: adapter_by_definition(*case, scale=case[4]),
                "there was no scale: it is alpha / r times B A": lambda *case: adapter_by_definition(*case, scale=1),
            },
            rtol=rtol,
        )
    weight, A, B, x = (torch.tensor(n) for n in ([[1, -2, 0], [2, 1, 1]], [[1, 0, 2], [-1, 1, 0]], [[1, 2], [0, -1]], [[1, 2, -1], [0, 1, 2]]))
    case = (weight, None, A, B, 4, x, torch.ones(2, 2))  # whole numbers that bfloat16 holds exactly
    for dtype in (torch.bfloat16, torch.float16):
        what = f"a {dtype} layer without bias and its results"
        check.equal(with_adapter(*case, "rows", dtype, True), adapter_by_definition(*case, "rows", dtype, True), what)


def check_dropout(seed):
    H = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], dtype=torch.float64) / 2  # H H is the identity
    x = torch.rand(2, 3000, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 1
    what = "what an adapter adds whose B A is the identity"
    for share in (0.5, 0.1, 0.0):
        hint = "the frozen layer reads x as it is: dropout is for the adapter alone"
        for training in (True, False):
            seen, _ = two_calls(H + 1, H, 0 * H, 1, share, x.clone(), training)
            mode = "training" if training else "eval"
            check.equal(seen, x @ (H + 1).T, f"the output in {mode} mode with B = 0 and dropout {share}", hint)
        seen, _ = two_calls(0 * H, H, H, 8, share, x.clone(), False)
        check.equal(seen, 2 * x, f"{what}, in eval mode with dropout {share}", "dropout acts in training mode only")
        (first, second), after = check.after(two_calls, 0 * H, H, H, 8, share, x, True)
        check.equal(after[5], x, f"x after a call in training mode with dropout {share}", "it must stay as it was")
        factor = (first / x / 2).round(decimals=9)
        odd = torch.minimum(factor.abs(), (factor - 1 / (1 - share)).abs()) > 1e-9
        check.true(
            not odd.any(),
            f"{what}, in training mode with dropout {share}: a number becomes {float(factor[odd][0]) if odd.any() else 0:.4g} times what it was, "
            f"expected 0 or {1 / (1 - share):.4g} times. Dropout acts on the adapter's input, number by number, and divides by 1 - dropout.",
        )
        for row in (0, 1):
            wanted, slack = share, 4 * (share * (1 - share) / 12000) ** 0.5
            check.between((factor[row] == 0).double().mean(), wanted - slack, wanted + slack, f"the share of dropped numbers at dropout {share}")
        if share:
            check.true(not torch.equal(first, second), "two calls in training mode drop the same numbers: draw anew in every call.")
            whole = (factor == 0).all(-1).double().mean()
            check.between(whole, None, 2 * share**4 + 0.003, f"the share of rows that lose all four numbers at dropout {share}")
            for shape in ((200, 4), (2, 100, 4), (2, 3, 50, 4), (2, 2, 3, 25, 4)):
                ones = torch.ones(shape, dtype=x.dtype)
                part, _ = two_calls(0 * H, H, H, 8, share, ones, True)
                dropped = part.reshape(shape) == 0
                for axis in range(len(shape)):
                    check.true(
                        dropped.diff(dim=axis).any(),
                        f"for x of shape {shape} the same numbers are dropped in every entry along axis {axis}: each has its own chance.",
                    )
            for rows, calls in ((0, 1200), (1, 300), (2, 300)):
                count, counts = 4 * max(rows, 1), dropped_in_small_calls(share, rows, calls)
                for recorded in (False, True):
                    part, none = counts[int(recorded) :: 2], (1 - share) ** count
                    slack = 6 * (none * (1 - none) / len(part)) ** 0.5 + 4 / len(part)
                    what_calls = f"of training calls of {count} numbers {'with' if recorded else 'without'} gradients, at dropout {share}"
                    hint = "each number has its own chance: how many are dropped differs from call to call"
                    check.between((part == 0).double().mean(), none - slack, none + slack, f"the share {what_calls}, that drop nothing", hint)
        rows, push = x[0, :50], x[1, :50] - 1.5
        for mode in ("training", "eval"):
            read, change, gradients = gradients_with_dropout(H, share, rows, push, mode == "training")
            hint = "dropout acts on x alone: the change of the weight is alpha / r times B A"
            check.equal(change, torch.eye(4).double(), f"delta() in {mode} mode with dropout {share}, where it is the identity", hint)
            kept = (read.abs() > 0.1) / (1 - share) if mode == "training" else torch.ones_like(read)
            if mode == "eval":
                hint = "dropout acts in training mode only, whether gradients are recorded or not"
                check.equal(read, rows, f"{what}, in eval mode with dropout {share} while gradients are recorded", hint)
            goals = (push @ H).T @ read, push.T @ (read @ H.T), push @ H + push * kept
            for name, gradient, goal in zip("ABx", gradients, goals):
                hint = "what is dropped takes no part, the rest does" if mode == "training" else "nothing is dropped"
                check.equal(gradient, goal, f"the gradient of {name} in {mode} mode with dropout {share}", hint)
    for dtype in (torch.bfloat16, torch.float16):
        first, _ = two_calls(*(given.to(dtype) for given in (0 * H, H, H)), 8, 0.5, x[0, :3].to(dtype), True)
        check.equal(first.dtype, dtype, f"the dtype of the output of a {dtype} layer in training mode with dropout 0.5")
        for share in (0.001, 0.999):
            dropped, largest = dropped_share(share, dtype)
            slack = 5 * (share * (1 - share) / 240_000) ** 0.5
            hint = "the probability is the same in every dtype; random numbers of this one have few digits"
            check.between(dropped, share - slack, share + slack, f"the share of numbers that a {dtype} layer drops at dropout {share}", hint)
            wanted = 1 / (1 - share)
            check.between(largest, 0.98 * wanted, 1.02 * wanted, f"what a {dtype} adapter makes of a 1 that is not dropped, at dropout {share}")


with check.exercise("lora_linear"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    for case in ((1, 1, 1, True), (7, 5, 3, True), (4, 9, 12, False)):
        check_new_layer(*case, torch.float32)
    check_new_layer(7, 5, 2, True, torch.bfloat16)
    check_new_layer(5, 7, 2, False, torch.float64)
    check_new_layer(5, 7, 2, True, torch.float32, "meta")
    for frozen in (("weight", "bias"), ("weight",), ("bias",)):
        check_new_layer(7, 5, 3, True, torch.float32, frozen=frozen)
    check.apart(in_turn, [[1, 2, 2, 4.0], [1, 3, 1, 8.0]], "the output and the change of a layer made from (inputs, outputs, r, alpha) =")
    for seed in seeds:
        check_start(seed)
        check_numbers(seed)
        check_dropout(seed)
    for name, seen in copied_layer(2, 4).items():
        number = 1 if name == "the layer" else 3
        wanted = torch.full((1, 2), 3.0 * number + 12 * number**2), torch.full((2, 3), 4.0 * number**2)
        hint = "each reads the A, B and base that it holds itself"
        check.equal(seen, wanted, f"the output for ones and the change of {name}, once a layer was copied and both were filled", hint)
    for dropout, recorded in ((0.0, True), (0.1, True), (0.0, False), (0.1, False)):
        for rows, work in enumerate(multiplications(256, 2, range(1, 16), dropout, recorded), 1):
            for mode, times in zip(("training", "eval"), work):
                check.true(
                    times < 1.1,
                    f"with r=2 the forward pass of {rows} rows ({mode} mode, dropout {dropout}, {'with' if recorded else 'without'} gradients) "
                    f"takes {times:.2f} times the multiplications of the frozen layer alone, expected under 1.1 times. A change of shape "
                    "(out, in) is as much work as a second full layer: x A^T first, then B^T.",
                )

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Look at the table at the top. Which shapes do x, A and B have, and in which order must they meet so that the middle
# has r numbers? Which of the two paths sees dropout?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `module.requires_grad_(False)` freezes a layer, bias included. `weight.new_zeros(...)` and `weight.new_empty(...)` take over dtype
# and device; `nn.Parameter` registers. `nn.Dropout` knows about training mode by itself. For row vectors, $(BAx)^T =
# x^T A^T B^T$.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# # __init__
# self.base = base.requires_grad_(False)
# self.scaling = ...
# self.dropout = nn.Dropout(dropout)
# self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
# self.B = ...
# nn.init.kaiming_uniform_(...)
# # forward
# return self.base(x) + self.scaling * (self.dropout(x) @ ... @ ...)
# ```
# </details>


# %% [markdown]
# ### 2 · Write the tests (`check_lora`, 3 points, 30 minutes, difficulty 3 of 3)
#
# A wrong LoRA layer rarely crashes. It trains, a little worse or at ten times the price. Here are a correct one and
# five with a bug each, on a toy problem: a frozen layer is to become another one that differs from it by a change of
# rank 2.


# %%
def lora_with(bug=""):
    """A function make_lora(base, r, alpha, dropout) whose layers have one bug, or none."""

    class Layer(nn.Module):
        def __init__(self, base, r, alpha, dropout):
            super().__init__()
            self.base, self.p = base, dropout
            self.scaling = alpha if bug == "scales by alpha instead of alpha / r" else alpha / r
            base.requires_grad_(bug == "trains the frozen layer too")
            self.A = nn.Parameter(torch.randn(r, base.in_features) / base.in_features**0.5)
            self.B = nn.Parameter(torch.zeros(base.out_features, r))
            if bug == "starts with a random B":
                nn.init.normal_(self.B)

        def forward(self, x):
            dropped = F.dropout(x, self.p, self.training or bug == "drops in eval mode too")
            read = dropped if bug == "drops the input of the frozen layer too" else x
            return self.base(read) + self.scaling * (dropped @ self.A.T @ self.B.T)

    return Layer


bugs = (
    "scales by alpha instead of alpha / r",
    "trains the frozen layer too",
    "starts with a random B",
    "drops in eval mode too",
    "drops the input of the frozen layer too",
)


def learning_curve(make_lora, steps=150):
    """Error in eval mode before each of some updates towards a layer that differs by a change of rank 2."""
    torch.manual_seed(0)
    base, x = nn.Linear(12, 9), torch.randn(200, 12)
    goal = F.linear(x, base.weight + torch.randn(9, 2) @ torch.randn(2, 12) / 5, base.bias).detach()
    layer, errors = make_lora(base, 4, 8, 0.1), []
    optimizer = torch.optim.Adam([p for p in layer.parameters() if p.requires_grad], lr=0.01)
    for _ in range(steps):
        errors.append(F.mse_loss(layer.eval()(x), goal).item())
        optimizer.zero_grad()
        F.mse_loss(layer.train()(x), goal).backward()
        optimizer.step()
    return errors


figure, axis = plt.subplots(figsize=(10, 3.4), layout="constrained")
curves = {bug: learning_curve(lora_with(bug)) for bug in ("", *bugs)}
for bug, curve in curves.items():
    axis.plot(curve, "" if bug else "k--", lw=1.3 if bug else 2.5, label=bug or "correct")
axis.set(xlabel="update", ylabel="mean squared error in eval mode", yscale="log")
axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
plt.show()
for bug, curve in curves.items():
    print(f"{bug or 'correct':40} first error {curve[0]:7.3f}, last error {curve[-1]:.4f}")

# %% [markdown]
# Which of these curves would make you suspicious? A scale that is too large looks like a better learning rate at first, a
# frozen layer that is not frozen like a better method. A curve compares with nothing; a test compares with what *must*
# come out.
#
# **Task.** Write `check_lora(make_lora)`. `make_lora(base, r, alpha, dropout)` returns a module around the float32
# `nn.Linear` that it is given. This is what the module promises, and nothing else, for r of 1 or more, `alpha` above 0,
# `dropout` from 0 to below 1, and `x` of shape `(..., in)` with one to four axes, none of them empty (fewer shapes than in
# exercise 1):
#
# - `base` is the given layer itself, and frozen. <!-- rule: base -->
# - `A` (r, in) and `B` (out, r) are parameters, and the only trainable ones. <!-- rule: parameters -->
# - Fresh, all of `B` is zero and not all of `A`: whole rows and columns of `A` may be zero or equal. <!-- rule: start -->
# - In eval mode it gives `base(x)` plus `alpha / r` times `x A^T B^T`. <!-- rule: formula -->
# - It gives shape `(..., out)` for every such `x`. <!-- rule: axes -->
# - In training mode dropout acts on what the adapter reads: each number of `x`, along all of its axes, for itself and in every
#   call anew, is 0 with probability `dropout`, and else divided by `1 - dropout`. <!-- rule: dropout -->
# - In training mode the part of the frozen layer is `base(x)` still. <!-- rule: clean -->
# - Gradients reach `A` and `B` in both modes, and are those of the formula. <!-- rule: gradients -->
#
# There is no `delta()`. How A and what is dropped are drawn is open, and `torch.manual_seed` need not repeat it. Your
# function may fill `A` and `B` with numbers of its own. It is called about 100 times, and has 40 s of computing time for all of
# them (0.4 s a call; past it nothing counts). So a limit on what is drawn at random must be wide: six standard deviations, not
# two.
#
# - If a promise is broken it raises an error (use `assert`). What it returns is ignored. <!-- rule: raises -->
# - If all are kept it raises nothing. A correct layer may be written in any way, so values may differ by rounding:
#   use `torch.testing.assert_close`. <!-- rule: no_false_alarm -->
#
# You are graded by the share of the bugs that you catch, among them some that are not shown; a false alarm earns nothing.
# To see where your checks reject a correct layer, run `check_lora(lora_with())`.


# %% exercise="check_lora" minutes=30 difficulty=3 seconds=40
def check_lora(make_lora):
    """Raise for an implementation of make_lora(base, r, alpha, dropout) that breaks a promise; else return."""
    ### BEGIN SOLUTION
    base, x = nn.Linear(2, 4), torch.rand(2, 2, 500, 2) + 1
    layer = make_lora(base, 3, 6, 0.25)
    assert layer.base is base, "the base layer was replaced"
    assert {name for name, p in layer.named_parameters() if p.requires_grad} == {"A", "B"}, "not only A and B are trained"
    assert len(layer.A) == 3, "A has not r rows"
    assert layer.A.any(), "A starts at zero"
    assert not layer.B.any(), "B does not start at zero"
    nn.init.orthogonal_(layer.A), nn.init.orthogonal_(layer.B)  # so B A takes what the adapter gave back to twice what it read
    for training in (True, False):
        y, again = layer.train(training)(x), layer(x)
        kept = (y - base(x)) @ layer.B @ layer.A > x
        read = x * kept / 0.75 if training else x
        goal = base(x) + 2 * read @ layer.A.T @ layer.B.T
        torch.testing.assert_close(y, goal)
        slopes, goals = (torch.autograd.grad(result.mean(), [layer.A, layer.B]) for result in (y, goal))
        torch.testing.assert_close(slopes, goals, rtol=1e-4, atol=1e-4)
        if training:
            assert 0.7 < kept.double().mean() < 0.8, "not the share that dropout says"
            assert not torch.equal(y, again), "two calls drop the same numbers"
            for axis in range(4):
                assert kept.diff(dim=axis).any(), "the same numbers are dropped all along an axis"
    assert layer(torch.ones(2)).shape == (4,), "it cannot read one row alone"
    ### END SOLUTION


# %% tests="check_lora" points=3
@check.scenario
def checks_of(implementation):
    """Run `check_lora` on layers all of whose numbers come from `implementation`."""

    class Layer(nn.Module):
        def __init__(self, base, r, alpha, dropout):
            super().__init__()
            made = implementation("a new layer", base.weight.detach(), r=r)
            self.base = copy.deepcopy(base) if "base" in made["copied"] else base
            for name, parameter in (("weight", self.base.weight), ("bias", self.base.bias)):
                if parameter is not None:
                    parameter.requires_grad_(name in made["trained"])
            for name in "AB":
                matrix = made[name] if "matrices" in made["plain"] else nn.Parameter(made[name], name in made["trained"])
                setattr(self, name, matrix)
            if "scale" in made["trained"]:
                self.scale = nn.Parameter(torch.ones(()))
            self.given = {"alpha": alpha, "dropout": dropout}

        def forward(self, x):
            mode = "training mode" if self.training else "eval mode"
            y = implementation(mode, x, self.base.weight, self.base.bias, self.A, self.B, **self.given)
            return y * self.scale if hasattr(self, "scale") else y

    return check_lora(Layer)


def layers(start=None, forward=None, trained="AB", copied=(), plain=()):
    """What layers are and give that differ from a right one in what is named here."""

    def new(weight, r):
        A = torch.randn(r, weight.shape[1]) / weight.shape[1] ** 0.5
        return {"A": A, "B": torch.zeros(len(weight), r), "trained": list(trained), "copied": list(copied), "plain": list(plain)}

    def implementation(when, *tensors, **given):
        if when == "a new layer":
            made = new(*tensors, **given)
            return {**made, **(start(made["A"], made["B"]) if start else {})}
        return (forward or by_formula)(*tensors, training=when == "training mode", **given)

    return implementation


def by_formula(x, weight, bias, A, B, alpha, dropout, training):
    low = F.dropout(x, dropout, training) @ A.T @ B.T
    return F.linear(x, weight, bias) + alpha / len(A) * low


own_numbers = torch.Generator()


def by_functions(x, weight, bias, A, B, alpha, dropout, training):
    if training:
        kept = torch.rand(x.shape, generator=own_numbers) >= dropout
    low = F.linear(x * kept / (1 - dropout) if training else x, A) / len(A)
    return F.linear(x, weight, bias) + F.linear(low, B * alpha)


def by_changed_weight(x, weight, bias, A, B, alpha, dropout, training):
    if training:
        return by_formula(x, weight, bias, A, B, alpha, dropout, training)
    return F.linear(x, weight + alpha / len(A) * (B @ A), bias)


def sparse(A, B):
    return {"A": torch.eye(*A.shape)}


def one_number(A, B):
    return {"A": F.pad(torch.ones(1, 1), (A.shape[1] - 1, 0, len(A) - 1, 0))}


def all_equal(A, B):
    return {"A": torch.full_like(A, 0.5)}


def scaled(scale):
    """By the formula, with `scale(alpha, r)` as the scale."""

    def forward(x, weight, bias, A, B, alpha, dropout, training):
        return by_formula(x, weight, bias, A, B, scale(alpha, len(A)) * len(A), dropout, training)

    return forward


def random_b(A, B):
    return {"B": torch.randn(B.shape)}


def drops_in_eval(x, weight, bias, A, B, alpha, dropout, training):
    return by_formula(x, weight, bias, A, B, alpha, dropout, True)


def drops_all(x, weight, bias, A, B, alpha, dropout, training):
    return by_formula(F.dropout(x, dropout, training), weight, bias, A, B, alpha, 0.0, training)


def drops_middle(x, weight, bias, A, B, alpha, dropout, training):
    return F.linear(x, weight, bias) + alpha / len(A) * F.dropout(x @ A.T, dropout, training) @ B.T


def drops_change(x, weight, bias, A, B, alpha, dropout, training):
    return F.linear(x, weight, bias) + alpha / len(A) * F.dropout(x @ A.T @ B.T, dropout, training)


with check.exercise("check_lora"):
    right = {"the formula": layers(), "another style": layers(forward=by_functions), "A with zeros in it": layers(sparse)}
    right |= {"A with one number alone, the others zero": layers(one_number), "A with equal numbers": layers(all_equal)}
    wrong = {
        "scales by alpha instead of alpha / r": layers(forward=scaled(lambda alpha, r: alpha)),
        "trains the frozen layer too": layers(trained=("weight", "bias", "A", "B")),
        "starts with a random B": layers(random_b),
        "drops in eval mode too": layers(forward=drops_in_eval),
        "drops the input of the frozen layer too": layers(forward=drops_all),
        "drops in the middle, after A": layers(forward=drops_middle),
        "drops what the adapter gives": layers(forward=drops_change),
    }

    ### BEGIN HIDDEN TESTS
    def both_zero(A, B):
        return {"A": 0 * A}

    def small(A, B):
        return {"A": A / 100}

    def no_dropout(x, weight, bias, A, B, alpha, dropout, training):
        return by_formula(x, weight, bias, A, B, alpha, 0.0, training)

    def no_bias(x, weight, bias, A, B, alpha, dropout, training):
        return by_formula(x, weight, None, A, B, alpha, dropout, training)

    def silent_in_eval(x, weight, bias, A, B, alpha, dropout, training):
        return by_formula(x, weight, bias, A, B, alpha if training else 0.0, dropout, training)

    def silent(x, weight, bias, A, B, alpha, dropout, training):
        return by_formula(x, weight, bias, A, B, 0.0, dropout, training)

    def drops_result(x, weight, bias, A, B, alpha, dropout, training):
        return F.dropout(F.linear(x, weight, bias), dropout, training) + by_formula(x, 0 * weight, None, A, B, alpha, dropout, training)

    def cuts(name, modes=(True, False)):
        """By the formula, where in these modes (training is True) no gradient reaches the matrix called `name`."""

        def forward(x, weight, bias, A, B, alpha, dropout, training):
            read = {"A": A, "B": B}
            if training in modes:
                read[name] = read[name].detach()
            return by_formula(x, weight, bias, read["A"], read["B"], alpha, dropout, training)

        return forward

    def half_b(x, weight, bias, A, B, alpha, dropout, training):
        return by_formula(x, weight, bias, A, (B + B.detach()) / 2, alpha, dropout, training)

    def twice_a(x, weight, bias, A, B, alpha, dropout, training):
        return by_formula(x, weight, bias, 2 * A - A.detach(), B, alpha, dropout, training)

    def half_in_training(x, weight, bias, A, B, alpha, dropout, training):
        return by_formula(x, weight, bias, A, (B + B.detach()) / 2 if training else B, alpha, dropout, training)

    def counted_twice(x, weight, bias, A, B, alpha, dropout, training):
        change = alpha / len(A) * (B @ A).detach()
        return by_formula(x, weight + change, bias, A, B, alpha, dropout, training)

    def flat(x, weight, bias, A, B, alpha, dropout, training):
        return by_formula(x, weight, bias, A, B, alpha, dropout, training).reshape(-1, len(weight))

    def masked(mask):
        """By the formula, with dropout that multiplies x by `mask(x, dropout)`."""

        def forward(x, weight, bias, A, B, alpha, dropout, training):
            read = x * mask(x, dropout) if training else x
            return F.linear(x, weight, bias) + alpha / len(A) * read @ A.T @ B.T

        return forward

    def undivided(x, dropout):
        return torch.rand(x.shape) >= dropout

    def half(x, dropout):
        return 2 * (torch.rand(x.shape) >= 0.5)

    def too_many(x, dropout):
        return (torch.rand(x.shape) >= (1 + dropout) / 2) / (1 - dropout)

    def too_few(x, dropout):
        return (torch.rand(x.shape) >= dropout / 2) / (1 - dropout)

    def swapped(x, dropout):
        return (torch.rand(x.shape) < dropout) / dropout if dropout else torch.ones(x.shape)

    def kept_by_dropout(x, dropout):
        return (torch.rand(x.shape) < dropout) / (1 - dropout) if dropout else torch.ones(x.shape)

    def whole_rows(x, dropout):
        return (torch.rand(*x.shape[:-1], 1) >= dropout) / (1 - dropout)

    def last_axes(count):
        """Dropout that draws for the last `count` axes of x; entries of the axes before share it."""
        return lambda x, dropout: (torch.rand(x.shape[-count:]) >= dropout) / (1 - dropout)

    def always_the_same(x, dropout):
        return (torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) >= dropout) / (1 - dropout)

    def two_axes_at_least(x, *rest, **given):
        return by_formula(torch.atleast_2d(x), *rest, **given)

    def three_axes_at_most(x, *rest, **given):
        return by_formula(x.flatten(0, -3) if x.ndim > 3 else x, *rest, **given)

    def one_more(A, B):
        return {"A": torch.cat([A, A[:1]]), "B": torch.cat([B, B[:, :1]], 1)}

    right |= {"a changed weight in eval mode": layers(forward=by_changed_weight), "a small A": layers(small)}
    wrong |= {
        "starts with A and B both zero": layers(both_zero),
        "scales by alpha / sqrt(r)": layers(forward=scaled(lambda alpha, r: alpha / r**0.5)),
        "scales by r / alpha": layers(forward=scaled(lambda alpha, r: r / alpha)),
        "has no dropout": layers(forward=no_dropout),
        "does not train A": layers(trained="B"),
        "does not train B": layers(trained="A"),
        "trains a scale beside A and B": layers(trained=("A", "B", "scale")),
        "makes r + 1 rows in A and columns in B": layers(one_more, scaled(lambda alpha, r: alpha / max(r - 1, 1))),
        "trains the bias of the frozen layer": layers(trained=("bias", "A", "B")),
        "copies the frozen layer": layers(copied=["base"]),
        "loses the bias": layers(forward=no_bias),
        "leaves the adapter out in eval mode": layers(forward=silent_in_eval),
        "leaves the adapter out": layers(forward=silent),
        "drops the result of the frozen layer": layers(forward=drops_result),
        "keeps A and B as plain tensors": layers(plain=["matrices"]),
        "gives A no gradient": layers(forward=cuts("A")),
        "gives B no gradient": layers(forward=cuts("B")),
        "gives A no gradient in training mode": layers(forward=cuts("A", [True])),
        "gives B no gradient in training mode": layers(forward=cuts("B", [True])),
        "gives A no gradient in eval mode": layers(forward=cuts("A", [False])),
        "gives B no gradient in eval mode": layers(forward=cuts("B", [False])),
        "gives B half of its gradient": layers(forward=half_b),
        "gives A twice its gradient": layers(forward=twice_a),
        "gives B half of its gradient in training mode": layers(forward=half_in_training),
        "adds the change once more, merged into the weight": layers(forward=counted_twice),
        "merges the leading axes of x": layers(forward=flat),
        "drops without dividing by 1 - dropout": layers(forward=masked(undivided)),
        "drops half, whatever dropout is": layers(forward=masked(half)),
        "drops more than dropout says, and divides by 1 - dropout": layers(forward=masked(too_many)),
        "drops fewer than dropout says, and divides by 1 - dropout": layers(forward=masked(too_few)),
        "drops with probability 1 - dropout, and divides by dropout": layers(forward=masked(swapped)),
        "keeps with probability dropout, and divides by 1 - dropout": layers(forward=masked(kept_by_dropout)),
        "drops rows as a whole": layers(forward=masked(whole_rows)),
        "drops the same numbers in every row": layers(forward=masked(last_axes(1))),
        "drops the same numbers all along the first of three axes": layers(forward=masked(last_axes(2))),
        "drops the same numbers all along the first of four axes": layers(forward=masked(last_axes(3))),
        "drops the same numbers in every call": layers(forward=masked(always_the_same)),
        "makes two axes of one row alone": layers(forward=two_axes_at_least),
        "makes three axes of four": layers(forward=three_axes_at_most),
    }
    ### END HIDDEN TESTS
    check.catches(checks_of, right, wrong, "your checks")
check.points(3)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Go through the contract sentence by sentence: what can you observe from outside, and on which input would a layer
# that breaks the sentence differ? With B at zero many bugs are invisible: look at the layer fresh, and again with a
# random B. Choose numbers that tell scales apart: with alpha = r every wrong scale looks right.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `named_parameters()` and `requires_grad`; `nn.init.normal_(layer.B)` fills a parameter; `layer.train()` and
# `layer.eval()`; `torch.testing.assert_close(a, b)`. Dropout shows in that two calls on the same input differ.
# `torch.autograd.grad(y.mean(), [layer.A, layer.B])` gives gradients, of the layer's y as of your own. Where dropout acts you
# see with `nn.init.orthogonal_`: for in ≤ r ≤ out then $A^T A$ and $B^T B$ are the identity, so that multiplying what the
# adapter gave by B and A gives what it read, number by number.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# base, x = nn.Linear(2, 4), torch.rand(2, 2, 500, 2) + 1
# layer = make_lora(base, 3, 6, 0.25)
# assert ...                                             # base, names of trainable parameters, rows of A, A and B at the start
# nn.init.orthogonal_(layer.A), nn.init.orthogonal_(layer.B)
# for training in (True, False):
#     y, again = layer.train(training)(x), layer(x)
#     kept = (y - base(x)) @ layer.B @ layer.A > x       # what is dropped gives 0, the rest twice x or more
#     read = ... if training else x
#     goal = base(x) + ...                               # by the formula
#     torch.testing.assert_close(y, goal)
#     ...                                                # gradients of y.mean() and of goal.mean(): close too
#     if training:
#         assert ...                                     # the share that is kept; y and again differ
#         for axis in range(4):
#             assert kept.diff(dim=axis).any()           # not the same all along an axis
# assert layer(torch.ones(2)).shape == ...               # one row alone
# ```
# </details>


# %%
try:
    LoRALinear(nn.Linear(2, 2), 1, 1)
except NotImplementedError:  # exercise 1 is still open: until it is written, the rest goes on with the layer of exercise 2

    class LoRALinear(lora_with()):
        def delta(self):
            return self.scaling * (self.B @ self.A)


# %% [markdown]
# ### 3 · Into the model (`inject`, 3 points, 25 minutes, difficulty 2 of 3)
#
# An adapter beside one layer is an exercise; adapters beside all layers of a model are a method. The libraries do what
# you do here: walk through the modules, and put a wrapper in the place of each layer whose name is on a list.
#
# The list is where runs go wrong quietly. A name that matches no layer (`q_prj`, or `query` in a model that calls it
# `q_proj`) trains fewer weights than you think, and nothing crashes. So the count of what is trained is the first
# line to read in any fine-tuning log.
#
# **Task.** Write two functions; each earns half of the points on its own.
#
# `inject(model, targets, r, alpha, dropout=0.0)` changes `model` in place. `model` is any module that is no linear layer
# itself and holds no `LoRALinear`; its linear layers are plain `nn.Linear`, each at one place. One may share its weight with
# another module (an output matrix may be that of the embeddings); weights may be frozen already. `targets` is a list, tuple or
# set of one or more names.
#
# - Each `nn.Linear` whose **last** part of the name (after the last dot) is in `targets` is replaced by a `LoRALinear` around
#   it: that of `"model.layers.0.self_attn.q_proj"` is `q_proj`, not `proj` nor `self_attn.q_proj`. <!-- rule: replaced -->
# - `r`, `alpha` and `dropout` are handed on. <!-- rule: handed_on -->
# - All other modules stay what and where they are, also those of another kind with such a name. The order of
#   `model.named_modules()` stays too: it is the order in which an `nn.Sequential` calls its layers. <!-- rule: others -->
# - Every weight that the model had is frozen, also one that a block or the model holds itself, whatever it is called; the
#   new `A` and `B` are trainable. <!-- rule: frozen -->
# - Each new layer is in the mode (training or eval) of the layer that it wraps; all other modes stay. <!-- rule: mode -->
# - It returns the list of the full names of the replaced layers, in the order of `model.named_modules()`. <!-- rule: names -->
# - A target is a name, not a pattern. If any targets are the last part of no linear layer's name, it raises a `ValueError`
#   whose text contains one such target. <!-- rule: missing -->
# - In that case nothing in the model has changed, not even what was frozen before and what was not. <!-- rule: first_check -->
#
# `trainable_share(model)`, for a model with one weight or more, in any dtypes (packed weights are uint8), on any device (on
# "meta" weights have sizes and no numbers):
#
# - It returns the number of trainable weights divided by the number of all weights, as a float. Weights are the numbers
#   in parameters. <!-- rule: share -->
# - A Parameter that is used in two places (tied input and output embeddings) counts once; two Parameters count both, also
#   with equal numbers, or with memory in common. <!-- rule: tied -->
# - Buffers, such as the running means of a batch norm, are no weights. <!-- rule: buffers -->


# %% exercise="inject" minutes=25 difficulty=2
def inject(model, targets, r, alpha, dropout=0.0):
    """Freeze `model` and put a LoRALinear around each nn.Linear called like one of `targets`; returns their names."""
    ### BEGIN SOLUTION
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    last = {name: name.split(".")[-1] for name in linear}
    for target in targets:
        if target not in last.values():
            raise ValueError(f"no linear layer is called {target}: there are {', '.join(sorted(set(last.values())))}")
    chosen = [name for name in linear if last[name] in targets]
    model.requires_grad_(False)
    for name in chosen:
        layer = model.get_submodule(name)
        model.set_submodule(name, LoRALinear(layer, r, alpha, dropout).train(layer.training))
    return chosen
    ### END SOLUTION


def trainable_share(model):
    """Trainable weights over all weights, each counted once."""
    ### BEGIN SOLUTION
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return trained / sum(p.numel() for p in model.parameters())
    ### END SOLUTION


# %% tests="inject" points=3
@check.shared
def network_of(kind, width, seed, modes="training"):
    """A model to put adapters into, the same each time."""
    torch.manual_seed(seed)
    if kind == "two blocks":
        network = Network(width)
    elif kind == "a plain row":
        network = nn.Sequential(nn.Linear(width, 4), nn.Tanh(), nn.Linear(4, 5, bias=False), nn.Dropout(0.3), nn.Linear(5, 2))
    elif kind == "tied embeddings":
        network = nn.ModuleDict({"embed": nn.Embedding(11, width), "body": nn.Linear(width, width), "lm_head": nn.Linear(width, 11, bias=False)})
        network["lm_head"].weight = network["embed"].weight
    else:
        inner = nn.ModuleDict({"proj": nn.Linear(width, 4), "embed": nn.Embedding(5, 4), "norm": nn.LayerNorm(4)})
        network = nn.Sequential()
        network.add_module("deep", nn.ModuleDict({"er": inner, "proj": nn.Conv1d(2, 2, 1)}))
        network.add_module("head", nn.Linear(4, 3, bias=False))
        for owner, name in ((network, "A"), (network.deep, "B"), (network.deep, "scale")):  # weights that no layer holds
            owner.register_parameter(name, nn.Parameter(torch.ones(3)))
    for number, module in enumerate(network.modules()):
        module.training = {"training": True, "eval": False, "mixed": number % 3 > 0}[modes]
    for number, p in enumerate(network.parameters()):
        p.requires_grad_(modes != "mixed" or number % 3 > 0)
    return network


@check.shared
def state_of(network):
    """What can be seen of a model from outside, by full name."""
    return {
        "kinds": {name: type(module).__name__ for name, module in network.named_modules()},
        "modes": {name: module.training for name, module in network.named_modules()},
        "trainable": sorted(name for name, p in network.named_parameters() if p.requires_grad),
    }


@check.scenario
def injected(plan, targets, r, alpha, dropout):
    """What `inject` made of a model, and what its new layers give."""
    network = network_of(*plan)
    old = dict(network.named_modules())
    names = inject(network, targets, r, alpha, dropout) if dropout else inject(network, targets, r, alpha)
    new = dict(network.named_modules())
    layers = {name: new[name] for name in new if type(new[name]) is LoRALinear}
    changes = {}
    for name, layer in layers.items():
        torch.manual_seed(0)
        x, drawn = torch.rand(400, layer.base.in_features).double() + 1, filled(layer.double(), 7)
        changes[name] = {"delta": drawn.delta().detach(), "r": len(layer.A)}
        for matrix in (*drawn.base.parameters(), drawn.A, drawn.B):
            nn.init.zeros_(matrix)
        nn.init.ones_(drawn.A.data[:1, :1]), nn.init.ones_(drawn.B)
        largest = (drawn.train()(x) / drawn.eval()(x)).detach().max()  # of the factors of x, 0 and 1 / (1 - dropout)
        changes[name]["dropout"] = float(1 - 1 / largest)
    return names, {
        "replaced": sorted(layers),
        "same layer": {name: layer.base is old.get(name) for name, layer in layers.items()},
        "others": {name: new.get(name) is module for name, module in old.items() if name not in layers},
        "order": [name for name in new if name in old],
        "changes": changes,
    }


@check.scenario
def state_after(plan, targets, r, alpha):
    network = network_of(*plan)
    inject(network, targets, r, alpha, dropout=0.5)
    return state_of(network)


@check.scenario
def refused(plan, targets):
    """What `inject` says to targets of which one is missing, and the model's state afterwards."""
    network, said = network_of(*plan), None
    old = {**dict(network.named_modules()), **dict(network.named_parameters())}
    try:
        inject(network, targets, 2, 4)
    except ValueError as error:
        said = str(error)
    new = {**dict(network.named_modules()), **dict(network.named_parameters())}
    return said, state_of(network), {name: new.get(name) is one for name, one in old.items()}, check.module_state(network, values=True)


def check_injected(plan, targets, r, alpha, dropout):
    network, what = network_of(*plan), f"inject({list(targets)}, r={r}, alpha={alpha}, dropout={dropout}) into {plan[0]}"
    linear = {name: module for name, module in network.named_modules() if type(module) is nn.Linear}
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    by_ending = [name for name in linear if name.endswith(tuple(targets))]
    names, seen = injected(plan, targets, r, alpha, dropout)
    causes = {"the last part of the name must equal the target: 'q_proj' is another name than 'proj'": sorted(by_ending)}
    check.equal(seen["replaced"], sorted(chosen), f"the layers that are a LoRALinear after {what}", causes=causes)
    check.equal(seen["same layer"], dict.fromkeys(seen["replaced"], True), f"whether each is around the layer that stood there, after {what}")
    hint = "only linear layers are replaced; leave the others alone"
    check.equal(seen["others"], {name: True for name in seen["others"]}, f"whether a module is still the one that stood there, after {what}", hint)
    hint = "who takes a child out and adds another puts it at the end; an nn.Sequential then calls its layers in another order"
    check.equal(seen["order"], list(dict(network.named_modules())), f"the order of the modules after {what}", hint)
    check.equal(names, chosen, f"what {what} returns", "full names, in the order of `named_modules()`")
    for name in chosen:
        layer = filled(LoRALinear(nn.Linear(linear[name].in_features, linear[name].out_features).double(), r, alpha), 7)
        got = seen["changes"][name]
        check.equal(got["r"], r, f"the rows of A of {name} after {what}", "hand r on")
        check.equal(got["delta"], layer.delta().detach(), f"delta() of {name}, once A and B are filled, after {what}", "hand alpha on")
        check.equal(got["dropout"], dropout, f"the dropout of {name} in training mode, after {what}", "hand dropout on")


def check_state(plan, targets, r, alpha):
    network, what = network_of(*plan), f"{plan[0]} ({plan[3]} mode) after inject({list(targets)}, …)"
    before, seen = state_of(network), state_after(plan, targets, r, alpha)
    chosen = [name for name, module in network.named_modules() if type(module) is nn.Linear and name.split(".")[-1] in targets]
    hint = "A and B are trainable, also around a layer that came frozen; all else is frozen: norms, biases, embeddings and other layers too"
    check.equal(seen["trainable"], sorted(f"{name}.{matrix}" for name in chosen for matrix in "AB"), f"the trainable parameters of {what}", hint)
    for name, mode in seen["modes"].items():
        outer = name if name in before["modes"] else max((n for n in chosen if name.startswith(n + ".")), key=len, default=name)
        hint = "a new module starts in training mode: give it the mode of the layer that it wraps"
        check.equal(mode, before["modes"].get(outer, mode), f"whether {name!r} is in training mode, in {what}", hint)


def check_refused(plan, targets, missing):
    said, after, same, state = refused(plan, targets)
    what = f"inject({list(targets)}, …) into {plan[0]}, where no linear layer is called {missing!r},"
    check.true(said is not None, f"{what} raised no error, expected a ValueError: a target that matches nothing trains less than you think.")
    check.true(missing in said, f"{what} raised a ValueError that does not name it; it says: {said}")
    hint = "nothing is changed then, what was frozen neither: check the targets first"
    check.equal(after, state_of(network_of(*plan)), f"the model after {what}", hint)
    check.equal(same, dict.fromkeys(same, True), f"whether modules and parameters are those of before after {what}", hint)
    check.unchanged(state, check.module_state(network_of(*plan), values=True), f"the model after {what}", hint)


def check_inject(seed):
    width = 4 + seed % 3
    for plan, targets, r, alpha, dropout in (
        (("a plain row", 1, seed), ["4"], 1, 1, 0.0),
        (("a plain row", width, seed), ("0", "2"), 3, 7, 0.5),
        (("two blocks", width, seed), ["proj"], 2, 5, 0.3),
        (("two blocks", width, seed), {"q_proj", "1"}, 3, 7, 0.0),
        (("two blocks", width, seed), ["1", "proj", "q_proj"], 5, 2, 0.9),
        (("other kinds", width, seed), ["proj"], 2, 6, 0.0),
        (("other kinds", width, seed), ["head", "head", "proj"], 40, 1, 0.2),
        (("tied embeddings", width, seed), ["lm_head"], 2, 3, 0.0),
    ):
        check_injected(plan, targets, r, alpha, dropout)
        for modes in ("training", "eval", "mixed"):
            check_state((*plan, modes), targets, r, alpha)
    check_refused(("two blocks", width, seed), ["q_proj", "v_prj"], "v_prj")
    check_refused(("two blocks", width, seed), ("roj", "proj"), "roj")
    check_refused(("two blocks", width, seed), ["out_proj"], "out_proj")  # a convolution
    for pattern in ("q_pro.", "[pq]_proj", "q_proj|x", "q_*", "Q_proj", "q_proj "):
        check_refused(("two blocks", width, seed), ["proj", pattern], pattern)
    check_refused(("other kinds", width, seed), ["proj", "embed"], "embed")
    check_refused(("a plain row", width, seed), {"1"}, "1")
    check_refused(("other kinds", width, seed, "eval"), ["er"], "er")
    for modes in ("mixed", "eval"):
        check_refused(("two blocks", width, seed, modes), ["q_proj", "v_prj"], "v_prj")
        check_refused(("two blocks", width, seed, modes), ["0.q_proj"], "0.q_proj")
        check_refused(("other kinds", width, seed, modes), ("proj", "deep.er.proj"), "deep.er.proj")


@check.scenario
def share_of(kind, trained, seed):
    """`trainable_share` of a model in which just these parameters are trainable."""
    return trainable_share(partly_trained(kind, trained, seed))


@check.shared
def partly_trained(kind, trained, seed):
    if kind == "tied":
        network = nn.ModuleDict({"embed": nn.Embedding(11, 4), "head": nn.Linear(4, 11, bias=False), "middle": nn.Linear(4, 4)})
        network["head"].weight = network["embed"].weight
    elif kind == "with buffers":
        network = nn.Sequential(nn.Linear(seed % 5 + 1, 7), nn.BatchNorm1d(7), nn.BatchNorm1d(7))
    elif kind == "in two dtypes":
        network = nn.Sequential(nn.Linear(seed % 5 + 1, 7, dtype=torch.bfloat16), nn.Linear(7, 3))
    elif kind == "packed":
        network = nn.Sequential(nn.Linear(seed % 5 + 1, 7), nn.LayerNorm(7))
        network.packed = nn.Parameter(torch.zeros(100, 1, dtype=torch.uint8), requires_grad=False)
    elif kind == "memory in common":
        whole = torch.zeros(10 + seed % 5)
        network = nn.ParameterDict({"whole": nn.Parameter(whole), "first": nn.Parameter(whole[:4]), "second": nn.Parameter(whole[4:])})
    elif kind == "on meta":
        with torch.device("meta"):
            network = network_of("two blocks", seed % 5 + 1, seed)
    else:
        network = network_of(kind, seed % 5 + 1, seed)
    for name, p in network.named_parameters():
        p.requires_grad_(name in trained)
    return network


def check_share(seed):
    for kind in ("two blocks", "tied", "with buffers", "in two dtypes", "other kinds", "on meta", "packed", "memory in common"):
        parameters = dict(partly_trained(kind, (), seed).named_parameters())
        sizes, memory = ({name: size(p) for name, p in parameters.items()} for size in (torch.Tensor.numel, lambda p: p.nbytes))
        names = [name for name in sizes if name != "packed"]  # whole numbers can want no gradient
        floats = sum(sizes[name] for name in names)
        for trained in ([], names, names[:1], names[-1:], names[1::2]):
            what = f"the share of a model ({kind}) with {len(trained)} of its {len(sizes)} parameters trainable"
            share = share_of(kind, trained, seed)
            check.kind(share, float, what)
            total, part = sum(sizes.values()), sum(sizes[name] for name in trained)
            twice = 44 * (kind == "tied")
            causes = {
                "tensors were counted, not the weights in them": len(trained) / len(sizes),
                "weights that are no floats count too": part / floats,
                "a shared matrix counts once": (part + twice * (names[0] in trained)) / (total + twice),
                "a shared matrix counts once, in the total too": part / (total + twice),
                "bytes were counted, not numbers": sum(memory[name] for name in trained) / sum(memory.values()),
                "buffers are no weights: they were counted": part / (total + 30 * (kind == "with buffers")),
            }
            check.equal(share, part / total, what, "trainable weights over all weights", causes=causes)


with check.exercise("inject"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"inject": lambda: [check_inject(seed) for seed in seeds], "trainable_share": lambda: [check_share(seed) for seed in seeds]})
check.points(3)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# First collect names, then check, then change: a dictionary of modules that changes while you walk through it gives
# surprises. What is the name of a module's parent, and what of a module without one? In which mode is a new module?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `model.named_modules()`, `name.split(".")[-1]`, `isinstance(module, nn.Linear)`; `model.get_submodule(name)` and
# `model.set_submodule(name, module)` find and replace by full name. `layer.training` is its mode; `module.train(mode)` sets it
# and returns the module. `parameters()` gives a shared matrix once.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
# for target in targets:
#     if ...:                                     # no last part equals it
#         raise ValueError(f"no linear layer is called {target}")
# chosen = [...]
# model.requires_grad_(False)
# for name in chosen:
#     layer = model.get_submodule(name)
#     model.set_submodule(name, LoRALinear(layer, ...).train(...))
# return chosen
# ```
# </details>


# %% [markdown]
# #### The share in real models
#
# An adapter on a layer has $r (\text{in} + \text{out})$ weights, the layer $\text{in} \cdot \text{out}$. For a square
# layer that is $2 r / \text{width}$; wider layers, and embeddings, which get no adapter, make the share of the model
# less. It shrinks as models grow. Here it is for `tiny-lm`, counted with your functions, beside two models whose shapes
# are public (configurations of Llama-2-7B and Llama-2-70B; arithmetic only, nothing is loaded).

# %%
EVERY_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def adapter_share(hidden, ffn, kv, layers, all_weights, r=8):
    """Share of LoRA weights on every linear layer of a Llama of these sizes."""
    shapes = [(hidden, hidden)] * 2 + [(hidden, kv)] * 2 + [(hidden, ffn)] * 3
    added = layers * sum(r * (a + b) for a, b in shapes)
    return added / (all_weights + added)


linear_names = [name for name, _ in base_model.named_modules() if name.endswith(EVERY_LINEAR)]


def weights_of(model):
    """The weight of every layer that LoRA adapts here, by name."""
    return {name: model.get_submodule(name).weight.detach() for name in linear_names}


old_weights = weights_of(base_model)

model = load_model()
inject(model, EVERY_LINEAR, r=8, alpha=16)
tiny_share = trainable_share(model)
print(f"tiny-lm:     {tiny_share:.1%} of the weights are trained, beside {len(linear_names)} layers")
print(f"Llama-2-7B:  {adapter_share(4096, 11008, 4096, 32, 6_738_415_616):.2%}")
print(f"Llama-2-70B: {adapter_share(8192, 28672, 1024, 80, 68_976_648_192):.2%}")

library = get_peft_model(load_model(), LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
trained, everything = library.get_nb_trainable_parameters()
print(f"peft's own count for tiny-lm: {trained} of {everything}, {trained / everything:.1%}")

claims.record(
    "LoRA trains about 1 % of the weights",
    claimed="0.1 to 1 %",
    measured=f"{tiny_share:.1%} (r = 8, every linear layer, a width of 128)",
    holds=tiny_share < 0.015,
    how="for a square layer it is 2 r / width: for Llama-2-7B the same r gives 0.3 %",
)

# %% [markdown]
# `tiny-lm` is far from 1 % because it is narrow. The same r on a layer 32 times as wide is a share 32 times as small,
# which is why the figure in papers, about large models, holds for large models only.

# %% [markdown]
# ### 4 · Take it off, or merge it (`merge_and_take_off`, 3 points, 20 minutes, difficulty 2 of 3)
#
# Three things can be done with a trained adapter. **Keep it beside** the model: costs a little time at each layer.
# **Take it off**: the old model is back, and the adapter is a small object that can be put on again. **Merge** it:
# add the change to the weights, after which the model is a plain one, as fast as before, and the adapter can no
# longer be taken off exactly, because $(W + \Delta) - \Delta$ is not $W$ in floating point.
#
# **Task.** Write two functions that change `model` in place; each earns half of the points on its own. `model` is any
# module that is no `LoRALinear` itself, with any number of them inside, at any depth, perhaps none; each stands at one place and
# has a base layer of its own. Weights are float32 or float64; `A` and `B` may be trainable or frozen, and some modules may be
# in training mode and others in eval mode. A layer may share its weight (not its bias) with another one, in the model or outside
# it, and this weight may be frozen or trainable. Some adapters may be fresh, with B zero.
#
# `take_off(model)` puts the base layers back.
#
# - In the place of each `LoRALinear` stands its base layer: the layer itself, no copy, in its own mode (which may be another
#   than that of the `LoRALinear`). <!-- rule: itself -->
# - The numbers in it are what they were, to the last bit. <!-- rule: bits -->
# - All that was frozen is still frozen, and what was trainable still trainable. <!-- rule: still_frozen -->
# - It returns a dictionary from the full name to the `LoRALinear` that stood there, in all as it was, around the same base
#   layer: put back with `set_submodule`, it gives the adapted model again. <!-- rule: returned -->
#
# `merge(model)` makes the change permanent.
#
# - In the place of each `LoRALinear` stands a plain `nn.Linear`, with weight and bias as parameters, in the dtype of the base
#   layer. <!-- rule: plain -->
# - It computes, in either mode, what the `LoRALinear` computed in eval mode. <!-- rule: merged -->
# - Each merged layer has a weight of its own, even if its change is zero: the old weight keeps its numbers, since another layer
#   may share it, in the model or outside it (an output matrix may be that of the embeddings). <!-- rule: shared -->
# - A second `merge` changes nothing. <!-- rule: again -->
# - It returns None. <!-- rule: nothing -->
#
# Whether merged weights want a gradient, in which mode merged layers are, and what becomes of the old `LoRALinear` is up to you.
# For both:
#
# - Every other module stays in its place and in its mode, also one that is no `LoRALinear` and holds modules or parameters called
#   `base`, `A` and `B`. Its weights (some may be trainable) stay trainable or frozen. The order of `model.named_modules()`
#   stays. <!-- rule: rest -->


# %% exercise="merge_and_take_off" minutes=20 difficulty=2
def take_off(model):
    """Put every base layer back; returns {name: LoRALinear}."""
    ### BEGIN SOLUTION
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        model.set_submodule(name, layer.base)
    return adapters
    ### END SOLUTION


def merge(model):
    """Add every adapter's change to its layer's weight, and leave plain layers."""
    ### BEGIN SOLUTION
    for layer in take_off(model).values():
        layer.base.weight = nn.Parameter(layer.base.weight + layer.delta())
    ### END SOLUTION


# %% tests="merge_and_take_off" points=3
@check.shared
def adapted(kind, width, seed, names, dtype, training):
    """A network with filled adapters around the layers called `names`; the rest is frozen, but not a norm at the end."""
    torch.manual_seed(seed)
    shapes = dict(vocab_size=31, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2)
    if kind.startswith("a small Llama"):
        network = LlamaForCausalLM(LlamaConfig(**shapes, num_key_value_heads=1, initializer_range=0.3, tie_word_embeddings=True))
    elif kind == "a plain row":
        network = nn.Sequential(nn.Linear(width, 4), nn.Tanh(), nn.Linear(4, 3))
    else:
        network = Network(width)
        network.other = nn.ModuleDict({name: nn.Linear(2, 2) for name in ("base", "A", "B", "delta")})  # no adapter
        network.alike = nn.Module()  # neither
        network.alike.base, network.alike.A, network.alike.B = nn.Linear(2, 2), nn.Parameter(torch.ones(1, 2)), nn.Parameter(torch.ones(2, 1))
        network.alike.delta = lambda: torch.ones(2, 2)
    if kind == "two blocks with one weight":
        network.blocks[1].q_proj.weight = network.blocks[0].q_proj.weight
    network.to(dtype).requires_grad_(False)
    if hasattr(network, "norm"):
        network.norm.requires_grad_(True)
    trainable = [p for p in network.parameters() if p.requires_grad]
    if kind.endswith("trainable embeddings"):  # the output matrix is theirs
        trainable.append(network.model.embed_tokens.weight)
    for number, name in enumerate(names):
        layer = LoRALinear(network.get_submodule(name), 2 + number, 7 - number, 0.4)
        layer = layer if kind.endswith("fresh adapters") else filled(layer, seed + number)
        for matrix in (layer.A, layer.B):
            matrix.requires_grad_(number != 1)  # the second adapter is frozen
        network.set_submodule(name, layer)
    for p in trainable:
        p.requires_grad_(True)
    inside = tuple(f"{name}." for name in names) or ("-",)
    for number, (name, module) in enumerate((n, m) for n, m in network.named_modules() if not n.startswith(inside)):
        mode = number % 3 > 0 if training == "mixed" else training
        if name in names:
            module.train(mode)
            module.base.training = mode if training != "mixed" else not mode
        module.training = mode
    return network


@check.shared
def modes_of(network):
    return {name: module.training for name, module in network.named_modules()}


@check.shared
def given_to(kind, width, seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    if kind.startswith("a small Llama"):
        return torch.randint(31, (2, 6), generator=generator)
    return torch.randn(5, width, generator=generator, dtype=dtype)


@check.shared
def result_of(network, x):
    y = network(x)
    return getattr(y, "logits", y).detach()


@check.shared
def order_of(new, old, layers):
    """The modules of before in the order of now, and in that of before, without what was inside the adapters."""
    kept = [name for name in old if not name.startswith(tuple(f"{layer}." for layer in layers) or ("-",))]
    return [name for name in new if name in kept], [name for name in kept if name in new]


@check.scenario
def without(plan, x):
    """What `take_off` did to a model."""
    network = adapted(*plan)
    old = dict(network.named_modules())
    layers = {name: module for name, module in old.items() if type(module) is LoRALinear}
    bases, before = {name: layer.base for name, layer in layers.items()}, {name: check.module_state(layer, values=True) for name, layer in layers.items()}
    adapters = take_off(network)
    if not isinstance(adapters, dict):
        return {"returned": adapters}
    new = dict(network.named_modules())
    inside = tuple(f"{name}." for name in layers)
    return {
        "returned": sorted(adapters),
        "order": (order := order_of(new, old, layers)),
        "left": [name for name, module in new.items() if isinstance(module, LoRALinear)],
        "itself": {name: new.get(name) is base for name, base in bases.items()},
        "those that stood there": {name: adapters.get(name) is layer for name, layer in layers.items()},
        "around": {name: layer.base is bases[name] for name, layer in layers.items()},
        "states": {name: (check.module_state(layer, values=True), before[name]) for name, layer in layers.items()},
        "others": {n: new.get(n) is m for n, m in old.items() if n not in layers and not n.startswith(inside or "-")},
        "trainable": [name for name, p in network.named_parameters() if p.requires_grad],
        "modes": modes_of(network),
        "weights": {name: value.detach().clone() for name, value in network.state_dict().items()},
        "output": result_of(network, x) if order[0] == order[1] else None,
    }


@check.scenario
def merged(plan, x, times=1):
    """What `merge` made of a model."""
    network = adapted(*plan)
    old = dict(network.named_modules())
    layers = {name: module for name, module in old.items() if type(module) is LoRALinear}
    outside = {name: (layer.base.weight, layer.base.weight.detach().clone()) for name, layer in layers.items()}
    returned = [merge(network) for _ in range(times)]
    new = dict(network.named_modules())
    inside = tuple(f"{name}." for name in layers)
    kinds = {name: f"{type(new[name]).__name__} in {new[name].weight.dtype if type(new[name]) is nn.Linear else '?'}" for name in layers}
    order = order_of(new, old, layers)
    if set(kinds.values()) - {f"Linear in {plan[4]}"} or order[0] != order[1]:
        return {"kinds": kinds, "order": order}
    modes = {name: mode for name, mode in modes_of(network).items() if name not in layers}
    others = {name: value.detach().clone() for name, value in network.state_dict().items() if not name.startswith(inside or "-")}
    results = [result_of(network.train(mode), x) for mode in (True, False)]
    return {
        "kinds": kinds,
        "order": order,
        "outside": {name: torch.equal(now, before) for name, (now, before) in outside.items()},
        "own": {name: new[name].weight.data_ptr() != old_weight.data_ptr() for name, (old_weight, _) in outside.items()},
        "modes": modes,
        "returned": [None if value is None else type(value).__name__ for value in returned],
        "parameters": {name: [type(p).__name__ for p in (new[name].weight, new[name].bias) if p is not None] for name in layers},
        "weights": {name: new[name].weight.detach() for name in layers},
        "other weights": others,
        "trainable": [name for name, p in network.named_parameters() if p.requires_grad and not name.startswith(inside or "-")],
        "biases": {name: None if new[name].bias is None else new[name].bias.detach() for name in layers},
        "others": {n: new.get(n) is m for n, m in old.items() if n not in layers and not n.startswith(inside or "-")},
        "results": results,
    }


def plans(seed):
    """(kind, width, seed, names of the adapted layers, dtype, whether in training mode or "mixed"), from few to many."""
    f32, f64 = torch.float32, torch.float64
    yield "a plain row", 1, seed, [], f32, True
    yield "a plain row", 3, seed, ["2"], f64, True
    yield "a plain row", 4, seed, ["0"], f32, "mixed"
    yield "two blocks", 5, seed, ["proj"], f32, False
    yield "two blocks", 7, seed, ["blocks.0.q_proj", "blocks.1.down.1"], f64, "mixed"
    yield "two blocks", 6, seed, ["proj", "blocks.0.proj", "blocks.0.down.1", "blocks.1.q_proj", "blocks.1.proj"], f32, True
    yield "two blocks with one weight", 5, seed, ["blocks.0.q_proj", "blocks.1.q_proj"], f64, True
    yield "a small Llama", 0, seed, ["model.layers.0.self_attn.k_proj", "model.layers.1.mlp.up_proj", "lm_head"], f64, False
    yield "a small Llama with trainable embeddings", 0, seed, ["lm_head"], f64, True
    yield "a small Llama with fresh adapters", 0, seed, ["model.layers.0.mlp.up_proj", "lm_head"], f32, True


def check_take_off(seed):
    for plan in plans(seed):
        kind, width, _, names, dtype, training = plan
        bare, x, what = adapted(kind, width, seed, [], dtype, training), given_to(kind, width, seed, dtype), f"take_off from {kind} with adapters on {names}"
        seen = without(plan, x)
        check.equal(seen["returned"], sorted(names), f"the names that {what} returns", "a dictionary from the full name to the LoRALinear")
        check.equal(seen["left"], [], f"what is still a LoRALinear after {what}", "put each base layer back in its place")
        check.equal(seen["itself"], dict.fromkeys(seen["itself"], True), f"whether the base layer itself is back after {what}", "put no copy back")
        check.equal(
            seen["those that stood there"],
            {n: True for n in seen["those that stood there"]},
            f"whether {what} returns the LoRALinear modules that stood there",
        )
        check.equal(seen["others"], {n: True for n in seen["others"]}, f"whether another module is still there after {what}")
        hint = "who takes a child out and adds another puts it at the end; an nn.Sequential then calls its layers in another order"
        check.equal(*seen["order"], f"the order of the modules after {what}", hint)
        hint = "taking off is to put the untouched layer back, not to subtract the change"
        for name, value in bare.state_dict().items():
            check.equal(seen["weights"].get(name), value.detach(), f"{name} after {what}", hint, rtol=0, atol=0)
        hint = "the base layers go back as they were, and other weights stay trainable or frozen"
        trainable = [name for name, p in bare.named_parameters() if p.requires_grad]
        check.equal(seen["trainable"], trainable, f"what is trainable in the model after {what}", hint)
        modes = modes_of(adapted(*plan))
        modes |= {name: modes[f"{name}.base"] for name in names}
        check.equal(seen["modes"], {name: modes.get(name) for name in seen["modes"]}, f"the training modes after {what}", "they stay as they were")
        check.equal(seen["output"], result_of(bare, x), f"the output after {what}", "the old model is back", rtol=0, atol=0)
        for name, (now, before) in seen["states"].items():
            check.unchanged(now, before, f"the LoRALinear {name!r} that {what} returns", "in all as it was: put back, it gives the adapted model again")
        hint = "it is the layer that is back in the model, so that an adapter put on again adapts this one"
        check.equal(seen["around"], dict.fromkeys(seen["around"], True), f"whether base of each LoRALinear is still the same layer after {what}", hint)


def check_merge(seed):
    for plan in plans(seed):
        kind, width, _, names, dtype, _ = plan
        network, x, what = adapted(*plan), given_to(kind, width, seed, dtype), f"merge of {kind} with adapters on {names}"
        layers = {name: network.get_submodule(name) for name in names}
        tolerance = {"rtol": 1e-9 if dtype == torch.float64 else 1e-4}
        modes, expected = modes_of(network), result_of(network.eval(), x)
        others = {name: value for name, value in network.state_dict().items() if not name.startswith(tuple(f"{n}." for n in names) or "-")}
        for times in (1, 2):
            seen = merged(plan, x, times)
            hint = "an adapter that is left goes on adding its change; a plain nn.Linear stands in its place"
            check.equal(seen["kinds"], {n: f"Linear in {dtype}" for n in seen["kinds"]}, f"the kinds of the layers after {what}", hint)
            hint = "who takes a child out and adds another puts it at the end; an nn.Sequential then calls its layers in another order"
            check.equal(*seen["order"], f"the order of the modules after {what}", hint)
            check.equal(seen["returned"], [None] * times, f"what {what} returns", "it changes the model in place")
            for name, layer in layers.items():
                hint = "W + alpha / r times B A, once"
                goal = (layer.base.weight + layer.delta()).detach()
                causes = {
                    "the scale alpha / r is missing": lambda layer=layer: layer.base.weight + layer.B @ layer.A,
                    "the change was added twice": lambda layer=layer: layer.base.weight + 2 * layer.delta(),
                    "the layers that share this weight added their changes to it too: the merged layer gets a weight of its own": lambda layer=layer: (
                        layer.base.weight + sum(other.delta() for other in layers.values() if other.base.weight is layer.base.weight)
                    ),
                }
                check.equal(seen["weights"][name], goal, f"the weight of {name} after {what}", hint, causes=causes, **tolerance)
                bias = None if layer.base.bias is None else layer.base.bias.detach()
                check.equal(seen["biases"][name], bias, f"the bias of {name} after {what}", "it stays")
                kinds = ["Parameter"] * (1 + (bias is not None))
                check.equal(seen["parameters"][name], kinds, f"what weight and bias of {name} are after {what}")
            check.equal(seen["others"], {n: True for n in seen["others"]}, f"whether another module is still there after {what}")
            check.equal(seen["modes"], {n: modes.get(n) for n in seen["modes"]}, f"the training modes of other modules after {what}")
            trainable = [name for name, p in network.named_parameters() if p.requires_grad and name in others]
            check.equal(seen["trainable"], trainable, f"what is trainable beside the merged layers after {what}", "it stays as it was")
            hint = "that layer has no adapter: where it shares its weight with one that has, the merged layer gets a weight of its own"
            for name, value in others.items():
                check.equal(seen["other weights"].get(name), value.detach(), f"{name} after {what}", hint, rtol=0, atol=0)
            for mode, result in zip(("training", "eval"), seen["results"]):
                check.equal(result, expected, f"the output in {mode} mode after {times} times {what}", "as the adapted model in eval mode", **tolerance)
            hint = "a layer outside the model may share it: the merged layer gets a weight of its own"
            check.equal(seen["outside"], dict.fromkeys(seen["outside"], True), f"whether the old weight keeps its numbers in {what}", hint)
            hint = "also where the change is zero: training the merged layer must not train another that shares the old weight"
            check.equal(seen["own"], dict.fromkeys(seen["own"], True), f"whether each merged layer has a weight of its own after {what}", hint)


with check.exercise("merge_and_take_off"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"take_off": lambda: [check_take_off(seed) for seed in seeds], "merge": lambda: [check_merge(seed) for seed in seeds]})
check.points(3)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# The old layer is still there: where? For `merge`: in which order must you take the wrapper away and add the change,
# so that the change counts once? And who else reads the old weight?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `model.named_modules()` with `isinstance(module, LoRALinear)`, collected before anything is replaced;
# `model.set_submodule(name, layer.base)`; `nn.Parameter(tensor)` makes a parameter out of a sum.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# adapters = {name: module for name, module in model.named_modules() if ...}
# for name, layer in adapters.items():
#     model.set_submodule(name, ...)
# return adapters
#
# # merge
# for layer in take_off(model).values():
#     layer.base.weight = nn.Parameter(...)
# ```
# </details>


# %% [markdown]
# ### 5 · A fair comparison (`compare`, 3 points, 30 minutes, difficulty 2 of 3)
#
# Now your functions go to work. First what all runs share: the training loop of lesson 04, with a learning rate that
# rises for 10 updates and then falls to zero, and two ways to get a model ready.


# %%
def adapt(model, pairs, optimizer, seed=0, steps=100, rows=12):
    """Train `model` with `optimizer` on random batches of `pairs`; returns the losses. Leaves it in training mode."""
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 10, 1.0) * (1 - step / steps))
    draw, losses = random.Random(seed), []
    model.train()
    for _ in range(steps):
        ids, labels = collate(draw.sample(pairs, rows))
        loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def new_head(model):
    """Freeze the body; the output matrix becomes a trainable copy of the embeddings that it shared."""
    model.requires_grad_(False)
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())


def with_lora(model, r=8):
    """Freeze all, and put LoRA of rank r on every linear layer of the blocks: alpha is 2 r, dropout 5 %."""
    inject(model, EVERY_LINEAR, r=r, alpha=2 * r, dropout=0.05)


# %% [markdown]
# Two ways of fine-tuning are compared fairly when nothing but the way differs: the same weights at the start, the same
# batches, the same number of updates, the same exam. It sounds like nothing and is where many comparisons fail: the
# second way starts from the model that the first has trained, or one way happens to draw a lucky start.
#
# **Task.** Write two functions; each earns half of the points on its own.
#
# `compare(load, ways, train, measure, seeds)` runs every way once for each seed. `load()` gives a model from the shipped
# weights. `ways` is a dictionary from a name (a string, or a number such as a rank) to `(prepare, pairs, rate)`.
# `prepare(model)` changes a model in place and leaves at least one weight trainable; what it returns means nothing (`inject`
# returns names). Some weights may be shared by two layers. `seeds` is a list or tuple of whole numbers; one may be there twice
# (who wants to see whether a run repeats).
#
# - There is one run for each way and seed, with one training and one exam; runs come in any order. <!-- rule: runs -->
# - Each run loads a model of its own, so that it starts from the shipped weights. <!-- rule: fresh -->
# - Each run begins with `torch.manual_seed(seed)`. From there on `load`, `prepare` and `train` (for dropout) draw from torch's
#   global random numbers, in this order; until training ends nothing else draws from these or seeds them. <!-- rule: seeded -->
# - Each run has a `torch.optim.AdamW` over exactly the weights that want a gradient after `prepare`. <!-- rule: exactly -->
# - Its learning rate is `rate` and its weight decay 0. <!-- rule: settings -->
# - Training is `train(model, pairs, optimizer, seed)`. `load`, `prepare` and `train` can take gradients: no `no_grad` or
#   `inference_mode` is around them. <!-- rule: train -->
# - Then comes the exam, `measure(model)`, with the model and all that is in it in eval mode. <!-- rule: exam -->
# - The result is a dictionary from the name of a way to a list with one dictionary a seed, in the order of `seeds`. <!-- rule: order -->
# - Each of these holds `"model"`, `"share"` (trainable weights over all weights, each counted once, after `prepare`; training
#   leaves it so), `"losses"` (what `train` returned) and `"scores"` (what `measure` returned). Both are kept as they are, to the
#   last digit: a list, a dictionary (either may be empty), a number or None. <!-- rule: entries -->
#
# `learned_and_kept(before, runs, new)` sums up the list of one way. `before`, and `"scores"` in each run, are dictionaries
# with the same tasks, in any order, and an accuracy for each. `new` names the new task, all others are old; the old ones'
# accuracies in `before` do not sum to 0. There are one or more runs.
#
# - It returns `{"learned": (mean, lowest, highest), "kept": (mean, lowest, highest)}` over the runs. <!-- rule: triples -->
# - A run has *learned* its accuracy on the new task. <!-- rule: learned -->
# - It has *kept* the sum of its accuracies on the old tasks, divided by that sum before training: 0.0 is nothing, 1.0 is
#   all, and it may be more. With 0.8 and 0.4 before, 0.2 and 0.4 after, it has kept 0.5. <!-- rule: kept -->
# - `before` and `runs` stay as they were. <!-- rule: unchanged -->


# %% exercise="compare" minutes=30 difficulty=2
def compare(load, ways, train, measure, seeds):
    """Run every way of fine-tuning on a fresh model for each seed: {way: [{model, share, losses, scores}, ...]}."""
    ### BEGIN SOLUTION
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": scores})
    return results
    ### END SOLUTION


def learned_and_kept(before, runs, new):
    """Mean, lowest and highest of what the runs learned and kept: {"learned": (3 numbers), "kept": (3 numbers)}."""
    ### BEGIN SOLUTION
    old = [task for task in before if task != new]
    learned = [run["scores"][new] for run in runs]
    kept = [sum(run["scores"][task] for task in old) / sum(before[task] for task in old) for run in runs]
    return {
        "learned": (sum(learned) / len(runs), min(learned), max(learned)),
        "kept": (sum(kept) / len(runs), min(kept), max(kept)),
    }
    ### END SOLUTION


# %% tests="compare" points=3
@check.shared
def shipped_network(seed):
    """A network in eval mode, with two layers that share their weight; the global generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network()
        network.twin = nn.Linear(6, 3)
        network.drop = nn.Dropout(0.5)
    network.twin.weight = network.proj.weight
    return network.eval()


@check.shared
def made_ready(model, kind):
    """What `prepare` does: the way `kind`."""
    if kind == "everything":
        return None
    model.requires_grad_(False)
    if kind == "head":
        model.proj.requires_grad_(True)
    if kind == "new layer":  # stands for an adapter: weights that are drawn at random
        model.extra = nn.Linear(6, 3)
    if kind == "in training mode":
        model.extra = nn.Sequential(nn.Linear(6, 2), nn.Dropout(0.5))
    return ["proj"] if kind == "head" else copy.deepcopy(model)  # what is returned means nothing


@check.shared
def returned_by(what, number):
    """What the training or the exam called `number` (from 1) returns."""
    third, tiny = number / 3, 1e-9 * number / 7  # with all the digits that a float has
    losses = [3 + third, tiny]
    kinds = {
        "train": (losses, {"loss": losses, "rows": number}, None, 1000 + third, [], 0.0),
        "measure": ({"new": third, "old": tiny}, [0.5 + third, number], tiny, None, 0.0, {}),
    }
    return kinds[what][(number - 1) % len(kinds[what])]


@check.scenario
def comparison(kinds, seeds, shipped_seed):
    """Run `compare` on the ways {name: (kind, pairs, rate)} with a training that notes what it was given."""
    shipped, loaded, trainings, exams, no_gradients = shipped_network(shipped_seed), [], [], [], set()

    def notice(step):
        if torch.is_inference_mode_enabled() or not torch.is_grad_enabled():
            no_gradients.add(step)

    def number_of(model):
        return next((i for i, known in enumerate(loaded) if known is model), None)

    def load():
        model = copy.deepcopy(shipped)
        model.register_buffer("drawn", torch.rand(3))  # loading may draw numbers too, as for a new head
        loaded.append(model)
        notice("load")
        return model

    def prepare(model, kind):
        notice("prepare")
        return made_ready(model, kind)

    def train(model, pairs, optimizer, seed):
        names = {id(p): name for name, p in model.named_parameters()}
        groups = optimizer.param_groups
        trainings.append(
            {
                "model": number_of(model),
                "pairs": pairs,
                "seed": seed,
                "kind": f"{type(optimizer).__module__.split('.')[0]}.{type(optimizer).__name__}",
                "start": {name: value.detach().clone() for name, value in model.state_dict().items()},
                "held": sorted(names.get(id(p), "a tensor that is no parameter of the model") for group in groups for p in group["params"]),
                "wanting": sorted(name for name, p in model.named_parameters() if p.requires_grad),
                "rates": sorted({group["lr"] for group in groups}),
                "decays": sorted({group["weight_decay"] for group in groups}),
                "drawn": torch.rand(3),
                "gradients": torch.is_grad_enabled() and not any(tensor.is_inference() for tensor in model.state_dict().values()),
            }
        )
        model.train()
        with torch.no_grad():
            for p in model.parameters():
                if not p.is_inference():
                    p += 0.5 * p.requires_grad
        return returned_by("train", len(trainings))

    def measure(model):
        modes = sorted(name or "the model" for name, module in model.named_modules() if module.training)
        trained = [i for i, run in enumerate(trainings) if run["model"] == number_of(model)]
        exams.append({"model": number_of(model), "in training mode": modes, "trained": trained})
        return returned_by("measure", len(exams))

    ways = {name: (lambda model, kind=kind: prepare(model, kind), pairs, rate) for name, (kind, pairs, rate) in kinds.items()}
    results = compare(load, ways, train, measure, seeds)
    if type(results) is dict:
        results = {
            way: [{**run, "model": number_of(run.get("model"))} if type(run) is dict else run for run in runs] if type(runs) in (list, tuple) else runs
            for way, runs in results.items()
        }
    return results, trainings, exams, sorted(no_gradients)


def check_comparison(kinds, seeds, shipped_seed):
    results, trainings, exams, no_gradients = comparison(kinds, seeds, shipped_seed)
    check.kind(results, dict, "what compare returns")
    check.equal(sorted(results), sorted(kinds), "the ways in the result")
    check.equal(len(trainings), len(kinds) * len(seeds), f"the number of trainings for {len(kinds)} ways and {len(seeds)} seeds")
    check.equal(len(exams), len(trainings), "the number of exams", "one after each training")
    numbers = {run["model"] for run in trainings}
    check.equal(len(numbers - {None}), len(trainings), "the number of different models that were loaded and trained", "load a fresh one for every run")
    for way, (kind, pairs, rate) in kinds.items():
        check.kind(results[way], (list, tuple), f"the results of {way!r}")
        check.equal(len(results[way]), len(seeds), f"the number of results of {way!r}", "one for each seed")
        for seed, result in zip(seeds, results[way]):
            run = f"{way!r} with seed {seed}"
            check.kind(result, dict, f"the result of {run}")
            check.equal(sorted(result), ["losses", "model", "scores", "share"], f"the keys of the result of {run}")
            at = [i for i, training in enumerate(trainings) if training["model"] == result["model"] is not None]
            check.true(len(at) == 1, f'"model" of {run} is no model that was trained.')
            seen = trainings[at[0]]
            check.equal(seen["seed"], seed, f"the seed that train got for the model that is listed as {run}", "results stand in the order of the seeds")
            check.equal(seen["pairs"], pairs, f"the pairs that train got for {run}")
            check.true(seen["gradients"], f"train could take no gradients in {run}: it ran under `no_grad`, or with weights made in `inference_mode`.")
            torch.manual_seed(seed)
            copied = shipped_network(shipped_seed)
            copied.register_buffer("drawn", torch.rand(3))
            made_ready(copied, kind)
            drawn_in_training = torch.rand(3)
            start, shipped = copied.state_dict(), shipped_network(shipped_seed).state_dict()
            check.equal(sorted(seen["start"]), sorted(start), f"the weights with which {run} starts", "prepare(model), once")
            for name in shipped:
                hint = "load a fresh model for every run"
                check.equal(seen["start"][name], shipped[name], f"{name} at the start of {run}", hint, rtol=0, atol=0)
            for name in start.keys() - shipped.keys():
                hint = f"`torch.manual_seed({seed})` begins the run: before load, and so before prepare"
                check.equal(seen["start"][name], start[name], f"the random numbers in {name} at the start of {run}", hint, rtol=0, atol=0)
            hint = f"`torch.manual_seed({seed})` comes once, before load: training goes on drawing where load and prepare left off"
            check.equal(seen["drawn"], drawn_in_training, f"the random numbers that train draws in {run}", hint, rtol=0, atol=0)
            wanting = sorted(name for name, p in copied.named_parameters() if p.requires_grad)
            check.equal(seen["wanting"], wanting, f"what wants a gradient in {run}", "what prepare left trainable")
            check.equal(seen["kind"], "torch.AdamW", f"the optimizer of {run}")
            hint = "exactly what wants a gradient, each once: make it after prepare, which freezes and adds weights"
            check.equal(seen["held"], wanting, f"what the optimizer of {run} holds", hint)
            check.equal(seen["rates"], [rate], f"the learning rate of {run}")
            check.equal(seen["decays"], [0.0], f"the weight decay of {run}", "AdamW has one of its own unless told")
            exam = [i for i, found in enumerate(exams) if found["model"] == result["model"]]
            check.equal(len(exam), 1, f"the number of exams of {run}")
            check.equal(exams[exam[0]]["trained"], at, f"the trainings of the model when {run} was examined", "train, then measure")
            hint = "in training mode dropout spoils the answers"
            check.equal(exams[exam[0]]["in training mode"], [], f"what is in training mode at the exam of {run}", hint)
            for key, step, call in (("losses", "train", at[0] + 1), ("scores", "measure", exam[0] + 1)):
                hint = f"what {step} returned, as it is"
                check.equal(result[key], returned_by(step, call), f"the {key} of {run}", hint, rtol=0, atol=0)
            sizes = {name: p.numel() for name, p in copied.named_parameters()}
            share = sum(sizes[name] for name in wanting) / sum(sizes.values())
            check.equal(result["share"], share, f"the share of {run}", "trainable weights over all, each counted once")


    hint = "they may need some: to find out which weights matter, say"
    check.equal(no_gradients, [], "the steps that run under `no_grad` or `inference_mode`, so that they can take no gradients", hint)


def check_compare(seed):
    check_comparison({"head": ("head", "a", 0.25)}, [seed], seed)
    ways = {"everything": ("everything", ["rows"], 0.125), "new layer": ("new layer", "b", 0.5), "faster": ("new layer", "b", 2.0)}
    check_comparison(ways, (seed + 1, seed), seed)
    check_comparison({8: ("in training mode", [1, 2], 0.5), 1: ("head", [3], 0.75)}, (1, 0, 1), seed + 1)


def runs_to_sum_up(seed):
    """before, runs, new: from one run and one old task to many."""
    source = random.Random(seed)
    for count, old in ((1, 1), (2, 3), (5, 2), (3, 8)):
        tasks = ["sort", *(("so", "sort_down", "resort")[i % 3] + str(i // 3 or "") for i in range(old))]  # names within names
        source.shuffle(tasks)
        before = {task: source.randint(5, 100) / 100 for task in tasks}
        runs = []
        for i in range(count):
            order = source.sample(tasks, len(tasks))
            runs.append({"scores": {task: source.randint(0, 100) / 100 for task in order}, "share": 0.5, "losses": [i]})
        yield cases.Case({"before": before, "runs": runs, "new": "sort"}, {"before": str(before), "scores": str([run["scores"] for run in runs])})
    yield cases.Case({"before": {"a": 0.4, "b": 0.0}, "runs": [{"scores": {"a": 0.5, "b": 0.9}}], "new": "b"}, {"a run": "got better at the old task"})
    yield cases.Case({"before": {"a": 0.0, "b": 0.5, "c": 0.5}, "runs": [{"scores": {"a": 0.5, "b": 0.0, "c": 0.25}}], "new": "c"}, {"an old task": "unknown before"})


def summary_by_definition(before, runs, new, learned=lambda before, after, new: after[new], kept=None):
    def share(before, after, new):
        return (sum(after.values()) - after[new]) / (sum(before.values()) - before[new])

    columns = {"learned": learned, "kept": kept or share}
    values = {name: [compute(before, run["scores"], new) for run in runs] for name, compute in columns.items()}
    return {name: (sum(column) / len(column), min(column), max(column)) for name, column in values.items()}


def mean_of_ratios(before, after, new):
    return sum(after[task] / max(before[task], 1e-9) for task in before if task != new) / (len(before) - 1)


def check_summary(seed):
    causes = {
        "it is the accuracy after training, not the gain": lambda *case: summary_by_definition(
            *case, learned=lambda before, after, new: after[new] - before[new]
        ),
        "the new task is not an old one": lambda *case: summary_by_definition(
            *case, kept=lambda before, after, new: sum(after.values()) / sum(before.values())
        ),
        "a sum divided by a sum, not the mean of the ratios": lambda *case: summary_by_definition(*case, kept=mean_of_ratios),
    }
    hint = "(mean, lowest, highest) over the runs"
    check.agrees(learned_and_kept, summary_by_definition, runs_to_sum_up(seed), "learned_and_kept", hint, causes=causes)


with check.exercise("compare"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"compare": lambda: [check_compare(seed) for seed in seeds], "learned_and_kept": lambda: [check_summary(seed) for seed in seeds]})
check.points(3)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Two loops, and everything that a run may change is made inside the inner one. Which of the steps draws random numbers,
# and which one creates the tensors that the optimizer must hold?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `torch.manual_seed`, `for way, (prepare, pairs, rate) in ways.items()`, `p.requires_grad`, `model.eval()` (which returns
# the model). `statistics.mean`, `min` and `max` work on lists.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# results = {way: [] for way in ways}
# for way, (prepare, pairs, rate) in ways.items():
#     for seed in seeds:
#         torch.manual_seed(seed)
#         model = load()
#         ...                                           # prepare, then the optimizer
#         losses = train(model, pairs, optimizer, seed)
#         results[way].append({"model": model, ...})
# return results
#
# old = [task for task in before if task != new]
# kept = [sum(...) / sum(...) for run in runs]
# ```
# </details>


# %% [markdown]
# #### A new task, and what it costs
#
# Four ways start from the same weights and see the same number of batches of the new task:
#
# - **frozen, new head**: the body is frozen, a copy of the output matrix is trained (transfer learning as in lesson
#   09);
# - **LoRA**: r = 8 on every linear layer;
# - **full**: every weight;
# - **LoRA with replay**: a third of the rows are of the old tasks.
#
# LoRA's learning rate here is five times that of full fine-tuning. That it wants a larger one is usual: [Thinking Machines'
# experiments (2025)](https://thinkingmachines.ai/blog/lora/) find about ten times, for many models.

# %%
both = new_rows + [pair for task in OLD for pair in examples(task, len(new_rows) // (2 * len(OLD)))]
ways = {
    "frozen, new head": (new_head, new_rows, 5e-3),
    "LoRA": (with_lora, new_rows, 5e-3),
    "full": (lambda model: None, new_rows, 1e-3),
    "LoRA with replay": (with_lora, both, 5e-3),
}
results = compare(load_model, ways, adapt, exam, seeds=(0,))
again = compare(load_model, {way: ways[way] for way in ("LoRA", "full")}, adapt, exam, seeds=(1,))  # the claims are about these
for way, runs in again.items():
    results[way] += runs
summary = {way: learned_and_kept(before, results[way], NEW) for way in ways}


def mean_scores(runs):
    return {task: sum(run["scores"][task] for run in runs) / len(runs) for task in before}


scores = {"before": before, **{way: mean_scores(results[way]) for way in ways}}
for way, runs in results.items():
    told = ", ".join(f"{task} {share:.0%}" for task, share in scores[way].items())
    span = {what: f"{low:.0%} to {high:.0%}" for what, (_, low, high) in summary[way].items()}
    print(f"{way:18} {runs[0]['share']:6.1%} trained; {told}; {len(runs)} seeds: learned {span['learned']}, kept {span['kept']}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), width_ratios=(2, 3), layout="constrained")
for way, runs in results.items():
    curve = runs[0]["losses"]
    left.plot(range(5, len(curve), 10), [sum(curve[i : i + 10]) / 10 for i in range(0, len(curve), 10)], label=way)
left.set(xlabel="update", ylabel="loss (nats a token)", yscale="log", title="training")
left.legend(fontsize=8)
for number, task in enumerate((NEW, *OLD)):
    places = [row + (number - 2) * 0.16 for row in range(len(scores))]
    right.bar(places, [100 * score[task] for score in scores.values()], 0.15, label=f"{task} (new)" if task == NEW else task)
right.set(xticks=range(len(scores)), ylabel="exact answers (%)", title="held-out rows: the new task and the old ones")
right.set_xticklabels([name.replace(", ", ",\n").replace(" with", "\nwith") for name in scores], fontsize=8)
right.legend(fontsize=7, ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.18))
plt.show()

learned = {way: summary[way]["learned"] for way in ways}
kept = {way: summary[way]["kept"] for way in ways}


def spread(triple):
    return f"{triple[1]:.0%} to {triple[2]:.0%}"


gap = learned["full"][0] - learned["LoRA"][0]
claims.record(
    "LoRA reaches what full fine-tuning reaches, with a small share of the weights",
    claimed="within a few points, training under 10 % of the weights",
    measured=f"{spread(learned['LoRA'])} against {spread(learned['full'])}, training {tiny_share:.1%}",
    holds=gap <= 0.05 and tiny_share < 0.10,
    how=f"{NEW}, 100 held-out rows, 100 updates of 12, two seeds; control: the frozen body reached {learned['frozen, new head'][0]:.0%}",
)
claims.record(
    "LoRA forgets less than full fine-tuning",
    claimed="yes (Biderman and others, 2024)",
    measured=f"keeps {spread(kept['LoRA'])} of the old accuracy, full keeps {spread(kept['full'])}",
    holds=kept["LoRA"][1] > kept["full"][2],
    how=f"two seeds each; LoRA with replay (one seed) keeps {kept['LoRA with replay'][0]:.0%}",
)
worst = {way: min(OLD, key=lambda task: scores[way][task] - before[task]) for way in ways}
for way in ways:
    print(f"{way:18} suffers most in {worst[way]!r}: {before[worst[way]]:.0%} before, {scores[way][worst[way]]:.0%} after")

# %% [markdown]
# Read the printed lines with three questions. What does the frozen body with a new head learn? To sort downwards has to be
# worked out *inside* the layers, which it cannot change. How near are LoRA and full fine-tuning to each other? And what do
# both pay? The task that suffers most is printed last: a model that was paid for descending order, and never again for the
# opposite, has no reason to keep it. That adapters forget nothing because the weights are frozen is a misunderstanding:
# what answers is the sum of both.
#
# [Biderman and others (2024)](https://arxiv.org/abs/2405.09673) found that LoRA forgets less than full fine-tuning and
# learns less, on models of 7 billion weights. The last claim asks whether that holds here. Two seeds are few, so all was also
# run over three seeds with other settings: 100 updates of 16 rows, 200 held-out rows (`tools/lora.py` in the course's
# repository; lowest to highest):
#
# | way | new task learned (%) | old accuracy kept (%) |
# |---|---|---|
# | LoRA | 93 to 95 | 45 to 53 |
# | full | 97 to 99 | 66 to 71 |
# | LoRA with replay | 55 to 80 | 76 to 79 |
# | full with replay | 76 to 85 | 79 to 83 |
# | frozen, new head | 0 to 1 | 70 to 71 |
# | same shape, random weights, all trained | 3 to 14 | 0 |
#
# "Full with replay" trains every weight on the mixed rows. The last row is for comparison: a network of the same shape
# that knows nothing yet. So many updates alone do not teach the task; the other ways build on what the model could do.
#
# In this table LoRA learns nearly as much and forgets *more*. Perhaps because its larger rate moves the sum of both further
# (how far the rows move you will see in the last plot); that this is the cause was not measured. Replay keeps more either
# way, at the price of some accuracy on the new task, since fewer rows are about it.
#
# What LoRA has and full fine-tuning has not is the way back.

# %%
tuned = results["LoRA"][0]["model"]
ids, _ = collate(new_rows[:50])
with torch.no_grad():
    old_logits = base_model(ids).logits
    adapters = take_off(tuned)
    print("without the adapter, every logit is what it was, bit by bit:", torch.equal(tuned(ids).logits, old_logits))
    print({task: f"{accuracy(tuned, task):.0%}" for task in (NEW, "sort")})

    for name, layer in adapters.items():  # on again
        tuned.set_submodule(name, layer)
    merged = copy.deepcopy(tuned)
    merge(merged)
    gap = (merged(ids).logits - tuned(ids).logits).abs().max()
    print(f"merged: the largest logit difference to the adapter beside the model is {gap:.0e}")
    print(answer(merged, ["Sort down: 4 1 8 3", "Sort: 4 1 8 3"]))

# %% [markdown]
# ## Part B · How large must r be?
#
# A rank sweep is your comparison with other ways: one for each r. Left, what LoRA learns and keeps by rank.
#
# Right, another question. Full fine-tuning left a change $\Delta = W_\text{new} - W_\text{old}$ for each layer. How
# much of it would fit through r numbers? The singular value decomposition $\Delta = U S V^T$ answers: of all matrices
# of rank r the one nearest to $\Delta$ keeps the r largest singular values (Eckart and Young, 1936). This is also a
# tool of trade: so an adapter is *extracted* from somebody's fully fine-tuned model.


# %%
def best_factors(change, r):
    """Factors A (r, in) and B (out, r) of the matrix of rank r that is nearest to `change` (out, in)."""
    u, s, vh = torch.linalg.svd(change, full_matrices=False)
    return vh[:r], u[:, :r] * s[:r]


by_rank = {r: (lambda model, r=r: with_lora(model, r), new_rows, 5e-3) for r in (1, 3)}
sweep = {**compare(load_model, by_rank, adapt, exam, seeds=(0,)), 8: results["LoRA"]}
swept = {r: learned_and_kept(before, runs, NEW) for r, runs in sweep.items()}

new_weights = weights_of(results["full"][0]["model"])
changes = {name: new_weights[name] - old_weights[name] for name in linear_names}
cut_down = {}
for r in (1, 3, 8, 24):
    model = copy.deepcopy(results["full"][0]["model"])  # embeddings and norms as fine-tuned
    for name, change in changes.items():
        A, B = best_factors(change, r)
        model.get_submodule(name).weight.data = old_weights[name] + B @ A
    cut_down[r] = accuracy(model, NEW)

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.4), layout="constrained", sharey=True)
for what, colour in (("learned", "C0"), ("kept", "C1")):
    left.plot(list(swept), [100 * swept[r][what][0] for r in swept], "s-", color=colour, label=what)
left.set(xlabel="rank r", ylabel="new task exact, old accuracy kept (%)", title="LoRA trained at rank r", ylim=(-3, 103))
left.legend(fontsize=8)
right.plot(list(swept), [100 * swept[r]["learned"][0] for r in swept], "s-", label="LoRA trained at rank r")
right.plot(list(cut_down), [100 * a for a in cut_down.values()], "o-", color="C2", label="full change cut down to rank r")
right.axhline(100 * scores["full"][NEW], color="grey", ls=":", label="full fine-tuning, mean of two seeds")
right.set(xlabel="rank r", ylabel=f"exact answers on {NEW} (%)", title="what a rank is good for")
right.legend(fontsize=8)
for axis, ranks in ((left, swept), (right, cut_down)):
    axis.set_xscale("log", base=2)
    axis.set_xticks(list(ranks), [str(r) for r in ranks])
plt.show()
for r, runs in sweep.items():
    print(f"r = {r}: {runs[0]['share']:.1%} trained, learned {swept[r]['learned'][0]:.0%}, kept {swept[r]['kept'][0]:.0%}")
more = {what: swept[8][what][0] - swept[1][what][0] for what in ("learned", "kept")}
print(f"from r = 1 to r = 8: learned {100 * more['learned']:+.0f} points, kept {100 * more['kept']:+.0f} points")
print(f"at r = 1 LoRA reaches {swept[1]['learned'][0]:.0%}, the full change cut down to r = 1 reaches {cut_down[1]:.0%}")

# %% [markdown]
# Left: if what is learned rises with r while what is kept falls, then "learns less and forgets less" holds between
# adapters. The last line printed says how it is here, on one seed for r = 1 and 3.
#
# Right: compare the two curves at r = 1. LoRA does not compress the change that full fine-tuning happens to make. If it did,
# it could not be better at a rank than the best approximation of that rank, and the printed figures would be in the other
# order. It finds another change, that lies in a thin space from the beginning. "Updates have low intrinsic rank" is best
# read as: among all changes that solve a task there are some of low rank.

# %% [markdown]
# ## Part C · How small can the frozen part be?
#
# A frozen weight needs no gradient and no optimizer state. What is left of its price is its storage, and that can
# shrink too: nobody has to make small updates to it. QLoRA ([Dettmers and others,
# 2023](https://arxiv.org/abs/2305.14314)) stores it in 4 bits and works out the full weight, layer by layer, at the
# moment it is used.
#
# ### 6 · NF4 by hand (`nf4`, 4 points, 40 minutes, difficulty 3 of 3)
#
# Four bits can name 16 **levels**. Which ones? Weights of trained networks are nearly normally distributed, so
# equally spaced levels waste codes on the tails. *NormalFloat4* takes quantiles of the standard normal distribution.
# With $\Phi^{-1}$ its inverse distribution function and $\delta = 0.9677083$:
#
# - eight positive levels: $\Phi^{-1}(p)$ for the first 8 of the 9 numbers $p$ that go in equal steps from $\delta$ down to
#   0.5 (the ninth, 0.5, is left out);
# - zero, exactly: so padding and pruned weights stay zero;
# - seven negative levels: $-\Phi^{-1}(p)$ for the first 7 of the 8 numbers $p$ that go in equal steps from $\delta$ down to
#   0.5 (the eighth, 0.5, is left out).
#
# All are divided by the largest, so that they reach from -1 to 1, in ascending order. (Formula and constant as in
# [bitsandbytes](https://github.com/bitsandbytes-foundation/bitsandbytes/blob/main/bitsandbytes/functional.py),
# `create_normal_map`.)
#
# A weight tensor is read row by row (its last axis fastest) as one long list and cut into **blocks** of `blocksize` numbers.
# Each block is divided by its largest absolute value, `absmax`, which is kept; then each number becomes the index (0 to 15) of the
# **nearest** level, its **code**. Two codes share a byte. For example, with levels at -1, 0, 1 (and no others) the block
# `[0.2, -0.8, 0.4, 0.1]` has `absmax` 0.8, becomes `[0.25, -1, 0.5, 0.125]`, and the nearest levels to that are 0, -1,
# then 0 or 1 (both are right), then 0.
#
# **Task.** Write three functions. Each earns a third of the points on its own. Nothing wants a gradient here.
#
# `normal_levels()`:
#
# - It returns the levels of NF4, ascending. <!-- rule: levels -->
# - One of them is exactly zero. <!-- rule: zero_level -->
# - They are float32, of shape `(16,)`. <!-- rule: levels_dtype -->
#
# `quantize_blocks(weight, levels, blocksize)` returns `(packed, absmax)`. `weight` has any shape, any layout in memory, and
# dtype float32, float64, float16 or bfloat16; its numbers are zero or of size 1e-30 to 1e30, also beside each other. It holds
# n numbers, one block or more; `blocksize` is even and divides n. `levels` are 16 ascending float32
# numbers from -1 to 1: those of NF4 or others, perhaps without 0.
#
# - `absmax` is float32, of shape `(n / blocksize,)`: the largest absolute value of each block. <!-- rule: absmax -->
# - Blocks are those of the list read row by row. <!-- rule: blocks -->
# - The code of a number is that of the level nearest to it over its `absmax`, calculated in float32; at a tie either
#   will do. <!-- rule: nearest -->
# - `packed` is uint8 of shape `(n / 2,)`. The first code of each two is in the upper four bits. <!-- rule: packed -->
# - A block that is all zero becomes zero again: its `absmax` is 0, and its codes are any from 0 to 15. <!-- rule: zeros -->
#
# `dequantize_blocks(packed, absmax, levels, shape)` is the way back, for one block or more.
#
# - It returns a float32 tensor of shape `shape` (a tuple, list or `torch.Size`). <!-- rule: shape -->
# - Each number is the level of its code times the `absmax` of its block. <!-- rule: back -->
# - It finds the block size by itself. <!-- rule: blocksize -->
#
# For both of them:
#
# - All that comes in stays as it was. <!-- rule: unchanged -->


# %% exercise="nf4" minutes=40 difficulty=3
def normal_levels():
    """The 16 levels of NF4, float32, ascending from -1 to 1."""
    ### BEGIN SOLUTION
    delta = 0.9677083
    negative = -torch.special.ndtri(torch.linspace(delta, 0.5, 8)[:-1])
    positive = torch.special.ndtri(torch.linspace(delta, 0.5, 9)[:-1])
    levels = torch.cat([negative, torch.zeros(1), positive]).sort().values
    return levels / levels.max()
    ### END SOLUTION


def quantize_blocks(weight, levels, blocksize):
    """`weight` in 4 bits a number: (packed uint8 (n/2,), absmax float32 (n/blocksize,))."""
    ### BEGIN SOLUTION
    blocks = weight.float().reshape(-1, blocksize)
    absmax = blocks.abs().amax(1)
    scaled = blocks / absmax.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    codes = (scaled[..., None] - levels).abs().argmin(-1).to(torch.uint8).flatten()
    return codes[::2] << 4 | codes[1::2], absmax
    ### END SOLUTION


def dequantize_blocks(packed, absmax, levels, shape):
    """The float32 tensor of `shape` that `packed` and `absmax` stand for."""
    ### BEGIN SOLUTION
    codes = torch.stack([packed >> 4, packed & 15], dim=1).long()
    return (levels[codes].reshape(len(absmax), -1) * absmax[:, None]).reshape(shape)
    ### END SOLUTION


# %% tests="nf4" points=4
NF4 = bnb.get_4bit_type("nf4", device="cpu")


def check_levels():
    levels = normal_levels()
    check.shape(levels, (16,), "the levels")
    check.equal(levels.dtype, torch.float32, "the dtype of the levels")
    check.true(bool((levels.diff() > 0).all()), "the levels are not in ascending order, each once.")
    signs = [int((levels < 0).sum()), int((levels == 0).sum()), int((levels > 0).sum())]
    hint = "seven stand below zero, eight above" if signs[1] == 1 else "zero must be a level exactly"
    check.equal(signs, [7, 1, 8], "the numbers of negative, zero and positive levels", hint)
    check.equal(levels, NF4, "the levels", "quantiles of the normal distribution, divided by the largest", rtol=1e-5)


def levels_to_draw():
    other = torch.tensor([-1.0, -0.9, -0.5, -0.45, -0.1, 0.02, 0.05, 0.2, 0.21, 0.3, 0.31, 0.5, 0.6, 0.77, 0.8, 1.0])
    return {"NF4": NF4, "equally spaced": torch.linspace(-1, 1, 16), "others": other}


def unpacked(packed):
    """The codes in bytes whose first code is in the upper four bits."""
    return torch.stack([packed >> 4, packed & 15], 1).flatten().long()


def check_blocks(weight, levels, blocksize, what):
    """One call of `quantize_blocks`; at a tie both levels are right, so distances are compared and not codes."""
    blocks = weight.clone().float().contiguous().reshape(-1, blocksize)
    goal = blocks.abs().amax(1)
    (packed, absmax), after = check.after(quantize_blocks, weight, levels, blocksize)
    check.equal(getattr(absmax, "dtype", None), torch.float32, f"the dtype of absmax of {what}", "float32, whatever the weight is")
    check.equal(
        absmax,
        goal,
        f"absmax of {what}",
        "the largest absolute value of each block, in float32",
        rtol=0,
        atol=0,
        causes={
            "the sign was forgotten: the largest *absolute* value": lambda: blocks.amax(1),
            "the tensor was read as it lies in memory, not row by row": lambda: in_memory(weight).reshape(-1, blocksize).abs().amax(1),
        },
    )
    check.shape(packed, (weight.numel() // 2,), f"packed of {what}", "two codes a byte")
    check.equal(packed.dtype, torch.uint8, f"the dtype of packed of {what}")
    scaled = (blocks / goal.clamp(min=1e-37)[:, None]).flatten()
    nearest = (scaled[:, None] - levels).abs().amin(1)
    beyond = ((levels[unpacked(packed)] - scaled).abs() - nearest).reshape(blocks.shape)
    beyond = beyond[goal > 0].flatten()
    if bool((beyond > 1e-5).any()):
        swapped = ((levels[unpacked(packed << 4 | packed >> 4)] - scaled).abs() - nearest).reshape(blocks.shape)[goal > 0]
        check.true(bool((swapped > 1e-5).any()), "the two codes of each byte are in the wrong order: the first stands in the upper four bits.")
        below = (torch.bucketize(scaled, levels, right=True) - 1).clamp(min=0)
        rounded_down = bool((unpacked(packed) == below).reshape(blocks.shape)[goal > 0].all())
        why = "Each is that of the next level below" if rounded_down else "In float32: the number over its block's absmax, then the nearest of the given levels"
        check.true(
            False,
            f"{int((beyond > 1e-5).sum())} of {len(beyond)} codes of {what} are not those of the nearest level: one is {float(beyond.max()):.3g} further "
            f"away than the nearest, in units of absmax. {why}.",
        )
    for i, (name, given) in enumerate((("weight", weight), ("levels", levels))):
        check.equal(after[i], given, f"{name} after the call ({what})", "it must stay as it was", rtol=0, atol=0)


def in_memory(weight):
    order = sorted(range(weight.ndim), key=lambda axis: -weight.stride(axis))
    return weight.permute(order).float()


def check_quantize(seed):
    domain = {
        "weight": cases.tensor(
            "rows", "columns", 2, dtypes=("float32", "bfloat16", "float16", "float64"), scale=(1e-4, 1e4), layouts=("contiguous", "transposed", "with gaps")
        ),
        "levels": cases.choice("NF4", "equally spaced", "others"),
        "cut": cases.choice("by rows", "whole", "pairs"),
    }
    for case in cases.draw(seed, domain, rows=(1, 40), columns=(1, 200)):
        weight, name, cut = case
        blocksize = {"by rows": 2 * weight.shape[1], "whole": weight.numel(), "pairs": 2}[cut]
        check_blocks(weight, levels_to_draw()[name], blocksize, f"{case}; blocksize = {blocksize}")
    generator = torch.Generator().manual_seed(seed)
    for size in (1e-29, 1e-6, 1e30):
        weight = (torch.rand(3, 8, generator=generator) * 0.8 + 0.1) * size
        weight[1, ::2] = 0
        check_blocks(weight, NF4, 8, f"numbers of size up to {size:g}")
    check_blocks(torch.rand(64, generator=generator) - 0.5, NF4, 32, "a tensor with one axis")
    check_blocks((torch.rand(10, 6, generator=generator) - 0.5).T, NF4, 4, "a transposed matrix")
    check_blocks((torch.rand(12, generator=generator) - 0.5).expand(3, 2, 12), NF4, 8, "rows that lie at one place in memory, with three axes")
    check_blocks((torch.rand(2, 3, 4, 5, generator=generator) - 0.5).permute(0, 3, 1, 2), NF4, 6, "four axes, the second of them innermost in memory")
    for dtype in (torch.bfloat16, torch.float16):  # many, so that some lie where rounding in the weight's own dtype changes the code
        check_blocks((torch.rand(64, 64, generator=generator) - 0.5).to(dtype), NF4, 64, f"64 x 64 numbers in {dtype}")
    weight = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.5, -1.0, 0.0, 1.0], [0.0, -0.0, 0.0, 0.0]])
    check_blocks(weight, NF4, 4, "blocks of zeros beside another one")


def dequantized_by_definition(packed, absmax, levels, shape):
    blocksize = 2 * len(packed) // len(absmax)
    return (levels[unpacked(packed)] * absmax.repeat_interleave(blocksize)).reshape(tuple(shape))


def check_dequantize(seed):
    layouts = ("contiguous", "with gaps")
    domain = {
        "_bytes": cases.tensor("blocks", "half", dtypes=("uint8",), high=255, layouts=("contiguous",)),
        "packed": cases.derived(lambda _bytes, **_: _bytes.flatten(), "bytes"),
        "absmax": cases.tensor("blocks", dtypes=("float32",), scale=(1e-30, 1e30), layouts=layouts),
        "_name": cases.choice("NF4", "equally spaced", "others"),
        "levels": cases.derived(lambda _name, **_: levels_to_draw()[_name], "16 levels"),
        "_form": cases.choice("rows", "flat", "three axes"),
        "shape": cases.derived(
            lambda _bytes, _form, **_: {
                "rows": (len(_bytes), 2 * _bytes.shape[1]),
                "flat": [2 * _bytes.numel()],
                "three axes": torch.Size([2, _bytes.shape[1], len(_bytes)]),
            }[_form]
        ),
    }
    causes = {
        "the first code is in the upper four bits": lambda packed, *rest: dequantized_by_definition(packed << 4 | packed >> 4, *rest),
        "the scales were dealt out number by number, not block by block": lambda packed, absmax, levels, shape: (
            levels[unpacked(packed)] * absmax.repeat(2 * len(packed) // len(absmax))
        ).reshape(tuple(shape)),
        "levels other than those that were given were used": lambda packed, absmax, levels, shape: dequantized_by_definition(packed, absmax, NF4, shape),
    }
    check.agrees(
        dequantize_blocks,
        dequantized_by_definition,
        cases.draw(seed, domain, blocks=(1, 40), half=(1, 200)),
        "dequantize_blocks",
        "upper four bits first; level times the absmax of its own block",
        causes=causes,
        floor="value",
    )


with check.exercise("nf4"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts(
        {
            "normal_levels": check_levels,
            "quantize_blocks": lambda: [check_quantize(seed) for seed in seeds],
            "dequantize_blocks": lambda: [check_dequantize(seed) for seed in seeds],
        }
    )
check.points(4)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Levels: how many points has `linspace` when you leave out its last one? Quantising: bring the tensor into the shape
# `(blocks, blocksize)` first; then every step is one operation on whole rows. What is 0 / 0, and which divisor avoids
# it?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `torch.special.ndtri` is $\Phi^{-1}$. For the nearest level: `(scaled[..., None] - levels).abs().argmin(-1)`, or
# `torch.bucketize` with the midpoints between levels. `<<`, `>>`, `&` and `|` work on uint8 tensors; `codes[::2]` and
# `codes[1::2]` are the first and second of each pair.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# negative = -torch.special.ndtri(torch.linspace(delta, 0.5, 8)[:-1])
# ...
# blocks = weight.float().reshape(-1, blocksize)
# absmax = ...
# scaled = blocks / absmax.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
# codes = ....to(torch.uint8).flatten()
# return codes[::2] << 4 | ..., absmax
#
# codes = torch.stack([packed >> 4, packed & 15], dim=1).long()
# return (levels[codes].reshape(len(absmax), -1) * ...).reshape(shape)
# ```
# </details>


# %% [markdown]
# #### On the weights of tiny-lm
#
# First, does your NF4 give the bytes of bitsandbytes on every layer of the model? Then the picture: weights of one
# layer, each divided by its block's absmax, under the levels of NF4 and under 16 equally spaced ones; and the error
# of both by block size.

# %%
levels, uniform = normal_levels(), torch.linspace(-1, 1, 16)
same = total = 0
for weight in old_weights.values():
    packed, absmax = quantize_blocks(weight, levels, 64)
    theirs, state = bnb.quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=False)
    same, total = same + int((packed == theirs.flatten()).sum()), total + len(packed)
print(f"{same} of {total} bytes are those of bitsandbytes")


def error(levels, blocksize):
    """Root of the mean squared error over all layers, over the root of their mean square."""
    squares = [
        ((dequantize_blocks(*quantize_blocks(w, levels, blocksize), levels, w.shape) - w).square().sum(), w.square().sum())
        for w in old_weights.values()
    ]
    return math.sqrt(sum(wrong for wrong, _ in squares) / sum(size for _, size in squares))


sizes = (32, 64, 128, 512, 2048)
errors = {"NF4": [error(levels, size) for size in sizes], "equally spaced": [error(uniform, size) for size in sizes]}
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.4), layout="constrained")
blocks = old_weights["model.layers.1.mlp.up_proj"].reshape(-1, 64)
left.hist((blocks / blocks.abs().amax(1, keepdim=True)).flatten(), bins=101, color="0.8")
for places, height, colour, name in ((levels, 0.5, "C0", "NF4"), (uniform, 0.25, "C3", "equally spaced")):
    left.vlines(places, 0, height * left.get_ylim()[1], color=colour, lw=1.5, label=name)
left.set(xlabel="weight / absmax of its block of 64", ylabel="weights", title="where the levels are")
left.legend(fontsize=8)
for name, values in errors.items():
    right.plot(sizes, [100 * value for value in values], "o-", color="C0" if name == "NF4" else "C3", label=name)
right.set(xlabel="block size", ylabel="relative error (%)", xscale="log", title="error on all layers of tiny-lm", ylim=(0, None))
right.legend()
plt.show()

claims.record(
    "NF4 is more exact than 16 equally spaced levels on trained weights",
    claimed="yes (Dettmers and others, 2023)",
    measured=f"relative error {errors['NF4'][1]:.1%} against {errors['equally spaced'][1]:.1%} in blocks of 64",
    holds=errors["NF4"][1] < errors["equally spaced"][1],
    how=f"{len(old_weights)} layers; in blocks of 2048: {errors['NF4'][-1]:.1%} against {errors['equally spaced'][-1]:.1%}",
)
for size, ours, theirs in zip(sizes, errors["NF4"], errors["equally spaced"]):
    print(f"blocks of {size:4}: NF4 {ours:.1%}, equally spaced {theirs:.1%}, {1 - ours / theirs:.0%} less")

# %% [markdown]
# If all bytes are those of bitsandbytes, your few lines are the format. In the left picture the spikes at -1 and 1 are
# each block's own largest weight, divided by itself. The printed lines say how far NF4 is ahead in each block size.
#
# A smaller block costs more scales: 32 bits for 64 weights is half a bit a weight on top of the four. **Double
# quantisation** stores the scales themselves in 8 bits, in blocks of 256, with one float32 each: $4 + 8/64 + 32/(64
# \cdot 256) \approx 4.13$ bits a weight.
#
# ### 7 · A QLoRA model (`qlora`, 3 points, 25 minutes, difficulty 2 of 3)
#
# Four libraries work together now: bitsandbytes packs and unpacks, transformers loads with it, peft puts the adapters
# beside the packed layers, and torch trains. Three things go wrong here again and again: the defaults of the
# quantisation are not those of the paper (FP4, no double quantisation), peft's default for Llama adapts two layers of
# each block instead of all, and an optimizer that is made too early holds weights that nobody trains, or misses those
# that should be.
#
# **Task.** Write `load_qlora(path, r, alpha, rate)`, which returns `(model, optimizer)`. `path` is the folder of a Llama
# checkpoint, stored in float32 or bfloat16, whose widths are multiples of 32. Its attention layers may have biases, and its
# output matrix may be that of the embeddings or another one. `r` is 1 or more; `alpha` and `rate` are above 0.
#
# - `model` is the causal language model that stands at `path` at the time of the call, on the CPU: in every call a new one,
#   which shares no weight with those of other calls. <!-- rule: path -->
# - It is a `PeftModel`. <!-- rule: peft -->
# - All linear layers of its blocks are in NF4. <!-- rule: nf4 -->
# - They have double quantisation. <!-- rule: double -->
# - They calculate in float32: they unpack to it (`weight.quant_state.dtype`) and multiply in it
#   (`compute_dtype`). <!-- rule: compute -->
# - The output matrix `lm_head` is not quantised. <!-- rule: head -->
# - All parameters that are not quantised are float32, adapters too. <!-- rule: float32 -->
# - Every quantised layer, and nothing else, has a LoRA adapter with `r` and `alpha`, scaled by `alpha / r`. <!-- rule: adapters -->
# - The adapters have no dropout. <!-- rule: no_dropout -->
# - Fresh, they change nothing. <!-- rule: fresh -->
# - Only the adapters are trainable. <!-- rule: only_adapters -->
# - `optimizer` is a `torch.optim.AdamW` with learning rate `rate` over exactly the trainable weights. <!-- rule: optimizer -->
#
# In which mode the model comes, whether it checkpoints gradients, and the optimizer's other settings are up to you.


# %% exercise="qlora" minutes=25 difficulty=2
def load_qlora(path, r, alpha, rate):
    """The model at `path` in NF4 with LoRA on every linear layer, and an AdamW over the adapters."""
    ### BEGIN SOLUTION
    packed = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    model = get_peft_model(model, LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM"))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    return model, optimizer
    ### END SOLUTION


# %% tests="qlora" points=3
@check.shared
def stored_model(seed, width, layers, tied, bias, dtype):
    """A small Llama with random weights, as it would be read back from a checkpoint in `dtype`."""
    shape = dict(vocab_size=37, hidden_size=width, intermediate_size=width + 32, num_hidden_layers=layers, num_attention_heads=4)
    config = LlamaConfig(**shape, num_key_value_heads=2, tie_word_embeddings=tied, attention_bias=bias, initializer_range=0.2, dtype=dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    for p in model.parameters():  # the buffers of the rotary embedding are not stored
        p.data = p.data.to(dtype)
    return model


@check.scenario
def loaded(plan, linear, r, alpha, rate, ids, labels, steps):
    """What `load_qlora` makes of a checkpoint, as plain data, and how it trains."""
    stored = stored_model(*plan)
    place = Path(tempfile.mkdtemp(dir=check.folder()))
    stored.config.save_pretrained(place)
    tensors = {name: value.contiguous() for name, value in stored.state_dict().items() if name != "lm_head.weight" or not plan[3]}
    save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})
    torch.manual_seed(0)
    model, optimizer = load_qlora(str(place), r, alpha, rate)
    seen = {"model": isinstance(model, PeftModel), "optimizer": isinstance(optimizer, torch.optim.AdamW)}
    if not all(seen.values()):
        return seen
    if steps:
        twin, _ = load_qlora(str(place), r, alpha, rate)  # of the same checkpoint
        memory = {p.untyped_storage().data_ptr() for p in twin.parameters()}
        shared = [name for name, p in model.named_parameters() if p.untyped_storage().data_ptr() in memory]
        if shared:
            return {**seen, "shared": shared}
        (place / "model.safetensors").unlink()  # another checkpoint comes to stand there
        newer = stored_model(plan[0] + 100, *plan[1:])
        tensors = {name: value.contiguous() for name, value in newer.state_dict().items() if name != "lm_head.weight" or not plan[3]}
        save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})
        once_more, _ = load_qlora(str(place), r + 1, alpha, rate)
        seen["embeddings of the second"] = once_more.get_input_embeddings().weight.detach().clone()
        seen["ranks of the second"] = sorted({len(p) for name, p in once_more.named_parameters() if ".lora_A." in name})
        weights = {id(p) for p in once_more.parameters()}
        if any(id(p) in weights for p in model.parameters()):
            return {**seen, "shared": [name for name, p in model.named_parameters() if id(p) in weights]}
    inner = model.get_base_model()
    found = {name: inner.get_submodule(name) for name in linear}
    packed = {name: getattr(layer, "base_layer", layer) for name, layer in found.items()}
    seen["not in 4 bits"] = [name for name, layer in packed.items() if not isinstance(layer, Linear4bit)]
    seen["without an adapter"] = [name for name, layer in found.items() if not len(getattr(layer, "lora_A", ()))]
    if seen["not in 4 bits"] or seen["without an adapter"]:
        return seen
    states = {name: layer.weight.quant_state for name, layer in packed.items()}
    seen["types"] = {name: state.quant_type for name, state in states.items()}
    seen["nested"] = {name: bool(state.nested) for name, state in states.items()}
    seen["unpack to"] = {name: state.dtype for name, state in states.items()}
    seen["multiply in"] = {name: layer.compute_dtype for name, layer in packed.items()}
    seen["head"] = isinstance(inner.get_output_embeddings(), Linear4bit)
    if seen["head"]:
        return seen
    stored_packed = {id(layer.weight) for layer in packed.values()}
    floats = {name: p for name, p in model.named_parameters() if id(p) not in stored_packed}
    seen["not float32"] = {name: p.dtype for name, p in floats.items() if p.dtype != torch.float32}
    seen["elsewhere"] = [name for name, p in model.named_parameters() if p.device.type != "cpu"]
    keys = {name: next(iter(layer.lora_A)) for name, layer in found.items()}
    seen["shapes"] = {name: tuple(layer.lora_A[keys[name]].weight.shape) for name, layer in found.items()}
    seen["scales"] = {name: float(layer.scaling[keys[name]]) for name, layer in found.items()}
    seen["dropout"] = {name: float(getattr(layer.lora_dropout[keys[name]], "p", 0.0)) for name, layer in found.items()}
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    seen["trained"] = sorted(name for name in trained if ".lora_A." not in name and ".lora_B." not in name)
    seen["count"] = len(trained)
    names = {id(p): name for name, p in model.named_parameters()}
    held = [names.get(id(p), "a tensor that is no parameter of the model") for group in optimizer.param_groups for p in group["params"]]
    seen["held"], seen["wanting"] = sorted(held), sorted(trained)
    seen["rates"] = sorted({float(group["lr"]) for group in optimizer.param_groups})
    seen["embeddings"] = model.get_input_embeddings().weight.detach().clone()
    codes = {name: layer.weight.detach().clone().view(torch.uint8) for name, layer in packed.items()}
    model.train()  # in eval mode some CPUs calculate in bfloat16
    seen["logits"], losses = model(input_ids=ids).logits.detach(), []
    for _ in range(steps):
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    seen["losses"] = losses
    seen["changed"] = [name for name, layer in packed.items() if not torch.equal(layer.weight.detach().view(torch.uint8), codes[name])]
    seen["unmoved"] = [name for name, layer in found.items() if not layer.lora_B[keys[name]].weight.any()]
    return seen


def check_loaded(plan, r, alpha, rate, steps=0):
    seed, width, layers, tied, bias, dtype = plan
    model = stored_model(*plan).float()  # what was rounded to `dtype`, in float32
    what = f"(a checkpoint in {dtype}, {layers} blocks of width {width}, r={r}, alpha={alpha})"
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name != "lm_head"]
    ids = torch.randint(37, (3, 7), generator=torch.Generator().manual_seed(seed))
    seen = loaded(plan, linear, r, alpha, rate, ids, ids, steps)
    check.true(seen["model"], "the model is no PeftModel: get_peft_model makes one.")
    check.true(seen["optimizer"], "the optimizer is no torch.optim.AdamW.")
    check.equal(seen.get("shared", []), [], f"the weights that the models of two calls share {what}", "each call loads anew what stands at path")
    check.equal(seen["not in 4 bits"], [], f"the list of layers that are not in 4 bits {what}", "is quantization_config handed to from_pretrained?")
    hint = "peft adapts just the layers that target_modules names (for Llama, where nothing is named, only some)"
    check.equal(seen["without an adapter"], [], f"the list of quantised layers without an adapter {what}", hint)

    def each(value):
        return dict.fromkeys(linear, value)

    check.equal(seen["types"], each("nf4"), f"the 4-bit types {what}", "the default is another one: bnb_4bit_quant_type")
    check.equal(seen["nested"], each(True), f"whether the scales are quantised too {what}", "double quantisation is off by default")
    check.equal(seen["multiply in"], each(torch.float32), f"the compute dtypes {what}", "bnb_4bit_compute_dtype")
    check.equal(seen["unpack to"], each(torch.float32), f"the dtypes to which layers unpack {what}", "load in float32, whatever the checkpoint is stored in")
    check.true(not seen["head"], "lm_head is quantised.")
    check.equal(seen["not float32"], {}, f"what is not packed and not float32 {what}")
    check.equal(seen["elsewhere"], [], "what is not on the CPU")
    stored = model.get_input_embeddings().weight.detach()
    check.equal(seen["embeddings"], stored, f"the embeddings {what}", "load what stands at the given path", rtol=0, atol=0)
    if steps:
        newer = stored_model(seed + 100, *plan[1:]).float().get_input_embeddings().weight.detach()
        again = "of a second call, with another r, after another checkpoint was written to the same folder"
        check.equal(seen["embeddings of the second"], newer, f"the embeddings {again}", "each call reads what stands at path now", rtol=0, atol=0)
        check.equal(seen["ranks of the second"], [r + 1], f"the rows of A {again}", "each call makes new adapters")
    check.equal(seen["shapes"], {name: (r, model.get_submodule(name).in_features) for name in linear}, f"the shapes of A {what}")
    check.equal(seen["scales"], each(alpha / r), f"the scales of the adapters {what}", "r and lora_alpha")
    check.equal(seen["dropout"], each(0.0), f"the dropout of the adapters {what}")
    check.equal(seen["trained"], [], f"the list of what is trained and is no adapter {what}")
    check.equal(seen["count"], 2 * len(linear), f"the number of trainable tensors {what}", "A and B of each quantised layer")
    check.equal(seen["rates"], [float(rate)], f"the learning rate {what}")
    hint = "exactly the adapters: make the optimizer after them, from the weights that want a gradient"
    check.equal(seen["held"], seen["wanting"], f"what the optimizer holds {what}", hint)
    for name in linear:  # the same layers by hand: packed and unpacked
        weight = model.get_submodule(name).weight
        weight.data = bnb.dequantize_4bit(*bnb.quantize_4bit(weight.data, quant_type="nf4", blocksize=64, compress_statistics=True))
    with torch.no_grad():
        goal = model(ids).logits
    check.equal(seen["logits"], goal, f"the logits at the start {what}", "those of the packed model: fresh adapters change nothing", rtol=1e-3)
    if steps:
        check.true(seen["losses"][-1] < seen["losses"][0], f"{steps} steps on one batch do not lower its loss: {seen['losses']}")
        check.equal(seen["changed"], [], f"the packed weights that training changed {what}")
        check.equal(seen["unmoved"], [], f"the layers whose B never moved {what}")


with check.exercise("qlora"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    for seed in seeds:
        check_loaded((seed, 32, 1, True, False, torch.float32), 3, 12, 0.002, steps=4)
        check_loaded((seed + 1, 64, 2, False, True, torch.bfloat16), 1, 2.5, 0.125)
        check_loaded((seed + 2, 32, 6, True, True, torch.float32), 40, 8, 1e-4)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Order: load packed, freeze, add adapters, then make the optimizer. Which of these steps creates the tensors that the
# optimizer must hold?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_...)` and `from_pretrained(path, quantization_config=...,
# device_map="cpu", dtype=...)` in transformers; `prepare_model_for_kbit_training`,
# `LoraConfig(target_modules="all-linear", ...)` and `get_peft_model` in peft. `prepare_...` freezes all weights and turns
# what is not packed into float32. Unless told otherwise it also switches gradient checkpointing on, which saves memory
# at the price of time and is not needed here.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=..., bnb_4bit_use_double_quant=..., bnb_4bit_compute_dtype=...)
# model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
# model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
# model = get_peft_model(model, LoraConfig(r=r, ..., target_modules="all-linear", task_type="CAUSAL_LM"))
# optimizer = torch.optim.AdamW(...)
# ```
# </details>


# %% [markdown]
# #### The QLoRA run
#
# The same task, the same batches, the same rank and rate as for LoRA in part A; the frozen weights are in 4 bits now. Three
# small things differ too: this adapter has no dropout, peft draws another random A, and AdamW has its usual weight decay
# of 0.01. The bars count the bytes that training really held: weights (with their scales), gradients and the optimizer's
# averages.


# %%
def bytes_held(model, optimizer):
    """Bytes of weights, gradients and optimizer state, each tensor once."""
    weights = {p.data_ptr(): p.nbytes for p in [*model.parameters(), *model.buffers()]}
    for module in model.modules():
        if isinstance(module, Linear4bit):
            state = module.weight.quant_state
            for part in (state, state.state2) if state.nested else (state,):
                weights[part.absmax.data_ptr()] = part.absmax.nbytes
    gradients = sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    kept = sum(v.nbytes for state in optimizer.state.values() for v in state.values() if torch.is_tensor(v))
    return {"weights": sum(weights.values()), "gradients": gradients, "optimizer": kept}


torch.manual_seed(0)
quantised, optimizer = load_qlora(path, r=8, alpha=16, rate=5e-3)
adapt(quantised, new_rows, optimizer)
held = {"QLoRA": bytes_held(quantised, optimizer)}
scores["QLoRA"] = exam(quantised)

for name, prepare in (("LoRA", with_lora), ("full", lambda model: None)):
    model = load_model()
    prepare(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    adapt(model, new_rows, optimizer, steps=1)
    held[name] = bytes_held(model, optimizer)

figure, axis = plt.subplots(figsize=(8, 2.4), layout="constrained")
left = dict.fromkeys(held, 0.0)
for kind in ("weights", "gradients", "optimizer"):
    sizes = [held[name][kind] / 1e6 for name in held]
    axis.barh(list(held), sizes, left=list(left.values()), label=kind)
    left = {name: left[name] + size for name, size in zip(held, sizes)}
for row, (name, total) in enumerate(left.items()):
    axis.text(total, row, f" {total:.1f} MB, {scores[name][NEW]:.0%} exact", va="center", fontsize=9)
axis.set(xlabel="held during training, without activations (MB)", xlim=(0, 1.25 * max(left.values())))
axis.legend(fontsize=8)
plt.show()

blocks_only = sum(weight.numel() for weight in old_weights.values())
unpacked = sum(p.nbytes for n, p in base_model.named_parameters() if n.removesuffix(".weight") not in linear_names)
bits = 8 * (held["QLoRA"]["weights"] - unpacked - 4 * 8 * sum(sum(w.shape) for w in old_weights.values())) / blocks_only
claims.record(
    "a 4-bit base costs about 4.13 bits a weight and no accuracy",
    claimed="4.13 bits; as good as 16 bits (Dettmers and others, 2023)",
    measured=f"{bits:.2f} bits; {scores['QLoRA'][NEW]:.0%} against {scores['LoRA'][NEW]:.0%} with an unpacked base",
    holds=bits < 4.3 and scores["LoRA"][NEW] - scores["QLoRA"][NEW] <= 0.05,
    how="the linear layers of the blocks; embeddings and norms stay in float32",
)

# %% [markdown]
# Gradients and averages are there for what is trained only: that is LoRA's saving. The 4 bits are QLoRA's.
#
# QLoRA trades time for memory: each layer is unpacked at every use. And one warning that cost real time here: on
# processors with AVX-512 BF16, bitsandbytes 0.50 repacks a 4-bit layer for speed when it first runs in eval mode on an
# input that wants no gradient (`Linear4bit.forward`).
# After that, gradients no longer flow through it and *nothing says so* but a warning. So on a CPU: train first,
# evaluate afterwards, and load anew to train again.

# %% [markdown]
# ## Part D · At work
#
# ### 8 · In peft's format, and many adapters at once (`many_adapters`, 3 points, 35 minutes, difficulty 3 of 3)
#
# An adapter that only your own code can read is of little use. The format that everybody reads (peft, vLLM, the Hub)
# is a folder of two files: `adapter_config.json`, and `adapter_model.safetensors` with two tensors a layer, called
#
# ```text
# base_model.model.<name of the layer>.lora_A.weight      (r, in)
# base_model.model.<name of the layer>.lora_B.weight      (out, r)
# ```
#
# And since adapters are small, a server keeps many of them beside *one* model, and rows of the same batch may want
# different ones. The frozen layer, where nearly all the work is, runs once for all rows; then each adapter adds its
# part to its own rows. This is what peft does for `adapter_names=[...]`, and servers such as vLLM do in one kernel.
#
# **Task.** Write two functions; each earns half of the points on its own.
#
# `export_adapter(adapters, folder, r, alpha)` writes the two files. `adapters` is what `take_off` returns: a dictionary,
# not empty, from a layer's full name to its `LoRALinear`, all made with `r` and `alpha` (above 0, whole or not); their `A` and
# `B` have any floating-point dtype and may lie in memory in any way, each for itself.
#
# - `folder` is a string or a `Path`. It may be there already, with just the two files of an earlier adapter, which are replaced;
#   if it is not there, it is made, with the folders above it. Other files (`README.md`) may come too. <!-- rule: folder -->
# - `adapter_config.json` holds `r`, `lora_alpha` and the task type `CAUSAL_LM`; `LoraConfig(...).save_pretrained(folder)` can
#   write it. <!-- rule: config -->
# - `adapter_model.safetensors` holds just the tensors named above; `save_file` can write it. <!-- rule: names -->
# - They are `A` and `B` as they are, in their dtype: peft multiplies by `alpha / r` itself. <!-- rule: values -->
# - `PeftModel.from_pretrained(model, folder)` gives the outputs that the hand-made layers gave, also where `lm_head` is among
#   them. <!-- rule: loads -->
# - The `LoRALinear` modules stay as they were, in mode and gradient flags too. <!-- rule: modules -->
#
# `mixed_forward(base, adapters, x, names)` is one linear layer under mixed traffic. `base` is an `nn.Linear`; `adapters`, which
# may be empty, maps strings (`""` is one) to `(A, B, scaling)`, whose ranks may differ; `x` has shape `(rows, length, in)`, all
# 1 or more, holds finite numbers, and is float32 or float64 as the weights are. `names` is a list that holds for each row the
# name of its adapter, or `None`. Nobody trains here, so gradients do not matter.
#
# - The result has shape `(rows, length, out)` and the dtype of `x`. <!-- rule: result -->
# - A row that names an adapter gets `base` plus `scaling` times `B A x` of this adapter, and nothing of any other. <!-- rule: own -->
# - A row with `None` gets `base` alone. <!-- rule: bare -->
# - Both hold beside an adapter that went wrong in training, at any place in `adapters`: its `A`, its `B` or both hold infinities
#   or NaNs. Only the rows that name it are open. <!-- rule: broken -->
# - `base` is called once, for all rows together. <!-- rule: once, reported -->
# - `base`, `x`, `adapters` and `names` stay as they were. <!-- rule: unchanged -->


# %% exercise="many_adapters" minutes=35 difficulty=3
def export_adapter(adapters, folder, r, alpha):
    """Write hand-made adapters {name: LoRALinear} to `folder` as peft would."""
    ### BEGIN SOLUTION
    LoraConfig(r=r, lora_alpha=alpha, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {}
    for name, layer in adapters.items():
        for matrix in ("A", "B"):
            key = f"base_model.model.{name}.lora_{matrix}.weight"
            tensors[key] = getattr(layer, matrix).detach().contiguous()
    save_file(tensors, Path(folder, "adapter_model.safetensors"))
    ### END SOLUTION


def mixed_forward(base, adapters, x, names):
    """The linear layer `base` with another adapter for each row of x: (rows, length, in) -> (rows, length, out)."""
    ### BEGIN SOLUTION
    y = base(x)
    for name, (A, B, scaling) in adapters.items():
        rows = [row for row, wanted in enumerate(names) if wanted == name]
        y[rows] += scaling * (x[rows] @ A.T @ B.T)
    return y
    ### END SOLUTION


# %% tests="many_adapters" points=3
@check.shared
def small_llama(seed, dtype=torch.float32):
    shape = dict(vocab_size=37, hidden_size=24, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(LlamaConfig(**shape, num_key_value_heads=2, initializer_range=0.2)).to(dtype).eval()


@check.shared
def hand_made(llama, layers, r, alpha):
    """Filled LoRALinear modules in the model, whose matrices do not all lie row by row in memory."""
    adapters = {name: filled(LoRALinear(llama.get_submodule(name), r, alpha), len(name) + i) for i, name in enumerate(layers)}
    for i, (name, layer) in enumerate(adapters.items()):
        if i == 0:
            layer.A.data, layer.B.data = layer.A.data.T.contiguous().T, layer.B.data.T.contiguous().T
        llama.set_submodule(name, layer)
    return adapters


@check.scenario
def exported(seed, layers, r, alpha, dtype, folder, as_path, there):
    """Export hand-made adapters; whether the modules are as before."""
    adapters = hand_made(small_llama(seed, dtype), layers, r, alpha)
    modules, before = dict(adapters), {name: check.module_state(layer, values=True) for name, layer in adapters.items()}
    if there:
        Path(folder).mkdir(parents=True, exist_ok=True)
    export_adapter(adapters, Path(folder) if as_path else folder, r, alpha)
    return list(adapters) == list(layers), {name: (check.module_state(layer, values=True), before[name]) for name, layer in modules.items()}


@check.scenario(clean=True)
def read_back(seed, folder, ids, dtype):
    """What peft makes of the files."""
    import json

    files = sorted(file.name for file in Path(folder).iterdir()) if Path(folder).is_dir() else None
    if files is None or not {"adapter_config.json", "adapter_model.safetensors"} <= set(files):
        return {"files": files}
    tensors = load_file(Path(folder, "adapter_model.safetensors"))
    config = json.loads(Path(folder, "adapter_config.json").read_text())
    seen = {"files": files, "tensors": tensors, "config": {key: config.get(key) for key in ("r", "lora_alpha", "task_type", "peft_type")}}
    try:
        model = PeftModel.from_pretrained(small_llama(seed, dtype), folder).eval()
    except (RuntimeError, ValueError) as error:
        return {**seen, "refused": str(error)[:300]}
    return {**seen, "logits": model(input_ids=ids).logits.detach()}


def check_export(seed):
    attention = [f"model.layers.{i}.self_attn.{kind}_proj" for i in (0, 1) for kind in "kv"]
    base = check.folder()
    for number, (layers, r, alpha, dtype, as_path, there) in enumerate(
        (
            (["model.layers.1.mlp.up_proj"], 1, 1, torch.float32, False, True),
            (["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"], 3, 12, torch.float64, True, True),
            (attention, 5, 2.5, torch.float32, False, False),
            (["lm_head", "model.layers.0.mlp.gate_proj"], 30, 7, torch.bfloat16, True, False),
            (["model.layers.1.self_attn.o_proj", "lm_head"], 2, 3, torch.float32, False, False),
        )
    ):
        folder = f"{base}/for_peft_{seed}/adapter_{number - (number == 1)}"  # where the first was, the second takes its place
        folder += "/deeper/still" if number == 3 else ""
        what = f"of the {dtype} adapters on {layers} with r={r}, alpha={alpha}"
        llama, ids = small_llama(seed, dtype), torch.randint(37, (3, 8), generator=torch.Generator().manual_seed(seed))
        bare = llama(ids).logits.detach()
        adapters = hand_made(llama, layers, r, alpha)
        goal = llama(ids).logits.detach()
        kept, states = exported(seed, layers, r, alpha, dtype, folder, as_path, there)
        check.true(kept, "the dictionary of adapters was changed.")
        for name, (now, before) in states.items():
            check.unchanged(now, before, f"the LoRALinear {name!r} after the export {what}", "the export only reads")
        seen = read_back(seed, folder, ids, dtype)
        check.true(seen["files"] is not None, f"there is no folder {folder!r} after the export.")
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            check.true(file in seen["files"], f"the folder holds {seen['files']}, and not {file}.")
        tensors = {
            f"base_model.model.{name}.lora_{matrix}.weight": getattr(layer, matrix).detach() for name, layer in adapters.items() for matrix in "AB"
        }
        check.equal(sorted(seen["tensors"]), sorted(tensors), f"the names in adapter_model.safetensors {what}")
        for key, value in tensors.items():
            check.equal(seen["tensors"][key], value, f"the tensor {key}", "A and B as they are: peft scales", rtol=0, atol=0)
        config = {"r": r, "lora_alpha": alpha, "task_type": "CAUSAL_LM", "peft_type": "LORA"}
        check.equal(seen["config"], config, f"what adapter_config.json says {what}")
        check.true("refused" not in seen, f"peft cannot load the folder: {seen.get('refused')}")
        causes = {"peft reads the folder, but gives the bare model": bare}
        hint = "target_modules names the layers"
        if dtype != torch.bfloat16:  # peft works with such an adapter in float32: it rounds elsewhere
            check.equal(seen["logits"], goal, f"the logits of peft with the exported adapter {what}", hint, causes=causes, rtol=1e-3)


@check.scenario
def mixed(weight, bias, adapters, x, names):
    """The result of `mixed_forward`, how many numbers `base` read in each call, and whether it is as before."""
    base, calls = nn.Linear(weight.shape[1], len(weight), bias=bias is not None, dtype=weight.dtype), []
    with torch.no_grad():
        base.weight.copy_(weight)
        if bias is not None:
            base.bias.copy_(bias)
    base.register_forward_pre_hook(lambda module, args, named: calls.append([*args, *named.values()][0].numel()), with_kwargs=True)
    before = check.module_state(base, values=True)
    y = mixed_forward(base, adapters, x, names)
    return sound_rows(y.detach(), names), calls, check.module_state(base, values=True) == before


@check.shared
def sound_rows(result, names):
    """Without the rows of the adapter "broken", whose numbers mean nothing."""
    return result[[row for row, name in enumerate(names) if name != "broken"]] if "broken" in names else result


def mixed_by_definition(weight, bias, adapters, x, names):
    rows = []
    for row, name in zip(x, names):
        A, B, scaling = adapters[name] if name is not None else (0 * weight[:1], 0 * weight[:, :1], 0.0)
        rows.append(F.linear(row, weight + scaling * (B @ A), bias))
    return sound_rows(torch.stack(rows), names), [x.numel()], True


def traffic(seed):
    """Arguments of `mixed`, from little to much."""
    generator, source = torch.Generator().manual_seed(seed), random.Random(seed)
    for rows, length, width, out, ranks in (
        (1, 1, 1, 1, {}),
        (1, 3, 4, 2, {"only": 1}),
        (4, 6, 7, 5, {"short": 2, "polite": 4}),
        (3, 2, 5, 9, {"a": 3, "None": 1, "": 12}),
        (9, 1, 6, 6, {"unused": 2, "b": 1, "c": 5}),
        (40, 5, 130, 70, {f"client {i}": i for i in range(1, 12)}),
    ):
        for dtype in (torch.float32, torch.float64):

            def draw(*shape):
                return torch.randn(shape, generator=generator, dtype=dtype)

            adapters = {name: (draw(r, width), draw(out, r), source.choice((0.5, 2, 4.0, -1.5))) for name, r in ranks.items()}
            usual = [name for name in ranks if name != "unused"]
            names = [source.choice([*usual, None]) for _ in range(rows)]
            if rows > len(usual):
                names = source.sample([*usual, None] + names[len(usual) + 1 :], rows)
            bias = draw(out) if rows % 2 else None
            x = draw(rows, length, width) if length > 1 else draw(rows, length, 2 * width)[..., ::2]
            words = {"names": str(names) if rows < 10 else f"{rows} names", "x": f"{dtype} {list(x.shape)}", "ranks": str(ranks)}
            yield cases.Case({"weight": draw(out, width), "bias": bias, "adapters": adapters, "x": x, "names": names}, words)
    for where in ("A", "B", "A and B"):
        for number in (math.inf, math.nan):
            A, B = draw(2, 4), draw(5, 2)
            if "A" in where:
                A[:, 0] = number
            if "B" in where:
                B[::2] = number
            broken = {"broken": (A, B, 2.0)}
            for order in (["a", "broken"], ["broken", "a"], ["a", "broken", "b"], ["broken"]):
                adapters = {name: broken[name] if name in broken else (draw(1, 4), draw(5, 1), 0.5) for name in order}
                used = "a" if "a" in order else None
                for names in ([used, None, used, None], [used, "broken", None, order[-1]]):
                    case = {"weight": draw(5, 4), "bias": draw(5), "adapters": adapters, "x": draw(4, 3, 4)}
                    words = {"names": str(names), "adapters": str(order), "one of them": f"'broken' holds {number} in {where}"}
                    yield cases.Case({**case, "names": names}, words)
    yield cases.Case({"weight": draw(3, 2), "bias": None, "adapters": {"a": (draw(1, 2), draw(3, 1), 2.0)}, "x": draw(2, 3, 2), "names": [None, None]}, {"names": "None for all"})


def check_mixed(seed):
    def with_all(weight, bias, adapters, x, names):
        if set(names) == set(adapters) and len(adapters) < 2 or not adapters or "broken" in adapters:
            raise ValueError("no mistake in this case")
        change = sum(scaling * (B @ A) for A, B, scaling in adapters.values())
        return F.linear(x, weight + change, bias), [x.numel()], True

    def with_factors(weight, bias, adapters, x, names):
        if "broken" not in adapters:
            raise ValueError("no mistake in this case")
        y = F.linear(x, weight, bias)
        for name, (A, B, scaling) in adapters.items():
            own = torch.tensor([float(wanted == name) for wanted in names], dtype=x.dtype)[:, None, None]
            y = y + own * (scaling * (x @ A.T @ B.T))
        return sound_rows(y, names), [x.numel()], True

    causes = {
        "every adapter was added to every row": with_all,
        "a factor 0 takes no adapter out that holds infinities: 0 times infinity is no number": with_factors,
        "the base layer runs once, for all rows together": lambda *case: (mixed_by_definition(*case)[0], [case[3][0].numel()] * len(case[3]), True),
    }
    hint = (
        "the output, the numbers that the base layer read in each call, and whether it is as before: "
        "each row its own adapter, the base layer once and unchanged"
    )
    check.agrees(mixed, mixed_by_definition, traffic(seed), "mixed_forward", hint, causes=causes)


with check.exercise("many_adapters"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"export_adapter": lambda: [check_export(seed) for seed in seeds], "mixed_forward": lambda: [check_mixed(seed) for seed in seeds]})
check.points(3)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Export: which numbers does peft know from the config, so that they must not be in the tensors too? Mixed traffic:
# what is the same for all rows, and what must be done once for each adapter?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `target_modules` may be a list of full names. `safetensors.torch.save_file(dict, path)` wants contiguous tensors
# without a graph: `.detach().contiguous()`. `y[rows] += ...` with a list of row numbers adds to those rows only.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# LoraConfig(r=r, lora_alpha=..., target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
# tensors = {}
# for name, layer in adapters.items():
#     tensors[f"base_model.model.{name}.lora_A.weight"] = ...
#     ...
# save_file(tensors, Path(folder, "adapter_model.safetensors"))
#
# y = base(x)
# for name, (A, B, scaling) in adapters.items():
#     rows = [...]
#     y[rows] += ...
# return y
# ```
# </details>


# %% [markdown]
# #### Two adapters, one model, one batch
#
# Your hand-made adapter goes into peft beside a second one, which peft trains here on another new task (the smallest
# of three numbers). Then one batch is answered in which each row chooses.

# %%
torch.manual_seed(0)
served = get_peft_model(
    load_model(), LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"), adapter_name="smallest"
)
weights = [p for p in served.parameters() if p.requires_grad]
adapt(served, examples("min"), torch.optim.AdamW(weights, lr=1e-2, weight_decay=0.0), steps=90)
with tempfile.TemporaryDirectory() as folder:
    export_adapter(adapters, folder, r=8, alpha=16)
    print("size of the exported adapter:", sum(file.stat().st_size for file in Path(folder).iterdir()) // 1000, "kB")
    served.load_adapter(folder, adapter_name="downwards")

asked = [
    ("downwards", "Sort down: 2 7 5 9"),
    (None, "Sort: 2 7 5 9"),
    ("smallest", "Smallest of 31, 17, 64?"),
    (None, "Largest of 31, 17, 64?"),
    (None, "Sort down: 2 7 5 9"),
]
batch = tokenizer([chat(prompt) for _, prompt in asked], padding=True, return_tensors="pt")
made = served.eval().generate(
    **batch, max_new_tokens=14, do_sample=False, adapter_names=[name or "__base__" for name, _ in asked]
)
for (name, prompt), said in zip(asked, tokenizer.batch_decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)):
    print(f"{name or 'no adapter':12} {prompt:26} → {said}")
for name, task in (("smallest", "min"), ("downwards", NEW)):
    served.set_adapter(name)
    print(f"{name}: {accuracy(served, task):.0%} of held-out {task}")
with served.disable_adapter():
    print(f"switched off: {accuracy(served, 'sort', 50):.0%} of sort, before all training {before['sort']:.0%}")

# %% [markdown]
# Each row should do what its adapter was trained for, and rows without one what the old model did, in the same batch. The
# last line compares sorting without an adapter with sorting before all training.

# %% [markdown]
# ### 9 · DoRA (`dora`, 2 points, 20 minutes, difficulty 2 of 3)
#
# A change of a weight matrix turns its rows and stretches them. In the models of the DoRA paper ([Liu and others,
# 2024](https://arxiv.org/abs/2402.09353)) full fine-tuning does more of the one where it does less of the other, and LoRA
# does more or less of both together. DoRA takes them apart. Each row of the weight (what one output reads) has a
# **magnitude**, trained as a number of its own, and a **direction**, which LoRA changes:
#
# $$W' = m \cdot \frac{W + s B A}{\lVert W + s B A \rVert}, \qquad \text{the norm taken for each row},$$
#
# with $m$ of shape `(out,)`, which starts as the row norms of $W$, so that the fresh layer changes nothing. To save
# memory the paper (section 4.3) treats the norm as a **constant** in the backward pass; peft does too.
#
# **Task.** Write `dora_weight(weight, A, B, scaling, magnitude)` for float32 or float64 tensors of one dtype: `weight` `(out,
# in)`, which wants no gradient, `A` `(r, in)`, `B` `(out, r)`, `magnitude` `(out,)`, all sizes 1 or more; `scaling` is a number.
# No row of $W + s B A$ is zero, but single numbers may be, and rows may be short or long (norms from 1e-10 to 1e10), also
# beside each other in one matrix. $W$ and $s B A$ may nearly cancel: a row of $W + s B A$ has 1e-5 of the norm of that of $W$
# or more in float64, 1e-2 in float32. Magnitudes may be zero or negative.
#
# - It returns $W'$, of shape `(out, in)`, in the dtype of `weight` and with its precision: nine digits are right in float64,
#   three in float32. <!-- rule: formula -->
# - The norm is that of each row, over its inputs, as in peft (the paper calls it column-wise). <!-- rule: rows -->
# - Gradients reach `A` and `B` as in the paper: the norm of this call's $W + s B A$ is a constant there. <!-- rule: constant -->
# - A gradient reaches `magnitude`. <!-- rule: magnitude -->
# - What comes in stays as it was. Every call starts afresh: tensors may be those of an earlier call with other numbers in them,
#   as training changes `A`, `B` and `magnitude` in place. <!-- rule: unchanged -->


# %% exercise="dora" minutes=20 difficulty=2
def dora_weight(weight, A, B, scaling, magnitude):
    """DoRA's weight (out, in) from the frozen weight (out, in), A (r, in), B (out, r), a number, and magnitude (out,)."""
    ### BEGIN SOLUTION
    adapted = weight + scaling * (B @ A)
    norm = adapted.norm(dim=1).detach()
    return (magnitude / norm)[:, None] * adapted
    ### END SOLUTION


# %% tests="dora" points=2
@check.scenario
def dora_seen(weight, A, B, scaling, magnitude, push):
    """The weight that `dora_weight` gives, and the gradients of its inputs when `push` comes in."""
    inputs, kept = [given.detach().clone().requires_grad_() for given in (A, B, magnitude)], weight.clone()
    numbers = [given.detach().clone() for given in (A, B, magnitude, weight)]
    seen = {"weight": dora_weight(weight, A, B, scaling, magnitude)}
    with torch.no_grad():
        inputs[1].zero_(), inputs[2].neg_(), kept.neg_()
        dora_weight(kept, inputs[0], inputs[1], scaling, inputs[2])  # with other numbers, which are changed in place
        for tensor, number in zip((*inputs, kept), numbers):
            tensor.copy_(number)
    value = dora_weight(kept, inputs[0], inputs[1], scaling, inputs[2])
    gradients = torch.autograd.grad(value, inputs, push, allow_unused=True) if value.requires_grad else [None] * 3
    return {**seen, **{f"gradient of {name}": gradient for name, gradient in zip(("A", "B", "magnitude"), gradients)}}


def dora_by_definition(weight, A, B, scaling, magnitude, push, norm=None):
    A, B, magnitude = (given.detach().clone().requires_grad_() for given in (A, B, magnitude))
    adapted = weight + scaling * torch.einsum("or,ri->oi", B, A)
    length = adapted.detach().square().sum(1, keepdim=True).sqrt() if norm is None else norm(weight, adapted)
    value = magnitude[:, None] * adapted / length
    gradients = torch.autograd.grad(value, (A, B, magnitude), push)
    return {"weight": value.detach(), **{f"gradient of {name}": g for name, g in zip(("A", "B", "magnitude"), gradients)}}


def in_units(rows, units):
    return rows * torch.tensor([units[i % len(units)] for i in range(len(rows))], dtype=rows.dtype)[:, None]


def check_dora(seed):
    def wrong_norm(norm):
        def compute(*case):
            wrong, right = dora_by_definition(*case, norm=norm), dora_by_definition(*case)
            if all(torch.allclose(value, right[name]) for name, value in wrong.items()):
                raise ValueError("no mistake in this case")
            return wrong

        return compute

    def kept_norm(*case):  # the second call with a weight goes on with the norm of the first, in which B was zero
        wrong = wrong_norm(lambda weight, adapted: weight.norm(dim=1, keepdim=True))(*case)
        return {**wrong, "weight": dora_by_definition(*case)["weight"]}

    def norm_by_parts(weight, A, B, scaling, magnitude, push):
        squares = weight.square().sum(1) + 2 * scaling * (B * (weight @ A.T)).sum(1) + scaling**2 * (B @ (A @ A.T) * B).sum(1)
        length = squares.clamp(min=0).sqrt()[:, None]
        return dora_by_definition(weight, A, B, scaling, magnitude, push, norm=lambda weight, adapted: length)

    for dtype, rtol in (("float64", 1e-9), ("float32", 1e-3)):
        domain = {
            "_sizes": cases.tensor("out", "inputs", dtypes=(dtype,), low=0.5, high=2),
            "_units": cases.choice((1.0,), (2e-10,), (1e8,), (1e8, 2e-10, 1.0)),  # of the rows, in turn
            "weight": cases.derived(
                lambda _sizes, _units, **_: in_units(_sizes * (1 - 2 * ((_sizes * 1000).long() % 2)).to(_sizes.dtype), _units)
            ),
            "A": cases.tensor("r", "inputs", dtypes=(dtype,)),
            "_B": cases.tensor("out", "r", dtypes=(dtype,)),
            "B": cases.derived(lambda _B, _units, **_: _B if _units == (1.0,) else in_units(_B, _units)),
            "scaling": cases.choice(3, 0.5, -2.0, 1),
            "magnitude": cases.tensor("out", dtypes=(dtype,)),
            # equal numbers might cancel each other out, and beside nothing at all no answer is right
            "push": cases.tensor("out", "inputs", dtypes=(dtype,), without=("zero", "equal", "ties")),
        }
        causes = {
            "the norm counts as a constant: detach it": wrong_norm(lambda weight, adapted: adapted.norm(dim=1, keepdim=True)),
            "the norm is taken over the inputs of each row, not over the outputs": wrong_norm(lambda weight, adapted: adapted.detach().norm(dim=0)),
            "the norm is that of W + s B A, not of the old weight": wrong_norm(lambda weight, adapted: weight.norm(dim=1, keepdim=True)),
            "the norm is that of an earlier call with the same tensors: it is worked out anew in every call": kept_norm,
            "one norm was taken for the whole matrix, not one for each row": wrong_norm(lambda weight, adapted: adapted.detach().norm()),
        }
        hint = "magnitude times the direction of W + s B A, row by row; gradients reach A, B and magnitude"
        for sizes in ({"out": (1, 70), "inputs": (1, 140)}, {"out": (4, 4), "inputs": (4, 4)}):
            drawn = cases.draw(seed, domain, count=3, **sizes, r=(1, 20))
            check.agrees(dora_seen, dora_by_definition, drawn, "dora_weight", hint, causes=causes, rtol=rtol)
        given = ([[0, 1, 2], [3, 0, -1]], [[0, 1, -1]], [[1], [0]], 2, [3, -2], [[1, 2, 3], [4, 5, 6]])
        names = ("weight", "A", "B", "scaling", "magnitude", "push")
        numbers = {name: torch.tensor(value, dtype=getattr(torch, dtype)) if name != "scaling" else value for name, value in zip(names, given)}
        case = cases.Case(numbers, {"weight": str(given[0]), "a number of W + s B A": "zero"})
        check.agrees(dora_seen, dora_by_definition, [case], "dora_weight", hint, causes=causes, rtol=rtol)
    given = ([[1, 2], [3, 1]], [[1, 2]], [[-1 + 1e-5], [0.5]], 1, [2, 3], [[2, 1], [1, 3]])  # W + s B A begins with 1e-5 times [1, 2]
    numbers = {name: torch.tensor(value, dtype=torch.float64) if name != "scaling" else value for name, value in zip(names, given)}
    case = cases.Case(numbers, {"weight": str(given[0]), "W and s B A": "cancel but for a part of 1e-5 in the first row"})
    causes = {"the norm is worked out from W + s B A itself, not from the norms of its parts": norm_by_parts}
    check.agrees(dora_seen, dora_by_definition, [case], "dora_weight", hint, causes=causes, rtol=1e-9)


with check.exercise("dora"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    for seed in seeds:
        check_dora(seed)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Which axis of `(out, in)` is a row? What shape must `magnitude / norm` have to multiply row by row?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `tensor.norm(dim=1)`, `.detach()`, and `[:, None]` for a column.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# adapted = weight + ...
# norm = ....detach()
# return (magnitude / norm)[:, None] * ...
# ```
# </details>


# %%
torch.manual_seed(0)
theirs = get_peft_model(nn.Sequential(nn.Linear(7, 5)), LoraConfig(r=2, lora_alpha=6, target_modules=["0"], use_dora=True))
layer, x = theirs.base_model.model[0], torch.randn(4, 7)
A, B, magnitude = layer.lora_A["default"].weight, layer.lora_B["default"].weight, layer.lora_magnitude_vector["default"].weight
with torch.no_grad():
    B.normal_()
    gap = F.linear(x, dora_weight(layer.base_layer.weight, A, B, 3.0, magnitude), layer.base_layer.bias) - theirs(x)
print(f"largest difference between your weight and peft's DoRA layer, on random numbers: {gap.abs().max():.0e}")

# %% [markdown]
# #### How full fine-tuning and LoRA move the rows
#
# For each layer: how much the mean row was turned, against how much it was stretched. The paper's figure 2 does the
# same for a large model.

# %%
figure, axis = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
lora_weights = {name: adapters[name].base.weight.detach() + adapters[name].delta().detach() for name in linear_names}
for label, after, marker in (("full fine-tuning", new_weights, "o"), ("LoRA, r = 8", lora_weights, "s")):
    cosine = [F.cosine_similarity(after[name], old_weights[name], dim=1) for name in linear_names]
    turned = [c.clamp(max=1).arccos().rad2deg().mean() for c in cosine]
    stretched = [(after[name].norm(dim=1) / old_weights[name].norm(dim=1) - 1).abs().mean() for name in linear_names]
    axis.plot(turned, [100 * s for s in stretched], marker, label=label, alpha=0.8)
    together = torch.corrcoef(torch.tensor([turned, stretched]))[0, 1]
    print(f"{label}: turned {sum(turned) / len(turned):.1f} degrees, stretched {sum(stretched) / len(stretched):.1%} on average;", end=" ")
    print(f"correlation of the two over {len(turned)} layers {together:+.2f}")
axis.set(xlabel="turned (degrees, mean over rows)", ylabel="stretched (%, mean over rows)", xlim=(0, None), ylim=(0, None))
axis.legend()
plt.show()

# %% [markdown]
# Which way moves the rows further, at these rates? And do the layers that turn more stretch less (a negative correlation), as
# the paper shows for full fine-tuning, or more? One seed on a model this small decides nothing about large ones. For those
# the authors report 1.0 to 4.4 points over LoRA at equal rank (accuracy on eight common-sense tasks, four Llama models, [their
# summary of 2024](https://developer.nvidia.com/blog/introducing-dora-a-high-performing-alternative-to-lora-for-fine-tuning/)).
#
# #### Other relatives, as of 2026
#
# All are one argument of peft's `LoraConfig` (0.21), which documents them.
#
# | name | what differs | argument |
# |---|---|---|
# | rsLoRA ([2023](https://arxiv.org/abs/2312.03732)) | scale $\alpha / \sqrt r$, so that large ranks learn as fast | `use_rslora=True` |
# | PiSSA ([2024](https://arxiv.org/abs/2404.02948)) | A and B start as the largest singular vectors of W, and the rest of W is frozen | `init_lora_weights="pissa"` |
# | EVA ([2024](https://arxiv.org/abs/2410.07170)) | A starts from the singular vectors of what the layer reads | `init_lora_weights="eva"` |
# | LoftQ ([2023](https://arxiv.org/abs/2310.08659)) | A and B start as what 4 bits have lost of W | `init_lora_weights="loftq"` |

# %% [markdown]
# #### When a run goes wrong
#
# | what you see | look at | usual cause |
# |---|---|---|
# | the loss does not move at all | `trainable_share(model)`, the optimizer's weights | adapter loaded without `is_trainable=True`; optimizer made before the adapters |
# | it falls, but slowly | rate, names of targets | the rate of full fine-tuning (LoRA wants about ten times it); only q and v adapted |
# | good in training, bad after loading | `adapter_config.json` | another base model, alpha or template than in training |
# | worse after merging | dtype of the base | merged into bfloat16 or into 4 bits: the change is rounded away; merge in float32 |
# | "element 0 of tensors does not require grad" | gradient checkpointing | frozen embeddings: `model.enable_input_require_grads()` |
# | the new task works, the old ones do not | accuracy on the old tasks | forgetting: replay, a smaller rate, fewer steps; or the adapter only where it is wanted |

# %% [markdown]
# ### 10 · Choose a method (`choose_method`, 2 points, 15 minutes, difficulty 2 of 3)
#
# Three customers ask you. For each choose one of: full fine-tuning, LoRA, QLoRA (with or without replay, merged or
# not), and give your reasons in two or three sentences, with at least one figure that you measured above or can work
# out.
#
# 1. A translation bureau has one GPU with 24 GB and wants to adapt a model of 13 billion weights.
# 2. A help desk serves 60 clients, each with its own tone and forms, from one machine. All clients expect the general
#    abilities of the model.
# 3. A research group has eight large GPUs and 20 billion tokens of a language that the model hardly knows.

# %% [markdown] answer="choose_method" points=2 minutes=15 difficulty=2
# 1. QLoRA. In 16 bits the weights alone are 26 GB and do not fit; at 4.13 bits they are 6.7 GB, which leaves room for
#    adapters, their optimizer state (r = 8: below half a percent of the weights, at 16 bytes each) and activations.
#    My QLoRA run was nearly as accurate as LoRA on the unpacked model, at half of the bytes. Each step takes longer.
#
# 2. LoRA, one adapter a client, not merged: one model in memory and 60 small files, mixed in one batch. In my run the
#    adapter was a tenth of the model on disk and on a large model it is below one percent. With the adapter off, the
#    old accuracy was back exactly; with it on, "sort" fell to nothing. So the general abilities need replay in the
#    training of each adapter.
#
# 3. Full fine-tuning. A new language is no small change: in my sweep r = 1 was clearly worse than r = 8 on even one
#    small task, and 20 billion tokens hold more than any thin adapter can take up. The memory (16 bytes a weight) is
#    there. Text of the old languages has to be mixed in.

# %% [markdown]
# ## Claims measured
#
# | claim | where |
# |---|---|
# | LoRA trains about 1 % of the weights | after exercise 3 |
# | LoRA reaches what full fine-tuning reaches, with a small share of the weights | after exercise 5 |
# | LoRA forgets less than full fine-tuning | after exercise 5 |
# | NF4 is more exact than 16 equally spaced levels | after exercise 6 |
# | a 4-bit base costs 4.13 bits a weight and no accuracy | after exercise 7 |
#
# Which of them hold for a model as small as this one is in the table with your own figures, below the last of them; `unit24 claims` prints it in a terminal.

# %% [markdown]
# ## On a bigger machine
#
# The same functions on a model of 135 million weights, in 4 bits on a GPU, with the same tiny task. Only the name
# given to `from_pretrained` differs. It runs with `UNIT24_TIER=hub` on a GPU.

# %%
if env.tier == "hub" and env.device == "cuda":
    name = env.model("chat")
    tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
    packed = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16
    )
    model = AutoModelForCausalLM.from_pretrained(name, quantization_config=packed, device_map=env.device, dtype=torch.bfloat16)
    print(f"{name}: {model.get_memory_footprint() / 2**20:.0f} MB of weights in 4 bits")
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    print(f"trainable: {trainable_share(model):.1%} of the numbers stored (two packed weights are one number)")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-4)
    pairs, draw = examples(NEW), random.Random(0)
    for step in range(201):
        ids, labels = (part.to(env.device) for part in collate(draw.sample(pairs, 16)))
        with torch.autocast("cuda", torch.bfloat16):
            loss = model.train()(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"update {step}: loss {loss.item():.3f}, peak memory {torch.cuda.max_memory_allocated() / 2**20:.0f} MB")
else:
    print("Skipped: this section needs a GPU and UNIT24_TIER=hub.")

# %% [markdown]
# ## Quiz
#
# Five questions, with feedback for every option. Nothing is graded.

# %% [markdown] quiz="peft"
# 1. Why does B start at zero and A not?
# - [ ] Zeros save memory :: Both matrices are stored in full, whatever is in them.
# - [ ] A is frozen :: Both are trained. A variant that freezes A exists, but it is not LoRA.
# - [x] The fresh model must be the old one, and yet a gradient must flow :: B's gradient contains A x, which is not zero; after one step A learns too.
# - [ ] If both were random they would cancel each other out :: They would add a random change to every layer, and nothing cancels it.
# 2. A layer is 4096 by 4096. How many weights does LoRA with r = 8 train beside it?
# - [ ] 8 · 4096 :: That is one of the two matrices.
# - [ ] 4096 · 4096 / 8 :: Rank 8 does not mean an eighth.
# - [ ] 64 :: That would be a matrix between A and B.
# - [x] 8 · (4096 + 4096) = 65,536, or 0.4 % of the layer :: A reads 4096 inputs, B writes 4096 outputs.
# 3. After training with LoRA on a new task an old task fails. What brings the old behaviour back exactly?
# - [x] Taking the adapter off :: The frozen weights were never touched.
# - [ ] Merging, then subtracting the change :: Floating point does not give back the last bits, and nothing is gained by merging.
# - [ ] Training longer on the new task :: That makes it forget more.
# - [ ] Setting A to new random numbers, as at the start :: At the start B was zero. Now B A would be another change, and a wrong one.
# 4. Why are NF4's levels denser around zero?
# - [ ] Small weights matter more to the loss :: Nothing says so; the levels follow how often weights occur.
# - [x] Most weights are there, so the codes are used more evenly :: Quite evenly they are not: dividing by the largest of a block changes the distribution ([Yoshida, 2023](https://arxiv.org/abs/2306.06965)).
# - [ ] Zero must be a level :: That fixes one level, not the density of the others.
# - [ ] Because absmax is small :: Each block is divided by its absmax, whatever it is.
# 5. In QLoRA, what is in 4 bits while training?
# - [ ] Everything, gradients and optimizer state too :: Updates that small would vanish in 4 bits.
# - [ ] The adapters :: They learn, so they keep 16 or 32 bits.
# - [x] The frozen weights, in storage; they are unpacked to a float for each use :: That is why it saves memory and costs time.
# - [ ] The activations :: They are in the compute dtype.

# %% [markdown]
# ## What to read next
#
# - [LoRA: Low-Rank Adaptation of Large Language Models](https://arxiv.org/abs/2106.09685), Hu and others, 2021:
#   sections 4 and 7.
# - [QLoRA: Efficient Finetuning of Quantized LLMs](https://arxiv.org/abs/2305.14314), Dettmers and others, 2023:
#   section 3.
# - [LoRA Learns Less and Forgets Less](https://arxiv.org/abs/2405.09673), Biderman and others, 2024.
# - [LoRA Without Regret](https://thinkingmachines.ai/blog/lora/), Schulman and others, 2025: when LoRA equals full
#   fine-tuning, and which rate it wants.
# - The [PEFT guide to LoRA](https://huggingface.co/docs/peft/developer_guides/lora): initialisations, merging, mixed
#   batches, DoRA.
# - [bitsandbytes in transformers](https://huggingface.co/docs/transformers/quantization/bitsandbytes): every option
#   of the 4-bit config.
# - Next: lesson 13 makes a model faster without changing it; lesson 14 trains adapters on preferences and rewards.
