"""The settings of the compression method `filters`: pruning of whole filters, so that tensors shrink."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .pruning import Pruning

__all__ = ["FilterPruning"]


class FilterPruning(Pruning):
    """Structured pruning (Adversarial fine-tuning of compressed neural networks, section 3.1; Li et al. 2017)."""

    method: Literal["filters"] = Field("filters", description="remove whole filters, those of least score first")
    criterion: Literal["l1", "l2", "random", "norm-scale", "taylor"] = Field(
        "l1", description="the score of a filter; norm-scale: network slimming's, see train.norm_penalty"
    )
    round_to: Annotated[int, Field(ge=1, le=65_536)] = Field(1, description="round kept channels up to a multiple")
    linear: bool = Field(False, description="prune neurons of hidden linear layers too")
