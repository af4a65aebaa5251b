"""Rounding is no difference; another shape, another value and NaN are."""

from __future__ import annotations

import torch

from hardtemper.toolchain.compress.same_values import RELATIVE, difference


def test_what_differs() -> None:
    wanted = torch.tensor([1.0, -100.0, 0.0])
    assert difference(wanted, wanted + RELATIVE * 50) == ""
    assert difference(wanted, wanted + torch.tensor([0.0, 0.0, 1.0])) == "a difference of 1 where values reach 100"
    assert difference(wanted, wanted[:2]) == "(2,) for (3,)"
    assert "nan" in difference(wanted, wanted * float("nan"))
