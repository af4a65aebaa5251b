"""What an attacker may do: move the pixels of an image inside a ball around it.

    B(x) = { x' in [0, 1]^d : ||x' - x||_p <= epsilon },   p = inf, 2 or 1

A camera delivers 8-bit pixels, so what counts in the end is the set of 8-bit images in that ball. In levels of 1/255
the rule is exact integer arithmetic (`ThreatModel.pixel_radius`):

    linf:  max_i |q'_i - q_i|       <= floor(255 epsilon)
    l2:    sum_i (q'_i - q_i)^2     <= floor((255 epsilon)^2)
    l1:    sum_i |q'_i - q_i|       <= floor(255 epsilon)

An attacker wants any wrong class, or with a target that one class: then an image is broken if it is taken for the
target, and images of that class are left alone.

The l2 projection shrinks the perturbation to the sphere and then clips it to [0, 1], as AutoAttack does (Croce & Hein
2020, arXiv:2003.01690): clipping never lengthens a perturbation, so the point is in B(x), if not always the nearest.
The l1 projection is exact, see `l1_ball`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ....runtime.errors import RecipeError
from . import l1_ball

__all__ = ["Norm", "ThreatModel"]

Norm = Literal["linf", "l2", "l1"]

_SLACK = 1e-6
"""Absorbs the rounding of 255 * (8 / 255), which is a hair off 8, before a radius is cut to whole levels."""

_LARGEST = 1e9
"""Radius in l1 and l2: more pixels than any image has."""
_LEAST = 1e-20
"""Small beside any vector whose largest entry is 1, and its reciprocal, times a length, far from infinity."""
_LONGEST, _LONGEST_EXPONENT = 100, 4
"""Characters of a threat model, and of the exponent of its radius, that are read: -324 is the least of a float."""


@dataclass(frozen=True, slots=True)
class ThreatModel:
    """The ball of images an attacker may choose from.

    Args:
        norm: "linf" (largest change of a pixel), "l2" (Euclidean length of the change) or "l1" (sum of the changes).
        epsilon: radius, in units of pixel values in [0, 1]; 0 <= epsilon, and epsilon <= 1 for linf.
        target: the class that every image shall be taken for; any wrong one if not given.

    Raises:
        RecipeError: unknown norm, a radius or a target out of range.
    """

    norm: Norm
    epsilon: float
    target: int | None = None

    def __post_init__(self) -> None:
        if self.norm not in get_args(Norm):
            raise RecipeError("unknown norm of a threat model", expected="linf, l2 or l1", got=repr(self.norm))
        largest = 1 if self.norm == "linf" else _LARGEST
        if not 0 <= self.epsilon <= largest:
            raise RecipeError(
                f"radius of a threat model out of range ({self.norm})",
                expected=f"0 <= epsilon <= {largest:g}",
                got=repr(self.epsilon),
                fix="pixels are in [0, 1]: write levels of an 8-bit image as a fraction, such as 8/255",
            )
        if self.target is not None and self.target < 0:
            raise RecipeError("target of a threat model out of range", expected="a class >= 0", got=repr(self.target))

    @classmethod
    def parse(cls, text: str) -> ThreatModel:
        """Read "linf:0.1", "linf:8/255", "l2:1.5", "l1:12", or targeted "linf:8/255->3"; the inverse of `str`.

        Raises:
            RecipeError: anything else.
        """
        ball, arrow, target = (part.strip() for part in text.partition("->"))
        norm, colon, radius = (part.strip() for part in ball.partition(":"))
        radius = radius.replace(" ", "")
        # 1e2000000 is quickly written, but not its two million digits.
        short = len(text) <= _LONGEST and len(radius.lower().partition("e")[2]) <= _LONGEST_EXPONENT
        try:
            epsilon = float(Fraction(radius)) if short else math.nan
        except (ValueError, ZeroDivisionError, OverflowError):
            epsilon = math.nan
        known: dict[str, Norm] = {name: name for name in get_args(Norm)}
        readable = colon and norm in known and math.isfinite(epsilon)
        if not readable or bool(arrow) != (target.isascii() and target.isdigit()):
            raise RecipeError(
                "cannot read the threat model",
                expected="norm:radius, such as linf:8/255, linf:0.1, l2:1.5 or l1:12, and ->class if targeted",
                got=repr(text),
            )
        return cls(known[norm], epsilon, int(target) if arrow else None)

    def __str__(self) -> str:
        levels = round(255 * self.epsilon)
        whole = self.norm == "linf" and 0 < levels < 255 and levels / 255 == self.epsilon
        ball = f"linf:{levels}/255" if whole else f"{self.norm}:{float(self.epsilon)!r}"
        return ball if self.target is None else f"{ball}->{self.target}"

    def fooled(self, predictions: Any, y: Any) -> Any:
        """Which predictions are what the attacker wants.

        Args:
            predictions: int64 [N], classes; a tensor or a NumPy array.
            y: int64 [N], the right classes, likewise.

        Returns:
            bool [N], likewise.
        """
        wrong = predictions != y
        return wrong if self.target is None else wrong & (predictions == self.target)

    def attacked(self, predictions: Any, y: Any) -> Any:
        """Which images there is anything to do about, right as they are and not of the target's class: see `fooled`."""
        right = predictions == y
        return right if self.target is None else right & (y != self.target)

    @property
    def pixel_radius(self) -> int:
        """The radius on 8-bit images: levels a pixel may move (linf), sum of moves (l1), of squared moves (l2)."""
        radius = 255 * self.epsilon
        return math.floor((radius * radius if self.norm == "l2" else radius) + _SLACK)

    def on_pixels(self) -> ThreatModel:
        """The smallest ball with the same 8-bit images in it.

        For models that round their input to pixels (a twin): in the linf ball of a whole number of levels, rounding to
        the nearest level never leaves the ball, so what fools such a model still fools it after `to_pixels`.
        """
        radius = math.sqrt(self.pixel_radius) if self.norm == "l2" else self.pixel_radius
        return replace(self, epsilon=min(self.epsilon, radius / 255))

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Points in B(x).

        Args:
            x_adv: float [N, ...], anywhere.
            x: float [N, ...] in [0, 1], the centres.
        """
        if self.norm == "linf":
            return torch.clamp(x_adv, (x - self.epsilon).clamp_(min=0), (x + self.epsilon).clamp_(max=1))
        if self.norm == "l1":
            return l1_ball.project(x_adv.flatten(1), x.flatten(1), self.epsilon).view_as(x)
        delta = x_adv - x
        length: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1).clamp_(min=torch.finfo(x.dtype).tiny)
        shrink = (self.epsilon / length).clamp_(max=1).view(-1, *[1] * (x.ndim - 1))
        return (x + delta * shrink).clamp_(0, 1)

    def random_start(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Points drawn uniformly from the ball around x, then clipped to [0, 1]; float [N, ...] like x.

        For l1 Gaussian noise projected, as published for l1-APGD: it changes some pixels by much, where a uniform point
        of that ball would change all of them by next to nothing.
        """
        device = x.device if generator is None else generator.device
        if self.norm == "linf":
            noise = torch.rand(x.shape, generator=generator, device=device, dtype=x.dtype) * 2 - 1
            return self.project(x + self.epsilon * noise.to(x.device), x)
        if self.norm == "l1":
            return self.project(
                x + torch.randn(x.shape, generator=generator, device=device, dtype=x.dtype).to(x.device), x
            )
        noise = torch.randn(x.shape, generator=generator, device=device, dtype=x.dtype)
        # A radius of u^(1/d) makes the volume uniform; the direction of a normal vector is uniform already.
        radius = torch.rand(len(x), generator=generator, device=device, dtype=x.dtype) ** (1 / math.prod(x.shape[1:]))
        return self.project(x + self._rescaled(noise, self.epsilon * radius).to(x.device), x)

    def step(self, x_adv: Tensor, grad: Tensor, step_size: float | Tensor, *, sparsity: Tensor | None = None) -> Tensor:
        """One step of steepest ascent, not projected on the ball.

        Along sign(grad) for linf, along grad / ||grad||_2 for l2; for l1 the coordinates of largest gradient go to the
        face of the box, one after the other, or with `sparsity` share the step alike (see `l1_ball`).

        Args:
            x_adv: float [N, ...].
            grad: gradient of the loss to raise, like x_adv; where it is zero, the point stays.
            step_size: length of the step in the norm, for all images or one each [N].
            sparsity: int64 [N] >= 1, how many coordinates move; for l1 alone.
        """
        if self.norm == "l2":
            return x_adv + self._rescaled(grad, step_size)
        if self.norm == "l1":
            length = step_size.unsqueeze(1) if isinstance(step_size, Tensor) else step_size
            flat, slope = x_adv.flatten(1), grad.flatten(1)
            if sparsity is None:
                return l1_ball.ascend_in_box(flat, slope, length).view_as(x_adv)
            return l1_ball.ascend_evenly(flat, slope, length, sparsity).view_as(x_adv)
        if isinstance(step_size, Tensor):
            return x_adv + step_size.view(-1, *[1] * (grad.ndim - 1)) * grad.sign()
        return torch.add(x_adv, grad.sign(), alpha=step_size)

    def to_pixels(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The nearest 8-bit images, never outside the ball.

        linf: round, then clip to the whole levels allowed around x. l2, l1: round; where that left the ball, the pixels
        which moved away from x by rounding are rounded towards x instead, those that lose least per level first, until
        the image is inside. Rounding all of them towards x is always inside.

        Args:
            x_adv: float [N, ...] in [0, 1].
            x: uint8 [N, ...], the original images.

        Returns:
            uint8 [N, ...], for which `contains` is true.
        """
        if self.norm == "linf":
            levels, centre = (x_adv * 255).round_().clamp_(0, 255), x.to(torch.int16)
            levels = torch.where(levels.isnan(), centre, levels).to(torch.int16)  # NaN stays the original, as below
            return torch.clamp(levels, centre - self.pixel_radius, centre + self.pixel_radius).clamp_(0, 255).byte()
        centre = x.flatten(1).double()
        exact = self.project(x_adv.flatten(1).double(), centre / 255) * 255 - centre
        exact = exact.nan_to_num_()  # an image that a broken model turned into NaN stays the original
        moved = exact.round()
        excess = self._size(moved) - self.pixel_radius
        outside = (excess > 0).nonzero().squeeze(1)
        if len(outside):
            moved[outside] = _rounded_inside(exact[outside], moved[outside], excess[outside], squared=self.norm == "l2")
        return (centre + moved).clamp_(0, 255).byte().view_as(x)

    def contains(self, adversarial: Tensor, x: Tensor) -> Tensor:
        """Whether 8-bit images lie in the ball around x, in integers: uint8 [N, ...] and uint8 [N, ...] -> bool [N]."""
        return self._size(adversarial.flatten(1).long() - x.flatten(1).long()) <= self.pixel_radius

    def _size(self, moves: Tensor) -> Tensor:
        """What `pixel_radius` bounds, [N], of whole moves [N, D] in levels."""
        if self.norm == "l2":
            return moves.square().sum(1)
        return moves.abs().amax(1) if self.norm == "linf" else moves.abs().sum(1)

    @staticmethod
    def _rescaled(vectors: Tensor, length: float | Tensor) -> Tensor:
        """Vectors [N, ...] brought to an l2 length; zero stays zero."""
        flat = vectors.flatten(1)
        # Divided by the largest entry first: squares of a saturated network's gradients would underflow to zero.
        flat = flat / flat.abs().amax(1, keepdim=True).clamp_(min=torch.finfo(flat.dtype).tiny)
        # The largest entry is 1 by now, or 1e-7 where it was denormal, or 0, which no infinity may multiply.
        norm: Tensor = torch.linalg.vector_norm(flat, dim=1).clamp_(min=_LEAST)
        return (flat * (length / norm).unsqueeze(1)).view_as(vectors)


def _rounded_inside(exact: Tensor, moved: Tensor, excess: Tensor, *, squared: bool) -> Tensor:
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
