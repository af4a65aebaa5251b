"""How robust accuracy depends on the radius and on the number of steps, on some of the attacked images.

    epsilon   0, 1/4, 1/2, 3/4, 1, 3/2, 2 times the threat model's, and a ball that holds a picture of nothing, where
              what is left should be next to nothing: APGD on the cross-entropy, 50 steps
    steps     PGD on the cross-entropy from x itself, 1, 2, 5, 10, 20, 50, 100 steps of epsilon max(1/10, 2.5/steps)

as Carlini et al. 2019 (arXiv:1902.06705) ask for. A curve over epsilon that does not fall to zero, or one over steps
that still falls at its end, says that the attack does not work. Candidates are replayed on the engine; what breaks it
within the threat model's radius is handed to `keep` (`finds.py`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...runtime.progress import ProgressCallback, silent
from ..attacks.access import Model, Scores
from ..attacks.catalogue import AttackPlan, on_twin
from ..attacks.threat.threat_model import ThreatModel
from ..attacks.white_box.apgd import apgd
from ..attacks.white_box.pgd import pgd
from ..measurement import Measurement, share
from ..resume import Pieces, searching
from .criteria import right_answers, withstood
from .incidental import Keep, forget
from .radii import large_threat, multiples

__all__ = ["STEPS", "measure_curves"]

STEPS = (1, 2, 5, 10, 20, 50, 100)


def measure_curves(
    engine: Scores,
    twin: Model,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    threat: ThreatModel,
    seed: int,
    pieces: Pieces | None = None,
    keep: Keep = forget,
    progress: ProgressCallback = silent,
) -> tuple[Measurement, ...]:
    """Both curves as "robust-accuracy-by-epsilon" and "robust-accuracy-by-steps", in per cent of all images.

    Args:
        engine, twin: as for `evaluate_robustness`.
        images: uint8 [N, C, H, W], N >= 1.
        labels: int64 [N].
        threat: the ball; its multiples are attacked.
        seed: 0 or more.
        pieces: as for `evaluate_robustness`.
        keep: told of every candidate that the engine was asked about.
        progress: told after each point.
    """
    right = right_answers(engine(images), labels)
    radii = multiples(threat)
    largest = large_threat(threat, images.shape[1:])
    radii += [largest] if largest.epsilon > radii[-1].epsilon else []
    total = len(radii) + len(STEPS)
    found = [_point("epsilon", right, right, threat=str(replace(threat, epsilon=0.0)), epsilon=0.0, seed=seed)]

    def stood(plan: AttackPlan, ball: ThreatModel) -> NDArray[np.bool_]:
        result = searching(plan, pieces)(twin, images, labels, threat=ball, seed=seed)
        logits = engine(result.adversarial)
        keep(plan, np.arange(len(images)), result.adversarial, logits)
        return right & withstood(logits, labels, ball)

    for index, ball in enumerate(radii):
        left = stood(on_twin(f"curve {ball}", apgd, steps=50), ball)
        found.append(
            _point("epsilon", left, right, threat=str(ball), epsilon=ball.epsilon, attack="apgd-ce", seed=seed)
        )
        progress("curves", index + 1, total, str(ball))
    for index, steps in enumerate(STEPS):
        step_size = threat.epsilon * max(0.1, 2.5 / steps)
        name = f"curve {steps} steps"
        plan = on_twin(name, pgd, steps=steps, step_size=step_size, random_start=False, early_stop=True)
        left = stood(plan, threat)
        found.append(
            _point("steps", left, right, threat=str(threat), steps=steps, step_size=step_size, attack="pgd", seed=seed)
        )
        progress("curves", len(radii) + index + 1, total, f"{steps} steps")
    return tuple(found)


def _point(over: str, stood: NDArray[np.bool_], right: NDArray[np.bool_], **settings: str | float) -> Measurement:
    return share(f"robust-accuracy-by-{over}", int(stood.sum()), len(right), clean=int(right.sum()), **settings)
