from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hardtemper.export.lower import INPUT_SCALE, FloatGraph, pixel_graph
from hardtemper.export.quantization.integer_layout import Layout
from hardtemper.export.quantization.placement import PlaceQuantizers
from hardtemper.export.quantization.scheme import Grid, Scheme

Build = Callable[..., onnx.ModelProto]

PIXELS = Grid(INPUT_SCALE, 0)
WEIGHTS: dict[str, Any] = {
    "s": np.float32(INPUT_SCALE),
    "z": np.uint8(0),
    "w": np.ones((2, 1, 1, 1), np.float32),
    "low": np.float32(0),
    "high": np.float32(6),
}


def graph(build: Build, text: str, **constants: Any) -> ir.Model:
    model = build(
        f"x = DequantizeLinear(image, s, z) {text}",
        inputs={"image": "uint8[N,1,4,4]"},
        outputs={"y": "float[N,L]"},
        constants=WEIGHTS | constants,
    )
    return ir.from_proto(model)


def quantized_values(graph: ir.Graph, scheme: Scheme | None = None) -> list[ir.Value]:
    return Layout(graph, scheme or Scheme()).quantized_values()


def place(model: ir.Model, grids: dict[str, Grid]) -> Counter[str]:
    PlaceQuantizers(grids, pixels=PIXELS, scheme=Scheme())(model)
    return Counter(node.op_type for node in model.graph)


def test_a_clamp_that_the_grid_makes_goes(build: Build) -> None:
    model = graph(build, "t = Conv(x, w) r = Relu(t) y = Flatten(r)")
    assert [value.name for value in quantized_values(model.graph)] == ["r"]
    assert place(model, {"r": Grid(2.0**-4, 0)}) == {
        "Conv": 1, "Flatten": 1, "QuantizeLinear": 1, "DequantizeLinear": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "grid", "clip"),
    [
        ("Clip(t, low, high)", Grid(2.0**-6, 0), None),  # saturates at 3.98, as far as calibration wants it
        ("Clip(t, low, high)", Grid(2.0**-5, 0), (0, 192)),
        ("Clip(t, low, high)", Grid(2.0**-5, 128), (128, 255)),  # 6 is beyond 127 * 2^-5
        ("Clip(t, , high)", Grid(2.0**-4, 128), (0, 224)),
        ("Clip(t, low)", Grid(2.0**-4, 128), (128, 255)),
        ("Relu(t)", Grid(2.0**-5, 128), (128, 255)),
    ],
)
def test_clamps_on_integers(text: str, grid: Grid, clip: tuple[int, int] | None, build: Build) -> None:
    model = graph(build, f"t = Conv(x, w) r = {text} y = Flatten(r)")
    place(model, {"r": grid})
    found = [node for node in model.graph if node.op_type == "Clip"]
    bounds = [tuple(int(v.const_value.numpy()) for v in node.inputs[1:] if v and v.const_value) for node in found]
    assert bounds == ([] if clip is None else [clip])


TENSORRT = Scheme(target="tensorrt")


@pytest.mark.parametrize(
    ("text", "unrounded"),
    [
        ("c = Conv(x, w) d = Conv(c, v) e = Conv(d, v) a = Add(c, e)", "e"),
        ("c = Conv(x, w) d = Conv(c, v) e = Conv(d, v) a = Add(e, c)", "e"),
        # two convolutions: the one at the end of the longer path; of equals the first
        ("c = Conv(x, w) r = Relu(c) d = Conv(r, v) e = Conv(d, v) f = Conv(r, v) a = Add(f, e)", "e"),
        ("c = Conv(x, w) e = Conv(c, v) f = Conv(c, v) a = Add(f, e)", "f"),
        # what a ReLU or somebody else reads too is rounded
        ("c = Conv(x, w) d = Conv(c, v) e = Relu(d) a = Add(c, e)", None),
        ("c = Conv(x, w) d = Conv(c, v) g = Conv(d, v) b = Add(d, g) a = Add(c, b)", "g"),
        ("c = Conv(x, w) a = Add(c, c)", None),
    ],
)
def test_which_term_of_a_sum_is_not_rounded(text: str, unrounded: str | None, build: Build) -> None:
    model = graph(build, f"{text} y = Flatten(a)", v=np.ones((2, 2, 1, 1), np.float32))
    values = quantized_values(model.graph, scheme=TENSORRT)
    everything = {value.name for value in quantized_values(model.graph)}
    assert everything - {value.name for value in values} == ({unrounded} if unrounded else set())
    grids = {name or "": Grid(2.0**-4, 128) for name in everything}
    PlaceQuantizers(grids, pixels=PIXELS, scheme=TENSORRT)(model)  # its postcondition looks at every node
    sums = [node for node in model.graph if node.op_type == "Add"]
    makers = [[v.producer().op_type for v in node.inputs if v and v.producer()] for node in sums]  # type: ignore[union-attr]
    assert sum(kinds.count("Conv") for kinds in makers) == (unrounded is not None)
    kinds = {v.dtype for n in model.graph if n.op_type == "QuantizeLinear" for v in n.outputs}
    assert kinds == {ir.DataType.INT8}


def test_clamps_for_tensorrt(build: Build) -> None:
    """No clamp is made by int8's lower end."""
    model = graph(build, "t = Conv(x, w) r = Relu(t) y = Flatten(r)")
    PlaceQuantizers({"r": Grid(2.0**-4, 128)}, pixels=PIXELS, scheme=TENSORRT)(model)
    (clip,) = [node for node in model.graph if node.op_type == "Clip"]
    assert [v.const_value.numpy().item() for v in clip.inputs[1:] if v and v.const_value] == [0, 127]
    zeros = {v.const_value.numpy().item() for n in model.graph if n.op_type == "QuantizeLinear"
             for v in n.inputs[2:] if v and v.const_value}  # fmt: skip
    assert zeros == {0}


def test_free_scales_end_where_the_clamp_does(build: Build) -> None:
    model = graph(build, "t = Conv(x, w) r = Clip(t, low, high) y = Flatten(r)")
    PlaceQuantizers({"r": Grid(0.03, 0)}, pixels=PIXELS, scheme=Scheme(scales="free"))(model)
    (scale,) = [v for name, v in model.graph.initializers.items() if name == "r_scale"]
    assert scale.const_value is not None
    assert scale.const_value.numpy() == np.float32(6 / 255)
    assert not any(node.op_type == "Clip" for node in model.graph)


def test_logits_stay_sums(build: Build) -> None:
    model = graph(build, "f = Flatten(x) y = Gemm(f, m)", m=np.ones((16, 3), np.float32))
    assert quantized_values(model.graph) == []
    place(model, {})
    (logits,) = model.graph.outputs
    producer = logits.producer()
    assert producer is not None
    assert producer.op_type == "Gemm"


def test_moved_integers_share_their_grid(build: Build) -> None:
    model = graph(build, "t = Conv(x, w) p = MaxPool<kernel_shape=[2,2]>(t) y = Flatten(p)")
    place(model, {"t": Grid(0.25, 128)})
    scales = {
        float(value.const_value.numpy())
        for name, value in model.graph.initializers.items()
        if name in ("t_scale", "p_scale", "y_scale") and value.const_value is not None
    }
    assert scales == {0.25}


def test_a_value_without_a_grid(build: Build) -> None:
    model = graph(build, "t = Conv(x, w) y = Flatten(t)")
    with pytest.raises(ir.passes.PreconditionError, match=r"without a grid.*'t'"):
        place(model, {})


def test_the_postcondition_sees_what_is_left(build: Build, residual_graph: FloatGraph) -> None:
    """On graphs that nobody quantized, or not all of."""
    check = PlaceQuantizers({}, pixels=PIXELS, scheme=Scheme()).ensures
    with pytest.raises(ir.passes.PostconditionError):
        check(pixel_graph(residual_graph, scale=INPUT_SCALE, exact=True).model)
    text = "t = Conv(x, w) q = QuantizeLinear(t, s, z) u = DequantizeLinear(q, s, z) y = ReduceMax<keepdims=0>(u, axes)"
    half = graph(build, text, axes=np.array([2, 3]))
    with pytest.raises(ir.passes.PostconditionError, match="ReduceMax 'y' is read by the caller"):
        check(half)
    with pytest.raises(ir.passes.PostconditionError, match="Relu 'r' is not on integers"):
        check(graph(build, "r = Relu(x) c = Conv(r, w) y = Flatten(c)"))
    with pytest.raises(ir.passes.PostconditionError, match=r"Conv 't' is read by \['Conv'\]"):
        check(graph(build, "t = Conv(x, w) u = Conv(t, w2) y = Flatten(u)", w2=np.ones((1, 2, 1, 1), np.float32)))
    text = "p = MaxPool<kernel_shape=[2,2]>(image) y = Flatten(p)"
    floats = ir.from_proto(build(text, inputs={"image": "float[N,1,4,4]"}, outputs={"y": "float[N,9]"}))
    with pytest.raises(ir.passes.PostconditionError, match="MaxPool 'p' reads"):
        check(floats)
