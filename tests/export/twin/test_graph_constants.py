from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hardtemper.export.twin.graph_constants import constant_types, read_constants
from hardtemper.runtime.errors import ModelError


def _graph(*tensors: onnx.TensorProto, nodes: list[onnx.NodeProto] | None = None) -> onnx.GraphProto:
    return helper.make_graph(nodes or [], "g", [], [], list(tensors))


def test_initializers_and_constant_nodes() -> None:
    value = numpy_helper.from_array(np.arange(3, dtype=np.int32))
    nodes = [
        helper.make_node("Constant", [], ["a"], value_float=2.5),
        helper.make_node("Constant", [], ["b"], value_ints=[1, -1]),
        helper.make_node("Constant", [], ["c"], value_int=7),
        helper.make_node("Constant", [], ["d"], value_floats=[0.5]),
        helper.make_node("Constant", [], ["e"], value=value),
    ]
    graph = _graph(numpy_helper.from_array(np.ones(2, np.float16), "f"), nodes=nodes)
    found = read_constants(graph, set("abcdef"))
    assert {name: (array.dtype.name, array.tolist()) for name, array in found.items()} == {
        "a": ("float32", 2.5),
        "b": ("int64", [1, -1]),
        "c": ("int64", 7),
        "d": ("float32", [0.5]),
        "e": ("int32", [0, 1, 2]),
        "f": ("float16", [1, 1]),
    }
    assert constant_types(graph, found) == {"a": 1, "b": 7, "c": 7, "d": 1, "e": 6, "f": 10}


@pytest.mark.parametrize(("kind", "values", "stored"), [
    (TensorProto.INT4, [-8, 7, 0], "int8"), (TensorProto.UINT4, [15, 1, 0], "uint8")
])  # fmt: skip
def test_integers_of_four_bits_come_as_bytes(kind: int, values: list[int], stored: str) -> None:
    tensor = helper.make_tensor("k", kind, [3], values)
    for graph in (_graph(tensor), _graph(nodes=[helper.make_node("Constant", [], ["k"], value=tensor)])):
        found = read_constants(graph, {"k"})
        assert found["k"].dtype == stored
        assert found["k"].tolist() == values
        assert constant_types(graph, found) == {"k": kind}


@pytest.mark.parametrize(
    ("tensor", "got"),
    [
        (helper.make_tensor("k", TensorProto.STRING, [1], [b"text"]), "element type object"),
        (helper.make_tensor("k", TensorProto.BFLOAT16, [1], [1.0]), "element type bfloat16"),
        (helper.make_tensor("k", TensorProto.FLOAT8E5M2, [1], [1.0]), "element type float8_e5m2"),
        (helper.make_tensor("k", TensorProto.COMPLEX64, [1], [1j]), "element type complex64"),
    ],
)
def test_other_element_types_are_refused_where_they_are_read(tensor: onnx.TensorProto, got: str) -> None:
    assert read_constants(_graph(tensor), set()) == {}
    with pytest.raises(ModelError, match=f"the constant 'k'.*got: {got}"):
        read_constants(_graph(tensor), {"k"})


def test_other_forms_of_constants_are_refused() -> None:
    text = helper.make_node("Constant", [], ["k"], value_string="text")
    empty = helper.make_node("Constant", [], ["k"])
    value = helper.make_tensor("k", TensorProto.FLOAT, [1], [1.0])
    sparse = helper.make_sparse_tensor(value, helper.make_tensor("i", TensorProto.INT64, [1], [2]), [4])
    graph = _graph()
    graph.sparse_initializer.append(sparse)
    for found, got in ((_graph(nodes=[text]), "value_string"), (_graph(nodes=[empty]), "0"), (graph, "a sparse one")):
        with pytest.raises(ModelError, match=f"the constant 'k'.*got: {got}"):
            read_constants(found, {"k"})
