"""Raise the margin of 8-bit images step by step, from the scores alone: the loop that NES and ZOO share.

    x_{t+1} = project( rule(x_t) ),   asked at q_t = to_pixels(x_t),   until q_t fools or the queries are spent

The point x_t is a float, so that small steps add up. The engine sees 8-bit images alone: q_t, which lies in the ball,
and the images around q_t that the rule asks about, which may lie outside the ball.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....runtime.errors import RecipeError
from ....runtime.progress import ProgressCallback
from ....runtime.shapes import Float, Int64, UInt8
from ..access import Labels, Pixels, Scores
from ..losses import objective
from ..result import AttackResult
from ..threat.geometry import ball_of
from ..threat.threat_model import ThreatModel

__all__ = ["ASKED_AT_ONCE", "Margin", "Rule", "ScoreAscent", "refuse_l1"]

ASKED_AT_ONCE = 512
"""About how many images a rule puts to the engine in one call, or one group for each image where that is more."""

Margin = Callable[[UInt8[NDArray[np.uint8], "g n c h w"]], Float[Tensor, "g n"]]
"""8-bit images [G, N, C, H, W], G for each of the N images still searched -> what is to be raised [G, N]."""


class Rule(Protocol):
    """How an attack moves from one point to the next.

    Attributes:
        queries: images it asks about for each image in a step.
    """

    queries: int

    def step(
        self, margin: Margin, pixels: Pixels, x_adv: Float[Tensor, "n c h w"], rows: Int64[NDArray[np.int64], " n"]
    ) -> Float[Tensor, "n c h w"]:
        """The next points, not projected.

        Args:
            margin: the engine.
            pixels: the present points as 8-bit images.
            x_adv: the present points.
            rows: which of the attacked images they are, so that the rule can keep notes on each.
        """


def refuse_l1(name: str, threat: ThreatModel) -> None:
    """Raises RecipeError for an attack that is defined for linf and l2 alone."""
    if threat.norm == "l1":
        raise RecipeError(
            f"{name} does not search l1 balls", expected="linf or l2", got=str(threat), fix="attack with square"
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ScoreAscent:
    """A search with a rule.

    Attributes:
        name: for the report.
        rule: the attack.
        threat, queries: those of `BlackBoxAttack`.
        settings: for the report.
    """

    name: str
    rule: Rule
    threat: ThreatModel
    queries: int
    settings: Mapping[str, str | int | float | bool]

    def run(self, scores: Scores, images: Pixels, labels: Labels, progress: ProgressCallback) -> AttackResult:
        """Search; the arguments are those of `BlackBoxAttack`.

        Returns:
            For an image that was not broken, the point of largest margin.

        Raises:
            RecipeError: no step fits into `queries`.
        """
        if self.queries < self.rule.queries + 1:
            raise RecipeError(
                f"{self.name} cannot take a step",
                expected=f"at least {self.rule.queries + 1} queries",
                got=f"queries {self.queries}",
            )
        start = time.perf_counter()
        ball, loss, evaluations = ball_of(self.threat), objective("margin", self.threat), len(images)
        pixels, x = torch.from_numpy(images), torch.from_numpy(images).float() / 255
        result, x_adv, best = images.copy(), x.clone(), torch.full((len(images),), -torch.inf)
        answers = scores(images).argmax(1) if len(images) else labels[:0]
        rows = np.flatnonzero(self.threat.attacked(answers, labels))
        steps = self.queries // (self.rule.queries + 1)
        for step in range(steps):
            if not len(rows):
                break

            def margin(
                candidates: UInt8[NDArray[np.uint8], "g n c h w"], rows: NDArray[np.int64] = rows
            ) -> Float[Tensor, "g n"]:
                y = torch.from_numpy(np.tile(labels[rows], len(candidates)))
                logits = torch.from_numpy(scores(candidates.reshape(-1, *candidates.shape[2:])))
                return loss(logits, y).nan_to_num_().view(len(candidates), len(rows))

            now = ball.to_pixels(x_adv[rows], pixels[rows]).numpy()
            x_adv[rows] = ball.project(self.rule.step(margin, now, x_adv[rows], rows), x[rows])
            candidate = ball.to_pixels(x_adv[rows], pixels[rows]).numpy()
            logits = scores(candidate)
            evaluations += len(rows) * (self.rule.queries + 1)
            fooled = self.threat.fooled(logits.argmax(1), labels[rows])
            value = loss(torch.from_numpy(logits), torch.from_numpy(labels[rows])).nan_to_num_()
            better = (value > best[rows]).numpy() | fooled
            result[rows[better]] = candidate[better]
            best[rows] = best[rows].maximum(value)
            rows = rows[~fooled]
            progress(self.name, step + 1, steps, f"{len(rows)} of {len(images)} images unbroken")
        return AttackResult(
            name=self.name,
            settings={"threat": str(self.threat), "queries": self.queries, **self.settings},
            adversarial=result,
            seconds=time.perf_counter() - start,
            evaluations=evaluations,
        )
