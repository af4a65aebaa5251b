from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest

from hardtemper.export.passes.canonical_pools import CanonicalPools
from hardtemper.tests.export.passes.pass_cases import MAP, Case, check_case, ints

CASES = [
    Case("mean", "y = ReduceMean<keepdims=1>(x, k)", "float[N,4,1,1]", {"k": ints(2, 3)}, {"GlobalAveragePool": 1}),
    Case(
        "mean without dims",
        "y = ReduceMean<keepdims=0>(x, k)",
        "float[N,4]",
        {"k": ints(-1, -2)},
        {"GlobalAveragePool": 1, "Flatten": 1},
    ),
    Case("maximum", "y = ReduceMax<keepdims=1>(x, k)", "float[N,4,1,1]", {"k": ints(3, 2)}, {"MaxPool": 1}),
    Case(
        "maximum without dims",
        "y = ReduceMax<keepdims=0>(x, k)",
        "float[N,4]",
        {"k": ints(2, 3)},
        {"MaxPool": 1, "Flatten": 1},
    ),
    Case(
        "global maximum of a line",
        "y = GlobalMaxPool(x)",
        "float[N,4,1]",
        {},
        None,
        "float[N,4,6]",
        reason="it is not on [N, C, H, W]",
    ),
    Case("global maximum", "y = GlobalMaxPool(x)", "float[N,4,1,1]", {}, {"MaxPool": 1}, "float[N,4,6,5]"),
    Case(
        "maximum over channels",
        "y = ReduceMax(x, k)",
        "float[N,1,6,6]",
        {"k": ints(1)},
        None,
        reason="it is not over H and W",
    ),
    Case(
        "maximum of open images",
        "y = GlobalMaxPool(x)",
        "float[N,4,1,1]",
        {},
        None,
        "float[N,4,H,6]",
        reason="the size of its images is not known",
    ),
    Case("pool over one pixel", "t = AveragePool<kernel_shape=[1,1]>(x) y = Relu(t)", MAP, {}, {"Relu": 1}),
    Case("max pool over one pixel", "t = MaxPool<kernel_shape=[1,1]>(x) y = Relu(t)", MAP, {}, {"Relu": 1}),
    Case(
        "global pool over one pixel",
        "t = GlobalAveragePool(x) y = Relu(t)",
        "float[N,4,1,1]",
        {},
        {"Relu": 1},
        "float[N,4,1,1]",
    ),
    Case(
        "mean over channels",
        "y = ReduceMean(x, k)",
        "float[N,1,6,1]",
        {"k": ints(1, 3)},
        None,
        reason="it is not over H and W",
    ),
    Case(
        "every second pixel",
        "t = AveragePool<kernel_shape=[1,1], strides=[2,2]>(x) y = Relu(t)",
        "float[N,4,3,3]",
        {},
        None,
    ),
    Case("a pool over two pixels", "t = AveragePool<kernel_shape=[1,2]>(x) y = Relu(t)", "float[N,4,6,5]", {}, None),
    Case(
        "an overhang",
        "y = MaxPool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(x)",
        "float[N,4,3,3]",
        {},
        None,
        reason="its last windows overhang (ceil_mode)",
    ),
    Case(
        "ceil mode that changes nothing",
        "y = MaxPool<kernel_shape=[2,2], strides=[2,2], ceil_mode=1>(x)",
        "float[N,4,3,3]",
        {},
        {"MaxPool": 1},
    ),
    Case(
        "one pixel for the caller",
        "y = MaxPool<kernel_shape=[1,1]>(x)",
        MAP,
        {},
        None,
        reason="it is a pool over one pixel, but the caller reads it",
    ),
    Case(
        "mean of a matrix",
        "y = ReduceMean<keepdims=1>(x, k)",
        "float[N,1]",
        {"k": ints(1)},
        None,
        "float[N,4]",
        reason="it is not on [N, C, H, W]",
    ),
    Case(
        "mean of everything",
        "y = ReduceMean<keepdims=1>(x)",
        "float[1,1,1,1]",
        {},
        None,
        reason="its axes are computed, or all of them",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_function_stays(case: Case, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    check_case(CanonicalPools(), case, build, run)
