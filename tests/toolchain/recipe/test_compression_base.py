"""What every compression step shares."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hardtemper.toolchain.recipe.compression_base import CompressionStep


def test_a_step_is_frozen_and_takes_no_unknown_key() -> None:
    step = CompressionStep(method="any")
    assert step.changes_network
    with pytest.raises(ValidationError, match="frozen"):
        step.method = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        CompressionStep.model_validate({"method": "any", "more": 1})
