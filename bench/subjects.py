"""What is measured: a bundle's engine beside the dense network it came from, or one ONNX file alone.

Each is opened once for each number of threads, and its graph hashed right afterwards: what was opened is what is
hashed. When everything about a subject is measured, `Subject.check` hashes the graph once more. Each subject has its
own twin, made from the very graph that the engine runs. Where no twin can be made the reason is kept, and only attacks
on scores remain. Other networks may be opened too, for candidates that transfer.
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
from ..runtime.errors import IntegrityError, ModelError
from .attacks.white_box.half_precision import HalfPrecisionGradients
from .graph_digest import digest_of, graph_files
from .twin_trial import try_twin

__all__ = ["Subject", "Threads", "open_others", "open_subjects", "read_target"]

Threads = int | None
"""Threads within an operator; None for every core."""

_RESERVED = ("engine", "twin", "parent")
"""Targets of attacks that are no names of other networks."""

_Open = Callable[[Threads], Engine]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Subject:
    """One engine, open.

    Attributes:
        name: "dense" or "shipped" for a bundle, "model" for an ONNX file.
        path: the bundle's folder or the ONNX file.
        graph: the ONNX file that runs.
        digest: SHA-256 of the graph with its weights.
        engines: its sessions, by number of threads; one for every core (None) at least.
        twin: its differentiable form; None where there is none.
        no_twin: why not, "" where there is one.
        notes: what a reader of its numbers must know.
    """

    name: str
    path: Path
    graph: Path
    digest: str
    engines: Mapping[Threads, Engine] = field(repr=False)
    twin: Twin | None = field(repr=False)
    no_twin: str
    notes: tuple[str, ...]

    @property
    def engine(self) -> Engine:
        """The session that uses every core."""
        return self.engines[None]

    @property
    def searched(self) -> nn.Module | None:
        """What white-box attacks follow: the twin, of a float network with gradients in half precision."""
        return self.twin if self.twin is None or self.twin.quantizers else HalfPrecisionGradients(self.twin)

    def check(self) -> None:
        """Refuse a graph that is not that of `digest` any more: what was measured may be of another network.

        Raises:
            IntegrityError: it is not.
        """
        try:
            digest = digest_of(self.graph)
        except Exception as error:  # a file that is being replaced may be missing, cut off, anything
            digest = f"{type(error).__name__}: {error}"
        if digest != self.digest:
            raise _changed(self.graph, "measured", expected=f"SHA-256 {self.digest}", got=digest)


def read_target(path: Path) -> Path | Bundle:
    """A bundle, read and checked; or the path of an ONNX file as it is.

    Raises:
        BundleError: neither.
    """
    return path if is_onnx_file(path) else read_bundle(path)


def open_subjects(
    target: Path | Bundle, *, dense: bool = True, threads: Collection[Threads] = ()
) -> tuple[Subject, ...]:
    """Open a bundle (with `dense`, its dense network first, where it holds one) or an ONNX file.

    Args:
        target: see `read_target`.
        dense: open the dense network too.
        threads: numbers of threads to open further sessions for; one for every core is always opened.

    Raises:
        BundleError, ModelError: it cannot be opened.
        IntegrityError: it was replaced meanwhile.
    """
    if isinstance(target, Path):
        return (_subject("model", target, target, _file(target), threads),)
    parent, graph = target.manifest.dense, target.file(target.manifest.graph)
    shipped = _subject("shipped", target.path, graph, lambda count: load(target, threads=count), threads)
    if parent is None or not dense:
        return (shipped,)
    path = target.file(parent)
    return (_subject("dense", path, path, _file(path), threads), shipped)


def open_others(
    target: Path | Bundle, *, parent: bool, paths: Sequence[Path], opened: Sequence[Subject] = ()
) -> tuple[Subject, ...]:
    """Other networks: candidates made on them are tried on the target.

    Args:
        target: what is attacked.
        parent: open the dense float network that a bundle was made from, as "parent", where it holds one.
        paths: bundles and ONNX files; each is named after its path's last part, with a number where that is taken.
        opened: what `open_subjects` gave; the parent is taken from there if it is among them.

    Raises:
        BundleError, ModelError: one cannot be opened, or has no twin.
        IntegrityError: one was replaced meanwhile.
    """
    found = []
    if parent and isinstance(target, Bundle) and target.manifest.dense is not None:
        dense = target.file(target.manifest.dense)
        known = [replace(subject, name="parent") for subject in opened if subject.graph == dense]
        found += known or [_subject("parent", dense, dense, _file(dense), ())]
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


def _file(path: Path) -> _Open:
    return lambda count: open_onnx(path, threads=count)


def _subject(name: str, path: Path, graph: Path, open_engine: _Open, threads: Collection[Threads]) -> Subject:
    before = _identity(graph)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        engines = {count: open_engine(count) for count in dict.fromkeys([None, *threads])}
    engine = engines[None]
    model = onnx.load(graph)
    digest = digest_of(graph)
    if _identity(graph) != before:
        raise _changed(graph, "opened", expected="one file from the first byte to the last", got="another one")
    twin, reason, differs = try_twin(model, engine)
    notes = list(dict.fromkeys(str(warning.message) for warning in caught))
    if differs:
        notes.append(differs)
    if engine.backend.batch is not None:
        notes.append(f"the graph takes batches of {engine.backend.batch} only: calls are cut or padded to that")
    last = [node.op_type for node in model.graph.node if model.graph.output[0].name in node.output]
    if last == ["Softmax"]:
        notes.append("the graph ends in a Softmax: gradients vanish where it is sure, so white-box attacks look weak")
    return Subject(
        name=name,
        path=path,
        graph=graph,
        digest=digest,
        engines=engines,
        twin=twin,
        no_twin=reason,
        notes=tuple(notes),
    )


def _identity(graph: Path) -> list[tuple[int, int, int]] | None:
    """Which files lie there and when each was last written, without hashing; None where that cannot be told."""
    try:
        found = [file.stat() for file in graph_files(graph)]
    except Exception:  # no such file, or no graph: opening it says what is wrong
        return None
    return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in found]


def _changed(graph: Path, doing: str, *, expected: str, got: str) -> IntegrityError:
    what = f"{graph}: the file changed while it was {doing}"
    return IntegrityError(what, expected=expected, got=got, fix="run bench again")
