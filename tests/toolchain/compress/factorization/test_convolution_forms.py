"""Chains of convolutions against the convolution whose weight is their product: strides, paddings, dilations."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensorly.decomposition import partial_tucker
from torch import Tensor, nn

from hardtemper.toolchain.compress.factorization.convolution_forms import CONVOLUTION_CORES, ConvolutionForm
from hardtemper.toolchain.compress.factorization.factors import Factors
from hardtemper.toolchain.compress.factorization.tensor_train import balanced, contracted, decompose

FORMS = list(CONVOLUTION_CORES)


def factorized(conv: nn.Conv2d, form: str, *, rank: int | None = None) -> tuple[Factors, Tensor]:
    """Factors with `rank` channels in each bond, all that it can have without; and the weight that they stand for."""
    weight = conv.weight.detach().double()
    made = ConvolutionForm.of(weight, form)
    left = [int(np.prod(made.sizes[:k])) for k in range(1, len(made.sizes))]
    right = [int(np.prod(made.sizes[k:])) for k in range(1, len(made.sizes))]
    ranks = tuple(min(a, b) if rank is None else min(a, b, rank) for a, b in zip(left, right, strict=True))
    smaller, kept = made.without_full_ranks(ranks)
    cores = balanced(decompose(smaller.array(weight), kept))
    factors = smaller.factors(cores, conv)
    bias = 0 if conv.bias is None else conv.bias.numel()
    assert sum(p.numel() for p in factors.parameters()) == made.parameters(ranks) + bias
    return factors, smaller.weight(contracted(cores))


@st.composite
def convolutions(draw: st.DrawFn) -> nn.Conv2d:
    def pair(least: int, most: int) -> tuple[int, int]:
        return draw(st.tuples(st.integers(least, most), st.integers(least, most)))

    padding: Any = draw(st.sampled_from(["same", "valid", ""])) or pair(0, 3)
    return nn.Conv2d(
        draw(st.integers(1, 5)),
        draw(st.integers(1, 6)),
        pair(1, 4),
        stride=1 if padding == "same" else pair(1, 3),
        padding=padding,
        dilation=pair(1, 2),
        bias=draw(st.booleans()),
        padding_mode=draw(st.sampled_from(["zeros", "replicate", "circular", "reflect"])),
    ).double()


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@given(conv=convolutions(), form=st.sampled_from(FORMS), rank=st.none() | st.integers(1, 4))
def test_the_chain_is_the_convolution_of_its_product(conv: nn.Conv2d, form: str, rank: int | None) -> None:
    factors, weight = factorized(conv, form, rank=rank)
    product = copy.deepcopy(conv)
    product.weight.data = weight
    x = torch.rand(2, conv.in_channels, 9, 10, dtype=torch.float64)
    torch.testing.assert_close(factors(x), product(x))
    if rank is None:
        torch.testing.assert_close(factors(x), conv(x))  # full rank: the layer itself


@pytest.mark.parametrize(
    ("form", "shapes"),
    [
        ("channel", [(5, 8, 3, 5), (12, 5, 1, 1)]),
        ("spatial", [(5, 8, 3, 1), (12, 5, 1, 5)]),
        ("tucker", [(5, 8, 1, 1), (5, 5, 3, 5), (12, 5, 1, 1)]),
        ("tensor-train", [(5, 8, 1, 1), (5, 5, 3, 1), (5, 5, 1, 5), (12, 5, 1, 1)]),
    ],
)
def test_the_shapes_of_the_papers(form: str, shapes: list[tuple[int, ...]]) -> None:
    conv = nn.Conv2d(8, 12, (3, 5), stride=(2, 3), padding=(1, 2), dilation=(1, 2))
    factors, _ = factorized(conv, form, rank=5)
    assert [tuple(factor.weight.shape) for factor in factors] == shapes
    assert [factor.bias is not None for factor in factors] == [False] * (len(shapes) - 1) + [True]
    assert np.prod([factor.stride for factor in factors], axis=0).tolist() == [2, 3]
    assert np.sum([factor.padding for factor in factors], axis=0).tolist() == [1, 2]
    assert np.max([factor.dilation for factor in factors], axis=0).tolist() == [1, 2]


def test_tucker_is_tensorlys() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 12, 3).double()
    _, weight = factorized(conv, "tucker", rank=4)
    dense = conv.weight.detach().numpy()
    (core, (o, i)), _ = partial_tucker(dense, rank=[4, 4], modes=[0, 1], n_iter_max=200, tol=1e-12)
    theirs = np.einsum("abhw,oa,ib->oihw", core, o, i)
    assert np.linalg.norm(weight.numpy() - dense) == pytest.approx(np.linalg.norm(theirs - dense), rel=1e-3)


def test_spatial_is_numpys_svd_of_rows_and_columns() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3).double()
    _, weight = factorized(conv, "spatial", rank=5)
    matrix = conv.weight.detach().numpy().transpose(1, 2, 3, 0).reshape(12, 18)
    u, s, v = np.linalg.svd(matrix)
    wanted = ((u[:, :5] * s[:5]) @ v[:5]).reshape(4, 3, 3, 6).transpose(3, 0, 1, 2)
    np.testing.assert_allclose(weight.numpy(), wanted, atol=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_a_kernel_of_one_pixel_is_a_matrix(form: str) -> None:
    conv = nn.Conv2d(8, 12, 1, stride=2, padding=1)
    factors, _ = factorized(conv, form, rank=3)
    assert [tuple(factor.weight.shape) for factor in factors] == [(3, 8, 1, 1), (12, 3, 1, 1)]
    assert [factor.stride for factor in factors] == [(2, 2), (1, 1)]  # the first gives fewer pixels to the second
    assert [factor.padding for factor in factors] == [(1, 1), (0, 0)]


@pytest.mark.parametrize(("form", "count"), [("tucker", 2), ("tensor-train", 3)])
def test_a_square_convolution_of_one_pixel_joins_its_neighbor(form: str, count: int) -> None:
    factors, _ = factorized(nn.Conv2d(2, 9, 3), form, rank=5)  # full rank of the 2 inputs
    assert len(factors) == count
    factors, _ = factorized(nn.Conv2d(9, 2, 3), form, rank=5)  # full rank of the 2 outputs
    assert len(factors) == count
