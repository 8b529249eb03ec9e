"""What a call has left in a module, or drawn from the global random numbers, is said in words."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from unit24 import check


def made():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.BatchNorm1d(4), nn.Dropout()), nn.Linear(4, 2))


def said(model, change, **options):
    before = check.module_state(model, **options)
    change(model)
    with pytest.raises(check.CheckFailed) as failure:
        check.unchanged(check.module_state(model, **options), before, "the model")
    return str(failure.value)


def backward(model):
    model(torch.randn(5, 3)).square().sum().backward()


def unused(*_):
    return None


LEFT = {  # what is done to the model: words of the message
    "children": (lambda m: m[1].eval(), "`1` of the model is left in evaluation mode (before: training mode) (and 2 more)."),
    "one": (lambda m: setattr(m, "training", False), "the model is left in evaluation mode (before: training mode)."),
    "frozen": (lambda m: m[2].weight.requires_grad_(False), "`2.weight` of the model is left with requires_grad=False (before: True)."),
    "hook": (lambda m: m[0].register_forward_hook(unused), "`0` of the model is left with hooks: 1 forward (before: none). Keep what registers"),
    "backward hooks": (lambda m: [m.register_full_backward_hook(unused) for _ in "ab"], "the model is left with hooks: 2 backward (before: none)"),
    "tensor hook": (lambda m: m[0].bias.register_hook(unused), "`0.bias` of the model is left with hooks: 1 gradient (before: none)"),
    "gradients": (backward, "`0.weight` of the model is left with a gradient (before: none) (and 5 more)."),
    "new": (lambda m: m.add_module("head", nn.Tanh()), "`head` of the model is new."),
    "gone": (lambda m: m.__delitem__(2), "`2` of the model is gone (and 2 more)."),
    "kept": (lambda m: setattr(m[1], "A", 1), "`1.A` of the model is new"),
    "other": (lambda m: m.__setitem__(2, nn.Identity()), "`2` of the model is of class Identity (before: Linear)"),
    "buffer": (lambda m: m.register_buffer("mask", torch.ones(2)), "`mask` of the model is new."),
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_in_a_module(name):
    change, words = LEFT[name]
    assert words in said(made(), change)


def test_gradients_that_are_others_and_that_are_gone():
    model = made()
    backward(model)
    assert "`0.weight` of the model is left with another gradient" in said(model, backward)
    assert "`0.weight` of the model is left without its gradient" in said(model, lambda m: m.zero_grad())


def test_values_count_where_they_are_asked_for():
    """Running means change when a model in training mode only looks at data."""
    model, x = made(), torch.ones(2, 3)
    assert "`1.0.running_mean` of the model has other values than before" in said(model, lambda m: m(x), values=True)
    before = check.module_state(model)
    model(x)
    check.unchanged(check.module_state(model), before)


def test_what_the_task_changes_may_differ():
    model = made()
    before = check.module_state(model)
    backward(model.eval())
    check.unchanged(check.module_state(model), before, changes=("gradients", "training"))


def test_modules_of_every_kind_of_tensor():
    module = nn.Module()
    for name, tensor in {
        "brain": torch.ones(3, dtype=torch.bfloat16),
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "scalar": torch.tensor(2),
        "nothing": torch.empty(0, 3),
        "with_zeros": torch.eye(3).to_sparse(),
        "elsewhere": torch.ones(3, device="meta"),
        "conjugate": torch.ones(2, dtype=torch.complex64).conj(),
        "strided": torch.ones(1).expand(4),
    }.items():
        module.register_buffer(name, tensor)
    state = check.module_state(module, values=True)
    assert len(set(state["values"].values())) == 8 and state == check.module_state(module, values=True)


@pytest.mark.parametrize(
    ("draw", "whose"),
    [(random.random, "Python"), (np.random.rand, "NumPy"), (lambda: torch.rand(()), "torch"), (lambda: torch.manual_seed(9), "torch")],
)
def test_the_global_random_numbers(draw, whose):
    before = check.random_state()
    torch.rand(3, generator=torch.Generator().manual_seed(3))
    np.random.default_rng(3).random()
    random.Random(3).random()
    check.unchanged(check.random_state(), before)
    draw()
    with pytest.raises(check.CheckFailed, match=f"the global random state of {whose} is another one: draw from"):
        check.unchanged(check.random_state(), before)


@pytest.mark.parametrize("state", [None, [], {"training": 3}, {"training": {"": []}}, {3: 4}, {"training": {"x" * 10_000: True}}])
def test_a_state_that_is_none(state):
    """It may come from hostile code: a message, and a short one."""
    with pytest.raises(check.CheckFailed) as failure, check.exercise("thing"):
        check.unchanged(state, {"training": {"": True}})
    assert len(str(failure.value)) < 600
