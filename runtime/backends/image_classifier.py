"""What makes a graph an image classifier, with one line for each other thing that a graph may be.

    one input [N, C, H, W], uint8 pixels or float32        one output of float logits, [N, K], K of 2 or more

Rule: axes of size 1 behind the batch say nothing, so [N, K, 1, 1], as fully convolutional networks give it, is [N, K].
Channels-last input [N, H, W, C] is told by its last axis: 1, 3 or 4 where the other two are larger or open. An input
[N, 3, W, 3] may be either; `bench/compatibility.py` tells it by the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..graph_check.limits import MOST_CLASSES
from ..shapes import Float32

__all__ = [
    "INPUT_DTYPES",
    "as_logits",
    "channels_last",
    "counted_classes",
    "declared_classes",
    "only_input",
    "only_output",
    "read_image_input",
]

INPUT_DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
"""Images as ONNX Runtime and as NumPy call their type."""

_OUTPUT_TYPES = ("tensor(float)", "tensor(double)", "tensor(float16)")
_CHANNELS = (1, 3, 4)
_DOCS = "docs/your-own.md has the lines"
_LISTED = 4

Shape = tuple[int, int, int]


def only_input(nodes: Sequence[Any], *, origin: str) -> Any:
    """The one input.

    Args:
        nodes: ONNX Runtime's descriptions, each with a name, a type such as "tensor(float)" and a shape.
        origin: what to call the graph in an error.

    Raises:
        ModelError: there are more, or none.
    """
    if len(nodes) == 1:
        return nodes[0]
    fix = "export it with the image as its only input, the others as constants"
    raise ModelError(f"{origin}: inputs", expected="one input", got=_listing(nodes), fix=fix)


def only_output(nodes: Sequence[Any], *, origin: str) -> Any:
    """The one output, of float type; arguments and errors as of `only_input`."""
    if len(nodes) != 1:
        likely = [node.name for node in nodes if node.type in _OUTPUT_TYPES and len(node.shape) == 2]
        name = likely[0] if len(likely) == 1 else "LOGITS"
        fix = f"keep the logits alone: onnx.utils.extract_model(OLD, NEW, [INPUT], [{name!r}])"
        raise ModelError(f"{origin}: outputs", expected="one output", got=_listing(nodes), fix=fix)
    (node,) = nodes
    if node.type not in _OUTPUT_TYPES:
        raise ModelError(
            f"{origin}: output {node.name!r}",
            expected="float logits [N, K]",
            got=_described(node),
            fix="export the logits, without what makes class numbers or names of them (an ArgMax, say)",
        )
    return node


def read_image_input(node: Any, *, origin: str) -> tuple[str, int | None, Shape]:
    """("uint8" or "float32", the batch where it is fixed, (C, H, W)) of an input.

    Raises:
        ModelError: it is no image [N, C, H, W] with fixed C, H and W, of these types.
    """
    what = f"{origin}: input {node.name!r}"
    sizes = [_fixed(size) for size in node.shape]
    if len(sizes) == 4 and _is_channels_last(sizes[1:]):
        raise channels_last(what, node.shape)
    if node.type not in INPUT_DTYPES:
        fix = "export it with a float32 input" if "float" in node.type or "double" in node.type else ""
        raise ModelError(what, expected=" or ".join(INPUT_DTYPES), got=node.type, fix=fix)
    if len(sizes) != 4 or None in sizes[1:]:
        expected = "[N, C, H, W] with fixed C, H and W"
        raise ModelError(what, expected=expected, got=_shape(node.shape), fix=_input_fix(sizes))
    batch, channels, height, width = sizes
    return INPUT_DTYPES[node.type], batch, (channels or 0, height or 0, width or 0)


def channels_last(what: str, shape: Sequence[Any]) -> ModelError:
    """The error for an input [N, H, W, C]."""
    return ModelError(
        f"{what}: channels-last images (NHWC) are not supported",
        expected="[N, C, H, W]",
        got=_shape(shape),
        fix=f"tf2onnx --inputs-as-nchw INPUT, or put Transpose(perm=[0, 2, 3, 1]) in front: {_DOCS}",
    )


def declared_classes(shape: Sequence[Any], *, origin: str) -> int | None:
    """K of an output's declared shape; None where it does not say.

    Raises:
        ModelError: more classes than any network has.
    """
    left = [_fixed(size) for size in shape[1:] if size != 1]
    return _bounded(left[0], origin) if len(left) == 1 and left[0] else None


def counted_classes(shape: Sequence[int], *, batch: int, origin: str) -> int:
    """K of the shape of a result for `batch` images.

    Args:
        shape: of the result.
        batch: how many images it is of.
        origin: what to call the output in an error.

    Raises:
        ModelError: one logit an image, no row of logits for each image, or more classes than any network has.
    """
    left = [size for size in shape[1:] if size != 1]
    if list(shape[:1]) == [batch] and not left:
        raise ModelError(
            f"{origin}: one logit (a binary classifier with a sigmoid) is not supported",
            expected="[N, K], a logit for each of 2 or more classes",
            got=_shape(shape),
            fix="export two logits: torch.cat([-z, z], 1), z [N, 1] the value before the sigmoid",
        )
    if list(shape[:1]) != [batch] or len(left) != 1 or not left[0]:
        raise _no_logits(origin, f"[{batch}, K]", shape)
    return _bounded(left[0], origin)


def as_logits(result: NDArray[Any], *, batch: int, classes: int, origin: str) -> Float32[NDArray[np.float32], "n k"]:
    """What a graph gave for `batch` images, as [N, K].

    Raises:
        ModelError: it has not one row of `classes` for each image.
    """
    if [size for size in result.shape[1:] if size != 1] != [classes] or len(result) != batch:
        raise _no_logits(origin, f"[{batch}, {classes}]", result.shape)
    return np.asarray(result, np.float32).reshape(batch, classes)


def _bounded(classes: int, origin: str) -> int:
    if classes > MOST_CLASSES:
        raise ModelError(origin, expected=f"at most {MOST_CLASSES} classes", got=str(classes))
    return classes


def _no_logits(origin: str, expected: str, shape: Sequence[Any]) -> ModelError:
    """The error for another result than rows of logits."""
    fix = ""
    if len(shape) == 1:
        fix = "keep the batch axis of the logits"
    elif len(shape) > 2:
        fix = "export a classifier: logits of the whole image, not a map of them"
    return ModelError(origin, expected=f"{expected} logits", got=_shape(shape), fix=fix)


def _is_channels_last(sizes: Sequence[int | None]) -> bool:
    first, second, last = sizes
    return last in _CHANNELS and all(size is None or size > max(_CHANNELS) for size in (first, second))


def _input_fix(sizes: Sequence[int | None]) -> str:
    if len(sizes) == 4:
        return "python -m onnxruntime.tools.make_dynamic_shape_fixed"
    if len(sizes) == 2:
        return f"it takes rows of numbers: put a Flatten of the images in front: {_DOCS}"
    if len(sizes) == 3:
        return "it takes images without a channel or a batch axis: export it again with both"
    return "export an image classifier"


def _fixed(size: object) -> int | None:
    """A dimension's size; None where it is symbolic, unknown or 0."""
    return size if isinstance(size, int) and size > 0 else None


def _listing(nodes: Sequence[Any]) -> str:
    more = ", ..." if len(nodes) > _LISTED else ""
    return ", ".join(_described(node) for node in nodes[:_LISTED]) + more if nodes else "none"


def _described(node: Any) -> str:
    """'y float [N, 5]'."""
    is_tensor = node.type.startswith("tensor(")
    kind = node.type.removeprefix("tensor(").removesuffix(")") if is_tensor else node.type
    return f"{node.name} {kind} {_shape(node.shape)}" if is_tensor else f"{node.name} {kind}"


def _shape(sizes: Sequence[Any]) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in sizes)}]"
