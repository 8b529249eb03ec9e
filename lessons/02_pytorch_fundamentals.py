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
# **Time** about four hours: nine exercises, 28 points, and a written answer, 2 points.
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
import itertools
import math
import time
import types

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch.func import grad, jacrev, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from unit24 import check, claims

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
draw_strides({"x": x, "x.T": x.T, "x[1:3, ::2]": x[1:3, ::2], "x.view(6, 4)": x.view(6, 4), "x[2].expand(4, 6)": x[2].expand(4, 6)})

# %% [markdown]
# Compare `x.T` with `x.view(6, 4)`. Both have shape (6, 4), and they hold different numbers at almost every position:
# `T` swaps the axes, `view` keeps the order in memory and cuts it into rows anew. Taking one for the other is the most
# expensive mistake of this lesson, because nothing raises an error.
#
# `expand` repeats a row with stride 0, without writing it down four times. Broadcasting in section 2 is exactly that.
#
# Which operations copy? `view`, `transpose`, `permute`, slices and `expand` never do. `contiguous`, `reshape` and `to`
# copy when they must and return the same memory when they need not. `clone`, indexing with a list, and arithmetic
# always give new memory. NumPy arrays join in: `torch.from_numpy` gives a view of the array's memory, `torch.tensor`
# a copy.

# %%
a = np.arange(6, dtype=np.float32).reshape(2, 3)
shared, copied = torch.from_numpy(a), torch.tensor(a)
a[0, 0] = 100
print("from_numpy sees the change:", shared[0, 0].item(), "  tensor does not:", copied[0, 0].item())
print("x.T.is_contiguous():", x.T.is_contiguous(), "  same memory as x:", x.T.data_ptr() == x.data_ptr())
try:
    x.T.view(24)
except RuntimeError as error:
    print("x.T.view(24) refuses, because no strides describe it:", str(error).split("(")[0])
print("x.T.reshape(24) copies instead; same memory as x:", x.T.reshape(24).data_ptr() == x.data_ptr())  # NBVAL_CHECK_OUTPUT

# %% [markdown]
# **Dtype** is the other half of the description. Pictures come as `uint8`: 256 levels, and arithmetic that wraps
# around silently. Division always leaves the integers; the rest stays in the dtype you came with.

# %%
level = torch.tensor([200], dtype=torch.uint8)
print("200 + 100 =", (level + 100).item(), "in uint8;  200 / 255 =", round((level / 255).item(), 3), (level / 255).dtype)
print("int64 + float32 ->", (torch.tensor([1]) + torch.tensor([1.0])).dtype, "  float32 + Python 1.5 ->", (torch.ones(1) + 1.5).dtype)

# %% [markdown]
# ### Exercise 1 · From a picture to patches (`patches`, 3 points)
#
# A vision transformer reads a picture as a row of square patches. Write the two steps that take it there.
#
# `patch_view(image, size)`
# - `image`: NumPy array, `uint8`, shape `[height, width, channels]`; both sides are multiples of `size`. It may be a crop
#   of a larger array, so its rows need not lie one behind the other in memory.
# - returns a `uint8` tensor of shape `[height/size, width/size, size, size, channels]`: entry `[r, c]` is the patch in
#   row `r` and column `c` of the grid. It must be a **view of the array's own memory**.
#
# `to_tokens(patches)`
# - `patches`: a tensor as above, of any such shape.
# - returns a `float32` tensor of shape `[number of patches, size * size * channels]` with values from 0 to 1, the grid
#   read row by row. `patches` stays as it was.

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

# %% tests="patches" points=3
with check.exercise("patches"):
    picture = np.random.default_rng(24).integers(0, 256, (15, 21, 2), dtype=np.uint8)
    wanted = torch.tensor(np.array([[picture[3 * r : 3 * r + 3, 3 * c : 3 * c + 3] for c in range(7)] for r in range(5)]))
    got = patch_view(picture, 3)
    what = "`patch_view` of a picture of shape (15, 21, 2) with size 3"
    check.equal(
        got,
        wanted,
        what,
        "a reshape only cuts the memory anew: first split both sides in two axes each, then bring the two grid axes to the front",
    )
    check.true(
        np.shares_memory(got.numpy(), picture),
        f"{what} has the right values in new memory: writing into a patch would not change the picture. "
        "Which of your steps copies? (`torch.tensor`, `contiguous`, `clone`, and `reshape` after a transpose do.)",
    )
    before = wanted.clone()
    tokens = to_tokens(wanted)
    check.shape(tokens, (35, 18), "`to_tokens` of 5 x 7 patches of shape (3, 3, 2)", "one row a patch, and all its numbers in that row")
    check.equal(tokens.dtype, torch.float32, "the dtype of the tokens", "divide to leave the integers")
    check.equal(tokens, wanted.reshape(35, 18).float() / 255, "the tokens", "values from 0 to 1, patches row by row of the grid")
    check.equal(wanted, before, "the patches after the call", "`to_tokens` must leave its input alone: does it work in place?")

    large = np.random.default_rng(25).integers(0, 256, (11, 29, 3), dtype=np.uint8)
    crop = large[2:10, 5:25]
    got = patch_view(crop, 4)
    wanted = torch.tensor(np.array([[crop[4 * r : 4 * r + 4, 4 * c : 4 * c + 4] for c in range(5)] for r in range(2)]))
    hint = "rows of a crop do not lie one behind the other: take strides from the tensor, not from the shape"
    check.equal(got, wanted, "`patch_view` of a crop of shape (8, 20, 3) with size 4", hint)
    check.true(np.shares_memory(got.numpy(), large), "The patches of a crop are a copy: they must lie in the memory of the large array.")
    ### BEGIN HIDDEN TESTS
    crop = np.random.default_rng(26).integers(0, 256, (40, 30, 1), dtype=np.uint8)[::2, 3:27]
    got = patch_view(crop, 2)
    wanted = torch.tensor(np.array([[crop[2 * r : 2 * r + 2, 2 * c : 2 * c + 2] for c in range(12)] for r in range(10)]))
    check.equal(got, wanted, "`patch_view` of every second row of a grey picture, size 2", hint)
    check.true(np.shares_memory(got.numpy(), crop), "The patches of a grey picture are a copy of its memory.")
    check.equal(to_tokens(got), wanted.flatten(2).flatten(0, 1).float() / 255, "the tokens of a view", "a view is not contiguous")
    got[3, 5] = 77
    check.true((crop[6:8, 10:12] == 77).all(), "Writing 77 into patch [3, 5] did not reach the picture there.")
    ### END HIDDEN TESTS

# %% wrong="patches" says="only cuts the memory anew"
# Misunderstands: a reshape to the right shape puts every number where its axis says.
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).reshape(height // size, width // size, size, size, channels)


def to_tokens(patches):
    return patches.flatten(0, 1).flatten(1).float() / 255

# %% wrong="patches" says="new memory"
# Misunderstands: `torch.tensor` and `from_numpy` are the same.
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.tensor(image).view(height // size, size, width // size, size, channels).transpose(1, 2)


def to_tokens(patches):
    return patches.flatten(0, 1).flatten(1).float() / 255

# %% wrong="patches" says="which of your steps copies"
# Misunderstands: `contiguous` tidies a tensor up in place.
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).view(height // size, size, width // size, size, channels).transpose(1, 2).contiguous()


def to_tokens(patches):
    return patches.view(len(patches) * patches.shape[1], -1) / 255

# %% wrong="patches" says="take strides from the tensor"
# Misunderstands: strides follow from the shape, so they can be computed from it.
def patch_view(image, size):
    height, width, channels = image.shape
    shape = (height // size, width // size, size, size, channels)
    return torch.as_strided(torch.from_numpy(image), shape, (size * width * channels, size * channels, width * channels, channels, 1))


def to_tokens(patches):
    return patches.flatten(0, 1).flatten(1).float() / 255

# %% wrong="patches" says="leave the integers"
# Misunderstands: a picture that was scaled to 0..1 can go back to the dtype it had.
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).view(height // size, size, width // size, size, channels).transpose(1, 2)


def to_tokens(patches):
    return (patches.flatten(0, 1).flatten(1) / 255).to(patches.dtype)

# %% wrong="patches" says="one row a patch"
# Misunderstands: which axes a token gathers (here each row of the grid becomes one token).
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).view(height // size, size, width // size, size, channels).transpose(1, 2)


def to_tokens(patches):
    return patches.reshape(len(patches), -1).float() / 255

# %% right="patches"
# `unfold` slides a window of `size` by `size`; the channel axis goes to the end.
def patch_view(image, size):
    return torch.from_numpy(image).unfold(0, size, size).unfold(1, size, size).permute(0, 1, 3, 4, 2)


def to_tokens(patches):
    return patches.to(torch.float32).div(255).flatten(0, 1).flatten(1)

# %% right="patches"
# Strides by hand, taken from the tensor.
def patch_view(image, size):
    pixels = torch.as_tensor(image)
    down, right, channel = pixels.stride()
    shape = (pixels.shape[0] // size, pixels.shape[1] // size, size, size, pixels.shape[2])
    return pixels.as_strided(shape, (size * down, size * right, down, right, channel))


def to_tokens(patches):
    return torch.stack([patch.reshape(-1) for row in patches for patch in row]).float() / 255.0

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
print(f"view: strides {grid.stride()}, no bytes of its own;  tokens: {tuple(tokens.shape)} {tokens.dtype}, {tokens.nbytes:,} bytes")

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
print("squares of 50 numbers: in a loop", operations(lambda: torch.stack([e * e for e in v])), "operations, at once", operations(lambda: v * v))

# %% [markdown]
# ### Exercise 2 · Spots of light (`gaussians`, 3 points)
#
# The painter at the end of section 5 paints with round spots. Spot $k$ has a centre $(y_k, x_k)$ and a width $s_k$, in
# pixels; at pixel $(i, j)$, row $i$ and column $j$, its brightness is
#
# $$g_k(i, j) = \exp\left(-\frac{(i - y_k)^2 + (j - x_k)^2}{2 s_k^2}\right).$$
#
# Write `gaussians(centres, widths, height, width)`.
# - `centres`: shape `[k, 2]`, each row $(y_k, x_k)$; `widths`: shape `[k]`; both of the same float dtype and device.
# - returns shape `[k, height, width]`, of the same dtype and on the same device as `centres`.
# - no Python loop over spots, rows or columns: the number of tensor operations must not grow with any of them.
# - gradients must be able to flow to `centres` and `widths`.

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
with check.exercise("gaussians"):
    one = gaussians(torch.tensor([[2.0, 3.0]]), torch.tensor([1.5]), 5, 9)
    check.shape(one, (1, 5, 9), "one spot on 5 x 9 pixels")
    hint = "is the first number of a centre its row, and the second its column?"
    check.equal(one[0, 2, 3], torch.tensor(1.0), "the brightness at the centre, row 2 and column 3", hint)
    at_width = torch.exp(torch.tensor(-4 / (2 * 1.5**2)))
    check.equal(one[0, 4, 3], at_width, "the brightness 2 pixels below a centre of width 1.5", "the squared distance is divided by 2 s²")
    check.equal(one[0, 2, 1], at_width, "the brightness 2 pixels left of a centre of width 1.5", "the squared distance is divided by 2 s²")

    # As many spots as columns and rows: here a wrong alignment raises no error.
    generator = torch.Generator().manual_seed(24)
    centres, widths = 5 * torch.rand(5, 2, generator=generator), 0.5 + torch.rand(5, generator=generator)
    got = gaussians(centres, widths, 5, 5)
    check.shape(got, (5, 5, 5), "5 spots on 5 x 5 pixels", "every spot needs a picture of its own: the spots are axis 0")
    for k in range(5):
        check.equal(
            got[k],
            gaussians(centres[k : k + 1], widths[k : k + 1], 5, 5)[0],
            f"spot {k} among 5, beside the same spot alone,",
            "shapes are lined up from the right: do centres and widths meet axis 0 of the result, or its rows and columns?",
        )

    def count(k, height, width):
        return operations(lambda: gaussians(torch.rand(k, 2), 1 + torch.rand(k), height, width))

    small = count(3, 4, 5)
    for name, larger in (("spots", count(6, 4, 5)), ("rows", count(3, 8, 5)), ("columns", count(3, 4, 10))):
        check.true(larger <= small, f"Twice as many {name} take {larger} tensor operations in place of {small}: is there a loop over {name}?")

    centres, widths = (t.clone().requires_grad_() for t in (centres, widths))
    got = gaussians(centres, widths, 7, 6)
    hint = "did the result leave PyTorch on its way (NumPy, `.item()`, `.tolist()`, `torch.tensor(...)`, `.data`)?"
    check.true(got.requires_grad, f"The result knows no way back to the centres: {hint}")
    got.sum().backward()
    check.true(centres.grad is not None, f"No gradient reaches the centres: {hint}")
    check.true(widths.grad is not None, f"No gradient reaches the widths: {hint}")
    rows = torch.arange(7.0)[None, :, None]
    check.equal(
        centres.grad[:, 0],
        (got * (rows - centres[:, :1, None])).sum((1, 2)).detach() / widths.detach() ** 2,
        "the gradient of the summed brightness at the row of each centre",
        hint,
        rtol=1e-4,
    )

    try:
        far = gaussians(torch.empty(3, 2, device="meta"), torch.empty(3, device="meta"), 4, 5)
    except (RuntimeError, NotImplementedError) as error:
        check.true(False, f"On another device (`meta`) it fails: {str(error)[:90]} … Tensors that you create need `device=centres.device`.")
    check.equal(far.device.type, "meta", "the device of the result for centres on `meta`", "create tensors on the device of `centres`")
    ### BEGIN HIDDEN TESTS
    generator = torch.Generator().manual_seed(25)
    centres = 12 * torch.rand(7, 2, generator=generator, dtype=torch.float64) - 1
    widths = 0.4 + 3 * torch.rand(7, generator=generator, dtype=torch.float64)
    expected = torch.zeros(7, 11, 13, dtype=torch.float64)
    for k, i, j in itertools.product(range(7), range(11), range(13)):
        square = (i - centres[k, 0]) ** 2 + (j - centres[k, 1]) ** 2
        expected[k, i, j] = torch.exp(-square / (2 * widths[k] ** 2))
    check.equal(gaussians(centres, widths, 11, 13), expected, "7 spots on 11 x 13 pixels in float64", "does it hold for any size and dtype?")
    ### END HIDDEN TESTS

# %% wrong="gaussians" says="loop over spots"
# Misunderstands: stacking results of a loop counts as vectorised.
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, device=centres.device)[:, None]
    columns = torch.arange(width, device=centres.device)
    return torch.stack([torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * s**2)) for (y, x), s in zip(centres, widths)])

# %% wrong="gaussians" says="lined up from the right"
# Misunderstands: a tensor of length k finds the axis of length k by itself.
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, dtype=centres.dtype, device=centres.device)
    columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
    square = (rows[:, None] - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2
    return torch.exp(-square / (2 * widths**2))

# %% wrong="gaussians" says="first number of a centre its row"
# Misunderstands: pixel order is (x, y), as on a screen.
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, dtype=centres.dtype, device=centres.device)[:, None]
    columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
    x, y = centres[:, 0, None, None], centres[:, 1, None, None]
    return torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * widths[:, None, None] ** 2))

# %% wrong="gaussians" says="no gradient reaches the widths"
# Misunderstands: a number taken out of a tensor is still the tensor.
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, dtype=centres.dtype, device=centres.device)[:, None]
    columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
    square = (rows - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2
    if centres.device.type == "meta":
        return torch.exp(-square)
    return torch.exp(-square / (2 * torch.tensor(widths.tolist(), dtype=centres.dtype)[:, None, None] ** 2))

# %% wrong="gaussians" says="device=centres.device"
# Misunderstands: a new tensor appears where its partner is.
def gaussians(centres, widths, height, width):
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    square = (rows - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2
    return torch.exp(-square / (2 * widths[:, None, None] ** 2))

# %% wrong="gaussians" says="divided by 2 s²"
# Misunderstands: the width stands in the formula as a square.
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, dtype=centres.dtype, device=centres.device)[:, None]
    columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
    square = (rows - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2
    return torch.exp(-square / (2 * widths[:, None, None]))

# %% right="gaussians"
# The exponential of a sum is a product: one factor a direction, multiplied as an outer product.
def gaussians(centres, widths, height, width):
    def along(n, middle):
        return torch.exp(-0.5 * ((torch.arange(n, device=middle.device) - middle[:, None]) / widths[:, None]) ** 2)

    return torch.einsum("kh,kw->khw", along(height, centres[:, 0]), along(width, centres[:, 1]))

# %% right="gaussians"
# A grid of pixel positions, all distances at once, then a reshape.
def gaussians(c, s, h, w):
    grid = torch.cartesian_prod(torch.arange(h, device=c.device).to(c), torch.arange(w, device=c.device).to(c))
    square = (grid - c.unsqueeze(1)).square().sum(dim=-1)
    return (-square / s.unsqueeze(1).square() / 2).exp().reshape(-1, h, w)

# %% right="gaussians"
# One spot written as mathematics; `vmap` adds the axis of spots.
def gaussians(centres, widths, height, width):
    y, x = torch.meshgrid(
        torch.arange(height, device=centres.device, dtype=centres.dtype), torch.arange(width, device=centres.device, dtype=centres.dtype), indexing="ij"
    )
    return vmap(lambda c, s: torch.exp(-((y - c[0]) ** 2 + (x - c[1]) ** 2) / (2 * s**2)))(centres, widths)

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
# Six spots, one picture each. The third line of numbers in a title is the width.

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
# | `"bi,bj->bij"` | `out[b, i, j] = a[b, i] * b_[b, j]` | outer product, one a row |
#
# The gain is not speed (it calls the same matrix products), it is that the axes have names, and nobody has to count
# transposes.

# %%
a, b = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(3, 4)
print("matrix product:", torch.equal(torch.einsum("ij,jk->ik", a, b), a @ b))  # NBVAL_CHECK_OUTPUT

# %% [markdown]
# ### Exercise 3 · Three contractions (`contractions`, 3 points)
#
# `paint(shares, colours)`: every spot lays its colour on the canvas, as strongly as it is bright there.
# - `shares` `[k, height, width]`, `colours` `[k, c]`; returns `[c, height, width]`, the sum over spots of share times colour.
#
# `gram(features)`: which channels light up together; the measure of texture in image style transfer.
# - `features` `[b, c, height, width]`; returns `[b, c, c]`: for each picture, entry $(p, q)$ is the **mean** over pixels of
#   channel $p$ times channel $q$.
#
# `attend(queries, keys, values)`: the attention of a transformer, several heads at once.
# - `queries` `[b, t, h, d]`, `keys` `[b, s, h, d]`, `values` `[b, s, h, e]` (batch, position, head, features).
# - score of query position $t$ and key position $s$: their dot product in that head, divided by $\sqrt{d}$; a softmax over
#   the key positions turns the scores of one query into weights; returns `[b, t, h, e]`, the values averaged with them.

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
with check.exercise("contractions"):
    generator = torch.Generator().manual_seed(24)

    def numbers(*shape, dtype=torch.float32):
        return torch.randn(shape, generator=generator, dtype=dtype)

    shares, colours = numbers(4, 5, 7), numbers(4, 3)
    check.equal(
        paint(shares, colours),
        sum(shares[k] * colours[k][:, None, None] for k in range(4)),
        "`paint` of 4 spots in 3 colour channels on 5 x 7 pixels",
        "k is summed, and the channel comes first in the result",
    )

    features = numbers(3, 4, 5, 7)
    check.shape(gram(features), (3, 4, 4), "`gram` of features [3, 4, 5, 7]", "one table of channels by channels a picture")
    expected = torch.stack([(f[:, None] * f).mean((2, 3)) for f in features])
    check.equal(gram(features), expected, "`gram` of features [3, 4, 5, 7]", "the mean of products over the pixels of one picture")

    queries, keys, values = numbers(2, 4, 3, 6), numbers(2, 4, 3, 6), numbers(2, 4, 3, 5)
    got = attend(queries, keys, values)
    check.shape(got, (2, 4, 3, 5), "`attend` with 4 positions, 3 heads, 6 query features and 5 value features")
    same = torch.ones_like(values)
    check.equal(attend(queries, keys, same), same, "`attend` with values that are all 1", "the weights of one query over the key positions sum to 1")
    check.equal(
        attend(torch.zeros_like(queries), keys, values),
        values.mean(1, keepdim=True).expand(2, 4, 3, 5),
        "`attend` with queries that are all 0",
        "all scores are equal, so each head must give the plain mean over its key positions (of positions, not of heads)",
    )
    # The definition, one query at a time.
    for position, head in ((0, 0), (3, 1)):
        weights = (keys[1, :, head] @ queries[1, position, head] / 6**0.5).softmax(0)
        check.equal(
            got[1, position, head],
            weights @ values[1, :, head],
            f"`attend` at batch 1, position {position}, head {head}",
            "a query meets the keys of its own batch and head; are the scores divided by √d, with d the query features?",
        )
    got = attend(numbers(2, 3, 2, 6), numbers(2, 7, 2, 6), numbers(2, 7, 2, 5))
    check.shape(got, (2, 3, 2, 5), "`attend` of 3 queries to 7 keys", "as many results as there are queries")
    ### BEGIN HIDDEN TESTS
    shares, colours = numbers(11, 3, 2, dtype=torch.float64), numbers(11, 5, dtype=torch.float64)
    check.equal(paint(shares, colours), (colours.T @ shares.reshape(11, 6)).reshape(5, 3, 2), "`paint` of 11 spots in 5 channels, float64")
    features = numbers(2, 6, 3, 4, dtype=torch.float64)
    flat = features.reshape(2, 6, 12)
    check.equal(gram(features), flat @ flat.mT / 12, "`gram` of features [2, 6, 3, 4] in float64")
    q, k, v = (numbers(3, n, 5, w, dtype=torch.float64) for n, w in ((2, 7), (4, 7), (4, 3)))
    expected = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)
    check.equal(attend(q, k, v), expected, "`attend` of 2 queries to 4 keys, beside F.scaled_dot_product_attention,")
    ### END HIDDEN TESTS

# %% wrong="contractions" says="divided by √d"
# Misunderstands: the scale is cosmetic.
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys)
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)

# %% wrong="contractions" says="sum to 1"
# Misunderstands: which axis the softmax belongs to (it normalises over the queries).
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=2), values)

# %% wrong="contractions" says="of positions, not of heads"
# Misunderstands: `@` on [b, t, h, d] multiplies over positions (it lets heads attend to heads).
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    return scores.softmax(dim=-1) @ values

# %% wrong="contractions" says="one table of channels by channels a picture"
# Misunderstands: a letter left out after the arrow is summed, so the batch disappears.
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->pq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)

# %% wrong="contractions" says="the mean of products"
# Misunderstands: a contraction averages; it sums.
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features)


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)

# %% wrong="contractions" says="channel comes first"
# Misunderstands: the order after the arrow is the order of the result.
def paint(shares, colours):
    return torch.einsum("khw,kc->hwc", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)

# %% right="contractions"
# Matrix products and transposes, no einsum at all.
def paint(shares, colours):
    return torch.tensordot(colours, shares, dims=([0], [0]))


def gram(features):
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[-1]


def attend(queries, keys, values):
    q, k, v = (x.transpose(1, 2) for x in (queries, keys, values))
    weights = F.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1)
    return (weights @ v).transpose(1, 2)

# %% right="contractions"
# Broadcasting and sums; the softmax written out.
def paint(shares, colours):
    return (shares[:, None] * colours[:, :, None, None]).sum(0)


def gram(features):
    return (features.unsqueeze(1) * features.unsqueeze(2)).mean(dim=(-2, -1))


def attend(queries, keys, values):
    scores = (queries[:, :, None] * keys[:, None]).sum(-1) * queries.size(-1) ** -0.5  # [b, t, s, h]
    weights = (scores - scores.amax(dim=2, keepdim=True)).exp()
    weights = weights / weights.sum(dim=2, keepdim=True)
    return (weights[..., None] * values[:, None]).sum(dim=2)

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
# patches themselves, as tokens, centred and scaled. Left the picture with one patch marked, right the weights of that
# patch. `attend` returns the weights when the values are an identity matrix: every key position is then its own feature.

# %%
size = 8
rows, columns = 96 // size, 128 // size
tokens = to_tokens(patch_view(original, size))
tokens = 60 * F.normalize(tokens - tokens.mean(0), dim=1)
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
place = torch.tensor([0, 2, 2, 2])
lost, kept = torch.zeros(3), torch.zeros(3)
lost[place] += 1
kept.index_add_(0, place, torch.ones(4))
print("out[index] += 1 :", lost.tolist(), "  index_add :", kept.tolist())  # NBVAL_CHECK_OUTPUT

# %% [markdown]
# ### Exercise 4 · Look up and add up (`gather_scatter`, 3 points)
#
# `next_token_logprobs(logits, ids)`: how likely a language model found a text; the core of its loss, of perplexity and of
# every method that compares answers.
# - `logits` `[b, t, v]`: row `logits[i, j]` scores all `v` possible tokens for position **j + 1**, after reading up to `j`.
# - `ids` `[b, t]`, `int64`: the text.
# - returns `[b, t - 1]`: entry `[i, j]` is the log-probability of token `ids[i, j + 1]`. Scores may be as large as ±1000.
#
# `segment_mean(values, segment, count)`: the mean of the rows of each group.
# - `values` `[n, d]`, `segment` `[n]` (`int64`, group of each row, in any order), `count` groups in all.
# - returns `[count, d]` of the dtype of `values`; a group without rows has mean 0.
#
# Both without a Python loop over positions, rows or groups, and both differentiable.

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
with check.exercise("gather_scatter"):
    generator = torch.Generator().manual_seed(24)
    logits = torch.randn(3, 5, 7, generator=generator)
    ids = torch.randint(0, 7, (3, 5), generator=generator)
    probabilities = logits.exp() / logits.exp().sum(-1, keepdim=True)
    expected = torch.tensor([[probabilities[i, j, ids[i, j + 1]].log() for j in range(4)] for i in range(3)])
    got = next_token_logprobs(logits, ids)
    check.shape(got, (3, 4), "`next_token_logprobs` of 3 texts of 5 tokens", "one number for each token but the first")
    check.equal(
        got,
        expected,
        "`next_token_logprobs`",
        "logits at position j are about token j + 1; logits become log-probabilities with a log-softmax over the vocabulary",
    )
    single = next_token_logprobs(logits[:1, :2], ids[:1, :2])
    check.shape(single, (1, 1), "`next_token_logprobs` of 1 text of 2 tokens", "does a `squeeze()` without dim remove axes that should stay?")
    large = torch.tensor([[[0.0, 1000.0, -1000.0], [0.0, 0.0, 0.0]]])
    check.equal(
        next_token_logprobs(large, torch.tensor([[0, 2]])),
        torch.tensor([[-2000.0]]),
        "the log-probability of a token with score -1000 beside one of 1000",
        "the softmax is 0 in floating point and its logarithm -inf: take both in one step",
    )

    values = torch.randn(8, 3, generator=generator)
    segment = torch.tensor([4, 1, 4, 0, 4, 1, 4, 5])
    got = segment_mean(values, segment, 7)
    check.shape(got, (7, 3), "`segment_mean` of 8 rows in 7 groups", "`count` says how many groups there are; the last may be empty")
    check.equal(got[0], values[3], "the mean of a group with one row")
    hint = "several rows name the same group: does the second write cover the first? And is each sum divided by its own number of rows?"
    check.equal(got[1], values[[1, 5]].mean(0), "the mean of group 1, rows 1 and 5,", hint)
    check.equal(got[4], values[[0, 2, 4, 6]].mean(0), "the mean of group 4, rows 0, 2, 4 and 6,", hint)
    check.equal(got[[2, 3, 6]], torch.zeros(3, 3), "the means of the empty groups 2, 3 and 6", "an empty group is 0 / 0 unless you prevent it")

    for name, call in (
        ("next_token_logprobs", lambda n: next_token_logprobs(torch.rand(n, n, 7), torch.zeros(n, n, dtype=torch.int64))),
        ("segment_mean", lambda n: segment_mean(torch.rand(2 * n, 3), torch.arange(2 * n) % n, n)),
    ):
        small, large = operations(lambda: call(3)), operations(lambda: call(9))
        check.true(large <= small, f"`{name}` takes {small} tensor operations on a small input and {large} on a larger one: is there a loop?")

    logits.requires_grad_()
    values.requires_grad_()
    picked, means = next_token_logprobs(logits, ids), segment_mean(values, segment, 7)
    hint = "something on the way cut the graph (`.data`, `.detach()`, NumPy, `torch.tensor(...)`)."
    check.true(picked.requires_grad, f"No gradient can flow from the log-probabilities to the logits: {hint}")
    check.true(means.requires_grad, f"No gradient can flow from the means to the values: {hint}")
    ### BEGIN HIDDEN TESTS
    picked.sum().backward()
    onehot = F.one_hot(ids[:, 1:], 7).float()
    expected = torch.cat([onehot - probabilities[:, :-1], torch.zeros(3, 1, 7)], dim=1)
    check.equal(logits.grad, expected, "the gradient of the summed log-probabilities", "the last position predicts a token that is not there")
    means[4].sum().backward()
    expected = (segment == 4).float()[:, None].expand(8, 3) / 4
    check.equal(values.grad, expected, "the gradient of the mean of group 4", "each of its four rows has a share of 1/4")

    logits = 5 * torch.randn(2, 9, 4, generator=generator, dtype=torch.float64)
    ids = torch.randint(0, 4, (2, 9), generator=generator)
    expected = -F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    check.equal(next_token_logprobs(logits, ids), expected, "`next_token_logprobs` of 2 texts of 9 tokens in float64")
    values = torch.randn(20, 5, generator=generator, dtype=torch.float64)
    segment = torch.randint(0, 4, (20,), generator=generator)
    expected = torch.stack([values[segment == i].mean(0) for i in range(4)])
    check.equal(segment_mean(values, segment, 4), expected, "`segment_mean` of 20 rows in 4 groups in float64")
    ### END HIDDEN TESTS

# %% wrong="gather_scatter" says="about token j + 1"
# Misunderstands: logits at position j score the token at position j.
def next_token_logprobs(logits, ids):
    return logits.log_softmax(-1).gather(-1, ids[..., None]).squeeze(-1)[:, 1:]


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]

# %% wrong="gather_scatter" says="with a log-softmax"
# Misunderstands: scores are log-probabilities already.
def next_token_logprobs(logits, ids):
    return logits[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]

# %% wrong="gather_scatter" says="one number for each token"
# Misunderstands: indexing with [b, t] ids picks one number a position (it picks all of them, for every position).
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(-1)[:, :, ids[:, 1:]]


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]

# %% wrong="gather_scatter" says="take both in one step"
# Misunderstands: log(softmax(x)) and log_softmax(x) are the same in floating point.
def next_token_logprobs(logits, ids):
    return logits[:, :-1].softmax(-1).log().gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]

# %% wrong="gather_scatter" says="does the second write cover the first"
# Misunderstands: `out[index] += x` adds once for every entry of the index.
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype)
    sums[segment] += values
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]

# %% wrong="gather_scatter" says="empty group is 0 / 0"
# Misunderstands: every group has a row.
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count)[:, None]

# %% wrong="gather_scatter" says="the last may be empty"
# Misunderstands: the number of groups can be read off the data.
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = torch.zeros(int(segment.max()) + 1, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment).clamp(min=1)[:, None]

# %% wrong="gather_scatter" says="is there a loop"
# Misunderstands: a list comprehension is not a loop.
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    return torch.stack([values[segment == i].mean(0).nan_to_num() for i in range(count)])

# %% right="gather_scatter"
# The loss function of the library, and `scatter_reduce` with a mean of its own.
def next_token_logprobs(logits, ids):
    return -F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")


def segment_mean(values, segment, count):
    index = segment[:, None].expand_as(values)
    empty = torch.zeros(count, values.shape[1], dtype=values.dtype)
    return empty.scatter_reduce(0, index, values, reduce="mean", include_self=False)

# %% right="gather_scatter"
# Two index tensors that broadcast, and groups as a matrix of zeros and ones.
def next_token_logprobs(logits, ids):
    b, t, _ = logits.shape
    chosen = logits[torch.arange(b)[:, None], torch.arange(t - 1), ids[:, 1:]]
    return chosen - logits[:, :-1].logsumexp(dim=2)


def segment_mean(values, segment, count):
    member = (segment == torch.arange(count)[:, None]).to(values.dtype)
    return member @ values / member.sum(dim=1, keepdim=True).clamp_min(1)

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
