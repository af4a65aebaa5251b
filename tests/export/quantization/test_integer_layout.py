from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from hardtemper.export.quantization.integer_layout import Layout
from hardtemper.export.quantization.scheme import Scheme

CONSTANTS: dict[str, Any] = {
    "s": np.float32(2**-8), "z": np.uint8(0), "w": np.ones((2, 2, 1, 1), np.float32),
    "m": np.ones((32, 3), np.float32), "low": np.float32(0), "axes": np.array([1]), "rest": np.array([32]),
    "h": np.ones(4, np.float32),
}  # fmt: skip


def layout(build: Callable[..., Any], text: str, target: str = "cpu") -> tuple[Layout, ir.Graph]:
    names = set(text.replace("(", " ").replace(")", " ").replace(",", " ").split()) | {"s", "z"}
    model = build(
        f"x = DequantizeLinear(image, s, z) {text}",
        inputs={"image": "uint8[N,2,4,4]"},
        outputs={"y": "float[N,L]"},
        constants={name: value for name, value in CONSTANTS.items() if name in names},
    )
    graph = ir.from_proto(model).graph
    return Layout(graph, Scheme(target=target)), graph


@pytest.mark.parametrize(
    ("text", "handling", "rounded"),
    [
        ("c = Conv(x, w) r = Relu(c) f = Flatten(r) y = Gemm(f, m)", "requantized stored stored requantized", "r"),
        # the ReLU works on integers where somebody else reads what it reads
        ("c = Conv(x, w) r = Relu(c) a = Add(r, c) y = Flatten(a)", "requantized float float float", "c"),
        ("c = Conv(x, w) r = Relu(c) d = Conv(c, w) a = Add(r, d) y = Flatten(a)",
         "requantized stored requantized requantized stored", "c d a"),
        # what is rounded takes integers and gives them
        ("n = LayerNormalization(x, h) t = Transpose<perm=[0,1,3,2]>(n) c = Conv(t, w) y = Flatten(c)",
         "rounded moved requantized stored", "n c"),
        # between float operators all stays float, moves too
        ("t = Tanh(x) r = Transpose<perm=[0,1,3,2]>(t) v = LpNormalization(r) y = Flatten(v)",
         "float float float float", ""),
        # one reader of integers, one of floats
        ("t = Tanh(x) c = Conv(t, w) u = Exp(t) a = Add(c, u) y = Flatten(a)",
         "float requantized float requantized stored", "t c u a"),
        ("i = Sigmoid(x) p = Mul(x, i) y = Flatten(p)", "requantized requantized stored", "i p"),
    ],
)  # fmt: skip
def test_handling(text: str, handling: str, rounded: str, build: Callable[..., Any]) -> None:
    found, graph = layout(build, text)
    nodes = [node for node in graph if node.op_type != "DequantizeLinear"]
    assert [found[node] for node in nodes] == handling.split()
    assert [value.name for value in found.quantized_values()] == rounded.split()


def test_moves_stand_between_quantizers_for_tensorrt(build: Callable[..., Any]) -> None:
    for target, kind in (("cpu", "stored"), ("tensorrt", "moved")):
        found, graph = layout(build, "c = Conv(x, w) y = Flatten(c)", target)
        assert found[graph.node(-1)] == kind


def test_what_stays_float_is_named(build: Callable[..., Any]) -> None:
    text = "e = Exp(x) f = Softplus(e) c = Conv(f, w) n = ReduceMean(c, axes) p = Mul(c, n) y = Flatten(p)"
    for target, engine in (("cpu", "ONNX Runtime"), ("tensorrt", "TensorRT")):
        found, _ = layout(build, text, target)
        assert [(f.operator, f.result, f.reason) for f in found.float_operators()] == [
            ("Exp, Softplus", "f", f"no integer kernel on {engine}"),
            ("ReduceMean", "n", f"no integer kernel on {engine}"),
        ]


def test_sizes_are_no_numbers_of_images(build: Callable[..., Any]) -> None:
    """What is computed from a shape stays as it is, and is not reported."""
    text = "c = Conv(x, w) n = Shape<start=0, end=1>(c) e = Concat<axis=0>(n, rest) y = Reshape(c, e)"
    found, graph = layout(build, text)
    handled = {node.op_type: found[node] for node in graph if node.op_type != "DequantizeLinear"}
    assert handled == {"Conv": "requantized", "Shape": "float", "Concat": "float", "Reshape": "stored"}
    assert found.float_operators() == ()
