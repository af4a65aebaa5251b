"""TRADES against the loss of its authors' code (trades_loss), written with torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hardtemper.bench.attacks.white_box.gradient import logits_and_gradient
from hardtemper.toolchain.train.objectives.trades import Trades, kl


@pytest.mark.parametrize("beta", [1.0, 6.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_what_the_network_lowers(batch: Any, beta: float, smoothing: float) -> None:
    loss = Trades(weight=beta, smoothing=smoothing).outer(batch.student, batch.x, batch.x_adv, batch.y)
    natural = nn.CrossEntropyLoss(label_smoothing=smoothing)(batch.student(batch.x), batch.y)
    robust = nn.KLDivLoss(reduction="batchmean")(
        F.log_softmax(batch.student(batch.x_adv), dim=1), F.softmax(batch.student(batch.x), dim=1)
    )
    wanted = natural + beta * robust
    torch.testing.assert_close(loss, wanted)
    for ours, theirs in zip(
        torch.autograd.grad(loss, list(batch.student.parameters())),
        torch.autograd.grad(wanted, list(batch.student.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_what_its_adversary_raises(batch: Any) -> None:
    search = Trades().inner(batch.student, batch.x, batch.y)
    assert not any(label.requires_grad for label in search.labels)
    _, losses, grad = logits_and_gradient(search.model, batch.x_adv, search.labels, search.loss, 4)
    point = batch.x_adv.clone().requires_grad_()
    divergence = nn.KLDivLoss(reduction="sum")(
        F.log_softmax(batch.student(point), dim=1), F.softmax(batch.student(batch.x), dim=1).detach()
    )
    torch.testing.assert_close(losses.sum(), divergence.detach())
    torch.testing.assert_close(grad, torch.autograd.grad(divergence, point)[0])
    _, _, flat = logits_and_gradient(search.model, batch.x, search.labels, search.loss, 9)
    assert flat.abs().max() < 1e-5  # so that it must not start at the image


@given(st.lists(st.tuples(st.floats(-20, 20), st.floats(-20, 20)), min_size=2, max_size=6))
def test_the_divergence_against_its_definition(pairs: list[tuple[float, float]]) -> None:
    logits, wanted = torch.tensor(pairs, dtype=torch.float64).T.unsqueeze(1)
    p, q = wanted.softmax(1), logits.softmax(1)
    torch.testing.assert_close(kl(logits, wanted), (p * (p / q).log()).sum(1), rtol=1e-6, atol=1e-9)
    assert kl(logits, wanted).min() >= -1e-12
    assert kl(logits, logits).abs().max() == 0
