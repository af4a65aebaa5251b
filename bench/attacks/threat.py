"""What an attacker may do: move the pixels of an image inside a ball around it.

    B(x) = { x' in [0, 1]^d : ||x' - x||_p <= epsilon },   p = inf or 2

A camera delivers 8-bit pixels, so what counts in the end is the set of 8-bit images in that ball. In levels of 1/255
the rule is exact integer arithmetic (`ThreatModel.pixel_radius`):

    linf:  max_i |q'_i - q_i|       <= floor(255 epsilon)
    l2:    sum_i (q'_i - q_i)^2     <= floor((255 epsilon)^2)

The l2 projection shrinks the perturbation to the sphere and then clips it to [0, 1], as AutoAttack does (Croce & Hein
2020, arXiv:2003.01690): clipping never lengthens a perturbation, so the point is in B(x), if not always the nearest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor

from ...runtime.errors import RecipeError

__all__ = ["Norm", "ThreatModel"]

Norm = Literal["linf", "l2"]

_SLACK = 1e-6
"""Absorbs the rounding of 255 * (8 / 255), which is a hair off 8, before a radius is cut to whole levels."""


@dataclass(frozen=True, slots=True)
class ThreatModel:
    """The ball of images an attacker may choose from.

    Args:
        norm: "linf" (largest change of a pixel) or "l2" (Euclidean length of the change).
        epsilon: radius, in units of pixel values in [0, 1]; 0 <= epsilon, and epsilon <= 1 for linf.

    Raises:
        RecipeError: unknown norm, or a radius out of range.
    """

    norm: Norm
    epsilon: float

    def __post_init__(self) -> None:
        if self.norm not in ("linf", "l2"):
            raise RecipeError("unknown norm of a threat model", expected="linf or l2", got=repr(self.norm))
        if not math.isfinite(self.epsilon) or self.epsilon < 0 or (self.norm == "linf" and self.epsilon > 1):
            raise RecipeError(
                f"radius of a threat model out of range ({self.norm})",
                expected="0 <= epsilon <= 1" if self.norm == "linf" else "a finite epsilon >= 0",
                got=repr(self.epsilon),
                fix="pixels are in [0, 1]: write levels of an 8-bit image as a fraction, such as 8/255",
            )

    @classmethod
    def parse(cls, text: str) -> ThreatModel:
        """Read "linf:0.1", "linf:8/255" or "l2:1.5"; the inverse of `str`.

        Raises:
            RecipeError: anything else.
        """
        norm, colon, radius = (part.strip() for part in text.partition(":"))
        try:
            epsilon = float(Fraction(radius.replace(" ", "")))
        except (ValueError, ZeroDivisionError, OverflowError):
            epsilon = math.nan
        if not colon or norm not in ("linf", "l2") or not math.isfinite(epsilon):
            raise RecipeError(
                "cannot read the threat model",
                expected="norm:radius, such as linf:8/255, linf:0.1 or l2:1.5",
                got=repr(text),
            )
        return cls("linf" if norm == "linf" else "l2", epsilon)

    def __str__(self) -> str:
        levels = round(255 * self.epsilon)
        if self.norm == "linf" and 0 < levels < 255 and levels / 255 == self.epsilon:
            return f"linf:{levels}/255"
        return f"{self.norm}:{self.epsilon!r}"

    @property
    def pixel_radius(self) -> int:
        """The radius on 8-bit images: levels a pixel may move (linf), or sum of squared moves in levels (l2)."""
        radius = 255 * self.epsilon
        return math.floor((radius if self.norm == "linf" else radius * radius) + _SLACK)

    def on_pixels(self) -> ThreatModel:
        """The smallest ball with the same 8-bit images in it.

        For models that round their input to pixels (a twin): in the linf ball of a whole number of levels, rounding to
        the nearest level never leaves the ball, so what fools such a model still fools it after `to_pixels`.
        """
        radius = self.pixel_radius if self.norm == "linf" else math.sqrt(self.pixel_radius)
        return ThreatModel(self.norm, min(self.epsilon, radius / 255))

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Points in B(x).

        Args:
            x_adv: float [N, ...], anywhere.
            x: float [N, ...] in [0, 1], the centres.
        """
        if self.norm == "linf":
            return torch.clamp(x_adv, (x - self.epsilon).clamp_(min=0), (x + self.epsilon).clamp_(max=1))
        delta = x_adv - x
        length: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1).clamp_(min=torch.finfo(x.dtype).tiny)
        shrink = (self.epsilon / length).clamp_(max=1).view(-1, *[1] * (x.ndim - 1))
        return (x + delta * shrink).clamp_(0, 1)

    def random_start(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Points drawn uniformly from the ball around x, then clipped to [0, 1]; float [N, ...] like x."""
        device = x.device if generator is None else generator.device
        if self.norm == "linf":
            noise = torch.rand(x.shape, generator=generator, device=device, dtype=x.dtype) * 2 - 1
            return self.project(x + self.epsilon * noise.to(x.device), x)
        noise = torch.randn(x.shape, generator=generator, device=device, dtype=x.dtype)
        # A radius of u^(1/d) makes the volume uniform; the direction of a normal vector is uniform already.
        radius = torch.rand(len(x), generator=generator, device=device, dtype=x.dtype) ** (1 / x[0].numel())
        return self.project(x + self._rescaled(noise, self.epsilon * radius).to(x.device), x)

    def step(self, x_adv: Tensor, grad: Tensor, step_size: float | Tensor) -> Tensor:
        """One step of steepest ascent, not projected: along sign(grad) for linf, along grad / ||grad||_2 for l2.

        Args:
            x_adv: float [N, ...].
            grad: gradient of the loss to raise, like x_adv; where it is zero, the point stays.
            step_size: length of the step in the norm, for all images or one each [N].
        """
        if self.norm == "l2":
            return x_adv + self._rescaled(grad, step_size)
        if isinstance(step_size, Tensor):
            return x_adv + step_size.view(-1, *[1] * (grad.ndim - 1)) * grad.sign()
        return torch.add(x_adv, grad.sign(), alpha=step_size)

    def to_pixels(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The nearest 8-bit images, never outside the ball.

        linf: round, then clip to the whole levels allowed around x. l2: round; where that left the ball, the pixels
        which moved away from x by rounding are rounded towards x instead, those that lose least per level first, until
        the image is inside. Rounding all of them towards x is always inside.

        Args:
            x_adv: float [N, ...] in [0, 1].
            x: uint8 [N, ...], the original images.

        Returns:
            uint8 [N, ...], for which `contains` is true.
        """
        if self.norm == "linf":
            levels = (x_adv * 255).round_().to(torch.int16)
            centre = x.to(torch.int16)
            return torch.clamp(levels, centre - self.pixel_radius, centre + self.pixel_radius).clamp_(0, 255).byte()
        centre = x.flatten(1).double()
        exact = self.project(x_adv.flatten(1).double(), centre / 255) * 255 - centre
        exact = exact.nan_to_num_()  # an image that a broken model turned into NaN stays the original
        moved = exact.round()
        excess = moved.square().sum(1) - self.pixel_radius
        outside = (excess > 0).nonzero().squeeze(1)
        if len(outside):
            moved[outside] = _rounded_inside(exact[outside], moved[outside], excess[outside])
        return (centre + moved).clamp_(0, 255).byte().view_as(x)

    def contains(self, adversarial: Tensor, x: Tensor) -> Tensor:
        """Whether 8-bit images lie in the ball around x, in integers: uint8 [N, ...] and uint8 [N, ...] -> bool [N]."""
        moved = adversarial.flatten(1).long() - x.flatten(1).long()
        size = moved.abs().amax(1) if self.norm == "linf" else moved.square().sum(1)
        return size <= self.pixel_radius

    @staticmethod
    def _rescaled(vectors: Tensor, length: float | Tensor) -> Tensor:
        """Vectors [N, ...] brought to an l2 length; zero stays zero."""
        flat = vectors.flatten(1)
        # Divided by the largest entry first: squares of a saturated network's gradients would underflow to zero.
        flat = flat / flat.abs().amax(1, keepdim=True).clamp_(min=torch.finfo(flat.dtype).tiny)
        norm: Tensor = torch.linalg.vector_norm(flat, dim=1).clamp_(min=torch.finfo(flat.dtype).tiny)
        return (flat * (length / norm).unsqueeze(1)).view_as(vectors)


def _rounded_inside(exact: Tensor, moved: Tensor, excess: Tensor) -> Tensor:
    """Pull rounded moves [N, D] back by a level, cheapest first, until their squared length is `excess` [N] less."""
    size = moved.abs()
    away = size > exact.abs()
    gain = torch.where(away, 2 * size - 1, 0)  # |q|^2 - (|q| - 1)^2
    error = 1 - 2 * (size - exact.abs())  # added to the squared rounding error
    price = torch.where(away, error / gain.clamp(min=1), torch.inf)
    order = price.argsort(dim=1)
    gained = gain.gather(1, order).cumsum(1)
    needed = gained - gain.gather(1, order) < excess.unsqueeze(1)  # those before it did not suffice
    back = torch.zeros_like(away).scatter(1, order, needed) & away
    return torch.where(back, moved - moved.sign(), moved)
