from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hardtemper.runtime.errors import BundleError
from hardtemper.runtime.files.hashing import hash_file


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1])
def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    (tmp_path / "x").write_bytes(content)
    assert hash_file(tmp_path / "x") == hash_file(str(tmp_path / "x")) == hashlib.sha256(content).hexdigest()


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"x: cannot be read; got: No such file"):
        hash_file(tmp_path / "x")
