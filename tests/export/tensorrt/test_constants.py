"""Dequantized constants as TensorRT takes them: the function stays, and the integers survive as floats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from hardtemper.export.passes.values import constant
from hardtemper.export.tensorrt.constants import (
    float_biases,
    float_layer,
    has_integer_weights,
    quantize_float_weights,
)

INTEGERS = np.arange(-128, 128)
SCALES = [2.0**-20, 2.0**-7, 1.0, 0.1, 1 / 3, 0.0123456, 1e-30, 7e20]


@pytest.fixture
def layer(build: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    """x, float [N, 3], through a Gemm whose weights and bias are dequantized integers."""
    return build(
        "v = DequantizeLinear<axis=0>(w_quantized, ws, wz) c = DequantizeLinear(b_quantized, bs) "
        "y = Gemm<transB=1>(x, v, c)",
        inputs={"x": "float[N,3]"},
        outputs={"y": "float[N,2]"},
        constants={
            "w_quantized": np.array([[-128, 0, 127], [5, -6, 7]], np.int8),
            "ws": np.array([0.1, 0.3], np.float32),
            "wz": np.zeros(2, np.int8),
            "b_quantized": np.array([1000, -7], np.int32),
            "bs": np.float32(0.01),
        },
    )


def stored(model: onnx.ModelProto) -> dict[str, Any]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def test_biases_become_floats(layer: onnx.ModelProto, run: Callable[..., Any]) -> None:
    model = ir.from_proto(layer)
    float_biases(model.graph)
    found = ir.to_proto(model)
    assert operators(found) == ["DequantizeLinear", "Gemm"]  # the weights stay integers
    # as ONNX defines it: the integers as float32, times the scale
    wanted = np.array([1000, -7], np.float32) * np.float32(0.01)
    assert stored(found)["b"].dtype == np.float32
    np.testing.assert_array_equal(stored(found)["b"], wanted)
    np.testing.assert_array_equal(run(found, {"x": X})[0], run(layer, {"x": X})[0])


def test_weights_become_floats_behind_a_quantizer(layer: onnx.ModelProto, run: Callable[..., Any]) -> None:
    model = ir.from_proto(layer)
    quantize_float_weights(model.graph)
    found = ir.to_proto(model)
    assert operators(found) == ["QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Gemm"]
    quantizer = found.graph.node[0]
    assert [attribute.i for attribute in quantizer.attribute if attribute.name == "axis"] == [0]
    assert stored(found)[quantizer.input[0]].dtype == np.float32
    np.testing.assert_array_equal(run(found, {"x": X})[0], run(layer, {"x": X})[0])


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("scale", SCALES)
def test_every_integer_survives(
    scale: float, per_channel: bool, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]
) -> None:
    """round(fl(s n) / s) = n for every int8 n, in NumPy's float32 and in ONNX Runtime's quantizer."""
    scales = np.float32([scale, scale * 1.7]) if per_channel else np.float32(scale)
    rows = np.stack([INTEGERS, INTEGERS[::-1]]).astype(np.int8)
    before = build(
        "w = DequantizeLinear<axis=0>(n, s, z) y = Add(x, w)",
        inputs={"x": "float[2,256]"},
        outputs={"y": "float[2,256]"},
        constants={"n": rows, "s": scales, "z": np.zeros(scales.shape, np.int8)},
    )
    model = ir.from_proto(before)
    quantize_float_weights(model.graph)
    quantizer = next(node for node in model.graph if node.op_type == "QuantizeLinear")
    real = constant(quantizer.inputs[0])
    assert real is not None
    np.testing.assert_array_equal(np.rint(real / scales.reshape(-1, 1)), rows)
    after = ir.to_proto(model)
    after.graph.output.append(onnx.helper.make_tensor_value_info("survived", onnx.TensorProto.INT8, [2, 256]))
    after.graph.node.append(onnx.helper.make_node("Identity", [quantizer.outputs[0].name], ["survived"]))
    zero = np.zeros((2, 256), np.float32)
    y, survived = run(after, {"x": zero})
    np.testing.assert_array_equal(survived, rows)
    np.testing.assert_array_equal(y, run(before, {"x": zero})[0])


def test_integer_weights_are_those_of_a_layer_and_constant(build: Callable[..., onnx.ModelProto]) -> None:
    text = (
        "w = DequantizeLinear(n, s) d = DequantizeLinear(m, s) "
        "a = Gemm(x, w) b = Gemm(x, f) c = Gemm(x, d) e = MatMul(x, w) g = Gemm(x, x)"
    )
    floats, square = dict.fromkeys("abceg", "float[3,3]"), np.ones((3, 3))
    model = build(
        text,
        inputs={"x": "float[3,3]", "m": "int8[3,3]"},
        outputs=floats,
        constants={"n": square.astype(np.int8), "f": square.astype(np.float32), "s": np.float32(1)},
    )
    found = {node.outputs[0].name: has_integer_weights(node) for node in ir.from_proto(model).graph}
    assert [name for name, integer in found.items() if integer] == ["a"]


def test_a_layer_on_floats(layer: onnx.ModelProto, run: Callable[..., Any]) -> None:
    model = ir.from_proto(layer)
    gemm = next(node for node in model.graph if node.op_type == "Gemm")
    float_layer(model.graph, gemm)
    assert not has_integer_weights(gemm)
    weight = gemm.inputs[1]
    real = constant(weight)
    assert real is not None
    wanted = np.array([[-128, 0, 127], [5, -6, 7]], np.float32) * np.array([[0.1], [0.3]], np.float32)
    np.testing.assert_array_equal(real, wanted)
    np.testing.assert_array_equal(run(ir.to_proto(model), {"x": X})[0], run(layer, {"x": X})[0])
    float_layer(model.graph, gemm)  # what has no integer weights stays
    assert gemm.inputs[1] is weight
