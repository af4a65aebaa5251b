"""Operators on quantized tensors against ONNX Runtime's own kernels, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from hardtemper.export.twin.qoperators import MICROSOFT, QUANTIZED
from hardtemper.export.twin.twin import Twin

_RNG = np.random.default_rng(0)


def _number(value: float) -> NDArray[np.float32]:
    return np.array(value, np.float32)


def _scales(count: int) -> NDArray[np.float32]:
    return _RNG.uniform(0.01, 0.03, count).astype(np.float32)


X = "q, s, z"  # of the image
Y = "t, u"  # of the result
W = {"w": _RNG.integers(-127, 128, (8, 3, 3, 3)).astype(np.int8), "v": _scales(8), "o": np.zeros(8, np.int8)}
M = {"w": _RNG.integers(0, 256, (12, 5)).astype(np.uint8), "v": _number(0.02), "o": np.array(131, np.uint8)}
B = {"b": _RNG.integers(-3000, 3000, 8).astype(np.int32)}
FLAT = {"w": _RNG.integers(-127, 128, (8, 432)).astype(np.int8), "o": np.zeros(8, np.int8)}

CASES: list[tuple[str, dict[str, Any]]] = [  # nodes from q, the quantized image, to r, and the constants
    (f"r = QLinearConv<pads=[1,0,1,0], strides=[2,1]>({X}, w, v, o, {Y}, b)", W | B),
    (f"r = QLinearConv({X}, w, v, o, {Y})", W | {"v": _number(0.02), "o": np.array(0, np.int8)}),
    (f"r = QLinearConv<group=3>({X}, w, v, o, {Y})", W | {"w": W["w"][:6, :1], "v": W["v"][:6], "o": W["o"][:6]}),
    (f'r = QLinearConv<auto_pad="SAME_UPPER">({X}, w, v, o, {Y})',
     {"w": _RNG.integers(0, 256, (4, 3, 2, 2)).astype(np.uint8), "v": _number(0.02), "o": np.array(120, np.uint8)}),
    (f"r = QLinearMatMul({X}, w, v, o, {Y})", M),
    (f"r = QLinearMatMul({X}, w, v, o, {Y})",
     M | {"w": W["w"].reshape(12, -1)[:, :5], "v": _scales(5), "o": np.zeros(5, np.int8)}),
    (f"p = Transpose<perm=[0,1,3,2]>(q) r = QLinearMatMul({X}, p, s, z, {Y})", {"t": _number(0.2)}),
    (f"f = Flatten(q) r = m.QGemm<transB=1>(f, s, z, w, v, o, b, {Y})",
     B | FLAT | {"v": _scales(8), "t": _number(0.5)}),
    ("f = Flatten(q) y = m.QGemm<alpha=0.5, transB=1>(f, s, z, w, v, o, b)",
     B | FLAT | {"v": _number(0.02), "o": np.array(0, np.int8)}),
    ("f = Flatten<axis=3>(q) y = m.QGemm(f, s, z, w, v, o)", M),
    (f"r = m.QLinearAdd({X}, {X}, {Y})", {}),
    (f"r = m.QLinearAdd({X}, k, v, o, {Y})", {"k": _RNG.integers(0, 256, (3, 1, 1)).astype(np.uint8),
     "v": _number(0.017), "o": np.array(99, np.uint8)}),
    (f"r = m.QLinearMul({X}, {X}, {Y})", {}),
    (f"r = m.QLinearGlobalAveragePool<channels_last=0>({X}, {Y})", {}),
    (f"r = m.QLinearAveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>({X}, {Y})", {}),
    (f"r = m.QLinearAveragePool<kernel_shape=[2,3], strides=[2,2], count_include_pad=1>({X}, {Y})", {}),
    (f"p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(q) r = m.QLinearConcat<axis=1>({Y}, p, s, z, p, s, z)", {}),
    (f"r = m.QLinearConcat<axis=2>({Y}, q, s, z, k, v, o)", {"k": _RNG.integers(0, 256, (2, 3, 4, 12)).astype(np.uint8),
     "v": _number(0.017), "o": np.array(99, np.uint8)}),
    (f"r = m.QLinearSigmoid({X}, {Y})", {"t": _number(0.004), "u": np.array(0, np.uint8)}),
    (f"r = m.QLinearLeakyRelu<alpha=0.2>({X}, {Y})", {}),
    (f"r = m.QLinearSoftmax<axis=-1, opset=17>({X}, {Y})", {"t": _number(1 / 256), "u": np.array(0, np.uint8)}),
]  # fmt: skip


def graph(text: str, constants: dict[str, Any], opset: int = 17) -> onnx.ModelProto:
    """float images [2, 3, 12, 12] -> QuantizeLinear -> text -> DequantizeLinear, where the text gives a quantized r."""
    last = "" if " y = " in f" {text}" else "y = DequantizeLinear(r, t, u)"
    header = f'<ir_version: 8, opset_import: ["" : {opset}, "com.microsoft" : 1]>'
    body = f"q = QuantizeLinear(x, s, z) {text} {last}".replace("m.", "com.microsoft.")
    model = onnx.parser.parse_model(f"{header} g (float[N,3,12,12] x) => (float y) {{ {body} }}")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    given = {"s": _number(0.021), "z": np.array(113, np.uint8), "t": _number(0.05), "u": np.array(127, np.uint8)}
    for name, array in (given | constants).items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return model


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_a_quantized_operator_is_onnxruntimes(case: tuple[str, dict[str, Any]], run: Callable[..., Any]) -> None:
    model = graph(*case)
    x = np.random.default_rng(1).normal(size=(2, 3, 12, 12)).astype(np.float32)
    (expected,) = run(model, {"x": x}, optimize=True)
    expected = expected.reshape(2, -1) if "Global" in case[0] else expected  # logits lose axes of size 1
    assert len(np.unique(expected)) > 4
    twin = Twin(model)
    assert twin.to_onnx().SerializeToString() == model.SerializeToString()
    with torch.no_grad():
        np.testing.assert_array_equal(twin(torch.from_numpy(x)).numpy(), expected)
    image = torch.from_numpy(x).requires_grad_()
    followed = twin(image)
    np.testing.assert_array_equal(followed.detach().numpy(), expected)
    (gradient,) = torch.autograd.grad(followed.square().sum(), image)
    assert gradient.isfinite().all()
    assert (gradient != 0).flatten(1).any(1).all()


DYNAMIC = [
    "y = m.DynamicQuantizeMatMul(x, w, v, o, b)",
    "y = m.DynamicQuantizeMatMul(x, w, v, o)",
    "a, c, d = DynamicQuantizeLinear(x) y = m.MatMulIntegerToFloat(a, w, c, v, d, o, b)",
]


@pytest.mark.parametrize("text", DYNAMIC)
def test_products_in_integers_are_onnxruntimes(text: str, run: Callable[..., Any]) -> None:
    model = graph(text, M | {"b": _scales(5)})
    x = np.random.default_rng(1).normal(size=(2, 3, 12, 12)).astype(np.float32)
    with torch.no_grad():
        found = Twin(model)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, run(model, {"x": x}, optimize=True)[0], rtol=1e-5, atol=1e-5)


def test_scales_that_are_computed(run: Callable[..., Any]) -> None:
    """The bias is then a product, too."""
    text = f"half = Mul(s, two) r = QLinearConv({X}, w, half, o, {Y}, b)"
    constants = W | B | {"two": _number(0.5), "o": np.array(0, np.int8)}
    del constants["v"]
    model = graph(text, constants)
    x = np.random.default_rng(1).normal(size=(2, 3, 12, 12)).astype(np.float32)
    with torch.no_grad():
        np.testing.assert_array_equal(Twin(model)(torch.from_numpy(x)).numpy(), run(model, {"x": x}, optimize=True)[0])


def test_every_operator_is_tested() -> None:
    tested = " ".join([*(text for text, _ in CASES), *DYNAMIC])
    assert {name for name in QUANTIZED if f"{name}<" not in tested and f"{name}(" not in tested} == set()
    assert all((f"m.{name}" in tested) == (name in MICROSOFT) for name in QUANTIZED)
