"""Reads a bundle: a folder that holds a manifest and exactly the files that the manifest lists.

Rule: a bundle is whole if every listed file is a regular file inside the folder with the recorded size and SHA-256, and
nothing else lies in it. One flipped bit, one file too many or a link that leads out is an error that names the file.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import BundleError, BundleFormatError, IntegrityError
from ..files.hashing import hash_file
from ..files.json_fields import under
from .manifest import MANIFEST_NAME, FileEntry, Manifest

__all__ = ["Bundle", "read_bundle", "unlisted_files"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """A bundle that was read: its folder and its manifest."""

    path: Path
    manifest: Manifest

    def file(self, relative: str) -> Path:
        """Where a listed file lies.

        Raises:
            BundleError: the manifest does not list `relative`.
        """
        listed = [entry.path for entry in self.manifest.files]
        if relative not in listed:
            raise BundleError(f"{self.path}: no file {relative!r}", expected=f"one of {', '.join(listed)}")
        return self.path / relative


def read_bundle(path: str | Path, *, check: bool = True) -> Bundle:
    """Read a bundle's manifest and check its files.

    Args:
        path: the bundle's folder.
        check: hash every file and look for files that do not belong. Without it only the presence of the listed files
            is checked, which is enough where the folder was checked before and cannot have changed since.

    Raises:
        BundleError: no folder, or no manifest in it.
        BundleFormatError: the manifest cannot be used.
        IntegrityError: a file is missing, differs from its record, leads out of the folder, or is not listed.
    """
    folder = Path(path)
    if not os.path.isdir(folder):  # noqa: PTH112 - unlike Path.is_dir it says no to a name that no system can hold
        raise _no_folder(folder)
    with under(f"{folder}{os.sep}"):
        manifest = Manifest.from_json(_read_manifest(folder))
    for entry in manifest.files:
        _check_file(folder, entry, check=check)
    if check:
        _refuse_unlisted(folder, manifest)
    return Bundle(path=folder, manifest=manifest)


def _no_folder(folder: Path) -> BundleError:
    if os.path.exists(folder):  # noqa: PTH110 - as above
        fix = "open a bare ONNX file with open_onnx" if folder.suffix == ".onnx" else ""
        return BundleError(f"{folder}: not a bundle", expected="a folder", got="a file", fix=fix)
    # A build that was killed between its two renames has moved the old bundle aside (see export/bundle_writer.py).
    aside = sorted(folder.parent.glob(f".{glob.escape(folder.name)}.*.old"))
    fix = f"an interrupted build left the former bundle at {aside[-1]}: rename it back" if aside else ""
    return BundleError(f"{folder}: no such bundle", expected="a folder", got="nothing", fix=fix)


def _read_manifest(folder: Path) -> str:
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise BundleError(
            f"{folder}: not a bundle", expected=f"a file {MANIFEST_NAME} in the folder", got="no such file"
        )
    _refuse_escape(folder, MANIFEST_NAME)
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleFormatError(f"{MANIFEST_NAME}: invalid JSON", expected="UTF-8 text", got=str(error)) from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read", got=error.strerror or str(error)) from None


def _check_file(folder: Path, entry: FileEntry, *, check: bool) -> None:
    path = folder / entry.path
    try:
        _refuse_escape(folder, entry.path)
        # A pipe or a device would block or never end: only regular files are opened.
        if not path.is_file():
            got = "something that is no regular file" if path.exists() else "nothing"
            raise IntegrityError(f"{path}: a file of the bundle is missing", expected="a file", got=got)
        size = path.stat().st_size
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read", got=error.strerror or str(error)) from None
    if not check:
        return
    fix = "fetch or build the bundle again"
    if size != entry.bytes:
        raise IntegrityError(f"{path}: size differs", expected=f"{entry.bytes} bytes", got=f"{size} bytes", fix=fix)
    if (digest := hash_file(path)) != entry.sha256:
        raise IntegrityError(f"{path}: SHA-256 differs", expected=entry.sha256, got=digest, fix=fix)


def _refuse_escape(folder: Path, relative: str) -> None:
    path = folder / relative
    real = os.path.realpath(path)
    if not Path(real).is_relative_to(os.path.realpath(folder)):
        raise IntegrityError(
            f"{path}: leads out of the bundle", expected=f"a file in {folder}", got=f"a link to {real}"
        )


def _refuse_unlisted(folder: Path, manifest: Manifest) -> None:
    for relative in unlisted_files(folder, {entry.path for entry in manifest.files}, onerror=_unreadable):
        raise IntegrityError(
            f"{folder / relative}: not listed in {MANIFEST_NAME}",
            expected="only listed files",
            fix="move it out of the bundle",
        )


def unlisted_files(
    folder: Path, listed: Collection[str], *, onerror: Callable[[OSError], object] | None = None
) -> Iterator[str]:
    """The files in a bundle's folder that are neither its manifest nor `listed`, as paths relative to the folder.

    Args:
        folder: the bundle's.
        listed: relative paths with "/" between their parts.
        onerror: called with the error where a folder cannot be read; None passes over it.
    """
    for parent, folders, files in os.walk(folder, onerror=onerror):
        # os.walk lists a link to a folder among the folders and does not follow it: it counts as a file.
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in sorted(files + links):
            relative = (Path(parent) / name).relative_to(folder).as_posix()
            if relative not in listed and relative != MANIFEST_NAME:
                yield relative


def _unreadable(error: OSError) -> None:
    raise IntegrityError(f"{error.filename}: cannot be read", got=error.strerror or str(error))
