"""# Cluttered digits

The 1,797 handwritten digits of scikit-learn (8 x 8), each turned, scaled and moved on a canvas of 16 x 16
with two stray strokes, of varying contrast, and with noise.

**Fields.** `image` (float32, 16 x 16, about 0 to 1 with noise beyond), `label` (0 to 9), `source` (index of
the digit in `sklearn.datasets.load_digits`).

**Splits.** `train`, `test`, by source image: whatever the seed, a test image is made from a digit that no
shipped model has seen in any rendering. digits-cnn has seen training images of 0 to 4 only.

**Made from** "Optical Recognition of Handwritten Digits" (Alpaydin, Kaynak; UCI, CC BY 4.0) as shipped with
scikit-learn; the rendering is ours.

**Known biases.** Digits of 43 writers, their test set only; sources are 8 x 8 and look blurred when enlarged;
classes are equally frequent; clutter is straight strokes of one width.
"""

from __future__ import annotations

import functools

from unit24.data._base import check_split, dataset, side

SIZE = 16


@functools.cache
def sources():
    """The digits of scikit-learn: images float32 (1797, 1, 8, 8) in 0 to 1, labels int64 (1797,), as tensors."""
    import torch
    from sklearn.datasets import load_digits

    digits = load_digits()
    return torch.tensor(digits.images / 16, dtype=torch.float32)[:, None], torch.tensor(digits.target)


@functools.cache
def indices(split: str) -> tuple[int, ...]:
    """Indices of the source digits in a split."""
    return tuple(i for i in range(len(sources()[1])) if side(f"digit {i}") == split)


def render(images, generator):
    """Cluttered pictures of digits.

    `images` float32 (n, 1, 8, 8), `generator` a `torch.Generator`; gives float32 (n, 1, 16, 16).
    """
    import torch
    import torch.nn.functional as F

    n = len(images)

    def uniform(*shape: int):
        return torch.rand(*shape, generator=generator)

    angle = (uniform(n) - 0.5) * 0.6  # radians
    zoom = 1 / (0.6 + 0.25 * uniform(n))
    shift = (uniform(n, 2) - 0.5) * 0.7 * zoom[:, None]
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    affine = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    out = F.grid_sample(images, F.affine_grid(affine, [n, 1, SIZE, SIZE], align_corners=False), align_corners=False)

    axis = torch.linspace(-1, 1, SIZE)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    for _ in range(2):  # stray strokes
        middle, turn, half = uniform(n, 2) * 2 - 1, uniform(n) * torch.pi, 0.25 + 0.35 * uniform(n)
        dx, dy = x - middle[:, 0, None, None], y - middle[:, 1, None, None]
        cos, sin = torch.cos(turn)[:, None, None], torch.sin(turn)[:, None, None]
        along, across = dx * cos + dy * sin, dy * cos - dx * sin
        stroke = 0.8 * ((along.abs() < half[:, None, None]) & (across.abs() < 0.08))
        out = torch.maximum(out, stroke[:, None])
    return out * (0.5 + 0.5 * uniform(n, 1, 1, 1)) + 0.12 * torch.randn(out.shape, generator=generator)


def tensors(split: str = "train", n: int = 1000, seed: int = 0, classes=range(10)):
    """`n` rendered digits as tensors: images float32 (n, 1, 16, 16), labels int64 (n,), sources int64 (n,).

    A source digit serves again, in another rendering, when `n` is more than there are.
    """
    import torch

    check_split(split)
    images, labels = sources()
    wanted = [i for i in indices(split) if int(labels[i]) in set(classes)]
    if not wanted:
        raise ValueError(f"no digits of the classes {list(classes)}: choose among 0 to 9")
    generator = torch.Generator().manual_seed(seed)
    order = torch.cat([torch.randperm(len(wanted), generator=generator) for _ in range(-(-n // len(wanted)))])[:n]
    picked = torch.tensor(wanted)[order]
    return render(images[picked], generator), labels[picked], picked


def cluttered_digits(split: str = "train", n: int = 1000, seed: int = 0, classes=range(10)):
    """`n` rendered digits as `datasets.Dataset` (image, label, source), without torchvision."""
    from datasets import Array2D, Value

    images, labels, picked = tensors(split, n, seed, classes)
    columns = {"image": list(images[:, 0].numpy()), "label": labels.tolist(), "source": picked.tolist()}
    features = {"image": Array2D((SIZE, SIZE), "float32"), "label": Value("int64"), "source": Value("int64")}
    return dataset(columns, __doc__, features)
