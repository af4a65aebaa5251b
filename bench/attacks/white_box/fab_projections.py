"""The nearest point of a hyperplane inside the unit box: the step that FAB is made of.

    min ||delta||_p   subject to   <w, x + delta> = b,  0 <= x + delta <= 1

(Croce & Hein 2020, arXiv:1907.02044, section 3.1 and appendix A). Write g = |<w, x> - b| for what has to be gained,
a_i = |w_i| for the gain of pixel i per unit, and r_i for how far it may move in the useful direction before it meets
the box. All pixels move in that direction, by

    linf   min(lambda, r_i)          l2   min(lambda a_i, r_i)

where lambda is the root of a function that is piecewise linear, increasing and concave,

    G(lambda) = sum_i a_i min(lambda s_i, r_i) - g,     s_i = 1 (linf) or a_i (l2)

Newton's method started at 0 climbs to the root from the left and is there, exactly, after finitely many steps: each
one adds to the pixels that have met the box. That takes a handful of passes over the pixels where the published code
sorts them. For l1 the pixels of largest a_i are moved as far as they go, one after the other, until g is gained: one
sort. Where the box does not reach the hyperplane, every useful pixel goes to the edge of the box, as published.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ....runtime.shapes import Float
from ..threat.threat_model import Norm

__all__ = ["onto_hyperplane"]


def onto_hyperplane(
    x: Float[Tensor, "*points n d"], w: Float[Tensor, "n d"], height: Float[Tensor, "*points n"], norm: Norm
) -> Float[Tensor, "*points n d"]:
    """The shortest moves from points of the unit box to a hyperplane.

    Args:
        x: in [0, 1]; several points for the same normals share one sort.
        w: the normals, of any scale; where one is zero, nothing moves.
        height: <w, x> - b.
        norm: the norm in which the moves are short.

    Returns:
        delta, with x + delta in [0, 1] up to rounding.
    """
    # The plane is the same when w and b are divided by a number; squares of tiny gradients would vanish.
    scale = w.abs().amax(-1, keepdim=True)
    scale = torch.where(scale > 0, scale, 1)
    w, height = w / scale, height / scale.squeeze(-1)
    towards = torch.where(height.unsqueeze(-1) >= 0, -w, w)
    room = torch.where(towards > 0, 1 - x, x)
    moves = _greedy(w.abs(), room, height.abs()) if norm == "l1" else _level(w.abs(), room, height.abs(), norm)
    return moves * towards.sign()


def _level(gain: Tensor, room: Tensor, needed: Tensor, norm: Norm) -> Tensor:
    """linf and l2: min(lambda * speed, room) with lambda from Newton's method."""
    speed = torch.ones_like(gain) if norm == "linf" else gain
    slope = (gain * speed).expand_as(room)
    at_edge = gain * room
    reachable = at_edge.sum(-1) > needed
    edge = torch.where(speed > 0, room / speed, 0)  # the lambda at which a pixel gets there
    level = torch.zeros_like(needed)
    while True:
        free = (edge > level.unsqueeze(-1)).to(gain.dtype)
        left = torch.linalg.vecdot(slope, free)
        risen = (needed - torch.linalg.vecdot(at_edge, 1 - free)) / left
        rises = reachable & (left > 0) & (risen > level)
        if not rises.any():
            return torch.where(reachable.unsqueeze(-1), torch.minimum(level.unsqueeze(-1) * speed, room), room)
        level = torch.where(rises, risen, level)


def _greedy(gain: Tensor, room: Tensor, needed: Tensor) -> Tensor:
    """l1: the most gainful pixels first."""
    gain, order = gain.sort(dim=-1, descending=True)
    order = order.expand_as(room)
    room = room.gather(-1, order)
    gained = (gain * room).cumsum(-1)
    missing = needed.unsqueeze(-1) - (gained - gain * room)
    moves = torch.minimum((missing / gain.clamp(min=torch.finfo(gain.dtype).tiny)).clamp(min=0), room)
    return torch.zeros_like(moves).scatter(-1, order, moves)
