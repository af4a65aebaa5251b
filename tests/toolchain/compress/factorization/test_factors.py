"""Factors are layers in a row."""

from __future__ import annotations

import torch
from torch import nn

from hardtemper.toolchain.compress.factorization.factors import Factors


def test_factors_are_carried_out_in_their_order() -> None:
    first, second = nn.Linear(3, 2, bias=False), nn.Linear(2, 4)
    x = torch.rand(5, 3)
    assert torch.equal(Factors(first, second)(x), second(first(x)))
