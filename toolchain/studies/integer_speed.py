"""INT8 against float, family by family: the trained table's networks, ONNX Runtime and OpenVINO, one thread, in turns.

    python -m hardtemper.toolchain.studies.integer_speed [--only NAME ...] [--side 28] [--batches 1 32] [--json FILE]

`--only` takes torchvision's classifiers too; `--side 224` makes the images as large as theirs.

Weights are random, batch norms have the statistics of real images; latency does not depend on the weights. Nothing is
pruned. Every network is timed as

    float         its float graph
    INT8          its integer graph, one function on every engine
    plain sums    the integer graph with `quantize.sums = "plain"`: residual sums, Softmax and LayerNormalization are
                  each engine's own

each on both engines, all in one run. A ratio is the median over rounds of float's time over the other's, of the same
engine: above 1, the integers are faster. What exactness on every engine costs is INT8's time over plain's.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from ...bench.data.load import load_dataset
from ...bench.data.resize import resize_batch
from ...bench.performance.latency import measure_latency
from ...export.float_pixels import float_pixels
from ...export.lower import lower
from ...export.quantization.quantize import quantize
from ...export.quantization.scheme import Scheme
from ...runtime.engine import open_onnx
from ..models.source import load_source
from ..recipe.inputs import Model
from ..study.finished_rows import write_table
from .classifier_zoo import alive
from .trained_zoo import NETWORKS

__all__ = ["BACKENDS", "measure"]

BACKENDS = ("onnxruntime", "openvino")


def measure(name: str, images: NDArray[np.uint8], *, batches: Sequence[int], repeats: int) -> dict[str, Any]:
    """One network's row.

    Args:
        name: a network's, as a recipe has it.
        images: uint8 [N, C, H, W] to calibrate on and to time.
        batches: images a call.
        repeats: timed calls of each engine and batch size, at least.
    """
    shape = (images.shape[1], images.shape[2], images.shape[3])
    classes = tuple("0123456789")
    module = load_source(Model(name=name), input_shape=shape, classes=classes, seed=0).module
    graph = lower(alive(module, torch.from_numpy(images).float() / 255), input_shape=shape)
    models = {
        "float": float_pixels(graph),
        "INT8": quantize(graph, images[:128]).model,
        "plain sums": quantize(graph, images[:128], scheme=Scheme(sums="plain")).model,
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for label, model in models.items():
            onnx.save(model, Path(folder) / f"{label}.onnx")
        for backend in BACKENDS:
            paths = {label: Path(folder) / f"{label}.onnx" for label in models}
            engines = {label: open_onnx(path, backend=backend, threads=1) for label, path in paths.items()}
            for batch in batches:
                found = measure_latency(engines, images, batch=batch, repeats=repeats)
                rows += [
                    {
                        "engine": backend,
                        "batch": batch,
                        "graph": row.name,
                        "median ms": row.median_ms,
                        "float / this": row.paired_speedup,
                        "n": row.n,
                    }
                    for row in found
                ]
    return {"network": name, "input": list(shape), "latency": rows}


def main(arguments: Sequence[str] | None = None) -> None:
    names = {key: str(settings.get("model.name", key)) for key, settings in NETWORKS.items()}
    names["mobilenet_v2"] = "mobilenet_v2"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(names), help="some networks only, or torchvision's by name")
    parser.add_argument("--side", type=int, default=28, help="of the images, in pixels")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32], help="images a call")
    parser.add_argument("--repeats", type=int, default=30, help="timed calls, at least")
    parser.add_argument("--json", type=Path, help="store the figures there")
    given = parser.parse_args(arguments)
    images = resize_batch(load_dataset("fashion-mnist", heldout=0, calibration=256).calibration.images, given.side)
    found = []
    for key in given.only:
        found.append(measure(names.get(key, key), images, batches=given.batches, repeats=given.repeats))
        for row in found[-1]["latency"]:
            line = "{engine:12s} batch {batch:2d}  {graph:10s} {median ms:9.3f} ms  x {float / this:.2f}".format(**row)
            print(f"{key:20s} {line}", flush=True)
    if given.json:
        words = sys.argv[1:] if arguments is None else arguments
        write_table(given.json, f"python -m {__spec__.name} {' '.join(words)}", found)


if __name__ == "__main__":
    main()
