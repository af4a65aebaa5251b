from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hardtemper.bench.attacks.threat.norms import length
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.apgd import apgd
from hardtemper.bench.attacks.white_box.fab import _Step, fab
from hardtemper.bench.attacks.white_box.fab_projections import onto_hyperplane
from hardtemper.bench.attacks.white_box.on_pixels import attack_pixels
from hardtemper.runtime.errors import ModelError, RecipeError

Task = Any  # the fixture's class, in conftest.py
NORMS: Any = ["linf", "l2", "l1"]
EVERYTHING = {"linf": ThreatModel("linf", 1.0), "l2": ThreatModel("l2", 100.0), "l1": ThreatModel("l1", 1000.0)}
RADII = {"linf": ThreatModel("linf", 20 / 255), "l2": ThreatModel("l2", 0.75), "l1": ThreatModel("l1", 4.0)}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distances(model: nn.Module, x: Tensor, y: Tensor, norm: Any) -> Tensor:
    """[N, K]: how far each class's boundary is from each image of a linear model, inside the box."""
    weight, bias = model[1].weight.detach(), model[1].bias.detach()
    flat = x.flatten(1)
    found = torch.full((len(x), len(bias)), torch.inf)
    for k in range(len(bias)):
        w = weight[k] - weight[y]
        height = (flat * w).sum(1) + bias[k] - bias[y]
        moves = onto_hyperplane(flat, w, height, norm)
        reached = (((flat + moves) * w).sum(1) + bias[k] - bias[y]).abs() < 1e-4
        found[:, k] = torch.where(reached & (y != k), length(moves, norm), torch.inf)
    return found


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("norm", NORMS)
def test_minimum_of_a_linear_model(linear: nn.Module, norm: Any, targeted: bool) -> None:
    torch.manual_seed(2)
    x = torch.randint(0, 256, (12, 3, 4, 4)) / 255
    y = linear(x).argmax(1)
    found = fab(linear, x, y, threat=EVERYTHING[norm], targeted=targeted, steps=20, minimize=True)
    assert (linear(found).argmax(1) != y).all()
    best = distances(linear, x, y, norm).amin(1)
    # FAB chooses the class as if there were no box, and in l1 the box counts most.
    tolerance = 0.02 if targeted else {"linf": 0.02, "l2": 0.02, "l1": 0.05}[norm]
    torch.testing.assert_close(length((found - x).flatten(1), norm), best, rtol=tolerance, atol=1e-5)


@pytest.mark.parametrize("alpha_max", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("norm", NORMS)
def test_a_step_is_the_equation(norm: Any, alpha_max: float) -> None:
    # Far from the box the shortest move to a hyperplane is -f / ||w||_q along w, sign(w), or the largest entry of w.
    generator = seeded()
    x = torch.rand(40, 6, generator=generator) * 0.1 + 0.45
    w = torch.randn(40, 6, generator=generator)
    x_adv = x + torch.randn(40, 6, generator=generator) * 0.05
    height = torch.randn(40, generator=generator) * 0.1
    steepest, q = {
        "linf": (w.sign(), 1.0),
        "l2": (w / w.norm(dim=1, keepdim=True), 2.0),
        "l1": (w.sign() * (w.abs() == w.abs().amax(1, keepdim=True)), math.inf),
    }[norm]
    there = height + ((x - x_adv) * w).sum(1)
    d_adv, d_x = (-(f / w.norm(q, dim=1)).unsqueeze(1) * steepest for f in (height, there))
    ours, theirs = length(d_adv, norm), length(d_x, norm)
    share = ours / (ours + theirs)
    assert 0 < (share < 0.1).sum() < 40
    alpha = share.clamp(max=alpha_max).unsqueeze(1)
    expected = ((1 - alpha) * (x_adv + 1.05 * d_adv) + alpha * (x + 1.05 * d_x)).clamp(0, 1)
    found = _Step(norm=norm, alpha_max=alpha_max, eta=1.05)(x_adv, x, height, w)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("minimize", [False, True])
@pytest.mark.parametrize("norm", NORMS)
def test_the_backward_step_is_cut_to_the_ball_for_a_verdict_in_linf(norm: Any, minimize: bool) -> None:
    # The boundary is outside the ball: beyond it, at 1.05 of the way, the class changes, and 0.9 of that is left.
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    model[1].weight.data = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, -1.0, 1.5, 1.0]])
    x = torch.full((1, 1, 2, 2), 128 / 255)
    model[1].bias.data = torch.tensor([0.2, 0.0]) + (model[1].weight @ x.flatten()).detach() * torch.tensor([0.0, -1.0])
    seen = []

    def noted(images: Tensor) -> Tensor:
        if images.requires_grad:
            seen.append(images.detach())
        logits: Tensor = model(images)
        return logits

    distance = 0.2 / {"linf": 4.5, "l2": math.sqrt(5.25), "l1": 1.5}[norm]
    threat = ThreatModel(norm, distance / 2)
    y = torch.zeros(1, dtype=torch.int64)
    fab(noted, x, y, threat=threat, steps=2, minimize=minimize)
    cut = norm == "linf" and not minimize
    moved = length((seen[1] - x).flatten(1), norm)
    torch.testing.assert_close(moved, torch.tensor([threat.epsilon if cut else 0.9 * 1.05 * distance]))


@pytest.mark.parametrize("norm", NORMS)
def test_threat_with_a_target(linear: nn.Module, norm: Any) -> None:
    torch.manual_seed(2)
    x = torch.randint(0, 256, (12, 3, 4, 4)) / 255
    y = linear(x).argmax(1)
    threat = ThreatModel(norm, EVERYTHING[norm].epsilon, target=3)
    found = fab(linear, x, y, threat=threat, steps=40, minimize=True)
    attacked = y != 3
    assert attacked.any()
    assert (linear(found).argmax(1) == 3).all()
    assert torch.equal(found[~attacked], x[~attacked])
    # Crossing the boundary to the right class is needed; another class may still be ahead.
    lengths, least = length((found - x).flatten(1), norm), distances(linear, x, y, norm)[:, 3]
    assert (lengths >= least - 1e-5)[attacked].all()
    with pytest.raises(ModelError, match="expected: a class below 5; got: 7"):
        fab(linear, x, y, threat=ThreatModel(norm, 0.5, target=7), steps=1)


@pytest.mark.parametrize("minimize", [False, True])
@pytest.mark.parametrize("norm", NORMS)
def test_stays_in_the_ball_and_fools(task: Task, norm: Any, minimize: bool) -> None:
    threat = RADII[norm]
    found = fab(task.model, task.x, task.y, threat=threat, targeted=True, targets=2, steps=10, minimize=minimize)
    moved = task.fooled(found, threat)
    assert 0.1 < moved.float().mean() < 1
    if not minimize:
        # Only what survives rounding ends a search; most of what is found in so few steps is of that kind.
        assert task.robust(found, threat) <= 1 - 0.8 * float(moved.float().mean())


@pytest.mark.parametrize("norm", NORMS)
def test_agrees_with_apgd(task: Task, norm: Any) -> None:
    threat = RADII[norm]
    ours = fab(task.model, task.x, task.y, threat=threat, targeted=True, targets=3, steps=20)
    theirs = apgd(
        task.model, task.x, task.y, threat=threat, loss="dlr-targeted", targets=3, steps=20, generator=seeded()
    )
    assert abs(task.robust(ours, threat) - task.robust(theirs, threat)) <= 0.03


def test_more_steps_targets_and_restarts_come_no_less_close(task: Task) -> None:
    def mean(**settings: Any) -> float:
        found = fab(
            task.model,
            task.x[:48],
            task.y[:48],
            threat=EVERYTHING["l2"],
            targeted=True,
            minimize=True,
            generator=seeded(),
            **settings,
        )
        return float(length((found - task.x[:48]).flatten(1), "l2").mean())

    few = mean(steps=5, targets=1)
    assert mean(steps=20, targets=1) <= few
    assert mean(steps=5, targets=5) < few
    assert mean(steps=5, targets=1, restarts=3) < few
    assert mean(steps=5, targets=99) == mean(steps=5, targets=5)  # there are five


def test_reproducible(task: Task) -> None:
    x, y = task.x[:32], task.y[:32]
    a, b, c = (
        fab(task.model, x, y, threat=EVERYTHING["l1"], steps=3, restarts=3, minimize=True, generator=seeded(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_batches_do_not_change_the_result(task: Task) -> None:
    whole, parts = (
        fab(task.model, task.x[:20], task.y[:20], threat=RADII["l2"], targeted=True, steps=5, batch_size=size)
        for size in (128, 7)
    )
    torch.testing.assert_close(whole, parts)


def test_wrong_images_and_no_images(task: Task) -> None:
    y = (task.y + 1) % 6
    assert torch.equal(fab(task.model, task.x, y, threat=RADII["linf"], steps=2), task.x)
    assert fab(task.model, task.x[:0], task.y[:0], threat=RADII["linf"]).shape == task.x[:0].shape


def test_two_classes() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    x = torch.rand(4, 3, 2, 2)
    y = model(x).argmax(1)
    found = fab(model, x, y, threat=ThreatModel("linf", 1.0), targeted=True, steps=5, minimize=True)
    assert (model(found).argmax(1) != y).all()


def test_saturated_logits_do_not_stop_it(task: Task) -> None:
    """A network whose logits are so small that the squares of its gradients vanish."""
    x, y = task.x[:32], task.y[:32]
    settings: Any = {"threat": EVERYTHING["l2"], "targeted": True, "targets": 2, "steps": 5, "minimize": True}
    plain = fab(task.model, x, y, **settings)
    tiny = fab(lambda images: task.model(images) * 1e-25, x, y, **settings)
    lengths = [length((found - x).flatten(1), "l2").median() for found in (plain, tiny)]
    torch.testing.assert_close(lengths[1], lengths[0], rtol=0.05, atol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_pixels(task: Task, norm: Any) -> None:
    threat = RADII[norm]
    result = attack_pixels(
        "fab-t", fab, task.model, task.pixels, task.labels, threat=threat, seed=0, targeted=True, targets=2, steps=5
    )
    assert threat.contains(result.adversarial, task.pixels).all()
    broken = task.scores(result.adversarial).argmax(1) != task.labels
    assert 0 < broken.sum() < len(broken)


@pytest.mark.parametrize(
    "settings",
    [{"steps": 0}, {"restarts": 0}, {"targets": 0}, {"alpha_max": 1.5}, {"eta": 0.9}, {"eta": math.inf}, {"beta": 1.0}],
    ids=str,
)
def test_refused_settings(task: Task, settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"expected: .*got: "):
        fab(task.model, task.x, task.y, threat=RADII["linf"], **settings)


def test_no_gradient(task: Task) -> None:
    with pytest.raises(ModelError, match="fix: attack the twin"):
        fab(lambda x: task.model(x).detach(), task.x, task.y, threat=RADII["linf"], steps=1)
