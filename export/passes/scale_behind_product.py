"""The scale of attention behind the product of queries and keys.

    softmax((c_q q) (c_k k)) = softmax(c q k),   c = c_q c_k          c = 1 / sqrt(d), Vaswani et al. 2017, equation 1

There it costs nothing: the integers of the product are read with a scale c times as large (`stored_values.py`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from .node_pass import NodePass
from .values import add_initializer, constant, only_consumer

__all__ = ["ScaleBehindProduct", "score_scale"]


class _Scales(NamedTuple):
    """The product, its operands without their scales, the node whose result is scaled, and the scale of it."""

    product: ir.Node
    operands: list[ir.Value]
    last: ir.Node
    scale: float


class ScaleBehindProduct(NodePass[_Scales]):
    """Positive scalars around a MatMul of two variables that a Softmax alone reads become one Mul behind it."""

    def match(self, node: ir.Node) -> _Scales | None:
        """What is scaled."""
        if node.op_type != "Softmax":
            return None
        last = node.inputs[0].producer() if node.inputs[0] is not None else None
        product, behind = _scaled(node.inputs[0])
        maker = product.producer()
        if last is None or maker is None or only_consumer(last.outputs[0]) is not node or not _of_variables(maker):
            return None
        if maker is not last and only_consumer(product) is not last:
            return None
        operands, scales = zip(*(_scaled(value) for value in maker.inputs), strict=True)
        is_done = all(scale == 1 for scale in scales) and (maker is last or last.op_type == "Mul")
        return None if is_done else _Scales(maker, list(operands), last, behind * scales[0] * scales[1])

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: _Scales) -> None:
        for index, operand in enumerate(found.operands):
            read = found.product.inputs[index]
            found.product.replace_input_with(index, operand)
            scaler = None if read is None else read.producer()
            if scaler is not None and operand is not read and not any(output.uses() for output in scaler.outputs):
                graph.remove(scaler, safe=True)
        product = found.product.outputs[0]
        factor = add_initializer(graph, f"{product.name}.factor", np.array(found.scale, np.float32))
        scaled = ir.node("Mul", [product, factor])
        scaled.outputs[0].shape, scaled.outputs[0].type = product.shape, product.type
        scaled.outputs[0].name = f"{product.name}_scaled"
        graph.insert_before(node, scaled)
        node.replace_input_with(0, scaled.outputs[0])
        if found.last is not found.product:
            graph.remove(found.last, safe=True)


def score_scale(node: ir.Node) -> float | None:
    """The scalar of a Mul that stands, in this form, between a MatMul of two variables and a Softmax; else None."""
    reader, product = only_consumer(node.outputs[0]), node.inputs[0]
    maker = None if product is None else product.producer()
    if node.op_type != "Mul" or reader is None or reader.op_type != "Softmax" or maker is None or product is None:
        return None
    factor = _positive(node.inputs[1])
    return factor if _of_variables(maker) and only_consumer(product) is node else None


def _of_variables(node: ir.Node) -> bool:
    return node.op_type == "MatMul" and all(constant(value) is None for value in node.inputs)


def _scaled(value: ir.Value | None) -> tuple[ir.Value, float]:
    """(x, c) of c x, with c = 1 where no positive scalar is multiplied or divided by."""
    assert value is not None
    node = value.producer()
    if node is None or node.op_type not in ("Mul", "Div"):
        return value, 1.0
    left, right = node.inputs
    if node.op_type == "Mul" and constant(left) is not None:
        left, right = right, left
    factor = _positive(right)
    if factor is None or left is None or constant(left) is not None:
        return value, 1.0
    return left, factor if node.op_type == "Mul" else 1 / factor


def _positive(value: ir.Value | None) -> float | None:
    """A constant that is one positive number."""
    array = constant(value)
    return float(array.reshape(())) if array is not None and array.size == 1 and array.reshape(-1)[0] > 0 else None
