"""Steps that do not fit each other have no common account; `test_chain.py` has the accounts of those that do."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from hardtemper.runtime.errors import CompressionError
from hardtemper.toolchain.compress.account import joined
from hardtemper.toolchain.compress.context import Context
from hardtemper.toolchain.compress.pruning.filters import prune_filters
from hardtemper.toolchain.recipe.filter_pruning import FilterPruning


def test_a_step_that_reports_other_layers_is_refused() -> None:
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(64, 3)).eval()
    first = prune_filters(dense, FilterPruning(sparsity=0.5), Context(input_shape=(1, 8, 8)))
    second = dataclasses.replace(first, layers=first.layers[1:])
    with pytest.raises(CompressionError, match=r"step 2 of \[\[compress\]\], filters, reports other layers"):
        joined([first, second])
