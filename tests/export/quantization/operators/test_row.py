from __future__ import annotations

from hardtemper.export.quantization.operators.matrix import ROWS


def test_words_and_obstacles_come_together() -> None:
    for row in ROWS.values():
        assert bool(row.kernel) == (row.handling not in ("float", "rounded")), row.operator
        assert row.except_for or not row.refused
