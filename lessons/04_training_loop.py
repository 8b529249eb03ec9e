# ---
# jupyter:
#   unit24:
#     needs: ["matplotlib>=3.8", "scikit-learn", "torch>=2.6"]
# ---

# %% [markdown]
# # 04 · The training loop
#
# Every network you will ever train goes round the same five steps. In this lesson you write them, make them
# safe (clipping, a schedule), make them fit (accumulation, mixed precision, checkpointing), make them survive a crash,
# and learn to tell from a curve or an error message which step is sick.
#
# **You will build** a training loop for handwritten digits that resumes after a crash to *exactly* the same curve,
# and a small clinic of four broken loops, each of them healed by you.
#
# **You need first** lessons 02 and 03: tensors, autograd, `nn.Module`, `state_dict`.
#
# **Time** about four hours: nine exercises of 10 to 40 minutes, 30 points. No GPU is needed; with one, a few cells use
# it.
#
# One update has five steps, and everything else in this lesson hangs on one of them:
#
# | step | line of code | what it leaves behind | later in this lesson |
# |---|---|---|---|
# | 1 clear | `optimizer.zero_grad()` | no old gradients | left out on purpose: accumulation |
# | 2 forward | `logits = model(x)` | activations, kept for step 4 | autocast, checkpointing |
# | 3 loss | `loss = F.cross_entropy(logits, y)` | one number | multiplied by a scale (float16) |
# | 4 backward | `loss.backward()` | `p.grad` for each parameter `p` | clipping |
# | 5 update | `optimizer.step()` | new weights | schedule, gradient scaler |
#
# | part | what you write | the question it answers |
# |---|---|---|
# | A | train step, evaluate | Does it learn? |
# | B | clipping, warm-up and cosine | Does it stay stable? |
# | C | accumulation, mixed precision | Does it fit? |
# | D | checkpoint and resume, early stopping | Can it stop, and when should it? |
# | E | tests for a loop, the debug clinic | What is wrong with it? |

# %% setup

# %%
import copy
import functools
import itertools
import math
import os
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from unit24 import cases, check, claims

# %% [markdown]
# ## The data and the model
#
# The digits that come with scikit-learn: 1,797 grey pictures of 8 x 8 pixels, ten classes. Small enough that every
# experiment below takes seconds, real enough that every effect shows. 1,200 pictures are for training and the
# other 597 for validation; the split is fixed.

# %%
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16  # (1797, 1, 8, 8), values 0 to 1
labels = torch.tensor(digits.target)  # (1797,) int64
order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
train_x, train_y = images[order[:1200]], labels[order[:1200]]
valid_x, valid_y = images[order[1200:]], labels[order[1200:]]


def make_loader(batch_size=40, shuffle=True):
    """Training batches (x, y). Shuffling draws from torch's global generator."""
    return DataLoader(TensorDataset(train_x, train_y), batch_size=batch_size, shuffle=shuffle)


valid_loader = DataLoader(TensorDataset(valid_x, valid_y), batch_size=100)  # five batches of 100, one of 97


def make_model(seed=0):
    """A small convolutional network with dropout: (batch, 1, 8, 8) -> (batch, 10) logits; 9,930 weights."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(512, 10),
    )


def make_mlp(seed=0):
    """Three linear layers: (batch, 1, 8, 8) -> (batch, 10) logits."""
    torch.manual_seed(seed)
    layers = nn.Linear(64, 64), nn.LeakyReLU(), nn.Linear(64, 64), nn.LeakyReLU(), nn.Linear(64, 10)
    return nn.Sequential(nn.Flatten(), *layers)


figure, axes = plt.subplots(1, 10, figsize=(9, 1.3))
for axis, picture, label in zip(axes, train_x, train_y):
    axis.imshow(picture[0], cmap="gray_r")
    axis.set_title(f"label {label}", fontsize=8)
    axis.set_axis_off()
plt.show()


# %% [markdown]
# ## Part A · Does it learn?
#
# ### Exercise 1 · Train and evaluate (4 points, 25 minutes, difficulty 1 of 3)
#
# **Training.** `loss.backward()` does not *set* gradients, it **adds** to what is already in `p.grad`. That is useful
# (you will need it in part C) and the most common bug in training loops: whoever does not clear the gradients walks
# along the sum of all gradients so far.
#
# **Evaluating.** A validation loss must be a fact about the model, not about the batches or the moment. Four things
# spoil it: dropout and batch norm still in training mode, a last batch that is smaller but counts as much as the
# others, memory spent on graphs that nobody will use, and a model that comes back in another mode than it went in.
#
# **Task.** Write two functions. In both, `x` has shape `(batch, ...)`, float32 or float64 as the model's parameters, `y` is
# int64 of shape `(batch,)`, and the model returns logits of shape `(batch, classes)`; a batch has one sample or more (two where
# batch norm trains). The model is an `nn.Module` whose submodules may come in different modes; parameters may be frozen
# (`requires_grad` False), shared or unused, and one submodule may stand in two places. Each of the two functions is checked,
# and earns half of the points, on its own.
#
# `train_step(model, optimizer, x, y)` makes one update on one batch. `optimizer` is one of `torch.optim` whose `step()` needs
# no closure (SGD, Adam and most others), with one parameter group or more, for all parameters of the model or for some of them.
#
# - It makes one step of `optimizer` with the gradient of the mean cross-entropy of this batch, also where logits are in the
#   thousands. <!-- rule: step -->
# - The batch goes through the model once, and then the model and **all its submodules** are in training mode, in whatever
#   mode each of them came. In which mode they are afterwards is up to you. <!-- rule: training_mode -->
# - Gradients that lie in `.grad` when it is called have no effect, not even as zeros: weight decay moves a parameter whose
#   `.grad` is zero, and not one whose `.grad` is None. What lies there afterwards is up to you. <!-- rule: fresh -->
# - It returns the loss of this batch **before** the update, as a Python `float`. <!-- rule: returns -->
#
# `evaluate(model, loader)` judges the model. `loader` is anything that gives one batch `(x, y)` or more, of unequal sizes: a
# `DataLoader`, a list, a generator.
#
# - It returns `(loss, accuracy)`, two Python floats. The first is the mean cross-entropy **over all samples**, also where
#   logits are in the thousands. <!-- rule: loss -->
# - The second is the share (0 to 1) of all samples whose largest logit is at the label (two equally large ones do not
#   come). <!-- rule: accuracy -->
# - `loader` is iterated over once. <!-- rule: once -->
# - While it judges, the model and all its submodules are in eval mode: dropout and batch norm behave as at use
#   time. <!-- rule: eval_mode -->
# - Autograd is switched off meanwhile (`torch.no_grad()`, `torch.inference_mode()`). <!-- rule: no_graph -->
# - Afterwards **each** submodule is in the mode in which it came. (Some freeze a batch norm in eval mode while the rest
#   trains.) <!-- rule: modes_back -->
# - Everything else is as before: weights, buffers, `.grad` and `requires_grad` of each parameter, torch's generator (where
#   `loader` draws from it, it stays as `loader` left it), and whether autograd records (at the call it may be on or
#   off). <!-- rule: nothing_left -->


# %% exercise="train_and_evaluate" minutes=25 difficulty=1
def train_step(model, optimizer, x, y):
    """One update of `model` on the batch (x, y); returns its mean cross-entropy before the update as a float."""
    ### BEGIN SOLUTION
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()
    ### END SOLUTION


def evaluate(model, loader):
    """Mean cross-entropy and accuracy of `model` over all samples of `loader`, as two floats."""
    ### BEGIN SOLUTION
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    for module, training in modes.items():
        module.training = training
    return loss / seen, right / seen
    ### END SOLUTION


# %% tests="train_and_evaluate" points=4
@check.shared
def built(plan, came, dtype):
    """A model for pictures [batch, 2, 3] in the modes that `came` names ("as built": a child may be in eval mode)."""
    twice = nn.Identity()
    model = nn.Sequential(nn.Flatten(-2), cases.build(plan), twice, nn.Sequential(twice)).to(dtype)  # takes no flat ones
    if came != "as built":
        model.train(came.startswith("training"))
    if came == "eval, but one part":
        model[1][0].train()
    if came == "training, but a part that stands in two places":
        twice.eval()
    return model


@check.shared
def loss_of(loss, dtype):
    """A loss to compare; in float32 with 1 added, since logits of size 1 are rounded, and a right formula's loss near 0 with them."""
    number = isinstance(loss, (float, torch.Tensor))
    return {"loss + 1": loss + 1} if dtype == "float32" and number else {"loss": loss}


@check.shared
def trained(step, plan, how, came, leftover, x, y):
    """Three calls of `step`: what each returned, and the model's state after it."""
    kind, dtype = how
    model, x = built(plan, came, getattr(torch, dtype)), x.to(getattr(torch, dtype))
    parameters, passes, modes = list(model.parameters()), [], set()
    model[0].register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    model.register_forward_pre_hook(lambda module, args: modes.update(part.training for part in module.modules()))
    if kind == "SGD, logits times 1000":
        model.register_forward_hook(lambda module, args, logits: 1000 * logits)
    for p in parameters:
        p.grad = None if leftover is None else torch.full_like(p, leftover)
    if kind == "weight decay, an unused parameter":
        model.register_parameter("idle", nn.Parameter(torch.ones(2, dtype=x.dtype)))
        model.idle.grad = torch.ones_like(model.idle)
    optimiser = {
        "SGD": lambda: torch.optim.SGD(parameters, lr=0.5),
        "weight decay, an unused parameter": lambda: torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.5),
        "SGD, logits times 1000": lambda: torch.optim.SGD(parameters, lr=0.5 / 1000),
        "momentum": lambda: torch.optim.SGD(parameters, lr=0.2, momentum=0.9),
        "Adam": lambda: torch.optim.Adam(parameters, lr=0.05),
        "SGD for the last layer": lambda: torch.optim.SGD(parameters[-2:], lr=0.5),
        "two groups": lambda: torch.optim.SGD([{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.1}], lr=0.5),
    }[kind]()
    torch.default_generator.manual_seed(1)  # for dropout
    seen = []
    for _ in range(3):
        if came == "eval":
            model.eval()
        passes.clear()
        modes.clear()
        loss = step(model, optimiser, x, y)
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        state = {"is a float": isinstance(loss, float), **loss_of(loss, dtype), "weights": weights, "samples in each forward pass": [*passes]}
        seen.append(state | {"all parts in training mode in the forward pass": False not in modes})
    return seen


@check.shared
def step_by_definition(model, optimiser, x, y, mistake=""):
    """A step whose gradients come from `autograd.grad`; `mistake` names what it does wrong."""
    if mistake != "mode" and not (mistake == "outer mode" and model.training):
        model.train()
    if mistake == "twice":
        model(x)
    logits, wanted = model(x), [p for p in model.parameters() if p.requires_grad]
    loss = F.cross_entropy(logits.softmax(1) if mistake == "softmax" else logits, y, reduction="sum" if mistake == "sum" else "mean")
    old = [p.grad for p in wanted]
    uncleared = {id(p) for group in optimiser.param_groups[1:] for p in group["params"]} if mistake == "one group" else set()
    for p in model.parameters():
        p.grad = p.grad if id(p) in uncleared else None
    for p, slope, before in zip(wanted, torch.autograd.grad(loss, wanted, allow_unused=True), old):
        keeps = mistake in ("uncleared", "cleared late") or id(p) in uncleared
        if slope is not None:
            p.grad = slope + before if keeps and before is not None else slope
        elif mistake == "zeros" and before is not None:
            p.grad = torch.zeros_like(p)
    if mistake != "no update":
        optimiser.step()
    if mistake == "cleared late":
        optimiser.zero_grad()
    if mistake == "after":
        return F.cross_entropy(model(x), y).item()
    return loss.detach() if mistake == "tensor" else loss.item()


@check.scenario
def your_steps(*case):
    return trained(train_step, *case)


@check.shared
def judged(judge, plan, came, stretch, kind, piece, leftover, autograd, x, y):
    """What `judge` says about a model, and what it leaves behind. Logits are `stretch`ed, and doubled where autograd records."""
    model = built(plan, came, x.dtype)
    batches = list(zip(x.split(piece), y.split(piece)))
    for p in model.parameters():
        p.grad = None if leftover is None else torch.full_like(p, leftover)
    watch, modes = model.register_forward_hook(lambda module, args, logits: logits * stretch * (1 + torch.is_grad_enabled())), set()
    model.register_forward_pre_hook(lambda module, args: modes.update(part.training for part in module.modules()))
    torch.default_generator.manual_seed(1)
    loaders = {
        "a list": lambda: batches,
        "a list, the smallest batch first": lambda: batches[::-1],
        "a generator": lambda: (batch for batch in batches),
        "a DataLoader": lambda: DataLoader(batches, batch_size=None, generator=torch.Generator()),
        "a DataLoader that draws from torch's generator": lambda: DataLoader(batches, batch_size=None),
    }
    last = [p for p in model.parameters() if p.requires_grad][-1]
    with torch.set_grad_enabled(autograd == "on"):
        scores, judging = judge(model, loaders[kind]()), True not in modes
        watch.remove()
        seen = {"loss and accuracy": tuple(scores), "are floats": [isinstance(score, float) for score in scores]}
        seen["modes"] = {name or "the model": part.training for name, part in model.named_modules()}
        seen["weights and buffers"] = {name: value.clone() for name, value in model.state_dict().items()}
        seen["gradients"] = [p.grad for p in model.parameters()]
        seen["requires_grad"] = {name: p.requires_grad for name, p in model.named_parameters()}
        seen["a random number drawn afterwards"] = torch.rand(())
        seen["all parts in eval mode while it judged"] = judging
        later = model.eval()(x).square().sum()
        slope = torch.autograd.grad(later, last, allow_unused=True)[0] if later.requires_grad and last.requires_grad else "nothing was recorded"
        seen["gradient of a later loss"] = slope
    return seen


@check.shared
def scores_by_definition(model, loader, mistake=""):
    """Loss and accuracy from the logits of all samples; `mistake` names what it does wrong."""
    modes = [(part, part.training) for part in model.modules()]
    if mistake != "training mode" and not (mistake == "outer mode" and not model.training):
        model.eval()
    with torch.set_grad_enabled(mistake == "graph"):
        batches = [(model(x).detach().double(), y) for x, y in loader]
    for part, training in modes:
        part.training = {"left in eval": False, "left in training": True, "one for all": modes[0][1]}.get(mistake, training)
    for part, training in modes if mistake == "recursive" else []:
        part.train(training)
    each = [F.cross_entropy(logits, y, reduction="none") for logits, y in batches]
    right = [(logits.argmax(1) == y).double() for logits, y in batches]
    if mistake == "batches":
        each, right = ([part.mean(0, keepdim=True) for part in parts] for parts in (each, right))
    if mistake in ("grad off", "grad on"):
        torch.set_grad_enabled(mistake == "grad on")
    if mistake in ("frozen", "thawed"):
        model.requires_grad_(mistake == "thawed")
    return torch.cat(each).mean().item(), torch.cat(right).mean().item()


@check.scenario
def your_scores(*case):
    return judged(evaluate, *case)


def with_mistake(run, by_definition, mistake):
    """The case with a definition that makes `mistake`."""
    return lambda *case: run(lambda *args: by_definition(*args, mistake=mistake), *case)


model_kinds = ("nested", "linear", "tied", "frozen", "child in eval", "with buffers", "unused parameter")
model_domain = {"plan": cases.module(6, "classes", model_kinds), "came": cases.choice("as built", "eval", "training", "eval, but one part", "training, but a part that stands in two places")}


def check_train_step():
    domain = {
        "plan": model_domain["plan"],
        "how": cases.choice(("SGD", "float64"), ("SGD", "float32"), ("momentum", "float64"), ("Adam", "float64"), ("SGD for the last layer", "float64"), ("two groups", "float64"), ("SGD, logits times 1000", "float64"), ("weight decay, an unused parameter", "float64")),
        "came": model_domain["came"],
        "leftover": cases.choice(100.0, math.nan, None),
        "x": cases.tensor("rows", 2, 3, dtypes=("float64",)),
        "y": cases.tensor("rows", dtypes=("int64",), below="classes"),
    }
    causes = {
        "`backward` adds to what is in `.grad`: are old gradients cleared in every step?": "uncleared",
        "clear gradients before `backward`, not only at the end of your own step: somebody else may have left some": "cleared late",
        "old gradients were cleared in the first parameter group alone: an optimizer may have several groups": "one group",
        "a parameter to which this batch gives no gradient was moved by weight decay: an old gradient becomes None, not zeros": "zeros",
        "the batch goes through the model once: its loss is the one to return and the one to call `backward` on": "twice",
        "a part of the model was not in training mode, perhaps since an evaluation: `model.train()` reaches all parts, `model.training = True` one": "mode",
        "a part of the model was not in training mode: the flag of the whole does not tell that of its parts, so call `model.train()` in any case": "outer mode",
        "no weight moved: does `optimizer.step()` run, and after `backward`, while the gradients are still there?": "no update",
        "it is the loss of all samples added up: take the mean": "sum",
        "it is a softmax of a softmax: `cross_entropy` takes raw logits": "softmax",
        "it is the loss after the update: take the number of the forward pass before `optimizer.step()`": "after",
        "a tensor would keep the whole graph of the step alive: `.item()` takes the number out": "tensor",
    }
    check.agrees(
        your_steps,
        functools.partial(trained, step_by_definition),
        cases.draw(seeds, domain, 3, rows=(1, 70), classes=(2, 12)),
        "three calls of `train_step`",
        "training mode, clear, one forward pass, mean cross-entropy, backward, update: in this order",
        causes={text: with_mistake(trained, step_by_definition, mistake) for text, mistake in causes.items()},
    )


def check_evaluate():
    domain = {
        **model_domain,
        "logits times": cases.choice(1.0, 1e4),
        "loader": cases.choice(
            "a list", "a generator", "a list, the smallest batch first", "a DataLoader", "a DataLoader that draws from torch's generator"
        ),
        "piece": cases.integer(1, 30),
        "leftover": cases.choice(100.0, math.nan, None),
        "autograd": cases.choice("on", "off"),
        "x": cases.tensor("rows", 2, 3),
        "y": cases.tensor("rows", dtypes=("int64",), below="classes"),
    }
    causes = {
        "every sample counts the same: a mean of batch means gives the samples of a small batch more weight": "batches",
        "a part of the model was in training mode while it was judged: `model.eval()` comes first, and reaches all parts": "training mode",
        "a part of the model was in training mode while it was judged: the flag of the whole does not tell that of its parts, so call `model.eval()` in any case": "outer mode",
        "autograd recorded the evaluation (this model doubles its logits then): `torch.no_grad()` or `torch.inference_mode()`": "graph",
        "the model is left in eval mode: put each submodule back as it was": "left in eval",
        "a submodule that stands in two places ends in another mode: `part.train(mode)` also sets what lies below `part`, `part.training = mode` does not": "recursive",
        "a submodule that came in eval mode is in training mode now: keep the mode of each of `model.modules()`": "one for all",
        "the model came in eval mode and is left in training mode: put each submodule back as it was": "left in training",
        "autograd is off for good: `with torch.no_grad():` switches it on again at its end": "grad off",
        "autograd was off at the call and is on now: `with torch.no_grad():` puts back what was": "grad on",
        "what came frozen is trainable now: `torch.no_grad()` needs no change of `requires_grad`": "thawed",
        "all parameters are frozen now: `torch.no_grad()` needs no change of `requires_grad`": "frozen",
    }
    check.agrees(
        your_scores,
        functools.partial(judged, scores_by_definition),
        cases.draw(seeds, domain, 3, rows=(1, 70), classes=(2, 12)),
        "`evaluate`",
        "all parts in eval mode, sums over all samples, divided once at the end; nothing else changes",
        causes={text: with_mistake(judged, scores_by_definition, mistake) for text, mistake in causes.items()},
    )


with check.exercise("train_and_evaluate"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"train_step": check_train_step, "evaluate": check_evaluate})
check.points(4)  # the number below: your points, of 4


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# `train_step`: follow the table at the top, row by row. What is in `p.grad` when your function is called for
# the second time?
#
# `evaluate`: two switches are not the same. `eval()` changes what layers do, `no_grad()` changes what autograd records;
# you need both. And what must you add up, batch by batch, so that one division at the end is right?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `model.train()`, `optimizer.zero_grad()`, `F.cross_entropy(logits, targets)`, `loss.backward()`, `optimizer.step()`,
# `loss.item()`; and `model.modules()` (the model and all its submodules; each has a `training`), `model.eval()`, `torch.no_grad()`,
# `F.cross_entropy(..., reduction="sum")`, `logits.argmax(1)`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# # train_step
# model.train()
# ...                                   # 1 clear the gradients
# loss = F.cross_entropy(model(x), y)   # 2 forward, 3 loss
# ...                                   # 4 backward
# ...                                   # 5 update
# return loss.item()
#
# # evaluate
# modes = {module: module.training for module in model.modules()}
# ...
# with torch.no_grad():
#     for x, y in loader:
#         logits = model(x)
#         loss += F.cross_entropy(logits, y, reduction="sum").item()
#         right += ...
#         seen += len(y)
# ...                                   # each module back to the mode that it came in
# return loss / seen, right / seen
# ```
# </details>


# %% [markdown]
# #### Watch it learn
#
# Your two functions are a complete training program. Eight epochs:

# %%
model = make_model()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
loader = make_loader()
train_losses, scores = [], [evaluate(model, valid_loader)]
for epoch in range(8):
    train_losses += [train_step(model, optimizer, x, y) for x, y in loader]
    scores.append(evaluate(model, valid_loader))

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
left.plot(train_losses, lw=0.8, alpha=0.7, label="training, each batch")
left.plot([i * len(loader) for i in range(9)], [loss for loss, _ in scores], "o-", label="validation, each epoch")
left.set(xlabel="update", ylabel="cross-entropy (nats)", yscale="log")
left.legend()
right.plot([100 * accuracy for _, accuracy in scores], "o-", color="C1")
right.set(xlabel="epoch", ylabel="validation accuracy (%)")
plt.show()
print(f"validation accuracy after 8 epochs: {scores[-1][1]:.0%}")

# %% [markdown]
# The training curve trembles, since each point is another batch and dropout is on; the validation curve has one point an epoch,
# each from all 597 pictures. It may lie *below* the training curve: dropout handicaps only the latter.

# %% [markdown]
# ## Part B · Does it stay stable?
#
# ### Exercise 2 · Gradient clipping (2 points, 10 minutes, difficulty 2 of 3)
#
# Now and then one batch has a gradient a hundred times larger than usual, and one step along it undoes an epoch.
# Clipping by **global norm** keeps the direction and limits the length: all gradients together are one long vector
# $g$, and
#
# $$g \leftarrow g \cdot \min\left(1, \frac{c}{\lVert g \rVert_2}\right), \qquad \lVert g \rVert_2 = \sqrt{\textstyle\sum_p \sum_i g_{p,i}^2}$$
#
# One factor for all parameters: clipping each tensor on its own would turn the vector. (Pascanu, Mikolov and Bengio
# 2013, [arXiv:1211.5063](https://arxiv.org/abs/1211.5063).) Two gradients, (3) and (4), have the global norm 5. With $c = 1$
# they become (0.6) and (0.8); each on its own would become (1) and (1), another direction.
#
# **Task.** Write `clip_gradients(parameters, max_norm)`. `parameters` is a list of parameters or a generator such as
# `model.parameters()`; each comes once, and at least one has a gradient. Some may be frozen (`requires_grad` False): a gradient
# that lies there counts, and is clipped, as all others. The gradients are all float32 or all float64, with up to four axes and
# at least one entry, contiguous or transposed; entries are of size 1e-12 to 1e12, zeros among them. `max_norm` is a number from
# 0.1 upwards, or `math.inf`.
#
# - It returns the global norm **before** clipping, a float or a tensor without axes: that is the figure to log. <!-- rule: norm -->
# - A longer gradient vector is scaled to the length `max_norm`, by one factor for all parameters. (An epsilon of 1e-6 beside
#   the norm, as in torch's own, is fine: values are compared to 0.01 %.) <!-- rule: scale -->
# - Gradients with a global norm up to `max_norm` keep their values, also where all are zero: mind what you divide
#   by. <!-- rule: within -->
# - The change is **in place**: the tensor in `p.grad` stays the same tensor in the same memory. Others may hold it or look into
#   that memory, such as the buckets of data-parallel training. <!-- rule: in_place -->
# - A parameter whose `grad` is None keeps None. <!-- rule: none -->
# - `parameters` is iterated over once. <!-- rule: once -->
# - torch's own `clip_grad_norm_` is out of reach meanwhile; all other functions of torch are
#   allowed. <!-- rule: by_hand, reported -->


# %% exercise="clip_gradients" minutes=10 difficulty=2
def clip_gradients(parameters, max_norm):
    """Scale all gradients by one factor so that their global 2-norm is at most `max_norm`; returns the norm before."""
    ### BEGIN SOLUTION
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.norm() for g in gradients]).norm()
    factor = torch.clamp(max_norm / norm, max=1.0)
    for g in gradients:
        g.mul_(factor)
    return norm
    ### END SOLUTION


# %% tests="clip_gradients" points=2
@check.shared
def clipped(clip, size, gradients, max_norm, kind, frozen):
    """What `clip` returns, and the gradients: in `p.grad`, and as somebody sees them who looks into their memory."""
    from unittest import mock

    parameters = [nn.Parameter(torch.ones(2))]  # without a gradient
    for g in gradients:
        parameters.append(nn.Parameter(torch.zeros_like(g)))
        parameters[-1].grad = g.clone()
    for p in parameters[-frozen:] if frozen else []:
        p.requires_grad_(False)
    held = [p.grad for p in parameters]
    memory = [None if g is None else g.detach() for g in held]  # other tensors in the same memory, as a bucket has them
    forbidden = AssertionError("torch's own clip_grad_norm_ is out of reach here: measure and scale the gradients yourself")
    with mock.patch.object(torch.nn.utils, "clip_grad_norm_", side_effect=forbidden):
        with mock.patch.object(torch.nn.utils.clip_grad, "clip_grad_norm_", side_effect=forbidden):
            norm = clip(parameters if kind == "a list" else (p for p in parameters), max_norm)
    same = [p.grad is g for p, g in zip(parameters, held)]
    return {"norm": norm, "gradients": [p.grad for p in parameters], "gradients, as others hold them,": memory, "the same tensors": same}


@check.shared
def clip_by_definition(parameters, max_norm, mistake=""):
    """By the formula, in float64; `mistake` names what it does wrong."""
    empty = mistake == "second pass" and not isinstance(parameters, list)
    counting = [p for p in parameters if p.grad is not None and not (mistake == "frozen" and not p.requires_grad)]
    together = torch.cat([p.grad.double().flatten() for p in counting])
    norm = sum(p.grad.double().norm() for p in counting) if mistake == "sum of norms" else together.norm()
    for p in [] if empty else counting:
        g = p.grad
        length = g.double().norm() if mistake == "each on its own" else norm
        if mistake == "largest alone" and max(q.grad.double().norm() for q in counting) <= max_norm:
            continue
        if mistake == "values":
            g.clamp_(-max_norm, max_norm)
        elif mistake == "norm 0" and norm == 0 and max_norm < math.inf or mistake == "limit inf" and norm > 0 and max_norm == math.inf:
            g.fill_(math.nan)
        elif mistake == "copies" and not g.is_contiguous():
            continue
        elif mistake in ("other tensor", "other memory"):
            shorter = (g.double() * (max_norm / max(length, max_norm) if max_norm < math.inf else 1)).to(g.dtype)
            if mistake == "other tensor":
                p.grad = shorter.clone()
            else:
                g.data = shorter.clone()
        elif (length > max_norm or mistake == "stretch" and length > 0 and max_norm < math.inf) and mistake != "new tensors":
            g.copy_((g.double() * (max_norm / length)).to(g.dtype))
    return norm.item()


@check.scenario
def your_clipping(*case):
    return clipped(clip_gradients, *case)


with check.exercise("clip_gradients"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS

    domain = {
        # Of one to four axes and two very different sizes, and one of no axes: always of one dtype.
        "_dtype": cases.choice("float32", "float64"),
        "size": cases.choice(1.0, 0.0, 1e-12, 1e-3, 0.02, 10.0, 1e6, 1e12),
        "_shapes": cases.lists(cases.integer(1, 300), "tensors"),
        "_layout": cases.choice("contiguous", "transposed"),
        "_seed": cases.integer(1, 10**6),
        "gradients": cases.derived(lambda **drawn: gradients_of(**drawn), "some tensors"),
        "_limit": cases.choice(0.1, 1.0, 30.0, math.inf, "between"),
        "max_norm": cases.derived(lambda gradients, _limit, **_: limit_between(gradients) if _limit == "between" else _limit),
        "parameters": cases.choice("a list", "a generator"),
        "frozen": cases.choice(0, 1),  # of those with a gradient, at the end
    }

    def gradients_of(_dtype, size, _shapes, _layout, _seed):
        """Gradients of some magnitude: with two, one and four axes, the last a thousand times smaller, and one number."""
        generator = torch.Generator().manual_seed(_seed)
        shapes = zip(_shapes, itertools.cycle([(3,), (), (2, 1, 3)]))
        made = [size * torch.randn(n, *others, generator=generator, dtype=torch.float64) for n, others in shapes]
        made = [*made[:-1], made[-1] * (1e-3 if len(made) > 1 else 1), size * torch.randn((), generator=generator, dtype=torch.float64)]
        made = [g.to(getattr(torch, _dtype)) for g in made]
        return [g.transpose(0, -1).contiguous().transpose(0, -1) if g.ndim > 1 and _layout == "transposed" else g for g in made]

    def limit_between(gradients):
        """A limit that all gradients together exceed, but none on its own: half way, where that is 0.1 or more."""
        norms = torch.stack([g.double().norm() for g in gradients])
        return max(0.1, float(norms.max() + norms.norm()) / 2)

    causes = {
        "no tensor exceeds `max_norm` on its own, but all together do: compare the global norm": "largest alone",
        "it is the sum of the norms: the global norm is the root of the sum of all squares": "sum of norms",
        "each tensor was clipped on its own, which turns the vector: one factor, max_norm / global norm, for all": "each on its own",
        "each value was clipped, which turns the vector: one factor, max_norm / global norm, for all": "values",
        "short gradients were stretched: the factor is at most 1": "stretch",
        "the gradients are unchanged: `g = g * factor` makes a new tensor, `g.mul_(factor)` changes the one that is there": "new tensors",
        "the gradients of a generator's parameters are unchanged: it is empty at a second pass, so keep a list": "second pass",
        "a frozen parameter's gradient was left out: one that lies there counts, and is clipped, whatever `requires_grad` says": "frozen",
        "gradients that are not contiguous are unchanged: `reshape(-1)` and `flatten()` make a copy of those": "copies",
        "`p.grad = ...` puts another tensor in place of the one that others hold: `p.grad.mul_(factor)` changes that one": "other tensor",
        "`g.data = ...` gives the tensor other memory, and others look into the old one: `g.mul_(factor)` writes there": "other memory",
        "the norm is 0 here, so mind what you divide by: 0 / 0 and 0 times infinity are NaN": "norm 0",
        "`max_norm` is infinite here, so mind what you do with it: inf / inf and 0 times infinity are NaN": "limit inf",
    }

    def with_mistake(mistake):
        return lambda *case: clipped(lambda *args: clip_by_definition(*args, mistake=mistake), *case)

    check.agrees(
        your_clipping,
        lambda *case: clipped(clip_by_definition, *case),
        cases.draw(seeds, domain, tensors=(1, 5)),
        "`clip_gradients`",
        "one factor, min(1, max_norm / global norm), in place for all gradients that are there",
        causes={text: with_mistake(mistake) for text, mistake in causes.items()},
        rtol=1e-4,
        floor="value",
    )


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Two passes over the gradients: one to measure, one to scale. A generator allows only one pass over the parameters,
# so keep a list. What is the norm of a vector whose pieces have norms $n_1, n_2, \dots$?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `Tensor.norm()`, `torch.stack`, `torch.clamp(value, max=1.0)`, and the in-place `Tensor.mul_`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# gradients = [p.grad for p in parameters if p.grad is not None]
# norm = torch.stack([...]).norm()
# factor = ...                          # never above 1
# for g in gradients:
#     g.mul_(factor)
# return norm
# ```
# </details>


# %% [markdown]
# #### Why it is worth a line
#
# A recurrent network that reads a digit row by row multiplies by the same matrix eight times. With weights a little
# too large its gradients explode. An optimizer can call your function itself just before each step
# (`register_step_pre_hook`), so `train_step` needs no change.


# %%
class RowReader(nn.Module):
    """Reads a picture row by row: (batch, 1, 8, 8) -> (batch, 10) logits. Starts with exploding recurrent weights."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(8, 64, nonlinearity="relu", batch_first=True)
        self.head = nn.Linear(64, 10)
        with torch.no_grad():
            self.rnn.weight_hh_l0.copy_(1.5 * torch.eye(64))

    def forward(self, x):
        return self.head(self.rnn(x.squeeze(1))[0][:, -1])


def train_reader(max_norm, seed):
    """Losses and gradient norms (before clipping) of four epochs at a high rate."""
    torch.manual_seed(seed)
    model, norms = RowReader(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.register_step_pre_hook(lambda *args: norms.append(float(clip_gradients(model.parameters(), max_norm))))
    loader = make_loader()
    return [train_step(model, optimizer, x, y) for _ in range(4) for x, y in loader], norms


figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
for name, max_norm, colour in (("no clipping", math.inf, "C0"), ("clipped to norm 1", 1.0, "C1")):
    ends = []
    for seed in range(3):
        losses, norms = train_reader(max_norm, seed)
        left.plot(losses, color=colour, lw=0.8, label=name if seed == 0 else None)
        right.plot(norms, color=colour, lw=0.8, label=name if seed == 0 else None)
        ends.append(sum(losses[-30:]) / 30)
    print(f"{name}: mean loss of the last epoch, three seeds:", ", ".join(f"{end:.2f}" for end in ends), f"(guessing: {math.log(10):.2f})")
left.axhline(math.log(10), color="grey", ls=":", label="guessing, ln 10")
left.set(xlabel="update", ylabel="training loss (nats)", ylim=(0, 6))
right.set(xlabel="update", ylabel="gradient norm before clipping", yscale="log")
left.legend()
right.legend()
plt.show()

# %% [markdown]
# Compare the last losses with guessing. Without clipping the first steps throw the network to a place where it only guesses and
# where its gradient is small: from then on nothing looks wrong except the loss. Only `max_norm` differs between the two.

# %% [markdown]
# ### Exercise 3 · Warm-up and cosine (3 points, 20 minutes, difficulty 2 of 3)
#
# At the start the weights are random and large steps do harm; at the end small steps let the loss settle. The usual
# schedule follows: rise in a straight line, then fall along half a cosine. With update number $t$ from 0, warm-up
# length $w$, total length $T$ and floor $f$, each group's rate is its base rate times
#
# $$m(t) = \begin{cases} (t+1)/w & t < w \\ f + (1-f)\,\tfrac12\left(1+\cos \pi\,\frac{t-w}{T-w}\right) & w \le t < T \\ f & t \ge T\end{cases}$$
#
# The $+1$ matters: without it the first update has rate 0 and is wasted. With $w = 2$, $T = 6$ and $f = 0$ the multipliers
# are 0.5, 1, 1, 0.85, 0.5, 0.15, 0, 0, … (Cosine: Loshchilov and Hutter 2017,
# [arXiv:1608.03983](https://arxiv.org/abs/1608.03983); warm-up: Goyal et al. 2017,
# [arXiv:1706.02677](https://arxiv.org/abs/1706.02677).)
#
# > **Beside the cosine.** A cosine must know $T$ before it starts. The schedule called *warm-up, stable, decay* holds the
# > rate constant and falls only at the end, so that a run can be prolonged from any checkpoint of its flat part (MiniCPM,
# > Hu et al. 2024, [arXiv:2404.06395](https://arxiv.org/abs/2404.06395)).
#
# **Task.** Write `make_schedule(optimizer, warmup, total, floor=0.0)`. `optimizer` has one parameter group or more, each with
# a positive rate of its own. `warmup` and `total` are whole numbers with 0 ≤ `warmup` ≤ `total` and `total` ≥ 1; `floor` lies
# from 0 to 1. The schedule is used the usual way: after each `optimizer.step()` one `scheduler.step()`.
#
# - It returns a learning-rate scheduler from `torch.optim.lr_scheduler`, or an instance of your own subclass of
#   `LRScheduler`. <!-- rule: scheduler -->
# - While $t < w$ the rate rises as $m(t)$ says; with `warmup` 0 there is no rise. <!-- rule: warmup -->
# - From $w$ to $T$ it falls as $m(t)$ says; where `warmup` equals `total` there is no cosine, and nothing to divide
#   by. <!-- rule: cosine -->
# - From $T$ on it stays at the floor. <!-- rule: end -->
# - Every parameter group keeps its own base rate. <!-- rule: groups -->
# - Training can go on elsewhere: where optimizer and schedule are made once more, from the same rates and arguments, and **then**
#   both are given the old ones' `state_dict()`, the optimizer first, they go on with the same rates. <!-- rule: resumes -->
# - Schedules of several optimizers do not disturb each other. <!-- rule: own -->


# %% exercise="make_schedule" minutes=20 difficulty=2
def make_schedule(optimizer, warmup, total, floor=0.0):
    """A scheduler with linear warm-up for `warmup` updates, then a cosine down to `floor` (a share of the base rate) at `total`."""

    ### BEGIN SOLUTION
    def multiplier(step):
        if step < warmup:
            return (step + 1) / warmup
        if step >= total:
            return floor
        progress = (step - warmup) / (total - warmup)
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)
    ### END SOLUTION


# %% tests="make_schedule" points=3
@check.scenario
def rates_of(base_rates, warmup, fall, floor, resume_at):
    """The rates of 40 updates more than `total`, one list a group; after `resume_at` updates all is made anew and loaded.

    Another schedule, three times as long and with another floor, is stepped between.
    """
    total = max(1, warmup + fall)

    def made(factor):
        optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.ones(2))], "lr": factor * rate} for rate in base_rates])
        if factor > 1:
            return optimizer, make_schedule(optimizer, 3 * warmup, 3 * total, (1 + floor) / 2 if floor < 1 else 0.5)
        return optimizer, make_schedule(optimizer, warmup, total, floor) if floor else make_schedule(optimizer, warmup, total)

    (optimizer, scheduler), (other, beside) = made(1), made(7)
    used = []
    for update in range(total + 40):
        if update == resume_at:
            states = optimizer.state_dict(), scheduler.state_dict()
            optimizer, scheduler = made(1)
            optimizer.load_state_dict(states[0])
            scheduler.load_state_dict(states[1])
        used.append([group["lr"] for group in optimizer.param_groups])
        for one, its in ((optimizer, scheduler), (other, beside)):
            one.step()
            its.step()
    return {"is an LRScheduler": isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler), "[group][update]": [list(column) for column in zip(*used)]}


def rates_by(multiplier):
    """What `rates_of` must give where update t has the rate base * multiplier(t, w, T, f, base)."""

    def rates(base_rates, w, fall, f, resume_at):
        T = max(1, w + fall)
        return {"is an LRScheduler": True, "[group][update]": [[base * multiplier(t, w, T, f, base) for t in range(T + 40)] for base in base_rates]}

    return rates


def m(t, w, T, f, base):
    return (t + 1) / w if t < w else f if t >= T else f + (1 - f) * (1 + math.cos(math.pi * (t - w) / (T - w))) / 2


def begins_anew(*case):
    """What `rates_of` gives where a resumed schedule counts from 0."""
    right, at = rates_by(m)(*case), case[-1] or 0
    return right | {"[group][update]": [[*rates[: at + 1], *rates[1 : len(rates) - at]] for rates in right["[group][update]"]]}


def falls_by(share):
    """The schedule with another fall: from 1 to the floor as `share(progress)` goes from 1 to 0."""
    return rates_by(lambda t, w, T, f, base: f + (1 - f) * share((t - w) / (T - w)) if w <= t < T else m(t, w, T, f, base))


with check.exercise("make_schedule"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    domain = {
        "base rates": cases.choice([0.8], [0.2, 0.03], [3.0, 1e-5, 0.5, 0.5]),
        "warmup": cases.size("warmup"),
        "total - warmup": cases.size("fall"),
        "floor": cases.choice(0.0, 0.1, 0.25, 1.0),
        "resumed at": cases.choice(None, 1, 5, 30),
    }
    causes = {
        "the first update has rate 0 and is wasted: the warm-up is (t + 1) / warmup": rates_by(lambda t, w, T, f, base: t / w if t < w else m(t, w, T, f, base)),
        "it was multiplied by the base rate twice: LambdaLR does that itself, and wants a factor": rates_by(lambda *case: m(*case) * case[-1]),
        "a straight line falls from the peak: take half a cosine": falls_by(lambda progress: 1 - progress),
        "this is a whole cosine, down and up again: half of one is cos(pi * progress), without the 2": falls_by(lambda progress: (1 + math.cos(2 * math.pi * progress)) / 2),
        "a cosine alone goes down to -1: (1 + cos(pi * progress)) / 2 goes from 1 to 0": falls_by(lambda progress: math.cos(math.pi * progress)),
        "this cosine counts from update 0: it starts at the end of the warm-up, progress = (t - warmup) / (total - warmup)": rates_by(
            lambda t, w, T, f, base: f + (1 - f) * (1 + math.cos(math.pi * t / T)) / 2 if w <= t < T else m(t, w, T, f, base)
        ),
        "the cosine goes to 0 and is cut off at the floor: it falls from 1 to the floor, floor + (1 - floor) * ...": rates_by(
            lambda t, w, T, f, base: max(f, m(t, w, T, 0.0, base)) if t >= w else m(t, w, T, f, base)
        ),
        "after the end it stays at the floor: a cosine left to itself rises again": rates_by(
            lambda t, w, T, f, base: m(t, w, T, f, base) if t < w or w == T else f + (1 - f) * (1 + math.cos(math.pi * (t - w) / (T - w))) / 2
        ),
        "here the floor is a rate: it is a share of each group's base rate": rates_by(
            lambda t, w, T, f, base: m(t, w, T, f, base) if t < w else (f + (base - f) * m(t, w, T, 0.0, base)) / base
        ),
        "where `warmup` equals `total`, update `total` has the floor already: there is no cosine whose first rate is the full one": rates_by(
            lambda t, w, T, f, base: (t + 1) / w if t < w else f + (1 - f) * (1 + math.cos(math.pi * min(1, (t - w) / max(1, T - w)))) / 2
        ),
        "another schedule, made later and three times as long, decides here: what belongs to one schedule lies on its instance": rates_by(
            lambda t, w, T, f, base: m(t, 3 * w, 3 * T, (1 + f) / 2 if f < 1 else 0.5, base) if t else m(t, w, T, f, base)
        ),
        "every group keeps its own base rate": lambda base_rates, *case: rates_by(m)([base_rates[0]] * len(base_rates), *case),
        "a schedule that goes on elsewhere began anew: what counts the updates must be in its `state_dict()`": begins_anew,
    }
    check.agrees(
        rates_of,
        rates_by(m),
        cases.draw(seeds, domain, warmup=(0, 90), fall=(0, 150)),
        "the rates of `make_schedule`",
        "the update number comes from the scheduler, the rate from m(t) times the group's base rate",
        causes=causes,
        rtol=1e-7,
        atol=1e-10,
    )


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Three cases, one multiplier. Write the multiplier as a function of the update number first and print it for a small
# case. Which of the three cases would divide by zero?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `torch.optim.lr_scheduler.LambdaLR(optimizer, function)` multiplies each group's base rate by `function(t)`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# def multiplier(step):
#     if step < warmup:
#         return (step + 1) / warmup
#     if ...:
#         return floor
#     progress = ...                    # 0 at the end of the warm-up, 1 at `total`
#     return floor + (1 - floor) * ...
#
# return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)
# ```
# </details>


# %% [markdown]
# #### See what it buys
#
# The same network and the same peak rate, once constant and once with your schedule, from three starts; and two starts at a
# peak half again as high.


# %%
def train_scheduled(use_schedule, seed, peak, epochs=6):
    model, loader = make_model(seed), make_loader()
    optimizer = torch.optim.SGD(model.parameters(), lr=peak, momentum=0.9)
    total = epochs * len(loader)
    scheduler = make_schedule(optimizer, warmup=total // 6, total=total) if use_schedule else None
    losses, used = [], []
    for _ in range(epochs):
        for x, y in loader:
            used.append(optimizer.param_groups[0]["lr"])
            losses.append(train_step(model, optimizer, x, y))
            if scheduler:
                scheduler.step()
    return losses, used, evaluate(model, valid_loader)


figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
for peak, seeds_here in ((0.2, (0, 1, 2)), (0.3, (0, 1))):
    for name, use_schedule, colour in (("constant", False, "C0"), ("warm-up and cosine", True, "C1")):
        runs = [train_scheduled(use_schedule, seed, peak) for seed in seeds_here]
        if peak == 0.2:
            left.plot(runs[0][1], color=colour, label=name)
            for seed, (losses, _, _) in enumerate(runs):
                right.plot(losses, color=colour, lw=0.8, label=None if seed else name)
        shares = ", ".join(f"{accuracy:.0%}" for _, _, (_, accuracy) in runs)
        print(f"peak {peak}, {name:18}: right in validation {shares}")
left.set(xlabel="update", ylabel="learning rate")
right.set(xlabel="update", ylabel="training loss (nats)", ylim=(0, 3))
left.legend()
right.legend(fontsize=8)
plt.show()

# %% [markdown]
# With momentum 0.9 a rate of 0.2 is near the limit of what this network bears, and 0.3 is beyond it for a constant rate on some
# starts: a share of 10 % is guessing. A constant rate learns faster at first, for it starts at full height, but it never comes
# to rest: its loss still jumps at the end, and where it happens to stop is luck. As the rate of the schedule falls, the loss
# settles.

# %% [markdown]
# ## Part C · Does it fit?
#
# ### Where the memory goes
#
# For the backward pass autograd keeps the **activations** of the forward pass. They grow with the batch; weights,
# gradients and optimizer state do not. Autograd lets us look at each tensor it puts aside, so we can count the bytes
# (on any device, without a GPU):


# %%
def activation_bytes(forward, model):
    """Bytes that autograd keeps for the backward pass of `forward()`, without the weights of `model`."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()  # tensors that share memory count once
        return tensor.detach()  # with its graph it would keep itself alive

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()  # noqa: F841  (keeps the graph, and with it the storages, alive)
    return sum(size for pointer, size in kept.items() if pointer not in weights)


model = make_model()
for batch in (10, 40, 160):
    x, y = train_x[:batch].clone(), train_y[:batch].clone()  # a slice would keep all of train_x, and it would be counted
    size = activation_bytes(lambda: F.cross_entropy(model(x), y), model)
    print(f"batch of {batch:3d}: {size / 1e6:5.2f} MB of activations")

# %% [markdown]
# ### Exercise 4 · Gradient accumulation (3 points, 20 minutes, difficulty 2 of 3)
#
# A batch that does not fit can be taken in pieces ("micro-batches"): since `backward()` adds, the pieces' gradients
# sum up in `p.grad`, and one step at the end uses them all. The result is *equal* to the big batch if each piece
# weighs as much as it has samples. Dividing by the number of pieces is right only when all are equally large; the
# last one seldom is, and with padded text none are.
#
# > **As it happened.** Until October 2024 the trainer of `transformers`, like most others, took the mean of the
# > micro-batches' means, though texts differ in length. The report and the repair:
# > [Fixing gradient accumulation](https://huggingface.co/blog/gradient_accumulation) (Hugging Face, 16 October 2024).
#
# **Task.** Write `accumulation_step(model, optimizer, batches)`: one update with several micro-batches. `batches` is a list of
# one or more `(x, y)`, each of one or more samples, of unequal sizes; model, optimizer, `x` and `y` are as in exercise 1.
#
# - The weights change as by one `train_step` on all samples together. (Not so with dropout or batch norm, which look at the
#   batch they get; the tests have neither.) <!-- rule: equal -->
# - There is one `optimizer.step()`. <!-- rule: one_step -->
# - Each micro-batch goes through the model alone and once: never more samples at a time than it holds. <!-- rule: alone -->
# - When a micro-batch goes through the model, the graphs of those before it are freed (`backward()` frees its graph): that is
#   the point of the exercise. <!-- rule: freed -->
# - The model and all its submodules are in training mode in each forward pass. <!-- rule: training_mode -->
# - Old gradients in `.grad` have no effect, as in exercise 1. <!-- rule: fresh -->
# - It returns the mean loss over all samples before the update, as a Python float. <!-- rule: returns -->
# - The list `batches` and its tensors stay as they were. <!-- rule: unchanged -->


# %% exercise="accumulation_step" minutes=20 difficulty=2
def accumulation_step(model, optimizer, batches):
    """One update on all samples of the micro-batches `batches`; returns their mean loss as a float."""
    ### BEGIN SOLUTION
    model.train()
    optimizer.zero_grad()
    samples = sum(len(y) for _, y in batches)
    mean = 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        loss.backward()
        mean += loss.item()
    optimizer.step()
    return mean
    ### END SOLUTION


# %% tests="accumulation_step" points=3
@check.shared
def accumulated(step, plan, how, came, leftover, sizes, seed):
    """Two calls of `step`, on micro-batches of these sizes and on the first half of them: what each returned, and the weights after it.

    The model's logits are larger while a part of it is not in training mode, where more samples come than a micro-batch
    holds, and while graphs of earlier passes are alive. How many samples went through it in each pass is noted.
    """
    import weakref

    class Kept:
        def __init__(self, tensor):
            self.tensor = tensor

    kind, dtype = how
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(sum(sizes), 2, 3, generator=generator, dtype=getattr(torch, dtype))
    y = torch.randint(plan["outputs"], (sum(sizes),), generator=generator)
    model, alive, before = nn.Sequential(nn.Flatten(-2), cases.build(plan)).to(x.dtype), weakref.WeakSet(), []
    for part in model.modules():
        part.p = 0.0  # of dropout
    parameters, passes = list(model.parameters()), []
    groups = {"two groups": [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.1}], "SGD for the last layer": parameters[-2:]}
    stretch = 1000 if kind == "SGD, logits times 1000" else 1
    for p in parameters:
        p.grad = None if leftover is None else torch.full_like(p, leftover)
    if kind == "weight decay, an unused parameter":
        model.register_parameter("idle", nn.Parameter(torch.ones(2, dtype=x.dtype)))
        model.idle.grad = torch.ones_like(model.idle)
        optimiser = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.5)
    else:
        optimiser = torch.optim.SGD(groups.get(kind, parameters), lr=0.3 / stretch, momentum=0.9 if kind == "momentum" else 0.0)
    model[0].register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))

    def pack(tensor):
        kept = Kept(tensor.detach())  # with its graph it would keep itself alive
        alive.add(kept)
        return kept

    def watch(module, args, logits):
        off = not all(part.training for part in module.modules())
        return stretch * logits * (1 + off + max(0, len(args[0]) - max(sizes)) + before.pop())

    model.register_forward_pre_hook(lambda *args: before.append(len(alive) > 0))
    model.register_forward_hook(watch)
    seen, pieces = [], list(zip(x.split(sizes), y.split(sizes)))
    for batches in (pieces, pieces[: (len(pieces) + 1) // 2]):
        if came != "as built":
            model.train(came == "training")
        passes.clear()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
            loss = step(model, optimiser, batches)
        state = {"is a float": isinstance(loss, float)}
        rounded = dtype == "float32" and isinstance(loss, (float, torch.Tensor))  # logits of size 1 are, and losses near 0 with them
        state |= {"loss + 1": loss + 1} if rounded else {"loss": loss}
        state["weights"] = {name: p.detach().clone() for name, p in model.named_parameters()}
        state["samples in the list"] = [len(b) for _, b in batches]
        state["tensors in the list"] = [tensor.clone() for pair in batches for tensor in pair]
        seen.append(state | {"samples in each forward pass, sorted": sorted(passes)})
    return seen


@check.shared
def accumulate_by_definition(model, optimiser, batches, mistake=""):
    """One update, with gradients from `autograd.grad`; `mistake` names what it does wrong."""
    if mistake != "mode":
        model.train()
    if mistake == "at once":
        batches = [tuple(torch.cat(parts) for parts in zip(*batches))]
    wanted, samples = [p for p in model.parameters() if p.requires_grad], sum(len(y) for _, y in batches)
    uncleared = {id(p) for group in optimiser.param_groups[1:] for p in group["params"]} if mistake == "one group" else set()
    sums = [p.grad if mistake == "uncleared" or id(p) in uncleared else None for p in wanted]
    if mistake == "zeros":
        sums = [None if p.grad is None else torch.zeros_like(p) for p in wanted]
    for p in model.parameters():
        p.grad = p.grad if id(p) in uncleared else None
    losses, shares = [], []
    for x, y in batches:
        if mistake == "twice":
            with torch.no_grad():
                model(x)
        losses.append(F.cross_entropy(model(x), y))
        shares.append(1 / len(batches) if mistake in ("equal", "reported") else len(y) / samples)
        weight = {"unweighted": 1.0, "summed": len(y), "reported": len(y) / samples}.get(mistake, shares[-1])
        if mistake in ("last", "many steps"):
            sums = [None for _ in wanted]
        if mistake != "graphs":
            slopes = torch.autograd.grad(losses[-1], wanted, allow_unused=True)
            losses[-1] = losses[-1].detach()
            sums = [old if new is None else weight * new + (0 if old is None else old) for old, new in zip(sums, slopes)]
        if mistake == "many steps":
            for p, total in zip(wanted, sums):
                p.grad = total
            optimiser.step()
    mean = sum(loss * share for loss, share in zip(losses, shares))
    if mistake == "graphs":
        sums = torch.autograd.grad(mean, wanted, allow_unused=True)
    if mistake != "many steps":
        for p, total in zip(wanted, sums):
            p.grad = total
        optimiser.step()
    return mean.detach() if mistake == "tensor" else mean.item()


@check.scenario
def your_accumulation(*case):
    return accumulated(accumulation_step, *case)


with check.exercise("accumulation_step"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    domain = {
        "plan": cases.module(6, "classes", ("nested", "linear", "tied", "frozen", "child in eval", "unused parameter")),
        "optimizer": cases.choice(
            ("SGD", "float64"),
            ("SGD", "float32"),
            ("momentum", "float64"),
            ("two groups", "float64"),
            ("SGD for the last layer", "float64"),
            ("SGD, logits times 1000", "float64"),
            ("weight decay, an unused parameter", "float64"),
        ),
        "came": cases.choice("as built", "eval", "training"),
        "leftover": cases.choice(2.0, math.nan, None),
        "sizes": cases.lists(cases.integer(1, 9), "pieces"),
        "seed": cases.integer(1, 10**6),
    }
    causes = {
        "old gradients were added: clear them once, before the first micro-batch": "uncleared",
        "old gradients were cleared in the first parameter group alone: an optimizer may have several groups": "one group",
        "a parameter to which this batch gives no gradient was moved by weight decay: an old gradient becomes None, not zeros": "zeros",
        "a micro-batch goes through the model once: its loss is the one to add up and the one to call `backward` on": "twice",
        "in the loss that is returned each micro-batch weighs the same: weigh it there by its samples too": "reported",
        "each micro-batch weighs the same here: weigh it by its samples, len(y) / all": "equal",
        "the means are added up without any weight: weigh each by its share of the samples, len(y) / all": "unweighted",
        "the samples' gradients are added up: divide by the number of all samples": "summed",
        "the gradients are cleared inside the loop, and only the last micro-batch counts: clear once, before it": "last",
        "all micro-batches together are one update": "many steps",
        "joining the micro-batches brings back the memory that you wanted to save (this model notices more samples than one holds)": "at once",
        "graphs of earlier micro-batches were alive in a later forward pass (this model notices): `backward()` after each frees its graph": "graphs",
        "a part of the model was not in training mode (this model notices): `model.train()` reaches all parts": "mode",
        "add up `loss.item()`: a tensor keeps its graph alive": "tensor",
    }
    mistaken = {
        text: lambda *case, mistake=mistake: accumulated(functools.partial(accumulate_by_definition, mistake=mistake), *case)
        for text, mistake in causes.items()
    }
    check.agrees(
        your_accumulation,
        functools.partial(accumulated, accumulate_by_definition),
        cases.draw(seeds, domain, 3, classes=(2, 12), pieces=(1, 12)),
        "two calls of `accumulation_step`",
        "training mode and clearing once; each micro-batch alone, weighed by its share of the samples, and freed before the next; one update",
        causes=mistaken,
    )


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Write the mean over 12 samples as a sum of three parts: what stands in front of each micro-batch's own mean?
# Then decide for each of the five steps: once, or once a micro-batch?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `F.cross_entropy` takes the mean over its batch. Multiply by `len(y) / samples` before `backward()`; or use
# `reduction="sum"`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# samples = sum(len(y) for _, y in batches)
# ...                                   # once: mode, clear
# for x, y in batches:
#     loss = F.cross_entropy(model(x), y) * ...
#     loss.backward()
#     mean += loss.item()
# ...                                   # once: update
# ```
# </details>


# %% [markdown]
# #### Claim: accumulation equals the big batch
#
# Twenty updates on 120 samples, once in one piece and once in pieces of 50, 50 and 20, from two starts. Dropout draws other
# masks for other shapes, so it is off here; batch norm would differ for a similar reason, since it would see statistics of
# smaller batches. Beside it as a control the usual mistake: each piece weighs the same.


# %%
def make_plain_model(seed=0):
    model = make_model(seed)
    model[6].p = 0.0  # no dropout
    return model


def equal_weights_step(model, optimizer, batches):
    """The mistake: a mean of means."""
    optimizer.zero_grad()
    for x, y in batches:
        (F.cross_entropy(model(x), y) / len(batches)).backward()
    optimizer.step()


def train_both(step, precision, seed):
    """Largest difference between the weights of the two ways after twenty updates."""
    whole, pieces = make_plain_model(seed).to(precision), make_plain_model(seed).to(precision)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (whole, pieces)]
    for i in range(20):
        x, y = train_x[50 * i : 50 * i + 120].to(precision), train_y[50 * i : 50 * i + 120]
        train_step(whole, optimizers[0], x, y)
        step(pieces, optimizers[1], list(zip(x.split(50), y.split(50))))
    return max((a - b).abs().max().item() for a, b in zip(whole.parameters(), pieces.parameters()))


ways = {
    "float32": (accumulation_step, torch.float32),
    "float64": (accumulation_step, torch.float64),
    "float64, equal weights": (equal_weights_step, torch.float64),
}
difference = {name: max(train_both(*way, seed) for seed in (0, 1)) for name, way in ways.items()}
model = make_plain_model()
whole, piece = (
    activation_bytes(lambda: F.cross_entropy(model(train_x[:size].clone()), train_y[:size].clone()), model) for size in (120, 50)
)
for name, largest in difference.items():
    print(f"largest difference between weights, {name}: {largest:.0e}")
print(f"activations: {whole / 1e6:.1f} MB in one piece, at most {piece / 1e6:.1f} MB in pieces")
claims.record(
    "gradient accumulation equals the big batch",
    claimed="identical",
    measured=", ".join(f"{name} {largest:.0e}" for name, largest in difference.items()) + " (largest weight difference, 20 updates)",
    holds=difference["float32"] < 1e-3 and difference["float64"] < 1e-12 and difference["float64, equal weights"] > 1e-4,
)

# %% [markdown]
# The difference is rounding: sums in another order. In float64 it all but vanishes, which a real mistake would not.
# (In float32 it can be larger on another machine: a rounding may decide which of two almost equal values max pooling picks.)
# One warning: with Adam a wrong factor *hides*, since Adam divides the gradient by its own size. Check accumulation with SGD.

# %% [markdown]
# ### Exercise 5 · Mixed precision (3 points, 25 minutes, difficulty 3 of 3)
#
# Numbers of 16 bits take half the memory of those of 32, and a GPU multiplies them several times as fast. `torch.autocast`
# runs matrix products and convolutions in the small type and keeps delicate steps (losses, sums, norms) in float32.
# The **weights stay in float32**: an update is often so small that a 16-bit weight would not change at all.
#
# | type | smallest normal number | largest | so |
# |---|---|---|---|
# | bfloat16 | 1e-38 | 3e38 | range of float32, only 8 bits of precision: needs no scaling |
# | float16 | 6e-5 | 65504 | small gradients become 0: multiply the loss by a large number, divide the gradients by it later |
#
# Below its smallest normal number float16 goes on for a while, with fewer and fewer bits: the smallest number of all
# ("subnormal") is 6e-8, and it has one bit. Scaling is `GradScaler`'s work. It also finds out the factor: if a gradient
# overflows, that update is skipped and the factor halves; after many good updates in a row it doubles. (Micikevicius et al.
# 2018, [arXiv:1710.03740](https://arxiv.org/abs/1710.03740).)
#
# > **Still smaller.** Matrix products in 8 bits (float8) need a factor not for the whole loss but for each small block of
# > numbers: DeepSeek-V3 was trained so (December 2024, [arXiv:2412.19437](https://arxiv.org/abs/2412.19437), section 3.3).
#
# **Task.** Write `amp_step(model, optimizer, scaler, x, y, dtype, max_norm)`: one train step with mixed precision and
# clipping. `model`, `x` and `y` are as in exercise 1, in float32; `optimizer` too, but it has all parameters of the model.
# `dtype` is `torch.bfloat16` or `torch.float16`; `max_norm` is a number from 0.1 to 100. `scaler` is a `torch.amp.GradScaler`
# with a scale from $2^4$ to $2^{30}$. For bfloat16 it comes with `enabled=False`, and then each of its methods lets things
# pass: the same code serves both types.
#
# - The forward pass runs under autocast for `dtype`, on the device of `x`. <!-- rule: autocast -->
# - The cross-entropy is computed in float32. (Under autocast `F.cross_entropy` sees to it; outside, or in another formula, the
#   logits must be made float32 first.) <!-- rule: loss_float32 -->
# - The backward pass runs outside of autocast, as PyTorch's notes ask for. <!-- rule: backward_outside -->
# - What is clipped to the global norm `max_norm` are the **unscaled** gradients (by torch's function, or by
#   yours). <!-- rule: clip -->
# - The update is that of `optimizer` with these gradients. If they overflow, perhaps with the loss, there is none: the scaler
#   sees to it. <!-- rule: update -->
# - The scale adapts after every step: that, too, is the scaler's business. <!-- rule: adapt -->
# - Weights and their gradients stay float32. <!-- rule: weights_float32 -->
# - The batch goes through the model once, with all its submodules in training mode. <!-- rule: training_mode -->
# - Old gradients in `.grad` have no effect, as in exercise 1. <!-- rule: fresh -->
# - It returns the unscaled loss as a Python float. <!-- rule: returns -->


# %% exercise="amp_step" minutes=25 difficulty=3
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    """One mixed-precision update with clipping; returns the mean cross-entropy before the update as a float."""
    ### BEGIN SOLUTION
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()
    ### END SOLUTION


# %% tests="amp_step" points=3
@check.shared
def mixed(step, plan, kind, came, stretch, scale, later, max_norm, leftover, optimiser, x, y):
    """Two calls of `step`, the second with the scale `later` (None: as it is): losses, changes of the weights, scales.

    The model doubles logits of another type than it should have, and gradients that come under autocast.
    """
    dtype = {"float16": torch.float16, "bfloat16": torch.bfloat16}[kind]

    def stretched(module, args, logits):
        """What overflows becomes minus infinity in all classes but the first: so a loss is infinite, and no NaN."""
        logits = logits * stretch * (1 + (logits.dtype != dtype))
        first = torch.arange(logits.shape[-1]) == 0
        return torch.where(logits.isposinf() | logits.isneginf() & first, logits.sign() * 6e4, logits)

    model = nn.Sequential(nn.Flatten(-2), cases.build(plan))
    if came != "as built":
        model.train(came == "training")
    parameters, passes, modes = list(model.parameters()), [], set()
    decay = 0.1 if optimiser == "weight decay, an unused parameter" else 0.0
    if decay:
        model.register_parameter("idle", nn.Parameter(torch.ones(2)))
        parameters.append(model.idle)
    groups = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.1}] if optimiser == "two groups" else parameters
    optimiser = torch.optim.SGD(groups, lr=0.5, momentum=0.9 if optimiser == "momentum" else 0.0, weight_decay=decay)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=2, enabled=kind == "float16")
    for p in model.parameters():
        p.grad = None if leftover is None else torch.full_like(p, leftover * scale)
        if p.requires_grad:
            p.register_hook(lambda gradient: gradient * (1 + torch.is_autocast_enabled("cpu")))
    if decay:
        model.idle.grad = torch.ones(2)
    model.register_forward_hook(stretched)
    model[0].register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    model.register_forward_pre_hook(lambda module, args: modes.update(part.training for part in module.modules()))
    torch.default_generator.manual_seed(1)
    seen = []
    for number in range(2):
        if number and later:
            scaler.load_state_dict({**scaler.state_dict(), "scale": later})
        passes.clear()
        modes.clear()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        loss = step(model, optimiser, scaler, x, y, dtype, max_norm)
        change = {name: p.detach() - before[name] for name, p in model.named_parameters()}
        types = sorted({str(p.dtype) for p in model.parameters()})
        state = {"loss": loss, "is a float": isinstance(loss, float), "types of the weights": types, "change of the weights": change}
        state |= {"scale": scaler.get_scale(), "samples in each forward pass": [*passes]}
        seen.append(state | {"all parts in training mode in the forward pass": False not in modes})
    return seen


@check.shared
def mixed_by_definition(model, optimiser, scaler, x, y, dtype, max_norm, mistake=""):
    """The step in its order, with gradients from `autograd.grad`; `mistake` names what it does wrong."""
    if mistake != "mode":
        model.train()
    scale = scaler.get_scale()
    if mistake == "twice":
        with torch.autocast("cpu", dtype=dtype):
            model(x)
    with torch.autocast("cpu", dtype=torch.bfloat16 if mistake == "default type" else dtype, enabled=mistake != "no autocast"):
        logits = model(x)
        loss = F.cross_entropy(logits.float(), y) if mistake != "outside" else None
    loss = F.cross_entropy(logits, y) if loss is None else loss
    wanted = [p for p in model.parameters() if p.requires_grad]
    old = [p.grad for p in wanted]
    uncleared = {id(p) for group in optimiser.param_groups[1:] for p in group["params"]} if mistake == "one group" else set()
    for p in model.parameters():
        p.grad = p.grad if id(p) in uncleared else None
    with torch.autocast("cpu", dtype=dtype, enabled=mistake == "backward"):
        slopes = torch.autograd.grad(scaler.scale(loss), wanted, allow_unused=True)
    for p, slope, before in zip(wanted, slopes, old):
        keeps = mistake == "uncleared" or id(p) in uncleared
        if slope is not None:
            p.grad = slope + before if keeps and before is not None else slope
        elif mistake == "zeros" and before is not None:
            p.grad = torch.zeros_like(p)
    if mistake == "not finite" and not math.isfinite(loss.item()):
        return loss.item()
    if mistake == "clipped scaled":
        nn.utils.clip_grad_norm_(wanted, max_norm)
    scaler.unscale_(optimiser)
    if mistake not in ("unclipped", "clipped scaled"):
        for some in [[p] for p in wanted] if mistake == "clipped alone" else [wanted]:
            nn.utils.clip_grad_norm_(some, max_norm)
    optimiser.step() if mistake == "past the scaler" else scaler.step(optimiser)
    if mistake != "no adapting":
        scaler.update()
    if mistake in ("scaled loss", "divided late"):
        return loss.item() * scale / (1 if mistake == "scaled loss" else scaler.get_scale())
    return loss.detach() if mistake == "tensor" else loss.item()


@check.scenario
def your_mixed_steps(*case):
    return mixed(amp_step, *case)


@check.scenario
def autocast_asked_for():
    """The devices for which autocast is asked where model and batch are on the device meta."""
    from unittest import mock

    asked = []

    def note(self, device_type, *args, **kwargs):
        asked.append(str(device_type))
        raise RuntimeError("there is no autocast on this device")

    model = nn.Linear(3, 2).to("meta")
    x, y = torch.zeros(4, 3, device="meta"), torch.zeros(4, dtype=torch.int64, device="meta")
    off = torch.amp.GradScaler("cpu", enabled=False)
    with mock.patch.object(torch.amp.autocast_mode.autocast, "__init__", note):
        try:
            amp_step(model, torch.optim.SGD(model.parameters(), lr=0.1), off, x, y, torch.bfloat16, 1.0)
        except RuntimeError:
            pass
    return asked[:1]


with check.exercise("amp_step"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    domain = {
        "plan": cases.module(6, "classes", ("nested", "linear", "tied", "frozen", "child in eval", "unused parameter")),
        "dtype": cases.choice("float16", "bfloat16"),
        "came": cases.choice("as built", "eval", "training"),
        "logits times": cases.choice(1.0, 1e6),  # too large for float16
        "scale": cases.choice(2.0**10, 2.0**4, 2.0**21, 2.0**30),  # the last ones overflow, in some entries or in all
        "scale in step 2": cases.choice(None, 2.0**30),
        "max_norm": cases.choice(0.1, 100.0),
        "leftover": cases.choice(2.0, math.nan, None),
        "optimizer": cases.choice("momentum", "SGD", "two groups", "weight decay, an unused parameter"),
        "x": cases.tensor("rows", 2, 3, dtypes=("float32",)),
        "y": cases.tensor("rows", dtypes=("int64",), below="classes"),
    }
    causes = {
        "old gradients were added: `zero_grad()` comes before `backward()`": "uncleared",
        "old gradients were cleared in the first parameter group alone: an optimizer may have several groups": "one group",
        "a parameter to which this batch gives no gradient was moved by weight decay: an old gradient becomes None, not zeros": "zeros",
        "loss or gradients are not finite here: then there is no update, and the scale halves, by `unscale_`, `scaler.step` and `scaler.update` as ever": "not finite",
        "the batch goes through the model once: one loss serves for `backward` and for the report": "twice",
        "each parameter's gradient was clipped on its own: the norm is one for all of them together": "clipped alone",
        "nothing was clipped: clip the gradients to max_norm after `unscale_` and before the step": "unclipped",
        "the gradients were clipped while still scaled, and the step is far too small: `unscale_` first": "clipped scaled",
        "`scaler.step(optimizer)` skips an update with infinite gradients; `optimizer.step()` does not": "past the scaler",
        "`scaler.update()` ends every step: it halves the scale after an overflow, and doubles it after some good steps": "no adapting",
        "the scaled loss was divided by the scale that `update()` had already changed: return the loss from before the scaling": "divided late",
        "the forward pass belongs inside `torch.autocast(device, dtype=dtype)` (this model doubles logits of another type)": "no autocast",
        "pass `dtype=dtype` to autocast: without it the device has its own default, bfloat16 on a CPU (this model doubles logits of another type)": "default type",
        "the cross-entropy was rounded to 16 bits: `F.cross_entropy` under autocast computes in float32; outside, or in another formula, `logits.float()` comes first": "outside",
        "the backward pass ran under autocast (gradients of this model are doubled then): leave the `with` block first": "backward",
        "return the loss itself, not the scaled one": "scaled loss",
        "take the number out with `.item()`": "tensor",
        "a part of the model was not in training mode: `model.train()` reaches all parts": "mode",
    }
    order = "order: training mode, clear, forward and loss under autocast, scale the loss, backward, unscale_, clip, scaler.step, scaler.update"
    overflow = "some gradients overflow here: then there is no update, and the scale halves. Both are the scaler's work: `unscale_` looks for infinities, `scaler.step` and `scaler.update` act on them"

    def guess(mistake, case, step, name):
        return lambda: mixed(functools.partial(mixed_by_definition, mistake=mistake), *case)[step][name]

    for case in cases.draw(seeds, domain, 4, rows=(1, 70), classes=(2, 12)):
        expected = mixed(mixed_by_definition, *case)
        observed = your_mixed_steps(*case)
        # Another formula for the loss may round otherwise in 16 bits: updates are compared to 3 %, the first loss exactly.
        tolerance = {"is a float": {}, "loss": {}, "types of the weights": {}, "change of the weights": {"rtol": 0.03}, "scale": {}}
        tolerance |= {"samples in each forward pass": {}, "all parts in training mode in the forward pass": {}}
        for step, name in itertools.product(range(2), tolerance):
            tolerance["loss"] = {"rtol": 0.03} if step else {"rtol": 2e-5, "atol": 1e-6}  # logits of size 1 are rounded
            came_with = (case["scale in step 2"] or expected[0]["scale"]) if step else case["scale"]
            halved = expected[step]["scale"] < came_with and case["dtype"] == "float16"
            hint = overflow if halved and name in ("change of the weights", "scale") else order
            what = f"{name} in step {step + 1} (of {case})"
            wrong = {text: guess(mistake, case, step, name) for text, mistake in causes.items()}
            check.equal(observed[step][name], expected[step][name], what, hint, causes=wrong, **tolerance[name])
    hint = "the device of `x` decides, not a constant"
    check.equal(autocast_asked_for(), ["meta"], "the device for which autocast is asked where model and batch are on the device meta", hint)


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Between `backward()` and the update the gradients are `scale` times too long. Who takes the factor out, and what
# must not happen before that?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# [Automatic mixed precision examples](https://docs.pytorch.org/docs/stable/notes/amp_examples.html), the section on
# working with unscaled gradients: `scaler.scale`, `scaler.unscale_`, `scaler.step`, `scaler.update`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# model.train()
# optimizer.zero_grad()
# with torch.autocast(x.device.type, dtype=dtype):
#     loss = ...
# scaler.scale(loss).backward()
# ...                                   # take the factor out of the gradients
# nn.utils.clip_grad_norm_(model.parameters(), max_norm)
# ...                                   # update, through the scaler
# ...                                   # let the scaler adapt
# return loss.item()
# ```
# </details>


# %% [markdown]
# #### What float16 loses, and what scaling saves
#
# The gradients of a network that has already learned are small. We compute them in float32 and count how many become
# zero when they are squeezed into float16, without and with a scale. Then your step trains in bfloat16 and in
# float16, beside float32.

# %%
model = make_model()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for _ in range(12):
    for x, y in make_loader():
        train_step(model, optimizer, x, y)
model.eval()
loss = F.cross_entropy(model(train_x[:400]), train_y[:400])
gradients = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
gradients = gradients[gradients != 0].abs()

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
for scale, colour in ((1, "C0"), (2**16, "C1")):
    lost = (scale * gradients).half() == 0
    label = f"times {scale}: {lost.float().mean():.2%} become zero"
    left.hist((scale * gradients).log10(), bins=60, range=(-9, 6), color=colour, alpha=0.7, label=label)
for edge, style in ((6e-8, "-"), (6.1e-5, ":"), (65504, "-")):
    left.axvline(math.log10(edge), color="C3", ls=style)
left.set(xlabel="log10 of a gradient's size; red: limits of float16", ylabel="number of weights")
left.legend(fontsize=8, loc="upper right")
left.set_ylim(0, 1.5 * left.get_ylim()[1])

device = torch.device(env.device)
ends = {}
for name, dtype, style in (
    ("float32", torch.float32, {"lw": 6, "alpha": 0.3}),
    ("bfloat16", torch.bfloat16, {"lw": 2.5, "color": "C1"}),
    ("float16, scaled", torch.float16, {"lw": 0.8, "color": "black"}),
):
    model = make_mlp().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    losses = []
    for x, y in (batch for _ in range(4) for batch in make_loader()):  # the same order each time: make_mlp sets the seed
        x, y = x.to(device), y.to(device)
        mixed = dtype != torch.float32
        losses.append(amp_step(model, optimizer, scaler, x, y, dtype, 10.0) if mixed else train_step(model, optimizer, x, y))
    right.plot(losses, **style, label=name)
    ends[name] = sum(losses[-30:]) / 30
right.set(xlabel="update", ylabel="training loss (nats)")
right.legend()
plt.show()
print("mean loss of the last epoch:", ", ".join(f"{name} {end:.3f}" for name, end in ends.items()))

# %% [markdown]
# Left, the red lines: 6e-8, the smallest number that float16 has at all; 6e-5 (dotted), the smallest with all its bits;
# 65,504, the largest. Without a scale the small gradients reach into the part where few bits are left, or none; the legend
# says how many are lost with and without a scale of 65,536. Right: three precisions on the same batches, drawn thick, thinner
# and thin because they all but cover each other; the line printed below the picture says how far apart they end. Whether
# mixed precision gains *time* depends on the device: a GPU with tensor cores gains, an ordinary CPU often loses (lesson 11
# measures it).

# %% [markdown]
# ## Part D · Can it stop?
#
# ### Exercise 6 · Checkpoint and resume (4 points, 40 minutes, difficulty 3 of 3)
#
# Free sessions end, spot machines vanish, batteries die. A checkpoint that brings back *the same curve* must hold
# everything that the next update depends on:
#
# | part | what happens without it |
# |---|---|
# | model (parameters and buffers) | starts again |
# | optimizer | momentum and Adam's averages start at zero: a bump in the loss |
# | scheduler | the rate starts its warm-up again |
# | random number generator | other dropout masks, another order of the data: a different run |
# | epochs done, losses so far | work is done twice, the history has a hole |
#
# **Task.** Write `fit(model, optimizer, scheduler, loader, epochs, path)`. `loader` gives the batches of one epoch each time it
# is iterated over, as many each time; it may shuffle, and may have no `len`. At each start the model (float32 or float64,
# nothing frozen), the optimizer and the scheduler (one of PyTorch's, with a `step()` of no argument) are newly made as at the
# first start, but with other weights, and torch's generator is in a state that nobody knows. `epochs` is 1 or more, and never
# below the number of finished epochs; `path` is a `Path`.
#
# - For each batch it makes one train step as in exercise 1 (call your `train_step`) and then one `scheduler.step()`, until
#   `epochs` epochs are done in all. <!-- rule: updates -->
# - After **each** epoch it writes a checkpoint to `path`, and the file alone is what a later start needs: it may have been
#   renamed or copied meanwhile. <!-- rule: checkpoint -->
# - If `path` exists at the start it goes on behind the last finished epoch. Finished epochs are not done again; the part of
#   an epoch after the last checkpoint is. <!-- rule: resume -->
# - A run whose `loader` broke off once or several times after its first checkpoint ends with *bit for bit* the same losses and
#   the same state dict of the model as one that was not interrupted; so does a start at which nothing is left to train. `fit`
#   neither seeds nor draws from torch's generator: where it goes on it puts back the state from the
#   checkpoint. <!-- rule: exact -->
# - Checkpoints are loaded with `weights_only=True`: one from elsewhere must not be able to run code. So they hold state
#   dicts, tensors, lists and plain numbers, no objects. <!-- rule: safe -->
# - It returns the loss of every update since the very first, as a list of Python floats. <!-- rule: returns -->
# - An exception of `loader` (such as `OSError`, `RuntimeError` or `KeyboardInterrupt`) reaches the caller as it
#   is. <!-- rule: interrupted -->
#
# Randomness here comes from torch's CPU generator alone. (With a GPU add `torch.cuda.get_rng_state_all()`; with NumPy
# or `random`, theirs.)


# %% exercise="fit" minutes=40 difficulty=3
def fit(model, optimizer, scheduler, loader, epochs, path):
    """Train until `epochs` epochs are done, with a checkpoint at `path` after each; go on from `path` if it exists. Returns all losses."""
    ### BEGIN SOLUTION
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "generator": torch.get_rng_state(),
            "losses": losses,
            "epoch": epoch + 1,
        }
        torch.save(state, path)
    return losses
    ### END SOLUTION


# %% tests="fit" points=4
@check.shared
def session(fit, kind, seed, samples, epochs, path, breaks_after):
    """A start with everything newly made from `seed`; the loader breaks off after so many batches (None: never).

    Its kinds: "SGD" and "SGD with warm restarts" in float32; "AdamW in float64", with two parameter groups, where somebody presses the stop button.
    """

    class Fragile:
        def __iter__(self):
            self.file = written()
            for batch in loader:
                if len(taken) == breaks_after:
                    raise interruption
                taken.append(1)
                yield batch

    def written():
        return Path(path).read_bytes() if Path(path).is_file() else None

    generator, taken = torch.Generator().manual_seed(samples), []
    errors = (KeyboardInterrupt,) if kind == "AdamW in float64" else (OSError, RuntimeError, ValueError)
    interruption = errors[(breaks_after or 0) // 5 % len(errors)]("the loader broke off")
    dtype = torch.float64 if kind == "AdamW in float64" else torch.float32
    data = TensorDataset(torch.randn(samples, 5, generator=generator, dtype=dtype), torch.randint(3, (samples,), generator=generator))
    loader = DataLoader(data, batch_size=6, shuffle=True)
    torch.default_generator.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.4), nn.Linear(12, 3)).eval().to(dtype)
    model.register_buffer("scratch", torch.zeros(2), persistent=False)  # no part of the state dict
    if kind == "AdamW in float64":
        optimizer = torch.optim.AdamW([{"params": model[0].parameters()}, {"params": model[1:].parameters(), "lr": 0.01}], lr=0.05)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.7)  # multiplies the rate that it finds
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=1000)
        if kind == "SGD with warm restarts":  # where it stands is more than a count of its steps
            scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 4, 2)
    seen, fragile = {"broke off with": type(interruption).__name__}, Fragile()
    try:
        losses = fit(model, optimizer, scheduler, fragile, epochs, Path(path))
        seen["are floats"] = type(losses) is list and all(isinstance(loss, float) for loss in losses)
        seen["losses"] = losses
    except BaseException as error:
        if interruption not in (error, error.__cause__, error.__context__):
            raise
        seen["as it is"] = error is interruption
        seen["file changed in the unfinished epoch"] = written() != fragile.file
    state = {name: value.clone() for name, value in model.state_dict().items()}
    return seen | {"batches used": len(taken), "steps of the scheduler": scheduler.last_epoch, "model": state}


@check.shared
def fit_by_definition(model, optimizer, scheduler, loader, epochs, path):
    """An unbroken run, without a checkpoint."""
    losses = []
    model.train()
    for x, y in (batch for _ in range(epochs) for batch in loader):
        loss = F.cross_entropy(model(x), y)
        for p, slope in zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters()))):
            p.grad = slope
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


@check.scenario
def your_session(*case):
    return session(fit, *case)


@check.scenario
def renamed(old, new):
    os.replace(old, new)


@check.scenario(clean=True)
def looked_into(path):
    """What a file is, seen where your code never was."""
    if not os.path.exists(path):
        return "there is no file"
    try:
        torch.load(path, weights_only=True)
        return "a checkpoint"
    except Exception as error:
        return "holds an object: " + " ".join(str(error).split("\n")[0].split())[:120]


@check.scenario
def poisoned(folder):
    """Whether `fit` runs what a foreign file wants to have run: it would make a folder."""

    class Poison:
        def __reduce__(self):
            return os.mkdir, (os.path.join(folder, "poisoned"),)

    path = Path(folder, "foreign.pt")
    torch.save({name: Poison() for name in ("model", "optimizer", "scheduler", "epoch")}, path)
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    try:
        fit(model, optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer), [(torch.ones(1, 2), torch.tensor([1]))], 1, path)
    except Exception:
        pass
    return os.path.exists(os.path.join(folder, "poisoned"))


def check_fit(kind, seed, samples, epochs, breaks, folder):
    """An unbroken run, and one that breaks off after each of `breaks` batches (None: at the end of its first epoch)."""
    each = -(-samples // 6)
    whole, broken = (os.path.join(folder, f"{name}-{kind.split()[0]}-{seed}-{samples}.pt") for name in ("whole", "broken"))
    what = f"{epochs} epochs of {each} batches ({kind})"
    expected = session(fit_by_definition, kind, seed, samples, epochs, "", None)
    got = your_session(kind, seed, samples, epochs, whole, None)
    check.equal(got["steps of the scheduler"], epochs * each, f"the steps of the scheduler in {what}", "one `scheduler.step()` after each update, not after each epoch")
    hint = "one train step for each batch, its loss as it is; writing a checkpoint must not disturb the run"
    rtol = 1e-6 if kind == "AdamW in float64" else 1e-4
    check.equal(got["losses"], expected["losses"], f"the losses of an unbroken run of {what}", hint, rtol=rtol)
    check.true(got["are floats"], "`fit` returns a list of Python floats: one of these losses is a tensor, or the list is no list.")
    said = looked_into(whole)
    check.true(said != "there is no file", "There is no file at `path` after the run: write a checkpoint after each epoch.")
    check.true(
        said == "a checkpoint",
        f"torch.load(path, weights_only=True) turns the checkpoint down: it {said}. Save state dicts, tensors, lists and plain numbers.",
    )

    done, other = 0, seed + 1000  # other weights, generator in another state
    unfinished = ""  # a hint, if this is what happened
    for first, stop in zip([True] + [False] * len(breaks), breaks):
        start = seed if first else (other := other + 1)
        part = your_session(kind, start, samples, 1 if stop is None else epochs, broken, stop)
        check.true(
            ("losses" in part) == (stop is None),
            f"The loader broke off after {stop} batches ({part['broke off with']}), but `fit` returned as if nothing had happened: let the exception through.",
        )
        check.true(part.get("as it is", True), f"The loader broke off after {stop} batches, and another exception reached the caller than the one that it raised: let it through as it is.")
        if part.get("file changed in the unfinished epoch"):
            unfinished = "the file at `path` changed in the middle of an epoch: a checkpoint holds the state at the end of a finished epoch, and no part of another"
        done += (each if stop is None else stop) // each
        check.true(
            looked_into(broken) == "a checkpoint",
            f"A run of {what} broke off when {done} epochs were done, and there is no checkpoint: write one after each epoch, not only at the end.",
        )
        renamed(broken, broken := broken.replace(".pt", "+.pt"))
    resumed = your_session(kind, other + 1, samples, epochs, broken, None)
    hint = "finished epochs are not done again: read the checkpoint if `path` exists, and go on at the epoch that it names"
    check.equal(
        resumed["batches used"], (epochs - done) * each, f"the number of batches used by the last start ({done} of {what} were done)", unfinished or hint
    )
    every = "each checkpoint holds all losses since the very first, also one that a later start writes"
    check.equal(len(resumed["losses"]), epochs * each, "the number of losses after the last start", unfinished or f"those from before the breaks come from the checkpoint: {every}")
    before, at = resumed["losses"][: done * each], done * each
    rounded = {"they were rounded to float32, as `torch.tensor(losses)` does: a list of Python floats keeps all digits": torch.tensor(got["losses"][:at]).tolist()}
    hint, start = "keep them in the checkpoint", (each if breaks[0] is None else breaks[0]) // each * each
    if before[:start] == got["losses"][:start]:
        hint = "those of the very first start are right, those after a resumption are not: is the state of the optimizer, the scheduler and the generator in the checkpoint?"
    check.equal(before, got["losses"][:at], "the losses from before the last break", hint, causes=rounded, rtol=0, atol=0)
    hint = "the weights, the order of the data and dropout must be as they were: is the state of the random number generator saved, and set again?"
    check.equal(resumed["losses"][at : at + 1], got["losses"][at : at + 1], "the first losses after the resumption (before any update)", unfinished or hint, rtol=0, atol=0)
    hint = "the updates differ: is the state of the optimizer and of the scheduler in the checkpoint?"
    check.equal(resumed["losses"][at + 1 :], got["losses"][at + 1 :], "the losses after the first resumed update", hint, rtol=0, atol=0)
    hint = "the state of the optimizer and of the scheduler, and the model's buffers (statistics of batch norm), belong into the checkpoint"
    check.equal(resumed["model"], got["model"], "the model after the last start", hint, rtol=0, atol=0)
    again = your_session(kind, 5, samples, epochs, broken, None)
    check.equal(again["batches used"], 0, "the number of batches used by a run that was already complete", "nothing is left to train")
    check.equal(again["losses"], got["losses"], "the losses of a run that was already complete", every, rtol=0, atol=0)
    hint = "it comes from the checkpoint, also where nothing is left to train"
    check.equal(again["model"], got["model"], "the model of a run that was already complete", hint, rtol=0, atol=0)


with check.exercise("fit"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    files = check.folder()
    for seed in seeds:
        check_fit("SGD", seed, 5, 2, [None], files)
        check_fit("AdamW in float64", seed, 23, 4, [10], files)
        check_fit("SGD with warm restarts", seed, 32, 5, [None, 3, 7, 12], files)
    check.true(
        not poisoned(files),
        "A checkpoint from elsewhere ran its own code while it was loaded: torch.load(path, weights_only=True).",
    )


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Go through one update and ask of each value: where does it come from? Whatever is not an argument made anew belongs
# into the checkpoint. *When* must the generator's state be taken, and when set, so that the next epoch shuffles as it
# would have?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `torch.save`, `torch.load(path, weights_only=True)`, `state_dict()` and `load_state_dict()` of model, optimizer and
# scheduler, `torch.get_rng_state()`, `torch.set_rng_state()`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# losses, done = [], 0
# if path.exists():
#     state = torch.load(path, weights_only=True)
#     model.load_state_dict(state["model"])
#     ...                               # the same for optimizer and scheduler; the generator
#     losses, done = state["losses"], state["epoch"]
# for epoch in range(done, epochs):
#     for x, y in loader:
#         losses.append(train_step(model, optimizer, x, y))
#         ...
#     torch.save({"model": model.state_dict(), ..., "epoch": epoch + 1}, path)
# return losses
# ```
# </details>


# %% [markdown]
# #### Claim: resumed equals unbroken
#
# Three runs of your `fit` on the digits: unbroken; stopped after two epochs and resumed with everything made anew; and, as a
# control, continued after the break from the weights alone. All of it from two starts; the picture shows the second.


# %%
def start_over(seed):
    """A new model, optimizer and schedule, as at the start of a session; `seed` also sets the generator."""
    model = make_model(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    torch.manual_seed(seed)
    return model, optimizer, make_schedule(optimizer, warmup=30, total=150)


loader, largest, apart = make_loader(), 0.0, math.inf
for seed in (0, 1):
    with tempfile.TemporaryDirectory() as folder:
        unbroken = fit(*start_over(seed), loader, 5, Path(folder, "unbroken.pt"))
        half = start_over(seed)
        fit(*half, loader, 2, Path(folder, "broken.pt"))  # the session ends after two epochs
        resumed = fit(*start_over(123), loader, 5, Path(folder, "broken.pt"))
        bare = start_over(123)
        bare[0].load_state_dict(half[0].state_dict())  # the weights alone; optimizer, schedule and generator are new
        weights_only = fit(*bare, loader, 3, Path(folder, "weights.pt"))
    largest = max(largest, *(abs(a - b) for a, b in zip(unbroken, resumed, strict=True)))
    apart = min(apart, max(abs(a - b) for a, b in zip(unbroken[60:], weights_only, strict=True)))

figure, axis = plt.subplots(figsize=(9, 3.2), layout="constrained")
axis.plot(unbroken, lw=4, alpha=0.35, label="unbroken")
axis.plot(resumed, lw=1, color="C3", label="resumed from your checkpoint")
axis.plot(range(60, 150), weights_only, lw=1, ls="--", color="C2", label="resumed from the weights alone")
axis.axvline(60, color="grey", ls=":", label="the break")
axis.set(xlabel="update", ylabel="training loss (nats)", yscale="log")
axis.legend()
plt.show()
claims.record(
    "a resumed run follows the unbroken curve exactly",
    claimed="identical",
    measured=f"largest difference of twice {len(unbroken)} losses: {largest:.0e} (from the weights alone at least {apart:.0e})",
    holds=largest == 0 and apart > 0,
)

# %% [markdown]
# From the weights alone the run goes on as well, but it warms up again, sees the data in another order and begins without
# momentum: it is another experiment.
#
# At work, write to another name first and rename it (`os.replace`): a session that ends *while* it writes must not
# leave half a file in place of a whole one. And keep more than one: the newest may be the one that has just gone
# wrong.

# %% [markdown]
# ### Exercise 7 · Early stopping (2 points, 10 minutes, difficulty 1 of 3)
#
# Training too long fits the noise. The validation loss tells when: keep the best weights, and stop after `patience`
# evaluations in a row without improvement.
#
# **Task.** Complete `EarlyStopping.step(loss, model)`, called after each evaluation. `loss` is the validation loss, a float
# (NaN and infinity may come); `patience` is a whole number from 1, `min_delta` a finite number from 0. The model is an
# `nn.Module` whose state dict holds tensors.
#
# - A loss is an **improvement** if it is below the best so far by **more than** `min_delta` (no loss comes where rounding would
#   decide). The best starts at infinity, so the first loss below that is an improvement; NaN never
#   is. <!-- rule: improvement -->
# - An improvement is remembered in `best`; other losses are not. <!-- rule: best -->
# - With it a **copy** of the model's state dict goes into `best_state`: training goes on and changes the weights and buffers
#   in place. It has the same values, bit for bit. <!-- rule: copy -->
# - `waited` counts the evaluations since the last improvement. <!-- rule: waited -->
# - `step` returns True when it is time to stop (`patience` evaluations in a row brought no improvement), else
#   False. <!-- rule: stop -->
# - Several instances do not disturb each other, and the model stays as it is: its state, the mode of each submodule,
#   `requires_grad` and `.grad` of each parameter. <!-- rule: own -->


# %% exercise="early_stopping" minutes=10 difficulty=1
class EarlyStopping:
    """Stops when the validation loss has not improved by more than `min_delta` for `patience` evaluations in a row."""

    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        """Take note of one evaluation; returns True if training should stop now."""
        ### BEGIN SOLUTION
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            self.best_state = copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        return self.waited >= self.patience
        ### END SOLUTION

    def restore(self, model):
        """Give `model` the weights of the best evaluation."""
        model.load_state_dict(self.best_state)


# %% tests="early_stopping" points=2
@check.shared
def replayed(stopping, losses, patience, min_delta):
    """Answers, best losses and counts while `losses` come; the model's weights and buffers tell the number of the evaluation.

    One weight has two names in the model, and one buffer is no part of its state dict. A second stopper sees the same losses
    doubled, in between.
    """
    stopper, other = (stopping(patience, min_delta) if min_delta else stopping(patience) for _ in range(2))
    model, another = (nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2), nn.Dropout(), nn.Linear(1, 2)).double() for _ in range(2))
    model[3].weight = model[0].weight
    model.register_buffer("scratch", torch.zeros(2), persistent=False)
    model[1].eval().bias.grad = torch.ones(2, dtype=torch.float64)
    model[0].weight.requires_grad_(False)
    seen = {"answers": [], "best": [], "waited": [], "there is a best_state": []}
    with torch.no_grad():
        for number, loss in enumerate(losses, 1):
            for value in model.state_dict().values():
                value.fill_(number + 1 / 3 if value.is_floating_point() else number)
            seen["answers"].append(stopper.step(loss, model))
            other.step(2 * loss - 1, another)
            seen["best"].append(stopper.best)
            seen["waited"].append(stopper.waited)
            seen["there is a best_state"].append(stopper.best_state is not None)
        seen["the model after the last step"] = {name: value.clone() for name, value in model.state_dict().items()}
        seen["modes"] = {name or "the model": part.training for name, part in model.named_modules()}
        seen["requires_grad"] = {name: p.requires_grad for name, p in model.named_parameters()}
        seen["gradients"] = {name: p.grad for name, p in model.named_parameters()}
        if stopper.best_state is not None:
            stopper.restore(model)
        seen["the model, restored"] = dict(model.state_dict())
    return seen


@check.scenario
def your_stopping(*case):
    return replayed(EarlyStopping, *case)


def stopping_by_definition(mistake=""):
    """A class that decides as the task says; `mistake` names what it does wrong."""

    class Stopping:
        def __init__(self, patience, min_delta=0.0):
            self.patience, self.min_delta = patience, min_delta
            self.best, self.best_state, self.waited = math.inf, None, 0

        def step(self, loss, model):
            if mistake == "not worse":
                improved = not loss >= self.best - self.min_delta
            elif mistake == "any":
                improved = loss < self.best
            elif mistake == "exactly":
                improved = loss <= self.best - self.min_delta
            else:
                improved = self.best - loss > self.min_delta
            self.waited = 0 if improved else self.waited + 1
            if mistake == "not in a row":
                self.waited = self.bad = getattr(self, "bad", 0) + (not improved)
            if improved or mistake == "last" or mistake == "smallest" and loss < self.best:
                self.best = loss
            if improved:
                self.best_state = model.state_dict() if mistake == "references" else copy.deepcopy(model.state_dict())
            if improved and mistake == "live buffers":
                self.best_state.update({name: value for name, value in model.state_dict().items() if name not in dict(model.named_parameters())})
            return self.waited > self.patience if mistake == "late" else self.waited >= self.patience

        def restore(self, model):
            model.load_state_dict(self.best_state)

    return Stopping


def curves(seed):
    """Losses (multiples of powers of 2: exact in binary), patience, min_delta: from short to long."""
    nan, inf = math.nan, math.inf
    yield from (([2.0], 1, 0.0), ([nan], 1, 0.0), ([3.0, 2.0, 2.5, 2.25, 2.125], 3, 0.0), ([2.0, 2.0], 1, 0.0))
    yield from (([2.0, 1.875, 1.75, 1.5], 2, 0.25), ([2.0, 2.5, 1.5, 1.75, 1.75], 2, 0.0), ([2.0, nan, nan, 1.0], 2, 0.0))
    yield from (([inf, nan, inf, 3.0, -inf, 2.0], 4, 0.5), ([-1.0, -2.0, -2.0], 5, 0.0), ([nan, inf, nan], 2, 0.0), ([0.0, 0.0, 0.125, -0.125], 2, 0.0))
    near = 1 - 2.0**-20
    yield from (([1.0, near], 1, 0.0), ([1.0, near, 1.0, near], 3, 0.0), ([1.0, near], 1, 2.0**-20), ([1.0, near], 1, 2.0**-21))
    random = itertools.count(seed)
    for length, patience, min_delta, unit in ((8, 1, 0, 0.125), (12, 2, 1, 0.125), (30, 4, 2, 2.0**-20), (60, 11, 0, 2.0**-20), (150, 60, 0, 0.125)):
        generator = torch.Generator().manual_seed(next(random))
        falling = torch.randint(-6, 7, (length,), generator=generator) - torch.arange(length) // 3
        losses = (falling.double() * unit + 5).tolist()
        losses[length // 2] = nan
        yield losses, patience, min_delta * unit


def described(losses, patience, min_delta):
    """A case, with words that stay short."""
    shown = f"{losses[:8]} and {len(losses) - 8} more" if len(losses) > 12 else str(losses)
    return cases.Case(
        {"losses": losses, "patience": patience, "min_delta": min_delta},
        {"losses": shown, "patience": str(patience), "min_delta": str(min_delta)},
    )


with check.exercise("early_stopping"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    causes = {
        "NaN is no improvement: every comparison with it is False, `>=` as well as `<`": "not worse",
        "an improvement must be larger than `min_delta`": "any",
        "below by more than `min_delta`: an equal loss is no improvement": "exactly",
        "an improvement sets the count back to 0": "not in a row",
        "`best` changes with an improvement alone: a loss is compared with the best so far that counted as one": "last",
        "`best` changes with an improvement alone, not with every smaller loss: a loss is compared with the best so far that counted as one": "smallest",
        "`state_dict()` holds references to the live weights: keep a deep copy, and only of the best": "references",
        "`best_state` holds references to the live buffers (batch norm's statistics): copy them like the weights": "live buffers",
        "stop at the last of `patience` evaluations in a row without improvement, not one later": "late",
    }
    check.agrees(
        your_stopping,
        functools.partial(replayed, stopping_by_definition()),
        (described(*curve) for seed in seeds for curve in curves(seed)),
        "an `EarlyStopping`",
        "best, best_state and waited change with an improvement, waited alone without one; two instances have nothing in common",
        causes={text: functools.partial(replayed, stopping_by_definition(mistake)) for text, mistake in causes.items()},
        rtol=0,
        atol=0,
    )


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Three things to remember: best loss, best weights, count. Which of them change in an improvement, which otherwise?
# What does a state dict point to?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `copy.deepcopy(model.state_dict())`. And: `math.nan < 1` is False, and so is `math.nan >= 1`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# if loss < ...:
#     self.best, self.waited = loss, 0
#     self.best_state = ...
# else:
#     ...
# return self.waited >= self.patience
# ```
# </details>


# %% [markdown]
# #### Watch it stop
#
# A wide network, 150 pictures, and one label in five drawn at random: a recipe for learning noise by heart.

# %%
generator = torch.Generator().manual_seed(1)
few_x, few_y = train_x[:150], train_y[:150].clone()
spoilt = torch.randperm(150, generator=generator)[:30]
few_y[spoilt] = torch.randint(10, (30,), generator=generator)
torch.manual_seed(0)
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 10))
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
stopper, stopped, curve = EarlyStopping(patience=6), None, []
loader = DataLoader(TensorDataset(few_x, few_y), batch_size=25, shuffle=True)
for epoch in range(60):
    train_loss = sum(train_step(model, optimizer, x, y) for x, y in loader) / len(loader)
    curve.append((train_loss, *evaluate(model, valid_loader)))
    if stopped is None and stopper.step(curve[-1][1], model):
        stopped = epoch  # a real run would end here; this one goes on to show what was spared
last = evaluate(model, valid_loader)
stopper.restore(model)
restored = evaluate(model, valid_loader)

figure, axis = plt.subplots(figsize=(8, 3.2))
axis.plot([c[0] for c in curve], label="training loss (with random labels)")
axis.plot([c[1] for c in curve], label="validation loss")
if stopped is not None:
    axis.axvline(stopped, color="grey", ls=":", label="stopped")
    axis.plot([c[1] for c in curve].index(stopper.best), stopper.best, "o", color="C3", label="best weights, kept")
axis.set(xlabel="epoch", ylabel="cross-entropy (nats)")
axis.legend()
plt.show()
print(
    f"best weights: loss {restored[0]:.2f}, accuracy {restored[1]:.0%}    after 60 epochs: loss {last[0]:.2f}, accuracy {last[1]:.0%}"
)

# %% [markdown]
# The validation loss you select by is no longer an honest estimate for new data: you chose the smallest of many.
# Report the result on a third set that took no part in the choice (lesson 10).

# %% [markdown]
# ## Part E · What is wrong with it?
#
# ### Exercise 8 · Write the tests (3 points, 30 minutes, difficulty 3 of 3)
#
# Wrong loops rarely crash. They learn, only worse. Here are a correct loop and five broken ones, as they are found in
# real projects; look at what their curves give away.


# %%
def epoch_with(bug=""):
    """A function train_epoch(model, optimizer, loader) -> float that has one bug, or none."""

    def train_epoch(model, optimizer, loader):
        if bug != "trains in the mode it finds":
            model.train()
        total, seen, means = 0.0, 0, []
        for x, y in loader:
            if bug == "drops the last, smaller batch" and seen and len(y) < seen / len(means):
                break
            if bug != "never clears the gradients":
                optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            if bug == "clears the gradients before the step":
                optimizer.zero_grad()
            optimizer.step()
            total, seen, means = total + loss.item() * len(y), seen + len(y), means + [loss.item()]
        return sum(means) / len(means) if bug == "averages batches instead of samples" else total / seen

    return train_epoch


bugs = (
    "never clears the gradients",
    "clears the gradients before the step",
    "averages batches instead of samples",
    "drops the last, smaller batch",
    "trains in the mode it finds",
)

figure, axis = plt.subplots(figsize=(8, 3.6))
for bug in ("", *bugs):
    model = make_model().eval()
    optimizer, train_epoch = torch.optim.SGD(model.parameters(), lr=0.2), epoch_with(bug)
    batches = list(zip(train_x[:600].split(175), train_y[:600].split(175)))  # 175, 175, 175 and 75 pictures
    curve = [train_epoch(model, optimizer, batches) for _ in range(20)]
    axis.plot(range(1, 21), curve, "" if bug else "k--", lw=1.2 if bug else 2.5, label=bug or "correct")
axis.set(xlabel="epoch", ylabel="reported training loss (nats)", xticks=range(0, 21, 5))
axis.legend(fontsize=8)
plt.show()

# %% [markdown]
# Look for yourself which of them the curve gives away: only the loop that never moves is plain to see from the start. Eyes
# are not enough; a test compares with what *must* come out.
#
# **Task.** Write `check_train_epoch(train_epoch)`. A colleague's `train_epoch(model, optimizer, loader)` promises this, for any
# `nn.Module` that gives logits, any optimizer of `torch.optim` whose `step()` needs no closure, and any iterable of one or more
# batches `(x, y)`, of unequal sizes:
#
# - It makes one update for each batch, in order, each with the mean cross-entropy of that batch. <!-- rule: updates -->
# - Gradients that lie in `.grad` beforehand have no effect; what lies there afterwards (also None) is nobody's
#   business. <!-- rule: fresh -->
# - The model and **all its submodules** are in training mode in every forward pass, in whatever mode they came, and stay
#   so. <!-- rule: mode -->
# - It returns a Python `float`: the mean over all **samples** of the loss before their update. <!-- rule: returns -->
#
# Your function gets such an implementation and tries it out.
#
# - It raises an error (use `assert`) if a promise is broken. What it returns is ignored. Each bug shows in one call with the
#   model and the list of batches from `small_case()` and plain SGD with one parameter group, once you have put gradients into
#   `.grad`. <!-- rule: raises -->
# - It raises nothing if all are kept. A correct implementation sends each batch through the model once, but may be written in
#   any way, so values differ by rounding: compare with `torch.testing.assert_close` or
#   `math.isclose(..., rel_tol=1e-4)`. <!-- rule: no_false_alarm -->
#
# `small_case()` gives you a model and three batches to try on. You are graded by the bugs you catch, among them some that are
# not shown; a false alarm earns nothing.


# %%
def small_case():
    """A small model with dropout off, in eval mode, and batches of 4, 4 and 2 samples."""
    torch.manual_seed(9)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Dropout(0.0), nn.Linear(5, 4)).eval()
    x, y = torch.randn(10, 3), torch.randint(4, (10,))
    return model, list(zip(x.split(4), y.split(4)))


# %% exercise="check_train_epoch" minutes=30 difficulty=3
def check_train_epoch(train_epoch):
    """Raise for an implementation of train_epoch(model, optimizer, loader) that breaks its promises; else return."""
    ### BEGIN SOLUTION
    model, batches = small_case()
    twin, modes = copy.deepcopy(model), []  # the twin is trained by the formula
    for part in model.modules():
        part.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    for p in model.parameters():
        p.grad = torch.ones_like(p)  # somebody else's leftovers
    total, seen = 0.0, 0
    for x, y in batches:
        loss = F.cross_entropy(twin(x), y)
        slopes = torch.autograd.grad(loss, list(twin.parameters()))
        with torch.no_grad():
            for p, slope in zip(twin.parameters(), slopes):
                p -= 0.5 * slope
        total += loss.item() * len(y)
        seen += len(y)

    result = train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.5), batches)
    assert isinstance(result, float), "the mean loss is not a float"
    assert math.isclose(result, total / seen, rel_tol=1e-4), "the mean is not that of all samples before their updates"
    for p, expected in zip(model.parameters(), twin.parameters()):
        torch.testing.assert_close(p, expected)
    assert all(modes), "a part of the model was not in training mode in a forward pass"
    assert all(part.training for part in model.modules()), "the model does not stay in training mode"
    ### END SOLUTION


# %% tests="check_train_epoch" points=3
@check.shared
def loop_of(implementation):
    """A train_epoch that carries out what `implementation` orders for the sizes of the batches."""

    def train_epoch(model, optimizer, loader):
        batches, losses, loss = list(loader), [], None
        orders, weights, kind = implementation([len(y) for _, y in batches])

        def forward(i, how):
            x, y = batches[i]
            logits = model(x)
            if how == "log_softmax":
                loss = nn.NLLLoss()(logits.log_softmax(-1), y)
            elif how == "sum in float64":
                loss = F.cross_entropy(logits.double(), y, reduction="sum")
            else:
                loss = F.cross_entropy(logits, y, reduction=how)
            losses.append(loss.item())
            return loss

        def closure():
            optimizer.zero_grad()
            loss = forward(*what)
            loss.backward()
            return loss

        for order, *what in orders:
            if order == "mode":
                model.train(*what)
            elif order == "flag":
                model.training = True
            elif order == "parts":
                for part in model.children():
                    part.train(*what)
            elif order == "part":
                [*model.modules()][what[0]].train(what[1])
            elif order == "forget":
                [*model.parameters()][what[0]].grad = None
            elif order == "clear":
                optimizer.zero_grad(*what)
            elif order == "forward":
                loss = forward(*what)
            elif order == "backward":
                (loss * what[0]).backward()
            elif order == "gradients":
                wanted = [p for p in model.parameters() if p.requires_grad]
                slopes = torch.autograd.grad(loss * what[0], wanted, allow_unused=True)
                model.zero_grad()
                for p, slope in zip(wanted, slopes):
                    p.grad = slope
            elif order == "closure":
                optimizer.step(closure)
            else:
                optimizer.step()
        mean = math.fsum(weight * loss for weight, loss in zip(weights, losses))
        return torch.tensor(mean) if kind == "tensor" else round(mean, 1) if kind == "rounded" else mean

    return train_epoch


@check.scenario
def your_checks(implementation):
    return check_train_epoch(loop_of(implementation))


CLEAR, FORWARD, BACKWARD, STEP = ("clear", True), ("forward", "i", "mean"), ("backward", 1.0), ("step",)


def loop(*each, first=(("mode", True),), last=(), batches=lambda sizes: range(len(sizes)), never_last="", only_last="", share="samples", kind="float"):
    """An implementation as data: for the sizes of the batches its orders, the weight of each loss, and the result's type.

    `each` holds the orders for a batch ("i": its number, "1/n": one over its size), `batches` tells which of them it takes, and
    `never_last` is an order that the last of them does not get, `only_last` one that the others do not get.
    """

    def implementation(sizes):
        taken = list(batches(sizes))
        orders = [
            (name, *({"i": i, "1/n": 1 / sizes[i]}.get(word, word) for word in words))
            for i in taken
            for name, *words in each
            if name != (never_last if i == taken[-1] else only_last)
        ]
        samples, forwards = sum(sizes[i] for i in taken), sum(name in ("forward", "closure") for name, *_ in each)
        weights = {
            "samples": [sizes[i] / samples for i in taken],
            "summed": [1 / samples for _ in taken],
            "batches": [1 / len(taken) for _ in taken],
            "first size": [sizes[0] / samples for _ in taken],
            "last": [float(i == taken[-1]) for i in taken],
            "nothing": [0.0 for _ in taken],
        }[share]
        seconds_only = [w for weight in weights for w in [0.0] * (forwards - 1) + [weight]]
        return [*first, *orders, *last], seconds_only, kind

    return implementation


with check.exercise("check_train_epoch"):
    right = {
        "the loop above": loop(CLEAR, FORWARD, BACKWARD, STEP),
        "gradients by hand": loop(("forward", "i", "sum in float64"), ("gradients", "1/n"), STEP, share="summed"),
        "sets gradients to None at the end": loop(("clear", False), ("forward", "i", "log_softmax"), BACKWARD, STEP, CLEAR),
    }
    wrong = {
        "never clears the gradients": loop(FORWARD, BACKWARD, STEP),
        "clears the gradients before the step": loop(CLEAR, FORWARD, BACKWARD, CLEAR, STEP),
        "averages batches instead of samples": loop(CLEAR, FORWARD, BACKWARD, STEP, share="batches"),
        "drops the last, smaller batch": loop(
            CLEAR, FORWARD, BACKWARD, STEP, batches=lambda sizes: [i for i, size in enumerate(sizes) if size == max(sizes)]
        ),
        "trains in the mode it finds": loop(CLEAR, FORWARD, BACKWARD, STEP, first=()),
    }
    ### BEGIN HIDDEN TESTS
    right |= {"steps with a closure": loop(("closure", "i", "mean"))}
    train, rest = ("mode", True), ("mode", False)
    wrong |= {
        "returns a tensor": loop(CLEAR, FORWARD, BACKWARD, STEP, kind="tensor"),
        "returns the last batch's loss": loop(CLEAR, FORWARD, BACKWARD, STEP, share="last"),
        "makes one update an epoch": loop(FORWARD, ("backward", 0.1), first=(train, CLEAR), last=(STEP,)),
        "clears the gradients once an epoch": loop(FORWARD, BACKWARD, STEP, first=(train, CLEAR)),
        "uses the first batch again and again": loop(CLEAR, FORWARD, BACKWARD, STEP, batches=lambda sizes: [0] * len(sizes)),
        "measures the loss after the update": loop(CLEAR, FORWARD, BACKWARD, STEP, FORWARD),
        "steps with the summed loss": loop(CLEAR, ("forward", "i", "sum"), BACKWARD, STEP, share="summed"),
        "counts every batch as large as the first": loop(CLEAR, FORWARD, BACKWARD, STEP, share="first size"),
        "makes the step before backward": loop(CLEAR, FORWARD, STEP, BACKWARD),
        "makes no update on the last batch": loop(CLEAR, FORWARD, BACKWARD, STEP, never_last="step"),
        "goes through the batches backwards": loop(CLEAR, FORWARD, BACKWARD, STEP, batches=lambda sizes: range(len(sizes))[::-1]),
        "clears only its own gradients, not those it finds": loop(FORWARD, BACKWARD, STEP, CLEAR),
        "trains in eval mode and switches to training mode at the end": loop(CLEAR, FORWARD, BACKWARD, STEP, first=(), last=(train,)),
        "is in training mode for the first batch only": loop(CLEAR, FORWARD, BACKWARD, STEP, rest, last=(train,)),
        "sets the flag of the model alone": loop(CLEAR, FORWARD, BACKWARD, STEP, first=(("flag",),)),
        "leaves the model in eval mode": loop(CLEAR, FORWARD, BACKWARD, STEP, last=(rest,)),
        "leaves the submodules in eval mode": loop(CLEAR, FORWARD, BACKWARD, STEP, last=(("parts", False),)),
        "has the submodules in training mode for the first batch only": loop(CLEAR, FORWARD, BACKWARD, STEP, ("parts", False), last=(train,)),
        "leaves out the first parameter in the last update": loop(CLEAR, FORWARD, BACKWARD, ("forget", 0), STEP, only_last="forget"),
        "leaves out the last parameter in the last update": loop(CLEAR, FORWARD, BACKWARD, ("forget", -1), STEP, only_last="forget"),
        "leaves out the third parameter in the last update": loop(CLEAR, FORWARD, BACKWARD, ("forget", 2), STEP, only_last="forget"),
        "makes steps that are 2 % too short": loop(CLEAR, FORWARD, ("backward", 0.98), STEP),
        "returns the mean rounded to one digit": loop(CLEAR, FORWARD, BACKWARD, STEP, kind="rounded"),
        "has the dropout in eval mode while it trains": loop(CLEAR, FORWARD, BACKWARD, STEP, first=(train, ("part", -2, False)), last=(train,)),
        "has the last layer in eval mode while it trains": loop(CLEAR, FORWARD, BACKWARD, STEP, first=(train, ("part", -1, False)), last=(train,)),
        "leaves the first layer in eval mode": loop(CLEAR, FORWARD, BACKWARD, STEP, last=(("part", -4, False),)),
        "does nothing and returns 0": loop(("mode", True), batches=lambda sizes: [0], share="nothing"),
    }
    ### END HIDDEN TESTS
    check.catches(your_checks, right, wrong, "your checks")
check.points(3)  # the number below: your points, of 3


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# The promises fix three things that you can observe: the weights after the epoch, the number returned, the mode in
# every forward pass and at the end, that of submodules too. For each: what must it be, computed without any training loop of the kind under
# test? And what could be there *before* the call that must make no difference?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `copy.deepcopy(model)` for a twin; `torch.autograd.grad(loss, list(twin.parameters()))` gives gradients without
# touching `p.grad`; with SGD one update is `p -= lr * slope`. `model.register_forward_pre_hook(function)` calls
# `function(module, args)` before every forward pass. `torch.testing.assert_close`, `math.isclose`, `isinstance`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# model, batches = small_case()
# twin, modes = copy.deepcopy(model), []
# for part in model.modules():
#     part.register_forward_pre_hook(lambda module, args: modes.append(module.training))
# ...                                   # leave some gradient in every p.grad of the model
# for x, y in batches:
#     loss = F.cross_entropy(twin(x), y)
#     slopes = torch.autograd.grad(loss, list(twin.parameters()))
#     ...                               # the same update by hand; add up loss * len(y)
# result = train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.5), batches)
# assert ...                            # the type, then the value of the result
# for p, expected in zip(model.parameters(), twin.parameters()):
#     torch.testing.assert_close(p, expected)
# assert ...                            # the modes, and the mode at the end
# ```
# </details>


# %% [markdown]
# ### Exercise 9 · The debug clinic (6 points, 40 minutes, difficulty 3 of 3)
#
# Four patients. For each: look at the symptom, name the cause, write the repaired function.

# %% [markdown]
# #### Patient 1: the loss falls, the model is no good
#
# "The training loss is nearly zero, and validation only gets worse." Here is the loop:


# %%
def broken_run(model, optimizer, loader, steps):
    losses = []
    for _ in range(steps):
        x, y = next(iter(loader))
        losses.append(train_step(model, optimizer, x, y))
    return losses


model = make_model()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loader, valid_curve, losses = make_loader(10, shuffle=False), [], []
for _ in range(8):
    losses += broken_run(model, optimizer, loader, 15)
    valid_curve.append(evaluate(model, valid_loader)[0])
figure, axis = plt.subplots(figsize=(8, 2.8))
axis.plot(losses, label="training loss")
axis.plot(range(15, 121, 15), valid_curve, "o-", label="validation loss")
axis.set(xlabel="update", ylabel="cross-entropy (nats)")
axis.legend()
plt.show()

# %% [markdown]
# #### Patient 2: NaN
#
# "After a few updates the loss is NaN, and it never comes back." The rate is too large; but on which rate is not
# known beforehand, and one bad batch in a long run can have the same effect. Once a weight is NaN, every later update
# is lost.


# %%
def broken_fit(model, optimizer, batches):
    return [train_step(model, optimizer, x, y) for x, y in batches]


model = make_mlp()
losses = broken_fit(model, torch.optim.SGD(model.parameters(), lr=10.0), make_loader(shuffle=False))
print("losses:", ", ".join(f"{loss:.2g}" for loss in losses[:12]), "...")
print(
    f"{sum(p.isnan().sum().item() for p in model.parameters())} of {sum(p.numel() for p in model.parameters())} weights are NaN"
)

# %% [markdown]
# #### Patient 3: device mismatch
#
# "Works on my laptop, fails on the GPU." You need no GPU to see it: PyTorch's `meta` device holds shapes and no
# values, and it complains just the same when tensors from two devices meet.


# %%
def broken_loss(model, x, y):
    """Cross-entropy in which class 9 weighs twice as much as class 0."""
    weight = torch.linspace(1, 2, 10)
    return F.cross_entropy(model(x), y, weight=weight)


model = make_model().to("meta")
for what, (x, y) in {
    "batch from the loader": (train_x[:4], train_y[:4]),
    "batch moved by the caller": (train_x[:4].to("meta"), train_y[:4].to("meta")),
}.items():
    try:
        broken_loss(model, x, y)
    except RuntimeError as error:
        print(f"{what}: {str(error).splitlines()[0][:120]}")

# %% [markdown]
# #### Patient 4: out of memory
#
# "CUDA out of memory", in the forward pass of a deep stack. Smaller batches help (exercise 4). Where even one sample
# is too much, the other cure is **activation checkpointing**: keep only the input of each block, and when the
# backward pass comes to a block, run its forward again. Memory is paid for with time. (Chen et al. 2016,
# [arXiv:1604.06174](https://arxiv.org/abs/1604.06174).)


# %%
class Block(nn.Module):
    """A residual block as in a transformer, without the attention: (batch, width) -> the same shape."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x):
        return x + self.dropout(self.down(F.gelu(self.up(self.norm(x)))))


def hungry_forward(blocks, x):
    """`x` through all blocks, one after the other."""
    for block in blocks:
        x = block(x)
    return x


torch.manual_seed(0)
blocks, x = nn.ModuleList(Block(128) for _ in range(12)), torch.randn(512, 128)
print(f"{activation_bytes(lambda: hungry_forward(blocks, x), blocks) / 1e6:.0f} MB of activations for 12 blocks")

# %% [markdown]
# **Task.** Write four functions. Each is checked, and earns a quarter of the points, on its own. Models, batches and optimizers
# are as in exercise 1.
#
# `run_steps(model, optimizer, loader, steps)`, for patient 1. `loader` can be iterated over again and again, and nothing else
# is sure: it may have no length. Each pass gives one batch or more, in an order of its own, and ends. `steps` is 1 or more.
#
# - It makes exactly `steps` updates, each a train step as in exercise 1 (you may call your `train_step`). <!-- rule: steps -->
# - Each takes the next batch of `loader`; when a pass is exhausted a **new pass** begins, so that it shuffles
#   anew. <!-- rule: passes -->
# - It returns the losses, a list of Python floats. <!-- rule: step_losses -->
#
# `guarded_fit(model, optimizer, batches, limit)`, for patient 2. `batches` is a list or a generator; `optimizer` is plain SGD,
# with one parameter group or more; `limit` is a finite number from 0.
#
# - It goes through `batches` once, and each batch goes through the model once, with all its submodules in training
#   mode. <!-- rule: guarded_once -->
# - A loss of at most `limit` is healthy: then, after the forward pass and before the update, it takes a **copy** of the model's
#   state dict (batch norm's statistics are in it, this batch's among them); then it updates as usual. <!-- rule: healthy -->
# - Any other loss (larger, or NaN) is a crash: no update; the model goes back to the **last copy**, which stays the last one
#   until a later loss is healthy, or, if there is none yet, to the state dict with which it came. <!-- rule: crash -->
# - A crash also halves the rate of every parameter group. <!-- rule: halved -->
# - Old gradients have no effect. <!-- rule: guarded_fresh -->
# - It returns the losses of all batches, crashes included, as a list of Python floats. <!-- rule: guarded_losses -->
#
# `weighted_loss(model, x, y)`, for patient 3. The model gives ten logits, in float32 and up to the thousands; all its
# parameters are on one device.
#
# - It returns what `broken_loss` returns where all is on the CPU, and gradients reach the model. <!-- rule: weighted -->
# - On whatever device the model's parameters live, and wherever the batch is, the loss is computed on the model's
#   device. <!-- rule: device -->
# - The model is not moved. <!-- rule: model_stays, reported -->
#
# `lean_forward(blocks, x)`, for patient 4. `blocks` is an `nn.ModuleList` of five `Block` or more, in training mode or not; `x`
# may require a gradient or not.
#
# - Result, gradients of the parameters, and the gradient of `x` where it requires one are those of `hungry_forward`, with
#   the same dropout. <!-- rule: same -->
# - Each block is checkpointed (`torch.utils.checkpoint`), in training mode or not; only the last one may be left out, for the
#   backward pass begins with it. At most 40 % of the bytes that `hungry_forward` keeps (`activation_bytes` counts them) are
#   kept for the backward pass. <!-- rule: memory, reported -->
# - Each is checkpointed on its own: in the backward pass one block at a time is open again, and no block runs more than
#   twice. <!-- rule: one_open, reported -->


# %% exercise="debug_clinic" minutes=40 difficulty=3
def run_steps(model, optimizer, loader, steps):
    """`steps` updates with one batch after the other, over as many passes as that takes; returns the losses."""
    ### BEGIN SOLUTION
    losses = []
    while len(losses) < steps:
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            if len(losses) == steps:
                break
    return losses
    ### END SOLUTION


def guarded_fit(model, optimizer, batches, limit):
    """One pass; a loss that is not at most `limit` rolls the model back and halves the rates. Returns the losses."""
    ### BEGIN SOLUTION
    model.train()
    losses, healthy = [], copy.deepcopy(model.state_dict())
    for x, y in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.item())
        if losses[-1] <= limit:
            healthy = copy.deepcopy(model.state_dict())
            loss.backward()
            optimizer.step()
        else:
            model.load_state_dict(healthy)
            for group in optimizer.param_groups:
                group["lr"] /= 2
    return losses
    ### END SOLUTION


def weighted_loss(model, x, y):
    """Cross-entropy with class weights from 1 to 2, on the device of the model's parameters."""
    ### BEGIN SOLUTION
    device = next(model.parameters()).device
    weight = torch.linspace(1, 2, 10, device=device)
    return F.cross_entropy(model(x.to(device)), y.to(device), weight=weight)
    ### END SOLUTION


def lean_forward(blocks, x):
    """As `hungry_forward`, but only the input of each block is kept for the backward pass."""
    ### BEGIN SOLUTION
    for block in blocks:
        x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)
    return x
    ### END SOLUTION


# %% tests="debug_clinic" points=6
@check.shared
def small_model(plan, came):
    model = nn.Sequential(nn.Flatten(-2), cases.build(plan)).double()
    return model if came == "as built" else model.train(came == "training")


@check.shared
def watched_passes(model):
    """What fills in each forward pass: how many samples went in, and the modes (`training`) of all parts that ever were."""
    samples, modes = [], set()
    model[0].register_forward_pre_hook(lambda module, args: samples.append(len(args[0])))
    model.register_forward_pre_hook(lambda module, args: modes.update(part.training for part in module.modules()))
    return samples, modes


@check.shared
def some_batch(number, classes, samples=4):
    generator = torch.Generator().manual_seed(number)
    x = torch.randn(samples, 2, 3, generator=generator, dtype=torch.float64)
    return x, torch.randint(classes, (samples,), generator=generator)


@check.shared
def updated(model, optimizer, loss, uncleared=()):
    """One update without `backward`: nothing that lies in `.grad` has a say (but in the groups `uncleared`)."""
    wanted = [p for p in model.parameters() if p.requires_grad]
    kept = {id(p): p.grad for group in uncleared for p in group["params"] if p.grad is not None}
    slopes = torch.autograd.grad(loss, wanted, allow_unused=True)
    for p in model.parameters():
        p.grad = kept.get(id(p))
    for p, slope in zip(wanted, slopes):
        if slope is not None:
            p.grad = slope + kept.get(id(p), 0)
    optimizer.step()


# ---- patient 1


@check.shared
def steps_made(run, plan, came, kind, leftover, passes, steps):
    """Losses and weights of a run over a loader whose passes give the batches with these numbers."""

    class Loader:
        begun = 0

        def __iter__(self):
            numbers = passes[self.begun % len(passes)]
            self.begun += 1
            return iter([some_batch(number, plan["outputs"]) for number in numbers])

    model = small_model(plan, came)
    forwards, modes = watched_passes(model)
    parameters = list(model.parameters())
    for p in parameters:
        p.grad = None if leftover is None else torch.full_like(p, leftover)
    groups = parameters if kind == "one group" else [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.02}]
    torch.default_generator.manual_seed(1)
    losses = run(model, torch.optim.SGD(groups, lr=0.1, momentum=0.5), Loader(), steps)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    seen = {"losses": losses, "are floats": all(isinstance(loss, float) for loss in losses), "weights": weights}
    seen["samples in each forward pass"] = forwards
    return seen | {"all parts in training mode in each forward pass": False not in modes}


@check.shared
def run_by_definition(model, optimizer, loader, steps, order=None):
    model.train()
    losses = []
    some = itertools.chain.from_iterable(loader for _ in itertools.count())
    if order == "first batch":
        some = (next(iter(loader)) for _ in itertools.count())
    if order == "first pass":
        some = itertools.cycle(loader)
    for x, y in itertools.islice(some, steps):
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.item())
        updated(model, optimizer, loss)
    return losses


@check.scenario
def your_run_steps(*case):
    return steps_made(run_steps, *case)


def patient_1():
    domain = {
        "plan": cases.module(6, "classes", ("nested", "linear", "with buffers", "child in eval", "frozen", "unused parameter")),
        "came": cases.choice("as built", "eval", "training"),
        "optimizer": cases.choice("one group", "two groups"),
        "leftover": cases.choice(9.0, math.nan, None),
        "batches of each pass": cases.choice([[1, 2, 3], [3, 1, 2], [2, 3, 1]], [[5]], [[5, 6], [6, 5, 7], [8]], [[*range(40)], [*range(39, -1, -1)]]),
        "steps": cases.size("steps"),
    }
    causes = {
        "`iter(loader)` begins a new pass: once a pass, not once a step": "first batch",
        "a new pass may come in a new order: this repeats the first": "first pass",
    }
    check.agrees(
        your_run_steps,
        functools.partial(steps_made, run_by_definition),
        cases.draw(seeds, domain, 3, classes=(2, 9), steps=(1, 45)),
        "`run_steps`",
        "one pass after the other, the next batch in each step; each step as in exercise 1: training mode, clear, one forward pass",
        causes={text: functools.partial(steps_made, functools.partial(run_by_definition, order=order)) for text, order in causes.items()},
    )


# ---- patient 2


@check.shared
def guarded(fit, plan, came, scales, limit, rates, leftover, seed):
    """What a run over a batch times each of `scales` returns and leaves behind."""
    model = small_model(plan, came)
    forwards, modes = watched_passes(model)
    groups = [{"params": part, "lr": rate} for part, rate in zip(([*model.parameters()][:-1], [*model.parameters()][-1:]), rates)]
    optimizer = torch.optim.SGD(groups)
    for p in model.parameters():
        p.grad = None if leftover is None else torch.full_like(p, leftover)
    x, y = some_batch(seed, plan["outputs"], 7)
    torch.default_generator.manual_seed(1)
    losses = fit(model, optimizer, ((x * scale, y) for scale in scales), limit)
    return {
        "are floats": all(isinstance(loss, float) for loss in losses),
        "losses": losses,
        "rates": [group["lr"] for group in optimizer.param_groups],
        "state of the model": {name: value.clone() for name, value in model.state_dict().items()},
        "samples in each forward pass": forwards,
        "all parts in training mode in each forward pass": False not in modes,
        "requires_grad": {name: p.requires_grad for name, p in model.named_parameters()},
    }


@check.shared
def guarded_by_definition(model, optimizer, batches, limit, mistake=""):
    """As the task says; `mistake` names what it does wrong."""

    def copied():
        return model.state_dict() if mistake == "references" else copy.deepcopy(model.state_dict())

    if mistake != "mode":
        model.train()
    losses, came = [], copied()
    healthy = came
    for x, y in batches:
        early = copied()
        if mistake == "twice":
            model(x)
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.item())
        well = not losses[-1] > limit if mistake == "nan" else math.isfinite(losses[-1]) if mistake == "finite" else losses[-1] <= limit
        if well or mistake == "updates always":
            healthy = early if mistake == "early copy" else copied()
            uncleared = optimizer.param_groups[{"uncleared": 0, "first cleared": 1}.get(mistake, 2) :]
            updated(model, optimizer, loss, uncleared)
            healthy = copied() if mistake == "late copy" else healthy
        if not well:
            if mistake == "no way back yet" and len(losses) == sum(not loss <= limit for loss in losses):
                healthy = model.state_dict()
            if mistake == "parameters":
                healthy = {**model.state_dict(), **{name: healthy[name] for name, _ in model.named_parameters()}}
            model.load_state_dict(healthy)
            healthy = came if mistake == "used up" else healthy
            for group in optimizer.param_groups[: 1 if mistake == "one group" else None]:
                group["lr"] /= 2
    return losses


@check.scenario
def your_guarded_fit(*case):
    return guarded(guarded_fit, *case)


def patient_2():
    nan, inf = math.nan, math.inf
    domain = {
        "plan": cases.module(6, "classes", ("with buffers", "nested", "linear", "tied", "frozen", "child in eval", "unused parameter")),
        "came": cases.choice("as built", "eval", "training"),
        "scales": cases.choice(
            [1, 1, nan, 1], [nan], [1, nan, nan, 1, 1], [nan, 1], [1, 40, 1, inf, 1, 1], [1] * 12, [3, -2, nan, 1, 5, -1, 8], [1, 1, nan, nan, 1]
        ),
        "limit": cases.choice(50.0, 0.0, 2.0, 1e9),
        "rates": cases.choice((0.4, 0.1), (0.05, 2.0), (1.5, 1.5)),
        "leftover": cases.choice(9.0, math.nan, None),
        "seed": cases.integer(1, 10**6),
    }
    one_class = {"kind": "linear", "inputs": 6, "outputs": 1, "seed": 3}  # its loss is exactly 0
    exact = (one_class, "eval", [1, 1], 0.0, (0.4, 0.1), None, 5)
    # Tells a copy of references (wrong here) from one that is lacking as long as no loss was healthy (right here).
    healthy_first = ({"kind": "with buffers", "inputs": 6, "outputs": 3, "seed": 3}, "as built", [1, nan], 50.0, (0.4, 0.1), None, 5)
    healthy_first = cases.Case(dict(zip(domain, healthy_first)), {"scales": "[1, nan]", "limit": "50.0"})
    far_off = ({"kind": "linear", "inputs": 6, "outputs": 5, "seed": 3}, "as built", [1, 1000, 1], 50.0, (0.4, 0.1), None, 5)
    far_off = cases.Case(dict(zip(domain, far_off)), {"scales": "[1, 1000, 1]", "limit": "50.0"})
    at_the_limit = cases.Case(dict(zip(domain, exact)), {"classes": "1", "limit": "0.0, which every loss reaches exactly"})
    causes = {
        "`loss > limit` is False for NaN, which is a crash all the same": "nan",
        "only NaN and infinity count as crashes here: so does every loss above the limit": "finite",
        "the copy holds what the update made of the model, which may be the harm: it is taken before the update, and is a deep copy": "late copy",
        "no loss was healthy before this crash, so there is no copy yet: the model goes back to the state in which it came": "no way back yet",
        "old gradients were added: clear them before `backward`": "uncleared",
        "old gradients were cleared in the first parameter group alone: clear them in every group": "first cleared",
        "the copy holds references to the live state, so there is nothing to go back to: is it a deep copy?": "references",
        "a copy can serve more than once: until a later loss is healthy it is the last one, also in the next crash": "used up",
        "the copy was taken before the forward pass: this batch's statistics are not in it": "early copy",
        "batch norm's statistics belong to the state too, and a bad batch spoils them": "parameters",
        "a crash makes no update": "updates always",
        "each crash halves the rate of every group": "one group",
        "a part of the model was not in training mode: `model.train()` reaches all parts": "mode",
        "each batch goes through the model once: its loss decides, and the same graph then serves for backward": "twice",
    }
    check.agrees(
        your_guarded_fit,
        functools.partial(guarded, guarded_by_definition),
        itertools.chain([at_the_limit, healthy_first, far_off], cases.draw(seeds, domain, 4, classes=(2, 9))),
        "`guarded_fit`",
        "forward; healthy: copy, then update; crash: back to the last copy, and halve",
        causes={text: functools.partial(guarded, functools.partial(guarded_by_definition, mistake=mistake)) for text, mistake in causes.items()},
    )


# ---- patient 3


@check.shared
def weighted(loss_of, mode, x, y, seed):
    """The loss on the CPU, and the gradient of the weights."""
    torch.default_generator.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(-3), nn.Dropout(0.3), nn.Linear(64, 10)).train(mode == "training")
    loss = loss_of(model, x, y)
    slope = torch.autograd.grad(loss, model[2].weight)[0] if loss.requires_grad else "no gradient reaches the model"
    return {"loss": loss.detach(), "gradient of the weights": slope}


@check.scenario
def your_weighted_loss(*case):
    return weighted(weighted_loss, *case)


@check.scenario
def weighted_elsewhere(samples, where):
    """Devices: of the loss, of the model's parameters and of their gradients, where the model is on `meta`."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).to("meta")
    loss = weighted_loss(model, torch.zeros(samples, 1, 8, 8, device=where), torch.zeros(samples, dtype=torch.int64, device=where))
    devices = [p.device.type for p in model.parameters()]
    if loss.requires_grad and devices == ["meta"] * 2:
        loss.backward()
    return loss.device.type, devices, [p.grad is not None and p.grad.device.type for p in model.parameters()]


def patient_3():
    def by_definition(mean, weights=lambda: torch.linspace(1, 2, 10)):
        def loss_of(model, x, y):
            each, shares = F.cross_entropy(model(x), y, reduction="none"), weights()[y]
            return mean(each, shares)

        return functools.partial(weighted, loss_of)

    def share(each, shares):
        return (each * shares).sum() / shares.sum()

    check.agrees(
        your_weighted_loss,
        by_definition(share),
        cases.draw(
            seeds,
            {
                "mode": cases.choice("eval", "training"),
                "x": cases.tensor("rows", 1, 8, 8, dtypes=("float32",)),
                "y": cases.tensor("rows", dtypes=("int64",), high=9),
                "seed": cases.integer(1, 99),
            },
            rows=(1, 70),
        ),
        "`weighted_loss` on the CPU",
        "weights from 1 for class 0 to 2 for class 9, and the model in the mode in which it comes, as in `broken_loss`",
        causes={
            "the classes have no weights": by_definition(lambda each, shares: each.mean()),
            "the weighted losses are divided by their number: `F.cross_entropy(..., weight=...)` divides by the sum of their weights": by_definition(
                lambda each, shares: (each * shares).mean()
            ),
            "class 0 weighs 1 and class 9 weighs 2, not the other way round": by_definition(share, lambda: torch.linspace(2, 1, 10)),
        },
    )
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        case = "eval", 1e4 * torch.randn(9, 1, 8, 8, generator=generator), torch.randint(10, (9,), generator=generator), seed
        hint = "the log of a softmax that is 0 is lost: `F.cross_entropy` and `log_softmax` take the logits themselves"
        what = "the loss of nine samples whose logits are in the thousands"
        check.equal(your_weighted_loss(*case)["loss"], by_definition(share)(*case)["loss"], what, hint, rtol=1e-4)
    for samples, where in ((1, "cpu"), (5, "meta"), (33, "cpu")):
        loss, model, gradients = weighted_elsewhere(samples, where)
        what = f"with the model on the device meta and a batch of {samples} on {where}"
        hint = "it may be far larger than the batch: move the batch, and what you make yourself"
        check.equal(model, ["meta"] * 2, f"the devices of the model's parameters {what}", hint)
        check.equal(loss, "meta", f"the device of the loss {what}", "everything goes to the device of the model's parameters")
        check.equal(gradients, ["meta"] * 2, f"the devices of the gradients {what}", "the loss must know the way back to the model")


# ---- patient 4


@check.shared
def passed_through(forward, width, count, samples, training, wants, seed):
    """The result and all gradients."""
    torch.default_generator.manual_seed(seed)
    blocks, x = nn.ModuleList(Block(width) for _ in range(count)).train(training), torch.randn(samples, width, requires_grad=wants)
    result = forward(blocks, x)
    if result.requires_grad:  # else no weight of a block would learn
        result.pow(3).mean().backward()
    gradients = {name: p.grad for name, p in blocks.named_parameters()}
    return {"requires a gradient": result.requires_grad, "result": result.detach(), "gradients": gradients, "gradient of x": x.grad}


@check.scenario
def your_lean_forward(*case):
    return passed_through(lean_forward, *case)


@check.scenario
def watched(width, count, samples, training, seed):
    """Bytes that both ways keep, runs of each block, and the most blocks whose activations exist at once in the backward pass."""
    torch.default_generator.manual_seed(seed)
    blocks, x = nn.ModuleList(Block(width) for _ in range(count)).train(training), torch.randn(samples, width)
    kept = [activation_bytes(lambda: forward(blocks, x), blocks) for forward in (hungry_forward, lean_forward)]
    runs, open_ones, most = [0] * count, set(), [0]

    def enter(number):
        runs[number] += 1
        if runs[number] == 2:
            open_ones.add(number)
            most.append(len(open_ones))

    for i, block in enumerate(blocks):
        block.register_forward_pre_hook(lambda module, args, i=i: enter(i))
        block.norm.weight.register_hook(lambda gradient, i=i: open_ones.discard(i))
    lean_forward(blocks, x).square().mean().backward()
    return kept, runs, max(most)


def patient_4():
    domain = {
        "width": cases.size("width"),
        "blocks": cases.size("blocks"),
        "samples": cases.size("samples"),
        "training": cases.choice(True, False),
        "x requires a gradient": cases.choice(False, True),
        "seed": cases.integer(1, 10**6),
    }
    check.agrees(
        your_lean_forward,
        functools.partial(passed_through, hungry_forward),
        cases.draw(seeds, domain, 3, width=(1, 40), blocks=(5, 9), samples=(1, 70)),
        "`lean_forward`",
        "checkpointing changes memory, not numbers: each block itself, with its input, use_reentrant=False, and the same dropout masks in both passes",
        rtol=1e-4,
    )
    for seed in seeds:
        for width, count, samples, training in ((24, 5, 33, True), (16, 9, 20, True), (20, 6, 25, False)):
            (hungry, lean), runs, most = watched(width, count, samples, training, seed)
            what = f"of {count} blocks in {'training' if training else 'eval'} mode ({hungry} without checkpoints)"
            check.between(lean, None, 0.4 * hungry, f"the bytes kept for the backward pass {what}", "is every block called through torch.utils.checkpoint.checkpoint?")
            once = [number for number, times in enumerate(runs[:-1], 1) if times < 2]
            hint = "without a checkpoint its activations exist from the forward pass on: only the last block may be left out"
            which = f"the numbers of the blocks before the last that did not run again in the backward pass, of {count} in {'training' if training else 'eval'} mode"
            check.equal(once, [], which, hint)
            check.true(max(runs) <= 2, f"The blocks ran {runs} times, forward and backward together; expected at most 2 each.")
            hint = "one checkpoint around all blocks brings everything back at once: checkpoint block by block"
            check.between(most, None, 1, "the number of blocks whose activations exist at once in the backward pass", hint)


with check.exercise("debug_clinic"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"patient 1": patient_1, "patient 2": patient_2, "patient 3": patient_3, "patient 4": patient_4})
check.points(6)  # the number below: your points, of 6


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# 1. What does `iter(loader)` do each time it is called? 2. Which comparison is False for NaN, and is that the branch
#    you want? When must the copy be taken: before or after the update?
# 3. Two things are on the wrong device, not one. 4. Which tensors does a block keep, and which would be enough to
#    compute them again?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# 1. Two nested loops: passes outside, batches inside. 2. `copy.deepcopy(model.state_dict())`,
#    `optimizer.param_groups`. 3. `next(model.parameters()).device`, `tensor.to(device)`, the `device=` argument of
#    factories. 4. `torch.utils.checkpoint.checkpoint(function, *inputs, use_reentrant=False)`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# # 1
# while len(losses) < steps:
#     for x, y in loader:
#         ...
# # 2
# losses, healthy = [], copy.deepcopy(model.state_dict())
# for x, y in batches:
#     optimizer.zero_grad()
#     loss = F.cross_entropy(model(x), y)
#     losses.append(loss.item())
#     if losses[-1] <= limit:
#         ...                           # copy, backward, step
#     else:
#         ...                           # back to the copy, halve the rates
# # 3
# device = next(model.parameters()).device
# weight = torch.linspace(1, 2, 10, device=...)
# # 4
# for block in blocks:
#     x = torch.utils.checkpoint.checkpoint(..., use_reentrant=False)
# ```
# </details>


# %% [markdown]
# #### The patients afterwards
#
# Patients 1 and 2 on the same batches as before, in the same order; patient 2 still starts with the absurd rate of 10.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
model = make_model()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
valid_curve = []


def judging(loader):
    """The batches of `loader`; judges the model after every 15th."""
    for number, batch in enumerate(loader):
        if number and number % 15 == 0:
            valid_curve.append(evaluate(model, valid_loader)[0])
        yield batch


losses = run_steps(model, optimizer, judging(make_loader(10, shuffle=False)), 120)
valid_curve.append(evaluate(model, valid_loader)[0])
left.plot(losses, lw=0.8, label="training loss")
left.plot(range(15, 121, 15), valid_curve, "o-", label="validation loss")
left.set(xlabel="update", ylabel="cross-entropy (nats)", title="patient 1, healed")
left.legend()

model = make_mlp()
optimizer = torch.optim.SGD(model.parameters(), lr=10.0)
used = []


def noting_the_rate(loader, passes):
    """The batches of several passes; notes the rate at which each is used."""
    for batch in (batch for _ in range(passes) for batch in loader):
        used.append(optimizer.param_groups[0]["lr"])
        yield batch


losses = guarded_fit(model, optimizer, noting_the_rate(make_loader(shuffle=False), passes=6), limit=2.5)
right.plot([min(loss, 1e3) if loss == loss else 1e3 for loss in losses], lw=0.8, label="loss of the batch (nats, cut at 1000)")
right.plot(used, color="C3", label="learning rate")
right.set(xlabel="update", ylabel="loss, rate", yscale="log", title="patient 2, healed")
right.legend()
plt.show()
print(f"patient 2: the rate of 10 became {used[-1]:g}; validation accuracy {evaluate(model, valid_loader)[1]:.0%}")

# %% [markdown]
# Patient 2 halves its rate until its losses stay below the limit; the line above says where that ended, and how well it then
# does. The guard is not a cure for everything: if the last copy was
# itself barely healthy, every batch after it crashes, and the rate is halved for ever. Long runs go further back: PaLM was
# restarted about 100 steps before a spike of the loss, and some hundred batches were skipped (Chowdhery et al. 2022,
# [arXiv:2204.02311](https://arxiv.org/abs/2204.02311), section 5.1).

# %% [markdown]
# #### Claim: checkpointing trades time for memory
#
# What is claimed: a stack of $n$ blocks needs memory for its $n$ block inputs and one open block instead of
# everything, for one more forward pass. A backward pass costs about two forward passes, so 3 become 4: about a third
# more time. We measure twelve blocks, with the cure of exercise 4 (four micro-batches) beside it.


# %%
def seconds_a_step(step, repeats=5):
    """CPU seconds of one call, the smallest of some: the others were disturbed."""
    taken = []
    for _ in range(repeats):
        begin = time.process_time()
        step()
        taken.append(time.process_time() - begin)
    return min(taken)


torch.manual_seed(0)
blocks, x = nn.ModuleList(Block(128) for _ in range(12)), torch.randn(512, 128)
ways = {
    "everything at once": (hungry_forward, 1),
    "four micro-batches": (hungry_forward, 4),
    "checkpointed": (lean_forward, 1),
    "checkpointed, four micro-batches": (lean_forward, 4),
}
cost = {}
for name, (forward, pieces) in ways.items():
    parts = [part.clone() for part in x.chunk(pieces)]
    memory = activation_bytes(lambda: forward(blocks, parts[0]), blocks)
    cost[name] = memory / 1e6, seconds_a_step(lambda: [forward(blocks, part).square().mean().backward() for part in parts])

figure, axis = plt.subplots(figsize=(7, 3.4))
for name, (memory, seconds) in cost.items():
    axis.plot(memory, 1000 * seconds, "o", ms=10, label=name)
axis.set(
    xlabel="activations kept for the backward pass (MB)",
    ylabel="time for forward and backward (ms)",
    xscale="log",
    ylim=(0, 1150 * max(seconds for _, seconds in cost.values())),
)
axis.legend(fontsize=8, loc="lower left")
plt.show()

(memory, seconds), (lean_memory, lean_seconds) = cost["everything at once"], cost["checkpointed"]
claims.record(
    "activation checkpointing trades time for memory",
    claimed="activations of one block instead of all; about 1/3 more time",
    measured=f"{memory / lean_memory:.0f}x fewer bytes kept, {lean_seconds / seconds - 1:+.0%} time",
    holds=memory / lean_memory > 4 and 1.1 < lean_seconds / seconds < 1.6,
)

# %% [markdown]
# The bytes kept between forward and backward fall by about the ratio of a block's activations to its input. During
# the backward pass one block at a time is open again; that comes on top. The time depends on what a block does: here
# matrix products dominate, and the extra forward is close to what arithmetic says; on small or memory-bound blocks it
# can be more or less.

# %% [markdown]
# ## Claims measured
#
# | claim | where |
# |---|---|
# | accumulation equals the big batch | exercise 4 |
# | a resumed run follows the unbroken curve exactly | exercise 6 |
# | activation checkpointing trades time for memory | exercise 9 |
#
# The table with your own figures stands below the last of them; `unit24 claims` prints it in a terminal.

# %% [markdown]
# ## On a bigger machine
#
# The same loop with a real language model: bfloat16 autocast where the GPU has it (float16 with a scaler where not,
# as on a T4), accumulation and checkpointing together. It runs with `UNIT24_TIER=hub` on a GPU.

# %%
if env.tier == "hub" and env.device == "cuda":
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name = env.model("chat")
    tokenizer, model = AutoTokenizer.from_pretrained(name), AutoModelForCausalLM.from_pretrained(name).to(env.device).train()
    tokens = tokenizer(
        ["The five steps of a training loop are clear, forward, loss, backward and step. "] * 16, return_tensors="pt"
    ).to(env.device)
    dtype = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    for checkpointing in (False, True):
        model.gradient_checkpointing_enable() if checkpointing else model.gradient_checkpointing_disable()
        for pieces in (1, 4):
            scaler = torch.amp.GradScaler("cuda", enabled=dtype == torch.float16)
            model.zero_grad()
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            begin, before = time.perf_counter(), torch.cuda.memory_allocated()
            for ids in tokens["input_ids"].chunk(pieces):
                with torch.autocast("cuda", dtype=dtype):
                    loss = model(input_ids=ids, labels=ids, use_cache=False).loss / pieces
                scaler.scale(loss).backward()
            torch.cuda.synchronize()
            peak = (torch.cuda.max_memory_allocated() - before) / 2**20
            print(
                f"checkpointing {checkpointing!s:5}, {pieces} micro-batches: {peak:6.0f} MB above the weights, {time.perf_counter() - begin:.2f} s"
            )
else:
    print("Skipped: this section needs a GPU and UNIT24_TIER=hub.")

# %% [markdown]
# ## Quiz
#
# Five questions, with feedback for every option. Nothing is graded.

# %% [markdown] quiz="training_loop"
# 1. The loss falls for three steps, then climbs faster and faster, although the rate is small. Which line is missing most likely?
# - [ ] `model.eval()` :: In eval mode dropout is off; the loss would not climb because of it.
# - [x] `optimizer.zero_grad()` :: Each step then follows the sum of all gradients so far, and the steps grow.
# - [ ] `torch.no_grad()` :: That belongs to evaluation. Around a training step it would stop learning altogether.
# - [ ] `loss.item()` :: Without it memory grows, but the steps are the same.
# 2. Micro-batches of 32, 32 and 8 samples are to equal one batch of 72. What multiplies the mean loss of the last one?
# - [ ] 1/3 :: That would give its 8 samples as much weight as the 32 of the others.
# - [ ] 1 :: Then the gradient is about three times too long.
# - [x] 8/72 :: Its share of the samples, so that every sample counts 1/72.
# - [ ] 1/72 :: The mean over 8 samples already has 1/8 in it: multiply by 8/72.
# 3. Why does float16 training scale the loss while bfloat16 training does not?
# - [x] float16 has few exponent bits, so small gradients become zero :: bfloat16 has float32's range, and pays for it with precision.
# - [ ] bfloat16 is more precise :: It is less precise: 8 bits of significand against 11.
# - [ ] Autocast computes bfloat16's gradients in float32 :: No: both types run the same products in 16 bits, forward and backward.
# - [ ] The scale makes the learning rate larger :: The gradients are divided by it before the update.
# 4. A resumed run starts at the right loss, but after the first update its curve leaves the old one. The order of the data is the same. What was forgotten?
# - [ ] The model's weights :: Then the first loss would already be wrong.
# - [ ] The random number generator :: Then dropout and order would differ in the first batch.
# - [x] The optimizer's state :: Momentum or Adam's averages begin at zero and the first update differs.
# - [ ] The list of losses :: The history would be short, the curve the same.
# 5. Activation checkpointing makes one thing worse. Which?
# - [ ] The precision of the gradients :: The second forward computes the same numbers, with the same dropout masks.
# - [x] The time of a step :: Each block's forward runs twice: about a third more.
# - [ ] The memory for the optimizer's state :: It is not touched; checkpointing is about activations.
# - [ ] The batch size that fits :: It grows, which is the point.

# %% [markdown]
# ## What to read next
#
# - [Automatic mixed precision examples](https://docs.pytorch.org/docs/stable/notes/amp_examples.html): accumulation,
#   clipping and several optimizers under a scaler.
# - [torch.utils.checkpoint](https://docs.pytorch.org/docs/stable/checkpoint.html): what is recomputed, and what
#   randomness costs.
# - [Reproducibility](https://docs.pytorch.org/docs/stable/notes/randomness.html) and
#   [serialization](https://docs.pytorch.org/docs/stable/notes/serialization.html): what "the same numbers" can mean,
#   and why `weights_only`.
# - [torch.optim](https://docs.pytorch.org/docs/stable/optim.html): every scheduler and hook used here.
# - [A recipe for training neural networks](https://karpathy.github.io/2019/04/25/recipe/) by Andrej Karpathy: how to
#   look for what fails silently.
# - Next: lesson 05 feeds this loop without starving it.
