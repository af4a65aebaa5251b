"""The l1 ball cut to the box of images: nearest points and steepest ascent.

    S(x) = { x' in [0, 1]^d : ||x' - x||_1 <= epsilon }

Along the axes the ball reaches far out of the box, so a search in the ball that is clipped to the box in the end wastes
most of its radius: everything here is exact on the intersection (Croce & Hein 2021, "Mind the box", arXiv:2103.01208).
With delta = u - x, and r_i the room from x_i to the face of the box that delta_i points at, the point nearest to u is

    x_i + sign(delta_i) clip(|delta_i| - lambda, 0, r_i)

with lambda = 0 if that is in the ball, and otherwise the root of  sum_i clip(|delta_i| - lambda, 0, r_i) = epsilon.
The sum falls with lambda, linearly between the breakpoints |delta_i| - r_i and |delta_i|: sort, find the piece, solve.

Steepest ascent goes coordinate by coordinate, largest |gradient| first, each to the face of the box, until the length
is spent: from x, with the length epsilon, that is the optimum of a linear model. Searches of many steps instead
give the k coordinates of largest |gradient| equal shares of the step: one coordinate after the other is slow.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ....runtime.shapes import Float, Int64

__all__ = ["ascend_evenly", "ascend_in_box", "project"]


def project(points: Float[Tensor, "n d"], x: Float[Tensor, "n d"], epsilon: float) -> Float[Tensor, "n d"]:
    """The nearest points of S(x).

    Args:
        points: anywhere.
        x: the centres, in [0, 1].
        epsilon: the radius.
    """
    inside = points.clamp(0, 1)
    outside = ((inside - x).abs().sum(1) > epsilon).nonzero().squeeze(1)
    if len(outside):
        inside[outside] = _onto_the_ball(points[outside], x[outside], epsilon)
    return inside


def _onto_the_ball(points: Tensor, x: Tensor, epsilon: float) -> Tensor:
    """`project` for points [N, D] that clipping to the box leaves outside the ball."""
    delta = points - x
    size = delta.abs()
    room = torch.where(delta > 0, 1 - x, x)
    full_until = (size - room).clamp_(min=0)  # up to this lambda a coordinate moves as far as the box lets it
    breaks, order = torch.cat((full_until, size), 1).sort(dim=1)
    moving = torch.where(order < x.shape[1], 1, -1).cumsum(1)  # coordinates that shrink as lambda leaves this break
    fall = moving[:, :-1] * breaks.diff(dim=1)
    length = torch.minimum(size, room).sum(1, keepdim=True) - torch.cat(
        (torch.zeros_like(fall[:, :1]), fall.cumsum(1)), 1
    )
    last = ((length > epsilon).sum(1, keepdim=True) - 1).clamp_(min=0)  # the last break with too long a perturbation
    shrinking = moving.gather(1, last).clamp_(min=1)
    shrink = breaks.gather(1, last) + (length.gather(1, last) - epsilon) / shrinking
    move = (size - shrink).clamp_(min=0).minimum(room)
    move *= (epsilon / move.sum(1, keepdim=True).clamp_(min=torch.finfo(x.dtype).tiny)).clamp_(
        max=1
    )  # sums are rounded
    return x + delta.sign() * move


def ascend_in_box(
    x_adv: Float[Tensor, "n d"], grad: Float[Tensor, "n d"], length: float | Float[Tensor, "n 1"]
) -> Float[Tensor, "n d"]:
    """The step of l1 `length`, for all or one each, that raises grad . step most within [0, 1]^D."""
    steepest, order = grad.abs().sort(dim=1, descending=True)
    room = torch.where(grad > 0, 1 - x_adv, x_adv).clamp_(min=0).gather(1, order).mul_(steepest > 0)
    move = torch.minimum(room, (length - (room.cumsum(1) - room)).clamp_(min=0))
    return x_adv + torch.zeros_like(grad).scatter_(1, order, move) * grad.sign()


def ascend_evenly(
    x_adv: Float[Tensor, "n d"],
    grad: Float[Tensor, "n d"],
    length: float | Float[Tensor, "n 1"],
    k: Int64[Tensor, " n"],
) -> Float[Tensor, "n d"]:
    """A step of l1 `length`, for all or one each, shared alike by the k coordinates of largest gradient."""
    size = grad.abs()
    ranked = size.topk(int(k.max()), dim=1).values
    least = ranked.gather(1, k.unsqueeze(1) - 1)
    sign = torch.where(size >= least, grad.sign(), 0)
    return x_adv + sign * (length / sign.abs().sum(1, keepdim=True).clamp_(min=1))
