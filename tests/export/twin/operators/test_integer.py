"""Each operator of the twin that stays on integers, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from hardtemper.export.twin.operators import integer
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.errors import UnsupportedOperatorError

_RNG = np.random.default_rng(0)


def _some(*shape: int) -> NDArray[np.float32]:
    return _RNG.normal(size=shape).astype(np.float32)


CASES = [  # text, dimensions of y, constants, opset
    ("y = Conv(x, w, b)", "N,5,4,4", {"w": _some(5, 4, 3, 3), "b": _some(5)}),
    ("y = Conv<strides=[2,1], pads=[0,1,2,0], dilations=[1,2]>(x, w)", "N,5,3,3", {"w": _some(5, 4, 3, 3)}),
    ('y = Conv<auto_pad="SAME_LOWER", strides=[2,2]>(x, w)', "N,5,3,3", {"w": _some(5, 4, 3, 3)}),
    ('y = Conv<auto_pad="SAME_UPPER">(x, w)', "N,5,6,6", {"w": _some(5, 4, 2, 2)}),
    ('y = Conv<auto_pad="VALID", group=2>(x, w)', "N,6,4,4", {"w": _some(6, 2, 3, 3)}),
    ("f = Flatten(x) y = Gemm(f, w, b)", "N,5", {"w": _some(144, 5), "b": _some(5)}),
    ("f = Flatten(x) y = Gemm<alpha=0.5, beta=2.0, transB=1>(f, w, b)", "N,5", {"w": _some(5, 144), "b": _some(5)}),
    ("f = Flatten(x) y = Gemm<transA=1>(f, w)", "144,2", {"w": _some(3, 2)}),
    ("y = GlobalAveragePool(x)", "N,4,1,1"),
    ("y = MatMul(x, w)", "N,4,6,5", {"w": _some(6, 5)}),
    ("f = Flatten(x) y = Gemm(f, w, c)", "N,5", {"w": _some(144, 5), "c": _some(3, 1)}),
    ("f = Flatten(x) y = Gemm<beta=0.5>(f, w, c)", "N,5", {"w": _some(144, 5), "c": _some(1)}),
    ("f = Flatten(x) y = Gemm(f, w, c)", "N,5", {"w": _some(144, 5), "c": _some(3, 5)}),
    ("r = Reshape(x, k) y = Conv<strides=[2], pads=[1,2]>(r, w, b)", "N,5,18", {"k": np.array([0, 4, 36]),
     "w": _some(5, 4, 4), "b": _some(5)}),
    ('r = Reshape(x, k) y = Conv<auto_pad="SAME_UPPER", group=2>(r, w)', "N,4,2,6,6", {"k": np.array([0, 2, 2, 6, 6]),
     "w": _some(4, 1, 2, 3, 3)}),
    ("r = Reshape(x, k) y = GlobalAveragePool(r)", "N,4,1", {"k": np.array([0, 4, 36])}),
    ("y = MatMul(x, w)", "N,4,6", {"w": _some(6)}),
    ("q, s, z = DynamicQuantizeLinear(x) i = ConvInteger<pads=[1,0,1,0]>(q, w, z, v) f = Cast<to=1>(i) y = Mul(f, s)",
     "N,5,6,4", {"w": _RNG.integers(0, 256, (5, 4, 3, 3)).astype(np.uint8), "v": np.array(120, np.uint8)}),
    ("q, s, z = DynamicQuantizeLinear(x) i = ConvInteger(q, w) f = Cast<to=1>(i) y = Mul(f, s)",
     "N,5,4,4", {"w": _RNG.integers(-128, 128, (5, 4, 3, 3)).astype(np.int8)}),
    ("q, s, z = DynamicQuantizeLinear(x) i = MatMulInteger(q, w, z, v) f = Cast<to=1>(i) y = Mul(f, s)",
     "N,4,6,5", {"w": _RNG.integers(0, 256, (6, 5)).astype(np.uint8),
     "v": _RNG.integers(0, 256, 5).astype(np.uint8)}),
    ("k = Constant<value_floats=[1.5,2.5,0.0,1.0,2.0,3.0]>() y = Mul(x, k)", "N,4,6,6"),
    ("k = Constant<value_float=1.5>() y = Mul(x, k)", "N,4,6,6"),
    ("k = Constant<value = float[4,1,1] {1,2,3,4}>() y = Mul(x, k)", "N,4,6,6"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} opset {case[3] if case[3:] else 20}")
def test_equals_onnxruntime(case: tuple[Any, ...], equals_onnxruntime: Callable[..., None]) -> None:
    equals_onnxruntime(*case)


def test_every_operator_of_the_module_is_tested(untested: Callable[..., set[str]]) -> None:
    assert untested(CASES, integer) == set()


def test_what_shows_only_when_it_runs(graph: Callable[..., onnx.ModelProto]) -> None:
    model = graph("y = Conv(x, w)", "N,5,4,4", {"w": _some(5, 4, 3, 3)})
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(_some(5, 4, 3), "w"))
    with pytest.raises(UnsupportedOperatorError, match=r"Conv \(node 'conv_0'\): .*2"):
        Twin(model)(torch.zeros(1, 4, 6, 6))
