"""The proof of a build: the images that twin and engine are compared on, and the gates that it has to pass."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import nn

from ...bench.attacks.threat.threat_model import ThreatModel
from ...bench.attacks.white_box.on_pixels import attack_pixels
from ...bench.attacks.white_box.pgd import pgd
from ...bench.data.dataset import Dataset
from ...export.proofs.executed_kernels import KernelReport, check_integer_share
from ...export.proofs.parity import ParityReport, check_exact
from ...export.quantization.targets import TARGETS
from ..recipe.recipe import Recipe

__all__ = ["check_gates", "proof_images"]

_PROOF_IMAGES = 256


def proof_images(recipe: Recipe, twin: nn.Module, data: Dataset) -> npt.NDArray[np.uint8]:
    """Held-out images and (with an adversary) their adversarial versions, in pairs; uint8 pixels.

    Calibration images stand in where none are held out.
    """
    part = data.heldout if len(data.heldout) else data.calibration
    part = part.head(min(_PROOF_IMAGES, len(part)))
    if not recipe.robust:
        return part.images
    threat = ThreatModel.parse(recipe.adversary.threat)
    settings = {"steps": 10, "step_size": threat.epsilon / 4, "random_start": False}
    found = attack_pixels("pgd-10", pgd, twin, part.images, part.labels, threat=threat, seed=0, **settings)
    both = np.stack([part.images, found.adversarial], axis=1)
    return both.reshape(-1, *both.shape[2:])


def check_gates(recipe: Recipe, kernels: KernelReport, parity: ParityReport) -> None:
    """Let pass only what the recipe asks for. What a target's compiler makes of a graph, `toolchain compile` finds out.

    Raises:
        GateError: too few MACs in integer kernels, or twin and engine differ although the scheme is exact.
    """
    if TARGETS[recipe.quantize.target].exact_here:
        check_integer_share(kernels, recipe.quantize.integer_share)
    if recipe.quantize.scales == "power-of-two":
        check_exact(parity, weight_bits=recipe.quantize.scheme.widest_weight_bits)
