"""What a robust accuracy is worth: an upper bound, where no white-box attack searched the engine's own function.

    wrong twin          the twin is another function than the engine on clean images (`twin_trial.py`'s rule): what was
                        searched on it is a candidate that transfers, no more, and the figure is withheld
    no white-box attack  only queries, and candidates made on other networks, were tried

How that is told in the figure's row is in `doubt.py`.
"""

from __future__ import annotations

import numpy as np

from ..measurement import Skip
from ..twin_trial import logit_gap, unlike
from .agreement import twin_logits
from .alarm import Alarm
from .case import Case
from .doubt import NO_WHITE_BOX, WRONG_TWIN
from .verdict import RobustnessResult

__all__ = ["check_access", "check_twin"]

_NOISE = 3.0
"""Times as far as the engine is from itself: what a twin that draws noise of its own may be from it."""


def check_twin(case: Case) -> Alarm | Skip:
    """Compare engine and twin on the case's images as they are.

    Args:
        case: with a twin. Progress is told after each batch.

    Returns:
        The alarm, raised or not; a skip where the engine is random and its own answers are as far apart.
    """
    pairs = []
    for start, rows in case.batches(np.arange(case.n)):
        pairs.append((case.engine(case.images[rows]), twin_logits(case.white_box, case.images[rows])))
        case.progress("twin against engine", start + len(rows), case.n, "")
    engine, twin = (np.concatenate(logits) for logits in zip(*pairs, strict=True))
    rows = np.flatnonzero(unlike(engine, twin))
    alarm = Alarm.of(WRONG_TWIN, len(rows), case.n)
    if not alarm.raised:
        return alarm
    again = np.concatenate([case.engine(case.images[some]) for _, some in case.batches(rows)])
    noise = logit_gap(engine[rows], again).mean()
    if logit_gap(engine[rows], twin[rows]).mean() <= _NOISE * noise:
        return Skip(what=f"alarm {WRONG_TWIN}", reason="the engine is random: its own answers are as far apart")
    return alarm


def check_access(result: RobustnessResult) -> Alarm:
    """Whether the verdict stands on white-box attacks."""
    return Alarm.of(NO_WHITE_BOX, result.n if result.white_box is None else 0, result.n)
