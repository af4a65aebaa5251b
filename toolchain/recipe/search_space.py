"""The section `search` of a recipe: what `toolchain search` may change, and how short the trainings of a trial are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .quantization import Bits
from .section import Section

__all__ = ["SEARCHED", "SearchSpace", "SearchedMethod"]

SearchedMethod = Literal["factorize", "filters", "weights"]
SEARCHED: tuple[SearchedMethod, ...] = ("factorize", "filters", "weights")
"""In the order of their steps: a layer that is factorized is factorized at its dense shape."""


class SearchSpace(Section):
    """What `toolchain search` may change; `toolchain build` does not look at it."""

    methods: tuple[SearchedMethod, ...] = Field(
        (), description="one is chosen for each layer; by default those of `[[compress]]`, or filters"
    )
    largest_sparsity: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.95, description="of a layer; factorize leaves a share of 1 - largest_sparsity at least"
    )
    weight_bits: tuple[Bits, ...] = Field((), description="one is chosen for the weights of each inner layer")
    activation_bits: tuple[Bits, ...] = Field((), description="one is chosen for what each inner layer reads")
    sharing_bits: tuple[Bits, ...] = Field(
        (), description="a step of the method sharing: one is chosen for each inner layer; 8: as it is"
    )
    epochs: Annotated[int, Field(ge=0)] | None = Field(
        None, description="of fine-tuning in a trial; the recipe's by default"
    )
    images: Annotated[int, Field(ge=1)] | None = Field(
        None, description="training images of a trial's fine-tuning; all by default"
    )
