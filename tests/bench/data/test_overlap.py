from __future__ import annotations

import numpy as np

from hardtemper.bench.data.overlap import count_overlap


def test_images_that_are_in_both_parts() -> None:
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, (n, 3, 4, 5), np.uint8) for n in (20, 10))
    assert count_overlap(train, test) == 0
    test[3], test[7] = train[19], train[0]
    assert count_overlap(train, test) == 2
    test[3, 0, 0, 0] ^= 1
    assert count_overlap(train[:, :, ::-1], test[:, :, ::-1]) == 1
