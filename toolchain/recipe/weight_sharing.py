"""The settings of the compression method `sharing`: few values in a layer."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from .compression_base import CompressionStep
from .quantization import Bits

__all__ = ["WeightSharing"]


class WeightSharing(CompressionStep):
    """Weights of a layer share 2^bits values, codes of its int8 grid (Han et al. 2016). Behind steps on the network."""

    on_integers: ClassVar[bool] = True

    method: Literal["sharing"] = Field("sharing", description="each layer's weights take few values, by k-means")
    conv_bits: Bits = Field(8, description="convolutions take 2^bits values, 0 included; 8: as they are")
    linear_bits: Bits = Field(5, description="linear layers take 2^bits values, 0 included; 8: as they are")
    per_layer: dict[str, Bits] = Field(default_factory=dict, description="other bits by layer name or pattern")
    keep: tuple[str, ...] = Field((), description="names or patterns of layers to leave alone")

    @property
    def packs(self) -> bool:
        return True
