"""The documents as pages, their commands, and settings that make a build take seconds instead of minutes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardtemper.toolchain.__main__ import main

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_VARIABLE = re.compile(r"([A-Z]+)=(.*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One document."""

    path: Path

    @property
    def name(self) -> str:
        """Relative to the root."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    def blocks(self, language: str) -> list[str]:
        """The fenced blocks of a language."""
        return [body for word, body in _BLOCK.findall(self.text) if word == language]

    def commands(self) -> list[list[str]]:
        """Every line of its shell blocks as words, variables put in; comments and assignments left out."""
        found = []
        for block in self.blocks("sh"):
            variables: dict[str, str] = {}
            for line in block.replace("\\\n", " ").splitlines():
                for name, value in variables.items():
                    line = line.replace(f"${name}", value)  # noqa: PLW2901
                assignment = _VARIABLE.fullmatch(line)
                if assignment:
                    variables[assignment[1]] = assignment[2].strip('"')
                elif words := shlex.split(line, comments=True):
                    found.append(words)
        return found

    def table(self, header: str) -> list[list[str]]:
        """The cells of the rows below a table's first line, which begins with `header`."""
        _, found, rest = self.text.partition(f"{header}")
        assert found, f"{self.name} has no table that begins with {header!r}"
        rows = rest.split("\n\n")[0].splitlines()[2:]
        return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if row.startswith("|")]


def pages() -> list[Page]:
    """Every document of the project."""
    folders = [ROOT.glob("*.md"), (ROOT / "docs").rglob("*.md"), (ROOT / "bench" / "results").glob("*.md")]
    return [Page(path=path) for folder in folders for path in sorted(folder)]


@pytest.fixture(params=pages(), ids=lambda page: page.name)
def page(request: pytest.FixtureRequest) -> Page:
    """Each document in turn."""
    found: Page = request.param
    return found


@pytest.fixture(scope="session")
def doc() -> Callable[[str], Page]:
    """A document by its path."""
    return lambda name: Page(path=ROOT / name)


@pytest.fixture(scope="session")
def npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gray images of 16 x 16 pixels; the class is the quarter that holds a bright square."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in (("train", 256), ("test", 32)):
        images, labels = rng.integers(0, 90, (count, 16, 16)), rng.integers(0, 4, count)
        for image, label in zip(images, labels, strict=True):
            top, left = (8 * int(k) for k in divmod(int(label), 2))
            image[top : top + 7, left : left + 7] += 120
        arrays |= {f"{split}_images": images.astype(np.uint8), f"{split}_labels": labels}
    path = tmp_path_factory.mktemp("data") / "quarters.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="session")
def tiny(npz: Path) -> dict[str, list[str]]:
    """What is appended to a command, by its name, so that it takes seconds."""
    keys = {"train.epochs": 0, "finetune.epochs": 1, "finetune.batch_size": 32, "finetune_twin.epochs": 0}
    keys |= {"model.hidden": 16, "data.heldout": 64, "data.calibration": 32}
    settings = [word for key, value in keys.items() for word in ("--set", f"{key}={value}")]
    quick = ["--clean-images", "16", "--repeats", "1", "--warmup", "0", "--min-seconds", "0", "--batch", "1"]
    return {
        "build": ["--data", str(npz), "--width", "4", *settings],
        "bench": ["--data", str(npz), "--images", "4", *quick],
        "verify": ["--images", "16"],
        "inspect": [],
    }


@pytest.fixture(scope="session")
def run() -> Callable[..., None]:
    """Runs a command of the toolchain, which must succeed."""

    def toolchain(*words: str) -> None:
        assert main(list(words)) == 0, shlex.join(words)

    return toolchain


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, tiny: dict[str, list[str]], run: Callable[..., None]) -> Path:
    """A bundle of the tiny network."""
    out = tmp_path_factory.mktemp("bundle") / "tiny"
    run("build", "--recipe", "fashion-mnist", "--robust", "--sparsity", "0.5", *tiny["build"], "--out", str(out))
    return out
