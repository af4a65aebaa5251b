from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


@pytest.mark.parametrize(
    ("text", "sums"),
    [
        ("y = Add(a, b)", 1),
        ("y = Sub(a, b)", 1),
        ("r = Relu(b) y = Sub(a, r)", 1),  # the sign cannot go through the ReLU: a convolution of one weight a channel
        ("m = GlobalAveragePool(b) y = Add(a, m)", 1),
        ("y = Add(b, k)", 1),  # a constant map is stored on a grid of its own
        ("y = Sub(k, b)", 1),
        ("n = Neg(b) y = Relu(n)", 0),
    ],
)
def test_sums(text: str, sums: int, exact: Callable[..., Any]) -> None:
    k = np.linspace(-1, 1, 36, dtype=np.float32).reshape(1, 1, 6, 6)
    found = exact(text, **({"k": k} if "k" in text else {}))
    assert found.floats == ([] if "Sub(k" not in text else ["Sub"])
    assert found.kernels["QLinearAdd"] == (sums if "Sub(k" not in text else 0)


def test_a_layer_takes_the_sign(exact: Callable[..., Any]) -> None:
    assert exact("y = Sub(a, b)").kernels == exact("y = Add(a, b)").kernels
