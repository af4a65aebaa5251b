"""LAMP against its definition, term by term, and against the published code's way of computing it."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hardtemper.toolchain.compress.pruning.scores.lamp import lamp


def layer_of(values: list[float]) -> nn.Sequential:
    layer = nn.Linear(len(values), 1, bias=False)
    layer.weight.data = torch.tensor([values])
    return nn.Sequential(layer)


def published(weight: torch.Tensor) -> torch.Tensor:
    """The scores of a flat weight as github.com/jaeho-lee/layer-adaptive-sparsity computes them, unnormalized order."""
    squares, order = weight.square().sort(descending=True)
    scores = squares / squares.cumsum(0)
    return scores[order.argsort()]


def test_by_hand() -> None:
    scores = lamp(layer_of([3.0, -1.0, 2.0]), ["0"])["0"].flatten().tolist()
    assert scores == [1.0, 1 / 14, 4 / 13]


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=30, unique=True))
def test_against_the_published_code(values: list[int]) -> None:
    module = layer_of([float(value) for value in values])
    torch.testing.assert_close(lamp(module, ["0"])["0"].flatten(), published(module[0].weight.detach().double()[0]))


def test_the_order_within_a_layer_is_that_of_magnitude_and_zeros_are_worth_nothing() -> None:
    torch.manual_seed(0)
    weight = torch.randn(200)
    weight[:20] = 0
    scores = lamp(layer_of(weight.tolist()), ["0"])["0"].flatten()
    assert torch.equal(scores.argsort(stable=True), weight.double().abs().argsort(stable=True))
    assert (scores[:20] == 0).all()
    assert scores.max() == 1
