"""Settings of factorization: what is out of range is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from hardtemper.toolchain.compress.factorization.convolution_forms import CONVOLUTION_CORES
from hardtemper.toolchain.recipe.factorization import Factorization


def test_default() -> None:
    settings = Factorization()
    assert (settings.method, settings.conv, settings.linear) == ("factorize", "tucker", "svd")
    assert (settings.rank_by, settings.share, settings.keep) == ("parameters", 0.5, ())
    assert settings.changes_network


@pytest.mark.parametrize("form", [*CONVOLUTION_CORES, "none"])
def test_every_form_of_convolutions_has_a_name(form: Any) -> None:
    assert Factorization(conv=form).conv == form


@pytest.mark.parametrize(
    ("settings", "key", "message"),
    [
        ({"share": 0.0}, "share", "greater than 0"),
        ({"share": 1.1}, "share", "less than or equal to 1"),
        ({"share": float("nan")}, "share", "finite number"),
        ({"per_layer": {"stem": 0}}, "stem", "greater than 0"),
        ({"conv": "svd"}, "conv", "'channel', 'spatial', 'tucker', 'tensor-train' or 'none'"),
        ({"linear": "tucker"}, "linear", "'svd', 'tensor-train' or 'none'"),
        ({"rank_by": "rank"}, "rank_by", "'parameters' or 'energy'"),
        ({"cores": 1}, "cores", "greater than or equal to 2"),
        ({"rank": 0}, "rank", "Extra inputs"),
    ],
)
def test_out_of_range(settings: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Factorization(**settings)
    (error,) = caught.value.errors()
    assert error["loc"][-1] == key
    assert message in error["msg"]
