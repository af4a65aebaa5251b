from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hardtemper.export.lower import lower_onnx
from hardtemper.export.quantization.operators.normalizations import PROBABILITY_STEP
from hardtemper.export.quantization.quantize import quantize

GAIN = np.random.default_rng(1).normal(1, 0.3, 6).astype(np.float32)
OFFSET = np.random.default_rng(2).normal(0, 0.3, 6).astype(np.float32)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("y = Softmax<axis=-1>(b)", "Softmax"),
        ("y = Softmax<axis=1>(b)", "Softmax"),
        ("y = Softmax<axis=-2>(a)", "Softmax"),
        ("y = LayerNormalization<axis=-1>(b, gain, offset)", "LayerNormalization"),
        ("y = LayerNormalization<axis=-2, epsilon=0.1>(a, gain)", "LayerNormalization"),
        ("t = Tanh(b) y = LayerNormalization<axis=1>(t, gain, offset)", "LayerNormalization"),
    ],
)
def test_normalizations_are_one_function(text: str, name: str, exact: Callable[..., Any]) -> None:
    constants = {key: value for key, value in (("gain", GAIN), ("offset", OFFSET)) if key in text}
    found = exact(text, **constants)
    assert found.floats == (["Tanh", name] if "Tanh" in text else [name])
    assert found.integer.float_operators[-1].reason.endswith("every engine rounds its float operations alike")
    assert not {node.op_type for node in found.integer.model.graph.node} & {"LayerNormalization", "Softmax"}


def test_probabilities_have_the_grid_of_256_steps(exact: Callable[..., Any]) -> None:
    graph = exact("y = Softmax(b)").integer.model.graph
    scales = {tensor.name: tensor for tensor in graph.initializer}
    (read,) = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] == "y_quantized"]
    assert np.frombuffer(scales[read.input[1]].raw_data, np.float32) == PROBABILITY_STEP


@pytest.mark.parametrize(
    ("last", "operator"),
    [
        ("p = Softmax<axis=1>(m)", "Softmax as the last operator"),
        ("p = LayerNormalization<axis=1>(m, g)", "LayerNormalization as the last operator"),
        ("s = Shape(image) t = Tanh(c) h = ReduceMax<keepdims=0>(t) p = LayerNormalization<axis=1>(m, h)", None),
    ],
)
def test_what_stays_as_it_is(
    last: str, operator: str | None, build: Callable[..., Any], pixels: Callable[..., Any]
) -> None:
    constants = {"w": np.random.default_rng(6).normal(size=(4, 3, 1, 1)).astype(np.float32)}
    if " g)" in last:
        constants["g"] = np.ones((4, 1, 1), np.float32)
    model = build(
        f"c = Conv(image, w) m = GlobalAveragePool(c) {last} logits = Flatten(p)",
        inputs={"image": "float[N,3,6,6]"},
        outputs={"logits": "float[N,4]"},
        constants=constants,
    )
    integer = quantize(lower_onnx(model), pixels(8, (3, 6, 6)))
    assert integer.float_operators[-1].operator == (operator or "LayerNormalization with computed weights")
