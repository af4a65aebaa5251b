"""The adversary of training: the attacks of `bench` where they are the same, their equations where they are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardtemper.bench.attacks.threat.geometry import LinfBall, ball_of
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.fgsm import fgsm
from hardtemper.bench.attacks.white_box.pgd import pgd
from hardtemper.bench.data.dataset import Part
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.errors import RecipeError
from hardtemper.toolchain.recipe.adversary import Adversary
from hardtemper.toolchain.train.inner_maximization import adversarial_images, gradient_misalignment
from hardtemper.toolchain.train.objectives.adversarial import Adversarial
from hardtemper.toolchain.train.objectives.objective import Objective
from hardtemper.toolchain.train.objectives.trades import Trades


@pytest.fixture
def images(train: Part) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(train.images[:64]).float() / 255, torch.from_numpy(train.labels[:64])


def attack(module: nn.Module, x: Tensor, y: Tensor, objective: Objective | None = None, **settings: Any) -> Tensor:
    return adversarial_images(
        module,
        x,
        y,
        adversary=Adversary(**settings),
        objective=objective or Adversarial(),
        generator=torch.Generator().manual_seed(7),
    )


@pytest.mark.parametrize("random_start", [True, False])
@pytest.mark.parametrize("threat", ["linf:0.1", "l2:0.5", "l1:4.0"])
def test_pgd_is_the_benchmarks(net: Callable[..., nn.Sequential], images: Any, threat: str, random_start: bool) -> None:
    module, (x, y) = net(), images
    found = attack(module, x, y, threat=threat, steps=3, step_size=0.06, random_start=random_start)
    wanted = pgd(
        module,
        x,
        y,
        threat=ThreatModel.parse(threat),
        steps=3,
        step_size=0.06,
        random_start=random_start,
        generator=torch.Generator().manual_seed(7),
        early_stop=False,
    )
    assert torch.equal(found, wanted)
    assert not torch.equal(found, x)


@pytest.mark.parametrize("random_start", [True, False])
def test_fgsm_is_the_benchmarks(net: Callable[..., nn.Sequential], images: Any, random_start: bool) -> None:
    """And without a random start, a step of 1.25 epsilon ends where one of epsilon does."""
    module, (x, y) = net(), images
    found = attack(module, x, y, threat="linf:0.1", attack="fgsm", random_start=random_start)
    threat, generator = ThreatModel("linf", 0.1), torch.Generator().manual_seed(7)
    wanted = fgsm(module, x, y, threat=threat, random_start=random_start, generator=generator)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


def test_training_may_search_a_larger_ball(net: Callable[..., nn.Sequential], images: Any) -> None:
    module, (x, y) = net(), images
    settings = {"threat": "linf:0.05", "steps": 4, "step_size": 0.04}
    larger = attack(module, x, y, training_epsilon=0.08, **settings)
    assert torch.equal(larger, attack(module, x, y, **{**settings, "threat": "linf:0.08"}))
    assert (larger - x).abs().max() > 0.05
    assert Adversary(threat="l2:1.5", training_epsilon=2).ball == ThreatModel("l2", 2)
    assert Adversary(threat="l2:1.5").ball == ThreatModel("l2", 1.5)
    with pytest.raises(RecipeError, match="radius of a threat model out of range"):
        Adversary(threat="linf:0.1", training_epsilon=1.5)


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ({"attack": "fgsm"}, 0.125),
        ({"attack": "n-fgsm"}, 0.1),
        ({"attack": "pgd", "steps": 1}, 0.2),
        ({"attack": "pgd", "steps": 1, "step_size": 0.01}, 0.01),
        ({"attack": "fgsm", "step_size": 0.03}, 0.03),
        ({"attack": "n-fgsm", "step_size": 0.03}, 0.03),
    ],
)
def test_the_size_of_a_step(monkeypatch: pytest.MonkeyPatch, images: Any, given: dict[str, Any], size: float) -> None:
    sizes = []
    step = LinfBall.step

    def noting(self: LinfBall, x_adv: Tensor, grad: Tensor, step_size: float) -> Tensor:
        sizes.append(step_size)
        return step(self, x_adv, grad, step_size)

    monkeypatch.setattr(LinfBall, "step", noting)
    attack(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), *images, threat="linf:0.1", **given)
    assert sizes == pytest.approx([size])


class Seen(nn.Module):
    """Keeps the images that it is asked about."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.inner, self.points = module, list[Tensor]()

    def forward(self, x: Tensor) -> Tensor:
        self.points.append(x.detach().clone())
        logits: Tensor = self.inner(x)
        return logits


def test_n_fgsm_by_its_equations(net: Callable[..., nn.Sequential], images: Any) -> None:
    module, (x, y) = net().eval(), images
    seen, epsilon = Seen(module), 0.05
    found = attack(seen, x, y, threat=f"linf:{epsilon}", attack="n-fgsm")
    (start,) = seen.points
    # the noise: uniform within twice the radius, as far as pixels go
    inside = (x > 2 * epsilon) & (x < 1 - 2 * epsilon)
    noise = (start - x)[inside] / epsilon
    assert 0 <= start.min() <= start.max() <= 1
    assert -2 <= noise.min() < -1.99
    assert 1.99 < noise.max() <= 2
    for level in (-1.5, -1.0, 0.0, 1.0, 1.5):
        assert float((noise < level).float().mean()) == pytest.approx((level + 2) / 4, abs=0.03)
    # the step, without a projection on the ball
    point = start.clone().requires_grad_()
    (grad,) = torch.autograd.grad(nn.CrossEntropyLoss(reduction="sum")(module(point), y), point)
    torch.testing.assert_close(found, (start + epsilon * grad.sign()).clamp(0, 1), rtol=0, atol=1e-6)
    away = (found - x).abs().max()
    assert 2.5 * epsilon < away <= 3 * epsilon + 1e-6


def test_what_is_raised_is_the_objectives(net: Callable[..., nn.Sequential], images: Any) -> None:
    """TRADES' adversary as in its authors' code, written with torch's own divergence."""
    module, (x, y) = net().eval(), images
    settings: dict[str, Any] = {"threat": "linf:0.1", "steps": 3, "step_size": 0.06}
    found = attack(module, x, y, Trades(), **settings)
    threat = ThreatModel("linf", 0.1)
    point = ball_of(threat).random_start(x, torch.Generator().manual_seed(7))
    with torch.no_grad():
        natural = F.softmax(module(x), dim=1)
    for _ in range(3):
        point = point.detach().requires_grad_()
        loss = nn.KLDivLoss(reduction="sum")(F.log_softmax(module(point), dim=1), natural)
        (grad,) = torch.autograd.grad(loss, point)
        point = (point + 0.06 * grad.sign()).clamp(x - 0.1, x + 0.1).clamp(0, 1)
    same = torch.isclose(found, point.detach(), rtol=0, atol=1e-6)
    assert same.float().mean() > 0.99  # the sign of a gradient next to nothing may differ
    assert not torch.equal(found, attack(module, x, y, **settings))


def test_the_module_is_as_it_was(net: Callable[..., nn.Sequential], images: Any) -> None:
    module, (x, y) = net().train(), images
    module[0].weight.requires_grad_(False)
    x, before = x.clone(), {key: value.clone() for key, value in module.state_dict().items()}
    attack(module, x, y, Trades(), steps=2)
    assert all(part.training for part in module.modules())
    assert [p.requires_grad for p in module.parameters()] == [False, True, True, True, True]
    assert all(p.grad is None for p in module.parameters())
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert torch.equal(x, images[0])


class Quadratic(nn.Module):
    """Logits -+ scale q(x), q = sum of a x^2 / 2 + b x: the gradient of the cross-entropy is along a x + b."""

    def __init__(self, curvature: float, scale: float = 1.0) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(5)
        self.a = nn.Parameter(curvature * torch.randn(64, generator=random))
        self.b = nn.Parameter(torch.randn(64, generator=random))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        q = (self.a * x.square() / 2 + self.b * x).sum(1)
        return torch.stack([-self.scale * q, self.scale * q], 1)

    def misalignment(self, x: Tensor, nearby: Tensor) -> Tensor:
        one, other = (self.a * point.flatten(1) + self.b for point in (x, nearby))
        return 1 - ((one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1))).mean()


THREAT = ThreatModel("linf", 0.25)


def penalty(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return gradient_misalignment(module, x, y, threat=THREAT, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("scale", [0.01, 0.1, 2.2])
def test_grad_align_on_a_quadratic(images: Any, scale: float) -> None:
    """Its value and its gradient, also where the network is so sure that gradients are tiny."""
    x, module = images[0], Quadratic(4.0, scale)
    with torch.no_grad():
        y = module(x).argmax(1)
        surest = module(x).softmax(1).amin()
    assert bool(surest < 1e-12) is (scale > 1)
    nearby = ball_of(THREAT).random_start(x, torch.Generator().manual_seed(2))
    wanted = module.misalignment(x, nearby)
    found = penalty(module, x, y)
    assert wanted.item() > 0.05
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(
        torch.autograd.grad(found, [module.a, module.b]),
        torch.autograd.grad(wanted, [module.a, module.b]),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


def test_grad_align_compares_one_network_with_itself(net: Callable[..., nn.Sequential], images: Any) -> None:
    """Dropout draws the same units for both gradients, and batch norm's statistics stay the training step's own."""
    module = net(dropout=0.5).train()
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    here = ThreatModel("linf", 1e-6)
    found = gradient_misalignment(module, *images, threat=here, generator=torch.Generator().manual_seed(2))
    assert abs(found.item()) < 1e-4
    assert all(torch.equal(buffer, before[name]) for name, buffer in module.named_buffers())
    torch.autograd.grad(found, list(module.parameters()), allow_unused=True)


def test_grad_align_has_nothing_against_a_linear_network(images: Any) -> None:
    module = Quadratic(0.0)
    found = penalty(module, images[0], images[1] % 2)
    assert abs(found.item()) < 1e-6


def test_grad_align_counts_images_that_have_a_gradient(images: Any) -> None:
    """Here those are the ones whose left half is bright; the published code leaves the others out too."""
    x = images[0].clone()
    x[:, :, :, :4] = 0
    x[::3, :, :, :4] = 1
    quadratic = Quadratic(4.0)

    def half(images: Tensor) -> Tensor:
        alive = (images[:, 0, :, :4].mean((1, 2)) > 0.5).float()
        logits: Tensor = quadratic(images) * alive.unsqueeze(1)
        return logits

    module = nn.Module()
    module.forward = half  # type: ignore[method-assign]
    y = torch.zeros(len(x), dtype=torch.int64)
    nearby = ball_of(THREAT).random_start(x, torch.Generator().manual_seed(2))
    torch.testing.assert_close(penalty(module, x, y), quadratic.misalignment(x[::3], nearby[::3]))
    dead = x.clone()
    dead[:, :, :, :4] = 0
    nothing = penalty(module, dead, y)
    assert nothing.item() == 0
    gradients = torch.autograd.grad(nothing, [quadratic.a, quadratic.b], allow_unused=True)
    assert all(gradient is None or gradient.abs().max() == 0 for gradient in gradients)


def test_grad_align_on_the_twin(twin: Callable[[], Twin], images: Any) -> None:
    """The straight-through gradients of the integers can be differentiated once more."""
    module, (x, y) = twin().train(), images
    found = penalty(module, x, y)
    assert 0 < found.item() < 2
    gradients = torch.autograd.grad(found, list(module.parameters()), allow_unused=True)
    there = [gradient for gradient in gradients if gradient is not None]
    assert there
    assert all(bool(torch.isfinite(gradient).all()) for gradient in there)
    assert any(gradient.abs().max() > 0 for gradient in there)
