"""Normalization inside the network, against torchvision's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hardtemper.bench.data.vision import torchvision
from hardtemper.runtime.errors import ModelError
from hardtemper.toolchain.models.normalize import Preprocess, preprocess

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.mark.parametrize(
    ("normalize", "channels", "mean", "std"),
    [
        ("imagenet", 3, *IMAGENET),
        ("imagenet", 1, [0.449], [0.226]),
        (([0.5], [0.25]), 3, [0.5] * 3, [0.25] * 3),
        (([0.1, 0.2, 0.3], [0.4]), 3, [0.1, 0.2, 0.3], [0.4] * 3),
        (([0.2860], [0.3530]), 1, [0.2860], [0.3530]),
        (((0, 0, 0), (1, 2, 3)), 3, [0, 0, 0], [1, 2, 3]),
    ],
)
def test_the_same_as_torchvisions_normalize(normalize: Any, channels: int, mean: list[float], std: list[float]) -> None:
    module = preprocess(normalize, channels)
    assert module is not None
    images = torch.rand(4, channels, 5, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(module(images), torchvision().transforms.functional.normalize(images, mean, std))


def test_none_is_no_module() -> None:
    assert preprocess("none", 3) is None


def test_constants_move_with_the_module_and_are_no_weights() -> None:
    module = Preprocess(*IMAGENET)
    assert module.mean.shape == module.std.shape == (1, 3, 1, 1)
    assert module.state_dict() == {}
    assert list(module.parameters()) == []
    assert module.double().mean.dtype == torch.float64


@pytest.mark.parametrize(
    "normalize",
    [
        "cifar",
        ([0.5],),
        ([0.5, 0.5], [0.5]),
        ([0.5], [0.5, 0.5, 0.5, 0.5]),
        ([], []),
        ([0.5], [0.0]),
        ([0.5], [-1.0]),
        ([float("nan")], [1.0]),
        ([0.5], [float("inf")]),
    ],
)
def test_other_values_are_refused(normalize: Any) -> None:
    with pytest.raises(ModelError, match=r"normalization.*; expected: none, imagenet, or a mean and a std of 1 or 3"):
        preprocess(normalize, 3)
