"""The settings of ATMC: the bits of the paper's experiments, and out of range is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from hardtemper.toolchain.recipe.atmc_settings import Atmc


def test_values_are_free_unless_bits_are_given() -> None:
    assert (Atmc().bits, Atmc().factors, Atmc().holds_zeros) == (None, True, True)
    assert Atmc(bits=8).account["bits"] == 8


@pytest.mark.parametrize("asked", [{"nonzeros": 0}, {"nonzeros": 1.5}, {"bits": 0}, {"bits": 9}, {"rank": 0}])
def test_out_of_range(asked: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Atmc(**asked)
