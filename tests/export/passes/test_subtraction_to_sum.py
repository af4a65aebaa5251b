from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest

from hardtemper.export.passes.subtraction_to_sum import SubtractionToSum
from hardtemper.tests.export.passes.pass_cases import MAP, Case, check_case, some

E = {"e": some(4, 4, 1, 1)}
CASES = [
    Case("two tensors", "t = Conv(x, e) y = Sub(t, x)", MAP, E, {"Conv": 1, "Mul": 1, "Add": 1}),
    Case("negation", "y = Neg(x)", MAP, {}, {"Mul": 1}),
    Case("a constant", "y = Sub(x, k)", MAP, {"k": some(4, 1, 1)}, None),
    Case("a function of one tensor", "t = Tanh(x) y = Sub(x, t)", MAP, {}, None),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_function_stays(case: Case, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    check_case(SubtractionToSum(), case, build, run)
