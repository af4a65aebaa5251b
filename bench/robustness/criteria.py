"""What an engine's logits say: right, or broken. Every figure asks this module. Needs numpy alone.

    answered(z)                <=>  no z_k is NaN  and  max z is finite
    right(z, y)                <=>  answered(z)  and  argmax z = y
    broken(z, y), untargeted   <=>  not right(z, y)
    broken(z, y), target t     <=>  answered(z)  and  argmax z = t != y

Logits with a NaN are no answer, nor are those that overflowed: wrong, but not the attacker's target. A logarithm of
zero, minus infinity, is an answer where another class has a finite one. Of equal logits the first one counts. What an
attacker wants of a class is `ThreatModel.fooled`; that a candidate lies in the ball is `ThreatModel.contains`, which
`evaluate.py` demands of every candidate before it is counted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..attacks.threat.threat_model import ThreatModel

__all__ = ["answered", "predictions", "right_answers", "withstood"]


def answered(logits: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which rows of logits [N, K] are an answer at all: bool [N]."""
    found: NDArray[np.bool_] = ~np.isnan(logits).any(1) & np.isfinite(logits.max(1))
    return found


def predictions(logits: NDArray[np.float32]) -> NDArray[np.int64]:
    """The class of each row of logits [N, K], int64 [N]; one that means nothing where that is no answer."""
    return np.asarray(logits.argmax(1), np.int64)


def right_answers(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows of logits [N, K] are an answer, and largest at the label [N]: bool [N]."""
    right: NDArray[np.bool_] = answered(logits) & (predictions(logits) == labels)
    return right


def withstood(logits: NDArray[np.float32], labels: NDArray[np.int64], threat: ThreatModel) -> NDArray[np.bool_]:
    """Which rows of logits [N, K] are no success of the attacker's: bool [N]."""
    if threat.target is None:
        return right_answers(logits, labels)
    fooled: NDArray[np.bool_] = threat.fooled(predictions(logits), labels) & answered(logits)
    return ~fooled
