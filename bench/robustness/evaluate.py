"""The verdict: how many images does no attack break, asked of the engine.

    robust(x)  <=>  engine(x) = y   and   engine(x') = y for every candidate x' of every attack

Candidates are 8-bit images inside the ball, whatever they were searched on: white-box on the twin, on another model, or
with queries on the engine itself. What breaks the twin and not the engine does not count, but is counted. An image that
is wrong as it is counts as broken and is not attacked. Every attack's own figure is over all images, so that figures
compare; in a sequential run, which gives the same union in less time, an attack sees only images that withstood those
before it, and its figure is what is left after it. There those on the twin come first, so that what only others break
is what gradients missed. Logits with a NaN are no answer, hence wrong. Against a targeted threat model engine(x') may
be anything but the target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import DataError, GateError, RecipeError
from ...runtime.progress import ProgressCallback, silent
from ..attacks.access import Model, Scores
from ..attacks.catalogue import AttackPlan
from ..attacks.threat.threat_model import ThreatModel
from ..resume import Pieces, searching
from .agreement import Agreement, compare, twin_logits
from .criteria import right_answers, withstood
from .verdict import AttackOutcome, Candidates, RobustnessResult

__all__ = ["evaluate_robustness"]


def evaluate_robustness(
    engine: Scores,
    twin: Model | None,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    threat: ThreatModel,
    attacks: Sequence[AttackPlan],
    seed: int,
    others: Mapping[str, Model] | None = None,
    sequential: bool = False,
    batch_size: int = 256,
    pieces: Pieces | None = None,
    progress: ProgressCallback = silent,
) -> RobustnessResult:
    """Attack, replay on the engine, count.

    Args:
        engine: uint8 [N, C, H, W] -> logits [N, K]; an `Engine`.
        twin: its differentiable form, float [N, C, H, W] in [0, 1] -> logits [N, K]; None where there is none, and then
            no attack may be on it.
        images: uint8 [N, C, H, W], N >= 1.
        labels: int64 [N]; against a targeted threat model, none is the target.
        threat: the ball.
        attacks: one or more, names all different.
        seed: 0 or more.
        others: differentiable models that attacks are made on besides, by `AttackPlan.target`; none is called "engine"
            or "twin".
        sequential: see the module's rule.
        batch_size: images attacked at once, 1 or more.
        pieces: where finished searches are kept, so that an interrupted run goes on.
        progress: told after each batch; the task is the attack's name.

    Raises:
        RecipeError: settings that contradict each other or are out of range.
        DataError: no images, or labels that do not match them.
        GateError: an attack handed back images outside the ball.
    """
    models: dict[str, object] = {"engine": engine} if twin is None else {"engine": engine, "twin": twin}
    if taken := {"engine", "twin"} & set(others or {}):
        raise RecipeError(f"a model for transfer called {' and '.join(sorted(taken))}", expected="another name")
    models |= others or {}
    _check(models, images, labels, attacks, threat=threat, seed=seed, batch_size=batch_size)
    starts = range(0, len(images), batch_size)
    right = right_answers(np.concatenate([engine(images[i : i + batch_size]) for i in starts]), labels)
    robust = right.copy()
    court = _Court(engine, twin, models, images, labels, threat, seed, batch_size, pieces, progress)
    outcomes = []
    for plan in sorted(attacks, key=lambda plan: plan.target != "twin") if sequential else attacks:
        where = np.flatnonzero(robust if sequential else right)
        trial = court.attack(plan, where)
        broken = trial.candidates.rows[trial.candidates.on_engine]
        robust[broken] = False
        outcomes.append(
            AttackOutcome(
                plan=plan,
                n=len(images),
                attacked=len(where),
                broken=len(broken),
                robust=int(robust.sum()) if sequential else int(right.sum()) - len(broken),
                remaining_only=sequential,
                agreement=trial.agreement,
                candidates=trial.candidates,
                seconds=trial.seconds,
                evaluations=trial.evaluations,
            )
        )
    return RobustnessResult(
        threat=threat,
        seed=seed,
        batch_size=batch_size,
        right=right,
        attacks=tuple(outcomes),
        robust=robust,
        adversarial=_first_of(outcomes, images),
    )


@dataclass(frozen=True, slots=True)
class _Trial:
    """One attack on the images it was shown."""

    candidates: Candidates
    agreement: Agreement | None
    seconds: float
    evaluations: int


@dataclass(frozen=True, slots=True)
class _Court:
    """What every attack of a run shares."""

    engine: Scores
    twin: Model | None
    models: Mapping[str, object]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    threat: ThreatModel
    seed: int
    batch_size: int
    pieces: Pieces | None
    progress: ProgressCallback

    def attack(self, plan: AttackPlan, where: NDArray[np.int64]) -> _Trial:
        """Search on the images `where`, a batch at a time, and replay."""
        search = searching(plan, self.pieces)
        found, agreements, seconds, evaluations, broken = [], [], 0.0, 0, 0
        for start in range(0, len(where), self.batch_size):
            rows = where[start : start + self.batch_size]
            result = search(
                self.models[plan.target],
                self.images[rows],
                self.labels[rows],
                threat=self.threat,
                # One stream a batch: the same noise for every batch would make them one experiment.
                seed=int(np.random.SeedSequence([self.seed, start]).generate_state(1)[0]),
            )
            self._refuse_outside(plan, result.adversarial, rows)
            candidates, agreement = self._replay(result.adversarial, rows)
            found.append(candidates)
            agreements += [] if agreement is None else [agreement]
            seconds, evaluations = seconds + result.seconds, evaluations + result.evaluations
            broken += int(candidates.on_engine.sum())
            done = start + len(rows)
            self.progress(plan.name, done, len(where), f"{broken} of {done} images broken")
        total = None if self.twin is None else Agreement.total(agreements)
        return _Trial(self._joined(found), total, seconds, evaluations)

    def _replay(self, adversarial: NDArray[np.uint8], rows: NDArray[np.int64]) -> tuple[Candidates, Agreement | None]:
        logits, labels = self.engine(adversarial), self.labels[rows]
        engine = ~withstood(logits, labels, self.threat)
        if self.twin is None:
            return Candidates(
                rows=rows[engine], images=adversarial[engine], on_engine=engine[engine], on_twin=None
            ), None
        other = twin_logits(self.twin, adversarial)
        twin = ~withstood(other, labels, self.threat)
        kept = engine | twin
        candidates = Candidates(rows=rows[kept], images=adversarial[kept], on_engine=engine[kept], on_twin=twin[kept])
        return candidates, compare(logits, other)

    def _joined(self, parts: Sequence[Candidates]) -> Candidates:
        """All batches together; of no batch, nothing."""
        return Candidates(
            rows=np.concatenate([np.zeros(0, np.int64), *(part.rows for part in parts)]),
            images=np.concatenate([self.images[:0], *(part.images for part in parts)]),
            on_engine=np.concatenate([np.zeros(0, bool), *(part.on_engine for part in parts)]),
            on_twin=None
            if self.twin is None
            else np.concatenate([np.zeros(0, bool), *(part.on_twin for part in parts if part.on_twin is not None)]),
        )

    def _refuse_outside(self, plan: AttackPlan, adversarial: NDArray[np.uint8], rows: NDArray[np.int64]) -> None:
        inside = self.threat.contains(adversarial, self.images[rows])
        if not inside.all():
            raise GateError(
                f"{plan.name} left the threat model {self.threat}",
                expected="every candidate inside the ball",
                got=f"{int((~inside).sum())} of {len(rows)} outside",
            )


def _first_of(outcomes: Sequence[AttackOutcome], images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """For each image the candidate of the first attack that broke the engine, else the image."""
    adversarial: NDArray[np.uint8] = images.copy()
    for outcome in reversed(outcomes):
        found = outcome.candidates
        adversarial[found.rows[found.on_engine]] = found.images[found.on_engine]
    return adversarial


def _check(
    models: Mapping[str, object],
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    attacks: Sequence[AttackPlan],
    *,
    threat: ThreatModel,
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
    for plan in attacks:
        if plan.target not in models:
            raise RecipeError(
                f"no {plan.target} to search on for {plan.name}",
                expected=f"an attack on {' or '.join(models)}",
                fix="attack with scores only: square",
            )
    if not len(images) or images.dtype != np.uint8 or images.ndim != 4 or labels.shape != (len(images),):
        raise DataError(
            "images to attack",
            expected="uint8 [N, C, H, W], N >= 1, and labels [N]",
            got=f"{images.dtype} {list(images.shape)} and labels {list(labels.shape)}",
        )
    if threat.target is not None and (labels == threat.target).any():
        raise DataError(f"images of the target class {threat.target}", expected="images of other classes")
