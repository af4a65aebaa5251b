"""Accuracy on held-out training images, clean and under a short attack. Epochs are chosen by it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from ...bench.attacks.threat.threat_model import ThreatModel
from ...bench.attacks.white_box.pgd import pgd
from ...bench.data.dataset import Part
from ..recipe.adversary import Adversary

__all__ = ["held_out_accuracy", "score"]

_STEPS = 10
"""Steps of the PGD that measures robust accuracy; step size epsilon / 4."""


def held_out_accuracy(
    module: nn.Module,
    part: Part,
    adversary: Adversary | None,
    precision: Callable[[], AbstractContextManager[object]] = nullcontext,
    *,
    seed: int,
    batch_size: int,
) -> tuple[float, float | None]:
    """Accuracy on `part`, clean and (with an adversary) under PGD-10 with a random start; both in [0, 1].

    No pass takes more than `batch_size` images: what fits into memory in training fits here.
    """
    module.eval()
    device = next(module.parameters()).device
    right = stood = 0
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, len(part), batch_size):
        x = torch.from_numpy(part.images[start : start + batch_size]).to(device).float() / 255
        y = torch.from_numpy(part.labels[start : start + batch_size]).to(device)
        with precision():
            with torch.no_grad():
                good = module(x).argmax(1) == y
            right += int(good.sum())
            if adversary is None or not good.any():
                continue
            threat = ThreatModel.parse(adversary.threat)
            x, y = x[good], y[good]
            x_adv = pgd(
                module,
                x,
                y,
                threat=threat,
                steps=_STEPS,
                step_size=threat.epsilon / 4,
                random_start=True,
                generator=generator,
                batch_size=batch_size,
            )
            with torch.no_grad():
                stood += int((module(x_adv).argmax(1) == y).sum())
    return right / len(part), None if adversary is None else stood / len(part)


def score(clean: float | None, robust: float | None) -> float:
    """What epochs are compared by: robust accuracy, and clean accuracy where that is equal."""
    return (clean or 0.0) if robust is None else robust + 1e-6 * (clean or 0.0)  # less than one image of a million
