from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hardtemper.export.lower import INPUT_SCALE
from hardtemper.export.quantization.scheme import Grid
from hardtemper.export.quantization.sum_grids import COARSER, SumGrids, fit_sums

PIXELS = Grid(INPUT_SCALE, 0)
CONSTANTS: dict[str, Any] = {
    "s": np.float32(INPUT_SCALE),
    "z": np.uint8(0),
    "w": np.ones((2, 1, 1, 1), np.float32),
    "v": np.ones((2, 2, 1, 1), np.float32),
    "m": np.ones((16, 16), np.float32),
}


def fit(
    build: Callable[..., onnx.ModelProto], text: str, **scales: float
) -> tuple[SumGrids, Counter[str], dict[str, float]]:
    """Grids of the values named, the operators of the graph that they are for, and their scales."""
    proto = build(
        f"x = DequantizeLinear(image, s, z) {text}",
        inputs={"image": "uint8[N,1,4,4]"},
        outputs={"y": "float[N,K]"},
        constants=CONSTANTS,
    )
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    fitted = fit_sums(model, {name: Grid(scale, 128) for name, scale in scales.items()}, pixels=PIXELS)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    return fitted, Counter(n.op_type for n in model.graph), {name: g.scale for name, g in fitted.grids.items()}


BLOCK = "b = Conv(x, w) c = Conv(b, v) a = Add(b, c) y = Flatten(a)"


@pytest.mark.parametrize(
    ("b", "c", "a", "wanted"),
    [
        (1.0, 1.0, 1.0, {"b": 1.0, "c": 1.0}),
        (1.0, 0.125, 1.0, {"b": 1.0, "c": 1.0}),  # the sum alone reads c
        (0.5, 0.5, 1.0, {"b": 1.0, "c": 1.0}),
        (4.0, 2.0, 1.0, {"b": 4.0, "c": 2.0}),  # whole multiples never tie
        (0.25, 1.0, 1.0, {"b": 0.25, "c": 1.0, "a.term_0": 1.0}),  # c reads b too
    ],
)
def test_no_term_is_finer_than_the_sum(b: float, c: float, a: float, wanted: dict[str, float], build: Any) -> None:
    assert COARSER == 2.0
    fitted, operators, scales = fit(build, BLOCK, b=b, c=c, a=a)
    assert scales == wanted | {"a": a}
    copied = "a.term_0" in wanted
    assert fitted.terms == {"a.term_0" if copied else "b", "c"}
    assert {grid.zero_point for grid in fitted.grids.values()} == {128}
    # a pool behind c, which the sum alone reads, and behind the copy
    assert operators["MaxPool"] == 1 + copied
    assert operators["Conv"] == 2 + copied


def test_through_clamps_and_moves(build: Any) -> None:
    text = """b = Conv(x, w) r = Relu(b) p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r) c = Conv(p, v)
              t = Transpose<perm=[0,1,3,2]>(c) a = Add(p, t) h = Relu(a) y = Flatten(h)"""
    fitted, _, scales = fit(build, text, r=0.5, c=0.125, h=1.0)
    assert scales == {"r": 1.0, "c": 1.0, "h": 1.0}
    assert fitted.terms == {"r", "c"}


def test_a_chain_takes_the_grid_of_its_end(build: Any) -> None:
    text = "b = Conv(x, w) c = Conv(b, v) a = Add(b, c) d = Conv(a, v) e = Add(a, d) y = Flatten(e)"
    _, _, scales = fit(build, text, b=1.0, c=0.25, a=1.0, d=0.25, e=2.0)
    assert scales == {"b": 2.0, "c": 2.0, "a": 2.0, "d": 2.0, "e": 2.0}


def test_a_part_of_a_tensor_is_not_the_sums_alone(build: Any) -> None:
    text = "b = Conv(x, w) p, q = Split<axis=1, num_outputs=2>(b) c = Conv(p, w) a = Add(b, c) y = Flatten(a)"
    _, _, scales = fit(build, text.replace("Add(b, c)", "Add(q, p)"), b=0.25, c=1.0, a=1.0)
    assert scales["b"] == 0.25
    assert scales["a.term_0"] == scales["a.term_1"] == 1.0


def test_the_image_is_copied(build: Any) -> None:
    text = "k = Conv(x, w) p, q = Split<axis=1, num_outputs=2>(k) a = Add(x, p) y = Flatten(a)"
    fitted, operators, scales = fit(build, text, k=1.0, a=1.0)
    assert scales == {"k": 1.0, "a": 1.0, "a.term_0": 1.0}
    assert fitted.grids["a.term_0"].zero_point == PIXELS.zero_point
    assert operators["Conv"] == 2
    fitted, operators, _ = fit(build, text, k=INPUT_SCALE, a=INPUT_SCALE)
    assert operators["Conv"] == 1
    assert "k" in fitted.terms


def test_rows_have_no_convolution(build: Any) -> None:
    text = "f = Flatten(x) g = Gemm(f, m) h = Gemm(g, m) a = Add(g, h) y = Relu(a)"
    _, operators, scales = fit(build, text, g=0.125, h=1.0, y=1.0)
    assert scales == {"g": 1.0, "h": 1.0, "y": 1.0}
    assert operators["MaxPool"] == operators["Conv"] == 0
