"""What counts as right and as broken."""

from __future__ import annotations

import numpy as np
import pytest

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.robustness.criteria import right_answers, withstood


@pytest.mark.parametrize(
    ("logits", "target", "stood"),
    [
        ([0.0, 3.0, 1.0], None, True),
        ([4.0, 3.0, 1.0], None, False),
        ([4.0, 3.0, 1.0], 0, False),
        ([4.0, 3.0, 1.0], 2, True),
        ([np.nan, 3.0, 1.0], None, False),
        ([np.nan, 3.0, 1.0], 0, True),
    ],
)
def test_what_the_attacker_wants(logits: list[float], target: int | None, stood: bool) -> None:
    threat = ThreatModel("linf", 0.1, target)
    assert withstood(np.array([logits], np.float32), np.array([1]), threat).tolist() == [stood]


@pytest.mark.parametrize(
    ("logits", "right"), [([1.0, 2.0], True), ([2.0, 1.0], False), ([np.nan, 2.0], False), ([1.0, np.nan], False)]
)
def test_nan_is_no_answer(logits: list[float], right: bool) -> None:
    assert right_answers(np.array([logits], np.float32), np.array([1])).tolist() == [right]
