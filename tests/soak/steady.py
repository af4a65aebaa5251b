"""An engine that is asked for long: its logits stay the same, from any thread, and its memory does not grow.

Resident memory is read from /proc after a tenth of the calls, when arenas and caches are filled, and at the end.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import hardtemper

__all__ = ["Steady", "ask", "ask_from_threads", "measured", "open_often", "resident_mib"]

_POOL = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Steady:
    """What was found.

    Attributes:
        calls: how many there were.
        wrong: how many gave other logits than one thread alone, asked image by image, before.
        growth_mib: of resident memory, after the first tenth of the calls.
    """

    calls: int
    wrong: int
    growth_mib: float


def resident_mib() -> float:
    """Of this process."""
    gc.collect()
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _known(engine: hardtemper.Engine, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    images = np.random.default_rng(seed).integers(0, 256, (_POOL, *engine.input_shape), np.uint8)
    return images, np.concatenate([engine(image[None]) for image in images])


def _wrong(engine: hardtemper.Engine, known: tuple[NDArray[np.uint8], NDArray[np.float32]], number: int) -> bool:
    """Whether one call, of one to four images, gives other logits than are known."""
    start, count = number * 7 % (_POOL - 3), 1 + number % 4
    images, logits = (part[start : start + count] for part in known)
    return not np.array_equal(engine(images), logits)


def measured(calls: int, run: Callable[[range], int]) -> Steady:
    """`run` does the calls of the given numbers and says how many were wrong."""
    first = max(1, calls // 10)
    wrong = run(range(first))
    before = resident_mib()
    wrong += run(range(first, calls))
    return Steady(calls=calls, wrong=wrong, growth_mib=round(resident_mib() - before, 2))


def ask(bundle: Path, *, calls: int, seed: int) -> Steady:
    """One engine, one thread."""
    engine = hardtemper.load(bundle, threads=1)
    known = _known(engine, seed)
    return measured(calls, lambda numbers: sum(_wrong(engine, known, number) for number in numbers))


def ask_from_threads(bundle: Path, *, calls: int, threads: int, seed: int) -> Steady:
    """One engine, asked from several threads at once."""
    engine = hardtemper.load(bundle, threads=1)
    known = _known(engine, seed)

    def run(numbers: range) -> int:
        found = [0] * threads
        ready = threading.Barrier(threads)

        def work(thread: int) -> None:
            ready.wait()
            found[thread] = sum(_wrong(engine, known, number) for number in numbers[thread::threads])

        workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return sum(found)

    return measured(calls, run)


def open_often(bundle: Path, *, calls: int, seed: int) -> Steady:
    """A new engine for each call; the former is dropped."""
    known = _known(hardtemper.load(bundle, threads=1), seed)

    def run(numbers: range) -> int:
        return sum(_wrong(hardtemper.load(bundle, threads=1), known, number) for number in numbers)

    return measured(calls, run)
