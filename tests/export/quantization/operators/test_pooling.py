from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hardtemper.export.lower import lower_onnx
from hardtemper.export.quantization.quantize import check_operators
from hardtemper.runtime.errors import UnsupportedOperatorError


@pytest.mark.parametrize(
    "text",
    [
        "y = AveragePool<kernel_shape=[2,2], strides=[2,2]>(b)",
        "y = AveragePool<kernel_shape=[3,3], strides=[1,2], pads=[1,1,1,1]>(b)",
        "y = AveragePool<kernel_shape=[4,4], strides=[3,3], ceil_mode=1>(b)",
        "y = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,0,0]>(b)",
        "y = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], ceil_mode=1>(b)",
        "y = MaxPool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(b)",
        "y = GlobalAveragePool(b)",
        "y = GlobalMaxPool(b)",
        "y = ReduceMean<keepdims=1>(b, hw)",
        "m = ReduceMax<keepdims=1>(b, c) y = Mul(a, m)",
        "m = ReduceMin<keepdims=1>(b, c) y = Mul(a, m)",
    ],
)
def test_pools(text: str, exact: Callable[..., Any]) -> None:
    axes = {name: np.array(value) for name, value in (("hw", [2, 3]), ("c", [1])) if f", {name})" in text}
    assert exact(text, **axes).floats == []


def test_a_mean_over_channels_stays_float(exact: Callable[..., Any]) -> None:
    found = exact("m = ReduceMean<keepdims=1>(b, c) y = Mul(a, m)", c=np.array([1]))
    (operator,) = found.integer.float_operators
    assert (operator.operator, operator.reason) == ("ReduceMean", "no integer kernel on ONNX Runtime")


def test_what_the_integer_kernel_computes_otherwise_is_refused(build: Callable[..., Any]) -> None:
    """Windows that overhang where padding counts: ONNX Runtime divides by another number."""
    text = "p = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], ceil_mode=1, count_include_pad=1>(image)"
    model = build(f"{text} logits = Flatten(p)", inputs={"image": "float[N,1,6,6]"}, outputs={"logits": "float[N,L]"})
    with pytest.raises(UnsupportedOperatorError, match=r"AveragePool whose last windows overhang .* \(p\)"):
        check_operators(lower_onnx(model))
