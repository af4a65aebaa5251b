"""What a rule for sizes is given of a node: shapes, constants, attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from .onnx_records import Attribute

__all__ = ["Given", "Rule", "Shape", "UntoldError", "axis_of", "need"]

Shape = tuple[int, ...]


class UntoldError(Exception):
    """The sizes do not follow from what is known."""


class Given(NamedTuple):
    """What a rule is given of a node.

    Attributes:
        shapes: of the inputs; None where one is left out.
        constant: the integers of an input by its place; raises `UntoldError` where they are computed.
        attributes: by name.
        outputs: how many the node has.
    """

    shapes: tuple[Shape | None, ...]
    constant: Callable[[int], tuple[int, ...]]
    attributes: Mapping[bytes, Attribute]
    outputs: int

    def shape(self, place: int) -> Shape:
        """The shape of an input that must be there."""
        shape = self.shapes[place] if place < len(self.shapes) else None
        if shape is None:
            raise UntoldError
        return shape

    def has(self, place: int) -> bool:
        """Whether an input is given."""
        return place < len(self.shapes) and self.shapes[place] is not None

    def number(self, name: bytes, default: int) -> int:
        """An attribute of one integer."""
        attribute = self.attributes.get(name)
        return default if attribute is None else attribute.number or 0

    def numbers(self, name: bytes, place: int) -> tuple[int, ...] | None:
        """Integers of an attribute or, since later opsets, of an input; None where they are left out."""
        attribute = self.attributes.get(name)
        return attribute.numbers if attribute is not None else self.constant(place) if self.has(place) else None


Rule = Callable[[Given], Sequence[Shape]]
"""From what is given of a node to the shapes of its outputs."""


def need(holds: bool) -> None:
    """Give up where a rule was not written for what it is given."""
    if not holds:
        raise UntoldError


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    need(-rank <= axis < rank)
    return axis % rank
