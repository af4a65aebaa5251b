"""Reads a bundle: a folder that holds a manifest and exactly the files that the manifest lists.

Rule: a bundle is whole if every listed file is a regular file inside the folder with the recorded size and SHA-256, and
nothing else lies in it. One flipped bit, one file too many or a link that leads out is an error that names the file.

What is used are the bytes that were hashed: `Bundle.read` reads a file once and gives what it checked. The manifest has
the SHA-256 of every file, so one digest is over all of a bundle:

    digest = SHA-256(the bytes of manifest.json)
"""

from __future__ import annotations

import glob
import hashlib
import os
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import BundleError, BundleFormatError, InputError, IntegrityError
from ..files.json_fields import under
from ..files.onnx_file import OnnxFile
from ..files.read_once import read_regular
from .bundle_limits import MOST_MANIFEST_BYTES
from .listed_files import check_file, read_file, refuse_escape, refuse_unlisted, require_file
from .manifest import MANIFEST_NAME, Manifest

__all__ = ["Bundle", "check_files", "digest_of_manifest", "read_bundle", "read_manifest"]

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """A bundle that was read.

    Attributes:
        path: its folder.
        manifest: what lies in it.
        digest: SHA-256 of the manifest's bytes, 64 hex digits; as the manifest has that of every file, of all of it.
    """

    path: Path
    manifest: Manifest
    digest: str

    def read(self, relative: str) -> bytes:
        """The bytes of a listed file, read once; these very bytes have the recorded size and SHA-256.

        Raises:
            BundleError: the manifest does not list `relative`.
            IntegrityError: it is missing, larger than 2 GiB, differs from its record or leads out of the folder.
        """
        listed = {entry.path: entry for entry in self.manifest.files}
        if relative not in listed:
            raise BundleError(f"{self.path}: no file {relative!r}", expected=f"one of {', '.join(listed)}")
        return read_file(self.path, listed[relative])

    def graph(self) -> OnnxFile:
        """The graph that the engine runs; raises what `onnx_file` does."""
        return self.onnx_file(self.manifest.graph)

    def onnx_file(self, relative: str) -> OnnxFile:
        """A listed ONNX file; the files that it keeps weights in are listed too.

        Raises:
            BundleError, IntegrityError: as `read`, of each.
            BundleFormatError, IntegrityError: it is packed and cannot be unpacked.
            ModelError: it keeps weights in files outside of its folder, or onnx is not installed to find them.
        """
        folder = posixpath.dirname(relative)
        return OnnxFile.of(
            self.path / relative, self.read(relative), lambda name: self.read(posixpath.join(folder, name))
        )

    def hold(self, digest: str | None) -> None:
        """Refuse a bundle of another digest than `digest`; None takes any.

        Raises:
            InputError: `digest` is no SHA-256.
            IntegrityError: the bundle's is another.
        """
        _hold(self.path, digest, self.digest)


def digest_of_manifest(content: bytes) -> str:
    """The digest of the bundle that has this manifest, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def read_bundle(path: str | Path, *, check: bool = True, digest: str | None = None) -> Bundle:
    """Read a bundle's manifest and check its files.

    Args:
        path: the bundle's folder.
        check: hash every file and look for files that do not belong. Without it only the presence of the listed files
            is checked, which is enough where the folder was checked before and cannot have changed since.
        digest: the bundle's, as `toolchain build` printed it; None takes any.

    Raises:
        BundleError: no folder, or no manifest in it.
        BundleFormatError: the manifest cannot be used.
        InputError: `digest` is no SHA-256.
        IntegrityError: the bundle is not that of `digest`, or a file is missing, differs from its record, leads out of
            the folder, or is not listed.
    """
    bundle = read_manifest(path, digest=digest)
    check_files(bundle, check=check)
    return bundle


def read_manifest(path: str | Path, *, digest: str | None = None) -> Bundle:
    """As `read_bundle`, with no look at the files yet: `check_files` is that."""
    folder = Path(path)
    if not os.path.isdir(folder):  # noqa: PTH112 - unlike Path.is_dir it says no to a name that no system can hold
        raise _no_folder(folder)
    content = _manifest_bytes(folder)
    found = digest_of_manifest(content)
    _hold(folder, digest, found)
    with under(f"{folder}{os.sep}"):
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BundleFormatError(f"{MANIFEST_NAME}: invalid JSON", expected="UTF-8 text", got=str(error)) from None
        return Bundle(path=folder, manifest=Manifest.from_json(text), digest=found)


def check_files(bundle: Bundle, *, check: bool, leave_out: str | None = None) -> None:
    """Hash every file of a bundle and look for files that do not belong, or look whether the files are there.

    Args:
        bundle: its manifest was read.
        check: hash them.
        leave_out: the path of a file that is read, and so checked, elsewhere.

    Raises:
        IntegrityError: a file is missing, differs from its record, leads out of the folder, or is not listed.
    """
    for entry in bundle.manifest.files:
        if entry.path == leave_out:
            continue
        (check_file if check else require_file)(bundle.path, entry)
    if check:
        refuse_unlisted(bundle.path, {entry.path for entry in bundle.manifest.files})


def _no_folder(folder: Path) -> BundleError:
    if os.path.exists(folder):  # noqa: PTH110 - as above
        fix = "open a bare ONNX file with open_onnx" if folder.suffix == ".onnx" else ""
        return BundleError(f"{folder}: not a bundle", expected="a folder", got="a file", fix=fix)
    # A build that was killed between its two renames has moved the old bundle aside (see export/bundle_writer.py).
    try:
        aside = sorted(folder.parent.glob(f".{glob.escape(folder.name)}.*.old"))
    except OSError:  # no system can hold the name
        aside = []
    fix = f"an interrupted build left the former bundle at {aside[-1]}: rename it back" if aside else ""
    return BundleError(f"{folder}: no such bundle", expected="a folder", got="nothing", fix=fix)


def _manifest_bytes(folder: Path) -> bytes:
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise BundleError(
            f"{folder}: not a bundle", expected=f"a file {MANIFEST_NAME} in the folder", got="no such file"
        )
    refuse_escape(folder, MANIFEST_NAME)
    try:
        return read_regular(path, most=MOST_MANIFEST_BYTES)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read", got=error.strerror or str(error)) from None


def _hold(folder: Path, digest: str | None, found: str) -> None:
    if digest is None:
        return
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        expected = "64 hexadecimal digits, as toolchain build prints them"
        raise InputError(f"{folder}: digest", expected=expected, got=repr(digest))
    if digest.lower() != found:
        fix = "fetch the bundle again; toolchain bench --store changes the digest and prints the new one"
        raise IntegrityError(f"{folder}: another bundle", expected=f"digest {digest.lower()}", got=found, fix=fix)
