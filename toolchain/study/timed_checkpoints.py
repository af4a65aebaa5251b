"""Checkpoints that keep the processor time of a training beside its state, so that it survives an interruption.

What an interruption loses, the time since the last finished epoch, is not counted: it is done again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..pipeline.checkpoints import Workspace

__all__ = ["TimedCheckpoints"]


class TimedCheckpoints:
    """See `Checkpoints` of `train/training_context.py`.

    Args:
        folder: where they lie; made when the first one is stored.
        mark: what they depend on; a checkpoint with another mark is passed over.

    Attributes:
        cpu_seconds: by stage, processor time of all threads in training and in choosing the epoch.
    """

    def __init__(self, folder: Path, mark: str) -> None:
        self._work = Workspace(folder)
        self._mark = mark
        self._began: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}

    @property
    def total(self) -> float:
        """Processor seconds of all stages."""
        return sum(self.cpu_seconds.values())

    def load(self, stage: str) -> dict[str, Any] | None:
        """The last checkpoint of a stage; the stage's clock starts now."""
        found = self._work.load(_file(stage), self._mark)
        self.cpu_seconds[stage] = 0.0 if found is None else found["cpu_seconds"]
        self._began[stage] = time.process_time() - self.cpu_seconds[stage]
        state: dict[str, Any] | None = None if found is None else found["state"]
        return state

    def save(self, stage: str, checkpoint: Mapping[str, Any]) -> None:
        """Replace the checkpoint of a stage."""
        self._work.make()
        self.cpu_seconds[stage] = time.process_time() - self._began[stage]
        self._work.save(_file(stage), self._mark, {"state": dict(checkpoint), "cpu_seconds": self.cpu_seconds[stage]})


def _file(stage: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", stage)
