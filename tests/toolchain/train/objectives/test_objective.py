"""What the objectives share."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hardtemper.bench.attacks.white_box.gradient import logits_and_gradient
from hardtemper.toolchain.train.objectives.adversarial import Adversarial
from hardtemper.toolchain.train.objectives.distillation import (
    AdaptiveDistillation,
    RobustDistillation,
    SoftLabelDistillation,
)
from hardtemper.toolchain.train.objectives.margin import MaximumMargin
from hardtemper.toolchain.train.objectives.mart import Mart
from hardtemper.toolchain.train.objectives.objective import Objective, classification, on_labels, on_pairs
from hardtemper.toolchain.train.objectives.trades import Trades


def every(teacher: nn.Module) -> dict[str, Objective]:
    return {
        "adversarial": Adversarial(smoothing=0.1),
        "trades": Trades(smoothing=0.1),
        "mart": Mart(smoothing=0.1),
        "mmr": MaximumMargin(smoothing=0.1),
        "ard": RobustDistillation(teacher=teacher, weight=0.7, temperature=3.0, smoothing=0.1),
        "rslad": SoftLabelDistillation(teacher=teacher),
        "adaad": AdaptiveDistillation(teacher=teacher, weight=0.7),
    }


NAMES = list(every(nn.Identity()))


def test_a_smoothed_cross_entropy_by_hand() -> None:
    """Two classes with probabilities 3/4 and 1/4: a tenth of the label is spread over both."""
    logits = torch.tensor([[math.log(3.0), 0.0]])
    assert classification(0.0)(logits, torch.tensor([0])).item() == pytest.approx(math.log(4 / 3))
    smoothed = 0.95 * math.log(4 / 3) + 0.05 * math.log(4)
    assert classification(0.1)(logits, torch.tensor([0])).item() == pytest.approx(smoothed)
    shares = torch.tensor([[0.4, 0.6]])
    assert classification(0.0)(logits, shares).item() == pytest.approx(0.4 * math.log(4 / 3) + 0.6 * math.log(4))


@pytest.mark.parametrize("labels", ["y", "mixed"])
def test_the_adversary_of_the_labels_raises_their_cross_entropy(batch: Any, labels: str) -> None:
    y = getattr(batch, labels)
    search = on_labels(batch.student, y)
    losses = search.loss(search.model(batch.x_adv), *search.labels)
    wanted = nn.CrossEntropyLoss(reduction="none")(batch.student(batch.x_adv), y)
    torch.testing.assert_close(losses, wanted)


def test_a_pair_is_one_pass() -> None:
    """Batch norm in training mode: the statistics are those of both halves."""
    norm, passes = nn.BatchNorm1d(3), []
    norm.register_forward_hook(lambda *_: passes.append(1))
    x, x_adv = torch.randn(8, 3), torch.randn(8, 3) + 2
    clean, adversarial = on_pairs(norm, x, x_adv)
    together = torch.cat([x, x_adv])
    wanted = (together - together.mean(0)) / (together.var(0, unbiased=False) + norm.eps).sqrt()
    torch.testing.assert_close(torch.cat([clean, adversarial]), wanted)
    assert len(passes) == 1


@pytest.mark.parametrize("name", NAMES)
def test_the_student_learns_and_the_teacher_does_not(batch: Any, name: str) -> None:
    objective = every(batch.teacher)[name]
    search = objective.inner(batch.student, batch.x, batch.y)
    _, losses, grad = logits_and_gradient(search.model, batch.x_adv, search.labels, search.loss, len(batch.x))
    assert losses.shape == (9,)
    assert grad.flatten(1).abs().amax(1).min() > 0
    loss = objective.outer(batch.student, batch.x, batch.x_adv, batch.y)
    assert loss.shape == ()
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in batch.student.parameters())
    assert all(p.grad is None for p in batch.teacher.parameters())


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("mart", "mmr")])
def test_labels_of_mixed_images(batch: Any, name: str) -> None:
    """Shares that are 0 and 1 are labels; shares in between are something else, but for who looks at the teacher."""
    objective = every(batch.teacher)[name]

    def outer(y: Tensor) -> float:
        search = objective.inner(batch.student, batch.x, y)
        assert search.loss(search.model(batch.x_adv), *search.labels).shape == (9,)
        return objective.outer(batch.student, batch.x, batch.x_adv, y).item()

    whole = outer(batch.y)
    assert outer(nn.functional.one_hot(batch.y, 5).float()) == pytest.approx(whole, rel=1e-5)
    assert (outer(batch.mixed) == whole) is (name in ("rslad", "adaad"))


@pytest.mark.parametrize("name", NAMES)
def test_networks_that_are_quite_sure_have_finite_gradients(name: str) -> None:
    """Probabilities that float32 rounds to 0, on either side; pruned integer networks do have such logits."""
    scale = 1000 * torch.eye(5)
    student, teacher = nn.Linear(5, 5, bias=False), nn.Linear(5, 5, bias=False)
    with torch.no_grad():
        student.weight.copy_(scale)
        teacher.weight.copy_(scale.roll(1, 0))
    x, y = torch.eye(5), torch.arange(5)
    for x_adv in (x, x.roll(1, 0)):
        loss = every(teacher)[name].outer(student, x, x_adv, y)
        (grad,) = torch.autograd.grad(loss, [student.weight])
        assert bool(torch.isfinite(grad).all())
        assert bool(torch.isfinite(loss))
