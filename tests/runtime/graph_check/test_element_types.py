"""Types that are told are those that the package onnx infers."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from hardtemper.runtime.graph_check.element_types import UNKNOWN, constant_of, element_types
from hardtemper.runtime.graph_check.onnx_model import read_model
from hardtemper.runtime.graph_check.wire import Wire

N = helper.make_node


def types(content: bytes) -> dict[str, int]:
    found = element_types(read_model(Wire(content, most=1_000_000)))
    return {name.decode(): kind for name, kind in found.items()}


def test_whole_networks(real_models: dict[str, bytes]) -> None:
    for content in real_models.values():
        inferred = onnx.shape_inference.infer_shapes(onnx.load_from_string(content), strict_mode=True)
        expected = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
        found = types(content)
        assert {name: found[name] for name in expected} == expected


NODES = [
    N("Shape", ["x"], ["a"]),
    N("Cast", ["a"], ["b"], to=TensorProto.FLOAT),
    N("CastLike", ["b", "a"], ["c"]),
    N("Where", ["f", "c", "a"], ["d"]),
    N("ArgMax", ["x"], ["e"]),
    N("Equal", ["x", "x"], ["f"]),
    N("Constant", [], ["g"], value_int=3),
    N("Constant", [], ["h"], value_floats=[3.0]),
    N("Constant", [], ["i"], value=helper.make_tensor("", TensorProto.INT32, [1], [1])),
    N("ConstantOfShape", ["a"], ["j"]),
    N("ConstantOfShape", ["a"], ["k"], value=helper.make_tensor("", TensorProto.INT64, [1], [1])),
    N("Pow", ["a", "x"], ["l"]),
    N("Split", ["a"], ["m", "n"], axis=0),
    N("MaxPool", ["x"], ["o"], kernel_shape=[2, 2]),
    N("Resize", ["a", "", "b"], ["p"]),
    N("Concat", ["a", "c"], ["q"], axis=0),
    N("Range", ["g", "g", "g"], ["r"]),
    N("Sigmoid", ["x"], ["s"]),
    N("Not", ["f"], ["t"]),
    N("OneHot", ["a", "g", "h"], ["u"]),
]
INTEGERS = "aceglmnpqr"


def test_operators(make_model: Any) -> None:
    found = types(make_model(NODES))
    assert {name for name, kind in found.items() if kind == TensorProto.INT64} == {*INTEGERS, "d", "k"}
    assert {name for name, kind in found.items() if kind == TensorProto.FLOAT} == {*"xbhjos"}
    assert found["i"] == TensorProto.INT32
    assert found["f"] == found["t"] == TensorProto.BOOL
    assert found["u"] == UNKNOWN


@pytest.mark.parametrize("node", [N("TopK", ["x", "x"], ["a", "b"]), N("Unique", ["x"], ["b", "a"])])
def test_other_outputs_are_unknown(make_model: Any, node: onnx.NodeProto) -> None:
    assert types(make_model([node])).get(node.output[1], UNKNOWN) == UNKNOWN


def test_a_constants_tensor(make_model: Any) -> None:
    nodes = read_model(Wire(make_model(NODES), most=10_000)).nodes
    assert [node.outputs for node in nodes if constant_of(node)] == [(b"i",), (b"k",)]
