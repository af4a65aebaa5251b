"""Pools against ONNX Runtime, in one, two and three dimensions; sizes, strides and paddings as they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hardtemper.export.twin.operators import pools
from hardtemper.export.twin.operators.attributes import unknown_setting
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.errors import UnsupportedOperatorError

_LINE = "l = Reshape(x, line)"
_CUBE = "c = Reshape(x, cube)"
_SHAPES = {"line": np.array([0, 4, 36]), "cube": np.array([0, 2, 2, 6, 6])}

CASES: list[tuple[Any, ...]] = [  # text, dimensions of y, constants, opset
    ("y = GlobalMaxPool(x)", "N,4,1,1"),
    ("y = MaxPool<kernel_shape=[2,3], strides=[2,1], pads=[0,1,0,0]>(x)", "N,4,3,5"),
    ("y = MaxPool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(x)", "N,4,3,3"),
    ("y = MaxPool<kernel_shape=[2,2], dilations=[2,2]>(x)", "N,4,4,4"),
    ("y = MaxPool<kernel_shape=[1,1]>(x)", "N,4,6,6"),
    ("y = MaxPool<kernel_shape=[1,1], strides=[2,1]>(x)", "N,4,3,6"),
    ("y = MaxPool<kernel_shape=[2,2], storage_order=1>(x)", "N,4,5,5"),
    ('y = MaxPool<kernel_shape=[2,2], strides=[2,2], auto_pad="SAME_LOWER">(x)', "N,4,3,3"),
    (f"{_LINE} y = MaxPool<kernel_shape=[4], strides=[3], pads=[2,1]>(l)", "N,4,M", _SHAPES),
    (f"{_CUBE} y = MaxPool<kernel_shape=[2,3,3], pads=[0,1,1,0,1,1]>(c)", "N,2,1,6,6", _SHAPES),
    (f"{_LINE} y = GlobalMaxPool(l)", "N,4,1", _SHAPES),
    ("y = AveragePool<kernel_shape=[3,2], strides=[2,1]>(x)", "N,4,2,5"),
    ("y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(x)", "N,4,6,6"),
    ("y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(x)", "N,4,6,6"),
    ("y = AveragePool<kernel_shape=[3,3], pads=[0,0,1,1]>(x)", "N,4,5,5"),
    ("y = AveragePool<kernel_shape=[3,3], pads=[0,0,1,1], count_include_pad=1>(x)", "N,4,5,5"),
    ('y = AveragePool<kernel_shape=[2,2], strides=[2,2], auto_pad="SAME_UPPER">(x)', "N,4,3,3"),
    ("y = AveragePool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(x)", "N,4,3,3"),
    (f"{_LINE} y = AveragePool<kernel_shape=[5], strides=[2], pads=[1,2]>(l)", "N,4,M", _SHAPES),
    (f"{_CUBE} y = AveragePool<kernel_shape=[2,3,3], pads=[1,0,1,1,1,1]>(c)", "N,2,3,5,6", _SHAPES),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_equals_onnxruntime(case: tuple[Any, ...], equals_onnxruntime: Callable[..., None]) -> None:
    equals_onnxruntime(*case)


def test_every_operator_of_the_module_is_tested(untested: Callable[..., set[str]]) -> None:
    assert untested(CASES, pools) == set()


class Drawn(NamedTuple):
    operator: str
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    ceil: bool
    include: bool
    opset: int


_PAIR = st.tuples(st.integers(1, 4), st.integers(1, 4))
DRAWN = st.builds(
    Drawn,
    operator=st.sampled_from(["AveragePool", "MaxPool"]),
    kernel=_PAIR,
    strides=_PAIR,
    pads=st.tuples(*[st.integers(0, 3)] * 4),
    ceil=st.booleans(),
    include=st.booleans(),
    opset=st.sampled_from([11, 13, 18, 22]),
)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(drawn=DRAWN)
def test_any_window_is_onnxruntimes_or_unknown(
    build: Callable[..., onnx.ModelProto], run: Callable[..., Any], drawn: Drawn
) -> None:
    pads = [min(pad, drawn.kernel[i % 2] - 1) for i, pad in enumerate(drawn.pads)]  # ONNX Runtime's limit
    more = f", count_include_pad={int(drawn.include)}" if drawn.operator == "AveragePool" else ""
    text = (
        f"y = {drawn.operator}<kernel_shape={list(drawn.kernel)}, strides={list(drawn.strides)}, pads={pads},"
        f" ceil_mode={int(drawn.ceil)}{more}>(x)"
    )
    model = build(text, inputs={"x": "float[N,2,7,6]"}, outputs={"y": "float[N,2,H,W]"}, opset=drawn.opset)
    x = np.random.default_rng(0).normal(size=(2, 2, 7, 6)).astype(np.float32)
    if unknown_setting(model.graph.node[0], drawn.opset):
        with pytest.raises(UnsupportedOperatorError, match="beyond half the kernel"):
            Twin(model)
        return
    twin = Twin(model)
    with torch.no_grad():
        np.testing.assert_allclose(twin(torch.from_numpy(x)).numpy(), run(model, {"x": x})[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", ["line", "cube"])
def test_on_bytes(shape: str, equals_onnxruntime: Callable[..., None]) -> None:
    text = f"q = QuantizeLinear(x, s, z) b = Reshape(q, {shape}) c = DequantizeLinear(b, s, z)"
    window, out = ("[5], strides=[3], pads=[2,1]", "N,4,M") if shape == "line" else ("[2,3,2]", "N,2,1,4,5")
    constants = {**_SHAPES, "s": np.float32(0.03), "z": np.uint8(130)}
    equals_onnxruntime(f"{text} y = MaxPool<kernel_shape={window}>(c)", out, constants, exact=True)


def test_a_map_of_other_dimensions_than_the_window_is_said(graph: Callable[..., onnx.ModelProto]) -> None:
    model = graph("y = MaxPool<kernel_shape=[2,2]>(x)", "N,4,5,5")
    model.graph.node[0].attribute[0].ints[:] = [2]
    with pytest.raises(UnsupportedOperatorError, match=r"MaxPool \(node 'maxpool_0'\): .*1 dimension"):
        Twin(model)(torch.zeros(1, 4, 6, 6))
