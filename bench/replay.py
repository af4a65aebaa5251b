"""A stored verdict on another engine: how many of its candidates still break it.

Candidates were searched for one engine. On another one they are transferred, so what is left robust here is an upper
bound; on the engine that they were made for it is the verdict itself. Needs numpy alone beside the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import DataError
from ..runtime.progress import ProgressCallback, silent
from .archive import Archive

__all__ = ["Replay", "ReplayedAttack", "replay"]

_BATCH = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayedAttack:
    """One attack's candidates.

    Attributes:
        name: the attack.
        stored: candidates that broke the engine they were made for.
        broken: of these, those that break this one too.
        twin_only: candidates that broke only the twin of the engine they were made for.
        twin_only_broken: of these, those that break this one.
    """

    name: str
    stored: int
    broken: int
    twin_only: int
    twin_only_broken: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """A verdict on one engine.

    Attributes:
        engine: its name.
        n: images.
        clean: images that this engine gets right as they are.
        robust: of these, images that no stored candidate breaks.
        attacks: in the order they ran.
    """

    engine: str
    n: int
    clean: int
    robust: int
    attacks: tuple[ReplayedAttack, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def replay(
    archive: Archive,
    engine: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    *,
    name: str,
    progress: ProgressCallback = silent,
) -> Replay:
    """Ask an engine for everything that a verdict holds.

    Args:
        archive: the verdict.
        engine: uint8 [N, C, H, W] -> logits [N, K].
        name: the engine's, for the result.
        progress: told after each batch; the task is `name`.

    Raises:
        DataError: the engine has another number of classes.
    """
    total = len(archive.images) + len(archive.rows)

    def answers(images: NDArray[np.uint8], before: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        classes, unanswered = np.zeros(len(images), np.int64), np.zeros(len(images), bool)
        for start in range(0, len(images), _BATCH):
            piece = slice(start, start + _BATCH)
            logits = engine(images[piece])
            if logits.shape[1] != archive.header["classes"]:
                expected = f"{archive.header['classes']} classes"
                raise DataError(f"{name}: the verdict does not fit", expected=expected, got=str(logits.shape[1]))
            classes[piece], unanswered[piece] = logits.argmax(1), np.isnan(logits).any(1)
            progress(name, before + min(start + _BATCH, len(images)), total, "")
        return classes, unanswered

    classes, unanswered = answers(archive.images, 0)
    right = (classes == archive.labels) & ~unanswered
    classes, unanswered = answers(archive.adversarial, len(archive.images))
    fooled = archive.fooled(classes, archive.labels[archive.rows])
    broken = fooled & ~unanswered if archive.header["threat"]["target"] is not None else fooled | unanswered
    robust = right.copy()
    robust[archive.rows[broken]] = False
    return Replay(
        engine=name,
        n=len(right),
        clean=int(right.sum()),
        robust=int(robust.sum()),
        attacks=tuple(_attack(archive, number, broken) for number in range(len(archive.names))),
    )


def _attack(archive: Archive, number: int, broken: NDArray[np.bool_]) -> ReplayedAttack:
    of = archive.attacks == number
    twin_only = of & ~archive.on_engine
    return ReplayedAttack(
        name=archive.names[number],
        stored=int((of & archive.on_engine).sum()),
        broken=int((of & archive.on_engine & broken).sum()),
        twin_only=int(twin_only.sum()),
        twin_only_broken=int((twin_only & broken).sum()),
    )
