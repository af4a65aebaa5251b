from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from hardtemper.export.passes.nodes_in_front import Chain


def test_nodes_stand_in_front_in_their_order(build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    model = build("y = Relu(x)", inputs={"x": "float[N,4,6,6]"}, outputs={"y": "float[N,4,6,6]"}, constants={})
    model = ir.from_proto(model)
    (node,) = list(model.graph)
    chain = Chain(model.graph, node)
    two = chain.constant("two", 2)
    doubled = chain("Mul", model.graph.inputs[0], two, label="doubled")
    node.replace_input_with(0, chain("Sub", doubled, chain.constant("two", 2), label="less"))
    assert [n.op_type for n in model.graph] == ["Mul", "Sub", "Relu"]
    assert [two.name, doubled.name, *(n.inputs[1].name for n in list(model.graph)[1:2])] == [
        "y.two",
        "y.doubled",
        "y.two_1",
    ]
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 6)).astype(np.float32)
    np.testing.assert_array_equal(run(ir.to_proto(model), {"x": x})[0], np.maximum(2 * x - 2, 0))
