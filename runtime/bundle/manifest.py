"""The manifest of a bundle: one type from the build that writes it to the engine that reads it.

Rule: `manifest.json` is an object whose keys are exactly the fields below, all of them, sorted, with two spaces of
indent. A manifest that exists is valid: every check runs on construction, whether the values come from JSON or from a
caller. Names, labels, versions and all other text is printable; the free objects (recipe, quantization, layers,
measurements, proofs) hold any JSON, and who shows a value of theirs makes it so (`printable.py`). Style:
pypa/packaging, `src/packaging/pylock.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from ..errors import BundleFormatError
from ..files.json_fields import exact_keys, integer, items, json_object, kind, number, parse_object, text, under
from ..files.read_once import MOST_BYTES
from ..graph_check.limits import MOST_CLASSES
from .bundle_limits import MOST_BUNDLE_BYTES, MOST_FILES, MOST_LABEL_CHARACTERS

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST_NAME",
    "FileEntry",
    "Input",
    "Manifest",
    "Output",
    "Provenance",
    "check_path",
]

FORMAT_VERSION = 1
"""The format that this version writes, and the only one that it reads."""

MANIFEST_NAME = "manifest.json"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_UTC = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?(Z|\+00:00)")


def check_path(value: object, where: str) -> str:
    """`value` as a path that stays inside a bundle on every system: relative, '/' between parts, no '..', no ':'.

    Raises:
        BundleFormatError: anything else, the manifest's own name included.
    """
    path = text(value, where)
    parts = PurePosixPath(path)
    plain = not set(path) & set('\\:*?"<>|')
    if not plain or parts.is_absolute() or ".." in parts.parts or not parts.parts or parts.as_posix() != path:
        raise BundleFormatError(
            where, expected="a relative path with '/' between its parts and no '..'", got=repr(path)
        )
    if path.casefold() == MANIFEST_NAME:
        raise BundleFormatError(where, expected=f"any name but {MANIFEST_NAME}", got=repr(path))
    return path


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    """One file of a bundle: posix path relative to the folder, SHA-256 in 64 lower-case hex digits, size in bytes."""

    path: str
    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        check_path(self.path, "path")
        if not _SHA256.fullmatch(text(self.sha256, "sha256")):
            raise BundleFormatError("sha256", expected="64 lower-case hexadecimal digits", got=repr(self.sha256))
        if integer(self.bytes, "bytes", least=0) > MOST_BYTES:
            raise BundleFormatError("bytes", expected=f"at most {MOST_BYTES}", got=str(self.bytes))


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """The graph's input: shape (C, H, W) without the batch, "uint8" pixels or "float32" in [0, 1], the graph's name."""

    shape: tuple[int, int, int]
    dtype: str = "uint8"
    name: str

    def __post_init__(self) -> None:
        shape = items(self.shape, "shape")
        if len(shape) != 3:
            raise BundleFormatError(
                "shape", expected="three integers: channels, height, width", got=f"{len(shape)} values"
            )
        shape = tuple(integer(size, f"shape[{axis}]", least=1) for axis, size in enumerate(shape))
        object.__setattr__(self, "shape", shape)
        if text(self.dtype, "dtype") not in ("uint8", "float32"):
            raise BundleFormatError("dtype", expected="uint8 or float32", got=repr(self.dtype))
        text(self.name, "name")


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """The graph's output: the label of each logit in order, name in the graph."""

    classes: tuple[str, ...]
    name: str

    def __post_init__(self) -> None:
        labels = items(self.classes, "classes")
        if not 1 <= len(labels) <= MOST_CLASSES:
            raise BundleFormatError("classes", expected=f"1 to {MOST_CLASSES} labels", got=str(len(labels)))
        most = MOST_LABEL_CHARACTERS
        classes = tuple(text(label, f"classes[{index}]", most=most) for index, label in enumerate(labels))
        object.__setattr__(self, "classes", classes)
        text(self.name, "name")


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where a bundle comes from.

    `created` is ISO 8601 in UTC ("2025-01-31T12:00:00Z"), `recipe` the whole recipe, `versions` the version of each
    package that took part, `instruction_set` and `cpu` the processor that the proofs ran on (see `cpu.py`).
    """

    created: str
    recipe: Mapping[str, Any]
    seed: int
    versions: Mapping[str, str]
    instruction_set: str
    cpu: str

    def __post_init__(self) -> None:
        _check_utc(self.created, "created")
        object.__setattr__(self, "recipe", json_object(self.recipe, "recipe"))
        integer(self.seed, "seed")
        versions = json_object(self.versions, "versions")
        checked = {text(name, "versions"): text(item, f"versions.{name}") for name, item in versions.items()}
        object.__setattr__(self, "versions", checked)
        text(self.instruction_set, "instruction_set")
        text(self.cpu, "cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Everything a bundle says about itself.

    Attributes:
        format_version: `FORMAT_VERSION`.
        name: the model's name, for people.
        graph: path of the ONNX graph that the engine runs; listed in `files`.
        dense: path of the dense float ONNX that it was made from, or None; listed in `files`.
        files: every file of the bundle but the manifest; no path twice, on systems that ignore case too.
        quantization: the scheme, "scales" ("power-of-two" or "free") and whatever else it records; empty for a float
            graph. The runtime reads "activation_type", "activation_bits" and "weight_bits", the widest in the
            graph; "uint8", 8 and 8 where they are missing.
        layers: what compression did, layer by layer.
        measurements: measured numbers; each has at least "name", "value" (a finite number) and "unit".
        proofs: what the proofs found, by proof.

    Raises:
        BundleFormatError: a field of the wrong type or value; `what` is its path, "files[2].sha256".
    """

    format_version: int = FORMAT_VERSION
    name: str
    input: Input
    output: Output
    graph: str
    dense: str | None
    files: tuple[FileEntry, ...]
    provenance: Provenance
    quantization: Mapping[str, Any]
    layers: tuple[Mapping[str, Any], ...]
    measurements: tuple[Mapping[str, Any], ...]
    proofs: Mapping[str, Any]

    def __post_init__(self) -> None:
        _check_version(self.format_version)
        text(self.name, "name")
        for field, value, cls in (
            ("input", self.input, Input),
            ("output", self.output, Output),
            ("provenance", self.provenance, Provenance),
        ):
            if not isinstance(value, cls):
                raise BundleFormatError(field, expected=cls.__name__, got=kind(value))
        object.__setattr__(self, "files", items(self.files, "files"))
        if len(self.files) > MOST_FILES:
            raise BundleFormatError("files", expected=f"at most {MOST_FILES}", got=str(len(self.files)))
        seen: dict[str, int] = {}
        for index, entry in enumerate(self.files):
            if not isinstance(entry, FileEntry):
                raise BundleFormatError(f"files[{index}]", expected="FileEntry", got=kind(entry))
            first = seen.setdefault(entry.path.casefold(), index)
            if first != index:
                raise BundleFormatError(
                    f"files[{index}].path", expected="each path once", got=f"that of files[{first}]"
                )
        if (total := sum(entry.bytes for entry in self.files)) > MOST_BUNDLE_BYTES:
            raise BundleFormatError("files", expected=f"at most {MOST_BUNDLE_BYTES} bytes together", got=str(total))
        paths = {entry.path for entry in self.files}
        for field, path in (("graph", self.graph), ("dense", self.dense)):
            if not (field == "dense" and path is None) and check_path(path, field) not in paths:
                raise BundleFormatError(field, expected="a path that is listed in files", got=repr(path))
        for field in ("quantization", "proofs"):
            object.__setattr__(self, field, json_object(getattr(self, field), field))
        for field in ("layers", "measurements"):
            rows = items(getattr(self, field), field)
            rows = tuple(json_object(row, f"{field}[{index}]") for index, row in enumerate(rows))
            object.__setattr__(self, field, rows)
        for index, row in enumerate(self.measurements):
            _check_measurement(row, f"measurements[{index}]")

    @classmethod
    def from_json(cls, source: str) -> Manifest:
        """Read a manifest.

        Raises:
            BundleFormatError: no JSON, an unknown format version, a key missing or unknown, a value of the wrong type.
                `what` is "manifest.json: " and the path of the field.
        """
        with under(f"{MANIFEST_NAME}: "):
            value = parse_object(source)
            # First of all: in another format any other key may differ, and "unknown key" would mislead.
            _check_version(value.get("format_version"))
            exact_keys(cls, value)
            value["files"] = items(value["files"], "files")
            files = tuple(_nested(FileEntry, entry, f"files[{index}]") for index, entry in enumerate(value["files"]))
            return cls(
                **value
                | {
                    "files": files,
                    "input": _nested(Input, value["input"], "input"),
                    "output": _nested(Output, value["output"], "output"),
                    "provenance": _nested(Provenance, value["provenance"], "provenance"),
                }
            )

    def to_json(self) -> str:
        """The manifest as JSON: keys sorted, two spaces of indent, ASCII; `from_json` gives it back."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, allow_nan=False) + "\n"


def _nested(cls: type, value: object, where: str) -> Any:
    if not isinstance(value, dict):
        raise BundleFormatError(where, expected="an object", got=kind(value))
    with under(f"{where}."):
        return cls(**exact_keys(cls, value))


def _check_version(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise BundleFormatError("format_version", expected="an integer", got=kind(value))
    if value != FORMAT_VERSION:
        raise BundleFormatError(
            "format_version",
            expected=str(FORMAT_VERSION),
            got=str(integer(value, "format_version")),
            fix="upgrade hardtemper" if value > FORMAT_VERSION else "",
        )


def _check_utc(value: object, where: str) -> None:
    stamp = text(value, where)
    match = _UTC.fullmatch(stamp)
    try:
        if match is None:
            raise ValueError
        datetime.fromisoformat(match[1])
    except ValueError:
        raise BundleFormatError(where, expected="ISO 8601 in UTC, 2025-01-31T12:00:00Z", got=repr(stamp)) from None


def _check_measurement(row: Mapping[str, Any], where: str) -> None:
    for key in ("name", "unit"):
        text(row.get(key), f"{where}.{key}")
    number(row.get("value"), f"{where}.value")
