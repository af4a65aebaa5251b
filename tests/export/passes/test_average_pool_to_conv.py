from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest

from hardtemper.export.passes.average_pool_to_conv import AveragePoolToConv
from hardtemper.tests.export.passes.pass_cases import MAP, Case, check_case

CASES = [
    Case("3x3 pool", "y = AveragePool<kernel_shape=[3,3], strides=[2,2]>(x)", "float[N,4,2,2]", {}, {"Conv": 1}),
    Case(
        "3x3 pool that pads",
        "y = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], count_include_pad=1>(x)",
        "float[N,4,3,3]",
        {},
        {"Conv": 1},
    ),
    Case("global pool of 36", "y = GlobalAveragePool(x)", "float[N,4,1,1]", {}, {"Conv": 1}),
    Case("global pool of 16", "y = GlobalAveragePool(x)", "float[N,4,1,1]", {}, None, "float[N,4,4,4]"),
    Case("2x2 pool", "y = AveragePool<kernel_shape=[2,2]>(x)", "float[N,4,5,5]", {}, None),
    Case(
        "padding that does not count",
        "y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(x)",
        MAP,
        {},
        None,
        reason="its padding does not count",
    ),
    Case(
        "ceil mode",
        "y = AveragePool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(x)",
        "float[N,4,3,3]",
        {},
        None,
        reason="its last windows overhang (ceil_mode)",
    ),
    Case(
        "automatic padding",
        'y = AveragePool<kernel_shape=[3,3], auto_pad="SAME_UPPER">(x)',
        MAP,
        {},
        None,
        reason="its padding depends on the image (auto_pad)",
    ),
    Case(
        "a sequence",
        "y = AveragePool<kernel_shape=[3]>(x)",
        "float[N,4,4]",
        {},
        None,
        "float[N,4,6]",
        reason="it is not on [N, C, H, W]",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_function_stays(case: Case, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    check_case(AveragePoolToConv(), case, build, run)
