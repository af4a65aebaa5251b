"""A chain that is not the layer of its product is found, whatever is wrong with it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from hardtemper.runtime.errors import CompressionError
from hardtemper.toolchain.compress.factorization.factors import Factors
from hardtemper.toolchain.compress.factorization.same_function import assert_same_function

IMAGES = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def networks() -> tuple[nn.Sequential, nn.Sequential, Tensor]:
    """A network, the same with a convolution as two, and the product of the two."""
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(384, 2))
    first, second = nn.Conv2d(3, 2, 3, padding=1, bias=False), nn.Conv2d(2, 6, 1)
    second.bias = nn.Parameter(dense[0].bias.detach().clone())
    factorized = copy.deepcopy(dense)
    factorized[0] = Factors(first, second)
    return dense, factorized, torch.einsum("or,rihw->oihw", second.weight[..., 0, 0], first.weight).detach()


def test_the_factors_of_the_product() -> None:
    dense, factorized, weight = networks()
    before = copy.deepcopy(dense.state_dict())
    dense.train()
    assert assert_same_function(dense, factorized, weights={"0": weight}, images=IMAGES) < 1e-5
    assert all(torch.equal(value, before[key]) for key, value in dense.state_dict().items())
    assert dense.training


def test_a_lost_bias() -> None:
    dense, factorized, weight = networks()
    factorized[0][1].bias.data.zero_()
    with pytest.raises(CompressionError, match="the factors are not the layer that they stand for: 0 differs first"):
        assert_same_function(dense, factorized, weights={"0": weight}, images=IMAGES)


def test_another_shape() -> None:
    dense, factorized, weight = networks()
    factorized[0][0].padding = (0, 0)
    with pytest.raises(CompressionError, match=r"got: \(3, 6, 6, 6\) for \(3, 6, 8, 8\)"):
        assert_same_function(dense, factorized, weights={"0": weight}, images=IMAGES)


def test_a_network_that_changed_elsewhere() -> None:
    dense, factorized, weight = networks()
    factorized[3].bias.data += 1
    with pytest.raises(CompressionError, match="the logits differs first"):
        assert_same_function(dense, factorized, weights={"0": weight}, images=IMAGES)


def test_code_that_reads_a_weight_itself() -> None:
    class Reads(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + self[0].weight.sum()

    dense, factorized, weight = networks()
    with pytest.raises(CompressionError, match=r"its code wants more of a layer than to call it.*'weight'"):
        assert_same_function(Reads(*dense), Reads(*factorized), weights={"0": weight}, images=IMAGES)
