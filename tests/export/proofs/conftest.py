"""An integer network without sums of branches, which every engine computes alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from hardtemper.export.lower import lower
from hardtemper.export.quantization.quantize import IntegerGraph, quantize

SHAPE = (3, 12, 12)


@pytest.fixture(scope="session")
def plain(prepare: Callable[..., nn.Module], pixels: Callable[..., object]) -> nn.Module:
    """Convolutions, one of them in groups, a pool and a linear layer; [N, 3, 12, 12] -> [N, 5]."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, groups=4),
        nn.ReLU(),
        nn.Conv2d(8, 16, 1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 5),
    )
    return prepare(net, pixels(32, SHAPE))


@pytest.fixture(scope="session")
def plain_integer(plain: nn.Module, pixels: Callable[..., object]) -> IntegerGraph:
    """Quantized with power-of-two scales."""
    return quantize(lower(plain, input_shape=SHAPE), pixels(32, SHAPE))  # type: ignore[arg-type]
