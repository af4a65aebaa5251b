"""What every section of a recipe shares: frozen, and no unknown keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Factor", "Positive", "Section"]

_LARGE = 1e6
"""More than any sensible rate or weight, and small enough for float32."""
Positive = Annotated[float, Field(gt=0, le=_LARGE)]
Factor = Annotated[float, Field(ge=0, le=_LARGE)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
