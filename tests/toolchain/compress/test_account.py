"""Steps on a layer or on its factors have one account, and steps that do not fit each other have none; `test_chain.py`
has more accounts."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from hardtemper.runtime.errors import CompressionError
from hardtemper.toolchain.compress.account import joined
from hardtemper.toolchain.compress.compressed import LayerReport
from hardtemper.toolchain.compress.context import Context
from hardtemper.toolchain.compress.pruning.filters import prune_filters
from hardtemper.toolchain.recipe.filter_pruning import FilterPruning

CONTEXT = Context(input_shape=(1, 8, 8))


@pytest.fixture
def dense() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(192, 3)),
    ).eval()


def test_a_step_that_reports_other_layers_is_refused(dense: nn.Module) -> None:
    first = prune_filters(dense, FilterPruning(sparsity=0.5), CONTEXT)
    second = dataclasses.replace(first, layers=first.layers[1:])
    with pytest.raises(CompressionError, match=r"step 2 of \[\[compress\]\], filters, reports other layers"):
        joined([first, second])


def test_a_layers_factors_are_one_row_from_then_on(dense: nn.Module) -> None:
    """Their sums, the channels of the last of them, and no reason if any of them changed."""
    first = prune_filters(dense, FilterPruning(sparsity=0.5, keep=("0",)), CONTEXT)
    rows = {row.name: row for row in first.layers}

    def factor(name: str, reason: str, **sizes: int) -> LayerReport:
        return dataclasses.replace(rows["3"], name=name, reason=reason, removed=(), **sizes)

    factors = (
        factor("3.0", "kept as asked", parameters_after=5, macs_after=50),
        factor("3.1", "", parameters_after=7, macs_after=70, channels_before=6, channels_after=5),
    )
    factors = (factors[0], dataclasses.replace(factors[1], removed=(2,)))
    second = dataclasses.replace(first, layers=tuple(row for row in first.layers if row.name != "3") + factors)
    row = {row.name: row for row in joined([first, second]).layers}["3"]
    assert (row.parameters_before, row.parameters_after, row.macs_after) == (rows["3"].parameters_before, 12, 120)
    assert (row.channels_before, row.channels_after, row.reason) == (12, 5, "")
    left = [channel for channel in range(12) if channel not in rows["3"].removed]
    assert set(row.removed) == {*rows["3"].removed, left[2]}


def test_a_layer_without_a_row_or_a_row_without_a_layer_is_refused(dense: nn.Module) -> None:
    first = prune_filters(dense, FilterPruning(sparsity=0.5), CONTEXT)
    other = dataclasses.replace(first.layers[0], name="9.0")
    for layers in (first.layers[:-1], (*first.layers, other)):
        with pytest.raises(CompressionError, match="reports other layers"):
            joined([first, dataclasses.replace(first, layers=layers)])
