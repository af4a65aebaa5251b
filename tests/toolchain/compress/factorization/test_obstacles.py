"""Layers that are not factorized, each with its reason."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from hardtemper.toolchain.compress.cost import costs
from hardtemper.toolchain.compress.factorization.factors import Factors
from hardtemper.toolchain.compress.factorization.obstacles import obstacles


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.free = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 8, 3, groups=2)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
        self.up = nn.ConvTranspose2d(8, 8, 2)
        self.product = Factors(nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1))
        self.unused = nn.Linear(8, 8)
        self.normed = parametrizations.weight_norm(nn.Linear(8, 8))
        self.masked = prune.identity(nn.Linear(8, 8), "weight")
        self.tied, self.twin = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
        self.twin.weight = self.tied.weight
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.depthwise(self.grouped(self.norm(self.free(x)))))
        return self.head(self.twin(self.tied(self.masked(self.normed(self.product(y).mean((2, 3)))))))


def found(**forms: str) -> dict[str, str]:
    net = Net().eval()
    return obstacles(net, costs(net, input_shape=(3, 12, 12)), **{"conv": "tucker", "linear": "svd", **forms})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("norm", "it is neither a convolution nor a linear layer"),
        ("grouped", "a grouped convolution is factorized already: its groups do not see each other"),
        ("depthwise", "a depthwise convolution has one small kernel a channel"),
        ("up", "a ConvTranspose2d is neither a Conv2d nor a Linear"),
        ("product.0", "it is a factor of an earlier step"),
        ("product.1", "it is a factor of an earlier step"),
        ("unused", "the forward pass does not reach it"),
        ("normed", "a ParametrizedLinear is neither a Conv2d nor a Linear"),
        ("masked", "its weight is computed from others (a parametrization)"),
        ("tied", "it shares its weights with another layer"),
        ("twin", "it shares its weights with another layer"),
    ],
)
def test_reasons(name: str, reason: str) -> None:
    torch.manual_seed(0)
    assert found()[name] == reason


def test_what_is_free_has_no_reason() -> None:
    assert {"free", "head"}.isdisjoint(found())
    assert found(conv="none")["free"] == 'conv = "none"'
    assert found(linear="none")["head"] == 'linear = "none"'
    assert found(linear="none")["unused"] == 'linear = "none"'
