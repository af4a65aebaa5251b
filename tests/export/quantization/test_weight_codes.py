from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from hardtemper.export.quantization.scheme import Scheme
from hardtemper.export.quantization.weight_codes import BIAS_LIMIT, weight_codes, weight_limit, weight_scales

EXACT, FREE = Scheme(), Scheme(scales="free")
SCHEMES = [EXACT, FREE]
magnitudes = st.floats(-8.0, 8.0, width=32)
weights = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5), elements=magnitudes)
widths = st.integers(1, 8)


def is_power_of_two(value: float) -> bool:
    return math.frexp(value)[0] == 0.5


def test_the_largest_codes() -> None:
    assert [weight_limit(bits) for bits in range(1, 9)] == [1, 1, 3, 7, 15, 31, 63, 127]


@pytest.mark.parametrize(
    ("bits", "row", "scale", "codes"),
    [
        # mean |w| = 0.75; the nearer power of two is 0.5 (|0.75 - 0.5| = 0.25 = |0.75 - 1|: a tie, the covering one)
        (1, [1.0, -0.5, 0.75, -0.75], 1.0, [1, -1, 1, -1]),
        # mean |w| = 0.65: 0.5 is nearer than 1
        (1, [1.0, -0.5, 0.35, -0.75], 0.5, [1, -1, 1, -1]),
        # zero has the sign +1; mean |w| = 0.25
        (1, [0.0, -0.25, 0.5, 0.25], 0.25, [1, -1, 1, 1]),
        # s = 1: (1-1)^2 + 0.4^2 + 0.6^2-> 0.4^2 = 0.32; s = 0.5: 0.5^2 + 0.1^2 + 0.1^2 = 0.27
        (2, [1.0, -0.4, 0.6, 0.0], 0.5, [1, -1, 1, 0]),
        # s = 1: 0.01 + 0.01 = 0.02
        (2, [1.0, -0.9, 0.1, 0.0], 1.0, [1, -1, 0, 0]),
        # halves round to even: 0.5 / 1 is 0, not 1. s = 1: 2 * 0.5^2 = 0.5; s = 0.5: 1.5^2 + 0.5^2 = 2.5
        (3, [3.0, 0.5, -0.5, 2.0], 1.0, [3, 0, 0, 2]),
    ],
)
def test_by_hand(bits: int, row: list[float], scale: float, codes: list[int]) -> None:
    weight = np.array([row], np.float32)
    found = weight_scales(weight, None, input_scale=1.0, scheme=EXACT, bits=bits)
    assert found.tolist() == [scale]
    assert weight_codes(weight, found, bits=bits).tolist() == [codes]


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8])
def test_codes_against_torch(bits: int) -> None:
    """torch's fake quantization, per channel."""
    weight = np.random.default_rng(bits).normal(size=(6, 3, 3, 3)).astype(np.float32)
    scales = weight_scales(weight, None, input_scale=1.0, scheme=EXACT, bits=bits)
    limit = weight_limit(bits)
    zeros = torch.zeros(6, dtype=torch.int32)
    theirs = torch.fake_quantize_per_channel_affine(
        torch.from_numpy(weight), torch.from_numpy(scales), zeros, 0, -limit, limit
    )
    ours = weight_codes(weight, scales, bits=bits) * scales.reshape(-1, 1, 1, 1)
    assert np.array_equal(ours, theirs.numpy())


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.scales)
def test_the_error_falls_with_bits(scheme: Scheme) -> None:
    weight = np.random.default_rng(0).normal(size=(8, 256)).astype(np.float32)

    def error(bits: int) -> float:
        scales = weight_scales(weight, None, input_scale=1.0, scheme=scheme, bits=bits)
        return float(((weight_codes(weight, scales, bits=bits) * scales[:, None] - weight) ** 2).mean())

    errors = [error(bits) for bits in range(1, 9)]
    assert all(less < more for more, less in itertools.pairwise(errors))


@pytest.mark.parametrize("bits", range(1, 7))
@given(weight=weights)
def test_no_power_of_two_is_better(bits: int, weight: NDArray[Any]) -> None:
    scales = weight_scales(weight, None, input_scale=1.0, scheme=EXACT, bits=bits).astype(np.float64)
    rows = weight.reshape(len(weight), -1).astype(np.float64)

    def error(s: NDArray[Any]) -> NDArray[Any]:
        q = weight_codes(weight, s.astype(np.float32), bits=bits).reshape(rows.shape).astype(np.float64)
        return np.asarray(((q * s[:, None] - rows) ** 2).sum(1))

    seen = np.abs(rows).max(1) >= 2.0**-10  # a row of smaller numbers ends the search elsewhere
    for factor in (0.25, 0.5, 2, 4):
        assert (error(scales) <= error(scales * factor) * (1 + 1e-9) + 1e-12)[seen].all()


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.scales)
@given(weight=weights, data=st.data(), exponent=st.integers(-12, 2), bits=widths)
def test_weights_and_biases_fit(
    scheme: Scheme, weight: NDArray[Any], data: st.DataObject, exponent: int, bits: int
) -> None:
    bias = data.draw(hnp.arrays(np.float32, len(weight), elements=magnitudes))
    scales = weight_scales(weight, bias, input_scale=2.0**exponent, scheme=scheme, bits=bits)
    assert scales.shape == (len(weight),)
    assert scales.dtype == np.float32
    assert (scales > np.finfo(np.float32).tiny).all()
    assert (np.abs(bias) / (2.0**exponent * scales.astype(np.float64)) <= BIAS_LIMIT * (1 + 1e-6)).all()
    assert not scheme.exact or all(is_power_of_two(float(scale)) for scale in scales)
    codes = weight_codes(weight, scales, bits=bits)
    assert codes.dtype == np.int8
    assert codes.shape == weight.shape
    assert np.abs(codes.astype(int)).max() <= weight_limit(bits)
    if bits >= 7:  # at most one exponent below covering
        rows = np.abs(weight.reshape(len(weight), -1)).max(1)
        assert (rows <= (2 if scheme.exact else 1) * weight_limit(bits) * scales * (1 + 1e-6)).all()


@given(weight=weights)
def test_power_of_two_weights_take_the_better_of_two_exponents(weight: NDArray[Any]) -> None:
    scales = weight_scales(weight, None, input_scale=1.0, scheme=EXACT, bits=8).astype(np.float64)

    def error(s: NDArray[Any]) -> NDArray[Any]:
        rows = weight.reshape(len(weight), -1).astype(np.float64)
        q = np.clip(np.rint(rows / s[:, None]), -127, 127)
        return np.asarray(((q * s[:, None] - rows) ** 2).sum(1))

    largest = np.abs(weight.reshape(len(weight), -1)).max(1)
    covering = largest <= 127 * scales * (1 + 1e-6)
    other = np.where(covering, scales / 2, scales * 2)
    assert (error(scales) <= error(other) + 1e-12).all()


def test_a_channel_of_zeros_has_a_scale() -> None:
    for scheme in SCHEMES:
        scales = weight_scales(np.zeros((2, 3), np.float32), None, input_scale=0.1, scheme=scheme, bits=8)
        assert (scales > 0).all()
        assert np.isfinite(1 / scales).all()
