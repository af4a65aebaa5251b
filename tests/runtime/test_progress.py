from __future__ import annotations

import pytest

from hardtemper.runtime.progress import ProgressCallback, silent


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    callback: ProgressCallback = silent
    callback("parity", 1, 2, "text")
    assert capsys.readouterr() == ("", "")
