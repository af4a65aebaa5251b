"""What a compression gives back: the smaller module, and what happened to every layer, with a reason where nothing did.

The rows cover every module that owns parameters, so that their columns add up to the whole network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from torch import nn

__all__ = ["Compressed", "LayerReport", "StepReport"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerReport:
    """One layer before and after.

    Attributes:
        name: the layer's name in `named_modules()`; that of the dense network where a method renames layers.
        kind: "conv", "grouped conv", "depthwise conv", "linear", "norm", or the class's name.
        channels_before, channels_after: output channels (features of a linear layer).
        parameters_before, parameters_after: numbers of parameters; a layer that is itself left alone loses some when
            channels before it are removed.
        macs_before, macs_after: multiply-accumulates for one image.
        reason: why the layer was left alone; "" if it was compressed.
        removed: the output channels that were removed, in the dense layer's numbering, ascending.
        weights, zeros: of a convolution or linear layer, without the bias, after; its tensor has room for the zeros.
    """

    name: str
    kind: str
    channels_before: int
    channels_after: int
    parameters_before: int
    parameters_after: int
    macs_before: int
    macs_after: int
    reason: str
    removed: tuple[int, ...] = ()
    weights: int = 0
    zeros: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class StepReport:
    """One method that was carried out.

    Attributes:
        method: its name, such as "filters".
        settings: what it was asked for; values fit JSON.
        checks: what it measured to prove itself, by name.
    """

    method: str
    settings: Mapping[str, object]
    checks: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Compressed:
    """A compressed module with the account of what was done to it.

    Attributes:
        module: the compressed module, on the device, in the mode and with the `requires_grad` of the dense one.
        layers: one row for every module that owns parameters, in the order of `named_modules()`.
        steps: the methods that were carried out, in order; one where a single method reports.
    """

    module: nn.Module
    layers: tuple[LayerReport, ...]
    steps: tuple[StepReport, ...]

    @property
    def parameters_before(self) -> int:
        return sum(layer.parameters_before for layer in self.layers)

    @property
    def parameters_after(self) -> int:
        return sum(layer.parameters_after for layer in self.layers)

    @property
    def macs_before(self) -> int:
        return sum(layer.macs_before for layer in self.layers)

    @property
    def macs_after(self) -> int:
        return sum(layer.macs_after for layer in self.layers)

    def layers_json(self) -> list[dict[str, object]]:
        """The rows for a bundle's manifest; without `removed`, which would be most of the file."""
        return [{key: value for key, value in asdict(layer).items() if key != "removed"} for layer in self.layers]

    def steps_json(self) -> list[dict[str, object]]:
        """The steps for a bundle's manifest."""
        return [
            {"method": step.method, "settings": dict(step.settings), "checks": dict(step.checks)} for step in self.steps
        ]
