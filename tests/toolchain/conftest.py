"""Images whose class is easy to see, a recipe that trains on them in a second, and one bundle built from it."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hardtemper.bench.data.dataset import Part
from hardtemper.export.lower import FloatGraph, lower
from hardtemper.export.quantization.quantize import IntegerGraph, quantize
from hardtemper.export.twin.twin import Twin
from hardtemper.toolchain.__main__ import main
from hardtemper.toolchain.pipeline.pipeline import Build, build
from hardtemper.toolchain.recipe.read import with_overrides
from hardtemper.toolchain.recipe.training import Training
from hardtemper.toolchain.train.finetune import Trained, finetune
from hardtemper.toolchain.train.training_context import TrainingContext

CLASSES = 4

TINY: dict[str, Any] = {
    "name": "tiny",
    "robust": True,
    "data": {"heldout": 64, "calibration": 32},
    "model": {"name": "cnn8", "width": 4, "hidden": 16},
    "train": {"epochs": 2, "batch_size": 32, "learning_rate": 0.1, "momentum": 0.9, "schedule": "one-cycle"},
    "compress": [{"method": "filters", "sparsity": 0.5}],
    "adversary": {"threat": "linf:0.1", "steps": 2, "step_size": 0.06},
    "finetune": {"epochs": 2, "batch_size": 32, "learning_rate": 0.05, "momentum": 0.9, "schedule": "one-cycle"},
    "finetune_twin": {"epochs": 1, "batch_size": 32, "images": 64},
}


def squares(n: int, *, seed: int, side: int) -> tuple[Any, Any]:
    """Images uint8 [n, 1, side, side] whose class is the quarter that holds a bright square, and labels int64 [n]."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 100, (n, 1, side, side))
    labels = rng.integers(0, CLASSES, n)
    half = side // 2
    for image, label in zip(images, labels, strict=True):
        top, left = (half * int(k) + int(rng.integers(0, 2)) for k in divmod(int(label), 2))
        image[0, top : top + half - 1, left : left + half - 1] += 120
    return images.astype(np.uint8), labels.astype(np.int64)


def small_part(n: int, *, seed: int, name: str) -> Part:
    """Images of 8 x 8 pixels."""
    images, labels = squares(n, seed=seed, side=8)
    return Part(images=images, labels=labels, name=name, indices=np.arange(n, dtype=np.int64), split="train")


@pytest.fixture(scope="session")
def train() -> Part:
    return small_part(512, seed=0, name="train")


@pytest.fixture(scope="session")
def heldout() -> Part:
    return small_part(200, seed=1, name="heldout")


def small_net(seed: int = 0, dropout: float = 0.25) -> nn.Sequential:
    """A convolution, batch norm, dropout and a linear layer, for images of 8 x 8 pixels."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(64, CLASSES),
    )


@pytest.fixture(scope="session")
def net() -> Callable[..., nn.Sequential]:
    """Makes a new, untrained `small_net`."""
    return small_net


@pytest.fixture(scope="session")
def integer(train: Part) -> IntegerGraph:
    """A trained `small_net` as an integer graph."""
    learning = Training(epochs=4, batch_size=32, learning_rate=0.05, momentum=0.9)
    trained = finetune(small_net(), train, None, learning, stage="train", context=TrainingContext(seed=0))
    return quantize(lower(trained.module, input_shape=(1, 8, 8)), train.images[:64])


@pytest.fixture
def twin(integer: IntegerGraph) -> Callable[[], Twin]:
    """Makes a new twin of `integer`."""
    return lambda: Twin(integer.model, shadow=integer.shadow)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """Checkpoints of one stage: `resume` is found, and `keep` is called with what is stored."""

    resume: dict[str, Any] | None = None
    keep: Callable[[dict[str, Any]], None] | None = None

    def load(self, stage: str) -> dict[str, Any] | None:
        return self.resume

    def save(self, stage: str, checkpoint: Any) -> None:
        if self.keep is not None:
            self.keep(checkpoint)


@pytest.fixture
def tune(train: Part, heldout: Part) -> Callable[..., Trained]:
    """`finetune` on `train`, of a new `small_net` unless another module is given."""

    def run(settings: Training, *, module: nn.Module | None = None, **options: Any) -> Trained:
        given = {"seed": 5, **{key: options.pop(key) for key in ("seed", "device", "progress") if key in options}}
        stored = Stored(resume=options.pop("resume", None), keep=options.pop("save", None))
        context = TrainingContext(**given, checkpoints=stored)
        network = small_net() if module is None else module
        return finetune(network, train, heldout, settings, **{"stage": "test", "context": context} | options)

    return run


@pytest.fixture(scope="session")
def npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 320 training and 64 test images of 16 x 16 pixels."""
    path = tmp_path_factory.mktemp("data") / "squares.npz"
    train, test = squares(320, seed=0, side=16), squares(64, seed=1, side=16)
    np.savez(path, train_images=train[0], train_labels=train[1], test_images=test[0], test_labels=test[1])
    return path


@pytest.fixture
def settings(npz: Path) -> dict[str, Any]:
    """A recipe's settings, a copy for each test."""
    return copy.deepcopy(TINY) | {"data": {**TINY["data"], "name": str(npz)}}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tiny:
    """The bundle that TINY makes."""

    path: Path
    build: Build


@pytest.fixture(scope="session")
def lower_once() -> Iterator[None]:
    """Exporting takes most of a small build's time: a network that was lowered already is not lowered again."""
    known: dict[str, FloatGraph] = {}

    def remembering(module: nn.Module, *, input_shape: tuple[int, int, int]) -> FloatGraph:
        digest = hashlib.sha256(f"{module} {input_shape}".encode())
        for name, tensor in module.state_dict().items():
            digest.update(name.encode() + tensor.numpy().tobytes())
        key = digest.hexdigest()
        if key not in known:
            known[key] = lower(module, input_shape=input_shape)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hardtemper.toolchain.pipeline.stages.lower", remembering)
        yield


@pytest.fixture(scope="session")
def tiny(npz: Path, tmp_path_factory: pytest.TempPathFactory, lower_once: None) -> Tiny:
    """Built once, checkpoints beside it; tests copy both before they change them."""
    out = tmp_path_factory.mktemp("bundle") / "tiny"
    return Tiny(path=out, build=build(with_overrides(TINY, {"data.name": str(npz)}), out=out, keep_work=True))


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Writes settings as a recipe file; JSON's strings, numbers and lists are TOML's."""

    def write(settings: dict[str, Any]) -> Path:
        path = tmp_path / "recipe.toml"
        plain = {key: value for key, value in settings.items() if not isinstance(value, dict) and key != "compress"}
        tables = [(f"[{key}]", value) for key, value in settings.items() if isinstance(value, dict)]
        tables += [("[[compress]]", step) for step in settings.get("compress", [])]
        lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
        for header, table in tables:
            lines += [header, *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return write


@pytest.fixture
def recipe(settings: dict[str, Any], toml: Callable[..., Path]) -> Path:
    """The file of `settings`."""
    return toml(settings)


@pytest.fixture
def error(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must fail; gives its one line of error."""

    def run(*arguments: object, code: int = 2) -> str:
        assert main([str(argument) for argument in arguments]) == code
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        (line,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
        assert captured.err.endswith(f"{line}\n")
        return line

    return run
