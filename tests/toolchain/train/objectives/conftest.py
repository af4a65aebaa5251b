"""A student, a teacher and one batch. The networks have no batch norm, so that one pass or two are the same."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """Nine images, points near them, their labels, and labels as of mixed images."""

    student: nn.Module
    teacher: nn.Module
    x: Tensor
    x_adv: Tensor
    y: Tensor
    mixed: Tensor


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, CLASSES), Scaled(6.0))


class Scaled(nn.Module):
    """Answers that are neither all alike nor all sure."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


@pytest.fixture
def batch() -> Batch:
    random = torch.Generator().manual_seed(3)
    x = torch.rand(9, 1, 4, 4, generator=random)
    y = torch.randint(0, CLASSES, (9,), generator=random)
    share = torch.rand(9, 1, generator=random)
    labels = F.one_hot(y, CLASSES).float()
    return Batch(
        student=network(1),
        teacher=network(2),
        x=x,
        x_adv=(x + 0.3 * torch.randn(x.shape, generator=random)).clamp(0, 1),
        y=y,
        mixed=share * labels + (1 - share) * labels.roll(1, 0),
    )
