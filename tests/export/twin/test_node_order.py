from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from hardtemper.export.twin.node_order import in_order
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.errors import ModelError


def model(*order: int, circle: bool = False) -> onnx.ModelProto:
    """A classifier whose four nodes stand in the given order."""
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["product"]),
        helper.make_node("Relu", ["sum" if circle else "product"], ["relu"]),
        helper.make_node("Add", ["relu", "product"], ["sum"]),
        helper.make_node("Identity", ["sum"], ["logits"]),
    ]
    graph = helper.make_graph(
        [nodes[index] for index in order],
        "order",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32), "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_what_is_in_order_stays_as_it_is() -> None:
    given = model(0, 1, 2, 3, 4)
    assert in_order(given) is given


@pytest.mark.parametrize("order", [(4, 3, 2, 1, 0), (0, 2, 1, 3, 4), (0, 1, 3, 2, 4), (1, 0, 4, 2, 3)])
def test_a_twin_of_a_graph_in_another_order(order: tuple[int, ...]) -> None:
    given = model(*order)
    assert [node.op_type for node in in_order(given).graph.node] == ["Flatten", "MatMul", "Relu", "Add", "Identity"]
    images = np.random.default_rng(1).random((5, 1, 4, 4), np.float32)
    session: Any = onnxruntime.InferenceSession(given.SerializeToString(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        logits = Twin(given)(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(logits, session.run(None, {"image": images})[0], rtol=1e-6)


def test_nodes_that_wait_for_each_other() -> None:
    with pytest.raises(ModelError, match="wait for each other"):
        in_order(model(0, 1, 2, 3, 4, circle=True))
