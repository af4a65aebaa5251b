"""A bundle held against itself on this machine: hashes, stored proof images, kernels, twin against engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from ..export.kernels import KernelReport, inspect_kernels
from ..export.parity import ParityReport, check_parity
from ..runtime.bundle import Bundle, read_bundle
from ..runtime.engine import load
from ..runtime.errors import BundleError, GateError
from ..runtime.progress import ProgressCallback, silent

__all__ = ["Verification", "verify_bundle"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What was found.

    Attributes:
        bundle: whose every file fits its hash.
        proof_images: images that the bundle brings with the twin's logits.
        proof_logits: of their logits, those that the engine gives differently here.
        kernels: which kernels ran.
        parity: twin against engine on the proof's and on random images.
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
                got=f"{self.proof_logits + self.parity.engine_logits} differing logits",
                fix="build with quantize.weight_bits = 7 for processors without VNNI",
            )


def verify_bundle(path: Path, *, images: int, seed: int, progress: ProgressCallback = silent) -> Verification:
    """Check a bundle.

    Args:
        path: the bundle's folder.
        images: random images to compare beside the stored ones.
        seed: of the random images.

    Raises:
        BundleError: the bundle cannot be read, or a file differs from its hash.
    """
    bundle = read_bundle(path)
    manifest = bundle.manifest
    model = onnx.load(str(bundle.file(manifest.graph)))
    engine = load(path, check=False)
    try:
        with np.load(bundle.file("proof.npz"), allow_pickle=False) as proof:
            stored, logits = proof["images"], proof["logits"]
    except (OSError, KeyError, ValueError) as error:
        raise BundleError(f"{path}: proof.npz", expected="arrays images and logits", got=str(error)) from error
    found = engine(stored)
    noise = np.random.default_rng(seed).integers(0, 256, (images, *engine.input_shape), dtype=np.uint8)
    share = manifest.provenance.recipe.get("quantize", {}).get("integer_share", 1.0)
    return Verification(
        bundle=bundle,
        proof_images=len(stored),
        proof_logits=int((found != logits).sum()),
        kernels=inspect_kernels(model),
        parity=check_parity(model, np.concatenate([stored, noise]), progress=progress),
        exact=manifest.quantization.get("scales") == "power-of-two",
        integer_share=float(share),
    )
