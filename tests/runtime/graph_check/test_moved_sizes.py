"""Operators that move values about, with any axes and sizes, against ONNX Runtime."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

N = helper.make_node
small = st.integers(-3, 4)
few = st.lists(small, max_size=3)

# fmt: off
MOVES = [
    "Concat",
    "Expand",
    "Flatten",
    "Gather",
    "Pad",
    "ReduceSum",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
]


@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_moves(sizes_agree: Any, data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    operator = data.draw(st.sampled_from(MOVES))
    constants = {f"c{place}": np.array(data.draw(few), np.int64) for place in range(4)}
    axis = data.draw(small)
    inputs = {"Slice": 4, "Split": 1, "Transpose": 0, "Flatten": 0, "Concat": 0}.get(operator, 1)
    named = {"Split": ("axis",), "Gather": ("axis",), "Flatten": ("axis",), "Concat": ("axis",)}.get(operator, ())
    attributes: dict[str, Any] = dict.fromkeys(named, axis)
    if operator == "Transpose":
        attributes["perm"] = data.draw(st.permutations(range(len(shape)))) if data.draw(st.booleans()) else [0, axis]
    if operator == "Concat":
        inputs, constants = 1, {"c0": np.zeros(shape, np.float32)}
    outputs = ["y", "z"][: data.draw(st.integers(1, 2))] if operator == "Split" else ["y"]
    used = {f"c{place}": constants[f"c{place}"] for place in range(inputs)}
    assert sizes_agree(N(operator, ["x", *used], outputs, **attributes), shape, used)


def test_ordinary_moves_are_told(sizes_agree: Any) -> None:
    for node, constant in (
        (N("Reshape", ["x", "c"], ["y"]), [0, -1, 2]),
        (N("Slice", ["x", "c", "c2"], ["y"]), [1]),
        (N("Pad", ["x", "c"], ["y"]), [0, 1, 0, 0, 1, 0]),
        (N("ReduceSum", ["x", "c"], ["y"], keepdims=0), [1, -1]),
        (N("Unsqueeze", ["x", "c"], ["y"]), [0, -1]),
        (N("Split", ["x", "c"], ["y", "z"], axis=1), [1, 2]),
    ):
        constants = {"c": np.array(constant), "c2": np.array([2**63 - 1])}
        used = {name: value for name, value in constants.items() if name in node.input}
        assert sizes_agree(node, (2, 3, 4), used, told=True)


def test_slices_in_every_direction(sizes_agree: Any) -> None:
    """Starts and ends on both sides of the tensor; ONNX clamps a start before it, Python does not."""
    for size, start, end, step in itertools.product((1, 3), range(-5, 6), range(-5, 6), (-2, -1, 1, 2)):
        numbers = {"c0": [start], "c1": [end], "c2": [0], "c3": [step]}
        constants = {name: np.array(values, np.int64) for name, values in numbers.items()}
        assert sizes_agree(N("Slice", ["x", *constants], ["y"]), [size], constants), (size, start, end, step)
