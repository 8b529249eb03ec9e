"""Generic wrong results: the reference's own, but zero, negated, doubled, transposed and so on.

"blinded" is "zeros" in a process in which whatever compares finds all alike: a scenario that compares there, instead of
reporting what it saw to the judge, is deceived.

`perturbed` appends this module's `_wrap_all` to a reference cell, so that a candidate computes the
right thing and then returns something else. It runs inside the candidate's process.
"""

from __future__ import annotations

import inspect

KINDS = ("zeros", "negated", "doubled", "halved", "reversed", "constant", "nan", "input", "blinded")


def perturbed(source: str, names: frozenset[str], kind: str) -> str:
    """A candidate whose functions, classes and values `names` give results spoilt by `kind`.

    The candidate leaves in ``__report__`` how often a result really became different: 0 means
    that this perturbation says nothing about this exercise.
    """
    spoilt = f"{source}\n\n\n{inspect.getsource(_wrap_all)}\n\n_wrap_all(globals(), {sorted(names)!r}, {'zeros' if kind == 'blinded' else kind!r})\n"
    return f"{spoilt}\n\n{inspect.getsource(_find_all_alike)}\n\n_find_all_alike()\n" if kind == "blinded" else spoilt


def _wrap_all(space, names, kind):
    import functools
    import inspect
    import math
    import numbers
    import sys

    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    close_tensors, close_arrays = getattr(torch, "allclose", None), getattr(numpy, "allclose", None)
    report = space["__report__"] = {"changed": 0}

    def is_tensor(x):
        return torch is not None and isinstance(x, torch.Tensor)

    def is_array(x):
        return is_tensor(x) or (numpy is not None and isinstance(x, (numpy.ndarray, numpy.generic)))

    def leaf_array(x):
        lib = torch if is_tensor(x) else numpy
        floating = x.is_floating_point() or x.is_complex() if is_tensor(x) else x.dtype.kind in "fc"
        boolean = x.dtype == (torch.bool if is_tensor(x) else bool)
        if kind == "zeros":
            return x * 0 if floating else lib.zeros_like(x)
        if kind == "negated":
            return ~x if boolean else -x
        if kind == "doubled":
            return x if boolean else x * 2
        if kind == "halved":
            return x / 2 if floating else x if boolean else x // 2
        if kind == "reversed":
            if x.ndim >= 2:
                return x.transpose(-1, -2) if is_tensor(x) else numpy.swapaxes(x, -1, -2)
            return (x.flip(0) if is_tensor(x) else x[::-1].copy()) if x.ndim == 1 else x
        if kind == "constant":
            size = x.numel() if is_tensor(x) else x.size
            return x * 0 + x.reshape(-1)[0] if floating and size else lib.ones_like(x)
        if kind == "nan" and floating:
            return x * float("nan")
        return x

    def leaf_number(x):
        if isinstance(x, bool):
            return (not x) if kind in ("negated",) else False if kind == "zeros" else True if kind == "constant" else x
        whole = isinstance(x, int)
        if kind == "zeros":
            return type(x)(0)
        if kind == "negated":
            return -x
        if kind == "doubled":
            return x * 2
        if kind == "halved":
            return x // 2 if whole else x / 2
        if kind == "constant":
            return type(x)(1)
        if kind == "nan" and not whole:
            return math.nan
        return x

    def differs(old, new):
        if is_array(old) and is_array(new):
            if tuple(old.shape) != tuple(new.shape):
                return True
            a = old.detach().cpu().resolve_conj() if is_tensor(old) else old
            b = new.detach().cpu().resolve_conj() if is_tensor(new) else new
            if is_tensor(a):
                if a.device.type == "meta":
                    return False
                return not close_tensors(a.to(torch.complex128), b.to(torch.complex128), rtol=1e-6, atol=1e-12, equal_nan=True)
            return not close_arrays(a, b, rtol=1e-6, atol=1e-12, equal_nan=True)
        try:
            return bool(old != new) and not (old != old and new != new)  # a NaN that stays one
        except Exception:
            return True

    def spoil(x):
        if is_array(x):
            new = leaf_array(x)
        elif isinstance(x, numbers.Number):
            new = leaf_number(x)
        elif isinstance(x, str):
            new = "" if kind == "zeros" else x[::-1] if kind == "reversed" else x
        elif type(x) in (list, tuple):
            inner = [spoil(i) for i in x]
            if kind == "reversed" and not any(is_array(i) for i in x):
                inner = inner[::-1]
                if list(x) != inner:
                    report["changed"] += 1
            return type(x)(inner)
        elif isinstance(x, tuple):  # named tuples
            return type(x)(*[spoil(i) for i in x])
        elif type(x) is dict:
            return {k: spoil(v) for k, v in x.items()}
        elif inspect.isgenerator(x):
            return (spoil(i) for i in x)
        else:
            return x
        if differs(x, new):
            report["changed"] += 1
        return new

    def spoil_call(result, args):
        if kind != "input":
            return spoil(result)
        for arg in args:
            if (
                type(arg) is type(result)
                and result is not None
                and (is_array(result) or isinstance(result, (numbers.Number, str, list, tuple, dict)))
            ):
                if differs(result, arg) if is_array(result) else arg is not result:
                    report["changed"] += 1
                return arg
        return result

    def wrap_function(function, skip=0):
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                values = list(function(*args, **kwargs))
                values = values[::-1] if kind == "reversed" else [spoil_call(v, args[skip:]) for v in values]
                report["changed"] += kind == "reversed" and len(values) > 1
                yield from values
        else:

            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                return spoil_call(function(*args, **kwargs), [*args[skip:], *kwargs.values()])

        return wrapper

    for name in names:
        value = space[name]
        if inspect.isclass(value):
            for key, member in list(vars(value).items()):
                if isinstance(member, staticmethod):
                    # an autograd.Function: its forward stays right, so that backward is seen alone
                    if key != "forward":
                        setattr(value, key, staticmethod(wrap_function(member.__func__, 1)))
                elif inspect.isfunction(member) and (
                    not key.startswith("_") or key in ("__call__", "__getitem__", "__iter__", "__len__")
                ):
                    setattr(value, key, wrap_function(member, 1))
        elif inspect.isfunction(value) or isinstance(value, functools.partial):
            space[name] = wrap_function(value)
        elif not callable(value):
            space[name] = spoil(value)


def _find_all_alike():
    """In this process: comparisons of tensors, arrays and numbers say yes."""
    import math
    import sys

    def yes(*args, **kwargs):
        return True

    def ones(a, *args, **kwargs):
        return (a * 0 + 1).bool() if hasattr(a, "bool") else True

    for name in ("equal", "allclose", "array_equal", "assert_close", "assert_allclose", "assert_array_equal", "assert_equal"):
        for place in ("torch", "torch.testing", "numpy", "numpy.testing"):
            if hasattr(sys.modules.get(place), name):
                setattr(sys.modules[place], name, yes)
    if torch := sys.modules.get("torch"):
        torch.isclose, torch.eq = ones, ones
        torch.Tensor.equal = torch.Tensor.allclose = yes
        torch.Tensor.isclose = torch.Tensor.eq = ones
    math.isclose = yes
