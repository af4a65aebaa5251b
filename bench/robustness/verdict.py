"""What a verdict says: which images withstood everything, what each attack did, and the candidates that did it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..attacks.catalogue import AttackPlan
from ..attacks.threat.threat_model import ThreatModel
from ..data.dataset import Part
from ..measurement import Measurement, Setting, measured, share
from .agreement import Agreement
from .archive import Archive
from .doubt import standing, withheld

__all__ = ["AttackOutcome", "Candidates", "RobustnessResult"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Candidates:
    """What one attack found: M images that broke the engine or the twin.

    Attributes:
        rows: int64 [M], which of the attacked images they were made of.
        images: uint8 [M, C, H, W].
        on_engine: bool [M], whether the engine is broken.
        on_twin: bool [M], whether the twin is; None where there is none.
    """

    rows: NDArray[np.int64]
    images: NDArray[np.uint8]
    on_engine: NDArray[np.bool_]
    on_twin: NDArray[np.bool_] | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AttackOutcome:
    """What one attack did to the engine.

    Attributes:
        plan: the attack.
        n: images in all.
        attacked: images that were attacked: those that were right, or where only remaining ones are, right and unbroken
            so far.
        broken: of these, the images whose candidate breaks the engine.
        robust: images that are right and that this attack did not break; where only remaining ones are attacked, nor
            any before it.
        remaining_only: whether it saw only images that withstood everything before: so in a sequential run, and where
            its candidates are incidental (`incidental.py`).
        agreement: engine and twin on the candidates; None where there is no twin, or the candidates are incidental.
        candidates: what it found.
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
    candidates: Candidates = field(repr=False)
    seconds: float
    evaluations: int

    @property
    def broken_twin_only(self) -> int | None:
        """Candidates that break the twin and not the engine; None where there is no twin."""
        found = self.candidates
        return None if found.on_twin is None else int((found.on_twin & ~found.on_engine).sum())

    @property
    def broken_engine_only(self) -> int | None:
        """Candidates that break the engine and not the twin; None where there is no twin."""
        found = self.candidates
        return None if found.on_twin is None else int((found.on_engine & ~found.on_twin).sum())

    def measurement(self, **shared: Setting) -> Measurement:
        """Its figure, as "robust-accuracy"; `shared` says what it is worth ("standing")."""
        agreement = self.agreement
        settings: dict[str, Setting] = {
            **shared,
            **self.plan.settings,
            "attack": self.plan.name,
            "target": self.plan.target,
            "attacked": self.attacked,
            "broken": self.broken,
            "broken_twin_only": self.broken_twin_only,
            "broken_engine_only": self.broken_engine_only,
            "logits_differ": None if agreement is None else agreement.logits,
            "remaining_only": self.remaining_only,
            "seconds": self.seconds,
            "evaluations": self.evaluations,
        }
        return share("robust-accuracy", self.robust, self.n, **settings)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RobustnessResult:
    """The verdict on n images.

    Attributes:
        threat: the ball.
        seed: of everything random in the attacks.
        batch_size: images that were attacked at once; with the seed, it fixes the random numbers.
        draws: answers to an image that it was judged by; more than 1 where the engine is random.
        right: bool [N], which images the engine gets right as they are.
        attacks: in the order they ran, those on the twin first in a sequential run; then incidental candidates.
        robust: bool [N], which images withstood everything.
        adversarial: uint8 [N, C, H, W]: for each image that is not robust, the first candidate that breaks the engine
            (the image itself where that is wrong); for the others the image itself.
    """

    threat: ThreatModel
    seed: int
    batch_size: int
    draws: int = 1
    right: NDArray[np.bool_] = field(repr=False)
    attacks: tuple[AttackOutcome, ...]
    robust: NDArray[np.bool_] = field(repr=False)
    adversarial: NDArray[np.uint8] = field(repr=False)

    @property
    def n(self) -> int:
        """Images in all."""
        return len(self.robust)

    @property
    def clean(self) -> int:
        """Images that the engine gets right as they are."""
        return int(self.right.sum())

    @property
    def white_box(self) -> NDArray[np.bool_] | None:
        """bool [N], which images the attacks on the twin broke; None where there was none."""
        return self._broken_by("twin")

    @property
    def queries_only(self) -> int | None:
        """Images that the engine's own scores broke and no attack on the twin did; None without both kinds."""
        return self._only("engine")

    @property
    def transfer_only(self) -> int | None:
        """Images that candidates made on other models broke and no attack on the twin did; None without both kinds."""
        return self._only("transfer")

    @property
    def moved(self) -> int | None:
        """Images that are broken on only one of engine and twin, over the same candidates; None without a twin."""
        found = [outcome.candidates for outcome in self.attacks]
        engine, twin = np.zeros(self.n, bool), np.zeros(self.n, bool)
        for candidates in found:
            if candidates.on_twin is None:
                return None
            engine[candidates.rows[candidates.on_engine]] = True
            twin[candidates.rows[candidates.on_twin]] = True
        return int((engine != twin).sum())

    def then(self, outcome: AttackOutcome) -> RobustnessResult:
        """The verdict with one more attack, which saw only images that withstood all before it."""
        found = outcome.candidates
        robust, adversarial = self.robust.copy(), self.adversarial.copy()
        robust[found.rows[found.on_engine]] = False
        adversarial[found.rows[found.on_engine]] = found.images[found.on_engine]
        return replace(self, attacks=(*self.attacks, outcome), robust=robust, adversarial=adversarial)

    def measurements(self, alarms: Sequence[str] = ()) -> tuple[Measurement, ...]:
        """The figure of each attack, then of the union with the alarms' names, which withhold it where `doubt.py` says
        so, under another name as an upper bound; the images that only queries or transfer
        broke; how often twin and engine differ on the candidates, and on how many images their verdicts differ."""
        shared: dict[str, Setting] = {"threat": str(self.threat), "seed": self.seed, "batch_size": self.batch_size}
        if self.draws > 1:
            shared["draws"] = self.draws
        found = [
            outcome.measurement(**shared, standing=standing(alarms, outcome.plan.target)) for outcome in self.attacks
        ]
        union: dict[str, Setting] = {
            **shared,
            "attack": "union",
            "of": " + ".join(outcome.plan.name for outcome in self.attacks),
            "clean": self.clean,
            "standing": standing(alarms),
            "alarms": ", ".join(alarms) or "none",
            "seconds": sum(outcome.seconds for outcome in self.attacks),
        }
        left = int(self.robust.sum())
        name = "robust-accuracy-withheld" if withheld(alarms, left) else "robust-accuracy"
        found.append(share(name, left, self.n, **union))
        only = {"broken-by-queries-only": self.queries_only, "broken-by-transfer-only": self.transfer_only}
        found += [share(name, count, self.n, **shared) for name, count in only.items() if count is not None]
        agreements = [outcome.agreement for outcome in self.attacks if outcome.agreement is not None]
        if agreements:
            found.append(Agreement.total(agreements).measurement("candidates", **shared))
        if self.moved is not None:
            found.append(measured("verdict-moved", self.moved, n=self.n, settings=shared))
        return tuple(found)

    def archive(self, part: Part, **about: Any) -> Archive:
        """For a file, with every candidate.

        Args:
            part: the images that were attacked, in that order.
            about: what else the header shall say.
        """
        found = [outcome.candidates for outcome in self.attacks]
        header = {
            "threat": asdict(self.threat),
            "attacks": [
                {"name": o.plan.name, "target": o.plan.target, "settings": dict(o.plan.settings)} for o in self.attacks
            ],
            "seed": self.seed,
            "batch_size": self.batch_size,
            "draws": self.draws,
            "clean": self.clean,
            "robust": int(self.robust.sum()),
            **about,
        }
        return Archive(
            header=header,
            images=part.images,
            labels=part.labels,
            indices=part.indices,
            adversarial=np.concatenate([part.images[:0], *(candidates.images for candidates in found)]),
            rows=np.concatenate([candidates.rows for candidates in found]),
            attacks=np.repeat(np.arange(len(found)), [len(candidates.rows) for candidates in found]),
            on_engine=np.concatenate([candidates.on_engine for candidates in found]),
            # without a twin, nothing is known to break one
            on_twin=np.concatenate([np.zeros(len(c.rows), bool) if c.on_twin is None else c.on_twin for c in found]),
        )

    def _broken_by(self, kind: str) -> NDArray[np.bool_] | None:
        outcomes = [outcome for outcome in self.attacks if _kind(outcome.plan) == kind]
        if not outcomes:
            return None
        broken = np.zeros(self.n, bool)
        for outcome in outcomes:
            broken[outcome.candidates.rows[outcome.candidates.on_engine]] = True
        return broken

    def _only(self, kind: str) -> int | None:
        white, other = self._broken_by("twin"), self._broken_by(kind)
        return None if white is None or other is None else int((other & ~white).sum())


def _kind(plan: AttackPlan) -> str:
    return plan.target if plan.target in ("twin", "engine") else "transfer"
