"""The graph for TensorRT computes what the bundle's graph does, bit for bit, and holds nothing the parser refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from hardtemper.export.quantization.quantize import IntegerGraph
from hardtemper.export.tensorrt.dialect import tensorrt_graph
from hardtemper.export.tensorrt.tuning import Placement
from hardtemper.export.tensorrt.versions import OPSET, Capabilities
from hardtemper.runtime.errors import ModelError, UnsupportedOperatorError

Pixels = Callable[..., NDArray[np.uint8]]
OLD, NEW = Capabilities.of("8.5.3.1"), Capabilities.of("10.16.1.11")
PLACEMENTS = [Placement(), *(replace(Placement(), **{field.name: False}) for field in fields(Placement))]


@pytest.fixture(scope="module")
def oracle(run: Any, pixels: Pixels, fakes: Any) -> tuple[Any, Pixels, Any]:
    """ONNX Runtime without optimizations, images, and the parser's rules."""
    return run, pixels, fakes


@pytest.mark.parametrize("capabilities", [OLD, NEW], ids=["8.5", "10"])
@pytest.mark.parametrize("placement", PLACEMENTS, ids=str)
@pytest.mark.parametrize("name", ["residual", "cnn8", "linear", "halves"])
def test_the_function_stays(
    name: str, placement: Placement, capabilities: Capabilities, graphs: Any, oracle: tuple[Any, Pixels, Any]
) -> None:
    model, (run, pixels, fakes) = graphs[name], oracle
    shape = tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)[1:]
    images = pixels(6, shape, seed=3)
    found = tensorrt_graph(model, capabilities, placement=placement)
    (wanted,), (logits,) = (run(graph, {"image": images}) for graph in (model, found))
    assert np.array_equal(logits, wanted)
    assert [entry.version for entry in found.opset_import if entry.domain == ""] == [OPSET]
    stored = {tensor.name: tensor for tensor in found.graph.initializer}
    said = [fakes.refusals(node, stored, float_weights=capabilities.float_weights) for node in found.graph.node]
    assert not any(said)
    names = [node.name for node in found.graph.node]
    assert len(set(names)) == len(names)
    assert all(names)


@pytest.mark.parametrize(("name", "integer"), [("residual", 9), ("cnn8", 8), ("linear", 3), ("halves", 3)])
def test_every_layer_is_quantized(name: str, integer: int, graphs: dict[str, onnx.ModelProto]) -> None:
    found = tensorrt_graph(graphs[name], NEW)
    makers = {output: node.op_type for node in found.graph.node for output in node.output}
    layers = [
        [makers.get(i) == "DequantizeLinear" for i in n.input[:2]]
        for n in found.graph.node
        if n.name[:4] in ("Conv", "Gemm")
    ]
    assert layers == [[True, True]] * integer


@pytest.mark.parametrize(
    ("ends", "operator", "bounds"),
    [
        ((0, 127), "Relu", ()),
        ((0, 96), "Clip", (0.0, 6.0)),
        ((-128, 96), "Clip", (6.0,)),
        ((-11, 16), "Clip", (-0.6875, 1.0)),
    ],
)
def test_clips_move_before_the_rounding(
    ends: tuple[int, int], operator: str, bounds: tuple[float, ...], build: Any, run: Any
) -> None:
    low, high = ends
    model = build(
        "u = Sub(r, none) q = QuantizeLinear(u, s, z) c = Clip(q, low, high) y = DequantizeLinear(c, s, z)",
        inputs={"r": "float[N,4001]"},
        outputs={"y": "float[N,4001]"},
        constants={
            "none": np.float32(0), "s": np.float32(2**-4), "z": np.int8(0), "low": np.int8(low), "high": np.int8(high),
        },
    )  # fmt: skip
    found = tensorrt_graph(model, NEW)
    (clamp,) = [node for node in found.graph.node if node.op_type in ("Relu", "Clip")]
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in found.graph.initializer}
    assert clamp.op_type == operator
    assert tuple(float(stored[name]) for name in clamp.input[1:] if name) == bounds
    values = np.linspace(-10, 10, 4001, dtype=np.float32).reshape(1, -1)
    assert np.array_equal(run(model, {"r": values})[0], run(found, {"r": values})[0])


@pytest.mark.parametrize(
    ("text", "constants"),
    [
        ("c = Clip(q, low)", {"low": np.int8(-3)}),  # q is read elsewhere too
        ("c = GatherND(q, i)", {"i": np.array([[0], [0]])}),
    ],
)
def test_operators_on_integers_work_on_real_numbers(text: str, constants: dict[str, Any], build: Any, run: Any) -> None:
    model = build(
        f"q = QuantizeLinear(r, s, z) {text} t = DequantizeLinear(q, s, z) u = DequantizeLinear(c, s, z) y = Add(t, u)",
        inputs={"r": "float[N,401]"},
        outputs={"y": "float[N,401]"},
        constants={"s": np.float32(2**-4), "z": np.int8(0), **constants},
    )
    found = tensorrt_graph(model, NEW)
    types = {v.name: v.type.tensor_type.elem_type for v in onnx.shape_inference.infer_shapes(found).graph.value_info}
    readers = [node for node in found.graph.node if node.op_type in ("Clip", "GatherND")]
    assert [types[node.input[0]] for node in readers] == [onnx.TensorProto.FLOAT]
    values = np.linspace(-10, 10, 401, dtype=np.float32).reshape(1, -1)
    assert np.array_equal(run(model, {"r": values})[0], run(found, {"r": values})[0])


def test_graphs_for_the_cpu_are_refused(residual_integer: IntegerGraph) -> None:
    with pytest.raises(ModelError, match=r"int8 with zero point 0.*uint8.*build with --target tensorrt"):
        tensorrt_graph(residual_integer.model, NEW)


def test_operators_of_later_opsets_are_refused(build: Any) -> None:
    text = "y = ReduceMean(image, axes)"
    constants = {"axes": np.array([1], np.int64)}
    model = build(text, inputs={"image": "float[N,4]"}, outputs={"y": "float[N,1]"}, constants=constants)
    with pytest.raises(UnsupportedOperatorError, match="ReduceMean of opset 18"):
        tensorrt_graph(model, OLD)
