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
# ```text
#              ┌──────────────────────── one update ─────────────────────────┐
#              │                                                             │
#   loader ──► │ 1 clear ──► 2 forward ──► 3 loss ──► 4 backward ──► 5 step  │ ──► next batch
#    (x, y)    │ old grads   model(x)      one number p.grad        weights  │
#              └──────▲───────────▲──────────▲─────────────▲───────────▲─────┘
#                     │           │          │             │           │
#               accumulation  autocast,   scaler.scale  clipping   schedule,
#                             checkpoint                           scaler.step
# ```
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

from unit24 import check, claims

# %% [markdown]
# ## The data and the model
#
# The digits that come with scikit-learn: 1,797 grey pictures of 8 x 8 pixels, ten classes. Small enough that every
# experiment below takes seconds, real enough that every effect shows. 1,200 pictures are for training and the
# other 597 for validation; the split is fixed. (`OnePass` is for the tests of exercises 1 and 2.)

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


class OnePass:
    """Gives `items` once, as a generator does, but a second pass is an error with a message instead of an empty loop."""

    def __init__(self, items, message):
        self.items, self.message, self.done = iter(items), message, False

    def __iter__(self):
        check.true(not self.done, self.message)
        return self

    def __next__(self):
        try:
            return next(self.items)
        except StopIteration:
            self.done = True
            raise


figure, axes = plt.subplots(1, 10, figsize=(9, 1.3))
for axis, picture, label in zip(axes, train_x, train_y):
    axis.imshow(picture[0], cmap="gray_r")
    axis.set_title(f"label {label}", fontsize=8)
    axis.set_axis_off()
plt.show()


# %% [markdown]
# # Part A · Does it learn?
#
# ## 1 · Train and evaluate (4 points, 25 minutes, difficulty 1 of 3)
#
# **Training.** `loss.backward()` does not *set* gradients, it **adds** to what is already in `p.grad`. That is useful
# (you will need it in part C) and the most common bug in training loops: whoever does not clear the gradients walks
# along the sum of all gradients so far.
#
# **Evaluating.** A validation loss must be a fact about the model, not about the batches or the moment. Four things
# spoil it: dropout and batch norm still in training mode, a last batch that is smaller but counts as much as the
# others, memory spent on graphs that nobody will use, and a model that comes back in another mode than it went in.
#
# **Task.** Write two functions. In both, `x` is float32 of shape `(batch, ...)`, `y` is int64 of shape `(batch,)`, and
# the model returns logits of shape `(batch, classes)`. Each function is checked, and earns its points, on its own.
#
# `train_step(model, optimizer, x, y)` makes one update on one batch with the mean cross-entropy:
#
# - The model is in **training mode** during the step, in whatever mode it came. (`model.train()` does that for all its
#   submodules; one that somebody froze in eval mode on purpose need not stay so.)
# - Gradients that are left over from anything earlier, inside or outside this function, must have no effect.
# - Return the loss of this batch **before** the update, as a Python `float`.
#
# `evaluate(model, loader)` judges the model. `loader` is anything that gives batches `(x, y)` of unequal sizes: a
# `DataLoader`, a list, a generator. It is passed over once.
#
# - Return `(loss, accuracy)`: two Python floats, the mean cross-entropy **over all samples** and the share of samples
#   whose largest logit is at the label (0 to 1).
# - Dropout and batch norm behave as at use time; no gradient is recorded.
# - Afterwards the model is in the mode in which it came: `model.training` decides for all submodules.


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


# %% tests="train_and_evaluate" points=4
def why_the_loss_differs(observed, logits, y, later):
    """The usual cause of a wrong loss: the first guess that gives the same number."""
    guesses = {
        "it is the loss of all samples added up: take the mean": F.cross_entropy(logits, y, reduction="sum").item(),
        "it is a softmax of a softmax: cross_entropy takes raw logits": F.cross_entropy(logits.softmax(1), y).item(),
        "it is the loss after the update: take the number of the forward pass before optimizer.step()": later,
    }
    matching = (cause for cause, number in guesses.items() if math.isclose(observed, number, rel_tol=1e-4))
    return next(matching, "it is the mean cross-entropy of this batch, from raw logits, before the update")


def check_train_step():
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    x, y = torch.randn(11, 5), torch.randint(3, (11,))
    twin = copy.deepcopy(model)  # takes the same steps by the formula w - rate * gradient
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for step in (1, 2, 3):
        logits = twin(x)
        loss = F.cross_entropy(logits, y)
        slopes = torch.autograd.grad(loss, list(twin.parameters()), retain_graph=True)
        before = copy.deepcopy(model.state_dict())
        observed = train_step(model, optimizer, x, y)
        check.kind(
            observed,
            float,
            f"the loss of step {step}",
            "A tensor would keep the whole graph of the step alive: `.item()` takes the number out",
        )
        check.equal(
            observed,
            loss.item(),
            f"the loss of step {step}",
            why_the_loss_differs(observed, logits.detach(), y, F.cross_entropy(model(x), y).item()),
        )
        check.true(
            not torch.equal(model[0].weight, before["0.weight"]),
            f"step {step} moved no weight. Does optimizer.step() run, and after backward(), while the gradients are still there?",
        )
        for (name, weight), expected, slope in zip(model.named_parameters(), twin.parameters(), slopes):
            with torch.no_grad():
                expected -= 0.5 * slope
            check.equal(
                weight.detach(),
                expected.detach(),
                f"{name} after step {step}",
                "backward() adds to what is in p.grad: are old gradients cleared in every step?"
                if step > 1
                else "one step of SGD is w - rate * gradient",
            )

    for weight in model.parameters():
        weight.grad = torch.full_like(weight, 100.0)  # somebody else's leftovers
    before = copy.deepcopy(model.state_dict())
    train_step(model, optimizer, x, y)
    moved = (model[0].weight - before["0.weight"]).abs().max().item()
    check.between(
        moved,
        0,
        5,
        "the largest move of a weight with old gradients of 100 in p.grad",
        "clear gradients before backward(), not only at the end of your own step",
    )

    model = nn.Sequential(nn.Linear(5, 40), nn.Dropout(0.5), nn.Linear(40, 3)).eval()
    modes = []
    model.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    train_step(model, torch.optim.SGD(model.parameters(), lr=0.1), x, y)
    check.equal(
        modes,
        [True],
        "model.training at each call of the model",
        "one forward pass, in training mode: an evaluation just before may have left the model in eval mode",
    )
    ### BEGIN HIDDEN TESTS
    torch.manual_seed(8)
    model = nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 4))
    model[0].bias.requires_grad_(False)
    twin = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.3)
    other = torch.optim.AdamW(twin.parameters(), lr=0.02, weight_decay=0.3)
    taken = []
    optimizer.register_step_post_hook(lambda *args: taken.append(1))
    for step in (1, 2, 3):
        x, y = torch.randn(13, 6) * step, torch.randint(4, (13,))
        loss = F.cross_entropy(twin(x), y)
        for weight, slope in zip(
            [p for p in twin.parameters() if p.requires_grad],
            torch.autograd.grad(loss, [p for p in twin.parameters() if p.requires_grad]),
        ):
            weight.grad = slope
        other.step()
        check.equal(
            train_step(model, optimizer, x, y),
            loss.item(),
            f"the loss of step {step} with AdamW",
            "it is the mean over the batch, before the update",
        )
        for (name, value), expected in zip(model.state_dict().items(), twin.state_dict().values()):
            check.equal(value, expected, f"{name} after step {step} with AdamW and a frozen bias", rtol=1e-4)
    check.equal(len(taken), 3, "the number of optimizer steps in three calls", "one call is one update")
    ### END HIDDEN TESTS


def expected_scores(model, batches):
    """Loss and accuracy in one piece, on all samples at once."""
    quiet = copy.deepcopy(model).eval()
    x, y = (torch.cat(parts) for parts in zip(*batches))
    logits = quiet(x).detach()
    return F.cross_entropy(logits, y).item(), (logits.argmax(1) == y).double().mean().item()


def check_evaluate():
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
    x, y = torch.randn(10, 4), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 2])
    x[8:] *= 9  # the last batch is small and different
    batches = [(x[:4], y[:4]), (x[4:8], y[4:8]), (x[8:], y[8:])]
    watched = []
    model[1].register_forward_pre_hook(lambda module, args: watched.append((module.training, torch.is_grad_enabled())))
    expected = expected_scores(model, batches)
    before = copy.deepcopy(model.state_dict())
    watched.clear()
    once = "evaluate passed over the loader a second time. A generator gives nothing then: count what you need in one loop."
    observed = evaluate(model.train(), OnePass(batches, once))

    check.kind(observed, tuple, "what evaluate returns")
    check.equal(len(observed), 2, "the number of results")
    for value, name in zip(observed, ("the loss", "the accuracy")):
        check.kind(value, float, name, "take the number out with `.item()`")
    check.true(
        len(watched) > 0 and not any(training for training, _ in watched),
        "the model was in training mode while it was judged. Dropout then throws activations away: model.eval() comes first.",
    )
    check.true(
        not any(grad for _, grad in watched),
        "autograd recorded the evaluation. Use torch.no_grad() or torch.inference_mode(): the graph costs memory and nobody needs it.",
    )
    check.equal(
        observed[0],
        expected[0],
        "the loss",
        "every sample counts the same: a mean of batch means gives the 2 samples of the last batch double weight",
    )
    check.equal(observed[1], expected[1], "the accuracy", "right answers divided by all answers, over all samples")
    check.true(
        model.training and model[3].training,
        "the model came in training mode and left in eval mode: dropout would be off for the rest of the training.",
    )
    check.equal(
        model.state_dict(),
        before,
        "the model's weights and buffers after evaluate",
        "evaluation only looks; batch norm updates its statistics in training mode",
    )
    evaluate(model.eval(), batches)
    check.true(not model.training, "the model came in eval mode and left in training mode: put it back as it was.")
    ### BEGIN HIDDEN TESTS
    torch.manual_seed(6)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Dropout(0.3))
    x, y = torch.randn(12, 2, 3) * 4, torch.randint(5, (12,))
    batches = [(x[:7], y[:7]), (x[7:8], y[7:8]), (x[8:], y[8:])]
    expected = expected_scores(model, batches)
    observed = evaluate(model, (batch for batch in batches))
    check.equal(observed[0], expected[0], "the loss over batches of 7, 1 and 4", "every sample counts the same")
    check.equal(observed[1], expected[1], "the accuracy over batches of 7, 1 and 4")
    check.true(all(p.grad is None for p in model.parameters()), "evaluation left gradients behind.")
    ### END HIDDEN TESTS


with check.exercise("train_and_evaluate"):
    check.parts({"train_step": check_train_step, "evaluate": check_evaluate})
check.points(4)  # the number below: your points, of 4


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# `train_step`: follow the diagram at the top from left to right. What is in `p.grad` when your function is called for
# the second time?
#
# `evaluate`: two switches are not the same. `eval()` changes what layers do, `no_grad()` changes what autograd records;
# you need both. And what must you add up, batch by batch, so that one division at the end is right?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `model.train()`, `optimizer.zero_grad()`, `F.cross_entropy(logits, targets)`, `loss.backward()`, `optimizer.step()`,
# `loss.item()`; and `model.training`, `model.eval()`, `model.train(mode)`, `torch.no_grad()`,
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
# was_training = model.training
# ...
# with torch.no_grad():
#     for x, y in loader:
#         logits = model(x)
#         loss += F.cross_entropy(logits, y, reduction="sum").item()
#         right += ...
#         seen += len(y)
# ...                                   # back to the mode it came in
# return loss / seen, right / seen
# ```
# </details>


# %% [markdown]
# ### Watch it learn
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
# The training curve trembles, since each point is another batch and dropout is on; the validation curve is smooth.
# It may lie *below* the training curve: dropout handicaps only the latter.

# %% [markdown]
# # Part B · Does it stay stable?
#
# ## 2 · Gradient clipping (2 points, 10 minutes, difficulty 2 of 3)
#
# Now and then one batch has a gradient a hundred times larger than usual, and one step along it undoes an epoch.
# Clipping by **global norm** keeps the direction and limits the length: all gradients together are one long vector
# $g$, and
#
# $$g \leftarrow g \cdot \min\left(1, \frac{c}{\lVert g \rVert_2}\right), \qquad \lVert g \rVert_2 = \sqrt{\textstyle\sum_p \sum_i g_{p,i}^2}$$
#
# One factor for all parameters: clipping each tensor on its own would turn the vector. (Pascanu, Mikolov and Bengio
# 2013, [arXiv:1211.5063](https://arxiv.org/abs/1211.5063).)
#
# **Task.** Write `clip_gradients(parameters, max_norm)` by hand; the tests hold it against
# `torch.nn.utils.clip_grad_norm_`, which is out of reach meanwhile.
#
# - `parameters` is any iterable of parameters, such as the generator `model.parameters()`; some have `grad` None.
# - Change the gradients **in place**: the tensor in `p.grad` stays the same tensor. Others may hold it too, such as the
#   buckets of data-parallel training.
# - Gradients with a global norm up to `max_norm` stay as they are, those that are all zero included: mind what you
#   divide by.
# - Return the global norm **before** clipping (a float or a tensor without axes): that is the figure to log.


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
from unittest import mock


def check_clipping(shapes, scales, max_norm, seed, what):
    """Random gradients of some scales (None: no gradient), clipped by the student's function and by torch's."""
    torch.manual_seed(seed)
    ours = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    for p, scale in zip(ours, scales):
        p.grad = None if scale is None else torch.randn(p.shape) * scale
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    for p, q in zip(ours, theirs):
        q.grad = None if p.grad is None else p.grad.clone()
    before = {i: p.grad.clone() for i, p in enumerate(ours) if p.grad is not None}
    views = {i: ours[i].grad.view(-1) for i in before}  # what another owner of the same memory sees
    expected_norm = torch.nn.utils.clip_grad_norm_(theirs, max_norm)
    forbidden = AssertionError("torch's own clip_grad_norm_ is out of reach here: write it by hand")
    once = "clip_gradients walks through `parameters` a second time. A generator is empty then: keep a list of what you need."
    with mock.patch.object(torch.nn.utils, "clip_grad_norm_", side_effect=forbidden):
        norm = clip_gradients(OnePass(ours, once), max_norm)

    check.true(norm is not None, "clip_gradients returns nothing: return the global norm from before the clipping.")
    check.kind(norm, (float, torch.Tensor), "the returned norm")
    if isinstance(norm, torch.Tensor):
        check.shape(norm, (), "the returned norm", "a tensor without axes is one number, one of shape (1,) is a list of one")
    check.equal(
        float(norm),
        float(expected_norm),
        f"the returned norm of {what}",
        "it is the root of the sum of all squares, over all parameters together, before clipping",
    )
    check.true(
        all(p.grad is None for i, p in enumerate(ours) if i not in before),
        "a parameter without a gradient got one: leave it as None.",
    )
    after = {i: ours[i].grad for i in before}
    check.true(all(g is not None for g in after.values()), "a gradient is gone (None) after the clipping.")
    if expected_norm > max_norm:
        check.true(
            not all(torch.equal(after[i], before[i]) for i in before),
            f"the gradients of {what} are unchanged. `g = g * factor` makes a new tensor; `g.mul_(factor)` changes the one that is there.",
        )
        old, new = (torch.cat([g.flatten() for g in gradients.values()]) for gradients in (before, after))
        check.true(
            F.cosine_similarity(old, new, dim=0).item() > 1 - 1e-5,
            f"clipping turns the vector of all gradients of {what}. One common factor, max_norm / global norm, keeps its "
            "direction; clipping each tensor or each value on its own does not.",
        )
    for i in before:
        check.equal(
            after[i],
            theirs[i].grad,
            f"gradient {i} of {what}",
            "one common factor max_norm / norm for all of them"
            if expected_norm > max_norm
            else "zero divided by zero is NaN: look at what you divide by"
            if expected_norm == 0
            else "gradients within the limit stay as they are: the factor is at most 1",
            rtol=2e-5,
        )
        check.equal(
            views[i],
            theirs[i].grad.view(-1),
            f"gradient {i} of {what}, seen by another owner of the tensor,",
            "not in place: p.grad is a new tensor now. Change the one that is there, with mul_",
            rtol=2e-5,
        )


with check.exercise("clip_gradients"):
    shapes = [(5, 3), (7,), (4, 2, 3)]
    check_clipping(shapes, (3.0, None, 1.5), 2.0, 1, "long gradients")
    check_clipping(shapes, (0.01, None, 0.02), 2.0, 1, "short gradients")
    check_clipping(shapes, (0.0, None, 0.0), 2.0, 1, "zero gradients")
    ### BEGIN HIDDEN TESTS
    shapes = [(3, 5), (11,), (1,), (2, 2)]
    check_clipping(shapes, (40.0, 0.3, 2.0, None), 0.5, 2, "very unequal gradients (max_norm 0.5)")
    check_clipping(shapes, (None, 1e-3, 1e-3, 1e-3), 1.0, 3, "tiny gradients (max_norm 1)")
    check_clipping(shapes, (5.0, 5.0, 5.0, 5.0), 30.0, 4, "gradients of size 5 (max_norm 30)")
    check_clipping([(4,), (2, 3)], (0.0, 0.0), 1.0, 5, "zero gradients (max_norm 1)")
    ### END HIDDEN TESTS

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
# ### Why it is worth a line
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


def train_reader(max_norm):
    """Losses and gradient norms (before clipping) of four epochs at a high rate."""
    torch.manual_seed(0)
    model, norms = RowReader(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.register_step_pre_hook(lambda *args: norms.append(float(clip_gradients(model.parameters(), max_norm))))
    loader = make_loader()
    return [train_step(model, optimizer, x, y) for _ in range(4) for x, y in loader], norms


figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
for name, max_norm in (("no clipping", math.inf), ("clipped to norm 1", 1.0)):
    losses, norms = train_reader(max_norm)
    left.plot(losses, label=name)
    right.plot(norms, label=name)
left.axhline(math.log(10), color="grey", ls=":", label="guessing, ln 10")
left.set(xlabel="update", ylabel="training loss (nats)", ylim=(0, 6))
right.set(xlabel="update", ylabel="gradient norm before clipping", yscale="log")
left.legend()
right.legend()
plt.show()

# %% [markdown]
# Without clipping the first steps throw the network into a corner where it only guesses, and there its gradient is
# small: from then on nothing looks wrong except the loss. With clipping, at the same rate, it learns.

# %% [markdown]
# ## 3 · Warm-up and cosine (3 points, 20 minutes, difficulty 2 of 3)
#
# At the start the weights are random and large steps do harm; at the end small steps let the loss settle. The usual
# schedule follows: rise in a straight line, then fall along half a cosine. With update number $t$ from 0, warm-up
# length $w$, total length $T$ and floor $f$, each group's rate is its base rate times
#
# $$m(t) = \begin{cases} (t+1)/w & t < w \\ f + (1-f)\,\tfrac12\left(1+\cos \pi\,\frac{t-w}{T-w}\right) & w \le t < T \\ f & t \ge T\end{cases}$$
#
# The $+1$ matters: without it the first update has rate 0 and is wasted. (Cosine: Loshchilov and Hutter 2017,
# [arXiv:1608.03983](https://arxiv.org/abs/1608.03983); warm-up: Goyal et al. 2017,
# [arXiv:1706.02677](https://arxiv.org/abs/1706.02677).)
#
# **Task.** Write `make_schedule(optimizer, warmup, total, floor=0.0)`: return a learning-rate scheduler from
# `torch.optim.lr_scheduler` (or your own subclass) that gives every parameter group $m(t)$ times its own base rate.
#
# - `warmup` may be 0, and it may equal `total`: then there is no cosine, and nothing to divide by.
# - It is used the usual way: after each `optimizer.step()` one `scheduler.step()`.


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
def rates(updates, base_rates, *args, **kwargs):
    """The rates that each of `updates` updates uses: one list for each parameter group."""
    groups = [{"params": [nn.Parameter(torch.ones(2))], "lr": rate} for rate in base_rates]
    optimizer = torch.optim.SGD(groups)
    scheduler = make_schedule(optimizer, *args, **kwargs)
    check.true(
        hasattr(scheduler, "step") and hasattr(scheduler, "state_dict"),
        f"make_schedule returned {type(scheduler).__name__}, expected a scheduler with step() and state_dict().",
    )
    used = []
    for _ in range(updates):
        used.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return [list(column) for column in zip(*used)]


def why_the_fall_differs(observed):
    """The usual cause of wrong rates after a warm-up of 4 of 12 updates to 0.8: the first guess that gives the same ones."""
    guesses = {
        "a straight line falls from the peak: take half a cosine, (1 + cos(pi * progress)) / 2": lambda t: 1 - (t - 4) / 8,
        "this cosine counts from update 0: it starts at the end of the warm-up, progress = (t - warmup) / (total - warmup)": (
            lambda t: (1 + math.cos(math.pi * t / 12)) / 2
        ),
        "this is a whole cosine, down and up again: half of one is cos(pi * progress), without the 2": (
            lambda t: (1 + math.cos(2 * math.pi * (t - 4) / 8)) / 2
        ),
        "a cosine alone goes down to -1: (1 + cos(pi * progress)) / 2 goes from 1 to 0": (
            lambda t: math.cos(math.pi * (t - 4) / 8)
        ),
    }
    for cause, multiplier in guesses.items():
        if all(math.isclose(observed[t], 0.8 * multiplier(t), abs_tol=1e-6) for t in range(5, 12)):
            return cause
    return "half a cosine, (1 + cos(pi * progress)) / 2, with progress from 0 at the end of the warm-up to 1 at `total`"


with check.exercise("make_schedule"):
    (observed,) = rates(14, [0.8], warmup=4, total=12, floor=0.0)  # multipliers 1/4, 2/4, 3/4, 1, then the cosine
    check.true(observed[0] > 0, "the first update has rate 0 and is wasted: the warm-up is (t + 1) / warmup.")
    check.true(
        not math.isclose(observed[0], 0.8 * 0.2),
        "the first rate is 0.16 = 0.8 · 0.2, expected 0.2. LambdaLR multiplies by the base rate (here 0.8) itself: "
        "your function returns a factor, not a rate.",
    )
    for t in range(4):
        check.equal(
            observed[t],
            0.2 * (t + 1),
            f"the rate of update {t}, in a warm-up of 4 to a base rate of 0.8,",
            "(t + 1) / warmup, full height at the last of them",
        )
    hint = why_the_fall_differs(observed)
    for t in range(4, 12):
        expected = 0.4 * (1 + math.cos(math.pi * (t - 4) / 8))
        check.equal(observed[t], expected, f"the rate of update {t} (warmup 4, total 12, base rate 0.8)", hint, atol=1e-9)
    for t in (12, 13):
        check.equal(
            observed[t],
            0.0,
            f"the rate of update {t}, after the last of 12",
            "it stays at the floor: a cosine left to itself rises again",
            atol=1e-9,
        )

    first, second = rates(9, [0.2, 0.03], warmup=2, total=6, floor=0.1)
    check.equal(
        first[4],
        0.2 * 0.55,
        "the rate half-way down to a floor of 0.1",
        "the cosine falls from 1 to the floor, not to 0: floor + (1 - floor) * ...",
        atol=1e-9,
    )
    for t in (6, 7, 8):
        check.equal(
            first[t],
            0.02,
            f"the rate of update {t}, after the end (base rate 0.2, floor 0.1)",
            "the floor is a share of the base rate",
            atol=1e-9,
        )
    for t in range(9):
        check.equal(
            second[t],
            first[t] * 0.15,
            f"the rate of update {t} in the second group (base rate 0.03; the first has 0.2)",
            "every group keeps its own base rate",
            atol=1e-9,
        )

    (observed,) = rates(5, [0.6], warmup=3, total=3)
    for t, expected in enumerate((0.2, 0.4, 0.6, 0.0, 0.0)):
        check.equal(
            observed[t],
            expected,
            f"the rate of update {t} with warmup 3 and total 3",
            "there is no room for a cosine, and nothing to divide by",
            atol=1e-9,
        )
    (observed,) = rates(3, [0.6], warmup=0, total=2)
    for t, expected in enumerate((0.6, 0.3, 0.0)):
        check.equal(
            observed[t], expected, f"the rate of update {t} with warmup 0 and total 2", "it starts at full height", atol=1e-9
        )
    ### BEGIN HIDDEN TESTS
    (observed,) = rates(8, [3.0], 0, 5, 0.25)
    expected = [3.0 * (0.25 + 0.75 * (1 + math.cos(math.pi * t / 5)) / 2) for t in range(5)] + [0.75] * 3
    check.equal(observed, expected, "the rates without warm-up", "warmup=0 starts at full height", atol=1e-9)
    (observed,) = rates(6, [0.4], 4, 4)
    check.equal(
        observed,
        [0.1, 0.2, 0.3, 0.4, 0.0, 0.0],
        "the rates with warmup equal to total",
        "there is no room for a cosine, and nothing to divide by",
        atol=1e-9,
    )
    (observed,) = rates(20, [0.6], warmup=3, total=17, floor=0.05)
    expected = [0.2, 0.4, 0.6] + [0.6 * (0.05 + 0.95 * (1 + math.cos(math.pi * t / 14)) / 2) for t in range(14)] + [0.03] * 3
    check.equal(observed, expected, "the rates of warmup 3, total 17, floor 0.05", atol=1e-9)
    ### END HIDDEN TESTS

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
# ### See what it buys
#
# The same network and the same peak rate, once constant and once with your schedule:


# %%
def train_scheduled(use_schedule, epochs=6, peak=0.2):
    model, loader = make_model(), make_loader()
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
for name, use_schedule in (("constant", False), ("warm-up and cosine", True)):
    losses, used, (valid_loss, accuracy) = train_scheduled(use_schedule)
    left.plot(used, label=name)
    right.plot(losses, lw=1, label=f"{name}: {accuracy:.0%} right in validation")
left.set(xlabel="update", ylabel="learning rate")
right.set(xlabel="update", ylabel="training loss (nats)", ylim=(0, 3))
left.legend()
right.legend(fontsize=8)
plt.show()

# %% [markdown]
# With momentum 0.9 this rate is near the limit of what the network bears. The constant run learns faster at first, for
# it starts at full height, but it never comes to rest: its loss still jumps at the end, and where it happens to stop
# is luck. The scheduled run is as restless while its rate is high; as the rate falls, the loss settles, and validation
# is better for it. Try a peak half again as high, 0.3: there a constant rate is likely to end in mere guessing, while
# the scheduled run still learns.

# %% [markdown]
# # Part C · Does it fit?
#
# ## Where the memory goes
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
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()  # noqa: F841  (keeps the graph, and with it the storages, alive)
    return sum(size for pointer, size in kept.items() if pointer not in weights)


model = make_model()
for batch in (10, 40, 160):
    x, y = train_x[:batch].clone(), train_y[:batch].clone()  # a slice would keep all of train_x, and it would be counted
    size = activation_bytes(lambda: F.cross_entropy(model(x), y), model)
    print(f"batch of {batch:3d}: {size / 1e6:5.2f} MB of activations")

# %% [markdown]
# ## 4 · Gradient accumulation (3 points, 20 minutes, difficulty 2 of 3)
#
# A batch that does not fit can be taken in pieces ("micro-batches"): since `backward()` adds, the pieces' gradients
# sum up in `p.grad`, and one step at the end uses them all. The result is *equal* to the big batch if each piece
# weighs as much as it has samples. Dividing by the number of pieces is right only when all are equally large; the
# last one seldom is, and with padded text none are.
#
# **Task.** Write `accumulation_step(model, optimizer, batches)`: **one** update, equal to one update on all samples
# together.
#
# - `batches` is a list of micro-batches `(x, y)` of unequal sizes; loss and modes as in `train_step`.
# - Only one micro-batch's graph may be alive at a time: that is the point of it.
# - Return the mean loss over all samples, as a float. Old gradients have no effect.


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
def big_batch(model, batches, rate):
    """Mean loss of all samples in one batch, and the weights after one SGD update on it."""
    twin = copy.deepcopy(model).train()
    x, y = (torch.cat(parts) for parts in zip(*batches))
    loss = F.cross_entropy(twin(x), y)
    slopes = torch.autograd.grad(loss, list(twin.parameters()))
    return loss.item(), [(p - rate * slope).detach() for p, slope in zip(twin.parameters(), slopes)]


def why_the_update_differs(model, batches, gradient, leftover):
    """The usual cause of a wrong `gradient` (flat) of `batches`: the first guess that gives the same one."""
    sizes, slopes = [len(y) for _, y in batches], []
    for x, y in batches:
        each = torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))
        slopes.append(torch.cat([slope.flatten() for slope in each]))
    parts = [size / sum(sizes) * slope for size, slope in zip(sizes, slopes)]
    right, last = sum(parts), "the gradients are cleared inside the loop: only the last micro-batch counts. Clear once, before it"
    guesses = (
        ("old gradients were added: clear them once, before the first micro-batch", right + leftover),
        ("each micro-batch weighs the same here: weigh it by its samples, len(y) / all", sum(slopes) / len(slopes)),
        ("the means are added up without any weight: weigh each by its share of the samples, len(y) / all", sum(slopes)),
        ("the samples' gradients are added up: divide by the number of all samples", right * sum(sizes)),
        (last, parts[-1]),
        (last, slopes[-1]),
        (last, slopes[-1] / len(slopes)),
    )
    matching = (cause for cause, guess in guesses if torch.allclose(gradient, guess, rtol=1e-6, atol=1e-9))
    return next(matching, "weigh each micro-batch by its share of the samples (len(y) / all), and clear once, before the first")


with check.exercise("accumulation_step"):
    torch.manual_seed(11)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).double().eval()
    x, y = torch.randn(12, 6).double(), torch.randint(4, (12,))
    batches = [(x[:5], y[:5]), (x[5:10], y[5:10]), (x[10:], y[10:])]
    optimizer, steps, events = torch.optim.SGD(model.parameters(), lr=0.3), [], []
    optimizer.register_step_post_hook(lambda *args: steps.append(1))
    model.register_forward_pre_hook(lambda module, args: events.append(("forward", len(args[0]))))
    model[2].weight.register_hook(lambda gradient: events.append(("backward", 0)))
    for turn, leftover in (("first", 2.0), ("second", 3.0)):
        for p in model.parameters():
            p.grad = torch.full_like(p, leftover)  # somebody else's gradients
        twin = copy.deepcopy(model)
        expected_loss, expected = big_batch(model, batches, 0.3)
        steps.clear(), events.clear()
        observed = accumulation_step(model, optimizer, batches)
        check.true(model.training, "the model is not in training mode: model.train() belongs to every train step.")
        check.equal(
            max((size for kind, size in events if kind == "forward"), default=0),
            5,
            "the most samples that went through the model at once",
            "joining the micro-batches brings back the memory that you wanted to save",
        )
        check.equal(
            [kind for kind, _ in events],
            ["forward", "backward"] * 3,
            "what happened in order",
            "backward() after every micro-batch frees its graph; one backward() at the end keeps all graphs alive",
        )
        check.equal(len(steps), 1, "the number of optimizer steps", "all micro-batches together are one update")
        taken = torch.cat([((old - new) / 0.3).detach().flatten() for old, new in zip(twin.parameters(), model.parameters())])
        cause = why_the_update_differs(twin, batches, taken, leftover)
        for (name, weight), goal in zip(model.named_parameters(), expected):
            check.equal(weight.detach(), goal, f"{name} after the {turn} call (micro-batches of 5, 5 and 2)", cause, rtol=1e-9)
        check.kind(observed, float, "the returned loss", "add up `loss.item()`: a tensor keeps its graph alive")
        check.equal(observed, expected_loss, "the returned loss", "the mean over all samples", rtol=1e-9)
    ### BEGIN HIDDEN TESTS
    torch.manual_seed(12)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    model[1].bias.requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    frozen = model[1].bias.clone()
    x, y = torch.randn(11, 2, 3).double() * 2, torch.randint(3, (11,))
    batches = [(x[:1], y[:1]), (x[1:8], y[1:8]), (x[8:9], y[8:9]), (x[9:], y[9:])]
    twin = copy.deepcopy(model)
    loss = F.cross_entropy(twin(x), y)
    slopes = torch.autograd.grad(loss, [p for p in twin.parameters() if p.requires_grad])
    expected = [(p - 0.7 * slope).detach() for p, slope in zip(trained, slopes)]
    for p in trained:
        p.grad = torch.ones_like(p)
    observed = accumulation_step(model, torch.optim.SGD(model.parameters(), lr=0.7), batches)
    for weight, goal in zip(trained, expected):
        check.equal(
            weight.detach(),
            goal,
            "a weight after micro-batches of 1, 7, 1 and 2",
            "weigh each by its share of the samples; old gradients have no effect",
            rtol=1e-9,
        )
    check.equal(observed, loss.item(), "the loss of micro-batches of 1, 7, 1 and 2", rtol=1e-9)
    check.equal(model[1].bias, frozen, "the frozen bias")
    ### END HIDDEN TESTS

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
# ### Claim: accumulation equals the big batch
#
# Twenty updates on 120 samples, once in one piece and once in pieces of 50, 50 and 20. Dropout draws other masks for
# other shapes, so it is off here; batch norm would differ for a similar reason, since it would see statistics of
# smaller batches.


# %%
def make_plain_model(seed=0):
    model = make_model(seed)
    model[6].p = 0.0  # no dropout
    return model


def train_both(precision):
    """Largest difference between the weights of the two ways after twenty updates."""
    whole, pieces = make_plain_model().to(precision), make_plain_model().to(precision)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (whole, pieces)]
    for i in range(20):
        x, y = train_x[50 * i : 50 * i + 120].to(precision), train_y[50 * i : 50 * i + 120]
        train_step(whole, optimizers[0], x, y)
        accumulation_step(pieces, optimizers[1], list(zip(x.split(50), y.split(50))))
    return max((a - b).abs().max().item() for a, b in zip(whole.parameters(), pieces.parameters()))


difference = {name: train_both(precision) for name, precision in (("float32", torch.float32), ("float64", torch.float64))}
model = make_plain_model()
whole, piece = (
    activation_bytes(lambda: F.cross_entropy(model(train_x[:size].clone()), train_y[:size].clone()), model) for size in (120, 50)
)
print(f"largest difference between weights: {difference['float32']:.0e} in float32, {difference['float64']:.0e} in float64")
print(f"activations: {whole / 1e6:.1f} MB in one piece, at most {piece / 1e6:.1f} MB in pieces")
claims.record(
    "gradient accumulation equals the big batch",
    claimed="identical",
    measured=f"largest weight difference after 20 updates {difference['float32']:.0e} (float32), {difference['float64']:.0e} (float64)",
    holds=difference["float32"] < 1e-3 and difference["float64"] < 1e-12,
)

# %% [markdown]
# The difference is rounding: sums in another order. In float64 it all but vanishes, which a real mistake would not.
# (In float32 it can jump to some 1e-5 on another machine: a rounding may decide which of two almost equal values max
# pooling picks.) One warning: with Adam a wrong factor *hides*, since Adam divides the gradient by its own size.
# Check accumulation with SGD.

# %% [markdown]
# ## 5 · Mixed precision (3 points, 25 minutes, difficulty 3 of 3)
#
# Half as many bits mean half the activation memory, and on a GPU far more arithmetic a second. `torch.autocast` runs
# matrix products and convolutions in the small type and keeps the delicate steps (losses, sums, norms) in float32.
# The **weights stay in float32**: an update is often so small that a 16-bit weight would not change at all.
#
# | type | smallest normal number | largest | so |
# |---|---|---|---|
# | bfloat16 | 1e-38 | 3e38 | range of float32, only 8 bits of precision: needs no scaling |
# | float16 | 6e-5 | 65504 | small gradients become 0: multiply the loss by a large number, divide the gradients by it later |
#
# Below its smallest normal number float16 goes on for a while, with fewer and fewer bits: the smallest number of all
# ("subnormal") is 6e-8, and it has one bit. Scaling is `GradScaler`'s work. It also finds out the factor: if a gradient overflows, that update is skipped
# and the factor halves; after many good updates it doubles. (Micikevicius et al. 2018,
# [arXiv:1710.03740](https://arxiv.org/abs/1710.03740).)
#
# **Task.** Write `amp_step(model, optimizer, scaler, x, y, dtype, max_norm)`: one train step like yours, with
# mixed precision and clipping.
#
# - `scaler` is a `torch.amp.GradScaler`. For bfloat16 it comes with `enabled=False`, and then each of its methods
#   lets things pass: the same code serves both types.
# - The forward pass runs under autocast for `dtype` on the device of `x`, and so does `F.cross_entropy`, which autocast
#   computes in float32. The backward pass runs outside of it, as PyTorch's notes ask for.
# - The **unscaled** gradients are clipped to the global norm `max_norm` (take torch's function now).
# - An update whose gradients overflow is skipped, and the scale adapts after every step: both are the scaler's business.
# - Return the unscaled loss as a float. Old gradients have no effect.


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
def amp_case(seed, widths=(6, 16, 4), samples=20):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(*widths[:2]), nn.Tanh(), nn.Linear(*widths[1:]))
    return model, torch.randn(samples, widths[0]), torch.randint(widths[2], (samples,))


def flat(tensors):
    return torch.cat([t.detach().flatten() for t in tensors])


def why_the_step_differs(change, slope, rate, max_norm, scale, leftover):
    """The usual cause of a wrong `change` of all weights: the first guess that gives the same one.

    `slope` is the gradient in float32, flat; `leftover` what was in the unscaled gradients before.
    """

    def step(gradient, factor=1.0):
        return -rate * gradient * factor * min(1.0, max_norm / (factor * gradient.norm().item()))

    guesses = (
        ("old gradients were added: zero_grad() comes before backward()", step(slope + leftover)),
        ("nothing was clipped: clip the gradients to max_norm after unscale_ and before the step", -rate * slope),
        (
            "the gradients were clipped while still scaled, and the step is far too small: unscale_ first",
            step(slope, scale) / scale,
        ),
        ("the update used gradients that are still scaled: unscale_ takes the factor out", -rate * scale * slope),
    )
    for cause, guess in guesses:
        if (change - guess).norm() < 0.03 * guess.norm():
            return cause
    return "order: zero_grad, forward and loss under autocast, scale the loss, backward, unscale_, clip, scaler.step, update"


def check_update(model, optimizer, scaler, x, y, dtype, max_norm, what):
    """One call of amp_step, held against the same update in float32."""
    slope = flat(torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters())))
    rate, scale = optimizer.param_groups[0]["lr"], scaler.get_scale()
    expected = -rate * slope * min(1.0, max_norm / slope.norm().item())
    for p in model.parameters():
        p.grad = torch.full_like(p, 0.5 * scale)  # somebody else's gradients
    before, logits = flat(model.parameters()), []
    spy = model.register_forward_hook(lambda module, args, result: logits.append(result.detach()))
    observed = amp_step(model, optimizer, scaler, x, y, dtype, max_norm)
    spy.remove()
    check.kind(observed, float, "the returned loss", "take the number out with `.item()`")
    check.equal(len(logits), 1, "the number of forward passes")
    check.equal(
        logits[0].dtype,
        dtype,
        f"the dtype of the logits, {what}",
        "pass dtype=dtype to torch.autocast: without it the device has its own default (bfloat16 on a CPU, float16 on a GPU)",
    )
    for name, weight in model.named_parameters():
        check.equal(
            weight.dtype, torch.float32, f"the dtype of {name}", "autocast casts copies: the weights themselves stay in float32"
        )
    exact = F.cross_entropy(logits[0].float(), y).item()
    check.true(
        not math.isclose(observed, scale * exact, rel_tol=1e-3) or scale == 1,
        f"the returned loss, {what}, is multiplied by {scale:g}: return the loss itself, not the scaled one.",
    )
    check.equal(
        observed,
        exact,
        f"the loss, {what}",
        "it is the mean cross-entropy in float32: with F.cross_entropy outside the autocast block it is rounded to 16 bits",
        rtol=2e-5,
    )
    change = flat(model.parameters()) - before
    check.true(change.abs().max() > 0, f"no weight changed, {what}. Does scaler.step(optimizer) run?")
    check.equal(
        change,
        expected,
        f"the change of all weights (one after the other), {what}",
        why_the_step_differs(change, slope, rate, max_norm, scale, 0.5),
        rtol=0.03,
        atol=0.03 * expected.abs().max().item(),
    )


def check_overflow(model, x, y):
    """A scale so large that the float16 gradients overflow."""
    optimizer, scaler = torch.optim.SGD(model.parameters(), lr=0.2), torch.amp.GradScaler("cpu", init_scale=2.0**30)
    before = copy.deepcopy(model.state_dict())
    amp_step(model, optimizer, scaler, x, y, torch.float16, 1.0)
    check.equal(
        dict(model.state_dict()),
        dict(before),
        "the weights after an overflow (float16 with scale 2**30)",
        "scaler.step(optimizer) skips an update with infinite gradients; optimizer.step() does not",
    )
    check.equal(scaler.get_scale(), 2.0**29, "the scale after an overflow", "scaler.update() halves it")


with check.exercise("amp_step"):
    model, x, y = amp_case(21)
    model.eval()
    optimizer, off, seen = torch.optim.SGD(model.parameters(), lr=0.5), torch.amp.GradScaler("cpu", enabled=False), []
    spies = [
        model[2].register_forward_hook(lambda module, args, result: seen.append(("forward", result.dtype, module.training))),
        model[2].weight.register_hook(lambda gradient: seen.append(("backward", torch.is_autocast_enabled("cpu"), None))),
    ]
    amp_step(model, optimizer, off, x, y, torch.bfloat16, 100.0)
    check.equal(
        model[2].weight.dtype,
        torch.float32,
        "the dtype of the weights",
        "autocast casts copies: the weights themselves stay in float32",
    )
    check.equal([what for what, _, _ in seen], ["forward", "backward"], "what happened to the last layer")
    check.equal(
        seen[0][1],
        torch.bfloat16,
        "the dtype of the last layer's result",
        "the forward pass belongs inside torch.autocast(device, dtype=dtype)",
    )
    check.true(seen[0][2], "the model is not in training mode: model.train() belongs to every train step.")
    check.true(not seen[1][1], "backward ran under autocast: PyTorch recommends to leave the `with` block first.")
    [spy.remove() for spy in spies]
    check_update(model, optimizer, off, x, y, torch.bfloat16, 100.0, "bfloat16, no clipping needed")

    model, x, y = amp_case(22)
    optimizer, on = torch.optim.SGD(model.parameters(), lr=0.5), torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1)
    check_update(model, optimizer, on, x, y, torch.float16, 0.05, "float16 with scale 1024, clipped to 0.05")
    check.equal(
        on.get_scale(),
        2048.0,
        "the scale after a good update (growth_interval=1 doubles it each time)",
        "scaler.update() ends every step",
    )
    check_update(model, optimizer, on, x, y, torch.float16, 0.05, "float16, second step")
    check_overflow(model, x, y)
    ### BEGIN HIDDEN TESTS
    model, x, y = amp_case(23, (9, 12, 5), 17)
    check_overflow(model, x, y)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    on, off = torch.amp.GradScaler("cpu", init_scale=256.0), torch.amp.GradScaler("cpu", enabled=False)
    check_update(model, optimizer, on, x, y, torch.float16, 0.1, "float16 with scale 256, clipped to 0.1")
    check_update(model, optimizer, on, x, y, torch.float16, 50.0, "float16, no clipping needed")
    check_update(model, optimizer, off, x, y, torch.bfloat16, 0.1, "bfloat16, clipped to 0.1")
    ### END HIDDEN TESTS

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
# ### What float16 loses, and what scaling saves
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
for name, dtype, style in (
    ("float32", torch.float32, {"lw": 6, "alpha": 0.3}),
    ("bfloat16", torch.bfloat16, {"lw": 2.5, "color": "C1"}),
    ("float16, scaled", torch.float16, {"lw": 0.8, "color": "black"}),
):
    model = make_mlp().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    losses = []
    for x, y in (batch for _ in range(4) for batch in make_loader()):
        x, y = x.to(device), y.to(device)
        mixed = dtype != torch.float32
        losses.append(amp_step(model, optimizer, scaler, x, y, dtype, 10.0) if mixed else train_step(model, optimizer, x, y))
    right.plot(losses, **style, label=name)
right.set(xlabel="update", ylabel="training loss (nats)")
right.legend()
plt.show()

# %% [markdown]
# Left, the red lines: 6e-8, the smallest number that float16 has at all; 6e-5 (dotted), the smallest with all its bits;
# 65,504, the largest. Without a scale the small gradients reach into the part where few bits are left, or none. Times 65,536
# they lie in the middle of its range, and nothing is lost at the upper end. A larger model with a smaller loss lies
# further to the left. Right: the three curves lie on each other (so they are drawn thick, thinner, thin); mixed precision costs next to nothing in quality. Whether
# it gains *time* depends on the device: a GPU with tensor cores gains, an ordinary CPU often loses (lesson 11
# measures it).

# %% [markdown]
# # Part D · Can it stop?
#
# ## 6 · Checkpoint and resume (4 points, 40 minutes, difficulty 3 of 3)
#
# Free sessions end, spot machines vanish, batteries die. A checkpoint that brings back *the same curve* must hold
# everything that the next update depends on:
#
# | part | what happens without it |
# |---|---|
# | model | starts again |
# | optimizer | momentum and Adam's averages start at zero: a bump in the loss |
# | scheduler | the rate starts its warm-up again |
# | random number generator | other dropout masks, another order of the data: a different run |
# | epoch, losses so far | work is done twice, the history has a hole |
#
# **Task.** Write `fit(model, optimizer, scheduler, loader, epochs, path)`.
#
# - Train until `epochs` epochs are done in all; after each update one `scheduler.step()`. (Call your `train_step`.)
# - After **each** epoch write a checkpoint to the `Path` `path`.
# - If `path` exists at the start, continue from it: a run that was interrupted at any point and started again, with a
#   model that was newly made and a generator in any state, ends with *bit for bit* the same losses and weights as one
#   that was not. The part of an epoch after the last checkpoint is done again.
# - Load with `weights_only=True`: a checkpoint from elsewhere must not be able to run code. So save state dicts,
#   tensors and plain numbers, not objects.
# - Return the loss of every update since the very first, as a list of floats.
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
class Interrupted(Exception):
    """Stands for a session that ends."""


class Fragile:
    """A loader that breaks off after `batches` batches in all."""

    def __init__(self, loader, batches):
        self.loader, self.left = loader, batches

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        for batch in self.loader:
            if self.left == 0:
                raise Interrupted
            self.left -= 1
            yield batch


def fresh(seed, features=5, classes=3):
    """A newly made model, optimizer and scheduler; `seed` also sets the generator."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(features, 12), nn.ReLU(), nn.Dropout(0.4), nn.Linear(12, classes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    return model, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 / (1 + t))


def some_data(seed, samples=23, features=5, classes=3):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(samples, features, generator=generator), torch.randint(classes, (samples,), generator=generator)
    return DataLoader(TensorDataset(x, y), batch_size=6, shuffle=True)


def plain_run(model, optimizer, scheduler, loader, epochs):
    """The losses of a run without any checkpoint."""
    losses = []
    for x, y in (batch for _ in range(epochs) for batch in loader):
        loss = F.cross_entropy(model(x), y)
        for p, slope in zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters()))):
            p.grad = slope
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


with check.exercise("fit"), tempfile.TemporaryDirectory() as folder:
    loader = some_data(1)
    plain = plain_run(*fresh(seed=7), loader, 4)
    model, optimizer, scheduler = fresh(seed=7)
    expected = fit(model, optimizer, scheduler, loader, 4, Path(folder, "whole.pt"))
    check.kind(expected, list, "what fit returns")
    check.equal(len(expected), 16, "the number of losses of 4 epochs with 4 batches")
    check.true(all(type(loss) is float for loss in expected), "the losses are not all Python floats.")
    check.equal(
        scheduler.last_epoch,
        16,
        "the number of scheduler steps in 16 updates",
        "one scheduler.step() after each update, not after each epoch",
    )
    check.equal(
        expected,
        plain,
        "the losses of an unbroken run",
        "one train step for each batch; writing a checkpoint must not disturb the run",
        rtol=1e-4,
    )

    check.true(
        Path(folder, "whole.pt").exists(), "there is no file at `path` after the run: write a checkpoint after each epoch."
    )
    try:
        torch.load(Path(folder, "whole.pt"), weights_only=True)
    except Exception as error:
        loadable = " ".join(str(error).split("\n")[0].split())
        check.true(
            False,
            "torch.load(path, weights_only=True) turns the checkpoint down. It holds an object: save state dicts, tensors, "
            f"plain numbers, lists and dicts. ({type(error).__name__}: {loadable[:120]})",
        )

    path = Path(folder, "broken.pt")
    first = fresh(seed=7)
    try:
        fit(*first, Fragile(loader, 10), 4, path)  # ends in the third epoch
        check.true(
            False,
            "the loader broke off in the third epoch, but fit() went on as if nothing had happened: let the exception through.",
        )
    except Interrupted:
        pass
    check.true(
        path.exists(),
        "the run ended in the third epoch and there is no checkpoint: write one after each epoch, not only at the end.",
    )
    again, optimizer, scheduler = fresh(seed=1000)  # other weights, generator in another state
    counted = Fragile(loader, 99)
    observed = fit(again, optimizer, scheduler, counted, 4, path)
    check.equal(
        99 - counted.left,
        8,
        "the number of batches used by the resumed run",
        "two of four epochs were finished and are not done again: read the checkpoint if `path` exists, and begin at the epoch "
        "that it names",
    )
    check.equal(
        len(observed),
        16,
        "the number of losses after the resumed run",
        "those from before the break come from the checkpoint",
    )
    check.equal(observed[:8], expected[:8], "the losses from before the break", "keep them in the checkpoint")
    check.equal(
        observed[8],
        expected[8],
        "the first loss after the resumption (before any update)",
        "the weights, the order of the data and dropout must be as they were: is the state of the random number generator saved and set again?",
    )
    check.equal(
        observed[9:],
        expected[9:],
        "the losses after the first resumed update",
        "the updates differ: is the state of the optimizer and of the scheduler in the checkpoint?",
        rtol=0,
        atol=0,
    )
    check.equal(
        dict(again.state_dict()),
        dict(model.state_dict()),
        "the final weights of the resumed run",
        "bit for bit those of the unbroken run",
        rtol=0,
        atol=0,
    )
    check.equal(
        fit(*fresh(2), loader, 4, path),
        expected,
        "the result of a run that was already complete",
        "nothing is left to train",
        rtol=0,
        atol=0,
    )
    ### BEGIN HIDDEN TESTS
    loader = some_data(2, samples=31, features=4, classes=5)
    whole = fresh(3, 4, 5)
    expected = fit(*whole, loader, 5, Path(folder, "whole2.pt"))
    check.equal(expected, plain_run(*fresh(3, 4, 5), loader, 5), "the losses of an unbroken run of 5 epochs", rtol=1e-4)
    path = Path(folder, "broken2.pt")
    fit(*fresh(3, 4, 5), loader, 1, path)
    for batches in (3, 7, 9):  # before the first new checkpoint; then twice after one more epoch
        try:
            fit(*fresh(50 + batches, 4, 5), Fragile(loader, batches), 5, path)
        except Interrupted:
            pass
    resumed = fresh(99, 4, 5)
    observed = fit(*resumed, loader, 5, path)
    check.equal(
        observed,
        expected,
        "the losses after four interruptions",
        "each start continues from the last complete epoch",
        rtol=0,
        atol=0,
    )
    check.equal(
        dict(resumed[0].state_dict()), dict(whole[0].state_dict()), "the weights after four interruptions", rtol=0, atol=0
    )
    torch.load(path, weights_only=True)

    class Poison:
        def __reduce__(self):
            return os.mkdir, (os.path.join(folder, "poisoned"),)

    torch.save({name: Poison() for name in ("model", "optimizer", "scheduler", "epoch")}, path)
    try:
        fit(*fresh(4), loader, 2, path)
    except Exception:
        pass
    check.true(
        not os.path.exists(os.path.join(folder, "poisoned")),
        "a checkpoint from elsewhere ran its own code while it was loaded: torch.load(path, weights_only=True).",
    )
    ### END HIDDEN TESTS

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
# ### Claim: resumed equals unbroken
#
# Three runs of your `fit` on the digits: unbroken; stopped after two epochs and resumed with everything made anew;
# and continued after the break from the weights alone.


# %%
def start_over(seed):
    """A new model, optimizer and schedule, as at the start of a session; `seed` also sets the generator."""
    model = make_model(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    torch.manual_seed(seed)
    return model, optimizer, make_schedule(optimizer, warmup=30, total=150)


with tempfile.TemporaryDirectory() as folder:
    loader = make_loader()
    unbroken = fit(*start_over(0), loader, 5, Path(folder, "unbroken.pt"))
    half = start_over(0)
    fit(*half, loader, 2, Path(folder, "broken.pt"))  # the session ends after two epochs
    resumed = fit(*start_over(123), loader, 5, Path(folder, "broken.pt"))
    bare = start_over(123)
    bare[0].load_state_dict(half[0].state_dict())  # the weights alone; optimizer, schedule and generator are new
    weights_only = fit(*bare, loader, 3, Path(folder, "weights.pt"))

largest = max(abs(a - b) for a, b in zip(unbroken, resumed, strict=True))
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
    measured=f"largest difference of {len(unbroken)} losses: {largest:.0e}",
    holds=largest == 0,
)

# %% [markdown]
# From the weights alone the run also gets somewhere, but it warms up again, on other data and with no momentum: no
# experiment can be compared with it.
#
# At work, write to another name first and rename it (`os.replace`): a session that ends *while* it writes must not
# leave half a file in place of a whole one. And keep more than one: the newest may be the one that has just gone
# wrong.

# %% [markdown]
# ## 7 · Early stopping (2 points, 10 minutes, difficulty 1 of 3)
#
# Training too long fits the noise. The validation loss tells when: keep the best weights, and stop after `patience`
# evaluations in a row without improvement.
#
# **Task.** Complete `EarlyStopping.step(loss, model)`, called after each evaluation with the validation loss (a float).
#
# - It is an **improvement** if the loss is below the best so far by more than `min_delta`. Then remember the loss in
#   `best` and a **copy** of the model's state dict in `best_state`, and set `waited` to 0.
# - Otherwise (NaN included) `waited` grows by 1.
# - Return True when it is time to stop: `patience` evaluations in a row brought no improvement.


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
def replay(losses, *args, **kwargs):
    """Feed `losses` to an EarlyStopping; the model's only weight counts the evaluations: 1, 2, 3, ..."""
    stopper, model = EarlyStopping(*args, **kwargs), nn.Linear(1, 1, bias=False)
    answers = []
    for number, loss in enumerate(losses, 1):
        with torch.no_grad():
            model.weight.fill_(number)
        answer = stopper.step(loss, model)
        check.true(answer is True or answer is False, f"step returned {answer!r}, expected True or False.")
        answers.append(answer)
    stopper.restore(model)
    return answers, stopper.best, int(model.weight.item())


with check.exercise("early_stopping"):
    answers, best, kept = replay([3.0, 2.0, 2.5, 2.25, 2.125], patience=3)
    check.equal(
        answers,
        [False, False, False, False, True],
        "the answers to losses 3, 2, 2.5, 2.25, 2.125 (patience 3)",
        "compare with the best so far, not with the last one; stop at the third in a row without improvement",
    )
    check.equal(best, 2.0, "the best loss")
    check.equal(
        kept,
        2,
        "the evaluation whose weights are restored",
        "state_dict() holds references to the live weights: keep a deep copy, and only of the best",
    )
    answers, best, kept = replay([2.0, 2.5, 1.5, 1.75, 1.75], patience=2)
    check.equal(
        answers,
        [False, False, False, False, True],
        "the answers to losses 2, 2.5, 1.5, 1.75, 1.75 (patience 2)",
        "an improvement sets the count back to 0",
    )
    answers, best, kept = replay([2.0, 1.875, 1.75, 1.5], patience=2, min_delta=0.25)
    check.equal(
        answers,
        [False, False, True, False],
        "the answers to losses 2, 1.875, 1.75, 1.5 (patience 2, min_delta 0.25)",
        "only a loss below best - min_delta is an improvement, and `best` stays where it is until then",
    )
    check.equal((best, kept), (1.5, 4), "the best loss and the evaluation restored")
    answers, best, kept = replay([2.0, math.nan, math.nan], patience=2)
    check.equal(best, 2.0, "the best loss of 2, NaN, NaN", "NaN is no improvement: every comparison with it is False")
    check.equal(answers, [False, False, True], "the answers to losses 2, NaN, NaN (patience 2)", "NaN counts as waiting")
    ### BEGIN HIDDEN TESTS
    nan = math.nan
    check.equal(
        replay([nan, 3.0, nan, 2.0, nan, nan], 2),
        ([False, False, False, False, False, True], 2.0, 4),
        "the result with NaN losses",
        "NaN is no improvement: every comparison with it is False",
    )
    check.equal(
        replay([5.0, 4.0, 4.0, 3.0, 3.5], patience=1),
        ([False, False, True, False, True], 3.0, 4),
        "the result with patience 1",
        "an equal loss is no improvement",
    )
    check.equal(
        replay([1.0, 0.75, 0.5, 0.375], patience=2, min_delta=0.5),
        ([False, False, True, False], 0.375, 4),
        "the result with min_delta 0.5",
        "only below best - min_delta",
    )
    stopper, model = EarlyStopping(patience=4), nn.BatchNorm1d(3)
    stopper.step(2.0, model)
    model(torch.randn(8, 3) + 5)
    stopper.step(2.5, model)
    stopper.restore(model)
    check.equal(
        model.running_mean,
        torch.zeros(3),
        "batch norm's statistics after restore",
        "they belong to the state dict too, and must be copied",
    )
    check.equal(stopper.waited, 1, "waited")
    ### END HIDDEN TESTS

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
# ### Watch it stop
#
# A wide network, 150 pictures, and one label in five wrong: a recipe for learning noise by heart.

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
axis.plot([c[0] for c in curve], label="training loss (with wrong labels)")
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
# # Part E · What is wrong with it?
#
# ## 8 · Write the tests (3 points, 30 minutes, difficulty 3 of 3)
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
            if bug == "drops the last, smaller batch" and seen and len(y) < seen:
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
# Only the loop that never moves is plain to see from the start. "Never clears" even looks *best* for some epochs: its
# sum of old gradients acts like momentum without friction, until it swings out of control. Two lie on the correct
# curve, one is merely slower. Eyes are not enough; a test compares with what *must* come out.
#
# **Task.** Write `check_train_epoch(train_epoch)`: it returns silently for a correct implementation and raises (use
# `assert`) for a broken one. This is the contract:
#
# - `train_epoch(model, optimizer, loader)` makes one update for each batch, in order, each with the mean
#   cross-entropy of that batch and its gradient alone. Gradients that lie in `p.grad` beforehand have no effect; what
#   lies there afterwards (also None) is nobody's business.
# - The model is in training mode in every forward pass, in whatever mode it came, and stays so.
# - It returns a Python `float`: the mean over all **samples** of the loss before their update.
#
# `small_case()` gives you a model and three batches to try on. A correct implementation may be written in any way, so
# values can differ by rounding: compare with `torch.testing.assert_close` or `math.isclose(..., rel_tol=1e-4)`. You
# are graded by the bugs you catch, among them some that are not shown; a false alarm earns nothing.


# %%
def small_case():
    """A small model with dropout off, in eval mode, and batches of 4, 4 and 2 samples."""
    torch.manual_seed(9)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Dropout(0.0), nn.Linear(5, 4)).eval()
    x, y = torch.randn(10, 3), torch.randint(4, (10,))
    return model, list(zip(x.split(4), y.split(4)))


# %% exercise="check_train_epoch" minutes=30 difficulty=3
def check_train_epoch(train_epoch):
    """Raise for an implementation of train_epoch(model, optimizer, loader) that breaks the contract; else return."""
    ### BEGIN SOLUTION
    model, batches = small_case()
    twin, modes = copy.deepcopy(model), []  # the twin is trained by the formula
    model.register_forward_pre_hook(lambda module, args: modes.append(module.training))
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
    assert all(modes), "a forward pass was not in training mode"
    assert model.training, "the model does not stay in training mode"
    ### END SOLUTION


# %% tests="check_train_epoch" points=3
def another_right(model, optimizer, loader):
    """Right too, in another style: gradients by hand, sums instead of means, everything else left alone."""
    model.train()
    parameters, losses = list(model.parameters()), []
    for x, y in loader:
        each = F.cross_entropy(model(x), y, reduction="none")
        for p, slope in zip(parameters, torch.autograd.grad(each.sum(), parameters)):
            p.grad = slope / len(y)
        optimizer.step()
        losses.extend(each.tolist())
    return math.fsum(losses) / len(losses)


def leaves_none(model, optimizer, loader):
    """Right as well: no gradient is left in p.grad when it returns."""
    model.train()
    total, seen = 0.0, 0
    for inputs, targets in loader:
        optimizer.zero_grad(set_to_none=False)
        loss = nn.NLLLoss()(model(inputs).log_softmax(-1), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        total, seen = total + float(loss.detach()) * targets.numel(), seen + targets.numel()
    return total / seen


with check.exercise("check_train_epoch"):
    check.catches(
        check_train_epoch,
        {"the loop above": epoch_with(), "gradients by hand": another_right, "sets gradients to None at the end": leaves_none},
        {bug: epoch_with(bug) for bug in bugs},
        "your checks",
    )

    ### BEGIN HIDDEN TESTS
    def returns_tensor(model, optimizer, loader):
        return torch.tensor(epoch_with()(model, optimizer, loader))

    def last_loss_only(model, optimizer, loader):
        loader = list(loader)
        for batch in loader:
            last = epoch_with()(model, optimizer, [batch])
        return last

    def one_update_an_epoch(model, optimizer, loader):
        model.train()
        optimizer.zero_grad()
        losses, samples = [], sum(len(y) for _, y in loader)
        for x, y in loader:
            loss = F.cross_entropy(model(x), y, reduction="sum") / samples
            loss.backward()
            losses.append(loss.item())
        optimizer.step()
        return sum(losses)

    def first_batch_again(model, optimizer, loader):
        return epoch_with()(model, optimizer, [next(iter(loader)) for _ in loader])

    def loss_after_update(model, optimizer, loader):
        total = seen = 0.0
        for x, y in loader:
            epoch_with()(model, optimizer, [(x, y)])
            total, seen = total + F.cross_entropy(model(x), y).item() * len(y), seen + len(y)
        return total / seen

    def summed_loss(model, optimizer, loader):
        model.train()
        total = seen = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y, reduction="sum")
            loss.backward()
            optimizer.step()
            total, seen = total + loss.item(), seen + len(y)
        return total / seen

    def no_last_update(model, optimizer, loader):
        *most, (x, y) = loader
        mean = epoch_with()(model, optimizer, most)
        n = sum(len(targets) for _, targets in most)
        return (mean * n + F.cross_entropy(model(x), y).item() * len(y)) / (n + len(y))

    def backwards(model, optimizer, loader):
        return epoch_with()(model, optimizer, list(loader)[::-1])

    def clears_only_its_own(model, optimizer, loader):
        model.train()
        total = seen = 0.0
        for x, y in loader:
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            total, seen = total + loss.item() * len(y), seen + len(y)
        return total / seen

    def train_mode_afterwards(model, optimizer, loader):
        mean = epoch_with("trains in the mode it finds")(model, optimizer, loader)
        model.train()
        return mean

    def evaluates_after_each_batch(model, optimizer, loader):
        model.train()
        total = seen = 0.0
        for x, y in loader:
            total, seen = total + epoch_with("trains in the mode it finds")(model, optimizer, [(x, y)]) * len(y), seen + len(y)
            model.eval()
        model.train()
        return total / seen

    def with_closures(model, optimizer, loader):
        losses = []

        def closure():
            optimizer.zero_grad()
            losses.append(F.cross_entropy(model.train()(x), y))
            losses[-1].backward()
            return losses[-1]

        sizes = []
        for x, y in loader:
            optimizer.step(closure)
            sizes.append(len(y))
        return sum(size * loss.item() for size, loss in zip(sizes, losses)) / sum(sizes)

    check.catches(
        check_train_epoch,
        {"steps with a closure": with_closures},
        {
            **{bug: epoch_with(bug) for bug in bugs},
            "returns a tensor": returns_tensor,
            "returns the last batch's loss": last_loss_only,
            "makes one update an epoch": one_update_an_epoch,
            "uses the first batch again and again": first_batch_again,
            "measures the loss after the update": loss_after_update,
            "steps with the summed loss": summed_loss,
            "makes no update on the last batch": no_last_update,
            "goes through the batches backwards": backwards,
            "clears only its own gradients, not those it finds": clears_only_its_own,
            "trains in eval mode and switches to training mode at the end": train_mode_afterwards,
            "is in training mode for the first batch only": evaluates_after_each_batch,
            "does nothing and returns 0": lambda model, optimizer, loader: 0.0,
        },
        "your checks",
    )
    ### END HIDDEN TESTS
check.points(3)  # the number below: your points, of 3

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# The contract fixes three things that you can observe: the weights after the epoch, the number returned, the mode in
# every forward pass and at the end. For each: what must it be, computed without any training loop of the kind under
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
# model.register_forward_pre_hook(lambda module, args: modes.append(module.training))
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
# ## 9 · The debug clinic (6 points, 40 minutes, difficulty 3 of 3)
#
# Four patients. For each: look at the symptom, name the cause, write the repaired function.

# %% [markdown]
# ### Patient 1: the loss falls, the model is no good
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
# ### Patient 2: NaN
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
# ### Patient 3: device mismatch
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
# ### Patient 4: out of memory
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
# **Task.** Write four functions. Each is checked, and earns its points, on its own.
#
# 1. `run_steps(model, optimizer, loader, steps)`: exactly `steps` updates (at least one), each with the next batch of
#    `loader`; when it is exhausted, begin **a new pass** over it (so that it shuffles anew). Return the losses as a
#    list of floats. You may call your `train_step`.
# 2. `guarded_fit(model, optimizer, batches, limit)`: go through `batches` once. A loss of at most `limit` is healthy:
#    keep a copy of the model's state, then update as usual. Any other loss (larger, infinite, NaN) is a crash: make
#    no update, put the model back to the **last copy** (at first, the state in which it came), and halve the rate of
#    every parameter group. Return the losses of all batches, crashes included. The model is in training mode, in
#    whatever mode it came, and each batch goes through it once. The optimizer is plain SGD without state of its own.
# 3. `weighted_loss(model, x, y)`: the same number as `broken_loss`, on whatever device the model's parameters live
#    and wherever the batch is. The model is not moved.
# 4. `lean_forward(blocks, x)`: the same result and gradients as `hungry_forward`, with each block checkpointed on its
#    own (`torch.utils.checkpoint`).


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
class Passes:
    """A loader that gives another order on every pass; sample k is the number k."""

    def __init__(self, *passes):
        self.passes, self.begun = passes, 0

    def __len__(self):
        return len(self.passes[0])

    def __iter__(self):
        numbers = self.passes[self.begun % len(self.passes)]
        self.begun += 1
        return iter([(torch.tensor([[float(k), 1.0]]), torch.tensor([k % 2])) for k in numbers])


def check_patient_1(passes, steps, expected):
    torch.manual_seed(1)
    model, seen = nn.Linear(2, 2), []
    model.register_forward_pre_hook(lambda module, args: seen.append(int(args[0][0, 0])))
    observed = run_steps(model, torch.optim.SGD(model.parameters(), lr=0.01), Passes(*passes), steps)
    check.equal(
        seen,
        expected,
        f"the batches used in {steps} steps over a loader of {len(passes[0])}",
        "iter(loader) begins a new pass: once a pass, not once a step; a new pass may come in a new order",
    )
    check.kind(observed, list, "the result")
    check.equal(len(observed), steps, "the number of losses")
    torch.manual_seed(1)
    twin = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.01)
    losses = []
    for k in expected:
        loss = F.cross_entropy(twin(torch.tensor([[float(k), 1.0]])), torch.tensor([k % 2]))
        for p, slope in zip(twin.parameters(), torch.autograd.grad(loss, list(twin.parameters()))):
            p.grad = slope
        optimizer.step()
        losses.append(loss.item())
    check.equal(observed, losses, "the losses", rtol=1e-4)


def check_patient_2(scales, limit, rates, expected_rates, same, what):
    """Batches of one picture scaled by `scales`; `same` are pairs of batches that must see the same weights."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6, momentum=0.5), nn.Linear(6, 3)).eval()
    groups = [
        {"params": model[0].parameters(), "lr": rates[0]},
        {"params": [*model[1].parameters(), *model[2].parameters()], "lr": rates[1]},
    ]
    optimizer = torch.optim.SGD(groups)
    x, y = torch.randn(7, 4), torch.tensor([0, 1, 2, 2, 1, 0, 0])
    states, modes = [], []
    model.register_forward_pre_hook(lambda module, args: states.append({k: v.clone() for k, v in module.state_dict().items()}))
    model.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    observed = guarded_fit(model, optimizer, [(x * scale, y) for scale in scales], limit)
    check.equal(
        len(states),
        len(scales),
        f"{what}: the number of forward passes",
        "one for each batch: its loss decides, and the same graph then serves for backward()",
    )
    check.true(all(modes), f"{what}: the model came in eval mode and was trained so. model.train() first.")
    check.kind(observed, list, f"{what}: the result")
    check.equal(len(observed), len(scales), f"{what}: the number of losses", "crashes are reported too")
    check.equal(
        [group["lr"] for group in optimizer.param_groups],
        expected_rates,
        f"{what}: the rates after the run",
        "each crash halves the rate of every group (and a NaN loss is a crash, though comparisons with NaN are always False)",
        rtol=1e-9,
    )
    for early, late in same:
        for name in ("0.weight", "2.bias"):
            check.equal(
                states[late][name],
                states[early][name],
                f"{what}: {name} at batch {late}",
                f"after a crash the weights are those of batch {early} again: was the copy taken before that update, and is it a deep copy?",
                rtol=0,
                atol=0,
            )
    check.true(
        all(v.isfinite().all() for v in model.state_dict().values()),
        f"{what}: there is NaN in the model after the run. Batch norm's statistics belong to the state too, and a bad batch spoils them.",
    )
    return observed, states, model


def check_patient_3(seed, samples):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    x, y = torch.rand(samples, 1, 8, 8), torch.randint(10, (samples,))
    observed = weighted_loss(model, x, y)
    check.kind(observed, torch.Tensor, "the loss on the CPU")
    shares = torch.linspace(1, 2, 10)[y]
    expected = (F.cross_entropy(model(x), y, reduction="none") * shares).sum() / shares.sum()
    check.equal(
        observed.detach(),
        expected.detach(),
        "the loss on the CPU",
        "weights from 1 for class 0 to 2 for class 9, as in broken_loss",
    )
    model.to("meta")
    for where, (a, b) in {"on the CPU": (x, y), "on the model's device": (x.to("meta"), y.to("meta"))}.items():
        loss = weighted_loss(model, a, b)
        check.kind(loss, torch.Tensor, f"the loss with the batch {where}")
        check.equal(
            loss.device.type,
            "meta",
            f"the device of the loss with the batch {where}",
            "everything goes to the device of the model's parameters",
        )
        check.true(
            all(p.device.type == "meta" for p in model.parameters()),
            "the model was moved. It may be far larger than the batch: move the batch and what you make yourself.",
        )
        loss.backward()
        check.true(
            all(p.grad is not None and p.grad.device.type == "meta" for p in model.parameters()),
            f"no gradient reached the model with the batch {where}.",
        )
        model.zero_grad()


def check_patient_4(width, count, samples, seed):
    torch.manual_seed(seed)
    blocks, x = nn.ModuleList(Block(width) for _ in range(count)), torch.randn(samples, width)
    results = []
    for forward in (hungry_forward, lean_forward):
        torch.manual_seed(seed)  # the same dropout
        result = forward(blocks, x)
        check.kind(result, torch.Tensor, "the result")
        check.true(
            result.requires_grad,
            "the result requires no gradient: no weight of a block would learn. With use_reentrant=True (the old default) a "
            "block's *input* would have to require one; choose use_reentrant=False.",
        )
        result.square().mean().backward()
        results.append((result.detach(), [p.grad for p in blocks.parameters()]))
        blocks.zero_grad(set_to_none=True)  # later backward passes make gradients of their own
    check.equal(results[1][0], results[0][0], "the result", "checkpointing changes memory, not numbers")
    hungry, lean = (activation_bytes(lambda: forward(blocks, x), blocks) for forward in (hungry_forward, lean_forward))
    check.between(
        lean,
        None,
        0.4 * hungry,
        f"the bytes kept for the backward pass (hungry_forward keeps {hungry})",
        "is every block called through torch.utils.checkpoint.checkpoint?",
    )
    calls, alive, most = [0] * count, set(), 0

    def enter(number):
        nonlocal most
        calls[number] += 1
        if calls[number] == 2:
            alive.add(number)
            most = max(most, len(alive))

    spies = [block.register_forward_pre_hook(lambda module, args, i=i: enter(i)) for i, block in enumerate(blocks)]
    spies += [block.norm.weight.register_hook(lambda gradient, i=i: alive.discard(i)) for i, block in enumerate(blocks)]
    lean_forward(blocks, x).square().mean().backward()
    [spy.remove() for spy in spies]
    check.true(
        max(calls) <= 2,
        f"the blocks ran {calls} times, forward and backward together; expected at most 2 each. A lambda looks up `block` when it "
        "runs, and in the backward pass that is the last block of the loop: give checkpoint the block itself.",
    )
    check.between(
        most,
        None,
        1,
        "the number of blocks whose activations exist at once in the backward pass",
        "one checkpoint around all blocks brings everything back at once: checkpoint block by block",
    )
    for i, (observed, expected) in enumerate(zip(results[1][1], results[0][1])):
        check.true(observed is not None, f"weight {i} got no gradient.")
        check.equal(
            observed,
            expected,
            f"the gradient of weight {i}",
            "the second forward must draw the same dropout masks as the first (preserve_rng_state, on by default)",
            rtol=1e-4,
        )


def patient_1():
    check_patient_1([(1, 2, 3), (3, 1, 2), (2, 3, 1)], 7, [1, 2, 3, 3, 1, 2, 2])
    ### BEGIN HIDDEN TESTS
    check_patient_1([(5, 6), (6, 5)], 2, [5, 6])
    check_patient_1([(4, 5, 6, 7), (7, 5, 4, 6)], 1, [4])
    check_patient_1([(4, 5, 6, 7), (7, 5, 4, 6), (6, 7, 4, 5)], 11, [4, 5, 6, 7, 7, 5, 4, 6, 6, 7, 4])
    ### END HIDDEN TESTS


def patient_2():
    nan = math.nan
    check_patient_2((1, 1, 1), 0.5, (0.8, 0.4), [0.1, 0.05], [(0, 1), (0, 2)], "every loss is above the limit of 0.5")
    check_patient_2((1, 1, nan, 1), 50.0, (0.4, 0.1), [0.2, 0.05], [(1, 3)], "the third batch is NaN")
    ### BEGIN HIDDEN TESTS
    torch.manual_seed(2)
    twin = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6, momentum=0.5), nn.Linear(6, 3))
    loss = F.cross_entropy(twin(torch.randn(7, 4)), torch.tensor([0, 1, 2, 2, 1, 0, 0]))
    slope = torch.autograd.grad(loss, twin[2].weight)[0]
    first, rates = loss.item(), (0.8, 0.4)
    observed, states, model = check_patient_2(
        (1, nan, nan, 1, 1), 9.0, rates, [0.2, 0.1], [(0, 2), (0, 3)], "two crashes in a row"
    )
    check.equal(observed[0], first, "the first loss")
    check.equal(observed[3], first, "the loss after two crashes", "it is that of the healthy weights")
    expected = twin[2].weight.detach() - 0.1 * slope
    check.equal(states[4]["2.weight"], expected, "the weights after a healthy update at the halved rate", rtol=1e-4)
    check_patient_2((1, 1, 1), first - 1e-3, rates, [0.1, 0.05], [(0, 1), (0, 2)], "every loss is above the limit")
    check_patient_2((1,), first, rates, [0.8, 0.4], [], "the loss is just at the limit")
    check_patient_2((nan, 1), 9.0, rates, [0.4, 0.2], [(0, 1)], "the very first batch is NaN")
    ### END HIDDEN TESTS


def patient_3():
    check_patient_3(3, 9)
    ### BEGIN HIDDEN TESTS
    check_patient_3(5, 14)
    ### END HIDDEN TESTS


def patient_4():
    check_patient_4(width=24, count=5, samples=33, seed=4)
    ### BEGIN HIDDEN TESTS
    check_patient_4(width=16, count=7, samples=20, seed=6)
    ### END HIDDEN TESTS


with check.exercise("debug_clinic"):
    parts = {"patient 1": patient_1, "patient 2": patient_2, "patient 3": patient_3, "patient 4": patient_4}
    check.parts(parts)
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
# ### The patients afterwards
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
# Patient 2 finds a rate it can live with and learns. The guard is not a cure for everything: if the last copy was
# itself barely healthy, every batch after it crashes, and the rate is halved for ever. Long runs keep several copies,
# further and further back, and also skip the batches that led to the crash.

# %% [markdown]
# ### Claim: checkpointing trades time for memory
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
# # Claims measured
#
# | claim | where |
# |---|---|
# | accumulation equals the big batch | exercise 4 |
# | a resumed run follows the unbroken curve exactly | exercise 6 |
# | activation checkpointing trades time for memory | exercise 9 |
#
# The table with your own figures stands below the last of them; `unit24 claims` prints it in a terminal.

# %% [markdown]
# # On a bigger machine
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
# # Quiz
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
# - [ ] float16 is slower without scaling :: Speed has nothing to do with it.
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
# # What to read next
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
