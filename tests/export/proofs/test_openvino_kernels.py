from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from torch import nn

from hardtemper.export.lower import lower
from hardtemper.export.proofs import openvino_kernels
from hardtemper.export.proofs.executed_kernels import inspect_kernels
from hardtemper.export.proofs.openvino_kernels import inspect_openvino_kernels
from hardtemper.export.quantization.quantize import IntegerGraph
from hardtemper.runtime.errors import ModelError

FIRST, SECOND, THIRD, LAST = 8 * 144 * 27, 8 * 25 * 18, 16 * 25 * 8, 5 * 64
MACS = FIRST + SECOND + THIRD + LAST


def test_an_integer_graph(plain_integer: IntegerGraph) -> None:
    report = inspect_openvino_kernels(plain_integer.model)
    assert report.macs == report.integer_macs == MACS == inspect_kernels(plain_integer.model).macs
    assert report.integer_share == 1.0
    assert report.float_kernels == ()
    assert report.backend.startswith("openvino 20")
    assert [(kernel.operator, kernel.macs) for kernel in report.kernels if kernel.macs] == [
        ("Convolution", FIRST),
        ("Convolution", SECOND),
        ("Convolution", THIRD),
        ("FullyConnected", LAST),
    ]
    json.dumps(report.to_json())


def test_a_float_graph(plain: nn.Module) -> None:
    report = inspect_openvino_kernels(lower(plain, input_shape=(3, 12, 12)).model)
    assert report.macs == sum(kernel.macs for kernel in report.kernels) == MACS
    assert report.integer_share == 0.0
    assert all(kernel.reason == "computes on f32" for kernel in report.float_kernels if kernel.macs)


def test_one_convolution_left_float_is_named(build: Callable[..., onnx.ModelProto]) -> None:
    model = build(
        "x = DequantizeLinear(image, s, z) w = DequantizeLinear<axis=0>(wq, sw) t = Conv(x, w)"
        " q = QuantizeLinear(t, s, z) d = DequantizeLinear(q, s, z) u = Conv(d, v) g = Sigmoid(u)"
        " m = GlobalAveragePool(g) logits = Flatten(m)",
        inputs={"image": "uint8[N,3,8,8]"},
        outputs={"logits": "float[N,5]"},
        constants={
            "s": np.float32(2**-4),
            "z": np.uint8(0),
            "wq": np.random.default_rng(0).integers(-99, 99, (4, 3, 3, 3), np.int8),
            "sw": np.full(4, 2**-7, np.float32),
            "v": np.random.default_rng(0).normal(0, 1, (5, 4, 3, 3)).astype(np.float32),
        },
    )
    report = inspect_openvino_kernels(model)
    first, second = 4 * 6 * 6 * 27, 5 * 4 * 4 * 36
    assert (report.macs, report.integer_macs) == (first + second, first)
    (kernel,) = [kernel for kernel in report.float_kernels if kernel.macs]
    assert (kernel.operator, kernel.reason) == ("Convolution", "computes on f32")


def test_two_activations_are_multiplied(build: Callable[..., onnx.ModelProto]) -> None:
    model = build(
        "x = DequantizeLinear(image, s, z) y = Transpose<perm=[0,1,3,2]>(x) p = MatMul(x, y)"
        " m = GlobalAveragePool(p) logits = Flatten(m)",
        inputs={"image": "uint8[1,3,6,8]"},
        outputs={"logits": "float[1,3]"},
        constants={"s": np.float32(0.1), "z": np.uint8(0)},
    )
    (kernel,) = [kernel for kernel in inspect_openvino_kernels(model).kernels if kernel.operator == "MatMul"]
    assert kernel.macs == 3 * 6 * 6 * 8


def test_nothing_escapes_the_count(plain_integer: IntegerGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_kernels, "macs_as_written", lambda _: {"all": MACS + 1000})
    report = inspect_openvino_kernels(plain_integer.model)
    assert report.integer_share == MACS / (MACS + 1000)
    assert report.float_kernels[-1].reason == "no kernel of the execution graph accounts for them"


def test_a_graph_that_it_refuses(build: Callable[..., onnx.ModelProto]) -> None:
    model = build(
        "d = Det(image) logits = Flatten(d)", inputs={"image": "float[2,3,2,2]"}, outputs={"logits": "float[2,3]"}
    )
    with pytest.raises(ModelError, match="OpenVINO cannot load the file"):
        inspect_openvino_kernels(model)
