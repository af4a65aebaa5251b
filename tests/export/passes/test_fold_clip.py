from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hardtemper.export.passes.fold_clip import FoldClip
from hardtemper.tests.export.passes.pass_cases import MAP, Case, check_case, some, zero_to

_W3 = {"w": some(5, 4, 3, 3), "b": some(5)}
_CLIP = "h = Conv(x, w, b) t = Clip(h, low, high)"
_GEMM = {"w2": some(5, 3), "b2": some(3)}

CASES = [
    Case(
        "relu6",
        f"{_CLIP} p = MaxPool<kernel_shape=[2,2]>(t) y = Conv(p, e)",
        "float[N,3,3,3]",
        _W3 | zero_to(6) | {"e": some(3, 5, 1, 1)},
        {"Conv": 2, "Clip": 1, "MaxPool": 1},
    ),
    Case(
        "relu6 before a matrix",
        f"{_CLIP} p = GlobalAveragePool(t) f = Flatten(p) y = Gemm(f, w2, b2)",
        "float[N,3]",
        _W3 | zero_to(6) | _GEMM,
        {"Conv": 1, "Clip": 1, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1},
    ),
    Case(
        "clip that fits already",
        f"{_CLIP} y = Conv(t, e)",
        "float[N,3,4,4]",
        _W3 | zero_to(255 / 32) | {"e": some(3, 5, 1, 1)},
        None,
    ),
    Case(
        "clip below zero",
        f"{_CLIP} y = Conv(t, e)",
        "float[N,3,4,4]",
        _W3 | {"low": np.array(-1, np.float32), "high": np.array(6, np.float32), "e": some(3, 5, 1, 1)},
        None,
    ),
    Case("clip into a sum", f"{_CLIP} y = Add(t, t)", "float[N,5,4,4]", _W3 | zero_to(6), None, reason="Add reads it"),
    Case(
        "clip of the caller",
        f"{_CLIP} y = Identity(t)",
        "float[N,5,4,4]",
        _W3 | zero_to(6),
        None,
        reason="Identity reads it",
    ),
    Case(
        "clip behind nothing",
        "t = Clip(x, low, high) y = Conv(t, w, b)",
        "float[N,5,4,4]",
        _W3 | zero_to(6),
        None,
        reason="no Conv or Gemm is before it",
    ),
    Case(
        "clip beside a shortcut",
        f"{_CLIP} s = Conv(t, e) y = Add(s, h)",
        "float[N,5,4,4]",
        _W3 | zero_to(6) | {"e": some(5, 5, 1, 1)},
        None,
        reason="the Conv before it is read elsewhere too",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_function_stays(case: Case, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    check_case(FoldClip(255), case, build, run)


def test_a_folded_clip_ends_where_uint8_does(build: Callable[..., onnx.ModelProto]) -> None:
    constants = _W3 | zero_to(6) | {"e": some(3, 5, 1, 1)}
    before = build(f"{_CLIP} y = Conv(t, e)", inputs={"x": MAP}, outputs={"y": "float[N,3,4,4]"}, constants=constants)
    model = ir.from_proto(before)
    FoldClip(255)(model)
    (clip,) = [node for node in model.graph if node.op_type == "Clip"]
    bound = clip.inputs[2]
    assert bound is not None
    assert bound.const_value is not None
    assert float(bound.const_value.numpy()) / 255 == 2.0**-5  # 255/32 = 7.97 lies nearer to 6 than 255/64 by ratio
