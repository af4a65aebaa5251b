"""Every pass: the function stays, the operators change; what a pass refuses stays as it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from hardtemper.export.passes.affine_to_conv import AffineToConv
from hardtemper.export.passes.fold_clip import FoldClip
from hardtemper.export.passes.linear import MatMulToGemm, ReshapeToFlatten
from hardtemper.export.passes.merge_convs import MergeConvs
from hardtemper.export.passes.pixel_input import PixelInput
from hardtemper.export.passes.pools import AveragePoolToConv, CanonicalPools
from hardtemper.export.passes.standalone_relu import StandaloneRelu

_RNG = np.random.default_rng(0)


def _some(*shape: int) -> NDArray[np.float32]:
    return _RNG.normal(size=shape).astype(np.float32)


def _positive(*shape: int) -> NDArray[np.float32]:
    return _RNG.uniform(0.5, 2, shape).astype(np.float32)


def _ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def _zero_to(high: float) -> dict[str, NDArray[Any]]:
    return {"low": np.array(0, np.float32), "high": np.array(high, np.float32)}


class Case(NamedTuple):
    """`after` counts the operators that the pass leaves; None where it must leave all as they are."""

    name: str
    make: Callable[[], ir.passes.PassBase]
    text: str
    output: str
    constants: dict[str, NDArray[Any]]
    after: dict[str, int] | None
    input: str = "float[N,4,6,6]"


_MAP = "float[N,4,6,6]"
_W3 = {"w": _some(5, 4, 3, 3), "b": _some(5)}
_ONE = {"a": _positive(4, 1, 1, 1), "c": _some(4)}
_DEPTHWISE = "s = Conv<group=4>(x, a, c)"
_BN = {"g": _positive(4), "h": _some(4), "m": _some(4), "v": _positive(4)}
_CLIP = "h = Conv(x, w, b) t = Clip(h, low, high)"
_GEMM = {"w2": _some(5, 3), "b2": _some(3)}

CASES = [
    Case("mul", AffineToConv, "y = Mul(x, k)", _MAP, {"k": _some(1, 4, 1, 1)}, {"Conv": 1}),
    Case("mul by one number", AffineToConv, "y = Mul(k, x)", _MAP, {"k": _some()}, {"Conv": 1}),
    Case("div", AffineToConv, "y = Div(x, k)", _MAP, {"k": _positive(4, 1, 1)}, {"Conv": 1}),
    Case("add", AffineToConv, "y = Add(k, x)", _MAP, {"k": _some(4, 1, 1)}, {"Conv": 1}),
    Case("sub", AffineToConv, "y = Sub(x, k)", _MAP, {"k": _some(4, 1, 1)}, {"Conv": 1}),
    Case("sub from", AffineToConv, "y = Sub(k, x)", _MAP, {"k": _some(1, 4, 1, 1)}, {"Conv": 1}),
    Case("batch norm", AffineToConv, "y = BatchNormalization<epsilon=0.01>(x, g, h, m, v)", _MAP, _BN, {"Conv": 1}),
    Case("normalization", AffineToConv, "t = Sub(x, k) y = Div(t, d)", _MAP,
         {"k": _some(4, 1, 1), "d": _positive(4, 1, 1)}, {"Conv": 2}),
    Case("a constant over x", AffineToConv, "y = Div(k, x)", _MAP, {"k": _positive(4, 1, 1)}, None, "float[N,4,6,6]"),
    Case("per column", AffineToConv, "y = Mul(x, k)", _MAP, {"k": _some(6)}, None),
    Case("per image", AffineToConv, "y = Mul(x, k)", "float[2,4,6,6]", {"k": _some(2, 1, 1, 1)}, None,
         "float[2,4,6,6]"),
    Case("two variables", AffineToConv, "y = Mul(x, x)", _MAP, {}, None),
    Case("a matrix", AffineToConv, "y = Mul(x, k)", "float[N,4]", {"k": _some(4)}, None, "float[N,4]"),
    Case("affine behind", MergeConvs, "t = Conv<pads=[1,1,1,1]>(x, w, b) y = Conv<group=5>(t, a, c)", "float[N,5,6,6]",
         _W3 | {"a": _positive(5, 1, 1, 1), "c": _some(5)}, {"Conv": 1}),
    Case("affine before", MergeConvs, f"{_DEPTHWISE} y = Conv(s, w, b)", "float[N,5,4,4]", _W3 | _ONE, {"Conv": 1}),
    Case("affine before groups", MergeConvs, f"{_DEPTHWISE} y = Conv<group=2>(s, w)", "float[N,6,4,4]",
         _ONE | {"w": _some(6, 2, 3, 3)}, {"Conv": 1}),
    Case("scale before padding", MergeConvs, "s = Conv<group=4>(x, a) y = Conv<pads=[1,1,1,1]>(s, w, b)",
         "float[N,5,6,6]", _W3 | {"a": _ONE["a"]}, {"Conv": 1}),
    Case("three in a row", MergeConvs, f"{_DEPTHWISE} t = Conv(s, w, b) y = Conv<group=5>(t, e)", "float[N,5,4,4]",
         _W3 | _ONE | {"e": _positive(5, 1, 1, 1)}, {"Conv": 1}),
    Case("offset before padding", MergeConvs, f"{_DEPTHWISE} y = Conv<pads=[1,1,1,1]>(s, w, b)", "float[N,5,6,6]",
         _W3 | _ONE, None),
    Case("read twice", MergeConvs, f"{_DEPTHWISE} t = Conv<pads=[0,0,0,0]>(s, e) y = Add(s, t)", _MAP,
         _ONE | {"e": _some(4, 4, 1, 1)}, None),
    Case("two full ones", MergeConvs, "t = Conv(x, w, b) y = Conv(t, e)", "float[N,5,4,4]",
         _W3 | {"e": _some(5, 5, 1, 1)}, None),
    Case("a stride is no affine map", MergeConvs, "t = Conv(x, w, b) y = Conv<group=5, strides=[2,2]>(t, e)",
         "float[N,5,2,2]", _W3 | {"e": _some(5, 1, 1, 1)}, None),
    Case("mean", CanonicalPools, "y = ReduceMean<keepdims=1>(x, k)", "float[N,4,1,1]", {"k": _ints(2, 3)},
         {"GlobalAveragePool": 1}),
    Case("mean without dims", CanonicalPools, "y = ReduceMean<keepdims=0>(x, k)", "float[N,4]", {"k": _ints(-1, -2)},
         {"GlobalAveragePool": 1, "Flatten": 1}),
    Case("pool over one pixel", CanonicalPools, "t = AveragePool<kernel_shape=[1,1]>(x) y = Relu(t)", _MAP, {},
         {"Relu": 1}),
    Case("max pool over one pixel", CanonicalPools, "t = MaxPool<kernel_shape=[1,1]>(x) y = Relu(t)", _MAP, {},
         {"Relu": 1}),
    Case("global pool over one pixel", CanonicalPools, "t = GlobalAveragePool(x) y = Relu(t)", "float[N,4,1,1]", {},
         {"Relu": 1}, "float[N,4,1,1]"),
    Case("mean over channels", CanonicalPools, "y = ReduceMean(x, k)", "float[N,1,6,1]", {"k": _ints(1, 3)}, None),
    Case("every second pixel", CanonicalPools, "t = AveragePool<kernel_shape=[1,1], strides=[2,2]>(x) y = Relu(t)",
         "float[N,4,3,3]", {}, None),
    Case("a pool over two pixels", CanonicalPools, "t = AveragePool<kernel_shape=[1,2]>(x) y = Relu(t)",
         "float[N,4,6,5]", {}, None),
    Case("3x3 pool", AveragePoolToConv, "y = AveragePool<kernel_shape=[3,3], strides=[2,2]>(x)", "float[N,4,2,2]", {},
         {"Conv": 1}),
    Case("3x3 pool that pads", AveragePoolToConv,
         "y = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], count_include_pad=1>(x)",
         "float[N,4,3,3]", {}, {"Conv": 1}),
    Case("global pool of 36", AveragePoolToConv, "y = GlobalAveragePool(x)", "float[N,4,1,1]", {}, {"Conv": 1}),
    Case("global pool of 16", AveragePoolToConv, "y = GlobalAveragePool(x)", "float[N,4,1,1]", {}, None,
         "float[N,4,4,4]"),
    Case("2x2 pool", AveragePoolToConv, "y = AveragePool<kernel_shape=[2,2]>(x)", "float[N,4,5,5]", {}, None),
    Case("padding that does not count", AveragePoolToConv,
         "y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(x)", _MAP, {}, None),
    Case("ceil mode", AveragePoolToConv, "y = AveragePool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(x)",
         "float[N,4,3,3]", {}, None),
    Case("automatic padding", AveragePoolToConv, 'y = AveragePool<kernel_shape=[3,3], auto_pad="SAME_UPPER">(x)', _MAP,
         {}, None),
    Case("matmul", MatMulToGemm, "y = MatMul(x, w)", "float[N,5]", {"w": _some(4, 5)}, {"Gemm": 1}, "float[N,4]"),
    Case("matmul of images", MatMulToGemm, "y = MatMul(x, w)", "float[N,4,6,5]", {"w": _some(6, 5)}, None),
    Case("matmul of variables", MatMulToGemm, "y = MatMul(x, x)", "float[4,4]", {}, None, "float[4,4]"),
    Case("reshape", ReshapeToFlatten, "y = Reshape(x, k)", "float[N,144]", {"k": _ints(0, 144)}, {"Flatten": 1}),
    Case("squeeze", ReshapeToFlatten, "y = Squeeze(x, k)", "float[N,4]", {"k": _ints(2, 3)}, {"Flatten": 1},
         "float[N,4,1,1]"),
    Case("reshape that mixes images", ReshapeToFlatten, "y = Reshape(x, k)", "float[8,36]", {"k": _ints(8, 36)}, None,
         "float[2,4,6,6]"),
    Case("reshape to maps", ReshapeToFlatten, "y = Reshape(x, k)", "float[N,2,2,36]", {"k": _ints(0, 2, 2, 36)}, None),
    Case("relu behind nothing", StandaloneRelu, "y = Relu(x)", _MAP, {}, {"Conv": 1, "Relu": 1}),
    Case("clip behind a pool", StandaloneRelu, "t = MaxPool<kernel_shape=[2,2]>(x) y = Clip(t, low, high)",
         "float[N,4,5,5]", _zero_to(6), {"MaxPool": 1, "Conv": 1, "Clip": 1}),
    Case("relu beside a shortcut", StandaloneRelu, "t = Conv(x, e) r = Relu(t) y = Add(r, t)", _MAP,
         {"e": _some(4, 4, 1, 1)}, {"Conv": 2, "Relu": 1, "Add": 1}),
    Case("relu behind a convolution", StandaloneRelu, "t = Conv(x, e) y = Relu(t)", _MAP, {"e": _some(4, 4, 1, 1)},
         None),
    Case("relu behind a matrix", StandaloneRelu, "y = Relu(x)", "float[N,4]", {}, None, "float[N,4]"),
    Case("relu6", FoldClip, f"{_CLIP} p = MaxPool<kernel_shape=[2,2]>(t) y = Conv(p, e)", "float[N,3,3,3]",
         _W3 | _zero_to(6) | {"e": _some(3, 5, 1, 1)}, {"Conv": 2, "Clip": 1, "MaxPool": 1}),
    Case("relu6 before a matrix", FoldClip, f"{_CLIP} p = GlobalAveragePool(t) f = Flatten(p) y = Gemm(f, w2, b2)",
         "float[N,3]", _W3 | _zero_to(6) | _GEMM, {"Conv": 1, "Clip": 1, "GlobalAveragePool": 1, "Flatten": 1,
                                                    "Gemm": 1}),
    Case("clip that fits already", FoldClip, f"{_CLIP} y = Conv(t, e)", "float[N,3,4,4]",
         _W3 | _zero_to(255 / 32) | {"e": _some(3, 5, 1, 1)}, None),
    Case("clip below zero", FoldClip, f"{_CLIP} y = Conv(t, e)", "float[N,3,4,4]",
         _W3 | {"low": np.array(-1, np.float32), "high": np.array(6, np.float32), "e": _some(3, 5, 1, 1)}, None),
    Case("clip into a sum", FoldClip, f"{_CLIP} y = Add(t, t)", "float[N,5,4,4]", _W3 | _zero_to(6), None),
    Case("clip of the caller", FoldClip, f"{_CLIP} y = Identity(t)", "float[N,5,4,4]", _W3 | _zero_to(6), None),
    Case("clip behind nothing", FoldClip, "t = Clip(x, low, high) y = Conv(t, w, b)", "float[N,5,4,4]",
         _W3 | _zero_to(6), None),
    Case("clip beside a shortcut", FoldClip, f"{_CLIP} s = Conv(t, e) y = Add(s, h)", "float[N,5,4,4]",
         _W3 | _zero_to(6) | {"e": _some(5, 5, 1, 1)}, None),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.make.__name__}: {case.name}")
def test_the_function_stays(case: Case, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    output = {"y": case.output}
    before = build(case.text, inputs={"x": case.input}, outputs=output, constants=case.constants)
    model = ir.from_proto(before)
    result = case.make()(model)
    after = ir.to_proto(model)
    onnx.checker.check_model(after, full_check=True)

    operators = Counter(node.op_type for node in after.graph.node)
    expected = Counter(node.op_type for node in before.graph.node) if case.after is None else Counter(case.after)
    assert operators == expected
    assert result.modified == (case.after is not None)
    shape = [int(size) if size.isdigit() else 3 for size in case.input[6:-1].split(",")]
    x = 2 * _some(*shape)
    np.testing.assert_allclose(run(after, {"x": x})[0], run(before, {"x": x})[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1 / 255, 2.0**-8])
def test_pixels_in_place_of_floats(
    scale: float, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]
) -> None:
    before = build("y = Conv(x, w, b)", inputs={"x": _MAP}, outputs={"y": "float[N,5,4,4]"}, constants=_W3)
    model = ir.from_proto(before)
    PixelInput(scale)(model)
    after = ir.to_proto(model)
    onnx.checker.check_model(after, full_check=True)
    pixels = _RNG.integers(0, 256, (3, 4, 6, 6)).astype(np.uint8)
    expected = run(before, {"x": pixels.astype(np.float32) / 255})[0]
    np.testing.assert_allclose(run(after, {"x": pixels})[0], expected, rtol=1e-4, atol=1e-5)
    # 1/255 is the pixel's own scale; anything else needs the factor that MergeConvs folds into the first layer
    assert Counter(node.op_type for node in after.graph.node)["Conv"] == (1 if scale == 1 / 255 else 2)
    assert not PixelInput(scale)(model).modified


def test_a_folded_clip_ends_where_uint8_does(build: Callable[..., onnx.ModelProto]) -> None:
    constants = _W3 | _zero_to(6) | {"e": _some(3, 5, 1, 1)}
    before = build(f"{_CLIP} y = Conv(t, e)", inputs={"x": _MAP}, outputs={"y": "float[N,3,4,4]"}, constants=constants)
    model = ir.from_proto(before)
    FoldClip()(model)
    (clip,) = [node for node in model.graph if node.op_type == "Clip"]
    bound = clip.inputs[2]
    assert bound is not None
    assert bound.const_value is not None
    assert float(bound.const_value.numpy()) / 255 == 2.0**-5  # 255/32 = 7.97 lies nearer to 6 than 255/64 by ratio


def test_a_constant_of_training_batch_norm_is_left(build: Callable[..., onnx.ModelProto]) -> None:
    before = build(
        "y, m2, v2 = BatchNormalization<training_mode=1>(x, g, h, m, v)",
        inputs={"x": _MAP},
        outputs={"y": _MAP, "m2": "float[4]", "v2": "float[4]"},
        constants=_BN,
    )
    assert not AffineToConv()(ir.from_proto(before)).modified
