"""What a compression of the integer graph gives back: other integers, the rule that holds them, and an account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from ...export.quantization.quantize import IntegerGraph
from ..train.held_clusters import Clusters
from .compressed import StepReport

__all__ = ["CompressedIntegers", "TensorReport"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorReport:
    """One weight tensor of the integer graph.

    Attributes:
        name: its layer's, as far as the graph tells.
        kind: "conv" or "linear".
        bits: of an index into its values.
        weights: how many there are.
        zeros: how many are 0.
        values_before, values_after: how many different codes, 0 among them.
        error: mean squared change, in codes.
        reason: why it was left alone; "" if it was not.
    """

    name: str
    kind: str
    bits: int
    weights: int
    zeros: int
    values_before: int
    values_after: int
    error: float
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CompressedIntegers:
    """An integer graph with the account of what was done to it.

    Attributes:
        graph: with the integers, and the floats behind them, that the twin starts from.
        clusters: which weights share a value while the twin is trained, by initializer.
        tensors: one row for each weight tensor.
        steps: the methods that were carried out, in order.
    """

    graph: IntegerGraph
    clusters: Mapping[str, Clusters] = field(default_factory=dict)
    tensors: tuple[TensorReport, ...] = ()
    steps: tuple[StepReport, ...] = ()

    def tensors_json(self) -> list[dict[str, object]]:
        """The rows for a bundle's manifest."""
        return [asdict(tensor) for tensor in self.tensors]

    def steps_json(self) -> list[dict[str, object]]:
        """The steps for a bundle's manifest."""
        return [step.to_json() for step in self.steps]
