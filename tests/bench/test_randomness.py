from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hardtemper.bench.randomness import is_random

PIXELS = np.zeros((3, 1, 2, 2), np.uint8)


def test_an_engine_is_random_if_it_answers_differently() -> None:
    rng = np.random.default_rng(0)

    def constant(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.ones((len(images), 4), np.float32) * np.arange(4, dtype=np.float32)

    def noisy(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return rng.normal(size=(len(images), 4)).astype(np.float32)

    def unordered(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return constant(images) + rng.normal(0, 1e-6, (len(images), 4)).astype(np.float32)

    def nowhere(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.full((len(images), 4), np.nan, np.float32)

    assert is_random(noisy, PIXELS)
    assert not any(is_random(engine, PIXELS) for engine in (constant, unordered, nowhere))


def test_an_engine_that_seldom_answers_differently_is_found_out() -> None:
    """One draw for the whole batch, of four."""
    rng = np.random.default_rng(1)

    def shifted(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        drawn = rng.choice(4, p=[0.55, 0.15, 0.15, 0.15])
        return np.full((len(images), 4), drawn, np.float32) * np.arange(4, dtype=np.float32)

    assert sum(is_random(shifted, PIXELS) for _ in range(100)) > 95


def test_an_engine_that_is_not_is_mostly_asked_about_few_images() -> None:
    asked: list[int] = []

    def engine(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        asked.append(len(images))
        return np.ones((len(images), 2), np.float32)

    assert not is_random(engine, np.zeros((100, 1, 2, 2), np.uint8))
    assert asked == [64, 64, *[4] * 9]
