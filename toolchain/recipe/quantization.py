"""The section `quantize` of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .section import Section

__all__ = ["Quantization"]


class Quantization(Section):
    """See export/quantization/scheme.py."""

    target: Literal["cpu", "tensorrt"] = Field("cpu", description="what the integers are for; tensorrt: symmetric int8")
    scales: Literal["power-of-two", "free"] = Field("power-of-two", description="power-of-two is exact everywhere")
    observer: Literal["minmax", "histogram", "percentile", "mse"] = Field("mse", description="how ranges are chosen")
    percentile: Annotated[float, Field(gt=50, le=100)] = Field(99.99, description="values kept, in percent")
    weight_bits: Literal[7, 8] = Field(8, description="7 for processors without VNNI")
    integer_share: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="gate: least share of MACs that must run in integer kernels"
    )
