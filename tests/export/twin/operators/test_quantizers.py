"""QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear against ONNX Runtime: of one scale, along an axis, in
blocks, of 4, 8 and 16 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto

from hardtemper.export.twin.operators import quantizers
from hardtemper.export.twin.twin import Twin

_RNG = np.random.default_rng(0)


def _number(value: float) -> NDArray[np.float32]:
    return np.array(value, np.float32)


_FOUR = np.array([0.01, 0.02, 0.03, 0.04], np.float32)
_BYTES = {"k": _RNG.integers(0, 256, (4, 6)).astype(np.uint8)}
_BLOCKS = {"s": _RNG.uniform(0.01, 0.1, (4, 2)).astype(np.float32), "z": _RNG.integers(0, 256, (4, 2)).astype(np.uint8)}

CASES: list[tuple[Any, ...]] = [  # text, dimensions of y, constants, opset
    ("y = DequantizeLinear(k, s, z)", "4", {"k": np.array([0, 3, 7, 255], np.uint8), "s": _number(0.1),
     "z": np.array(3, np.uint8)}),
    ("y = DequantizeLinear<axis=0>(k, s, z)", "2,2",
     {"k": np.array([[-128, 5], [7, 127]], np.int8), "s": np.array([0.1, 0.3], np.float32),
     "z": np.array([0, 1], np.int8)}),
    ("y = DequantizeLinear<axis=-2>(k, s)", "2,2",
     {"k": np.array([[-128, 5], [7, 127]], np.int8), "s": np.array([0.1, 0.3], np.float32)}),
    ("y = DequantizeLinear(k, s)", "2", {"k": np.array([-(2**30) - 1, 2**24 + 1], np.int32), "s": _number(1)}),
    ("y = DequantizeLinear<axis=1, block_size=3>(k, s, z)", "4,6", _BYTES | _BLOCKS, 21),
    ("y = DequantizeLinear<axis=1, block_size=4>(k, s)", "4,6", _BYTES | _BLOCKS, 21),
    ("y = DequantizeLinear<axis=0, block_size=2>(k, s)", "4,6",
     _BYTES | {"s": _RNG.uniform(0.01, 0.1, (2, 6)).astype(np.float32)}, 21),
    ("i = QuantizeLinear(x, s, z) y = DequantizeLinear(i, s, z)", "N,4,6,6",
     {"s": _number(0.02), "z": np.array(100, np.uint8)}),
    ("i = QuantizeLinear(x, s) y = DequantizeLinear(i, s)", "N,4,6,6", {"s": _number(0.02)}),
    ("i = QuantizeLinear<saturate=0>(x, s) y = DequantizeLinear(i, s)", "N,4,6,6", {"s": _number(0.02)}),
    ("i = QuantizeLinear<axis=1>(x, s, z) y = DequantizeLinear<axis=1>(i, s, z)", "N,4,6,6",
     {"s": _FOUR, "z": np.array([0, 1, -7, 100], np.int8)}),
    ("i = QuantizeLinear<output_dtype=3>(x, s) y = DequantizeLinear(i, s)", "N,4,6,6", {"s": _number(0.02)}, 21),
    ("i = QuantizeLinear(x, s, z) y = DequantizeLinear(i, s, z)", "N,4,6,6",
     {"s": _number(1e-4), "z": np.array(30000, np.uint16)}, 21),
    ("i = QuantizeLinear(x, s, z) y = DequantizeLinear(i, s, z)", "N,4,6,6",
     {"s": _number(1e-4), "z": np.array(-300, np.int16)}, 21),
    (f"i = QuantizeLinear<output_dtype={TensorProto.INT4}>(x, s) y = DequantizeLinear(i, s)", "N,4,6,6",
     {"s": _number(0.3)}, 21),
    (f"i = QuantizeLinear<output_dtype={TensorProto.UINT4}>(x, s) y = DequantizeLinear(i, s)", "N,4,6,6",
     {"s": _number(0.3)}, 21),
    ("i, s, z = DynamicQuantizeLinear(x) y = DequantizeLinear(i, s, z)", "N,4,6,6"),
    ("a = Abs(x) b = Add(a, one) i, s, z = DynamicQuantizeLinear(b) y = DequantizeLinear(i, s, z)", "N,4,6,6",
     {"one": _number(1)}),
    ("a = Mul(x, nil) i, s, z = DynamicQuantizeLinear(a) y = DequantizeLinear(i, s, z)", "N,4,6,6",
     {"nil": _number(0)}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} opset {case[3] if case[3:] else 20}")
def test_equals_onnxruntime(case: tuple[Any, ...], equals_onnxruntime: Callable[..., None]) -> None:
    equals_onnxruntime(*case, exact="Dynamic" not in case[0])


def test_every_operator_of_the_module_is_tested(untested: Callable[..., set[str]]) -> None:
    assert untested(CASES, quantizers) == set()


@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4])
@pytest.mark.parametrize("block", [0, 3])
def test_weights_of_four_bits(
    kind: int, block: int, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]
) -> None:
    """As quantizers of weights alone write them."""
    scales = (4, 2) if block else (4,)
    setting = f"axis={1 if block else 0}, block_size={block}" if block else "axis=0"
    model = build(
        f"w = DequantizeLinear<{setting}>(q, s) t = Transpose<perm=[1,0]>(w) y = MatMul(x, t)",
        inputs={"x": "float[N,2,3,6]", "q": f"{'u' if kind == TensorProto.UINT4 else ''}int4[4,6]"},
        outputs={"y": "float[N,2,3,4]"},
        constants={"s": _RNG.uniform(0.01, 0.1, scales).astype(np.float32)},
        opset=21,
    )
    values = np.arange(24) % 16 - (8 if kind == TensorProto.INT4 else 0)
    model.graph.initializer.append(onnx.helper.make_tensor("q", kind, [4, 6], values))
    del model.graph.input[1]
    x = _RNG.normal(size=(3, 2, 3, 6)).astype(np.float32)
    twin = Twin(model)
    with torch.no_grad():
        found = twin(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, run(model, {"x": x})[0], rtol=1e-5, atol=1e-5)
    assert twin.to_onnx().SerializeToString() == model.SerializeToString()


def test_gradients_pass_a_scale_that_depends_on_the_images(graph: Callable[..., onnx.ModelProto]) -> None:
    twin = Twin(graph("i, s, z = DynamicQuantizeLinear(x) y = DequantizeLinear(i, s, z)", "N,4,6,6"))
    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    (gradient,) = torch.autograd.grad(twin(x).sum(), x)
    middle = (x > x.min()) & (x < x.max())
    torch.testing.assert_close(gradient[middle], torch.ones_like(gradient[middle]))
