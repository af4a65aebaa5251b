from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest

from hardtemper.export.passes.matmul_to_gemm import MatMulToGemm
from hardtemper.tests.export.passes.pass_cases import Case, check_case, some

CASES = [
    Case("matmul", "y = MatMul(x, w)", "float[N,5]", {"w": some(4, 5)}, {"Gemm": 1}, "float[N,4]"),
    Case(
        "matmul of images",
        "y = MatMul(x, w)",
        "float[N,4,6,5]",
        {"w": some(6, 5)},
        {"Reshape": 2, "Gemm": 1},
    ),
    Case(
        "with the batch behind",
        "t = Transpose<perm=[1,0,2]>(x) u = MatMul(t, w) y = Add(u, b)",
        "float[4,N,6]",
        {"w": some(5, 6), "b": some(6)},
        {"Transpose": 1, "Reshape": 2, "Gemm": 1},
        "float[N,4,5]",
    ),
    Case(
        "with a bias",
        "t = MatMul(x, w) y = Add(b, t)",
        "float[N,4,6,5]",
        {"w": some(6, 5), "b": some(5)},
        {"Reshape": 2, "Gemm": 1},
    ),
    Case(
        "with an offset that is no bias",
        "t = MatMul(x, w) y = Add(t, b)",
        "float[N,4,6,5]",
        {"w": some(6, 5), "b": some(4, 6, 5)},
        {"Reshape": 2, "Gemm": 1, "Add": 1},
    ),
    Case(
        "matmul of a row",
        "y = MatMul(x, w)",
        "float[N,4,6]",
        {"w": some(6)},
        None,
        reason="it does not multiply [N, ..., K] with a matrix",
    ),
    Case(
        "matmul of variables",
        "y = MatMul(x, x)",
        "float[4,4]",
        {},
        None,
        "float[4,4]",
        reason="its weights are computed",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_function_stays(case: Case, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    check_case(MatMulToGemm(), case, build, run)
