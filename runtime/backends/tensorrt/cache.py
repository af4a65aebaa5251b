"""TensorRT engines as a local cache: `<key>.engine` and `<key>.json` in the user's cache folder.

Rule: an engine is rebuilt from the proved ONNX graph on each GPU and never trusted from elsewhere, because to
deserialize one is to run its code. An entry counts only if it lies in a folder that nobody but this user can write to,
its format is known and the engine's SHA-256 fits; anything else must be asked for with `trust`. Compiler and runtime
share this file.

    key = SHA-256 of (graph's SHA-256, TensorRT, compute capability, driver, flags, profiles), first 32 hex digits
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import BundleError, BundleFormatError, IntegrityError
from ...files import user_cache
from ...files.atomic import replace_file
from ...files.json_fields import exact_keys, integer, items, json_object, kind, parse_object, text, under
from ...files.onnx_file import OnnxFile
from ...files.user_cache import check_private

__all__ = [
    "CachedEngine",
    "Tensor",
    "cache_folder",
    "check_folder",
    "engine_key",
    "find_engine",
    "read_engine",
    "write_engine",
]

FORMAT_VERSION = 1

_SHA256 = re.compile(r"[0-9a-f]{64}")
_DTYPES = ("uint8", "float16", "float32")
_AMPERE = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """An engine's input or output.

    Attributes:
        name: in the engine.
        dtype: "uint8", "float16" or "float32".
        shape: without the batch: (C, H, W), or (K,).
        scale: what the engine takes for one step of a pixel (1.0: pixels as they are); 1.0 for logits.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float = 1.0

    def __post_init__(self) -> None:
        text(self.name, "name")
        if text(self.dtype, "dtype") not in _DTYPES:
            raise BundleFormatError("dtype", expected=", ".join(_DTYPES), got=repr(self.dtype))
        shape = tuple(integer(size, f"shape[{axis}]", least=1) for axis, size in enumerate(items(self.shape, "shape")))
        object.__setattr__(self, "shape", shape)
        if isinstance(self.scale, bool) or not isinstance(self.scale, (int, float)) or not self.scale > 0:
            raise BundleFormatError("scale", expected="a number above 0", got=repr(self.scale))


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedEngine:
    """What an entry says about its engine.

    Attributes:
        graph_sha256: of the bundle's ONNX file with every weight inside.
        engine_sha256: of the serialized engine.
        tensorrt: the version that built it.
        compute_capability, gpu, driver: of the machine that built it; the driver by the newest CUDA that it runs.
        flags: what it was asked to be: "fp16", "version_compatible", "hardware_compatible", "tuned"; and "placement",
            which came of it.
        profiles: (least, typical, largest) batch of each optimization profile.
        input, output: its tensors.
    """

    format_version: int = FORMAT_VERSION
    graph_sha256: str
    engine_sha256: str
    tensorrt: str
    compute_capability: str
    gpu: str
    driver: str
    flags: Mapping[str, Any]
    profiles: tuple[tuple[int, int, int], ...]
    input: Tensor
    output: Tensor

    def __post_init__(self) -> None:
        if self.format_version != FORMAT_VERSION or isinstance(self.format_version, bool):
            raise BundleFormatError(
                "format_version", expected=str(FORMAT_VERSION), got=repr(self.format_version), fix="compile again"
            )
        for field in ("graph_sha256", "engine_sha256"):
            if not _SHA256.fullmatch(text(getattr(self, field), field)):
                raise BundleFormatError(field, expected="64 lower-case hexadecimal digits", got=getattr(self, field))
        for field in ("tensorrt", "compute_capability", "gpu", "driver"):
            text(getattr(self, field), field)
        object.__setattr__(self, "flags", json_object(self.flags, "flags"))
        object.__setattr__(
            self, "profiles", tuple(_profile(p, i) for i, p in enumerate(items(self.profiles, "profiles")))
        )
        for field in ("input", "output"):
            if not isinstance(getattr(self, field), Tensor):
                raise BundleFormatError(field, expected="a tensor", got=kind(getattr(self, field)))

    @property
    def key(self) -> str:
        """What the entry's files are called."""
        return engine_key(
            graph_sha256=self.graph_sha256,
            tensorrt=self.tensorrt,
            compute_capability=self.compute_capability,
            driver=self.driver,
            flags=self.flags,
            profiles=self.profiles,
        )

    def mismatch(self, *, tensorrt: str, compute_capability: str) -> str:
        """Why the engine cannot run here; "" where it can.

        A hardware-compatible engine runs from compute capability 8.0 on, a version-compatible one under later versions
        of the same major number.
        """
        here = tuple(int(part) for part in compute_capability.split("."))
        if compute_capability != self.compute_capability and not (
            self.flags.get("hardware_compatible") and here[0] >= _AMPERE
        ):
            return f"built for compute capability {self.compute_capability}, found {compute_capability}"
        mine, theirs = (tuple(int(n) for n in re.findall(r"\d+", v)) for v in (self.tensorrt, tensorrt))
        later = bool(self.flags.get("version_compatible")) and mine[:1] == theirs[:1] and mine <= theirs
        return "" if mine == theirs or later else f"built with TensorRT {self.tensorrt}, found {tensorrt}"

    def to_json(self) -> str:
        """Keys sorted, two spaces of indent; `read_engine` gives it back."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, allow_nan=False) + "\n"


def engine_key(
    *,
    graph_sha256: str,
    tensorrt: str,
    compute_capability: str,
    driver: str,
    flags: Mapping[str, Any],
    profiles: Sequence[Sequence[int]],
) -> str:
    """The key of an engine, known before it is built; arguments as in `CachedEngine`."""
    asked = {name: value for name, value in sorted(flags.items()) if name != "placement"}
    facts = [graph_sha256, tensorrt, compute_capability, driver, asked, [list(sizes) for sizes in profiles]]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def cache_folder() -> Path:
    """Where engines lie."""
    return user_cache.cache_folder("engines")


def write_engine(folder: Path, entry: CachedEngine, engine: bytes) -> Path:
    """Put an engine into the cache; readable by this user alone.

    Returns:
        The path of the engine.

    Raises:
        BundleError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for suffix, content in (("engine", engine), ("json", entry.to_json().encode())):
            # the entry last: without it an engine is not looked at
            temporary = folder / f".{secrets.token_hex(8)}"  # two processes may build one engine
            replace_file(folder / f"{entry.key}.{suffix}", content, temporary=temporary, private=True)
    except OSError as error:
        raise BundleError(f"{folder}: cannot write the engine", got=error.strerror or str(error)) from None
    return folder / f"{entry.key}.engine"


def read_engine(path: Path, *, trust: bool = False) -> tuple[CachedEngine, bytes]:
    """An engine with its entry.

    Args:
        path: of the engine; its entry lies beside it.
        trust: take it from a folder that others may write to. Deserializing an engine runs its code.

    Raises:
        BundleError: a file is missing.
        BundleFormatError: the entry cannot be used.
        IntegrityError: the engine is not the one that the entry describes, or others may have written it.
    """
    if not trust:
        check_folder(path.parent)
    entry_path = path.with_suffix(".json")
    try:
        source, engine = entry_path.read_text(encoding="utf-8"), path.read_bytes()
    except UnicodeDecodeError as error:
        raise BundleFormatError(f"{entry_path}: invalid JSON", expected="UTF-8 text", got=str(error)) from None
    except OSError as error:
        raise BundleError(f"{error.filename}: cannot be read", got=error.strerror or str(error)) from None
    with under(f"{entry_path}: "):
        entry = _entry(source)
    found = hashlib.sha256(engine).hexdigest()
    if found != entry.engine_sha256:
        raise IntegrityError(f"{path}: changed", expected=entry.engine_sha256, got=found, fix="compile it again")
    return entry, engine


def find_engine(folder: Path, graph: OnnxFile, *, tensorrt: str, compute_capability: str) -> tuple[CachedEngine, bytes]:
    """The newest engine in the cache that was built from `graph` and runs here.

    Raises:
        BundleError: there is none; the message says what there is and how to build one.
        IntegrityError: the cache cannot be trusted.
    """
    wanted, reasons = hashlib.sha256(graph.whole()).hexdigest(), []
    if folder.is_dir():
        check_folder(folder)
    for path in sorted(folder.glob("*.engine"), key=lambda p: p.stat().st_mtime, reverse=True):
        try:
            entry, engine = read_engine(path)
        except BundleError as error:
            reasons.append(str(error))
            continue
        if entry.graph_sha256 == wanted:
            reason = entry.mismatch(tensorrt=tensorrt, compute_capability=compute_capability)
            if not reason:
                return entry, engine
            reasons.append(reason)
    raise BundleError(
        f"{graph.path.parent}: no TensorRT engine for this GPU",
        expected=f"compute capability {compute_capability}, TensorRT {tensorrt}",
        got=reasons[0] if reasons else "none in the cache",
        fix=f"toolchain compile {graph.path.parent} --target tensorrt",
    )


def _entry(source: str) -> CachedEngine:
    value = parse_object(source)
    if value.get("format_version") != FORMAT_VERSION:
        raise BundleFormatError("format_version", expected=str(FORMAT_VERSION), got=repr(value.get("format_version")))
    exact_keys(CachedEngine, value)
    for field in ("input", "output"):
        if not isinstance(value[field], dict):
            raise BundleFormatError(field, expected="an object", got=kind(value[field]))
        with under(f"{field}."):
            value[field] = Tensor(**exact_keys(Tensor, value[field]))
    return CachedEngine(**value)


def _profile(value: object, index: int) -> tuple[int, int, int]:
    where = f"profiles[{index}]"
    sizes = tuple(integer(size, where, least=1) for size in items(value, where))
    if len(sizes) != 3 or not sizes[0] <= sizes[1] <= sizes[2]:
        raise BundleFormatError(where, expected="least <= typical <= largest", got=repr(value))
    return sizes[0], sizes[1], sizes[2]


def check_folder(folder: Path) -> None:
    """Refuse a folder that somebody else can write to: it may hold somebody else's code.

    Raises:
        BundleError: it cannot be read.
        IntegrityError: it is not this user's alone.
    """
    check_private(folder, what="engines", fix="compile here, or say --trust-engine if you know who built it")
