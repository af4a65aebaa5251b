"""Adam on partial derivatives that are estimated from scores, some coordinates at a time: ZOO.

Chen et al. 2017 (arXiv:1708.03999), algorithms 1 and 2 (ZOO-ADAM). For a coordinate i with unit vector e_i,

    g_i = ( L(x + h e_i) - L(x - h e_i) ) / 2h                                                (eq. 6)
    M_i, V_i, T_i <- Adam's moments and its count of updates, kept for each coordinate by itself
    x_i <- x_i + learning_rate * M_i / (1 - beta_1^T_i) / ( sqrt( V_i / (1 - beta_2^T_i) ) + 1e-8 )

L is the margin of the logits, the loss of Carlini & Wagner that the paper takes (eq. 4, 5; there of log-probabilities).
The paper weighs it against the length of the perturbation and searches the weight; here the radius is given, so the
point is projected on the ball instead. Coordinates are visited in a random order, all of them before one comes again.

Queries are 8-bit images: h is a whole number of levels, and never below one (h >= 1/255, the paper's is 0.0001). The
logits of an INT8 engine are steps: between two levels they do not change at all, and a single pixel that moves by one
level is often rounded away in the first layer, so that the difference is zero. Hence several levels by default. The
queries for a difference may lie `levels` outside the ball; the points that are checked lie inside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....runtime.errors import RecipeError
from ....runtime.progress import ProgressCallback, silent
from ....runtime.shapes import Float, Int64
from ..access import Labels, Pixels, Scores
from ..result import AttackResult
from ..threat.threat_model import ThreatModel
from .score_ascent import ASKED_AT_ONCE, Margin, ScoreAscent, refuse_l1

__all__ = ["zoo"]

_BETA_1, _BETA_2, _NO_ZERO = 0.9, 0.999, 1e-8  # the paper's


def zoo(
    scores: Scores,
    images: Pixels,
    labels: Labels,
    *,
    threat: ThreatModel,
    queries: int = 5000,
    coordinates: int = 16,
    levels: int = 32,
    learning_rate: float | None = None,
    seed: int = 0,
    progress: ProgressCallback = silent,
) -> AttackResult:
    """Adam on estimated partial derivatives, in linf or l2. See `BlackBoxAttack`.

    Args:
        queries: a step takes two for each coordinate, and one that checks where it led.
        coordinates: pixels that move in a step, 1 or more; all of them where the image has fewer.
        levels: h, in levels of 1/255, 1 to 255.
        learning_rate: of Adam, in units of pixel values, about what a pixel moves in a step; if not given the radius
            for linf, and for l2 what the radius leaves for each pixel, four times.

    Returns:
        For an image that was not broken, the point of largest margin.
    """
    refuse_l1("zoo", threat)
    size = int(np.prod(images.shape[1:]))
    if learning_rate is None:
        learning_rate = threat.epsilon if threat.norm == "linf" else 4 * threat.epsilon / size**0.5
    if coordinates < 1 or not 1 <= levels <= 255 or not 0 <= learning_rate < math.inf:
        raise RecipeError(
            "settings of zoo out of range",
            expected="coordinates >= 1, 1 <= levels <= 255, a finite learning_rate >= 0",
            got=f"coordinates {coordinates}, levels {levels}, learning_rate {learning_rate}",
        )
    settings = {"seed": seed, "coordinates": coordinates, "levels": levels, "learning_rate": learning_rate}
    search = ScoreAscent(
        name="zoo",
        rule=_Adam(
            queries=2 * min(coordinates, size),
            levels=levels,
            learning_rate=learning_rate,
            rng=np.random.default_rng(seed),
            first=torch.zeros(len(images), size),
            second=torch.zeros(len(images), size),
            count=torch.zeros(size),
        ),
        threat=threat,
        queries=queries,
        settings=settings,
    )
    return search.run(scores, images, labels, progress)


@dataclass(kw_only=True, slots=True)
class _Adam:
    queries: int
    levels: int
    learning_rate: float
    rng: np.random.Generator
    first: Tensor  # M, float [N, D]
    second: Tensor  # V, float [N, D]
    count: Tensor  # T, float [D]: images move the same coordinates at the same time
    order: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # coordinates still to come

    def step(
        self, margin: Margin, pixels: Pixels, x_adv: Float[Tensor, "n c h w"], rows: Int64[NDArray[np.int64], " n"]
    ) -> Float[Tensor, "n c h w"]:
        where = self._next()
        grad = self._differences(margin, pixels.reshape(len(pixels), -1), where, pixels.shape[1:])
        at = np.ix_(rows, where)
        self.count[where] += 1
        first = self.first[at] = _BETA_1 * self.first[at] + (1 - _BETA_1) * grad
        second = self.second[at] = _BETA_2 * self.second[at] + (1 - _BETA_2) * grad.square()
        first, second = (m / (1 - b ** self.count[where]) for m, b in ((first, _BETA_1), (second, _BETA_2)))
        flat = x_adv.flatten(1).clone()
        flat[:, where] += self.learning_rate * first / (second.sqrt() + _NO_ZERO)
        return flat.view_as(x_adv)

    def _next(self) -> NDArray[np.int64]:
        """The coordinates of this step, the same for all images."""
        coordinates = self.queries // 2
        while len(self.order) < coordinates:
            # A coordinate at the end of one round and the start of the next must not come twice in a step.
            fresh = self.rng.permutation(self.count.numel())
            held = np.isin(fresh, self.order)
            self.order = np.concatenate([self.order, fresh[~held], fresh[held]])
        where, self.order = np.split(self.order, [coordinates])
        return where

    def _differences(
        self, margin: Margin, flat: NDArray[np.uint8], where: NDArray[np.int64], shape: tuple[int, ...]
    ) -> Tensor:
        """What a level of each coordinate adds to the margin, float [N, len(where)]."""
        n, found = len(flat), []
        for some in np.array_split(where, max(2 * len(where) * n // ASKED_AT_ONCE, 1)):
            if not len(some):
                continue
            asked = np.repeat(flat[None], 2 * len(some), 0)
            up, down = asked[: len(some)], asked[len(some) :]
            turn = np.arange(len(some))
            up[turn, :, some] = np.minimum(flat[:, some].T.astype(np.int16) + self.levels, 255)
            down[turn, :, some] = np.maximum(flat[:, some].T.astype(np.int16) - self.levels, 0)
            width = up[turn, :, some].astype(np.float32) - down[turn, :, some]  # less than 2 h at black and white
            gain = torch.sub(*margin(asked.reshape(2 * len(some), n, *shape)).chunk(2))
            found.append(gain / torch.from_numpy(width))
        return torch.cat(found).T
