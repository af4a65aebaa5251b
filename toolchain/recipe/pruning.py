"""What the settings of pruning methods share: how much, by which scores, in how many rounds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .compression_base import CompressionStep

__all__ = ["Pruning", "Sparsity"]

Sparsity = Annotated[float, Field(ge=0, lt=1)]


class Pruning(CompressionStep):
    """How much is removed, and where."""

    sparsity: Sparsity = Field(0.8, description="share removed from each layer, or of all")
    per_layer: dict[str, Sparsity] = Field(
        default_factory=dict, description="other sparsities by layer name or pattern"
    )
    scope: Literal["layer", "global"] = Field("layer", description="rank within a layer or over all layers")
    rounds: Annotated[int, Field(ge=1, le=1000)] = Field(
        1, description="prune in so many equal increments, with training in between"
    )
    retrain_epochs: Annotated[int, Field(ge=0)] = Field(
        1, description="epochs between two rounds, trained as `finetune` says"
    )
    score_images: Annotated[int, Field(ge=1)] = Field(1024, description="training images that taylor looks at")
    keep: tuple[str, ...] = Field((), description="names or patterns of layers to leave alone")

    @property
    def changes_network(self) -> bool:
        return bool(self.sparsity or any(self.per_layer.values()))
