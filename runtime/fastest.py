"""Which backend runs a bundle fastest on this machine, of those that are proved for it: `load(..., backend="auto")`.

Rule: a backend is proved here where it gives the bundle's stored logits of the proof images, bit for bit; for a bundle
without a proof, where the manifest lists it for this instruction set. The proved ones take turns on one image (A B A B
...), and the least median wins. ONNX Runtime is the answer where none is proved. The choice is kept in this user's
cache, so it is made once:

    key = SHA-256 of (the bundle's digest, every backend's version, processor, instruction set, cores, threads)

A cache that cannot be read, is damaged or lies where others may write is no error: the choice is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bundle.proof import PROOF_NAME, read_proof
from .bundle.proved_on import proved_on
from .bundle.reader import Bundle
from .cpu import cpu_name, instruction_set
from .errors import HardtemperError
from .files.sealed import read_sealed, write_sealed
from .files.user_cache import cache_folder, check_private

__all__ = ["Choice", "choose", "recall", "remember"]

_DEFAULT = "onnxruntime"
_WARMUP, _CALLS = 5, 40

_Engine = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A backend for one bundle on this machine.

    Attributes:
        backend: its name.
        proved: whether it is proved here by the module's rule.
    """

    backend: str
    proved: bool


def choose(bundle: Bundle, engines: Mapping[str, _Engine], *, clock: Callable[[], float] = time.perf_counter) -> Choice:
    """Prove and time backends.

    Args:
        bundle: what they run.
        engines: uint8 [N, C, H, W] -> logits [N, K], by the backend's name, in the order in which equals are taken;
            "onnxruntime" among them.
        clock: seconds.

    Raises:
        BundleError: the bundle's proof cannot be used.
        ModelError: a backend that opened the graph cannot run it.
    """
    images, proved = _proved(bundle, engines)
    if not proved:
        return Choice(backend=_DEFAULT, proved=False)
    times: dict[str, list[float]] = {name: [] for name in proved}
    for turn in range(_WARMUP + _CALLS if len(proved) > 1 else 0):
        start = turn % len(images)
        image = images[start : start + 1]
        for name in proved:
            begin = clock()
            engines[name](image)
            times[name] += [clock() - begin] if turn >= _WARMUP else []
    median = {name: float(np.median(seconds)) if seconds else 0.0 for name, seconds in times.items()}
    return Choice(backend=min(median, key=median.__getitem__), proved=True)


def recall(bundle: Bundle, versions: Mapping[str, str], threads: int | None) -> Choice | None:
    """The choice that was made before; None where there is none, or it cannot be trusted.

    Args:
        bundle: what the backends run.
        versions: of every backend that is installed, by its name.
        threads: as for `load`.
    """
    folder = cache_folder("backends")
    try:
        check_private(folder, what="choices", fix="")
        content = read_sealed(folder / _key(bundle, versions, threads))
        found = Choice(**json.loads(content)) if content is not None else None
    except (HardtemperError, ValueError, TypeError):
        return None
    return found if found is not None and found.backend in versions and isinstance(found.proved, bool) else None


def remember(choice: Choice, bundle: Bundle, versions: Mapping[str, str], threads: int | None) -> None:
    """Keep a choice for `recall`, where the cache can be written."""
    folder = cache_folder("backends")
    content = json.dumps({"backend": choice.backend, "proved": choice.proved}).encode()
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_sealed(folder / _key(bundle, versions, threads), content)


def _proved(bundle: Bundle, engines: Mapping[str, _Engine]) -> tuple[NDArray[Any], list[str]]:
    """Images to time with, and the backends that are proved here."""
    if any(entry.path == PROOF_NAME for entry in bundle.manifest.files):
        images, logits = read_proof(bundle)
        if len(images):
            return images, [name for name, engine in engines.items() if np.array_equal(engine(images), logits)]
    here = instruction_set()
    listed = {entry.engine for entry in proved_on(bundle.manifest) if entry.instruction_set == here}
    black = np.zeros((1, *bundle.manifest.input.shape), np.uint8)
    return black, [name for name in engines if name in listed]


def _key(bundle: Bundle, versions: Mapping[str, str], threads: int | None) -> str:
    facts = [bundle.digest, sorted(versions.items()), cpu_name(), instruction_set(), os.cpu_count(), threads]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
