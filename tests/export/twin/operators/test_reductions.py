"""Reductions against ONNX Runtime: axes as input and as attribute, of real numbers and of integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hardtemper.export.twin.operators import reductions
from hardtemper.export.twin.operators.reductions import l2


def _ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


_ALL = ("L1", "L2", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")

CASES: list[tuple[Any, ...]] = [  # text, dimensions of y, constants, opset
    *((f"y = Reduce{name}(x, k)", "N,1,6,1", {"k": _ints(1, 3)}) for name in _ALL),
    *((f"y = Reduce{name}<keepdims=0>(x, k)", "N,4", {"k": _ints(-2, -1)}) for name in _ALL),
    *((f"y = Reduce{name}<axes=[-1,2], keepdims=0>(x)", "N,4", {}, 11) for name in _ALL),
    *((f"y = Reduce{name}(x)", "1,1,1,1") for name in _ALL if name != "Prod"),
    ("a = Abs(x) y = ReduceLogSum(a, k)", "N,4,1,6", {"k": _ints(2)}),
    ("y = ReduceSum<noop_with_empty_axes=1>(x)", "N,4,6,6"),
    ("y = ReduceSum<noop_with_empty_axes=1>(x, k)", "N,4,6,6", {"k": _ints()}),
    ("y = ReduceMean<noop_with_empty_axes=1>(x)", "N,4,6,6"),
    ("y = ReduceMax<keepdims=0, noop_with_empty_axes=0>(x, k)", "N,4,6", {"k": _ints(3)}),
]

_ROUGH = "m = Mul(x, large) i = Cast<to={}>(m)"
INTEGERS = [
    (f"{_ROUGH.format(kind)} j = {operator}(i, k) y = Cast<to=1>(j)", "N,4,1,1", {"large": np.float32(5), "k": axes})
    for kind in (6, 7)
    for operator in ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum")
    for axes in (_ints(2, 3),)
    if (kind, operator) != (7, "ReduceMean")  # ONNX Runtime has none
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} opset {case[3] if case[3:] else 20}")
def test_equals_onnxruntime(case: tuple[Any, ...], equals_onnxruntime: Callable[..., None]) -> None:
    equals_onnxruntime(*case)


@pytest.mark.parametrize("case", INTEGERS, ids=lambda case: case[0])
def test_integers_are_onnxs(case: tuple[Any, ...], equals_onnxruntime: Callable[..., None]) -> None:
    equals_onnxruntime(*case, exact=True)


def test_every_operator_of_the_module_is_tested(untested: Callable[..., set[str]]) -> None:
    assert untested(CASES, reductions) == set()


def test_the_norm_of_nothing_has_a_gradient() -> None:
    x = torch.zeros(2, 3, requires_grad=True)
    assert torch.autograd.grad(l2(x, (1,), keepdim=True).sum(), x)[0].tolist() == [[0, 0, 0]] * 2
