from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hardtemper.bench.performance.latency import measure_latency
from hardtemper.runtime.errors import InputError

IMAGES = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)


class Bench:
    """A clock, and engines that move it by known times."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[str, list[int]]] = []

    def clock(self) -> float:
        return self.now

    def engine(self, name: str, seconds: list[float]) -> Any:
        times: Iterator[float] = iter(seconds)

        def run(images: NDArray[np.uint8]) -> None:
            self.calls.append((name, images.reshape(-1).tolist()))
            self.now += next(times)

        return run


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_statistics_are_numpys(bench: Bench) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.gamma(2.0, 1e-3, 41), rng.gamma(2.0, 5e-4, 41)
    engines = {"dense": bench.engine("dense", [9.0, *a]), "shipped": bench.engine("shipped", [9.0, *b])}
    first, second = measure_latency(engines, IMAGES, batch=4, warmup=1, repeats=41, clock=bench.clock)
    for found, times in ((first, a), (second, b)):
        assert found.n == 41
        assert found.min_ms == pytest.approx(1000 * times.min())
        assert found.mean_ms == pytest.approx(1000 * times.mean())
        assert found.median_ms == pytest.approx(1000 * np.median(times))
        assert found.p10_ms == pytest.approx(1000 * np.percentile(times, 10))
        assert found.p90_ms == pytest.approx(1000 * np.percentile(times, 90))
        assert found.p99_ms == pytest.approx(1000 * np.percentile(times, 99))
        assert found.images_per_second == pytest.approx(4 * 41 / times.sum())
    assert (first.name, second.name) == ("dense", "shipped")
    assert (first.speedup, first.paired_speedup) == (1, 1)
    assert second.speedup == pytest.approx(np.median(a) / np.median(b))
    assert second.paired_speedup == pytest.approx(np.median(a / b))


def test_engines_take_turns_on_the_same_images(bench: Bench) -> None:
    engines = {name: bench.engine(name, [1.0] * 5) for name in "AB"}
    measure_latency(engines, IMAGES, batch=4, warmup=1, repeats=4, clock=bench.clock)
    assert [name for name, _ in bench.calls] == list("AB" * 5)
    pieces = [[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1], [2, 3, 4, 5]]  # the first one warms up
    assert [images for _, images in bench.calls] == [piece for piece in pieces for _ in "AB"]


def test_a_slow_phase_of_the_machine_leaves_the_ratios_alone(bench: Bench) -> None:
    slow = [10.0 if 20 <= turn < 80 else 1.0 for turn in range(100)]
    engines = {"A": bench.engine("A", [2 * t for t in slow]), "B": bench.engine("B", slow)}
    _, found = measure_latency(engines, IMAGES, batch=1, warmup=0, repeats=100, clock=bench.clock)
    assert found.speedup == found.paired_speedup == 2


def test_goes_on_until_min_seconds(bench: Bench) -> None:
    engines = {name: bench.engine(name, [0.25] * 100) for name in "AB"}
    found = measure_latency(engines, IMAGES, batch=1, warmup=0, repeats=2, min_seconds=5.0, clock=bench.clock)
    assert [latency.n for latency in found] == [10, 10]


def test_more_images_than_there_are(bench: Bench) -> None:
    measure_latency({"A": bench.engine("A", [1.0])}, IMAGES, batch=25, warmup=0, repeats=1, clock=bench.clock)
    assert bench.calls[0][1] == [*range(10), *range(10), *range(5)]


def test_the_garbage_collector_rests_while_engines_run(bench: Bench) -> None:
    seen = []
    measure_latency({"A": lambda _: seen.append(gc.isenabled())}, IMAGES, batch=1, warmup=1, repeats=2)
    assert seen == [True, False, False]
    assert gc.isenabled()


def test_measurements_carry_settings_and_spread(bench: Bench) -> None:
    engines = {"A": bench.engine("A", [0.001, 0.002, 0.003])}
    (found,) = measure_latency(engines, IMAGES, batch=2, warmup=0, repeats=3, clock=bench.clock)
    latency, throughput, speedup = found.measurements(threads=1)
    assert (latency.value, latency.unit, latency.n) == (pytest.approx(2.0), "ms", 3)
    assert latency.spread == (pytest.approx(1.2), pytest.approx(2.8))
    assert latency.settings.keys() == {"threads", "batch", "min_ms", "mean_ms", "p10_ms", "p90_ms", "p99_ms"}
    assert (throughput.value, throughput.unit) == (pytest.approx(1000.0), "images/s")
    assert (speedup.value, speedup.settings["paired"], speedup.unit) == (1, 1, "x")


def test_progress_ends_once(bench: Bench) -> None:
    told: list[tuple[str, int, int]] = []
    engines = {"A": bench.engine("A", [0.1] * 100)}
    measure_latency(
        engines,
        IMAGES,
        batch=1,
        repeats=20,
        min_seconds=5.0,
        clock=bench.clock,
        progress=lambda task, done, total, _: told.append((task, done, total)),
    )
    assert [done for _, done, _ in told] == [*range(2, 20, 2), 20]
    assert {(task, total) for task, _, total in told} == {("latency, batch 1", 20)}


@pytest.mark.parametrize(
    "wrong", [{"engines": {}}, {"images": IMAGES[:0]}, {"batch": 0}, {"warmup": -1}, {"repeats": 0}]
)
def test_refuses_nothing_to_measure(wrong: dict[str, Any]) -> None:
    arguments = {"engines": {"A": len}, "images": IMAGES, "batch": 1} | wrong
    engines, images = arguments.pop("engines"), arguments.pop("images")
    with pytest.raises(InputError, match="settings of measure_latency out of range"):
        measure_latency(engines, images, **arguments)
