"""What is measured: a bundle's engine beside the dense network it came from, or one ONNX file alone.

Each comes with its own twin, made from the very graph that the engine runs. Where no twin can be made the reason is
kept, and only attacks on scores remain. Other networks may be opened beside them, for candidates that transfer.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx
import torch
from torch import nn

from ..export.twin.twin import Twin
from ..runtime.bundle.reader import read_bundle
from ..runtime.engine import Engine, load, open_onnx
from ..runtime.errors import HardtemperError, IntegrityError, ModelError
from .attacks.white_box.gradient import frozen
from .attacks.white_box.half_precision import HalfPrecisionGradients
from .graph_digest import digest_of

__all__ = ["Subject", "open_others", "open_subjects"]

_RESERVED = ("engine", "twin", "parent")
"""What an attack may name as its target besides other networks."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Subject:
    """One engine.

    Attributes:
        name: "dense" or "shipped" for a bundle, "model" for an ONNX file.
        path: what `open` opens: the bundle's folder or the ONNX file.
        graph: the ONNX file that runs.
        digest: SHA-256 of the graph with its weights.
        twin: its differentiable form; None where there is none.
        no_twin: why not, "" where there is one.
        notes: what a reader of its numbers must know.
    """

    name: str
    path: Path
    graph: Path
    digest: str
    twin: Twin | None = field(repr=False)
    no_twin: str
    notes: tuple[str, ...]

    @property
    def searched(self) -> nn.Module | None:
        """What white-box attacks follow: the twin, of a float network with gradients in half precision."""
        return self.twin if self.twin is None or self.twin.quantizers else HalfPrecisionGradients(self.twin)

    def open(self, threads: int | None) -> Engine:
        """The engine; threads within an operator, None for every core.

        Raises:
            IntegrityError: its files are not those of `digest` any more.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are in `notes` already
            engine = _open(self.path, threads=threads)
        self.check()  # after, not before: what was opened is what is hashed
        return engine

    def check(self) -> None:
        """Refuse a graph that is not that of `digest` any more: what was measured of it would be of another network.

        Raises:
            IntegrityError: it is not.
        """
        try:
            digest = digest_of(self.graph)
        except Exception as error:  # a file that is being replaced may be missing, cut off, anything
            digest = f"{type(error).__name__}: {error}"
        if digest != self.digest:
            what, fix = f"{self.graph}: the file changed while it was measured", "run bench again"
            raise IntegrityError(what, expected=f"SHA-256 {self.digest}", got=digest, fix=fix)


def open_subjects(target: Path, *, dense: bool = True) -> tuple[Subject, ...]:
    """Open a bundle (with `dense`, its dense network first, where it holds one) or an ONNX file.

    Raises:
        BundleError, ModelError: it cannot be opened.
    """
    if target.suffix == ".onnx" and not target.is_dir():
        return (_subject("model", target, target),)
    bundle = read_bundle(target)
    parent = bundle.manifest.dense
    shipped = _subject("shipped", target, bundle.file(bundle.manifest.graph))
    if parent is None or not dense:
        return (shipped,)
    return (_subject("dense", bundle.file(parent), bundle.file(parent)), shipped)


def open_others(
    target: Path, *, parent: bool, paths: Sequence[Path], opened: Sequence[Subject] = ()
) -> tuple[Subject, ...]:
    """Networks to make candidates on that are tried on the target.

    Args:
        target: what is attacked.
        parent: open the dense float network that a bundle was made from, as "parent", where it holds one.
        paths: bundles and ONNX files; each is named after its path's last part, with a number where that is taken.
        opened: what `open_subjects` gave; the parent is taken from there if it is among them.

    Raises:
        BundleError, ModelError: one cannot be opened, or has no twin.
    """
    found = []
    if parent and target.is_dir():
        bundle = read_bundle(target, check=False)
        if bundle.manifest.dense is not None:
            dense = bundle.file(bundle.manifest.dense)
            known = [replace(subject, name="parent") for subject in opened if subject.graph == dense]
            found += known or [_subject("parent", dense, dense)]
    for path in paths:
        (other,) = open_subjects(path, dense=False)
        if other.twin is None:
            fix = "name a network of operators that the twin knows"
            raise ModelError(f"{path}: nothing transfers from it", got=other.no_twin, fix=fix)
        found.append(replace(other, name=_free(path.resolve().stem, {*_RESERVED, *(o.name for o in found)})))
    return tuple(found)


def _free(name: str, taken: set[str]) -> str:
    """The name, or where it is taken the first of name-2, name-3, ... that is not."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(free for free in itertools.chain([name], numbered) if free not in taken)


def _subject(name: str, path: Path, graph: Path) -> Subject:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        engine = _open(path, threads=None)
    digest = digest_of(graph)
    model = onnx.load(graph)
    twin, reason = _twin(model, engine)
    notes = [str(warning.message) for warning in caught]
    if engine.backend.batch is not None:
        notes.append(f"the graph takes batches of {engine.backend.batch} only: calls are cut or padded to that")
    last = [node.op_type for node in model.graph.node if model.graph.output[0].name in node.output]
    if last == ["Softmax"]:
        notes.append("the graph ends in a Softmax: gradients vanish where it is sure, so white-box attacks look weak")
    subject = Subject(
        name=name,
        path=path,
        graph=graph,
        digest=digest,
        twin=twin,
        no_twin=reason,
        notes=tuple(notes),
    )
    subject.check()  # the twin was made of what is hashed
    return subject


def _open(path: Path, *, threads: int | None) -> Engine:
    return load(path, threads=threads, check=False) if path.is_dir() else open_onnx(path, threads=threads)


def _twin(model: onnx.ModelProto, engine: Engine) -> tuple[Twin | None, str]:
    """The twin, or None and the reason; tried on one black image, since a graph may fail only when it runs."""
    try:
        twin = Twin(model)
        with frozen(twin):
            logits = twin(torch.zeros(1, *engine.input_shape, requires_grad=True))
    except HardtemperError as error:
        return None, f"no twin: {error}"
    except Exception as error:  # a graph from anywhere may break an operator's assumptions in any way
        lines = str(error).strip().splitlines()
        return None, f"no twin: {type(error).__name__}{': ' + lines[0] if lines else ''}"
    if not logits.requires_grad:
        return None, "no twin: its logits are cut off from the image, so there is no gradient to follow"
    if logits.shape != (1, len(engine.labels)):
        return None, f"no twin: it gives {list(logits.shape)} where the engine gives [1, {len(engine.labels)}]"
    return twin, ""
