"""Writes a bundle: whole or not at all.

Rule: write into a sibling folder, fsync every file and folder, then rename. A bundle that is replaced is renamed aside
first and removed last, so whoever reads between the two renames finds no bundle, never half of one. A kill can leave
siblings behind, named ".NAME.TOKEN.new" (unfinished), ".NAME.TOKEN.old" (the former bundle; `read_bundle` names it if
NAME itself is missing) and ".NAME.TOKEN.json"; no later build reads or removes them.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..runtime.bundle.listed_files import unlisted_files
from ..runtime.bundle.manifest import MANIFEST_NAME, FileEntry, Input, Manifest, Output, Provenance, check_path
from ..runtime.bundle.reader import Bundle, digest_of_manifest, read_bundle
from ..runtime.errors import BundleError
from ..runtime.files.atomic import replace_file, sync_folder, write_synced

__all__ = ["Contents", "check_target", "update_measurements", "write_bundle"]

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What a bundle says about itself but for its files: the manifest's fields (`runtime/bundle/manifest.py`)."""

    name: str
    input: Input
    output: Output
    graph: str
    dense: str | None
    provenance: Provenance
    quantization: Mapping[str, Any]
    layers: Sequence[Mapping[str, Any]]
    measurements: Sequence[Mapping[str, Any]]
    proofs: Mapping[str, Any]

    def manifest(self, files: Sequence[FileEntry]) -> Manifest:
        """The manifest of a bundle of these files.

        Raises:
            BundleFormatError: a field is wrong.
        """
        return Manifest(files=tuple(files), **{field.name: getattr(self, field.name) for field in fields(self)})


def write_bundle(
    path: str | Path, contents: Contents, *, files: Mapping[str, Path | bytes], overwrite: bool = False
) -> Bundle:
    """Write a bundle and make it appear at `path` in one step.

    Args:
        path: the folder to make; its parents are made too.
        contents: the rest of the manifest.
        files: what goes in: path in the bundle -> the bytes, or a file to copy. The graphs are among them.
        overwrite: replace the bundle at `path`. A folder that is neither empty nor a bundle is never replaced.

    Raises:
        BundleFormatError: a field of the manifest is wrong.
        BundleError: `path` exists, or something cannot be read or written. What was at `path` is still there.
    """
    target = check_target(path, overwrite=overwrite)
    with _as_bundle_error(f"{path}: cannot write the bundle"), _sibling(target, "new") as temporary:
        temporary.mkdir(parents=True)
        manifest = contents.manifest([_write_file(temporary, relative, files[relative]) for relative in sorted(files)])
        content = manifest.to_json().encode()
        write_synced(temporary / MANIFEST_NAME, content)
        for folder, _, _ in os.walk(temporary, topdown=False):
            sync_folder(Path(folder))
        _put_in_place(temporary, target)
    return Bundle(path=Path(path), manifest=manifest, digest=digest_of_manifest(content))


def check_target(path: str | Path, *, overwrite: bool) -> Path:
    """Whether a bundle may be written at `path`: for those who work for hours before they write it.

    Returns:
        The real path, links followed.

    Raises:
        BundleError: `path` exists and `overwrite` is not set, it is no bundle that could be replaced, or a name in it
            is too long.
    """
    target = Path(os.path.realpath(path))
    _refuse_long_names(target)
    if not os.path.exists(target):  # noqa: PTH110 - see runtime/bundle/reader.py
        return target
    if not overwrite:
        raise BundleError(f"{target}: exists already", fix="choose another path, or overwrite the bundle")
    # A slip in a path must not cost somebody a folder of other things, nor a bundle what else was put into it.
    if not target.is_dir() or not (_is_bundle(target) or not any(target.iterdir())):
        raise BundleError(
            f"{target}: will not be overwritten", expected="a bundle", got="something else", fix="remove it"
        )
    unlisted = list(unlisted_files(target, _listed(target)))
    if unlisted:
        raise BundleError(
            f"{target}: will not be overwritten",
            expected="nothing in it that its manifest does not list",
            got=", ".join(unlisted[:3]) + (", ..." if len(unlisted) > 3 else ""),
            fix="move it out of the bundle",
        )
    return target


def update_measurements(bundle: Bundle, measurements: Sequence[Mapping[str, Any]]) -> Bundle:
    """Replace a bundle's measured numbers; nothing but the manifest is written, in one step, so the digest changes.

    Raises:
        BundleFormatError: a measurement without name, value or unit.
        BundleError: the bundle is not the one that was read any more, or cannot be written.
    """
    manifest = replace(bundle.manifest, measurements=tuple(measurements))
    if read_bundle(bundle.path, check=False).digest != bundle.digest:
        # Another build's files under this manifest's hashes would make a bundle that nobody can open.
        raise BundleError(f"{bundle.path}: changed since it was read", fix="read the bundle again")
    target = Path(os.path.realpath(bundle.path))
    # Beside the bundle, not in it: what a kill leaves in the folder would be a file that the manifest does not list.
    with _as_bundle_error(f"{bundle.path}: cannot write the manifest"), _sibling(target, "json") as temporary:
        content = manifest.to_json().encode()
        replace_file(target / MANIFEST_NAME, content, temporary=temporary)
    return Bundle(path=bundle.path, manifest=manifest, digest=digest_of_manifest(content))


def _refuse_long_names(target: Path) -> None:
    """A BundleError where the file system cannot hold the bundle, its longest sibling, or a folder to make for them."""
    if not target.name:
        return
    sibling = _beside(target, "json")
    known = next(folder for folder in sibling.parents if os.path.isdir(folder))  # noqa: PTH112 - see runtime/bundle/reader.py
    # A name below a folder that is missing is not looked at, so each is asked for where a folder is.
    if any(map(_is_too_long, (*(known / part for part in sibling.relative_to(known).parts), sibling))):
        raise BundleError(
            f"{target}: the name is too long",
            expected="names that the file system can hold, the last with "
            f"{len(sibling.name) - len(target.name)} characters to spare",
            fix="choose a shorter path",
        )


def _is_too_long(path: Path) -> bool:
    try:
        path.lstat()
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return False


@contextmanager
def _as_bundle_error(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        got = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
        raise BundleError(what, got=got) from None


@contextmanager
def _sibling(target: Path, suffix: str) -> Iterator[Path]:
    """A path beside `target`, on its file system; whatever is still there afterwards is removed."""
    temporary = _beside(target, suffix)
    try:
        yield temporary
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.{suffix}")


def _is_bundle(folder: Path) -> bool:
    """Whether the folder says that it is a bundle, of whatever format and however damaged its files are."""
    manifest = _raw_manifest(folder)
    return {"format_version", "graph"} <= manifest.keys() and isinstance(manifest.get("files"), list)


def _raw_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST_NAME).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _listed(folder: Path) -> set[str]:
    """The files that a bundle's manifest lists, as far as it can be read."""
    entries = _raw_manifest(folder).get("files", [])
    return {str(entry.get("path")) for entry in entries if isinstance(entry, dict)}


def _write_file(folder: Path, relative: str, content: Path | bytes) -> FileEntry:
    path = folder / check_path(relative, f"files[{relative!r}]")
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        write_synced(path, content)
        return FileEntry(path=relative, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    digest, size = hashlib.sha256(), 0
    # The hash is of what was written, not of a second reading: the source may change meanwhile.
    with Path(content).open("rb") as source, path.open("xb") as sink:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += sink.write(chunk)
        sink.flush()
        os.fsync(sink.fileno())
    return FileEntry(path=relative, sha256=digest.hexdigest(), bytes=size)


def _put_in_place(temporary: Path, target: Path) -> None:
    if not target.exists():
        temporary.rename(target)
        sync_folder(target.parent)
        return
    old = _beside(target, "old")
    target.rename(old)
    try:
        temporary.rename(target)
    except BaseException:
        old.rename(target)
        raise
    sync_folder(target.parent)
    # Only now: until the new name is on disk, this is the one bundle that is sure to survive.
    shutil.rmtree(old, ignore_errors=True)
