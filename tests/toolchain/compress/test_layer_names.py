"""Names go before patterns, later patterns before earlier ones, and what means no layer is refused with the nearest."""

from __future__ import annotations

import pytest

from hardtemper.runtime.errors import CompressionError
from hardtemper.toolchain.compress.layer_names import by_layer, named

NAMES = ["features.0", "features.3", "classifier"]


def test_names_before_patterns_and_later_patterns_before_earlier_ones() -> None:
    found = by_layer({"features.0": 0.1, "*": 0.2, "features.*": 0.3}, NAMES)
    assert found == {"features.0": 0.1, "features.3": 0.3, "classifier": 0.2}
    assert named(["features.*", "features.0"], NAMES, "keep") == {"features.0", "features.3"}


def test_what_means_no_layer_is_refused() -> None:
    with pytest.raises(CompressionError, match=r"keep names no convolution.*did you mean 'features.3'"):
        named(["feature.3"], NAMES, "keep")
