"""A convolution and the sum behind it are kept two kernels, by a 1x1 max pool between them.

    max over a window of one pixel = the pixel

OpenVINO makes convolution, quantizer, residual sum and the next quantizer one kernel, and leaves out the first rounding
in it (`DnnlPostOpsComposer::compose`, "drop rounding one special residual pattern"; `graph_optimizer.cpp`,
FuseConvolutionSumAndConvolutionSumActivation, in openvino/src/plugins/intel_cpu). It does so where the sum alone reads
the convolution. No engine takes the pool out; every engine has an integer kernel for it, which copies.
"""

from __future__ import annotations

import onnx_ir as ir

from .elementwise import functions
from .node_pass import NodePass
from .values import channels, constant, only_consumer

__all__ = ["SeparateTerms"]

_OWN_KERNEL = frozenset({"AveragePool", "Concat", "GlobalAveragePool", "MaxPool"})
"""Operators with one input that no engine makes a part of the convolution before."""


class SeparateTerms(NodePass[list[int]]):
    """Puts the pool before each Add, on the terms [N, C, H, W] that a convolution makes for this sum alone."""

    def prepare(self, graph: ir.Graph) -> None:
        self._functions = functions(graph)

    def match(self, node: ir.Node) -> list[int] | None:
        """The positions of these terms among the Add's inputs; None within a function of one tensor."""
        if node.op_type != "Add" or node in self._functions:
            return None
        return [i for i, term in enumerate(node.inputs) if channels(term) and _is_convolution(term, node)] or None

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: list[int]) -> None:
        for index in found:
            term = node.inputs[index]
            assert term is not None
            pool = ir.node("MaxPool", [term], {"kernel_shape": [1, 1]})
            copy = pool.outputs[0]
            copy.name, copy.shape, copy.type = f"{term.name}.term", term.shape, term.type
            graph.insert_before(node, pool)
            node.replace_input_with(index, copy)


def _is_convolution(term: ir.Value | None, reader: ir.Node) -> bool:
    """Whether a convolution makes `term` for `reader`, through functions of one tensor at most."""
    while term is not None and only_consumer(term) is reader:
        producer = term.producer()
        if producer is None or producer.op_type in _OWN_KERNEL:
            return False
        if producer.op_type == "Conv":
            return True
        variable = [value for value in producer.inputs if value is not None and constant(value) is None]
        if len(variable) != 1:
            return False
        term, reader = variable[0], producer
    return False
