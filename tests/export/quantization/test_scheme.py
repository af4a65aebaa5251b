from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hardtemper.export.quantization.scheme import Grid, Scheme
from hardtemper.runtime.errors import InputError

EXACT, FREE = Scheme(), Scheme(scales="free")
SCHEMES = [EXACT, FREE]
ends = st.floats(-1e6, 1e6, width=32)
widths = st.integers(1, 8)


def is_power_of_two(value: float) -> bool:
    return math.frexp(value)[0] == 0.5


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.scales)
@given(low=ends, high=ends, bits=widths)
def test_a_grid_covers_its_range(scheme: Scheme, low: float, high: float, bits: int) -> None:
    low, high = min(low, high), max(low, high)
    grid = Grid.covering(low, high, scheme=scheme, bits=bits)
    assert grid.scale > 0
    assert 0 <= grid.lowest <= grid.zero_point <= grid.highest <= 255
    assert grid.highest - grid.lowest == 2**bits - 1
    low = low if bits > 1 else 0  # one bit is {0, s}
    # free scales round the zero point: each end within half a step; float32 scales: 1e-6
    slack = 1e-16 + 1e-6 * max(-low, high, 0) + (0 if scheme.exact else 0.5 * grid.scale)
    assert grid.low <= min(low, 0) + slack
    assert grid.high >= max(high, 0) - slack


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.scales)
@given(low=ends, high=ends, bits=widths)
def test_zero_is_an_integer_of_the_grid(scheme: Scheme, low: float, high: float, bits: int) -> None:
    grid = Grid.covering(min(low, high), max(low, high), scheme=scheme, bits=bits)
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


@given(low=ends, high=ends, bits=widths)
def test_power_of_two_grids(low: float, high: float, bits: int) -> None:
    assume(abs(low - high) > 1e-6)
    assume(bits > 1 or max(low, high) > 1e-6)
    grid = Grid.covering(min(low, high), max(low, high), scheme=EXACT, bits=bits)
    assert is_power_of_two(grid.scale)
    assert grid.zero_point == (128 if min(low, high) < 0 and bits > 1 else 0)
    finer = replace(grid, scale=grid.scale / 2)
    assert finer.low > min(low, high) or finer.high < max(low, high)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.scales)
@pytest.mark.parametrize("tiny", [0.0, 1e-45, 1e-30])
def test_an_empty_range_gets_a_usable_grid(scheme: Scheme, tiny: float) -> None:
    grid = Grid.covering(-tiny, tiny, scheme=scheme)
    assert np.isfinite(np.float32(1) / np.float32(grid.scale))
    assert np.float32(grid.scale) > np.finfo(np.float32).tiny


def test_rounding_is_half_to_even() -> None:
    ties = np.arange(-8, 9) / 2
    assert np.array_equal(np.rint(ties), [round(tie) for tie in ties])


@pytest.mark.parametrize(
    ("settings", "bits"),
    [
        ({}, 8),
        ({"weight_bits": 7}, 7),
        ({"weight_bits": 7, "layer_weight_bits": {"a": 2}}, 7),
        ({"weight_bits": 7, "layer_weight_bits": {"a": 8}}, 8),
        ({"weight_bits": 4}, 8),
        ({"weight_bits": 4, "end_bits": 4}, 8),
        ({"weight_bits": 1, "activation_bits": 1}, 8),
    ],
)
def test_the_manifest_says_the_widest_integers(settings: Any, bits: int) -> None:
    """Which is what the runtime asks: whether sums of products can saturate somewhere in the graph."""
    said = Scheme(scales="free", observer="percentile", percentile=99.5, **settings).to_json()
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


def test_the_manifest_of_signed_activations() -> None:
    signed = Scheme(target="tensorrt", weight_bits=7)
    assert signed.to_json() | {"target": "cpu", "activation_type": "uint8"} == Scheme(weight_bits=7).to_json()
    assert (signed.to_json()["target"], signed.to_json()["activation_type"]) == ("tensorrt", "int8")
    assert (signed.activations.high, Scheme().activations.high) == (127, 255)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight_bits": 0}, "quantize.weight_bits; expected: 1 to 8 bits; got: 0"),
        ({"activation_bits": 16}, "expected: 1 to 8 bits; got: 16; fix: 8: no engine sums wider products"),
        ({"end_bits": True}, "quantize.end_bits; expected: 1 to 8 bits; got: True"),
        ({"layer_weight_bits": {"a": 9}}, "quantize.layer_weight_bits.a; expected: 1 to 8 bits; got: 9"),
        ({"activation_bits": 4, "target": "tensorrt"}, "quantize.activation_bits for TensorRT; expected: 8"),
        ({"layer_activation_bits": {"a": 4}, "target": "tensorrt"}, "quantize.activation_bits for TensorRT"),
    ],
)
def test_widths_that_there_are_not(settings: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Scheme(**settings)


def test_exact_sums_need_powers_of_two_and_a_target_that_rounds_terms() -> None:
    assert Scheme().exact_sums
    assert not Scheme(sums="plain").exact_sums
    assert not Scheme(scales="free").exact_sums
    assert not Scheme(target="tensorrt").exact_sums
