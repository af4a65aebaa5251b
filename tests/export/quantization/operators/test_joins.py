from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


@pytest.mark.parametrize(
    ("text", "clips"),
    [
        ("y = Concat<axis=1>(a, b)", 0),
        ("c = Concat<axis=1>(a, b) r = Relu(c) d = Concat<axis=1>(b, a) y = Add(r, d)", 0),
        ("c = Concat<axis=1>(a, b) r = Relu(c) d = Relu(c) y = Concat<axis=2>(c, r, d)", 2),
    ],
)
def test_joins(text: str, clips: int, exact: Callable[..., Any]) -> None:
    found = exact(text)
    assert found.floats == []
    assert found.kernels["Clip"] == clips


def test_a_constant_part(exact: Callable[..., Any]) -> None:
    """A plane of ones that is repeated for each image: a padding and a sum."""
    text = "n = Shape<start=0, end=1>(b) size = Concat<axis=0>(n, rest) e = Expand(ones, size) y = Concat<axis=1>(b, e)"
    found = exact(text, ones=np.ones((1, 1, 6, 6), np.float32), rest=np.array([1, 6, 6]))
    assert found.floats == []
    assert (found.kernels["QLinearConcat"], found.kernels["QLinearAdd"]) == (1, 1)
