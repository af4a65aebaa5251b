"""Float values of a graph kept as integers: the nodes that quantize them, and those that give them back.

    x -> QuantizeLinear (-> Clip) -> DequantizeLinear -> readers         a constant: integers -> DequantizeLinear

The integers are the grid's; for a target of int8 all are 128 lower.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ..integer_types import UINT8
from ..passes.elementwise import CLAMPS
from ..passes.values import add_initializer, constant
from .scheme import Grid, Scheme

__all__ = ["Bounds", "StoredValues", "bounds_of"]

Bounds = tuple[float | None, float | None]
"""What a Relu or Clip cuts off below and above."""


class StoredValues:
    """The quantized values of one graph, by their float values.

    Args:
        graph: it is changed in place.
        scheme: says the integers' type and the grids of constants.

    Attributes:
        bounded: the scales of clamps at a number other than 0: the Clip's integers depend on them.
    """

    def __init__(self, graph: ir.Graph, scheme: Scheme) -> None:
        self._graph, self._scheme = graph, scheme
        self._shift = UINT8.low - scheme.activations.low
        self._type = ir.DataType.INT8 if scheme.activations.signed else ir.DataType.UINT8
        self._done: dict[ir.Value, tuple[ir.Value, Grid]] = {}
        self.bounded: set[str] = set()

    def __contains__(self, value: ir.Value) -> bool:
        return value in self._done

    def is_dequantized(self, dequantized: ir.Value, grid: Grid) -> None:
        """Let a value stand for itself."""
        self._done[dequantized] = dequantized, grid

    def read(self, node: ir.Node, index: int, *, least_scale: float = 0.0) -> Grid:
        """Let input `index` of `node` read the dequantized value; its grid.

        A constant is stored at its first reader, on a grid whose scale is `least_scale` at least.
        """
        value = node.inputs[index]
        assert value is not None
        dequantized, grid = self._dequantized(value, least_scale)
        node.replace_input_with(index, dequantized)
        return grid

    def grid_of(self, dequantized: ir.Value) -> Grid | None:
        """The grid of what a DequantizeLinear gives; None for other values."""
        return next((grid for value, grid in self._done.values() if value is dequantized), None)

    def quantize(
        self, value: ir.Value, grid: Grid, *, bounds: Bounds = (None, None), rounding: float | None = None
    ) -> None:
        """value -> QuantizeLinear (-> Clip) -> DequantizeLinear; later readers of `value` take the last.

        Args:
            value: what a node gives.
            grid: what the integers stand for.
            bounds: of a clamp. A Clip makes it, and the ends of fewer bits than 8, where uint8 does not end there.
            rounding: the scale to divide by, where it is not the grid's (`ties.py`).
        """
        name = value.name or "value"
        scale, zero = self._numbers(name, grid)
        divisor = scale
        if rounding is not None and rounding != grid.scale:
            divisor = add_initializer(self._graph, f"{name}_rounding", np.array(rounding, np.float32))
        chain = [ir.node("QuantizeLinear", [value, divisor, zero])]
        self._note_bounds(bounds, scale)
        ends = _on_grid(bounds, grid)
        if ends != (UINT8.low, UINT8.high):
            chain.append(self._clip(chain[0].outputs[0], name, ends))
        for node, label in zip(chain, ("quantized", "clipped"), strict=False):
            _describe(node, value, self._type, f"{name}_{label}")
        chain.append(ir.node("DequantizeLinear", [chain[-1].outputs[0], scale, zero]))
        producer = value.producer()
        assert producer is not None
        self._graph.insert_after(producer, chain)
        result = chain[-1].outputs[0]
        _describe(chain[-1], value, ir.DataType.FLOAT, f"{name}_dequantized")
        if value.is_graph_output():
            index = next(i for i, output in enumerate(self._graph.outputs) if output is value)
            self._graph.outputs[index] = result
            value.name, result.name = f"{name}_unquantized", name
        self._done[value] = result, grid

    def work_on_integers(self, node: ir.Node) -> None:
        """Put a node (a clamp, a padding) between the integers of its input and their DequantizeLinear.

        Of a scale (`passes/scale_behind_product.py`) a DequantizeLinear of its own is left.
        """
        value, result = node.inputs[0], node.outputs[0]
        assert value is not None
        dequantized, grid = self._dequantized(value)
        dequantizer = dequantized.producer()
        assert dequantizer is not None
        stored, scale, zero = dequantizer.inputs
        assert stored is not None
        name = result.name or "value"
        made = None
        if node.op_type == "Mul":
            scaled = float(np.float32(grid.scale * np.asarray(constant(node.inputs[1])).item()))
            grid = replace(grid, scale=scaled)
            scale, zero = self._numbers(name, grid)
        elif node.op_type in CLAMPS:
            self._note_bounds(bounds_of(node), scale)
            made = self._clip(stored, name, _on_grid(bounds_of(node), grid))
        else:
            attributes = {key: attribute.value for key, attribute in node.attributes.items()}
            rest = [node.inputs[1], zero, *node.inputs[3:]] if node.op_type == "Pad" else node.inputs[1:]
            made = ir.node(node.op_type, [stored, *rest], attributes)
        again = ir.node("DequantizeLinear", [stored if made is None else made.outputs[0], scale, zero])
        self._graph.insert_before(node, [again] if made is None else [made, again])
        if made is not None:
            _describe(made, result, stored.dtype or self._type, f"{name}_stored")
        _describe(again, result, ir.DataType.FLOAT, None)
        result.replace_all_uses_with(again.outputs[0], replace_graph_outputs=True)
        self._graph.remove(node, safe=True)
        again.outputs[0].name = name
        self.is_dequantized(again.outputs[0], grid)

    def _dequantized(self, value: ir.Value, least_scale: float = 0.0) -> tuple[ir.Value, Grid]:
        known = self._done.get(value)
        if known is None or (constant(value) is not None and known[1].scale < least_scale):
            self._done[value] = self._constant(value, least_scale)
        return self._done[value]

    def _constant(self, value: ir.Value, least_scale: float) -> tuple[ir.Value, Grid]:
        array, name = constant(value), value.name or "constant"
        assert array is not None, f"{name} has no grid"
        grid = Grid.covering(float(array.min(initial=0)), float(array.max(initial=0)), scheme=self._scheme)
        grid = replace(grid, scale=max(grid.scale, least_scale))
        integers = np.clip(np.rint(array / np.float32(grid.scale)) + grid.zero_point, UINT8.low, UINT8.high)
        stored = add_initializer(self._graph, f"{name}_quantized", (integers - self._shift).astype(self._type.numpy()))
        node = ir.node("DequantizeLinear", [stored, *self._numbers(name, grid)])
        own = stored.name or name  # of a constant on two grids, each has integers of its own
        _describe(node, value, ir.DataType.FLOAT, own.replace("_quantized", "_dequantized"))
        self._graph.insert_before(next(iter(self._graph)), node)
        return node.outputs[0], grid

    def _numbers(self, name: str, grid: Grid) -> tuple[ir.Value, ir.Value]:
        """Scale and zero point."""
        scale = add_initializer(self._graph, f"{name}_scale", np.array(grid.scale, np.float32))
        zero = np.array(grid.zero_point - self._shift, self._type.numpy())
        return scale, add_initializer(self._graph, f"{name}_zero_point", zero)

    def _note_bounds(self, bounds: Bounds, scale: ir.Value | None) -> None:
        if any(bounds) and scale is not None and scale.name:
            self.bounded.add(scale.name)

    def _clip(self, stored: ir.Value, name: str, ends: tuple[int, int]) -> ir.Node:
        low, high = (
            add_initializer(self._graph, f"{name}_{side}", np.array(end - self._shift, self._type.numpy()))
            for side, end in zip(("lowest", "highest"), ends, strict=True)
        )
        return ir.node("Clip", [stored, low, high])


def bounds_of(clamp: ir.Node) -> Bounds:
    """What a Relu or Clip cuts off."""
    if clamp.op_type == "Relu":
        return 0.0, None
    low, high = (*(constant(value) for value in clamp.inputs[1:]), None, None)[:2]
    return None if low is None else float(low), None if high is None else float(high)


def _on_grid(bounds: Bounds, grid: Grid) -> tuple[int, int]:
    """The bounds as integers of the grid, whose own ends are bounds too."""
    low, high = (None if bound is None else round(bound / grid.scale) + grid.zero_point for bound in bounds)
    lowest, highest = grid.lowest, grid.highest
    return (
        lowest if low is None else min(max(low, lowest), highest),
        highest if high is None else min(max(high, lowest), highest),
    )


def _describe(node: ir.Node, like: ir.Value, kind: ir.DataType, name: str | None) -> None:
    """Type, shape and name of the node's result."""
    result = node.outputs[0]
    result.type, result.shape = ir.TensorType(kind), like.shape
    if name is not None:
        result.name = name
