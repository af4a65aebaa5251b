from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest

from hardtemper.export.passes.mean_of_rows import MeanOfRows
from hardtemper.tests.export.passes.pass_cases import Case, check_case, ints

POOL = {"Transpose": 1, "Reshape": 2, "GlobalAveragePool": 1}
CASES = [
    Case("rows", "y = ReduceMean<keepdims=0>(x, k)", "float[N,4]", {"k": ints(1)}, POOL, "float[N,6,4]"),
    Case("columns", "y = ReduceMean<keepdims=0>(x, k)", "float[N,6]", {"k": ints(-1)}, POOL, "float[N,6,4]"),
    Case("images behind", "y = ReduceMean<keepdims=0>(x, k)", "float[N,4]", {"k": ints(2, 1)}, POOL, "float[N,6,5,4]"),
    Case("channels", "y = ReduceMean<keepdims=0>(x, k)", "float[N,5,4]", {"k": ints(1)}, POOL, "float[N,6,5,4]"),
    Case("a pool already", "y = ReduceMean<keepdims=0>(x, k)", "float[N,6]", {"k": ints(2, 3)}, None, "float[N,6,5,4]"),
    Case("a normalization's", "y = ReduceMean<keepdims=1>(x, k)", "float[N,6,1]", {"k": ints(2)}, None, "float[N,6,4]"),
    Case("every number", "y = ReduceMean<keepdims=0>(x, k)", "float[N]", {"k": ints(1, 2)}, None, "float[N,6,4]"),
    Case("the batch", "y = ReduceMean<keepdims=0>(x, k)", "float[6,4]", {"k": ints(0)}, None, "float[N,6,4]"),
    Case("open rows", "y = ReduceMean<keepdims=0>(x, k)", "float[N,4]", {"k": ints(1)}, None, "float[N,L,4]"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_function_stays(case: Case, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    check_case(MeanOfRows(), case, build, run)
