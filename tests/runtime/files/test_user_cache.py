from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hardtemper.runtime.errors import BundleError, IntegrityError
from hardtemper.runtime.files.user_cache import cache_folder, check_private


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("things") == tmp_path / "hardtemper" / "things"
    for empty in ("", "relative"):  # as the XDG specification says: absolute, or not there
        monkeypatch.setenv("XDG_CACHE_HOME", empty)
        assert cache_folder("things") == Path.home() / ".cache" / "hardtemper" / "things"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes and owners")
def test_a_folder_that_others_can_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    check_private(tmp_path, what="things", fix="go away")
    tmp_path.chmod(0o770)
    with pytest.raises(IntegrityError, match=r"things in it are not trusted.*mode 770; fix: go away"):
        check_private(tmp_path, what="things", fix="go away")
    tmp_path.chmod(0o700)
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    with pytest.raises(IntegrityError, match=f"owner {mine}"):
        check_private(tmp_path, what="things", fix="")
    with pytest.raises(BundleError, match="cannot be read"):
        check_private(tmp_path / "none", what="things", fix="")
