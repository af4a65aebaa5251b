"""The advised cast gives the pixels that were meant, on arrays of every type; where none would, none is advised."""

from __future__ import annotations

import re

import numpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hardtemper.runtime.pixel_hint import uint8_hint, unit_hint

PIXELS = np.arange(256, dtype=np.uint8)


def carry_out(hint: str, x: np.ndarray) -> np.ndarray:
    """What the hint's expression gives."""
    with np.errstate(all="raise"):
        return eval(hint.rpartition(": ")[2], {"numpy": numpy, "x": x})


CASES: dict[str, np.ndarray] = {
    **{f"{kind}, pixels": PIXELS.astype(kind) for kind in ("int16", "uint16", "int32", "int64", "uint64")},
    **{f"{kind}, pixels": PIXELS.astype(kind) for kind in ("float16", "float32", "float64", ">f4", "longdouble")},
    **{f"{kind}, unit": (PIXELS / 255).astype(kind) for kind in ("float16", "float32", "float64", ">f8")},
    "uint16, 16 bits": PIXELS.astype(np.uint16) * 257,
    "int64, 16 bits": PIXELS.astype(np.int64) * 256,
    "bool": np.array([False, True]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_advised_cast_gives_the_pixels(case: str) -> None:
    array = CASES[case]
    result = carry_out(uint8_hint(array), array)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, [0, 255] if case == "bool" else PIXELS)


@pytest.mark.parametrize(
    "array",
    [
        np.array([-1, 255]),
        np.array([0, 70000]),
        np.array([-2.1, 2.6], np.float32),
        np.array([0.0, 300.0]),
        np.array([-128, 127], np.int8),
        np.array([2**63], np.uint64),
    ],
    ids=str,
)
def test_no_cast_is_advised_where_it_would_wrap(array: np.ndarray) -> None:
    assert uint8_hint(array).startswith("undo the normalization first")
    assert "astype" not in uint8_hint(array)


@given(hnp.arrays(hnp.integer_dtypes() | hnp.floating_dtypes(sizes=(32, 64)), st.integers(1, 5)))
def test_no_advised_cast_ever_wraps(array: np.ndarray) -> None:
    hint = uint8_hint(array)
    if "astype" in hint:
        result = carry_out(hint, array).astype(np.float64)
        scale = 255 if re.search("255 [*]", hint) else 1 / 256 if "//" in hint else 1
        assert (np.abs(result - scale * array.astype(np.float64)) <= 1).all()


@pytest.mark.parametrize(
    "array", [np.zeros(0), np.zeros(2, complex), np.zeros(2, object), np.zeros(2, "S3"), np.zeros(2, "M8[s]")]
)
def test_nothing_is_said_of_what_is_no_number(array: np.ndarray) -> None:
    assert uint8_hint(array) == ""


def test_values_that_are_not_finite() -> None:
    assert uint8_hint(np.array([0.5, np.nan])) == "replace what is not finite"
    assert unit_hint(np.array([0.5, np.inf])) == ""


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        ([0.0, 255.0], "divide pixels by 255"),
        ([0.0, 2.0], "divide pixels by 255"),
        ([0.0, 1 + 1e-6], "numpy.clip(images, 0, 1)"),
        ([-1e-6, 1.0], "numpy.clip(images, 0, 1)"),
        ([0.0, 2.6], "undo the normalization"),
        ([-1.0, 1.0], "undo the normalization"),
        ([0.0, 1000.0], "undo the normalization"),
    ],
)
def test_floats_outside_of_the_unit_interval(values: list[float], hint: str) -> None:
    assert unit_hint(np.array(values, np.float32)).startswith(hint)
