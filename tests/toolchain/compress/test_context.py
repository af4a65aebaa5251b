"""What a compression may use: frozen, and without images unless they are given."""

from __future__ import annotations

import dataclasses

import pytest

from hardtemper.toolchain.compress.context import Context


def test_only_the_shape_is_needed() -> None:
    context = Context(input_shape=(1, 8, 8))
    assert (context.check_images, context.calibration, context.train) == (None, None, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        context.step = 2  # type: ignore[misc]


def test_a_stage_within_a_step_has_a_name_of_its_own() -> None:
    context = Context(input_shape=(1, 8, 8), step=3)
    assert context.stage("round 1") == "compress 3: round 1"
