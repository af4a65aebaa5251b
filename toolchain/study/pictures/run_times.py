"""How much faster hardened networks are than masked ones: both run side by side, in turns.

"Deep Compression with Adversarial Robustness Via Decision Boundary Smoothing", figure 4. Shown is the median over
rounds of t(masked) / t(hardened), of ONNX Runtime with one thread and one image a call: ratios hold where times do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from ....bench.performance.latency import measure_latency
from ....runtime.engine import open_onnx
from .study_picture import Finished, Picture

__all__ = ["RunTimePicture"]


class RunTimePicture(Picture):
    """One point for each cell, which has a float network and a masked one.

    Attributes:
        points: keys of cells by what stands on the axis, such as "0.5".
        repeats: rounds.
    """

    kind: Literal["run-times"]
    points: dict[str, str]
    repeats: Annotated[int, Field(ge=1)] = 200

    @property
    def cells(self) -> tuple[str, ...]:
        return tuple(self.points.values())

    def find(self, finished: Finished) -> dict[str, Any]:
        images = finished.data(finished.networks[0].seed).test.images
        found = {}
        for point, key in self.points.items():
            graphs = finished.network(key).graphs
            engines = {name: open_onnx(graphs[name], threads=1) for name in ("masked", "network")}
            masked, network = measure_latency(engines, images, batch=1, repeats=self.repeats)
            found[point] = {
                "masked_ms": masked.median_ms,
                "hardened_ms": network.median_ms,
                "times_faster": network.paired_speedup,
            }
        return {"points": found}

    def draw(self, figure: Any, values: Mapping[str, Any]) -> None:
        axes = figure.subplots()
        points = values["points"]
        axes.plot(list(points), [point["times_faster"] for point in points.values()], "o-")
        axes.axhline(1, linestyle="--", color="black")
        axes.set_xlabel("pruning rate")
        axes.set_ylabel("t(masked) / t(hardened)")
        axes.set_ylim(bottom=0)
        figure.tight_layout()

    def tell(self, values: Mapping[str, Any]) -> list[str]:
        ratios = ", ".join(f"{point['times_faster']:.2f} at {name}" for name, point in values["points"].items())
        return [f"Hardened networks are so many times faster than masked ones, by pruning rate: {ratios}."]
