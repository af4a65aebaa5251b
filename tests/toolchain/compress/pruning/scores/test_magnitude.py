"""Magnitudes against torch's own."""

from __future__ import annotations

import torch
from torch import nn

from hardtemper.toolchain.compress.pruning.scores.magnitude import l1, l2


def test_magnitudes() -> None:
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Linear(4, 5))
    for name, layer in (("0", module[0]), ("1", module[1])):
        assert torch.equal(l1(module, [name])[name], layer.weight.detach().double().abs())
        assert torch.equal(l2(module, [name])[name], layer.weight.detach().double() ** 2)
    assert list(l2(module, ["1", "0"])) == ["1", "0"]
