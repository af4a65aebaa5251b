"""How an engine takes pixels: as they are, in three planes where convolutions on integers read them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hardtemper.export.proofs.macs import macs_as_written
from hardtemper.export.tensorrt.dialect import tensorrt_graph
from hardtemper.export.tensorrt.pixel_planes import CastPixels
from hardtemper.export.tensorrt.versions import Capabilities

OLD, NEW = Capabilities.of("8.5.3.1"), Capabilities.of("10.16.1.11")


def test_pixels_come_as_they_are(graphs: dict[str, onnx.ModelProto]) -> None:
    found = tensorrt_graph(graphs["cnn8"], NEW)
    assert found.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    reader = next(node for node in found.graph.node if "image" in node.input)
    assert reader.op_type == "Cast"


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


@pytest.mark.parametrize("planes", [True, False])
def test_the_pass_alone_keeps_the_function(planes: bool, build: Any, run: Any) -> None:
    """Padding, two groups and a scale for each filter; without planes the layer computes on floats."""
    model = build(
        "x = DequantizeLinear(image, s, z) w = DequantizeLinear <axis=0> (n, ws, wz) "
        "y = Conv<group=2, pads=[1,1,1,1]>(x, w)",
        inputs={"image": "uint8[N,4,5,5]"},
        outputs={"y": "float[N,2,5,5]"},
        constants={
            "s": np.float32(2**-8), "z": np.uint8(0), "n": np.arange(-18, 18, dtype=np.int8).reshape(2, 2, 3, 3),
            "ws": np.array([0.5, 2], np.float32), "wz": np.zeros(2, np.int8),
        },
    )  # fmt: skip
    converted = ir.from_proto(model)
    assert CastPixels(planes=planes)(converted).modified
    found = ir.to_proto(converted)
    assert ("QuantizeLinear" in {node.op_type for node in found.graph.node}) == planes
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 5), np.uint8)
    assert np.array_equal(run(found, {"image": images})[0], run(model, {"image": images})[0])


def test_an_input_of_floats_is_left(build: Any) -> None:
    model = ir.from_proto(build("y = Relu(x)", inputs={"x": "float[N,4]"}, outputs={"y": "float[N,4]"}))
    assert not CastPixels(planes=True)(model).modified
