"""Signs that a robust accuracy is not robustness: gradients that mislead, attacks that did not converge, noise.

After Athalye et al. 2018 (arXiv:1802.00420, section 3.1), Carlini et al. 2019 (arXiv:1902.06705, section 3) and the
checks of AutoAttack (Croce & Hein 2020, arXiv:2003.01690). Each is a share of images, k of n, with a threshold:

    without gradients  queries or transfer break images that no attack on the twin broke, nor APGD with twice the steps,
                       nor MultiTargeted, which is exact where the network is linear
    flat loss          a step of epsilon / 2 along the gradient raises the loss no more than the best of 5 random ones
    zero gradient      the gradient of the cross-entropy is zero everywhere, or not finite
    large epsilon      images that withstand APGD in a ball which holds a picture of nothing (linf 0.5, or as large)
    more steps         APGD from another random start with twice the steps breaks images that had withstood everything
    random             the engine gives other logits to the same images when it is asked again
    twin differs       candidates that break one of twin and engine only: another network than the engine was attacked

An alarm is raised where the lower end of the 95 % Wilson interval of k / n is above the threshold, and by two images at
least where that is not 0. A sound network may stay below it by chance, hardly above. What has no gradient is checked
for "random" alone. Candidates of these searches that lie in the threat model's ball are handed to `keep` (`finds.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...runtime.progress import ProgressCallback, silent
from ..attacks.access import Model, Scores
from ..attacks.catalogue import AttackPlan, on_twin
from ..attacks.losses import ce, rivals
from ..attacks.threat.geometry import ball_of
from ..attacks.threat.threat_model import ThreatModel
from ..attacks.white_box.apgd import apgd
from ..attacks.white_box.gradient import device_of, frozen, logits_and_gradient, logits_of
from ..attacks.white_box.multi_targeted import multi_targeted
from ..measurement import Measurement, Setting, Skip, share, wilson
from ..resume import Pieces, searching
from .criteria import withstood
from .incidental import Keep, forget
from .radii import large_threat
from .verdict import RobustnessResult

__all__ = ["Alarm", "Checks", "look_for_alarms"]

_IMAGES = 128
"""Images that are looked at, at most, where that costs passes."""

_SURVIVORS = 10
"""Fewer say nothing about whether attacks had converged."""

_BATCH = 128
_RANDOM_STEPS = 5

_SAYS = {
    "without gradients": "attacks without gradients break what white-box attacks missed, also stronger ones: the "
    "gradients mislead",
    "flat loss": "the loss is flat along its gradient: attacks that follow it search in the dark",
    "zero gradient": "the gradient is zero or not finite: attacks that follow it do not move",
    "large epsilon": "images withstand a ball in which nothing can be told apart: the attack does not work here",
    "more steps": "more steps from another start break more: these attacks had not converged, stronger ones leave less",
    "random": "the engine is random: one answer to a candidate proves nothing",
    "twin differs": "twin and engine are not one network: white-box attacks were made on another one",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """One check.

    Attributes:
        name: see the module's list.
        count: images with the sign, 0 to n.
        n: images that were looked at, 1 or more.
        threshold: share of n up to which nothing is wrong.
    """

    name: str
    count: int
    n: int
    threshold: float

    @property
    def raised(self) -> bool:
        """Whether more than chance lies above the threshold; one image is chance, save where there is none (0)."""
        return self.count >= (2 if self.threshold else 1) and wilson(self.count, self.n)[0] > self.threshold

    @property
    def says(self) -> str:
        """What the sign means, in a sentence."""
        return _SAYS[self.name]

    def measurement(self, **settings: Setting) -> Measurement:
        """The share in per cent, as "alarm"."""
        about: dict[str, Setting] = {"alarm": self.name, "raised": self.raised, "threshold": 100 * self.threshold}
        return share("alarm", self.count, self.n, **settings, **about, says=self.says)


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


def look_for_alarms(
    result: RobustnessResult,
    engine: Scores,
    twin: Model | None,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    pieces: Pieces | None = None,
    keep: Keep = forget,
    progress: ProgressCallback = silent,
) -> Checks:
    """Make every check that the verdict and the models allow.

    Args:
        result: the verdict on these images.
        engine, twin, images, labels: as for `evaluate_robustness`.
        pieces: as for `evaluate_robustness`.
        keep: told of every candidate that the engine was asked about.
        progress: told after each check.
    """
    chosen = _draw(result.right, result.seed)
    found = [_random(engine, images[chosen])] if len(chosen) else []
    found += _twin_differs(result)
    skipped: list[Skip] = []
    if twin is None:
        return Checks(alarms=tuple(found), skipped=())
    after = _After(engine, twin, images, labels, pieces, keep)
    survivors = _draw(result.robust, result.seed)
    checks: list[Callable[[], Alarm | None]] = [
        partial(_without_gradients, after, result),
        partial(_zero_gradient, twin, images[chosen], labels[chosen]),
        partial(_flat_loss, twin, images[chosen], labels[chosen], result),
        partial(_large_epsilon, after, chosen, result),
    ]
    if len(survivors) >= _SURVIVORS:
        checks.append(partial(_more_steps, after, survivors, result))
    else:
        reason = f"{len(survivors)} images withstood everything, and fewer than {_SURVIVORS} say nothing"
        skipped.append(Skip(what="alarm more steps", reason=reason))
    for index, check in enumerate(checks):
        found += [alarm for alarm in [check()] if alarm is not None and alarm.n]
        progress("alarms", index + 1, len(checks), "")
    return Checks(alarms=tuple(found), skipped=tuple(skipped))


def _draw(mask: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """At most `_IMAGES` of those that the mask holds."""
    where = np.flatnonzero(mask)
    if len(where) <= _IMAGES:
        return where
    return np.sort(np.random.default_rng(seed).choice(where, _IMAGES, replace=False))


def _twin_differs(result: RobustnessResult) -> list[Alarm]:
    attacked = sum(outcome.attacked for outcome in result.attacks)
    only = [(outcome.broken_twin_only, outcome.broken_engine_only) for outcome in result.attacks]
    if not attacked or (None, None) in only:
        return []
    count = sum((twin or 0) + (engine or 0) for twin, engine in only)
    return [Alarm(name="twin differs", count=count, n=attacked, threshold=0.01)]


def _random(engine: Scores, images: NDArray[np.uint8]) -> Alarm:
    differs = (engine(images) != engine(images)).any(1)
    return Alarm(name="random", count=int(differs.sum()), n=len(images), threshold=0.0)


def _tensors(model: Model, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    device = device_of(model)
    return torch.from_numpy(images).to(device).float() / 255, torch.from_numpy(labels).to(device)


def _zero_gradient(twin: Model, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Alarm:
    x, y = _tensors(twin, images, labels)
    count = 0
    if len(x):
        with frozen(twin):
            grad = logits_and_gradient(twin, x, (y,), ce, _BATCH)[2].flatten(1)
        count = int(((grad == 0).all(1) | ~grad.isfinite().all(1)).sum())
    return Alarm(name="zero gradient", count=count, n=len(images), threshold=0.05)


def _flat_loss(twin: Model, images: NDArray[np.uint8], labels: NDArray[np.int64], result: RobustnessResult) -> Alarm:
    """What is compared rises with the cross-entropy, but is not rounded to zero where the network is sure."""
    x, y = _tensors(twin, images, labels)
    threat, generator = replace(result.threat, target=None), torch.Generator().manual_seed(result.seed)
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
    # Rounding to integers alone makes it 5 to 10 % on INT8 networks that no attack finds anything wrong with.
    return Alarm(name="flat loss", count=count, n=len(images), threshold=0.25)


def _rivalry(logits: Tensor, y: Tensor) -> Tensor:
    """log sum_{k != y} exp z_k - z_y, float64 [N]; the cross-entropy is log(1 + exp of it)."""
    wide = logits.double()
    return rivals(wide, y).logsumexp(1) - wide.gather(1, y.unsqueeze(1)).squeeze(1)


@dataclass(frozen=True, slots=True, eq=False)
class _After:
    """Attacks on the twin, whose candidates are asked of the engine."""

    engine: Scores
    twin: Model
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    pieces: Pieces | None
    keep: Keep

    def stood(self, plan: AttackPlan, rows: NDArray[np.int64], threat: ThreatModel, seed: int) -> NDArray[np.bool_]:
        """Which of the images `rows` withstand an attack."""
        if not len(rows):
            return np.zeros(0, bool)
        search = searching(plan, self.pieces)
        found = search(self.twin, self.images[rows], self.labels[rows], threat=threat, seed=seed)
        logits = self.engine(found.adversarial)
        self.keep(plan, rows, found.adversarial, logits)
        return withstood(logits, self.labels[rows], threat)


def _without_gradients(after: _After, result: RobustnessResult) -> Alarm | None:
    white = result.white_box
    if white is None or (result.queries_only, result.transfer_only) == (None, None) or not result.clean:
        return None
    missed = np.flatnonzero(result.right & ~white & ~result.robust)
    # A weak attack misses much: what a stronger one finds along the gradients is not their fault.
    threat, plans = result.threat, [_stronger("alarm without gradients", result)]
    if threat.target is None:
        name = "alarm without gradients, multi-targeted"
        plans.append(on_twin(name, multi_targeted, steps=50, step_size=threat.epsilon / 10, targets=9))
    for plan in plans:
        missed = missed[after.stood(plan, missed, threat, _other_seed(result))]
    return Alarm(name="without gradients", count=len(missed), n=result.clean, threshold=0.01)


def _large_epsilon(after: _After, rows: NDArray[np.int64], result: RobustnessResult) -> Alarm:
    threat = replace(large_threat(result.threat, after.images.shape[1:]), target=None)
    stood = after.stood(on_twin("alarm large epsilon", apgd, steps=50), rows, threat, result.seed)
    return Alarm(name="large epsilon", count=int(stood.sum()), n=len(rows), threshold=0.05)


def _more_steps(after: _After, rows: NDArray[np.int64], result: RobustnessResult) -> Alarm:
    stood = after.stood(_stronger("alarm more steps", result), rows, result.threat, _other_seed(result))
    return Alarm(name="more steps", count=int((~stood).sum()), n=len(rows), threshold=0.05)


def _stronger(name: str, result: RobustnessResult) -> AttackPlan:
    steps = [s for outcome in result.attacks if isinstance(s := outcome.plan.settings.get("steps"), int)]
    return on_twin(name, apgd, steps=min(max(2 * max(steps, default=0), 50), 200))


def _other_seed(result: RobustnessResult) -> int:
    """Another one than the attacks had: the same start would find the same."""
    return int(np.random.SeedSequence([result.seed, 2**32 - 1]).generate_state(1)[0])
