"""cuda-bindings, where it is installed, on a driver without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def test_the_real_package_on_the_fake_driver(drive: Callable[..., dict[str, Any]], driven: dict[str, Any]) -> None:
    """Names, signatures and results of the package that is installed; and that all of it goes back, from any thread."""
    pytest.importorskip("cuda.bindings", exc_type=ImportError)
    found = drive()
    assert found.pop("no room").startswith("cuMemAlloc")
    assert found.pop("outside").startswith("the GPU failed: cuMemGetInfo; ")
    assert found == {"name": "cuda-bindings", **driven}
