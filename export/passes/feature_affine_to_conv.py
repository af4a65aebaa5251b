"""A per-feature affine map that no linear layer can take becomes a depthwise 1x1 convolution.

    a * x + b  =  flatten(conv(unsqueeze(x)))        x [N, F] seen as F channels of one pixel

Integer kernels know that. Where x comes from a Flatten of such channels, [N, F, 1, 1], it stands before the Flatten.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .affine_map import Affine, affine_map
from .affine_to_conv import affine_conv
from .elementwise import functions
from .node_pass import NodePass
from .values import add_initializer, replace_by_chain

__all__ = ["FeatureAffineToConv"]


class FeatureAffineToConv(NodePass[tuple[ir.Value, Affine]]):
    """Mul, Div, Add, Sub (with a per-feature constant) and BatchNormalization on [N, F] become Conv on [N, F, 1, 1].

    Not those within a function of one tensor (`elementwise.py`).
    """

    def prepare(self, graph: ir.Graph) -> None:
        self._functions = functions(graph)

    def match(self, node: ir.Node) -> tuple[ir.Value, Affine] | None:
        """(x, (a, b))."""
        return None if node in self._functions else affine_map(node, rank=2)

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: tuple[ir.Value, Affine]) -> None:
        x, affine = found
        name = node.outputs[0].name or "affine"
        pixel = _one_pixel(x)
        chain = []
        if pixel is None:
            axes = add_initializer(graph, f"{name}.axes", np.array([2, 3], np.int64))
            chain.append(ir.node("Unsqueeze", [x, axes]))
            pixel = chain[0].outputs[0]
        chain.append(affine_conv(graph, name, pixel, affine))
        assert x.shape is not None
        for made in chain:
            made.outputs[0].shape = ir.Shape([x.shape[0], x.shape[1], 1, 1])
            made.outputs[0].type = x.type
        chain.append(ir.node("Flatten", [chain[-1].outputs[0]], {"axis": 1}))
        replace_by_chain(node, chain)
        old = x.producer()
        if old is not None and not x.uses() and not x.is_graph_output():
            graph.remove(old, safe=True)


def _one_pixel(x: ir.Value) -> ir.Value | None:
    """The [N, F, 1, 1] that `x` is the Flatten of."""
    flatten = x.producer()
    before = flatten.inputs[0] if flatten is not None and flatten.op_type == "Flatten" else None
    if before is None or before.shape is None or len(before.shape) != 4:
        return None
    same = x.shape is not None and before.shape[1] == x.shape[1]  # else it is a Flatten(axis=0)
    return before if same and before.shape[2] == before.shape[3] == 1 else None
