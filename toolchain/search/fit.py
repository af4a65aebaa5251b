"""The scale of all sparsities at which a candidate just meets its goal.

    find s with q(s) <= goal and q(s) >= 0.95 goal, q falling in steps

Brent's method (Brent 1973, Algorithms for minimization without derivatives, chapter 4; scipy's) on log(q / goal). It
starts from a bracket that doubling finds, where log q is nearly a line. Each q(s) may take seconds to measure, so the
search ends at the first that is near enough, or after 8 steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy.optimize import brentq

__all__ = ["Fitted", "fit"]

_NEAR = 0.95
_MOST_STEPS = 8

Fitted = tuple[float, float]
"""A scale, and the quantity at it."""


def fit(quantity: Callable[[float], float], goal: float, *, largest: float) -> Fitted | None:
    """A scale in [0, largest] whose quantity is at most `goal`, and near it if any is; None if none is.

    Args:
        quantity: of a scale, above 0; falls as the scale grows, up to steps and noise.
        goal: above 0.
        largest: where nothing more can be removed.
    """
    known: dict[float, float] = {}

    def excess(scale: float) -> float:
        if scale not in known:
            known[scale] = quantity(scale)
        return 0.0 if _NEAR * goal <= known[scale] <= goal else math.log(known[scale] / goal)

    low, high = 0.0, 0.0
    while excess(high) > 0:
        if high == largest:
            return None
        low, high = high, min(max(2 * high, 1.0), largest)
    if low < high:
        brentq(excess, low, high, xtol=1e-3 * high, maxiter=_MOST_STEPS, disp=False)
    return max((fitted for fitted in known.items() if fitted[1] <= goal), key=lambda fitted: fitted[1])
