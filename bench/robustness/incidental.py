"""Incidental candidates: what alarms, curves and distances find on the way to their own figure counts as well.

    robust(x)   =>   engine(x') = y   for every x' in the ball that this run asked the engine about

An alarm says whether the attacks had converged, a curve how they do; but an adversarial image is one, whatever it was
searched for. It joins the verdict as the candidate of one more attack, which saw only images that withstood all before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..attacks.catalogue import AttackPlan
from .agreement import twin_logits
from .case import Case
from .criteria import withstood
from .verdict import AttackOutcome, Candidates, RobustnessResult

__all__ = ["RunningVerdict"]


@dataclass(slots=True, eq=False)
class RunningVerdict:
    """A verdict that grows while alarms, curves and distances are measured.

    Attributes:
        result: the verdict so far.
        case: what it is about.
    """

    result: RobustnessResult
    case: Case

    def keep(
        self,
        plan: AttackPlan,
        rows: NDArray[np.int64],
        candidates: NDArray[np.uint8],
        logits: NDArray[np.float32],
    ) -> None:
        """A `CandidateCallback`: candidates in the ball join if they break images that had withstood everything.

        The outcome costs no time of its own: the search was made for another figure.
        """
        result, labels = self.result, self.case.labels[rows]
        inside = result.threat.contains(candidates, self.case.images[rows])
        left = result.robust[rows] & inside
        broken = left & ~withstood(logits, labels, result.threat)
        if not broken.any():
            return
        found = candidates[broken]
        outcome = AttackOutcome(
            plan=plan,
            n=result.n,
            attacked=int(left.sum()),
            broken=int(broken.sum()),
            robust=int(result.robust.sum()) - int(broken.sum()),
            remaining_only=True,
            agreement=None,  # over all candidates, or it would be that of the successful ones
            candidates=Candidates(
                rows=rows[broken],
                images=found,
                on_engine=np.ones(len(found), bool),
                on_twin=self._on_twin(found, labels[broken]),
            ),
            seconds=0.0,
            evaluations=0,
        )
        self.result = result.then(outcome)

    def _on_twin(self, found: NDArray[np.uint8], labels: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Which of these candidates break the twin too; None where there is no twin."""
        if self.case.twin is None:
            return None
        return ~withstood(twin_logits(self.case.twin, found), labels, self.result.threat)
