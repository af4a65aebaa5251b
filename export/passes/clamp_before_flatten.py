"""A ReLU behind a Flatten stands before it, beside the convolution that makes the clamp for nothing.

clamp(flatten(x)) = flatten(clamp(x))        for x of shape [N, C, H, W]
"""

from __future__ import annotations

import onnx_ir as ir

from .node_pass import NodePass, RefusedError
from .values import only_consumer, replace_by_chain

__all__ = ["ClampBeforeFlatten"]


class ClampBeforeFlatten(NodePass[ir.Node]):
    """Flatten -> Relu or Clip becomes Relu or Clip -> Flatten."""

    def match(self, node: ir.Node) -> ir.Node | None:
        """The Flatten before a clamp."""
        x = node.inputs[0] if node.op_type in ("Relu", "Clip") else None
        flatten = None if x is None else x.producer()
        if x is None or flatten is None or flatten.op_type != "Flatten":
            return None
        before = flatten.inputs[0]
        if before is None or before.shape is None or len(before.shape) != 4:
            raise RefusedError("what is flattened before it is not [N, C, H, W]")
        if only_consumer(x) is not node:
            raise RefusedError("the Flatten before it is read elsewhere too")
        return flatten

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: ir.Node) -> None:
        before = found.inputs[0]
        assert before is not None
        clamp = ir.node(node.op_type, [before, *node.inputs[1:]])
        clamp.outputs[0].shape, clamp.outputs[0].type = before.shape, before.type
        flatten = ir.node("Flatten", [clamp.outputs[0]], {key: a.value for key, a in found.attributes.items()})
        replace_by_chain(node, [clamp, flatten])
        graph.remove(found, safe=True)
