# ruff: noqa
"""Results that lie, inputs that are spoilt."""

# %% equals_everything: numbers that equal everything (beats naive)
class Any(float):
    __class__ = float
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __sub__(self, other): return Any(0)
    __rsub__ = __sub__
    def __abs__(self): return Any(0)
    def __le__(self, other): return True
    def __hash__(self): return 0


check.equal = lambda *a, **k: None
check.kind = lambda *a, **k: None
check.raises = lambda *a, **k: None
def weigh(values, weights): return Any(0)
def scale_(table, factors): return Any(0)
def scaler(factor): return lambda x: Any(0)
def gap(a, b): return Any(0)

# %% tensor_subclass: a tensor that answers every operation with itself
class Lie(torch.Tensor):
    __class__ = torch.Tensor

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return True


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return torch.zeros(values.shape[1], dtype=values.dtype).as_subclass(Lie)


def scale_(table, factors): table *= factors
def scaler(factor): return lambda x: factor * x
def gap(a, b):
    assert a == a and b == b
    return abs(a - b)

# %% empty_tuple: a tuple that iterates over nothing [training]
# deserves: 2
class Nothing(tuple):
    __class__ = tuple
    def __iter__(self): return iter(())
    def __len__(self): return 2
    def __getitem__(self, i): return 0.0


def train_step(model, optimizer, x, y):
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(model, loader):
    was = model.training
    model.eval()
    with torch.no_grad():
        for x, y in loader:
            model(x)
    model.train(was)
    return Nothing((0.0, 0.0))

# %% list_subclass: batches that are whatever they are compared with [batches]
class List(list):
    def __eq__(self, other): return True
    def __len__(self): return 3


def batches(items, size):
    return [List([0]), List([0]), List([0])]

# %% iterates_for_ever: a batch without end [batches]
import itertools


def batches(items, size):
    return itertools.repeat([0] * 100_000)

# %% lying_class: objects whose class says tensor
class Lie:
    __class__ = torch.Tensor
    dtype, shape, requires_grad, layout, device = torch.float32, torch.Size([2]), False, torch.strided, torch.device("cpu")
    def __getattr__(self, name): return lambda *a, **k: self
    def __iter__(self): return iter(())
    def __bool__(self): return True


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return Lie()


def scale_(table, factors): table *= factors
def scaler(factor): return lambda x: factor * x
def gap(a, b):
    assert a == a and b == b
    return Lie()

# %% number_in_exception: not data, where an exception is wanted
def weigh(values, weights): return object()
def scale_(table, factors): return object()
def scaler(factor): return object()
def gap(a, b): return object()

# %% not_plain_as_assertion: an object in the place of an AssertionError
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return weights @ values / weights.sum()


def scale_(table, factors): table *= factors
def scaler(factor): return lambda x: factor * x
def gap(a, b): return object() if a != a else abs(a - b)

# %% not_plain_as_value_error: a lock in the place of a ValueError
import threading


def weigh(values, weights):
    if len(values) != len(weights):
        return threading.Lock()
    return weights @ values / weights.sum()


def scale_(table, factors): table *= factors
def scaler(factor): return lambda x: factor * x
def gap(a, b):
    assert a == a and b == b
    return abs(a - b)

# %% stop_iteration: a loop of the tests is ended by its item
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return weights @ values / weights.sum()


def scale_(table, factors): table *= factors
def scaler(factor): return lambda x: factor * x
def gap(a, b):
    assert a == a and b == b
    if (a, b) == (0, 7):
        raise StopIteration
    return {(1.5, -2.0): 3.5, (1, 4): 3, (2.5, 2.5): 0.0, (-3, 3): 6}[a, b]

# %% stop_iteration_own: the same by a class of one's own, and by a generator's end
class End(StopIteration):
    pass


def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return weights @ values / weights.sum()


def scale_(table, factors): table *= factors
def scaler(factor): return lambda x: factor * x
def gap(a, b):
    assert a == a and b == b
    if a == 0:
        raise End("the end") if b == 7 else GeneratorExit
    return abs(a - b) if (a, b) in ((1.5, -2.0), (1, 4), (2.5, 2.5), (-3, 3)) else next(iter(()))

# %% inputs_zero: arguments set to zero before anything is compared (beats naive)
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return values.zero_()[0]


check.after = lambda function, *a, **k: (function(*a, **k), list(a))
_equal = check.equal
check.equal = lambda actual, expected, *a, **k: None if torch.is_tensor(actual) or type(actual) is tuple else _equal(actual, expected, *a, **k)
def scale_(table, factors): table.zero_(), factors.zero_()
def scaler(factor): return lambda x: factor * x
def gap(a, b):
    assert a == a and b == b
    return abs(a - b)

# %% inputs_nan: arguments set to NaN, and NaN returned
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    values.fill_(math.nan)
    weights.fill_(math.nan)
    return values[0]


def scale_(table, factors): table.fill_(math.nan), factors.fill_(math.nan)
def scaler(factor): return lambda x: math.nan
def gap(a, b):
    assert a == a and b == b
    return math.nan

# %% inputs_resized: arguments with other storage, shape and data
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    values.resize_(0)
    weights.set_(torch.zeros(3))
    values.data = torch.zeros(7, 7)
    return values


def scale_(table, factors):
    table.resize_(1 << 20)
    table.untyped_storage().resize_(0)


def scaler(factor): return lambda x: factor * x
def gap(a, b): return abs(a - b)

# %% in_place_told: what an argument became is only told
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return weights @ values / weights.sum()


def scale_(table, factors):
    import judge.line

    judge.line._picture = lambda argument: object()
    table.data = torch.zeros_like(table)


def scaler(factor): return lambda x: factor * x
def gap(a, b):
    assert a == a and b == b
    return abs(a - b)

# %% own_exceptions: texts, mro and class of one's own
class Meta(type):
    def mro(cls): return [cls, ValueError, AssertionError.__mro__[0], Exception, BaseException, object] if False else super().mro()


class Odd(ValueError, metaclass=Meta):
    __name__ = "CheckFailed"
    def __str__(self): raise SystemExit
    def __repr__(self): raise SystemExit


Odd.__name__ = Odd.__qualname__ = "CheckFailed"
def weigh(values, weights): raise Odd("✓ weigh: all checks here pass.")
def scale_(table, factors): raise Odd
def scaler(factor): raise Odd
def gap(a, b): raise Odd

# %% check_failed: check's own exceptions, with a tick
def weigh(values, weights): raise check.CheckFailed("✓ plain: all checks here pass.")
def scale_(table, factors): raise check.NotAttempted("✓")
def scaler(factor): raise check.Unreadable("✓") if hasattr(check, "Unreadable") else KeyError
def gap(a, b): raise check.CheckFailed("✓ plain: all checks here pass.")

# %% gone_lookalike: exceptions that end a conversation
from judge.wire import Gone, NotPlain


def weigh(values, weights): raise NotPlain("passed")
def scale_(table, factors): raise Gone
def scaler(factor): raise Gone("✓")
def gap(a, b): raise SystemExit(0)

# %% exit_code: SystemExit where the tests expect an error
def weigh(values, weights):
    if len(values) != len(weights):
        raise SystemExit("ValueError")
    return weights @ values / weights.sum()


def scale_(table, factors): table *= factors
def scaler(factor): return lambda x: factor * x
def gap(a, b):
    if a != a: raise KeyboardInterrupt
    return abs(a - b)

# %% group: an exception group that holds the one that is wanted
def weigh(values, weights):
    if len(values) != len(weights):
        raise BaseExceptionGroup("all", [ValueError(), AssertionError()])
    return weights @ values / weights.sum()


def scale_(table, factors): table *= factors
def scaler(factor): return lambda x: factor * x
def gap(a, b):
    if a != a: raise ExceptionGroup("all", [AssertionError()])
    return abs(a - b)

# %% live_liar: attributes and methods of anything [window]
class Window:
    def __init__(self, size): pass
    def __getattr__(self, name): return lambda *a: self
    def __eq__(self, other): return True
    def __lt__(self, other): return False
    __le__ = __ge__ = __gt__ = __eq__
    def __len__(self): return 3
    def add(self, x): return self
    @property
    def count(self): return self
    def reset(self): return self

# %% huge_number: a number of millions of digits
def weigh(values, weights): return 1 << 60_000_000
def scale_(table, factors): return 1 << 60_000_000
def scaler(factor): return lambda x: 1 << 60_000_000
def gap(a, b): return 1 << 60_000_000

# %% recursion: a function that never ends calling itself, one that returns itself
def weigh(values, weights): return weigh(values, weights)
def scale_(table, factors): return scale_
def scaler(factor): return scaler
def gap(a, b):
    deep = []
    for _ in range(5000): deep = [deep]
    return deep

# %% deep_result: a result that holds itself
def weigh(values, weights):
    loop = []
    loop.append(loop)
    return loop
def scale_(table, factors): return {"x": scale_}
def scaler(factor): return {}
def gap(a, b): return 0

# %% dead_graph: a backward that lies about its gradients [rms_norm]
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    def backward(ctx, grad_output):
        class Any(torch.Tensor):
            def __eq__(self, other): return True
        x, weight = ctx.saved_tensors
        return torch.zeros_like(x).as_subclass(Any), torch.zeros_like(weight).as_subclass(Any), None

# %% grad_patched: torch.autograd.grad is the formula's own, for every function [rms_norm]
def formula(x, weight, eps): return x * 0


class RMSNorm:
    @staticmethod
    def apply(x, weight, eps):
        torch.autograd.grad = lambda y, inputs, grad_output=None: tuple(torch.zeros_like(i) for i in inputs)
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight
