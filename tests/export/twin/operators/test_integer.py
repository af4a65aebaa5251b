"""Each operator of the twin that stays on integers, against ONNX Runtime."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from hardtemper.export.twin.operators import integer
from hardtemper.export.twin.operators.supported import OPERATORS
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.errors import UnsupportedOperatorError

_RNG = np.random.default_rng(0)


def _some(*shape: int) -> NDArray[np.float32]:
    return _RNG.normal(size=shape).astype(np.float32)


def _number(value: float) -> NDArray[np.float32]:
    return np.array(value, np.float32)


CASES = [  # text, dimensions of y, constants, opset
    ("y = Add(x, k)", "N,4,6,6", {"k": _some(4, 1, 1)}),
    ("y = Add(x, x)", "N,4,6,6"),
    ("y = Conv(x, w, b)", "N,5,4,4", {"w": _some(5, 4, 3, 3), "b": _some(5)}),
    ("y = Conv<strides=[2,1], pads=[0,1,2,0], dilations=[1,2]>(x, w)", "N,5,3,3", {"w": _some(5, 4, 3, 3)}),
    ('y = Conv<auto_pad="SAME_LOWER", strides=[2,2]>(x, w)', "N,5,3,3", {"w": _some(5, 4, 3, 3)}),
    ('y = Conv<auto_pad="SAME_UPPER">(x, w)', "N,5,6,6", {"w": _some(5, 4, 2, 2)}),
    ('y = Conv<auto_pad="VALID", group=2>(x, w)', "N,6,4,4", {"w": _some(6, 2, 3, 3)}),
    ("y = DequantizeLinear(k, s, z)", "4", {"k": np.array([0, 3, 7, 255], np.uint8), "s": _number(0.1),
     "z": np.array(3, np.uint8)}),
    ("y = DequantizeLinear<axis=0>(k, s, z)", "2,2",
     {"k": np.array([[-128, 5], [7, 127]], np.int8), "s": np.array([0.1, 0.3], np.float32),
     "z": np.array([0, 1], np.int8)}),
    ("y = DequantizeLinear(k, s)", "2", {"k": np.array([-(2**30) - 1, 2**24 + 1], np.int32), "s": _number(1)}),
    ("f = Flatten(x) y = Gemm(f, w, b)", "N,5", {"w": _some(144, 5), "b": _some(5)}),
    ("f = Flatten(x) y = Gemm<alpha=0.5, beta=2.0, transB=1>(f, w, b)", "N,5", {"w": _some(5, 144), "b": _some(5)}),
    ("f = Flatten(x) y = Gemm<transA=1>(f, w)", "144,2", {"w": _some(3, 2)}),
    ("y = GlobalAveragePool(x)", "N,4,1,1"),
    ("y = MatMul(x, w)", "N,4,6,5", {"w": _some(6, 5)}),
    ("y = Mul(x, x)", "N,4,6,6"),
    ("i = QuantizeLinear(x, s, z) y = DequantizeLinear(i, s, z)", "N,4,6,6",
     {"s": _number(0.02), "z": np.array(100, np.uint8)}),
    ("i = QuantizeLinear(x, s) y = DequantizeLinear(i, s)", "N,4,6,6", {"s": _number(0.02)}),
    ("i = QuantizeLinear<axis=1>(x, s, z) y = DequantizeLinear<axis=1>(i, s, z)", "N,4,6,6",
     {"s": np.array([0.01, 0.02, 0.03, 0.04], np.float32), "z": np.array([0, 1, -7, 100], np.int8)}),
    ("i = QuantizeLinear<output_dtype=3>(x, s) y = DequantizeLinear(i, s)", "N,4,6,6", {"s": _number(0.02)}, 21),
    ("i = QuantizeLinear(x, s, z) y = DequantizeLinear(i, s, z)", "N,4,6,6",
     {"s": _number(1e-4), "z": np.array(30000, np.uint16)}, 21),
    ("k = Constant<value_floats=[1.5,2.5,0.0,1.0,2.0,3.0]>() y = Mul(x, k)", "N,4,6,6"),
    ("k = Constant<value_float=1.5>() y = Mul(x, k)", "N,4,6,6"),
    ("k = Constant<value = float[4,1,1] {1,2,3,4}>() y = Mul(x, k)", "N,4,6,6"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} opset {case[3] if case[3:] else 20}")
def test_equals_onnxruntime(case: tuple[Any, ...], equals_onnxruntime: Callable[..., None]) -> None:
    equals_onnxruntime(*case)


def test_every_operator_of_the_module_is_tested() -> None:
    tested = {name for text, *_ in CASES for name in re.findall(r"= (\w+)[<(]", text)}
    ours = {name for name, operator in OPERATORS.items() if operator.__module__ == integer.__name__}
    assert ours
    assert ours - tested == set()


def test_what_shows_only_when_it_runs(graph: Callable[..., onnx.ModelProto]) -> None:
    model = graph(
        "r = Reshape(x, k) y = Conv(r, w)", "N,5,34", {"k": np.array([0, 4, 36]), "w": _some(5, 4, 3)}, opset=18
    )
    with pytest.raises(UnsupportedOperatorError, match=r"Conv.*3 dimensions"):
        Twin(model)(torch.zeros(1, 4, 6, 6))
