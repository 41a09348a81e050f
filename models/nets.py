"""The networks of the Fashion-MNIST family, in plain PyTorch.

Input: float32 of shape (batch, 1, 28, 28), normalised as the model cards say. Output: logits,
float32 of shape (batch, 10).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

TEACHER_WIDTH = 24
CLASSES = 10


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two convolutions with a shortcut around them (He et al. 2016, arXiv:1512.03385)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels)
        self.second = _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class Teacher(nn.Module):
    """A small residual network."""

    def __init__(self, width: int = TEACHER_WIDTH) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _conv(1, width),
            _conv(width, 2 * width, stride=2),
            Residual(2 * width),
            _conv(2 * width, 4 * width, stride=2),
            Residual(4 * width),
            _conv(4 * width, 4 * width),
        )
        self.dropout = nn.Dropout(0.2)
        self.classify = nn.Linear(4 * width, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        pooled = torch.amax(self.features(image), dim=(2, 3))
        return self.classify(self.dropout(pooled))


class Student(nn.Module):
    """Three convolutions of stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _conv(1, 16, stride=2), _conv(16, 24, stride=2), _conv(24, 40, stride=2)
        )
        self.classify = nn.Linear(40, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        pooled = self.features(image).mean(dim=(2, 3))
        return self.classify(pooled)


def teacher() -> nn.Module:
    """The original's network."""
    return Teacher()


def student() -> nn.Module:
    """The network of the distilled model and of its control."""
    return Student()
