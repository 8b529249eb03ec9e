"""The class of digits-cnn and digits-cnn-ten: a small convolutional network for 16 x 16 pictures."""

from __future__ import annotations

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import nn


class DigitsCNN(nn.Module, PyTorchModelHubMixin):
    """Four convolutions with batch norm, then one linear layer.

    ``DigitsCNN.from_pretrained(unit24.models.path("vision"))`` loads safetensors; no pickle.
    `features` gives float32 (n, 16 * width), `forward` logits (n, classes), from (n, 1, 16, 16).
    """

    def __init__(self, width: int = 16, classes: int = 5):
        super().__init__()

        def block(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())

        self.features = nn.Sequential(
            block(1, width),
            block(width, width),
            nn.MaxPool2d(2),
            block(width, 2 * width),
            nn.MaxPool2d(2),
            block(2 * width, 4 * width),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Linear(16 * width, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))
