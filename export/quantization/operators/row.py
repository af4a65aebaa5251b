"""One operator in the integer graph: how it reads, what grid its result has, and which kernel of ONNX Runtime does it.

requantized   DequantizeLinear -> operator -> QuantizeLinear, with a grid of the result's own: one integer kernel
moved         the same with the grid of the input: numbers are moved, none changes (or stored: `integer_layout.py`)
rounded       the same in float: there is no integer kernel, but operations that every engine rounds alike
stored        the operator stands between QuantizeLinear and DequantizeLinear and works on the integers themselves
float         no kernel: real numbers between DequantizeLinear and QuantizeLinear, or other float operators
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

__all__ = ["QUANTIZED", "Handling", "Row", "nothing"]

Handling = Literal["requantized", "moved", "rounded", "stored", "float"]

QUANTIZED: tuple[Handling, ...] = ("requantized", "rounded")
"""What takes integers and gives others, on a grid of the result's own."""


def nothing(node: ir.Node) -> str:
    """No node of the operator stays float."""
    return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One operator.

    Attributes:
        operator: ONNX's name.
        handling: as the module says.
        kernel: what ONNX Runtime makes of it; empty for `float` and `rounded`.
        obstacle: why one node of it stays float all the same, to be read behind its name: " with computed weights";
            empty where it does not.
        except_for: these obstacles in words, for the documents.
        refused: with an obstacle the graph is refused: ONNX Runtime would take a kernel that computes other numbers.
    """

    operator: str
    handling: Handling
    kernel: str = ""
    obstacle: Callable[[ir.Node], str] = nothing
    except_for: str = ""
    refused: bool = False
