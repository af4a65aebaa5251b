"""Home folders in paths, known and not."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardtemper.bench.data.paths import expand
from hardtemper.runtime.errors import DataError


def test_home_is_written_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expand(Path("~/data")) == tmp_path / "data"
    assert expand(Path("data/~")) == Path("data/~")


def test_a_user_whom_nobody_knows() -> None:
    with pytest.raises(DataError, match="~nosuchuser/x: no such home folder; expected: ~ or ~user for a user of"):
        expand(Path("~nosuchuser/x"))
