"""ATMC end to end: both budgets, the account, what ships, and what cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import hardtemper
from hardtemper.bench.data.dataset import Part
from hardtemper.runtime.errors import CompressionError
from hardtemper.toolchain.compress.atmc.atmc import atmc
from hardtemper.toolchain.compress.atmc.sum_of_product import SumOfProduct
from hardtemper.toolchain.compress.context import Context
from hardtemper.toolchain.pipeline.pipeline import build
from hardtemper.toolchain.recipe.adversary import Adversary
from hardtemper.toolchain.recipe.atmc_settings import Atmc
from hardtemper.toolchain.recipe.read import with_overrides
from hardtemper.toolchain.recipe.training import FineTuning

SHAPE = (1, 8, 8)


@pytest.fixture
def context(train: Part) -> Context:
    tuning = FineTuning(batch_size=32, learning_rate=0.05)
    return Context(input_shape=SHAPE, train=train.head(128), finetune=tuning, adversary=Adversary(attack="fgsm"))


@pytest.mark.parametrize("bits", [None, 2, 8])
@pytest.mark.parametrize("factors", [True, False])
def test_budgets_are_met(bits: int | None, factors: bool, net: Callable[..., nn.Sequential], context: Context) -> None:
    dense = net()
    result = atmc(dense, Atmc(nonzeros=0.3, bits=bits, factors=factors, epochs=1), context)
    checks = result.steps[0].checks
    assert checks["most_nonzeros"] == round(0.3 * (36 + 256))
    assert 0 < checks["nonzeros"] <= checks["most_nonzeros"]
    assert checks["dense_size_bits"] == 32 * (36 + 256)
    found: list[torch.Tensor] = []
    for name in ("0", "6"):
        layer = result.module.get_submodule(name)
        if factors:
            assert isinstance(layer, SumOfProduct)
            found += layer.parts(*layer.weights)
        else:
            assert type(layer) is type(dense.get_submodule(name))
            found.append(layer.get_parameter("weight"))
    assert sum(int((part != 0).sum()) for part in found) == checks["nonzeros"]
    values = [len(part[part != 0].unique()) for part in found]
    if bits is not None:
        assert all(count <= 2**bits for count in values)
        assert checks["size_bits"] == bits * checks["nonzeros"] + 32 * sum(values)
    else:
        assert checks["size_bits"] == 32 * checks["nonzeros"]
    assert [row.name for row in result.layers] == ["0", "1", "6"]
    assert all(torch.equal(value, net().state_dict()[name]) for name, value in dense.state_dict().items())


def test_a_rehearsal_applies_the_constraints_and_trains_nothing(net: Callable[..., nn.Sequential]) -> None:
    result = atmc(net(), Atmc(nonzeros=0.5), Context(input_shape=SHAPE))
    assert result.steps[0].checks["nonzeros"] == 146


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"nonzeros": 0.001}, r"leaves less than one weight a layer; expected: at least 2 of 292 weights; got: 0"),
        ({"keep": ("*",)}, "leaves less than one weight a layer"),
        ({"keep": ("classifier",)}, "keep names no convolution or linear layer"),
    ],
)
def test_what_cannot_be_is_found_in_the_rehearsal(
    asked: dict[str, Any], message: str, net: Callable[..., nn.Sequential]
) -> None:
    with pytest.raises(CompressionError, match=message):
        atmc(net(), Atmc(**asked), Context(input_shape=SHAPE))


def test_a_layer_of_which_nothing_is_left(net: Callable[..., nn.Sequential], context: Context) -> None:
    dense = net()
    with torch.no_grad():
        dense[0].weight *= 1e-6
    with pytest.raises(CompressionError, match=r"atmc left no weight of '[06]'"):
        atmc(dense, Atmc(nonzeros=0.05, epochs=1, factors=False), context)


def test_it_ships(settings: dict[str, Any], tmp_path: Path) -> None:
    step = {"method": "atmc", "nonzeros": 0.3, "bits": 4, "epochs": 2}
    settings["finetune"]["epochs"] = 1
    made = build(with_overrides(settings, {"compress": [step]}), out=tmp_path / "out")
    assert made.stages.parity.exact
    engine = hardtemper.load(tmp_path / "out")
    images = np.random.default_rng(0).integers(0, 256, (50, 1, 16, 16), np.uint8)
    with torch.no_grad():
        wanted = made.stages.twin.module(torch.from_numpy(images).float() / 255).numpy()
    assert np.array_equal(engine(images), wanted)
    stored = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in made.stages.model.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) > 1
    ]
    assert len(stored) == 2 * 8
    nonzeros = sum(int((array != 0).sum()) for array in stored)
    most = made.stages.compressed.steps[0].checks["most_nonzeros"]
    assert nonzeros <= most + sum(row.channels_after for row in made.stages.compressed.layers if row.kind != "norm")
