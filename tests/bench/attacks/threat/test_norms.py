from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hardtemper.bench.attacks.threat.norms import dual_length, length

VECTORS = hnp.arrays(np.float64, (2, 6), elements=st.floats(-10, 10))
NORMS: Any = ["linf", "l2", "l1"]


@pytest.mark.parametrize(("norm", "expected"), [("linf", 4.0), ("l2", 5.0), ("l1", 7.0)])
def test_length(norm: Any, expected: float) -> None:
    assert float(length(torch.tensor([3.0, -4.0, 0.0]), norm)) == expected


@pytest.mark.parametrize("norm", NORMS)
@given(VECTORS)
def test_hoelder(norm: Any, vectors: np.ndarray) -> None:
    gradient, move = torch.from_numpy(vectors)
    assert abs(float(gradient @ move)) <= float(dual_length(gradient, norm) * length(move, norm)) + 1e-9


@pytest.mark.parametrize(
    ("norm", "best"), [("linf", [1.0, -1.0, 0.0]), ("l2", [0.6, -0.8, 0.0]), ("l1", [0.0, -1.0, 0.0])]
)
def test_the_bound_is_reached(norm: Any, best: list[float]) -> None:
    gradient, move = torch.tensor([3.0, -4.0, 0.0]), torch.tensor(best)
    torch.testing.assert_close(gradient @ move, dual_length(gradient, norm) * length(move, norm))
