from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

NUMBERS = {
    "k": np.linspace(-1, 1, 36, dtype=np.float32).reshape(1, 1, 6, 6),
    "w": np.random.default_rng(2).normal(size=(4, 4, 1, 1)).astype(np.float32),
    "c": np.linspace(0.1, 2, 4, dtype=np.float32).reshape(4, 1, 1),
    "s": np.float32(0.3),
}


@pytest.mark.parametrize(
    ("text", "products"),
    [
        ("y = Mul(a, b)", 1),
        ("y = Mul(b, b)", 1),
        ("m = GlobalAveragePool(a) v = Conv(m, w) g = Sigmoid(v) y = Mul(a, g)", 1),  # squeeze-and-excitation
        ("m = GlobalAveragePool(a) v = Conv(m, w) g = HardSigmoid<alpha=0.166666672>(v) y = Mul(a, g)", 1),
        ("g = Sigmoid(b) y = Mul(a, g)", 1),
        ("y = Mul(b, k)", 1),
        ("y = Mul(b, c)", 0),  # layer scale: the convolution in front takes it
        ("y = Div(b, s)", 0),
        ("p = MaxPool<kernel_shape=[2,2]>(b) y = Mul(p, c)", 0),
    ],
)
def test_products(text: str, products: int, exact: Callable[..., Any]) -> None:
    names = set(text.replace("(", " ").replace(")", " ").replace(",", " ").split())
    found = exact(text, **{name: value for name, value in NUMBERS.items() if name in names})
    assert found.floats == []
    assert found.kernels["QLinearMul"] == products
