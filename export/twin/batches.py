"""Graphs that were exported for a fixed number of images.

The twin first tries to let the graph take any number (`free_batch`). Where that gives other logits than the graph as it
stands, or none, the graph runs as it stands, on pieces of that many images, as an engine does: the last piece is filled
up with black images (`in_pieces`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...runtime.shapes import Float
from .nodes import Node
from .operators.shape import REPEATED

__all__ = ["agree", "free_batch", "in_pieces"]

Array = npt.NDArray[Any]
Logits = Callable[[Tensor], Tensor]


def free_batch(nodes: Sequence[Node], constants: dict[str, Array], batch: int) -> list[Node]:
    """Let a graph that was exported for `batch` images take any number: where images, or what was made of them, are
    reshaped to [batch, ...], the first dimension is copied instead; a constant that is joined to one image is repeated.

    Returns:
        The nodes; the shapes that some of them now read are added to `constants`.
    """
    fixed, free = {*constants, ""}, []
    for node in nodes:
        if fixed.issuperset(node.inputs):
            fixed.update(node.outputs)
        elif node.op_type == "Reshape" and not node.attributes.get("allowzero", 0):
            name = node.inputs[1]
            shape = constants.get(name)
            if shape is not None and shape.size and shape[0] == batch:
                constants[f"{name} of any batch"] = np.concatenate([[0], shape[1:]]).astype(np.int64)
                node = node._replace(inputs=(node.inputs[0], f"{name} of any batch"))  # noqa: PLW2901
        elif node.op_type == "Concat" and batch == 1 and node.attributes["axis"] != 0:
            repeated = tuple(position for position, name in enumerate(node.inputs) if name in fixed)
            node = node._replace(attributes={**node.attributes, REPEATED: repeated})  # noqa: PLW2901
        free.append(node)
    return free


def agree(free: Logits, fixed: Logits, batch: int, shape: tuple[int, int, int]) -> bool:
    """Whether a graph let free gives the logits of the graph as it stands, on one image more and on one alone."""
    images = torch.rand(batch + 1, *shape, generator=torch.Generator().manual_seed(0))
    try:
        expected, more, one = fixed(images[:batch]), free(images), free(images[:1])
    except Exception:  # a graph from anywhere may break in any way
        return False
    if more.shape[:1] != (batch + 1,) or one.shape != more[:1].shape or expected.shape != more[:batch].shape:
        return False
    tolerance = 1e-4 * float(expected.abs().max())
    return bool(((more[:batch] - expected).abs() <= tolerance).all() and ((one - more[:1]).abs() <= tolerance).all())


def in_pieces(
    run: Callable[[Tensor], dict[str, Tensor]], images: Float[Tensor, "n c h w"], batch: int
) -> dict[str, Tensor]:
    """`run` on pieces of `batch` images, and its results joined."""
    missing = -len(images) % batch if len(images) else batch
    black = images.new_zeros((missing, *images.shape[1:]))
    found = [run(piece) for piece in torch.split(torch.cat([images, black]), batch)]
    return {name: torch.cat([piece[name] for piece in found])[: len(images)] for name in found[0]}
