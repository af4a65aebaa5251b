from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hardtemper.export.passes.node_pass import RefusedError
from hardtemper.export.quantization.between_quantizers import between

NUMBERS = {"s": np.float32(0.25), "t": np.float32(0.5), "z": np.array(3, np.uint8)}


def _node(build: Callable[..., onnx.ModelProto], text: str, size: str = "5") -> ir.Node:
    model = build(
        text,
        inputs={"q": f"uint8[N,4,{size}]"},
        outputs={"y": f"uint8[N,4,{size}]"},
        constants={k: v for k, v in NUMBERS.items() if f"{k})" in text or f"{k}," in text},
    )
    graph = ir.from_proto(onnx.shape_inference.infer_shapes(model)).graph
    return next(node for node in graph if node.op_type in ("Softmax", "Relu"))


def test_what_stands_around(build: Callable[..., onnx.ModelProto]) -> None:
    text = "x = DequantizeLinear(q, s, z) p = Softmax<axis=-1>(x) y = QuantizeLinear(p, t, z)"
    node = _node(build, text)
    found = between(node, slice(-2, None))
    assert found is not None
    assert (found.integers.name, found.scale, found.step) == ("q", 0.25, 0.5)
    assert (found.axes, found.numbers, found.quantizer.op_type) == ((1, 2), 20, "QuantizeLinear")


def test_sizes_that_are_not_known_are_refused(build: Callable[..., onnx.ModelProto]) -> None:
    text = "x = DequantizeLinear(q, s, z) p = Softmax<axis=-1>(x) y = QuantizeLinear(p, t, z)"
    with pytest.raises(RefusedError, match="its sizes are not known"):
        between(_node(build, text, "L"), slice(-1, None))


@pytest.mark.parametrize(
    "text",
    [
        "x = DequantizeLinear(q, s, z) u = Neg(x) p = Softmax(u) y = QuantizeLinear(p, t, z)",
        "x = DequantizeLinear(q, s, z) p = Softmax(x) u = Neg(p) y = QuantizeLinear(u, t, z)",
        "x = DequantizeLinear(q, s, z) p = Softmax(x) u = Relu(p) v = Neg(p) y = QuantizeLinear(v, t, z)",
    ],
)
def test_others_do_not_stand_between(text: str, build: Callable[..., onnx.ModelProto]) -> None:
    assert between(_node(build, text), slice(-1, None)) is None
