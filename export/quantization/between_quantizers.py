"""A float operator between integers: DequantizeLinear -> operator -> QuantizeLinear."""

from __future__ import annotations

import math
from typing import NamedTuple

import onnx_ir as ir

from ..passes.node_pass import RefusedError
from ..passes.nodes_in_front import Chain
from ..passes.values import constant, only_consumer

__all__ = ["Between", "between"]


class Between(NamedTuple):
    """One operator that works along axes, with the integers around it.

    Attributes:
        integers: what the operator's input was dequantized from.
        scale: with which.
        axes: those that the operator works along.
        shape: of the operator's input, -1 for the batch.
        quantizer: the QuantizeLinear that alone reads the result.
        step: the scale of the quantized result.
    """

    integers: ir.Value
    scale: float
    axes: tuple[int, ...]
    shape: tuple[int, ...]
    quantizer: ir.Node
    step: float

    @property
    def numbers(self) -> int:
        """How many numbers the operator works on at a time."""
        return math.prod(self.shape[axis] for axis in self.axes)

    def replace(self, chain: Chain, graph: ir.Graph, node: ir.Node, parts: ir.Value, *, parts_a_step: int) -> None:
        """Take `parts`, float [rows, numbers], for the operator's result.

        Args:
            chain: what stands in front of `node`.
            graph: of both.
            node: the operator; it goes, and its quantizer too.
            parts: the result, in parts of a step.
            parts_a_step: how many.
        """
        step = chain.constant("parts_a_step", parts_a_step)
        quantized = chain.like(self.quantizer, parts, step, self.quantizer.inputs[2])
        result = self.quantizer.outputs[0]
        name, again = result.name, chain.reshaped(quantized, self.shape)
        again.shape = result.shape
        result.replace_all_uses_with(again, replace_graph_outputs=True)
        graph.remove([node, self.quantizer], safe=True)
        again.name = name


def between(node: ir.Node, axes: slice) -> Between | None:
    """The node with its integers, if it stands between quantizers.

    Args:
        node: the operator.
        axes: those of its input along which it works.

    Raises:
        RefusedError: a size but that of the batch is not known, or the batch is among these axes.
    """
    x = node.inputs[0]
    dequantizer = None if x is None else x.producer()
    quantizer = only_consumer(node.outputs[0])
    if dequantizer is None or dequantizer.op_type != "DequantizeLinear":
        return None
    if quantizer is None or quantizer.op_type != "QuantizeLinear":
        return None
    integers, scale, step = dequantizer.inputs[0], constant(dequantizer.inputs[1]), constant(quantizer.inputs[1])
    assert x is not None
    assert integers is not None
    assert scale is not None
    assert step is not None
    if x.shape is None:
        raise RefusedError("its input's shape is not known")
    shape = tuple(size if isinstance(size, int) else -1 for size in x.shape)
    along = tuple(range(len(shape)))[axes]
    if -1 in shape[1:] or 0 in along:
        raise RefusedError("its sizes are not known, or it works along the batch")
    return Between(integers, scale.item(), along, (-1, *shape[1:]), quantizer, step.item())
