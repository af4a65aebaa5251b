"""Batches by bytes; that calibration and parity use them is tested there."""

from __future__ import annotations

import pytest

from hardtemper.export.batch_size import MOST_BYTES, batch_size


@pytest.mark.parametrize(
    ("bytes_of_one", "expected"), [(0, 32), (1, 32), (MOST_BYTES // 32, 32), (MOST_BYTES // 3, 3), (2 * MOST_BYTES, 1)]
)
def test_as_many_as_fit(bytes_of_one: int, expected: int) -> None:
    assert batch_size(bytes_of_one, most=32) == expected
