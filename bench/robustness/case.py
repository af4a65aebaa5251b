"""What every part of a robustness evaluation is given: an engine, its twin, images with labels, and a threat model.

The verdict, the alarms, the curves, the distances and the corruptions all ask the same engine about the same images;
what they share is checked here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import DataError, RecipeError
from ...runtime.progress import ProgressCallback, silent
from ..attacks.access import Model, Scores
from ..attacks.catalogue import AttackPlan
from ..attacks.result import AttackResult
from ..attacks.threat.threat_model import ThreatModel
from ..resume import Arrays, ResumeStore
from .criteria import right_answers, withstood

__all__ = ["CandidateCallback", "Case", "forget"]

CandidateCallback = Callable[[AttackPlan, NDArray[np.int64], NDArray[np.uint8], NDArray[np.float32]], None]
"""keep(plan, rows, candidates, logits): the engine gave `logits` [M, K] to `candidates` [M, C, H, W], which `plan` made
of the images `rows` [M], all different."""


def forget(*_: object) -> None:
    """The `CandidateCallback` that keeps nothing."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Case:
    """One engine and the images that it is asked about.

    Attributes:
        engine: uint8 [N, C, H, W] -> logits [N, K]; an `Engine`.
        twin: the engine's differentiable form, float [N, C, H, W] in [0, 1] -> logits [N, K]; a module is attacked on
            the device of its parameters. None where there is none: then only scores can be asked.
        images: uint8 [N, C, H, W], N >= 1.
        labels: int64 [N], the right classes, 0 or more.
        threat: what an attacker may do.
        seed: of everything random, 0 or more.
        batch_size: images at once, 1 or more; with the seed, it fixes the random numbers.
        draws: answers to an image that engine and twin are judged by, 1 where they are not random.
        store: where finished searches are kept, so that an interrupted run goes on; None keeps nothing.
        keep: told of every candidate that the engine is asked about on the way to another figure.
        progress: told after each batch.

    Raises:
        DataError: no images, or images or labels of another type or shape.
        RecipeError: seed or batch size out of range.
    """

    engine: Scores
    twin: Model | None
    images: NDArray[np.uint8] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    threat: ThreatModel
    seed: int = 0
    batch_size: int = 256
    draws: int = 1
    store: ResumeStore | None = None
    keep: CandidateCallback = forget
    progress: ProgressCallback = silent

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        fits = images.dtype == np.uint8 and images.ndim == 4 and labels.shape == (len(images),)
        if not len(images) or not fits or labels.dtype.kind not in "iu" or (labels < 0).any():
            raise DataError(
                "images to evaluate",
                expected="uint8 [N, C, H, W], N >= 1, and labels int64 [N], 0 or more",
                got=f"{images.dtype} {list(images.shape)} and labels {labels.dtype} {list(labels.shape)}",
            )
        if self.seed < 0 or self.batch_size < 1:
            raise RecipeError(
                "settings of an evaluation",
                expected="seed >= 0, batch_size >= 1",
                got=f"seed {self.seed}, batch_size {self.batch_size}",
            )

    @property
    def white_box(self) -> Model:
        """The twin, where a figure cannot do without one.

        Raises:
            RecipeError: there is none.
        """
        if self.twin is None:
            raise RecipeError("no twin to search on", expected="a case with a twin", fix="attack with scores only")
        return self.twin

    @property
    def n(self) -> int:
        """Images in all."""
        return len(self.images)

    def batches(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """The rows, `batch_size` at a time, each batch with the number of rows before it."""
        for start in range(0, len(rows), self.batch_size):
            yield start, rows[start : start + self.batch_size]

    def stream(self, *numbers: int) -> int:
        """A seed of its own for each part of the work: one stream for all would make them one experiment."""
        return int(np.random.SeedSequence([self.seed, *numbers]).generate_state(1)[0])

    def right(self) -> NDArray[np.bool_]:
        """Which images the engine gets right as they are: bool [N]."""
        batches = self.batches(np.arange(self.n))
        return right_answers(np.concatenate([self.engine(self.images[rows]) for _, rows in batches]), self.labels)

    def subset(self, rows: NDArray[np.int64]) -> Case:
        """The case of some images; `keep` is told of them under their numbers here."""

        def keep(
            plan: AttackPlan, some: NDArray[np.int64], candidates: NDArray[np.uint8], logits: NDArray[np.float32]
        ) -> None:
            self.keep(plan, rows[some], candidates, logits)

        return replace(self, images=self.images[rows], labels=self.labels[rows], keep=keep)

    def search(
        self, plan: AttackPlan, model: object, rows: NDArray[np.int64], *, threat: ThreatModel, seed: int
    ) -> AttackResult:
        """What an attack on `model` makes of the images `rows`, from the store if it was found before."""
        given = (model, self.images[rows], self.labels[rows])
        if self.store is None:
            return plan.search(*given, threat=threat, seed=seed, **plan.settings)
        return self.store.search(plan, *given, threat=threat, seed=seed)

    def withstands(
        self, plan: AttackPlan, rows: NDArray[np.int64], *, threat: ThreatModel | None = None, seed: int | None = None
    ) -> NDArray[np.bool_]:
        """Which of the images `rows` withstand an attack on the twin, asked of the engine: bool [len(rows)].

        Args:
            plan: the attack.
            rows: numbers of images, all different; attacked at once.
            threat: instead of the case's.
            seed: instead of the case's.
        """
        if not len(rows):
            return np.zeros(0, bool)
        ball = threat or self.threat
        found = self.search(plan, self.white_box, rows, threat=ball, seed=self.seed if seed is None else seed)
        logits = self.engine(found.adversarial)
        self.keep(plan, rows, found.adversarial, logits)
        return withstood(logits, self.labels[rows], ball)

    def load_or_compute(
        self, what: Mapping[str, object], arrays: Sequence[NDArray[Any]], compute: Callable[[], Arrays]
    ) -> Arrays:
        """The arrays that `compute` returns, from the store if they are there; see `ResumeStore.load_or_compute`."""
        return compute() if self.store is None else self.store.load_or_compute(what, arrays, compute)
