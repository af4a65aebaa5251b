"""A grey image, a few for the proof, in evaluation mode; the network is left as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hardtemper.runtime.errors import CompressionError
from hardtemper.toolchain.compress.probe import check_images, evaluating, image_like


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


def test_check_images_are_those_given_or_random_ones_of_a_fixed_seed() -> None:
    net = nn.Conv2d(3, 4, 1).double()
    seeded = check_images(net, (3, 5, 6), None)
    assert seeded.shape == (4, 3, 5, 6)
    assert seeded.dtype == torch.float64
    assert torch.equal(seeded, check_images(net, (3, 5, 6), None))
    assert torch.equal(check_images(net, (3, 5, 6), torch.ones(2, 3, 5, 6)), torch.ones(2, 3, 5, 6).double())
    for wrong in (torch.ones(2, 3, 6, 5), torch.ones(0, 3, 5, 6), torch.ones(3, 5, 6)):
        with pytest.raises(CompressionError, match=r"check_images do not fit.*expected: float \[N, 3, 5, 6\]"):
            check_images(net, (3, 5, 6), wrong)
