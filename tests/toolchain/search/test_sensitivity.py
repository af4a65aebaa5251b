from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hardtemper.toolchain.search.sensitivity import LayerSensitivity, first_values


def row(layer: str, kept: float, clean: float, robust: float | None) -> LayerSensitivity:
    return LayerSensitivity(layer=layer, method="filters" if layer else "", kept=kept, clean=clean, robust=robust)


def test_the_search_begins_with_what_layers_bear(space: Callable[..., Any]) -> None:
    rows = [row("", 1.0, 0.9, 0.5)]
    rows += [row("a", 0.75, 0.9, 0.5), row("a", 0.5, 0.8, 0.4)]  # loses 0.1 on average
    rows += [row("b", 0.75, 0.6, 0.2), row("b", 0.5, 0.3, 0.1)]  # loses 0.8
    first, second, third, fourth = first_values(space(), rows, [1.0, 0.5])
    assert first == {"target": 1.0, "rate a": 0.5, "rate b": 0.5, "method a": "factorize"}
    assert second == first | {"rate a": 1.0, "rate b": pytest.approx(0.1)}
    assert third == first | {"target": 0.5}
    assert fourth == second | {"target": 0.5}


def test_layers_that_bear_the_same(space: Callable[..., Any]) -> None:
    rows = [row("", 1.0, 0.9, None), row("a", 0.5, 0.7, None), row("b", 0.5, 0.7, None)]
    _, second = first_values(space(), rows, [1.0])
    assert (second["rate a"], second["rate b"]) == (1.0, 1.0)


def test_every_layer_at_every_share(searched: Any) -> None:
    dense, *rows = searched.result.sensitivity
    assert (dense.layer, dense.kept) == ("", 1.0)
    knobs = [knob.name for knob in searched.result.space.knobs]
    assert [row.layer for row in rows] == [name for name in knobs for _ in range(3)]
    assert [row.kept for row in rows[:3]] == [0.75, 0.5, 0.25]
    assert all(0 <= row.clean <= 1 and row.robust is not None and row.robust <= row.clean for row in rows)
    assert len({row.clean for row in rows}) > 1
