"""Which nodes are together a function of one tensor, number by number.

    silu(x) = x sigmoid(x)        gelu(x) = x (1 + erf(x / sqrt 2)) / 2        hswish(x) = x clip(x + 3, 0, 6) / 6

Of an 8-bit tensor such a function is a table of 256 numbers, so its nodes stay together: no pass makes layers of the
additions and products among them, and no quantizer stands between. They are found by their shape, whatever they are
called: a node that reads one tensor on two ways, with all that lies between; each node for which there is neither an
integer kernel nor a layer (tanh, erf, exp); and what scales or clamps only a neighbour of these.
"""

from __future__ import annotations

import onnx_ir as ir

from .values import constant, only_consumer

__all__ = ["AFFINE", "CLAMPS", "ELEMENTWISE", "functions", "origin", "variables"]

AFFINE = frozenset({"Add", "Div", "Mul", "Neg", "Sub"})
"""Operators that layers can take, where one of the two is a constant."""

CLAMPS = frozenset({"Clip", "Relu"})
"""Operators that the ends of an 8-bit grid make."""

_TABLES = frozenset({"LeakyRelu", "Sigmoid"})
"""Operators with an integer kernel of their own."""

ELEMENTWISE = frozenset(
    {"Abs", "And", "Cast", "Ceil", "Celu", "Cos", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater"}
    | {"GreaterOrEqual", "HardSigmoid", "HardSwish", "Less", "LessOrEqual", "Log", "Max", "Min", "Mish", "Mod", "Not"}
    | {"Or", "PRelu", "Pow", "Reciprocal", "Round", "Selu", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Swish"}
    | {"Tanh", "ThresholdedRelu", "Where"}
    | AFFINE
    | CLAMPS
    | _TABLES
)
"""Operators whose results are made number by number."""


def variables(node: ir.Node) -> list[ir.Value]:
    """The inputs that depend on the image, each once."""
    return list(dict.fromkeys(v for v in node.inputs if v is not None and constant(v) is None))


def functions(graph: ir.Graph) -> set[ir.Node]:
    """The nodes that stay together."""
    found: set[ir.Node] = set()
    order = {node: index for index, node in enumerate(graph)}
    roots: dict[ir.Value, ir.Value] = {}
    for node in order:
        read = variables(node)
        if node.op_type not in ELEMENTWISE or not read:
            continue
        if len({roots.get(value, value) for value in read}) == 1:
            roots[node.outputs[0]] = roots.get(read[0], read[0])
            if len(read) > 1:
                between = _between(read, order)
                if node.op_type != "Mul" or not all(inner.op_type in _TABLES for inner in between):
                    found |= {node} | between
            elif node.op_type not in AFFINE | CLAMPS | _TABLES:
                found.add(node)
        if node not in found and len(read) == 1 and read[0].producer() in found and only_consumer(read[0]) is node:
            found.add(node)
    for node in reversed(order):
        read = variables(node)
        is_affine = node.op_type in AFFINE and len(read) == 1
        if is_affine and only_consumer(node.outputs[0]) in found and not _folds(read[0]):
            found.add(node)
    return found


def origin(value: ir.Value) -> tuple[ir.Value, list[ir.Node]]:
    """The one tensor that `value` is a function of, made by no elementwise node, and the nodes between in graph order.

    No nodes where `value` itself is such a tensor, or is made of several.
    """
    producer = value.producer()
    if producer is None or producer.graph is None:
        return value, []
    order = {node: index for index, node in enumerate(producer.graph)}
    nodes: list[ir.Node] = []
    front = {value}
    while True:
        last = max(front, key=lambda v: order.get(v.producer(), -1))  # type: ignore[arg-type]
        node = last.producer()
        if node is None or node.op_type not in ELEMENTWISE or not variables(node):
            return (last, nodes[::-1]) if len(front) == 1 else (value, [])
        nodes.append(node)
        front = (front - {last}) | set(variables(node))


def _between(read: list[ir.Value], order: dict[ir.Node, int]) -> set[ir.Node]:
    """The nodes between these values and the nearest one that all of them are functions of."""
    found: set[ir.Node] = set()
    front = set(read)
    while len(front) > 1:
        last = max(front, key=lambda v: order.get(v.producer(), -1))  # type: ignore[arg-type]
        node = last.producer()
        assert node is not None
        found.add(node)
        front = (front - {last}) | set(variables(node))
    return found


def _folds(value: ir.Value) -> bool:
    """Whether a layer makes `value`, for one reader, and can take a scale and an offset into its weights."""
    producer = value.producer()
    layers = ("BatchNormalization", "Conv", "Gemm", "MatMul", *AFFINE)
    return producer is not None and producer.op_type in layers and only_consumer(value) is not None
