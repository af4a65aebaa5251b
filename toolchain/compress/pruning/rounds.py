"""Iterative pruning: a little, then training, then a little more.

    sparsity of round i = sparsity * i / rounds,   i = 1 .. rounds

Deep compression with adversarial robustness via decision boundary smoothing, algorithm 5; Han et al. 2015
(arXiv:1506.02626). Shares are of the network before the first round, so that the last round ends at the very budget
that one round has. The paper masks in every round and hardens in the end; here filters go at once, which is the same
function (`equivalence.py`) for less work, and weights that are zero are held.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from torch import nn

from ...recipe.pruning import Pruning
from ...train.finetune import finetune
from ..account import joined
from ..compressed import Compressed, StepReport
from ..context import Context

__all__ = ["in_rounds"]

_Settings = TypeVar("_Settings", bound=Pruning)


def in_rounds(
    module: nn.Module,
    settings: _Settings,
    context: Context,
    prune: Callable[[nn.Module, _Settings], Compressed],
) -> Compressed:
    """Prune `module` round by round and train between rounds; in a rehearsal in one round.

    Args:
        module: left as it is.
        settings: of all rounds together.
        context: how to train.
        prune: one round, to the settings' sparsity of the network before the first round.
    """
    if context.train is None or settings.rounds == 1:
        return prune(module, settings)
    reports: list[Compressed] = []
    for number in range(1, settings.rounds + 1):
        given = reports[-1].module if reports else module
        reports.append(prune(given, _share(settings, number / settings.rounds)))
        if number < settings.rounds:
            _retrain(reports[-1], settings, context, number)
    whole = joined(reports)
    checks = {name: value for step in whole.steps for name, value in step.checks.items()}
    return replace(whole, steps=(StepReport(method=settings.method, settings=settings.account, checks=checks),))


def _retrain(report: Compressed, settings: Pruning, context: Context, number: int) -> None:
    """Train the module of a round in place; it goes on to the device that it came from."""
    assert context.train is not None
    place = next(report.module.parameters()).device
    finetune(
        report.module,
        context.train,
        context.heldout,
        context.finetune.model_copy(update={"epochs": settings.retrain_epochs}),
        stage=context.stage(f"round {number}"),
        context=context.training,
        adversary=None if context.adversary is None else context.adversary.plain,
        hold_zeros=settings.holds_zeros,
    )
    report.module.to(place)


def _share(settings: _Settings, share: float) -> _Settings:
    """The settings with every sparsity multiplied by `share`."""
    per_layer = {name: sparsity * share for name, sparsity in settings.per_layer.items()}
    return settings.model_copy(update={"sparsity": settings.sparsity * share, "per_layer": per_layer})
