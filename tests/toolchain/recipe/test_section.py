"""What every section shares: frozen, no unknown keys, no infinite numbers."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from hardtemper.toolchain.recipe.section import Factor, Positive, Section


class Example(Section):
    rate: Positive = 1.0
    weight: Factor = 0.0


def test_frozen_and_closed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Example().rate = 2.0  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        Example.model_validate({"rates": 1.0})


@pytest.mark.parametrize("value", [math.inf, math.nan, -1.0, 1e7])
def test_numbers_have_a_range(value: float) -> None:
    for key in ("rate", "weight"):
        with pytest.raises(ValidationError, match=key):
            Example.model_validate({key: value})


def test_a_factor_may_be_zero_and_a_rate_may_not() -> None:
    assert Example(weight=0).weight == 0
    with pytest.raises(ValidationError, match="rate"):
        Example(rate=0)
