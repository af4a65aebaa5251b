"""Robustness as a length, on some of the attacked images: what an attack finds, and what CLEVER expects.

Both in the threat model's norm and in levels of 1/255. The first is an upper bound (`minimal_perturbation.py`), the
second an estimate that masked gradients make too high (`clever.py`); where the estimate is the larger one, one of the
two is wrong.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from ..attacks.access import Model
from ..attacks.catalogue import on_twin
from ..attacks.threat.threat_model import ThreatModel
from ..attacks.white_box.fab import fab
from ..attacks.white_box.gradient import device_of
from ..measurement import Measurement, measured
from .case import Case
from .clever import clever
from .minimal_perturbation import minimal_perturbations
from .radii import multiples, must_break

__all__ = ["measure_distances"]

_BATCH = 128
_CLEVER_IMAGES = 20
_CLEVER = {"batches": 20, "samples": 64, "candidates": 3}
"""A fraction of the paper's 500 batches of 1024 for 9 classes, which are 4.6 million gradients an image."""


def measure_distances(case: Case) -> tuple[tuple[Measurement, ...], tuple[float | None, ...]]:
    """Quartiles of the minimal perturbation found, what it leaves robust at multiples of the radius, and "clever".

    Args:
        case: with a twin; its norm counts, its target does not. Progress is told after each batch and each score.

    Returns:
        The measurements; and of each image the minimal perturbation in levels, None where none was found.
    """
    threat = case.threat
    shortest = minimal_perturbations(replace(case, batch_size=_BATCH))
    plan = on_twin("minimal perturbation", fab, targeted=True, minimize=True)
    case.keep(plan, np.arange(case.n), shortest.adversarial, case.engine(shortest.adversarial))
    found = [*shortest.measurements([ball.epsilon for ball in multiples(threat)]), *_clever_scores(case)]
    levels = [round(255 * float(value), 6) if np.isfinite(value) else None for value in shortest.values]
    return tuple(found), tuple(levels)


def _clever_scores(case: Case) -> list[Measurement]:
    """The median score of some images that are right, with its quartiles; nothing where none is right."""
    rows = np.flatnonzero(case.right())[:_CLEVER_IMAGES]
    ball = must_break(case.threat, case.images.shape[1:])
    scores: list[float] = []
    for row in rows:
        image, seed = case.images[row : row + 1], case.stream(row)
        what = {"clever": _CLEVER, "threat": str(ball), "seed": seed}
        score = case.load_or_compute(what, (image,), partial(_clever, case.white_box, image, threat=ball, seed=seed))
        scores.append(float(score["levels"]))
        text = f"median {np.median(scores):.1f} levels ({case.threat.norm})"
        case.progress("clever", len(scores), len(rows), text)
    if not scores:
        return []
    low, median, high = (float(value) for value in np.percentile(scores, (25, 50, 75)))
    settings = {"norm": case.threat.norm, "radius": ball.epsilon, "seed": case.seed, **_CLEVER}
    return [measured("clever", median, n=len(rows), spread=(low, high), settings=settings)]


def _clever(twin: Model, image: NDArray[np.uint8], *, threat: ThreatModel, seed: int) -> dict[str, NDArray[np.float64]]:
    x = torch.from_numpy(image).to(device_of(twin)).float() / 255
    score = clever(twin, x, threat=threat, generator=torch.Generator().manual_seed(seed), **_CLEVER)
    return {"levels": 255 * score.cpu().numpy()[0]}
