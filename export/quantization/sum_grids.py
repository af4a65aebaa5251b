"""Grids on which a sum never rounds, so that no two engines can round it differently.

    y = sat(s_a / s_y * (q_a - z_a) + s_b / s_y * (q_b - z_b)) + z_y        whole where s_a >= s_y and s_b >= s_y

With powers of two, terms on finer grids than the result make ties, half of a step, in plenty. ONNX Runtime rounds them
to even on x86 and away from zero on 64-bit Arm (`onnxruntime/core/mlas/lib/qladd.cpp`: vcvtaq against cvtps). So each
term gets the result's scale where its own is smaller. Of a term that only the sum reads this costs nothing: what its
grid loses, the sum's rounding would have lost. What others read too loses a bit at most (`COARSER`); where the sum's
grid is coarser than that, and for the image itself, a depthwise 1x1 identity convolution rounds a copy, as every engine
rounds a convolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from ..passes.affine_to_conv import depthwise
from ..passes.elementwise import functions
from ..passes.separate_terms import SeparateTerms
from ..passes.values import add_initializer, channels, constant, only_consumer
from .scheme import Grid

__all__ = ["COARSER", "SumGrids", "fit_sums"]

COARSER = 2.0
"""By how much the scale of what a sum and others read may grow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SumGrids:
    """What `fit_sums` found.

    Attributes:
        grids: of all values, by name.
        terms: the names of those that a sum adds, whose grids must stay as they are.
    """

    grids: Mapping[str, Grid]
    terms: frozenset[str]


def fit_sums(model: ir.Model, grids: Mapping[str, Grid], *, pixels: Grid) -> SumGrids:
    """Give the terms of each Add grids no finer than the sum's; the identity convolutions are put into `model`.

    Args:
        model: float graph of uint8 pixels, with shapes.
        grids: of the values that have one, by name; scales are powers of two.
        pixels: the grid of the pixels.
    """
    fitting = _Fitting(model.graph, dict(grids), pixels)
    terms = set[str]()
    together = functions(model.graph)
    for node in reversed(list(model.graph)):
        if node.op_type == "Add" and node not in together:  # those are float
            terms |= fitting.fit(node)
    SeparateTerms()(model)
    return SumGrids(grids=fitting.grids, terms=frozenset(terms))


class _Fitting:
    """The grids of one graph, while its sums are gone through from the last to the first."""

    def __init__(self, graph: ir.Graph, grids: dict[str, Grid], pixels: Grid) -> None:
        self._graph = graph
        self._pixels = pixels
        self.grids = grids

    def fit(self, node: ir.Node) -> set[str]:
        """Make the scales of an Add's terms the sum's where they are smaller; the names of the terms' values."""
        total = self._grid_of_sum(node)
        variable = [i for i, term in enumerate(node.inputs) if term is not None and constant(term) is None]
        return set() if total is None else {self._fit_term(node, index, total.scale) for index in variable}

    def _grid_of_sum(self, node: ir.Node) -> Grid | None:
        """The grid of an Add, or of the clamp behind it; None where its result has none."""
        own, follower = self.grids.get(node.outputs[0].name or ""), only_consumer(node.outputs[0])
        return own if own is not None or follower is None else self.grids.get(follower.outputs[0].name or "")

    def _fit_term(self, node: ir.Node, index: int, scale: float) -> str:
        term = node.inputs[index]
        assert term is not None
        source, others = self._source(term)
        name, width = source.name or "", channels(term)
        grid = self.grids.get(name, self._pixels)
        if grid.scale >= scale:
            return name
        if name in self.grids and (not others or scale <= COARSER * grid.scale or width is None):
            self.grids[name] = replace(grid, scale=scale)
            return name
        if width is None:
            return name
        copied = self._copy(node, index, width)
        self.grids[copied] = replace(grid, scale=scale)
        return copied

    def _copy(self, node: ir.Node, index: int, width: int) -> str:
        """Let the sum read the term through an identity convolution; the name of its result."""
        term = node.inputs[index]
        assert term is not None
        ones = add_initializer(self._graph, f"{term.name}.identity", np.ones((width, 1, 1, 1), np.float32))
        identity = depthwise(term, ones, None)
        copied = identity.outputs[0]
        copied.name, copied.shape, copied.type = f"{node.outputs[0].name}.term_{index}", term.shape, term.type
        self._graph.insert_before(node, identity)
        node.replace_input_with(index, copied)
        return copied.name

    def _source(self, value: ir.Value) -> tuple[ir.Value, bool]:
        """The value whose grid `value` is on, back through what only moves; whether others than one node read it."""
        others = only_consumer(value) is None
        while value.name not in self.grids:
            producer = value.producer()
            if producer is None or producer.op_type == "DequantizeLinear" or producer.inputs[0] is None:
                break
            value = producer.inputs[0]
            others = others or only_consumer(value) is None or len(producer.outputs) > 1
        return value, others
