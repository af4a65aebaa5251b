"""Where an interrupted build goes on: one checkpoint a stage, in a folder beside the bundle.

A checkpoint carries the fingerprint of everything that led to it: the recipe's sections, the images and labels, the
untrained network itself, as modules and as a graph, the versions. One with another fingerprint is passed over, so a
changed recipe starts anew from the first stage that the change touches. Files are replaced, never written in place, and
begin with the SHA-256 of what follows: torch does not see a flipped bit in a tensor.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from ...bench.data.dataset import Dataset, Part
from ...runtime.errors import BundleError
from ...runtime.files.store import Store
from ...runtime.version import __version__
from ..recipe.recipe import Recipe
from ..train.device import resolve_device
from ..train.precision import resolve

__all__ = ["STAGES", "StageCheckpoints", "Workspace", "fingerprints"]

STAGES = ("dense", "teacher", "finetune", "twin")
"""The stages that leave a checkpoint, in order; compression steps that train leave others, named after them."""
_STORED_AS = dict(zip(("train", "teacher", "fine-tune", "fine-tune twin"), STAGES, strict=True))
"""By the name of the stage in training, from which its random numbers come."""
_WITHIN_A_STEP = re.compile(r"compress (\d+): ([a-z0-9 ]+)")
"""The name of a stage in training within a compression step."""


def fingerprints(
    recipe: Recipe, data: Dataset, module: nn.Module, graph: onnx.ModelProto, *, teacher: str | None = None
) -> dict[str, str]:
    """SHA-256 of what each of `STAGES` depends on.

    Args:
        recipe, data: the build's.
        module, graph: the network before any training.
        teacher: SHA-256 of the teacher's graph where a teacher is given.
    """
    sections = recipe.model_dump(mode="json")
    device = resolve_device(recipe.device)
    base = [
        *(sections[key] for key in ("seed", "data", "model", "train")),
        *(_of_part(part) for part in (data.train, data.heldout)),
        _of_module(module),
        hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest(),  # what `forward` does
        device,
        resolve(recipe.train.precision, device),
        __version__,
        str(torch.__version__),
    ]
    plain = recipe.adversary.plain.model_dump(mode="json")
    if recipe.opponent_of(recipe.train) is not None:
        base.append(plain)
    taught = [base, plain, sections["teacher"], resolve(recipe.teacher.precision, device)]
    tuned = [base, *(sections[key] for key in ("robust", "compress", "adversary", "finetune"))]
    tuned.append(resolve(recipe.finetune.precision, device))
    if recipe.opponent is not None and recipe.opponent.distils:
        tuned.append(taught if teacher is None else teacher)
    del sections["quantize"]["integer_share"]  # a gate: a lower one needs no new training
    twin = [tuned, sections["quantize"], sections["finetune_twin"], _of_part(data.calibration)]
    return {stage: _of_json(led_to) for stage, led_to in zip(STAGES, (base, taught, tuned, twin), strict=True)}


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
        content = self._store.read(f"{stage}.pt")
        if content is None:
            return None
        # what a GPU wrote may be read where there is none; its fingerprint says so
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if found["fingerprint"] != fingerprint:
            return None
        checkpoint: dict[str, Any] = found["checkpoint"]
        return checkpoint

    def make(self) -> None:
        """Make the folder, so that one that cannot be made is found before anything is computed.

        Raises:
            BundleError: it cannot be made.
        """
        self._store.make()

    def save(self, stage: str, fingerprint: str, checkpoint: Mapping[str, Any]) -> None:
        """Replace the stage's checkpoint.

        Raises:
            BundleError: it cannot be written; what was there still is.
        """
        buffer = io.BytesIO()
        torch.save({"fingerprint": fingerprint, "checkpoint": dict(checkpoint)}, buffer)
        self._store.write(f"{stage}.pt", buffer.getvalue())

    def remove(self) -> None:
        """Delete the checkpoints, and what a killed build left of them; the folder too if nothing else is in it."""
        within_steps = sorted(path.name for path in self.folder.glob("compress-*.pt"))
        self._store.remove([*(f"{stage}.pt" for stage in STAGES), *within_steps])

    @property
    def _store(self) -> Store:
        return Store(folder=self.folder, error=BundleError, what="cannot write checkpoints", fix="choose another --out")


@dataclass(frozen=True, slots=True)
class StageCheckpoints:
    """The checkpoints of one build, by the names that training gives its stages: see `Checkpoints`.

    Attributes:
        work: where they are.
        marks: the fingerprint of each of `STAGES`.
    """

    work: Workspace
    marks: Mapping[str, str]

    def load(self, stage: str) -> dict[str, Any] | None:
        """The stage's checkpoint, if it has the stage's fingerprint."""
        return self.work.load(*self._stored(stage))

    def save(self, stage: str, checkpoint: Mapping[str, Any]) -> None:
        """Replace the stage's checkpoint."""
        self.work.save(*self._stored(stage), checkpoint)

    def _stored(self, stage: str) -> tuple[str, str]:
        """Name and fingerprint. A stage within a compression step hangs on what fine-tuning hangs on."""
        within = _WITHIN_A_STEP.fullmatch(stage)
        if within is None:
            stored = _STORED_AS[stage]
            return stored, self.marks[stored]
        name = f"compress-{within[1]}-{within[2].replace(' ', '-')}"
        return name, _of_json([self.marks["finetune"], name])
