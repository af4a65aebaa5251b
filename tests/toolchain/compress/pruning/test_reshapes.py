from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch_pruning.dependency import index_mapping

from hardtemper.toolchain.compress.pruning.reshapes import Reshapes

RESHAPES: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Tensor], bool]] = {
    # shape, reshape, whether channels are lost track of
    "flatten": ((2, 6, 4, 4), lambda x: x.flatten(1), False),
    "flatten by name": ((2, 6, 4, 4), lambda x: torch.flatten(input=x, start_dim=1), False),
    "view to rows": ((2, 6, 4, 4), lambda x: x.view(2, -1), False),
    "one pixel": ((2, 6, 1, 1), lambda x: x.view(2, 6), False),
    "pixels in a row": ((2, 6, 4, 4), lambda x: x.reshape(2, 6, 16), False),
    "and back": ((2, 6, 16), lambda x: x.view(2, 6, 4, 4), False),
    "unflatten": ((2, 96), lambda x: x.view(2, 6, 4, 4), False),
    "a channel shuffle": ((2, 6, 4, 4), lambda x: x.view(2, 3, 2, 4, 4), True),
    "its end": ((2, 2, 3, 4, 4), lambda x: x.reshape(2, 6, 4, 4), True),
    "heads": ((2, 6, 4, 4), lambda x: x.reshape(2, 3, 2, 16), True),
    "images and channels": ((2, 6, 4, 4), lambda x: x.reshape(12, 1, 4, 4), True),
    "pixels and channels": ((2, 6, 4, 4), lambda x: x.reshape(2, 24, 2, 2), True),
}


@pytest.mark.parametrize(("shape", "reshape", "is_mixed"), RESHAPES.values(), ids=RESHAPES)
def test_reshapes(shape: tuple[int, ...], reshape: Callable[[Tensor], Tensor], is_mixed: bool) -> None:
    x = torch.rand(shape, requires_grad=True) * 1
    reshapes = Reshapes()
    with reshapes:
        y = reshape(x)
    assert reshapes.mixes(y.grad_fn) is is_mixed


def test_what_was_not_noted() -> None:
    reshapes = Reshapes()
    y = torch.rand(2, 6, requires_grad=True).view(2, 3, 2)
    assert not reshapes.mixes(y.grad_fn)


def test_torch_pruning_is_what_it_was_afterwards() -> None:
    before = index_mapping.update_reshape_index_mapping
    with contextlib.suppress(KeyError), Reshapes().mapped():
        assert index_mapping.update_reshape_index_mapping is not before
        raise KeyError
    assert index_mapping.update_reshape_index_mapping is before
