"""The section `quantize`: its words are those of export, and it gives the scheme that `quantize` takes."""

from __future__ import annotations

from typing import get_args

from hardtemper.export.quantization.scheme import Scheme
from hardtemper.export.quantization.targets import TARGETS
from hardtemper.toolchain.recipe.quantization import Quantization, TargetName


def test_a_recipe_may_name_every_target() -> None:
    assert list(get_args(TargetName)) == list(TARGETS)


def test_the_default_scheme() -> None:
    assert Quantization().scheme == Scheme()


def test_every_setting_reaches_the_scheme() -> None:
    section = Quantization(
        target="tensorrt", scales="free", observer="percentile", percentile=99.0, weight_bits=7, integer_share=0.5
    )
    expected = Scheme(target="tensorrt", scales="free", observer="percentile", percentile=99.0, weight_bits=7)
    assert section.scheme == expected
