from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from hardtemper.export.passes.scale_behind_product import ScaleBehindProduct
from hardtemper.tests.export.passes.pass_cases import Case, check_case, some

TRANSPOSED = "t = Transpose<perm=[0,1,3,2]>(x)"
NUMBERS = {"c": np.float32(0.5), "d": np.array([3], np.float32), "minus": np.float32(-1)}
SQUARE = "float[N,4,6,6]"
SCORES = {"Transpose": 1, "MatMul": 1, "Mul": 1, "Softmax": 1}


def _case(name: str, text: str, after: dict[str, int] | None) -> Case:
    constants = {key: value for key, value in NUMBERS.items() if f" {key})" in text or f"({key}," in text}
    return Case(name, f"{TRANSPOSED} {text}", SQUARE, constants, after)


CASES = [
    _case("both", "q = Mul(x, c) k = Div(t, d) m = MatMul(q, k) y = Softmax(m)", SCORES),
    _case("one", "q = Mul(c, x) m = MatMul(q, t) y = Softmax(m)", SCORES),
    _case("behind", "m = MatMul(x, t) n = Div(m, d) y = Softmax(n)", SCORES),
    _case("everywhere", "q = Div(x, d) m = MatMul(q, t) n = Mul(m, c) y = Softmax(n)", SCORES),
    _case("as it should be", "m = MatMul(x, t) n = Mul(m, c) y = Softmax(n)", None),
    _case("no scale", "m = MatMul(x, t) y = Softmax(m)", None),
    _case("a sign", "q = Mul(x, minus) m = MatMul(q, t) y = Softmax(m)", None),
    _case("read elsewhere", "q = Mul(x, c) m = MatMul(q, t) p = Softmax(m) y = Add(p, m)", None),
    Case("weights", "q = Mul(x, c) m = MatMul(q, w) y = Softmax(m)", SQUARE,
         {"c": np.float32(0.5), "w": some(6, 6)}, None),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_function_stays(case: Case, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    check_case(ScaleBehindProduct(), case, build, run)
