# %% wrong="patches" breaks="grid, view" says="only cuts the memory anew"
# Misunderstands: a reshape to the right shape puts every number where its axis says.
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).reshape(height // size, width // size, size, size, channels)


def to_tokens(patches):
    return patches.flatten(0, 1).flatten(1).float() / 255


# %% wrong="patches" breaks="view" says="new memory"
# Misunderstands: `torch.tensor` and `from_numpy` are the same.
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.tensor(image).view(height // size, size, width // size, size, channels).transpose(1, 2)


def to_tokens(patches):
    return patches.flatten(0, 1).flatten(1).float() / 255


# %% wrong="patches" breaks="view, rows" says="which of your steps copies"
# Misunderstands: `contiguous` tidies a tensor up in place.
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).view(height // size, size, width // size, size, channels).transpose(1, 2).contiguous()


def to_tokens(patches):
    return patches.view(len(patches) * patches.shape[1], -1) / 255


# %% wrong="patches" breaks="grid" says="take strides from the tensor"
# Misunderstands: strides follow from the shape, so they can be computed from it.
def patch_view(image, size):
    height, width, channels = image.shape
    shape = (height // size, width // size, size, size, channels)
    return torch.as_strided(
        torch.from_numpy(image), shape, (size * width * channels, size * channels, width * channels, channels, 1)
    )


def to_tokens(patches):
    return patches.flatten(0, 1).flatten(1).float() / 255


# %% wrong="patches" breaks="scale" says="leaves the integers"
# Misunderstands: a picture that was scaled to 0..1 can go back to the dtype it had.
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).view(height // size, size, width // size, size, channels).transpose(1, 2)


def to_tokens(patches):
    return (patches.flatten(0, 1).flatten(1) / 255).to(patches.dtype)


# %% wrong="patches" breaks="rows" says="use .reshape(...) instead"
# Misunderstands: `view` works on any tensor.
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).view(height // size, size, width // size, size, channels).transpose(1, 2)


def to_tokens(patches):
    return patches.view(patches.shape[0] * patches.shape[1], -1).float() / 255


# %% wrong="patches" breaks="rows" says="one row a patch"
# Misunderstands: which axes a token gathers (here each row of the grid becomes one token).
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).view(height // size, size, width // size, size, channels).transpose(1, 2)


def to_tokens(patches):
    return patches.reshape(len(patches), -1).float() / 255


# %% wrong="patches" breaks="grid" says="entry [r, c] is image"
# Misunderstands: the order of the axes that `unfold` leaves behind (the pixels of each patch are transposed).
def patch_view(image, size):
    return torch.from_numpy(image).unfold(0, size, size).unfold(1, size, size).permute(0, 1, 4, 3, 2)


def to_tokens(patches):
    return patches.flatten(0, 1).flatten(1) / 255


# %% wrong="patches" breaks="rows" says="the grid read row by row"
# Misunderstands: any order of the patches will do (here the grid is read column by column).
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).view(height // size, size, width // size, size, channels).transpose(1, 2)


def to_tokens(patches):
    return patches.transpose(0, 1).flatten(0, 1).flatten(1) / 255


# %% wrong="patches" breaks="rows" says="one row a patch"
# Misunderstands: axes of length 1 are superfluous (one patch in all, or one number a patch, lose an axis).
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).view(height // size, size, width // size, size, channels).transpose(1, 2)


def to_tokens(patches):
    return (patches.flatten(0, 1).flatten(1) / 255).squeeze()


# %% wrong="patches" breaks="scale" says="lead to float64"
# Misunderstands: more digits cannot be wrong.
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).view(height // size, size, width // size, size, channels).transpose(1, 2)


def to_tokens(patches):
    return torch.from_numpy(patches.numpy().reshape(patches.shape[0] * patches.shape[1], -1) / 255.0)


# %% wrong="patches" breaks="scale" says="255 becomes 1"
# Misunderstands: values from 0 to 1 means that the brightest pixel of this picture becomes 1.
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).view(height // size, size, width // size, size, channels).transpose(1, 2)


def to_tokens(patches):
    tokens = patches.flatten(0, 1).flatten(1).float()
    return tokens / tokens.max().clamp(min=1)


# %% wrong="patches" breaks="unchanged" says="work in place"
# Misunderstands: `contiguous` always copies (where nothing is to be done it returns the tensor itself, and `resize_` is in place).
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).view(height // size, size, width // size, size, channels).transpose(1, 2)


def to_tokens(patches):
    return patches.contiguous().resize_(patches.shape[0] * patches.shape[1], patches[0, 0].numel()) / 255


# %% wrong="patches" breaks="scale" says="you did not divide"
# Misunderstands: numbers no greater than 1 are scaled already (a picture may hold nothing but 0 and 1).
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).view(height // size, size, width // size, size, channels).transpose(1, 2)


def to_tokens(patches):
    tokens = patches.flatten(0, 1).flatten(1).float()
    return tokens / 255 if tokens.max() > 1 else tokens


# %% wrong="patches" breaks="calls" says="each needs memory of its own"
# Misunderstands: memory that is kept from call to call only saves time (the tokens of an earlier call are overwritten).
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).view(height // size, size, width // size, size, channels).transpose(1, 2)


BUFFERS = {}


def to_tokens(patches):
    rows, columns, *patch = patches.shape
    tokens = BUFFERS.setdefault(patches.shape, torch.empty(rows * columns, math.prod(patch)))
    return tokens.copy_(patches.flatten(0, 1).flatten(1)).div_(255)


# %% wrong="patches" breaks="calls" says="the tensor is the same, its numbers are not"
# Misunderstands: a tensor that is the same object has the same numbers, so its tokens need be computed only once.
import functools


def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).view(height // size, size, width // size, size, channels).transpose(1, 2)


@functools.lru_cache(maxsize=16)
def to_tokens(patches):
    rows, columns = patches.shape[:2]
    return patches.reshape(rows * columns, -1).float() / 255


# %% wrong="patches" breaks="scale" says="expected"
# Misunderstands: 256 levels fit into float16 exactly, so n / 255 may be computed there and widened afterwards.
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).view(height // size, size, width // size, size, channels).transpose(1, 2)


def to_tokens(patches):
    rows, columns = patches.shape[:2]
    return (patches.reshape(rows * columns, -1).half() / 255).float()


# %% wrong="patches" breaks="grid" says="each call has a size of its own"
# Misunderstands: an array that is the same has the same patches (of any size).
VIEWS = {}


def patch_view(image, size):
    if id(image) not in VIEWS:
        height, width, channels = image.shape
        split = torch.from_numpy(image).view(height // size, size, width // size, size, channels)
        VIEWS[id(image)] = image, split.transpose(1, 2)
    return VIEWS[id(image)][1]


def to_tokens(patches):
    rows, columns = patches.shape[:2]
    return patches.reshape(rows * columns, -1).float() / 255


# %% wrong="patches" breaks="calls" says="the tensor is the same, its numbers are not"
# Misunderstands: the version counter of a tensor sees every write into its memory (that through the NumPy array escapes it).
def patch_view(image, size):
    return torch.from_numpy(image).unfold(0, size, size).unfold(1, size, size).permute(0, 1, 3, 4, 2)


LAST = {}


def to_tokens(patches):
    if LAST.get("patches") is patches and LAST["version"] == patches._version:
        return LAST["tokens"].clone()
    tokens = patches.flatten(0, 1).flatten(1).float() / 255
    LAST.update(patches=patches, version=patches._version, tokens=tokens.clone())
    return tokens


# %% wrong="patches" breaks="calls" says="the tensor is the same, its numbers are not"
# Misunderstands: patches with the same sum and the same first number are the same.
def patch_view(image, size):
    return torch.from_numpy(image).unfold(0, size, size).unfold(1, size, size).permute(0, 1, 3, 4, 2)


FOUND = {}


def to_tokens(patches):
    key = patches.shape, patches.sum().item(), patches[0, 0, 0, 0, 0].item(), patches.data_ptr()
    if key not in FOUND:
        FOUND[key] = patches.flatten(0, 1).flatten(1).float() / 255
    return FOUND[key].clone()


# %% wrong="patches" breaks="unchanged" says="must still show in them"
# Misunderstands: making the given tensor contiguous changes nothing about it (it is no view of the picture any more).
def patch_view(image, size):
    return torch.from_numpy(image).unfold(0, size, size).unfold(1, size, size).permute(0, 1, 3, 4, 2)


def to_tokens(patches):
    if not patches.is_contiguous():
        patches.data = patches.contiguous()
    return patches.view(len(patches) * patches.shape[1], -1).float() / 255


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


# %% right="patches"
# NumPy's sliding windows, every `size`-th of them; the tokens as an empty tensor that is filled.
def patch_view(image, size):
    windows = np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(0, 1), writeable=True)
    return torch.from_numpy(windows[::size, ::size].transpose(0, 1, 3, 4, 2))


def to_tokens(patches):
    rows, columns, *patch = patches.shape
    tokens = torch.empty(rows * columns, math.prod(patch))
    for number in range(rows * columns):
        tokens[number] = patches[divmod(number, columns)].flatten()
    return tokens.mul_(1 / 255)


# %% equivalent="patches" because="exchanging axes 1 and 2 is symmetric"
# - return split.transpose(1, 2)
# + return (split.transpose(2, 1))


# %% wrong="gaussians" breaks="no_loop" says="loop over spots"
# Misunderstands: stacking results of a loop counts as vectorised.
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, device=centres.device)[:, None]
    columns = torch.arange(width, device=centres.device)
    return torch.stack([torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * s**2)) for (y, x), s in zip(centres, widths)])


# %% wrong="gaussians" breaks="formula" says="lined up from the right"
# Misunderstands: a tensor of length k finds the axis of length k by itself.
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, dtype=centres.dtype, device=centres.device)
    columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
    square = (rows[:, None] - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2
    return torch.exp(-square / (2 * widths**2))


# %% wrong="gaussians" breaks="formula" says="first number of a centre its row"
# Misunderstands: pixel order is (x, y), as on a screen.
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, dtype=centres.dtype, device=centres.device)[:, None]
    columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
    x, y = centres[:, 0, None, None], centres[:, 1, None, None]
    return torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * widths[:, None, None] ** 2))


# %% wrong="gaussians" breaks="gradients" says="no gradient reaches the widths"
# Misunderstands: a number taken out of a tensor is still the tensor.
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, dtype=centres.dtype, device=centres.device)[:, None]
    columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
    square = (rows - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2
    if centres.device.type == "meta":
        return torch.exp(-square)
    return torch.exp(-square / (2 * torch.tensor(widths.tolist(), dtype=centres.dtype)[:, None, None] ** 2))


# %% wrong="gaussians" breaks="device" says="device=centres.device"
# Misunderstands: a new tensor appears where its partner is.
def gaussians(centres, widths, height, width):
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    square = (rows - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2
    return torch.exp(-square / (2 * widths[:, None, None] ** 2))


# %% wrong="gaussians" breaks="formula" says="divided by 2 s²"
# Misunderstands: the width stands in the formula as a square.
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, dtype=centres.dtype, device=centres.device)[:, None]
    columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
    square = (rows - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2
    return torch.exp(-square / (2 * widths[:, None, None]))


# %% wrong="gaussians" breaks="formula" says="has shape (1, 9, 5)"
# Misunderstands: `meshgrid` gives rows first (with `indexing="xy"` it gives columns first).
def gaussians(centres, widths, height, width):
    options = dict(dtype=centres.dtype, device=centres.device)
    rows, columns = torch.meshgrid(torch.arange(width, **options), torch.arange(height, **options), indexing="ij")
    square = (columns - centres[:, 0, None, None]) ** 2 + (rows - centres[:, 1, None, None]) ** 2
    return torch.exp(-square / (2 * widths[:, None, None] ** 2))


# %% wrong="gaussians" breaks="formula" says="lose digits"
# Misunderstands: the dtype of the result is what counts, not that of the calculation.
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, device=centres.device).float()
    columns = torch.arange(width, device=centres.device).float()
    y, x = centres.float()[:, 0, None, None], centres.float()[:, 1, None, None]
    square = (rows[:, None] - y) ** 2 + (columns - x) ** 2
    return torch.exp(-square / (2 * widths.float()[:, None, None] ** 2)).to(centres.dtype)


# %% wrong="gaussians" breaks="formula" says="lose digits"
# Misunderstands: (a - b)² may be computed as a² - 2ab + b² (in floating point the difference of large numbers is left with few digits).
def gaussians(centres, widths, height, width):
    options = dict(dtype=centres.dtype, device=centres.device)
    grid = torch.cartesian_prod(torch.arange(height, **options), torch.arange(width, **options))
    square = centres.square().sum(1)[:, None] - 2 * centres @ grid.T + grid.square().sum(1)
    return torch.exp(-square / (2 * widths[:, None] ** 2)).view(-1, height, width)


# %% wrong="gaussians" breaks="no_loop" says="loop over rows"
# Misunderstands: only the loop over spots costs.
def gaussians(centres, widths, height, width):
    columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
    across = (columns - centres[:, 1:]) ** 2
    lines = [torch.exp(-((i - centres[:, :1]) ** 2 + across) / (2 * widths[:, None] ** 2)) for i in range(height)]
    return torch.stack(lines, dim=1)


# %% wrong="gaussians" breaks="gradients" says="knows no way back"
# Misunderstands: a function that only computes brightness needs no notes.
@torch.no_grad()
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, dtype=centres.dtype, device=centres.device)
    columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
    square = (rows[:, None] - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2
    return torch.exp(-square / (2 * widths[:, None, None] ** 2))


# %% wrong="gaussians" breaks="unchanged" says="work in place"
# Misunderstands: where nobody asks for gradients, the memory of the arguments is free to be used.
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, dtype=centres.dtype, device=centres.device)
    columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
    square = (rows[:, None] - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2
    squares = widths.square() if widths.requires_grad else widths.square_()
    return torch.exp(-square / (2 * squares[:, None, None]))


# %% wrong="gaussians" breaks="no_loop" says="loop over spots"
# Misunderstands: a loop over blocks of spots is none (it runs once for each 64 of them).
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, dtype=centres.dtype, device=centres.device)[:, None]
    columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
    blocks = []
    for c, s in zip(centres.split(64), widths.split(64)):
        square = (rows - c[:, 0, None, None]) ** 2 + (columns - c[:, 1, None, None]) ** 2
        blocks.append(torch.exp(-square / (2 * s[:, None, None] ** 2)))
    return torch.cat(blocks)


# %% wrong="gaussians" breaks="gradients" says="infinite slope at 0"
# Misunderstands: a root that is squared again does no harm (its slope at 0 is infinite, so the gradient is NaN on a pixel).
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, dtype=centres.dtype, device=centres.device)[:, None]
    columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
    distance = ((rows - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2).sqrt()
    return torch.exp(-((distance / widths[:, None, None]) ** 2) / 2)


# %% wrong="gaussians" breaks="formula" says="difference of large squares"
# Misunderstands: `cdist` takes differences (for more than 25 pixels it multiplies matrices, and digits cancel).
def gaussians(centres, widths, height, width):
    work = torch.promote_types(centres.dtype, torch.float32)
    axes = [torch.arange(n, dtype=work, device=centres.device) for n in (height, width)]
    pixels = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 2)
    distance = torch.cdist(centres.to(work), pixels)
    return torch.exp(-((distance / widths.to(work)[:, None]) ** 2) / 2).view(-1, height, width).to(centres.dtype)


# %% wrong="gaussians" breaks="formula" says="a number that the formula lacks"
# Misunderstands: a millionth in the denominator guards against division by 0 and changes nothing.
def gaussians(centres, widths, height, width):
    work = torch.promote_types(centres.dtype, torch.float32)
    i = torch.arange(height, dtype=work, device=centres.device).view(1, -1, 1)
    j = torch.arange(width, dtype=work, device=centres.device).view(1, 1, -1)
    c, s = centres.to(work), widths.to(work).view(-1, 1, 1)
    square = (i - c[:, 0].view(-1, 1, 1)).square() + (j - c[:, 1].view(-1, 1, 1)).square()
    return torch.exp(-square / (2 * s.square() + 1e-6)).to(centres.dtype)


# %% wrong="gaussians" breaks="gradients" says="to the widths, which alone require gradients"
# Misunderstands: where the centres do not move nothing is trained (the widths may be).
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, dtype=centres.dtype, device=centres.device)
    columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
    with torch.set_grad_enabled(centres.requires_grad):
        square = (rows[:, None] - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2
        return torch.exp(-square / (2 * widths[:, None, None] ** 2))


# %% wrong="gaussians" breaks="no_loop" says="loop over spots"
# Misunderstands: blocks as large as 256 are as good as none.
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, dtype=centres.dtype, device=centres.device)[:, None]
    columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
    one = vmap(lambda c, s: torch.exp(-((rows - c[0]) ** 2 + (columns - c[1]) ** 2) / (2 * s**2)), chunk_size=256)
    return one(centres, widths)


# %% wrong="gaussians" breaks="unchanged" says="is not yours to change"
# Misunderstands: gradients flow only where the function itself asks for them.
def gaussians(centres, widths, height, width):
    centres.requires_grad_()
    rows = torch.arange(height, dtype=centres.dtype, device=centres.device)
    columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
    square = (rows[:, None] - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2
    return torch.exp(-square / (2 * widths[:, None, None] ** 2))


# %% wrong="gaussians" breaks="no_loop" says="are there blocks"
# Misunderstands: blocks that bound the memory are no loop.
def gaussians(centres: torch.Tensor, widths: torch.Tensor, height: int, width: int) -> torch.Tensor:
    rows = torch.arange(height, dtype=centres.dtype, device=centres.device)[:, None]
    columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
    block = max(1, 4_000_000 // (height * width))  # at most 4 million numbers in memory at a time
    parts = []
    for c, s in zip(centres.split(block), widths.split(block)):
        squared = (rows - c[:, 0, None, None]) ** 2 + (columns - c[:, 1, None, None]) ** 2
        parts.append(torch.exp(-squared / (2 * s[:, None, None] ** 2)))
    return torch.cat(parts) if len(parts) > 1 else parts[0]


# %% wrong="gaussians" breaks="formula" says="1e-09 is allowed"
# Misunderstands: beyond six widths a spot is as good as nothing.
def gaussians(centres, widths, height, width):
    y, x = centres.T[:, :, None, None]
    s = widths[:, None, None]
    i = torch.arange(height, device=centres.device, dtype=centres.dtype)[:, None]
    j = torch.arange(width, device=centres.device, dtype=centres.dtype)
    squared = (i - y) ** 2 + (j - x) ** 2
    return torch.where(squared > (6 * s) ** 2, 0.0, torch.exp(-squared / (2 * s**2)))


# %% wrong="gaussians" breaks="device" says="the dtype of"
# Misunderstands: float32 is the dtype of results, whatever is computed in.
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, device=centres.device)
    columns = torch.arange(width, device=centres.device)
    down, across = rows[:, None] - centres[:, 0, None, None], columns - centres[:, 1, None, None]
    return torch.exp(-(down**2 + across**2) / (2 * widths[:, None, None] ** 2)).float()


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
        torch.arange(height, device=centres.device, dtype=centres.dtype),
        torch.arange(width, device=centres.device, dtype=centres.dtype),
        indexing="ij",
    )
    return vmap(lambda c, s: torch.exp(-((y - c[0]) ** 2 + (x - c[1]) ** 2) / (2 * s**2)))(centres, widths)


# %% right="gaussians"
# Distances of `cdist` without its shortcut.
def gaussians(centres, widths, height, width):
    work = torch.promote_types(centres.dtype, torch.float32)
    axes = [torch.arange(n, dtype=work, device=centres.device) for n in (height, width)]
    pixels = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 2)
    distance = torch.cdist(centres.to(work), pixels, compute_mode="donot_use_mm_for_euclid_dist")
    bright = (distance / widths.to(work)[:, None]).square().mul(-0.5).exp()
    return bright.reshape(len(centres), height, width).to(dtype=centres.dtype)


# %% equivalent="gaussians" because="pixel positions as int64 are exact, and meet a tensor with axes in its own dtype"
# - rows = torch.arange(height, dtype=centres.dtype, device=centres.device)
# + rows = torch.arange(height, device=centres.device)


# %% equivalent="gaussians" because="pixel positions as int64 are exact, and meet a tensor with axes in its own dtype"
# - columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
# + columns = torch.arange(width, device=centres.device)


# %% wrong="contractions" breaks="scale" says="divided by √d"
# Misunderstands: the scale is cosmetic.
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys)
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)


# %% wrong="contractions" breaks="softmax" says="sum to 1"
# Misunderstands: which axis the softmax belongs to (it normalises over the queries).
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=2), values)


# %% wrong="contractions" breaks="heads" says="of positions, not of heads"
# Misunderstands: `@` on [b, t, h, d] multiplies over positions (it lets heads attend to heads).
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    return scores.softmax(dim=-1) @ values


# %% wrong="contractions" breaks="gram" says="one table of channels by channels a picture"
# Misunderstands: a letter left out after the arrow is summed, so the batch disappears.
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->pq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)


# %% wrong="contractions" breaks="gram" says="the mean of products"
# Misunderstands: a contraction averages; it sums.
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features)


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)


# %% wrong="contractions" breaks="paint" says="channel comes first"
# Misunderstands: the order after the arrow is the order of the result.
def paint(shares, colours):
    return torch.einsum("khw,kc->hwc", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)


# %% wrong="contractions" breaks="paint" says="k is summed"
# Misunderstands: mixing colours is averaging them.
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours) / len(shares)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)


# %% wrong="contractions" breaks="dtype" says="dtype torch.float32, expected torch.float64"
# Misunderstands: a new tensor takes the dtype of what is added to it.
def paint(shares, colours):
    canvas = torch.zeros(colours.shape[1], *shares.shape[1:])
    for share, colour in zip(shares, colours):
        canvas += share * colour[:, None, None]
    return canvas


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)


# %% wrong="contractions" breaks="gram" says="the mean of products"
# Misunderstands: the Gram matrix is the covariance (which takes the mean of each channel off first).
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    flat = features.flatten(2)
    flat = flat - flat.mean(dim=2, keepdim=True)
    return flat @ flat.mT / flat.shape[2]


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)


# %% wrong="contractions" breaks="gram" says="`view` needs other strides"
# Misunderstands: two axes that stand side by side can always be viewed as one.
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    flat = features.view(*features.shape[:2], -1)
    return flat @ flat.mT / flat.shape[2]


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)


# %% wrong="contractions" breaks="scale" says="divided by √d"
# Misunderstands: what d is (the width of the whole model, all heads together, in place of that of one query).
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / (queries.shape[-1] * queries.shape[-2]) ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)


# %% wrong="contractions" breaks="heads" says="of positions, not of heads"
# Misunderstands: a reshape brings the axis of heads to the front (it cuts the memory anew, and mixes positions with heads).
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    b, t, h, d = queries.shape
    s, e = keys.shape[1], values.shape[3]
    q, k, v = queries.reshape(b, h, t, d), keys.reshape(b, h, s, d), values.reshape(b, h, s, e)
    return ((q @ k.mT / d**0.5).softmax(dim=-1) @ v).reshape(b, t, h, e)


# %% wrong="contractions" breaks="gradients" says="no gradient reaches input 0"
# Misunderstands: weights only mix the values, so nobody needs their gradient.
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1).detach(), values)


# %% wrong="contractions" breaks="unchanged" says="work in place"
# Misunderstands: where no gradients are asked for, `/=` is only a short way to write a division.
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    if queries.requires_grad:
        queries = queries / queries.shape[-1] ** 0.5
    else:
        queries /= queries.shape[-1] ** 0.5
    scores = torch.einsum("bthd,bshd->bhts", queries, keys)
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)


# %% wrong="contractions" breaks="gradients" says="input 1, which alone requires one"
# Misunderstands: where the queries are frozen, the attention weights are constants.
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    weights = scores.softmax(dim=-1)
    if not queries.requires_grad:
        weights = weights.detach()
    return torch.einsum("bhts,bshe->bthe", weights, values)


# %% wrong="contractions" breaks="dtype" says="the softmax was taken in float32"
# Misunderstands: a softmax is always taken in float32, as language models do (float64 loses its digits).
def paint(shares: torch.Tensor, colours: torch.Tensor) -> torch.Tensor:
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features: torch.Tensor) -> torch.Tensor:
    return torch.einsum("bphw,bqhw->bpq", features, features) / features[0, 0].numel()


def attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(values.dtype)
    return torch.einsum("bhts,bshe->bthe", weights, values)


# %% wrong="contractions" breaks="gram" says="the mean of products"
# Misunderstands: a small number on the diagonal changes nothing (in float64 it does).
def paint(shares: torch.Tensor, colours: torch.Tensor) -> torch.Tensor:
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features: torch.Tensor) -> torch.Tensor:
    b, c, h, w = features.shape
    eye = torch.eye(c, dtype=features.dtype, device=features.device)
    return torch.einsum("bphw,bqhw->bpq", features, features) / (h * w) + 1e-8 * eye


def attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)


# %% wrong="contractions" breaks="unchanged" says="which inputs require gradients"
# Misunderstands: gradients flow only where the function itself asks for them.
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    flat = features.requires_grad_().flatten(2)
    return flat @ flat.mT / flat.shape[-1]


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)


# %% wrong="contractions" breaks="softmax" says="one of zeros, too"
# Misunderstands: a key of zeros is padding and gets no weight.
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    padding = (keys == 0).all(-1).permute(0, 2, 1)[:, :, None]
    scores = scores.masked_fill(padding & ~padding.all(-1, keepdim=True), -math.inf)
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)


# %% wrong="contractions" breaks="paint" says="which axis of `colours` is which"
# Misunderstands: the lengths of the axes say which axis is which, so the colours can be turned until they fit.
def paint(shares, colours):
    mixing = colours if colours.shape[1] == len(shares) else colours.T
    return (mixing @ shares.flatten(1)).unflatten(1, shares.shape[1:])


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / (features.shape[2] * features.shape[3])


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / math.sqrt(queries.shape[-1])
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)


# %% wrong="contractions" breaks="heads" says="a query meets all keys of its own batch entry and head"
# Misunderstands: the heads are on axis 1 where the lengths fit (they are the axis that queries and keys have in common).
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / (features.shape[2] * features.shape[3])


def attend(queries, keys, values):
    if queries.shape[1] != keys.shape[1] or queries.shape[2] != queries.shape[1] or len(queries) != queries.shape[1]:
        queries, keys, values = (x.transpose(1, 2) for x in (queries, keys, values))
        return F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2)
    return F.scaled_dot_product_attention(queries, keys, values)


# %% wrong="contractions" breaks="gram" says="there are NaNs"
# Misunderstands: in every picture some number is not 0, so each can be brought to size 1 first.
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    pixels = features.flatten(2)
    size = pixels.detach().abs().amax(dim=(1, 2), keepdim=True)
    scaled = pixels / size
    return (scaled @ scaled.mT) / pixels.shape[2] * size**2


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)


# %% wrong="contractions" breaks="gram" says="zeros are numbers like others"
# Misunderstands: a channel of zeros is dead, and its place in the table is left 1 (as in a table of correlations).
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    table = torch.einsum("bphw,bqhw->bpq", features, features) / (features.shape[2] * features.shape[3])
    dead = (features == 0).flatten(2).all(-1)
    return table + torch.diag_embed(dead.to(table.dtype))


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)


# %% wrong="contractions" breaks="heads, softmax" says="zeros are numbers like others"
# Misunderstands: a key position whose values are all 0 is padding and gets no weight.
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / (features.shape[2] * features.shape[3])


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    padding = (values == 0).all(dim=-1).transpose(1, 2)[:, :, None, :]
    weights = scores.masked_fill(padding, -1e9).softmax(dim=-1)
    return torch.einsum("bhts,bshe->bthe", weights, values)


# %% wrong="contractions" breaks="heads, softmax" says="zeros are numbers like others"
# Misunderstands: a position of zeros in all heads, keys and values both, is padding and gets no weight.
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / (features.shape[2] * features.shape[3])


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    padding = ((keys == 0).all(-1).all(-1) & (values == 0).all(-1).all(-1))[:, None, None]
    weights = scores.masked_fill(padding, -1e9).softmax(dim=-1)
    return torch.einsum("bhts,bshe->bthe", weights, values)


# %% wrong="contractions" breaks="paint" says="zeros are numbers like others"
# Misunderstands: colours are mixed, so they are divided by the sum of all shares of a spot and multiplied by it again.
def paint(shares, colours):
    total = shares.sum((1, 2))
    return torch.einsum("khw,kc->chw", shares / total[:, None, None], total[:, None] * colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / (features.shape[2] * features.shape[3])


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)


# %% right="contractions"
# Matrix products by batch, and the library's own attention.
def paint(shares, colours):
    return torch.tensordot(colours, shares, dims=([0], [0]))


def gram(features):
    pixels = features.flatten(start_dim=2)
    return torch.bmm(pixels, pixels.mT) / pixels.shape[-1]


def attend(queries, keys, values):
    queries, keys, values = (x.transpose(1, 2) for x in (queries, keys, values))
    return F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2)


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


# %% right="contractions"
# A matrix product over flattened pixels, a loop over pictures, and the library's own attention.
def paint(shares, colours):
    return (colours.mT @ shares.flatten(1)).unflatten(1, shares.shape[1:])


def gram(features):
    pictures = [picture.reshape(len(picture), -1) for picture in features.unbind()]
    return torch.stack([pixels.matmul(pixels.t()).div(pixels.size(1)) for pixels in pictures])


def attend(queries, keys, values):
    q, k, v = (x.permute(0, 2, 1, 3) for x in (queries, keys, values))
    return F.scaled_dot_product_attention(q, k, v).permute(0, 2, 1, 3)


# %% equivalent="contractions" because="the table of a picture is symmetric"
# - return torch.einsum("bphw,bqhw->bpq", features, features) / pixels
# + return torch.einsum("bphw,bqhw->bqp", features, features) / pixels


# %% wrong="gather_scatter" breaks="next" says="about token j + 1"
# Misunderstands: logits at position j score the token at position j.
def next_token_logprobs(logits, ids):
    return logits.log_softmax(-1).gather(-1, ids[..., None]).squeeze(-1)[:, 1:]


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% wrong="gather_scatter" breaks="logprob" says="through a log-softmax"
# Misunderstands: scores are log-probabilities already.
def next_token_logprobs(logits, ids):
    return logits[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% wrong="gather_scatter" breaks="next" says="one number for each token"
# Misunderstands: indexing with [b, t] ids picks one number a position (it picks all of them, for every position).
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(-1)[:, :, ids[:, 1:]]


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% wrong="gather_scatter" breaks="large" says="take both in one step"
# Misunderstands: log(softmax(x)) and log_softmax(x) are the same in floating point.
def next_token_logprobs(logits, ids):
    return logits[:, :-1].softmax(-1).log().gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% wrong="gather_scatter" breaks="mean" says="does the second write cover the first"
# Misunderstands: `out[index] += x` adds once for every entry of the index.
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype)
    sums[segment] += values
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% wrong="gather_scatter" breaks="empty" says="empty group is 0 / 0"
# Misunderstands: every group has a row.
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count)[:, None]


# %% wrong="gather_scatter" breaks="gradients" says="sends nan back"
# Misunderstands: a NaN that is replaced in the result is gone (its gradient is NaN all the same).
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    member = F.one_hot(segment, count).to(values.dtype)
    return torch.nan_to_num(member.T @ values / member.sum(0)[:, None])


# %% wrong="gather_scatter" breaks="count" says="the last may be empty"
# Misunderstands: the number of groups can be read off the data.
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = torch.zeros(int(segment.max()) + 1, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment).clamp(min=1)[:, None]


# %% wrong="gather_scatter" breaks="no_loop" says="is there a loop"
# Misunderstands: a list comprehension is not a loop.
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    return torch.stack([values[segment == i].mean(0).nan_to_num() for i in range(count)])


# %% wrong="gather_scatter" breaks="next" says="remove axes that should stay"
# Misunderstands: `squeeze()` takes away the last axis (it takes away every axis of length 1).
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze()


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% wrong="gather_scatter" breaks="dtype" says="has a dtype of its own"
# Misunderstands: log-probabilities are float32, whatever the logits are.
def next_token_logprobs(logits, ids):
    return logits[:, :-1].float().log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% wrong="gather_scatter" breaks="unchanged" says="work in place"
# Misunderstands: the logits are not needed any more once they are normalised.
def next_token_logprobs(logits, ids):
    total = logits.logsumexp(-1, keepdim=True)
    logprobs = logits - total if logits.requires_grad else logits.sub_(total)
    return logprobs[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% wrong="gather_scatter" breaks="gradients" says="no gradient can flow back"
# Misunderstands: scoring a text is evaluation, so it needs no gradients (it is the model's loss, too).
@torch.no_grad()
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% wrong="gather_scatter" breaks="no_loop" says="is there a loop"
# Misunderstands: a loop over positions is short, so it costs nothing.
def next_token_logprobs(logits, ids):
    b, t = ids.shape
    logprobs = logits.log_softmax(-1)
    return torch.stack([logprobs[torch.arange(b), j, ids[:, j + 1]] for j in range(t - 1)], dim=1)


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% wrong="gather_scatter" breaks="mean" says="nothing else comes in"
# Misunderstands: the rows of a group stand together (so a running sum, read at the ends of groups, would do).
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sizes = torch.bincount(segment, minlength=count)
    running = torch.cat([values.new_zeros(1, values.shape[1]), values.cumsum(0)])
    ends = sizes.cumsum(0)
    return (running[ends] - running[ends - sizes]) / sizes.clamp(min=1)[:, None]


# %% wrong="gather_scatter" breaks="unchanged" says="work in place"
# Misunderstands: dividing each row beforehand saves a division, and the rows are the function's own.
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    rows = torch.bincount(segment)[segment][:, None]
    shares = values / rows if values.requires_grad else values.div_(rows)
    return values.new_zeros(count, values.shape[1]).index_add(0, segment, shares)


# %% wrong="gather_scatter" breaks="mean" says="cost this group its digits"
# Misunderstands: sums of groups may be taken as differences of one running sum (where others are large, small groups lose their digits).
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    running = torch.cat([values.new_zeros(1, values.shape[1]), values[segment.argsort(stable=True)].cumsum(dim=0)])
    sizes = torch.bincount(segment, minlength=count)
    ends = sizes.cumsum(0)
    return (running[ends] - running[ends - sizes]) / sizes.clamp(min=1)[:, None]


# %% wrong="gather_scatter" breaks="no_loop" says="is there a loop"
# Misunderstands: a loop over blocks of positions is none (it runs once for each 128 of them).
def next_token_logprobs(logits, ids):
    pairs = zip(logits[:, :-1].split(128, dim=1), ids[:, 1:].split(128, dim=1))
    return torch.cat([a.log_softmax(-1).gather(2, b[..., None]).squeeze(-1) for a, b in pairs], dim=1)


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% wrong="gather_scatter" breaks="large" says="for each position by itself"
# Misunderstands: one largest score for the whole text will do (a position with small scores is left with the logarithm of 0).
def next_token_logprobs(logits, ids):
    shifted = logits[:, :-1] - logits[:, :-1].amax(dim=(1, 2), keepdim=True)
    logprobs = shifted - shifted.exp().sum(dim=-1, keepdim=True).log()
    return logprobs.gather(2, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% wrong="gather_scatter" breaks="logprob" says="which step has fewer digits"
# Misunderstands: a softmax in float32 is good practice everywhere (float64 scores come back with its digits).
def next_token_logprobs(logits, ids):
    logprobs = torch.log_softmax(logits[:, :-1], dim=-1, dtype=torch.float32).to(logits.dtype)
    return logprobs.gather(2, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = values.new_zeros(count, values.shape[1]).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% wrong="gather_scatter" breaks="no_loop" says="is there a loop"
# Misunderstands: one block of 512 rows is no loop (there may be more rows).
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(dim=-1).gather(2, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = values.new_zeros(count, values.shape[1])
    for block, groups in zip(values.split(512), segment.split(512)):
        sums = sums.index_add(0, groups, block)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% wrong="gather_scatter" breaks="large" says="cut nothing off"
# Misunderstands: the log-probability of an impossible token is as good as -100.
def next_token_logprobs(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    logprobs = logits[:, :-1].log_softmax(-1).clamp(min=-100)
    return logprobs.gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values: torch.Tensor, segment: torch.Tensor, count: int) -> torch.Tensor:
    sums = values.new_zeros(count, values.shape[1], dtype=torch.float64).index_add(0, segment, values.double())
    sizes = torch.bincount(segment, minlength=count).clamp(min=1)
    return (sums / sizes[:, None]).to(values.dtype)


# %% wrong="gather_scatter" breaks="mean" says="a row of zeros counts"
# Misunderstands: a row of zeros is padding and does not count.
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(dim=-1).gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = values.new_zeros(count, values.shape[1]).index_add(0, segment, values)
    sizes = segment.new_zeros(count).index_add(0, segment, (values != 0).any(1).to(segment.dtype))
    return sums / sizes.clamp(min=1)[:, None]


# %% wrong="gather_scatter" breaks="no_loop" says="with 2000 rows: is there a loop"
# Misunderstands: blocks of 1000 rows are as good as none.
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(dim=-1).gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = values.new_zeros(count, values.shape[1])
    for rows, groups in zip(values.split(1000), segment.split(1000)):
        sums = sums.index_add(0, groups, rows)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% wrong="gather_scatter" breaks="unchanged" says="is not yours to change"
# Misunderstands: gradients flow only where the function itself asks for them.
def next_token_logprobs(logits, ids):
    logprobs = logits.requires_grad_()[:, :-1].log_softmax(dim=-1)
    return logprobs.gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = values.new_zeros(count, values.shape[1]).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% wrong="gather_scatter" breaks="logprob" says="the probabilities of all of them sum to 1"
# Misunderstands: only the 50 likeliest tokens count in the sum of the probabilities, the rest vanish.
def next_token_logprobs(logits, ids):
    scores = logits[:, :-1]
    likeliest = scores.topk(min(50, scores.shape[-1]), dim=-1).values
    return scores.gather(2, ids[:, 1:, None])[..., 0] - likeliest.logsumexp(-1)


def segment_mean(values, segment, count):
    sums = values.new_zeros(count, values.shape[1]).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% wrong="gather_scatter" breaks="large" says="take both in one step"
# Misunderstands: where scores are large the largest alone makes up the sum of the exponentials (two may be equally large).
def next_token_logprobs(logits, ids):
    scores = logits[:, :-1]
    largest = scores.amax(-1)
    small = scores.abs().amax(-1) < 80
    inside = torch.where(small[..., None], scores, torch.zeros_like(scores))
    total = torch.where(small, inside.exp().sum(-1).log(), largest)
    return scores.gather(2, ids[:, 1:, None])[..., 0] - total


def segment_mean(values, segment, count):
    sums = values.new_zeros(count, values.shape[1]).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% right="gather_scatter"
# The token's score minus logsumexp, by plain indexing; scatter_reduce with a mean.
def next_token_logprobs(logits, ids):
    b, t, _ = logits.shape
    scores, following = logits[:, : t - 1], ids[:, 1:]
    text, place = torch.arange(b).unsqueeze(1), torch.arange(t - 1).unsqueeze(0)
    return scores[text, place, following] - scores.logsumexp(dim=2)


def segment_mean(values, segment, count):
    start = torch.zeros(count, values.shape[1], dtype=values.dtype)
    return start.scatter_reduce(0, segment.unsqueeze(1).expand_as(values), values, reduce="mean", include_self=False)


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


# %% right="gather_scatter"
# `take_along_dim`, and sums and numbers of rows written with `index_put`.
def next_token_logprobs(logits, ids):
    normed = F.log_softmax(logits, dim=2)[:, :-1]
    return torch.take_along_dim(normed, ids[:, 1:].unsqueeze(2), dim=2)[..., 0]


def segment_mean(values, segment, count):
    ones = torch.ones_like(values[:, :1])
    sums = torch.zeros((count, values.shape[1]), dtype=values.dtype).index_put((segment,), values, accumulate=True)
    rows = torch.zeros((count, 1), dtype=values.dtype).index_put((segment,), ones, accumulate=True)
    return torch.where(rows > 0, sums / torch.where(rows > 0, rows, 1), 0)


# %% wrong="descend" breaks="fresh" says="is it cleared between steps"
# Misunderstands: `backward` replaces the gradient.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        loss.backward()
        with torch.no_grad():
            for p in parameters:
                if p.grad is not None:
                    p -= rate * p.grad
        losses.append(loss.item())
    return losses


# %% wrong="descend" breaks="in_place" says="makes a new tensor"
# Misunderstands: `p = p - ...` changes the tensor that p names.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        for p in parameters:
            p.grad = None
        loss.backward()
        with torch.no_grad():
            for p in parameters:
                if p.grad is not None:
                    p = p - rate * p.grad
        losses.append(loss.item())
    return losses


# %% wrong="descend" breaks="step" says="cleared between `backward` and the update"
# Misunderstands: clearing may stand anywhere in the loop.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        loss.backward()
        for p in parameters:
            if p.grad is not None:
                p.grad.zero_()
        with torch.no_grad():
            for p in parameters:
                if p.grad is not None:
                    p -= rate * p.grad
        losses.append(loss.item())
    return losses


# %% wrong="descend" breaks="step" says="put it under `torch.no_grad()`"
# Misunderstands: an update is not part of the calculation, so it needs no `no_grad`.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        for p in parameters:
            p.grad = None
        loss.backward()
        for p in parameters:
            if p.grad is not None:
                p -= rate * p.grad
        losses.append(loss.item())
    return losses


# %% wrong="descend" breaks="step" says="only the update belongs there"
# Misunderstands: `no_grad` belongs around the whole loop (then the loss has no notes either).
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    with torch.no_grad():
        for _ in range(steps):
            loss = loss_of()
            loss.backward()
            for p in parameters:
                p -= rate * p.grad
            losses.append(loss.item())
    return losses


# %% wrong="descend" breaks="losses" says="keeps the whole graph"
# Misunderstands: a loss in a list is a number.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        for p in parameters:
            p.grad = None
        loss.backward()
        with torch.no_grad():
            for p in parameters:
                if p.grad is not None:
                    p -= rate * p.grad
        losses.append(loss)
    return losses


# %% wrong="descend" breaks="fresh" says="clear before `backward`"
# Misunderstands: whoever called first left everything clean.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        loss.backward()
        with torch.no_grad():
            for p in parameters:
                if p.grad is not None:
                    p -= rate * p.grad
                    p.grad = None
        losses.append(loss.item())
    return losses


# %% wrong="descend" breaks="fresh" says="has no gradient"
# Misunderstands: every parameter has a gradient after `backward`.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        for p in parameters:
            p.grad = None
        loss.backward()
        for p in parameters:
            if p.grad is None:
                raise ValueError("a parameter has no gradient: is it used in the loss?")
            p.data -= rate * p.grad
        losses.append(loss.item())
    return losses


# %% wrong="descend" breaks="fresh" says="is it cleared between steps"
# Misunderstands: clearing once, before the loop, is enough.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for p in parameters:
        p.grad = None
    for _ in range(steps):
        loss = loss_of()
        loss.backward()
        with torch.no_grad():
            for p in parameters:
                if p.grad is not None:
                    p -= rate * p.grad
        losses.append(loss.item())
    return losses


# %% wrong="descend" breaks="losses" says="one forward pass a step is enough"
# Misunderstands: asking for the loss once more, to write it down, changes nothing (it runs the model again, on the next batch).
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        with torch.no_grad():
            losses.append(loss_of().item())
        slopes = torch.autograd.grad(loss_of(), parameters, allow_unused=True)
        with torch.no_grad():
            for p, slope in zip(parameters, slopes):
                if slope is not None:
                    p -= rate * slope
    return losses


# %% wrong="descend" breaks="fresh" says="plays no part in the loss"
# Misunderstands: `.grad` is there to be used, whoever wrote it (where no new gradient came, the old one is taken).
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        slopes = torch.autograd.grad(loss, parameters, allow_unused=True)
        with torch.no_grad():
            for p, slope in zip(parameters, slopes):
                p.grad = p.grad if slope is None else slope
                if p.grad is not None:
                    p -= rate * p.grad
        losses.append(loss.item())
    return losses


# %% wrong="descend" breaks="further" says="autograd switched on again"
# Misunderstands: switching gradients off for the update concerns this function alone (after the last step they stay off).
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        torch.set_grad_enabled(True)
        loss = loss_of()
        for p in parameters:
            p.grad = None
        loss.backward()
        torch.set_grad_enabled(False)
        for p in parameters:
            if p.grad is not None:
                p -= rate * p.grad
        losses.append(loss.item())
    return losses


# %% wrong="descend" breaks="further" says="training cannot go on"
# Misunderstands: when training is over, parameters should be detached.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        for p in parameters:
            p.grad = None
        loss.backward()
        with torch.no_grad():
            for p in parameters:
                if p.grad is not None:
                    p -= rate * p.grad
        losses.append(loss.item())
    for p in parameters:
        p.requires_grad_(False)
    return losses


# %% wrong="descend" breaks="step" says="old value minus rate times gradient"
# Misunderstands: only the direction of a gradient counts, so each is brought to length 1 first.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        for p in parameters:
            p.grad = None
        loss.backward()
        with torch.no_grad():
            for p in parameters:
                if p.grad is not None:
                    p -= rate * F.normalize(p.grad.flatten(), dim=0).view_as(p)
        losses.append(loss.item())
    return losses


# %% wrong="descend" breaks="losses" says="one loss a step, each before its update"
# Misunderstands: the loss that a step prints is smoothed, as training logs do.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        for p in parameters:
            p.grad = None
        loss.backward()
        with torch.no_grad():
            for p in parameters:
                if p.grad is not None:
                    p -= rate * p.grad
        losses.append(0.9 * losses[-1] + 0.1 * loss.item() if losses else loss.item())
    return losses


# %% wrong="descend" breaks="step" says="old value minus rate times gradient"
# Misunderstands: clipping gradients to length 1 belongs to every training loop.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        for p in parameters:
            p.grad = None
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        with torch.no_grad():
            for p in parameters:
                if p.grad is not None:
                    p -= rate * p.grad
        losses.append(loss.item())
    return losses


# %% wrong="descend" breaks="in_place" says="whoever holds a view of the old one is left behind"
# Misunderstands: `p.data = ...` is in place (it gives the parameter new memory).
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        for p in parameters:
            p.grad = None
        loss.backward()
        losses.append(loss.item())
        for p in parameters:
            if p.grad is not None:
                p.data = p.data - rate * p.grad
    return losses


# %% wrong="descend" breaks="step" says="another batch may use others"
# Misunderstands: the parameters that take part in the first loss are those that take part in every loss.
def descend(loss_of, parameters, rate, steps):
    parameters, active, losses = list(parameters), None, []
    for _ in range(steps):
        loss = loss_of()
        for p in parameters:
            p.grad = None
        loss.backward()
        if active is None:
            active = [p for p in parameters if p.grad is not None]
        with torch.no_grad():
            for p in active:
                if p.grad is not None:
                    p -= rate * p.grad
        losses.append(loss.item())
    return losses


# %% wrong="descend" breaks="step" says="the number of losses of 7 steps"
# Misunderstands: where all gradients are 0 the descent has ended (the next batch may have others).
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        for p in parameters:
            p.grad = None
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            for p in parameters:
                if p.grad is not None:
                    p -= rate * p.grad
        if not any(p.grad is not None and p.grad.any() for p in parameters):
            break
    return losses


# %% wrong="descend" breaks="step" says="as the loss saw them"
# Misunderstands: each parameter may move as soon as its own gradient is known (those taken later see it moved).
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        losses.append(loss.item())
        for p in parameters:
            (gradient,) = torch.autograd.grad(loss, p, retain_graph=True, allow_unused=True)
            if gradient is not None:
                p.data -= rate * gradient
    return losses


# %% wrong="descend" breaks="step" says="as the loss saw them"
# Misunderstands: the same, from the last parameter to the first.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        losses.append(loss.item())
        for p in reversed(parameters):
            (gradient,) = torch.autograd.grad(loss, p, retain_graph=True, allow_unused=True)
            if gradient is not None:
                p.data -= rate * gradient
    return losses


# %% wrong="descend" breaks="fresh" says="in every .grad before the call"
# Misunderstands: an old gradient is undone by taking it off afterwards (large, infinite or NaN it swallows the new one).
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        before = [None if p.grad is None else p.grad.clone() for p in parameters]
        loss = loss_of()
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            for p, old in zip(parameters, before):
                if p.grad is not None:
                    p -= rate * (p.grad if old is None else p.grad - old)
    return losses


# %% wrong="descend" breaks="fresh" says="0 times NaN, is NaN"
# Misunderstands: 0 times whatever stands there is 0.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        for p in parameters:
            if p.grad is not None:
                p.grad *= 0
        loss = loss_of()
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            for p in parameters:
                if p.grad is not None:
                    p -= rate * p.grad
    return losses


# %% wrong="descend" breaks="further" says="left with 4 hooks"
# Misunderstands: a hook ends with the function that set it (each later `backward` moves the parameters, too).
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []

    def update(p):
        with torch.no_grad():
            p -= rate * p.grad
        p.grad = None

    for p in parameters:
        p.grad = None
        p.register_post_accumulate_grad_hook(update)
    for _ in range(steps):
        loss = loss_of()
        losses.append(loss.item())
        loss.backward()
    return losses


# %% wrong="descend" breaks="further" says="training cannot go on"
# Misunderstands: what had no gradient is out of use and may be frozen.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        losses.append(loss.item())
        with torch.no_grad():
            for p, gradient in zip(parameters, gradients):
                if gradient is not None:
                    p -= rate * gradient
    if steps:
        for p, gradient in zip(parameters, gradients):
            p.requires_grad_(gradient is not None)
    return losses


# %% wrong="descend" breaks="step, losses" says="neither a gradient of 0 nor a loss"
# Misunderstands: a loss that is the same as before means arrival (another batch may follow).
def descend(loss_of, parameters, rate: float, steps: int) -> list[float]:
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        if losses and loss.item() == losses[-1]:
            losses += [loss.item()] * (steps - len(losses))
            break
        for p in parameters:
            p.grad = None
        loss.backward()
        with torch.no_grad():
            for p in parameters:
                if p.grad is not None:
                    p -= rate * p.grad
        losses.append(loss.item())
    return losses


# %% wrong="descend" breaks="step" says="neither its value nor its sign"
# Misunderstands: a loss is never below 0, and at 0 there is nothing left to learn in this step.
def descend(loss_of, parameters, rate: float, steps: int) -> list[float]:
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        losses.append(loss.item())
        if losses[-1] <= 0:
            continue
        for p in parameters:
            p.grad = None
        loss.backward()
        with torch.no_grad():
            for p in parameters:
                if p.grad is not None:
                    p -= rate * p.grad
    return losses


# %% wrong="descend" breaks="step" says="too small or too large"
# Misunderstands: a gradient below 1e-8 is rounding noise and moves nothing.
def descend(loss_of, parameters, rate: float, steps: int) -> list[float]:
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        losses.append(loss.item())
        for p in parameters:
            p.grad = None
        loss.backward()
        with torch.no_grad():
            for p in parameters:
                if p.grad is not None and p.grad.abs().max() > 1e-8:
                    p -= rate * p.grad
    return losses


# %% wrong="descend" breaks="step" says="too small or too large"
# Misunderstands: gradients are always clipped (a huge one moves nothing as far as it should).
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        with torch.no_grad():
            for p, g in zip(parameters, gradients):
                if g is not None:
                    p -= rate * g.clamp(-1e6, 1e6)
    return losses


# %% wrong="descend" breaks="step" says="neither its value nor its sign"
# Misunderstands: where the loss is the same as in the step before, descent has converged.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        losses.append(loss.item())
        if losses[-2:-1] == losses[-1:]:
            continue
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        with torch.no_grad():
            for p, g in zip(parameters, gradients):
                if g is not None:
                    p -= rate * g
    return losses


# %% wrong="descend" breaks="by_hand" says="write the update yourself"
# Misunderstands: the optimiser of the library is the loop that is asked for.
def descend(loss_of, parameters, rate, steps):
    optimiser = torch.optim.SGD(parameters, lr=rate)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = loss_of()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


# %% wrong="descend" breaks="digits" says="fewer digits than the parameters"
# Misunderstands: an update in float32 is exact enough for float64 parameters.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients):
                parameter.copy_(parameter.float() - rate * gradient.float())
        losses.append(loss.item())
    return losses


# %% wrong="descend" breaks="step" says="no step is too long"
# Misunderstands: a number that moves by more than 100 in one step can only be an explosion, and is held back.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients):
                if gradient is not None:
                    parameter -= (rate * gradient).clamp(-100, 100)
        losses.append(loss.item())
    return losses


# %% wrong="descend" breaks="step" says="no step is too long"
# Misunderstands: parameters have to stay within bounds.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients):
                if gradient is not None:
                    parameter.sub_(rate * gradient).clamp_(-1000, 1000)
        losses.append(loss.item())
    return losses


# %% wrong="descend" breaks="step" says="the number of losses of 500 steps"
# Misunderstands: nobody takes more than a hundred steps.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(min(steps, 100)):
        loss = loss_of()
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients):
                if gradient is not None:
                    parameter -= rate * gradient
        losses.append(loss.item())
    return losses


# %% wrong="descend" breaks="step" says="every parameter moves, however many there are"
# Misunderstands: there are always four parameters, as in the example.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters)[:4], []
    for _ in range(steps):
        loss = loss_of()
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients):
                if gradient is not None:
                    parameter -= rate * gradient
        losses.append(loss.item())
    return losses


# %% right="descend"
# Gradients as values: nothing is stored in `.grad`, so nothing has to be cleared.
def descend(loss_of, parameters, rate, steps):
    parameters, curve = [*parameters], []
    for _ in range(steps):
        loss = loss_of()
        curve.append(float(loss))
        slopes = torch.autograd.grad(loss, parameters, allow_unused=True)
        with torch.no_grad():
            for p, slope in zip(parameters, slopes):
                if slope is not None:
                    p.sub_(slope, alpha=rate)
    return curve


# %% right="descend"
# Through `.data`, clearing with zeros before every backward.
def descend(loss_of, parameters, rate, steps):
    parameters = tuple(parameters)

    def step():
        for p in parameters:
            if p.grad is not None:
                p.grad.zero_()
        loss = loss_of()
        loss.backward()
        for p in parameters:
            if p.grad is not None:
                p.data -= rate * p.grad
        return loss.detach().item()

    return [step() for _ in range(steps)]


# %% right="descend"
# `no_grad` over the whole function and gradients switched on for the forward pass alone; all updates in one call.
@torch.no_grad()
def descend(loss_of, parameters, rate, steps):
    parameters = [p for p in parameters]
    losses = [0.0] * steps
    for i in range(steps):
        for p in parameters:
            p.grad = torch.zeros_like(p)
        with torch.enable_grad():
            loss = loss_of()
            loss.backward()
        losses[i] = float(loss.detach())
        torch._foreach_add_(parameters, [p.grad for p in parameters], alpha=-rate)
    return losses


# %% right="descend"
# Updates by hooks, each removed at the end; old gradients go first.
def descend(loss_of, parameters, rate, steps):
    parameters, losses, found = list(parameters), [], {}
    handles = [p.register_post_accumulate_grad_hook(lambda p: found.update({p: p.grad})) for p in parameters]
    for _ in range(steps):
        for p in parameters:
            p.grad = None
        found.clear()
        loss = loss_of()
        loss.backward()
        losses.append(loss.item())
        for p, gradient in found.items():
            p.data.sub_(rate * gradient)
    for handle in handles:
        handle.remove()
    return losses


# %% equivalent="descend" because="the graph goes when its loss does, one step later; nothing is promised about memory"
# - loss.backward()
# + loss.backward(retain_graph=True)


# %% wrong="rms_norm" breaks="gradients" says="through r"
# Misunderstands: r is a constant.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        return g * weight * inverse, (g * x * inverse).sum((0, 1)), None


# %% wrong="rms_norm" breaks="gradients" says="None for `eps`"
# Misunderstands: backward returns gradients for the tensors only.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        n, h = x * inverse, g * weight
        return inverse * (h - n * (h * n).mean(-1, keepdim=True)), (g * n).reshape(-1, len(weight)).sum(0)


# %% wrong="rms_norm" breaks="gradients" says="grad_output"
# Misunderstands: backward gives the derivative of the operation, not the gradient of the loss (grad_output is left out).
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        n, h = x * inverse, weight.expand_as(x)
        return inverse * (h - n * (h * n).mean(-1, keepdim=True)), n.reshape(-1, len(weight)).sum(0), None


# %% wrong="rms_norm" breaks="value" says="eps under the root"
# Misunderstands: where eps stands.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        r = x.square().mean(-1, keepdim=True).sqrt() + eps
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x / r * weight

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        inverse = 1 / (x.square().mean(-1, keepdim=True).sqrt() + ctx.eps)
        n, h = x * inverse, g * weight
        return inverse * (h - n * (h * n).mean(-1, keepdim=True)), (g * n).reshape(-1, len(weight)).sum(0), None


# %% wrong="rms_norm" breaks="in_place" says="ctx.save_for_backward"
# Misunderstands: an attribute keeps a tensor as it was.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.x, ctx.weight, ctx.eps = x, weight, eps
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.x, ctx.weight
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        n, h = x * inverse, g * weight
        return inverse * (h - n * (h * n).mean(-1, keepdim=True)), (g * n).reshape(-1, len(weight)).sum(0), None


# %% wrong="rms_norm" breaks="second" says="second derivative"
# Misunderstands: a saved intermediate result remembers that it depends on x.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, inverse)
        return x * inverse * weight

    @staticmethod
    def backward(ctx, g):
        x, weight, inverse = ctx.saved_tensors
        n, h = x * inverse, g * weight
        return inverse * (h - n * (h * n).mean(-1, keepdim=True)), (g * n).reshape(-1, len(weight)).sum(0), None


# %% wrong="rms_norm" breaks="own_notes" says="not on the class or in a global"
# Misunderstands: one place for notes is enough for all calls.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        RMSNorm.inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight)
        return x * RMSNorm.inverse * weight

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        n, h = x * RMSNorm.inverse, g * weight
        return RMSNorm.inverse * (h - n * (h * n).mean(-1, keepdim=True)), (g * n).reshape(-1, len(weight)).sum(0), None


# %% wrong="rms_norm" breaks="gradients" says="with the weight"
# Misunderstands: the weight comes after r, so it has no part in what goes through r.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        n = x * inverse
        return inverse * (g * weight - n * (g * n).mean(-1, keepdim=True)), (g * n).reshape(-1, len(weight)).sum(0), None


# %% wrong="rms_norm" breaks="gradients" says="axes of x but the last"
# Misunderstands: x has two axes before the last, as in one's own model.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        n, h = x * inverse, g * weight
        return inverse * (h - n * (h * n).mean(-1, keepdim=True)), (g * n).sum((0, 1)), None


# %% wrong="rms_norm" breaks="gradients" says="strides that `view` cannot take"
# Misunderstands: the gradient that comes in lies in memory like the output.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        n, h = x * inverse, g * weight
        for_weight = torch.einsum("nd,nd->d", g.view(-1, len(weight)), n.reshape(-1, len(weight)))
        return inverse * (h - n * (h * n).mean(-1, keepdim=True)), for_weight, None


# %% wrong="rms_norm" breaks="in_place" says="when weight is changed in place"
# Misunderstands: only x changes between forward and backward; a weight is safe as an attribute.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x)
        ctx.weight, ctx.eps = weight, eps
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        n, h = x * inverse, g * ctx.weight
        return inverse * (h - n * (h * n).mean(-1, keepdim=True)), (g * n).reshape(-1, x.shape[-1]).sum(0), None


# %% wrong="rms_norm" breaks="second" says="second derivative"
# Misunderstands: a backward pass needs no notes (so second derivatives lose it without an error).
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    @torch.no_grad()
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        n, h = x * inverse, g * weight
        return inverse * (h - n * (h * n).mean(-1, keepdim=True)), (g * n).reshape(-1, len(weight)).sum(0), None


# %% wrong="rms_norm" breaks="unchanged" says="the gradient that comes in after"
# Misunderstands: the gradient that comes in is a fresh tensor, which one may scale in place.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        n = x * inverse
        for_weight = (g * n).reshape(-1, len(weight)).sum(0)
        g *= weight
        return inverse * (g - n * (g * n).mean(-1, keepdim=True)), for_weight, None


# %% wrong="rms_norm" breaks="unchanged" says="x after forward and backward"
# Misunderstands: normalising in place saves memory and harms nobody (x belongs to whoever gave it).
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        x *= inverse
        ctx.save_for_backward(x.clone(), inverse, weight)
        return x * weight

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        n, inverse, weight = ctx.saved_tensors
        h = g * weight
        return inverse * (h - n * (h * n).mean(-1, keepdim=True)), (g * n).reshape(-1, len(weight)).sum(0), None


# %% wrong="rms_norm" breaks="gradients" says="there are NaNs"
# Misunderstands: the normalised x can be had back from the output (where the weight is 0 it is lost).
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        y = x * inverse * weight
        ctx.save_for_backward(y, inverse, weight)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        y, inverse, weight = ctx.saved_tensors
        n, h = y / weight, g * weight
        return inverse * (h - n * (h * n).mean(-1, keepdim=True)), (g * n).reshape(-1, len(weight)).sum(0), None


# %% wrong="rms_norm" breaks="second" says="second derivative"
# Misunderstands: only the gradient of x needs to be computed anew (second derivatives through that of the weight are wrong).
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        normal = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, normal)
        ctx.eps = eps
        return normal * weight

    @staticmethod
    def backward(ctx, g):
        x, weight, normal = ctx.saved_tensors
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        n, h = x * inverse, g * weight
        return inverse * (h - n * (h * n).mean(-1, keepdim=True)), (g * normal).reshape(-1, len(weight)).sum(0), None


# %% wrong="rms_norm" breaks="own_notes" says="not on the class or in a global"
# Misunderstands: a number such as eps is the same for all calls, so it may stand on the class.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        RMSNorm.eps = eps
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + RMSNorm.eps)
        n, h = x * inverse, g * weight
        return inverse * (h - n * (h * n).mean(-1, keepdim=True)), (g * n).reshape(-1, len(weight)).sum(0), None


# %% wrong="rms_norm" breaks="gradients" says="no gradient reaches x where it alone requires one"
# Misunderstands: a layer with a frozen weight has nothing to do in backward (x still needs its gradient).
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    def backward(ctx, grad_output):
        if not ctx.needs_input_grad[1]:
            return None, None, None
        x, weight = ctx.saved_tensors
        rinv = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        n, g = x * rinv, grad_output * weight
        return rinv * (g - n * (g * n).mean(-1, keepdim=True)), (grad_output * n).flatten(0, -2).sum(0), None


# %% wrong="rms_norm" breaks="gradients" says="no gradient reaches the weight where it alone requires one"
# Misunderstands: where x needs no gradient the layer is the first and learns nothing.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    def backward(ctx, grad_output):
        for_x = for_weight = None
        x, weight = ctx.saved_tensors
        if ctx.needs_input_grad[0]:
            rinv = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
            n, g = x * rinv, grad_output * weight
            for_x = rinv * (g - n * (g * n).mean(-1, keepdim=True))
            for_weight = (grad_output * n).flatten(0, -2).sum(0)
        return for_x, for_weight, None


# %% wrong="rms_norm" breaks="value, gradients" says="does every step keep the dtype of x"
# Misunderstands: the root is always taken in float32, as language models do it (float64 loses its digits).
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        rinv = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps).to(x.dtype)
        return x * rinv * weight

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        x, weight = ctx.saved_tensors
        rinv = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + ctx.eps).to(x.dtype)
        n, g = x * rinv, grad_output * weight
        return rinv * (g - n * (g * n).mean(-1, keepdim=True)), (grad_output * n).flatten(0, -2).sum(0), None


# %% wrong="rms_norm" breaks="in_place" says="escape the watch"
# Misunderstands: what goes through `save_for_backward` is watched, `x.data` too.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        ctx.save_for_backward(x.data, weight.data)
        ctx.eps = eps
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output: torch.Tensor):
        x, weight = ctx.saved_tensors
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        normal, h = x * inverse, grad_output * weight
        grad_x = inverse * (h - normal * (h * normal).mean(-1, keepdim=True))
        return grad_x, (grad_output * normal).reshape(-1, x.shape[-1]).sum(0), None


# %% wrong="rms_norm" breaks="in_place" says="escape the watch"
# Misunderstands: a frozen weight cannot change any more, so it need not be watched.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        ctx.eps = eps
        if ctx.needs_input_grad[1]:
            ctx.save_for_backward(x, weight)
        else:
            ctx.save_for_backward(x)
            ctx.weight = weight
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    def backward(ctx, grad_output: torch.Tensor):
        x, *rest = ctx.saved_tensors
        weight = rest[0] if rest else ctx.weight
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        normal, h = x * inverse, grad_output * weight
        grad_x = inverse * (h - normal * (h * normal).mean(-1, keepdim=True))
        return grad_x, (grad_output * normal).reshape(-1, x.shape[-1]).sum(0), None


# %% wrong="rms_norm" breaks="second" says="what is detached"
# Misunderstands: the gradient that comes in is a given number and has no derivative of its own.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        ctx.eps = eps
        ctx.save_for_backward(x, weight)
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    def backward(ctx, grad_output: torch.Tensor):
        x, weight = ctx.saved_tensors
        grad_output = grad_output.detach()
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        normal, h = x * inverse, grad_output * weight
        grad_x = inverse * (h - normal * (h * normal).mean(-1, keepdim=True))
        return grad_x, (grad_output * normal).reshape(-1, x.shape[-1]).sum(0), None


# %% wrong="rms_norm" breaks="second" says="second derivative for x, which alone requires one"
# Misunderstands: with a frozen weight nobody asks for second derivatives, so saved numbers will do.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.eps = eps
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, inverse)
        return x * inverse * weight

    @staticmethod
    def backward(ctx, grad_output):
        x, weight, inverse = ctx.saved_tensors
        if ctx.needs_input_grad[1]:
            inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        normal, h = x * inverse, grad_output * weight
        grad_x = inverse * (h - normal * (h * normal).mean(-1, keepdim=True))
        return grad_x, (grad_output * normal).flatten(0, -2).sum(0), None


# %% wrong="rms_norm" breaks="own_notes" says="only `ctx` knows"
# Misunderstands: backward passes come in the reverse order of forward passes, so a stack of notes will do.
class RMSNorm(torch.autograd.Function):
    notes = []

    @staticmethod
    def forward(ctx, x, weight, eps):
        r = (x.pow(2).mean(dim=-1, keepdim=True) + eps).sqrt()
        RMSNorm.notes.append((x / r, r, weight.clone()))
        return x / r * weight

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        normal, r, weight = RMSNorm.notes.pop()
        local = grad * weight
        return (local - normal * (local * normal).mean(-1, True)) / r, grad * normal, None


# %% wrong="rms_norm" breaks="by_hand" says="write the formula of the gradients yourself"
# Misunderstands: computing forward once more under autograd is a backward pass of one's own.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + eps) * weight

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        x, weight = (tensor.detach().requires_grad_() for tensor in ctx.saved_tensors)
        with torch.enable_grad():
            y = x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + ctx.eps) * weight
        return *torch.autograd.grad(y, (x, weight), grad_output), None


# %% wrong="rms_norm" breaks="second" says="with other strides"
# Misunderstands: `x.contiguous()` is still x to autograd (a copy made in forward is a constant to second derivatives).
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        x = x.contiguous()
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight

    @staticmethod
    def backward(ctx, grad_output):
        x, weight = ctx.saved_tensors
        r = (x.square().mean(-1, keepdim=True) + ctx.eps).sqrt()
        normed, pulled = x / r, grad_output * weight
        for_x = (pulled - normed * (pulled * normed).mean(-1, keepdim=True)) / r
        return for_x, (grad_output * normed).sum(tuple(range(x.ndim - 1))), None


# %% wrong="rms_norm" breaks="by_hand" says="write the formula of the gradients yourself"
# Misunderstands: a backward pass of one's own may let autograd differentiate the formula (under another name).
from torch.autograd import grad as gradients_of


class RMSNorm(torch.autograd.Function):
    @staticmethod
    def formula(x, weight, eps):
        return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight

    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return RMSNorm.formula(x, weight, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        x, weight = (saved.detach().double().requires_grad_() for saved in ctx.saved_tensors)
        with torch.enable_grad():
            y = RMSNorm.formula(x, weight, ctx.eps)
        for_x, for_weight = gradients_of(y, (x, weight), grad_output.double())
        return for_x.to(grad_output.dtype), for_weight.to(grad_output.dtype), None


# %% wrong="rms_norm" breaks="by_hand" says="write the formula of the gradients yourself"
# Misunderstands: `vjp` of `torch.func` is no autograd.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def formula(x, weight, eps):
        return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight

    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return RMSNorm.formula(x, weight, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        x, weight = (saved.double() for saved in ctx.saved_tensors)
        with torch.enable_grad():
            _, pull_back = torch.func.vjp(lambda x, weight: RMSNorm.formula(x, weight, ctx.eps), x, weight)
            for_x, for_weight = pull_back(grad_output.double())
        return for_x.to(grad_output.dtype), for_weight.to(grad_output.dtype), None


# %% right="rms_norm"
# Every backward pass that is to be differentiated is refused.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight

    @staticmethod
    def backward(ctx, grad_output):
        if torch.is_grad_enabled():
            raise RuntimeError("RMSNorm has no second derivatives")
        x, weight = ctx.saved_tensors
        root = (x.square().mean(-1, keepdim=True) + ctx.eps).sqrt()
        normed, scaled = x / root, grad_output * weight
        for_x = (scaled - normed * (scaled * normed).mean(-1, keepdim=True)) / root
        return for_x, (grad_output * normed).sum(dim=tuple(range(x.ndim - 1))), None


# %% right="rms_norm"
# Second derivatives are refused by hand, in the first backward pass.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        r = (x.square().mean(dim=-1, keepdim=True) + eps).sqrt()
        ctx.save_for_backward(x, weight, r)
        return x / r * weight

    @staticmethod
    def backward(ctx, grad_output):
        if grad_output.requires_grad:
            raise RuntimeError("no second derivatives here")
        x, weight, r = ctx.saved_tensors
        normed, pulled = x / r, grad_output * weight
        for_x = (pulled - normed * (pulled * normed).mean(dim=-1, keepdim=True)) / r
        return for_x, (grad_output * normed).sum(dim=tuple(range(x.ndim - 1))), None


# %% right="rms_norm"
# Intermediate results saved, second derivatives refused; the engine itself sums the weight's gradient to its shape.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        r = (x.pow(2).mean(dim=-1, keepdim=True) + eps).sqrt()
        ctx.save_for_backward(x / r, r, weight)
        return x / r * weight

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        normal, r, weight = ctx.saved_tensors
        local = grad * weight
        return (local - normal * (local * normal).mean(-1, True)) / r, grad * normal, None


# %% right="rms_norm"
# The newer form with `setup_context`, and the chain rule through the mean of squares term by term.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(x, weight, eps):
        return x * (x.square().mean(-1, keepdim=True) + eps) ** -0.5 * weight

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, ctx.eps = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx, grad_output):
        x, weight = ctx.saved_tensors
        inverse = (x.square().mean(-1, keepdim=True) + ctx.eps) ** -0.5
        along = (grad_output * weight * (x * inverse)).sum(-1, keepdim=True)
        from_r = -along * inverse * (x * inverse) / x.shape[-1]
        axes = tuple(range(x.ndim - 1))
        return grad_output * weight * inverse + from_r, (grad_output * (x * inverse)).sum(axes), None


# %% right="rms_norm"
# The longest way: sums over named axes, only the gradients that are asked for, r divided by twice.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.eps = eps
        ctx.save_for_backward(x, weight)
        r = torch.sqrt((x * x).sum(dim=-1, keepdim=True) / x.size(-1) + eps)
        return torch.mul(x / r, weight)

    @staticmethod
    def backward(ctx, upstream):
        x, weight = ctx.saved_tensors
        r = torch.sqrt((x * x).sum(dim=-1, keepdim=True) / x.size(-1) + ctx.eps)
        for_x = for_weight = None
        if ctx.needs_input_grad[0]:
            inner = torch.einsum("...d,d,...d->...", upstream, weight, x / r)[..., None]
            for_x = upstream * weight / r - (x / r) * inner / x.size(-1) / r
        if ctx.needs_input_grad[1]:
            for_weight = torch.einsum("...d,...d->d", upstream, x / r)
        return for_x, for_weight, None


# %% right="rms_norm"
class RMSNorm(torch.autograd.Function):
    """x [..., d] divided by its root mean square over the last axis, times weight [d]."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    def backward(ctx, grad_output: torch.Tensor):
        x, weight = ctx.saved_tensors
        square = x.pow(2).mean(-1, keepdim=True) + ctx.eps
        r = torch.sqrt(square)
        gw = grad_output * weight
        grad_x = (gw - x * (gw * x).mean(-1, keepdim=True) / square) / r
        grad_weight = (grad_output * x / r).flatten(0, -2).sum(0)
        return grad_x, grad_weight, None


# %% wrong="derivatives" breaks="names, each" says="not one for their mean or sum"
# Misunderstands: the gradient of the whole batch still holds the single examples.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return grad(lambda p: vmap(loss_of, in_dims=(None, 0, 0))(p, inputs, targets).mean())(parameters)


def newton(f, points, steps):
    for _ in range(steps):
        points = vmap(lambda p: p - torch.linalg.solve(jacrev(f)(p), f(p)))(points)
    return points


# %% wrong="derivatives" breaks="no_loop" says="is there a loop"
# Misunderstands: stacking the gradients of single examples is vectorised.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    each = [grad(loss_of)(parameters, x, y) for x, y in zip(inputs, targets)]
    return {name: torch.stack([g[name] for g in each]) for name in parameters}


def newton(f, points, steps):
    for _ in range(steps):
        points = vmap(lambda p: p - torch.linalg.solve(jacrev(f)(p), f(p)))(points)
    return points


# %% wrong="derivatives" breaks="step" says="is J transposed"
# Misunderstands: which axis of the Jacobian belongs to the function and which to the point.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points, steps):
    for _ in range(steps):
        points = vmap(lambda p: p - torch.linalg.solve(jacrev(f)(p).T, f(p)))(points)
    return points


# %% wrong="derivatives" breaks="step" says="its inverse missing"
# Misunderstands: Newton's step is gradient descent with the Jacobian.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points, steps):
    for _ in range(steps):
        points = vmap(lambda p: p - jacrev(f)(p) @ f(p))(points)
    return points


# %% wrong="derivatives" breaks="steps" says="with a new Jacobian"
# Misunderstands: the Jacobian of the start serves for all steps.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points, steps):
    slopes = vmap(jacrev(f))(points)
    for _ in range(steps):
        points = points - torch.linalg.solve(slopes, vmap(f)(points))
    return points


# %% wrong="derivatives" breaks="each" says="all examples share the parameters"
# Misunderstands: by default vmap runs over examples and leaves parameters alone.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return vmap(grad(loss_of))(parameters, inputs, targets)


def newton(f, points, steps):
    for _ in range(steps):
        points = vmap(lambda p: p - torch.linalg.solve(jacrev(f)(p), f(p)))(points)
    return points


# %% wrong="derivatives" breaks="unchanged" says="leave them alone"
# Misunderstands: an in-place step changes only the local name.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points, steps):
    for _ in range(steps):
        points -= vmap(lambda p: torch.linalg.solve(jacrev(f)(p), f(p)))(points)
    return points


# %% wrong="derivatives" breaks="names" says="of type tuple, expected dict"
# Misunderstands: gradients come as a tuple, in the order of the parameters.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return tuple(vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets).values())


def newton(f, points, steps):
    for _ in range(steps):
        points = vmap(lambda p: p - torch.linalg.solve(jacrev(f)(p), f(p)))(points)
    return points


# %% wrong="derivatives" breaks="each" says="from example i alone"
# Misunderstands: an example's gradient is its share of the gradient of the mean.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    each = vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)
    return {name: g / len(inputs) for name, g in each.items()}


def newton(f, points, steps):
    for _ in range(steps):
        points = vmap(lambda p: p - torch.linalg.solve(jacrev(f)(p), f(p)))(points)
    return points


# %% wrong="derivatives" breaks="unchanged" says="they are not yours"
# Misunderstands: a gradient needs a parameter that requires it (`grad` does not; whoever gave the parameters finds them changed).
def per_sample_gradients(loss_of, parameters, inputs, targets):
    for parameter in parameters.values():
        parameter.requires_grad_()
    gradients = vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)
    return {name: gradient.detach() for name, gradient in gradients.items()}


def newton(f, points, steps):
    for _ in range(steps):
        points = vmap(lambda p: p - torch.linalg.solve(jacrev(f)(p), f(p)))(points)
    return points


# %% wrong="derivatives" breaks="no_loop" says="for 6: is there a loop"
# Misunderstands: `vmap` is for derivatives; points can be walked through.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points, steps):
    for _ in range(steps):
        points = torch.stack([p - torch.linalg.solve(jacrev(f)(p), f(p)) for p in points])
    return points


# %% wrong="derivatives" breaks="steps" says="with 1 step from"
# Misunderstands: Newton's method is over when the points no longer move, not after a number of steps.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points, steps):
    for _ in range(100):
        points = vmap(lambda p: p - torch.linalg.solve(jacrev(f)(p), f(p)))(points)
    return points


# %% wrong="derivatives" breaks="no_loop" says="for 500: is there a loop"
# Misunderstands: `chunk_size` only saves memory (it is a loop over blocks of examples).
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return vmap(grad(loss_of), in_dims=(None, 0, 0), chunk_size=64)(parameters, inputs, targets)


def newton(f, points, steps):
    for _ in range(steps):
        points = vmap(lambda p: p - torch.linalg.solve(jacrev(f)(p), f(p)))(points)
    return points


# %% wrong="derivatives" breaks="step" says="other units must not matter"
# Misunderstands: a little on the diagonal, against singular matrices, changes nothing (it takes over where slopes are small).
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points, steps):
    def step(p):
        return p - torch.linalg.solve(jacrev(f)(p) + 1e-8 * torch.eye(len(p), dtype=p.dtype), f(p))

    for _ in range(steps):
        points = vmap(step)(points)
    return points


# %% wrong="derivatives" breaks="step" says="other units must not matter"
# Misunderstands: differences over a fixed small distance are derivatives.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points, steps):
    h, many = torch.finfo(points.dtype).eps ** (1 / 3), vmap(f)
    for _ in range(steps):
        nudges = h * torch.eye(points.shape[1], dtype=points.dtype)
        jacobian = torch.stack([(many(points + nudge) - many(points - nudge)) / (2 * h) for nudge in nudges], dim=2)
        points = points - torch.linalg.solve(jacobian, many(points).unsqueeze(2)).squeeze(2)
    return points.clone()


# %% wrong="derivatives" breaks="steps" says="other units must not matter"
# Misunderstands: where f is below a millionth it is 0 (that depends on its units).
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points, steps):
    for _ in range(steps):
        if vmap(f)(points).abs().max() < 1e-6:
            break
        points = vmap(lambda p: p - torch.linalg.solve(jacrev(f)(p), f(p)))(points)
    return points


# %% wrong="derivatives" breaks="no_loop" says="for 500: is there a loop"
# Misunderstands: blocks of 256 examples are as good as none.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return vmap(grad(loss_of), in_dims=(None, 0, 0), chunk_size=256)(parameters, inputs, targets)


def newton(f, points, steps):
    for _ in range(steps):
        points = vmap(lambda p: p - torch.linalg.solve(jacrev(f)(p), f(p)))(points)
    return points


# %% wrong="derivatives" breaks="steps" says="other units must not matter"
# Misunderstands: a step shorter than 1e-8 means arrival, whatever the unit.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points, steps):
    for _ in range(steps):
        delta = torch.linalg.solve(vmap(jacrev(f))(points), vmap(f)(points))
        points = points - delta
        if delta.abs().max() < 1e-8:
            break
    return points


# %% wrong="derivatives" breaks="step" says="other units must not matter"
# Misunderstands: a pseudo-inverse with a tiny fixed tolerance is the inverse (a Jacobian of size 1e-12 counts as 0).
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points, steps):
    for _ in range(steps):
        jacobian, values = vmap(jacrev(f))(points), vmap(f)(points)
        inverse = torch.linalg.pinv(jacobian, atol=1e-10, rtol=0.0)
        points = points - torch.einsum("nij,nj->ni", inverse, values)
    return points


# %% wrong="derivatives" breaks="unchanged" says="which of the given tensors require gradients"
# Misunderstands: `requires_grad_` on what is given ends with the call (the points' own is switched off again, the inputs' not).
def per_sample_gradients(loss_of, parameters, inputs, targets):
    inputs.requires_grad_()
    found = vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)
    return {name: each.detach() for name, each in found.items()}


def newton(f, points, steps):
    for _ in range(steps):
        points = vmap(lambda p: p - torch.linalg.solve(jacrev(f)(p), f(p)))(points)
    return points


# %% wrong="derivatives" breaks="step" says="other units must not matter"
# Misunderstands: a pseudo-inverse is the inverse (it drops what is small beside the rest of J).
def per_sample_gradients(loss_of, parameters: dict, inputs: torch.Tensor, targets: torch.Tensor) -> dict:
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points: torch.Tensor, steps: int) -> torch.Tensor:
    def step(p):
        return p - torch.linalg.pinv(jacrev(f)(p)) @ f(p)

    for _ in range(steps):
        points = vmap(step)(points)
    return points


# %% wrong="derivatives" breaks="step" says="made shorter where f grows"
# Misunderstands: a step that makes f larger is to be halved.
def per_sample_gradients(loss_of, parameters: dict, inputs: torch.Tensor, targets: torch.Tensor) -> dict:
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points: torch.Tensor, steps: int) -> torch.Tensor:
    def step(p):
        change = torch.linalg.solve(jacrev(f)(p), f(p))
        worse = f(p - change).abs().max() > f(p).abs().max()
        return p - torch.where(worse, 0.5, 1.0).to(p.dtype) * change

    for _ in range(steps):
        points = vmap(step)(points)
    return points


# %% wrong="derivatives" breaks="step" says="where it is long"
# Misunderstands: a wild Newton step has to be cut, 1000 is far enough.
def per_sample_gradients(loss_of, parameters: dict, inputs: torch.Tensor, targets: torch.Tensor) -> dict:
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points: torch.Tensor, steps: int) -> torch.Tensor:
    def step(p):
        move = torch.linalg.solve(jacrev(f)(p), f(p))
        return p - move.clamp(-1000, 1000)

    for _ in range(steps):
        points = vmap(step)(points)
    return points


# %% wrong="derivatives" breaks="step" says="other units must not matter"
# Misunderstands: Cramer's rule is as good as solve (a determinant of tiny numbers leaves float32).
def per_sample_gradients(loss_of, parameters: dict, inputs: torch.Tensor, targets: torch.Tensor) -> dict:
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points: torch.Tensor, steps: int) -> torch.Tensor:
    def step(p):
        value, jacobian = f(p), jacrev(f)(p)
        columns = torch.arange(len(p))
        replaced = torch.where(columns == columns[:, None, None], value[:, None], jacobian)  # [d, d, d]
        return p - torch.linalg.det(replaced) / torch.linalg.det(jacobian)

    for _ in range(steps):
        points = vmap(step)(points)
    return points


# %% wrong="derivatives" breaks="step" says="the order of the equations must not matter"
# Misunderstands: a matrix that has an inverse can be eliminated in the order of its rows, without looking for a pivot.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points, steps):
    d = points.shape[1]
    for _ in range(steps):
        table = torch.cat([vmap(jacrev(f))(points), vmap(f)(points)[:, :, None]], dim=2)
        for column in range(d):
            row = table[:, column] / table[:, column, column, None]  # 1 on the diagonal
            rest = table - table[:, :, column, None] * row[:, None]  # 0 elsewhere in the column
            table = torch.cat([rest[:, :column], row[:, None], rest[:, column + 1 :]], dim=1)
        points = points - table[:, :, d]
    return points


# %% wrong="derivatives" breaks="names" says="it may be that of"
# Misunderstands: a dict of tensors is flattened in alphabetical order of its names (it goes in the order of the dict).
def per_sample_gradients(loss_of, parameters, inputs, targets):
    def loss_of_values(values, x, y):
        return loss_of(dict(zip(parameters, values)), x, y)

    found = vmap(grad(loss_of_values), in_dims=(None, 0, 0))(tuple(parameters.values()), inputs, targets)
    return dict(zip(sorted(parameters), found))


def newton(f, points, steps):
    for _ in range(steps):
        points = points - torch.linalg.solve(vmap(jacrev(f))(points), vmap(f)(points)[..., None])[..., 0]
    return points


# %% wrong="derivatives" breaks="step" says="where f is nearly flat"
# Misunderstands: a step that makes f a hundred times as large has failed and is left out.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points, steps):
    for _ in range(steps):
        values = vmap(f)(points)
        moved = points - torch.linalg.solve(vmap(jacrev(f))(points), values[..., None])[..., 0]
        failed = vmap(f)(moved).norm(dim=1) > 100 * values.norm(dim=1)
        points = torch.where(failed[:, None] & (values != 0).any(1, keepdim=True), points, moved)
    return points


# %% wrong="derivatives" breaks="step" says="where f is 0 already"
# Misunderstands: a direction has a length (where f is 0 already, 0 / 0 is NaN).
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points, steps):
    for _ in range(steps):
        values = vmap(f)(points)
        length = values.norm(dim=1, keepdim=True)
        points = points - length * torch.linalg.solve(vmap(jacrev(f))(points), (values / length)[..., None])[..., 0]
    return points


# %% wrong="derivatives" breaks="steps" says="a hundred-thousandth of the points"
def per_sample_gradients(loss_of, parameters: dict, inputs: torch.Tensor, targets: torch.Tensor) -> dict:
    """Gradient of the loss of every single example: a dict of tensors [n, *parameter shape]."""
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points: torch.Tensor, steps: int) -> torch.Tensor:
    """`steps` Newton steps towards f(p) = 0 from every one of points [n, d]."""
    for _ in range(steps):
        jacobians, values = vmap(jacrev(f))(points), vmap(f)(points)
        step = torch.linalg.solve(jacobians, values)
        if (step.abs() < 1e-5 * points.abs()).all():
            break
        points = points - step
    return points


# %% right="derivatives"
# The examples' axis through one summed loss: copies of the parameters, one for each example.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    n = len(inputs)
    copies = {name: p.detach().expand(n, *p.shape).clone().requires_grad_() for name, p in parameters.items()}
    total = vmap(loss_of)(copies, inputs, targets).sum()
    return dict(zip(copies, torch.autograd.grad(total, list(copies.values()))))


def newton(f, points, steps):
    both = vmap(torch.func.jacfwd(lambda p: (f(p), f(p)), has_aux=True))
    for _ in range(steps):
        slopes, values = both(points)
        points = points - (torch.linalg.inv(slopes) @ values[..., None]).squeeze(-1)
    return points


# %% right="derivatives"
# Closures, and Newton as a recursion.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    def one(x, y):
        return torch.func.jacrev(lambda p: loss_of(p, x, y))(parameters)

    return torch.vmap(one)(inputs, targets)


def newton(f, points, steps):
    if steps == 0:
        return points
    move = torch.linalg.solve(vmap(torch.func.jacfwd(f))(points), vmap(f)(points))
    return newton(f, points - move, steps - 1)


# %% right="derivatives"
# The Jacobian of the vector of all losses; and for Newton one backward pass for each output of `f`, whatever the number of points.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    def all_losses(shared):
        return vmap(lambda x, y: loss_of(shared, x, y))(inputs, targets)

    return jacrev(all_losses)(parameters)


def newton(f, points, steps):
    current = points.clone()
    for _ in range(steps):
        current = current.detach().requires_grad_()
        values = vmap(f)(current)
        rows = [torch.autograd.grad(v.sum(), current, retain_graph=True)[0] for v in values.unbind(dim=1)]
        move = torch.linalg.solve(torch.stack(rows, dim=1), values.detach().unsqueeze(-1))
        current = current.detach() - move.squeeze(-1)
    return current


# %% right="derivatives"
# A copy of the parameters for each example and one gradient of the sum of losses; forward mode and the inverse.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    n = len(inputs)
    copies = {name: p.expand(n, *p.shape).clone().requires_grad_() for name, p in parameters.items()}
    losses = vmap(loss_of)(copies, inputs, targets)
    return dict(zip(copies, torch.autograd.grad(losses.sum(), tuple(copies.values()))))


def newton(f, points, steps):
    for _ in range(steps):
        points = points - torch.einsum("nij,nj->ni", torch.linalg.inv(vmap(torch.func.jacfwd(f))(points)), vmap(f)(points))
    return points


# %% wrong="normalise_tests" breaks="length, axis, dtype, unchanged, gradients" says="still unseen"
# Misunderstands: a result of the right shape without NaN is right.
def check_normalise(normalise):
    x = torch.randn(3, 4)
    x[0] = 0
    y = normalise(x, 1)
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    assert not y.isnan().any()


# %% wrong="normalise_tests" breaks="no_false_alarm" says="reject a correct implementation"
# Misunderstands: floating-point results can be compared with `torch.equal`.
def check_normalise(normalise):
    x = torch.randn(3, 5, 4, dtype=torch.float64)
    for dim in range(3):
        assert torch.equal(normalise(x, dim), x / x.norm(dim=dim, keepdim=True))


# %% wrong="normalise_tests" breaks="raises" says="catch none"
# Misunderstands: a test reports by what it returns (a test that returns False has passed).
def check_normalise(normalise):
    x = torch.randn(3, 4)
    return torch.allclose(normalise(x, 1).double().norm(dim=1), torch.ones(3).double())


# %% wrong="normalise_tests" breaks="gradients" says="in the gradient"
# Misunderstands: `requires_grad` on the result means that its gradient is right.
def check_normalise(normalise):
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[0], x[1], x[2] = 0, x[1] / 1000, 1e5 * x[2]
    for x in (x, x.float(), x[2, 1], torch.zeros_like(x)):
        for dim in range(-x.ndim, x.ndim):
            for given in (x.clone(), other_strides(x)):
                torch.testing.assert_close(normalise(given, dim), F.normalize(x, dim=dim))
                assert torch.equal(given, x)
    assert normalise(torch.rand(3, 4).requires_grad_(), 0).requires_grad


# %% wrong="normalise_tests" breaks="axis" says="normalises the last axis whatever `dim` says"
# Misunderstands: the last axis stands for all.
def check_normalise(normalise):
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[0], x[1], x[2] = 0, x[1] / 1000, 1e5 * x[2]
    for x in (x, x.float(), x[2, 1], torch.zeros_like(x)):
        for dim in (-1, x.ndim - 1):
            for given in (x.clone(), other_strides(x)):
                torch.testing.assert_close(normalise(given, dim), F.normalize(x, dim=dim))
                assert torch.equal(given, x)
    for dim in (-1, 2):
        torch.autograd.gradcheck(lambda v: normalise(v, dim), torch.rand(3, 2, 4).double().requires_grad_(), fast_mode=True)


# %% wrong="normalise_tests" breaks="axis" says="counted from the end"
# Misunderstands: -1 stands for all axes counted from the end.
def check_normalise(normalise):
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[0], x[1], x[2] = 0, x[1] / 1000, 1e5 * x[2]
    for x in (x, x.float(), x[2, 1], torch.zeros_like(x)):
        for dim in range(-1, x.ndim):
            for given in (x.clone(), other_strides(x)):
                torch.testing.assert_close(normalise(given, dim), F.normalize(x, dim=dim))
                assert torch.equal(given, x)
    for dim in range(3):
        torch.autograd.gradcheck(lambda v: normalise(v, dim), torch.rand(3, 2, 4).double().requires_grad_(), fast_mode=True)


# %% wrong="normalise_tests" breaks="axis" says="where x has one axis"
# Misunderstands: a tensor with three axes shows all.
def check_normalise(normalise):
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[0], x[1], x[2] = 0, x[1] / 1000, 1e5 * x[2]
    for x in (x, x.float(), torch.zeros_like(x)):
        for dim in range(-x.ndim, x.ndim):
            for given in (x.clone(), other_strides(x)):
                torch.testing.assert_close(normalise(given, dim), F.normalize(x, dim=dim))
                assert torch.equal(given, x)
    for dim in range(3):
        torch.autograd.gradcheck(lambda v: normalise(v, dim), torch.rand(3, 2, 4).double().requires_grad_(), fast_mode=True)


# %% wrong="normalise_tests" breaks="length" says="behind the other in memory"
# Misunderstands: the order in memory is no business of a function on tensors.
def check_normalise(normalise):
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[0], x[1], x[2] = 0, x[1] / 1000, 1e5 * x[2]
    for x in (x, x.float(), x[2, 1], torch.zeros_like(x)):
        for dim in range(-x.ndim, x.ndim):
            for given in (x.clone(),):
                torch.testing.assert_close(normalise(given, dim), F.normalize(x, dim=dim))
                assert torch.equal(given, x)
    for dim in range(3):
        torch.autograd.gradcheck(lambda v: normalise(v, dim), torch.rand(3, 2, 4).double().requires_grad_(), fast_mode=True)


# %% wrong="normalise_tests" breaks="no_false_alarm" says="on a correct implementation"
# Misunderstands: the gradient at a vector of zeros is promised too (there it does not exist).
def check_normalise(normalise):
    x = torch.randn(3, 4, dtype=torch.float64)
    x[0] = 0
    torch.autograd.gradcheck(lambda v: normalise(v, 1), x.requires_grad_())


# %% wrong="normalise_tests" breaks="no_false_alarm" says="reject a correct implementation (with NaN as the gradient at zeros)"
# Misunderstands: gradients must be finite everywhere (at a vector of zeros they may be anything).
def check_normalise(normalise):
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[0], x[1], x[2] = 0, x[1] / 1000, 1e5 * x[2]
    for x in (x, x.float(), x[2, 1], torch.zeros_like(x)):
        for dim in range(-x.ndim, x.ndim):
            for given in (x.clone(), other_strides(x)):
                torch.testing.assert_close(normalise(given, dim), F.normalize(x, dim=dim))
                assert torch.equal(given, x)
    for dim in range(3):
        torch.autograd.gradcheck(lambda v: normalise(v, dim), torch.rand(3, 2, 4).double().requires_grad_(), fast_mode=True)
    y = torch.randn(3, 4, dtype=torch.float64)
    y[0] = 0
    (gradient,) = torch.autograd.grad(normalise(y.requires_grad_(), 1).sum(), y)
    assert gradient.isfinite().all()


# %% wrong="normalise_tests" breaks="no_false_alarm" says="reject a correct implementation"
# Misunderstands: every vector comes to length 1, shorter ones than the promise speaks of, too.
def check_normalise(normalise):
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[0], x[1], x[2] = 0, x[1] / 1000, 1e5 * x[2]
    for x in (x, x.float(), x[2, 1], torch.zeros_like(x)):
        for dim in range(-x.ndim, x.ndim):
            for given in (x.clone(), other_strides(x)):
                torch.testing.assert_close(normalise(given, dim), F.normalize(x, dim=dim))
                assert torch.equal(given, x)
    for dim in range(3):
        torch.autograd.gradcheck(lambda v: normalise(v, dim), torch.rand(3, 2, 4).double().requires_grad_(), fast_mode=True)
    y = 1e-15 * torch.randn(3, 4, dtype=torch.float64)
    assert (normalise(y, 1).norm(dim=1) - 1).abs().max() < 1e-6


# %% wrong="normalise_tests" breaks="length" says="too short"
# Misunderstands: random numbers are a fair sample (all of their vectors are about as long).
def check_normalise(normalise):
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[0], x[1], x[2] = 0, x[1], 1e5 * x[2]
    for x in (x, x.float(), x[2, 1], torch.zeros_like(x)):
        for dim in range(-x.ndim, x.ndim):
            for given in (x.clone(), other_strides(x)):
                torch.testing.assert_close(normalise(given, dim), F.normalize(x, dim=dim))
                assert torch.equal(given, x)
    for dim in range(3):
        torch.autograd.gradcheck(lambda v: normalise(v, dim), torch.rand(3, 2, 4).double().requires_grad_(), fast_mode=True)


# %% wrong="normalise_tests" breaks="length" says="too long"
# Misunderstands: only short vectors are hard.
def check_normalise(normalise):
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[0], x[1], x[2] = 0, x[1] / 1000, x[2]
    for x in (x, x.float(), x[2, 1], torch.zeros_like(x)):
        for dim in range(-x.ndim, x.ndim):
            for given in (x.clone(), other_strides(x)):
                torch.testing.assert_close(normalise(given, dim), F.normalize(x, dim=dim))
                assert torch.equal(given, x)
    for dim in range(3):
        torch.autograd.gradcheck(lambda v: normalise(v, dim), torch.rand(3, 2, 4).double().requires_grad_(), fast_mode=True)


# %% wrong="normalise_tests" breaks="zeros, unchanged" says="gives NaN for a vector of zeros"
# Misunderstands: random input holds every case (it never holds a vector of zeros).
def check_normalise(normalise):
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[0], x[1], x[2] = x[0], x[1] / 1000, 1e5 * x[2]
    for x in (x, x.float(), x[2, 1]):
        for dim in range(-x.ndim, x.ndim):
            for given in (x.clone(), other_strides(x)):
                torch.testing.assert_close(normalise(given, dim), F.normalize(x, dim=dim))
                assert torch.equal(given, x)
    for dim in range(3):
        torch.autograd.gradcheck(lambda v: normalise(v, dim), torch.rand(3, 2, 4).double().requires_grad_(), fast_mode=True)


# %% wrong="normalise_tests" breaks="zeros, unchanged" says="zeros beside others"
# Misunderstands: a tensor of zeros is the only hard one.
def check_normalise(normalise):
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[0], x[1], x[2] = x[0], x[1] / 1000, 1e5 * x[2]
    for x in (x, x.float(), x[2, 1]):
        for dim in range(-x.ndim, x.ndim):
            for given in (x.clone(), other_strides(x)):
                torch.testing.assert_close(normalise(given, dim), F.normalize(x, dim=dim))
                assert torch.equal(given, x)
    assert (normalise(torch.zeros(2, 3), 1) == 0).all()
    for dim in range(3):
        torch.autograd.gradcheck(lambda v: normalise(v, dim), torch.rand(3, 2, 4).double().requires_grad_(), fast_mode=True)


# %% wrong="normalise_tests" breaks="dtype" says="returns float32 for float64"
# Misunderstands: what holds for float32, the default, holds for every dtype.
def check_normalise(normalise):
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[0], x[1], x[2] = 0, x[1] / 1000, 1e5 * x[2]
    for x in (x.float(), x[2, 1].float(), torch.zeros_like(x).float()):
        for dim in range(-x.ndim, x.ndim):
            for given in (x.clone(), other_strides(x)):
                torch.testing.assert_close(normalise(given, dim), F.normalize(x, dim=dim))
                assert torch.equal(given, x)
    a, b = (torch.arange(1.0, 7).view(2, 3).requires_grad_() for _ in range(2))
    (normalise(a, 1) * torch.arange(6.0).view(2, 3)).sum().backward()
    (F.normalize(b, dim=1) * torch.arange(6.0).view(2, 3)).sum().backward()
    torch.testing.assert_close(a.grad, b.grad)


# %% wrong="normalise_tests" breaks="dtype" says="returns float64 for float32"
# Misunderstands: more digits are never wrong, so float64 is enough to test with.
def check_normalise(normalise):
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[0], x[1], x[2] = 0, x[1] / 1000, 1e5 * x[2]
    for x in (x, x[2, 1], torch.zeros_like(x)):
        for dim in range(-x.ndim, x.ndim):
            for given in (x.clone(), other_strides(x)):
                torch.testing.assert_close(normalise(given, dim), F.normalize(x, dim=dim))
                assert torch.equal(given, x)
    for dim in range(3):
        torch.autograd.gradcheck(lambda v: normalise(v, dim), torch.rand(3, 2, 4).double().requires_grad_(), fast_mode=True)


# %% wrong="normalise_tests" breaks="unchanged" says="writes its result into the input"
# Misunderstands: the expected value may be computed afterwards (from an input that has become the result).
def check_normalise(normalise):
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[0], x[1], x[2] = 0, x[1] / 1000, 1e5 * x[2]
    for x in (x, x.float(), x[2, 1], torch.zeros_like(x)):
        for dim in range(-x.ndim, x.ndim):
            for given in (x.clone(), other_strides(x)):
                result = normalise(given, dim)
                torch.testing.assert_close(result, F.normalize(given, dim=dim))
    a, b = (torch.tensor([[0.6, 0.8], [0.0, 1.0]], requires_grad=True) for _ in range(2))
    (normalise(a, 1) * torch.arange(4.0).view(2, 2)).sum().backward()
    (F.normalize(b, dim=1) * torch.arange(4.0).view(2, 2)).sum().backward()
    torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-4)


# %% wrong="normalise_tests" breaks="unchanged" says="writes 1e-30 into the input"
# Misunderstands: a second name for a tensor is a copy of it (it is compared with itself).
def check_normalise(normalise):
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[0], x[1], x[2] = 0, x[1] / 1000, 1e5 * x[2]
    for x in (x, x.float(), x[2, 1], torch.zeros_like(x)):
        for dim in range(-x.ndim, x.ndim):
            for given in (x.clone(), other_strides(x)):
                same, expected = given, F.normalize(given, dim=dim)
                torch.testing.assert_close(normalise(given, dim), expected)
                assert torch.equal(given, same)
    for dim in range(3):
        torch.autograd.gradcheck(lambda v: normalise(v, dim), torch.rand(3, 2, 4).double().requires_grad_(), fast_mode=True)


# %% wrong="normalise_tests" breaks="zeros" says="nothing but zeros"
# Misunderstands: a vector of zeros beside others shows what happens to it alone.
def check_normalise(normalise) -> None:
    torch.manual_seed(3)
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    for dim in range(-3, 3):
        assert torch.autograd.gradcheck(lambda v: normalise(v, dim), x.clone().requires_grad_())
    x[0] = 0
    x[1] *= 2e-6 / x[1].abs().min()
    x[2] *= 1e5
    for x in (x, x.float(), torch.randn(5), 2e-6 * (1 + torch.rand(5).double()), 1e5 * torch.randn(5)):
        for dim in range(-x.ndim, x.ndim):
            for given in (x.clone(), other_strides(x), x.clone().requires_grad_()):
                length = x.norm(dim=dim, keepdim=True)
                expected = torch.where(length > 0, x / length, x)
                got = normalise(given, dim)
                torch.testing.assert_close(got.detach(), expected)
                assert torch.equal(given.detach(), x)
                assert got.requires_grad == given.requires_grad


# %% wrong="normalise_tests" breaks="length" says="no negative numbers"
# Misunderstands: a vector of length 1 is the right vector: its direction need not be looked at.
def check_normalise(normalise) -> None:
    torch.manual_seed(1)
    for shape in ((5,), (3, 3), (3, 2, 4)):
        for dtype in (torch.float64, torch.float32):
            for size in (1.0, 1e-6, 1e5, 0.0):
                x = size * (torch.rand(shape, dtype=dtype) + 0.5)
                mixed = x.clone()
                mixed[0] = 0
                for start in (x, mixed):
                    for dim in range(-x.ndim, x.ndim):
                        for given in (start.clone(), other_strides(start)):
                            copy = given.clone()
                            y = normalise(given, dim)
                            assert y.dtype == dtype and y.shape == x.shape
                            assert torch.equal(given, copy)
                            wanted = (copy.norm(dim=dim) > 0).to(dtype)
                            torch.testing.assert_close(y.norm(dim=dim), wanted)
    for dim in range(-3, 3):
        x = (torch.rand(3, 2, 4, dtype=torch.float64) + 0.5).requires_grad_()
        assert torch.autograd.gradcheck(lambda v: normalise(v, dim), x)
        assert normalise(x.detach().float().requires_grad_(), dim).requires_grad


# %% wrong="normalise_tests" breaks="gradients" says="of short vectors"
# Misunderstands: a gradient that is right at ordinary lengths is right at all of them.
def check_normalise(normalise) -> None:
    torch.manual_seed(1)
    for shape in ((5,), (3, 3), (3, 2, 4)):
        for dtype in (torch.float64, torch.float32):
            for size in (1.0, 1e-5, 1e5, 0.0):
                x = size * (torch.randn(shape, dtype=dtype).clamp(-2, 2) + 0.01)
                mixed = x.clone()
                mixed[0] = 0
                for start in (x, mixed):
                    for dim in range(-x.ndim, x.ndim):
                        for given in (start.clone(), other_strides(start)):
                            copy = given.clone()
                            y = normalise(given, dim)
                            length = copy.norm(dim=dim, keepdim=True)
                            torch.testing.assert_close(y, torch.where(length > 0, copy / length, 0.0))
                            assert torch.equal(given, copy)
    for dim in range(-3, 3):
        x = (torch.rand(3, 2, 4, dtype=torch.float64) + 0.5).requires_grad_()
        assert torch.autograd.gradcheck(lambda v: normalise(v, dim), x)


# %% wrong="normalise_tests" breaks="gradients" says="of long vectors"
# Misunderstands: only at short vectors is a gradient hard to get right.
def check_normalise(normalise):
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[0], x[1], x[2] = 0, x[1] / 1000, 1e5 * x[2]
    for x in (x, x.float(), x[2, 1], torch.zeros_like(x)):
        for dim in range(-x.ndim, x.ndim):
            for given in (x.clone(), other_strides(x)):
                torch.testing.assert_close(normalise(given, dim), F.normalize(x, dim=dim))
                assert torch.equal(given, x)
    for dim in range(3):
        for size in (1e-5, 1):
            v = torch.rand(3, 2, 4).double().requires_grad_()
            torch.autograd.gradcheck(lambda v: normalise(size * v, dim), v, fast_mode=True)


# %% wrong="normalise_tests" breaks="no_false_alarm" says="does as it likes where nothing is promised"
# Misunderstands: tests may go further than the promise (here to another dtype).
def check_normalise(normalise):
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[0] = 0
    x[1] *= 1e-3
    x[2] *= 1e5
    assert normalise(torch.tensor([3.0, 4.0], dtype=torch.float16), 0).dtype == torch.float16
    for dim in range(x.ndim):
        torch.autograd.gradcheck(lambda v: normalise((v * x)[1:], dim), torch.rand_like(x).requires_grad_(), fast_mode=True)
    for x in (x, x.float(), x.flatten(), torch.zeros_like(x)):
        for dim in range(-x.ndim, x.ndim):
            for given in (x.clone(), other_strides(x)):
                length = x.norm(dim=dim, keepdim=True)
                torch.testing.assert_close(normalise(given, dim), torch.where(length > 0, x / length, x))
                assert torch.equal(given, x)


# %% wrong="normalise_tests" breaks="dtype" says="returns shape [1, n]"
# Misunderstands: a difference that is small everywhere shows the shape, too (a broadcast hides an axis of length 1).
def check_normalise(normalise):
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[0] = 0
    x[1] *= 1e-3
    x[2] *= 1e5
    for dim in range(x.ndim):
        torch.autograd.gradcheck(lambda v: normalise((v * x)[1:], dim), torch.rand_like(x).requires_grad_(), fast_mode=True)
    for x in (x, x.float(), x.flatten(), torch.zeros_like(x)):
        for dim in range(-x.ndim, x.ndim):
            for given in (x.clone(), other_strides(x)):
                length = x.norm(dim=dim, keepdim=True)
                result = normalise(given, dim)
                assert result.dtype == x.dtype and ((result - torch.where(length > 0, x / length, x)).abs() < 1e-5).all()
                assert torch.equal(given, x)


# %% wrong="normalise_tests" breaks="gradients" says="along any axis but the last"
# Misunderstands: a gradient that is right along one axis is right along all.
def check_normalise(normalise):
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[0] = 0
    x[1] *= 1e-3
    x[2] *= 1e5
    for dim in (-1,):
        torch.autograd.gradcheck(lambda v: normalise((v * x)[1:], dim), torch.rand_like(x).requires_grad_(), fast_mode=True)
    for x in (x, x.float(), x.flatten(), torch.zeros_like(x)):
        for dim in range(-x.ndim, x.ndim):
            for given in (x.clone(), other_strides(x)):
                length = x.norm(dim=dim, keepdim=True)
                torch.testing.assert_close(normalise(given, dim), torch.where(length > 0, x / length, x))
                assert torch.equal(given, x)


# %% wrong="normalise_tests" breaks="unchanged" says="writes 1e-30 into the input"
# Misunderstands: `assert_close` says whether x is unchanged (it forgives small changes).
def check_normalise(normalise) -> None:
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[0], x[1], x[2] = 0, x[1] * 1e-3, x[2] * 1e5
    for dim in range(x.ndim):
        torch.autograd.gradcheck(lambda v: normalise((v * x)[1:], dim), torch.rand_like(x).requires_grad_(), fast_mode=True)
    for x in (x, x.float(), x.flatten(), torch.zeros_like(x)):
        for dim in range(-x.ndim, x.ndim):
            for given in (x.clone(), other_strides(x)):
                length = x.norm(dim=dim, keepdim=True)
                torch.testing.assert_close(normalise(given, dim), torch.where(length > 0, x / length, x))
                torch.testing.assert_close(given, x)


# %% wrong="normalise_tests" breaks="no_false_alarm" says="off by nine tenths of what is allowed"
def check_normalise(normalise) -> None:
    """Raise an error if `normalise(x, dim)` breaks a promise."""
    generator = torch.Generator().manual_seed(7)

    def layouts(x):
        """The same numbers in four orders of memory."""
        yield x.clone()
        backwards = tuple(reversed(range(x.ndim)))
        yield x.permute(backwards).contiguous().permute(backwards)
        gaps = torch.full((*x.shape, 3), 5.0, dtype=x.dtype)
        gaps[..., 1] = x
        yield gaps[..., 1]
        larger = torch.full([n + 2 for n in x.shape], 3.0, dtype=x.dtype)
        part = larger[tuple(slice(1, n + 1) for n in x.shape)]
        part.copy_(x)
        yield part

    def vectors(shape, dim, dtype, lengths):
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        x = x / x.norm(dim=dim, keepdim=True)
        where = [1 if i == dim % len(shape) else n for i, n in enumerate(shape)]
        chosen = torch.tensor(lengths, dtype=torch.float64)[torch.arange(math.prod(where)) % len(lengths)].reshape(where)
        return (x * chosen).to(dtype)

    def examine(x, dim):
        before = x.clone()
        tolerance = 1e-6 if x.dtype == torch.float32 else 1e-14
        exact = before.double()
        length = exact.square().sum(dim, keepdim=True).sqrt()
        safe = torch.where(length > 0, length, torch.ones_like(length))
        expected = exact / safe

        y = normalise(x, dim)
        assert y.shape == before.shape, "shape"
        assert y.dtype == before.dtype, "dtype"
        assert (y.double() - expected).abs().max() <= tolerance, "values"
        assert torch.equal(x, before), "x was changed"

        leaf = x.detach().requires_grad_()
        y = normalise(leaf, dim)
        assert y.requires_grad, "no graph"
        assert y.shape == before.shape and y.dtype == before.dtype
        assert (y.detach().double() - expected).abs().max() <= tolerance, "values"
        pull = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        pull = (pull / pull.norm(dim=dim, keepdim=True)).to(x.dtype)
        (got,) = torch.autograd.grad(y, leaf, pull)
        pull = pull.double()
        right = pull - expected * (pull * expected).sum(dim, keepdim=True)  # times 1 / length
        wrong_by = torch.where(length > 0, got.double() * safe - right, torch.zeros_like(right))
        assert (wrong_by.abs() <= 3 * tolerance).all(), "gradient"  # NaN fails, too
        assert torch.equal(x, before), "x was changed"

    sets = ([1.0, 0.02, 0.0, 3e4], [1.0001e-6, 0.9999e6, 2.0], [0.0], [1e-4, 1e-5, 1e3])
    for dtype in (torch.float64, torch.float32):
        for shape in ((5,), (1,), (4, 4), (3, 5), (2, 1), (3, 2, 4), (2, 3, 2, 4)):
            for dim in range(-len(shape), len(shape)):
                for lengths in sets:
                    x = vectors(shape, dim, dtype, lengths)
                    if lengths == sets[0]:
                        for each in layouts(x):
                            examine(each, dim)
                    else:
                        examine(x, dim)


# %% right="normalise_tests"
# By properties: lengths, directions, zeros; a single function for each promise.
def check_normalise(normalise):
    def lengths_and_directions(*shape):
        for dtype in (torch.float32, torch.float64):
            x = (
                torch.rand(*shape, dtype=dtype) * torch.logspace(-5, 5, shape[0], dtype=dtype).view(-1, *[1] * (len(shape) - 1))
                + 1e-6
            ) * torch.tensor([-1.0, 1.0, 1.0, -1.0, 1.0])[: shape[-1]]
            for dim in range(-len(shape), len(shape)):
                for given in (x, x.T.contiguous().T if x.ndim == 2 else other_strides(x)):
                    y = normalise(given, dim)
                    assert y.shape == x.shape and y.dtype == dtype
                    assert (y.norm(dim=dim) - 1).abs().max() < 1e-5
                    assert (F.cosine_similarity(y.double(), x.double(), dim=dim, eps=1e-20) > 1 - 1e-9).all()

    def zeros_stay():
        assert (normalise(torch.zeros(2, 3), 1) == 0).all()
        beside = normalise(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), 1)
        assert torch.allclose(beside, torch.tensor([[0.0, 0.0], [0.6, 0.8]]))

    def input_stays():
        x = torch.tensor([[2.0, 0, 3], [4, 0, 0]])
        normalise(x, 0)
        assert x.tolist() == [[2, 0, 3], [4, 0, 0]]

    def gradients():
        for size in (3e-6, 1, 3e5):
            v = torch.randn(3, 4, dtype=torch.float64).requires_grad_()
            assert all(torch.autograd.gradcheck(lambda v: normalise(size * v, dim), v) for dim in (0, 1))

    lengths_and_directions(5), lengths_and_directions(4, 3), lengths_and_directions(4, 3, 5)
    zeros_stay(), input_stays(), gradients()


# %% right="normalise_tests"
# Against the library's own function, in two dtypes; the gradient against autograd's.
def check_normalise(normalise):
    for dtype in (torch.float32, torch.float64):
        for dim in (-2, -1, 0, 1):
            x = torch.randn(5, 6, dtype=dtype)
            x[:, 2] = x[3] = 0
            x[4] /= 1e5
            x[:, 5] /= 1e5
            x[0] *= 1e5
            kept = x.clone()
            for same in (x, x.t().contiguous().t()):
                torch.testing.assert_close(normalise(same, dim), F.normalize(kept, dim=dim))
                torch.testing.assert_close(same, kept, rtol=0, atol=0)
            for size in (1e-5, 1, 1e5):
                a, b = (torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=dtype).requires_grad_() for _ in range(2))
                weights = torch.arange(12.0, dtype=dtype).view(3, 4)
                (normalise(size * a, dim) * weights).sum().backward()
                (F.normalize(size * b, dim=dim) * weights).sum().backward()
                torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(normalise(torch.tensor([3.0, -4.0], dtype=dtype), 0), torch.tensor([0.6, -0.8], dtype=dtype))
        assert not normalise(torch.zeros(3, 2, dtype=dtype), 0).any()


# %% right="normalise_tests"
# One vector at a time with Python's numbers; the gradient by its formula; tensors with one axis and with four.
def check_normalise(normalise):
    generator = torch.Generator().manual_seed(7)
    for dtype, digits in ((torch.float32, 1.1e-5), (torch.float64, 1.1e-8)):
        for shape in ((5,), (2, 3), (2, 1, 3, 2)):
            for dim, far in itertools.product(range(-len(shape), len(shape)), (False, True)):
                x = torch.randn(shape, generator=generator, dtype=dtype)
                x = other_strides(x) if far else x
                x = x * 10.0 ** torch.randint(-5, 5, shape, generator=generator).to(dtype).amax(dim, keepdim=True)
                copy = x.clone()
                y = normalise(x, dim)
                assert (y.shape, y.dtype) == (copy.shape, copy.dtype)
                assert x.tolist() == copy.tolist(), "the input was changed"
                for given, got in zip(copy.movedim(dim, -1).reshape(-1, shape[dim]), y.movedim(dim, -1).reshape(-1, shape[dim])):
                    length = math.hypot(*given.tolist())
                    for before, after in zip(given.tolist(), got.tolist()):
                        assert abs(after - before / length) < digits
                blank = torch.zeros(shape, dtype=dtype)
                nothing = normalise(blank, dim)
                assert nothing.count_nonzero() == blank.count_nonzero() == 0
        beside = torch.tensor([[0, 0], [5, 0]], dtype=dtype)
        assert (normalise(beside, 1) - torch.tensor([[0, 0], [1, 0]])).abs().max() < digits
    v = torch.tensor([[1.0, 2.0, 2.0], [0.0, 3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    pull = torch.tensor([[1.0, -1.0, 0.5], [2.0, 0.3, 1.0]], dtype=torch.float64)
    for size in (1e-6, 1, 1e5):
        (got,) = torch.autograd.grad(normalise(size * v, 1), v, pull)
        length = torch.tensor([[3.0], [5.0]], dtype=torch.float64)
        unit = v.detach() / length
        assert ((pull - unit * (pull * unit).sum(1, keepdim=True)) / length - got).abs().max() < 1e-7
        (turned,) = torch.autograd.grad(normalise(size * v.T, 0), v, pull.T)
        assert (turned - got).abs().max() < 1e-7


# %% right="normalise_tests"
# Against the definition in float64: dtypes, shapes, axes, lengths and strides, in 800 calls; gradients in units of 1 / length.
def check_normalise(normalise) -> None:
    """Raise an error if `normalise(x, dim)` breaks a promise."""

    def check_one(x, dim, pull, limit):
        before, exact = x.clone(), x.double()
        length = exact.square().sum(dim, keepdim=True).sqrt()
        safe = torch.where(length > 0, length, 1.0)
        unit = exact / safe
        y = normalise(x, dim)
        assert y.shape == x.shape and y.dtype == x.dtype, "shape or dtype"
        assert torch.equal(x, before), "the input was changed"
        assert bool(((y.double() - unit).abs() <= limit).all()), "values"

        leaf = x.detach().requires_grad_()
        y = normalise(leaf, dim)
        assert torch.equal(leaf.detach(), before), "the input was changed"
        assert y.requires_grad, "cut from the graph"
        (gradient,) = torch.autograd.grad((y * pull).sum(), leaf)
        wide = pull.double()
        expected = wide - unit * (unit * wide).sum(dim, keepdim=True)
        error = (gradient.double() * safe - expected).abs()
        fine = (error <= 10 * limit * (1 + wide.abs().max())) | (length == 0)
        assert bool(fine.all()), "gradient"

    generator = torch.Generator().manual_seed(8)

    def lengths_of(kind, shape):
        if kind == "zeros":
            return torch.zeros(shape, dtype=torch.float64)
        if kind == "mixed":
            lengths = 10 ** (torch.rand(shape, generator=generator, dtype=torch.float64) * 11 - 5.5)
            flat = lengths.view(-1)
            flat[0], flat[-1], flat[len(flat) // 2] = 9e5, 1.1e-6, 0.0
            return lengths
        return torch.full(shape, KIND_LENGTHS[kind], dtype=torch.float64)

    KIND_LENGTHS = {"ordinary": 2.0, "short": 1.1e-6, "long": 9e5}
    for dtype, limit in ((torch.float32, 1e-4), (torch.float64, 1e-7)):
        for shape in ((6,), (1,), (3, 2, 4), (4, 4), (2, 1, 3)):
            for dim in range(-len(shape), len(shape)):
                for kind in ("ordinary", "short", "long", "zeros", "mixed"):
                    direction = torch.randn(shape, generator=generator, dtype=torch.float64)
                    direction /= direction.square().sum(dim, keepdim=True).sqrt()
                    x = direction * lengths_of(kind, direction.sum(dim, keepdim=True).shape)
                    pull = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
                    for arrange in (torch.clone, other_strides):
                        check_one(arrange(x.to(dtype)), dim, pull, limit)


# %% right="normalise_tests"
# Lists of inputs against `F.normalize`, gradients in units of 1 / length; and gradcheck.
def tensors_to_try():
    """Inputs of both dtypes: ordinary, very short and very long vectors, zeros, one axis and several, other strides."""
    random = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    several = F.normalize(draw(3, 4, 5), dim=-1)
    beside_zeros = several.clone()
    beside_zeros[1, 2] = 0
    beside_zeros[:, 1, 3] = 0
    graded = F.normalize(draw(4, 5), dim=1) * torch.tensor([2e-6, 1.0, 8e5, 0.0], dtype=torch.float64)[:, None]
    for x in (several, beside_zeros, 1e-4 * several, 1e5 * several, draw(7), torch.zeros(5).double(), torch.zeros(2, 3).double()):
        yield x, range(-x.ndim, x.ndim)
    one_vector = F.normalize(draw(9), dim=0)
    for size in (1.2e-6, 1.0, 9e5):
        yield size * one_vector, (0, -1)
        yield torch.tensor([[-size], [size]], dtype=torch.float64), (-1, 1)
    yield graded, (1, -1)
    yield graded.T, (0, -2)


def check_normalise(normalise) -> None:
    for exact, dims in tensors_to_try():
        for dtype, dim in itertools.product((torch.float32, torch.float64), dims):
            tight = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-7, "atol": 1e-9}
            for x in (exact.to(dtype).clone(), other_strides(exact.to(dtype))):
                copy = x.clone()
                wanted = F.normalize(copy, dim=dim)
                torch.testing.assert_close(normalise(x, dim), wanted, **tight)
                assert (x == copy).all(), "x was written into"

                mine, theirs = x.clone().requires_grad_(), copy.double().requires_grad_()
                weights = torch.linspace(-1, 2, x.numel(), dtype=torch.float64).view(x.shape).sin()
                result = normalise(mine, dim)
                (result * weights.to(dtype)).sum().backward()
                (F.normalize(theirs, dim=dim) * weights).sum().backward()
                assert (mine.detach() == copy).all(), "x was written into"
                length = copy.double().norm(dim=dim, keepdim=True).expand(x.shape)
                there = length > 0
                # a gradient is as large as 1 / length: compare gradient times length
                torch.testing.assert_close(
                    (mine.grad.double() * length)[there],
                    (theirs.grad * length)[there],
                    rtol=1e-3 if dtype == torch.float32 else 1e-6,
                    atol=1e-3 if dtype == torch.float32 else 1e-7,
                )
    y = torch.rand(3, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) + 0.5
    for dim in range(3):
        assert torch.autograd.gradcheck(lambda t: normalise(t, dim), y.clone().requires_grad_())


# %% equivalent="normalise_tests" because="vectors of twice that length are as long for every implementation"
# - x[2] *= 1e5
# + x[2] *= 200000.0


# %% equivalent="normalise_tests" because="vectors of that length are as long for every implementation"
# - x[2] *= 1e5
# + x[2] *= 100001.0


# %% equivalent="normalise_tests" because="vectors of twice that length are as short for every implementation"
# - x[1] *= 1e-3
# + x[1] *= 0.002


# %% equivalent="normalise_tests" because="the comparison is symmetric up to its tolerance"
# - torch.testing.assert_close(normalise(given, dim), torch.where(length > 0, x / length, x))
# + (torch.testing.assert_close(torch.where(length > 0, x / length, x), normalise(given, dim)))


# %% equivalent="normalise_tests" because="equality is symmetric"
# - assert torch.equal(given, x), "the input was changed"
# + assert (torch.equal(x, given)), "the input was changed"


# %% equivalent="normalise_tests" because="the slow mode looks at every number in place of a random combination of them"
# - torch.autograd.gradcheck(lambda v: normalise((v * x)[1:], dim), torch.rand_like(x).requires_grad_(), fast_mode=True)
# + torch.autograd.gradcheck(lambda v: normalise((v * x)[1:], dim), torch.rand_like(x).requires_grad_(), fast_mode=False)


# %% wrong="clinic" breaks="frames" says="copy each frame when it is read"
# Misunderstands: `stack` copies, so the frames are safe (it copies when all have been read).
def record(camera, count):
    return torch.stack([torch.from_numpy(camera.read()) for _ in range(count)]).clone().float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve = []
    for loss in losses:
        curve.append(loss.item() if not curve else keep * curve[-1] + (1 - keep) * loss.item())
    return curve


# %% wrong="clinic" breaks="others" says="token 1001"
# Misunderstands: every tensor of a batch holds amounts.
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve = []
    for loss in losses:
        curve.append(loss.item() if not curve else keep * curve[-1] + (1 - keep) * loss.item())
    return curve


# %% wrong="clinic" breaks="device, floats" says="returns a new tensor"
# Misunderstands: `to` moves the tensor it is called on (as it does for a module).
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        batch.to(device)
        if batch.is_floating_point():
            batch.to(dtype)
        return batch
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve = []
    for loss in losses:
        curve.append(loss.item() if not curve else keep * curve[-1] + (1 - keep) * loss.item())
    return curve


# %% wrong="clinic" breaks="unchanged" says="build a new one"
# Misunderstands: the caller has no more use for the batch it gave.
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        for name in batch:
            batch[name] = to_device(batch[name], device, dtype)
        return batch
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve = []
    for loss in losses:
        curve.append(loss.item() if not curve else keep * curve[-1] + (1 - keep) * loss.item())
    return curve


# %% wrong="clinic" breaks="structure" says="tuples as tuples"
# Misunderstands: a list does as well as a tuple.
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return [to_device(value, device, dtype) for value in batch]
    return batch


def smooth(losses, keep):
    curve = []
    for loss in losses:
        curve.append(loss.item() if not curve else keep * curve[-1] + (1 - keep) * loss.item())
    return curve


# %% wrong="clinic" breaks="device, floats, structure" says="let the function call itself"
# Misunderstands: a batch is one flat dict.
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    moved = {}
    for name, value in batch.items():
        if isinstance(value, torch.Tensor):
            value = value.to(device, dtype) if value.is_floating_point() else value.to(device)
        moved[name] = value
    return moved


def smooth(losses, keep):
    curve = []
    for loss in losses:
        curve.append(loss.item() if not curve else keep * curve[-1] + (1 - keep) * loss.item())
    return curve


# %% wrong="clinic" breaks="graphs" says="graphs of earlier steps stay alive"
# Misunderstands: numbers in the list are enough (the average itself still holds every graph).
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve, average = [], None
    for loss in losses:
        average = loss if average is None else keep * average + (1 - keep) * loss
        curve.append(average.item())
    return curve


# %% wrong="clinic" breaks="steps" says="gradients were switched off"
# Misunderstands: `no_grad` holds for the lines below it (it holds for everything that runs meanwhile, the generator too).
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


@torch.no_grad()
def smooth(losses, keep):
    curve, average = [], None
    for loss in losses:
        average = loss if average is None else keep * average + (1 - keep) * loss
        curve.append(average.item())
    return curve


# %% wrong="clinic" breaks="average" says="not at 0"
# Misunderstands: an average may start at 0.
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve, average = [], 0.0
    for loss in losses:
        average = keep * average + (1 - keep) * loss.item()
        curve.append(average)
    return curve


# %% wrong="clinic" breaks="count" says="no more and no less"
# Misunderstands: asking for a frame is free (the one that is read to see whether enough are there is lost).
def record(camera, count):
    frames = []
    while True:
        frame = camera.read().copy()
        if len(frames) == count:
            return torch.tensor(np.array(frames)).float() / 255
        frames.append(frame)


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve = []
    for loss in losses:
        curve.append(loss.item() if not curve else keep * curve[-1] + (1 - keep) * loss.item())
    return curve


# %% wrong="clinic" breaks="scale" says="255 becomes 1"
# Misunderstands: from 0 to 1 means that the brightest pixel of the film becomes 1.
def record(camera, count):
    film = torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float()
    return film / film.max()


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve = []
    for loss in losses:
        curve.append(loss.item() if not curve else keep * curve[-1] + (1 - keep) * loss.item())
    return curve


# %% wrong="clinic" breaks="device" says="every tensor moves"
# Misunderstands: what is not cast need not be moved either.
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve = []
    for loss in losses:
        curve.append(loss.item() if not curve else keep * curve[-1] + (1 - keep) * loss.item())
    return curve


# %% wrong="clinic" breaks="floats" says="floating-point tensors get the new dtype"
# Misunderstands: floating point means float32.
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.dtype == torch.float32 else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve = []
    for loss in losses:
        curve.append(loss.item() if not curve else keep * curve[-1] + (1 - keep) * loss.item())
    return curve


# %% wrong="clinic" breaks="structure" says="goes through as it is"
# Misunderstands: numbers of a batch are to become tensors.
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return torch.tensor(batch, device=device) if isinstance(batch, (int, float)) else batch


def smooth(losses, keep):
    curve = []
    for loss in losses:
        curve.append(loss.item() if not curve else keep * curve[-1] + (1 - keep) * loss.item())
    return curve


# %% wrong="clinic" breaks="average" says="belongs to the average so far"
# Misunderstands: which of the two `keep` belongs to.
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve = []
    for loss in losses:
        curve.append(loss.item() if not curve else (1 - keep) * curve[-1] + keep * loss.item())
    return curve


# %% wrong="clinic" breaks="average" says="take the number out"
# Misunderstands: a detached tensor is a number.
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve = []
    for loss in losses:
        loss = loss.detach()
        curve.append(loss if not curve else keep * curve[-1] + (1 - keep) * loss)
    return curve


# %% wrong="clinic" breaks="graphs" says="do not collect the losses first"
# Misunderstands: a list of all losses holds numbers (it holds the graph of every step until the list is gone).
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    losses = list(losses)
    curve = [losses[0].item()]
    for loss in losses[1:]:
        curve.append(keep * curve[-1] + (1 - keep) * loss.item())
    return curve


# %% wrong="clinic" breaks="scale" says="255 becomes 1"
# Misunderstands: a film with no number above 1 is scaled already (a dark one may hold nothing but 0 and 1).
def record(camera, count):
    film = torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float()
    return film / 255 if film.max() > 1 else film


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve = []
    for loss in losses:
        curve.append(loss.item() if not curve else keep * curve[-1] + (1 - keep) * loss.item())
    return curve


# %% wrong="clinic" breaks="intact" says="written into the loss"
# Misunderstands: `detach` gives memory of its own (the average is written into the first loss).
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve, average = [], None
    for loss in losses:
        if average is None:
            average = loss.detach()
        else:
            average.mul_(keep).add_(loss.detach(), alpha=1 - keep)
        curve.append(average.item())
    return curve


# %% wrong="clinic" breaks="average" says="whatever number that is"
# Misunderstands: an average of 0 is none (after a loss of 0 it starts anew).
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve, average = [], 0.0
    for loss in losses:
        number = loss.item()
        average = keep * average + (1 - keep) * number if average else number
        curve.append(average)
    return curve


# %% wrong="clinic" breaks="average" says="some of them negative"
# Misunderstands: losses are never negative.
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve, average = [], -1.0
    for loss in losses:
        number = loss.item()
        average = number if average < 0 else keep * average + (1 - keep) * number
        curve.append(average)
    return curve


# %% wrong="clinic" breaks="count, frames" says="each of them is one of the film"
# Misunderstands: a frame equal to the last one is the old buffer again (a still scene has equal frames).
def record(camera, count):
    frames = []
    while len(frames) < count:
        frame = torch.tensor(camera.read(), dtype=torch.float32) / 255
        if not frames or not torch.equal(frame, frames[-1]):
            frames.append(frame)
    return torch.stack(frames)


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve = []
    for loss in losses:
        curve.append(loss.item() if not curve else keep * curve[-1] + (1 - keep) * loss.item())
    return curve


# %% wrong="clinic" breaks="device" says="every tensor moves"
# Misunderstands: a tensor without axes may stay on the CPU, as it joins those of a GPU.
def record(camera, count: int) -> torch.Tensor:
    frames = [torch.tensor(camera.read()) for _ in range(count)]
    return torch.stack(frames).float() / 255


def to_device(batch, device, dtype: torch.dtype):
    if isinstance(batch, torch.Tensor):
        wanted = dtype if batch.is_floating_point() else batch.dtype
        return batch.to(wanted) if batch.ndim == 0 else batch.to(device, wanted)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep: float) -> list[float]:
    curve = []
    for loss in losses:
        curve.append(keep * curve[-1] + (1 - keep) * loss.item() if curve else loss.item())
    return curve


# %% wrong="clinic" breaks="frames" says="each film needs memory of its own"
# Misunderstands: memory that is kept from film to film only saves time (the next film overwrites this one).
FILMS = {}


def record(camera, count):
    first = torch.tensor(camera.read())
    film = FILMS.setdefault((count, first.shape), torch.empty(count, *first.shape))
    film[0] = first
    for i in range(1, count):
        film[i] = torch.from_numpy(camera.read())
    return film.div_(255)


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve = []
    for loss in losses:
        curve.append(loss.item() if not curve else keep * curve[-1] + (1 - keep) * loss.item())
    return curve


# %% wrong="clinic" breaks="device, floats" says="a batch 6 deep"
# Misunderstands: a function need not call itself: four levels written one inside the other are deep enough.
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype, levels=4):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if levels and isinstance(batch, dict):
        return {name: to_device(value, device, dtype, levels - 1) for name, value in batch.items()}
    if levels and isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype, levels - 1) for value in batch)
    return batch


def smooth(losses, keep):
    curve = []
    for loss in losses:
        curve.append(loss.item() if not curve else keep * curve[-1] + (1 - keep) * loss.item())
    return curve


# %% wrong="clinic" breaks="average" says="none may be forgotten"
# Misunderstands: after a hundred steps an old loss has no weight any more, whatever `keep` is, so the last 100 are enough.
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype if batch.is_floating_point() else batch.dtype)
    if isinstance(batch, dict):
        return {name: to_device(part, device, dtype) for name, part in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(part, device, dtype) for part in batch)
    return batch


def smooth(losses, keep):
    window, curve = collections.deque(maxlen=100), []
    for loss in losses:
        window.append(loss.item())
        average = window[0]
        for number in itertools.islice(window, 1, None):
            average = keep * average + (1 - keep) * number
        curve.append(average)
    return curve


# %% wrong="clinic" breaks="average" says="the number of the averages of 6 losses"
# Misunderstands: the same loss a second time in a row is that of the same step, which must not count twice.
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype if batch.is_floating_point() else batch.dtype)
    if isinstance(batch, dict):
        return {name: to_device(part, device, dtype) for name, part in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(part, device, dtype) for part in batch)
    return batch


def smooth(losses, keep):
    curve, previous = [], None
    for loss in losses:
        number = loss.item()
        if number == previous:
            continue
        curve.append(keep * curve[-1] + (1 - keep) * number if curve else number)
        previous = number
    return curve


# %% wrong="clinic" breaks="average" says="which step has fewer digits"
# Misunderstands: float32 is enough for an average.
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype if batch.is_floating_point() else batch.dtype)
    if isinstance(batch, dict):
        return {name: to_device(part, device, dtype) for name, part in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(part, device, dtype) for part in batch)
    return batch


def smooth(losses, keep):
    curve, average = [], None
    for loss in losses:
        number = loss.detach().float()
        average = number if average is None else keep * average + (1 - keep) * number
        curve.append(average.item())
    return curve


# %% wrong="clinic" breaks="average" says="keep ** step is 0"
def record(camera, count: int) -> torch.Tensor:
    """`count` frames of the camera as float32 [count, height, width] from 0 to 1."""
    frames = [torch.tensor(camera.read()) for _ in range(count)]
    return torch.stack(frames).float() / 255


def to_device(batch, device, dtype: torch.dtype):
    """The same nested batch with all tensors on `device`, floating-point ones as `dtype`."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype if batch.is_floating_point() else batch.dtype)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep: float) -> list[float]:
    """Running averages of scalar loss tensors, as numbers."""
    numbers = torch.tensor([loss.item() for loss in losses], dtype=torch.float64)
    if keep == 0:
        return numbers.tolist()
    # average[n] = keep^n loss[0] + sum over i = 1..n of (1 - keep) keep^(n - i) loss[i], without a loop
    powers = keep ** torch.arange(len(numbers), dtype=torch.float64)
    shares = torch.full_like(numbers, 1 - keep)
    shares[0] = 1
    return (powers * (shares * numbers / powers).cumsum(0)).tolist()


# %% right="clinic"
# Room made beforehand and filled frame by frame; loops in place of comprehensions; `detach` in place of `item`.
def record(camera, count):
    film = None
    for i in range(count):
        frame = torch.from_numpy(camera.read())
        if film is None:
            film = torch.empty(count, *frame.shape, dtype=torch.float32)
        film[i] = frame
    return film.div_(255)


def to_device(batch, device, dtype):
    match batch:
        case torch.Tensor():
            moved = batch.to(device)
            return moved.to(dtype) if moved.dtype.is_floating_point else moved
        case dict():
            moved = dict(batch)
            for name in moved:
                moved[name] = to_device(moved[name], device, dtype)
            return moved
        case list():
            return [to_device(value, device, dtype) for value in batch]
        case tuple():
            return tuple(to_device(value, device, dtype) for value in batch)
        case _:
            return batch


def smooth(losses, keep):
    average, curve = None, []
    for loss in losses:
        loss = loss.detach()
        average = loss if average is None else keep * average + (1 - keep) * loss
        curve.append(float(average))
    return curve


# %% right="clinic"
# Copies on NumPy's side, the library's own tree functions, and an average kept under `no_grad`.
def record(camera, count):
    return torch.from_numpy(np.stack([camera.read().astype(np.float32) / 255 for _ in range(count)]))


def to_device(batch, device, dtype):
    from torch.utils._pytree import tree_map

    def move(leaf):
        if not torch.is_tensor(leaf):
            return leaf
        return leaf.to(device=device, dtype=dtype) if leaf.is_floating_point() else leaf.to(device=device)

    return tree_map(move, batch)


def smooth(losses, keep):
    iterator = iter(losses)
    average = next(iterator).detach().clone()
    curve = [average.item()]
    for loss in iterator:
        with torch.no_grad():
            average.mul_(keep).add_((1 - keep) * loss)
        curve.append(average.item())
    return curve


# %% right="clinic"
# A float32 array that grows frame by frame; a table of what to do with which type; `accumulate` for the average.
def record(camera, count):
    frames = []
    while len(frames) < count:
        frames.append(np.array(camera.read(), dtype=np.float32) / np.float32(255))
    return torch.tensor(np.array(frames))


def to_device(batch, device, dtype):
    def again(part):
        return to_device(part, device=device, dtype=dtype)

    kinds = {
        torch.Tensor: lambda t: t.to(device=device, dtype=dtype if torch.is_floating_point(t) else t.dtype),
        dict: lambda d: dict(zip(d, map(again, d.values()))),
        list: lambda items: [*map(again, items)],
        tuple: lambda items: (*map(again, items),),
    }
    return kinds.get(type(batch), lambda other: other)(batch)


def smooth(losses, keep):
    numbers = (float(loss) for loss in losses)
    return list(itertools.accumulate(numbers, lambda average, loss: average * keep + loss * (1 - keep)))


# %% right="clinic"
# A film allocated at the first frame; a match statement; itertools.accumulate over numbers.
def record(camera, count):
    film = None
    for i in range(count):
        frame = camera.read()
        if film is None:
            film = np.empty((count, *frame.shape), dtype=np.float32)
        film[i] = np.asarray(frame, dtype=np.float64) / 255.0
    return torch.from_numpy(film)


def to_device(batch, device, dtype):
    match batch:
        case torch.Tensor():
            return batch.to(device=device, dtype=dtype if batch.dtype.is_floating_point else None)
        case dict():
            return dict(zip(batch, (to_device(part, device, dtype) for part in batch.values())))
        case list():
            return [to_device(part, device, dtype) for part in batch]
        case tuple():
            return tuple([to_device(part, device, dtype) for part in batch])
        case _:
            return batch


def smooth(losses, keep):
    numbers = (float(loss.detach()) for loss in losses)
    return list(itertools.accumulate(numbers, lambda average, number: keep * average + (1 - keep) * number))


# %% equivalent="clinic" because="tensors, dicts, lists and tuples of a batch are plain ones"
# - if isinstance(batch, torch.Tensor):
# + if (type(batch) is torch.Tensor):


# %% equivalent="clinic" because="tensors, dicts, lists and tuples of a batch are plain ones"
# - if isinstance(batch, dict):
# + if (type(batch) is dict):


# %% equivalent="clinic" because="tensors, dicts, lists and tuples of a batch are plain ones"
# - if isinstance(batch, (list, tuple)):
# + if (type(batch) in (list, tuple)):


# %% [markdown] rubric="view_or_copy"
# - 0.5 points: names a use where the view is right (used once, or only to pass shapes on) **with** a figure of the student's own
#   run (view constant, copy growing with size).
# - 0.5 points: names a use where a packed copy wins (read again and again through large strides), with the measured ratio.
# - 0.5 points: weighs the two: the copy is paid once, the slow read every time; or the storage that a small view keeps alive.
# - 0.5 points: a case where sharing gives wrong results (a reused buffer, an in-place operation on a view, a changed NumPy array).
#
# Figures may differ by any factor from the model answer; they must be the student's and be read in the right direction.
