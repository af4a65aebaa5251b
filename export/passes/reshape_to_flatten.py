"""Reshapes to [N, features] as Flatten, the form that every integer backend fuses.

Reshape(x, [N, features]) = Squeeze(x) = Flatten(axis=1)(x)      for x of shape [N, ...], whatever way N was written
"""

from __future__ import annotations

import onnx_ir as ir

from .node_pass import NodePass, RefusedError
from .values import replace_by_chain

__all__ = ["ReshapeToFlatten"]


class ReshapeToFlatten(NodePass[ir.Value]):
    """Reshape or Squeeze of [N, ...] to [N, features] becomes Flatten(axis=1)."""

    def match(self, node: ir.Node) -> ir.Value | None:
        """What is flattened."""
        if node.op_type not in ("Reshape", "Squeeze"):
            return None
        x, y = node.inputs[0], node.outputs[0]
        if x is None or x.shape is None or y.shape is None:
            raise RefusedError("its shapes are not known")
        if len(y.shape) != 2 or len(x.shape) < 3:
            raise RefusedError("it does not bring [N, ...] to [N, features]")
        if x.shape[0] != y.shape[0]:
            raise RefusedError("it mixes images")
        return x

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: ir.Value) -> None:
        replace_by_chain(node, [ir.node("Flatten", [found], {"axis": 1})])
