"""Names and patterns of layers, and which of them goes before which."""

from __future__ import annotations

import pytest

from hardtemper.runtime.errors import CompressionError
from hardtemper.toolchain.compress.layer_names import asked_by_layer, layers_named

NAMES = ["stem", "body.0", "body.1", "head"]


def test_names_and_patterns() -> None:
    assert layers_named(["stem", "body.*"], NAMES, "keep") == {"stem": ["stem"], "body.*": ["body.0", "body.1"]}


def test_a_name_goes_before_patterns_and_a_later_pattern_before_an_earlier() -> None:
    asked = asked_by_layer({"body.1": 0.1, "*": 0.5, "body.*": 0.7}, NAMES)
    assert asked == {"stem": 0.5, "body.0": 0.7, "body.1": 0.1, "head": 0.5}
    assert asked_by_layer({}, NAMES) == {}


def test_a_pattern_that_names_nothing_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(CompressionError, match=r"keep names no convolution or linear layer.*did you mean 'stem'\?"):
        layers_named(["stm"], NAMES, "keep")
    with pytest.raises(CompressionError, match="per_layer names no convolution or linear layer"):
        asked_by_layer({"tail.*": 0.5}, NAMES)
