"""An engine that draws random numbers, judged by many answers to each image.

    answer(x) = argmax_k #{ d <= D : argmax f_d(x) = k }          the vote of D draws (Cohen et al. 2019, eq. 1)
    grad      = grad l( 1/D sum_d f_d(x), y )                     expectation over transformation, EOT

(Athalye et al. 2018, arXiv:1802.00420, section 4.2.) One answer proves nothing: with enough candidates, chance breaks
any image, and robust accuracy would fall with the number of attacks alone. So an image is right, and a candidate breaks
it, by the vote. A candidate is confirmed by draws of its own: those of the search do not count.

Scores are the shares of the votes. Below the weight of one vote the mean softmax stands: it settles a tie, and tells a
search by scores in which direction the votes go. A draw with a NaN votes for no class.

An engine that gives one image the same logits twice is not asked again: nothing here costs it more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...export.twin.noise import drawn_from
from ...runtime.shapes import Float, Float32
from ..attacks.access import Model, Pixels, Scores
from .case import Case

__all__ = ["DRAWS", "Drawn", "Votes", "draws_of", "is_random", "tally"]

DRAWS = 10
"""Answers to an image, and passes whose mean a gradient is of."""

_ASKED = 64
_ROUNDING = 1e-3
"""Share of what the logits span that the order of sums may change from call to call on parallel hardware."""


def is_random(engine: Scores, images: Pixels) -> bool:
    """Whether an engine gives other logits to the same images when it is asked again; 64 of them at most."""
    some = images[:_ASKED]
    first, second = engine(some), engine(some)
    finite = first[np.isfinite(first)]
    limit = _ROUNDING * float(np.ptp(finite)) if finite.size else 0.0
    return not np.allclose(first, second, rtol=0, atol=limit, equal_nan=True)


def draws_of(case: Case) -> Case:
    """The case with its engine and its twin judged by `DRAWS` answers."""
    twin = case.twin
    if twin is not None:
        twin = Drawn(twin, draws=DRAWS, generator=torch.Generator().manual_seed(case.stream(DRAWS)))
    return replace(case, engine=Votes(case.engine, DRAWS), twin=twin, draws=DRAWS)


def tally(answers: Float32[NDArray[np.float32], "d n k"]) -> Float32[NDArray[np.float32], "n k"]:
    """The scores of images by D answers to each: shares of votes, and less than one vote's weight of mean softmax."""
    draws, _, classes = answers.shape
    votes = np.zeros(answers.shape[1:], np.float64)
    sure = np.zeros(answers.shape[1:], np.float64)
    for answer in answers:
        counts = ~np.isnan(answer).any(1, keepdims=True)
        votes += np.eye(classes)[answer.argmax(1)] * counts
        exponent = np.nan_to_num(answer.astype(np.float64))
        share = np.exp(exponent - exponent.max(1, keepdims=True))
        sure += share / share.sum(1, keepdims=True) * counts
    scores: NDArray[np.float32] = ((votes + sure / (2 * draws)) / draws).astype(np.float32)
    return scores


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """An engine that is asked `draws` times: uint8 [N, C, H, W] -> scores [N, K]."""

    engine: Callable[[Pixels], NDArray[np.float32]]
    draws: int

    def __call__(self, images: Pixels) -> NDArray[np.float32]:
        return tally(np.stack([self.engine(images) for _ in range(self.draws)]))


class Drawn(nn.Module):
    """A random network as an attack sees it: the mean logits where it follows a gradient, else the vote.

    Args:
        model: images -> logits, of new draws at each call.
        draws: how many.
        generator: what the twin's random operators draw from, so that a search can be repeated.
    """

    def __init__(self, model: Model, *, draws: int, generator: torch.Generator) -> None:
        super().__init__()
        self.model = model
        self._draws, self._generator = draws, generator

    @property
    def quantizers(self) -> tuple[str, ...]:
        """Those of the twin."""
        found: tuple[str, ...] = getattr(self.model, "quantizers", ())
        return found

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        with drawn_from(self._generator):
            answers = torch.stack([self.model(images) for _ in range(self._draws)])
        if torch.is_grad_enabled() and answers.requires_grad:
            return answers.mean(0)
        return torch.from_numpy(tally(answers.detach().float().cpu().numpy())).to(answers.device)
