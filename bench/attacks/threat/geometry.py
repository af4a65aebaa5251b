"""How a search moves inside the ball of a threat model: a class for each norm.

    project        a point of  B(x) = { x' in [0, 1]^d : ||x' - x||_p <= epsilon }
    step           steepest ascent,  x' + argmax { <grad, delta> : ||delta||_p <= step_size }
    random_start   where a search begins
    to_pixels      an 8-bit image in B(x), next to a point

          project                                     step, with s = step_size
    linf  clip(x', x - epsilon, x + epsilon)          x' + s sign(grad)
    l2    x + delta min(1, epsilon / ||delta||_2)     x' + s grad / ||grad||_2
    l1    the nearest point (`l1_ball`)               the largest entries of grad, each to the face of the box

The l2 projection shrinks the perturbation to the sphere and then clips it to [0, 1], as AutoAttack does (Croce & Hein
2020, arXiv:2003.01690). Clipping never lengthens a perturbation: the point is in B(x), though not always the nearest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ....runtime.shapes import Float, Int64, UInt8
from . import l1_ball
from .threat_model import ThreatModel

__all__ = ["Ball", "L1Ball", "L2Ball", "LinfBall", "Size", "ball_of"]

Points = Float[Tensor, " n *d"]
Images = UInt8[Tensor, " n *d"]
Counts = Int64[Tensor, " n"]
Size = float | Float[Tensor, " n"]
"""A length for all images, or one for each."""

_LEAST = 1e-20
"""Small beside any vector whose largest entry is 1, and its reciprocal, times a length, far from infinity."""


class Ball(Protocol):
    """What every norm gives a search; `ball_of` makes it from a threat model."""

    def project(self, x_adv: Points, x: Points) -> Points:
        """Points in B(x).

        Args:
            x_adv: anywhere.
            x: the centres, in [0, 1].
        """

    def step(self, x_adv: Points, grad: Points, step_size: Size, *, sparsity: Counts | None = None) -> Points:
        """One step of steepest ascent, not projected on the ball.

        Args:
            x_adv: the points.
            grad: gradient of the loss to raise; where it is zero, the point stays.
            step_size: length of the step in the norm.
            sparsity: >= 1, how many coordinates share the step alike; l1 reads it, the others do not.
        """

    def random_start(self, x: Points, generator: torch.Generator | None = None) -> Points:
        """Random points in B(x), for x in [0, 1]."""

    def to_pixels(self, x_adv: Points, x: Images) -> Images:
        """8-bit images next to the points, never outside the ball.

        Args:
            x_adv: in [0, 1]; where it is not a number, the pixel stays the original.
            x: the original images.

        Returns:
            Images for which `ThreatModel.contains` is true.
        """


def ball_of(threat: ThreatModel) -> Ball:
    """The ball of a threat model, in its norm."""
    balls: dict[str, type[LinfBall | L2Ball | L1Ball]] = {"linf": LinfBall, "l2": L2Ball, "l1": L1Ball}
    return balls[threat.norm](epsilon=threat.epsilon, pixel_radius=threat.pixel_radius)


@dataclass(frozen=True, kw_only=True, slots=True)
class LinfBall:
    """Every pixel moves by at most epsilon.

    `random_start` is uniform in the ball, clipped to [0, 1]. `to_pixels` rounds, then clips to the levels allowed.
    """

    epsilon: float
    pixel_radius: int

    def project(self, x_adv: Points, x: Points) -> Points:
        return torch.clamp(x_adv, (x - self.epsilon).clamp_(min=0), (x + self.epsilon).clamp_(max=1))

    def step(self, x_adv: Points, grad: Points, step_size: Size, *, sparsity: Counts | None = None) -> Points:
        if isinstance(step_size, Tensor):
            return x_adv + step_size.view(-1, *[1] * (grad.ndim - 1)) * grad.sign()
        return torch.add(x_adv, grad.sign(), alpha=step_size)

    def random_start(self, x: Points, generator: torch.Generator | None = None) -> Points:
        noise = torch.rand(x.shape, generator=generator, device=_device(x, generator), dtype=x.dtype) * 2 - 1
        return self.project(x + self.epsilon * noise.to(x.device), x)

    def to_pixels(self, x_adv: Points, x: Images) -> Images:
        levels, centre = (x_adv * 255).round_().clamp_(0, 255), x.to(torch.int16)
        levels = torch.where(levels.isnan(), centre, levels).to(torch.int16)
        return torch.clamp(levels, centre - self.pixel_radius, centre + self.pixel_radius).clamp_(0, 255).byte()


@dataclass(frozen=True, kw_only=True, slots=True)
class L2Ball:
    """The Euclidean length of the change is at most epsilon.

    `random_start` is uniform in the ball, clipped to [0, 1]. `to_pixels`: see `_rounded`.
    """

    epsilon: float
    pixel_radius: int

    def project(self, x_adv: Points, x: Points) -> Points:
        delta = x_adv - x
        length: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1).clamp_(min=torch.finfo(x.dtype).tiny)
        shrink = (self.epsilon / length).clamp_(max=1).view(-1, *[1] * (x.ndim - 1))
        return (x + delta * shrink).clamp_(0, 1)

    def step(self, x_adv: Points, grad: Points, step_size: Size, *, sparsity: Counts | None = None) -> Points:
        return x_adv + _rescaled(grad, step_size)

    def random_start(self, x: Points, generator: torch.Generator | None = None) -> Points:
        device = _device(x, generator)
        noise = torch.randn(x.shape, generator=generator, device=device, dtype=x.dtype)
        # A radius of u^(1/d) makes the volume uniform; the direction of a normal vector is uniform already.
        radius = torch.rand(len(x), generator=generator, device=device, dtype=x.dtype) ** (1 / math.prod(x.shape[1:]))
        return self.project(x + _rescaled(noise, self.epsilon * radius).to(x.device), x)

    def to_pixels(self, x_adv: Points, x: Images) -> Images:
        return _rounded(self, x_adv, x, self.pixel_radius, squared=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class L1Ball:
    """The changes of all pixels sum to at most epsilon.

    `random_start` is Gaussian noise projected, as published for l1-APGD: it changes some pixels by much, where a
    uniform point of that ball would change all of them by next to nothing. `to_pixels`: see `_rounded`.
    """

    epsilon: float
    pixel_radius: int

    def project(self, x_adv: Points, x: Points) -> Points:
        return l1_ball.project(x_adv.flatten(1), x.flatten(1), self.epsilon).view_as(x)

    def step(self, x_adv: Points, grad: Points, step_size: Size, *, sparsity: Counts | None = None) -> Points:
        length = step_size.unsqueeze(1) if isinstance(step_size, Tensor) else step_size
        flat, slope = x_adv.flatten(1), grad.flatten(1)
        if sparsity is None:
            return l1_ball.ascend_in_box(flat, slope, length).view_as(x_adv)
        return l1_ball.ascend_evenly(flat, slope, length, sparsity).view_as(x_adv)

    def random_start(self, x: Points, generator: torch.Generator | None = None) -> Points:
        noise = torch.randn(x.shape, generator=generator, device=_device(x, generator), dtype=x.dtype)
        return self.project(x + noise.to(x.device), x)

    def to_pixels(self, x_adv: Points, x: Images) -> Images:
        return _rounded(self, x_adv, x, self.pixel_radius, squared=False)


def _device(x: Tensor, generator: torch.Generator | None) -> torch.device:
    return x.device if generator is None else generator.device


def _rescaled(vectors: Tensor, length: float | Tensor) -> Tensor:
    """Vectors [N, ...] brought to an l2 length; zero stays zero."""
    flat = vectors.flatten(1)
    # Divided by the largest entry first: squares of a saturated network's gradients would underflow to zero.
    flat = flat / flat.abs().amax(1, keepdim=True).clamp_(min=torch.finfo(flat.dtype).tiny)
    # The largest entry is 1 by now, or 1e-7 where it was denormal, or 0, which no infinity may multiply.
    norm: Tensor = torch.linalg.vector_norm(flat, dim=1).clamp_(min=_LEAST)
    return (flat * (length / norm).unsqueeze(1)).view_as(vectors)


def _rounded(ball: Ball, x_adv: Tensor, x: Tensor, radius: int, *, squared: bool) -> Tensor:
    """`to_pixels` where the radius bounds the sum of the pixels' moves, or of their squares.

    Round. Where that left the ball, the pixels that moved away from x by rounding are rounded towards x instead, those
    that lose least per level first, until the image is inside. Rounding all of them towards x is always inside.
    """
    centre = x.flatten(1).double()
    exact = ball.project(x_adv.flatten(1).double(), centre / 255) * 255 - centre
    exact = exact.nan_to_num_()
    moved = exact.round()
    excess = (moved.square() if squared else moved.abs()).sum(1) - radius
    outside = (excess > 0).nonzero().squeeze(1)
    if len(outside):
        moved[outside] = _pulled_back(exact[outside], moved[outside], excess[outside], squared=squared)
    return (centre + moved).clamp_(0, 255).byte().view_as(x)


def _pulled_back(exact: Tensor, moved: Tensor, excess: Tensor, *, squared: bool) -> Tensor:
    """Pull rounded moves [N, D] back by a level, cheapest first, until their (squared) length is `excess` [N] less."""
    size = moved.abs()
    away = size > exact.abs()
    gain = torch.where(away, 2 * size - 1 if squared else 1, 0)  # |q|^2 - (|q| - 1)^2, or |q| - (|q| - 1)
    error = 1 - 2 * (size - exact.abs())  # added to the squared rounding error
    price = torch.where(away, error / gain.clamp(min=1), torch.inf)
    order = price.argsort(dim=1)
    gained = gain.gather(1, order).cumsum(1)
    needed = gained - gain.gather(1, order) < excess.unsqueeze(1)  # those before it did not suffice
    back = torch.zeros_like(away).scatter(1, order, needed) & away
    return torch.where(back, moved - moved.sign(), moved)
