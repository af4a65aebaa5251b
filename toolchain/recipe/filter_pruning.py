"""The settings of the compression method `filters`: pruning by l1-norm."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .compression_base import CompressionStep

__all__ = ["FilterPruning"]

Sparsity = Annotated[float, Field(ge=0, lt=1)]


class FilterPruning(CompressionStep):
    """l1-norm filter pruning (Adversarial fine-tuning of compressed neural networks, section 3.1)."""

    method: Literal["filters"] = Field("filters", description="remove whole filters, the smallest l1-norms first")
    sparsity: Sparsity = Field(0.8, description="share of filters removed from each layer")
    per_layer: dict[str, Sparsity] = Field(
        default_factory=dict, description="other sparsities by layer name or pattern"
    )
    scope: Literal["layer", "global"] = Field("layer", description="rank filters within a layer or over all layers")
    round_to: Annotated[int, Field(ge=1, le=65_536)] = Field(1, description="round kept channels up to a multiple")
    linear: bool = Field(False, description="prune neurons of hidden linear layers too")
    keep: tuple[str, ...] = Field((), description="names or patterns of layers to leave alone")

    @property
    def changes_network(self) -> bool:
        return bool(self.sparsity or any(self.per_layer.values()))
