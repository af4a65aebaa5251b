"""One epoch: plain stochastic gradient descent on the images, or on adversarial versions of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.fgsm import fgsm
from hardtemper.bench.data.dataset import Part
from hardtemper.runtime.errors import ModelError
from hardtemper.toolchain.recipe.adversary import Adversary
from hardtemper.toolchain.recipe.training import Training, TwinTraining
from hardtemper.toolchain.train.finetune import Trained, finetune
from hardtemper.toolchain.train.schedule import learning_rate_share
from hardtemper.toolchain.train.training_context import TrainingContext

PGD2 = Adversary(threat="linf:0.1", steps=2, step_size=0.06)


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


@pytest.mark.parametrize("schedule", ["constant", "one-cycle", "paper"])
def test_it_is_stochastic_gradient_descent(
    net: Callable[..., nn.Sequential], tune: Callable[..., Trained], train: Part, schedule: Any
) -> None:
    """One batch an epoch leaves nothing to chance: a plain loop in torch gives the same weights."""
    settings = Training(
        epochs=6,
        batch_size=len(train),
        learning_rate=0.1,
        schedule=schedule,
        momentum=0.9,
        weight_decay=1e-2,
        label_smoothing=0.1,
        gradient_clip=0.5,
        precision="float32",
        keep_best=False,
    )
    trained = tune(settings, module=net(dropout=0))
    plain = net(dropout=0)
    optimizer = torch.optim.SGD(plain.parameters(), lr=1.0, momentum=0.9, nesterov=True, weight_decay=1e-2)
    x, y = torch.from_numpy(train.images).float() / 255, torch.from_numpy(train.labels)
    losses = []
    for step in range(6):
        share = learning_rate_share(schedule, step=step, steps=6, steps_per_epoch=1, warmup=settings.warmup)
        optimizer.param_groups[0]["lr"] = 0.1 * share
        optimizer.zero_grad()
        loss = F.cross_entropy(plain(x), y, label_smoothing=0.1)
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.item())
    assert [epoch.loss for epoch in trained.epochs] == pytest.approx(losses, rel=1e-4)
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(trained.module.state_dict()[key], value, rtol=1e-3, atol=1e-5)


class Spy(nn.Module):
    """Keeps what it is shown while it is trained (not while it is attacked)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.inner = module
        self.trained_on: list[Tensor] = []
        self.asked_in_evaluation = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.trained_on.append(x.detach().clone())
        else:
            self.asked_in_evaluation += 1
        logits: Tensor = self.inner(x)
        return logits


def nearest(seen: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """For each image seen, the distance to the nearest training image, and which that is."""
    found = torch.cdist(seen.flatten(1), images.flatten(1), compute_mode="donot_use_mm_for_euclid_dist").min(1)
    return found.values, found.indices


@pytest.mark.parametrize(
    ("attack", "threat"), [("pgd", "linf:0.1"), ("fgsm", "linf:0.1"), ("pgd", "l2:0.5"), ("fgsm", "l2:0.5")]
)
@pytest.mark.parametrize("settings", [Training, TwinTraining])
def test_adversarial_training_sees_adversarial_images(
    request: pytest.FixtureRequest, train: Part, settings: type[Training], attack: Any, threat: str
) -> None:
    spy = Spy(request.getfixturevalue("net" if settings is Training else "twin")())
    adversary = Adversary(threat=threat, attack=attack, steps=3, step_size=None)
    gently = settings(epochs=1, batch_size=256, learning_rate=1e-6)
    finetune(spy, train, None, gently, stage="test", context=TrainingContext(seed=0), adversary=adversary)
    images = torch.from_numpy(train.images).float() / 255
    assert len(spy.trained_on) == 2
    assert spy.asked_in_evaluation == 2 * (3 if attack == "pgd" else 1)
    used = []
    for seen in spy.trained_on:
        assert 0 <= seen.min() <= seen.max() <= 1
        distance, index = nearest(seen, images)
        used += index.tolist()
        epsilon = ThreatModel.parse(threat).epsilon
        change = (seen - images[index]).flatten(1)
        length = change.abs().amax(1) if threat.startswith("linf") else torch.linalg.vector_norm(change, dim=1)
        assert length.max() <= epsilon + 1e-6
        assert length.median() > 0.5 * epsilon
        assert distance.min() > 0
        # and they are harder than the images that they were made from
        y = torch.from_numpy(train.labels)[index]
        with torch.no_grad():
            hard, easy = (F.cross_entropy(spy(x), y) for x in (seen, images[index]))
        assert hard > easy
    assert sorted(used) == list(range(512))


def test_without_a_random_start_the_first_point_is_the_image(net: Callable[..., nn.Sequential], train: Part) -> None:
    spy = Spy(net())
    adversary = Adversary(threat="linf:0.1", steps=1, step_size=0.0625, random_start=False)
    settings = Training(epochs=1, batch_size=512, learning_rate=1e-6)
    finetune(spy, train, None, settings, stage="test", context=TrainingContext(seed=0), adversary=adversary)
    (seen,) = spy.trained_on
    inside = (seen > 0) & (seen < 1)
    images = torch.from_numpy(train.images).float() / 255
    moved = (seen - images).abs()[inside]
    assert torch.all((moved < 1e-6) | ((moved - 0.0625).abs() < 1e-6))


def test_standard_training_sees_the_images(net: Callable[..., nn.Sequential], train: Part) -> None:
    spy = Spy(net())
    finetune(spy, train, None, Training(epochs=2, batch_size=128), stage="test", context=TrainingContext(seed=0))
    images = torch.from_numpy(train.images).float() / 255
    assert spy.asked_in_evaluation == 0
    for epoch in (spy.trained_on[:4], spy.trained_on[4:]):
        distance, index = nearest(torch.cat(epoch), images)
        assert distance.max() == 0
        assert sorted(index.tolist()) == list(range(512))
    assert not torch.equal(spy.trained_on[0], spy.trained_on[4])


def test_mirroring_mirrors_half_of_the_images(net: Callable[..., nn.Sequential], train: Part) -> None:
    spy = Spy(net())
    settings = Training(epochs=1, batch_size=512, flip=True)
    before = train.images.copy()
    finetune(spy, train, None, settings, stage="test", context=TrainingContext(seed=0))
    images = torch.from_numpy(train.images).float() / 255
    (seen,) = spy.trained_on
    straight = (seen == images).flatten(1).all(1)
    mirrored = (seen == images.flip(3)).flatten(1).all(1)
    assert torch.all(straight ^ mirrored)
    assert 200 < int(mirrored.sum()) < 312
    assert np.array_equal(train.images, before)


@pytest.mark.parametrize("adversary", [None, PGD2])
def test_batch_norm_is_live_and_the_attack_leaves_it_alone(
    tune: Callable[..., Trained], net: Callable[..., nn.Sequential], adversary: Adversary | None
) -> None:
    before = net()[1].running_mean
    trained = tune(Training(epochs=2, batch_size=64), adversary=adversary)
    norm = trained.module.get_submodule("1")
    assert not torch.equal(norm.get_buffer("running_mean"), before)
    # one update a training step, and none from the attack or the held-out images
    assert int(norm.get_buffer("num_batches_tracked")) == trained.kept * 512 // 64


def test_frozen_parameters_stay(net: Callable[..., nn.Sequential], tune: Callable[..., Trained]) -> None:
    module = net()
    module[0].requires_grad_(False)
    before = weights(module)
    tune(Training(epochs=1, batch_size=128), module=module)
    assert torch.equal(module.state_dict()["0.weight"], before["0.weight"])
    assert not torch.equal(module.state_dict()["6.weight"], before["6.weight"])


FREE = Adversary(threat="linf:0.1", replays=3)


def test_free_training_is_the_papers_algorithm(
    net: Callable[..., nn.Sequential], tune: Callable[..., Trained], train: Part
) -> None:
    """One batch an epoch: its images come in their own order, and the perturbation starts at zero every time."""
    settings = Training(epochs=2, batch_size=len(train), learning_rate=0.1, schedule="constant", keep_best=False)
    settings = settings.model_copy(update={"precision": "float32", "label_smoothing": 0.1})
    trained = tune(settings, module=net(dropout=0), adversary=FREE)
    plain = net(dropout=0)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    x, y = torch.from_numpy(train.images).float() / 255, torch.from_numpy(train.labels)
    losses = []
    for _ in range(2):
        delta = torch.zeros_like(x)
        for _ in range(3):
            point = (x + delta).clamp(0, 1).requires_grad_()
            loss = F.cross_entropy(plain(point), y, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            assert point.grad is not None
            delta = stepped(delta, point.grad)
            losses.append(loss.item())
    means = [sum(losses[:3]) / 3, sum(losses[3:]) / 3]
    assert [epoch.loss for epoch in trained.epochs] == pytest.approx(means, rel=1e-3)
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(trained.module.state_dict()[key], value, rtol=1e-2, atol=1e-4)


def stepped(delta: Tensor, grad: Tensor) -> Tensor:
    """The authors' code: the perturbation is cut to the ball, and only the image to the box."""
    return (delta + 0.1 * grad.sign()).clamp(-0.1, 0.1)


def test_a_step_with_grad_align_by_hand(
    net: Callable[..., nn.Sequential], tune: Callable[..., Trained], train: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a penalty that is known, so many times as the recipe says are added."""

    def squares(module: nn.Module, *_: Any, **__: Any) -> Tensor:
        return torch.stack([parameter.square().sum() for parameter in module.parameters()]).sum()

    monkeypatch.setattr("hardtemper.toolchain.train.epoch.gradient_misalignment", squares)
    settings = Training(epochs=1, batch_size=len(train), learning_rate=0.1, precision="float32", keep_best=False)
    settings = settings.model_copy(update={"schedule": "constant"})
    adversary = Adversary(threat="linf:0.05", attack="fgsm", random_start=False, grad_align=0.3)
    trained = tune(settings, module=net(dropout=0), adversary=adversary)
    plain = net(dropout=0).train()
    x, y = torch.from_numpy(train.images).float() / 255, torch.from_numpy(train.labels)
    x_adv = fgsm(plain, x, y, threat=ThreatModel("linf", 0.05))
    loss = F.cross_entropy(plain(x_adv), y) + 0.3 * squares(plain)
    loss.backward()
    assert trained.epochs[0].loss == pytest.approx(loss.item(), rel=1e-4)
    for name, parameter in plain.named_parameters():
        assert parameter.grad is not None
        wanted = parameter.detach() - 0.1 * parameter.grad
        torch.testing.assert_close(trained.module.state_dict()[name], wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("settings", [Training, TwinTraining])
def test_free_training_replays_each_batch_and_hands_its_perturbation_on(
    net: Callable[..., nn.Sequential], twin: Callable[[], nn.Module], train: Part, settings: type[Training]
) -> None:
    spy = Spy(net(dropout=0) if settings is Training else twin())
    gently = settings(epochs=1, batch_size=128, learning_rate=1e-9, precision="float32")
    finetune(spy, train, None, gently, stage="test", context=TrainingContext(seed=0), adversary=FREE)
    assert len(spy.trained_on) == 4 * 3
    assert spy.asked_in_evaluation == 0  # one gradient for both sides, and none besides
    images, labels = torch.from_numpy(train.images).float() / 255, torch.from_numpy(train.labels)
    found = [nearest(seen, images)[1] for seen in spy.trained_on]
    for first, second, third in (found[start : start + 3] for start in range(0, 12, 3)):
        assert torch.equal(first, second)
        assert torch.equal(first, third)
    assert sorted(torch.cat(found[::3]).tolist()) == list(range(512))
    assert torch.equal(spy.trained_on[0], images[found[0]])
    spy.inner.train()
    delta = torch.zeros_like(images[:128])
    for index, seen in zip(found, spy.trained_on, strict=True):  # the same images, or the next batch's
        x, y = images[index], labels[index]
        assert torch.isclose(seen, (x + delta).clamp(0, 1), rtol=0, atol=1e-5).float().mean() > 0.99
        point = seen.clone().requires_grad_()
        (grad,) = torch.autograd.grad(F.cross_entropy(spy.inner(point), y), point)
        delta = stepped(delta, grad)


def test_every_replay_is_a_step(tune: Callable[..., Trained]) -> None:
    settings = Training(epochs=2, batch_size=64, keep_best=False)
    trained = tune(settings, adversary=FREE)
    assert int(trained.module.get_buffer("1.num_batches_tracked")) == 2 * 8 * 3


@pytest.mark.parametrize("adversary", [None, PGD2])
def test_a_loss_that_is_not_finite(tune: Callable[..., Trained], adversary: Adversary | None) -> None:
    settings = Training(epochs=3, batch_size=64).model_copy(update={"learning_rate": 3e38})
    with pytest.raises(ModelError, match="test diverged in epoch 1; expected: a finite loss; got: ") as caught:
        tune(settings, adversary=adversary)
    assert "lower the learning rate or set gradient_clip" in str(caught.value)
    assert caught.value.exit_code == 2


def test_weights_that_are_not_finite_behind_the_last_step(tune: Callable[..., Trained]) -> None:
    settings = Training(epochs=1, batch_size=512, weight_decay=1e3).model_copy(update={"learning_rate": 3e38})
    with pytest.raises(ModelError, match="test diverged in epoch 1; expected: finite weights; got: NaN or infinity"):
        tune(settings)
