"""One listed file against its record; whole bundles are in `test_reader.py`, swaps in `test_swaps.py`."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hardtemper.runtime.bundle import listed_files
from hardtemper.runtime.bundle.listed_files import check_file, read_file, unlisted_files
from hardtemper.runtime.bundle.manifest import FileEntry
from hardtemper.runtime.errors import IntegrityError

CONTENT = bytes(range(256)) * 9000  # more than two pieces of a mebibyte


def record(content: bytes = CONTENT, path: str = "x") -> FileEntry:
    return FileEntry(path=path, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def test_what_fits_its_record(tmp_path: Path) -> None:
    for content in (CONTENT, b""):
        (tmp_path / "x").write_bytes(content)
        check_file(tmp_path, record(content))
        assert read_file(tmp_path, record(content)) == content


def test_what_does_not(tmp_path: Path) -> None:
    for content, what in ((CONTENT[:-1], "size differs"), (CONTENT[:-1] + b"?", "SHA-256 differs")):
        (tmp_path / "x").write_bytes(content)
        for read in (check_file, read_file):
            with pytest.raises(IntegrityError, match=what):
                read(tmp_path, record())


def test_the_size_is_compared_before_anything_is_read(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.truncate(1 << 40)  # a terabyte that takes no room on the disk
    for read in (check_file, read_file):
        with pytest.raises(IntegrityError, match="size differs; expected: 2304000 bytes; got: 1099511627776 bytes"):
            read(tmp_path, record())


def test_what_no_memory_holds_is_hashed_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed_files, "MOST_BYTES", len(CONTENT) - 1)
    (tmp_path / "x").write_bytes(CONTENT)
    check_file(tmp_path, record())
    with pytest.raises(IntegrityError, match="x: cannot be read; got: 2304000 bytes are more than the 2303999"):
        read_file(tmp_path, record())


def test_unlisted_files_come_with_their_path(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("manifest.json", "x", "a/y", "a/z"):
        (tmp_path / name).write_bytes(b"")
    assert list(unlisted_files(tmp_path, {"a/y"})) == ["x", "a/z"]
