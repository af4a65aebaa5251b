"""W = UV + C is the layer that it stands for, whatever its shape, and its constant part comes back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hardtemper.toolchain.compress.atmc.sum_of_product import SumOfProduct

LAYERS: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Conv2d(3, 8, 3, padding=1), (2, 3, 9, 9)),
    (nn.Conv2d(4, 6, 5, stride=2, padding=2, bias=False), (2, 4, 9, 9)),
    (nn.Conv2d(4, 6, (3, 1), dilation=2, padding="same"), (2, 4, 9, 9)),
    (nn.Conv2d(2, 5, 3, padding=1, padding_mode="reflect"), (2, 2, 9, 9)),
    (nn.Linear(12, 7), (2, 12)),
    (nn.Linear(5, 9, bias=False), (2, 5)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=[repr(layer) for layer, _ in LAYERS])
@pytest.mark.parametrize("rank", [1, 3])
def test_it_is_the_layer(layer: Any, shape: tuple[int, ...], rank: int) -> None:
    x = torch.randn(shape)
    made = SumOfProduct(layer, rank)
    torch.testing.assert_close(made(x), layer(x), rtol=1e-4, atol=1e-5)
    u, v, c = made.parts(*made.weights)
    product = u.flatten(1) @ v.flatten(1)
    torch.testing.assert_close(product + c.flatten(1), layer.weight.flatten(1), rtol=1e-4, atol=1e-5)
    assert torch.linalg.matrix_rank(product) == rank


def test_the_product_is_the_best_of_its_rank() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(20, 10)
    made = SumOfProduct(layer, 4)
    u, v, _ = made.parts(*made.weights)
    values = torch.linalg.svdvals(layer.weight.detach().double())
    lost = (layer.weight - u @ v).double().square().sum()
    assert lost.item() == pytest.approx(values[4:].square().sum().item(), rel=1e-5)


def test_the_identity_comes_back() -> None:
    made = SumOfProduct(nn.Conv2d(3, 8, 3), 2)
    before = made[1].weight.detach().clone()
    with torch.no_grad():
        made[1].weight[:, 2:] += 0.5
    made.hold_identity()
    assert torch.equal(made[1].weight, before)
