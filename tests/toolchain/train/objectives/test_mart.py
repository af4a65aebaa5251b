"""MART against the loss of its authors' code (mart_loss), written with torch's own."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardtemper.toolchain.train.objectives.mart import Mart


def published(model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, beta: float) -> Tensor:
    logits, logits_adv = model(x), model(x_adv)
    adv_probs = F.softmax(logits_adv, dim=1)
    order = torch.argsort(adv_probs, dim=1)
    second = torch.where(order[:, -1] == y, order[:, -2], order[:, -1])
    loss_adv = F.cross_entropy(logits_adv, y) + F.nll_loss(torch.log(1.0001 - adv_probs + 1e-12), second)
    nat_probs = F.softmax(logits, dim=1)
    true_probs = nat_probs[torch.arange(len(y)), y]
    divergence = nn.KLDivLoss(reduction="none")(torch.log(adv_probs + 1e-12), nat_probs).sum(dim=1)
    return loss_adv + beta * (divergence * (1.0000001 - true_probs)).sum() / len(y)


@pytest.mark.parametrize("beta", [0.0, 5.0])
def test_what_the_network_lowers(batch: Any, beta: float) -> None:
    parameters = list(batch.student.parameters())
    loss = Mart(weight=beta).outer(batch.student, batch.x, batch.x_adv, batch.y)
    wanted = published(batch.student, batch.x, batch.x_adv, batch.y, beta)
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(wanted, parameters), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_by_hand() -> None:
    """Logits that are the images: p = (1/2, 1/4, 1/4) on the image and (1/5, 3/5, 1/5) on the adversarial one."""
    x, x_adv = torch.tensor([[2.0, 1.0, 1.0]]).log(), torch.tensor([[1.0, 3.0, 1.0]]).log()
    boosted = math.log(5) - math.log(1 + 1e-4 - 3 / 5)
    divergence = math.log(5 / 2) / 2 + math.log(5 / 12) / 4 + math.log(5 / 4) / 4
    y = torch.tensor([0])
    loss = Mart(weight=2.0).outer(nn.Identity(), x, x_adv, y)
    assert loss.item() == pytest.approx(boosted + 2 * divergence / 2, rel=1e-5)
    # the right class is the largest: the rival is the second
    other = Mart(weight=0.0).outer(nn.Identity(), x, x_adv, torch.tensor([1]))
    assert other.item() == pytest.approx(math.log(5 / 3) - math.log(1 + 1e-4 - 1 / 5), rel=1e-5)


def test_only_the_cross_entropy_is_smoothed(batch: Any) -> None:
    plain, smoothed = (Mart(smoothing=s).outer(batch.student, batch.x, batch.x_adv, batch.y) for s in (0.0, 0.2))
    logits = batch.student(batch.x_adv)
    difference = F.cross_entropy(logits, batch.y, label_smoothing=0.2) - F.cross_entropy(logits, batch.y)
    torch.testing.assert_close(smoothed - plain, difference, rtol=1e-3, atol=1e-5)
