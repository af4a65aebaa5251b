"""What is timed, and in which order, with a device that counts."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np

from hardtemper.export.tensorrt.timing import kernel_milliseconds


class Session:
    """Notes its steps; the device's time goes on with each of them."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.now, self.run = 0.0, 0
        self.marks: list[list[float]] = []

    def active(self) -> Any:
        return nullcontext()

    def stage(self, images: np.ndarray[Any, Any]) -> None:
        assert images.shape == (8, 1, 4, 4)
        assert images.dtype == np.uint8

    def upload(self) -> None:
        self.now += 100

    def compute(self) -> None:
        self.run += 1
        self.now += 50 if self.run in (1, 4) else 2  # a cold start, and an outlier
        self.steps.append("compute")

    def download(self) -> None:
        self.now += 100

    def result(self) -> None:
        self.steps.append("wait")

    def new_mark(self) -> list[float]:
        self.marks.append([0.0])
        return self.marks[-1]

    def record(self, mark: list[float]) -> None:
        mark[0] = self.now

    def elapsed_ms(self, start: list[float], end: list[float]) -> float:
        return end[0] - start[0]

    def drop(self, mark: list[float]) -> None:
        self.marks.remove(mark)


class Backend:
    input_shape, input_dtype = (1, 4, 4), "uint8"

    def __init__(self) -> None:
        self.only = Session()

    def session(self) -> Session:
        return self.only


def test_the_median_of_the_kernels() -> None:
    backend = Backend()
    assert kernel_milliseconds(backend, 8, warmup=2, rounds=5) == 2  # type: ignore[arg-type]
    assert backend.only.steps == ["compute"] * 2 + ["compute", "wait"] * 5
    assert backend.only.marks == []
