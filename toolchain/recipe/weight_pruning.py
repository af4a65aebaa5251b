"""The settings of the compression method `weights`: pruning of single weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ...runtime.errors import RecipeError
from .pruning import Pruning

__all__ = ["WeightPruning"]


class WeightPruning(Pruning):
    """Unstructured pruning, and N:M: weights become zeros that every later stage holds (Han et al. 2015)."""

    method: Literal["weights"] = Field("weights", description="set single weights to zero, those of least score first")
    criterion: Literal["l1", "l2", "random", "taylor", "lamp", "hydra"] = Field(
        "l1", description="the score of a weight; hydra: learned against the adversary"
    )
    pattern: Annotated[str, Field(pattern=r"^([1-9]\d?:[1-9]\d?)?$")] = Field(
        "", description="N:M, such as 2:4: keep N of every M neighbouring inputs of a filter, instead of sparsity"
    )
    score_epochs: Annotated[int, Field(ge=1)] = Field(1, description="epochs in which hydra learns its scores")
    score_learning_rate: Annotated[float, Field(gt=0, le=1e6)] = Field(0.1, description="of hydra's scores")

    @model_validator(mode="after")
    def _goes_together(self) -> WeightPruning:
        if self.pattern:
            kept, of = self.kept_of
            if not kept < of:
                raise RecipeError("pattern N:M keeps N of M weights", expected="N below M", got=repr(self.pattern))
            if self.scope == "global" or self.per_layer or self.rounds > 1:
                raise RecipeError(
                    f"pattern {self.pattern} says what each layer keeps",
                    expected="neither scope global nor per_layer nor rounds",
                )
        if self.criterion == "hydra" and self.scope == "global":
            raise RecipeError("hydra learns its scores within a layer", expected='scope = "layer"', got="global")
        if self.criterion == "lamp" and self.scope == "layer":
            raise RecipeError(
                "lamp's scores compare layers; within one they rank as l1 does",
                expected='scope = "global"',
                got="layer",
            )
        return self

    @property
    def kept_of(self) -> tuple[int, int]:
        """(N, M) of the pattern."""
        kept, of = self.pattern.split(":")
        return int(kept), int(of)

    @property
    def changes_network(self) -> bool:
        return bool(self.pattern) or super().changes_network

    @property
    def holds_zeros(self) -> bool:
        return True
