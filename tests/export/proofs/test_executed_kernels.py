from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from hardtemper.export.lower import FloatGraph
from hardtemper.export.proofs.executed_kernels import inspect_kernels
from hardtemper.export.quantization.quantize import IntegerGraph
from hardtemper.runtime.errors import ModelError

Build = Callable[..., onnx.ModelProto]


def module_macs(module: nn.Module, shape: tuple[int, int, int]) -> int:
    """Counted by hooks on the torch module, not on the graph."""
    total = 0

    def count(layer: Any, inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        total += output[0].numel() * layer.weight[0].numel()

    layers = [layer for layer in module.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    handles = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        module(torch.zeros(1, *shape))
    for handle in handles:
        handle.remove()
    return total


def test_an_integer_graph(residual: nn.Module, residual_integer: IntegerGraph) -> None:
    report = inspect_kernels(residual_integer.model)
    normalization = 3 * 12 * 12  # a convolution of its own, for the padding behind it is zero after normalization
    pools = 12 * 6 * 6 * 9 + 12 * 6 * 6  # 1/9 and 1/36 are no powers of two: convolutions
    assert report.macs == module_macs(residual, (3, 12, 12)) + normalization + pools
    assert report.integer_macs == report.macs
    assert report.integer_share == 1.0
    assert report.float_kernels == ()
    assert report.backend.startswith("onnxruntime ")
    operators = [kernel.operator for kernel in report.kernels]
    assert {"com.microsoft.QLinearConv", "com.microsoft.QGemm", "com.microsoft.QLinearAdd"} <= set(operators)
    assert operators.count("com.microsoft.QLinearConv") == 8


def test_a_float_graph(residual: nn.Module, residual_graph: FloatGraph) -> None:
    report = inspect_kernels(residual_graph.model)
    normalization = 3 * 12 * 12
    assert report.macs == module_macs(residual, (3, 12, 12)) + normalization
    assert report.macs == sum(kernel.macs for kernel in report.kernels)
    assert report.integer_share == 0.0
    assert all(kernel.reason == "gives float" for kernel in report.float_kernels if kernel.macs)


def test_one_convolution_left_float_is_named(build: Build) -> None:
    """No QuantizeLinear behind the second one: its kernel stays a float one."""
    model = build(
        "x = DequantizeLinear(image, s, z) w = DequantizeLinear<axis=0>(wq, sw) t = Conv(x, w)"
        " q = QuantizeLinear(t, s, z) d = DequantizeLinear(q, s, z) u = Conv(d, v) g = Sigmoid(u)"
        " m = GlobalAveragePool(g) logits = Flatten(m)",
        inputs={"image": "uint8[N,3,8,8]"},
        outputs={"logits": "float[N,5]"},
        constants={
            "s": np.float32(0.1),
            "z": np.uint8(0),
            "wq": np.ones((4, 3, 3, 3), np.int8),
            "sw": np.full(4, 0.1, np.float32),
            "v": np.ones((5, 4, 3, 3), np.float32),
        },
    )
    report = inspect_kernels(model)
    first, second = 4 * 6 * 6 * 27, 5 * 4 * 4 * 36
    assert report.macs == first + second
    assert report.integer_macs == first
    assert report.integer_share == pytest.approx(first / (first + second))
    (left,) = [kernel for kernel in report.float_kernels if kernel.macs]
    assert (left.name, left.operator, left.macs, left.reason) == (
        "conv_5",
        "com.microsoft.FusedConv",
        second,
        "gives float",
    )


def test_weights_alone_are_no_integer_kernel(build: Build) -> None:
    """Float activations times stored integers: ONNX Runtime's MatMulNBits multiplies floats."""
    model = build(
        "f = Flatten(image) w = DequantizeLinear<axis=1>(wq, sw, zw) logits = MatMul(f, w)",
        inputs={"image": "float[N,1,8,8]"},
        outputs={"logits": "float[N,32]"},
        constants={
            "wq": np.ones((64, 32), np.uint8),
            "sw": np.full(32, 0.1, np.float32),
            "zw": np.zeros(32, np.uint8),
        },
        opset=21,
    )
    report = inspect_kernels(model)
    assert report.macs == 64 * 32
    assert report.integer_share == 0.0
    assert report.float_kernels[-1].macs == 64 * 32


def test_nodes_without_names(residual_integer: IntegerGraph) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(residual_integer.model)
    for node in model.graph.node:
        node.name = ""
    assert inspect_kernels(model).integer_share == 1.0
    assert not any(node.name for node in model.graph.node)


def test_json(residual_integer: IntegerGraph) -> None:
    report = inspect_kernels(residual_integer.model)
    said = json.loads(json.dumps(report.to_json()))
    assert said["integer_share"] == 1.0
    assert (said["macs"], said["integer_macs"]) == (report.macs, report.integer_macs)
    assert len(said["kernels"]) == len(report.kernels)
    assert said["kernels"][0]["operator"] == report.kernels[0].operator


def test_a_graph_that_onnxruntime_refuses(residual_integer: IntegerGraph) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(residual_integer.model)
    model.graph.node[-1].input[0] = "nothing"
    with pytest.raises(ModelError, match="ONNX Runtime refuses the graph"):
        inspect_kernels(model)
