"""Each operator of the twin on real numbers, against ONNX Runtime."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from hardtemper.export.twin.operators import integer, random, shape, stepwise
from hardtemper.export.twin.operators.supported import OPERATORS
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.errors import UnsupportedOperatorError

_RNG = np.random.default_rng(0)


def _some(*shape: int) -> NDArray[np.float32]:
    return _RNG.normal(size=shape).astype(np.float32)


def _ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def _number(value: float) -> NDArray[np.float32]:
    return np.array(value, np.float32)


_POSITIVE = "p = Abs(x) q = Add(p, tenth)"
_TENTH = {"tenth": _number(0.1)}

CASES = [  # text, dimensions of y, constants, opset
    ("y = Abs(x)", "N,4,6,6"),
    ("y = AveragePool<kernel_shape=[3,2], strides=[2,1]>(x)", "N,4,2,5"),
    ("y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(x)", "N,4,6,6"),
    ("y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(x)", "N,4,6,6"),
    ("y = AveragePool<kernel_shape=[3,3], pads=[0,0,1,1]>(x)", "N,4,5,5"),
    ("y = AveragePool<kernel_shape=[3,3], pads=[0,0,1,1], count_include_pad=1>(x)", "N,4,5,5"),
    ('y = AveragePool<kernel_shape=[2,2], strides=[2,2], auto_pad="SAME_UPPER">(x)', "N,4,3,3"),
    ("y = AveragePool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(x)", "N,4,3,3"),
    ("y = BatchNormalization<epsilon=0.01>(x, g, b, m, v)", "N,4,6,6",
     {"g": _some(4), "b": _some(4), "m": _some(4), "v": np.abs(_some(4))}),
    ("y = Cast<to=1>(x)", "N,4,6,6"),
    ("t = Cast<to=7>(x) y = Cast<to=1>(t)", "N,4,6,6"),
    ("t = Cast<to=9>(x) y = Cast<to=1>(t)", "N,4,6,6"),
    ("t = Cast<to=10>(x) y = Cast<to=1>(t)", "N,4,6,6"),
    ("t = Cast<to=11>(x) m = Add(t, k) d = Sub(m, k) y = Cast<to=1>(d)", "N,4,6,6", {"k": np.array(2.0**27)}),
    ("y = Clip(x, low, high)", "N,4,6,6", {"low": _number(-0.5), "high": _number(1)}),
    ("y = Clip(x, low)", "N,4,6,6", {"low": _number(-0.5)}),
    ("y = Clip(x, , high)", "N,4,6,6", {"high": _number(0.5)}),
    ("y = Clip(x)", "N,4,6,6"),
    ("y = Div(x, k)", "N,4,6,6", {"k": _some(4, 1, 1)}),
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
    ("y = LayerNormalization<axis=2, epsilon=0.01>(x, g, b)", "N,4,6,6", {"g": _some(6, 6), "b": _some(6, 6)}),
    ("y = LayerNormalization(x, g)", "N,4,6,6", {"g": _some(6)}),
    ("y = LeakyRelu<alpha=0.2>(x)", "N,4,6,6"),
    ("y = LogSoftmax<axis=1>(x)", "N,4,6,6"),
    ("y = LogSoftmax<axis=-2>(x)", "N,4,6,6", {}, 11),
    ("y = Max(x, k, j)", "N,4,6,6", {"k": _some(4, 1, 1), "j": _some(6)}),
    ("y = Max(x)", "N,4,6,6"),
    ("y = Min(x, k)", "N,4,6,6", {"k": _some(6, 6)}),
    ("y = Neg(x)", "N,4,6,6"),
    ("y = PRelu(x, k)", "N,4,6,6", {"k": _some(4, 1, 1)}),
    (f"{_POSITIVE} y = Pow(q, k)", "N,4,6,6", _TENTH | {"k": _number(1.5)}),
    ("y = ReduceMean(x, k)", "N,1,6,1", {"k": _ints(1, 3)}),
    ("y = ReduceMean<keepdims=0>(x, k)", "N,4", {"k": _ints(-2, -1)}),
    ("y = ReduceMean<axes=[2,3], keepdims=0>(x)", "N,4", {}, 13),
    ("y = ReduceSum<keepdims=1>(x)", "1,1,1,1"),
    ("y = ReduceSum<noop_with_empty_axes=1>(x)", "N,4,6,6"),
    ("y = Relu(x)", "N,4,6,6"),
    ("y = Sigmoid(x)", "N,4,6,6"),
    ("y = Softmax<axis=1>(x)", "N,4,6,6"),
    ("f = Flatten(x) y = Softmax(f)", "N,144", {}, 11),
    ("y = Softmax(x)", "N,4,6,6", {}, 11),
    ("y = Softmax<axis=2>(x)", "N,4,6,6", {}, 12),
    (f"{_POSITIVE} y = Sqrt(q)", "N,4,6,6", _TENTH),
    ("y = Sub(x, k)", "N,4,6,6", {"k": _some(6)}),
    ("y = Tanh(x)", "N,4,6,6"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} opset {case[3] if case[3:] else 20}")
def test_equals_onnxruntime(case: tuple[Any, ...], equals_onnxruntime: Callable[..., None]) -> None:
    equals_onnxruntime(*case)


def test_every_operator_of_the_module_is_tested() -> None:
    """All that neither moves numbers only nor stays on integers, makes steps or draws."""
    elsewhere = {module.__name__ for module in (integer, random, shape, stepwise)}
    tested = {name for text, *_ in CASES for name in re.findall(r"= (\w+)[<(]", text)}
    ours = {name for name, operator in OPERATORS.items() if operator.__module__ not in elsewhere}
    assert ours
    assert ours - tested == set()


@pytest.mark.parametrize(
    ("text", "output", "got"),
    [
        ("y = AveragePool<kernel_shape=[2,2], dilations=[2,2]>(x)", "N,4,4,4", r"AveragePool with dilations \[2, 2\]"),
        ("y = AveragePool<kernel_shape=[3,3], pads=[2,2,2,2]>(x)", "N,4,8,8", r"with pads \[2, 2, 2, 2\] beyond half"),
        ("t = Cast<to=16>(x) y = Cast<to=1>(t)", "N,4,6,6", "Cast with to=BFLOAT16"),
    ],
)
def test_settings_that_the_twin_does_not_know(
    text: str, output: str, got: str, graph: Callable[..., onnx.ModelProto]
) -> None:
    model = graph(text, output)
    with pytest.raises(UnsupportedOperatorError, match=got):
        Twin(model)


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
