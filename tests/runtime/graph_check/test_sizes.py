"""Sizes that are told are those that the package onnx infers, and the memory of a graph is bounded by them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from hardtemper.runtime.errors import ModelError
from hardtemper.runtime.graph_check.limits import MOST_ALIVE, MOST_ELEMENTS, MOST_IMAGE_ELEMENTS
from hardtemper.runtime.graph_check.onnx_model import read_model
from hardtemper.runtime.graph_check.sizes import Sizes, check_sizes
from hardtemper.runtime.graph_check.wire import Wire

N = helper.make_node


def sizes(content: bytes) -> Sizes:
    wire = Wire(content, most=1_000_000)
    return check_sizes(wire, read_model(wire), what="file")


def inferred(content: bytes) -> dict[bytes, tuple[int, ...]]:
    """What onnx infers with a batch of one."""
    model = onnx.load_from_string(content)
    for value in model.graph.input:
        if not value.type.tensor_type.shape.dim[0].HasField("dim_value"):
            value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes = {value.name.encode(): value.type.tensor_type.shape.dim for value in [*graph.value_info, *graph.output]}
    return {
        name: tuple(size.dim_value for size in sizes)
        for name, sizes in shapes.items()
        if all(size.HasField("dim_value") for size in sizes)
    }


def test_whole_networks(real_models: dict[str, bytes]) -> None:
    told = 0
    for content in real_models.values():
        found, untold = sizes(content)
        assert set(untold) <= {"LRN"}
        expected = inferred(content)
        told += len(found.keys() & expected.keys())
        assert {name: shape for name, shape in found.items() if expected.get(name, shape) != shape} == {}
    assert told > 1500


def test_a_bundles_graph(classifier: Any) -> None:
    for content in (classifier.onnx(), classifier.onnx(dtype="float32", batch=3)):
        found, untold = sizes(content)
        assert untold == ()
        assert {name: found[name] for name in inferred(content)} == inferred(content)


BIG = np.zeros((40_000, 1), np.float32)
TOO_LARGE = [
    [N("Add", ["big", "flat"], ["y"])],
    [N("MatMul", ["big", "flat"], ["y"])],
    [N("Gemm", ["big", "flat"], ["y"])],
    [N("Concat", ["x", "x"], ["v0"], axis=1), *(N("Concat", [f"v{k}"] * 2, [f"v{k + 1}"], axis=1) for k in range(40))],
    [N("Pad", ["x", "pads"], ["y"])],
    [N("Expand", ["x", "huge"], ["y"])],
    [N("ConstantOfShape", ["huge"], ["y"])],
    [N("Conv", ["x", "kernel"], ["y"], pads=[20_000] * 4)],
    [N("MaxPool", ["x"], ["y"], kernel_shape=[20_000] * 2, pads=[19_999] * 4)],
    [N("Gather", ["big", "indices"], ["y"]), N("Mul", ["y", "flat"], ["z"])],
    [N("Unsqueeze", ["big", "two"], ["u"]), N("Add", ["u", "flat"], ["y"])],
]


@pytest.mark.parametrize("nodes", TOO_LARGE, ids=lambda nodes: nodes[0].op_type)
def test_a_tensor_that_is_too_large(make_model: Any, nodes: Any) -> None:
    constants = {
        "big": BIG,
        "flat": BIG.T,
        "pads": np.array([0, 0, 0, 0, 0, 0, 2**15, 2**15]),
        "huge": np.array([2**31, 1, 1, 1]),
        "kernel": np.zeros((1, 1, 1, 1), np.float32),
        "indices": np.zeros(40_000, np.int64),
        "two": np.array([2]),
    }
    with pytest.raises(ModelError, match=rf"value '.*' is too large; expected: at most {MOST_ELEMENTS} elements"):
        sizes(make_model(nodes, constants))


MANY_AXES = [
    [N("Gather", ["i", "i"], ["v0"]), *(N("Gather", [f"v{k}"] * 2, [f"v{k + 1}"]) for k in range(40))],
    [N("Unsqueeze", ["x", "axes"], ["y"])],
]


@pytest.mark.parametrize("nodes", MANY_AXES, ids=lambda nodes: nodes[0].op_type)
def test_too_many_dimensions(make_model: Any, nodes: Any) -> None:
    constants = {"i": np.zeros((1, 1), np.int64), "axes": np.arange(61)}
    with pytest.raises(ModelError, match=r"value '.*' is too large; expected: at most 64 dimensions; got: 6[56]$"):
        sizes(make_model(nodes, constants))


def test_a_size_of_zero_hides_no_other(make_model: Any) -> None:
    shape = np.array([0, 2**62, 2**62])
    with pytest.raises(ModelError, match="is too large"):
        sizes(make_model([N("ConstantOfShape", ["s"], ["y"])], {"s": shape}))
    assert sizes(make_model([N("ConstantOfShape", ["s"], ["y"])], {"s": np.array([0, 5])})).shapes[b"y"] == (0, 5)


def test_a_reshape_to_very_many_dimensions_is_not_multiplied_out(make_model: Any) -> None:
    node = N("Reshape", ["x"], ["y"], shape=[2**62] * 300_000)
    assert sizes(make_model([node], opset=1)).untold == ("Reshape",)


def test_tensors_that_are_too_large_together(make_model: Any) -> None:
    sized = {"s": np.array([2**14, 2**13])}
    filled = [N("ConstantOfShape", ["s"], [f"v{k}"]) for k in range(100)]
    with pytest.raises(ModelError, match=rf"file: its tensors are too large together; expected: at most {MOST_ALIVE}"):
        sizes(make_model([*filled, N("Relu", ["x"], ["y"])], sized))
    assert sizes(make_model([filled[0], N("Add", ["x", "v0"], ["y"])], sized | {"s": np.array([1, 4])})).untold == ()


@pytest.mark.parametrize(
    "shape", [(2**31, 1, 4, 4), ("N", 3, 2**20, 2**20), (2**62, 2**62, 1, 1), (2**27 + 1, 1, 1, 1)]
)
def test_an_image_or_a_fixed_batch_that_is_too_large(make_model: Any, shape: tuple[Any, ...]) -> None:
    content = make_model([N("Relu", ["x"], ["y"])], x=(TensorProto.FLOAT, shape))
    with pytest.raises(ModelError, match=f"value 'x' is too large; expected: at most {MOST_IMAGE_ELEMENTS} elements"):
        sizes(content)


UNTOLD = [
    ([N("NoSuchOperator", ["x"], ["y"]), N("Relu", ["y"], ["z"])], ("NoSuchOperator",)),
    ([N("Shape", ["x"], ["s"]), N("Expand", ["x", "s"], ["y"]), N("Relu", ["y"], ["z"])], ("Expand",)),
    ([N("Relu", ["later"], ["y"]), N("Relu", ["x"], ["later"])], ("Relu",)),
    ([N("Relu", ["nowhere"], ["y"])], ("Relu",)),
    ([N("Cast", ["x"], ["y"], to=8)], ("Cast",)),
    ([N("Relu", ["x"], ["y", "z"])], ("Relu",)),
    ([N("", ["x"], ["y"]), N("Relu", ["y"], ["z"])], ("",)),
    ([N("Constant", [], ["y"], value_string="text"), N("Relu", ["y"], ["z"])], ("Constant",)),
    ([N("Constant", [], ["s"], value_ints=[16]), N("Reshape", ["x", "s"], ["y"])], ()),
    ([N("Constant", [], ["s"], value_int=1), N("Gather", ["x", "s"], ["y"])], ()),
    ([N("Constant", [], ["s"], value_float=1.0), N("Add", ["x", "s"], ["y"])], ()),
    ([N("Clip", ["x", "", "x"], ["y"])], ()),
]


@pytest.mark.parametrize(("nodes", "untold"), UNTOLD, ids=lambda value: str(value)[:20])
def test_what_cannot_be_told_is_named(make_model: Any, nodes: Any, untold: tuple[str, ...]) -> None:
    assert sizes(make_model(nodes)).untold == untold


def test_an_image_of_any_size(make_model: Any) -> None:
    content = make_model([N("Relu", ["x"], ["y"])], x=(TensorProto.FLOAT, ("N", 1, "H", "W")))
    assert sizes(content).untold == ("inputs",)
