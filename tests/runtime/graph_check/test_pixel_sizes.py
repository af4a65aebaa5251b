from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from hardtemper.runtime.errors import ModelError
from hardtemper.runtime.graph_check.onnx_model import read_model
from hardtemper.runtime.graph_check.pixel_sizes import check_pixel_sizes
from hardtemper.runtime.graph_check.wire import Wire

N = helper.make_node
SUM = [N("ReduceMax", ["x"], ["most"], keepdims=0), N("Cast", ["most"], ["n"], to=TensorProto.INT64)]
DRAWN = [N("RandomUniform", [], ["u"], shape=[1], high=1e9), N("Cast", ["u"], ["n"], to=TensorProto.INT64)]
LATER = [N("Identity", ["later"], ["n"]), N("Cast", ["x"], ["later"], to=TensorProto.INT64)]


def check(content: bytes) -> None:
    check_pixel_sizes(read_model(Wire(content, most=1_000_000)), what="file")


@pytest.mark.parametrize("before", [SUM, DRAWN, LATER], ids=["pixels", "drawn", "unsorted"])
@pytest.mark.parametrize(
    ("operator", "inputs"),
    [
        ("ConstantOfShape", ["n"]),
        ("Expand", ["one", "n"]),
        ("Range", ["one", "n", "one"]),
        ("Range", ["one", "one", "n"]),
        ("Tile", ["one", "n"]),
        ("Pad", ["x", "n"]),
        ("Resize", ["x", "", "", "n"]),
        ("Resize", ["x", "", "n"]),
        ("OneHot", ["x", "n", "one"]),
    ],
)
def test_sizes_out_of_pixels(make_model: Any, before: Any, operator: str, inputs: list[str]) -> None:
    with pytest.raises(ModelError, match=f"file: {operator}: size 'n'; .*; got: one that depends on the image"):
        check(make_model([*before, N(operator, inputs, ["y"])], {"one": np.array([1])}))


def test_sizes_out_of_shapes_and_constants(make_model: Any) -> None:
    nodes = [
        N("Shape", ["x"], ["s"]),
        N("Constant", [], ["two"], value_ints=[2]),
        N("Mul", ["s", "two"], ["n"]),
        N("Expand", ["x", "n"], ["e"]),
        N("Size", ["e"], ["size"]),
        N("Range", ["one", "size", "one"], ["r"]),
        N("Pad", ["x", "n", "x"], ["p"]),
        N("OneHot", ["x", "two", "x"], ["o"]),
        N("Resize", ["x", "", "", "s"], ["y"]),
        N("Slice", ["x", "x", "x"], ["never more than there is"]),
    ]
    check(make_model(nodes, {"one": np.array([1])}))


def test_whole_networks(real_models: dict[str, bytes]) -> None:
    for content in real_models.values():
        check(content)
