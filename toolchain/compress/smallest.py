"""Which entries of some tensors are the smallest of all of them together; ties go by position, lowest first."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["smallest"]


def smallest(tensors: Sequence[Tensor], count: int) -> list[Tensor]:
    """Masks in the tensors' shapes, True for the `count` smallest entries.

    Args:
        tensors: one or more, on one device.
        count: 0 to the number of all entries.
    """
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    mask = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    mask[flat.argsort(stable=True)[:count]] = True
    pieces = torch.split(mask, [tensor.numel() for tensor in tensors])
    return [piece.view(tensor.shape) for piece, tensor in zip(pieces, tensors, strict=True)]
