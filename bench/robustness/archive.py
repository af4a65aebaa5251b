"""A verdict in a file, so that anyone can replay it: the images, every candidate that broke something, and what.

Rule: a NumPy .npz without pickles. Of the N attacked images: `images` uint8 [N, C, H, W], `labels` and `indices` (place
in the test split) int64 [N]. Of the M candidates that broke the engine or its twin: `adversarial` uint8 [M, C, H, W],
`rows` int64 [M] (which image), `attacks` int64 [M] (which attack), `on_engine` and `on_twin` bool [M]. `header` is JSON
with the threat model, the attacks, the SHA-256 of the engine's graph and of every array. A file is read only if every
array fits its hash, no image is of the target's class, and every candidate is inside the ball (`ThreatModel.contains`).

Needs numpy alone, so that a verdict can be checked without torch.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import DataError, InputError, RecipeError
from ...runtime.files.atomic import write_whole
from ...runtime.files.npz import read_arrays
from ..attacks.threat.threat_model import ThreatModel
from .doubt import NO_WHITE_BOX

__all__ = ["FORMAT_VERSION", "MOST_BYTES", "Archive", "read_archive", "write_archive"]

FORMAT_VERSION = 1
"""The only one that is written and read."""

MOST_BYTES = 2**32
"""Bytes of a verdict's arrays, unpacked: 28,000 pictures of 3 x 224 x 224."""

_MOST, _LONGEST = 64, 64
"""Alarms, or answers to an image; and letters of a name."""

_ARRAYS = {"images": "u1", "labels": "i8", "indices": "i8", "adversarial": "u1"}
_ARRAYS |= {"rows": "i8", "attacks": "i8", "on_engine": "b1", "on_twin": "b1"}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Archive:
    """What the module's rule says.

    Attributes:
        header: "threat" with "norm", "epsilon" and "target" (a class or null); "classes", how many; "attacks", each
            with "name", "target" and "settings", in the order of `attacks`' numbers; "clean" and "robust", how many of
            the N images the engine gets right, and of these withstand every candidate; "alarms", the names of those
            that were raised, a list; "draws", answers to an image, more than 1 where the engine is random; "backend",
            what ran the engine; and whatever else is known.

    Raises:
        DataError: a header out of range, arrays that contradict it or each other, or a candidate outside the ball.
    """

    header: Mapping[str, Any]
    images: NDArray[np.uint8] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    indices: NDArray[np.int64] = field(repr=False)
    adversarial: NDArray[np.uint8] = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)
    attacks: NDArray[np.int64] = field(repr=False)
    on_engine: NDArray[np.bool_] = field(repr=False)
    on_twin: NDArray[np.bool_] = field(repr=False)

    def __post_init__(self) -> None:
        for name, kind in _ARRAYS.items():
            array = getattr(self, name)
            _expect(array.dtype == np.dtype(kind), name, str(np.dtype(kind)), str(array.dtype))
        n, m = len(self.labels), len(self.rows)
        _expect(self.images.ndim == 4 and n >= 1, "images", "[N, C, H, W], N >= 1", str(list(self.images.shape)))
        shape = self.images.shape[1:]
        expected = {"images": (n, *shape), "labels": (n,), "indices": (n,), "adversarial": (m, *shape)}
        expected |= {"rows": (m,), "attacks": (m,), "on_engine": (m,), "on_twin": (m,)}
        for name, shape in expected.items():
            found = getattr(self, name).shape
            _expect(found == shape, name, str(list(shape)), str(list(found)))
        _check_header(self.header, n)
        for name, below in (("labels", self.header["classes"]), ("rows", n), ("attacks", len(self.names))):
            array = getattr(self, name)
            _expect(bool(((array >= 0) & (array < below)).all()), name, f"numbers below {below}", "others")
        target = self.threat.target
        already = 0 if target is None else int((self.labels == target).sum())
        _expect(not already, "labels", f"no image of the target class {target}", f"{already} of {n}")
        outside = int((~self.threat.contains(self.adversarial, self.images[self.rows])).sum())
        _expect(not outside, "adversarial", f"every candidate in {self.threat}", f"{outside} of {m} outside")

    @property
    def names(self) -> tuple[str, ...]:
        """The attacks' names."""
        return tuple(str(attack["name"]) for attack in self.header["attacks"])

    @property
    def backend(self) -> str:
        """What ran the engine that the verdict is about."""
        return str(self.header.get("backend", "onnxruntime"))

    @property
    def draws(self) -> int:
        """Answers to an image that the verdict is about."""
        return int(self.header.get("draws", 1))

    @property
    def alarms(self) -> tuple[str, ...]:
        """The names of the alarms that were raised; without white-box attacks that one, whatever the header says."""
        found = dict.fromkeys(map(str, self.header.get("alarms", [])))
        white = any(attack["target"] == "twin" for attack in self.header["attacks"])
        return tuple(found if white else found | {NO_WHITE_BOX: None})

    @property
    def threat(self) -> ThreatModel:
        """The threat model that the candidates were searched in."""
        about = self.header["threat"]
        return ThreatModel(about["norm"], about["epsilon"], about["target"])


def write_archive(archive: Archive, path: Path) -> None:
    """Store a verdict at `path`, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    arrays = {name: np.ascontiguousarray(getattr(archive, name)) for name in _ARRAYS}
    digests = {name: hashlib.sha256(array.data).hexdigest() for name, array in arrays.items()}
    header = json.dumps({**archive.header, "format_version": FORMAT_VERSION, "sha256": digests}, sort_keys=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, header=np.array(header), **arrays)
    try:
        write_whole(path, buffer.getvalue())
    except OSError as error:
        raise InputError(f"{path}: cannot write the verdict", got=error.strerror or str(error)) from None


def read_archive(path: Path) -> Archive:
    """Read what `write_archive` wrote, and check it.

    Raises:
        DataError: no such file, no verdict, of another format, damaged, or with a candidate outside the ball.
    """
    what = f"format_version {FORMAT_VERSION}, written by `toolchain bench`"
    try:
        found, _ = read_arrays(path, ("header", *_ARRAYS), most=MOST_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot be read", expected="a verdict", got=error.strerror or str(error)) from None
    except DataError as error:
        raise DataError(f"{path}: no verdict", expected=what, got=error.got) from None
    try:
        header = json.loads(str(found["header"]))
        version = header.get("format_version")
        if version != FORMAT_VERSION:
            raise ValueError(f"format_version {version}")
        arrays = {name: found[name] for name in _ARRAYS}
        for name, array in arrays.items():
            if hashlib.sha256(np.ascontiguousarray(array).data).hexdigest() != header["sha256"][name]:
                raise ValueError(f"{name}: SHA-256 differs")
        return Archive(header=header, **arrays)
    except DataError as error:
        raise DataError(f"{path}: {error.what}", expected=error.expected, got=error.got) from None
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, MemoryError) as error:
        raise DataError(f"{path}: no verdict", expected=what, got=f"{type(error).__name__}: {error}") from None


def _check_header(header: Mapping[str, Any], n: int) -> None:
    """What is read of a header; `n` images."""
    classes, threat = header["classes"], header["threat"]
    norm, epsilon, target = threat["norm"], threat["epsilon"], threat["target"]
    _expect(_whole(classes, 1), "header.classes", "a whole number >= 1", repr(classes))
    number = isinstance(epsilon, int | float) and not isinstance(epsilon, bool)
    _expect(number, "header.threat.epsilon", "a number", repr(epsilon))
    fits = target is None or _whole(target, 0, classes - 1)
    _expect(fits, "header.threat.target", f"null or a class below {classes}", repr(target))
    try:
        ThreatModel(norm, epsilon, target)
    except RecipeError as error:
        raise DataError(f"header.threat: {error.what}", expected=error.expected, got=error.got) from None
    _expect(_whole(header.get("draws", 1), 1, _MOST), "header.draws", f"1 to {_MOST}", repr(header.get("draws")))
    backend = header.get("backend", "")
    _expect(isinstance(backend, str) and len(backend) <= _LONGEST, "header.backend", "a name", repr(backend)[:100])
    alarms = header.get("alarms", [])
    fits = isinstance(alarms, list) and all(isinstance(name, str) and len(name) <= _LONGEST for name in alarms[:_MOST])
    _expect(fits and len(alarms) <= _MOST, "header.alarms", "a short list of names", repr(alarms)[:100])
    for attack in header["attacks"]:
        _expect(isinstance(attack["target"], str), "header.attacks", "each with a target", repr(attack)[:100])
    for name in ("clean", "robust"):
        count = header.get(name, 0)
        _expect(_whole(count, 0, n), f"header.{name}", f"0 to {n} images", repr(count))


def _whole(value: object, least: int, most: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _expect(holds: bool, what: str, expected: str, got: str) -> None:
    if not holds:
        raise DataError(what, expected=expected, got=got)
