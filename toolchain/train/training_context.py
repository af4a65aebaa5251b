"""What every training stage of a build shares: its seed, its device, and where it reports and is saved.

A stage is known by its name, such as "fine-tune": its random numbers come from (seed, stage, epoch), and its
checkpoint is stored and found under that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...runtime.progress import ProgressCallback, silent

__all__ = ["Checkpoints", "NoCheckpoints", "TrainingContext"]


class Checkpoints(Protocol):
    """Where the stages of a build are saved."""

    def load(self, stage: str) -> dict[str, Any] | None:
        """The last checkpoint of a stage; None where there is none that fits."""

    def save(self, stage: str, checkpoint: Mapping[str, Any]) -> None:
        """Replace the checkpoint of a stage; called after every epoch."""


class NoCheckpoints:
    """Nothing is stored, so nothing is found."""

    def load(self, stage: str) -> None:
        """See `Checkpoints`."""

    def save(self, stage: str, checkpoint: Mapping[str, Any]) -> None:
        """See `Checkpoints`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingContext:
    """The same for all stages of a build.

    Attributes:
        seed: every random number comes from it, the stage and the epoch.
        device: "cpu" or "cuda": where to train; a module comes back on the CPU.
        progress: told how far a stage is.
        checkpoints: an interrupted stage goes on from what it finds there.
    """

    seed: int = 0
    device: str = "cpu"
    progress: ProgressCallback = silent
    checkpoints: Checkpoints = field(default_factory=NoCheckpoints)
