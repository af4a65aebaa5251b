"""The kinds of pictures, by the name that a study's file gives."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .boundary_maps import BoundaryPicture
from .features import FeaturePicture
from .run_times import RunTimePicture
from .weight_pictures import HistogramPicture, SparsityPicture

__all__ = ["AnyPicture"]

AnyPicture = Annotated[
    FeaturePicture | BoundaryPicture | SparsityPicture | HistogramPicture | RunTimePicture, Field(discriminator="kind")
]
"""A union of them all; `kind` tells which."""
