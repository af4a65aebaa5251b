"""The graph for TensorRT computes what the bundle's graph does, bit for bit, and holds nothing the parser refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from hardtemper.export.proofs.executed_kernels import macs_as_written
from hardtemper.export.quantization.quantize import IntegerGraph
from hardtemper.export.tensorrt.dialect import tensorrt_graph
from hardtemper.export.tensorrt.tuning import Placement
from hardtemper.export.tensorrt.versions import OPSET, Capabilities
from hardtemper.runtime.errors import ModelError, UnsupportedOperatorError
from hardtemper.toolchain.models.cnn8 import CNN8

Pixels = Callable[..., NDArray[np.uint8]]
OLD, NEW = Capabilities.of("8.5.3.1"), Capabilities.of("10.16.1.11")
PLACEMENTS = [Placement(), *(replace(Placement(), **{field.name: False}) for field in fields(Placement))]


class Linear(nn.Module):
    """No convolution of its own: what brings the pixels to [0, 1] is one."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(48, 12), nn.ReLU(), nn.Linear(12, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)  # type: ignore[no-any-return]


class Halves(nn.Module):
    """A split, and a convolution in groups that reads the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.Conv2d(3, 3, 3)
        self.head = nn.Linear(3 * 36, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = torch.relu(self.first(x)).chunk(2, 1)
        return self.head(self.second(left + right).flatten(1))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def graphs(residual_tensorrt: IntegerGraph, for_tensorrt: Callable[..., IntegerGraph]) -> dict[str, onnx.ModelProto]:
    torch.manual_seed(0)
    return {
        "residual": residual_tensorrt.model,
        "cnn8": for_tensorrt(CNN8(width=8), (1, 28, 28)).model,
        "linear": for_tensorrt(Linear(), (3, 8, 8)).model,
        "halves": for_tensorrt(Halves(), (4, 8, 8)).model,
    }


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


def test_pixels_come_as_they_are(graphs: dict[str, onnx.ModelProto]) -> None:
    found = tensorrt_graph(graphs["cnn8"], NEW)
    assert found.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    reader = next(node for node in found.graph.node if "image" in node.input)
    assert reader.op_type == "Cast"


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


def test_planes_triple_the_first_layers_work_only(graphs: dict[str, onnx.ModelProto]) -> None:
    before = list(macs_as_written(graphs["residual"]).values())
    found = list(macs_as_written(tensorrt_graph(graphs["residual"], NEW)).values())
    assert found == [3 * before[0], *before[1:]]


def test_every_pixel_in_planes(build: Any, run: Any) -> None:
    """conv(s p, W) with W = 1 is s p, for all 256 p."""
    model = build(
        "x = DequantizeLinear(image, s, z) w = DequantizeLinear <axis=0> (n, ws, wz) y = Conv(x, w) l = Flatten(y)",
        inputs={"image": "uint8[N,1,16,16]"},
        outputs={"l": "float[N,256]"},
        constants={
            "s": np.float32(2**-8), "z": np.uint8(0),
            "n": np.ones((1, 1, 1, 1), np.int8), "ws": np.ones(1, np.float32), "wz": np.zeros(1, np.int8),
        },
    )  # fmt: skip
    found = tensorrt_graph(model, OLD)
    assert any(node.op_type == "QuantizeLinear" and "image_planes" in node.output for node in found.graph.node)
    image = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    assert np.array_equal(run(found, {"image": image})[0].reshape(-1), np.arange(256) / 256)


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


def test_graphs_for_the_cpu_are_refused(residual_integer: IntegerGraph) -> None:
    with pytest.raises(ModelError, match=r"int8 with zero point 0.*uint8.*build with --target tensorrt"):
        tensorrt_graph(residual_integer.model, NEW)


def test_operators_of_later_opsets_are_refused(build: Any) -> None:
    text = "y = ReduceMean(image, axes)"
    constants = {"axes": np.array([1], np.int64)}
    model = build(text, inputs={"image": "float[N,4]"}, outputs={"y": "float[N,1]"}, constants=constants)
    with pytest.raises(UnsupportedOperatorError, match="ReduceMean of opset 18"):
        tensorrt_graph(model, OLD)


def test_a_float_graph_of_pixels(build: Any, run: Any) -> None:
    """The dense network of a bundle."""
    model = build(
        "x = DequantizeLinear(image, s, z) c = Conv(x, w) y = Flatten(c)",
        inputs={"image": "uint8[N,1,4,4]"},
        outputs={"y": "float[N,L]"},
        constants={"s": np.float32(1 / 255), "z": np.uint8(0), "w": np.ones((2, 1, 3, 3), np.float32) / 7},
    )
    found = tensorrt_graph(model, NEW)
    assert [node.op_type for node in found.graph.node] == ["Cast", "Mul", "Conv", "Flatten"]
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 4, 4), dtype=np.uint8)
    assert np.array_equal(run(model, {"image": images})[0], run(found, {"image": images})[0])
