"""Radii of the curves and of the alarms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.robustness.radii import large_threat, multiples


@pytest.mark.parametrize(
    ("threat", "levels"),
    [
        (ThreatModel("linf", 8 / 255), [2, 4, 6, 8, 12, 16]),
        (ThreatModel("linf", 204 / 255), [51, 102, 153, 204]),
        (ThreatModel("l2", 204 / 255, 3), [51, 102, 153, 204, 306, 408]),
    ],
)
def test_multiples_stay_inside_the_cube_of_all_images(threat: ThreatModel, levels: list[int]) -> None:
    balls = multiples(threat)
    assert [255 * ball.epsilon for ball in balls] == pytest.approx(levels)
    assert {(ball.norm, ball.target) for ball in balls} == {(threat.norm, threat.target)}


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_large_ball_holds_gray_for_every_image(norm: Any) -> None:
    ball = large_threat(ThreatModel(norm, 0.1), (1, 6, 6))
    black, gray = np.zeros((1, 1, 6, 6), np.uint8), np.full((1, 1, 6, 6), 128, np.uint8)
    assert ball.contains(np.repeat(gray, 2, 0), np.concatenate([black, 255 - black])).all()
    assert not ball.contains(gray + 1, black)
    larger = ThreatModel(norm, 1.0 if norm == "linf" else 99.0)
    assert large_threat(larger, (1, 6, 6)) == larger
