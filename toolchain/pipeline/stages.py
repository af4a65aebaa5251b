"""The stages of a build as functions: what comes before any training, the dense network, and the hardened one.

    prepare -> train_dense -> harden, harden, ...          harden = compress_dense -> finish

A build hardens once; a search hardens the same dense network again and again, with another recipe each time. A study
finishes the same compressed network again and again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from ...bench.data.dataset import Dataset, Part
from ...export.lower import FloatGraph, lower
from ...export.quantization.quantize import IntegerGraph, check_operators, quantize
from ...export.twin.movable_scales import movable_scales
from ...export.twin.twin import Twin
from ...runtime.progress import ProgressCallback, silent
from ..compress.chain import compress
from ..compress.compressed import Compressed
from ..compress.compressed_integers import CompressedIntegers
from ..compress.context import Context
from ..compress.integers import compress_integers
from ..models.source import Source, load_source
from ..recipe.recipe import Recipe
from ..train.device import resolve_device
from ..train.finetune import Trained, finetune
from ..train.threshold_rule import threshold_rule
from ..train.training_context import TrainingContext
from .before_training import check_stages, check_training_steps
from .checkpoints import StageCheckpoints, Workspace, fingerprints
from .recipe_data import recipe_data
from .teacher import GivenTeacher, given_teacher, train_teacher

__all__ = [
    "Dense",
    "Hardened",
    "Prepared",
    "compress_dense",
    "finish",
    "harden",
    "prepare",
    "prepare_for",
    "read_network",
    "rehearse",
    "rehearse_integers",
    "train_dense",
]

_REHEARSED = 16
"""Calibration images of a rehearsal: its ranges do not matter."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prepared:
    """What is there before any training.

    Attributes:
        data: the images.
        source: the network, untrained or with given weights; training changes its module.
        graph: the network as a float graph.
        given: the teacher that the recipe names.
        training: seed, device, progress and checkpoints.
        marks: of `fingerprints`.
    """

    data: Dataset
    source: Source
    graph: FloatGraph
    given: GivenTeacher | None
    training: TrainingContext
    marks: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Dense:
    """The dense network after its training.

    Attributes:
        trained: it.
        graph: it as a float graph.
        taught: the training of the network that it learns from; None where there is none, or it was given.
        teacher: that network, given or trained.
    """

    trained: Trained
    graph: FloatGraph
    taught: Trained | None
    teacher: nn.Module | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Hardened:
    """The network that ships: see the fields of the same names of `StageResults`."""

    compressed: Compressed
    tuned: Trained
    integers: CompressedIntegers
    twin: Trained
    network: Twin


def prepare(recipe: Recipe, work: Workspace, progress: ProgressCallback) -> Prepared:
    """Read data and network, and check the recipe against them.

    Args:
        recipe: what to do.
        work: where checkpoints are; made here.
        progress: told how far each stage is.

    Raises:
        InputError: bad recipe, data or model, or the checkpoints' folder cannot be made.
    """
    device = resolve_device(recipe.device)
    data = recipe_data(recipe)
    if data.notes:
        progress("data", 1, 1, "; ".join(data.notes))
    source, graph = read_network(recipe, data)
    check_operators(graph, recipe.quantize.scheme)
    given = given_teacher(recipe, data)
    marks = fingerprints(
        recipe, data, source.module, graph.model, teacher=None if given is None else given.graph_sha256
    )
    work.make()
    training = TrainingContext(
        seed=recipe.seed, device=device, progress=progress, checkpoints=StageCheckpoints(work, marks)
    )
    return Prepared(data=data, source=source, graph=graph, given=given, training=training, marks=marks)


def read_network(recipe: Recipe, data: Dataset) -> tuple[Source, FloatGraph]:
    """The recipe's network for some images, and its float graph; every stage is checked against both.

    Raises:
        InputError: a stage, the network and the images do not fit each other.
    """
    check_stages(recipe, data)
    source = load_source(recipe.model, input_shape=data.input_shape, classes=data.classes, seed=recipe.seed)
    check_training_steps(recipe, source)
    return source, lower(source.module, input_shape=source.input_shape)


def prepare_for(recipe: Recipe, data: Dataset) -> Prepared:
    """The recipe's network for images that are there already; nothing of its training is kept, and nobody teaches it.

    Raises:
        InputError: see `read_network`.
    """
    source, graph = read_network(recipe, data)
    training = TrainingContext(seed=recipe.seed, device=resolve_device(recipe.device))
    return Prepared(data=data, source=source, graph=graph, given=None, training=training, marks={})


def rehearse(recipe: Recipe, prepared: Prepared) -> Compressed:
    """Compress without training or a word; a layer that would be emptied shows now and not after the training.

    Raises:
        CompressionError: a step cannot be carried out.
    """
    context = _compression_context(recipe, prepared, train=None)
    quiet = replace(context, training=replace(prepared.training, progress=silent))
    return compress(prepared.source.module, recipe.network_steps, quiet)


def rehearse_integers(recipe: Recipe, prepared: Prepared, rehearsed: Compressed) -> CompressedIntegers:
    """The integer graph of a rehearsal: its shapes are right, its ranges are of a few images."""
    return compress_integers(_quantize(recipe, rehearsed.module, prepared), recipe.integer_steps)


def train_dense(recipe: Recipe, prepared: Prepared) -> Dense:
    """The dense network after training: the paper's f_st, or f_rb against the adversary; given weights stay as given.

    Its teacher with it, where one is trained.
    """
    source, context = prepared.source, prepared.training
    if recipe.has_weights or not recipe.train.epochs:
        trained = Trained(module=source.module, epochs=(), kept=0)
    else:
        opponent = recipe.opponent_of(recipe.train)
        trained = finetune(
            source.module,
            prepared.data.train,
            prepared.data.heldout,
            recipe.train,
            stage="train",
            context=context,
            adversary=None if opponent is None else opponent.plain,
        )
    graph = lower(source.module, input_shape=source.input_shape) if trained.epochs else prepared.graph
    taught = train_teacher(recipe, source.module, prepared.data, context) if recipe.trains_teacher else None
    given = None if prepared.given is None else prepared.given.twin
    teacher: nn.Module | None = given if taught is None else taught.module
    if teacher is not None:
        teacher.to(context.device)
    return Dense(trained=trained, graph=graph, taught=taught, teacher=teacher)


def harden(recipe: Recipe, prepared: Prepared, teacher: nn.Module | None) -> Hardened:
    """Compress, fine-tune, quantize, and fine-tune the twin. The dense network stays as it is.

    Args:
        recipe: whose data, network and training are those that `prepared` was made of.
        prepared: with the dense network trained.
        teacher: of `Dense`.
    """
    return finish(recipe, prepared, compress_dense(recipe, prepared), teacher)


def compress_dense(recipe: Recipe, prepared: Prepared) -> Compressed:
    """The compression steps on the network. The dense network stays as it is.

    Raises:
        CompressionError: a step cannot be carried out.
    """
    context = _compression_context(recipe, prepared, train=prepared.data.train)
    return compress(prepared.source.module, recipe.network_steps, context)


def finish(recipe: Recipe, prepared: Prepared, compressed: Compressed, teacher: nn.Module | None) -> Hardened:
    """Fine-tune the compressed network in place, quantize, and fine-tune the twin.

    Args:
        recipe, prepared, teacher: as in `harden`.
        compressed: of `compress_dense`.
    """
    data, context = prepared.data, prepared.training
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
    graph = _quantize(recipe, tuned.module, prepared, context.progress)
    integers = compress_integers(graph, recipe.integer_steps)
    integer = integers.graph
    learned = movable_scales(integer.model, integer.bounded) if recipe.learns_thresholds else None
    twin = Twin(integer.model, shadow=integer.shadow, weight_bits=integer.weight_bits, learned=learned)
    images = data.train.at_most(recipe.finetune_twin.images, seed=recipe.seed)
    opponent = recipe.opponent_of(recipe.finetune_twin)
    tuned_twin = finetune(
        twin,
        images,
        data.heldout,
        recipe.finetune_twin,
        stage="fine-tune twin",
        context=context,
        adversary=opponent,
        teacher=teacher,
        baseline=True,
        hold_zeros=recipe.holds_zeros,
        rule=threshold_rule(twin, recipe.finetune_twin, images=len(images), adversary=opponent),
        clusters={twin.parameter_names[name]: found for name, found in integers.clusters.items()},
    )
    return Hardened(compressed=compressed, tuned=tuned, integers=integers, twin=tuned_twin, network=twin)


def _compression_context(recipe: Recipe, prepared: Prepared, *, train: Part | None) -> Context:
    """What the steps may use; without `train` they rehearse."""
    return Context(
        input_shape=prepared.source.input_shape,
        check_images=torch.from_numpy(prepared.data.calibration.images[:16]).float() / 255,
        calibration=prepared.data.calibration,
        train=train,
        heldout=prepared.data.heldout,
        finetune=recipe.finetune,
        adversary=recipe.opponent_of(recipe.finetune),
        training=prepared.training,
    )


def _quantize(
    recipe: Recipe, module: nn.Module, prepared: Prepared, progress: ProgressCallback | None = None
) -> IntegerGraph:
    """The integer graph; in a rehearsal, without `progress`, of a few images."""
    graph, images = lower(module, input_shape=prepared.source.input_shape), prepared.data.calibration.images
    if progress is None:
        return quantize(graph, images[:_REHEARSED], scheme=recipe.quantize.scheme)
    return quantize(graph, images, scheme=recipe.quantize.scheme, progress=progress)
