from __future__ import annotations

from hardtemper.export.quantization.operators.matrix import FAMILIES, ROWS
from hardtemper.export.twin.operators.supported import OPERATORS


def test_every_row_has_a_twin() -> None:
    """The twin computes whatever the matrix lets into a graph."""
    assert set(ROWS) <= set(OPERATORS)


def test_an_operator_is_in_one_family() -> None:
    assert sum(map(len, FAMILIES.values())) == len(ROWS)
