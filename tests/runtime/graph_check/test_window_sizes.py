"""Convolutions and pools with any strides, dilations and pads, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

N = helper.make_node


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_windows(sizes_agree: Any, data: st.DataObject) -> None:
    pair = st.lists(st.integers(0, 3), min_size=2, max_size=2)
    chosen = {
        name: data.draw(values)
        for name, values in {
            "strides": pair,
            "dilations": pair,
            "pads": st.lists(st.integers(-1, 3), min_size=4, max_size=4),
            "auto_pad": st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"]),
        }.items()
        if data.draw(st.booleans())
    }
    kernel = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=2))
    shape = (1, 2, data.draw(st.integers(1, 7)), data.draw(st.integers(1, 7)))
    operator = data.draw(st.sampled_from(["Conv", "MaxPool", "AveragePool"]))
    if operator == "Conv":
        node = N("Conv", ["x", "w"], ["y"], **chosen)
        assert sizes_agree(node, shape, {"w": np.zeros((3, 2, *kernel), np.float32)})
        return
    if operator == "MaxPool" and data.draw(st.booleans()):
        chosen["ceil_mode"] = 1
    if operator == "AveragePool":
        chosen.pop("dilations", None)
    assert sizes_agree(N(operator, ["x"], ["y"], kernel_shape=kernel, **chosen), shape)


def test_ordinary_windows_are_told(sizes_agree: Any) -> None:
    weights = {"w": np.zeros((4, 1, 3, 3), np.float32)}
    grouped = N("Conv", ["x", "w"], ["y"], group=2, pads=[1] * 4, strides=[2, 2], dilations=[2, 1])
    assert sizes_agree(grouped, (1, 2, 9, 9), weights, told=True)
    assert sizes_agree(
        N("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), (1, 2, 9, 9), told=True
    )
    assert sizes_agree(N("GlobalAveragePool", ["x"], ["y"]), (1, 2, 9, 9), told=True)


def test_what_can_break_a_kernel_is_not_told(sizes_agree: Any) -> None:
    weights = {"w": np.zeros((4, 2, 3, 3), np.float32)}
    for attributes in ({"strides": [0, 0]}, {"dilations": [0, 1]}, {"group": 0}, {"pads": [-1] * 4}, {"strides": [1]}):
        assert not sizes_agree(N("Conv", ["x", "w"], ["y"], **attributes), (1, 2, 9, 9), weights, told=True)
