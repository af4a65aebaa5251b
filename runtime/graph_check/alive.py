"""How many elements the tensors of a graph have together while it runs.

Rule: a value lives from the node that makes it to the last one that reads it, in the file's order, and the graph's
outputs to the end. What follows from constants alone lives from start to end: ONNX Runtime computes it, and keeps it,
when the graph is opened. Initializers do not count: they are as large as the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from .given import Shape
from .onnx_records import Model

__all__ = ["most_alive"]


def most_alive(model: Model, shapes: Mapping[bytes, Shape]) -> int:
    """The most elements that are needed at one time.

    Args:
        model: nodes in an order in which each can run.
        shapes: of every value.
    """

    def elements(names: Iterable[bytes]) -> int:
        return sum(math.prod(shapes[name]) for name in names)

    moving = {value.name for value in model.inputs} - {tensor.name for tensor in model.tensors}
    last = {name: place for place, node in enumerate(model.nodes) for name in node.inputs}
    last |= {value.name: len(model.nodes) for value in model.outputs}
    alive = most = elements(moving)
    constant = 0
    for place, node in enumerate(model.nodes):
        made = {name for name in node.outputs if name}
        if moving.isdisjoint(node.inputs):
            constant += elements(made)
            continue
        moving |= made
        alive += elements(made)
        most = max(most, alive)
        alive -= elements(name for name in {*node.inputs, *made} & moving if last.get(name, place) <= place)
    return most + constant
