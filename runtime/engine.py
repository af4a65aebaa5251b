"""Runs a bundle: images in, logits out, whatever backend computes them.

Rule: an engine is a function of 8-bit pixels. Float images in [0, 1] are rounded to pixels first (`pixels.py`), images
are run in pieces so that memory stays bounded, and a graph with a fixed batch is padded with black images that are cut
off again.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backends.installed import installed_version
from .backends.protocol import Backend
from .backends.table import BACKENDS, PROCESSOR_BACKENDS, BackendOpener, OpenedGraph
from .bundle.manifest import MANIFEST_NAME
from .bundle.reader import Bundle, check_files, read_bundle, read_manifest
from .errors import BundleFormatError, InputError, ModelError
from .files.onnx_file import OnnxFile, read_onnx
from .pixels import check_images, to_pixels
from .shapes import Float32, Int64, UInt8
from .unproved import UnprovedWarning, unproved

__all__ = ["AUTO", "Engine", "is_onnx_file", "load", "open_onnx"]

AUTO = "auto"
"""What stands for the fastest backend that is proved for a bundle on this machine (`fastest.py`)."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Engine:
    """A classifier that takes 8-bit images. Calls from several threads at once are safe.

    Attributes:
        backend: what computes.
        labels: the K class names, in the order of the logits.
        bundle: where it comes from; None for a bare ONNX file.
        max_batch: most images that are run at once, 1 or more; it bounds memory, not N.

    Raises:
        ModelError: the backend does not have one logit for each label.
        InputError: `max_batch` below 1.
    """

    backend: Backend
    labels: tuple[str, ...]
    bundle: Bundle | None = None
    max_batch: int = 256

    def __post_init__(self) -> None:
        if self.backend.classes != len(self.labels):
            raise ModelError(
                "labels", expected=f"{self.backend.classes}, as the graph's logits", got=str(len(self.labels))
            )
        if self.max_batch < 1:
            raise InputError("max_batch", expected="1 or more", got=str(self.max_batch))

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        return self.backend.input_shape

    def __call__(self, images: NDArray[Any]) -> Float32[NDArray[np.float32], "n k"]:
        """Logits of images.

        Args:
            images: [N, C, H, W], N >= 0, of any memory layout: uint8 pixels, or floats in [0, 1] that are rounded to
                pixels (round(255 x), half to even).

        Returns:
            float32 [N, K].

        Raises:
            ImageError: wrong type or shape, or floats that are not finite or outside [0, 1].
            ModelError: the backend failed.
        """
        images = check_images(images, shape=self.input_shape)
        logits = np.empty((len(images), len(self.labels)), np.float32)
        step = self.backend.batch or self.max_batch
        for start in range(0, len(images), step):
            pixels = to_pixels(images[start : start + step], first=start)
            logits[start : start + step] = self._run(pixels)
        return logits

    def predict(self, images: NDArray[Any]) -> Int64[NDArray[np.int64], " n"]:
        """The class of each image, int64 [N]: where the largest logit is (the first one of equals)."""
        return np.asarray(self(images).argmax(axis=1), np.int64)

    def _run(self, pixels: UInt8[NDArray[np.uint8], "n c h w"]) -> Float32[NDArray[np.float32], "n k"]:
        n = len(pixels)
        if self.backend.batch is not None and n < self.backend.batch:
            pixels = np.concatenate([pixels, np.zeros((self.backend.batch - n, *self.input_shape), np.uint8)])
        if self.backend.input_dtype == "float32":
            return self.backend.run(np.ascontiguousarray(pixels, np.float32) / np.float32(255))[:n]
        return self.backend.run(np.ascontiguousarray(pixels))[:n]


def load(
    path: str | Path | Bundle,
    *,
    backend: str = "onnxruntime",
    threads: int | None = None,
    check: bool = True,
    digest: str | None = None,
) -> Engine:
    """Open a bundle: its graph is read once, and the bytes that were hashed are the bytes that run.

    Args:
        path: the bundle's folder, or a bundle that was read, of which only the graph is read and hashed again.
        backend: a name in `BACKENDS`: "onnxruntime" or "openvino" on the processor, or "tensorrt" on the GPU, with the
            engine that `toolchain compile` built on this machine. "auto": the fastest on the processor of those that
            are installed and proved for this bundle here, measured once (`fastest.py`).
        threads: threads within an operator, 1 or more, no more than there are cores; None for every core. Only for a
            backend that takes them.
        check: hash every file of a folder (see `read_bundle`); without it the graph alone.
        digest: the bundle's, as `toolchain build` printed it, 64 hexadecimal digits; None takes any bundle.

    Raises:
        BundleError: the folder, its manifest or one of its files cannot be used, or no engine was built from it here.
        IntegrityError: a file is not the one that the manifest lists, or the manifest is not that of `digest`.
        ModelError: the graph or the engine cannot be used.
        InputError: `threads` out of range or given for the GPU, no such backend, no GPU, or `digest` is no SHA-256.
        MissingExtraError: the backend's packages are not installed.

    Warns:
        UnprovedWarning: the bundle was proved on other engines, or on other processors than this one (`unproved.py`).
    """
    if backend == AUTO:
        opened, message = _open_fastest(path, threads, check=check, digest=digest)
    else:
        opener = _opener(backend, threads)
        bundle, opened = _open(path, opener, threads, check=check, digest=digest)
        message = unproved(bundle.manifest, backend) if opener.on_processor else ""
    if message:
        warnings.warn(message, UnprovedWarning, stacklevel=2)
    return opened


def is_onnx_file(path: Path) -> bool:
    """Whether a path is taken for a bare ONNX file, for `open_onnx`; otherwise it is a bundle's, for `load`."""
    return path.suffix == ".onnx" and not path.is_dir()


def open_onnx(path: str | Path | OnnxFile, *, backend: str = "onnxruntime", threads: int | None = None) -> Engine:
    """Open a bare ONNX classifier; its labels are "0", "1", ...

    Args:
        path: an ONNX file with one input [N, C, H, W], uint8 pixels or float32 in [0, 1], and one output [N, K]; or
            such a file that was read, which is not read again.
        backend: a name in `BACKENDS`.
        threads: threads within an operator, 1 or more, no more than there are cores; None for every core. Only for a
            backend that takes them.

    Raises:
        ModelError: the file cannot be used.
        InputError: `threads` out of range, or no such backend.
        MissingExtraError: the backend's packages are not installed.
    """
    opener = _opener(backend, threads)
    graph = path if isinstance(path, OnnxFile) else read_onnx(path)
    opened = opener.open(graph, threads).backend
    return Engine(backend=opened, labels=tuple(str(index) for index in range(opened.classes)))


def _opener(backend: str, threads: int | None) -> BackendOpener:
    opener = BACKENDS.get(backend)
    if opener is None or (threads is not None and not opener.takes_threads):
        names = (name if row.takes_threads else f"{name} without threads" for name, row in BACKENDS.items())
        got = f"{backend!r}" if threads is None else f"{backend!r} with threads {threads}"
        raise InputError("backend", expected=" or ".join(names), got=got)
    return opener


def _open(
    path: str | Path | Bundle, opener: BackendOpener, threads: int | None, *, check: bool, digest: str | None
) -> tuple[Bundle, Engine]:
    if isinstance(path, Bundle):
        path.hold(digest)
        bundle, opened = path, opener.open(path.graph(), threads)
    else:
        bundle = read_manifest(path, digest=digest)
        opened = _open_checked(bundle, opener, threads, check=check)
    _compare(bundle, opened.fields)
    return bundle, Engine(backend=opened.backend, labels=bundle.manifest.output.classes, bundle=bundle)


def _open_fastest(
    path: str | Path | Bundle, threads: int | None, *, check: bool, digest: str | None
) -> tuple[Engine, str]:
    """The engine, and why its proofs do not hold here, "" where they do."""
    from .fastest import Choice, choose, recall, remember

    versions = {name: version for name in PROCESSOR_BACKENDS if (version := installed_version(name)) is not None}
    if isinstance(path, Bundle):
        path.hold(digest)
        bundle = path
    else:
        bundle = read_bundle(path, check=check, digest=digest)

    def opened(name: str) -> Engine:
        return _open(bundle, BACKENDS[name], threads, check=check, digest=digest)[1]

    default, *others = versions
    choice = recall(bundle, versions, threads) if others else Choice(backend=default, proved=False)
    if choice is None:
        engines = {default: opened(default)}
        for name in others:
            with suppress(ModelError):  # what another backend refuses is no candidate
                engines[name] = opened(name)
        choice = choose(bundle, engines)
        remember(choice, bundle, versions, threads)
    message = "" if choice.proved else unproved(bundle.manifest, choice.backend)
    return opened(choice.backend), message


def _open_checked(bundle: Bundle, opener: BackendOpener, threads: int | None, *, check: bool) -> OpenedGraph:
    """Open the graph while the other files are hashed: neither needs the processor that the other has."""
    graph = bundle.manifest.graph
    with ThreadPoolExecutor(max_workers=1) as pool:
        others = pool.submit(check_files, bundle, check=check, leave_out=graph)
        try:
            return opener.open(bundle.graph(), threads)
        finally:
            others.result()  # what is wrong with a file is told before what is wrong with the graph


def _compare(bundle: Bundle, found: Mapping[str, object]) -> None:
    """Refuse a manifest that says another thing than the graph."""
    manifest = bundle.manifest
    said = {
        "input.shape": list(manifest.input.shape),
        "input.dtype": manifest.input.dtype,
        "input.name": manifest.input.name,
        "output.name": manifest.output.name,
        "output.classes": f"{len(manifest.output.classes)} labels",
    }
    for field, in_graph in found.items():
        if said[field] != in_graph:
            what = f"{bundle.path}: {MANIFEST_NAME}: {field}"
            raise BundleFormatError(what, expected=f"{in_graph}, as in {manifest.graph}", got=str(said[field]))
