"""Where an interrupted evaluation goes on: one file for each finished search, and for what else takes its time.

A file is named by the SHA-256 of everything that its content depends on: the graph, what was done and with which
settings, the images and labels themselves, the versions, and the source of every floor that can change a result
(bench/, export/ and runtime/); for a search the threat model and the seed too. So a stale file is never found, and a
sequential run, whose images depend on the attacks before, needs no more. A search's file holds the candidates, not
whether they break anything: the engine is asked about them every time. Files appear in one rename and begin with the
SHA-256 of what follows; a damaged file is computed again. A run deletes the files that it read or wrote and nothing
else: the folder may be shared by runs, one after another or at once.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import InputError
from ..runtime.files.store import Store
from .attacks.catalogue import AttackPlan
from .attacks.result import AttackResult
from .attacks.threat.threat_model import ThreatModel
from .measurement import Environment

__all__ = ["RESUME_FOLDER", "Arrays", "ResumeStore", "package_digest", "source_digest"]

Arrays = Mapping[str, NDArray[Any]]

RESUME_FOLDER = ".hardtemper-resume"
"""The folder's name beside the verdicts."""

_FLOORS = ("bench", "export", "runtime")
"""Folders of the package whose code can change what an evaluation finds."""


def source_digest(package: Path) -> str:
    """SHA-256 of every Python file, with its path, of the floors that can change a result.

    Args:
        package: the folder that holds bench/, export/ and runtime/.
    """
    digest = hashlib.sha256()
    for floor in _FLOORS:
        for path in sorted((package / floor).rglob("*.py")):
            digest.update(f"{path.relative_to(package).as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@cache
def package_digest() -> str:
    """`source_digest` of this package, read once."""
    return source_digest(Path(__file__).parents[1])


@dataclass(slots=True, eq=False)
class ResumeStore:
    """The finished parts of one evaluation. Not frozen: `used` grows as files are read and written.

    Attributes:
        folder: where the files lie.
        digests: SHA-256 of the graph behind each `AttackPlan.target`.
        source: SHA-256 of the code.
        used: the files that were read or written so far; shared with the stores of `for_graphs`.
    """

    folder: Path
    digests: Mapping[str, str] = field(default_factory=dict)
    source: str = field(default_factory=package_digest)
    used: set[Path] = field(default_factory=set)

    def for_graphs(self, digests: Mapping[str, str]) -> ResumeStore:
        """The same store for other graphs."""
        return replace(self, digests=digests)

    def search(
        self,
        plan: AttackPlan,
        model: object,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        *,
        threat: ThreatModel,
        seed: int,
    ) -> AttackResult:
        """What `plan.search` finds on these images, from the folder if it was found before.

        Raises:
            InputError: the folder cannot be written.
        """

        def compute() -> Arrays:
            result = plan.search(model, images, labels, threat=threat, seed=seed, **plan.settings)
            about = {"name": result.name, "settings": dict(result.settings), "seconds": result.seconds}
            about["evaluations"] = result.evaluations
            return {"adversarial": result.adversarial, "about": np.array(json.dumps(about))}

        what = {"attack": plan.name, "settings": dict(plan.settings), "threat": str(threat), "seed": seed}
        found = self.load_or_compute(what, (images, labels), compute, graph=plan.target)
        return AttackResult(adversarial=found["adversarial"], **json.loads(str(found["about"])))

    def load_or_compute(
        self,
        what: Mapping[str, object],
        arrays: Sequence[NDArray[Any]],
        compute: Callable[[], Arrays],
        *,
        graph: str = "engine",
    ) -> Arrays:
        """The arrays that `compute` returns, from the folder if they are there; else they are computed and put there.

        Args:
            what: what is computed, with every setting that matters; JSON values.
            arrays: the arrays that it is computed from.
            compute: returns arrays by name.
            graph: the network that is asked, a key of `digests`.

        Raises:
            InputError: the folder cannot be written.
        """
        path = self.folder / f"{self._key({**what, 'graph': self.digests[graph]}, arrays)}.part"
        self.used.add(path)
        content = self._files.read(path.name)
        if content is None:
            found = compute()
            buffer = io.BytesIO()
            np.savez(buffer, **found)  # type: ignore[arg-type]
            self._files.write(path.name, buffer.getvalue())
            return found
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return dict(stored)

    def make(self) -> None:
        """Make the folder, so that one that cannot be made is found before anything is computed.

        Raises:
            InputError: it cannot be made.
        """
        self._files.make()

    def remove(self) -> None:
        """Delete the files that were used, and what a killed run left of them; an empty folder too."""
        self._files.remove(path.name for path in self.used)

    def _key(self, what: Mapping[str, object], arrays: Sequence[NDArray[Any]]) -> str:
        kinds = [[str(array.dtype), *array.shape] for array in arrays]
        about = {**what, "arrays": kinds, "versions": dict(Environment.here().versions), "source": self.source}
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        for array in arrays:
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @property
    def _files(self) -> Store:
        return Store(folder=self.folder, error=InputError, what="cannot write", fix="choose another --work")
