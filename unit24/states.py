"""States that a call must leave as they were, as plain data: of a module, and of the global random numbers.

A scenario takes them before and after the student's code, the tests compare them (`check.unchanged`).  A state is
``{kind: {name: value}}`` with built-in values alone, so it crosses from process to process.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Collection
from typing import Any

HOOKS = {  # kind -> where a module keeps them
    "forward": "_forward_hooks",
    "forward pre": "_forward_pre_hooks",
    "backward": "_backward_hooks",
    "backward pre": "_backward_pre_hooks",
    "state dict": "_state_dict_hooks",
}
PARAMETER_HOOKS = {"gradient": "_backward_hooks", "accumulated gradient": "_post_accumulate_grad_hooks"}
KINDS = ("submodules", "attributes", "training", "hooks", "parameters", "requires_grad", "gradients", "values", "random state")

State = dict[str, dict[str, Any]]


def module_state(module: Any, values: bool = False) -> State:
    """What can be left behind in a torch module.

    Args:
        values: those of parameters and buffers too.

    Returns:
        By submodule ``"submodules"`` (its class), ``"attributes"`` (the class of each that is no part of torch's own, and no
        private one), ``"training"``, ``"hooks"`` (how many of each kind); by parameter and
        buffer ``"parameters"`` (its class), by parameter ``"requires_grad"``, ``"hooks"`` and ``"gradients"``; ``"values"``.
    """
    modules, parameters = dict(module.named_modules()), dict(module.named_parameters())
    tensors = {**parameters, **dict(module.named_buffers())}
    hooks = {name: _hooks(inner, HOOKS) for name, inner in modules.items()}
    state = {
        "submodules": {name: type(inner).__name__ for name, inner in modules.items()},
        "attributes": {
            f"{name}.{key}".lstrip("."): type(value).__name__
            for name, inner in modules.items()
            for key, value in vars(inner).items()
            if not key.startswith("_") and key != "training"
        },
        "training": {name: inner.training for name, inner in modules.items()},
        "hooks": hooks | {name: _hooks(parameter, PARAMETER_HOOKS) for name, parameter in parameters.items()},
        "parameters": {name: type(tensor).__name__ for name, tensor in tensors.items()},
        "requires_grad": {name: parameter.requires_grad for name, parameter in parameters.items()},
        "gradients": {name: None if p.grad is None else _digest(p.grad) for name, p in parameters.items()},
    }
    return state | ({"values": {name: _digest(tensor) for name, tensor in tensors.items()}} if values else {})


def random_state() -> State:
    """Of Python's, NumPy's and torch's global random numbers: who draws from them, or seeds them, changes it."""
    states = {"Python": repr(random.getstate()).encode()}
    if "numpy" in sys.modules:
        _, numbers, *rest = sys.modules["numpy"].random.get_state()
        states["NumPy"] = numbers.tobytes() + repr(rest).encode()
    if "torch" in sys.modules:
        states["torch"] = sys.modules["torch"].get_rng_state().numpy().tobytes()
    return {"random state": {name: _short(data) for name, data in states.items()}}


def differences(state: State, before: State, what: str, changes: Collection[str] = ()) -> list[str]:
    """In words, what is not as it was before; kinds in `changes` may differ."""
    said = []
    for kind in [kind for kind in KINDS if kind in before and kind not in changes]:
        now, then = state.get(kind, {}), before[kind]
        if kind == "attributes":  # another submodule has others
            same = {name for name, module in before["submodules"].items() if state["submodules"].get(name) == module}
            now, then = ({name: value for name, value in one.items() if name.rpartition(".")[0] in same} for one in (now, then))
        for name in [*then, *(name for name in now if name not in then)]:
            if name not in now or name not in then:
                said.append(f"{_place(name, what)} is {'gone' if name in then else 'new'}")
            elif now[name] != then[name]:
                said.append(_changed(kind, name, _place(name, what), now[name], then[name]))
    return list(dict.fromkeys(said))


# --------------------------------------------------------------------------------------------------


def _place(name: str, what: str) -> str:
    return f"`{name}` of {what}" if name else what


def _changed(kind: str, name: str, place: str, now: Any, then: Any) -> str:
    if kind in ("submodules", "attributes", "parameters"):
        return f"{place} is of class {now} (before: {then})"
    if kind == "training":
        modes = {True: "training mode", False: "evaluation mode"}
        return f"{place} is left in {modes[bool(now)]} (before: {modes[bool(then)]})"
    if kind == "hooks":
        return f"{place} is left with hooks: {_counts(now)} (before: {_counts(then)}). Keep what registers a hook, and `remove()` it"
    if kind == "requires_grad":
        return f"{place} is left with requires_grad={now} (before: {then})"
    if kind == "gradients":
        left = "without its gradient" if now is None else "with a gradient (before: none)" if then is None else "with another gradient"
        return f"{place} is left {left}"
    if kind == "values":
        return f"{place} has other values than before"
    return f"the global random state of {name} is another one: draw from the generator that is given, or from one of your own"


def _counts(hooks: dict[str, int]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in hooks.items()) or "none"


def _hooks(owner: Any, places: dict[str, str]) -> dict[str, int]:
    return {kind: len(found) for kind, place in places.items() if (found := getattr(owner, place, None))}


def _digest(tensor: Any) -> str:
    """Of dtype, shape and bytes; of a tensor that keeps no plain bytes without these."""
    torch = sys.modules["torch"]
    data = f"{tensor.dtype} {tuple(tensor.shape)}".encode()
    if type(tensor) in (torch.Tensor, torch.nn.Parameter) and not tensor.is_meta:
        dense = tensor.detach() if tensor.layout is torch.strided else tensor.detach().to_dense()
        data += dense.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return _short(data)


def _short(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()
