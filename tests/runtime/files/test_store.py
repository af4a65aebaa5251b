from __future__ import annotations

import os
from pathlib import Path

import pytest

from hardtemper.runtime.errors import BundleError, InputError
from hardtemper.runtime.files import store as module
from hardtemper.runtime.files.store import Store


def store(folder: Path) -> Store:
    return Store(folder=folder, error=BundleError, what="cannot write checkpoints", fix="choose another --out")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    kept = store(tmp_path / "a" / "b")
    assert kept.read("x") is None
    kept.write("x", b"one")
    kept.write("x", b"two")
    assert kept.read("x") == b"two"
    assert names(kept.folder) == ["x"]


@pytest.mark.parametrize("damage", [lambda c: c[:-1], lambda c: c[:40] + b"x" + c[41:], lambda _: b""])
def test_a_damaged_file_is_none(tmp_path: Path, damage: object) -> None:
    kept = store(tmp_path)
    kept.write("x", b"some content that is long enough")
    path = tmp_path / "x"
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert kept.read("x") is None


def test_what_is_named_is_removed_and_what_killed_runs_left_of_it(tmp_path: Path) -> None:
    kept = store(tmp_path / "work")
    for name in ("x", "y"):
        kept.write(name, b"content")
    (kept.folder / "x.123.tmp").write_bytes(b"half")
    (kept.folder / "y.123.tmp").write_bytes(b"half of another's")
    kept.remove(["x", "never written"])
    assert names(kept.folder) == ["y", "y.123.tmp"]
    kept.remove(["y"])
    assert not kept.folder.exists()
    kept.remove(["y"])


@pytest.mark.parametrize("error", [BundleError, InputError])
def test_a_folder_that_cannot_be_made_is_found_first(tmp_path: Path, error: type[BundleError | InputError]) -> None:
    (tmp_path / "file").write_text("")
    kept = Store(folder=tmp_path / "file" / "work", error=error, what="cannot write", fix="choose another --work")
    for act in (kept.make, lambda: kept.write("x", b"")):
        with pytest.raises(error, match=r"work: cannot write; got: Not a directory; fix: choose another --work"):
            act()


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    kept = store(tmp_path)
    kept.write("x", b"before")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(BundleError, match="cannot write checkpoints; got: No space left on device"):
            kept.write("x", b"after")
    assert kept.read("x") == b"before"
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize(("times", "works"), [(2, True), (3, False)])
def test_another_run_removes_the_folder_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, works: bool
) -> None:
    write_sealed, tried = module.write_sealed, []

    def write(path: Path, content: bytes) -> None:
        tried.append(path)
        if len(tried) <= times:
            path.parent.rmdir()
        write_sealed(path, content)

    monkeypatch.setattr(module, "write_sealed", write)
    kept = store(tmp_path / "work")
    if works:
        kept.write("x", b"content")
        assert kept.read("x") == b"content"
    else:
        with pytest.raises(BundleError, match="No such file"):
            kept.write("x", b"content")
