"""LeNet has the weights that ATMC's paper counts."""

from __future__ import annotations

import pytest
import torch

from hardtemper.runtime.errors import ModelError
from hardtemper.toolchain.models.lenet import LeNet


def test_the_papers_model_size_in_bits() -> None:
    weights = sum(parameter.numel() for parameter in LeNet().parameters() if parameter.ndim > 1)
    assert 32 * weights == 13_776_000


@pytest.mark.parametrize(("width", "side", "inputs"), [(20, 28, 800), (2, 32, 125), (1, 16, 2)])
def test_shapes(width: int, side: int, inputs: int) -> None:
    model = LeNet(width, hidden=3, channels=3, classes=4, image_size=side).eval()
    assert model.get_submodule("classifier.1").in_features == inputs
    assert model(torch.zeros(2, 3, side, side)).shape == (2, 4)


def test_images_that_are_too_small() -> None:
    with pytest.raises(ModelError, match="16 pixels or more"):
        LeNet(image_size=15)
