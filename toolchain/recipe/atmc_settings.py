"""The settings of the compression method `atmc`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .compression_base import CompressionStep
from .section import Factor

__all__ = ["Atmc"]


class Atmc(CompressionStep):
    """Adversarially trained model compression (Gui et al. 2019): W = UV + C, few nonzeros, few values, in one training.

    It trains as `finetune` says, for `epochs` epochs.
    """

    method: Literal["atmc"] = Field("atmc", description="few nonzeros and few values, held while training")
    nonzeros: Annotated[float, Field(gt=0, le=1)] = Field(
        0.1, description="k: nonzeros of U, V and C of all layers together, as a share of the dense weights"
    )
    bits: Annotated[int, Field(ge=1, le=8)] | None = Field(
        None, description="b: 2^b values beside 0 in each of U, V and C; without it as many as there are"
    )
    factors: bool = Field(True, description="false: W = C alone, which is adversarial l0 pruning")
    rank: Annotated[float, Field(gt=0, le=1)] = Field(
        0.25, description="columns of U, as a share of the most that a layer can have"
    )
    rho: Factor = Field(0.01, description="weight of ADMM's penalty")
    interval: Annotated[int, Field(ge=1)] = Field(5, description="steps between two updates of the values")
    epochs: Annotated[int, Field(ge=1)] = Field(3, description="passes over the training images")
    keep: tuple[str, ...] = Field((), description="names or patterns of layers to leave alone")

    @property
    def holds_zeros(self) -> bool:
        return True
