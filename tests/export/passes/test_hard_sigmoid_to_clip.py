from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest

from hardtemper.export.passes.hard_sigmoid_to_clip import HardSigmoidToClip
from hardtemper.tests.export.passes.pass_cases import MAP, Case, check_case, some

WEIGHT = {"w": some(4, 4, 1, 1)}
CASES = [
    Case(
        "behind a convolution",
        "c = Conv(x, w) y = HardSigmoid<alpha=0.1667, beta=0.4>(c)",
        MAP,
        WEIGHT,
        {"Conv": 1, "Mul": 1, "Add": 1, "Clip": 1},
    ),
    Case(
        "behind a linear layer, with ONNX's numbers",
        "c = Gemm(x, w) y = HardSigmoid(c)",
        "float[N,3]",
        {"w": some(5, 3)},
        {"Gemm": 1, "Mul": 1, "Add": 1, "Clip": 1},
        "float[N,5]",
    ),
    Case("within h-swish", "c = Conv(x, w) h = HardSigmoid<alpha=0.1667>(c) y = Mul(c, h)", MAP, WEIGHT, None),
    Case("behind another function", "c = Relu(x) y = HardSigmoid(c)", MAP, {}, None),
    Case("of the image", "y = HardSigmoid(x)", MAP, {}, None),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_function_stays(case: Case, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    check_case(HardSigmoidToClip(), case, build, run)
