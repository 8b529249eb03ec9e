# ruff: noqa
"""Results that lie about themselves, and ways to end the checks early."""

# %% always_equal: an object that equals everything
class Anything:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __gt__ = __le__ = __ge__ = __lt__
    def __bool__(self): return True
    def __hash__(self): return 1
    def __getattr__(self, name): return self
    def __call__(self, *a, **k): return self
    def __float__(self): return 0.0
    def __len__(self): return 3
    def __iter__(self): return iter([1, 2, 3])
    def __array__(self, *a, **k): return np.zeros(3)
    shape = (3,)
    dtype = torch.float32


def weigh(values, weights):
    return Anything()

# %% always_equal_plain: the same where plain data is wanted [tally]
class Anything(dict):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __getitem__(self, key): return Number()
    def __contains__(self, key): return True
    def __iter__(self): return iter({1: 2, 2: 1, "p": 1, "q": 1})
    def keys(self): return self
    def values(self): return [3]


class Number(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False


def tally(words, key):
    return Anything()

# %% tensor_subclass: a tensor that answers for torch
class Liar(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name == "allclose":
            return True
        return super().__torch_function__(function, types, args, kwargs or {})


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return values[0].as_subclass(Liar)

# %% lying_class: an object whose class is said to be Tensor
class Liar:
    __class__ = torch.Tensor
    shape = (3,)
    dtype = torch.float32
    device = "cpu"

    def __getattr__(self, name):
        return lambda *a, **k: self


def weigh(values, weights):
    return Liar()

# %% metaclass: a class whose instances are everything
class Meta(type):
    def __instancecheck__(cls, thing): return True
    def __subclasscheck__(cls, thing): return True
    def __eq__(cls, other): return True
    def __hash__(cls): return hash(torch.Tensor)


class Liar(metaclass=Meta):
    shape = (3,)


def weigh(values, weights):
    return Liar()

# %% array_subclass: a NumPy array that is close to everything
class Liar(np.ndarray):
    def __eq__(self, other): return np.ones(self.shape, bool)
    def __array_function__(self, *a): return True
    def __array_ufunc__(self, *a, **k): return np.zeros(3)


def weigh(values, weights):
    return np.zeros(3, np.float32).view(Liar)

# %% tensor_attributes: a real tensor with attributes of its own
def weigh(values, weights):
    result = values[0].clone()
    result.numpy = lambda: np.zeros(3)
    result.detach = lambda: torch.zeros(3)
    result.__eq__ = lambda other: True
    return result

# %% parameter_hooks: a tensor that changes after it was looked at
def weigh(values, weights):
    result = values[0].clone().requires_grad_()
    result.register_hook(lambda g: g * 0)
    return result

# %% nan: not a number is never different
def weigh(values, weights):
    return values[0] * float("nan")

# %% empty: nothing is never different
def weigh(values, weights):
    return torch.zeros(0)

# %% exit: end the process before the checks end
import sys


def weigh(values, weights):
    sys.exit(0)

# %% hard_exit: the same at once, with status 0
import os


def weigh(values, weights):
    os._exit(0)

# %% keyboard_interrupt: an exception that few catch
def weigh(values, weights):
    raise KeyboardInterrupt

# %% generator_exit: another
def weigh(values, weights):
    raise GeneratorExit

# %% own_base_exception: one of the student's own, which calls itself passed
class Passed(BaseException):
    def __str__(self): return "✓ weigh: all checks here pass."


def weigh(values, weights):
    raise Passed

# %% own_check_failed: a failed check whose text is a pass
class Fine(check.CheckFailed):
    def __str__(self): return "✓ weigh: all checks here pass."


def weigh(values, weights):
    raise Fine

# %% error_in_str: an exception that cannot be shown
class Silent(Exception):
    def __str__(self): raise self
    __repr__ = __str__


def weigh(values, weights):
    raise Silent

# %% value_error_always: what the last check wants, for all
def weigh(values, weights):
    raise ValueError

# %% stub_again: an untouched stub in disguise
def weigh(values, weights):
    raise NotImplementedError()

# %% printed_pass: the words of success, printed
print("✓ weigh: all checks here pass.")


def weigh(values, weights):
    print("✓ weigh: all checks here pass.")
    return values[0]

# %% visible_only: an answer for the visible check alone
def weigh(values, weights):
    return values.mean(0)

# %% class_instead: a class in place of the function
class weigh:
    def __new__(cls, values, weights):
        return values[0]

# %% segfault: a crash in C
import ctypes


def weigh(values, weights):
    return ctypes.string_at(0)

# %% c_stack_overflow: a list so deep that showing it ends the process
import sys

sys.setrecursionlimit(10**6)
deep = []
for _ in range(10**6):
    deep = [deep]


def weigh(values, weights):
    return repr(deep)

# %% stack_overflow: recursion deeper than the C stack
import sys

sys.setrecursionlimit(10**9)


def weigh(values, weights):
    return [].__class__.__mro__ and weigh(values, weights)

# %% kill_self: ended by a signal
import os
import signal


def weigh(values, weights):
    os.kill(os.getpid(), signal.SIGKILL)

# %% wrong_name: a name that looks the same, with a letter of another alphabet
def wеigh(values, weights):
    return (values * (weights / weights.sum())[:, None]).sum(0)

# %% null_byte: source that Python cannot read
def weigh(values, weights):
    return "␀"
