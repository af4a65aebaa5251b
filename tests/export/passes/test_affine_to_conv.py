from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import onnx_ir as ir
import pytest

from hardtemper.export.passes.affine_to_conv import AffineToConv
from hardtemper.tests.export.passes.pass_cases import MAP, Case, check_case, positive, some

_BN = {"g": positive(4), "h": some(4), "m": some(4), "v": positive(4)}

CASES = [
    Case("mul", "y = Mul(x, k)", MAP, {"k": some(1, 4, 1, 1)}, {"Conv": 1}),
    Case("mul by one number", "y = Mul(k, x)", MAP, {"k": some()}, {"Conv": 1}),
    Case("div", "y = Div(x, k)", MAP, {"k": positive(4, 1, 1)}, {"Conv": 1}),
    Case("add", "y = Add(k, x)", MAP, {"k": some(4, 1, 1)}, {"Conv": 1}),
    Case("sub", "y = Sub(x, k)", MAP, {"k": some(4, 1, 1)}, {"Conv": 1}),
    Case("sub from", "y = Sub(k, x)", MAP, {"k": some(1, 4, 1, 1)}, {"Conv": 1}),
    Case("batch norm", "y = BatchNormalization<epsilon=0.01>(x, g, h, m, v)", MAP, _BN, {"Conv": 1}),
    Case(
        "normalization", "t = Sub(x, k) y = Div(t, d)", MAP, {"k": some(4, 1, 1), "d": positive(4, 1, 1)}, {"Conv": 2}
    ),
    Case(
        "a constant over x",
        "y = Div(k, x)",
        MAP,
        {"k": positive(4, 1, 1)},
        None,
        "float[N,4,6,6]",
        reason="a constant divided by x is no affine map",
    ),
    Case("per column", "y = Mul(x, k)", MAP, {"k": some(6)}, None, reason="its constant is not one number a channel"),
    Case(
        "per image",
        "y = Mul(x, k)",
        "float[2,4,6,6]",
        {"k": some(2, 1, 1, 1)},
        None,
        "float[2,4,6,6]",
        reason="its constant is not one number a channel",
    ),
    Case("two variables", "y = Mul(x, x)", MAP, {}, None),
    Case(
        "a matrix",
        "y = Mul(x, k)",
        "float[N,4]",
        {"k": some(4)},
        None,
        "float[N,4]",
        reason="it is not on [N, C, H, W]",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_function_stays(case: Case, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    check_case(AffineToConv(), case, build, run)


def test_a_constant_of_training_batch_norm_is_left(build: Callable[..., onnx.ModelProto]) -> None:
    before = build(
        "y, m2, v2 = BatchNormalization<training_mode=1>(x, g, h, m, v)",
        inputs={"x": MAP},
        outputs={"y": MAP, "m2": "float[4]", "v2": "float[4]"},
        constants=_BN,
    )
    assert not AffineToConv()(ir.from_proto(before)).modified
