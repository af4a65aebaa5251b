"""The section `quantize` of a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from ...export.integer_types import INT8
from ...export.quantization.targets import TARGETS
from .section import Section

if TYPE_CHECKING:
    from ...export.quantization.scheme import Scheme

__all__ = ["Bits", "Quantization", "ScalesName", "TargetName"]


class _OfTable:
    """A name in `TARGETS`, which is the only place that lists them."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.literal_schema(list(TARGETS))


TargetName = Annotated[str, _OfTable()]
ScalesName = Literal["power-of-two", "free"]
Bits = Annotated[int, Field(ge=1, le=8)]

_HALF_A_BYTE = 4


class Quantization(Section):
    """How the network becomes integers."""

    target: TargetName = Field(next(iter(TARGETS)), description="what the integers are for; tensorrt: symmetric int8")
    scales: ScalesName = Field("power-of-two", description="power-of-two is exact everywhere")
    sums: Literal["exact", "plain"] = Field(
        "exact", description="exact: the same on OpenVINO and 64-bit Arm too; plain: faster, ONNX Runtime on x86"
    )
    observer: Literal["minmax", "histogram", "percentile", "mse"] = Field("mse", description="how ranges are chosen")
    percentile: Annotated[float, Field(gt=50, le=100)] = Field(99.99, description="values kept, in percent")
    weight_bits: Bits = Field(
        8,
        description="of the layers' weights; 7 for processors without VNNI; no engine sums wider products in integers",
    )
    activation_bits: Bits = Field(
        8, description="of what layers read and results are rounded to; no engine sums wider products in integers"
    )
    end_bits: Bits = Field(8, description="at least so many for the first and the last layer")
    layer_weight_bits: dict[str, Bits] = Field(
        default_factory=dict, description="other weight bits by layer name or pattern"
    )
    layer_activation_bits: dict[str, Bits] = Field(
        default_factory=dict, description="other bits of what a layer reads, by layer name or pattern"
    )
    integer_share: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="gate: least share of MACs that must run in integer kernels"
    )

    @property
    def has_signs(self) -> bool:
        """Whether weights of some layer have one bit."""
        return 1 in {self.weight_bits, *self.layer_weight_bits.values()}

    @property
    def packs(self) -> bool:
        """Whether weights of some layer have 4 bits or fewer, of which the kernels' int8 stores twice as many."""
        return min(self.weight_bits, *self.layer_weight_bits.values(), INT8.bits) <= _HALF_A_BYTE

    @property
    def scheme(self) -> Scheme:
        """What `quantize` takes."""
        from ...export.quantization.scheme import Scheme

        return Scheme(
            target=self.target,
            scales=self.scales,
            sums=self.sums,
            observer=self.observer,
            percentile=self.percentile,
            weight_bits=self.weight_bits,
            activation_bits=self.activation_bits,
            end_bits=self.end_bits,
            layer_weight_bits=self.layer_weight_bits,
            layer_activation_bits=self.layer_activation_bits,
        )
