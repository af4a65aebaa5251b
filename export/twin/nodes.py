"""A node of an ONNX graph as the twin reads it, and ONNX's integer types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from onnx import TensorProto

__all__ = ["BLACK_BOX", "ELEMENT_TYPE", "INTEGERS", "RESULT_TYPE", "Node"]

BLACK_BOX = "attack this graph with black-box attacks only"
"""What to do about a graph that has no twin."""

ELEMENT_TYPE = "element type of the first input"
RESULT_TYPE = "element type of the result"
"""Attributes that the twin gives a node: TensorProto's number, 0 where it is not known."""

INTEGERS = {
    getattr(TensorProto, f"{sign}INT{bits}"): (-(2 ** (bits - 1)) if sign == "" else 0, 2**bits)
    for sign in ("", "U")
    for bits in (4, 8, 16, 32, 64)
}
"""Each integer type's smallest value, and how many it has."""


class Node(NamedTuple):
    """A node with its attributes as plain Python values.

    `label` is what a message calls it: its operator and its own name.
    """

    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    label: str = ""
