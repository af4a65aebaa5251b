"""The reader against the package onnx's own, on whole networks and on damaged ones."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from hardtemper.runtime.graph_check.onnx_model import read_model
from hardtemper.runtime.graph_check.onnx_records import Model, Node, Tensor, Value
from hardtemper.runtime.graph_check.wire import Wire, WireError

MOST = 1_000_000


def raw(name: str | bytes) -> bytes:
    """A name's bytes; protobuf gives those of one that is no UTF-8 as they are."""
    return name.encode() if isinstance(name, str) else name


def same_tensor(found: Tensor, expected: onnx.TensorProto) -> bool:
    return (
        found.dims == tuple(expected.dims)
        and found.data_type == expected.data_type
        and (found.raw is not None) == expected.HasField("raw_data")
        and found.external == (expected.data_location != 0 or bool(expected.external_data))
    )


def same_node(found: Node, expected: onnx.NodeProto) -> bool:
    attributes = {raw(item.name): item for item in expected.attribute}
    return (
        found.inputs == tuple(raw(name) for name in expected.input)
        and found.outputs == tuple(raw(name) for name in expected.output)
        and (found.name, found.op_type, found.domain)
        == (raw(expected.name), raw(expected.op_type), raw(expected.domain))
        and found.attributes.keys() == attributes.keys()
        and (found.twice is not None) == (len(attributes) < len(expected.attribute))
        and all(
            (item.number or 0, item.numbers, item.text or b"")
            == (attributes[key].i, tuple(attributes[key].ints), attributes[key].s)
            and (item.tensor is None or same_tensor(item.tensor, attributes[key].t))
            for key, item in found.attributes.items()
        )
    )


def same_value(found: Value, expected: onnx.ValueInfoProto) -> bool:
    kind = expected.type.WhichOneof("value")
    if found.other or kind not in (None, "tensor_type"):
        return bool(found.other)
    shape = expected.type.tensor_type
    sizes = tuple(size.dim_value if size.HasField("dim_value") else None for size in shape.shape.dim)
    return (
        found.name == raw(expected.name)
        and found.data_type == shape.elem_type
        and found.shape == (sizes if shape.HasField("shape") else None)
    )


def same(found: Model, expected: onnx.ModelProto) -> bool:
    graph = expected.graph
    return (
        (len(found.nodes), len(found.tensors)) == (len(graph.node), len(graph.initializer))
        and (len(found.inputs), len(found.outputs)) == (len(graph.input), len(graph.output))
        and all(map(same_node, found.nodes, graph.node))
        and all(map(same_tensor, found.tensors, graph.initializer))
        and all(map(same_value, [*found.inputs, *found.outputs], [*graph.input, *graph.output]))
        and [value.name for value in found.described] == [raw(value.name) for value in graph.value_info]
        and ("functions" in found.others) == bool(expected.functions)
        and ("training_info" in found.others) == bool(expected.training_info)
        and ("sparse initializers" in found.others) == bool(graph.sparse_initializer)
    )


def test_whole_networks_are_read_as_onnx_reads_them(real_models: dict[str, bytes]) -> None:
    assert len(real_models) == 9
    for content in real_models.values():
        assert same(read_model(Wire(content, most=MOST)), onnx.load_from_string(content))


@pytest.fixture(scope="module")
def samples(make_model: Any, classifier: Any) -> list[bytes]:
    strided = helper.make_node("Conv", ["x", "w"], ["y"], name="c", strides=[2, 2], auto_pad="VALID", group=-1)
    typed = helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 1, 2], [1.0, 2.0])
    held = helper.make_node("Constant", [], ["z"], value=helper.make_tensor("", TensorProto.INT64, [2], [-1, 2]))
    return [classifier.onnx(), make_model([strided, held], {"w": typed})]


@settings(max_examples=400)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_read_as_onnx_reads_it(samples: list[bytes], data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(samples)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["change", "remove", "repeat", "cut"]))
        end = at + data.draw(st.integers(1, 40))
        if kind == "change":
            content[at] = data.draw(st.integers(0, 255))
        elif kind == "remove":
            del content[at:end]
        elif kind == "repeat":
            content[at:at] = content[at:end]
        else:
            del content[at + 1 :]
        if not content:
            return
    try:
        found = read_model(Wire(bytes(content), most=MOST))
    except WireError:
        return
    try:
        expected = onnx.load_from_string(bytes(content))
    except Exception:  # protobuf's exceptions differ between its implementations
        return
    assert same(found, expected)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        assert read_model(Wire(content, most=100)).nodes is not None
    except WireError:
        return


@pytest.mark.parametrize(
    "value",
    [b"", b"\x0a", b"\x0a\x01", b"\x0a\x01v\x12", b"\x0a\x01v\x12\x01\x0a", b"\x0a\x01v\x12\x02\x0a",
     b"\x0a\x7fv\x12\x02\x0a\x00",
     b"\x0a\x01v\x12\x02\x0a\x01", b"\x0a\x01v\x12\x03\x0a\x00\x22"],
)  # fmt: skip
def test_a_described_value_that_is_cut_off_where_the_file_ends(value: bytes) -> None:
    graph = b"\x6a" + bytes([len(value)]) + value
    content = b"\x3a" + bytes([len(graph)]) + graph
    try:
        found = read_model(Wire(content, most=MOST)).described
    except WireError:
        return
    assert same(Model([], [], [], [], found, ()), onnx.load_from_string(content))


def twice(make_model: Any, change: Any) -> bytes:
    return bytes(make_model([helper.make_node("Relu", ["x"], ["y"])], change=change))


def test_a_message_that_is_given_twice_is_refused(make_model: Any) -> None:
    content = twice(make_model, lambda model: None)
    again = onnx.ModelProto()
    again.graph.node.add(op_type="Loop")
    with pytest.raises(WireError, match="a graph that is given twice"):
        read_model(Wire(content + again.SerializeToString(), most=MOST))
    with pytest.raises(WireError, match="no graph"):
        read_model(Wire(b"", most=MOST))


def others(attribute: onnx.AttributeProto, make_model: Any) -> tuple[str, ...]:
    node = helper.make_node("Relu", ["x"], ["y"])
    node.attribute.append(attribute)
    (found,) = read_model(Wire(make_model([node]), most=MOST)).nodes[0].attributes.values()
    return found.others


def test_attributes_that_hold_more_than_numbers_are_marked(make_model: Any) -> None:
    graph = helper.make_graph([], "inside", [], [])
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("v", 1, [1], [1.0]), helper.make_tensor("i", 7, [1], [0]), [3]
    )
    kind = helper.make_tensor_type_proto(1, [1])
    for value, expected in (
        (graph, "a graph"),
        ([graph], "graphs"),
        (sparse, "a sparse tensor"),
        ([sparse], "sparse tensors"),
        (kind, "a type"),
        ([kind], "types"),
        ([helper.make_tensor("v", 1, [1], [1.0])], "tensors"),
    ):
        assert others(helper.make_attribute("a", value), make_model) == (expected,)
    refers = onnx.AttributeProto(name="a", ref_attr_name="b", type=onnx.AttributeProto.INT)
    assert others(refers, make_model) == ("a reference",)


def test_values_that_are_no_tensors_are_marked(make_model: Any) -> None:
    tensor = helper.make_tensor_type_proto(1, [1])
    for kind, expected in (
        (helper.make_sequence_type_proto(tensor), "a sequence"),
        (helper.make_optional_type_proto(tensor), "an optional"),
        (helper.make_map_type_proto(7, tensor), "a map"),
        (helper.make_sparse_tensor_type_proto(1, [1]), "a sparse tensor"),
    ):
        for side in ("input", "output", "value_info"):
            value = helper.make_value_info("v", kind)
            content = twice(make_model, lambda model, side=side, value=value: getattr(model.graph, side).append(value))
            model = read_model(Wire(content, most=MOST))
            values = {"input": model.inputs, "output": model.outputs, "value_info": model.described}[side]
            assert values[-1].other == expected
