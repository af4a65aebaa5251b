"""A random engine judged by many answers: the gradient of their mean, and searches that repeat."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.robustness.case import Case
from hardtemper.bench.robustness.random_engine import DRAWS, Drawn, draws_of
from hardtemper.export.twin.noise import draw_normal

PIXELS = np.zeros((3, 1, 2, 2), np.uint8)


class Noisy(nn.Module):
    """Right with probability 0.69: sigma is twice what the right class is ahead."""

    def forward(self, images: Tensor) -> Tensor:
        ahead = images.flatten(1).mean(1) + 0.5 + draw_normal((len(images),), images.device)
        return torch.stack([ahead, torch.zeros_like(ahead)], 1)


def test_a_gradient_is_that_of_the_mean_and_an_answer_is_a_vote() -> None:
    model = Drawn(Noisy(), draws=200, generator=torch.Generator().manual_seed(0))
    x = torch.zeros(5, 1, 2, 2, requires_grad=True)
    logits = model(x)
    assert torch.allclose(logits[:, 0], torch.full((5,), 0.5), atol=0.3)
    assert torch.autograd.grad(logits[:, 0].sum(), x)[0].allclose(torch.full_like(x, 0.25))
    with torch.no_grad():
        votes = model(x)
    assert (votes[:, 0] > 0.55).all()
    assert (votes.sum(1) < 1.01).all()


def test_searches_repeat_and_the_engine_is_asked_as_often() -> None:
    asked: list[Any] = []

    def engine(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        asked.append(len(images))
        return np.eye(2, dtype=np.float32)[np.zeros(len(images), int)]

    case = Case(
        engine=engine, twin=Noisy(), images=PIXELS, labels=np.zeros(3, np.int64), threat=ThreatModel("linf", 0.1)
    )
    x = torch.zeros(5, 1, 2, 2)
    with torch.no_grad():
        first, second = (draws_of(case).white_box(x) for _ in range(2))
    assert torch.equal(first, second)
    assert draws_of(case).draws == DRAWS
    assert draws_of(case).right().all()
    assert asked == [3] * DRAWS
