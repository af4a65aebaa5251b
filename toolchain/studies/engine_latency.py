"""Hardened INT8 engine against dense float ONNX, side by side in one run: a ResNet-18 with half of its filters removed.

    python -m hardtemper.toolchain.studies.engine_latency [--json FILE]

Weights are random: latency does not depend on them. Input 3 x 32 x 32, stem for small images, one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from torch import nn

from ...bench.measurement import Environment
from ...bench.performance.latency import measure_latency
from ...export.float_pixels import float_pixels
from ...export.lower import lower
from ...export.proofs.executed_kernels import inspect_kernels
from ...export.proofs.parity import check_parity
from ...export.quantization.quantize import quantize
from ...runtime.engine import open_onnx
from ..compress.context import Context
from ..compress.pruning.filters import prune_filters
from ..models.source import load_source
from ..recipe.filter_pruning import FilterPruning
from ..recipe.inputs import Model

__all__: list[str] = []

SHAPE = (3, 32, 32)
ENGINES = ("dense float", "dense INT8", "hardened INT8")


def measure(dense: nn.Module, *, name: str, repeats: int) -> dict[str, Any]:
    """Prune half of the filters, quantize, and time the engines in turns.

    Args:
        dense: float [N, 3, 32, 32] in [0, 1] -> logits.
        name: what to call it in the result.
        repeats: timed calls of each engine and batch size, at least.

    Returns:
        JSON values: MACs and parameters before and after, share of integer MACs, differing logits, latencies.
    """
    images = np.random.default_rng(0).integers(0, 256, (256, *SHAPE), dtype=np.uint8)
    pruned = prune_filters(dense, FilterPruning(sparsity=0.5), Context(input_shape=SHAPE))
    float_dense = lower(dense, input_shape=SHAPE)
    integer = quantize(lower(pruned.module, input_shape=SHAPE), images[:64])
    whole = quantize(float_dense, images[:64])
    models = (float_pixels(float_dense), whole.model, integer.model)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        paths = {engine: Path(folder) / f"{engine}.onnx" for engine in ENGINES}
        for path, model in zip(paths.values(), models, strict=True):
            path.write_bytes(model.SerializeToString())
        engines = {engine: open_onnx(path, threads=1) for engine, path in paths.items()}
        for batch in (1, 64):
            for row in measure_latency(engines, images, batch=batch, repeats=repeats):
                times = {"median_ms": row.median_ms, "p90_ms": row.p90_ms, "speedup": row.paired_speedup, "n": row.n}
                rows.append({"batch": batch, "engine": row.name, **times})
    return {
        "model": f"{name}, 3x32x32, half of the filters removed",
        "environment": Environment.here().to_dict(),
        "macs": [pruned.macs_before, pruned.macs_after],
        "parameters": [pruned.parameters_before, pruned.parameters_after],
        "integer_share": inspect_kernels(integer.model).integer_share,
        "differing_logits": check_parity(integer.model, images[:64]).engine_logits,
        "latency": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="store the figures there")
    parser.add_argument("--repeats", type=int, default=50)
    arguments = parser.parse_args()
    network = load_source(
        Model(name="resnet18", stem="cifar"), input_shape=SHAPE, classes=tuple("0123456789"), seed=0
    ).module
    result = measure(network, name="resnet18", repeats=arguments.repeats)
    for row in result["latency"]:
        print("batch {batch:3d}  {engine:14s} median {median_ms:8.2f} ms  x {speedup:.2f}".format(**row))
    print(f"integer share of MACs {result['integer_share']:.1%}, {result['differing_logits']} differing logits")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
