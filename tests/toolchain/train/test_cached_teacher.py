"""The teacher is asked once about each training image, and the student learns what it would have learned."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hardtemper.bench.data.dataset import Part
from hardtemper.toolchain.recipe.adversary import Adversary
from hardtemper.toolchain.recipe.training import Training
from hardtemper.toolchain.train import cached_teacher
from hardtemper.toolchain.train.cached_teacher import CachedTeacher
from hardtemper.toolchain.train.finetune import finetune
from hardtemper.toolchain.train.training_context import TrainingContext

IMAGES = np.random.default_rng(0).integers(0, 256, (70, 1, 6, 6)).astype(np.uint8)
PART = Part(name="drawn", images=IMAGES, labels=np.arange(70) % 3, indices=np.arange(70), split="train")
SETTINGS: dict[str, Any] = {"epochs": 3, "batch_size": 16, "learning_rate": 0.1, "precision": "float32"}
STEPS = 70 // 16


class Teacher(nn.Module):
    """Counts the images that it is asked about without a gradient."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.linear = nn.Linear(36, 3)
        self.asked = 0
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        self.asked += 0 if torch.is_grad_enabled() else len(x)
        logits: Tensor = self.linear(x.flatten(1))
        return logits


def student() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))


class Stored:
    """Checkpoints of one stage: `resume` is found, and `save` is called with what is stored."""

    def __init__(self, resume: Any = None, save: Any = None) -> None:
        self.resume, self.keep = resume, save

    def load(self, stage: str) -> Any:
        return self.resume

    def save(self, stage: str, checkpoint: Any) -> None:
        if self.keep is not None:
            self.keep(checkpoint)


def train(objective: str, teacher: nn.Module, **changes: Any) -> dict[str, Tensor]:
    settings = Training(**{**SETTINGS, **{key: changes.pop(key) for key in ("flip", "cutmix") if key in changes}})
    adversary = Adversary(threat="linf:0.1", steps=2, objective=objective)  # type: ignore[arg-type]
    module = student()
    context = TrainingContext(seed=0, checkpoints=Stored(**changes))
    finetune(module, PART, None, settings, stage="s", context=context, adversary=adversary, teacher=teacher)
    return {key: value.clone() for key, value in module.state_dict().items()}


@pytest.fixture
def uncached(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(CachedTeacher, "open", lambda *_: None)


@pytest.mark.parametrize("objective", ["ard", "rslad", "adaad"])
@pytest.mark.parametrize("changed", [{}, {"flip": True}, {"cutmix": 1.0}])
def test_the_student_learns_the_same(objective: str, changed: Any, uncached: Callable[[], None]) -> None:
    found = train(objective, Teacher(), **changed)
    uncached()
    expected = train(objective, Teacher(), **changed)
    assert not torch.equal(found["0.weight"], student().state_dict()["0.weight"])
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("objective", "besides"), [("ard", 0), ("rslad", 0), ("adaad", 3 * STEPS * 16)])
def test_images_that_stay_as_they_are_are_asked_about_once(objective: str, besides: int) -> None:
    """AdaAD also asks about every adversarial image."""
    teacher = Teacher()
    train(objective, teacher)
    assert teacher.asked == len(PART) + besides


@pytest.mark.parametrize("changed", [{}, {"flip": True}])
def test_an_objective_without_a_teacher_asks_nothing(changed: Any) -> None:
    teacher = Teacher()
    train("adversarial", teacher, **changed)
    assert teacher.asked == 0


def test_images_that_are_changed_are_asked_about_once_a_batch(uncached: Callable[[], None]) -> None:
    teacher = Teacher()
    train("rslad", teacher, flip=True)
    assert teacher.asked == 3 * STEPS * 16
    uncached()
    teacher = Teacher()
    train("rslad", teacher, flip=True)
    assert teacher.asked == 2 * 3 * STEPS * 16


def test_a_table_that_would_be_too_large_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_teacher, "_LARGEST", 100)
    monkeypatch.setattr(cached_teacher, "_BATCH", 10)
    teacher = Teacher()
    train("rslad", teacher)
    assert teacher.asked == 10 + 3 * STEPS * 16


def test_what_is_not_the_batch_is_asked_about() -> None:
    teacher = Teacher()
    settings = Training(**SETTINGS)
    cached = CachedTeacher(teacher, PART, settings, device=torch.device("cpu"), autocast=nullcontext)
    where = torch.tensor([3, 1])
    x = torch.from_numpy(IMAGES)[where].float() / 255
    cached.open(x, where)
    torch.testing.assert_close(cached(x), teacher(x))
    other = x.clone()
    other[0] = 0
    torch.testing.assert_close(cached(other), teacher(other))
    image = x.clone().requires_grad_()
    assert cached(image).requires_grad, "adaad follows the teacher's gradient"


@pytest.mark.parametrize("objective", ["rslad", "adaad"])
def test_an_interrupted_distillation_goes_on(objective: str) -> None:
    saved: list[Any] = []

    def stop(checkpoint: dict[str, Any]) -> None:
        saved.append(checkpoint)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(objective, Teacher(), save=stop)
    resumed, whole = train(objective, Teacher(), resume=saved[0]), train(objective, Teacher())
    assert all(torch.equal(value, whole[key]) for key, value in resumed.items())
