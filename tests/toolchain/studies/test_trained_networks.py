"""All take gray images of 28 x 28 in any batch and give different logits for different ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from hardtemper.toolchain.studies.trained_networks import convnext, efficientnet_b0, vit


@pytest.mark.parametrize("factory", [convnext, efficientnet_b0, vit])
def test_logits_of_gray_images(factory: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    network = factory().eval()
    images = torch.rand(3, 1, 28, 28)
    with torch.no_grad():
        logits = network(images)
        alone = network(images[:1])
    assert logits.shape == (3, 10)
    torch.testing.assert_close(alone, logits[:1])
    assert not torch.equal(logits[0], logits[1])
