"""What counts as an image of a class: torchvision's ImageFolder finds the same, and what is left out is counted."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hardtemper.bench.data.class_folders import class_names, image_files, other_folders
from hardtemper.bench.data.tally import Tally
from hardtemper.bench.data.vision import torchvision
from hardtemper.runtime.errors import DataError

ENDINGS = {".png", ".jpg"}


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def found(folder: Path) -> tuple[list[str], str]:
    tally = Tally()
    return [str(path.relative_to(folder)) for path in image_files(folder, ENDINGS, tally)], str(tally)


def test_links_to_files_and_folders_are_followed_as_torchvision_does(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "data" / "a", tmp_path / "elsewhere"
    touch(folder / "0.png"), touch(folder / "deeper" / "still" / "1.JPG"), touch(elsewhere / "2.png")
    touch(elsewhere / "deeper" / "3.png"), touch(tmp_path / "4.png")
    (folder / "part").symlink_to(elsewhere)
    (folder / "5.png").symlink_to(tmp_path / "4.png")
    (tmp_path / "data" / "b").symlink_to(elsewhere)
    files, left_out = found(folder)
    assert files == ["0.png", "5.png", "deeper/still/1.JPG", "part/2.png", "part/deeper/3.png"]
    assert left_out == ""
    oracle = torchvision().datasets.folder.make_dataset(tmp_path / "data", extensions=tuple(ENDINGS))
    assert sorted(path for path, label in oracle if label == 0) == sorted(str(folder / file) for file in files)
    assert class_names(tmp_path / "data", Tally()) == ["a", "b"]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "0.png"), touch(tmp_path / "a" / "b" / "1.png")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a" / "b")
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a" / "self")
    files, left_out = found(tmp_path / "a")
    assert len(files) == 2
    assert left_out == "2 a link to a folder that is read already, 1 a link to nothing"


def test_a_lattice_of_links_is_walked_once(tmp_path: Path) -> None:
    """Each folder is reached by two links from the one before: 2^40 paths lead to the last."""
    touch(tmp_path / "40" / "0.png")
    for depth in range(40):
        (tmp_path / str(depth)).mkdir()
        for name in ("left", "right"):
            (tmp_path / str(depth) / name).symlink_to(tmp_path / str(depth + 1))
    files, left_out = found(tmp_path / "0")
    assert len(files) == 1
    assert left_out == "40 a link to a folder that is read already"


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are files of POSIX systems")
def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    for name in ("0.png", ".1.png", ".DS_Store", "Thumbs.db", "a.txt", "b.TXT", "README", ".cache/2.png", "c.png.part"):
        touch(tmp_path / name)
    (tmp_path / "3.png").symlink_to(tmp_path / "absent.png")
    (tmp_path / "4").symlink_to(tmp_path / "absent")
    os.mkfifo(tmp_path / "5.png")  # to open it would be to wait for a writer
    files, left_out = found(tmp_path)
    assert files == ["0.png"]
    assert left_out == (
        "3 hidden, 2 a link to nothing, 2 ending in .txt, 1 ending in .db, 1 ending in .part, "
        "1 no file but a pipe, socket or device, 1 without an ending"
    )


def test_a_split_holds_class_folders_and_what_else_is_counted(tmp_path: Path) -> None:
    touch(tmp_path / "dog" / "0.png"), touch(tmp_path / "cat" / "0.png"), touch(tmp_path / "loose.png")
    touch(tmp_path / ".git" / "x")
    (tmp_path / "gone").symlink_to(tmp_path / "absent")
    tally = Tally()
    assert class_names(tmp_path, tally) == ["cat", "dog"]
    assert str(tally) == "2 outside the class folders, 1 hidden"


def test_other_folders(tmp_path: Path) -> None:
    for name in ("train/x", "val/x", "extra/x", ".git/x", "readme.txt"):
        touch(tmp_path / name)
    assert other_folders(tmp_path, (tmp_path / "train",)) == ["extra", "val"]


def test_a_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"the folder .* cannot be read; got: Permission denied"):
        found(tmp_path)
