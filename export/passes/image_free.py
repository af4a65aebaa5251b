"""What is computed without the image becomes a constant: masks, positions, sizes.

Shifted windows build their mask with ScatterND, and position embeddings count with CumSum, for as many images as come.
Both are the same for every image, so they are evaluated once, for one image and for three. What is the same array both
times is that constant; what is the same row for each image is that row, where an elementwise reader repeats it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from .elementwise import ELEMENTWISE
from .node_pass import NodePass
from .values import add_initializer, constant

__all__ = ["ImageFree"]

_Array = npt.NDArray[Any]

_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
_COUNTS = (1, 3)
"""Numbers of images to evaluate for."""


class ImageFree(NodePass[_Array]):
    """The last values before the first that depends on the image, where they do not depend on how many come either."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[ir.Value, _Array] = {}

    def prepare(self, graph: ir.Graph) -> None:
        """Evaluate what does not depend on the image."""
        free = _free(graph)
        borders = [value for value in free if any(user.outputs[0] not in free for user, _ in value.uses())]
        borders = [value for value in borders if not value.is_graph_output()]
        self._known = {}
        if not borders:
            return
        try:
            few, more = (_evaluate(graph, borders, count) for count in _COUNTS)
        except Exception:  # of many types: ONNX's reference does not run every graph that engines do
            return
        for value, one, three in zip(borders, few, more, strict=True):
            is_same = one.shape == three.shape and np.array_equal(one, three)
            is_row = one.shape[1:] == three.shape[1:] and _is_repeated(value, free) and bool((three == one).all())
            if is_same or is_row:
                self._known[value] = one

    def match(self, node: ir.Node) -> _Array | None:
        """The node's one result."""
        return self._known.get(node.outputs[0]) if len(node.outputs) == 1 else None

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: _Array) -> None:
        (result,) = node.outputs
        ir.convenience.replace_all_uses_with(result, add_initializer(graph, f"{result.name}.known", found))


def _free(graph: ir.Graph) -> dict[ir.Value, None]:
    """The results that constants and the number of images make, in graph order."""
    images, free = set(graph.inputs), dict[ir.Value, None]()
    for node in graph:
        read = [value for value in node.inputs if value is not None and constant(value) is None]
        known = all(value in free or (node.op_type == "Shape" and value in images) for value in read)
        inside = any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values())
        if known and not inside and node.op_type not in _RANDOM:
            free |= dict.fromkeys(node.outputs)
    return free


def _evaluate(graph: ir.Graph, values: list[ir.Value], count: int) -> list[_Array]:
    part = ir.convenience.extract(graph, graph.inputs, values)
    (image,) = part.inputs
    assert image.shape is not None
    assert image.dtype is not None
    shape = (count, *(int(size) for size in image.shape[1:] if isinstance(size, int)))
    evaluator = ReferenceEvaluator(ir.to_proto(ir.Model(part, ir_version=10)))
    found = evaluator.run(None, {image.name or "": np.zeros(shape, image.dtype.numpy())})
    return [np.asarray(array) for array in found]


def _is_repeated(value: ir.Value, free: dict[ir.Value, None]) -> bool:
    """Whether all readers are elementwise and read, beside `value`, one number of each image for each of its own."""
    rank = 0 if value.shape is None else len(value.shape)

    def is_of_images(other: ir.Value | None) -> bool:
        if other is None or other in free or constant(other) is not None or other.shape is None:
            return False
        return len(other.shape) == rank and not isinstance(other.shape[0], int)

    return all(user.op_type in ELEMENTWISE and any(map(is_of_images, user.inputs)) for user, _ in value.uses())
