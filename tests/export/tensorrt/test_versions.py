from __future__ import annotations

import pytest

from hardtemper.export.tensorrt.profiles import BatchRange
from hardtemper.export.tensorrt.versions import Capabilities
from hardtemper.runtime.errors import InputError, ModelError

WEAK, TYPED, LATEST = "EXPLICIT_BATCH", "STRONGLY_TYPED", ""


@pytest.mark.parametrize(
    ("version", "flag", "weak", "compatible"),
    [
        ("8.5.3.1", WEAK, True, False),
        ("8.6.1.post1", WEAK, True, True),
        ("10.0.1", TYPED, False, True),
        ("10.16.1.11", TYPED, False, True),
        ("11.4.0.106", LATEST, False, True),
        ("12.0", LATEST, False, True),
    ],
)
def test_capabilities(version: str, flag: str, weak: bool, compatible: bool) -> None:
    found = Capabilities.of(version)
    assert found.network_flag == flag
    assert (found.precision_flags, found.float_weights, found.external_tactics) == (weak, weak, weak)
    assert found.compatible_engines == compatible


@pytest.mark.parametrize("version", ["8.4.3.1", "7.2", "", "unknown"])
def test_too_old(version: str) -> None:
    with pytest.raises(ModelError, match=r"8\.5 or later"):
        Capabilities.of(version)


@pytest.mark.parametrize(
    ("text", "sizes"), [("1:64:256", (1, 64, 256)), ("8", (8, 8, 8)), ("2:2:2", (2, 2, 2)), ("1:1:1024", (1, 1, 1024))]
)
def test_batch_ranges(text: str, sizes: tuple[int, int, int]) -> None:
    found = BatchRange.parse(text)
    assert (found.least, found.typical, found.most) == sizes
    assert BatchRange.parse(str(found)) == found


@pytest.mark.parametrize("text", ["", "1:2", "0:1:2", "4:2:8", "1:8:4", "-1:1:1", "a:b:c", "1:2:3:4", "0"])
def test_no_batch_range(text: str) -> None:
    with pytest.raises(InputError, match="batch range"):
        BatchRange.parse(text)
