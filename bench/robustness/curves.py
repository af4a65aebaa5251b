"""How robust accuracy depends on the radius and on the number of steps, on some of the attacked images.

    epsilon   0, 1/4, 1/2, 3/4, 1, 3/2, 2 times the threat model's, and a ball that holds a picture of nothing, where
              what is left should be next to nothing: APGD on the cross-entropy, 50 steps
    steps     PGD on the cross-entropy from x itself, 1, 2, 5, 10, 20, 50, 100 steps of epsilon max(1/10, 2.5/steps)

as Carlini et al. 2019 (arXiv:1902.06705) ask for. A curve over epsilon that does not fall to zero, or one over steps
that still falls at its end, says that the attack does not work. Candidates are replayed on the engine.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..attacks.catalogue import on_twin
from ..attacks.white_box.apgd import apgd
from ..attacks.white_box.pgd import pgd
from ..measurement import Measurement, share
from .case import Case
from .radii import large_threat, multiples

__all__ = ["STEPS", "measure_curves"]

STEPS = (1, 2, 5, 10, 20, 50, 100)


def measure_curves(case: Case) -> tuple[Measurement, ...]:
    """Both curves as "robust-accuracy-by-epsilon" and "robust-accuracy-by-steps", in per cent of all images.

    Args:
        case: with a twin; multiples of its ball are attacked, all images at once. Progress is told after each point.
    """
    threat, seed, every = case.threat, case.seed, np.arange(case.n)
    right = case.right()
    radii = multiples(threat)
    largest = large_threat(threat, case.images.shape[1:])
    radii += [largest] if largest.epsilon > radii[-1].epsilon else []
    total = len(radii) + len(STEPS)

    def point(name: str, left: NDArray[np.bool_], **settings: str | float) -> Measurement:
        return share(name, int(left.sum()), case.n, clean=int(right.sum()), **settings, seed=seed)

    radius, steps_taken = "robust-accuracy-by-epsilon", "robust-accuracy-by-steps"
    found = [point(radius, right, threat=str(replace(threat, epsilon=0.0)), epsilon=0.0)]
    for index, ball in enumerate(radii):
        left = right & case.withstands(on_twin(f"curve {ball}", apgd, steps=50), every, threat=ball)
        found.append(point(radius, left, threat=str(ball), epsilon=ball.epsilon, attack="apgd-ce"))
        case.progress("curves", index + 1, total, str(ball))
    for index, steps in enumerate(STEPS):
        step_size = threat.epsilon * max(0.1, 2.5 / steps)
        name = f"curve {steps} steps"
        plan = on_twin(name, pgd, steps=steps, step_size=step_size, random_start=False, early_stop=True)
        left = right & case.withstands(plan, every)
        found.append(point(steps_taken, left, threat=str(threat), steps=steps, step_size=step_size, attack="pgd"))
        case.progress("curves", len(radii) + index + 1, total, f"{steps} steps")
    return tuple(found)
