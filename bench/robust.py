"""The verdict: how many images does no attack break, asked of the engine.

    robust(x)  <=>  engine(x) = y   and   engine(x') = y for every candidate x' of every attack

Candidates are 8-bit images inside the ball, whatever they were searched on: white-box on the twin, with queries on the
engine itself. What breaks the twin and not the engine does not count. An image that is wrong as it is counts as broken
and is not attacked. Every attack's own figure is over all images, so that figures compare; in a sequential run, which
gives the same union in less time, an attack sees only images that withstood those before it, and its figure is what is
left after it. Logits with a NaN are no answer, hence wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from ..runtime.errors import DataError, GateError, RecipeError
from ..runtime.progress import ProgressCallback, silent
from .agreement import Agreement, compare, twin_logits
from .attacks.gradient import Model
from .attacks.square import Scores
from .attacks.threat import ThreatModel
from .measurement import Measurement, Setting, share
from .presets import AttackPlan

__all__ = ["AttackOutcome", "RobustnessResult", "evaluate_robustness", "right_answers"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackOutcome:
    """What one attack did to the engine.

    Attributes:
        plan: the attack.
        n: images in all.
        attacked: images that were attacked: those that were right, or in a sequential run right and unbroken so far.
        broken: of these, the images whose candidate the engine gets wrong.
        robust: images that are right and that this attack did not break; in a sequential run, nor any before it.
        remaining_only: whether this was a sequential run.
        agreement: engine and twin on the candidates; None where there is no twin.
        seconds: wall-clock time of the search.
        evaluations: images passed through the twin or the engine by the search.
    """

    plan: AttackPlan
    n: int
    attacked: int
    broken: int
    robust: int
    remaining_only: bool
    agreement: Agreement | None
    seconds: float
    evaluations: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RobustnessResult:
    """The verdict on n images.

    Attributes:
        threat: the ball.
        seed: of everything random in the attacks.
        batch_size: images that were attacked at once; with the seed, it fixes the random numbers.
        clean: images that the engine gets right as they are.
        attacks: in the order they ran.
        robust: bool [N], which images withstood everything.
        adversarial: uint8 [N, C, H, W]: for each image that is not robust, the first candidate that the engine gets
            wrong (the image itself where that is wrong); for the others the image itself.
        queries_only: images that the engine's own scores broke and no white-box attack did. Many of them say that the
            gradients mislead (Athalye et al. 2018, arXiv:1802.00420). None in a sequential run, or without both kinds.
    """

    threat: ThreatModel
    seed: int
    batch_size: int
    clean: int
    attacks: tuple[AttackOutcome, ...]
    robust: NDArray[np.bool_] = field(repr=False)
    adversarial: NDArray[np.uint8] = field(repr=False)
    queries_only: int | None

    @property
    def n(self) -> int:
        """Images in all."""
        return len(self.robust)

    def measurements(self) -> tuple[Measurement, ...]:
        """The figure of each attack, then of the union; `queries_only`; twin against engine on the candidates."""
        shared: dict[str, Setting] = {"threat": str(self.threat), "seed": self.seed, "batch_size": self.batch_size}
        found = []
        for outcome in self.attacks:
            plan = outcome.plan
            settings: dict[str, Setting] = {
                **shared,
                **plan.settings,
                "attack": plan.name,
                "target": plan.target,
                "attacked": outcome.attacked,
                "broken": outcome.broken,
                "remaining_only": outcome.remaining_only,
                "seconds": outcome.seconds,
                "evaluations": outcome.evaluations,
            }
            found.append(share("robust-accuracy", outcome.robust, self.n, **settings))
        names = " + ".join(outcome.plan.name for outcome in self.attacks)
        seconds = sum(outcome.seconds for outcome in self.attacks)
        union: dict[str, Setting] = {**shared, "attack": "union", "of": names, "clean": self.clean, "seconds": seconds}
        found.append(share("robust-accuracy", int(self.robust.sum()), self.n, **union))
        if self.queries_only is not None:
            found.append(share("broken-by-queries-only", self.queries_only, self.n, **shared))
        found += [
            outcome.agreement.measurement(outcome.plan.name, threat=str(self.threat))
            for outcome in self.attacks
            if outcome.agreement is not None
        ]
        return tuple(found)


def right_answers(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows of logits [N, K] are largest at the label [N] and hold no NaN: bool [N]."""
    right: NDArray[np.bool_] = (logits.argmax(1) == labels) & ~np.isnan(logits).any(1)
    return right


def evaluate_robustness(
    engine: Scores,
    twin: Model | None,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    threat: ThreatModel,
    attacks: Sequence[AttackPlan],
    seed: int,
    sequential: bool = False,
    batch_size: int = 256,
    progress: ProgressCallback = silent,
) -> RobustnessResult:
    """Attack, replay on the engine, count.

    Args:
        engine: uint8 [N, C, H, W] -> logits [N, K]; an `Engine`.
        twin: its differentiable form, float [N, C, H, W] in [0, 1] -> logits [N, K]; None where there is none, and then
            every attack must be on the engine.
        images: uint8 [N, C, H, W], N >= 1.
        labels: int64 [N].
        threat: the ball.
        attacks: one or more, names all different.
        seed: 0 or more.
        sequential: see the module's rule.
        batch_size: images attacked at once, 1 or more.
        progress: told after each batch; the task is the attack's name.

    Raises:
        RecipeError: settings that contradict each other or are out of range.
        DataError: no images, or labels that do not match them.
        GateError: an attack handed back images outside the ball.
    """
    _check(twin, images, labels, attacks, seed=seed, batch_size=batch_size)
    clean = right_answers(_in_pieces(engine, images, batch_size), labels)
    robust = clean.copy()
    adversarial = images.copy()
    outcomes = []
    broken_by: dict[str, NDArray[np.bool_]] = {target: np.zeros(len(images), bool) for target in ("twin", "engine")}
    for plan in attacks:
        where = np.flatnonzero(robust if sequential else clean)
        broken = np.zeros(len(images), bool)
        agreements, seconds, evaluations = [], 0.0, 0
        for start in range(0, len(where), batch_size):
            piece = where[start : start + batch_size]
            found = plan.search(
                twin if plan.target == "twin" else engine,
                images[piece],
                labels[piece],
                threat=threat,
                # One stream a batch: the same noise for every batch would make them one experiment.
                seed=int(np.random.SeedSequence([seed, start]).generate_state(1)[0]),
                **plan.settings,
            )
            _refuse_outside(plan, threat, found.adversarial, images[piece])
            logits = engine(found.adversarial)
            broken[piece] = ~right_answers(logits, labels[piece])
            if twin is not None:
                agreements.append(compare(logits, twin_logits(twin, found.adversarial)))
            seconds, evaluations = seconds + found.seconds, evaluations + found.evaluations
            first = broken[piece] & robust[piece]
            adversarial[piece[first]] = found.adversarial[first]
            robust[piece[first]] = False
            done = start + len(piece)
            progress(plan.name, done, len(where), f"{int(broken.sum())} of {done} images broken")
        broken_by[plan.target] |= broken
        outcomes.append(
            AttackOutcome(
                plan=plan,
                n=len(images),
                attacked=len(where),
                broken=int(broken.sum()),
                robust=int((robust if sequential else clean & ~broken).sum()),
                remaining_only=sequential,
                agreement=None if twin is None else Agreement.total(agreements),
                seconds=seconds,
                evaluations=evaluations,
            )
        )
    both_kinds = {plan.target for plan in attacks} == {"twin", "engine"}
    return RobustnessResult(
        threat=threat,
        seed=seed,
        batch_size=batch_size,
        clean=int(clean.sum()),
        attacks=tuple(outcomes),
        robust=robust,
        adversarial=adversarial,
        queries_only=int((broken_by["engine"] & ~broken_by["twin"]).sum()) if both_kinds and not sequential else None,
    )


def _refuse_outside(
    plan: AttackPlan, threat: ThreatModel, adversarial: NDArray[np.uint8], images: NDArray[np.uint8]
) -> None:
    inside = threat.contains(torch.from_numpy(adversarial), torch.from_numpy(images))
    if not inside.all():
        raise GateError(
            f"{plan.name} left the threat model {threat}",
            expected="every candidate inside the ball",
            got=f"{int((~inside).sum())} of {len(images)} outside",
        )


def _in_pieces(engine: Scores, images: NDArray[np.uint8], batch_size: int) -> NDArray[np.float32]:
    return np.concatenate([engine(images[start : start + batch_size]) for start in range(0, len(images), batch_size)])


def _check(
    twin: Model | None,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    attacks: Sequence[AttackPlan],
    *,
    seed: int,
    batch_size: int,
) -> None:
    names = [plan.name for plan in attacks]
    if not names or len(set(names)) < len(names) or seed < 0 or batch_size < 1:
        raise RecipeError(
            "evaluate_robustness",
            expected="attacks with different names, seed >= 0, batch_size >= 1",
            got=f"attacks {', '.join(names) or 'none'}, seed {seed}, batch_size {batch_size}",
        )
    if twin is None and (white := [plan.name for plan in attacks if plan.target == "twin"]):
        raise RecipeError(
            f"no twin to search on for {', '.join(white)}",
            expected="a twin",
            fix="attack with scores only: square",
        )
    if not len(images) or images.dtype != np.uint8 or images.ndim != 4 or labels.shape != (len(images),):
        raise DataError(
            "images to attack",
            expected="uint8 [N, C, H, W], N >= 1, and labels [N]",
            got=f"{images.dtype} {list(images.shape)} and labels {list(labels.shape)}",
        )
