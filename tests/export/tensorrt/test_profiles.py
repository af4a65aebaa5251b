from __future__ import annotations

import pytest

from hardtemper.export.tensorrt.profiles import BatchRange
from hardtemper.runtime.errors import InputError


@pytest.mark.parametrize(("text", "sizes"), [("1:64:256", (1, 64, 256)), ("8", (8, 8, 8)), ("2:2:2", (2, 2, 2))])
def test_what_is_written_is_read(text: str, sizes: tuple[int, int, int]) -> None:
    found = BatchRange.parse(text)
    assert found == BatchRange(*sizes)
    assert BatchRange.parse(str(found)) == found


@pytest.mark.parametrize("text", ["", "1:2", "1:2:3:4", "-1", "a", "1:64:", "1.5", "0:1:2", "2:1:3", "1:3:2", "0"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="batch range"):
        BatchRange.parse(text)
