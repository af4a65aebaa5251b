"""pycuda, where it is installed, on a driver without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def test_the_real_package_on_the_fake_driver(drive: Callable[..., dict[str, Any]], driven: dict[str, Any]) -> None:
    """Names, signatures and results of the package that is installed; and that all of it goes back, from any thread."""
    pytest.importorskip("pycuda", exc_type=ImportError)
    found = drive("lazy")
    assert found.pop("no room").startswith("mem_alloc")
    assert found.pop("outside").startswith("the GPU failed: mem_get_info; ")
    assert found == {"name": "pycuda", **driven}
