"""Where an interrupted build goes on: one checkpoint a stage, in a folder beside the bundle.

A checkpoint carries the fingerprint of everything that led to it; one with another fingerprint is passed over, so a
changed recipe starts anew from the first stage that the change touches. Files are replaced, never written in place.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

__all__ = ["Workspace", "fingerprint"]


def fingerprint(*parts: object) -> str:
    """SHA-256 of JSON-able values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Workspace:
    """The checkpoints of one build."""

    folder: Path

    def load(self, stage: str, fingerprint: str) -> dict[str, Any] | None:
        """The stage's last checkpoint; None where there is none that fits or it is damaged."""
        path = self.folder / f"{stage}.pt"
        try:
            content = torch.load(path, weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError):
            return None
        if not isinstance(content, dict) or content.get("fingerprint") != fingerprint:
            return None
        checkpoint: dict[str, Any] = content["checkpoint"]
        return checkpoint

    def save(self, stage: str, fingerprint: str, checkpoint: dict[str, Any]) -> None:
        """Replace the stage's checkpoint."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{stage}.pt"
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            torch.save({"fingerprint": fingerprint, "checkpoint": checkpoint}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def remove(self) -> None:
        """Delete the folder and what is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
