"""What counts as right and what as broken."""

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
    fooled, unanswered = threat.fooled(logits.argmax(1), labels), np.isnan(logits).any(1)
    stood: NDArray[np.bool_] = ~(fooled | unanswered) if threat.target is None else ~fooled | unanswered
    return stood
