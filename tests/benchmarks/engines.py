"""Hardened INT8 engine against dense float ONNX, side by side in one run: a ResNet-18 with half of its filters removed.

    python tests/benchmarks/engines.py [--json FILE]

Weights are random: latency does not depend on them. Input 3 x 32 x 32, stem for small images, one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import onnx_ir as ir
import torch

from hardtemper.bench.measurement import Environment
from hardtemper.bench.performance.latency import measure_latency
from hardtemper.export.lower import lower, pixel_graph
from hardtemper.export.proofs.kernels import inspect_kernels
from hardtemper.export.proofs.parity import check_parity
from hardtemper.export.quantization.quantize import quantize
from hardtemper.runtime.engine import open_onnx
from hardtemper.toolchain.compress.pruning.filters import prune_filters
from hardtemper.toolchain.models.source import load_source

SHAPE = (3, 32, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="store the figures there")
    parser.add_argument("--repeats", type=int, default=50)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    images = np.random.default_rng(0).integers(0, 256, (256, *SHAPE), dtype=np.uint8)
    dense = load_source("resnet18", input_shape=SHAPE, classes=tuple("0123456789"), stem="cifar").module
    pruned = prune_filters(dense, input_shape=SHAPE, sparsity=0.5)
    float_dense = lower(dense, input_shape=SHAPE)
    integer = quantize(lower(pruned.module, input_shape=SHAPE), images[:64])
    whole = quantize(float_dense, images[:64])
    report = inspect_kernels(integer.model)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.onnx" for name in ("dense float", "dense INT8", "hardened INT8")}
        models = (ir.to_proto(pixel_graph(float_dense, scale=1 / 255, exact=False).model), whole.model, integer.model)
        for path, model in zip(paths.values(), models, strict=True):
            path.write_bytes(model.SerializeToString())
        engines = {name: open_onnx(path, threads=1) for name, path in paths.items()}
        for batch in (1, 64):
            for row in measure_latency(engines, images, batch=batch, repeats=arguments.repeats):
                print(f"batch {batch:3d}  {row.name:14s} median {row.median_ms:8.2f} ms  x {row.paired_speedup:.2f}")
                rows.append({"batch": batch, "engine": row.name, "median_ms": row.median_ms, "p90_ms": row.p90_ms,
                             "speedup": row.paired_speedup, "n": row.n})  # fmt: skip
    parity = check_parity(integer.model, images[:64])
    print(f"integer share of MACs {report.integer_share:.1%}, {parity.engine_logits} differing logits")
    result = {
        "model": "resnet18, 3x32x32, half of the filters removed",
        "environment": Environment.here().to_dict(),
        "macs": [pruned.macs_before, pruned.macs_after],
        "parameters": [pruned.parameters_before, pruned.parameters_after],
        "integer_share": report.integer_share,
        "differing_logits": parity.engine_logits,
        "latency": rows,
    }
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
