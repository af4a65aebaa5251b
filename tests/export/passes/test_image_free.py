from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_ir.passes import common

from hardtemper.export.passes.image_free import ImageFree
from hardtemper.tests.export.passes.pass_cases import RNG, ints

COUNT = "n = Shape<start=0, end=1>(x) s = Concat<axis=0>(n, rest)"
CONSTANTS = {
    "rest": ints(4),
    "one": np.ones(1, np.float32),
    "row": np.ones((1, 4), np.float32),
    "axis": np.array(1, np.int64),
}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        # positions, counted for every image
        (f"{COUNT} e = Expand(one, s) p = CumSum(e, axis) y = Add(x, p)", ["Add"]),
        # no image is asked how many there are
        ("z = ConstantOfShape(rest) c = Cos(z) y = Add(x, c)", ["Add"]),
        # sizes that depend on the number of images stay
        (f"{COUNT} e = Expand(row, s) y = Concat<axis=1>(x, e)", ["Shape", "Concat", "Expand", "Concat"]),
        # numbers that differ between images stay
        (f"{COUNT} e = Expand(one, s) p = CumSum(e, zero) y = Mul(x, p)",
         ["Shape", "Concat", "Expand", "CumSum", "Mul"]),
        # nothing else repeats the row
        (f"{COUNT} e = Expand(one, s) y = Add(e, row)", ["Shape", "Concat", "Expand", "Add"]),
        # what ONNX's reference refuses stays: an axis is a scalar
        (f"{COUNT} e = Expand(one, s) p = CumSum(e, axes) y = Add(x, p)",
         ["Shape", "Concat", "Expand", "CumSum", "Add"]),
        # random numbers are not constants
        ("r = RandomUniform<shape=[1, 4], seed=1.0>() y = Add(x, r)", ["RandomUniform", "Add"]),
    ],
)  # fmt: skip
def test_what_is_left(
    text: str, left: list[str], build: Callable[..., onnx.ModelProto], run: Callable[..., Any]
) -> None:
    """The same numbers for another count of images than it was evaluated for."""
    constants = {**CONSTANTS, "axes": ints(1), "zero": np.array(0, np.int64)}
    before = build(text, inputs={"x": "float[N,4]"}, outputs={"y": "float[N,M]"}, constants=constants)
    model = common.ShapeInferencePass()(ir.from_proto(before)).model
    ImageFree()(model)
    common.RemoveUnusedNodesPass()(model)
    assert [node.op_type for node in model.graph] == left
    if "Random" not in text:
        x = RNG.normal(size=(5, 4)).astype(np.float32)
        np.testing.assert_array_equal(run(ir.to_proto(model), {"x": x})[0], run(before, {"x": x})[0])
