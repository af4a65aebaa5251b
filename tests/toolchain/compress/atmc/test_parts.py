"""U, V and C of mixed networks are views: what is written into them is in the parameters."""

from __future__ import annotations

import torch
from torch import nn

from hardtemper.toolchain.compress.atmc.parts import gradients, hold_constants, parts
from hardtemper.toolchain.compress.atmc.sum_of_product import SumOfProduct


def test_parts_and_gradients_are_views_in_one_order() -> None:
    module = nn.Sequential(SumOfProduct(nn.Conv2d(1, 4, 3), 2), nn.Flatten(), nn.Linear(16, 3))
    found = parts(module, ["0", "2"])
    assert [tuple(part.shape) for part in found] == [(4, 2, 1, 1), (2, 1, 3, 3), (4, 1, 3, 3), (3, 16)]
    assert gradients(module, ["0", "2"]) == [None] * 4
    with torch.no_grad():
        found[2].zero_()
        found[3].zero_()
    assert not module[2].weight.any()
    assert not module[0][0].weight[2:].any()
    module(torch.rand(2, 1, 4, 4)).sum().backward()
    slopes = gradients(module, ["0", "2"])
    assert [None if slope is None else slope.shape for slope in slopes] == [part.shape for part in found]
    slopes[0].zero_()  # type: ignore[union-attr]
    assert not module[0][1].weight.grad[:, :2].any()
    with torch.no_grad():
        module[0][1].weight[:, 2:] = 7
    hold_constants(module)
    assert torch.equal(module[0][1].weight[:, 2:, 0, 0], torch.eye(4))
