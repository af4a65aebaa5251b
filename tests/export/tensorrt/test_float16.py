from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from hardtemper.export.quantization.quantize import IntegerGraph
from hardtemper.export.tensorrt.dialect import tensorrt_graph
from hardtemper.export.tensorrt.float16 import to_float16
from hardtemper.export.tensorrt.tuning import Placement
from hardtemper.export.tensorrt.versions import Capabilities

NEW = Capabilities.of("10.16.1.11")


def half_weights(model: onnx.ModelProto) -> list[str]:
    halves = {t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16}
    return [node.op_type for node in model.graph.node if halves & set(node.input[1:2])]


def test_all_integers_stay_as_they_are(residual_tensorrt: IntegerGraph) -> None:
    graph = tensorrt_graph(residual_tensorrt.model, NEW)
    assert to_float16(graph).graph.node == graph.graph.node


def test_float_layers_of_a_quantized_graph(residual_tensorrt: IntegerGraph, run: Any, pixels: Any) -> None:
    """The first convolution and the last layer; scales and the rest stay float32, and the logits nearly the same."""
    placement = Placement(planes=False, integer_logits=False)
    graph = tensorrt_graph(residual_tensorrt.model, NEW, placement=placement)
    found = to_float16(graph)
    assert sorted(half_weights(found)) == ["Conv", "Gemm"]
    makers = {name: node.op_type for node in found.graph.node for name in node.output}
    scales = {n.input[1] for n in found.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")}
    kept = {t.name for t in found.graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    assert scales <= kept
    integer = [n for n in found.graph.node if n.op_type == "Conv" and makers.get(n.input[1]) == "DequantizeLinear"]
    assert len(integer) == 7
    assert all(makers[node.input[0]] == "DequantizeLinear" for node in integer)
    images = pixels(4, (3, 12, 12))
    (wanted,), (logits,) = (run(m, {"image": images}) for m in (graph, found))
    assert logits.dtype == np.float32
    assert np.abs(logits - wanted).max() < 0.02 * np.abs(wanted).max()


def test_a_float_graph(build: Any, run: Any) -> None:
    model = build(
        "x = DequantizeLinear(image, s, z) c = Conv(x, w) r = Relu(c) y = Flatten(r)",
        inputs={"image": "uint8[N,1,4,4]"},
        outputs={"y": "float[N,L]"},
        constants={"s": np.float32(1 / 255), "z": np.uint8(0), "w": np.ones((2, 1, 3, 3), np.float32) / 7},
    )
    graph = tensorrt_graph(model, NEW)
    found = to_float16(graph)
    assert half_weights(found) == ["Mul", "Conv"]
    assert found.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert found.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 4, 4), dtype=np.uint8)
    (wanted,), (logits,) = (run(m, {"image": images}) for m in (graph, found))
    assert np.allclose(logits, wanted, rtol=5e-3)
