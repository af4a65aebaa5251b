"""The weight tensors of an integer graph."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from hardtemper.export.quantization.quantize import IntegerGraph
from hardtemper.toolchain.compress.sharing.integer_weights import integer_weights


def test_every_layer_with_its_scales(integer: IntegerGraph) -> None:
    found = integer_weights(integer.model)
    assert [(weights.layer, weights.kind, weights.codes.shape) for weights in found] == [
        ("0", "conv", (4, 1, 3, 3)),
        ("6", "linear", (4, 64)),
    ]
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in integer.model.graph.initializer}
    for weights in found:
        assert np.array_equal(weights.codes, stored[weights.initializer])
        assert weights.scale.shape == (4, *[1] * (weights.codes.ndim - 1))
        difference = np.abs(integer.shadow[weights.initializer] - weights.scale * weights.codes)
        assert (difference <= weights.scale / 2).all()


def test_what_is_no_int8_weight_is_passed_over(integer: IntegerGraph) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(integer.model)
    first, _ = integer_weights(integer.model)
    for tensor in model.graph.initializer:
        if tensor.name == first.initializer:
            tensor.CopyFrom(numpy_helper.from_array(first.codes.astype(np.int16), tensor.name))
    assert [weights.kind for weights in integer_weights(model)] == ["linear"]
    assert integer_weights(onnx.ModelProto()) == []
