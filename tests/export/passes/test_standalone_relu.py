from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest

from hardtemper.export.passes.standalone_relu import StandaloneRelu
from hardtemper.tests.export.passes.pass_cases import MAP, Case, check_case, some, zero_to

CASES = [
    Case("relu behind nothing", "y = Relu(x)", MAP, {}, {"Conv": 1, "Relu": 1}),
    Case(
        "clip behind a pool",
        "t = MaxPool<kernel_shape=[2,2]>(x) y = Clip(t, low, high)",
        "float[N,4,5,5]",
        zero_to(6),
        {"MaxPool": 1, "Conv": 1, "Clip": 1},
    ),
    Case(
        "relu beside a shortcut",
        "t = Conv(x, e) r = Relu(t) y = Add(r, t)",
        MAP,
        {"e": some(4, 4, 1, 1)},
        {"Conv": 2, "Relu": 1, "Add": 1},
    ),
    Case("relu behind a convolution", "t = Conv(x, e) y = Relu(t)", MAP, {"e": some(4, 4, 1, 1)}, None),
    Case(
        "relu behind a matrix", "y = Relu(x)", "float[N,4]", {}, None, "float[N,4]", reason="it is not on [N, C, H, W]"
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_function_stays(case: Case, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    check_case(StandaloneRelu(), case, build, run)
