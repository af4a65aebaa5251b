from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hardtemper.toolchain.train.objectives.adversarial import Adversarial
from hardtemper.toolchain.train.objectives.margin import MaximumMargin
from hardtemper.toolchain.train.objectives.mart import Mart


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("labels", ["y", "mixed"])
def test_it_is_the_cross_entropy_on_adversarial_images(batch: Any, labels: str, smoothing: float) -> None:
    y = getattr(batch, labels)
    loss = Adversarial(smoothing=smoothing).outer(batch.student, batch.x, batch.x_adv, y)
    wanted = nn.CrossEntropyLoss(label_smoothing=smoothing)(batch.student(batch.x_adv), y)
    torch.testing.assert_close(loss, wanted)


@pytest.mark.parametrize("objective", [Adversarial, Mart, MaximumMargin])
def test_its_adversary_raises_the_plain_cross_entropy(batch: Any, objective: Any) -> None:
    search = objective(smoothing=0.2).inner(batch.student, batch.x, batch.y)
    assert search.model is batch.student
    losses = search.loss(batch.student(batch.x_adv), *search.labels)
    torch.testing.assert_close(losses, nn.CrossEntropyLoss(reduction="none")(batch.student(batch.x_adv), batch.y))
