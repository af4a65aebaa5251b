"""Random scores hang on seed, step and name, and on nothing else."""

from __future__ import annotations

import torch
from torch import nn

from hardtemper.toolchain.compress.context import Context
from hardtemper.toolchain.compress.pruning.scores.random_scores import random_scores
from hardtemper.toolchain.train.training_context import TrainingContext

MODULE = nn.Sequential(nn.Conv2d(8, 30, 5), nn.Linear(30, 20))


def drawn(seed: int = 0, step: int = 1, names: tuple[str, ...] = ("0", "1")) -> dict[str, torch.Tensor]:
    return random_scores(MODULE, names, Context(input_shape=(8, 9, 9), training=TrainingContext(seed=seed), step=step))


def test_the_same_again_in_any_order_and_another_for_every_seed_and_step() -> None:
    first = drawn()
    assert torch.equal(first["1"], drawn(names=("1",))["1"])
    assert not torch.equal(first["0"], drawn(seed=1)["0"])
    assert not torch.equal(first["0"], drawn(step=2)["0"])
    assert not torch.equal(first["0"].flatten()[:600], first["1"].flatten())


def test_they_are_uniform() -> None:
    scores = drawn()["0"].flatten()
    assert scores.min() >= 0
    assert scores.max() < 1
    counts = torch.histc(scores, bins=10, min=0, max=1)
    assert ((counts - 600).abs() < 5 * 600**0.5).all()
