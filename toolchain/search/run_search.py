"""A search from the recipe to the front, in one process of several on the same folder.

checks -> the first process: smallest cost, dense network, layer sensitivity -> trials from the queue -> front
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...export.quantization.quantize import quantize
from ...runtime.cpu import cpu_name, instruction_set
from ...runtime.errors import DataError, InputError
from ...runtime.files.atomic import write_whole
from ...runtime.progress import ProgressCallback, silent
from ..pipeline.before_training import check_stages
from ..pipeline.checkpoints import Workspace
from ..pipeline.stages import Dense, Prepared, prepare, train_dense
from ..recipe.recipe import Recipe
from ..recipe.search_space import SEARCHED
from ..train.training_context import NoCheckpoints
from .budget import Budget
from .candidate import Evaluation, shortened
from .find_space import find_space
from .front import pareto_front
from .process_lock import holding
from .quantity import Meter
from .sensitivity import LayerSensitivity, first_values, layer_sensitivity
from .space import Space
from .trial_queue import Outcome, TrialQueue

__all__ = ["SearchResult", "search"]

_LOWEST_TARGET = 0.25
_REFERENCE = "reference.onnx"
_CALIBRATION = 16
"""Images of the reference engine's calibration: its ranges do not matter."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SearchResult:
    """What a search found so far.

    Attributes:
        space: what was searched.
        outcomes: all finished trials, by number.
        front: those on the Pareto front, by ascending cost.
        sensitivity: of the layers, the dense network first.
    """

    space: Space
    outcomes: tuple[Outcome, ...]
    front: tuple[Outcome, ...]
    sensitivity: tuple[LayerSensitivity, ...]

    def recipe(self, place: int) -> Recipe:
        """The recipe of a point of the front, with the whole trainings of the recipe that was searched."""
        point = self.front[place]
        made = self.space.recipe_of(point.values, point.scale)
        return made.model_copy(update={"name": f"{made.name}-{place + 1:02d}"})


def search(
    recipe: Recipe,
    budget: Budget,
    *,
    out: Path,
    trials: int,
    storage: str | None = None,
    progress: ProgressCallback = silent,
) -> SearchResult:
    """Take trials from the queue in `out` until `trials` are taken, and give the front.

    Args:
        recipe: what every candidate shares, and what may change.
        budget: what every point of the front meets.
        out: the search's folder; several processes may work on it, and an interrupted search goes on there.
        trials: in all, 1 or more.
        storage: see `TrialQueue`.
        progress: told how far each stage is.

    Raises:
        InputError: bad recipe, data or model; a budget that no candidate meets; a folder or storage of another search;
            all before any training. Or no trial met the budget.
    """
    prepared = prepare(recipe, Workspace(out / "dense"), progress)
    if not len(prepared.data.heldout):
        raise DataError("a search compares held-out accuracies", expected="data.heldout > 0", got="0")
    short = replace(
        prepared,
        data=replace(prepared.data, train=prepared.data.train.at_most(recipe.search.images, seed=recipe.seed)),
        training=replace(prepared.training, checkpoints=NoCheckpoints()),
    )
    check_stages(shortened(recipe, recipe), short.data)
    integer = quantize(prepared.graph, prepared.data.calibration.images[:_CALIBRATION], scheme=recipe.quantize.scheme)
    space = find_space(recipe, budget, prepared, integer.layers)
    fingerprint = _fingerprint(recipe, budget, prepared)
    queue = TrialQueue(out, storage, fingerprint=fingerprint, seed=recipe.seed)

    def waiting() -> None:
        progress("another process trains the dense network", 0, 1, "waiting")

    with holding(out / "locks" / "dense", waiting):
        first = _First(space, prepared, out, integer.model.SerializeToString(deterministic=True))
        meter, dense, facts = first(queue)
    evaluate = Evaluation(space=space, prepared=short, teacher=dense.teacher, meter=meter)
    while True:
        taken = queue.take(space, target=facts["target"], most=trials)
        if taken is None:
            break
        try:
            outcome = evaluate(taken.number, taken.values)
        except BaseException:
            taken.lock.release()  # the trial is the next one's who asks
            raise
        queue.finish(taken, outcome)
        told = outcome.reason or f"{budget.shown(outcome.quantity)} {budget.key}, {outcome.accuracy:.1%}"
        progress("trials", len(queue.outcomes()), trials, told)
    outcomes = queue.outcomes()
    met = [outcome for outcome in outcomes if not outcome.reason]
    if not met:
        got = outcomes[-1].reason if outcomes else "trials that other processes still work on"
        raise InputError("no trial became a candidate", got=got, fix="more --trials, or a larger --budget")
    front = pareto_front(met, cost=lambda point: point.quantity, accuracy=lambda point: point.accuracy)
    rows = tuple(LayerSensitivity(**row) for row in facts["sensitivity"])
    return SearchResult(space=space, outcomes=tuple(outcomes), front=tuple(front), sensitivity=rows)


@dataclass(frozen=True, slots=True, eq=False)
class _First:
    """What one process does for all, while the others wait; they find its results."""

    space: Space
    prepared: Prepared
    out: Path
    reference: bytes

    def __call__(self, queue: TrialQueue) -> tuple[Meter, Dense, Mapping[str, Any]]:
        facts = queue.facts
        path, recipe = self.out / _REFERENCE, self.space.recipe
        if facts is None:
            write_whole(path, self.reference)
        images = self.prepared.data.calibration.images
        known = None if facts is None else facts["reference_ms"]
        meter = Meter.on(self.space.budget, path.read_bytes(), images, known)
        target = self._target(meter) if facts is None else facts["target"]
        dense = train_dense(recipe, self.prepared)
        if facts is None:
            rows = layer_sensitivity(self.space, self.prepared)
            low, high = target
            facts = {
                "reference_ms": meter.reference_ms,
                "target": target,
                "sensitivity": [row.to_json() for row in rows],
            }
            queue.begin(facts, first_values(self.space, rows, [high, (low * high) ** 0.5]))
        return meter, dense, facts

    def _target(self, meter: Meter) -> tuple[float, float]:
        """Smallest and largest share of the budget that candidates use."""
        space, budget = self.space, self.space.budget
        smallest = min(meter.rehearsed(space.recipe_of(values, scale), self.prepared) for values, scale in _ends(space))
        if smallest > budget.limit:
            raise InputError(
                f"no candidate meets --budget {budget}",
                expected=f"{budget.key}={budget.shown(smallest)} or more, which is all layers at their smallest",
                fix="a larger budget, a larger search.largest_sparsity, or a smaller model",
            )
        dense = meter.rehearsed(space.recipe_of(space.first, 0.0), self.prepared)
        high = min(1.0, max(dense, smallest) / budget.limit)
        return min(high, max(_LOWEST_TARGET, smallest / budget.limit)), high


def _ends(space: Space) -> list[tuple[dict[str, Any], float]]:
    """Every layer at its floor, once for each method where a layer has it; bits at their fewest."""
    ends = []
    for method in SEARCHED:
        if not any(method in knob.floors for knob in space.knobs):
            continue
        values: dict[str, Any] = dict.fromkeys(space.ranges, 1.0)
        for name, found in space.choices.items():
            fewest = found[0] if isinstance(found[0], str) else min(found)
            values[name] = method if method in found else fewest
        ends.append((values, space.largest_scale(values)))
    return ends


def _fingerprint(recipe: Recipe, budget: Budget, prepared: Prepared) -> str:
    """SHA-256 of all that the trials of one search share; latencies are of one kind of processor."""
    processor = [cpu_name(), instruction_set()] if budget.key == "latency_ms" else []
    shared = [recipe.model_dump(mode="json"), str(budget), dict(prepared.marks), processor]
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()
