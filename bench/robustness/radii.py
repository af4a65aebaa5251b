"""The radii that a threat model is measured at: multiples of its own, and one that must break everything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..attacks.threat.threat_model import ThreatModel

__all__ = ["large_threat", "multiples", "must_break"]

_FACTORS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


def multiples(threat: ThreatModel) -> list[ThreatModel]:
    """Balls of 0.25 to 2 times the radius; in l-inf, those that are no larger than the cube of all images."""
    radii = [threat.epsilon * factor for factor in _FACTORS]
    return [replace(threat, epsilon=epsilon) for epsilon in radii if threat.norm != "linf" or epsilon <= 1]


def must_break(threat: ThreatModel, shape: tuple[int, ...]) -> ThreatModel:
    """The ball of `large_threat`, in which any wrong class will do: no classifier withstands it."""
    return replace(large_threat(threat, shape), target=None)


def large_threat(threat: ThreatModel, shape: tuple[int, ...]) -> ThreatModel:
    """A ball of the same norm that holds, for every image, the picture whose pixels are all 127 or 128.

    Args:
        threat: gives the norm and the target; a radius that is larger still stays.
        shape: (C, H, W) of the images.
    """
    size = int(np.prod(shape))
    epsilon = {"linf": 128 / 255, "l2": 128 / 255 * size**0.5, "l1": 128 / 255 * size}[threat.norm]
    return replace(threat, epsilon=max(threat.epsilon, epsilon))
