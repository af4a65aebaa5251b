"""Where an interrupted evaluation goes on: one file for each finished search of one attack on one batch of images.

A file is named by the SHA-256 of everything that the search depends on: the graph, the attack with its settings, the
threat model, the seed, the images and labels themselves, the versions. So nothing stale is ever found, and in a
sequential run, where the images depend on the attacks before, no more needs to be known. It holds what the search
found, not whether that breaks anything: candidates are replayed on the engine every time. Files appear in one rename
and begin with the SHA-256 of what follows; a damaged one is searched again.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .. import __version__
from ..runtime.errors import InputError
from .attacks.result import AttackResult
from .attacks.threat import ThreatModel
from .plans import AttackPlan
from .sealed import read_sealed, write_sealed

__all__ = ["PIECES", "Pieces"]

PIECES = "pieces"
"""What their folder is called."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """The finished searches of one evaluation.

    Attributes:
        folder: where they lie.
        digests: SHA-256 of the graph behind each `AttackPlan.target`.
    """

    folder: Path
    digests: Mapping[str, str]

    def search(self, plan: AttackPlan) -> Callable[..., AttackResult]:
        """`plan.search`, which takes the result from the folder where it lies there, and puts it there if not.

        Raises:
            InputError: when called, the folder cannot be written.
        """

        def remembering(
            model: object,
            images: NDArray[np.uint8],
            labels: NDArray[np.int64],
            *,
            threat: ThreatModel,
            seed: int,
            **settings: Any,
        ) -> AttackResult:
            path = self.folder / f"{self._key(plan, images, labels, threat, seed)}.piece"
            found = _read(path)
            if found is None:
                found = plan.search(model, images, labels, threat=threat, seed=seed, **settings)
                self._write(path, found)
            return found

        return remembering

    def make(self) -> None:
        """Make the folder, so that one that cannot be made is found before anything is computed.

        Raises:
            InputError: it cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from None

    def remove(self) -> None:
        """Delete the folder and what is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _key(
        self,
        plan: AttackPlan,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        threat: ThreatModel,
        seed: int,
    ) -> str:
        depends = {
            "graph": self.digests[plan.target],
            "attack": [plan.name, plan.target, dict(plan.settings)],
            "threat": str(threat),
            "seed": seed,
            "shape": images.shape,
            "versions": [__version__, str(torch.__version__), np.__version__],
        }
        digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode())
        for array in (images, labels):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def _write(self, path: Path, result: AttackResult) -> None:
        about = {"name": result.name, "settings": dict(result.settings), "seconds": result.seconds}
        about["evaluations"] = result.evaluations
        buffer = io.BytesIO()
        np.savez(buffer, adversarial=result.adversarial, about=np.array(json.dumps(about)))
        self.make()
        try:
            write_sealed(path, buffer.getvalue())
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(f"{self.folder}: cannot write", got=error.strerror or str(error), fix="choose another --work")


def _read(path: Path) -> AttackResult | None:
    content = read_sealed(path)
    if content is None:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return AttackResult(adversarial=arrays["adversarial"], **json.loads(str(arrays["about"])))
