"""The trials of a search in a storage of optuna's, from which any number of processes takes them.

Rule: a trial belongs to the process that holds the lock of its number, so one that was killed is seen at once, and its
trial is given to the next process that asks, with the same values. The sampler's random numbers come from (seed, place
of the trial), so one process makes the same trials whether it was interrupted or not.

TPE with two objectives (Ozaki et al. 2022, Multiobjective tree-structured Parzen estimator): cost down, accuracy up; a
candidate over the budget has a positive constraint.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from ...runtime.errors import InputError
from .process_lock import ProcessLock, holding
from .space import Space

__all__ = ["Outcome", "Taken", "TrialQueue"]

_FINGERPRINT, _FACTS, _FIRST = "fingerprint", "facts", "first"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of a trial.

    Attributes:
        number: the trial's, in the order in which they were taken.
        values: what the sampler chose, see `Space`.
        scale: of the sparsities; see `Space.recipe_of`.
        quantity: what the graph costs, in the budget's unit.
        clean: accuracy on held-out images, in [0, 1]; None where it was not trained.
        robust: the same under PGD-10; None in a standard recipe too.
        excess: above 0 where it is no candidate: over the budget, or it cannot be made.
        reason: why; "" for a candidate.
    """

    number: int
    values: Mapping[str, Any]
    scale: float
    quantity: float
    clean: float | None = None
    robust: float | None = None
    excess: float = 0.0
    reason: str = ""

    @property
    def accuracy(self) -> float:
        """The objective: robust accuracy, or clean accuracy in a standard recipe; 0 for no candidate."""
        return (self.robust if self.robust is not None else self.clean) or 0.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Taken:
    """A trial that this process works on."""

    number: int
    values: Mapping[str, Any]
    trial: optuna.Trial
    lock: ProcessLock


class TrialQueue:
    """The queue of one search.

    Args:
        out: the search's folder, shared by its processes.
        storage: an URL of SQLAlchemy's, or journal:FILE; None for a file in `out`.
        fingerprint: of recipe, budget and space.
        seed: of the sampler.

    Raises:
        InputError: the storage cannot be used, or is another search's.
    """

    def __init__(self, out: Path, storage: str | None, *, fingerprint: str, seed: int) -> None:
        self._out = out
        self._seed = seed
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self._locked():
            try:
                self._study = optuna.create_study(
                    storage=_storage(storage or f"sqlite:///{out / 'trials.db'}"),
                    study_name="search",
                    directions=["minimize", "maximize"],
                    load_if_exists=True,
                )
                found = self._study.user_attrs.get(_FINGERPRINT)
                if found is None:
                    self._study.set_user_attr(_FINGERPRINT, fingerprint)
            except Exception as error:  # whatever a database's driver raises
                raise InputError(
                    "the search's storage cannot be used",
                    got=str(error).splitlines()[0] if str(error) else type(error).__name__,
                    fix="another --storage, or another --out",
                ) from error
        if found not in (None, fingerprint):
            raise InputError(
                f"{out} holds another search",
                expected="one of the same recipe, budget, data and versions",
                fix="choose another --out",
            )

    @property
    def facts(self) -> dict[str, Any] | None:
        """What the first process found out for all of them; None before."""
        text = self._study.user_attrs.get(_FACTS)
        return None if text is None else dict(json.loads(text))

    def begin(self, facts: Mapping[str, Any], first: Sequence[Mapping[str, Any]]) -> None:
        """Store the facts, and the values of the first trials."""
        self._study.set_user_attr(_FIRST, json.dumps(list(first)))
        self._study.set_user_attr(_FACTS, json.dumps(facts))

    def take(self, space: Space, *, target: tuple[float, float], most: int) -> Taken | None:
        """The next trial: one that a killed process left, or a new one; None where `most` are taken already.

        Args:
            space: of the search.
            target: smallest and largest share of the budget that a candidate may use.
            most: trials in all.
        """
        with self._locked():
            counted = [trial for trial in self._trials if trial.state in (TrialState.COMPLETE, TrialState.RUNNING)]
            left = next(
                (trial for trial in counted if trial.state == TrialState.RUNNING and self._is_left(trial)), None
            )
            place = len(counted) - (left is not None)
            if place >= most:
                return None
            first = json.loads(self._study.user_attrs.get(_FIRST, "[]"))
            if left is not None:
                self._study.tell(left.number, state=TrialState.FAIL)
                self._study.enqueue_trial(left.params)
            elif place < len(first):
                self._study.enqueue_trial(first[place])
            seeds = np.random.SeedSequence((self._seed, place))
            self._study.sampler = optuna.samplers.TPESampler(seed=int(seeds.generate_state(1)[0]))
            trial = self._study.ask(_distributions(space, target))
            lock = self._lock(trial.number)
            lock.take()
            return Taken(number=trial.number, values=dict(trial.params), trial=trial, lock=lock)

    def finish(self, taken: Taken, outcome: Outcome) -> None:
        """Store what became of a trial."""
        taken.trial.set_user_attr("outcome", json.dumps(asdict(outcome)))
        taken.trial.set_constraint("excess", outcome.excess)
        with self._locked():  # or another process could take it for left in between
            self._study.tell(taken.trial, [outcome.quantity, outcome.accuracy])
            taken.lock.release()

    def outcomes(self) -> list[Outcome]:
        """All finished trials, by number."""
        return [
            Outcome(**json.loads(trial.user_attrs["outcome"]))
            for trial in self._trials
            if trial.state == TrialState.COMPLETE
        ]

    @property
    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _is_left(self, trial: FrozenTrial) -> bool:
        """Whether the process that worked on a trial is gone."""
        lock = self._lock(trial.number)
        taken = lock.take()
        lock.release()
        return taken

    def _lock(self, number: int) -> ProcessLock:
        return ProcessLock(self._out / "locks" / f"trial-{number}")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        folder = self._out / "locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self._out}: cannot be written", got=error.strerror or str(error)) from None
        with holding(folder / "queue"):
            yield


def _storage(url: str) -> str | optuna.storages.BaseStorage:
    if not url.startswith("journal:"):
        return url
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(url.removeprefix("journal:")))


def _distributions(space: Space, target: tuple[float, float]) -> dict[str, BaseDistribution]:
    return {
        "target": FloatDistribution(*target, log=True),
        **{name: FloatDistribution(*bounds) for name, bounds in space.ranges.items()},
        **{name: CategoricalDistribution(found) for name, found in space.choices.items()},
    }
