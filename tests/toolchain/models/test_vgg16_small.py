"""VGG-16 has the layers, widths and sizes that its docstring says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hardtemper.bench.data.vision import torchvision
from hardtemper.runtime.errors import ModelError
from hardtemper.toolchain.models.vgg16_small import VGG16Small


def test_configuration_d_in_order() -> None:
    ours, theirs = VGG16Small(), torchvision().models.vgg16_bn(weights=None, init_weights=False)
    shapes = [
        [tuple(layer.weight.shape) for layer in network.features if isinstance(layer, nn.Conv2d)][1:]
        for network in (ours, theirs)
    ]
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) == 12
    kinds = [type(layer) for layer in VGG16Small(width=1, image_size=32).features]
    assert kinds == [type(layer) for layer in theirs.features]
    linear = [layer.out_features for layer in VGG16Small(width=1, hidden=7).classifier if isinstance(layer, nn.Linear)]
    assert linear == [7, 7, 10]


@pytest.mark.parametrize(("side", "pools", "inputs"), [(16, 4, 8), (28, 4, 8), (32, 5, 8), (64, 5, 32)])
def test_a_pool_needs_two_pixels(side: int, pools: int, inputs: int) -> None:
    model = VGG16Small(width=1, hidden=3, channels=3, classes=4, image_size=side).eval()
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in model.features) == pools
    first = model.classifier[1]
    assert isinstance(first, nn.Linear)
    assert first.in_features == inputs
    assert model(torch.zeros(2, 3, side, side)).shape == (2, 4)


def test_images_that_are_too_small() -> None:
    with pytest.raises(ModelError, match="16 pixels or more"):
        VGG16Small(image_size=15)
