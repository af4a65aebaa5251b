from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from hardtemper.export.quantization.scheme import Grid, Scheme
from hardtemper.export.quantization.stored_values import StoredValues, bounds_of


def model_of(build: Callable[..., Any], text: str, **constants: Any) -> ir.Model:
    types = {"inputs": {"x": "float[N,2,3,3]"}, "outputs": {"y": "float[N,2,L,M]"}}
    return ir.from_proto(build(text, constants=constants, **types))


@pytest.mark.parametrize(("target", "low", "zero"), [("cpu", 0, 128), ("tensorrt", -128, 0)])
def test_a_constant_is_stored_once(target: str, low: int, zero: int, build: Callable[..., Any]) -> None:
    k = np.array([-1, 0.5], np.float32).reshape(2, 1, 1)
    model = model_of(build, "t = Add(x, k) y = Add(t, k)", k=k)
    stored = StoredValues(model.graph, Scheme(target=target))
    for node in list(model.graph):
        assert stored.read(node, 1) == Grid(2.0**-7, 128)
    held = {name: value.const_value.numpy() for name, value in model.graph.initializers.items() if value.const_value}
    assert held["k_quantized"].reshape(-1).tolist() == [low, low + 192]
    assert held["k_zero_point"] == zero
    assert [node.op_type for node in model.graph] == ["DequantizeLinear", "Add", "Add"]


def test_the_divisor_may_stand_beside_the_scale(build: Callable[..., Any], run: Callable[..., Any]) -> None:
    model = model_of(build, "y = Abs(x)")
    stored = StoredValues(model.graph, Scheme())
    stored.quantize(model.graph.outputs[0], Grid(0.5, 0), rounding=0.501)
    x = np.array([0, 0.25, 0.75, 1.25, 127.4, 400], np.float32).repeat(3).reshape(1, 2, 3, 3)
    assert [node.op_type for node in model.graph] == ["Abs", "QuantizeLinear", "DequantizeLinear"]
    (y,) = run(ir.to_proto(model), {"x": x})
    np.testing.assert_array_equal(y, np.clip(np.rint(x / np.float32(0.501)), 0, 255) * 0.5)
    assert stored.grid_of(model.graph.outputs[0]) == Grid(0.5, 0)


@pytest.mark.parametrize("text", ["y = Relu(a)", "y = Clip(a, , k)", "y = Pad(a, p)"])
def test_work_on_integers(text: str, build: Callable[..., Any], run: Callable[..., Any]) -> None:
    constants = {"k": np.float32(1.5), "p": np.array([0, 0, 1, 0, 0, 0, 0, 2])}
    constants = {name: value for name, value in constants.items() if f", {name})" in text}
    before = build(f"a = Identity(x) {text}", inputs={"x": "float[N,2,3,3]"}, outputs={"y": "float[N,2,L,M]"},
                   constants=constants)  # fmt: skip
    model = ir.from_proto(before)
    stored = StoredValues(model.graph, Scheme())
    identity, node = model.graph
    stored.quantize(identity.outputs[0], Grid(0.25, 128))
    stored.work_on_integers(node)
    assert [n.op_type for n in model.graph if n.op_type not in ("Identity", "DequantizeLinear")] == [
        "QuantizeLinear", node.op_type if node.op_type == "Pad" else "Clip",
    ]  # fmt: skip
    x = (np.random.default_rng(0).integers(-20, 20, (2, 2, 3, 3)) / 4).astype(np.float32)
    model.graph.name = "g"
    for old in [n for n in model.graph if not any(v.uses() or v.is_graph_output() for v in n.outputs)]:
        model.graph.remove(old)
    np.testing.assert_array_equal(run(ir.to_proto(model), {"x": x})[0], run(before, {"x": x})[0])


def test_bounds(build: Callable[..., Any]) -> None:
    model = model_of(build, "t = Relu(x) y = Clip(t, , k)", k=np.float32(1.5))
    assert [bounds_of(node) for node in model.graph] == [(0.0, None), (None, 1.5)]
