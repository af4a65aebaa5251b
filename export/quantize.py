"""Float graph -> integer graph: where quantizers stand, and what they are.

A value gets a quantizer where an integer kernel requantizes: behind each Conv, Gemm, Add, Concat and average pool, after
the ReLU or ReLU6 that follows it. A clamp that the uint8 range already makes is dropped from the graph. Max pools and
reshapes move integers, so their result shares their input's grid. The logits are not requantized: the last Gemm gives
its int32 sums times one scale per class.

    DequantizeLinear -> operator -> QuantizeLinear      is one integer kernel (QLinearConv, QLinearAdd, QGemm, ...)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx_ir.passes import common as passes

from ..runtime.errors import UnsupportedOperatorError
from ..runtime.progress import ProgressCallback, silent
from .calibrate import calibrate
from .lower import INPUT_SCALE, FloatGraph, pixel_graph
from .passes.values import add_initializer, attribute, constant, only_consumer
from .scheme import Grid, Scheme, weight_scales

__all__ = ["IntegerGraph", "quantize"]

_REQUANTIZED = frozenset({"Conv", "Gemm", "Add", "Concat", "AveragePool", "GlobalAveragePool"})
_MOVED = frozenset({"MaxPool", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze"})
_CLAMPS = frozenset({"Relu", "Clip"})


@dataclass(frozen=True, kw_only=True, slots=True)
class IntegerGraph:
    """A quantized classifier: the graph that is trained, attacked, proved and shipped.

    Attributes:
        model: Q/DQ ONNX; input `image` uint8 [N, C, H, W], output `logits` float32 [N, K].
        scheme: how it was quantized.
        shadow: the float values that integer weights and biases were rounded from, by initializer name.
    """

    model: onnx.ModelProto
    scheme: Scheme
    shadow: Mapping[str, npt.NDArray[np.float32]]


def quantize(
    graph: FloatGraph,
    images: npt.NDArray[np.uint8],
    *,
    scheme: Scheme | None = None,
    progress: ProgressCallback = silent,
) -> IntegerGraph:
    """Place quantizers, calibrate them on `images` and round the weights.

    Args:
        graph: clean float graph.
        images: calibration images, uint8 [N, C, H, W].
        scheme: defaults to power-of-two scales, even zero points, least squared error.

    Raises:
        UnsupportedOperatorError: operators that have no integer kernel, all of them listed.
    """
    scheme = scheme or Scheme()
    model = pixel_graph(graph, scale=INPUT_SCALE, exact=scheme.exact)
    _refuse_unknown(model.graph)
    names = [value.name or "" for value in _quantized(model.graph)]
    grids = calibrate(ir.to_proto(model), names, images, scheme=scheme, progress=progress)
    shadow: dict[str, npt.NDArray[np.float32]] = {}
    _Placer(model.graph, grids, scheme, shadow).place()
    passes.RemoveUnusedNodesPass()(model)
    passes.TopologicalSortPass()(model)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return IntegerGraph(model=proto, scheme=scheme, shadow=shadow)


def _refuse_unknown(graph: ir.Graph) -> None:
    known = _REQUANTIZED | _MOVED | _CLAMPS | {"DequantizeLinear"}
    unknown: dict[str, list[str]] = {}
    for node in graph:
        variable = [v for v in node.inputs if v is not None and constant(v) is None]
        weights_vary = node.op_type in ("Conv", "Gemm") and len(variable) > 1
        constant_term = node.op_type in ("Add", "Concat") and len(variable) < len(node.inputs)
        if node.op_type not in known or weights_vary or constant_term:
            unknown.setdefault(node.op_type, []).append(node.outputs[0].name or "?")
    if unknown:
        listing = ", ".join(f"{op} ({', '.join(names[:3])})" for op, names in sorted(unknown.items()))
        raise UnsupportedOperatorError(
            "the graph holds operators without an integer kernel",
            expected=", ".join(sorted(_REQUANTIZED | _MOVED | _CLAMPS)),
            got=listing,
            fix="replace these layers in the model",
        )


def _clamp_behind(node: ir.Node) -> ir.Node | None:
    """The Relu or Clip that alone reads `node`'s result."""
    follower = only_consumer(node.outputs[0])
    return follower if follower is not None and follower.op_type in _CLAMPS else None


def _quantized(graph: ir.Graph) -> list[ir.Value]:
    """The values that need a grid of their own."""
    found = []
    for node in graph:
        if node.op_type not in _REQUANTIZED:
            continue
        value = (_clamp_behind(node) or node).outputs[0]
        if not (value.is_graph_output() and node.op_type == "Gemm"):
            found.append(value)
    return found


class _Placer:
    """Rewrites one graph in place; `_done` maps a float value to the value that dequantizes it."""

    def __init__(
        self,
        graph: ir.Graph,
        grids: Mapping[str, Grid],
        scheme: Scheme,
        shadow: dict[str, npt.NDArray[np.float32]],
    ) -> None:
        self._graph = graph
        self._grids = grids
        self._scheme = scheme
        self._shadow = shadow
        self._done: dict[ir.Value, tuple[ir.Value, Grid]] = {}

    def place(self) -> None:
        """Walk the graph from pixels to logits."""
        for node in list(self._graph):
            if node.op_type == "DequantizeLinear":
                self._done[node.outputs[0]] = (node.outputs[0], Grid(INPUT_SCALE, 0))
            elif node.op_type in _REQUANTIZED:
                self._requantize(node)
            elif node.op_type in _MOVED:
                grid = self._read(node, 0)
                self._insert(node.outputs[0], node, grid)

    def _read(self, node: ir.Node, index: int) -> Grid:
        """Let input `index` of `node` read the dequantized value; its grid."""
        value = node.inputs[index]
        assert value is not None
        dequantized, grid = self._done[value]
        node.replace_input_with(index, dequantized)
        return grid

    def _requantize(self, node: ir.Node) -> None:
        clamp = _clamp_behind(node)
        result = (clamp or node).outputs[0]
        logits = node.op_type == "Gemm" and result.is_graph_output()
        if node.op_type in ("Conv", "Gemm"):
            self._weights(node, self._read(node, 0))
        else:
            for index in range(len(node.inputs)):
                self._read(node, index)
        if logits:
            return
        grid = self._grids[result.name or ""]
        if clamp is not None:
            grid = self._absorb(node, clamp, grid)
            if clamp.graph is None:  # dropped: its name now is the operator's own
                result = node.outputs[0]
        self._insert(result, clamp if clamp is not None and clamp.graph is not None else node, grid)

    def _absorb(self, node: ir.Node, clamp: ir.Node, grid: Grid) -> Grid:
        """Drop the clamp where the grid's own ends make it; the grid then ends where the clamp does."""
        high = constant(clamp.inputs[2]) if clamp.op_type == "Clip" and len(clamp.inputs) > 2 else None
        low = constant(clamp.inputs[1]) if clamp.op_type == "Clip" and len(clamp.inputs) > 1 else np.float32(0)
        if low is None or float(low) != 0:
            return grid
        if high is not None and grid.high > float(high):
            tight = Grid.covering(0, float(high), scheme=self._scheme)
            if abs(tight.high - float(high)) > 1e-6 * float(high):
                return grid
            grid = tight
        y, x = clamp.outputs[0], node.outputs[0]
        name = y.name
        y.replace_all_uses_with(x, replace_graph_outputs=True)
        self._graph.remove(clamp, safe=True)
        x.name = name
        return Grid(grid.scale, 0) if grid.zero_point == 0 else grid

    def _insert(self, value: ir.Value, after: ir.Node, grid: Grid) -> None:
        """value -> QuantizeLinear -> DequantizeLinear; later readers of `value` take the latter."""
        name = value.name or "value"
        scale = add_initializer(self._graph, f"{name}_scale", np.array(grid.scale, np.float32))
        zero = add_initializer(self._graph, f"{name}_zero_point", np.array(grid.zero_point, np.uint8))
        q = ir.node("QuantizeLinear", [value, scale, zero])
        dq = ir.node("DequantizeLinear", [q.outputs[0], scale, zero])
        q.outputs[0].type, q.outputs[0].shape = ir.TensorType(ir.DataType.UINT8), value.shape
        dq.outputs[0].type, dq.outputs[0].shape = ir.TensorType(ir.DataType.FLOAT), value.shape
        self._graph.insert_after(after, [q, dq])
        q.outputs[0].name = f"{name}_quantized"
        if value.is_graph_output():
            index = next(i for i, output in enumerate(self._graph.outputs) if output is value)
            self._graph.outputs[index] = dq.outputs[0]
            value.name, dq.outputs[0].name = f"{name}_unquantized", name
        else:
            dq.outputs[0].name = f"{name}_dequantized"
        self._done[value] = (dq.outputs[0], grid)

    def _weights(self, node: ir.Node, grid: Grid) -> None:
        weight = constant(node.inputs[1])
        assert weight is not None and node.inputs[1] is not None
        bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
        name = node.inputs[1].name or "weight"
        axis = 0
        weight = np.asarray(weight, np.float32)
        if node.op_type == "Gemm":
            weight = weight * np.float32(attribute(node, "alpha", 1.0))
            if bias is not None:
                bias = (
                    np.broadcast_to(bias * attribute(node, "beta", 1.0), (weight.shape[0],))
                    if bias.ndim < 2
                    else bias[0]
                )
            if not attribute(node, "transB", 0):
                weight = weight.T
            for key, setting in (("alpha", 1.0), ("beta", 1.0), ("transB", 1)):
                node.attributes[key] = ir.Attr(
                    key, ir.AttributeType.INT if key == "transB" else ir.AttributeType.FLOAT, setting
                )
        bias = None if bias is None else np.asarray(bias, np.float32)
        scales = weight_scales(weight, bias, input_scale=grid.scale, scheme=self._scheme)
        limit = self._scheme.weight_limit
        per_row = scales.reshape(-1, *[1] * (weight.ndim - 1))
        integers = np.clip(np.rint(weight / per_row), -limit, limit).astype(np.int8)
        node.replace_input_with(1, self._constant(name, weight, integers, scales, axis))
        if bias is not None:
            bias_scales = (np.float32(grid.scale) * scales).astype(np.float32)
            rounded = np.rint(bias.astype(np.float64) / bias_scales)
            integers32 = np.clip(rounded, -(2**31), 2**31 - 1).astype(np.int32)
            label = name.removesuffix("weight") + "bias"
            node.replace_input_with(2, self._constant(label, bias, integers32, bias_scales, 0))

    def _constant(
        self,
        name: str,
        values: npt.NDArray[np.float32],
        integers: npt.NDArray[np.int8] | npt.NDArray[np.int32],
        scales: npt.NDArray[np.float32],
        axis: int,
    ) -> ir.Value:
        """An integer initializer and the DequantizeLinear that reads it."""
        stored = add_initializer(self._graph, f"{name}_quantized", integers)
        scale = add_initializer(self._graph, f"{name}_scale", scales)
        zero = add_initializer(self._graph, f"{name}_zero_point", np.zeros(len(scales), integers.dtype))
        dq = ir.node("DequantizeLinear", [stored, scale, zero], {"axis": axis})
        dq.outputs[0].type, dq.outputs[0].shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(list(integers.shape))
        self._graph.insert_before(next(iter(self._graph)), dq)
        dq.outputs[0].name = f"{name}_dequantized"
        self._shadow[stored.name or name] = np.ascontiguousarray(values, np.float32)
        return dq.outputs[0]
