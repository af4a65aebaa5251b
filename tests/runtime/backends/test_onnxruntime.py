from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from hardtemper.runtime.backends.onnxruntime import OnnxRuntimeBackend
from hardtemper.runtime.backends.protocol import Backend
from hardtemper.runtime.engine import open_onnx
from hardtemper.runtime.errors import ModelError
from hardtemper.runtime.files.onnx_file import OnnxFile


def write(path: Path, nodes: list[Any], inputs: list[tuple[str, int, list[Any]]], outputs: list[Any]) -> Path:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(*item) for item in inputs],
        [helper.make_tensor_value_info(*item) for item in outputs],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


FLATTEN = helper.make_node("Flatten", ["x"], ["y"])
IMAGE = ("x", TensorProto.FLOAT, ["N", 1, 2, 2])
LOGITS = ("y", TensorProto.FLOAT, ["N", 4])


def test_what_it_says_of_a_model(classifier: Any) -> None:
    backend: Backend = OnnxRuntimeBackend(OnnxFile(path=Path("model.onnx"), content=classifier.onnx(batch=2)))
    assert (backend.name, backend.input_dtype, backend.input_shape) == ("onnxruntime", "uint8", (1, 8, 8))
    assert (backend.batch, backend.classes) == (2, 10)


def test_optimization_does_not_change_the_logits(classifier: Any) -> None:
    # With the defaults of ONNX Runtime 1.31 it does: MatMulNBits quantizes the float activations of the Gemm.
    graph = OnnxFile(path=Path("model.onnx"), content=classifier.onnx())
    images = np.random.default_rng(4).integers(0, 256, (5, 1, 8, 8), np.uint8)
    for optimize in (True, False):
        logits = OnnxRuntimeBackend(graph, threads=2, optimize=optimize).run(images)
        np.testing.assert_array_equal(logits, classifier.logits(images))


@pytest.mark.parametrize("batch", ["N", 3])
@pytest.mark.parametrize("logits", [None, ("N", "K"), (None, None)])
def test_classes_are_counted_where_the_file_does_not_say(
    tmp_path: Path, classifier: Any, batch: int | str, logits: Any
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(classifier.onnx(batch=batch, logits=logits))
    assert len(open_onnx(path).labels) == 10


@pytest.mark.parametrize("kind", [TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_other_float_outputs_become_float32(tmp_path: Path, kind: int) -> None:
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("Cast", ["flat"], ["y"], to=kind)]
    engine = open_onnx(write(tmp_path / "model.onnx", nodes, [IMAGE], [("y", kind, ["N", 4])]))
    assert engine(np.full((1, 1, 2, 2), 255, np.uint8)).dtype == np.float32


REFUSED = [
    # nodes, inputs, outputs, what the message holds
    ([FLATTEN], [("x", TensorProto.FLOAT, ["N", 1, "H", "W"])], [("y", TensorProto.FLOAT, ["N", "K"])], "fixed C, H"),
    ([FLATTEN], [("x", TensorProto.FLOAT, ["N", 4])], [LOGITS], r"\[N, C, H, W\]"),
    ([FLATTEN], [("x", TensorProto.INT64, ["N", 1, 2, 2])], [("y", TensorProto.INT64, ["N", 4])], "uint8"),
    (
        [helper.make_node("Cast", ["x"], ["z"], to=TensorProto.INT64), helper.make_node("Flatten", ["z"], ["y"])],
        [IMAGE],
        [("y", TensorProto.INT64, ["N", 4])],
        "float logits",
    ),
    (
        [helper.make_node("Add", ["x", "x2"], ["z"]), helper.make_node("Flatten", ["z"], ["y"])],
        [IMAGE, ("x2", TensorProto.FLOAT, ["N", 1, 2, 2])],
        [LOGITS],
        "one input; got: x float .*, x2 float",
    ),
    (
        [FLATTEN, helper.make_node("Relu", ["y"], ["z"])],
        [IMAGE],
        [LOGITS, ("z", TensorProto.FLOAT, ["N", 4])],
        "one output; got: y float .*, z float",
    ),
    ([helper.make_node("Relu", ["x"], ["y"])], [IMAGE], [("y", TensorProto.FLOAT, ["N", 1, 2, 2])], "K. logits"),
    ([helper.make_node("Flatten", ["nowhere"], ["y"])], [IMAGE], [LOGITS], "cannot load"),
    ([helper.make_node("NoSuchOperator", ["x"], ["y"])], [IMAGE], [LOGITS], "cannot load"),
]


@pytest.mark.parametrize(("nodes", "inputs", "outputs", "message"), REFUSED)
def test_what_is_no_image_classifier(
    tmp_path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], message: str
) -> None:
    path = write(tmp_path / "model.onnx", nodes, inputs, outputs)
    with pytest.raises(ModelError, match=message) as caught:
        open_onnx(path)
    assert str(path) in str(caught.value)


def test_damaged_files(tmp_path: Path, classifier: Any) -> None:
    whole = classifier.onnx()
    path = tmp_path / "model.onnx"
    for damaged in (b"", b"\0", b"not ONNX", whole[: len(whole) // 2], whole[:-1], whole[1:], whole[::-1]):
        path.write_bytes(damaged)
        with pytest.raises(ModelError) as caught:
            open_onnx(path)
        assert caught.value.__suppress_context__
        assert caught.value.__cause__ is None
        assert str(path) in caught.value.what


@pytest.mark.parametrize("name", ["a" * 300, "x" * 5000, "a\0b"], ids=len)
def test_a_name_that_no_file_has(name: str) -> None:
    with pytest.raises(ModelError, match="no such model") as caught:
        open_onnx(name)
    assert caught.value.got == "nothing"


@pytest.mark.parametrize(("operator", "black", "white"), [("Add", 2, 3), ("Sub", 2, 1)])
def test_a_graph_whose_classes_depend_on_the_image(tmp_path: Path, operator: str, black: int, white: int) -> None:
    nodes = [
        FLATTEN,
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["one"], to=TensorProto.INT64),
        helper.make_node("Constant", [], ["two"], value_ints=[2]),
        helper.make_node(operator, ["two", "one"], ["k"]),
        helper.make_node("Constant", [], ["zero"], value_ints=[0]),
        helper.make_node("Constant", [], ["axis"], value_ints=[1]),
        helper.make_node("Slice", ["y", "zero", "k", "axis"], ["logits"]),
    ]
    path = write(tmp_path / "model.onnx", nodes, [IMAGE], [("logits", TensorProto.FLOAT, ["N", "K"])])
    engine = open_onnx(path)
    assert engine(np.zeros((3, 1, 2, 2), np.uint8)).shape == (3, black)
    with pytest.raises(ModelError, match=rf"expected: \[3, {black}\] logits; got: \[3, {white}\]"):
        engine(np.full((3, 1, 2, 2), 255, np.uint8))


@pytest.mark.parametrize(("make", "got"), [(lambda path: None, "nothing"), (Path.mkdir, "a folder")])
def test_no_file(tmp_path: Path, make: Any, got: str) -> None:
    make(tmp_path / "model.onnx")
    with pytest.raises(ModelError) as caught:
        open_onnx(tmp_path / "model.onnx")
    assert caught.value.got == got


def test_a_graph_that_fails_while_it_runs(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["shape"], value_ints=[-1, 3]),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
    ]
    path = write(tmp_path / "model.onnx", nodes, [IMAGE], [("y", TensorProto.FLOAT, ["M", 3])])
    engine = open_onnx(path)
    with pytest.raises(ModelError, match="cannot run the graph"):
        engine(np.zeros((1, 1, 2, 2), np.uint8))
    with pytest.raises(ModelError, match=r"expected: \[3, 3\] logits; got: \[4, 3\]"):
        engine(np.zeros((3, 1, 2, 2), np.uint8))


NAMES = [
    # a node's name that acts on a terminal, where the graph is refused when it is opened, and when it runs
    [helper.make_node("NoSuchOperator", ["x"], ["y"], name="\x1b[31mred\x07")],
    [helper.make_node("Reshape", ["x", "odd"], ["y"], name="\x1b[31mred\x07")],
    [helper.make_node("Gather", ["x", "far"], ["y"], name="plain")],
    [helper.make_node("Reshape", ["x", "odd"], ["y"], name="plain")],
]


@pytest.mark.parametrize("nodes", NAMES, ids=lambda nodes: f"{nodes[0].op_type} {nodes[0].name!r}")
def test_onnx_runtime_prints_nothing_by_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str], nodes: Any) -> None:
    constants = [
        helper.make_node("Constant", [], ["odd"], value_ints=[3, 5]),
        helper.make_node("Constant", [], ["far"], value_int=100),
    ]
    path = write(tmp_path / "model.onnx", [*constants, *nodes], [IMAGE], [("y", TensorProto.FLOAT, ["N", 4])])
    with pytest.raises(ModelError) as caught:
        open_onnx(path)(np.zeros((1, 1, 2, 2), np.uint8))
    assert str(caught.value).isprintable()
    assert capfd.readouterr() == ("", "")


def test_bytes_that_claim_another_format(tmp_path: Path, classifier: Any) -> None:
    """ONNX Runtime takes bytes with ORTM in places 4 to 7 for its own format, which nobody has checked here."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x92\x01\x06xORTMy" + classifier.onnx())  # in a field that protobuf does not know
    assert path.read_bytes()[4:8] == b"ORTM"
    images = np.random.default_rng(5).integers(0, 256, (2, 1, 8, 8), np.uint8)
    np.testing.assert_array_equal(open_onnx(path)(images), classifier.logits(images))


def test_what_ends_the_process_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["least"], value_ints=[-(2**63)]),
        helper.make_node("Constant", [], ["minus"], value_ints=[-1]),
        helper.make_node("Div", ["least", "minus"], ["z"]),
        helper.make_node("Cast", ["z"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Add", ["flat", "f"], ["y"]),
    ]
    with pytest.raises(ModelError, match=r"Div of INT64 to 'z'; expected: a constant divisor without 0 and -1"):
        open_onnx(write(tmp_path / "model.onnx", nodes, [IMAGE], [LOGITS]))


def test_operators_of_no_known_size_are_tried_first(tmp_path: Path) -> None:
    nodes = [helper.make_node("LRN", ["x"], ["z"], size=1), helper.make_node("Flatten", ["z"], ["y"])]
    engine = open_onnx(write(tmp_path / "good.onnx", nodes, [IMAGE], [LOGITS]))
    assert engine(np.zeros((3, 1, 2, 2), np.uint8)).shape == (3, 4)
    huge = [
        helper.make_node("Constant", [], ["times"], value_ints=[1, 1, 2**14, 2**13]),
        helper.make_node("Tile", ["x", "times"], ["z"]),
        helper.make_node("GlobalAveragePool", ["z"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    with pytest.raises(ModelError, match="tried in a process of its own for its Tile"):
        open_onnx(write(tmp_path / "huge.onnx", huge, [IMAGE], [("y", TensorProto.FLOAT, ["N", 1])]))


@pytest.mark.parametrize("logits", [("N", 1_000_001), ("N", 2**31), ("N", "K")])
def test_more_classes_than_there_are(tmp_path: Path, logits: Any) -> None:
    nodes = [
        helper.make_node("Constant", [], ["axes"], value_ints=[1, 2, 3]),
        helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=0),
        helper.make_node("Constant", [], ["column"], value_ints=[-1, 1]),
        helper.make_node("Reshape", ["sum", "column"], ["first"]),
        helper.make_node("Constant", [], ["shape"], value_ints=[1, 1_000_001]),
        helper.make_node("Expand", ["first", "shape"], ["y"]),
    ]
    path = write(tmp_path / "model.onnx", nodes, [IMAGE], [("y", TensorProto.FLOAT, logits)])
    with pytest.raises(ModelError, match=r"expected: at most 1000000 classes|ONNX Runtime cannot load"):
        open_onnx(path)
