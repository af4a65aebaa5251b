from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hardtemper.export.quantization.scheme import BIAS_LIMIT, Grid, Scheme, weight_scales

EXACT, FREE = Scheme(), Scheme(scales="free")
SCHEMES = [EXACT, FREE]
ends = st.floats(-1e6, 1e6, width=32)
magnitudes = st.floats(-8.0, 8.0, width=32)
weights = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5), elements=magnitudes)


def is_power_of_two(value: float) -> bool:
    return math.frexp(value)[0] == 0.5


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.scales)
@given(low=ends, high=ends)
def test_a_grid_covers_its_range(scheme: Scheme, low: float, high: float) -> None:
    low, high = min(low, high), max(low, high)
    grid = Grid.covering(low, high, scheme=scheme)
    assert grid.scale > 0
    assert 0 <= grid.zero_point <= 255
    # free scales round the zero point: each end within half a step; float32 scales: 1e-6
    slack = 1e-16 + 1e-6 * max(-low, high, 0) + (0 if scheme.exact else 0.5 * grid.scale)
    assert grid.low <= min(low, 0) + slack
    assert grid.high >= max(high, 0) - slack


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.scales)
@given(low=ends, high=ends)
def test_zero_is_an_integer_of_the_grid(scheme: Scheme, low: float, high: float) -> None:
    grid = Grid.covering(min(low, high), max(low, high), scheme=scheme)
    q = np.rint(np.float32(0) / np.float32(grid.scale)) + grid.zero_point
    assert grid.scale * (q - grid.zero_point) == 0
    assert grid.low <= 0 <= grid.high


@pytest.mark.parametrize("scales", ["power-of-two", "free"])
@given(low=ends, high=ends)
def test_symmetric_grids_for_tensorrt(scales: Any, low: float, high: float) -> None:
    """int8 with zero point 0, that is uint8 with 128; [-128, 127] covers the range."""
    low, high = min(low, high), max(low, high)
    grid = Grid.covering(low, high, scheme=Scheme(target="tensorrt", scales=scales))
    assert grid.zero_point == 128
    slack = 1e-16 + 1e-6 * max(-low, high, 0)
    assert grid.low <= min(low, 0) + slack
    assert grid.high >= max(high, 0) - slack
    assert is_power_of_two(grid.scale) or scales == "free"


@given(low=ends, high=ends)
def test_power_of_two_grids(low: float, high: float) -> None:
    assume(abs(low - high) > 1e-6)
    grid = Grid.covering(min(low, high), max(low, high), scheme=EXACT)
    assert is_power_of_two(grid.scale)
    assert grid.zero_point == (128 if min(low, high) < 0 else 0)
    finer = Grid(grid.scale / 2, grid.zero_point)
    assert finer.low > min(low, high) or finer.high < max(low, high)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.scales)
@pytest.mark.parametrize("tiny", [0.0, 1e-45, 1e-30])
def test_an_empty_range_gets_a_usable_grid(scheme: Scheme, tiny: float) -> None:
    grid = Grid.covering(-tiny, tiny, scheme=scheme)
    assert np.isfinite(np.float32(1) / np.float32(grid.scale))
    assert np.float32(grid.scale) > np.finfo(np.float32).tiny


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.scales)
@pytest.mark.parametrize("bits", [7, 8])
@given(weight=weights, data=st.data(), exponent=st.integers(-12, 2))
def test_weights_and_biases_fit(
    scheme: Scheme, bits: Literal[7, 8], weight: np.ndarray[Any, Any], data: st.DataObject, exponent: int
) -> None:
    scheme = Scheme(scales=scheme.scales, weight_bits=bits)
    bias = data.draw(hnp.arrays(np.float32, len(weight), elements=magnitudes))
    scales = weight_scales(weight, bias, input_scale=2.0**exponent, scheme=scheme)
    assert scales.shape == (len(weight),)
    assert scales.dtype == np.float32
    assert (scales > np.finfo(np.float32).tiny).all()
    rows = weight.reshape(len(weight), -1)
    assert (np.abs(bias) / (2.0**exponent * scales.astype(np.float64)) <= BIAS_LIMIT * (1 + 1e-6)).all()
    if scheme.exact:
        assert all(is_power_of_two(float(scale)) for scale in scales)
        # one exponent below covering at most
        assert (np.abs(rows).max(1) <= 2 * scheme.weights.high * scales * (1 + 1e-6)).all()
    else:
        assert (np.abs(rows).max(1) <= scheme.weights.high * scales * (1 + 1e-6)).all()


@given(weight=weights)
def test_power_of_two_weights_take_the_better_of_two_exponents(weight: np.ndarray[Any, Any]) -> None:
    scales = weight_scales(weight, None, input_scale=1.0, scheme=EXACT).astype(np.float64)

    def error(s: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        rows = weight.reshape(len(weight), -1).astype(np.float64)
        q = np.clip(np.rint(rows / s[:, None]), -127, 127)
        return np.asarray(((q * s[:, None] - rows) ** 2).sum(1))

    largest = np.abs(weight.reshape(len(weight), -1)).max(1)
    covering = largest <= 127 * scales * (1 + 1e-6)
    other = np.where(covering, scales / 2, scales * 2)
    assert (error(scales) <= error(other) + 1e-12).all()


def test_a_channel_of_zeros_has_a_scale() -> None:
    for scheme in SCHEMES:
        scales = weight_scales(np.zeros((2, 3), np.float32), None, input_scale=0.1, scheme=scheme)
        assert (scales > 0).all()
        assert np.isfinite(1 / scales).all()


def test_rounding_is_half_to_even() -> None:
    ties = np.arange(-8, 9) / 2
    assert np.array_equal(np.rint(ties), [round(tie) for tie in ties])


@pytest.mark.parametrize("bits", [7, 8])
def test_the_manifest_says_what_the_runtime_asks(bits: Literal[7, 8]) -> None:
    said = Scheme(scales="free", observer="percentile", percentile=99.5, weight_bits=bits).to_json()
    assert said == {
        "target": "cpu",
        "scales": "free",
        "sums": "exact",
        "activation_type": "uint8",
        "activation_bits": 8,
        "weight_type": "int8",
        "weight_bits": bits,
        "observer": "percentile",
        "percentile": 99.5,
    }
    assert Scheme(weight_bits=bits).weights.high == (127 if bits == 8 else 63)
    signed = Scheme(target="tensorrt", weight_bits=bits)
    assert signed.to_json() | {"target": "cpu", "activation_type": "uint8"} == Scheme(weight_bits=bits).to_json()
    assert (signed.to_json()["target"], signed.to_json()["activation_type"]) == ("tensorrt", "int8")
    assert (signed.activations.high, Scheme().activations.high) == (127, 255)


def test_exact_sums_need_powers_of_two_and_a_target_that_rounds_terms() -> None:
    assert Scheme().exact_sums
    assert not Scheme(sums="plain").exact_sums
    assert not Scheme(scales="free").exact_sums
    assert not Scheme(target="tensorrt").exact_sums
