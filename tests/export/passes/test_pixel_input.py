from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hardtemper.export.passes.pixel_input import PixelInput
from hardtemper.tests.export.passes.pass_cases import MAP, RNG, some

W3 = {"w": some(5, 4, 3, 3), "b": some(5)}


@pytest.mark.parametrize("scale", [1 / 255, 2.0**-8])
def test_pixels_in_place_of_floats(
    scale: float, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]
) -> None:
    before = build("y = Conv(x, w, b)", inputs={"x": MAP}, outputs={"y": "float[N,5,4,4]"}, constants=W3)
    model = ir.from_proto(before)
    PixelInput(scale)(model)
    after = ir.to_proto(model)
    onnx.checker.check_model(after, full_check=True)
    pixels = RNG.integers(0, 256, (3, 4, 6, 6)).astype(np.uint8)
    expected = run(before, {"x": pixels.astype(np.float32) / 255})[0]
    np.testing.assert_allclose(run(after, {"x": pixels})[0], expected, rtol=1e-4, atol=1e-5)
    # 1/255 is the pixel's own scale; anything else needs the factor that MergeConvs folds into the first layer
    assert Counter(node.op_type for node in after.graph.node)["Conv"] == (1 if scale == 1 / 255 else 2)
    assert not PixelInput(scale)(model).modified


def test_sizes_are_those_of_the_pixels(build: Callable[..., onnx.ModelProto]) -> None:
    """Else the real numbers behind the DequantizeLinear would be made for their shape alone."""
    text = "c = Conv(x, w, b) n = Shape<start=0, end=1>(x) y = Expand(k, n)"
    constants = {**W3, "k": some(1)}
    model = ir.from_proto(build(text, inputs={"x": MAP}, outputs={"y": "float[N]"}, constants=constants))
    PixelInput(1 / 255)(model)
    assert sorted(node.op_type for node, _ in model.graph.inputs[0].uses()) == ["DequantizeLinear", "Shape"]


@pytest.mark.parametrize("inputs", [{"x": "float[N,4]"}, {"x": "int32[N,4,6,6]"}, {"x": MAP, "z": MAP}])
def test_it_requires_one_input_of_images(inputs: dict[str, str], build: Callable[..., onnx.ModelProto]) -> None:
    kind, _, shape = inputs["x"].partition("[")
    model = ir.from_proto(build("y = Identity(x)", inputs=inputs, outputs={"y": f"{kind}[{shape}"}))
    with pytest.raises(ir.passes.PreconditionError, match="not one float32 or uint8 input"):
        PixelInput(1 / 255)(model)


def test_it_ensures_that_pixels_are_dequantized(build: Callable[..., onnx.ModelProto]) -> None:
    kinds = {"x": "uint8[N,4,6,6]"}, {"y": "uint8[N,4,6,6]"}
    model = ir.from_proto(build("y = Identity(x)", inputs=kinds[0], outputs=kinds[1]))
    with pytest.raises(ir.passes.PostconditionError, match=r"read by \['Identity'\]"):
        PixelInput(1 / 255)(model)
