"""Each operator of the twin on floats, against ONNX Runtime."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from hardtemper.export.twin.operators.supported import OPERATORS, SEVERAL
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


class Case(NamedTuple):
    """A graph of x, float [3, 4, 6, 6] with values of both signs, to y of the given dimensions."""

    text: str
    output: str
    constants: dict[str, NDArray[Any]] = {}  # noqa: RUF012 - never written
    opset: int = 20


CASES = [
    Case("y = Abs(x)", "N,4,6,6"),
    Case("y = Add(x, k)", "N,4,6,6", {"k": _some(4, 1, 1)}),
    Case("y = Add(x, x)", "N,4,6,6"),
    Case("y = AveragePool<kernel_shape=[3,2], strides=[2,1]>(x)", "N,4,2,5"),
    Case("y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(x)", "N,4,6,6"),
    Case("y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(x)", "N,4,6,6"),
    Case("y = AveragePool<kernel_shape=[3,3], pads=[0,0,1,1]>(x)", "N,4,5,5"),
    Case("y = AveragePool<kernel_shape=[3,3], pads=[0,0,1,1], count_include_pad=1>(x)", "N,4,5,5"),
    Case('y = AveragePool<kernel_shape=[2,2], strides=[2,2], auto_pad="SAME_UPPER">(x)', "N,4,3,3"),
    Case("y = AveragePool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(x)", "N,4,3,3"),
    Case("y = BatchNormalization<epsilon=0.01>(x, g, b, m, v)", "N,4,6,6",
         {"g": _some(4), "b": _some(4), "m": _some(4), "v": np.abs(_some(4))}),
    Case("y = Cast<to=1>(x)", "N,4,6,6"),
    Case("t = Cast<to=7>(x) y = Cast<to=1>(t)", "N,4,6,6"),
    Case("t = Cast<to=9>(x) y = Cast<to=1>(t)", "N,4,6,6"),
    Case("t = Cast<to=10>(x) y = Cast<to=1>(t)", "N,4,6,6"),
    Case("t = Cast<to=11>(x) m = Add(t, k) d = Sub(m, k) y = Cast<to=1>(d)", "N,4,6,6", {"k": np.array(2.0**27)}),
    Case("y = Clip(x, low, high)", "N,4,6,6", {"low": _number(-0.5), "high": _number(1)}),
    Case("y = Clip(x, low)", "N,4,6,6", {"low": _number(-0.5)}),
    Case("y = Clip(x, , high)", "N,4,6,6", {"high": _number(0.5)}),
    Case("y = Clip(x)", "N,4,6,6"),
    Case("y = Concat<axis=1>(x, x, k)", "3,10,6,6", {"k": _some(3, 2, 6, 6)}),
    Case("y = Conv(x, w, b)", "N,5,4,4", {"w": _some(5, 4, 3, 3), "b": _some(5)}),
    Case("y = Conv<strides=[2,1], pads=[0,1,2,0], dilations=[1,2]>(x, w)", "N,5,3,3", {"w": _some(5, 4, 3, 3)}),
    Case('y = Conv<auto_pad="SAME_LOWER", strides=[2,2]>(x, w)', "N,5,3,3", {"w": _some(5, 4, 3, 3)}),
    Case('y = Conv<auto_pad="SAME_UPPER">(x, w)', "N,5,6,6", {"w": _some(5, 4, 2, 2)}),
    Case('y = Conv<auto_pad="VALID", group=2>(x, w)', "N,6,4,4", {"w": _some(6, 2, 3, 3)}),
    Case("y = DequantizeLinear(k, s, z)", "4", {"k": np.array([0, 3, 7, 255], np.uint8), "s": _number(0.1),
                                              "z": np.array(3, np.uint8)}),
    Case("y = DequantizeLinear<axis=0>(k, s, z)", "2,2",
         {"k": np.array([[-128, 5], [7, 127]], np.int8), "s": np.array([0.1, 0.3], np.float32),
          "z": np.array([0, 1], np.int8)}),
    Case("y = DequantizeLinear(k, s)", "2", {"k": np.array([-(2**30) - 1, 2**24 + 1], np.int32), "s": _number(1)}),
    Case("y = Div(x, k)", "N,4,6,6", {"k": _some(4, 1, 1)}),
    Case("y = Dropout(x)", "N,4,6,6"),
    Case("t, mask = Dropout(x) m = Cast<to=1>(mask) y = Add(t, m)", "N,4,6,6"),
    Case("y = Elu<alpha=0.7>(x)", "N,4,6,6"),
    Case("y = Erf(x)", "N,4,6,6"),
    Case("y = Exp(x)", "N,4,6,6"),
    Case("y = Flatten(x)", "N,144"),
    Case("y = Flatten<axis=2>(x)", "M,36"),
    Case("y = Gather<axis=1>(x, k)", "N,3,6,6", {"k": _ints(3, 0, -1)}),
    Case("y = Gather<axis=2>(x, k)", "N,4,6", {"k": np.array(2, np.int64)}),
    Case("y = Gelu(x)", "N,4,6,6"),
    Case('y = Gelu<approximate="tanh">(x)', "N,4,6,6"),
    Case("f = Flatten(x) y = Gemm(f, w, b)", "N,5", {"w": _some(144, 5), "b": _some(5)}),
    Case("f = Flatten(x) y = Gemm<alpha=0.5, beta=2.0, transB=1>(f, w, b)", "N,5", {"w": _some(5, 144), "b": _some(5)}),
    Case("f = Flatten(x) y = Gemm<transA=1>(f, w)", "144,2", {"w": _some(3, 2)}),
    Case("y = GlobalAveragePool(x)", "N,4,1,1"),
    Case("y = GlobalMaxPool(x)", "N,4,1,1"),
    Case("y = HardSigmoid<alpha=0.3, beta=0.4>(x)", "N,4,6,6"),
    Case("y = HardSwish(x)", "N,4,6,6"),
    Case("y = Identity(x)", "N,4,6,6"),
    Case("y = LayerNormalization<axis=2, epsilon=0.01>(x, g, b)", "N,4,6,6", {"g": _some(6, 6), "b": _some(6, 6)}),
    Case("y = LayerNormalization(x, g)", "N,4,6,6", {"g": _some(6)}),
    Case("y = LeakyRelu<alpha=0.2>(x)", "N,4,6,6"),
    Case("y = LogSoftmax<axis=1>(x)", "N,4,6,6"),
    Case("y = LogSoftmax<axis=-2>(x)", "N,4,6,6", {}, 11),
    Case("y = MatMul(x, w)", "N,4,6,5", {"w": _some(6, 5)}),
    Case("y = Max(x, k, j)", "N,4,6,6", {"k": _some(4, 1, 1), "j": _some(6)}),
    Case("y = Max(x)", "N,4,6,6"),
    Case("y = MaxPool<kernel_shape=[2,3], strides=[2,1], pads=[0,1,0,0]>(x)", "N,4,3,5"),
    Case("y = MaxPool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(x)", "N,4,3,3"),
    Case("y = MaxPool<kernel_shape=[2,2], dilations=[2,2]>(x)", "N,4,4,4"),
    Case("y = Min(x, k)", "N,4,6,6", {"k": _some(6, 6)}),
    Case("y = Mul(x, x)", "N,4,6,6"),
    Case("y = Neg(x)", "N,4,6,6"),
    Case("y = PRelu(x, k)", "N,4,6,6", {"k": _some(4, 1, 1)}),
    Case("y = Pad(x, k, v)", "N,4,9,7", {"k": _ints(0, 0, 1, 0, 0, 0, 2, 1), "v": _number(0.5)}),
    Case("y = Pad(x, k, , a)", "N,4,9,7", {"k": _ints(1, 0, 2, 1), "a": _ints(2, -1)}),
    Case('y = Pad<mode="reflect">(x, k)', "N,4,9,7", {"k": _ints(0, 0, 1, 0, 0, 0, 2, 1)}),
    Case('y = Pad<mode="edge">(x, k)', "N,4,9,7", {"k": _ints(0, 0, 1, 0, 0, 0, 2, 1)}),
    Case(f"{_POSITIVE} y = Pow(q, k)", "N,4,6,6", _TENTH | {"k": _number(1.5)}),
    Case("i = QuantizeLinear(x, s, z) y = DequantizeLinear(i, s, z)", "N,4,6,6",
         {"s": _number(0.02), "z": np.array(100, np.uint8)}),
    Case("i = QuantizeLinear(x, s) y = DequantizeLinear(i, s)", "N,4,6,6", {"s": _number(0.02)}),
    Case("i = QuantizeLinear<axis=1>(x, s, z) y = DequantizeLinear<axis=1>(i, s, z)", "N,4,6,6",
         {"s": np.array([0.01, 0.02, 0.03, 0.04], np.float32), "z": np.array([0, 1, -7, 100], np.int8)}),
    Case("i = QuantizeLinear<output_dtype=3>(x, s) y = DequantizeLinear(i, s)", "N,4,6,6", {"s": _number(0.02)}, 21),
    Case("i = QuantizeLinear(x, s, z) y = DequantizeLinear(i, s, z)", "N,4,6,6",
         {"s": _number(1e-4), "z": np.array(30000, np.uint16)}, 21),
    Case("y = ReduceMean(x, k)", "N,1,6,1", {"k": _ints(1, 3)}),
    Case("y = ReduceMean<keepdims=0>(x, k)", "N,4", {"k": _ints(-2, -1)}),
    Case("y = ReduceMean<axes=[2,3], keepdims=0>(x)", "N,4", {}, 13),
    Case("y = ReduceSum<keepdims=1>(x)", "1,1,1,1"),
    Case("y = ReduceSum<noop_with_empty_axes=1>(x)", "N,4,6,6"),
    Case("y = Relu(x)", "N,4,6,6"),
    Case("y = Reshape(x, k)", "N,2,72", {"k": _ints(0, 2, -1)}),
    Case("s = Shape(x) g = Gather<axis=0>(s, first) c = Concat<axis=0>(g, k) y = Reshape(x, c)", "M,L",
         {"first": _ints(0), "k": _ints(-1)}),
    Case("s = Shape<start=1, end=3>(x) y = Cast<to=1>(s)", "2"),
    Case("y = Sigmoid(x)", "N,4,6,6"),
    Case("y = Slice(x, a, b, c, d)", "N,4,3,3", {"a": _ints(1, 0), "b": _ints(4, 100), "c": _ints(2, 3),
                                                 "d": _ints(1, 2)}),
    Case("y = Slice(x, a, b, c, d)", "N,4,2,2", {"a": _ints(-1, -2), "b": _ints(-(2**63), 0), "c": _ints(2, 3),
                                                 "d": _ints(-3, -2)}),
    Case("y = Slice(x, a, b)", "1,2,6,6", {"a": _ints(0, 1), "b": _ints(1, 3)}),
    Case("y = Slice<starts=[-3], ends=[-1], axes=[2]>(x)", "N,4,2,6", {}, 9),
    Case("y = Softmax<axis=1>(x)", "N,4,6,6"),
    Case("f = Flatten(x) y = Softmax(f)", "N,144", {}, 11),
    Case("y = Softmax(x)", "N,4,6,6", {}, 11),
    Case("y = Softmax<axis=2>(x)", "N,4,6,6", {}, 12),
    Case("a, b = Split<axis=1>(x, k) y = Concat<axis=1>(b, a)", "N,4,6,6", {"k": _ints(1, 3)}),
    Case("a, b = Split<axis=1, num_outputs=2>(x) y = Sub(a, b)", "N,2,6,6"),
    Case("t = MaxPool<kernel_shape=[2,2]>(x) a, b, c = Split<axis=2, num_outputs=3>(t) y = Concat<axis=2>(c, b, a)",
         "N,4,5,5"),
    Case("a, b = Split<axis=1>(x) y = Sub(a, b)", "N,2,6,6", {}, 13),
    Case("a, b = Split<axis=1, split=[3,1]>(x) y = Concat<axis=1>(b, a)", "N,4,6,6", {}, 11),
    Case(f"{_POSITIVE} y = Sqrt(q)", "N,4,6,6", _TENTH),
    Case("t = GlobalMaxPool(x) y = Squeeze(t, k)", "N,4", {"k": _ints(2, -1)}),
    Case("t = GlobalMaxPool(x) y = Squeeze(t)", "N,4"),
    Case("t = GlobalMaxPool(x) y = Squeeze<axes=[2,3]>(t)", "N,4", {}, 11),
    Case("y = Sub(x, k)", "N,4,6,6", {"k": _some(6)}),
    Case("y = Tanh(x)", "N,4,6,6"),
    Case("y = Transpose<perm=[0,2,3,1]>(x)", "N,6,6,4"),
    Case("y = Transpose(x)", "6,6,4,N"),
    Case("y = Unsqueeze(x, k)", "N,1,4,6,6,1", {"k": _ints(1, -1)}),
    Case("k = Constant<value_floats=[1.5,2.5,0.0,1.0,2.0,3.0]>() y = Mul(x, k)", "N,4,6,6"),
    Case("k = Constant<value_float=1.5>() y = Mul(x, k)", "N,4,6,6"),
    Case("k = Constant<value = float[4,1,1] {1,2,3,4}>() y = Mul(x, k)", "N,4,6,6"),
    Case("k = Constant<value_ints=[0,-1]>() y = Reshape(x, k)", "N,144"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.text} opset {case.opset}")
def test_equals_onnxruntime(case: Case, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    model = build(
        case.text,
        inputs={"x": "float[N,4,6,6]"},
        outputs={"y": f"float[{case.output}]"},
        constants=case.constants,
        opset=case.opset,
    )
    x = 2 * _some(3, 4, 6, 6)
    expected = run(model, {"x": x})[0]
    with torch.no_grad():
        found = Twin(model)(torch.from_numpy(x)).numpy()
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_every_operator_is_in_the_table() -> None:
    tested = {name for case in CASES for name in re.findall(r"= (\w+)[<(]", case.text)}
    assert OPERATORS.keys() - tested == set()
    assert OPERATORS.keys() >= SEVERAL


REFUSED = [
    ("y = Celu(x)", {"y": "float[N,4,6,6]"}, "Celu"),
    ("y, i = MaxPool<kernel_shape=[2,2]>(x)", {"y": "float[N,4,5,5]", "i": "int64[N,4,5,5]"}, "MaxPool with 2 outputs"),
]


@pytest.mark.parametrize(("text", "outputs", "got"), REFUSED)
def test_what_the_twin_does_not_know_is_listed(
    text: str, outputs: dict[str, str], got: str, build: Callable[..., onnx.ModelProto]
) -> None:
    model = build(f"{text} t = Celu(x)", inputs={"x": "float[N,4,6,6]"}, outputs=outputs)
    with pytest.raises(UnsupportedOperatorError, match=got) as raised:
        Twin(model)
    assert "Celu" in raised.value.got
    assert "Conv" in raised.value.expected


SETTINGS = [
    ("y = AveragePool<kernel_shape=[2,2], dilations=[2,2]>(x)", "N,4,4,4", r"AveragePool with dilations \[2, 2\]"),
    ("y = AveragePool<kernel_shape=[3,3], pads=[2,2,2,2]>(x)", "N,4,8,8", r"with pads \[2, 2, 2, 2\] beyond half"),
    ("y = MaxPool<kernel_shape=[3,3], pads=[0,2,0,2]>(x)", "N,4,4,8", r"with pads \[0, 2, 0, 2\] beyond half"),
    ("r = Reshape(x, k) y = MaxPool<kernel_shape=[2]>(r)", "N,4,35", r"MaxPool with kernel_shape \[2\]"),
    ("t = Cast<to=16>(x) y = Cast<to=1>(t)", "N,4,6,6", "Cast with to=BFLOAT16"),
    ('y = Pad<mode="wrap">(x, p)', "N,4,8,8", "Pad with mode wrap"),
]


@pytest.mark.parametrize(("text", "output", "got"), SETTINGS)
def test_settings_that_the_twin_does_not_know(
    text: str, output: str, got: str, build: Callable[..., onnx.ModelProto]
) -> None:
    constants = {"k": _ints(0, 4, 36), "p": _ints(0, 0, 1, 1, 0, 0, 1, 1)}
    model = build(
        text, inputs={"x": "float[N,4,6,6]"}, outputs={"y": f"float[{output}]"}, constants=constants, opset=20
    )
    with pytest.raises(UnsupportedOperatorError, match=got):
        Twin(model)


@pytest.mark.parametrize(
    ("text", "output", "got"),
    [
        ("r = Reshape(x, k) y = Conv(r, w)", "N,5,34", "Conv.*3 dimensions"),
        ('y = Pad<mode="edge">(x, p)', "N,6,6,6", "Pad with mode edge"),
    ],
)
def test_what_shows_only_when_it_runs(text: str, output: str, got: str, build: Callable[..., onnx.ModelProto]) -> None:
    constants = {"k": _ints(0, 4, 36), "w": _some(5, 4, 3), "p": _ints(0, 1, 0, 0, 0, 1, 0, 0)}
    model = build(text, inputs={"x": "float[N,4,6,6]"}, outputs={"y": f"float[{output}]"}, constants=constants)
    with pytest.raises(UnsupportedOperatorError, match=got):
        Twin(model)(torch.zeros(1, 4, 6, 6))


@pytest.mark.parametrize(
    ("domain", "operator", "known"),
    [
        ("my", "Relu", False),
        ("com.microsoft", "Relu", False),
        ("my", "Constant", False),
        ("com.microsoft", "Gelu", True),
        ("ai.onnx", "Relu", True),
    ],
)
def test_operators_of_other_domains(domain: str, operator: str, known: bool) -> None:
    """A model's own function may have the name of an operator."""
    node = onnx.helper.make_node(operator, [] if operator == "Constant" else ["x"], ["y"], domain=domain)
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 4, 6, 6]) for name in "xy"]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", ends[:1], ends[1:]))
    if known:
        assert Twin(model)(torch.zeros(1, 4, 6, 6)).shape == (1, 4, 6, 6)
        return
    with pytest.raises(UnsupportedOperatorError, match=rf"got: {domain}\.{operator}"):
        Twin(model)


@pytest.mark.parametrize(
    "text", ["y = Flatten(x)", "y = Reshape(x, k)", "y = Reshape(x, j)", "t = GlobalAveragePool(x) y = Flatten(t)"]
)
def test_no_images(text: str, build: Callable[..., onnx.ModelProto]) -> None:
    constants = {"k": _ints(0, -1), "j": _ints(-1, 144)}
    model = build(text, inputs={"x": "float[N,4,6,6]"}, outputs={"y": "float[N,K]"}, constants=constants)
    found = Twin(model)(torch.zeros(0, 4, 6, 6))
    assert found.shape == (0, 4 if "Global" in text else 144)


def test_what_is_cast_to_integers_has_a_gradient(build: Callable[..., onnx.ModelProto]) -> None:
    """Of nothing, but no error; a half lets it through."""
    for kind, wanted in ((6, 0.0), (10, 1.0)):
        text = f"t = Cast<to={kind}>(x) y = Cast<to=1>(t)"
        model = build(text, inputs={"x": "float[N,4,6,6]"}, outputs={"y": "float[N,4,6,6]"})
        x = torch.rand(1, 4, 6, 6, requires_grad=True)
        Twin(model)(x).sum().backward()
        assert x.grad is not None
        assert (x.grad == wanted).all()


@pytest.mark.parametrize("name", ["Relu", "LeakyRelu", "HardSwish", "Gelu", "Softmax", "Sigmoid"])
def test_gradients_flow(name: str, build: Callable[..., onnx.ModelProto]) -> None:
    model = build(f"y = {name}(x)", inputs={"x": "float[N,4,6,6]"}, outputs={"y": "float[N,4,6,6]"}, opset=20)
    x = torch.from_numpy(_some(2, 4, 6, 6)).requires_grad_()
    Twin(model)(x).square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
