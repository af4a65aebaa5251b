"""Runs a bundle: images in, logits out, whatever backend computes them.

Rule: an engine is a function of 8-bit pixels. Float images in [0, 1] are rounded to pixels first (`pixels.py`), images
are run in pieces so that memory stays bounded, and a graph with a fixed batch is padded with black images that are cut
off again.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backends.onnxruntime import OnnxRuntimeBackend
from .backends.protocol import Backend
from .backends.table import BACKENDS, BackendOpener, OpenedGraph
from .bundle.manifest import MANIFEST_NAME, Manifest
from .bundle.reader import Bundle, check_files, read_manifest
from .cpu import instruction_set, sums_can_saturate
from .errors import BundleFormatError, InputError, ModelError
from .files.onnx_file import OnnxFile, read_onnx
from .pixels import check_images, to_pixels
from .shapes import Float32, Int64, UInt8

__all__ = ["Engine", "InstructionSetWarning", "is_onnx_file", "load", "open_onnx"]


class InstructionSetWarning(UserWarning):
    """This processor may compute other logits than the one that the bundle was proved on."""


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
        backend: a name in `BACKENDS`: "onnxruntime" on the processor, or "tensorrt" on the GPU, with the engine that
            `toolchain compile` built on this machine.
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
        InstructionSetWarning: the bundle was proved on another processor, and this one's uint8 x int8 kernels can
            saturate, or it is of another architecture.
    """
    opener = BACKENDS.get(backend)
    if opener is None or (threads is not None and not opener.takes_threads):
        names = (name if row.takes_threads else f"{name} without threads" for name, row in BACKENDS.items())
        got = f"{backend!r}" if threads is None else f"{backend!r} with threads {threads}"
        raise InputError("backend", expected=" or ".join(names), got=got)
    if isinstance(path, Bundle):
        path.hold(digest)
        bundle, opened = path, opener.open(path.graph(), threads)
    else:
        bundle = read_manifest(path, digest=digest)
        opened = _open_checked(bundle, opener, threads, check=check)
    _compare(bundle, opened.fields)
    if opener.on_processor:
        _warn_of_other_kernels(bundle.manifest)
    return Engine(backend=opened.backend, labels=bundle.manifest.output.classes, bundle=bundle)


def is_onnx_file(path: Path) -> bool:
    """Whether a path is taken for a bare ONNX file, for `open_onnx`; otherwise it is a bundle's, for `load`."""
    return path.suffix == ".onnx" and not path.is_dir()


def open_onnx(path: str | Path | OnnxFile, *, threads: int | None = None) -> Engine:
    """Open a bare ONNX classifier on ONNX Runtime; its labels are "0", "1", ...

    Args:
        path: an ONNX file with one input [N, C, H, W], uint8 pixels or float32 in [0, 1], and one output [N, K]; or
            such a file that was read, which is not read again.
        threads: threads within an operator, 1 or more, no more than there are cores; None for every core.

    Raises:
        ModelError: the file cannot be used.
        InputError: `threads` out of range.
    """
    graph = path if isinstance(path, OnnxFile) else read_onnx(path)
    backend = OnnxRuntimeBackend(graph, threads=threads)
    return Engine(backend=backend, labels=tuple(str(index) for index in range(backend.classes)))


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


def _warn_of_other_kernels(manifest: Manifest) -> None:
    proved, here = manifest.provenance.instruction_set, instruction_set()
    scheme = manifest.quantization
    if proved == here or not scheme:
        return
    if proved.partition("-")[0] != here.partition("-")[0]:
        # MLAS on NEON rounds the ties of a plain quantized sum away from zero, on x86 to even
        message = (
            f"this processor is {here}, the bundle was proved on {proved}: kernels of another architecture may round "
            "ties differently; run `toolchain verify` on this machine"
        )
        warnings.warn(message, InstructionSetWarning, stacklevel=3)
        return
    if scheme.get("activation_type", "uint8") == "uint8" and sums_can_saturate(
        here, activation_bits=_bits(scheme, "activation_bits"), weight_bits=_bits(scheme, "weight_bits")
    ):
        message = (
            f"this processor is {here}, the bundle was proved on {proved}: without VNNI, sums of uint8 x int8 products "
            "can saturate and change logits; run `toolchain verify` on this machine"
        )
        warnings.warn(message, InstructionSetWarning, stacklevel=3)


def _bits(scheme: Mapping[str, Any], key: str) -> int:
    # A scheme that does not say is taken for the one that saturates first.
    bits = scheme.get(key)
    return bits if isinstance(bits, int) and 1 <= bits <= 8 else 8
