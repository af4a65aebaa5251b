from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from hardtemper.export.twin.batches import agree, free_batch, in_pieces
from hardtemper.export.twin.nodes import Node
from hardtemper.export.twin.operators.shape import REPEATED


def test_shapes_that_count_images_copy_them_instead() -> None:
    constants = {"to": np.array([2, 8]), "other": np.array([4, 4])}
    nodes = [
        Node("Reshape", ("k", "to"), ("a",), {}),
        Node("Reshape", ("x", "to"), ("b",), {}),
        Node("Reshape", ("b", "other"), ("c",), {}),
        Node("Reshape", ("c", "to"), ("d",), {"allowzero": 1}),
    ]
    constants["k"] = np.zeros(16)
    free = free_batch(nodes, constants, 2)
    assert [node.inputs[1] for node in free] == ["to", "to of any batch", "other", "to"]
    assert constants["to of any batch"].tolist() == [0, 8]


@pytest.mark.parametrize(("batch", "axis", "repeated"), [(1, 1, (0,)), (1, 0, None), (2, 1, None)])
def test_a_constant_joined_to_one_image_is_repeated(batch: int, axis: int, repeated: tuple[int, ...] | None) -> None:
    nodes = [Node("Neg", ("k",), ("t",), {}), Node("Concat", ("t", "x"), ("y",), {"axis": axis})]
    _, concat = free_batch(nodes, {"k": np.zeros((1, 1, 4))}, batch)
    assert concat.attributes.get(REPEATED) == repeated


def _mixed(images: Tensor) -> Tensor:
    """Every logit depends on every image."""
    return images.flatten(1) + images.sum()


def _broken(images: Tensor) -> Tensor:
    raise RuntimeError


@pytest.mark.parametrize(
    ("free", "fixed", "expected"),
    [
        (lambda x: x.flatten(1), lambda x: x.flatten(1), True),
        (lambda x: x.flatten(1) * (1 + 1e-7), lambda x: x.flatten(1), True),
        (lambda x: x.flatten(1) * 1.01, lambda x: x.flatten(1), False),
        (lambda x: x.flatten(1)[:2], lambda x: x.flatten(1), False),
        (lambda x: x.flatten(1) * torch.nan, lambda x: x.flatten(1) * torch.nan, False),
        (_mixed, _mixed, False),
        (_broken, lambda x: x.flatten(1), False),
    ],
)
def test_a_graph_is_free_where_each_image_has_its_logits(
    free: Callable[[Tensor], Tensor], fixed: Callable[[Tensor], Tensor], expected: bool
) -> None:
    assert agree(free, fixed, 2, (3, 2, 2)) == expected


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 6])
def test_pieces_are_filled_up_with_black_images(count: int) -> None:
    images = torch.rand(count, 3, 2, 2)
    sizes = []

    def run(piece: Tensor) -> dict[str, Tensor]:
        sizes.append(len(piece))
        return {"y": piece.flatten(1) + piece.sum() * 0}

    assert torch.equal(in_pieces(run, images, 3)["y"], images.flatten(1))
    assert set(sizes) == {3}
