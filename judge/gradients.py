"""First derivatives across the wall: the graph stays where the function ran, gradients are sent there and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from judge.line import Line


def bridge(line: Line, key: str | int, args: tuple, kwargs: dict) -> Any:
    """Call `key` on the other side of `line`, with autograd: once, and for a result that is one tensor."""
    return _Bridge.apply(line, key, len(args), tuple(kwargs), *args, *kwargs.values())


def pullback(value: Any, inputs: list) -> Callable | None:
    """From the gradient of `value` to those of the `inputs` that want one; None where `value` has no graph."""
    if type(value) is not torch.Tensor or not value.requires_grad:
        return None
    wanted = [x for x in inputs if _wants(x)]
    return lambda gradient: list(torch.autograd.grad(value, wanted, gradient, allow_unused=True, retain_graph=True))


def _wants(value: Any) -> bool:
    return type(value) in (torch.Tensor, torch.nn.Parameter) and value.requires_grad


class _Bridge(torch.autograd.Function):
    @staticmethod
    def forward(ctx, line, key, count, names, *inputs):
        from judge.line import StandIn

        args, kwargs = inputs[:count], dict(zip(names, inputs[count:]))
        reply = line.ask(key, args, kwargs, grad=True)
        value = line.result(key, reply, args)
        number = reply[0].get("pullback")
        ctx.pullback = StandIn(line, number) if type(number) is int else None
        ctx.wants = [_wants(x) for x in inputs]
        if type(value) is torch.Tensor:
            value = value.detach()
            if ctx.pullback is None:
                ctx.mark_non_differentiable(value)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        given = iter(ctx.pullback(gradient))
        return (None, None, None, None, *(next(given) if wants else None for wants in ctx.wants))
