from __future__ import annotations

from typing import Any

from onnx import helper

from hardtemper.runtime.graph_check.onnx_model import read_model
from hardtemper.runtime.graph_check.onnx_records import Attribute, Node, Tensor
from hardtemper.runtime.graph_check.wire import Wire


def test_what_is_kept_of_a_file(make_model: Any) -> None:
    node = helper.make_node("Split", ["x", "parts"], ["y", "z"], name="cut", axis=1, domain="ai.onnx")
    content = make_model([node], {"parts": [1, 3]})
    model = read_model(Wire(content, most=1000))
    axis = Attribute(1, (), None, None, ())
    assert model.nodes == [Node(b"cut", b"Split", b"ai.onnx", (b"x", b"parts"), (b"y", b"z"), {b"axis": axis}, None)]
    raw = content.index((1).to_bytes(8, "little") + (3).to_bytes(8, "little"))
    assert model.tensors == [Tensor(b"parts", (2,), 7, (raw, raw + 16), (), False, b"")]
