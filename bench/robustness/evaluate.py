"""The verdict: how many images does no attack break, asked of the engine.

    robust(x)  <=>  engine(x) = y   and   engine(x') = y for every candidate x' of every attack

Candidates are 8-bit images inside the ball, whatever they were searched on: white-box on the twin, on another model, or
with queries on the engine itself. A candidate that breaks the twin and not the engine does not count, but is counted.
An image that the engine gets wrong as it is counts as broken and is not attacked. Each attack's own figure is over all
images, so that figures compare. A sequential run gives the same union in less time: an attack sees only images that
withstood those before it, and its figure is what is left after it. There, attacks on the twin come first, so that what
only other attacks break is what gradients missed. What counts as right and as broken is in `criteria.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import DataError, GateError, RecipeError
from ..attacks.access import Model
from ..attacks.catalogue import AttackPlan
from .agreement import Agreement, compare, twin_logits
from .case import Case
from .criteria import withstood
from .verdict import AttackOutcome, Candidates, RobustnessResult

__all__ = ["evaluate_robustness"]


def evaluate_robustness(
    case: Case, attacks: Sequence[AttackPlan], *, others: Mapping[str, Model] | None = None, sequential: bool = False
) -> RobustnessResult:
    """Attack, replay on the engine, count.

    Args:
        case: what is attacked; against a targeted threat model, no label is the target. Progress is told after each
            batch; the task is the attack's name.
        attacks: one or more, names all different; none on the twin where there is no twin.
        others: other differentiable models to make candidates on, by `AttackPlan.target`; none is called "engine" or
            "twin".
        sequential: see the module's rule.

    Raises:
        RecipeError: attacks that contradict each other or the case.
        DataError: images of the target class.
        GateError: an attack handed back images outside the ball.
    """
    models: dict[str, object] = (
        {"engine": case.engine} if case.twin is None else {"engine": case.engine, "twin": case.twin}
    )
    if taken := {"engine", "twin"} & set(others or {}):
        raise RecipeError(f"a model for transfer called {' and '.join(sorted(taken))}", expected="another name")
    models |= others or {}
    _check(case, attacks, models)
    right = case.right()
    robust = right.copy()
    outcomes = []
    for plan in sorted(attacks, key=lambda plan: plan.target != "twin") if sequential else attacks:
        rows = np.flatnonzero(robust if sequential else right)
        outcome = _attack(case, plan, models[plan.target], rows, sequential=sequential)
        robust[outcome.candidates.rows[outcome.candidates.on_engine]] = False
        outcomes.append(outcome)
    return RobustnessResult(
        threat=case.threat,
        seed=case.seed,
        batch_size=case.batch_size,
        draws=case.draws,
        right=right,
        attacks=tuple(outcomes),
        robust=robust,
        adversarial=_first_of(outcomes, case.images),
    )


def _attack(case: Case, plan: AttackPlan, model: object, rows: NDArray[np.int64], *, sequential: bool) -> AttackOutcome:
    """Search on the images `rows`, a batch at a time, and replay each batch on the engine."""
    found, agreements, seconds, evaluations, broken = [], [], 0.0, 0, 0
    for start, batch in case.batches(rows):
        result = case.search(plan, model, batch, threat=case.threat, seed=case.stream(start))
        _refuse_outside(case, plan, result.adversarial, batch)
        candidates, agreement = _replay(case, result.adversarial, batch)
        found.append(candidates)
        agreements += [] if agreement is None else [agreement]
        seconds, evaluations = seconds + result.seconds, evaluations + result.evaluations
        broken += int(candidates.on_engine.sum())
        done = start + len(batch)
        case.progress(plan.name, done, len(rows), f"{broken} of {done} images broken")
    return AttackOutcome(
        plan=plan,
        n=case.n,
        attacked=len(rows),
        broken=broken,
        robust=len(rows) - broken,
        remaining_only=sequential,
        agreement=None if case.twin is None else Agreement.total(agreements),
        candidates=_joined(case, found),
        seconds=seconds,
        evaluations=evaluations,
    )


def _replay(case: Case, adversarial: NDArray[np.uint8], rows: NDArray[np.int64]) -> tuple[Candidates, Agreement | None]:
    """The candidates that break the engine or its twin, and how far the two agree on all of them."""
    logits, labels = case.engine(adversarial), case.labels[rows]
    engine = ~withstood(logits, labels, case.threat)
    if case.twin is None:
        broken = Candidates(rows=rows[engine], images=adversarial[engine], on_engine=engine[engine], on_twin=None)
        return broken, None
    other = twin_logits(case.twin, adversarial)
    twin = ~withstood(other, labels, case.threat)
    kept = engine | twin
    candidates = Candidates(rows=rows[kept], images=adversarial[kept], on_engine=engine[kept], on_twin=twin[kept])
    return candidates, compare(logits, other)


def _joined(case: Case, parts: Sequence[Candidates]) -> Candidates:
    """All batches together; without a batch, no candidates."""
    return Candidates(
        rows=np.concatenate([np.zeros(0, np.int64), *(part.rows for part in parts)]),
        images=np.concatenate([case.images[:0], *(part.images for part in parts)]),
        on_engine=np.concatenate([np.zeros(0, bool), *(part.on_engine for part in parts)]),
        on_twin=None
        if case.twin is None
        else np.concatenate([np.zeros(0, bool), *(part.on_twin for part in parts if part.on_twin is not None)]),
    )


def _refuse_outside(case: Case, plan: AttackPlan, adversarial: NDArray[np.uint8], rows: NDArray[np.int64]) -> None:
    inside = case.threat.contains(adversarial, case.images[rows])
    if not inside.all():
        raise GateError(
            f"{plan.name} left the threat model {case.threat}",
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


def _check(case: Case, attacks: Sequence[AttackPlan], models: Mapping[str, object]) -> None:
    names = [plan.name for plan in attacks]
    if not names or len(set(names)) < len(names):
        got = ", ".join(names) or "none"
        raise RecipeError("evaluate_robustness", expected="attacks, one or more with different names", got=got)
    for plan in attacks:
        if plan.target not in models:
            raise RecipeError(
                f"no {plan.target} to search on for {plan.name}",
                expected=f"an attack on {' or '.join(models)}",
                fix="attack with scores only: square",
            )
    target = case.threat.target
    if target is not None and (case.labels == target).any():
        raise DataError(f"images of the target class {target}", expected="images of other classes")
