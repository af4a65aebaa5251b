from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest

from hardtemper.export.passes.separate_terms import SeparateTerms
from hardtemper.tests.export.passes.pass_cases import MAP, Case, check_case, some, zero_to

WEIGHTS = {"e": some(4, 4, 1, 1)}
ONE = {"Conv": 1, "MaxPool": 1, "Add": 1}
CASES = [
    Case("a convolution and a shortcut", "c = Conv(x, e) y = Add(c, x)", MAP, WEIGHTS, ONE),
    Case("the convolution second", "c = Conv(x, e) y = Add(x, c)", MAP, WEIGHTS, ONE),
    Case(
        "two convolutions",
        "c = Conv(x, e) d = Conv(x, e) y = Add(c, d)",
        MAP,
        WEIGHTS,
        {"Conv": 2, "MaxPool": 2, "Add": 1},
    ),
    Case("a clamp between", "c = Conv(x, e) r = Relu(c) y = Add(r, x)", MAP, WEIGHTS, {**ONE, "Relu": 1}),
    Case(
        "functions between",
        "c = Conv(x, e) r = Clip(c, low, high) s = Sigmoid(r) y = Add(s, x)",
        MAP,
        WEIGHTS | zero_to(6),
        {**ONE, "Clip": 1, "Sigmoid": 1},
    ),
    Case(
        "somebody else reads it too",
        "c = Conv(x, e) d = Add(c, x) y = Concat<axis=2>(c, d)",
        "float[N,4,12,6]",
        WEIGHTS,
        None,
    ),
    Case("twice the same", "c = Conv(x, e) y = Add(c, c)", MAP, WEIGHTS, None),
    Case("a pool between", "c = Conv(x, e) p = MaxPool<kernel_shape=[1,1]>(c) y = Add(p, x)", MAP, WEIGHTS, None),
    Case("a product between", "c = Conv(x, e) m = Mul(c, x) y = Add(m, x)", MAP, WEIGHTS, None),
    Case("no convolution", "r = Relu(x) y = Add(r, x)", MAP, {}, None),
    Case("a linear layer", "c = Gemm(x, e) y = Add(c, x)", "float[N,4]", {"e": some(4, 4)}, None, "float[N,4]"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_function_stays(case: Case, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    check_case(SeparateTerms(), case, build, run)
