from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest

from hardtemper.export.passes.feature_affine_to_conv import FeatureAffineToConv
from hardtemper.tests.export.passes.pass_cases import MAP, Case, check_case, positive, some

ROW = "float[N,4]"
_BN = {"g": some(4), "h": some(4), "m": some(4), "v": positive(4)}
_FOUND = {"Unsqueeze": 1, "Conv": 1, "Flatten": 1}

CASES = [
    Case("batch norm", "y = BatchNormalization(x, g, h, m, v)", ROW, _BN, _FOUND, ROW),
    Case("mul", "y = Mul(x, k)", ROW, {"k": some(4)}, _FOUND, ROW),
    Case("sub from one number", "y = Sub(k, x)", ROW, {"k": some()}, _FOUND, ROW),
    Case(
        "behind a mean",
        "p = GlobalAveragePool(x) f = Flatten(p) t = BatchNormalization(f, g, h, m, v) y = Relu(t)",
        ROW,
        _BN,
        {"GlobalAveragePool": 1, "Conv": 1, "Flatten": 1, "Relu": 1},
    ),
    Case(
        "behind a Flatten of maps",
        "f = Flatten(x) y = Mul(f, k)",
        "float[N,144]",
        {"k": some(144)},
        {"Flatten": 2, "Unsqueeze": 1, "Conv": 1},
    ),
    Case(
        "behind a Flatten of all images into one row",
        "f = Flatten<axis=0>(x) y = Mul(f, k)",
        "float[1,8]",
        {"k": some(8)},
        {"Flatten": 2, "Unsqueeze": 1, "Conv": 1},
        "float[2,4,1,1]",
    ),
    Case("channels", "y = Mul(x, k)", MAP, {"k": some(4, 1, 1)}, None, reason="it is not on [N, features]"),
    Case("two variables", "y = Add(x, x)", ROW, {}, None, ROW),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_function_stays(case: Case, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    check_case(FeatureAffineToConv(), case, build, run)
