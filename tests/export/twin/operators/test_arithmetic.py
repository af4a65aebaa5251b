"""Arithmetic on two tensors against ONNX Runtime: real numbers, and integers that depend on the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hardtemper.export.twin.operators import arithmetic
from hardtemper.export.twin.operators.arithmetic import divide

_RNG = np.random.default_rng(0)
_POSITIVE = "p = Abs(x) q = Add(p, tenth)"
_TENTH = {"tenth": np.float32(0.1)}


def _some(*shape: int) -> NDArray[np.float32]:
    return _RNG.normal(size=shape).astype(np.float32)


CASES: list[tuple[Any, ...]] = [  # text, dimensions of y, constants, opset
    ("y = Add(x, k)", "N,4,6,6", {"k": _some(4, 1, 1)}),
    ("y = Add(x, x)", "N,4,6,6"),
    ("y = Mul(x, x)", "N,4,6,6"),
    ("y = Div(x, k)", "N,4,6,6", {"k": _some(4, 1, 1)}),
    ("y = Div(k, x)", "N,4,6,6", {"k": np.float32(3)}),
    ("y = Neg(x)", "N,4,6,6"),
    ("y = Sub(x, k)", "N,4,6,6", {"k": _some(6)}),
    (f"{_POSITIVE} y = Pow(q, k)", "N,4,6,6", _TENTH | {"k": np.float32(1.5)}),
    ("y = Pow(x, k)", "N,4,6,6", {"k": np.int64(3)}),
    (f"{_POSITIVE} y = Pow(q, k)", "N,4,6,6", _TENTH | {"k": np.float64(0.5)}),
]  # fmt: skip

_ROUGH = "m = Mul(x, large) i = Cast<to={}>(m)"
_LARGE = {"large": np.float32(37)}

INTEGERS: list[tuple[str, int, NDArray[Any]]] = [  # operators on i and k, the type of both
    ("j = Div(i, k)", 6, np.array([3, -3, 7, -100, 1, -1], np.int32)),
    ("j = Div(i, k)", 7, np.array([3, -3, 7, -100, 1, -1], np.int64)),
    ("j = Div(k, n) l = Add(j, i)", 7, np.array([-7, 7, -8, 8, -1, 1], np.int64)),
    ("a = Abs(i) b = Add(a, k) j = Div(k, b)", 6, np.array([100, 50, 33, 20, 7, 255], np.int32)),
    ("j = Pow(i, k)", 6, np.array([0, 1, 2, 3, 1, 2], np.int32)),
    ("j = Max(i, k)", 7, np.array([0, 10, -10, 50, -50, 3], np.int64)),
    ("j = Min(i, k)", 6, np.array([0, 10, -10, 50, -50, 3], np.int32)),
    ("a = Mul(i, i) b = Sub(a, i) c = Neg(b) j = Div(c, k)", 6, np.array([3, -3, 7, -100, 1, -1], np.int32)),
    ("a = Mul(i, big) j = Div(a, k)", 7, np.array([3, -3, 7, -100, 1, -1], np.int64)),
    ("a = Sub(i, i) b = Sub(a, k) j = Add(b, i)", 6, np.array([2**31 - 1, -(2**31), 5, 6, 7, 8], np.int32)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_equals_onnxruntime(case: tuple[Any, ...], equals_onnxruntime: Callable[..., None]) -> None:
    equals_onnxruntime(*case)


@pytest.mark.parametrize(("text", "kind", "k"), INTEGERS, ids=lambda value: str(value)[:60])
def test_integers_are_onnxs(text: str, kind: int, k: NDArray[Any], equals_onnxruntime: Callable[..., None]) -> None:
    constants = {**_LARGE, "k": k, "n": np.array([2, 2, -3, -3, 2, -2], k.dtype)}
    if "big" in text:
        constants["big"] = np.array(2**20 + 1, k.dtype)
    last = text.replace("j =", "last =") if " l = " not in text else text.replace("l =", "last =")
    equals_onnxruntime(f"{_ROUGH.format(kind)} {last} y = Cast<to=1>(last)", "N,4,6,6", constants, exact=True)


def test_every_operator_of_the_module_is_tested(untested: Callable[..., set[str]]) -> None:
    assert untested(CASES, arithmetic) == set()


def test_a_quotient_has_the_gradient_of_real_numbers() -> None:
    x = torch.tensor([7.0, -7.0], dtype=torch.float64, requires_grad=True)
    y = divide({arithmetic.ELEMENT_TYPE: 7}, x, torch.tensor([2, 2]))
    assert isinstance(y, torch.Tensor)
    assert y.tolist() == [3, -3]
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [0.5, 0.5]


def test_the_smallest_integer_by_minus_one_stops_no_program() -> None:
    for kind in (torch.int32, torch.int64):
        smallest = torch.tensor([torch.iinfo(kind).min], dtype=kind)
        y = divide({}, smallest, torch.tensor([-1], dtype=kind))
        assert isinstance(y, torch.Tensor)
        assert torch.equal(y, smallest)
