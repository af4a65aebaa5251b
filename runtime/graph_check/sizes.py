"""The sizes of all values of a graph, as far as they follow from the file alone.

Rule: one image, or the fixed batch, goes through the nodes in the file's order, each operator by ONNX's own rule for
shapes (`size_rules.py`). A graph in which every size is told, none is above `MOST_ELEMENTS`, and those that live at one
time (`alive.py`) are not above `MOST_ALIVE` together, takes bounded memory for each image. Where an operator, or what
it is given, has no rule, nothing is guessed: the graph must be tried.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..errors import ModelError
from .alive import most_alive
from .contents import shown
from .element_types import constant_of
from .given import Given, Shape, UntoldError
from .limits import MOST_ALIVE, MOST_ELEMENTS, MOST_IMAGE_ELEMENTS, MOST_RANK
from .onnx_records import Model, Node
from .size_rules import RULES
from .tensor_data import integers
from .wire import Wire

__all__ = ["Sizes", "check_sizes"]


class Sizes(NamedTuple):
    """What follows from a file.

    Attributes:
        shapes: of the values, by name, with one image where the batch is not fixed.
        untold: the operators whose sizes cannot be told, each once; none where `shapes` has every value.
    """

    shapes: Mapping[bytes, Shape]
    untold: tuple[str, ...]


_MOST_CONSTANTS = 64
"""Integers of an input that says a size: one a dimension."""


def check_sizes(wire: Wire, model: Model, *, what: str) -> Sizes:
    """Refuse a graph with a tensor above the limit.

    Args:
        wire: the file.
        model: read from it; its tensors' data fit their shapes.
        what: the file, for the error.

    Raises:
        ModelError: a tensor is above the limit, or those that are needed at one time are together.
    """
    sizes = _Followed(wire, model, what)
    for node in model.nodes:
        sizes.follow(node)
    if not sizes.untold and (alive := most_alive(model, sizes.shapes)) > MOST_ALIVE:
        raise ModelError(
            f"{what}: its tensors are too large together",
            expected=f"at most {MOST_ALIVE} elements at one time for one image or the fixed batch",
            got=str(alive),
            fix="export the network with a smaller fixed batch or a dynamic one",
        )
    return Sizes(sizes.shapes, tuple(dict.fromkeys(sizes.untold)))


class _Followed:
    """Shapes and constants by the name of the value; a shape that is not there is not known."""

    def __init__(self, wire: Wire, model: Model, what: str) -> None:
        self.untold: list[str] = []
        self._without: set[bytes] = set()
        self._wire, self._what = wire, what
        self._tensors = {tensor.name: tensor for tensor in model.tensors}
        self._numbers: dict[bytes, tuple[int, ...]] = {}
        self.shapes: dict[bytes, Shape] = {tensor.name: tensor.dims for tensor in model.tensors}
        for value in model.inputs:
            if value.name in self._tensors:
                continue
            batch, *image = value.shape or (None, None)
            known = tuple(size for size in image if size is not None and size > 0)
            if len(known) < len(image):
                self._leave("inputs", [value.name])
            else:
                one = 1 if batch is None or batch < 1 else batch
                self._keep(value.name, (one, *known), most=MOST_IMAGE_ELEMENTS)

    def follow(self, node: Node) -> None:
        """Go through one node."""
        op_type = node.op_type.decode()
        if op_type == "Constant":
            self._constant(node)
            return
        inputs = [self.shapes.get(name) for name in node.inputs]
        if any(shape is None and name for name, shape in zip(node.inputs, inputs, strict=True)):
            # untold before it; or its input comes later, or nowhere
            self._leave(None if self._without.intersection(node.inputs) else op_type, node.outputs)
            return
        given = Given(tuple(inputs), lambda place: self._integers(node, place), node.attributes, len(node.outputs))
        try:
            if op_type not in RULES:
                raise UntoldError
            shapes = RULES[op_type](given)
            if len(shapes) < len(node.outputs):
                raise UntoldError
        except UntoldError:
            self._leave(op_type, node.outputs)
            return
        for name, shape in zip(node.outputs, shapes, strict=False):
            if name:
                self._keep(name, shape)

    def _keep(self, name: bytes, shape: Shape, *, most: int = MOST_ELEMENTS) -> None:
        what = f"{self._what}: value {shown(name)} is too large"
        if len(shape) > MOST_RANK:
            raise ModelError(what, expected=f"at most {MOST_RANK} dimensions", got=str(len(shape)))
        # a size of 0 beside it makes no other size smaller: kernels multiply them in any order
        if math.prod(max(size, 1) for size in shape) > most:
            raise ModelError(
                what,
                expected=f"at most {most} elements for one image or the fixed batch",
                got=f"{math.prod(shape)}, {list(shape)}",
                fix="export the network with a smaller fixed batch or a dynamic one" if shape and shape[0] > 1 else "",
            )
        self.shapes[name] = shape

    def _leave(self, op_type: str | None, outputs: Iterable[bytes]) -> None:
        """Go on without the sizes of a node's outputs; `op_type` is to blame, if anything."""
        self._without.update(outputs)
        if op_type is not None:
            self.untold.append(op_type)

    def _constant(self, node: Node) -> None:
        """A Constant: a tensor, or numbers."""
        name = node.outputs[0] if node.outputs else b""
        tensor = constant_of(node)
        if tensor is not None:
            self._tensors[name], self.shapes[name] = tensor, tensor.dims
            return
        one, several = node.attributes.get(b"value_int"), node.attributes.get(b"value_ints")
        if one is not None:
            self._numbers[name], self.shapes[name] = (one.number or 0,), ()
        elif several is not None:
            self._numbers[name], self.shapes[name] = several.numbers, (len(several.numbers),)
        elif b"value_float" in node.attributes:
            self.shapes[name] = ()
        else:
            self._leave("Constant", node.outputs)

    def _integers(self, node: Node, place: int) -> tuple[int, ...]:
        name = node.inputs[place] if place < len(node.inputs) else b""
        if name in self._numbers:
            return self._numbers[name]
        tensor = self._tensors.get(name)
        if tensor is None or math.prod(tensor.dims) > _MOST_CONSTANTS:
            raise UntoldError
        values = integers(self._wire, tensor)
        if values is None:
            raise UntoldError
        return tuple(values.tolist())
