from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hardtemper.export.passes.fuse_gelu import FuseGelu
from hardtemper.tests.export.passes.pass_cases import MAP, Case, check_case

NUMBERS = {
    name: np.float32(number) for name, number in {"r": 2**0.5, "i": 0.5**0.5, "l": 1, "h": 0.5, "o": 0.4}.items()
}
CASES = {
    "torch's": "a = Div(x, r) b = Erf(a) c = Add(b, l) d = Mul(h, c) y = Mul(x, d)",
    "half last": "a = Mul(x, i) b = Erf(a) c = Add(l, b) d = Mul(x, c) y = Mul(d, h)",
    "half of x": "a = Div(x, r) b = Erf(a) c = Add(b, l) d = Mul(x, h) y = Mul(d, c)",
}
OTHERS = {
    "another factor": "a = Div(x, r) b = Erf(a) c = Add(b, l) d = Mul(o, c) y = Mul(x, d)",
    "another scale": "a = Mul(x, o) b = Erf(a) c = Add(b, l) d = Mul(h, c) y = Mul(x, d)",
    "another tensor": "t = Neg(x) a = Div(x, r) b = Erf(a) c = Add(b, l) d = Mul(h, c) y = Mul(t, d)",
    "no x": "a = Div(x, r) b = Erf(a) c = Add(b, l) y = Mul(h, c)",
    "x twice": "a = Div(x, r) b = Erf(a) c = Add(b, l) d = Mul(x, c) y = Mul(x, d)",
    "read between": "a = Div(x, r) b = Erf(a) c = Add(b, l) d = Mul(h, c) e = Mul(x, d) y = Add(e, d)",
}


def used(text: str) -> dict[str, Any]:
    words = set(text.replace("(", " ").replace(")", " ").replace(",", " ").split())
    return {name: number for name, number in NUMBERS.items() if name in words}


@pytest.mark.parametrize("text", CASES.values(), ids=CASES)
def test_the_function_stays(text: str, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    check_case(FuseGelu(), Case("", text, MAP, used(text), {"Gelu": 1}), build, run)


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
def test_what_is_no_gelu_stays(text: str, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    check_case(FuseGelu(), Case("", text, MAP, used(text), None), build, run)


def test_the_opset_has_gelu(build: Callable[..., onnx.ModelProto]) -> None:
    text = CASES["torch's"]
    model = ir.from_proto(build(text, inputs={"x": MAP}, outputs={"y": MAP}, constants=used(text)))
    FuseGelu()(model)
    assert model.graph.opset_imports[""] >= 20
