"""Maximum margin regularization by hand, equations 9 and 10 and algorithm 7 of the deep compression paper."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hardtemper.toolchain.train.objectives.margin import MaximumMargin


def test_by_hand() -> None:
    """Logits that are the images: p = (1/2, 1/4, 1/4) on the image and (1/5, 3/5, 1/5) on the adversarial one."""
    x, x_adv = torch.tensor([[2.0, 1.0, 1.0]]).log(), torch.tensor([[1.0, 3.0, 1.0]]).log()
    loss = MaximumMargin(weight=0.1).outer(nn.Identity(), x, x_adv, torch.tensor([0]))
    cross_entropy = (math.log(2) + math.log(5)) / 2
    short = (1 - (1 / 2 - 1 / 4) + 1 - (1 / 5 - 3 / 5)) / 2
    assert loss.item() == pytest.approx(cross_entropy + 0.1 * short, rel=1e-6)
    assert MaximumMargin().weight == 0.1  # appendix C


def test_images_and_adversarial_images_count_alike(batch: Any) -> None:
    objective = MaximumMargin(weight=0.7, smoothing=0.1)
    loss = objective.outer(batch.student, batch.x, batch.x_adv, batch.y)
    torch.testing.assert_close(loss, objective.outer(batch.student, batch.x_adv, batch.x, batch.y))
    total = torch.zeros(())
    for images in (batch.x, batch.x_adv):
        logits = batch.student(images)
        total = total + F.cross_entropy(logits, batch.y, label_smoothing=0.1) / 2
        for p, y in zip(logits.softmax(1), batch.y.tolist(), strict=True):
            rival = max(value for k, value in enumerate(p.tolist()) if k != y)
            total = total + 0.7 * max(0.0, 1 - (p[y].item() - rival)) / 18
    torch.testing.assert_close(loss, total)
