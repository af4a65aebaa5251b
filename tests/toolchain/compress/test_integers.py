"""Steps on the integer graph, in order."""

from __future__ import annotations

import numpy as np

from hardtemper.export.quantization.quantize import IntegerGraph
from hardtemper.toolchain.compress.integers import compress_integers
from hardtemper.toolchain.compress.sharing.integer_weights import integer_weights
from hardtemper.toolchain.recipe.weight_sharing import WeightSharing


def test_without_a_step_the_graph_stays(integer: IntegerGraph) -> None:
    result = compress_integers(integer, ())
    assert result.graph is integer
    assert not result.clusters


def test_each_step_takes_what_the_one_before_made(integer: IntegerGraph) -> None:
    steps = [WeightSharing(linear_bits=4), WeightSharing(linear_bits=2)]
    result = compress_integers(integer, steps)
    assert [step.settings["linear_bits"] for step in result.steps] == [4, 2]
    linear = [row for row in result.tensors if row.kind == "linear"]
    assert [(row.values_before > row.values_after, row.values_after) for row in linear] == [(True, 16), (True, 4)]
    assert linear[1].values_before == 16
    (weights,) = (found for found in integer_weights(result.graph.model) if found.kind == "linear")
    (clusters,) = result.clusters.values()
    assert len(np.unique(weights.codes)) == 4
    assert int(clusters.index.max()) <= 3
