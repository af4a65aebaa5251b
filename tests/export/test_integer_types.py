from __future__ import annotations

import numpy as np
import pytest

from hardtemper.export.integer_types import INT8, UINT8, IntegerType


@pytest.mark.parametrize("kind", [INT8, UINT8, IntegerType(16, signed=True), IntegerType(32, signed=False)])
def test_the_ends_are_numpys(kind: IntegerType) -> None:
    info = np.iinfo(kind.name)
    assert (kind.low, kind.high, kind.bits) == (info.min, info.max, info.bits)


def test_seven_bits() -> None:
    assert (IntegerType(7, signed=True).low, IntegerType(7, signed=True).high) == (-64, 63)
