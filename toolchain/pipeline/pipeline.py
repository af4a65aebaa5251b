"""Recipe -> bundle: train, compress, fine-tune, lower, fine-tune the twin, prove, write.

    data -> dense network -> hardened network -> fine-tuned network -> integer graph -> twin -> proofs -> bundle

Every stage is a function from one frozen object to the next. What an interruption leaves is picked up again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...export.bundle_writer import check_target
from ...export.float_pixels import float_pixels
from ...export.proofs.executed_kernels import inspect_kernels
from ...export.proofs.parity import check_parity
from ...runtime.bundle.reader import Bundle
from ...runtime.progress import ProgressCallback, silent
from ..recipe.recipe import Recipe
from .checkpoints import Workspace
from .gates import check_gates, proof_images
from .stages import harden, prepare, rehearse, rehearse_integers, train_dense
from .write import StageResults, write_results

__all__ = ["Build", "build"]

_STORED_IMAGES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """What a build made, and what it measured on the way (shares in [0, 1], on held-out training images).

    Attributes:
        bundle: what was written.
        stages: what each stage gave.
    """

    bundle: Bundle
    stages: StageResults


def build(
    recipe: Recipe, *, out: Path, overwrite: bool = False, keep_work: bool = False, progress: ProgressCallback = silent
) -> Build:
    """Carry out `recipe` and write the bundle to `out`.

    Args:
        recipe: what to do.
        out: the bundle's folder; `out` + ".work" holds checkpoints meanwhile.
        overwrite: replace an existing bundle.
        keep_work: leave the checkpoints behind, so that a changed recipe can start from them.

    Raises:
        InputError: bad recipe, data or model, or `out` cannot be written; before anything is trained, as far as it can
            be known then.
        GateError: too few MACs in integer kernels, or twin and engine differ although the scheme is exact.
    """
    target = check_target(out, overwrite=overwrite)  # the writer asks again, but hours later
    work = Workspace(target.with_name(target.name + ".work"))
    prepared = prepare(recipe, work, progress)
    rehearsed = rehearse(recipe, prepared)
    if recipe.integer_steps:
        rehearse_integers(recipe, prepared, rehearsed)
    dense = train_dense(recipe, prepared)
    dense_onnx = float_pixels(dense.graph)
    hardened = harden(recipe, prepared, dense.teacher)
    integer, twin = hardened.integers.graph, hardened.network
    model = twin.to_onnx()
    kernels = inspect_kernels(model)
    images = proof_images(recipe, twin, prepared.data)
    parity = check_parity(model, images, twin=twin, progress=progress)
    check_gates(recipe, kernels, parity)
    stages = StageResults(
        source=prepared.source,
        dense=dense.trained,
        dense_onnx=dense_onnx,
        compressed=hardened.compressed,
        tuned=hardened.tuned,
        teacher=dense.taught,
        integers=hardened.integers,
        twin=hardened.twin,
        model=model,
        layers=integer.layers,
        skipped=integer.skipped,
        float_operators=integer.float_operators,
        tie_distances=integer.tie_distances,
        kernels=kernels,
        parity=parity,
        proof_images=images[: 2 * _STORED_IMAGES],
    )
    bundle = write_results(recipe, prepared.data, stages, out=out, overwrite=overwrite)
    if not keep_work:
        work.remove()
    return Build(bundle=bundle, stages=stages)
