"""Sizes of small networks, counted by hand."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from hardtemper.export.lower import lower
from hardtemper.export.quantization.quantize import quantize
from hardtemper.toolchain.compress.chain import compress
from hardtemper.toolchain.compress.compressed import Compressed
from hardtemper.toolchain.compress.context import Context
from hardtemper.toolchain.recipe.atmc_settings import Atmc
from hardtemper.toolchain.recipe.weight_pruning import WeightPruning
from hardtemper.toolchain.study.counted_size import counted_bits, engine_bits, network_bits


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).eval()


def compressed(*steps: object) -> Compressed:
    return compress(network(), steps, Context(input_shape=(1, 8, 8)))  # type: ignore[arg-type]


def test_nonzero_weights_of_a_float_network() -> None:
    dense = compressed()
    assert network_bits(dense.module, dense.layers) == 32 * (36 + 1440)
    half = compressed(WeightPruning(sparsity=0.5))
    assert network_bits(half.module, half.layers) == 16 * (36 + 1440)
    assert counted_bits(half) is None


def test_atmc_counts_itself() -> None:
    found = compressed(Atmc(nonzeros=0.5, bits=2, factors=False))
    assert counted_bits(found) == 2 * found.steps[0].checks["nonzeros"] + 32 * 2 * 4


def test_an_integer_graph_in_bits_of_its_layers() -> None:
    module = network()
    with torch.no_grad():
        module[4].weight[:5] = 0
    images = np.random.default_rng(0).integers(0, 256, (8, 1, 8, 8), np.uint8)
    model = quantize(lower(module, input_shape=(1, 8, 8)), images).model
    conv, linear = engine_bits(model, {"4": 0}) // 8, engine_bits(model, {"0": 0})
    assert 0 < conv <= 36
    assert 0.9 * 720 < linear / 8 <= 720  # int8 rounds few of the others to 0
    assert engine_bits(model, {"4": 5}) == 8 * conv + 5 * linear // 8
