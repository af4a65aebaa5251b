from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from hardtemper.export.twin.graph import image_input, read_names, read_nodes, refuse_unknown
from hardtemper.export.twin.graph_constants import read_constants
from hardtemper.export.twin.nodes import ELEMENT_TYPE, RESULT_TYPE
from hardtemper.runtime.errors import ModelError, UnsupportedOperatorError

Build = Callable[..., onnx.ModelProto]
MAP = "float[N,3,8,8]"


@pytest.mark.parametrize(("kind", "pixels"), [("uint8[N,3,8,8]", True), ("float[2,3,8,8]", False)])
def test_the_image(build: Build, kind: str, pixels: bool) -> None:
    found = image_input(build("y = Identity(x)", inputs={"x": kind}, outputs={"y": kind}).graph)
    assert tuple(found) == ("x", pixels, (3, 8, 8), 0 if pixels else 2)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": MAP, "z": MAP}, "2 inputs"),
        ({"x": "float[N,3,H,8]"}, r"shape \[0, 3, 0, 8\]"),
        ({"x": "int64[N,3,8,8]"}, "INT64"),
    ],
)
def test_other_inputs_are_refused(build: Build, inputs: dict[str, str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        image_input(build("y = Identity(x)", inputs=inputs, outputs={"y": inputs["x"]}).graph)


def test_constants_stand_apart_from_nodes(build: Build) -> None:
    text = "k = Constant<value_float=2.0>() t = Mul(x, k) y = Add(t, b)"
    model = build(text, inputs={"x": MAP}, outputs={"y": MAP}, constants={"b": np.float32(1)})
    names = read_names(model.graph)
    assert names == {"x", "k", "t", "b", "y"}
    constants = read_constants(model.graph, names)
    assert [node.op_type for node in read_nodes(model, constants)] == ["Mul", "Add"]


def test_what_the_first_output_is_not_made_of_is_left_out(build: Build) -> None:
    model = build("t = Det(x) y = Neg(x) z = Add(t, k)", inputs={"x": MAP}, outputs={"y": MAP, "z": "float[N,3]"},
                  constants={"k": np.float32(1)})  # fmt: skip
    refuse_unknown(model)
    assert [node.op_type for node in read_nodes(model, {})] == ["Neg"]
    assert read_names(model.graph) == {"x", "y"}


def test_all_unknown_operators_are_listed(build: Build) -> None:
    model = build("t = Tan(x) u = Atan(t) y = Tan(u)", inputs={"x": MAP}, outputs={"y": MAP})
    with pytest.raises(UnsupportedOperatorError) as caught:
        refuse_unknown(model)
    assert caught.value.got == "Atan (atan_1), Tan (tan_0, tan_2)"


def test_operators_newer_than_onnx_are_refused(build: Build) -> None:
    model = build("y = Neg(x)", inputs={"x": MAP}, outputs={"y": MAP})
    model.opset_import[0].version = 1000
    with pytest.raises(ModelError, match="opset 1000"):
        refuse_unknown(model)


def test_a_node_says_its_types_and_its_name(build: Build) -> None:
    model = build("t = Cast<to=7>(x) y = Div(t, t)", inputs={"x": MAP}, outputs={"y": "int64[N,3,8,8]"})
    cast, divide = read_nodes(model, {})
    assert [cast.attributes[ELEMENT_TYPE], cast.attributes[RESULT_TYPE]] == [1, 7]
    assert divide.attributes[ELEMENT_TYPE] == 7
    assert divide.label == "Div (node 'div_1')"
