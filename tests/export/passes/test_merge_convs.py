from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest

from hardtemper.export.passes.merge_convs import MergeConvs
from hardtemper.tests.export.passes.pass_cases import MAP, Case, check_case, positive, some

_W3 = {"w": some(5, 4, 3, 3), "b": some(5)}
_ONE = {"a": positive(4, 1, 1, 1), "c": some(4)}
_DEPTHWISE = "s = Conv<group=4>(x, a, c)"

CASES = [
    Case(
        "affine behind",
        "t = Conv<pads=[1,1,1,1]>(x, w, b) y = Conv<group=5>(t, a, c)",
        "float[N,5,6,6]",
        _W3 | {"a": positive(5, 1, 1, 1), "c": some(5)},
        {"Conv": 1},
    ),
    Case("affine before", f"{_DEPTHWISE} y = Conv(s, w, b)", "float[N,5,4,4]", _W3 | _ONE, {"Conv": 1}),
    Case(
        "affine before groups",
        f"{_DEPTHWISE} y = Conv<group=2>(s, w)",
        "float[N,6,4,4]",
        _ONE | {"w": some(6, 2, 3, 3)},
        {"Conv": 1},
    ),
    Case(
        "scale before padding",
        "s = Conv<group=4>(x, a) y = Conv<pads=[1,1,1,1]>(s, w, b)",
        "float[N,5,6,6]",
        _W3 | {"a": _ONE["a"]},
        {"Conv": 1},
    ),
    Case(
        "three in a row",
        f"{_DEPTHWISE} t = Conv(s, w, b) y = Conv<group=5>(t, e)",
        "float[N,5,4,4]",
        _W3 | _ONE | {"e": positive(5, 1, 1, 1)},
        {"Conv": 1},
    ),
    Case(
        "offset before padding",
        f"{_DEPTHWISE} y = Conv<pads=[1,1,1,1]>(s, w, b)",
        "float[N,5,6,6]",
        _W3 | _ONE,
        None,
        reason="an offset cannot move behind its padding",
    ),
    Case(
        "read twice",
        f"{_DEPTHWISE} t = Conv<pads=[0,0,0,0]>(s, e) y = Add(s, t)",
        MAP,
        _ONE | {"e": some(4, 4, 1, 1)},
        None,
        reason="the convolution before it is read elsewhere too",
    ),
    Case("two full ones", "t = Conv(x, w, b) y = Conv(t, e)", "float[N,5,4,4]", _W3 | {"e": some(5, 5, 1, 1)}, None),
    Case(
        "a stride is no affine map",
        "t = Conv(x, w, b) y = Conv<group=5, strides=[2,2]>(t, e)",
        "float[N,5,2,2]",
        _W3 | {"e": some(5, 1, 1, 1)},
        None,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_function_stays(case: Case, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    check_case(MergeConvs(), case, build, run)
