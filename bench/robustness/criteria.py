"""What an engine's logits say: right, or broken. Every figure asks this module. Needs numpy alone.

    right(z, y)                <=>  no z_k is NaN  and  argmax z = y
    broken(z, y), untargeted   <=>  not right(z, y)
    broken(z, y), target t     <=>  no z_k is NaN  and  argmax z = t != y

Logits with a NaN are no answer: wrong, but not the attacker's target. Of equal logits the first one counts. What an
attacker wants of a class is `ThreatModel.fooled`; that a candidate lies in the ball is `ThreatModel.contains`, which
`evaluate.py` demands of every candidate before it is counted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..attacks.threat.threat_model import ThreatModel

__all__ = ["right_answers", "withstood"]


def right_answers(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows of logits [N, K] are largest at the label [N] and hold no NaN: bool [N]."""
    right: NDArray[np.bool_] = (logits.argmax(1) == labels) & ~np.isnan(logits).any(1)
    return right


def withstood(logits: NDArray[np.float32], labels: NDArray[np.int64], threat: ThreatModel) -> NDArray[np.bool_]:
    """Which rows of logits [N, K] are no success of the attacker's: bool [N]."""
    if threat.target is None:
        return right_answers(logits, labels)
    fooled: NDArray[np.bool_] = threat.fooled(logits.argmax(1), labels) & ~np.isnan(logits).any(1)
    return ~fooled
