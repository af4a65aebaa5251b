"""One grey image, in evaluation mode; the network is left as it was."""

from __future__ import annotations

import torch
from torch import nn

from hardtemper.toolchain.compress.probe import evaluating, image_like


def test_every_layer_gets_its_own_mode_back() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout()).train()
    net[1].eval()
    with evaluating(net):
        assert not any(layer.training for layer in net.modules())
    assert [layer.training for layer in net.modules()] == [True, True, False, True]


def test_image_has_the_modules_type() -> None:
    image = image_like(nn.Conv2d(3, 4, 1).double(), (3, 5, 6))
    assert image.dtype == torch.float64
    assert image.shape == (1, 3, 5, 6)
