"""Sizes and what is made from them, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hardtemper.export.twin.operators import creation

CASES: list[tuple[Any, ...]] = [  # text, dimensions of y, constants, opset
    ("s = Shape(x) y = Cast<to=1>(s)", "4"),
    ("s = Shape<start=1, end=3>(x) y = Cast<to=1>(s)", "2"),
    ("s = Shape<start=-3, end=-1>(x) y = Cast<to=1>(s)", "2"),
    ("s = Shape<start=-9, end=9>(x) y = Cast<to=1>(s)", "4"),
    ("s = Shape<start=3, end=1>(x) y = Cast<to=1>(s)", "0"),
    ("s = Size(x) f = Cast<to=1>(s) y = Reshape(f, k)", "1", {"k": np.array([1])}),
    ("s = Shape(x) c = ConstantOfShape(s) y = Add(x, c)", "N,4,6,6"),
    ("s = Shape(x) c = ConstantOfShape<value = float[1] {2.5}>(s) y = Add(x, c)", "N,4,6,6"),
    ("s = Shape(x) c = ConstantOfShape<value = int64[1] {7}>(s) y = Cast<to=1>(c)", "N,4,6,6"),
    ("s = ConstantOfShape<value = int64[1] {-1}>(k) m = Mul(s, j) y = Reshape(x, m)", "M", {"k": np.array([1]),
     "j": np.array([1])}),
    ("c = ConstantOfShape(k) y = Add(x, c)", "N,4,6,6", {"k": np.zeros(0, np.int64)}),
    ("r = Range(a, b, c) y = Cast<to=1>(r)", "4", {"a": np.array(2), "b": np.array(-5), "c": np.array(-2)}),
    ("r = Range(a, b, c) y = Cast<to=1>(r)", "0", {"a": np.array(2), "b": np.array(5), "c": np.array(-2)}),
    ("y = Range(a, b, c)", "4", {"a": np.float32(0.5), "b": np.float32(2.2), "c": np.float32(0.5)}),
    ("s = Shape(x) n = Gather<axis=0>(s, one) r = Range(nil, n, one) y = Gather<axis=1>(x, r)", "N,L,6,6",
     {"one": np.array(1), "nil": np.array(0)}),
    ("s = Shape(x) n = Gather<axis=0>(s, two) d = Div(n, k) e = Mul(d, k) f = Cast<to=1>(e) y = Reshape(f, one)", "1",
     {"two": np.array(2), "k": np.array(4), "one": np.array([1])}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_equals_onnxruntime(case: tuple[Any, ...], equals_onnxruntime: Callable[..., None]) -> None:
    equals_onnxruntime(*case, exact=True)


def test_every_operator_of_the_module_is_tested(untested: Callable[..., set[str]]) -> None:
    assert untested(CASES, creation) == set()
