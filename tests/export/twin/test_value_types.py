"""Element types beside ONNX's own shape inference, for every operator that the twin knows and more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from hardtemper.export.twin.value_types import element_types

TEXTS = [
    "a = Shape(x) b = Cast<to=1>(a) c = Equal(b, b) d = Cast<to=6>(c) e = Where(c, d, d) f = Not(c)",
    "a = QuantizeLinear(x, s) b = DequantizeLinear(a, s) c = Relu(b)",
    "a = QuantizeLinear(x, s, z) b = DequantizeLinear(a, s, z) c = MaxPool<kernel_shape=[2,2]>(a)",
    "a, b, c = DynamicQuantizeLinear(x) d = ConvInteger(a, w) e = Cast<to=10>(d) f = Add(e, e)",
    "a, b = Dropout(x) c = Cast<to=7>(b) d = Gather(x, c)",
    "a = Size(x) b = Range(a, a, a) c = Pow(a, s) d = IsNaN(x) e = ArgMax(x)",
    "a = ConstantOfShape(k) b = ConstantOfShape<value = int64[1] {7}>(k) c = Add(b, k) d = Sqrt(a)",
    "a = CastLike(x, k) b = Expand(x, k) c = And(m, m) d = Mod(k, k) e = RandomNormalLike(x)",
    "a = RandomUniform<shape=[2]>() b = RandomUniform<shape=[2], dtype=11>() c = Sign(b) d = Bernoulli<dtype=7>(x)",
]
CONSTANTS = {
    "s": np.float32(0.1),
    "z": np.int8(1),
    "w": np.zeros((2, 3, 1, 1), np.uint8),
    "k": np.array([1, 3]),
    "m": np.array([True]),
}


@pytest.mark.parametrize("text", TEXTS)
def test_types_are_those_of_onnxs_inference(text: str) -> None:
    header = '<ir_version: 9, opset_import: ["" : 20]>'
    model = onnx.parser.parse_model(f"{header} g (float[N,3,4,4] x) => () {{ {text} }}")
    for name, array in CONSTANTS.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    expected = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    constants = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    found = element_types(model.graph.node, model.graph.input, constants)
    assert len(expected) >= 3
    assert {name: found[name] for name in expected} == expected


def test_what_nothing_says_is_undefined(build: Callable[..., onnx.ModelProto]) -> None:
    node = onnx.helper.make_node("Relu", ["nowhere"], ["y"])
    assert element_types([node], [], {})["y"] == 0
