"""Signs that a robust accuracy is not robustness: gradients that mislead, attacks that did not converge, noise.

After Athalye et al. 2018 (arXiv:1802.00420, section 3.1), Carlini et al. 2019 (arXiv:1902.06705, section 3) and the
checks of AutoAttack (Croce & Hein 2020, arXiv:2003.01690). Each is a share of images, k of n:

    without gradients  queries or transfer break images that no attack on the twin broke, nor APGD with twice the steps,
                       nor MultiTargeted, which is exact where the network is linear
    flat loss          a step of epsilon / 2 along the gradient raises the loss no more than the best of 5 random ones
    zero gradient      the gradient of the cross-entropy is zero everywhere, or not finite
    large epsilon      images that withstand APGD in a ball which holds a picture of nothing (linf 0.5, or as large)
    more steps         APGD from another random start with twice the steps breaks images that had withstood everything
    random             the engine gives other logits to the same images when it is asked again
    twin differs       candidates that break one of twin and engine only: another network than the engine was attacked

The thresholds, and what each alarm means, are in `alarm_table.py`. Without a twin, only "random" is checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..attacks.catalogue import AttackPlan, on_twin
from ..attacks.losses import ce, rivals
from ..attacks.threat.geometry import ball_of
from ..attacks.white_box.apgd import apgd
from ..attacks.white_box.gradient import device_of, frozen, logits_and_gradient, logits_of
from ..attacks.white_box.multi_targeted import multi_targeted
from ..measurement import Skip
from ..randomness import is_random
from .alarm import Alarm
from .case import Case
from .radii import must_break
from .verdict import RobustnessResult

__all__ = ["Checks", "look_for_alarms", "some_of"]

_IMAGES = 128
"""Images that are looked at, at most, where that costs passes."""

_SURVIVORS = 10
"""Fewer say nothing about whether attacks had converged."""

_BATCH = 128
_RANDOM_STEPS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Checks:
    """What `look_for_alarms` found.

    Attributes:
        alarms: raised or not.
        skipped: checks that were not made, and why.
    """

    alarms: tuple[Alarm, ...]
    skipped: tuple[Skip, ...]

    @property
    def raised(self) -> tuple[str, ...]:
        """The names of the alarms that are raised."""
        return tuple(alarm.name for alarm in self.alarms if alarm.raised)


def look_for_alarms(case: Case, result: RobustnessResult) -> Checks:
    """Make every check that the verdict and the models allow.

    Args:
        case: what was attacked. Progress is told after each check.
        result: the verdict on it.
    """
    chosen = some_of(result.right, result.seed)
    found = [_random(case, chosen)] if len(chosen) else []
    found += _twin_differs(result)
    skipped: list[Skip] = []
    if case.twin is None:
        return Checks(alarms=tuple(found), skipped=())
    survivors = some_of(result.robust, result.seed)
    checks: list[Callable[[], Alarm | None]] = [
        partial(_without_gradients, case, result),
        partial(_zero_gradient, case, chosen),
        partial(_flat_loss, case, chosen),
        partial(_large_epsilon, case, chosen),
    ]
    if len(survivors) >= _SURVIVORS:
        checks.append(partial(_more_steps, case, survivors, result))
    else:
        reason = f"{len(survivors)} images withstood everything, and fewer than {_SURVIVORS} say nothing"
        skipped.append(Skip(what="alarm more steps", reason=reason))
    for index, check in enumerate(checks):
        found += [alarm for alarm in [check()] if alarm is not None and alarm.n]
        case.progress("alarms", index + 1, len(checks), "")
    return Checks(alarms=tuple(found), skipped=tuple(skipped))


def some_of(mask: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """At most `_IMAGES` of those that the mask holds."""
    where = np.flatnonzero(mask)
    if len(where) <= _IMAGES:
        return where
    return np.sort(np.random.default_rng(seed).choice(where, _IMAGES, replace=False))


def _twin_differs(result: RobustnessResult) -> list[Alarm]:
    attacked = sum(outcome.attacked for outcome in result.attacks)
    only = [(outcome.broken_twin_only, outcome.broken_engine_only) for outcome in result.attacks]
    if not attacked or (None, None) in only or result.draws > 1:  # by chance, both vote as they like near a tie
        return []
    return [Alarm.of("twin differs", sum((twin or 0) + (engine or 0) for twin, engine in only), attacked)]


def _random(case: Case, rows: NDArray[np.int64]) -> Alarm:
    images = case.images[rows]
    count = 0
    if case.draws > 1 or is_random(case.engine, images):  # rounding is no chance
        count = int((case.engine(images) != case.engine(images)).any(1).sum())
    return Alarm.of("random", count, len(rows))


def _tensors(case: Case, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    device = device_of(case.white_box)
    x = torch.from_numpy(case.images[rows]).to(device).float() / 255
    return x, torch.from_numpy(case.labels[rows]).to(device)


def _zero_gradient(case: Case, rows: NDArray[np.int64]) -> Alarm:
    x, y = _tensors(case, rows)
    count = 0
    if len(x):
        with frozen(case.white_box):
            grad = logits_and_gradient(case.white_box, x, (y,), ce, _BATCH)[2].flatten(1)
        count = int(((grad == 0).all(1) | ~grad.isfinite().all(1)).sum())
    return Alarm.of("zero gradient", count, len(rows))


def _flat_loss(case: Case, rows: NDArray[np.int64]) -> Alarm:
    """What is compared rises with the cross-entropy, but is not rounded to zero where the network is sure."""
    twin, (x, y) = case.white_box, _tensors(case, rows)
    threat, generator = replace(case.threat, target=None), torch.Generator().manual_seed(case.seed)
    ball, length = ball_of(threat), max(threat.epsilon / 2, 1 / 255)
    count = 0
    if len(x):
        with frozen(twin):
            logits, _, grad = logits_and_gradient(twin, x, (y,), ce, _BATCH)

            def gain(direction: Tensor) -> Tensor:
                moved = ball.step(x, direction, length).clamp(0, 1)
                return _rivalry(logits_of(twin, moved, _BATCH), y) - _rivalry(logits, y)

            noise = [torch.randn(x.shape, generator=generator).to(x.device) for _ in range(_RANDOM_STEPS)]
            best = torch.stack([gain(direction) for direction in noise]).amax(0)
            count = int((~(gain(grad.nan_to_num()) > best.clamp(min=0))).sum())
    return Alarm.of("flat loss", count, len(rows))


def _rivalry(logits: Tensor, y: Tensor) -> Tensor:
    """log sum_{k != y} exp z_k - z_y, float64 [N]; the cross-entropy is log(1 + exp of it)."""
    wide = logits.double()
    return rivals(wide, y).logsumexp(1) - wide.gather(1, y.unsqueeze(1)).squeeze(1)


def _without_gradients(case: Case, result: RobustnessResult) -> Alarm | None:
    white = result.white_box
    if white is None or (result.queries_only, result.transfer_only) == (None, None) or not result.clean:
        return None
    missed = np.flatnonzero(result.right & ~white & ~result.robust)
    # A weak attack misses much: what a stronger one finds along the gradients is not their fault.
    plans = [_stronger("alarm without gradients", result)]
    if case.threat.target is None:
        name = "alarm without gradients, multi-targeted"
        plans.append(on_twin(name, multi_targeted, steps=50, step_size=case.threat.epsilon / 10, targets=9))
    for plan in plans:
        missed = missed[case.withstands(plan, missed, seed=_other_seed(case))]
    return Alarm.of("without gradients", len(missed), result.clean)


def _large_epsilon(case: Case, rows: NDArray[np.int64]) -> Alarm:
    threat = must_break(case.threat, case.images.shape[1:])
    stood = case.withstands(on_twin("alarm large epsilon", apgd, steps=50), rows, threat=threat)
    return Alarm.of("large epsilon", int(stood.sum()), len(rows))


def _more_steps(case: Case, rows: NDArray[np.int64], result: RobustnessResult) -> Alarm:
    stood = case.withstands(_stronger("alarm more steps", result), rows, seed=_other_seed(case))
    return Alarm.of("more steps", int((~stood).sum()), len(rows))


def _stronger(name: str, result: RobustnessResult) -> AttackPlan:
    steps = [s for outcome in result.attacks if isinstance(s := outcome.plan.settings.get("steps"), int)]
    return on_twin(name, apgd, steps=min(max(2 * max(steps, default=0), 50), 200))


def _other_seed(case: Case) -> int:
    """Another one than the attacks had: the same start would find the same."""
    return case.stream(2**32 - 1)
