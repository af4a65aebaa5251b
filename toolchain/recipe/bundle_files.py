"""The section `bundle` of a recipe: how the bundle's files are stored."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .section import Section

__all__ = ["BundleFiles"]


class BundleFiles(Section):
    """How the integer graph is stored."""

    pack: Literal["auto", "always", "never"] = Field(
        "auto",
        description="store the graph sparse and Huffman-coded; auto: where a compression step, or weights of 4 bits "
        "or fewer, gain in storage alone",
    )
