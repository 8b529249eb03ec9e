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
# Which operations copy? `view`, `transpose`, `permute`, slices and `expand` never do. `contiguous`, `reshape` and `to`
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
# **Dtype** is the other half of the description. Pictures come as `uint8`: 256 levels, and arithmetic that wraps
# around silently. Division always leaves the integers; the rest stays in the dtype you came with.

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
# **Device** is the last part: where the memory lies. Tensors of different devices do not mix, `x.to(device)` gives a new
# tensor there (or `x` itself, where nothing is to be done), and new tensors appear on the CPU unless you say
# `device=...`. The device `meta` has shapes and dtypes and no memory at all. It exists on every machine and refuses to
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


# %% tests="patches" points=2
with check.exercise("patches"):

    def cut(image, size):
        """Patches [rows, columns, size, size, c] of an array, copied one by one."""
        starts = [range(0, side, size) for side in image.shape[:2]]
        return torch.tensor(np.array([[image[r : r + size, c : c + size] for c in starts[1]] for r in starts[0]]))

    def check_patch_view():
        image = np.random.default_rng(24).integers(0, 256, (15, 21, 2), dtype=np.uint8)
        got = patch_view(image, 3)
        what = "`patch_view` of a picture of shape (15, 21, 2) with size 3"
        hint = "a reshape only cuts the memory anew: split both sides in two axes each, then bring the two grid axes to the front"
        check.equal(got, cut(image, 3), what, hint)
        check.true(
            np.shares_memory(got.numpy(), image),
            f"{what} has the right values in new memory: writing into a patch would not change the picture. "
            "Which of your steps copies? (`torch.tensor`, `contiguous`, `clone`, and `reshape` after a transpose do.)",
        )
        large = np.random.default_rng(25).integers(0, 256, (11, 29, 3), dtype=np.uint8)
        crop = large[2:10, 5:25]
        got = patch_view(crop, 4)
        hint = "rows of a crop do not lie one behind the other: take strides from the tensor, not from the shape"
        check.equal(got, cut(crop, 4), "`patch_view` of a crop of shape (8, 20, 3) with size 4", hint)
        check.true(
            np.shares_memory(got.numpy(), large),
            "The patches of a crop must lie in the memory of the large array; these are a copy.",
        )
        ### BEGIN HIDDEN TESTS
        crop = np.random.default_rng(26).integers(0, 256, (40, 30, 1), dtype=np.uint8)[::2, 3:27]
        got = patch_view(crop, 2)
        check.equal(got, cut(crop, 2), "`patch_view` of every second row of a grey picture, size 2", hint)
        got[3, 5] = 77
        check.true(
            (crop[6:8, 10:12] == 77).all(), "Writing 77 into patch [3, 5] of a grey picture did not reach the picture there."
        )
        ### END HIDDEN TESTS

    def check_to_tokens():
        patches = cut(np.random.default_rng(27).integers(0, 256, (15, 21, 2), dtype=np.uint8), 3)
        before = patches.clone()
        tokens = to_tokens(patches)
        hint = "one row a patch, and all its numbers in that row"
        check.shape(tokens, (35, 18), "`to_tokens` of 5 x 7 patches of shape (3, 3, 2)", hint)
        check.equal(tokens.dtype, torch.float32, "the dtype of the tokens", "divide to leave the integers")
        hint = "values from 0 to 1, patches row by row of the grid"
        check.equal(tokens, patches.reshape(35, 18).float() / 255, "the tokens", hint)
        check.equal(
            patches, before, "the patches after the call", "`to_tokens` must leave its input alone: does it work in place?"
        )
        view = torch.arange(240, dtype=torch.uint8).view(4, 2, 10, 3).unfold(0, 2, 2).unfold(2, 2, 2)[:, :, :, 0]
        view = view.permute(0, 2, 3, 4, 1)
        hint = "patches that are a view are not contiguous, and no strides describe their tokens: which function copies where it must?"
        try:
            tokens = to_tokens(view)
        except RuntimeError as error:
            check.true("view size" not in str(error), f"your code raised RuntimeError on a view: {hint}")
            raise
        check.equal(tokens, view.flatten(2).flatten(0, 1).float() / 255, "the tokens of patches that are a view", hint)
        ### BEGIN HIDDEN TESTS
        patches = cut(np.random.default_rng(28).integers(0, 256, (8, 20, 3), dtype=np.uint8), 4)
        check.equal(to_tokens(patches), patches.reshape(10, 48).float() / 255, "the tokens of 2 x 5 patches of shape (4, 4, 3)")
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
    check.kind(one, torch.Tensor, "what `gaussians` returns")
    check.shape(one, (1, 5, 9), "one spot on 5 x 9 pixels")
    hint = "the exponent is 0 there: is the first number of a centre its row and the second its column, and does nothing else come in?"
    check.equal(one[0, 2, 3], torch.tensor(1.0), "the brightness at the centre, row 2 and column 3", hint)
    at_width = torch.exp(torch.tensor(-4 / (2 * 1.5**2)))
    check.equal(
        one[0, 4, 3], at_width, "the brightness 2 pixels below a centre of width 1.5", "the squared distance is divided by 2 s²"
    )
    check.equal(
        one[0, 2, 1], at_width, "the brightness 2 pixels left of a centre of width 1.5", "the squared distance is divided by 2 s²"
    )
    hint = "the squared distance is the sum of two squares (a product of two brightnesses)"
    check.equal(one[0, 4, 1], at_width**2, "the brightness 2 pixels below and 2 left of a centre of width 1.5", hint)

    # As many spots as columns and rows: here a wrong alignment raises no error.
    generator = torch.Generator().manual_seed(24)
    centres, widths = 5 * torch.rand(5, 2, generator=generator), 0.5 + torch.rand(5, generator=generator)
    got = gaussians(centres, widths, 5, 5)
    check.shape(got, (5, 5, 5), "5 spots on 5 x 5 pixels", "every spot needs a picture of its own: the spots are axis 0")
    for k in range(5):
        check.equal(
            got[k],
            gaussians(centres[k : k + 1], widths[k : k + 1], 5, 5)[0],
            f"spot {k} of 5 (compared with the same spot alone)",
            "shapes are lined up from the right: do centres and widths meet axis 0 of the result, or its rows and columns?",
        )

    def count(k, height, width):
        return operations(lambda: gaussians(torch.rand(k, 2), 1 + torch.rand(k), height, width))

    small = count(4, 8, 9)
    for name, larger in (("spots", count(8, 8, 9)), ("rows", count(4, 16, 9)), ("columns", count(4, 8, 18))):
        check.true(
            larger <= small,
            f"Twice as many {name} take {larger} tensor operations in place of {small}: is there a loop over {name}?",
        )

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
        check.true(
            False,
            f"On another device (`meta`) it fails: {str(error)[:90]} … Tensors that you create need `device=centres.device`.",
        )
    check.equal(
        far.device.type, "meta", "the device of the result for centres on `meta`", "create tensors on the device of `centres`"
    )
    ### BEGIN HIDDEN TESTS
    generator = torch.Generator().manual_seed(25)
    centres = 12 * torch.rand(7, 2, generator=generator, dtype=torch.float64) - 1
    widths = 0.4 + 3 * torch.rand(7, generator=generator, dtype=torch.float64)
    expected = torch.zeros(7, 11, 13, dtype=torch.float64)
    for k, i, j in itertools.product(range(7), range(11), range(13)):
        square = (i - centres[k, 0]) ** 2 + (j - centres[k, 1]) ** 2
        expected[k, i, j] = torch.exp(-square / (2 * widths[k] ** 2))
    check.equal(
        gaussians(centres, widths, 11, 13),
        expected,
        "7 spots on 11 x 13 pixels in float64",
        "does it hold for any size and dtype?",
    )
    ### END HIDDEN TESTS


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


# %% exercise="contractions" minutes=25 difficulty=2 apart=true
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

    def check_paint():
        shares, colours = numbers(4, 5, 7), numbers(4, 3)
        check.equal(
            paint(shares, colours),
            sum(shares[k] * colours[k][:, None, None] for k in range(4)),
            "`paint` of 4 spots in 3 colour channels on 5 x 7 pixels",
            "the letter k is summed, and the channel comes first in the result",
        )
        ### BEGIN HIDDEN TESTS
        shares, colours = numbers(11, 3, 2, dtype=torch.float64), numbers(11, 5, dtype=torch.float64)
        expected = (colours.T @ shares.reshape(11, 6)).reshape(5, 3, 2)
        check.equal(paint(shares, colours), expected, "`paint` of 11 spots in 5 channels, float64")
        ### END HIDDEN TESTS

    def check_gram():
        features = numbers(3, 4, 5, 7)
        what = "`gram` of features [3, 4, 5, 7]"
        check.shape(gram(features), (3, 4, 4), what, "one table of channels by channels a picture")
        expected = torch.stack([(f[:, None] * f).mean((2, 3)) for f in features])
        check.equal(gram(features), expected, what, "the mean of products over the pixels of one picture")
        ### BEGIN HIDDEN TESTS
        features = numbers(2, 6, 3, 4, dtype=torch.float64)
        flat = features.reshape(2, 6, 12)
        check.equal(gram(features), flat @ flat.mT / 12, "`gram` of features [2, 6, 3, 4] in float64")
        ### END HIDDEN TESTS

    def check_attend():
        queries, keys, values = numbers(2, 4, 3, 6), numbers(2, 4, 3, 6), numbers(2, 4, 3, 5)
        got = attend(queries, keys, values)
        check.shape(got, (2, 4, 3, 5), "`attend` with 4 positions, 3 heads, 6 query features and 5 value features")
        same = torch.ones_like(values)
        hint = "the weights of one query over the key positions sum to 1"
        check.equal(attend(queries, keys, same), same, "`attend` with values that are all 1", hint)
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
        q, k, v = (numbers(3, n, 5, w, dtype=torch.float64) for n, w in ((2, 7), (4, 7), (4, 3)))
        expected = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)
        what = "`attend` of 2 queries to 4 keys (compared with F.scaled_dot_product_attention)"
        check.equal(attend(q, k, v), expected, what)
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
# every method that compares answers.
# - `logits` `[b, t, v]`: row `logits[i, j]` scores all `v` possible tokens for position **j + 1**, after reading up to `j`.
# - `ids` `[b, t]`, `int64`: the text.
# - returns `[b, t - 1]`: entry `[i, j]` is the log-probability of token `ids[i, j + 1]`. Scores may be as large as ±1000.
#
# `segment_mean(values, segment, count)`: the mean of the rows of each group.
# - `values` `[n, d]`, `segment` `[n]` (`int64`, group of each row, in any order), `count` groups in all.
# - returns `[count, d]` of the dtype of `values`; a group without rows has mean 0.
#
# Both without a Python loop over positions, rows or groups, and both with right gradients, also beside an empty group.


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
    cut_hint = "something on the way cut the graph (`.data`, `.detach()`, NumPy, `torch.tensor(...)`)."

    def no_loop(name, call):
        small, large = operations(lambda: call(3)), operations(lambda: call(9))
        said = f"`{name}` takes {small} tensor operations on a small input and {large} on a larger one: is there a loop?"
        check.true(large <= small, said)

    def check_next_token_logprobs():
        logits = torch.randn(3, 5, 7, generator=generator)
        ids = torch.randint(0, 7, (3, 5), generator=generator)
        probabilities = logits.exp() / logits.exp().sum(-1, keepdim=True)
        expected = torch.tensor([[probabilities[i, j, ids[i, j + 1]].log() for j in range(4)] for i in range(3)])
        got = next_token_logprobs(logits, ids)
        check.shape(got, (3, 4), "`next_token_logprobs` of 3 texts of 5 tokens", "one number for each token but the first")
        check.equal(
            next_token_logprobs(torch.zeros(3, 5, 7), ids),
            torch.full((3, 4), -math.log(7)),
            "`next_token_logprobs` where all 7 scores are equal",
            "each token has probability 1/7 then: scores become log-probabilities through a log-softmax over the last axis",
        )
        hint = "logits at position j are about token j + 1: which slice of each goes together?"
        check.equal(got, expected, "`next_token_logprobs`", hint)
        single = next_token_logprobs(logits[:1, :2], ids[:1, :2])
        hint = "does a `squeeze()` without dim remove axes that should stay?"
        check.shape(single, (1, 1), "`next_token_logprobs` of 1 text of 2 tokens", hint)
        large = torch.tensor([[[0.0, 1000.0, -1000.0], [0.0, 0.0, 0.0]]])
        check.equal(
            next_token_logprobs(large, torch.tensor([[0, 2]])),
            torch.tensor([[-2000.0]]),
            "the log-probability of a token with score -1000 beside one of 1000",
            "the softmax is 0 in floating point and its logarithm -inf: take both in one step",
        )
        no_loop("next_token_logprobs", lambda n: next_token_logprobs(torch.rand(n, n, 7), torch.zeros(n, n, dtype=torch.int64)))
        picked = next_token_logprobs(logits.requires_grad_(), ids)
        check.true(picked.requires_grad, f"No gradient can flow from the log-probabilities to the logits: {cut_hint}")
        ### BEGIN HIDDEN TESTS
        picked.sum().backward()
        onehot = F.one_hot(ids[:, 1:], 7).float()
        expected = torch.cat([onehot - probabilities[:, :-1], torch.zeros(3, 1, 7)], dim=1)
        hint = "the last position predicts a token that is not there"
        check.equal(logits.grad, expected, "the gradient of the summed log-probabilities", hint)
        logits = 5 * torch.randn(2, 9, 4, generator=generator, dtype=torch.float64)
        ids = torch.randint(0, 4, (2, 9), generator=generator)
        expected = -F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
        check.equal(next_token_logprobs(logits, ids), expected, "`next_token_logprobs` of 2 texts of 9 tokens in float64")
        ### END HIDDEN TESTS

    def check_segment_mean():
        values = torch.randn(8, 3, generator=generator, dtype=torch.float64)
        segment = torch.tensor([4, 1, 4, 0, 4, 1, 4, 5])
        got = segment_mean(values, segment, 7)
        hint = "`count` says how many groups there are; the last may be empty"
        check.shape(got, (7, 3), "`segment_mean` of 8 rows in 7 groups", hint)
        hint = "nothing else comes in: is each sum divided by its own number of rows, and by nothing more?"
        check.equal(got[0], values[3], "the mean of a group with one row", hint)
        hint = (
            "several rows name the same group: does the second write cover the first? Is each sum divided by its number of rows?"
        )
        check.equal(got[1], values[[1, 5]].mean(0), "the mean of group 1 (rows 1 and 5)", hint)
        check.equal(got[4], values[[0, 2, 4, 6]].mean(0), "the mean of group 4 (rows 0, 2, 4 and 6)", hint)
        hint = "an empty group is 0 / 0 unless you prevent it"
        check.equal(got[[2, 3, 6]], torch.zeros(3, 3).double(), "the means of the empty groups 2, 3 and 6", hint)
        no_loop("segment_mean", lambda n: segment_mean(torch.rand(2 * n, 3), torch.arange(2 * n) % n, n))
        means = segment_mean(values.requires_grad_(), segment, 7)
        check.true(means.requires_grad, f"No gradient can flow from the means to the values: {cut_hint}")
        means[4].sum().backward()
        check.equal(
            values.grad,
            (segment == 4).double()[:, None].expand(8, 3) / 4,
            "the gradient of the mean of group 4 for the values",
            "each of its rows has a share of 1/4, all others 0. (A 0 / 0 that is only replaced afterwards sends NaN back.)",
        )
        ### BEGIN HIDDEN TESTS
        values = torch.randn(20, 5, generator=generator)
        segment = torch.randint(0, 4, (20,), generator=generator)
        expected = torch.stack([values[segment == i].mean(0) for i in range(4)])
        check.equal(segment_mean(values, segment, 4), expected, "`segment_mean` of 20 rows in 4 groups in float32")
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
# Write the loop that every optimiser is built around: `descend(loss_of, parameters, rate, steps)`, without `torch.optim`.
# - `loss_of()`: takes nothing, returns a scalar tensor computed from the parameters; call it once a step.
# - `parameters`: leaf tensors that require gradients, given as any iterable: a list, or a generator as `model.parameters()`
#   is one. Some may play no part in the loss; they stay as they are.
# - one step: the loss, its gradients, then for every parameter **in place** `parameter -= rate * gradient`.
# - gradients left in `.grad` from earlier, inside the loop or before it, must not count.
# - returns a list with the loss of each step, before its update, as Python floats.


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
with check.exercise("descend"):

    def problem(seed):
        """Parameters, their loss, and a list that grows with each call of the loss."""
        generator = torch.Generator().manual_seed(seed)
        a, b, unused, mix = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((3, 5), (3,), (2,), (5, 3)))
        calls = []

        def loss_of():
            calls.append(1)
            return ((a.tanh() @ mix + b) ** 2).mean()

        return [p.requires_grad_() for p in (a, b, unused)], loss_of, calls

    def descended(seed, rate, steps):
        """The same problem, done by the library."""
        parameters, loss_of, _ = problem(seed)
        optimiser, losses = torch.optim.SGD(parameters, lr=rate), []
        for _ in range(steps):
            optimiser.zero_grad()
            loss = loss_of()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        return [p.detach() for p in parameters], losses

    def run(loss_of, parameters, rate, steps):
        """`descend`, with the two best-known errors of autograd put into words."""
        try:
            return descend(loss_of, parameters, rate, steps)
        except RuntimeError as error:
            said = str(error).rstrip(".")
            why = {
                "leaf Variable": "The update must not be noted by autograd: put it under `torch.no_grad()`.",
                "does not require grad": "The loss has no notes behind it: does `no_grad` hold for the forward pass too? Only the update belongs there.",
            }
            for words, meaning in why.items():
                check.true(words not in said, f"your code raised RuntimeError: {said}. {meaning}")
            raise

    parameters, loss_of, calls = problem(24)
    start = [p.detach().clone() for p in parameters]
    losses = run(loss_of, parameters, 0.1, 1)
    check.kind(losses, list, "what `descend` returns")
    check.true(len(losses) == 1, f"One step gives {len(losses)} losses, expected 1.")
    check.kind(
        losses[0],
        float,
        "a loss in the list",
        "a tensor there keeps the whole graph of its step in memory; `.item()` is the number alone",
    )
    after, expected = descended(24, 0.1, 1)
    check.true(
        not torch.equal(parameters[0], start[0]),
        "After a step the tensors that you were given have not moved: `p = p - ...` makes a new tensor and leaves the old one as it was; "
        "and a gradient that is cleared between `backward` and the update moves nothing.",
    )
    check.equal(parameters[0].detach(), after[0], "the first parameter after one step", "old value minus rate times gradient")
    check.equal(parameters[1].detach(), after[1], "the second parameter after one step", "old value minus rate times gradient")
    check.equal(losses, expected, "the losses of one step", "the loss before the update")

    parameters, loss_of, calls = problem(24)
    losses = descend(loss_of, parameters, 0.1, 4)
    after, expected = descended(24, 0.1, 4)
    for i in range(2):
        hint = "`backward` adds to `.grad`: is it cleared between steps?"
        check.equal(parameters[i].detach(), after[i], f"parameter {i} after 4 steps (the first step was right)", hint)
    check.equal(losses, expected, "the losses of 4 steps", "one loss a step, each before its update")
    check.equal(len(calls), 4, "how often 4 steps call `loss_of`", "one forward pass a step is enough")
    check.true(
        all(p.is_leaf and p.requires_grad for p in parameters),
        "After the call a parameter is no longer a leaf that requires gradients, so it cannot be trained further: update it in place under `torch.no_grad()`.",
    )
    check.equal(parameters[2].detach(), start[2], "a parameter that plays no part in the loss", "it has no gradient, so it stays")

    parameters, loss_of, _ = problem(24)
    for p in parameters[:2]:
        p.grad = torch.full_like(p, 100.0)
    descend(loss_of, parameters, 0.1, 1)
    check.equal(
        parameters[0].detach(),
        descended(24, 0.1, 1)[0][0],
        "a step with gradients left over from before the call",
        "clear before `backward`, not after the update",
    )

    parameters, loss_of, _ = problem(24)
    descend(loss_of, (p for p in parameters), 0.1, 2)
    hint = "a generator can be walked through once only, and the second loop over it finds nothing: make a list of it first"
    check.equal(parameters[0].detach(), descended(24, 0.1, 2)[0][0], "2 steps on parameters that come as a generator", hint)
    ### BEGIN HIDDEN TESTS
    models, generator = [], torch.Generator().manual_seed(25)
    batch, answer = torch.randn(11, 4, generator=generator), torch.randn(11, 2, generator=generator)
    for _ in range(2):
        torch.manual_seed(25)
        models.append(torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 2)))
    optimiser, expected = torch.optim.SGD(models[1].parameters(), lr=0.3), []
    for _ in range(7):
        optimiser.zero_grad()
        loss = F.mse_loss(models[1](batch), answer)
        loss.backward()
        optimiser.step()
        expected.append(loss.item())
    losses = descend(lambda: F.mse_loss(models[0](batch), answer), models[0].parameters(), rate=0.3, steps=7)
    check.equal(losses, expected, "7 losses of a small network", rtol=1e-4)
    for mine, theirs in zip(models[0].parameters(), models[1].parameters()):
        check.equal(
            mine.detach(),
            theirs.detach(),
            f"a parameter of shape {tuple(theirs.shape)} of a small network after 7 steps",
            rtol=1e-4,
        )
    ### END HIDDEN TESTS


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Five things happen in a step: forward, clear, backward, update, write down the loss. Which orders are possible, and
# which of the five must not be noted by autograd?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `loss.backward()`, `parameter.grad` (which is `None` where no gradient arrived), `torch.no_grad()`, the in-place
# operator `-=`, `loss.item()`, and `list(...)` for an iterable that you need more than once.
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
# Around it: make a list of the parameters, collect `loss.item()`, return the list.
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
    curve += descend(lambda: difference(spots), spots.values(), rate=0.1, steps=steps)
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
#   `@staticmethod`) refuses second derivatives; recomputing intermediate results from saved inputs makes them right.
#
# ### Exercise 6 · RMSNorm with its own backward (`rms_norm`, 4 points, 40 minutes, difficulty 3 of 3)
#
# RMSNorm is the normalisation in most current language models. With $d$ features on the last axis:
#
# $$y = \frac{x}{r}\,w, \qquad r = \sqrt{\tfrac{1}{d}\textstyle\sum_j x_j^2 + \varepsilon}$$
#
# Write `RMSNorm` as a `torch.autograd.Function`, used as `RMSNorm.apply(x, weight, eps)`.
# - `x` `[..., d]` with at least one axis before the last, `weight` `[d]`, `eps` a Python float; `y` like `x`.
# - `backward` is written by hand for `x` and `weight`, from what was saved; it must pass `gradcheck`.
# - changing `x` in place between forward and backward must give an error or the right gradient, never a wrong one.
# - the same for second derivatives: right or refused.


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
with check.exercise("rms_norm"):

    def formula(x, weight, eps):
        return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight

    def gradients(function, x, weight, eps, grad_output):
        """Gradients for x and weight; an error of the engine becomes a sentence."""
        x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
        try:
            return torch.autograd.grad(function(x, weight, eps), (x, weight), grad_output)
        except RuntimeError as error:
            if "number of gradients" not in str(error):
                raise
        check.true(
            False,
            "`backward` returns the wrong number of gradients: one for each argument of `forward` (x, weight, eps), None for `eps`.",
        )

    generator = torch.Generator().manual_seed(24)
    x = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64)
    weight, grad_output = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((5,), (3, 4, 5)))
    got = RMSNorm.apply(x, weight, 0.3)
    check.equal(
        got,
        formula(x, weight, 0.3),
        "`RMSNorm.apply` with eps 0.3",
        "the mean of squares over the last axis, eps under the root, then the weight",
    )

    for_x, for_weight = gradients(RMSNorm.apply, x, weight, 0.3, grad_output)
    expected = gradients(formula, x, weight, 0.3, grad_output)
    check.equal(
        for_weight,
        expected[1],
        "the gradient of the weight",
        "the weight meets the normalised x at every position: grad_output times that, summed over all positions",
    )
    check.equal(
        for_x,
        expected[0],
        "the gradient of x",
        "the input works in two ways: directly, and through r, which depends on every entry of its row; and is `grad_output` (with the weight) in both?",
    )

    def right_or_refused(what, compute, expected, hint):
        try:
            got = compute()
        except RuntimeError:
            return
        check.equal(got, expected, what, hint)

    def changed_in_place(function):
        leaf = x.clone().requires_grad_()
        inner = leaf * 1
        y = function(inner, weight, 0.3)
        with torch.no_grad():
            inner.add_(1)
        return torch.autograd.grad(y, leaf, grad_output)[0]

    right_or_refused(
        "the gradient of x (when x is changed in place after forward)",
        lambda: changed_in_place(RMSNorm.apply),
        expected[0],
        "keep tensors with `ctx.save_for_backward`: it notices such a change and raises an error, an attribute `ctx.x` does not",
    )

    def second(function):
        leaf = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(function(leaf, weight, 0.3).pow(3).sum(), leaf, create_graph=True)
        return torch.autograd.grad(first.pow(2).sum(), leaf)[0]

    right_or_refused(
        "the second derivative for x",
        lambda: second(RMSNorm.apply),
        second(formula),
        "what `forward` computed and saved is a constant to `backward`: compute it again from x, or refuse with `@once_differentiable`",
    )

    twice = gradients(lambda x, w, eps: RMSNorm.apply(RMSNorm.apply(x, w, eps) + 1, w, eps), x, weight, 0.3, grad_output)
    expected = gradients(lambda x, w, eps: formula(formula(x, w, eps) + 1, w, eps), x, weight, 0.3, grad_output)
    hint = "each call needs notes of its own: they belong on `ctx`, not on the class or in a global"
    check.equal(twice[0], expected[0], "the gradient of x through two RMSNorms in a row", hint)
    check.equal(twice[1], expected[1], "the gradient of a weight that two RMSNorms in a row share", hint)
    ### BEGIN HIDDEN TESTS
    small = torch.randn(7, 3, generator=generator)
    scale, grad_output = torch.randn(3, generator=generator), torch.randn(7, 3, generator=generator)
    got = RMSNorm.apply(small, scale, 1e-5)
    check.equal(got, F.rms_norm(small, (3,), scale, 1e-5), "`RMSNorm.apply` in float32 (compared with F.rms_norm)")
    got, expected = (gradients(f, small, scale, 1e-5, grad_output) for f in (RMSNorm.apply, formula))
    check.equal(got[0], expected[0], "the gradient of x in float32", rtol=1e-4)
    check.equal(got[1], expected[1], "the gradient of the weight in float32", rtol=1e-4)
    wide = torch.randn(2, 3, 2, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    scale = torch.randn(6, generator=generator, dtype=torch.float64)
    try:
        torch.autograd.gradcheck(lambda x: RMSNorm.apply(x, scale, 0.1), wide)
        torch.autograd.gradcheck(lambda w: RMSNorm.apply(wide.detach(), w, 0.1), scale.clone().requires_grad_())
    except torch.autograd.gradcheck.GradcheckError as error:
        check.true(False, f"gradcheck on x [2, 3, 2, 6]: {' '.join(str(error).split())[:160]}")
    ### END HIDDEN TESTS


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
# - `loss_of(parameters, x, y)`: scalar loss of **one** example; `parameters` is a dict of tensors.
# - `inputs` `[n, ...]`, `targets` `[n, ...]`.
# - returns a dict with the same names; each entry has shape `[n, *shape of that parameter]`.
#
# `newton(f, points, steps)`: Newton's method finds where $f(p) = 0$, for many starting points at once.
# - `f` takes **one** point `[d]` and returns `[d]`; `points` has shape `[n, d]`.
# - one step: $p \leftarrow p - J(p)^{-1} f(p)$, with $J$ the Jacobian of $f$ at $p$. Do it `steps` times.
# - returns the new points `[n, d]`; the given ones stay as they were.
#
# The number of tensor operations must not grow with `n`.


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
with check.exercise("derivatives"):
    generator = torch.Generator().manual_seed(24)

    def numbers(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def no_loop(name, call):
        small, large = operations(lambda: call(2)), operations(lambda: call(6))
        said = f"`{name}` takes {small} tensor operations for 2 examples and {large} for 6: is there a loop over them?"
        check.true(large <= small, said)

    def check_per_sample_gradients():
        def loss_of(parameters, x, y):
            return ((parameters["matrix"] @ x).tanh() + parameters["shift"] - y).pow(2).sum()

        parameters = {"matrix": numbers(3, 5), "shift": numbers(3)}
        inputs, targets = numbers(4, 5), numbers(4, 3)
        try:
            got = per_sample_gradients(loss_of, parameters, inputs, targets)
        except ValueError as error:
            hint = "All examples share the parameters: `in_dims` says so with None, and 0 for what they bring along."
            check.true("vmap" not in str(error), f"your code raised ValueError: {error}. {hint}")
            raise
        check.kind(got, dict, "what `per_sample_gradients` returns", "a gradient for each parameter, by name")
        check.equal(sorted(got), ["matrix", "shift"], "the names of the gradients")
        for name, parameter in parameters.items():
            what = f"the result for {name!r} (a parameter of shape {tuple(parameter.shape)})"
            hint = "one gradient for each of the 4 examples, not one for their mean or sum"
            check.shape(got[name], (4, *parameter.shape), what, hint)
            for i in range(4):
                leaves = {key: value.clone().requires_grad_() for key, value in parameters.items()}
                (expected,) = torch.autograd.grad(loss_of(leaves, inputs[i], targets[i]), leaves[name])
                hint = "each example has its own input and its own target"
                check.equal(got[name][i], expected, f"the gradient for {name!r} from example {i} alone", hint)
        x, y = inputs[:1], targets[:1]
        no_loop("per_sample_gradients", lambda n: per_sample_gradients(loss_of, parameters, x.expand(n, 5), y.expand(n, 3)))

        ### BEGIN HIDDEN TESTS
        def other_loss(parameters, x, y):
            return F.cross_entropy(parameters["out"] @ F.relu(parameters["hidden"] @ x), y)

        parameters = {"hidden": numbers(7, 4), "out": numbers(3, 7)}
        inputs, targets = numbers(6, 4), torch.randint(0, 3, (6,), generator=generator)
        got = per_sample_gradients(other_loss, parameters, inputs, targets)
        leaves = {key: value.clone().requires_grad_() for key, value in parameters.items()}
        logits = F.relu(inputs @ leaves["hidden"].T) @ leaves["out"].T
        for name, expected in zip(leaves, torch.autograd.grad(F.cross_entropy(logits, targets), tuple(leaves.values()))):
            check.shape(got[name], (6, *expected.shape), f"the result for {name!r} in a two-layer network")
            what = f"the mean over examples for {name!r} in a two-layer network (compared with the gradient of the mean loss)"
            check.equal(got[name].mean(0), expected, what)
        ### END HIDDEN TESTS

    def check_newton():
        def f(p):
            return torch.stack([p[0] ** 2 + 3 * p[1] - 4, p[0].exp() * p[1] - 2 * p[0]])

        def by_hand(f, points, steps):
            """Newton point by point, with the older autograd interface."""
            for _ in range(steps):
                points = torch.stack([p - torch.linalg.inv(torch.autograd.functional.jacobian(f, p)) @ f(p) for p in points])
            return points

        points = numbers(5, 2)
        before = points.clone()
        got = newton(f, points, 1)
        hint = "the function takes one point: what adds the axis of points?"
        check.shape(got, (5, 2), "one Newton step from 5 points in the plane", hint)
        check.equal(
            got,
            by_hand(f, before, 1),
            "one Newton step from 5 points",
            "minus the solution s of J s = f(p); row i of J holds the derivatives of f_i "
            "(is J transposed, its inverse missing, the sign turned?)",
            rtol=1e-6,
        )
        check.equal(points, before, "the given points after the call", "leave them alone")
        hint = "each step starts where the last one ended, with a new Jacobian"
        check.equal(newton(f, points, 3), by_hand(f, before, 3), "three Newton steps", hint, rtol=1e-6)
        no_loop("newton", lambda n: newton(lambda p: p * p - 2, 1 + torch.rand(n, 2), 2))

        ### BEGIN HIDDEN TESTS
        def three(p):
            return torch.stack([p[0] + 2 * p[1].sin() - p[2], p[1] ** 3 - p[2] + 1, p[0] * p[2] + 5 * p[1] - 1])

        points = 1 + 0.3 * numbers(7, 3)
        what = "four Newton steps from 7 points in space"
        check.equal(newton(three, points, 4), by_hand(three, points, 4), what, rtol=1e-6)
        check.equal(newton(three, points, 0), points, "no Newton step at all", "`steps` steps, no more")
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
# values in one go; `torch.autograd.gradcheck` compares gradients.
#
# ### Exercise 8 · Tests for `normalise` (`normalise_tests`, 3 points, 25 minutes, difficulty 2 of 3)
#
# A colleague will write `normalise(x, dim)`. This is what it promises, for any `x` of dtype `float32` or `float64` with any
# number of axes, and any axis `dim` of it:
# - it divides every vector along `dim` by its Euclidean length, so that its length becomes 1: a vector of length 0.000001
#   as well as one of a million;
# - a vector of zeros stays a vector of zeros;
# - shape and dtype are those of `x`, and `x` itself is not changed;
# - gradients flow back to `x`, and they are right (where the length is not 0).
#
# Write `check_normalise(normalise)`: it calls the function it is given with inputs of your choice, returns nothing if all
# promises are kept, and raises an error (an `assert`, or one of the two functions above) if one is broken.
#
# Your tests are run on correct implementations, which differ in the last digits, and on ten broken ones, some of them
# hidden. A correct one that you turn down costs all points. Otherwise the share of the broken ones that you catch is the
# share of the points that you get. So ask of every input: which mistake could it not see? The input in the stub is a
# start; change it as you like.


# %% exercise="normalise_tests" minutes=25 difficulty=2
def check_normalise(normalise) -> None:
    """Raise an error if `normalise(x, dim)` breaks a promise."""
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    ### BEGIN SOLUTION
    x[0] = 0
    x[1] *= 1e-3
    for dim in range(x.ndim):
        given = x.clone()
        length = x.norm(dim=dim, keepdim=True)
        torch.testing.assert_close(normalise(given, dim), torch.where(length > 0, x / length, x))
        assert torch.equal(given, x), "the input was changed"
        torch.autograd.gradcheck(lambda v: normalise(v, dim), torch.rand_like(x).requires_grad_())
    ### END SOLUTION


# %% tests="normalise_tests" points=3
with check.exercise("normalise_tests"):

    def by_library(x, dim):
        return F.normalize(x, dim=dim)

    def by_hand(x, dim):
        square = x.square().sum(dim, keepdim=True)
        return x * torch.where(square > 0, square, 1).rsqrt()

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

    right = {"F.normalize": by_library, "written by hand": by_hand}
    wrong = {
        "divides by the sum of absolute values": other_length,
        "normalises the last axis whatever `dim` says": last_axis,
        "gives NaN for a vector of zeros": nan_for_zeros,
        "returns float32 for float64": single_precision,
        "writes its result into the input": overwrites,
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

    def cut_from_graph(x, dim):
        return F.normalize(x.detach(), dim=dim)

    def constant_length(x, dim):
        return x / x.detach().norm(dim=dim, keepdim=True).clamp(min=1e-12)

    right |= {"by transposing": by_transposing}
    wrong |= {
        "divides by one length for the whole tensor": whole_tensor,
        "normalises the first axis whatever `dim` says": first_axis,
        "leaves short vectors too short": short_stays_short,
        "cuts its result from the graph": cut_from_graph,
        "treats the length as a constant in the gradient": constant_length,
    }
    ### END HIDDEN TESTS
    check.catches(check_normalise, right, wrong)
check.points(3)


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Go through the promises one by one, and for each think of an implementation that breaks this one and keeps all the
# others. Which input shows it? With numbers of ordinary size, on one axis, most of them look right.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `torch.testing.assert_close(actual, expected)` for shape, dtype and values; `torch.equal(x, copy)` for an input that must
# not change; `torch.autograd.gradcheck(function, input)` with a `float64` input that requires gradients and holds no zeros.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# Make one slice of `x` zero (`x[0] = 0`) and one short (`x[1] *= 1e-3`). Then:
#
# ```python
# for dim in range(x.ndim):
#     given = x.clone()
#     length = x.norm(dim=dim, keepdim=True)
#     expected = torch.where(length > 0, x / length, x)
#     ...   # compare normalise(given, dim) with expected, and given with x
#     torch.autograd.gradcheck(lambda v: normalise(v, dim), ...)
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
# `record(camera, count)`: reads exactly `count` frames; returns `float32` `[count, height, width]` from 0 to 1, each frame as it
# was when it was read. (`camera.read()` gives a `uint8` array `[height, width]`.)
#
# `to_device(batch, device, dtype)`
# - `batch` is a tensor, or a dict, list or tuple of batches, nested to any depth, or anything else (a string, a number, `None`).
# - returns the same structure (dict, list or tuple, in order) with every tensor on `device`; floating-point tensors also get
#   `dtype`, all other tensors keep theirs; anything else goes through as it is. The given batch stays as it was.
#
# `smooth(losses, keep)`
# - `losses` yields one scalar tensor for each training step; as a rule it is a generator that runs the step when it is asked
#   for the next loss, and needs gradients switched on for it.
# - returns a list of Python floats: the first loss, then each time `keep * average + (1 - keep) * loss`.
# - when the next loss is asked for, at most the graph of the newest loss may still be alive.


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
with check.exercise("clinic"):

    class Driver:
        """A camera with one buffer, which remembers what it gave."""

        def __init__(self, height, width, seed):
            self.random, self.buffer, self.given = np.random.default_rng(seed), np.zeros((height, width), np.uint8), []

        def read(self):
            self.buffer[:] = self.random.integers(0, 256, self.buffer.shape)
            self.given.append(self.buffer.copy())
            return self.buffer

    def check_record():
        camera = Driver(3, 5, 24)
        film = record(camera, 4)
        check.equal(len(camera.given), 4, "how many frames `record` reads for count 4")
        check.shape(film, (4, 3, 5), "`record` of 4 frames of 3 x 5 pixels")
        check.equal(film.dtype, torch.float32, "the dtype of the film", "values go from 0 to 1: divide by 255")
        check.equal(
            film,
            torch.tensor(np.array(camera.given)).float() / 255,
            "the film",
            "`read` hands out the same memory every time, and `from_numpy` is a view of it: copy each frame when it is read. Values go from 0 to 1",
        )
        ### BEGIN HIDDEN TESTS
        camera = Driver(4, 2, 25)
        film = record(camera, 7)
        check.equal(film, torch.tensor(np.array(camera.given)).float() / 255, "a film of 7 frames of 4 x 2 pixels")
        camera.read()
        check.equal(film, torch.tensor(np.array(camera.given[:-1])).float() / 255, "the film after the camera went on")
        ### END HIDDEN TESTS

    def check_to_device():
        batch = {
            "pixels": torch.rand(2, 3),
            "ids": torch.tensor([[1, 1001]]),
            "more": [torch.tensor([True]), ("a name", torch.rand(1, dtype=torch.float64))],
            "count": 3,
        }
        before, (flag, pair) = dict(batch), batch["more"]
        moved = to_device(batch, "meta", torch.bfloat16)
        check.kind(moved, dict, "what `to_device` returns for a dict")
        check.equal(list(moved), list(batch), "the names in the moved batch, in order")
        check.true(
            moved is not batch
            and all(batch[key] is before[key] for key in before)
            and batch["pixels"].device.type == "cpu"
            and batch["more"][0] is flag
            and batch["more"][1] is pair,
            "`to_device` changed the batch that it was given: build a new one.",
        )
        hint = "a tensor's `to` returns a new tensor and leaves the old one where it is"
        check.equal(moved["pixels"].device.type, "meta", "the device of the pixels", hint)
        check.equal(moved["pixels"].dtype, torch.bfloat16, "the dtype of the pixels", "floating-point tensors get the new dtype")
        check.equal(moved["ids"].device.type, "meta", "the device of the ids", hint)
        check.equal(
            moved["ids"].dtype,
            torch.int64,
            "the dtype of the ids",
            "ids are names, not amounts: in bfloat16 token 1001 becomes token 1000",
        )
        check.equal(moved["count"], 3, "what is not a tensor")
        check.kind(moved["more"], list, "a list inside the batch")
        check.equal(
            moved["more"][0].device.type,
            "meta",
            "the device of a tensor in a list",
            "a batch may be nested: let the function call itself",
        )
        check.equal(moved["more"][0].dtype, torch.bool, "the dtype of a mask", "only floating-point tensors get the new dtype")
        check.kind(
            moved["more"][1], tuple, "a tuple in a list in the batch", "the structure comes back as it was, tuples as tuples"
        )
        check.equal(moved["more"][1][0], "a name", "a string in a tuple")
        check.equal(
            moved["more"][1][1].device.type,
            "meta",
            "the device of a tensor in a tuple",
            "a batch may be nested: let the function call itself",
        )
        kept = to_device((torch.tensor([1.5, -2.0]), None), "cpu", torch.float64)
        check.equal(kept[0], torch.tensor([1.5, -2.0], dtype=torch.float64), "the values of a tensor that stays on the CPU")
        check.equal(kept[1], None, "a None in a tuple")
        ### BEGIN HIDDEN TESTS
        nested = [(torch.arange(3), {"x": torch.ones(2), "y": [torch.zeros(1, dtype=torch.uint8)]}), "end"]
        got = to_device(nested, torch.device("cpu"), torch.float16)
        check.kind(got, list, "what `to_device` returns for a list")
        check.kind(got[0], tuple, "a tuple in a list")
        check.equal(got[0][0], torch.arange(3), "int64 numbers two levels down")
        check.equal(got[0][1]["x"], torch.ones(2, dtype=torch.float16), "floats three levels down")
        check.equal(got[0][1]["y"][0], torch.zeros(1, dtype=torch.uint8), "bytes four levels down")
        check.equal(got[1], "end", "a string in a list")
        check.equal(
            to_device(torch.ones(2), "meta", torch.float32).device.type, "meta", "the device of a batch that is one tensor"
        )
        ### END HIDDEN TESTS

    def check_smooth():
        def training(values):
            """Losses as a training loop makes them; `alive` gets how many saved tensors of earlier steps still live."""
            parameter, kept = torch.tensor(1.0, requires_grad=True), weakref.WeakSet()

            class Saved:
                def __init__(self, tensor):
                    self.tensor = tensor
                    kept.add(self)

            for value in values:
                alive.append(len(kept))
                switched_on.append(torch.is_grad_enabled())
                with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
                    loss = (parameter * value).square()  # square keeps its input
                loss_here, loss = loss, None
                yield loss_here
                del loss_here

        alive, switched_on, values = [], [], [3.0, 1.0, 2.0, 5.0, 4.0, 1.5]
        got = smooth(training(values), 0.75)
        check.kind(got, list, "what `smooth` returns")
        check.equal(len(got), 6, "how many averages `smooth` gives for 6 losses")
        for value in got:
            check.kind(value, float, "an average", "take the number out of the tensor")
        squares = [value**2 for value in values]
        check.equal(got[0], squares[0], "the first average", "it starts at the first loss, not at 0")
        check.equal(got[1], 0.75 * squares[0] + 0.25 * squares[1], "the second average", "`keep` belongs to the average so far")
        expected = squares[:1]
        for square in squares[1:]:
            expected.append(0.75 * expected[-1] + 0.25 * square)
        check.equal(got, expected, "the averages")
        check.true(
            all(switched_on),
            "Gradients were switched off while a training step ran: `no_grad` around the loop, or around `next`, also holds inside the generator.",
        )
        check.true(
            max(alive) <= 1,
            f"Graphs of earlier steps stay alive: graphs in memory at the start of each step: {alive}. Take the number out of each loss "
            "(`item`, `detach`) before it enters the average, and do not collect the losses first.",
        )
        ### BEGIN HIDDEN TESTS
        got, expected = smooth((torch.tensor(v, dtype=torch.float64) for v in (1.0, -2.0, 0.5)), 0.9), [1.0, 0.7, 0.68]
        check.equal(got, expected, "the averages of 1, -2 and 0.5 with keep 0.9")
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
    big_curve = descend(big_difference, big_spots.values(), rate=0.1, steps=300)
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
