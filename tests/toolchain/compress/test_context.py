"""What a compression may use: frozen, and without images unless they are given."""

from __future__ import annotations

import dataclasses

import pytest

from hardtemper.toolchain.compress.context import Context


def test_only_the_shape_is_needed() -> None:
    context = Context(input_shape=(1, 8, 8))
    assert (context.check_images, context.calibration, context.train) == (None, None, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        context.seed = 1  # type: ignore[misc]
