"""The learning rate of each step, as a share of the largest one.

    paper       1 in the first four epochs, 1/10 afterwards        (adversarial fine-tuning paper, section 4)
    constant    1
    cosine      (1 + cos(pi t)) / 2                                (Loshchilov & Hutter 2017)
    one-cycle   t / w up to t = w, then (1 - t) / (1 - w)          (Smith 2018; Wong et al. 2020)

t in [0, 1) is the share of the steps done, w the warm-up.
"""

from __future__ import annotations

import math

__all__ = ["learning_rate_share"]

_PAPER_EPOCHS = 4


def learning_rate_share(schedule: str, *, step: int, steps: int, steps_per_epoch: int, warmup: float) -> float:
    """The factor in (0, 1] of step 0 <= `step` < `steps`."""
    t = (step + 0.5) / steps
    if schedule == "paper":
        return 1.0 if step < _PAPER_EPOCHS * steps_per_epoch else 0.1
    if schedule == "cosine":
        return (1 + math.cos(math.pi * t)) / 2
    if schedule == "one-cycle":
        return t / warmup if t < warmup else (1 - t) / (1 - warmup)
    return 1.0
