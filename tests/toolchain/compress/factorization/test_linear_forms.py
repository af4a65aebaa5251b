"""Two linear layers, and tensor trains of linear layers, against the layer whose weight is their product."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import tensorly
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensorly.tt_matrix import tt_matrix_to_matrix
from torch import Tensor, nn

from hardtemper.toolchain.compress.factorization.factors import Factors
from hardtemper.toolchain.compress.factorization.forms import Form
from hardtemper.toolchain.compress.factorization.linear_forms import LinearSvd, LinearTrain, TensorTrainLinear
from hardtemper.toolchain.compress.factorization.tensor_train import balanced, contracted, decompose


def factorized(layer: nn.Linear, form: Form, *, rank: int | None = None) -> tuple[Factors, Tensor, list[Tensor]]:
    """Factors with `rank` channels in each bond, all that it can have without; the weight, and the cores."""
    sizes = form.sizes
    most = [min(math.prod(sizes[:k]), math.prod(sizes[k:])) for k in range(1, len(sizes))]
    ranks = tuple(m if rank is None else min(m, rank) for m in most)
    cores = balanced(decompose(form.array(layer.weight.detach().double()), ranks))
    factors = form.factors(cores, layer)
    bias = 0 if layer.bias is None else layer.bias.numel()
    assert sum(p.numel() for p in factors.parameters()) == form.parameters(ranks) + bias
    return factors, form.weight(contracted(cores)), cores


@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    cores=st.integers(1, 4),
    bias=st.booleans(),
    rank=st.none() | st.integers(1, 4),
    lead=st.lists(st.integers(1, 3), max_size=3),
)
def test_the_chain_is_the_layer_of_its_product(
    shape: tuple[int, int], cores: int, bias: bool, rank: int | None, lead: list[int]
) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(*shape, bias=bias).double()
    form = LinearSvd.of(layer.weight) if cores == 1 else LinearTrain.of(layer.weight, cores)
    factors, weight, _ = factorized(layer, form, rank=rank)
    product = copy.deepcopy(layer)
    product.weight.data = weight
    x = torch.rand(*lead, shape[0], dtype=torch.float64)
    torch.testing.assert_close(factors(x), product(x))
    if rank is None:
        torch.testing.assert_close(factors(x), layer(x))


@given(outputs=st.integers(1, 300), inputs=st.integers(1, 300), cores=st.integers(2, 6))
def test_the_sizes_of_a_train_multiply_to_those_of_the_layer(outputs: int, inputs: int, cores: int) -> None:
    form = LinearTrain.of(torch.empty(outputs, inputs), cores)
    assert (math.prod(form.outputs), math.prod(form.inputs)) == (outputs, inputs)
    assert len(form.outputs) == len(form.inputs) == cores


@pytest.mark.parametrize(
    ("shape", "cores", "outputs", "inputs"),
    [
        ((64, 512), 3, (4, 4, 4), (8, 8, 8)),
        ((10, 512), 2, (2, 5), (32, 16)),
        ((10, 360), 3, (1, 2, 5), (10, 6, 6)),
        ((7, 1), 2, (1, 7), (1, 1)),
    ],
)
def test_sizes_are_even(shape: tuple[int, int], cores: int, outputs: tuple[int, ...], inputs: tuple[int, ...]) -> None:
    form = LinearTrain.of(torch.empty(shape), cores)
    assert (form.outputs, form.inputs) == (outputs, inputs)


def test_svd_is_numpys() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(9, 6).double()
    _, weight, _ = factorized(layer, LinearSvd.of(layer.weight), rank=2)
    u, s, v = np.linalg.svd(layer.weight.detach().numpy())
    np.testing.assert_allclose(weight.numpy(), (u[:, :2] * s[:2]) @ v[:2], atol=1e-9)


def test_the_train_is_tensorlys_matrix_of_the_same_cores() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(24, 12).double()
    form = LinearTrain.of(layer.weight, 3)
    factors, weight, cores = factorized(layer, form, rank=3)
    apart = [
        core.reshape(core.shape[0], m, n, core.shape[-1]).numpy()
        for core, m, n in zip(cores, form.outputs, form.inputs, strict=True)
    ]
    with tensorly.backend_context("numpy"):
        np.testing.assert_allclose(tt_matrix_to_matrix(apart), weight.numpy(), atol=1e-12)
    assert isinstance(factors, TensorTrainLinear)
    assert factors.out_features == 12
