"""Clean accuracy: the share of images that an engine gets right as they are, and how often its twin differs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..measurement import Measurement, Setting, share
from .agreement import Agreement, compare, twin_logits
from .alarm import Alarm
from .case import Case
from .criteria import answered, predictions, right_answers

__all__ = ["CleanAnswers", "measure_clean_accuracy"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CleanAnswers:
    """What an engine says to N images as they are.

    Attributes:
        predicted: int64 [N], its classes.
        labels: int64 [N], the right ones.
        answered: bool [N], whether it gives an answer (`criteria.py`).
        right: bool [N], whether that is right.
        agreement: engine and twin; None where there is no twin.
    """

    predicted: NDArray[np.int64] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    answered: NDArray[np.bool_] = field(repr=False)
    right: NDArray[np.bool_] = field(repr=False)
    agreement: Agreement | None

    @property
    def n(self) -> int:
        """Images in all."""
        return len(self.labels)

    @property
    def no_answer(self) -> Alarm:
        """Images whose logits are no answer: wrong, and never robust."""
        return Alarm.of("no answer", int((~self.answered).sum()), self.n)

    def measurements(self, **settings: Setting) -> list[Measurement]:
        """ "clean-accuracy", and with a twin "twin-mismatch"."""
        without = int((~self.answered).sum())
        found = [share("clean-accuracy", int(self.right.sum()), self.n, **settings, without_answer=without)]
        return found if self.agreement is None else [*found, self.agreement.measurement("clean")]


def measure_clean_accuracy(case: Case) -> CleanAnswers:
    """Ask the engine, and its twin where there is one, for every image.

    Args:
        case: its threat model does not count. Progress is told after each batch.
    """
    agreements, logits = [], []
    right = np.zeros(case.n, bool)
    for start, rows in case.batches(np.arange(case.n)):
        images = case.images[rows]
        logits.append(case.engine(images))
        right[rows] = right_answers(logits[-1], case.labels[rows])
        if case.twin is not None:
            agreements.append(compare(logits[-1], twin_logits(case.twin, images)))
        case.progress("clean accuracy", start + len(rows), case.n, f"{right.sum()} right")
    every = np.concatenate(logits)
    return CleanAnswers(
        predicted=predictions(every),
        labels=case.labels,
        answered=answered(every),
        right=right,
        agreement=None if case.twin is None else Agreement.total(agreements),
    )
