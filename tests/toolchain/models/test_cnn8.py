"""CNN8 has the layers, widths and sizes that its docstring says."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from hardtemper.runtime.errors import ModelError
from hardtemper.toolchain.models.cnn8 import CNN8


def test_eight_layers_in_order() -> None:
    model = CNN8(width=4)
    block = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert [type(layer) for layer in model.features] == 3 * [*block, *block, nn.MaxPool2d]
    assert [type(layer) for layer in model.classifier] == [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear]
    convolutions = [layer for layer in model.features if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [4, 4, 8, 8, 16, 16]
    for layer in convolutions:
        assert (layer.kernel_size, layer.padding, layer.stride, layer.bias) == ((3, 3), (1, 1), (1, 1), None)


@pytest.mark.parametrize(
    ("options", "shape", "classes", "flat"),
    [
        ({}, (1, 28, 28), 10, 192 * 3 * 3),
        ({"width": 2, "hidden": 5}, (1, 28, 28), 10, 8 * 3 * 3),
        ({"width": 2, "channels": 3, "classes": 100, "image_size": 32}, (3, 32, 32), 100, 8 * 4 * 4),
        ({"width": 1, "image_size": 8}, (1, 8, 8), 10, 4),
        ({"width": 3, "image_size": 37}, (1, 37, 37), 10, 12 * 4 * 4),
    ],
)
def test_shapes(options: dict[str, int], shape: tuple[int, ...], classes: int, flat: int) -> None:
    model = CNN8(**options).eval()
    hidden = model.classifier[1]
    assert isinstance(hidden, nn.Linear)
    assert (hidden.in_features, hidden.out_features) == (flat, options.get("hidden", 128))
    for n in (0, 1, 3):
        assert model(torch.zeros(n, *shape)).shape == (n, classes)


def test_spatial_sizes_are_28_14_7_3() -> None:
    sizes = []
    images = torch.zeros(1, 1, 28, 28)
    for layer in CNN8(width=1).eval().features:
        images = layer(images)
        if isinstance(layer, nn.MaxPool2d):
            sizes.append(images.shape[-1])
    assert sizes == [14, 7, 3]


@pytest.mark.parametrize(("width", "hidden"), [(16, 128), (48, 128), (48, 64)])
def test_number_of_parameters(width: int, hidden: int) -> None:
    """By hand: 9 weights a kernel, 2 a batch-norm channel, and two linear layers with bias."""
    channels = [1, *(width * factor for factor in (1, 1, 2, 2, 4, 4))]
    expected = sum(9 * a * b + 2 * b for a, b in itertools.pairwise(channels))
    expected += 36 * width * hidden + hidden + 10 * hidden + 10
    assert sum(parameter.numel() for parameter in CNN8(width, hidden=hidden).parameters()) == expected


@pytest.mark.parametrize("option", ["width", "hidden", "channels", "classes"])
@pytest.mark.parametrize("value", [0, -1])
def test_counts_below_one_are_refused(option: str, value: int) -> None:
    with pytest.raises(ModelError, match=f"cnn8: {option} is too small; expected: 1 or more; got: {value}"):
        CNN8(**{option: value})


def test_images_below_eight_pixels_are_refused() -> None:
    with pytest.raises(ModelError, match="image_size is too small; expected: 8 or more; got: 7"):
        CNN8(image_size=7)
