"""What the stages of a build share: frozen, and without checkpoints unless they are given."""

from __future__ import annotations

import dataclasses

import pytest

from hardtemper.toolchain.train.training_context import NoCheckpoints, TrainingContext


def test_nothing_is_stored_by_default() -> None:
    context = TrainingContext()
    assert (context.seed, context.device) == (0, "cpu")
    assert isinstance(context.checkpoints, NoCheckpoints)
    context.checkpoints.save("train", {"number": 1})
    assert context.checkpoints.load("train") is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        context.seed = 1  # type: ignore[misc]
