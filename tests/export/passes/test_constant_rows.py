from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest

from hardtemper.export.passes.constant_rows import ConstantRows
from hardtemper.tests.export.passes.pass_cases import Case, check_case, ints, some

X, JOINED = "float[N,6,5]", "float[N,7,5]"
TOKEN = {"t": some(1, 1, 5), "one": ints(1), "rest": ints(1, 5)}
EXPAND = "n = Shape<start=0, end=1>(x) s = Concat<axis=0>(n, rest) e = Expand(t, s)"
LEFT = {"Shape": 1, "Concat": 1, "Expand": 1}


def _case(name: str, text: str, output: str, more: dict[str, Any], after: dict[str, int] | None) -> Case:
    constants = {key: value for key, value in TOKEN.items() if key != "one"} | more
    return Case(name, f"{EXPAND} {text}", output, constants, after, input=X)


CASES = [
    _case("in front", "y = Concat<axis=1>(e, x)", JOINED, {}, LEFT | {"Pad": 1, "Add": 1}),
    _case("behind", "y = Concat<axis=-2>(x, e)", JOINED, {}, LEFT | {"Pad": 1, "Add": 1}),
    _case("both", "y = Concat<axis=1>(e, x, e)", "float[N,8,5]", {}, LEFT | {"Pad": 1, "Add": 1}),
    _case(
        "with a position embedding", "c = Concat<axis=1>(e, x) y = Add(p, c)", JOINED, {"p": some(1, 7, 5)},
        LEFT | {"Pad": 1, "Add": 1},
    ),
    _case(
        "with a term that grows", "c = Concat<axis=1>(e, x) y = Add(c, p)", "float[4,N,7,5]", {"p": some(4, 1, 7, 5)},
        LEFT | {"Pad": 1, "Add": 2},
    ),
    _case("with itself", "c = Concat<axis=1>(e, x) y = Add(c, c)", JOINED, {}, LEFT | {"Pad": 1, "Add": 2}),
    _case("two variables", "r = Relu(x) y = Concat<axis=1>(e, x, r)", "float[N,13,5]", {}, None),
    _case("over images", "y = Concat<axis=0>(x, x)", "float[M,6,5]", {}, None),
    Case(
        "of every place", "n = Shape(x) e = Expand(t, n) y = Concat<axis=1>(e, x)", "float[N,12,5]",
        {"t": some(1, 1, 5)}, None, input=X,
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_function_stays(case: Case, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    def with_shapes(*given: Any, **more: Any) -> onnx.ModelProto:
        return onnx.shape_inference.infer_shapes(build(*given, **more), data_prop=True)

    check_case(ConstantRows(), case, with_shapes, run)
