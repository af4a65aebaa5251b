"""Quantizers put where the layout wants them (`integer_layout.py`), as one pass.

    DequantizeLinear -> operator -> QuantizeLinear      is one integer kernel (QLinearConv, QLinearAdd, QGemm, ...)

A ReLU or ReLU6 behind such an operator is made by the ends of the uint8 range, or becomes a Clip of the integers where
the scale is no divisor of its bound. Max pools and reshapes move integers, so their result shares their input's grid.
Other clamps, and paddings, work on the integers themselves. The logits are not requantized: the last Gemm gives its
int32 sums times one scale per class. What stays float reads dequantized integers, or other float results.

Requires: the layout's values have grids. Ensures: each operator with an integer kernel reads nothing but dequantized
integers (an Add: one unrounded convolution at most), and but for the logits and those convolutions one QuantizeLinear
alone reads its result; Clip and Pad of integers stand between quantizers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import onnx_ir as ir

from ..integer_types import UINT8
from ..passes.elementwise import origin, variables
from .integer_layout import Layout, is_logits
from .operators.row import QUANTIZED
from .scheme import Grid, Scheme
from .stored_values import Bounds, StoredValues, bounds_of
from .ties import rounding_scale, table_of
from .weights import QuantizedWeights

__all__ = ["PlaceQuantizers"]


class PlaceQuantizers(ir.passes.InPlacePass):
    """Puts QuantizeLinear and DequantizeLinear into a graph of uint8 pixels.

    Args:
        grids: a grid for each of the layout's `quantized_values`, by name.
        pixels: the grid of the pixels behind the graph's first DequantizeLinear.
        scheme: how to quantize the weights.
        bits: of the weights, by node.
        held: values whose grid stays as it is; those of others that end in a clamp may become finer.

    Attributes:
        weights: what the integer weights were rounded from.
        tie_distances: how far each function of one tensor stays from a rounding tie, in steps, by its result's name.
        bounded: the scales that integers of the graph depend on (`stored_values.py`).
    """

    def __init__(
        self,
        grids: Mapping[str, Grid],
        *,
        pixels: Grid,
        scheme: Scheme,
        bits: Mapping[ir.Node, int] | None = None,
        held: Collection[str] = (),
    ) -> None:
        super().__init__()
        self._grids = grids
        self._held = held
        self._pixels = pixels
        self._scheme = scheme
        self.weights = QuantizedWeights(scheme, bits)
        self.tie_distances: dict[str, float] = {}
        self.bounded: frozenset[str] = frozenset()
        self._layout: Layout | None = None

    def requires(self, model: ir.Model) -> None:
        missing = {v.name for v in Layout(model.graph, self._scheme).quantized_values()} - self._grids.keys()
        if missing:
            raise ir.passes.PreconditionError(f"values without a grid: {missing}")

    def ensures(self, model: ir.Model) -> None:
        layout = self._layout or Layout(model.graph, self._scheme)
        for node in model.graph:
            if node in layout and layout[node] in ("requantized", "moved"):
                _ensure_integer_kernel(node, layout)
            elif node in layout and layout[node] == "stored":
                raise ir.passes.PostconditionError(f"{node.op_type} {node.outputs[0].name!r} is not on integers")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        self._layout = layout = Layout(graph, self._scheme)
        stored = StoredValues(graph, self._scheme)
        for node in list(graph):
            if node.graph is None:
                continue  # a clamp that went into a quantizer
            if node.op_type == "DequantizeLinear":
                stored.is_dequantized(node.outputs[0], self._pixels)
            elif layout[node] in QUANTIZED:
                self._requantize(graph, node, layout, stored)
            elif layout[node] == "moved":
                grid = stored.read(node, 0)
                for output in node.outputs:
                    stored.quantize(output, replace(grid, bits=UINT8.bits))  # what moves stays in its range: no clamp
            elif layout[node] == "stored":
                stored.work_on_integers(node)
            else:
                self._leave_in_float(node, layout, stored)
        self.bounded = frozenset(stored.bounded)
        return ir.passes.PassResult(model, True)

    def _requantize(self, graph: ir.Graph, node: ir.Node, layout: Layout, stored: StoredValues) -> None:
        clamp = layout.clamp_behind(node)
        name = (clamp or node).outputs[0].name or ""
        if node.op_type in ("Conv", "Gemm"):
            self.weights.quantize(graph, node, stored.read(node, 0))
        elif layout[node] == "rounded":  # gain and offset stay as they are
            stored.read(node, 0)
        else:
            # a constant term is no finer than its sum: see `sum_grids.py`
            least = self._grids[name].scale if node.op_type == "Add" and self._scheme.exact_sums else 0.0
            for index, value in enumerate(node.inputs):
                if value is not None and value.producer() not in layout.unrounded:
                    stored.read(node, index, least_scale=least)
        if not layout.is_rounded(node):
            return
        grid = self._grids[name]
        bounds: Bounds = (None, None)
        if clamp is not None:
            bounds = bounds_of(clamp)
            grid = grid if name in self._held else self._ending_at(bounds, grid)
            _drop(graph, clamp)
        rounding = self._away_from_ties(node.outputs[0], grid, stored) if clamp is None else None
        stored.quantize(node.outputs[0], grid, bounds=bounds, rounding=rounding)

    def _leave_in_float(self, node: ir.Node, layout: Layout, stored: StoredValues) -> None:
        for index, value in enumerate(node.inputs):
            producer = None if value is None else value.producer()
            is_float = producer is not None and producer in layout and layout[producer] == "float"
            if value is not None and value in stored and not is_float:
                stored.read(node, index)
        if layout.is_rounded(node):
            value = node.outputs[0]
            grid = self._grids[value.name or ""]
            stored.quantize(value, grid, rounding=self._away_from_ties(value, grid, stored))

    def _away_from_ties(self, value: ir.Value, grid: Grid, stored: StoredValues) -> float | None:
        """The scale that a quantizer of `value` divides by, if it is a function of one quantized tensor."""
        x, nodes = origin(value)
        known = stored.grid_of(x)
        if not self._scheme.exact or not nodes or known is None:
            return None
        table = table_of(x, known, nodes, value)
        if table is None:
            return None
        scale, far = rounding_scale(table, grid)
        self.tie_distances[value.name or ""] = far
        return scale

    def _ending_at(self, bounds: Bounds, grid: Grid) -> Grid:
        """A finer grid that ends where the clamp does, where the scheme has one; `grid` where not."""
        low, high = bounds
        if low != 0 or grid.zero_point != 0 or high is None or grid.high <= high:
            return grid
        tight = Grid.covering(0, high, scheme=self._scheme, bits=grid.bits)
        return tight if abs(tight.high - high) <= 1e-6 * high else grid


def _drop(graph: ir.Graph, clamp: ir.Node) -> None:
    """Take the clamp out; what it read gets its name."""
    x, y = clamp.inputs[0], clamp.outputs[0]
    assert x is not None
    name = y.name
    y.replace_all_uses_with(x, replace_graph_outputs=True)
    graph.remove(clamp, safe=True)
    x.name = name


def _ensure_integer_kernel(node: ir.Node, layout: Layout) -> None:
    label = f"{node.op_type} {node.outputs[0].name!r}"
    producers = [value.producer() for value in variables(node) if value.dtype in (None, ir.DataType.FLOAT)]
    terms = [producer for producer in producers if producer in layout.unrounded] if node.op_type == "Add" else []
    if len(terms) == 1:
        producers.remove(terms[0])
    sources = {None if producer is None else producer.op_type for producer in producers}
    if sources != {"DequantizeLinear"}:
        raise ir.passes.PostconditionError(f"{label} reads {sources}")
    for result in node.outputs:
        readers = [reader.op_type for reader, _ in result.uses()]
        if (is_logits(node) and not readers) or (node in layout.unrounded and readers == ["Add"]):
            continue
        if result.is_graph_output() or readers != ["QuantizeLinear"]:
            raise ir.passes.PostconditionError(f"{label} is read by {readers or 'the caller'}")
