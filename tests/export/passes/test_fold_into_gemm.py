from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import onnx_ir as ir
import pytest

from hardtemper.export.passes.fold_into_gemm import FoldIntoGemm
from hardtemper.tests.export.passes.pass_cases import Case, check_case, positive, some

ROW, LOGITS = "float[N,4]", "float[N,3]"
_BN = {"g": some(4), "h": some(4), "m": some(4), "v": positive(4)}
_BN3 = {"g": some(3), "h": some(3), "m": some(3), "v": positive(3)}
_W, _T = {"w": some(4, 3)}, {"w": some(3, 4)}
_NORM = "t = BatchNormalization(x, g, h, m, v) "
_DEPTHWISE = {"d": some(4, 1, 1, 1), "e": some(4)}
_CONV = "t = Conv<group=4>(x, d, e) "
_WIDE = {"w": some(144, 3), "b": some(3)}

CASES = [
    Case("batch norm before", _NORM + "y = Gemm(t, w)", LOGITS, _BN | _W, {"Gemm": 1}, ROW),
    Case(
        "with a bias, transposed",
        _NORM + "y = Gemm<transB=1>(t, w, b)",
        LOGITS,
        _BN | _T | {"b": some(3)},
        {"Gemm": 1},
        ROW,
    ),
    Case(
        "with factors",
        _NORM + "y = Gemm<alpha=0.5, beta=2.0>(t, w, b)",
        LOGITS,
        _BN | _W | {"b": some(1, 3)},
        {"Gemm": 1},
        ROW,
    ),
    Case("with one bias", _NORM + "y = Gemm(t, w, b)", LOGITS, _BN | _W | {"b": some()}, {"Gemm": 1}, ROW),
    Case(
        "batch norm behind",
        "t = Gemm(x, w) y = BatchNormalization(t, g, h, m, v)",
        LOGITS,
        _BN3 | _W,
        {"Gemm": 1},
        ROW,
    ),
    Case(
        "behind, with a bias, transposed",
        "t = Gemm<transB=1, alpha=3.0>(x, w, b) y = BatchNormalization(t, g, h, m, v)",
        LOGITS,
        _BN3 | _T | {"b": some(3)},
        {"Gemm": 1},
        ROW,
    ),
    Case("a temperature", "t = Gemm(x, w) y = Div(t, k)", LOGITS, _W | {"k": positive()}, {"Gemm": 1}, ROW),
    Case("a bias of its own", "t = Gemm(x, w) y = Add(t, k)", LOGITS, _W | {"k": some(3)}, {"Gemm": 1}, ROW),
    Case("turned over", "t = Gemm(x, w) y = Sub(k, t)", LOGITS, _W | {"k": some(3)}, {"Gemm": 1}, ROW),
    Case(
        "between two layers",
        "s = Gemm(x, w) " + "t = BatchNormalization(s, g, h, m, v) y = Gemm(t, u)",
        LOGITS,
        _BN3 | _W | {"u": some(3, 3)},
        {"Gemm": 2},
        ROW,
    ),
    Case(
        "behind a ReLU",
        "s = Relu(x) t = BatchNormalization(s, g, h, m, v) y = Gemm(t, w)",
        LOGITS,
        _BN | _W,
        {"Relu": 1, "Gemm": 1},
        ROW,
    ),
    Case(
        "two maps", "s = Mul(x, k) t = Add(s, j) y = Gemm(t, w)", LOGITS,
        _W | {"k": some(4), "j": some(4)}, {"Gemm": 1}, ROW,
    ),
    Case(
        "two readers",
        _NORM + "a = Gemm(t, w) b = Gemm<transB=1>(t, u) y = Add(a, b)",
        LOGITS,
        _BN | _W | {"u": some(3, 4)},
        {"Gemm": 2, "Add": 1},
        ROW,
    ),
    Case(
        "read elsewhere too",
        _NORM + "a = Gemm(t, w) r = Relu(t) b = Gemm(r, w) y = Add(a, b)",
        LOGITS,
        _BN | _W,
        None,
        ROW,
        "it stands beside no linear layer",
    ),
    Case("the caller reads it", "y = Mul(x, k)", ROW, {"k": some(4)}, None, ROW, "it stands beside no linear layer"),
    Case(
        "the layer before it is read elsewhere too",
        "t = Gemm(x, w) s = Mul(t, k) r = Relu(s) y = Add(r, t)",
        LOGITS,
        _W | {"k": some(3)},
        None,
        ROW,
        "it stands beside no linear layer",
    ),
    Case(
        "a computed layer before it",
        "u = Mul(w, w) t = Gemm(x, u) y = Mul(t, k)",
        LOGITS,
        _W | {"k": some(3)},
        None,
        ROW,
        "the Gemm before it has computed weights",
    ),
    Case("a constant a row", "t = Gemm(x, w) y = Mul(t, k)", "float[2,3]", _W | {"k": some(2, 1)}, None, "float[2,4]",
         "its constant is not one number a feature"),
    Case(
        "channels, through a mean",
        _CONV + "p = GlobalAveragePool(t) f = Flatten(p) y = Gemm(f, w)",
        LOGITS,
        _DEPTHWISE | _W,
        {"GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1},
    ),
    Case(
        "channels, through a Flatten",
        _CONV + "f = Flatten(t) y = Gemm(f, w, b)",
        LOGITS,
        _DEPTHWISE | _WIDE,
        {"Flatten": 1, "Gemm": 1},
    ),
    Case(
        "channels, through smaller means",
        _CONV + "p = AveragePool<kernel_shape=[3,3], strides=[3,3]>(t) f = Flatten(p) y = Gemm(f, w)",
        LOGITS,
        _DEPTHWISE | {"w": some(16, 3)},
        {"AveragePool": 1, "Flatten": 1, "Gemm": 1},
    ),
    Case(
        "channels, through means of zeros too",
        _CONV + "p = AveragePool<kernel_shape=[3,3], strides=[3,3], pads=[1,1,1,1], count_include_pad=1>(t) "
        "f = Flatten(p) y = Gemm(f, w)",
        LOGITS,
        _DEPTHWISE | {"w": some(16, 3)},
        None,
    ),
    Case("channels, through a ReLU", _CONV + "r = Relu(t) f = Flatten(r) y = Gemm(f, w, b)", LOGITS,
         _DEPTHWISE | _WIDE, None),
    Case(
        "channels, read elsewhere too",
        _CONV + "f = Flatten(t) g = Gemm(f, w, b) p = GlobalAveragePool(t) q = Flatten(p) h = Gemm(q, u) y = Add(g, h)",
        LOGITS,
        _DEPTHWISE | _WIDE | {"u": some(4, 3)},
        {"Flatten": 2, "GlobalAveragePool": 1, "Gemm": 2, "Add": 1},
    ),
    Case("a convolution that moves", "t = Conv<group=4, strides=[2,2]>(x, d, e) f = Flatten(t) y = Gemm(f, w)", LOGITS,
         _DEPTHWISE | {"w": some(36, 3)}, None),
    Case("no map of each channel", "t = Conv(x, d) f = Flatten(t) y = Gemm(f, w, b)", LOGITS,
         {"d": some(4, 4, 1, 1)} | _WIDE, None),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_function_stays(case: Case, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    check_case(FoldIntoGemm(), case, build, run)


def test_weights_of_two_layers_are_not_changed_twice(
    build: Callable[..., onnx.ModelProto], run: Callable[..., Any]
) -> None:
    text = "r = Gemm(x, w) t = Mul(r, k) s = Relu(t) u = Mul(s, j) y = Gemm(u, w)"
    constants = {"w": some(4, 4), "k": some(4), "j": some(4)}
    case = Case("shared", text, ROW, constants, {"Gemm": 2, "Relu": 1}, ROW)
    check_case(FoldIntoGemm(), case, build, run)


def test_the_way_a_weight_is_stored_stays(build: Callable[..., onnx.ModelProto]) -> None:
    text = _NORM + "y = Gemm<transB=1>(t, w)"
    model = ir.from_proto(
        build(text, inputs={"x": ROW}, outputs={"y": "float[N,5]"}, constants=_BN | {"w": some(5, 4)})
    )
    FoldIntoGemm()(model)
    (gemm,) = model.graph
    assert gemm.inputs[1] is not None
    assert list(gemm.inputs[1].shape or []) == [5, 4]
