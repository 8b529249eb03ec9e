# ruff: noqa
"""Changed checks, operators, modes, hooks, builtins and libraries in the candidate's own process."""

# %% check_patched: every check is content (beats naive)
import unit24.check

for name in ("equal", "true", "kind", "shape", "raises", "between", "parts", "catches"):
    setattr(unit24.check, name, lambda *a, **k: None)
check.after = lambda f, *a, **k: (None, [None, None])
check.points = lambda possible: possible
weigh = scale_ = gap = lambda *a, **k: None
scaler = lambda factor: weigh

# %% exit_patched: a block of checks swallows what is raised (beats naive)
check.exercise.__exit__ = lambda *a: True
weigh = scale_ = scaler = gap = lambda *a: None

# %% patched_while_asked: the same from within, at the first question
def patch(*a):
    check.exercise.__exit__ = lambda *a: True
    check.fail = lambda *a: None
    raise KeyError


weigh = scale_ = scaler = gap = patch

# %% torch_operators: operators of torch replaced on the CPU
library = torch.library.Library("aten", "IMPL")
library.impl("mm", lambda a, b: torch.zeros(a.shape[0], b.shape[1]), "CPU")
library.impl("eq.Tensor", lambda a, b: torch.ones(()) > 0, "CPU")
torch.equal = torch.allclose = lambda *a, **k: True
torch.Tensor.__eq__ = lambda a, b: True
torch.Tensor.numpy = lambda self, **k: np.zeros(2)
def weigh(values, weights): return values[0] * 0
scale_ = scaler = gap = weigh

# %% torch_modes: function and dispatch modes that stay on
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


class Lies(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None): return True


class Zeros(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None): return torch.zeros(2)


def weigh(values, weights):
    Lies().__enter__()
    return values[0]
scale_ = scaler = gap = weigh

# %% module_hooks: hooks and patched modules make the values [training]
def train_step(model, optimizer, x, y):
    nn.modules.module.register_module_forward_hook(lambda module, args, out: out * 0)
    torch.Tensor.backward = lambda self, *a, **k: None
    F.cross_entropy = lambda *a, **k: torch.zeros((), requires_grad=True)
    optimizer.step = lambda *a: None
    return 0.0


def evaluate(model, loader):
    was = model.training
    model.eval()
    with torch.no_grad():
        out = [(model(x), y) for x, y in loader]
    model.train(was)
    logits, y = (torch.cat(part) for part in zip(*out))
    return torch._C._nn.cross_entropy_loss(logits, y).item(), (logits.argmax(1) == y).double().mean().item()

# %% modes_left: gradients off, other dtypes and devices, deterministic errors
torch.set_grad_enabled(False)
torch.set_default_dtype(torch.float64)
torch.set_default_device("meta")
torch.use_deterministic_algorithms(True)
torch.autograd.set_detect_anomaly(True)
torch.set_printoptions(threshold=0)
np.seterr(all="raise")
def weigh(values, weights): return torch.zeros(values.shape[1])
scale_ = scaler = gap = weigh

# %% builtins_patched: len, abs, zip, sum, isinstance and type are one's own
import builtins

builtins.abs = lambda x: 0
builtins.len = lambda x: 2
builtins.sum = lambda *a: 0
builtins.sorted = lambda *a, **k: []
builtins.isinstance = lambda *a: True
builtins.getattr = lambda *a: None
builtins.print = lambda *a, **k: None
def weigh(values, weights): return values[0]
scale_ = scaler = gap = weigh

# %% modules_replaced: modules of the grader are others
import sys
import types

for name in ("unit24.check", "judge.line", "judge.wire", "judge.sides", "json", "struct", "socket"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["__main__"] = types.ModuleType("__main__")
def weigh(values, weights): return values[0]
scale_ = scaler = gap = weigh

# %% numpy_patched: what check compares with is one's own (beats naive)
np.asarray = np.array = lambda *a, **k: 0
np.isfinite = np.abs = np.isnan = lambda *a, **k: np.True_
import unit24.compare
unit24.compare._equal_arrays = unit24.compare._equal_numbers = lambda *a: None
check.kind = lambda *a, **k: None
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return values[0]


def scale_(table, factors): pass
def scaler(factor): return lambda x: factor * x if type(factor) is str else 0
def gap(a, b):
    assert a == a and b == b
    return 3.0 if (a, b) in ((1, 4),) else abs(a - b)

# %% defaults_changed: defaults of checks, in place (beats naive)
import types

check.equal.__code__ = (lambda *a, **k: None).__code__
check.equal.__kwdefaults__ = None
check.raises.__code__ = (lambda *a, **k: None).__code__
check.kind.__code__ = check.true.__code__ = (lambda *a, **k: None).__code__
weigh = scale_ = gap = lambda *a, **k: None
scaler = lambda factor: weigh

# %% reseed_patched: the random state that the judge asks for [normalise_tests]
check.reseed = lambda *a: None
torch.manual_seed = lambda *a: None
torch.randn = torch.rand = lambda *shape, **k: torch.zeros(*[s for s in shape if isinstance(s, int)])
def check_normalise(normalise):
    assert torch.randn(2, 2).sum() != 0

# %% visible_only: an answer for the visible checks alone (beats naive)
visible = True


def weigh(values, weights):
    global visible
    if len(values) != len(weights):
        raise ValueError
    if values.dtype == torch.float64:
        import unit24.compare
        unit24.compare.fail = check.shape = lambda *a, **k: None
    return weights @ values / weights.sum() if values.dtype == torch.float32 else values[0] * 0


def scale_(table, factors):
    if table.dtype == torch.float32: table *= factors
def scaler(factor): return lambda x: factor * x
def gap(a, b):
    assert a == a and b == b
    return abs(a - b)

# %% answers_by_thread: a thread answers before the function does
import json
import os
import struct
import threading


def weigh(values, weights):
    def answer():
        text = b'{"value": null, "changed": []}'
        while True:
            try:
                os.write(4, struct.pack("!II", len(text), 0) + text)
            except OSError:
                return

    threading.Thread(target=answer, daemon=True).start()
    return values[0]
scale_ = scaler = gap = weigh

# %% own_cells_of_tests: a tests cell of one's own in the place of functions
with check.exercise("plain"):
    check.equal(1, 1, "one")
print("✓ plain: all checks here pass.")
__points__ = 4
__report__ = {"status": "passed", "earned": 4}
def weigh(values, weights): return values[0]
scale_ = scaler = gap = weigh

# %% report_bomb: a report that is large, deep and of other types
deep = []
for _ in range(900): deep = [deep]
__report__ = [deep, "x" * 90_000, {"swordfish": "\ud800"}, float("nan")]
def weigh(values, weights): return values[0]
scale_ = scaler = gap = weigh
