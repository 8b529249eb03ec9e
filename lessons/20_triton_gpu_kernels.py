# ---
# jupyter:
#   unit24:
#     needs: ["matplotlib>=3.8", "numpy", "torch>=2.6", "transformers>=5", "triton>=3.2; platform_system == 'Linux'"]
# ---

# %% [markdown]
# # 20 · GPU kernels in Triton
#
# A GPU computes faster than it can fetch. Most operations of a network wait for memory, and most of what a hand-written
# kernel wins, it wins by reading and writing less. You write such kernels here in
# [Triton](https://triton-lang.org), the language behind `torch.compile`, from the first addition to flash attention.
#
# **You will build** eight kernels, the memory guard that finds missing masks, the arithmetic that says how fast a
# kernel can be at best, and a small autotuner. At the end the language model that ships with this course answers a
# question through your attention kernel.
#
# **You need first** lessons 02 (strides, broadcasting, autograd) and 03 (normalisation layers). Attention itself is
# explained where it is used.
#
# **Time** about five hours: nine exercises of 20 to 50 minutes, 30 points. **No GPU is needed**: without one, Triton's
# interpreter runs every kernel on the CPU, program by program. It says whether a kernel is right and how many bytes it
# moves, which is most of the truth about it. With a GPU the same cells compile, and the last part measures. Triton
# needs Linux: Colab and Kaggle are Linux, Windows has WSL; on a Mac, use Colab.
#
# ![Four programs of a grid run the same code; each computes offsets and a mask, loads, computes in registers and stores. In memory the tensors x and out have ten places; an eleventh lies outside of them and is masked.](pictures/20_program.svg)
#
# | part | what you write | the question it answers |
# |---|---|---|
# | A | vector add | Does it touch only what it should? |
# | B | roofline arithmetic, fused softmax, tests for it | How fast can it be, and what does fusing save? |
# | C | add + RMSNorm in bfloat16 | In which precision is it computed? |
# | D | layer norm forward and backward | Can it train? |
# | E | tiled matmul, choosing tiles | How are numbers used again once they are loaded? |
# | F | flash attention | How does a kernel avoid writing a matrix at all? |

# %% setup

# %% [markdown]
# ## Interpreter or compiler
#
# `TRITON_INTERPRET=1` makes `@triton.jit` run a kernel as ordinary Python on NumPy arrays. The variable is read when a
# function is decorated, and Triton decorates functions of its own (`tl.sum` is one): so it is set **before** `import
# triton`, and a notebook that imported Triton earlier must be restarted.

# %%
import math
import os
import warnings

INTERPRETED = os.environ.setdefault("TRITON_INTERPRET", "0" if env.device.startswith("cuda") else "1") == "1"

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch._inductor.config  # noqa: F401  (takes a second, and `fenced_call` below needs it)
import torch.nn.functional as F
import triton
import triton.language as tl
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from triton.language import core  # noqa: F401  (where kernels see it, the interpreter tidies it up after each launch)

from unit24 import cases, check, claims

DEVICE = "cpu" if INTERPRETED else env.device
# Tests of bfloat16 fall back to float16 on GPUs without it (a T4).
BFLOAT16 = torch.bfloat16 if INTERPRETED or torch.cuda.get_device_capability() >= (8, 0) else torch.float16
if INTERPRETED and hasattr(triton, "knobs"):
    triton.knobs.compilation.front_end_debugging = True  # an error inside a kernel names the kernel's line
print("Kernels are", "interpreted on the CPU." if INTERPRETED else f"compiled for {torch.cuda.get_device_name()}.")

# %% [markdown]
# These differences between the two will matter; each comes up again where it is met.
#
# | | interpreter | GPU |
# |---|---|---|
# | a load outside the tensor | gives whatever lies there | the same, or an illegal access that ends the process |
# | a masked load without `other=` | gives 0; here NaN, by the seat belt below | gives anything |
# | bfloat16 arithmetic | **wrong without a word**: it computes with the bit patterns | right |
# | `tl.dot` of float32 | exact; here as on a GPU, by the seat belt below | rounded to TF32 unless `input_precision="ieee"` |
# | `tl.dot` of small tiles | works; here an error below 16 on a side, by the seat belt below | a smallest size by dtype and GPU (NVIDIA, Triton 3.9: depth 16 in 16 bits, 8 in 32 bits); 16 on each side works everywhere |
# | `@triton.autotune` | fails if there is more than one configuration | works |

# %% [markdown]
# ## A fence around memory
#
# A kernel gets bare addresses. Nothing stops it from reading past the end of `x`, and the result is often right all
# the same, because what lies there happens to be harmless. So every test here lays tensors into larger buffers filled
# with NaN (*canaries*): a value read from outside poisons the result, and a value written outside leaves a hole in the
# NaNs. In the interpreter the fence also looks at each address and counts what is read and written: that alone shows a
# value that is read from outside and then thrown away.
#
# Whatever stands in the list `FENCES` while a kernel runs is told: its method `note(verb, addresses, itemsize)` is called for
# each load (`verb` is `"reads"`) and store (`"writes"`) with the addresses of the elements (a tensor of whole numbers) and their
# size in bytes; an atomic operation (`tl.atomic_add`) does both. Its attribute `programs` is raised by the programs of each launch.
#
# Where a task says how often memory is read or written, torch's own operations count too: `x.amax(1)` in a launcher reads all of
# `x`, `out.zero_()` writes all of `out`. Views, sizes, strides and new tensors (`torch.empty_like(x)`) are free.

# %%
FENCES = []  # those that are open


class Fence:
    """Lays tensors into larger buffers full of NaN, and watches what kernels read and write.

    `place` gives a tensor inside such a buffer. While the fence is open (`with fence:`) the loads, stores and atomic
    operations of interpreted kernels are counted; on a GPU only the NaNs tell. `problems()` says what went wrong.
    """

    def __init__(self, margin=4096):
        self.margin = margin  # canaries before and behind each tensor, in elements
        self.places = {}  # name -> (buffer, which of its elements belong to the tensor)
        self.ranges = {}  # name -> (address of the buffer's start, of its end, bytes of an element, `inside` as an array)
        self.reads, self.writes = {}, {}  # name -> elements, those outside included
        self.longest = {}  # name -> elements of the largest load
        self.bytes_read = self.bytes_written = 0  # of all memory, fenced or not
        self.programs = 0  # of all launches
        self.outside = {}  # (verb, name) -> (elements outside, place of the first)

    def place(self, name, tensor, gap=0):
        """A tensor with the values of `tensor` inside its own buffer, `gap` canaries between its rows."""
        *rows, columns = tensor.shape
        size = math.prod(rows) * (columns + gap)
        buffer = torch.full((size + 2 * self.margin,), math.nan, dtype=tensor.dtype, device=DEVICE)
        inside = torch.zeros(len(buffer), dtype=torch.bool, device=DEVICE)
        views = [flat[self.margin :][:size].view(*rows, columns + gap)[..., :columns] for flat in (buffer, inside)]
        views[0].copy_(tensor)
        views[1].fill_(True)
        self.places[name] = buffer, inside
        self.ranges[name] = buffer.data_ptr(), buffer.data_ptr() + buffer.nbytes, buffer.element_size(), inside.cpu().numpy()
        self.reads[name] = self.writes[name] = self.longest[name] = 0
        return views[0]

    def __enter__(self):
        FENCES.append(self)
        return self

    def __exit__(self, *_):
        FENCES.remove(self)

    def note(self, verb, addresses, itemsize):
        """The interpreter "reads" or "writes" elements of `itemsize` bytes at `addresses`."""
        if verb == "reads":
            self.bytes_read += len(addresses) * itemsize
        else:
            self.bytes_written += len(addresses) * itemsize
        if not len(addresses):
            return
        addresses = np.asarray(addresses)  # quicker than a tensor where there are few
        low, high = int(addresses.min()), int(addresses.max())
        for name, (start, end, size, inside) in self.ranges.items():
            if high < start or low >= end:
                continue
            whole = start <= low and high < end
            at = ((addresses if whole else addresses[(addresses >= start) & (addresses < end)]) - start) // size
            getattr(self, verb)[name] += len(at)
            if verb == "reads":
                self.longest[name] = max(self.longest[name], len(at))
            wrong = at[~inside[at]]
            if len(wrong):
                count, first = self.outside.get((verb, name), (0, int(wrong[0])))
                self.outside[verb, name] = count + len(wrong), first

    def problems(self):
        """What kernels did outside of the tensors in this fence, in words; "" if they kept to them."""
        found = []
        for (verb, name), (count, first) in self.outside.items():
            found.append(f"the kernel {verb} {count} elements outside of {name} (the first {self._where(name, first)})")
        for name, (buffer, inside) in self.places.items():
            if ("writes", name) not in self.outside and not buffer[~inside].isnan().all():
                first = int((~inside & ~buffer.isnan()).nonzero()[0])
                found.append(f"the kernel wrote over canaries around {name} (the first {self._where(name, first)})")
        return "; ".join(found)

    def _where(self, name, at):
        belongs = self.places[name][1].nonzero()
        start, end = int(belongs[0]), int(belongs[-1])
        if at < start:
            return f"{start - at} before its start"
        return f"{at - end} behind its end" if at > end else "between its rows or elements"


def random(*shape, seed=0, dtype=torch.float32, scale=1.0, shift=0.0):
    """Normal random numbers, the same on every machine; made on the CPU, then moved to `DEVICE`."""
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return (values * scale + shift).to(DEVICE, dtype)


def as_tf32(values):
    """float32 as `tl.dot` takes it by default: 11 significant bits (float64 again)."""
    return ((values.view(torch.int32) + (1 << 12)) & -(1 << 13)).view(torch.float32).double()


class TouchedByTorch(TorchDispatchMode):
    """Notes the tensors of a fence that torch's own operations read or write while it is open."""

    launching = False  # the interpreter's own copies do not count

    def __init__(self, fence):
        super().__init__()
        self.names = {buffer.untyped_storage().data_ptr(): name for name, (buffer, _) in fence.places.items()}
        self.seen = {}  # name -> the first operation

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        word = operation._schema.name.split("::")[-1]
        given, made = ({t.untyped_storage().data_ptr() for t in tree_leaves(x) if isinstance(t, torch.Tensor)} for x in ((args, kwargs), result))
        moves_nothing = self.launching or word.startswith("new_") or word.endswith("_like") or (given & made and not operation._schema.is_mutable)
        for place in () if moves_nothing else given & self.names.keys():
            self.seen.setdefault(self.names[place], word)
        return result


def fenced_call(function, inputs, outputs, gaps=(), flipped=(), spread=(), margin=4096, **options):
    """Calls `function(*inputs, *outputs, **options)` on fenced tensors; what was seen, as plain data.

    What the function makes by `torch.empty` holds NaN, so that nothing is right because it began as 0.

    Args:
        inputs: tensors by name.
        outputs: (shape, dtype) by name; full of NaN before the call.
        gaps: by name, the canaries between rows.
        flipped: names of matrices that lie transposed in memory.
        spread: names of matrices with a canary behind each element.
    """
    fence, gaps = Fence(margin), dict(gaps)

    def placed(name, values):
        values = values.T if name in flipped else values
        laid = fence.place(name, values[..., None], 1)[..., 0] if name in spread else fence.place(name, values, gaps.get(name, 0))
        return laid.T if name in flipped else laid

    given = {name: placed(name, values) for name, values in inputs.items()}
    filled = {name: placed(name, torch.full(shape, math.nan, dtype=dtype)) for name, (shape, dtype) in outputs.items()}
    torch.use_deterministic_algorithms(True, warn_only=True)  # torch.empty then fills with NaN
    torchs = TouchedByTorch(fence)
    try:
        with fence, torchs:
            returned = function(*given.values(), *filled.values(), **options)
    finally:
        torch.use_deterministic_algorithms(False)

    def name_of(thing):
        return next((name for name, tensor in filled.items() if tensor is thing), f"another {type(thing).__name__}")

    return {
        "returned": list(map(name_of, returned)) if isinstance(returned, (tuple, list)) else name_of(returned),
        "inputs": {name: tensor.cpu().clone() for name, tensor in given.items()},
        "outputs": {name: tensor.cpu().clone() for name, tensor in filled.items()},
        "problems": fence.problems(),
        "reads": fence.reads,
        "writes": fence.writes,
        "longest": fence.longest,
        "programs": fence.programs,
        "torch": torchs.seen,
    }


def kept_rules(seen, inputs, what, inside="Which load, store or atomic operation has no mask, or a mask for something else?", nans=""):
    """Fails if a call (`seen` by `fenced_call`) left its memory, changed an input, or left an output unfilled."""
    check.true(not seen["problems"], f"{what}: {seen['problems']}. {inside}")
    names = list(seen["outputs"])
    wanted = names if len(names) > 1 else names[0]
    check.true(
        seen["returned"] == wanted,
        f"{what}: it returned {seen['returned']}, expected the tensor itself that was given: {', '.join(names)}. "
        "Write into what was given, and return it.",
    )
    for name, values in inputs.items():
        check.equal(seen["inputs"][name], values, f"{name} after {what}", "inputs stay as they were", rtol=0, atol=0)
    for name, result in seen["outputs"].items():
        written, size, empty = seen["writes"][name], result.numel(), int(result.isnan().sum())
        if INTERPRETED and empty:
            check.true(
                written > 0,
                f"{what}: no kernel wrote into {name}, and {empty} of its {size} elements are NaN. Was it filled at all, or with numbers "
                "from torch.empty, which are anything?",
            )
            check.true(
                written >= size,
                f"{what}: kernels wrote {written} of {size} elements of {name}, the others never. Are there enough programs, "
                "and are the blocks long enough together?",
            )
        added = "It was read: does a sum start from what stood there, NaN? " if seen["reads"][name] or not INTERPRETED else ""
        check.true(
            not empty,
            f"{what}: {empty} of {size} elements of {name} are NaN. {added}{nans}Are there masked loads without other=, or numbers "
            "from torch.empty, which are anything, in a sum? Or elements that no program writes, each program doing the same part?",
        )


def counted(seen, what, hint="", **expected):
    """Fails if the elements read or written differ: ``counted(seen, what, reads={"x": 10}, writes={"out": 10})``."""
    for verb, wanted in expected.items() if INTERPRETED else ():
        for name, count in wanted.items():
            fewer = "a kernel did not do all of it with the tensor itself: was a copy taken in its place?"
            why = fewer if seen[verb][name] < count else hint
            check.equal(seen[verb][name], count, f"{what}: the number of elements of {name} that it {verb}", why)
    by_kernels_alone(seen, what, *(name for wanted in expected.values() for name in wanted))


def by_kernels_alone(seen, what, *names):
    """Fails if torch's own operations read or write one of the tensors, beside the kernels."""
    for name in names if INTERPRETED else ():
        word = seen["torch"].get(name)
        check.true(not word, f"{what}: beside the kernel torch's operation `{word}` reads or writes {name}, so its memory is gone over once more than allowed.")


def in_blocks(seen, what, **expected):
    """Fails if the largest load of an input has another size: ``in_blocks(seen, what, a=16 * 16)``."""
    for name, count in expected.items() if INTERPRETED else ():
        hint = "does the kernel get the blocks that the launcher was given?" if seen["longest"][name] else "was a copy read in its place?"
        check.equal(seen["longest"][name], count, f"{what}: the number of elements of {name} that its largest load reads", hint)


# %% [markdown]
# The next cell lets the interpreter tell the fences of each access. It also puts on a seat belt: the interpreter
# writes wherever a kernel says, and a store far outside would end this notebook's kernel. With the belt, a store or an atomic
# operation outside of every tensor that was given to the kernel is an `IndexError`. Loads are stopped only far from all tensors: reading a
# little too much goes unnoticed, as on a GPU. And what a masked load without `other=` leaves out becomes NaN: the
# interpreter has 0 there, a GPU has anything, and a sum over it should not look right here. And `tl.dot` rounds float32 to
# TF32, as most GPUs do, unless it is told not to, and refuses tiles with a side below 16. You need not read this cell.


# %%
def put_on_seat_belts():
    """Watch and guard every load, store and atomic operation of the interpreter."""
    from dataclasses import replace

    from triton.runtime import interpreter

    builder = interpreter.interpreter_builder
    if hasattr(builder.options, "sanitize_overflow"):  # half of the time goes there; a GPU does not check either
        builder.options = replace(builder.options, sanitize_overflow=False)
    load, store = (getattr(type(builder), f"create_masked_{verb}") for verb in ("load", "store"))
    read_modify_write, compare_and_swap = (getattr(type(builder), f"create_atomic_{verb}") for verb in ("rmw", "cas"))
    dot = type(builder).create_dot
    launch = getattr(interpreter.GridExecutor.__call__, "unguarded", interpreter.GridExecutor.__call__)
    patch = getattr(interpreter._patch_lang, "unguarded", interpreter._patch_lang)
    given = []  # (start, end) of the memory of the tensors of this launch
    patched = []  # one entry once the language is prepared for this launch

    def guard(verb, pointers, mask, slack):
        used = np.broadcast_to(True if mask is None else mask.data, pointers.data.shape)
        addresses = pointers.data[used].view(np.int64)
        itemsize = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
        for fence in FENCES:
            fence.note(verb, torch.from_numpy(addresses), itemsize)
        if not len(addresses):
            return
        low, high = int(addresses.min()), int(addresses.max()) + itemsize
        if any(start - slack <= low and high <= end + slack for start, end in given):
            return
        known = np.zeros(len(addresses), dtype=bool)
        for start, end in given:
            known |= (addresses >= start - slack) & (addresses + itemsize <= end + slack)
        if not known.all():
            raise IndexError(f"the kernel {verb} {int((~known).sum())} elements outside of all the tensors that it was given")

    def guarded_load(pointers, mask, other=None, *rest, **options):
        guard("reads", pointers, mask, slack=1 << 16)
        result = load(builder, pointers, mask, other, *rest, **options)
        if other is None:  # a GPU leaves anything there
            left_out = ~np.broadcast_to(mask.data, result.data.shape)
            if result.data.dtype.kind == "f":
                result.data[left_out] = math.nan
            elif pointers.get_element_ty() == tl.bfloat16:
                result.data[left_out] = 0x7FC0  # the bits of its NaN
        return result

    def guarded_store(pointers, values, mask, *rest, **options):
        guard("writes", pointers, mask, slack=0)
        return store(builder, pointers, values, mask, *rest, **options)

    def guard_atomic(pointers, mask):
        for verb in ("writes", "reads"):
            guard(verb, pointers, mask, slack=0)

    def guarded_read_modify_write(operation, pointers, values, mask, *rest, **options):
        guard_atomic(pointers, mask)
        return read_modify_write(builder, operation, pointers, values, mask, *rest, **options)

    def guarded_compare_and_swap(pointers, *rest, **options):
        guard_atomic(pointers, None)
        return compare_and_swap(builder, pointers, *rest, **options)

    def rounded_dot(a, b, acc, precision, *rest, **options):
        if min(*a.data.shape[-2:], *b.data.shape[-2:]) < 16:
            raise ValueError(f"tl.dot of {a.data.shape} by {b.data.shape}: many GPUs refuse a side below 16, so it has to be 16 at least")
        if precision.name == "TF32":
            a, b = (as_tf32(operand) for operand in (a, b))
        return dot(builder, a, b, acc, precision, *rest, **options)

    def as_tf32(operand):
        if operand.data.dtype != np.float32:
            return operand
        bits = np.ascontiguousarray(operand.data).view(np.int32)
        return interpreter.TensorHandle(((bits + (1 << 12)) & -(1 << 13)).view(np.float32), operand.dtype)

    def counted(grid):
        def count(arguments):
            programs = grid(arguments) if callable(grid) else grid
            if isinstance(programs, int):
                raise TypeError("the grid is a tuple, also with one number: kernel[(programs,)](...)")
            for fence in FENCES:
                fence.programs += math.prod(programs)
            return tuple(programs)  # a list is one too, as on a GPU

        return count

    def guarded_launch(executor, *arguments, **options):
        executor.grid = counted(executor.grid)
        tensors = [a for a in (*arguments, *options.values()) if isinstance(a, torch.Tensor)]
        memory = [t.untyped_storage() for t in tensors]
        given[:] = [(m.data_ptr(), m.data_ptr() + m.nbytes()) for m in memory]
        patched.clear()
        TouchedByTorch.launching = True
        try:
            return launch(executor, *arguments, **options)
        finally:
            TouchedByTorch.launching = False

    def patched_once(function):
        """The interpreter prepares the whole language at every call of a function (tl.sum is one): once a launch is enough."""
        if not patched:
            patched.append(function)
            return patch(function)

    guarded_launch.unguarded, patched_once.unguarded = launch, patch
    builder.create_masked_load, builder.create_masked_store = guarded_load, guarded_store
    builder.create_atomic_rmw, builder.create_atomic_cas = guarded_read_modify_write, guarded_compare_and_swap
    builder.create_dot = rounded_dot
    interpreter.GridExecutor.__call__, interpreter._patch_lang = guarded_launch, patched_once


if INTERPRETED:
    put_on_seat_belts()
    # NumPy warns of overflow and of inf - inf; a GPU does not, and some kernels below do it on purpose.
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="triton.runtime.interpreter")


# %% [markdown]
# ## Part A · Does it touch only what it should?
#
# ### 1 · Vector add (3 points, 20 minutes, difficulty 1 of 3)
#
# A launch `kernel[(programs,)](...)` starts that many *programs*. All run the same code; `tl.program_id(0)` says which
# one this is. A program works on a *block* of values at a time: `tl.arange(0, BLOCK)` is the vector `0 … BLOCK - 1`
# (`BLOCK` a power of two, known when the kernel is compiled: `tl.constexpr`). A tensor argument arrives as the address
# of its first element, and `address + vector` is a vector of addresses. The grid in square brackets is a tuple, also with
# one number, `(programs,)`; a call without it, `kernel(...)`, launches nothing and fails.
#
# ```text
#   n = 10, BLOCK = 4                program 0     program 1     program 2
#   offsets                          0  1  2  3    4  5  6  7    8  9  10  11
#   mask = offsets < n               ✓  ✓  ✓  ✓    ✓  ✓  ✓  ✓    ✓  ✓  –   –
# ```
#
# The last block sticks out. `tl.load(addresses, mask=mask)` reads only where the mask is true, and `tl.store` writes
# only there.
#
# **Task.** Write kernel and launcher. `x`, `y` and `out` are contiguous, of equal shape (one to six axes, 1 to 100,000
# elements) and of one dtype: float32, float64 or float16. Values are finite, zeros of both signs and subnormal ones
# among them, and sums may be too large for the dtype. `block` is a power of two from 16 to 8,192,
# larger or smaller than the tensors, which have 300 blocks at most.
#
# - `add(x, y, out, block=256)` writes `x + y` into `out`, bit for bit what torch gives: an infinity where the sum
#   rounds to more than the dtype holds (in float16 that begins at 65,520), and -0.0 for -0.0 + -0.0. <!-- rule: sum -->
# - It returns the tensor `out` that it was given. <!-- rule: returned, reported -->
# - `x` and `y` stay as they were. <!-- rule: unchanged -->
# - Nothing outside of the three tensors is read or written. <!-- rule: inside, reported -->
# - Each element of `x` and `y` is read once, each of `out` is written once, torch's own operations included. <!-- rule: once, reported -->
# - There are as many programs as there are blocks of `block` elements, the last one perhaps incomplete, and no
#   more. Which `block` elements a program takes is free. `triton.cdiv(a, b)` divides and rounds up. <!-- rule: programs, reported -->
#
# Tests call the launcher. What the kernel gets, and how programs share the work, you may choose otherwise than the stub does, here
# and later, where the task says nothing of it.


# %% exercise="vector_add" minutes=20 difficulty=1
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """out = x + y for n elements; each program adds one block of BLOCK elements."""
    ### BEGIN SOLUTION
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    y = tl.load(y_ptr + offsets, mask=mask)
    tl.store(out_ptr + offsets, x + y, mask=mask)
    ### END SOLUTION


def add(x, y, out, block=256):
    """`x + y` into `out` (contiguous, equal shapes) with blocks of `block` elements; returns `out`."""
    ### BEGIN SOLUTION
    n = x.numel()
    add_kernel[(triton.cdiv(n, block),)](x, y, out, n, BLOCK=block)
    return out
    ### END SOLUTION


# %% tests="vector_add" points=3
@check.scenario
def seen_add(x, y, **block):
    return fenced_call(add, {"x": x, "y": y}, {"out": (x.shape, x.dtype)}, **block)


def summands(shape, dtype, kind, seed):
    """x and y of one kind."""
    x, y = (random(*shape, seed=seed + i, dtype=dtype).cpu() for i in (0, 1))
    if kind == "zeros of both signs":
        x, y = x.sign() * 0, y.sign() * 0
        x.view(-1)[:2] = y.view(-1)[:2] = torch.tensor([-0.0, 0.0])[: x.numel()]
    if kind == "opposite":
        y = -x
    if kind == "far apart":
        y = y * 1e-4
    if kind == "too large together":
        x, y = (t.sign() * 0.9 * torch.finfo(dtype).max for t in (x, y))
        for t in (x.view(-1), y.view(-1)):  # beyond the largest number and beyond the smallest
            t[:2] = t[:2].abs() * torch.tensor([1, -1])[: len(t)]
        top, eps = torch.finfo(dtype).max, torch.finfo(dtype).eps
        step = top * eps / (2 - eps)  # between the two largest numbers
        x.view(-1)[2:5] = top  # sums around the place where rounding ends at infinity
        y.view(-1)[2:5] = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)[: max(0, x.numel() - 2)] * step
    if kind == "some subnormal":
        x.view(-1)[::2], y.view(-1)[::2] = (t.view(-1)[::2] * torch.finfo(dtype).tiny for t in (x, y))
    return {"x": x, "y": y}


def check_add(shape, block, dtype, kind, seed):
    values = summands(shape, dtype, kind, seed)
    size = math.prod(shape)
    how = "" if kind == "any" else f" ({kind})"
    what = f"`add` of two {str(dtype).removeprefix('torch.')} tensors of shape {shape}{how} in blocks of {block or 'the default, 256'}"
    seen = seen_add(**values, **({"block": block} if block else {}))
    block = block or 256
    kept_rules(
        seen, values, what, "Elements from n on do not exist: mask every load and the store with offsets < n.",
        "Does each program take its own block, by its program_id? ",
    )  # fmt: skip
    hint = "bit for bit what torch gives, in the dtype of x and y: a program loads x, y and stores out at the same offsets, of its own block"
    out, expected = seen["outputs"]["out"], values["x"] + values["y"]
    narrow = (values["x"].float() + values["y"].float()).to(dtype)
    narrowed = {"float64 was rounded to float32 on the way: add in the dtype that x and y have": narrow} if dtype == torch.float64 else None
    if kind == "too large together":
        hint = f"a sum that rounds to more than {torch.finfo(dtype).max:.6g} is an infinity of its sign, all others are as torch has them"
    check.equal(out, expected, what, hint, rtol=0, atol=0, causes=narrowed)
    from_zero = {"a sum that starts from 0 loses the sign of -0.0 + -0.0": torch.signbit(values["x"] + 0 + values["y"])}
    check.equal(torch.signbit(out), torch.signbit(expected), f"where a minus stands, in {what}", "-0.0 is not 0.0, bit for bit", causes=from_zero)
    counted(seen, what, "one program for each block, once; or is an element read again in place of a mask?", reads={"x": size, "y": size}, writes={"out": size})
    if INTERPRETED:
        hint = "as many as are needed: n divided by the block, rounded up; one more has nothing to do"
        check.equal(seen["programs"], -(-size // block), f"{what}: the programs that were launched", hint)


def some_shape(chosen, sizes, source):
    low, high = {1: (1, 90), 2: (1, 10), 3: (2, 5)}.get(chosen["axes"], (2, 3))
    shape = tuple(source.randint(low, high) for _ in range(chosen["axes"]))
    return shape, str(shape)


sums = {"shape": cases.Argument({"axes": (1, 2, 3, 4, 5, 6)}, some_shape), "block": cases.choice(16, None, 64, 1024)}
sums |= {"dtype": cases.choice(torch.float32, torch.float64, torch.float16)}
extremes = ("zeros of both signs", "too large together", "some subnormal")
sums |= {"kind": cases.choice("any", "opposite", "far apart", *extremes)}

with check.exercise("vector_add"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    for seed in seeds:
        n = 20 + seed % 50
        for shape, block, dtype, kind in (
            ((1,), 16, torch.float32, "any"),
            ((7,), 16, torch.float32, "any"),
            ((n,), 16, torch.float32, "any"),
            ((512,), 128, torch.float64, "any"),
            ((3, 5, n), 512, torch.float16, "far apart"),
            *(((2, 4 + seed % 3), 16, dtype, kind) for dtype in (torch.float32, torch.float64, torch.float16) for kind in extremes),
            ((2, 3, 2, 5), 16, torch.float32, "any"),
            ((1, 2, 1, 2, 9, 3), 16, torch.float16, "zeros of both signs"),
            ((1000,), None, torch.float32, "any"),
            ((1025,), 1024, torch.float32, "any"),
            ((4700 + n,), 16, torch.float32, "any"),
            ((70_000 + n,), 8192, torch.float64, "any"),
        ):
            check_add(shape, block, dtype, kind, seed)
        for case in cases.draw(seed, sums, count=3):
            check_add(*case, seed)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Three lines of the diagram above are the whole kernel: offsets, mask, and the work at the places where the mask is
# true. Which offsets belong to program 2?
# </details>
# <details><summary>Hint 2 · which functions</summary>
#
# `tl.program_id(0)`, `tl.arange(0, BLOCK)`, `tl.load(..., mask=...)`, `tl.store(address, value, mask=...)`; in the
# launcher `x.numel()`, `triton.cdiv`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
# mask = offsets < n
# x = tl.load(x_ptr + offsets, mask=mask)
# ...
# add_kernel[(triton.cdiv(n, block),)](x, y, out, n, BLOCK=block)
# ```
# </details>


# %% [markdown]
# Your kernel, and a kernel whose loads have no mask, on ten numbers in blocks of 16. The fence names what the eye would
# miss: the ten sums are right in both.


# %%
@triton.jit
def careless_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets)
    y = tl.load(y_ptr + offsets)
    tl.store(out_ptr + offsets, x + y, mask=offsets < n)


def careless_add(x, y, out, block):
    careless_kernel[(triton.cdiv(len(x), block),)](x, y, out, len(x), BLOCK=block)


for function in (add, careless_add):
    fence = Fence()
    x, y, out = (fence.place(name, torch.arange(10.0)) for name in ("x", "y", "out"))
    with fence:
        function(x, y, out, 16)
    print(f"{function.__name__:12} {out.tolist()}\n    {fence.problems() or 'kept to its memory'}")


# %% [markdown]
# ## Part B · How fast can it be?
#
# ### 2 · Roofline arithmetic (3 points, 25 minutes, difficulty 2 of 3)
#
# A kernel that does `flops` operations and moves `bytes` needs at least
# $\max\left(\frac{\text{flops}}{\text{peak}},\ \frac{\text{bytes}}{\text{bandwidth}}\right)$ seconds. Which of the two
# is larger depends on its *intensity*, flops per byte moved. Below the ridge, peak / bandwidth, memory decides and
# more arithmetic is free; above it, arithmetic decides.
#
# | GPU | 16-bit matrix peak | bandwidth | ridge | source |
# |---|---|---|---|---|
# | T4 | 65 Tflop/s | 320 GB/s | about 200 flop/byte | [data sheet](https://www.nvidia.com/en-us/data-center/tesla-t4/) |
# | A100 80 GB SXM | 312 Tflop/s | 2,039 GB/s | about 150 | [data sheet](https://www.nvidia.com/en-us/data-center/a100/) |
# | H100 SXM | 989 Tflop/s (dense) | 3.35 TB/s | about 300 | [data sheet](https://www.nvidia.com/en-us/data-center/h100/) |
#
# An addition of two vectors has an intensity of 1/6 in 16 bits: one operation for six bytes. It runs at a thousandth of
# the peak, and no cleverness changes that, except moving fewer bytes.
#
# **Softmax in five operations.** Written with torch's operators, softmax over the rows of an `R x C` matrix goes to
# memory five times. Fused into one kernel it reads the matrix once and writes the result once.
#
# | operation | reads (elements) | writes (elements) |
# |---|---|---|
# | `m = x.amax(1, keepdim=True)` | R C | R |
# | `d = x - m` | R C + R | R C |
# | `e = d.exp()` | R C | R C |
# | `s = e.sum(1, keepdim=True)` | R C | R |
# | `y = e / s` | R C + R | R C |
#
# **Matrix product in tiles.** An `M x K` by `K x N` product takes `2 M N K` operations. One program computes one
# `block_m x block_n` tile of the result; for that it reads the `block_m` rows of A and the `block_n` columns of B that
# belong to it, all of them from memory (we do not count on a cache). Tiles at the edge read only what exists. So A is
# read once for each *column of tiles*, B once for each *row of tiles*, and the result is written once.
#
# **Task.** Write three functions; each earns a point. All sizes and blocks are whole numbers from 1 on; a block may be larger
# than the matrix. Matrices have up to 50,000 rows and columns, so counts exceed 32 bits, and counts are exact. An element has
# 1, 2, 4 or 8 bytes. Flops come from 0 on, bytes, peak and bandwidth are larger than 0; all four may have fractions.
#
# `roofline(flops, bytes_moved, peak, bandwidth)` returns a tuple of three.
#
# - First the intensity, flops per byte moved. <!-- rule: intensity -->
# - Second the least time in seconds, by the formula above. <!-- rule: seconds -->
# - Third `"compute"` if arithmetic takes longer than memory, else `"memory"`, also where both take equally
#   long. The two times are exactly equal (in tests with whole numbers) or differ by a millionth of the longer one or
#   more. <!-- rule: bound -->
#
# `softmax_bytes(rows, columns, itemsize, fused)` returns one number, the bytes read and written together, for elements of
# `itemsize` bytes.
#
# - `fused=True`: of the one kernel. <!-- rule: fused -->
# - `fused=False`: of the five operations, every entry of the table counted. <!-- rule: five -->
#
# `matmul_cost(m, n, k, block_m, block_n, itemsize)` returns `(flops, bytes_moved)` of the product in tiles.
#
# - The flops are those of the product alone, a multiplication and an addition each count one. <!-- rule: flops -->
# - The bytes are what all programs together read and write. Tiles at the edge are tiles too, and read and write only what
#   exists. For example (5, 3) x (3, 7) in tiles of 4 x 4 has two rows and two columns of tiles: A (15 elements) and B (21)
#   are read twice each, 35 elements are written: 107 elements. <!-- rule: traffic -->


# %% exercise="roofline_arithmetic" minutes=25 difficulty=2
def roofline(flops, bytes_moved, peak, bandwidth):
    """(flops per byte, least seconds, "compute" or "memory"); `peak` in flop/s, `bandwidth` in bytes/s."""
    ### BEGIN SOLUTION
    compute, memory = flops / peak, bytes_moved / bandwidth
    return flops / bytes_moved, max(compute, memory), "compute" if compute > memory else "memory"
    ### END SOLUTION


def softmax_bytes(rows, columns, itemsize, fused):
    """Bytes that softmax over the rows of a (rows, columns) matrix reads and writes."""
    ### BEGIN SOLUTION
    matrix = rows * columns
    return (2 * matrix if fused else 8 * matrix + 4 * rows) * itemsize
    ### END SOLUTION


def matmul_cost(m, n, k, block_m, block_n, itemsize):
    """(flops, bytes read and written) of an (m, k) x (k, n) product in tiles of block_m x block_n."""
    ### BEGIN SOLUTION
    read = m * k * math.ceil(n / block_n) + k * n * math.ceil(m / block_m)
    return 2 * m * n * k, (read + m * n) * itemsize
    ### END SOLUTION


# %% tests="roofline_arithmetic" points=3
def roofline_by_definition(flops, bytes_moved, peak, bandwidth):
    compute, memory = flops / peak, bytes_moved / bandwidth
    return flops / bytes_moved, (compute if compute > memory else memory), ("compute" if compute > memory else "memory")


def softmax_bytes_by_definition(rows, columns, itemsize, fused):
    large, small = rows * columns, rows
    table = [(large, small), (large + small, large), (large, large), (large, small), (large + small, large)]
    return itemsize * sum(read + written for read, written in ([(large, large)] if fused else table))


def matmul_cost_by_definition(m, n, k, block_m, block_n, itemsize):
    rows_of_tiles, columns_of_tiles = -(-m // block_m), -(-n // block_n)
    elements = m * k * columns_of_tiles + k * n * rows_of_tiles + m * n
    return 2 * m * n * k, elements * itemsize


def check_roofline():
    draws = [cases.Case(dict(zip(("flops", "bytes_moved", "peak", "bandwidth"), four)), {"the arguments": f"{four}"})
             for four in ((8, 1, 40, 5), (6, 3, 2, 1), (0, 5, 2, 2), (100, 10, 100, 10), (1501, 1000, 3, 2), (1499, 1000, 3, 2), (1_000_002, 1_000_000, 1, 1), (1_000_000, 1_000_002, 1, 1), (2 * 4096**3, 6 * 4096**2, 10**15, 10**12), (3, 2, 2.5, 1.5), (7.5, 0.5, 2.5, 1.5), (0.2, 0.1, 0.25, 0.5))]  # fmt: skip
    numbers = {"flops": cases.number(1e3, 1e15), "bytes_moved": cases.number(1e2, 1e12)}
    machine = {"peak": cases.number(1e12, 1e15), "bandwidth": cases.number(1e11, 1e13)}
    draws += cases.draw(seeds, {**numbers, **machine}, count=20)
    for case in draws:
        what, hint = f"`roofline` of {case}", "intensity, seconds, bound"
        answer, expected = roofline(*case), roofline_by_definition(*case)
        check.kind(answer, tuple, what, hint)
        check.equal(len(answer), 3, f"the number of results of {what}", hint)
        compute, memory = case["flops"] / case["peak"], case["bytes_moved"] / case["bandwidth"]
        check.equal(answer[0], expected[0], f"the intensity, {what}", "flops divided by bytes", rtol=1e-6)
        hint = "arithmetic and memory work at the same time: the longer one counts"
        check.equal(answer[1], expected[1], f"the least time, {what}", hint, rtol=1e-6, causes={"that is the sum of both times": compute + memory})
        check.equal(answer[2], expected[2], f"the bound, {what}", "the longer of the two times decides; a draw is bound by memory")


def check_softmax_bytes():
    small = {"rows": cases.integer(1, 9), "columns": cases.integer(1, 9)}
    large = {"rows": cases.integer(1, 50_000), "columns": cases.integer(1, 50_000)}
    others = {"itemsize": cases.choice(4, 2, 1, 8), "fused": cases.choice(False, True)}
    draws = [*cases.draw(seeds, small | others), *cases.draw(seeds, large | others)]
    forgets = {"the columns of m and s are missing": lambda r, c, i, fused: (2 if fused else 8) * r * c * i}
    check.agrees(
        softmax_bytes, softmax_bytes_by_definition, draws, "`softmax_bytes`",
        "add up the table, reads and writes, times the bytes of an element; the fused kernel reads once and writes once", causes=forgets,
    )  # fmt: skip


def check_matmul_cost():
    small, large = ({name: cases.integer(1, high) for name in "mnk"} for high in (300, 50_000))
    blocks = {"block_m": cases.choice(32, 16, 1, 64, 100, 512), "block_n": cases.choice(16, 64, 1, 32, 100, 512), "itemsize": cases.choice(2, 4, 1, 8)}

    def given(*six):
        return cases.Case(dict(zip(small | blocks, six)), {"m, n, k, block_m, block_n, itemsize": str(six)[1:-1]})

    draws = [given(5, 7, 3, 4, 4, 1), *cases.draw(seeds, small | blocks, count=12), given(2048, 2048, 2048, 128, 128, 2)]
    blocks |= {"block_m": cases.choice(512, 1000, 4096), "block_n": cases.choice(1024, 700, 4096)}  # an answer may go over all tiles
    draws += cases.draw(seeds, large | blocks, count=12)
    for case in draws:
        what = f"`matmul_cost` of {case}"
        m, n, k, block_m, block_n, itemsize = case
        answer, (flops, moved) = matmul_cost(*case), matmul_cost_by_definition(*case)
        check.kind(answer, tuple, what, "flops and bytes")
        check.equal(len(answer), 2, f"the number of results of {what}", "flops and bytes")
        wrapped = {"the count does not fit into 32 bits": (flops + 2**31) % 2**32 - 2**31} if flops >= 2**31 else None
        check.equal(answer[0], flops, f"the flops, {what}", "k multiplications and k additions for each of m n results", causes=wrapped)
        once = (m * k + k * n + m * n) * itemsize
        swapped = (m * k * -(-m // block_m) + k * n * -(-n // block_n) + m * n) * itemsize
        check.equal(
            answer[1], moved, f"the bytes, {what}",
            "A is read once for each column of tiles, B once for each row of tiles; a tile that sticks out is a tile too, and it reads only what exists",
            causes={"that is each operand read once": once, "that is A read once for each row of tiles": swapped} if moved not in (once, swapped) else None,
        )  # fmt: skip


with check.exercise("roofline_arithmetic"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"roofline": check_roofline, "softmax_bytes": check_softmax_bytes, "matmul_cost": check_matmul_cost})
check.points(3)  # the number below: your points, of 3

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Count elements first, multiply by the size of one at the end. For the product, ask of one element of A: how many
# programs need it?
# </details>
# <details><summary>Hint 2 · which functions</summary>
#
# `max`, `math.ceil` (or `triton.cdiv`) for the number of tiles in a row or column.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# compute, memory = flops / peak, bytes_moved / bandwidth
# five = 8 * rows * columns + 4 * rows
# read = m * k * math.ceil(n / block_n) + k * n * ...
# ```
# </details>


# %% [markdown]
# Your functions draw the roof of an A100 and put kernels under it: intensity decides where under the slope a kernel
# stands, and the tile decides the intensity of a product. What a kernel really reaches is below its point, unless a cache
# serves repeated reads, as it does for products: the last part measures 88 % where this arithmetic allows 46 %.

# %%
PEAK, BANDWIDTH = 312e12, 2.039e12  # A100 80 GB SXM: flop/s in 16 bits, bytes/s
kernels = {
    "add": (4096**2, 3 * 2 * 4096**2),
    "softmax, five operations": (5 * 4096**2, softmax_bytes(4096, 4096, 2, fused=False)),
    "softmax, fused": (5 * 4096**2, softmax_bytes(4096, 4096, 2, fused=True)),
    **{f"product, {b} x {b} tiles": matmul_cost(4096, 4096, 4096, b, b, 2) for b in (16, 64, 128, 256)},
    "product, each operand once": (2 * 4096**3, 3 * 2 * 4096**2),
}
figure, axis = plt.subplots(figsize=(9, 4.2), layout="constrained")
roof = [2.0**e for e in range(-4, 13)]
axis.plot(roof, [min(PEAK, i * BANDWIDTH) / 1e12 for i in roof], color="black", lw=1)
for i, (name, (flops, moved)) in enumerate(kernels.items()):
    intensity, seconds, bound = roofline(flops, moved, PEAK, BANDWIDTH)
    rate = flops / seconds / 1e12
    axis.plot(intensity, rate, "o", ms=8, color="C0" if bound == "memory" else "C1")
    axis.annotate(f"{name}, {1e6 * seconds:,.0f} µs", (intensity, rate), (10, -6 if i % 2 else -14), textcoords="offset points", fontsize=8)
axis.axvline(PEAK / BANDWIDTH, color="grey", ls=":", lw=1)
axis.annotate("ridge", (PEAK / BANDWIDTH, 0.1), (4, 0), textcoords="offset points", fontsize=8, color="grey")
axis.set(
    xscale="log", yscale="log", xlim=(0.06, 60_000), xlabel="intensity (flop / byte)", ylabel="rate by the model (Tflop/s)",
    title="the roof of an A100: 4096 x 4096 matrices in 16 bits (blue: bound by memory, orange: by arithmetic)",
)  # fmt: skip
plt.show()

# %% [markdown]
# ### 3 · Fused softmax (3 points, 30 minutes, difficulty 2 of 3)
#
# One program takes one row, keeps it in registers, and writes the result. The block must hold the whole row, and blocks
# are powers of two: `triton.next_power_of_2(columns)`. So nearly every row is padded, and what stands in the padding
# goes into the maximum and the sum. `tl.load(..., mask=mask, other=value)` chooses it.
#
# Rows need not follow one another in memory: a slice of a wider matrix has gaps between its rows. Row `r` starts at
# `r * stride`, and `stride` is `x.stride(0)`.
#
# **Task.** Write `softmax(x, out)`. Both are float32 of shape `(rows, columns)`: 1 to 300 rows, 1 to 4,096 columns. The
# elements of a row lie side by side; between rows there may be gaps, in `x` others than in `out`. Values lie from -1e5
# to 1e5, both ends among them, or are `-inf`, with at least one finite value in every row, perhaps no more than one.
#
# - It writes the softmax of each row of `x` into `out`, right to 1e-5 of the largest probability of the row. <!-- rule: softmax -->
# - That holds for large values too: subtract the row's maximum first. <!-- rule: large -->
# - It holds for rows in which some values, or all but one, are `-inf` (their probability is exactly 0), wherever the finite ones
#   lie. <!-- rule: holes -->
# - It holds for any number of columns: padding counts neither in the maximum nor in the sum. <!-- rule: length -->
# - It holds for any strides between rows. <!-- rule: strides -->
# - It returns the tensor `out` that it was given. <!-- rule: returned, reported -->
# - `x` stays as it was. <!-- rule: unchanged -->
# - Nothing outside of the rows of `x` is read, nothing outside of the rows of `out` is written. <!-- rule: inside, reported -->
# - Each element of `x` is read once and each of `out` is written once, torch's own operations included: that is the point of
#   the kernel. <!-- rule: once, reported -->


# %% exercise="fused_softmax" minutes=30 difficulty=2
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    """Softmax of one row a program; BLOCK is at least `columns`."""
    ### BEGIN SOLUTION
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * x_stride + offsets, mask=mask, other=-float("inf"))
    e = tl.exp(x - tl.max(x, axis=0))
    tl.store(out_ptr + row * out_stride + offsets, e / tl.sum(e, axis=0), mask=mask)
    ### END SOLUTION


def softmax(x, out):
    """Softmax over the rows of `x` (rows, columns) into `out`; returns `out`."""
    ### BEGIN SOLUTION
    rows, columns = x.shape
    softmax_kernel[(rows,)](x, out, x.stride(0), out.stride(0), columns, BLOCK=triton.next_power_of_2(columns))
    return out
    ### END SOLUTION


# %% tests="fused_softmax" points=3
@check.scenario
def seen_softmax(x, x_gap, out_gap):
    return fenced_call(softmax, {"x": x}, {"out": (x.shape, x.dtype)}, gaps={"x": x_gap, "out": out_gap})


def softmax_by_definition(x):
    """exp(x - maximum of the row) over its sum, in float64."""
    e = (x.double() - x.double().amax(1, keepdim=True)).exp()
    return (e / e.sum(1, keepdim=True)).float()


def rows_to_normalise(rows, columns, kind, holes, seed):
    """Rows (float32) of one kind, "some" of their values -inf, or "all but one"; `holes` may be ""."""
    kinds = {"any": (1, 0), "all below -400": (1, -500), "all near -1e5": (1, -99_999), "all near 1e5": (1, 99_999), "all near 87": (0.1, 86.5), "all near -95": (0.5, -95), "from -1e5 to 1e5": (3e4, 0)}
    scale, shift = kinds.get(kind, (1, 0))
    x = random(rows, columns, seed=seed, scale=scale, shift=shift).cpu()
    if kind == "rows unlike each other":
        turn = (torch.arange(rows)[:, None] + seed) % 5
        x = x * torch.tensor([1.0, 1e3, 0.01, 10.0, 1.0])[turn] + torch.tensor([99_990.0, -3e4, 0.0, -99_900.0, 500.0])[turn]
        x[turn[:, 0] == 2, 0] = 0  # a value like any other
    if kind == "equal":
        x[:] = x[:, :1]
    x = x.clamp(-1e5, 1e5)
    if holes:
        kept = random(rows, columns, seed=seed + 1).cpu() > (0 if holes == "some" else math.inf)
        kept[:, seed % columns] = True
        x[~kept] = -math.inf
    return x


def check_softmax_of(rows, columns, kind, holes, gaps, seed):
    x = rows_to_normalise(rows, columns, kind, holes, seed)
    gap_words = f", gaps of {gaps[0]} between rows of x and {gaps[1]} of out" if any(gaps) else ""
    values = ", ".join(word for word in (kind if kind != "any" else "", f"{holes} -inf" if holes else "") if word)
    what = f"`softmax` of {rows} x {columns}{f' ({values})' if values else ''}{gap_words}"
    seen = seen_softmax(x, *gaps)
    strides = "Mask the places behind a row. A row starts at row * stride, and x and out each have their own stride."
    nans = "Where every exp of a row is 0, 0 / 0 is NaN (is something else than the row in its maximum?); exp of a value above 88 is infinite (is the row's maximum subtracted first?). "
    kept_rules(seen, {"x": x}, what, strides, nans)
    padding = triton.next_power_of_2(columns) - columns
    top = x.double().amax(1, keepdim=True)
    e = (x.double() - top).exp()
    causes = {
        "the padded places count in the sum": (e / (e.sum(1, keepdim=True) + padding * (-top).exp())).float(),
        "the columns are normalised, not the rows": x.softmax(0),
        "the sum of many exp, or one alone, was infinite: is the row's maximum subtracted first?": x.exp() / x.exp().sum(1, keepdim=True),
    }
    check.equal(
        seen["outputs"]["out"], softmax_by_definition(x), what, "exp(x - maximum of the row) / sum of these over the row, nothing else in the maximum or the sum",
        floor="row", causes=causes,
    )  # fmt: skip
    check.equal(
        seen["outputs"]["out"][x == -math.inf], torch.zeros(int((x == -math.inf).sum())), f"{what}: the probabilities of the places with -inf",
        "exactly 0, not merely small", rtol=0, atol=0,
    )  # fmt: skip
    counted(seen, what, "keep the row in a variable: each element is read once and written once", reads={"x": x.numel()}, writes={"out": x.numel()})


softmaxes = {"rows": cases.size("rows"), "columns": cases.size("columns")}
softmaxes |= {
    "kind": cases.choice(
        "any", "equal", "all near 87", "all near -95", "all below -400", "all near -1e5", "all near 1e5", "from -1e5 to 1e5", "rows unlike each other"
    ),
    "holes": cases.choice("", "some", "all but one"),
    "gaps": cases.choice((0, 0), (0, 7), (4, 0), (1, 3)),
}

with check.exercise("fused_softmax"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    for seed in seeds:
        odd = 17 + seed % 12
        for rows, columns, kind, holes, gaps in (
            (1, 1, "any", "", (0, 0)),
            (4, 16, "any", "", (0, 0)),
            (3, 5, "any", "", (0, 0)),
            (6, 1, "any", "", (0, 3)),
            (3, odd, "any", "", (5, 2)),
            (2, odd, "all near 87", "", (0, 0)),
            (2, odd, "all near -95", "", (0, 0)),
            (2, odd, "all near -1e5", "", (0, 0)),
            (2, odd, "all near -1e5", "some", (1, 0)),
            (2, odd, "all near 1e5", "all but one", (0, 0)),
            (5, odd, "rows unlike each other", "some", (2, 1)),
            (290 + seed % 9, 2, "rows unlike each other", "", (0, 1)),
            (2, 1100, "all below -400", "all but one", (0, 1)),
            (1, 4096, "any", "", (0, 0)),
            (1, 4095, "from -1e5 to 1e5", "some", (0, 0)),
        ):
            check_softmax_of(rows, columns, kind, holes, gaps, seed)
        for case in cases.draw(seed, softmaxes, count=3, rows=(1, 6), columns=(1, 200)):
            check_softmax_of(*case, seed)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Which value is neutral for a maximum and becomes 0 under `exp`? With it in the padding, no further mask is needed until
# the store.
# </details>
# <details><summary>Hint 2 · which functions</summary>
#
# `tl.load(..., other=-float("inf"))`, `tl.max(x, axis=0)`, `tl.exp`, `tl.sum(e, axis=0)`; `x.stride(0)`,
# `triton.next_power_of_2`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# row, offsets = tl.program_id(0), tl.arange(0, BLOCK)   # on two lines inside a kernel
# x = tl.load(x_ptr + row * x_stride + offsets, mask=offsets < columns, other=-float("inf"))
# e = tl.exp(x - tl.max(x, axis=0))
# tl.store(out_ptr + row * out_stride + offsets, e / ..., mask=...)
# ```
# </details>


# %% [markdown]
# #### Claim: fusing saves three quarters of the traffic
#
# The five operations are counted as torch runs them: each reads its inputs from memory and writes its output. The fence
# counts your kernel. Bytes, not seconds: the interpreter's clock says nothing about a GPU, but bytes are the same
# everywhere.


# %%
class TorchTraffic(TorchDispatchMode):
    """Adds up the bytes of all tensors that torch's operations read and write while it is open; a view moves nothing."""

    def __init__(self):
        super().__init__()
        self.bytes = self.written = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        read, written = ([t for t in tree_leaves(x) if isinstance(t, torch.Tensor)] for x in ((args, kwargs), result))
        if not {t.untyped_storage().data_ptr() for t in read} & {t.untyped_storage().data_ptr() for t in written}:
            self.written += sum(t.nbytes for t in written)
            self.bytes += sum(t.nbytes for t in (*read, *written))
        return result


def five_operations(x):
    d = x - x.amax(1, keepdim=True)
    e = d.exp()
    return e / e.sum(1, keepdim=True)


widths, ratios = (3, 16, 50, 200, 1000), []
for width in widths:
    x = random(6, width)
    with TorchTraffic() as unfused:
        expected = five_operations(x)
    fence = Fence()
    with fence:
        out = softmax(x, torch.empty_like(x))
    assert torch.allclose(out, expected, atol=1e-6)
    fused = fence.bytes_read + fence.bytes_written if INTERPRETED else softmax_bytes(6, width, 4, fused=True)
    ratios.append(unfused.bytes / fused)
    print(f"{width:5} columns: five operations {unfused.bytes:7,} bytes, one kernel {fused:6,}: {ratios[-1]:.2f} times less")
    assert unfused.bytes == softmax_bytes(6, width, 4, fused=False) and fused == softmax_bytes(6, width, 4, fused=True)

claims.record(
    "one fused softmax kernel moves a quarter of the bytes of five operations",
    claimed="4x fewer bytes",
    measured=f"{ratios[-1]:.2f}x fewer at 1,000 columns, {ratios[0]:.2f}x at 3",
    holds=3.9 < ratios[-1] < 4.2,
    how="counted: every load and store of the kernel, every operand and result of the operations" if INTERPRETED
    else "operations counted; the kernel by its arithmetic, a GPU does not count",
)  # fmt: skip

# %% [markdown]
# The count agrees with the arithmetic of exercise 2 to the byte. On a GPU the saving in time is close to the saving in
# bytes once the matrix is larger than the cache; a matrix that fits into the cache hides part of the traffic.
#
# ### 4 · Write the tests (3 points, 30 minutes, difficulty 2 of 3)
#
# A kernel with a missing mask passes most tests: sizes are round, tensors lie alone, and what lies behind them is 0.
# Here are softmaxes with one bug each. Some show only for certain sizes, some only with gaps between rows, some only for
# certain values, and some only in memory that is not theirs. The last kernel, `in_tiles`, is right: your tests must let it
# through.


# %%
@triton.jit
def suspect_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr, BUG: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    if BUG == "mask that lets one too many through":
        mask = offsets <= columns
    x_at = x_ptr + row * x_stride + offsets
    if BUG == "load without mask":
        x = tl.load(x_at)
    elif BUG == "load without mask, what is too much thrown away":
        x = tl.load(x_at)
        x = tl.where(mask, x, -float("inf"))
    elif BUG == "zeros in the padding":
        x = tl.load(x_at, mask=mask, other=0.0)
    else:
        x = tl.load(x_at, mask=mask, other=-float("inf"))
    top = tl.max(x, axis=0)
    if BUG == "the first row's maximum for all":
        top = tl.max(tl.load(x_ptr + offsets, mask=mask, other=-float("inf")), axis=0)
    if BUG == "maximum with the padding in it":
        top = tl.maximum(top, 0.0)
    if BUG == "no maximum subtracted":
        top = top * 0.0
    e = tl.exp(x - top)
    out_at = out_ptr + row * out_stride + offsets
    if BUG == "last place of a block left free":
        mask = mask & (offsets < BLOCK - 1)
    if BUG == "store without mask":
        tl.store(out_at, e / tl.sum(e, axis=0))
    else:
        tl.store(out_at, e / tl.sum(e, axis=0), mask=mask)


BUGS = (
    "load without mask",
    "load without mask, what is too much thrown away",
    "store without mask",
    "mask that lets one too many through",
    "zeros in the padding",
    "maximum with the padding in it",
    "the first row's maximum for all",
    "no maximum subtracted",
    "one stride for both",
    "columns taken for the stride of x",
    "columns taken for the stride of out",
    "block one column short",
    "block of 32 at most",
    "last place of a block left free",
    "four programs at most",
    "a single column taken for a row",
)


def softmax_with(bug=""):
    """A function softmax(x, out) with one of `BUGS`, or without."""

    def softmax(x, out):
        rows, columns = x.shape
        x_stride, out_stride = x.stride(0), out.stride(0)
        if bug == "one stride for both":
            out_stride = x_stride
        if bug == "columns taken for the stride of x":
            x_stride = columns
        if bug == "columns taken for the stride of out":
            out_stride = columns
        block = triton.next_power_of_2(columns - 1 if bug == "block one column short" else columns)
        if bug == "block of 32 at most":
            block = min(block, 32)
        if bug == "four programs at most":
            rows = min(rows, 4)
        if bug == "a single column taken for a row" and columns == 1:
            return out.copy_(x.softmax(0))
        suspect_kernel[(rows,)](x, out, x_stride, out_stride, columns, BLOCK=block, BUG=bug)
        return out

    return softmax


@triton.jit
def tiled_softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    x_ptr += tl.program_id(0) * x_stride
    out_ptr += tl.program_id(0) * out_stride
    top = tl.full((1,), -1e38, tl.float32)  # not -inf: a tile of nothing but -inf would give inf - inf
    total = tl.zeros((1,), tl.float32)
    for start in range(0, columns, BLOCK):
        x = tl.load(x_ptr + start + at, mask=start + at < columns, other=-float("inf"))
        higher = tl.maximum(top, tl.max(x, axis=0))
        total = total * tl.exp(top - higher) + tl.sum(tl.exp(x - higher), axis=0)
        top = higher
    for start in range(0, columns, BLOCK):
        x = tl.load(x_ptr + start + at, mask=start + at < columns, other=-float("inf"))
        tl.store(out_ptr + start + at, tl.exp(x - top) / total, mask=start + at < columns)


def in_tiles(x, out):
    """A right softmax in another style: over the row twice, in tiles of 8."""
    tiled_softmax_kernel[(len(x),)](x, out, x.stride(0), out.stride(0), x.shape[1], BLOCK=8)
    return out


easy = random(4, 32)
passed = [bug for bug in BUGS if torch.allclose(softmax_with(bug)(easy, torch.empty_like(easy)), easy.softmax(1), atol=1e-6)]
print(f"{len(passed)} of {len(BUGS)} bugs pass the usual test, 4 rows of 32:", *passed, sep="\n  ")

# %% [markdown]
# **Task.** Write `check_softmax(softmax)`. It calls `softmax(x, out)` and judges what became of `x`, of `out` and of the
# memory around them. It knows nothing about the inside of the function, and what `softmax` returns is of no interest.
#
# What a right `softmax` does: `x` and `out` are float32 of shape `(rows, columns)`, in memory of their own, elements of a
# row side by side, with any gaps between rows. Values of `x` lie between -1,000 and 1,000. It writes the softmax of each row
# into `out`, leaves `x` as it was, reads nothing outside of the rows of `x` and writes nothing outside of the rows of `out`.
# Every wrong kernel breaks one of these demands for some `x` of at most 8 rows and 40 columns. Where it shows is one of
# these places, and each demand may be broken in each of them: everywhere; from some number of rows or columns on; for a single
# row; for a single column; where the number of columns is a power of two from 2 on; where it is none; with gaps between the rows of `x`;
# with gaps between those of `out`; where all of `x` is positive; where all of it is negative; for values above 500; for values
# below -500; where the rows of one `x` lie hundreds apart. No kernel here reads `out`.
#
# - `check_softmax` raises an error (`assert` does) for a kernel that writes wrong values, or leaves some
#   unwritten. <!-- rule: values -->
# - It raises for one that reads or writes outside of its rows, also where the values come out right. What is read there and
#   thrown away changes no value and no canary: only the `Fence`, or whatever else you put into `FENCES`, is told of
#   it. <!-- rule: memory -->
# - It raises for one that changes `x`, by more than 0.01 somewhere, also where what is then in `x` has the same
#   softmax. <!-- rule: input -->
# - It returns, without an error, for every right kernel: results may differ from torch's by up to 1e-6 (`torch.allclose` with
#   `rtol=0, atol=1e-6`). Wrong values are off by more than 1e-5 somewhere. <!-- rule: accepts -->
# - It calls one kernel at most 20 times, with at most 100 rows in all: the interpreter needs about a millisecond a
#   row. <!-- rule: calls, reported -->
#
# You earn the share of the bugs that you catch, and nothing if you turn down a right kernel. The hidden tests bring further
# kernels, right and wrong.


# %% exercise="check_softmax" minutes=30 difficulty=2
def check_softmax(softmax):
    """Raise an error unless `softmax(x, out)` is right and keeps to its memory."""
    ### BEGIN SOLUTION
    for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
        level = torch.linspace(5, 900, rows, device=DEVICE)[:, None]
        for values in (random(rows, columns) + level, random(rows, columns) - level):
            fence = Fence()
            x = fence.place("x", values, gap=5)
            out = fence.place("out", torch.full_like(values, math.nan), gap=2)
            with fence:
                softmax(x, out)
            assert not fence.problems(), fence.problems()
            assert torch.allclose(out, values.softmax(1), rtol=0, atol=1e-6), "wrong values"
            assert torch.equal(x, values), "the input has changed"
    ### END SOLUTION


# %% tests="check_softmax" points=3
class Notes:
    """Stands among the fences and notes which elements of two buffers are read and written."""

    def __init__(self, **buffers):
        self.buffers, self.seen, self.programs = buffers, [], 0

    def note(self, verb, addresses, itemsize):
        for name, buffer in self.buffers.items():
            at = (addresses - buffer.data_ptr()) // 4
            self.seen.append([verb, name, at[(at >= 0) & (at < len(buffer))]])


def on_memory(softmax):
    """The same function for whole buffers and where x and out lie in them; tells what it touched."""

    def implementation(x_buffer=None, out_buffer=None, shape=(), x_strides=(), x_offset=0, out_strides=(), out_offset=0, refused=False):
        if refused:
            return None
        notes = Notes(x=x_buffer.clone(), out=out_buffer.clone())
        x = notes.buffers["x"].as_strided(shape, x_strides, x_offset)
        out = notes.buffers["out"].as_strided(shape, out_strides, out_offset)
        FENCES.append(notes)
        try:
            returned = softmax(x, out)
        finally:
            FENCES.remove(notes)
        x_buffer.copy_(notes.buffers["x"])
        out_buffer.copy_(notes.buffers["out"])
        return notes.seen, returned is out

    return implementation


@check.scenario
def your_checks(implementation):
    """Runs `check_softmax` on an implementation made by `on_memory`; rules of the calls are looked after here."""
    used = {"calls": 0, "rows": 0}

    def buffer(tensor):
        return torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(tensor.untyped_storage())

    def refuse(x, why):
        implementation(shape=list(x.shape), x_strides=list(x.stride()), refused=True)  # so that it counts as their last call
        raise ValueError(why)

    def softmax(x, out):
        for tensor in (x, out):
            if tensor.dtype != torch.float32 or tensor.ndim != 2 or (tensor.shape[1] > 1 and tensor.stride(1) != 1):
                refuse(x, "softmax is only promised to work for float32, two axes, elements of a row side by side")
        if x.shape != out.shape or not bool((x.abs() <= 1000).all()) or x.untyped_storage().data_ptr() == out.untyped_storage().data_ptr():
            refuse(x, "softmax is only promised to work for equal shapes, values from -1,000 to 1,000 and memory of their own")
        used["calls"] += 1
        used["rows"] += len(x)
        if used["calls"] > 20 or used["rows"] > 100:
            refuse(x, "at most 20 calls with at most 100 rows in all are allowed for one kernel")
        buffers = {"x": buffer(x), "out": buffer(out)}
        touched, same = implementation(
            *buffers.values(), shape=list(x.shape), x_strides=list(x.stride()), x_offset=x.storage_offset(),
            out_strides=list(out.stride()), out_offset=out.storage_offset(),
        )  # fmt: skip
        for verb, name, at in touched:
            for fence in FENCES:
                fence.note(verb, buffers[name].data_ptr() + 4 * at.cpu(), 4)
        return out if same else None

    return check_softmax(softmax)


def by_logarithms(x, out):
    """Right too: torch's own operations, with other rounding; returns nothing."""
    x = x - x.amax(1, keepdim=True)  # a logarithm near 300 would have too few digits
    out.copy_((x - x.logsumexp(1, keepdim=True)).exp())


def rounded_off(x, out):
    """Right too: up to half a millionth off."""
    return out.copy_((x.softmax(1) * 1e6).round() / 1e6)


def slightly_off(x, out):
    return out.copy_(softmax_with()(x, out) + 2e-5)


right = {"the kernel without bug": softmax_with(), "in tiles": in_tiles, "by logarithms, returns None": by_logarithms, "half a millionth off": rounded_off}
wrong = {bug: softmax_with(bug) for bug in BUGS} | {"does nothing": lambda x, out: out, "two hundred-thousandths too large": slightly_off}

### BEGIN HIDDEN TESTS


def power_of_two(x):
    return x.shape[1] > 1 and not x.shape[1] & (x.shape[1] - 1)


def has_gaps(tensor):
    return len(tensor) > 1 and tensor.stride(0) > tensor.shape[1]


PLACES = {  # each must show in some of at most 8 rows and 40 columns
    "everywhere": lambda x, out: True,
    "with 8 rows": lambda x, out: len(x) >= 8,
    "with 40 columns": lambda x, out: x.shape[1] >= 40,
    "for a single row": lambda x, out: len(x) == 1,
    "for a single column": lambda x, out: x.shape[1] == 1,
    "where the columns are a power of two": lambda x, out: power_of_two(x),
    "where the columns are no power of two": lambda x, out: bool(x.shape[1] & (x.shape[1] - 1)),
    "with gaps in x": lambda x, out: has_gaps(x),
    "with gaps in out": lambda x, out: has_gaps(out),
    "where all of x is positive": lambda x, out: bool((x > 0).all()),
    "where all of x is negative": lambda x, out: bool((x < 0).all()),
    "for values above 500": lambda x, out: bool((x > 500).any()),
    "for values below -500": lambda x, out: bool((x < -500).any()),
    "where rows lie hundreds apart": lambda x, out: float(x.mean(1).max() - x.mean(1).min()) > 200,
}


def torchs(x, out):
    return out.copy_(x.softmax(1))


def is_off(where):
    def softmax(x, out):
        torchs(x, out)
        if where(x, out):
            out[-1, -1] += 5e-5

    return softmax


def reads_too_much(where):
    def softmax(x, out):
        torchs(x, out)
        if where(x, out):  # the last row again, as far as a block of twice the columns goes
            row, scratch = x[-1:], torch.empty(1, x.shape[1], device=x.device)
            block = 2 * triton.next_power_of_2(x.shape[1])
            suspect_kernel[(1,)](row, scratch, 0, 0, x.shape[1], BLOCK=block, BUG="load without mask, what is too much thrown away")

    return softmax


def writes_too_much(where):
    def softmax(x, out):
        torchs(x, out)
        behind = out.storage_offset() + (len(out) - 1) * out.stride(0) + out.shape[1]
        if where(x, out) and behind < out.untyped_storage().nbytes() // 4:
            out.as_strided((1,), (1,), behind).fill_(0)

    return softmax


def spoils_its_input(where):
    def softmax(x, out):
        torchs(x, out)
        if where(x, out):  # the softmax of what stays there is the same
            x.sub_(x.amax(1, keepdim=True) + 0.5)

    return softmax


def only_one_row(x, out):
    out.copy_(out.new_zeros(out.shape))
    return softmax_with()(x[:1], out[:1])


def down_the_only_column(x, out):
    return softmax_with()(x, out) if x.shape[1] > 1 else out.copy_(x)


def shifted_by(low, high):
    """The maximum that is subtracted is held between two limits."""

    def softmax(x, out):
        e = (x - x.amax(1, keepdim=True).clamp(low, high)).exp()
        out.copy_(e / e.sum(1, keepdim=True))

    return softmax


def between(tensor):
    """The gaps between the rows."""
    rows, columns = tensor.shape
    gap = max(0, tensor.stride(0) - columns)
    return tensor.as_strided((rows - 1, gap), tensor.stride(), tensor.storage_offset() + columns)


def reads_the_gaps(x, out):
    softmax_with()(x, out)
    if between(x).numel():
        softmax_with()(between(x), torch.empty_like(between(x)))


def writes_into_the_gaps(x, out):
    softmax_with()(x, out)
    if between(out).numel():
        softmax_with()(torch.zeros_like(between(out)), between(out))


def four_digits(x, out):
    return out.copy_((softmax_with()(x, out) * 1e4).round() / 1e4)


def adds_to_the_sum(x, out):
    e = (x - x.amax(1, keepdim=True)).exp()
    return out.copy_(e / (e.sum(1, keepdim=True) + 0.01))


def exact(x, out):
    """Right: computed in float64."""
    return out.copy_(x.double().softmax(1))


def moved_by(amount):
    """Right too: above 1 in a single column, or below 0 for the smallest."""
    return lambda x, out: out.copy_(x.double().softmax(1) + amount)


right |= {"in float64": exact, "half a millionth too large": moved_by(5e-7), "half a millionth too small": moved_by(-5e-7)}
wrong |= {
    **{f"is off in one value {place}": is_off(where) for place, where in PLACES.items()},
    **{f"reads too much {place}": reads_too_much(where) for place, where in PLACES.items()},
    **{f"writes too much {place}": writes_too_much(where) for place, where in list(PLACES.items())[:9:2]},
    **{f"changes x {place}": spoils_its_input(where) for place, where in PLACES.items()},
    "does the first row alone": only_one_row,
    "normalises the columns": lambda x, out: out.copy_(x.softmax(0)),
    "copies a single column": down_the_only_column,
    "subtracts at most 500": shifted_by(None, 500),
    "subtracts at least -500": shifted_by(-500, None),
    "subtracts the maximum only where it is negative": shifted_by(None, 0),
    "subtracts the maximum only where it is positive": shifted_by(0, None),
    "reads the gaps between rows": reads_the_gaps,
    "writes into the gaps between rows": writes_into_the_gaps,
    "rounds to four digits": four_digits,
    "adds a hundredth to the sum": adds_to_the_sum,
    "is a little off": lambda x, out: softmax_with()(x * 1.02, out),
    "writes its result elsewhere": lambda x, out: x.softmax(1),
    "does not divide by the sum": lambda x, out: out.copy_((x - x.amax(1, keepdim=True)).exp()),
    "gives every element the same share": lambda x, out: out.copy_(torch.full(out.shape, 1 / out.shape[1])),
}
### END HIDDEN TESTS

with check.exercise("check_softmax"):
    check.catches(your_checks, {name: on_memory(f) for name, f in right.items()}, {name: on_memory(f) for name, f in wrong.items()}, "your checks")
check.points(3)  # the number below: your points, of 3

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Go through the names and ask of each: on which input does it do something else than the right kernel? One shape can serve
# several bugs: many rows, with padding, with gaps. Go through the places where a bug may show, too: has each of them a case?
# </details>
# <details><summary>Hint 2 · which functions</summary>
#
# `Fence().place(name, values, gap=...)`, `with fence:`, `fence.problems()`, `torch.allclose`; start `out` full of NaN,
# so that an element that nobody writes is seen. `random(rows, columns, shift=...)` moves the values.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# for rows, columns, low, high in ((8, 40, -900, 900), (1, 17, -900, -900), ...):   # a power of two; all positive; a single column
#     fence = Fence()
#     values = random(rows, columns) + torch.linspace(low, high, rows, device=DEVICE)[:, None]
#     x = fence.place("x", values, gap=5)
#     out = fence.place("out", torch.full_like(values, math.nan), gap=2)
#     with fence:
#         softmax(x, out)
#     assert not fence.problems(), fence.problems()
#     ...
# ```
# </details>


# %% [markdown]
# ## Part C · In which precision is it computed?
#
# ### Three traps of bfloat16
#
# bfloat16 has the range of float32 and 8 significant bits. Weights and activations are stored in it; **arithmetic is
# done in float32**. There are three reasons, and the first is particular to learning without a GPU.


# %%
@triton.jit
def add_directly_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = offsets < n
    total = tl.load(x_ptr + offsets, mask=mask) + tl.load(y_ptr + offsets, mask=mask)
    tl.store(out_ptr + offsets, total, mask=mask)


@triton.jit
def add_widened_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask).to(tl.float32)
    y = tl.load(y_ptr + offsets, mask=mask).to(tl.float32)
    tl.store(out_ptr + offsets, x + y, mask=mask)  # the store rounds to the type of out


x, y = (torch.tensor(v, dtype=torch.bfloat16, device=DEVICE) for v in ([1.0, 0.5, 1.5, 1.0], [1.0, 0.25, 1.5, 0.998]))
print("torch      ", (x + y).tolist())
for kernel in (add_directly_kernel, add_widened_kernel):
    out = torch.empty_like(x)
    kernel[(1,)](x, y, out, len(x), BLOCK=4)
    print(f"{kernel.__name__.split('_')[1]:11}", out.tolist())

running = torch.zeros((), dtype=torch.bfloat16)
for _ in range(1000):
    running += 1
print("1 added 1,000 times in bfloat16:", running.item())
half = torch.tensor([300.0], dtype=torch.float16)
print("300 squared in float16:", (half * half).item(), " in float32:", (half.float() ** 2).item())

# %% [markdown]
# 1. **The interpreter has no bfloat16.** NumPy has none, so Triton's interpreter keeps the bits as 16-bit integers and
#    adds those. There is no error and no warning. `.to(tl.float32)` after each load avoids it; `tl.dot` needs the same.
# 2. **Rounding.** The interpreter cuts float32 down to bfloat16 where a GPU rounds to the nearest: the last digit may
#    differ (look at the fourth sum). Tests of bfloat16 must allow one unit in the last place, a factor of $2^{-7}$.
# 3. **Sums and squares.** A sum in bfloat16 stands still once it is 256 times the summand, and a square in float16
#    overflows from 256 on. That is as true on a GPU.
#
# So the rule, on every device: load, widen, compute, and let the store narrow.
#
# ### 5 · Add and normalise (3 points, 30 minutes, difficulty 2 of 3)
#
# Between the blocks of a language model stand two operations: the output `x` of a block is added to the residual
# stream, and the sum is normalised for the next block (RMSNorm). Inference engines fuse them into one kernel, because
# each alone reads and writes a whole activation. For a row of $C$ values:
#
# $$ t = x + \text{residual}, \qquad \text{out} = \frac{t}{\sqrt{\frac{1}{C}\sum_j t_j^2 + \varepsilon}} \cdot \text{weight} $$
#
# **Task.** Write `add_rms_norm(x, residual, weight, total, out, eps)`. The matrices `x`, `residual`, `total` and `out` have
# shape `(rows, columns)`, 1 to 300 rows and 1 to 5,000 columns; `weight` has `columns` elements. All five are contiguous and have
# one dtype: bfloat16, float16 or float32. `eps` lies between 1e-8 and 1, whatever the dtype. Values of `x` and `residual` lie
# between -3,000 and 3,000, those of `weight` between -10 and 10; they may be 0, a row may be all 0, and rows of one matrix may
# differ much in size.
#
# - It writes $t$ into `total` and the normalised rows into `out`, by the formulas above. <!-- rule: formula -->
# - Everything is computed in float32, `eps` too, whatever the dtype of the tensors. <!-- rule: float32 -->
# - `out` follows from $t$ before $t$ is rounded to the dtype of `total`, and nothing is rounded to the dtype on the way to
#   `out`. So each value of `total` and `out` is right to 1e-5 of itself in float32, to $2^{-11}$ in float16 (the exact result,
#   rounded once; to $2^{-24}$ where float16 is subnormal) and to $2^{-7}$ in bfloat16 (one unit in the last place). <!-- rule: unrounded -->
# - Padding counts neither in the sum of squares nor in the $C$ it is divided by. <!-- rule: padding -->
# - It returns `(total, out)`, the tensors that it was given. <!-- rule: returned, reported -->
# - `x`, `residual` and `weight` stay as they were. <!-- rule: unchanged -->
# - Nothing outside of the five tensors is read or written. <!-- rule: inside, reported -->
# - Each element of `x` and `residual` is read once, `total` and `out` are written once and never read,
#   torch's own operations included. <!-- rule: once, reported -->


# %% exercise="add_rms_norm" minutes=30 difficulty=2
@triton.jit
def add_rms_norm_kernel(x_ptr, residual_ptr, weight_ptr, total_ptr, out_ptr, columns, eps, BLOCK: tl.constexpr):
    """One row of total = x + residual and out = total / rms(total) * weight; BLOCK is at least `columns`."""
    ### BEGIN SOLUTION
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = tl.program_id(0) * columns + offsets
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    residual = tl.load(residual_ptr + at, mask=mask, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + offsets, mask=mask).to(tl.float32)
    total = x + residual
    rms = tl.sqrt(tl.sum(total * total, axis=0) / columns + eps)
    tl.store(total_ptr + at, total, mask=mask)
    tl.store(out_ptr + at, total / rms * weight, mask=mask)
    ### END SOLUTION


def add_rms_norm(x, residual, weight, total, out, eps=1e-6):
    """`x + residual` into `total`, its RMSNorm into `out`; returns (total, out)."""
    ### BEGIN SOLUTION
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    add_rms_norm_kernel[(rows,)](x, residual, weight, total, out, columns, eps, BLOCK=block)
    return total, out
    ### END SOLUTION


# %% tests="add_rms_norm" points=3
@check.scenario
def seen_add_rms_norm(inputs, **eps):
    x = inputs["x"]
    return fenced_call(add_rms_norm, inputs, {"total": (x.shape, x.dtype), "out": (x.shape, x.dtype)}, **eps)


def add_rms_norm_by_definition(x, residual, weight, eps):
    """t and its RMSNorm in float64."""
    t = x.double() + residual.double()
    return t, t / (t.square().mean(1, keepdim=True) + eps).sqrt() * weight.double()


def summands_to_norm(rows, columns, dtype, kind, seed):
    """x, residual and weight of one kind."""
    scale = {"large": 1000.0, "small": 1e-3}.get(kind, 1.0)
    x, residual = (random(rows, columns, seed=seed + i, scale=scale).cpu() for i in (0, 1))
    if kind == "a row of zeros":
        x[-1], residual[-1] = 0, 0
    if kind == "rows unlike each other":
        turn = (torch.arange(rows)[:, None] + seed) % 5
        x, residual = (t * torch.tensor([1.0, 700.0, 1e-3, 20.0, 0.1])[turn] + torch.tensor([0.0, 0.0, 1e-3, -300.0, 2.0])[turn] for t in (x, residual))
        x[turn[:, 0] == 4], residual[turn[:, 0] == 4] = 0, 0
    if kind == "opposite":
        residual = -x.to(dtype).float() + random(rows, columns, seed=seed + 3, scale=0.05).cpu()
    if kind == "far apart":
        residual = residual * 100
    weight = random(columns, seed=seed + 2, shift=1).cpu()
    return {name: t.clamp(-3000, 3000).to(dtype) for name, t in {"x": x, "residual": residual, "weight": weight}.items()}


def as_stored(values, dtype):
    """What is there after a store into `dtype` (float64 again): the interpreter cuts bfloat16 off, all else is rounded."""
    if dtype == torch.bfloat16 and INTERPRETED:
        return (values.float().view(torch.int32) & -(1 << 16)).view(torch.float32).double()
    return values.to(dtype).double()


def check_add_rms_norm(rows, columns, dtype, kind, eps, seed):
    inputs = summands_to_norm(rows, columns, dtype, kind, seed)
    name = str(dtype).removeprefix("torch.")
    what = f"`add_rms_norm` of {rows} rows of {columns} in {name}{'' if kind == 'any' else f' ({kind})'}, eps {'by default' if eps is None else eps}"
    seen = seen_add_rms_norm(inputs, **({} if eps is None else {"eps": eps}))
    eps = 1e-6 if eps is None else eps
    widen = {
        torch.bfloat16: "In bfloat16 the interpreter computes with bit patterns: is everything widened with .to(tl.float32) first? ",
        torch.float16: "A float16 square overflows from 256 on, and a small eps is 0 in float16: are squares, their sum and eps in float32? ",
    }.get(dtype, "")
    kept_rules(seen, inputs, what, nans=widen)
    # float16 is rounded to the nearest: half a unit in the last place; bfloat16 is cut off in the interpreter: a whole one
    rtol = {torch.bfloat16: 2**-7, torch.float16: 1.02 * 2**-11, torch.float32: 1e-5}[dtype]
    atol = 2**-24 if dtype == torch.float16 else 1e-12
    t, normed = add_rms_norm_by_definition(*inputs.values(), eps)
    x, residual, weight = inputs.values()
    causes = {}
    if dtype == torch.bfloat16:
        added = (x.view(torch.int16) + residual.view(torch.int16)).view(torch.bfloat16).double()
        causes["the bit patterns of bfloat16 were added: widen with .to(tl.float32) after each load"] = added
    check.equal(seen["outputs"]["total"].double(), t, f"total of {what}", "x + residual, in float32", rtol=rtol, atol=atol, causes=causes)
    weight = weight.double()
    block, mean = triton.next_power_of_2(columns), t.square().mean(1, keepdim=True)
    rounded, root = as_stored(t, dtype), (mean + eps).sqrt()
    causes = {
        "the sum of squares is divided by the block, not by the columns": t / (mean * columns / block + eps).sqrt() * weight,
        "eps belongs inside the root": t / (mean.sqrt() + eps) * weight,
        "the sum was rounded before it was normalised": rounded / (rounded.square().mean(1, keepdim=True) + eps).sqrt() * weight,
        "the normalised sum was rounded before it was multiplied by the weight": as_stored(t / root, dtype) * weight,
        "the rms was rounded before the division": t / as_stored(root, dtype) * weight,
        "eps was rounded to the dtype": t / (mean + float(torch.tensor(eps, dtype=dtype))).sqrt() * weight,
    }
    observed, hint = seen["outputs"]["out"].double(), "out is t / sqrt(mean of t squared + eps) * weight, all of it in float32, from t before it is rounded, rounded once at the end"
    if dtype == torch.float16:
        hint += "; squares, their sum and eps too: a float16 square overflows from 256 on, and a small eps is 0"
    stored = {why: as_stored(value, dtype) for why, value in causes.items()}
    close = {why: torch.isclose(observed, value, rtol=1e-5, atol=1e-12).double().mean() for why, value in stored.items()}
    causes = {why: value for why, value in stored.items() if close[why] > 0.9}  # the tolerance alone takes in more than one
    check.equal(
        observed, normed, f"out of {what}", hint,
        rtol=1.1 * rtol if dtype == torch.bfloat16 else rtol, atol=atol, causes=causes,
    )  # fmt: skip
    counted(
        seen, what, "keep the sum in a variable: it is still there after the store",
        reads={"x": x.numel(), "residual": x.numel(), "total": 0, "out": 0}, writes={"total": x.numel(), "out": x.numel()},
    )  # fmt: skip


dtypes = (torch.float32, BFLOAT16, torch.float16)
normed_sums = {"rows": cases.size("rows"), "columns": cases.size("columns"), "dtype": cases.choice(*dtypes)}
normed_sums |= {
    "kind": cases.choice("any", "small", "large", "a row of zeros", "far apart", "opposite", "rows unlike each other"),
    "eps": cases.choice(1e-6, None, 1e-8, 1e-4, 1.0),
}

with check.exercise("add_rms_norm"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    for seed in seeds:
        odd = 33 + seed % 20
        for rows, columns, dtype, kind, eps in (
            (1, 1, torch.float32, "any", 1e-6),
            (3, 5, torch.float32, "any", None),
            (2, 16, torch.float32, "any", 0.5),
            (2, odd, BFLOAT16, "any", 1e-6),
            (2, odd, BFLOAT16, "small", 1e-8),
            (2, 1, BFLOAT16, "any", 1.0),
            *((2, odd, dtype, kind, eps) for dtype in dtypes for kind, eps in (("a row of zeros", 1e-8), ("large", 1.0))),
            (2, odd, torch.float16, "small", 1e-8),
            (2, 2 * odd, torch.float16, "large", 1e-6),
            (5, odd, torch.float32, "rows unlike each other", 1e-8),
            (5, odd, BFLOAT16, "rows unlike each other", 1e-8),
            (5, odd, torch.float16, "rows unlike each other", None),
            (2, 1030, BFLOAT16, "large", 1e-6),
            (1, 4990 + seed % 9, torch.float16, "far apart", 1e-4),
            (290 + seed % 9, 2, torch.float32, "rows unlike each other", 1e-5),
        ):
            check_add_rms_norm(rows, columns, dtype, kind, eps, seed)
        for case in cases.draw(seed, normed_sums, count=3, rows=(1, 4), columns=(1, 200)):
            check_add_rms_norm(*case, seed)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# The shape of the kernel is that of softmax: one row a program, the row in registers. What must the padding be, so that
# it adds nothing to a sum of squares?
# </details>
# <details><summary>Hint 2 · which functions</summary>
#
# `tl.load(..., other=0.0).to(tl.float32)`, `tl.sum(t * t, axis=0) / columns`, `tl.sqrt` (or `tl.rsqrt`). `tl.store`
# narrows by itself.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# at = tl.program_id(0) * columns + offsets
# x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
# ...
# total = x + residual
# rms = tl.sqrt(tl.sum(total * total, axis=0) / columns + eps)
# ```
# </details>


# %% [markdown]
# The same numbers four ways, against the exact result: torch in bfloat16 step by step, your kernel, your kernel on
# float32 with torch's rounding after it, and the exact result rounded once. Neighbouring numbers of bfloat16 are
# $2^{-8}$ to $2^{-7}$ apart, relative to their size, and rounding to the nearest loses a quarter of that on average:
# the last line cannot be beaten.

# %%
x, residual = (random(16, 256, seed=s, dtype=torch.bfloat16) for s in (21, 22))
weight = random(256, seed=23, dtype=torch.bfloat16, shift=1)
exact_total = x.double() + residual.double()
exact = exact_total / (exact_total.square().mean(1, keepdim=True) + 1e-6).sqrt() * weight.double()
total = x + residual
step_by_step = total / (total.square().mean(1, keepdim=True) + 1e-6).sqrt() * weight
_, kernel_out = add_rms_norm(x, residual, weight, torch.empty_like(x), torch.empty_like(x))
wide = [t.float() for t in (x, residual, weight)]
_, wide_out = add_rms_norm(*wide, torch.empty_like(wide[0]), torch.empty_like(wide[0]))
errors = {
    "torch, each step in bfloat16": step_by_step,
    "your kernel": kernel_out,
    "your kernel, torch rounds": wide_out.bfloat16(),
    "the exact result, rounded": exact.bfloat16(),
}
for name, result in errors.items():
    relative = ((result.double() - exact) / exact).abs()[exact != 0]
    print(f"{name:31} mean relative error {relative.mean():.5f}, largest {relative.max():.5f}")
if INTERPRETED:
    print("Your kernel's store cuts off here instead of rounding, which costs about what arithmetic in float32 gains.")
    print("With torch's rounding it is as good as the best line. A GPU's store rounds to the nearest by itself.")

# %% [markdown]
# ## Part D · Can it train?
#
# ### 6 · Layer norm, forward and backward (4 points, 45 minutes, difficulty 3 of 3)
#
# Autograd cannot look into a kernel: whoever writes the forward writes the backward. For one row of $C$ values, with
# $\mu$ the mean and $r = 1 / \sqrt{\text{variance} + \varepsilon}$ (the variance divided by $C$):
#
# $$ \hat x = (x - \mu)\, r, \qquad y = \hat x\, w + b $$
#
# The gradient of the loss by $y$ arrives as `dy`. Write $g = dy \cdot w$, elementwise. Then
#
# $$ dx = r \left( g - \overline{g} - \hat x\, \overline{g \hat x} \right), \qquad
#    dw = \sum_\text{rows} dy\, \hat x, \qquad db = \sum_\text{rows} dy $$
#
# with bars for means over the row. `dx` lives in rows, so a program takes a row. `dw` and `db` run *down the columns*:
# there a program takes a block of columns and goes over all rows. Where rows are many and columns few, that leaves most of
# a GPU idle. Then the usual way is two steps: each of some groups of rows writes its partial sum, and a second reduction
# adds these up. (Atomic additions to one sum also work, but their order, and so the last digits, change from run to run.)
#
# **Task.** Write three kernels and two launchers. All tensors are float32 and contiguous; `x`, `out`, `dy` and `dx` have
# shape `(rows, columns)`, 1 to 300 rows and 1 to 5,000 columns, `weight`, `bias`, `dw` and `db` have `columns` elements, `mean`
# and `rstd` have `rows`. `eps` lies between 1e-6 and 1. The mean of a row may be up to 1,000 times its standard deviation, a row may be all 0, single weights are 0,
# and rows of one matrix may differ much in mean, sign and spread.
#
# `layer_norm(x, weight, bias, out, mean, rstd, eps)`; `out` earns a point, the two statistics together another.
#
# - It fills `out` by the formula above. <!-- rule: output -->
# - It fills `mean` and `rstd` ($\mu$ and $r$) for each row. <!-- rule: statistics -->
# - The mean of the row is subtracted *before* squaring: $\overline{x^2} - \mu^2$ loses all digits where the mean is
#   large. <!-- rule: centred -->
# - Padding counts neither in sums nor in $C$. <!-- rule: padding -->
# - It returns the `out` that it was given. <!-- rule: returned, reported -->
#
# `layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db)` takes the statistics that the forward saved; `dx` earns a
# point, `dw` with `db` another.
#
# - It fills `dx` by the formula above. <!-- rule: dx -->
# - It fills `dw` and `db`, each a sum over **all** rows. <!-- rule: columns -->
# - It returns `(dx, dw, db)`, the tensors that it was given. <!-- rule: returned_gradients, reported -->
#
# Both:
#
# - Nothing outside of the given tensors is read or written; a buffer that the launcher itself makes, for partial sums, is
#   allowed (one from `torch.empty` begins with anything, here with NaN). Atomic operations are reads and writes too, and need their masks. <!-- rule: inside, reported -->
# - What is not to be filled stays as it was. <!-- rule: unchanged -->
#
# Results are compared with float64. A row of `out` is right to 1e-4 of its largest value, a row of `dx` to 1e-4 of the largest
# $r\,g$ in it, `rstd` to 1e-4 of each value; to 2e-3 in rows whose mean is 100 times their standard deviation and more. `mean` is right to
# 1e-5 of the largest value of its row of `x`, `dw` and `db` to 1e-4 of their own largest value (of 1, where that is smaller).


# %% exercise="layer_norm" minutes=45 difficulty=3
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    """One row of the forward pass."""
    ### BEGIN SOLUTION
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    centred = tl.where(mask, x - mean, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
    weight = tl.load(weight_ptr + offsets, mask=mask)
    bias = tl.load(bias_ptr + offsets, mask=mask)
    tl.store(out_ptr + row * columns + offsets, centred * rstd * weight + bias, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)
    ### END SOLUTION


@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    """One row of dx."""
    ### BEGIN SOLUTION
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = row * columns + offsets
    rstd = tl.load(rstd_ptr + row)
    normed = (tl.load(x_ptr + at, mask=mask, other=0.0) - tl.load(mean_ptr + row)) * rstd
    g = tl.load(dy_ptr + at, mask=mask, other=0.0) * tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    g_mean = tl.sum(g, axis=0) / columns
    product_mean = tl.sum(g * normed, axis=0) / columns
    tl.store(dx_ptr + at, rstd * (g - g_mean - normed * product_mean), mask=mask)
    ### END SOLUTION


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, rows, columns, BLOCK: tl.constexpr):
    """dw and db for one block of columns."""
    ### BEGIN SOLUTION
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < columns
    dw = tl.zeros((BLOCK,), dtype=tl.float32)
    db = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(0, rows):
        dy = tl.load(dy_ptr + row * columns + offsets, mask=mask)
        x = tl.load(x_ptr + row * columns + offsets, mask=mask)
        dw += dy * (x - tl.load(mean_ptr + row)) * tl.load(rstd_ptr + row)
        db += dy
    tl.store(dw_ptr + offsets, dw, mask=mask)
    tl.store(db_ptr + offsets, db, mask=mask)
    ### END SOLUTION


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    """Layer norm of the rows of `x` into `out`; their statistics into `mean` and `rstd`."""
    ### BEGIN SOLUTION
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=block)
    return out
    ### END SOLUTION


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    """Gradients by x, weight and bias into `dx`, `dw`, `db`."""
    ### BEGIN SOLUTION
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=block)
    layer_norm_dw_db_kernel[lambda meta: (triton.cdiv(columns, meta["BLOCK"]),)](
        dy, x, mean, rstd, dw, db, rows, columns, BLOCK=64
    )
    return dx, dw, db
    ### END SOLUTION


# %% tests="layer_norm" points=4
@check.scenario
def seen_forward(inputs, **eps):
    rows, columns = inputs["x"].shape
    outputs = {"out": (rows, columns), "mean": (rows,), "rstd": (rows,)}
    return fenced_call(layer_norm_alone, inputs, {name: (shape, torch.float32) for name, shape in outputs.items()}, **eps)


@check.shared
def layer_norm_alone(x, weight, bias, out, mean, rstd, **eps):
    """Returns the three outputs, where layer_norm returned `out` itself."""
    returned = layer_norm(x, weight, bias, out, mean, rstd, **eps)
    return [returned, mean, rstd]


@check.scenario
def seen_backward(inputs):
    rows, columns = inputs["x"].shape
    outputs = {"dx": (rows, columns), "dw": (columns,), "db": (columns,)}
    return fenced_call(layer_norm_backward, inputs, {name: (shape, torch.float32) for name, shape in outputs.items()})


def layer_norm_by_definition(x, weight, bias, eps):
    """out, mean and rstd in float64."""
    x = x.double()
    mean = x.mean(1)
    rstd = ((x - mean[:, None]).square().mean(1) + eps) ** -0.5
    return (x - mean[:, None]) * rstd[:, None] * weight.double() + bias.double(), mean, rstd


def rows_to_norm():
    """(rows, columns, kind of the rows, eps, seed), from small to large."""
    for seed in seeds:
        odd = 33 + seed % 20
        yield from ((1, 1, "any", 1e-2, seed), (1, 5, "small", None, seed), (3, 4, "rows unlike each other", 1e-5, seed))
        for case in cases.draw(seed, normed, count=1, rows=(1, 2), columns=(1, 50)):
            yield (*case, seed)
        yield from ((5, odd, "rows unlike each other", 1e-6, seed), (2, odd, "mean 1,000 times the spread", 1e-5, seed))
    for rows, columns in ((290 + seed % 10, 2), (5, 257 + seed % 30), (2, 4990 + seed % 10)):
        yield rows, columns, "rows unlike each other", 1e-5, seed


normed = {"rows": cases.size("rows"), "columns": cases.size("columns")}
normed |= {
    "kind": cases.choice("any", "small", "large", "a row of zeros", "mean 1,000 times the spread", "rows unlike each other"),
    "eps": cases.choice(1e-5, 1e-6, 1.0),
}


def rows_of(rows, columns, kind, seed):
    """x of one kind."""
    scale, shift = {"small": (1e-3, 0), "large": (1e3, 300), "mean 1,000 times the spread": (1, -990)}.get(kind, (1, 1))
    x = random(rows, columns, seed=seed).cpu()
    if columns > 1:  # the spread is what it is said to be, of two values too
        x = (x - x.mean(1, keepdim=True)) / x.std(1, correction=0, keepdim=True)
    if kind == "rows unlike each other":
        turn = (torch.arange(rows)[:, None] + seed) % 5
        return x * torch.tensor([1.0, 1.0, 1e-3, 300.0, 0.1])[turn] + torch.tensor([0.0, 950.0, 0.5, -2e3, -80.0])[turn]
    x = x * scale + shift
    if kind == "a row of zeros":
        x[seed % rows] = 0
    return x


def some_weights(columns, seed):
    """One of them is 0 where there are several."""
    weight = random(columns, seed=seed, shift=1).cpu()
    if columns > 1:
        weight[seed % columns] = 0
    return weight


def tolerance(x):
    """For each row what a value may be off, as a share."""
    far = x.double().mean(1).abs() >= 100 * x.double().std(1, correction=0)
    return torch.where(far, 2e-3, 1e-4)[:, None].numpy()


def words(rows, columns, kind, eps, seed):
    return f"{rows} rows of {columns}{'' if kind == 'any' else f' ({kind})'}, eps {'by default' if eps is None else format(eps, 'g')} (seed {seed})"


seen_calls = {}  # what was seen, by case: both parts of a pass look at the same call


def forward_cases():
    for rows, columns, kind, eps, seed in rows_to_norm():
        weight, bias = some_weights(columns, seed + 1), random(columns, seed=seed + 2).cpu()
        inputs = {"x": rows_of(rows, columns, kind, seed), "weight": weight, "bias": bias}
        what = f"`layer_norm` of {words(rows, columns, kind, eps, seed)}"
        if what not in seen_calls:
            seen_calls[what] = seen_forward(inputs, **({} if eps is None else {"eps": eps}))
        yield inputs, seen_calls[what], 1e-5 if eps is None else eps, what


def check_output():
    for inputs, seen, eps, what in forward_cases():
        kept_rules({**seen, "outputs": {"out": seen["outputs"]["out"]}, "returned": seen["returned"][0]}, inputs, what)
        out, mean, rstd = layer_norm_by_definition(*inputs.values(), eps)
        x, weight, bias = (t.double() for t in inputs.values())
        block = triton.next_power_of_2(x.shape[1])
        padded = ((x - mean[:, None]).square().sum(1) + (block - x.shape[1]) * mean**2) / x.shape[1]
        causes = {"the padding of x - mean is -mean: mask it before squaring": ((x - mean[:, None]) * (padded[:, None] + eps) ** -0.5 * weight + bias).float()}
        hint = "(x - mean) * rstd * weight + bias: divide by the columns, subtract the mean before squaring"
        check.equal(seen["outputs"]["out"], out.float(), f"out of {what}", hint, rtol=tolerance(x), floor="row", causes=causes)


def check_statistics():
    for inputs, seen, eps, what in forward_cases():
        statistics = {name: seen["outputs"][name] for name in ("mean", "rstd")}
        kept_rules({**seen, "outputs": statistics, "returned": list(statistics)}, inputs, what)
        _, mean, rstd = layer_norm_by_definition(*inputs.values(), eps)
        largest = inputs["x"].double().abs().amax(1).numpy()
        check.equal(statistics["mean"], mean.float(), f"mean of {what}", "the sum of the row over its columns", rtol=0, atol=1e-5 * largest)
        hint = "1 / sqrt(variance + eps), the mean subtracted before squaring, padding masked, divided by the columns"
        check.equal(statistics["rstd"], rstd.float(), f"rstd of {what}", hint, rtol=tolerance(inputs["x"])[:, 0], atol=0)


def backward_cases():
    for rows, columns, kind, eps, seed in rows_to_norm():
        dy, weight = random(rows, columns, seed=seed + 1).cpu(), some_weights(columns, seed + 2)
        inputs = {"dy": dy, "x": rows_of(rows, columns, kind, seed), "weight": weight}
        _, mean, rstd = layer_norm_by_definition(inputs["x"], weight, weight, 1e-5 if eps is None else eps)
        inputs |= {"mean": mean.float(), "rstd": rstd.float()}
        what = f"`layer_norm_backward` of {words(rows, columns, kind, eps, seed)}"
        if what not in seen_calls:
            seen_calls[what] = seen_backward(inputs)
        yield inputs, seen_calls[what], what


def only(seen, *names):
    """What was seen, of the outputs these alone; what was returned is looked at as a whole."""
    whole = seen["returned"] == list(seen["outputs"])
    return {**seen, "outputs": {name: seen["outputs"][name] for name in names}, "returned": (list(names) if len(names) > 1 else names[0]) if whole else seen["returned"]}


again = "that comes from statistics worked out again, with an eps of 1e-5: take the mean and rstd that were given"


def normalised_again(x):
    """Normalised rows and their rstd, with an eps of 1e-5 whatever the forward pass had."""
    rstd = (x.var(1, correction=0) + 1e-5) ** -0.5
    return (x - x.mean(1, keepdim=True)) * rstd[:, None], rstd


def dx_of(dy, weight, normed, rstd):
    g = dy * weight
    return rstd[:, None] * (g - g.mean(1, keepdim=True) - normed * (g * normed).mean(1, keepdim=True))


def check_dx():
    for inputs, seen, what in backward_cases():
        kept_rules(only(seen, "dx"), inputs, what)
        dy, x, weight, mean, rstd = (t.double() for t in inputs.values())
        g, dx = dy * weight, dx_of(dy, weight, (x - mean[:, None]) * rstd[:, None], rstd)
        causes = {
            "the mean of g is not subtracted": (dx + rstd[:, None] * g.mean(1, keepdim=True)).float(),
            "the mean of g times the normalised x is not subtracted": (rstd[:, None] * (g - g.mean(1, keepdim=True))).float(),
            again: dx_of(dy, weight, *normalised_again(x)).float(),
        }
        hint = "x is normalised with the mean and rstd that were given; both means, of g and of g times the normalised x, are subtracted; they are over the columns, without padding"
        atol = tolerance(x) * (rstd[:, None] * g).abs().amax(1, keepdim=True).numpy()
        check.equal(seen["outputs"]["dx"], dx.float(), f"dx of {what}", hint, rtol=0, atol=atol, causes=causes)


def check_dw_db():
    for inputs, seen, what in backward_cases():
        kept_rules(only(seen, "dw", "db"), inputs, what)
        dy, x, _, mean, rstd = (t.double() for t in inputs.values())
        db, dw = dy.sum(0), (dy * (x - mean[:, None]) * rstd[:, None]).sum(0)
        atol = 1e-4 * max(1.0, float(db.abs().max()))
        check.equal(seen["outputs"]["db"], db.float(), f"db of {what}", "the sum of dy over all rows, for every column", rtol=0, atol=atol)
        hint = "the sum over all rows of dy times the normalised x, (x - mean) * rstd with the given statistics of that row"
        causes = {again: (dy * normalised_again(x)[0]).sum(0).float()}
        check.equal(seen["outputs"]["dw"], dw.float(), f"dw of {what}", hint, rtol=0, atol=1e-4 * max(1.0, float(dw.abs().max())), causes=causes)


with check.exercise("layer_norm"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"the output": check_output, "the statistics": check_statistics, "dx": check_dx, "dw and db": check_dw_db})
check.points(4)  # the number below: your points, of 4

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Forward: after the mean is subtracted the padding is no longer 0. Backward: every load of the row kernel is known from
# the forward; in the column kernel offsets and mask are fixed before the loop and only the row moves.
# </details>
# <details><summary>Hint 2 · which functions</summary>
#
# `tl.where(mask, x - mean, 0.0)`; `tl.sum`, `tl.sqrt`; `tl.load(mean_ptr + row)` reads one number; `tl.zeros((BLOCK,),
# dtype=tl.float32)` and `for row in range(0, rows):`; a grid of `(rows,)` and one of `(triton.cdiv(columns, 64),)`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# centred = tl.where(mask, x - mean, 0.0)
# rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
# # dx
# normed = (x - mean) * rstd
# g = dy * weight                      # all loaded with other=0.0
# dx = rstd * (g - tl.sum(g, axis=0) / columns - normed * ...)
# # dw, db
# for row in range(0, rows):
#     dy = tl.load(dy_ptr + row * columns + offsets, mask=mask)
#     ...
# ```
# </details>


# %% [markdown]
# #### Your kernels under autograd
#
# An `autograd.Function` joins forward and backward, and a network trains through them: two spirals, 24 points, one
# hidden layer with your layer norm. The same network with torch's own layer norm starts from the same weights.


# %%
class TritonLayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        out, (mean, rstd) = torch.empty_like(x), x.new_empty(2, len(x))
        layer_norm(x, weight, bias, out, mean, rstd)
        ctx.save_for_backward(x, weight, mean, rstd)
        return out

    @staticmethod
    def backward(ctx, dy):
        x, weight, mean, rstd = ctx.saved_tensors
        dx, dw, db = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
        return layer_norm_backward(dy.contiguous(), x, weight, mean, rstd, dx, dw, db)


def train_spirals(norm, steps=25):
    """Losses of a small network on two spirals; `norm(x, weight, bias)` is its layer norm."""
    turn = torch.linspace(0.5, 4.0, 12, device=DEVICE)
    arm = torch.stack([turn * turn.cos(), turn * turn.sin()], 1)
    points = F.pad(torch.cat([arm, -arm]), (0, 1), value=1.0)  # a third coordinate of 1 is the layer's bias
    labels = torch.arange(2, device=DEVICE).repeat_interleave(12)
    shapes = (3, 40), (40,), (40,), (40, 2)
    w1, gain, shift, w2 = (random(*s, seed=i, scale=0.3).requires_grad_() for i, s in enumerate(shapes))
    with torch.no_grad():
        gain += 1
    optimizer = torch.optim.Adam([w1, gain, shift, w2], lr=0.1)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(torch.tanh(norm(points @ w1, gain, shift)) @ w2, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


curves = {
    "torch's layer norm": train_spirals(lambda x, w, b: F.layer_norm(x, (40,), w, b)),
    "your kernels": train_spirals(TritonLayerNorm.apply),
}
figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
for (name, losses), style in zip(curves.items(), ("-", "o")):
    axis.plot(losses, style, ms=3, label=f"{name}: {losses[-1]:.3f} at the end")
axis.set(xlabel="step", ylabel="cross-entropy (nats)", title="two spirals", ylim=(0, None))
axis.legend()
plt.show()

# %% [markdown]
# ## Part E · Using numbers again
#
# ### 7 · Tiled matrix product (4 points, 40 minutes, difficulty 3 of 3)
#
# A product does $2MNK$ operations on $MK + KN + MN$ numbers: there is enough arithmetic for every byte, if each number
# is used often once it is loaded. A program owns one tile of the result and walks along `k`: at each step it loads a
# tile of A and a tile of B and adds their product to an accumulator that stays in registers.
#
# ![A program owns one tile of out, BLOCK_M by BLOCK_N. It walks along k: a tile of A, BLOCK_M by BLOCK_K, times the tile of B beside it, BLOCK_K by BLOCK_N, is added to acc; tiles that stick out are masked with 0. At the end acc is stored.](pictures/20_matmul.svg)
#
# Addresses of a tile come from two vectors: `rows[:, None] * row_stride + columns[None, :] * column_stride` has shape
# `(len(rows), len(columns))`. With both strides given, a transposed matrix needs no copy.
#
# **Three things about `tl.dot`.**
#
# 1. Tiles have a smallest size, which depends on dtype and GPU. Triton 3.9 on NVIDIA wants a depth (`BLOCK_K`) of 16 in 16
#    bits and of 8 in 32 bits, and pads the other two sides; other versions and GPUs want more. 16 everywhere is safe,
#    and the seat belt of this notebook wants it.
# 2. float32 is multiplied as TF32 (11 significant bits) unless you say `input_precision="ieee"`. The interpreter would be
#    exact either way; with the seat belt of this notebook it rounds as a GPU does.
# 3. The interpreter multiplies the bit patterns of bfloat16. Pass each tile through `for_dot`, which widens it there and
#    leaves it to the tensor cores on a GPU.

# %%
WIDEN = tl.constexpr(INTERPRETED)  # kernels see global values only if they are tl.constexpr


@triton.jit
def for_dot(tile):
    """A tile as tl.dot may have it: widened to float32 in the interpreter, as it is on a GPU."""
    if WIDEN:
        tile = tile.to(tl.float32)
    return tile


# %% [markdown]
# **Task.** Write kernel and launcher of `matmul(a, b, out, block_m=16, block_n=32, block_k=16)`. `a` is `(m, k)`, `b` is
# `(k, n)`, `out` is `(m, n)`, all sizes from 1 to 1,100. All three have one dtype: float32, float16 or bfloat16. Each has two
# strides of its own: a matrix may lie transposed, with gaps between its rows, or between the elements of a row too, so that
# neither stride is 1. The blocks are powers of two from 16 to 512; in the tests no tile has
# more than 8,192 elements, so that small GPUs have room for it too. Numbers may be as large as the
# dtype can hold, in bfloat16 far beyond what float16 can, and as small as its smallest normal number (6.1e-5 in float16), as
# long as sums of the magnitudes of their products stay within its range.
#
# - It writes `a @ b` into `out`, for all sizes, also where tiles stick out. <!-- rule: product -->
# - It works for any two such strides of each matrix, without a copy. <!-- rule: strides -->
# - It accumulates in float32, over the whole of `k`, and rounds once. So float16 is right to 1e-3 and bfloat16 to $2^{-7}$
#   of the largest result, float32 to 1e-5 of the largest sum of the products' magnitudes. <!-- rule: float32 -->
# - It computes with the blocks that it is given: one load reads a whole tile of `a`, `block_m x block_k` elements, another one of
#   `b`, `block_k x block_n` (at the edges what exists of it). The fence sees how many elements a load
#   reads. <!-- rule: blocks, reported -->
# - `matmul_kernel[grid](...)` with the parameters of the stub and the two-dimensional grid of `cdiv(m, BLOCK_M)` by
#   `cdiv(n, BLOCK_N)` programs does the whole product: the autotuner of the last part launches the kernel
#   so. <!-- rule: grid -->
# - It returns the tensor `out` that it was given. <!-- rule: returned, reported -->
# - `a` and `b` stay as they were. <!-- rule: unchanged -->
# - Nothing outside of the three matrices is read or written. <!-- rule: inside, reported -->
# - Memory is read and written as often as `matmul_cost` of exercise 2 says, no more, torch's own operations
#   included. <!-- rule: traffic, reported -->


# %% exercise="tiled_matmul" minutes=40 difficulty=3
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    a_row, a_column, b_row, b_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One BLOCK_M x BLOCK_N tile of out = a @ b; `a_row` is the stride from one row of a to the next, and so on."""
    ### BEGIN SOLUTION
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < m) & (inner[None, :] < k)
        a = tl.load(a_ptr + rows[:, None] * a_row + inner[None, :] * a_column, mask=a_mask, other=0.0)
        b_mask = (inner[:, None] < k) & (columns[None, :] < n)
        b = tl.load(b_ptr + inner[:, None] * b_row + columns[None, :] * b_column, mask=b_mask, other=0.0)
        acc = tl.dot(for_dot(a), for_dot(b), acc, input_precision="ieee")
    out_mask = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(out_ptr + rows[:, None] * out_row + columns[None, :] * out_column, acc, mask=out_mask)
    ### END SOLUTION


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    """`a @ b` into `out`, in tiles; returns `out`."""
    ### BEGIN SOLUTION
    (m, k), n = a.shape, b.shape[1]
    grid = (triton.cdiv(m, block_m), triton.cdiv(n, block_n))
    strides = (*a.stride(), *b.stride(), *out.stride())
    matmul_kernel[grid](a, b, out, m, n, k, *strides, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k)
    return out
    ### END SOLUTION


# %% tests="tiled_matmul" points=4
@check.scenario
def seen_matmul(a, b, blocks, **memory):
    return fenced_call(matmul, {"a": a, "b": b}, {"out": ((a.shape[0], b.shape[1]), a.dtype)}, **memory, **blocks)


@check.scenario
def launched_product(a, b, block_m, block_n, block_k):
    """The product by `matmul_kernel` itself, launched as the autotuner does it."""
    out = torch.full((a.shape[0], b.shape[1]), math.nan, dtype=a.dtype, device=DEVICE)
    a, b = a.to(DEVICE), b.to(DEVICE)
    grid = triton.cdiv(a.shape[0], block_m), triton.cdiv(b.shape[1], block_n)
    sizes = a.shape[0], b.shape[1], a.shape[1]
    matmul_kernel[grid](a, b, out, *sizes, *a.stride(), *b.stride(), *out.stride(), BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k)
    return out.cpu()


def factors(m, n, k, dtype, kind, seed):
    """a and b; "cancelling": large sums on the way to a small result."""
    shift = 4.0 if kind == "cancelling" else 0.0
    large, small = (40.0, 0.1) if dtype == torch.float16 else (1e12, 1e-12)
    scale = {"small": small, "large": large}.get(kind, 1.0)
    a, b = (random(*shape, seed=seed + i, dtype=dtype, shift=shift, scale=scale).cpu() for i, shape in enumerate(((m, k), (k, n))))
    if kind == "cancelling":
        a[:, k // 2 :] *= -1
    return {"a": a, "b": b}


def right_to(inputs, expected):
    """What a result may be off: a share of the largest, and in float32 of the sum of the magnitudes."""
    a, b = inputs["a"].double().abs(), inputs["b"].double().abs()
    dtype = inputs["a"].dtype
    if dtype == torch.float32:
        return 1e-5 * float((a @ b).max())
    return {torch.float16: 1e-3, torch.bfloat16: 2**-7}[dtype] * float(expected.abs().max())


def check_matmul(m, n, k, blocks, dtype, kind, flipped, gaps, seed, spread=()):
    inputs = factors(m, n, k, dtype, kind, seed)
    names = ("block_m", "block_n", "block_k")
    memory = {"gaps": dict(zip(("a", "b", "out"), gaps)), "flipped": list(flipped), "spread": list(spread)}
    seen = seen_matmul(*inputs.values(), dict(zip(names, blocks or ())), **memory)
    how = "".join([f", {kind}" if kind != "any" else "", f", transposed in memory: {', '.join(flipped)}" if flipped else "", ", with gaps" if any(gaps) else ""])
    how += f", gaps between the elements of {', '.join(spread)}, no stride of 1" if spread else ""
    block_m, block_n, block_k = blocks or (16, 32, 16)
    what = f"`matmul` of ({m}, {k}) @ ({k}, {n}) in {str(dtype).removeprefix('torch.')}, blocks {blocks or 'by default'}{how}"
    inside = "Each mask needs both axes: m and k for a, k and n for b, m and n for out. Each tensor has two strides of its own."
    beyond = max(float(t.abs().max()) for t in inputs.values()) > 65_504
    range_of = "Numbers here are beyond 65,504, where float16 ends: does none of them become a float16? " if beyond else ""
    kept_rules(seen, inputs, what, inside, f"{range_of}Is every tile of out computed? ")
    a, b = (t.double() for t in inputs.values())
    expected = a @ b
    atol = right_to(inputs, expected)
    hint = "both tiles through for_dot, the accumulator in float32 over all steps of k, starting from 0, rounded once to the dtype of out; each matrix with its own two strides"
    first = (a[:, :block_k] @ b[:block_k]).to(dtype).double()
    causes = {"that is the first step of k alone: is each step added to the accumulator, over the whole of k?": first} if k > block_k else {}
    if dtype == torch.float32:
        causes['tl.dot rounded float32 to TF32: input_precision="ieee" keeps it'] = as_tf32(inputs["a"]) @ as_tf32(inputs["b"])
    if beyond:
        causes["results beyond 65,504 became infinite, as in float16: the dtype of out holds them"] = expected.half().double()
    check.equal(seen["outputs"]["out"].double(), expected, what, hint, rtol=0, atol=atol, causes=causes)
    hint = f"with tiles of {block_m} x {block_n}, a once for each column of tiles, b once for each row of tiles, out once, nothing again in place of a mask"
    reads = {"a": m * k * triton.cdiv(n, block_n), "b": k * n * triton.cdiv(m, block_m), "out": 0}
    counted(seen, what, hint, reads=reads, writes={"out": m * n})
    tile_k = min(k, block_k)
    in_blocks(seen, what, a=min(m, block_m) * tile_k, b=tile_k * min(n, block_n))


products = {name: cases.size(name) for name in "mnk"}
products |= {"blocks": cases.choice((16, 16, 16), None, (32, 16, 16), (16, 64, 32), (64, 16, 32), (16, 16, 64))}
dtypes = (torch.float32, BFLOAT16, torch.float16)
products |= {"dtype": cases.choice(*dtypes), "kind": cases.choice("any", "small", "large", "cancelling")}
products |= {
    "flipped": cases.choice((), ("a",), ("b",), ("out",), ("a", "b", "out")),
    "gaps": cases.choice((0, 0, 0), (2, 3, 1)),
    "spread": cases.choice((), ("a",), ("b",), ("out",)),
}

with check.exercise("tiled_matmul"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    for seed in seeds:
        odd = 18 + seed % 13
        for m, n, k, blocks, dtype, kind, flipped, gaps in (
            (1, 1, 1, (16, 16, 16), torch.float32, "any", (), (0, 0, 0)),
            (16, 32, 16, None, torch.float32, "any", (), (0, 0, 0)),
            (3, 5, 7, None, torch.float32, "any", (), (0, 0, 0)),
            (odd, 45, 37, None, torch.float32, "any", (), (2, 3, 1)),
            (17, odd, 5, (16, 16, 16), torch.float32, "any", ("a",), (0, 2, 0)),
            (21, 18, odd, (16, 16, 32), BFLOAT16, "any", ("b",), (0, 0, 3)),
            (5, 50, odd, (16, 32, 16), torch.float16, "any", ("a", "b", "out"), (1, 2, 3)),
            *((5, 18, 20, (16, 32, 16), dtype, kind, (), (0, 0, 0)) for dtype in dtypes for kind in ("large", "small")),
            *((17, 16, 260, (16, 16, 64), dtype, "cancelling", (), (0, 0, 0)) for dtype in (torch.float16, BFLOAT16)),
            (2, 3, 1060 + odd, (16, 16, 512), torch.float32, "any", (), (0, 0, 0)),
            (2, 3, 1060 + odd, (16, 16, 512), torch.float16, "cancelling", (), (0, 0, 0)),
            (260 + odd % 7, 20, 3, (16, 16, 16), torch.float32, "any", (), (0, 0, 0)),
            (1090 + odd % 7, 3, 3, (16, 16, 16), torch.float32, "any", (), (0, 0, 0)),
            (3, 1090 + odd % 7, 3, (16, 16, 16), torch.float32, "any", ("b",), (0, 0, 0)),
            (1030, 3, 2, (512, 16, 16), torch.float32, "any", (), (0, 0, 0)),
            (3, 1030, 2, (16, 512, 16), BFLOAT16, "any", (), (0, 0, 0)),
        ):
            check_matmul(m, n, k, blocks, dtype, kind, flipped, gaps, seed)
        for case in cases.draw(seed, products, count=3, m=(1, 20), n=(1, 20), k=(1, 40)):
            *others, spread = case
            check_matmul(*others, seed, spread)
        inputs = factors(19, 50, 21, torch.float32, "any", seed)
        expected = inputs["a"].double() @ inputs["b"].double()
        what = "(19, 21) @ (21, 50) by `matmul_kernel` on a grid of 2 x 4 programs, blocks (16, 16, 32)"
        hint = "program (i, j) of the grid computes tile (i, j), with the parameters in the order of the stub"
        check.equal(launched_product(*inputs.values(), 16, 16, 32).double(), expected, what, hint, rtol=0, atol=right_to(inputs, expected))

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Rows and columns of the tile are fixed; only the vector along `k` moves. Three loads and stores, three masks, and each
# mask is an "and" of two conditions that are broadcast against each other.
# </details>
# <details><summary>Hint 2 · which functions</summary>
#
# `tl.program_id(0)`, `tl.program_id(1)`, `tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)`, `range(0, k, BLOCK_K)`,
# `tl.dot(for_dot(a), for_dot(b), acc, input_precision="ieee")`; `a.stride()` gives both strides.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
# ...
# for start in range(0, k, BLOCK_K):
#     inner = start + tl.arange(0, BLOCK_K)
#     a_mask = (rows[:, None] < m) & (inner[None, :] < k)
#     a = tl.load(a_ptr + rows[:, None] * a_row + inner[None, :] * a_column, mask=a_mask, other=0.0)
#     b = ...
#     acc = tl.dot(for_dot(a), for_dot(b), acc, input_precision="ieee")
# ```
# </details>


# %% [markdown]
# The fence counts what your kernel really moves for tiles of several sizes, next to the arithmetic of exercise 2. Twice
# the tile, half the reads (the one write of the result stays): that is why tiles are as large as registers and shared
# memory allow.

# %%
a, b = random(64, 64, seed=43), random(64, 64, seed=44)
sides, by_fence, computed = (16, 32, 64), [], []
for side in sides:
    fence = Fence()
    with fence:
        matmul(a, b, torch.empty_like(a), side, side, 32)
    flops, moved = matmul_cost(64, 64, 64, side, side, 4)
    computed.append(flops / moved)
    by_fence.append(flops / (fence.bytes_read + fence.bytes_written) if INTERPRETED else math.nan)
figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
axis.plot(sides, computed, "-", label="by arithmetic")
axis.plot(sides, by_fence, "o", label="counted")
axis.set(xlabel="side of a tile (elements)", ylabel="intensity (flop / byte)", xticks=sides, title="64 x 64 x 64 in float32")
axis.legend()
plt.show()
print("Counted equals computed:", by_fence == computed if INTERPRETED else "not counted on a GPU")

# %% [markdown]
# ### 8 · Choosing tiles (3 points, 30 minutes, difficulty 2 of 3)
#
# Large tiles move fewer bytes, but they need room, and there are fewer of them: a GPU has dozens of multiprocessors, and
# a grid of four programs leaves nearly all idle. Which tile is best depends on the sizes and on the GPU, so it is
# *measured*: `@triton.autotune(configs, key=["m", "n", "k"])` runs every configuration once for every new key and
# remembers the quickest. Two functions of yours may help it: one throws out what cannot work, and one predicts, so that
# only the promising ones are run. In the interpreter `@triton.autotune` fails (there is no GPU to time), so you write
# the tuner too; it is small.
#
# A `triton.Config` holds the tile in `config.kwargs` and says in `config.num_stages` how many steps of the loop over `k`
# are in flight at once. Each stage keeps one tile of A and one of B in shared memory.

# %%
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """What the choice of a tile depends on. Figures for whole GPUs, in 16 bits; sources stand in exercise 2."""

    peak: float  # flop/s
    bandwidth: float  # bytes/s
    multiprocessors: int
    shared_bytes: int  # that one program may have


T4 = Gpu(65e12, 320e9, 40, 64 << 10)
A100 = Gpu(312e12, 2.039e12, 108, 163 << 10)


def tile(m, n, k, stages=2):
    return triton.Config({"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k}, num_stages=stages)


# %% [markdown]
# The numbers of multiprocessors and the shared memory for one program are in NVIDIA's
# [Turing](https://docs.nvidia.com/cuda/turing-tuning-guide/) and
# [Ampere tuning guides](https://docs.nvidia.com/cuda/ampere-tuning-guide/) and the data sheets above.
#
# **Task.** Write two functions and a class; each earns a point. `configs` is a list of one or more different
# configurations, made as by `tile`. All sizes are whole numbers from 1 on; an element has 1, 2, 4 or 8 bytes.
#
# `prune(configs, itemsize, shared_bytes)` returns a list of configurations, each of them one of `configs`, not a copy.
#
# - It keeps, in their order, those whose stages fit:
#   `num_stages * (BLOCK_M * BLOCK_K + BLOCK_K * BLOCK_N) * itemsize` is at most `shared_bytes`. <!-- rule: fits -->
# - If none fits, it returns a list with the one that needs least, the first of equals. <!-- rule: smallest -->
# - The list `configs` stays as it was. <!-- rule: unchanged -->
#
# `predicted_seconds(config, m, n, k, itemsize, gpu)` returns the time of an `(m, k)` by `(k, n)` product.
#
# - The programs run in *waves* of `gpu.multiprocessors` programs. Every wave takes as long as a full one, the last
#   too. <!-- rule: waves -->
# - Every program computes a whole tile (padding is computed too) over `k` rounded up to whole steps of
#   `BLOCK_K`. <!-- rule: whole -->
# - A program's traffic: tiles of A and B over all steps, and the tile of the result once. A wave needs the seconds of your
#   `roofline` for its flops and bytes, at the peak and bandwidth of the GPU. <!-- rule: wave_seconds -->
#
# For example tiles of 16 x 16 with steps of 16, a (20, 20) x (20, 20) product and 3 multiprocessors: 4 programs, so 2 waves
# of 3; a program does 2 x 16 x 16 x 32 flops and moves 32 x 32 + 256 elements.
#
# `Tuner(configs, measure)` has a method `best(*key)`; a key is one or more finite numbers and texts, different ones being
# different keys, whatever their hashes (1 and 1.0 do not both occur); a tuner is asked for at most 150 different keys. `measure(config, *key)` returns seconds, a finite number from 0
# on, perhaps huge, or raises an error.
#
# - `best` returns the configuration with the least seconds, the first of equals. <!-- rule: quickest -->
# - A configuration whose measurement raises `RuntimeError`, any subclass of it (one is `torch.OutOfMemoryError`) or
#   `triton.OutOfResources` (which is none) cannot win. <!-- rule: failing -->
# - If all raise one of these, `best` raises `RuntimeError` and remembers nothing: it measures again when it is asked
#   again. <!-- rule: all_fail -->
# - Any other error, another `triton.TritonError` too, is a bug and comes out of `best`; nothing is remembered then either. Whether
#   the other configurations are still measured is free. <!-- rule: other_errors -->
# - Each configuration is measured once for a key; then the answer for this key is remembered, by this tuner
#   alone. <!-- rule: remembered -->


# %% exercise="choose_tiles" minutes=30 difficulty=2
def prune(configs, itemsize, shared_bytes):
    """Those of `configs` whose tiles fit into `shared_bytes` of shared memory; the smallest alone if none does."""

    ### BEGIN SOLUTION
    def needs(config):
        m, n, k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
        return config.num_stages * (m + n) * k * itemsize

    return [config for config in configs if needs(config) <= shared_bytes] or [min(configs, key=needs)]
    ### END SOLUTION


def predicted_seconds(config, m, n, k, itemsize, gpu):
    """Seconds of the (m, k) x (k, n) product in waves of whole tiles, by the roofline of `gpu`."""
    ### BEGIN SOLUTION
    block_m, block_n, block_k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
    waves = triton.cdiv(triton.cdiv(m, block_m) * triton.cdiv(n, block_n), gpu.multiprocessors)
    depth = triton.cdiv(k, block_k) * block_k
    flops = 2 * block_m * block_n * depth
    moved = ((block_m + block_n) * depth + block_m * block_n) * itemsize
    return waves * roofline(flops * gpu.multiprocessors, moved * gpu.multiprocessors, gpu.peak, gpu.bandwidth)[1]
    ### END SOLUTION


class Tuner:
    """Remembers, for each key, the configuration that `measure(config, *key)` found quickest."""

    def __init__(self, configs, measure):
        ### BEGIN SOLUTION
        self.configs, self.measure, self.known = configs, measure, {}
        ### END SOLUTION

    def best(self, *key):
        """The quickest configuration for `key`."""
        ### BEGIN SOLUTION
        if key not in self.known:
            seconds = {}
            for config in self.configs:
                try:
                    seconds[config] = self.measure(config, *key)
                except (RuntimeError, triton.OutOfResources):
                    pass  # it cannot win
            if not seconds:
                raise RuntimeError(f"no configuration runs for {key}")
            self.known[key] = min(seconds, key=seconds.get)
        return self.known[key]
        ### END SOLUTION


# %% tests="choose_tiles" points=3
from random import Random


def needs(config, itemsize):
    """Bytes of shared memory; a configuration crosses as (BLOCK_M, BLOCK_N, BLOCK_K, stages)."""
    m, n, k, stages = config
    return stages * (m * k + k * n) * itemsize


@check.shared
def described(config):
    return [*(config.kwargs[f"BLOCK_{axis}"] for axis in "MNK"), config.num_stages]


@check.scenario
def pruned(configs, itemsize, shared_bytes):
    made = [tile(*config) for config in configs]
    kept = prune(made, itemsize, shared_bytes)
    if not isinstance(kept, list):
        return type(kept).__name__, True, []
    return list(map(described, kept)), all(any(config is one for one in made) for config in kept), list(map(described, made))


def prune_by_definition(configs, itemsize, shared_bytes):
    fitting = [config for config in configs if needs(config, itemsize) <= shared_bytes]
    return [list(config) for config in fitting or [min(configs, key=lambda config: needs(config, itemsize))]]


@check.scenario
def predicted(config, sizes, itemsize, gpu):
    return predicted_seconds(tile(*config), *sizes, itemsize, Gpu(*gpu))


def predicted_by_definition(config, sizes, itemsize, gpu, whole_waves=True, whole_tiles=True):
    (block_m, block_n, block_k, _), (m, n, k), (peak, bandwidth, multiprocessors, _) = config, sizes, gpu
    programs = math.ceil(m / block_m) * math.ceil(n / block_n)
    waves = math.ceil(programs / multiprocessors) if whole_waves else programs / multiprocessors
    depth = math.ceil(k / block_k) * block_k if whole_tiles else k
    flops = multiprocessors * 2 * block_m * block_n * depth
    moved = multiprocessors * ((block_m + block_n) * depth + block_m * block_n) * itemsize
    return waves * max(flops / peak, moved / bandwidth)


BUGS_OF_MEASURING = ("KeyError", "ValueError", "MemoryError", "OSError", "TritonError", "UnknownBug")


@check.scenario
def tuned(configs, seconds, keys):
    """What `best` gives for each of `keys` (the configuration by its number, or an error's name) and what is measured for it.

    `seconds[i]` are those of the configurations for call `i`; a text: the error that the measurement raises.
    """
    made, now, found = [tile(*config) for config in configs], [], []
    errors = {
        "RuntimeError": RuntimeError("no room"),
        "OutOfMemoryError": torch.OutOfMemoryError("no memory"),
        "NoRoom": type("NoRoom", (RuntimeError,), {})("no room"),
        "OutOfResources": triton.OutOfResources(2, 1, "shared memory"),
        **{bug.__name__: bug("a bug in the measurement") for bug in (KeyError, ValueError, MemoryError, OSError, triton.TritonError)},
        "UnknownBug": type("UnknownBug", (Exception,), {})("a bug in the measurement"),
    }

    def measure(config, *key):
        number = [described(c) for c in made].index(described(config))
        now.append([number, list(key)])
        answer = seconds[len(found)][number]
        if isinstance(answer, str):
            raise errors[answer]
        return answer

    tuner, other = Tuner(made, measure), Tuner([tile(1, 1, 1)], lambda config, *key: 1.0)
    for key in keys:
        other.best(*key)
        now.clear()
        try:
            best = tuner.best(*key)
            answer = next((f"configuration {i}" for i, config in enumerate(made) if config is best), type(best).__name__)
        except NotImplementedError:
            raise
        except Exception as error:
            answer = "RuntimeError" if isinstance(error, RuntimeError) else type(error).__name__
        found.append([answer, sorted(now, key=str)])
    return found


def tuned_by_definition(configs, seconds, keys):
    known, found = {}, []
    for key, times in zip(keys, seconds):
        measured = []
        if tuple(key) not in known:
            measured = [[i, key] for i in range(len(configs))]
            working = [t for t in times if not isinstance(t, str)]
            if not working:
                found.append(["RuntimeError", measured])
                continue
            known[tuple(key)] = times.index(min(working))
        found.append([f"configuration {known[tuple(key)]}", measured])
    return found


def some_configs(source, count):
    made = []
    while len(made) < count:
        config = [*(2 ** source.randint(4, 8) for _ in "MNK"), source.randint(1, 5)]
        if config not in made:
            made.append(config)
    return made


def check_prune():
    for seed in seeds:
        source = Random(seed)
        for count in (1, 2, 5, 5, 9):
            configs, itemsize = some_configs(source, count), source.choice((1, 2, 4, 8))
            bytes_needed = sorted(needs(config, itemsize) for config in configs)
            for room in (bytes_needed[count // 2], bytes_needed[count // 2] - 1, bytes_needed[0] - 1, bytes_needed[-1]):
                what = f"what fits of {configs} into {room} bytes at {itemsize} bytes an element"
                hint = "every stage holds a tile of A (BLOCK_M x BLOCK_K) and one of B (BLOCK_K x BLOCK_N); what needs just the room fits; if nothing fits, the smallest alone"
                kept, same, after = pruned(configs, itemsize, room)
                check.true(isinstance(kept, list), f"{what}: `prune` returned an object of type {kept}, expected a list")
                check.equal(kept, prune_by_definition(configs, itemsize, room), what, hint)
                check.true(same, f"{what}: it returned other objects, which look alike; what is kept are the configurations of the list themselves")
                check.equal(after, configs, f"the list of configurations after `prune` was asked for {what}", "it stays as it was")
        twins = [[64, 32, 32, 2], [32, 64, 32, 2], [16, 16, 64, 3]]
        for configs in (twins, twins[1::-1]):
            check.equal(pruned(configs, 2, 100)[0], prune_by_definition(configs, 2, 100), f"what fits of {configs} into 100 bytes", "the first of those that need least")


def check_prediction():
    draws = [([16, 16, 16, 2], [20, 20, 20], 2, [1e12, 1e12, 3, 1 << 16])]
    for seed in seeds:
        source = Random(seed)
        for _ in range(12):
            gpu = [10 ** source.uniform(10, 15), 10 ** source.uniform(10, 13), source.choice((1, 3, 40, 108, 132)), 1 << 16]
            draws.append((some_configs(source, 1)[0], [source.choice((1, 16, 33, 200, 512, 3000, 100_000)) for _ in "mnk"], source.choice((1, 2, 4, 8)), gpu))
    for config, sizes, itemsize, gpu in draws:
        m, n, k = sizes
        what = f"the predicted time of ({m}, {k}) x ({k}, {n}) in tiles of {config[:3]} with {itemsize} bytes on {gpu[2]} multiprocessors"
        exact = predicted_by_definition(config, sizes, itemsize, gpu)
        causes = {
            "the last wave takes as long as a full one": predicted_by_definition(config, sizes, itemsize, gpu, whole_waves=False),
            "k is rounded up to whole steps": predicted_by_definition(config, sizes, itemsize, gpu, whole_tiles=False),
        }
        causes = {why: value for why, value in causes.items() if abs(value - exact) > 1e-4 * exact}
        hint = "whole waves of whole tiles, also where a wave or a tile is only partly used; roofline() of one full wave, times the waves"
        check.equal(predicted(config, sizes, itemsize, gpu), exact, what, hint, rtol=1e-6, atol=0, causes=causes)


def check_tuner():
    once = "measure every configuration once for a new key, and answer from memory for one that is known; keys have answers of their own; where all failed, nothing is known"
    hint = (
        "the smallest time wins, the first of equals; what raises RuntimeError, one of its subclasses or triton.OutOfResources cannot win; "
        "keys have answers of their own, and so have tuners"
    )
    failures = ("RuntimeError", "OutOfMemoryError", "NoRoom", "OutOfResources")
    alike = [[1, 23], [12, 3], [123], ["1", 23], ["1, 23"], ["123"], [1, 23], [23, 1], [12, 3]]
    same_hash = [[-1], [-2], [-1, -2], [-2, -1], [0], [2**61 - 1], ["", 0], ["", 2**61 - 1], [-2], [-1], [0.5], [-0.5], [1.5]]
    for seed in seeds:
        source = Random(seed)
        for count, keys in (
            (1, [[5]]),
            (3, [[64, 40], [64, 64], [64, 40], [40, 64]]),
            (3, alike),
            (3, same_hash),
            (4, [[8], [8, 8], ["a", 2], [8], [8, 8]]),
            (5, [[i % 7, 1] for i in range(12)]),
            (2, [[i] for i in range(150)] + [[0]]),
        ):
            configs = some_configs(source, count)
            times = [[source.choice((1.0, 0.5, 2e-7, 3, 0.0, 1.0, *failures)) for _ in configs] for _ in keys]
            times[0][-1] = 2e-7
            for i, found in enumerate(zip(tuned(configs, times, keys), tuned_by_definition(configs, times, keys))):
                (best, measured), (expected, needed) = found
                said = f"seconds of its configurations: {times[i]}"
                name = f"best({', '.join(map(repr, keys[i]))})"
                check.equal(best, expected, f"what {name} gives, {said}, counted from 0,", hint)
                check.equal(len(measured), len(needed), f"the number of measurements by {name}, after the keys {keys[:i]}", once)
                check.equal(measured, needed, f"what {name} measured (number of the configuration, key)", once)
        configs = some_configs(source, 3)
        for failure in failures:
            times = [[failure] * 3, [failure, 2.0, 1.0]]
            (first, _), (second, measured) = tuned(configs, times, [[8, 8], [8, 8]])
            what = f"where every measurement raises {failure}"
            check.equal(first, "RuntimeError", f"what best() gives {what}", "it raises RuntimeError")
            check.equal([second, len(measured)], ["configuration 2", 3], f"what best() finds, and how often it measures, when it is asked again after a call {what}", once)
        for times in ([[1e300, 4000.0, 5000.0]], [[1e300, "RuntimeError", 1e299]]):
            check.equal(tuned(configs, times, [[1]]), tuned_by_definition(configs, times, [[1]]), f"what best() gives and measures, seconds of its configurations: {times[0]}", "any finite number can be the least")
        for bug in BUGS_OF_MEASURING:
            (found, _), (second, measured) = tuned(configs, [[1.0, bug, 2.0], [3.0, 2.0, 1.0]], [[1], [1]])
            hint = "only RuntimeError (with its subclasses) and triton.OutOfResources are expected, other errors must be seen"
            check.equal(found, bug, f"what best() gives where a measurement raises {bug}", hint)
            what = f"what best() finds, and how often it measures, when it is asked again after a measurement raised {bug}"
            check.equal([second, len(measured)], ["configuration 2", 3], what, "a bug leaves nothing behind: all are measured again")


with check.exercise("choose_tiles"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"prune": check_prune, "predicted_seconds": check_prediction, "Tuner": check_tuner})
check.points(3)  # the number below: your points, of 3

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# The model is crude on purpose: every tile costs the same, every wave costs the same. So one wave has to be worked out,
# and multiplied.
# </details>
# <details><summary>Hint 2 · which functions</summary>
#
# `config.kwargs["BLOCK_M"]`, `config.num_stages`, `min(configs, key=...)`, `triton.cdiv`, your `roofline(...)[1]`; a
# `dict` for what is known, `try ... except (RuntimeError, triton.OutOfResources)`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# fitting = [c for c in configs if needs(c) <= shared_bytes]
# return fitting or [min(configs, key=needs)]
# # predicted_seconds
# waves = triton.cdiv(triton.cdiv(m, block_m) * triton.cdiv(n, block_n), gpu.multiprocessors)
# depth = triton.cdiv(k, block_k) * block_k
# # Tuner.best
# if key not in self.known:
#     ...
#     self.known[key] = min(seconds, key=seconds.get)
# return self.known[key]
# ```
# </details>


# %% [markdown]
# Two tuners: one asks the prediction for an A100, the other counts the bytes that your kernel really moves, in the
# interpreter, and knows nothing about waves. They disagree about small products, and that is the point of a model.

# %%
sides = (16, 32, 64, 128, 256)
candidates = [tile(b, c, 32, 3) for b in sides for c in sides if 1 / 2 <= b / c <= 2 and b * c <= 1 << 15]  # registers end there
fitting = prune(candidates, 2, A100.shared_bytes)
by_model = Tuner(fitting, lambda config, side: predicted_seconds(config, side, side, side, 2, A100))
on_t4 = prune(candidates, 2, T4.shared_bytes)
print(f"{len(fitting)} of {len(candidates)} candidates fit into the shared memory of an A100, {len(on_t4)} into that of a T4.")
for side in (64, 256, 1024, 4096, 16384):
    best = by_model.best(side)
    seconds = predicted_seconds(best, side, side, side, 2, A100)
    print(
        f"{side:6} x {side:5}: tile {best.kwargs['BLOCK_M']:3} x {best.kwargs['BLOCK_N']:3}, {2 * side**3 / seconds / A100.peak:4.0%} of the peak by the model"
    )


def bytes_moved(config, side):
    x, fence = random(side, side), Fence()
    with fence:
        matmul(x, x, torch.empty_like(x), *(config.kwargs[f"BLOCK_{axis}"] for axis in "MNK"))
    return fence.bytes_read + fence.bytes_written


if INTERPRETED:
    best = Tuner([tile(16, 16, 32), tile(16, 64, 32), tile(64, 64, 32)], bytes_moved).best(64)
    print(
        f"fewest bytes at 64 x 64: tile {best.kwargs['BLOCK_M']} x {best.kwargs['BLOCK_N']}; by the model {by_model.best(64).kwargs}"
    )

# %% [markdown]
# ## Part F · Not writing a matrix at all
#
# ### 9 · Flash attention, forward (4 points, 50 minutes, difficulty 3 of 3)
#
# Attention of `q` queries to `k` keys makes a `q x k` matrix of scores $S = QK^\top / \sqrt{d}$, takes the softmax of each
# row, and multiplies by $V$. The matrix is the largest thing in sight, and nobody wants it. Flash attention (Dao et al.,
# [arXiv:2205.14135](https://arxiv.org/abs/2205.14135)) never writes it: a program owns a tile of queries and walks along
# the keys, a tile at a time, like the matrix product.
#
# The difficulty is the softmax, whose maximum and sum are known only at the end. It is done *online*. For every query
# the program keeps three things: the largest score so far $m$, the sum $\ell$ of $e^{s - m}$ so far, and the row `acc` of
# $\sum_j e^{s_j - m} v_j$ so far. A new tile of scores may raise the maximum; then what was summed with the old one is
# too large by $e^{m_\text{new} - m}$, and is shrunk:
#
# $$ m' = \max(m, \max_j s_j), \quad c = e^{m - m'}, \quad p_j = e^{s_j - m'}, \quad
#    \ell' = c\,\ell + \sum_j p_j, \quad \text{acc}' = c\,\text{acc} + \sum_j p_j v_j $$
#
# At the end `out = acc / ℓ`, and $\text{lse} = m + \log \ell$ is what a backward pass would need.
#
# ```text
#   causal, 5 queries, 8 keys: the last query sees all keys, the one before it all but one, …
#
#                keys 0 1 2 3   4 5 6 7
#   query 0           ✓ ✓ ✓ ✓   – – – –      the tile of keys 4 to 7 is needed for queries 1 to 4;
#   query 1           ✓ ✓ ✓ ✓   ✓ – – –      a tile of queries that sees none of a tile of keys
#   query 2           ✓ ✓ ✓ ✓   ✓ ✓ – –      does not load it
#   query 3           ✓ ✓ ✓ ✓   ✓ ✓ ✓ –
#   query 4           ✓ ✓ ✓ ✓   ✓ ✓ ✓ ✓
# ```
#
# Aligned like this, at the lower right, the same rule serves a prompt (as many queries as keys) and the next token
# (one query, all keys).
#
# **Task.** Write kernel and launcher of `attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16)`. `q` and `out`
# are `(heads, queries, width)`, `k` and `v` are `(heads, keys, width)`: 1 to 20 heads, up to 300 queries and
# keys, a width up to 350; contiguous, of one dtype (float32, float16 or bfloat16). `lse` is `(heads, queries)` in float32. The
# blocks are powers of two from 16 to 512; in the tests no tile (`block_m` or `block_n` by `BLOCK_D`, `block_m` by `block_n`) has
# more than 8,192 elements. Scores
# $q \cdot k / \sqrt{d}$ lie between -3,000 and 3,000, for some queries all of them near one end, for others all 0. `v` may be as large or as
# small as its dtype allows, in bfloat16 far beyond float16, as long as 10,000 times the sum of its magnitudes over all keys stays within float32's range.
#
# - It fills `out`, each head by itself, scores divided by the root of `width`. <!-- rule: output -->
# - It fills `lse`, in natural logarithms. <!-- rule: lse -->
# - Large scores of either sign do no harm; a later tile of keys may hold the largest. <!-- rule: online -->
# - It works for all sizes; what does not exist (queries, keys, the width up to `BLOCK_D`, the next power of two, at least
#   16: `tl.dot` wants it) counts nowhere. <!-- rule: sizes -->
# - `causal=True`: query `i` sees the keys `j <= i + keys - queries`; then there are at least as many keys as
#   queries. Without, each sees all, and there may be fewer keys. <!-- rule: causal -->
# - `out` is right to 2e-5 of the largest magnitude in `v` in float32 (3e-4 where scores are beyond 100), 2e-3 of it in float16
#   and 1.6e-2 in bfloat16; `lse` is right to 2e-5 plus 2e-6 of its size in every dtype: scores and sums are float32, from `q`
#   and `k` as they came. <!-- rule: precision -->
# - `q` is read once, `k` and `v` at most once for each block of `block_m` queries, `out` and `lse` are
#   written once and never read, torch's own operations included, and scores are never written. <!-- rule: traffic, reported -->
# - It computes with the blocks that it is given: a load reads a tile of `block_m` queries, or of `block_n` keys or values, at
#   their whole width (at the edges what exists of it). <!-- rule: blocks, reported -->
# - With `causal`, tiles of keys that none of the block's queries sees are not loaded. <!-- rule: skipped, reported -->
# - It returns `(out, lse)`, the tensors that it was given. <!-- rule: returned, reported -->
# - `q`, `k` and `v` stay as they were. <!-- rule: unchanged -->
# - Nothing outside of the five tensors is read or written. <!-- rule: inside, reported -->
#
# On a GPU `tl.dot` multiplies equal dtypes only: pass each operand through `for_dot`, and give the weights $p_j$ the dtype
# of the loaded `v` (`p.to(v.dtype)`; only a GPU tells if that is missing).


# %% exercise="flash_attention" minutes=50 difficulty=3
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """BLOCK_M queries of one head against all keys that they see, BLOCK_N at a time."""
    ### BEGIN SOLUTION
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)
    ### END SOLUTION


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    """softmax(q @ k.T / sqrt(width)) @ v into `out`, the log of the softmax's sum into `lse`; returns both."""
    ### BEGIN SOLUTION
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse
    ### END SOLUTION


# %% tests="flash_attention" points=4
@check.scenario
def seen_attention(q, k, v, **options):
    outputs = {"out": (q.shape, q.dtype), "lse": (q.shape[:2], torch.float32)}
    return fenced_call(attention, {"q": q, "k": k, "v": v}, outputs, margin=16384, **options)


def attention_by_definition(q, k, v, causal, scaled=True, shifted=True):
    """out and lse in float64."""
    q, k, v = (t.double() for t in (q, k, v))
    scores = q @ k.transpose(1, 2) / (q.shape[2] ** 0.5 if scaled else 1)
    if causal:
        seen = torch.ones(scores.shape[1:], dtype=torch.bool).tril(scores.shape[2] - scores.shape[1] if shifted else 0)
        scores = scores.masked_fill(~seen, -math.inf)
    return scores.softmax(2) @ v, scores.logsumexp(2)


def scores_unseen(queries, keys):
    """Where a causal score does not count: a key behind the last one that the query sees."""
    return ~torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)


def queries_keys_values(heads, queries, keys, width, dtype, kind, values, seed):
    """`kind`: what the scores are like; `values`: what v is like."""
    scale = {"large": 12.0, "small": 0.01}.get(kind, 1.0)
    q, k, v = (random(heads, n, width, seed=seed + i, scale=scale if i < 2 else 1).cpu() for i, n in enumerate((queries, keys, keys)))
    if kind in ("near -3,000", "near 3,000"):
        base = math.floor(8 * (2998 / width**0.5) ** 0.5) / 8
        k = torch.full_like(k, base)  # few digits, so that the scores of float32 are exact
        k[..., 0] -= (torch.arange(keys) * 5 + seed) % 8 / 8
        q = torch.full_like(q, base if kind == "near 3,000" else -base)
    if kind == "one far ahead":  # the others weigh little, and are many
        q, k = torch.ones_like(q), torch.zeros_like(k)
        k[:, seed % keys] = 13 / width**0.5
    if kind == "queries unlike each other":
        turn = (torch.arange(heads * queries).view(heads, queries, 1) + seed) % 4
        q = q * torch.tensor([1.0, -20.0, 0.0, 5.0])[turn]
        k[:, seed % keys] = 0
    if kind in ("rising", "falling"):  # the largest score comes in the last tile, or in the first
        q = q.abs() + 0.5
        order = torch.linspace(-3, 3, keys) if kind == "rising" else torch.linspace(3, -3, keys)
        k = order[:, None] + 0.1 * k
    large, small = (1e4, 0.1) if dtype == torch.float16 else (1e30, 1e-30)
    v = (1 + 0.01 * v if values == "alike" else v + 0.5) * {"large": large, "small": small}.get(values, 1.0)
    return {name: t.to(dtype) for name, t in {"q": q, "k": k, "v": v}.items()}


def check_attention(heads, queries, keys, width, causal, blocks, dtype, kind, values, seed):
    inputs = queries_keys_values(heads, queries, keys, width, dtype, kind, values, seed)
    options = {"causal": True} if causal else {}
    if blocks:
        options |= {"block_m": blocks[0], "block_n": blocks[1]}
    seen = seen_attention(**inputs, **options)
    block_m, block_n = blocks or (16, 16)
    scores_like = "" if kind == "any" else f", {kind}" if kind.startswith("queries") else f", scores {kind}"
    what = (
        f"`attention` of {heads} heads, {queries} queries, {keys} keys, width {width}, {str(dtype).removeprefix('torch.')}"
        f"{', causal' if causal else ''}{scores_like}{'' if values == 'any' else f', v {values}'}, blocks {blocks or 'by default'}"
    )
    widen = "; in bfloat16 every operand of tl.dot goes through for_dot" if dtype == torch.bfloat16 else ""
    asked = "Does every operand of tl.dot go through for_dot? " if widen else ""
    beyond = float(inputs["v"].abs().max()) > 65_504
    range_of = "Values of v are beyond 65,504, where float16 ends: does none of them become a float16? " if beyond else ""
    nans = f"{range_of}{asked}Is the maximum subtracted before exp, does it start below every score, and does the first tile avoid inf - inf? "
    kept_rules(seen, inputs, what, "Queries, keys and the width each need their mask.", nans)
    out, lse = attention_by_definition(**inputs, causal=causal)
    scores = inputs["q"].double() @ inputs["k"].double().transpose(1, 2) / width**0.5
    largest = float(lse.abs().max())
    share = {torch.float32: 2e-5 if scores.abs().max() < 100 else 3e-4, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}[dtype]
    atol_lse, atol = 2e-5 + 2e-6 * largest, share * float(inputs["v"].double().abs().max())

    unseen = scores_unseen(queries, keys) if causal else torch.tensor(False)
    missing = -keys % block_n
    others = {
        "scores are not divided by the root of the width": attention_by_definition(**inputs, causal=causal, scaled=False),
        "query i saw the keys up to i, aligned at the upper left; with causal it sees those up to i + keys - queries": attention_by_definition(**inputs, causal=causal, shifted=False),
    }
    if not causal and missing:
        padded = torch.cat([scores, scores.new_zeros(heads, queries, missing)], 2)
        padded_out = padded.softmax(2)[..., :keys] @ inputs["v"].double()
        others["keys behind the end count with a score of 0: their score must be -inf"] = padded_out, padded.logsumexp(2)
    narrow = inputs["q"].float() * width**-0.5
    narrow = (narrow.to(dtype) if dtype != torch.bfloat16 or not INTERPRETED else (narrow.view(torch.int32) & -(1 << 16)).view(torch.float32)).double()
    cut = (narrow @ inputs["k"].double().transpose(1, 2)).masked_fill(unseen, -math.inf)
    others["q times the scale was rounded to its dtype before the product: scale the scores, in float32"] = cut.softmax(2) @ inputs["v"].double(), cut.logsumexp(2)
    narrowed = 'tl.dot rounded float32 to TF32: input_precision="ieee" keeps it'
    if dtype == torch.float32:
        rounded = (as_tf32(inputs["q"]) @ as_tf32(inputs["k"]).transpose(1, 2) / width**0.5).masked_fill(unseen, -math.inf)
        others[narrowed] = rounded.softmax(2) @ inputs["v"].double(), rounded.logsumexp(2)

    def tells(pair):
        """It differs clearly from what is right, in both results."""
        return all(float((a - b).abs().max()) > 3 * limit for a, b, limit in zip(pair, (out, lse), (atol, atol_lse)))

    by_lse = {why: pair[1].float() for why, pair in others.items() if float((pair[1] - lse).abs().max()) > 3 * atol_lse}
    by_out = {why: pair[0] for why, pair in others.items() if tells(pair)}
    if dtype == torch.float32:
        counted_scores = scores.masked_fill(unseen, -math.inf)
        weights = (counted_scores - counted_scores.amax(2, keepdim=True)).exp()
        by_out[narrowed] = as_tf32(weights.float()) @ as_tf32(inputs["v"]) / weights.sum(2, keepdim=True)
    if beyond:
        by_out["results beyond 65,504 became infinite, as in float16: the dtype of out holds them"] = out.half().double()
    hint = f"scores = q @ k.T / sqrt(width); lse is their maximum plus log of the sum of the float32 weights (not of those rounded for tl.dot), in natural logarithms, over the keys that exist and are seen{widen}"
    check.equal(seen["outputs"]["lse"], lse.float(), f"lse of {what}", hint, rtol=0, atol=atol_lse, causes=by_lse)
    hint = f"every weight is exp(score - the maximum so far); when a tile raises the maximum, what was summed before, acc too, shrinks by exp(old - new); at the end acc is divided by the sum{widen}"
    check.equal(
        seen["outputs"]["out"].double(), out, f"out of {what}", hint, rtol=0, atol=atol, causes=by_out,
    )  # fmt: skip
    if INTERPRETED:
        needed = 0
        for start in range(0, queries, block_m):
            last = min(start + block_m, queries) - 1 + keys - queries if causal else keys - 1
            needed += heads * width * min(keys, (last // block_n + 1) * block_n)
        counted(seen, what, "load q once, before the loop", reads={"q": inputs["q"].numel()})
        written = {"out": out.numel(), "lse": lse.numel()}
        counted(seen, what, "out and lse are written once, after the loop, and never read", reads=dict.fromkeys(written, 0), writes=written)
        for name in ("k", "v"):
            hint = "each tile of keys once for a block of queries, and none that lies wholly behind what its queries see"
            by_kernels_alone(seen, what, name)
            check.between(seen["reads"][name], None, needed, f"{what}: the number of elements of {name} that it reads", hint)
        tile_of_keys = min(keys, block_n) * width
        in_blocks(seen, what, q=min(queries, block_m) * width, k=tile_of_keys, v=tile_of_keys)


attentions = {"heads": cases.choice(1, 2)} | {name: cases.size(name) for name in ("queries", "keys", "width")}
attentions |= {"causal": cases.choice(False, True), "blocks": cases.choice(None, (16, 32), (32, 16), (64, 64))}
dtypes = (torch.float32, BFLOAT16, torch.float16)
attentions |= {"dtype": cases.choice(*dtypes)}
kinds = ("any", "large", "small", "near -3,000", "near 3,000", "rising", "falling", "one far ahead", "queries unlike each other")
attentions |= {"kind": cases.choice(*kinds), "values": cases.choice("any", "large", "small", "alike")}

with check.exercise("flash_attention"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    for seed in seeds:
        odd = 18 + seed % 13
        for heads, queries, keys, width, causal, blocks, dtype, kind, values in (
            (1, 1, 1, 1, False, None, torch.float32, "any", "any"),
            (1, 16, 16, 16, False, None, torch.float32, "any", "any"),
            (1, 3, 5, 4, True, None, torch.float32, "any", "any"),
            (1, 1, odd, 8, True, None, torch.float32, "any", "any"),
            (2, odd, 37, 24, False, None, torch.float32, "any", "any"),
            (1, 37, 5, 20, False, None, torch.float32, "any", "any"),
            (2, 37, 37, 7, True, None, torch.float32, "any", "any"),
            (1, 17, 20, 16, True, None, BFLOAT16, "queries unlike each other", "large"),
            (1, 5, 45, 20, True, (16, 32), torch.float32, "large", "any"),
            (1, 2, 270 + odd, 5, False, (16, 512), torch.float32, "one far ahead", "any"),
            (1, 20, odd + 20, 9, False, None, torch.float32, "rising", "any"),
            (1, 20, 40, 9, True, None, torch.float32, "falling", "any"),
            (1, 5, odd + 14, 16, True, None, torch.float16, "near -3,000", "any"),
            (1, 40, 40, 32, True, (32, 16), torch.float16, "any", "any"),
            (1, 3, 20, 257 + 3 * odd, True, None, torch.float32, "any", "any"),
            (1, 259 + odd, 5, 3, False, (512, 16), torch.float16, "any", "any"),
            (1, 2, 259 + odd, 3, True, (16, 512), BFLOAT16, "any", "any"),
            *((1, 2, odd, 5, False, None, dtype, "any", values) for dtype in (torch.float32, torch.float16) for values in ("large", "small")),
            (1, 2, odd, 5, True, None, BFLOAT16, "any", "small"),
            *((1, 2, odd, 16, False, None, dtype, "near 3,000", "any") for dtype in dtypes),
            *((1, 2, odd, 16, False, None, dtype, "near -3,000", "any") for dtype in (torch.float32, BFLOAT16)),
            (3, 2, 70, 70, False, (64, 64), torch.float32, "any", "any"),
            (17 + seed % 3, 2, 3, 5, True, None, torch.float32, "any", "any"),
            (1, 290 + seed % 9, 4, 3, False, None, torch.float32, "any", "any"),
            (1, 2, 290 + seed % 9, 4, False, None, BFLOAT16, "any", "alike"),
        ):
            check_attention(heads, queries, keys, width, causal, blocks, dtype, kind, values, seed)
        for case in cases.draw(seed, attentions, count=2, queries=(1, 17), keys=(1, 17), width=(1, 40)):
            heads, queries, keys, width, causal, *others = case
            check_attention(heads, queries, keys + queries - 1 if causal else keys, width, causal, *others, seed)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Begin without `causal` and with one tile of keys: that is a matrix product, a softmax and a matrix product. Then let the
# loop run and add the shrinking. Which score must a key have that does not exist, so that it weighs nothing?
# </details>
# <details><summary>Hint 2 · which functions</summary>
#
# `tl.trans(k)`, `tl.where(seen, scores, -float("inf"))`, `tl.maximum(top, tl.max(scores, axis=1))`, `tl.exp`, `tl.log`,
# `tl.minimum` for the end of the loop, `tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# for start in range(0, end, BLOCK_N):
#     ...                                    # columns, masks, k, v
#     scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
#     scores = tl.where(seen, scores, -float("inf"))
#     higher = tl.maximum(top, tl.max(scores, axis=1))
#     p = tl.exp(scores - higher[:, None])
#     shrink = tl.exp(top - higher)
#     total = total * shrink + tl.sum(p, axis=1)
#     acc = acc * shrink[:, None] + tl.dot(p.to(v.dtype), v, input_precision="ieee")
#     top = higher
# ```
# </details>


# %% [markdown]
# #### Claim: the scores are never written
#
# Torch's operations one by one against your kernel, one head of width 32: bytes moved, and the memory for intermediate
# results, that is all that is written apart from the result itself. Kernel tiles of 64 queries and 64 keys.

# %%
lengths = (64, 128, 256)
plain_bytes, flash_bytes, plain_extra, flash_extra = [], [], [], []
for length in lengths:
    q, k, v = (random(1, length, 32, seed=s) for s in (61, 62, 63))
    with TorchTraffic() as traffic:
        scores = q @ k.transpose(1, 2)
        weights = (scores * 32**-0.5).softmax(2)
        expected = weights @ v
    plain_bytes.append(traffic.bytes)
    plain_extra.append(traffic.written - expected.nbytes)
    out, lse = torch.empty_like(q), torch.empty(1, length, device=DEVICE)
    fence = Fence()
    with fence:
        attention(q, k, v, out, lse, block_m=64, block_n=64)
    assert torch.allclose(out, expected, atol=1e-5)
    flash_bytes.append(fence.bytes_read + fence.bytes_written if INTERPRETED else math.nan)
    flash_extra.append(fence.bytes_written - out.nbytes if INTERPRETED else lse.nbytes)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for axis, plain, flash, label in (
    (left, plain_bytes, flash_bytes, "bytes moved (kB)"),
    (right, plain_extra, flash_extra, "intermediate results (kB)"),
):
    axis.plot(lengths, [b / 1e3 for b in plain], "o-", label="operation by operation")
    axis.plot(lengths, [b / 1e3 for b in flash], "s-", label="your kernel")
    axis.set(xlabel="sequence length (tokens)", ylabel=label, xscale="log", yscale="log", xticks=lengths, xticklabels=lengths)
    axis.minorticks_off()
    axis.legend()
plt.show()
growth = f"length x4: intermediate results x{flash_extra[-1] / flash_extra[0]:.0f} (operations: x{plain_extra[-1] / plain_extra[0]:.0f})"
claims.record(
    "flash attention needs memory that grows with the length, not with its square",
    claimed="linear instead of quadratic; several times less traffic",
    measured=f"{growth}; {plain_bytes[-1] / flash_bytes[-1]:.1f}x fewer bytes moved at {lengths[-1]}" if INTERPRETED else growth,
    holds=None if not INTERPRETED else flash_extra[-1] / flash_extra[0] < 5 < plain_extra[-1] / plain_extra[0] and plain_bytes[-1] / flash_bytes[-1] > 3,
    how="counted: operands and results of torch's operations, loads and stores of the kernel; tiles of 64 x 64, width 32"
    if INTERPRETED
    else "traffic is counted in the interpreter only",
)

# %% [markdown]
# Two curves, two truths. The *memory* of your kernel is linear. Its *traffic* is still quadratic: every tile of queries
# reads all keys and values. It is smaller by a factor that grows with the tile, and on a GPU most of these repeated reads
# are served by the cache.
#
# #### A model answers through your kernel
#
# transformers lets you register an attention function by name. The model that ships with the course (a Llama with
# grouped keys and values) then answers with every score computed in your kernel: first the prompt, then token by token,
# one query against the cached keys.

# %%
from transformers import AttentionInterface, AutoModelForCausalLM, AutoTokenizer

calls = []


def triton_attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **options):
    """The kernel behind transformers' interface: (batch, heads, length, width) -> (batch, length, heads, width)."""
    groups = query.shape[1] // key.shape[1]  # several query heads share one head of keys and values
    key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
    q, k, v = (t.reshape(-1, *t.shape[2:]).contiguous() for t in (query, key, value))
    out, lse = torch.empty_like(q), torch.empty(q.shape[:2], dtype=torch.float32, device=q.device)
    attention(q, k, v, out, lse, causal=True)
    calls.append((q.shape[1], k.shape[1]))
    return out.view(query.shape).transpose(1, 2), None


AttentionInterface.register("triton", triton_attention)
tokenizer = AutoTokenizer.from_pretrained(env.model("chat"))
prompt = tokenizer.apply_chat_template(
    [{"role": "user", "content": "What is 27+15?"}], add_generation_prompt=True, return_tensors="pt"
).to(DEVICE)
answers = {}
for implementation in ("sdpa", "triton"):
    model = AutoModelForCausalLM.from_pretrained(env.model("chat"), dtype=torch.float32, attn_implementation=implementation)
    model = model.to(DEVICE).eval()
    made = model.generate(**prompt, max_new_tokens=8, do_sample=False)
    answers[implementation] = made[0, prompt["input_ids"].shape[1] :].tolist()
    print(f"{implementation:7}", repr(tokenizer.decode(answers[implementation], skip_special_tokens=True)))
print("same tokens:", answers["sdpa"] == answers["triton"])
print("queries x keys in the first layer:", calls[:: model.config.num_hidden_layers])

# %% [markdown]
# ## On a GPU: the share of the roof
#
# What counts is not "times faster than Python" but the share of what the machine can do, beside the kernel that torch
# brings. The roof is measured, not read from a data sheet: a large copy for the bandwidth, torch's matrix product for the
# rate. The matrix kernel goes through `@triton.autotune` with your `prune`; blocks and warps of the others stay as they
# are, so there may be something left to win.


# %%
def early_prune(configs, named_args, **options):
    """What triton.autotune calls before it measures: your `prune`, with this GPU's shared memory."""
    properties = torch.cuda.get_device_properties(0)
    room = getattr(properties, "shared_memory_per_block_optin", 48 << 10)
    itemsize = next(a.element_size() for a in named_args.values() if isinstance(a, torch.Tensor))
    return prune(configs, itemsize, room)


def measure_shares():
    """Rows (name, what it is bound by, share of the roof, torch's share) on this GPU."""
    from triton.testing import do_bench  # milliseconds of a call, warmed up and repeated

    dtype = torch.bfloat16 if torch.cuda.get_device_capability() >= (8, 0) else torch.float16
    source = torch.empty(1 << 28, dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    bandwidth = 2 * source.nbytes / do_bench(lambda: target.copy_(source)) * 1e3
    a, b = (torch.randn(4096, 4096, device=DEVICE, dtype=dtype) for _ in range(2))
    product = torch.empty_like(a)
    rate = 2 * 4096**3 / do_bench(lambda: torch.matmul(a, b, out=product)) * 1e3
    print(f"{torch.cuda.get_device_name()}: copy {bandwidth / 1e9:.0f} GB/s, {dtype} matrix product {rate / 1e12:.1f} Tflop/s")

    x, y = (torch.randn(1 << 26, device=DEVICE) for _ in range(2))
    out = torch.empty_like(x)
    wide = torch.randn(8192, 4096, device=DEVICE)
    wide_out = torch.empty_like(wide)
    h, residual, total, normed = (torch.randn(8192, 4096, device=DEVICE, dtype=dtype) for _ in range(4))
    gain = torch.randn(4096, device=DEVICE, dtype=dtype)
    w, shift, statistics = torch.randn(4096, device=DEVICE), torch.randn(4096, device=DEVICE), torch.empty(2, 8192, device=DEVICE)
    q, k, v = (torch.randn(32, 4096, 64, device=DEVICE, dtype=dtype) for _ in range(3))
    attended, lse = torch.empty_like(q), torch.empty(32, 4096, device=DEVICE)

    names = [(64, 64, 32, 3), (128, 64, 32, 3), (64, 128, 32, 3), (128, 128, 32, 3), (128, 128, 64, 3), (128, 256, 64, 3)]
    tuned = triton.autotune(
        [
            triton.Config({"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k}, num_stages=s, num_warps=4 if m * n <= 8192 else 8)
            for m, n, k, s in names
        ],
        key=["m", "n", "k"],
        prune_configs_by={"early_config_prune": early_prune},
    )(matmul_kernel)

    def tuned_matmul():
        strides = (*a.stride(), *b.stride(), *product.stride())
        tuned[lambda meta: (triton.cdiv(4096, meta["BLOCK_M"]), triton.cdiv(4096, meta["BLOCK_N"]))](
            a, b, product, 4096, 4096, 4096, *strides
        )

    def torch_add_norm():
        return F.rms_norm(torch.add(h, residual, out=total), (4096,), gain)

    flash_flops = 2 * 2 * 32 * 4096**2 * 64 / 2  # two products, half of the scores
    jobs = (
        ("vector add", 3 * x.nbytes / bandwidth, lambda: add(x, y, out, block=1024), lambda: torch.add(x, y, out=out)),
        ("softmax", 2 * wide.nbytes / bandwidth, lambda: softmax(wide, wide_out), lambda: torch.softmax(wide, 1)),
        ("add + RMSNorm", 4 * h.nbytes / bandwidth, lambda: add_rms_norm(h, residual, gain, total, normed), torch_add_norm),
        ("layer norm", 2 * wide.nbytes / bandwidth, lambda: layer_norm(wide, w, shift, wide_out, *statistics), lambda: F.layer_norm(wide, (4096,), w, shift)),
        ("matrix product", 2 * 4096**3 / rate, tuned_matmul, lambda: torch.matmul(a, b, out=product)),
        ("attention", flash_flops / rate, lambda: attention(q, k, v, attended, lse, causal=True, block_m=64, block_n=64), lambda: F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)),
    )  # fmt: skip
    rows = [(name, least / do_bench(ours) * 1e3, least / do_bench(theirs) * 1e3) for name, least, ours, theirs in jobs]
    print("tile chosen by the autotuner:", tuned.best_config)
    return rows


AIM = "80 % and more of the copy bandwidth for kernels bound by memory"
if INTERPRETED:
    print("Not run here: there is no GPU. The interpreter's clock says nothing about one, so no time is printed.")
    claims.record(
        "hand-written memory-bound kernels come close to the roof",
        claimed=AIM,
        measured="",
        holds=None,
        how="no GPU here: run this lesson on one",
    )
else:
    rows = measure_shares()
    figure, axis = plt.subplots(figsize=(8, 3.4), layout="constrained")
    for offset, column, label in ((-0.2, 1, "your kernel"), (0.2, 2, "torch")):
        axis.bar([i + offset for i in range(len(rows))], [100 * row[column] for row in rows], width=0.4, label=label)
    axis.axhline(100, color="black", lw=0.8)
    axis.set(
        xticks=range(len(rows)), xticklabels=[row[0] for row in rows], xlabel="kernel", ylabel="share of the measured roof (%)"
    )
    axis.legend()
    plt.show()
    memory = {name: ours for name, ours, _ in rows[:4]}
    claims.record(
        "hand-written memory-bound kernels come close to the roof",
        claimed=AIM,
        measured=", ".join(f"{name} {share:.0%}" for name, share in memory.items()),
        holds=min(memory.values()) >= 0.8,
        how="least time at the measured copy bandwidth divided by the measured time",
    )

# %% [markdown]
# On one GPU the whole notebook has been run: an H200, in November 2026, with torch 2.11 and Triton 3.6. Shares of the
# roof measured there (a copy of 4,121 GB/s, a bfloat16 matrix product of 743 Tflop/s):
#
# | kernel | yours | torch |
# |---|---|---|
# | vector add | 103 % | 103 % |
# | softmax | 94 % | 60 % |
# | add + RMSNorm | 94 % | 67 % |
# | layer norm | 91 % | 68 % |
# | matrix product | 88 % | 97 % |
# | attention | 33 % | 51 % |
#
# **Bound by memory.** These kernels come close to the roof. torch's softmax and layer norm are fused kernels too, and did
# not reach the same share at these sizes; add + RMSNorm was two torch kernels. (More than 100 % says that the copy which
# measured the roof was not quite the fastest way along it.) The baseline that counts at work is `torch.compile`, which
# writes such Triton kernels itself; it was not measured here.
#
# **Matrix product.** It loses a tenth to a library that is tuned for each chip. By the arithmetic of part B the largest
# tile on offer, 128 x 256, allows 46 % here: the cache, which that arithmetic leaves out, serves most of the repeated
# reads.
#
# **Attention.** Between its two products stands a softmax, for which tensor cores are of no use. Kernels written for this
# GPU overlap it with the products of other tiles: FlashAttention-3 reports up to 75 % of an H100's peak
# ([arXiv:2407.08608](https://arxiv.org/abs/2407.08608), July 2024). Ours does not overlap, and its tiles were not searched
# for.
#
# For a T4 and an A100 (compute capability 7.5 and 8.0) Triton's compiler, which needs no GPU, turns every kernel of the
# solution into machine code; nothing was measured on them. If the cell prints "Not run here", you have a good reason to
# open the notebook on Colab: a free T4 is enough.
#
# ## What neither bytes nor the interpreter show
#
# | word | what it means | where it bites |
# |---|---|---|
# | coalescing | threads side by side read addresses side by side, in one transaction | a matrix read along the wrong axis moves up to 8 times the bytes that it uses ([CUDA guide](https://docs.nvidia.com/cuda/cuda-c-best-practices-guide/), "Coalesced Access") |
# | warp, `num_warps` | 32 threads in step; Triton spreads a program over `num_warps` of them | too few for a large tile: registers spill to memory |
# | occupancy | how many programs a multiprocessor holds at once, by registers and shared memory | one large tile a multiprocessor leaves nothing to run while it waits |
# | 64-bit offsets | `row * stride` of 32-bit numbers overflows beyond 2**31 elements | widen first: `row.to(tl.int64) * stride` |
# | tensor descriptors | `tl.make_tensor_descriptor`: shape and strides for the copy engine (TMA) of Hopper and later, masks included | the fast way to load tiles there; plain addresses work everywhere |
#
# ## Claims measured
#
# | claim | where |
# |---|---|
# | one fused softmax kernel moves a quarter of the bytes of five operations | exercise 3 |
# | flash attention needs memory that grows with the length, not with its square | exercise 9 |
# | hand-written memory-bound kernels come close to the roof | the section above, on a GPU |
#
# ## On a bigger machine
#
# The attention kernel in a real language model, on a GPU: the same function, registered above, in bfloat16, with the
# time of a long prompt beside torch's attention. It runs with `UNIT24_TIER=hub` on a GPU.

# %%
if env.tier == "hub" and not INTERPRETED:
    import time

    text = "Memory is slow and arithmetic is fast. " * 200
    tokens = tokenizer(text, return_tensors="pt").to(DEVICE)
    logits = {}
    for implementation in ("sdpa", "triton"):
        model = AutoModelForCausalLM.from_pretrained(env.model("chat"), dtype=torch.bfloat16, attn_implementation=implementation)
        model = model.to(DEVICE).eval()
        with torch.no_grad():
            model(**tokens)  # compiles
            torch.cuda.synchronize()
            begin = time.perf_counter()
            logits[implementation] = model(**tokens).logits.float()
            torch.cuda.synchronize()
        print(f"{implementation:7} {tokens['input_ids'].shape[1]} tokens in {1e3 * (time.perf_counter() - begin):.0f} ms")
    agree = (logits["sdpa"].argmax(-1) == logits["triton"].argmax(-1)).float().mean()
    print(f"the most likely next token agrees at {agree:.1%} of the places")
else:
    print("Skipped: this section needs a GPU and UNIT24_TIER=hub.")

# %% [markdown]
# ## Quiz
#
# Five questions, with feedback for every option. Nothing is graded.

# %% [markdown] quiz="gpu_kernels"
# 1. A softmax kernel is right for 512 columns and slightly too small everywhere for 500. What is the likely cause?
# - [ ] The maximum is not subtracted :: Then large values would give NaN, for 512 columns too.
# - [x] The 12 padded places are loaded as 0 and count in the sum :: Load them with other=-inf: exp(-inf) is 0.
# - [ ] The store has no mask :: That spoils what lies behind the row, not the row.
# - [ ] The grid has too few programs :: Then whole rows would be missing.
# 2. A kernel does one addition for each 12 bytes it moves. What makes it faster on a given GPU?
# - [ ] A higher clock of the arithmetic units :: They wait for memory already.
# - [ ] Tensor cores :: There is hardly any arithmetic to do.
# - [x] Fusing it with its neighbour, so that values stay in registers :: Fewer bytes is the only way below the ridge.
# - [ ] A larger grid :: Once all multiprocessors are busy, more programs move the same bytes.
# 3. A bfloat16 kernel gives nonsense in the interpreter and good results on a GPU. Why?
# - [ ] The interpreter rounds differently :: It does, in the last digit. Nonsense is more than that.
# - [x] It computes with bfloat16 in the interpreter, which treats the bits as integers :: Widen with .to(tl.float32) after loading.
# - [ ] A mask is missing :: Possible, but then the GPU would be wrong too, if less reliably.
# - [ ] bfloat16 overflows :: It has the range of float32.
# 4. Doubling both sides of a matrix product's tile …
# - [ ] halves the number of operations :: The operations stay the same.
# - [x] halves the reads of A and B :: Each loaded number serves twice as many results.
# - [ ] has no effect on memory traffic :: Each operand is read once for each tile of the other.
# - [ ] is always faster :: There are four times fewer programs and four times the registers: a small product leaves the GPU idle.
# 5. In flash attention a later tile of keys has a larger score than all before. What must happen?
# - [ ] Start again with the new maximum :: That would read all earlier tiles once more.
# - [ ] Nothing, the division at the end takes care :: Old and new weights would have different scales.
# - [ ] Shrink the running sum :: And what else was summed with the old maximum?
# - [x] Shrink the running sum and the accumulated values by exp(old - new maximum) :: Both were weighted with the old one.

# %% [markdown]
# ## What to read next
#
# - [Triton's tutorials](https://triton-lang.org/main/getting-started/tutorials/index.html): the same kernels tuned for
#   speed, grouped tiles for the cache, and the backward pass of attention.
# - [FlashAttention](https://arxiv.org/abs/2205.14135) by Dao and others, and before it
#   [online normalizer calculation for softmax](https://arxiv.org/abs/1805.02867) by Milakov and Gimelshein.
# - [Roofline](https://doi.org/10.1145/1498765.1498785) by Williams, Waterman and Patterson: the model of part B.
# - [Using user-defined Triton kernels with torch.compile](https://docs.pytorch.org/tutorials/recipes/torch_compile_user_defined_triton_kernel_tutorial.html)
#   and [torch.library.triton_op](https://docs.pytorch.org/docs/stable/library.html): how a kernel becomes a torch operator.
# - [Debugging Triton](https://triton-lang.org/main/programming-guide/chapter-3/debugging.html): interpreter, prints,
#   sanitizers.
# - Next: lesson 21 exports a model and ships it.
