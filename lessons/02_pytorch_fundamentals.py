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
