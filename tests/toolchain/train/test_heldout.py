"""Accuracies on held-out images, counted by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.data.dataset import Part
from hardtemper.toolchain.recipe.adversary import Adversary
from hardtemper.toolchain.train.heldout import held_out_accuracy


class Linear(nn.Module):
    """Two classes by a hyperplane, on which the worst case of an l-inf ball has a closed form."""

    def __init__(self) -> None:
        super().__init__()
        w = torch.randn(64, generator=torch.Generator().manual_seed(3))
        self.weight = nn.Parameter(torch.stack([torch.zeros(64), w]))
        self.bias = nn.Parameter(torch.tensor([0.0, -float(w.sum()) / 2]))
        self.training = True

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.flatten(1), self.weight, self.bias)


def test_held_out_accuracy_by_hand() -> None:
    module = Linear()
    images = torch.randint(0, 256, (700, 1, 8, 8), generator=torch.Generator().manual_seed(4), dtype=torch.uint8)
    x = images.float() / 255
    w, b = module.weight[1].detach(), module.bias[1].detach()
    labels = ((x.flatten(1) @ w + b) > 0).long()
    labels[::7] = 1 - labels[::7]  # a hundred wrong ones
    some = Part(
        images=images.numpy(),
        labels=labels.numpy(),
        name="heldout",
        indices=np.arange(700, dtype=np.int64),
        split="train",
    )
    assert held_out_accuracy(module, some, None, seed=0, batch_size=128) == (6 / 7, None)
    assert not module.training
    # towards the other class by epsilon in every pixel, within [0, 1]
    epsilon = 8 / 255
    direction = torch.where(labels[:, None] == 1, -w.sign(), w.sign())
    worst = (x.flatten(1) + epsilon * direction).clamp(0, 1)
    stood = int((((worst @ w + b) > 0).long() == labels).sum())
    assert 50 < stood < 550
    clean, robust = held_out_accuracy(module, some, Adversary(threat="linf:8/255"), seed=0, batch_size=128)
    assert (clean, robust) == (6 / 7, stood / 700)


def noise(n: int) -> Part:
    rng = np.random.default_rng(5)
    return Part(
        images=rng.integers(0, 256, (n, 1, 8, 8), dtype=np.uint8),
        labels=rng.integers(0, 2, n),
        name="heldout",
        indices=np.arange(n, dtype=np.int64),
        split="train",
    )


def test_no_pass_is_larger_than_a_batch_of_training() -> None:
    module, sizes = Linear(), []
    module.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    held_out_accuracy(module, noise(50), Adversary(threat="linf:8/255"), seed=0, batch_size=16)
    assert max(sizes) == 16


def test_it_is_pgd_10_in_the_ball_of_the_threat_whatever_ball_is_trained_in(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def pgd(model: nn.Module, x: Tensor, y: Tensor, **settings: Any) -> Tensor:
        asked.append(settings)
        return x

    monkeypatch.setattr("hardtemper.toolchain.train.heldout.pgd", pgd)
    adversary = Adversary(threat="linf:8/255", training_epsilon=0.1, steps=3, step_size=0.02)
    clean, robust = held_out_accuracy(Linear(), noise(20), adversary, seed=0, batch_size=32)
    assert clean == robust
    (settings,) = asked
    assert settings.pop("generator").initial_seed() == 0
    threat = ThreatModel("linf", 8 / 255)
    assert settings == {
        "threat": threat,
        "steps": 10,
        "step_size": 2 / 255,
        "random_start": True,
        "batch_size": 32,
    }
