"""Pictures of weights: zeros by layer, and how often each value occurs.

"Deep Compression with Adversarial Robustness Via Decision Boundary Smoothing", figures 2 and 6: global pruning takes
more of some layers than of others; sharing leaves few values, where there were many.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from .stored_weights import layer_weights
from .study_picture import Finished, Picture

__all__ = ["HistogramPicture", "SparsityPicture"]


class SparsityPicture(Picture):
    """Bars: the share of zeros in each convolution and linear layer.

    Attributes:
        bars: keys of cells.
    """

    kind: Literal["layer-sparsity"]
    bars: tuple[str, ...]
    inches: tuple[float, float] = (8.0, 4.5)

    @property
    def cells(self) -> tuple[str, ...]:
        return self.bars

    def find(self, finished: Finished) -> dict[str, Any]:
        networks = [finished.network(key) for key in self.bars]
        shares = {
            network.label: [round(float((weights == 0).mean()), 4) for weights in layer_weights(network.compared)]
            for network in networks
        }
        return {"zeros": shares}

    def draw(self, figure: Any, values: Mapping[str, Any]) -> None:
        axes = figure.subplots()
        width = 0.8 / len(values["zeros"])
        for place, (label, shares) in enumerate(values["zeros"].items()):
            axes.bar(np.arange(1, len(shares) + 1) + place * width, shares, width, label=label)
        axes.set_xlabel("layer")
        axes.set_ylabel("share of zeros")
        axes.set_ylim(0, 1)
        axes.legend(fontsize="small")
        figure.tight_layout()

    def tell(self, values: Mapping[str, Any]) -> list[str]:
        return [
            f"Zeros by layer, `{label}`: {', '.join(f'{100 * share:.0f}' for share in shares)} %."
            for label, shares in values["zeros"].items()
        ]


class HistogramPicture(Picture):
    """Histograms of the nonzero weights of a convolution and a linear layer: the largest of each kind.

    Attributes:
        networks: keys of cells, one a row; of their INT8 engines.
        bins: of a histogram.
    """

    kind: Literal["weight-histograms"]
    networks: tuple[str, ...]
    bins: Annotated[int, Field(ge=1)] = 255
    inches: tuple[float, float] = (9.0, 6.0)

    @property
    def cells(self) -> tuple[str, ...]:
        return self.networks

    def find(self, finished: Finished) -> dict[str, Any]:
        panels = []
        for key in self.networks:
            network = finished.network(key)
            layers = layer_weights(network.graphs["engine"])
            for kind, dims in (("convolution", 4), ("linear layer", 2)):
                largest = max((weights for weights in layers if weights.ndim == dims), key=np.size)
                left = largest[largest != 0]
                counts, edges = np.histogram(left, bins=self.bins)
                panels.append(
                    {
                        "model": network.label,
                        "layer": kind,
                        "values": len(np.unique(left)),
                        "weights": len(left),
                        "counts": counts.tolist(),
                        "edges": [float(edges[0]), float(edges[-1])],
                    }
                )
        return {"panels": panels}

    def draw(self, figure: Any, values: Mapping[str, Any]) -> None:
        panels = figure.subplots(len(self.networks), 2, squeeze=False).flat
        for axes, panel in zip(panels, values["panels"], strict=True):
            low, high = panel["edges"]
            axes.stairs(panel["counts"], np.linspace(low, high, len(panel["counts"]) + 1), fill=True)
            axes.set_title(f"{panel['model']}: {panel['layer']}", fontsize="small")
            axes.set_xlabel("weight")
        figure.tight_layout()

    def tell(self, values: Mapping[str, Any]) -> list[str]:
        return [
            f"`{panel['model']}`, largest {panel['layer']}: {panel['values']} different values in {panel['weights']} "
            "nonzero weights (codes times the scales of their channels)."
            for panel in values["panels"]
        ]
