"""Where an interrupted build goes on: one checkpoint a stage, in a folder beside the bundle.

A checkpoint carries the fingerprint of everything that led to it: the recipe's sections, the images and labels, the
untrained network itself, the versions. One with another fingerprint is passed over, so a changed recipe starts anew
from the first stage that the change touches. Files are replaced, never written in place, and begin with the SHA-256 of
what follows: torch does not see a flipped bit in a tensor.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import __version__
from ..bench.data.dataset import Dataset, Part
from ..runtime.errors import BundleError
from .precision import resolve
from .recipe import Recipe

__all__ = ["Workspace", "fingerprints"]

_DIGEST = hashlib.sha256().digest_size


def fingerprints(recipe: Recipe, data: Dataset, module: nn.Module) -> dict[str, str]:
    """SHA-256 of what each stage depends on; `module` is the network before any training."""
    sections = recipe.model_dump(mode="json")
    base = [
        *(sections[key] for key in ("seed", "data", "model", "train")),
        *(_of_part(part) for part in (data.train, data.heldout)),
        _of_module(module),
        resolve(recipe.train.precision),
        __version__,
        str(torch.__version__),
    ]
    tuned = [base, *(sections[key] for key in ("robust", "compress", "adversary", "finetune"))]
    tuned.append(resolve(recipe.finetune.precision))
    del sections["quantize"]["integer_share"]  # a gate: a lower one needs no new training
    twin = [tuned, sections["quantize"], sections["finetune_twin"], _of_part(data.calibration)]
    return {"dense": _of_json(base), "finetune": _of_json(tuned), "twin": _of_json(twin)}


def _of_json(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _of_part(part: Part) -> str:
    digest = hashlib.sha256(str(part.images.shape).encode())
    for array in (part.images, part.labels):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _of_module(module: nn.Module) -> str:
    """Its structure and weights: a checkpoint file, or a factory's code, may change under the same name."""
    digest = hashlib.sha256(str(module).encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Workspace:
    """The checkpoints of one build."""

    folder: Path

    def load(self, stage: str, fingerprint: str) -> dict[str, Any] | None:
        """The stage's last checkpoint; None where there is none that fits or it is damaged."""
        try:
            stored = (self.folder / f"{stage}.pt").read_bytes()
        except OSError:
            return None
        digest, content = stored[:_DIGEST], stored[_DIGEST:]
        if hashlib.sha256(content).digest() != digest:
            return None
        found = torch.load(io.BytesIO(content), weights_only=True)
        if found["fingerprint"] != fingerprint:
            return None
        checkpoint: dict[str, Any] = found["checkpoint"]
        return checkpoint

    def make(self) -> None:
        """Make the folder, so that one that cannot be made is found before anything is computed.

        Raises:
            BundleError: it cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def save(self, stage: str, fingerprint: str, checkpoint: dict[str, Any]) -> None:
        """Replace the stage's checkpoint.

        Raises:
            BundleError: it cannot be written; what was there still is.
        """
        self.make()
        path = self.folder / f"{stage}.pt"
        temporary = path.with_suffix(".tmp")
        buffer = io.BytesIO()
        torch.save({"fingerprint": fingerprint, "checkpoint": checkpoint}, buffer)
        content = buffer.getvalue()
        try:
            with temporary.open("wb") as file:
                file.write(hashlib.sha256(content).digest() + content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> BundleError:
        return BundleError(
            f"{self.folder}: cannot write checkpoints", got=error.strerror or str(error), fix="choose another --out"
        )

    def remove(self) -> None:
        """Delete the folder and what is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
