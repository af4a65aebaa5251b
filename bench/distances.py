"""Robustness as a length, on some of the attacked images: what an attack finds, and what CLEVER expects.

Both in the threat model's norm and in levels of 1/255. The first is a bound (`minimal`), the second an estimate that
masked gradients make too high (`clever`); where it is the larger one, one of the two is wrong.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..runtime.progress import ProgressCallback, silent
from .alarms import large_threat
from .attacks.gradient import Model
from .attacks.square import Scores
from .attacks.threat import ThreatModel
from .clever import clever
from .curves import FRACTIONS
from .measurement import Measurement
from .minimal import minimal_perturbations
from .robust import right_answers

__all__ = ["measure_distances"]

_CLEVER_IMAGES = 20
_CLEVER = {"batches": 20, "samples": 64, "candidates": 3}
"""A fraction of the paper's 500 batches of 1024 for 9 classes, which are 4.6 million gradients an image."""


def measure_distances(
    engine: Scores,
    twin: Model,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    threat: ThreatModel,
    seed: int,
    progress: ProgressCallback = silent,
) -> tuple[Measurement, ...]:
    """Quartiles of the minimal perturbation found, what it leaves robust at multiples of the radius, and "clever".

    Args:
        engine, twin: as for `evaluate_robustness`.
        images: uint8 [N, C, H, W], N >= 1.
        labels: int64 [N].
        threat: its norm counts, its target does not.
        seed: 0 or more.
        progress: told after each batch.
    """
    shortest = minimal_perturbations(engine, twin, images, labels, norm=threat.norm, seed=seed, progress=progress)
    radii = [threat.epsilon * factor for factor in FRACTIONS if threat.norm != "linf" or threat.epsilon * factor <= 1]
    found = [*shortest.measurements(radii)]
    right = np.flatnonzero(right_answers(engine(images), labels))[:_CLEVER_IMAGES]
    if len(right):
        ball = replace(large_threat(threat, images.shape[1:]), target=None)
        device = next((p.device for p in twin.parameters()), None) if isinstance(twin, torch.nn.Module) else None
        x = torch.from_numpy(images[right]).to(device).float() / 255
        generator = torch.Generator().manual_seed(seed)
        scores = 255 * clever(twin, x, threat=ball, generator=generator, **_CLEVER).cpu().numpy()
        low, median, high = (float(value) for value in np.percentile(scores, (25, 50, 75)))
        settings = {"norm": threat.norm, "radius": ball.epsilon, "seed": seed, **_CLEVER}
        found.append(
            Measurement(name="clever", value=median, unit="levels", n=len(right), spread=(low, high), settings=settings)
        )
        progress("clever", len(right), len(right), "")
    return tuple(found)
