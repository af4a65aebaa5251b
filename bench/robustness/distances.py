"""Robustness as a length, on some of the attacked images: what an attack finds, and what CLEVER expects.

Both in the threat model's norm and in levels of 1/255. The first is a bound (`minimal`), the second an estimate that
masked gradients make too high (`clever`); where it is the larger one, one of the two is wrong.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from ...runtime.progress import ProgressCallback, silent
from ..attacks.access import Model, Scores
from ..attacks.catalogue import on_twin
from ..attacks.threat.threat_model import ThreatModel
from ..attacks.white_box.fab import fab
from ..attacks.white_box.gradient import device_of
from ..measurement import Measurement
from ..resume import Pieces, remembered
from .clever import clever
from .criteria import right_answers
from .incidental import Keep, forget
from .minimal_perturbation import minimal_perturbations
from .radii import large_threat, multiples

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
    pieces: Pieces | None = None,
    keep: Keep = forget,
    progress: ProgressCallback = silent,
) -> tuple[tuple[Measurement, ...], tuple[float | None, ...]]:
    """Quartiles of the minimal perturbation found, what it leaves robust at multiples of the radius, and "clever".

    Args:
        engine, twin: as for `evaluate_robustness`.
        images: uint8 [N, C, H, W], N >= 1.
        labels: int64 [N].
        threat: its norm counts, its target does not.
        seed: 0 or more.
        pieces: where finished parts are kept, so that an interrupted run goes on.
        keep: told of the nearest candidates.
        progress: told after each batch.

    Returns:
        The measurements; and of each image the minimal perturbation in levels, None where none was found.
    """
    shortest = minimal_perturbations(
        engine, twin, images, labels, norm=threat.norm, seed=seed, pieces=pieces, progress=progress
    )
    plan = on_twin("minimal perturbation", fab, targeted=True, minimize=True)
    keep(plan, np.arange(len(images)), shortest.adversarial, engine(shortest.adversarial))
    found = [*shortest.measurements([ball.epsilon for ball in multiples(threat)])]
    right = np.flatnonzero(right_answers(engine(images), labels))[:_CLEVER_IMAGES]
    scores = []
    ball = replace(large_threat(threat, images.shape[1:]), target=None)
    for index in right:
        image, stream = images[index : index + 1], int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
        what = {"clever": _CLEVER, "threat": str(ball), "seed": stream}
        score = remembered(pieces, what, (image,), partial(_clever, twin, image, threat=ball, seed=stream))
        scores.append(float(score["levels"]))
        progress("clever", len(scores), len(right), f"median {np.median(scores):.1f} levels ({threat.norm})")
    if scores:
        low, median, high = (float(value) for value in np.percentile(scores, (25, 50, 75)))
        settings = {"norm": threat.norm, "radius": ball.epsilon, "seed": seed, **_CLEVER}
        found.append(
            Measurement(name="clever", value=median, unit="levels", n=len(right), spread=(low, high), settings=settings)
        )
    levels = [round(255 * float(value), 6) if np.isfinite(value) else None for value in shortest.values]
    return tuple(found), tuple(levels)


def _clever(twin: Model, image: NDArray[np.uint8], *, threat: ThreatModel, seed: int) -> dict[str, NDArray[np.float64]]:
    x = torch.from_numpy(image).to(device_of(twin)).float() / 255
    score = clever(twin, x, threat=threat, generator=torch.Generator().manual_seed(seed), **_CLEVER)
    return {"levels": 255 * score.cpu().numpy()[0]}
