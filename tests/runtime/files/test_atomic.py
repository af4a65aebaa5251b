from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from hardtemper.runtime.files.atomic import replace_file, write_synced, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_written_is_synced_before_it_is_moved_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, move = os.fsync, Path.replace

    def note_sync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def note_move(self: Path, target: Path) -> Path:
        done.append(f"{self.name} -> {target.name}")
        return move(self, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_move)
    write_whole(tmp_path / "new" / "x.json", b"content")
    assert done == ["file", ".x.json.new -> x.json", "folder"]
    assert (tmp_path / "new" / "x.json").read_bytes() == b"content"


def test_what_killed_processes_left_does_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "x.npz"
    path.write_bytes(b"before")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                write_whole(path, b"half")
    assert path.read_bytes() == b"before"
    assert len(names(tmp_path)) == 2
    write_whole(path, b"after")
    assert names(tmp_path) == ["x.npz"]
    assert path.read_bytes() == b"after"


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "x.npz"
    path.write_bytes(b"before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"after")
    assert (names(tmp_path), path.read_bytes()) == (["x.npz"], b"before")


def test_a_folder_that_does_not_sync_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # as on Windows; files are opened by io.open
    write_whole(tmp_path / "x", b"content")
    assert (tmp_path / "x").read_bytes() == b"content"


def test_a_link_stays_one(tmp_path: Path) -> None:
    """/dev/stdout is one: a file in its place would be there for every later process."""
    (tmp_path / "aim").write_bytes(b"before")
    (tmp_path / "link").symlink_to("aim")
    write_whole(tmp_path / "link", b"after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "aim").read_bytes() == b"after"
    assert names(tmp_path) == ["aim", "link"]


def test_a_link_is_replaced_where_no_user_named_it(tmp_path: Path) -> None:
    (tmp_path / "aim").write_bytes(b"before")
    (tmp_path / "link").symlink_to("aim")
    replace_file(tmp_path / "link", b"after")
    assert not (tmp_path / "link").is_symlink()
    assert ((tmp_path / "aim").read_bytes(), (tmp_path / "link").read_bytes()) == (b"before", b"after")


def test_the_temporary_file_lies_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved, move = [], Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, target: moved.append(self) or move(self, target))
    (tmp_path / "inner").mkdir()
    replace_file(tmp_path / "inner" / "x", b"content", temporary=tmp_path / "y")
    assert moved == [tmp_path / "y"]
    assert (names(tmp_path), names(tmp_path / "inner")) == (["inner"], ["x"])


@pytest.mark.skipif(os.name == "nt", reason="Windows has access lists")
def test_a_private_file_is_this_users_alone(tmp_path: Path) -> None:
    replace_file(tmp_path / "x", b"content", private=True)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o600


@pytest.mark.parametrize("private", [False, True])
def test_a_synced_file_is_new(tmp_path: Path, private: bool) -> None:
    write_synced(tmp_path / "x", b"one", private=private)
    with pytest.raises(FileExistsError):
        write_synced(tmp_path / "x", b"two", private=private)
    assert (tmp_path / "x").read_bytes() == b"one"
