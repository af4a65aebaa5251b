"""What is measured: a bundle's engine beside the dense network it came from, or one ONNX file alone.

A graph is read once. Its digest is of these bytes, the twin is made of them, and so are the engines, one for each
number of threads; a bundle's are hashed against its manifest. So what is measured is what the digest names, whatever
happens to the file meanwhile. Where no twin can be made the reason is kept, and only attacks on scores remain. Other
networks may be opened too, for candidates that transfer.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx
from torch import nn

from ..export.twin.twin import Twin
from ..runtime.bundle.reader import Bundle, read_bundle
from ..runtime.engine import Engine, is_onnx_file, load, open_onnx
from ..runtime.errors import InputError, ModelError
from ..runtime.files.onnx_file import OnnxFile, read_onnx
from .attacks.white_box.half_precision import HalfPrecisionGradients
from .twin_trial import try_twin

__all__ = ["Subject", "Threads", "open_others", "open_subjects", "read_target"]

Threads = int | None
"""Threads within an operator; None for every core."""

_RESERVED = ("engine", "twin", "parent")
"""Targets of attacks that are no names of other networks."""

_Open = Callable[[str, Threads], Engine]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Subject:
    """One engine, open.

    Attributes:
        name: "dense" or "shipped" for a bundle, "model" for an ONNX file, with the backend's name behind it where that
            is not ONNX Runtime: "shipped-openvino".
        backend: what runs it.
        path: the bundle's folder or the ONNX file.
        graph: the ONNX file that runs, as it was read.
        digest: SHA-256 of the graph with its weights.
        engines: its sessions, by number of threads; one for every core (None) at least.
        twin: its differentiable form; None where there is none.
        no_twin: why not, "" where there is one.
        notes: what a reader of its numbers must know.
    """

    name: str
    backend: str
    path: Path
    graph: OnnxFile = field(repr=False)
    digest: str
    engines: Mapping[Threads, Engine] = field(repr=False)
    twin: Twin | None = field(repr=False)
    no_twin: str
    notes: tuple[str, ...]

    @property
    def network(self) -> str:
        """The name without the backend's."""
        return self.name.removesuffix(f"-{self.backend}")

    @property
    def engine(self) -> Engine:
        """The session that uses every core."""
        return self.engines[None]

    @property
    def whole_digest(self) -> str:
        """Of all that lies at `path`: the bundle's where it is one, else the graph's."""
        return self.digest if self.engine.bundle is None else self.engine.bundle.digest

    @property
    def searched(self) -> nn.Module | None:
        """What white-box attacks follow: the twin, of a float network with gradients in half precision."""
        return self.twin if self.twin is None or self.twin.quantizers else HalfPrecisionGradients(self.twin)


def read_target(path: Path, *, digest: str | None = None) -> OnnxFile | Bundle:
    """A bundle, read and checked, or an ONNX file, read.

    Args:
        path: a bundle's folder or an ONNX file.
        digest: the bundle's, see `read_bundle`.

    Raises:
        BundleError, ModelError: it cannot be read.
        InputError: `digest` is no SHA-256, or the target is an ONNX file.
        IntegrityError: the bundle has another digest, or a file is not the one that its manifest lists.
    """
    if not is_onnx_file(path):
        return read_bundle(path, digest=digest)
    if digest is not None:
        raise InputError(f"{path}: digest", expected="a bundle", got="an ONNX file", fix="leave the digest out")
    return read_onnx(path)


def open_subjects(
    target: OnnxFile | Bundle,
    *,
    dense: bool = True,
    threads: Collection[Threads] = (),
    backends: Sequence[str] = ("onnxruntime",),
) -> tuple[Subject, ...]:
    """Open a bundle (with `dense`, its dense network first, where it holds one) or an ONNX file, on each backend.

    Args:
        target: see `read_target`.
        dense: open the dense network too.
        threads: numbers of threads to open further sessions for; one for every core is always opened.
        backends: names of `PROCESSOR_BACKENDS`, one or more.

    Raises:
        BundleError, ModelError: it cannot be opened.
        IntegrityError: a file of the bundle was replaced meanwhile.
        MissingExtraError: a backend's package is not installed.
    """
    if isinstance(target, OnnxFile):
        return _subjects("model", target.path, target, _bare(target), threads=threads, backends=backends)

    def ship(backend: str, count: Threads) -> Engine:
        return load(target, backend=backend, threads=count)

    shipped = _subjects("shipped", target.path, target.graph(), ship, threads=threads, backends=backends)
    if target.manifest.dense is None or not dense:
        return shipped
    return (*_dense(target, target.manifest.dense, "dense", threads, backends), *shipped)


def open_others(
    target: OnnxFile | Bundle, *, parent: bool, paths: Sequence[Path], opened: Sequence[Subject] = ()
) -> tuple[Subject, ...]:
    """Other networks: candidates made on them are tried on the target.

    Args:
        target: what is attacked.
        parent: open the dense float network that a bundle was made from, as "parent", where it holds one.
        paths: bundles and ONNX files; each is named after its path's last part, with a number where that is taken.
        opened: what `open_subjects` gave; the parent is taken from there if it is among them.

    Raises:
        BundleError, ModelError: one cannot be opened, or has no twin.
        IntegrityError: a file of a bundle is not the one that its manifest lists.
    """
    found: list[Subject] = []
    if parent and isinstance(target, Bundle) and target.manifest.dense is not None:
        known = [replace(subject, name="parent") for subject in opened if subject.network == "dense"]
        found += known[:1] or _dense(target, target.manifest.dense, "parent", (), ("onnxruntime",))
    for path in paths:
        (other,) = open_subjects(read_target(path), dense=False)
        if other.twin is None:
            fix = "name a network of operators that the twin knows"
            raise ModelError(f"{path}: no candidates can be made on it: it has no twin", got=other.no_twin, fix=fix)
        found.append(replace(other, name=_free(path.resolve().stem, {*_RESERVED, *(o.name for o in found)})))
    return tuple(found)


def _free(name: str, taken: set[str]) -> str:
    """The name, or where it is taken the first of name-2, name-3, ... that is not."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(free for free in itertools.chain([name], numbered) if free not in taken)


def _dense(
    bundle: Bundle, relative: str, name: str, threads: Collection[Threads], backends: Sequence[str]
) -> tuple[Subject, ...]:
    graph = bundle.onnx_file(relative)
    return _subjects(name, graph.path, graph, _bare(graph), threads=threads, backends=backends)


def _bare(graph: OnnxFile) -> _Open:
    return lambda backend, count: open_onnx(graph, backend=backend, threads=count)


def _subjects(
    network: str,
    path: Path,
    graph: OnnxFile,
    open_engine: _Open,
    *,
    threads: Collection[Threads],
    backends: Sequence[str],
) -> tuple[Subject, ...]:
    """One subject a backend, all with the same twin."""
    found: list[Subject] = []
    for backend in backends:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            engines = {count: open_engine(backend, count) for count in dict.fromkeys([None, *threads])}
        if not found:  # what is no ONNX file was refused by now
            model = onnx.load_model_from_string(graph.whole())
        twin, reason, differs = try_twin(model, engines[None], twin=found[0].twin if found else None)
        notes = [*dict.fromkeys(str(warning.message) for warning in caught), *([differs] if differs else [])]
        found.append(
            Subject(
                name=network if backend == "onnxruntime" else f"{network}-{backend}",
                backend=backend,
                path=path,
                graph=graph,
                digest=graph.digest,
                engines=engines,
                twin=twin,
                no_twin=reason,
                notes=(*notes, *_about(model, engines[None])),
            )
        )
    return tuple(found)


def _about(model: onnx.ModelProto, engine: Engine) -> list[str]:
    """What a reader of any engine's numbers must know of the graph."""
    notes = []
    if engine.backend.batch is not None:
        notes.append(f"the graph takes batches of {engine.backend.batch} only: calls are cut or padded to that")
    last = [node.op_type for node in model.graph.node if model.graph.output[0].name in node.output]
    if last == ["Softmax"]:
        notes.append("the graph ends in a Softmax: gradients vanish where it is sure, so white-box attacks look weak")
    return notes
