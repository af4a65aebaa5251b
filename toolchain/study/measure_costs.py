"""What the engines of a study cost on this machine: the stored file, and the time of one image.

    latency ratio = median over rounds of t / t_first      t_first: the engine of the study's first cell

All engines take turns on the same images in one process, so the ratios hold on a busy machine too. File sizes are means
over seeds; latency is that of the first seed.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

from ...bench.performance.latency import measure_latency
from ...runtime.engine import open_onnx
from ..pipeline.write import stored_graph
from .cell_recipe import Scaled
from .study_stages import CellRun

__all__ = ["COSTS", "measure_costs"]

COSTS = ("stored_KiB", "latency_ms", "latency_ratio")
"""Names of the values."""

_IMAGES, _WARMUP, _REPEATS = 64, 50, 1000


def measure_costs(scaled: Scaled, runs: Sequence[CellRun]) -> dict[str, dict[str, float]]:
    """Costs of every cell that has an engine.

    Args:
        scaled: the study, whose recipes say whether a graph is stored packed.
        runs: finished.

    Returns:
        By the cell's key, values by the names of `COSTS`; latency is the median for one image on one thread.
    """
    paths: dict[str, list[tuple[CellRun, bytes]]] = {}
    for run in runs:
        if "engine" in run.graphs:
            paths.setdefault(run.cell.key, []).append((run, run.graphs["engine"].read_bytes()))
    engines = {key: open_onnx(found[0][0].graphs["engine"], threads=1) for key, found in paths.items()}
    if not engines:
        return {}
    shape = next(iter(engines.values())).input_shape
    images = np.random.default_rng(0).integers(0, 256, (_IMAGES, *shape), dtype=np.uint8)
    found = measure_latency(engines, images, batch=1, warmup=_WARMUP, repeats=_REPEATS)
    return {
        latency.name: {
            "stored_KiB": statistics.mean(
                len(stored_graph(scaled.recipe(run.cell, run.seed), content)) / 1024
                for run, content in paths[latency.name]
            ),
            "latency_ms": latency.median_ms,
            "latency_ratio": 1 / latency.paired_speedup,
        }
        for latency in found
    }
