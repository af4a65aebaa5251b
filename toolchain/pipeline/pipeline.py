"""Recipe -> bundle: train, compress, fine-tune, lower, fine-tune the twin, prove, write.

    data -> dense network -> hardened network -> fine-tuned network -> integer graph -> twin -> proofs -> bundle

Every stage is a function from one frozen object to the next. What an interruption leaves is picked up again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
import torch
from torch import nn

from ...bench.data.dataset import Dataset, Part
from ...bench.data.load import load_dataset
from ...export.bundle_writer import check_target
from ...export.lower import lower, pixel_graph
from ...export.proofs.executed_kernels import inspect_kernels
from ...export.proofs.parity import check_parity
from ...export.quantization.quantize import IntegerGraph, check_operators, quantize
from ...export.twin.twin import Twin
from ...runtime.bundle.reader import Bundle
from ...runtime.progress import ProgressCallback, silent
from ..compress.chain import compress
from ..compress.compressed import Compressed
from ..compress.context import Context
from ..compress.integers import compress_integers
from ..models.source import Source, load_source
from ..recipe.recipe import Recipe
from ..train.device import resolve_device
from ..train.finetune import Trained, finetune
from ..train.training_context import TrainingContext
from .before_training import check_stages, check_training_steps
from .checkpoints import StageCheckpoints, Workspace, fingerprints
from .gates import check_gates, proof_images
from .teacher import GivenTeacher, load_teacher, train_teacher
from .write import StageResults, write_results

__all__ = ["Build", "build"]

_STORED_IMAGES = 32

_REHEARSED = 16
"""Calibration images of a rehearsal: its ranges do not matter."""


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
    device = resolve_device(recipe.device)
    target = check_target(out, overwrite=overwrite)  # the writer asks again, but hours later
    work = Workspace(target.with_name(target.name + ".work"))
    data = load_dataset(
        recipe.data.name,
        root=recipe.data.root,
        heldout=recipe.data.heldout,
        calibration=recipe.data.calibration,
        seed=recipe.seed,
        image_size=recipe.data.image_size,
        download=recipe.data.download,
        class_order=recipe.data.class_order,
    )
    if data.notes:
        progress("data", 1, 1, "; ".join(data.notes))
    check_stages(recipe, data)
    source = load_source(recipe.model, input_shape=data.input_shape, classes=data.classes, seed=recipe.seed)
    check_training_steps(recipe, source)
    dense_graph = lower(source.module, input_shape=source.input_shape)
    check_operators(dense_graph, recipe.quantize.scheme)
    given = _given_teacher(recipe, data)
    marks = fingerprints(
        recipe, data, source.module, dense_graph.model, teacher=None if given is None else given.graph_sha256
    )
    work.make()
    context = TrainingContext(
        seed=recipe.seed, device=device, progress=progress, checkpoints=StageCheckpoints(work, marks)
    )
    dense = _train(recipe, source, data, context)
    if dense.epochs:
        dense_graph = lower(source.module, input_shape=source.input_shape)
    dense_onnx = ir.to_proto(pixel_graph(dense_graph, scale=1 / 255, exact=False).model)
    taught = train_teacher(recipe, source.module, data, context) if recipe.trains_teacher else None
    teacher = _teaching(given, taught)
    if teacher is not None:
        teacher.to(device)
    compressed = _compress(recipe, source, data, context)
    tuned = finetune(
        compressed.module,
        data.train,
        data.heldout,
        recipe.finetune,
        stage="fine-tune",
        context=context,
        adversary=recipe.opponent_of(recipe.finetune),
        teacher=teacher,
        hold_zeros=recipe.holds_zeros,
    )
    integers = compress_integers(_quantize(recipe, tuned.module, source, data, progress), recipe.integer_steps)
    integer = integers.graph
    twin = Twin(integer.model, shadow=integer.shadow, weight_bits=integer.weight_bits)
    tuned_twin = finetune(
        twin,
        data.train.at_most(recipe.finetune_twin.images, seed=recipe.seed),
        data.heldout,
        recipe.finetune_twin,
        stage="fine-tune twin",
        context=context,
        adversary=recipe.opponent_of(recipe.finetune_twin),
        teacher=teacher,
        baseline=True,
        hold_zeros=recipe.holds_zeros,
        clusters={twin.parameter_names[name]: found for name, found in integers.clusters.items()},
    )
    model = twin.to_onnx()
    kernels = inspect_kernels(model)
    images = proof_images(recipe, twin, data)
    parity = check_parity(model, images, twin=twin, progress=progress)
    check_gates(recipe, kernels, parity)
    stages = StageResults(
        source=source,
        dense=dense,
        dense_onnx=dense_onnx,
        compressed=compressed,
        tuned=tuned,
        teacher=taught,
        integers=integers,
        twin=tuned_twin,
        model=model,
        layers=integer.layers,
        skipped=integer.skipped,
        float_operators=integer.float_operators,
        tie_distances=integer.tie_distances,
        kernels=kernels,
        parity=parity,
        proof_images=images[: 2 * _STORED_IMAGES],
    )
    bundle = write_results(recipe, data, stages, out=out, overwrite=overwrite)
    if not keep_work:
        work.remove()
    return Build(bundle=bundle, stages=stages)


def _train(recipe: Recipe, source: Source, data: Dataset, context: TrainingContext) -> Trained:
    """The dense network after training: the paper's f_st, or f_rb against the adversary; given weights stay as given.

    Compression is rehearsed before: a layer that would be emptied shows now and not after the training.
    """
    rehearsed = compress(
        source.module, recipe.network_steps, _compression_context(recipe, source, data, context, train=None)
    )
    if recipe.integer_steps:
        compress_integers(_quantize(recipe, rehearsed.module, source, data), recipe.integer_steps)
    if recipe.has_weights or not recipe.train.epochs:
        return Trained(module=source.module, epochs=(), kept=0)
    opponent = recipe.opponent_of(recipe.train)
    return finetune(
        source.module,
        data.train,
        data.heldout,
        recipe.train,
        stage="train",
        context=context,
        adversary=None if opponent is None else opponent.plain,
    )


def _compress(recipe: Recipe, source: Source, data: Dataset, training: TrainingContext) -> Compressed:
    context = _compression_context(recipe, source, data, training, train=data.train)
    return compress(source.module, recipe.network_steps, context)


def _compression_context(
    recipe: Recipe, source: Source, data: Dataset, training: TrainingContext, *, train: Part | None
) -> Context:
    """What the steps may use; without `train` they rehearse."""
    return Context(
        input_shape=source.input_shape,
        check_images=torch.from_numpy(data.calibration.images[:16]).float() / 255,
        calibration=data.calibration,
        train=train,
        heldout=data.heldout,
        finetune=recipe.finetune,
        adversary=recipe.opponent_of(recipe.finetune),
        training=training,
    )


def _quantize(
    recipe: Recipe, module: nn.Module, source: Source, data: Dataset, progress: ProgressCallback | None = None
) -> IntegerGraph:
    """The integer graph; in a rehearsal, without `progress`, of a few images."""
    graph, images = lower(module, input_shape=source.input_shape), data.calibration.images
    if progress is None:
        return quantize(graph, images[:_REHEARSED], scheme=recipe.quantize.scheme)
    return quantize(graph, images, scheme=recipe.quantize.scheme, progress=progress)


def _teaching(given: GivenTeacher | None, taught: Trained | None) -> nn.Module | None:
    if taught is not None:
        return taught.module
    return None if given is None else given.twin


def _given_teacher(recipe: Recipe, data: Dataset) -> GivenTeacher | None:
    """The teacher that the recipe names, opened before any work."""
    opponent = recipe.opponent
    if opponent is None or not opponent.distils or opponent.teacher is None:
        return None
    return load_teacher(opponent.teacher, data)
