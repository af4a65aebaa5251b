"""The image files below one class folder, as torchvision's ImageFolder finds them: at any depth, links followed.

Left out, each counted by reason: what does not end as an image does, what is hidden (its name begins with a dot), links
to nothing, and what is no file (a pipe would be waited for). A folder is entered once for each class, so that a link
back to a folder that holds it ends; torchvision would go round.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path, PurePath

from ...runtime.errors import DataError
from .tally import Tally

__all__ = ["class_names", "image_files", "other_folders"]


def class_names(split: Path, left_out: Tally) -> list[str]:
    """The names of the class folders of `split`, sorted as strings; what else lies in it is counted.

    Raises:
        DataError: it cannot be read.
    """
    names = []
    for entry in _entries(split):
        if entry.name.startswith("."):
            left_out.add("hidden")
        elif _is_folder(entry):
            names.append(entry.name)
        else:
            left_out.add("outside the class folders")
    return sorted(names)


def other_folders(root: Path, known: Collection[Path]) -> list[str]:
    """The names of the folders of `root` that are not among `known` nor hidden, sorted."""
    entries = [entry for entry in _entries(root) if not entry.name.startswith(".") and root / entry.name not in known]
    return sorted(entry.name for entry in entries if _is_folder(entry))


def image_files(folder: Path, suffixes: Collection[str], left_out: Tally) -> list[Path]:
    """The files below `folder` whose suffix, in lower case, is one of `suffixes`; sorted by path.

    Raises:
        DataError: a folder cannot be read.
    """
    found: list[Path] = []
    entered: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            place = here.stat()
        except OSError as error:
            raise _unreadable(here, error) from error
        if (place.st_dev, place.st_ino) in entered:
            left_out.add("a link to a folder that is read already")
            continue
        entered.add((place.st_dev, place.st_ino))
        for entry in _entries(here):
            suffix = PurePath(entry.name).suffix.lower()
            if entry.name.startswith("."):
                left_out.add("hidden")
            elif _is_folder(entry):
                waiting.append(here / entry.name)
            elif not _is_file(entry):
                left_out.add("a link to nothing" if entry.is_symlink() else "no file but a pipe, socket or device")
            elif suffix not in suffixes:
                left_out.add(f"ending in {suffix}" if suffix else "without an ending")
            else:
                found.append(here / entry.name)
    return sorted(found)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: OSError) -> DataError:
    return DataError(f"the folder {folder} cannot be read", got=error.strerror or str(error))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False
