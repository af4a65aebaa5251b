"""What breaks the engine on the way to something else: candidates of alarms, curves and distances count as well.

    robust(x)   =>   engine(x') = y   for every x' in the ball that this run asked the engine about

An alarm says whether the attacks had converged, a curve how they do; but an adversarial image is one, whatever it was
searched for. The verdict takes it as the candidate of one more attack, which saw only images that withstood all before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..attacks.access import Model
from ..attacks.catalogue import AttackPlan
from .agreement import twin_logits
from .criteria import withstood
from .verdict import AttackOutcome, Candidates, RobustnessResult

__all__ = ["Finds", "Keep", "forget"]

Keep = Callable[[AttackPlan, NDArray[np.int64], NDArray[np.uint8], NDArray[np.float32]], None]
"""keep(plan, rows, candidates, logits): the engine gave `logits` [M, K] to `candidates` [M, C, H, W], which `plan` made
of the images `rows` [M], all different."""


def forget(*_: object) -> None:
    """The `Keep` that keeps nothing."""


@dataclass(slots=True, eq=False)
class Finds:
    """A verdict that grows.

    Attributes:
        result: the verdict so far.
        twin: the engine's differentiable form.
        images: uint8 [N, C, H, W], those of the verdict.
        labels: int64 [N].
    """

    result: RobustnessResult
    twin: Model
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def keep(
        self,
        plan: AttackPlan,
        rows: NDArray[np.int64],
        candidates: NDArray[np.uint8],
        logits: NDArray[np.float32],
    ) -> None:
        """A `Keep`: what lies in the ball and breaks an image that had withstood everything joins the verdict.

        The outcome costs nothing: its time went into what the search was made for.
        """
        result, labels = self.result, self.labels[rows]
        inside = result.threat.contains(candidates, self.images[rows])
        left = result.robust[rows] & inside
        broken = left & ~withstood(logits, labels, result.threat)
        if not broken.any():
            return
        found = candidates[broken]
        stood = withstood(twin_logits(self.twin, found), labels[broken], result.threat)
        outcome = AttackOutcome(
            plan=plan,
            n=result.n,
            attacked=int(left.sum()),
            broken=int(broken.sum()),
            robust=int(result.robust.sum()) - int(broken.sum()),
            remaining_only=True,
            agreement=None,  # of all candidates, or it would be that of the successful ones
            candidates=Candidates(rows=rows[broken], images=found, on_engine=np.ones(len(found), bool), on_twin=~stood),
            seconds=0.0,
            evaluations=0,
        )
        self.result = result.then(outcome)
