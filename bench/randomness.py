"""Whether a network draws random numbers: the same images, asked again and again. Needs numpy alone.

Two calls are not enough. A network that pads its images by 0 or 1 at random gives one answer of four in each call, the
same for all images of a batch; of ten calls it gives the same answer every time in one case of 4^9.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_random"]

_IMAGES, _FEW, _CALLS = 64, 4, 8
_ROUNDING = 1e-3
"""Share of what the logits span that the order of sums may change from call to call on parallel hardware."""


def is_random(ask: Callable[[NDArray[np.uint8]], NDArray[np.float32]], images: NDArray[np.uint8]) -> bool:
    """Whether a network gives other logits to the same images when it is asked again.

    Args:
        ask: uint8 [N, C, H, W] -> logits [N, K].
        images: 64 of them at most are asked twice, then 4 of them nine times.
    """
    for count, calls in ((_IMAGES, 1), (_FEW, _CALLS)):
        some = images[:count]
        first = ask(some)
        finite = first[np.isfinite(first)]
        limit = _ROUNDING * float(np.ptp(finite)) if finite.size else 0.0
        for _ in range(calls):
            if not np.allclose(first, ask(some), rtol=0, atol=limit, equal_nan=True):
                return True
    return False
