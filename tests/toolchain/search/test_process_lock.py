from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hardtemper.runtime.errors import InputError
from hardtemper.toolchain.search.process_lock import ProcessLock, holding

_HOLDER = """
import sys, time
from pathlib import Path
from hardtemper.toolchain.search.process_lock import ProcessLock
assert ProcessLock(Path(sys.argv[1])).take() is False
lock = ProcessLock(Path(sys.argv[2]))
assert lock.take()
print("held", flush=True)
time.sleep(300)
"""


def test_a_lock_is_one_process_and_ends_with_it(tmp_path: Path) -> None:
    own = ProcessLock(tmp_path / "own")
    assert own.take()
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path / "own"), str(tmp_path / "theirs")], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert not ProcessLock(tmp_path / "theirs").take()
        holder.kill()
    theirs = ProcessLock(tmp_path / "theirs")
    assert theirs.take()
    theirs.release()
    own.release()


def test_within_one_process_too(tmp_path: Path) -> None:
    waited: list[str] = []
    first = ProcessLock(tmp_path / "lock")
    assert first.take()

    def waiting() -> None:
        waited.append("yes")
        first.release()

    with holding(tmp_path / "lock", waiting):
        assert not ProcessLock(tmp_path / "lock").take()
    assert waited == ["yes"]
    with holding(tmp_path / "lock", waiting):
        pass
    assert waited == ["yes"]  # nobody had it


def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot be locked.*choose another --out"):
        ProcessLock(tmp_path / "file" / "lock").take()
