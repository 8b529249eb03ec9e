# ---
# jupyter:
#   unit24:
#     needs: ["matplotlib>=3.8", "numpy>=1.26", "scikit-learn", "torch>=2.6"]
# ---

# %% [markdown]
# # 02 · PyTorch fundamentals
#
# **You will build** a small picture painter that learns: patches of blurred colour drift over a canvas until they show
# a landscape. Nothing in it is a neural network. It is tensors and gradients alone, and every line that matters is yours.
# On the way you write an attention layer, a differentiable operation with a backward pass of your own, a detector of
# wrong labels, and you repair three programs that look right and are not.
#
# **You need first** Python functions and loops, NumPy arrays, and what a derivative is (lesson 01).
#
# **Time** four to five hours: nine exercises, 28 points, and a written answer, 2 points. Where an exercise asks for
# several functions, each of them earns its share of the points.
#
# The whole of PyTorch stands on four ideas. Each line of the table rests on the one above it.
#
# | idea | in one sentence | exercises |
# |---|---|---|
# | **storage** | a tensor is a description (dtype, shape, strides, offset) of a flat piece of memory, and many tensors can describe the same piece | `patches` |
# | **whole-tensor operations** | you say which axes meet, are summed or are looked up, and compiled code runs the loop | `gaussians`, `contractions`, `gather_scatter` |
# | **the graph** | every operation on a tensor that wants a gradient is written down, and `backward` reads the notes from the end | `descend`, `rms_norm` |
# | **function transforms** | `grad`, `jacrev` and `vmap` take a function and give back another one | `derivatives` |
#
# The last two exercises, `normalise_tests` and `clinic`, use all four.

# %% setup

# %%
import collections
import itertools
import math
import time
import types
import weakref

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable
from torch.func import grad, jacrev, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from unit24 import cases, check, claims

# %% [markdown]
# ## 1 · One storage, many tensors
#
# A tensor does not hold numbers. It holds a description of where numbers lie: element $[i, j]$ is read at
#
# $$\text{place} = \text{offset} + i \cdot \text{stride}_0 + j \cdot \text{stride}_1 .$$
#
# Transposing, slicing and reshaping often change the description alone. The result is a **view**: no number moves, and
# who writes into one tensor writes into all of them. The picture shows five tensors on one storage of 24 numbers. Each
# cell carries the place that it reads, and the colour runs along the storage.


# %%
def draw_strides(tensors: dict[str, torch.Tensor]) -> None:
    """One panel a tensor (two axes): the place in storage that each of its cells reads."""
    figure, panels = plt.subplots(1, len(tensors), figsize=(14, 3.2), layout="constrained")
    for panel, (name, tensor) in zip(panels, tensors.items()):
        rows, columns = (torch.arange(n) * stride for n, stride in zip(tensor.shape, tensor.stride()))
        places = tensor.storage_offset() + rows[:, None] + columns
        panel.imshow(places, cmap="viridis", vmin=0, vmax=23)
        for (i, j), place in np.ndenumerate(places.numpy()):
            panel.text(j, i, place, ha="center", va="center", fontsize=8, color="white" if place < 16 else "black")
        panel.set_title(f"{name}\nshape {tuple(tensor.shape)}, strides {tensor.stride()}", fontsize=9)
        panel.set_xlabel("column j")
        panel.set_xticks(range(tensor.shape[1]))
        panel.set_yticks(range(tensor.shape[0]))
    panels[0].set_ylabel("row i")
    plt.show()


x = torch.arange(24).view(4, 6)
draw_strides(
    {"x": x, "x.T": x.T, "x[1:3, ::2]": x[1:3, ::2], "x.view(6, 4)": x.view(6, 4), "x[2].expand(4, 6)": x[2].expand(4, 6)}
)

# %% [markdown]
# Compare `x.T` with `x.view(6, 4)`. Both have shape (6, 4), and they hold different numbers at almost every position:
# `T` swaps the axes, `view` keeps the order in memory and cuts it into rows anew. Taking one for the other is the most
# expensive mistake of this lesson, because nothing raises an error.
#
# `expand` repeats a row with stride 0, without writing it down four times. Broadcasting in section 2 is exactly that.
#
# Which operations copy? `view`, `transpose`, `permute`, slices and `expand` never do. `contiguous`, `reshape`, `flatten` and `to`
# copy when they must and return the same memory when they need not. `clone`, indexing with a list, and arithmetic
# always give new memory. NumPy arrays join in: `torch.from_numpy` gives a view of the array's memory, `torch.tensor`
# a copy.

# %%
# NBVAL_CHECK_OUTPUT
a = np.arange(6, dtype=np.float32).reshape(2, 3)
shared, copied = torch.from_numpy(a), torch.tensor(a)
a[0, 0] = 100
print("from_numpy sees the change:", shared[0, 0].item(), "  tensor does not:", copied[0, 0].item())
print("x.T.is_contiguous():", x.T.is_contiguous(), "  same memory as x:", x.T.data_ptr() == x.data_ptr())
try:
    x.T.view(24)
except RuntimeError as error:
    print("x.T.view(24) refuses, because no strides describe that order:", type(error).__name__)
print("x.T.reshape(24) copies instead; same memory as x:", x.T.reshape(24).data_ptr() == x.data_ptr())

# %% [markdown]
# So two tensors may agree in every number and not in their strides. What you get at work comes in every order: a crop, a
# picture with its axes swapped, one layer of many. Code that reckons with one order of memory fails on the others, or
# worse, does not fail. `other_strides` makes such a tensor, and the tests below hand some to your functions.


# %%
# NBVAL_CHECK_OUTPUT
def other_strides(x: torch.Tensor) -> torch.Tensor:
    """The same values in a memory that runs through the axes the other way round, with a gap after each number."""
    backwards = tuple(reversed(range(x.ndim)))
    return torch.stack([x.permute(backwards)] * 2, dim=-1)[..., 0].permute(backwards)


print("equal:", torch.equal(x, other_strides(x)), "  strides:", x.stride(), "and", other_strides(x).stride())

# %% [markdown]
# **Dtype** is the other half of the description. Pictures come as `uint8`: 256 levels, and arithmetic that wraps
# around silently. Dividing integers with `/` gives float32; adding, subtracting and multiplying `uint8` numbers gives
# `uint8` again. Where two tensors meet, the result has the dtype that holds both kinds of number.

# %%
level = torch.tensor([200], dtype=torch.uint8)
print("200 + 100 =", (level + 100).item(), "in uint8;  200 / 255 =", round((level / 255).item(), 3), (level / 255).dtype)
print(
    "int64 + float32 ->",
    (torch.tensor([1]) + torch.tensor([1.0])).dtype,
    "  float32 + Python 1.5 ->",
    (torch.ones(1) + 1.5).dtype,
)

# %% [markdown]
# **Device** is the last part: where the memory lies. All tensors of one operation must lie on one device (only CPU tensors
# without axes may join those of a GPU). `x.to(device)` gives a new tensor there, or `x` itself where nothing is to be
# done, and new tensors appear on the CPU unless you say `device=...`. The device `meta` has shapes and dtypes and no memory at all. It exists on every machine and refuses to
# mix with others as a GPU does, so it shows without a GPU whether your code would run on one. The tests use it.

# %%
# NBVAL_CHECK_OUTPUT
elsewhere = torch.ones(3, device="meta")
try:
    elsewhere + torch.arange(3.0)
except RuntimeError as error:
    print("meta + cpu:", type(error).__name__)
print("meta + meta:", (elsewhere + torch.arange(3.0, device=elsewhere.device)).device)
ones = torch.ones(3)
print("nothing to do, nothing copied:", ones.to("cpu") is ones)

# %% [markdown]
# ### Exercise 1 · From a picture to patches (`patches`, 2 points, 20 minutes, difficulty 1 of 3)
#
# A vision transformer reads a picture as a row of square patches. Write the two steps that take it there.
#
# `patch_view(image, size)` cuts a picture into a grid of patches. `image` is a `uint8` NumPy array
# `[height, width, channels]` with sides of 1 to 128 and 1 to 5 channels: a whole picture, or a crop of one
# (`large[2:10, 5:25]`). `size`, 1 to 16, divides height and width.
#
# - It returns a `uint8` tensor of shape `[height/size, width/size, size, size, channels]`. Entry `[r, c]` is the patch in
#   row `r` and column `c` of the grid, with its pixels as in the picture. <!-- rule: grid -->
# - The tensor is a **view of the array's own memory**: what is written into one shows in the other. <!-- rule: view -->
#
# `to_tokens(patches)` makes a row of numbers of each patch. `patches` is a `uint8` tensor of shape
# `[rows, columns, size, size, channels]`, each of these 1 to 16, contiguous or not.
#
# - It returns `[rows * columns, size * size * channels]`: the grid row by row, and in a row the numbers of the patch in
#   the order of its axes. <!-- rule: rows -->
# - A number n becomes n / 255 in `float32`, off by at most 1e-6, whatever the other numbers are. <!-- rule: scale -->
# - `patches` stays what it was: the same numbers, seen in the same memory. <!-- rule: unchanged -->
# - Each call stands alone. Its tokens have memory of their own, and are of the numbers that `patches` holds at that moment
#   (somebody may have written into the picture since the last call). <!-- rule: calls -->



# %% exercise="patches" minutes=20 difficulty=1
def patch_view(image: np.ndarray, size: int) -> torch.Tensor:
    """All patches of `image` [h, w, c] as a view [h/size, w/size, size, size, c] of its memory."""
    ### BEGIN SOLUTION
    height, width, channels = image.shape
    split = torch.from_numpy(image).view(height // size, size, width // size, size, channels)
    return split.transpose(1, 2)
    ### END SOLUTION


def to_tokens(patches: torch.Tensor) -> torch.Tensor:
    """Patches [rows, columns, size, size, c] (uint8) as float32 rows [rows * columns, size * size * c] from 0 to 1."""
    ### BEGIN SOLUTION
    rows, columns = patches.shape[:2]
    return patches.reshape(rows * columns, -1) / 255
    ### END SOLUTION


# %% tests="patches" points=2
@check.shared
def part_of(large, kind):
    """A part of the array `large`, in its memory."""
    return {"a picture": large, "a crop": large[2:10, 5:25]}[kind]


@check.scenario
def part_and_patches(large, kind, size, overwrite=None):
    """A part of `large` and its patches, after every number n was overwritten by 255 - n through one of the two."""
    part = part_of(large.copy(), kind)
    patches = patch_view(part, size)
    if overwrite == "the picture":
        part[...] = 255 - part
    if overwrite == "the patches":
        patches.copy_(255 - patches)
    return part, patches


@check.scenario
def patches_of_two_sizes(image, sizes):
    """The patches of one array in two sizes, looked at when both are there."""
    patches = [patch_view(image, size) for size in sizes]
    return [each.clone() for each in patches]


@check.scenario
def tokens_of_two(first, second):
    """The tokens of two tensors of patches, looked at when both are there."""
    tokens = to_tokens(first)
    return [tokens, to_tokens(second)]


@check.scenario
def tokens_before_and_after(picture, order):
    """Tokens of patches that are a view of `picture`, before and after its last two numbers changed places; and what the patches show then."""
    picture = picture.copy()
    patches = torch.from_numpy(picture).permute(order)
    before = to_tokens(patches)
    picture[-1, -1, -1, -1] = picture[-1, -1, -1, -1, ::-1].copy()
    shown = patches.clone()
    return [before, to_tokens(patches)], shown


def expected_patches(image, size):
    """Patches [rows, columns, size, size, c] of an array, copied one by one."""
    starts = [range(0, side, size) for side in image.shape[:2]]
    return torch.tensor(np.array([[image[r : r + size, c : c + size] for c in starts[1]] for r in starts[0]]))


def pictures_to_cut(seed):
    """Whole arrays, the part to take, and the size of a patch: from small to large."""
    random = np.random.default_rng(seed)
    size, rows, columns, channels = random.integers(2, 6, 4).tolist()
    for shape, kind, patch in (
        ((1, 1, 1), "a picture", 1),
        ((3, 4, 2), "a picture", 1),
        ((6, 6, 3), "a picture", 6),
        ((15, 21, 2), "a picture", 3),
        ((32, 128, 5), "a picture", 16),
        ((size * rows, size * columns, channels), "a picture", size),
        ((11, 29, 3), "a crop", 4),
        ((10, 40, 1), "a crop", 2),
    ):
        yield random.integers(0, 256, shape, dtype=np.uint8), kind, patch


def check_patch_view():
    for seed in seeds:
        for large, kind, size in pictures_to_cut(seed):
            part = part_of(large, kind)
            what = f"`patch_view` of {kind}, shape {part.shape}, with size {size}"
            expected = expected_patches(part, size)
            _, got = part_and_patches(large, kind, size)
            hint = "entry [r, c] is image[r * size : (r + 1) * size, c * size : (c + 1) * size]"
            if torch.is_tensor(got) and np.array_equal(got, part.reshape(expected.shape)):
                hint = "a reshape only cuts the memory anew: split both sides in two axes each, then bring the two grid axes to the front"
            elif kind != "a picture":
                hint = "numbers of a part do not lie one behind the other: take strides from the tensor, not from the shape"
            check.equal(got, expected, what, hint)
            for one, other in (("the patches", "the picture"), ("the picture", "the patches")):
                picture, patches = part_and_patches(large, kind, size, overwrite=one)
                check.true(
                    np.array_equal(picture, 255 - part) and np.array_equal(patches, 255 - expected),
                    f"{what} has the right values in new memory: what is written into {one} does not show in {other}. "
                    "Which of your steps copies? (`torch.tensor`, `contiguous`, `clone`, and `reshape` after a transpose do.)",
                )
        image = np.random.default_rng(seed).integers(0, 256, (12, 12, 2), dtype=np.uint8)
        expected, hint = [expected_patches(image, size) for size in (2, 3)], "each call has a size of its own: nothing stays from the one before"
        check.equal(patches_of_two_sizes(image, (2, 3)), expected, "in two calls of `patch_view` with one array, sizes 2 and 3, patches", hint)


def tokens_by_definition(patches):
    return torch.stack([patch.flatten() for row in patches for patch in row]).double().div(255).float()


def tokens_by_maximum(patches):
    return tokens_by_definition(patches) * 255 / patches.max().clamp(min=1)


def tokens_undivided(patches):
    return tokens_by_definition(patches) * 255


def check_to_tokens():
    hint = "one row a patch, the grid read row by row; float32 (dividing leaves the integers; `double` and NumPy lead to float64)"
    causes = {
        "255 becomes 1, so 1 becomes 1/255, also where no number is greater: you did not divide": tokens_undivided,
        "255 becomes 1, also where the brightest number is smaller: you divided by the brightest": tokens_by_maximum,
    }
    sizes = {"rows": (1, 16), "columns": (1, 16), "size": (1, 16), "channels": (1, 16)}
    for brightest in (255, 1, 90):
        patches = cases.tensor("rows", "columns", "size", "size", "channels", dtypes=("uint8",), high=brightest)
        drawn = cases.draw(seeds, {"patches": patches}, **sizes)
        check.agrees(to_tokens, tokens_by_definition, drawn, "`to_tokens`", hint, causes=causes, rtol=0, atol=1e-6)
    first, second = (torch.full((2, 3, 4, 4, 2), number, dtype=torch.uint8) for number in (51, 204))
    one, two = tokens_by_definition(first), tokens_by_definition(second)
    causes = {"the second call writes into what the first one returned: each needs memory of its own": [two, two]}
    check.equal(tokens_of_two(first, second), [one, two], "after two calls of `to_tokens`, one with 51, one with 204, tokens", causes=causes)
    for order in ((0, 1, 2, 3, 4), (1, 0, 2, 3, 4)):
        picture = np.arange(192, dtype=np.uint8).reshape(2, 3, 4, 4, 2)
        changed = picture.copy()
        changed[-1, -1, -1, -1] = 191, 190
        one, two = (torch.from_numpy(each).permute(order) for each in (picture, changed))
        tokens, shown = tokens_before_and_after(picture, order)
        of = "of contiguous patches" if one.is_contiguous() else "of patches with other strides"
        hint = "a write into the picture must still show in them: `patches.data = ...` and `set_` give the tensor that you were given other memory"
        check.equal(shown, two, f"the patches after `to_tokens` {of} and a write into the picture", hint, rtol=0, atol=0)
        first, second = tokens_by_definition(one), tokens_by_definition(two)
        causes = {"the second call gives what the first one found: the tensor is the same, its numbers are not": [first, first]}
        what = f"in two calls of `to_tokens` {of}, between which two numbers of the picture changed places, tokens"
        check.equal(tokens, [first, second], what, causes=causes, rtol=0, atol=1e-6)


with check.exercise("patches"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"patch_view": check_patch_view, "to_tokens": check_to_tokens})
check.points(2)


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# A pixel row is `r * size + i`: a patch number and a position inside the patch. So one axis of length `height` is really
# two axes of lengths `height/size` and `size`. The same holds for columns. Only then is it a matter of order.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `torch.from_numpy`, `Tensor.view` (to split axes), `Tensor.transpose` (to reorder them). For the tokens
# `Tensor.reshape` and a division.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# split = torch.from_numpy(image).view(height // size, size, width // size, size, channels)
# # axes now: grid row, row in patch, grid column, column in patch, channel: which two must change places?
# ```
# For the tokens: `patches.reshape(rows * columns, -1)`, then scale.
# </details>

# %% [markdown]
# Your view in use. Every second patch is turned into its negative by writing into the view. The NumPy array, which
# nobody touched by name, shows the chessboard.


# %%
def landscape(height: int, width: int) -> np.ndarray:
    """A painted evening: uint8 array [height, width, 3]."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    picture = np.stack([0.98 - 0.55 * y, 0.62 + 0.10 * y, 0.45 + 0.50 * y], axis=2)
    sun = np.exp(-((y - 0.3) ** 2 + ((x - 0.68) * width / height) ** 2) / 0.012)[..., None]
    picture = picture * (1 - sun) + np.array([1.0, 0.93, 0.55]) * sun
    hills = [(0.55, 0.10, 0.4, (0.45, 0.38, 0.62)), (0.68, 0.08, 2.2, (0.20, 0.42, 0.42)), (0.84, 0.05, 4.0, (0.08, 0.22, 0.18))]
    for base, swing, phase, colour in hills:
        ridge = base + swing * np.sin(7 * x + phase) * np.cos(3 * x - phase)
        picture = np.where((y > ridge)[..., None], colour, picture)
    return (255 * picture).clip(0, 255).astype(np.uint8)


picture = landscape(96, 128)
original = picture.copy()
grid = patch_view(picture, 16)
for start in (0, 1):
    chosen = grid[start::2, start::2]
    chosen.copy_(255 - chosen)
figure, panels = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for panel, shown, title in zip(panels, (original, picture), ("the array before", "the same array after writing into the view")):
    panel.imshow(shown)
    panel.set(title=title, xlabel="column (pixels)", ylabel="row (pixels)")
plt.show()
tokens = to_tokens(grid)
print(
    f"view: strides {grid.stride()}, no bytes of its own;  tokens: {tuple(tokens.shape)} {tokens.dtype}, {tokens.nbytes:,} bytes"
)

# %% [markdown]
# ## 2 · Broadcasting: shapes that meet
#
# Two tensors of different shape are lined up **from the right**. Axes of equal length go together, an axis of length 1
# is stretched (stride 0, nothing is copied), a missing axis counts as length 1. Anything else is an error.
#
# | left | right | result | |
# |---|---|---|---|
# | `[5, 3]` | `[3]` | `[5, 3]` | each row meets the same three numbers |
# | `[5, 1]` | `[3]` | `[5, 3]` | every one of 5 meets every one of 3 |
# | `[5, 3]` | `[5]` | error | 3 and 5 meet; `[5, 1]` was meant |
# | `[5, 5]` | `[5]` | `[5, 5]` | **no error**: if rows were meant, the result is wrong |
#
# The last line is how broadcasting bites. So does this: predictions `[5, 1]` against targets `[5]`.

# %%
predictions, targets = torch.arange(5.0)[:, None], torch.arange(5.0)
print("every prediction is right, so the loss should be 0:", ((predictions - targets) ** 2).mean().item())
print("shape of the difference:", tuple((predictions - targets).shape))

# %% [markdown]
# Why not a loop? Each operation costs a few microseconds of Python and bookkeeping before the first number is touched.
# A loop pays that for every element, a whole-tensor operation once. We can count the operations that reach PyTorch's
# core; tests below use this counter to see a loop.


# %%
class OperationCounter(TorchDispatchMode):
    """Counts the tensor operations that run inside a `with` block."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def operations(call) -> int:
    """How many tensor operations `call()` runs."""
    with OperationCounter() as counter:
        call()
    return counter.count


v = torch.rand(50)
print(
    "squares of 50 numbers: in a loop",
    operations(lambda: torch.stack([e * e for e in v])),
    "operations, at once",
    operations(lambda: v * v),
)

# %% [markdown]
# ### Exercise 2 · Spots of light (`gaussians`, 3 points, 20 minutes, difficulty 2 of 3)
#
# The painter at the end of section 5 paints with round spots. Spot $k$ has a centre $(y_k, x_k)$ and a width $s_k$, in
# pixels; at pixel $(i, j)$, row $i$ and column $j$, its brightness is
#
# $$g_k(i, j) = \exp\left(-\frac{(i - y_k)^2 + (j - x_k)^2}{2 s_k^2}\right).$$
#
# Write `gaussians(centres, widths, height, width)`. `centres` has shape `[k, 2]`, each row $(y_k, x_k)$, and `widths`
# `[k]`; both are on one device, both float64 or both float32. There are 1 to 400 spots, of widths from 1 to 30. Height and
# width go from 1 to 128, and a centre may lie up to 20 pixels off the canvas.
#
# - It returns shape `[k, height, width]`, entry `[k, i, j]` being $g_k(i, j)$, off by at most 1e-9 (float64) or 1e-5
#   (float32). <!-- rule: formula -->
# - The result has the dtype of `centres` and is on their device. <!-- rule: device, reported -->
# - The number of tensor operations does not grow with spots, rows or columns: no loop. <!-- rule: no_loop, reported -->
# - Gradients flow to `centres` and `widths`, also where one of the two alone requires them. They are right to 1e-6 (float64)
#   or 1e-4 (float32) of the largest number in that gradient, or of 1 where that is smaller, also for a centre exactly on a
#   pixel. <!-- rule: gradients -->
# - `centres` and `widths` stay as they were, `requires_grad` too. <!-- rule: unchanged -->



# %% exercise="gaussians" minutes=20 difficulty=2
def gaussians(centres: torch.Tensor, widths: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Brightness [k, height, width] of k spots with centres [k, 2] (row, column) and widths [k]."""
    ### BEGIN SOLUTION
    rows = torch.arange(height, dtype=centres.dtype, device=centres.device)
    columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
    down = rows[:, None] - centres[:, 0, None, None]  # [k, height, 1]
    across = columns - centres[:, 1, None, None]  # [k, 1, width]
    return torch.exp(-(down**2 + across**2) / (2 * widths[:, None, None] ** 2))
    ### END SOLUTION


# %% tests="gaussians" points=3
@check.scenario
def operations_of_spots(device, k, height, width):
    centres, widths = torch.zeros(k, 2, device=device), torch.ones(k, device=device)
    return operations(lambda: gaussians(centres, widths, height, width))


@check.scenario
def device_of_result(device, k, height, width):
    centres, widths = torch.zeros(k, 2, device=device), torch.ones(k, device=device)
    return gaussians(centres, widths, height, width).device.type


def expected_spots(centres, widths, height, width):
    """The formula, one spot at a time (float64)."""
    i, j = torch.arange(height, dtype=torch.float64)[:, None], torch.arange(width, dtype=torch.float64)
    spots = zip(centres.double(), widths.double())
    return torch.stack([torch.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * s**2)) for (y, x), s in spots])


def spots_to_paint(seed):
    """Centres, widths, height and width: from small to large, in every dtype."""
    generator = torch.Generator().manual_seed(seed)

    def spots(k, height, width, dtype=torch.float32):
        places = torch.rand(k, 3, generator=generator, dtype=torch.float64)
        canvas = torch.tensor([height, width])
        return (places[:, :2] * (canvas + 12) - 6).to(dtype), (1 + 3 * places[:, 2]).to(dtype), height, width

    yield spots(1, 1, 1)
    yield spots(4, 2, 3)
    yield spots(2, 1, 7)
    for dtype in (torch.float64, torch.float32):
        yield spots(7, 11, 13, dtype)
        yield torch.tensor([[100.3, -19.1], [60.7, 30.2]], dtype=dtype), torch.tensor([30, 17.3], dtype=dtype), 90, 31
        yield torch.tensor([[126.7, 127.4], [3.4, 147.1]], dtype=dtype), torch.tensor([1, 12.7], dtype=dtype), 128, 128
        yield spots(20, 128, 128, dtype)
    yield spots(70, 7, 5)
    yield spots(400, 3, 4)


def check_one_spot():
    one = gaussians(torch.tensor([[2.0, 3.0]]), torch.tensor([1.5]), 5, 9)
    check.shape(one, (1, 5, 9), "one spot on 5 x 9 pixels", "the axes are spot, row, column")
    hint = "the exponent is 0 there: is the first number of a centre its row and the second its column, and does nothing else come in?"
    check.equal(one[0, 2, 3], torch.tensor(1.0), "the brightness at the centre, row 2 and column 3", hint)
    at_two, hint = torch.exp(torch.tensor(-4 / (2 * 1.5**2))), "the squared distance is divided by 2 s²"
    check.equal(one[0, 4, 3], at_two, "the brightness 2 pixels below a centre of width 1.5", hint)
    check.equal(one[0, 2, 1], at_two, "the brightness 2 pixels left of a centre of width 1.5", hint)
    hint = "the squared distance is the sum of two squares (a product of two brightnesses)"
    check.equal(one[0, 4, 1], at_two**2, "the brightness 2 pixels below and 2 left of a centre of width 1.5", hint)


def check_as_many_spots_as_rows():
    """Here a wrong alignment raises no error."""
    centres, widths = torch.tensor([[0.0, 4], [1, 2], [2, 0], [3, 3], [4, 1]]), torch.tensor([0.5, 1, 1.5, 2, 3])
    expected = expected_spots(centres, widths, 5, 5).float()
    got = gaussians(centres, widths, 5, 5)
    check.shape(got, (5, 5, 5), "5 spots on 5 x 5 pixels", "every spot needs a picture of its own: the spots are axis 0")
    hint = "shapes are lined up from the right: do centres and widths meet axis 0 of the result, or its rows and columns?"
    for k in range(5):
        check.equal(got[k], expected[k], f"spot {k} of 5 on 5 x 5 pixels (one spot alone was right)", hint)


def check_any_spots():
    for seed in seeds:
        for centres, widths, height, width in spots_to_paint(seed):
            dtype = centres.dtype
            limit = {torch.float64: 1e-9, torch.float32: 1e-5}[dtype]
            what = f"{len(centres)} spot{'s' * (len(centres) > 1)} on {height} x {width} pixels in {dtype}"
            expected = expected_spots(centres, widths, height, width)
            got, (centres_after, widths_after, *_) = check.after(gaussians, centres, widths, height, width)
            hint = (
                f"does it hold for any size and dtype? {limit:g} is allowed here. Pixel positions of another dtype turn the result into theirs, "
                "or lose digits; so do a number that the formula lacks, and a difference of large squares in place of the square of a difference"
            )
            check.shape(got, expected.shape, what)
            check.equal(got.dtype, dtype, f"the dtype of {what}", hint)
            check.equal(got, expected.to(dtype), what, hint, rtol=0, atol=limit)
            hint = "leave the inputs alone: does one of your steps work in place?"
            check.equal(centres_after, centres, f"`centres` after {what}", hint)
            check.equal(widths_after, widths, f"`widths` after {what}", hint)
            for name, after in (("centres", centres_after), ("widths", widths_after)):
                check.true(not after.requires_grad, f"`{name}` require gradients after {what}: whether they do is not yours to change.")


def check_no_loop():
    small = operations_of_spots("cpu", 4, 8, 9)
    for many, (k, height, width) in (("spots", (400, 8, 9)), ("rows", (4, 128, 9)), ("columns", (4, 8, 128))):
        larger, what = operations_of_spots("cpu", k, height, width), f"{k} spots on {height} x {width} pixels"
        said = f"4 spots on 8 x 9 pixels take {small} tensor operations, {what} take {larger}: is there a loop over {many}?"
        check.true(larger <= small, said)
    # As many as there may be of everything; without memory for it.
    small, larger = operations_of_spots("meta", 4, 8, 9), operations_of_spots("meta", 400, 128, 128)
    said = f"4 spots on 8 x 9 pixels take {small} tensor operations, 400 on 128 x 128 take {larger}: are there blocks?"
    check.true(larger <= small, said)


def spots_with_gradients(seed):
    """Centres, widths and a gradient for each brightness (float64), and the dtype to use: near each other, and anywhere."""
    generator = torch.Generator().manual_seed(seed)
    for k, height, width, dtype, margin, widest in (
        (1, 1, 2, torch.float64, 0, 2),
        (3, 7, 6, torch.float64, 0, 3),
        (4, 5, 9, torch.float32, 0, 3),
        (6, 40, 25, torch.float64, 20, 30),
        (6, 25, 40, torch.float32, 20, 30),
    ):
        places, pull = (torch.rand(*s, generator=generator, dtype=torch.float64) for s in ((k, 3), (k, height, width)))
        centres = places[:, :2] * (torch.tensor([height, width]) + 2 * margin) - margin
        centres[-1] = centres[-1].floor()  # on a pixel
        yield centres.to(dtype), (1 + (widest - 1) * places[:, 2]).to(dtype), pull.to(dtype)


def check_gradients():
    for seed in seeds:
        for *start, pull in spots_with_gradients(seed):
            k, height, width = pull.shape
            exact = [x.double().clone().requires_grad_() for x in start]
            expected = torch.autograd.grad((expected_spots(*exact, height, width) * pull.double()).sum(), exact)
            for wanted in (("centres", "widths"), ("centres",), ("widths",)):
                given = {name: x.clone().requires_grad_(name in wanted) for name, x in zip(("centres", "widths"), start)}
                got = gaussians(*given.values(), height, width)
                hint = "did the result leave PyTorch on its way (NumPy, `.item()`, `.tolist()`, `torch.tensor(...)`, `.data`)?"
                alone = "" if len(wanted) == 2 else ", which alone require gradients"
                check.true(got.requires_grad, f"The result knows no way back to the {' and the '.join(wanted)}{alone}: {hint}")
                (got * pull).sum().backward()
                for name in wanted:
                    check.true(given[name].grad is not None, f"No gradient reaches the {name}{alone}: {hint}")
                if any(given[name].grad.isnan().any() for name in wanted):
                    place = start[0][-1].tolist()
                    hint = f"a centre lies on a pixel ({place}); a root, for one, has an infinite slope at 0, and 0 times infinity is NaN"
                for name, right in zip(given, expected):
                    if name in wanted:
                        what = f"the gradient of a weighted sum of the brightness of {k} spots on {height} x {width} pixels at the {name}{alone}"
                        limit = (1e-6 if right.dtype == pull.dtype else 1e-4) * max(1, right.abs().max().item())
                        check.equal(given[name].grad, right.to(pull.dtype), what, hint, rtol=0, atol=limit)


def check_device():
    try:
        device = device_of_result("meta", 3, 4, 5)
    except (RuntimeError, NotImplementedError) as error:
        said = f"On another device (`meta`) it fails: {str(error)[:90]} … Tensors that you create need `device=centres.device`."
        check.true(False, said)
    check.equal(device, "meta", "the device of the result for centres on `meta`", "create tensors on the device of `centres`")


with check.exercise("gaussians"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check_one_spot()
    check_as_many_spots_as_rows()
    check_any_spots()
    check_gradients()
    check_device()
    check_no_loop()


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# The result has three axes: spot, row, column. Write down for each input which of the three it varies along, and give it
# length 1 along the others: the rows are `[height, 1]`, the widths `[k, 1, 1]`.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `torch.arange(n, dtype=..., device=...)` for the pixel positions; `None` (or `unsqueeze`) in an index makes an axis of
# length 1; `torch.exp`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# down = rows[:, None] - centres[:, 0, None, None]    # [k, height, 1]
# across = columns - centres[:, 1, None, None]        # [k, 1, width]
# ```
# Now add their squares, divide by twice the squared width (with which shape?), and take the exponential of the negative.
# </details>

# %% [markdown]
# Six spots, one picture each.

# %%
centres = torch.tensor([[10.0, 12.0], [30.0, 12.0], [20.0, 32.0], [10.0, 52.0], [30.0, 52.0], [20.0, 20.0]])
widths = torch.tensor([2.0, 4.0, 6.0, 8.0, 3.0, 12.0])
spots = gaussians(centres, widths, 40, 64)
figure, panels = plt.subplots(1, 6, figsize=(14, 2.2), layout="constrained", sharey=True)
for panel, spot, centre, size in zip(panels, spots, centres, widths):
    panel.imshow(spot, cmap="magma", vmin=0, vmax=1)
    panel.set_title(f"centre {tuple(int(n) for n in centre)}, width {int(size)}", fontsize=9)
    panel.set_xlabel("column")
panels[0].set_ylabel("row")
plt.show()

# %% [markdown]
# ## 3 · Einsum: say which axes meet
#
# `torch.einsum` takes a sentence about axes. Every axis gets a letter. A letter that stands in several inputs: these axes
# are lined up and multiplied. A letter that is missing after the arrow: it is summed. The rest is the order of the result.
#
# | einsum | the same in a loop | otherwise known as |
# |---|---|---|
# | `"ij->ji"` | `out[j, i] = a[i, j]` | transpose |
# | `"ij,jk->ik"` | `out[i, k] += a[i, j] * b[j, k]` | matrix product |
# | `"ij,ij->"` | `out += a[i, j] * b[i, j]` | sum of products |
# | `"ni,nj->nij"` | `out[n, i, j] = a[n, i] * b[n, j]` | outer products, one a row |
#
# The gain is not speed (it calls the same matrix products), it is that the axes have names, and nobody has to count
# transposes.

# %%
# NBVAL_CHECK_OUTPUT
a, b = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(3, 4)
print("matrix product:", torch.equal(torch.einsum("ij,jk->ik", a, b), a @ b))

# %% [markdown]
# ### Exercise 3 · Three contractions (`contractions`, 3 points, 25 minutes, difficulty 2 of 3)
#
# `paint(shares, colours)`: every spot lays its colour on the canvas, as strongly as it is bright there. `shares` has shape
# `[k, height, width]`, `colours` `[k, c]`.
#
# - It returns `[c, height, width]`: the sum over spots of share times colour. <!-- rule: paint -->
#
# `gram(features)`: which channels light up together; the measure of texture in image style transfer. `features` has shape
# `[b, c, height, width]`.
#
# - It returns `[b, c, c]`: for each picture, entry $(p, q)$ is the **mean** over the pixels of that picture of channel $p$
#   times channel $q$. <!-- rule: gram -->
#
# `attend(queries, keys, values)`: the attention of a transformer, several heads at once. `queries` has shape `[b, t, h, d]`,
# `keys` `[b, s, h, d]` and `values` `[b, s, h, e]` (batch, position, head, features).
#
# - The score of a query and a key is their dot product. A query meets the keys of its own batch entry and head, and no
#   others. <!-- rule: heads -->
# - Scores are divided by $\sqrt{d}$, with $d$ the features of one query. <!-- rule: scale -->
# - A softmax over the key positions turns the scores of one query into weights; it returns `[b, t, h, e]`, the values of
#   that head averaged with them. <!-- rule: softmax -->
#
# And for all three: every length is 1 to 70, some or all may be equal. The tensors of a call are all float32 or all float64, of
# any strides. Numbers are as `torch.randn` draws them, or 0: here and there, a whole row or picture, or all of them.
#
# - The result has the dtype of the inputs, and no number in it is off by more than 1e-5 (float32) or 1e-9 (float64) of the
#   largest one. <!-- rule: dtype -->
# - Gradients flow to every input, also where one alone requires them; no number in them is off by more than 1e-4 of the
#   largest one in the gradients for all inputs. <!-- rule: gradients -->
# - The inputs stay as they were, `requires_grad` too. <!-- rule: unchanged -->



# %% exercise="contractions" minutes=25 difficulty=2
def paint(shares: torch.Tensor, colours: torch.Tensor) -> torch.Tensor:
    """Picture [c, height, width] from shares [k, height, width] and colours [k, c]."""
    ### BEGIN SOLUTION
    return torch.einsum("khw,kc->chw", shares, colours)
    ### END SOLUTION


def gram(features: torch.Tensor) -> torch.Tensor:
    """Mean products of channels [b, c, c] of features [b, c, height, width]."""
    ### BEGIN SOLUTION
    pixels = features.shape[2] * features.shape[3]
    return torch.einsum("bphw,bqhw->bpq", features, features) / pixels
    ### END SOLUTION


def attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Attention [b, t, h, e] of queries [b, t, h, d] to keys [b, s, h, d] with values [b, s, h, e]."""
    ### BEGIN SOLUTION
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)
    ### END SOLUTION


# %% tests="contractions" points=3
@check.scenario
def on_other_strides(function, *tensors):
    return function(*map(other_strides, tensors))


def paint_by_definition(shares, colours):
    return sum(share * colour[:, None, None] for share, colour in zip(shares, colours))


def gram_by_definition(features):
    return torch.stack([torch.stack([(channel * picture).mean((1, 2)) for channel in picture]) for picture in features])


def attend_by_definition(queries, keys, values):
    """One head of one batch entry at a time."""
    result = torch.zeros(*queries.shape[:3], values.shape[3], dtype=queries.dtype)
    for b, h in itertools.product(range(queries.shape[0]), range(queries.shape[2])):
        scores = queries[b, :, h] @ keys[b, :, h].T / queries.shape[3] ** 0.5
        result[b, :, h] = scores.softmax(dim=1) @ values[b, :, h]
    return result


def near(got, expected, what, hint, causes=None):
    limit = (1e-9 if expected.dtype == torch.float64 else 1e-5) * expected.abs().max().item()
    check.equal(got, expected, what, hint, rtol=0, atol=limit, causes=causes)


def check_contraction(function, definition, inputs, hint, where="", mistakes=()):
    """Values, inputs afterwards, other strides, gradients; `where` says which numbers are 0, `mistakes` what usually goes wrong."""
    shapes = " and ".join(str(list(x.shape)) for x in inputs)
    what = f"`{function.__name__}` of {shapes} in {inputs[0].dtype}{where}"
    expected, others = definition(*inputs), [x.clone().requires_grad_() for x in inputs]
    got, inputs_after = check.after(function, *inputs)
    near(got, expected, what, hint, {why: mistake(*inputs) for why, mistake in dict(mistakes).items()})
    check.equal(inputs_after, inputs, f"after {what} inputs", "leave them alone: does one of your steps work in place?")
    asked = [i for i, x in enumerate(inputs_after) if x.requires_grad]
    check.equal(asked, [], f"which inputs require gradients after {what}", "whether they do is not yours to change")
    try:
        got = on_other_strides(function, *inputs)
    except RuntimeError as error:
        said = f"{what} with other strides raised RuntimeError: `view` needs other strides. Which of your steps takes them for granted?"
        check.true("view size" not in str(error), said)
        raise
    near(got, expected, f"{what} with other strides", "which of your steps takes strides for granted?")
    pull = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=expected.dtype)
    (definition(*others) * pull).sum().backward()
    right = [other.grad for other in others]
    every = range(len(inputs))
    for wanted in dict.fromkeys([tuple(every), *((i,) for i in every)]):
        alone = "" if len(wanted) == len(inputs) else ", which alone requires one,"
        check_gradients(function, inputs, wanted, pull, right, what, alone, hint if where else "")


def check_zeros(function, definition, letters):
    """Zeros along each axis, in one input or in all that have it, then everywhere; `letters` name the axes of the inputs."""
    lengths = dict(zip("bthdsekcw", (2, 3, 2, 4, 5, 3, 4, 3, 2)))
    for seed in seeds:
        whole = random_inputs(seed, [[lengths[letter] for letter in axes] for axes in letters], torch.float32)
        nothing = [x * 0 for x in whole]
        cases = [(nothing, ", all of them 0")]
        for letter in dict.fromkeys("".join(letters)):
            holders = [i for i, axes in enumerate(letters) if letter in axes]
            for some in dict.fromkeys([*((i,) for i in holders), tuple(holders)]):
                inputs = [x.clone() for x in whole]
                for i in some:
                    inputs[i].select(letters[i].index(letter), 0).zero_()
                which = " and ".join(f"input {i} at [{', '.join('0' if each == letter else ':' for each in letters[i])}]" for i in some)
                cases.append((inputs, f", all 0 in {which}"))
        hint = "zeros are numbers like others: nothing is left out or divided by because of them"
        for inputs, where in cases:
            check_contraction(function, definition, inputs, hint, where)


def check_gradients(function, inputs, wanted, pull, right, what, alone, at_zeros):
    """Of the inputs whose numbers are in `wanted`; the others require none."""
    leaves = [x.clone().requires_grad_(i in wanted) for i, x in enumerate(inputs)]
    try:
        got = function(*leaves)
    except RuntimeError as error:
        check.true("leaf Variable" not in str(error), f"{what} changes an input: does one of your steps work in place?")
        raise
    hint = "something on the way cut the graph (`.data`, `.detach()`, `torch.no_grad()`, NumPy, `torch.tensor(...)`)"
    check.true(got.requires_grad, f"No gradient flows back from {what}{f' to input {wanted[0]}{alone}'.rstrip(',') if alone else ''}: {hint}.")
    (got * pull).sum().backward()
    limit = 1e-4 * max(each.abs().max().item() for each in right)  # with one key a query has gradient 0, up to rounding
    for i in wanted:
        check.true(leaves[i].grad is not None, f"No gradient reaches input {i}{alone} of {what}: {hint}.")
        check.equal(leaves[i].grad, right[i], f"the gradient for input {i}{alone} of {what}", at_zeros or hint, rtol=0, atol=limit)


def shapes_to_contract(seed):
    """Lengths of six axes and a dtype, from small to large."""
    lengths = torch.randperm(6, generator=torch.Generator().manual_seed(seed)) + 1
    yield [1] * 6, torch.float32
    yield [2, 3, 4, 5, 6, 7], torch.float64
    yield [3] * 6, torch.float64
    yield lengths.tolist(), torch.float32
    yield [1, 2, 2, 3, 70, 2], torch.float64
    yield [70, 2, 3, 5, 4, 2], torch.float32
    yield [2, 70, 3, 2, 4, 70], torch.float32
    yield [2, 3, 2, 70, 4, 2], torch.float64
    yield [2, 2, 70, 3, 2, 2], torch.float32


def random_inputs(seed, shapes, dtype):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


def check_paint():
    hint = "the letter k is summed, and the channel comes first in the result; which axis of `colours` is which does not depend on their lengths"
    for seed in seeds:
        for (k, c, height, width, *_), dtype in shapes_to_contract(seed):
            inputs = random_inputs(seed, [(k, height, width), (k, c)], dtype)
            check_contraction(paint, paint_by_definition, inputs, hint)
    check_zeros(paint, paint_by_definition, ("khw", "kc"))


def check_gram():
    features = random_inputs(24, [(3, 4, 5, 7)], torch.float32)
    check.shape(gram(*features), (3, 4, 4), "`gram` of [3, 4, 5, 7]", "one table of channels by channels a picture")
    hint = "the mean of products over all pixels of one picture, black ones too"
    for seed in seeds:
        for (b, c, height, width, *_), dtype in shapes_to_contract(seed):
            inputs = random_inputs(seed, [(b, c, height, width)], dtype)
            if height * width > 1:
                inputs[0][..., 0, 0] = 0  # a black pixel
            check_contraction(gram, gram_by_definition, inputs, hint)
    check_zeros(gram, gram_by_definition, ("bchw",))


def check_attend():
    queries, keys, values = random_inputs(24, [(2, 4, 3, 6), (2, 4, 3, 6), (2, 4, 3, 5)], torch.float32)
    check.shape(attend(queries, keys, values), (2, 4, 3, 5), "`attend` of [2, 4, 3, 6], [2, 4, 3, 6] and [2, 4, 3, 5]")
    ones, hint = torch.ones_like(values), "the weights of one query over the key positions sum to 1"
    check.equal(attend(queries, keys, ones), ones, "`attend` with values that are all 1", hint)
    hint = "all scores are equal, so each head must give the plain mean over its key positions (of positions, not of heads)"
    expected = values.mean(1, keepdim=True).expand(2, 4, 3, 5)
    check.equal(attend(torch.zeros_like(queries), keys, values), expected, "`attend` with queries that are all 0", hint)
    hint = (
        "a query meets all keys of its own batch entry and head (one of zeros, too); are the scores divided by √d, with d the features of one query?"
    )
    for seed in seeds:
        for (b, t, h, d, s, e, *_), dtype in shapes_to_contract(seed):
            inputs = random_inputs(seed, [(b, t, h, d), (b, s, h, d), (b, s, h, e)], dtype)
            inputs[1][0, 0, 0] = 0
            mistakes = {"the softmax was taken in float32: does every step keep the dtype of the inputs?": attend_in_float32}
            check_contraction(attend, attend_by_definition, inputs, hint, mistakes=mistakes if dtype == torch.float64 else ())
    check_zeros(attend, attend_by_definition, ("bthd", "bshd", "bshe"))


def attend_in_float32(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(-1, dtype=torch.float32).to(values.dtype), values)


with check.exercise("contractions"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"paint": check_paint, "gram": check_gram, "attend": check_attend})
check.points(3)


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Write the shapes as letters, the shape of the result behind the arrow, and ask of every letter that is missing there:
# is it meant to be summed? `gram` needs two different letters for the channel axis of one and the same tensor.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `torch.einsum` for all three; `Tensor.softmax(dim=...)` between the two contractions of `attend`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# torch.einsum("khw,kc->chw", shares, colours)
# torch.einsum("bphw,bqhw->bpq", features, features)     # a sum: how do you make it a mean?
# scores = torch.einsum("bthd,bshd->bhts", queries, keys)
# ```
# In `attend`, scale the scores, take the softmax over `s`, and let a second einsum sum over `s`.
# </details>

# %% [markdown]
# Attention on something visible. Each patch of the landscape asks which patches are like it: queries and keys are the
# patches themselves, as tokens, centred and scaled. On the left three patches are marked, on the right are their weights.
# (`attend` returns its weights when the values are an identity matrix: every key position is then its own feature.)

# %%
size = 8
rows, columns = 96 // size, 128 // size
tokens = to_tokens(patch_view(original, size))
tokens = 24 * F.normalize(tokens - tokens.mean(0), dim=1)
alone = tokens[None, :, None]  # one picture, one head
weights = attend(alone, alone, torch.eye(len(tokens))[None, :, None])[0, :, 0]
figure, panels = plt.subplots(1, 4, figsize=(14, 2.6), layout="constrained")
panels[0].imshow(original)
panels[0].set(title="three patches ask", xlabel="column (pixels)", ylabel="row (pixels)")
for panel, (r, c), colour in zip(panels[1:], ((3, 10), (1, 3), (11, 6)), ("tab:red", "white", "tab:orange")):
    panels[0].add_patch(plt.Rectangle((c * size, r * size), size, size, fill=False, edgecolor=colour, linewidth=2))
    panel.imshow(weights[r * columns + c].reshape(rows, columns), cmap="magma", vmin=0)
    panel.set(title=f"attention of patch [{r}, {c}]", xlabel="column of the grid", ylabel="row of the grid")
plt.show()

# %% [markdown]
# Nobody told a patch where to look: the sun finds the sun, the sky its own height, the dark hill the hill. A transformer
# does the same, with queries and keys that it learns.
#
# ## 4 · Indexing, gather and scatter
#
# Slices and whole numbers (`x[2]`, `x[:, ::3]`) give views. A tensor or a list as index gives a **copy**, of the shape
# of the index. Two calls do most of the work in real models:
#
# - `x.gather(dim, index)` **reads**: `out[i, j] = x[i, index[i, j]]` for `dim=1`. One number a row, each row from its own
#   column: the score of the right class.
# - `out.scatter_add(dim, index, x)` and `out.index_add(dim, index, x)` **write**: they add every row of `x` to the place
#   that its index names. That is a sum by group: words into sentences, pixels into segments, messages into nodes.
#
# One trap is silent. When an index names a place twice, `out[index] += x` adds only once: it reads all old values, adds,
# and writes; the second write covers the first.

# %%
# NBVAL_CHECK_OUTPUT
place = torch.tensor([0, 2, 2, 2])
lost, kept = torch.zeros(3), torch.zeros(3)
lost[place] += 1
kept.index_add_(0, place, torch.ones(4))
print("out[index] += 1 :", lost.tolist(), "  index_add :", kept.tolist())

# %% [markdown]
# ### Exercise 4 · Look up and add up (`gather_scatter`, 3 points, 25 minutes, difficulty 2 of 3)
#
# `next_token_logprobs(logits, ids)`: how likely a language model found a text; the core of its loss, of perplexity and of
# every method that compares answers. `ids` `[b, t]`, `int64`, is the text, at least two tokens long. `logits` `[b, t, v]` are
# the model's scores: row `logits[i, j]` scores all `v` possible tokens (2 or more) for position **j + 1**, after reading up to
# `j`. There are at most 50 texts of at most 200 tokens; v is at most 200.
#
# - It returns `[b, t - 1]`, also where b or t - 1 is 1. Entry `[i, j]` is about token `ids[i, j + 1]`. <!-- rule: next -->
# - The entry is that token's log-probability: the probabilities of all `v` tokens sum to 1. It is off by at most 1e-5 (float32)
#   or 1e-7 (float64) of the largest score at that position, or of 1 where that is smaller. <!-- rule: logprob -->
# - Scores may be as large as ±1000, at one position or at all. <!-- rule: large -->
#
# `segment_mean(values, segment, count)`: the mean of the rows of each group. `values` has shape `[n, d]`, with 1 to 2,000
# rows, d 1 to 5, at most 100 rows in one group, and numbers of at most 1e9; `segment` `[n]`, `int64`, names the group of each row,
# from 0 to `count - 1`. There are 1 to 500 groups.
#
# - It returns `[count, d]`: the mean of all rows of each group, rows of zeros too, in any order. It is off by at most 1e-5
#   (float32) or 1e-7 (float64) of the largest number in that group, whatever stands in others: from one group to the next
#   numbers may differ by a factor of 1e14. <!-- rule: mean -->
# - A group without rows has mean 0. <!-- rule: empty -->
# - There are `count` groups, also where the last of them are empty. <!-- rule: count -->
#
# And for both: `logits` and `values` are float32 or float64, and
#
# - the result has their dtype; <!-- rule: dtype -->
# - gradients flow to `logits` and `values`, and are right to 1e-4 of the largest number in them, also beside an empty
#   group; <!-- rule: gradients -->
# - the number of tensor operations does not grow with texts, positions, tokens of the vocabulary, rows or groups, as it does
#   in a loop over one of them, or over blocks (operations on Python numbers are not counted); <!-- rule: no_loop, reported -->
# - the inputs stay as they were, and require gradients only where they did. <!-- rule: unchanged -->


# %% exercise="gather_scatter" minutes=25 difficulty=2
def next_token_logprobs(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Log-probability [b, t - 1] of each next token of ids [b, t] under logits [b, t, v]."""
    ### BEGIN SOLUTION
    logprobs = logits[:, :-1].log_softmax(dim=-1)
    return logprobs.gather(-1, ids[:, 1:, None]).squeeze(-1)
    ### END SOLUTION


def segment_mean(values: torch.Tensor, segment: torch.Tensor, count: int) -> torch.Tensor:
    """Mean [count, d] of the rows of values [n, d] in each group; 0 for an empty group."""
    ### BEGIN SOLUTION
    sums = values.new_zeros(count, values.shape[1]).index_add(0, segment, values)
    sizes = torch.bincount(segment, minlength=count).clamp(min=1)
    return sums / sizes[:, None]
    ### END SOLUTION


# %% tests="gather_scatter" points=3
@check.scenario
def count_operations(function, *inputs):
    return operations(lambda: function(*inputs))


def logprobs_by_definition(logits, ids):
    """One token at a time; the largest score is taken off first, so that no exponential is infinite."""
    found = []
    for scores, text in zip(logits, ids.tolist()):
        for row, token in zip(scores, text[1:]):
            shifted = row - row.max()
            found.append(shifted[token] - shifted.exp().sum().log())
    return torch.stack(found).reshape(len(ids), -1)


def means_by_definition(values, segment, count):
    groups = [values[segment == i] for i in range(count)]
    return torch.stack([rows.mean(0) if len(rows) else rows.sum(0) for rows in groups])


def largest_at_positions(logits, ids):
    return logits[:, :-1].abs().amax(-1).clamp(min=1)


def largest_in_groups(values, segment, count):
    return torch.stack([values[segment == i].abs().max() if (segment == i).any() else values.new_zeros(()) for i in range(count)])[:, None]


def check_against(function, definition, largest, inputs, what, hint, gradient_hint):
    """Values, inputs afterwards, gradients; the first input is the one that has gradients, `largest` the scale of errors."""
    expected = definition(*inputs)
    size, share = largest(*inputs).double(), 1e-5 if inputs[0].dtype == torch.float32 else 1e-7
    got, inputs_after = check.after(function, *inputs)
    check.shape(got, expected.shape, what, hint)
    check.equal(got.dtype, expected.dtype, f"the dtype of {what}", "a step has a dtype of its own: `.float()`, or a new tensor without `dtype=...`")
    if ((got.double() - expected.double()).abs() <= 1e-3 * size).all():
        hint = f"that is nearly right; {share:g} of the largest number is allowed. Which step has fewer digits, or takes in a number that does not belong there?"
    check.equal(got, expected, what, hint, rtol=0, atol=share * size.numpy())
    check.equal(inputs_after, list(inputs), f"after {what} inputs", "leave them alone: does one of your steps work in place?")
    check.true(not inputs_after[0].requires_grad, f"After {what} the input requires gradients: whether it does is not yours to change.")

    leaf, other = (inputs[0].clone().requires_grad_() for _ in range(2))
    pull = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=expected.dtype)
    try:
        got = function(leaf, *inputs[1:])
    except RuntimeError as error:
        check.true("leaf Variable" not in str(error), f"{what} change the input: does one of your steps work in place?")
        raise
    check.true(got.requires_grad, f"No gradient can flow back from {what}: {gradient_hint}")
    (got * pull).sum().backward()
    (definition(other, *inputs[1:]) * pull).sum().backward()
    check.equal(leaf.grad, other.grad, f"the gradient of a weighted sum of {what}", gradient_hint, rtol=1e-4)


def check_no_loop(function, cases):
    """`cases`: inputs for each name of an axis, the first to compare with."""
    small, *larger = ((name, count_operations(function, *inputs)) for name, inputs in cases.items())
    for name, count in larger:
        said = f"`{function.__name__}` takes {small[1]} tensor operations on a small input and {count} with {name}: is there a loop?"
        check.true(count <= small[1], said)


def check_next_token_logprobs():
    ids = torch.tensor([[2, 6, 0, 0, 3], [1, 1, 5, 4, 6], [0, 3, 3, 2, 1]])
    got = next_token_logprobs(torch.zeros(3, 5, 7), ids)
    check.shape(got, (3, 4), "`next_token_logprobs` of 3 texts of 5 tokens", "one number for each token but the first")
    what = "`next_token_logprobs` where all 7 scores are equal"
    hint = "each token has probability 1/7 then: scores become log-probabilities through a log-softmax over the last axis"
    check.equal(got, torch.full((3, 4), -math.log(7)), what, hint)
    got, hint = next_token_logprobs(torch.zeros(1, 2, 7), ids[:1, :2]), "does a `squeeze()` without dim remove axes that should stay?"
    check.shape(got, (1, 1), "`next_token_logprobs` of 1 text of 2 tokens", hint)

    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        some = torch.randint(2, 9, (3,), generator=generator).tolist()
        sizes = [(1, 2, 3), (4, 2, 2), (2, 9, 4), some, (50, 3, 2), (1, 200, 3), (2, 3, 200), (1, 3, 199)]
        for (b, t, v), dtype in zip(sizes, [torch.float32, torch.float64] * 4):
            logits = (3 if v < 199 else 0.1) * torch.randn(b, t, v, generator=generator, dtype=dtype)
            ids = torch.randint(0, v, (b, t), generator=generator)
            what = f"the log-probabilities of {b} x {t} tokens, {v} possible ones, in {dtype}"
            hint = "logits at position j are about token j + 1: which slice of each goes together?"
            if v >= 199:
                hint = "all tokens are nearly as likely there: the probabilities of all of them sum to 1, not of some"
            cut = "something on the way cut the graph (`.data`, `.detach()`, NumPy, `torch.tensor(...)`)."
            check_against(next_token_logprobs, logprobs_by_definition, largest_at_positions, (logits, ids), what, hint, cut)
        for dtype in (torch.float32, torch.float64):
            sizes = torch.tensor([1000, 1, 1000, -1000, 0.01, 1000], dtype=dtype)[:, None]
            large = sizes * torch.randn(2, 6, 5, generator=generator, dtype=dtype).clamp(-1, 1)
            large[0, 3] = -1000
            ids = torch.randint(0, 5, (2, 6), generator=generator)
            hint = (
                "where a softmax is 0 in floating point its logarithm is -inf: take both in one step, for each position by itself, "
                "and cut nothing off"
            )
            what = f"the log-probabilities of tokens with scores as large as ±1000, in {dtype}"
            check_against(next_token_logprobs, logprobs_by_definition, largest_at_positions, (large, ids), what, hint, hint)

    def text(b, t, v):
        return torch.zeros(b, t, v), torch.zeros(b, t, dtype=torch.int64)

    larger = {"50 texts": text(50, 3, 4), "texts of 200 tokens": text(2, 200, 4), "a vocabulary of 200": text(2, 3, 200)}
    check_no_loop(next_token_logprobs, {"": text(2, 3, 4), **larger, "all three of them": text(50, 200, 200)})


def check_segment_mean():
    values = torch.randn(8, 3, generator=torch.Generator().manual_seed(24), dtype=torch.float64)
    segment = torch.tensor([4, 1, 4, 0, 4, 1, 4, 5])
    expected = means_by_definition(values, segment, 7)
    got = segment_mean(values, segment, 7)
    hint = "`count` says how many groups there are; the last may be empty"
    check.shape(got, (7, 3), "`segment_mean` of 8 rows in 7 groups", hint)
    hint = "nothing else comes in: is each sum divided by its own number of rows, and by nothing more?"
    check.equal(got[0], expected[0], "the mean of a group with one row", hint)
    hint = "several rows name the same group: does the second write cover the first? Is each sum divided by its number of rows?"
    check.equal(got[1], expected[1], "the mean of group 1 (rows 1 and 5)", hint)
    check.equal(got[4], expected[4], "the mean of group 4 (rows 0, 2, 4 and 6)", hint)
    hint = "an empty group is 0 / 0 unless you prevent it"
    check.equal(got[[2, 3, 6]], torch.zeros(3, 3).double(), "the means of the empty groups 2, 3 and 6", hint)

    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        sizes = [(1, 1, 1), (1, 2, 3), (20, 5, 4), (150, 2, 60), (700, 3, 500)]
        for (n, d, count), dtype in zip(sizes, [torch.float32, torch.float64] * 3):
            values = 1e3 * torch.randn(n, d, generator=generator, dtype=dtype)
            values[1::3] = 0
            segment = torch.randint(0, count, (n,), generator=generator)
            what = f"the means of values [{n}, {d}] in {count} group{'s' * (count > 1)}, in {dtype}"
            hint = "the rows of a group may stand anywhere, a row of zeros counts, and a group may have one row, many or none"
            cut = (
                "a row has a share of 1 / (rows of its group). A 0 / 0 that is only replaced afterwards sends NaN back; "
                "`.data`, `.detach()`, NumPy and `torch.tensor(...)` cut the graph."
            )
            check_against(segment_mean, means_by_definition, largest_in_groups, (values, segment, count), what, hint, cut)
            segment = torch.randint(0, 8, (40,), generator=generator)
            sizes = 10.0 ** torch.randint(-6, 9, (8,), generator=generator)
            sizes[segment[0]], sizes[(segment[0] + 1) % 8] = 1e8, 1e-6
            values = (sizes[segment, None] * torch.randn(40, 2, generator=generator)).to(dtype)
            what = f"the means of values [40, 2] in 8 groups of very different size, in {dtype}"
            hint = "numbers of other groups are up to 1e14 times as large there, and must not cost this group its digits"
            check_against(segment_mean, means_by_definition, largest_in_groups, (values, segment, 8), what, hint, cut)

    def rows(n, d, count):
        return torch.zeros(n, d), torch.arange(n) % count, count

    many, segment, count = rows(2000, 1, 20)
    many += 0.1 * (1 + torch.arange(count))[segment, None]
    what, hint = "the means of 2000 rows in 20 groups of 100, equal numbers in each, in torch.float32", "100 equal numbers have that number as their mean"
    check_against(segment_mean, means_by_definition, largest_in_groups, (many, segment, count), what, hint, cut)
    check_no_loop(segment_mean, {"": rows(60, 3, 60), "2000 rows": rows(2000, 3, 60), "500 groups": rows(60, 3, 500), "both": rows(2000, 3, 500)})


with check.exercise("gather_scatter"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"next_token_logprobs": check_next_token_logprobs, "segment_mean": check_segment_mean})
check.points(3)


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# First function: which positions have a next token, and which tokens have a position before them? Two slices. Second: a
# mean is a sum and a number of rows; both are kept by group.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `log_softmax(dim=-1)`, `gather` (its index needs as many axes as the tensor; `squeeze(-1)` afterwards). `index_add`,
# `torch.bincount(..., minlength=count)`, `clamp(min=1)`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# logprobs = logits[:, :-1].log_softmax(dim=-1)          # [b, t - 1, v]
# index = ids[:, 1:, None]                               # [b, t - 1, 1]
# sums = values.new_zeros(count, values.shape[1]).index_add(0, segment, values)
# sizes = torch.bincount(segment, minlength=count)
# ```
# Gather and drop the last axis; divide, after taking care of the size 0.
# </details>

# %% [markdown]
# Both at work on real text: the documentation that PyTorch carries with it. Counting which character follows which is
# one `index_put_` with `accumulate=True`; the counts are a language model, the smallest there is. Then it reads a
# sentence, and every character is coloured by its surprise, the negative log-probability.

# %%
functions = {f.__doc__ for f in vars(torch).values() if isinstance(f, types.BuiltinFunctionType) and f.__doc__}
letters = torch.tensor([ord(c) for c in "\n".join(sorted(functions)) if ord(c) < 128])
counts = torch.full((128, 128), 0.01).index_put_((letters[:-1], letters[1:]), torch.tensor(1.0), accumulate=True)
print(f"{len(letters):,} characters read")


def surprise(text: str) -> torch.Tensor:
    """Bits of surprise at each character of `text` but the first, under the counts."""
    ids = torch.tensor([[ord(c) for c in text]])
    return -next_token_logprobs(counts.log()[ids], ids)[0] / math.log(2)


sentence = "the tensor returned shares memory with the input, and xylophones do not."
bits = surprise(sentence)
figure, panel = plt.subplots(figsize=(14, 2.2), layout="constrained")
panel.bar(range(1, len(sentence)), bits, color=plt.cm.viridis(bits / bits.max()))
panel.set_xticks(range(len(sentence)), sentence.replace(" ", "␣"))
panel.set(title="where two-letter statistics are surprised", xlabel="character", ylabel="surprise (bits)")
plt.show()

words = "".join(chr(i) for i in letters[:60_000].tolist()).split(" ")
position = torch.tensor([min(i, 8) for word in words for i in range(len(word) + 1)][:-1])  # the space belongs to its word
means = segment_mean(surprise(" ".join(words))[:, None], position[1:], 9)[:, 0]
print("mean surprise by position in the word (bits):", [round(m, 1) for m in means.tolist()])

# %% [markdown]
# The start of a word is where the model knows least, and rare letter pairs stand out. A real language model is judged
# by the same two functions: `next_token_logprobs` for its loss, `segment_mean` for the loss of each text in a packed batch.

# %% [markdown]
# ## 5 · Autograd: the notes of a calculation
#
# Set `requires_grad` on a tensor and every operation that touches it leaves a note: which function it was, which tensors
# it needs to be differentiated, and from which notes its inputs came. The notes form a graph; `tensor.grad_fn` is the
# note that made a tensor. `backward()` walks the graph from the loss to the **leaves**, the tensors that you created,
# and adds what it finds to their `.grad`.


# %%
def show_graph(tensor: torch.Tensor) -> None:
    """Print the notes behind a tensor, the last operation first."""

    def walk(node, depth):
        name = type(node).__name__.removesuffix("0").removesuffix("Backward")
        leaf = f"  <- leaf of shape {tuple(node.variable.shape)}" if hasattr(node, "variable") else ""
        print("  " * depth + name + leaf)
        for parent, _ in node.next_functions:
            if parent is not None:
                walk(parent, depth + 1)

    walk(tensor.grad_fn, 0)


inputs = torch.tensor([[0.5, -1.0], [1.5, 2.0], [0.0, 1.0]])
weight = torch.tensor([0.3, -0.2], requires_grad=True)
bias = torch.tensor(0.1, requires_grad=True)
loss = ((inputs @ weight + bias).tanh() - 1).pow(2).mean()
show_graph(loss)

# %% [markdown]
# Read it from the bottom: a product and a sum, `tanh`, minus one, the square, the mean. `inputs` is not in it: nobody
# asked for its gradient, so no notes lead there.
#
# Three facts explain most surprises.
#
# 1. **Gradients add up.** `backward` adds to `.grad`; it never replaces. That is what you want for a tensor used twice in
#    one graph, and not what you want from one training step to the next.
# 2. **The notes cost memory.** Every tensor that a derivative needs is kept until `backward` has run or the last reference
#    to the result is gone.
# 3. **You decide what is written down.** Under `torch.no_grad()` nothing is. `x.detach()` is the same memory without the
#    notes: gradients stop there. `x.item()` is a Python number, which knows nothing.
#
# And a trap with devices: `torch.ones(3, requires_grad=True).to(device)` is noted too. The result is no leaf, and its
# `.grad` stays empty. Move first, then ask for gradients.

# %%
# NBVAL_CHECK_OUTPUT
loss.backward()
once = weight.grad.clone()
((inputs @ weight + bias).tanh() - 1).pow(2).mean().backward()
print("after a second backward the gradient is", (weight.grad / once).tolist(), "times the first")
with torch.no_grad():
    print("under no_grad:  requires_grad =", (weight * 2).requires_grad)
print(
    "after detach:   requires_grad =",
    weight.detach().requires_grad,
    "  same memory:",
    weight.detach().data_ptr() == weight.data_ptr(),
)
y = (weight * 2).sum() + (weight.detach() * 100).sum()
print("only the first term sends a gradient:", torch.autograd.grad(y, weight)[0].tolist())

# %% [markdown]
# ### Exercise 5 · Gradient descent by hand (`descend`, 3 points, 25 minutes, difficulty 2 of 3)
#
# Write the loop that every optimiser is built around: `descend(loss_of, parameters, rate, steps)`.
# `parameters` is a list of one to ten different leaf tensors that require gradients, contiguous, with no to two axes, all
# float32 or all float64. `loss_of()` returns the loss, a new finite tensor without axes, computed from one of them or more as
# they are now (the next batch decides from which); it leaves their `.grad` alone. `rate` is a positive float, `steps` 0 to 500.
#
# - You take the steps yourself, without `torch.optim`. <!-- rule: by_hand -->
# - There are `steps` of them. Each takes the loss and all its gradients, and only then does `parameter -= rate * gradient`
#   for every parameter that this loss was computed from. None is cut short or left out: losses may be 0, negative or
#   equal, gradients 0 or from 1e-12 to 1e12 in size, and a number may move by 1e6. <!-- rule: step -->
# - This happens **in place**: the tensors that you were given keep their memory, so views of them (such as
#   `parameter.detach()`) show the new values. <!-- rule: in_place -->
# - Only gradients of this step's loss count. What stood in `.grad` before, from an earlier step or before the call, be it
#   infinite or NaN, moves nothing. <!-- rule: fresh -->
# - `loss_of` is called once a step. The list of its values, as Python floats, is returned. <!-- rule: losses -->
# - Losses and parameters are right to 1e-4 (float32) or 1e-9 (float64) of the largest number. <!-- rule: digits -->
# - Afterwards training can go on: each parameter is a leaf that requires gradients, without a new hook, and autograd is
#   switched on. What stands in `.grad` is up to you. <!-- rule: further -->



# %% exercise="descend" minutes=25 difficulty=2
def descend(loss_of, parameters, rate: float, steps: int) -> list[float]:
    """Move `parameters` in place down the gradient of `loss_of()`; returns the loss before each step."""
    ### BEGIN SOLUTION
    parameters = list(parameters)
    losses = []
    for _ in range(steps):
        loss = loss_of()
        for parameter in parameters:
            parameter.grad = None
        loss.backward()
        with torch.no_grad():
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter -= rate * parameter.grad
        losses.append(loss.item())
    return losses
    ### END SOLUTION


# %% tests="descend" points=3
@check.shared
def loss_on(parameters, batch, size=1.0, level=None):
    """A loss without the last parameter, `size` times as large; on a batch of zeros it is made of the second alone, with gradient 0.

    `level`: the loss has this value, whatever its gradients are."""
    matrix, shift, scale, _ = parameters
    if not batch.any():
        return (0 * shift).sum()
    loss = size * 50 * ((batch @ (scale * matrix)).tanh() + shift).square().mean()
    return loss if level is None else loss - loss.detach() + level


@check.scenario
def descend_from(start, batches, rate, kind, old_gradient=None, twice=False):
    """`descend`, a batch a step, with losses of a kind (`size`, `level`); the last batch is kept.

    Returns the losses, the number of calls of the loss and of steps by `torch.optim`, the parameters afterwards, what views of them show, whether each
    is a leaf that requires gradients, how many hooks it has, and the gradients of a backward pass on the last batch with
    the parameters after it.
    """
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    parameters = [value.clone().requires_grad_() for value in start]
    views = [parameter.detach() for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None if old_gradient is None else torch.full_like(parameter, old_gradient)
    waiting, calls, optimised = itertools.cycle(batches), [], []

    def loss_of():
        calls.append(1)
        return loss_on(parameters, next(waiting), **kind)

    steps = len(batches) - 1
    with register_optimizer_step_pre_hook(lambda *_: optimised.append(1)):
        if twice:
            losses = descend(loss_of, parameters, rate, steps // 2) + descend(loss_of, parameters, rate, steps - steps // 2)
        else:
            losses = descend(loss_of, parameters, rate, steps)
    after, shown = [parameter.detach().clone() for parameter in parameters], [view.clone() for view in views]
    trainable = [parameter.is_leaf and parameter.requires_grad for parameter in parameters]
    places = ("_backward_hooks", "_post_accumulate_grad_hooks")
    hooks = [sum(len(getattr(parameter, place, None) or ()) for place in places) for parameter in parameters]
    going_on, further = loss_on(parameters, batches[-1], **kind), None
    if going_on.requires_grad and all(trainable) and not any(hooks):
        for parameter in parameters:
            parameter.grad = None
        going_on.backward()
        further = [parameter.grad for parameter in parameters[:3]], [parameter.detach().clone() for parameter in parameters]
    return losses, len(calls), len(optimised), after, shown, trainable, hooks, further


@check.scenario
def descend_many(start, rate, steps):
    """`descend` on the sum over parameters of their squared distance to 1, and the parameters afterwards."""
    parameters = [value.clone().requires_grad_() for value in start]
    losses = descend(lambda: sum((parameter - 1).square().sum() for parameter in parameters), parameters, rate, steps)
    return losses, [parameter.detach() for parameter in parameters]


def check_how_many(count):
    start = [torch.full((1 + i % 3,), float(i), dtype=torch.float64) for i in range(count)]
    losses, after = descend_many(start, 0.1, 2)
    one, two = ([1 + share * (value - 1) for value in start] for share in (0.8, 0.64))
    what = f"2 steps at rate 0.1 on {count} parameter{'s' * (count > 1)}"
    check.equal(after, two, f"after {what} parameters", "every parameter moves, however many there are", rtol=1e-9)
    check.equal(losses, [sum((value - 1).square().sum().item() for value in values) for values in (start, one)], f"with {what} losses", rtol=1e-9)


def descend_by_library(start, batches, rate, kind):
    """The same by `torch.optim`: losses, parameters afterwards, gradients on the last batch."""
    parameters = [value.clone().requires_grad_() for value in start]
    optimiser, losses = torch.optim.SGD(parameters, lr=rate), []
    for batch in batches[:-1]:
        optimiser.zero_grad()
        loss = loss_on(parameters, batch, **kind)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    further = torch.autograd.grad(loss_on(parameters, batches[-1], **kind), parameters[:3])
    return losses, [parameter.detach() for parameter in parameters], further


def starts_to_descend_from(seed):
    """Parameters (a matrix, a vector, a number, and a vector without a part) and batches, from few to many."""
    generator = torch.Generator().manual_seed(seed)
    for steps, (rows, columns), dtype in zip((1, 0, 4, 15), ((5, 3), (1, 1), (2, 7), (4, 1)), [torch.float64, torch.float32] * 2):

        def draw(*shape):
            return torch.randn(shape, generator=generator, dtype=dtype)

        yield [draw(rows, columns), draw(columns), draw(), draw(2)], [draw(6, rows) for _ in range(steps + 1)]


def run_descend(*case, **how):
    """The scenario, with the two best-known errors of autograd put into words."""
    try:
        return descend_from(*case, **how)
    except RuntimeError as error:
        said = str(error).rstrip(".")
        why = {
            "leaf Variable": "The update must not be noted by autograd: put it under `torch.no_grad()`.",
            "does not require grad": "The loss has no notes behind it: does `no_grad` hold for the forward pass too? Only the update belongs there.",
        }
        for words, meaning in why.items():
            check.true(words not in said, f"your code raised RuntimeError: {said}. {meaning}")
        raise


def check_descend(start, batches, rate, what="", hint="", kind={}, **how):
    steps = len(batches) - 1
    what = f"{steps} step{'s' * (steps != 1)} at rate {rate}{what}"
    expected_losses, expected, expected_further = descend_by_library(start, batches, rate, kind)
    losses, calls, optimised, after, views, trainable, hooks, further = run_descend(start, batches, rate, kind, **how)
    check.equal(optimised, 0, f"how many of {what} are taken by `torch.optim`", "write the update yourself")
    check.kind(losses, list, "what `descend` returns")
    check.equal(len(losses), steps, f"the number of losses of {what}")
    for loss in losses:
        number = "a tensor there keeps the whole graph of its step in memory; `.item()` is the number alone"
        check.kind(loss, float, "a loss in the list", number)
    passes = "one forward pass a step is enough"
    if calls < steps:
        passes = "every step has one: neither a gradient of 0 nor a loss that is the same as before is the end"
    check.equal(calls, steps, f"how often `loss_of` is called in {what}", passes)
    if steps and not kind and not how:
        check.true(
            any(not torch.equal(one, other) for one, other in zip(after, start)),
            "After a step the tensors that you were given have not moved: `p = p - ...` makes a new tensor and leaves the old one as it was; "
            "and a gradient that is cleared between `backward` and the update moves nothing.",
        )
    rtol = 1e-9 if all(value.dtype == torch.float64 for value in start) else 1e-4
    for i, name in enumerate(("a matrix", "a vector", "a number")):
        near = after[i].shape == expected[i].shape and torch.allclose(after[i], expected[i].to(after[i].dtype), rtol=1e-5, atol=1e-5)
        digits = f"that is nearly right; {rtol:g} is allowed. Which step has fewer digits than the parameters?"
        check.equal(after[i], expected[i], f"{name} among the parameters after {what}", digits if near else hint, rtol=rtol)
    check.equal(after[3], start[3], f"a parameter that plays no part in the loss, after {what}", "it has no gradient, so it stays")
    memory = "`p.data = ...` gives a parameter new memory, and whoever holds a view of the old one is left behind: write into the old"
    check.equal(views, after, f"after {what}, views of the parameters", memory, rtol=0, atol=0)
    check.equal(losses, expected_losses, f"with {what} losses", "one loss a step, each before its update", rtol=rtol)
    check.true(
        sum(hooks) == 0,
        f"After {what} the parameters are left with {sum(hooks)} hooks: a later `backward` would call them. Keep what registers a hook, and `remove()` it.",
    )
    check.true(
        further is not None and all(trainable),
        f"After {what} training cannot go on: a new loss knows no way back to the parameters. Is each still a leaf that requires "
        "gradients (update it in place under `torch.no_grad()`), and is autograd switched on again?",
    )
    gradients, moved = further
    check.equal(gradients, expected_further, f"of a new loss after {what} gradients", rtol=1e-4)
    check.equal(moved, after, f"after {what} and one more `backward`, parameters", "only `descend` moves them", rtol=0, atol=0)


with check.exercise("descend"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    for seed in seeds:
        for parameters, batches in starts_to_descend_from(seed):
            several = len(batches) > 2
            hint = "old value minus rate times gradient; all gradients of a step belong to the parameters as the loss saw them"
            if several:
                hint = "`backward` adds to `.grad`: is it cleared between steps?"
            check_descend(parameters, batches, 0.001 if several else 0.03, hint=hint)
        for old in (100.0, 1e9, math.inf, math.nan):
            hint = "clear before `backward`, not after the update; and infinity - infinity, or 0 times NaN, is NaN"
            check_descend(parameters, batches[:2], 0.03, f" with {old:g} in every .grad before the call", hint, old_gradient=old)
        hint = "does something stay behind from the first call: a hook, an old gradient?"
        check_descend(parameters, batches[:6], 0.002, " in two calls of `descend`", hint, twice=True)
        nothing = torch.zeros_like(batches[0])
        hint = "every step updates the parameters that have a gradient in this step: another batch may use others, and a gradient of 0 ends nothing"
        some = [nothing, nothing, *batches[:2], nothing, *batches[2:5]]
        check_descend(parameters, some, 0.002, " (three of them with loss 0 and a gradient of 0 for one parameter alone)", hint)
        hint = "a step is old value minus rate times gradient whatever the loss is: neither its value nor its sign comes in"
        for level in (0.0, -3.0):
            check_descend(parameters, batches[:4], 0.002, f" with losses that are all {level:g}, though their gradients are not 0", hint, {"level": level})
        hint = "no gradient is too small or too large to count: is there a limit, or a number that is added?"
        for size in (1e-12, 1e12):
            check_descend(parameters, batches[:4], 0.002 / size, f" with losses and gradients of size {size:g}", hint, {"size": size})
        hint = "no step is too long: is there a limit for a number or its move?"
        for start, some in ((parameters, batches[:3]), ([value.double() for value in parameters], [batch.double() for batch in batches[:2]])):
            check_descend(start, some, 0.02, " so long that numbers move by up to a million", hint, {"size": 1e6})
    _, (tiny, first), _, _ = starts_to_descend_from(seeds[0])
    check_descend(tiny, first * 501, 0.001, hint="as many steps as `steps` says")
    for count in (1, 10):
        check_how_many(count)


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Five things happen in a step: forward, clear, backward, update, write down the loss. Which orders are possible, and
# which of the five must not be noted by autograd?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `loss.backward()`, `parameter.grad` (which is `None` where no gradient arrived), `torch.no_grad()`, the in-place
# operator `-=`, and `loss.item()`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# for _ in range(steps):
#     loss = loss_of()
#     for parameter in parameters:
#         parameter.grad = None
#     loss.backward()
#     with torch.no_grad():
#         ...   # every parameter that has a gradient: one line
# ```
# Around it: collect `loss.item()` and return the list.
# </details>

# %% [markdown]
# ### The painter
#
# Everything is there. Eighty grey spots lie at random on a canvas; each has a place, a width and a colour, 480 numbers in
# all. `gaussians` says how bright each spot is at each pixel, dividing by the sum gives its share there, `paint` mixes the
# colours, and `descend` moves all 480 numbers so that the mean squared difference to the landscape falls. Nothing tells
# a spot where the sun is. The gradient does.

# %%
height, width, count = 48, 64, 80
target = torch.from_numpy(landscape(height, width)).permute(2, 0, 1) / 255
canvas_size = torch.tensor([height, width])


def new_painter(count: int, seed: int) -> dict[str, torch.Tensor]:
    """Spots at random places (in shares of the canvas), of equal width, all grey."""
    generator = torch.Generator().manual_seed(seed)
    start = {
        "places": torch.rand(count, 2, generator=generator),
        "log_widths": torch.zeros(count),
        "colours": torch.full((count, 3), 0.5),
    }
    return {name: value.requires_grad_() for name, value in start.items()}


def painting(spots: dict[str, torch.Tensor]) -> torch.Tensor:
    """The picture [3, height, width] that the spots make."""
    brightness = gaussians(spots["places"] * canvas_size, 5 * spots["log_widths"].exp(), height, width)
    return paint(brightness / (brightness.sum(0) + 1e-4), spots["colours"])


def difference(spots: dict[str, torch.Tensor]) -> torch.Tensor:
    """100 times the mean squared difference to the target."""
    return 100 * (painting(spots) - target).pow(2).mean()


spots, curve, stages = new_painter(count, seed=24), [], []
for steps in (0, 15, 85, 400):
    curve += descend(lambda: difference(spots), list(spots.values()), rate=0.1, steps=steps)
    stages.append((f"after {len(curve)} steps", painting(spots).detach()))

# %% [markdown]
# Plain descent gives every number the same rate and slows down in flat directions. Optimisers that keep a rate for each
# number, such as Adam (lesson 04), get further with the same gradients.

# %%
adam_spots, adam_curve = new_painter(count, seed=24), []
optimiser = torch.optim.Adam(adam_spots.values(), lr=0.01)
for _ in range(500):
    optimiser.zero_grad()
    loss = difference(adam_spots)
    loss.backward()
    optimiser.step()
    adam_curve.append(loss.item())
stages += [("Adam, 500 steps", painting(adam_spots).detach()), ("the target", target)]

figure, panels = plt.subplots(2, 3, figsize=(11, 6), layout="constrained", sharex=True, sharey=True)
for panel, (title, picture) in zip(panels.flat, stages):
    panel.imshow(picture.permute(1, 2, 0).clip(0, 1))
    panel.set_title(title)
for panel in panels[1]:
    panel.set_xlabel("column (pixels)")
for panel in panels[:, 0]:
    panel.set_ylabel("row (pixels)")
plt.show()

figure, panel = plt.subplots(figsize=(7, 3), layout="constrained")
panel.loglog(range(1, len(curve) + 1), curve, label="your `descend`")
panel.loglog(range(1, len(adam_curve) + 1), adam_curve, label="Adam")
panel.set(xlabel="step", ylabel="100 x mean squared difference", title="the painter learns")
panel.legend()
plt.show()

# %% [markdown]
# How does soft light give a hard ridge? Give every pixel the colour of the spot that is brightest there, and the way the
# painter works shows: it lays a mosaic. An edge lies where two spots of different colour are equally bright, so descent
# only had to push pairs of spots into place on both sides of it.

# %%
zoom = 8
with torch.no_grad():
    places, widths = adam_spots["places"] * canvas_size * zoom, 5 * adam_spots["log_widths"].exp() * zoom
    owner = gaussians(places, widths, height * zoom, width * zoom).argmax(0)
    mosaic = adam_spots["colours"][owner].clip(0, 1)
edge = (owner[1:, 1:] != owner[:-1, 1:]) | (owner[1:, 1:] != owner[1:, :-1])
mosaic[1:, 1:][edge] = 0.15
figure, panel = plt.subplots(figsize=(6.4, 4.6), layout="constrained")
panel.imshow(mosaic, extent=(0, width, height, 0))
panel.set(
    xlabel="column (pixels)", ylabel="row (pixels)", title=f"{len(owner.unique())} of {count} spots own a part of the picture"
)
plt.show()

# %% [markdown]
# ## 6 · A derivative of your own
#
# Sometimes you know a better backward pass than the chain of small steps that autograd writes down: it needs less memory,
# it is more exact, or the forward pass runs outside PyTorch. A `torch.autograd.Function` holds both directions.
# `forward` computes and hands what `backward` will need to `ctx.save_for_backward`; `backward` receives the gradient of
# the loss with respect to the output, and returns one gradient for **each argument** of `forward`, `None` for those that
# have none. It is called with `.apply`.


# %%
# NBVAL_CHECK_OUTPUT
class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x)
        ctx.scale = scale  # not a tensor: a plain attribute is right
        return scale * x**3

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * ctx.scale * 3 * x**2, None


x = torch.linspace(-1, 1, 5, dtype=torch.float64, requires_grad=True)
print("gradcheck compares with finite differences:", torch.autograd.gradcheck(lambda x: Cube.apply(x, 2.0), x))

# %% [markdown]
# `gradcheck` nudges every input by a millionth and compares; that is why it needs `float64`. It is the test that every
# backward pass should have.
#
# Two dangers come with hand-written derivatives, and both are silent.
#
# - A tensor kept as an attribute (`ctx.x = x`) escapes autograd's watch: if somebody changes it in place before
#   `backward`, the gradient is wrong. What went through `save_for_backward` is watched: then there is an error.
# - `backward` is itself differentiable, so that second derivatives work. But intermediate results made in `forward` are
#   constants to it, and a second derivative that passes through them is wrong. `@once_differentiable` (below
#   `@staticmethod`) refuses second derivatives of a loss such as `y.pow(3).sum()`; recomputing intermediate results from saved
#   inputs makes them right.
#
# ### Exercise 6 · RMSNorm with its own backward (`rms_norm`, 4 points, 40 minutes, difficulty 3 of 3)
#
# RMSNorm is the normalisation in most current language models. With $d$ features on the last axis:
#
# $$y = \frac{x}{r}\,w, \qquad r = \sqrt{\tfrac{1}{d}\textstyle\sum_j x_j^2 + \varepsilon}$$
#
# Write `RMSNorm` as a `torch.autograd.Function`, used as `RMSNorm.apply(x, weight, eps)`.
# `x` has shape `[..., d]` with one to three axes before the last, `weight` `[d]`; both are float32 or both float64. d and the
# number of rows are at most 100. `eps` is a Python float from 1e-8 to 1. Numbers in `x` are at most 1e4 in size, those in
# `weight` and the gradient that comes in at most 100; any may be 0. All three may have any strides (`y.sum()` sends one number,
# repeated). No number is off by more than 1e-4 (float32) or 1e-7 (float64) times a scale:
#
# | the error in | has as its scale the largest number in |
# |---|---|
# | a row of `y` | that row of `y` |
# | the gradient for `weight` | that gradient |
# | a row of the gradient for `x` | that row of `grad_output * weight / r` |
#
# - `y` follows the formula, in the shape and dtype of `x`. <!-- rule: value -->
# - `backward` returns the gradients for `x` and `weight` and `None` for `eps`. They are right, also where `x` or `weight` alone
#   requires one (`gradcheck` tells you). <!-- rule: gradients -->
# - It computes them by a formula of yours and starts no backward pass of autograd (`torch.autograd.grad`,
#   `Tensor.backward`, `vjp` and the like). <!-- rule: by_hand -->
# - Where `x` or `weight`, a frozen one too, is changed in place between forward and backward there is a `RuntimeError` or the
#   right gradient, never a wrong one. <!-- rule: in_place -->
# - A backward pass with `create_graph=True` may raise a `RuntimeError`. Where it does not, second derivatives of
#   `y.pow(3).sum()`, through the gradients of `x` and of `weight`, are right, or the second pass raises
#   one. (Numbers in `x` are at most 100 here.) <!-- rule: second -->
# - Calls do not disturb each other: there may be several forward passes, each with an `eps` of its own, before the first
#   backward pass, and each has one or none, in any order. <!-- rule: own_notes -->
# - `x`, `weight` and the gradient that comes in stay as they were. <!-- rule: unchanged -->



# %% exercise="rms_norm" minutes=40 difficulty=3
class RMSNorm(torch.autograd.Function):
    """x [..., d] divided by its root mean square over the last axis, times weight [d]."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        ### BEGIN SOLUTION
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + eps) * weight
        ### END SOLUTION

    @staticmethod
    def backward(ctx, grad_output: torch.Tensor):
        ### BEGIN SOLUTION
        x, weight = ctx.saved_tensors
        # Computed again, not saved: cheap, and second derivatives see that it depends on x.
        inverse = torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + ctx.eps)
        normal, grad_normal = x * inverse, grad_output * weight
        along = (grad_normal * normal).mean(dim=-1, keepdim=True)
        grad_x = inverse * (grad_normal - along * normal)
        grad_weight = (grad_output * normal).reshape(-1, len(weight)).sum(dim=0)
        return grad_x, grad_weight, None
        ### END SOLUTION


# %% tests="rms_norm" points=4
@check.shared
def norm_by_definition(x, weight, eps):
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


@check.shared
def all_about(function, x, weight, eps, pull):
    """The value of `function`, its gradients when `pull` comes in, and what the calls made of the three tensors."""
    x, weight, pull = x.clone().requires_grad_(), weight.clone().requires_grad_(), pull.clone()
    y = function(x, weight, eps)
    seen = {"value": y.detach(), "gradients": torch.autograd.grad(y, (x, weight), pull)}
    two = function(function(x, weight, eps) + 1, weight, 0.4 + eps / 2)
    seen["gradients through two"] = torch.autograd.grad(two, (x, weight), pull)
    first, _ = function(x, weight, eps), function(x, weight, 0.4 + eps / 2)
    seen["gradients, two forward passes first"] = torch.autograd.grad(first, (x, weight), pull)
    spread, gains = other_strides(x.detach()).requires_grad_(), other_strides(weight.detach()).requires_grad_()
    seen["gradients, other strides"] = torch.autograd.grad(function(spread, gains, eps), (spread, gains), other_strides(pull))
    alone = torch.autograd.grad(function(x, weight.detach(), eps), x, pull, allow_unused=True)
    seen["gradients, one alone"] = alone + torch.autograd.grad(function(x.detach(), weight, eps), weight, pull, allow_unused=True)
    seen["afterwards"] = [x.detach(), weight.detach(), pull]
    return seen


@check.shared
def second_derivatives(function, x, weight, eps, wanted, spread=False):
    """Gradients for those of the two that are wanted, of a loss that holds the squares of their gradients; None where they are refused.

    `spread`: the two have other strides.
    """
    given = {name: other_strides(value) if spread else value.clone() for name, value in (("x", x), ("weight", weight))}
    leaves = [given[name].requires_grad_() for name in wanted]
    y = function(*given.values(), eps)
    try:
        slopes = torch.autograd.grad(y.pow(3).sum(), leaves, create_graph=True)
        sum(leaf.square().sum() + slope.square().sum() for leaf, slope in zip(leaves, slopes)).backward()
    except RuntimeError:
        return None
    return [leaf.grad for leaf in leaves]


@check.shared
def gradients_of_sum(function, x, weight, eps):
    leaves = x.clone().requires_grad_(), weight.clone().requires_grad_()
    return torch.autograd.grad(function(*leaves, eps).sum(), leaves)


@check.scenario
def your_gradients_of_sum(x, weight, eps):
    return gradients_of_sum(RMSNorm.apply, x, weight, eps)


@check.scenario
def your_norm(x, weight, eps, pull):
    return all_about(RMSNorm.apply, x, weight, eps, pull)


@check.scenario
def asked_of_autograd(x, weight, eps, pull):
    """How many times `backward` asks autograd for gradients."""
    from unittest import mock

    leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
    y = RMSNorm.apply(*leaves, eps)
    # Whatever name it is called by, a backward pass is run by the engine; the first of them is ours.
    engine = mock.Mock(wraps=torch.autograd.Variable._execution_engine)
    with mock.patch.object(torch.autograd.Variable, "_execution_engine", engine):
        torch.autograd.grad(y, leaves, pull)
    return max(0, engine.run_backward.call_count - 1)


@check.scenario
def your_second_derivatives(x, weight, eps, wanted, spread):
    return second_derivatives(RMSNorm.apply, x, weight, eps, wanted, spread)


@check.scenario
def gradients_after_change(name, x, weight, eps, pull, wanted):
    """Gradients for those of the two that are wanted, when 1 was added to `x` or `weight` between forward and backward; None where
    they are refused."""
    given = {"x": x.clone(), "weight": weight.clone()}
    leaves = [given[each].requires_grad_() for each in wanted]
    inner = {each: value * 1 for each, value in given.items()}
    y = RMSNorm.apply(inner["x"], inner["weight"], eps)
    with torch.no_grad():
        inner[name].add_(1)
    try:
        return torch.autograd.grad(y, leaves, pull)
    except RuntimeError:
        return None


def tensors_to_norm(seed):
    """x, weight, eps and a gradient that comes in, from small to large."""
    generator = torch.Generator().manual_seed(seed)
    some = torch.randint(2, 7, (2,), generator=generator).tolist()
    for shape, eps, dtype in (
        ((2, 1, 3), 0.3, torch.float64),
        ((1, 1), 1.0, torch.float32),
        ((7, 3), 1e-5, torch.float32),
        ((3, 4, 5), 1e-8, torch.float64),
        ((3, 4, 5), 1e-8, torch.float32),
        ((3, 4, 5), 1.0, torch.float32),
        ((*some, 2, 6), 0.1, torch.float64),
        ((2, 100), 1e-6, torch.float32),
        ((100, 3), 1e-6, torch.float64),
    ):
        x, pull = (torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))
        weight = torch.randn(shape[-1:], generator=generator, dtype=dtype)
        if shape == (3, 4, 5):
            x = x.clamp(-1, 1) * torch.tensor([[0, 1e-15, 1e-4, 1], [1e4, 1e3, 1e-12, 0], [1e-8, 100, 1e4, 1e-3]], dtype=dtype)[..., None]
            weight[1] = 0
        yield x, weight, eps, pull


def run_norm(*inputs):
    """The scenario; what the engine says about the gradients becomes a sentence."""
    try:
        return your_norm(*inputs)
    except RuntimeError as error:
        said = str(error)
        check.true(
            "number of gradients" not in said,
            "`backward` returns the wrong number of gradients: one for each argument of `forward` (x, weight, eps), None for `eps`.",
        )
        check.true(
            "invalid gradient" not in said,
            f"For x of shape {tuple(inputs[0].shape)} a gradient has the wrong shape: {said}. The one of the weight is summed over "
            "all axes of x but the last, of which there may be one or many.",
        )
        check.true(
            "view size" not in said,
            "x and the gradient that comes in may have strides that `view` cannot take: which function copies where it must?",
        )
        raise


def check_norm(x, weight, eps, pull):
    exact = [tensor.double() for tensor in (x, weight, pull)]
    expected = all_about(norm_by_definition, *exact[:2], eps, exact[2])
    ordinary = x.abs().max() < 100
    what = f"for x of shape {tuple(x.shape)} {'in' if ordinary else 'with rows from 0 to 1e4 in'} {x.dtype}, eps {eps:g}"
    rtol = 1e-4 if x.dtype == torch.float32 else 1e-7
    root = (exact[0].square().mean(-1, keepdim=True) + eps).sqrt()
    reach = ((exact[2] * exact[1]).abs() / root).amax(-1, keepdim=True)  # of a row of the gradient for x
    got = run_norm(x, weight, eps, pull)

    def compare(mine, right, of, hint, reach=reach):
        size = right.abs().amax(-1, keepdim=True)
        if of.startswith("the gradient of x"):
            size = torch.maximum(size, reach)
        if torch.is_tensor(mine) and mine.shape == right.shape and ((mine.double() - right).abs() <= 1e-3 * size).all():
            hint = f"that is nearly right; {rtol:g} is allowed here. Does every step keep the dtype of x, and is the formula exactly this one?"
        check.equal(mine, right.to(x.dtype), f"{of} {what}", hint, rtol=rtol, atol=rtol * size.numpy())

    hint = "the mean of squares over the last axis, eps under the root, then the weight"
    compare(got["value"], expected["value"], "`RMSNorm.apply`", hint)
    for tensor, after, name in zip((x, weight, pull), got["afterwards"], ("x", "the weight", "the gradient that comes in")):
        hint = "leave it alone: does one of your steps work in place?"
        check.equal(after, tensor, f"{name} after forward and backward {what}", hint)
    for_x, for_weight = got["gradients"]
    hint = "the weight meets the normalised x at every position: grad_output times that, summed over all positions"
    compare(for_weight, expected["gradients"][1], "the gradient of the weight", hint)
    hint = "the input works in two ways: directly, and through r, which depends on every entry of its row; and is `grad_output` (with the weight) in both?"
    if not ordinary:
        hint = "the rows are of very different size, and each has an r of its own"
    compare(for_x, expected["gradients"][0], "the gradient of x", hint)
    for question, hint in (
        ("gradients through two", "each call needs notes of its own: they belong on `ctx`, not on the class or in a global"),
        (
            "gradients, two forward passes first",
            "a forward pass with another eps came between, and its own backward never: which notes belong to which call, only `ctx` knows",
        ),
        ("gradients, other strides", "neither x nor the gradient that comes in lies in memory as its shape suggests"),
        ("gradients, one alone", "whether the other input requires a gradient must not matter"),
    ):
        for name, mine, right in zip(("x", "the weight"), got[question], expected[question]):
            said = f"No gradient reaches {name} where it alone requires one: the other input may be frozen, and this one still needs its gradient."
            check.true(mine is not None, said)
            compare(mine, right, f"the gradient of {name} ({question})", hint)
    reach_of_sum = (exact[1].abs() / root).amax(-1, keepdim=True)
    hint = "the gradient that comes in is one number repeated there, with strides of 0: which step needs others?"
    sums = your_gradients_of_sum(x, weight, eps), gradients_of_sum(norm_by_definition, *exact[:2], eps)
    for name, mine, right in zip(("x", "the weight"), *sums):
        compare(mine, right, f"the gradient of {name} at the sum of y", hint, reach_of_sum)

    right = dict(zip(("x", "weight"), expected["gradients"]))
    titles = {"x": "x", "weight": "the weight"}
    for wanted in (("x", "weight"), ("x",), ("weight",)):
        alone = "" if len(wanted) == 2 else ", which alone requires one"
        for name in ("x", "weight"):
            changed = gradients_after_change(name, x, weight, eps, pull, wanted)
            hint = "`ctx.save_for_backward(x, weight)` watches these two tensors and raises an error; an attribute (`ctx.x`) and `x.data` escape the watch"
            for each, mine in zip(wanted, changed or ()):
                compare(mine, right[each], f"the gradient of {titles[each]}{alone} (when {name} is changed in place after forward)", hint)
        for spread in (False, True) if ordinary else ():
            got = your_second_derivatives(x, weight, eps, wanted, spread)
            if got is None:
                continue
            hint = (
                "what `forward` computed or copied and saved, what comes about under `no_grad`, and what is detached (the gradient that comes in, too) is a "
                "constant to `backward`: compute from x, the weight and that gradient, with gradients on, or refuse with `@once_differentiable`"
            )
            seconds = second_derivatives(norm_by_definition, *exact[:2], eps, wanted)
            for each, mine, exactly in zip(wanted, got, seconds):
                of = f"the second derivative for {titles[each]}{alone} {what}{' with other strides' if spread else ''}"
                check.equal(mine, exactly.to(x.dtype), of, hint, rtol=1e-3 if rtol == 1e-4 else None)


with check.exercise("rms_norm"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    for seed in seeds:
        for case in tensors_to_norm(seed):
            check_norm(*case)
            hint = "write the formula of the gradients yourself"
            check.equal(asked_of_autograd(*case), 0, "how often `backward` asks autograd for gradients", hint)


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Call $n = x / r$, so $y = n\,w$. What arrives for $n$ is $h = $ `grad_output` $\cdot\, w$. Now $n_i$ depends on $x_i$
# directly (factor $1/r$) and on every $x_j$ of the row through $r$. What is $\partial r / \partial x_j$?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `ctx.save_for_backward` and `ctx.saved_tensors` for tensors, `ctx.eps` for the number; `mean(dim=-1, keepdim=True)` over
# a row, `reshape(-1, d).sum(0)` over all positions. $\partial r / \partial x_j = x_j / (d\,r) = n_j / d$.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# With $h$ as in hint 1, the gradient of row $x$ is $\frac{1}{r}\left(h - n \cdot \mathrm{mean}(h\,n)\right)$, the mean taken over the row.
#
# ```python
# x, weight = ctx.saved_tensors
# inverse = torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + ctx.eps)
# normal, grad_normal = x * inverse, grad_output * weight
# along = (grad_normal * normal).mean(dim=-1, keepdim=True)
# ```
# Put the formula together, add the gradient of the weight, and return three things.
# </details>

# %% [markdown]
# What does the backward pass look like? On the left, points in the plane and the gradient of one loss at each of them,
# once directly and once through your RMSNorm. Through it the arrows have nearly no part along the radius: the length of
# $x$ does not matter to $y$, so no gradient asks to change it. On the right, what is kept for backward: "a backward pass of
# your own needs less memory" is the usual reason to write one, and the first claim that we measure.

# %%
side = torch.linspace(-2, 2, 14)
points = torch.cartesian_prod(side, side)
points = points[points.norm(dim=1) > 0.4].requires_grad_()
goal = torch.tensor([1.0, 0.6])


def loss_at(y: torch.Tensor) -> torch.Tensor:
    return (y - goal).pow(2).sum()


def normed(x: torch.Tensor) -> torch.Tensor:
    return RMSNorm.apply(x, torch.ones(x.shape[-1]), 1e-6)


def kept_bytes(function) -> int:
    """Bytes of the different tensors that `function()` keeps for backward."""
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t):
        function()
    return sum(t.nbytes for t in kept.values())


figure, panels = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
for panel, function, title in zip(panels, (lambda x: x, normed), ("downhill", "downhill, through RMSNorm")):
    (arrows,) = torch.autograd.grad(loss_at(function(points)), points)
    arrows = -arrows / arrows.norm(dim=1, keepdim=True).clamp(min=1e-6)
    panel.quiver(*points.detach().T, *arrows.T, points.detach().norm(dim=1), cmap="viridis", scale=25)
    panel.set(title=title, xlabel="x[0]", ylabel="x[1]", aspect="equal")
batch, gains = torch.randn(64, 512, requires_grad=True), torch.ones(512, requires_grad=True)
bytes_kept = {
    "autograd": kept_bytes(lambda: batch * torch.rsqrt(batch.square().mean(-1, keepdim=True) + 1e-6) * gains),
    "your Function": kept_bytes(lambda: RMSNorm.apply(batch, gains, 1e-6)),
}
panels[2].bar(bytes_kept.keys(), [n / 1024 for n in bytes_kept.values()], color=["tab:grey", "tab:green"])
panels[2].set(title="kept for backward, x of 64 x 512", ylabel="KiB")
plt.show()
claims.record(
    "a backward pass of your own needs less memory",
    claimed="less",
    measured=f"{bytes_kept['autograd'] / bytes_kept['your Function']:.1f}x less",
    holds=bytes_kept["your Function"] < bytes_kept["autograd"],
    how="bytes kept for backward, RMSNorm of 64 x 512",
)

# %% [markdown]
# ## 7 · Functions of functions
#
# `torch.func` looks at differentiation from the other side: not as notes on a tensor, but as a function that is made from
# a function. Three of them go together.
#
# | | takes | gives back a function that returns |
# |---|---|---|
# | `grad(f)` | `f` with a scalar result | the gradient for the first argument, with its structure (a tensor, or a dict of tensors) |
# | `jacrev(f)` | `f` from a vector to a vector | the matrix $J_{ij} = \partial f_i / \partial x_j$ |
# | `vmap(f)` | `f` for **one** example | the same for many, stacked along a new axis, without a loop |
#
# You write the mathematics for one example, and `vmap` adds the axis. `in_dims` says for each argument which axis holds
# the examples, and `None` for what all of them share.


# %%
# NBVAL_CHECK_OUTPUT
def height_at(p: torch.Tensor, steepness: torch.Tensor) -> torch.Tensor:
    return steepness * (p[0] ** 2 + 3 * p[1] ** 2)


where = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0]])
print("one slope:", grad(height_at)(where[0], torch.tensor(1.0)).tolist())
print("three slopes:", vmap(grad(height_at), in_dims=(0, None))(where, torch.tensor(1.0)).tolist())
print("second derivatives at one point:", jacrev(grad(height_at))(where[2], torch.tensor(1.0)).tolist())

# %% [markdown]
# ### Exercise 7 · One example at a time, all at once (`derivatives`, 4 points, 30 minutes, difficulty 3 of 3)
#
# `per_sample_gradients(loss_of, parameters, inputs, targets)`: `backward` gives the gradient of the mean loss, and the
# single examples can no longer be told apart in it. Differential privacy, influence scores and noise detection need them.
# `loss_of(parameters, x, y)` is the scalar loss of **one** example. `parameters` is a dict of tensors that do not require
# gradients and all play a part in the loss, with names in any order; `inputs` has shape `[n, ...]`, `targets` `[n, ...]`, and n
# is 1 to 500; the parameters hold at most 1,000 numbers in all.
#
# - It returns a dict with the same names; the entry of a name is about that parameter, with shape
#   `[n, *shape of that parameter]`. <!-- rule: names -->
# - Entry `[i]` is the gradient of the loss of example `i` alone: of `inputs[i]` and `targets[i]`. <!-- rule: each -->
#
# `newton(f, points, steps)`: Newton's method finds where $f(p) = 0$, for many starting points at once. `f` takes **one**
# point `[d]` and returns `[d]`; `points` has shape `[n, d]`, with n 1 to 500 and d 1 to 6; `steps` is 0 to 10. A coordinate of the
# points, or of `f`, may be in a unit of its own: points of size 1e-9, values of size 1e-12. Wherever a step starts, $J$ has an
# inverse (with its rows and columns in suitable units its condition number is below 100); zeros may stand on its diagonal.
#
# - One step is $p \leftarrow p - J(p)^{-1} f(p)$, with $J$ the Jacobian of $f$ at $p$: row $i$ holds the derivatives of
#   $f_i$. It is taken whole: it may be 1e80 long, or make $f$ 1e15 times as large. <!-- rule: step -->
# - It returns the points `[n, d]` after all `steps` steps (none is left out because it is short), each with the Jacobian of where it starts. (With 0 steps the
#   given tensor itself may come back.) <!-- rule: steps -->
#
# And for both: everything is float32 or everything float64 (targets may be `int64`), both functions given are made of
# tensor operations without in-place changes, results are right to 1e-4 (float32) or 1e-6 (float64) of the largest number, and
#
# - the number of tensor operations does not grow with `n`, as it does in a loop over examples, or over blocks of them (as
#   `chunk_size` makes one); <!-- rule: no_loop, reported -->
# - parameters, inputs, targets and points stay as they were, and do not require gradients
#   afterwards. <!-- rule: unchanged -->


# %% exercise="derivatives" minutes=30 difficulty=3
def per_sample_gradients(loss_of, parameters: dict, inputs: torch.Tensor, targets: torch.Tensor) -> dict:
    """Gradient of the loss of every single example: a dict of tensors [n, *parameter shape]."""
    ### BEGIN SOLUTION
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)
    ### END SOLUTION


def newton(f, points: torch.Tensor, steps: int) -> torch.Tensor:
    """`steps` Newton steps towards f(p) = 0 from every one of points [n, d]."""

    ### BEGIN SOLUTION
    def step(p):
        return p - torch.linalg.solve(jacrev(f)(p), f(p))

    for _ in range(steps):
        points = vmap(step)(points)
    return points
    ### END SOLUTION


# %% tests="derivatives" points=4
@check.shared
def example_loss(kind):
    """The loss of one example: three numbers to predict, or one of three classes."""

    def distance(parameters, x, y):
        return ((parameters["matrix"] @ x).tanh() + parameters["shift"] - y).pow(2).sum()

    def two_layers(parameters, x, y):
        return F.cross_entropy(parameters["scale"] * (parameters["out"] @ (parameters["hidden"] * x).sum((1, 2)).tanh()), y)

    return {"distance": distance, "two layers": two_layers}[kind]


@check.shared
def curved(slopes, unit=1.0, size=1.0, turn=0):
    """A function from R^d to R^d, of p in units of `unit`; there its Jacobian is `slopes` with 3 p² added on the diagonal, times `size`.

    The equations are moved on by `turn`: the last ones come first.
    """
    return lambda p: size * (slopes @ (p / unit) + (p / unit) ** 3 - 1).roll(turn)


@check.scenario
def your_gradients(kind, parameters, inputs, targets):
    return per_sample_gradients(example_loss(kind), parameters, inputs, targets)


@check.scenario
def your_newton(slopes, points, steps, unit=1.0, size=1.0, turn=0):
    return newton(curved(slopes, unit, size, turn), points, steps)


@check.scenario
def your_newton_away(slopes, points, steps):
    """From points where each step leads further away from the solution, 0."""
    return newton(lambda p: slopes @ p.atan(), points, steps)


@check.scenario
def your_newton_cubic(slopes, points):
    """One step, long where the curve is nearly flat and short where it is nearly 0."""
    return newton(lambda p: slopes @ (p**3 - 2 * p + 2), points, 1)


@check.scenario
def count_operations(name, n, d):
    """Tensor operations on `n` examples, all alike, of `d` numbers each."""
    if name == "newton":
        return operations(lambda: newton(curved(torch.eye(d)), torch.ones(n, d), 2))
    parameters = {"shift": torch.ones(d), "matrix": torch.ones(d, d)}
    return operations(lambda: per_sample_gradients(example_loss("distance"), parameters, torch.ones(n, d), torch.ones(n, d)))


def gradients_one_by_one(kind, parameters, inputs, targets):
    results = []
    for x, y in zip(inputs, targets):
        leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
        results.append(torch.autograd.grad(example_loss(kind)(leaves, x, y), tuple(leaves.values())))
    return {name: torch.stack(each) for name, each in zip(parameters, zip(*results))}


def newton_one_by_one(slopes, points, steps):
    """With the Jacobian written down in place of derived, and its inverse."""
    for _ in range(steps):
        inverses = [torch.linalg.inv(slopes + torch.diag(3 * p**2)) for p in points]
        points = torch.stack([p - inverse @ curved(slopes)(p) for p, inverse in zip(points, inverses)])
    return points


def examples(seed):
    """Kind of loss, parameters, inputs and targets: from few to many."""
    generator = torch.Generator().manual_seed(seed)
    for n, dtype in ((1, torch.float64), (4, torch.float64), (3, torch.float32), (11, torch.float64)):

        def draw(*shape):
            return torch.randn(shape, generator=generator, dtype=dtype)

        yield "distance", {"shift": draw(3), "matrix": draw(3, 5)}, draw(n, 5), draw(n, 3)
        targets = torch.randint(0, 3, (n,), generator=generator)
        yield "two layers", {"out": draw(3, 7), "scale": draw(), "hidden": draw(7, 2, 4)}, draw(n, 2, 4), targets


def starts_of_newton(seed):
    """Slopes (a matrix that is not symmetric), starting points and steps: from few to many."""
    generator = torch.Generator().manual_seed(seed)
    for n, d, steps, dtype in (
        (1, 1, 1, torch.float64),
        (5, 2, 1, torch.float64),
        (4, 3, 1, torch.float32),
        (2, 6, 1, torch.float32),
        (3, 3, 0, torch.float32),
        (3, 3, 3, torch.float64),
        (70, 2, 5, torch.float32),
    ):
        slopes = torch.rand(d, d, generator=generator, dtype=dtype).triu(1)
        if n % 2:
            slopes = slopes - slopes.T / d
        yield 2 * torch.eye(d, dtype=dtype) + slopes, torch.randn(n, d, generator=generator, dtype=dtype), steps


def check_no_loop(name):
    most = 6 if name == "newton" else 31
    for many, d in ((6, 2), (500, 2), (500, most)):
        small, large = count_operations(name, 2, d), count_operations(name, many, d)
        said = f"`{name}` takes {small} tensor operations for 2 examples and {large} for {many}: is there a loop over them, or over blocks?"
        check.true(large <= small, said)


def check_per_sample_gradients():
    for seed in seeds:
        for kind, parameters, inputs, targets in examples(seed):
            n, expected = len(inputs), gradients_one_by_one(kind, parameters, inputs, targets)
            what = f"`per_sample_gradients` of {n} example{'s' * (n > 1)}, loss {kind!r}"
            try:
                got, (_, *after) = check.after(your_gradients, kind, parameters, inputs, targets)
            except ValueError as error:
                hint = "All examples share the parameters: `in_dims` says so with None, and 0 for what they bring along."
                check.true("vmap" not in str(error), f"your code raised ValueError: {error}. {hint}")
                raise
            check.kind(got, dict, f"the result of {what}", "a gradient for each parameter, by name")
            check.equal(sorted(got), sorted(parameters), f"the names in the result of {what}")
            for name, parameter in parameters.items():
                hint = "one gradient for each example, not one for their mean or sum"
                for other in parameters:
                    if other != name and torch.is_tensor(got[name]) and got[name].shape == expected[other].shape:
                        hint = f"it may be that of {other!r}: a dict keeps the order in which names were put in, and `sorted` makes another"
                check.shape(got[name], (n, *parameter.shape), f"the result for {name!r} of {what}", hint)
                hint = "entry [i] is the gradient from example i alone: each example has its own input and its own target"
                rtol = 1e-6 if parameter.dtype == torch.float64 else 1e-4
                check.equal(got[name], expected[name], f"the result for {name!r} of {what}", hint, rtol=rtol)
            for name, mine, given in zip(("parameters", "inputs", "targets"), after, (parameters, inputs, targets)):
                check.equal(mine, given, f"after {what} {name}", "leave them alone")
            given = {**after[0], "inputs": after[1], "targets": after[2]}
            asked = [name for name, value in given.items() if value.requires_grad]
            check.equal(asked, [], f"which of the given tensors require gradients after {what}", "they are not yours: take copies")
    check_no_loop("per_sample_gradients")


def name_of(points, steps):
    n, d = points.shape
    return f"`newton` with {steps} step{'s' * (steps != 1)} from {n} point{'s' * (n > 1)} in {d} dimension{'s' * (d > 1)}"


def check_steps(slopes, points, steps):
    what, expected = name_of(points, steps), newton_one_by_one(slopes, points, steps)
    got, (_, points_after, _) = check.after(your_newton, slopes, points, steps)
    check.shape(got, points.shape, what, "the function takes one point: what adds the axis of points?")
    hint = (
        "minus the solution s of J s = f(p); row i of J holds the derivatives of f_i "
        "(is J transposed, its inverse missing, the sign turned?)"
    )
    if steps != 1:
        hint = "each step starts where the last one ended, with a new Jacobian"
    if torch.is_tensor(got) and got.isnan().any():
        hint = "where f is 0 already the step is 0, and J has an inverse everywhere: what is infinite, or 0 / 0, on the way?"
    check.equal(got, expected, what, hint, rtol=1e-6 if points.dtype == torch.float64 else 1e-4)
    check.equal(points_after, points, f"the given points after {what}", "leave them alone")
    check.true(not points_after.requires_grad, f"The given points require gradients after {what}: leave them alone.")
    if points.shape[1] > 1:
        got = your_newton(slopes, points, steps, turn=1)
        hint = "the order of the equations must not matter: where J has zeros on its diagonal, elimination needs other rows first, as `torch.linalg.solve` takes them"
        check.equal(got, expected, f"{what}, the last equation put first", hint, rtol=1e-6 if points.dtype == torch.float64 else 1e-4)


def check_steps_away(seed, steps):
    """Where Newton overshoots; the slopes cancel, so the points that are expected do not depend on them."""
    points = 2 + torch.rand(3, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    points[1] = 0  # there f is 0: the point stays
    got = your_newton_away(torch.tensor([[2, 0.7], [0, 2]], dtype=torch.float64), points, steps)
    expected = points
    for _ in range(steps):
        expected = expected - (1 + expected**2) * expected.atan()
    hint = "a step is p - s, with J s = f(p), wherever it leads: it is not made shorter where f grows or where it is long, nor left out"
    check.equal(got, expected, f"{name_of(points, steps)} where each step makes f larger", hint, rtol=1e-6)


def check_long_and_short_steps():
    """The slopes cancel here, too."""
    flat = torch.tensor([[0.82, 0.821], [0.8165, 0.81651]], dtype=torch.float64)
    near = -1.7692923542386314 * torch.tensor([[1 - 8e-6, 1 + 8e-6], [1 + 9e-6, 1 - 7e-6]], dtype=torch.float64)
    for points, where, hint in (
        (flat, "f is nearly flat", "from the first the step is 53 long and f becomes a hundred thousand times as large: it is taken all the same"),
        (near, "f is nearly 0", "the step is a hundred-thousandth of the points: it is taken all the same, and they become right to ten digits"),
    ):
        expected = points - (points**3 - 2 * points + 2) / (3 * points**2 - 2)
        got = your_newton_cubic(torch.tensor([[2, 0.7], [0, 2]], dtype=torch.float64), points)
        check.equal(got, expected, f"{name_of(points, 1)} where {where}", hint, rtol=1e-6)


def check_units(slopes, points, steps):
    d, expected = points.shape[1], newton_one_by_one(slopes, points, steps)
    odd, ones = torch.arange(d) % 2 == 1, torch.ones(d, dtype=points.dtype)
    units = [(1e-9, 1.0), (1.0, 1e-12), (1e-9, 1e-12)]
    if d > 1:
        units += [(1.0, ones.masked_fill(odd, 1e-12)), (ones.masked_fill(odd, 1e-9), 1.0), (ones.masked_fill(odd, 1e-9), ones.masked_fill(~odd, 1e-12))]
    hint = (
        "other units must not matter: what is added to J, a limit below which f, a step, J or a part of J counts as 0 "
        "(a pseudo-inverse has one), and a fixed distance for differences are small beside some functions only"
    )
    for (unit, size), turn in itertools.product(units, range(min(d, 2))):
        got = your_newton(slopes, unit * points, steps, unit, size, turn)
        sizes = [f"{x:g}" if isinstance(x, float) else f"1 and {x.min().item():g} by coordinate" for x in (unit, size)]
        where = f"{name_of(points, steps)} of size {sizes[0]}, with values of size {sizes[1]}"
        check.equal(got, unit * expected, where, hint, rtol=1e-6 if points.dtype == torch.float64 else 1e-4)


def check_newton():
    for seed in seeds:
        for start in starts_of_newton(seed):
            check_steps(*start)
        check_steps_away(seed, 2)
        for *start, steps in starts_of_newton(seed):
            if steps:
                check_units(*start, steps)
        check_steps_away(seed, 7)
    check_long_and_short_steps()
    check_no_loop("newton")


with check.exercise("derivatives"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"per_sample_gradients": check_per_sample_gradients, "newton": check_newton})
check.points(4)


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Write both for one example first. Then ask of each argument: does every example bring its own, or do all share it?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `vmap(grad(...), in_dims=...)`; `jacrev(f)(p)` for the matrix; `torch.linalg.solve(A, b)` solves $A s = b$ without an
# inverse.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# vmap(grad(loss_of), in_dims=(None, 0, 0))      # parameters are shared, inputs and targets are not
#
# def step(p):                                   # one point
#     return p - torch.linalg.solve(jacrev(f)(p), f(p))
# ```
# Call the first with the three arguments; apply `vmap(step)` to the points, `steps` times.
# </details>

# %% [markdown]
# **Who is mislabelled?** 40 of the 1,797 handwritten digits of scikit-learn get a wrong label. A linear classifier is trained
# on all of them with your `descend`, not knowing which. Then every example is asked how hard it pulls at the parameters:
# the norm of its own gradient. Wrong labels pull against everyone else.

# %%
from sklearn.datasets import load_digits

digits = load_digits()
images, truth = torch.tensor(digits.images, dtype=torch.float32).flatten(1) / 16, torch.tensor(digits.target)
generator = torch.Generator().manual_seed(24)
spoiled = torch.randperm(len(truth), generator=generator)[:40]
labels = truth.clone()
labels[spoiled] = (truth[spoiled] + torch.randint(1, 10, (40,), generator=generator)) % 10


def digit_loss(parameters: dict, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of one image [64] or of a batch [n, 64]."""
    return F.cross_entropy(x @ parameters["weight"].T + parameters["bias"], y)


classifier = {"weight": torch.zeros(10, 64, requires_grad=True), "bias": torch.zeros(10, requires_grad=True)}
curve = descend(lambda: digit_loss(classifier, images, labels), classifier.values(), rate=1.0, steps=200)
pulls = per_sample_gradients(digit_loss, {name: p.detach() for name, p in classifier.items()}, images, labels)
norms = sum(g.flatten(1).pow(2).sum(1) for g in pulls.values()).sqrt()
suspects = norms.argsort(descending=True)
found = torch.isin(suspects[:40], spoiled).sum().item()
print(
    f"loss {curve[0]:.2f} -> {curve[-1]:.2f};  of the 40 strongest pulls {found} are wrong labels (by chance it would be about 1)"
)
figure, panels = plt.subplots(1, 12, figsize=(14, 1.8), layout="constrained")
for panel, i in zip(panels, suspects.tolist()):
    panel.imshow(images[i].view(8, 8), cmap="gray_r")
    panel.set_title(f"label {labels[i]}", fontsize=10, color="tab:red" if labels[i] != truth[i] else "tab:green")
    panel.set(xticks=[], yticks=[])
figure.suptitle("the twelve strongest pulls (red: the label is wrong)")
plt.show()

# %% [markdown]
# **A map of Newton's method.** The equation $z^3 = 1$ has three solutions in the complex plane. Write $z = x + iy$ as a point,
# start from 76,800 places, and colour each by the solution it ends at, darker the longer it took. The borders are a
# fractal: wherever two of the colours meet, the third is there too.


# %%
def cubic(p: torch.Tensor) -> torch.Tensor:
    """Real and imaginary part of z ** 3 - 1."""
    x, y = p[0], p[1]
    return torch.stack([x**3 - 3 * x * y**2 - 1, 3 * x**2 * y - y**3])


roots = torch.tensor([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]], dtype=torch.float64)
y, x = torch.meshgrid(torch.linspace(-1.2, 1.2, 240).double(), torch.linspace(-1.6, 1.6, 320).double(), indexing="ij")
points = torch.stack([x.flatten(), y.flatten()], dim=1)
needed = torch.zeros(len(points))
for _ in range(24):
    points = newton(cubic, points, 1)
    needed += torch.cdist(points, roots).amin(1) > 1e-3
shade = 1 - (needed / 16).clamp(max=0.85)
colours = torch.tensor([[0.93, 0.35, 0.35], [0.30, 0.65, 0.95], [0.98, 0.80, 0.30]])[torch.cdist(points, roots).argmin(1)]
figure, panel = plt.subplots(figsize=(6.4, 4.8), layout="constrained")
panel.imshow((colours * shade[:, None]).view(240, 320, 3), extent=(-1.6, 1.6, -1.2, 1.2), origin="lower")
panel.plot(*roots.T, "wo", markersize=5)
panel.set(xlabel="x, real part", ylabel="y, imaginary part", title="where Newton's method ends, by starting point")
plt.show()

# %% [markdown]
# ## 8 · Write the tests
#
# A tensor function can be wrong in ways that no look at its values shows: it may write into its input, change the dtype,
# cut the graph, or have right values and wrong gradients. `torch.testing.assert_close` compares shape, dtype, device and
# values in one go; `torch.autograd.gradcheck` compares gradients, number by number or, with `fast_mode=True`, a random
# combination of them, which takes a fraction of the time.
#
# ### Exercise 8 · Tests for `normalise` (`normalise_tests`, 3 points, 25 minutes, difficulty 2 of 3)
#
# A colleague will write `normalise(x, dim)`. This is what it promises, for `x` of dtype `float32` or `float64` with one to
# four axes, contiguous, with axes swapped or with gaps in memory, and each axis `dim` of it, counted from the front or (-1, -2, …)
# from the end. No axis is empty, all numbers are finite, and the vectors along `dim` have lengths from 0.000001 to a million, or 0.
#
# - It divides every vector along `dim` by its Euclidean length, so that its length becomes 1 (to 1e-5 in float32, 1e-8 in
#   float64), the shortest as well as the longest. <!-- rule: length -->
# - It does so along the axis `dim`, whichever that is. <!-- rule: axis -->
# - A vector of zeros stays a vector of zeros, alone or beside others. <!-- rule: zeros -->
# - Shape and dtype are those of `x`. <!-- rule: dtype -->
# - `x` itself is not changed, not at a single place. <!-- rule: unchanged -->
# - Gradients flow back to `x`, along whichever axis, and they are right for every vector whose length is not 0, the shortest
#   as well as the longest. At a vector of zeros they may be anything, also infinite or NaN. <!-- rule: gradients -->
#
# Write `check_normalise(normalise)`. It calls the function it is given with inputs of your choice, of the kinds above.
#
# - If a promise is broken it raises an error: an `assert`, or one of the two functions above. What it returns is
#   ignored. <!-- rule: raises -->
# - If all promises are kept it raises nothing. Correct implementations are off by up to 1e-5 (float32) or 1e-8
#   (float64), in gradients by as much of 1 / length, and differ in what they do where nothing is promised: at vectors shorter than 0.000001, say,
#   or in `float16`. <!-- rule: no_false_alarm -->
#
# Your tests are run on correct implementations and on twenty-four broken ones, some of them hidden. A correct one that you turn
# down costs all points. Otherwise the share of the broken ones that you catch is the share of the points that you get. So
# ask of every input: which mistake could it not see? The input in the stub is a start; change it as you like. Up to 1,000
# calls of the function in one run of your tests are sure to end in time (`gradcheck` calls it, too).


# %% exercise="normalise_tests" minutes=25 difficulty=2 seconds=120
def check_normalise(normalise) -> None:
    """Raise an error if `normalise(x, dim)` breaks a promise."""
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    ### BEGIN SOLUTION
    x[0] = 0
    x[1] *= 1e-3
    x[2] *= 1e5
    for dim in range(x.ndim):
        torch.autograd.gradcheck(lambda v: normalise((v * x)[1:], dim), torch.rand_like(x).requires_grad_(), fast_mode=True)
    for x in (x, x.float(), x.flatten(), torch.zeros_like(x)):
        for dim in range(-x.ndim, x.ndim):
            for given in (x.clone(), other_strides(x)):
                length = x.norm(dim=dim, keepdim=True)
                torch.testing.assert_close(normalise(given, dim), torch.where(length > 0, x / length, x))
                assert torch.equal(given, x), "the input was changed"
    ### END SOLUTION


# %% tests="normalise_tests" points=3
def by_library(x, dim):
    return F.normalize(x, dim=dim)


def by_hand(x, dim):
    square = x.square().sum(dim, keepdim=True)
    return x * torch.where(square > 0, square, 1).rsqrt()


def by_choosing(x, dim):
    length = x.norm(dim=dim, keepdim=True)
    return torch.where(length > 0, x / length, 0)  # at zeros the gradient is NaN


def within_the_promise(x, dim):
    if x.dtype not in (torch.float32, torch.float64) or x.ndim == 0 or x.numel() == 0 or not x.isfinite().all():
        raise ValueError("nothing is promised for such an x")
    length = x.norm(dim=dim, keepdim=True)
    return x / length.clamp(min=1e-7, max=1e7)


def a_little_too_long(x, dim):
    return F.normalize(x, dim=dim) * (1 + (9e-6 if x.dtype == torch.float32 else 9e-9))


def other_length(x, dim):
    return F.normalize(x, p=1, dim=dim)


def last_axis(x, dim):
    return F.normalize(x, dim=-1)


def nan_for_zeros(x, dim):
    return x / x.norm(dim=dim, keepdim=True)


def single_precision(x, dim):
    return F.normalize(x.float(), dim=dim)


def overwrites(x, dim):
    result = F.normalize(x, dim=dim)
    x.data.copy_(result)
    return result


def cut_from_graph(x, dim):
    return F.normalize(x.detach(), dim=dim)


def constant_length(x, dim):
    return x / x.detach().norm(dim=dim, keepdim=True).clamp(min=1e-12)


def constant_on_other_axes(x, dim):
    return F.normalize(x, dim=dim) if dim % x.ndim == x.ndim - 1 else constant_length(x, dim)


def last_from_the_end(x, dim):
    return F.normalize(x, dim=max(dim, -1))


def one_order_of_memory(x, dim):
    strides = [math.prod(x.shape[i + 1 :]) for i in range(x.ndim)]
    return F.normalize(x.as_strided(x.shape, strides), dim=dim)


with check.exercise("normalise_tests"):
    right = {
        "F.normalize": by_library,
        "written by hand": by_hand,
        "with NaN as the gradient at zeros": by_choosing,
        "keeps the promises, and does as it likes where nothing is promised": within_the_promise,
        "off by nine tenths of what is allowed": a_little_too_long,
    }
    wrong = {
        "divides by the sum of absolute values": other_length,
        "normalises the last axis whatever `dim` says": last_axis,
        "gives NaN for a vector of zeros": nan_for_zeros,
        "returns float32 for float64": single_precision,
        "writes its result into the input": overwrites,
        "cuts its result from the graph": cut_from_graph,
        "treats the length as a constant in the gradient": constant_length,
        "treats the length as a constant in the gradient along any axis but the last": constant_on_other_axes,
        "takes every axis counted from the end for the last one": last_from_the_end,
        "reads the numbers as if they lay one behind the other in memory": one_order_of_memory,
    }

    ### BEGIN HIDDEN TESTS
    def by_transposing(x, dim):
        last = x.transpose(dim, -1)
        length = torch.linalg.vector_norm(last, dim=-1, keepdim=True)
        return (last / length.masked_fill(length == 0, 1)).transpose(dim, -1)

    def whole_tensor(x, dim):
        return x / x.norm().clamp(min=1e-12)

    def first_axis(x, dim):
        return F.normalize(x, dim=0)

    def short_stays_short(x, dim):
        return F.normalize(x, dim=dim, eps=0.02)

    def one_more_axis(x, dim):
        result = F.normalize(x, dim=dim)
        return result[None] if x.ndim == 1 else result

    def long_stays_long(x, dim):
        return x / x.norm(dim=dim, keepdim=True).clamp(min=1e-12, max=2e3)

    def nan_beside_others(x, dim):
        return x / x.norm(dim=dim, keepdim=True) if x.any() else x.clone()

    def nan_alone(x, dim):
        return F.normalize(x / x.abs().max(), dim=dim, eps=1e-30)

    def double_precision(x, dim):
        return F.normalize(x.double(), dim=dim)

    def one_axis_by_sum(x, dim):
        return F.normalize(x, p=1 if x.ndim == 1 else 2, dim=dim)

    def without_signs(x, dim):
        return F.normalize(x, dim=dim).abs()

    def constant_if_short(x, dim):
        length = x.norm(dim=dim, keepdim=True).clamp(min=1e-12)
        return x / torch.where(length < 0.02, length.detach(), length)

    def constant_if_long(x, dim):
        length = x.norm(dim=dim, keepdim=True).clamp(min=1e-12)
        return x / torch.where(length > 2e3, length.detach(), length)

    def overwrites_if_contiguous(x, dim):
        result = F.normalize(x.clone(), dim=dim)
        x.data.contiguous().copy_(result)
        return result

    def marks_zeros(x, dim):
        result = F.normalize(x, dim=dim)
        x.data[x == 0] = 1e-30
        return result

    right |= {"by transposing": by_transposing}
    wrong |= {
        "divides by one length for the whole tensor": whole_tensor,
        "normalises the first axis whatever `dim` says": first_axis,
        "leaves short vectors too short": short_stays_short,
        "leaves long vectors too long": long_stays_long,
        "gives NaN for a vector of zeros beside others": nan_beside_others,
        "gives NaN where x holds nothing but zeros": nan_alone,
        "returns float64 for float32": double_precision,
        "divides by the sum of absolute values where x has one axis": one_axis_by_sum,
        "treats the length of short vectors as a constant in the gradient": constant_if_short,
        "treats the length of long vectors as a constant in the gradient": constant_if_long,
        "returns shape [1, n] where x has shape [n]": one_more_axis,
        "has the right lengths, and no negative numbers": without_signs,
        "writes 1e-30 into the input where it holds zeros": marks_zeros,
        "writes its result into the input where that lies in order in memory": overwrites_if_contiguous,
    }
    ### END HIDDEN TESTS
    check.catches(check_normalise, right, wrong)
check.points(3)


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Go through the promises one by one, and for each think of an implementation that breaks this one and keeps all the
# others. Which input shows it? With numbers of ordinary size, on one axis, most of them look right. Then do the same with what
# `x` and `dim` may be: which dtypes, how many axes, counted from where, in which order in memory?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `torch.testing.assert_close(actual, expected)` for shape, dtype and values; `torch.equal(x, copy)` for an input that must
# not change; `torch.autograd.gradcheck(function, input)` with a `float64` input that requires gradients and holds no zeros. It
# needs an input of ordinary size; for other lengths let the function that it checks multiply first.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# Make one slice of `x` zero (`x[0] = 0`), one short (`x[1] *= 1e-3`) and one long. Then:
#
# ```python
# for dim in range(x.ndim):
#     torch.autograd.gradcheck(lambda v: normalise((v * x)[1:], dim), ...)     # v is of ordinary size, x[0] is zero
# for x in (x, x.float(), ...):          # and a tensor with one axis, and one of nothing but zeros
#     for dim in range(-x.ndim, x.ndim):
#         for given in (x.clone(), other_strides(x)):
#             length = x.norm(dim=dim, keepdim=True)
#             expected = torch.where(length > 0, x / length, x)
#             ...   # compare normalise(given, dim) with expected, and given with x
# ```
# </details>

# %% [markdown]
# ## 9 · Debug clinic
#
# Three programs, taken from the kinds of question that fill help forums. Each runs without an error. Look at what each
# one shows, find the cause, then write the repaired function.
#
# **Patient 1: the film that does not move.** A camera driver delivers frames. Four are collected, and all four look the same.


# %%
class Camera:
    """Films a bright square that moves to the right. `read()` gives a uint8 array [height, width].

    Like many real drivers it owns one buffer and writes every frame into it.
    """

    def __init__(self, height: int, width: int):
        self.buffer = np.zeros((height, width), dtype=np.uint8)
        self.frames = 0

    def read(self) -> np.ndarray:
        self.buffer[:] = 20
        self.buffer[2:5, 3 * self.frames : 3 * self.frames + 3] = 250
        self.frames += 1
        return self.buffer


def record_broken(camera, count):
    frames = [torch.from_numpy(camera.read()) for _ in range(count)]
    return torch.stack(frames).float() / 255


def show_film(film: torch.Tensor, title: str) -> None:
    figure, panels = plt.subplots(1, len(film), figsize=(10, 1.8), layout="constrained")
    for i, (panel, frame) in enumerate(zip(panels, film)):
        panel.imshow(frame, cmap="gray", vmin=0, vmax=1)
        panel.set(title=f"frame {i}", xlabel="column", ylabel="row")
    figure.suptitle(title)
    plt.show()


show_film(record_broken(Camera(7, 15), 4), "what `record_broken` recorded")

# %% [markdown]
# **Patient 2: the batch that stays at home.** A batch goes to a device, and its floats to half precision. You need no GPU to
# see the faults: `meta` shows them everywhere.


# %%
def to_device_broken(batch, device, dtype):
    for value in batch.values():
        if isinstance(value, torch.Tensor):
            value.to(device, dtype)
    return batch


batch = {"pixels": torch.rand(2, 3), "ids": torch.tensor([[1, 1001]]), "name": "first"}
moved = to_device_broken(batch, "meta", torch.bfloat16)
print("devices after the move:", {name: str(value.device) for name, value in moved.items() if name != "name"})
print("token ids after a cast to bfloat16 as well:", batch["ids"].to(torch.bfloat16).long().tolist())

# %% [markdown]
# **Patient 3: the average that never forgets.** A running average of the loss, for a progress bar. The program takes more memory
# with every step. The picture counts the notes behind the average.


# %%
def smooth_broken(losses, keep):
    curve, average = [], None
    for loss in losses:
        average = loss if average is None else keep * average + (1 - keep) * loss
        curve.append(average)
    return [value.item() for value in curve]


def notes_behind(tensor: torch.Tensor) -> int:
    """How many notes of autograd a tensor keeps alive."""
    seen, waiting = set(), [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [parent for parent, _ in node.next_functions]
    return len(seen)


slope = torch.tensor(2.0, requires_grad=True)
average, sizes = None, []
for step in range(1, 41):
    loss = (slope * step - 1).tanh().pow(2)
    average = loss if average is None else 0.9 * average + 0.1 * loss
    sizes.append(notes_behind(average))
figure, panel = plt.subplots(figsize=(6, 2.6), layout="constrained")
panel.plot(range(1, 41), sizes)
panel.set(xlabel="step", ylabel="notes kept alive", title="one average, and all that hangs on it")
plt.show()

# %% [markdown]
# ### Exercise 9 · Repair all three (`clinic`, 3 points, 30 minutes, difficulty 2 of 3)
#
# `record(camera, count)`: `camera` works as the one above. `camera.read()` writes the next frame into its one buffer, a
# `uint8` array `[height, width]`, and returns this; `count` is 1 to 20.
#
# - It reads exactly `count` frames. Equal ones (a still scene) count, too. <!-- rule: count -->
# - It returns `float32` `[count, height, width]`: a number n as n / 255, off by at most 1e-6, whatever the other numbers
#   are. <!-- rule: scale -->
# - Each frame is as it was when it was read, and stays so when the camera goes on, also for another film. <!-- rule: frames -->
#
# `to_device(batch, device, dtype)`: a batch is a tensor, a string, a Python number or `None`, or a dict, list or tuple of
# batches, nested up to 6 deep; dicts, lists and tuples may be empty, names in a dict are strings, and nothing is of a subclass
# of these. Tensors are float64, float32, float16, bfloat16, int64, uint8 or bool, of no to four axes. `device` is a
# `torch.device` or its name (`"cpu"`), `dtype` one of the four dtypes of floating point.
#
# - Every tensor of the result is on `device`. <!-- rule: device, reported -->
# - Tensors of floating point get `dtype`. <!-- rule: floats -->
# - All other tensors (ids, bytes, masks) keep their dtype and values. <!-- rule: others -->
# - The structure comes back as it was, at any depth: a dict as a dict in the same order, a list as a list, a tuple as a tuple;
#   and so do strings, numbers and `None`. <!-- rule: structure -->
# - The given batch stays as it was. <!-- rule: unchanged -->
#
# `smooth(losses, keep)`: `losses` is a generator that runs a training step when it is asked for the next loss, 1 to 1,000
# times. The losses are finite tensors without axes, all float32 or all float64. `keep` is a number from 0 to 1.
#
# - It returns a list of Python floats, the averages: the first loss, then for each further one
#   `keep * average + (1 - keep) * loss`, right to 1e-5 (float32) or 1e-9 (float64) of the largest loss, or of 1 where that is
#   smaller. Losses may be 0, negative or equal. <!-- rule: average -->
# - The losses keep their values: they belong to whoever made them. <!-- rule: intact -->
# - Gradients are on while a training step runs. <!-- rule: steps -->
# - When the next loss is asked for, at most the graph of the newest loss is still alive. <!-- rule: graphs -->



# %% exercise="clinic" minutes=30 difficulty=2
def record(camera, count: int) -> torch.Tensor:
    """`count` frames of the camera as float32 [count, height, width] from 0 to 1."""
    ### BEGIN SOLUTION
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]) / 255
    ### END SOLUTION


def to_device(batch, device, dtype: torch.dtype):
    """The same nested batch with all tensors on `device`, floating-point ones as `dtype`."""
    ### BEGIN SOLUTION
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype if batch.is_floating_point() else batch.dtype)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch
    ### END SOLUTION


def smooth(losses, keep: float) -> list[float]:
    """Running averages of scalar loss tensors, as numbers."""
    ### BEGIN SOLUTION
    curve = []
    for loss in losses:
        average = loss.item() if not curve else keep * curve[-1] + (1 - keep) * loss.item()
        curve.append(average)
    return curve
    ### END SOLUTION


# %% tests="clinic" points=3
@check.scenario
def film(frames, count, another=False):
    """What `record` made of a camera with one buffer, after the camera went on (and for `another` film); and the frame that came next."""
    buffer, waiting = np.zeros_like(frames[0]), itertools.cycle(frames)

    def read():
        buffer[:] = next(waiting)
        return buffer

    camera = types.SimpleNamespace(read=read)
    recorded, following = record(camera, count), read().copy()
    if another:
        record(camera, count)
    return recorded, following


@check.scenario
def devices_after_move(batch, device, dtype):
    """Where the tensors of the moved batch are, in order."""

    def tensors(moved):
        if isinstance(moved, torch.Tensor):
            yield moved
        elif isinstance(moved, (dict, list, tuple)):
            for value in moved.values() if isinstance(moved, dict) else moved:
                yield from tensors(value)

    return [tensor.device.type for tensor in tensors(to_device(batch, device, dtype))]


@check.scenario
def smooth_training(targets, keep, offset):
    """`smooth` on the losses of a training whose steps feel two things: each graph of an older step that is still alive
    adds 100 to the loss (which `offset` lowers), and without gradients nothing is learned. Returns the averages, what the steps felt, and the
    losses as they were given and as they are afterwards."""
    weight, graphs, felt = torch.tensor(1.0, dtype=torch.float64, requires_grad=True), weakref.WeakSet(), []
    given, memory = [], []

    class Saved:
        """A tensor that a graph holds."""

        def __init__(self, tensor):
            self.tensor = tensor
            graphs.add(self)

    def training():
        for target in targets:
            felt.append((len(graphs), torch.is_grad_enabled()))
            crowd = 100.0 * max(0, len(graphs) - 1)
            with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
                loss = (weight - target).square() + crowd - offset
            if loss.requires_grad:
                (slope,) = torch.autograd.grad(loss, weight, retain_graph=True)
                with torch.no_grad():
                    weight.sub_(0.3 * slope)
            given.append(loss.item())
            memory.append(loss.detach())
            yield loss
            del loss

    return smooth(training(), keep), felt, given, [loss.item() for loss in memory]


@check.scenario
def smooth_numbers(numbers, keep, dtype=torch.float64):
    """`smooth` on losses of these values, and the losses afterwards."""
    losses = [torch.tensor(number, dtype=dtype) for number in numbers]
    return smooth((loss for loss in losses), keep), [loss.item() for loss in losses]


def averages_of(losses, keep):
    averages = []
    for loss in losses:
        averages.append(keep * averages[-1] + (1 - keep) * loss if averages else loss)
    return averages


def expected_averages(targets, keep, offset):
    weight, losses = 1.0, []
    for target in targets:
        losses.append((weight - target) ** 2 - offset)
        weight -= 0.3 * 2 * (weight - target)
    return averages_of(losses, keep)


def check_record():
    for seed in seeds:
        random = np.random.default_rng(seed)
        some, height, width = random.integers(2, 7, 3).tolist()
        sizes = ((1, (1, 1), 200, 1), (4, (3, 5), 200, 1), (3, (2, 3), 2, 1), (5, (2, 4), 200, 2), (some, (height, width), 256, 1), (20, (2, 3), 200, 1))
        for count, shape, levels, still in sizes:
            # `still` equal frames; then each pixel is another one
            brighter = 37 * (np.arange(count + 2) // still)[:, None, None]
            frames = ((random.integers(0, levels, shape) + brighter) % levels).astype(np.uint8)
            what = f"`record` of {count} frame{'s' * (count > 1)} of {shape[0]} x {shape[1]} pixels{', two by two equal' * (still > 1)}"
            recorded, following = film(frames, count)
            check.shape(recorded, (count, *shape), what)
            check.equal(recorded.dtype, torch.float32, f"the dtype of {what}", "values go from 0 to 1: divide by 255")
            hint = f"255 becomes 1, also where the brightest number is {frames[:count].max()}"
            if still > 1:
                hint = "a still scene gives equal frames, and each of them is one of the film"
            elif not np.array_equal(following, frames[count]):
                hint = f"these may be other frames: for count {count} `record` reads {count}, from the first on, and leaves out none"
            if count > 1 and (recorded == recorded[:1]).all():
                hint = "`read` hands out the same memory every time, and `from_numpy` is a view of it: copy each frame when it is read"
            expected = torch.tensor(frames[:count]).double().div(255).float()
            check.equal(recorded, expected, what, hint, rtol=0, atol=1e-6)
            hint = f"for count {count} `record` reads {count}, no more and no less: what comes after belongs to whoever reads on"
            check.equal(following, frames[count], f"the frame that comes after {what}", hint)
            recorded, _ = film(frames, count, another=True)
            later = f"{what}, looked at after another film of that camera"
            check.equal(recorded, expected, later, "each film needs memory of its own", rtol=0, atol=1e-6)


def batches_to_move(seed):
    """Batches, from small to large, with the dtype that they get."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    ids, name = torch.randint(1001, 50_000, (1, 4), generator=generator), "a name"
    yield "a dict", {"pixels": numbers.float(), "ids": ids, "exact": numbers, "name": name}, torch.bfloat16
    nested = {"pixels": numbers.float(), "more": [ids > 9000, (name, numbers)], "ids": ids, "count": 3}
    yield "a dict with a list in it", nested, torch.bfloat16
    yield "a list", [(ids, {"x": numbers.float(), "y": [numbers]}, []), None, {}, (), nested, "end"], torch.float16
    yield "a tuple", (numbers.float(), 2.5, True), torch.float64
    deep = numbers
    for depth in range(3):
        deep = [{"deeper": deep}] if depth % 2 else {"deeper": (deep, depth)}
    yield "a batch 6 deep", deep, torch.float16
    yield "a dict of other shapes", {"step": ids[0, 0], "loss": numbers[0, 0], "film": numbers[None, None]}, torch.float32
    floats = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    for old, new in itertools.product(floats, floats):
        yield f"a tensor in {old}", numbers.to(old), new
    for other in (torch.uint8, torch.int64, torch.bool):
        yield f"a tensor in {other}", ids[0].to(other), torch.float16
    for rest in (name, 3, None, {}, []):
        yield repr(rest), rest, torch.float32


def check_moved(got, given, dtype, title, path="batch"):
    """`got` is what becomes of `given`, a batch or the part of one at `path`."""
    what, hint = f"{title}: `{path}`", "a batch may be nested: let the function call itself"
    if torch.is_tensor(given) and given.is_floating_point():
        if path.count("[") < 2:
            hint = "floating-point tensors get the new dtype; and a tensor's `to` returns a new tensor and leaves the old one as it is"
        check.equal(got, given.to(dtype), what, hint)
    elif torch.is_tensor(given):
        check.equal(got, given, what, "ids are names, not amounts, and a mask is neither: in bfloat16 token 1001 becomes token 1000")
    elif isinstance(given, (dict, list, tuple)):
        check.kind(got, type(given), what, "the structure comes back as it was, tuples as tuples")
        check.equal(len(got), len(given), f"the number of parts of {what}")
        if isinstance(given, dict):
            check.equal(list(got), list(given), f"the names in {what}, in order")
        for key in given if isinstance(given, dict) else range(len(given)):
            check_moved(got[key], given[key], dtype, title, f"{path}[{key!r}]")
    else:
        check.kind(got, type(given), what, "what is not a tensor goes through as it is")
        check.equal(got, given, what, "what is not a tensor goes through as it is")


def check_to_device():
    for seed in seeds:
        for what, batch, dtype in batches_to_move(seed):
            got, (batch_after, *_) = check.after(to_device, batch, "cpu", dtype)
            title = f"after `to_device` of {what} to {dtype}"
            check_moved(got, batch, dtype, title)
            hint = "build a new one: what is given is not yours to change"
            check.equal(batch_after, batch, f"{title} the given batch", hint)
            device = "meta" if isinstance(batch, dict) else torch.device("meta")
            devices = devices_after_move(batch, device, dtype)
            hint = "every tensor moves, whatever its dtype and however deep it lies"
            check.equal(devices, ["meta"] * len(devices), f"{title} on `meta`: the device of tensor", hint)


def check_smooth():
    for seed in seeds:
        random = np.random.default_rng(seed)
        some = [3.0, -1.0, 2.0, 5.0, 4.0, 1.5]
        for targets, keep, offset in (
            (some[:1], 0.75, 0.0),
            (some, 0.75, 0.0),
            (some, 0.0, 0.0),
            (some[:3], 1, 0.0),
            ([1.0, *some], 0.75, 0.0),
            (some, 0.5, 9.0),
            (random.normal(size=30).tolist(), 0.9, 0.0),
        ):
            count, expected = len(targets), expected_averages(targets, keep, offset)
            special = ", the first of them 0" if expected[0] == 0 else ", some of them negative" if offset else ""
            what = f"the averages of {count} loss{'es' * (count > 1)}{special}, with keep {keep}"
            got, felt, given, afterwards = smooth_training(targets, keep, offset)
            check.kind(got, list, "what `smooth` returns")
            check.equal(len(got), count, f"how many averages `smooth` gives for {count} losses")
            for value in got:
                check.kind(value, float, "an average", "take the number out of the tensor")
            check.true(
                all(gradients for _, gradients in felt),
                "Gradients were switched off while a training step ran: `no_grad` around the loop, or around `next`, also holds inside the generator.",
            )
            alive = [graphs for graphs, _ in felt]
            check.true(
                max(alive) <= 1,
                f"Graphs of earlier steps stay alive: graphs in memory at the start of each step: {alive}. Take the number out of each loss "
                "(`item`, `detach`) before it enters the average, and do not collect the losses first.",
            )
            hint = "`detach` gives the same memory, so what is written into the average is written into the loss"
            check.equal(afterwards, given, f"after {what}, the value of loss", hint, rtol=0, atol=0)
            check.equal(got[0], expected[0], f"the first of {what}", "it starts at the first loss, not at 0")
            if count > 1:
                check.equal(got[1], expected[1], f"the second of {what}", "`keep` belongs to the average so far, whatever number that is")
            few = "1e-9 of the largest loss is allowed: which step has fewer digits than a Python float?"
            check.equal(got, expected, f"in {what}, number", few, rtol=0, atol=1e-9 * max(1, *map(abs, given)))
        many = random.normal(size=999).round(3).tolist()
        for losses, keep, dtype, how, hint in (
            ([2.0, 2.0, 2.0, -1.0, -1.0, 5.0], 0.5, torch.float64, ", several of them equal", "each loss is that of a step of its own"),
            ([9.0, *many], 1, torch.float64, "", "with keep 1 the first loss stays, however many come: none may be forgotten"),
            ([9.0, *many], 0.25, torch.float64, "", "after 600 steps keep ** step is 0 in floating point: go from average to average"),
            ([9.0, *many], 0.999, torch.float64, "", "an early loss still has a share after a thousand steps: none may be forgotten"),
            ([0.1, 0.7, -0.3, 0.7], 0.75, torch.float32, " in float32", "a float32 loss is a number like any other"),
        ):
            what = f"the averages of {len(losses)} losses{how}, with keep {keep}"
            given = torch.tensor(losses, dtype=dtype).tolist()
            got, afterwards = smooth_numbers(losses, keep, dtype)
            check.equal(len(got), len(losses), f"the number of {what}", hint)
            allowed = (1e-9 if dtype == torch.float64 else 1e-5) * max(1, *map(abs, given))
            check.equal(got, averages_of(given, keep), f"in {what}, number", hint, rtol=0, atol=allowed)
            check.equal(afterwards, given, f"after {what}, the value of loss", "write into a tensor of your own", rtol=0, atol=0)


with check.exercise("clinic"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"record": check_record, "to_device": check_to_device, "smooth": check_smooth})
check.points(3)


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Patient 1: how many arrays are there in all, and when does `stack` look at them? Patient 2: what happens to the result of
# `to`, and which tensors are not amounts? Patient 3: the average of step 40 was computed from that of step 39. From
# what was that one?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `torch.tensor(array)` or `array.copy()`; `Tensor.is_floating_point()`, `isinstance` and a function that calls itself,
# `type(batch)(...)` to build the same kind of sequence; `Tensor.item()`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# frames = [torch.tensor(camera.read()) for _ in range(count)]     # then stack and scale
#
# if isinstance(batch, torch.Tensor):
#     return batch.to(device, dtype if batch.is_floating_point() else batch.dtype)
# if isinstance(batch, dict):
#     return {name: to_device(value, device, dtype) for name, value in batch.items()}
# ```
# Lists and tuples go the same way. In `smooth`, let only `loss.item()` enter the average.
# </details>

# %%
show_film(record(Camera(7, 15), 4), "what your `record` recorded")

# %% [markdown]
# ## Claims, measured
#
# **"Vectorised code is 10 to 100 times faster than a Python loop."** The spots of exercise 2, one spot on canvases of growing size,
# computed in three ways: pixel by pixel with tensors, pixel by pixel with plain Python numbers, and by your `gaussians`.
# We count CPU time, the best of several runs, and look at ratios, which say more than the times of one machine.


# %%
def cpu_seconds(call, at_least: float = 0.004, runs: int = 5) -> float:
    """CPU time of one `call()`, in seconds: the best of `runs`, each long enough for the clock."""
    best, repeats = math.inf, 1
    while runs:
        begin = time.process_time()
        for _ in range(repeats):
            call()
        spent = time.process_time() - begin
        if spent < at_least:
            repeats *= 4
            continue
        best, runs = min(best, spent / repeats), runs - 1
    return best


def span(ratios: list[float]) -> str:
    """A range of ratios, two digits each."""
    return " to ".join(f"{float(f'{ratio:.2g}'):g}x" for ratio in (min(ratios), max(ratios)))


# %%
def tensor_loop(centres, widths, height, width):
    out = torch.empty(len(centres), height, width)
    for k, i, j in itertools.product(range(len(centres)), range(height), range(width)):
        square = (i - centres[k, 0]) ** 2 + (j - centres[k, 1]) ** 2
        out[k, i, j] = torch.exp(-square / (2 * widths[k] ** 2))
    return out


def number_loop(centres, widths, height, width):
    return torch.tensor(
        [
            [[math.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * s**2)) for j in range(width)] for i in range(height)]
            for (y, x), s in zip(centres.tolist(), widths.tolist())
        ]
    )


methods = {"loop over tensors": tensor_loop, "loop over Python numbers": number_loop, "whole tensors (yours)": gaussians}
sides, spot = (4, 8, 16, 32, 64, 128), (torch.tensor([[2.0, 3.0]]), torch.tensor([4.0]))
seconds = {name: [] for name in methods}
for side in sides:
    for name, method in methods.items():
        if side <= 32 or name != "loop over tensors":
            seconds[name].append(cpu_seconds(lambda: method(*spot, side, side), runs=2 if side > 16 and "loop" in name else 5))

figure, panel = plt.subplots(figsize=(7, 3.6), layout="constrained")
for name, times in seconds.items():
    panel.loglog([side**2 for side in sides[: len(times)]], [1e3 * t for t in times], "o-", label=name)
panel.set(xlabel="pixels", ylabel="CPU time (ms)", title="one spot of light, three ways")
panel.legend()
plt.show()

fast = seconds["whole tensors (yours)"]
over_tensors = [slow / quick for slow, quick in zip(seconds["loop over tensors"], fast)]
over_numbers = [slow / quick for slow, quick in zip(seconds["loop over Python numbers"], fast)]


claims.record(
    "vectorised code is 10 to 100 times faster than a Python loop",
    claimed="10 to 100x",
    measured=f"loop over tensors: {span(over_tensors)}; loop over Python numbers: {span(over_numbers)}; both grow with size",
    holds=over_tensors[-1] >= 10 and over_numbers[-1] >= 10,
    how=f"ratio of CPU times, from {sides[0] ** 2} pixels to {sides[len(over_tensors) - 1] ** 2} and {sides[-1] ** 2}; judged at the largest",
)

# %% [markdown]
# Read the picture. Up to some hundred pixels your function takes the same time whatever the size: it pays for starting a handful of
# operations, not for pixels. That is also why a loop over tensors is the worst of the three: it pays the start for every
# pixel. If you must loop, loop over Python numbers; on a few dozen pixels that even wins.
#
# **"A view costs nothing."** Making one: that is measured by `x.T` beside a copy. Reading one is another matter, because the
# processor fetches memory in whole lines: a view on every sixteenth number fetches sixteen times what it needs.

# %%
making, copying, reading_view, reading_copy = [], [], [], []
lengths = (64, 128, 256, 512, 1024)
for n in lengths:
    x = torch.rand(n, n)
    sparse = torch.rand(n, 16 * n)[:, ::16]
    dense = sparse.contiguous()
    making.append(cpu_seconds(lambda: x.T))
    copying.append(cpu_seconds(lambda: x.T.contiguous()))
    reading_view.append(cpu_seconds(lambda: sparse.sum()))
    reading_copy.append(cpu_seconds(lambda: dense.sum()))
    del x, sparse, dense

figure, panels = plt.subplots(1, 2, figsize=(11, 3.4), layout="constrained", sharex=True)
numbers_in = [n * n for n in lengths]
for panel, curves, title in (
    (panels[0], {"x.T, a view": making, "x.T.contiguous(), a copy": copying}, "making"),
    (panels[1], {"view of every 16th number": reading_view, "the same numbers, packed": reading_copy}, "reading (sum)"),
):
    for name, times in curves.items():
        panel.loglog(numbers_in, [1e6 * t for t in times], "o-", label=name)
    panel.set(xlabel="numbers in the tensor", ylabel="CPU time (µs)", title=title)
    panel.legend()
plt.show()

# %%
slower = [view / packed for view, packed in zip(reading_view, reading_copy)]
claims.record(
    "a view costs nothing",
    claimed="free",
    measured=f"making: {making[-1] / making[0]:.1f}x from the smallest to the largest (copy {copying[-1] / copying[0]:.0f}x); reading: {span(slower)} slower",
    holds=making[-1] < 3 * making[0] and max(slower) < 1.5,
    how="CPU time of x.T and x.T.contiguous(); of sum() over every 16th number and over the same numbers packed",
)

# %% [markdown]
# Half of the claim stands: making a view is free. Reading through one is not, where its strides are large.

# %% [markdown]
# ## Put it in words
#
# **Question (`view_or_copy`, 2 points).** A colleague proposes a rule for your team: "Never call `contiguous()` or `clone()`; views are
# free." Answer in at most ten sentences. Say for which of two uses the rule is right and for which it costs more than it
# saves, with the figures that this notebook printed on **your** machine, and name one case where a view is not slow but
# **wrong**.

# %% [markdown] answer="view_or_copy" points=2 minutes=10 difficulty=2
# The rule is right where a tensor is described anew and read once or a few times: making `x.T` took the same fraction of a
# microsecond at every size here, while the copy grew with the number of elements, to well over a hundred times the cost.
# Reshaping, slicing and transposing on the way into one operation should stay views.
#
# It is wrong where a view with large strides is read many times. Summing every sixteenth number took here twice as long as
# summing the same numbers packed for the smallest tensor, and tens of times as long for larger ones. A copy made once costs
# about one slow read, so it pays back from the second or third read on. It also fails where a small view keeps a large storage alive.
#
# A view is wrong, not slow, where the memory behind it changes: four frames taken with `from_numpy` from one camera buffer
# all show the last frame. There a copy is part of being right.

# %% [markdown]
# ## Quiz

# %% [markdown] quiz="end"
# 1. `x` has shape [4, 6]. What do `x.T` and `x.view(6, 4)` have in common?
# - [ ] The same numbers at the same positions :: Only the shape is the same: `T` swaps axes, `view` keeps the order in memory and cuts it into rows anew.
# - [x] Shape and memory, but not the position of the numbers :: Right: two descriptions of one storage, with different strides.
# - [ ] Nothing, since `view` copies :: `view` never copies; where no strides would do it raises an error.
# 2. `a` has shape [8, 1, 5] and `b` has shape [3, 1]. What is the shape of `a + b`?
# - [ ] An error, since 5 and 1 differ :: An axis of length 1 is stretched to meet the other.
# - [ ] [8, 3, 1] :: The last axes are 5 and 1: the result has 5 there.
# - [x] [8, 3, 5] :: Right: lined up from the right, 5 meets 1, 1 meets 3, and 8 meets a missing axis.
# 3. A loop forgets to clear gradients. With a loss whose gradient hardly changes, what is the third update like?
# - [ ] The same as the first :: That would be so if `backward` replaced `.grad`; it adds.
# - [x] About three times the first :: Right: `.grad` holds the sum of three gradients by then.
# - [ ] Zero :: Nothing is cleared, so nothing becomes zero.
# 4. Why is it not enough to call `average.detach()` once, after a loop over 10,000 steps?
# - [x] The average itself is computed from graphs of all steps, which stay in memory until then :: Right: cut every loss before it enters the average.
# - [ ] `detach` copies, which takes too long for 10,000 steps :: `detach` gives a view; it costs next to nothing.
# - [ ] `detach` does not work outside `no_grad` :: It works anywhere.
# 5. `loss_of(parameters, x, y)` is the loss of one example. What does `vmap(grad(loss_of), in_dims=(None, 0, 0))` return for 32 examples?
# - [ ] The gradient of the mean loss :: That is what `backward` gives for the mean of a batch; `vmap` keeps the examples apart.
# - [ ] 32 losses :: `grad` replaces the loss by its gradient.
# - [x] For each parameter a tensor with a leading axis of 32 :: Right: one gradient for each example, stacked.

# %% [markdown]
# ## Read next
#
# - Which operations give views: https://docs.pytorch.org/docs/stable/tensor_view.html
# - Broadcasting, with its few rules: https://docs.pytorch.org/docs/stable/notes/broadcasting.html
# - How autograd keeps and frees its notes: https://docs.pytorch.org/docs/stable/notes/autograd.html
# - Functions with a backward of their own: https://docs.pytorch.org/docs/stable/notes/extending.html, and second derivatives
#   of them: https://docs.pytorch.org/tutorials/intermediate/custom_function_double_backward_tutorial.html
# - Per-sample gradients and Jacobians: https://docs.pytorch.org/docs/stable/func.html
# - The painter, in three dimensions: Kerbl et al., *3D Gaussian Splatting*, https://arxiv.org/abs/2308.04079. RMSNorm: Zhang and
#   Sennrich, https://arxiv.org/abs/1910.07467. Gradient norms of single examples: Paul et al., *Deep Learning on a Data Diet*,
#   https://arxiv.org/abs/2107.07075.
#
# Lesson 03 builds modules from these tensors, lesson 04 the training loop around them.

# %% [markdown]
# ## A bigger machine
#
# With a GPU, the same painter on a canvas 25 times as large: not a line of `gaussians`, `paint` or `descend` changes, because they
# create their tensors where their inputs are. With `UNIT24_TIER=hub` (and the package `transformers`), your
# `next_token_logprobs` reads a sentence with a real language model, and its mean must equal the loss that the library computes.

# %%
if env.device.startswith("cuda"):
    device, big = env.device, (240, 320)
    big_target = torch.from_numpy(landscape(*big)).permute(2, 0, 1).to(device) / 255
    big_size = torch.tensor(big, device=device)
    big_spots = {name: value.detach().to(device).requires_grad_() for name, value in new_painter(300, seed=24).items()}

    def big_difference():
        brightness = gaussians(big_spots["places"] * big_size, 12 * big_spots["log_widths"].exp(), *big)
        return 100 * (paint(brightness / (brightness.sum(0) + 1e-4), big_spots["colours"]) - big_target).pow(2).mean()

    begin = time.perf_counter()
    big_curve = descend(big_difference, list(big_spots.values()), rate=0.1, steps=300)
    torch.cuda.synchronize()
    print(
        f"{big[0]} x {big[1]} pixels, 300 spots: loss {big_curve[0]:.2f} -> {big_curve[-1]:.2f}, {time.perf_counter() - begin:.1f} s"
    )
    print(f"peak GPU memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
if env.tier == "hub":
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name = env.model("chat")
    tokenizer, model = AutoTokenizer.from_pretrained(name), AutoModelForCausalLM.from_pretrained(name).to(env.device)
    ids = tokenizer(sentence, return_tensors="pt").input_ids.to(env.device)
    with torch.no_grad():
        output = model(ids, labels=ids)
    bits = -next_token_logprobs(output.logits.float(), ids)[0].cpu() / math.log(2)
    print(f"mean surprise {bits.mean() * math.log(2):.4f} nats, the library's loss {output.loss.item():.4f}")
    figure, panel = plt.subplots(figsize=(14, 2.6), layout="constrained")
    panel.bar(range(len(bits)), bits, color=plt.cm.viridis(bits / bits.max()))
    panel.set_xticks(range(len(bits)), [tokenizer.decode(i) for i in ids[0, 1:]], rotation=60)
    panel.set(title="the same sentence, read by a language model", xlabel="token", ylabel="surprise (bits)")
    plt.show()
if not env.device.startswith("cuda") and env.tier == "tiny":
    print("A bigger machine: skipped here (it needs a GPU or UNIT24_TIER=hub).")
