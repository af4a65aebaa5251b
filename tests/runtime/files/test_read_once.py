"""One reading of one open file: what is given is what lay there, and never more of it than was asked for."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from hardtemper.runtime.files.read_once import hash_stream, open_regular, read_regular


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_bytes_and_their_hash(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "x").write_bytes(content)
    assert read_regular(tmp_path / "x") == read_regular(str(tmp_path / "x"), most=size) == content
    for most in (size, size + 1, size // 2):
        with open_regular(tmp_path / "x") as (file, found):
            assert found == size
            assert hash_stream(file, most=most) == hashlib.sha256(content[:most]).hexdigest()


def test_a_larger_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a terabyte that takes no room on the disk
    with pytest.raises(OSError, match="1099511627776 bytes are more than the 2147483647 that are read"):
        read_regular(path)


def test_a_file_that_grows_is_read_as_far_as_it_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"1234")
    with open_regular(path) as (file, size):
        path.write_bytes(b"12345678")
        assert hash_stream(file, most=size) == hashlib.sha256(b"1234").hexdigest()


def test_another_file_under_the_name_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"first")
    with open_regular(path) as (file, _):
        (tmp_path / "y").write_bytes(b"other")
        (tmp_path / "y").replace(path)
        assert file.read() == b"first"


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero"])
def test_devices_are_refused(path: str) -> None:
    if not Path(path).exists():
        pytest.skip("no such device on this system")
    with pytest.raises(OSError, match="no regular file"):
        read_regular(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders on this system")
def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        read_regular(tmp_path / "pipe")


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(OSError, match=path.name):
            read_regular(path)
    with pytest.raises(ValueError, match="null"):
        read_regular("a\0b")
