"""The operator matrix: every operator with what becomes of it in the integer graph.

What has no row stays float, as rows of `float` do, as long as the twin computes it.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from .attention import ATTENTION
from .functions import FUNCTIONS
from .joins import JOINS
from .linear_layers import LINEAR_LAYERS
from .moves import MOVES
from .normalizations import NORMALIZATIONS
from .pooling import POOLING
from .products import PRODUCTS
from .row import Handling, Row
from .sums import SUMS

__all__ = ["FAMILIES", "ROWS", "handling", "obstacle", "refused"]

FAMILIES: Mapping[str, tuple[Row, ...]] = {
    "layers": LINEAR_LAYERS,
    "sums": SUMS,
    "products": PRODUCTS,
    "attention": ATTENTION,
    "normalizations": NORMALIZATIONS,
    "joins": JOINS,
    "pools": POOLING,
    "moves": MOVES,
    "functions of one tensor": FUNCTIONS,
}
"""The rows, family by family."""

ROWS: Mapping[str, Row] = {row.operator: row for rows in FAMILIES.values() for row in rows}
"""By operator."""


def handling(node: ir.Node) -> Handling:
    """What becomes of a node, as far as that does not depend on its neighbours."""
    row = ROWS.get(node.op_type)
    return "float" if row is None or row.obstacle(node) else row.handling


def obstacle(node: ir.Node) -> str:
    """What of the node has no integer kernel, to be read behind its type; empty where that says it."""
    row = ROWS.get(node.op_type)
    return "" if row is None else row.obstacle(node)


def refused(graph: ir.Graph) -> dict[str, list[str]]:
    """What no integer graph may hold: operator and obstacle -> names of the results."""
    found: dict[str, list[str]] = {}
    for node in graph:
        row = ROWS.get(node.op_type)
        if row is not None and row.refused and row.obstacle(node):
            found.setdefault(f"{node.op_type}{row.obstacle(node)}", []).append(node.outputs[0].name or "?")
    return found
