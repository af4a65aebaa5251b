"""A bundle held against itself on this machine: hashes, stored proof images, kernels, twin against engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from ..bench.attacks.threat import ThreatModel
from ..bench.data.load import load_dataset
from ..bench.presets import choose_attacks
from ..bench.untrusted_npz import read_arrays
from ..export.kernels import KernelReport, inspect_kernels
from ..export.parity import ParityReport, check_parity
from ..export.twin import Twin
from ..runtime.bundle import Bundle, read_bundle
from ..runtime.engine import load
from ..runtime.errors import BundleError, DataError, GateError
from ..runtime.progress import ProgressCallback, silent

__all__ = ["Verification", "verify_bundle"]

_BATCH = 250


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What was found.

    Attributes:
        bundle: whose every file fits its hash.
        proof_images: images that the bundle brings with the twin's logits.
        proof_logits: of their logits, those that the engine gives differently here.
        kernels: which kernels ran.
        parity: twin against engine on the proof's, on random and on test images.
        exact: whether the scheme promises that nothing differs.
        integer_share: the least share of MACs in integer kernels that the recipe asks for.
    """

    bundle: Bundle
    proof_images: int
    proof_logits: int
    kernels: KernelReport
    parity: ParityReport
    exact: bool
    integer_share: float

    def gate(self) -> None:
        """Raise the first failed gate.

        Raises:
            GateError: see `toolchain verify --help`.
        """
        if self.kernels.integer_share < self.integer_share:
            raise GateError(
                f"{self.bundle.path}: MACs in integer kernels",
                expected=f"at least {self.integer_share:.1%}",
                got=f"{self.kernels.integer_share:.1%}",
                fix="build for this machine, with its onnxruntime",
            )
        if self.exact and (self.proof_logits or not self.parity.exact):
            raise GateError(
                f"{self.bundle.path}: twin and engine",
                expected="no differing integer and no differing logit",
                got=f"{self.proof_logits} stored logits, {self.parity.engine_logits} other logits and "
                f"{sum(a.mismatches for a in self.parity.activations)} integers differ",
                fix="build with quantize.weight_bits = 7 for processors without VNNI",
            )


def verify_bundle(
    path: Path, *, images: int, seed: int, test_images: int = 0, progress: ProgressCallback = silent
) -> Verification:
    """Check a bundle.

    Args:
        path: the bundle's folder.
        images: random images to compare beside the stored ones.
        seed: of the random images.
        test_images: of the recipe's data set, test images to compare, each clean and under PGD-20.

    Raises:
        BundleError: the bundle cannot be read, or a file differs from its hash.
        DataError: test images are asked for and the data set cannot be read.
    """
    bundle = read_bundle(path)
    manifest = bundle.manifest
    model = onnx.load(str(bundle.file(manifest.graph)))
    engine = load(path, check=False)
    stored, logits = _proof(bundle)
    found = engine(stored)
    if found.shape != logits.shape:
        raise BundleError(f"{path}: proof.npz: logits", expected=str(found.shape), got=str(logits.shape))
    noise = np.random.default_rng(seed).integers(0, 256, (images, *engine.input_shape), dtype=np.uint8)
    compared = [stored, noise]
    if test_images:
        compared.append(_test_pairs(bundle, Twin(model), test_images, progress))
    share = manifest.provenance.recipe.get("quantize", {}).get("integer_share", 1.0)
    if manifest.quantization.get("target") == "tensorrt":
        share = 0.0  # its residual sums are float operators here; `toolchain compile` asks TensorRT
    return Verification(
        bundle=bundle,
        proof_images=len(stored),
        proof_logits=int((found != logits).sum()),
        kernels=inspect_kernels(model),
        parity=check_parity(model, np.concatenate(compared), progress=progress),
        exact=manifest.quantization.get("scales") == "power-of-two",
        integer_share=float(share),
    )


def _proof(bundle: Bundle) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The stored images and the twin's logits."""
    try:
        arrays, _ = read_arrays(bundle.file("proof.npz"), ("images", "logits"))
        return arrays["images"], arrays["logits"]
    except (OSError, KeyError, DataError) as error:
        what = f"{bundle.path}: proof.npz"
        raise BundleError(what, expected="arrays images and logits", got=str(error)) from error


def _test_pairs(bundle: Bundle, twin: Twin, count: int, progress: ProgressCallback) -> npt.NDArray[np.uint8]:
    """The first test images and their adversarial versions by PGD-20, step epsilon / 10, as pixels."""
    recipe = bundle.manifest.provenance.recipe
    if "data" not in recipe or "adversary" not in recipe:
        raise BundleError(f"{bundle.path}: test images", expected="a recipe that names data and adversary", got="none")
    settings = recipe["data"]
    root = None if settings["root"] is None else Path(settings["root"])
    # only the test part is used, and a small data set need not fill the default parts
    test = load_dataset(settings["name"], root=root, heldout=0, calibration=0, image_size=settings["image_size"]).test
    if test.images.shape[1:] != bundle.manifest.input.shape:
        raise DataError(
            f"{settings['name']}: the images do not fit {bundle.path}",
            expected=str(bundle.manifest.input.shape),
            got=str(test.images.shape[1:]),
        )
    test = test.head(min(count, len(test)))
    threat = ThreatModel.parse(recipe["adversary"]["threat"])
    (plan,) = choose_attacks("paper", threat).plans
    found = [test.images]
    for start in range(0, len(test), _BATCH):
        images, labels = (part[start : start + _BATCH] for part in (test.images, test.labels))
        found.append(plan.search(twin, images, labels, threat=threat, seed=0, **plan.settings).adversarial)
        progress(plan.name, min(start + _BATCH, len(test)), len(test), "")
    return np.concatenate(found)
