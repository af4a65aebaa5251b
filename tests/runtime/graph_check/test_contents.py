"""What no image classifier holds is refused in one line that says what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from hardtemper.runtime.errors import ModelError
from hardtemper.runtime.graph_check import contents
from hardtemper.runtime.graph_check.contents import FROM_MICROSOFT, check_contents, shown
from hardtemper.runtime.graph_check.onnx_model import read_model
from hardtemper.runtime.graph_check.wire import Wire

N = helper.make_node
RELU = N("Relu", ["x"], ["y"])
TENSOR = helper.make_tensor_type_proto(TensorProto.FLOAT, [1])


def check(content: bytes) -> None:
    check_contents(read_model(Wire(content, most=1_000_000)), what="file")


def inside(name: str) -> onnx.GraphProto:
    return helper.make_graph([N("Relu", ["x"], [name])], "inside", [], [helper.make_empty_tensor_value_info(name)])


def value(side: str, kind: onnx.TypeProto) -> Callable[[onnx.ModelProto], object]:
    return lambda model: getattr(model.graph, side).append(helper.make_value_info("v", kind))


def sparse(model: onnx.ModelProto) -> None:
    values, indices = helper.make_tensor("s", 1, [1], [1.0]), helper.make_tensor("i", 7, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3]))


def function(model: onnx.ModelProto) -> None:
    model.functions.add(name="f", domain="mine")


REFUSED: list[tuple[Any, Callable[[onnx.ModelProto], object] | None, str]] = [
    # nodes, a change of the model, what the message holds
    ([N("If", ["x"], ["y"], then_branch=inside("a"), else_branch=inside("b"))], None, "got: If; fix: .*control flow"),
    ([N("Loop", ["", "x"], ["y"], body=inside("a"))], None, "got: Loop"),
    ([N("Scan", ["x"], ["y"], body=inside("a"), num_scan_inputs=1)], None, "got: Scan"),
    ([N("Relu", ["x"], ["y"], body=inside("a"))], None, "attribute 'body'; expected: .*; got: a graph"),
    ([N("SequenceConstruct", ["x"], ["y"])], None, "got: SequenceConstruct"),
    ([N("SplitToSequence", ["x"], ["y"])], None, "got: SplitToSequence"),
    ([N("Optional", ["x"], ["y"])], None, "got: Optional"),
    ([N("StringNormalizer", ["x"], ["y"])], None, "got: StringNormalizer"),
    ([N("ImageDecoder", ["x"], ["y"])], None, "got: ImageDecoder"),
    ([N("Normalizer", ["x"], ["y"], domain="ai.onnx.ml")], None, "ai.onnx.ml.Normalizer; .*domain 'ai.onnx.ml'"),
    ([N("Conv", ["x"], ["y"], domain="com.microsoft.nchwc")], None, "com.microsoft.nchwc.Conv"),
    ([N("FusedConv", ["x"], ["y"], domain="com.microsoft")], None, "com.microsoft.FusedConv; expected: ONNX's own"),
    ([N("EPContext", ["x"], ["y"], domain="com.microsoft")], None, "com.microsoft.EPContext"),
    ([N("f", ["x"], ["y"], domain="mine")], None, "mine.f"),
    ([RELU], function, "got: functions; fix: inline"),
    ([RELU], lambda model: model.training_info.add(), "got: training_info"),
    ([RELU], sparse, "got: sparse initializers"),
    ([RELU], value("input", helper.make_sequence_type_proto(TENSOR)), "input 'v'; expected: a tensor; got: a sequence"),
    ([RELU], value("output", helper.make_optional_type_proto(TENSOR)), "output 'v'; .*got: an optional"),
    ([RELU], value("value_info", helper.make_map_type_proto(7, TENSOR)), "value 'v'; .*got: a map"),
    ([RELU], value("value_info", helper.make_sparse_tensor_type_proto(1, [1])), "got: a sparse tensor"),
    ([RELU, RELU], None, "value 'y'; expected: made once; got: made twice"),
    ([N("Relu", ["x"], ["y"], name="\x1b[2J")], None, r"a name; expected: printable text; got: '\\x1b\[2J'"),
    ([N("Relu", ["\u202e"], ["y"])], None, r"got: '\\u202e'"),
    ([N("Re\nlu", ["x"], ["y"])], None, r"got: 'Re\\nlu'"),
    ([N("Relu", ["x"], ["y"], **{"\x07": 1})], None, r"got: '\\x07'"),
    ([N("Relu", ["x"], ["y" * 4097])], None, "a name; expected: at most 4096 bytes; got: 4097 bytes"),
]


@pytest.mark.parametrize(("nodes", "change", "message"), REFUSED)
def test_refused(make_model: Any, nodes: Any, change: Any, message: str) -> None:
    content = make_model(nodes, **({"change": change} if change else {}))
    with pytest.raises(ModelError, match=message) as caught:
        check(content)
    assert str(caught.value).startswith("file: ")
    assert str(caught.value).isprintable()


def test_an_attribute_that_is_given_twice(make_model: Any) -> None:
    node = N("Softmax", ["x"], ["y"], axis=1)
    node.attribute.append(helper.make_attribute("axis", 2))
    with pytest.raises(ModelError, match="Softmax: attribute 'axis'; expected: each attribute once"):
        check(make_model([node]))


def test_names_that_are_no_utf8(make_model: Any) -> None:
    content = make_model([N("Relu", ["x"], ["y"], name="name?")]).replace(b"name?", b"name\xff")
    with pytest.raises(ModelError, match=r"got: 'name\\xff'"):
        check(content)
    assert shown(b"\xff" * 10_000).count("xff") == 4096


def test_what_is_allowed(make_model: Any, real_models: dict[str, bytes]) -> None:
    kept = [
        N("Relu", ["x"], ["größe/层.1:0"], name="name with space", domain="ai.onnx"),
        N("ReverseSequence", ["größe/层.1:0", "x"], ["y"]),
        *(N(name, ["x"], [name], domain="com.microsoft") for name in sorted(FROM_MICROSOFT)),
    ]

    def imported(model: onnx.ModelProto) -> None:
        model.opset_import.append(helper.make_opsetid("com.microsoft.nchwc", 1))  # as ONNX Runtime's tools leave it
        model.doc_string = "line\nline"
        model.metadata_props.add(key="k", value="\x1b[2J")

    check(make_model(kept, change=imported))
    for content in real_models.values():
        check(content)


@pytest.mark.parametrize(
    ("name", "kind"), [("MOST_NODES", "nodes"), ("MOST_TENSORS", "initializers"), ("MOST_VALUES", "described values")]
)
def test_counts(make_model: Any, monkeypatch: pytest.MonkeyPatch, name: str, kind: str) -> None:
    chain = [N("Add", ["x" if k == 0 else f"v{k - 1}", f"w{k}"], [f"v{k}"]) for k in range(3)]
    content = make_model(chain, {f"w{k}": 1.0 for k in range(3)}, outputs=("v0", "v2"))
    monkeypatch.setattr(contents, name, 3)
    check(content)
    monkeypatch.setattr(contents, name, 2)
    with pytest.raises(ModelError, match=f"too many {kind}; expected: at most 2; got: 3"):
        check(content)


def test_the_list_has_what_onnx_runtimes_quantizer_writes() -> None:
    """Of its registry of quantized operators, the ones that it puts into com.microsoft."""
    from onnxruntime.quantization.registry import QLinearOpsRegistry

    written = {
        f"QLinear{name}"
        for name in (
            "Add",
            "Mul",
            "LeakyRelu",
            "Sigmoid",
            "AveragePool",
            "Concat",
            "Softmax",
            "Where",
            "GlobalAveragePool",
        )
    }
    assert {name.removeprefix("QLinear") for name in written} <= set(QLinearOpsRegistry)
    assert written <= FROM_MICROSOFT
    known = {
        schema.name
        for schema in onnxruntime.capi.onnxruntime_pybind11_state.get_all_operator_schema()
        if schema.domain == "com.microsoft"
    }
    assert known >= FROM_MICROSOFT
