from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from hardtemper.export.twin.graph import image_input, read_constants, read_nodes
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
    assert {name: float(array) for name, array in read_constants(model.graph).items()} == {"k": 2.0, "b": 1.0}
    assert [node.op_type for node in read_nodes(model)] == ["Mul", "Add"]


def test_all_unknown_operators_are_listed(build: Build) -> None:
    model = build("t = Sin(x) u = Cos(t) y = Sin(u)", inputs={"x": MAP}, outputs={"y": MAP})
    with pytest.raises(UnsupportedOperatorError) as caught:
        read_nodes(model)
    assert caught.value.got.startswith("Cos (")
    assert ", Sin (" in caught.value.got
