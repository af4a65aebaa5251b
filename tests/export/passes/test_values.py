from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hardtemper.export.passes.values import (
    add_initializer,
    attribute,
    channels,
    constant,
    only_consumer,
    replace_by_chain,
)


@pytest.fixture
def model(build: Callable[..., onnx.ModelProto]) -> ir.Model:
    text = "a = Mul(x, k) b = Relu(a) c = LeakyRelu<alpha=0.5>(a) y = Add(b, c)"
    shape = "float[N,4,6,6]"
    return ir.from_proto(build(text, inputs={"x": shape}, outputs={"y": shape}, constants={"k": np.float32(2)}))


def test_constants(model: ir.Model) -> None:
    mul = model.graph[0]
    assert constant(mul.inputs[0]) is None
    assert constant(None) is None
    found = constant(mul.inputs[1])
    assert found is not None
    assert found == 2


def test_a_name_that_is_taken_gets_a_number(model: ir.Model) -> None:
    names = [add_initializer(model.graph, name, np.ones(3, np.float32)).name for name in ("k", "k", "new")]
    assert names == ["k_1", "k_2", "new"]
    assert set(model.graph.initializers) == {"k", "k_1", "k_2", "new"}


def test_attributes(model: ir.Model) -> None:
    assert attribute(model.graph[2], "alpha", 0.01) == 0.5
    assert attribute(model.graph[1], "alpha", 0.01) == 0.01


def test_consumers_and_channels(model: ir.Model) -> None:
    mul, relu, _, add = model.graph
    assert only_consumer(mul.outputs[0]) is None
    assert only_consumer(relu.outputs[0]) is add
    assert only_consumer(add.outputs[0]) is None
    assert (channels(model.graph.inputs[0]), channels(mul.inputs[1]), channels(None)) == (4, None, None)


def test_a_chain_takes_the_name(model: ir.Model) -> None:
    relu = model.graph[1]
    neg = ir.node("Neg", [relu.inputs[0]])
    replace_by_chain(relu, [neg, ir.node("Abs", [neg.outputs[0]])])
    assert [node.op_type for node in model.graph] == ["Mul", "Neg", "Abs", "LeakyRelu", "Add"]
    assert model.graph[2].outputs[0].name == "b"
    assert model.graph[4].inputs[0] is model.graph[2].outputs[0]
