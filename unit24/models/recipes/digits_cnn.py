"""Recipe of digits-cnn and digits-cnn-ten: the network of `unit24.models.digits_cnn` trained on cluttered digits."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from unit24.data import digits
from unit24.models.digits_cnn import DigitsCNN
from unit24.models.recipes.training import Figure, fit

CLASSES = {"digits-cnn": range(5), "digits-cnn-ten": range(10)}
STEPS = 1500


def build(name: str, out: Path, seed: int = 0) -> float:
    """Train and write weights and configuration to the folder `out`; gives CPU seconds."""
    torch.manual_seed(seed)
    model = DigitsCNN(classes=len(CLASSES[name]))
    optim = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-2)

    def loss(step: int) -> torch.Tensor:
        images, labels, _ = digits.tensors("train", 64, seed=1_000_000 * seed + step, classes=CLASSES[name])
        return F.cross_entropy(model(images), labels)

    seconds = fit(model, loss, STEPS, [optim], out / "checkpoint.pt", name, every=500)
    model.save_pretrained(out)
    return seconds


@torch.no_grad()
def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    return float((model.eval()(images).argmax(-1) == labels).float().mean())


def pixels(train: tuple[torch.Tensor, torch.Tensor], test: tuple[torch.Tensor, torch.Tensor]) -> float:
    """Accuracy of logistic regression on the pixels."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=2000, C=0.3).fit(train[0].flatten(1).numpy(), train[1].numpy())
    return float(model.score(test[0].flatten(1).numpy(), test[1].numpy()))


def few_images(start: DigitsCNN | None, per_class: int, seed: int, steps: int = 200) -> float:
    """Held-out accuracy on digits 5 to 9 after training on `per_class` fixed pictures of each.

    Starts from the features of `start`, or from random weights when it is None.
    """
    images, labels, _ = digits.tensors("train", 1000, seed=seed, classes=range(5, 10))
    chosen = torch.cat([torch.where(labels == c)[0][:per_class] for c in range(5, 10)])
    images, labels = images[chosen], labels[chosen] - 5
    torch.manual_seed(seed)
    model = DigitsCNN()
    if start is not None:
        model.features = copy.deepcopy(start.features)
    rate = 3e-3 if start is None else 1e-3  # the better of both for each, tried before
    optim = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, rate, total_steps=steps + 1)
    model.train()
    for _ in range(steps):
        rows = torch.randint(len(labels), (min(32, len(labels)),))
        F.cross_entropy(model(images[rows]), labels[rows]).backward()
        optim.step()
        schedule.step()
        optim.zero_grad()
    test, wanted, _ = digits.tensors("test", 500, seed=seed, classes=range(5, 10))
    return accuracy(model, test, wanted - 5)


def measure(name: str, where: Path) -> list[Figure]:
    """Accuracy on held-out digits, and for digits-cnn after transfer to digits 5 to 9."""
    classes = CLASSES[name]
    model = DigitsCNN.from_pretrained(where)
    train, test = digits.tensors("train", 2000, 1, classes)[:2], digits.tensors("test", 1000, 2, classes)[:2]
    figures = [
        Figure(
            f"cluttered digits {classes[0]} to {classes[-1]}", "accuracy", accuracy(model, *test), pixels(train, test),
            "logistic regression on pixels",
        )
    ]  # fmt: skip
    if name == "digits-cnn":
        for per_class in (5, 20):
            tuned = sum(few_images(model, per_class, seed) for seed in range(3)) / 3
            scratch = sum(few_images(None, per_class, seed) for seed in range(3)) / 3
            task = f"digits 5 to 9 from {per_class} pictures of each, mean of 3 seeds"
            figures.append(Figure(task, "accuracy", tuned, scratch, "random weights"))
    return figures
