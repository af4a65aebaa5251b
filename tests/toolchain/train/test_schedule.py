"""The learning rate of each step, against the formulas and torch's own schedulers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hardtemper.toolchain.train.schedule import learning_rate_share


def shares(schedule: str, *, steps: int, steps_per_epoch: int = 1, warmup: float = 0.0) -> list[float]:
    return [
        learning_rate_share(schedule, step=step, steps=steps, steps_per_epoch=steps_per_epoch, warmup=warmup)
        for step in range(steps)
    ]


@pytest.mark.parametrize(
    ("schedule", "steps", "steps_per_epoch", "warmup", "expected"),
    [
        ("constant", 4, 2, 0.2, [1, 1, 1, 1]),
        ("paper", 6, 1, 0.0, [1, 1, 1, 1, 0.1, 0.1]),
        ("paper", 12, 2, 0.0, [1] * 8 + [0.1] * 4),
        ("paper", 3, 1, 0.0, [1, 1, 1]),
        ("cosine", 2, 1, 0.0, [(1 + math.cos(math.pi / 4)) / 2, (1 + math.cos(3 * math.pi / 4)) / 2]),
        ("cosine", 1, 1, 0.0, [0.5]),
        ("one-cycle", 4, 1, 0.5, [0.25, 0.75, 0.75, 0.25]),
        ("one-cycle", 5, 1, 0.2, [0.5, 0.875, 0.625, 0.375, 0.125]),
        ("one-cycle", 4, 1, 0.0, [0.875, 0.625, 0.375, 0.125]),
    ],
)
def test_the_formulas(schedule: str, steps: int, steps_per_epoch: int, warmup: float, expected: list[float]) -> None:
    assert shares(schedule, steps=steps, steps_per_epoch=steps_per_epoch, warmup=warmup) == pytest.approx(expected)


def torchs(make: type[torch.optim.lr_scheduler.LRScheduler], count: int, **options: object) -> list[float]:
    """Learning rates of a torch scheduler, 1 being the largest."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer, **options)  # type: ignore[arg-type]
    rates = []
    for _ in range(count):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("steps", [1, 7, 50])
def test_cosine_is_torchs(steps: int) -> None:
    # a step is taken at the middle of its share of the time: torch's odd steps of twice as many
    oracle = torchs(torch.optim.lr_scheduler.CosineAnnealingLR, 2 * steps, T_max=2 * steps)
    assert shares("cosine", steps=steps) == pytest.approx(oracle[1::2], abs=1e-9)


@pytest.mark.parametrize(("steps", "warmup"), [(10, 0.2), (7, 0.3), (50, 0.5)])
def test_one_cycle_is_torchs(steps: int, warmup: float) -> None:
    total = 2 * steps + 1  # torch reaches the peak at pct_start * total - 1 and zero at total - 1
    oracle = torchs(
        torch.optim.lr_scheduler.OneCycleLR,
        2 * steps,
        max_lr=1.0,
        total_steps=total,
        pct_start=(2 * steps * warmup + 1) / total,
        anneal_strategy="linear",
        cycle_momentum=False,
        div_factor=1e12,
        final_div_factor=1e12,
    )
    assert shares("one-cycle", steps=steps, warmup=warmup) == pytest.approx(oracle[1::2], abs=1e-9)


@pytest.mark.parametrize("epochs", [3, 4, 8])
def test_the_papers_is_torchs_multi_step(epochs: int) -> None:
    oracle = torchs(torch.optim.lr_scheduler.MultiStepLR, epochs, milestones=[4], gamma=0.1)
    assert shares("paper", steps=3 * epochs, steps_per_epoch=3)[::3] == pytest.approx(oracle)


@given(
    schedule=st.sampled_from(["paper", "constant", "cosine", "one-cycle"]),
    steps=st.integers(1, 500),
    steps_per_epoch=st.integers(1, 50),
    warmup=st.floats(0, 1, exclude_max=True),
)
def test_every_step_learns_something(schedule: str, steps: int, steps_per_epoch: int, warmup: float) -> None:
    values = shares(schedule, steps=steps, steps_per_epoch=steps_per_epoch, warmup=warmup)
    assert all(0 < value <= 1 for value in values)
    peak = max(range(steps), key=values.__getitem__)
    assert values[peak:] == sorted(values[peak:], reverse=True)
