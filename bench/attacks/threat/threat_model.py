"""What an attacker may do: move the pixels of an image inside a ball around it.

    B(x) = { x' in [0, 1]^d : ||x' - x||_p <= epsilon },   p = inf, 2 or 1

A camera delivers 8-bit pixels, so what counts in the end is the set of 8-bit images in that ball. In levels of 1/255
the rule is exact integer arithmetic (`ThreatModel.pixel_radius`):

    linf:  max_i |q'_i - q_i|       <= floor(255 epsilon)
    l2:    sum_i (q'_i - q_i)^2     <= floor((255 epsilon)^2)
    l1:    sum_i |q'_i - q_i|       <= floor(255 epsilon)

An attacker wants any wrong class or, with a target, that one class. Then an image is broken if the model takes it for
the target, and images of that class are not attacked.

This file is the data of a threat model and needs numpy alone, so that a recipe is read and a verdict replayed without
torch. How a search moves inside the ball is in `geometry`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ....runtime.errors import RecipeError
from ....runtime.shapes import Bool, Int64, UInt8

__all__ = ["LARGEST", "Norm", "ThreatModel", "move_size"]

Norm = Literal["linf", "l2", "l1"]

LARGEST: Mapping[Norm, float] = {"linf": 1, "l2": 1e9, "l1": 1e9}
"""The largest radius of each norm; in l2 and l1 it is more pixels than any image has."""

_SLACK = 1e-6
"""Absorbs the rounding of 255 * (8 / 255), which is a hair off 8, before a radius is cut to whole levels."""

_PIECE = 1 << 20
"""Pixels whose moves are computed at once: as int64 they take eight times the images' memory."""
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
        largest = LARGEST[self.norm]
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
        """Whole levels as "linf:8/255", above 0 and below 255; any other radius as "linf:0.1" or "l2:1.0"."""
        levels = round(255 * self.epsilon)
        whole = self.norm == "linf" and 0 < levels < 255 and levels / 255 == self.epsilon
        ball = f"linf:{levels}/255" if whole else f"{self.norm}:{float(self.epsilon)!r}"
        return ball if self.target is None else f"{ball}->{self.target}"

    def fooled(self, predictions: Any, y: Any) -> Any:
        """Which predictions are what the attacker wants: a wrong class or, with a target, that class.

        Args:
            predictions: int64 [N], classes; a NumPy array or a tensor.
            y: int64 [N], the right classes; of the same kind.

        Returns:
            bool [N], of the same kind.
        """
        wrong = predictions != y
        return wrong if self.target is None else wrong & (predictions == self.target)

    def attacked(self, predictions: Any, y: Any) -> Any:
        """Which images a search has work to do on: right as they are, and not of the target's class.

        The arguments and the result are those of `fooled`.
        """
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
        the nearest level never leaves the ball, so what fools such a model still fools it once it is rounded to pixels.
        """
        radius = math.sqrt(self.pixel_radius) if self.norm == "l2" else self.pixel_radius
        return replace(self, epsilon=min(self.epsilon, radius / 255))

    def contains(
        self, adversarial: UInt8[NDArray[np.uint8], " n *d"], x: UInt8[NDArray[np.uint8], " n *d"]
    ) -> Bool[NDArray[np.bool_], " n"]:
        """Whether 8-bit images lie in the ball around the images x, in integers."""
        inside = np.ones(len(x), np.bool_)
        count = max(1, _PIECE // max(1, math.prod(x.shape[1:])))
        for start in range(0, len(x), count):
            piece = slice(start, start + count)
            inside[piece] = move_size(adversarial[piece].astype(np.int64) - x[piece], self.norm) <= self.pixel_radius
        return inside


def move_size(moves: Int64[NDArray[np.int64], "n ..."], norm: Norm) -> Int64[NDArray[np.int64], " n"]:
    """What `ThreatModel.pixel_radius` bounds, of moves in levels."""
    flat = np.abs(moves).reshape(len(moves), math.prod(moves.shape[1:]))
    size: NDArray[np.int64] = flat.max(1, initial=0) if norm == "linf" else (flat**2 if norm == "l2" else flat).sum(1)
    return size
