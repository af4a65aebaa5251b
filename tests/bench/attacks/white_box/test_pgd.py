from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hardtemper.bench.attacks.threat.geometry import ball_of
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.pgd import pgd
from hardtemper.runtime.errors import RecipeError

Task = Any  # the fixture's class, in conftest.py
LINF, L2 = ThreatModel("linf", 20 / 255), ThreatModel("l2", 0.75)


def reference(model: nn.Module, x: Tensor, y: Tensor, *, threat: ThreatModel, steps: int, alpha: float) -> list[Tensor]:
    """Kolter & Madry's loop, written out: every iterate from x_0 = x on."""
    delta, iterates = torch.zeros_like(x), [x]
    for _ in range(steps):
        leaf = (x + delta).requires_grad_()
        (grad,) = torch.autograd.grad(F.cross_entropy(model(leaf), y, reduction="sum"), leaf)
        if threat.norm == "linf":
            delta = (delta + alpha * grad.sign()).clamp(-threat.epsilon, threat.epsilon)
        else:
            length = grad.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            delta = delta + alpha * grad / length.clamp(min=1e-30)
            delta = delta * (threat.epsilon / delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)).clamp(max=1)
        delta = (x + delta).clamp(0, 1) - x
        iterates.append(x + delta)
    return iterates


@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
@pytest.mark.parametrize("steps", [1, 20])
def test_without_early_stop_it_is_the_equation(task: Task, threat: ThreatModel, steps: int) -> None:
    alpha = threat.epsilon / 8
    model = task.model.double()
    try:
        x = task.x.double()
        expected = reference(model, x, task.y, threat=threat, steps=steps, alpha=alpha)[-1]
        found = pgd(model, x, task.y, threat=threat, steps=steps, step_size=alpha, random_start=False, early_stop=False)
    finally:
        task.model.float()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
def test_early_stop_decides_like_any_iterate(task: Task, threat: ThreatModel) -> None:
    alpha = threat.epsilon / 8
    originals = torch.from_numpy(task.pixels)
    robust = torch.ones(len(task.y), dtype=torch.bool)
    for x_adv in reference(task.model, task.x, task.y, threat=threat, steps=10, alpha=alpha):
        robust &= torch.from_numpy(task.scores(ball_of(threat).to_pixels(x_adv, originals).numpy())).argmax(1) == task.y
    found = pgd(task.model, task.x, task.y, threat=threat, steps=10, step_size=alpha, random_start=False)
    assert 0.1 < robust.float().mean() < 0.9
    # An iterate that fools as an 8-bit image but not as floats is not looked at: one image in a hundred at most.
    assert 0 <= task.robust(found, threat) - robust.float().mean() <= 0.0101
    margin = (found - task.x).flatten(1).norm(float("inf") if threat.norm == "linf" else 2, dim=1)
    assert (margin <= threat.epsilon + 1e-6).all()


@pytest.mark.parametrize("loss", ["ce", "margin"])
@pytest.mark.parametrize("threat", [ThreatModel("linf", 0.1), ThreatModel("l2", 0.3), ThreatModel("l1", 1.2)], ids=str)
def test_optimum_of_a_linear_model(threat: ThreatModel, loss: Any) -> None:
    # The loss rises with delta . w: epsilon sign(w), epsilon w / ||w||_2, or all of it on the largest |w|.
    torch.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    w = (model[1].weight[1] - model[1].weight[0]).detach()
    x = torch.rand(5, 3, 2, 2) * 0.2 + 0.4  # no pixel reaches 0 or 1 in linf and l2
    if threat.norm == "l1":
        best = x.flatten(1).clone()
        left = torch.full((5,), threat.epsilon)
        for i in w.abs().argsort(descending=True):
            face = float(w[i] > 0)
            move = (face - best[:, i]).abs().minimum(left)
            best[:, i] += move * w[i].sign()
            left = left - move
        expected = best.view_as(x)
    else:
        delta = threat.epsilon * (w.sign() if threat.norm == "linf" else w / w.norm())
        expected = x + delta.view(3, 2, 2)
    found = pgd(
        model,
        x,
        torch.zeros(5, dtype=torch.int64),
        threat=threat,
        steps=30,
        step_size=threat.epsilon / 10,
        random_start=True,
        loss=loss,
        generator=torch.Generator().manual_seed(0),
        early_stop=False,
    )
    gained = ((found - x).flatten(1) @ w) / ((expected - x).flatten(1) @ w)
    assert (gained > (0.9 if threat.norm == "l1" else 0.98)).all()
    assert (gained < 1 + 1e-5).all()


class Counted(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.calls, self.images = model, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls, self.images = self.calls + 1, self.images + len(x)
        return self.model(x)


def test_training_form_makes_no_other_pass(task: Task) -> None:
    model = Counted(task.model)
    pgd(model, task.x, task.y, threat=LINF, steps=7, step_size=0.02, random_start=True, early_stop=False)
    assert (model.calls, model.images) == (7, 7 * len(task.y))


def test_broken_images_leave_the_batch(task: Task) -> None:
    model = Counted(task.model)
    found = pgd(model, task.x, task.y, threat=LINF, steps=40, step_size=0.02, random_start=False)
    robust = round(task.robust(found, LINF) * len(task.y))
    assert model.images < 45 * robust + 15 * (len(task.y) - robust) < 40 * len(task.y)


def test_model_is_left_as_found(task: Task) -> None:
    model = nn.Sequential(task.model, nn.BatchNorm1d(6))
    model[1].train()
    task.model[0].weight.requires_grad_(False)
    before = [module.training for module in model.modules()], [p.requires_grad for p in model.parameters()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        pgd(model, task.x, task.y, threat=LINF, steps=2, step_size=0.02, random_start=False)
        assert before == (
            [module.training for module in model.modules()],
            [p.requires_grad for p in model.parameters()],
        )
    finally:
        task.model[0].weight.requires_grad_(True)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model[1].parameters())


@pytest.mark.parametrize("batch_size", [7, 1000])
@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
def test_batch_size_and_seed(task: Task, threat: ThreatModel, batch_size: int) -> None:
    def run(seed: int, batch_size: int) -> Tensor:
        return pgd(
            task.model,
            task.x,
            task.y,
            threat=threat,
            steps=5,
            step_size=threat.epsilon / 4,
            random_start=True,
            restarts=2,
            generator=torch.Generator().manual_seed(seed),
            batch_size=batch_size,
        )

    first = run(0, 128)
    assert torch.equal(run(0, 128), first)
    assert not torch.equal(run(1, 128), first)
    assert abs(task.robust(run(0, batch_size), threat) - task.robust(first, threat)) <= 0.02


@pytest.mark.parametrize("threat", [LINF, L2, ThreatModel("l1", 2.0)], ids=str)
@pytest.mark.parametrize("loss", ["margin", "dlr"])
def test_other_losses_break_images(task: Task, threat: ThreatModel, loss: Any) -> None:
    robust = {
        name: task.robust(
            pgd(
                task.model,
                task.x,
                task.y,
                threat=threat,
                steps=15,
                step_size=threat.epsilon / 6,
                random_start=False,
                loss=name,
            ),
            threat,
        )
        for name in ("ce", loss)
    }
    # On six classes the denominator of the ratio swings: with steps of one size, dlr is the weakest of the three.
    assert 0.02 < robust[loss] <= (robust["ce"] + 0.05 if loss == "margin" else 0.5)


def test_restarts_break_no_less(task: Task) -> None:
    def robust(restarts: int) -> float:
        found = pgd(
            task.model,
            task.x,
            task.y,
            threat=L2,
            steps=3,
            step_size=0.2,
            random_start=True,
            restarts=restarts,
            generator=torch.Generator().manual_seed(0),
        )
        return task.robust(found, L2)

    assert robust(1) > robust(8)


def test_restarts_leave_broken_images_alone(linear: nn.Module) -> None:
    # One step across the ball from a random corner: some images are broken by the first restart's, others never.
    x, threat = torch.randint(60, 196, (80, 3, 4, 4), generator=torch.Generator().manual_seed(0)) / 255, LINF
    y = linear(x).argmax(1)
    generator, passes, results = torch.Generator().manual_seed(1), [], []
    active = torch.arange(80)
    expected = x.clone()

    def noted(images: Tensor) -> Tensor:
        passes.append((len(images), images.requires_grad))
        logits: Tensor = linear(images)
        return logits

    def pixels(points: Tensor) -> Tensor:
        return ball_of(threat).to_pixels(points, (x[active] * 255).round().byte()) / 255

    for _ in range(2):
        start = ball_of(threat).random_start(x[active], generator)
        early = (linear(start).argmax(1) != y[active]) & (linear(pixels(start)).argmax(1) != y[active])
        leaf = start.clone().requires_grad_()
        (grad,) = torch.autograd.grad(F.cross_entropy(linear(leaf), y[active], reduction="sum"), leaf)
        last = ball_of(threat).project(start + 0.03 * grad.sign(), x[active])
        expected[active] = torch.where(early.view(-1, 1, 1, 1), start, last)
        late = (linear(last).argmax(1) != y[active]) & (linear(pixels(last)).argmax(1) != y[active])
        results.append((len(active), int(early.sum()), int((late & ~early).sum())))
        active = active[~(early | late)]
    assert min(results[0][1:]) > 1  # both kinds of end
    assert len(active) > 10
    found = pgd(
        noted,
        x,
        y,
        threat=threat,
        steps=1,
        step_size=0.03,
        random_start=True,
        restarts=2,
        generator=torch.Generator().manual_seed(1),
    )
    torch.testing.assert_close(found, expected)
    assert [count for count, gradient in passes if gradient] == [results[0][0], results[1][0]]


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"step_size": -0.1},
        {"step_size": math.nan},
        {"step_size": math.inf},
        {"restarts": 0},
        {"restarts": 2},
        {"restarts": 2, "random_start": True, "early_stop": False},
    ],
    ids=str,
)
def test_refused_settings(task: Task, settings: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"steps": 1, "step_size": 0.1, "random_start": False}
    with pytest.raises(RecipeError, match=r"expected: .*got: "):
        pgd(task.model, task.x, task.y, threat=LINF, **usual | settings)


def test_no_images(task: Task) -> None:
    for early_stop in (False, True):
        found = pgd(
            task.model,
            task.x[:0],
            task.y[:0],
            threat=LINF,
            steps=2,
            step_size=0.1,
            random_start=False,
            early_stop=early_stop,
        )
        assert found.shape == task.x[:0].shape


@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
def test_robust_accuracy_is_that_of_art(task: Task, threat: ThreatModel, art: Callable[[Task], Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from art.attacks.evasion import ProjectedGradientDescent

        attack = ProjectedGradientDescent(
            art(task),
            norm="inf" if threat.norm == "linf" else 2,
            eps=threat.epsilon,
            eps_step=threat.epsilon / 8,
            max_iter=20,
            batch_size=128,
            verbose=False,
        )
        theirs = torch.from_numpy(attack.generate(task.x.numpy(), task.labels))
    ours = pgd(
        task.model,
        task.x,
        task.y,
        threat=threat,
        steps=20,
        step_size=threat.epsilon / 8,
        random_start=False,
        early_stop=False,
    )
    assert abs(task.robust(ours, threat) - task.robust(theirs, threat)) <= 0.01
