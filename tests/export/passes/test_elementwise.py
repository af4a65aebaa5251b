from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hardtemper.export.passes.elementwise import ELEMENTWISE, functions, origin, variables

K = {"k": np.float32(2), "w": np.ones((4, 4, 1, 1), np.float32)}


@pytest.mark.parametrize(
    ("text", "together"),
    [
        ("g = Sigmoid(x) y = Mul(x, g)", ""),  # two integer kernels
        ("t = Mul(x, k) g = Sigmoid(t) y = Mul(x, g)", "t g y"),
        ("d = Div(x, k) e = Erf(d) a = Add(e, k) m = Mul(x, a) y = Mul(m, k)", "d e a m y"),
        ("c = Conv(x, w) r = Relu(c) t = Tanh(r) y = Add(r, t)", "t y"),  # the ReLU stays with the convolution
        ("c = Conv(x, w) s = Add(c, k) y = Tanh(s)", "y"),  # the convolution takes the offset
        ("p = MaxPool<kernel_shape=[1,1]>(x) s = Add(p, k) y = Tanh(s)", "s y"),
        ("t = Tanh(x) y = Relu(t)", "t y"),
        ("t = Tanh(x) r = Relu(t) y = Add(r, t)", "t r y"),
        ("b = Less(x, k) e = Exp(x) y = Where(b, x, e)", "b e y"),
        ("y = Add(x, x)", ""),
        ("c = Conv(x, w) g = Sigmoid(c) y = Mul(x, g)", ""),  # of two tensors
        ("c = Conv(x, w) y = Max(c, x)", ""),
    ],
)
def test_what_stays_together(text: str, together: str, build: Callable[..., onnx.ModelProto]) -> None:
    constants = {name: value for name, value in K.items() if f"{name})" in text}
    graph = ir.from_proto(
        build(text, inputs={"x": "float[N,4,3,3]"}, outputs={"y": "float[N,4,3,3]"}, constants=constants)
    ).graph
    found = functions(graph)
    assert [node.outputs[0].name for node in graph if node in found] == together.split()


def test_origin(build: Callable[..., onnx.ModelProto]) -> None:
    text = "c = Conv(x, w) d = Div(c, k) e = Erf(d) m = Mul(c, e) y = Add(m, x)"
    types = {"inputs": {"x": "float[N,4,3,3]"}, "outputs": {"y": "float[N,4,3,3]"}}
    graph = ir.from_proto(build(text, constants=K, **types)).graph
    values = {node.outputs[0].name: node.outputs[0] for node in graph}
    x, nodes = origin(values["m"])
    assert x is values["c"]
    assert [node.op_type for node in nodes] == ["Div", "Erf", "Mul"]
    assert origin(values["y"]) == (values["y"], [])
    assert origin(values["c"]) == (values["c"], [])
    assert [value.name for value in variables(nodes[0])] == ["c"]


def test_the_operators_are_onnx_s() -> None:
    assert all(onnx.defs.has(name) for name in ELEMENTWISE)
