"""The scale of all sparsities at which a candidate just meets its goal: false position, Illinois variant.

    find s with q(s) = goal, q falling in steps;  s = (a f(b) - b f(a)) / (f(b) - f(a)),  f = log(q / goal)

(Dowell and Jarratt 1971, A modified regula falsi method.) Each q(s) may be a measurement, so few are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["Fitted", "fit"]

_NEAR = 0.97
_MOST_CALLS = 10

Fitted = tuple[float, float]
"""A scale, and the quantity at it."""


def fit(quantity: Callable[[float], float], goal: float, *, largest: float) -> Fitted | None:
    """A scale in [0, largest] whose quantity is at most `goal`, and near it if any is; None if not even the largest's is.

    Args:
        quantity: of a scale, above 0; falls as the scale grows, up to steps and noise.
        goal: above 0.
        largest: where nothing more can be removed.
    """
    low, high = 0.0, largest
    found = quantity(low)
    if found <= goal:
        return low, found
    best: Fitted = (high, quantity(high))
    if best[1] > goal:
        return None
    f_low, f_high = math.log(found / goal), math.log(best[1] / goal)
    side = 0
    for _ in range(_MOST_CALLS):
        if best[1] >= _NEAR * goal or high - low < 1e-6 * largest:
            break
        scale = (low * f_high - high * f_low) / (f_high - f_low)
        # between the bounds by a hundredth at least: a flat end would hold it
        scale = min(max(scale, low + 0.01 * (high - low)), high - 0.01 * (high - low))
        found = quantity(scale)
        if found > goal:
            low, f_low = scale, math.log(found / goal)
            f_high = f_high / 2 if side == 1 else f_high
            side = 1
        else:
            high, f_high = scale, math.log(found / goal)
            f_low = f_low / 2 if side == -1 else f_low
            side = -1
            if found > best[1]:
                best = (scale, found)
    return best
