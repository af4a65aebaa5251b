"""Of torchvision's width it is torchvision's network."""

from __future__ import annotations

import pytest
import torch

from hardtemper.bench.data.vision import torchvision
from hardtemper.runtime.errors import ModelError
from hardtemper.toolchain.models.wide_resnet50 import WideResNet50


def test_width_64_is_torchvisions() -> None:
    theirs = torchvision().models.wide_resnet50_2(num_classes=7).eval()
    ours = WideResNet50(classes=7).eval()
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    ours.load_state_dict(theirs.state_dict())
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


@pytest.mark.parametrize("width", [1, 3])
def test_other_widths(width: int) -> None:
    network = WideResNet50(width, channels=1, classes=4).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 4)
    assert network.fc.in_features == 32 * width


def test_a_width_out_of_range() -> None:
    with pytest.raises(ModelError, match="width is too small"):
        WideResNet50(0)
