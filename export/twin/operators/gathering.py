"""The twin's operators that look numbers up by their places."""

from __future__ import annotations

import torch
from torch import Tensor

from ..surrogates import has_path, through
from ..values.scaled import Value, dense
from ..windows import Attributes
from .shape import moved

__all__ = ["gather", "gather_nd"]


def gather(attributes: Attributes, x: Value, indices: Value) -> Value:
    """Gather along one axis; where a gradient comes through the indices, half the difference of the neighbours."""
    index, axis = dense(indices), attributes.get("axis", 0)
    if has_path(index):
        return _looked_up(dense(x), index, axis)
    where = index.long()

    def move(a: Tensor) -> Tensor:
        size = a.shape[axis]
        found = a.index_select(axis, torch.where(where < 0, where + size, where).reshape(-1))
        return found.reshape([*a.shape[:axis], *where.shape, *a.shape[axis % a.dim() + 1 :]])

    return moved(x, move)


def gather_nd(attributes: Attributes, x: Value, indices: Value) -> Value:
    """GatherND without batch dimensions."""
    where = dense(indices).long()
    return moved(x, lambda a: a[tuple(where.to(a.device).unbind(-1))])


def _looked_up(table: Tensor, index: Tensor, axis: int) -> Tensor:
    size, where = table.shape[axis], index.detach().long()
    where = torch.where(where < 0, where + size, where)

    def at(places: Tensor) -> Tensor:
        found = table.index_select(axis, places.reshape(-1))
        return found.reshape([*table.shape[:axis], *where.shape, *table.shape[axis % table.dim() + 1 :]])

    value = at(where)
    slope = (at((where + 1).clamp(max=size - 1)) - at((where - 1).clamp(min=0))).detach() / 2
    along_axis = index.reshape([*where.shape, *[1] * (table.dim() - axis % table.dim() - 1)])
    return through(value + slope * (along_axis - along_axis.detach()), value) if not table.requires_grad else value
