"""Each operator of the twin on real numbers, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from hardtemper.export.twin.operators import real, supported
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.errors import UnsupportedOperatorError

_RNG = np.random.default_rng(0)


def _some(*shape: int) -> NDArray[np.float32]:
    return _RNG.normal(size=shape).astype(np.float32)


def _number(value: float) -> NDArray[np.float32]:
    return np.array(value, np.float32)


_POSITIVE = "p = Abs(x) q = Add(p, tenth)"
_TENTH = {"tenth": _number(0.1)}

CASES = [  # text, dimensions of y, constants, opset
    ("y = Abs(x)", "N,4,6,6"),
    ("y = Cast<to=1>(x)", "N,4,6,6"),
    ("t = Cast<to=7>(x) y = Cast<to=1>(t)", "N,4,6,6"),
    ("t = Cast<to=9>(x) y = Cast<to=1>(t)", "N,4,6,6"),
    ("t = Cast<to=10>(x) y = Cast<to=1>(t)", "N,4,6,6"),
    ("t = Cast<to=11>(x) m = Add(t, k) d = Sub(m, k) y = Cast<to=1>(d)", "N,4,6,6", {"k": np.array(2.0**27)}),
    ("y = Clip(x, low, high)", "N,4,6,6", {"low": _number(-0.5), "high": _number(1)}),
    ("y = Clip(x, low)", "N,4,6,6", {"low": _number(-0.5)}),
    ("y = Clip(x, , high)", "N,4,6,6", {"high": _number(0.5)}),
    ("y = Clip(x)", "N,4,6,6"),
    ("y = Dropout(x)", "N,4,6,6"),
    ("t, mask = Dropout(x) m = Cast<to=1>(mask) y = Add(t, m)", "N,4,6,6"),
    ("y = Elu<alpha=0.7>(x)", "N,4,6,6"),
    ("y = Erf(x)", "N,4,6,6"),
    ("y = Exp(x)", "N,4,6,6"),
    ("y = Gelu(x)", "N,4,6,6"),
    ('y = Gelu<approximate="tanh">(x)', "N,4,6,6"),
    ("y = HardSigmoid<alpha=0.3, beta=0.4>(x)", "N,4,6,6"),
    ("y = HardSwish(x)", "N,4,6,6"),
    ("y = Identity(x)", "N,4,6,6"),
    ("y = LeakyRelu<alpha=0.2>(x)", "N,4,6,6"),
    ("y = LogSoftmax<axis=1>(x)", "N,4,6,6"),
    ("y = LogSoftmax<axis=-2>(x)", "N,4,6,6", {}, 11),
    ("y = Max(x, k, j)", "N,4,6,6", {"k": _some(4, 1, 1), "j": _some(6)}),
    ("y = Max(x)", "N,4,6,6"),
    ("y = Min(x, k)", "N,4,6,6", {"k": _some(6, 6)}),
    ("y = PRelu(x, k)", "N,4,6,6", {"k": _some(4, 1, 1)}),
    ("y = Relu(x)", "N,4,6,6"),
    ("y = Sigmoid(x)", "N,4,6,6"),
    ("y = Softmax<axis=1>(x)", "N,4,6,6"),
    ("f = Flatten(x) y = Softmax(f)", "N,144", {}, 11),
    ("y = Softmax(x)", "N,4,6,6", {}, 11),
    ("y = Softmax<axis=2>(x)", "N,4,6,6", {}, 12),
    (f"{_POSITIVE} y = Sqrt(q)", "N,4,6,6", _TENTH),
    ("y = Tanh(x)", "N,4,6,6"),
    ("y = Clip<min=-0.5, max=0.7>(x)", "N,4,6,6", {}, 6),
    ("y = Clip(x, low, high)", "N,4,6,6", {"low": _number(1), "high": _number(-1)}),
    ("i = Cast<to=7>(x) c = Clip(i, low, high) y = Cast<to=1>(c)", "N,4,6,6",
     {"low": np.array(-1), "high": np.array(2)}),
    ("i = Cast<to=6>(x) c = Relu(i) y = Cast<to=1>(c)", "N,4,6,6"),
    ("y = CastLike(x, k)", "N,4,6,6", {"k": _number(1)}),
    ("i = CastLike(x, k) y = Cast<to=1>(i)", "N,4,6,6", {"k": np.array([1])}),
    ("y = Celu<alpha=0.7>(x)", "N,4,6,6"),
    ("y = Cos(x)", "N,4,6,6"),
    ("t, mask = Dropout(x, ratio, training) y = Identity(t)", "N,4,6,6", {"ratio": _number(0.3),
     "training": np.array(False)}),
    (f"{_POSITIVE} y = Log(q)", "N,4,6,6", _TENTH),
    ("y = Mean(x, k, j)", "N,4,6,6", {"k": _some(4, 1, 1), "j": _some(6)}),
    ("y = Mish(x)", "N,4,6,6"),
    ("y = PRelu(x, k)", "N,4,6,6", {"k": _some(1)}),
    ("y = PRelu(x, k)", "N,4,6,6", {"k": _some(4, 1, 6)}, 7),
    ("y = Reciprocal(x)", "N,4,6,6"),
    ("y = Selu(x)", "N,4,6,6"),
    ("y = Selu<alpha=1.5, gamma=0.7>(x)", "N,4,6,6"),
    ("y = Sin(x)", "N,4,6,6"),
    ("y = Softplus(x)", "N,4,6,6"),
    ("m = Mul(x, k) y = Softplus(m)", "N,4,6,6", {"k": _number(30)}),
    ("y = Softsign(x)", "N,4,6,6"),
    ("y = Sum(x, k, x)", "N,4,6,6", {"k": _some(4, 1, 1)}),
    ("y = Swish<alpha=0.7>(x)", "N,4,6,6", {}, 24),
    ("y = ThresholdedRelu<alpha=0.7>(x)", "N,4,6,6"),
    ("y = Softmax<axis=-3>(x)", "N,4,6,6"),
    ("y = LogSoftmax(x)", "N,4,6,6", {}, 13),
    *((f"m = Mul(x, k) t = Cast<to={kind}>(m) y = Cast<to=1>(t)", "N,4,6,6", {"k": _number(30)})
      for kind in (3, 5, 6, 7, 10, 11)),
    *((f"a = Abs(x) m = Mul(a, k) t = Cast<to={kind}>(m) y = Cast<to=1>(t)", "N,4,6,6", {"k": _number(30)})
      for kind in (2, 4, 12, 13)),
    *((f"m = Mul(x, k) t = Cast<to=6>(m) u = Cast<to={kind}>(t) y = Cast<to=1>(u)", "N,4,6,6", {"k": _number(300)})
      for kind in (2, 3, 5, 7, 9, 10)),
    ("y = Gelu(x)", "N,4,6,6"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} opset {case[3] if case[3:] else 20}")
def test_equals_onnxruntime(case: tuple[Any, ...], equals_onnxruntime: Callable[..., None]) -> None:
    equals_onnxruntime(*case)


def test_every_operator_of_the_module_is_tested(untested: Callable[..., set[str]]) -> None:
    """`supported` has a few of its own."""
    assert untested(CASES, real, supported) == set()


def test_a_dropout_in_training_is_said(graph: Callable[..., onnx.ModelProto]) -> None:
    model = graph("y = Dropout(x, r, t)", "N,4,6,6", {"r": _number(0.5), "t": np.array(True)})
    with pytest.raises(UnsupportedOperatorError, match=r"Dropout \(node 'dropout_0'\): .*training_mode"):
        Twin(model)(torch.zeros(1, 4, 6, 6))


def test_what_is_cast_to_integers_has_a_gradient(graph: Callable[..., onnx.ModelProto]) -> None:
    """One, as if nothing had been rounded."""
    for kind in (6, 10):
        text = f"t = Cast<to={kind}>(x) y = Cast<to=1>(t)"
        model = graph(text, "N,4,6,6", opset=18)
        x = torch.rand(1, 4, 6, 6, requires_grad=True)
        Twin(model)(x).sum().backward()
        assert x.grad is not None
        assert (x.grad == 1).all()


@pytest.mark.parametrize("name", ["Relu", "LeakyRelu", "HardSwish", "Gelu", "Softmax", "Sigmoid"])
def test_gradients_flow(name: str, graph: Callable[..., onnx.ModelProto]) -> None:
    model = graph(f"y = {name}(x)", "N,4,6,6")
    x = torch.from_numpy(_some(2, 4, 6, 6)).requires_grad_()
    Twin(model)(x).square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("largest", [4.0, 1e5, 3e38])
def test_roots_are_rounded_as_ieee_says(largest: float) -> None:
    # numpy's root is the processor's; torch's own is not for 7 of 1,000 of these numbers where it calls a library
    numbers = np.random.default_rng(0).uniform(0, largest, 1 << 18).astype(np.float32)
    assert np.array_equal(real.square_root(torch.from_numpy(numbers)).numpy(), np.sqrt(numbers))
    x = torch.tensor([0.25, 4.0], requires_grad=True)
    real.square_root(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 0.25]
