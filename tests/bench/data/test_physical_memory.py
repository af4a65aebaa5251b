from __future__ import annotations

import os

import pytest

from hardtemper.bench.data import physical_memory
from hardtemper.bench.data.physical_memory import check_memory, physical_bytes
from hardtemper.runtime.errors import DataError


def test_physical_memory() -> None:
    size = physical_bytes()
    assert size is None or 2**20 < size < 2**60


def test_a_system_that_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert physical_bytes() is None
    check_memory("x takes", 2**70, error=DataError, fix="less")


@pytest.mark.parametrize(("needed", "got"), [(2**31, "2.0 GiB"), (2**200, "far more")])
def test_what_cannot_fit_is_refused(monkeypatch: pytest.MonkeyPatch, needed: int, got: str) -> None:
    monkeypatch.setattr(physical_memory, "physical_bytes", lambda: 2**30)
    check_memory("x takes", 2**30, error=DataError, fix="less")
    with pytest.raises(DataError, match=f"x takes more memory .*; expected: 1.0 GiB at most; got: {got}; fix: less"):
        check_memory("x takes", needed, error=DataError, fix="less")
