"""A bundle checked on this machine: hashes, stored proof images, kernels, twin against engine."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from ...bench.attacks.presets import choose_attacks
from ...bench.attacks.threat.threat_model import ThreatModel
from ...bench.compatibility import check_data
from ...bench.data.dataset import Dataset
from ...bench.data.physical_memory import check_memory
from ...export.integer_types import INT8
from ...export.proofs.executed_kernels import KernelReport, check_integer_share
from ...export.proofs.parity import ParityReport, check_exact
from ...export.proofs.prove_engine import prove_engine
from ...export.quantization.targets import target_of
from ...export.twin.twin import Twin
from ...runtime.backends.table import PROCESSOR_BACKENDS
from ...runtime.bundle.manifest import Manifest
from ...runtime.bundle.proof import read_proof
from ...runtime.bundle.proved_on import proved_on
from ...runtime.bundle.reader import Bundle, read_bundle
from ...runtime.cpu import cpu_name, instruction_set
from ...runtime.engine import Engine, load
from ...runtime.errors import BundleError, GateError, InputError, ModelError
from ...runtime.files.json_fields import number, text
from ...runtime.progress import ProgressCallback, silent
from ...runtime.unproved import UnprovedWarning, unproved
from .recorded_recipe import load_recorded_data, recorded

__all__ = ["Verification", "verify_bundle"]

_BATCH = 250


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What was found.

    Attributes:
        bundle: its files all have the hashes that the manifest lists.
        proof_images: number of images that the bundle brings, with the twin's logits.
        proof_logits: number of their logits that the engine computes differently here.
        proof_wrong: number of these images with at least one such logit.
        kernels: which kernels ran.
        parity: twin against engine on the proof's, on random and on test images.
        exact: the scheme promises that nothing differs.
        weight_bits: of the integer weights.
        integer_share: the least share of MACs in integer kernels that the recipe asks for.
        notes: where the bundle was proved, if that was elsewhere; what the loader of the test images left out or read
            in another way than plainly.
    """

    bundle: Bundle
    proof_images: int
    proof_logits: int
    proof_wrong: int
    kernels: KernelReport
    parity: ParityReport
    exact: bool
    weight_bits: int
    integer_share: float
    notes: tuple[str, ...] = ()

    def gate(self) -> None:
        """Raise the first failed gate.

        Raises:
            GateError: see `toolchain verify --help`.
        """
        if not self.proof_images:  # nothing of what was proved elsewhere is compared then
            raise GateError(
                f"{self.bundle.path}: the proof is empty",
                expected="one image or more with the twin's logits, as a build writes them",
                got="none",
                fix="get the bundle again, or build it again",
            )
        try:
            check_integer_share(self.kernels, self.integer_share)
        except GateError as error:
            fix = f"{error.fix}; or build for this machine, with its {self.kernels.backend}"
            raise self._of_the_bundle(error, fix=fix) from None
        try:
            if self.exact:
                check_exact(self.parity, weight_bits=self.weight_bits, stored_logits=self.proof_logits)
        except GateError as error:
            raise self._of_the_bundle(error, fix=error.fix) from None

    def _of_the_bundle(self, error: GateError, *, fix: str) -> GateError:
        return GateError(f"{self.bundle.path}: {error.what}", expected=error.expected, got=error.got, fix=fix)


def verify_bundle(
    path: Path,
    *,
    images: int,
    seed: int,
    backend: str = "onnxruntime",
    test_images: int = 0,
    data: str | None = None,
    data_root: Path | None = None,
    digest: str | None = None,
    progress: ProgressCallback = silent,
) -> Verification:
    """Check a bundle.

    Args:
        path: the bundle's folder.
        images: random images to compare in addition to the stored ones.
        seed: of the random images.
        backend: whose engine is checked, one of `PROCESSOR_BACKENDS`. Activations are compared on ONNX Runtime alone:
            another engine that gives them computes other sums than the one that ships.
        test_images: of the data set, test images to compare, each clean and under PGD-20.
        data, data_root: the data set, as for `load_dataset`; the recipe's if not given, where that is known by name.
        digest: the bundle's, as `toolchain build` printed it; None takes any.

    Raises:
        InputError: a count or the seed is no whole number of 0 or more, `digest` is no SHA-256, or no such backend.
        MissingExtraError: the backend's package is not installed.
        BundleError: the bundle cannot be read.
        IntegrityError: a file differs from its hash, or the manifest is not that of `digest`.
        ModelError: the graph cannot be run.
        DataError: test images are asked for and the data set cannot be read, does not fit, or is the user's to give.
    """
    for name, count in (("images", images), ("seed", seed), ("test_images", test_images)):
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise InputError(f"verify: {name}", expected="a whole number, 0 or more", got=repr(count))
    if backend not in PROCESSOR_BACKENDS:
        raise InputError("verify: backend", expected=" or ".join(PROCESSOR_BACKENDS), got=repr(backend))
    bundle = read_bundle(path, digest=digest)
    manifest = bundle.manifest
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnprovedWarning)  # that is what is found out here
        engine = load(bundle, backend=backend)  # before the parser, which takes what is no ONNX for a defect of its own
    model = _graph(bundle)
    stored, logits = read_proof(bundle)
    found = engine(stored)
    if found.shape != logits.shape:
        raise BundleError(f"{path}: proof.npz: logits", expected=str(found.shape), got=str(logits.shape))
    check_memory(
        f"{images:,} random images take",
        images * math.prod(engine.input_shape),
        error=InputError,
        fix="give fewer (--images)",
    )
    noise = np.random.default_rng(seed).integers(0, 256, (images, *engine.input_shape), dtype=np.uint8)
    compared, twin = [stored, noise], Twin(model)
    notes: tuple[str, ...] = ()
    if test_images:
        dataset = load_recorded_data(bundle, name=data, root=data_root)
        compared.append(_test_pairs(bundle, engine, twin, test_images, dataset=dataset, progress=progress))
        notes = dataset.notes
    share = recorded(bundle, "quantize.integer_share", number)
    target = target_of(manifest.quantization)
    if target is not None and not target.exact_here:
        share = 0.0  # its residual sums are float operators here; `toolchain compile` asks the target's compiler
    kernels, parity = prove_engine(backend, engine, model, np.concatenate(compared), twin=twin, progress=progress)
    differ = found != logits
    return Verification(
        bundle=bundle,
        proof_images=len(stored),
        proof_logits=int(differ.sum()),
        proof_wrong=int(differ.any(axis=1).sum()),
        kernels=kernels,
        parity=parity,
        exact=manifest.quantization.get("scales") == "power-of-two",
        weight_bits=_weight_bits(manifest.quantization),
        integer_share=1.0 if share is None else share,
        notes=(*_elsewhere(manifest, backend, kernels), *notes),
    )


def _elsewhere(manifest: Manifest, backend: str, kernels: KernelReport) -> tuple[str, ...]:
    """Where the bundle was proved, in one line, if its proofs do not hold here."""
    if not unproved(manifest, backend):
        return ()
    places = "; ".join(map(str, proved_on(manifest))) or "no engine"
    return (f"proved on {places}; checked here on {kernels.backend}, {instruction_set()} ({cpu_name()})",)


def _weight_bits(scheme: Mapping[str, Any]) -> int:
    """A scheme that does not say is taken for the one that saturates first."""
    bits = scheme.get("weight_bits")
    return bits if isinstance(bits, int) and 1 <= bits <= INT8.bits else INT8.bits


def _graph(bundle: Bundle) -> onnx.ModelProto:
    graph = bundle.graph()
    try:
        return onnx.load_model_from_string(graph.whole())
    except Exception as error:  # protobuf's and ONNX's exceptions share no base class
        raise ModelError(f"{graph.path}: no ONNX file", got=f"{type(error).__name__}: {error}") from error


def _test_pairs(
    bundle: Bundle,
    engine: Engine,
    twin: Twin,
    count: int,
    *,
    dataset: Dataset,
    progress: ProgressCallback,
) -> npt.NDArray[np.uint8]:
    """The first test images and their adversarial versions by PGD-20, as pixels."""
    ball = recorded(bundle, "adversary.threat", text)
    if ball is None:
        raise BundleError(f"{bundle.path}: test images", expected="a recipe that names an adversary", got="none")
    threat = ThreatModel.parse(ball)
    check_data(engine, dataset, bundle.path)
    test = dataset.test.head(min(count, len(dataset.test)))
    (plan,) = choose_attacks("paper", threat).plans
    found = [test.images]
    for start in range(0, len(test), _BATCH):
        images, labels = (part[start : start + _BATCH] for part in (test.images, test.labels))
        found.append(plan.search(twin, images, labels, threat=threat, seed=0, **plan.settings).adversarial)
        progress(plan.name, min(start + _BATCH, len(test)), len(test), "")
    return np.concatenate(found)
