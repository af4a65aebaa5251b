"""Constants in and out of an `onnx_ir` graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ...runtime.shapes import Shaped

__all__ = ["add_initializer", "attribute", "channels", "constant", "only_consumer", "replace_by_chain"]


def constant(value: ir.Value | None) -> Shaped[npt.NDArray[Any], " ..."] | None:
    """The array behind `value`, or None where it is not known before run time."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def add_initializer(graph: ir.Graph, name: str, array: Shaped[npt.NDArray[Any], " ..."]) -> ir.Value:
    """A new initializer, named `name` or, where that is taken, `name_1`, `name_2`, ..."""
    taken, unique, number = graph.initializers, name, 0
    while unique in taken:
        number += 1
        unique = f"{name}_{number}"
    tensor = ir.tensor(np.array(array, order="C"), name=unique)
    value = ir.Value(
        name=unique, type=ir.TensorType(tensor.dtype), shape=ir.Shape(list(array.shape)), const_value=tensor
    )
    graph.register_initializer(value)
    return value


def attribute(node: ir.Node, name: str, default: Any) -> Any:
    """The attribute's plain Python value, `default` where the node has none."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def only_consumer(value: ir.Value) -> ir.Node | None:
    """The one node that reads `value`; None where several do, none does, or the graph returns it."""
    uses = list(value.uses())
    return uses[0][0] if len(uses) == 1 and not value.is_graph_output() else None


def channels(value: ir.Value | None) -> int | None:
    """C of a [N, C, H, W] value, None where the rank is not 4 or C is unknown."""
    if value is None or value.shape is None or len(value.shape) != 4:
        return None
    size = value.shape[1]
    return size if isinstance(size, int) else None


def replace_by_chain(node: ir.Node, chain: list[ir.Node]) -> None:
    """Put `chain` (its last output standing for the node's) in the node's place; names and shapes stay."""
    graph = node.graph
    assert graph is not None
    old, new = node.outputs[0], chain[-1].outputs[0]
    graph.insert_before(node, chain)
    new.shape, new.type = old.shape, old.type
    name = old.name
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    new.name = name
