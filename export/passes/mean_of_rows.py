"""The mean over the rows of a transformer's last tensor, or over any axes but the first, as a pool.

    mean(x, axes) = flatten(GlobalAveragePool(reshape(transpose(x), [N, others, axes, 1])))

A pool has integer kernels; ReduceMean has none. Axes that are kept as ones mark a normalization, which is left alone.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from .node_pass import NodePass
from .values import add_initializer, attribute, constant, replace_by_chain

__all__ = ["MeanOfRows"]


class _Mean(NamedTuple):
    """The sizes behind the batch, and the axes that go."""

    sizes: tuple[int, ...]
    axes: tuple[int, ...]


class MeanOfRows(NodePass[_Mean]):
    """ReduceMean without the axes that it is over, where it is not that of [N, C, H, W] over H and W."""

    def match(self, node: ir.Node) -> _Mean | None:
        """Sizes and axes."""
        x = node.inputs[0] if node.op_type == "ReduceMean" else None
        if x is None or x.shape is None or attribute(node, "keepdims", 1):
            return None
        found = constant(node.inputs[1]) if len(node.inputs) > 1 else attribute(node, "axes", None)
        sizes = tuple(size for size in x.shape.dims[1:] if isinstance(size, int))
        rank = len(x.shape)
        axes = () if found is None else tuple(sorted(int(axis) % rank for axis in found))
        is_known = axes and axes[0] > 0 and len(sizes) == rank - 1 and len(axes) < rank - 1
        return None if not is_known or (rank == 4 and axes == (2, 3)) else _Mean(sizes, axes)

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: _Mean) -> None:
        x, name = node.inputs[0], node.outputs[0].name
        kept = [axis for axis in range(1, len(found.sizes) + 1) if axis not in found.axes]
        left, gone = ([found.sizes[axis - 1] for axis in axes] for axes in (kept, found.axes))
        batch = None if x is None or x.shape is None else x.shape[0]

        def made(operator: str, read: ir.Value | None, shape: list[int], **attributes: object) -> ir.Node:
            more = []
            if operator == "Reshape":
                more.append(add_initializer(graph, f"{name}.sizes", np.array([-1, *shape], np.int64)))
            new = ir.node(operator, [read, *more], attributes)  # type: ignore[arg-type]
            new.outputs[0].shape, new.outputs[0].type = ir.Shape([batch, *shape]), ir.TensorType(ir.DataType.FLOAT)
            return new

        moved = made("Transpose", x, [*left, *gone], perm=[0, *kept, *found.axes])
        image = made("Reshape", moved.outputs[0], [math.prod(left), math.prod(gone), 1])
        pool = made("GlobalAveragePool", image.outputs[0], [math.prod(left), 1, 1])
        replace_by_chain(node, [moved, image, pool, made("Reshape", pool.outputs[0], left)])
