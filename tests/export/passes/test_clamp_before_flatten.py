from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import onnx_ir as ir
import pytest

from hardtemper.export.passes.clamp_before_flatten import ClampBeforeFlatten
from hardtemper.tests.export.passes.pass_cases import MAP, Case, check_case, zero_to

ROW = "float[N,144]"

CASES = [
    Case("relu", "f = Flatten(x) y = Relu(f)", ROW, {}, {"Flatten": 1, "Relu": 1}),
    Case("relu6", "f = Flatten<axis=1>(x) y = Clip(f, low, high)", ROW, zero_to(0.5), {"Flatten": 1, "Clip": 1}),
    Case("another order", "r = Relu(x) y = Flatten(r)", ROW, {}, None),
    Case(
        "read elsewhere too",
        "f = Flatten(x) r = Relu(f) y = Add(r, f)",
        ROW,
        {},
        None,
        reason="the Flatten before it is read elsewhere too",
    ),
    Case(
        "no maps",
        "f = Flatten(x) y = Relu(f)",
        "float[N,12]",
        {},
        None,
        "float[N,3,4]",
        "what is flattened before it is not [N, C, H, W]",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_function_stays(case: Case, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    check_case(ClampBeforeFlatten(), case, build, run)


def test_the_clamp_stands_first(build: Callable[..., onnx.ModelProto]) -> None:
    model = ir.from_proto(build(CASES[0].text, inputs={"x": MAP}, outputs={"y": ROW}, constants={}))
    ClampBeforeFlatten()(model)
    assert [node.op_type for node in model.graph] == ["Relu", "Flatten"]
