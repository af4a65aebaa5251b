"""The most elements at one time, counted by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from hardtemper.runtime.graph_check.alive import most_alive
from hardtemper.runtime.graph_check.onnx_model import read_model
from hardtemper.runtime.graph_check.sizes import check_sizes
from hardtemper.runtime.graph_check.wire import Wire

N = helper.make_node
RELU = [N("Relu", [f"v{k}"], [f"v{k + 1}"]) for k in range(1, 6)]

CASES = [
    ([N("Relu", ["x"], ["y"])], 16 + 16),
    ([N("Relu", ["x"], ["v1"]), *RELU], 16 + 16),  # one is made while one is read, however long the chain
    ([N("Relu", ["x"], ["v1"]), *RELU, N("Add", ["v6", "x"], ["y"])], 3 * 16),  # x lives to the end
    ([N("Relu", ["x"], ["v1"]), N("Flatten", ["v1"], ["f"]), N("Concat", ["f"] * 3, ["y"], axis=1)], 16 + 48),
    ([N("Relu", ["x"], ["y"]), N("Neg", ["x"], ["z"]), N("Neg", ["x"], ["unread"])], 4 * 16),
    ([N("ConstantOfShape", ["s"], ["c"]), N("ConstantOfShape", ["s"], ["d"]), N("Add", ["x", "x"], ["y"])], 80 + 32),
    ([N("Dropout", ["x"], ["y", ""])], 16 + 16),
]


@pytest.mark.parametrize(("nodes", "expected"), CASES, ids=range(len(CASES)))
def test_counted_by_hand(make_model: Any, nodes: Any, expected: int) -> None:
    outputs = [name for name in ("y", "z", "v6") if any(name in node.output for node in nodes)]
    content = make_model(nodes, {"s": np.array([4, 10])}, outputs=outputs[:2])
    wire = Wire(content, most=10_000)
    model = read_model(wire)
    assert most_alive(model, check_sizes(wire, model, what="file").shapes) == expected
