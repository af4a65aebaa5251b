"""An engine that draws random numbers, judged by many answers to each image.

    answer(x) = argmax_k #{ d <= D : argmax f_d(x) = k }          the vote of D draws (Cohen et al. 2019, eq. 1)
    grad      = grad l( 1/D sum_d f_d(x), y )                     expectation over transformation, EOT

(Athalye et al. 2018, arXiv:1802.00420, section 4.2.) One answer proves nothing: with enough candidates, chance breaks
any image, and robust accuracy would fall with the number of attacks alone. So an image is right, and a candidate breaks
it, by the vote. A candidate is confirmed by draws of its own: those of the search do not count.

How votes are counted is in `votes.py`.

An engine that gives one image the same logits twice is not asked again: nothing here costs it more.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from ...export.twin.noise import drawn_from
from ...runtime.shapes import Float
from ..attacks.access import Model
from .case import Case
from .votes import Votes, tally

__all__ = ["DRAWS", "Drawn", "draws_of"]

DRAWS = 10
"""Answers to an image, and passes whose mean a gradient is of."""


def draws_of(case: Case) -> Case:
    """The case with its engine and its twin judged by `DRAWS` answers."""
    twin = case.twin
    if twin is not None:
        twin = Drawn(twin, draws=DRAWS, generator=torch.Generator().manual_seed(case.stream(DRAWS)))
    return replace(case, engine=Votes(case.engine, DRAWS), twin=twin, draws=DRAWS)


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

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        with drawn_from(self._generator):
            answers = torch.stack([self.model(images) for _ in range(self._draws)])
        if torch.is_grad_enabled() and answers.requires_grad:
            return answers.mean(0)
        return torch.from_numpy(tally(answers.detach().float().cpu().numpy())).to(answers.device)
