from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardtemper.runtime.files.sealed import read_sealed, write_sealed


def test_the_hash_comes_first(tmp_path: Path) -> None:
    write_sealed(tmp_path / "x", b"content")
    assert (tmp_path / "x").read_bytes() == hashlib.sha256(b"content").digest() + b"content"
    assert read_sealed(tmp_path / "x") == b"content"
    assert read_sealed(tmp_path / "y") is None


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sealed") / "x"
    write_sealed(path, bytes(range(64)))
    return path


@given(bit=st.integers(0, 8 * 96 - 1))
def test_any_flipped_bit_is_seen(stored: Path, bit: int) -> None:
    content = bytearray(stored.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    flipped = stored.with_name("flipped")
    flipped.write_bytes(bytes(content))
    assert read_sealed(flipped) is None


def test_each_process_writes_first_under_a_name_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, replace = [], Path.replace

    def noted(self: Path, target: Path) -> Path:
        names.append(self.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    for process in (1, 2):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        write_sealed(tmp_path / "x", b"content")
    assert names == ["x.1.tmp", "x.2.tmp"]
