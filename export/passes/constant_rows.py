"""A class token: rows of constants, joined to those of every image, become a padding and a sum.

    concat(t, x) = pad(x) + [t; 0]             concat(t, x) + p = pad(x) + [t + p_t; p_x]

A position embedding, p, makes the sum cost nothing. OpenVINO (2026.4.1) computes wrong numbers for the join where a
convolution with a bias makes x.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from .node_pass import NodePass
from .values import add_initializer, attribute, constant, only_consumer, replace_by_chain

__all__ = ["ConstantRows"]


class _Rows(NamedTuple):
    """The variable, its place, how much is padded on both sides, and the constants with zeros for the variable."""

    x: ir.Value
    axis: int
    before: int
    behind: int
    rows: np.ndarray[tuple[int, ...], np.dtype[np.float32]]


class ConstantRows(NodePass[_Rows]):
    """Concat of one variable with constants, the same for each image, becomes Pad and Add."""

    def match(self, node: ir.Node) -> _Rows | None:
        """What is joined."""
        if node.op_type != "Concat":
            return None
        arrays = [_of_every_image(value) for value in node.inputs]
        places = [i for i, array in enumerate(arrays) if array is None]
        x = node.inputs[places[0]] if len(places) == 1 and len(arrays) > 1 else None
        if x is None or x.shape is None or x.dtype not in (None, ir.DataType.FLOAT):
            return None
        sizes = [size for size in x.shape[1:] if isinstance(size, int)]
        axis = attribute(node, "axis", 0) % len(x.shape)
        if axis == 0 or len(sizes) != len(x.shape) - 1:
            return None
        arrays[places[0]] = np.zeros((1, *sizes), np.float32)
        parts = [array for array in arrays if array is not None]
        before, behind = (
            sum(part.shape[axis] for part in parts[side]) for side in (slice(places[0]), slice(places[0] + 1, None))
        )
        return _Rows(x, axis, before, behind, np.concatenate(parts, axis))

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: _Rows) -> None:
        rank, name = found.rows.ndim, node.outputs[0].name
        pads = np.zeros((2, rank), np.int64)
        pads[:, found.axis] = found.before, found.behind
        padded = ir.node("Pad", [found.x, add_initializer(graph, f"{name}.pads", pads.reshape(-1))])
        result = padded.outputs[0]
        result.name, result.type, result.shape = f"{name}.padded", found.x.type, node.outputs[0].shape
        rows, replaced = found.rows, node
        behind = only_consumer(node.outputs[0])
        if behind is not None and behind.op_type == "Add":
            (other,) = [value for value in behind.inputs if value is not node.outputs[0]] or (None,)
            added = constant(other)
            if added is not None and np.broadcast_shapes(added.shape, rows.shape) == rows.shape:
                rows, replaced = rows + added, behind
        total = ir.node("Add", [result, add_initializer(graph, f"{name}.rows", rows.astype(np.float32))])
        graph.insert_before(node, padded)
        replace_by_chain(replaced, [total])
        if replaced is not node:
            graph.remove(node, safe=True)


def _of_every_image(value: ir.Value | None) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None:
    """The constant that is expanded along the images alone; None for other values."""
    expand = None if value is None else value.producer()
    if value is None or value.shape is None or expand is None or expand.op_type != "Expand":
        return None
    array = constant(expand.inputs[0])
    is_same = array is not None and array.shape == (1, *value.shape[1:])
    return array if is_same else None
