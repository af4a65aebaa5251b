"""Clean accuracy: the share of images that an engine gets right as they are, and how often its twin differs."""

from __future__ import annotations

import numpy as np

from ..measurement import Measurement, share
from .agreement import Agreement, compare, twin_logits
from .case import Case
from .criteria import right_answers

__all__ = ["measure_clean_accuracy"]


def measure_clean_accuracy(case: Case) -> list[Measurement]:
    """The measurement "clean-accuracy", and with a twin "twin-mismatch".

    Args:
        case: its threat model does not count. Progress is told after each batch.
    """
    right, agreements = 0, []
    for start, rows in case.batches(np.arange(case.n)):
        images = case.images[rows]
        logits = case.engine(images)
        right += int(right_answers(logits, case.labels[rows]).sum())
        if case.twin is not None:
            agreements.append(compare(logits, twin_logits(case.twin, images)))
        case.progress("clean accuracy", start + len(rows), case.n, f"{right} right")
    found = [share("clean-accuracy", right, case.n, seed=case.seed)]
    if case.twin is not None:
        found.append(Agreement.total(agreements).measurement("clean"))
    return found
