"""Measures what a budget counts, of a graph that ships or of a rehearsal of the same shapes.

Latency is taken against a reference engine, in turns, so that whatever slows the machine slows both:

    latency = stored latency of the reference * median over rounds of (t / t_reference)

The reference is the dense INT8 engine, timed once a search; so all its trials are on one scale, in every process.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from ...bench.performance.latency import measure_latency
from ...runtime.engine import Engine, open_onnx
from ...runtime.files.onnx_file import OnnxFile
from ..pipeline.stages import Hardened, Prepared, rehearse, rehearse_integers
from ..pipeline.write import stored_graph
from ..recipe.recipe import Recipe
from .budget import Budget

__all__ = ["Meter"]

_REPEATS, _WARMUP = 150, 15


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Meter:
    """Measures one kind of quantity.

    Attributes:
        budget: what is measured.
        images: uint8 [N, C, H, W] that engines are timed on.
        reference: the engine that others are timed against.
        reference_ms: its latency, in milliseconds.
    """

    budget: Budget
    images: npt.NDArray[np.uint8]
    reference: Engine
    reference_ms: float

    @classmethod
    def on(cls, budget: Budget, reference: bytes, images: npt.NDArray[np.uint8], reference_ms: float | None) -> Meter:
        """A meter with a reference graph.

        Args:
            budget, images: see the attributes.
            reference: a serialized integer graph.
            reference_ms: of an earlier process of the search; None times it now, where the budget is of latency.
        """
        engine = _opened(reference)
        if reference_ms is None:
            times = {"reference": engine}
            reference_ms = measure_latency(times, images, batch=1, warmup=_WARMUP, repeats=_REPEATS)[0].median_ms
        return cls(budget=budget, images=images, reference=engine, reference_ms=reference_ms)

    def rehearsed(self, recipe: Recipe, prepared: Prepared) -> float:
        """Of what a recipe makes of the network as it is now, without training."""
        compressed = rehearse(recipe, prepared)
        if self.budget.key == "macs":
            return float(compressed.macs_after)
        return self._of_graph(recipe, rehearse_integers(recipe, prepared, compressed).graph.model)

    def of(self, recipe: Recipe, hardened: Hardened) -> float:
        """Of the graph that ships."""
        if self.budget.key == "macs":
            return float(hardened.compressed.macs_after)
        return self._of_graph(recipe, hardened.network.to_onnx())

    def _of_graph(self, recipe: Recipe, model: onnx.ModelProto) -> float:
        whole = model.SerializeToString(deterministic=True)
        if self.budget.key == "size_kib":
            return len(stored_graph(recipe, whole)) / 1024
        engines = {"reference": self.reference, "candidate": _opened(whole)}
        _, found = measure_latency(engines, self.images, batch=1, warmup=_WARMUP, repeats=_REPEATS)
        return self.reference_ms / found.paired_speedup


def _opened(content: bytes) -> Engine:
    return open_onnx(OnnxFile(path=Path("candidate"), content=content), threads=1)
