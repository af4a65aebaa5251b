"""An ONNX file with its weights, wherever they lie, each file read once: what is hashed is what runs.

Rule: engine and twin are made from these bytes, never from the path again. ONNX Runtime is given `whole`, in which no
tensor names another file, so it opens none by itself.

    digest = SHA-256(hex SHA-256 of the graph file, then of each weights file, by name)

A tensor that lies in another file names it under the key "location" (TensorProto.external_data). Those letters cannot
be written in another way in protobuf, and the byte before them ends their length, so a graph without them keeps every
weight inside. Only where they occur is the package onnx needed.

A packed file (`packed_graph.py`) is unpacked here, at once: whoever opens a graph, and its digest, see the ONNX file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from .packed_graph import is_packed, unpack_graph
from .read_once import MOST_BYTES, read_regular

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

__all__ = ["OnnxFile", "read_onnx"]

_OUTSIDE = (b"\x08location", b"\x00location")
"""The letters behind their length: 8, as one byte or padded to more."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OnnxFile:
    """An ONNX file that was read.

    Attributes:
        path: where it lay; errors name it.
        content: its bytes, unpacked.
        outside: the files that it keeps weights in, by the name that it gives them.
        packed: its bytes as they lay there, where these were packed; else None.
    """

    path: Path
    content: bytes = field(repr=False)
    outside: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    packed: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, path: Path, content: bytes, read: Callable[[str], bytes]) -> OnnxFile:
        """From bytes that were read, and the files that these name.

        Args:
            path: where they lay.
            content: the bytes.
            read: gives the bytes of a weights file, by its relative path from the graph's folder.

        Raises:
            ModelError: it keeps weights in other files and onnx is not installed, or a name leads out of the folder.
            BundleFormatError, IntegrityError: it is packed and cannot be unpacked.
        """
        packed = content if is_packed(content) else None
        if packed is not None:
            content = unpack_graph(packed, path)
        if not any(mark in content for mark in _OUTSIDE):
            return cls(path=path, content=content, packed=packed)
        tensors = _outside(_parse(path, content))
        names = sorted({_location(path, _entries(tensor)) for tensor in tensors})
        return cls(path=path, content=content, outside={name: read(name) for name in names}, packed=packed)

    @property
    def stored(self) -> tuple[bytes, ...]:
        """The file and those that it keeps weights in, as they lie on disk."""
        return (self.content if self.packed is None else self.packed, *self.outside.values())

    @property
    def digest(self) -> str:
        """SHA-256 over the file and the files that it keeps weights in, as 64 hex digits."""
        files = (self.content, *(self.outside[name] for name in sorted(self.outside)))
        return hashlib.sha256("".join(hashlib.sha256(file).hexdigest() for file in files).encode()).hexdigest()

    def whole(self) -> bytes:
        """The file as it would be with every weight inside.

        Raises:
            ModelError: a weight lies beyond the end of its file, or all of them are more than one ONNX file can hold.
        """
        if not self.outside:
            return self.content
        model = _parse(self.path, self.content)
        found = [(tensor, self._weights(tensor)) for tensor in _outside(model)]
        total = len(self.content) + sum(len(weights) for _, weights in found)
        if total > MOST_BYTES:
            what = f"{self.path}: too large with its weights"
            raise ModelError(what, expected=f"{MOST_BYTES} bytes, the most of an ONNX message", got=f"{total} bytes")
        for tensor, weights in found:
            tensor.raw_data = bytes(weights)
            del tensor.external_data[:]
            tensor.ClearField("data_location")
        content: bytes = model.SerializeToString()
        return content

    def _weights(self, tensor: TensorProto) -> memoryview:
        entries = _entries(tensor)
        content = memoryview(self.outside[entries["location"]])
        where = {key: entries.get(key, "") for key in ("offset", "length")}
        what = f"{self.path}: weights {tensor.name!r} in {entries['location']}"
        if not all(value.isascii() and value.isdecimal() and len(value) < 20 for value in where.values() if value):
            raise ModelError(what, expected="whole numbers as offset and length", got=str(where))
        start = int(where["offset"] or 0)
        end = start + int(where["length"]) if where["length"] else len(content)
        if not start <= end <= len(content):
            raise ModelError(what, expected=f"{len(content)} bytes at most", got=f"bytes {start} to {end}")
        return content[start:end]


def read_onnx(path: str | Path) -> OnnxFile:
    """Read a bare ONNX file, and the files in its folder that it keeps weights in.

    Raises:
        ModelError: no such file, or it cannot be read; weights that lie outside of the file's folder, or that need the
            package onnx to be found.
        BundleFormatError, IntegrityError: it is packed and cannot be unpacked.
    """
    path = Path(path)
    # unlike Path.is_file, os.path.isfile says no to a name that no system can hold
    if not os.path.isfile(path):  # noqa: PTH113
        got = "a folder" if os.path.isdir(path) else "nothing"  # noqa: PTH112
        raise ModelError(f"{path}: no such model", expected="an ONNX file", got=got)
    return OnnxFile.of(path, _read(path), lambda name: _read(_beside(path, name)))


def _read(path: Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read", got=error.strerror or str(error)) from None


def _beside(path: Path, name: str) -> Path:
    """A weights file in the graph's folder."""
    real = os.path.realpath(path.parent / name)
    if not Path(real).is_relative_to(os.path.realpath(path.parent)):
        got, fix = f"a link to {real}", "copy the model, links followed (cp -L), into a folder of its own"
    elif not os.path.isfile(real):  # noqa: PTH113 - as above
        got, fix = "no such file", ""
    else:
        return Path(real)
    raise ModelError(f"{path}: weights in {name!r}", expected="a file in its folder", got=got, fix=fix)


def _parse(path: Path, content: bytes) -> ModelProto:
    try:
        import onnx
    except ModuleNotFoundError:
        raise ModelError(
            f"{path}: weights in other files are found with the package onnx, which is not installed",
            fix="pip install onnx, or store the weights in the file where onnx is: onnx.save(onnx.load(path), path)",
        ) from None
    try:
        return onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's exceptions differ between its implementations
        raise ModelError(f"{path}: no ONNX file", got=type(error).__name__) from None


def _outside(message: Any) -> Iterator[TensorProto]:
    """The tensors in a message, at any depth, that lie in another file."""
    from onnx import TensorProto

    if isinstance(message, TensorProto):
        if message.data_location == TensorProto.EXTERNAL:
            yield message
        return
    for _, value in message.ListFields():
        parts = [value] if hasattr(value, "ListFields") else value if hasattr(value, "add") else ()
        for part in parts:
            yield from _outside(part)


def _entries(tensor: TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _location(path: Path, entries: Mapping[str, str]) -> str:
    """The name of a weights file, which stays in the graph's folder on every system."""
    name = entries.get("location", "")
    parts = PurePosixPath(name)
    if not parts.parts or parts.is_absolute() or ".." in parts.parts or set(name) & set('\\:*?"<>|\0'):
        raise ModelError(f"{path}: weights in {name!r}", expected="a file in its folder, by a relative path")
    return name
