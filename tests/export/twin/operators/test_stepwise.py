"""Steps and choices against ONNX Runtime, with and without a gradient that is followed; and that one arrives."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from hardtemper.export.twin.operators import stepwise
from hardtemper.export.twin.operators.supported import OPERATORS
from hardtemper.export.twin.surrogates import smoothing
from hardtemper.export.twin.twin import Twin

KINK = {"k": np.array([0.0, 0.5, -0.5, 1.0, 2.0, -1.0], np.float32)}
BITS = {"m": np.arange(6) % 2 == 0}

CASES: list[tuple[Any, ...]] = [  # text, constants
    ("y = Floor(x)",),
    ("y = Ceil(x)",),
    ("y = Round(x)",),
    ("y = Sign(x)",),
    ("t = Greater(x, k) y = Cast<to=1>(t)", KINK),
    ("t = GreaterOrEqual(x, k) y = Cast<to=1>(t)", KINK),
    ("t = Less(x, k) y = Cast<to=1>(t)", KINK),
    ("t = LessOrEqual(k, x) y = Cast<to=1>(t)", KINK),
    ("t = Equal(x, k) y = Cast<to=1>(t)", KINK),
    ("t = Greater(x, k) n = Not(t) y = Cast<to=1>(n)", KINK),
    ("a = Greater(x, k) b = Less(x, one) t = And(a, b) y = Cast<to=1>(t)", {**KINK, "one": np.float32(1)}),
    ("a = Greater(x, k) b = Less(x, one) t = Or(a, b) y = Cast<to=1>(t)", {**KINK, "one": np.float32(1)}),
    ("a = Greater(x, k) b = Less(x, one) t = Xor(a, b) y = Cast<to=1>(t)", {**KINK, "one": np.float32(1)}),
    ("a = Greater(x, k) t = And(a, m) y = Cast<to=1>(t)", {**KINK, **BITS}),
    ("a = Greater(x, k) t = Or(m, a) y = Cast<to=1>(t)", {**KINK, **BITS}),
    ("a = Greater(x, k) t = Xor(m, a) y = Cast<to=1>(t)", {**KINK, **BITS}),
    ("a = Greater(x, k) b = Equal(a, m) y = Cast<to=1>(b)", {**KINK, **BITS}),
    ("a = Greater(x, k) y = Where(a, x, k)", KINK),
    ("a = Greater(x, k) y = Where(a, j, i)", {**KINK, "j": np.float32(2), "i": np.arange(6, dtype=np.float32)}),
    ("a = Greater(x, k) i = Where(a, j, z) y = Cast<to=1>(i)", {**KINK, "j": np.array(7), "z": np.array(-3)}),
    ("y = Where(m, x, k)", {**KINK, **BITS}),
    ("y = Mod<fmod=1>(x, q)", {"q": np.float32(0.75)}),
    ("i = Cast<to=7>(x) r = Mod(i, q) y = Cast<to=1>(r)", {"q": np.array(3)}),
    ("i = Cast<to=7>(x) r = Mod(i, q) y = Cast<to=1>(r)", {"q": np.array(-3)}),
    ("i = Cast<to=6>(x) j = Mul(i, i) k = Sub(j, i) y = Cast<to=1>(k)",),
    ("i = Cast<to=7>(x) t = Greater(i, q) y = Cast<to=1>(t)", {"q": np.array(1)}),
    ("i = Cast<to=7>(x) b = Mul(i, q) d = Sub(b, q) y = Cast<to=1>(d)", {"q": np.array(2**31 - 1)}),
    ("y = Hardmax<axis=1>(x)",),
    ("i = Cast<to=7>(x) y = Gather(q, i)", {"q": np.arange(40, dtype=np.float32)[::-1] ** 2}),
    (
        "i = Cast<to=7>(x) g = Gather<axis=1>(q, i) y = ReduceSum<keepdims=0>(g, zero)",
        {"q": np.arange(80, dtype=np.float32).reshape(2, 40), "zero": np.array([0])},
    ),
    ("i = Cast<to=7>(x) j = Div(i, q) y = Cast<to=1>(j)", {"q": np.array(2)}),
    ("t = Cast<to=9>(x) y = Cast<to=1>(t)",),
    ("i = Cast<to=3>(x) y = Cast<to=1>(i)",),
    ("i = Cast<to=3>(x) f = Cast<to=10>(i) y = Cast<to=1>(f)",),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_an_operator_is_onnxruntimes_and_a_gradient_arrives(
    case: tuple[Any, ...], graph: Callable[..., onnx.ModelProto], run: Callable[..., Any]
) -> None:
    model = graph(case[0], "N,4,6,6", case[1] if len(case) > 1 else {})
    x = 2 * np.random.default_rng(0).normal(size=(3, 4, 6, 6)).astype(np.float32)
    x[0, 0] = np.linspace(-2.5, 2.5, 36).reshape(6, 6).round(1)  # ties, and points on the steps
    expected = run(model, {"x": x})[0]
    twin = Twin(model).requires_grad_(False)
    with torch.no_grad():
        np.testing.assert_array_equal(twin(torch.from_numpy(x)).numpy(), expected)
    image = torch.from_numpy(x).requires_grad_()
    followed = twin(image)
    np.testing.assert_array_equal(followed.detach().numpy(), expected)
    (gradient,) = torch.autograd.grad(followed.sum(), image)
    assert gradient.isfinite().all()
    assert (gradient != 0).flatten(1).any(1).all()


def test_what_is_not_a_number_is_told_apart(graph: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    x = np.zeros((1, 4, 6, 6), np.float32)
    x[0, 0, 0, :3] = np.nan, np.inf, -np.inf
    for text in (
        "t = IsNaN(x) y = Cast<to=1>(t)",
        "t = IsInf(x) y = Cast<to=1>(t)",
        "t = IsInf<detect_negative=0>(x) y = Cast<to=1>(t)",
        "t = IsInf<detect_positive=0>(x) y = Cast<to=1>(t)",
    ):
        model = graph(text, "N,4,6,6")
        found = Twin(model)(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_array_equal(found, run(model, {"x": x})[0])


def test_floor_is_one_backwards_and_what_is_left_of_it_is_too_where_smoothed(
    graph: Callable[..., onnx.ModelProto],
) -> None:
    saw = Twin(graph("r = Mod<fmod=1>(x, q) y = Sub(x, r)", "N,4,6,6", {"q": np.float32(0.25)}))
    x = torch.rand(2, 4, 6, 6, requires_grad=True)
    assert not torch.autograd.grad(saw(x).sum(), x)[0].any()
    with smoothing("backward"):
        assert torch.equal(torch.autograd.grad(saw(x).sum(), x)[0], torch.ones_like(x))
    floor = Twin(graph("y = Floor(x)", "N,4,6,6"))
    assert torch.equal(torch.autograd.grad(floor(x).sum(), x)[0], torch.ones_like(x))


def test_a_sign_rises_towards_its_step() -> None:
    x = torch.tensor([[-3.0, 1.0]], requires_grad=True)
    y = stepwise.sign({}, x)
    assert isinstance(y, torch.Tensor)
    assert y.tolist() == [[-1, 1]]
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], torch.tensor([[2 * 2 / 25, 2 * 2 / 9]]))


def test_a_thermometer_code_has_the_slope_of_what_it_codes(graph: Callable[..., onnx.ModelProto]) -> None:
    levels: NDArray[np.float32] = np.arange(1, 9, dtype=np.float32).reshape(8, 1, 1, 1, 1) / 8
    text = "t = Greater(x, levels) c = Cast<to=1>(t) s = ReduceSum<keepdims=0>(c, axis) y = Mul(s, eighth)"
    code = Twin(graph(text, "N,4,6,6", {"levels": levels, "axis": np.array([0]), "eighth": np.float32(1 / 8)}))
    x = torch.rand(2, 4, 6, 6, requires_grad=True)
    slope = torch.autograd.grad(code(x).sum(), x)[0]
    assert slope.min() > 0.1
    assert slope.max() < 3


def test_shapes_stay_integers_where_a_gradient_is_followed(
    graph: Callable[..., onnx.ModelProto], run: Callable[..., Any]
) -> None:
    text = "s = Shape(x) t = Equal(s, four) z = Where(t, minus, s) y = Reshape(x, z)"
    model = graph(text, "N,4,6,6", {"four": np.array([4]), "minus": np.array([-1])})
    x = torch.rand(2, 4, 6, 6, requires_grad=True)
    assert Twin(model)(x).shape == x.shape


def test_every_operator_of_the_module_is_tested() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    tested = set(re.findall(r"= (\w+)[<(]", source))
    assert {name for name, operator in OPERATORS.items() if operator.__module__ == stepwise.__name__} <= tested


def test_a_smooth_sign_goes_from_minus_one_to_one(graph: Callable[..., onnx.ModelProto]) -> None:
    twin = Twin(graph("y = Sign(x)", "N,4,6,6"))
    x = torch.linspace(-5, 5, 144).reshape(1, 4, 6, 6).requires_grad_()
    with smoothing("both"):
        y = twin(x).detach().flatten()
    assert torch.equal(y.sign(), x.detach().flatten().sign())
    assert y.abs().max() < 1
    torch.testing.assert_close(y, -y.flip(0))
