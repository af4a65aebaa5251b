"""Timing steps on a device: a device whose clock the tests wind."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from hardtemper.bench.performance.gpu_latency import STEPS, DeviceLatency, measure_device_latency
from hardtemper.runtime.errors import InputError

IMAGES = np.arange(12, dtype=np.uint8).reshape(6, 1, 1, 2)


class Clock:
    """The host's seconds; staging and enqueueing take some, waiting takes what the device still has to do."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def __call__(self) -> float:
        return self.now


class Work:
    """A device that takes these milliseconds to upload, compute and download, and 0.1 ms of the host for each step."""

    def __init__(self, name: str, clock: Clock, upload: float, compute: float, download: float) -> None:
        self.name, self.clock, self.ms = name, clock, (upload, compute, download)
        self.device_ms, self.marks, self.current = 0.0, 0, 0
        self.images: list[Any] = []

    @contextmanager
    def active(self) -> Iterator[None]:
        self.current += 1
        yield
        self.current -= 1

    def stage(self, images: Any) -> None:
        assert self.current
        self.images.append(images.copy())
        self.clock.now += 0.0005

    def _step(self, index: int) -> None:
        assert self.current
        self.clock.log.append(f"{self.name}{index}")
        self.clock.now += 0.0001
        self.device_ms += self.ms[index]

    def upload(self) -> None:
        self._step(0)

    def compute(self) -> None:
        self._step(1)

    def download(self) -> None:
        self._step(2)

    def result(self) -> Any:
        assert not gc.isenabled() or not self.marks
        self.clock.now += sum(self.ms) / 1000
        return np.zeros((len(self.images[-1]), 3), np.float32)

    def new_mark(self) -> list[float]:
        assert self.current
        self.marks += 1
        return [0.0]

    def record(self, mark: list[float]) -> None:
        mark[0] = self.device_ms

    def elapsed_ms(self, start: list[float], end: list[float]) -> float:
        return end[0] - start[0]

    def drop(self, mark: list[float]) -> None:
        assert self.current
        self.marks -= 1


def measured(**changes: Any) -> tuple[tuple[DeviceLatency, ...], Clock, list[Work]]:
    clock = Clock()
    works = [Work("a", clock, 1.0, 4.0, 0.5), Work("b", clock, 1.0, 2.0, 0.5)]
    settings: dict[str, Any] = {"batch": 4, "warmup": 2, "repeats": 3, **changes}
    found = measure_device_latency({work.name: work for work in works}, IMAGES, clock=clock, **settings)
    return found, clock, works


def test_each_step_is_timed_by_whoever_does_it() -> None:
    found, _, works = measured()
    assert [latency.name for latency in found] == ["a", "b"]
    for latency, compute in zip(found, (4.0, 2.0), strict=True):
        assert tuple(latency.steps) == STEPS
        medians = [latency.steps[step].median_ms for step in STEPS]
        device = 1.5 + compute
        np.testing.assert_allclose(medians, [1.0, compute, 0.5, device, 0.3, 0.5 + 0.3 + device])
        assert {step.n for step in latency.steps.values()} == {3}
    np.testing.assert_allclose(found[1].steps["compute"].speedup, 2.0)
    np.testing.assert_allclose(found[1].steps["total"].paired_speedup, 6.3 / 4.3)
    assert [work.marks for work in works] == [0, 0]


def test_engines_take_turns_on_the_same_images() -> None:
    _, clock, works = measured()
    turn = ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert clock.log == turn * 5
    for one, other in zip(works[0].images, works[1].images, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(works[0].images[1], IMAGES[[4, 5, 0, 1]])  # warm-up starts at the first image,
    np.testing.assert_array_equal(works[0].images[2], IMAGES[:4])  # and so do the timed rounds


def test_measurements_name_their_step() -> None:
    (first, _), _, _ = measured()
    found = first.measurements(beside="a", precision="int8")
    assert [m.name for m in found] == ["device-latency"] * 6 + ["throughput", "speedup"]
    assert [m.settings["step"] for m in found] == [*STEPS, "total", "total"]
    compute = found[1]
    assert (compute.value, compute.unit, compute.n, compute.spread) == (4.0, "ms", 3, (4.0, 4.0))
    assert (compute.settings["batch"], compute.settings["precision"]) == (4, "int8")
    np.testing.assert_allclose(found[6].value, 4 / 0.0063)


def test_it_goes_on_until_the_time_is_up() -> None:
    found, _, _ = measured(min_seconds=0.1)
    assert found[0].steps["total"].n == 10  # 6.3 + 4.3 ms a round


def test_a_step_between_two_ticks_of_the_device_still_has_a_ratio() -> None:
    clock = Clock()
    (latency,) = measure_device_latency({"a": Work("a", clock, 0.0, 1.0, 0.0)}, IMAGES, batch=1, clock=clock, repeats=2)
    assert latency.steps["upload"].median_ms == pytest.approx(1e-4)
    assert all(np.isfinite(m.value) for m in latency.measurements())


def test_progress_is_told() -> None:
    told = []
    measured(repeats=20, progress=lambda *news: told.append(news))
    assert [news[1] for news in told] == [*range(2, 20, 2), 20]
    assert told[0][0] == "device latency, batch 4"


def test_marks_go_back_where_an_engine_fails() -> None:
    clock = Clock()
    work = Work("a", clock, 1.0, 1.0, 1.0)
    calls = iter(range(100))

    def fail() -> None:
        if next(calls) == 3:
            raise RuntimeError("no")

    work.compute = fail  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="no"):
        measure_device_latency({"a": work}, IMAGES, batch=1, warmup=2, clock=clock)
    assert work.marks == 0
    assert gc.isenabled()


@pytest.mark.parametrize("changes", [{"batch": 0}, {"warmup": 1}, {"repeats": 0}])
def test_nothing_to_measure(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="settings of measure_device_latency out of range"):
        measured(**changes)
    with pytest.raises(InputError, match="0 engines"):
        measure_device_latency({}, IMAGES, batch=1)
