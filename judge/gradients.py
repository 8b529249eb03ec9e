"""First derivatives across the wall: the graph stays where the function ran, gradients are sent there and back.

Importing this module imports no torch: whoever is confined could not read the module any more.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any


def wants_gradient(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and type(value) in (torch.Tensor, torch.nn.Parameter) and value.requires_grad


def bridged(ask: Callable[..., tuple[Any, Callable | None]], args: tuple, kwargs: dict) -> Any:
    """A call on the other side with autograd: once, and for a result that is one tensor.

    Args:
        ask: ``ask(args, kwargs)`` gives the value and its pullback there, None where it has no graph.
    """
    return _bridge().apply(ask, len(args), tuple(kwargs), *args, *kwargs.values())


def pullback(value: Any, inputs: list) -> Callable | None:
    """From the gradient of `value` to those of the `inputs` that want one; None where `value` has no graph."""
    if not wants_gradient(value):
        return None
    torch, wanted = sys.modules["torch"], [x for x in inputs if wants_gradient(x)]
    return lambda gradient: list(torch.autograd.grad(value, wanted, gradient, allow_unused=True, retain_graph=True))


@functools.cache
def _bridge() -> type:
    import torch
    from torch.autograd.function import once_differentiable

    class Bridge(torch.autograd.Function):
        @staticmethod
        def forward(ctx, ask, count, names, *inputs):
            value, ctx.pullback = ask(inputs[:count], dict(zip(names, inputs[count:])))
            ctx.wants = [wants_gradient(x) for x in inputs]
            if type(value) is torch.Tensor:
                value = value.detach()
                if ctx.pullback is None:
                    ctx.mark_non_differentiable(value)
            return value

        @staticmethod
        @once_differentiable
        def backward(ctx, gradient):
            given = iter(ctx.pullback(gradient))
            return (None, None, None, *(next(given) if wants else None for wants in ctx.wants))

    return Bridge
