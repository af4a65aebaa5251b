"""Where quantizers stand in the graph, as one pass.

A value gets a quantizer where an integer kernel requantizes: behind each Conv, Gemm, Add, Concat and average pool. A
ReLU or ReLU6 that follows is made by the ends of the uint8 range, or becomes a Clip of the integers where the scale is
no divisor of its bound. Max pools and reshapes move integers, so their result shares their input's grid. The logits are
not requantized: the last Gemm gives its int32 sums times one scale per class.

    DequantizeLinear -> operator -> QuantizeLinear      is one integer kernel (QLinearConv, QLinearAdd, QGemm, ...)

For the target `tensorrt` a convolution that only an Add reads is not requantized: TensorRT makes convolution, residual
sum and ReLU one kernel where just the shortcut is quantized ("Q/DQ Layer-Placement Recommendations", NVIDIA TensorRT
documentation). Where both terms are such convolutions, the one at the end of the longer path stays unrounded. With
power-of-two scales such a sum is a multiple of the finer scale, and exact in float32 below 2^24 of its steps.

Requires: every operator has such a kernel. Ensures: no other operator is left; each reads nothing but dequantized
integers (a Clip: quantized ones; an Add: one unrounded convolution at most), and but for the logits and those
convolutions one QuantizeLinear alone reads its result.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx_ir as ir

from ..integer_types import UINT8
from ..passes.values import add_initializer, attribute, constant, only_consumer
from .scheme import Grid, Scheme
from .weights import QuantizedWeights

__all__ = ["KNOWN", "PlaceQuantizers", "quantized_values", "unknown_operators"]

_REQUANTIZED = frozenset({"Conv", "Gemm", "Add", "Concat", "AveragePool", "GlobalAveragePool"})
_MOVED = frozenset({"Flatten", "MaxPool", "Reshape", "Split", "Squeeze", "Transpose", "Unsqueeze"})
_CLAMPS = frozenset({"Relu", "Clip"})
Bounds = tuple[float | None, float | None]

KNOWN = _REQUANTIZED | _MOVED | _CLAMPS
"""Operators that can be quantized."""


def unknown_operators(graph: ir.Graph) -> dict[str, list[str]]:
    """Operators without an integer kernel: type, and what of it is unknown -> names of their results."""
    unknown: dict[str, list[str]] = {}
    for node in graph:
        obstacle = _obstacle(node)
        if obstacle is not None:
            unknown.setdefault(f"{node.op_type}{obstacle}", []).append(node.outputs[0].name or "?")
    return unknown


def _obstacle(node: ir.Node) -> str | None:
    """Why `node` cannot be quantized, to be read behind its type; empty where that says it; None where it can."""
    variable = [v for v in node.inputs if v is not None and constant(v) is None]
    if node.op_type not in KNOWN and node.op_type != "DequantizeLinear":
        return ""
    if node.op_type in ("Conv", "Gemm", "Clip") and len(variable) > 1:
        return " with computed weights or bounds"
    if node.op_type in ("Add", "Concat") and len(variable) < len(node.inputs):
        return " of a constant"
    if node.op_type in _CLAMPS and not _follows_requantized(node):
        return " that is not the only reader of a Conv, Gemm, Add, Concat or average pool"
    if node.op_type == "AveragePool" and attribute(node, "ceil_mode", 0):
        return " whose last windows overhang (ceil_mode)"  # ONNX Runtime's integer kernel divides by another number
    return None


def quantized_values(graph: ir.Graph, *, scheme: Scheme | None = None) -> list[ir.Value]:
    """The values that need a grid of their own."""
    unrounded = _unrounded_terms(graph, scheme or Scheme())
    nodes = [n for n in graph if n.op_type in _REQUANTIZED and not _is_logits(n) and n not in unrounded]
    return [(_clamp_behind(node) or node).outputs[0] for node in nodes]


def _clamp_behind(node: ir.Node) -> ir.Node | None:
    """The Relu or Clip that alone reads `node`'s result."""
    follower = only_consumer(node.outputs[0])
    return follower if follower is not None and follower.op_type in _CLAMPS else None


def _follows_requantized(clamp: ir.Node) -> bool:
    x = clamp.inputs[0]
    producer = None if x is None else x.producer()
    return producer is not None and producer.op_type in _REQUANTIZED and _clamp_behind(producer) is clamp


def _unrounded_terms(graph: ir.Graph, scheme: Scheme) -> set[ir.Node]:
    """The convolutions whose result goes into a sum without a quantizer between, one a sum at most."""
    if not scheme.made_for.unrounded_terms:
        return set()
    depth: dict[ir.Value, int] = {}
    found: set[ir.Node] = set()
    for node in graph:
        behind = 1 + max((depth.get(value, 0) for value in node.inputs if value is not None), default=0)
        depth.update(dict.fromkeys(node.outputs, behind))
        if node.op_type == "Add":
            terms = [v for v in node.inputs if v is not None and _is_conv(v.producer()) and only_consumer(v) is node]
            longest = max(terms, key=lambda value: depth[value], default=None)
            producer = None if longest is None else longest.producer()
            found |= set() if producer is None else {producer}
    return found


def _is_conv(node: ir.Node | None) -> bool:
    return node is not None and node.op_type == "Conv"


def _is_logits(node: ir.Node) -> bool:
    return node.op_type == "Gemm" and node.outputs[0].is_graph_output()


class PlaceQuantizers(ir.passes.InPlacePass):
    """Puts QuantizeLinear and DequantizeLinear into a graph of uint8 pixels.

    Args:
        grids: a grid for each of `quantized_values`, by name.
        pixels: the grid of the pixels behind the graph's first DequantizeLinear.
        scheme: how to quantize the weights.
        held: values whose grid stays as it is; those of others that end in a clamp may become finer.
    """

    def __init__(self, grids: Mapping[str, Grid], *, pixels: Grid, scheme: Scheme, held: Collection[str] = ()) -> None:
        super().__init__()
        self._grids = grids
        self._held = held
        self._pixels = pixels
        self._scheme = scheme
        self.weights = QuantizedWeights(scheme)
        self._done: dict[ir.Value, tuple[ir.Value, Grid]] = {}
        """A float value -> the value that dequantizes it."""
        self._unrounded: set[ir.Node] = set()

    def requires(self, model: ir.Model) -> None:
        unknown = unknown_operators(model.graph)
        if unknown:
            raise ir.passes.PreconditionError(f"operators without an integer kernel: {unknown}")
        missing = {v.name for v in quantized_values(model.graph, scheme=self._scheme)} - self._grids.keys()
        if missing:
            raise ir.passes.PreconditionError(f"values without a grid: {missing}")

    def ensures(self, model: ir.Model) -> None:
        for node in model.graph:
            if node.op_type not in KNOWN | {"QuantizeLinear", "DequantizeLinear"}:
                raise ir.passes.PostconditionError(f"{node.op_type} {node.outputs[0].name!r} is left")
            if node.op_type in KNOWN:
                _ensure_integer_kernel(node, self._unrounded)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self._unrounded = _unrounded_terms(model.graph, self._scheme)
        for node in list(model.graph):
            if node.op_type == "DequantizeLinear":
                self._done[node.outputs[0]] = (node.outputs[0], self._pixels)
            elif node.op_type in _REQUANTIZED:
                self._requantize(model.graph, node)
            elif node.op_type in _MOVED:
                grid = self._read(node, 0)
                for output in node.outputs:
                    self._insert(model.graph, output, node, grid)
        return ir.passes.PassResult(model, True)

    def _read(self, node: ir.Node, index: int) -> Grid:
        """Let input `index` of `node` read the dequantized value; its grid."""
        value = node.inputs[index]
        assert value is not None
        dequantized, grid = self._done[value]
        node.replace_input_with(index, dequantized)
        return grid

    def _requantize(self, graph: ir.Graph, node: ir.Node) -> None:
        if node.op_type in ("Conv", "Gemm"):
            self.weights.quantize(graph, node, self._read(node, 0))
        else:
            for index, value in enumerate(node.inputs):
                if value is None or value.producer() not in self._unrounded:
                    self._read(node, index)
        if _is_logits(node) or node in self._unrounded:
            return
        clamp = _clamp_behind(node)
        name = (clamp or node).outputs[0].name or ""
        grid = self._grids[name]
        bounds: Bounds = (None, None)
        if clamp is not None:
            bounds = _bounds(clamp)
            grid = grid if name in self._held else self._ending_at(bounds, grid)
            _drop(graph, clamp)
        self._insert(graph, node.outputs[0], node, grid, bounds)

    def _ending_at(self, bounds: Bounds, grid: Grid) -> Grid:
        """A finer grid that ends where the clamp does, where the scheme has one; `grid` where not."""
        low, high = bounds
        if low != 0 or grid.zero_point != 0 or high is None or grid.high <= high:
            return grid
        tight = Grid.covering(0, high, scheme=self._scheme)
        return tight if abs(tight.high - high) <= 1e-6 * high else grid

    def _insert(
        self, graph: ir.Graph, value: ir.Value, after: ir.Node, grid: Grid, bounds: Bounds = (None, None)
    ) -> None:
        """value -> QuantizeLinear (-> Clip) -> DequantizeLinear; later readers of `value` take the last."""
        name = value.name or "value"
        scale = add_initializer(graph, f"{name}_scale", np.array(grid.scale, np.float32))
        shift = UINT8.low - self._scheme.activations.low
        kind = ir.DataType.INT8 if self._scheme.activations.signed else ir.DataType.UINT8
        zero = add_initializer(graph, f"{name}_zero_point", np.array(grid.zero_point - shift, kind.numpy()))
        chain = [ir.node("QuantizeLinear", [value, scale, zero])]
        ends = _on_grid(bounds, grid)
        if ends != (UINT8.low, UINT8.high):
            low, high = (
                add_initializer(graph, f"{name}_{side}", np.array(end - shift, kind.numpy()))
                for side, end in zip(("lowest", "highest"), ends, strict=True)
            )
            chain.append(ir.node("Clip", [chain[0].outputs[0], low, high]))
        for node, label in zip(chain, ("quantized", "clipped"), strict=False):
            node.outputs[0].name = f"{name}_{label}"
            node.outputs[0].type, node.outputs[0].shape = ir.TensorType(kind), value.shape
        dequantized = ir.node("DequantizeLinear", [chain[-1].outputs[0], scale, zero])
        result = dequantized.outputs[0]
        result.type, result.shape = ir.TensorType(ir.DataType.FLOAT), value.shape
        graph.insert_after(after, [*chain, dequantized])
        if value.is_graph_output():
            index = next(i for i, output in enumerate(graph.outputs) if output is value)
            graph.outputs[index] = result
            value.name, result.name = f"{name}_unquantized", name
        else:
            result.name = f"{name}_dequantized"
        self._done[value] = (result, grid)


def _bounds(clamp: ir.Node) -> Bounds:
    """What a Relu or Clip cuts off below and above."""
    if clamp.op_type == "Relu":
        return 0.0, None
    low, high = (*(constant(value) for value in clamp.inputs[1:]), None, None)[:2]
    return None if low is None else float(low), None if high is None else float(high)


def _on_grid(bounds: Bounds, grid: Grid) -> tuple[int, int]:
    """The bounds as integers of the grid."""
    low, high = (None if bound is None else round(bound / grid.scale) + grid.zero_point for bound in bounds)
    lowest, highest = UINT8.low, UINT8.high
    return (
        lowest if low is None else min(max(low, lowest), highest),
        highest if high is None else min(max(high, lowest), highest),
    )


def _drop(graph: ir.Graph, clamp: ir.Node) -> None:
    """Take the clamp out; what it read gets its name."""
    x, y = clamp.inputs[0], clamp.outputs[0]
    assert x is not None
    name = y.name
    y.replace_all_uses_with(x, replace_graph_outputs=True)
    graph.remove(clamp, safe=True)
    x.name = name


def _ensure_integer_kernel(node: ir.Node, unrounded: set[ir.Node]) -> None:
    label = f"{node.op_type} {node.outputs[0].name!r}"
    producers = [value.producer() for value in node.inputs if value is not None and constant(value) is None]
    terms = [producer for producer in producers if producer in unrounded] if node.op_type == "Add" else []
    if len(terms) == 1:
        producers.remove(terms[0])
    sources = {None if producer is None else producer.op_type for producer in producers}
    on_integers = node.op_type == "Clip"
    if sources != {"QuantizeLinear" if on_integers else "DequantizeLinear"}:
        raise ir.passes.PostconditionError(f"{label} reads {sources}")
    for result in node.outputs:
        readers = [reader.op_type for reader, _ in result.uses()]
        if (_is_logits(node) and not readers) or (node in unrounded and readers == ["Add"]):
            continue
        if result.is_graph_output() or readers != ["DequantizeLinear" if on_integers else "QuantizeLinear"]:
            raise ir.passes.PostconditionError(f"{label} is read by {readers or 'the caller'}")
