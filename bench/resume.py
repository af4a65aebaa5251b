"""Where an interrupted evaluation goes on: one file for each finished search, and for what else takes its time.

A file is named by the SHA-256 of everything that its content depends on: the graph, what was done with its settings,
the images and labels themselves, the versions, this package's own source; of a search, the threat model and the seed
too. So nothing stale is ever found, and in a sequential run, where the images depend on the attacks before, no more
needs to be known. Of a search it holds what was found, not whether that breaks anything: candidates are replayed on the
engine every time. Files appear in one rename and begin with the SHA-256 of what follows; a damaged one is computed
again. A run deletes what it read or wrote and nothing else: the folder may be shared by runs, one after another or at
once.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
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

__all__ = ["PIECES", "Pieces", "remembered", "searching"]

Arrays = Mapping[str, NDArray[Any]]

PIECES = ".hardtemper-pieces"
"""What their folder is called."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """What is finished of one evaluation.

    Attributes:
        folder: where they lie.
        digests: SHA-256 of the graph behind each `AttackPlan.target`.
        used: the files that were read or written; it grows.
    """

    folder: Path
    digests: Mapping[str, str] = field(default_factory=dict)
    used: set[Path] = field(default_factory=set)

    def remember(
        self,
        what: Mapping[str, object],
        arrays: Sequence[NDArray[Any]],
        compute: Callable[[], Arrays],
        *,
        graph: str = "engine",
    ) -> Arrays:
        """What `compute` returns, from the folder where it lies there; if not, it is computed and put there.

        Args:
            what: what is computed, with every setting that matters; JSON values.
            arrays: what it is computed from besides.
            compute: returns arrays by name.
            graph: the network that it is about, a key of `digests`.

        Raises:
            InputError: the folder cannot be written.
        """
        path = self.folder / f"{self._key({**what, 'graph': self.digests[graph]}, arrays)}.piece"
        self.used.add(path)
        content = self._store.read(path.name)
        if content is None:
            found = compute()
            buffer = io.BytesIO()
            np.savez(buffer, **found)  # type: ignore[arg-type]
            self._store.write(path.name, buffer.getvalue())
            return found
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return dict(stored)

    def make(self) -> None:
        """Make the folder, so that one that cannot be made is found before anything is computed.

        Raises:
            InputError: it cannot be made.
        """
        self._store.make()

    def remove(self) -> None:
        """Delete what was used, and what a killed run left of it; the folder too if nothing else is in it."""
        self._store.remove(path.name for path in self.used)

    @property
    def _store(self) -> Store:
        return Store(folder=self.folder, error=InputError, what="cannot write", fix="choose another --work")

    def _key(self, what: Mapping[str, object], arrays: Sequence[NDArray[Any]]) -> str:
        kinds = [[str(array.dtype), *array.shape] for array in arrays]
        about = {**what, "arrays": kinds, "versions": dict(Environment.here().versions), "source": _source()}
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        for array in arrays:
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


@cache
def _source() -> str:
    """SHA-256 of the code that attacks and measures: between two versions, it changes too."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(here.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def remembered(
    pieces: Pieces | None,
    what: Mapping[str, object],
    arrays: Sequence[NDArray[Any]],
    compute: Callable[[], Arrays],
) -> Arrays:
    """`Pieces.remember` where there are any; else what `compute` returns."""
    return compute() if pieces is None else pieces.remember(what, arrays, compute)


def searching(plan: AttackPlan, pieces: Pieces | None) -> Callable[..., AttackResult]:
    """`plan.search`, called with the plan's settings, which remembers.

    The function takes (model, images, labels, threat=, seed=).

    Raises:
        InputError: when called, the folder cannot be written.
    """

    def remembering(
        model: object, images: NDArray[np.uint8], labels: NDArray[np.int64], *, threat: ThreatModel, seed: int
    ) -> AttackResult:
        search = partial(plan.search, model, images, labels, threat=threat, seed=seed, **plan.settings)
        if pieces is None:
            return search()

        def compute() -> Arrays:
            result = search()
            about = {"name": result.name, "settings": dict(result.settings), "seconds": result.seconds}
            about["evaluations"] = result.evaluations
            return {"adversarial": result.adversarial, "about": np.array(json.dumps(about))}

        what = {"attack": plan.name, "settings": dict(plan.settings), "threat": str(threat), "seed": seed}
        found = pieces.remember(what, (images, labels), compute, graph=plan.target)
        return AttackResult(adversarial=found["adversarial"], **json.loads(str(found["about"])))

    return remembering
