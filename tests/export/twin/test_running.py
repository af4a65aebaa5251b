from __future__ import annotations

import pytest
import torch

from hardtemper.export.twin.execution import node_plan
from hardtemper.export.twin.nodes import Node
from hardtemper.export.twin.running import run
from hardtemper.runtime.errors import UnsupportedOperatorError

_ONE = torch.ones(1)


def test_values_by_name() -> None:
    plan = node_plan([Node("Add", ("x", "k"), ("t",), {}), Node("Mul", ("t", "t"), ("y",), {})])
    found = run(plan, {"x": _ONE}, {"k": 2 * _ONE}.__getitem__, {"t", "y", "k", "x"})
    assert {name: float(value) for name, value in found.items()} == {"t": 3, "y": 9, "k": 2, "x": 1}


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (Node("Add", ("x", "k"), ("y",), {}, "Add (node 'a')"), r"Add \(node 'a'\): the twin cannot .*; got: The size"),
        (Node("Clip", ("x", "k", "k", "k"), ("y",), {}, "Clip (node 'c')"), r"Clip \(node 'c'\): .* takes from"),
        (Node("Dropout", ("x", "", "x"), ("y",), {}, "Dropout (node 'd')"), r"Dropout \(node 'd'\): .*training_mode"),
    ],
)
def test_what_fails_is_one_line_with_operator_and_name(node: Node, message: str) -> None:
    with pytest.raises(UnsupportedOperatorError, match=message) as caught:
        run(node_plan([node]), {"x": torch.ones(3)}, {"k": torch.ones(2)}.__getitem__, {"y"})
    assert "\n" not in str(caught.value)
    assert caught.value.fix == "attack this graph with black-box attacks only"


def test_no_memory_is_no_unknown_operator() -> None:
    plan = node_plan([Node("ConstantOfShape", ("k",), ("y",), {})])
    with pytest.raises(MemoryError):
        run(plan, {}, {"k": torch.tensor([1 << 50])}.__getitem__, {"y"})
