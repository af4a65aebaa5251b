"""A stored verdict on another engine: how many of its candidates still break it.

Candidates were searched for one graph on one backend. On another they are transferred, so the robust accuracy here is
an upper bound. On those that they were made for it is the verdict itself, and has to be what the verdict says. Graphs
are told apart by their SHA-256; what counts as broken is in `criteria.py`. A random engine votes
(`votes.py`), with as many answers as for the verdict; its counts differ by chance, so no gate holds them. Needs numpy
alone beside the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import DataError, GateError
from ...runtime.progress import ProgressCallback, silent
from ..randomness import is_random
from .archive import Archive
from .criteria import right_answers, withstood
from .votes import Votes

__all__ = ["Replay", "ReplayedAttack", "replay"]

_BATCH = 256

_Criterion = Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.bool_]]
"""rule(logits [N, K], labels [N]) -> bool [N]."""


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
        robust: of these, images that no stored candidate breaks; where the graph is another, an upper bound.
        attacks: in the order they ran.
        same_graph: whether the engine runs the graph that the verdict is about, on its backend; None where that is
            not known.
        stored_clean: `clean` as the verdict says it; None where it does not say both.
        stored_robust: `robust` as the verdict says it; None where it does not say both.
        draws: answers to an image; more than 1 where the verdict is about a random engine.
        alarms: names of the alarms that were raised when the verdict was made.
    """

    engine: str
    n: int
    clean: int
    robust: int
    attacks: tuple[ReplayedAttack, ...]
    same_graph: bool | None
    stored_clean: int | None
    stored_robust: int | None
    alarms: tuple[str, ...]
    draws: int

    @property
    def differs(self) -> bool:
        """Whether the graph is the verdict's, is not random, and a count is another."""
        stored = (self.stored_clean, self.stored_robust)
        return self.same_graph is True and self.draws == 1 and stored not in ((None, None), (self.clean, self.robust))

    def gate(self) -> None:
        """Refuse a verdict that its own graph does not give.

        Raises:
            GateError: the graph is the verdict's and a count is not.
        """
        if self.differs:
            raise GateError(
                f"{self.engine}: the counts differ from the verdict's, on the same graph",
                expected=f"{self.stored_clean} images right as they are, {self.stored_robust} robust",
                got=f"{self.clean} and {self.robust}",
                fix="replay on a processor like the one in the verdict's header, a float graph also with the same "
                "onnxruntime and number of threads, because others may round differently. If the counts still differ, "
                "the verdict is not this graph's",
            )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def replay(
    archive: Archive,
    engine: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    *,
    name: str,
    graph_sha256: str | None = None,
    backend: str = "onnxruntime",
    progress: ProgressCallback = silent,
) -> Replay:
    """Ask an engine for everything that a verdict holds.

    Args:
        archive: the verdict.
        engine: uint8 [N, C, H, W] -> logits [N, K].
        name: the engine's, for the result.
        graph_sha256: `OnnxFile.digest` of what the engine runs; None where that is not known.
        backend: what runs it.
        progress: told after each batch; the task is `name`.

    Raises:
        DataError: the engine has another number of classes.
    """
    total = len(archive.images) + len(archive.rows)
    # what the header says is not enough: it would take a verdict out of the gate
    draws = archive.draws if archive.draws > 1 and is_random(engine, archive.images) else 1
    answers = engine if draws == 1 else Votes(engine, draws)

    def asked(images: NDArray[np.uint8], labels: NDArray[np.int64], rule: _Criterion, before: int) -> NDArray[np.bool_]:
        """What the rule says of the engine's answers, a batch at a time: bool [N]."""
        found = np.zeros(len(images), bool)
        for start in range(0, len(images), _BATCH):
            batch = slice(start, start + _BATCH)
            logits = answers(images[batch])
            if logits.shape[1] != archive.header["classes"]:
                expected = f"{archive.header['classes']} classes"
                raise DataError(f"{name}: the verdict does not fit", expected=expected, got=str(logits.shape[1]))
            found[batch] = rule(logits, labels[batch])
            progress(name, before + min(start + _BATCH, len(images)), total, "")
        return found

    right = asked(archive.images, archive.labels, right_answers, 0)
    withstands = partial(withstood, threat=archive.threat)
    broken = ~asked(archive.adversarial, archive.labels[archive.rows], withstands, len(archive.images))
    robust = right.copy()
    robust[archive.rows[broken]] = False
    header = archive.header
    known = graph_sha256 is not None and header.get("graph_sha256") is not None
    counts = (header["clean"], header["robust"]) if {"clean", "robust"} <= header.keys() else (None, None)
    return Replay(
        engine=name,
        n=len(right),
        clean=int(right.sum()),
        robust=int(robust.sum()),
        attacks=tuple(_attack(archive, number, broken) for number in range(len(archive.names))),
        same_graph=(header["graph_sha256"], archive.backend) == (graph_sha256, backend) if known else None,
        stored_clean=counts[0],
        stored_robust=counts[1],
        alarms=archive.alarms,
        draws=draws,
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
