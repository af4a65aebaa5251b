"""A recipe's compression steps on the integer graph, carried out in order.

    integer graph -> step 1 -> step 2 -> ... -> integer graph with other integers, before its twin is fine-tuned

Such a step works on what ships, so its rule and the integers are exact together: nothing rounds behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...export.quantization.quantize import IntegerGraph
from ..recipe.compression_base import CompressionStep
from .compressed_integers import CompressedIntegers
from .methods import INTEGER_METHODS

__all__ = ["compress_integers"]


def compress_integers(graph: IntegerGraph, steps: Sequence[CompressionStep]) -> CompressedIntegers:
    """Carry out `steps`, each on what the one before it made.

    A tensor that a later step shares anew is held as that step says; rows of all steps follow one another.

    Raises:
        CompressionError: a step cannot be carried out.
    """
    done = CompressedIntegers(graph=graph)
    for step in steps:
        found = INTEGER_METHODS[step.method].compress(done.graph, step)
        done = CompressedIntegers(
            graph=found.graph,
            clusters={**done.clusters, **found.clusters},
            tensors=(*done.tensors, *found.tensors),
            steps=(*done.steps, *found.steps),
        )
    return done
