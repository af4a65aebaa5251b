from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hardtemper.export.passes.logits_row import LogitsRow


@pytest.mark.parametrize(("axes", "modified"), [("2, 3", True), ("", False)])
def test_logits_of_one_pixel(
    axes: str, modified: bool, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]
) -> None:
    text = "y = GlobalAveragePool(x)" if modified else "p = GlobalAveragePool(x) y = Flatten(p)"
    output = {"y": "float[N,4,1,1]" if modified else "float[N,4]"}
    before = build(text, inputs={"x": "float[N,4,3,3]"}, outputs=output)
    model = ir.from_proto(before)
    assert LogitsRow()(model).modified == modified
    after = ir.to_proto(model)
    onnx.checker.check_model(after, full_check=True)
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 3)).astype(np.float32)
    (found,), (wanted,) = run(after, {"x": x}), run(before, {"x": x})
    assert found.shape == (2, 4)
    np.testing.assert_array_equal(found, wanted.reshape(2, 4))
    assert model.graph.outputs[0].name == "y"
