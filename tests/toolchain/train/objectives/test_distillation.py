"""Robust distillation by hand, with torch's own losses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardtemper.bench.attacks.white_box.gradient import logits_and_gradient
from hardtemper.toolchain.train.objectives.distillation import (
    AdaptiveDistillation,
    RobustDistillation,
    SoftLabelDistillation,
)


def divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) of logits, a mean over images."""
    return nn.KLDivLoss(reduction="batchmean")(F.log_softmax(student, dim=1), F.softmax(teacher, dim=1))


@pytest.mark.parametrize(("alpha", "temperature", "smoothing"), [(1.0, 1.0, 0.0), (0.9, 4.0, 0.0), (0.3, 30.0, 0.1)])
def test_ard(batch: Any, alpha: float, temperature: float, smoothing: float) -> None:
    objective = RobustDistillation(teacher=batch.teacher, weight=alpha, temperature=temperature, smoothing=smoothing)
    loss = objective.outer(batch.student, batch.x, batch.x_adv, batch.y)
    followed = divergence(batch.student(batch.x_adv) / temperature, batch.teacher(batch.x) / temperature)
    own = nn.CrossEntropyLoss(label_smoothing=smoothing)(batch.student(batch.x), batch.y)
    torch.testing.assert_close(loss, alpha * temperature**2 * followed + (1 - alpha) * own, rtol=1e-4, atol=1e-5)


def test_ard_by_hand() -> None:
    """At temperature 2 the logits 2 log p of the teacher are p."""
    teacher = torch.tensor([[3 / 4, 1 / 4]]).log() * 2
    x = torch.tensor([[0.0, 0.0]])
    objective = RobustDistillation(teacher=lambda _: teacher, weight=0.5, temperature=2.0)
    loss = objective.outer(nn.Identity(), x, x, torch.tensor([1]))
    followed = 3 / 4 * math.log(3 / 2) + 1 / 4 * math.log(1 / 2)
    assert loss.item() == pytest.approx(0.5 * 4 * followed + 0.5 * math.log(2), rel=1e-5)


def test_the_adversary_of_ard_raises_the_students_cross_entropy(batch: Any) -> None:
    search = RobustDistillation(teacher=batch.teacher).inner(batch.student, batch.x, batch.y)
    losses = search.loss(search.model(batch.x_adv), *search.labels)
    torch.testing.assert_close(losses, nn.CrossEntropyLoss(reduction="none")(batch.student(batch.x_adv), batch.y))


def test_rslad(batch: Any) -> None:
    objective = SoftLabelDistillation(teacher=batch.teacher)
    said = batch.teacher(batch.x).detach()
    loss = objective.outer(batch.student, batch.x, batch.x_adv, batch.y)
    adversarial, clean = (divergence(batch.student(x), said) for x in (batch.x_adv, batch.x))
    torch.testing.assert_close(loss, 5 / 6 * adversarial + 1 / 6 * clean)
    search = objective.inner(batch.student, batch.x, batch.y)
    _, losses, grad = logits_and_gradient(search.model, batch.x_adv, search.labels, search.loss, 4)
    point = batch.x_adv.clone().requires_grad_()
    wanted = 9 * divergence(batch.student(point), said)
    torch.testing.assert_close(losses.sum(), wanted.detach())
    torch.testing.assert_close(grad, torch.autograd.grad(wanted, point)[0])


def test_adaad(batch: Any) -> None:
    objective = AdaptiveDistillation(teacher=batch.teacher, weight=0.7)
    loss = objective.outer(batch.student, batch.x, batch.x_adv, batch.y)
    adversarial, clean = (divergence(batch.student(x), batch.teacher(x)) for x in (batch.x_adv, batch.x))
    torch.testing.assert_close(loss, 0.7 * adversarial + 0.3 * clean)


def test_the_adversary_of_adaad_moves_the_teacher_too(batch: Any) -> None:
    search = AdaptiveDistillation(teacher=batch.teacher).inner(batch.student, batch.x, batch.y)
    _, losses, grad = logits_and_gradient(search.model, batch.x_adv, search.labels, search.loss, 4)
    point = batch.x_adv.clone().requires_grad_()
    wanted = 9 * divergence(batch.student(point), batch.teacher(point))
    torch.testing.assert_close(losses.sum(), wanted.detach())
    torch.testing.assert_close(grad, torch.autograd.grad(wanted, point)[0])
    still = 9 * divergence(batch.student(point), batch.teacher(batch.x_adv).detach())
    assert not torch.allclose(grad, torch.autograd.grad(still, point)[0], rtol=0.1)


@pytest.mark.parametrize("kind", [RobustDistillation, SoftLabelDistillation, AdaptiveDistillation])
def test_a_student_that_says_the_same_has_nothing_to_learn_there(batch: Any, kind: Any) -> None:
    loss = kind(teacher=batch.student, weight=1.0).outer(batch.student, batch.x, batch.x, batch.y)
    gradients = torch.autograd.grad(loss, list(batch.student.parameters()))
    assert abs(loss.item()) < 1e-6
    assert max(gradient.abs().max().item() for gradient in gradients) < 1e-5
