from __future__ import annotations

import copy

import torch
from torch import nn

from hardtemper.toolchain.compress.chain import compress
from hardtemper.toolchain.compress.context import Context
from hardtemper.toolchain.recipe.filter_pruning import FilterPruning
from hardtemper.toolchain.study.masked_network import masked_network


def test_masked_and_hardened_are_one_function() -> None:
    layers = [nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 8), nn.ReLU()]
    dense = nn.Sequential(*layers, nn.Linear(8, 5)).eval()
    with torch.no_grad():
        dense[1].running_mean.uniform_()
        dense[1].bias.uniform_()
    before = copy.deepcopy(dense.state_dict())
    context = Context(input_shape=(1, 8, 8))
    found = compress(dense, [FilterPruning(sparsity=0.5, linear=True)], context)
    masked = masked_network(dense, found.layers)
    images = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(masked(images), found.module(images))
    assert {name: tuple(value.shape) for name, value in masked.state_dict().items()} == {
        name: tuple(value.shape) for name, value in before.items()
    }
    assert int((masked[0].weight == 0).sum()) == 27
    assert all(torch.equal(value, before[name]) for name, value in dense.state_dict().items())
