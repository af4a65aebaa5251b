"""Nodes in an order that they can be computed in: each behind those whose results it reads.

ONNX asks that of a graph (onnx/onnx, docs/IR.md, "Graphs": a topologically sorted list of nodes), ONNX Runtime does
not: it sorts by itself. A twin of what it runs has to do so too.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import onnx

from ...runtime.errors import ModelError

__all__ = ["in_order"]


def in_order(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model itself where its nodes are in order, else a copy in which they are.

    Raises:
        ModelError: nodes that wait for each other.
    """
    nodes = model.graph.node
    makers = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    reads = {index: {makers[name] for name in node.input if name in makers} for index, node in enumerate(nodes)}
    if all(max(read, default=-1) < index for index, read in reads.items()):
        return model
    try:
        order = list(TopologicalSorter(reads).static_order())
    except CycleError:
        expected = "nodes that can be computed one after another"
        raise ModelError("the ONNX graph", expected=expected, got="nodes that wait for each other") from None
    sorted_model = onnx.ModelProto()
    sorted_model.CopyFrom(model)
    del sorted_model.graph.node[:]
    sorted_model.graph.node.extend(nodes[index] for index in order)
    return sorted_model
