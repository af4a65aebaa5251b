"""Of ViT-B's size it has ViT-B's layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hardtemper.bench.data.vision import torchvision
from hardtemper.runtime.errors import ModelError
from hardtemper.toolchain.models.vision_transformer import vision_transformer


def test_width_64_and_depth_12_are_vit_b() -> None:
    with torch.device("meta"):
        ours = vision_transformer(classes=5).state_dict()
        theirs = torchvision().models.vit_b_16(num_classes=5).state_dict()
    differ = {name for name in theirs if ours[name].shape != theirs[name].shape}
    assert list(ours) == list(theirs)
    assert differ == {"conv_proj.weight", "encoder.pos_embedding"}  # patches are smaller, and there are fewer
    assert ours["encoder.pos_embedding"].shape == (1, 50, 768)


def test_its_last_layer_does_not_start_at_zero() -> None:
    torch.manual_seed(0)
    network = vision_transformer(2, depth=1, channels=1, classes=4, image_size=8).eval()
    with torch.no_grad():
        logits = network(torch.rand(3, 1, 8, 8))
    assert logits.shape == (3, 4)
    assert logits.std(dim=0).min() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width is too small"),
        ({"depth": 0}, "depth is too small"),
        ({"image_size": 30}, "patches of 4"),
        ({"image_size": 0}, "patches of 4"),
    ],
)
def test_sizes_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        vision_transformer(**options)
