"""Operators that move numbers: the bytes are moved, the grid stays."""

from __future__ import annotations

import onnx_ir as ir

from ...passes.values import attribute, constant
from .row import Row

__all__ = ["BARE", "MOVES"]

BARE = ("Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze")
"""Those that may stand on the integers themselves, where the target has it so (`integer_layout.py`)."""

_FILLED = "with another number than zero"
_BETWEEN = "between the numbers (mode other than nearest)"


def _pad(node: ir.Node) -> str:
    value = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else 0
    is_constant = attribute(node, "mode", "constant") == "constant"
    return f" {_FILLED}" if is_constant and (value is None or float(value) != 0) else ""


def _resize(node: ir.Node) -> str:
    return "" if attribute(node, "mode", "nearest") == "nearest" else f" {_BETWEEN}"


MOVES = (
    *(Row(operator=name, handling="moved", kernel=f"{name} of integers") for name in BARE),
    Row(operator="Split", handling="moved", kernel="Split of integers"),
    Row(operator="Resize", handling="moved", kernel="Resize of integers", obstacle=_resize, except_for=_BETWEEN),
    Row(operator="GatherND", handling="stored", kernel="GatherND of integers"),
    Row(operator="Pad", handling="stored", kernel="Pad of integers", obstacle=_pad, except_for=_FILLED),
)
