"""What weight sharing makes of a file: beside the paper's formula, and beside what zip makes of the same weights.

    equation 7    2^n / N + n / 32    of a layer's 32-bit weights, N of them, for 2^n values

    python -m hardtemper.toolchain.studies.sharing_sizes [--images N] [--json FILE]

The network of the recipe `deep-compression`, trained on real Fashion-MNIST, once with all of its weights and once with
the recipe's zeros. Then its integer graph, whose weights take 2^n values; they are not trained again, which would move
the values and not their number.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...bench.data.dataset import Dataset
from ...bench.measurement import Environment
from ...export.float_pixels import float_pixels
from ...export.graph_packing import pack_graph
from ...export.lower import lower
from ...export.quantization.quantize import IntegerGraph
from ..compress.compressed_integers import TensorReport
from ..compress.sharing.integer_weights import integer_weights
from ..compress.sharing.share import share_weights
from ..pipeline.recipe_data import recipe_data
from ..pipeline.stages import compress_dense, finish, prepare_for, train_dense
from ..recipe.read import load_recipe, with_overrides
from ..recipe.recipe import Recipe
from ..recipe.weight_sharing import WeightSharing

__all__ = ["equation_7", "graph_row", "shared_row", "trained_graphs"]

BITS = ((8, 5), (6, 5), (5, 5), (4, 3), (3, 3), (2, 2))
"""Of convolutions and of linear layers; the paper's first."""

_FLOAT_BITS = 32


def trained_graphs(data: Dataset | None = None, **changes: Any) -> Iterator[tuple[str, IntegerGraph, bytes]]:
    """The network with all weights and with the recipe's zeros, each once.

    Args:
        data: instead of the recipe's.
        changes: keys of the recipe, dotted.

    Yields:
        What is left of it in words, its integer graph, and its float ONNX file.
    """
    settings = load_recipe("deep-compression")
    pruning = [step for step in settings["compress"] if step["method"] == "weights"]
    for name, steps in (("all weights", []), (f"{pruning[0]['sparsity']:.0%} zeros", pruning)):
        recipe = with_overrides(settings, {"compress": steps, "finetune_twin.epochs": 0, **changes})
        yield (name, *_trained(recipe, recipe_data(recipe) if data is None else data))


def _trained(recipe: Recipe, data: Dataset) -> tuple[IntegerGraph, bytes]:
    prepared = prepare_for(recipe, data)
    train_dense(recipe, prepared)
    hardened = finish(recipe, prepared, compress_dense(recipe, prepared), None)
    tuned = lower(hardened.tuned.module, input_shape=prepared.source.input_shape)
    whole = float_pixels(tuned)
    return hardened.integers.graph, _serialized(whole)


def graph_row(integer: IntegerGraph, float_file: bytes) -> dict[str, Any]:
    """Sizes of the network before sharing, in bytes: its float and its INT8 file, and zip of the weights of both."""
    codes, whole = _codes(integer), _serialized(integer.model)
    floats = [integer.shadow[weights.initializer] for weights in integer_weights(integer.model)]
    return {
        "weights": sum(tensor.size for tensor in codes),
        "float ONNX": len(float_file),
        "INT8 ONNX": len(whole),
        "zip of float weights": _zipped(floats),
        "zip of INT8 weights": _zipped(codes),
        "packed": len(pack_graph(whole)),
    }


def shared_row(integer: IntegerGraph, conv_bits: int, linear_bits: int) -> dict[str, Any]:
    """Sizes after sharing, in bytes; `entropy` is that of each layer's values, which no code of single values beats."""
    shared = share_weights(integer, WeightSharing(method="sharing", conv_bits=conv_bits, linear_bits=linear_bits))
    model, codes = shared.graph.model, _codes(shared.graph)
    return {
        "bits": [conv_bits, linear_bits],
        "equation 7": sum(_promised(row) for row in shared.tensors),
        "zip of INT8 weights": _zipped(codes),
        "entropy": sum(map(_entropy, codes)),
        "packed": len(pack_graph(_serialized(model))),
        "largest_values": max(row.values_after for row in shared.tensors),
    }


def equation_7(weights: int, bits: int) -> float:
    """A layer's size as a share of its 32-bit weights."""
    return float(2**bits) / weights + bits / _FLOAT_BITS


def _promised(row: TensorReport) -> float:
    """Bytes of a layer."""
    return equation_7(row.weights, row.bits) * row.weights * _FLOAT_BITS / 8


def _codes(integer: IntegerGraph) -> list[npt.NDArray[np.int8]]:
    return [weights.codes for weights in integer_weights(integer.model)]


def _zipped(tensors: list[Any]) -> int:
    """Bytes that zip's method takes for one tensor behind the other, at its best level."""
    return len(zlib.compress(b"".join(np.ascontiguousarray(tensor).tobytes() for tensor in tensors), 9))


def _entropy(codes: npt.NDArray[np.int8]) -> float:
    """Bytes."""
    share = np.unique(codes, return_counts=True)[1] / codes.size
    return float(-(share * np.log2(share)).sum() * codes.size / 8)


def _serialized(model: Any) -> bytes:
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, help="training images, at most")
    parser.add_argument("--json", type=Path, help="store the figures there")
    arguments = parser.parse_args()
    data = recipe_data(with_overrides(load_recipe("deep-compression"), {}))
    if arguments.images:
        data = dataclasses.replace(data, train=data.train.at_most(arguments.images, seed=0))
    rows: list[Mapping[str, Any]] = []
    for name, integer, float_file in trained_graphs(data):
        before = graph_row(integer, float_file)
        rows.append({"network": name, "before": before, "shared": [shared_row(integer, *bits) for bits in BITS]})
        print(name, json.dumps(before))
        for row in rows[-1]["shared"]:
            smaller = before["float ONNX"] / row["packed"]
            print(f"  {row['bits']} bits: packed {row['packed']} bytes, {smaller:.1f} times smaller than float")
    if arguments.json:
        table = {"environment": Environment.here().to_dict(), "images": len(data.train), "rows": rows}
        arguments.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
