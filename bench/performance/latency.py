"""How long engines take for a batch, side by side.

Rule: the engines take turns on the same images (A B A B ...), warmed up first, the garbage collector held still. What
slows the machine down for a while then slows all of them, so ratios hold where absolute times do not. Two ratios, both
above 1 where an engine is faster than the first one:

    speedup          median(t_first) / median(t)
    paired_speedup   median over rounds of (t_first / t), each pair measured within one round

If the two disagree, the machine changed its speed during the run.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError
from ...runtime.progress import ProgressCallback, silent
from ..measurement import Measurement, Setting, measured

__all__ = ["Latency", "measure_latency", "no_garbage_collection", "summarize", "take_batch"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """One engine's times for one batch size; times in milliseconds, percentiles interpolated linearly.

    Attributes:
        name: the engine's.
        batch: images a call.
        n: timed calls.
        p10_ms: 10th percentile, and so on.
        images_per_second: images over the sum of times.
        speedup: see the module's rule; 1 for the first engine.
        paired_speedup: see the module's rule; 1 for the first engine.
    """

    name: str
    batch: int
    n: int
    min_ms: float
    mean_ms: float
    median_ms: float
    p10_ms: float
    p90_ms: float
    p99_ms: float
    images_per_second: float
    speedup: float
    paired_speedup: float

    def measurements(self, **settings: Setting) -> tuple[Measurement, ...]:
        """The median with the other statistics among its settings, the throughput, and the speedup."""
        shared = {**settings, "batch": self.batch}
        statistics = {key: value for key, value in asdict(self).items() if key.endswith("_ms") and key != "median_ms"}
        return (
            measured(
                "latency",
                self.median_ms,
                n=self.n,
                spread=(self.p10_ms, self.p90_ms),
                settings={**shared, **statistics},
            ),
            measured("throughput", self.images_per_second, n=self.n, settings=shared),
            measured("speedup", self.speedup, n=self.n, settings={**shared, "paired": self.paired_speedup}),
        )


def measure_latency(
    engines: Mapping[str, Callable[[NDArray[np.uint8]], Any]],
    images: NDArray[np.uint8],
    *,
    batch: int,
    warmup: int = 10,
    repeats: int = 50,
    min_seconds: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
    progress: ProgressCallback = silent,
) -> tuple[Latency, ...]:
    """Time engines side by side, in this process and on this machine.

    How many threads an engine uses is set when it is opened.

    Args:
        engines: by name, one or more; the first one is what the others are compared with.
        images: uint8 [N, C, H, W], N >= 1; each round takes the next `batch` of them, from the start again at the end.
        batch: images a call, 1 or more.
        warmup: rounds before the timed ones, 0 or more.
        repeats: timed rounds at least, 1 or more.
        min_seconds: go on with timed rounds until they took this long in all.
        clock: seconds.
        progress: told about every tenth of `repeats`.

    Returns:
        In the order of `engines`.

    Raises:
        InputError: an argument is out of range.
    """
    if not engines or not len(images) or batch < 1 or warmup < 0 or repeats < 1:
        raise InputError(
            "settings of measure_latency out of range",
            expected="engines, images, batch >= 1, warmup >= 0, repeats >= 1",
            got=f"{len(engines)} engines, {len(images)} images, batch {batch}, warmup {warmup}, repeats {repeats}",
        )
    task, notice = f"latency, batch {batch}", max(repeats // 10, 1)
    rounds: list[list[float]] = []
    total = 0.0
    for turn in range(warmup):
        for engine in engines.values():
            engine(take_batch(images, turn, batch))
    with no_garbage_collection():
        while len(rounds) < repeats or total < min_seconds:
            piece = take_batch(images, len(rounds), batch)
            times = []
            for engine in engines.values():
                start = clock()
                engine(piece)
                times.append(clock() - start)
            rounds.append(times)
            total += sum(times)
            if len(rounds) % notice == 0 and len(rounds) < repeats:
                progress(task, len(rounds), repeats, f"{1000 * min(times):.2f} ms")
    seconds = np.array(rounds)
    progress(task, repeats, repeats, f"{len(rounds)} rounds")
    return tuple(summarize(name, seconds[:, index], seconds[:, 0], batch) for index, name in enumerate(engines))


def take_batch(images: NDArray[np.uint8], turn: int, batch: int) -> NDArray[np.uint8]:
    """The images of one round: the `turn`-th `batch` of them, from the start again at the end."""
    where = np.arange(turn * batch, (turn + 1) * batch)
    taken: NDArray[np.uint8] = images.take(where, axis=0, mode="wrap")
    return taken


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect now and not again until the end."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def summarize(name: str, seconds: NDArray[np.float64], first: NDArray[np.float64], batch: int) -> Latency:
    """Statistics of seconds [n], compared with those of the first engine in the same rounds [n]."""
    p10, median, p90, p99 = (float(value) for value in np.percentile(1000 * seconds, (10, 50, 90, 99)))
    return Latency(
        name=name,
        batch=batch,
        n=len(seconds),
        min_ms=1000 * float(seconds.min()),
        mean_ms=1000 * float(seconds.mean()),
        median_ms=median,
        p10_ms=p10,
        p90_ms=p90,
        p99_ms=p99,
        images_per_second=batch * len(seconds) / float(seconds.sum()),
        speedup=float(np.median(first) / np.median(seconds)),
        paired_speedup=float(np.median(first / seconds)),
    )
