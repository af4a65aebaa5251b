"""Your own network and your own data: two functions, named on the command line as mine:net and mine:data.

    cd examples
    toolchain build --model mine:net --data mine:data --threat linf:8/255 --robust --out ../out/mine
    toolchain bench ../out/mine --data mine:data --images 200

The data are colour images of 32 x 32 pixels, made here: stripes that run across, down, or along a diagonal, with noise.
Put the reading of your own images in their place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

CLASSES = ["across", "down", "diagonal"]
SIDE = 32
TRAIN_IMAGES, TEST_IMAGES = 6000, 500


def net() -> nn.Module:
    """float [N, 3, 32, 32] in [0, 1] -> logits [N, 3]; normalization, if any, goes in here too."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, len(CLASSES)),
    )


def data() -> dict[str, Any]:
    """Images uint8 [N, H, W, 3] and labels [N] of both splits. The test split is measured on and never trained on."""
    train_images, train_labels = _stripes(TRAIN_IMAGES, seed=0)
    test_images, test_labels = _stripes(TEST_IMAGES, seed=1)
    return {
        "train_images": train_images,
        "train_labels": train_labels,
        "test_images": test_images,
        "test_labels": test_labels,
        "classes": CLASSES,
    }


def _stripes(n: int, *, seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(CLASSES), n)
    down, across = np.mgrid[0:SIDE, 0:SIDE]
    directions = np.stack([down, across, (down + across) / np.sqrt(2)])
    phase, period = rng.uniform(0, 2 * np.pi, (n, 1, 1)), rng.uniform(5, 9, (n, 1, 1))
    waves = np.sin(2 * np.pi * directions[labels] / period + phase)
    colours = rng.uniform(30, 70, (n, 1, 1, 3))
    images = 128 + colours * waves[..., None] + rng.normal(0, 12, (n, SIDE, SIDE, 3))
    return images.round().clip(0, 255).astype(np.uint8), labels
