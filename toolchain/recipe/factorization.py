"""The settings of the compression method `factorize`: layers as products of smaller ones."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .compression_base import CompressionStep

__all__ = ["Factorization"]

Share = Annotated[float, Field(gt=0, le=1)]


class Factorization(CompressionStep):
    """Low-rank factorization (Adversarial fine-tuning of compressed neural networks, table 7)."""

    method: Literal["factorize"] = Field("factorize", description="make each layer a product of smaller layers")
    conv: Literal["channel", "spatial", "tucker", "tensor-train", "none"] = Field(
        "tucker", description="form of convolutions"
    )
    linear: Literal["svd", "tensor-train", "none"] = Field("svd", description="form of linear layers")
    rank_by: Literal["parameters", "energy"] = Field(
        "parameters", description="what share is a share of: a layer's parameters, or its squared singular values"
    )
    share: Share = Field(0.5, description="share of each layer that is left: at most of parameters, at least of energy")
    per_layer: dict[str, Share] = Field(default_factory=dict, description="other shares by layer name or pattern")
    cores: Annotated[int, Field(ge=2, le=8)] = Field(3, description="cores of a linear layer's tensor train")
    keep: tuple[str, ...] = Field((), description="names or patterns of layers to leave alone")
