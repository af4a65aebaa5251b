from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from hardtemper.export.passes.group_norm_to_layer_norm import GroupNormToLayerNorm
from hardtemper.tests.export.passes.pass_cases import MAP, Case, check_case, some

TEXT = "y = InstanceNormalization<epsilon=0.1>(x, s, b)"
ONES, ZEROS = np.ones(4, np.float32), np.zeros(4, np.float32)
ROWS = "float[N,4,6]"
CASES = [
    Case("groups", TEXT, ROWS, {"s": ONES, "b": ZEROS}, {"LayerNormalization": 1}, ROWS),
    Case("scales", TEXT, ROWS, {"s": some(4), "b": ZEROS}, {"LayerNormalization": 1, "Mul": 1}, ROWS),
    Case("maps", TEXT, MAP, {"s": some(4), "b": some(4)}, {"LayerNormalization": 1, "Mul": 1, "Add": 1}),
    Case("open maps", TEXT, "float[N,4,H,6]", {"s": ONES, "b": ZEROS}, None, "float[N,4,H,6]"),
    Case("computed", f"t = Neg(s) {TEXT.replace('x, s', 'x, t')}", MAP, {"s": ONES, "b": ZEROS}, None),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_function_stays(case: Case, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    check_case(GroupNormToLayerNorm(), case, build, run)
