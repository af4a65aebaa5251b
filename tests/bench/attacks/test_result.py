from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from hardtemper.bench.attacks.result import AttackResult


def result(images: np.ndarray) -> AttackResult:
    return AttackResult(name="pgd-20", settings={"steps": 20}, adversarial=images, seconds=0.5, evaluations=60)


def test_a_result_is_frozen_and_has_no_verdict() -> None:
    found = result(np.zeros((3, 1, 2, 2), np.uint8))
    with pytest.raises(FrozenInstanceError):
        found.name = "other"  # type: ignore[misc]
    assert AttackResult.__slots__ == ("name", "settings", "adversarial", "seconds", "evaluations")


@pytest.mark.parametrize("wrong", [np.zeros((3, 1, 2, 2)), np.zeros((3, 2, 2), np.uint8)], ids=["float", "no channels"])
def test_candidates_are_8_bit_images(wrong: np.ndarray) -> None:
    with pytest.raises(TypeError, match="adversarial"):
        result(wrong)
