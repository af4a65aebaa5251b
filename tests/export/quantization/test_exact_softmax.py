from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from hardtemper.export.quantization.exact_softmax import ExactSoftmax, factor

TEXT = "x = DequantizeLinear(q, s, z) p = Softmax<axis=-1>(x) y = QuantizeLinear(p, step, zero)"


def _forms(scale: float, size: int, build: Callable[..., onnx.ModelProto]) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    constants = {"s": np.float32(scale), "z": np.array(128, np.uint8)}
    constants |= {"step": np.float32(2**-8), "zero": np.array(0, np.uint8)}
    shapes = {"inputs": {"q": f"uint8[N,{size}]"}, "outputs": {"y": f"uint8[N,{size}]"}}
    plain = onnx.shape_inference.infer_shapes(build(TEXT, constants=constants, **shapes))
    model = ir.from_proto(plain)
    ExactSoftmax()(model)
    exact = ir.to_proto(model)
    onnx.checker.check_model(exact, full_check=True)
    assert "Softmax" not in {node.op_type for node in exact.graph.node}
    return plain, exact


def _inputs(size: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    spread = rng.normal(128, rng.uniform(0, 60, (200, 1)), (200, size)).clip(0, 255).astype(np.uint8)
    extremes = np.array([np.zeros(size), np.full(size, 255), np.eye(1, size)[0] * 255], np.uint8)
    return np.concatenate([spread, extremes])


@pytest.mark.parametrize("scale", [2.0**-6, 2.0**-4, 2.0**-2, 0.0884, 0.3])
@pytest.mark.parametrize("size", [3, 50, 1500])
def test_the_engine_gives_the_definition(
    scale: float, size: int, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]
) -> None:
    """In float64, with integers whose sums are exact; and within a step of Softmax."""
    q = _inputs(size)
    plain, exact = (run(model, {"q": q})[0].astype(int) for model in _forms(scale, size, build))
    below = np.float32(scale) * (q.astype(np.float64) - q.max(1, keepdims=True))
    k = factor(float(np.float32(scale)), size)
    integers = np.rint(k * np.exp(below))
    assert integers.sum(1).max() < 2**24
    per_step = np.float32(256) / integers.sum(1, keepdims=True).astype(np.float32)
    expected = np.minimum(np.rint(integers.astype(np.float32) * per_step), 255)
    np.testing.assert_array_equal(exact, expected)
    assert np.abs(exact - plain).max() <= 1


@pytest.mark.parametrize("scale", [*(2.0**-k for k in range(1, 10)), 0.0884, 0.3, 0.01])
def test_no_entry_is_near_a_tie(scale: float) -> None:
    """Ten times the errors of exp that engines have, 3 units of 2^-24, change no entry."""
    below = scale * np.arange(256)
    entries = factor(scale, 64) * np.exp(-below)
    for error in (-30, 30):
        np.testing.assert_array_equal(np.rint(entries * (1 + error * 2.0**-24)), np.rint(entries))


def test_many_numbers_have_less_bits() -> None:
    assert 2**13 * 0.7 < factor(0.125, 2048) <= 2**13
