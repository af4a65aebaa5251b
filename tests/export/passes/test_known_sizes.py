from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_ir.passes import common

from hardtemper.export.passes.known_sizes import KnownSizes
from hardtemper.tests.export.passes.pass_cases import RNG, ints

SIZES = "n = Shape<start=0, end=1>(x) s = Concat<axis=0>(n, rest)"


@pytest.mark.parametrize(("known", "left"), [((None, 4, 30), 2), ((None, None, 30), 4), ((None, 0, 30), 4)], ids=str)
def test_sizes(
    known: tuple[int | None, ...], left: int, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]
) -> None:
    """Where shape inference knows all but the batch, the nodes that computed the sizes are of no use."""
    before = build(
        f"{SIZES} f = Reshape(x, s) y = Neg(f)",
        inputs={"x": "float[N,4,6,5]"},
        outputs={"y": "float[N,M,30]"},
        constants={"rest": ints(4, 30)},
    )
    model = ir.from_proto(before)
    node = next(node for node in model.graph if node.op_type == "Reshape")
    node.outputs[0].shape = ir.Shape(known)
    KnownSizes()(model)
    common.RemoveUnusedNodesPass()(model)
    assert len(model.graph) == left
    x = RNG.normal(size=(3, 4, 6, 5)).astype(np.float32)
    np.testing.assert_array_equal(run(ir.to_proto(model), {"x": x})[0], run(before, {"x": x})[0])
