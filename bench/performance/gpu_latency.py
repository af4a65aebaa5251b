"""How long engines on a GPU take for a batch, step by step and side by side.

Rule: the engines take turns on the same images (A B A B ...), warmed up first, as in `latency.py`, whose statistics
these are. In each turn the device's own events time three steps and their sum, the host's clock two spans:

    upload    pixels from page-locked memory to the device     between events 0 and 1
    compute   the kernels                                      between events 1 and 2
    download  the logits back                                  between events 2 and 3
    device    all three                                        between events 0 and 3
    enqueue   until the host has handed the three over         host, no waiting
    total     from pixels to logits on the host                host, waiting included
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError
from ...runtime.progress import ProgressCallback, silent
from ..measurement import Measurement, Setting, measured
from .latency import Latency, no_garbage_collection, summarize, take_batch

__all__ = ["STEPS", "DeviceLatency", "DeviceWork", "measure_device_latency"]

STEPS = ("upload", "compute", "download", "device", "enqueue", "total")


_LEAST_SECONDS = 1e-7


class DeviceWork(Protocol):
    """One engine's work on a batch; a `tensorrt.session.Session` is one. Every step stands inside `active`."""

    def active(self) -> AbstractContextManager[None]:
        """Make the device current on this thread."""

    def stage(self, images: NDArray[np.uint8]) -> None:
        """Take a batch of pixels [n, C, H, W] on the host."""

    def upload(self) -> None:
        """Enqueue the copy to the device."""

    def compute(self) -> None:
        """Enqueue the kernels."""

    def download(self) -> None:
        """Enqueue the copy of the logits to the host."""

    def result(self) -> NDArray[np.float32]:
        """Wait; logits [n, K]."""

    def new_mark(self) -> Any:
        """An event."""

    def record(self, mark: Any) -> None:
        """Enqueue the event."""

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Milliseconds on the device between two events, behind `result`."""

    def drop(self, mark: Any) -> None:
        """Give an event back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceLatency:
    """One engine's times for one batch size; `steps` is a `Latency` for each of `STEPS`."""

    name: str
    batch: int
    steps: Mapping[str, Latency]

    def measurements(self, **settings: Setting) -> tuple[Measurement, ...]:
        """The median of each step, then throughput and speedup by the total."""
        found = []
        for step, latency in self.steps.items():
            median, throughput, speedup = latency.measurements(**settings, step=step)
            renamed = measured(
                "device-latency", median.value, n=median.n, spread=median.spread, settings=median.settings
            )
            found += [renamed] if step != "total" else [renamed, throughput, speedup]
        return tuple(found)


def measure_device_latency(
    works: Mapping[str, DeviceWork],
    images: NDArray[np.uint8],
    *,
    batch: int,
    warmup: int = 20,
    repeats: int = 100,
    min_seconds: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
    progress: ProgressCallback = silent,
) -> tuple[DeviceLatency, ...]:
    """Time engines side by side on this machine's GPU.

    Args:
        works: by name, one or more; the first one is what the others are compared with.
        images: uint8 [N, C, H, W], N >= 1; each round takes the next `batch` of them, from the start again at the end.
        batch: images a call, 1 or more.
        warmup: rounds before the timed ones, 2 or more: the second run of a shape captures its graph.
        repeats: timed rounds at least, 1 or more.
        min_seconds: go on with timed rounds until their totals add up to this.
        clock: seconds on the host.
        progress: told about every tenth of `repeats`.

    Returns:
        In the order of `works`.

    Raises:
        InputError: an argument is out of range.
        ModelError: an engine failed.
    """
    if not works or not len(images) or batch < 1 or warmup < 2 or repeats < 1:
        raise InputError(
            "settings of measure_device_latency out of range",
            expected="engines, images, batch >= 1, warmup >= 2, repeats >= 1",
            got=f"{len(works)} engines, {len(images)} images, batch {batch}, warmup {warmup}, repeats {repeats}",
        )
    task, notice = f"device latency, batch {batch}", max(repeats // 10, 1)
    for turn in range(warmup):
        for work in works.values():
            _turn(work, take_batch(images, turn, batch), None, clock)
    rounds: list[list[list[float]]] = []
    waited = 0.0
    marks = {name: _new_marks(work) for name, work in works.items()}
    try:
        with no_garbage_collection():
            while len(rounds) < repeats or waited < min_seconds:
                piece = take_batch(images, len(rounds), batch)
                rounds.append([_turn(work, piece, marks[name], clock) for name, work in works.items()])
                waited += sum(times[-1] for times in rounds[-1])
                if len(rounds) % notice == 0 and len(rounds) < repeats:
                    progress(task, len(rounds), repeats, f"{1000 * rounds[-1][-1][-1]:.2f} ms")
    finally:
        for name, work in works.items():
            with work.active():
                for mark in marks[name]:
                    work.drop(mark)
    progress(task, repeats, repeats, f"{len(rounds)} rounds")
    # [rounds, engines, steps]; the device's clock ticks in half microseconds, and a step may fall between two ticks
    seconds = np.maximum(np.array(rounds), _LEAST_SECONDS)
    return tuple(
        DeviceLatency(
            name=name,
            batch=batch,
            steps={
                step: summarize(name, seconds[:, index, column], seconds[:, 0, column], batch)
                for column, step in enumerate(STEPS)
            },
        )
        for index, name in enumerate(works)
    )


def _new_marks(work: DeviceWork) -> list[Any]:
    with work.active():
        return [work.new_mark() for _ in range(4)]


def _turn(
    work: DeviceWork, images: NDArray[np.uint8], marks: list[Any] | None, clock: Callable[[], float]
) -> list[float]:
    """Seconds of each of `STEPS`; none without marks."""
    with work.active():
        start = clock()
        work.stage(images)
        staged = clock()
        if marks is None:
            work.upload()
            work.compute()
            work.download()
            work.result()
            return []
        work.record(marks[0])
        for step, mark in zip((work.upload, work.compute, work.download), marks[1:], strict=True):
            step()
            work.record(mark)
        enqueued = clock()
        work.result()
        end = clock()
        spans = [work.elapsed_ms(*pair) for pair in (*itertools.pairwise(marks), (marks[0], marks[3]))]
    return [ms / 1000 for ms in spans] + [enqueued - staged, end - start]
