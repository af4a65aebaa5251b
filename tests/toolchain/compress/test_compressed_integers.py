"""The account of what was done to integers, as a manifest has it."""

from __future__ import annotations

import json

from hardtemper.export.quantization.quantize import IntegerGraph
from hardtemper.toolchain.compress.compressed_integers import CompressedIntegers
from hardtemper.toolchain.compress.sharing.share import share_weights
from hardtemper.toolchain.recipe.weight_sharing import WeightSharing


def test_the_account_fits_json(integer: IntegerGraph) -> None:
    result = share_weights(integer, WeightSharing())
    tensors, steps = json.loads(json.dumps([result.tensors_json(), result.steps_json()]))
    assert [row["values_after"] for row in tensors] == [row.values_after for row in result.tensors]
    assert [step["method"] for step in steps] == ["sharing"]


def test_without_a_step_there_is_none(integer: IntegerGraph) -> None:
    nothing = CompressedIntegers(graph=integer)
    assert (nothing.tensors_json(), nothing.steps_json(), dict(nothing.clusters)) == ([], [], {})
