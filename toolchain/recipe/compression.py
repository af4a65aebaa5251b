"""The section `compress` of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .section import Section

__all__ = ["Compression"]


class Compression(Section):
    """l1-norm filter pruning; section 3.1 of the paper."""

    sparsity: Annotated[float, Field(ge=0, lt=1)] = Field(0.8, description="share of filters removed from each layer")
    per_layer: dict[str, Annotated[float, Field(ge=0, lt=1)]] = Field(
        default_factory=dict, description="other sparsities by layer name or pattern"
    )
    scope: Literal["layer", "global"] = Field("layer", description="rank filters within a layer or over all layers")
    round_to: Annotated[int, Field(ge=1)] = Field(1, description="round kept channels up to a multiple")
    linear: bool = Field(False, description="prune neurons of hidden linear layers too")
    keep: tuple[str, ...] = Field((), description="names or patterns of layers to leave alone")
