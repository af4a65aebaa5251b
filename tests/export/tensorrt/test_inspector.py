"""Recorded engines of version 8, and their like in the form of 11."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from hardtemper.export.tensorrt.inspector import EngineLayer, engine_kernels, read_layers
from hardtemper.runtime.errors import ModelError

RECORDED = (Path(__file__).parents[2] / "data" / "tensorrt" / "inspection-8.json").read_text(encoding="utf-8")


def in_the_form_of_11(inspection: str) -> str:
    """Tensors with "Format" and "Datatype" apart, "I/O Tensors" for "Bindings" (NVIDIA's migration guide)."""
    content = json.loads(inspection)
    content["I/O Tensors"] = [
        {"Name": name, "IOMode": "Input", "DataType": "Float", "Dimensions": [1], "Location": "Device"}
        for name in content.pop("Bindings")
    ]
    for layer in content["Layers"]:
        layer["Metadata"] = ""
        for tensor in (*layer["Inputs"], *layer["Outputs"]):
            text = tensor.pop("Format/Datatype")
            tensor["Datatype"] = "Int8" if "Int8" in text else "Float"
            tensor["Format"] = "Row major linear"
    return json.dumps(content)


@pytest.mark.parametrize("inspection", [RECORDED, in_the_form_of_11(RECORDED)], ids=["8", "11"])
def test_recorded_layers(inspection: str) -> None:
    reformat, first, depthwise, residual, pooled, last = read_layers(inspection)
    assert (reformat.kind, reformat.inputs, reformat.outputs) == ("Reformat", ("float32",), ("int8",))
    assert (first.inputs, first.weights, first.outputs) == (("int8",), "int8", ("int8",))
    assert first.tactic.startswith("volta_int8x4")
    assert (depthwise.kind, depthwise.tactic, depthwise.weights) == ("CudaDepthwiseConvolution", "", "int8")
    assert residual.inputs == ("int8", "int8")
    assert (pooled.kind, pooled.weights) == ("ConvActPool", "int8")
    assert "i8i8_i8i32_f32" in last.tactic
    assert residual.holds("Conv_121")
    assert residual.holds("Add_123")
    assert not residual.holds("Conv_12")
    assert not residual.holds("Conv_1")


def chain(build: Any, *names: str) -> onnx.ModelProto:
    """1x1 convolutions of one channel in a row, with these names: 16 MACs each."""
    text = " ".join(f"t{i + 1} = Conv(t{i}, w)" for i in range(len(names))).replace("t0", "image")
    model = build(
        f"{text} y = Flatten(t{len(names)})",
        inputs={"image": "float[N,1,4,4]"},
        outputs={"y": "float[N,L]"},
        constants={"w": np.ones((1, 1, 1, 1), np.float32)},
    )
    for node, name in zip(model.graph.node, names, strict=False):
        node.name = name
    return model  # type: ignore[no-any-return]


@pytest.mark.parametrize("inspection", [RECORDED, in_the_form_of_11(RECORDED)], ids=["8", "11"])
def test_recorded_kernels(inspection: str, build: Any) -> None:
    graph = chain(build, "Conv_9", "Conv_23", "Conv_121", "Conv_22", "Conv_7")
    report = engine_kernels(read_layers(inspection), graph, version="8.5.3.1")
    assert report.macs == 5 * 16
    assert report.integer_macs == 4 * 16
    assert [(kernel.name, kernel.reason) for kernel in report.float_kernels] == [
        ("Conv_7", "no layer of the engine names it")
    ]
    assert report.backend == "tensorrt 8.5.3.1"


def layer(**changes: Any) -> dict[str, Any]:
    tensor = {"Name": "t", "Dimensions": [1], "Format/Datatype": "Row major Int8 format"}
    return {
        "Name": "w + QuantizeLinear:w + Conv:a + Relu:b",
        "LayerType": "CaskConvolution",
        "Inputs": [tensor],
        "Outputs": [tensor],
        "Weights": {"Type": "Int8", "Count": 9},
        "TacticName": "sm80_xmma_fprop_implicit_gemm_i8i8_i8i32_f32_nhwc",
    } | changes


def of(kind: str) -> list[dict[str, Any]]:
    return [{"Name": "t", "Dimensions": [1], "Format/Datatype": kind}]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"Outputs": of("Row major linear FP32")}, ""),  # the logits
        ({"TacticName": ""}, ""),
        ({"Weights": {}, "TacticName": "sm75_imma_xyz"}, ""),
        ({"Weights": {}, "TacticName": "sm80_xmma_gemm_i8f32_i8i32_f32_tn_n"}, ""),
        ({"Weights": {}, "TacticName": "ampere_i16832gemm_int8_128x128"}, ""),
        ({"Inputs": of("Int8(128,1:32,64,1)")}, ""),  # as compiled regions write it
        ({"Inputs": of("Row major linear FP32")}, "reads float32"),
        ({"Inputs": of("Channel major FP16 format where channel % 8 == 0")}, "reads float16"),
        ({"Inputs": of("Half(64,1:8,49,7)")}, "reads float16"),
        ({"Inputs": of("Row major linear UINT8 format")}, "reads uint8"),
        ({"Inputs": of("N/A due to dynamic shapes")}, "reads unknown"),
        ({"Inputs": []}, "reads nothing"),
        ({"Weights": {"Type": "Half", "Count": 9}}, "has weights of float16"),
        ({"TacticName": "sm80_xmma_fprop_implicit_gemm_f16f16_f16f32"}, "its tactic is sm80"),
        ({"TacticName": "sm80_xmma_fprop_implicit_gemm_tf32f32_tf32f32_f32"}, "its tactic is sm80"),
        ({"Weights": {}, "TacticName": ""}, "TensorRT does not say what it computes on (tactic without a name)"),
        ({"Weights": {}, "TacticName": "sm80_fprop_f16f16"}, "TensorRT does not say what it computes on"),
    ],
)
def test_when_a_convolution_is_integer(changes: dict[str, Any], reason: str, build: Any) -> None:
    layers = read_layers(json.dumps({"Layers": [layer(**changes)]}))
    (kernel,) = engine_kernels(layers, chain(build, "Conv:a"), version="10.0").kernels
    assert kernel.macs == 16
    assert kernel.integer == (not reason)
    assert kernel.reason.startswith(reason)


@pytest.mark.parametrize(
    ("name", "metadata", "held"),
    [
        ("Conv:a", "", True),
        ("PWN(Conv:a, Relu:b)", "", True),
        ("{ForeignNode[Conv:a...Gemm:z]}", "", True),
        ("fused_0", "[ONNX Layer: Conv:a]\x1e[ONNX Layer: Relu:b]", True),
        ("fused_0", "[ONNX Layer: Conv:ab]", False),
        ("Conv:a:1 + Conv:ab + Conv:a.b + xConv:a", "", False),
    ],
)
def test_which_layer_holds_a_node(name: str, metadata: str, held: bool) -> None:
    (found,) = read_layers(json.dumps({"Layers": [layer(Name=name, Metadata=metadata)]}))
    assert found.holds("Conv:a") == held


def test_a_copy_is_no_convolution(build: Any) -> None:
    """TensorRT names a copy after the layer that it is for (recorded in NVIDIA/TensorRT issue 4020)."""
    copy = layer(Name="Reformatting CopyNode for Input Tensor 0 to Conv:a + Relu:b", LayerType="Reformat")
    layers = read_layers(json.dumps({"Layers": [copy, layer(Inputs=of("Row major linear FP32"))]}))
    report = engine_kernels(layers, chain(build, "Conv:a"), version="8.6")
    assert [kernel.macs for kernel in report.kernels] == [0, 16]
    assert report.integer_share == 0


def test_float_layers_without_weights_are_named(build: Any) -> None:
    cast = layer(Name="Cast:image", LayerType="PointWise", Outputs=of("Row major linear FP32"))
    report = engine_kernels(read_layers(json.dumps({"Layers": [cast, layer()]})), chain(build, "Conv:a"), version="10")
    assert report.integer_share == 1
    assert [(kernel.name, kernel.reason) for kernel in report.float_kernels] == [("Cast:image", "gives float32")]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"Layers": ["Conv_9"]}', '{"Layers": [{}]}', '{"Layers": 3}'])
def test_no_account(text: str) -> None:
    with pytest.raises(ModelError, match="the engine's inspector"):
        read_layers(text)


def test_layers_as_json() -> None:
    found = read_layers(RECORDED)[1].to_json()
    assert json.loads(json.dumps(found))["weights"] == "int8"
    assert set(found) == set(EngineLayer.__slots__)
