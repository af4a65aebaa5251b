"""The kinds of pictures, by the name that a study's file gives."""

from __future__ import annotations

from .features import FeaturePicture

__all__ = ["AnyPicture"]

AnyPicture = FeaturePicture
"""A union of them all; `kind` tells which."""
