from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hardtemper.bench.attacks.threat.geometry import ball_of
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.apgd import _Search, apgd
from hardtemper.bench.attacks.white_box.pgd import pgd
from hardtemper.runtime.errors import ModelError, RecipeError

Task = Any  # the fixture's class, in conftest.py
LINF, L2, L1 = ThreatModel("linf", 20 / 255), ThreatModel("l2", 0.75), ThreatModel("l1", 2.0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("threat", [ThreatModel("linf", 0.1), ThreatModel("l2", 0.3)], ids=str)
def test_optimum_of_a_linear_model(threat: ThreatModel) -> None:
    # Two classes, too far apart to be fooled: the loss is highest at epsilon sign(w), or epsilon w / ||w||_2.
    torch.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    w = (model[1].weight[1] - model[1].weight[0]).detach()
    model[1].bias.data = torch.tensor([5.0, 0.0])
    y = torch.zeros(5, dtype=torch.int64)
    x = torch.randint(110, 140, (5, 3, 2, 2)) / 255
    delta = threat.epsilon * (w.sign() if threat.norm == "linf" else w / w.norm())
    found = apgd(model, x, y, threat=threat, generator=seeded())
    gained = (found - x).flatten(1) @ w / (delta @ w)
    torch.testing.assert_close(gained, torch.ones(5), rtol=0, atol=1e-4)


def by_hand(loss: str, z: list[float], y: int, target: int | None) -> float:
    """The losses of Croce & Hein 2020 (eq. 6 and 7), for one image's logits."""
    ranked = sorted(z, reverse=True)
    if loss == "dlr-targeted" and target is not None:
        return -(z[y] - z[target]) / (ranked[0] - (ranked[2] + ranked[3]) / 2)
    rival = max(logit for k, logit in enumerate(z) if k != y)
    return {
        "ce": math.log(sum(math.exp(logit) for logit in z)) - z[y],
        "margin": rival - z[y],
        "dlr": -(z[y] - rival) / (ranked[0] - ranked[2]),
    }[loss]


@pytest.mark.parametrize("loss", ["ce", "margin", "dlr", "dlr-targeted"])
def test_what_is_raised_is_the_papers_loss(linear: nn.Module, loss: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    searches = []

    def unbroken(search: Any, x: Tensor, labels: Any, start: Tensor, *, stop: bool) -> tuple[Tensor, Tensor]:
        searches.append((search.loss, labels))
        return start, torch.zeros(len(x), dtype=torch.bool)

    monkeypatch.setattr(_Search, "ascend", unbroken)
    x = torch.rand(6, 3, 4, 4, generator=seeded())
    z = linear(x).detach()
    y, seen = z.argmax(1), torch.randn(6, 5, generator=seeded(1))
    apgd(linear, x, y, threat=LINF, loss=loss, targets=3, generator=seeded())
    assert len(searches) == (3 if loss == "dlr-targeted" else 1)
    for turn, (raised, labels) in enumerate(searches, 1):
        goals = z.argsort(1, descending=True)[:, turn] if loss == "dlr-targeted" else None  # likeliest first
        assert torch.equal(labels[0], y)
        assert len(labels) == 1 if goals is None else torch.equal(labels[1], goals)
        expected = [
            by_hand(loss, logits.tolist(), int(y[i]), None if goals is None else int(goals[i]))
            for i, logits in enumerate(seen)
        ]
        torch.testing.assert_close(raised(seen, *labels), torch.tensor(expected))


@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
def test_finds_at_least_what_pgd_finds(task: Task, threat: ThreatModel) -> None:
    x, y = task.x, task.y
    by_pgd = pgd(task.model, x, y, threat=threat, steps=20, step_size=threat.epsilon / 8, random_start=False)
    robust = {
        loss: task.robust(apgd(task.model, x, y, threat=threat, loss=loss, generator=seeded()), threat)
        for loss in ("ce", "dlr-targeted")
    }
    assert robust["ce"] <= task.robust(by_pgd, threat) + 0.01
    assert 0.02 < robust["dlr-targeted"] <= robust["ce"] + 0.01


def test_l1_moves_few_pixels_and_more_than_pgd(task: Task) -> None:
    found = apgd(task.model, task.x, task.y, threat=L1, steps=40, generator=seeded())
    plain = pgd(task.model, task.x, task.y, threat=L1, steps=40, step_size=L1.epsilon / 8, random_start=False)
    assert 0.02 < task.robust(found, L1) <= task.robust(plain, L1)
    assert 2 < (found != task.x).flatten(1).sum(1).float().mean() < 72  # of 144


def test_l1_optimum_of_a_linear_model() -> None:
    # Two classes, too far apart to be fooled: 0.9 + 0.3 + what is left of 1.5, on the largest |w|.
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    model[1].weight.data = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, -3.0, 0.5, 2.0]])
    model[1].bias.data = torch.tensor([9.0, 0.0])
    x = torch.tensor([51, 229.5, 127.5, 178.5]).view(1, 1, 2, 2) / 255
    y = torch.zeros(1, dtype=torch.int64)
    found = apgd(model, x, y, threat=ThreatModel("l1", 1.5), generator=seeded())
    best = torch.tensor([0.5, 0.0, 0.5, 1.0])
    w = model[1].weight[1].detach()
    assert (found.flatten() @ w) - (x.flatten() @ w) > 0.98 * ((best - x.flatten()) @ w)


@pytest.mark.parametrize(
    ("steps", "counts"),
    [(1, [1, 0]), (2, [1, 1, 0]), (3, [1, 1, 1]), (4, [2, 2, 0]), (7, [3, 3, 1]), (100, [30, 30, 40])],
)
def test_l1_goes_through_wider_balls(monkeypatch: pytest.MonkeyPatch, steps: int, counts: list[int]) -> None:
    # AutoAttack's: iters = [ceil(.3 n), ceil(.3 n), n - the others]
    seen = []
    ascend = _Search.ascend

    def noted(search: Any, *data: Any, **stop: bool) -> Any:
        seen.append((search.threat.epsilon, search.steps))
        return ascend(search, *data, **stop)

    monkeypatch.setattr(_Search, "ascend", noted)
    x, y = torch.full((1, 1, 2, 2), 128 / 255), torch.zeros(1, dtype=torch.int64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    model[1].bias.data = torch.tensor([9.0, 0.0])
    found = apgd(model, x, y, threat=ThreatModel("l1", 0.1), steps=steps, generator=seeded())
    assert [count for _, count in seen] == counts
    epsilons = torch.tensor([epsilon for epsilon, _ in seen])
    torch.testing.assert_close(epsilons, torch.tensor([0.3, 0.2, 0.1] if len(counts) == 3 else [0.3, 0.1]))
    assert (found - x).abs().sum() <= 0.1 + 1e-6


@pytest.mark.parametrize("wrong", [2, 3])
def test_one_loss_that_is_no_number_is_got_over(wrong: int) -> None:
    """Pass `wrong` overflows: the second is that of the random start, the third that of a corner of the ball."""
    passes = 0
    w = torch.tensor([1.0, -2.0, 3.0, -4.0]).view(2, 2)

    def once(x: Tensor) -> Tensor:
        nonlocal passes
        passes += 1
        logits = torch.stack((torch.full((len(x),), 20.0), (x * w).sum((1, 2, 3))), 1)
        return logits * math.nan if passes == wrong else logits

    x, y = torch.full((1, 1, 2, 2), 128 / 255), torch.zeros(1, dtype=torch.int64)
    found = apgd(once, x, y, threat=ThreatModel("linf", 0.1), steps=20, loss="margin", generator=seeded())
    torch.testing.assert_close(found - x, 0.1 * w.sign().expand_as(x))


@pytest.mark.parametrize("loss", ["ce-targeted", "margin-targeted", "mse"])
def test_unknown_losses_are_refused(task: Task, loss: Any) -> None:
    for threat in (LINF, ThreatModel("linf", 0.1, target=2)):
        with pytest.raises(RecipeError, match="unknown loss"):
            apgd(task.model, task.x, task.y, threat=threat, loss=loss, steps=1)


def test_towards_a_target(task: Task) -> None:
    threat = ThreatModel("linf", 40 / 255, target=2)
    for loss in ("ce", "margin", "dlr", "dlr-targeted"):
        found = apgd(task.model, task.x, task.y, threat=threat, loss=loss, steps=20, generator=seeded())  # type: ignore[arg-type]
        pixels = ball_of(threat).to_pixels(found, torch.from_numpy(task.pixels))
        predictions = task.scores(pixels.numpy()).argmax(1)
        others = task.labels != 2
        assert (predictions == 2)[others].mean() > 0.6
        # An image that did not reach the target may well be taken for another class, but is not counted.
        assert not threat.fooled(predictions, task.labels)[~others].any()
        assert torch.equal(found[~torch.from_numpy(others)], task.x[~torch.from_numpy(others)])


def test_stays_in_the_ball(task: Task) -> None:
    for threat, order in ((LINF, float("inf")), (L2, 2), (L1, 1)):
        found = apgd(task.model, task.x, task.y, threat=threat, steps=10, generator=seeded())
        assert (torch.linalg.vector_norm((found - task.x).flatten(1), order, dim=1) <= threat.epsilon + 1e-5).all()
        assert found.min() >= 0
        assert found.max() <= 1


def test_wrong_images_come_back_as_they_are(task: Task) -> None:
    y = task.y.clone()
    y[::2] = (y[::2] + 1) % 6
    found = apgd(task.model, task.x, y, threat=LINF, steps=3, generator=seeded())
    assert torch.equal(found[::2], task.x[::2])
    assert not any(torch.equal(a, b) for a, b in zip(found[1::2], task.x[1::2], strict=True))


def test_an_unbroken_image_comes_back_with_the_highest_loss_seen(task: Task) -> None:
    threat = ThreatModel("linf", 4 / 255)
    seen = []

    class Recorded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = task.model(x)
            seen.append((x.detach().clone(), nn.functional.cross_entropy(logits.detach(), y, reduction="none")))
            return logits

    x, y = task.x[:1], task.y[:1]
    found = apgd(Recorded(), x, y, threat=threat, steps=20, generator=seeded())
    assert len(seen) == 22  # the image itself, the random start, 20 steps
    best, _ = max(seen[1:], key=lambda pair: float(pair[1]))
    assert task.robust(task.x, threat) == 1
    assert torch.equal(found, best)


def test_step_size_halves_where_the_loss_cannot_rise() -> None:
    # The loss is flat: nothing ever rises, so every checkpoint halves the step: after seven of eight, 2^-7 as long.
    moves: list[float] = []
    before: list[Tensor] = []

    def flat(x: Tensor) -> Tensor:
        if x.requires_grad:
            moves.extend(float((x - last).detach().abs().max()) for last in before[-1:])
            before.append(x.detach())
        return torch.stack((x.sum((1, 2, 3)) * 1e-30 + 1, x.sum((1, 2, 3)) * 0), 1)

    y = torch.zeros(1, dtype=torch.int64)
    apgd(flat, torch.full((1, 1, 2, 2), 128 / 255), y, threat=ThreatModel("linf", 0.1), generator=seeded())
    assert moves[0] > 0
    assert 0 < moves[-2] <= 0.2 / 2**7 + 1e-6  # the last checkpoint is step 99; the move after it starts elsewhere


@pytest.mark.parametrize("loss", ["ce", "dlr", "dlr-targeted"])
def test_reproducible(task: Task, loss: Any) -> None:
    a, b, c = (
        apgd(task.model, task.x, task.y, threat=LINF, loss=loss, steps=5, targets=2, generator=seeded(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_restarts_and_targets_break_no_less(task: Task) -> None:
    def robust(loss: Any, **settings: int) -> float:
        found = apgd(task.model, task.x, task.y, threat=LINF, loss=loss, steps=8, generator=seeded(), **settings)
        return task.robust(found, LINF)

    assert robust("ce", restarts=4) < robust("ce")
    assert robust("dlr-targeted", targets=5) < robust("dlr-targeted", targets=1)
    assert robust("dlr-targeted", targets=99) == robust("dlr-targeted", targets=5)  # there are five


def test_model_is_left_as_found(task: Task) -> None:
    model = nn.Sequential(task.model, nn.Dropout(0.5)).train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        apgd(model, task.x, task.y, threat=LINF, steps=2)
        assert all(module.training for module in model.modules())
        assert all(p.requires_grad and p.grad is None for p in model.parameters())
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    finally:
        model.eval()


@pytest.mark.parametrize("settings", [{"steps": 0}, {"restarts": 0}, {"targets": 0}], ids=str)
def test_refused_settings(task: Task, settings: dict[str, int]) -> None:
    with pytest.raises(RecipeError, match=r"expected: .*got: "):
        apgd(task.model, task.x, task.y, threat=LINF, **settings)


def test_too_few_classes() -> None:
    x, y = torch.zeros(1, 1, 1, 2), torch.zeros(1, dtype=torch.int64)
    for loss in ("dlr", "dlr-targeted"):
        with pytest.raises(ModelError, match="fix: attack with the loss ce"):
            apgd(nn.Flatten(), x, y, threat=LINF, loss=loss, steps=1)  # type: ignore[arg-type]


def test_no_images(task: Task) -> None:
    for loss in ("ce", "dlr-targeted"):
        found = apgd(task.model, task.x[:0], task.y[:0], threat=LINF, loss=loss)  # type: ignore[arg-type]
        assert found.shape == task.x[:0].shape


@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
def test_robust_accuracy_is_that_of_art(task: Task, threat: ThreatModel, art: Callable[[Task], Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from art.attacks.evasion import AutoProjectedGradientDescent

        attack = AutoProjectedGradientDescent(
            art(task),
            norm="inf" if threat.norm == "linf" else 2,
            eps=threat.epsilon,
            eps_step=2 * threat.epsilon,
            max_iter=50,
            nb_random_init=1,
            batch_size=128,
            loss_type="cross_entropy",
            verbose=False,
        )
        theirs = torch.from_numpy(attack.generate(task.x.numpy(), task.labels))
    ours = apgd(task.model, task.x, task.y, threat=threat, steps=50, generator=seeded())
    assert -0.08 <= task.robust(ours, threat) - task.robust(theirs, threat) <= 0.02
