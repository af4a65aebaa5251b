from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from hardtemper.export.proofs.macs import macs_as_written
from hardtemper.export.quantization.quantize import IntegerGraph
from hardtemper.runtime.errors import ModelError


@pytest.mark.parametrize("images", ["N", "1", "3"])
def test_macs_are_those_of_one_image(build: Callable[..., onnx.ModelProto], images: str) -> None:
    """Rows of a map, [N T, K], count as many as an image has; products of computed tensors count."""
    model = build(
        "c = Conv(image, w) r = Reshape(c, rows) g = Gemm(r, m) b = Reshape(g, back)"
        " t = Transpose<perm=[0,2,1]>(b) p = MatMul(b, t) logits = Flatten(p)",
        inputs={"image": f"float[{images},4,6,3]"},
        outputs={"logits": f"float[{images},L]"},
        constants={
            "w": np.ones((4, 2, 1, 1), np.float32),
            "rows": np.array([-1, 3]),
            "m": np.ones((3, 5), np.float32),
            "back": np.array([-1, 24, 5]),
        },
    )
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("group", 2))
    assert macs_as_written(model) == {"c": 4 * 6 * 3 * 2, "g": 24 * 5 * 3, "p": 24 * 24 * 5}


def test_a_graph_whose_shapes_onnx_cannot_tell(residual_integer: IntegerGraph) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(residual_integer.model)
    next(node for node in model.graph.node if node.op_type == "DequantizeLinear").domain = "ai.onnx"
    with pytest.raises(ModelError, match="ONNX cannot tell the graph's shapes"):
        macs_as_written(model)
