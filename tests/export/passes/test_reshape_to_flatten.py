from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest

from hardtemper.export.passes.reshape_to_flatten import ReshapeToFlatten
from hardtemper.tests.export.passes.pass_cases import Case, check_case, ints

CASES = [
    Case("reshape", "y = Reshape(x, k)", "float[N,144]", {"k": ints(0, 144)}, {"Flatten": 1}),
    Case("squeeze", "y = Squeeze(x, k)", "float[N,4]", {"k": ints(2, 3)}, {"Flatten": 1}, "float[N,4,1,1]"),
    Case(
        "reshape that mixes images",
        "y = Reshape(x, k)",
        "float[8,36]",
        {"k": ints(8, 36)},
        None,
        "float[2,4,6,6]",
        reason="it mixes images",
    ),
    Case(
        "reshape to maps",
        "y = Reshape(x, k)",
        "float[N,2,2,36]",
        {"k": ints(0, 2, 2, 36)},
        None,
        reason="it does not bring [N, ...] to [N, features]",
    ),
    Case(
        "reshape of a matrix",
        "y = Reshape(x, k)",
        "float[N,4]",
        {"k": ints(0, 4)},
        None,
        "float[N,4]",
        reason="it does not bring [N, ...] to [N, features]",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_function_stays(case: Case, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    check_case(ReshapeToFlatten(), case, build, run)
