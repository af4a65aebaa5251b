"""Each rule against ONNX Runtime: the shape that is told is the shape of what comes out."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import NodeProto, helper

from hardtemper.runtime.graph_check.size_rules import RULES

N = helper.make_node
small = st.integers(-3, 4)
few = st.lists(small, max_size=3)


INTS = {
    name: np.array(values)
    for name, values in {"a1": [1], "a12": [1, 2], "s": [0, -1], "p": [0, 0, 1, 2, 0, 1, 0, 3], "big": [9, 9]}.items()
}
REAL = {
    "w": np.zeros((5, 3, 2, 3), np.float32),
    "m": np.zeros((6, 2), np.float32),
    "b": np.zeros((1, 3, 1, 6), np.float32),
}
# fmt: off
ALONE = [
    "Abs",
    "Ceil",
    "Elu",
    "Erf",
    "Floor",
    "HardSwish",
    "Identity",
    "LogSoftmax",
    "Neg",
    "Relu",
    "Sigmoid",
    "Softmax",
    "Tanh",
]
TOGETHER = ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Equal", "Less", "PRelu"]
# fmt: on
CASES = [
    *(N(name, ["x"], ["y"]) for name in ALONE),
    *(N(name, ["x", "b"], ["y"]) for name in TOGETHER),
    N("Where", ["t", "x", "b"], ["y"]),
    N("Cast", ["x"], ["y"], to=7),
    N("Dropout", ["x"], ["y", "z"]),
    N("Conv", ["x", "w"], ["y"], pads=[1, 0, 2, 1], strides=[2, 1]),
    N("Conv", ["x", "w"], ["y"], auto_pad="SAME_LOWER", strides=[2, 3]),
    N("MaxPool", ["x"], ["y", "z"], kernel_shape=[2, 3], ceil_mode=1, strides=[2, 2]),
    N("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], auto_pad="VALID"),
    N("GlobalAveragePool", ["x"], ["y"]),
    N("GlobalMaxPool", ["x"], ["y"]),
    *(N("Shape", ["x"], ["y"], **part) for part in ({}, {"start": 1}, {"start": -3, "end": -1}, {"end": 9})),
    N("MatMul", ["x", "m"], ["y"]),
    N("Concat", ["x", "x", "x"], ["y"], axis=-3),
    N("ConstantOfShape", ["a12"], ["y"]),
    N("Expand", ["b", "p4"], ["y"]),
    N("Flatten", ["x"], ["y"], axis=-2),
    N("Gather", ["x", "a12"], ["y"], axis=1),
    N("Pad", ["x", "p"], ["y"]),
    N("ReduceMean", ["x"], ["y"], axes=[1, -1], keepdims=0),
    N("ReduceSum", ["x", "a12"], ["y"]),
    N("Reshape", ["x", "s"], ["y"]),
    N("Shape", ["x"], ["y"]),
    N("Slice", ["x", "a1", "big1", "a1"], ["y"]),
    N("Split", ["x", "parts"], ["y", "z"], axis=1),
    N("Squeeze", ["b", "zero"], ["y"]),
    N("Transpose", ["x"], ["y"], perm=[0, 3, 1, 2]),
    N("Transpose", ["x"], ["y"]),
    N("Unsqueeze", ["x", "a12"], ["y"]),
    N("DynamicQuantizeLinear", ["x"], ["y", "z", "v"]),
]  # fmt: skip
CONSTANTS: dict[str, Any] = INTS | REAL
CONSTANTS |= {"t": np.array([True]), "parts": np.array([1, 2]), "zero": np.array([0]), "big1": np.array([99])}
CONSTANTS |= {"p4": np.array([4, 1, 5, 1])}


@pytest.mark.parametrize("node", CASES, ids=lambda node: node.op_type)
def test_ordinary_nodes_are_told(sizes_agree: Any, node: NodeProto) -> None:
    used = {name: value for name, value in CONSTANTS.items() if name in node.input}
    assert sizes_agree(node, (2, 3, 5, 6), used, told=True)


def test_every_operator_of_the_tables_is_onnxs_or_microsofts() -> None:
    schemas = onnxruntime.capi.onnxruntime_pybind11_state.get_all_operator_schema()
    assert set(RULES) <= {schema.name for schema in schemas if schema.domain in ("", "com.microsoft")}


@settings(max_examples=100, deadline=None)
@given(
    a=st.lists(st.sampled_from([1, 2, 3]), max_size=3),
    b=st.lists(st.sampled_from([1, 2, 3]), max_size=3),
    operator=st.sampled_from(["Add", "MatMul", "Gemm", "Max", "Where", "PRelu"]),
)
def test_two_inputs(sizes_agree: Any, a: list[int], b: list[int], operator: str) -> None:
    constants: dict[str, Any] = {"b": np.zeros(b, np.float32)}
    inputs = ["x", "b"]
    if operator == "Where":
        constants["t"] = np.array([True])
        inputs = ["t", *inputs]
    assert sizes_agree(N(operator, inputs, ["y"]), a, constants)
