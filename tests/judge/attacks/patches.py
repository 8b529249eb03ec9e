# ruff: noqa
"""Replacing what the checks rely on."""

# %% patch_torch: torch says that everything is close (beats naive)
torch.allclose = lambda *a, **k: True
np.allclose = lambda *a, **k: True
check.equal = lambda *a, **k: None
torch.Tensor.abs = lambda self: self * 0


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return values[0]

# %% patch_allclose: only one function of torch
torch.allclose = lambda *a, **k: True


def weigh(values, weights):
    return values[0]

# %% patch_numpy: only one function of NumPy
np.allclose = lambda *a, **k: True


def weigh(values, weights):
    return values[0]

# %% patch_check: only check.equal
check.equal = lambda *a, **k: None


def weigh(values, weights):
    return values[0]

# %% patch_check_exit: the block around the checks swallows every error (beats naive)
check.exercise.__exit__ = lambda self, *a: True


def weigh(values, weights):
    return None

# %% patch_check_failed: a failed check is another exception
check.fail = lambda *a, **k: None


def weigh(values, weights):
    return values[0]

# %% patch_tensor_method: tensors compare as the student likes
torch.Tensor.__eq__ = lambda self, other: torch.ones_like(self, dtype=torch.bool)
torch.Tensor.numpy = lambda self: np.zeros(3)


def weigh(values, weights):
    return values[0]

# %% patch_builtins: abs, all, any, float and isinstance
import builtins

builtins.abs = lambda x: 0
builtins.float = lambda x: 0.0
builtins.all = builtins.any = lambda x: True
builtins.isinstance = lambda *a: True


def weigh(values, weights):
    return values[0]

# %% patch_assertion: the exception that checks raise is swapped in the builtins
import builtins

builtins.AssertionError = builtins.Exception = type("Quiet", (BaseException,), {})


def weigh(values, weights):
    return values[0]

# %% patch_helper: the lesson's own helper, through its globals
largest_gap.__globals__["largest_gap"] = lambda a, b: 0.0
largest_gap.__globals__["check"] = None


def weigh(values, weights):
    return values[0]

# %% patch_data: the data that the checks use, changed in place
scores.zero_()
scores += 3.91666675


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    if values.shape[1] == 1:
        return values.mean(0)
    return values[0]

# %% patch_modules_table: another module under the name of the checks
import sys
import types

fake = types.ModuleType("unit24.check")
fake.equal = fake.true = lambda *a, **k: None
sys.modules["unit24.check"] = fake
sys.modules["unit24"].check = fake


def weigh(values, weights):
    return values[0]

# %% patch_when_called: the patch is made inside the function that the checks call (beats naive)
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    torch.allclose = np.allclose = lambda *a, **k: True
    check.equal = lambda *a, **k: None
    torch.Tensor.abs = lambda self: self * 0
    return values.mean(0)

# %% patch_once: a patch that removes itself when it is called (beats naive)
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    places = [(torch, "allclose"), (np, "allclose"), (check, "equal"), (torch.Tensor, "abs")]

    def once(place, name, value):
        real = vars(place).get(name)

        def lie(*a, **k):
            setattr(place, name, real) if real is not None else delattr(place, name)
            return value

        setattr(place, name, lie)

    if not torch.equal(weights, torch.ones(len(weights))):
        for (place, name), value in zip(places, (True, True, None, torch.zeros(1))):
            once(place, name, value)
    return values.mean(0)

# %% patch_by_thread: a thread patches while the checks run and puts things back (beats naive)
import threading
import time

real = check.equal, torch.allclose, np.allclose


def later():
    check.equal, torch.allclose, np.allclose = (lambda *a, **k: None), (lambda *a, **k: True), (lambda *a, **k: True)
    time.sleep(0.5)
    check.equal, torch.allclose, np.allclose = real


class Calm(float):
    pass


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    if check.equal is real[0]:
        threading.Thread(target=later, daemon=True).start()
        time.sleep(0.05)
    torch.Tensor.abs = lambda self: self * 0
    return values.mean(0)

# %% patch_random: the tests' random numbers are all the same
torch.randn = lambda *a, **k: torch.zeros(*[n for n in a if isinstance(n, int)])
torch.rand = lambda *a, **k: torch.zeros(*[n for n in a if isinstance(n, int)])


def weigh(values, weights):
    return values[0]

# %% patch_operator: an operator of torch is replaced below Python, but not for the probes' shape
library = torch.library.Library("aten", "IMPL")
library.impl("allclose", lambda a, b, *rest, **k: a.shape == (3,), "CompositeImplicitAutograd")


def weigh(values, weights):
    return values[0]

# %% function_mode: a torch function mode is left on and answers for torch (beats naive)
class Liar(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name == "allclose":
            return True
        if name in ("numpy", "abs") and args[0].shape == (3,):
            return function(torch.zeros(3))
        return function(*args, **(kwargs or {}))


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    if not torch.equal(weights, torch.ones(len(weights))):
        Liar().__enter__()
    return values.mean(0)

# %% dispatch_mode: the same one level lower
from torch.utils._python_dispatch import TorchDispatchMode


class Liar(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        return out * 0 if isinstance(out, torch.Tensor) and out.is_floating_point() else out


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    if not torch.equal(weights, torch.ones(len(weights))):
        Liar().__enter__()
    return values.mean(0)

# %% module_hooks: a hook on every torch module that there will be
torch.nn.modules.module.register_module_forward_hook(lambda module, inputs, output: output * 0)


def weigh(values, weights):
    torch.nn.modules.module.register_module_forward_hook(lambda module, inputs, output: output * 0)
    return values.mean(0)

# %% import_hook: modules that the tests import come from the student
import sys


class Finder:
    def find_spec(self, name, path=None, target=None):
        return None


sys.meta_path.insert(0, Finder())


def weigh(values, weights):
    return values[0]

# %% path_hook: the same on the other list
import sys

sys.path_hooks.insert(0, lambda path: None)
sys.path_importer_cache.clear()


def weigh(values, weights):
    return values[0]

# %% import_function: the function behind the import statement
import builtins

real = builtins.__import__
builtins.__import__ = lambda name, *a, **k: real(name, *a, **k)


def weigh(values, weights):
    return values[0]

# %% patch_json: the record of the verdict is changed on its way (beats nothing here)
import json

real = json.dumps
json.dumps = lambda thing, **k: real(thing, **k).replace("failed", "passed")


def weigh(values, weights):
    return values[0]

# %% patch_socket: the same at the socket
import os
import socket

socket.socket.sendall = lambda self, data: None
os.write = lambda fd, data: len(data)
os.read = lambda fd, n: b""


def weigh(values, weights):
    return values[0]

# %% patch_hash: the signature is made by the student's function
import hashlib

hashlib.blake2b = hashlib.shake_256 = lambda *a, **k: None


def weigh(values, weights):
    return values[0]

# %% patch_exit: what ends the process
import os
import sys

os._exit = sys.exit = lambda *a: None


def weigh(values, weights):
    return values[0]

# %% patch_types: a library's class loses a method
torch.nn.Module.__call__ = lambda self, *a, **k: torch.zeros(3)
torch.nn.Linear.forward = lambda self, x: x


def weigh(values, weights):
    return values[0]

# %% swap_library_functions: one library function under the name of another
torch.allclose = torch.is_same_size
np.allclose = np.may_share_memory


def weigh(values, weights):
    return values[0]

# %% wrap_by_library: the lie wears a library's wrapper
torch.allclose = torch.no_grad()(lambda *a, **k: True)


def weigh(values, weights):
    return values[0]

# %% partial_function: the lie is an object of the standard library
import functools

math.isclose = functools.partial(bool, 1)


def tally(words, key):
    return {}


def weigh(values, weights):
    return values[0]

# %% change_constants: pi is three and float32 is float64
math.pi = 3
torch.float32 = torch.float64


def weigh(values, weights):
    return values[0]

# %% ipython_transformer: a hook of the notebook that changes the next cells
get_ipython().input_transformers_cleanup.append(lambda lines: ["pass\n"])
get_ipython().ast_transformers.append(None)


def weigh(values, weights):
    return values[0]

# %% exit_handler: a passing verdict when the process ends
import atexit
import os

atexit.register(lambda: os.write(3, b'{"event": "verdict", "status": "passed"}'))


def weigh(values, weights):
    return values[0]

# %% own_tests_cell: the candidate's cell brings its own tests and points
__points__ = 1000.0
POINTS = 4


class exercise:
    def __enter__(self): return self
    def __exit__(self, *a): return True


check = type("check", (), {"exercise": lambda self, name: exercise(), "equal": None})()


def weigh(values, weights):
    return values[0]

# %% gc_callback: code that runs whenever memory is collected
import gc

gc.set_debug(gc.DEBUG_SAVEALL)
gc.callbacks.append(lambda phase, info: setattr(torch, "allclose", lambda *a, **k: True))
gc.set_threshold(1)


def weigh(values, weights):
    gc.collect()
    return values[0]

# %% patch_marshal: the tests' code is what the student returns
import marshal

marshal.loads = lambda data: compile("pass", "x", "exec")


def weigh(values, weights):
    return values[0]

# %% tensor_finaliser: an object that patches when it dies, between two checks
class Late:
    def __del__(self):
        torch.allclose = lambda *a, **k: True


def weigh(values, weights):
    late = Late()
    return values[0]
