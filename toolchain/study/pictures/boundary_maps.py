"""Decision boundary maps: a network's classes on the plane of two principal components of the training images.

    x(a, b) = clip( mean + a v_1 + b v_2, 0, 1 ),     v_1, v_2 the components of largest variance

"Deep Compression with Adversarial Robustness Via Decision Boundary Smoothing", section 3.3, figures 7 and 8: a grid of
points is mapped back into images and classified; colour is the class, and the darker it is the surer the network is.
In each title is the accuracy under the attack. Two figures say how jagged a map is, which the paper leaves to the eye:

    edges       share of neighbouring points of the grid that have different classes
    confidence  mean over the grid of the largest softmax probability
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ....runtime.engine import open_onnx
from ..measure_cell import Measure, measure_file
from .study_picture import Finished, FinishedNetwork, Picture

__all__ = ["BoundaryPicture", "edge_share", "principal_plane"]


class BoundaryPicture(Picture):
    """One map for each network.

    Attributes:
        maps: keys of cells.
        attack: what robust accuracy is measured with.
        points: of the grid, along each side.
        spread: half of the grid's side, in standard deviations of each component.
        columns: maps in a row.
    """

    kind: Literal["boundaries"]
    maps: tuple[str, ...]
    attack: str = "fgsm"
    points: Annotated[int, Field(ge=2)] = 80
    spread: Annotated[float, Field(gt=0)] = 3.0
    columns: Annotated[int, Field(ge=1)] = 2
    inches: tuple[float, float] = (8.0, 4.5)

    @property
    def cells(self) -> tuple[str, ...]:
        return self.maps

    def find(self, finished: Finished) -> dict[str, Any]:
        data = finished.data(finished.networks[0].seed)
        mean, plane, deviations = principal_plane(data.train.images)
        side = np.linspace(-self.spread, self.spread, self.points)
        a, b = np.meshgrid(side * deviations[0], side * deviations[1])
        flat = np.clip(mean + np.stack([a.ravel(), b.ravel()], 1) @ plane, 0, 1)
        grid = np.rint(255 * flat).astype(np.uint8).reshape(-1, *data.train.images.shape[1:])
        maps = [self._map(finished, finished.network(key), grid) for key in self.maps]
        return {"attack": self.attack, "classes": list(data.classes), "maps": maps}

    def _map(self, finished: Finished, network: FinishedNetwork, grid: NDArray[np.uint8]) -> dict[str, Any]:
        logits = np.asarray(open_onnx(network.compared)(grid), np.float64)
        odds = np.exp(logits - logits.max(1, keepdims=True))
        sure = (odds.max(1) / odds.sum(1)).reshape(self.points, self.points)
        classes = logits.argmax(1).reshape(self.points, self.points)
        measure = Measure(attack=self.attack, images=finished.images)
        row = measure_file(network.compared, finished.data(network.seed), network.threat, measure)
        return {
            "model": network.label,
            "robust": row["robust"]["value"],
            "edges": edge_share(classes),
            "confidence": float(sure.mean()),
            "class": classes.tolist(),
            "sure": np.round(sure, 3).tolist(),
        }

    def draw(self, figure: Any, values: Mapping[str, Any]) -> None:
        import matplotlib as mpl

        rows = -(-len(values["maps"]) // self.columns)
        panels = figure.subplots(rows, self.columns, squeeze=False).flat
        palette = mpl.colormaps["tab10" if len(values["classes"]) <= 10 else "tab20"]
        for axes, found in zip(panels, values["maps"], strict=False):
            sure = np.array(found["sure"])[..., None]
            colours = palette(np.array(found["class"]) % palette.N)[..., :3]
            axes.imshow(1 - sure * (1 - colours), origin="lower", interpolation="nearest")
            axes.set_title(f"{found['model']}: {found['robust']:.1f} % under {values['attack']}", fontsize="small")
        for axes in figure.axes:
            axes.set_axis_off()
        figure.tight_layout()

    def tell(self, values: Mapping[str, Any]) -> list[str]:
        lines = [
            f"`{found['model']}`: {found['edges']:.3f}, {found['confidence']:.3f}, {found['robust']:.2f} %."
            for found in values["maps"]
        ]
        what = "share of neighbouring points of different classes, mean confidence, accuracy under"
        return [f"Boundary maps: {what} {values['attack']}:", *lines]


def principal_plane(
    images: NDArray[np.uint8],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of images uint8 [N, ...], N >= 2, as pixels / 255: mean [D], two components [2, D], standard deviations [2]."""
    flat = images.reshape(len(images), -1) / 255.0
    mean = flat.mean(0)
    variances, vectors = np.linalg.eigh(np.cov(flat, rowvar=False))
    plane = vectors[:, [-1, -2]].T
    plane = plane * np.sign(plane.sum(1, keepdims=True))  # eigenvectors have no sign of their own
    return mean, plane, np.sqrt(np.maximum(variances[[-1, -2]], 0))


def edge_share(classes: NDArray[np.int64]) -> float:
    """Share of neighbours, side by side and one above the other, that differ; of [H, W]."""
    across, down = classes[:, 1:] != classes[:, :-1], classes[1:] != classes[:-1]
    return float((across.sum() + down.sum()) / (across.size + down.size))
