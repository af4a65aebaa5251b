"""What the attacks are tried on: models whose best attack is known in closed form, and a small CNN."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hardtemper.bench.attacks.threat.geometry import ball_of
from hardtemper.bench.attacks.threat.norms import length
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.fgsm import fgsm


@dataclass(frozen=True, kw_only=True)
class Task:
    """A trained classifier and 8-bit images that it gets right, as a model and as an engine."""

    model: nn.Module
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    @property
    def x(self) -> Tensor:
        return torch.from_numpy(self.pixels).float() / 255

    @property
    def y(self) -> Tensor:
        return torch.from_numpy(self.labels)

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert pixels.dtype == np.uint8
        with torch.no_grad():
            return self.model(torch.from_numpy(pixels).float() / 255).numpy()

    def robust(self, x_adv: Tensor, threat: ThreatModel) -> float:
        """Share of images that are still right once the candidates are 8-bit images inside the ball."""
        adversarial = ball_of(threat).to_pixels(x_adv, torch.from_numpy(self.pixels))
        assert threat.contains(adversarial.numpy(), self.pixels).all()
        return float((self.scores(adversarial.numpy()).argmax(1) == self.labels).mean())

    def fooled(self, found: Tensor, threat: ThreatModel) -> Tensor:
        """Which images an attack moved: all moves are inside the ball and the box, and exactly those moved fool."""
        assert (length((found - self.x).flatten(1), threat.norm) <= threat.epsilon).all()
        assert found.min() >= 0
        assert found.max() <= 1
        moved = (found != self.x).flatten(1).any(1)
        assert (self.model(found).argmax(1) != self.y).equal(moved)
        return moved


def draw(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Six classes of 12 x 12 grey images: a coarse pattern for each, shifted, dimmed and noisy."""
    patterns = np.random.default_rng(7).normal(size=(6, 1, 4, 4)).repeat(3, 2).repeat(3, 3)
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, count)
    images = patterns[labels] * rng.uniform(0.5, 1.0, (count, 1, 1, 1))
    images = np.stack([np.roll(image, tuple(rng.integers(-1, 2, 2)), (1, 2)) for image in images])
    images = 127 + 42 * images + rng.normal(scale=25, size=images.shape)
    return images.round().clip(0, 255).astype(np.uint8), labels


@pytest.fixture(scope="session")
def task(one_thread: None) -> Task:
    """A CNN with batch norm and dropout, adversarially trained with FGSM-RS for a few seconds."""
    torch.manual_seed(0)
    pixels, labels = draw(4096, seed=0)
    x, y = torch.from_numpy(pixels).float() / 255, torch.from_numpy(labels)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, stride=2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, stride=2),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(32 * 9, 6),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    threat = ThreatModel("linf", 0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for batch in torch.randperm(len(x)).split(128):
            x_adv = fgsm(model, x[batch], y[batch], threat=threat, random_start=True, generator=generator)
            optimizer.zero_grad()
            F.cross_entropy(model(x_adv), y[batch]).backward()
            optimizer.step()
    optimizer.zero_grad()
    model.eval()
    pixels, labels = draw(256, seed=1)
    with torch.no_grad():
        right = (model(torch.from_numpy(pixels).float() / 255).argmax(1).numpy() == labels).nonzero()[0][:128]
    assert len(right) == 128
    return Task(model=model, pixels=pixels[right], labels=labels[right])


@pytest.fixture
def linear() -> nn.Module:
    """Logits W x + b for 3 x 4 x 4 images and five classes."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 5))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Batches this small lose more to waiting threads than they gain: 50 times slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def art() -> Callable[[Task], Any]:
    """The Adversarial Robustness Toolbox's view of a task's model; its imports warn of other packages' futures."""

    def classifier(task: Task) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from art.estimators.classification import PyTorchClassifier

            return PyTorchClassifier(
                task.model,
                loss=nn.CrossEntropyLoss(),
                input_shape=task.pixels.shape[1:],
                nb_classes=6,
                clip_values=(0.0, 1.0),
                device_type="cpu",
            )

    return classifier
